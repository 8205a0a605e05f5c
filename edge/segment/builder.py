"""Views in, one immutable segment out; in slices, so that its maker can stop or be watched.

Invariants
- Nothing that exists is changed: a build that is stopped, or that fails, removes what it wrote,
  or at worst leaves files that no manifest names.
- Only what lives in the views is written, in the order of the views and of their offsets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.disk import files
from edge.disk.manifest import SegmentEntry
from edge.disk.storage import Storage
from edge.errors import StorageFault
from edge.model.choice import Memory
from edge.model.schema import NO_SCHEMA, Schema
from edge.payload.field_index import FieldIndex
from edge.segment.id_tracker import IdTracker
from edge.segment.immutable import (
    FieldFile,
    ImmutableSegment,
    made_role,
    vector_keys,
    with_fields,
)
from edge.segment.indexing import IndexPlan, Pulse
from edge.segment.value_graphs import ValueGraphs, fields_with_graphs, is_made_by
from edge.segment.view import Segment, SegmentView
from edge.segment.writer import Request, SegmentWriter
from edge.vectors.block import Offsets
from edge.vectors.column import Column, VectorKey
from edge.vectors.quantized_column import Quantized
from edge_kernels.hnsw import Graph

Moves = list[NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Built:
    """A new segment, and where each row of each source went (-1: it was dead)."""

    segment: ImmutableSegment
    moves: Moves


def build_segment(
    storage: Storage, number: int, sources: Sequence[SegmentView], asked: Request, pulse: Pulse
) -> Built:
    """Write the live rows of `sources` as segment `number`, with all that is asked for."""
    live = [view.live() for view in sources]
    with _removed_on_failure(storage, files.segment_folder(number)):
        return _build(storage, number, sources, live, asked, pulse)


def _build(
    storage: Storage,
    number: int,
    sources: Sequence[SegmentView],
    live: Sequence[Offsets],
    asked: Request,
    pulse: Pulse,
) -> Built:
    writer = SegmentWriter(storage, number, sum(len(offsets) for offsets in live), pulse)
    gathered = [(view, offsets) for view, offsets in zip(sources, live, strict=True)]
    ids = np.concatenate([view.ids[offsets] for view, offsets in gathered])
    versions = np.concatenate([view.segment.versions[offsets] for view, offsets in gathered])
    writer.array("ids", ids)
    writer.array("versions", versions)
    payloads = writer.payloads(gathered, asked.settings.payload_memory)
    writer.name(asked.vectors)
    columns: dict[VectorKey, Column] = {}
    graphs: dict[VectorKey, Graph] = {}
    quantized: dict[VectorKey, Quantized] = {}
    for place, (key, params) in enumerate(asked.vectors.items()):
        memory = asked.settings.memory.get(key.name, Memory.Cached)
        columns[key] = writer.column(place, key, params, memory, gathered)
    indexes = writer.fields(asked.schema, gathered, number)
    value_graphs: dict[VectorKey, ValueGraphs] = {}
    for place, (key, column) in enumerate(columns.items()):
        writer.index(place, key, column, None, asked, number, graphs, quantized)
        small = quantized.get(key)
        found = writer.values(place, key, column, None, asked, number, small, indexes)
        if found is not None:
            value_graphs[key] = found
    segment = ImmutableSegment(
        number,
        writer.entry(),
        IdTracker.of(ids),
        versions,
        payloads,
        columns,
        graphs,
        quantized,
        value_graphs,
        indexes,
    )
    return Built(segment, _moves(sources, live))


def add_indexes(
    storage: Storage,
    view: SegmentView,
    source: ImmutableSegment,
    asked: Request,
    job: int,
    pulse: Pulse,
) -> Built:
    """Index a built segment where it lies: the columns stay, only graphs and small forms that are
    not as asked for are new. `job` is a number that no file of it was named by."""
    writer = SegmentWriter(storage, source.number, source.entry.rows, pulse)
    graphs, quantized = dict(source.graphs), dict(source.quantized)
    value_graphs = dict(source.value_graphs)
    indexes = _indexes_of(source, asked.schema)
    with writer.removing_on_failure():
        for place, key in enumerate(vector_keys(source.entry)):
            plan = asked.plans.get(key)
            if plan is None or key not in source.vectors:
                continue
            column, known = source.vectors[key], source.value_graphs.get(key)
            is_whole = _is_searched_as_planned(source, key, plan)
            if not is_whole:
                graphs.pop(key, None)
                quantized.pop(key, None)
                value_graphs.pop(key, None)
                writer.index(place, key, column, view.deleted, asked, job, graphs, quantized)
                known = known if _has_small_form_of(source, key, plan) else None
            if not is_whole or not _has_values_as_planned(source, key, plan, asked.schema):
                small = quantized.get(key)
                found = writer.values(
                    place, key, column, view.deleted, asked, job, small, indexes, known
                )
                if found is not None:
                    value_graphs[key] = found
    entry = _with_indexes(source, writer.entry(), graphs, quantized, value_graphs)
    segment = dataclasses.replace(
        source, entry=entry, graphs=graphs, quantized=quantized, value_graphs=value_graphs
    )
    return Built(segment, [np.arange(view.watermark, dtype=np.int64)])


def _indexes_of(source: ImmutableSegment, schema: Schema) -> dict[str, FieldIndex]:
    """Return the field indexes of a segment that are as the schema says."""
    found = {path: source.index(path, field, source.entry.rows) for path, field in schema.items()}
    return {path: index for path, index in found.items() if index is not None}


def is_as_planned(
    segment: Segment,
    key: VectorKey,
    plans: Mapping[VectorKey, IndexPlan],
    schema: Schema = NO_SCHEMA,
) -> bool:
    """Whether what the vector is indexed by is what the plan asks for, under the schema. (An index
    that nobody asks for any more stays: it does no harm, and a threshold that rises and falls
    builds none twice.)"""
    plan = plans.get(key)
    return plan is None or (
        _is_searched_as_planned(segment, key, plan)
        and _has_values_as_planned(segment, key, plan, schema)
    )


def _has_values_as_planned(
    segment: Segment, key: VectorKey, plan: IndexPlan, schema: Schema
) -> bool:
    """Whether the values of all field indexes that the segment has, as the schema says, have their
    graphs. (What it has not yet it gets first; a tail gets all when it is built.)"""
    if plan.values is None:
        return True
    known = segment.value_graphs.get(key)
    return all(
        known is not None and is_made_by(known, plan.values) and known.covers(path, field)
        for path, field in fields_with_graphs(schema).items()
        if segment.entry is None or segment.index(path, field, 0) is not None
    )


def _is_searched_as_planned(segment: Segment, key: VectorKey, plan: IndexPlan) -> bool:
    """Whether the graph over all rows and the small form are what the plan asks for."""
    graph = segment.graphs.get(key)
    if plan.graph is not None:
        wanted = plan.graph.m, plan.graph.ef_construct, plan.graph.inline
        if graph is None or (graph.m, graph.ef_construct, graph.inline is not None) != wanted:
            return False
    return _has_small_form_of(segment, key, plan)


def _has_small_form_of(segment: Segment, key: VectorKey, plan: IndexPlan) -> bool:
    small = segment.quantized.get(key)
    return (None if small is None else small.config) == plan.quantization


def _with_indexes(
    source: ImmutableSegment,
    new: SegmentEntry,
    graphs: Mapping[VectorKey, Graph],
    quantized: Mapping[VectorKey, Quantized],
    value_graphs: Mapping[VectorKey, ValueGraphs],
) -> SegmentEntry:
    """Return the source's entry with the files of these indexes and of no others."""
    roles = set()
    for place, key in enumerate(vector_keys(source.entry)):
        values = value_graphs.get(key)
        roles |= {f"graph-{place}"} if key not in graphs else set()
        roles |= {f"quantized-{place}"} if key not in quantized else set()
        roles |= {f"values-{place}"} if values is None or not values.graphs else set()
        roles |= {made_role(place)} if values is None else set()
    files = {**source.entry.files, **new.files}
    meta = {**source.entry.meta, **new.meta}
    return msgspec.structs.replace(
        source.entry,
        files={role: file for role, file in files.items() if role not in roles},
        meta={role: known for role, known in meta.items() if role not in roles},
    )


def add_fields(
    storage: Storage,
    view: SegmentView,
    source: ImmutableSegment,
    schema: Schema,
    job: int,
    pulse: Pulse,
) -> Built:
    """Give a built segment the field indexes of the schema: the columns, the graphs and whatever
    index it has already stay. `job` is a number that no file of it was named by."""
    writer = SegmentWriter(storage, source.number, source.entry.rows, pulse)
    kept = [
        FieldFile(*file)
        for file in source.entry.meta.get("fields", [])
        if file[0] in schema and source.index(file[0], schema[file[0]], view.watermark)
    ]
    known = {file.path: source.fields[file.path] for file in kept}
    missing = {path: field for path, field in schema.items() if path not in known}
    rows = np.arange(source.entry.rows, dtype=np.uint32)
    with writer.removing_on_failure():
        made = writer.fields(missing, [(view, rows)], job)
    new = writer.entry()
    new_fields = [FieldFile(*file) for file in new.meta.get("fields", [])]
    segment = dataclasses.replace(
        source,
        entry=with_fields(source.entry, new.files, [*kept, *new_fields]),
        fields={**known, **made},
    )
    return Built(segment, [np.arange(view.watermark, dtype=np.int64)])


@contextmanager
def _removed_on_failure(storage: Storage, folder: str) -> Iterator[None]:
    """Start without what an earlier failure may have left there, and leave nothing on another: on
    a full disk every attempt would take more of it."""
    storage.remove_tree(folder)
    try:
        yield
    except BaseException:
        with suppress(StorageFault):
            storage.remove_tree(folder)
        raise


def _moves(sources: Sequence[SegmentView], live: Sequence[Offsets]) -> Moves:
    moves, first = [], 0
    for view, offsets in zip(sources, live, strict=True):
        move = np.full(view.watermark, -1, np.int64)
        move[offsets] = np.arange(first, first + len(offsets))
        moves.append(move)
        first += len(offsets)
    return moves
