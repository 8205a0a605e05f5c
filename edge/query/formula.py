"""Formulas: a number for each candidate, made of scores and payloads by columns.

Invariants
- An expression is worked out for all candidates at once, in float64; only where its number is
  needed: what stands behind a zero factor, or under a zero numerator, is not looked at.
- A value that is missing, of another kind, or a number that is not finite fails the query, naming
  the expression or path, and the point.
- Each payload is read once, and of it only what the formula asks for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge.errors import ValidationError
from edge.filter.mask import matching
from edge.filter.regions import EARTH_RADIUS
from edge.model import instant, json_path
from edge.model.expression import (
    AbsExpression,
    AcoshExpression,
    ConditionExpression,
    ConstantExpression,
    DatetimeExpression,
    DatetimeKeyExpression,
    DecayExpression,
    DecayKind,
    DivExpression,
    ExpExpression,
    Expression,
    GeoDistanceExpression,
    LnExpression,
    Log10Expression,
    MaxExpression,
    MinExpression,
    MultExpression,
    NegExpression,
    PowExpression,
    SqrtExpression,
    SumExpression,
    VariableExpression,
    walk,
)
from edge.model.formula import Formula, canonical
from edge.model.geo import GeoPoint
from edge.model.point_id import decode_id
from edge.payload.field_index import flattened, top_keys
from edge.query.deadline import Deadline
from edge.query.pool import Keys, Ranked, best, by_segment, id_rows, offsets_of, union
from edge.segment.view import ShardView

Column: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]

CANDIDATES_A_READ = 512


class Candidates:
    """The points that a formula rates: what their payloads and the prefetches say of them."""

    def __init__(
        self, view: ShardView, formula: Formula, sources: list[Ranked], deadline: Deadline
    ) -> None:
        self.view = view
        self.keys: Keys = union(sources)
        self.count = len(self.keys)
        self._formula = formula
        self._sources = sources
        self._deadline = deadline
        self._documents: list[dict[str, Any]] | None = None

    def refuse(self, what: str, wrong: Mask) -> None:
        """Raise ValidationError, naming the first of the points where it is wrong, if any."""
        if wrong.any():
            place = int(np.argmax(wrong))
            point_id = decode_id(id_rows(self.view, self.keys[place : place + 1])[0])
            raise ValidationError(f"query.formula: {what} (point {point_id})")

    def default(self, name: str) -> Any:
        """Return what stands in for a variable where it is missing; None where nothing does."""
        return self._formula.defaults.get(name)

    def score(self, place: int) -> Column:
        """Return the scores of a prefetch, and for points that it has not found the default."""
        default = self.default(f"$score[{place}]")
        found = np.full(self.count, 0.0 if default is None else default, np.float64)
        if place < len(self._sources):
            source = self._sources[place]
            found[np.searchsorted(self.keys, source.keys)] = source.scores
        return found

    def fulfil(self, expression: ConditionExpression) -> Column:
        """Return 1.0 where the condition holds, else 0.0."""
        found = np.zeros(self.count, np.float64)
        for at, places in by_segment(self.view, self.keys):
            offsets = offsets_of(self.keys[places])
            holds = matching(
                expression.filter, self.view.segments[at], np.sort(offsets),
                checkpoint=self._deadline.check,
            )  # fmt: skip
            found[places] = np.isin(offsets, holds)
        return found

    def held(self, path: json_path.Path) -> list[Any]:
        """Return what the payload of each point holds at a path: its one value, None for nothing,
        or a list of several. Lists are their elements, nulls are nothing."""
        documents = self._read()
        if len(path.steps) > 1:
            return [_only(flattened(json_path.values(document, path))) for document in documents]
        values = [document.get(path.steps[0]) for document in documents]  # type: ignore[arg-type]
        if list not in set(map(type, values)):
            return values
        return [_only(value) if type(value) is list else value for value in values]

    def _read(self) -> list[dict[str, Any]]:
        if self._documents is None:
            self._documents = self._read_all()
        return self._documents

    def _read_all(self) -> list[dict[str, Any]]:
        keys = top_keys(_paths(self._formula.formula))
        found: list[dict[str, Any]] = [{}] * self.count
        for at, places in by_segment(self.view, self.keys):
            read = self.view.segments[at].reader(keys)
            for first in range(0, len(places), CANDIDATES_A_READ):
                self._deadline.check()
                few = places[first : first + CANDIDATES_A_READ]
                documents = read(offsets_of(self.keys[few]).tolist())
                for place, document in zip(few.tolist(), documents, strict=True):
                    found[place] = document
        return found


def _only(values: list[Any]) -> Any:
    there = [value for value in values if value is not None]
    return there[0] if len(there) == 1 else there or None


def evaluated(
    view: ShardView, formula: Formula, sources: list[Ranked], limit: int, deadline: Deadline
) -> Ranked:
    """Return the `limit` points that the formula rates best, of all that the sources found."""
    candidates = Candidates(view, formula, sources, deadline)
    everywhere = np.ones(candidates.count, bool)
    with np.errstate(all="ignore"):
        scores = _number(formula.formula, candidates, everywhere).astype(np.float32)
    candidates.refuse("the score is not finite as float32", ~np.isfinite(scores))
    return best(view, candidates.keys, scores, limit)


def _paths(expression: Expression) -> set[str]:
    """The payload paths that an expression asks for."""
    paths = set()
    for part in walk(expression):
        if isinstance(part, VariableExpression) and not isinstance(part.source, int):
            paths.add(part.var)
        elif isinstance(part, GeoDistanceExpression):
            paths.add(part.to)
        elif isinstance(part, DatetimeKeyExpression):
            paths.add(part.path)
    return paths


# -- expressions: each gives a column; what it is where it is not needed does not matter


def _number(expression: Expression, candidates: Candidates, needed: Mask) -> Column:
    return _KINDS[type(expression)](expression, candidates, needed)


def _constant(e: ConstantExpression, candidates: Candidates, needed: Mask) -> Column:
    return np.full(candidates.count, e.val, np.float64)


def _variable(e: VariableExpression, candidates: Candidates, needed: Mask) -> Column:
    source = e.source
    if isinstance(source, int):
        return candidates.score(source)
    return _of_payloads(canonical(e.var, "var"), source, _READ_NUMBER, candidates, needed)


def _condition(e: ConditionExpression, candidates: Candidates, needed: Mask) -> Column:
    return candidates.fulfil(e)


def _geo_distance(e: GeoDistanceExpression, candidates: Candidates, needed: Mask) -> Column:
    path = json_path.parse(e.to)
    read = _Read("a place", _place, lambda place: metres(e.origin, place))
    return _of_payloads(str(path), path, read, candidates, needed)


def _datetime(e: DatetimeExpression, candidates: Candidates, needed: Mask) -> Column:
    return np.full(candidates.count, _seconds(e.date_time), np.float64)


def _datetime_key(e: DatetimeKeyExpression, candidates: Candidates, needed: Mask) -> Column:
    path = json_path.parse(e.path)
    return _of_payloads(str(path), path, _READ_MOMENT, candidates, needed)


class _Read(NamedTuple):
    """How a value becomes a number: what it must be, itself or None, its number."""

    kind: str
    taken: Callable[[Any], Any]
    number: Callable[[Any], float]


def _of_payloads(
    name: str, path: json_path.Path, read: _Read, candidates: Candidates, needed: Mask
) -> Column:
    """What each payload holds at a path as a number, or the default where it holds nothing."""
    default, held = candidates.default(name), candidates.held(path)
    if read is _READ_NUMBER and set(map(type, held)) <= {int, float}:
        return np.array(held, np.float64)
    found = np.zeros(candidates.count, np.float64)
    missing, wrong = np.zeros(candidates.count, bool), np.zeros(candidates.count, bool)
    for place, value in enumerate(held):
        taken = default if value is None else read.taken(value)
        if taken is not None:
            found[place] = read.number(taken)
        else:
            (missing if value is None else wrong)[place] = True
    candidates.refuse(f"{name} is missing, and has no default", missing & needed)
    candidates.refuse(f"{name} is not {read.kind}", wrong & needed)
    return found


def _numeric(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _moment(value: Any) -> Any:
    return value if isinstance(value, str) and instant.parse(value) is not None else None


def _seconds(value: str) -> float:
    parsed = instant.parse(value)
    assert parsed is not None
    return instant.microseconds(parsed) / 1e6


def _place(value: Any) -> GeoPoint | None:
    if not isinstance(value, dict) or not value.keys() >= {"lat", "lon"}:
        return None
    try:
        return GeoPoint(value["lon"], value["lat"])
    except ValidationError:
        return None


_READ_NUMBER = _Read("one number", _numeric, float)
_READ_MOMENT = _Read("one moment in time", _moment, _seconds)


def metres(first: GeoPoint, second: GeoPoint) -> float:
    """Return the length of the great circle between two places (haversine formula)."""
    lat, other = np.radians(first.lat), np.radians(second.lat)
    across = np.sin((other - lat) / 2) ** 2
    along = np.sin(np.radians(second.lon - first.lon) / 2) ** 2
    share = across + np.cos(lat) * np.cos(other) * along
    return float(2 * EARTH_RADIUS * np.arcsin(np.sqrt(min(1.0, share))))


def _sum(e: SumExpression, candidates: Candidates, needed: Mask) -> Column:
    total = np.zeros(candidates.count, np.float64)
    for part in e.exprs:
        total += _number(part, candidates, needed)
    return total


def _mult(e: MultExpression, candidates: Candidates, needed: Mask) -> Column:
    product = np.ones(candidates.count, np.float64)
    for part in e.exprs:
        needed = needed & (product != 0.0)
        product = np.where(needed, product * _number(part, candidates, needed), 0.0)
    return product


def _of_all(
    combine: Callable[[Column, Column], Column],
) -> Callable[[Any, Candidates, Mask], Column]:
    def act(e: MaxExpression | MinExpression, candidates: Candidates, needed: Mask) -> Column:
        found = _number(e.exprs[0], candidates, needed)
        for part in e.exprs[1:]:
            found = combine(found, _number(part, candidates, needed))
        return found

    return act


def _finite(
    name: str, act: Callable[[Column], Column]
) -> Callable[[Any, Candidates, Mask], Column]:
    """A function of one number, whose result has to be finite."""

    def of_one(e: Any, candidates: Candidates, needed: Mask) -> Column:
        found = act(_number(e.expr, candidates, needed))
        candidates.refuse(f"{name} is not finite", ~np.isfinite(found) & needed)
        return found

    return of_one


def _div(e: DivExpression, candidates: Candidates, needed: Mask) -> Column:
    left = _number(e.left, candidates, needed)
    needed = needed & (left != 0.0)
    right = _number(e.right, candidates, needed)
    found = left / right
    if e.by_zero_default is not None:
        found = np.where(right == 0.0, e.by_zero_default, found)
    candidates.refuse("Div is not finite", ~np.isfinite(found) & needed)
    return np.where(left == 0.0, 0.0, found)


def _pow(e: PowExpression, candidates: Candidates, needed: Mask) -> Column:
    base = _number(e.base, candidates, needed)
    found: Column = np.power(base, _number(e.exponent, candidates, needed))
    candidates.refuse("Pow is not finite", ~np.isfinite(found) & needed)
    return found


def _decay(e: DecayExpression, candidates: Candidates, needed: Mask) -> Column:
    target = np.float64(0.0)
    x = _number(e.x, candidates, needed)
    away = np.abs(x - (target if e.target is None else _number(e.target, candidates, needed)))
    return _DECAYS[e.kind](away, e.midpoint, e.scale)


def _straight(away: Column, midpoint: float, scale: float) -> Column:
    found: Column = np.maximum(0.0, 1.0 - away * ((1.0 - midpoint) / scale))
    return found


def _by_steps(away: Column, midpoint: float, scale: float) -> Column:
    found: Column = np.exp(away * (np.log(midpoint) / scale))
    return found


def _bell(away: Column, midpoint: float, scale: float) -> Column:
    found: Column = np.exp(away * away * (np.log(midpoint) / (scale * scale)))
    return found


_DECAYS: dict[DecayKind, Callable[[Column, float, float], Column]] = {
    DecayKind.Lin: _straight,
    DecayKind.Exp: _by_steps,
    DecayKind.Gauss: _bell,
}

_KINDS: dict[type, Callable[[Any, Candidates, Mask], Column]] = {
    ConstantExpression: _constant,
    VariableExpression: _variable,
    ConditionExpression: _condition,
    GeoDistanceExpression: _geo_distance,
    DatetimeExpression: _datetime,
    DatetimeKeyExpression: _datetime_key,
    MultExpression: _mult,
    SumExpression: _sum,
    MaxExpression: _of_all(np.fmax),
    MinExpression: _of_all(np.fmin),
    NegExpression: lambda e, candidates, needed: -_number(e.expr, candidates, needed),
    AbsExpression: lambda e, candidates, needed: np.abs(_number(e.expr, candidates, needed)),
    DivExpression: _div,
    SqrtExpression: _finite("Sqrt", np.sqrt),
    PowExpression: _pow,
    ExpExpression: _finite("Exp", np.exp),
    Log10Expression: _finite("Log10", np.log10),
    LnExpression: _finite("Ln", np.log),
    AcoshExpression: _finite("Acosh", np.arccosh),
    DecayExpression: _decay,
}
"""How each kind of expression is worked out."""
