"""The order of byte strings that are laid one after another: name i is blob[ends[i]:ends[i + 1]].

Invariant: the order is that of Python's bytes, byte by byte, a name before what it begins; equal
names keep their order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_kernels.jit import address_of, call, door, inner, load_i64, load_u8, store_i64

if TYPE_CHECKING:
    from numpy.typing import NDArray


def order(blob: NDArray[np.uint8], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64[n]: the places of the names, uint8[] and int64[n + 1], in ascending order."""
    count = ends.size - 1
    found = np.arange(count, dtype=np.int64)
    spare = np.empty(count, np.int64)
    turns = call(
        _order, address_of(blob), address_of(ends), address_of(found), address_of(spare), count
    )
    return spare if turns & 1 else found


# --- kernels ---------------------------------------------------------------------------------


@inner
def _is_after(blob: int, ends: int, a: int, b: int) -> bool:
    at, other = load_i64(ends + 8 * a), load_i64(ends + 8 * b)
    end, stop = load_i64(ends + 8 * a + 8), load_i64(ends + 8 * b + 8)
    while at < end and other < stop:
        x, y = load_u8(blob + at), load_u8(blob + other)
        if x != y:
            return x > y
        at += 1
        other += 1
    return other == stop and at < end


@inner
def _merge(
    blob: int, ends: int, source: int, target: int, low: int, middle: int, high: int
) -> None:
    left, right = low, middle
    for at in range(low, high):
        from_right = left >= middle
        if not from_right and right < high:
            a, b = load_i64(source + 8 * left), load_i64(source + 8 * right)
            from_right = _is_after(blob, ends, a, b)
        if from_right:
            store_i64(target + 8 * at, load_i64(source + 8 * right))
            right += 1
        else:
            store_i64(target + 8 * at, load_i64(source + 8 * left))
            left += 1


@door
def _order(block: int) -> int:
    """Merge runs of 1, 2, 4, ... from one array into the other; how often."""
    blob, ends = load_i64(block), load_i64(block + 8)
    source, target, count = load_i64(block + 16), load_i64(block + 24), load_i64(block + 32)
    turns = 0
    size = 1
    while size < count:
        low = 0
        while low < count:
            middle = min(low + size, count)
            high = min(middle + size, count)
            _merge(blob, ends, source, target, low, middle, high)
            low = high
        source, target = target, source
        turns += 1
        size *= 2
    return turns
