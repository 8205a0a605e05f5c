"""Distances of rows of integers: UINT8, and INT8 with a factor that the query brings.

Invariants:
- Sums are of integers and exact, so their order is free; only the end result is rounded. A row has
  at most 65536 elements: then no sum leaves 32 bits.
- UINT8 rows of COSINE are not normalised: their lengths are part of the distance. A vector of
  length zero has distance 0 to all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np

from edge_kernels.encodings import COSINE, PREFIX
from edge_kernels.jit import (
    f32_of_f64,
    fill_bytes,
    inner,
    load_f32,
    load_i64,
    move_bytes,
    routine,
    store_f32,
)
from edge_kernels.lanes import (
    V4f,
    V16i,
    V32h,
    abs32,
    add4,
    add_lanes,
    add_products,
    load32_signed,
    load32_unsigned,
    mul4,
    splat4,
    sub32,
    sum_ints,
    sum_signed,
    sum_unsigned,
    sums_signed,
    sums_unsigned,
    zero_ints,
)
from edge_kernels.measure import METRIC, ZERO, by_metric, many_rows, row_at

TURN = 32  # bytes of one turn of a loop
ONE = cast(float, np.float32(1))


# --- what a pair of elements adds ------------------------------------------------------------


@inner
def _product(q: V32h, x: V32h, total: V16i) -> V16i:
    return add_products(q, x, total)


@inner
def _square(q: V32h, x: V32h, total: V16i) -> V16i:
    difference = sub32(q, x)
    return add_products(difference, difference, total)


@inner
def _absolute(q: V32h, x: V32h, total: V16i) -> V16i:
    return add_lanes(abs32(sub32(q, x)), total)


# --- what a sum is multiplied by -------------------------------------------------------------


@inner
def _one(query: int) -> float:
    return ONE


@inner
def _minus_one(query: int) -> float:
    return -ONE


@inner
def _factor(query: int) -> float:
    return load_f32(query)


@inner
def _minus_factor(query: int) -> float:
    return -load_f32(query)


class Bytes(NamedTuple):
    """What rows are made of, and the queries: bytes before the codes, and how to read 32 codes."""

    prefix: int
    load: Callable[[int], V32h]


class Sum(NamedTuple):
    """A distance as a sum over elements: what is added, what makes floats of one sum and of four,
    and what they are multiplied by.
    """

    add: Callable[[V32h, V32h, V16i], V16i]
    float_of: Callable[[V16i], float]
    floats_of: Callable[[V16i, V16i, V16i, V16i], V4f]
    factor: Callable[[int], float]


_SIGNED, _UNSIGNED = Bytes(PREFIX, load32_signed), Bytes(0, load32_unsigned)


# --- one row, and four rows ------------------------------------------------------------------
# A zero is added at the end because a product may be -0.0.


def _one_row(codes: Bytes, distance: Sum) -> Any:
    prefix, load = codes
    add, float_of, _, factor = distance

    @inner
    def one(query: int, row: int, size: int) -> float:
        start, total = query + prefix, zero_ints()
        for at in range(0, size, TURN):
            total = add(load(start + at), load(row + at), total)
        return ZERO + factor(query) * float_of(total)

    return one


def _four_rows(codes: Bytes, distance: Sum) -> Any:
    prefix, load = codes
    add, _, floats_of, factor = distance

    @inner
    def four(query: int, a: int, b: int, c: int, d: int, size: int) -> V4f:
        start = query + prefix
        of_a, of_b, of_c, of_d = zero_ints(), zero_ints(), zero_ints(), zero_ints()
        for at in range(0, size, TURN):
            q = load(start + at)
            of_a, of_b = add(q, load(a + at), of_a), add(q, load(b + at), of_b)
            of_c, of_d = add(q, load(c + at), of_c), add(q, load(d + at), of_d)
        return add4(splat4(ZERO), mul4(splat4(factor(query)), floats_of(of_a, of_b, of_c, of_d)))

    return four


def _of(codes: Bytes, *sums: Sum) -> Any:
    return by_metric(*(many_rows(_one_row(codes, s), _four_rows(codes, s)) for s in sums))


_of_int8 = _of(
    _SIGNED,
    Sum(_product, sum_signed, sums_signed, _minus_factor),
    Sum(_square, sum_unsigned, sums_unsigned, _factor),
    Sum(_absolute, sum_unsigned, sums_unsigned, _factor),
)
_of_uint8 = _of(
    _UNSIGNED,
    Sum(_product, sum_unsigned, sums_unsigned, _minus_one),
    Sum(_square, sum_unsigned, sums_unsigned, _one),
    Sum(_absolute, sum_unsigned, sums_unsigned, _one),
)


# --- angles of rows that are not normalised --------------------------------------------------


@inner
def _length(row: int, size: int) -> float:
    """In float64, like all of an angle: so that a vector is exactly parallel to itself."""
    square = zero_ints()
    for at in range(0, size, TURN):
        x = load32_unsigned(row + at)
        square = add_products(x, x, square)
    return math.sqrt(sum_ints(square))


@inner
def _angles(query: int, rows: int, size: int, offsets: int, count: int, out: int) -> None:
    of_query = _length(query, size)
    for at in range(count):
        row = row_at(rows, size, offsets, at)
        product, square = zero_ints(), zero_ints()
        for place in range(0, size, TURN):
            x = load32_unsigned(row + place)
            product = add_products(load32_unsigned(query + place), x, product)
            square = add_products(x, x, square)
        lengths = of_query * math.sqrt(sum_ints(square))
        cosine = sum_ints(product) / lengths if lengths > 0 else 0.0
        store_f32(out + 4 * at, f32_of_f64(0.0 - cosine))


# --- routines --------------------------------------------------------------------------------


@routine
def int8_distances(
    measure: int, query: int, rows: int, size: int, offsets: int, count: int, out: int
) -> int:
    """INT8."""
    _of_int8(measure, query, rows, size, offsets, count, out)
    return 0


@routine
def uint8_distances(
    measure: int, query: int, rows: int, size: int, offsets: int, count: int, out: int
) -> int:
    """UINT8."""
    if load_i64(measure + METRIC) == COSINE:
        _angles(query, rows, size, offsets, count, out)
    else:
        _of_uint8(measure, query, rows, size, offsets, count, out)
    return 0


@routine
def int8_query(measure: int, row: int, size: int, query: int, d: int, e: int, f: int) -> int:
    """An INT8 row as a query of factor 1; its bytes."""
    fill_bytes(query, 0, PREFIX)
    store_f32(query, ONE)
    move_bytes(query + PREFIX, row, size)
    return PREFIX + size
