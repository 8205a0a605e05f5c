"""What to rebuild, and how: plans from a view, jobs that run anywhere, swaps that lose nothing.

Thresholds and meanings are Qdrant's:
- *vacuum*: a segment of at least `vacuum_min_vector_number` rows of which more than
  `deleted_threshold` are dead is rewritten without them;
- *index*: a segment whose vectors of one name take more than `indexing_threshold` kilobytes gets
  a graph, a small form or both, as is asked; whatever else has neither is merged into the same
  build, up to `max_segment_size`; what only lacks graphs of payload values (those of a field that
  was indexed later, say) gets these where it lies;
- *fields*: a built segment whose field indexes are not those of the schema gets the ones that it
  lacks, where it lies, and loses the others;
- *merge*: when there are more segments than `default_segment_number` (0: one for each processor,
  at least two), the smallest are made one.

Invariants
- A job reads views and writes new files; nothing that exists changes until the swap.
- The swap carries over every tombstone that came since the views the job was made from.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edge.disk.storage import Storage
from edge.model.config import Settings, indexing_threads
from edge.model.quantization import QuantizationConfig
from edge.model.schema import Schema
from edge.model.vector_params import (
    EdgeSparseVectorParams,
    EdgeVectorParams,
    HnswIndexConfig,
    VectorParams,
)
from edge.segment.builder import Built, add_fields, add_indexes, build_segment, is_as_planned
from edge.segment.immutable import ImmutableSegment
from edge.segment.indexing import GraphPlan, IndexPlan, Pulse, ValuesPlan
from edge.segment.view import SegmentView, ShardView
from edge.segment.writer import Request
from edge.vectors.block import Offsets
from edge.vectors.column import VectorKey
from edge_kernels import bits

KILOBYTE = 1024
SIZE_A_PROCESSOR = 256_000


@dataclass(frozen=True, slots=True)
class Plan:
    """Which segments to make one, and why."""

    reason: str
    numbers: frozenset[int]


@dataclass(frozen=True, slots=True)
class Job:
    """One rebuild: its sources as they were when it was made, and the number of its result."""

    reason: str
    sources: tuple[SegmentView, ...]
    number: int
    vectors: Mapping[VectorKey, VectorParams]
    settings: Settings
    schema: Schema = field(default_factory=dict)
    lineage: int = 0
    """Of which shard its sources are: one that became another has no use for it."""

    def run(self, storage: Storage, pulse: Pulse) -> Built | None:
        """Build the new segment; None when nothing of the sources lives. Shares no state."""
        live = tuple(view for view in self.sources if view.live_count)
        if not live:
            return None
        first = live[0].segment
        if self.reason == "fields" and isinstance(first, ImmutableSegment):
            return add_fields(storage, live[0], first, self.schema, self.number, pulse)
        quick = self.reason in ("seal", "tidy")
        plans = {} if quick else wanted_indexes(live, self.vectors, self.settings)
        asked = Request(self.vectors, self.settings, plans, self.schema)
        if (
            self.reason == "index"
            and len(self.sources) == 1
            and isinstance(first, ImmutableSegment)
        ):
            return add_indexes(storage, live[0], first, asked, self.number, pulse)
        built = build_segment(storage, self.number, live, asked, pulse)
        return Built(built.segment, _moves_of_all(self.sources, live, built))


def _moves_of_all(
    sources: Sequence[SegmentView], live: Sequence[SegmentView], built: Built
) -> list[np.ndarray]:
    known = {id(view): move for view, move in zip(live, built.moves, strict=True)}
    dead = [np.full(view.watermark, -1, np.int64) for view in sources]
    return [known.get(id(view), nothing) for view, nothing in zip(sources, dead, strict=True)]


def wanted_indexes(
    views: Sequence[SegmentView], vectors: Mapping[VectorKey, VectorParams], settings: Settings
) -> dict[VectorKey, IndexPlan]:
    """Return what the vectors of a segment of all these rows should be indexed by."""
    plans: dict[VectorKey, IndexPlan] = {}
    if not settings.indexing_threshold:
        return plans
    for key, params in vectors.items():
        hnsw = settings.hnsw.get(key.name)
        if not isinstance(params, EdgeVectorParams) or hnsw is None:
            continue
        size = sum(_size_of(view, key) for view in views)
        if size > settings.indexing_threshold * KILOBYTE:
            plans[key] = _plan_of(hnsw, settings.quantization.get(key.name), params)
    return plans


def _size_of(view: SegmentView, key: VectorKey) -> int:
    """Return the bytes of a vector; none where the view does not know it."""
    return view.bytes_of(key.name) if view.names.get(key.name) == key else 0


def _plan_of(
    hnsw: HnswIndexConfig, small: QuantizationConfig | None, params: EdgeVectorParams
) -> IndexPlan:
    graph = None
    if hnsw.m:
        single = small is not None and params.multivector_config is None
        inline = single and bool(hnsw.inline_storage)
        graph = GraphPlan(hnsw.m, max(1, hnsw.ef_construct), indexing_threads(hnsw), inline)
    return IndexPlan(graph, small, _values_plan_of(hnsw))


def _values_plan_of(hnsw: HnswIndexConfig) -> ValuesPlan | None:
    if not hnsw.payload_m:
        return None
    graph = GraphPlan(hnsw.payload_m, max(1, hnsw.ef_construct), indexing_threads(hnsw))
    return ValuesPlan(graph, hnsw.full_scan_threshold * KILOBYTE)


def plan(view: ShardView, schema: Schema | None = None) -> Plan | None:
    """Return the next thing worth doing to this view, or None; `schema` is the newest one, where
    it is not the view's."""
    segments = [segment for segment in view.segments if segment.watermark]
    vectors, settings = view.keys(), view.settings
    newest = view.schema if schema is None else schema
    return (
        _vacuum(segments, vectors, settings)
        or _index(segments, vectors, settings, newest)
        or _merge(segments, vectors, settings)
        or fields(view, newest)
    )


def fields(view: ShardView, schema: Schema) -> Plan | None:
    """Return the plan that indexes the fields of one segment as the schema asks, or None. (For a
    tail, to seal it does.)"""
    for segment in view.segments:
        if segment.watermark and not segment.segment.is_indexed_by(schema):
            return Plan("fields", frozenset({segment.segment.number}))
    return None


def tidy(view: ShardView) -> Plan | None:
    """Return what is soon done for much space: segments without an index, more dead than alive.

    The next larger rebuild would do it too; this is for a shard that is never asked for one. Each
    row that is written anew frees another, so that it costs no more than writing did.
    """
    worn = [
        segment
        for segment in view.segments
        if segment.deleted_count > segment.live_count and _is_bare(segment)
    ]
    return Plan("tidy", _fitting(worn, view.keys(), view.settings)) if worn else None


def _vacuum(
    segments: Sequence[SegmentView], vectors: Mapping[VectorKey, VectorParams], settings: Settings
) -> Plan | None:
    for view in segments:
        large = view.watermark >= settings.vacuum_min_vector_number
        if large and view.deleted_count > settings.deleted_threshold * view.watermark:
            return Plan("vacuum", frozenset({view.segment.number}))
    return None


def _index(
    segments: Sequence[SegmentView],
    vectors: Mapping[VectorKey, VectorParams],
    settings: Settings,
    schema: Schema,
) -> Plan | None:
    plain = [view for view in segments if not _is_indexed(view, vectors, settings, schema)]
    if not plain:
        return None
    if not _is_bare(plain[0]):  # what it has is not as the settings are now
        return Plan("index", frozenset({plain[0].segment.number}))
    unindexed = [view for view in segments if _is_bare(view)]
    others = [view for view in unindexed if view not in plain]
    return Plan("index", _fitting([v for v in plain if v in unindexed] + others, vectors, settings))


def _is_bare(view: SegmentView) -> bool:
    """Whether the segment has nothing that took long to make. (With m 0 a small form is all.)"""
    segment = view.segment
    return not (
        segment.graphs
        or segment.quantized
        or any(values.graphs for values in segment.value_graphs.values())
    )


def _is_indexed(
    view: SegmentView,
    vectors: Mapping[VectorKey, VectorParams],
    settings: Settings,
    schema: Schema,
) -> bool:
    """Whether the segment has the graphs and small forms that its size asks for, as the settings
    are now, and the graphs of values of the field indexes that it has."""
    if view.segment.entry is None and _has_many_sparse(view, vectors, settings):
        return False  # what is built has an inverted index
    plans = wanted_indexes([view], vectors, settings)
    return all(is_as_planned(view.segment, key, plans, schema) for key in plans)


def _has_many_sparse(
    view: SegmentView, vectors: Mapping[VectorKey, VectorParams], settings: Settings
) -> bool:
    most = settings.indexing_threshold * KILOBYTE
    return bool(most) and any(
        isinstance(params, EdgeSparseVectorParams) and _size_of(view, key) > most
        for key, params in vectors.items()
    )


def _merge(
    segments: Sequence[SegmentView], vectors: Mapping[VectorKey, VectorParams], settings: Settings
) -> Plan | None:
    built = [view for view in segments if view.segment.entry is not None]
    target = settings.default_segment_number or max(2, os.cpu_count() or 1)
    if len(built) <= target:
        return None
    by_size = sorted(built, key=lambda view: _size(view, vectors))
    numbers = _fitting(by_size[: len(built) - target + 1], vectors, settings)
    return Plan("merge", numbers) if len(numbers) > 1 else None


def _fitting(
    candidates: Sequence[SegmentView], vectors: Mapping[VectorKey, VectorParams], settings: Settings
) -> frozenset[int]:
    """Return the numbers of the first candidates that together stay below max_segment_size."""
    limit = (settings.max_segment_size or SIZE_A_PROCESSOR * (os.cpu_count() or 1)) * KILOBYTE
    taken: list[int] = []
    total = 0
    for view in candidates:
        total += _size(view, vectors)
        if taken and total > limit:
            break
        taken.append(view.segment.number)
    return frozenset(taken)


def _size(view: SegmentView, vectors: Mapping[VectorKey, VectorParams]) -> int:
    return sum(_size_of(view, key) for key in vectors)


def swapped(view: ShardView, sources: Sequence[SegmentView], built: Built | None) -> ShardView:
    """Return `view` with the job's sources replaced by what was built of them.

    Rows that died in `view` after the sources were taken are dead in the result too (all of a
    source that `view` has dropped already); those that were dead before moved nowhere (-1).
    """
    numbers = {source.segment.number for source in sources}
    found = {v.segment.number: v for v in view.segments if v.segment.number in numbers}
    if not found:
        return view
    kept = [v for v in view.segments if v.segment.number not in numbers]
    if built is not None:
        first = next(i for i, v in enumerate(view.segments) if v.segment.number in numbers)
        died = [
            move if (now := found.get(source.segment.number)) is None else move[_dead(now)]
            for source, move in zip(sources, built.moves, strict=True)
        ]
        kept.insert(first, _view_of(built, np.concatenate(died)))
    return view.of(kept)


def _dead(view: SegmentView) -> Offsets:
    if view.deleted is None:
        return np.empty(0, np.uint32)
    return bits.to_offsets(view.deleted, view.watermark)


def _view_of(built: Built, died: np.ndarray) -> SegmentView:
    rows = len(built.segment.versions)
    gone = died[died >= 0].astype(np.uint32)
    return SegmentView(built.segment, rows, bits.from_offsets(rows, gone) if len(gone) else None)
