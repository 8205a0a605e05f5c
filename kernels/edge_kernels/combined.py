"""Ratings of a row by several examples (COMBINED): recommend, discover, context, feedback.

Invariants:
- With s the similarity to an example, that is minus the distance to it, a row's rating is, for
    BEST      the examples being `first` positives and then negatives, P and N the greatest s of
              each: half(P) where P > N, else -half(N), with half(x) = 0.5 * (soft(x) + 1)
    LINEAR    the sum of weight times s
    DISCOVER  the first example being a target, the others pairs (positive, negative): the pairs
              whose positive is nearer, less those whose negative is, and half(s of the target)
    CONTEXT   pairs: the sum of soft(min(s(positive) - s(negative) - EPSILON, 0))
  with soft(x) = x / (1 + |x|). The distance is minus the rating; it is not -0.0.
- Examples are compared in their order, so a row has the same bits in any kernel.

Source of the formulas: the scorers of Qdrant's segment crate, as measured on their answers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edge_kernels.jit import (
    STACK_FLOATS,
    address_of,
    inner,
    load_f32,
    load_i64,
    routine,
    stack_floats,
    store_f32,
)
from edge_kernels.measure import SINGLE, ZERO, distances_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BEST, LINEAR, DISCOVER, CONTEXT = range(4)

KIND, EXAMPLES, FIRST, WEIGHTS, FORMS = 0, 8, 16, 24, 64  # bytes of a query form
HEADER_WORDS = FORMS // 8

ONE = cast(float, np.float32(1))
HALF = cast(float, np.float32(0.5))
LEAST = cast(float, np.float32(-math.inf))
EPSILON = cast(float, np.float32(2.0**-23))


def query_form(
    kind: int, forms: Sequence[NDArray[Any]], first: int, weights: NDArray[np.float32]
) -> NDArray[np.int64]:
    """The query form int64[8 + examples] over the query forms of the examples, and `weights`
    float32[examples] of LINEAR. The caller keeps all of them alive.
    """
    words = np.zeros(HEADER_WORDS + len(forms), np.int64)
    words[:4] = kind, len(forms), first, address_of(weights)
    words[HEADER_WORDS:] = [address_of(form.view(np.uint8)) for form in forms]
    return words


# --- kernels ---------------------------------------------------------------------------------
# `block` is float32[STACK_FLOATS] for distances, `kept` and `other` the same for what is carried
# from example to example.


@inner
def _soft(x: float) -> float:
    return x / (ONE + abs(x))


@inner
def _half(x: float) -> float:
    return HALF * (_soft(x) + ONE)


@inner
def _fill(block: int, count: int, value: float) -> None:
    for at in range(count):
        store_f32(block + 4 * at, value)


@inner
def _measure(
    measure: int, query: int, example: int, rows: int, size: int, offsets: int, count: int, out: int
) -> None:
    form = load_i64(query + FORMS + 8 * example)
    distances_of(load_i64(measure + SINGLE), form, rows, size, offsets, count, out)


@inner
def _best(
    measure: int,
    query: int,
    rows: int,
    size: int,
    offsets: int,
    count: int,
    out: int,
    block: int,
    other: int,
) -> None:
    first, examples = load_i64(query + FIRST), load_i64(query + EXAMPLES)
    _fill(out, count, LEAST)
    _fill(other, count, LEAST)
    for example in range(examples):
        _measure(measure, query, example, rows, size, offsets, count, block)
        kept = out if example < first else other
        for at in range(count):
            similarity = ZERO - load_f32(block + 4 * at)
            if similarity > load_f32(kept + 4 * at):
                store_f32(kept + 4 * at, similarity)
    for at in range(count):
        positive, negative = load_f32(out + 4 * at), load_f32(other + 4 * at)
        rating = _half(positive) if positive > negative else ZERO - _half(negative)
        store_f32(out + 4 * at, ZERO - rating)


@inner
def _linear(
    measure: int, query: int, rows: int, size: int, offsets: int, count: int, out: int, block: int
) -> None:
    weights = load_i64(query + WEIGHTS)
    _fill(out, count, ZERO)
    for example in range(load_i64(query + EXAMPLES)):
        weight = load_f32(weights + 4 * example)
        _measure(measure, query, example, rows, size, offsets, count, block)
        for at in range(count):
            added = load_f32(out + 4 * at) + weight * load_f32(block + 4 * at)
            store_f32(out + 4 * at, added + ZERO)


@inner
def _pairs(
    measure: int,
    query: int,
    rows: int,
    size: int,
    offsets: int,
    count: int,
    out: int,
    block: int,
    other: int,
    target: int,
) -> None:
    """DISCOVER where there is a target, which is example 0; else CONTEXT."""
    _fill(out, count, ZERO)
    for example in range(target, load_i64(query + EXAMPLES), 2):
        _measure(measure, query, example, rows, size, offsets, count, block)
        _measure(measure, query, example + 1, rows, size, offsets, count, other)
        for at in range(count):
            nearer = load_f32(other + 4 * at) - load_f32(block + 4 * at)
            if target == 0:
                term = ZERO - _soft(min(nearer - EPSILON, ZERO))
            elif nearer > ZERO:
                term = ZERO - ONE
            else:
                term = ONE if nearer < ZERO else ZERO
            store_f32(out + 4 * at, load_f32(out + 4 * at) + term)
    if target == 1:
        _measure(measure, query, 0, rows, size, offsets, count, block)
        for at in range(count):
            rating = _half(ZERO - load_f32(block + 4 * at))
            store_f32(out + 4 * at, load_f32(out + 4 * at) - rating + ZERO)


@routine
def combined_distances(
    measure: int, query: int, rows: int, size: int, offsets: int, count: int, out: int
) -> int:
    """COMBINED beside any code; SINGLE of the record is the measure of one example."""
    block, other, kind = stack_floats(), stack_floats(), load_i64(query + KIND)
    for start in range(0, count, STACK_FLOATS):
        some = min(STACK_FLOATS, count - start)
        listed = 0 if offsets == 0 else offsets + 4 * start
        first = rows + size * start if offsets == 0 else rows
        to = out + 4 * start
        if kind == BEST:
            _best(measure, query, first, size, listed, some, to, block, other)
        elif kind == LINEAR:
            _linear(measure, query, first, size, listed, some, to, block)
        else:
            target = 1 if kind == DISCOVER else 0
            _pairs(measure, query, first, size, listed, some, to, block, other, target)
    return 0
