"""Views in, one immutable segment out; in slices, so that its maker can stop or be watched.

Invariants
- Nothing that exists is changed: a build that is stopped, or that fails, removes what it wrote,
  or at worst leaves files that no manifest names.
- Only what lives in the views is written, in the order of the views and of their offsets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.disk import files
from edge.disk.array_file import write_array
from edge.disk.blob_file import BlobFile, write_blobs
from edge.disk.manifest import FileEntry, SegmentEntry
from edge.disk.storage import Storage
from edge.errors import StorageFault
from edge.model.config import EdgeVectorParams
from edge.model.payload import decoder_of
from edge.model.schema import NO_SCHEMA, Schema
from edge.payload.field_index import FieldIndex, GrowingIndex, top_keys
from edge.segment.id_tracker import IdTracker
from edge.segment.immutable import (
    FIELD_ROLE,
    FieldFile,
    ImmutableSegment,
    with_fields,
    write_field,
    write_graph,
)
from edge.segment.view import SegmentView
from edge.vectors.dense import Bits, Block, BuiltDense, Offsets
from edge.vectors.metric import metric_of
from edge_kernels import bits
from edge_kernels.distance import stride_of
from edge_kernels.hnsw import Builder, Graph

ROWS_A_SLICE = 1024
NODES_A_SLICE = 64

Blob = bytes | memoryview
Moves = list[NDArray[np.int64]]
Pulse = Callable[[float], None]
"""Called between slices with the share done, 0..1; it may raise to stop the build."""


@dataclass(frozen=True, slots=True)
class GraphPlan:
    """How the graph of one vector is to be built."""

    m: int
    ef_construct: int


@dataclass(frozen=True, slots=True)
class Built:
    """A new segment, and where each row of each source went (-1: it was dead)."""

    segment: ImmutableSegment
    moves: Moves


def build_segment(
    storage: Storage,
    number: int,
    sources: Sequence[SegmentView],
    vectors: Mapping[str, EdgeVectorParams],
    graphs: Mapping[str, GraphPlan],
    pulse: Pulse,
    schema: Schema = NO_SCHEMA,
) -> Built:
    """Write the live rows of `sources` as segment `number`, with the graphs asked for and the
    field indexes of the schema."""
    live = [view.live() for view in sources]
    with _removed_on_failure(storage, files.segment_folder(number)):
        return _build(storage, number, sources, live, vectors, graphs, pulse, schema)


def _build(
    storage: Storage,
    number: int,
    sources: Sequence[SegmentView],
    live: Sequence[Offsets],
    vectors: Mapping[str, EdgeVectorParams],
    graphs: Mapping[str, GraphPlan],
    pulse: Pulse,
    schema: Schema,
) -> Built:
    writer = _SegmentWriter(storage, number, sum(len(offsets) for offsets in live), pulse)
    gathered = [(view, offsets) for view, offsets in zip(sources, live, strict=True)]
    ids = np.concatenate([view.ids[offsets] for view, offsets in gathered])
    versions = np.concatenate([view.segment.versions[offsets] for view, offsets in gathered])
    writer.array("ids", ids)
    writer.array("versions", versions)
    payloads = writer.payloads(gathered)
    columns = {
        name: writer.column(place, name, params, gathered)
        for place, (name, params) in enumerate(vectors.items())
    }
    built = {
        name: writer.graph(place, columns[name], None, graphs[name])
        for place, name in enumerate(vectors)
        if name in graphs
    }
    indexes = writer.fields(schema, gathered, number)
    entry = writer.entry(list(vectors))
    segment = ImmutableSegment(
        number, entry, IdTracker.of(ids), versions, payloads, columns, built, indexes
    )
    return Built(segment, _moves(sources, live))


def add_graphs(
    storage: Storage,
    view: SegmentView,
    source: ImmutableSegment,
    graphs: Mapping[str, GraphPlan],
    pulse: Pulse,
) -> Built:
    """Index a built segment where it lies: the columns stay, only the graph files are new."""
    writer = _SegmentWriter(storage, source.number, source.entry.rows, pulse)
    names = list(source.vectors)
    built = dict(source.graphs)
    for name, plan in graphs.items():
        column = source.vectors[name]
        built[name] = writer.graph(names.index(name), column, view.deleted, plan)
    entry = writer.entry(names)
    merged = msgspec.structs.replace(
        source.entry,
        files={**source.entry.files, **entry.files},
        meta={**source.entry.meta, **entry.meta},
    )
    segment = ImmutableSegment(
        source.number,
        merged,
        source.tracker,
        source.versions,
        source.payloads,
        source.vectors,
        built,
        source.fields,
    )
    return Built(segment, [np.arange(view.watermark, dtype=np.int64)])


def add_fields(
    storage: Storage,
    view: SegmentView,
    source: ImmutableSegment,
    schema: Schema,
    job: int,
    pulse: Pulse,
) -> Built:
    """Give a built segment the field indexes of the schema: the columns, the graphs and whatever
    index it has already stay. `job` is a number that no file of it was named by."""
    writer = _SegmentWriter(storage, source.number, source.entry.rows, pulse)
    kept = [
        FieldFile(*file)
        for file in source.entry.meta.get("fields", [])
        if file[0] in schema and source.index(file[0], schema[file[0]], view.watermark)
    ]
    known = {file.path: source.fields[file.path] for file in kept}
    missing = {path: field for path, field in schema.items() if path not in known}
    rows = np.arange(source.entry.rows, dtype=np.uint32)
    with writer.removing_on_failure():
        made = writer.fields(missing, [(view, rows)], job)
    new = writer.entry([])
    new_fields = [FieldFile(*file) for file in new.meta.get("fields", [])]
    segment = dataclasses.replace(
        source,
        entry=with_fields(source.entry, new.files, [*kept, *new_fields]),
        fields={**known, **made},
    )
    return Built(segment, [np.arange(view.watermark, dtype=np.int64)])


@contextmanager
def _removed_on_failure(storage: Storage, folder: str) -> Iterator[None]:
    """Start without what an earlier failure may have left there, and leave nothing on another: on
    a full disk every attempt would take more of it."""
    storage.remove_tree(folder)
    try:
        yield
    except BaseException:
        with suppress(StorageFault):
            storage.remove_tree(folder)
        raise


class _SegmentWriter:
    """Writes the files of one segment and remembers their entries."""

    def __init__(self, storage: Storage, number: int, rows: int, pulse: Pulse) -> None:
        self._storage = storage
        self._number = number
        self._rows = rows
        self._pulse = pulse
        self._files: dict[str, FileEntry] = {}
        self._meta: dict[str, Any] = {}
        storage.mkdir(files.segment_folder(number))

    def entry(self, names: list[str]) -> SegmentEntry:
        """Return the manifest entry of what was written."""
        return SegmentEntry(
            id=self._number,
            rows=self._rows,
            files=dict(self._files),
            meta={"vectors": names, **self._meta},
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

    def payloads(self, gathered: Sequence[tuple[SegmentView, Offsets]]) -> BlobFile:
        """Copy the payloads, undecoded, and open the file."""
        name = files.segment_file(self._number, "payload")
        self._files["payload"] = write_blobs(self._storage, name, self._each_payload(gathered))
        return BlobFile.open(self._storage, self._files["payload"])

    def _each_payload(self, gathered: Sequence[tuple[SegmentView, Offsets]]) -> Iterator[Blob]:
        for blobs in self._payload_slices(gathered):
            yield from blobs

    def _payload_slices(
        self, gathered: Sequence[tuple[SegmentView, Offsets]]
    ) -> Iterator[Sequence[Blob]]:
        for view, offsets in gathered:
            for first in range(0, len(offsets), ROWS_A_SLICE):
                self._pulse(0.0)
                yield view.payloads_at(offsets[first : first + ROWS_A_SLICE])

    def column(
        self,
        place: int,
        name: str,
        params: EdgeVectorParams,
        gathered: Sequence[tuple[SegmentView, Offsets]],
    ) -> BuiltDense:
        """Gather one vector's rows into a new matrix, and write it."""
        matrix = np.empty((self._rows, stride_of(params.size)), np.float32)
        role = f"vectors-{place}"
        blocks = self._gather(name, gathered, matrix)
        path = files.segment_file(self._number, role)
        self._files[role] = write_array(self._storage, path, blocks, np.float32, matrix.shape)
        missing = _missing(name, gathered, self._rows)
        if missing is not None:
            self.array(f"missing-{place}", missing)
        matrix.flags.writeable = False
        return BuiltDense(params.size, metric_of(params.distance), matrix, missing)

    def _gather(
        self, name: str, gathered: Sequence[tuple[SegmentView, Offsets]], matrix: Block
    ) -> Iterator[Block]:
        done = 0
        for view, offsets in gathered:
            column = view.column(name)
            for first in range(0, len(offsets), ROWS_A_SLICE):
                self._pulse(0.0)
                few = offsets[first : first + ROWS_A_SLICE]
                yield column.gather(few, matrix[done : done + len(few)])
                done += len(few)

    def fields(
        self, schema: Schema, gathered: Sequence[tuple[SegmentView, Offsets]], job: int
    ) -> dict[str, FieldIndex]:
        """Read the payloads once, and write an index of each field."""
        growing = [GrowingIndex(path, field) for path, field in schema.items()]
        if growing:
            decode = decoder_of(top_keys(schema))
            for blobs in self._payload_slices(gathered):
                documents = [decode(blob) if len(blob) else {} for blob in blobs]
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

    def graph(self, place: int, column: BuiltDense, deleted: Bits | None, plan: GraphPlan) -> Graph:
        """Build a graph over the rows that have the vector and are not deleted, and write it."""
        graph = build_graph(column, _either(deleted, column.missing(self._rows)), plan, self._pulse)
        role = f"graph-{place}"
        path = files.segment_file(self._number, role)
        if self._storage.exists(path):  # what an earlier build could not finish
            self._storage.unlink(path)
        self._files[role], self._meta[role] = write_graph(self._storage, path, graph)
        return graph


def build_graph(column: BuiltDense, absent: Bits | None, plan: GraphPlan, pulse: Pulse) -> Graph:
    """Build the HNSW graph of a column in slices of NODES_A_SLICE nodes."""
    rows = len(column.matrix)
    builder = Builder(
        column.metric, column.matrix, rows, plan.m, plan.ef_construct, absent, seed=rows
    )
    done = 0
    while done < rows:
        pulse(done / rows)
        done = builder.step(NODES_A_SLICE)
    return builder.graph()


def _either(first: Bits | None, second: Bits | None) -> Bits | None:
    if first is None or second is None:
        return second if first is None else first
    return first | second


def _missing(name: str, gathered: Sequence[tuple[SegmentView, Offsets]], rows: int) -> Bits | None:
    lacking = np.concatenate([~view.has_vector_at(offsets, name) for view, offsets in gathered])
    if not lacking.any():
        return None
    return bits.from_offsets(rows, np.flatnonzero(lacking).astype(np.uint32))


def _moves(sources: Sequence[SegmentView], live: Sequence[Offsets]) -> Moves:
    moves, first = [], 0
    for view, offsets in zip(sources, live, strict=True):
        move = np.full(view.watermark, -1, np.int64)
        move[offsets] = np.arange(first, first + len(offsets))
        moves.append(move)
        first += len(offsets)
    return moves
