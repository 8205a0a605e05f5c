"""What is packed for Qdrant is what is unpacked again."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_kernels import lz4, packed_sparse

INDEX = st.integers(0, 2**32 - 1) | st.integers(0, 300)
VALUES = st.lists(
    st.binary(max_size=300)
    | st.builds(lambda part, times: part * times, st.binary(max_size=9), st.integers(0, 3000)),
    max_size=6,
)


@example([[], [0], [2**32 - 1], [0, 2**32 - 1], list(range(1000))])
@given(st.lists(st.lists(INDEX, max_size=40, unique=True), max_size=8))
def test_sparse_vectors(vectors: list[list[int]]) -> None:
    starts = np.cumsum([0, *map(len, vectors)])
    indices = np.array([index for one in vectors for index in sorted(one)], np.uint32)
    values = np.arange(len(indices), dtype=np.float32) - 3
    blobs, ends = packed_sparse.pack(starts, indices, values)
    found = packed_sparse.unpack(blobs, ends)
    assert found.starts.tolist() == starts.tolist()
    assert found.indices.tolist() == indices.tolist()
    assert found.values.tolist() == values.tolist()


def encoded(values: list[bytes]) -> list[bytes]:
    ends = np.cumsum([0, *map(len, values)])
    blocks, borders = lz4.encode(np.frombuffer(b"".join(values), np.uint8), ends)
    return [blocks[start:end].tobytes() for start, end in pairwise(borders.tolist())]


@example([b"", b"a" * 70_000, b"", bytes(range(256)) * 300, b"abcdefghijkl" * 2])
@given(VALUES)
def test_lz4(values: list[bytes]) -> None:
    for value, block in zip(values, encoded(values), strict=True):
        assert block[:4] == len(value).to_bytes(4, "little")
        decoded = lz4.decode(np.frombuffer(block, np.uint8, offset=4), len(value))
        assert decoded.tobytes() == value


@pytest.mark.parametrize("size", [*range(40), 255 + 15, 270 + 255, 65_536, 1 << 20])
def test_what_does_not_repeat_itself_grows_by_no_more_than_lz4_says(size: int) -> None:
    value = Random(size).randbytes(size)
    [block] = encoded([value])
    assert len(block) <= 4 + size + size // 255 + 16
    assert lz4.decode(np.frombuffer(block, np.uint8, offset=4), size).tobytes() == value


def test_what_repeats_itself_shrinks() -> None:
    [block] = encoded([b'{"label": "cup", "room": 7}, ' * 1000])
    assert len(block) < 300
