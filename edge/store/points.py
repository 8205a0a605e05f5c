"""Stored points as an operation that writes them, wherever they are to be written."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.model.check import (
    CheckedCreateFieldIndex,
    CheckedCreateVector,
    CheckedOperation,
    CheckedUpsert,
)
from edge.model.point import PointBatch, VectorColumn
from edge.segment.id_tracker import IdRows
from edge.segment.view import ShardView
from edge.store.chosen import Group, placed_groups
from edge.vectors.block import Ragged, Stored, joined
from edge.vectors.dense import BuiltDense, GrowingDense
from edge.vectors.multi import BuiltMulti, GrowingMulti

OVERHEAD = 128
"""Bytes that a point is taken to have besides its vectors."""


def schema_of(view: ShardView) -> list[CheckedOperation]:
    """Return the operations that make the vectors that came after the shard, and the indexes."""
    made: list[CheckedOperation] = []
    for name in view.births:
        params = view.config.params_of(name)
        if params is not None:
            made.append(CheckedCreateVector(name, params))
    made += [CheckedCreateFieldIndex(path, field) for path, field in view.schema.items()]
    return made


def ids_after(view: ShardView, after: tuple[int, int, int] | None) -> IdRows:
    """Return the ids of all points beyond the id row `after`, ascending uint64[n, 3]."""
    parts = [part.ids[part.live()] for part in view.segments if part.live_count]
    ids = np.concatenate([np.empty((0, 3), np.uint64), *parts])
    ids = ids[np.lexsort((ids[:, 2], ids[:, 1], ids[:, 0]))]
    if after is None:
        return ids
    kind, high, low = np.array(after, np.uint64)
    same_kind, same_high = ids[:, 0] == kind, ids[:, 1] == high
    beyond = (ids[:, 0] > kind) | (same_kind & (ids[:, 1] > high))
    beyond |= same_kind & same_high & (ids[:, 2] > low)
    found: IdRows = ids[beyond]
    return found


def bytes_a_point(view: ShardView) -> int:
    """Return about how many bytes a point of the view takes."""
    vectors = sum(part.bytes_of(name) for part in view.segments for name in view.config.names())
    return vectors // max(1, view.points) + OVERHEAD


def points_of(view: ShardView, ids: IdRows) -> CheckedUpsert:
    """Return the upsert of the points with these ids, as they are stored; those that are not there
    are left out."""
    placed = list(placed_groups(view, *view.locate(ids)))
    groups = [group for _, group in placed]
    found = np.concatenate([np.empty((0, 3), np.uint64), *(ids[place] for place, _ in placed)])
    payloads = [
        bytes(blob) or None for group in groups for blob in group.view.payloads_at(group.offsets)
    ]
    vectors = {
        name: column
        for name in view.config.names()
        if (column := _column(groups, name)) is not None
    }
    return CheckedUpsert(PointBatch(found, vectors, payloads))


def _column(groups: list[Group], name: str) -> VectorColumn | None:
    has, blocks = [], []
    for group in groups:
        present = group.view.has_vector_at(group.offsets, name)
        has.append(present)
        if present.any():
            blocks.append(_numbers(group, group.offsets[present], name))
    if not blocks:
        return None
    there, block = np.concatenate(has), joined(blocks)
    rows = None if there.all() else np.flatnonzero(there).astype(np.uint32)
    if not isinstance(block, Ragged):
        return VectorColumn(rows, block)
    lengths = np.diff(block.starts).astype(np.uint32)
    *indices, data = block.parts
    return VectorColumn(rows, data, lengths, indices[0] if indices else None)


def _numbers(group: Group, offsets: NDArray[np.uint32], name: str) -> Stored:
    """Return the vectors as float32 numbers."""
    column = group.view.column(name)
    block = column.take(offsets)
    if isinstance(column, GrowingDense | BuiltDense):
        assert not isinstance(block, Ragged)
        return column.form.numbers(block)
    if isinstance(column, GrowingMulti | BuiltMulti):
        assert isinstance(block, Ragged)
        return Ragged(block.starts, (column.form.numbers(block.parts[0]),))
    return block
