"""Byte strings by number in a sealed file: payloads of a built segment.

Invariants: the offsets are checked when the file is opened; a blob's blocks are checked before
the first byte of them is given out; nothing is given out unchecked.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edge.disk.array_file import aligned
from edge.disk.manifest import FileEntry
from edge.disk.sealed_file import BLOCK, SealedFile, seal
from edge.disk.storage import Storage
from edge.errors import CorruptData

_KIND: Final = b"BLOB"
_DESCRIPTION: Final = struct.Struct("<QQ")  # blobs, bytes in them
_AT_ONCE: Final = 1 << 18


def write_blobs(storage: Storage, name: str, blobs: Iterable[bytes | memoryview]) -> FileEntry:
    """Write the blobs, in order, to the new file `name`, and sync it.

    Raises StorageFault, StorageFull; then no file is left.
    """
    ends: list[npt.NDArray[np.uint64]] = [np.zeros(1, "<u8")]

    def pieces() -> Iterator[bytes]:
        total = 0
        for group in _groups(blobs):
            lengths = np.fromiter(map(len, group), "<u8", len(group))
            ends.append(total + np.cumsum(lengths, dtype="<u8"))
            total = int(ends[-1][-1])
            yield b"".join(group)
        yield bytes(-total % 8)
        for part in ends:
            yield part.tobytes()

    def described(length: int) -> bytes:
        return _DESCRIPTION.pack(sum(part.size for part in ends) - 1, int(ends[-1][-1]))

    return seal(storage, name, _KIND, pieces(), described)


def _groups(blobs: Iterable[bytes | memoryview]) -> Iterator[list[bytes | memoryview]]:
    """The blobs in lists of about 256 KiB, so that they are written in few calls."""
    group: list[bytes | memoryview] = []
    size = 0
    for blob in blobs:
        group.append(blob)
        size += len(blob) + 16
        if size >= _AT_ONCE:
            yield group
            group, size = [], 0
    if group:
        yield group


class BlobFile:
    """The blobs of one file, by number. Threads may read it side by side."""

    def __init__(
        self, file: SealedFile, data: memoryview, offsets: npt.NDArray[Any], checked: bytearray
    ) -> None:
        self._file = file
        self._data = data
        self._offsets = offsets
        self._checked = checked

    @classmethod
    def open(cls, storage: Storage, entry: FileEntry, *, resident: bool = False) -> BlobFile:
        """The file that `entry` names, its offsets checked.

        `resident`: read and checked whole, into anonymous memory; otherwise mapped, and each
        block of 64 KiB checked when it is first touched. Raises CorruptData, StorageFault.
        """
        file = SealedFile.open(storage, entry, _KIND)
        data = _resident(file) if resident else file.map()
        checked = bytearray(b"\1" * file.blocks) if resident else bytearray(file.blocks)
        start, count = _described(file)
        blobs = cls(file, data, np.empty(0, "<u8"), checked)
        blobs._check(start, file.length)
        blobs._offsets = np.frombuffer(data, "<u8", count + 1, start)
        blobs._hold_offsets()
        return blobs

    def _hold_offsets(self) -> None:
        _, total = _DESCRIPTION.unpack(self._file.description)
        offsets = self._offsets
        if offsets[0] != 0 or offsets[-1] != total or (offsets[1:] < offsets[:-1]).any():
            raise CorruptData("the offsets of the blobs do not grow", self._file.path)

    def __len__(self) -> int:
        return int(self._offsets.size) - 1

    def get(self, index: int) -> memoryview:
        """Blob number `index` (0 to len - 1), read-only; IndexError beyond.

        Raises CorruptData if a block that it lies in is damaged.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        start, end = self._offsets[index : index + 2].tolist()
        self._check(start, end)
        return self._data[start:end]

    def many(self, indices: Sequence[int]) -> list[memoryview]:
        """The blobs with these numbers, in this order; see `get`."""
        places = np.array(indices, np.int64)
        if len(places) and not (places.min() >= 0 and places.max() < len(self)):
            raise IndexError(indices)
        starts, ends = self._offsets[places].tolist(), self._offsets[places + 1].tolist()
        checked, data = self._checked, self._data
        found = []
        for start, end in zip(starts, ends, strict=True):
            # one block that was checked before is what there is nearly always
            if start // BLOCK != (end - 1) // BLOCK or not checked[start // BLOCK]:
                self._check(start, end)
            found.append(data[start:end])
        return found

    def check(self) -> None:
        """Check every block now. Raises CorruptData."""
        self._check(0, self._file.length)

    def _check(self, start: int, end: int) -> None:
        for block in range(start // BLOCK, -(-end // BLOCK)):
            if not self._checked[block]:
                self._file.check(self._data[block * BLOCK : (block + 1) * BLOCK], block)
                self._checked[block] = 1


def _resident(file: SealedFile) -> memoryview:
    data = aligned(file.length).data
    file.read_into(data)
    return data.toreadonly()


def _described(file: SealedFile) -> tuple[int, int]:
    """(where the offsets start, how many blobs), held against the bytes of data."""
    if len(file.description) == _DESCRIPTION.size:
        count, total = _DESCRIPTION.unpack(file.description)
        start = int(total) + -total % 8
        if start + 8 * (count + 1) == file.length:
            return start, int(count)
    raise CorruptData("the file does not describe its blobs", file.path, file.length)
