"""What an answer shows of its points."""

from __future__ import annotations

from typing import Any, get_args
from uuid import UUID

import numpy as np
import pytest

from edge.disk.storage import DiskStorage
from edge.errors import LimitExceeded, UnknownVector, ValidationError
from edge.model.config import EdgeConfig
from edge.model.limits import Limits
from edge.model.point import Point
from edge.model.point_id import PointId
from edge.model.query import Query
from edge.model.request import (
    CountRequest,
    PayloadSelector,
    QueryBatchRequest,
    QueryRequest,
    ScrollRequest,
    SearchRequest,
)
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams
from edge.query import deadline
from edge.query.answer import ANSWERS, Request, Retrieve, answer, deadline_of, estimate
from edge.query.deadline import NEVER
from edge.segment.view import ShardView
from tests.query.shards import NAMES, Shard, config, id_of, spread
from tests.query.test_search import FILTERS, chosen, queries
from tests.segment.made import after, start


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Shard:
    return spread(DiskStorage(str(tmp_path_factory.mktemp("records"))), config(), NAMES)


def stored(name: str, row: np.ndarray) -> list[float]:
    return (row / 2 if name == "cosine" else row).tolist()  # type: ignore[no-any-return]


def test_every_point_is_retrieved_whole_from_wherever_it_is(shard: Shard) -> None:
    found = answer(shard.view, Retrieve.of(list(shard.points), True, True))
    assert [record.id for record in found] == list(shard.points)
    for record in found:
        known = shard.points[record.id]
        assert record.payload == known.payload
        assert record.vector == {n: stored(n, v) for n, v in known.vectors.items()}


def test_hits_carry_versions_payloads_and_vectors_of_their_own(shard: Shard) -> None:
    request = QueryRequest(
        limit=500,
        query=Query.Nearest(queries("euclid")[0], "euclid"),
        with_payload=True,
        with_vector=["dot"],
    )
    hits = answer(shard.view, request)
    assert len({hit.version for hit in hits}) > 3
    for hit in hits:
        known = shard.points[hit.id]
        assert hit.version == known.version
        assert hit.payload == known.payload
        vectors = {"dot": stored("dot", known.vectors["dot"])} if "dot" in known.vectors else {}
        assert hit.vector == vectors


ONE = Point(1, {"": [1.0, 2.0], "b": [3.0]}, {"a": {"x": 1, "y": [1, 2]}, "z": None})


@pytest.fixture(scope="module")
def named() -> ShardView:
    vectors = {"": EdgeVectorParams(2, Distance.Dot), "b": EdgeVectorParams(1, Distance.Dot)}
    points = [ONE, Point(2, [5.0, 6.0]), Point(3, {"b": [7.0]}), Point(4, {})]
    return after(start(EdgeConfig(vectors)), UpdateOperation.upsert_points(points))


@pytest.mark.parametrize(
    ("selector", "shown"),
    [
        (False, [None, None, None, None]),
        (True, [{"": [1.0, 2.0], "b": [3.0]}, [5.0, 6.0], {"b": [7.0]}, {}]),
        ([""], [[1.0, 2.0], [5.0, 6.0], {}, {}]),
        (["b"], [{"b": [3.0]}, {}, {"b": [7.0]}, {}]),
        (["b", ""], [{"": [1.0, 2.0], "b": [3.0]}, [5.0, 6.0], {"b": [7.0]}, {}]),
        ([], [{}, {}, {}, {}]),
    ],
)
def test_vectors_come_alone_or_by_name(named: ShardView, selector: Any, shown: list[Any]) -> None:
    records, _ = answer(named, ScrollRequest(with_vector=selector))
    assert [record.vector for record in records] == shown


@pytest.mark.parametrize(
    ("selector", "shown"),
    [
        (False, None),
        (True, {"a": {"x": 1, "y": [1, 2]}, "z": None}),
        (["a.x"], {"a": {"x": 1}}),
        (PayloadSelector.Include(["z", "a.y"]), {"a": {"y": [1, 2]}, "z": None}),
        (PayloadSelector.Exclude(["a.y", "z"]), {"a": {"x": 1}}),
        (PayloadSelector.Include([]), {}),
        (PayloadSelector.Exclude([]), {"a": {"x": 1, "y": [1, 2]}, "z": None}),
    ],
)
def test_payloads_are_shown_as_selected(named: ShardView, selector: Any, shown: Any) -> None:
    [record] = answer(named, Retrieve.of([1], selector, False))
    assert record.payload == shown
    [other] = answer(named, Retrieve.of([4], selector, False))
    assert other.payload == (None if shown is None else {})


def test_only_the_winners_payloads_are_read(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = type(shard.view.segments[0]).payloads

    def noted(view: Any, offsets: list[int]) -> Any:
        read.extend(offsets)
        return original(view, offsets)

    monkeypatch.setattr(type(shard.view.segments[0]), "payloads", noted)
    query = Query.Nearest(queries("dot")[0], "dot")
    answer(shard.view, QueryRequest(5, offset=2, query=query, with_payload=True))
    assert len(read) == 5


# -- the other requests


def test_retrieved_points_come_once_in_the_order_asked(named: ShardView) -> None:
    found = answer(named, Retrieve.of([3, 99, 1, 3, UUID(int=1)], False, False))
    assert [record.id for record in found] == [3, 1]
    assert answer(named, Retrieve.of([], True, True)) == []


@pytest.mark.parametrize("ids", [[], [1], [99]])
def test_a_vector_name_that_is_not_known_is_refused_whatever_is_found(
    named: ShardView, ids: list[PointId]
) -> None:
    with pytest.raises(UnknownVector, match="gone"):
        answer(named, Retrieve.of(ids, True, ["gone"]))


def test_no_more_ids_are_taken_than_the_limit_says() -> None:
    few = EdgeConfig(EdgeVectorParams(1, Distance.Dot), limits=Limits(request_points=2))
    assert answer(start(few), Retrieve.of([1, 2], None, None)) == []
    with pytest.raises(LimitExceeded, match="3, at most 2"):
        answer(start(few), Retrieve.of([1, 2, 3], None, None))


@pytest.mark.parametrize("which", [None, *FILTERS])
def test_counts_are_those_of_the_oracle(shard: Shard, which: str | None) -> None:
    wanted, points = chosen(shard, which)
    assert answer(shard.view, CountRequest(filter=wanted)) == len(points)


def test_a_limit_of_nothing_gives_nothing(shard: Shard) -> None:
    assert answer(shard.view, QueryRequest(0)) == []
    records, following = answer(shard.view, ScrollRequest(limit=0))
    assert records == []
    assert following is not None  # the first point, where a page would begin


def test_every_request_has_an_answer() -> None:
    assert set(ANSWERS) == set(get_args(Request))
    with pytest.raises(ValidationError, match="str is not a request"):
        answer(start(config()), "scroll")  # type: ignore[arg-type]


def test_a_request_carries_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "monotonic", lambda: 10.0)
    made = deadline_of(QueryRequest(1, timeout=2.0, best_effort=True))
    assert made.left() == 2.0
    assert made.best_effort
    assert deadline_of(CountRequest(timeout=1.0)).left() == 1.0
    for request in (ScrollRequest(), QueryBatchRequest([]), Retrieve.of([1], None, None)):
        assert deadline_of(request) is NEVER


def test_larger_requests_are_estimated_to_take_longer(shard: Shard) -> None:
    query = Query.Nearest(queries("dot")[0], "dot")
    small = start(config())

    def cost(request: Any, view: ShardView = shard.view) -> float:
        return estimate(view, request)

    assert cost(QueryRequest(5, query=query), small) < cost(QueryRequest(5, query=query))
    assert cost(QueryRequest(5, query=query)) < cost(QueryRequest(500, query=query))
    unfiltered, filtered = CountRequest(), CountRequest(filter=FILTERS["most"][0])
    assert cost(unfiltered) < cost(filtered)
    one = QueryRequest(5, query=query)
    assert cost(QueryBatchRequest([one] * 3)) == pytest.approx(3 * cost(one))
    assert cost(Retrieve.of([1], None, None)) < cost(Retrieve.of(list(range(99)), None, None))
    assert cost(ScrollRequest(limit=1)) < cost(ScrollRequest(limit=99))
    unknown = QueryRequest(5, query=Query.Nearest([1.0], "gone"))
    assert cost(unknown) > 0
    search = SearchRequest(query, 5)
    assert cost(search) == cost(one)


def test_ids_of_the_shards_are_ints_and_uuids() -> None:
    assert [type(id_of(n)) for n in range(3)] == [int, UUID, int]
