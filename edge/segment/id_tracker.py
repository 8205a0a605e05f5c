"""From a point's id to its newest offset in one segment, and back through older ones.

Invariants
- `ids[offset]` is the id row (kind, hi, lo) of the point at that offset; written once.
- `previous[offset]` is the offset that the same id had before in this segment, or -1.
- The table's slots hold the newest offset of each id. A reader that finds an offset at or above
  its watermark steps back through `previous`.
- ids, previous and table grow together, as one new `_Columns`: a reader takes the three at once,
  and a table never names an offset beyond the arrays it came with.
- One writer; any number of readers, without a lock. The writer fills ids and previous in one
  call and the table in a later one, so that no reader meets a slot before its row.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_kernels import ids as kernels

IdRows = NDArray[np.uint64]
Bits = NDArray[np.uint64]
Places = NDArray[np.int64]

FIRST_CAPACITY = 64


class _Columns(NamedTuple):
    ids: IdRows
    previous: NDArray[np.int32]
    table: NDArray[np.int32]


class IdTracker:
    """The ids of one segment."""

    def __init__(self, columns: _Columns, count: int) -> None:
        self._columns = columns
        self.count = count

    @classmethod
    def growing(cls) -> IdTracker:
        """Return an empty tracker that takes appends."""
        return cls(_allocate(FIRST_CAPACITY), 0)

    @classmethod
    def of(cls, ids: IdRows) -> IdTracker:
        """Return the tracker of an immutable segment, whose ids are distinct."""
        table = kernels.rebuild(ids, len(ids), kernels.capacity_for(len(ids)))
        return cls(_Columns(ids, np.full(len(ids), -1, np.int32), table), len(ids))

    @property
    def ids(self) -> IdRows:
        """uint64[>= count, 3]; rows below a view's watermark never change."""
        return self._columns.ids

    def find(self, wanted: IdRows, watermark: int, deleted: Bits | None) -> Places:
        """Return int64[m]: where each wanted id lives below the watermark, -1 where it does not."""
        ids, previous, table = self._columns
        return kernels.find(table, ids, previous, watermark, deleted, wanted)

    def append(self, rows: IdRows) -> None:
        """Add distinct ids at offsets count..count+len(rows)-1."""
        start, stop = self.count, self.count + len(rows)
        if stop > len(self._columns.ids):
            self._grow(stop)
        ids, previous, table = self._columns
        ids[start:stop] = rows
        previous[start:stop] = kernels.newest(table, ids, rows)
        kernels.insert(table, ids, start, stop)
        self.count = stop

    def _grow(self, needed: int) -> None:
        old = self._columns
        fresh = _allocate(max(needed, 2 * len(old.ids)))
        fresh.ids[: self.count] = old.ids[: self.count]
        fresh.previous[: self.count] = old.previous[: self.count]
        table = kernels.rebuild(fresh.ids, self.count, len(fresh.table))
        self._columns = fresh._replace(table=table)


def _allocate(capacity: int) -> _Columns:
    return _Columns(
        np.zeros((capacity, 3), np.uint64),
        np.full(capacity, -1, np.int32),
        kernels.new_table(kernels.capacity_for(capacity)),
    )
