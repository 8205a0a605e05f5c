"""Storages made by hand: what the real package would need millions of points for."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import CorruptData, StorageFault, ValidationError
from edge.model.point_id import decode_ids
from edge.qdrant import layout
from edge.qdrant.blobs import Blobs
from edge.qdrant.chunks import Chunks, Flags
from edge.qdrant.ids import live_points
from edge.qdrant.inline import unpacked_offsets
from edge.qdrant.source import Folder, bits_at
from edge_kernels.crc32c import checksum
from tests.qdrant.logged import storage_of

FLOAT = np.dtype("<f4")


def rows(*numbers: int) -> Any:
    return np.array(numbers, np.int64)


def folder_of(path: Path, files: dict[str, bytes]) -> Folder:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return Folder(storage_of(path))


# -- chunks and flags


def chunked(**config: int) -> dict[str, bytes]:
    """Ten rows of two numbers, three rows a chunk; the last chunk is cut behind its row."""
    data = np.arange(20, dtype="<f4").reshape(10, 2)
    files = {f"chunk_{k}.mmap": data[3 * k : 3 * k + 3].tobytes() for k in range(4)}
    known = {"chunk_size_bytes": 24, "chunk_size_vectors": 3, "dim": 2, **config}
    return {
        **files,
        layout.STATUS: struct.pack("<Q", 10),
        layout.CONFIG: json.dumps(known).encode(),
    }


def test_rows_come_from_their_chunks_in_any_order(folder: Path) -> None:
    chunks = Chunks(folder_of(folder, chunked()), FLOAT, 2)
    assert chunks.count == 10
    found = chunks.take(rows(9, 0, 3, 2, 3))
    assert found.tolist() == [[18, 19], [0, 1], [6, 7], [4, 5], [6, 7]]
    assert chunks.take(rows()).shape == (0, 2)
    with pytest.raises(CorruptData, match=r"chunk_3\.mmap"):
        chunks.take(rows(10))


def test_without_config_a_chunk_has_32_mib(folder: Path) -> None:
    files = chunked()
    del files[layout.CONFIG]
    chunks = Chunks(folder_of(folder, files), FLOAT, 2)
    assert chunks.take(rows(2)).tolist() == [[4, 5]]
    with pytest.raises(CorruptData, match=r"chunk_0\.mmap"):
        chunks.take(rows(3))


@pytest.mark.parametrize("config", [{"dim": 3}, {"chunk_size_vectors": 0}])
def test_chunks_of_other_rows_are_refused(config: dict[str, int], folder: Path) -> None:
    with pytest.raises(CorruptData, match=r"config\.json"):
        Chunks(folder_of(folder, chunked(**config)), FLOAT, 2)


def test_a_chunk_that_is_missing(folder: Path) -> None:
    files = chunked()
    del files["chunk_1.mmap"]
    chunks = Chunks(folder_of(folder, files), FLOAT, 2)
    with pytest.raises(StorageFault, match=r"chunk_1\.mmap"):
        chunks.take(rows(1, 4))


def test_flags(folder: Path) -> None:
    assert not Flags(Folder(storage_of(folder), "missing")).at(rows(0, 99)).any()
    files = {layout.STATUS: struct.pack("<QQ", 12, 0), layout.FLAGS: b"\x01\xff" + bytes(6)}
    flags = Flags(folder_of(folder, files))
    assert flags.at(rows(0, 1, 8, 11, 999)).tolist() == [True, False, True, True, False]
    files[layout.STATUS] = struct.pack("<QQ", 65, 0)
    with pytest.raises(CorruptData, match="fewer than 65"):
        Flags(folder_of(folder, files))


@given(st.binary(max_size=4), st.lists(st.integers(0, 40)))
def test_bits(bits: bytes, wanted: list[int]) -> None:
    number = int.from_bytes(bits, "little")
    found = bits_at(np.frombuffer(bits, np.uint8), np.array(wanted, np.int64))
    assert found.tolist() == [bool(number >> row & 1) for row in wanted]


# -- values by block

Slot = tuple[int, int, int, int]
NO_SLOT: Slot = (0, 0, 0, 0)


def paged(slots: list[Slot], *journal: bytes, **config: Any) -> dict[str, bytes]:
    """Two pages of 32 bytes, in blocks of 8; the bytes count from 0 to 63."""
    known = {
        "page_size_bytes": 32,
        "block_size_bytes": 8,
        "region_size_blocks": 4,
        "compression": "None",
        **config,
    }
    tracker = struct.pack("<I", len(slots)) + b"".join(struct.pack("<4I", *s) for s in slots)
    files = {
        "page_0.dat": bytes(range(32)),
        "page_1.dat": bytes(range(32, 64)),
        layout.TRACKER: tracker,
        layout.CONFIG: json.dumps(known).encode(),
    }
    return {**files, layout.JOURNAL: b"".join(journal)} if journal else files


def journaled(*changes: tuple[int, Slot], damage: bool = False) -> bytes:
    payload = b"".join(struct.pack("<5I", row, *slot) for row, slot in changes)
    crc = checksum(np.frombuffer(payload, np.uint8)) ^ damage
    return struct.pack("<II", len(payload), crc) + payload


def values(folder: Folder, *wanted: int) -> list[bytes | None]:
    found = Blobs(folder).values(rows(*wanted))
    return [None if value is None else value.tobytes() for value in found]


def test_values_begin_at_blocks_and_run_over_pages(folder: Path) -> None:
    slots = [(1, 0, 1, 5), NO_SLOT, (1, 0, 3, 20), (1, 1, 0, 0)]
    found = values(folder_of(folder, paged(slots)), 2, 0, 1, 3, 4)
    assert found == [bytes(range(24, 44)), bytes(range(8, 13)), None, b"", None]


def test_a_journal_is_newer_than_the_slots(folder: Path) -> None:
    slots = [(1, 0, 0, 3), (1, 0, 1, 3)]
    entries = [
        journaled((0, NO_SLOT), (4, (1, 1, 0, 2))),
        journaled((4, (1, 1, 1, 2))),
        journaled((1, NO_SLOT), damage=True),
        journaled((1, NO_SLOT)),
    ]
    blobs = folder_of(folder, paged(slots, *entries))
    assert values(blobs, 0, 1, 4, 5) == [None, bytes([8, 9, 10]), bytes([40, 41]), None]
    assert Blobs(blobs).lengths(rows(0, 1, 4, 5)).tolist() == [0, 3, 2, 0]


@pytest.mark.parametrize(
    "slot",
    [(1, 2, 0, 1), (1, 1, 0, 33), (1, 0, 4, 1), (1, 0, 2**32 - 1, 9), (1, 2**32 - 1, 0, 2**32 - 1)],
)
def test_values_outside_of_the_pages_are_told(slot: Slot, folder: Path) -> None:
    with pytest.raises(CorruptData):
        values(folder_of(folder, paged([slot])), 0)


@pytest.mark.parametrize(
    "config", [{"block_size_bytes": 0}, {"page_size_bytes": 4}, {"page_size_bytes": 2**50}]
)
def test_blocks_of_no_size_are_told(config: dict[str, int], folder: Path) -> None:
    with pytest.raises(CorruptData, match="no sizes"):
        Blobs(folder_of(folder, paged([], **config)))


def test_more_slots_than_the_file_holds_are_told(folder: Path) -> None:
    files = paged([(1, 0, 0, 1)])
    files[layout.TRACKER] = struct.pack("<I", 2**32 - 1) + files[layout.TRACKER][4:]
    with pytest.raises(CorruptData, match=r"tracker\.dat"):
        Blobs(folder_of(folder, files))


def test_a_value_that_is_no_lz4_is_told(folder: Path) -> None:
    files = paged([(1, 0, 0, 9), (1, 0, 0, 2)], compression="LZ4")
    files["page_0.dat"] = struct.pack("<I", 4) + b"\x40abcd" + bytes(23)
    blobs = folder_of(folder, files)
    assert values(blobs, 0) == [b"abcd"]
    for row, size in ((0, 5), (0, 2**32 - 1), (1, 4)):
        (folder / "page_0.dat").write_bytes(struct.pack("<I", size) + b"\x40abcd" + bytes(23))
        with pytest.raises(CorruptData, match=r"page_0\.dat"):
            values(blobs, row)


# -- ids


def table(numbers: dict[int, int], uuids: dict[UUID, int], version: int = 2) -> bytes:
    """id_tracker.e2i, two ids a block."""
    magic = 0x51445F4532490001
    out = struct.pack("<QIIQQIIQ", magic, version, 0, len(numbers), len(uuids), 2, 2, 0)
    keys, codes = sorted(numbers), sorted(uuids)
    out += b"".join(struct.pack("<Q", key) for key in keys[::2])
    out += bytes(-len(out) % 16)
    out += b"".join(key.bytes[::-1] for key in codes[::2])
    out += b"".join(struct.pack("<QI", key, numbers[key]) for key in keys)
    out += bytes(-len(out) % 16)
    return out + b"".join(key.bytes[::-1] + struct.pack("<I", uuids[key]) for key in codes)


NUMBERS = {7: 0, 2**64 - 1: 3, 12: 1}
UUIDS = {UUID(int=2**127 + 5): 2, UUID(int=3): 4, UUID(int=9): 5}


def sorted_ids(**changes: bytes) -> dict[str, bytes]:
    return {
        layout.EXTERNAL_TO_INTERNAL: table(NUMBERS, UUIDS),
        layout.INTERNAL_TO_EXTERNAL: b"",
        layout.DELETED_IDS: struct.pack("<Q", 1 << 3 | 1 << 4),
        layout.VERSIONS: struct.pack("<6Q", *range(10, 16)),
        **{f"id_tracker.{name}": content for name, content in changes.items()},
    }


def test_sorted_ids_of_both_kinds(folder: Path) -> None:
    found = live_points(folder_of(folder, sorted_ids()), appendable=False)
    expected = {id: row for id, row in {**NUMBERS, **UUIDS}.items() if row not in (3, 4)}
    assert dict(zip(decode_ids(found.ids), found.rows.tolist(), strict=True)) == expected
    assert (found.versions - found.rows.astype(np.uint64)).tolist() == [10] * len(expected)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"e2i": table(NUMBERS, UUIDS, version=1)}, ValidationError),
        ({"e2i": b"\0" * 48}, ValidationError),
        ({"e2i": table(NUMBERS, UUIDS)[:-1]}, CorruptData),
        ({"e2i": table(NUMBERS, UUIDS)[:16] + b"\xff" * 16 + b"\1" * 16}, CorruptData),
        ({"e2i": table({**NUMBERS, 1: 2**32 - 1}, {})}, CorruptData),
        ({"deleted": b""}, CorruptData),
        ({"versions": struct.pack("<5Q", *range(5))}, CorruptData),
    ],
)
def test_sorted_ids_that_are_none(
    changes: dict[str, bytes], error: type[Exception], folder: Path
) -> None:
    with pytest.raises(error):
        live_points(folder_of(folder, sorted_ids(**changes)), appendable=False)


def inserted(id: int, row: int, kind: int) -> bytes:
    return struct.pack("<BQI", kind, id, row)


def test_logged_ids(folder: Path) -> None:
    log = inserted(5, 0, 1) + inserted(6, 1, 1) + inserted(5, 2, 1) + struct.pack("<BQ", 3, 6)
    log += inserted(8, 3, 1) + inserted(9, 4, 1)[:-2]
    files = {
        layout.MUTABLE_MAPPINGS: log,
        layout.MUTABLE_VERSIONS: struct.pack("<3Q", 1, 2, 3) + b"\1\2",
    }
    found = live_points(folder_of(folder, files), appendable=True)
    assert found.ids[:, 2].tolist() == [5]  # 8 has no version yet, 9 is cut off
    assert (found.rows.tolist(), found.versions.tolist()) == ([2], [3])
    (folder / layout.MUTABLE_MAPPINGS).write_bytes(log[:13] + b"\x07" + log[13:])
    with pytest.raises(CorruptData, match="record of kind 7"):
        live_points(Folder(storage_of(folder)), appendable=True)


def test_recorded_ids(folder: Path) -> None:
    records = struct.pack("<Q", 2) + inserted(5, 1, 0) + inserted(6, 0, 0)
    files = {
        layout.MAPPINGS: records,
        layout.DELETED_IDS: struct.pack("<Q", 1),
        layout.VERSIONS: struct.pack("<2Q", 8, 9),
    }
    found = live_points(folder_of(folder, files), appendable=False)
    assert (found.ids[:, 2].tolist(), found.versions.tolist()) == ([5], [9])
    twice = struct.pack("<Q", 2) + inserted(5, 1, 0) * 2
    for content in (records[:-1], struct.pack("<Q", 3) + records[8:], twice):
        (folder / layout.MAPPINGS).write_bytes(content)
        with pytest.raises(CorruptData, match=r"mappings"):
            live_points(Folder(storage_of(folder)), appendable=False)


def test_a_segment_without_ids_is_empty_only_where_points_may_come(folder: Path) -> None:
    assert len(live_points(Folder(storage_of(folder)), appendable=True).ids) == 0
    with pytest.raises(CorruptData, match="without ids"):
        live_points(Folder(storage_of(folder)), appendable=False)


# -- offsets of links


def packed_offsets(offsets: list[int], base_bits: int, delta_bits: int, log: int) -> bytes:
    out = b""
    size = 1 << log
    for first in range(0, len(offsets), size):
        chunk = offsets[first : first + size]
        stream = chunk[0]
        for place, offset in enumerate(chunk[1:]):
            stream |= (offset - chunk[0]) << (base_bits + place * delta_bits)
        out += stream.to_bytes((base_bits + (size - 1) * delta_bits + 7) // 8, "little")
    return out


@given(
    st.lists(st.integers(0, 3_000), min_size=1, max_size=60),
    st.integers(1, 4),
    st.integers(0, 2**40),
)
def test_packed_offsets_come_back(steps: list[int], log: int, start: int) -> None:
    offsets = (start + np.cumsum(steps)).tolist()
    base_bits = max(1, int(offsets[-1]).bit_length())
    size = 1 << log
    delta_bits = max(
        (offset - offsets[place // size * size]).bit_length()
        for place, offset in enumerate(offsets)
    )
    packed = np.frombuffer(packed_offsets(offsets, base_bits, delta_bits, log), np.uint8)
    found = unpacked_offsets(packed, len(offsets), base_bits, delta_bits, log)
    assert found is not None
    assert found.tolist() == offsets
    assert unpacked_offsets(packed[:-1], len(offsets), base_bits, delta_bits, log) is None
    assert unpacked_offsets(packed, len(offsets), 57, delta_bits, log) is None
