"""What a query notes of its way, where it was asked to explain itself.

Invariant: nobody's answer depends on it; where nothing is noted it costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from edge.filter.cardinality import estimate
from edge.model.filter import Filter
from edge.model.request import Cardinality, SegmentPlan
from edge.payload.keyed_rows import Bits
from edge.segment.view import SegmentView
from edge_kernels import bits


class Note:
    """What is noted of one segment."""

    def __init__(self, view: SegmentView) -> None:
        self._view = view
        self.way = ""
        self._estimate: Cardinality | None = None
        self._matches: int | None = None
        self._estimating = 0.0

    def filtered(self, filter: Filter, found: Bits | None) -> None:
        """Note that these rows fulfil the filter; None: not all were looked at."""
        began = perf_counter()
        self._estimate = estimate(filter, self._view, self._view.live_bits())
        if found is not None:
            self._matches = bits.count(found, self._view.watermark)
        self._estimating = perf_counter() - began

    def plan(self, seconds: float) -> SegmentPlan:
        """Return all that was noted; the time of the estimate, made for the note, is left out."""
        return SegmentPlan(
            self._view.segment.number,
            self.way,
            self._view.live_count,
            self._estimate,
            self._matches,
            (seconds - self._estimating) * 1e6,
        )


class Trace:
    """Notes of all segments."""

    def __init__(self) -> None:
        self.plans: list[SegmentPlan] = []

    @contextmanager
    def segment(self, view: SegmentView) -> Iterator[Note]:
        """Take notes, and the time, of the body."""
        note = Note(view)
        began = perf_counter()
        yield note
        self.plans.append(note.plan(perf_counter() - began))


class _NoNote(Note):
    """Where nobody reads."""

    def __init__(self) -> None:
        self.way = ""

    def filtered(self, filter: Filter, found: Bits | None) -> None:
        """Note nothing."""


NO_NOTE: Note = _NoNote()


class _NoTrace(Trace):
    """Takes no notes."""

    _note = NO_NOTE

    def __enter__(self) -> Note:
        return self._note

    def __exit__(self, *error: object) -> None:
        """Raise what was raised."""

    def segment(self, view: SegmentView) -> _NoTrace:  # type: ignore[override]
        """Give a note that is not kept."""
        return self


NO_TRACE: Trace = _NoTrace()
