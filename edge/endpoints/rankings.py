"""What a request ranks by, on the wire: rankings, the prefetches that they rank, expressions.

Every struct here mirrors one of the engine's, field by field; MADE says which. Where the engine's
holds a vector there is a Vector here, and the vector itself stands in a frame of its own. Frames
come in the order in which a walk through the fields, each in its place, meets their Vectors.

Invariants: what has no mirror here is refused by name when written; when read, the engine's own
constructors check everything, how deep and how large it is included; there are as many frames as
Vectors. What is wrong raises ProtocolError, RecursionError, or what those constructors raise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from types import NoneType
from typing import Any, Final, TypeAlias, get_args
from uuid import UUID

import numpy as np
from msgspec import Struct
from msgspec.structs import astuple

from edge.endpoints import vectors
from edge.endpoints.protocol import Frame, ProtocolError
from edge.errors import ValidationError
from edge.model import examples, expression, formula, fusion, prefetch, query
from edge.model.choice import Choice
from edge.model.expression import DecayKind
from edge.model.filter import Condition, Filter
from edge.model.geo import GeoPoint
from edge.model.query import Direction, Sample, SearchParams
from edge.model.sparse import SparseVector


class Mirror(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A struct of the engine's, on the wire."""


def _tag(name: str) -> str:
    """GeoDistance: geo_distance."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


# -- examples


class Vector(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A vector in the next frame: a multivector of so many `rows` (nil: it is none), or a sparse
    one."""

    rows: int | None = None
    sparse: bool = False


Example: TypeAlias = int | str | Vector
"""The id of a point, or a vector."""


class RecommendQuery(Mirror, frozen=True):
    positives: tuple[Example, ...]
    negatives: tuple[Example, ...]


class ContextPair(Mirror, frozen=True):
    positive: Example
    negative: Example


class DiscoverQuery(Mirror, frozen=True):
    target: Example
    pairs: tuple[ContextPair, ...]


class ContextQuery(Mirror, frozen=True):
    pairs: tuple[ContextPair, ...]


class FeedbackItem(Mirror, frozen=True):
    vector: Example
    score: float


class NaiveFeedbackStrategy(Mirror, frozen=True):
    a: float
    b: float
    c: float


class FeedbackNaiveQuery(Mirror, frozen=True):
    target: Example
    feedback: tuple[FeedbackItem, ...]
    strategy: NaiveFeedbackStrategy


# -- expressions


class Part(Mirror, frozen=True, tag=_tag):
    """A kind of expression."""


class Constant(Part, frozen=True):
    val: float


class Variable(Part, frozen=True):
    var: str


class ConditionHolds(Part, frozen=True, tag="condition"):
    cond: Condition


class GeoDistance(Part, frozen=True):
    origin: GeoPoint
    to: str


class Datetime(Part, frozen=True):
    date_time: str


class DatetimeKey(Part, frozen=True):
    path: str


class OfSeveral(Part, frozen=True):
    exprs: tuple[Expression, ...]


class Mult(OfSeveral, frozen=True): ...


class Sum(OfSeveral, frozen=True): ...


class Max(OfSeveral, frozen=True): ...


class Min(OfSeveral, frozen=True): ...


class OfOne(Part, frozen=True):
    expr: Expression


class Neg(OfOne, frozen=True): ...


class Sqrt(OfOne, frozen=True): ...


class Exp(OfOne, frozen=True): ...


class Log10(OfOne, frozen=True): ...


class Ln(OfOne, frozen=True): ...


class Acosh(OfOne, frozen=True): ...


class Abs(OfOne, frozen=True): ...


class Div(Part, frozen=True):
    left: Expression
    right: Expression
    by_zero_default: float | None = None


class Pow(Part, frozen=True):
    base: Expression
    exponent: Expression


class Decay(Part, frozen=True):
    kind: DecayKind
    x: Expression
    target: Expression | None = None
    midpoint: float = 0.5
    scale: float = 1.0


Expression: TypeAlias = (
    Constant
    | Variable
    | ConditionHolds
    | GeoDistance
    | Datetime
    | DatetimeKey
    | Mult
    | Sum
    | Max
    | Min
    | Neg
    | Div
    | Sqrt
    | Pow
    | Exp
    | Log10
    | Ln
    | Acosh
    | Abs
    | Decay
)

# -- rankings


class Nearest(Mirror, frozen=True, tag="nearest"):
    query: Example
    using: str | None = None


class RecommendBestScore(Mirror, frozen=True, tag="recommend_best_score"):
    query: RecommendQuery
    using: str | None = None


class RecommendSumScores(Mirror, frozen=True, tag="recommend_sum_scores"):
    query: RecommendQuery
    using: str | None = None


class Discover(Mirror, frozen=True, tag="discover"):
    query: DiscoverQuery
    using: str | None = None


class Context(Mirror, frozen=True, tag="context"):
    query: ContextQuery
    using: str | None = None


class FeedbackNaive(Mirror, frozen=True, tag="feedback_naive"):
    query: FeedbackNaiveQuery
    using: str | None = None


class Mmr(Mirror, frozen=True, tag="mmr"):
    vector: Example
    lambda_: float
    candidates_limit: int
    using: str = ""


class ByOrder(Mirror, frozen=True, tag="order_by"):
    key: str
    direction: Direction = Direction.Asc
    start_from: int | float | str | None = None


class ByChance(Mirror, frozen=True, tag="sample"):
    """Sample.Random."""


class Bm25Params(Mirror, frozen=True):
    k: float = 1.2
    b: float = 0.75


class ByText(Mirror, frozen=True, tag="text"):
    field: str
    query: str
    scoring: Bm25Params = Bm25Params()


class Rrf(Mirror, frozen=True, tag="rrf"):
    k: int
    weights: tuple[float, ...] | None = None


class Dbsf(Mirror, frozen=True, tag="dbsf"): ...


class ByFormula(Mirror, frozen=True, tag="formula"):
    formula: Expression
    defaults: dict[str, float | str | GeoPoint] = {}


Ranking: TypeAlias = (
    Nearest
    | RecommendBestScore
    | RecommendSumScores
    | Discover
    | Context
    | FeedbackNaive
    | Mmr
    | ByOrder
    | ByChance
    | ByText
    | Rrf
    | Dbsf
    | ByFormula
)


class Prefetch(Mirror, frozen=True):
    limit: int
    query: Ranking | None = None
    prefetches: tuple[Prefetch, ...] = ()
    params: SearchParams | None = None
    filter: Filter | None = None
    score_threshold: float | None = None


# -- from the engine's to these, and back

MADE: Final[dict[type[Mirror], type]] = {
    RecommendQuery: examples.RecommendQuery,
    ContextPair: examples.ContextPair,
    DiscoverQuery: examples.DiscoverQuery,
    ContextQuery: examples.ContextQuery,
    FeedbackItem: examples.FeedbackItem,
    NaiveFeedbackStrategy: examples.NaiveFeedbackStrategy,
    FeedbackNaiveQuery: examples.FeedbackNaiveQuery,
    Constant: expression.ConstantExpression,
    Variable: expression.VariableExpression,
    ConditionHolds: expression.ConditionExpression,
    GeoDistance: expression.GeoDistanceExpression,
    Datetime: expression.DatetimeExpression,
    DatetimeKey: expression.DatetimeKeyExpression,
    Mult: expression.MultExpression,
    Sum: expression.SumExpression,
    Max: expression.MaxExpression,
    Min: expression.MinExpression,
    Neg: expression.NegExpression,
    Div: expression.DivExpression,
    Sqrt: expression.SqrtExpression,
    Pow: expression.PowExpression,
    Exp: expression.ExpExpression,
    Log10: expression.Log10Expression,
    Ln: expression.LnExpression,
    Acosh: expression.AcoshExpression,
    Abs: expression.AbsExpression,
    Decay: expression.DecayExpression,
    Nearest: query.NearestQuery,
    RecommendBestScore: query.RecommendBestScoreRanking,
    RecommendSumScores: query.RecommendSumScoresRanking,
    Discover: query.DiscoverRanking,
    Context: query.ContextRanking,
    FeedbackNaive: query.FeedbackNaiveRanking,
    Mmr: query.Mmr,
    ByOrder: query.OrderBy,
    ByChance: Sample,
    Bm25Params: query.Bm25Params,
    ByText: query.TextQuery,
    Rrf: fusion.RrfFusion,
    Dbsf: fusion.DbsfFusion,
    ByFormula: formula.Formula,
    Prefetch: prefetch.Prefetch,
}
"""What of the engine's each struct mirrors."""

_MIRRORS: Final[dict[type, type[Mirror]]] = {made: mirror for mirror, made in MADE.items()}
_MAKERS: Final[dict[type, Callable[..., Any]]] = {**MADE, ByChance: lambda: Sample.Random}
_AS_THEY_ARE: Final = (
    int, float, str, NoneType, Choice, GeoPoint, SearchParams, *get_args(Condition)
)  # fmt: skip
"""What of the engine's goes over the wire itself."""


def write(given: Any) -> tuple[Any, list[bytes]]:
    """What is given (tuples of rankings and prefetches) as mirrors, and the frames of its vectors.

    Raises ValidationError for what has no mirror.
    """
    frames: list[bytes] = []

    def written(value: Any) -> Any:
        mirror = _MIRRORS.get(type(value))
        if mirror is not None:
            return mirror(*map(written, [getattr(value, f) for f in mirror.__struct_fields__]))
        if isinstance(value, tuple):
            return tuple(map(written, value))
        if isinstance(value, dict):
            return dict(zip(value, map(written, value.values()), strict=True))
        if isinstance(value, np.ndarray | SparseVector):
            sent = vectors.sent(value)
            frames.append(sent.frame)
            return Vector(sent.rows, sent.is_sparse)
        if isinstance(value, UUID):
            return str(value)
        if isinstance(value, _AS_THEY_ARE):
            return value
        raise ValidationError(f"{type(value).__name__} does not go through the doors yet")

    return written(given), frames


def read(given: Any, frames: Sequence[Frame]) -> Any:
    """What mirrors and frames say, as `write` took it."""
    waiting = iter(frames)
    found = _made(given, waiting)
    left = sum(1 for _ in waiting)
    if left:
        raise ProtocolError(f"{len(frames)} vectors with this query, {left} of them too many")
    return found


def _made(given: Any, frames: Iterator[Frame]) -> Any:
    maker = _MAKERS.get(type(given))
    if maker is not None:
        return maker(*[_made(value, frames) for value in astuple(given)])
    if isinstance(given, tuple):
        return tuple([_made(value, frames) for value in given])
    if isinstance(given, Vector):
        frame = next(frames, None)
        if frame is None:
            raise ProtocolError("fewer vectors with this query than it has places for")
        return vectors.received(frame, given.rows, given.sparse)
    return given
