"""What each filter condition means: its test on a document, and its cost.

A *document* is a decoded payload, or an object inside one when a nested condition asks about it.

Invariants: a test is pure, never raises on any decoded payload and returns a plain bool; values are
compared by JSON type (see edge.filter.values, where the tests of values are); nothing recurses by
the depth of a payload, only by that of a filter, which is bounded from the day it is made.

An index never changes what matches, but for what its kind says of its field:
- *text*: words are cut by its analyzer, and all texts of a point there are one document;
- *uuid*: UUIDs are compared as such, whatever their spelling;
- *nested*: the field is empty, or not null, where one object of the array has it so, and each
  object's texts are a document of their own.

Deliberate differences from Qdrant Edge 0.9.0 (the rest is its semantics, quirks included):
- a bool in a match matches bools (there it silently becomes 0 or 1 and matches integers);
- `should=[]` asks for nothing everywhere (there it does so, but inside a nested condition it
  matches no element);
- a MinShould of no conditions and a count above 0 matches nothing (there it is forgotten where a
  HasIdCondition stands beside it);
- HasVectorCondition on a name that no schema knows raises UnknownVector (there: no point matches);
- payload numbers keep their last digit, so that a place a rounding away from a circle's edge is on
  its true side (there the payload's JSON text is read back inexactly, one float in twelve);
- no index hides a value: there an integer index makes ranges pass over 1.5 and takes 1.0 for 1, a
  keyword index makes MatchExcept pass over numbers, a datetime index answers number ranges by
  microseconds, a geo index leaves out what lies on a pole, an index on `a[].b` tests emptiness of
  all values together, one of two open bounds is forgotten, and of a condition with several parts
  one alone counts;
- a phrase is found by a text index without phrase_matching too, by reading payloads (there nothing
  is found).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeGuard

from msgspec.structs import replace

from edge.filter.values import (
    TextMatch,
    ValueTest,
    document_test,
    same_uuid_test,
    value_cost,
    value_test,
    values_count_test,
)
from edge.model.filter import (
    FieldCondition,
    Filter,
    HasIdCondition,
    HasVectorCondition,
    IsEmptyCondition,
    IsNullCondition,
    MatchPhrase,
    MatchText,
    MatchTextAny,
    NestedCondition,
    SliceCondition,
)
from edge.model.json_path import Path, parse, values
from edge.model.schema import IndexedField, PayloadSchemaType, TextIndexParams, index_analyzer
from edge.payload.field_index import flattened, reach

Document: TypeAlias = dict[str, Any]
Predicate: TypeAlias = Callable[[Document, int], bool]
"""predicate(document, row): whether the document matches; `row` is its place in the columns."""
Columns: TypeAlias = Mapping[int, bytes]
"""By id() of a condition: one byte a row, 1 where the row is known to match it, 0 where not to."""

_BRANCHES: Final = 8
"""The elements that an array is taken to have, where only a guess is needed."""


class Scope(NamedTuple):
    """Where a condition stands: what is known of its rows, and of the fields that it names.

    `field` gives what the schema says of a path, None where it says nothing; `inside` is the path
    of the array whose elements a nested condition tests, None outside of one.
    """

    columns: Columns
    field: Callable[[str], IndexedField | None]
    inside: Path | None = None

    def field_at(self, key: str) -> IndexedField | None:
        """What the schema says of the field that a condition here calls `key`."""
        if self.inside is None:
            return self.field(key)
        return self.field(str(Path((*self.inside.steps, *parse(key).steps))))


class Meaning(NamedTuple):
    """One row of CONDITIONS.

    `predicate` makes the test of a condition on one document, `cost` estimates the work of one
    such test in comparisons.
    """

    predicate: Callable[[Any, Scope], Predicate]
    cost: Callable[[Any], int]


def predicate_of(condition: object, scope: Scope) -> Predicate:
    """The test of a condition on one document; what the scope's columns tell is not tested."""
    column = scope.columns.get(id(condition))
    if column is not None:
        return lambda document, row: column[row] == 1
    return CONDITIONS[type(condition)].predicate(condition, scope)


def cost_of(condition: object) -> int:
    """How much work one test of this condition is, in comparisons; an ordering hint, at least 1."""
    return CONDITIONS[type(condition)].cost(condition)


# Fields


def _field_test(condition: FieldCondition, scope: Scope) -> Predicate:
    field = scope.field_at(condition.key)
    tested = condition.is_empty is not None or condition.is_null is not None
    if field is not None and tested and condition.values_count is None:
        by_element = _element_test(condition, field, scope)
        if by_element is not None:
            return by_element
    if condition.values_count is not None:
        counted = values_count_test(condition.values_count)
        return _at(condition.key, counted, absent=counted(None))
    if condition.is_empty is not None:
        wanted = bool(condition.is_empty)
        return _at(condition.key, lambda value: _is_empty(value) is wanted, absent=wanted)
    if condition.is_null is not None:
        wanted = bool(condition.is_null)
        return _at(condition.key, lambda value: _holds_null(value) is wanted, absent=not wanted)
    if isinstance(condition.match, MatchText | MatchTextAny | MatchPhrase) and is_text(field):
        tests = [_document_test(condition.key, condition.match, field, scope)]
        if len(parts_of(condition)) > 1:
            rest = replace(condition, match=None)
            tests.append(_at(rest.key, _any_element(_value_test(rest, field)), absent=False))
        return _any(tests)
    return _at(condition.key, _any_element(_value_test(condition, field)), absent=False)


def is_text(field: IndexedField | None) -> TypeGuard[IndexedField]:
    """Whether the field has a text index."""
    return field is not None and field.kind is PayloadSchemaType.Text


def _element_test(condition: FieldCondition, field: IndexedField, scope: Scope) -> Predicate | None:
    """The test of emptiness by objects of the array, where the index is nested; else None."""
    if field.params.nested is None or scope.inside is not None:
        return None
    if condition.is_empty is not None:
        wanted, holds = bool(condition.is_empty), _all_empty
    else:
        wanted, holds = bool(condition.is_null), _any_null
    groups = reach(parse(condition.key), field.params.nested)
    return lambda document, row: any(holds(group) is wanted for group in groups(document))


def _all_empty(reached: list[Any]) -> bool:
    return all(map(_is_empty, reached))


def _any_null(reached: list[Any]) -> bool:
    return any(map(_holds_null, reached))


def _document_test(key: str, match: TextMatch, field: IndexedField, scope: Scope) -> Predicate:
    """The test of a text match as the field's index has it.

    Inside a nested condition each text stands alone, unless the index is nested at that array.
    """
    params = field.params
    assert isinstance(params, TextIndexParams)
    test = document_test(match, index_analyzer(params))
    if scope.inside is None:
        groups = reach(parse(key), params.nested)
        return lambda document, row: any(test(texts(group)) for group in groups(document))
    path = parse(key)
    if params.nested == str(scope.inside):
        return lambda document, row: test(texts(values(document, path)))
    return lambda document, row: any(test([text]) for text in texts(values(document, path)))


def texts(reached: list[Any]) -> list[str]:
    """The texts among values and the elements of those that are arrays."""
    return [element for element in flattened(reached) if type(element) is str]


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


def _value_test(condition: FieldCondition, field: IndexedField | None) -> ValueTest:
    is_uuid = field is not None and field.kind is PayloadSchemaType.Uuid
    tests = [(is_uuid and same_uuid_test(part)) or value_test(part) for part in parts_of(condition)]
    if len(tests) == 1:
        return tests[0]
    return lambda value: any(test(value) for test in tests)


def parts_of(condition: FieldCondition) -> list[object]:
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


def _is_empty_test(condition: IsEmptyCondition, scope: Scope) -> Predicate:
    field = scope.field_at(condition.key)
    if field is not None and field.params.nested is not None and scope.inside is None:
        return _field_test(FieldCondition(condition.key, is_empty=True), scope)
    path = parse(condition.key)
    return lambda document, row: _all_empty(values(document, path))


def _is_null_test(condition: IsNullCondition, scope: Scope) -> Predicate:
    return _at(condition.key, _holds_null, absent=False)


def _path_cost(condition: FieldCondition | IsEmptyCondition | IsNullCondition) -> int:
    steps = parse(condition.key).steps
    return len(steps) + _BRANCHES * steps.count(None)


def _field_cost(condition: FieldCondition) -> int:
    return _path_cost(condition) * max(1, sum(map(value_cost, parts_of(condition))))


# Ids and vectors


def _never_test(condition: object, scope: Scope) -> Predicate:
    """A document has no id and no vector: inside a nested condition nothing matches, as in Qdrant.
    (Elsewhere a column tells.)"""
    return lambda document, row: False


def _column_cost(condition: object) -> int:
    return 1


# Filters


def _nested_test(condition: NestedCondition, scope: Scope) -> Predicate:
    """Whether one object of the array matches the whole filter; ids and vectors it has none."""
    path = parse(condition.key).every_element()
    outer = () if scope.inside is None else scope.inside.steps
    inner = _filter_test(condition.filter, Scope({}, scope.field, Path((*outer, *path.steps))))

    def test(document: Document, row: int) -> bool:
        return any(
            inner(element, row) for element in values(document, path) if isinstance(element, dict)
        )

    return test


def _nested_cost(condition: NestedCondition) -> int:
    return _BRANCHES * cost_of(condition.filter)


def _filter_test(filter: Filter, scope: Scope) -> Predicate:
    tests = _tests(filter.must, scope)
    tests += [_not(test) for test in _tests(filter.must_not, scope)]
    if filter.should:
        tests.append(_any(_tests(filter.should, scope)))
    if filter.min_should is not None:
        counted = _tests(filter.min_should.conditions, scope)
        tests.append(_at_least(filter.min_should.min_count, counted))
    return _all(tests)


def _tests(conditions: Sequence[Any] | None, scope: Scope) -> list[Predicate]:
    """The tests of the conditions, the cheapest first (any order gives the same answer)."""
    return [predicate_of(condition, scope) for condition in sorted(conditions or (), key=cost_of)]


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
    HasIdCondition: Meaning(_never_test, _column_cost),
    HasVectorCondition: Meaning(_never_test, _column_cost),
    SliceCondition: Meaning(_never_test, _column_cost),
    NestedCondition: Meaning(_nested_test, _nested_cost),
    Filter: Meaning(_filter_test, _filter_cost),
}
"""Every condition of `edge.model.filter` and what it means."""
