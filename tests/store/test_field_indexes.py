"""Field indexes of a store: logged, replayed, named by manifests, and kept by every rebuild."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.disk import manifest
from edge.errors import EdgeError
from edge.model.choice import Memory
from edge.model.config import Durability, EdgeConfig, EdgeOptimizersConfig
from edge.model.filter import (
    FieldCondition,
    Filter,
    MatchText,
    MatchValue,
    RangeDateTime,
    RangeFloat,
)
from edge.model.query import OrderBy
from edge.model.request import CountRequest, FacetRequest, QueryRequest, ScrollRequest
from edge.model.schema import (
    IntegerIndexParams,
    KeywordIndexParams,
    PayloadIndexInfo,
    PayloadSchemaType,
    TextIndexParams,
    decode_schema,
    indexed_field,
)
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams, HnswIndexConfig
from edge.query.answer import answer
from edge.segment.immutable import ImmutableSegment
from edge.store.info import info_of
from edge.store.optimization import Plan
from edge.store.store import Store, Submission
from tests.disk.simulated import SimulatedStorage

U, K = UpdateOperation, PayloadSchemaType
CALM = {
    "deleted_threshold": 1.0, "vacuum_min_vector_number": 10**6, "default_segment_number": 99,
    "indexing_threshold": 0,
}  # fmt: skip


def config(**optimizers: Any) -> EdgeConfig:
    return EdgeConfig(
        EdgeVectorParams(16, Distance.Dot),
        hnsw_config=HnswIndexConfig(4, 16, 0),
        optimizers=EdgeOptimizersConfig(**{**CALM, **optimizers}),
        durability=Durability.Os,
    )


def opened(storage: SimulatedStorage, given_config: EdgeConfig | None = None) -> Store:
    return Store.over(storage, given_config or config(), existing=None)


def crashed(storage: SimulatedStorage, given_config: EdgeConfig | None = None) -> Store:
    """The store that whoever opens the folder as it is now has."""
    return opened(SimulatedStorage(storage.image()), given_config)


def payload(number: int) -> dict[str, Any]:
    return {"room": ["hall", "bath"][number % 2], "n": number, "note": f"mug {number % 4}"}


def upsert(numbers: Any) -> UpdateOperation:
    ids = list(numbers)
    return U.upsert_arrays(ids, np.ones((len(ids), 16)), [payload(n) for n in ids])


def commit(store: Store, *operations: UpdateOperation) -> int:
    sequence = store.sequence
    for operation in operations:
        (outcome,) = store.commit([Submission(operation)])
        if isinstance(outcome, EdgeError):
            raise outcome
        sequence = outcome
    return sequence


def run(store: Store, job: Any) -> None:
    if job is not None:
        store.finish(job, job.run(store.storage, lambda done: None))


def seal(store: Store) -> None:
    run(store, store.seal())


def rebuild(store: Store) -> list[str]:
    """Carry out all plans; the reasons in their order."""
    reasons: list[str] = []
    while (plan := store.plan(durable=True)) is not None:
        reasons.append(plan.reason)
        assert len(reasons) < 20
        run(store, store.start(plan))
    return reasons


IN_HALL = Filter(must=[FieldCondition("room", match=MatchValue("hall"))])
QUESTIONS: list[Any] = [
    CountRequest(filter=IN_HALL),
    CountRequest(filter=Filter(must=[FieldCondition("n", range=RangeFloat(gte=10, lt=30))])),
    CountRequest(filter=Filter(must=[FieldCondition("note", match=MatchText("MUG 3"))])),
    FacetRequest("room", exact=True),
    QueryRequest(1000, query=OrderBy("n")),
]


def answers(store: Store) -> list[Any]:
    *found, order = [answer(store.view, question) for question in QUESTIONS]
    return [*found, [(hit.id, hit.order_value) for hit in order]]


def plain(numbers: Any) -> list[Any]:
    """What these points answer where there never was an index."""
    store = opened(SimulatedStorage())
    commit(store, upsert(numbers))
    return answers(store)


def is_indexed(store: Store) -> bool:
    """Whether each built segment has just what the newest schema asks for."""
    return all(
        part.segment.is_indexed_by(store.view.schema)
        for part in store.durable.segments
        if part.watermark
    )


def named(storage: SimulatedStorage) -> set[str]:
    state = manifest.load(storage)
    assert state is not None
    return {file.name for file in state.files()}


def field_files(storage: SimulatedStorage) -> list[str]:
    return [name for name in storage.image() if "/field-" in name]


# -- the log


def test_an_index_is_logged_once() -> None:
    storage = SimulatedStorage()
    store = opened(storage)
    assert commit(store, U.create_field_index("room", K.Keyword)) == 1
    bytes_before = store.sizes()
    assert commit(store, U.create_field_index("room", K.Keyword)) == 1
    assert commit(store, U.create_field_index('"room"', KeywordIndexParams())) == 1, "the same"
    assert commit(store, U.delete_field_index("n")) == 1
    assert store.sizes() == bytes_before
    assert commit(store, U.create_field_index("room", KeywordIndexParams(prefix=True))) == 2
    assert commit(store, U.create_field_index("n", K.Integer)) == 3
    assert commit(store, U.delete_field_index("room")) == 4
    assert commit(store, U.delete_field_index("room")) == 4
    again = crashed(storage)
    assert again.sequence == 4
    assert dict(again.view.schema) == {"n": indexed_field(K.Integer)}


def test_a_plain_index_is_not_asked_for_with_params_again() -> None:
    """What `info()` tells of it stays as it was asked for first."""
    store = opened(SimulatedStorage())
    commit(store, U.create_field_index("n", K.Integer))
    commit(store, U.create_field_index("n", IntegerIndexParams()))
    assert store.view.schema["n"].plain


def test_the_log_alone_brings_an_index_back() -> None:
    storage = SimulatedStorage()
    store = opened(storage)
    commit(store, upsert(range(20)), U.create_field_index("room", K.Keyword), upsert(range(20, 40)))
    state = manifest.load(storage)
    assert state is not None
    assert state.schema == b""
    again = crashed(storage)
    assert again.view.schema == store.view.schema
    index = again.view.segments[-1].index("room")
    assert index is not None
    assert index.covered == 40
    assert answers(again) == answers(store) == plain(range(40))


def test_a_manifest_has_the_schema_of_its_sequence() -> None:
    storage = SimulatedStorage()
    store = opened(storage)
    commit(store, U.create_field_index("room", K.Keyword), upsert(range(40)))
    job = store.seal()
    commit(store, U.delete_field_index("room"), U.create_field_index("n", K.Integer))
    run(store, job)
    state = manifest.load(storage)
    assert state is not None
    assert state.sequence == 2
    assert decode_schema(state.schema).keys() == {"room"}
    assert store.view.schema.keys() == {"n"}
    for one in (store, crashed(storage)):
        assert one.durable.schema.keys() == {"room"}
        assert one.view.schema.keys() == {"n"}
        assert answers(one) == plain(range(40))
        assert rebuild(one) == ["fields"]
        assert is_indexed(one)
        assert answers(one) == plain(range(40))


def test_a_schema_that_becomes_empty_is_none_in_the_manifest() -> None:
    storage = SimulatedStorage()
    store = opened(storage)
    commit(store, U.create_field_index("room", K.Keyword), upsert(range(9)))
    seal(store)
    commit(store, U.delete_field_index("room"))
    seal(store)
    rebuild(store)
    state = manifest.load(storage)
    assert state is not None
    assert (state.schema, field_files(storage)) == (b"", [])
    assert crashed(storage).view.schema == {}


def test_moments_beyond_what_an_index_holds_do_no_harm() -> None:
    """They would not fit in 64 bits; the log that holds one has to be replayed."""
    storage = SimulatedStorage()
    store = opened(storage)
    commit(store, U.create_field_index("at", K.Datetime))
    far = [f"{year}-01-01" for year in ("+262000", "+200000", "2024", "-200000", "-262000")]
    ids = list(range(5))
    commit(store, U.upsert_arrays(ids, np.ones((5, 16)), [{"at": each} for each in far]))
    late = Filter(must=[FieldCondition("at", range=RangeDateTime(gte="+210000-01-01"))])
    later = Filter(must=[FieldCondition("at", range=RangeDateTime(gt="2024-01-01"))])
    for sealed in (False, True):
        if sealed:
            seal(store)
        for one in (store, crashed(storage)):
            assert answer(one.view, CountRequest(filter=late)) == 1
            assert answer(one.view, CountRequest(filter=later)) == 2
            order = answer(one.view, ScrollRequest(order_by="at"))[0]
            assert [record.id for record in order] == [4, 3, 2, 1, 0]


def test_filters_of_logged_operations_mean_what_they_meant() -> None:
    """A text index changes what a word is, so that a replay has to know it at each operation."""
    storage = SimulatedStorage()
    exact = TextIndexParams(lowercase=False)
    gone = U.delete_points_by_filter(Filter(must=[FieldCondition("t", match=MatchText("Mug"))]))
    texts = ["Mug", "mug", "MUG", "cup"]
    operations = [
        U.upsert_arrays(range(4), np.ones((4, 16)), [{"t": text} for text in texts]),
        U.create_field_index("t", exact),
        gone,
        U.delete_field_index("t"),
        gone,
    ]
    for sealed_after in range(len(operations) + 1):
        storage = SimulatedStorage()
        store = opened(storage)
        for place, operation in enumerate(operations):
            commit(store, operation)
            if place == sealed_after:
                seal(store)
            expected = [4, 4, 3, 3, 1][place]
            assert answer(store.view, CountRequest()) == expected
            assert answer(crashed(storage).view, CountRequest()) == expected


# -- rebuilds


def two_segments(given_config: EdgeConfig | None = None) -> tuple[SimulatedStorage, Store]:
    """Segments of 40 and 30 points, a tail of 10; no index yet."""
    storage = SimulatedStorage()
    store = opened(storage, given_config)
    commit(store, upsert(range(40)))
    seal(store)
    commit(store, upsert(range(40, 70)))
    seal(store)
    commit(store, upsert(range(70, 80)))
    return storage, store


CREATE = [
    U.create_field_index("room", K.Keyword),
    U.create_field_index("n", IntegerIndexParams(memory=Memory.Cold)),
    U.create_field_index("note", TextIndexParams(scoring=True)),
]


def test_the_plan_of_fields_goes_segment_by_segment() -> None:
    storage, store = two_segments()
    assert store.plan(durable=True) is None
    commit(store, *CREATE)
    numbers = [part.segment.number for part in store.durable.segments]
    for number in numbers:
        found = store.plan_fields(durable=True)
        assert found == Plan("fields", frozenset({number})) == store.plan(durable=True)
        before = named(storage)
        run(store, store.start(found))
        assert len(named(storage) - before) == 3
        assert answers(store) == plain(range(80))
        assert answers(crashed(storage)) == plain(range(80))
    assert store.plan_fields(durable=True) is None
    assert is_indexed(store)
    assert [part.segment.number for part in store.durable.segments] == numbers
    assert len(field_files(storage)) == 6
    commit(store, U.delete_field_index("room"), U.delete_field_index("n"))
    assert rebuild(store) == ["fields", "fields"]
    assert len(field_files(storage)) == 2
    assert set(field_files(storage)) <= named(storage)
    assert answers(crashed(storage)) == answers(store) == plain(range(80))


def test_a_tail_that_is_behind_is_planned_until_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.segment.appendable.BACKLOG_A_STEP", 5)
    store = opened(SimulatedStorage())
    commit(store, upsert(range(40)))
    assert store.plan_fields(durable=False) is None
    commit(store, CREATE[0])
    tail = store.view.segments[-1].segment.number
    assert store.plan_fields(durable=False) == Plan("fields", frozenset({tail}))
    assert store.plan_fields(durable=True) is None, "nothing of it is durable yet"
    seal(store)
    assert store.plan_fields(durable=False) is store.plan_fields(durable=True) is None
    assert is_indexed(store)
    assert answers(store) == plain(range(40))


def test_writes_during_a_build_of_fields_are_not_lost() -> None:
    storage, store = two_segments()
    commit(store, *CREATE)
    plan = store.plan_fields(durable=True)
    assert plan is not None
    job = store.start(plan)
    built = job.run(store.storage, lambda done: None)
    commit(store, U.delete_points([1, 45, 75]), upsert([2, 90]), U.delete_field_index("n"))
    left = [n for n in [*range(80), 90] if n not in (1, 45, 75)]
    store.finish(job, built)
    for one in (store, crashed(storage)):
        assert answers(one) == plain(left)
        rebuild(one)
        assert is_indexed(one)
        assert one.view.schema.keys() == {"room", "note"}
        assert answers(one) == plain(left)


@pytest.mark.parametrize(
    ("reason", "rules"),
    [
        ("merge", {"default_segment_number": 1}),
        ("index", {"indexing_threshold": 1}),
        ("vacuum", {"deleted_threshold": 0.1, "vacuum_min_vector_number": 1}),
    ],
)
@pytest.mark.parametrize("first", ["index", "rebuild"])
def test_indexes_survive_every_rebuild(reason: str, rules: dict[str, Any], first: str) -> None:
    storage, store = two_segments()
    dead = U.delete_points(list(range(0, 40, 3)))
    left = [n for n in range(80) if n % 3 or n >= 40]
    commit(store, *CREATE, dead)
    seal(store)
    if first == "index":
        assert set(rebuild(store)) == {"fields"}
    store.close()
    lively = config(**rules)
    store = opened(storage, lively)
    reasons = rebuild(store)
    assert reasons[0] == reason
    assert is_indexed(store)
    for part in store.durable.segments:
        assert isinstance(part.segment, ImmutableSegment)
        assert part.segment.fields.keys() == {"room", "n", "note"}
    assert set(field_files(storage)) <= named(storage)
    for one in (store, crashed(storage, lively)):
        assert answers(one) == plain(left)
        assert rebuild(one) == []
    commit(store, U.delete_field_index("note"))
    rebuild(store)
    assert is_indexed(store)
    assert answers(crashed(storage, lively)) == answers(store) == plain(left)


def test_a_damaged_index_is_made_anew_by_the_next_optimization() -> None:
    storage, store = two_segments()
    commit(store, *CREATE)
    seal(store)
    rebuild(store)
    image = storage.image()
    for name in field_files(storage)[::2]:
        data = bytearray(image[name] or b"")
        data[len(data) // 2] ^= 1
        image[name] = bytes(data)
    broken = SimulatedStorage(image)
    again = opened(broken)
    assert not is_indexed(again)
    assert answers(again) == plain(range(80))
    assert set(rebuild(again)) == {"fields"}
    assert is_indexed(again)
    again.close()
    healed = opened(broken)
    assert is_indexed(healed)
    assert set(field_files(broken)) <= named(broken)
    assert answers(healed) == plain(range(80))


# -- any history

STEPS: dict[str, Callable[[Store], object]] = {
    "create": lambda store: commit(store, *CREATE),
    "create other": lambda store: commit(
        store, U.create_field_index("room", KeywordIndexParams(is_tenant=True, on_disk=True))
    ),
    "drop": lambda store: commit(store, U.delete_field_index("room"), U.delete_field_index("n")),
    "seal": seal,
    "rebuild": rebuild,
}
LIVELY = config(default_segment_number=2, vacuum_min_vector_number=1, deleted_threshold=0.4)
steps = st.lists(
    st.sampled_from([*STEPS, "restart", "crash"])
    | st.tuples(st.sampled_from(["put", "delete", "set"]), st.integers(0, 30), st.integers(1, 12)),
    max_size=10,
)


@given(steps)
@settings(max_examples=2 * settings.default.max_examples)
def test_no_history_of_indexes_changes_an_answer(history: list[Any]) -> None:
    storage = SimulatedStorage()
    store, bare = opened(storage, LIVELY), opened(SimulatedStorage(), LIVELY)
    for step in history:
        if step == "crash":
            storage = SimulatedStorage(storage.image())
            store = opened(storage, LIVELY)
        elif step == "restart":
            store.close()
            store = opened(storage, LIVELY)
        elif isinstance(step, str):
            STEPS[step](store)
        else:
            kind, first, count = step
            operation = {
                "put": upsert(range(first, first + count)),
                "delete": U.delete_points(list(range(first, first + count))),
                "set": U.set_payload_by_filter(IN_HALL, {"n": first}),
            }[kind]
            commit(store, operation)
            commit(bare, operation)
        assert answers(store) == answers(bare)
    seal(store)
    rebuild(store)
    assert is_indexed(store)
    assert answers(store) == answers(bare)
    assert set(field_files(storage)) <= named(storage)


# -- info


def told(store: Store) -> dict[str, PayloadIndexInfo]:
    return info_of(store, store.view, "idle", {}).payload_schema


def test_info_tells_of_every_index() -> None:
    storage, store = two_segments()
    assert told(store) == {}
    cold = IntegerIndexParams(memory=Memory.Cold)
    commit(store, *CREATE[:2], U.create_field_index("zz.zz", K.Geo))
    assert told(store) == {
        "room": PayloadIndexInfo(K.Keyword, None, 10),
        "n": PayloadIndexInfo(K.Integer, cold, 10),
        "zz.zz": PayloadIndexInfo(K.Geo, None, 0),
    }, "what is not built yet does not count"
    rebuild(store)
    assert told(store)["room"].points == told(store)["n"].points == 80
    commit(
        store,
        U.delete_points([0, 45, 79]),
        U.delete_payload([1, 50], ["room"]),
        U.set_payload([2], {"n": 0.5}),
    )
    for one in (store, crashed(storage)):
        if one is not store:
            rebuild(one)
        assert (told(one)["room"].points, told(one)["n"].points) == (75, 76)
    commit(store, U.delete_field_index("room"))
    assert told(store).keys() == {"n", "zz.zz"}
