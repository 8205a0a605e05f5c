"""The nearest points of one query, segment by segment.

Invariants
- A filter is evaluated before the search: what is returned satisfies it, and `k` points are
  found wherever that many match (exactly by scan, within HNSW's recall by graph).
- Results are ordered by (distance, id), so equal distances have one order everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge.errors import DeadlineExceeded
from edge.model.filter import Filter
from edge.model.query import AcornSearchParams
from edge.query.asked import Asked
from edge.query.deadline import Deadline
from edge.query.narrowed import Narrowed, narrowed
from edge.query.of_a_value import graph_of_a_value
from edge.query.trace import NO_TRACE, Note, Trace
from edge.segment.view import SegmentView, ShardView
from edge.vectors.block import Matrix, Offsets
from edge.vectors.column import Absent, RowsColumn
from edge.vectors.dense import BuiltDense
from edge.vectors.form import Form, Query
from edge.vectors.missing import Bits
from edge.vectors.quantized_column import Quantized
from edge_kernels import hnsw, scan
from edge_kernels.rows import ask_for

ROWS_A_BLOCK = 16_384
BYTES_A_BLOCK = ROWS_A_BLOCK * 1536
"""Rows, or bytes, scanned between two looks at the deadline: one or two milliseconds."""


NANOSECONDS_A_BYTE: Final = 0.0625
MICROSECONDS_A_STEP: Final = 0.6
LINKS_A_STEP: Final = 16
"""What a distance costs, by the bytes of its rows, and a step through a graph besides."""

ACORN_SELECTIVITY: Final = 0.4
"""Up to which share of matching points a walk goes by these alone, if nothing else is asked for."""

LEAST_ACORN_SELECTIVITY: Final = 0.05
"""Below it, two hops do not connect those that match."""

ACORN_WIDTH: Final = 1.5
"""How many times as many candidates such a walk keeps, to find as much as one without a filter."""

ACORN_COST: Final = 3.0
"""How many times as long it takes as one without a filter."""


class Leaf(NamedTuple):
    """What to search for among the vectors of one name, and how."""

    name: str
    asked: Asked
    form: Form
    query: Query
    """what is asked, for rows of that form"""
    k: int
    filter: Filter | None
    ef: int
    exact: bool
    full_scan_bytes: int
    unindexed_bytes: int | None
    """A segment without a graph is left out where the vectors take more; None: never."""
    use_small: bool = True
    rescore: bool = True
    oversampling: float = 1.0
    acorn: AcornSearchParams | None = None


class Rows(NamedTuple):
    """What is compared with what: the vectors themselves, or their small form."""

    column: RowsColumn | Quantized
    query: Query

    def chunks(self, count: int) -> Iterator[tuple[int, Matrix]]:
        """Yield (offset of the first row, rows) up to `count` rows."""
        return self.column.chunks(count)

    def whole(self, count: int) -> tuple[int, Matrix, NDArray[Any]]:
        """Return code, rows and query, of a built segment, whose rows are one matrix."""
        return self.query.code, next(self.chunks(count))[1], self.query.form


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


SearchSegment = Callable[[SegmentView, Deadline, Note], Found]


def search(view: ShardView, leaf: Leaf, deadline: Deadline, trace: Trace = NO_TRACE) -> Hits:
    """Search all segments for one leaf, and merge by (distance, id)."""

    def one(segment: SegmentView, deadline: Deadline, note: Note) -> Found:
        return _search_segment(segment, leaf, deadline, note)

    return in_all(view, one, leaf.k, deadline, trace)


def in_all(view: ShardView, act: SearchSegment, k: int, deadline: Deadline, trace: Trace) -> Hits:
    """Search each segment that holds points by `act`, and return the best `k` of all."""
    found: list[Found] = []
    for segment in view.segments:
        if segment.live_count:
            try:
                with trace.segment(segment) as note:
                    found.append(act(segment, deadline, note))
            except DeadlineExceeded:
                if not deadline.best_effort:
                    raise
            if deadline.over():
                break
    return merge([part for part in found if len(part.offsets)], k)


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
    way = way_of(view, leaf, deadline.check, note)
    if way is None:
        return nothing_in(view)
    if way.is_rescored(leaf):
        note.way += ", rescored"
    if way.graph is not None:
        found = walk(view, way.graph, way, leaf)
    elif way.matches is None:
        found = _scan(view, way.rows(leaf), way.candidates(leaf), way.allowed, deadline)
    else:
        found = scan_few(view, way.rows(leaf), way.candidates(leaf), way.matches, deadline)
    return rescored(view, way, leaf, found, deadline) if way.is_rescored_apart(leaf) else found


def nothing_in(view: SegmentView) -> Found:
    """Nothing of a segment."""
    return Found(view, np.empty(0, np.uint32), np.empty(0, np.float32))


class Way(NamedTuple):
    """How one segment is searched, by whatever vectors of a leaf's kind."""

    column: RowsColumn
    small: Quantized | None
    """what is searched instead of the column"""
    graph: hnsw.Graph | None
    allowed: Bits | None
    """what may be found by a walk or a scan (None: all)"""
    matches: Offsets | None = None
    """what is compared one by one (None: nothing is)"""
    acorn: bool = False
    members: Offsets | None = None
    """the rows that the graph is over, those of a value (None: all)"""

    @property
    def name(self) -> str:
        """What a note calls a walk under a filter."""
        if self.members is None:
            return "acorn" if self.acorn else "filtered graph"
        return "acorn in the graph of a value" if self.acorn else "graph of a value"

    def rows(self, leaf: Leaf) -> Rows:
        """Return what is compared."""
        if self.small is None:
            return Rows(self.column, leaf.query)
        return Rows(self.small, leaf.asked.small(leaf.form, self.small, leaf.query))

    def candidates(self, leaf: Leaf) -> int:
        """Return how many have to be found: more than `k` of them where small forms bring them."""
        if self.small is None or not leaf.rescore:
            return leaf.k
        return math.ceil(leaf.k * leaf.oversampling)

    def is_rescored(self, leaf: Leaf) -> bool:
        """Return whether the column has the last word."""
        return self.small is not None and (leaf.rescore or self.small.is_a_stand_in)

    def is_rescored_apart(self, leaf: Leaf) -> bool:
        """Return whether it has it in a step of its own: a walk does that too."""
        return self.is_rescored(leaf) and self.graph is None

    @property
    def is_beside(self) -> bool:
        """Return whether a walk compares what lies beside the links."""
        return self.small is not None and self.graph is not None and self.graph.inline is not None

    @property
    def rows_ahead(self) -> int:
        """What kernels take to ask for the rows that a walk compares."""
        return self.ahead if self.small is None else self.small.ahead

    @property
    def ahead(self) -> int:
        """What kernels take to ask for rows of the column; 0 where they are in memory."""
        return self.column.ahead if isinstance(self.column, BuiltDense) else 0


def way_of(view: SegmentView, leaf: Leaf, check: Callable[[], None], note: Note) -> Way | None:
    """Return how a segment is searched; None: it is left out. The filter is evaluated here, with
    `check` between blocks of rows."""
    column: Any = view.column(leaf.name)
    if isinstance(column, Absent) or _is_left_out(view, leaf):
        note.way = "left out"
        return None
    small = view.quantized(leaf.name) if leaf.use_small and not leaf.exact else None
    graph = None if leaf.exact else view.graph(leaf.name)
    if leaf.filter is None:
        note.way = "scan" if graph is None else "graph"
        return Way(column, small, graph, view.allowed(leaf.name))
    found = narrowed(view, leaf.name, leaf.filter, check)
    note.filtered(leaf.filter, found.rows)
    way = _walk_to(found, view, Way(column, small, graph, found.rows), leaf)
    if way is None:
        note.way = "scan of matches"
        return Way(column, small, None, found.rows, found.offsets)
    note.way = way.name
    return way


def _walk_to(found: Narrowed, view: SegmentView, way: Way, leaf: Leaf) -> Way | None:
    """Return how the rows that were found are walked to; None: they are better compared one by one.
    Among the rows of a value they are a greater share than among all, so that no walk through the
    graph of all is shorter."""
    count, among = found.count, view.live_count
    if found.of_value is not None and not leaf.exact:
        graph, members = found.of_value
        among = len(members)
        allowed = None if count == among else found.rows
        way = way._replace(graph=graph, allowed=allowed, members=members)
    if way.graph is None:
        return None
    goes_by_all = way.allowed is None or way.is_beside
    way = way._replace(acorn=not goes_by_all and _reaches_over(leaf, count / max(1, among)))
    times = ACORN_COST if way.acorn else among / max(1, count)
    return None if _is_scanned(count, view, leaf, times) else way


def rescored(view: SegmentView, way: Way, leaf: Leaf, found: Found, deadline: Deadline) -> Found:
    """Return the best of the candidates by the column. From a disk they are read side by side."""
    offsets = np.sort(found.offsets)
    if way.ahead and isinstance(way.column, BuiltDense):
        ask_for(way.column.matrix, offsets, way.ahead)
    return scan_few(view, Rows(way.column, leaf.query), leaf.k, offsets, deadline)


def _reaches_over(leaf: Leaf, selectivity: float) -> bool:
    acorn = leaf.acorn
    if acorn is None or not acorn.enable:
        return False
    most = ACORN_SELECTIVITY if acorn.max_selectivity is None else acorn.max_selectivity
    return LEAST_ACORN_SELECTIVITY <= selectivity <= most


def _is_scanned(count: int, view: SegmentView, leaf: Leaf, times: float) -> bool:
    """Whether that many matches are better compared one by one: because the config says so, or
    because a walk would take longer, which takes so many times what one without a filter takes, as
    it has to pass by the others or to step over them."""
    size = bytes_a_point(view, leaf.name)
    if count * size <= leaf.full_scan_bytes:
        return True
    return scan_cost(count, size) < walk_cost(leaf.ef, size) * times


def bytes_a_point(view: SegmentView, name: str) -> float:
    """Return the bytes that a point's vector of this name takes, on an average."""
    return view.bytes_of(name) / max(1, view.count_of(name))


def scan_cost(rows: float, size: float) -> float:
    """Return roughly how many microseconds it takes to compare so many rows of so many bytes."""
    return rows * size * NANOSECONDS_A_BYTE / 1000


def walk_cost(ef: int, size: float) -> float:
    """Return roughly how many microseconds a walk through a graph takes."""
    return ef * (MICROSECONDS_A_STEP + scan_cost(LINKS_A_STEP, size))


def _is_left_out(view: SegmentView, leaf: Leaf) -> bool:
    """Whether the segment is large and has no graph that serves, where only those that have are to
    be searched."""
    if leaf.unindexed_bytes is None or view.bytes_of(leaf.name) <= leaf.unindexed_bytes:
        return False
    if view.graph(leaf.name) is not None:
        return False
    return leaf.filter is None or graph_of_a_value(view, leaf.name, leaf.filter) is None


def walk(view: SegmentView, graph: hnsw.Graph, way: Way, leaf: Leaf) -> Found:
    """Return the best that a walk through the graph finds, by the column where that has the last
    word."""
    code, matrix, query = way.rows(leaf).whole(view.watermark)
    k, final = way.candidates(leaf), None
    if way.is_rescored(leaf):
        final = hnsw.Final(*Rows(way.column, leaf.query).whole(view.watermark), k, way.ahead)
    width = ACORN_WIDTH if way.acorn else 1
    ef = min(max(math.ceil(width * leaf.ef), k), view.watermark)
    k = leaf.k if final else k
    offsets, distances, _ = hnsw.search(
        graph,
        code,
        matrix,
        query,
        ef,
        k,
        way.allowed,
        view.ids,
        acorn=way.acorn,
        final=final,
        beside=way.is_beside,
        ahead=way.rows_ahead,
        members=way.members,
    )
    return Found(view, offsets, distances)


def _scan(view: SegmentView, rows: Rows, k: int, allowed: Bits | None, deadline: Deadline) -> Found:
    code, query = rows.query.code, rows.query.form
    top = scan.TopK(k)
    for base, matrix in rows.chunks(view.watermark):
        for first in range(0, len(matrix), ROWS_A_BLOCK):
            block = matrix[first : first + ROWS_A_BLOCK]
            scan.scan(code, query, block, len(block), base + first, allowed, view.ids, top)
            if deadline.over():
                return Found(view, *top.finish())
    return Found(view, *top.finish())


def scan_few(view: SegmentView, rows: Rows, k: int, matches: Offsets, deadline: Deadline) -> Found:
    """Compare these rows, ascending, and return the best `k`."""
    code, query = rows.query.code, rows.query.form
    top = scan.TopK(k)
    for base, matrix in rows.chunks(view.watermark):
        first, last = span(matches, base, base + len(matrix), view.watermark)
        for start in range(first, last, ROWS_A_BLOCK):
            few = matches[start : min(start + ROWS_A_BLOCK, last)]
            scan.scan_list(code, query, matrix, base, few, view.ids, top)
            if deadline.over():
                return Found(view, *top.finish())
    return Found(view, *top.finish())


def span(matches: Offsets, start: int, stop: int, count: int) -> tuple[int, int]:
    """Return which of the ascending matches are among the rows from `start` to before `stop`."""
    if start == 0 and stop >= count:
        return 0, len(matches)
    # needles of another type would make numpy convert, that is copy, all the matches
    first, last = np.searchsorted(matches, np.array([start, stop], np.uint32)).tolist()
    return first, last
