"""Points in the order of a field, and by chance, are those of qdrant_edge and of a plain sort.

The deliberate differences are tests of their own, at the end; each shows both answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import qdrant_edge
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.blocking import EdgeShard
from edge.errors import ValidationError
from edge.model.config import Durability, EdgeConfig, EdgeOptimizersConfig
from edge.model.filter import FieldCondition, Filter, HasIdCondition, MatchValue, SliceCondition
from edge.model.point import Point
from edge.model.point_id import PointId
from edge.model.query import Direction, OrderBy, Sample
from edge.model.request import OrderCursor, QueryRequest, ScrollRequest
from edge.model.schema import (
    DatetimeIndexParams,
    FloatIndexParams,
    IntegerIndexParams,
    PayloadSchemaType,
)
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams
from tests.congruence.engines import ALL, Pair, exactly, id_order, theirs

U = UpdateOperation
P = PayloadSchemaType
Payload = dict[str, Any]

FEW = settings(
    max_examples=settings().max_examples // 5,  # each of some dozen answers
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

POINTS = 60
IDS: list[PointId] = [*range(40), *(UUID(int=2**127 + i) for i in range(POINTS - 40))]
ANYONE = Filter(must_not=[HasIdCondition([10**6])])
"""Matches every point. Only with a filter has Qdrant an order of equal values: that of ids."""
SIZE = 32
CONFIG = EdgeConfig(
    vectors=EdgeVectorParams(size=SIZE, distance=Distance.Dot),
    optimizers=EdgeOptimizersConfig(
        deleted_threshold=0.1,
        vacuum_min_vector_number=8,
        default_segment_number=1,
        indexing_threshold=1,
    ),
    durability=Durability.Os,
)
INDEXES: dict[str, Any] = {
    "integer": P.Integer,
    "float": P.Float,
    "datetime": P.Datetime,
    "deep.integer": IntegerIndexParams(lookup=True),
    "list[].integer": IntegerIndexParams(range=True, lookup=False, nested="list"),
    "list[].float": FloatIndexParams(is_principal=True),
    "list[].datetime": DatetimeIndexParams(),
}
MOMENTS = [
    "2024-01-01", "2024-01-01T00:00:00Z", "2024-01-01 01:00:00+01:00", "2023-12-31T23:59:59.999999",
    "2024-01-01T00:00:00.0000019", "1969-07-20T20:17", "1969-12-31T23:59:59.5Z", "+12024-01-01",
]  # fmt: skip
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "integer": st.sampled_from([0, 1, -1, 2, 3, 7, 2**53 + 1, -(2**53) - 1, 2**62, -(2**62)]),
    "float": st.sampled_from([0.0, -0.0, 1, 1.5, -2.5, 1e300, -1e-300, 2**53, 2.0**63]),
    "datetime": st.sampled_from(MOMENTS),
}
"""By kind: the values that an index of it puts in order."""


def fitting(kind: str) -> st.SearchStrategy[Any]:
    """Values of the kind, and others that stand in no order."""
    one = VALUES[kind] | st.sampled_from([None, True, "x", {"x": 1}])
    return st.one_of(VALUES[kind], VALUES[kind], one, st.lists(one | st.just([5]), max_size=4))


objects = st.fixed_dictionaries({}, optional={kind: fitting(kind) for kind in VALUES})
payloads = st.builds(
    lambda top, more: {**top, **more},
    objects,
    st.fixed_dictionaries(
        {"n": st.integers(0, 2)},
        optional={"deep": objects, "list": st.lists(objects | st.none(), max_size=3)},
    ),
)
starts = st.sampled_from(
    [
        None,
        None,
        None,
        0,
        1,
        2.5,
        -0.5,
        2**53,
        1e300,
        float("inf"),
        *MOMENTS[:2],
        1704067200000000,
    ]
)
orders = st.builds(
    OrderBy, st.sampled_from(list(INDEXES)), st.sampled_from([None, *Direction]), starts
)
filters = st.one_of(
    st.just(ANYONE),
    st.builds(lambda n: Filter(must=[FieldCondition("n", match=MatchValue(n))]), st.integers(0, 3)),
    st.builds(lambda i: Filter(must=[SliceCondition(4, i)]), st.integers(0, 3)),
)


def upsert(first: int, given: list[Payload]) -> UpdateOperation:
    points = zip(IDS[first:], given, strict=False)
    return U.upsert_points([Point(id, [1.0] * SIZE, payload) for id, payload in points])


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    made = Pair(tmp_path_factory.mktemp("orders") / "pair", CONFIG)
    for path, schema in INDEXES.items():
        made.update(U.create_field_index(path, schema))
    yield made
    made.close()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path / "pair", CONFIG)
    yield made
    made.close()


def placed(hits: Iterable[Any]) -> list[Any]:
    return [(hit.id, exactly(hit.order_value)) for hit in hits]


def by_first(hits: list[Any]) -> list[Any]:
    seen: dict[Any, Any] = {}
    for hit in hits:
        seen.setdefault(hit.id, hit)
    return list(seen.values())


def expected_of(pair: Pair, order: OrderBy, filter: Filter) -> list[Any]:
    request = ScrollRequest(limit=ALL, filter=filter, order_by=order, with_payload=False)
    records, following = pair.theirs.scroll(theirs(request))
    assert following is None
    return by_first(records)


@FEW
@given(
    first=st.lists(payloads, min_size=30, max_size=30),
    second=st.lists(payloads, min_size=25, max_size=30),
    gone=st.lists(st.sampled_from(IDS), max_size=10),
    asked=st.lists(st.tuples(orders, filters, st.integers(0, 12)), min_size=15, max_size=15),
)
def test_any_order_by_an_index(
    pair: Pair, first: list[Payload], second: list[Payload], gone: list[PointId], asked: list[Any]
) -> None:
    """Ours in one built segment and the tail; some points are overwritten, some deleted."""
    pair.clear()
    pair.update(upsert(0, first))
    pair.ours.optimize()
    pair.update(upsert(20, second))
    pair.update(U.delete_points(gone))
    for order, filter, count in asked:
        expected = placed(expected_of(pair, order, filter))
        for limit in (count, ALL):
            found, _ = pair.ours.scroll(ScrollRequest(None, limit, filter, order_by=order))
            assert placed(found) == expected[:limit], order
        request = QueryRequest(count, 3, order, filter=filter, score_threshold=2.0)
        hits = pair.ours.query(request)
        assert placed(hits) == expected[3 : 3 + count], order
        assert {hit.score for hit in hits} <= {1.0}
        same_but_for_ties(pair, order)


def same_but_for_ties(pair: Pair, order: OrderBy) -> None:
    """Without a filter Qdrant's order of equal values is that of its memory."""
    request = ScrollRequest(limit=ALL, order_by=order)
    found, _ = pair.ours.scroll(request)
    expected = by_first(pair.theirs.scroll(theirs(request))[0])
    assert groups(found) == groups(expected)
    assert placed(found) == placed(expected_of(pair, order, ANYONE))


def groups(hits: list[Any]) -> list[Any]:
    return [
        (value, Counter(hit.id for hit in some))
        for value, some in groupby(hits, lambda hit: hit.order_value)
    ]


TIES = [{"a": value, "n": n} for n, value in enumerate([5, 5, None, 1, 5, "x", 1, 9, 1])]


@pytest.mark.parametrize("direction", [None, *Direction])
def test_ties_go_by_id_and_backwards_where_the_order_does(
    small: Pair, direction: Direction | None
) -> None:
    small.update(U.create_field_index("a", P.Integer))
    small.update(upsert(35, TIES))  # integers and UUIDs
    order = OrderBy("a", direction)
    expected = expected_of(small, order, ANYONE)
    for limit in (None, 0, 1, 2, 4, ALL):
        found, _ = small.ours.scroll(ScrollRequest(None, limit, None, order_by=order))
        assert placed(found) == placed(expected)[: 10 if limit is None else limit]
        shown, _ = small.theirs.scroll(theirs(ScrollRequest(None, limit, order_by=order)))
        assert [hit.order_value for hit in shown] == [hit.order_value for hit in found]


def test_orders_before_and_after_a_rebuild_and_a_restart(small: Pair) -> None:
    small.update(U.create_field_index("a", P.Integer))
    small.update(upsert(0, TIES * 3))
    small.update(upsert(20, [{"a": -3}]))
    for change in (small.optimize, small.restart, lambda: small.update(U.delete_points([4, 20]))):
        change()
        for direction in Direction:
            order = OrderBy("a", direction, 1)
            found, _ = small.ours.scroll(ScrollRequest(None, ALL, ANYONE, order_by=order))
            assert placed(found) == placed(expected_of(small, order, ANYONE))


def test_both_refuse_an_id_as_offset_of_an_order(small: Pair) -> None:
    small.update(U.create_field_index("a", P.Integer))
    with pytest.raises(ValidationError, match="OrderCursor"):
        ScrollRequest(5, order_by=OrderBy("a"))
    with pytest.raises(Exception, match="Offset is not supported"):
        small.theirs.scroll(qdrant_edge.ScrollRequest(5, order_by=qdrant_edge.OrderBy("a")))


@pytest.mark.parametrize("start", ["no time", "2024-13-01", "", True])
def test_what_is_no_place_in_an_order_is_refused(start: Any) -> None:
    with pytest.raises(ValidationError):
        OrderBy("a", start_from=start)


# Pages, and any values whatever.

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LEAP = "2023-12-31T23:59:60.5Z"
PLACES: dict[Any, Any] = {
    text: (datetime.fromisoformat(text) - EPOCH).total_seconds() * 1_000_000
    for text in ["2024-01-01T00:00:00+00:00", "2023-12-31T23:59:59.500000+00:00"]
}
PLACES = {text: int(place) for text, place in PLACES.items()}
PLACES |= {"1970-01-01T00:00:00.000002Z": 2, "1969-12-31": -86_400_000_000}
LAST = PLACES["2024-01-01T00:00:00+00:00"] - 1
PLACES |= {LEAP: LAST, "2023-12-31T23:59:60.7Z": LAST, "2023-12-31T23:59:59.999999Z": LAST}
"""Texts of moments, and their microseconds; the last three tie."""
NUMBERS = [0, 1, 2, 2.0, 1.5, -0.0, -3, 2**53, 2**53 + 1, 2.0**53, 2**63, 2**64 - 1, 1e300, LAST]
SCHEMAS = [None, P.Integer, P.Float, P.Datetime, IntegerIndexParams(on_disk=True)]

values = st.sampled_from([*NUMBERS, *PLACES, None, "x", True, [1], {"a": 1}])
held = st.one_of(values, values, st.lists(values, max_size=4))
some_orders = st.builds(
    OrderBy,
    st.just("a"),
    st.sampled_from(Direction),
    st.sampled_from([None, None, 1, 2.5, 2**53 + 1, 2.0**53, LAST, LAST + 0.5, LEAP, 10**30]),
)


class Plain:
    """The order as a sort of what is told it."""

    def __init__(self) -> None:
        self.held: dict[PointId, Any] = {}

    def sorted(self, order: OrderBy, wanted: set[PointId]) -> list[tuple[PointId, Any]]:
        backwards = order.direction is Direction.Desc
        found = [
            (best, id)
            for id in wanted & self.held.keys()
            if (best := self._best(id, order, max if backwards else min)) is not None
        ]
        found.sort(key=lambda item: (item[0], id_order(item[1])), reverse=backwards)
        return [(id, best) for best, id in found]

    def _best(self, id: PointId, order: OrderBy, choose: Any) -> Any:
        value = self.held[id]
        places = [
            PLACES[one] if isinstance(one, str) else one
            for one in (value if isinstance(value, list) else [value])
            if type(one) in (int, float) or (isinstance(one, str) and one in PLACES)
        ]
        start = start_of(order)
        if start is not None and choose is min:
            places = [place for place in places if place >= start]
        elif start is not None:
            places = [place for place in places if place <= start]
        return choose(places) if places else None


def start_of(order: OrderBy) -> Any:
    """The place of `start_from`; the one moment that is drawn is read back in another spelling."""
    return LAST if isinstance(order.start_from, str) else order.start_from


def pages(shard: EdgeShard, order: OrderBy, filter: Filter | None, limit: int) -> Iterator[Any]:
    after: Any = None
    while True:
        request = ScrollRequest(after, limit, filter, with_payload=False, order_by=order)
        found, after = shard.scroll(request)
        yield found
        if after is None:
            return
        assert isinstance(after, OrderCursor)
        assert len(found) == limit
        assert after.id == found[-1].id


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeShard]:
    made = EdgeShard.create(tmp_path_factory.mktemp("pages") / "shard", CONFIG)
    yield made
    made.close()


@settings(FEW, max_examples=settings().max_examples // 2)
@given(
    schema=st.sampled_from(SCHEMAS),
    parts=st.lists(st.lists(held, min_size=12, max_size=25), min_size=1, max_size=3),
    gone=st.sets(st.sampled_from(IDS), max_size=6),
    asked=st.lists(
        st.tuples(some_orders, st.integers(1, 9), st.none() | st.sets(st.sampled_from(IDS))),
        min_size=6,
        max_size=6,
    ),
)
def test_pages_are_a_plain_sort_cut_in_pieces(
    shard: EdgeShard, schema: Any, parts: list[list[Any]], gone: set[PointId], asked: list[Any]
) -> None:
    """Built segments and a tail, values of all types, several at a point, indexed or not."""
    plain = Plain()
    shard.update(U.delete_points_by_filter(Filter()))
    shard.update(U.delete_field_index("a"))
    if schema is not None:
        shard.update(U.create_field_index("a", schema))
    for place, part in enumerate(parts):
        if place == 1:
            shard.optimize()
        shard.update(upsert(place * 15, [{"a": value} for value in part]))
        plain.held.update(zip(IDS[place * 15 :], part, strict=False))
    shard.update(U.delete_points(gone))
    for order, limit, only in asked:
        wanted = set(IDS) - gone if only is None else only - gone
        filter = None if only is None else Filter(must=[HasIdCondition(only)])
        expected = plain.sorted(order, wanted)
        read = [hit for page in pages(shard, order, filter, limit) for hit in page]
        assert [(hit.id, hit.order_value) for hit in read] == expected, order
        hits = shard.query(QueryRequest(limit, 2, order, filter=filter))
        assert [(hit.id, hit.order_value) for hit in hits] == expected[2 : 2 + limit], order


# By chance.


@FEW
@given(
    limit=st.integers(0, 80),
    offset=st.sampled_from([None, 0, 5, 70]),
    filter=st.none() | filters,
    gone=st.sets(st.sampled_from(IDS), max_size=30),
)
def test_a_sample_is_of_distinct_points_that_match(
    pair: Pair, limit: int, offset: int | None, filter: Filter | None, gone: set[PointId]
) -> None:
    pair.clear()
    pair.update(upsert(0, [{"n": i % 3} for i in range(POINTS)]))
    pair.ours.optimize()
    pair.update(upsert(0, [{"n": i % 2} for i in range(9)]))
    pair.update(U.delete_points(gone))
    request = QueryRequest(limit, offset, Sample.Random, filter=filter, score_threshold=7.0)
    found = pair.ours.query(request)
    everyone = {hit.id for hit in pair.ours.query(QueryRequest(ALL, filter=filter))}
    assert len({hit.id for hit in found}) == len(found)
    assert {hit.id for hit in found} <= everyone
    assert len(found) == len(pair.theirs.query(theirs(request)))
    assert {(hit.score, hit.order_value, hit.payload, hit.vector) for hit in found} <= {
        (1.0, None, None, None)
    }


def test_every_point_comes_first_in_some_sample(small: Pair) -> None:
    small.update(upsert(0, [{}] * 4))
    request = QueryRequest(1, query=Sample.Random)
    for ask in (
        lambda: small.ours.query(request),
        lambda: small.theirs.query(theirs(request)),
    ):
        seen = {ask()[0].id for _ in range(200)}  # one is missing once in 10**24
        assert seen == {0, 1, 2, 3}


# Deliberate differences.

MANY = [{"a": [1, 1, 5]}, {"a": 3}, {"a": [9, 2]}]


def test_a_point_stands_once_where_qdrant_lists_each_of_its_values(small: Pair) -> None:
    small.update(U.create_field_index("a", P.Integer))
    small.update(upsert(0, MANY))
    request = ScrollRequest(order_by=OrderBy("a"), filter=ANYONE)
    assert in_short(small.ours.scroll(request)[0]) == [(0, 1), (2, 2), (1, 3)]
    assert in_short(small.theirs.scroll(theirs(request))[0]) == [
        (0, 1),
        (2, 2),
        (1, 3),
        (0, 5),
        (2, 9),
    ]
    backwards = QueryRequest(9, query=OrderBy("a", Direction.Desc, 6), filter=ANYONE)
    assert in_short(small.ours.query(backwards)) == [(0, 5), (1, 3), (2, 2)]
    assert in_short(small.theirs.query(theirs(backwards))) == [(0, 5), (1, 3), (2, 2), (0, 1)]


def in_short(hits: list[Any]) -> list[Any]:
    return [(hit.id, hit.order_value) for hit in hits]


@pytest.mark.parametrize(
    "schema", [None, P.Keyword, P.Bool, P.Text, IntegerIndexParams(range=False)]
)
def test_no_index_is_needed_where_qdrant_refuses(small: Pair, schema: Any) -> None:
    if schema is not None:
        small.update(U.create_field_index("a", schema))
    small.update(upsert(0, [{"a": 2}, {"a": 1.5}, {"a": "1970-01-01"}, {"a": None}]))
    request = ScrollRequest(order_by=OrderBy("a"))
    assert placed(small.ours.scroll(request)[0]) == [
        (2, (int, 0)),
        (1, (float, 1.5)),
        (0, (int, 2)),
    ]
    with pytest.raises(Exception, match="No range index"):
        small.theirs.scroll(theirs(request))


def test_an_index_hides_no_number_where_qdrants_orders_its_own_kind(small: Pair) -> None:
    small.update(U.create_field_index("a", P.Integer))
    small.update(upsert(0, [{"a": 2}, {"a": 1.5}, {"a": 2.0}, {"a": 2**63}]))
    request = ScrollRequest(order_by=OrderBy("a"), filter=ANYONE)
    assert placed(small.ours.scroll(request)[0]) == [
        (1, (float, 1.5)),
        (0, (int, 2)),
        (2, (float, 2.0)),
        (3, (int, 2**63)),
    ]
    assert placed(small.theirs.scroll(theirs(request))[0]) == [
        (0, (int, 2)),
        (2, (int, 2)),
        (3, (int, 2**63 - 1)),
    ]


def test_a_leap_second_comes_before_the_next_where_qdrant_puts_it_into_that(small: Pair) -> None:
    small.update(U.create_field_index("a", P.Datetime))
    small.update(upsert(0, [{"a": LEAP}, {"a": "2024-01-01T00:00:00Z"}]))
    request = ScrollRequest(order_by=OrderBy("a"), filter=ANYONE)
    assert in_short(small.ours.scroll(request)[0]) == [(0, LAST), (1, LAST + 1)]
    assert in_short(small.theirs.scroll(theirs(request))[0]) == [(1, LAST + 1), (0, LAST + 500_001)]


def test_an_order_has_pages_where_qdrants_has_a_first_one_alone(small: Pair) -> None:
    small.update(U.create_field_index("a", P.Integer))
    small.update(upsert(0, MANY))
    request = ScrollRequest(limit=2, order_by=OrderBy("a"))
    assert small.ours.scroll(request)[1] == OrderCursor(2, 2)
    assert small.theirs.scroll(theirs(request))[1] is None


def test_a_path_alone_is_an_order_and_a_datetime_a_start_where_qdrant_refuses(small: Pair) -> None:
    assert ScrollRequest(order_by="a").order_by == OrderBy("a")
    with pytest.raises(TypeError):
        qdrant_edge.ScrollRequest(order_by="a")
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    assert OrderBy("a", start_from=moment) == OrderBy("a", start_from="2024-01-01")
    with pytest.raises(TypeError):
        qdrant_edge.OrderBy("a", start_from=moment)


def test_nan_is_no_start_where_qdrant_takes_it_for_zero(small: Pair) -> None:
    nan = float("nan")
    with pytest.raises(ValidationError, match="start_from"):
        OrderBy("a", start_from=nan)
    small.update(U.create_field_index("a", P.Integer))
    small.update(upsert(0, [{"a": -1}, {"a": 1}]))
    order = qdrant_edge.OrderBy("a", start_from=nan)
    found, _ = small.theirs.scroll(qdrant_edge.ScrollRequest(order_by=order))
    assert [record.id for record in found] == [1]


def test_a_start_is_compared_exactly_where_qdrant_rounds_it_to_a_float(small: Pair) -> None:
    small.update(U.create_field_index("a", P.Float))
    small.update(upsert(0, [{"a": 2.0**53}, {"a": 2.0**54}]))
    request = ScrollRequest(order_by=OrderBy("a", start_from=2**53 + 1))
    assert in_short(small.ours.scroll(request)[0]) == [(1, 2.0**54)]
    assert in_short(small.theirs.scroll(theirs(request))[0]) == [(0, 2.0**53), (1, 2.0**54)]
