"""LZ4 blocks: made by hand, made by a small encoder, and whatever else may come."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_kernels import lz4


def decoded(block: bytes, size: int) -> bytes:
    return lz4.decode(np.frombuffer(block, np.uint8), size).tobytes()


def long_length(length: int) -> bytes:
    """What follows four bits that say 15."""
    return b"\xff" * ((length - 15) // 255) + bytes([(length - 15) % 255])


def sequence(literals: bytes, match: tuple[int, int] | None = None) -> bytes:
    """Literals, then a match (distance, length of 4 or more); the last sequence has none."""
    high = min(15, len(literals))
    low = 0 if match is None else min(15, match[1] - 4)
    out = bytes([high << 4 | low])
    if high == 15:
        out += long_length(len(literals))
    out += literals
    if match is not None:
        out += match[0].to_bytes(2, "little")
        if low == 15:
            out += long_length(match[1] - 4)
    return out


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (b"\x00", b""),
        (b"\x30abc", b"abc"),
        (sequence(b"ab", (2, 4)) + sequence(b"c"), b"ababab" + b"c"),
        (sequence(b"a", (1, 19)) + sequence(b""), b"a" * 20),
        (sequence(b"a", (1, 18)) + sequence(b""), b"a" * 19),
        (sequence(b"abcd", (4, 400)) + sequence(b"end"), b"abcd" * 101 + b"end"),
        (sequence(b"x" * 15), b"x" * 15),
        (sequence(b"x" * 270), b"x" * 270),
        (sequence(b"abcdefgh", (8, 8)) + sequence(b"!"), b"abcdefghabcdefgh!"),
    ],
)
def test_blocks_made_by_hand(block: bytes, expected: bytes) -> None:
    assert decoded(block, len(expected)) == expected


@given(
    st.lists(
        st.tuples(st.binary(min_size=1, max_size=300), st.integers(1, 400), st.integers(4, 600))
    ),
    st.binary(max_size=40),
)
def test_blocks_of_any_sequences(steps: list[tuple[bytes, int, int]], rest: bytes) -> None:
    block, plain = b"", b""
    for literals, back, length in steps:
        distance = 1 + back % (len(plain) + len(literals))
        block += sequence(literals, (distance, length))
        plain += literals
        for _ in range(length):
            plain += plain[-distance : len(plain) - distance + 1]
    assert decoded(block + sequence(rest), len(plain) + len(rest)) == plain + rest


@pytest.mark.parametrize(
    ("block", "size"),
    [
        (b"", 0),  # not even a token
        (b"\x30ab", 3),  # fewer literals than said
        (b"\xf0", 15),  # no length after its token
        (b"\xf0\xff", 270),  # the length goes on, the block does not
        (b"\x30abc", 2),  # more than asked for
        (b"\x30abc", 4),  # fewer
        (b"\x10a\x00\x00\x00", 5),  # a distance of nothing
        (b"\x10a\x02\x00\x00", 5),  # a distance to before the beginning
        (b"\x10a\x01", 5),  # half a distance
        (b"\x10a\x01\x00", 5),  # no sequence after a match
        (b"\x1fa\x01\x00", 20),  # no length of a match
    ],
)
def test_what_is_no_block(block: bytes, size: int) -> None:
    with pytest.raises(ValueError, match="LZ4"):
        decoded(block, size)


def test_no_more_is_made_than_a_block_can_hold() -> None:
    with pytest.raises(ValueError, match="never hold"):
        decoded(b"\x30abc", 4 * 255 + 1)
    with pytest.raises(ValueError, match="never hold"):
        decoded(b"\x30abc", -1)


@given(st.binary(max_size=200), st.integers(0, 2_000))
def test_any_bytes_are_decoded_or_refused(block: bytes, size: int) -> None:
    with suppress(ValueError):
        assert len(decoded(block, size)) == size
