"""Filters: what a point must, should and must not be.

Invariants: every struct here is immutable and hashable (lists become tuples); a Filter knows its
depth and its number of conditions from the day it is made, so that none exists that is deeper
than HARD_DEPTH or larger than HARD_NODES, and nothing that walks one can run out of stack.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from msgspec import Struct
from msgspec.structs import force_setattr

from edge.errors import LimitExceeded
from edge.model import fields, instant, json_path
from edge.model.geo import GeoBoundingBox, GeoPolygon, GeoRadius
from edge.model.limits import HARD_DEPTH, HARD_NODES, HARD_VALUES
from edge.model.point_id import PointId, PointIdLike, parse_ids

Scalar: TypeAlias = str | int | bool
Values: TypeAlias = tuple[Scalar, ...]


class MatchValue(Struct, frozen=True, tag="value", eq=False):
    """The field holds exactly this str, int or bool. True is not 1."""

    value: str | int | bool

    def __post_init__(self) -> None:
        force_setattr(self, "value", _scalar(self.value, "value"))

    def __eq__(self, other: object) -> bool:
        return type(other) is MatchValue and _exact(self.value) == _exact(other.value)

    def __hash__(self) -> int:
        return hash(_exact(self.value))


class MatchAny(Struct, frozen=True, tag="any", eq=False):
    """The field holds one of these values: all str, all int or all bool. None of none matches."""

    any: Values

    if TYPE_CHECKING:

        def __init__(self, any: Iterable[Scalar]) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "any", _scalars(self.any, "any"))

    @property
    def value(self) -> Values:
        """The values, without duplicates, in the order given."""
        return self.any

    def __eq__(self, other: object) -> bool:
        return type(other) is MatchAny and _exact(*self.any) == _exact(*other.any)

    def __hash__(self) -> int:
        return hash(_exact(*self.any))


class MatchExcept(Struct, frozen=True, tag="except", eq=False):
    """The field holds a value that is none of these: all str, all int or all bool."""

    except_: Values

    if TYPE_CHECKING:

        def __init__(self, except_: Iterable[Scalar]) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "except_", _scalars(self.except_, "except_"))

    @property
    def value(self) -> Values:
        """The excluded values, without duplicates, in the order given."""
        return self.except_

    def __eq__(self, other: object) -> bool:
        return type(other) is MatchExcept and _exact(*self.except_) == _exact(*other.except_)

    def __hash__(self) -> int:
        return hash(_exact(*self.except_))


class MatchText(Struct, frozen=True, tag="text"):
    """The field holds a text with all of these words, in any order; without words it matches none.

    Where no text index says otherwise, a word is a run of letters and digits, in any case.
    """

    text: str

    def __post_init__(self) -> None:
        force_setattr(self, "text", fields.text(self.text, "text"))


class MatchTextAny(Struct, frozen=True, tag="text_any"):
    """The field holds a text with at least one of these words."""

    text_any: str

    def __post_init__(self) -> None:
        force_setattr(self, "text_any", fields.text(self.text_any, "text_any"))


class MatchPhrase(Struct, frozen=True, tag="phrase"):
    """The field holds a text with these words one after another, in this order."""

    phrase: str

    def __post_init__(self) -> None:
        force_setattr(self, "phrase", fields.text(self.phrase, "phrase"))


class MatchPrefix(Struct, frozen=True, tag="prefix"):
    """The field holds a string that begins with exactly this one; "" begins every string."""

    prefix: str

    def __post_init__(self) -> None:
        force_setattr(self, "prefix", fields.text(self.prefix, "prefix"))


class MatchSubstring(Struct, frozen=True, tag="substring"):
    """The field holds a string with exactly this one inside; "" is inside every string."""

    substring: str

    def __post_init__(self) -> None:
        force_setattr(self, "substring", fields.text(self.substring, "substring"))


Match: TypeAlias = (
    MatchValue
    | MatchText
    | MatchTextAny
    | MatchPhrase
    | MatchPrefix
    | MatchSubstring
    | MatchAny
    | MatchExcept
)


def _exact(*values: Scalar) -> tuple[tuple[type, Scalar], ...]:
    """Values with their types, because True == 1 in Python and not in a payload."""
    return tuple((type(value), value) for value in values)


def _scalar(value: Any, field: str) -> Scalar:
    if isinstance(value, str):
        return fields.text(value, field)
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return fields.integer(value, field, fields.INT64_MIN)
    fields.refuse(field, "a str, an int or a bool", value)


def _scalars(values: Any, field: str) -> Values:
    found = [
        _scalar(value, f"{field}[{i}]")
        for i, value in enumerate(fields.sequence(values, field, HARD_VALUES))
    ]
    if len(set(map(type, found))) > 1:
        fields.refuse(field, "values of one kind (all str, all int or all bool)", values)
    return tuple(dict.fromkeys(found))


class RangeFloat(Struct, frozen=True, tag="range", omit_defaults=True):
    """The field holds a number within the bounds that are given; NaN is refused as a bound."""

    gte: float | None = None
    gt: float | None = None
    lte: float | None = None
    lt: float | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            force_setattr(self, name, fields.number_or_none(getattr(self, name), name))


class RangeDateTime(Struct, frozen=True, tag="datetime", omit_defaults=True):
    """The field holds the text of a moment within the bounds that are given, to the microsecond.

    Bounds are texts (RFC 3339, also without time or offset) or datetimes; without an offset they
    are UTC, and so are payloads. Read back as Qdrant does: "2024-01-01 10:00:00 UTC".
    """

    gte: str | None = None
    gt: str | None = None
    lte: str | None = None
    lt: str | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            gte: str | datetime | None = None,
            gt: str | datetime | None = None,
            lte: str | datetime | None = None,
            lt: str | datetime | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            given = getattr(self, name)
            if given is not None:
                force_setattr(self, name, instant.canonical(given, name))


class ValuesCount(Struct, frozen=True, omit_defaults=True):
    """How many values there are: the length of an array, 0 for null or nothing, else 1."""

    lt: int | None = None
    gt: int | None = None
    lte: int | None = None
    gte: int | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            force_setattr(self, name, fields.integer_or_none(getattr(self, name), name))


Range: TypeAlias = RangeFloat | RangeDateTime
Region: TypeAlias = GeoBoundingBox | GeoRadius | GeoPolygon


class FieldCondition(Struct, frozen=True, tag="field", omit_defaults=True):
    """A condition on the values that the payload path `key` reaches.

    `match`, `range` and the three regions test values, and one that holds is enough.
    `values_count`, `is_empty` and `is_null` test what is there at all, and the first of them that
    is given decides alone. As in Qdrant a condition that asks for nothing is allowed and matches
    no point.
    """

    key: str
    match: Match | None = None
    range: Range | None = None
    geo_bounding_box: GeoBoundingBox | None = None
    geo_radius: GeoRadius | None = None
    geo_polygon: GeoPolygon | None = None
    values_count: ValuesCount | None = None
    is_empty: bool | None = None
    is_null: bool | None = None

    def __post_init__(self) -> None:
        _check_path(self.key)
        if not isinstance(self.match, Match | None):
            fields.refuse("match", "a MatchValue or one of its kind", self.match)
        if not isinstance(self.range, Range | None):
            fields.refuse("range", "a RangeFloat or RangeDateTime", self.range)
        fields.instance_or_none(self.geo_bounding_box, "geo_bounding_box", GeoBoundingBox)
        fields.instance_or_none(self.geo_radius, "geo_radius", GeoRadius)
        fields.instance_or_none(self.geo_polygon, "geo_polygon", GeoPolygon)
        fields.instance_or_none(self.values_count, "values_count", ValuesCount)
        fields.flag_or_none(self.is_empty, "is_empty")
        fields.flag_or_none(self.is_null, "is_null")


class IsEmptyCondition(Struct, frozen=True, tag="empty"):
    """The path reaches nothing, null or an empty list."""

    key: str

    def __post_init__(self) -> None:
        _check_path(self.key)


class IsNullCondition(Struct, frozen=True, tag="null"):
    """The path reaches a null that is really there."""

    key: str

    def __post_init__(self) -> None:
        _check_path(self.key)


class HasIdCondition(Struct, frozen=True, tag="id"):
    """The point's id is one of these; any iterable of ids is taken, read back as a frozenset."""

    point_ids: frozenset[PointId]

    if TYPE_CHECKING:

        def __init__(self, point_ids: Iterable[PointIdLike]) -> None: ...

    def __post_init__(self) -> None:
        ids = fields.sequence(self.point_ids, "point_ids", HARD_VALUES)
        force_setattr(self, "point_ids", frozenset(parse_ids(ids)))


class HasVectorCondition(Struct, frozen=True, tag="vector"):
    """The point has the vector of this name."""

    vector: str

    def __post_init__(self) -> None:
        fields.text(self.vector, "vector")


class SliceCondition(Struct, frozen=True, tag="slice"):
    """The point's id falls into part `index` of `total` parts, which are disjoint and cover all.

    The parts are about equal in size and the same on every shard and in Qdrant: one is
    SipHash-2-4 of the id (see edge.filter.slices) modulo `total`, which is 1 to 2**32 - 1.
    """

    total: int
    index: int

    def __post_init__(self) -> None:
        force_setattr(self, "total", fields.integer(self.total, "total", 1, 2**32 - 1))
        force_setattr(self, "index", fields.integer(self.index, "index", 0, self.total - 1))


class NestedCondition(Struct, frozen=True, tag="nested"):
    """One element of the array at `key` fulfils the whole filter by itself."""

    key: str
    filter: Filter

    def __post_init__(self) -> None:
        _check_path(self.key)
        fields.instance(self.filter, "filter", Filter)


class MinShould(Struct, frozen=True):
    """At least `min_count` of the conditions hold."""

    conditions: tuple[Condition, ...]
    min_count: int

    if TYPE_CHECKING:

        def __init__(self, conditions: Iterable[Condition], min_count: int) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "conditions", _conditions(self.conditions, "min_should.conditions"))
        fields.integer(self.min_count, "min_should.min_count")


class Filter(Struct, frozen=True, tag="filter", dict=True, omit_defaults=True):
    """All of `must`, none of `must_not`, at least one of `should`, and `min_should` hold.

    None and an empty list ask for nothing; an empty Filter matches every point. Lists are read
    back as tuples. Raises LimitExceeded beyond 64 levels or 65536 conditions.
    """

    must: tuple[Condition, ...] | None = None
    should: tuple[Condition, ...] | None = None
    must_not: tuple[Condition, ...] | None = None
    min_should: MinShould | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            must: Iterable[Condition] | None = None,
            should: Iterable[Condition] | None = None,
            must_not: Iterable[Condition] | None = None,
            min_should: MinShould | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        for name in ("must", "should", "must_not"):
            given = getattr(self, name)
            if given is not None:
                force_setattr(self, name, _conditions(given, name))
        fields.instance_or_none(self.min_should, "min_should", MinShould)
        self.__dict__["size"] = _size(self.conditions())

    @property
    def depth(self) -> int:
        """Levels of nesting: 1 when no filter is inside."""
        return self.__dict__["size"][0]  # type: ignore[no-any-return]

    @property
    def nodes(self) -> int:
        """Filters and conditions at all levels, this one included."""
        return self.__dict__["size"][1]  # type: ignore[no-any-return]

    def conditions(self) -> tuple[Condition, ...]:
        """Every condition of this level: must, should, must_not, then min_should."""
        last = () if self.min_should is None else self.min_should.conditions
        return (*(self.must or ()), *(self.should or ()), *(self.must_not or ()), *last)

    def __copy__(self) -> Filter:
        return self


Condition: TypeAlias = (
    FieldCondition
    | IsEmptyCondition
    | IsNullCondition
    | HasIdCondition
    | HasVectorCondition
    | SliceCondition
    | NestedCondition
    | Filter
)


def _conditions(values: Any, field: str) -> tuple[Condition, ...]:
    found = fields.sequence(values, field, HARD_NODES)
    for i, value in enumerate(found):
        if not isinstance(value, Condition):
            fields.refuse(f"{field}[{i}]", "a condition", value)
    return found


def _size(conditions: tuple[Condition, ...]) -> tuple[int, int]:
    """(depth, nodes) of a filter of these conditions, whose own filters know theirs already."""
    depth, nodes = 1, 1 + len(conditions)
    for condition in conditions:
        inner = condition.filter if isinstance(condition, NestedCondition) else condition
        if isinstance(inner, Filter):
            depth = max(depth, 1 + inner.depth)
            nodes += inner.nodes - (inner is condition)
    if depth > HARD_DEPTH or nodes > HARD_NODES:
        raise LimitExceeded(
            f"filter: {depth} levels and {nodes} conditions, at most {HARD_DEPTH} and {HARD_NODES}"
        )
    return depth, nodes


def _check_path(key: Any) -> None:
    """Refuse a key that is not a payload path."""
    json_path.parse(fields.text(key, "key"))
