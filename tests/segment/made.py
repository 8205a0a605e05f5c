"""Shards without a store: views made by the real operations, and segments built of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from edge.disk.storage import Storage
from edge.model.check import check
from edge.model.config import EdgeConfig, settings_of
from edge.model.update import UpdateOperation
from edge.segment.appendable import AppendableSegment
from edge.segment.builder import build_segment
from edge.segment.indexing import GraphPlan, IndexPlan
from edge.segment.view import SegmentView, ShardView
from edge.segment.writer import Request
from edge.store.effect import carry_out
from edge.store.optimization import swapped
from edge.store.prepare import prepare

NO_PLANS: Mapping[str, IndexPlan] = {}


def start(config: EdgeConfig) -> ShardView:
    """An empty shard: one tail."""
    empty = ShardView(0, (), config, settings_of(config))
    return empty.of([_tail(1, empty)])


def after(view: ShardView, *operations: UpdateOperation) -> ShardView:
    """The view after these operations, each checked, prepared and carried out."""
    for operation in operations:
        checked = check(operation, view.config, view.settings.limits)
        view = carry_out(prepare(checked, view), view, view.sequence + 1)
    return view


def afresh(view: ShardView) -> ShardView:
    """The same shard, of which nothing was asked yet, so that nothing is remembered."""
    return view.of(
        SegmentView(part.segment, part.watermark, part.deleted, part.schema, part.names)
        for part in view.segments
    )


def cut(view: ShardView) -> ShardView:
    """The same points, and a new tail behind the old one."""
    return view.of((*view.segments, _tail(1 + highest(view), view)))


def asked(view: ShardView, plans: Mapping[str, IndexPlan] = NO_PLANS) -> Request:
    """What a segment of this shard is to hold: all vectors, these plans, the field indexes."""
    by_key = {view.names[name]: plan for name, plan in plans.items()}
    return Request(view.keys(), view.settings, by_key, view.schema)


def built(view: ShardView, storage: Storage, graphs: Iterable[str] = ()) -> ShardView:
    """The tail made a segment with files, with graphs for these names, and with the indexes of the
    schema; and a new tail."""
    number, tail = 1 + highest(view), view.segments[-1]
    plans = {name: IndexPlan(GraphPlan(m=8, ef_construct=64)) for name in graphs}
    made = build_segment(storage, number, [tail], asked(view, plans), silent)
    return cut(swapped(view, [tail], made))


def highest(view: ShardView) -> int:
    return max(segment.segment.number for segment in view.segments)


def silent(done: float) -> None:
    """A pulse that nobody hears."""


def _tail(number: int, view: ShardView) -> SegmentView:
    return SegmentView(AppendableSegment(number, view.keys(), view.schema), 0)


def numbers(segments: Sequence[SegmentView]) -> list[int]:
    return [segment.segment.number for segment in segments]


class Stopped(Exception):
    """Raised by a pulse."""


def stop_after(calls: int) -> Callable[[float], None]:
    """A pulse that raises Stopped once it was called so often."""
    left = [calls]

    def pulse(done: float) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Stopped

    return pulse
