"""Packed sparse vectors against a packer of a few lines."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_kernels import packed_sparse


def packed(indices: list[int], values: list[float]) -> bytes:
    """What Qdrant stores of a sparse vector."""
    differences = [b - a for a, b in zip([0, *indices], indices, strict=False)]
    width = max([8, *(each.bit_length() for each in differences)])
    stream = width - 8
    for place, each in enumerate(differences):
        stream |= each << (6 + place * width)
    size = (6 + width * len(indices) + 7) // 8 if indices else 0
    return (
        struct.pack("<Q", size)
        + stream.to_bytes(size, "little")
        + struct.pack("<Q", len(values))
        + np.array(values, "<f4").tobytes()
    )


def unpacked(*blobs: bytes) -> packed_sparse.Unpacked:
    ends = np.cumsum([0, *map(len, blobs)]).astype(np.int64)
    return packed_sparse.unpack(np.frombuffer(b"".join(blobs), np.uint8), ends)


vectors = st.lists(st.integers(0, 2**32 - 1), max_size=40).map(sorted)


@given(st.lists(vectors, min_size=1, max_size=6))
def test_vectors_come_back(rows: list[list[int]]) -> None:
    found = unpacked(*(packed(row, [float(i) for i in range(len(row))]) for row in rows))
    assert found.starts.tolist() == np.cumsum([0, *map(len, rows)]).tolist()
    assert found.indices.tolist() == [index for row in rows for index in row]
    assert found.values.tolist() == [float(i) for row in rows for i in range(len(row))]


def test_no_vectors_are_none() -> None:
    found = packed_sparse.unpack(np.empty(0, np.uint8), np.zeros(1, np.int64))
    assert (found.starts.tolist(), found.indices.size, found.values.size) == ([0], 0, 0)


WHOLE = packed([3, 900, 70_000], [1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        WHOLE[:-1],
        WHOLE + b"\0",
        WHOLE[:8],
        struct.pack("<Q", 2**63) + WHOLE[8:],
        struct.pack("<Q", 0) + struct.pack("<Q", 1) + bytes(4),  # a value without an index
        struct.pack("<Q", 1) + b"\x3f" + struct.pack("<Q", 1) + bytes(4),  # 71 bits an index
        struct.pack("<Q", 1) + b"\x00" + struct.pack("<Q", 1) + bytes(4),  # too few bits
    ],
)
def test_what_is_no_vector_is_named(blob: bytes) -> None:
    with pytest.raises(ValueError, match="blob 1 is no sparse vector"):
        unpacked(WHOLE, blob)


def test_indices_beyond_32_bits_are_none() -> None:
    too_much = packed([2**32 - 1, 2**33 - 2], [1.0, 1.0])
    with pytest.raises(ValueError, match="blob 0"):
        unpacked(too_much)


@given(st.binary(max_size=60), st.integers(0, 40))
def test_any_bytes_are_unpacked_or_refused(blob: bytes, packed_bytes: int) -> None:
    for each in (blob, struct.pack("<Q", packed_bytes) + blob):
        try:
            found = unpacked(each)
        except ValueError:
            continue
        assert found.starts[-1] == found.indices.size == found.values.size
