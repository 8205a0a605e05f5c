"""The column of one named sparse vector, by offset.

Invariants
- Row i has the indices and values from starts[i] to before starts[i + 1], the indices ascending.
- An entry below the watermark of any view never changes; arrays that grow are replaced by longer
  ones that begin alike.
- What is stored is what is compared: values were rounded to the vector's datatype before. Columns
  hold those of Float16 as float16, in rows and index, which changes none of them; on their way
  (`block`) all are float32.
- A point without this vector has no entries and its bit set in `missing`; one whose vector is empty
  has no entries either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge.model.sparse import Indices, SparseVector, Values
from edge.model.vector_params import EdgeSparseVectorParams, VectorStorageDatatype
from edge.vectors.block import Offsets, Ragged, Starts, Stored, entries_of, starts_of
from edge.vectors.missing import Bits, GrowingMissing
from edge_kernels import bits, sparse
from edge_kernels.sparse_index import Index, IndexBuilder, check_index, count_rows
from edge_kernels.sparse_search import search_index
from edge_kernels.topk import TopK

Ids: TypeAlias = NDArray[np.uint64]
Counts: TypeAlias = NDArray[np.int64]

HeldValues: TypeAlias = NDArray[np.float32] | NDArray[np.float16]

INDEX_BYTES = 4
ROWS_A_SLICE = 4_096


class SparseQuery(NamedTuple):
    """What rows are compared with: indices uint32[m] ascending, values float32[m]."""

    indices: Indices
    values: Values


class SparseRows(NamedTuple):
    """Sparse vectors, one after another."""

    starts: Starts
    indices: Indices
    values: HeldValues

    def take(self, offsets: Offsets) -> Ragged:
        """Return these rows in stored form."""
        starts, entries = entries_of(self.starts, offsets)
        values = self.values[entries].astype(np.float32, copy=False)
        return Ragged(starts, (self.indices[entries], values))

    def sizes(self, offsets: Offsets | None) -> int:
        """Return the bytes that these rows (None: all) take."""
        entry = INDEX_BYTES + self.values.itemsize
        if offsets is None:
            return int(self.starts[-1] - self.starts[0]) * entry
        return int(np.diff(self.starts)[offsets].sum()) * entry

    def products(self, query: SparseQuery, offsets: Offsets) -> Values:
        """Return float32[m]: the dot product of the query with each of these rows."""
        return sparse.products(_query(query), _rows(self), offsets)

    def filled(self) -> Bits:
        """Return the bits of the rows that have an entry."""
        count = len(self.starts) - 1
        return bits.from_offsets(count, np.flatnonzero(np.diff(self.starts)).astype(np.uint32))


class GrowingSparse:
    """A sparse column that only grows, filled by one writer. It is searched row by row."""

    def __init__(self, params: EdgeSparseVectorParams) -> None:
        self.params = params
        self._starts: Starts = np.zeros(64, np.int64)
        self._indices = np.empty(256, np.uint32)
        self._values = np.empty(256, dtype_of(params))
        self._count = 0
        self._missing = GrowingMissing()

    def append(self, start: int, count: int, where: Offsets | None, block: Stored) -> None:
        """Fill offsets start..start+count-1; `where` says which of them have one (None: all)."""
        assert isinstance(block, Ragged)
        indices, values = block.parts
        lengths = np.zeros(count, np.int64)
        lengths[slice(None) if where is None else where] = np.diff(block.starts)
        used = int(self._starts[self._count])
        self._indices = _longer(self._indices, used, used + len(indices))
        self._values = _longer(self._values, used, used + len(indices))
        self._indices[used : used + len(indices)] = indices
        self._values[used : used + len(indices)] = values
        self._starts = _longer(self._starts, start + 1, start + count + 1)
        self._starts[start + 1 : start + count + 1] = used + np.cumsum(lengths)
        self._count = start + count
        self._missing.append(start, count, where)

    def rows(self, count: int) -> SparseRows:
        """Return the first `count` rows."""
        starts = self._starts[: count + 1]
        return SparseRows(starts, self._indices, self._values)

    def take(self, offsets: Offsets) -> Stored:
        """Return these rows in stored form."""
        return self.rows(self._count).take(offsets)

    def shown(self, offsets: Offsets) -> list[Any]:
        """Return these rows as SparseVectors."""
        return shown(self.take(offsets))

    def sizes(self, offsets: Offsets | None, count: int) -> int:
        """Return the bytes that these rows (None: the first `count`) take."""
        return self.rows(count).sizes(offsets)

    def missing(self, count: int) -> Bits | None:
        """Return the bits of the points below `count` that lack the vector; None if none does."""
        return self._missing.below(count)

    way: ClassVar = "scan"

    def search(
        self, query: SparseQuery, count: int, allowed: Bits | None, ids: Ids, top: TopK
    ) -> None:
        """Offer the allowed rows below `count` (None: all) that share a dimension to `top`."""
        sparse.score_rows(_query(query), _rows(self.rows(count)), 0, count, allowed, ids, top)

    def search_list(self, query: SparseQuery, offsets: Offsets, ids: Ids, top: TopK) -> None:
        """Offer those of these rows that share a dimension with the query to `top`."""
        sparse.score_list(_query(query), _rows(self.rows(self._count)), 0, offsets, ids, top)

    def count_rows(self, indices: Indices, count: int, allowed: Bits | None) -> Counts:
        """Return int64[m]: how many of the allowed rows below `count` have each dimension."""
        return sparse.count_rows_forward(indices, _rows(self.rows(count)), 0, count, allowed)


def _longer(array: NDArray[Any], used: int, needed: int) -> NDArray[Any]:
    """Return an array of at least `needed` elements that begins with the `used` ones of this."""
    if needed <= len(array):
        return array
    grown = np.zeros(2 * needed, array.dtype)
    grown[:used] = array[:used]
    return grown


def shown(block: Stored) -> list[Any]:
    """Return stored rows as SparseVectors."""
    assert isinstance(block, Ragged)
    indices, values = block.parts
    ends = block.starts.tolist()
    return [
        SparseVector.of_arrays(indices[first:last].copy(), values[first:last].copy())
        for first, last in pairwise(ends)
    ]


class BuiltSparse:
    """A sparse column of an immutable segment: its rows, and an inverted index over them."""

    def __init__(
        self,
        params: EdgeSparseVectorParams,
        rows: SparseRows,
        index: Index,
        missing: Bits | None,
    ) -> None:
        self.params = params
        self.index = index
        self._rows = rows
        self._missing = missing

    def rows(self, count: int) -> SparseRows:
        """Return the rows."""
        return self._rows

    def take(self, offsets: Offsets) -> Stored:
        """Return these rows in stored form."""
        return self._rows.take(offsets)

    def shown(self, offsets: Offsets) -> list[Any]:
        """Return these rows as SparseVectors."""
        return shown(self.take(offsets))

    def sizes(self, offsets: Offsets | None, count: int) -> int:
        """Return the bytes that these rows (None: the first `count`) take."""
        return self._rows.sizes(offsets)

    def missing(self, count: int) -> Bits | None:
        """Return the bits of the points that lack the vector; None if none does."""
        return self._missing

    way: ClassVar = "inverted index"

    def search(
        self, query: SparseQuery, count: int, allowed: Bits | None, ids: Ids, top: TopK
    ) -> None:
        """Offer the allowed rows (None: all) that share a dimension to `top`."""
        search_index(_query(query), self.index, allowed, ids, top, _rows(self._rows))

    def search_list(self, query: SparseQuery, offsets: Offsets, ids: Ids, top: TopK) -> None:
        """Offer those of these rows that share a dimension with the query to `top`."""
        sparse.score_list(_query(query), _rows(self._rows), 0, offsets, ids, top)

    def count_rows(self, indices: Indices, count: int, allowed: Bits | None) -> Counts:
        """Return int64[m]: how many of the allowed rows have each dimension."""
        return count_rows(self.index, indices, allowed, _rows(self._rows))


def _query(query: SparseQuery) -> sparse.Query:
    return sparse.Query(*query)


def _rows(rows: SparseRows) -> sparse.Rows:
    return sparse.Rows(*rows)


def held_rows(block: Ragged, params: EdgeSparseVectorParams) -> SparseRows:
    """Return stored rows as a column holds them."""
    indices, values = block.parts
    return SparseRows(block.starts, indices, values.astype(dtype_of(params), copy=False))


def dtype_of(params: EdgeSparseVectorParams) -> np.dtype[Any]:
    """Return the type that a column holds values as: what they were rounded to, but for Uint8,
    whose steps are each vector's own."""
    return np.dtype("f2" if params.datatype is VectorStorageDatatype.Float16 else "f4")


def index_arrays(rows: SparseRows, pulse: Callable[[], None]) -> dict[str, NDArray[Any]]:
    """Return the arrays of an inverted index over the rows; `pulse` is called between slices."""
    builder = IndexBuilder(_rows(rows))
    while builder.done < builder.total:
        pulse()
        builder.step(ROWS_A_SLICE)
    return dict(zip(_INDEX_ARRAYS, builder.index().arrays(), strict=True))


def index_of(arrays: Mapping[str, NDArray[Any]], rows: int) -> Index:
    """Return the index of `index_arrays` over so many rows. KeyError or ValueError for what is
    none."""
    dims, starts, offsets, values = (arrays[name] for name in _INDEX_ARRAYS)
    return check_index(dims, starts, offsets, values, rows)


_INDEX_ARRAYS = ("dims", "dim_starts", "dim_rows", "dim_values")


def rounded(
    values: NDArray[np.float32], lengths: NDArray[np.uint32], params: EdgeSparseVectorParams
) -> NDArray[np.float32]:
    """Return float32[total]: values as the datatype keeps them.

    Float16: the nearest one, no greater than 65504. Uint8: the nearest of 255 equal steps from
    minus to plus the greatest magnitude of the vector.
    """
    if params.datatype is VectorStorageDatatype.Float16:
        return np.clip(values, -65504, 65504).astype(np.float16).astype(np.float32)
    if params.datatype is VectorStorageDatatype.Uint8 and len(values):
        starts = starts_of(lengths)
        filled = lengths > 0
        # in float64, which has a 127th of any float32 and that 127 times
        greatest = np.maximum.reduceat(np.abs(values, dtype=np.float64), starts[:-1][filled])
        step = np.repeat(np.where(greatest > 0, greatest, 1) / 127, lengths[filled])
        found: NDArray[np.float32] = (np.rint(values / step) * step).astype(np.float32)
        return found
    return values
