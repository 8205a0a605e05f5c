"""The vectors of one name in one segment, written as Qdrant's immutable segments hold them.

Invariants
- What is stored goes out as it is, without padding; the datatypes that Qdrant has in a form of its
  own (Turbo8, Turbo16) go out as the float32 numbers that they stand for.
- A row that lacks the vector is marked as deleted in the storage, which is how Qdrant says it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.model.vector_params import EdgeSparseVectorParams, EdgeVectorParams, VectorParams
from edge.qdrant import layout
from edge.qdrant.export_blobs import write_blobs
from edge.qdrant.export_target import Target
from edge.segment.view import SegmentView
from edge.vectors.block import Matrix, Offsets, Ragged
from edge.vectors.column import Absent, Column, VectorKey
from edge.vectors.dense import BuiltDense, GrowingDense
from edge.vectors.form import Form, form_of
from edge.vectors.multi import COUNT, BuiltMulti, GrowingMulti
from edge_kernels.encodings import SCALED8, SCALED16
from edge_kernels.packed_sparse import pack

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from edge.disk.tar_header import Extent

_BYTES_A_SLICE: Final = 1 << 20
_ROWS_A_SLICE: Final = 4096

Lacking: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a segment that are exported, ascending."""

    view: SegmentView
    offsets: Offsets

    def __len__(self) -> int:
        return len(self.offsets)

    def slices(self, row_bytes: int = 1) -> Iterator[Offsets]:
        """The offsets in slices of 4096 rows, and of fewer if a row has so many bytes."""
        step = max(1, min(_ROWS_A_SLICE, _BYTES_A_SLICE // row_bytes))
        for first in range(0, len(self.offsets), step):
            yield self.offsets[first : first + step]

    def lacking(self, key: VectorKey) -> Lacking:
        """bool[rows]: which of them lack the vector."""
        return ~self.view.has_vector_at(self.offsets, key)


def write_vectors(
    target: Target, folder: str, rows: Rows, key: VectorKey, params: VectorParams
) -> None:
    """Write the storage of one vector to `folder`."""
    if isinstance(params, EdgeSparseVectorParams):
        _write_sparse(target, folder, rows, key)
    elif params.multivector_config is None:
        _write_dense(target, folder, rows, key, form_of(params))
    else:
        _write_multi(target, folder, rows, key, form_of(params))


def is_converted(params: EdgeVectorParams) -> bool:
    """Whether the vectors go out as float32 because Qdrant has another form for them."""
    return form_of(params).encoding in (SCALED8, SCALED16)


def _numbers_of(form: Form) -> tuple[np.dtype[Any], Callable[[Matrix], Matrix]]:
    """(type of an element, stored rows to [n, dim] of it)."""
    if form.encoding in (SCALED8, SCALED16):
        return np.dtype("<f4"), form.numbers
    return form.dtype.newbyteorder("<"), lambda matrix: matrix[:, : form.dim]


def _packed(flags: Lacking) -> bytes:
    """Bits in whole words of 64."""
    packed = np.packbits(flags, bitorder="little").tobytes()
    return packed.ljust(-(-len(packed) // 8) * 8, b"\0")


def add_bytes(target: Target, name: str, *pieces: Buffer) -> None:
    """Add a file of these pieces."""
    target.add(name, sum([memoryview(piece).nbytes for piece in pieces]), pieces)


# -- one vector a point


def _write_dense(target: Target, folder: str, rows: Rows, key: VectorKey, form: Form) -> None:
    dtype, numbers = _numbers_of(form)
    column = rows.view.column_of(key)
    size = len(layout.MATRIX_MAGIC) + len(rows) * form.dim * dtype.itemsize
    extents: list[Extent] | None = None
    matrices: Iterable[Buffer] = ()
    if isinstance(column, GrowingDense | BuiltDense):
        matrices = _matrices(column, rows, dtype, numbers)
    else:
        extents = [(0, len(layout.MATRIX_MAGIC))]
    target.add(f"{folder}/{layout.MATRIX}", size, _led(layout.MATRIX_MAGIC, matrices), extents)
    deleted = _packed(rows.lacking(key))
    add_bytes(target, f"{folder}/{layout.DELETED_ROWS}", layout.DELETED_MAGIC, deleted)


def _led(first: bytes, rest: Iterable[Buffer]) -> Iterator[Buffer]:
    yield first
    yield from rest


def _matrices(
    column: GrowingDense | BuiltDense,
    rows: Rows,
    dtype: np.dtype[Any],
    numbers: Callable[[Matrix], Matrix],
) -> Iterator[Buffer]:
    for few in rows.slices(column.form.row_bytes):
        yield np.ascontiguousarray(numbers(column.gather(few)), dtype).data


# -- several vectors a point


def _write_multi(target: Target, folder: str, rows: Rows, key: VectorKey, form: Form) -> None:
    dtype, numbers = _numbers_of(form)
    column = rows.view.column_of(key)
    lacking = rows.lacking(key)
    counts = _counts(column, rows)
    total = int(counts.sum())
    slots = np.zeros(len(rows), layout.MULTI_OFFSET)
    slots["first"] = np.where(lacking, 0, np.cumsum(counts) - counts)
    # A row that lacks them is given the first vector there is: engines read what they then skip.
    slots["count"] = slots["capacity"] = np.where(lacking, 1, counts)
    vectors: Iterable[Buffer] = [np.zeros(form.dim, dtype).data]
    if isinstance(column, GrowingMulti | BuiltMulti) and total:
        vectors = _ragged(column, rows, -(-total // len(rows)), dtype, numbers)
    _write_chunk(
        target, f"{folder}/{layout.OFFSETS}", len(rows), 1, 12, [slots.view(np.uint8).data]
    )
    _write_chunk(
        target, f"{folder}/{layout.VECTORS}", max(1, total), form.dim, dtype.itemsize, vectors
    )
    _write_flags(target, f"{folder}/{layout.DELETED}", lacking)


def _counts(column: Column, rows: Rows) -> NDArray[np.int64]:
    if isinstance(column, GrowingMulti | BuiltMulti):
        for _, descriptors in column.chunks(rows.view.watermark):
            found: NDArray[np.int64] = descriptors[rows.offsets, COUNT]
            return found
    return np.zeros(len(rows), np.int64)


def _ragged(
    column: GrowingMulti | BuiltMulti,
    rows: Rows,
    mean: int,
    dtype: np.dtype[Any],
    numbers: Callable[[Matrix], Matrix],
) -> Iterator[Buffer]:
    """The vectors of the rows, of which one has `mean` on average."""
    for few in rows.slices(column.form.row_bytes * mean):
        block = column.take(few)
        assert isinstance(block, Ragged)
        if len(block.parts[0]):
            yield np.ascontiguousarray(numbers(block.parts[0]), dtype).data


def _write_chunk(
    target: Target, folder: str, count: int, dim: int, item_bytes: int, pieces: Iterable[Buffer]
) -> None:
    """Write rows as one chunk that is full. A row never crosses chunks, nor do the vectors of a
    point: with one of them there is no border."""
    size = count * dim * item_bytes
    config = layout.ChunkConfig(size, count, dim)
    add_bytes(target, f"{folder}/{layout.CONFIG}", msgspec.json.encode(config))
    add_bytes(target, f"{folder}/{layout.STATUS}", np.uint64(count).tobytes())
    target.add(f"{folder}/{layout.chunk_file(0)}", size, pieces)


def _write_flags(target: Target, folder: str, flags: Lacking) -> None:
    add_bytes(target, f"{folder}/{layout.STATUS}", np.array([len(flags), 0], "<u8").tobytes())
    add_bytes(target, f"{folder}/{layout.FLAGS}", _packed(flags))


# -- sparse vectors


def _write_sparse(target: Target, folder: str, rows: Rows, key: VectorKey) -> None:
    column = rows.view.column_of(key)
    lacking = rows.lacking(key)
    slices = _blobs(column, rows, lacking)
    write_blobs(target, f"{folder}/{layout.STORE}", "None", len(rows), slices)
    _write_flags(target, f"{folder}/{layout.DELETED}", lacking)


def _blobs(column: Column, rows: Rows, lacking: Lacking) -> Iterator[list[memoryview | None]]:
    first = 0
    for few in rows.slices():
        without = lacking[first : first + len(few)].tolist()
        first += len(few)
        if isinstance(column, Absent):
            yield [None] * len(few)
            continue
        block = column.take(few)
        assert isinstance(block, Ragged)
        packed, ends = pack(block.starts, *block.parts)
        data, borders = packed.data, ends.tolist()
        yield [
            None if lacks else data[start:end]
            for lacks, start, end in zip(without, borders, borders[1:], strict=False)
        ]
