"""The immutable segment: built once, named by the manifest, read by all.

Invariants
- Its files never change; every byte was checked before it is used (payloads: at first touch).
- All rows of a file were live when it was built; what died since is in the views' tombstones.
- A field index is never needed: one that is damaged is left out, and the optimizer makes it anew.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.disk.array_file import aligned, read_array, write_array
from edge.disk.blob_file import BlobFile
from edge.disk.files import MANIFEST
from edge.disk.manifest import FileEntry, SegmentEntry
from edge.disk.packed_file import Layout, read_packed, write_packed
from edge.disk.storage import Storage
from edge.errors import CorruptData, StorageFault
from edge.model.config import EdgeVectorParams
from edge.model.schema import IndexedField, Schema, decode_field, encode_field, is_mapped
from edge.payload.field_index import FieldIndex, GrowingIndex, built_index
from edge.segment.id_tracker import IdTracker
from edge.vectors.dense import Bits, BuiltDense
from edge.vectors.metric import metric_of
from edge_kernels import bits
from edge_kernels.distance import stride_of
from edge_kernels.hnsw import Graph


@dataclass(frozen=True, slots=True)
class ImmutableSegment:
    """Columns, and the graphs over them, of one entry of the manifest."""

    number: int
    entry: SegmentEntry
    tracker: IdTracker
    versions: NDArray[np.uint64]
    payloads: BlobFile
    vectors: dict[str, BuiltDense]
    graphs: dict[str, Graph]
    fields: dict[str, FieldIndex]

    def index(self, path: str, field: IndexedField, watermark: int) -> FieldIndex | None:
        """See Segment."""
        found = self.fields.get(path)
        return found if found is not None and found.field.params == field.params else None

    def is_indexed_by(self, schema: Schema) -> bool:
        """Whether it has an index of every field of the schema, as the schema says, and no more."""
        return self.fields.keys() == schema.keys() and all(
            known.field.params == schema[path].params for path, known in self.fields.items()
        )


def load_segment(
    storage: Storage, entry: SegmentEntry, vectors: Mapping[str, EdgeVectorParams]
) -> tuple[ImmutableSegment, Bits | None]:
    """Return the segment of a manifest entry, checked, and its tombstones."""
    ids = _read(storage, entry, "ids", (entry.rows, 3), np.uint64)
    versions = _read(storage, entry, "versions", (entry.rows,), np.uint64)
    payloads = BlobFile.open(storage, _file(entry, "payload"))
    if len(payloads) != entry.rows:
        raise CorruptData("payload count differs from row count", _file(entry, "payload").name)
    columns, graphs = {}, {}
    for place, name in enumerate(_vector_names(entry, vectors)):
        columns[name] = _load_column(storage, entry, place, vectors[name])
        if f"graph-{place}" in entry.files:
            graphs[name] = load_graph(storage, entry, place)
    entry, indexes = load_fields(storage, entry)
    segment = ImmutableSegment(
        entry.id, entry, IdTracker.of(ids), versions, payloads, columns, graphs, indexes
    )
    return segment, _bits(storage, entry, "deleted")


def _vector_names(entry: SegmentEntry, vectors: Mapping[str, EdgeVectorParams]) -> list[str]:
    names = entry.meta.get("vectors")
    if not isinstance(names, list) or sorted(names) != sorted(vectors):
        raise CorruptData(f"segment {entry.id} has vectors {names}, not {list(vectors)}", MANIFEST)
    return names


def _file(entry: SegmentEntry, role: str) -> FileEntry:
    try:
        return entry.files[role]
    except KeyError:
        raise CorruptData(f"segment {entry.id} has no file for {role!r}", MANIFEST) from None


def _load_column(
    storage: Storage, entry: SegmentEntry, place: int, params: EdgeVectorParams
) -> BuiltDense:
    shape = (entry.rows, stride_of(params.size))
    matrix = _read(storage, entry, f"vectors-{place}", shape, np.float32)
    missing = _bits(storage, entry, f"missing-{place}")
    return BuiltDense(params.size, metric_of(params.distance), matrix, missing)


def _bits(storage: Storage, entry: SegmentEntry, role: str) -> Bits | None:
    if role not in entry.files:
        return None
    return _read(storage, entry, role, (bits.words_for(entry.rows),), np.uint64)


def _read(
    storage: Storage, entry: SegmentEntry, role: str, shape: tuple[int, ...], dtype: type
) -> NDArray[Any]:
    file = _file(entry, role)
    array = read_array(storage, file)
    if array.shape != shape or array.dtype != dtype:
        raise CorruptData(f"expected {np.dtype(dtype)} {shape}, found {array.dtype}", file.name)
    return array


GraphLayout = list[tuple[str, str, list[int]]]


def write_graph(storage: Storage, name: str, graph: Graph) -> tuple[FileEntry, GraphLayout]:
    """Write a graph's arrays, one after the other, as one file; return it and their layout."""
    arrays = {key: np.ascontiguousarray(array) for key, array in graph.arrays().items()}
    layout = [(key, array.dtype.str, list(array.shape)) for key, array in arrays.items()]
    blocks = [array.reshape(-1).view(np.uint8) for array in arrays.values()]
    size = sum(len(block) for block in blocks)
    return write_array(storage, name, blocks, np.uint8, (size,)), layout


def load_graph(storage: Storage, entry: SegmentEntry, place: int) -> Graph:
    """Read a graph back; every link is range-checked before a kernel may follow it."""
    file = entry.files[f"graph-{place}"]
    packed = read_array(storage, file)
    try:
        layout = entry.meta[f"graph-{place}"]
        return Graph.from_arrays(_unpacked(packed, layout), entry.rows)
    except (KeyError, SyntaxError, TypeError, ValueError) as error:
        raise CorruptData(f"graph of segment {entry.id}: {error!r}", file.name) from error


def _unpacked(packed: NDArray[np.uint8], layout: GraphLayout) -> dict[str, NDArray[Any]]:
    arrays, position = {}, 0
    for key, dtype, shape in layout:
        size = math.prod(shape) * np.dtype(dtype).itemsize
        part = packed[position : position + size]
        if len(part) != size:
            raise ValueError(f"{key} is cut short")
        # a copy: the parts lie back to back, and a list of links should begin with a cache line
        own = aligned(size)
        own[:] = part
        arrays[key] = own.view(np.dtype(dtype)).reshape(shape)
        position += size
    return arrays


# -- field indexes


class FieldFile(NamedTuple):
    """What `meta["fields"]` says of one field index: its path, how it was asked for, its role."""

    path: str
    params: bytes
    role: str
    layout: Layout


FIELD_ROLE = "field-"


def write_field(
    storage: Storage, name: str, role: str, index: GrowingIndex
) -> tuple[FileEntry, FieldFile, FieldIndex]:
    """Write a field's index to the new file `name`, and read it as it was asked to be read."""
    entry, layout = write_packed(storage, name, index.arrays())
    file = FieldFile(index.path, encode_field(index.field), role, layout)
    try:
        return entry, file, _read_field(storage, entry, file, index.covered)
    except BaseException:
        with suppress(StorageFault):
            storage.remove_tree(name)
        raise


def load_fields(
    storage: Storage, entry: SegmentEntry
) -> tuple[SegmentEntry, dict[str, FieldIndex]]:
    """Return the field indexes of a segment, and its entry without those that are damaged."""
    sound: list[FieldFile] = []
    indexes: dict[str, FieldIndex] = {}
    listed = entry.meta.get("fields")
    for given in listed if isinstance(listed, list) else []:
        with suppress(CorruptData):
            file = _field_file(given)
            index = _read_field(storage, _file(entry, file.role), file, entry.rows)
            indexes[file.path] = index
            sound.append(file)
    return with_fields(entry, {}, sound), indexes


def _field_file(given: Any) -> FieldFile:
    try:
        return msgspec.convert(given, FieldFile)
    except msgspec.ValidationError as error:
        raise CorruptData(f"no field index: {error}", MANIFEST) from error


def with_fields(
    entry: SegmentEntry, files: Mapping[str, FileEntry], fields: Sequence[FieldFile]
) -> SegmentEntry:
    """Return the entry with these field indexes and no others; `files` are new ones by role."""
    named = {file.role for file in fields}
    every = {**entry.files, **files}
    kept = {
        role: file
        for role, file in every.items()
        if not role.startswith(FIELD_ROLE) or role in named
    }
    meta = {key: value for key, value in entry.meta.items() if key != "fields"}
    if fields:
        meta["fields"] = [list(file) for file in fields]
    return msgspec.structs.replace(entry, files=kept, meta=meta)


def _read_field(storage: Storage, entry: FileEntry, file: FieldFile, rows: int) -> FieldIndex:
    field = decode_field(file.params)
    arrays = read_packed(storage, entry, file.layout, resident=not is_mapped(field.params))
    try:
        return built_index(field, arrays, rows)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptData(f"index of {file.path!r}: {error!r}", entry.name) from error
