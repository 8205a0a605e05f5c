"""Dense vectors and multivectors of a segment, as our columns store them.

Invariant: the bits of a vector are copied, never made anew: a cosine vector is stored normalised by
both sides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge.qdrant import layout
from edge.qdrant.chunks import Chunks, Flags
from edge.qdrant.inline import InlineRows
from edge.qdrant.layout import DenseData
from edge.qdrant.source import Bytes, Folder, bits_at
from edge.vectors.block import Matrix, Ragged, Stored, starts_of
from edge.vectors.form import Form

Rows = NDArray[np.int64]


class Vectors(Protocol):
    """The vectors of one name in a segment, by row."""

    def present(self, rows: Rows) -> NDArray[np.bool_]:
        """Return of each row whether it has the vector."""

    def weights(self, rows: Rows) -> NDArray[np.int64]:
        """Return the bytes that reading each of these rows will take."""

    def take(self, rows: Rows) -> Stored:
        """Return the vectors of rows that are `present`, in our stored form."""


class RawRows(Protocol):
    """Rows of `dim` elements as they lie in a file."""

    count: int

    def take(self, rows: Rows) -> NDArray[Any]:
        """Return [m, dim]: rows below `count`."""


class Dense:
    """One vector a row."""

    def __init__(
        self, form: Form, raw: RawRows, lacks: Callable[[Rows], NDArray[np.bool_]], what: Folder
    ) -> None:
        self._form = form
        self._raw = raw
        self._lacks = lacks
        self._what = what

    def present(self, rows: Rows) -> NDArray[np.bool_]:
        """See Vectors."""
        if not self._raw.count:  # of a name that came after these rows
            return np.zeros(len(rows), bool)
        found = ~self._lacks(rows)
        _check_rows(self._what, rows[found], self._raw.count)
        return found

    def weights(self, rows: Rows) -> NDArray[np.int64]:
        """See Vectors."""
        return np.full(len(rows), self._form.row_bytes, np.int64)

    def take(self, rows: Rows) -> Stored:
        """See Vectors."""
        return _padded(self._form, self._raw.take(rows))


class Multi:
    """Several vectors a row; `offsets` says where they lie."""

    def __init__(self, form: Form, folder: Folder) -> None:
        self._form = form
        self._folder = folder
        self._offsets = Chunks(folder.inside(layout.OFFSETS), layout.MULTI_OFFSET, 1)
        self._raw = Chunks(folder.inside(layout.VECTORS), form.dtype, form.dim)
        self._lacks = Flags(folder.inside(layout.DELETED)).at

    def present(self, rows: Rows) -> NDArray[np.bool_]:
        """See Vectors."""
        if not self._offsets.count:
            return np.zeros(len(rows), bool)
        found = ~self._lacks(rows)
        _check_rows(self._folder, rows[found], self._offsets.count)
        return found

    def weights(self, rows: Rows) -> NDArray[np.int64]:
        """See Vectors."""
        found = np.zeros(len(rows), np.int64)
        has = self.present(rows)
        found[has] = self._places(rows[has])[1] * self._form.row_bytes
        return found

    def _places(self, rows: Rows) -> tuple[Rows, Rows]:
        """Return the first vector of each row, and how many."""
        found = self._offsets.take(rows)[:, 0]
        first, count = found["first"].astype(np.int64), found["count"].astype(np.int64)
        wrong = np.flatnonzero((count < 1) | (first + count > self._raw.count))
        if len(wrong):
            raise self._folder.corrupt(layout.OFFSETS, f"row {rows[wrong[0]]} has no such vectors")
        return first, count

    def take(self, rows: Rows) -> Stored:
        """See Vectors."""
        first, count = self._places(rows)
        starts = starts_of(count)
        entries = np.repeat(first - starts[:-1], count) + np.arange(starts[-1])
        return Ragged(starts, (_padded(self._form, self._raw.take(entries)),))


class MatrixRows:
    """All rows in one file."""

    def __init__(self, folder: Folder, dtype: np.dtype[Any], dim: int) -> None:
        data = folder.bytes(layout.MATRIX)
        size, row_bytes = data.size - len(layout.MATRIX_MAGIC), dim * dtype.itemsize
        if data[: len(layout.MATRIX_MAGIC)].tobytes() != layout.MATRIX_MAGIC or size % row_bytes:
            raise folder.corrupt(layout.MATRIX, f"no rows of {row_bytes} bytes")
        self.count = size // row_bytes
        rows = folder.part(
            layout.MATRIX, data, dtype, self.count * dim, offset=len(layout.MATRIX_MAGIC)
        )
        self._rows = rows.reshape(self.count, dim)

    def take(self, rows: Rows) -> NDArray[Any]:
        """See RawRows."""
        found: NDArray[Any] = self._rows[rows]
        return found


def open_dense(data: DenseData, form: Form, folder: Folder, index: Folder) -> Vectors | None:
    """Return the vectors of a storage folder; None where no point of the segment has one.

    `index` is the folder of the vector's graph. ValidationError for a storage that is not read.
    """
    if data.storage_type not in _STORAGES:
        raise folder.unread(layout.SEGMENT_STATE, f"storage type {data.storage_type!r}")
    if data.storage_type == layout.EMPTY or not folder.is_there():
        return None
    if form.many:
        if data.storage_type == layout.GRAPH_INLINE:
            raise folder.unread(layout.SEGMENT_STATE, "multivectors in a graph")
        return Multi(form, folder)
    return _STORAGES[data.storage_type](form, folder, index)


def _chunked(form: Form, folder: Folder, index: Folder) -> Dense:
    raw = Chunks(folder.inside(layout.VECTORS), form.dtype, form.dim)
    return Dense(form, raw, Flags(folder.inside(layout.DELETED)).at, folder)


def _single(form: Form, folder: Folder, index: Folder) -> Dense:
    raw = MatrixRows(folder, form.dtype, form.dim)
    bits = _deleted_rows(folder, raw.count)
    return Dense(form, raw, lambda rows: bits_at(bits, rows), folder)


def _inline(form: Form, folder: Folder, index: Folder) -> Dense:
    raw = InlineRows(index, form.dtype, form.dim)
    return Dense(form, raw, Flags(folder.inside(layout.DELETED)).at, folder)


def _empty(form: Form, folder: Folder, index: Folder) -> None:
    return None


_STORAGES: dict[str, Callable[[Form, Folder, Folder], Dense | None]] = {
    **dict.fromkeys(sorted(layout.CHUNKED), _chunked),
    **dict.fromkeys(sorted(layout.SINGLE), _single),
    layout.GRAPH_INLINE: _inline,
    layout.EMPTY: _empty,
}


def _deleted_rows(folder: Folder, count: int) -> Bytes:
    name, magic = layout.DELETED_ROWS, layout.DELETED_MAGIC
    if not folder.exists(name):
        return np.empty(0, np.uint8)
    data = folder.bytes(name)
    if data[: len(magic)].tobytes() != magic or 8 * (data.size - len(magic)) < count:
        raise folder.corrupt(name, f"no flags of {count} rows")
    return data[len(magic) :]


def _check_rows(folder: Folder, rows: Rows, count: int) -> None:
    most = int(rows.max(initial=-1))
    if most >= count:
        raise folder.corrupt("", f"row {most} of {count} rows")


def _padded(form: Form, raw: NDArray[Any]) -> Matrix:
    out = np.zeros((len(raw), form.width), form.dtype)
    out[:, : form.dim] = raw
    return out
