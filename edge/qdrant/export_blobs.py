"""Values by row, written as Qdrant stores payloads and sparse vectors: blocks in pages.

Invariants
- Values are written in the order of the rows, one behind the other, so that what is used is one
  run of blocks; memory holds one page and 16 bytes a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.disk.tar_file import extents_of
from edge.qdrant import layout
from edge.qdrant.export_target import Target

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from edge.disk.tar_header import Extent

PAGE_BYTES: Final = 4 << 20
BLOCK_BYTES: Final = 128
REGION_BLOCKS: Final = 8192
"""Free space is noted by regions; a page is made of whole ones."""

Blobs = Sequence[bytes | memoryview | None]


def write_blobs(
    target: Target, folder: str, compression: str, count: int, slices: Iterable[Blobs]
) -> None:
    """Write the values of `count` rows, which come in slices (None: the row has none), to
    `folder`."""
    pages = _Pages(target, folder)
    slots = np.zeros(count, layout.BLOB_SLOT)
    row = 0
    for blobs in slices:
        pages.write(blobs, slots[row : row + len(blobs)])
        row += len(blobs)
    pages.finish()
    config = layout.BlobConfig(PAGE_BYTES, BLOCK_BYTES, REGION_BLOCKS, compression)
    tracker: list[Buffer] = [np.uint32(count).tobytes(), slots.view(np.uint8).data]
    used = _used(pages.count, pages.blocks)
    gaps = _gaps(pages.count, pages.blocks)
    _add(target, f"{folder}/{layout.CONFIG}", [msgspec.json.encode(config)])
    _add(target, f"{folder}/{layout.TRACKER}", tracker)
    _add(target, f"{folder}/{layout.BITMASK}", [used.data])
    _add(target, f"{folder}/{layout.GAPS}", [gaps.data])


def _add(target: Target, name: str, pieces: Sequence[Buffer]) -> None:
    target.add(name, sum([memoryview(piece).nbytes for piece in pieces]), pieces)


class _Pages:
    """The pages, each written when it is full."""

    def __init__(self, target: Target, folder: str) -> None:
        self._target = target
        self._folder = folder
        self._page = np.zeros(PAGE_BYTES, np.uint8)
        self._filled = 0
        self.count = 0
        self.blocks = 0

    def write(self, blobs: Blobs, slots: NDArray[np.void]) -> None:
        """Append the values, and note in `slots` where each of them is."""
        there = np.array([blob is not None for blob in blobs], bool)
        given = [blob for blob in blobs if blob is not None]
        lengths = np.array([len(blob) for blob in given], np.int64)
        blocks = -(-lengths // BLOCK_BYTES)
        firsts = self.blocks + np.cumsum(blocks) - blocks
        a_page = PAGE_BYTES // BLOCK_BYTES
        slots["present"] = there
        slots["page"][there] = firsts // a_page
        slots["block"][there] = firsts % a_page
        slots["length"][there] = lengths
        self.blocks += int(blocks.sum())
        for blob, size in zip(given, (blocks * BLOCK_BYTES).tolist(), strict=True):
            self._append(blob, size)

    def _append(self, blob: bytes | memoryview, size: int) -> None:
        """Append one value and zeros up to `size` bytes."""
        data = np.frombuffer(blob, np.uint8)
        if self._filled + size <= PAGE_BYTES:
            self._page[self._filled : self._filled + len(data)] = data
            self._filled += size
            return
        rest = np.zeros(size, np.uint8)
        rest[: len(data)] = data
        while len(rest):
            taken = rest[: PAGE_BYTES - self._filled]
            self._page[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            rest = rest[len(taken) :]
            if self._filled == PAGE_BYTES:
                self._flush()

    def _flush(self) -> None:
        name = f"{self._folder}/{layout.page_file(self.count)}"
        extents: list[Extent] = extents_of([self._page.data])
        pieces = [self._page[place : place + length].data for place, length in extents]
        self._target.add(name, PAGE_BYTES, pieces, extents)
        self._page[:] = 0
        self._filled = 0
        self.count += 1

    def finish(self) -> None:
        """Write the page that is not full yet; there is one page at least."""
        if self._filled or not self.count:
            self._flush()


def _used(pages: int, blocks: int) -> NDArray[np.uint8]:
    """One bit a block of all pages: the first `blocks` of them are in use."""
    found = np.zeros(pages * PAGE_BYTES // BLOCK_BYTES, bool)
    found[:blocks] = True
    return np.packbits(found, bitorder="little")


def _gaps(pages: int, blocks: int) -> NDArray[np.uint16]:
    """uint16[regions, 3]: the largest run of free blocks, the free ones it begins with, and those
    it ends with."""
    regions = pages * PAGE_BYTES // BLOCK_BYTES // REGION_BLOCKS
    used = np.clip(blocks - REGION_BLOCKS * np.arange(regions), 0, REGION_BLOCKS)
    free = REGION_BLOCKS - used
    return np.stack([free, np.where(used == 0, free, 0), free], axis=1).astype("<u2")
