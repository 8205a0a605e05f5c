"""The best k of many candidates by (distance, id row), kept in one array of packed words.

Invariants:
- A candidate is one int64: order_key(distance) << 32 | offset. Equal distances are decided by the
  id rows of the offsets, so the order is total and does not depend on the order of arrival.
- The kept candidates are a binary heap with the worst of them first; no more than k of them.
- A NaN distance is no candidate.
- A TopK belongs to one query and is used by one thread at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_kernels.jit import (
    address_of,
    call,
    distance_of_key,
    door,
    inner,
    load_f32,
    load_i64,
    load_u32,
    load_u64,
    order_key,
    store_f32,
    store_i32,
    store_i64,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

ID_BYTES = 24  # an id row is uint64[3]: kind, hi, lo
SCRATCH_WORDS = 128  # what a scan needs beside the heap: 128 distances and 128 offsets


# --- the order -------------------------------------------------------------------------------


@inner
def row_before(left: int, right: int) -> bool:
    """Whether the id row at address `left` sorts before the one at `right`."""
    for word in range(0, ID_BYTES, 8):
        a, b = load_u64(left + word), load_u64(right + word)
        if a != b:
            return a < b  # type: ignore[no-any-return]
    return False


@inner
def offset_of(candidate: int) -> int:
    """Offset of a packed candidate."""
    return candidate & 0xFFFFFFFF


@inner
def pack(distance: float, offset: int) -> int:
    """The candidate of a float32 distance (no NaN) and an offset below 2^32."""
    return (order_key(distance) << 32) | offset


@inner
def comes_before(a: int, b: int, ids: int) -> bool:
    """Whether candidate `a` is better than `b`; `ids` is the address of uint64[N,3] by offset."""
    if (a >> 32) != (b >> 32):
        return a < b
    return row_before(ids + ID_BYTES * offset_of(a), ids + ID_BYTES * offset_of(b))


# --- the heap --------------------------------------------------------------------------------
# `heap` is the address of int64[k]; every candidate's parent comes after it.


@inner
def _sift_up(heap: int, at: int, candidate: int, ids: int) -> None:
    while at > 0:
        parent = (at - 1) >> 1
        above = load_i64(heap + 8 * parent)
        if not comes_before(above, candidate, ids):
            break
        store_i64(heap + 8 * at, above)
        at = parent
    store_i64(heap + 8 * at, candidate)


@inner
def _worse_child(heap: int, size: int, at: int, ids: int) -> int:
    left = 2 * at + 1
    right = left + 1
    if right >= size:
        return left
    first, second = load_i64(heap + 8 * left), load_i64(heap + 8 * right)
    return right if comes_before(first, second, ids) else left


@inner
def _sift_down(heap: int, size: int, candidate: int, ids: int) -> None:
    at = 0
    while 2 * at + 1 < size:
        child = _worse_child(heap, size, at, ids)
        below = load_i64(heap + 8 * child)
        if not comes_before(candidate, below, ids):
            break
        store_i64(heap + 8 * at, below)
        at = child
    store_i64(heap + 8 * at, candidate)


@inner
def offer(heap: int, size: int, k: int, candidate: int, ids: int) -> int:
    """Keep `candidate` if it is among the k (at least 1) best so far; the new size."""
    if size < k:
        _sift_up(heap, size, candidate, ids)
        return size + 1
    if comes_before(candidate, load_i64(heap), ids):
        _sift_down(heap, size, candidate, ids)
    return size


@inner
def offer_all(
    distances: int, offsets: int, first: int, count: int, heap: int, size: int, k: int, ids: int
) -> int:
    """Offer float32[count] at `distances`; the new size. `offsets` is the address of their
    uint32 offsets; 0 means first, first + 1, ...
    """
    for i in range(count):
        distance = load_f32(distances + 4 * i)
        if distance == distance:
            offset = first + i if offsets == 0 else load_u32(offsets + 4 * i)
            size = offer(heap, size, k, pack(distance, offset), ids)
    return size


@inner
def sort(heap: int, size: int, ids: int) -> None:
    """Order a heap best first. It is no heap afterwards."""
    for end in range(size - 1, 0, -1):
        last = load_i64(heap + 8 * end)
        store_i64(heap + 8 * end, load_i64(heap))
        _sift_down(heap, end, last, ids)


@inner
def _reverse(heap: int, size: int) -> None:
    """Best first becomes worst first, which is a heap again."""
    for at in range(size >> 1):
        left, right = heap + 8 * at, heap + 8 * (size - 1 - at)
        kept = load_i64(left)
        store_i64(left, load_i64(right))
        store_i64(right, kept)


@door
def _finish(block: int) -> int:
    heap, size, ids = load_i64(block), load_i64(block + 8), load_i64(block + 16)
    offsets, distances = load_i64(block + 24), load_i64(block + 32)
    sort(heap, size, ids)
    for i in range(size):
        candidate = load_i64(heap + 8 * i)
        store_i32(offsets + 4 * i, offset_of(candidate))
        store_f32(distances + 4 * i, distance_of_key(candidate >> 32))
    _reverse(heap, size)
    return 0


# --- for Python ------------------------------------------------------------------------------


class TopK:
    """The k (0 or more) best candidates of one query, gathered over any number of scans.

    Callers need only `finish`; the rest is for the functions that offer candidates. They call
    `reserve`, hand the addresses to their kernel and set `size` to what it returns.
    """

    __slots__ = ("_capacity", "_ids", "_words", "heap", "ids", "k", "scratch", "size")

    def __init__(self, k: int) -> None:
        if k < 0:
            raise ValueError(f"k is {k}; it may not be negative")
        self.k = k
        self.size = 0
        self.ids = 0  # address of the id rows; no candidate is there before they are
        self._ids: NDArray[np.uint64] | None = None
        self._allocate(min(k, 64))

    def _allocate(self, capacity: int) -> None:
        self._capacity = capacity
        self._words = np.empty(SCRATCH_WORDS + capacity, np.int64)
        self.scratch = address_of(self._words)
        self.heap = self.scratch + 8 * SCRATCH_WORDS

    def reserve(self, more: int, ids: NDArray[np.uint64]) -> None:
        """Make room for `more` candidates, whose id rows (and those of all before) are in `ids`."""
        if ids is not self._ids:
            self._ids, self.ids = ids, address_of(ids)
        needed = min(self.k, self.size + more)
        if needed > self._capacity:
            kept = self._words[SCRATCH_WORDS : SCRATCH_WORDS + self.size]
            self._allocate(min(self.k, max(needed, 2 * self._capacity)))
            self._words[SCRATCH_WORDS : SCRATCH_WORDS + self.size] = kept

    def finish(self) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """Offsets uint32[m] and distances float32[m], m <= k, sorted by (distance, id).

        More may be offered afterwards.
        """
        offsets, distances = np.empty(self.size, np.uint32), np.empty(self.size, np.float32)
        if self.size:
            outputs = address_of(offsets), address_of(distances)
            call(_finish, self.heap, self.size, self.ids, *outputs)
        return offsets, distances
