"""Points by chance: each that fulfils the filter is as likely as another."""

from __future__ import annotations

import numpy as np

from edge.filter.mask import matches
from edge.model.filter import Filter
from edge.query.deadline import Deadline
from edge.query.search import Hits, no_distances
from edge.query.trace import NO_TRACE, Trace
from edge.segment.view import ShardView
from edge_kernels import bits


def sample(
    view: ShardView,
    filter: Filter | None,
    count: int,
    deadline: Deadline,
    trace: Trace = NO_TRACE,
) -> Hits:
    """Return up to `count` distinct points in random order, anew at each call."""
    segments = tuple(segment for segment in view.segments if segment.live_count)
    rows = []
    for segment in segments:
        deadline.check()
        with trace.segment(segment) as note:
            note.way = "sample"
            if filter is None:
                rows.append(segment.live())
                continue
            found = matches(filter, segment, segment.live_bits(), deadline.check)
            note.filtered(filter, found)
            rows.append(bits.to_offsets(found, segment.watermark))
    ends = np.cumsum([0, *map(len, rows)])
    total = int(ends[-1])
    picked = np.random.default_rng().choice(total, min(count, total), replace=False)
    owners = np.searchsorted(ends, picked, "right") - 1
    everyone = np.concatenate([*rows, np.empty(0, np.uint32)])
    return Hits(segments, owners, everyone[picked], no_distances(len(picked)))
