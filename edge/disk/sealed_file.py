"""Sealed files: written once, then never changed, with a checksum for every block of 64 KiB.

Invariants: data starts at byte 0; the foot after it holds every block's checksum, what the data
is, and their lengths; the manifest's FileEntry holds the file's length and the checksum of the
foot and the name. So every byte is covered, and a file in another's place is found out.
"""

from __future__ import annotations

import contextlib
import hashlib
import struct
import zlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

import numpy as np

from edge.disk.manifest import FileEntry
from edge.disk.storage import Storage, Writer
from edge.errors import CorruptData, StorageFault

if TYPE_CHECKING:
    from typing_extensions import Buffer

VERSION: Final = 1
BLOCK: Final = 1 << 16
_AT_ONCE: Final = 16 * BLOCK
_SYNC_EVERY: Final = 32 << 20
_MAGIC: Final = b"EDGESEAL"
_TAIL: Final = struct.Struct("<8sI4sQI")  # magic, version, kind, data bytes, description bytes


def _checksum(name: str, foot: Buffer) -> int:
    return zlib.crc32(foot, zlib.crc32(name.encode() + b"\0"))


class _Sealer:
    """Takes the data of one file, piece by piece."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._checksums: list[int] = []
        self._running = 0
        self._unsynced = 0
        self.length = 0

    def write(self, data: Buffer) -> None:
        """Add all of `data`, a piece of 1 MiB at most at a time: check it, write it."""
        view = memoryview(data).cast("B")
        for start in range(0, view.nbytes, _AT_ONCE):
            piece = view[start : start + _AT_ONCE]
            self._count(piece)
            self._writer.write(piece)
            self._sync_now_and_then(piece.nbytes)

    def _count(self, piece: memoryview) -> None:
        start = 0
        while start < piece.nbytes:
            part = piece[start : start + BLOCK - self.length % BLOCK]
            self._running = zlib.crc32(part, self._running)
            self.length += part.nbytes
            start += part.nbytes
            if self.length % BLOCK == 0:
                self._end_block()

    def _end_block(self) -> None:
        self._checksums.append(self._running)
        self._running = 0

    def _sync_now_and_then(self, written: int) -> None:
        """Never leave much to one sync: the log's own syncs would wait behind it."""
        self._unsynced += written
        if self._unsynced >= _SYNC_EVERY:
            self._writer.sync()
            self._unsynced = 0

    def foot(self, kind: bytes, description: bytes) -> bytes:
        if self.length % BLOCK:
            self._end_block()
        tail = _TAIL.pack(_MAGIC, VERSION, kind, self.length, len(description))
        return np.asarray(self._checksums, "<u4").tobytes() + description + tail


def seal(
    storage: Storage,
    name: str,
    kind: bytes,
    pieces: Iterable[Buffer],
    description: Callable[[int], bytes],
) -> FileEntry:
    """Write a sealed file and sync it; `description(data bytes)` is stored beside the data.

    The folder's entry is not synced here: the manifest does that before it names the file.
    On any error the file is removed. Raises StorageFault, StorageFull.
    """
    writer = storage.create(name)
    try:
        sealer = _Sealer(writer)
        for piece in pieces:
            sealer.write(piece)
        foot = sealer.foot(kind, description(sealer.length))
        writer.write(foot)
        writer.sync()
    except BaseException:
        writer.close()
        # An orphan at worst; the error that brought us here is the one to tell.
        with contextlib.suppress(StorageFault):
            storage.unlink(name)
        raise
    writer.close()
    return FileEntry(name, sealer.length + len(foot), _checksum(name, foot))


class SealedFile:
    """A sealed file open for reading: its foot is checked, its blocks are not yet.

    `length` is the bytes of data, `description` what was stored beside them.
    """

    def __init__(
        self, storage: Storage, name: str, length: int, checksums: list[int], description: bytes
    ) -> None:
        self._storage = storage
        self.name = name
        self.path = f"{storage.path}/{name}"
        self.length = length
        self.description = description
        self._checksums = checksums

    @classmethod
    def open(cls, storage: Storage, entry: FileEntry, kind: bytes) -> SealedFile:
        """The file that `entry` names. Raises CorruptData if it is missing, of another length,
        kind or version, or if its foot is not the one that was sealed; StorageFault."""
        path = f"{storage.path}/{entry.name}"
        if not storage.exists(entry.name):
            raise CorruptData("the file is missing", path)
        size = storage.size(entry.name)
        if size != entry.length:
            raise CorruptData(
                f"the file has {size} bytes, not {entry.length}", path, min(size, entry.length)
            )
        start, described = _tail(storage, entry, kind, path)
        foot = storage.pread(entry.name, start, size - start)
        if _checksum(entry.name, foot) != entry.checksum:
            raise CorruptData("the file's foot is not the one that was sealed", path, start)
        table = len(foot) - _TAIL.size - described
        checksums = np.frombuffer(foot, "<u4", count=table // 4).tolist()
        return cls(storage, entry.name, start, checksums, foot[table : table + described])

    @property
    def blocks(self) -> int:
        """How many blocks the data has."""
        return len(self._checksums)

    def check(self, data: memoryview, block: int) -> None:
        """Check `data`, which holds whole blocks from number `block` on. Raises CorruptData."""
        for start in range(0, data.nbytes, BLOCK):
            if zlib.crc32(data[start : start + BLOCK]) != self._checksums[block]:
                raise CorruptData("a block's checksum is wrong", self.path, block * BLOCK)
            block += 1

    def read_into(self, buffer: memoryview) -> None:
        """All data into `buffer` (`length` writable bytes), every block checked on the way.

        Raises CorruptData, StorageFault."""
        for start in range(0, self.length, _AT_ONCE):
            piece = buffer[start : min(start + _AT_ONCE, self.length)]
            if self._storage.read_into(self.name, start, piece) != piece.nbytes:
                raise CorruptData("the file ends too early", self.path, start)
            self.check(piece, start // BLOCK)

    def map(self) -> memoryview:
        """The data as a read-only mapping, not checked."""
        return self._storage.map(self.name)[: self.length]


def identity(storage: Storage, entry: FileEntry) -> str:
    """What tells the file's contents from any other's, whatever its name: the blake2b, 32 hex
    digits, of its foot, which holds the checksums of all blocks. Raises CorruptData, StorageFault.
    """
    return hashlib.blake2b(read_foot(storage, entry, entry.name), digest_size=16).hexdigest()


def named(entry: FileEntry, foot: bytes, name: str) -> FileEntry:
    """The entry of the same file, whose foot this is, under another name."""
    return FileEntry(name, entry.length, _checksum(name, foot))


def read_foot(storage: Storage, entry: FileEntry, at: str) -> bytes:
    """The foot of the file of `entry`, which may lie at another place. Raises CorruptData where
    it is not the one that was sealed, or the file is not as long; StorageFault."""
    path = f"{storage.path}/{at}"
    if storage.size(at) != entry.length:
        raise CorruptData(f"the file has {storage.size(at)} bytes, not {entry.length}", path)
    tail = storage.pread(at, max(0, entry.length - _TAIL.size), _TAIL.size)
    length = _TAIL.unpack(tail)[3] if len(tail) == _TAIL.size else entry.length
    foot = storage.pread(at, length, entry.length - length) if length < entry.length else b""
    if _checksum(entry.name, foot) != entry.checksum:
        raise CorruptData("the file's foot is not the one that was sealed", path, length)
    return foot


def _tail(storage: Storage, entry: FileEntry, kind: bytes, path: str) -> tuple[int, int]:
    """(bytes of data, bytes of description), held against the file's length."""
    at = entry.length - _TAIL.size
    data = storage.pread(entry.name, at, _TAIL.size) if at >= 0 else b""
    if len(data) != _TAIL.size:
        raise CorruptData("the file is too short", path)
    magic, version, its_kind, length, described = _TAIL.unpack(data)
    if magic != _MAGIC:
        raise CorruptData("not a sealed file", path, at)
    if version != VERSION:
        raise CorruptData(
            f"sealed file format version {version}; this program reads version {VERSION}", path, at
        )
    if its_kind != kind or length + 4 * -(-length // BLOCK) + described != at:
        raise CorruptData(f"not a sealed file of kind {kind.decode()}", path, at)
    return length, described
