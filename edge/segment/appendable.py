"""The appendable segment: the tail of the shard, in memory; its durability is the log.

Invariants
- Rows are only added at the end, by one writer; below `count` nothing changes.
- `count` grows after all columns have the row.
- The column of a vector name that was taken away stays as it is, for the views that know it.
- A field index may be behind: of the rows that came before it a few are indexed at once, more by
  each append that follows, and all when the tail is sealed, which the optimizer does for it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edge.model.payload import decoder_of
from edge.model.schema import NO_SCHEMA, IndexedField, Schema
from edge.model.vector_params import VectorParams
from edge.payload.field_index import FieldIndex, GrowingIndex, top_keys
from edge.payload.storage import GrowingPayloads
from edge.segment.id_tracker import IdTracker
from edge.segment.rows import RowBlock
from edge.segment.value_graphs import ValueGraphs
from edge.vectors.column import GrowingColumn, VectorKey, growing, no_rows
from edge.vectors.quantized_column import Quantized
from edge_kernels.hnsw import Graph

BACKLOG_A_STEP = 1024
"""Rows that came before an index and are indexed by one append."""


class AppendableSegment:
    """Columns that grow."""

    entry = None  # no file of its own

    def __init__(
        self,
        number: int,
        vectors: Mapping[VectorKey, VectorParams],
        schema: Schema = NO_SCHEMA,
    ) -> None:
        self.number = number
        self.tracker = IdTracker.growing()
        self.versions: NDArray[np.uint64] = np.zeros(64, np.uint64)
        self.payloads = GrowingPayloads()
        self.vectors: dict[VectorKey, GrowingColumn] = {}
        self.graphs: dict[VectorKey, Graph] = {}
        self.quantized: dict[VectorKey, Quantized] = {}
        self.value_graphs: dict[VectorKey, ValueGraphs] = {}
        self._params: dict[VectorKey, VectorParams] = {}
        self.hold(vectors)
        self._fields: dict[str, GrowingIndex] = {}
        self.use(schema)

    @property
    def count(self) -> int:
        """How many rows there are, live or not."""
        return self.tracker.count

    def append(self, rows: RowBlock, version: int | NDArray[np.uint64]) -> None:
        """Add the rows, all written by the operation `version`, or each by one of its own."""
        start, count = self.count, len(rows)
        for key, params in self._params.items():
            found = rows.vectors.get(key.name)
            if found is None:
                self.vectors[key].append(start, count, np.empty(0, np.uint32), no_rows(params))
            else:
                self.vectors[key].append(start, count, found.where, found.block)
        self.payloads.append(rows.payloads)
        self._append_versions(start, count, version)
        self.tracker.append(rows.ids)
        self._index(count + BACKLOG_A_STEP)

    def hold(self, vectors: Mapping[VectorKey, VectorParams]) -> None:
        """Take vectors of these names from now on, and of no others."""
        new = {key: growing(params) for key, params in vectors.items() if key not in self.vectors}
        for key, column in new.items():
            column.append(0, self.count, np.empty(0, np.uint32), no_rows(vectors[key]))
        self.vectors = {**self.vectors, **new}
        self._params = dict(vectors)

    def use(self, schema: Schema) -> None:
        """Index the fields of this schema from now on, and no others."""
        kept = {
            path: known
            for path, known in self._fields.items()
            if path in schema and known.field.params == schema[path].params
        }
        new = {path: GrowingIndex(path, schema[path]) for path in schema if path not in kept}
        self._fields = {**kept, **new}
        self._index(BACKLOG_A_STEP)

    def is_indexed_by(self, schema: Schema) -> bool:
        """Whether every field of the schema is indexed up to the newest row."""
        return all(
            (known := self._fields.get(path)) is not None and known.covered == self.count
            for path in schema
        )

    def index(self, path: str, field: IndexedField, watermark: int) -> FieldIndex | None:
        """See Segment."""
        known = self._fields.get(path)
        if known is None or known.field.params != field.params:
            return None
        return known.at(watermark)

    def _index(self, rows: int) -> None:
        """Let each field index take up to so many rows more."""
        waiting: dict[int, list[GrowingIndex]] = {}
        for known in self._fields.values():
            if known.covered < self.count:
                waiting.setdefault(known.covered, []).append(known)
        for first, together in waiting.items():
            decode = decoder_of(top_keys(known.path for known in together))
            documents = decode(self.payloads.many(range(first, min(first + rows, self.count))))
            for known in together:
                known.append(documents)

    def _append_versions(self, start: int, count: int, version: int | NDArray[np.uint64]) -> None:
        if start + count > len(self.versions):
            grown = np.zeros(2 * (start + count), np.uint64)
            grown[:start] = self.versions[:start]
            self.versions = grown
        self.versions[start : start + count] = version
