"""One file of the log: its header, and its records in order, each checked before it is given.

Invariant: what a reader of a file was given is a prefix of its good records; `Place` tells where
and how they ended, and reading goes on from there. FORMAT.md has the bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from edge.disk.storage import Storage
from edge.errors import StorageFault

VERSION: Final = 1
LARGEST_BODY: Final = 1 << 30
WINDOW: Final = 1 << 20

FILE_MAGIC: Final = b"EDGEWAL\0"
FILE: Final = struct.Struct("<8sIQQI16s")  # magic, version, number, first, previous, shard
CHECKSUM: Final = struct.Struct("<I")
FILE_HEADER: Final = FILE.size + CHECKSUM.size

RECORD_MAGIC: Final = b"\xabREC"
# magic, checksum of what follows, sequence, synced, length, kind, body checksum, previous checksum
RECORD: Final = struct.Struct("<4sIQQIIII")
FIELDS: Final = struct.Struct("<QQIIII")
PREFIX: Final = struct.Struct("<4sI")
RECORD_HEADER: Final = RECORD.size


class Record(NamedTuple):
    """One logged operation; `body` is a read-only view of the bytes read from the file."""

    sequence: int
    kind: int
    body: memoryview


class LogFile:
    """One log file: what its header says, and its length."""

    __slots__ = ("checksum", "first", "name", "number", "previous", "shard", "size")

    def __init__(
        self, name: str, number: int, first: int, previous: int, shard: bytes, size: int
    ) -> None:
        self.name = name
        self.number = number
        self.first = first
        self.previous = previous
        self.shard = shard
        self.size = size
        self.checksum = zlib.crc32(self._fields())

    def _fields(self) -> bytes:
        return FILE.pack(FILE_MAGIC, VERSION, self.number, self.first, self.previous, self.shard)

    @property
    def follows(self) -> tuple[int, int]:
        """Sequence and checksum of the record before the first one."""
        return self.first - 1, self.previous

    def cut(self, size: int) -> LogFile:
        """The file as if it ended there."""
        return LogFile(self.name, self.number, self.first, self.previous, self.shard, size)

    def header(self) -> bytes:
        """The bytes that the file begins with."""
        return self._fields() + CHECKSUM.pack(self.checksum)


class Place:
    """How far a reader of a log file came: `offset` is the end of the last good record, `sequence`
    and `checksum` are that record's; `proven` is the end of the last record known to be synced."""

    __slots__ = ("checksum", "offset", "proven", "sequence", "synced")

    def __init__(self, log: LogFile, synced: int) -> None:
        self.offset = FILE_HEADER
        self.sequence = log.first - 1
        self.checksum = log.checksum
        self.synced = synced
        self.proven = FILE_HEADER


def is_whole(data: bytes) -> bool:
    """True if the last four bytes are the checksum of the others."""
    return len(data) > CHECKSUM.size and CHECKSUM.pack(zlib.crc32(data[:-4])) == data[-4:]


def read_records(storage: Storage, log: LogFile, place: Place) -> Iterator[Record]:
    """The good records of a file from `place` on, which tells afterwards where and how they ended.

    One loop on local names: a restart waits for it, record by record.
    """
    offset, size, seed = place.offset, log.size, log.checksum
    sequence, chain, known, synced = place.sequence, place.checksum, place.synced, place.synced
    crc32, unpack, head = zlib.crc32, RECORD.unpack_from, RECORD_HEADER
    proven, length, good = place.proven, 0, True
    while good and offset + head <= size:
        window = _window(storage, log, offset, min(max(WINDOW, head + length), size - offset))
        at, stop = 0, len(window)
        while at + head <= stop:
            magic, checksum, number, said, length, kind, body_checksum, previous = unpack(
                window, at
            )
            end = at + head + length
            good = (
                magic == RECORD_MAGIC
                and number == sequence + 1
                and previous == chain
                and crc32(window[at + 8 : at + head], seed) == checksum
                and offset + end <= size
            )
            if not good or end > stop:
                break
            body = window[at + head : end]
            good = crc32(body) == body_checksum
            if not good:
                break
            at, length, sequence, chain = end, 0, number, checksum
            if said > synced:
                synced = said
            if number <= known:
                proven = offset + at
            yield Record(number, kind, body)
        offset += at
    place.offset, place.sequence, place.checksum = offset, sequence, chain
    place.synced, place.proven = synced, proven


def _window(storage: Storage, log: LogFile, offset: int, length: int) -> memoryview:
    """`length` bytes of the file in memory of their own, read-only: a mapping would turn a read
    error of the medium into a signal."""
    buffer = np.empty(length, np.uint8).data
    if storage.read_into(log.name, offset, buffer) != length:
        raise StorageFault("the log file shrank while it was read", f"{storage.path}/{log.name}")
    return buffer.toreadonly()


def read_headers(storage: Storage, log: LogFile, offset: int) -> Iterator[tuple[int, int]]:
    """(sequence, synced) of every whole record header found from `offset` on, at any byte.

    The checksum is seeded with the file's own, so that bytes of another log inside a body do not
    count. A header proves itself; its body need not be whole.
    """
    while offset + RECORD_HEADER <= log.size:
        window = storage.pread(log.name, offset, WINDOW)
        at = window.find(RECORD_MAGIC)
        while 0 <= at <= len(window) - RECORD_HEADER:
            _, checksum, sequence, synced, *_ = RECORD.unpack_from(window, at)
            if zlib.crc32(window[at + 8 : at + RECORD_HEADER], log.checksum) == checksum:
                yield sequence, synced
            at = window.find(RECORD_MAGIC, at + 1)
        offset += max(len(window) - RECORD_HEADER + 1, 1)
