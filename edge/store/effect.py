"""What every update comes down to: tombstones on old rows, and new rows at the end.

Invariants
- `carry_out` cannot refuse: whatever may fail was found out when the effect was prepared.
- A view that was given out before stays exactly what it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge.model.config import EdgeConfig
from edge.model.cursor import Cursors
from edge.model.mark import Mark
from edge.model.schema import Schema
from edge.segment.appendable import AppendableSegment
from edge.segment.rows import RowBlock
from edge.segment.view import Births, SegmentView, ShardView
from edge.vectors.block import Offsets
from edge.vectors.missing import Bits
from edge_kernels import bits


@dataclass(frozen=True, slots=True)
class Effect:
    """The outcome of a prepared operation against one ShardView."""

    deletes: tuple[tuple[int, Offsets], ...] = ()
    """(position of the segment in the view, offsets that die)"""
    rows: RowBlock | None = None
    schema: Schema | None = None
    """The schema from now on, where it changes."""
    config: EdgeConfig | None = None
    """The config from now on, where it changes."""
    created: str | None = None
    """The vector name that comes with it."""
    cursors: Cursors | None = None
    """Where the log's consumers are from now on, where one moves."""

    @property
    def is_nothing(self) -> bool:
        """Whether carrying it out would change nothing."""
        no_rows = self.rows is None or not len(self.rows)
        others = (self.schema, self.config, self.cursors)
        return no_rows and not self.deletes and all(other is None for other in others)


def carry_out(
    effect: Effect, view: ShardView, sequence: int, mark: Mark | None = None
) -> ShardView:
    """Append the rows to the tail, and return the view with the tombstones and the new rows."""
    segments = list(view.segments)
    for position, offsets in effect.deletes:
        segments[position] = _bury(segments[position], offsets)
    tail = segments[-1].segment
    if effect.schema is not None:
        assert isinstance(tail, AppendableSegment)
        tail.use(effect.schema)
        view = view.under(effect.schema)
    if effect.config is not None:
        assert isinstance(tail, AppendableSegment)
        view = view.configured(effect.config, _births(effect, effect.config, view, sequence))
        tail.hold(view.keys())
    if effect.rows is not None and len(effect.rows):
        assert isinstance(tail, AppendableSegment)
        tail.append(effect.rows, sequence)
        segments[-1] = _longer(segments[-1], tail.count)
    if effect.cursors is not None:
        view = view.with_cursors(effect.cursors)
    if mark is not None:
        view = view.marked(mark)
    return view.of(segments, sequence)


def _births(effect: Effect, config: EdgeConfig, view: ShardView, sequence: int) -> Births:
    kept = {name: birth for name, birth in view.births.items() if config.params_of(name)}
    return kept if effect.created is None else {**kept, effect.created: sequence}


def _bury(view: SegmentView, offsets: Offsets) -> SegmentView:
    fresh: Bits = bits.zeros(view.watermark) if view.deleted is None else view.deleted.copy()
    bits.set_bits(fresh, offsets)
    return view.without(fresh)


def _longer(view: SegmentView, watermark: int) -> SegmentView:
    deleted = view.deleted
    if deleted is not None:
        grown = np.zeros(bits.words_for(watermark), np.uint64)
        grown[: len(deleted)] = deleted
        deleted = grown
    return SegmentView(view.segment, watermark, deleted, view.schema, view.names)
