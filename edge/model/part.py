"""Some of the points of a checked batch, as a batch of their own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge.model.point import PointBatch, VectorColumn

Places = npt.NDArray[np.integer]


def part_of(batch: PointBatch, places: Places) -> PointBatch:
    """The points at these ascending places. A name that none of them has is left out."""
    vectors = {
        name: kept
        for name, column in batch.vectors.items()
        if len(kept := _column_part(column, places, len(batch))) or not len(batch)
    }
    payloads = [batch.payloads[place] for place in places.tolist()] if batch.payloads else []
    return PointBatch(batch.ids[places], vectors, payloads)


def _column_part(column: VectorColumn, places: Places, count: int) -> VectorColumn:
    if column.rows is None:
        return _vectors_at(column, None, places)
    slot = np.full(count, -1, np.int64)
    slot[column.rows] = np.arange(len(column.rows))
    picked = slot[places]
    has = np.flatnonzero(picked >= 0).astype(np.uint32)
    return _vectors_at(column, None if len(has) == len(places) else has, picked[picked >= 0])


def _vectors_at(
    column: VectorColumn, rows: npt.NDArray[np.uint32] | None, at: Places
) -> VectorColumn:
    if column.lengths is None:
        return VectorColumn(rows, column.data[at])
    ends = np.cumsum(column.lengths, dtype=np.int64)
    lengths = column.lengths[at]
    firsts = ends[at] - lengths
    moved = np.cumsum(lengths, dtype=np.int64) - lengths
    entries = np.repeat(firsts - moved, lengths) + np.arange(int(lengths.sum()))
    indices = None if column.indices is None else column.indices[entries]
    return VectorColumn(rows, column.data[entries], lengths, indices)
