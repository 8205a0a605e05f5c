"""Points in id order, page by page, filtered or not.

Invariant: where indexes leave the filter open, candidates are tested in id order, a growing number
at a time, so that a page costs what it shows and not what the shard holds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from edge.filter.mask import known, matching
from edge.filter.truth import both
from edge.model.filter import Filter
from edge.query.deadline import Deadline
from edge.query.search import Hits, no_distances
from edge.query.trace import NO_TRACE, Trace
from edge.segment.id_tracker import IdRows
from edge.segment.view import SegmentView, ShardView
from edge.vectors.block import Offsets
from edge_kernels import bits
from edge_kernels import ids as kernels

FIRST_LOOK = 256


class _Candidates(NamedTuple):
    """The live points of a segment that may match; `open`: only their payloads tell which do."""

    view: SegmentView
    offsets: Offsets
    open: bool


def page(
    view: ShardView,
    start: IdRows | None,
    limit: int,
    filter: Filter | None,
    deadline: Deadline,
    trace: Trace = NO_TRACE,
) -> Hits:
    """Return up to `limit` hits in id order, from the id row `start` on (inclusive)."""
    parts = [
        _candidates(part, filter, deadline, trace) for part in view.segments if part.live_count
    ]
    segments = tuple(part.view for part in parts)
    is_open = any(part.open for part in parts)
    pages: list[Hits] = []
    found, inclusive = 0, True
    look = max(FIRST_LOOK, 2 * limit) if is_open else limit
    while found < limit:
        candidates = _next(parts, start, inclusive, look)
        if not len(candidates.offsets):
            break
        kept = candidates
        if filter is not None and is_open:
            kept = _matching(candidates, parts, filter, deadline)
        pages.append(kept)
        found += len(kept.offsets)
        if len(candidates.offsets) < look:
            break
        last = candidates.segments[candidates.owners[-1]]
        start, inclusive, look = last.ids[candidates.offsets[-1]], False, 2 * look
    return _joined(segments, pages, limit)


def _candidates(
    view: SegmentView, filter: Filter | None, deadline: Deadline, trace: Trace
) -> _Candidates:
    with trace.segment(view) as note:
        note.way = "ids"
        if filter is None:
            return _Candidates(view, view.live(), open=False)
        sure, maybe = known(filter, view, deadline.check).verdict
        may = both(maybe, view.live_bits())
        found = bits.zeros(view.watermark) if isinstance(may, bool) else may
        is_open = sure is not maybe
        note.filtered(filter, None if is_open else found)
        return _Candidates(view, bits.to_offsets(found, view.watermark), is_open)


def _next(parts: list[_Candidates], start: IdRows | None, inclusive: bool, count: int) -> Hits:
    segments = tuple(part.view for part in parts)
    found = [kernels.smallest(v.ids, few, count, start, inclusive) for v, few, _ in parts]
    owners = np.repeat(np.arange(len(found)), [len(part) for part in found])
    offsets = np.concatenate([*found, np.empty(0, np.uint32)])
    if len(segments) > 1:
        ids = np.concatenate([v.ids[part] for v, part in zip(segments, found, strict=True)])
        order = np.lexsort((ids[:, 2], ids[:, 1], ids[:, 0]))[:count]
        owners, offsets = owners[order], offsets[order]
    return Hits(segments, owners, offsets, no_distances(len(offsets)))


def _matching(
    candidates: Hits, parts: list[_Candidates], filter: Filter, deadline: Deadline
) -> Hits:
    kept = np.ones(len(candidates.offsets), bool)
    for owner, (view, _, is_open) in enumerate(parts):
        if is_open:
            places = np.flatnonzero(candidates.owners == owner)
            ascending = places[np.argsort(candidates.offsets[places])]
            asked = candidates.offsets[ascending]
            found = matching(filter, view, asked, checkpoint=deadline.check)
            kept[ascending] = np.isin(asked, found, assume_unique=True)
    chosen = candidates.offsets[kept]
    return Hits(candidates.segments, candidates.owners[kept], chosen, no_distances(len(chosen)))


def _joined(segments: tuple[SegmentView, ...], pages: list[Hits], limit: int) -> Hits:
    if not pages:
        return Hits(segments, np.empty(0, np.intp), np.empty(0, np.uint32), no_distances(0))
    owners = np.concatenate([part.owners for part in pages])[:limit]
    offsets = np.concatenate([part.offsets for part in pages])[:limit]
    return Hits(segments, owners, offsets, no_distances(len(offsets)))
