"""A formula: an expression that gives points their scores, and what to take where values miss.

Invariants: every default is of the kind that the expression asks for under its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct
from msgspec.structs import force_setattr

from edge.errors import ValidationError
from edge.model import fields, instant, json_path
from edge.model.expression import (
    DatetimeKeyExpression,
    Expression,
    GeoDistanceExpression,
    VariableExpression,
    variable,
    walk,
)
from edge.model.geo import GeoPoint

Default: TypeAlias = float | str | GeoPoint
"""A number, a moment in time (as text), or a place."""
DefaultLike: TypeAlias = Default | datetime | Mapping[str, Any]


class Formula(Struct, frozen=True):
    """Rank what the prefetches found by `formula`, the greatest first.

    `defaults` has, by payload path or `$score[0]` and so on, what stands in where a point has no
    such value: a finite number; for DatetimeKey a moment (text or datetime); for GeoDistance a
    place (GeoPoint or a dict of lat and lon). Read back under canonical paths.
    """

    formula: Expression
    defaults: dict[str, Default] = {}

    if TYPE_CHECKING:

        def __init__(
            self, formula: Expression, defaults: Mapping[str, DefaultLike] | None = None
        ) -> None: ...

    def __post_init__(self) -> None:
        fields.instance(self.formula, "formula", Expression)
        given: Any = self.defaults
        if given is not None and not isinstance(given, Mapping):
            fields.refuse("defaults", "a dict", given)
        found: dict[str, Default] = {}
        if given:
            kinds = _kinds(self.formula)
            for text, value in given.items():
                name = canonical(fields.text(text, "defaults: name"), "defaults: name")
                if name in found:
                    raise ValidationError(f"defaults: {name} comes twice")
                wanted = kinds.get(name) or {_any_kind(name, value)}
                found[name] = _default(value, f"defaults[{name!r}]", wanted)
        force_setattr(self, "defaults", found)


def canonical(text: str, field: str) -> str:
    """The one name of a variable: `$score[0]` for `$score`, and the canonical path."""
    source = variable(text, field)
    return f"$score[{source}]" if isinstance(source, int) else str(source)


_Kind: TypeAlias = Callable[[Any, str], Default]


def _kinds(formula: Expression) -> dict[str, set[_Kind]]:
    """What each name of the formula must hold."""
    kinds: dict[str, set[_Kind]] = {}
    for part in walk(formula):
        if isinstance(part, VariableExpression):
            kinds.setdefault(canonical(part.var, "var"), set()).add(_number)
        elif isinstance(part, GeoDistanceExpression):
            kinds.setdefault(json_path.canonical(part.to), set()).add(_place)
        elif isinstance(part, DatetimeKeyExpression):
            kinds.setdefault(json_path.canonical(part.path), set()).add(instant.canonical)
    return kinds


def _any_kind(name: str, value: Any) -> _Kind:
    """What a default that nobody asks for must at least be."""
    if name.startswith("$"):
        return _number
    if isinstance(value, str):
        return fields.text
    if isinstance(value, datetime):
        return instant.canonical
    return _place if isinstance(value, (GeoPoint, Mapping)) else _number


def _default(value: Any, field: str, kinds: set[_Kind]) -> Default:
    if len(kinds) > 1:
        raise ValidationError(f"{field}: the formula asks for values of several kinds by this name")
    (kind,) = kinds
    return kind(value, field)


def _number(value: Any, field: str) -> float:
    found = fields.number(value, field)
    if found in (float("inf"), float("-inf")):
        fields.refuse(field, "a finite number", value)
    return found


def _place(value: Any, field: str) -> GeoPoint:
    if isinstance(value, GeoPoint):
        return value
    if not isinstance(value, Mapping) or not value.keys() >= {"lat", "lon"}:
        fields.refuse(field, "a GeoPoint, or a dict of lat and lon", value)
    try:
        return GeoPoint(value["lon"], value["lat"])
    except ValidationError as error:
        raise ValidationError(f"{field}.{error}") from None
