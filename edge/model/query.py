"""What a query ranks points by, and how hard it looks.

Invariants: a query holds vectors as read-only float32 arrays of its own, and points that stand for
theirs as parsed ids; whether they fit the shard's config is the matter of `check`.
`isinstance(q, Query)` is true of every kind of ranking by vectors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

import numpy as np
from msgspec import Struct
from msgspec.structs import force_setattr

from edge.errors import ValidationError
from edge.model import fields, instant, json_path
from edge.model.choice import Choice
from edge.model.examples import (
    ContextQuery,
    DiscoverQuery,
    Example,
    ExampleLike,
    FeedbackNaiveQuery,
    OfExamples,
    Placed,
    RecommendQuery,
    as_example,
    same,
    shown,
)
from edge.model.filter import Filter
from edge.model.formula import Formula
from edge.model.fusion import Fusion
from edge.model.quantization import QuantizationSearchParams
from edge.model.single import single


class Query(OfExamples, frozen=True, eq=False):
    """The kinds of ranking by vectors. `Query.Nearest(vector, using=None)` makes a NearestQuery.

    `using` names the vector that is compared: None is the default one, "". An example may be the
    id of a point, whose vector of that name is then taken; the point itself is not found.

    All kinds but Nearest score by how like a point is to an example, s: the cosine or the dot
    product, minus the squared Euclidean or minus the Manhattan distance, of multivectors the sum
    of the best for each vector of the example. More is better whatever the distance. They say
    f(x) for x / (1 + |x|), and g(x) for (f(x) + 1) / 2.
    """

    Nearest: ClassVar[type[NearestQuery]]
    RecommendBestScore: ClassVar[type[RecommendBestScoreRanking]]
    RecommendSumScores: ClassVar[type[RecommendSumScoresRanking]]
    Discover: ClassVar[type[DiscoverRanking]]
    Context: ClassVar[type[ContextRanking]]
    FeedbackNaive: ClassVar[type[FeedbackNaiveRanking]]

    holds: ClassVar[type[OfExamples]]

    query: Any
    using: str | None = None

    def __post_init__(self) -> None:
        if type(self) is Query:
            raise ValidationError("Query: expected one of its kinds, such as Query.Nearest")
        self._check()
        fields.text_or_none(self.using, "using")

    def _check(self) -> None:
        fields.instance(self.query, "query", self.holds)

    def examples(self) -> Iterator[Placed]:
        for place, example in self.query.examples():
            yield f"query.{place}", example

    def _holding(self, examples: Sequence[Example]) -> Self:
        return type(self)(self.query.with_examples(examples), self.using)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Query)
            and type(other) is type(self)
            and (self.using or "") == (other.using or "")
            and same(self.query, other.query)
        )

    def __repr__(self) -> str:
        kind = next(name for name, made in vars(Query).items() if made is type(self))
        return f"Query.{kind}(query={shown(self.query)}, using={self.using!r})"


class NearestQuery(Query, frozen=True, eq=False):
    """Rank by distance to `query`: a vector, or the id of a point.

    A multivector may be asked for by one vector. Raises ValidationError naming the argument.
    """

    if TYPE_CHECKING:

        def __init__(self, query: ExampleLike, using: str | None = None) -> None: ...

    def _check(self) -> None:
        force_setattr(self, "query", as_example(self.query, "query"))

    def examples(self) -> Iterator[Placed]:
        yield "query", self.query

    def _holding(self, examples: Sequence[Example]) -> Self:
        return type(self)(examples[0], self.using)


class RecommendBestScoreRanking(Query, frozen=True, eq=False):
    """g(p) where p, the most of s over the positive examples, is more than n, the most over the
    negative ones; else -g(n)."""

    holds = RecommendQuery

    if TYPE_CHECKING:
        query: RecommendQuery

        def __init__(self, query: RecommendQuery, using: str | None = None) -> None: ...


class RecommendSumScoresRanking(Query, frozen=True, eq=False):
    """The sum of s over the positive examples, less that over the negative ones."""

    holds = RecommendQuery

    if TYPE_CHECKING:
        query: RecommendQuery

        def __init__(self, query: RecommendQuery, using: str | None = None) -> None: ...


class DiscoverRanking(Query, frozen=True, eq=False):
    """g(s(target)), and for each pair 1 more on its positive side, 1 less on its negative one."""

    holds = DiscoverQuery

    if TYPE_CHECKING:
        query: DiscoverQuery

        def __init__(self, query: DiscoverQuery, using: str | None = None) -> None: ...


class ContextRanking(Query, frozen=True, eq=False):
    """The sum over the pairs of f(min(s(positive) - s(negative) - 2**-23, 0)): 0 at the most."""

    holds = ContextQuery

    if TYPE_CHECKING:
        query: ContextQuery

        def __init__(self, query: ContextQuery, using: str | None = None) -> None: ...


class FeedbackNaiveRanking(Query, frozen=True, eq=False):
    """a s(target), and for each item whose feedback score is by d > 0 higher than another's,
    d**b c (s(the item) - s(the other))."""

    holds = FeedbackNaiveQuery

    if TYPE_CHECKING:
        query: FeedbackNaiveQuery

        def __init__(self, query: FeedbackNaiveQuery, using: str | None = None) -> None: ...


Query.Nearest = NearestQuery
Query.RecommendBestScore = RecommendBestScoreRanking
Query.RecommendSumScores = RecommendSumScoresRanking
Query.Discover = DiscoverRanking
Query.Context = ContextRanking
Query.FeedbackNaive = FeedbackNaiveRanking


class Mmr(OfExamples, frozen=True, eq=False):
    """Rank the `candidates_limit` nearest to `vector` so that they are unlike each other.

    The nearest comes first; then, one after another, the point with the most of
    lambda_ s(vector) - (1 - lambda_) s(the likest of those chosen), with s as in Query. `lambda_`
    is 0 (unlike each other) to 1 (near), held as float32. Scores are those of Query.Nearest. From
    J. Carbonell and J. Goldstein, "The Use of MMR, Diversity-Based Reranking", SIGIR 1998. `vector`
    may be the id of a point; `using` None is read back as "", the default vector.
    """

    vector: Example
    lambda_: float
    candidates_limit: int
    using: str = ""

    if TYPE_CHECKING:

        def __init__(
            self,
            vector: ExampleLike,
            lambda_: float,
            candidates_limit: int,
            using: str | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "vector", as_example(self.vector, "vector"))
        lambda_ = single(self.lambda_, "lambda_")
        if not 0.0 <= lambda_ <= 1.0:
            raise ValidationError(f"lambda_: expected 0 to 1, got {self.lambda_}")
        force_setattr(self, "lambda_", lambda_)
        limit = fields.integer(self.candidates_limit, "candidates_limit")
        force_setattr(self, "candidates_limit", limit)
        force_setattr(self, "using", fields.text_or_none(self.using, "using") or "")

    def examples(self) -> Iterator[Placed]:
        yield "query.vector", self.vector

    def _holding(self, examples: Sequence[Example]) -> Self:
        return type(self)(examples[0], self.lambda_, self.candidates_limit, self.using)


class Direction(Choice):
    """Which way an order goes."""

    Asc = "asc"
    Desc = "desc"


class OrderBy(Struct, frozen=True):
    """Rank by what a payload field holds: numbers, and texts that are moments in time.

    A moment counts as its microseconds since 1970. A point that holds several values stands once,
    at its best one: the least (Desc: the greatest) from `start_from` on, which is included. Ties go
    by id (Desc: backwards); points without a value are left out. An index of integers, floats or
    datetimes makes it fast; none is needed. `direction` None is read back as Asc, and a moment in
    `start_from`, a text or a datetime, as "2024-01-01 10:00:00 UTC".
    """

    key: str
    direction: Direction = Direction.Asc
    start_from: float | str | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            key: str,
            direction: Direction | None = None,
            start_from: float | str | datetime | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        json_path.parse(fields.text(self.key, "key"))
        direction = fields.member_or_none(self.direction, "direction", Direction)
        force_setattr(self, "direction", direction or Direction.Asc)
        force_setattr(self, "start_from", _start(self.start_from))


def _start(given: object) -> float | str | None:
    if isinstance(given, str | datetime):
        return instant.canonical(given, "start_from")
    if isinstance(given, int) and not isinstance(given, bool):
        fields.number(given, "start_from")
        return given
    return fields.number_or_none(given, "start_from")


class Sample(Choice):
    """Points by chance."""

    Random = "random"


class Bm25Params(Struct, frozen=True):
    """How BM25 ranks: `k`, how soon a repeated term stops counting for more (1.2; finite, 0 or
    more); `b`, how much long documents count for less (0.75; 0 to 1). Held as float32."""

    k: float = 1.2
    b: float = 0.75

    if TYPE_CHECKING:

        def __init__(self, k: float | None = None, b: float | None = None) -> None: ...

    def __post_init__(self) -> None:
        k, b = _single(self.k, "k", 1.2), _single(self.b, "b", 0.75)
        if not 0.0 <= k < math.inf:
            raise ValidationError(f"k: expected a finite number, 0 or more, got {self.k}")
        if not 0.0 <= b <= 1.0:
            raise ValidationError(f"b: expected 0 to 1, got {self.b}")
        force_setattr(self, "k", k)
        force_setattr(self, "b", b)


def _single(value: object, field: str, default: float) -> float:
    value = default if value is None else value
    with np.errstate(over="ignore"):
        return float(np.float32(fields.number(value, field)))


class TextQuery(Struct, frozen=True):
    """Rank by BM25 over the text index of the payload field `field`, which must keep scores.

    `query` is cut by the index's own analyzer. Whatever the filter, the weights of words are those
    of all live points of the shard. `scoring` None is read back as Bm25Params().
    """

    field: str
    query: str
    scoring: Bm25Params = Bm25Params()

    if TYPE_CHECKING:

        def __init__(self, field: str, query: str, scoring: Bm25Params | None = None) -> None: ...

    def __post_init__(self) -> None:
        json_path.parse(fields.text(self.field, "field"))
        fields.text(self.query, "query")
        scoring = fields.instance_or_none(self.scoring, "scoring", Bm25Params)
        force_setattr(self, "scoring", scoring or Bm25Params())


Ranking: TypeAlias = Query | OrderBy | Sample | TextQuery | Fusion | Formula | Mmr
"""What a QueryRequest or a Prefetch may rank by."""

RANKINGS = "a Query, TextQuery, OrderBy, Sample, Fusion, Formula or Mmr"
"""The same for an error message."""


class AcornSearchParams(Struct, frozen=True):
    """Walk a graph by the points that match a filter alone, reaching over those that do not.

    `enable`, where at least 0.05 and at most `max_selectivity` (0 to 1; None: 0.4) of the points
    match. It is on where a search says nothing of it, but for graphs whose `payload_m` is 0. In the
    graph of a value these are shares of the points that have the value.
    """

    enable: bool = False
    max_selectivity: float | None = None

    def __post_init__(self) -> None:
        force_setattr(self, "enable", fields.flag(self.enable, "enable"))
        share = fields.number_or_none(self.max_selectivity, "max_selectivity")
        if share is not None and not 0.0 <= share <= 1.0:
            raise ValidationError(f"max_selectivity: expected 0 to 1, got {share}")
        force_setattr(self, "max_selectivity", share)


class IdfParams(Struct, frozen=True):
    """Among which points a sparse query's dimensions are rare or common: those that fulfil `corpus`
    (None: all). It only counts where the vector has the Idf modifier."""

    corpus: Filter | None = None

    def __post_init__(self) -> None:
        fields.instance_or_none(self.corpus, "corpus", Filter)


class SearchParams(Struct, frozen=True):
    """How hard a search looks.

    `hnsw_ef`: candidates kept while walking the graph (None: ef_construct); `exact`: scan, use no
    graph and no quantized vectors; `indexed_only`: leave out segments without a graph, but for
    small ones (vectors of no more than `indexing_threshold` and `full_scan_threshold`).
    `quantization`: how quantized vectors are used; `acorn`: another way through the graph for
    filtered searches; `idf`: the points that a sparse query's weights are taken from.
    """

    hnsw_ef: int | None = None
    exact: bool = False
    quantization: QuantizationSearchParams | None = None
    indexed_only: bool = False
    acorn: AcornSearchParams | None = None
    idf: IdfParams | None = None

    def __post_init__(self) -> None:
        force_setattr(self, "hnsw_ef", fields.integer_or_none(self.hnsw_ef, "hnsw_ef"))
        force_setattr(self, "exact", fields.flag(self.exact, "exact"))
        force_setattr(self, "indexed_only", fields.flag(self.indexed_only, "indexed_only"))
        fields.instance_or_none(self.quantization, "quantization", QuantizationSearchParams)
        fields.instance_or_none(self.acorn, "acorn", AcornSearchParams)
        fields.instance_or_none(self.idf, "idf", IdfParams)
