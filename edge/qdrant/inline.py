"""Vectors that lie inside the link file of a graph, each at the beginning of its point's links."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.qdrant import layout
from edge.qdrant.source import Bytes, Folder

Rows = NDArray[np.int64]

_NAME = layout.LINKS_WITH_VECTORS
_VERSION = 0xFFFFFFFFFFFFFF02
_HEADER = np.dtype(
    {
        "names": [
            "points", "version", "levels", "link_bytes", "offsets", "base_bits", "delta_bits",
            "chunk_log", "m", "m0", "vector_bytes", "alignment", "link_vector_bytes",
            "link_alignment",
        ],
        "formats": [
            "<u8", "<u8", "<u8", "<u8", "<u8", "u1", "u1", "u1", "<u8", "<u8", "<u8", "u1", "<u8",
            "u1",
        ],
        "offsets": [0, 8, 16, 24, 32, 40, 41, 42, 43, 51, 59, 67, 68, 76],
        "itemsize": 80,
    }
)  # fmt: skip
_MOST_BITS = 56  # of a packed value, so that it and the bits before it fit in a word


class InlineRows:
    """The vectors of all points of a graph: rows of `dim` elements."""

    def __init__(self, folder: Folder, dtype: np.dtype[Any], dim: int) -> None:
        self._folder = folder
        self._data = folder.bytes(_NAME)
        head = folder.part(_NAME, self._data, _HEADER, 1)[0]
        if int(head["version"]) != _VERSION:
            raise folder.unread(_NAME, f"version {int(head['version']):#x} of links")
        self._dtype = dtype
        self._dim = dim
        if int(head["vector_bytes"]) != dim * dtype.itemsize:
            raise folder.corrupt(_NAME, f"vectors of {head['vector_bytes']} bytes", 59)
        self.count = int(head["points"])
        self._links = self._link_area(head)
        self._starts = self._entry_starts(head)

    def _link_area(self, head: Any) -> int:
        """Return where the links begin: after the levels and the new places of all points."""
        alignment = max(1, int(head["alignment"]), int(head["link_alignment"]))
        levels, end = int(head["levels"]), self._data.size
        at = _HEADER.itemsize + 8 * levels + 4 * self.count
        at = -(-at // alignment) * alignment
        if at + int(head["link_bytes"]) > end:
            raise self._folder.corrupt(_NAME, f"{end} bytes, expected more", end)
        return at

    def _entry_starts(self, head: Any) -> Rows:
        """Return where the entry of each point on level 0 begins."""
        packed = self._data[self._links + int(head["link_bytes"]) :]
        starts = unpacked_offsets(
            packed,
            min(self.count, int(head["offsets"])),
            int(head["base_bits"]),
            int(head["delta_bits"]),
            int(head["chunk_log"]),
        )
        if starts is None or len(starts) < self.count:
            raise self._folder.corrupt(_NAME, "no offsets of all points", 32)
        most = int(head["link_bytes"]) - self._dim * self._dtype.itemsize
        if self.count and (int(starts.min()) < 0 or int(starts.max()) > most):
            raise self._folder.corrupt(_NAME, "an offset outside of the links", self._links)
        return starts

    def take(self, rows: Rows) -> NDArray[Any]:
        """Return [m, dim]: the vectors of points below `count`."""
        size = self._dim * self._dtype.itemsize
        places = (self._links + self._starts[rows])[:, None] + np.arange(size)
        return np.ascontiguousarray(self._data[places]).view(self._dtype)


def unpacked_offsets(
    packed: Bytes, count: int, base_bits: int, delta_bits: int, chunk_log: int
) -> Rows | None:
    """Return the first `count` of packed offsets; None if there are not so many.

    2**chunk_log values are one chunk: the first in `base_bits` bits, of the others what they are
    more than it, in `delta_bits` bits each; a chunk begins at a byte.
    """
    if base_bits > _MOST_BITS or delta_bits > _MOST_BITS or chunk_log > 16:
        return None
    size = 1 << chunk_log
    chunk_bytes = (base_bits + (size - 1) * delta_bits + 7) // 8
    if -(-count // size) * chunk_bytes > packed.size:
        return None
    place = np.arange(count)
    chunk, inside = place >> chunk_log, place & (size - 1)
    base = _bits(packed, 8 * chunk * chunk_bytes, base_bits)
    first = 8 * chunk * chunk_bytes + base_bits + (inside - 1) * delta_bits
    delta = _bits(packed, np.where(inside > 0, first, 0), delta_bits)
    return base + np.where(inside > 0, delta, 0)


def _bits(packed: Bytes, first: Rows, width: int) -> Rows:
    """Return the `width` bits from each bit `first` on, the lowest first."""
    padded = np.concatenate([packed, np.zeros(8, np.uint8)])
    at = (first >> 3)[:, None] + np.arange(8)
    words = np.ascontiguousarray(padded[at]).view("<u8")[:, 0]
    found = (words >> (first & 7).astype(np.uint64)) & np.uint64((1 << width) - 1)
    return found.astype(np.int64)
