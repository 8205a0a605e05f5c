"""The column of one named dense vector, by offset.

Invariants
- A row below the watermark of any view never changes and never moves.
- Rows are in their `Form`: what is stored is what the kernels read.
- A point without this vector has a zero row and its bit set in `missing`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.vectors.block import Matrix, Offsets, Ragged, Stored
from edge.vectors.form import Form
from edge.vectors.missing import Bits, GrowingMissing
from edge_kernels import rows

CHUNK_BYTES = 4 << 20  # from this size on, numpy asks the kernel for huge pages


class GrowingDense:
    """A dense column that only grows: fixed chunks, filled in order by one writer."""

    def __init__(self, form: Form) -> None:
        self.form = form
        per_chunk = max(1, CHUNK_BYTES // form.row_bytes)
        self._rows_per_chunk = max(64, 1 << (per_chunk.bit_length() - 1))
        self._chunks: list[Matrix] = []
        self._missing = GrowingMissing()

    def append(self, start: int, count: int, where: Offsets | None, block: Stored) -> None:
        """Fill offsets start..start+count-1; `where` says which of them have a row (None: all)."""
        assert not isinstance(block, Ragged)
        while len(self._chunks) * self._rows_per_chunk < start + count:
            shape = (self._rows_per_chunk, self.form.width)
            self._chunks.append(np.zeros(shape, self.form.dtype))
        if where is None:
            self._fill(start, block)
            return
        for position, run in _runs(where):
            self._fill(start + int(where[position]), block[position : position + run])
        self._missing.append(start, count, where)

    def _fill(self, start: int, block: Matrix) -> None:
        done = 0
        while done < len(block):
            chunk, row = divmod(start + done, self._rows_per_chunk)
            take = min(len(block) - done, self._rows_per_chunk - row)
            self._chunks[chunk][row : row + take] = block[done : done + take]
            done += take

    def chunks(self, count: int) -> Iterator[tuple[int, Matrix]]:
        """Yield (offset of the first row, matrix [rows, width]) up to `count` rows."""
        size = self._rows_per_chunk
        for base in range(0, count, size):
            yield base, self._chunks[base // size][: count - base]

    def gather(self, offsets: Offsets, out: Matrix | None = None) -> Matrix:
        """Return [len(offsets), width] of these rows, in this order: `out`, or new."""
        block = np.empty((len(offsets), self.form.width), self.form.dtype) if out is None else out
        size = self._rows_per_chunk
        borders = np.flatnonzero(np.diff(offsets // size)) + 1
        for first, last in pairwise([0, *borders.tolist(), len(offsets)]):
            if first < last:
                chunk, _ = divmod(int(offsets[first]), size)
                local = offsets[first:last] - np.uint32(chunk * size)
                rows.gather(self._chunks[chunk], local, block[first:last])
        return block

    def take(self, offsets: Offsets) -> Stored:
        """Return these rows in stored form."""
        return self.gather(offsets)

    def shown(self, offsets: Offsets) -> list[Any]:
        """Return what these rows hold, as lists of numbers."""
        return shown(self.form, self.gather(offsets))

    def sizes(self, offsets: Offsets | None, count: int) -> int:
        """Return the bytes that these rows (None: `count` of them) take, unpadded."""
        return (count if offsets is None else len(offsets)) * self.form.vector_bytes

    def missing(self, count: int) -> Bits | None:
        """Return the bits of the points below `count` that lack the vector; None if none does."""
        return self._missing.below(count)


class BuiltDense:
    """A dense column of an immutable segment: one matrix. `ahead` is what kernels take to ask for
    rows that have to come from a disk; 0 where they are in memory."""

    def __init__(
        self,
        form: Form,
        matrix: Matrix,
        missing: Bits | None,
        ahead: int = 0,
    ) -> None:
        self.form = form
        self.matrix = matrix
        self.ahead = ahead
        self._missing = missing

    def chunks(self, count: int) -> Iterator[tuple[int, Matrix]]:
        """Yield the one matrix, with offset 0."""
        if count:
            yield 0, self.matrix[:count]

    def gather(self, offsets: Offsets, out: Matrix | None = None) -> Matrix:
        """Return [len(offsets), width] of these rows, in this order: `out`, or new."""
        block = np.empty((len(offsets), self.form.width), self.form.dtype) if out is None else out
        rows.gather(self.matrix, offsets, block)
        return block

    def take(self, offsets: Offsets) -> Stored:
        """Return these rows in stored form."""
        return self.gather(offsets)

    def shown(self, offsets: Offsets) -> list[Any]:
        """Return what these rows hold, as lists of numbers."""
        return shown(self.form, self.gather(offsets))

    def sizes(self, offsets: Offsets | None, count: int) -> int:
        """Return the bytes that these rows (None: `count` of them) take, unpadded."""
        return (count if offsets is None else len(offsets)) * self.form.vector_bytes

    def missing(self, count: int) -> Bits | None:
        """Return the bits of the points that lack the vector; None if none does."""
        return self._missing


def shown(form: Form, matrix: Matrix) -> list[Any]:
    """Return stored rows as lists of numbers."""
    found: list[Any] = form.numbers(matrix).tolist()
    return found


def _runs(where: NDArray[Any]) -> Iterator[tuple[int, int]]:
    """Yield (position, length) of each run of consecutive values in ascending `where`."""
    if not len(where):
        return
    breaks = np.flatnonzero(np.diff(where.astype(np.int64)) != 1) + 1
    starts = np.concatenate(([0], breaks))
    stops = np.concatenate((breaks, [len(where)]))
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        yield start, stop - start
