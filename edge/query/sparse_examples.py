"""Sparse vectors ranked by several examples.

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
from edge.query.asked import Rule
from edge.query.deadline import Deadline
from edge.query.pool import Keys, by_segment, offsets_of
from edge.query.search import Found, Hits, in_all, nothing_in
from edge.query.trace import Note, Trace
from edge.segment.view import SegmentView, ShardView
from edge.vectors.block import Offsets
from edge.vectors.column import Absent
from edge.vectors.sparse import SparseQuery
from edge_kernels import bits, combined

Floats: TypeAlias = NDArray[np.float32]


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
) -> Hits:
    """Return the best of the points that have the vector: of `keys`, or (None) of all that fulfil
    the filter. Distances are minus the ratings."""
    chosen = None if keys is None else _offsets(view, keys)

    def one(segment: SegmentView, deadline: Deadline, note: Note) -> Found:
        column: Any = segment.column(name)
        if isinstance(column, Absent):
            note.way = "left out"
            return nothing_in(segment)
        note.way = "scan"
        if chosen is None:
            offsets = _allowed(segment, name, filter, deadline)
        else:
            mine = chosen.get(segment, np.empty(0, np.uint32))
            offsets = mine[segment.has_vector_at(mine, name)]
        rows = column.rows(segment.watermark)
        alike = np.array([rows.products(example, offsets) for example in examples], np.float32)
        return _best_of(segment, offsets, RATINGS[rule.kind](alike, rule, len(offsets)), limit)

    return in_all(view, one, limit, deadline, trace)


def _offsets(view: ShardView, keys: Keys) -> dict[SegmentView, Offsets]:
    """By segment the offsets of the keys in it, ascending."""
    return {
        view.segments[at]: np.sort(offsets_of(keys[places]))
        for at, places in by_segment(view, keys)
    }


def _best_of(view: SegmentView, offsets: Offsets, ratings: Floats, limit: int) -> Found:
    distances, ids = np.float32(0) - ratings, view.ids[offsets]
    order = np.lexsort((ids[:, 2], ids[:, 1], ids[:, 0], distances))[:limit]
    return Found(view, offsets[order], distances[order])


def _allowed(view: SegmentView, name: str, filter: Filter | None, deadline: Deadline) -> Offsets:
    allowed = view.allowed(name)
    among = view.live_bits() if allowed is None else allowed
    chosen = among if filter is None else matches(filter, view, among, deadline.check)
    return bits.to_offsets(chosen, view.watermark)


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
