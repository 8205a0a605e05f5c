"""Expressions: what a formula makes of scores and payloads, one number for each point.

Invariants: every struct here is immutable (lists become tuples); an Expression knows its depth and
its size from the day it is made, so that none exists that is deeper than HARD_DEPTH or larger than
HARD_NODES, and nothing that walks one can run out of stack. Numbers in it are finite and held as
float32; it is evaluated in float64.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct
from msgspec.structs import force_setattr

from edge.errors import LimitExceeded, ValidationError
from edge.model import fields, instant, json_path
from edge.model.choice import Choice
from edge.model.filter import Condition, Filter, NestedCondition
from edge.model.geo import GeoPoint
from edge.model.json_path import Path
from edge.model.limits import HARD_DEPTH, HARD_NODES
from edge.model.single import single, single_or, single_or_none


class DecayKind(Choice):
    """How a decay falls: on a straight line, as a bell, or by the same share for each step."""

    Lin = "lin"
    Gauss = "gauss"
    Exp = "exp"


_MIDPOINT = 0.5
_SCALE = 1.0


class Expression(Struct, frozen=True, dict=True):
    """The kinds of expressions: `Expression.Sum(exprs)` makes a SumExpression, and so on.

    A value that is missing, of the wrong kind, or not finite fails the query, naming it.
    """

    Constant: ClassVar[type[ConstantExpression]]
    Variable: ClassVar[type[VariableExpression]]
    Condition: ClassVar[type[ConditionExpression]]
    GeoDistance: ClassVar[type[GeoDistanceExpression]]
    Datetime: ClassVar[type[DatetimeExpression]]
    DatetimeKey: ClassVar[type[DatetimeKeyExpression]]
    Mult: ClassVar[type[MultExpression]]
    Sum: ClassVar[type[SumExpression]]
    Max: ClassVar[type[MaxExpression]]
    Min: ClassVar[type[MinExpression]]
    Neg: ClassVar[type[NegExpression]]
    Div: ClassVar[type[DivExpression]]
    Sqrt: ClassVar[type[SqrtExpression]]
    Pow: ClassVar[type[PowExpression]]
    Exp: ClassVar[type[ExpExpression]]
    Log10: ClassVar[type[Log10Expression]]
    Ln: ClassVar[type[LnExpression]]
    Acosh: ClassVar[type[AcoshExpression]]
    Abs: ClassVar[type[AbsExpression]]
    Decay: ClassVar[type[DecayExpression]]

    def __post_init__(self) -> None:
        self._check()
        self.__dict__["size"] = self._size()

    def _check(self) -> None:
        raise ValidationError("Expression: expected one of its kinds, such as Expression.Sum")

    def _size(self) -> tuple[int, int]:
        depth, nodes = 1, 1
        for part in self.parts():
            depth = max(depth, 1 + part.depth)
            nodes += part.nodes
        if depth > HARD_DEPTH or nodes > HARD_NODES:
            raise LimitExceeded(
                f"expression: {depth} levels of {nodes} parts, "
                f"at most {HARD_DEPTH} and {HARD_NODES} are taken"
            )
        return depth, nodes

    def parts(self) -> tuple[Expression, ...]:
        """The expressions that this one is made of, in the order they are evaluated in."""
        return ()

    @property
    def depth(self) -> int:
        """Levels of nesting: 1 when no expression is inside."""
        return self.__dict__["size"][0]  # type: ignore[no-any-return]

    @property
    def nodes(self) -> int:
        """Expressions at all levels, this one included, and the conditions in them."""
        return self.__dict__["size"][1]  # type: ignore[no-any-return]

    def __copy__(self) -> Expression:
        return self

    def __repr__(self) -> str:
        kind = type(self).__name__.removesuffix("Expression")
        parts = (f"{name}={_shown(getattr(self, name))}" for name in self.__struct_fields__)
        return f"Expression.{kind}({', '.join(parts)})"


def walk(expression: Expression) -> Iterator[Expression]:
    """The expression and all that it is made of, at all levels."""
    waiting = [expression]
    while waiting:
        found = waiting.pop()
        yield found
        waiting.extend(found.parts())


def variable(text: str, field: str) -> int | Path:
    """What a variable stands for: the score of a prefetch, by its place, or a payload path.

    `$score` is `$score[0]`. Raises ValidationError naming the field.
    """
    try:
        if not text.startswith("$"):
            return json_path.parse(text)
        match json_path.parse(text[1:]).steps:
            case ("score",):
                return 0
            case ("score", int(place)):
                return place
    except ValidationError as error:
        raise type(error)(f"{field}: {error}") from None
    fields.refuse(field, "a payload path, $score or $score[0] and so on", text)


class ConstantExpression(Expression, frozen=True):
    """A number."""

    val: float

    def _check(self) -> None:
        force_setattr(self, "val", single(self.val, "val"))


class VariableExpression(Expression, frozen=True):
    """The score that the prefetch at a place gave (`$score`, `$score[1]`; 0.0 where it did not find
    the point), or the number at a payload path. A list of one number counts as that number."""

    var: str

    def _check(self) -> None:
        variable(fields.text(self.var, "var"), "var")

    @property
    def source(self) -> int | Path:
        """The place of the prefetch, or the payload path."""
        return variable(self.var, "var")


class ConditionExpression(Expression, frozen=True):
    """1.0 where a condition (or a Filter) holds, else 0.0."""

    cond: Condition

    def _check(self) -> None:
        if not isinstance(self.cond, Condition):
            fields.refuse("cond", "a condition", self.cond)

    def _size(self) -> tuple[int, int]:
        inner = self.cond.filter if isinstance(self.cond, NestedCondition) else self.cond
        return 1, 1 + (inner.nodes if isinstance(inner, Filter) else 1)

    @property
    def filter(self) -> Filter:
        """The condition as a filter."""
        return self.cond if isinstance(self.cond, Filter) else Filter([self.cond])


class GeoDistanceExpression(Expression, frozen=True):
    """Metres of great circle from `origin` to the place at the payload path `to`."""

    origin: GeoPoint
    to: str

    def _check(self) -> None:
        fields.instance(self.origin, "origin", GeoPoint)
        json_path.parse(fields.text(self.to, "to"))


class DatetimeExpression(Expression, frozen=True):
    """A moment, in seconds since 1970: a text such as 2024-01-01T00:00:00Z, or a datetime. Read
    back as "2024-01-01 00:00:00 UTC"."""

    date_time: str

    if TYPE_CHECKING:

        def __init__(self, date_time: str | datetime) -> None: ...

    def _check(self) -> None:
        force_setattr(self, "date_time", instant.canonical(self.date_time, "date_time"))


class DatetimeKeyExpression(Expression, frozen=True):
    """The moment at a payload path, in seconds since 1970."""

    path: str

    def _check(self) -> None:
        json_path.parse(fields.text(self.path, "path"))


class OfSeveral(Expression, frozen=True):
    """What is made of any number of expressions."""

    exprs: tuple[Expression, ...]

    if TYPE_CHECKING:

        def __init__(self, exprs: Iterable[Expression]) -> None: ...

    def _check(self) -> None:
        found = fields.sequence(self.exprs, "exprs", HARD_NODES)
        for i, expression in enumerate(found):
            fields.instance(expression, f"exprs[{i}]", Expression)
        force_setattr(self, "exprs", found)

    def parts(self) -> tuple[Expression, ...]:
        return self.exprs


class MultExpression(OfSeveral, frozen=True):
    """The product; of none 1.0. What comes behind a zero is not looked at."""


class SumExpression(OfSeveral, frozen=True):
    """The sum; of none 0.0."""


class OfSome(OfSeveral, frozen=True):
    """What is made of one expression or more."""

    def _check(self) -> None:
        super()._check()
        if not self.exprs:
            raise ValidationError("exprs: expected one expression at least")


class MaxExpression(OfSome, frozen=True):
    """The greatest of one or more."""


class MinExpression(OfSome, frozen=True):
    """The least of one or more."""


class OfOne(Expression, frozen=True):
    """What is made of one expression."""

    expr: Expression

    def _check(self) -> None:
        fields.instance(self.expr, "expr", Expression)

    def parts(self) -> tuple[Expression, ...]:
        return (self.expr,)


class NegExpression(OfOne, frozen=True):
    """The number with the other sign."""


class SqrtExpression(OfOne, frozen=True):
    """The square root."""


class ExpExpression(OfOne, frozen=True):
    """The power of e."""


class Log10Expression(OfOne, frozen=True):
    """The logarithm to the base of 10."""


class LnExpression(OfOne, frozen=True):
    """The natural logarithm."""


class AcoshExpression(OfOne, frozen=True):
    """The inverse hyperbolic cosine."""


class AbsExpression(OfOne, frozen=True):
    """The number without its sign."""


class DivExpression(Expression, frozen=True):
    """The quotient. 0.0 where `left` is zero, whatever `right` is; where `right` is zero,
    `by_zero_default`, and without one the query fails."""

    left: Expression
    right: Expression
    by_zero_default: float | None = None

    def _check(self) -> None:
        fields.instance(self.left, "left", Expression)
        fields.instance(self.right, "right", Expression)
        default = single_or_none(self.by_zero_default, "by_zero_default")
        force_setattr(self, "by_zero_default", default)

    def parts(self) -> tuple[Expression, ...]:
        return self.left, self.right


class PowExpression(Expression, frozen=True):
    """`base` to the power of `exponent`."""

    base: Expression
    exponent: Expression

    def _check(self) -> None:
        fields.instance(self.base, "base", Expression)
        fields.instance(self.exponent, "exponent", Expression)

    def parts(self) -> tuple[Expression, ...]:
        return self.base, self.exponent


class DecayExpression(Expression, frozen=True):
    """1.0 where `x` is at `target` (None: 0.0), less the farther it is from there.

    At the distance `scale` (1.0; more than 0) it is `midpoint` (0.5; between 0 and 1, for Lin both
    included). With d = x - target: Lin max(0, 1 - |d| (1 - midpoint) / scale); Exp
    exp(|d| ln(midpoint) / scale); Gauss exp(d^2 ln(midpoint) / scale^2).
    """

    kind: DecayKind
    x: Expression
    target: Expression | None = None
    midpoint: float = _MIDPOINT
    scale: float = _SCALE

    if TYPE_CHECKING:

        def __init__(
            self,
            kind: DecayKind,
            x: Expression,
            target: Expression | None = None,
            midpoint: float | None = None,
            scale: float | None = None,
        ) -> None: ...

    def _check(self) -> None:
        fields.member(self.kind, "kind", DecayKind)
        fields.instance(self.x, "x", Expression)
        fields.instance_or_none(self.target, "target", Expression)
        midpoint = single_or(_MIDPOINT, self.midpoint, "midpoint")
        scale = single_or(_SCALE, self.scale, "scale")
        if not 0.0 <= midpoint <= 1.0:
            raise ValidationError(f"midpoint: expected 0 to 1, got {self.midpoint}")
        if midpoint in (0.0, 1.0) and self.kind is not DecayKind.Lin:
            raise ValidationError(f"midpoint: expected more than 0 and less than 1, got {midpoint}")
        if scale <= 0.0:
            raise ValidationError(f"scale: expected more than 0, got {self.scale}")
        force_setattr(self, "midpoint", midpoint)
        force_setattr(self, "scale", scale)

    def parts(self) -> tuple[Expression, ...]:
        return (self.x,) if self.target is None else (self.x, self.target)


def _shown(value: object) -> str:
    return f"[{', '.join(map(repr, value))}]" if isinstance(value, tuple) else repr(value)


Expression.Constant = ConstantExpression
Expression.Variable = VariableExpression
Expression.Condition = ConditionExpression
Expression.GeoDistance = GeoDistanceExpression
Expression.Datetime = DatetimeExpression
Expression.DatetimeKey = DatetimeKeyExpression
Expression.Mult = MultExpression
Expression.Sum = SumExpression
Expression.Max = MaxExpression
Expression.Min = MinExpression
Expression.Neg = NegExpression
Expression.Div = DivExpression
Expression.Sqrt = SqrtExpression
Expression.Pow = PowExpression
Expression.Exp = ExpExpression
Expression.Log10 = Log10Expression
Expression.Ln = LnExpression
Expression.Acosh = AcoshExpression
Expression.Abs = AbsExpression
Expression.Decay = DecayExpression
