"""The distance of a query to rows, one definition for each metric, used by every kernel.

Invariants:
- A distance is a float32, smaller is better: COSINE and DOT -dot(q, x) (cosine vectors arrive
  normalised), EUCLID the sum of squares, MANHATTAN the sum of absolute differences.
- A row's sequence of operations is fixed: two eight-lane accumulators, one for each half of every
  sixteen floats, added once at the end, lanes folded by halves. The one-row and the four-row form
  follow it alike, so equal rows give bit-equal distances in any kernel and any position.
- No distance is -0.0.
- Rows are `stride` floats, a multiple of 16, zeros after the last dimension.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from edge_kernels.jit import (
    V8f,
    abs8,
    add8,
    fma8,
    inner,
    load8,
    load_u32,
    store_f32,
    sub8,
    sum8,
    zero8,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Float32s = NDArray[np.float32]

COSINE, DOT, EUCLID, MANHATTAN = range(4)

ZERO = cast(float, np.float32(0))  # a bare 0.0 would be a float64 in a kernel
LANES = 16  # floats of one turn of the loop; a stride is a multiple of it


def stride_of(dim: int) -> int:
    """Floats in a padded row of `dim` dimensions: `dim` rounded up to a multiple of 16."""
    return -(-dim // LANES) * LANES


def _negated(distances: Float32s) -> Float32s:
    return np.subtract(np.float32(0), distances, dtype=np.float32)


def _root(distances: Float32s) -> Float32s:
    return np.sqrt(distances, dtype=np.float32)


def _same(distances: Float32s) -> Float32s:
    return distances.astype(np.float32)


_SCORES: dict[int, Callable[[Float32s], Float32s]] = {
    COSINE: _negated,
    DOT: _negated,
    EUCLID: _root,
    MANHATTAN: _same,
}


def to_score(metric: int, distances: Float32s) -> Float32s:
    """The score a user sees, float32 of the same shape: the dot product for COSINE and DOT, the
    square root for EUCLID, the distance itself for MANHATTAN. KeyError for an unknown metric.
    """
    return _SCORES[metric](distances)


# --- one row ---------------------------------------------------------------------------------
# Arguments are addresses of float32; `size` is bytes of a row (4 * stride).


@inner
def _dot_one(query: int, row: int, size: int) -> float:
    low, high = zero8(), zero8()
    for at in range(0, size, 64):
        low = fma8(load8(query + at), load8(row + at), low)
        high = fma8(load8(query + at + 32), load8(row + at + 32), high)
    return ZERO - sum8(add8(low, high))


@inner
def _euclid_one(query: int, row: int, size: int) -> float:
    low, high = zero8(), zero8()
    for at in range(0, size, 64):
        a = sub8(load8(query + at), load8(row + at))
        b = sub8(load8(query + at + 32), load8(row + at + 32))
        low, high = fma8(a, a, low), fma8(b, b, high)
    return sum8(add8(low, high))


@inner
def _manhattan_one(query: int, row: int, size: int) -> float:
    low, high = zero8(), zero8()
    for at in range(0, size, 64):
        low = add8(low, abs8(sub8(load8(query + at), load8(row + at))))
        high = add8(high, abs8(sub8(load8(query + at + 32), load8(row + at + 32))))
    return sum8(add8(low, high))


# --- four rows: one load of the query serves all ---------------------------------------------


@inner
def _dot_four(query: int, a: int, b: int, c: int, d: int, size: int, out: int) -> None:
    a0, a1, b0, b1 = zero8(), zero8(), zero8(), zero8()
    c0, c1, d0, d1 = zero8(), zero8(), zero8(), zero8()
    for at in range(0, size, 64):
        q = load8(query + at)
        a0, b0 = fma8(q, load8(a + at), a0), fma8(q, load8(b + at), b0)
        c0, d0 = fma8(q, load8(c + at), c0), fma8(q, load8(d + at), d0)
        q = load8(query + at + 32)
        a1, b1 = fma8(q, load8(a + at + 32), a1), fma8(q, load8(b + at + 32), b1)
        c1, d1 = fma8(q, load8(c + at + 32), c1), fma8(q, load8(d + at + 32), d1)
    store_f32(out, ZERO - sum8(add8(a0, a1)))
    store_f32(out + 4, ZERO - sum8(add8(b0, b1)))
    store_f32(out + 8, ZERO - sum8(add8(c0, c1)))
    store_f32(out + 12, ZERO - sum8(add8(d0, d1)))


@inner
def _add_square(q: V8f, row: int, total: V8f) -> V8f:
    difference = sub8(q, load8(row))
    return fma8(difference, difference, total)


@inner
def _euclid_four(query: int, a: int, b: int, c: int, d: int, size: int, out: int) -> None:
    a0, a1, b0, b1 = zero8(), zero8(), zero8(), zero8()
    c0, c1, d0, d1 = zero8(), zero8(), zero8(), zero8()
    for at in range(0, size, 64):
        q = load8(query + at)
        a0, b0 = _add_square(q, a + at, a0), _add_square(q, b + at, b0)
        c0, d0 = _add_square(q, c + at, c0), _add_square(q, d + at, d0)
        q = load8(query + at + 32)
        a1, b1 = _add_square(q, a + at + 32, a1), _add_square(q, b + at + 32, b1)
        c1, d1 = _add_square(q, c + at + 32, c1), _add_square(q, d + at + 32, d1)
    store_f32(out, sum8(add8(a0, a1)))
    store_f32(out + 4, sum8(add8(b0, b1)))
    store_f32(out + 8, sum8(add8(c0, c1)))
    store_f32(out + 12, sum8(add8(d0, d1)))


@inner
def _add_absolute(q: V8f, row: int, total: V8f) -> V8f:
    return add8(total, abs8(sub8(q, load8(row))))


@inner
def _manhattan_four(query: int, a: int, b: int, c: int, d: int, size: int, out: int) -> None:
    a0, a1, b0, b1 = zero8(), zero8(), zero8(), zero8()
    c0, c1, d0, d1 = zero8(), zero8(), zero8(), zero8()
    for at in range(0, size, 64):
        q = load8(query + at)
        a0, b0 = _add_absolute(q, a + at, a0), _add_absolute(q, b + at, b0)
        c0, d0 = _add_absolute(q, c + at, c0), _add_absolute(q, d + at, d0)
        q = load8(query + at + 32)
        a1, b1 = _add_absolute(q, a + at + 32, a1), _add_absolute(q, b + at + 32, b1)
        c1, d1 = _add_absolute(q, c + at + 32, c1), _add_absolute(q, d + at + 32, d1)
    store_f32(out, sum8(add8(a0, a1)))
    store_f32(out + 4, sum8(add8(b0, b1)))
    store_f32(out + 8, sum8(add8(c0, c1)))
    store_f32(out + 12, sum8(add8(d0, d1)))


# --- by metric code --------------------------------------------------------------------------


@inner
def distance_one(metric: int, query: int, row: int, size: int) -> float:
    """Distance (float32) of the vectors at two addresses; `size` is bytes of a row."""
    if metric == EUCLID:
        return _euclid_one(query, row, size)
    if metric == MANHATTAN:
        return _manhattan_one(query, row, size)
    return _dot_one(query, row, size)


@inner
def distance_four(
    metric: int, query: int, a: int, b: int, c: int, d: int, size: int, out: int
) -> None:
    """Distances of one query to the rows at four addresses, to float32[4] at `out`."""
    if metric == EUCLID:
        _euclid_four(query, a, b, c, d, size, out)
    elif metric == MANHATTAN:
        _manhattan_four(query, a, b, c, d, size, out)
    else:
        _dot_four(query, a, b, c, d, size, out)


@inner
def distances_of(
    metric: int, query: int, rows: int, size: int, offsets: int, count: int, out: int
) -> None:
    """Distances of one query to `count` rows of the matrix at `rows`, to float32[count] at `out`.

    `offsets` is the address of uint32[count] (int32 below 2^31 will do); 0 means rows 0..count-1.
    `size` is bytes of a row. The metric is looked at once for four rows.
    """
    at = 0
    while at + 4 <= count:
        a, b = _row_at(rows, size, offsets, at), _row_at(rows, size, offsets, at + 1)
        c, d = _row_at(rows, size, offsets, at + 2), _row_at(rows, size, offsets, at + 3)
        distance_four(metric, query, a, b, c, d, size, out + 4 * at)
        at += 4
    while at < count:
        row = _row_at(rows, size, offsets, at)
        store_f32(out + 4 * at, distance_one(metric, query, row, size))
        at += 1


@inner
def _row_at(rows: int, size: int, offsets: int, at: int) -> int:
    return rows + size * (at if offsets == 0 else load_u32(offsets + 4 * at))
