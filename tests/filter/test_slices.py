"""Slices: the published hash, ids of both kinds, and parts that are disjoint, complete, even."""

from __future__ import annotations

from uuid import UUID

import numpy as np
import pytest

from edge.filter.slices import slices
from edge.model.filter import Filter, NestedCondition, SliceCondition
from edge.model.point_id import encode_ids
from tests.filter.list_rows import ListRows

IDS = [*range(3000), 2**64 - 1, *(UUID(int=i * 2**100 + i) for i in range(3000))]


def siphash(data: bytes) -> int:
    """SipHash-2-4 with key zero, by its definition."""
    mask = 2**64 - 1
    v = [0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573]

    def half(a: int, b: int, bits: int) -> None:
        v[a] = (v[a] + v[b]) & mask
        v[b] = ((v[b] << bits | v[b] >> (64 - bits)) & mask) ^ v[a]

    def rounds(count: int) -> None:
        for _ in range(count):
            half(0, 1, 13)
            half(2, 3, 16)
            v[0] = (v[0] << 32 | v[0] >> 32) & mask
            half(0, 3, 21)
            half(2, 1, 17)
            v[2] = (v[2] << 32 | v[2] >> 32) & mask

    padded = data + bytes(-(len(data) + 1) % 8) + bytes([len(data)])
    for start in range(0, len(padded), 8):
        word = int.from_bytes(padded[start : start + 8], "little")
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def test_the_definition_gives_the_published_value() -> None:
    # The vectors_sip24 of the reference code have another key; this one is Rust's and Python's.
    assert siphash(b"") == 0x1E924B9D737700D7


@pytest.mark.parametrize("total", [1, 2, 7, 2**32 - 1])
def test_ids_fall_where_the_definition_puts_them(total: int) -> None:
    expected = [
        siphash(id.to_bytes(8, "little") if isinstance(id, int) else id.bytes) % total for id in IDS
    ]
    assert slices(encode_ids(IDS), total).tolist() == expected


@pytest.mark.parametrize("total", [1, 2, 3, 10])
def test_parts_are_disjoint_complete_and_about_even(total: int) -> None:
    rows = ListRows([{}] * len(IDS), IDS)
    parts = [rows.matching(Filter([SliceCondition(total, part)])) for part in range(total)]
    assert sorted(offset for part in parts for offset in part) == [*range(len(IDS))]
    assert min(map(len, parts)) > 0.8 * len(IDS) / total
    assert rows.decoded == []


def test_a_part_of_a_multiple_is_inside_the_part() -> None:
    rows = ListRows([{}] * len(IDS), IDS)
    whole, quarter = (set(rows.matching(Filter([SliceCondition(n, 1)]))) for n in (2, 4))
    assert quarter < whole


def test_no_ids_and_elements_of_arrays_are_in_no_part() -> None:
    assert len(slices(np.zeros((0, 3), np.uint64), 5)) == 0
    rows = ListRows([{"a": [{}]}] * 10)
    every = SliceCondition(1, 0)
    assert rows.matching(Filter([NestedCondition("a", Filter([every]))])) == []
    assert rows.matching(Filter([every])) == [*range(10)]
