"""Which points of a growing column lack its vector.

Invariant: a bit below the watermark of any view never changes.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_kernels import bits

Bits: TypeAlias = NDArray[np.uint64]


class GrowingMissing:
    """A bitset that grows, filled by one writer."""

    def __init__(self) -> None:
        self._bits: Bits | None = None

    def append(self, start: int, count: int, where: NDArray[np.uint32] | None) -> None:
        """Note of the offsets start..start+count-1 that only those `where` have one (None: all)."""
        if where is None or not count:
            return
        lacking = np.ones(count, bool)
        lacking[where] = False
        self._mark(start, np.flatnonzero(lacking))

    def _mark(self, start: int, positions: NDArray[np.intp]) -> None:
        if not len(positions):
            return
        words = bits.words_for(start + int(positions[-1]) + 1)
        if self._bits is None or len(self._bits) < words:
            grown = np.zeros(max(16, words * 2), np.uint64)
            if self._bits is not None:
                grown[: len(self._bits)] = self._bits
            self._bits = grown
        bits.set_bits(self._bits, (positions + start).astype(np.uint32))

    def below(self, count: int) -> Bits | None:
        """Return the bits of the points below `count` that lack the vector; None if none does."""
        if self._bits is None:
            return None
        words = bits.ones(count)
        known = self._bits[: len(words)]
        words[: len(known)] &= known
        words[len(known) :] = 0
        return words if words.any() else None
