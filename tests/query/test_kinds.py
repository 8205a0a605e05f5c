"""Searches of every kind of vector: which way they go, what params do, when they are to end."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from edge.disk.storage import DiskStorage
from edge.errors import DeadlineExceeded, ValidationError
from edge.model.config import EdgeConfig
from edge.model.filter import FieldCondition, Filter, HasIdCondition, MatchValue, RangeFloat
from edge.model.point import Point
from edge.model.quantization import (
    QuantizationConfig,
    QuantizationSearchParams,
    ScalarQuantizationConfig,
    ScalarType,
)
from edge.model.query import AcornSearchParams, IdfParams, Query, SearchParams
from edge.model.request import Explained, QueryRequest
from edge.model.sparse import SparseVector
from edge.model.update import UpdateOperation
from edge.model.vector_params import (
    Distance,
    EdgeSparseVectorParams,
    EdgeVectorParams,
    HnswIndexConfig,
    Modifier,
    VectorStorageDatatype,
)
from edge.query import deadline, search
from edge.query.answer import answer, estimate
from edge.query.deadline import Deadline
from edge.segment.builder import build_segment
from edge.segment.indexing import GraphPlan, IndexPlan
from edge.segment.view import ShardView
from edge.store.optimization import swapped
from tests.segment import kinds
from tests.segment.made import after, asked, built, cut, silent, start

S = SparseVector


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory) -> ShardView:
    """A segment with graphs over every dense vector, one without, an old tail and a tail."""
    storage = DiskStorage(str(tmp_path_factory.mktemp("kinds")))
    shard = built(after(start(kinds.config()), upsert(0, 60)), storage, kinds.DENSE)
    shard = built(after(shard, upsert(60, 90)), storage)
    shard = after(cut(after(shard, upsert(90, 110))), upsert(105, 130))
    return after(shard, UpdateOperation.delete_points([3, 63, 93, 128]))


def upsert(first: int, stop: int) -> UpdateOperation:
    return UpdateOperation.upsert_points([kinds.point(n, n) for n in range(first, stop)])


def nearest(name: str, **options: Any) -> QueryRequest:
    random = np.random.default_rng(5)
    wide = S(range(40), random.normal(size=40))
    query = Query.Nearest(wide if name in kinds.SPARSE else kinds.vector(name, random), name)
    return QueryRequest(**{"limit": 20, "query": query, **options})


def pairs(hits: list[Any]) -> list[tuple[Any, float]]:
    return [(hit.id, hit.score) for hit in hits]


def ways(hits: Any) -> list[str]:
    assert isinstance(hits, Explained)
    return [plan.way for plan in hits.plan]


FEW = Filter(must=[HasIdCondition(range(0, 130, 7))])
MOST = Filter(must_not=[HasIdCondition(range(0, 130, 7))])


@pytest.mark.parametrize("name", kinds.NAMES)
def test_filters_offsets_and_thresholds_cut_the_whole_list(spread: ShardView, name: str) -> None:
    exact = SearchParams(exact=True)
    whole = pairs(answer(spread, nearest(name, limit=1000, params=exact)))
    assert len(whole) > 60
    for filter, keeps in ((FEW, lambda i: i % 7 == 0), (MOST, lambda i: i % 7)):
        found = pairs(answer(spread, nearest(name, limit=1000, filter=filter, params=exact)))
        assert found == [hit for hit in whole if keeps(hit[0])]
    assert pairs(answer(spread, nearest(name, offset=5, limit=9, params=exact))) == whole[5:14]
    bound = whole[20][1]
    similar = whole[0][1] > whole[-1][1]
    above = [hit for hit in whole if (hit[1] > bound if similar else hit[1] < bound)]
    request = nearest(name, limit=1000, score_threshold=bound, params=exact)
    assert pairs(answer(spread, request)) == above
    assert answer(spread, nearest(name, limit=0)) == []


@pytest.mark.parametrize("name", kinds.DENSE)
def test_ways_of_dense_vectors(spread: ShardView, name: str) -> None:
    assert ways(answer(spread, nearest(name, explain=True))) == ["graph", *["scan"] * 3]
    exact = SearchParams(exact=True)
    assert ways(answer(spread, nearest(name, params=exact, explain=True))) == ["scan"] * 4
    found = ways(answer(spread, nearest(name, filter=FEW, explain=True)))
    assert found == ["scan of matches"] * 4


@pytest.mark.parametrize("name", kinds.SPARSE)
def test_ways_of_sparse_vectors(spread: ShardView, name: str) -> None:
    plain = ["inverted index", "inverted index", "scan", "scan"]
    assert ways(answer(spread, nearest(name, explain=True))) == plain
    assert ways(answer(spread, nearest(name, filter=MOST, explain=True))) == ["scan of matches"] * 4


@pytest.mark.parametrize("name", kinds.SPARSE)
def test_a_threshold_says_how_many_matches_are_compared_one_by_one(
    tmp_path: Path, name: str
) -> None:
    params = {n: kinds.replaced(p, None) for n, p in kinds.SPARSE.items()}
    fields = {f: getattr(params[name], f) for f in params[name].__struct_fields__}
    params[name] = EdgeSparseVectorParams(**{**fields, "full_scan_threshold": 10})
    shard = after(start(EdgeConfig(dict(kinds.DENSE), params)), upsert(0, 60))
    shard = built(shard, DiskStorage(str(tmp_path)))
    few = Filter(must=[HasIdCondition(range(5))])
    assert ways(answer(shard, nearest(name, filter=few, explain=True))) == ["scan of matches"]
    for filter in (MOST, FEW):
        hits = answer(shard, nearest(name, filter=filter, limit=99, explain=True))
        [way] = ways(hits)
        matching = hits.plan[0].matches
        assert way == ("scan of matches" if matching <= 10 else "filtered inverted index")
        everything = pairs(answer(shard, nearest(name, limit=99)))
        assert pairs(hits) == [hit for hit in everything if (hit[0] % 7 == 0) is (filter is FEW)]


# -- how rare dimensions are


def texts(*vectors: dict[int, float] | None, where: str = "a") -> list[Point]:
    return [
        Point(n, {} if v is None else {"w": S(list(v), list(v.values()))}, {"in": where, "n": n})
        for n, v in enumerate(vectors)
    ]


def rarity(total: int, having: int) -> float:
    return math.log(1 + (total - having + 0.5) / (having + 0.5))


RARE = EdgeConfig(sparse_vectors={"w": EdgeSparseVectorParams(modifier=Modifier.Idf)})
TEXTS = texts(
    {1: 1.0, 2: 1.0}, {1: 2.0}, {1: 1.0, 3: 4.0}, {}, None, {2: 1.0, 3: 1.0}, {1: 1.0}, {9: 1.0}
)


def spread_texts(tmp_path: Path) -> ShardView:
    """In a built segment, an old tail and a tail; point 6 is deleted, 2 has moved on."""
    shard = after(start(RARE), UpdateOperation.upsert_points(TEXTS[:4]))
    shard = cut(
        after(built(shard, DiskStorage(str(tmp_path))), UpdateOperation.upsert_points(TEXTS[4:7]))
    )
    last = UpdateOperation.upsert_points([TEXTS[7], TEXTS[2]])
    return after(shard, last, UpdateOperation.delete_points([6]))


def test_weights_count_all_that_live_and_have_an_entry(tmp_path: Path) -> None:
    """Of 0, 1, 2, 5 and 7: three have the dimension 1, two have 2 and 3, none has 4."""
    shard = spread_texts(tmp_path)
    one, two = rarity(5, 3), rarity(5, 2)
    request = QueryRequest(9, query=Query.Nearest(S([1, 2, 3, 4], [1.0, 1.0, 2.0, 5.0]), "w"))
    wanted = {2: one + 8 * two, 5: 3 * two, 0: one + two, 1: 2 * one}
    hits = answer(shard, request)
    assert [hit.id for hit in hits] == sorted(wanted, key=lambda i: -wanted[i])
    assert {hit.id: hit.score for hit in hits} == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(
    ("corpus", "ids"),
    [
        (Filter(must=[FieldCondition("n", range=RangeFloat(gte=1, lte=5))]), {1, 2, 5}),
        (Filter(must=[FieldCondition("in", match=MatchValue("a"))]), {0, 1, 2, 5, 7}),
        (Filter(must=[FieldCondition("in", match=MatchValue("b"))]), set()),
        (Filter(), {0, 1, 2, 5, 7}),
    ],
)
def test_a_corpus_says_among_whom_dimensions_are_rare(
    tmp_path: Path, corpus: Filter, ids: set[int]
) -> None:
    """Whatever the filter of the query is."""
    shard = spread_texts(tmp_path)
    having = {1: {0, 1, 2}, 2: {0, 5}, 3: {2, 5}}
    weights = {dim: rarity(len(ids), len(ids & those)) for dim, those in having.items()}
    params = SearchParams(idf=IdfParams(corpus))
    query = Query.Nearest(S([1, 2, 3], [1.0, 1.0, 1.0]), "w")
    for filter in (None, Filter(must=[HasIdCondition([0, 2, 5])])):
        hits = answer(shard, QueryRequest(9, query=query, params=params, filter=filter))
        wanted = {
            0: weights[1] + weights[2], 1: 2 * weights[1], 2: weights[1] + 4 * weights[3],
            5: weights[2] + weights[3],
        }  # fmt: skip
        if filter is not None:
            del wanted[1]
        assert {hit.id: hit.score for hit in hits} == pytest.approx(wanted, rel=1e-5)


def test_what_shares_no_dimension_is_no_result() -> None:
    shard = after(start(RARE), UpdateOperation.upsert_points(TEXTS))
    for query in (S([], []), S([77], [1.0])):
        assert answer(shard, QueryRequest(9, query=Query.Nearest(query, "w"))) == []
    plain = EdgeConfig(sparse_vectors={"w": EdgeSparseVectorParams()})
    shard = after(start(plain), UpdateOperation.upsert_points(texts({1: 1.0, 2: -1.0}, {3: 1.0})))
    hits = answer(shard, QueryRequest(9, query=Query.Nearest(S([1, 2], [1.0, 1.0]), "w")))
    assert pairs(hits) == [(0, 0.0)], "a score of nothing is a score"


# -- small forms

SIZE = 32


def quantized(tmp_path: Path, quantization: QuantizationConfig, graph: bool) -> ShardView:
    """400 points in one segment with a small form."""
    config = EdgeConfig(
        EdgeVectorParams(SIZE, Distance.Dot),
        hnsw_config=HnswIndexConfig(8, 64, 0),
        quantization_config=quantization,
    )
    block = np.random.default_rng(3).normal(size=(400, SIZE))
    shard = after(start(config), UpdateOperation.upsert_arrays(range(400), block))
    plan = IndexPlan(GraphPlan(8, 64) if graph else None, quantization)
    storage = DiskStorage(str(tmp_path))
    made = build_segment(storage, 9, shard.segments, asked(shard, {"": plan}), silent)
    return swapped(shard, shard.segments, made)


COARSE = ScalarQuantizationConfig(ScalarType.Int8, 0.5)
"""It covers half of the numbers, so that its scores are not those of the vectors."""


@pytest.mark.parametrize("graph", [False, True])
def test_how_small_forms_are_used(tmp_path: Path, graph: bool) -> None:
    shard = quantized(tmp_path, COARSE, graph)
    query = Query.Nearest(np.random.default_rng(4).normal(size=SIZE))

    def ask(
        small: QuantizationSearchParams | None, limit: int = 10, **more: Any
    ) -> tuple[list[tuple[Any, float]], list[str]]:
        params = SearchParams(hnsw_ef=400, quantization=small, **more)
        hits = answer(shard, QueryRequest(limit, query=query, params=params, explain=True))
        return pairs(hits), ways(hits)

    true, way = ask(None, exact=True)
    assert way == ["scan"]
    by = "graph" if graph else "scan"
    rescored, way = ask(None)
    assert way == [f"{by}, rescored"]
    assert set(rescored) <= set(ask(None, 400, exact=True)[0])
    ignoring, way = ask(QuantizationSearchParams(ignore=True))
    assert way == [by]
    assert ignoring == true
    rough, way = ask(QuantizationSearchParams(rescore=False))
    assert way == [by]
    assert {i for i, _ in rough} == {i for i, _ in rescored}, "the same are found by either"
    scores = dict(ask(None, 400, exact=True)[0])
    assert any(score != scores[i] for i, score in rough), "by other scores"
    wide, way = ask(QuantizationSearchParams(oversampling=40.0))
    assert way == [f"{by}, rescored"]
    assert wide == true, "all of them are ranked anew"
    assert ask(QuantizationSearchParams(oversampling=1000.0))[0] == true
    assert ask(QuantizationSearchParams(rescore=False, oversampling=9.0))[0] == rough
    found, _ = ask(QuantizationSearchParams(oversampling=3.0))
    assert len({i for i, _ in found} & {i for i, _ in true}) >= len(
        {i for i, _ in rescored} & {i for i, _ in true}
    )


def test_small_forms_and_filters(tmp_path: Path) -> None:
    shard = quantized(tmp_path, COARSE, graph=False)
    few = Filter(must=[HasIdCondition(range(0, 400, 9))])
    query = Query.Nearest(np.random.default_rng(4).normal(size=SIZE))
    params = SearchParams(quantization=QuantizationSearchParams(oversampling=10.0))
    hits = answer(shard, QueryRequest(9, query=query, filter=few, params=params, explain=True))
    assert ways(hits) == ["scan of matches, rescored"]
    exact = SearchParams(exact=True)
    assert pairs(hits) == pairs(
        answer(shard, QueryRequest(9, query=query, filter=few, params=exact))
    )


# -- acorn


@pytest.mark.parametrize(
    ("acorn", "payload_m", "share", "way"),
    [
        (AcornSearchParams(True), 0, 0.2, "acorn"),
        (AcornSearchParams(True), None, 0.5, "filtered graph"),
        (AcornSearchParams(True, 0.6), None, 0.5, "acorn"),
        (AcornSearchParams(True, 0.1), None, 0.2, "filtered graph"),
        (AcornSearchParams(True), None, 0.02, "filtered graph"),
        (AcornSearchParams(False), 16, 0.2, "filtered graph"),
        (None, None, 0.2, "acorn"),
        (None, 16, 0.2, "acorn"),
        (None, 0, 0.2, "filtered graph"),
        (None, None, 0.5, "filtered graph"),
    ],
)
def test_acorn_goes_by_the_matching_where_they_are_neither_many_nor_few(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    acorn: AcornSearchParams | None,
    payload_m: int | None,
    share: float,
    way: str,
) -> None:
    monkeypatch.setattr(search, "scan_cost", lambda rows, size: math.inf)
    monkeypatch.setattr(search, "walk_cost", lambda ef, size: 0.0)
    hnsw = HnswIndexConfig(8, 64, 0, payload_m=payload_m)
    config = EdgeConfig(EdgeVectorParams(8, Distance.Euclid), hnsw_config=hnsw)
    block = np.random.default_rng(3).normal(size=(600, 8))
    shard = after(start(config), UpdateOperation.upsert_arrays(range(600), block))
    shard = built(shard, DiskStorage(str(tmp_path)), [""])
    those = Filter(must=[HasIdCondition(range(int(600 * share)))])
    request = QueryRequest(
        10, query=Query.Nearest(block[0]), filter=those, explain=True,
        params=SearchParams(hnsw_ef=200, acorn=acorn),
    )  # fmt: skip
    hits = answer(shard, request)
    assert ways(hits) == [way]
    exact = SearchParams(exact=True)
    wanted = pairs(
        answer(shard, QueryRequest(600, query=request.query, params=exact, filter=those))
    )
    assert set(pairs(hits)) <= set(wanted)
    assert pairs(hits) == sorted(pairs(hits), key=wanted.index)
    assert len(set(pairs(hits)) & set(wanted[:10])) >= 8


def test_a_filter_of_points_that_are_all_far_away_is_walked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its points lie together, and no query is near them: a graph leads there over others only, and
    what is found must not be less than without a filter."""
    monkeypatch.setattr(search, "scan_cost", lambda rows, size: math.inf)
    monkeypatch.setattr(search, "walk_cost", lambda ef, size: 0.0)
    draw = np.random.default_rng(4)
    block = draw.normal(size=(4000, 16)).astype(np.float32)
    far = np.argsort(block[:, 0])[:400]
    hnsw = HnswIndexConfig(8, 64, 0)
    config = EdgeConfig(EdgeVectorParams(16, Distance.Euclid), hnsw_config=hnsw)
    shard = after(start(config), UpdateOperation.upsert_arrays(range(4000), block))
    shard = built(shard, DiskStorage(str(tmp_path)), [""])
    those = Filter(must=[HasIdCondition(far.tolist())])
    asked = draw.normal(size=(50, 16)) + np.eye(16)[0] * 2
    shares = {}
    for way, filter in (("graph", None), ("acorn", those)):
        found = 0
        for vector in asked:
            request = QueryRequest(10, query=Query.Nearest(vector), filter=filter, explain=True)
            hits = answer(shard, replace(request, params=SearchParams(hnsw_ef=24)))
            exact = replace(request, params=SearchParams(exact=True))
            assert ways(hits) == [way]
            found += len({hit.id for hit in hits} & {hit.id for hit in answer(shard, exact)})
        shares[way] = found / (10 * len(asked))
    assert shares["acorn"] >= shares["graph"] - 0.02
    assert shares["acorn"] > 0.8


# -- numbers that an encoding does not have


@pytest.mark.parametrize("distance", list(Distance))
def test_a_query_beyond_float16_is_refused(distance: Distance) -> None:
    """1e5 is infinity to float16, and infinity times nothing is no number."""
    half = VectorStorageDatatype.Float16
    shard = start(EdgeConfig(EdgeVectorParams(3, distance, datatype=half)))
    block = np.array([[1, 0, 2], [0, -1, 0], [0, 0, 1]])
    shard = after(shard, UpdateOperation.upsert_arrays(range(3), block))
    request = QueryRequest(9, query=Query.Nearest([1e5, 0.0, 0.0]))
    if distance is not Distance.Cosine:  # which is of length 1 by then
        with pytest.raises(ValidationError, match="beyond Float16"):
            answer(shard, request)
        request = QueryRequest(9, query=Query.Nearest([65_504.0, 0.0, 0.0]))
    hits = answer(shard, request)
    assert sorted(hit.id for hit in hits) == [0, 1, 2]
    assert np.isfinite([hit.score for hit in hits]).all()


# -- estimates and deadlines


@pytest.mark.parametrize("name", kinds.NAMES)
def test_estimates_are_finite(spread: ShardView, name: str) -> None:
    empty = start(kinds.config())
    for params in (None, SearchParams(exact=True), SearchParams(hnsw_ef=500)):
        for filter in (None, FEW):
            request = nearest(name, params=params, filter=filter)
            assert 0 < estimate(empty, request) <= estimate(spread, request) < 1e5


@pytest.mark.parametrize("name", kinds.NAMES)
def test_every_moment_of_a_search_may_be_its_last(
    spread: ShardView, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]

    def monotonic() -> float:
        clock[0] += 1
        return clock[0]

    monkeypatch.setattr(deadline, "monotonic", monotonic)
    request = nearest(name, limit=1000, params=SearchParams(exact=True))
    everything = pairs(answer(spread, request))
    counts: list[int] = []
    while not counts or counts[-1] < len(everything):
        looks = len(counts) + 1
        hits = answer(spread, request, Deadline(looks, best_effort=True))
        assert set(pairs(hits)) <= set(everything)
        counts.append(len(hits))
        if len(hits) < len(everything):
            with pytest.raises(DeadlineExceeded):
                answer(spread, request, Deadline(looks))
        assert looks < 100
    assert counts == sorted(counts)
    assert len(set(counts)) > 2
