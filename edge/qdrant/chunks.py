"""Rows of one length in files of so many rows each, and the flags of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.qdrant import layout
from edge.qdrant.layout import ChunkConfig
from edge.qdrant.source import Bytes, Folder, bits_at

Rows = NDArray[np.int64]

_DEFAULT_CHUNK = 32 << 20
_MOST_ROWS = 1 << 32  # a row is a number of 32 bits


class Chunks:
    """Rows of `dim` elements of a type; `count` of them were written."""

    def __init__(self, folder: Folder, dtype: np.dtype[Any], dim: int) -> None:
        self.dtype = dtype
        self.dim = dim
        self.row_bytes = dim * dtype.itemsize
        self._folder = folder
        self._per_chunk = self._rows_per_chunk()
        self._mapped: dict[int, Bytes] = {}
        self.count = min(int(folder.array(layout.STATUS, "<u8", 1)[0]), _MOST_ROWS)

    def _rows_per_chunk(self) -> int:
        if not self._folder.exists(layout.CONFIG):
            return max(1, _DEFAULT_CHUNK // self.row_bytes)
        config = self._folder.json(layout.CONFIG, ChunkConfig)
        if config.dim != self.dim or config.chunk_size_vectors < 1:
            raise self._folder.corrupt(
                layout.CONFIG,
                f"{config.chunk_size_vectors} rows of {config.dim} elements a chunk, "
                f"expected some of {self.dim}",
            )
        return min(config.chunk_size_vectors, _MOST_ROWS)

    def take(self, rows: Rows) -> NDArray[Any]:
        """Return [m, dim]: rows below `count`. CorruptData where a file is too short for one."""
        out = np.empty((len(rows), self.dim), self.dtype)
        owners = rows // self._per_chunk
        for number in np.unique(owners).tolist():
            place = np.flatnonzero(owners == number)
            out[place] = self._chunk(number, rows[place] - number * self._per_chunk)
        return out

    def _chunk(self, number: int, rows: Rows) -> NDArray[Any]:
        name = layout.chunk_file(number)
        if number not in self._mapped:
            self._mapped[number] = self._folder.bytes(name)
        most = int(rows.max()) + 1
        whole = self._folder.part(name, self._mapped[number], self.dtype, most * self.dim)
        found: NDArray[Any] = whole.reshape(most, self.dim)[rows]
        return found


class Flags:
    """A flag for each row, in a folder of its own; rows beyond the last one have none."""

    def __init__(self, folder: Folder) -> None:
        self._bits: Bytes = np.empty(0, np.uint8)
        if not folder.is_there():
            return
        count, other = folder.array(layout.STATUS, "<u8", 2).tolist()
        if other:
            raise folder.unread(layout.STATUS, "the second file of flags")
        data = folder.bytes(layout.FLAGS)
        if count > 8 * data.size:
            raise folder.corrupt(layout.FLAGS, f"fewer than {count} flags", data.size)
        self._bits = data[: -(-count // 8)]

    def at(self, rows: Rows) -> NDArray[np.bool_]:
        """Return the flags of these rows."""
        return bits_at(self._bits, rows)
