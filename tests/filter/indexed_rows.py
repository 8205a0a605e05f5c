"""Payload values and conditions that meet each other, and rows that have an index of a field."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple, get_args

from hypothesis import strategies as st

from edge.model.filter import (
    FieldCondition,
    IsEmptyCondition,
    IsNullCondition,
    Match,
    MatchAny,
    MatchExcept,
    MatchValue,
    Range,
    RangeDateTime,
    RangeFloat,
    Region,
    ValuesCount,
)
from edge.model.geo import GeoBoundingBox, GeoPoint, GeoPolygon, GeoRadius
from edge.model.json_path import canonical
from edge.model.schema import (
    BoolIndexParams,
    DatetimeIndexParams,
    FloatIndexParams,
    GeoIndexParams,
    IndexedField,
    IntegerIndexParams,
    KeywordIndexParams,
    PayloadSchemaType,
    TextIndexParams,
    UuidIndexParams,
    indexed_field,
)
from edge.payload.field_index import FieldIndex, GrowingIndex, built_index
from tests.filter.list_rows import ListRows

UUID_TEXTS = [
    "0000000a-0000-0000-0000-00000000000f",
    "0000000A00000000000000000000000F",
    "{0000000a-0000-0000-0000-00000000000f}",
    "0000000a-0000-0000-0000-00000000000e",
]
MOMENTS = [
    "2024-05-01T10:00:00Z",
    "2024-05-01 12:00:00+02:00",
    "2016-12-31T23:59:60Z",
    "2017-01-01",
    "+200000-01-01",
]
TEXTS = ["", "cup", "Cup of tea", "tea, cup", "...", "cup cup", "größe"]
NUMBERS = [0, 1, -1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1, 0.0, 1.0, 0.5, -0.0, 1e300]
PLACES = [
    {"lon": 0, "lat": 0},
    {"lon": 10.5, "lat": 20},
    {"lon": 180, "lat": 90},
    {"lon": -180.0, "lat": -90.0, "name": "pole"},
    {"lon": 500, "lat": 0},
    {"lon": "0", "lat": 0},
]
_OWN: dict[PayloadSchemaType, list[Any]] = {
    PayloadSchemaType.Keyword: TEXTS[:3],
    PayloadSchemaType.Text: TEXTS,
    PayloadSchemaType.Uuid: UUID_TEXTS,
    PayloadSchemaType.Datetime: MOMENTS,
    PayloadSchemaType.Integer: [0, 1, 2**63 - 1, 2**64 - 1],
    PayloadSchemaType.Float: [0, 1, 0.0, 1.0, 0.5, 2**53 + 1],
    PayloadSchemaType.Bool: [True, False],
    PayloadSchemaType.Geo: PLACES,
}
"""What an index of each kind is mostly given."""
_ALL = [*NUMBERS, *TEXTS, *UUID_TEXTS, *MOMENTS, *PLACES, True, False, {}]


def _documents(theme: list[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    leaves = st.sampled_from([None, *theme, *theme, []])
    several = st.lists(st.sampled_from(theme[:3]), min_size=2, max_size=2)
    values = leaves | st.lists(leaves, max_size=3) | several | st.just([[theme[0]]])
    part = st.fixed_dictionaries({}, optional={"b": values, "n": leaves})
    parts = leaves | st.lists(part, max_size=3) | st.lists(part | leaves, max_size=3)
    document = st.fixed_dictionaries({}, optional={"a": values, "parts": parts})
    return st.lists(document, min_size=1, max_size=8)


_points = [GeoPoint(*place) for place in ((-180, -90), (-1, -1), (0, 0), (10.5, 20), (180, 90))]
_words = [*TEXTS, "tea", "CUP", "of tea", "cup tea", "zz"]
_ints = [number for number in NUMBERS if type(number) is int]
_floats = [None, -math.inf, -1.0, 0.0, 0.5, 1.0, 2.0**53, 2.0**63]


def part_of(kind: type, draw: Random) -> Any:
    """Some match, range or region of this kind."""
    if kind in (MatchValue, MatchAny, MatchExcept):
        of = draw.choice(
            [TEXTS[:3], TEXTS, [*UUID_TEXTS, "cup"], MOMENTS, [0, 1], _ints, [True, False]]
        )
        listed = draw.choices(of, k=draw.randint(1, 3))
        return MatchValue(listed[0]) if kind is MatchValue else kind(listed[: draw.randint(0, 3)])
    if kind in (RangeFloat, RangeDateTime):
        some = _floats if kind is RangeFloat else [None, *MOMENTS]
        return kind(*draw.choices([None, None, *some], k=4))
    if kind is GeoBoundingBox:
        return GeoBoundingBox(*draw.choices(_points, k=2))
    if kind is GeoRadius:
        return GeoRadius(draw.choice(_points), draw.choice([0, 1, 1e6, 1.2e7, 3e7]))
    if kind is GeoPolygon:
        ring = draw.choices(_points, k=draw.choice([3, 4]))
        return GeoPolygon([*ring, ring[0]])
    return kind(draw.choice([*_words, "c"]))


PARTS: list[type] = [*get_args(Match), *get_args(Range), *get_args(Region)]


def on(key: str, *asked: Any) -> FieldCondition:
    """The condition that asks for these parts; of two of one sort the last counts."""
    names = {
        **dict.fromkeys(get_args(Range), "range"),
        GeoBoundingBox: "geo_bounding_box",
        GeoRadius: "geo_radius",
        GeoPolygon: "geo_polygon",
    }
    return FieldCondition(key, **{names.get(type(part), "match"): part for part in asked})


def shape_of(key: str, draw: Random) -> Any:
    """Some condition on the shape of a field."""
    counts = ValuesCount(*draw.choices([None, None, 0, 1, 2, 3], k=4))
    return draw.choice(
        [
            FieldCondition(key, is_empty=draw.choice([True, False])),
            FieldCondition(key, is_null=draw.choice([True, False])),
            FieldCondition(key, values_count=counts),
            IsEmptyCondition(key),
            IsNullCondition(key),
        ]
    )


def condition_of(key: str, draw: Random) -> Any:
    """Anything that an index may be asked."""
    if draw.random() < 0.3:
        return shape_of(key, draw)
    kinds = draw.choices(PARTS, k=draw.choice([1, 1, 1, 2, 0]))
    return on(key, *(part_of(kind, draw) for kind in kinds))


_nested = [None, "parts"]
FIELDS: list[IndexedField] = [
    indexed_field(params(nested=nested))
    for params in (
        KeywordIndexParams, IntegerIndexParams, FloatIndexParams, BoolIndexParams,
        DatetimeIndexParams, UuidIndexParams, GeoIndexParams, TextIndexParams,
    )
    for nested in _nested
] + [
    indexed_field(TextIndexParams(phrase_matching=True, nested=nested)) for nested in _nested
]  # fmt: skip
"""Every kind of index, plain and nested; texts with and without their order."""


def path_of(field: IndexedField, path: str) -> str:
    """A path that the field may be indexed at."""
    return path if field.params.nested is None else "parts[].b"


def indexes(
    field: IndexedField, path: str, payloads: Sequence[Any], covered: int
) -> list[FieldIndex]:
    """The index of these rows: grown, built, and grown over the first `covered` only."""
    growing, behind = GrowingIndex(path, field), GrowingIndex(path, field)
    growing.append(payloads)
    behind.append(payloads[:covered])
    rows = len(payloads)
    return [growing.at(rows), built_index(field, growing.arrays(), rows), behind.at(rows)]


class Case(NamedTuple):
    """A field and its path, payloads of few values that meet each other, and what draws the rest:
    indexed rows, and what is asked of them."""

    field: IndexedField
    path: str
    payloads: list[dict[str, Any]]
    covered: int
    theme: list[Any]
    draw: Random

    def matches_of_theme(self) -> list[Any]:
        """Matches of values that the payloads are likely to hold."""
        value = self.draw.choice([v for v in self.theme if type(v) in (str, int, bool)] or [True])
        alike = [v for v in self.theme if type(v) is type(value)] or [value]
        some = self.draw.choices(alike, k=2)
        return [MatchValue(value), MatchAny(some), MatchExcept([value]), MatchExcept(some)]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Rows that are mostly of the field's kind."""
    field = draw(st.sampled_from(FIELDS))
    path = draw(st.sampled_from(["a", "a", "parts[].b", "parts[].b", "parts[0].b", "parts"]))
    theme = draw(st.sampled_from([_OWN[field.kind], _OWN[field.kind], _ALL]))
    payloads = draw(_documents(theme))
    covered = draw(st.integers(0, len(payloads)))
    seed = draw(st.integers(0, 10**6))
    return Case(field, path_of(field, path), payloads, covered, theme, Random(seed))


class IndexedRows(ListRows):
    """Rows of which some fields have an index."""

    def __init__(
        self,
        payloads: Sequence[dict[str, Any]],
        fields: dict[str, tuple[IndexedField, FieldIndex | None]],
        **named: Any,
    ) -> None:
        super().__init__(payloads, **named)
        self.fields = {canonical(path): known for path, known in fields.items()}

    def field(self, key: str) -> IndexedField | None:
        known = self.fields.get(canonical(key))
        return None if known is None else known[0]

    def index(self, key: str) -> FieldIndex | None:
        known = self.fields.get(canonical(key))
        return None if known is None else known[1]
