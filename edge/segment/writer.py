"""Writes the files of one segment, and gives back what was written where it is to live.

Invariant: nothing that exists is changed; what was written is remembered by role, for the manifest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.disk import files
from edge.disk.advice import ahead_of
from edge.disk.array_file import read_array, write_array
from edge.disk.blob_file import BlobFile, write_blobs
from edge.disk.manifest import FileEntry, SegmentEntry
from edge.disk.packed_file import Blocks, read_packed, write_packed
from edge.disk.pinned import lock
from edge.disk.storage import Storage
from edge.errors import StorageFault
from edge.model.choice import Memory
from edge.model.config import Settings
from edge.model.payload import decoder_of
from edge.model.quantization import QuantizationConfig, encode_quantization, place_of
from edge.model.schema import Schema
from edge.model.vector_params import EdgeSparseVectorParams, VectorParams
from edge.payload.field_index import FieldIndex, GrowingIndex, top_keys
from edge.segment.immutable import (
    FIELD_ROLE,
    FieldFile,
    built_multi,
    built_quantized,
    built_sparse,
    built_value_graphs,
    checked_graph,
    made_role,
    placed,
    write_field,
)
from edge.segment.indexing import (
    ROWS_A_SLICE,
    GraphPlan,
    IndexPlan,
    Pulse,
    build_graph,
    quantize,
)
from edge.segment.value_graphs import ValueGraphs, build_value_graphs, packed
from edge.segment.view import SegmentView
from edge.vectors.block import Matrix, Offsets, Ragged, Stored, joined
from edge.vectors.column import Absent, Column, VectorKey
from edge.vectors.dense import BuiltDense, GrowingDense
from edge.vectors.form import Form, form_of
from edge.vectors.missing import Bits
from edge.vectors.multi import BuiltMulti
from edge.vectors.quantized_column import Quantized
from edge.vectors.sparse import held_rows, index_arrays
from edge_kernels import bits
from edge_kernels.hnsw import Graph

Blob = bytes | memoryview
Gathered = Sequence[tuple[SegmentView, Offsets]]
"""Views, and which of their rows are written."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a segment is to hold: its vectors and where they live, what they are indexed by, and
    the field indexes."""

    vectors: Mapping[VectorKey, VectorParams]
    settings: Settings
    plans: Mapping[VectorKey, IndexPlan] = field(default_factory=dict)
    schema: Schema = field(default_factory=dict)


class SegmentWriter:
    """Writes the files of one segment and remembers their entries."""

    def __init__(self, storage: Storage, number: int, rows: int, pulse: Pulse) -> None:
        self._storage = storage
        self._number = number
        self._rows = rows
        self._pulse = pulse
        self._files: dict[str, FileEntry] = {}
        self._meta: dict[str, Any] = {}
        storage.mkdir(files.segment_folder(number))

    def name(self, vectors: Mapping[VectorKey, VectorParams]) -> None:
        """Note which columns there are, in the order of their files."""
        self._meta["vectors"] = [key.name for key in vectors]
        if any(key.birth for key in vectors):
            self._meta["births"] = [key.birth for key in vectors]

    def entry(self) -> SegmentEntry:
        """Return the manifest entry of what was written."""
        return SegmentEntry(
            id=self._number,
            rows=self._rows,
            files=dict(self._files),
            meta=dict(self._meta),
        )

    @contextmanager
    def removing_on_failure(self) -> Iterator[None]:
        """Leave none of the files that were written here if the body fails."""
        try:
            yield
        except BaseException:
            for file in self._files.values():
                with suppress(StorageFault):
                    self._storage.remove_tree(file.name)
            raise

    def array(self, role: str, array: NDArray[Any]) -> None:
        """Write one column whole."""
        name = files.segment_file(self._number, role)
        self._files[role] = write_array(self._storage, name, array, array.dtype, array.shape)

    def payloads(self, gathered: Gathered, memory: Memory) -> BlobFile:
        """Copy the payloads, undecoded, and open the file."""
        name = files.segment_file(self._number, "payload")
        self._files["payload"] = write_blobs(self._storage, name, self._each_payload(gathered))
        return BlobFile.open(
            self._storage, self._files["payload"], resident=memory is not Memory.Cold
        )

    def _each_payload(self, gathered: Gathered) -> Iterator[Blob]:
        for blobs in self._payload_slices(gathered):
            yield from blobs

    def _payload_slices(self, gathered: Gathered) -> Iterator[Sequence[Blob]]:
        for view, offsets in gathered:
            for first in range(0, len(offsets), ROWS_A_SLICE):
                self._pulse(0.0)
                yield view.payloads_at(offsets[first : first + ROWS_A_SLICE])

    def column(
        self,
        place: int,
        key: VectorKey,
        params: VectorParams,
        memory: Memory,
        gathered: Gathered,
    ) -> Column:
        """Write one vector's rows, and return them where they are to live."""
        missing = _missing(key, gathered, self._rows)
        if missing is not None:
            self.array(f"missing-{place}", missing)
        if isinstance(params, EdgeSparseVectorParams):
            return self._sparse(place, key, params, memory, missing, gathered)
        form = form_of(params)
        if form.many:
            return self._multi(place, key, form, memory, missing, gathered)
        return self._dense(place, key, form, memory, missing, gathered)

    def _dense(
        self,
        place: int,
        key: VectorKey,
        form: Form,
        memory: Memory,
        missing: Bits | None,
        gathered: Gathered,
    ) -> Column:
        shape = (self._rows, form.width)
        resident = memory is not Memory.Cold
        matrix = np.empty(shape, form.dtype) if resident else None
        role = f"vectors-{place}"
        path = files.segment_file(self._number, role)
        blocks = self._gather(key, form, gathered, matrix)
        self._files[role] = write_array(self._storage, path, blocks, form.dtype, shape)
        if matrix is None:
            found = read_array(self._storage, self._files[role], **placed(memory))
            return BuiltDense(form, found, missing, ahead_of(found))
        if memory is Memory.Pinned:
            lock(matrix)
        matrix.flags.writeable = False
        return BuiltDense(form, matrix, missing)

    def _gather(
        self,
        key: VectorKey,
        form: Form,
        gathered: Gathered,
        matrix: Matrix | None,
    ) -> Iterator[Matrix]:
        """Yield the rows in slices; into `matrix`, where there is one."""
        done = 0
        for view, few in self._slices(gathered):
            column = view.column_of(key)
            out = None if matrix is None else matrix[done : done + len(few)]
            done += len(few)
            if isinstance(column, GrowingDense | BuiltDense):
                yield column.gather(few, out)
            else:
                zeros = np.zeros((len(few), form.width), form.dtype) if out is None else out
                zeros[:] = 0
                yield zeros

    def _slices(self, gathered: Gathered) -> Iterator[tuple[SegmentView, Offsets]]:
        for view, offsets in gathered:
            for first in range(0, len(offsets), ROWS_A_SLICE):
                self._pulse(0.0)
                yield view, offsets[first : first + ROWS_A_SLICE]

    def _ragged(self, key: VectorKey, none: Ragged, gathered: Gathered) -> Ragged:
        """Return the rows of a vector of which points have any number of entries."""
        parts: list[Stored] = [none]
        for view, few in self._slices(gathered):
            column = view.column_of(key)
            if isinstance(column, Absent):
                parts.append(Ragged(np.zeros(len(few) + 1, np.int64), none.parts))
            else:
                parts.append(column.take(few))
        found = joined(parts)
        assert isinstance(found, Ragged)
        return found

    def _multi(
        self,
        place: int,
        key: VectorKey,
        form: Form,
        memory: Memory,
        missing: Bits | None,
        gathered: Gathered,
    ) -> Column:
        none = Ragged(np.zeros(1, np.int64), (np.empty((0, form.width), form.dtype),))
        block = self._ragged(key, none, gathered)
        arrays = {"starts": block.starts, "rows": block.parts[0]}
        found, path = self._packed(f"vectors-{place}", None, arrays, memory)
        return built_multi(form, found, self._rows, missing, path)

    def _sparse(
        self,
        place: int,
        key: VectorKey,
        params: EdgeSparseVectorParams,
        memory: Memory,
        missing: Bits | None,
        gathered: Gathered,
    ) -> Column:
        none = Ragged(np.zeros(1, np.int64), (np.empty(0, np.uint32), np.empty(0, np.float32)))
        rows = held_rows(self._ragged(key, none, gathered), params)
        arrays = {**rows._asdict(), **index_arrays(rows, lambda: self._pulse(0.0))}
        found, path = self._packed(f"vectors-{place}", None, arrays, memory)
        return built_sparse(params, found, self._rows, missing, path)

    def _packed(
        self,
        role: str,
        job: int | None,
        arrays: Mapping[str, Any],
        memory: Memory,
    ) -> tuple[dict[str, NDArray[Any]], str]:
        """Write arrays, or `Blocks` of some, as the file of a role, and return them where they are
        to live."""
        ending = role if job is None else f"{role}.{job}"
        path = files.segment_file(self._number, ending)
        self._storage.remove_tree(path)  # what an earlier build could not finish
        self._files[role], self._meta[role] = write_packed(self._storage, path, arrays)
        whole = {key: array for key, array in arrays.items() if not isinstance(array, Blocks)}
        if memory is Memory.Cold or len(whole) < len(arrays):
            file, layout = self._files[role], self._meta[role]
            return read_packed(self._storage, file, layout, **placed(memory)), path
        kept = {key: np.ascontiguousarray(array) for key, array in whole.items()}
        for array in kept.values():
            array.flags.writeable = False
            if memory is Memory.Pinned:
                lock(array)
        return kept, path

    def index(
        self,
        place: int,
        key: VectorKey,
        column: Column,
        deleted: Bits | None,
        asked: Request,
        job: int,
        graphs: dict[VectorKey, Graph],
        quantized: dict[VectorKey, Quantized],
    ) -> None:
        """Make the small form and the graph that are planned for a column."""
        plan = asked.plans.get(key)
        if plan is None or not isinstance(column, BuiltDense | BuiltMulti):
            return
        absent = _either(deleted, column.missing(self._rows))
        if plan.quantization is not None:
            quantized[key] = self._quantize(place, column, absent, plan.quantization, job)
        if plan.graph is not None:
            memory = asked.settings.graph_memory[key.name]
            small = quantized.get(key)
            graphs[key] = self._graph(place, column, small, absent, plan.graph, job, memory)

    def _quantize(
        self,
        place: int,
        column: BuiltDense | BuiltMulti,
        absent: Bits | None,
        config: QuantizationConfig,
        job: int,
    ) -> Quantized:
        quantizer, codes = quantize(config, column, absent, self._pulse)
        role = f"quantized-{place}"
        self._meta[f"{role}-config"] = encode_quantization(config)
        arrays = {**quantizer.arrays(), "codes": codes}
        found, path = self._packed(role, job, arrays, place_of(config))
        return built_quantized(config, found, column, path)

    def _graph(
        self,
        place: int,
        column: BuiltDense | BuiltMulti,
        small: Quantized | None,
        absent: Bits | None,
        plan: GraphPlan,
        job: int,
        memory: Memory,
    ) -> Graph:
        """Build a graph over the rows that have the vector and are not deleted, and write it."""
        graph = build_graph(column, small, absent, plan, self._pulse)
        role = f"graph-{place}"
        if plan.inline and small is not None and isinstance(column, BuiltDense):
            arrays, _ = self._packed(role, job, self._beside(graph, small, column), memory)
            return checked_graph(arrays, self._rows)
        arrays, _ = self._packed(role, job, graph.arrays(), memory)
        return checked_graph(arrays, self._rows) if memory is Memory.Cold else graph

    def _beside(self, graph: Graph, small: Quantized, column: BuiltDense) -> dict[str, Any]:
        """Return the arrays of a graph with copies of the codes and rows beside its links."""
        arrays, ground, above = graph.arrays_beside(small.matrix, column.matrix)
        lists = {"lists0": ground, "lists": above}  # the first begins with the file, so with a page
        octets = np.dtype(np.uint8)
        parts = {key: Blocks(octets, s, self._watched(b)) for key, (s, b) in lists.items()}
        return {**parts, **arrays}

    def _watched(self, blocks: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
        for block in blocks:
            self._pulse(1.0)
            yield block

    def values(
        self,
        place: int,
        key: VectorKey,
        column: Column,
        deleted: Bits | None,
        asked: Request,
        job: int,
        small: Quantized | None,
        indexes: Mapping[str, FieldIndex],
        known: ValueGraphs | None = None,
    ) -> ValueGraphs | None:
        """Make the graphs of values that are planned for a column, but for those that are known,
        and write all; None where none are planned."""
        plan = asked.plans.get(key)
        if plan is None or plan.values is None or not isinstance(column, BuiltDense | BuiltMulti):
            return None
        absent = _either(deleted, column.missing(self._rows))
        found = build_value_graphs(column, small, absent, indexes, plan.values, known, self._pulse)
        self._meta[made_role(place)] = found.made.plain()
        if not found.graphs:
            return found
        memory = asked.settings.graph_memory[key.name]
        arrays, _ = self._packed(f"values-{place}", job, packed(found), memory)
        return built_value_graphs(found.made, arrays, self._rows)

    def fields(self, schema: Schema, gathered: Gathered, job: int) -> dict[str, FieldIndex]:
        """Read the payloads once, and write an index of each field."""
        growing = [GrowingIndex(path, field) for path, field in schema.items()]
        if growing:
            decode = decoder_of(top_keys(schema))
            for blobs in self._payload_slices(gathered):
                documents = decode(blobs)
                for index in growing:
                    self._pulse(0.0)
                    index.append(documents)
        written = {
            index.path: self._field(place, index, job) for place, index in enumerate(growing)
        }
        if written:
            self._meta["fields"] = [list(file) for file, _ in written.values()]
        return {path: index for path, (_, index) in written.items()}

    def _field(self, place: int, index: GrowingIndex, job: int) -> tuple[FieldFile, FieldIndex]:
        self._pulse(0.0)
        role = f"{FIELD_ROLE}{job}-{place}"
        path = files.segment_file(self._number, role)
        self._storage.remove_tree(path)  # what an earlier build could not finish
        self._files[role], file, built = write_field(self._storage, path, role, index)
        return file, built


def _either(first: Bits | None, second: Bits | None) -> Bits | None:
    if first is None or second is None:
        return second if first is None else first
    return first | second


def _missing(key: VectorKey, gathered: Gathered, rows: int) -> Bits | None:
    lacking = np.concatenate([~view.has_vector_at(offsets, key) for view, offsets in gathered])
    if not lacking.any():
        return None
    return bits.from_offsets(rows, np.flatnonzero(lacking).astype(np.uint32))
