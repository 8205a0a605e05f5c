"""Sets of offsets as bits: uint64 arrays, bit i of word i >> 6, lowest bit first.

Invariants:
- Bits at and above the length a set was made for are 0 in `zeros`, `ones` and `from_offsets`; the
  functions that take n look at no bit above it.
- A published set is never edited: `set_bits` is for the one who made it and has not shown it yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_kernels.jit import (
    address_of,
    call,
    ctpop,
    cttz,
    door,
    load_i64,
    load_u32,
    store_i32,
    store_i64,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bits = NDArray[np.uint64]


def words_for(n: int) -> int:
    """Words of a set of offsets below n."""
    return (n + 63) >> 6


def zeros(n: int) -> Bits:
    """The empty set."""
    return np.zeros(words_for(n), np.uint64)


def ones(n: int) -> Bits:
    """The set of all offsets below n."""
    made = np.full(words_for(n), ~np.uint64(0), np.uint64)
    if n & 63:
        made[-1] = _below(n & 63)
    return made


def _below(bit: int) -> np.uint64:
    return np.uint64((1 << bit) - 1)


def from_offsets(n: int, offsets: NDArray[np.uint32]) -> Bits:
    """The set of the given offsets, all below n. IndexError if one is outside its last word."""
    made = zeros(n)
    set_bits(made, offsets)
    return made


def set_bits(bits: Bits, offsets: NDArray[np.uint32]) -> None:
    """Add offsets to `bits`, in place. IndexError, and nothing set, if one is outside."""
    if not offsets.size:
        return
    if call(_set_bits, address_of(bits), 64 * bits.size, address_of(offsets), offsets.size):
        raise IndexError(f"offset {offsets.max()} in a set of {64 * bits.size}")


def test(bits: Bits, i: int) -> bool:
    """Whether offset i is in the set. IndexError if it is outside."""
    return bool(int(bits[i >> 6]) >> (i & 63) & 1)


test.__test__ = False  # type: ignore[attr-defined]  # pytest takes the name for one of its own


def count(bits: Bits, n: int) -> int:
    """How many offsets below n are in the set. IndexError if n is outside."""
    if n > 64 * bits.size:
        raise IndexError(f"{n} offsets asked of a set of {64 * bits.size}")
    return call(_count, address_of(bits), n)


def and_not(a: Bits, b: Bits) -> Bits:
    """A new set: what is in `a` and not in `b`. `b` may be of another length."""
    made = a.copy()
    shared = min(a.size, b.size)
    made[:shared] &= ~b[:shared]
    return made


def to_offsets(bits: Bits, n: int) -> NDArray[np.uint32]:
    """The offsets below n that are in the set, ascending. IndexError if n is outside."""
    out = np.empty(count(bits, n), np.uint32)
    call(_to_offsets, address_of(bits), address_of(out), out.size)
    return out


# --- kernels ---------------------------------------------------------------------------------


@door
def _set_bits(block: int) -> int:
    bits, end = load_i64(block), load_i64(block + 8)
    offsets, count = load_i64(block + 16), load_i64(block + 24)
    highest = 0
    for i in range(count):
        highest = max(highest, load_u32(offsets + 4 * i))
    if highest >= end:
        return 1
    for i in range(count):
        offset = load_u32(offsets + 4 * i)
        word = bits + 8 * (offset >> 6)
        store_i64(word, load_i64(word) | (1 << (offset & 63)))
    return 0


@door
def _count(block: int) -> int:
    bits, n = load_i64(block), load_i64(block + 8)
    found = 0
    for word in range(n >> 6):
        found += ctpop(load_i64(bits + 8 * word))
    if n & 63:
        found += ctpop(load_i64(bits + 8 * (n >> 6)) & ((1 << (n & 63)) - 1))
    return found


@door
def _to_offsets(block: int) -> int:
    bits, out, wanted = load_i64(block), load_i64(block + 8), load_i64(block + 16)
    found = 0
    first = 0
    while found < wanted:
        word = load_i64(bits + (first >> 3))
        while word != 0 and found < wanted:
            store_i32(out + 4 * found, first + cttz(word))
            word &= word - 1
            found += 1
        first += 64
    return 0
