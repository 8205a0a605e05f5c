"""Graphs of payload values in a store: when they are built, and that nothing else is for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge.model.config import ConfigChange, Durability, EdgeConfig, EdgeOptimizersConfig
from edge.model.schema import KeywordIndexParams, PayloadSchemaType
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams, HnswIndexConfig
from edge.segment.immutable import ImmutableSegment
from edge.segment.value_graphs import ValueGraphs
from edge.segment.view import ShardView
from edge.store import optimization
from edge.store.info import info_of
from edge.store.store import Store
from edge.vectors.column import VectorKey
from tests.disk.simulated import SimulatedStorage
from tests.store.test_field_indexes import commit, rebuild, seal

U, K = UpdateOperation, PayloadSchemaType
NAMELESS = VectorKey("")
ROOM, N = U.create_field_index("room", K.Keyword), U.create_field_index("n", K.Integer)


def hnsw(m: int = 4, payload_m: int | None = 4, threshold: int = 0) -> HnswIndexConfig:
    return HnswIndexConfig(m, 16, threshold, payload_m=payload_m)


def config(given: HnswIndexConfig, **optimizers: Any) -> EdgeConfig:
    calm = {
        "deleted_threshold": 1.0,
        "vacuum_min_vector_number": 10**6,
        "default_segment_number": 99,
        "indexing_threshold": 1,
    }
    return EdgeConfig(
        EdgeVectorParams(16, Distance.Euclid),
        hnsw_config=given,
        optimizers=EdgeOptimizersConfig(**{**calm, **optimizers}),
        durability=Durability.Os,
    )


def upsert(first: int, count: int) -> UpdateOperation:
    vectors = np.random.default_rng(first).normal(size=(count, 16)).astype(np.float32)
    payloads = [{"room": ["hall", "bath"][n % 2], "n": n % 4} for n in range(count)]
    return U.upsert_arrays(range(first, first + count), vectors, payloads)


def store_of(given: HnswIndexConfig, *operations: UpdateOperation) -> Store:
    """A store that has carried out these operations and all that was worth doing."""
    store = Store.over(SimulatedStorage(), config(given), existing=None)
    commit(store, *operations)
    seal(store)
    rebuild(store)
    return store


def segment_of(store: Store, place: int = 0) -> ImmutableSegment:
    found = store.durable.segments[place].segment
    assert isinstance(found, ImmutableSegment)
    return found


def values_of(store: Store) -> set[Any]:
    found = segment_of(store).value_graphs.get(NAMELESS)
    return set() if found is None else set(found.graphs)


def is_used(view: ShardView, key: str, value: Any) -> bool:
    segment = view.segments[0]
    made, index = segment.value_graphs(""), segment.index(key)
    return bool(made and index and made.find(key, index, value))


ROOMS = {("room", b"hall"), ("room", b"bath")}
NUMBERS = {("n", n) for n in range(4)}


@pytest.mark.parametrize("m", [0, 4])
def test_they_are_built_with_the_segment_that_is_indexed(m: int) -> None:
    store = store_of(hnsw(m), ROOM, N, upsert(0, 100))
    assert values_of(store) == ROOMS | NUMBERS
    assert (NAMELESS in segment_of(store).graphs) == (m > 0)
    assert rebuild(store) == []
    commit(store, upsert(100, 5))  # not enough to be indexed
    seal(store)
    assert rebuild(store) == []


@pytest.mark.parametrize("m", [0, 4])
def test_a_field_that_is_indexed_later_gets_only_the_graphs_of_its_values(m: int) -> None:
    store = store_of(hnsw(m), ROOM, upsert(0, 100))
    before = segment_of(store)
    assert values_of(store) == ROOMS
    commit(store, N)
    assert rebuild(store) == ["fields", "index"]
    after = segment_of(store)
    assert after.number == before.number
    assert values_of(store) == ROOMS | NUMBERS
    assert after.graphs.get(NAMELESS) is before.graphs.get(NAMELESS)
    same = before.entry.files.keys() - {"values-0"}
    assert {role: after.entry.files[role] for role in same} == {
        role: before.entry.files[role] for role in same
    }
    assert rebuild(store) == []
    seal(store)
    assert rebuild(store) == []


def test_a_view_of_an_older_schema_is_not_answered_by_them() -> None:
    store = store_of(hnsw(), ROOM, upsert(0, 100))
    commit(store, N)
    rebuild(store)
    assert "n" not in store.durable.schema
    assert is_used(store.view, "n", 1)
    assert not is_used(store.durable, "n", 1)
    assert is_used(store.durable, "room", b"hall")
    seal(store)
    assert is_used(store.durable, "n", 1)


def test_those_of_an_index_that_is_gone_are_not_used_and_go_with_the_next_rebuild() -> None:
    store = store_of(hnsw(), ROOM, N, upsert(0, 100))
    commit(store, U.delete_field_index("n"))
    assert rebuild(store) == ["fields"]
    assert not is_used(store.view, "n", 1)
    assert is_used(store.view, "room", b"hall")
    assert values_of(store) == ROOMS | NUMBERS
    commit(store, N)
    assert rebuild(store) == ["fields"], "they are as good as they were"
    assert is_used(store.view, "n", 1)
    commit(store, U.delete_field_index("n"), U.set_config(ConfigChange(hnsw(4, 5))))
    seal(store)
    assert rebuild(store) == ["index", "fields"]
    assert values_of(store) == ROOMS
    assert rebuild(store) == []


def test_an_index_with_other_params_is_another() -> None:
    store = store_of(hnsw(), ROOM, N, upsert(0, 100))
    other = KeywordIndexParams(prefix=True)
    commit(store, U.create_field_index("room", other))
    assert not is_used(store.view, "room", b"hall")
    assert rebuild(store) == ["fields", "index"]
    assert is_used(store.view, "room", b"hall")
    commit(store, U.create_field_index("room", KeywordIndexParams(enable_hnsw=False)))
    assert rebuild(store) == ["fields"]
    assert not is_used(store.view, "room", b"hall")
    assert is_used(store.view, "n", 1)


@pytest.mark.parametrize("m", [0, 4])
def test_settings_are_applied_to_what_is_stored(m: int) -> None:
    store = store_of(hnsw(m, None), ROOM, upsert(0, 100))
    assert values_of(store) == set()
    graph = segment_of(store).graphs.get(NAMELESS)

    def change(given: HnswIndexConfig) -> list[str]:
        commit(store, U.set_config(ConfigChange(given)))
        seal(store)
        reasons = rebuild(store)
        assert rebuild(store) == []
        assert segment_of(store).graphs.get(NAMELESS) is graph
        return reasons

    assert change(hnsw(m, 4)) == ["index"]
    assert values_of(store) == ROOMS
    assert change(hnsw(m, 6)) == ["index"]
    assert made(store).made.m == 6
    assert change(hnsw(m, 6, threshold=4)) == ["index"]
    assert values_of(store) == set(), "3200 bytes each"
    assert change(hnsw(m, 6, threshold=3)) == ["index"]
    assert values_of(store) == ROOMS
    assert change(hnsw(m, 0, threshold=3)) == []
    assert change(hnsw(m, None, threshold=3)) == []
    assert values_of(store) == ROOMS, "what nobody asks for any more stays"


def test_settings_that_are_not_sealed_yet_are_not_built_for_ever() -> None:
    """A job builds what the newest settings ask for, of which the durable view knows nothing."""
    store = store_of(hnsw(), ROOM, upsert(0, 100))
    commit(store, U.set_config(ConfigChange(hnsw(4, 6))), N)
    assert len(rebuild(store)) < 4
    seal(store)
    assert rebuild(store) == []
    assert made(store).made.m == 6


def made(store: Store) -> ValueGraphs:
    return segment_of(store).value_graphs[NAMELESS]


def test_where_nothing_is_large_enough_nothing_is_rebuilt_for_ever() -> None:
    store = store_of(hnsw(0, 4, threshold=100), ROOM, upsert(0, 100))
    assert values_of(store) == set()
    assert rebuild(store) == []
    commit(store, N)
    assert rebuild(store) == ["fields", "index"]
    assert rebuild(store) == []
    assert optimization.tidy(store.durable) is None
    commit(store, U.delete_points(list(range(60))))
    seal(store)
    assert optimization.tidy(store.durable) is not None, "it has nothing that took long to make"


def test_graphs_of_values_took_long_to_make() -> None:
    store = store_of(hnsw(0), ROOM, upsert(0, 100))
    commit(store, U.delete_points(list(range(60))))
    seal(store)
    assert optimization.tidy(store.durable) is None


def test_a_rebuild_makes_them_anew() -> None:
    store = store_of(hnsw(), ROOM, upsert(0, 100))
    settings = EdgeOptimizersConfig(
        deleted_threshold=0.1, vacuum_min_vector_number=1, indexing_threshold=1
    )
    commit(store, U.delete_points(list(range(20))), U.set_config(ConfigChange(optimizers=settings)))
    seal(store)
    assert rebuild(store) == ["vacuum"]
    assert values_of(store) == ROOMS
    assert [len(graph.members) for graph in made(store).graphs.values()] == [40, 40]


def test_points_in_the_graph_of_a_value_are_indexed() -> None:
    store = store_of(hnsw(0), ROOM, N, upsert(0, 100))
    commit(store, U.delete_points(list(range(7))), upsert(100, 5))
    assert info_of(store, store.view, "idle", {}).indexed_vectors_count == 93


def test_they_are_there_again_when_the_shard_is_opened() -> None:
    store = store_of(hnsw(0), ROOM, N, upsert(0, 100))
    again = Store.over(SimulatedStorage(store.storage.image()), None, existing=True)
    assert values_of(again) == ROOMS | NUMBERS
    assert is_used(again.view, "room", b"hall")
    assert rebuild(again) == []
