"""Sparse vectors packed as Qdrant stores them; `packed_sparse` says the form, and reads it.

Invariant: the kernel writes no more than what was counted before, 16 bytes and 8 1/8 an entry.
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
    load_u32,
    move_bytes,
    store_i64,
    store_u8,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEADER_BITS = 6
LEAST_BITS = 8
_LENGTHS = 16  # bytes of both counts


def pack(
    starts: NDArray[np.int64], indices: NDArray[np.uint32], values: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Vector i has the entries starts[i]:starts[i + 1], its indices ascending.

    Returns (blobs uint8, ends int64[n + 1]): vector i is packed in blobs[ends[i]:ends[i + 1]].
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
