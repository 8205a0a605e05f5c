"""Blocks of LZ4.

Invariant: decoding is safe on any bytes: it reads nothing outside the block and writes nothing
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
    load_i32,
    load_i64,
    load_u8,
    load_u32,
    move_bytes,
    store_i32,
    store_i64,
    store_u8,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]

MOST_TIMES = 255
"""A block is never decoded to more bytes than its own, so many times."""

BROKEN = -1

_LENGTH_BYTES = 4
_HASH_BITS = 13
_LEAST_MATCH = 4
_FARTHEST = 65535
_LAST_LITERALS = 5
_LAST_MATCH = 12
"""Bytes before the end of a value where a match begins at the latest."""


def decode(block: Bytes, size: int) -> Bytes:
    """The `size` bytes uint8[size] of a block uint8[n]. ValueError if it does not hold so many."""
    if not 0 <= size <= MOST_TIMES * block.size:
        raise ValueError(f"{block.size} bytes of LZ4 never hold {size}")
    out = np.empty(size, np.uint8)
    if call(_decode, address_of(block), block.size, address_of(out), size) != size:
        raise ValueError(f"no LZ4 block of {size} bytes")
    return out


def encode(data: Bytes, ends: NDArray[np.int64]) -> tuple[Bytes, NDArray[np.int64]]:
    """(blocks uint8, ends int64[n + 1]) of the values data[ends[i]:ends[i + 1]], fewer than 2 GB.

    Each block has the length of its value in front, a uint32.
    """
    if data.size > np.iinfo(np.int32).max:
        raise ValueError(f"{data.size} bytes at once")
    count = ends.size - 1
    out = np.empty(data.size + data.size // 255 + count * (_LENGTH_BYTES + 16), np.uint8)
    out_ends = np.zeros(count + 1, np.int64)
    seen = np.full(1 << _HASH_BITS, -1, np.int32)
    call(
        _encode,
        address_of(data),
        address_of(ends),
        count,
        address_of(out),
        address_of(out_ends),
        address_of(seen),
    )
    return out[: out_ends[-1]], out_ends


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


@inner
def _put_length(out: int, length: int) -> int:
    """Write what a length has beyond the 15 of its four bits; the place after it."""
    rest = length - 15
    while rest >= 255:
        store_u8(out, 255)
        rest -= 255
        out += 1
    store_u8(out, rest)
    return out + 1


@inner
def _put_literals(out: int, source: int, count: int, match: int) -> int:
    """Write the token of a sequence and its literals; the place after them. `match`: the four bits
    of the match's length."""
    store_u8(out, (min(count, 15) << 4) | match)
    out += 1
    if count >= 15:
        out = _put_length(out, count)
    move_bytes(out, source, count)
    return out + count


@inner
def _same(first: int, second: int, most: int) -> int:
    """How many bytes are the same, of `most`."""
    length = 0
    while length < most and load_u8(first + length) == load_u8(second + length):
        length += 1
    return length


@inner
def _encode_one(data: int, start: int, end: int, out: int, seen: int) -> int:
    """Write the block of data[start:end]; the place after it. `seen`: where a hash was last."""
    done, at = start, start
    while at <= end - _LAST_MATCH:
        word = load_u32(data + at)
        slot = seen + 4 * (((word * 2654435761) & 0xFFFFFFFF) >> (32 - _HASH_BITS))
        before = load_i32(slot)
        store_i32(slot, at)
        near = before >= start and at - before <= _FARTHEST
        if near and load_u32(data + before) == word:
            length = _same(data + at, data + before, end - _LAST_LITERALS - at)
            beyond = length - _LEAST_MATCH
            out = _put_literals(out, data + done, at - done, min(beyond, 15))
            store_u8(out, (at - before) & 255)
            store_u8(out + 1, (at - before) >> 8)
            out += 2
            if beyond >= 15:
                out = _put_length(out, beyond)
            at += length
            done = at
        else:
            at += 1 + ((at - done) >> 6)  # what does not repeat itself is passed over ever faster
    return _put_literals(out, data + done, end - done, 0)


@door
def _encode(block: int) -> int:
    data, ends, count = load_i64(block), load_i64(block + 8), load_i64(block + 16)
    out, out_ends, seen = load_i64(block + 24), load_i64(block + 32), load_i64(block + 40)
    at = out
    for i in range(count):
        start, end = load_i64(ends + 8 * i), load_i64(ends + 8 * i + 8)
        store_i32(at, end - start)
        at = _encode_one(data, start, end, at + _LENGTH_BYTES, seen)
        store_i64(out_ends + 8 * i + 8, at - out)
    return count
