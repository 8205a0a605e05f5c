"""Checked operations as bytes for the log, and back.

    body    = prefix, header (msgpack), then the header's blocks, each padded with zeros to begin
              at a multiple of 64 bytes from the body's start
    prefix  = version uint16, zero uint16, length of the header uint32
    blocks  = ids: uint64[n] where all are ints, else uint64[n, 3]
              for each named vector: rows uint32[m] where some points lack it; then
                  dense: data float32[m, dim]
                  multivectors: lengths uint32[m], data float32[total, dim]
                  sparse (dim 0): lengths uint32[m], indices uint32[total], data float32[total]
              payloads of a batch: lengths uint32[n] (NO_PAYLOAD: none), then the blobs joined

All numbers are little-endian. Invariants: `decode(encode(op)) == op`; decoding copies no vector
(arrays are read-only views of the body); bytes that `encode` cannot have given raise CorruptData
and nothing else; what was logged by any earlier version of this form decodes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from edge.errors import CorruptData
from edge.model import json_path
from edge.model.check import (
    CheckedClearPayload,
    CheckedCreateFieldIndex,
    CheckedCreateVector,
    CheckedDeleteFieldIndex,
    CheckedDeletePayload,
    CheckedDeletePoints,
    CheckedDeleteVector,
    CheckedDeleteVectors,
    CheckedNothing,
    CheckedOperation,
    CheckedOverwritePayload,
    CheckedSetConfig,
    CheckedSetCursor,
    CheckedSetPayload,
    CheckedUpdateVectors,
    CheckedUpsert,
    Target,
)
from edge.model.config import ConfigChange, vector_name
from edge.model.cursor import Cursor
from edge.model.filter import Filter
from edge.model.limits import MAX_DIMENSION
from edge.model.mark import Mark
from edge.model.payload import decode_payload, encode_payload
from edge.model.point import PointBatch, VectorColumn
from edge.model.point_id import IdRows, as_rows
from edge.model.schema import IndexedField
from edge.model.update import UpdateMode
from edge.model.vector_params import EdgeSparseVectorParams, EdgeVectorParams

__all__ = ["OPERATION", "decode", "decode_payload", "encode", "encode_payload"]

OPERATION = 1
"""The kind of log record that holds one operation."""

VERSION = 1
ALIGNMENT = 64
NO_PAYLOAD = 2**32 - 1

Buffer: TypeAlias = bytes | memoryview

_PREFIX = struct.Struct("<HHI")
_U64, _U32, _F32 = np.dtype("<u8"), np.dtype("<u4"), np.dtype("<f4")


class _Column(Struct, frozen=True, array_like=True):
    """One named vector of a batch; `rows` None: every point has it; `dimension` 0: it is sparse."""

    name: str
    dimension: int
    rows: int | None


class _Asked(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is asked of a vector that is created, of the config or of a cursor: one of these."""

    dense: EdgeVectorParams | None = None
    sparse: EdgeSparseVectorParams | None = None
    settings: ConfigChange | None = None
    cursor: Cursor | None = None


# No more than 15 fields: with the 16th, msgspec would write every header in another form.
class _Header(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What the blocks are, and all of the operation that is not in them."""

    kind: int
    ids: int | None = None
    ints: bool = False
    columns: tuple[_Column, ...] = ()
    totals: dict[str, int] = {}  # rows or entries of the columns of which a point has several
    payloads: bool = False
    filter: Filter | None = None
    update_mode: UpdateMode = UpdateMode.Upsert
    names: tuple[str, ...] = ()
    payload: bytes | None = None
    key: str | None = None
    field: IndexedField | None = None
    mark: Mark | None = None
    asked: _Asked | None = None


_encode_header = msgspec.msgpack.Encoder().encode
_decode_header = msgspec.msgpack.Decoder(_Header).decode


class Gist(NamedTuple):
    """The ids that an operation names (uint64[n, 3], which may repeat), whether it deletes these
    points, whether it is about settings (names of vectors, indexes, config), and its mark."""

    ids: IdRows
    deletes: bool
    settings: bool
    mark: Mark | None


NO_IDS: Final = np.empty((0, 3), np.uint64)


def encode(operation: CheckedOperation, mark: Mark | None = None) -> list[Buffer]:
    """The body of the operation's log record, in parts that are to be written one after another.

    `mark` says where the operation's source stands, where it has one.

    Vectors are not copied: the parts look into the operation's own arrays.
    """
    kind = _NUMBERS[type(operation)]
    described, blocks = _ENCODERS[kind](operation)
    header = _encode_header(_Header(kind, mark=mark, **described))
    parts: list[Buffer] = [_PREFIX.pack(VERSION, 0, len(header)) + header]
    size = len(parts[0])
    for block in blocks:
        padding = -size % ALIGNMENT
        parts += [bytes(padding), block] if padding else [block]
        size += padding + len(block)
    return parts


def decode(body: Buffer) -> CheckedOperation:
    """The operation that `encode` was given.

    Raises CorruptData, whose offset counts from the start of the body, when the bytes are not an
    operation of a version that this build knows.
    """
    reader = _Reader(memoryview(body).cast("B"))
    try:
        header = reader.header()
        decoder = _DECODERS.get(header.kind)
        if decoder is None:
            raise CorruptData(f"operation: kind {header.kind} is not known")
        operation = decoder(header, reader)
        reader.finish()
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        # ValueError is also what the structs' own checks and bad UTF-8 raise.
        raise CorruptData(f"operation: {error}", offset=reader.offset) from None
    return operation


def mark_of(body: Buffer) -> Mark | None:
    """The mark that was encoded with an operation, whose body `decode` takes."""
    return _Reader(memoryview(body).cast("B")).header().mark


def gist_of(body: Buffer) -> Gist:
    """What an operation is about, told without looking at more of its body than that."""
    reader = _Reader(memoryview(body).cast("B"))
    header = reader.header()
    ids = NO_IDS if header.ids is None else _decode_ids(header, reader)
    deletes = header.kind == _NUMBERS[CheckedDeletePoints]
    return Gist(ids, deletes, header.kind in _OF_SETTINGS, header.mark)


class _Reader:
    """Takes blocks off a body in order, never past its end; padding has to be zero."""

    def __init__(self, body: memoryview) -> None:
        self.body = body
        self.offset = 0

    def header(self) -> _Header:
        version, zero, length = _PREFIX.unpack(self.take(_PREFIX.size))
        if version != VERSION or zero:
            raise CorruptData(f"operation: form {version}.{zero} is not known to this build")
        return _decode_header(self.take(length))

    def take(self, size: int) -> memoryview:
        """The next `size` bytes."""
        end = self.offset + size
        if size < 0 or end > len(self.body):
            raise CorruptData("operation: ends too early", offset=self.offset)
        taken = self.body[self.offset : end]
        self.offset = end
        return taken

    def align(self) -> None:
        """Pass over the padding in front of a block."""
        if any(self.take(-self.offset % ALIGNMENT)):
            raise CorruptData("operation: padding is not zero", offset=self.offset)

    def array(self, dtype: np.dtype[Any], *shape: int) -> npt.NDArray[Any]:
        """The next block as a read-only array, in place where its memory is aligned."""
        self.align()
        count = 1
        for length in shape:
            count *= length
        found = np.frombuffer(self.take(count * dtype.itemsize), dtype).reshape(shape)
        if not found.flags.aligned:
            found = found.copy()
        found.setflags(write=False)
        return found

    def finish(self) -> None:
        """Refuse bytes after the last block."""
        if self.offset != len(self.body):
            raise CorruptData("operation: bytes after the end", offset=self.offset)


_Described: TypeAlias = dict[str, Any]
_Encoded: TypeAlias = tuple[_Described, list[Buffer]]


def _bytes_of(array: npt.NDArray[Any], dtype: np.dtype[Any]) -> Buffer:
    """The memory of the array itself where it is contiguous and little-endian, else a copy."""
    if array.dtype == dtype and array.flags.c_contiguous and array.size:
        return array.data.cast("B")
    return np.ascontiguousarray(array, dtype).tobytes()


def _encode_ids(ids: IdRows) -> _Encoded:
    ints = not ids[:, 0].any()
    block = _bytes_of(ids[:, 2] if ints else ids, _U64)
    return {"ids": len(ids), "ints": ints}, [block]


def _decode_ids(header: _Header, reader: _Reader) -> IdRows:
    if header.ids is None:
        raise CorruptData("operation: has no ids", offset=reader.offset)
    if not header.ints:
        return as_rows(reader.array(_U64, header.ids, 3).astype(np.uint64, copy=False))
    numbers = reader.array(_U64, header.ids)
    rows = np.zeros((header.ids, 3), np.uint64)
    rows[:, 2] = numbers
    return rows


def _encode_target(target: Target) -> _Encoded:
    return ({"filter": target}, []) if isinstance(target, Filter) else _encode_ids(target)


def _decode_target(header: _Header, reader: _Reader) -> Target:
    return _decode_ids(header, reader) if header.filter is None else header.filter


def _encode_batch(batch: PointBatch) -> _Encoded:
    described, blocks = _encode_ids(batch.ids)
    columns, totals = [], {}
    for name, column in batch.vectors.items():
        rows = None if column.rows is None else len(column.rows)
        columns.append(_described(name, column, rows))
        arrays = (column.rows, column.lengths, column.indices)
        blocks += [_bytes_of(array, _U32) for array in arrays if array is not None]
        blocks.append(_bytes_of(column.data, _F32))
        if column.lengths is not None:
            totals[name] = len(column.data)
    described |= {"columns": tuple(columns), "totals": totals}
    if batch.payloads:
        described["payloads"] = True
        blocks += _encode_payloads(batch.payloads)
    return described, blocks


def _described(name: str, column: VectorColumn, rows: int | None) -> _Column:
    dimension = 0 if column.indices is not None else column.data.shape[1]
    return _Column(name, dimension, rows)


def _encode_payloads(payloads: Sequence[bytes | None]) -> list[Buffer]:
    lengths = [NO_PAYLOAD if blob is None else len(blob) for blob in payloads]
    blobs = [blob for blob in payloads if blob is not None]
    return [_bytes_of(np.array(lengths, np.uint32), _U32), b"".join(blobs)]


def _decode_batch(header: _Header, reader: _Reader) -> PointBatch:
    ids = _decode_ids(header, reader)
    totals = header.totals
    vectors = {
        column.name: _decode_column(column, totals.get(column.name), len(ids), reader)
        for column in header.columns
    }
    if len(vectors) != len(header.columns):
        raise CorruptData("operation: two vectors of one name", offset=reader.offset)
    payloads = _decode_payloads(len(ids), reader) if header.payloads else []
    return PointBatch(ids, vectors, payloads)


def _decode_column(column: _Column, total: int | None, count: int, reader: _Reader) -> VectorColumn:
    sparse = total is not None and column.dimension == 0
    if not sparse and not 1 <= column.dimension <= MAX_DIMENSION:
        raise CorruptData(f"operation: dimension {column.dimension}", offset=reader.offset)
    rows = None if column.rows is None else _decode_rows(column.rows, count, reader)
    points = count if rows is None else len(rows)
    if total is None:
        return VectorColumn(rows, reader.array(_F32, points, column.dimension))
    lengths = reader.array(_U32, points)
    if int(lengths.sum(dtype=np.int64)) != total or (not sparse and not lengths.all()):
        raise CorruptData("operation: lengths do not add up", offset=reader.offset)
    if not sparse:
        return VectorColumn(rows, reader.array(_F32, total, column.dimension), lengths)
    indices = reader.array(_U32, total)
    return VectorColumn(rows, reader.array(_F32, total), lengths, indices)


def _decode_rows(rows: int, count: int, reader: _Reader) -> npt.NDArray[np.uint32]:
    found: npt.NDArray[np.uint32] = reader.array(_U32, rows)
    steps = np.diff(found.astype(np.int64), prepend=-1, append=count)
    if (steps <= 0).any():
        raise CorruptData("operation: rows out of order", offset=reader.offset)
    return found


def _decode_payloads(count: int, reader: _Reader) -> list[bytes | None]:
    lengths = reader.array(_U32, count).tolist()
    sizes = [0 if length == NO_PAYLOAD else length for length in lengths]
    reader.align()
    joined = bytes(reader.take(sum(sizes)))
    ends = pairwise(accumulate(sizes, initial=0))
    return [
        None if length == NO_PAYLOAD else joined[start:end]
        for length, (start, end) in zip(lengths, ends, strict=True)
    ]


def _encode_upsert(operation: CheckedUpsert) -> _Encoded:
    described, blocks = _encode_batch(operation.batch)
    described |= {"filter": operation.condition, "update_mode": operation.update_mode}
    return described, blocks


def _decode_upsert(header: _Header, reader: _Reader) -> CheckedUpsert:
    return CheckedUpsert(_decode_batch(header, reader), header.filter, header.update_mode)


def _encode_update_vectors(operation: CheckedUpdateVectors) -> _Encoded:
    described, blocks = _encode_batch(operation.batch)
    return described | {"filter": operation.condition}, blocks


def _decode_update_vectors(header: _Header, reader: _Reader) -> CheckedUpdateVectors:
    return CheckedUpdateVectors(_decode_batch(header, reader), header.filter)


def _encode_targeted(operation: CheckedDeletePoints | CheckedClearPayload) -> _Encoded:
    return _encode_target(operation.target)


def _decode_delete_points(header: _Header, reader: _Reader) -> CheckedDeletePoints:
    return CheckedDeletePoints(_decode_target(header, reader))


def _decode_clear_payload(header: _Header, reader: _Reader) -> CheckedClearPayload:
    return CheckedClearPayload(_decode_target(header, reader))


def _encode_delete_vectors(operation: CheckedDeleteVectors) -> _Encoded:
    described, blocks = _encode_target(operation.target)
    return described | {"names": operation.vector_names}, blocks


def _decode_delete_vectors(header: _Header, reader: _Reader) -> CheckedDeleteVectors:
    return CheckedDeleteVectors(_decode_target(header, reader), header.names)


def _encode_delete_payload(operation: CheckedDeletePayload) -> _Encoded:
    described, blocks = _encode_target(operation.target)
    return described | {"names": operation.keys}, blocks


def _decode_delete_payload(header: _Header, reader: _Reader) -> CheckedDeletePayload:
    for key in header.names:
        json_path.parse(key)
    return CheckedDeletePayload(_decode_target(header, reader), header.names)


def _encode_change_payload(operation: CheckedSetPayload | CheckedOverwritePayload) -> _Encoded:
    described, blocks = _encode_target(operation.target)
    return described | {"payload": operation.payload, "key": operation.key}, blocks


def _decode_set_payload(header: _Header, reader: _Reader) -> CheckedSetPayload:
    return CheckedSetPayload(*_decode_change_payload(header, reader))


def _decode_overwrite_payload(header: _Header, reader: _Reader) -> CheckedOverwritePayload:
    return CheckedOverwritePayload(*_decode_change_payload(header, reader))


def _decode_change_payload(header: _Header, reader: _Reader) -> tuple[Target, bytes, str | None]:
    if header.payload is None:
        raise CorruptData("operation: has no payload", offset=reader.offset)
    decode_payload(header.payload)
    if header.key is not None:
        json_path.parse(header.key)
    return _decode_target(header, reader), header.payload, header.key


def _encode_create_field_index(operation: CheckedCreateFieldIndex) -> _Encoded:
    return {"key": operation.path, "field": operation.field}, []


def _decode_create_field_index(header: _Header, reader: _Reader) -> CheckedCreateFieldIndex:
    if header.field is None:
        raise CorruptData("operation: has no field", offset=reader.offset)
    return CheckedCreateFieldIndex(_decode_path(header, reader), header.field)


def _encode_nothing(operation: CheckedNothing) -> _Encoded:
    return {}, []


def _decode_nothing(header: _Header, reader: _Reader) -> CheckedNothing:
    return CheckedNothing()


def _encode_delete_field_index(operation: CheckedDeleteFieldIndex) -> _Encoded:
    return {"key": operation.path}, []


def _decode_delete_field_index(header: _Header, reader: _Reader) -> CheckedDeleteFieldIndex:
    return CheckedDeleteFieldIndex(_decode_path(header, reader))


def _decode_path(header: _Header, reader: _Reader) -> str:
    if header.key is None:
        raise CorruptData("operation: has no path", offset=reader.offset)
    return json_path.canonical(header.key)


def _encode_create_vector(operation: CheckedCreateVector) -> _Encoded:
    vector = operation.vector
    is_dense = isinstance(vector, EdgeVectorParams)
    asked = _Asked(dense=vector) if is_dense else _Asked(sparse=vector)  # type: ignore[arg-type]
    return {"key": operation.name, "asked": asked}, []


def _decode_create_vector(header: _Header, reader: _Reader) -> CheckedCreateVector:
    asked = header.asked or _Asked()
    vector = asked.dense or asked.sparse
    if header.key is None or vector is None:
        raise CorruptData("operation: has no vector", offset=reader.offset)
    return CheckedCreateVector(vector_name(header.key), vector)


def _encode_delete_vector(operation: CheckedDeleteVector) -> _Encoded:
    return {"key": operation.name}, []


def _decode_delete_vector(header: _Header, reader: _Reader) -> CheckedDeleteVector:
    if header.key is None:
        raise CorruptData("operation: has no vector", offset=reader.offset)
    return CheckedDeleteVector(vector_name(header.key))


def _encode_set_config(operation: CheckedSetConfig) -> _Encoded:
    return {"asked": _Asked(settings=operation.settings)}, []


def _decode_set_config(header: _Header, reader: _Reader) -> CheckedSetConfig:
    settings = None if header.asked is None else header.asked.settings
    if settings is None:
        raise CorruptData("operation: has no settings", offset=reader.offset)
    return CheckedSetConfig(settings)


def _encode_set_cursor(operation: CheckedSetCursor) -> _Encoded:
    return {"key": operation.name, "asked": _Asked(cursor=operation.cursor)}, []


def _decode_set_cursor(header: _Header, reader: _Reader) -> CheckedSetCursor:
    cursor = None if header.asked is None else header.asked.cursor
    if header.key is None or (cursor is not None and cursor.name != header.key):
        raise CorruptData("operation: has no cursor", offset=reader.offset)
    return CheckedSetCursor(header.key, cursor)


# The numbers are on disk: never change one, never use one again.
_NUMBERS: dict[type[CheckedOperation], int] = {
    CheckedUpsert: 1,
    CheckedUpdateVectors: 2,
    CheckedDeletePoints: 3,
    CheckedDeleteVectors: 4,
    CheckedSetPayload: 5,
    CheckedOverwritePayload: 6,
    CheckedDeletePayload: 7,
    CheckedClearPayload: 8,
    CheckedCreateFieldIndex: 9,
    CheckedDeleteFieldIndex: 10,
    CheckedNothing: 11,
    CheckedCreateVector: 12,
    CheckedDeleteVector: 13,
    CheckedSetConfig: 14,
    CheckedSetCursor: 15,
}

_OF_SETTINGS = {
    _NUMBERS[kind]
    for kind in (
        CheckedCreateFieldIndex,
        CheckedDeleteFieldIndex,
        CheckedCreateVector,
        CheckedDeleteVector,
        CheckedSetConfig,
    )
}

_ENCODERS: dict[int, Callable[[Any], _Encoded]] = {
    1: _encode_upsert,
    2: _encode_update_vectors,
    3: _encode_targeted,
    4: _encode_delete_vectors,
    5: _encode_change_payload,
    6: _encode_change_payload,
    7: _encode_delete_payload,
    8: _encode_targeted,
    9: _encode_create_field_index,
    10: _encode_delete_field_index,
    11: _encode_nothing,
    12: _encode_create_vector,
    13: _encode_delete_vector,
    14: _encode_set_config,
    15: _encode_set_cursor,
}

_DECODERS: dict[int, Callable[[_Header, _Reader], CheckedOperation]] = {
    1: _decode_upsert,
    2: _decode_update_vectors,
    3: _decode_delete_points,
    4: _decode_delete_vectors,
    5: _decode_set_payload,
    6: _decode_overwrite_payload,
    7: _decode_delete_payload,
    8: _decode_clear_payload,
    9: _decode_create_field_index,
    10: _decode_delete_field_index,
    11: _decode_nothing,
    12: _decode_create_vector,
    13: _decode_delete_vector,
    14: _decode_set_config,
    15: _decode_set_cursor,
}
