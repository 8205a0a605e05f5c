"""Segments with every kind of vector: built of any sources, loaded, placed, indexed, damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pytest

from edge.disk import array_file
from edge.disk.array_file import write_array
from edge.disk.packed_file import read_packed, write_packed
from edge.disk.storage import DiskStorage, Storage
from edge.errors import CorruptData
from edge.model.choice import Memory
from edge.model.filter import Filter, HasVectorCondition
from edge.model.point_id import encode_ids
from edge.model.quantization import (
    BinaryQuantizationConfig,
    ProductQuantizationConfig,
    QuantizationConfig,
    ScalarQuantizationConfig,
    ScalarType,
    TurboQuantQuantizationConfig,
)
from edge.model.quantization import CompressionRatio as Ratio
from edge.model.request import ScrollRequest
from edge.model.update import UpdateOperation
from edge.query.answer import answer
from edge.segment import indexing, writer
from edge.segment.builder import Built, add_indexes, build_segment, is_as_planned
from edge.segment.immutable import ImmutableSegment, load_segment, vector_keys, without_files_of
from edge.segment.indexing import GraphPlan, IndexPlan
from edge.segment.view import SegmentView, ShardView
from edge.segment.writer import Request
from edge.store.optimization import swapped
from edge.vectors.column import VectorKey
from edge_kernels import bits
from tests.segment.kinds import (
    DENSE,
    NAMES,
    SEVERAL_A_POINT,
    SPARSE,
    config,
    everything,
    point,
    scores,
    shown,
)
from tests.segment.made import after, asked, built, cut, silent, start

ROLES = {name: place for place, name in enumerate(NAMES)}


@pytest.fixture
def storage(tmp_path: Path) -> DiskStorage:
    return DiskStorage(str(tmp_path))


def upsert(numbers: Any, **options: Any) -> UpdateOperation:
    return UpdateOperation.upsert_points([point(n, n, **options) for n in numbers])


def spread(storage: Storage, memory: Memory | None = None) -> ShardView:
    """A built segment, an old tail and a tail, each with its dead; some ids are UUIDs."""
    shard = built(after(start(config(memory)), upsert(range(60))), storage)
    shard = cut(after(shard, upsert(range(50, 90))))
    named = [point(UUID(int=n), n) for n in range(200, 240)]
    shard = after(shard, upsert([*range(10), *range(60, 65)]), UpdateOperation.upsert_points(named))
    return after(shard, UpdateOperation.delete_points([5, 15, 55, 65, UUID(int=210)]))


def one_of(
    storage: Storage, shard: ShardView, plans: dict[str, IndexPlan] | None = None
) -> tuple[ShardView, Built]:
    """The whole shard as one built segment, and what was built."""
    made = build_segment(storage, 77, shard.segments, asked(shard, plans or {}), silent)
    return swapped(shard, shard.segments, made), made


def loaded(storage: Storage, shard: ShardView, made: Built) -> ShardView:
    entry = made.segment.entry
    again, deleted = load_segment(storage, entry, shard.keys(), shard.settings)
    return shard.of([SegmentView(again, entry.rows, deleted)])


@pytest.mark.parametrize("memory", [None, *Memory])
def test_built_and_loaded_segments_hold_what_their_sources_held(
    storage: DiskStorage, memory: Memory | None
) -> None:
    """The same rows, and to the last bit the same scores."""
    shard = spread(storage, memory)
    rows, found = everything(shard), scores(shard)
    assert {name for row in rows for name in row[3]} == set(NAMES)
    assert any(hits for each in found.values() for hits in each)
    whole, made = one_of(storage, shard)
    assert everything(whole) == rows
    assert scores(whole) == found
    again = loaded(storage, shard, made)
    assert everything(again) == rows
    assert scores(again) == found
    twice, _ = one_of(storage, again)
    assert everything(twice) == rows
    assert scores(twice) == found


def test_each_column_is_counted_by_its_own_size(storage: DiskStorage) -> None:
    shard = spread(storage)
    whole, _ = one_of(storage, shard)
    [view] = whole.segments
    rows = everything(shard)
    sizes = {"": 24, "half": 10, "bytes": 33, "turbo": 20, "turbo16": 6}
    for name in NAMES:
        held = [row[3][name] for row in rows if name in row[3]]
        assert view.count_of(name) == sum(v.count_of(name) for v in shard.segments) == len(held)
        if name in sizes:
            size = len(held) * sizes[name]
        elif name in SPARSE:
            entry = {"shorter": 6}.get(name, 8)
            size = sum(len(indices) * entry for indices, _ in held)
        else:
            size = sum(map(len, held)) * {"many": 16, "tokens": 34}[name]
        assert view.bytes_of(name) == sum(v.bytes_of(name) for v in shard.segments) == size


@pytest.mark.parametrize("lacking", [NAMES, NAMES[1:], ("many",), ("words", "tokens"), ()])
def test_vectors_that_nobody_has(storage: DiskStorage, lacking: tuple[str, ...]) -> None:
    shard = after(start(config()), upsert(range(9), lacks=lacking))
    rows = everything(shard)
    whole, made = one_of(storage, shard)
    for view in (whole, loaded(storage, shard, made)):
        assert everything(view) == rows
        for name in NAMES:
            assert view.segments[0].count_of(name) == (0 if name in lacking else 9)
            wanted = Filter(must=[HasVectorCondition(name)])
            page, _ = answer(view, ScrollRequest(limit=99, filter=wanted))
            assert len(page) == (0 if name in lacking else 9)
        found = scores(view)
        assert all(not any(found[name]) for name in lacking)
    roles = made.segment.entry.files
    for name, place in ROLES.items():
        assert (f"missing-{place}" in roles) is (name in lacking)


def test_a_segment_of_the_dead_but_one(storage: DiskStorage) -> None:
    shard = after(start(config()), upsert(range(30)))
    shard = after(shard, UpdateOperation.delete_points([*range(12), *range(13, 30)]))
    whole, made = one_of(storage, shard)
    assert everything(whole) == everything(shard)
    assert scores(whole) == scores(shard)
    assert made.segment.entry.rows == 1


# -- where columns live


@pytest.mark.parametrize("reload", [False, True])
@pytest.mark.parametrize("memory", list(Memory))
def test_columns_live_where_they_were_asked_to(
    storage: DiskStorage, monkeypatch: pytest.MonkeyPatch, memory: Memory, reload: bool
) -> None:
    mapped: list[str] = []
    locked: list[int] = []
    original = DiskStorage.map

    def noted(self: DiskStorage, name: str) -> memoryview:
        mapped.append(name)
        return original(self, name)

    def lock(array: np.ndarray) -> bool:
        locked.append(array.nbytes)
        return False

    monkeypatch.setattr(DiskStorage, "map", noted)
    monkeypatch.setattr(writer, "lock", lock)
    monkeypatch.setattr(array_file, "lock", lock)
    shard = after(start(config(memory)), upsert(range(20)))
    _, made = one_of(storage, shard)
    if reload:
        mapped.clear()
        locked.clear()
        loaded(storage, shard, made)
    files = made.segment.entry.files
    columns = {files[f"vectors-{place}"].name for place in ROLES.values()}
    assert columns & set(mapped) == (columns if memory is Memory.Cold else set())
    assert bool(locked) is (memory is Memory.Pinned)
    if locked:
        assert sum(locked) >= 20 * 100


# -- names that came later, went, and came anew


def created(shard: ShardView, size: int) -> ShardView:
    return after(
        shard,
        UpdateOperation.create_dense_vector("new", size, DENSE["many"].distance),
        UpdateOperation.create_sparse_vector("sparser"),
    )


def test_a_segment_lacks_what_came_later(storage: DiskStorage) -> None:
    old = built(after(start(config()), upsert(range(20))), storage)
    shard = created(old, 3)
    view, tail = shard.segments
    rows = np.arange(20, dtype=np.uint32)
    for name in ("new", "sparser"):
        assert view.vectors_at(rows, name) == [None] * 20
        assert not view.has_vector(name).any()
        assert not view.has_vector_at(rows, name).any()
        assert (view.count_of(name), view.bytes_of(name)) == (0, 0)
        allowed = view.allowed(name)
        assert allowed is not None
        assert not allowed.any()
        assert view.graph(name) is None
        assert view.quantized(name) is None
        assert name in tail.names
        assert name not in old.segments[0].names
    shard = after(shard, UpdateOperation.upsert_arrays([3, 50], {"new": np.ones((2, 3))}))
    assert view.find(encode_ids([3])).tolist() == [3], "the older view is as it was"
    whole, made = one_of(storage, shard)
    again = loaded(storage, shard, made)
    for each in (whole, again):
        [found] = each.segments
        assert found.count_of("new") == 2
        assert found.count_of("sparser") == 0
        assert everything(each) == everything(shard)
    births = {key.name: key.birth for key in vector_keys(made.segment.entry)}
    assert births == {**dict.fromkeys(NAMES, 0), "new": 2, "sparser": 3}


def test_a_name_that_went_and_came_anew_is_another_column(storage: DiskStorage) -> None:
    """The older view goes on with the older column, in the tail and in a built segment."""
    shard = created(start(config()), 3)
    first = after(shard, UpdateOperation.upsert_arrays([1, 2], {"new": np.ones((2, 3))}))
    gone = after(first, UpdateOperation.delete_vector_name("new"))
    second = after(
        gone,
        UpdateOperation.create_dense_vector("new", 5, DENSE["many"].distance),
        UpdateOperation.upsert_arrays([2, 3], {"new": np.full((2, 5), 2.0)}),
    )
    rows = np.arange(4, dtype=np.uint32)

    def held(view: SegmentView, name: str) -> list[Any]:
        return view.vectors_at(rows[: view.watermark], name)

    for _ in range(2):
        assert held(first.segments[-1], "new") == [[1.0] * 3] * 2
        assert "new" not in gone.segments[-1].names
        assert held(second.segments[-1], "new") == [None, None, [2.0] * 5, [2.0] * 5]
    older = build_segment(storage, 76, first.segments, asked(first), silent)
    newer = build_segment(storage, 77, second.segments, asked(second), silent)
    views = [
        SegmentView(older.segment, 2, bits.from_offsets(2, np.array([1], np.uint32))),
        SegmentView(newer.segment, 3, bits.from_offsets(3, np.array([0], np.uint32))),
    ]
    both = Request({**first.keys(), **second.keys()}, second.settings)
    entry = build_segment(storage, 78, views, both, silent).segment.entry
    assert [key.birth for key in vector_keys(entry) if key.name == "new"] == [1, 5]
    rows = np.arange(3, dtype=np.uint32)
    for known_by, vectors in (
        (first, [[1.0] * 3, None, None]),
        (gone, None),
        (second, [None, [2.0] * 5, [2.0] * 5]),
    ):
        again, _ = load_segment(storage, entry, known_by.keys(), known_by.settings)
        [view] = known_by.of([SegmentView(again, entry.rows)]).segments
        held_by = {key for key in again.vectors if key.name == "new"}
        if vectors is None:
            assert held_by == set()
            continue
        assert held_by == {known_by.names["new"]}
        assert view.vectors_at(rows, "new") == vectors
        assert view.count_of("new") == 3 - vectors.count(None)


def test_the_files_of_a_column_that_is_not_kept_are_left_out(storage: DiskStorage) -> None:
    plans = {name: IndexPlan(GraphPlan(4, 16)) for name in DENSE}
    shard = after(start(config()), upsert(range(20)))
    _, made = one_of(storage, shard, plans)
    entry, kept = made.segment.entry, [VectorKey("half"), VectorKey("words")]
    fewer = without_files_of(entry, kept)
    columns = {role for role in fewer.files if role[-1].isdigit() and "-" in role}
    assert {role.rpartition("-")[2] for role in columns} == {"1", "7"}
    assert set(entry.files) - set(fewer.files) >= {"vectors-0", "graph-0", "vectors-8", "graph-5"}
    assert fewer.meta == entry.meta
    assert without_files_of(entry, shard.keys()) is entry
    again, _ = load_segment(
        storage, fewer, {key: shard.keys()[key] for key in kept}, shard.settings
    )
    assert set(again.vectors) == set(kept)
    assert set(again.graphs) == {VectorKey("half")}


# -- indexes


GRAPHS = {name: IndexPlan(GraphPlan(8, 64)) for name in DENSE}


@pytest.mark.parametrize("memory", [Memory.Cached, Memory.Cold])
def test_a_wide_walk_of_a_graph_finds_what_a_scan_finds(
    storage: DiskStorage, memory: Memory
) -> None:
    """Of every kind of dense vector; only those that have it are in the graph."""
    shard = spread(storage, memory)
    whole, made = one_of(storage, shard, GRAPHS)
    exact = scores(shard)
    [view] = whole.segments
    for each in (whole, loaded(storage, shard, made)):
        assert set(each.segments[0].segment.graphs) == {VectorKey(name) for name in DENSE}
        found = scores(each, exact=False)
        for name in SEVERAL_A_POINT:  # MaxSim is no metric: some points no edge may lead to
            for hits, wanted in zip(found.pop(name), exact[name], strict=True):
                assert set(hits) <= set(wanted)
                assert len(hits) >= 0.9 * len(wanted)
                assert hits == sorted(hits, key=wanted.index)
        assert found == {name: exact[name] for name in found}
    for name in DENSE:
        graph = view.graph(name)
        assert graph is not None
        having = bits.to_offsets(view.has_vector(name), view.watermark)
        assert np.array_equal(np.flatnonzero(graph.levels != 255), having)


def test_graphs_are_added_to_every_kind_where_they_lie(storage: DiskStorage) -> None:
    shard = built(after(start(config()), upsert(range(60))), storage)
    shard = after(shard, UpdateOperation.delete_points([7, 8, 9]))
    view = shard.segments[0]
    assert isinstance(view.segment, ImmutableSegment)
    made = add_indexes(storage, view, view.segment, asked(shard, GRAPHS), 900, silent)
    now = swapped(shard, [view], made)
    assert scores(now, exact=False) == scores(shard)
    again = loaded(storage, shard, made)
    assert (
        set(again.segments[0].segment.graphs)
        == set(made.segment.graphs)
        == set(map(VectorKey, DENSE))
    )


QUANTIZATIONS: list[QuantizationConfig] = [
    ScalarQuantizationConfig(ScalarType.Int8, 0.99),
    ProductQuantizationConfig(Ratio.X4, always_ram=False),
    BinaryQuantizationConfig(),
    TurboQuantQuantizationConfig(),
]


@pytest.mark.parametrize("quantization", QUANTIZATIONS, ids=lambda q: type(q).__name__[:6])
def test_small_forms_are_made_beside_graphs_and_come_back(
    storage: DiskStorage, quantization: QuantizationConfig
) -> None:
    """What is found by them is compared anew, so that it has its true score."""
    shard = spread(storage)
    plans = {
        name: IndexPlan(GraphPlan(8, 64) if len(name) % 2 else None, quantization) for name in DENSE
    }
    whole, made = one_of(storage, shard, plans)
    exact = scores(shard)
    keys = {VectorKey(name) for name in DENSE}
    for each in (whole, loaded(storage, shard, made)):
        segment = each.segments[0].segment
        assert set(segment.quantized) == keys
        for key in keys:
            assert segment.quantized[key].config == quantization
            assert is_as_planned(segment, key, {key: plans[key.name]})
            assert not is_as_planned(segment, key, {key: IndexPlan()})
        assert everything(each) == everything(shard)
        found = scores(each, exact=False, limit=30)
        for name in NAMES:
            for hits, wanted in zip(found[name], exact[name], strict=True):
                assert set(hits) <= set(wanted)
                assert len(hits) == min(30, len(wanted))
                assert hits == sorted(hits, key=wanted.index)
        assert scores(each) == exact
    assert scores(whole, exact=False) == scores(loaded(storage, shard, made), exact=False)


@pytest.mark.parametrize(
    ("have", "want", "as_planned"),
    [
        (IndexPlan(), None, True),
        (IndexPlan(GraphPlan(8, 64)), None, True),
        (IndexPlan(), IndexPlan(), True),
        (IndexPlan(GraphPlan(8, 64)), IndexPlan(), True),
        (IndexPlan(GraphPlan(8, 64)), IndexPlan(GraphPlan(8, 64, threads=3)), True),
        (IndexPlan(), IndexPlan(GraphPlan(8, 64)), False),
        (IndexPlan(GraphPlan(8, 64)), IndexPlan(GraphPlan(9, 64)), False),
        (IndexPlan(GraphPlan(8, 64)), IndexPlan(GraphPlan(8, 65)), False),
        (IndexPlan(), IndexPlan(None, QUANTIZATIONS[0]), False),
        (IndexPlan(None, QUANTIZATIONS[0]), IndexPlan(None, QUANTIZATIONS[0]), True),
        (IndexPlan(None, QUANTIZATIONS[0]), IndexPlan(None, QUANTIZATIONS[2]), False),
        (IndexPlan(None, QUANTIZATIONS[0]), IndexPlan(), False),
        (
            IndexPlan(GraphPlan(8, 64), QUANTIZATIONS[0]),
            IndexPlan(GraphPlan(8, 64)),
            False,
        ),
    ],
)
def test_whether_an_index_is_as_planned(
    storage: DiskStorage, have: IndexPlan, want: IndexPlan | None, as_planned: bool
) -> None:
    shard = after(start(config()), upsert(range(30)))
    _, made = one_of(storage, shard, {"half": have})
    key = VectorKey("half")
    assert is_as_planned(made.segment, key, {} if want is None else {key: want}) is as_planned


# -- a build that is stopped


class Stopped(Exception):
    """Raised by a pulse."""


def test_a_stopped_build_leaves_nothing_and_can_be_repeated(
    storage: DiskStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "ROWS_A_SLICE", 16)
    monkeypatch.setattr(indexing, "ROWS_A_SLICE", 16)
    monkeypatch.setattr(indexing, "NODES_A_SLICE", 16)
    shard = spread(storage)
    before = {str(p) for p in Path(storage.path).rglob("*")}
    plans = {name: IndexPlan(GraphPlan(4, 16), QUANTIZATIONS[0]) for name in ("half", "many")}
    beats: list[float] = []
    request = asked(shard, plans)
    whole = build_segment(storage, 77, shard.segments, request, beats.append)
    assert all(0 <= beat <= 1 for beat in beats)
    assert len(beats) > 10 * len(NAMES)
    for calls in range(0, len(beats), 17):
        left = [calls]

        def pulse(done: float, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Stopped

        with pytest.raises(Stopped):
            build_segment(storage, 77, shard.segments, request, pulse)
        assert {str(p) for p in Path(storage.path).rglob("*")} == before
    again = build_segment(storage, 77, shard.segments, request, silent)
    assert again.segment.entry == whole.segment.entry, "and the same bytes"


# -- entries and files that are not what they were


def entry_of(storage: DiskStorage) -> tuple[ShardView, Any]:
    shard = after(start(config()), upsert(range(12)))
    plans = {name: IndexPlan(GraphPlan(4, 16), QUANTIZATIONS[0]) for name in ("half", "many")}
    _, made = one_of(storage, shard, plans)
    return shard, made.segment.entry


def load(storage: DiskStorage, shard: ShardView, entry: Any) -> ImmutableSegment:
    return load_segment(storage, entry, shard.keys(), shard.settings)[0]


def test_every_file_is_needed_and_in_its_place(storage: DiskStorage) -> None:
    shard, entry = entry_of(storage)
    load(storage, shard, entry)
    optional = {"missing", "graph", "quantized"}
    for role, file in entry.files.items():
        fewer = {name: each for name, each in entry.files.items() if name != role}
        if role.split("-")[0] not in optional:
            with pytest.raises(CorruptData, match=role):
                load(storage, shard, msgspec.structs.replace(entry, files=fewer))
        other = entry.files["versions" if role != "versions" else "ids"]
        changed = msgspec.structs.replace(entry, files={**entry.files, role: other})
        with pytest.raises(CorruptData):
            load(storage, shard, changed)
        path = Path(storage.path) / file.name
        whole = path.read_bytes()
        path.write_bytes(whole[:9] + bytes([whole[9] ^ 1]) + whole[10:])
        with pytest.raises(CorruptData):
            load(storage, shard, entry).payloads.check()
        path.write_bytes(whole)


def test_the_column_of_another_vector_is_corrupt_data(storage: DiskStorage) -> None:
    """Those of one shape could be swapped unseen; the manifest's checksum speaks against it."""
    shard, entry = entry_of(storage)
    alike = {("words", "few"), ("few", "words"), ("turbo", "turbo16"), ("turbo16", "turbo")}
    alike |= {("shorter", "words"), ("shorter", "few")}  # as older segments hold it
    for name, place in ROLES.items():
        for other, there in ROLES.items():
            if name == other or (name, other) in alike:
                continue
            role = f"vectors-{place}"
            files = {**entry.files, role: entry.files[f"vectors-{there}"]}
            meta = {**entry.meta, role: entry.meta.get(f"vectors-{there}")}
            with pytest.raises(CorruptData):
                load(storage, shard, msgspec.structs.replace(entry, files=files, meta=meta))


SPARSE_VALUES = ("values", "dim_values")
Change = Callable[[dict[str, np.ndarray]], Any]


def replaced(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Change:
    return lambda arrays: {**arrays, name: change(arrays[name])}


def at(place: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        copy = array.copy()
        copy[place] = value
        return copy

    return change


BROKEN: dict[str, tuple[tuple[str, ...], Change]] = {
    "no starts": (NAMES[5:], lambda a: {n: x for n, x in a.items() if n != "starts"}),
    "starts of another type": (NAMES[5:], replaced("starts", lambda s: s.astype(np.int32))),
    "starts cut": (NAMES[5:], replaced("starts", lambda s: s[:-1])),
    "starts grown": (NAMES[5:], replaced("starts", lambda s: np.append(s, s[-1]))),
    "starts not from 0": (NAMES[5:], replaced("starts", at(0, 1))),
    "starts below 0": (NAMES[5:], replaced("starts", at(1, -1))),
    "starts that fall": (NAMES[5:], replaced("starts", at(1, 10**6))),
    "starts beyond the end": (NAMES[5:], replaced("starts", at(-1, 10**6))),
    "no rows": (SEVERAL_A_POINT, lambda a: {"starts": a["starts"]}),
    "rows cut": (SEVERAL_A_POINT, replaced("rows", lambda r: r[:-1])),
    "rows of another type": (SEVERAL_A_POINT, replaced("rows", lambda r: r.astype(np.float64))),
    "rows of another width": (SEVERAL_A_POINT, replaced("rows", lambda r: np.hstack([r, r]))),
    "rows flat": (SEVERAL_A_POINT, replaced("rows", lambda r: r.reshape(-1))),
    "indices of another type": (tuple(SPARSE), replaced("indices", lambda i: i.astype(np.int64))),
    "indices cut": (tuple(SPARSE), replaced("indices", lambda i: i[:-1])),
    "values cut": (tuple(SPARSE), replaced("values", lambda v: v[:-1])),
    "values of another type": (tuple(SPARSE), replaced("values", lambda v: v.astype(np.float64))),
    "no index": (
        tuple(SPARSE),
        lambda a: {n: x for n, x in a.items() if n in ("starts", "indices", "values")},
    ),
    "an index of rows that are not there": (
        tuple(SPARSE),
        lambda a: {**a, "dim_rows": a["dim_rows"] + np.uint32(12)},
    ),
    "an index that does not ascend": (
        tuple(SPARSE),
        lambda a: {**a, "dims": np.ascontiguousarray(a["dims"][::-1])},
    ),
    "an index cut": (tuple(SPARSE), lambda a: {**a, "dim_values": a["dim_values"][:-1]}),
    "values shorter than the datatype": (
        ("words", "few"),
        lambda a: {**a, **{n: a[n].astype(np.float16) for n in SPARSE_VALUES}},
    ),
    "values of two types": (("shorter",), replaced("values", lambda v: v.astype(np.float32))),
    "an index of two types": (("shorter",), replaced("dim_values", lambda v: v.astype("f4"))),
    "an infinite value": (tuple(SPARSE), replaced("values", at(0, np.inf))),
    "an infinite value in an index": (tuple(SPARSE), replaced("dim_values", at(-1, np.inf))),
    "values of integers": (("shorter",), replaced("values", lambda v: v.view(np.int16))),
}


def test_a_segment_that_holds_float16_as_float32_is_read(storage: DiskStorage) -> None:
    """As older ones do; what is built of it holds float16."""
    shard, entry = entry_of(storage)
    role = f"vectors-{ROLES['shorter']}"
    arrays = read_packed(storage, entry.files[role], entry.meta[role])
    assert {arrays[name].dtype for name in SPARSE_VALUES} == {np.dtype(np.float16)}
    wide = {**arrays, **{name: arrays[name].astype(np.float32) for name in SPARSE_VALUES}}
    file, layout = write_packed(storage, "segments/00000077/wide", wide)
    older = msgspec.structs.replace(
        entry, files={**entry.files, role: file}, meta={**entry.meta, role: layout}
    )
    whole = shard.of([SegmentView(load(storage, shard, older), entry.rows)])
    made = build_segment(storage, 78, whole.segments, asked(whole, {}), silent)
    for view in (whole, swapped(whole, whole.segments, made)):
        assert everything(view) == everything(shard)
        assert scores(view) == scores(shard)
    column: Any = made.segment.vectors[VectorKey("shorter")]
    assert column.rows(entry.rows).values.dtype == column.index.values.dtype == np.float16


@pytest.mark.parametrize("what", BROKEN)
def test_arrays_that_do_not_fit_each_other_are_corrupt_data(
    storage: DiskStorage, what: str
) -> None:
    """Written anew with checksums that are right, as no damage and only a wrong program does."""
    shard, entry = entry_of(storage)
    names, change = BROKEN[what]
    for name in names:
        role = f"vectors-{ROLES[name]}"
        arrays = read_packed(storage, entry.files[role], entry.meta[role])
        path = f"segments/00000077/broken-{ROLES[name]}"
        file, layout = write_packed(storage, path, change(dict(arrays)))
        changed = msgspec.structs.replace(
            entry, files={**entry.files, role: file}, meta={**entry.meta, role: layout}
        )
        with pytest.raises(CorruptData):
            load(storage, shard, changed)


@pytest.mark.parametrize("name", ["half", "bytes", "turbo"])
@pytest.mark.parametrize(
    "change",
    [
        lambda m: m[:-1],
        lambda m: np.hstack([m, m]),
        lambda m: m.astype(np.float64),
        lambda m: m.reshape(-1),
    ],
    ids=["cut", "wide", "another type", "flat"],
)
def test_a_matrix_of_another_shape_is_corrupt_data(
    storage: DiskStorage, name: str, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    shard, entry = entry_of(storage)
    column: Any = load(storage, shard, entry).vectors[VectorKey(name)]
    broken = np.ascontiguousarray(change(column.matrix))
    file = write_array(storage, "segments/00000077/broken", broken, broken.dtype, broken.shape)
    files = {**entry.files, f"vectors-{ROLES[name]}": file}
    with pytest.raises(CorruptData, match="expected"):
        load(storage, shard, msgspec.structs.replace(entry, files=files))


@pytest.mark.parametrize(
    "meta",
    [None, b"", b"\xc1", "text", 7, [], b"\x81\xa4kind\xa4none", b"\x81\xa4kind\xa6binary"],
    ids=repr,
)
def test_the_config_of_a_small_form_that_is_not_one_is_corrupt_data(
    storage: DiskStorage, meta: Any
) -> None:
    shard, entry = entry_of(storage)
    role = f"quantized-{ROLES['half']}-config"
    changed = {name: value for name, value in {**entry.meta, role: meta}.items() if value != ""}
    with pytest.raises(CorruptData):
        load(storage, shard, msgspec.structs.replace(entry, meta=changed))


def test_a_point_of_no_vectors_needs_its_bit(storage: DiskStorage) -> None:
    """A row of a multivector that has no entries, and that nothing says is missing."""
    shard, entry = entry_of(storage)
    place = ROLES["many"]
    assert f"missing-{place}" in entry.files
    fewer = {role: file for role, file in entry.files.items() if role != f"missing-{place}"}
    with pytest.raises(CorruptData, match="a point has no vectors"):
        load(storage, shard, msgspec.structs.replace(entry, files=fewer))


def test_what_a_view_showed_stays(storage: DiskStorage) -> None:
    """Rows and scores of every kind, while the tail grows and is sealed."""
    shard = after(start(config()), upsert(range(30)))
    before, found = everything(shard), scores(shard)
    later = after(shard, upsert(range(20, 80)), UpdateOperation.delete_points([1, 2]))
    sealed = built(later, storage)
    assert [shown(view) for view in sealed.segments[:1]] == [shown(later.segments[-1])]
    assert everything(shard) == before
    assert scores(shard) == found
