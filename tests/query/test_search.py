"""Nearest points by scan, by a list of rows and by graph: all agree with a brute-force oracle."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.disk.storage import DiskStorage
from edge.errors import DeadlineExceeded
from edge.model.config import EdgeConfig
from edge.model.filter import (
    FieldCondition,
    Filter,
    HasIdCondition,
    HasVectorCondition,
    MatchValue,
    RangeFloat,
)
from edge.model.point import Point
from edge.model.point_id import PointId
from edge.model.query import Query, SearchParams
from edge.model.request import QueryRequest, SearchRequest
from edge.model.update import UpdateOperation
from edge.query import deadline, search
from edge.query.answer import answer
from edge.query.asked import Asked
from edge.query.deadline import Deadline
from edge.segment.view import SegmentView, ShardView
from edge.vectors.dense import BuiltDense
from edge_kernels import hnsw, scan
from tests.query.shards import (
    NAMES,
    SIZES,
    Growing,
    Known,
    Shard,
    config,
    id_of,
    nearest,
    pairs,
    spread,
    vector,
)
from tests.segment.made import after, cut, start

Test = Callable[[PointId, Known], bool]
FILTERS: dict[str, tuple[Filter, Test]] = {
    "a third": (
        Filter(must=[FieldCondition("colour", match=MatchValue("red"))]),
        lambda i, p: p.payload.get("colour") == "red",
    ),
    "most": (
        Filter(must=[FieldCondition("n", range=RangeFloat(gte=20))]),
        lambda i, p: p.payload.get("n", -1) >= 20,
    ),
    "few": (
        Filter(must=[FieldCondition("rare", match=MatchValue(True))]),
        lambda i, p: p.payload.get("rare", False),
    ),
    "some ids": (
        Filter(must=[HasIdCondition([id_of(n) for n in range(0, 400, 7)])]),
        lambda i, p: i in {id_of(n) for n in range(0, 400, 7)},
    ),
    "those without a vector": (
        Filter(must_not=[HasVectorCondition("dot")]),
        lambda i, p: "dot" not in p.vectors,
    ),
    "none": (Filter(must=[FieldCondition("gone", match=MatchValue(1))]), lambda i, p: False),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Shard:
    return spread(DiskStorage(str(tmp_path_factory.mktemp("plain"))), config(), [])


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Shard:
    return spread(DiskStorage(str(tmp_path_factory.mktemp("indexed"))), config(), NAMES)


def queries(name: str) -> list[np.ndarray]:
    random = np.random.default_rng(9)
    return [vector(name, random) for _ in range(4)]


def chosen(shard: Shard, which: str | None) -> tuple[Filter | None, dict[PointId, Known]]:
    if which is None:
        return None, shard.points
    wanted, test = FILTERS[which]
    return wanted, {i: p for i, p in shard.points.items() if test(i, p)}


@pytest.mark.parametrize("which", [None, *FILTERS])
@pytest.mark.parametrize("name", NAMES)
def test_a_scan_finds_what_the_oracle_finds(plain: Shard, name: str, which: str | None) -> None:
    wanted, points = chosen(plain, which)
    for query in queries(name):
        expected = nearest(points, name, query)
        for limit in (1, 10, 1000):
            request = QueryRequest(limit, query=Query.Nearest(query, name), filter=wanted)
            assert pairs(answer(plain.view, request)) == expected[:limit]


@pytest.mark.parametrize("which", [None, *FILTERS])
@pytest.mark.parametrize("name", NAMES)
def test_exact_finds_the_same_where_there_is_a_graph(
    indexed: Shard, name: str, which: str | None
) -> None:
    wanted, points = chosen(indexed, which)
    for query in queries(name):
        request = QueryRequest(
            20,
            query=Query.Nearest(query, name),
            filter=wanted,
            params=SearchParams(exact=True),
        )
        assert pairs(answer(indexed.view, request)) == nearest(points, name, query)[:20]


@pytest.mark.parametrize("which", [None, *FILTERS])
@pytest.mark.parametrize("name", NAMES)
def test_a_wide_walk_of_a_graph_finds_what_the_oracle_finds(
    indexed: Shard, name: str, which: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "scan_cost", lambda rows, dim: math.inf)
    wanted, points = chosen(indexed, which)
    for query in queries(name):
        request = QueryRequest(
            20,
            query=Query.Nearest(query, name),
            filter=wanted,
            params=SearchParams(hnsw_ef=1000),
        )
        assert pairs(answer(indexed.view, request)) == nearest(points, name, query)[:20]


@pytest.mark.parametrize("name", NAMES)
def test_offset_and_threshold_cut_the_list_at_both_ends(plain: Shard, name: str) -> None:
    query = queries(name)[0]
    expected = nearest(plain.points, name, query)
    bound = expected[30][1]
    stop = min(place for place, hit in enumerate(expected) if hit[1] == bound)
    for kind in (QueryRequest, SearchRequest):
        request = kind(limit=100, offset=3, query=Query.Nearest(query, name), score_threshold=bound)
        assert pairs(answer(plain.view, request)) == expected[3:stop]


# -- which way is taken


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every way that a segment's search goes, in order."""
    taken: list[str] = []

    def noted(way: str) -> None:
        original = getattr(search, way)

        def take(view: SegmentView, *arguments: object, **named: object) -> object:
            taken.append(way)
            return original(view, *arguments, **named)

        monkeypatch.setattr(search, way, take)

    for way in ("walk", "_scan", "scan_few"):
        noted(way)
    return taken


def ask(
    shard: Shard, which: str | None = None, name: str = "euclid", **params: object
) -> list[tuple[PointId, float]]:
    wanted, _ = chosen(shard, which)
    query = Query.Nearest(queries(name)[0], name)
    request = QueryRequest(5, query=query, filter=wanted, params=SearchParams(**params))  # type: ignore[arg-type]
    return pairs(answer(shard.view, request))


def test_the_graph_is_walked_where_there_is_one(indexed: Shard, ways: list[str]) -> None:
    ask(indexed)
    assert ways == ["walk", "_scan", "_scan", "_scan"]


def test_exact_walks_no_graph(indexed: Shard, ways: list[str]) -> None:
    ask(indexed, exact=True)
    ask(indexed, "most", exact=True)
    assert ways == ["_scan"] * 4 + ["scan_few"] * 4


@pytest.mark.parametrize(
    ("threshold", "which", "way"),
    [
        (0, "few", "walk"),
        (0, "none", "scan_few"),
        (1, "few", "scan_few"),
        (1, "most", "walk"),
        (100, "most", "scan_few"),
    ],
)
def test_what_few_a_filter_leaves_is_scanned(
    tmp_path: Path,
    ways: list[str],
    threshold: int,
    which: str,
    way: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search, "scan_cost", lambda rows, dim: math.inf)
    shard = spread(DiskStorage(str(tmp_path)), config(threshold), NAMES)
    ask(shard, which)
    assert ways == [way, "scan_few", "scan_few", "scan_few"]


def test_what_takes_less_time_than_a_walk_is_scanned(
    tmp_path: Path, ways: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = spread(DiskStorage(str(tmp_path)), config(0), NAMES)
    ask(shard, "few")
    assert ways == ["scan_few"] * 4
    monkeypatch.setattr(search, "walk_cost", lambda ef, dim: 0.0)
    ask(shard, "few")
    assert ways[4:] == ["walk", "scan_few", "scan_few", "scan_few"]


def test_indexed_only_leaves_out_large_segments_without_a_graph(
    indexed: Shard, ways: list[str]
) -> None:
    sizes = [segment.bytes_of("manhattan") for segment in indexed.view.segments]
    assert [size > 1024 for size in sizes] == [True, True, False, False]
    found = ask(indexed, name="manhattan", indexed_only=True)
    assert ways == ["walk", "_scan", "_scan"]
    others = indexed.view.of(indexed.view.segments[:1] + indexed.view.segments[2:])
    assert found == ask(Shard(others, indexed.points), name="manhattan")


def test_indexed_only_searches_a_shard_that_is_small_as_a_whole(tmp_path: Path) -> None:
    shard = spread(DiskStorage(str(tmp_path)), config(indexing_threshold=10_000), [])
    assert ask(shard, indexed_only=True) == ask(shard)


@pytest.mark.parametrize(("asked", "used"), [(None, 64), (7, 7), (500, 240), (2, 5)])
def test_ef_is_the_config_s_or_the_request_s_within_limit_and_rows(
    indexed: Shard, monkeypatch: pytest.MonkeyPatch, asked: int | None, used: int
) -> None:
    seen: list[int] = []
    original = hnsw.search

    def noted(*arguments: Any, **named: Any) -> object:
        seen.append(arguments[4])
        return original(*arguments, **named)

    monkeypatch.setattr(hnsw, "search", noted)
    ask(indexed, hnsw_ef=asked)
    rows = indexed.view.segments[0].watermark
    assert rows <= 240
    assert seen == [min(used, rows)]


# -- ties


IDS: list[PointId] = [0, 1, 2, 3, 2**64 - 1, *(UUID(int=n) for n in (0, 1, 2**64, 2**127))]


@given(st.permutations(IDS), st.lists(st.integers(0, 8), max_size=3), st.integers(1, 9))
def test_ties_are_decided_by_id_wherever_the_points_are(
    order: list[PointId], cuts: list[int], limit: int
) -> None:
    shard = start(EdgeConfig(config().vectors["dot"]))
    same = [1.0] * 17
    for place, point_id in enumerate(order):
        shard = after(shard, UpdateOperation.upsert_points([Point(point_id, same)]))
        if place in cuts:
            shard = cut(shard)
    hits = answer(shard, QueryRequest(limit, query=Query.Nearest(same)))
    assert [hit.id for hit in hits] == IDS[:limit]
    everything = Filter(must=[HasIdCondition(IDS)])
    hits = answer(shard, QueryRequest(limit, query=Query.Nearest(same), filter=everything))
    assert [hit.id for hit in hits] == IDS[:limit]


# -- blocks


def test_blocks_change_nothing(plain: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [ask(plain), ask(plain, "most")]
    monkeypatch.setattr(search, "ROWS_A_BLOCK", 7)
    assert [ask(plain), ask(plain, "most")] == whole


def test_listed_rows_are_found_in_their_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.vectors.dense.CHUNK_BYTES", 1)
    growing = Growing(config())
    growing.upsert(list(range(400)))
    shard = growing.shard()
    assert len(list(shard.view.segments[0].column("dot").chunks(400))) == 7
    for which in ("a third", "few"):
        wanted, points = chosen(shard, which)
        query = queries("dot")[0]
        request = QueryRequest(50, query=Query.Nearest(query, "dot"), filter=wanted)
        assert pairs(answer(shard.view, request)) == nearest(points, "dot", query)[:50]


# -- deadlines


class Clock:
    """A clock that moves on by one second each time it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(deadline, "monotonic", made)
    return made


def of(which: str | None) -> QueryRequest:
    wanted = None if which is None else FILTERS[which][0]
    return QueryRequest(1000, query=Query.Nearest(queries("dot")[0], "dot"), filter=wanted)


@pytest.mark.parametrize("which", [None, "most"])
def test_every_moment_of_a_search_may_be_its_last(
    plain: Shard, clock: Clock, which: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "ROWS_A_BLOCK", 50)
    everything = answer(plain.view, of(which))
    looks = 0
    counts = []
    while True:
        looks += 1
        hits = answer(plain.view, of(which), Deadline(looks, best_effort=True))
        assert set(pairs(hits)) <= set(pairs(everything))
        counts.append(len(hits))
        if len(hits) == len(everything):
            break
        with pytest.raises(DeadlineExceeded):
            answer(plain.view, of(which), Deadline(looks))
    assert counts == sorted(counts)
    assert len(set(counts)) > 4


@pytest.mark.parametrize("which", [None, "few"])
def test_a_deadline_that_is_over_gives_little_or_nothing(
    plain: Shard, clock: Clock, which: str | None
) -> None:
    with pytest.raises(DeadlineExceeded, match="0 s"):
        answer(plain.view, of(which), Deadline(0))
    hits = answer(plain.view, of(which), Deadline(0, best_effort=True))
    assert len(hits) < len(answer(plain.view, of(which)))


# -- what kernels give is merged


def test_merging_nothing(plain: Shard) -> None:
    hits = search.merge([], 5)
    assert hits.segments == ()
    assert [len(column) for column in hits[1:]] == [0, 0, 0]
    empty: ShardView = start(config())
    assert answer(empty, of(None)) == []
    assert answer(empty, of("most")) == []


def test_distances_of_a_scan_are_those_of_a_rescoring(plain: Shard) -> None:
    view = plain.view.segments[0]
    column = view.column("euclid")
    assert isinstance(column, BuiltDense)
    asked = Asked((np.zeros(SIZES["euclid"], np.float32),))
    query = asked.query(column.form)
    leaf = search.Leaf(
        name="euclid",
        asked=asked,
        form=column.form,
        query=query,
        k=9,
        filter=None,
        ef=64,
        exact=True,
        full_scan_bytes=0,
        unindexed_bytes=None,
    )
    found = search.search(plain.view.of([view]), leaf, Deadline())
    [(base, rows)] = column.chunks(view.watermark)
    again = scan.distances(query.code, query.form, rows, base, found.offsets)
    assert np.array_equal(found.distances, again)
