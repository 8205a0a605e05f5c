"""A measure: a record that says how distances of one code are computed, which kernels follow.

Invariants:
- A distance is a float32, smaller is better: COSINE and DOT -dot(q, x), EUCLID the sum of squares,
  MANHATTAN the sum of absolute differences. No distance is -0.0.
- The routine of an encoding is compiled once; a kernel that compares enters it by the address in
  the record, for many rows at a time.
- A pair has the same bits in whatever form it is computed: alone, as one of four rows, in a tile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np

from edge_kernels.encodings import EUCLID, MANHATTAN
from edge_kernels.jit import enter, inner, load_i64, load_u32, store_f32
from edge_kernels.lanes import V4f, store4

ENTRY, METRIC, SINGLE, AS_QUERY, TILED = range(0, 40, 8)
# ENTRY the routine that computes distances; SINGLE with MULTI the record of one vector, else 0;
# AS_QUERY the routine that makes a row a query, 0 where it is one already; TILED the routine for
# several queries at once, 0 where they are compared one after another.

AHEAD = 16  # rows
TILE_ROWS = 48  # the most rows that several queries are compared with at once
QUERY_STEP = 32  # bytes from the address of one query to that of the next
PITCH = 4 * (TILE_ROWS + 4)  # bytes from the distances of one query to those of the next
ZERO = cast(float, np.float32(0))  # a bare 0.0 would be a float64 in a kernel


# --- following a record ----------------------------------------------------------------------


@inner
def distances_of(
    measure: int, query: int, rows: int, size: int, offsets: int, count: int, out: int
) -> None:
    """Distances of one query to `count` rows of the matrix at `rows`, to float32[count] at `out`.

    `offsets` is the address of uint32[count] (int32 below 2^31 will do); 0 means rows 0..count-1.
    `size` is bytes of a row, `query` the address of a query form.
    """
    enter(load_i64(measure + ENTRY), measure, query, rows, size, offsets, count, out)


@inner
def distances_of_several(
    measure: int, queries: int, rows: int, size: int, offsets: int, count: int, out: int
) -> None:
    """`distances_of` several queries to at most TILE_ROWS rows, with the same bits.

    `queries` is the address of an int64, how many there are; behind it comes, every QUERY_STEP
    bytes, the address of each. The distances of query i go to `out + PITCH * i`, where PITCH bytes
    belong to them.
    """
    tiled = load_i64(measure + TILED)
    if tiled != 0:
        enter(tiled, measure, queries, rows, size, offsets, count, out)
        return
    for at in range(load_i64(queries)):
        query = load_i64(queries + 8 + QUERY_STEP * at)
        distances_of(measure, query, rows, size, offsets, count, out + PITCH * at)


@inner
def query_of_row(measure: int, row: int, size: int, scratch: int) -> int:
    """Make a query form of the row at `scratch`, where `scratch_bytes` are free; bytes of it.

    0 if the row itself is one.
    """
    entry = load_i64(measure + AS_QUERY)
    return 0 if entry == 0 else enter(entry, measure, row, size, scratch, 0, 0, 0)


# --- from pairs to many rows -----------------------------------------------------------------


@inner
def row_at(rows: int, size: int, offsets: int, at: int) -> int:
    """Address of the row that `distances_of` compares as number `at`."""
    return rows + size * (at if offsets == 0 else load_u32(offsets + 4 * at))


@inner
def row_ahead(rows: int, size: int, offsets: int, at: int, count: int) -> int:
    """Address of the row that comes some rows after number `at`; if it is the last or beyond it,
    any address. Short rows are done before memory answers, so they must be asked for early.
    """
    later = at + AHEAD
    return row_at(rows, size, offsets, later if offsets == 0 else min(later, count - 1))


def many_rows(
    one: Callable[[int, int, int], float],
    four: Callable[[int, int, int, int, int, int], V4f],
) -> Any:
    """The loop over rows, four at a time, of a distance in two forms: one(query, row, size), and
    four(query, a, b, c, d, size), whose lanes are those of the rows.
    """

    @inner
    def many(query: int, rows: int, size: int, offsets: int, count: int, out: int) -> None:
        at = 0
        while at + 4 <= count:
            a, b = row_at(rows, size, offsets, at), row_at(rows, size, offsets, at + 1)
            c, d = row_at(rows, size, offsets, at + 2), row_at(rows, size, offsets, at + 3)
            store4(out + 4 * at, four(query, a, b, c, d, size))
            at += 4
        while at < count:
            store_f32(out + 4 * at, one(query, row_at(rows, size, offsets, at), size))
            at += 1

    return many


def by_metric(dot: Any, euclid: Any, manhattan: Any) -> Any:
    """The loop over rows that the metric of a record asks for."""

    @inner
    def many(
        measure: int, query: int, rows: int, size: int, offsets: int, count: int, out: int
    ) -> None:
        metric = load_i64(measure + METRIC)
        if metric == EUCLID:
            euclid(query, rows, size, offsets, count, out)
        elif metric == MANHATTAN:
            manhattan(query, rows, size, offsets, count, out)
        else:
            dot(query, rows, size, offsets, count, out)

    return many
