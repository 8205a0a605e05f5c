"""Values of any length in blocks of pages ("gridstore"): payloads and sparse vectors, by row.

Invariants
- A slot says where a row's value lies; a value begins at a block and may run over into the pages
  after its own. Nothing is read that lies outside of the page files.
- The journal, where there is one, is newer than the slots: what it says of a slot counts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.qdrant import layout
from edge.qdrant.layout import BLOB_SLOT, BlobConfig
from edge.qdrant.source import Bytes, Folder
from edge_kernels import lz4
from edge_kernels.crc32c import checksum

Rows = NDArray[np.int64]

_APPEND_ONLY = ("log_tracker.dat", "compacted_tracker.dat")
_COMPRESSIONS = ("LZ4", "None")
_COUNT = 4  # bytes of the number of slots, and of a value's length before LZ4
_ENTRY = np.dtype([("offset", "<u4"), ("slot", BLOB_SLOT)])
_MOST_PAGE = 1 << 40


class Blobs:
    """The values of one folder."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        for name in _APPEND_ONLY:
            if folder.exists(name):
                raise folder.unread(name, "an append-only storage")
        self._config = self._checked_config()
        self._slots = self._tracked()
        self._changed, self._changes = self._journal()
        self._pages: dict[int, Bytes] = {}

    def _checked_config(self) -> BlobConfig:
        config = self._folder.json(layout.CONFIG, BlobConfig)
        if config.mode != "mutable":
            raise self._folder.unread(layout.CONFIG, f"mode {config.mode!r}")
        if config.compression not in _COMPRESSIONS:
            raise self._folder.unread(layout.CONFIG, f"compression {config.compression!r}")
        if not 1 <= config.block_size_bytes <= config.page_size_bytes <= _MOST_PAGE:
            raise self._folder.corrupt(layout.CONFIG, "no sizes of blocks and pages")
        return config

    def _tracked(self) -> NDArray[Any]:
        data = self._folder.bytes(layout.TRACKER)
        count = int(self._folder.part(layout.TRACKER, data, "<u4", 1)[0])
        return self._folder.part(layout.TRACKER, data, BLOB_SLOT, count, _COUNT)

    def _journal(self) -> tuple[Rows, NDArray[Any]]:
        """Return the rows whose slots the journal changes, ascending, and these slots."""
        found: dict[int, Any] = {}
        if self._folder.exists(layout.JOURNAL):
            for entry in _journal_entries(self._folder.bytes(layout.JOURNAL)):
                found.update(zip(entry["offset"].tolist(), entry["slot"], strict=True))
        rows = sorted(found)
        slots = np.array([found[row] for row in rows], BLOB_SLOT)
        return np.array(rows, np.int64), slots

    def slots(self, rows: Rows) -> NDArray[Any]:
        """Return the slots of these rows; of those that have none slots that are not present."""
        found = np.zeros(len(rows), BLOB_SLOT)
        inside = rows < len(self._slots)
        found[inside] = self._slots[rows[inside]]
        if len(self._changed):
            at = np.minimum(np.searchsorted(self._changed, rows), len(self._changed) - 1)
            newer = self._changed[at] == rows
            found[newer] = self._changes[at[newer]]
        return found

    def present(self, rows: Rows) -> NDArray[np.bool_]:
        """Return of each row whether it has a value."""
        found: NDArray[np.bool_] = self.slots(rows)["present"] == 1
        return found

    def lengths(self, rows: Rows) -> NDArray[np.int64]:
        """Return the stored bytes of each row's value, 0 where there is none."""
        slots = self.slots(rows)
        return np.where(slots["present"] == 1, slots["length"], 0).astype(np.int64)

    def values(self, rows: Rows) -> list[Bytes | None]:
        """Return the values of these rows as they were before compression; None: no value."""
        read = self._unpacked if self._config.compression == "LZ4" else self._stored
        slots: list[tuple[int, int, int, int]] = self.slots(rows).tolist()
        return [
            read(page, block, length) if present == 1 else None
            for present, page, block, length in slots
        ]

    def _stored(self, page: int, block: int, left: int) -> Bytes:
        """Return the bytes of a value, from as many pages as they lie in."""
        config = self._config
        at = block * config.block_size_bytes
        parts = []
        while left > 0:
            size = min(left, config.page_size_bytes - at)
            if size <= 0:
                raise self._folder.corrupt(layout.TRACKER, f"block {block} of a page")
            parts.append(self._part(page, at, size))
            page, at, left = page + 1, 0, left - size
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.uint8), *parts])

    def _part(self, page: int, at: int, size: int) -> Bytes:
        name = layout.page_file(page)
        if page not in self._pages:
            if not self._folder.exists(name):
                raise self._folder.corrupt(layout.TRACKER, f"a value in page {page}, missing")
            self._pages[page] = self._folder.bytes(name)
        return self._folder.part(name, self._pages[page], np.uint8, size, at)

    def _unpacked(self, page: int, block: int, length: int) -> Bytes:
        stored = self._stored(page, block, length)
        try:
            size = int.from_bytes(stored[:_COUNT].tobytes(), "little")
            return lz4.decode(stored[_COUNT:], size)
        except ValueError as error:
            at = block * self._config.block_size_bytes
            raise self._folder.corrupt(layout.page_file(page), str(error), at) from None


def _journal_entries(data: Bytes) -> list[NDArray[Any]]:
    """Return the entries of a journal, up to the first one that is torn."""
    found = []
    at = 0
    while data.size - at >= 8:
        size, crc = data[at : at + 8].view("<u4").tolist()
        payload = data[at + 8 : at + 8 + size]
        if not size or len(payload) < size or size % _ENTRY.itemsize or checksum(payload) != crc:
            break
        found.append(payload.view(_ENTRY))
        at += 8 + size
    return found
