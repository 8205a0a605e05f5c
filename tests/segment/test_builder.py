"""Built segments hold what their sources held, and what a failed build leaves is nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pytest

from edge.disk import files
from edge.disk.storage import DiskStorage
from edge.errors import CorruptData
from edge.model.choice import Memory
from edge.model.config import EdgeConfig, settings_of
from edge.model.point import Point
from edge.model.point_id import PointId, decode_ids
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams
from edge.segment import immutable, indexing, writer
from edge.segment.builder import Built, add_indexes, build_segment
from edge.segment.immutable import ImmutableSegment, load_segment
from edge.segment.indexing import GraphPlan, IndexPlan
from edge.segment.view import SegmentView, ShardView
from edge.segment.writer import Request
from edge.vectors.column import VectorKey
from edge_kernels import bits, hnsw
from tests.segment.made import Stopped, after, built, cut, numbers, silent, start, stop_after

CONFIG = EdgeConfig(
    {"": EdgeVectorParams(6, Distance.Cosine), "text": EdgeVectorParams(20, Distance.Euclid)}
)
VECTORS = {VectorKey(name): params for name, params in CONFIG.vectors.items()}
NAMELESS, TEXT = VECTORS
SETTINGS = settings_of(CONFIG)
PLANS = {NAMELESS: IndexPlan(GraphPlan(8, 32)), TEXT: IndexPlan(GraphPlan(4, 16))}
BARE, INDEXED = Request(VECTORS, SETTINGS), Request(VECTORS, SETTINGS, PLANS)


@pytest.fixture
def storage(tmp_path: Path) -> DiskStorage:
    return DiskStorage(str(tmp_path))


def points(ids: list[PointId]) -> list[Point]:
    """Random vectors; every third point lacks one, every fourth has no payload."""
    random = np.random.default_rng(len(ids))
    made = []
    for place, point_id in enumerate(ids):
        vectors = {name: random.normal(size=p.size) for name, p in CONFIG.vectors.items()}
        if place % 3 == 1:
            del vectors[["", "text"][place % 2]]
        payload = {"n": place, "deep": {"list": [1, "größe"]}} if place % 4 else None
        made.append(Point(point_id, vectors, payload))
    return made


def of(count: int) -> ShardView:
    return after(start(CONFIG), UpdateOperation.upsert_points(points([*range(count)])))


def three_segments(storage: DiskStorage, count: int = 90) -> ShardView:
    """A built segment, an old tail and a tail, all with dead rows; ids are ints and UUIDs."""
    third = count // 3
    ids = [i if i % 2 else UUID(int=i << 64) for i in range(count)]
    shard = built(after(start(CONFIG), UpdateOperation.upsert_points(points(ids[:third]))), storage)
    shard = cut(after(shard, UpdateOperation.upsert_points(points(ids[third : 2 * third]))))
    last = [*ids[2 * third :], *ids[:5], *ids[third : third + 5]]
    shard = after(shard, UpdateOperation.upsert_points(points(last)))
    return after(shard, UpdateOperation.delete_points([ids[7], ids[third + 8], ids[-1]]))


def shown(views: tuple[SegmentView, ...]) -> list[Any]:
    """All that lives in the views, in their order."""
    everything = []
    for view in views:
        live = view.live()
        ids = decode_ids(view.ids[live])
        columns = {name: view.vectors_at(live, name) for name in CONFIG.vectors}
        for place, offset in enumerate(live.tolist()):
            vectors = {
                name: found[place] for name, found in columns.items() if found[place] is not None
            }
            version = int(view.segment.versions[offset])
            everything.append((ids[place], version, view.payloads([offset])[0], vectors))
    return everything


def test_a_segment_holds_what_lived_in_its_sources(storage: DiskStorage) -> None:
    shard = three_segments(storage)
    made = build_segment(storage, 77, shard.segments, INDEXED, silent)
    view = SegmentView(made.segment, len(made.segment.versions))
    assert shown((view,)) == shown(shard.segments)
    assert len(set(made.segment.versions.tolist())) == 3
    assert made.segment.number == made.segment.entry.id == 77
    assert made.segment.entry.rows == view.watermark == shard.points
    assert set(made.segment.graphs) == {NAMELESS, TEXT}


def test_moves_say_where_each_row_went(storage: DiskStorage) -> None:
    shard = three_segments(storage)
    made = build_segment(storage, 77, shard.segments, BARE, silent)
    for view, move in zip(shard.segments, made.moves, strict=True):
        live = view.live()
        assert np.array_equal(np.flatnonzero(move >= 0), live)
        assert len(move) == view.watermark
        assert np.array_equal(made.segment.tracker.ids[move[live]], view.ids[live])
    all_moved = np.concatenate([move[move >= 0] for move in made.moves])
    assert all_moved.tolist() == list(range(shard.points))


def test_missing_vectors_are_not_in_the_graph(storage: DiskStorage) -> None:
    shard = three_segments(storage)
    made = build_segment(storage, 77, shard.segments, INDEXED, silent)
    view = SegmentView(made.segment, len(made.segment.versions))
    for key, graph in made.segment.graphs.items():
        having = bits.to_offsets(view.has_vector(key.name), view.watermark)
        assert np.array_equal(np.flatnonzero(graph.levels != 255), having)
        assert graph is view.graph(key.name)
        plan = PLANS[key].graph
        assert plan is not None
        assert (graph.m, graph.ef_construct) == (plan.m, plan.ef_construct)


def test_a_column_that_nobody_lacks_has_no_missing_file(storage: DiskStorage) -> None:
    whole = [Point(i, {n: [1.0] * p.size for n, p in CONFIG.vectors.items()}) for i in range(3)]
    shard = after(start(CONFIG), UpdateOperation.upsert_points(whole))
    made = build_segment(storage, 5, shard.segments, BARE, silent)
    assert sorted(made.segment.entry.files) == [
        "ids", "payload", "vectors-0", "vectors-1", "versions"
    ]  # fmt: skip


def loaded_twice(storage: DiskStorage, made: Built) -> SegmentView:
    segment, deleted = load_segment(storage, made.segment.entry, VECTORS, SETTINGS)
    return SegmentView(segment, made.segment.entry.rows, deleted)


def test_a_loaded_segment_is_the_one_that_was_built(storage: DiskStorage) -> None:
    shard = three_segments(storage)
    made = build_segment(storage, 77, shard.segments, INDEXED, silent)
    view = loaded_twice(storage, made)
    assert shown((view,)) == shown(shard.segments)
    assert view.deleted is None
    for key, graph in made.segment.graphs.items():
        again = view.segment.graphs[key].arrays()
        assert {key: array.tolist() for key, array in again.items()} == {
            key: array.tolist() for key, array in graph.arrays().items()
        }
    wanted = shard.segments[-1].ids[:10]
    assert view.find(wanted).tolist() == made.segment.tracker.find(wanted, 90, None).tolist()


def test_columns_are_found_by_their_place_in_the_entry(storage: DiskStorage) -> None:
    shard = three_segments(storage)
    made = build_segment(storage, 77, shard.segments, INDEXED, silent)
    turned = dict(reversed(VECTORS.items()))
    segment, _ = load_segment(storage, made.segment.entry, turned, SETTINGS)
    assert shown((SegmentView(segment, made.segment.entry.rows),)) == shown(shard.segments)


# -- graphs in place


def indexed_in_place(storage: DiskStorage) -> tuple[SegmentView, Built]:
    shard = built(
        after(start(CONFIG), UpdateOperation.upsert_points(points([*range(60)]))), storage
    )
    shard = after(shard, UpdateOperation.delete_points([3, 4]))
    view = shard.segments[0]
    assert isinstance(view.segment, ImmutableSegment)
    return view, add_indexes(storage, view, view.segment, INDEXED, 900, silent)


def test_graphs_are_added_where_the_segment_lies(storage: DiskStorage) -> None:
    view, made = indexed_in_place(storage)
    assert view.segment.graphs == {}
    assert set(made.segment.graphs) == {NAMELESS, TEXT}
    assert made.segment.number == view.segment.number
    for key in VECTORS:
        assert made.segment.vectors[key] is view.segment.vectors[key]
        indexed = made.segment.graphs[key].levels != 255
        allowed = view.allowed(key.name)
        assert allowed is not None
        assert np.flatnonzero(indexed).tolist() == bits.to_offsets(allowed, 60).tolist()
    assert [move.tolist() for move in made.moves] == [list(range(60))]


def test_an_entry_with_added_graphs_loads(storage: DiskStorage) -> None:
    view, made = indexed_in_place(storage)
    old = view.segment.entry
    assert old is not None
    assert set(made.segment.entry.files) == {*old.files, "graph-0", "graph-1"}
    again = loaded_twice(storage, made)
    assert set(again.segment.graphs) == {NAMELESS, TEXT}
    assert shown((again.without(view.deleted),)) == shown((view,))  # type: ignore[arg-type]


def test_graphs_that_are_there_stay(storage: DiskStorage) -> None:
    view = built(of(30), storage, graphs=["text"]).segments[0]
    assert isinstance(view.segment, ImmutableSegment)
    asked = Request(VECTORS, SETTINGS, {NAMELESS: PLANS[NAMELESS]})
    made = add_indexes(storage, view, view.segment, asked, 900, silent)
    assert made.segment.graphs[TEXT] is view.segment.graphs[TEXT]
    assert set(loaded_twice(storage, made).segment.graphs) == {NAMELESS, TEXT}


# -- a build that is stopped


def pulses_of(build: Callable[[Callable[[float], None]], Built]) -> int:
    beats: list[float] = []
    build(beats.append)
    assert all(0 <= beat <= 1 for beat in beats)
    return len(beats)


def files_in(storage: DiskStorage) -> dict[str, bytes]:
    root = Path(storage.path)
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_a_stopped_build_leaves_nothing_and_can_be_repeated(
    storage: DiskStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "ROWS_A_SLICE", 8)
    monkeypatch.setattr(indexing, "NODES_A_SLICE", 16)
    shard = three_segments(storage)
    before = files_in(storage)

    def build(pulse: Callable[[float], None]) -> Built:
        return build_segment(storage, 77, shard.segments, INDEXED, pulse)

    count = pulses_of(build)
    assert count > 30
    whole = files_in(storage)
    storage.remove_tree(files.segment_folder(77))
    for calls in range(0, count, 3):
        with pytest.raises(Stopped):
            build(stop_after(calls))
        assert files_in(storage) == before
    again = build(silent)
    assert files_in(storage) == whole
    assert shown((SegmentView(again.segment, again.segment.entry.rows),)) == shown(shard.segments)


def test_a_stopped_indexing_changes_no_file_that_is_named_and_can_be_repeated(
    storage: DiskStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "NODES_A_SLICE", 16)
    shard = built(
        after(start(CONFIG), UpdateOperation.upsert_points(points([*range(60)]))), storage
    )
    view = shard.segments[0]
    source = view.segment
    assert isinstance(source, ImmutableSegment)
    before = files_in(storage)
    for calls in range(2, 8):
        with pytest.raises(Stopped):
            add_indexes(storage, view, source, INDEXED, 900, stop_after(calls))
        left = files_in(storage)
        assert {name: left[name] for name in before} == before
        load_segment(storage, source.entry, VECTORS, SETTINGS)
    made = add_indexes(storage, view, source, INDEXED, 900, silent)
    assert set(loaded_twice(storage, made).segment.graphs) == {NAMELESS, TEXT}


def test_sources_are_not_touched_by_a_build(storage: DiskStorage) -> None:
    shard = three_segments(storage)
    before = shown(shard.segments)
    build_segment(storage, 77, shard.segments, INDEXED, silent)
    assert shown(shard.segments) == before
    assert numbers(shard.segments) == [2, 3, 4]


# -- entries that are not what they were


def entry_of(storage: DiskStorage) -> Any:
    shard = three_segments(storage, 30)
    return build_segment(storage, 77, shard.segments, INDEXED, silent).segment.entry


ROLES = ["ids", "versions", "payload", "vectors-0", "vectors-1"]


@pytest.mark.parametrize("role", ROLES)
def test_a_missing_role_is_corrupt_data(storage: DiskStorage, role: str) -> None:
    entry = entry_of(storage)
    fewer = {name: file for name, file in entry.files.items() if name != role}
    with pytest.raises(CorruptData, match=role):
        load_segment(storage, msgspec.structs.replace(entry, files=fewer), VECTORS, SETTINGS)


@pytest.mark.parametrize("role", [*ROLES, "missing-0", "graph-1"])
def test_a_file_in_the_place_of_another_is_corrupt_data(storage: DiskStorage, role: str) -> None:
    entry = entry_of(storage)
    other = entry.files["versions" if role != "versions" else "ids"]
    changed = msgspec.structs.replace(entry, files={**entry.files, role: other})
    with pytest.raises(CorruptData):
        load_segment(storage, changed, VECTORS, SETTINGS)


@pytest.mark.parametrize("rows", [0, 1, 1_000])
def test_another_number_of_rows_is_corrupt_data(storage: DiskStorage, rows: int) -> None:
    entry = entry_of(storage)
    with pytest.raises(CorruptData):
        load_segment(storage, msgspec.structs.replace(entry, rows=rows), VECTORS, SETTINGS)


def other_meta(entry: Any, **changes: Any) -> Any:
    meta = {name: value for name, value in {**entry.meta, **changes}.items() if value is not None}
    return msgspec.structs.replace(entry, meta=meta)


@pytest.mark.parametrize(
    "meta",
    [
        {"vectors": None},
        {"vectors": "text"},
        {"vectors": {"": 0}},
        {"vectors": [1, 2]},
        {"vectors": [["", 0]]},
        {"births": []},
        {"births": [0]},
        {"births": [0, 0, 0]},
        {"births": ["0", "0"]},
        {"births": 7},
    ],
    ids=repr,
)
def test_a_list_of_vectors_that_is_none_is_corrupt_data(
    storage: DiskStorage, meta: dict[str, Any]
) -> None:
    with pytest.raises(CorruptData, match="vectors"):
        load_segment(storage, other_meta(entry_of(storage), **meta), VECTORS, SETTINGS)


def test_only_the_columns_that_are_listed_and_known_are_loaded(storage: DiskStorage) -> None:
    """A vector that is not listed came later, one that is not known was taken away."""
    entry = entry_of(storage)
    for meta, keys, found in [
        ({"vectors": []}, VECTORS, set()),
        ({"vectors": [""]}, VECTORS, {NAMELESS}),
        ({"vectors": ["", "other"]}, VECTORS, {NAMELESS}),
        ({}, {TEXT: VECTORS[TEXT]}, {TEXT}),
        ({"births": [0, 9]}, VECTORS, {NAMELESS}),
        ({"births": [0, 9]}, {VectorKey("text", 9): VECTORS[TEXT]}, {VectorKey("text", 9)}),
    ]:
        segment, _ = load_segment(storage, other_meta(entry, **meta), keys, SETTINGS)
        assert segment.vectors.keys() == segment.graphs.keys() == found


@pytest.mark.parametrize(
    "layout",
    [
        pytest.param(None, id="none"),
        pytest.param([], id="empty"),
        pytest.param(7, id="no list"),
        pytest.param([["header", "<i8", [8]]], id="cut"),
        pytest.param([["header", "<i8", [2**40]]], id="long"),
        pytest.param([["header", "<i8", [-1]]], id="negative"),
        pytest.param([["header", "O", [8]]], id="objects"),
        pytest.param([["header", "what", [8]]], id="no dtype"),
        pytest.param([["header", "<i8", "eight"]], id="no shape"),
        pytest.param([["header"]], id="no fields"),
    ],
)
def test_a_graph_whose_layout_is_not_one_is_corrupt_data(storage: DiskStorage, layout: Any) -> None:
    changed = other_meta(entry_of(storage), **{"graph-0": layout})
    with pytest.raises(CorruptData, match="graph"):
        load_segment(storage, changed, VECTORS, SETTINGS)


def test_a_graph_with_a_link_out_of_range_is_corrupt_data(
    storage: DiskStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = hnsw.Graph.arrays

    def broken(graph: hnsw.Graph) -> dict[str, Any]:
        made = arrays(graph)
        links = made["links0"].copy()
        links[3, 0] = graph.n
        return {**made, "links0": links}

    monkeypatch.setattr(hnsw.Graph, "arrays", broken)
    entry = entry_of(storage)
    monkeypatch.undo()
    with pytest.raises(CorruptData, match="out of range"):
        load_segment(storage, entry, VECTORS, SETTINGS)


def test_a_flipped_bit_in_any_file_is_corrupt_data(storage: DiskStorage) -> None:
    entry = entry_of(storage)
    for file in entry.files.values():
        path = Path(storage.path) / file.name
        whole = path.read_bytes()
        path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
        with pytest.raises(CorruptData):
            read_all(storage, entry)
        path.write_bytes(whole)
    read_all(storage, entry)


def read_all(storage: DiskStorage, entry: Any) -> None:
    segment, _ = load_segment(storage, entry, VECTORS, SETTINGS)
    segment.payloads.check()


def test_a_graph_is_packed_and_unpacked(storage: DiskStorage) -> None:
    entry = entry_of(storage)
    graph = immutable.load_graph(storage, entry, 0, Memory.Cached)
    assert graph.n == entry.rows
    arrays = (graph.levels, graph.links0, graph.upper)
    assert all(not array.flags.writeable for array in arrays)
    assert all(array.ctypes.data % 64 == 0 for array in arrays)
