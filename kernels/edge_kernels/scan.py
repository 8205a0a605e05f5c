"""Exact search: the distances of queries to all rows, to the allowed ones or to a list of them.

Invariants:
- Offsets are global; `base` is the offset of the first row of the matrix, so a column in chunks is
  scanned by one call each into one TopK.
- Every matrix handed to one TopK belongs to the same ids: equal distances are decided by them.
- What is found does not depend on the way: scan, scan with `allowed` and scan_list, for one query
  or several together, give the same bits for the same row.
- Rows are of any encoding, and the query has the form that belongs to it (`encodings`).
"""

from __future__ import annotations

from array import array
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
    move_bytes,
    store_i32,
    store_i64,
)
from edge_kernels.measure import PITCH, QUERY_STEP, TILE_ROWS, distances_of, distances_of_several
from edge_kernels.topk import TopK, offer_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Rows = NDArray[Any]
    Query = NDArray[Any]
    Ids = NDArray[np.uint64]
    Offsets = NDArray[np.uint32]

__all__ = [
    "TopK",
    "distances",
    "distances_together",
    "scan",
    "scan_list",
    "scan_list_together",
    "scan_together",
]


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
    scan_together(code, (query,), rows, count, base, allowed, ids, (top,))


def scan_together(
    code: int,
    queries: Sequence[Query],
    rows: Rows,
    count: int,
    base: int,
    allowed: NDArray[np.uint64] | None,
    ids: Ids,
    tops: Sequence[TopK],
) -> None:
    """`scan` for several queries, each with its own `TopK`: a row comes once from memory."""
    if count > rows.shape[0] or base + count > ids.shape[0]:
        raise ValueError(
            f"{count} rows asked of {rows.shape[0]}, from {base} of {ids.shape[0]} ids"
        )
    if allowed is not None and 64 * allowed.size < base + count:
        raise ValueError(f"allowed has {allowed.size} words for {base + count} offsets")
    filtered = 0 if allowed is None else address_of(allowed)
    _run(code, queries, rows, base, base + count, 0, filtered, count, ids, tops)


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
    scan_list_together(code, (query,), rows, base, offsets, ids, (top,))


def scan_list_together(
    code: int,
    queries: Sequence[Query],
    rows: Rows,
    base: int,
    offsets: Offsets,
    ids: Ids,
    tops: Sequence[TopK],
) -> None:
    """`scan_list` for several queries, each with its own `TopK`."""
    end = min(base + rows.shape[0], ids.shape[0])
    _run(code, queries, rows, base, end, address_of(offsets), 0, offsets.size, ids, tops)


def distances(
    code: int, query: Query, rows: Rows, base: int, offsets: Offsets
) -> NDArray[np.float32]:
    """Distances float32[m] of `query` to the rows at `offsets` (uint32[m], global), in that order.

    IndexError if an offset is outside, ValueError if query and rows do not belong together.
    """
    size = _row_bytes(code, (query,), rows)
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


def distances_together(code: int, queries: Rows, rows: Rows, out: NDArray[np.float32]) -> None:
    """Distances of each query, a row of the matrix `queries`, to all rows, to `out`
    float32[queries, rows] (C-contiguous). ValueError if something does not fit.
    """
    many, count = len(queries), len(rows)
    if out.shape != (many, count) or not out.flags.c_contiguous:
        raise ValueError(f"out is {out.shape}, for {many} queries and {count} rows")
    if not many or not count:
        return
    size = _row_bytes(code, (queries[0],), rows)
    scratch = np.empty(PITCH // 4 * many, np.float32)
    words = np.zeros(8 + QUERY_STEP // 8 * many, np.int64)
    words[:5] = measure_of(code), address_of_any(rows), size, count, _rows_at_once(size)
    words[5:8] = address_of(scratch), address_of(out), many
    first, step = address_of_any(queries), queries.strides[0]
    words[8 :: QUERY_STEP // 8] = first + step * np.arange(many)
    _table(address_of(words))


def _row_bytes(code: int, queries: Sequence[Query], rows: Rows) -> int:
    size = check_rows(code, rows)
    for query in queries:
        check_query(code, query, size)
    return size


def _check_inside(result: int, base: int, end: int) -> None:
    if result == OUTSIDE:
        raise IndexError(f"an offset is not in {base}..{end - 1}")


def _run(
    code: int,
    queries: Sequence[Query],
    rows: Rows,
    base: int,
    end: int,
    listed: int,
    allowed: int,
    count: int,
    ids: Ids,
    tops: Sequence[TopK],
) -> None:
    size = _row_bytes(code, queries, rows)
    asked = [(query, top) for query, top in zip(queries, tops, strict=True) if top.k]
    if not asked or not count:
        return
    for _, top in asked:
        top.reserve(count, ids)
    first, many = asked[0][1], len(asked)
    out = None if many == 1 else np.empty(PITCH // 4 * many, np.float32)
    words = [
        measure_of(code),
        address_of_any(rows) - base * size,
        size,
        listed,
        base,
        end,
        count,
        allowed,
        first.ids,
        first.scratch,
        first.scratch if out is None else address_of(out),
        BLOCK if out is None else _rows_at_once(size),
        many,
    ]
    for query, top in asked:
        words += (address_of_any(query), top.heap, top.k, top.size)
    block = array("q", words)
    _check_inside(_scan(block.buffer_info()[0]), base, end)
    for (_, top), kept in zip(asked, block[SEVERAL // 8 + 4 :: 4], strict=True):
        top.size = kept


def _rows_at_once(size: int) -> int:
    """How many rows stay in the first cache while queries pass over them: a multiple of three."""
    return max(3, min(TILE_ROWS, CACHED_BYTES // size // 3 * 3))


# --- kernels ---------------------------------------------------------------------------------
# `rows` is the address that offset 0 would have, so offsets need no shift. A list is at most BLOCK
# offsets; scratch holds the distances of a lone query (float32[BLOCK]) and then such a list
# (uint32[BLOCK]). At the end of a block stand the queries: how many, and for each its address and
# (heap, k, how many are kept).

MEASURE, ROWS, SIZE, LISTED, BASE, END, COUNT, ALLOWED, IDS, SCRATCH, OUT, STEP, SEVERAL = range(
    0, 104, 8
)

BLOCK = 128
CACHED_BYTES = 16_384  # half of what a small first cache holds
OUTSIDE = -1


@inner
def _all_inside(offsets: int, count: int, base: int, end: int) -> bool:
    outside = 0
    for i in range(count):
        offset = load_u32(offsets + 4 * i)
        outside |= (offset - base) | (end - 1 - offset)  # negative when one of them is
    return outside >= 0


@inner
def _offer(block: int, offsets: int, first: int, count: int) -> None:
    """Offer to each query its distances to `count` rows."""
    many, out, ids = load_i64(block + SEVERAL), load_i64(block + OUT), load_i64(block + IDS)
    top = block + SEVERAL + 16
    for at in range(many):
        heap, k, kept = load_i64(top), load_i64(top + 8), load_i64(top + 16)
        kept = offer_all(out + PITCH * at, offsets, first, count, heap, kept, k, ids)
        store_i64(top + 16, kept)
        top += QUERY_STEP


@inner
def _rate(block: int, offsets: int, first: int, count: int) -> None:
    """Compare `count` rows: those at the uint32 offsets, or (0) first, first + 1, ..."""
    measure, rows, size = load_i64(block + MEASURE), load_i64(block + ROWS), load_i64(block + SIZE)
    queries, out, step = block + SEVERAL, load_i64(block + OUT), load_i64(block + STEP)
    for at in range(0, count, step):
        some = min(step, count - at)
        listed = 0 if offsets == 0 else offsets + 4 * at
        start = rows if offsets != 0 else rows + (first + at) * size
        if load_i64(queries) == 1:
            distances_of(measure, load_i64(queries + 8), start, size, listed, some, out)
        else:
            distances_of_several(measure, queries, start, size, listed, some, out)
        _offer(block, listed, first + at, some)


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
def _scan_allowed(block: int, allowed: int, first: int, end: int) -> None:
    offsets = load_i64(block + SCRATCH) + 4 * BLOCK
    full = offsets + 4 * (BLOCK - 64)  # beyond it, another word might not fit
    word, stop = first >> 6, (end + 63) >> 6
    while word < stop:
        listed = offsets
        while word < stop and listed <= full:
            listed = _list_bits(_word_within(allowed, word, first, end), 64 * word, listed)
            word += 1
        _rate(block, offsets, 0, (listed - offsets) >> 2)


@door
def _scan(block: int) -> int:
    listed, base, end = load_i64(block + LISTED), load_i64(block + BASE), load_i64(block + END)
    count, allowed = load_i64(block + COUNT), load_i64(block + ALLOWED)
    if allowed != 0:
        _scan_allowed(block, allowed, base, end)
    elif listed == 0 or _all_inside(listed, count, base, end):
        _rate(block, listed, base, count)
    else:
        return OUTSIDE
    return 0


@door
def _table(block: int) -> int:
    measure, rows, size = load_i64(block), load_i64(block + 8), load_i64(block + 16)
    count, step, scratch = load_i64(block + 24), load_i64(block + 32), load_i64(block + 40)
    out, queries = load_i64(block + 48), block + 56
    for at in range(0, count, step):
        some = min(step, count - at)
        distances_of_several(measure, queries, rows + size * at, size, 0, some, scratch)
        for query in range(load_i64(queries)):
            to = out + 4 * (query * count + at)
            move_bytes(to, scratch + PITCH * query, 4 * some)
    return 0


@door
def _distances(block: int) -> int:
    measure, query = load_i64(block), load_i64(block + 8)
    rows, size = load_i64(block + 16), load_i64(block + 24)
    offsets, count, out = load_i64(block + 32), load_i64(block + 56), load_i64(block + 64)
    if not _all_inside(offsets, count, load_i64(block + 40), load_i64(block + 48)):
        return OUTSIDE
    distances_of(measure, query, rows, size, offsets, count, out)
    return 0
