"""Distances of rows of numbers: FLOAT32, FLOAT16, and integers with a scale (SCALED8, SCALED16).

Invariants:
- The query is float32 and so is the arithmetic, whatever the rows are made of.
- The sequence of operations of a pair is fixed: one accumulator of sixteen lanes, folded by halves
  at the end. All forms follow it.
- An element of a SCALED row is scale * code, rounded once: what it is too when the row is a query,
  so distances between rows are symmetric.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from edge_kernels.encodings import GROUP, TRAILER
from edge_kernels.jit import inner, load_f32, routine, store_f32
from edge_kernels.lanes import (
    V4f,
    V16f,
    abs16,
    add16,
    fma16,
    load16,
    load16_byte,
    load16_half,
    load16_short,
    mul16,
    splat4,
    splat16,
    store16,
    sub4,
    sub16,
    sum16,
    sums16,
    zero16,
)
from edge_kernels.measure import ZERO, by_metric, many_rows

# --- how an element is read ------------------------------------------------------------------


@inner
def _no_scale(row: int, size: int) -> V16f:
    return zero16()


@inner
def _scale_of(row: int, size: int) -> V16f:
    return splat16(load_f32(row + size - 8))


@inner
def _float32(address: int, scale: V16f) -> V16f:
    return load16(address)


@inner
def _float16(address: int, scale: V16f) -> V16f:
    return load16_half(address)


@inner
def _scaled8(address: int, scale: V16f) -> V16f:
    return mul16(scale, load16_byte(address))


@inner
def _scaled16(address: int, scale: V16f) -> V16f:
    return mul16(scale, load16_short(address))


class Elements(NamedTuple):
    """What rows are made of: bytes of an element and behind the last, and how to read sixteen."""

    width: int
    trailer: int
    scale_of: Callable[[int, int], V16f]
    read: Callable[[int, V16f], V16f]


FLOATS32 = Elements(4, 0, _no_scale, _float32)
FLOATS16 = Elements(2, 0, _no_scale, _float16)
_CODES8 = Elements(1, TRAILER, _scale_of, _scaled8)
_CODES16 = Elements(2, TRAILER, _scale_of, _scaled16)


# --- what a pair of elements adds, and what is made of the sum -------------------------------


@inner
def _product(q: V16f, x: V16f, total: V16f) -> V16f:
    return fma16(q, x, total)


@inner
def _square(q: V16f, x: V16f, total: V16f) -> V16f:
    difference = sub16(q, x)
    return fma16(difference, difference, total)


@inner
def _absolute(q: V16f, x: V16f, total: V16f) -> V16f:
    return add16(total, abs16(sub16(q, x)))


@inner
def _negated(total: float) -> float:
    return ZERO - total


@inner
def _negated4(totals: V4f) -> V4f:
    return sub4(splat4(ZERO), totals)


@inner
def _same(total: float) -> float:
    return total


@inner
def _same4(totals: V4f) -> V4f:
    return totals


class Sum(NamedTuple):
    """A distance as a sum over elements: what is added, and what is done to one sum and to four."""

    add: Callable[[V16f, V16f, V16f], V16f]
    finish: Callable[[float], float]
    finish4: Callable[[V4f], V4f]


DOT_SUM = Sum(_product, _negated, _negated4)
EUCLID_SUM = Sum(_square, _same, _same4)
MANHATTAN_SUM = Sum(_absolute, _same, _same4)


# --- one row, and four rows: one load of the query serves all --------------------------------


def _one_row(elements: Elements, distance: Sum) -> Any:
    width, trailer, scale_of, read = elements
    add, finish, _ = distance
    turn, ratio = GROUP * width, 4 // width

    @inner
    def one(query: int, row: int, size: int) -> float:
        total, scale = zero16(), scale_of(row, size)
        for at in range(0, size - trailer, turn):
            total = add(load16(query + ratio * at), read(row + at, scale), total)
        return finish(sum16(total))

    return one


def _four_rows(elements: Elements, distance: Sum) -> Any:
    width, trailer, scale_of, read = elements
    add, _, finish4 = distance
    turn, ratio = GROUP * width, 4 // width

    @inner
    def four(query: int, a: int, b: int, c: int, d: int, size: int) -> V4f:
        of_a, of_b, of_c, of_d = zero16(), zero16(), zero16(), zero16()
        scale_a, scale_b = scale_of(a, size), scale_of(b, size)
        scale_c, scale_d = scale_of(c, size), scale_of(d, size)
        for at in range(0, size - trailer, turn):
            q = load16(query + ratio * at)
            of_a = add(q, read(a + at, scale_a), of_a)
            of_b = add(q, read(b + at, scale_b), of_b)
            of_c = add(q, read(c + at, scale_c), of_c)
            of_d = add(q, read(d + at, scale_d), of_d)
        return finish4(sums16(of_a, of_b, of_c, of_d))

    return four


float32_dot = _one_row(FLOATS32, DOT_SUM)
"""float32_dot(query, row, size): the DOT distance of two FLOAT32 vectors, for other kernels."""


def _of(elements: Elements) -> Any:
    sums = (DOT_SUM, EUCLID_SUM, MANHATTAN_SUM)
    return by_metric(*(many_rows(_one_row(elements, s), _four_rows(elements, s)) for s in sums))


_of_floats32, _of_floats16 = _of(FLOATS32), _of(FLOATS16)
_of_codes8, _of_codes16 = _of(_CODES8), _of(_CODES16)


@routine
def float32_distances(
    measure: int, query: int, rows: int, size: int, offsets: int, count: int, out: int
) -> int:
    """FLOAT32."""
    _of_floats32(measure, query, rows, size, offsets, count, out)
    return 0


@routine
def float16_distances(
    measure: int, query: int, rows: int, size: int, offsets: int, count: int, out: int
) -> int:
    """FLOAT16."""
    _of_floats16(measure, query, rows, size, offsets, count, out)
    return 0


@routine
def scaled8_distances(
    measure: int, query: int, rows: int, size: int, offsets: int, count: int, out: int
) -> int:
    """SCALED8."""
    _of_codes8(measure, query, rows, size, offsets, count, out)
    return 0


@routine
def scaled16_distances(
    measure: int, query: int, rows: int, size: int, offsets: int, count: int, out: int
) -> int:
    """SCALED16."""
    _of_codes16(measure, query, rows, size, offsets, count, out)
    return 0


# --- rows as queries -------------------------------------------------------------------------


def _decoded(elements: Elements) -> Any:
    width, trailer, scale_of, read = elements
    turn, ratio = GROUP * width, 4 // width

    @inner
    def decoded(row: int, size: int, query: int) -> int:
        scale, end = scale_of(row, size), size - trailer
        for at in range(0, end, turn):
            store16(query + ratio * at, read(row + at, scale))
        return query + ratio * end

    return decoded


_decoded_halves = _decoded(FLOATS16)
_decoded_codes8, _decoded_codes16 = _decoded(_CODES8), _decoded(_CODES16)


@inner
def _add_squares(row: int, size: int, behind: int) -> int:
    """The last group of a SCALED query; the address after it."""
    store16(behind, zero16())
    store_f32(behind, load_f32(row + size - 4))
    return behind + 4 * GROUP


@routine
def float16_query(measure: int, row: int, size: int, query: int, d: int, e: int, f: int) -> int:
    """A FLOAT16 row as a query; its bytes."""
    return _decoded_halves(row, size, query) - query  # type: ignore[no-any-return]


@routine
def scaled8_query(measure: int, row: int, size: int, query: int, d: int, e: int, f: int) -> int:
    """A SCALED8 row as a query; its bytes."""
    return _add_squares(row, size, _decoded_codes8(row, size, query)) - query


@routine
def scaled16_query(measure: int, row: int, size: int, query: int, d: int, e: int, f: int) -> int:
    """A SCALED16 row as a query; its bytes."""
    return _add_squares(row, size, _decoded_codes16(row, size, query)) - query
