"""Distances of several vectors at once (MULTI), by MaxSim (arXiv:2004.12832):
for each vector of the query the least distance to any vector of the row, summed.

Invariants:
- The distance of two vectors has the bits that it has between single vectors, and the sum follows
  the order of the query's vectors, so tiles change nothing.
- It is no symmetric distance: the minima are over the row's vectors.
- A row has at least one vector. The nearest vector is one whose distance is no NaN.
"""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np

from edge_kernels.encodings import DESCRIPTOR, EUCLID, MANHATTAN
from edge_kernels.floats import DOT_SUM, EUCLID_SUM, MANHATTAN_SUM, Sum
from edge_kernels.jit import (
    STACK_FLOATS,
    inner,
    load_f32,
    load_i64,
    prefetch,
    routine,
    stack_floats,
    store_f32,
    store_i64,
)
from edge_kernels.lanes import V4f, load16, lower_two, min4, sums16, zero16
from edge_kernels.measure import METRIC, SINGLE, ZERO, distances_of, query_of_row, row_at

FIRST, COUNT, WIDTH = 0, 8, 16  # words of a descriptor
FARTHEST = cast(float, np.float32(math.inf))


# --- any encoding: vector by vector ----------------------------------------------------------


@inner
def _nearest(single: int, query: int, row: int, block: int) -> float:
    """The least distance of one vector to those of a row. `block` is float32[STACK_FLOATS]."""
    vectors, width, least = load_i64(row + FIRST), load_i64(row + WIDTH), FARTHEST
    count = load_i64(row + COUNT)
    for start in range(0, count, STACK_FLOATS):
        some = min(STACK_FLOATS, count - start)
        distances_of(single, query, vectors + width * start, width, 0, some, block)
        for at in range(some):
            distance = load_f32(block + 4 * at)
            least = distance if distance < least else least
    return least


@inner
def _one_by_one(
    measure: int, query: int, rows: int, size: int, offsets: int, count: int, out: int, block: int
) -> None:
    single, first = load_i64(measure + SINGLE), load_i64(query + FIRST)
    end = first + load_i64(query + COUNT) * load_i64(query + WIDTH)
    for at in range(count):
        row, total = row_at(rows, size, offsets, at), ZERO
        for vector in range(first, end, load_i64(query + WIDTH)):
            total += _nearest(single, vector, row, block)
        store_f32(out + 4 * at, total)


@routine
def multi_distances(
    measure: int, query: int, rows: int, size: int, offsets: int, count: int, out: int
) -> int:
    """MULTI beside any encoding."""
    _one_by_one(measure, query, rows, size, offsets, count, out, stack_floats())
    return 0


# --- float32: two vectors of the query with three of the row ---------------------------------


def _tiles(distance: Sum) -> Any:
    add, _, finish4 = distance

    @inner
    def tile(p: int, q: int, a: int, b: int, c: int, size: int) -> V4f:
        """Least distances, as (of p, of q, of p, of q): to a and c, and to b and c."""
        pa, pb, pc = zero16(), zero16(), zero16()
        qa, qb, qc = zero16(), zero16(), zero16()
        for at in range(0, size, 64):
            of_p, of_q, x = load16(p + at), load16(q + at), load16(a + at)
            pa, qa = add(of_p, x, pa), add(of_q, x, qa)
            x = load16(b + at)
            pb, qb = add(of_p, x, pb), add(of_q, x, qb)
            x = load16(c + at)
            pc, qc = add(of_p, x, pc), add(of_q, x, qc)
        return min4(finish4(sums16(pa, qa, pb, qb)), finish4(sums16(pc, qc, pc, qc)))

    @inner
    def lower(least: int, vector: int, some: int, row: int, size: int) -> None:
        """Lower float32[some] at `least` to the distances of as many vectors to those of a row.

        At the edges a vector is taken twice, which changes no minimum.
        """
        first = load_i64(row + FIRST)
        last, last_vector = first + size * (load_i64(row + COUNT) - 1), vector + size * (some - 1)
        for a in range(first, last + size, 3 * size):
            b, c = min(a + size, last), min(a + 2 * size, last)
            for line in range(a + 3 * size, a + 6 * size, 64):
                prefetch(line)
            for at in range(0, some, 2):
                p = vector + size * at
                q = min(p + size, last_vector)
                lower_two(least + 4 * at, tile(p, q, a, b, c, size))

    return lower


_lower_dot, _lower_euclid = _tiles(DOT_SUM), _tiles(EUCLID_SUM)
_lower_manhattan = _tiles(MANHATTAN_SUM)


@inner
def _sum_of_least(metric: int, query: int, row: int, block: int) -> float:
    """The distance of all vectors of a query, a block of them at a time: then the vectors of a row
    come once from memory.
    """
    first, count, size = load_i64(query + FIRST), load_i64(query + COUNT), load_i64(query + WIDTH)
    total = ZERO
    for start in range(0, count, STACK_FLOATS):
        some, vector = min(STACK_FLOATS, count - start), first + size * start
        for at in range(STACK_FLOATS):
            store_f32(block + 4 * at, FARTHEST)
        if metric == EUCLID:
            _lower_euclid(block, vector, some, row, size)
        elif metric == MANHATTAN:
            _lower_manhattan(block, vector, some, row, size)
        else:
            _lower_dot(block, vector, some, row, size)
        for at in range(some):
            total += load_f32(block + 4 * at)
    return total


@routine
def multi_float32_distances(
    measure: int, query: int, rows: int, size: int, offsets: int, count: int, out: int
) -> int:
    """MULTI beside FLOAT32; a single vector has no other to share a load with."""
    block, metric = stack_floats(), load_i64(measure + METRIC)
    if load_i64(query + COUNT) == 1:
        _one_by_one(measure, query, rows, size, offsets, count, out, block)
    else:
        for at in range(count):
            row = row_at(rows, size, offsets, at)
            store_f32(out + 4 * at, _sum_of_least(metric, query, row, block))
    return 0


# --- rows as queries -------------------------------------------------------------------------


@routine
def multi_query(measure: int, row: int, size: int, query: int, d: int, e: int, f: int) -> int:
    """A row of vectors that are no queries yet as a query; its bytes."""
    vectors, count, width = load_i64(row + FIRST), load_i64(row + COUNT), load_i64(row + WIDTH)
    single, at = load_i64(measure + SINGLE), query + DESCRIPTOR
    for vector in range(vectors, vectors + width * count, width):
        at += query_of_row(single, vector, width, at)
    store_i64(query + FIRST, query + DESCRIPTOR)
    store_i64(query + COUNT, count)
    store_i64(query + WIDTH, (at - query - DESCRIPTOR) // count)
    store_i64(query + 24, 0)
    return at - query
