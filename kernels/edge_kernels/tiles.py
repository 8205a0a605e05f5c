"""Distances of several queries to the same rows of floats: each row is loaded for two queries.

Invariants:
- A pair has the bits that it has alone: a tile is six pairs side by side, each in its own register.
- At the edges of a tile a row or a query is taken twice, which writes the same number twice, or a
  number behind the last row of a query, where nobody looks.
"""

from __future__ import annotations

from typing import Any

from edge_kernels.encodings import GROUP
from edge_kernels.floats import (
    DOT_SUM,
    EUCLID_SUM,
    FLOATS16,
    FLOATS32,
    MANHATTAN_SUM,
    Elements,
    Sum,
)
from edge_kernels.jit import inner, load_i64, routine
from edge_kernels.lanes import load16, store4, sums16, zero16
from edge_kernels.measure import PITCH, QUERY_STEP, by_metric, row_at


def _tiles(elements: Elements, distance: Sum) -> Any:
    width, read = elements.width, elements.read
    add, _, finish4 = distance
    turn, ratio = GROUP * width, 4 // width

    @inner
    def tile(p: int, q: int, a: int, b: int, c: int, size: int, of_p: int, of_q: int) -> None:
        """Distances of two queries to three rows, and once more to the third."""
        pa, pb, pc = zero16(), zero16(), zero16()
        qa, qb, qc = zero16(), zero16(), zero16()
        for at in range(0, size, turn):
            one, other = load16(p + ratio * at), load16(q + ratio * at)
            x = read(a + at, one)
            pa, qa = add(one, x, pa), add(other, x, qa)
            x = read(b + at, one)
            pb, qb = add(one, x, pb), add(other, x, qb)
            x = read(c + at, one)
            pc, qc = add(one, x, pc), add(other, x, qc)
        store4(of_p, finish4(sums16(pa, pb, pc, pc)))
        store4(of_q, finish4(sums16(qa, qb, qc, qc)))

    @inner
    def several(queries: int, rows: int, size: int, offsets: int, count: int, out: int) -> None:
        many, first = load_i64(queries), queries + 8
        for one in range(0, many, 2):
            other = min(one + 1, many - 1)
            p, q = load_i64(first + QUERY_STEP * one), load_i64(first + QUERY_STEP * other)
            of_p, of_q = out + PITCH * one, out + PITCH * other
            for at in range(0, count, 3):
                a = row_at(rows, size, offsets, at)
                b = row_at(rows, size, offsets, min(at + 1, count - 1))
                c = row_at(rows, size, offsets, min(at + 2, count - 1))
                tile(p, q, a, b, c, size, of_p + 4 * at, of_q + 4 * at)

    return several


def _of(elements: Elements) -> Any:
    return by_metric(*(_tiles(elements, s) for s in (DOT_SUM, EUCLID_SUM, MANHATTAN_SUM)))


_of_floats32, _of_floats16 = _of(FLOATS32), _of(FLOATS16)


@routine
def float32_tiles(
    measure: int, queries: int, rows: int, size: int, offsets: int, count: int, out: int
) -> int:
    """FLOAT32; arguments as `distances_of_several`."""
    _of_floats32(measure, queries, rows, size, offsets, count, out)
    return 0


@routine
def float16_tiles(
    measure: int, queries: int, rows: int, size: int, offsets: int, count: int, out: int
) -> int:
    """FLOAT16; arguments as `distances_of_several`."""
    _of_floats16(measure, queries, rows, size, offsets, count, out)
    return 0
