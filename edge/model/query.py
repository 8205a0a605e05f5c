"""What a query ranks points by, and how hard it looks.

Invariants: a query holds vectors as read-only float32 arrays of its own; whether they fit the
shard's config is the matter of `check`. `isinstance(q, Query)` is true of every kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct
from msgspec.structs import force_setattr

from edge.model import fields
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
