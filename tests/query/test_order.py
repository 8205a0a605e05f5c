"""Orders against a sort, page by page, whichever segments have an index."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.errors import DeadlineExceeded
from edge.model.point_id import PointId
from edge.model.query import Direction, OrderBy
from edge.model.request import OrderCursor, QueryRequest, ScrollRequest
from edge.model.schema import PayloadSchemaType
from edge.model.update import UpdateOperation
from edge.query import deadline
from edge.query.answer import answer
from edge.query.deadline import Deadline
from edge.segment.view import ShardView
from tests.disk.simulated import SimulatedStorage
from tests.query.indexed_shards import (
    CONFIG,
    FILTERS,
    MOMENTS,
    Shard,
    chosen,
    elements,
    rank_of,
)
from tests.segment.made import after, built, start

LEAP = int(datetime(2017, 1, 1, tzinfo=UTC).timestamp()) * 10**6 - 1
"""All of a leap second is the last microsecond before the next."""


def number_of(element: Any) -> Any:
    if type(element) in (int, float):
        return element
    if type(element) is not str:
        return None
    if ":60" in element:
        return LEAP
    try:
        found = datetime.fromisoformat(element)
    except ValueError:
        return None
    aware = found if found.tzinfo else found.replace(tzinfo=UTC)
    return round(aware.timestamp()) * 10**6


def sorted_by_hand(
    points: dict[PointId, dict[str, Any]],
    path: str,
    reverse: bool,
    start_from: Any = None,
) -> list[tuple[PointId, Any]]:
    """(id, where it stands), each point once, at its best value from the start on."""
    placed = []
    for point_id, document in points.items():
        numbers = [n for e in elements(document, path) if (n := number_of(e)) is not None]
        if start_from is not None:
            numbers = [n for n in numbers if (n <= start_from if reverse else n >= start_from)]
        if numbers:
            placed.append((point_id, max(numbers) if reverse else min(numbers)))
    return sorted(placed, key=lambda pair: (pair[1], rank_of(pair[0])), reverse=reverse)


def shown(found: Any) -> list[tuple[PointId, Any]]:
    return [(hit.id, hit.order_value) for hit in found]


def walk(view: ShardView, order: OrderBy, limit: int, filter: Any) -> list[tuple[PointId, Any]]:
    """All pages, each from where the one before ended."""
    found: list[tuple[PointId, Any]] = []
    cursor: Any = None
    for _ in range(500):
        records, cursor = answer(view, ScrollRequest(cursor, limit, filter, order_by=order))
        assert len(records) <= limit
        found += shown(records)
        if cursor is None:
            return found
        assert isinstance(cursor, OrderCursor)
        assert (cursor.id, cursor.value) == found[-1]
        assert len(records) == limit
    raise AssertionError("the pages have no end")


PATHS = ["n", "size", "at", "parts[].n", "other", "ok", "room", "gone"]
DIRECTIONS = [Direction.Asc, Direction.Desc]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", FILTERS)
def test_points_come_in_order(indexed: Shard, name: str, path: str, direction: Direction) -> None:
    expected = sorted_by_hand(chosen(indexed, name), path, direction is Direction.Desc)
    order = OrderBy(path, direction)
    for limit in (1000, 10):
        hits = answer(indexed.view, QueryRequest(limit, query=order, filter=FILTERS[name]))
        assert shown(hits) == expected[:limit]
        assert {hit.score for hit in hits} <= {1.0}
    hits = answer(indexed.view, QueryRequest(7, 5, query=order, filter=FILTERS[name]))
    assert shown(hits) == expected[5:12]
    assert walk(indexed.view, order, 23, FILTERS[name]) == expected


@pytest.mark.parametrize("limit", [1, 2, 7])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("path", ["n", "at", "parts[].n"])
def test_pages_of_any_size_are_the_whole(
    indexed: Shard, path: str, direction: Direction, limit: int
) -> None:
    """With many ties, and points that would stand in several places."""
    few = chosen(indexed, "few")
    expected = sorted_by_hand(few, path, direction is Direction.Desc)
    assert walk(indexed.view, OrderBy(path, direction), limit, FILTERS["few"]) == expected


STARTS: list[tuple[str, Any, Any]] = [
    ("n", 20, 20),
    ("n", 20.5, 20.5),
    ("n", -(10**25), -(10**25)),
    ("n", 10**25, 10**25),
    ("n", float("inf"), float("inf")),
    ("size", 2, 2),
    ("size", 2**53, 2**53),
    ("size", 2**53 + 1, 2**53 + 1),
    ("size", 0.0, 0.0),
    ("at", "2024-05-10", number_of("2024-05-10")),
    ("at", datetime(2024, 5, 10, 10, tzinfo=UTC), number_of("2024-05-10T10:00:00Z")),
    ("at", 5, 5),
    ("at", LEAP, LEAP),
    ("at", LEAP + 0.5, LEAP + 0.5),
    ("n", "2024-05-01", number_of("2024-05-01")),
    ("parts[].n", 3, 3),
]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(
    ("path", "given_start", "number"), STARTS, ids=[f"{p} {s}" for p, s, _ in STARTS]
)
def test_an_order_starts_where_it_is_told_to(
    indexed: Shard, path: str, given_start: Any, number: Any, direction: Direction
) -> None:
    order = OrderBy(path, direction, given_start)
    expected = sorted_by_hand(indexed.points, path, direction is Direction.Desc, number)
    assert shown(answer(indexed.view, QueryRequest(1000, query=order))) == expected
    assert walk(indexed.view, order, 31, None) == expected


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=2 * settings.default.max_examples,
)
@given(
    moment=st.sampled_from(MOMENTS),
    path=st.sampled_from(["n", "at", "size", "parts[].n"]),
    direction=st.sampled_from(DIRECTIONS),
    value=st.integers(-2, 45) | st.floats(-2, 45) | st.just(LEAP) | st.just(2**53),
    point_id=st.integers(0, 220) | st.uuids(),
    limit=st.integers(1, 30),
)
def test_a_page_may_go_on_behind_any_point(
    every_indexed: dict[str, Shard],
    moment: str,
    path: str,
    direction: Direction,
    value: float,
    point_id: PointId,
    limit: int,
) -> None:
    """Of points that stand before the cursor none is shown, wherever else they hold a value."""
    shard, reverse = every_indexed[moment], direction is Direction.Desc
    everyone = sorted_by_hand(shard.points, path, reverse)
    place = (value, rank_of(point_id))
    rest = [
        (i, at)
        for i, at in everyone
        if ((at, rank_of(i)) < place if reverse else (at, rank_of(i)) > place)
    ]
    request = ScrollRequest(OrderCursor(value, point_id), limit, order_by=OrderBy(path, direction))
    records, following = answer(shard.view, request)
    assert shown(records) == rest[:limit]
    assert (following is None) == (len(rest) <= limit)


def test_a_page_of_nothing_stays_where_it_is(indexed: Shard) -> None:
    cursor = OrderCursor(5, 1)
    assert answer(indexed.view, ScrollRequest(None, 0, order_by="n")) == ([], None)
    assert answer(indexed.view, ScrollRequest(cursor, 0, order_by="n")) == ([], cursor)
    assert answer(indexed.view, QueryRequest(0, query=OrderBy("n"))) == []


def test_neighbours_beyond_the_floats_keep_their_order() -> None:
    numbers = [2**53 + 1, 2**53, float(2**53), 2**64 - 1, 2**63 - 1, -(2**63), 2**63, 0.5]
    for kind in (None, PayloadSchemaType.Integer, PayloadSchemaType.Float):
        view = start(CONFIG)
        if kind is not None:
            view = after(view, UpdateOperation.create_field_index("n", kind))
        ids = list(range(len(numbers)))
        vectors = [[1.0, 0.0, 0.0, 0.0]] * len(ids)
        view = after(view, UpdateOperation.upsert_arrays(ids, vectors, [{"n": n} for n in numbers]))
        for each in (view, built(view, SimulatedStorage())):
            for reverse, direction in enumerate(DIRECTIONS):
                expected = sorted(ids, key=lambda i: (numbers[i], i), reverse=bool(reverse))
                hits = answer(each, QueryRequest(99, query=OrderBy("n", direction)))
                assert [hit.id for hit in hits] == expected
                assert [hit.order_value for hit in hits] == [numbers[i] for i in expected]
                pages = walk(each, OrderBy("n", direction), 1, None)
                assert [i for i, _ in pages] == expected


def test_an_empty_shard_has_no_order() -> None:
    assert answer(start(CONFIG), QueryRequest(5, query=OrderBy("n"))) == []
    assert answer(start(CONFIG), ScrollRequest(order_by="n")) == ([], None)


ASKS: dict[str, Callable[[str], Any]] = {
    "query": lambda path: QueryRequest(5, query=OrderBy(path)),
    "scroll": lambda path: ScrollRequest(order_by=path),
}


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize("path", ["n", "other"])
def test_an_order_stops_at_its_deadline(
    indexed: Shard, ask: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadline, "monotonic", iter(range(1000)).__next__)
    for seconds in (0, 2.5):
        with pytest.raises(DeadlineExceeded):
            answer(indexed.view, ASKS[ask](path), Deadline(seconds))
