"""Sparse vectors as Qdrant packs them: indices as differences of few bits, then the values.

A vector is: uint64 L, L bytes of packed indices, uint64 m, m values float32. The packed indices are
one stream of bits, the lowest of a byte first: 6 bits w - 8, then m differences of w bits each, the
first one from 0.

Invariant: the kernels are safe on any bytes between `ends`; what they write was counted before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge_kernels.jit import (
    address_of,
    call,
    door,
    inner,
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

HEADER_BITS = 6
LEAST_BITS = 8
MOST_BITS = 32
_LENGTHS = 16  # bytes of both counts


class Unpacked(NamedTuple):
    """Vector i has indices (ascending, equal ones are possible) and values from starts[i] on."""

    starts: NDArray[np.int64]
    indices: NDArray[np.uint32]
    values: NDArray[np.float32]


def unpack(blobs: NDArray[np.uint8], ends: NDArray[np.int64]) -> Unpacked:
    """The vectors of blobs[ends[i]:ends[i + 1]], `ends` int64[n + 1] ascending within `blobs`.

    ValueError that says which of them is none.
    """
    count = ends.size - 1
    starts = np.zeros(count + 1, np.int64)
    done = call(_count, address_of(blobs), address_of(ends), count, address_of(starts))
    if done == count:
        total = int(starts[-1])
        indices, values = np.empty(total, np.uint32), np.empty(total, np.float32)
        done = call(
            _unpack,
            address_of(blobs),
            address_of(ends),
            count,
            address_of(starts),
            address_of(indices),
            address_of(values),
        )
        if done == count:
            return Unpacked(starts, indices, values)
    raise ValueError(f"blob {done} is no sparse vector")


def pack(
    starts: NDArray[np.int64], indices: NDArray[np.uint32], values: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(blobs uint8, ends int64[n + 1]): what `unpack` makes these vectors of.

    Vector i has the entries starts[i] to before starts[i + 1], its indices ascending.
    """
    count = starts.size - 1
    entries = int(starts[-1] - starts[0])
    out = np.empty(count * (_LENGTHS + 1) + 8 * entries, np.uint8)
    ends = np.zeros(count + 1, np.int64)
    call(
        _pack,
        address_of(starts),
        count,
        address_of(indices),
        address_of(values),
        address_of(out),
        address_of(ends),
    )
    return out[: ends[-1]], ends


# --- kernels ---------------------------------------------------------------------------------


@inner
def _load_word(address: int) -> int:
    """An int64 that need not lie at a multiple of 8."""
    found = 0
    for k in range(8):
        found |= load_u8(address + k) << (8 * k)
    return found


@inner
def _counted(blob: int, size: int) -> int:
    """Entries of the vector in a blob of `size` bytes; -1 if it is none."""
    if size < _LENGTHS:
        return -1
    packed = _load_word(blob)
    if packed < 0 or packed > size - _LENGTHS:
        return -1
    count = _load_word(blob + 8 + packed)
    if count < 0 or count > size or _LENGTHS + packed + 4 * count != size:
        return -1
    if count != 0:
        if packed == 0:
            return -1
        width = LEAST_BITS + (load_u8(blob + 8) & 63)
        if width > MOST_BITS or HEADER_BITS + count * width > 8 * packed:
            return -1
    return count


@door
def _count(block: int) -> int:
    """Fill `starts`; how many vectors were counted before one that is none."""
    blobs, ends = load_i64(block), load_i64(block + 8)
    count, starts = load_i64(block + 16), load_i64(block + 24)
    total = 0
    for i in range(count):
        first = load_i64(ends + 8 * i)
        found = _counted(blobs + first, load_i64(ends + 8 * i + 8) - first)
        if found < 0:
            return i
        total += found
        store_i64(starts + 8 * i + 8, total)
    return count


@inner
def _indices(packed: int, count: int, out: int) -> bool:
    """Write `count` indices; whether all of them are below 2^32."""
    width = LEAST_BITS + (load_u8(packed) & 63)
    held, bits = load_u8(packed) >> HEADER_BITS, 8 - HEADER_BITS
    at = packed + 1
    index = 0
    for i in range(count):
        while bits < width:
            held |= load_u8(at) << bits
            bits += 8
            at += 1
        index += held & ((1 << width) - 1)
        held >>= width
        bits -= width
        if index >= 1 << 32:
            return False
        store_i32(out + 4 * i, index)
    return True


@door
def _unpack(block: int) -> int:
    """Write indices and values; how many vectors were written before one that is none."""
    blobs, ends, count = load_i64(block), load_i64(block + 8), load_i64(block + 16)
    starts, indices, values = load_i64(block + 24), load_i64(block + 32), load_i64(block + 40)
    for i in range(count):
        blob = blobs + load_i64(ends + 8 * i)
        first = load_i64(starts + 8 * i)
        entries = load_i64(starts + 8 * i + 8) - first
        if entries != 0:
            if not _indices(blob + 8, entries, indices + 4 * first):
                return i
            floats = blob + _LENGTHS + _load_word(blob)
            move_bytes(values + 4 * first, floats, 4 * entries)
    return count


@inner
def _store_word(address: int, value: int) -> None:
    """An int64 at any place."""
    for k in range(8):
        store_u8(address + k, (value >> (8 * k)) & 255)


@inner
def _width(indices: int, count: int) -> int:
    """Bits that each difference of the indices fits in."""
    widest, before = 0, 0
    for i in range(count):
        index = load_u32(indices + 4 * i)
        widest |= index - before
        before = index
    width = LEAST_BITS
    while widest >> width != 0:
        width += 1
    return width


@inner
def _pack_indices(indices: int, count: int, out: int) -> int:
    """Write the packed indices; their bytes."""
    width = _width(indices, count)
    held, bits = width - LEAST_BITS, HEADER_BITS
    before, at = 0, out
    for i in range(count):
        index = load_u32(indices + 4 * i)
        held |= (index - before) << bits
        before = index
        bits += width
        while bits >= 8:
            store_u8(at, held & 255)
            held >>= 8
            bits -= 8
            at += 1
    if bits > 0:
        store_u8(at, held & 255)
        at += 1
    return at - out


@door
def _pack(block: int) -> int:
    starts, count = load_i64(block), load_i64(block + 8)
    indices, values = load_i64(block + 16), load_i64(block + 24)
    out, ends = load_i64(block + 32), load_i64(block + 40)
    at = 0
    for i in range(count):
        first = load_i64(starts + 8 * i)
        entries = load_i64(starts + 8 * i + 8) - first
        packed = 0
        if entries != 0:
            packed = _pack_indices(indices + 4 * first, entries, out + at + 8)
        _store_word(out + at, packed)
        _store_word(out + at + 8 + packed, entries)
        move_bytes(out + at + _LENGTHS + packed, values + 4 * first, 4 * entries)
        at += _LENGTHS + packed + 4 * entries
        store_i64(ends + 8 * i + 8, at)
    return count
