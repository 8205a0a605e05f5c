"""What indexes tell: sure rows match, rows that are not maybe do not, and payloads decide between.

The oracle is the test of a condition on one payload, as it is made for a field without an index.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from edge.filter.conditions import Scope, predicate_of
from edge.filter.indexed import _TELLERS, known_of, sole_key
from edge.filter.truth import Known
from edge.model.filter import (
    FieldCondition,
    Filter,
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
    ValuesCount,
)
from edge.model.geo import GeoBoundingBox, GeoPoint, GeoPolygon, GeoRadius
from edge.model.schema import (
    IndexedField,
    PayloadSchemaType,
    TextIndexParams,
    indexed_field,
)
from edge.payload.field_index import FieldIndex
from edge_kernels import bits
from tests.filter.indexed_rows import (
    FIELDS,
    PARTS,
    Case,
    IndexedRows,
    cases,
    condition_of,
    indexes,
    on,
    part_of,
)

K = PayloadSchemaType
named = pytest.mark.parametrize("field", FIELDS, ids=lambda f: f"{f.kind.name}-{f.params.nested}")


def every_kind(test: Callable[..., None]) -> Callable[..., None]:
    """Draw cases, enough for every kind of index."""
    return settings(max_examples=6 * settings.default.max_examples)(given(cases())(test))


def members(rows: Any, count: int) -> set[int]:
    if isinstance(rows, bool):
        return set(range(count)) if rows else set()
    return set(bits.to_offsets(rows, count).tolist())


def matching(condition: Any, path: str, field: IndexedField, payloads: list[Any]) -> set[int]:
    test = predicate_of(condition, Scope({}, lambda key: field if key == path else None))
    return {row for row, payload in enumerate(payloads) if test(payload, row)}


def sound(told: Known, matches: set[int], index: FieldIndex) -> None:
    count = index.watermark
    sure, maybe = members(told.sure, count), members(told.maybe, count)
    assert sure <= matches <= maybe
    if told.sure is told.maybe:
        assert sure == maybe
    unknown = index.unknown()
    if unknown is not None:
        assert members(unknown, count) <= maybe - sure


def test_the_tables_are_whole() -> None:
    assert set(_TELLERS) == set(PayloadSchemaType)
    for table in _TELLERS.values():
        assert set(table) <= set(PARTS)


@every_kind
def test_every_teller_is_sound(case: Case) -> None:
    field, path, payloads, covered, _, draw = case
    asked = [on(path, part_of(kind, draw)) for kind in PARTS]
    asked += [on(path, part) for _ in range(3) for part in case.matches_of_theme()]
    asked += [condition_of(path, draw) for _ in range(10)]
    expected = [matching(condition, path, field, payloads) for condition in asked]
    for index in indexes(field, path, payloads, covered):
        for condition, matches in zip(asked, expected, strict=True):
            sound(known_of(condition, index), matches, index)


HEX = "0000000A00000000000000000000000F"


@every_kind
def test_a_sole_key_is_held_by_just_the_rows_that_match(case: Case) -> None:
    """Which is what a graph of the value relies on."""
    field, path, payloads, covered, theme, draw = case
    asked = [on(path, part) for _ in range(6) for part in case.matches_of_theme()]
    asked += [on(path, MatchValue(value)) for value in theme if type(value) in (str, int, bool)]
    some = [condition_of(path, draw) for _ in range(10)]
    asked += [condition for condition in some if isinstance(condition, FieldCondition)]
    _, built, _ = indexes(field, path, payloads, covered)
    for condition in asked:
        key = sole_key(condition, field.kind)
        if key is not None:
            rows = built.entries.of_name(key).tolist()
            assert rows == sorted(matching(condition, path, field, payloads)), condition


@pytest.mark.parametrize(
    ("kind", "part", "key"),
    [
        (K.Keyword, MatchValue("cup"), b"cup"),
        (K.Keyword, MatchAny(["cup"]), b"cup"),
        (K.Keyword, MatchAny(["cup", "tea"]), None),
        (K.Keyword, MatchAny([]), None),
        (K.Keyword, MatchExcept(["cup"]), None),
        (K.Keyword, MatchValue(1), None),
        (K.Integer, MatchValue(7), 7),
        (K.Integer, MatchValue(2**63), None),
        (K.Integer, MatchValue(True), None),
        (K.Bool, MatchValue(True), 1),
        (K.Bool, MatchValue(1), None),
        (K.Uuid, MatchValue(HEX), bytes.fromhex(HEX)),
        (K.Uuid, MatchValue("cup"), None),
        (K.Uuid, MatchExcept([HEX]), None),
        (K.Float, MatchValue(1), None),
        (K.Text, MatchValue("cup"), None),
        (K.Datetime, MatchValue("2024-05-01"), None),
    ],
)
def test_which_conditions_ask_for_one_key(kind: PayloadSchemaType, part: Any, key: Any) -> None:
    assert sole_key(on("a", part), kind) == key
    assert sole_key(on("a", part, RangeFloat(gte=0)), kind) is None
    assert sole_key(FieldCondition("a", match=part, is_empty=False), kind) is None


# -- and useful

CUP, TEA, TALL = "cup", "cup of tea", "2024-05-01T10:00:00Z"
HERE, THERE = {"lon": 1, "lat": 1}, {"lon": 50, "lat": 50}
A_UUID, OTHER = "0000000a-0000-0000-0000-00000000000f", "0000000a-0000-0000-0000-00000000000e"
BOX = GeoBoundingBox(GeoPoint(0, 2), GeoPoint(2, 0))
RING = GeoPolygon([GeoPoint(*p) for p in ((0, 0), (2, 0), (2, 2), (0, 2), (0, 0))])

EXACT: list[tuple[PayloadSchemaType, list[Any], Any, set[int]]] = [
    (K.Keyword, [CUP, TEA], MatchValue(CUP), {0}),
    (K.Keyword, [CUP, TEA], MatchValue("zz"), set()),
    (K.Keyword, [CUP, TEA], MatchAny([TEA, CUP]), {0, 1}),
    (K.Keyword, [CUP, TEA, [CUP, CUP]], MatchAny([]), set()),
    (K.Keyword, [CUP, TEA], MatchExcept([CUP]), {1}),
    (K.Keyword, [CUP, TEA], MatchPrefix("cup "), {1}),
    (K.Keyword, [CUP, TEA], MatchSubstring("of"), {1}),
    (K.Keyword, [CUP, TEA], MatchText("TEA"), {1}),
    (K.Keyword, [CUP, TEA], MatchTextAny("tea cup"), {0, 1}),
    (K.Keyword, [CUP, TEA], MatchPhrase("of tea"), {1}),
    (K.Keyword, [CUP, TALL], RangeDateTime(gte="2025-01-01"), set()),
    (K.Keyword, [CUP, TALL], RangeDateTime(gte="2024-01-01"), {1}),
    (K.Keyword, [CUP, TEA], RangeFloat(gte=0), set()),
    (K.Integer, [1, [2, 3]], MatchValue(2), {1}),
    (K.Integer, [1, [2, 3]], MatchAny([3, 1]), {0, 1}),
    (K.Integer, [1, 2], MatchExcept([1]), {1}),
    (K.Integer, [1, [2, 3]], RangeFloat(gt=1, lt=3), {1}),
    (K.Integer, [1, [2, 3]], RangeFloat(gt=3), set()),
    (K.Integer, [1, [2, 3]], MatchText("1"), set()),
    (K.Integer, [1, [2, 3]], BOX, set()),
    (K.Float, [0.5, [2, 3.5]], RangeFloat(gte=2, lte=2), {1}),
    (K.Float, [0.5, [2, 3.5]], MatchPrefix(""), set()),
    (K.Bool, [True, [False]], MatchValue(True), {0}),
    (K.Bool, [True, False], MatchExcept([True]), {1}),
    (K.Bool, [True, [False]], RangeFloat(gte=0), set()),
    (K.Datetime, [TALL, "2023-01-01"], RangeDateTime(gte="2024-01-01"), {0}),
    (K.Datetime, [TALL, "2023-01-01"], RangeFloat(gte=0), set()),
    (K.Uuid, [A_UUID, [OTHER]], MatchValue(A_UUID.upper()), {0}),
    (K.Uuid, [A_UUID, [OTHER]], MatchAny([A_UUID, OTHER]), {0, 1}),
    (K.Uuid, [A_UUID, [OTHER]], MatchValue("cup"), set()),
    (K.Geo, [HERE, [THERE]], BOX, {0}),
    (K.Geo, [HERE, [THERE]], GeoRadius(GeoPoint(50, 50), 1000), {1}),
    (K.Geo, [HERE, [THERE]], RING, {0}),
    (K.Geo, [HERE, [THERE]], MatchValue("x"), set()),
    (K.Text, [CUP, TEA], MatchText("tea"), {1}),
    (K.Text, [CUP, TEA], MatchText("..."), set()),
    (K.Text, [CUP, TEA], MatchTextAny("tea zz"), {1}),
    (K.Text, [CUP, TEA], MatchPhrase("of tea"), {1}),
    (K.Text, [CUP, TEA], MatchPhrase("cup"), {0, 1}),
    (K.Text, [CUP, TEA], RangeFloat(gte=0), set()),
]


@pytest.mark.parametrize(
    ("kind", "values", "part", "expected"),
    EXACT,
    ids=[f"{kind.name} {type(part).__name__} {n}" for n, (kind, _, part, _) in enumerate(EXACT)],
)
def test_where_all_values_have_a_place_the_index_alone_tells(
    kind: PayloadSchemaType, values: list[Any], part: Any, expected: set[int]
) -> None:
    payloads = [*({"a": value} for value in values), {}, {"a": None}, {"a": []}]
    field = indexed_field(TextIndexParams(phrase_matching=True) if kind is K.Text else kind)
    condition = on("a", part)
    assert matching(condition, "a", field, payloads) == expected
    for index in indexes(field, "a", payloads, 0)[:2]:
        told = known_of(condition, index)
        assert members(told.sure, len(payloads)) == members(told.maybe, len(payloads)) == expected


@pytest.mark.parametrize("kind", [K.Keyword, K.Integer, K.Bool], ids=lambda kind: kind.name)
@pytest.mark.parametrize("path", ["a", "parts[].b"])
def test_a_row_of_several_values_may_hold_one_that_is_not_listed(
    kind: PayloadSchemaType, path: str
) -> None:
    first, second = {K.Keyword: ("x", "y"), K.Integer: (1, 2), K.Bool: (True, False)}[kind]
    rows = [[first, second], [first, first], [first], [second], [second, second], []]
    if path == "a":
        payloads: list[Any] = [{"a": row} for row in rows]
    else:
        payloads = [{"parts": [{"b": value} for value in row]} for row in rows]
    condition = on(path, MatchExcept([first]))
    for index in indexes(indexed_field(kind), path, payloads, 6):
        told = known_of(condition, index)
        assert members(told.sure, 6) == {3, 4}
        assert {0, 3, 4} <= members(told.maybe, 6) <= {0, 1, 2, 3, 4}


@named
def test_shapes_of_plain_values_are_known_exactly(field: IndexedField) -> None:
    if field.params.nested is not None:
        return
    payloads: list[Any] = [{}, {"a": None}, {"a": []}, {"a": [None, 1]}, {"a": 7}, {"a": "x"}]
    for condition, expected in (
        (FieldCondition("a", is_empty=True), {0, 1, 2}),
        (FieldCondition("a", is_null=True), {1, 3}),
        (FieldCondition("a", is_null=False), {0, 2, 4, 5}),
        (FieldCondition("a", values_count=ValuesCount(gte=1, lt=2)), {4, 5}),
        (FieldCondition("a", values_count=ValuesCount(lte=0)), {0, 1, 2}),
        (FieldCondition("a", values_count=ValuesCount(gt=1)), {3}),
    ):
        for index in indexes(field, "a", payloads, 0)[:2]:
            told = known_of(condition, index)
            assert members(told.sure, 6) == members(told.maybe, 6) == expected


# -- whole filters


def filter_of(path: str, draw: Random) -> Filter:
    def some() -> list[Any]:
        found = [condition_of(path, draw) for _ in range(draw.randrange(3))]
        if draw.random() < 0.3:
            inner = Filter(must=[condition_of("b", draw)])
            found.append(NestedCondition("parts", inner))
        return found

    least = MinShould(some(), draw.randrange(3)) if draw.random() < 0.3 else None
    return Filter(some(), some(), some() if draw.random() < 0.5 else None, least)


@every_kind
def test_no_index_changes_what_a_filter_matches(case: Case) -> None:
    """Beside rows that the schema knows the field of, and that have no index of it."""
    field, path, payloads, covered, _, draw = case
    found = indexes(field, path, payloads, covered)
    plain = IndexedRows(payloads, {path: (field, None)})
    for _ in range(5):
        filter = filter_of(path, draw)
        expected = plain.matching(filter)
        for index in found:
            rows = IndexedRows(payloads, {path: (field, index)})
            assert rows.matching(filter) == expected
            assert len(rows.decoded) == len(set(rows.decoded))


def test_only_rows_that_the_index_leaves_open_are_read() -> None:
    payloads: list[Any] = [{"a": 1}, {"a": 2}, {"a": 1.0}, {"a": [1, "x"]}, {"a": "y"}, {}]
    field = indexed_field(K.Integer)
    grown, built, behind = indexes(field, "a", payloads, 3)
    for index, read in ((grown, [2, 4]), (built, [2, 4]), (behind, [2, 3, 4, 5])):
        rows = IndexedRows(payloads, {"a": (field, index)})
        assert rows.matching(Filter(must=[on("a", RangeFloat(gte=1, lte=1))])) == [0, 2, 3]
        assert rows.decoded == read


def test_an_element_of_its_own_is_sought_among_rows_that_hold_its_values() -> None:
    payloads: list[Any] = [
        {"parts": [{"b": 1, "n": 2}, {"b": 5}]},
        {"parts": [{"b": 1}, {"n": 2}]},
        {"parts": [{"b": 7}]},
        {},
    ]
    field = indexed_field(K.Integer)
    pair = Filter(must=[on("b", MatchValue(1)), on("n", MatchValue(2))])
    for index in indexes(field, "parts[].b", payloads, 4):
        rows = IndexedRows(payloads, {"parts[].b": (field, index)})
        assert rows.matching(Filter(must=[NestedCondition("parts", pair)])) == [0]
        assert rows.decoded == [0, 1]


def test_an_answer_does_not_change_the_index() -> None:
    payloads: list[Any] = [{"a": "x"}, {"a": ["x", None]}, {}, {"a": 3}]
    field = indexed_field(K.Keyword)
    for index in indexes(field, "a", payloads, 4):
        condition = on("a", MatchValue("x"))
        first = known_of(condition, index)
        assert isinstance(first.sure, np.ndarray)
        first.sure[:] = 0
        assert members(known_of(condition, index).sure, 4) == {0, 1}
