"""Where the elements of a CBOR array of floats begin: each takes three, five or nine bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from edge_kernels.jit import address_of, call, door, load_i64, load_u8, store_i64

if TYPE_CHECKING:
    from numpy.typing import NDArray

HALF, SINGLE, DOUBLE = 0xF9, 0xFA, 0xFB
"""The first byte of a float of two, four and eight bytes."""

_LEAST: Final = 3


def places(data: NDArray[np.uint8], at: int, count: int) -> tuple[NDArray[np.int64], int] | None:
    """Return int64[count], where each of `count` floats begins from byte `at` of `data` on, and
    where the last one ends; None where there are not so many, or something else is among them."""
    if count > (data.size - at) // _LEAST:
        return None
    found = np.empty(count, np.int64)
    end = call(_places, address_of(data), data.size, at, count, address_of(found))
    return None if end < 0 else (found, end)


# --- kernels ---------------------------------------------------------------------------------


@door
def _places(block: int) -> int:
    data, size, at = load_i64(block), load_i64(block + 8), load_i64(block + 16)
    count, found = load_i64(block + 24), load_i64(block + 32)
    for i in range(count):
        if at >= size:
            return -1
        kind = load_u8(data + at)
        if kind < HALF or kind > DOUBLE:
            return -1
        store_i64(found + 8 * i, at)
        at += 1 + (2 << (kind - HALF))
    return at if at <= size else -1
