"""What a query ranks points by, and how hard it looks.

Invariants: a query holds vectors as read-only float32 arrays of its own; whether they fit the
shard's config is the matter of `check`. `isinstance(q, Query)` is true of every kind.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import numpy as np
from msgspec import Struct
from msgspec.structs import force_setattr

from edge.errors import ValidationError
from edge.model import fields, instant, json_path
from edge.model.config import Choice
from edge.model.vector import Array, VectorLike, as_vector, same_vectors, shown_vectors


class Query(Struct, frozen=True):
    """The kinds of ranking by vectors. `Query.Nearest(vector, using=None)` makes a NearestQuery."""

    Nearest: ClassVar[type[NearestQuery]]


class NearestQuery(Query, frozen=True, eq=False):
    """Rank by distance to `query`, in the named vector `using` (None: the default, "").

    Raises ValidationError naming the argument.
    """

    query: Array
    using: str | None = None

    if TYPE_CHECKING:

        def __init__(self, query: VectorLike, using: str | None = None) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "query", as_vector(self.query, "query"))
        fields.text_or_none(self.using, "using")

    def __eq__(self, other: object) -> bool:
        return (
            type(other) is NearestQuery
            and (self.using or "") == (other.using or "")
            and same_vectors(self.query, other.query)
        )

    def __repr__(self) -> str:
        return f"Query.Nearest(query={shown_vectors(self.query)}, using={self.using!r})"


Query.Nearest = NearestQuery


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


Ranking: TypeAlias = Query | OrderBy | Sample | TextQuery
"""What a QueryRequest may rank by."""


class SearchParams(Struct, frozen=True):
    """How hard a search looks.

    `hnsw_ef`: candidates kept while walking the graph (None: ef_construct); `exact`: scan, use no
    graph; `indexed_only`: leave out segments without a graph, but for small ones (vectors of no
    more than `indexing_threshold` and `full_scan_threshold`). `quantization`, `acorn` and `idf`
    are not supported yet.
    """

    hnsw_ef: int | None = None
    exact: bool = False
    quantization: None = None
    indexed_only: bool = False
    acorn: None = None
    idf: None = None

    def __post_init__(self) -> None:
        force_setattr(self, "hnsw_ef", fields.integer_or_none(self.hnsw_ef, "hnsw_ef"))
        force_setattr(self, "exact", fields.flag(self.exact, "exact"))
        force_setattr(self, "indexed_only", fields.flag(self.indexed_only, "indexed_only"))
        for name in ("quantization", "acorn", "idf"):
            fields.unsupported(getattr(self, name), name)
