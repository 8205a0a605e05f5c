"""The appendable segment: the tail of the shard, in memory; its durability is the log.

Invariants
- Rows are only added at the end, by one writer; below `count` nothing changes.
- `count` grows after all columns have the row.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edge.model.config import EdgeVectorParams
from edge.payload.storage import GrowingPayloads
from edge.segment.id_tracker import IdTracker
from edge.segment.rows import RowBlock
from edge.vectors.dense import GrowingDense
from edge.vectors.metric import metric_of
from edge_kernels.distance import stride_of
from edge_kernels.hnsw import Graph


class AppendableSegment:
    """Columns that grow."""

    entry = None  # no file of its own

    def __init__(self, number: int, vectors: Mapping[str, EdgeVectorParams]) -> None:
        self.number = number
        self.tracker = IdTracker.growing()
        self.versions: NDArray[np.uint64] = np.zeros(64, np.uint64)
        self.payloads = GrowingPayloads()
        self.vectors = {
            name: GrowingDense(params.size, metric_of(params.distance))
            for name, params in vectors.items()
        }
        self.graphs: dict[str, Graph] = {}

    @property
    def count(self) -> int:
        """How many rows there are, live or not."""
        return self.tracker.count

    def append(self, rows: RowBlock, version: int) -> None:
        """Add the rows, all written by the operation `version`."""
        start, count = self.count, len(rows)
        for name, column in self.vectors.items():
            stored = rows.vectors.get(name)
            if stored is None:
                column.append(start, count, np.empty(0, np.uint32), _no_rows(column.dim))
            else:
                column.append(start, count, stored.where, stored.block)
        self.payloads.append(rows.payloads)
        self._append_versions(start, count, version)
        self.tracker.append(rows.ids)

    def _append_versions(self, start: int, count: int, version: int) -> None:
        if start + count > len(self.versions):
            grown = np.zeros(2 * (start + count), np.uint64)
            grown[:start] = self.versions[:start]
            self.versions = grown
        self.versions[start : start + count] = version


def _no_rows(dim: int) -> NDArray[np.float32]:
    return np.empty((0, stride_of(dim)), np.float32)
