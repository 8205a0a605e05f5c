"""The id tracker's hash table, from id rows to newest offsets, and the order of id rows.

Invariants:
- A table is int32[capacity], capacity a power of two; -1 is an empty slot, anything else an offset
  into the column `ids`. Open addressing, linear probing, no removal: a slot that was taken stays
  taken, by the same id, with an offset that only grows.
- One writer may insert while readers find, in other threads and without a lock. A slot is one
  aligned four-byte store, a release after the rows it points to; readers acquire it. The id row and
  previous[offset] are therefore written before `insert`.
- A reader's `ids` and `previous` reach as far as the table's offsets: table and columns are
  replaced together when they grow. An offset beyond them is passed over, never read.
- Every walk is bounded: by the capacity, and because previous[offset] < offset.
- Id rows are uint64[3] (kind, hi, lo); their lexicographic order is the order of ids.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from edge_kernels.jit import (
    address_of,
    call,
    door,
    inner,
    load_i32,
    load_i64,
    load_u32,
    shift_right,
    store_i32,
    store_i64,
)
from edge_kernels.topk import ID_BYTES, offer, offset_of, row_before, sort

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ids = NDArray[np.uint64]
    Table = NDArray[np.int32]
    Offsets = NDArray[np.uint32]

FULL = -1


# --- the table -------------------------------------------------------------------------------


def capacity_for(n: int) -> int:
    """Slots for n ids: a power of two, at least 2, of which n take no more than half."""
    return 1 << max(1, (2 * n - 1).bit_length())


def new_table(capacity: int) -> Table:
    """An empty table. ValueError unless `capacity` is a power of two."""
    if capacity < 1 or capacity & (capacity - 1):
        raise ValueError(f"a capacity of {capacity} is no power of two")
    return np.full(capacity, -1, np.int32)


def find(
    table: Table,
    ids: Ids,
    previous: NDArray[np.int32],
    watermark: int,
    deleted: NDArray[np.uint64] | None,
    wanted: Ids,
) -> NDArray[np.int64]:
    """Offset int64[m] of each id of `wanted` (uint64[m,3]) as it was at `watermark`, else -1.

    `ids` is uint64[N,3] and `previous` int32[N] (-1: none) by offset, `deleted` a bitset of offsets
    that count as absent (None, or bits beyond its end: not deleted).
    """
    out = np.empty(wanted.shape[0], np.int64)
    call(
        _find,
        address_of(table),
        table.size,
        address_of(ids),
        min(ids.shape[0], previous.shape[0]),
        address_of(wanted),
        wanted.shape[0],
        address_of(out),
        address_of(previous),
        watermark,
        0 if deleted is None else address_of(deleted),
        0 if deleted is None else 64 * deleted.size,
    )
    return out


def newest(table: Table, ids: Ids, wanted: Ids) -> NDArray[np.int64]:
    """Newest offset int64[m] of each id of `wanted` (uint64[m,3]), else -1.

    No watermark is asked: the writer fills previous[] from it, before `insert`.
    """
    out = np.empty(wanted.shape[0], np.int64)
    call(
        _find,
        address_of(table),
        table.size,
        address_of(ids),
        ids.shape[0],
        address_of(wanted),
        wanted.shape[0],
        address_of(out),
        0,  # no step back below a watermark that no offset reaches
        ids.shape[0],
        0,
        0,
    )
    return out


def insert(table: Table, ids: Ids, start: int, stop: int) -> None:
    """Make start..stop-1 the newest offsets of their ids (rows of `ids`, uint64[N,3]).

    ValueError when the table is full (those inserted until then stay) or N is less than `stop`.
    """
    if not 0 <= start <= stop <= ids.shape[0]:
        raise ValueError(f"offsets {start}..{stop} of {ids.shape[0]} ids")
    arguments = address_of(table), table.size, address_of(ids), start, stop
    if call(_insert, *arguments) == FULL:
        raise ValueError(f"a table of {table.size} slots is full")


def rebuild(ids: Ids, n: int, capacity: int) -> Table:
    """A new table of the first n rows of `ids`, in order: the last row of an id is its newest."""
    table = new_table(capacity)
    insert(table, ids, 0, n)
    return table


# --- the order -------------------------------------------------------------------------------


def order(ids: Ids, offsets: Offsets) -> Offsets:
    """`offsets` (uint32[m]) sorted by their rows in `ids` (uint64[N,3]).

    IndexError if one is outside.
    """
    rows = ids[offsets]
    if _is_ascending(rows):
        return offsets.copy()
    if not rows[:, :2].any():  # integers only
        return offsets[np.argsort(rows[:, 2])]
    return offsets[np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))]


def smallest(ids: Ids, offsets: Offsets, k: int, after: Ids | None, inclusive: bool) -> Offsets:
    """The k offsets of the smallest id rows, sorted by id, of those that lie after a row.

    `ids` uint64[N,3], `offsets` uint32[m], `after` uint64[3] or None (from the start), which itself
    belongs to it when `inclusive`. One pass and a heap of k; a sort where k is a large part of m.
    IndexError if an offset is outside.
    """
    if k <= 0:
        return np.empty(0, np.uint32)
    if k > max(64, offsets.size // 10):  # measured: from there on a sort of all is faster
        return _part_after(ids, order(ids, offsets), after, inclusive)[:k]
    heap = np.empty(k, np.int64)
    size = call(
        _smallest,
        address_of(ids),
        ids.shape[0],
        address_of(offsets),
        offsets.size,
        0 if after is None else address_of(after),
        int(inclusive),
        address_of(heap),
        k,
    )
    if size == OUTSIDE:
        raise IndexError(f"an offset is not among {ids.shape[0]} ids")
    return heap[:size].astype(np.uint32)


def _part_after(ids: Ids, ordered: Offsets, after: Ids | None, inclusive: bool) -> Offsets:
    if after is None:
        return ordered
    cut = bisect_left if inclusive else bisect_right
    return ordered[cut(ordered, after.tolist(), key=lambda offset: ids[offset].tolist()) :]


def distinct_last(ids: Ids) -> Offsets:
    """Positions uint32[m], ascending, of the last occurrence of every id in `ids` (uint64[n,3])."""
    n = ids.shape[0]
    if _is_ascending(ids):
        return np.arange(n, dtype=np.uint32)
    table, out = new_table(capacity_for(n)), np.empty(n, np.uint32)
    first = call(_distinct_last, address_of(table), table.size, address_of(ids), n, address_of(out))
    return out[first:]


def _is_ascending(rows: Ids) -> bool:
    """Whether every row sorts before the next."""
    return bool(call(_ascending, address_of(rows), rows.shape[0]))


# --- kernels ---------------------------------------------------------------------------------

OUTSIDE = -1


@intrinsic
def _load_slot(typingctx: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer = builder.inttoptr(values[0], ir.IntType(32).as_pointer())
        return builder.sext(builder.load_atomic(pointer, "acquire", 4), ir.IntType(64))

    return types.int64(types.int64), generate


@intrinsic
def _store_slot(typingctx: Any, address: Any, offset: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer = builder.inttoptr(values[0], ir.IntType(32).as_pointer())
        narrow = builder.trunc(values[1], ir.IntType(32))
        builder.store_atomic(narrow, pointer, "release", 4)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@inner
def _mix(x: int) -> int:
    """The finaliser of splitmix64 (Steele, Lea and Flood, 2014)."""
    x = (x ^ shift_right(x, 30)) * -0x40A7B892E31B1A47
    x = (x ^ shift_right(x, 27)) * -0x6B2FB644ECCEEE15
    return x ^ shift_right(x, 31)


@inner
def _hash(row: int) -> int:
    kind, hi, lo = load_i64(row), load_i64(row + 8), load_i64(row + 16)
    return _mix(lo ^ _mix(hi ^ _mix(kind + 1)))


@inner
def _same_row(a: int, b: int) -> bool:
    return (
        load_i64(a + 16) == load_i64(b + 16)
        and load_i64(a + 8) == load_i64(b + 8)
        and load_i64(a) == load_i64(b)
    )


@inner
def _probe(table: int, capacity: int, ids: int, n: int, row: int) -> tuple[int, int]:
    """(address of the slot, its offset) of an id row; offset -1: free; slot 0: no slot is left.

    The slot is read once: a second look might see what the writer has put there since.
    """
    at = _hash(row)
    for _ in range(capacity):
        slot = table + 4 * (at & (capacity - 1))
        offset = _load_slot(slot)
        if offset < 0 or (offset < n and _same_row(ids + ID_BYTES * offset, row)):
            return slot, offset
        at += 1
    return 0, -1


@inner
def _is_deleted(deleted: int, length: int, offset: int) -> bool:
    if offset >= length:
        return False
    return (shift_right(load_i64(deleted + 8 * (offset >> 6)), offset & 63) & 1) != 0


@inner
def _step_back(previous: int, watermark: int, offset: int) -> int:
    while offset >= watermark:
        older = load_i32(previous + 4 * offset)
        if older < 0 or older >= offset:
            return -1
        offset = older
    return offset


@door
def _find(block: int) -> int:
    table, capacity = load_i64(block), load_i64(block + 8)
    ids, n = load_i64(block + 16), load_i64(block + 24)
    wanted, count, out = load_i64(block + 32), load_i64(block + 40), load_i64(block + 48)
    previous, watermark = load_i64(block + 56), load_i64(block + 64)
    deleted, length = load_i64(block + 72), load_i64(block + 80)
    for i in range(count):
        _, offset = _probe(table, capacity, ids, n, wanted + ID_BYTES * i)
        if offset >= watermark:
            offset = _step_back(previous, watermark, offset)
        if offset >= 0 and _is_deleted(deleted, length, offset):
            offset = -1
        store_i64(out + 8 * i, offset)
    return 0


@door
def _insert(block: int) -> int:
    table, capacity, ids = load_i64(block), load_i64(block + 8), load_i64(block + 16)
    start, stop = load_i64(block + 24), load_i64(block + 32)
    for offset in range(start, stop):
        slot, _ = _probe(table, capacity, ids, stop, ids + ID_BYTES * offset)
        if slot == 0:
            return FULL
        _store_slot(slot, offset)
    return 0


@door
def _ascending(block: int) -> int:
    rows, n = load_i64(block), load_i64(block + 8)
    for row in range(rows + ID_BYTES, rows + n * ID_BYTES, ID_BYTES):
        if not row_before(row - ID_BYTES, row):
            return 0
    return 1


@inner
def _lies_after(row: int, after: int, inclusive: int) -> bool:
    if after == 0:
        return True
    return not row_before(row, after) if inclusive != 0 else row_before(after, row)


@door
def _smallest(block: int) -> int:
    ids, n = load_i64(block), load_i64(block + 8)
    offsets, count = load_i64(block + 16), load_i64(block + 24)
    after, inclusive = load_i64(block + 32), load_i64(block + 40)
    heap, k = load_i64(block + 48), load_i64(block + 56)
    size = 0
    for i in range(count):
        offset = load_u32(offsets + 4 * i)
        if offset >= n:
            return OUTSIDE
        if _lies_after(ids + ID_BYTES * offset, after, inclusive):
            size = offer(heap, size, k, offset, ids)  # all of one distance: 0
    sort(heap, size, ids)
    for i in range(size):
        store_i64(heap + 8 * i, offset_of(load_i64(heap + 8 * i)))
    return size


@door
def _distinct_last(block: int) -> int:
    table, capacity = load_i64(block), load_i64(block + 8)
    ids, n, out = load_i64(block + 16), load_i64(block + 24), load_i64(block + 32)
    first = n
    for position in range(n - 1, -1, -1):
        slot, taken = _probe(table, capacity, ids, n, ids + ID_BYTES * position)
        if taken < 0:
            _store_slot(slot, position)
            first -= 1
            store_i32(out + 4 * first, position)
    return first
