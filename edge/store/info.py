"""What a shard says of itself."""

from __future__ import annotations

from collections.abc import Mapping

from edge.model.request import ShardInfo
from edge.model.schema import IndexedField, PayloadIndexInfo
from edge.segment.view import SegmentView, ShardView
from edge.store.store import Store
from edge_kernels import bits


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
        payload_schema={
            path: _index_info(path, field, view) for path, field in view.schema.items()
        },
        sequence=view.sequence,
        durable_sequence=store.synced,
        deleted_count=sum(segment.deleted_count for segment in view.segments),
        read_only=store.read_only,
        optimizer=f"{optimizer}; {fallen}" if fallen else optimizer,
        **store.sizes(),
    )


def _index_info(path: str, field: IndexedField, view: ShardView) -> PayloadIndexInfo:
    params = None if field.plain else field.params
    return PayloadIndexInfo(field.kind, params, sum(_having(path, part) for part in view.segments))


def _having(path: str, view: SegmentView) -> int:
    """Count the live points that have a value in the index, as far as it is built."""
    index = view.index(path)
    if index is None:
        return 0
    return bits.count(index.entries.all() & view.live_bits(), view.watermark)


def _indexed(view: ShardView) -> int:
    return sum(
        part.count_of(name)
        if part.graph(name) is not None or name in view.config.sparse_vectors
        else _in_value_graphs(part, name)
        for part in view.segments
        for name in view.config.names()
    )


def _in_value_graphs(view: SegmentView, name: str) -> int:
    """Count the live points that are in the graph of any payload value."""
    made = view.value_graphs(name)
    if made is None:
        return 0
    rows = bits.zeros(view.watermark)
    for graph in made.graphs.values():
        bits.set_bits(rows, graph.members)
    return bits.count(rows & view.live_bits(), view.watermark)
