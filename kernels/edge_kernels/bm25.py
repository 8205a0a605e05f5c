"""BM25 over postings: the documents of a query's terms are met in order, scored and offered.

Invariants
- Terms come by ascending weight, and a document's score is summed in that order, each step rounded
  to float32; what a kernel computes is the same bits as a plain loop of float32 gives.
- A term's documents ascend; documents are numbered in the order of their rows, so that those of one
  row come one after another. A row's score is its best document's.
- A score that is NaN is no candidate.
- Once the best are found that much ahead, documents which only have light terms are passed over:
  what they could reach at the most is below the worst of these (MaxScore; Turtle and Flood 1995).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge_kernels.jit import (
    address_of,
    call,
    distance_of_key,
    door,
    inner,
    load_f32,
    load_i64,
    load_u32,
    store_i64,
)
from edge_kernels.topk import TopK, offer, pack

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Offsets = NDArray[np.uint32]
    Bits = NDArray[np.uint64]
    Ids = NDArray[np.uint64]


class Term(NamedTuple):
    """The documents that have a token, uint32[n] ascending, and how often, uint32[n]."""

    documents: Offsets
    times: Offsets


def live(rows: Offsets, lengths: Offsets, allowed: Bits) -> tuple[int, int]:
    """(documents whose row is allowed, their tokens together); arrays are uint32[documents]."""
    out = np.zeros(2, np.int64)
    call(
        _live,
        address_of(rows),
        address_of(lengths),
        rows.size,
        address_of(allowed),
        address_of(out),
    )
    return int(out[0]), int(out[1])


def having(documents: Offsets, rows: Offsets, allowed: Bits) -> int:
    """How many of the documents are of an allowed row."""
    return call(
        _having, address_of(documents), documents.size, address_of(rows), address_of(allowed)
    )


def rank(
    terms: list[Term],
    weights: NDArray[np.float32],
    lengths: Offsets,
    rows: Offsets,
    allowed: Bits,
    parameters: NDArray[np.float32],
    ids: Ids,
    top: TopK,
) -> None:
    """Offer the allowed rows of the terms' documents to `top`, at minus their score.

    `weights` float32[terms] ascending, `lengths` and `rows` uint32[documents], `parameters`
    float32[3]: k, b and the average length.
    """
    if not terms:
        return
    top.reserve(sum(term.documents.size for term in terms), ids)
    words = np.zeros((len(terms), 4), np.int64)  # documents, times, how many, the next one
    for place, term in enumerate(terms):
        words[place] = address_of(term.documents), address_of(term.times), term.documents.size, 0
    top.size = call(
        _rank,
        address_of(words),
        len(terms),
        address_of(weights),
        address_of(lengths),
        address_of(rows),
        address_of(allowed),
        address_of(parameters),
        top.ids,
        top.heap,
        top.size,
        top.k,
    )


# --- kernels ---------------------------------------------------------------------------------


@inner
def _allows(allowed: int, row: int) -> int:
    return (load_i64(allowed + 8 * (row >> 6)) >> (row & 63)) & 1


@door
def _live(block: int) -> int:
    rows, lengths, count = load_i64(block), load_i64(block + 8), load_i64(block + 16)
    allowed, out = load_i64(block + 24), load_i64(block + 32)
    found = 0
    tokens = 0
    for i in range(count):
        if _allows(allowed, load_u32(rows + 4 * i)) != 0:
            found += 1
            tokens += load_u32(lengths + 4 * i)
    store_i64(out, found)
    store_i64(out + 8, tokens)
    return 0


@door
def _having(block: int) -> int:
    documents, count = load_i64(block), load_i64(block + 8)
    rows, allowed = load_i64(block + 16), load_i64(block + 24)
    found = 0
    for i in range(count):
        found += _allows(allowed, load_u32(rows + 4 * load_u32(documents + 4 * i)))
    return found


NONE = 1 << 32
SAFETY = 1.0001  # more than all the roundings of a sum can make of a bound


@inner
def _place(documents: int, place: int, end: int, document: int) -> int:
    """The first place from `place` on whose document is not before this one."""
    step = 1
    while place + step < end and load_u32(documents + 4 * (place + step)) < document:
        place += step
        step += step
    low, high = place, min(place + step, end)
    while low < high:
        middle = (low + high) >> 1
        if load_u32(documents + 4 * middle) < document:
            low = middle + 1
        else:
            high = middle
    return low


@inner
def _next_document(terms: int, first: int, count: int) -> int:
    """The least document that a term from `first` on has not passed; NONE at the end."""
    least = NONE
    for at in range(first, count):
        term = terms + 32 * at
        place = load_i64(term + 24)
        if place < load_i64(term + 16):
            least = min(least, load_u32(load_i64(term) + 4 * place))
    return least


@inner
def _score(
    terms: int, first: int, count: int, weights: int, document: int, length: int, parameters: int
) -> float:
    """The score of a document; the terms from `first` on pass it by, the others seek it."""
    k, b, average = load_f32(parameters), load_f32(parameters + 4), load_f32(parameters + 8)
    one = np.float32(1.0)
    norm = k * ((one - b) + (b * np.float32(length)) / average)
    score = np.float32(0.0)
    for at in range(count):
        term = terms + 32 * at
        documents, end, place = load_i64(term), load_i64(term + 16), load_i64(term + 24)
        if at < first:
            place = _place(documents, place, end, document)
            store_i64(term + 24, place)
        if place < end and load_u32(documents + 4 * place) == document:
            times = np.float32(load_u32(load_i64(term + 8) + 4 * place))
            weight = load_f32(weights + 4 * at)
            score = score + ((weight * times) * (k + one)) / (times + norm)
            store_i64(term + 24, place + 1)
    return score  # type: ignore[return-value]


@inner
def _first_that_counts(
    first: int, count: int, weights: int, parameters: int, heap: int, size: int, most: int
) -> int:
    """The terms before this one, all together, cannot bring a document among the best any more:
    a term's part of a score is below weight * (k + 1)."""
    if size < most:
        return first
    least = -float(distance_of_key(load_i64(heap) >> 32))
    bound = 0.0
    factor = (float(load_f32(parameters)) + 1.0) * SAFETY
    for at in range(count):
        bound += float(load_f32(weights + 4 * at)) * factor
        if not bound < least:
            return max(first, at)
    return count


@door
def _rank(block: int) -> int:
    terms, count, weights = load_i64(block), load_i64(block + 8), load_i64(block + 16)
    lengths, rows, allowed = load_i64(block + 24), load_i64(block + 32), load_i64(block + 40)
    parameters, ids = load_i64(block + 48), load_i64(block + 56)
    heap, size, most = load_i64(block + 64), load_i64(block + 72), load_i64(block + 80)
    first = 0
    pending = NONE
    best = np.float32(0.0)
    document = _next_document(terms, first, count)
    while document != NONE:
        row = load_u32(rows + 4 * document)
        if row != pending and pending != NONE:
            size = offer(heap, size, most, pack(-best, pending), ids)  # type: ignore[arg-type]
            first = _first_that_counts(first, count, weights, parameters, heap, size, most)
            pending = NONE
        length = load_u32(lengths + 4 * document)
        score = _score(terms, first, count, weights, document, length, parameters)
        if score == score and _allows(allowed, row) != 0:
            if pending == NONE or score > best:
                best = score  # type: ignore[assignment]
            pending = row
        document = _next_document(terms, first, count)
    if pending != NONE:
        size = offer(heap, size, most, pack(-best, pending), ids)  # type: ignore[arg-type]
    return size
