"""Exact search: the distances of one query to all rows, to the allowed ones or to a list of them.

Invariants:
- Offsets are global; `base` is the offset of the first row of the matrix, so a column in chunks is
  scanned by one call each into one TopK.
- Every matrix handed to one TopK belongs to the same ids: equal distances are decided by them.
- What is found does not depend on the way: scan, scan with `allowed` and scan_list give the same
  bits for the same row.
- Rows are of any encoding, and the query has the form that belongs to it (`encodings`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edge_kernels.distance import measure_of
from edge_kernels.encodings import check_query, check_rows
from edge_kernels.jit import (
    address_of,
    address_of_any,
    call,
    cttz,
    door,
    inner,
    load_i64,
    load_u32,
    store_i32,
)
from edge_kernels.measure import distances_of
from edge_kernels.topk import TopK, offer_all

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[Any]
    Query = NDArray[Any]
    Ids = NDArray[np.uint64]
    Offsets = NDArray[np.uint32]

__all__ = ["TopK", "distances", "scan", "scan_list"]


def scan(
    code: int,
    query: Query,
    rows: Rows,
    count: int,
    base: int,
    allowed: NDArray[np.uint64] | None,
    ids: Ids,
    top: TopK,
) -> None:
    """Offer rows[0:count], offsets base..base+count-1, to `top`.

    `rows` is a matrix of at least `count` rows of the encoding in `code`, `query` has its query
    form, `ids` is uint64[>=base+count, 3], `allowed` a bitset over offsets (None: all). ValueError
    if one of them is too short, or query and rows do not belong together.
    """
    if count > rows.shape[0] or base + count > ids.shape[0]:
        raise ValueError(
            f"{count} rows asked of {rows.shape[0]}, from {base} of {ids.shape[0]} ids"
        )
    if allowed is not None and 64 * allowed.size < base + count:
        raise ValueError(f"allowed has {allowed.size} words for {base + count} offsets")
    filtered = 0 if allowed is None else address_of(allowed)
    _run(code, query, rows, base, base + count, 0, filtered, count, ids, top)


def scan_list(
    code: int,
    query: Query,
    rows: Rows,
    base: int,
    offsets: Offsets,
    ids: Ids,
    top: TopK,
) -> None:
    """Offer only `offsets` (uint32, global, best ascending), which all lie in `rows`, to `top`.

    Shapes as in `scan`. IndexError, and nothing offered, if an offset is outside rows or ids.
    """
    end = min(base + rows.shape[0], ids.shape[0])
    _run(code, query, rows, base, end, address_of(offsets), 0, offsets.size, ids, top)


def distances(
    code: int, query: Query, rows: Rows, base: int, offsets: Offsets
) -> NDArray[np.float32]:
    """Distances float32[m] of `query` to the rows at `offsets` (uint32[m], global), in that order.

    IndexError if an offset is outside, ValueError if query and rows do not belong together.
    """
    size = _row_bytes(code, query, rows)
    end = base + rows.shape[0]
    out = np.empty(offsets.size, np.float32)
    done = call(
        _distances,
        measure_of(code),
        address_of_any(query),
        address_of_any(rows) - base * size,
        size,
        address_of(offsets),
        base,
        end,
        offsets.size,
        address_of(out),
    )
    _check_inside(done, base, end)
    return out


def _row_bytes(code: int, query: Query, rows: Rows) -> int:
    size = check_rows(code, rows)
    check_query(code, query, size)
    return size


def _check_inside(result: int, base: int, end: int) -> None:
    if result == OUTSIDE:
        raise IndexError(f"an offset is not in {base}..{end - 1}")


def _run(
    code: int,
    query: Query,
    rows: Rows,
    base: int,
    end: int,
    listed: int,
    allowed: int,
    count: int,
    ids: Ids,
    top: TopK,
) -> None:
    size = _row_bytes(code, query, rows)
    if not top.k or not count:
        return
    top.reserve(count, ids)
    kept = call(
        _scan,
        measure_of(code),
        address_of_any(query),
        address_of_any(rows) - base * size,
        size,
        listed,
        base,
        end,
        count,
        allowed,
        top.scratch,
        top.heap,
        top.size,
        top.k,
        top.ids,
    )
    _check_inside(kept, base, end)
    top.size = kept


# --- kernels ---------------------------------------------------------------------------------
# `rows` is the address that offset 0 would have, so offsets need no shift. A block is at most
# BLOCK offsets; scratch holds its distances (float32[BLOCK]) and then a list (uint32[BLOCK]).

BLOCK = 128
OUTSIDE = -1


@inner
def _all_inside(offsets: int, count: int, base: int, end: int) -> bool:
    outside = 0
    for i in range(count):
        offset = load_u32(offsets + 4 * i)
        outside |= (offset - base) | (end - 1 - offset)  # negative when one of them is
    return outside >= 0


@inner
def _rate(block: int, offsets: int, first: int, count: int, kept: int) -> int:
    """Offer `count` rows: those of the uint32 offsets at `offsets`, or (0) first, first + 1, ..."""
    measure, query = load_i64(block), load_i64(block + 8)
    rows, size = load_i64(block + 16), load_i64(block + 24)
    scratch, heap = load_i64(block + 72), load_i64(block + 80)
    k, ids = load_i64(block + 96), load_i64(block + 104)
    start = rows if offsets != 0 else rows + first * size
    distances_of(measure, query, start, size, offsets, count, scratch)
    return offer_all(scratch, offsets, first, count, heap, kept, k, ids)


@inner
def _word_within(allowed: int, word: int, first: int, end: int) -> int:
    """Word of the bitset, cleared outside first..end-1."""
    bits = load_i64(allowed + 8 * word)
    if 64 * word < first:
        bits &= -1 << (first & 63)
    if 64 * word + 64 > end:
        bits &= (1 << (end & 63)) - 1
    return bits


@inner
def _list_bits(bits: int, offset: int, listed: int) -> int:
    """Write offset + i for every set bit i to uint32 at `listed`; the address after the last."""
    while bits != 0:
        store_i32(listed, offset + cttz(bits))
        listed += 4
        bits &= bits - 1
    return listed


@inner
def _scan_allowed(block: int, allowed: int, first: int, end: int, kept: int) -> int:
    offsets = load_i64(block + 72) + 4 * BLOCK
    full = offsets + 4 * (BLOCK - 64)  # beyond it, another word might not fit
    word, stop = first >> 6, (end + 63) >> 6
    while word < stop:
        listed = offsets
        while word < stop and listed <= full:
            listed = _list_bits(_word_within(allowed, word, first, end), 64 * word, listed)
            word += 1
        kept = _rate(block, offsets, 0, (listed - offsets) >> 2, kept)
    return kept


@inner
def _scan_blocks(block: int, listed: int, base: int, count: int, kept: int) -> int:
    for at in range(0, count, BLOCK):
        offsets = 0 if listed == 0 else listed + 4 * at
        kept = _rate(block, offsets, base + at, min(BLOCK, count - at), kept)
    return kept


@door
def _scan(block: int) -> int:
    listed, base, end = load_i64(block + 32), load_i64(block + 40), load_i64(block + 48)
    count, allowed, kept = load_i64(block + 56), load_i64(block + 64), load_i64(block + 88)
    if allowed != 0:
        return _scan_allowed(block, allowed, base, end, kept)
    if listed != 0 and not _all_inside(listed, count, base, end):
        return OUTSIDE
    return _scan_blocks(block, listed, base, count, kept)


@door
def _distances(block: int) -> int:
    measure, query = load_i64(block), load_i64(block + 8)
    rows, size = load_i64(block + 16), load_i64(block + 24)
    offsets, count, out = load_i64(block + 32), load_i64(block + 56), load_i64(block + 64)
    if not _all_inside(offsets, count, load_i64(block + 40), load_i64(block + 48)):
        return OUTSIDE
    distances_of(measure, query, rows, size, offsets, count, out)
    return 0
