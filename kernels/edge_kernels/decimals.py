"""Float32 numbers as the JSON that they are written in, without an object for each.

Invariant: what is read back as float32, directly or through float64, is the number that was
written. Nine digits tell a float32 from its neighbours by a factor of six: scaling in float64, one
rounding a step, leaves all but a millionth of that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_kernels.jit import (
    address_of,
    call,
    door,
    inner,
    load_f32,
    load_i32,
    load_i64,
    move_bytes,
    store_i64,
    store_u8,
)
from edge_kernels.rows import all_finite

if TYPE_CHECKING:
    from numpy.typing import NDArray

LONGEST = 20
"""Bytes of a number, and what stands before and behind it."""

_MINUS, _POINT, _ZERO, _COMMA, _E = 45, 46, 48, 44, 101
_OPEN, _CLOSE = 91, 93
_LEAST_PLAIN, _MOST_PLAIN = -5, 8
"""Powers of ten of the first digit between which a number is written without an exponent."""


def json_rows(block: NDArray[np.float32]) -> tuple[memoryview, NDArray[np.int64]]:
    """(text, ends int64[n]) of float32[n, dim]: n arrays of numbers with a comma after each; row i
    ends before ends[i], and the one after it begins at ends[i] + 1.

    ValueError for another type, and for numbers that are not finite, which JSON has no words for.
    """
    if block.dtype != np.float32 or block.ndim != 2:
        raise ValueError(f"{block.dtype}[{block.ndim}-d] is no block of float32 rows")
    numbers = np.ascontiguousarray(block)
    if not all_finite(numbers):
        raise ValueError("a number that is not finite")
    n, dim = numbers.shape
    text, ends = np.empty(n * (dim * LONGEST + 3), np.uint8), np.empty(n, np.int64)
    used = 0
    if n:
        used = call(_rows, address_of(numbers), n, dim, address_of(text), address_of(ends))
    return text[:used].data, ends


# --- kernels ---------------------------------------------------------------------------------


@inner
def _tenth(value: int) -> int:
    """Return value // 10 of 0 <= value < 2^31: a division by a number that may be negative costs
    several times as much."""
    return (value * 0xCCCCCCCD) >> 35


@inner
def _digits(out: int, value: int, count: int) -> None:
    for place in range(count - 1, -1, -1):
        rest = _tenth(value)
        store_u8(out + place, _ZERO + value - 10 * rest)
        value = rest


@inner
def _with_point(out: int, value: int, count: int, whole: int) -> int:
    """Write `count` digits, the first `whole` of them before the point."""
    _digits(out + 1, value, count)
    move_bytes(out, out + 1, whole)
    store_u8(out + whole, _POINT)
    return out + count + 1


@inner
def _small(out: int, value: int, count: int, zeros: int) -> int:
    """Write a number below one."""
    store_u8(out, _ZERO)
    store_u8(out + 1, _POINT)
    for place in range(zeros):
        store_u8(out + 2 + place, _ZERO)
    _digits(out + 2 + zeros, value, count)
    return out + 2 + zeros + count


@inner
def _plain(out: int, value: int, count: int, power: int) -> int:
    if power < 0:
        return _small(out, value, count, -power - 1)
    if count > power + 1:
        return _with_point(out, value, count, power + 1)
    _digits(out, value, count)
    for place in range(count, power + 1):
        store_u8(out + place, _ZERO)
    store_u8(out + power + 1, _POINT)
    store_u8(out + power + 2, _ZERO)
    return out + power + 3


@inner
def _with_exponent(out: int, value: int, count: int, power: int) -> int:
    if count == 1:
        _digits(out, value, 1)
        out += 1
    else:
        out = _with_point(out, value, count, 1)
    store_u8(out, _E)
    out += 1
    if power < 0:
        store_u8(out, _MINUS)
        out += 1
        power = -power
    width = 1 if power < 10 else 2
    _digits(out, power, width)
    return out + width


@inner
def _number(out: int, at: int) -> int:
    """Write the number at an address; return where it ends."""
    if load_i32(at) < 0:
        store_u8(out, _MINUS)
        out += 1
    size = abs(np.float64(load_f32(at)))
    if size == 0.0:
        return _small(out, 0, 1, 0)
    power = 8
    while size < 1.0:
        size *= 1e8
        power -= 8
    while size < 1e4:
        size *= 1e4
        power -= 4
    while size < 1e8:
        size *= 10.0
        power -= 1
    while size >= 1e9:
        size /= 10.0
        power += 1
    value = int(size + 0.5)
    if value == 1_000_000_000:
        value = 100_000_000
        power += 1
    count = 9
    while value == 10 * _tenth(value):
        value = _tenth(value)
        count -= 1
    if _LEAST_PLAIN <= power <= _MOST_PLAIN:
        return _plain(out, value, count, power)
    return _with_exponent(out, value, count, power)


@door
def _rows(block: int) -> int:
    numbers, n, dim = load_i64(block), load_i64(block + 8), load_i64(block + 16)
    text, ends = load_i64(block + 24), load_i64(block + 32)
    out = text
    for row in range(n):
        store_u8(out, _OPEN)
        out += 1
        for column in range(dim):
            if column:
                store_u8(out, _COMMA)
                out += 1
            out = _number(out, numbers)
            numbers += 4
        store_u8(out, _CLOSE)
        store_i64(ends + 8 * row, out + 1 - text)
        store_u8(out + 1, _COMMA)
        out += 2
    return out - text
