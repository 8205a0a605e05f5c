"""The nearest points of several queries that differ only in what they ask for, and how many.

Invariants
- Each query finds what it finds alone, with the same distances and the same ties.
- What is decided of a segment (its way, the rows that fulfil the filter) is decided once; a scan
  compares a row with all queries when it comes from memory.
- Each query has its own deadline: one whose time is over leaves, and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias

from edge.errors import DeadlineExceeded
from edge.query.deadline import Deadline
from edge.query.search import Found, Hits, Leaf, Way, merge, rescored, span, walk, way_of
from edge.query.trace import NO_NOTE
from edge.segment.view import SegmentView, ShardView
from edge.vectors.block import Matrix, Offsets
from edge_kernels import hnsw, scan

ROWS_A_BLOCK: Final = 4096
"""Rows that all queries are compared with between two looks at their deadlines."""

Outcome: TypeAlias = Hits | DeadlineExceeded
Tell: TypeAlias = Callable[[int, Outcome], None]


def search_together(
    view: ShardView, leaves: Sequence[Leaf], deadlines: Sequence[Deadline], tell: Tell
) -> None:
    """Search all segments for leaves that are alike but for `asked`, `query` and `k`.

    `tell(place, outcome)` is called once for each: when the search ends, or when its time is over.
    """
    every = [
        _Searching(place, leaf, own)
        for place, (leaf, own) in enumerate(zip(leaves, deadlines, strict=True))
    ]
    party = _Party(every, tell)
    for segment in view.segments:
        if segment.live_count and party.going():
            _search_segment(segment, every[0].leaf, party)
    party.going()
    for one in every:
        if one.error is None:
            tell(one.place, one.hits())


class _Searching:
    """One of the queries on its way."""

    def __init__(self, place: int, leaf: Leaf, deadline: Deadline) -> None:
        self.place = place
        self.leaf = leaf
        self.deadline = deadline
        self.found: list[Found] = []
        self.error: DeadlineExceeded | None = None
        self.left = False

    def hits(self) -> Hits:
        """Return the best of what was found."""
        return merge([part for part in self.found if len(part.offsets)], self.leaf.k)


class _Party:
    """Those who search together, and leave when their time is over."""

    def __init__(self, every: list[_Searching], tell: Tell) -> None:
        self._going = every
        self._tell = tell

    def going(self) -> list[_Searching]:
        """Return those who still have time."""
        self._going = [one for one in self._going if self.goes_on(one)]
        return self._going

    def goes_on(self, one: _Searching) -> bool:
        """Return whether it still has time. If not it leaves: with an error, of which it is told,
        or by best effort with what it has."""
        if not one.left:
            try:
                one.left = one.deadline.over()
            except DeadlineExceeded as error:
                self.fail(one, error)
        return not one.left

    def fail(self, one: _Searching, error: DeadlineExceeded) -> None:
        """Give one of them up."""
        one.error, one.left = error, True
        self._tell(one.place, error)

    def check(self) -> None:
        """Raise _NobodyIsLeft where that is so."""
        if not self.going():
            raise _NobodyIsLeft


class _NobodyIsLeft(Exception):
    """Ends the evaluation of a filter."""


def _search_segment(view: SegmentView, alike: Leaf, party: _Party) -> None:
    """Add what the segment has to what each of them has found; those who leave on the way by best
    effort add what they have until then."""
    try:
        way = way_of(view, alike, party.check, NO_NOTE)
    except _NobodyIsLeft:
        return
    if way is None:
        return
    if way.graph is not None:
        found = _walk_for_each(view, way, way.graph, party)
    else:
        found = _scan_for_all(view, way, party)
    for one, part in found:
        if one.error is None:
            one.found.append(part)
            if way.is_rescored_apart(one.leaf):
                _rescore(view, way, one, party)


def _rescore(view: SegmentView, way: Way, one: _Searching, party: _Party) -> None:
    try:
        one.found[-1] = rescored(view, way, one.leaf, one.found[-1], one.deadline)
    except DeadlineExceeded as error:
        party.fail(one, error)


Parts: TypeAlias = list[tuple[_Searching, Found]]


def _walk_for_each(view: SegmentView, way: Way, graph: hnsw.Graph, party: _Party) -> Parts:
    return [(one, walk(view, graph, way, one.leaf)) for one in party.going() if party.goes_on(one)]


def _scan_for_all(view: SegmentView, way: Way, party: _Party) -> Parts:
    """Compare all of them with each block of rows."""
    searching = party.going()
    if not searching:
        return []
    compared = {one: way.rows(one.leaf) for one in searching}
    tops = {one: scan.TopK(way.candidates(one.leaf)) for one in searching}
    code = compared[searching[0]].query.code
    for base, rows, listed in _blocks(view, way, searching[0].leaf):
        going = party.going()
        if not going:
            break
        queries, kept = [compared[one].query.form for one in going], [tops[one] for one in going]
        if listed is None:
            scan.scan_together(code, queries, rows, len(rows), base, way.allowed, view.ids, kept)
        else:
            scan.scan_list_together(code, queries, rows, base, listed, view.ids, kept)
    return [(one, Found(view, *tops[one].finish())) for one in searching]


def _blocks(
    view: SegmentView, way: Way, leaf: Leaf
) -> Iterator[tuple[int, Matrix, Offsets | None]]:
    """Yield (offset of the first row, rows, which of them; None: all that are allowed)."""
    for base, matrix in way.rows(leaf).chunks(view.watermark):
        if way.matches is None:
            for first in range(0, len(matrix), ROWS_A_BLOCK):
                yield base + first, matrix[first : first + ROWS_A_BLOCK], None
            continue
        start, end = span(way.matches, base, base + len(matrix), view.watermark)
        for first in range(start, end, ROWS_A_BLOCK):
            yield base, matrix, way.matches[first : min(first + ROWS_A_BLOCK, end)]
