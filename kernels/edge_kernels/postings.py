"""Postings: for each key, in order, the ascending offsets of the rows that have it.

    offsets[starts[slot] : starts[slot + 1]]    the rows of the key at `slot`

Invariants:
- `starts` is int64[keys + 1] and never falls; `offsets` is uint32[starts[-1]], below `rows`.
- A set of rows is given as bits (see `bits`) that reach as far as the offsets do.
- Sequences are tokens uint32 of rows one after another: row r has tokens[starts[r]:starts[r + 1]].
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_kernels import bits as sets
from edge_kernels.jit import (
    address_of,
    call,
    door,
    inner,
    load_i64,
    load_u32,
    store_i32,
    store_i64,
    store_u8,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Starts = NDArray[np.int64]
    Offsets = NDArray[np.uint32]
    Bits = NDArray[np.uint64]


def counts(starts: Starts, offsets: Offsets, allowed: Bits) -> NDArray[np.int64]:
    """int64[keys]: how many of the allowed rows each key has."""
    out = np.empty(starts.size - 1, np.int64)
    call(
        _counts,
        address_of(starts),
        address_of(offsets),
        address_of(allowed),
        address_of(out),
        out.size,
    )
    return out


def in_order(
    starts: Starts,
    offsets: Offsets,
    slots: range,
    allowed: Bits,
    want: int,
) -> tuple[Offsets, NDArray[np.int32]]:
    """(rows, slots): the allowed rows in the order of their first key in `slots`, each row once.

    It goes on until `want` rows are found, and then to the end of that key's rows, so that ties
    are whole. `slots` has step 1 or -1.
    """
    most = sets.count(allowed, 64 * allowed.size)
    found, keys = np.empty(most, np.uint32), np.empty(most, np.int32)
    left = allowed.copy()
    count = call(
        _in_order,
        address_of(starts),
        address_of(offsets),
        slots.start,
        slots.stop,
        slots.step,
        address_of(left),
        address_of(found),
        address_of(keys),
        want,
    )
    return found[:count], keys[:count]


def phrases(starts: Starts, tokens: Offsets, rows: Offsets, phrase: Offsets) -> NDArray[np.bool_]:
    """bool[rows]: whether the tokens of each row hold `phrase`, one token after another."""
    out = np.empty(rows.size, np.uint8)
    call(
        _phrases,
        address_of(starts),
        address_of(tokens),
        address_of(rows),
        rows.size,
        address_of(phrase),
        phrase.size,
        address_of(out),
    )
    return out.view(np.bool_)


# --- kernels ---------------------------------------------------------------------------------


@inner
def _has(bits: int, offset: int) -> int:
    return (load_i64(bits + 8 * (offset >> 6)) >> (offset & 63)) & 1


@door
def _counts(block: int) -> int:
    starts, offsets = load_i64(block), load_i64(block + 8)
    allowed, out, keys = load_i64(block + 16), load_i64(block + 24), load_i64(block + 32)
    place = load_i64(starts)
    for slot in range(keys):
        end = load_i64(starts + 8 * (slot + 1))
        found = 0
        while place < end:
            found += _has(allowed, load_u32(offsets + 4 * place))
            place += 1
        store_i64(out + 8 * slot, found)
    return 0


@door
def _in_order(block: int) -> int:
    starts, offsets = load_i64(block), load_i64(block + 8)
    slot, stop, step = load_i64(block + 16), load_i64(block + 24), load_i64(block + 32)
    left, rows, keys = load_i64(block + 40), load_i64(block + 48), load_i64(block + 56)
    want = load_i64(block + 64)
    found = 0
    while slot != stop and found < want:
        for place in range(load_i64(starts + 8 * slot), load_i64(starts + 8 * (slot + 1))):
            offset = load_u32(offsets + 4 * place)
            if _has(left, offset) != 0:
                word = left + 8 * (offset >> 6)
                store_i64(word, load_i64(word) & ~(1 << (offset & 63)))
                store_i32(rows + 4 * found, offset)
                store_i32(keys + 4 * found, slot)
                found += 1
        slot += step
    return found


@inner
def _holds(tokens: int, length: int, phrase: int, wanted: int) -> int:
    for first in range(length - wanted + 1):
        same = 0
        while same < wanted and load_u32(tokens + 4 * (first + same)) == load_u32(
            phrase + 4 * same
        ):
            same += 1
        if same == wanted:
            return 1
    return 0


@door
def _phrases(block: int) -> int:
    starts, tokens = load_i64(block), load_i64(block + 8)
    rows, count = load_i64(block + 16), load_i64(block + 24)
    phrase, wanted, out = load_i64(block + 32), load_i64(block + 40), load_i64(block + 48)
    for i in range(count):
        row = load_u32(rows + 4 * i)
        first, last = load_i64(starts + 8 * row), load_i64(starts + 8 * (row + 1))
        store_u8(out + i, _holds(tokens + 4 * first, last - first, phrase, wanted))
    return 0
