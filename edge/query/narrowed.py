"""What a filter leaves of one segment, remembered with the view.

Who asks again and again among the same points has them looked for once.

Invariant: views never change, so what is remembered of one stays true; a change of the segment is
another view, which remembers nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from edge.filter.mask import matches
from edge.model.filter import Filter
from edge.query.of_a_value import graph_of_a_value
from edge.segment.value_graphs import ValueGraph
from edge.segment.view import SegmentView
from edge.vectors.block import Offsets
from edge.vectors.missing import Bits
from edge_kernels import bits


class Narrowed:
    """The points that live, have the vector that is searched, and fulfil the filter; `of_value` is
    the smallest graph that they are all in, of those of payload values."""

    def __init__(self, view: SegmentView, rows: Bits, of_value: ValueGraph | None) -> None:
        self.rows = rows
        self.rows.flags.writeable = False
        self.count = bits.count(rows, view.watermark)
        self.of_value = of_value
        self._watermark = view.watermark

    @cached_property
    def offsets(self) -> Offsets:
        """The same points as offsets, ascending."""
        return bits.to_offsets(self.rows, self._watermark)


def narrowed(view: SegmentView, name: str, filter: Filter, check: Callable[[], None]) -> Narrowed:
    """Return what the filter leaves of the points that have the vector of this name; `check` is
    called between blocks of rows that have to be read."""
    return view.remembered((name, filter), lambda: _narrow(view, name, filter, check))


def _narrow(view: SegmentView, name: str, filter: Filter, check: Callable[[], None]) -> Narrowed:
    allowed = view.allowed(name)
    rows = matches(filter, view, view.live_bits() if allowed is None else allowed, check)
    return Narrowed(view, rows, graph_of_a_value(view, name, filter))
