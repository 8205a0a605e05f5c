"""Vector names created and taken away while a store runs, and settings that change: logged,
replayed, named by manifests, and kept by every seal and rebuild."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge.disk import manifest
from edge.errors import CallerError, EdgeError, UnknownVector, ValidationError
from edge.model.check import check
from edge.model.config import (
    ConfigChange,
    Durability,
    EdgeConfig,
    EdgeOptimizersConfig,
    decode_config,
)
from edge.model.filter import Filter, HasVectorCondition
from edge.model.point import Point, PointVectors
from edge.model.quantization import NoQuantization, ScalarQuantizationConfig, ScalarType
from edge.model.query import Query, SearchParams
from edge.model.request import CountRequest, QueryRequest, ScrollRequest
from edge.model.sparse import SparseVector
from edge.model.update import UpdateOperation
from edge.model.vector_params import (
    Distance,
    EdgeSparseVectorParams,
    EdgeVectorParams,
    HnswIndexConfig,
    Modifier,
    MultiVectorComparator,
    MultiVectorConfig,
    VectorStorageDatatype,
)
from edge.query.answer import answer
from edge.segment.view import ShardView
from edge.store.info import info_of
from edge.store.optimization import Job, Plan
from edge.store.store import Store, Submission
from edge.vectors.column import VectorKey
from tests.disk.simulated import SimulatedStorage

U, D, Dot = UpdateOperation, VectorStorageDatatype, Distance.Dot
SEVERAL = MultiVectorConfig(MultiVectorComparator.MaxSim)
CALM = {
    "deleted_threshold": 1.0, "vacuum_min_vector_number": 10**6, "default_segment_number": 99,
    "indexing_threshold": 0,
}  # fmt: skip
HNSW = HnswIndexConfig(4, 16, 0)


def config(
    vectors: Any = None, sparse: Any = None, hnsw: HnswIndexConfig = HNSW, **optimizers: Any
) -> EdgeConfig:
    """One vector of four numbers, and no optimizing but what the arguments ask for."""
    return EdgeConfig(
        vectors or {"": EdgeVectorParams(4, Dot)},
        sparse or {},
        hnsw_config=hnsw,
        optimizers=EdgeOptimizersConfig(**{**CALM, **optimizers}),
        durability=Durability.Os,
    )


def opened(storage: SimulatedStorage, given_config: EdgeConfig | None = None) -> Store:
    return Store.over(storage, given_config or config(), existing=None)


def crashed(store: Store, given_config: EdgeConfig | None = None) -> Store:
    """The store that whoever opens the folder as it is now has."""
    assert isinstance(store.storage, SimulatedStorage)
    return Store.over(SimulatedStorage(store.storage.image()), given_config, existing=True)


def commit(store: Store, *operations: UpdateOperation) -> int:
    sequence = store.sequence
    for operation in operations:
        (outcome,) = store.commit([Submission(operation)])
        if isinstance(outcome, EdgeError):
            raise outcome
        sequence = outcome
    return sequence


def run(store: Store, job: Job | None) -> None:
    if job is not None:
        store.finish(job, job.run(store.storage, lambda done: None))


def seal(store: Store) -> None:
    run(store, store.seal())


def whole(store: Store, reason: str) -> Job:
    """A rebuild of all built segments."""
    return store.start(Plan(reason, frozenset(v.segment.number for v in store.durable.segments)))


def rebuild(store: Store) -> list[str]:
    """Carry out all plans; the reasons in their order."""
    reasons: list[str] = []
    while (plan := store.plan(durable=True)) is not None:
        reasons.append(plan.reason)
        assert len(reasons) < 20
        run(store, store.start(plan))
    return reasons


def held(store_or_view: Store | ShardView) -> dict[Any, Any]:
    """The vectors of every point, by name."""
    view = store_or_view if isinstance(store_or_view, ShardView) else store_or_view.view
    records, _ = answer(view, ScrollRequest(limit=10_000, with_payload=False, with_vector=True))
    return {
        record.id: record.vector if isinstance(record.vector, dict) else {"": record.vector}
        for record in records
    }


def files_of(store: Store) -> set[str]:
    """The files of segments that the disk has; the manifest names just these."""
    storage = store.storage
    assert isinstance(storage, SimulatedStorage)
    state = manifest.load(storage)
    assert state is not None
    found = {name for name, data in storage.image().items() if data is not None}
    found = {name for name in found if name.startswith("segments/")}
    assert found == {file.name for file in state.files()}
    return found


def alike(store: Store) -> None:
    """What is loaded is what is here, and no file is left over or missing."""
    again = crashed(store)
    assert held(again) == held(store)
    assert again.config.vectors == store.config.vectors
    assert again.config.sparse_vectors == store.config.sparse_vectors
    assert again.view.births == store.view.births
    assert again.sequence == store.sequence
    files_of(store)


S = SparseVector
KINDS: dict[str, tuple[UpdateOperation, Any, Any]] = {
    "dense": (U.create_dense_vector("x", 2, Dot), [1.0, 2.0], [3.0, 4.0]),
    "half": (U.create_dense_vector("x", 2, Dot, None, D.Float16), [0.5, 2.0], [3.0, 4.0]),
    "bytes": (U.create_dense_vector("x", 2, Dot, None, D.Uint8), [1.0, 255.0], [3.0, 4.0]),
    "turbo": (U.create_dense_vector("x", 2, Dot, None, D.Turbo8), [0.0, 127.0], [127.0, 0.0]),
    "many": (
        U.create_dense_vector("x", 2, Dot, SEVERAL), [[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0]]
    ),
    "sparse": (U.create_sparse_vector("x"), S([7], [2.0]), S([1, 2**32 - 1], [0.5, -1.0])),
}  # fmt: skip
kinds = pytest.mark.parametrize("kind", KINDS)


def upsert(numbers: Any, **vectors: Any) -> UpdateOperation:
    """Points with the vector named "", and others by name."""
    return U.upsert_points([Point(n, {"": [n, 1, 2, 3], **vectors}) for n in numbers])


def without(numbers: Any) -> dict[int, Any]:
    return {n: {"": [float(n), 1.0, 2.0, 3.0]} for n in numbers}


def with_x(numbers: Any, x: Any) -> dict[int, Any]:
    return {n: {**vectors, "x": x} for n, vectors in without(numbers).items()}


# -- created


@kinds
def test_a_name_is_there_at_once_and_after_any_reload(kind: str) -> None:
    create, one, other = KINDS[kind]
    store = opened(SimulatedStorage())
    commit(store, upsert(range(6)))
    seal(store)
    commit(store, upsert(range(6, 9)))
    assert commit(store, create) == 3
    assert store.config.names() == ("", "x")
    assert store.view.births == {"x": 3}
    commit(store, upsert([5, 9], x=one), U.update_vectors([PointVectors(1, {"x": other})]))
    expected = {**without(range(10)), **with_x([5, 9], one), **with_x([1], other)}
    steps: list[Any] = [
        lambda: None,
        lambda: seal(store),
        lambda: run(store, whole(store, "merge")),
        lambda: commit(store, upsert([20], x=one)),
        lambda: seal(store),
        lambda: run(store, whole(store, "merge")),
    ]
    for step in steps:
        step()
        if 20 in held(store):
            expected |= with_x([20], one)
        assert held(store) == expected
        alike(store)
        assert answer(crashed(store).view, CountRequest(filter=HAS_X)) == len(
            [vectors for vectors in expected.values() if "x" in vectors]
        )
    assert len(store.durable.segments) == 1


HAS_X = Filter(must=[HasVectorCondition("x")])


@kinds
def test_a_name_that_is_there_as_asked_is_passed_over(kind: str) -> None:
    create, one, _ = KINDS[kind]
    store = opened(SimulatedStorage())
    assert commit(store, create, create, create) == 1
    commit(store, upsert([1], x=one))
    assert commit(store, create) == 2
    assert held(store) == with_x([1], one)
    alike(store)


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (U.create_dense_vector("", 5, Dot), "vector '': expected size 4 as stored, got 5"),
        (U.create_dense_vector("", 4, Distance.Euclid), "vector '': expected distance"),
        (U.create_dense_vector("", 4, Dot, SEVERAL), "vector '': expected multivector_config"),
        (U.create_dense_vector("", 4, Dot, None, D.Float16), "vector '': expected datatype"),
        (U.create_sparse_vector(""), "vector '': expected EdgeVectorParams"),
        (U.delete_vector_name(""), "at least one vector is needed"),
        (
            U.set_config(ConfigChange(vectors=EdgeVectorParams(5, Dot))),
            "vector '': expected size 4 as stored",
        ),
        (U.set_config(ConfigChange(sparse_vectors={"s": EdgeSparseVectorParams()})), "no 's'"),
    ],
)
def test_what_cannot_be_is_refused_and_not_logged(operation: UpdateOperation, message: str) -> None:
    store = opened(SimulatedStorage())
    commit(store, upsert([1]))
    before = store.storage.image()  # type: ignore[attr-defined]
    with pytest.raises(ValidationError, match=message):
        commit(store, operation)
    assert (store.sequence, store.config) == (1, config())
    assert store.storage.image() == before  # type: ignore[attr-defined]


def test_a_rebuild_that_ends_between_a_creation_and_a_seal() -> None:
    """Its segment has a column of the new name already, which its manifest has no name for."""
    store = opened(SimulatedStorage())
    for first in (0, 10):
        commit(store, upsert(range(first, first + 5)))
        seal(store)
    commit(store, U.create_dense_vector("x", 2, Dot), U.create_sparse_vector("s"))
    run(store, whole(store, "merge"))
    alike(store)
    commit(store, upsert([30], x=[1.0, 2.0], s=S([1], [2])))
    alike(store)
    seal(store)
    alike(store)
    run(store, whole(store, "merge"))
    alike(store)
    assert set(held(store)[30]) == {"", "x", "s"}


@kinds
def test_a_rebuild_that_was_begun_before_a_creation(kind: str) -> None:
    """Its sources have nothing of the new name, and its segment no column of it."""
    create, one, _ = KINDS[kind]
    store = opened(SimulatedStorage())
    for first in (0, 10):
        commit(store, upsert(range(first, first + 5)))
        seal(store)
    job = whole(store, "merge")
    commit(store, create, upsert([1, 12, 40], x=one))
    sealing = store.seal()
    run(store, job)
    alike(store)
    run(store, sealing)
    alike(store)
    expected = {**without([0, 2, 3, 4, 10, 11, 13, 14]), **with_x([1, 12, 40], one)}
    assert held(store) == expected
    run(store, whole(store, "merge"))
    assert held(store) == expected
    alike(store)


# -- taken away


@kinds
@pytest.mark.parametrize("known_by", ["files", "log"])
@pytest.mark.parametrize("begun", ["seal", "rebuild", None])
def test_a_name_is_gone_at_once_and_its_files_with_the_next_manifest(
    kind: str, known_by: str, begun: str | None
) -> None:
    """Also where jobs were begun before, and where points come after it."""
    create, one, other = KINDS[kind]
    store = opened(SimulatedStorage())
    commit(store, create, upsert(range(5), x=one), upsert([5]))
    if known_by == "files":
        seal(store)
    commit(store, upsert([3, 7], x=other))
    job = {"seal": store.seal, "rebuild": lambda: whole(store, "merge")}[begun]() if begun else None
    before = store.view
    assert commit(store, U.delete_vector_name("x")) == 5
    assert commit(store, U.delete_vector_name("x")) == 5
    commit(store, upsert([1, 8, 9]))
    expected = without([0, 1, 2, 3, 4, 5, 7, 8, 9])
    assert held(store) == expected
    assert {n for n, vectors in held(before).items() if "x" in vectors} == {0, 1, 2, 3, 4, 7}
    with pytest.raises(UnknownVector, match="x"):
        answer(store.view, CountRequest(filter=HAS_X))
    for step in (lambda: None, lambda: run(store, job), lambda: seal(store)):
        step()
        assert held(store) == expected
        alike(store)
    assert held(before)[7]["x"] == other, "whoever holds an older view is not disturbed"
    assert store.config.names() == ("",)
    assert store.view.births == {}
    seal(store)
    assert all("vectors-1" not in name and "missing" not in name for name in files_of(store))
    run(store, whole(store, "merge"))
    assert held(store) == expected
    alike(store)


def test_points_stay_whose_only_vector_is_taken_away() -> None:
    store = opened(SimulatedStorage())
    commit(store, U.create_sparse_vector("x"), U.upsert_points([Point(1, {"x": S([1], [1])})]))
    commit(store, U.delete_vector_name("x"))
    assert held(store) == {1: {}}
    seal(store)
    assert held(store) == {1: {}}
    alike(store)


OTHER_KINDS = [
    ("dense", U.create_dense_vector("x", 3, Dot), [7.0, 8.0, 9.0]),
    ("dense", U.create_dense_vector("x", 2, Dot, None, D.Float16), [0.5, 1.0]),
    ("dense", U.create_sparse_vector("x"), S([3], [1.0])),
    ("dense", U.create_dense_vector("x", 2, Dot), [8.0, 8.0]),
    ("sparse", U.create_dense_vector("x", 1, Dot), [5.0]),
    ("sparse", U.create_sparse_vector("x", Modifier.Idf), S([9], [1.0])),
    ("many", U.create_dense_vector("x", 2, Dot), [1.0, 1.0]),
    ("many", U.create_dense_vector("x", 9, Dot, SEVERAL), [[1.0] * 9]),
]


@pytest.mark.parametrize(("kind", "anew", "vector"), OTHER_KINDS, ids=range(len(OTHER_KINDS)))
@pytest.mark.parametrize("moments", ["", "b", "d", "a", "ba", "da", "bd", "bda", "R", "bR", "Rd"])
def test_a_name_that_comes_anew_is_another_vector(
    kind: str, anew: UpdateOperation, vector: Any, moments: str
) -> None:
    """Seals before its deletion, after that, and after the points that came anew; R: a rebuild
    that ends between."""
    create, one, _ = KINDS[kind]
    store = opened(SimulatedStorage())

    def moment(name: str, job: Job | None = None) -> None:
        if name in moments:
            seal(store)
        run(store, job)
        alike(store)

    commit(store, create, upsert(range(6), x=one))
    seal(store)
    commit(store, upsert([6, 1]))
    moment("b")
    old, job = store.view, whole(store, "merge") if "R" in moments else None
    commit(store, U.delete_vector_name("x"), upsert([7]))
    moment("d", job)
    sequence = commit(store, anew)
    assert store.view.births == {"x": sequence}
    commit(store, upsert([2, 8], x=vector))
    expected = {**without([0, 1, 3, 4, 5, 6, 7]), **with_x([2, 8], vector)}
    assert held(store) == expected
    moment("a")
    assert held(store) == expected
    seal(store)
    alike(store)
    for reason in ("merge", "vacuum"):
        run(store, whole(store, reason))
        assert held(store) == expected
        alike(store)
    assert held(old) == {**without([1, 6]), **with_x([0, 2, 3, 4, 5], one)}
    again = crashed(store)
    assert held(again) == expected
    again.close()


def test_operations_that_come_after_a_deletion_are_refused() -> None:
    store = opened(SimulatedStorage())
    commit(store, U.create_dense_vector("x", 2, Dot), upsert([1], x=[1, 2]))
    commit(store, U.delete_vector_name("x"))
    for late in (
        upsert([2], x=[1, 2]),
        U.update_vectors([PointVectors(1, {"x": [1, 2]})]),
        U.upsert_arrays([2], {"x": np.ones((1, 2))}),
        U.delete_vectors([1], ["x"]),
        U.delete_points_by_filter(HAS_X),
        U.set_config(ConfigChange(vectors={"x": EdgeVectorParams(2, Dot)})),
    ):
        with pytest.raises(ValidationError, match="x"):
            commit(store, late)
    assert store.sequence == 3
    with pytest.raises(UnknownVector, match="x"):
        answer(store.view, QueryRequest(1, query=Query.Nearest([1, 2], "x")))


ANEW = [
    None,
    U.create_dense_vector("x", 3, Dot),
    U.create_sparse_vector("x"),
    U.create_dense_vector("x", 2, Dot, SEVERAL),
    U.create_dense_vector("x", 2, Dot, None, D.Float16),
]


@pytest.mark.parametrize("anew", ANEW, ids=["none", "size", "sparse", "many", "half"])
def test_what_a_door_checked_before_a_deletion_is_refused(anew: UpdateOperation | None) -> None:
    """Between its check and its turn the name may have become another vector, or none."""
    store = opened(SimulatedStorage())
    commit(store, U.create_dense_vector("x", 2, Dot), upsert([1], x=[1, 2]))
    late = [
        check(operation, store.config)
        for operation in (
            upsert([2], x=[1e5, 2]),
            U.update_vectors([PointVectors(1, {"x": [1e5, 2]})]),
            U.upsert_arrays([2], {"x": np.full((1, 2), 1e5)}),
        )
    ]
    commit(store, U.delete_vector_name("x"), *([anew] if anew else []))
    before, sequence = held(store), store.sequence
    for operation in late:
        (outcome,) = store.commit([Submission(operation)])
        assert isinstance(outcome, CallerError), outcome
    assert held(store) == before
    assert store.sequence == sequence


# -- what is stored, and what a shard is opened with


def test_the_manifest_says_which_names_there_are_and_since_when() -> None:
    store = opened(SimulatedStorage())
    commit(store, upsert([1]), U.create_sparse_vector("s"), U.create_dense_vector("x", 2, Dot))
    first = manifest.load(store.storage)
    assert first is not None
    assert (first.births, decode_config(first.config).names()) == ({}, ("",))
    seal(store)
    second = manifest.load(store.storage)
    assert second is not None
    assert second.births == {"s": 2, "x": 3}
    assert decode_config(second.config) == store.config
    commit(store, U.delete_vector_name("s"))
    seal(store)
    third = manifest.load(store.storage)
    assert third is not None
    assert third.births == {"x": 3}
    assert decode_config(third.config).names() == ("", "x")


@pytest.mark.parametrize("sealed", [False, True])
def test_a_config_of_other_names_is_refused_when_a_shard_is_opened(sealed: bool) -> None:
    """What came later than the shard need not be named; if it is, it has to be what it is."""
    store = opened(SimulatedStorage())
    commit(store, U.create_dense_vector("x", 2, Dot), U.create_sparse_vector("s"))
    commit(store, upsert([1], x=[1, 2], s=S([1], [2])))
    if sealed:
        seal(store)
    now = {"": EdgeVectorParams(4, Dot), "x": EdgeVectorParams(2, Dot)}
    sparse = {"s": EdgeSparseVectorParams()}
    for wrong in (
        config({"x": EdgeVectorParams(2, Dot)}, sparse),
        config({**now, "y": EdgeVectorParams(2, Dot)}, sparse),
        config(now, {**sparse, "t": EdgeSparseVectorParams()}),
        config({"": EdgeVectorParams(4, Dot), "s": EdgeVectorParams(2, Dot)}),
        config({"": EdgeVectorParams(4, Dot)}, {"x": EdgeSparseVectorParams()}),
        config({**now, "x": EdgeVectorParams(3, Dot)}, sparse),
        config({**now, "x": EdgeVectorParams(2, Dot, datatype=D.Uint8)}, sparse),
        config(now, {"s": EdgeSparseVectorParams(modifier=Modifier.Idf)}),
    ):
        with pytest.raises(ValidationError, match="as stored"):
            crashed(store, wrong)
    for right in (None, config(now, sparse), config(), config(now), config(None, sparse)):
        again = crashed(store, right)
        assert held(again) == held(store)
        assert again.config.names() == ("", "x", "s")
        assert again.sequence == store.sequence
        again.close()


def test_a_name_that_was_taken_away_may_not_be_named() -> None:
    two = config({"": EdgeVectorParams(4, Dot), "x": EdgeVectorParams(2, Dot)})
    store = opened(SimulatedStorage(), two)
    commit(store, upsert([1], x=[1, 2]), U.delete_vector_name("x"))
    for _ in range(2):
        with pytest.raises(ValidationError, match="expected names"):
            crashed(store, two)
        assert held(crashed(store, config())) == without([1])
        seal(store)
    commit(store, U.create_dense_vector("x", 3, Dot))
    with pytest.raises(ValidationError, match="expected size 3 as stored, got 2"):
        crashed(store, two)
    assert crashed(store, config()).config.names() == ("", "x"), "it came later now"


# -- settings


def graphs(store: Store) -> list[tuple[int, int] | None]:
    """m and ef_construct of the graph over the default vector in each built segment."""
    found = [view.graph("") for view in store.durable.segments]
    return [graph and (graph.m, graph.ef_construct) for graph in found]


def small_forms(store: Store) -> list[Any]:
    found = [view.quantized("") for view in store.durable.segments]
    return [small and small.config for small in found]


def indexed(store: Store) -> int:
    return info_of(store, store.view, "idle", {}).indexed_vectors_count


INT8 = ScalarQuantizationConfig(ScalarType.Int8)


def large() -> Store:
    """200 points in files, more than what is worth a graph."""
    store = opened(SimulatedStorage(), config(indexing_threshold=1))
    random = np.random.default_rng(1)
    commit(store, U.upsert_arrays(range(200), random.normal(size=(200, 4))))
    seal(store)
    return store


def nearest(store: Store, *, exact: bool = False) -> list[int]:
    params = SearchParams(exact=exact, hnsw_ef=1000)
    hits = answer(store.view, QueryRequest(9, query=Query.Nearest([1, 2, 3, 4]), params=params))
    return [hit.id for hit in hits]


def test_graphs_are_built_anew_as_the_settings_change() -> None:
    store = large()
    assert rebuild(store) == ["index"]
    assert graphs(store) == [(4, 16)]
    files = files_of(store)
    exact = nearest(store, exact=True)
    for m, ef in ((6, 16), (6, 30), (2, 1)):
        before = store.sequence
        change = U.set_config(ConfigChange(HnswIndexConfig(m, ef, 0)))
        assert commit(store, change) == before + 1
        assert commit(store, change) == before + 1, "and what is so already is passed over"
        # the manifest is of older settings until the next seal: durable plans go by those
        seal(store)
        assert rebuild(store) == ["index"]
        assert graphs(store) == [(m, ef)]
        assert rebuild(store) == []
        assert len(files_of(store)) == len(files)
        assert files_of(store) != files, "the older graph's file is gone"
        assert set(nearest(store)) <= set(held(store))
        alike(store)
        assert graphs(crashed(store)) == [(m, ef)]
    assert nearest(store, exact=True) == exact


def test_settings_that_are_not_sealed_yet_are_not_built_for_ever() -> None:
    """A job builds what the newest settings ask for, which the durable view does not know yet."""
    store = large()
    eager = EdgeOptimizersConfig(
        deleted_threshold=0.1, vacuum_min_vector_number=1, indexing_threshold=1
    )
    commit(store, U.delete_points(list(range(50))), U.set_config(ConfigChange(optimizers=eager)))
    seal(store)
    commit(store, U.set_config(ConfigChange(HnswIndexConfig(7, 20, 0))))
    assert rebuild(store) == ["vacuum"]
    assert graphs(store) == [(7, 20)]
    seal(store)
    assert rebuild(store) == []


def test_what_is_no_longer_asked_for_stays_and_does_no_harm() -> None:
    store = large()
    rebuild(store)
    commit(store, U.set_config(ConfigChange(HnswIndexConfig(0, 16, 0))))
    seal(store)
    assert rebuild(store) == []
    assert graphs(store) == [(4, 16)]
    commit(
        store,
        U.set_config(ConfigChange(HNSW, optimizers=EdgeOptimizersConfig(indexing_threshold=9))),
    )
    seal(store)
    assert rebuild(store) == []
    assert nearest(store) == nearest(store, exact=True)


def test_small_forms_come_and_go_as_the_settings_change() -> None:
    store = large()
    rebuild(store)
    exact = nearest(store, exact=True)
    commit(store, U.set_config(ConfigChange(quantization_config=INT8)))
    seal(store)
    assert rebuild(store) == ["index"]
    assert (small_forms(store), graphs(store)) == ([INT8], [(4, 16)])
    alike(store)
    again = crashed(store)
    assert (small_forms(again), graphs(again)) == ([INT8], [(4, 16)])
    assert rebuild(again) == []
    finer = ScalarQuantizationConfig(ScalarType.Int8, 0.95)
    own = EdgeVectorParams(4, Dot, quantization_config=finer)
    commit(store, U.set_config(ConfigChange(vectors={"": own})))
    seal(store)
    assert rebuild(store) == ["index"]
    assert small_forms(store) == [finer]
    none = EdgeVectorParams(4, Dot, quantization_config=NoQuantization())
    commit(store, U.set_config(ConfigChange(vectors=none)))
    seal(store)
    assert rebuild(store) == ["index"]
    assert (small_forms(store), graphs(store)) == ([None], [(4, 16)])
    assert not any("quantized" in name for name in files_of(store))
    assert rebuild(store) == []
    assert nearest(store, exact=True) == exact
    alike(store)


def test_a_small_form_without_a_graph() -> None:
    store = large()
    flat = ConfigChange(HnswIndexConfig(0, 16, 0), INT8)
    commit(store, U.set_config(flat))
    seal(store)
    assert rebuild(store) == ["index"]
    assert (small_forms(store), graphs(store)) == ([INT8], [None])
    assert nearest(store) == nearest(store, exact=True)
    alike(store)
    assert rebuild(store) == []
    assert rebuild(crashed(store)) == []


def test_settings_are_replayed_and_stored() -> None:
    store = opened(SimulatedStorage())
    commit(store, upsert([1]))
    change = ConfigChange(
        HnswIndexConfig(9, 99, 1),
        INT8,
        EdgeOptimizersConfig(default_segment_number=5),
        vectors={"": EdgeVectorParams(4, Dot, hnsw_config=HnswIndexConfig(3, 33, 3))},
    )
    assert commit(store, U.set_config(change)) == 2
    for _ in range(2):
        again = crashed(store)
        assert again.config == store.config
        assert again.settings.hnsw[""].m == 3
        assert again.settings.default_segment_number == 5
        assert again.settings.indexing_threshold == 0, "what was not named stays"
        assert again.settings.quantization == {"": INT8}
        assert again.sequence == 2
        seal(store)
    state = manifest.load(store.storage)
    assert state is not None
    assert decode_config(state.config) == store.config


@pytest.mark.parametrize("sealed", [False, True])
def test_what_a_shard_is_opened_with_counts_more_than_what_was_set(sealed: bool) -> None:
    store = opened(SimulatedStorage())
    commit(store, upsert([1]), U.set_config(ConfigChange(HnswIndexConfig(9, 99, 1), INT8)))
    if sealed:
        seal(store)
    again = crashed(store, config(hnsw=HnswIndexConfig(5, 55, 5)))
    assert again.settings.hnsw[""].m == 5
    assert again.settings.quantization == {"": INT8}, "which it does not name"
    later = crashed(again)
    assert later.config == again.config, "and it is written down, whoever opens it next"
    assert held(later) == held(store)
    same = crashed(later, config(hnsw=HnswIndexConfig(5, 55, 5)))
    assert (same.config, same.sequence) == (later.config, later.sequence), "once"


def test_other_settings_than_the_stored_ones_need_no_operation() -> None:
    store = opened(SimulatedStorage())
    commit(store, upsert([1]))
    again = crashed(store, config(hnsw=HnswIndexConfig(5, 55, 5)))
    assert (again.settings.hnsw[""].m, again.sequence) == (5, 1)
    assert crashed(again).settings.hnsw[""].m == 5


def test_what_is_indexed_is_counted_for_each_kind() -> None:
    store = opened(SimulatedStorage(), config(indexing_threshold=1))
    commit(store, U.create_sparse_vector("s"), U.create_dense_vector("m", 2, Dot, SEVERAL))
    points = [
        Point(
            n, {"": [n, 1, 2, 3], "m": np.full((9, 2), n), **({"s": S([n], [1])} if n % 2 else {})}
        )
        for n in range(100)
    ]
    commit(store, U.upsert_points(points))
    assert indexed(store) == 50, "sparse vectors always are"
    seal(store)
    rebuild(store)
    assert indexed(store) == 250


def test_keys_tell_columns_apart() -> None:
    store = opened(SimulatedStorage())
    commit(store, U.create_dense_vector("x", 2, Dot), upsert([1], x=[1, 2]))
    assert store.view.keys().keys() == {VectorKey("", 0), VectorKey("x", 1)}
    commit(store, U.delete_vector_name("x"), U.create_dense_vector("x", 2, Dot))
    assert store.view.keys().keys() == {VectorKey("", 0), VectorKey("x", 4)}
    assert held(store) == without([1]), "the older vectors do not come back"
