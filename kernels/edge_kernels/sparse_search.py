"""The best rows for a sparse query by an inverted index, exactly.

Rows are taken in windows that stay in the cache. In each, the runs of the query's dimensions are
added up, in ascending order of dimensions, and the rows that are among the best are offered.

Invariants:
- What is offered has the bits of `sparse.score_rows`, and whatever is passed over could not have
  been among the best: not by its score, nor by its id at an equal score.
- Where much can be spared (MaxScore; Turtle and Flood 1995): once the best are ahead of all that
  some light dimensions can give together, a window's candidates are found by the others, the heavy
  ones. Columns then bound what the light ones add, and the few rows that remain are scored anew
  from the rows themselves.
- Bounds hold for values and weights of either sign, and for any order of summation: see `_slack`.
- Scratch memory belongs to a thread and is reused; its scores are NOTHING between two calls.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from edge_kernels import sparse
from edge_kernels.jit import (
    address_of,
    call,
    ctpop,
    cttz,
    distance_of_key,
    door,
    inner,
    load_f32,
    load_i64,
    load_u8,
    load_u32,
    prefetch,
    store_f32,
    store_i32,
    store_i64,
)
from edge_kernels.sparse import (
    NOTHING,
    Query,
    Rows,
    allows,
    is_nothing,
    mark,
    nothing,
    place_of,
    plus,
    score_row,
    unmark,
    value_at,
)
from edge_kernels.sparse_index import Index, slot_of
from edge_kernels.topk import TopK, offer, pack

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bits = NDArray[np.uint64]
    Ids = NDArray[np.uint64]

WINDOW = 1 << 14  # rows; their scores take 64 KiB
FIRST_WINDOW = 1 << 12  # short, because nothing can be spared before the best are known
SPARED = 1 << 16  # postings that must be spared; for fewer, adding them all is as fast


def search_index(
    query: Query,
    index: Index,
    allowed: Bits | None,
    ids: Ids,
    top: TopK,
    rows: Rows | None = None,
) -> None:
    """Offer to `top` what may be among its best of the index's rows, in one call without the GIL.

    `allowed` is a bitset over the rows (None: all), `ids` uint64[>=n, 3]. `rows` is what the index
    was built from; few of them are read, and without them nothing is spared. ValueError if one of
    the arrays is too short.
    """
    _check(query, index, allowed, ids, rows)
    if not top.k or not index.n:
        return
    top.reserve(index.n, ids)
    here = _scratch
    here.prepare(query.indices.size)
    top.size = call(
        _search,
        *index.words,
        *(address_of(query.indices), address_of(query.values), query.indices.size),
        *((0, 0, 0, 4) if rows is None else sparse.addresses(rows)),
        0 if allowed is None else address_of(allowed),
        *(top.ids, top.heap, top.size, top.k),
        *here.words,
        *(sparse.marks.address, FIRST_WINDOW, WINDOW, SPARED),
    )


def _check(query: Query, index: Index, allowed: Bits | None, ids: Ids, rows: Rows | None) -> None:
    if query.indices.size != query.values.size:
        raise ValueError(f"{query.indices.size} indices and {query.values.size} values")
    if allowed is not None and 64 * allowed.size < index.n:
        raise ValueError(f"allowed has {allowed.size} words for {index.n} rows")
    if ids.shape[0] < index.n:
        raise ValueError(f"an index of {index.n} rows for {ids.shape[0]} ids")
    if rows is not None and rows.starts.size != index.n + 1:
        raise ValueError(f"an index of {index.n} rows for {rows.starts.size - 1}")


class _Scratch(threading.local):
    """What a searching thread keeps between searches; `words` are the arguments TERMS.. SCORES."""

    def __init__(self) -> None:
        self._scores = np.full(WINDOW, -0.0, np.float32)
        self._found = np.empty(WINDOW, np.uint32)
        self._bounds = np.empty(WINDOW, np.float32)
        self._room = 0
        self.prepare(32)

    def prepare(self, terms: int) -> None:
        if terms > self._room:
            self._room = 2 * terms
            self._terms = np.empty(self._room * TERM_BYTES >> 3, np.int64)
            self._order = np.empty(self._room, np.int64)
            arrays = (self._terms, self._order, self._found, self._bounds, self._scores)
            self.words = tuple(address_of(values) for values in arrays)


# --- kernels ---------------------------------------------------------------------------------
# A *term* is a dimension of the query that the index has; its *run* is the rows that have it.

N, DIM_COUNT, DIMS, RUN_STARTS, RUN_ROWS, RUN_VALUES, GREATEST, LEAST = range(0, 64, 8)
COLUMNS, STEPS, COLUMN_OF, RUN_WIDTH = range(64, 96, 8)
QUERY_INDICES, QUERY_VALUES, QUERY_COUNT = range(96, 120, 8)
ROW_STARTS, ROW_INDICES, ROW_VALUES, ROW_WIDTH = range(120, 152, 8)
ALLOWED, IDS, HEAP, SIZE, K = range(152, 192, 8)
TERMS, ORDER, FOUND, BOUNDS, SCORES = range(192, 232, 8)
MARKED, FIRST_WIDTH, WIDTH, WORTH = range(232, 264, 8)

# A term: addresses of its rows and values, the place where the window begins in them, the next
# place to add, their number; the query's value, and the most that it adds to a score (both
# float32); its column (0: none), and what one step of a code adds at the most (float32).
TERM_ROWS, TERM_VALUES, TERM_FROM, TERM_NEXT, TERM_END, TERM_WEIGHT = range(0, 48, 8)
TERM_BOUND, TERM_COLUMN, TERM_STEP = 44, 48, 56
TERM_BYTES = 64
_scratch = _Scratch()

MANY_TERMS = 1024  # they are sorted by insertion
SMALL, LARGE = 1e-20, 1e37  # between them, sums are finite and denormal numbers do not matter
# What it takes to bring one candidate on, in postings that are added in the same time.
BY_COLUMN, BY_ROW = 12, 400
FEW = 32  # rows of a window for each posting, from which on going by postings is faster

_LANES = 64  # as many rows as a word of `allowed` has bits
_F32, _I32, _I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_FLOATS, _INTS = ir.VectorType(_F32, _LANES), ir.VectorType(_I32, _LANES)
_NOTHINGS = ir.Constant(_INTS, [NOTHING] * _LANES)


@intrinsic
def _at_least(typingctx: Any, scores: Any, limit: Any) -> Any:
    """Bits of those of 64 scores that are not below the limit (and no NaN)."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        read = builder.load(builder.inttoptr(values[0], _FLOATS.as_pointer()), align=4)
        one = ir.Constant(_FLOATS, ir.Undefined)
        one = builder.insert_element(one, values[1], ir.Constant(_I32, 0))
        every = builder.shuffle_vector(one, one, ir.Constant(_INTS, [0] * _LANES))
        return builder.bitcast(builder.fcmp_ordered(">=", read, every), _I64)

    return types.int64(types.int64, types.float32), generate


@intrinsic
def _touched(typingctx: Any, scores: Any) -> Any:
    """Bits of those of 64 scores that are not NOTHING."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        read = builder.load(builder.inttoptr(values[0], _INTS.as_pointer()), align=4)
        return builder.bitcast(builder.icmp_signed("!=", read, _NOTHINGS), _I64)

    return types.int64(types.int64), generate


@intrinsic
def _clear(typingctx: Any, scores: Any) -> Any:
    """Make 64 scores NOTHING."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        builder.store(_NOTHINGS, builder.inttoptr(values[0], _INTS.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(types.int64), generate


# --- terms


@inner
def _term_at(block: int, place: int) -> int:
    """The address of the term at this place in the order of bounds, lightest first."""
    return load_i64(block + TERMS) + TERM_BYTES * load_i64(load_i64(block + ORDER) + 8 * place)


@inner
def _set_column(block: int, term: int, slot: int, weight: float) -> None:
    column = load_i64(load_i64(block + COLUMN_OF) + 8 * slot)
    if column < 0 or not weight > np.float32(0.0):
        store_i64(term + TERM_COLUMN, 0)
        return
    step = load_f32(load_i64(block + STEPS) + 4 * column)
    store_i64(term + TERM_COLUMN, load_i64(block + COLUMNS) + load_i64(block + N) * column)
    store_f32(term + TERM_STEP, weight * step)


@inner
def _fetch_run(term: int, width: int) -> None:
    """Ask for the beginning of a run, so that those of all terms are on their way at once."""
    rows, values = load_i64(term + TERM_ROWS), load_i64(term + TERM_VALUES)
    count = min(load_i64(term + TERM_END), 64)
    for at in range(0, 4 * count, 64):
        prefetch(rows + at)
    for at in range(0, width * count, 64):
        prefetch(values + at)


@inner
def _set_term(block: int, term: int, slot: int, weight: float) -> float:
    """Fill in a term; the greatest amount that it can change a score by."""
    starts, width = load_i64(block + RUN_STARTS) + 8 * slot, load_i64(block + RUN_WIDTH)
    first, end = load_i64(starts), load_i64(starts + 8)
    store_i64(term + TERM_ROWS, load_i64(block + RUN_ROWS) + 4 * first)
    store_i64(term + TERM_VALUES, load_i64(block + RUN_VALUES) + width * first)
    store_i64(term + TERM_NEXT, 0)
    store_i64(term + TERM_END, end - first)
    _fetch_run(term, width)
    store_f32(term + TERM_WEIGHT, weight)
    one = weight * load_f32(load_i64(block + GREATEST) + 4 * slot)
    other = weight * load_f32(load_i64(block + LEAST) + 4 * slot)
    store_f32(term + TERM_BOUND, max(max(one, other), np.float32(0.0)))  # type: ignore[arg-type]
    _set_column(block, term, slot, weight)
    return max(abs(float(one)), abs(float(other)))


@inner
def _fill_terms(block: int) -> tuple[int, int, float]:
    """(terms, postings of them all, the greatest amount that a score can have)."""
    query, weights = load_i64(block + QUERY_INDICES), load_i64(block + QUERY_VALUES)
    dims, size = load_i64(block + DIMS), load_i64(block + DIM_COUNT)
    count = 0
    postings = 0
    amount = 0.0
    for i in range(load_i64(block + QUERY_COUNT)):
        slot = slot_of(dims, 0, size, load_u32(query + 4 * i))
        if slot >= 0:
            term = load_i64(block + TERMS) + TERM_BYTES * count
            amount += _set_term(block, term, slot, load_f32(weights + 4 * i))
            postings += load_i64(term + TERM_END)
            count += 1
    return count, postings, amount


@inner
def _sort_terms(block: int, count: int) -> None:
    """Order the terms by their bounds, the lightest first."""
    terms, order = load_i64(block + TERMS), load_i64(block + ORDER)
    for number in range(count):
        bound = load_f32(terms + TERM_BYTES * number + TERM_BOUND)
        at = number
        while at > 0 and load_f32(_term_at(block, at - 1) + TERM_BOUND) > bound:
            store_i64(order + 8 * at, load_i64(order + 8 * at - 8))
            at -= 1
        store_i64(order + 8 * at, number)


@inner
def _slack(count: int, amount: float) -> float:
    """More than all the roundings of a score, of a sum of some of its parts and of its bounds
    together: each is a few times `count` of at most 2^-24 of what the parts amount to."""
    return amount * (count + 8) * 2.0**-22


@inner
def _limit(block: int, size: int) -> float:
    """The score that a row must reach to be among the best: that of the worst of them."""
    if size < load_i64(block + K):
        return np.float32(-np.inf)  # type: ignore[return-value]
    return -distance_of_key(load_i64(load_i64(block + HEAP)) >> 32)


@inner
def _lighten(
    block: int, count: int, limit: float, slack: float, light: int, reach: float, spared: int
) -> tuple[int, float, int]:
    """Go on from (light terms, what they can add together, their postings) as far as a row that
    has only light terms stays below the limit."""
    while light < count:
        term = _term_at(block, light)
        more = reach + float(load_f32(term + TERM_BOUND))
        if not more + slack < float(limit):
            break
        reach = more
        spared += load_i64(term + TERM_END)
        light += 1
    return light, reach, spared


# --- adding


@inner
def _add(block: int, term: int, first: int, stop: int) -> int:
    """Add what a term gives to the rows first..stop-1; how many postings that are."""
    rows, values = load_i64(term + TERM_ROWS), load_i64(term + TERM_VALUES)
    place, end = load_i64(term + TERM_NEXT), load_i64(term + TERM_END)
    if place < end and load_u32(rows + 4 * place) < first:  # the windows before did without it
        place = place_of(rows, place, end, first)
    store_i64(term + TERM_FROM, place)
    weight, width = load_f32(term + TERM_WEIGHT), load_i64(block + RUN_WIDTH)
    scores = load_i64(block + SCORES) - 4 * first
    began = place
    while place < end:
        row = load_u32(rows + 4 * place)
        if row >= stop:
            break
        score = scores + 4 * row
        store_f32(score, plus(load_f32(score), weight, value_at(values, place, width)))
        place += 1
    store_i64(term + TERM_NEXT, place)
    return place - began


@inner
def _offer_score(block: int, row: int, score: float, size: int) -> int:
    if score != score:
        return size
    heap, k, ids = load_i64(block + HEAP), load_i64(block + K), load_i64(block + IDS)
    return offer(heap, size, k, pack(-score, row), ids)


@inner
def _pick_touched(block: int, count: int, first: int, size: int) -> int:
    """Offer the scores of a window by going through the postings once more, and clear them."""
    scores, allowed = load_i64(block + SCORES) - 4 * first, load_i64(block + ALLOWED)
    for number in range(count):
        term = load_i64(block + TERMS) + TERM_BYTES * number
        rows = load_i64(term + TERM_ROWS)
        for place in range(load_i64(term + TERM_FROM), load_i64(term + TERM_NEXT)):
            row = load_u32(rows + 4 * place)
            score = load_f32(scores + 4 * row)
            if not is_nothing(score):
                store_f32(scores + 4 * row, nothing())
                if not score < _limit(block, size) and allows(allowed, row):
                    size = _offer_score(block, row, score, size)
    return size


@inner
def _members(allowed: int, row: int, bits: int) -> int:
    """The bits of 64 rows from `row` on, without those that are not allowed."""
    return bits if bits == 0 or allowed == 0 else bits & load_i64(allowed + (row >> 3))


@inner
def _pick(block: int, first: int, stop: int, size: int) -> int:
    """Offer the scores of a window that are not below the limit, and clear all."""
    allowed = load_i64(block + ALLOWED)
    limit = _limit(block, size)
    scores = load_i64(block + SCORES)
    for row in range(first, stop, _LANES):
        bits = _at_least(scores, limit) if limit > np.float32(0.0) else _touched(scores)
        bits = _members(allowed, row, bits)
        while bits != 0:
            at = cttz(bits)
            size = _offer_score(block, row + at, load_f32(scores + 4 * at), size)
            bits &= bits - 1
            limit = _limit(block, size)
        _clear(scores)
        scores += 4 * _LANES
    return size


@inner
def _take_all(block: int, count: int, first: int, stop: int, size: int) -> int:
    """A window whose rows get all that the terms give; the new size."""
    added = 0
    for number in range(count):
        added += _add(block, load_i64(block + TERMS) + TERM_BYTES * number, first, stop)
    if FEW * added < stop - first:
        return _pick_touched(block, count, first, size)
    return _pick(block, first, stop, size)


# --- sparing


@inner
def _count_at_least(block: int, first: int, stop: int, limit: float) -> int:
    scores = load_i64(block + SCORES)
    found = 0
    for at in range(scores, scores + 4 * (stop - first), 4 * _LANES):
        found += ctpop(_at_least(at, np.float32(limit)))
    return found


@inner
def _add_enough(
    block: int, first: int, stop: int, count: int, limit: float, light: int, reach: float
) -> tuple[int, float]:
    """Add the heavy terms, and then light ones from the heaviest on while there are so many
    candidates that adding is less work; (light terms that are left, what they can add)."""
    for place in range(light, count):
        _add(block, _term_at(block, place), first, stop)
    uncounted = stop - first
    candidates = 0
    while light > 0:
        if FEW * uncounted >= stop - first:  # counting takes as long as adding so many
            candidates = _count_at_least(block, first, stop, limit - reach)
            uncounted = 0
        term = _term_at(block, light - 1)
        each = BY_ROW if load_i64(term + TERM_COLUMN) == 0 else BY_COLUMN
        expected = load_i64(term + TERM_END) * (stop - first) // load_i64(block + N)
        if each * candidates <= expected:
            break
        reach -= float(load_f32(term + TERM_BOUND))
        light -= 1
        uncounted += _add(block, term, first, stop)
    return light, reach


@inner
def _gather(block: int, first: int, stop: int, limit: float) -> int:
    """List the allowed rows whose scores are not below the limit, and clear all; how many."""
    allowed, scores = load_i64(block + ALLOWED), load_i64(block + SCORES)
    found, bounds = load_i64(block + FOUND), load_i64(block + BOUNDS)
    count = 0
    for row in range(first, stop, _LANES):
        bits = _members(allowed, row, _at_least(scores, np.float32(limit)))
        while bits != 0:
            at = cttz(bits)
            store_i32(found + 4 * count, row + at)
            store_f32(bounds + 4 * count, load_f32(scores + 4 * at))
            count += 1
            bits &= bits - 1
        _clear(scores)
        scores += 4 * _LANES
    return count


@inner
def _narrow(block: int, term: int, count: int, limit: float) -> int:
    """Add a bound of what a light term gives to each candidate; how many are not below the limit,
    which stay in the list."""
    found, bounds = load_i64(block + FOUND), load_i64(block + BOUNDS)
    column, step = load_i64(term + TERM_COLUMN), load_f32(term + TERM_STEP)
    kept = 0
    for i in range(count):
        row = load_u32(found + 4 * i)
        bound = load_f32(bounds + 4 * i) + step * np.float32(load_u8(column + row))
        store_i32(found + 4 * kept, row)
        store_f32(bounds + 4 * kept, bound)  # type: ignore[arg-type]
        kept += 1 if bound >= np.float32(limit) else 0
    return kept


@inner
def _fetch(block: int, count: int) -> None:
    """Ask for the memory of the rows that will be scored, all at once."""
    found, starts = load_i64(block + FOUND), load_i64(block + ROW_STARTS)
    indices, values = load_i64(block + ROW_INDICES), load_i64(block + ROW_VALUES)
    width = load_i64(block + ROW_WIDTH)
    for i in range(count):
        prefetch(starts + 8 * load_u32(found + 4 * i))
    for i in range(count):
        row = starts + 8 * load_u32(found + 4 * i)
        first, end = load_i64(row), load_i64(row + 8)
        for at in range(4 * first, 4 * end, 64):
            prefetch(indices + at)
        for at in range(width * first, width * end, 64):
            prefetch(values + at)


@inner
def _score_found(block: int, count: int, size: int) -> int:
    """Score the rows of the list and offer them; the new size."""
    query, weights = load_i64(block + QUERY_INDICES), load_i64(block + QUERY_VALUES)
    starts, indices = load_i64(block + ROW_STARTS), load_i64(block + ROW_INDICES)
    values, marked = load_i64(block + ROW_VALUES), load_i64(block + MARKED)
    m, width = load_i64(block + QUERY_COUNT), load_i64(block + ROW_WIDTH)
    _fetch(block, count)
    for i in range(count):
        row = load_u32(load_i64(block + FOUND) + 4 * i)
        score = score_row(query, weights, m, starts, indices, values, width, marked, row)
        size = _offer_score(block, row, score, size)
    return size


@inner
def _take_some(
    block: int, count: int, first: int, stop: int, slack: float, light: int, reach: float, size: int
) -> int:
    """A window in which rows that have only light terms are passed over; the new size."""
    limit = float(_limit(block, size)) - slack
    light, reach = _add_enough(block, first, stop, count, limit, light, reach)
    left = _gather(block, first, stop, limit - reach)
    while light > 0 and left > 0:
        light -= 1
        term = _term_at(block, light)
        if load_i64(term + TERM_COLUMN) != 0:
            reach -= float(load_f32(term + TERM_BOUND))
            left = _narrow(block, term, left, limit - reach)
    return _score_found(block, left, size)


@inner
def _may_spare(block: int, count: int, postings: int, amount: float) -> bool:
    if postings < load_i64(block + WORTH) or load_i64(block + ROW_STARTS) == 0:
        return False
    return count <= MANY_TERMS and SMALL < amount < LARGE


@door
def _search(block: int) -> int:
    n, size, width = load_i64(block + N), load_i64(block + SIZE), load_i64(block + FIRST_WIDTH)
    marked, query = load_i64(block + MARKED), load_i64(block + QUERY_INDICES)
    count, postings, amount = _fill_terms(block)
    slack = _slack(count, amount)
    spares = _may_spare(block, count, postings, amount)
    if spares:
        mark(marked, query, load_i64(block + QUERY_COUNT))
        _sort_terms(block, count)
    light, reach, spared = 0, 0.0, 0
    first = 0
    while first < n and light < count:
        stop = min(first + width, n)
        limit = _limit(block, size)
        if spares:
            light, reach, spared = _lighten(block, count, limit, slack, light, reach, spared)
        if light == 0 or spared < load_i64(block + WORTH):
            size = _take_all(block, count, first, stop, size)
        elif light < count:
            size = _take_some(block, count, first, stop, slack, light, reach, size)
        first = stop
        width = min(2 * width, load_i64(block + WIDTH))
    if spares:
        unmark(marked, query, load_i64(block + QUERY_COUNT))
    return size
