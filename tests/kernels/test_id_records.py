"""Records of ids against struct."""

from __future__ import annotations

import struct
from uuid import UUID

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge.model.point_id import decode_ids
from edge_kernels import id_records

Record = tuple[int | UUID, int | None]

records = st.tuples(st.integers(0, 2**64 - 1) | st.uuids(), st.none() | st.integers(0, 2**32 - 1))


def record(item: Record, first_kind: int = 1) -> bytes:
    """An id and its row; None: deleted."""
    id, row = item
    kind = first_kind + isinstance(id, UUID) + 2 * (row is None)
    body = id.bytes if isinstance(id, UUID) else struct.pack("<Q", id)
    return bytes([kind]) + body + (b"" if row is None else struct.pack("<I", row))


def read(data: bytes, first_kind: int = 1, kinds: int = 4) -> tuple[list[Record], int]:
    found = id_records.read(np.frombuffer(data, np.uint8), first_kind, kinds)
    rows = [None if row < 0 else row for row in found.rows.tolist()]
    return list(zip(decode_ids(found.ids), rows, strict=True)), found.used


@given(st.lists(records, max_size=20), st.integers(0, 20))
def test_whole_records_are_read_and_no_more(items: list[Record], cut: int) -> None:
    data = b"".join(map(record, items))
    assert read(data) == (items, len(data))
    if items:
        last = len(record(items[-1]))
        cut = 1 + cut % (last - 1)
        assert read(data[: len(data) - cut]) == (items[:-1], len(data) - last)


def test_records_of_another_kind_end_it() -> None:
    known = record((7, 3), first_kind=0)
    assert read(known + b"\x02" + bytes(40), first_kind=0, kinds=2) == ([(7, 3)], len(known))
    assert read(b"\x00" + bytes(40)) == ([], 0)
    assert read(b"\x05" + bytes(40)) == ([], 0)


@given(st.binary(max_size=100))
def test_any_bytes_are_read(data: bytes) -> None:
    found, used = read(data)
    assert used <= len(data)
    assert b"".join(map(record, found)) == data[:used]
