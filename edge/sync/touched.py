"""The points that a shard's own operations have touched since a cut, by the last that did.

Invariants
- An id is here from the first operation that touched it until a cut at or beyond the last one.
- What is returned never changes. It costs, over time, what is new: twins are looked for when as
  many ids came as were here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.model.codec import NO_IDS
from edge.segment.id_tracker import IdRows
from edge_kernels import ids as kernels

FEW = 1024
"""Ids below which it is not worth looking for twins."""


class Touched:
    """See the module's invariants."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, IdRows]] = []
        self._ids: IdRows = NO_IDS
        self._sequences: NDArray[np.int64] = np.empty(0, np.int64)
        self._rows = 0
        self._crowded = FEW

    def __len__(self) -> int:
        """How many ids are held, twins counted."""
        return self._rows

    def add(self, sequence: int, ids: IdRows) -> None:
        """Note ids uint64[n, 3], touched by the operation of this number, the newest of all."""
        self._parts.append((sequence, ids))
        self._rows += len(ids)
        if self._rows > self._crowded:
            self._join()
            self._keep(kernels.distinct_last(self._ids))

    def after(self, cut: int) -> IdRows:
        """Return the ids that were touched after the operation `cut`, each once."""
        self._join()
        last = kernels.distinct_last(self._ids)
        return self._ids[last[self._sequences[last] > cut]]

    def cut(self, sequence: int) -> None:
        """Forget all that was last touched by this operation or an earlier one."""
        self._join()
        last = kernels.distinct_last(self._ids)
        self._keep(last[self._sequences[last] > sequence])

    def _join(self) -> None:
        if self._parts:
            parts, self._parts = self._parts, []
            fresh = [np.full(len(ids), sequence) for sequence, ids in parts]
            self._ids = np.concatenate([self._ids, *(ids for _, ids in parts)])
            self._sequences = np.concatenate([self._sequences, *fresh])

    def _keep(self, places: NDArray[np.uint32]) -> None:
        self._ids, self._sequences = self._ids[places], self._sequences[places]
        self._rows = len(places)
        self._crowded = max(FEW, 2 * len(places))
