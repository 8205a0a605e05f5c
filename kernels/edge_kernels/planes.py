"""Distances of bit planes (SLICED): a query of a few bits an element, rows of one bit or more.

A row is P planes of words of 64 bits, then float32 scale and one more float32: the sum of squares
or, for COSINE and DOT, the part of the product that is kept exactly. An element is about scale *
sum over planes of weight * sign, sign being +1 where the plane has the bit, else -1.
The query is uint8, 8-byte aligned:

  int64[16]   [0] P, [1] B; float32 in the low halves of: [2] unit, [3] sum of squares of the query
              or, for COSINE and DOT, what the row's exact part is multiplied by; in the high
              half of [2] a constant, which for COSINE and DOT is added to the product;
              [4..7] words of each plane, the first has most; float32 in the low halves of
              [8..11] weight of each plane, [12..15] bias: the sum of the query over that plane
  B planes    of words[0] words, the least significant bits of the numbers u first;
              an element of the query is about unit * (u - (2^B - 1) / 2)

Invariants:
- Bits are counted exactly; only what is made of the counts is rounded, in one fixed order.
- EUCLID and MANHATTAN are a stand-in here, the squares of both less twice the product: enough to
  choose what is then measured on the original rows.
"""

from __future__ import annotations

from edge_kernels.encodings import EUCLID, MANHATTAN, SLICED_HEADER
from edge_kernels.jit import (
    ctpop,
    f32_of_int,
    inner,
    load_f32,
    load_i64,
    prefetch,
    routine,
    store_f32,
)
from edge_kernels.lanes import (
    V4q,
    add_words,
    and_words,
    count_bits,
    last_words,
    load_words,
    sum_words,
    zero_words,
)
from edge_kernels.measure import METRIC, ZERO, row_ahead, row_at

PLANES, DEPTH, UNIT, CONSTANT, LAST, LENGTHS, WEIGHTS, BIASES = 0, 8, 16, 20, 24, 32, 64, 96


@inner
def _sum_over_four(digits: int, step: int, depth: int, bits: V4q) -> V4q:
    """Sums of the numbers whose bits are set in four words, lane by lane, highest digit first."""
    total = zero_words()
    for digit in range(depth - 1, -1, -1):
        common = count_bits(and_words(load_words(digits + step * digit), bits))
        total = add_words(add_words(total, total), common)
    return total


@inner
def _sum_over_one(digits: int, step: int, depth: int, bits: int) -> int:
    total = 0
    for digit in range(depth - 1, -1, -1):
        total += total + ctpop(load_i64(digits + step * digit) & bits)
    return total


@inner
def _plane_sum(digits: int, step: int, depth: int, plane: int, words: int) -> int:
    """The sum of 2 * u - (2^B - 1) over the bits that are set in a plane.

    The last four words may overlap those before them, which then are not counted again.
    """
    if words < 4:
        few, ones = 0, 0
        for at in range(0, 8 * words, 8):
            bits = load_i64(plane + at)
            ones += ctpop(bits)
            few += _sum_over_one(digits + at, step, depth, bits)
        return 2 * few - ((1 << depth) - 1) * ones
    sums, counts = zero_words(), zero_words()
    for first in range(0, words, 4):
        at = 8 * min(first, words - 4)
        four = last_words(load_words(plane + at), words - first)
        counts = add_words(counts, count_bits(four))
        sums = add_words(sums, _sum_over_four(digits + at, step, depth, four))
    return 2 * sum_words(sums) - ((1 << depth) - 1) * sum_words(counts)


@inner
def _dot(query: int, row: int, size: int) -> float:
    depth, step = load_i64(query + DEPTH), 8 * load_i64(query + LENGTHS)
    unit, total, plane = load_f32(query + UNIT), ZERO, row
    for word in range(0, 8 * load_i64(query + PLANES), 8):
        words = load_i64(query + LENGTHS + word)
        whole = _plane_sum(query + SLICED_HEADER, step, depth, plane, words)
        signed = unit * f32_of_int(whole) - load_f32(query + BIASES + word)
        total += load_f32(query + WEIGHTS + word) * signed
        plane += 8 * words
    return load_f32(row + size - 8) * total


@routine
def sliced_distances(
    measure: int, query: int, rows: int, size: int, offsets: int, count: int, out: int
) -> int:
    """SLICED."""
    metric, last = load_i64(measure + METRIC), load_f32(query + LAST)
    constant = load_f32(query + CONSTANT)
    is_apart = metric in (EUCLID, MANHATTAN)
    for at in range(count):
        later = row_ahead(rows, size, offsets, at, count)
        for line in range(later, later + size, 64):
            prefetch(line)
        row = row_at(rows, size, offsets, at)
        dot = _dot(query, row, size)
        of_row = load_f32(row + size - 4)
        distance = ZERO - (constant + last * of_row + dot)
        if is_apart:
            distance = max(ZERO, last + of_row - (dot + dot))
        store_f32(out + 4 * at, distance)
    return 0
