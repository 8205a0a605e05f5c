"""Filters as Qdrant writes them into its log, as ours.

Invariant: a condition that is not known is refused by its keys, never left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from msgspec import Struct, convert

from edge.errors import ValidationError
from edge.model.filter import (
    Condition,
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
from edge.model.geo import GeoBoundingBox, GeoPoint, GeoPolygon, GeoRadius
from edge.model.point_id import PointId, parse_id

_UUID_BYTES = 16


def filter_of(given: Any) -> Filter:
    """Return our filter. ValidationError, or msgspec's, for what is none."""
    found = convert(given, _Filter)
    least = found.min_should
    return Filter(
        must=_conditions(found.must),
        should=_conditions(found.should),
        must_not=_conditions(found.must_not),
        min_should=None
        if least is None
        else MinShould(_conditions(least.conditions) or [], least.min_count),
    )


def id_of(given: Any) -> PointId:
    """Return a point id: an int, a UUID in text, or its 16 bytes."""
    if isinstance(given, bytes) and len(given) == _UUID_BYTES:
        return UUID(bytes=given)
    return parse_id(given)


# -- the other side's words


class _MinShould(Struct):
    conditions: Any
    min_count: int


class _Filter(Struct, forbid_unknown_fields=True):
    must: Any = None
    should: Any = None
    must_not: Any = None
    min_should: _MinShould | None = None


class _Key(Struct):
    key: str


class _Nested(Struct):
    key: str
    filter: Any


class _Place(Struct):
    lon: float
    lat: float


class _Box(Struct):
    top_left: _Place
    bottom_right: _Place


class _Circle(Struct):
    center: _Place
    radius: float


class _Points(Struct):
    points: list[_Place]


class _Polygon(Struct):
    exterior: _Points
    interiors: list[_Points] | None = None


class _Field(Struct, forbid_unknown_fields=True):
    key: str
    match: dict[str, Any] | None = None
    range: dict[str, Any] | None = None
    geo_bounding_box: _Box | None = None
    geo_radius: _Circle | None = None
    geo_polygon: _Polygon | None = None
    values_count: ValuesCount | None = None
    is_empty: bool | None = None
    is_null: bool | None = None


# -- conditions


def _conditions(given: Any) -> list[Condition] | None:
    """Return the conditions of a list, or of one that stands for itself."""
    if given is None:
        return None
    return [_condition(each) for each in (given if isinstance(given, list) else [given])]


def _condition(given: Any) -> Condition:
    words = convert(given, dict[str, Any])
    if "key" in words:
        return _field(convert(words, _Field))
    if words.keys() <= set(_Filter.__struct_fields__):
        return filter_of(words)
    if len(words) == 1:
        [(word, inside)] = words.items()
        if word in _CONDITIONS:
            return _CONDITIONS[word](inside)
    raise ValidationError(f"filter: a condition of {sorted(words)} is not known")


def _nested(given: Any) -> NestedCondition:
    found = convert(given, _Nested)
    return NestedCondition(found.key, filter_of(found.filter))


_CONDITIONS: dict[str, Callable[[Any], Condition]] = {
    "is_empty": lambda given: IsEmptyCondition(convert(given, _Key).key),
    "is_null": lambda given: IsNullCondition(convert(given, _Key).key),
    "has_id": lambda given: HasIdCondition([id_of(each) for each in convert(given, list[Any])]),
    "has_vector": lambda given: HasVectorCondition(convert(given, str)),
    "slice": lambda given: convert(given, SliceCondition),
    "nested": _nested,
}


def _field(given: _Field) -> FieldCondition:
    return FieldCondition(
        given.key,
        match=None if given.match is None else _match(given.match),
        range=None if given.range is None else _range(given.range),
        geo_bounding_box=None if given.geo_bounding_box is None else _box(given.geo_bounding_box),
        geo_radius=None if given.geo_radius is None else _circle(given.geo_radius),
        geo_polygon=None if given.geo_polygon is None else _polygon(given.geo_polygon),
        values_count=given.values_count,
        is_empty=given.is_empty,
        is_null=given.is_null,
    )


def _match(given: dict[str, Any]) -> Any:
    if len(given) == 1:
        [(word, inside)] = given.items()
        if word in _MATCHES:
            return _MATCHES[word](inside)
    raise ValidationError(f"filter: a match of {sorted(given)} is not known")


_MATCHES: dict[str, Callable[[Any], Any]] = {
    "value": MatchValue,
    "any": MatchAny,
    "except": MatchExcept,
    "text": MatchText,
    "text_any": MatchTextAny,
    "phrase": MatchPhrase,
    "prefix": MatchPrefix,
    "substring": MatchSubstring,
}


def _range(given: dict[str, Any]) -> RangeFloat | RangeDateTime:
    bounds = {name: bound for name, bound in given.items() if bound is not None}
    if not bounds.keys() <= _BOUNDS:
        raise ValidationError(f"filter: a range of {sorted(given)} is not known")
    if any(isinstance(bound, str) for bound in bounds.values()):
        return RangeDateTime(**convert(bounds, dict[str, str]))
    return RangeFloat(**convert(bounds, dict[str, float]))


_BOUNDS = {"gte", "gt", "lte", "lt"}


def _place(given: _Place) -> GeoPoint:
    return GeoPoint(given.lon, given.lat)


def _box(given: _Box) -> GeoBoundingBox:
    return GeoBoundingBox(_place(given.top_left), _place(given.bottom_right))


def _circle(given: _Circle) -> GeoRadius:
    return GeoRadius(_place(given.center), given.radius)


def _polygon(given: _Polygon) -> GeoPolygon:
    rings = [list(map(_place, ring.points)) for ring in (given.exterior, *(given.interiors or ()))]
    return GeoPolygon(rings[0], rings[1:] if given.interiors is not None else None)
