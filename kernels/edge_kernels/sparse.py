"""Sparse vectors as rows, one after another: dot products with a query, by scan and by list.

    indices[starts[r] : starts[r + 1]], values[starts[r] : starts[r + 1]]    the vector of row r

Invariants:
- Indices ascend strictly within a row and within a query; values are finite.
- The values of rows are float32 or float16: their *width* is 4 or 2 bytes. Kernels are one
  definition; `value_at` is all that tells them apart, and what is computed is float32 in any case.
- A score is the sum over the shared indices in ascending order, each product and each sum rounded
  to float32; so a row has the same bits here and by an inverted index (`sparse_search`).
- A row that shares no index with the query is no result, whatever the others score; a row that
  shares one is a result even at a score of 0 or below. A score that is NaN is no result.
- Offsets are global; `base` is the offset of the first row, so a column in chunks is scored by one
  call each into one TopK. Distances are minus the scores.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edge_kernels.jit import (
    address_of,
    address_of_any,
    bits_of_f32,
    call,
    cttz,
    door,
    inner,
    load_f32,
    load_i64,
    load_u32,
    store_f32,
    store_i64,
)
from edge_kernels.lanes import load_f16
from edge_kernels.measure import ZERO
from edge_kernels.topk import TopK, offer, pack

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Indices = NDArray[np.uint32]
    Values = NDArray[np.float32]
    HeldValues = NDArray[np.float32] | NDArray[np.float16]
    Offsets = NDArray[np.uint32]
    Bits = NDArray[np.uint64]
    Ids = NDArray[np.uint64]
    Counts = NDArray[np.int64]


class Rows(NamedTuple):
    """Sparse vectors of rows 0..n-1: starts int64[n + 1], indices uint32[], values float32[] or
    float16[]."""

    starts: NDArray[np.int64]
    indices: Indices
    values: HeldValues


class Query(NamedTuple):
    """The sparse vector that rows are scored by: indices uint32[m], values float32[m]."""

    indices: Indices
    values: Values


def score_rows(
    query: Query, rows: Rows, base: int, count: int, allowed: Bits | None, ids: Ids, top: TopK
) -> None:
    """Offer rows 0..count-1, offsets base..base+count-1, to `top`, as far as they share an index.

    `allowed` is a bitset over offsets (None: all), `ids` uint64[>=base+count, 3]. ValueError if
    one of the arrays is too short.
    """
    _check_query(query)
    _check_count(rows, base, count, allowed)
    if base + count > ids.shape[0]:
        raise ValueError(f"{count} rows from {base} of {ids.shape[0]} ids")
    _score(query, rows, base, base + count, 0, count, allowed, ids, top)


def score_list(query: Query, rows: Rows, base: int, offsets: Offsets, ids: Ids, top: TopK) -> None:
    """Offer only `offsets` (uint32, global, best ascending), which all lie in `rows`, to `top`.

    IndexError, and nothing offered, if an offset is outside rows or ids.
    """
    _check_query(query)
    end = min(base + rows.starts.size - 1, ids.shape[0])
    _score(query, rows, base, end, address_of(offsets), offsets.size, None, ids, top)


def products(query: Query, rows: Rows, offsets: Offsets) -> Values:
    """float32[m]: the scores of the rows at `offsets` (uint32[m]), in that order; 0 where no index
    is shared. IndexError if an offset is outside.
    """
    _check_query(query)
    end = rows.starts.size - 1
    out = np.empty(offsets.size, np.float32)
    done = call(
        _products,
        *(address_of(query.indices), address_of(query.values), query.indices.size),
        *addresses(rows),
        *(address_of(offsets), offsets.size, end),
        marks.address,
        address_of(out),
    )
    if done == OUTSIDE:
        raise IndexError(f"an offset is not in 0..{end - 1}")
    return out


def count_rows_forward(
    indices: Indices, rows: Rows, base: int, count: int, allowed: Bits | None
) -> Counts:
    """int64[m]: how many of the allowed rows 0..count-1 have each of the `indices` (ascending).

    `base` and `allowed` as in `score_rows`, and what is raised too.
    """
    _check_count(rows, base, count, allowed)
    return _counts(indices, rows, base, count, allowed, 0)


def count_others(indices: Indices, rows: Rows, allowed: Bits) -> Counts:
    """int64[m]: how many of all rows have each of the `indices` and are not in the set.

    Quick where few are not. ValueError if the set does not reach as far as the rows.
    """
    count = rows.starts.size - 1
    _check_count(rows, 0, count, allowed)
    return _counts(indices, rows, 0, count, allowed, -1)


def check_rows(rows: Rows) -> Rows:
    """`rows` as they came from a file, with contiguous arrays (copied only if they are not).

    Nothing is believed: ValueError names the first thing that is wrong.
    """
    taken = Rows(
        plain(rows.starts, "starts", np.int64),
        plain(rows.indices, "indices", np.uint32),
        plain(rows.values, "values", *VALUE_TYPES),
    )
    check_runs(taken, 1 << 32, "row", "an index that does not ascend")
    return taken


# --- checks ----------------------------------------------------------------------------------


def require(holds: bool, complaint: str) -> None:
    """ValueError(complaint) unless it holds."""
    if not holds:
        raise ValueError(f"sparse vectors: {complaint}")


VALUE_TYPES = (np.float32, np.float16)


def plain(values: NDArray[Any], name: str, *dtypes: Any) -> NDArray[Any]:
    """The array itself or a contiguous copy, if it has one dimension and one of these dtypes."""
    wanted = " or ".join(str(np.dtype(dtype)) for dtype in dtypes)
    require(values.dtype in dtypes, f"{name} is {values.dtype}, not {wanted}")
    require(values.ndim == 1, f"{name} has {values.ndim} dimensions")
    taken = np.ascontiguousarray(values)
    return taken if taken.flags.aligned else taken.copy()


def check_runs(runs: Rows, end: int, owner: str, disorder: str) -> None:
    """Refuse starts that do not cut the numbers into runs, one after another; numbers that do not
    ascend within a run, or are not below `end`; and values that are not finite.
    """
    starts, numbers, values = runs
    require(numbers.size == values.size, f"{numbers.size} numbers, but {values.size} values")
    require(starts.size > 0 and int(starts[0]) == 0, "starts does not begin with 0")
    require(bool((starts[1:] >= starts[:-1]).all()), "starts falls")
    require(int(starts[-1]) == numbers.size, f"starts ends at {starts[-1]}, not {numbers.size}")
    wrong = call(_first_wrong, *addresses(runs), starts.size - 1, end)
    if wrong >= 0:
        what = "a value that is not finite" if wrong & 1 else disorder
        require(False, f"{owner} {wrong >> 1} has {what}")


def addresses(runs: Rows) -> tuple[int, int, int, int]:
    """Of starts, numbers and values; and the width of a value."""
    starts, numbers, values = runs
    return address_of(starts), address_of(numbers), address_of_any(values), values.itemsize


def _check_query(query: Query) -> None:
    if query.indices.size != query.values.size:
        raise ValueError(f"{query.indices.size} indices and {query.values.size} values")


def _check_count(rows: Rows, base: int, count: int, allowed: Bits | None) -> None:
    if count >= rows.starts.size:
        raise ValueError(f"{count} rows asked of {rows.starts.size - 1}")
    if allowed is not None and 64 * allowed.size < base + count:
        raise ValueError(f"allowed has {allowed.size} words for {base + count} offsets")


def _counts(
    indices: Indices, rows: Rows, base: int, count: int, allowed: Bits | None, flip: int
) -> Counts:
    out = np.zeros(indices.size, np.int64)
    call(
        _count,
        *(address_of(indices), address_of(out), indices.size),
        *addresses(rows),
        *(base, base + count),
        0 if allowed is None else address_of(allowed),
        marks.address,
        flip,
    )
    return out


def _score(
    query: Query,
    rows: Rows,
    base: int,
    end: int,
    listed: int,
    count: int,
    allowed: Bits | None,
    ids: Ids,
    top: TopK,
) -> None:
    if not top.k or not count:
        return
    top.reserve(count, ids)
    kept = call(
        _score_door,
        *(address_of(query.indices), address_of(query.values), query.indices.size),
        *addresses(rows),
        *(base, end),
        0 if allowed is None else address_of(allowed),
        marks.address,
        *(listed, count),
        *(top.heap, top.size, top.k, top.ids),
    )
    if kept == OUTSIDE:
        raise IndexError(f"an offset is not in {base}..{end - 1}")
    top.size = kept


class _Marks(threading.local):
    """Bits of a query's indices, one set a thread; all are 0 between two calls."""

    def __init__(self) -> None:
        self.words = np.zeros(MARKS >> 6, np.int64)
        self.address = address_of(self.words)


# --- kernels ---------------------------------------------------------------------------------
# A sum begins at NOTHING, which is -0.0. A product is never -0.0 once 0.0 was added to it, so a sum
# is NOTHING only as long as nothing was added, and x + NOTHING is x to the bit.

MARKS = 1 << 16  # by the low bits of an index: 8 KiB, and few indices of rows are marked by chance
OUTSIDE = -1
NOTHING = -(1 << 31)

marks = _Marks()


@inner
def value_at(values: int, place: int, width: int) -> float:
    """The value at a place of those that lie at an address. In a loop over places the compiler
    makes one loop for each width."""
    if width == 2:
        return load_f16(values + 2 * place)
    return load_f32(values + 4 * place)


@inner
def nothing() -> float:
    """The sum of no products."""
    return np.float32(-0.0)  # type: ignore[return-value]


@inner
def plus(score: float, weight: float, value: float) -> float:
    """The one step of every sum, on float32."""
    return score + (weight * value + np.float32(0.0))  # type: ignore[return-value]


@inner
def is_nothing(score: float) -> bool:
    """Whether nothing was added to a sum."""
    return bits_of_f32(score) == NOTHING


@inner
def place_of(numbers: int, low: int, end: int, wanted: int) -> int:
    """The first place in low..end (ascending uint32) whose number is not below `wanted`.

    Without a branch that depends on the numbers: one that is mispredicted costs more than a step.
    """
    left = end - low
    while left > 0:
        half = (left + 1) >> 1
        below = (load_u32(numbers + 4 * (low + half - 1)) - wanted) >> 63  # -1 or 0
        low += half & below
        left -= half
    return low


@inner
def allows(allowed: int, offset: int) -> bool:
    """Whether the bitset, if there is one, has the offset."""
    return allowed == 0 or ((load_i64(allowed + 8 * (offset >> 6)) >> (offset & 63)) & 1) != 0


@inner
def _mark_word(marked: int, index: int) -> int:
    return marked + 8 * ((index & (MARKS - 1)) >> 6)


@inner
def mark(marked: int, indices: int, count: int) -> None:
    """Set the bits of a query's indices."""
    for i in range(count):
        index = load_u32(indices + 4 * i)
        word = _mark_word(marked, index)
        store_i64(word, load_i64(word) | (1 << (index & 63)))


@inner
def unmark(marked: int, indices: int, count: int) -> None:
    """Clear them again."""
    for i in range(count):
        store_i64(_mark_word(marked, load_u32(indices + 4 * i)), 0)


@inner
def _place_in_query(marked: int, indices: int, count: int, index: int) -> int:
    """The place of an index in the query, or -1."""
    if ((load_i64(_mark_word(marked, index)) >> (index & 63)) & 1) == 0:
        return -1
    place = place_of(indices, 0, count, index)
    return place if place < count and load_u32(indices + 4 * place) == index else -1


@inner
def score_row(
    query_indices: int,
    query_values: int,
    query_count: int,
    starts: int,
    indices: int,
    values: int,
    width: int,
    marked: int,
    row: int,
) -> float:
    """The score of a row; NOTHING if it shares no index. The query's indices are marked."""
    score = nothing()
    for at in range(load_i64(starts + 8 * row), load_i64(starts + 8 * row + 8)):
        index = load_u32(indices + 4 * at)
        place = _place_in_query(marked, query_indices, query_count, index)
        if place >= 0:
            weight = load_f32(query_values + 4 * place)
            score = plus(score, weight, value_at(values, at, width))
    return score


@inner
def _offer_row(block: int, offset: int, size: int) -> int:
    """Score the row of a global offset, and offer it if it is a result; the new size."""
    query, weights, count = load_i64(block), load_i64(block + 8), load_i64(block + 16)
    starts, indices, values = load_i64(block + 24), load_i64(block + 32), load_i64(block + 40)
    width, marked = load_i64(block + 48), load_i64(block + 80)
    row = offset - load_i64(block + 56)
    score = score_row(query, weights, count, starts, indices, values, width, marked, row)
    if is_nothing(score) or score != score:
        return size
    heap, k, ids = load_i64(block + 104), load_i64(block + 120), load_i64(block + 128)
    return offer(heap, size, k, pack(-score, offset), ids)


@inner
def _all_inside(offsets: int, count: int, base: int, end: int) -> bool:
    outside = 0
    for i in range(count):
        offset = load_u32(offsets + 4 * i)
        outside |= (offset - base) | (end - 1 - offset)  # negative when one of them is
    return outside >= 0


@inner
def _members(allowed: int, flip: int, word: int, first: int, end: int) -> int:
    """The bits of a word of the set that lie in first..end-1; of its complement if flip is -1."""
    bits = -1 if allowed == 0 else load_i64(allowed + 8 * word) ^ flip
    if 64 * word < first:
        bits &= -1 << (first & 63)
    if 64 * word + 64 > end:
        bits &= (1 << (end & 63)) - 1
    return bits


@inner
def _score_members(block: int, size: int) -> int:
    base, end, allowed = load_i64(block + 56), load_i64(block + 64), load_i64(block + 72)
    for word in range(base >> 6, (end + 63) >> 6):
        bits = _members(allowed, 0, word, base, end)
        while bits != 0:
            size = _offer_row(block, 64 * word + cttz(bits), size)
            bits &= bits - 1
    return size


@inner
def _score_listed(block: int, size: int) -> int:
    listed = load_i64(block + 88)
    for i in range(load_i64(block + 96)):
        size = _offer_row(block, load_u32(listed + 4 * i), size)
    return size


@door
def _score_door(block: int) -> int:
    query, m, marked = load_i64(block), load_i64(block + 16), load_i64(block + 80)
    base, end = load_i64(block + 56), load_i64(block + 64)
    listed, count, size = load_i64(block + 88), load_i64(block + 96), load_i64(block + 112)
    if listed != 0 and not _all_inside(listed, count, base, end):
        return OUTSIDE
    mark(marked, query, m)
    size = _score_members(block, size) if listed == 0 else _score_listed(block, size)
    unmark(marked, query, m)
    return size


@door
def _products(block: int) -> int:
    query, weights, m = load_i64(block), load_i64(block + 8), load_i64(block + 16)
    starts, indices, values = load_i64(block + 24), load_i64(block + 32), load_i64(block + 40)
    listed, count, end = load_i64(block + 56), load_i64(block + 64), load_i64(block + 72)
    width, marked, out = load_i64(block + 48), load_i64(block + 80), load_i64(block + 88)
    if not _all_inside(listed, count, 0, end):
        return OUTSIDE
    mark(marked, query, m)
    for i in range(count):
        row = load_u32(listed + 4 * i)
        score = score_row(query, weights, m, starts, indices, values, width, marked, row)
        store_f32(out + 4 * i, score + ZERO)  # which is 0.0 where nothing was added
    unmark(marked, query, m)
    return 0


@inner
def _count_row(block: int, row: int) -> None:
    wanted, out, count = load_i64(block), load_i64(block + 8), load_i64(block + 16)
    starts, indices = load_i64(block + 24) + 8 * row, load_i64(block + 32)
    marked = load_i64(block + 80)
    for at in range(load_i64(starts), load_i64(starts + 8)):
        place = _place_in_query(marked, wanted, count, load_u32(indices + 4 * at))
        if place >= 0:
            store_i64(out + 8 * place, load_i64(out + 8 * place) + 1)


@door
def _count(block: int) -> int:
    wanted, m, marked = load_i64(block), load_i64(block + 16), load_i64(block + 80)
    base, end = load_i64(block + 56), load_i64(block + 64)
    allowed, flip = load_i64(block + 72), load_i64(block + 88)
    mark(marked, wanted, m)
    for word in range(base >> 6, (end + 63) >> 6):
        bits = _members(allowed, flip, word, base, end)
        while bits != 0:
            _count_row(block, 64 * word + cttz(bits) - base)
            bits &= bits - 1
    unmark(marked, wanted, m)
    return 0


@inner
def _is_finite(value: float) -> bool:
    """Whether a float32 is, by its bits, because a comparison of floats is what a compiler may
    think away."""
    return (bits_of_f32(value) & 0x7F800000) != 0x7F800000


@door
def _first_wrong(block: int) -> int:
    """2 * run of the first number that does not ascend within its run or is not below `end`,
    2 * run + 1 for a value that is not finite; -1 if all is well."""
    starts, numbers, values = load_i64(block), load_i64(block + 8), load_i64(block + 16)
    width, runs, end = load_i64(block + 24), load_i64(block + 32), load_i64(block + 40)
    for run in range(runs):
        before = -1
        for at in range(load_i64(starts + 8 * run), load_i64(starts + 8 * run + 8)):
            number = load_u32(numbers + 4 * at)
            if number <= before or number >= end:
                return 2 * run
            if not _is_finite(value_at(values, at, width)):
                return 2 * run + 1
            before = number
    return -1
