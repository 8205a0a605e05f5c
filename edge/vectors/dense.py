"""The float32 column of one named vector, by offset.

Invariants
- A row below the watermark of any view never changes and never moves.
- Rows are `stride` floats wide (the dimension rounded up to 16), the rest zero, cosine rows
  normalised: what is stored is what the kernels read.
- A point without this vector has a zero row and its bit set in `missing`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_kernels import bits, rows
from edge_kernels.distance import COSINE, stride_of

Block = NDArray[np.float32]
Bits = NDArray[np.uint64]
Offsets = NDArray[np.uint32]

CHUNK_BYTES = 4 << 20  # from this size on, numpy asks the kernel for huge pages


class DenseColumn(Protocol):
    """What a reader may ask of a dense column, growing or built."""

    dim: int
    stride: int
    metric: int

    def chunks(self, count: int) -> Iterator[tuple[int, Block]]:
        """Yield (offset of the first row, float32[rows, stride]) up to `count` rows."""
        ...

    def gather(self, offsets: Offsets, out: Block | None = None) -> Block:
        """Return float32[len(offsets), stride] of these rows, in this order: `out`, or new."""
        ...

    def missing(self, count: int) -> Bits | None:
        """Return the bits of the points below `count` that lack the vector; None if none does."""
        ...


def stored_form(vectors: Block, metric: int) -> Block:
    """Return float32[n, stride]: the vectors padded and, for cosine, normalised."""
    count, dim = vectors.shape
    block = np.zeros((count, stride_of(dim)), np.float32)
    rows.copy_padded(vectors, block)
    if metric == COSINE:
        rows.normalise(block)
    return block


def stored_query(vector: Block, metric: int) -> Block:
    """Return float32[stride]: one query in the form that the kernels compare with stored rows."""
    row = np.zeros(stride_of(len(vector)), np.float32)
    row[: len(vector)] = vector
    if metric == COSINE:
        rows.normalise(row.reshape(1, -1))
    return row


class GrowingDense:
    """A dense column that only grows: fixed chunks, filled in order by one writer."""

    def __init__(self, dim: int, metric: int) -> None:
        self.dim = dim
        self.stride = stride_of(dim)
        self.metric = metric
        per_chunk = max(1, CHUNK_BYTES // (self.stride * 4))
        self._rows_per_chunk = max(64, 1 << (per_chunk.bit_length() - 1))
        self._chunks: list[Block] = []
        self._missing: Bits | None = None

    def append(self, start: int, count: int, where: Offsets | None, block: Block) -> None:
        """Fill offsets start..start+count-1; `where` says which of them have a row (None: all)."""
        while len(self._chunks) * self._rows_per_chunk < start + count:
            self._chunks.append(np.zeros((self._rows_per_chunk, self.stride), np.float32))
        if where is None:
            self._fill(start, block)
            return
        for position, run in _runs(where):
            self._fill(start + int(where[position]), block[position : position + run])
        lacking = np.ones(count, bool)
        lacking[where] = False
        self._mark_missing(start, np.flatnonzero(lacking))

    def _fill(self, start: int, block: Block) -> None:
        done = 0
        while done < len(block):
            chunk, row = divmod(start + done, self._rows_per_chunk)
            take = min(len(block) - done, self._rows_per_chunk - row)
            self._chunks[chunk][row : row + take] = block[done : done + take]
            done += take

    def _mark_missing(self, start: int, positions: NDArray[np.intp]) -> None:
        if not len(positions):
            return
        words = bits.words_for(start + int(positions[-1]) + 1)
        if self._missing is None or len(self._missing) < words:
            grown = np.zeros(max(16, words * 2), np.uint64)
            if self._missing is not None:
                grown[: len(self._missing)] = self._missing
            self._missing = grown
        bits.set_bits(self._missing, (positions + start).astype(np.uint32))

    def chunks(self, count: int) -> Iterator[tuple[int, Block]]:
        """Yield (offset of the first row, float32[rows, stride]) up to `count` rows."""
        size = self._rows_per_chunk
        for base in range(0, count, size):
            yield base, self._chunks[base // size][: count - base]

    def gather(self, offsets: Offsets, out: Block | None = None) -> Block:
        """Return float32[len(offsets), stride] of these rows, in this order: `out`, or new."""
        block = np.empty((len(offsets), self.stride), np.float32) if out is None else out
        size = self._rows_per_chunk
        borders = np.flatnonzero(np.diff(offsets // size)) + 1
        for first, last in pairwise([0, *borders.tolist(), len(offsets)]):
            if first < last:
                chunk, _ = divmod(int(offsets[first]), size)
                local = offsets[first:last] - np.uint32(chunk * size)
                rows.gather(self._chunks[chunk], local, block[first:last])
        return block

    def missing(self, count: int) -> Bits | None:
        """Return the bits of the points below `count` that lack the vector; None if none does."""
        if self._missing is None:
            return None
        words = bits.ones(count)
        known = self._missing[: len(words)]
        words[: len(known)] &= known
        words[len(known) :] = 0
        return words if words.any() else None


class BuiltDense:
    """A dense column of an immutable segment: one matrix."""

    def __init__(self, dim: int, metric: int, matrix: Block, missing: Bits | None) -> None:
        self.dim = dim
        self.stride = matrix.shape[1]
        self.metric = metric
        self.matrix = matrix
        self._missing = missing

    def chunks(self, count: int) -> Iterator[tuple[int, Block]]:
        """Yield the one matrix, with offset 0."""
        if count:
            yield 0, self.matrix[:count]

    def gather(self, offsets: Offsets, out: Block | None = None) -> Block:
        """Return float32[len(offsets), stride] of these rows, in this order: `out`, or new."""
        block = np.empty((len(offsets), self.stride), np.float32) if out is None else out
        rows.gather(self.matrix, offsets, block)
        return block

    def missing(self, count: int) -> Bits | None:
        """Return the bits of the points that lack the vector; None if none does."""
        return self._missing


def _runs(where: Offsets) -> Iterator[tuple[int, int]]:
    """Yield (position, length) of each run of consecutive values in ascending `where`."""
    if not len(where):
        return
    breaks = np.flatnonzero(np.diff(where.astype(np.int64)) != 1) + 1
    starts = np.concatenate(([0], breaks))
    stops = np.concatenate((breaks, [len(where)]))
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        yield start, stop - start
