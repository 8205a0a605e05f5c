"""Blocks of LZ4, decoded.

Invariant: the kernel is safe on any bytes: it reads nothing outside the block and writes nothing
outside of what was asked for.

The format: https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_kernels.jit import (
    address_of,
    call,
    door,
    inner,
    load_i64,
    load_u8,
    move_bytes,
    store_u8,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]

MOST_TIMES = 255
"""A block is never decoded to more bytes than its own, so many times."""

BROKEN = -1


def decode(block: Bytes, size: int) -> Bytes:
    """The `size` bytes uint8[size] of a block uint8[n]. ValueError if it does not hold so many."""
    if not 0 <= size <= MOST_TIMES * block.size:
        raise ValueError(f"{block.size} bytes of LZ4 never hold {size}")
    out = np.empty(size, np.uint8)
    if call(_decode, address_of(block), block.size, address_of(out), size) != size:
        raise ValueError(f"no LZ4 block of {size} bytes")
    return out


# --- kernels ---------------------------------------------------------------------------------


@inner
def _length(source: int, at: int, end: int, short: int) -> tuple[int, int]:
    """(length, place after it) of a length whose first four bits are `short`; -1: none."""
    length = short
    if short == 15:
        more = 255
        while more == 255:
            if at >= end:
                return -1, at
            more = load_u8(source + at)
            length += more
            at += 1
    return length, at


@inner
def _repeat(target: int, distance: int, length: int) -> None:
    """Append what lies `distance` back; where it is longer than that, it repeats itself."""
    if distance >= length:
        move_bytes(target, target - distance, length)
    else:
        for i in range(length):
            store_u8(target + i, load_u8(target + i - distance))


@door
def _decode(block: int) -> int:
    source, end = load_i64(block), load_i64(block + 8)
    target, size = load_i64(block + 16), load_i64(block + 24)
    at, made = 0, 0
    while at < end:
        token = load_u8(source + at)
        literals, at = _length(source, at + 1, end, token >> 4)
        if literals < 0 or literals > end - at or literals > size - made:
            return BROKEN
        move_bytes(target + made, source + at, literals)
        at += literals
        made += literals
        if at == end:  # the last sequence has no match
            return made
        if end - at < 2:
            return BROKEN
        distance = load_u8(source + at) | (load_u8(source + at + 1) << 8)
        length, at = _length(source, at + 2, end, token & 15)
        if length < 0 or distance == 0 or distance > made or length + 4 > size - made:
            return BROKEN
        _repeat(target + made, distance, length + 4)
        made += length + 4
    return BROKEN
