"""What a shard says of itself."""

from __future__ import annotations

from collections.abc import Mapping

from edge.model.request import ShardInfo
from edge.segment.view import ShardView
from edge.store.store import Store


def info_of(store: Store, optimizer: str, failures: Mapping[str, str]) -> ShardInfo:
    """Return the figures of the newest view and of the files under it.

    `optimizer` is what it is doing; `failures` the last error of each actor that fell.
    """
    view = store.view
    fallen = "; ".join(f"{name} failed: {error}" for name, error in failures.items())
    return ShardInfo(
        segments_count=sum(1 for segment in view.segments if segment.watermark) or 1,
        points_count=view.points,
        indexed_vectors_count=_indexed(view),
        payload_schema={},
        sequence=view.sequence,
        durable_sequence=store.synced,
        deleted_count=sum(segment.deleted_count for segment in view.segments),
        read_only=store.read_only,
        optimizer=f"{optimizer}; {fallen}" if fallen else optimizer,
        **store.sizes(),
    )


def _indexed(view: ShardView) -> int:
    return sum(segment.live_count * len(segment.segment.graphs) for segment in view.segments)
