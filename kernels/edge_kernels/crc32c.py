"""CRC-32C (Castagnoli), eight bytes a step, from any state on.

A state is the register before the final inversion; the checksum of bytes alone starts at `FRESH`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edge_kernels.jit import address_of, call, door, load_i64, load_u8, load_u32

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]

FRESH = 0xFFFF_FFFF
POLYNOMIAL = 0x82F6_3B78  # reflected


def checksum(data: Bytes, state: int = FRESH) -> int:
    """The checksum (0 to 2^32 - 1) of uint8[n], begun at a state."""
    found = call(_advance, address_of(data), data.size, state, address_of(_TABLES))
    return found ^ 0xFFFF_FFFF


def _tables() -> NDArray[np.uint32]:
    """uint32[8, 256]: what byte b, k bytes before the end of a step, adds to the state."""
    tables = np.zeros((8, 256), np.uint32)
    first: NDArray[Any] = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        first = (first >> 1) ^ np.where(first & 1, np.uint32(POLYNOMIAL), np.uint32(0))
    tables[0] = first
    for k in range(1, 8):
        tables[k] = (tables[k - 1] >> 8) ^ first[tables[k - 1] & 255]
    return tables


_TABLES = _tables()


# --- kernels ---------------------------------------------------------------------------------


@door
def _advance(block: int) -> int:
    data, size = load_i64(block), load_i64(block + 8)
    state, tables = load_i64(block + 16), load_i64(block + 24)
    at = 0
    while size - at >= 8:
        found = 0
        for k in range(8):
            byte = load_u8(data + at + k)
            if k < 4:
                byte ^= (state >> (8 * k)) & 255
            found ^= load_u32(tables + 4 * (256 * (7 - k) + byte))
        state = found
        at += 8
    while at < size:
        state = (state >> 8) ^ load_u32(tables + 4 * ((state ^ load_u8(data + at)) & 255))
        at += 1
    return state
