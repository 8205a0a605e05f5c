"""Points in id order, page by page, filtered or not.

Invariant: candidates are taken in id order, a growing number at a time, so a page costs what it
shows and not what the shard holds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.filter.mask import matching
from edge.model.filter import Filter
from edge.query.deadline import Deadline
from edge.query.search import Hits
from edge.segment.id_tracker import IdRows
from edge.segment.view import SegmentView, ShardView
from edge_kernels import ids as kernels

FIRST_LOOK = 256


def page(
    view: ShardView, start: IdRows | None, limit: int, filter: Filter | None, deadline: Deadline
) -> Hits:
    """Return up to `limit` hits in id order, from the id row `start` on (inclusive)."""
    segments = tuple(segment for segment in view.segments if segment.live_count)
    pages: list[Hits] = []
    found, inclusive = 0, True
    look = limit if filter is None else max(FIRST_LOOK, 2 * limit)
    while found < limit:
        candidates = _next(segments, start, inclusive, look)
        if not len(candidates.offsets):
            break
        kept = candidates if filter is None else _matching(candidates, filter, deadline)
        pages.append(kept)
        found += len(kept.offsets)
        if len(candidates.offsets) < look:
            break
        last = candidates.segments[candidates.owners[-1]]
        start, inclusive, look = last.ids[candidates.offsets[-1]], False, 2 * look
    return _joined(segments, pages, limit)


def _next(
    segments: tuple[SegmentView, ...], start: IdRows | None, inclusive: bool, count: int
) -> Hits:
    parts = [kernels.smallest(v.ids, v.live(), count, start, inclusive) for v in segments]
    owners = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    offsets = np.concatenate([*parts, np.empty(0, np.uint32)])
    if len(segments) > 1:
        ids = np.concatenate([v.ids[part] for v, part in zip(segments, parts, strict=True)])
        order = np.lexsort((ids[:, 2], ids[:, 1], ids[:, 0]))[:count]
        owners, offsets = owners[order], offsets[order]
    return Hits(segments, owners, offsets, _no_distances(len(offsets)))


def _matching(candidates: Hits, filter: Filter, deadline: Deadline) -> Hits:
    kept = np.zeros(len(candidates.offsets), bool)
    for owner, view in enumerate(candidates.segments):
        places = np.flatnonzero(candidates.owners == owner)
        ascending = places[np.argsort(candidates.offsets[places])]
        asked = candidates.offsets[ascending]
        matches = matching(filter, view, asked, checkpoint=deadline.check)
        kept[ascending[np.isin(asked, matches, assume_unique=True)]] = True
    chosen = candidates.offsets[kept]
    return Hits(candidates.segments, candidates.owners[kept], chosen, _no_distances(len(chosen)))


def _joined(segments: tuple[SegmentView, ...], pages: list[Hits], limit: int) -> Hits:
    if not pages:
        return Hits(segments, np.empty(0, np.intp), np.empty(0, np.uint32), _no_distances(0))
    owners = np.concatenate([part.owners for part in pages])[:limit]
    offsets = np.concatenate([part.offsets for part in pages])[:limit]
    return Hits(segments, owners, offsets, _no_distances(len(offsets)))


def _no_distances(count: int) -> NDArray[np.float32]:
    return np.zeros(count, np.float32)
