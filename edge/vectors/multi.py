"""The column of one named multivector, by offset: a point has one vector or more.

Invariants
- Vectors below the watermark of any view never change and never move; a point's lie together.
- Kernels read `descriptors` int64[points, 4]: (address of the first vector, how many, bytes of one,
  0); whoever calls them keeps the column alive. A point without vectors has a row of zeros and its
  bit set in `missing`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.vectors.block import Matrix, Offsets, Ragged, Starts, Stored, entries_of, starts_of
from edge.vectors.form import Form
from edge.vectors.missing import Bits, GrowingMissing
from edge_kernels.jit import address_of

CHUNK_BYTES = 4 << 20

ADDRESS, COUNT, SIZE = range(3)

Descriptors = NDArray[np.int64]


class GrowingMulti:
    """A multivector column that only grows, filled by one writer."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self._per_chunk = max(64, CHUNK_BYTES // form.row_bytes)
        self._chunks: list[Matrix] = []
        self._used = 0
        self._descriptors: Descriptors = np.zeros((64, 4), np.int64)
        self._first: NDArray[np.int64] = np.zeros((64, 2), np.int64)
        self._missing = GrowingMissing()

    def append(self, start: int, count: int, where: Offsets | None, block: Stored) -> None:
        """Fill offsets start..start+count-1; `where` says which of them have some (None: all)."""
        assert isinstance(block, Ragged)
        self._reserve(start + count)
        offsets = range(count) if where is None else where.tolist()
        starts = block.starts.tolist()
        for i, offset in enumerate(offsets):
            self._put(start + offset, block.parts[0][starts[i] : starts[i + 1]])
        self._missing.append(start, count, where)

    def _reserve(self, count: int) -> None:
        if count <= len(self._descriptors):
            return
        for name in ("_descriptors", "_first"):
            old = getattr(self, name)
            grown = np.zeros((2 * count, old.shape[1]), np.int64)
            grown[: len(old)] = old
            setattr(self, name, grown)

    def _put(self, offset: int, vectors: Matrix) -> None:
        count = len(vectors)
        if not self._chunks or self._used + count > len(self._chunks[-1]):
            shape = (max(self._per_chunk, count), self.form.width)
            self._chunks.append(np.zeros(shape, self.form.dtype))
            self._used = 0
        chunk, size = self._chunks[-1], self.form.row_bytes
        chunk[self._used : self._used + count] = vectors
        self._first[offset] = len(self._chunks) - 1, self._used
        self._descriptors[offset, :3] = _address(chunk) + size * self._used, count, size
        self._used += count

    def chunks(self, count: int) -> Iterator[tuple[int, Descriptors]]:
        """Yield the descriptors of the points below `count`, with offset 0."""
        if count:
            yield 0, self._descriptors[:count]

    def take(self, offsets: Offsets) -> Stored:
        """Return these rows in stored form."""
        counts = self._descriptors[offsets, COUNT]
        places = self._first[offsets].tolist()
        vectors = [
            self._chunks[chunk][first : first + count]
            for (chunk, first), count in zip(places, counts.tolist(), strict=True)
            if count  # of points that lack them no place is known
        ]
        none = np.empty((0, self.form.width), self.form.dtype)
        return Ragged(starts_of(counts), (np.concatenate([none, *vectors]),))

    def shown(self, offsets: Offsets) -> list[Any]:
        """Return what these rows hold, as lists of lists of numbers."""
        return _shown(self.form, self.take(offsets))

    def sizes(self, offsets: Offsets | None, count: int) -> int:
        """Return the bytes that these rows (None: the first `count`) take, unpadded."""
        which: Any = slice(count) if offsets is None else offsets
        return int(self._descriptors[which, COUNT].sum()) * self.form.vector_bytes

    def most(self, count: int) -> int:
        """Return the greatest number of vectors of a point below `count`."""
        return int(self._descriptors[:count, COUNT].max(initial=0))

    def missing(self, count: int) -> Bits | None:
        """Return the bits of the points below `count` that lack the vector; None if none does."""
        return self._missing.below(count)


class BuiltMulti:
    """A multivector column of an immutable segment: one matrix, and where each point's begin."""

    def __init__(self, form: Form, starts: Starts, matrix: Matrix, missing: Bits | None) -> None:
        self.form = form
        self.starts = starts
        self.matrix = matrix
        self._missing = missing
        self._descriptors = descriptors(starts, matrix)

    def chunks(self, count: int) -> Iterator[tuple[int, Descriptors]]:
        """Yield the descriptors, with offset 0."""
        if count:
            yield 0, self._descriptors[:count]

    def take(self, offsets: Offsets) -> Stored:
        """Return these rows in stored form."""
        starts, entries = entries_of(self.starts, offsets)
        return Ragged(starts, (self.matrix[entries],))

    def shown(self, offsets: Offsets) -> list[Any]:
        """Return what these rows hold, as lists of lists of numbers."""
        return _shown(self.form, self.take(offsets))

    def sizes(self, offsets: Offsets | None, count: int) -> int:
        """Return the bytes that these rows (None: the first `count`) take, unpadded."""
        which: Any = slice(count) if offsets is None else offsets
        return int(self._descriptors[which, COUNT].sum()) * self.form.vector_bytes

    def most(self, count: int) -> int:
        """Return the greatest number of vectors of a point below `count`."""
        return int(self._descriptors[:count, COUNT].max(initial=0))

    def missing(self, count: int) -> Bits | None:
        """Return the bits of the points that lack the vector; None if none does."""
        return self._missing


def descriptors(starts: Starts, matrix: Matrix) -> Descriptors:
    """Return int64[points, 4] of points whose rows of the matrix begin at `starts`."""
    found = np.zeros((len(starts) - 1, 4), np.int64)
    size = matrix.shape[1] * matrix.itemsize
    found[:, ADDRESS] = _address(matrix) + size * starts[:-1]
    found[:, COUNT] = np.diff(starts)
    found[:, SIZE] = size
    return found


def _address(matrix: Matrix) -> int:
    # as bytes, because not every type of element is one that kernels know
    return address_of(matrix.view(np.uint8))


def _shown(form: Form, block: Stored) -> list[Any]:
    assert isinstance(block, Ragged)
    numbers = form.numbers(block.parts[0]).tolist()
    ends = block.starts.tolist()
    return [numbers[first:last] for first, last in pairwise(ends)]
