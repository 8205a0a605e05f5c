"""Names of vectors come and go, and settings change, while the power goes or calls fail.

What loads is what was there after operations 1..k: the vectors of each point, the names, since
when there is each, and the settings; and whatever is left over can be sealed and rebuilt.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any, NamedTuple

import pytest

from edge import (
    ConfigChange,
    Distance,
    Durability,
    EdgeConfig,
    EdgeError,
    EdgeOptimizersConfig,
    EdgeSparseVectorParams,
    EdgeVectorParams,
    HnswIndexConfig,
    MultiVectorComparator,
    MultiVectorConfig,
    Point,
    PointVectors,
    ScrollRequest,
    SparseVector,
    StorageFault,
    UpdateOperation,
    VectorStorageDatatype,
)
from edge.disk import manifest
from edge.disk.storage import Storage
from edge.query.answer import answer
from edge.segment.view import ShardView
from edge.store.optimization import Job, Plan
from edge.store.store import Store, Submission
from tests.crash.driven import loaded
from tests.disk.simulated import FAULTS, FaultyStorage, Image, SimulatedStorage

U, Dot = UpdateOperation, Distance.Dot
SEVERAL = MultiVectorConfig(MultiVectorComparator.MaxSim)
CONFIG = EdgeConfig(
    {
        "": EdgeVectorParams(2, Dot, datatype=VectorStorageDatatype.Float16),
        "m": EdgeVectorParams(2, Dot, multivector_config=SEVERAL),
    },
    {"s": EdgeSparseVectorParams()},
    hnsw_config=HnswIndexConfig(4, 16, 0),
    optimizers=EdgeOptimizersConfig(indexing_threshold=0, default_segment_number=99),
    durability=Durability.Always,
)


def points(first: int, stop: int, **more: Any) -> UpdateOperation:
    """With the vectors that the shard was made with, and others; None: without."""

    def vectors(n: int) -> dict[str, Any]:
        made = {"": [n, 1], "m": [[n, 2]] * (1 + n % 3), "s": SparseVector([n], [1]), **more}
        return {name: vector for name, vector in made.items() if vector is not None}

    return U.upsert_points([Point(n, vectors(n)) for n in range(first, stop)])


def commit(operation: UpdateOperation) -> Callable[[Store], None]:
    def act(store: Store) -> None:
        (outcome,) = store.commit([Submission(operation)])
        if isinstance(outcome, EdgeError):
            raise outcome

    return act


def run(store: Store, job: Job | None) -> None:
    if job is not None:
        store.finish(job, job.run(store.storage, lambda share: None))


def seal(store: Store) -> None:
    run(store, store.seal())


def merge(store: Store) -> None:
    numbers = frozenset(view.segment.number for view in store.durable.segments)
    if numbers:
        run(store, store.start(Plan("merge", numbers)))


SCENE: list[Callable[[Store], None]] = [
    commit(points(0, 4)),
    seal,
    commit(U.create_dense_vector("x", 2, Dot)),
    commit(points(3, 6, x=[1, 2])),
    merge,
    seal,
    commit(U.delete_vector_name("m")),
    commit(U.create_sparse_vector("y")),
    commit(U.update_vectors([PointVectors(5, {"y": SparseVector([7], [2])})])),
    merge,
    commit(U.delete_vector_name("x")),
    commit(U.create_dense_vector("x", 3, Dot, SEVERAL)),
    commit(points(5, 7, m=None, x=[[1, 2, 3], [4, 5, 6]])),
    seal,
    commit(U.set_config(ConfigChange(HnswIndexConfig(5, 16, 0)))),
    commit(U.delete_vector_name("s")),
    merge,
    seal,
    merge,
]


def shown(view: ShardView) -> Any:
    """All of which there may be an older or a newer state."""
    records, _ = answer(view, ScrollRequest(limit=1000, with_payload=False, with_vector=True))
    config = view.config
    return (
        [(record.id, record.vector) for record in records],
        (config.vectors, config.sparse_vectors, config.hnsw_config),
        dict(view.births),
    )


class Played(NamedTuple):
    """What there was after each operation, and how far the scene's steps had come."""

    states: list[Any]
    sequences: list[int]


@cache
def played() -> Played:
    store = Store.over(SimulatedStorage(), CONFIG, existing=False)
    states, sequences = [shown(store.view)], []
    for step in SCENE:
        step(store)
        sequences.append(store.sequence)
        if store.sequence == len(states):
            states.append(shown(store.view))
    assert store.sequence == len(states) - 1 == 11
    assert store.config.names() == ("", "x", "y")
    return Played(states, sequences)


def check(image: Image, durable: int, *, goes_on: bool) -> int:
    """What loads is one of the states, none older than the last durable one."""
    store = loaded(image)
    sequence = store.sequence
    assert sequence >= durable, "a durable operation is lost"
    state = played().states[sequence]
    assert shown(store.view) == state
    if goes_on:
        for step in (seal, merge):
            step(store)
            assert shown(store.view) == state
            storage: Storage = store.storage
            assert isinstance(storage, SimulatedStorage)
            assert manifest.orphans(storage, manifest.load(storage)) == []
            assert shown(loaded(storage.image()).view) == state
    return sequence


def test_the_power_goes_after_any_call() -> None:
    storage, random = SimulatedStorage(), Random(5)
    store = Store.over(storage, CONFIG, existing=False)
    seen: set[int] = set()
    durable = [0]
    loaded_states: set[int] = set()

    def cut(call: str) -> None:
        for image in storage.power_cuts(random, 3):
            key = hash((frozenset(image.items()), durable[0]))
            if key not in seen:
                seen.add(key)
                loaded_states.add(check(image, durable[0], goes_on=len(seen) % 5 == 0))

    storage.after_call = cut
    for step, sequence in zip(SCENE, played().sequences, strict=True):
        step(store)
        durable[0] = sequence
        cut("at rest")
    storage.after_call = None
    assert len(seen) > 300
    assert loaded_states == set(range(len(played().states)))


@pytest.mark.parametrize("fault", FAULTS)
def test_any_call_fails(fault: str) -> None:
    """What the step that failed leaves is the state before it or, where that is not known, after
    it; and where the shard takes writes it goes on."""
    struck = 0
    for nth in range(1 + list(FAULTS).index(fault), 2000, 5):
        inner = SimulatedStorage()
        disk = FaultyStorage(inner, fault, nth, forever=False)
        store = Store.over(inner, CONFIG, existing=False)
        store._files.storage = store._wal._storage = disk  # type: ignore[assignment]
        step_of = -1
        try:
            for step_of, step in enumerate(SCENE):  # noqa: B007
                step(store)
        except StorageFault:
            struck += 1
        if not disk.struck:
            break
        before = played().sequences[step_of - 1] if step_of else 0
        after = played().sequences[step_of]
        assert store.sequence in (before, after)
        assert shown(store.view) == played().states[store.sequence]
        assert check(inner.image(), before, goes_on=nth % 2 == 0) in (before, after)
        if store.read_only is None:
            for step in (seal, merge, seal):
                step(store)
            assert check(inner.image(), store.sequence, goes_on=True) == store.sequence
    assert struck > 20
    assert not disk.struck
