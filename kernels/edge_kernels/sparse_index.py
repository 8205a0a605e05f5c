"""An inverted index of sparse vectors: for each dimension, the rows that have it, and their values.

    rows[starts[d] : starts[d + 1]], values[starts[d] : starts[d + 1]]    dimension dims[d]

Invariants:
- An Index never changes. `arrays` is all of it; the rest is derived from them whenever an Index is
  made: the greatest and the least value of each dimension, and columns.
- A column is the values of a frequent dimension by row, as codes of one byte: a row without it has
  0, and code * step is never below the value. So a bound for one row is one load, where its place
  in the run of its dimension would have to be searched.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edge_kernels import bits as sets
from edge_kernels import sparse
from edge_kernels.jit import (
    address_of,
    address_of_any,
    call,
    door,
    inner,
    load_f32,
    load_i32,
    load_i64,
    load_u16,
    load_u32,
    shift_right,
    store_f32,
    store_i32,
    store_i64,
    store_u8,
    store_u16,
)
from edge_kernels.sparse import VALUE_TYPES, Rows, nothing, place_of, plain, require, value_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_kernels.sparse import Bits, Counts, HeldValues, Indices, Values

# Measured: where searches spare less than some 2^16 postings they are as fast without columns.
COLUMN_SHARE = 8  # a column takes no more memory than its run: a row in eight has the dimension
COLUMN_ROWS = 1 << 13
OTHERS = 4  # to look at a value of a row takes as long as to look at so many rows of a dimension


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """The inverted index of rows 0..n-1.

    dims: uint32[k] ascending. starts: int64[k + 1]. rows: uint32[], ascending within a dimension.
    values: float32[] or float16[]. greatest, least: float32[k], of each dimension's values.
    columns: uint8[c, n], steps: float32[c], column_of: int64[k], -1 for a dimension without.
    """

    n: int
    dims: Indices
    starts: NDArray[np.int64]
    rows: NDArray[np.uint32]
    values: HeldValues
    greatest: Values
    least: Values
    columns: NDArray[np.uint8]
    steps: Values
    column_of: NDArray[np.int64]
    words: tuple[int, ...] = field(repr=False)

    def arrays(self) -> tuple[Indices, NDArray[np.int64], NDArray[np.uint32], HeldValues]:
        """What has to be stored: dims, starts, rows, values."""
        return self.dims, self.starts, self.rows, self.values

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it takes, with what is derived."""
        derived = (self.greatest, self.least, self.columns, self.steps, self.column_of)
        return sum(values.nbytes for values in (*self.arrays(), *derived))


def check_index(
    dims: Indices,
    starts: NDArray[np.int64],
    rows: NDArray[np.uint32],
    values: HeldValues,
    n: int,
) -> Index:
    """The Index over `n` rows of the arrays that were stored, which it keeps (copied only if they
    are not contiguous).

    Nothing is believed: ValueError names the first thing that is wrong.
    """
    dims, starts = plain(dims, "dims", np.uint32), plain(starts, "starts", np.int64)
    rows, values = plain(rows, "rows", np.uint32), plain(values, "values", *VALUE_TYPES)
    require(0 <= n < 1 << 32, f"{n} rows")
    require(starts.size == dims.size + 1, f"{dims.size} dims and {starts.size} starts")
    require(bool((dims[1:] > dims[:-1]).all()), "dims does not ascend")
    sparse.check_runs(
        Rows(starts, rows, values), n, "dimension", f"a row that does not ascend below {n}"
    )
    return _with_derived(n, dims, starts, rows, values)


def count_rows(
    index: Index, indices: Indices, allowed: Bits | None, rows: Rows | None = None
) -> Counts:
    """int64[m]: how many of the allowed rows (a bitset; None: all) have each of the `indices`.

    `rows` is what the index was built from: with it, where few rows are not allowed, these are
    counted there instead of all the others here. ValueError if the bitset is too short.
    """
    if allowed is None:
        return _counts(index, indices, None)
    if 64 * allowed.size < index.n:
        raise ValueError(f"allowed has {allowed.size} words for {index.n} rows")
    if rows is not None:
        every = _counts(index, indices, None)
        others = index.n - sets.count(allowed, index.n)
        if OTHERS * others * index.rows.size <= int(every.sum()) * index.n:
            return every - sparse.count_others(indices, rows, allowed)
    return _counts(index, indices, allowed)


def _counts(index: Index, indices: Indices, allowed: Bits | None) -> Counts:
    out = np.empty(indices.size, np.int64)
    call(
        _count,
        *(address_of(indices), address_of(out), indices.size),
        *(address_of(index.dims), index.dims.size),
        *(address_of(index.starts), address_of(index.rows)),
        0 if allowed is None else address_of(allowed),
    )
    return out


# --- building --------------------------------------------------------------------------------


def build_index(rows: Rows) -> Index:
    """The index of all rows; see `IndexBuilder` for how it can be done in slices."""
    builder = IndexBuilder(rows)
    while builder.done < builder.total:
        builder.step(builder.total)
    return builder.index()


class IndexBuilder:
    """Builds the index of rows 0..n-1 in slices, each one kernel call without the GIL.

    rows: starts, indices and values as `sparse.check_rows` has them; they must not change until
    the index is done. A thousand rows of 60 values take less than a millisecond.
    """

    def __init__(self, rows: Rows) -> None:
        self._source = rows
        self._n = rows.starts.size - 1
        self.done, self.total = 0, 2 * self._n  # rows are passed over twice
        self._found = 0  # dimensions met so far
        self._table = np.zeros(1 << 10, np.int64)
        self._dims, self._counts = np.empty(1 << 9, np.uint32), np.empty(1 << 9, np.int64)
        self._sorted_dims = self._dims[:0]
        self._target = self._empty(np.zeros(1, np.int64))

    def step(self, rows: int) -> int:
        """Go on by `rows` (>= 1) rows; how many are done, of `total`."""
        if self.done < self._n:
            until = min(self._n, self.done + rows)
            self._count(until)
            if until == self._n:
                self._lay_out()
        else:
            until = min(self.total, self.done + rows)
            self._place(until - self._n)
        self.done = until
        return until

    def index(self) -> Index:
        """The finished index. ValueError before all is done."""
        require(self.done == self.total, f"only {self.done} of {self.total} rows are done")
        return _with_derived(self._n, self._sorted_dims, *self._target)

    def _count(self, until: int) -> None:
        """Find the dimensions and how often they come."""
        starts, indices, _ = self._source
        at, end = int(starts[self.done]), int(starts[until])
        found = np.array([self._found], np.int64)
        while at < end:
            at = call(
                _count_dims,
                *(address_of(self._table), self._table.size),
                *(address_of(self._dims), address_of(self._counts), address_of(found)),
                *(address_of(indices), at, end),
            )
            self._found = int(found[0])
            if at < end:
                self._grow()

    def _grow(self) -> None:
        """Twice the table, which was half full."""
        self._table = np.zeros(2 * self._table.size, np.int64)
        self._dims = np.concatenate([self._dims, np.empty_like(self._dims)])
        self._counts = np.concatenate([self._counts, np.empty_like(self._counts)])
        table = address_of(self._table), self._table.size
        call(_refill, *table, address_of(self._dims), self._found)

    def _lay_out(self) -> None:
        """Sort the dimensions; from then on `counts` has where each one's next row belongs."""
        found = self._dims[: self._found]
        order = np.argsort(found)
        starts = np.zeros(self._found + 1, np.int64)
        np.cumsum(self._counts[: self._found][order], out=starts[1:])
        self._counts[order] = starts[:-1]
        self._sorted_dims = found[order]
        self._target = self._empty(starts)

    def _empty(self, starts: NDArray[np.int64]) -> Rows:
        """Room for what the starts cut into runs."""
        size = int(starts[-1])
        return Rows(starts, np.empty(size, np.uint32), np.empty(size, self._source.values.dtype))

    def _place(self, until: int) -> None:
        """Write rows and values where they belong: row by row, so rows ascend everywhere."""
        call(
            _place_rows,
            *(address_of(self._table), self._table.size, address_of(self._counts)),
            *sparse.addresses(self._source),
            *(address_of(self._target.indices), address_of_any(self._target.values)),
            *(self.done - self._n, until),
        )


def _with_derived(
    n: int,
    dims: Indices,
    starts: NDArray[np.int64],
    rows: NDArray[np.uint32],
    values: HeldValues,
) -> Index:
    greatest, least = np.empty(dims.size, np.float32), np.empty(dims.size, np.float32)
    runs = sparse.addresses(Rows(starts, rows, values))
    call(_find_bounds, *runs, dims.size, address_of(greatest), address_of(least))
    frequent = _frequent(n, starts, greatest, least)
    columns = np.zeros((frequent.size, n), np.uint8)
    steps = np.empty(frequent.size, np.float32)
    outputs = address_of(columns), n, address_of(steps)
    call(_fill_columns, *runs, address_of(frequent), frequent.size, address_of(greatest), *outputs)
    column_of = np.full(dims.size, -1, np.int64)
    column_of[frequent] = np.arange(frequent.size)
    arrays = (dims, starts, rows, values, greatest, least, columns, steps, column_of)
    for one in arrays:
        one.setflags(write=False)
    words = n, dims.size, *(address_of_any(one) for one in arrays), values.itemsize
    return Index(n, dims, starts, rows, values, greatest, least, columns, steps, column_of, words)


def _frequent(
    n: int, starts: NDArray[np.int64], greatest: Values, least: Values
) -> NDArray[np.int64]:
    """The places of the dimensions that get a column: frequent ones without negative values."""
    lengths = np.diff(starts)
    often = (lengths >= COLUMN_ROWS) & (lengths * COLUMN_SHARE >= n)
    found: NDArray[np.int64] = np.flatnonzero(often & (least >= 0) & (greatest > _TINY))
    return found.astype(np.int64)


_TINY = np.float32(1e-30)  # below it, the arithmetic of steps would meet denormal numbers


# --- kernels ---------------------------------------------------------------------------------
# `table` is a hash table of int64 words: (number of the dimension + 1) << 32 | dimension, or 0.


@inner
def _slot(table: int, capacity: int, dim: int) -> int:
    """The address of the dimension's word, or of the free one where it belongs."""
    at = shift_right(dim * -0x61C8864680B583EB, 20)  # Knuth's multiplicative hash
    while True:
        slot = table + 8 * (at & (capacity - 1))
        word = load_i64(slot)
        if word == 0 or (word & 0xFFFFFFFF) == dim:
            return slot
        at += 1


@door
def _count_dims(block: int) -> int:
    """Count the dimensions at places at..end, until the table is half full; where it stopped."""
    table, capacity, dims = load_i64(block), load_i64(block + 8), load_i64(block + 16)
    counts, out, indices = load_i64(block + 24), load_i64(block + 32), load_i64(block + 40)
    at, end = load_i64(block + 48), load_i64(block + 56)
    found = load_i64(out)
    while at < end and 2 * found < capacity:
        dim = load_u32(indices + 4 * at)
        slot = _slot(table, capacity, dim)
        number = (load_i64(slot) >> 32) - 1
        if number < 0:
            number = found
            found += 1
            store_i64(slot, found << 32 | dim)
            store_i32(dims + 4 * number, dim)
            store_i64(counts + 8 * number, 0)
        store_i64(counts + 8 * number, load_i64(counts + 8 * number) + 1)
        at += 1
    store_i64(out, found)
    return at


@door
def _refill(block: int) -> int:
    table, capacity, dims = load_i64(block), load_i64(block + 8), load_i64(block + 16)
    for number in range(load_i64(block + 24)):
        dim = load_u32(dims + 4 * number)
        store_i64(_slot(table, capacity, dim), (number + 1) << 32 | dim)
    return 0


@inner
def _copy_value(source: int, target: int, width: int) -> None:
    if width == 2:
        store_u16(target, load_u16(source))
    else:
        store_i32(target, load_i32(source))


@door
def _place_rows(block: int) -> int:
    table, capacity, places = load_i64(block), load_i64(block + 8), load_i64(block + 16)
    starts, indices, values = load_i64(block + 24), load_i64(block + 32), load_i64(block + 40)
    width, rows, out = load_i64(block + 48), load_i64(block + 56), load_i64(block + 64)
    for row in range(load_i64(block + 72), load_i64(block + 80)):
        for at in range(load_i64(starts + 8 * row), load_i64(starts + 8 * row + 8)):
            word = load_i64(_slot(table, capacity, load_u32(indices + 4 * at)))
            next_place = places + 8 * ((word >> 32) - 1)
            place = load_i64(next_place)
            store_i64(next_place, place + 1)
            store_i32(rows + 4 * place, row)
            _copy_value(values + width * at, out + width * place, width)
    return 0


@door
def _find_bounds(block: int) -> int:
    starts, values, width = load_i64(block), load_i64(block + 16), load_i64(block + 24)
    dims, greatest, least = load_i64(block + 32), load_i64(block + 40), load_i64(block + 48)
    for dim in range(dims):
        first, end = load_i64(starts + 8 * dim), load_i64(starts + 8 * dim + 8)
        high = low = value_at(values, first, width) if first < end else nothing()
        for at in range(first, end):
            value = value_at(values, at, width)
            high = max(high, value)
            low = min(low, value)
        store_f32(greatest + 4 * dim, high)
        store_f32(least + 4 * dim, low)
    return 0


@inner
def _fill_column(
    rows: int, values: int, width: int, length: int, greatest: float, column: int
) -> float:
    """Write the codes of one dimension; the step, so that code * step is not below the value."""
    scale = 254.999 / float(greatest)
    for at in range(length):
        code = int(float(value_at(values, at, width)) * scale) + 1
        store_u8(column + load_u32(rows + 4 * at), code)
    return np.float32(1.000001 / scale)  # type: ignore[return-value]


@door
def _fill_columns(block: int) -> int:
    starts, rows, values = load_i64(block), load_i64(block + 8), load_i64(block + 16)
    width, frequent, count = load_i64(block + 24), load_i64(block + 32), load_i64(block + 40)
    greatest, columns = load_i64(block + 48), load_i64(block + 56)
    n, steps = load_i64(block + 64), load_i64(block + 72)
    for column in range(count):
        dim = load_i64(frequent + 8 * column)
        first, end = load_i64(starts + 8 * dim), load_i64(starts + 8 * dim + 8)
        most = load_f32(greatest + 4 * dim)
        at = rows + 4 * first, values + width * first
        step = _fill_column(at[0], at[1], width, end - first, most, columns + n * column)
        store_f32(steps + 4 * column, step)
    return 0


@inner
def slot_of(dims: int, low: int, count: int, dim: int) -> int:
    """The place of a dimension from `low` on, or -1."""
    place = place_of(dims, low, count, dim)
    return place if place < count and load_u32(dims + 4 * place) == dim else -1


@door
def _count(block: int) -> int:
    indices, out, count = load_i64(block), load_i64(block + 8), load_i64(block + 16)
    dims, size = load_i64(block + 24), load_i64(block + 32)
    starts, rows, allowed = load_i64(block + 40), load_i64(block + 48), load_i64(block + 56)
    for i in range(count):
        slot = slot_of(dims, 0, size, load_u32(indices + 4 * i))
        first = 0 if slot < 0 else load_i64(starts + 8 * slot)
        end = 0 if slot < 0 else load_i64(starts + 8 * slot + 8)
        found = end - first
        if allowed != 0:
            found = 0
            for at in range(first, end):
                row = load_u32(rows + 4 * at)
                found += (load_i64(allowed + 8 * (row >> 6)) >> (row & 63)) & 1
        store_i64(out + 8 * i, found)
    return 0
