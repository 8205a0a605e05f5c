"""Filters: what their parts take, that they are values, and that none can be too deep."""

from __future__ import annotations

import copy
import pickle
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pytest
from hypothesis import given

from edge.errors import LimitExceeded, ValidationError
from edge.model.filter import (
    FieldCondition,
    Filter,
    HasIdCondition,
    HasVectorCondition,
    IsEmptyCondition,
    IsNullCondition,
    MatchAny,
    MatchExcept,
    MatchPhrase,
    MatchPrefix,
    MatchSubstring,
    MatchText,
    MatchTextAny,
    MatchValue,
    MinShould,
    NestedCondition,
    RangeDateTime,
    RangeFloat,
    SliceCondition,
    ValuesCount,
)
from edge.model.limits import HARD_DEPTH, HARD_NODES
from tests.model.strategies import filters

ONE = IsEmptyCondition("a")


@given(filters)
def test_a_filter_is_a_value(found: Filter) -> None:
    twin = msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=Filter)
    for other in (twin, pickle.loads(pickle.dumps(found)), copy.deepcopy(found), copy.copy(found)):
        assert other == found
        assert hash(other) == hash(found)
        assert (other.depth, other.nodes) == (found.depth, found.nodes)
    assert "\n" not in repr(found)


def count(found: Filter) -> tuple[int, int]:
    """Depth and nodes by plain recursion."""
    depth, nodes = 1, 1
    for condition in found.conditions():
        inner = condition.filter if isinstance(condition, NestedCondition) else condition
        nodes += not isinstance(condition, Filter)
        if isinstance(inner, Filter):
            below, more = count(inner)
            depth, nodes = max(depth, 1 + below), nodes + more
    return depth, nodes


@given(filters)
def test_a_filter_knows_its_size(found: Filter) -> None:
    assert (found.depth, found.nodes) == count(found)


def deep(levels: int, wrap: Callable[[Filter], Filter]) -> Filter:
    """A filter of `levels` levels."""
    found = Filter([ONE])
    for _ in range(levels - 1):
        found = wrap(found)
    return found


WRAPS: list[Callable[[Filter], Filter]] = [
    lambda inner: Filter([inner]),
    lambda inner: Filter(should=[inner]),
    lambda inner: Filter(must_not=[inner]),
    lambda inner: Filter(min_should=MinShould([inner], 1)),
    lambda inner: Filter([NestedCondition("a", inner)]),
]


@pytest.mark.parametrize("wrap", WRAPS)
def test_no_filter_is_deeper_than_the_ceiling(wrap: Callable[[Filter], Filter]) -> None:
    assert deep(HARD_DEPTH, wrap).depth == HARD_DEPTH
    start = time.perf_counter()
    with pytest.raises(LimitExceeded, match="65 levels"):
        deep(100_000, wrap)
    assert time.perf_counter() - start < 5


def test_no_filter_is_larger_than_the_ceiling() -> None:
    with pytest.raises(LimitExceeded, match="65537 conditions"):
        Filter([ONE] * HARD_NODES)
    with pytest.raises(LimitExceeded):
        Filter([ONE] * 1_000_000)
    with pytest.raises(LimitExceeded, match="conditions"):
        deep(40, lambda inner: Filter([inner, inner]))


def test_lists_are_read_back_as_tuples() -> None:
    mine = [ONE]
    found = Filter(mine, should=(c for c in mine), must_not=[])
    mine.append(ONE)
    assert (found.must, found.should, found.must_not) == ((ONE,), (ONE,), ())
    assert found.min_should is None
    assert Filter().conditions() == ()


def test_true_is_not_one() -> None:
    assert MatchValue(True).value is True
    assert MatchValue(True) != MatchValue(1)
    assert MatchAny([True]) != MatchAny([1])
    assert MatchExcept([False]) != MatchExcept([0])
    assert len({MatchValue(True), MatchValue(1), MatchValue("1"), MatchValue(True)}) == 3
    assert MatchValue(np.bool_(True)).value is True
    assert type(MatchValue(np.int64(3)).value) is int


def test_values_are_kept_in_order_without_duplicates() -> None:
    assert MatchAny([3, 1, 3]).value == (3, 1)
    assert MatchAny(any=["b", "a"]).value == ("b", "a")
    assert MatchExcept(except_=[]).value == ()
    assert MatchAny({1}).value == (1,)


def test_ids_are_read_back_as_a_set() -> None:
    a_uuid = UUID(int=7)
    assert HasIdCondition([1, 1, str(a_uuid)]).point_ids == {1, a_uuid}
    assert HasIdCondition({1}) == HasIdCondition([1]) == HasIdCondition(np.array([1]))


def test_a_range_is_of_floats() -> None:
    found = RangeFloat(gte=1, lt=np.float32(2))
    assert (found.gte, found.gt, found.lte, found.lt) == (1.0, None, None, 2.0)
    assert type(found.gte) is float
    assert RangeFloat(gt=float("-inf")).gt == float("-inf")


def test_bounds_in_time_are_read_back_as_qdrant_shows_them() -> None:
    found = RangeDateTime("2024-01-01T10:00:00.5+01:00", lt=datetime(2024, 1, 2))
    assert (found.gte, found.lt) == ("2024-01-01 09:00:00.500 UTC", "2024-01-02 00:00:00 UTC")
    assert RangeDateTime(gte=found.gte, lt="2024-01-02") == found


def test_a_condition_that_asks_for_nothing_is_allowed() -> None:
    assert FieldCondition("a").match is None


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: MatchValue(1.5), "value: expected a str, an int or a bool"),
    (lambda: MatchValue(None), "value: expected"),
    (lambda: MatchValue(2**64), "value: expected"),
    (lambda: MatchValue("\ud800"), "value: holds a lone surrogate"),
    (lambda: MatchAny("abc"), "any: expected a list"),
    (lambda: MatchAny([1, "a"]), "any: expected values of one kind"),
    (lambda: MatchAny([1, True]), "any: expected values of one kind"),
    (lambda: MatchAny([1.5]), r"any\[0\]"),
    (lambda: MatchExcept([None]), r"except_\[0\]"),
    (lambda: MatchAny(range(1_000_001)), "1000001 entries"),
    (lambda: RangeFloat(gte="a"), "gte: expected a number"),
    (lambda: RangeFloat(lt=float("nan")), "lt: expected a number"),
    (lambda: RangeFloat(gt=True), "gt: expected a number"),
    (lambda: RangeDateTime(gte="yesterday"), "gte: expected a datetime or a text"),
    (lambda: RangeDateTime(lt="2024-02-30"), "lt: expected a datetime"),
    (lambda: RangeDateTime(gt=5), "gt: expected a datetime"),
    (lambda: MatchText(None), "text: expected a str"),
    (lambda: MatchTextAny(["a"]), "text_any: expected a str"),
    (lambda: MatchPhrase(b"a"), "phrase: expected a str"),
    (lambda: MatchPrefix(1), "prefix: expected a str"),
    (lambda: MatchSubstring("\ud800"), "substring: holds a lone surrogate"),
    (lambda: ValuesCount(lt=-1), "lt: expected 0 to"),
    (lambda: ValuesCount(gte=1.5), "gte: expected an int"),
    (lambda: ValuesCount(gt=2**64), "gt: expected 0 to"),
    (lambda: SliceCondition(0, 0), "total: expected 1 to 4294967295"),
    (lambda: SliceCondition(2**32, 0), "total: expected 1 to 4294967295"),
    (lambda: SliceCondition(4, 4), "index: expected 0 to 3"),
    (lambda: SliceCondition(4, -1), "index: expected 0 to 3"),
    (lambda: SliceCondition(True, 0), "total: expected an int"),
    (lambda: FieldCondition("a", range=MatchText("a")), "range: expected a RangeFloat"),
    (lambda: FieldCondition("a", geo_bounding_box=(1, 2)), "geo_bounding_box: expected"),
    (lambda: FieldCondition("a", geo_polygon=[]), "geo_polygon: expected a GeoPolygon"),
    (lambda: FieldCondition("a..b"), "payload path"),
    (lambda: FieldCondition(""), "payload path"),
    (lambda: FieldCondition(1), "key: expected a str"),
    (lambda: FieldCondition("a", 3), "match: expected"),
    (lambda: FieldCondition("a", range=(1, 2)), "range: expected"),
    (lambda: FieldCondition("a", is_empty=1), "is_empty: expected a bool"),
    (lambda: FieldCondition("a", geo_radius=1), "geo_radius: expected a GeoRadius"),
    (lambda: FieldCondition("a", values_count=1), "values_count: expected a ValuesCount"),
    (lambda: IsEmptyCondition("a[["), "payload path"),
    (lambda: IsNullCondition("a[["), "payload path"),
    (lambda: HasIdCondition([-1]), r"point_ids\[0\]"),
    (lambda: HasIdCondition("abc"), "point_ids: expected a list"),
    (lambda: HasIdCondition(5), "point_ids: expected a list"),
    (lambda: HasVectorCondition(None), "vector: expected a str"),
    (lambda: NestedCondition("a[]", ONE), "filter: expected a Filter"),
    (lambda: NestedCondition("", Filter()), "payload path"),
    (lambda: MinShould([ONE], -1), "min_should.min_count"),
    (lambda: MinShould(ONE, 1), "min_should.conditions: expected a list"),
    (lambda: Filter(ONE), "must: expected a list"),
    (lambda: Filter(should=[ONE, 3]), r"should\[1\]: expected a condition"),
    (lambda: Filter(must_not=[MatchValue(1)]), r"must_not\[0\]: expected a condition"),
    (lambda: Filter(min_should=[ONE]), "min_should: expected a MinShould"),
]


@pytest.mark.parametrize(("build", "message"), REFUSED, ids=range(len(REFUSED)))
def test_refuses_naming_the_argument(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        build()
