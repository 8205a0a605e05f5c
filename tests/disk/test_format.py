"""The bytes on disk are those that FORMAT.md says: built here by hand, from its tables."""

from __future__ import annotations

import struct
import zlib

import msgspec
import numpy as np

from edge.disk import files, manifest
from edge.disk.array_file import write_array
from edge.disk.blob_file import write_blobs
from edge.disk.manifest import FileEntry, Manifest, SegmentEntry
from edge.disk.wal import Wal
from tests.disk.simulated import SimulatedStorage

SHARD = "00112233445566778899aabbccddeeff"
NUMBER = bytes.fromhex(SHARD)


def u32(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def u64(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}Q", *values)


def closed(data: bytes) -> bytes:
    return data + u32(zlib.crc32(data))


def log_header(number: int, first: int, previous: int) -> bytes:
    return closed(b"EDGEWAL\0" + u32(1) + u64(number, first) + u32(previous) + NUMBER)


def record(seed: int, sequence: int, synced: int, kind: int, body: bytes, previous: int) -> bytes:
    fields = u64(sequence, synced) + u32(len(body), kind, zlib.crc32(body), previous)
    return b"\xabREC" + u32(zlib.crc32(fields, seed)) + fields + body


def checksum_at(data: bytes, at: int) -> int:
    return struct.unpack_from("<I", data, at)[0]


def test_log_files_and_the_note() -> None:
    storage = SimulatedStorage()
    wal = Wal.open(storage, shard=SHARD)
    wal.append(5, [b"one"])
    wal.sync()
    wal.append(6, [b"", b"tw", b"o"])
    wal.rotate()
    wal.append(7, [b""])

    first = log_header(1, 1, 0)
    seed = checksum_at(first, 48)
    one = record(seed, 1, 0, 5, b"one", seed)
    two = record(seed, 2, 1, 6, b"two", checksum_at(one, 4))
    second = log_header(2, 3, checksum_at(two, 4))
    seed = checksum_at(second, 48)
    three = record(seed, 3, 2, 7, b"", seed)
    assert storage.image() == {
        "wal": None,
        "wal/00000001.log": first + one + two,
        "wal/00000002.log": second + three,
        "wal/synced": closed(b"EDGEMRK1" + NUMBER + u64(2, 2)),
    }


def test_a_record_with_the_wrong_number_is_not_the_next() -> None:
    """Right in all else, its place in the chain included."""
    first = log_header(1, 1, 0)
    seed = checksum_at(first, 48)
    one = record(seed, 1, 0, 5, b"one", seed)
    wrong = record(seed, 3, 0, 5, b"three", checksum_at(one, 4))
    storage = SimulatedStorage({"wal": None, "wal/00000001.log": first + one + wrong})
    wal = Wal.open(storage, shard=SHARD, create=False)
    assert [record.sequence for record in wal.replay()] == [1]
    assert wal.torn_bytes == len(wrong)


def sealed(data: bytes, kind: bytes, description: bytes) -> tuple[bytes, bytes]:
    """(the file, its foot)"""
    blocks = [data[at : at + 65_536] for at in range(0, len(data), 65_536)]
    table = u32(*map(zlib.crc32, blocks))
    tail = b"EDGESEAL" + u32(1) + kind + u64(len(data)) + u32(len(description))
    foot = table + description + tail
    return data + foot, foot


def entry_of(name: str, file: bytes, foot: bytes) -> FileEntry:
    return FileEntry(name, len(file), zlib.crc32(name.encode() + b"\0" + foot))


def test_an_array() -> None:
    storage = SimulatedStorage()
    array = np.arange(3 * 7000, dtype="<f4").reshape(3, 7000)
    entry = write_array(storage, "array", array, "<f4", array.shape)
    file, foot = sealed(array.tobytes(), b"ARR\0", b"<f4\0" + u32(2) + u64(3, 7000))
    assert storage.read("array") == file
    assert entry == entry_of("array", file, foot)


def test_blobs() -> None:
    storage = SimulatedStorage()
    entry = write_blobs(storage, "blobs", [b"abc", b"", b"defghij"])
    data = b"abcdefghij" + bytes(6) + u64(0, 3, 3, 10)
    file, foot = sealed(data, b"BLOB", u64(3, 10))
    assert storage.read("blobs") == file
    assert entry == entry_of("blobs", file, foot)


def test_the_manifest() -> None:
    name = files.segment_file(1, "ids")
    segment = SegmentEntry(1, 2, {"ids": FileEntry(name, 3, 4)}, {"key": [1]})
    body = {
        "generation": 5,
        "shard": SHARD,
        "sequence": 6,
        "durable": 7,
        "next_segment": 8,
        "config": b"any",
        "segments": [
            {
                "id": 1,
                "rows": 2,
                "files": {"ids": {"name": "segments/00000001/ids", "length": 3, "checksum": 4}},
                "meta": {"key": [1]},
            }
        ],
    }
    packed = msgspec.msgpack.encode(body)
    head = b"EDGEMANI" + u32(1, len(packed))
    data = head + u32(zlib.crc32(head + packed)) + packed
    wanted = Manifest(5, SHARD, 6, 7, 8, b"any", (segment,))
    assert manifest.decode(data) == wanted
    assert manifest.encode(wanted) == data
