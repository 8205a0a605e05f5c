"""CRC-32C against its definition, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_kernels import crc32c


def checksum(data: bytes, state: int = crc32c.FRESH) -> int:
    return crc32c.checksum(np.frombuffer(data, np.uint8), state)


def slowly(data: bytes, state: int) -> int:
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (crc32c.POLYNOMIAL if state & 1 else 0)
    return state ^ 0xFFFF_FFFF


@pytest.mark.parametrize(
    ("data", "expected"),
    [  # RFC 3720, B.4
        (bytes(32), 0x8A91_36AA),
        (b"\xff" * 32, 0x62A8_AB43),
        (bytes(range(32)), 0x46DD_794E),
        (bytes(reversed(range(32))), 0x113F_DB5C),
        (b"123456789", 0xE306_9283),
    ],
)
def test_published_values(data: bytes, expected: int) -> None:
    assert checksum(data) == expected


@given(st.binary(max_size=80), st.integers(0, 2**32 - 1))
def test_it_is_its_definition_from_any_state(data: bytes, state: int) -> None:
    assert checksum(data, state) == slowly(data, state)
