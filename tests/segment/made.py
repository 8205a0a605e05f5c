"""Shards without a store: views made by the real operations, and segments built of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edge.disk.storage import Storage
from edge.model.check import check
from edge.model.config import EdgeConfig, settings_of
from edge.model.schema import NO_SCHEMA, Schema
from edge.model.update import UpdateOperation
from edge.segment.appendable import AppendableSegment
from edge.segment.builder import GraphPlan, build_segment
from edge.segment.view import SegmentView, ShardView
from edge.store.effect import carry_out
from edge.store.optimization import swapped
from edge.store.prepare import prepare


def start(config: EdgeConfig) -> ShardView:
    """An empty shard: one tail."""
    return ShardView(0, (_tail(1, config),), config, settings_of(config))


def after(view: ShardView, *operations: UpdateOperation) -> ShardView:
    """The view after these operations, each checked, prepared and carried out."""
    for operation in operations:
        checked = check(operation, view.config, view.settings.limits)
        view = carry_out(prepare(checked, view), view, view.sequence + 1)
    return view


def cut(view: ShardView) -> ShardView:
    """The same points, and a new tail behind the old one."""
    return view.of((*view.segments, _tail(1 + highest(view), view.config, view.schema)))


def built(view: ShardView, storage: Storage, graphs: Iterable[str] = ()) -> ShardView:
    """The tail made a segment with files, with graphs for these names, and with the indexes of the
    schema; and a new tail."""
    number, tail = 1 + highest(view), view.segments[-1]
    plans = {name: GraphPlan(m=8, ef_construct=64) for name in graphs}
    vectors = view.config.vectors
    made = build_segment(storage, number, [tail], vectors, plans, silent, view.schema)
    return cut(swapped(view, [tail], made))


def highest(view: ShardView) -> int:
    return max(segment.segment.number for segment in view.segments)


def silent(done: float) -> None:
    """A pulse that nobody hears."""


def _tail(number: int, config: EdgeConfig, schema: Schema = NO_SCHEMA) -> SegmentView:
    return SegmentView(AppendableSegment(number, config.vectors, schema), 0)


def numbers(segments: Sequence[SegmentView]) -> list[int]:
    return [segment.segment.number for segment in segments]
