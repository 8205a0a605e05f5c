"""Qdrant's write-ahead log: the operations that its segments may not hold yet.

A file is: "wal" and a zero, a seed (4 bytes), then entries: uint64 length, so many bytes, zeros up
to a multiple of 8 of the whole entry, and a CRC-32C that goes on from the one before. Files follow
each other: "closed" ones by the number of their first operation, then "open" ones. A file ends
at its first entry that does not match.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from edge.qdrant import cbor, layout
from edge.qdrant.layout import FirstIndex
from edge.qdrant.source import Bytes, Folder
from edge_kernels.crc32c import checksum

_MAGIC = b"wal\x00"
_HEADER = 8
_LENGTH = 8
_CRC = 4


class Entry(NamedTuple):
    """An operation as it was logged, and its number."""

    number: int
    record: Any


def entries(folder: Folder) -> Iterator[Entry]:
    """Yield the operations to be replayed, in order.

    CorruptData where some are missing between two files, or where one that its checksum confirms
    cannot be read.
    """
    wanted = _first_wanted(folder)
    number = 0
    for position, (kind, start, name) in enumerate(_files(folder)):
        if kind == "closed":
            if position and start > max(number, wanted):
                raise folder.corrupt(name, f"operations {number} to {start - 1} are missing")
            number = start
        for at, data in _matching(folder, name):
            if number >= wanted:
                yield Entry(number, _decoded(folder, name, at, data))
            number += 1


def _first_wanted(folder: Folder) -> int:
    if not folder.exists(layout.FIRST_INDEX):
        return 0
    return folder.json(layout.FIRST_INDEX, FirstIndex).ack_index


def _files(folder: Folder) -> list[tuple[str, int, str]]:
    """Return (kind, number, name) of the log's files in the order of their operations."""
    found = [
        (*kind, name) for name in folder.names() if (kind := layout.log_file(name)) is not None
    ]
    return sorted(found)  # "closed" comes before "open"


def _matching(folder: Folder, name: str) -> Iterator[tuple[int, Bytes]]:
    """Yield (place, data) of a file's entries up to the first that does not match."""
    data = folder.bytes(name)
    if data.size < _HEADER or data[:4].tobytes() != _MAGIC:
        if data[:_HEADER].any():
            raise folder.unread(name, "a log of another kind")
        return
    crc, at = int(data[4:8].view("<u4")[0]), _HEADER
    while data.size - at >= _LENGTH + _CRC:
        length = int(data[at : at + _LENGTH].copy().view("<u8")[0])
        covered = -(-(_LENGTH + length + _CRC) // 8) * 8 - _CRC
        if covered + _CRC > data.size - at:
            return
        end = at + covered
        found = checksum(data[at:end], _reversed_bits(crc))
        if found != int.from_bytes(data[end : end + _CRC].tobytes(), "little"):
            return
        yield at, data[at + _LENGTH : at + _LENGTH + length]
        crc, at = found, end + _CRC


def _reversed_bits(number: int) -> int:
    return int(f"{number:032b}"[::-1], 2)


def _decoded(folder: Folder, name: str, at: int, data: Bytes) -> Any:
    try:
        return cbor.decode(data.tobytes())
    except ValueError as error:
        raise folder.corrupt(name, str(error), at) from None
