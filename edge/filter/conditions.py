"""What each filter condition means: its test on a document, its column where it has one, its cost.

A *document* is a decoded payload, or an object inside one when a nested condition asks about it.

Invariants: a test is pure, never raises on any decoded payload and returns a plain bool; values are
compared by JSON type (see edge.filter.values, where the tests of values are); nothing recurses by
the depth of a payload, only by that of a filter, which is bounded from the day it is made.

Deliberate differences from Qdrant Edge 0.9.0 (the rest is its semantics, quirks included):
- a bool in a match matches bools (there it silently becomes 0 or 1 and matches integers);
- `should=[]` asks for nothing everywhere (there it does so, but inside a nested condition it
  matches no element);
- a MinShould of no conditions and a count above 0 matches nothing (there it is forgotten where a
  HasIdCondition stands beside it);
- HasVectorCondition on a name that no schema knows raises UnknownVector (there: no point matches);
- payload numbers keep their last digit, so that a place a rounding away from a circle's edge is on
  its true side (there the payload's JSON text is read back inexactly, one float in twelve).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge.filter.slices import slices
from edge.filter.values import ValueTest, value_cost, value_test, values_count_test
from edge.model.filter import (
    FieldCondition,
    Filter,
    HasIdCondition,
    HasVectorCondition,
    IsEmptyCondition,
    IsNullCondition,
    NestedCondition,
    SliceCondition,
)
from edge.model.json_path import parse, values
from edge.model.point_id import encode_ids

Offsets: TypeAlias = NDArray[np.uint32]
Mask: TypeAlias = NDArray[np.bool_]
Document: TypeAlias = dict[str, Any]
Predicate: TypeAlias = Callable[[Document, int], bool]
"""predicate(document, row): whether the document matches; `row` is its place in the columns."""
Columns: TypeAlias = Mapping[int, bytes]
"""By id() of a condition that has a column: one byte a row, 1 where the row matches it."""

_BRANCHES: Final = 8
"""The elements that an array is taken to have, where only a guess is needed."""


class Rows(Protocol):
    """What a filter needs of a segment view: its rows below the watermark."""

    watermark: int

    @property
    def ids(self) -> NDArray[np.uint64]:
        """Id rows uint64[>= watermark, 3] by offset."""
        ...

    def payload(self, offset: int) -> dict[str, Any]:
        """Decode the payload of one row; {} where there is none."""
        ...

    def has_vector(self, name: str) -> Mask:
        """bool[watermark]: which rows have this vector; UnknownVector if no schema knows it."""
        ...

    def find(self, ids: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Offsets int64[m] of the live points among id rows uint64[m, 3]; -1 where absent."""
        ...


Column: TypeAlias = Callable[[Any, Rows, Offsets], Mask]
"""column(condition, rows, ascending candidates): bool[candidates], found without payloads."""


class Meaning(NamedTuple):
    """One row of CONDITIONS.

    `predicate` makes the test of a condition on one document, `cost` estimates the work of one
    such test in comparisons, and `column`, where there is one, answers for all candidates at once.
    """

    predicate: Callable[[Any, Columns], Predicate]
    cost: Callable[[Any], int]
    column: Column | None = None


def predicate_of(condition: object, columns: Columns) -> Predicate:
    """The test of a condition on one document, reading `columns` for conditions that have one."""
    return CONDITIONS[type(condition)].predicate(condition, columns)


def cost_of(condition: object) -> int:
    """How much work one test of this condition is, in comparisons; an ordering hint, at least 1."""
    return CONDITIONS[type(condition)].cost(condition)


def column_of(condition: object) -> Column | None:
    """What answers the condition for all rows at once; None where only payloads can."""
    return CONDITIONS[type(condition)].column


# Fields


def _field_test(condition: FieldCondition, columns: Columns) -> Predicate:
    if condition.values_count is not None:
        counted = values_count_test(condition.values_count)
        return _at(condition.key, counted, absent=counted(None))
    if condition.is_empty is not None:
        wanted = bool(condition.is_empty)
        return _at(condition.key, lambda value: _is_empty(value) is wanted, absent=wanted)
    if condition.is_null is not None:
        wanted = bool(condition.is_null)
        return _at(condition.key, lambda value: _holds_null(value) is wanted, absent=not wanted)
    return _at(condition.key, _any_element(_value_test(condition)), absent=False)


def _at(key: str, check: ValueTest, *, absent: bool) -> Predicate:
    """Whether `check` holds for any value at the path; `absent` where there is none."""
    path = parse(key)
    if len(path.steps) == 1:
        name = str(path.steps[0])
        return lambda document, row: check(document[name]) if name in document else absent

    def test(document: Document, row: int) -> bool:
        reached = values(document, path)
        return any(map(check, reached)) if reached else absent

    return test


def _value_test(condition: FieldCondition) -> ValueTest:
    tests = [value_test(part) for part in _value_parts(condition)]
    if len(tests) == 1:
        return tests[0]
    return lambda value: any(test(value) for test in tests)


def _value_parts(condition: FieldCondition) -> list[object]:
    """What a condition asks of values; each is an alternative."""
    parts = (
        condition.match,
        condition.range,
        condition.geo_bounding_box,
        condition.geo_radius,
        condition.geo_polygon,
    )
    return [part for part in parts if part is not None]


def _any_element(test: ValueTest) -> ValueTest:
    """The test on a value, or on each element if the value is an array (one level, not deeper)."""

    def check(value: object) -> bool:
        return any(map(test, value)) if isinstance(value, list) else test(value)

    return check


def _is_empty(value: object) -> bool:
    return value is None or value == []


def _holds_null(value: object) -> bool:
    return value is None or (isinstance(value, list) and None in value)


def _is_empty_test(condition: IsEmptyCondition, columns: Columns) -> Predicate:
    path = parse(condition.key)
    return lambda document, row: all(map(_is_empty, values(document, path)))


def _is_null_test(condition: IsNullCondition, columns: Columns) -> Predicate:
    return _at(condition.key, _holds_null, absent=False)


def _path_cost(condition: FieldCondition | IsEmptyCondition | IsNullCondition) -> int:
    steps = parse(condition.key).steps
    return len(steps) + _BRANCHES * steps.count(None)


def _field_cost(condition: FieldCondition) -> int:
    return _path_cost(condition) * max(1, sum(map(value_cost, _value_parts(condition))))


# Columns


def _column_test(condition: object, columns: Columns) -> Predicate:
    """Reads the column; a nested condition has none, there nothing matches (as in Qdrant)."""
    column = columns.get(id(condition))
    if column is None:
        return _never
    return lambda document, row: column[row] == 1


def _never(document: Document, row: int) -> bool:
    return False


def _column_cost(condition: object) -> int:
    return 1


def _has_id(condition: HasIdCondition, rows: Rows, candidates: Offsets) -> Mask:
    mask = np.zeros(len(candidates), np.bool_)
    if condition.point_ids and len(candidates):
        found = rows.find(encode_ids(list(condition.point_ids)))
        found = found[found >= 0].astype(candidates.dtype)
        places = np.minimum(np.searchsorted(candidates, found), len(candidates) - 1)
        mask[places[candidates[places] == found]] = True
    return mask


def _slice(condition: SliceCondition, rows: Rows, candidates: Offsets) -> Mask:
    mask: Mask = slices(rows.ids[candidates], condition.total) == condition.index
    return mask


def _has_vector(condition: HasVectorCondition, rows: Rows, candidates: Offsets) -> Mask:
    return rows.has_vector(condition.vector)[candidates]


# Filters


def _nested_test(condition: NestedCondition, columns: Columns) -> Predicate:
    """Whether one object of the array matches the whole filter; ids and vectors it has none."""
    path = parse(condition.key).every_element()
    inner = _filter_test(condition.filter, {})

    def test(document: Document, row: int) -> bool:
        return any(
            inner(element, row) for element in values(document, path) if isinstance(element, dict)
        )

    return test


def _nested_cost(condition: NestedCondition) -> int:
    return _BRANCHES * cost_of(condition.filter)


def _filter_test(filter: Filter, columns: Columns) -> Predicate:
    tests = _tests(filter.must, columns)
    tests += [_not(test) for test in _tests(filter.must_not, columns)]
    if filter.should:
        tests.append(_any(_tests(filter.should, columns)))
    if filter.min_should is not None:
        counted = _tests(filter.min_should.conditions, columns)
        tests.append(_at_least(filter.min_should.min_count, counted))
    return _all(tests)


def _tests(conditions: Sequence[Any] | None, columns: Columns) -> list[Predicate]:
    """The tests of the conditions, the cheapest first (any order gives the same answer)."""
    return [predicate_of(condition, columns) for condition in sorted(conditions or (), key=cost_of)]


def _filter_cost(filter: Filter) -> int:
    return 1 + sum(map(cost_of, filter.conditions()))


def _not(test: Predicate) -> Predicate:
    return lambda document, row: not test(document, row)


def _all(tests: list[Predicate]) -> Predicate:
    if len(tests) == 1:
        return tests[0]

    def test(document: Document, row: int) -> bool:
        for each in tests:  # noqa: SIM110 - once a row, and all() takes half as long again
            if not each(document, row):
                return False
        return True

    return test


def _any(tests: list[Predicate]) -> Predicate:
    if len(tests) == 1:
        return tests[0]

    def test(document: Document, row: int) -> bool:
        for each in tests:  # noqa: SIM110 - as in _all
            if each(document, row):
                return True
        return False

    return test


def _at_least(count: int, tests: list[Predicate]) -> Predicate:
    def test(document: Document, row: int) -> bool:
        missing = count
        for each in tests:
            if missing <= 0:
                break
            missing -= each(document, row)
        return missing <= 0

    return test


CONDITIONS: Final[dict[type, Meaning]] = {
    FieldCondition: Meaning(_field_test, _field_cost),
    IsEmptyCondition: Meaning(_is_empty_test, _path_cost),
    IsNullCondition: Meaning(_is_null_test, _path_cost),
    HasIdCondition: Meaning(_column_test, _column_cost, _has_id),
    HasVectorCondition: Meaning(_column_test, _column_cost, _has_vector),
    SliceCondition: Meaning(_column_test, _column_cost, _slice),
    NestedCondition: Meaning(_nested_test, _nested_cost),
    Filter: Meaning(_filter_test, _filter_cost),
}
"""Every condition of `edge.model.filter` and what it means."""
