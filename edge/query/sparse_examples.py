"""Sparse vectors ranked by several examples, and how alike candidates are to each other.

Invariant: unlike the nearest, all points that have the vector are ranked: what shares no dimension
with an example is like it by 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge.filter.mask import matches
from edge.model.filter import Filter
from edge.model.sparse import SparseVector
from edge.query.asked import Rule
from edge.query.deadline import Deadline
from edge.query.pool import Keys, Ranked, best, by_segment, offsets_of
from edge.query.search import Found
from edge.query.trace import Trace
from edge.segment.view import SegmentView, ShardView
from edge.vectors.block import Offsets
from edge.vectors.column import Absent
from edge.vectors.form import form_of
from edge.vectors.sparse import SparseQuery, SparseRows
from edge_kernels import bits, combined, scan

Floats: TypeAlias = NDArray[np.float32]


def found(view: SegmentView, top: scan.TopK) -> Found:
    """Return what a scan has gathered of a segment."""
    return Found(view, *top.finish())


def ranked(
    view: ShardView,
    name: str,
    examples: list[SparseQuery],
    rule: Rule,
    filter: Filter | None,
    limit: int,
    keys: Keys | None,
    deadline: Deadline,
    trace: Trace,
) -> Ranked:
    """Return the best of the points that have the vector: of `keys`, or (None) of all that fulfil
    the filter."""
    every: list[Keys] = [np.empty(0, np.int64)]
    scores: list[Floats] = [np.empty(0, np.float32)]
    for at, segment in enumerate(view.segments):
        deadline.check()
        column: Any = segment.column(name)
        if isinstance(column, Absent) or not segment.live_count:
            continue
        with trace.segment(segment) as note:
            note.way = "scan"
            if keys is None:
                offsets = _allowed(segment, name, filter, deadline)
            else:
                mine = np.sort(offsets_of(keys[keys >> np.int64(32) == at]))
                offsets = mine[segment.has_vector_at(mine, name)]
            rows = column.rows(segment.watermark)
            alike = [similarities(example, rows, offsets) for example in examples]
            every.append((np.int64(at) << np.int64(32)) | offsets.astype(np.int64))
            scores.append(RATINGS[rule.kind](np.array(alike, np.float32), rule, len(offsets)))
    return best(view, np.concatenate(every), np.concatenate(scores), limit)


def _allowed(view: SegmentView, name: str, filter: Filter | None, deadline: Deadline) -> Offsets:
    allowed = view.allowed(name)
    among = view.live_bits() if allowed is None else allowed
    chosen = among if filter is None else matches(filter, view, among, deadline.check)
    return bits.to_offsets(chosen, view.watermark)


def similarities(query: SparseQuery, rows: SparseRows, offsets: Offsets) -> Floats:
    """Return float32[m]: the dot product of the query with each of these rows."""
    block = rows.take(offsets)
    indices, values = block.parts
    if not len(query.indices) or not len(indices):
        return np.zeros(len(offsets), np.float32)
    places = np.minimum(np.searchsorted(query.indices, indices), len(query.indices) - 1)
    shared = query.indices[places] == indices
    products = np.where(shared, query.values[places] * values, np.float32(0))
    sums = np.concatenate([[0.0], np.cumsum(products, dtype=np.float64)])
    found: Floats = (sums[block.starts[1:]] - sums[block.starts[:-1]]).astype(np.float32)
    return found


# -- rules, as `edge_kernels.combined` says them, for similarities float32[examples, points]


def _soft(x: Floats) -> Floats:
    found: Any = x / (np.float32(1) + np.abs(x))
    return found  # type: ignore[no-any-return]


def _half(x: Floats) -> Floats:
    return np.float32(0.5) * (_soft(x) + np.float32(1))


def _best(alike: Floats, rule: Rule, points: int) -> Floats:
    least = np.full(points, -np.inf, np.float32)
    positive: Any = np.max(alike[: rule.first], axis=0) if rule.first else least
    negative = np.max(alike[rule.first :], axis=0) if rule.first < len(alike) else least
    with np.errstate(invalid="ignore"):
        rating: Any = np.where(positive > negative, _half(positive), -_half(negative))
    found: Floats = rating.astype(np.float32)
    return found


def _linear(alike: Floats, rule: Rule, points: int) -> Floats:
    assert rule.weights is not None
    total = np.zeros(points, np.float32)
    for weight, likeness in zip(rule.weights, alike, strict=True):
        total += weight * likeness
    return total


def _discover(alike: Floats, rule: Rule, points: int) -> Floats:
    nearer = alike[1::2] - alike[2::2]
    rating: Floats = np.sign(nearer).sum(axis=0, dtype=np.float32) + _half(alike[0])
    return rating


def _context(alike: Floats, rule: Rule, points: int) -> Floats:
    total = np.zeros(points, np.float32)
    for positive, negative in zip(alike[::2], alike[1::2], strict=True):
        total += _soft(np.minimum(positive - negative - np.float32(2.0**-23), np.float32(0)))
    return total


RATINGS: dict[int, Callable[[Floats, Rule, int], Floats]] = {
    combined.BEST: _best,
    combined.LINEAR: _linear,
    combined.DISCOVER: _discover,
    combined.CONTEXT: _context,
}


# -- candidates among each other


def likeness(view: ShardView, name: str, vector: Any, candidates: Ranked) -> tuple[Floats, Floats]:
    """Return (float32[n] similarity of the vector to each candidate, float32[n, n] that of each
    candidate's vector to the others): minus the distance of the kernels, or the dot product."""
    if isinstance(vector, SparseVector):
        return _sparse_likeness(view, name, vector, candidates.keys)
    form = form_of(view.config.vectors[name])
    shown = vectors_of(view, name, candidates.keys)
    queries = [vector, *(np.array(one, np.float32) for one in shown)]
    alike = np.empty((len(queries), len(candidates.keys)), np.float32)
    for at, places in by_segment(view, candidates.keys):
        segment = view.segments[at]
        offsets = offsets_of(candidates.keys[places])
        column: Any = segment.column(name)
        for row, query in enumerate(queries):
            alike[row, places] = -_distances(column, form.query(query), segment, offsets)
    return alike[0], alike[1:]


def _distances(column: Any, query: Any, segment: SegmentView, offsets: Offsets) -> Floats:
    order = np.argsort(offsets)
    out = np.empty(len(offsets), np.float32)
    for base, matrix in column.chunks(segment.watermark):
        ascending = offsets[order]
        first, last = np.searchsorted(ascending, [base, base + len(matrix)])
        if first < last:
            mine = ascending[first:last].copy()
            out[order[first:last]] = scan.distances(query.code, query.form, matrix, base, mine)
    return out


def vectors_of(view: ShardView, name: str, keys: Keys) -> list[Any]:
    """Return the vectors of points, as results hold them."""
    found: list[Any] = [None] * len(keys)
    for at, places in by_segment(view, keys):
        shown = view.segments[at].vectors_at(offsets_of(keys[places]), name)
        for place, vector in zip(places.tolist(), shown, strict=True):
            found[place] = vector
    return found


def _sparse_likeness(
    view: ShardView, name: str, vector: SparseVector, keys: Keys
) -> tuple[Floats, Floats]:
    shown = vectors_of(view, name, keys)
    alike = np.array([[_dot(one, other) for other in shown] for one in shown], np.float32)
    return np.array([_dot(vector, one) for one in shown], np.float32), alike


def _dot(first: SparseVector, second: SparseVector) -> float:
    (one, values), (other, weights) = first.arrays, second.arrays
    _, left, right = np.intersect1d(one, other, assume_unique=True, return_indices=True)
    return float(np.dot(values[left], weights[right]))
