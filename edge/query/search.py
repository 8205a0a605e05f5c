"""The nearest points of one query, segment by segment.

Invariants
- A filter is evaluated before the search: what is returned satisfies it, and `k` points are
  found wherever that many match (exactly by scan, within HNSW's recall by graph).
- Results are ordered by (distance, id), so equal distances have one order everywhere.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge.errors import DeadlineExceeded
from edge.filter.mask import matches
from edge.model.filter import Filter
from edge.query.deadline import Deadline
from edge.query.trace import NO_TRACE, Note, Trace
from edge.segment.view import SegmentView, ShardView
from edge.vectors.dense import Bits, Block, Offsets
from edge_kernels import bits, hnsw, scan

ROWS_A_BLOCK = 16_384
"""Rows scanned between two looks at the deadline: one or two milliseconds."""


NANOSECONDS_A_FLOAT: Final = 0.25
MICROSECONDS_A_STEP: Final = 0.6
LINKS_A_STEP: Final = 16
"""What a distance costs, by the length of its rows, and a step through a graph besides."""


class Leaf(NamedTuple):
    """One vector to search for, in stored form, and how."""

    name: str
    metric: int
    query: Block
    k: int
    filter: Filter | None
    ef: int
    exact: bool
    full_scan_bytes: int
    unindexed_bytes: int | None
    """A segment without a graph is left out where the vectors take more; None: never."""


class Found(NamedTuple):
    """What one segment has to offer, best first."""

    view: SegmentView
    offsets: Offsets
    distances: NDArray[np.float32]


class Hits(NamedTuple):
    """The best of the whole shard, best first: parallel arrays, and the segments they name."""

    segments: tuple[SegmentView, ...]
    owners: NDArray[np.intp]
    offsets: Offsets
    distances: NDArray[np.float32]


def no_distances(count: int) -> NDArray[np.float32]:
    """Distances of hits that have none."""
    return np.zeros(count, np.float32)


def search(view: ShardView, leaf: Leaf, deadline: Deadline, trace: Trace = NO_TRACE) -> Hits:
    """Search all segments for one leaf, and merge by (distance, id)."""
    found: list[Found] = []
    for segment in view.segments:
        if segment.live_count:
            try:
                with trace.segment(segment) as note:
                    found.append(_search_segment(segment, leaf, deadline, note))
            except DeadlineExceeded:
                if not deadline.best_effort:
                    raise
            if deadline.over():
                break
    return merge([part for part in found if len(part.offsets)], leaf.k)


def merge(found: list[Found], k: int) -> Hits:
    """Return the best `k` of what the segments found."""
    segments = tuple(part.view for part in found)
    if len(found) <= 1:
        part = found[0] if found else None
        offsets = part.offsets[:k] if part else np.empty(0, np.uint32)
        distances = part.distances[:k] if part else np.empty(0, np.float32)
        return Hits(segments, np.zeros(len(offsets), np.intp), offsets, distances)
    owners = np.repeat(np.arange(len(found)), [len(part.offsets) for part in found])
    offsets = np.concatenate([part.offsets for part in found])
    distances = np.concatenate([part.distances for part in found])
    ids = np.concatenate([part.view.ids[part.offsets] for part in found])
    best = np.lexsort((ids[:, 2], ids[:, 1], ids[:, 0], distances))[:k]
    return Hits(segments, owners[best], offsets[best], distances[best])


def _search_segment(view: SegmentView, leaf: Leaf, deadline: Deadline, note: Note) -> Found:
    graph = None if leaf.exact else view.segment.graphs.get(leaf.name)
    if leaf.name not in view.segment.graphs and _is_left_out(view, leaf):
        note.way = "left out"
        return Found(view, np.empty(0, np.uint32), np.empty(0, np.float32))
    allowed = view.allowed(leaf.name)
    if leaf.filter is None:
        note.way = "scan" if graph is None else "graph"
        if graph is None:
            return _scan(view, leaf, allowed, deadline)
        return _walk(view, graph, leaf, allowed)
    among = view.live_bits() if allowed is None else allowed
    found = matches(leaf.filter, view, among, deadline.check)
    note.filtered(leaf.filter, found)
    count = bits.count(found, view.watermark)
    if graph is None or _is_scanned(count, view, leaf):
        note.way = "scan of matches"
        return _scan_few(view, leaf, bits.to_offsets(found, view.watermark), deadline)
    note.way = "filtered graph"
    return _walk(view, graph, leaf, found)


def _is_scanned(count: int, view: SegmentView, leaf: Leaf) -> bool:
    """Whether that many matches are better compared one by one: because the config says so, or
    because a walk that has to pass by all the others would take longer."""
    dim = view.column(leaf.name).dim
    if count * dim * 4 <= leaf.full_scan_bytes:
        return True
    walk = walk_cost(leaf.ef, dim) * view.live_count / max(1, count)
    return scan_cost(count, dim) < walk


def scan_cost(rows: int, dim: int) -> float:
    """Return roughly how many microseconds it takes to compare so many rows."""
    return rows * dim * NANOSECONDS_A_FLOAT / 1000


def walk_cost(ef: int, dim: int) -> float:
    """Return roughly how many microseconds a walk through a graph takes."""
    return ef * (MICROSECONDS_A_STEP + scan_cost(LINKS_A_STEP, dim))


def _is_left_out(view: SegmentView, leaf: Leaf) -> bool:
    return leaf.unindexed_bytes is not None and view.bytes_of(leaf.name) > leaf.unindexed_bytes


def _walk(view: SegmentView, graph: hnsw.Graph, leaf: Leaf, allowed: Bits | None) -> Found:
    matrix = next(view.column(leaf.name).chunks(view.watermark))[1]
    ef = min(max(leaf.ef, leaf.k), view.watermark)
    found = hnsw.search(graph, matrix, leaf.query, ef, leaf.k, allowed, view.ids)
    return Found(view, found[0], found[1])


def _scan(view: SegmentView, leaf: Leaf, allowed: Bits | None, deadline: Deadline) -> Found:
    column = view.column(leaf.name)
    top = scan.TopK(leaf.k)
    for base, rows in column.chunks(view.watermark):
        for first in range(0, len(rows), ROWS_A_BLOCK):
            block = rows[first : first + ROWS_A_BLOCK]
            scan.scan(
                leaf.metric, leaf.query, block, len(block), base + first, allowed, view.ids, top
            )
            if deadline.over():
                return Found(view, *top.finish())
    return Found(view, *top.finish())


def _scan_few(view: SegmentView, leaf: Leaf, matches: Offsets, deadline: Deadline) -> Found:
    column = view.column(leaf.name)
    top = scan.TopK(leaf.k)
    for base, rows in column.chunks(view.watermark):
        first, last = _span(matches, base, base + len(rows), view.watermark)
        for start in range(first, last, ROWS_A_BLOCK):
            few = matches[start : min(start + ROWS_A_BLOCK, last)]
            scan.scan_list(leaf.metric, leaf.query, rows, base, few, view.ids, top)
            if deadline.over():
                return Found(view, *top.finish())
    return Found(view, *top.finish())


def _span(matches: Offsets, start: int, stop: int, count: int) -> tuple[int, int]:
    """Which of the ascending matches are among the rows from `start` to before `stop`."""
    if start == 0 and stop >= count:
        return 0, len(matches)
    # needles of another type would make numpy convert, that is copy, all the matches
    first, last = np.searchsorted(matches, np.array([start, stop], np.uint32)).tolist()
    return first, last
