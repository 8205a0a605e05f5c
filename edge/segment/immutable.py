"""The immutable segment: built once, named by the manifest, read by all.

Invariants
- Its files never change; every byte was checked before it is used (payloads: at first touch).
- All rows of a file were live when it was built; what died since is in the views' tombstones.
- A field index is never needed: one that is damaged is left out, and the optimizer makes it anew.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from edge.disk.advice import ahead_of
from edge.disk.array_file import read_array
from edge.disk.blob_file import BlobFile
from edge.disk.files import MANIFEST
from edge.disk.manifest import FileEntry, SegmentEntry
from edge.disk.packed_file import Layout, read_packed, write_packed
from edge.disk.storage import Storage
from edge.errors import CorruptData, StorageFault
from edge.model.choice import Memory
from edge.model.config import Settings
from edge.model.quantization import QuantizationConfig, decode_quantization, place_of
from edge.model.schema import IndexedField, Schema, decode_field, encode_field, is_mapped
from edge.model.vector_params import EdgeSparseVectorParams, VectorParams
from edge.payload.field_index import FieldIndex, GrowingIndex, built_index
from edge.segment.id_tracker import IdTracker
from edge.segment.value_graphs import Made, ValueGraphs, made_of, value_graphs_of
from edge.vectors.column import Column, VectorKey
from edge.vectors.dense import BuiltDense
from edge.vectors.form import Form, form_of
from edge.vectors.missing import Bits
from edge.vectors.multi import BuiltMulti
from edge.vectors.quantized_column import Quantized, quantizer_of
from edge.vectors.sparse import BuiltSparse, SparseRows, dtype_of, index_of
from edge_kernels import bits
from edge_kernels.hnsw import Graph
from edge_kernels.sparse import Rows, check_rows

Vectors: TypeAlias = Mapping[VectorKey, VectorParams]


@dataclass(frozen=True, slots=True)
class ImmutableSegment:
    """Columns, and the graphs over them, of one entry of the manifest."""

    number: int
    entry: SegmentEntry
    tracker: IdTracker
    versions: NDArray[np.uint64]
    payloads: BlobFile
    vectors: dict[VectorKey, Column]
    graphs: dict[VectorKey, Graph]
    quantized: dict[VectorKey, Quantized]
    value_graphs: dict[VectorKey, ValueGraphs]
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
    storage: Storage, entry: SegmentEntry, vectors: Vectors, settings: Settings
) -> tuple[ImmutableSegment, Bits | None]:
    """Return the segment of a manifest entry, checked, and its tombstones.

    A vector that the segment does not have came later, one that `vectors` does not name was taken
    away: the one is not there, the other is not read.
    """
    ids = _read(storage, entry, "ids", (entry.rows, 3), np.uint64)
    versions = _read(storage, entry, "versions", (entry.rows,), np.uint64)
    in_memory = settings.payload_memory is not Memory.Cold
    payloads = BlobFile.open(storage, _file(entry, "payload"), resident=in_memory)
    if len(payloads) != entry.rows:
        raise CorruptData("payload count differs from row count", _file(entry, "payload").name)
    columns: dict[VectorKey, Column] = {}
    graphs: dict[VectorKey, Graph] = {}
    quantized: dict[VectorKey, Quantized] = {}
    value_graphs: dict[VectorKey, ValueGraphs] = {}
    for place, key in enumerate(vector_keys(entry)):
        params = vectors.get(key)
        if params is not None:
            column = load_column(storage, entry, place, params, settings.memory[key.name])
            columns[key] = column
            if f"graph-{place}" in entry.files:
                memory = settings.graph_memory[key.name]
                graphs[key] = load_graph(storage, entry, place, memory)
            if f"quantized-{place}" in entry.files:
                quantized[key] = load_quantized(storage, entry, place, column)
            if made_role(place) in entry.meta:
                memory = settings.graph_memory[key.name]
                value_graphs[key] = load_value_graphs(storage, entry, place, memory)
            if key in graphs and not is_inline_of(graphs[key], column, quantized.get(key)):
                name = _file(entry, f"graph-{place}").name
                raise CorruptData("copies of other rows than the segment's", name)
    entry, indexes = load_fields(storage, entry)
    segment = ImmutableSegment(
        entry.id,
        entry,
        IdTracker.of(ids),
        versions,
        payloads,
        columns,
        graphs,
        quantized,
        value_graphs,
        indexes,
    )
    return segment, load_tombstones(storage, entry)


def load_tombstones(storage: Storage, entry: SegmentEntry) -> Bits | None:
    """Return the tombstones of a manifest entry, checked; None where there are none."""
    return _bits(storage, entry, "deleted")


def is_same_but_dead_rows(one: SegmentEntry, other: SegmentEntry) -> bool:
    """Whether two entries are of the same files, tombstones apart."""
    return _alive(one) == _alive(other)


def _alive(entry: SegmentEntry) -> tuple[Any, ...]:
    files = {role: file for role, file in entry.files.items() if role != "deleted"}
    # as it is written: what was made here holds tuples, what was read has lists for them
    meta = msgspec.msgpack.encode(entry.meta, order="deterministic")
    return entry.id, entry.rows, files, meta


# -- vectors


def vector_keys(entry: SegmentEntry) -> list[VectorKey]:
    """Return the columns that the segment was written with, in the order of their files."""
    names, births = entry.meta.get("vectors"), entry.meta.get("births")
    if births is None and isinstance(names, list):
        births = [0] * len(names)
    try:
        return msgspec.convert(list(zip(names, births, strict=True)), list[VectorKey])  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise CorruptData(f"segment {entry.id} has vectors {names}: {error}", MANIFEST) from error


def without_files_of(entry: SegmentEntry, kept: Collection[VectorKey]) -> SegmentEntry:
    """Return the entry without the files of the columns that are not kept."""
    gone = {
        f"{kind}-{place}"
        for place, key in enumerate(vector_keys(entry))
        if key not in kept
        for kind in COLUMN_ROLES
    }
    files = {role: file for role, file in entry.files.items() if role not in gone}
    return msgspec.structs.replace(entry, files=files) if gone else entry


COLUMN_ROLES = ("vectors", "missing", "graph", "quantized", "values")
"""What a vector's files are, each with the vector's place behind it."""


def load_column(
    storage: Storage, entry: SegmentEntry, place: int, params: VectorParams, memory: Memory
) -> Column:
    """Return the column at a place of the segment, checked."""
    missing = _bits(storage, entry, f"missing-{place}")
    file = _file(entry, f"vectors-{place}")
    if isinstance(params, EdgeSparseVectorParams):
        arrays = read_laid_out(storage, entry, f"vectors-{place}", memory)
        return built_sparse(params, arrays, entry.rows, missing, file.name)
    form = form_of(params)
    if form.many:
        arrays = read_laid_out(storage, entry, f"vectors-{place}", memory)
        return built_multi(form, arrays, entry.rows, missing, file.name)
    shape = (entry.rows, form.width)
    matrix = _read(storage, entry, f"vectors-{place}", shape, form.dtype, memory)
    return BuiltDense(form, matrix, missing, ahead_of(matrix))


def built_multi(
    form: Form, arrays: Mapping[str, NDArray[Any]], rows: int, missing: Bits | None, name: str
) -> BuiltMulti:
    """Return the column of these arrays; CorruptData where they do not fit each other."""
    starts, matrix = _taken(arrays, {"starts": np.int64, "rows": form.dtype}, name)
    _require_starts(starts, rows, len(matrix), name)
    if matrix.shape[1:] != (form.width,):
        raise CorruptData(f"expected vectors of {form.width}, found {matrix.shape}", name)
    if missing is None and len(starts) > 1 and not np.diff(starts).all():
        raise CorruptData("a point has no vectors", name)
    return BuiltMulti(form, starts, matrix, missing)


def built_sparse(
    params: EdgeSparseVectorParams,
    arrays: Mapping[str, NDArray[Any]],
    rows: int,
    missing: Bits | None,
    name: str,
) -> BuiltSparse:
    """Return the column of these arrays; CorruptData where they do not fit each other."""
    starts, indices = _taken(arrays, {"starts": np.int64, "indices": np.uint32}, name)
    _require_starts(starts, rows, len(indices), name)
    try:
        found = check_rows(Rows(starts, indices, arrays["values"]))
        index = index_of(arrays, rows)
        _require_values(params, found.values, index.values)
    except (KeyError, ValueError) as error:
        raise CorruptData(f"index: {error}", name) from error
    return BuiltSparse(params, SparseRows(*found), index, missing)


def _require_values(params: EdgeSparseVectorParams, *held: NDArray[Any]) -> None:
    """ValueError unless all are of the type that the params say, or all are float32, which older
    segments hold of any datatype."""
    found = {values.dtype for values in held}
    if found not in ({dtype_of(params)}, {np.dtype(np.float32)}):
        names = " and ".join(sorted(map(str, found)))
        raise ValueError(f"values of {names}, not of {dtype_of(params)}")


def _taken(
    arrays: Mapping[str, NDArray[Any]], wanted: Mapping[str, Any], name: str
) -> list[NDArray[Any]]:
    found = []
    for key, dtype in wanted.items():
        array = arrays.get(key)
        if array is None or array.dtype != dtype:
            raise CorruptData(f"{key}: expected an array of {np.dtype(dtype)}", name)
        found.append(array)
    return found


def _require_starts(starts: NDArray[np.int64], rows: int, entries: int, name: str) -> None:
    fits = starts.shape == (rows + 1,) and starts[0] == 0 and starts[-1] == entries
    if not fits or (np.diff(starts) < 0).any():
        raise CorruptData("rows do not add up", name)


def load_quantized(storage: Storage, entry: SegmentEntry, place: int, column: Column) -> Quantized:
    """Return the small form of a column, checked."""
    role = f"quantized-{place}"
    name = _file(entry, role).name
    try:
        config = decode_quantization(entry.meta[f"{role}-config"])
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptData(f"{role} of segment {entry.id}: {error!r}", MANIFEST) from error
    arrays = read_laid_out(storage, entry, role, place_of(config))
    return built_quantized(config, arrays, column, name)


def built_quantized(
    config: QuantizationConfig, arrays: Mapping[str, NDArray[Any]], column: Column, name: str
) -> Quantized:
    """Return the small form of these arrays; CorruptData where they do not fit the column."""
    if not isinstance(column, BuiltDense | BuiltMulti):
        raise CorruptData("a sparse vector has no small form", name)
    own = {key: array for key, array in arrays.items() if key != "codes"}
    try:
        quantizer = quantizer_of(config, column.form, own)
    except (KeyError, ValueError) as error:
        raise CorruptData(f"quantizer: {error!r}", name) from error
    (codes,) = _taken(arrays, {"codes": np.uint8}, name)
    if codes.shape != (len(column.matrix), quantizer.row_bytes):
        raise CorruptData(f"codes of shape {codes.shape}", name)
    starts = column.starts if isinstance(column, BuiltMulti) else None
    return Quantized(config, quantizer, codes, starts, ahead_of(codes))


# -- files


def _file(entry: SegmentEntry, role: str) -> FileEntry:
    try:
        return entry.files[role]
    except KeyError:
        raise CorruptData(f"segment {entry.id} has no file for {role!r}", MANIFEST) from None


def _bits(storage: Storage, entry: SegmentEntry, role: str) -> Bits | None:
    if role not in entry.files:
        return None
    return _read(storage, entry, role, (bits.words_for(entry.rows),), np.uint64)


def _read(
    storage: Storage,
    entry: SegmentEntry,
    role: str,
    shape: tuple[int, ...],
    dtype: npt.DTypeLike,
    memory: Memory = Memory.Cached,
) -> NDArray[Any]:
    file = _file(entry, role)
    array = read_array(storage, file, **placed(memory))
    if array.shape != shape or array.dtype != dtype:
        raise CorruptData(f"expected {np.dtype(dtype)} {shape}, found {array.dtype}", file.name)
    return array


def placed(memory: Memory) -> dict[str, bool]:
    """Return how a file is read whose contents live there."""
    return {"resident": memory is not Memory.Cold, "locked": memory is Memory.Pinned}


def read_laid_out(
    storage: Storage, entry: SegmentEntry, role: str, memory: Memory
) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file whose layout the entry holds under its role."""
    file = _file(entry, role)
    return read_packed(storage, file, entry.meta.get(role), **placed(memory))


def load_graph(storage: Storage, entry: SegmentEntry, place: int, memory: Memory) -> Graph:
    """Read a graph back; every link is range-checked before a kernel may follow it."""
    role = f"graph-{place}"
    try:
        return checked_graph(read_laid_out(storage, entry, role, memory), entry.rows)
    except ValueError as error:
        raise CorruptData(
            f"graph of segment {entry.id}: {error!r}", _file(entry, role).name
        ) from error


def is_inline_of(graph: Graph, column: Column, small: Quantized | None) -> bool:
    """Whether the copies beside the links of a graph, if it has any, are of such rows."""
    if graph.inline is None or small is None:  # without a small form they are not looked at
        return True
    sizes = small.matrix.shape[1], column.form.row_bytes if isinstance(column, BuiltDense) else 0
    return graph.inline == sizes


def checked_graph(arrays: Mapping[str, NDArray[Any]], rows: int) -> Graph:
    """Return the graph of these arrays over so many rows. ValueError where it is none."""
    lists = next((arrays[name] for name in ("lists0", "links0") if name in arrays), None)
    return Graph.from_arrays(arrays, rows, 0 if lists is None else ahead_of(lists))


def made_role(place: int) -> str:
    """Return where `meta` says what the graphs of values were made with."""
    return f"values-{place}-made"


def load_value_graphs(
    storage: Storage, entry: SegmentEntry, place: int, memory: Memory
) -> ValueGraphs:
    """Read the graphs of values back, checked; without a file there was no large value."""
    role = f"values-{place}"
    name = entry.files[role].name if role in entry.files else MANIFEST
    try:
        made = made_of(entry.meta[made_role(place)])
        if role not in entry.files:
            return ValueGraphs(made)
        arrays = read_laid_out(storage, entry, role, memory)
        return built_value_graphs(made, arrays, entry.rows)
    except ValueError as error:
        raise CorruptData(f"{role} of segment {entry.id}: {error!r}", name) from error


def built_value_graphs(made: Made, arrays: Mapping[str, NDArray[Any]], rows: int) -> ValueGraphs:
    """Return the graphs of these arrays, over some of so many rows. Raises ValueError or
    CorruptData where they are none."""
    links = arrays.get("links0")
    return value_graphs_of(made, arrays, rows, 0 if links is None else ahead_of(links))


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
