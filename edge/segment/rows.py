"""Rows in stored form, on their way into a segment."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edge.segment.id_tracker import IdRows
from edge.vectors.block import Offsets, Stored, joined, take


@dataclass(frozen=True, slots=True)
class StoredVectors:
    """The vectors of one name for a block of rows.

    `where` gives the positions in the block that have this vector, ascending; None means all.
    `block` has a row for each of them.
    """

    where: Offsets | None
    block: Stored


@dataclass(frozen=True, slots=True)
class RowBlock:
    """Whole points, column by column; the ids are distinct."""

    ids: IdRows
    vectors: dict[str, StoredVectors] = field(default_factory=dict)
    payloads: list[bytes | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, keep: Offsets) -> RowBlock:
        """Return the rows at these ascending positions."""
        if len(keep) == len(self):
            return self
        vectors = {name: _take(column, keep, len(self)) for name, column in self.vectors.items()}
        return RowBlock(self.ids[keep], vectors, [self.payloads[i] for i in keep.tolist()])


def _take(column: StoredVectors, keep: Offsets, count: int) -> StoredVectors:
    if column.where is None:
        return StoredVectors(None, take(column.block, keep))
    slot = np.full(count, -1, np.int64)
    slot[column.where] = np.arange(len(column.where))
    kept = slot[keep]
    has = np.flatnonzero(kept >= 0)
    return StoredVectors(has.astype(np.uint32), take(column.block, kept[has]))


def merge_vectors(
    old: dict[str, StoredVectors], new: dict[str, StoredVectors], count: int
) -> dict[str, StoredVectors]:
    """Return `old` with the vectors of `new` laid over it, for the same `count` rows."""
    merged = dict(old)
    for name, column in new.items():
        merged[name] = _overlay(old[name], column, count) if name in old else column
    return merged


def _overlay(old: StoredVectors, new: StoredVectors, count: int) -> StoredVectors:
    if new.where is None:
        return new
    slot = np.full(count, -1, np.int64)
    first = 0
    for column in (old, new):
        where = np.arange(count) if column.where is None else column.where
        slot[where] = np.arange(first, first + len(where))
        first += len(where)
    has = np.flatnonzero(slot >= 0).astype(np.uint32)
    block = take(joined([old.block, new.block]), slot[has])
    return StoredVectors(None if len(has) == count else has, block)


def without_vectors(
    columns: dict[str, StoredVectors], names: frozenset[str]
) -> dict[str, StoredVectors]:
    """Return the columns without these names."""
    return {name: column for name, column in columns.items() if name not in names}
