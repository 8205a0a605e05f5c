"""Graphs of the values of payload fields: over which rows, how they are kept, what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.disk.storage import DiskStorage
from edge.errors import CorruptData
from edge.model.choice import Memory
from edge.model.config import EdgeConfig, settings_of
from edge.model.point import Point
from edge.model.quantization import (
    QuantizationConfig,
    ScalarQuantizationConfig,
    ScalarType,
    TurboQuantQuantizationConfig,
)
from edge.model.schema import (
    DatetimeIndexParams,
    FloatIndexParams,
    IntegerIndexParams,
    KeywordIndexParams,
    PayloadSchemaType,
    TextIndexParams,
    encode_field,
    indexed_field,
)
from edge.model.update import UpdateOperation
from edge.model.vector_params import (
    Distance,
    EdgeVectorParams,
    HnswIndexConfig,
    MultiVectorComparator,
    MultiVectorConfig,
)
from edge.segment import indexing, value_graphs
from edge.segment.builder import Built, add_indexes, build_segment, is_as_planned
from edge.segment.immutable import ImmutableSegment, load_segment, without_files_of
from edge.segment.indexing import GraphPlan, IndexPlan, ValuesPlan, graph_over, rows_to_link
from edge.segment.value_graphs import (
    Key,
    ValueGraphs,
    made_of,
    may_have_graphs,
    packed,
    value_graphs_of,
)
from edge.segment.view import SegmentView, ShardView
from edge.vectors.column import VectorKey
from edge_kernels.hnsw import Graph
from tests.segment.made import Stopped, after, asked, silent, start, stop_after

U, K = UpdateOperation, PayloadSchemaType
ROWS = 240
NAMELESS, MANY = VectorKey(""), VectorKey("many")
UUIDS = [f"{n:08x}-0000-0000-0000-000000000000" for n in range(3)]
SEVERAL = MultiVectorConfig(MultiVectorComparator.MaxSim)
CONFIG = EdgeConfig(
    {
        "": EdgeVectorParams(20, Distance.Euclid),
        "many": EdgeVectorParams(5, Distance.Dot, multivector_config=SEVERAL),
    },
    hnsw_config=HnswIndexConfig(8, 32, 0),
)
SCHEMA = {
    "tenant": K.Keyword,
    "tags": K.Keyword,
    "n": K.Integer,
    "flag": K.Bool,
    "owner": K.Uuid,
    "size": K.Float,
    "note": K.Text,
}
VALUES = ValuesPlan(GraphPlan(4, 32), 0)
PLANS = {
    "": IndexPlan(GraphPlan(8, 32), None, VALUES),
    "many": IndexPlan(None, None, VALUES),
}


def payload(n: int) -> dict[str, Any]:
    return {
        "tenant": "red" if n % 2 else f"blue {n}",
        "tags": [["a", "b", "c"][k] for k in range(3) if n % (k + 2) == 0],
        "n": n % 5 if n % 7 else [n % 5, -3, "odd"],
        "flag": n % 3 == 0 if n % 10 else "yes",
        "owner": UUIDS[n % 3],
        "size": 0.5,
        "note": "a mug",
    }


def keys_of(n: int) -> set[tuple[str, Key]]:
    """What the exact indexes hold of a point."""
    found = payload(n)
    numbers = found["n"] if isinstance(found["n"], list) else [found["n"]]
    keys: set[tuple[str, Key]] = {("tenant", found["tenant"].encode())}
    keys |= {("tags", tag.encode()) for tag in found["tags"]}
    keys |= {("n", number) for number in numbers if number != "odd"}
    keys |= {("owner", (n % 3).to_bytes(4, "big") + bytes(12))}
    return keys | ({("flag", int(found["flag"]))} if found["flag"] != "yes" else set())


def view_of(schema: Mapping[str, Any] = SCHEMA) -> ShardView:
    random = np.random.default_rng(1)
    indexes = [U.create_field_index(path, kind) for path, kind in schema.items()]
    points = [
        Point(
            n,
            {"": random.normal(size=20), "many": random.normal(size=(n % 3 + 1, 5))},
            payload(n),
        )
        for n in range(ROWS)
    ]
    return after(start(CONFIG), *indexes, U.upsert_points(points))


def segment_of(
    storage: DiskStorage,
    view: ShardView,
    plans: Mapping[str, IndexPlan] = PLANS,
    number: int = 7,
) -> ImmutableSegment:
    return build_segment(storage, number, view.segments, asked(view, plans), silent).segment


@pytest.fixture
def storage(tmp_path: Path) -> DiskStorage:
    return DiskStorage(str(tmp_path))


def members_of(made: ValueGraphs) -> dict[tuple[str, Key], list[int]]:
    return {value: each.members.tolist() for value, each in made.graphs.items()}


def expected(rows: list[int], least: int = 2 * 4 + 1) -> dict[tuple[str, Key], list[int]]:
    found: dict[tuple[str, Key], list[int]] = {}
    for place, n in enumerate(rows):
        for key in keys_of(n):
            found.setdefault(key, []).append(place)
    return {key: members for key, members in found.items() if len(members) >= least}


def same(one: Graph, other: Graph) -> bool:
    a, b = one.arrays(), other.arrays()
    return all(np.array_equal(a[name], b[name]) for name in a)


# -- over which rows


def test_each_large_value_of_an_exact_index_has_a_graph_of_its_rows(storage: DiskStorage) -> None:
    segment = segment_of(storage, view_of())
    for key in (NAMELESS, MANY):
        made = segment.value_graphs[key]
        assert members_of(made) == expected(list(range(ROWS)))
        assert made.made.fields.keys() == {"tenant", "tags", "n", "flag", "owner"}


@pytest.mark.parametrize(
    "small", [None, ScalarQuantizationConfig(ScalarType.Int8), TurboQuantQuantizationConfig()]
)
@pytest.mark.parametrize("key", [NAMELESS, MANY])
def test_it_is_the_graph_that_the_gathered_rows_have(
    storage: DiskStorage, key: VectorKey, small: QuantizationConfig | None
) -> None:
    """Linked by bytes beside a small form of any kind, as the graph of all rows is."""
    plan = IndexPlan(None, small, VALUES)
    segment = segment_of(storage, view_of(), {key.name: plan})
    column: Any = segment.vectors[key]
    linked = rows_to_link(column, segment.quantized.get(key), None, silent)
    graphs = segment.value_graphs[key].graphs
    assert len(graphs) > 5
    for graph, members in graphs.values():
        few = linked._replace(rows=np.ascontiguousarray(linked.rows[members]))
        assert same(graph, graph_over(few, None, VALUES.graph, silent))
        assert (graph.m, graph.m0, graph.ef_construct) == (4, 8, 32)


@pytest.mark.parametrize("more_than", [0, 80 * 40, 80 * 80, 80 * 120 - 1, 80 * 120, 10**9])
def test_values_of_few_bytes_have_none(storage: DiskStorage, more_than: int) -> None:
    plan = IndexPlan(None, None, ValuesPlan(VALUES.graph, more_than))
    made = segment_of(storage, view_of(), {"": plan}).value_graphs[NAMELESS]
    large = expected(list(range(ROWS)), more_than // 80 + 1)  # 20 float32 a row
    assert members_of(made) == {k: v for k, v in large.items() if len(v) > 8}


def test_where_none_is_large_there_is_no_file_and_it_is_known(storage: DiskStorage) -> None:
    plans = {NAMELESS: IndexPlan(None, None, ValuesPlan(VALUES.graph, 10**9))}
    view = view_of()
    segment = segment_of(storage, view, {"": plans[NAMELESS]})
    assert "values-0" not in segment.entry.files
    for each in (segment, loaded(storage, segment, view)):
        assert not each.value_graphs[NAMELESS].graphs
        assert is_as_planned(each, NAMELESS, plans, view.schema)


def test_rows_that_lack_the_vector_or_are_dead_are_left_out(storage: DiskStorage) -> None:
    lacking, dead = list(range(0, ROWS, 6)), list(range(1, ROWS, 5))
    view = after(view_of(), U.delete_vectors(lacking, [""]))  # which writes their points anew
    segment = segment_of(storage, view, {})
    rows = [*(n for n in range(ROWS) if n not in lacking), *lacking]
    deleted = np.zeros(ROWS, bool)
    deleted[[rows.index(n) for n in dead]] = True
    here = SegmentView(segment, ROWS, packed_bits(deleted), view.schema, view.names)
    plans = asked(view, {"": PLANS[""], "many": PLANS["many"]})
    made = add_indexes(storage, here, segment, plans, 9, silent).segment
    wanted = {key: [] for key in expected(rows, 1)}
    for key, members in expected(rows, 1).items():
        wanted[key] = [row for row in members if not deleted[row]]
    alive = {key: members for key, members in wanted.items() if len(members) > 8}
    assert members_of(made.value_graphs[MANY]) == alive
    has = {k: [row for row in v if rows[row] not in lacking] for k, v in wanted.items()}
    alive = {key: members for key, members in has.items() if len(members) > 8}
    assert members_of(made.value_graphs[NAMELESS]) == alive


def packed_bits(rows: NDArray[np.bool_]) -> NDArray[np.uint64]:
    words = -(-len(rows) // 64) * 8
    octets = np.packbits(rows, bitorder="little")
    return np.pad(octets, (0, words - len(octets))).view(np.uint64)


@pytest.mark.parametrize(
    ("params", "found"),
    [
        (KeywordIndexParams(), True),
        (KeywordIndexParams(is_tenant=True, enable_hnsw=True), True),
        (KeywordIndexParams(enable_hnsw=False), False),
        (IntegerIndexParams(enable_hnsw=False), False),
        (IntegerIndexParams(), True),
        (FloatIndexParams(enable_hnsw=True), False),
        (DatetimeIndexParams(), False),
        (TextIndexParams(), False),
    ],
)
def test_which_indexes_have_graphs_of_their_values(params: Any, found: bool) -> None:
    assert may_have_graphs(indexed_field(params)) is found


# -- kept


def loaded(
    storage: DiskStorage, segment: ImmutableSegment, view: ShardView, memory: Memory | None = None
) -> ImmutableSegment:
    hnsw = HnswIndexConfig(8, 32, 0, memory=memory)
    settings = settings_of(EdgeConfig(CONFIG.vectors, hnsw_config=hnsw))
    return load_segment(storage, segment.entry, view.keys(), settings)[0]


@pytest.mark.parametrize("memory", list(Memory))
def test_what_is_loaded_is_what_was_built(storage: DiskStorage, memory: Memory) -> None:
    view = view_of()
    segment = segment_of(storage, view)
    again = loaded(storage, segment, view, memory)
    assert again.value_graphs.keys() == segment.value_graphs.keys() == {NAMELESS, MANY}
    for key, made in segment.value_graphs.items():
        found = again.value_graphs[key]
        assert found.made == made.made
        assert list(found.graphs) == list(made.graphs)
        assert members_of(found) == members_of(made)
        for value, each in made.graphs.items():
            assert same(found.graphs[value].graph, each.graph)


def test_files_of_a_vector_that_was_taken_away_go(storage: DiskStorage) -> None:
    view = view_of()
    entry = segment_of(storage, view).entry
    fewer = without_files_of(entry, {MANY})
    assert {"values-0", "values-1"} <= entry.files.keys()
    assert "values-0" not in fewer.files
    keys = {key: params for key, params in view.keys().items() if key == MANY}
    again, _ = load_segment(storage, fewer, keys, view.settings)
    assert again.value_graphs.keys() == {MANY}


def test_only_what_is_missing_is_built(
    storage: DiskStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph of all rows stays, and so do those of values of fields that were known."""
    view = view_of({"tenant": K.Keyword, "flag": K.Bool})
    segment = segment_of(storage, view)
    later = view.under({**view.schema, "tags": indexed_field(K.Keyword)})
    fields = segment_of(storage, later, {}, number=8).fields
    segment = dataclasses.replace(segment, fields=fields)
    plans = {later.names[name]: plan for name, plan in PLANS.items()}
    assert not is_as_planned(segment, NAMELESS, plans, later.schema)
    built: list[int] = []

    def watched(*given: Any) -> Graph:
        built.append(len(given[0].rows))
        return graph_over(*given)

    monkeypatch.setattr(value_graphs, "graph_over", watched)
    here = SegmentView(segment, ROWS, None, later.schema, later.names)
    made = add_indexes(storage, here, segment, asked(later, PLANS), 9, silent).segment
    assert made.graphs[NAMELESS] is segment.graphs[NAMELESS]
    assert sorted(built) == [60, 60, 80, 80, 120, 120], "of the tags, for either vector"
    there = {("tenant", b"red"), ("flag", 0), ("flag", 1)}
    new = {("tags", b"a"), ("tags", b"b"), ("tags", b"c")}
    assert members_of(made.value_graphs[NAMELESS]).keys() == there | new
    for value, each in segment.value_graphs[NAMELESS].graphs.items():
        assert same(each.graph, made.value_graphs[NAMELESS].graphs[value].graph)
    assert all(is_as_planned(made, key, plans, later.schema) for key in plans)
    again = loaded(storage, made, later)
    assert members_of(again.value_graphs[MANY]) == members_of(made.value_graphs[MANY])


def test_graphs_of_another_plan_are_built_anew(storage: DiskStorage) -> None:
    view = view_of()
    segment = segment_of(storage, view)
    here = SegmentView(segment, ROWS, None, view.schema, view.names)
    other = ValuesPlan(GraphPlan(6, 32), 0)
    plans = {"": dataclasses.replace(PLANS[""], values=other)}
    made = add_indexes(storage, here, segment, asked(view, plans), 9, silent).segment
    assert {graph.m for graph, _ in made.value_graphs[NAMELESS].graphs.values()} == {6}
    assert made.graphs[NAMELESS] is segment.graphs[NAMELESS]
    assert made.value_graphs[MANY] is segment.value_graphs[MANY]


def test_what_is_not_asked_for_any_more_goes_with_the_next_rebuild(storage: DiskStorage) -> None:
    view = view_of()
    segment = segment_of(storage, view)
    here = SegmentView(segment, ROWS, None, view.schema, view.names)
    plan = {NAMELESS: IndexPlan(GraphPlan(8, 32))}
    assert is_as_planned(segment, NAMELESS, plan, view.schema)
    asked_for = asked(view, {"": IndexPlan(GraphPlan(9, 32))})
    made = add_indexes(storage, here, segment, asked_for, 9, silent).segment
    assert made.value_graphs.keys() == {MANY}
    assert not [role for role in made.entry.files if role.startswith("values-0")]
    assert loaded(storage, made, view).value_graphs.keys() == {MANY}


# -- stopped


def files_in(storage: DiskStorage) -> set[str]:
    return {str(path) for path in Path(storage.path).rglob("*") if path.is_file()}


def test_a_stopped_build_leaves_no_file(
    storage: DiskStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "NODES_A_SLICE", 16)
    monkeypatch.setattr(value_graphs, "ROWS_A_SLICE", 32)
    view = view_of()
    segment = segment_of(storage, view, {"": IndexPlan(GraphPlan(8, 32))})
    here = SegmentView(segment, ROWS, None, view.schema, view.names)
    before = files_in(storage)

    def add(pulse: Callable[[float], None]) -> Built:
        return add_indexes(storage, here, segment, asked(view, PLANS), 9, pulse)

    beats: list[float] = []
    made = add(beats.append)
    assert len(beats) > 100
    assert all(0 <= beat <= 1 for beat in beats)
    for role in ("values-0", "values-1"):
        storage.remove_tree(made.segment.entry.files[role].name)
    assert files_in(storage) == before
    for calls in range(0, len(beats), 7):
        with pytest.raises(Stopped):
            add(stop_after(calls))
        assert files_in(storage) == before


# -- not believed

Arrays = dict[str, NDArray[Any]]


def changed(name: str, place: Any, value: Any) -> Callable[[Arrays], Arrays]:
    def change(arrays: Arrays) -> Arrays:
        array = arrays[name].copy()
        array[place] = value
        return {**arrays, name: array}

    return change


def cut(name: str, count: int = 1) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {**arrays, name: arrays[name][:-count]}


FORGED: dict[str, Callable[[Arrays], Arrays]] = {
    "a field below": changed("fields", 0, -1),
    "a field beyond": changed("fields", 0, 5),
    "a number of a keyword": changed("fields", -1, 2),
    "a keyword twice": lambda arrays: {**arrays, "keys": np.zeros_like(arrays["keys"])},
    "ends fall": changed("ends", 1, 10**6),
    "ends begin late": changed("ends", 0, 1),
    "ends are cut": cut("ends"),
    "keys are cut": cut("keys"),
    "fields are cut": cut("fields"),
    "members are cut": cut("members"),
    "members descend": changed("members", slice(0, 2), [9, 3]),
    "a member twice": changed("members", slice(0, 2), [3, 3]),
    "a member beyond": changed("members", -1, ROWS),
    "headers are cut": cut("headers"),
    "headers are narrow": lambda arrays: {**arrays, "headers": arrays["headers"][:, :-1]},
    "no node": changed("headers", (0, 2), 0),
    "a negative number of nodes": changed("headers", (0, 2), -(2**62)),
    "too many nodes": changed("headers", (0, 2), 2**62),
    "another m": changed("headers", (0, 3), 3),
    "another ef_construct": changed("headers", (0, 5), 31),
    "an entry beyond": changed("headers", (0, 6), ROWS),
    "levels are cut": cut("levels"),
    "a level beyond": changed("levels", 0, 41),
    "a member without links": changed("levels", 0, 255),
    "links are cut": cut("links0"),
    "a link beyond": changed("links0", (0, 0), ROWS),
    "a link below": changed("links0", (0, 0), -2),
    "links of another width": lambda a: {**a, "links0": a["links0"].reshape(-1, 4)},
    "lists are cut": cut("upper"),
    "a list too many": lambda a: {**a, "upper": np.concatenate([a["upper"], a["upper"][:1]])},
    "lists are missing": lambda a: {name: v for name, v in a.items() if name != "upper"},
    "members of another type": lambda a: {**a, "members": a["members"].astype(np.int64)},
    "links of other dimensions": lambda a: {**a, "links0": a["links0"].reshape(-1)},
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> ValueGraphs:
    folder = DiskStorage(str(tmp_path_factory.mktemp("sound")))
    return segment_of(folder, view_of()).value_graphs[NAMELESS]


@pytest.mark.parametrize("what", FORGED)
def test_forged_arrays_are_refused(sound: ValueGraphs, what: str) -> None:
    arrays = packed(sound)
    assert members_of(value_graphs_of(sound.made, arrays, ROWS)) == members_of(sound)
    with pytest.raises((ValueError, CorruptData)):
        value_graphs_of(sound.made, FORGED[what](arrays), ROWS)


def test_graphs_of_more_rows_than_there_are_are_refused(sound: ValueGraphs) -> None:
    with pytest.raises(ValueError, match="members"):
        value_graphs_of(sound.made, packed(sound), ROWS - 1)


@pytest.mark.parametrize(
    "given",
    [
        None,
        [],
        [4, 32, 0],
        [4, 32, "0", []],
        [4, 32, 0, [["tenant"]]],
        [4, 32, 0, [["tenant", b"\xc0"]]],
        [4, 32, 0, 2 * [["tenant", encode_field(indexed_field(KeywordIndexParams()))]]],
    ],
)
def test_what_the_manifest_says_is_not_believed(given: Any) -> None:
    with pytest.raises((ValueError, CorruptData)):
        made_of(given)


@pytest.mark.parametrize("damage", ["made", "params", "layout", "file"])
def test_a_damaged_segment_is_corrupt(storage: DiskStorage, damage: str) -> None:
    view = view_of()
    segment = segment_of(storage, view)
    made = segment.value_graphs[NAMELESS].made
    garbled = [*made[:3], [[path, b"\xff"] for path in made.fields]]
    entry = segment.entry
    wrong = {
        "made": {"values-0-made": [4, 32]},
        "params": {"values-0-made": garbled},
        "layout": {"values-0": entry.meta["graph-0"]},
        "file": {},
    }
    if damage == "file":
        path = Path(storage.path) / entry.files["values-0"].name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    entry = type(entry)(entry.id, entry.rows, entry.files, {**entry.meta, **wrong[damage]})
    with pytest.raises(CorruptData):
        load_segment(storage, entry, view.keys(), view.settings)
