"""What a reader and a builder may ask of a column of any kind, growing or built."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from edge.model.vector_params import EdgeSparseVectorParams, EdgeVectorParams, VectorParams
from edge.vectors.block import Matrix, Offsets, Ragged, Stored, starts_of
from edge.vectors.dense import BuiltDense, GrowingDense
from edge.vectors.form import Form, form_of
from edge.vectors.missing import Bits
from edge.vectors.multi import BuiltMulti, GrowingMulti
from edge.vectors.sparse import BuiltSparse, GrowingSparse, rounded
from edge_kernels import bits


class VectorKey(NamedTuple):
    """Which column is meant: names are given away and taken again, so that a name alone does not
    say it. `birth` is the operation that made it; 0 where the shard was made with it."""

    name: str
    birth: int = 0


class Column(Protocol):
    """The vectors of one name, by offset."""

    def missing(self, count: int) -> Bits | None:
        """Return the bits of the points below `count` that lack the vector; None if none does."""
        ...

    def take(self, offsets: Offsets) -> Stored:
        """Return these rows in stored form."""
        ...

    def shown(self, offsets: Offsets) -> list[Any]:
        """Return these rows as results hold them."""
        ...

    def sizes(self, offsets: Offsets | None, count: int) -> int:
        """Return the bytes that these rows (None: the first `count`) take, unpadded."""
        ...


class RowsColumn(Column, Protocol):
    """A column that kernels compare row by row: of vectors, or of multivectors."""

    form: Form

    def chunks(self, count: int) -> Iterator[tuple[int, Matrix]]:
        """Yield (offset of the first row, rows) up to `count` rows; of multivectors the rows are
        descriptors."""
        ...


class GrowingColumn(Column, Protocol):
    """A column of the tail."""

    def append(self, start: int, count: int, where: Offsets | None, block: Stored) -> None:
        """Fill offsets start..start+count-1; `where` says which of them have one (None: all)."""
        ...


Dense: TypeAlias = GrowingDense | BuiltDense
Multi: TypeAlias = GrowingMulti | BuiltMulti
Sparse: TypeAlias = GrowingSparse | BuiltSparse


class Absent:
    """The column of a vector that came after the segment: no point has it."""

    def missing(self, count: int) -> Bits | None:
        """Return the bits of all points."""
        return bits.ones(count) if count else None

    def take(self, offsets: Offsets) -> Stored:
        """Return no rows; nobody asks for others."""
        return np.empty((0, 0), np.float32)

    def shown(self, offsets: Offsets) -> list[Any]:
        """Return as many Nones as are asked for."""
        return [None] * len(offsets)

    def sizes(self, offsets: Offsets | None, count: int) -> int:
        """Return 0."""
        return 0


ABSENT = Absent()


def growing(params: VectorParams) -> GrowingColumn:
    """Return an empty column of the tail for a vector of these params."""
    if isinstance(params, EdgeSparseVectorParams):
        return GrowingSparse(params)
    form = form_of(params)
    return GrowingMulti(form) if form.many else GrowingDense(form)


def no_rows(params: VectorParams) -> Stored:
    """Return no rows of a vector of these params, in stored form."""
    if isinstance(params, EdgeSparseVectorParams):
        return Ragged(starts_of(np.empty(0)), (np.empty(0, np.uint32), np.empty(0, np.float32)))
    form = form_of(params)
    none = np.empty((0, form.width), form.dtype)
    return Ragged(starts_of(np.empty(0)), (none,)) if form.many else none


def stored(params: VectorParams, data: Any, lengths: Any = None, indices: Any = None) -> Stored:
    """Return vectors as a checked operation brings them in stored form: `data` float32[m, dim], or
    of multivectors and sparse vectors the `lengths` of runs in it."""
    if isinstance(params, EdgeVectorParams):
        matrix = form_of(params).rows(data)
        return matrix if lengths is None else Ragged(starts_of(lengths), (matrix,))
    return Ragged(starts_of(lengths), (indices, rounded(data, lengths, params)))
