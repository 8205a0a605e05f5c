"""Searches that a graph of a payload value serves: when, and that they find what a scan finds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.disk.storage import DiskStorage
from edge.model.choice import Memory
from edge.model.config import EdgeConfig
from edge.model.examples import ContextPair, DiscoverQuery, RecommendQuery
from edge.model.filter import (
    FieldCondition,
    Filter,
    HasIdCondition,
    MatchAny,
    MatchExcept,
    MatchTextAny,
    MatchValue,
    RangeFloat,
    ValuesCount,
)
from edge.model.fusion import Fusion
from edge.model.point import Point
from edge.model.prefetch import Prefetch
from edge.model.quantization import (
    BinaryQuantizationConfig,
    QuantizationConfig,
    QuantizationSearchParams,
    ScalarQuantizationConfig,
    ScalarType,
    TurboQuantQuantizationConfig,
)
from edge.model.query import AcornSearchParams, Query, SearchParams
from edge.model.request import QueryBatchRequest, QueryRequest
from edge.model.schema import KeywordIndexParams, PayloadSchemaType
from edge.model.update import UpdateOperation
from edge.model.vector_params import (
    Distance,
    EdgeVectorParams,
    HnswIndexConfig,
    MultiVectorComparator,
    MultiVectorConfig,
)
from edge.query import search
from edge.query.answer import answer
from edge.segment.builder import build_segment
from edge.segment.immutable import load_segment
from edge.segment.indexing import GraphPlan, IndexPlan, ValuesPlan
from edge.segment.view import SegmentView, ShardView
from edge.store.optimization import swapped
from tests.segment.made import after, asked, cut, silent, start

U, K = UpdateOperation, PayloadSchemaType
ROWS, SIZE = 1500, 16
SEVERAL = MultiVectorConfig(MultiVectorComparator.MaxSim)
SCHEMA = {"tenant": K.Keyword, "tags": K.Keyword, "n": K.Integer, "flag": K.Bool, "owner": K.Uuid}
UUIDS = [f"{n:08x}-0000-0000-0000-00000000abcd" for n in range(3)]


def payload(n: int) -> dict[str, Any]:
    """A third of the points are red; the first 300 lie together, far from all others."""
    return {
        "tenant": "far" if n < 300 else ["red", "blue", "green"][n % 3],
        "tags": [tag for k, tag in enumerate("abc") if n % (k + 2) == 0],
        "n": n % 4,
        "flag": n % 2 == 0,
        "owner": UUIDS[n % 3],
        "part": n % 10,
        "mixed": ["1", 1, 1.0, True][n % 4],
    }


def config(memory: Memory | None = None, small: QuantizationConfig | None = None) -> EdgeConfig:
    return EdgeConfig(
        {
            "": EdgeVectorParams(SIZE, Distance.Euclid, memory=memory),
            "many": EdgeVectorParams(5, Distance.Dot, multivector_config=SEVERAL, memory=memory),
        },
        hnsw_config=HnswIndexConfig(8, 64, 0, payload_m=8, memory=memory),
        quantization_config=small,
    )


def points() -> list[Point]:
    random = np.random.default_rng(1)
    made = []
    for n in range(ROWS):
        vector = random.normal(size=SIZE) + (6 if n < 300 else 0)
        many = random.normal(size=(n % 3 + 1, 5))
        made.append(Point(n, {"": vector, "many": many}, payload(n)))
    return made


def tail(given: EdgeConfig) -> ShardView:
    indexes = [U.create_field_index(path, kind) for path, kind in SCHEMA.items()]
    return after(start(given), *indexes, U.upsert_points(points()))


def built(
    storage: DiskStorage, view: ShardView, m: int = 8, small: QuantizationConfig | None = None
) -> ShardView:
    values = ValuesPlan(GraphPlan(8, 64), 0)
    plan = IndexPlan(GraphPlan(m, 64) if m else None, small, values)
    request = asked(view, {"": plan, "many": plan})
    made = build_segment(storage, 9, view.segments, request, silent)
    return cut(swapped(view, view.segments, made))


@pytest.fixture(autouse=True)
def walks_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "scan_cost", lambda rows, size: math.inf)
    monkeypatch.setattr(search, "walk_cost", lambda ef, size: 0.0)


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShardView]:
    """A segment with a graph of all and of each large value, and an empty tail."""
    return built(DiskStorage(str(tmp_path_factory.mktemp("shard"))), tail(config()))


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory) -> ShardView:
    """The same with graphs of values alone."""
    return built(DiskStorage(str(tmp_path_factory.mktemp("tenants"))), tail(config()), m=0)


def match(key: str, value: Any) -> FieldCondition:
    return FieldCondition(key, match=MatchValue(value))


def ways(hits: Any) -> list[str]:
    return [plan.way for plan in hits.plan]


def asking(filter: Filter | None, name: str = "", **more: Any) -> list[QueryRequest]:
    """Queries near to all points, and some near to those that are far."""
    random = np.random.default_rng(2)
    made = []
    for n in range(24):
        vector = random.normal(size=SIZE) + (6 if n % 3 == 0 else 0)
        one = vector if name == "" else random.normal(size=(2, 5))
        params = SearchParams(hnsw_ef=64, **more)
        query = Query.Nearest(one, name)
        made.append(QueryRequest(10, query=query, filter=filter, params=params, explain=True))
    return made


def recall(view: ShardView, requests: list[QueryRequest], expected: str) -> float:
    """How much of what a scan finds is found in this way."""
    found = 0
    for request in requests:
        hits = answer(view, request)
        assert ways(hits) == [expected]
        exact = QueryRequest(
            10, query=request.query, filter=request.filter, params=SearchParams(exact=True)
        )
        wanted = {hit.id: hit.score for hit in answer(view, exact)}
        assert len(hits) == len(wanted)
        found += sum(wanted.get(hit.id) == pytest.approx(hit.score, rel=1e-5) for hit in hits)
    return found / (10 * len(requests))


RED, HALF = match("tenant", "red"), FieldCondition("part", range=RangeFloat(lt=5))
WALK, STEPS = "graph of a value", "acorn in the graph of a value"
SERVED: dict[str, tuple[Filter, str]] = {
    "a keyword": (Filter(must=[RED]), WALK),
    "one that is far away": (Filter(must=[match("tenant", "far")]), WALK),
    "an array": (Filter(must=[match("tags", "b")]), WALK),
    "an integer": (Filter(must=[match("n", 3)]), WALK),
    "a bool": (Filter(must=[match("flag", False)]), WALK),
    "a uuid": (Filter(must=[match("owner", UUIDS[1].upper())]), WALK),
    "any of one": (Filter(must=[FieldCondition("tenant", match=MatchAny(["red"]))]), WALK),
    "in a filter": (Filter(must=[Filter(must=[Filter(must=[RED])])]), WALK),
    "and half of it": (Filter(must=[HALF, RED]), WALK),
    "and a fifth of it": (
        Filter(must=[FieldCondition("part", range=RangeFloat(lt=2)), RED]),
        STEPS,
    ),
    "without some": (Filter(must=[RED], must_not=[match("part", 5)]), WALK),
    "and one of others": (Filter(must=[RED], should=[match("part", 5), HALF]), WALK),
    "two values, of which the rarer": (
        Filter(must=[match("flag", True), match("tenant", "far"), match("owner", UUIDS[0])]),
        STEPS,
    ),
    "without a match any more": (
        Filter(must=[RED, HasIdCondition([n for n in range(300, ROWS) if n % 3 == 0])]),
        WALK,
    ),
}


@pytest.mark.parametrize("what", SERVED)
@pytest.mark.parametrize("name", ["", "many"])
def test_filters_that_require_a_value_walk_its_graph(
    shard: ShardView, tenants: ShardView, name: str, what: str
) -> None:
    filter, way = SERVED[what]
    for view in (shard, tenants):
        assert recall(view, asking(filter, name), way) > 0.93


NOT_SERVED: dict[str, Filter] = {
    "any of two": Filter(must=[FieldCondition("tenant", match=MatchAny(["red", "blue"]))]),
    "except one": Filter(must=[FieldCondition("tenant", match=MatchExcept(["red"]))]),
    "its words": Filter(must=[FieldCondition("tenant", match=MatchTextAny("red"))]),
    "should": Filter(should=[RED]),
    "not": Filter(must_not=[RED]),
    "in one that should": Filter(must=[Filter(should=[RED, HALF])]),
    "or a range": Filter(must=[FieldCondition("n", match=MatchValue(1), range=RangeFloat(gte=2))]),
    "a number of values": Filter(must=[FieldCondition("tags", values_count=ValuesCount(gte=1))]),
    "no index": Filter(must=[match("part", 3)]),
    "a range": Filter(must=[FieldCondition("n", range=RangeFloat(gte=1, lte=1))]),
}


@pytest.mark.parametrize("what", NOT_SERVED)
def test_other_filters_walk_the_graph_of_all(
    shard: ShardView, tenants: ShardView, what: str
) -> None:
    filter = NOT_SERVED[what]
    (request, *_) = asking(filter)
    assert ways(answer(shard, request))[0] in ("acorn", "filtered graph")
    assert ways(answer(tenants, request)) == ["scan of matches"]


@pytest.mark.parametrize(
    ("key", "value"),
    [("flag", 1), ("n", True), ("n", "1"), ("tenant", 1), ("owner", "red"), ("n", 2**63 - 1)],
)
def test_values_are_told_apart_as_filters_tell_them(shard: ShardView, key: str, value: Any) -> None:
    (request, *_) = asking(Filter(must=[match(key, value)]))
    hits = answer(shard, request)
    assert list(hits) == []
    assert WALK not in ways(hits)


def test_rows_that_died_since_are_not_found(shard: ShardView) -> None:
    dead = [n for n in range(300, ROWS) if n % 5 == 0]
    later = after(shard, U.delete_points(dead))
    assert recall(later, asking(Filter(must=[RED])), WALK) > 0.93
    few = after(shard, U.delete_points([n for n in range(300, ROWS) if n % 7]))
    assert recall(few, asking(Filter(must=[RED])), STEPS) > 0.93


def test_points_that_move_on_are_found_where_they_are(shard: ShardView) -> None:
    moved = U.set_payload([n for n in range(300, 600) if n % 3 == 0], {"tenant": "blue"})
    later = after(shard, moved)
    exact = SearchParams(exact=True)
    for request in asking(Filter(must=[RED])):
        hits = answer(later, request)
        assert all(hit.id >= 600 for hit in hits)
        wanted = answer(later, QueryRequest(10, query=request.query, filter=request.filter,
                                            params=exact))  # fmt: skip
        assert len({hit.id for hit in hits} & {hit.id for hit in wanted}) >= 8


@pytest.mark.parametrize("memory", list(Memory))
@pytest.mark.parametrize(
    "small",
    [
        None,
        ScalarQuantizationConfig(ScalarType.Int8),
        BinaryQuantizationConfig(),
        TurboQuantQuantizationConfig(),
    ],
    ids=["plain", "scalar", "binary", "turbo"],
)
def test_small_forms_bring_candidates_and_a_loaded_segment_is_the_same(
    tmp_path: Path, small: QuantizationConfig | None, memory: Memory
) -> None:
    storage, given = DiskStorage(str(tmp_path)), config(memory, small)
    view = built(storage, tail(given), 0, small)
    again = loaded(storage, view)
    filters = [Filter(must=[RED]), Filter(must=[match("tags", "c"), HALF])]
    for filter in filters:
        factor = 40.0 if isinstance(small, BinaryQuantizationConfig) else 5.0
        wide = asking(filter, quantization=QuantizationSearchParams(oversampling=factor))
        way = WALK if small is None else f"{WALK}, rescored"
        assert recall(view, wide, way) > 0.93
        plain = asking(filter, quantization=QuantizationSearchParams(ignore=True))
        assert recall(view, plain, WALK) > 0.93
        for request in wide:
            assert list(answer(again, request)) == list(answer(view, request))


def loaded(storage: DiskStorage, view: ShardView) -> ShardView:
    first, last = view.segments
    assert first.segment.entry is not None
    again, deleted = load_segment(storage, first.segment.entry, view.keys(), view.settings)
    return view.of([SegmentView(again, first.watermark, deleted), last])


def test_queries_of_a_batch_find_what_each_finds_alone(shard: ShardView) -> None:
    for filter, _ in SERVED.values():
        made = [
            QueryRequest(k % 7 + 1, query=request.query, filter=filter, params=request.params)
            for k, request in enumerate(asking(filter))
        ]
        assert answer(shard, QueryBatchRequest(made)) == [answer(shard, one) for one in made]


EXAMPLES: dict[str, Callable[[], Any]] = {
    "best score": lambda: Query.RecommendBestScore(RecommendQuery([310, 340], [350])),
    "sum of scores": lambda: Query.RecommendSumScores(RecommendQuery([310, 340], [350])),
    "discover": lambda: Query.Discover(DiscoverQuery(310, [ContextPair(340, 350)])),
    "nearest to a point": lambda: Query.Nearest(310),
}


@pytest.mark.parametrize("what", EXAMPLES)
def test_queries_by_examples_walk_it_too(shard: ShardView, what: str) -> None:
    query, filter = EXAMPLES[what](), Filter(must=[RED])
    params = SearchParams(hnsw_ef=128)
    hits = answer(shard, QueryRequest(10, query=query, filter=filter, params=params, explain=True))
    assert ways(hits) == [WALK]
    exact = SearchParams(exact=True)
    wanted = answer(shard, QueryRequest(10, query=query, filter=filter, params=exact))
    assert len({hit.id for hit in hits} & {hit.id for hit in wanted}) >= 9


def test_prefetches_and_the_filter_above_them_walk_it_too(shard: ShardView) -> None:
    """A filter of the whole query is one of each stage."""
    near = Query.Nearest(np.zeros(SIZE))
    sources = [Prefetch(10, near, filter=Filter(must=[HALF])), Prefetch(10, near)]
    request = QueryRequest(
        10, query=Fusion.Rrf(2), prefetches=sources, filter=Filter(must=[RED]), explain=True
    )
    assert ways(answer(shard, request)) == [WALK, WALK]


def test_what_is_to_be_exact_is_scanned(shard: ShardView) -> None:
    (request, *_) = asking(Filter(must=[RED]), exact=True)
    assert ways(answer(shard, request)) == ["scan of matches"]


def test_acorn_may_be_turned_off_in_it(shard: ShardView) -> None:
    filter, _ = SERVED["and a fifth of it"]
    assert recall(shard, asking(filter, acorn=AcornSearchParams(False)), WALK) > 0.93


def test_an_indexed_search_leaves_nothing_out_that_has_a_graph_of_the_value(
    tmp_path: Path,
) -> None:
    given = EdgeConfig(
        config().vectors,
        hnsw_config=HnswIndexConfig(0, 64, 1, payload_m=8),
        optimizers=None,
    )
    view = built(DiskStorage(str(tmp_path)), tail(given), m=0)
    few = view.with_settings(settings_with(view, indexing_threshold=1))
    (with_value, *_), (without, *_) = (
        asking(filter, indexed_only=True) for filter in (Filter(must=[RED]), None)
    )
    assert ways(answer(few, with_value)) == [WALK]
    assert ways(answer(few, without)) == ["left out"]


def settings_with(view: ShardView, **changed: Any) -> Any:
    fields = {name: getattr(view.settings, name) for name in view.settings.__struct_fields__}
    return type(view.settings)(**{**fields, **changed})


def test_few_matches_are_scanned(shard: ShardView, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # what walks and scans cost in truth
    (request, *_) = asking(Filter(must=[RED]))
    assert ways(answer(shard, request)) == ["scan of matches"]


def test_a_field_without_graphs_has_its_index_all_the_same(tmp_path: Path) -> None:
    indexes = U.create_field_index("tenant", KeywordIndexParams(enable_hnsw=False))
    view = built(DiskStorage(str(tmp_path)), after(tail(config()), indexes))
    (request, *_) = asking(Filter(must=[RED]))
    assert ways(answer(view, request)) == ["acorn"]
