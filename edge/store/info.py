"""What a shard says of itself."""

from __future__ import annotations

from collections.abc import Mapping

from edge.model.request import ShardInfo
from edge.segment.view import ShardView
from edge.store.store import Store


def info_of(
    store: Store, view: ShardView, optimizer: str, failures: Mapping[str, str]
) -> ShardInfo:
    """Return the figures of `view`, the newest that readers see, and of the files under it.

    `optimizer` is what it is doing; `failures` how and why each actor fell that did.
    """
    fallen = "; ".join(f"{name} {how}" for name, how in failures.items())
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
    return sum(part.count_of(name) for part in view.segments for name in part.segment.graphs)
