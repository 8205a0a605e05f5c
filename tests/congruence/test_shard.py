"""A shard of ours and one of qdrant_edge, told the same, answer the same.

The deliberate differences are tests of their own, at the end; each shows both behaviours.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import qdrant_edge
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.blocking import EdgeShard
from edge.errors import (
    AlreadyExists,
    EdgeError,
    LimitExceeded,
    NotFound,
    ShardClosed,
    ShardLocked,
    UnknownVector,
    ValidationError,
    WrongDimension,
)
from edge.model.config import Durability, EdgeConfig, EdgeOptimizersConfig
from edge.model.filter import FieldCondition, Filter, HasIdCondition, MatchValue
from edge.model.point import Point, PointVectors
from edge.model.query import Query, SearchParams
from edge.model.request import (
    CountRequest,
    PayloadSelector,
    QueryBatchRequest,
    QueryRequest,
    ScrollRequest,
    SearchRequest,
)
from edge.model.update import UpdateMode, UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams, HnswIndexConfig
from tests.congruence.engines import Pair, shown, theirs
from tests.model_based import drawing
from tests.model_based.drawing import (
    DIMENSIONS,
    NAMES,
    any_ids,
    few_filters,
    filters,
    id_targets,
    ids,
    maybe_filters,
    nested_keys,
    patches,
    removed_keys,
    seeds,
    targets,
)
from tests.model_based.plain_model import DISTANCES, Asked

FEW = settings(
    max_examples=settings().max_examples // 2,  # each of some thirty operations
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
        HealthCheck.large_base_example,
    ],
)

CONFIG = EdgeConfig(
    vectors={
        name: EdgeVectorParams(size=size, distance=DISTANCES[name])
        for name, size in DIMENSIONS.items()
    },
    hnsw_config=HnswIndexConfig(m=8, ef_construct=64, full_scan_threshold=1),
    optimizers=EdgeOptimizersConfig(
        deleted_threshold=0.1,
        vacuum_min_vector_number=8,
        default_segment_number=1,
        indexing_threshold=1,
    ),
    durability=Durability.Os,  # no thread that outlives a test
    checkpoint_bytes=20_000,
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    made = Pair(tmp_path_factory.mktemp("shards"), CONFIG)
    yield made
    made.close()


# Any operations, then any questions.


class Step:
    """One thing to do to both; what it is about may depend on which points are there."""

    def __init__(self, kind: str, *arguments: Any) -> None:
        self.kind = kind
        self.arguments = arguments

    def __repr__(self) -> str:
        return f"{self.kind}{self.arguments}"

    def do(self, pair: Pair) -> None:
        if self.kind in ("optimize", "restart"):
            getattr(pair, self.kind)()
        else:
            pair.update(OPERATIONS[self.kind](pair, *self.arguments))


def there(pair: Pair, ids: list[Any]) -> list[Any]:
    """Those of the ids that have a point: Qdrant carries out half of what names a missing one."""
    return [record.id for record in pair.ours.retrieve(ids, False, False)]


def _upsert(pair: Pair, points: list[Any], mode: UpdateMode, asked: Asked | None) -> Any:
    made = [Point(*point) for point in points]
    return UpdateOperation.upsert_points(made, asked and asked.filter, mode)


def _update_vectors(pair: Pair, changes: list[Any], asked: Asked | None) -> Any:
    known = there(pair, [point_id for point_id, _ in changes])
    made = [PointVectors(*change) for change in changes if change[0] in known]
    return UpdateOperation.update_vectors(made, asked and asked.filter)


def _delete_points(pair: Pair, whom: Any) -> Any:
    if isinstance(whom, Asked):
        return UpdateOperation.delete_points_by_filter(whom.filter)
    return UpdateOperation.delete_points(whom)


def _on(kind: str) -> Any:
    def make(pair: Pair, whom: Any, *arguments: Any) -> Any:
        if isinstance(whom, Asked):
            return getattr(UpdateOperation, f"{kind}_by_filter")(whom.filter, *arguments)
        return getattr(UpdateOperation, kind)(there(pair, whom), *arguments)

    return make


OPERATIONS: dict[str, Any] = {
    "upsert": _upsert,
    "update_vectors": _update_vectors,
    "delete_points": _delete_points,
    **{
        kind: _on(kind)
        for kind in (
            "delete_vectors",
            "set_payload",
            "overwrite_payload",
            "delete_payload",
            "clear_payload",
        )
    },
}

points = st.lists(
    st.tuples(ids, drawing.vectors(), st.none() | drawing.payloads()), min_size=1, max_size=8
)
bulk = st.builds(
    lambda first, count, seed: [
        (i, {name: drawing.vector(name, seed + i % 7) for name in NAMES}, {"n": i % 6})
        for i in range(first, first + count)
    ],
    st.integers(100, 120),
    st.integers(20, 60),
    seeds,
)
changes = st.lists(st.tuples(any_ids, drawing.vectors()), min_size=1, max_size=4)
few_names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3)
modes = st.sampled_from([UpdateMode.Upsert, UpdateMode.Upsert, *UpdateMode])


def step(kind: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.builds(Step, st.just(kind), *arguments)


edits = st.one_of(
    step("upsert", points, modes, maybe_filters),
    step("upsert", bulk, modes, st.none()),
    step("update_vectors", changes, maybe_filters),
    step("delete_points", id_targets),
    step("delete_vectors", targets, few_names),
    step("set_payload", targets, patches, nested_keys),
    step("overwrite_payload", targets, patches),
    step("delete_payload", targets, removed_keys),
    step("clear_payload", few_filters),
)
steps = st.one_of(
    st.lists(edits, min_size=4, max_size=10),
    st.lists(edits, min_size=4, max_size=10),
    step("delete_points", few_filters).map(lambda one: [one]),
    step("optimize").map(lambda one: [one]),
    step("restart").map(lambda one: [one]),
)
sequences = st.builds(
    lambda first, more: [first, *(one for some in more for one in some)],
    step("upsert", bulk, st.just(UpdateMode.Upsert), st.none()),
    st.lists(steps, min_size=4, max_size=8),
)

asked_filters = st.one_of(st.none(), st.none(), filters.map(lambda asked: asked.filter))
limits = st.sampled_from([10, 30, 3, 1, 0])
offsets = st.sampled_from([None, 0, 1, 5, 40])
selectors = st.one_of(
    st.none(),
    st.booleans(),
    st.lists(st.sampled_from(["n", "deep.x", "list[].a", "nowhere"]), max_size=3),
    st.builds(PayloadSelector.Include, st.lists(st.sampled_from(["n", "deep", "list[]"]))),
    st.builds(PayloadSelector.Exclude, st.lists(st.sampled_from(["n", "deep.x", "list[].a"]))),
)
vector_selectors = st.one_of(
    st.none(), st.booleans(), st.lists(st.sampled_from(NAMES), unique=True, max_size=3)
)
nearest = st.builds(
    lambda name, seed: Query.Nearest(drawing.vector(name, seed), name or None),
    st.sampled_from(NAMES),
    seeds,
)
# No score of such small numbers lies within rounding of one of these.
thresholds = st.sampled_from([None, None, None, -2.512345, 0.312345, 3.012345])
requests = st.one_of(
    st.builds(
        QueryRequest,
        limits,
        offsets,
        st.none() | nearest,
        with_vector=vector_selectors,
        with_payload=selectors,
        filter=asked_filters,
        score_threshold=thresholds,
        params=st.just(SearchParams(exact=True)),
    ),
    st.builds(
        SearchRequest,
        nearest,
        limits,
        offsets,
        filter=asked_filters,
        params=st.just(SearchParams(exact=True)),
        with_vector=vector_selectors,
        with_payload=selectors,
        score_threshold=thresholds,
    ),
    st.builds(
        ScrollRequest,
        st.none() | any_ids,
        st.none() | limits,
        asked_filters,
        selectors,
        vector_selectors,
    ),
    st.builds(CountRequest, filter=asked_filters),
)


def ask(pair: Pair, request: Any) -> None:
    if isinstance(request, ScrollRequest):
        pair.compare_scroll(request)
    elif isinstance(request, CountRequest):
        pair.compare_count(request)
    else:
        pair.compare_query(request)


@FEW
@given(
    todo=sequences,
    asked=st.lists(requests, min_size=15, max_size=25),
    wanted=st.lists(any_ids, min_size=3, max_size=12),
    payload=selectors,
    vector=vector_selectors,
)
def test_any_operations_and_any_questions(
    pair: Pair, todo: list[Step], asked: list[Any], wanted: list[Any], payload: Any, vector: Any
) -> None:
    pair.clear()
    for step in todo:
        step.do(pair)
        pair.compare()
    for request in asked:
        ask(pair, request)
    # qdrant_edge cannot leave out these two arguments of retrieve
    pair.compare_retrieve(
        wanted, True if payload is None else payload, False if vector is None else vector
    )


# What is there, and what is not: one case at a time.

PLAIN = EdgeConfig(
    vectors={
        "": EdgeVectorParams(size=2, distance=Distance.Cosine),
        "d": EdgeVectorParams(size=2, distance=Distance.Dot),
    },
    durability=Durability.Os,
)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    made = Pair(tmp_path_factory.mktemp("plain"), PLAIN)
    yield made
    made.close()


@pytest.fixture
def small(plain: Pair) -> Pair:
    """A point with everything, one without payload, without one vector, without any."""
    plain.clear()
    plain.update(
        upsert(
            Point(1, {"": [3.0, 4.0], "d": [3.0, 4.0]}, {"a": 1, "b": None, "c": {"x": [True]}}),
            Point(2, {"": [1.0, 0.0], "d": [1.0, 0.0]}),
            Point(3, [0.0, 2.0], {}),
            Point(4, {"d": [-1.0, 5.0]}, {"a": 2.0}),
            Point(5, {}, {"a": "x"}),
        )
    )
    return plain


def upsert(*points: Point) -> UpdateOperation:
    return UpdateOperation.upsert_points(points)


def test_cosine_vectors_come_back_normalised(small: Pair) -> None:
    small.compare_retrieve([1], False, True)
    [record] = small.ours.retrieve([1], False, True)
    assert isinstance(record.vector, dict)
    assert record.vector[""] == pytest.approx([0.6, 0.8], abs=1e-6)


def test_absent_payloads_are_empty_and_absent_vectors_are_left_out(small: Pair) -> None:
    small.compare_retrieve([5, 4, 3, 2, 1], True, True)
    records = {record.id: record for record in small.ours.retrieve([2, 3, 5], True, True)}
    assert records[2].payload == {}
    assert isinstance(records[3].vector, list)
    assert records[5].vector == {}


@pytest.mark.parametrize("vector", [False, True, [], [""], ["d"], ["d", ""]], ids=repr)
@pytest.mark.parametrize(
    "payload",
    [False, True, [], ["a"], ["c.x"], PayloadSelector.Exclude(["a"]), PayloadSelector.Include([])],
    ids=repr,
)
def test_selectors(small: Pair, payload: Any, vector: Any) -> None:
    small.compare_retrieve([3, 1, 1, 99, 5, 3], payload, vector)
    small.compare_scroll(ScrollRequest(None, 4, None, payload, vector))
    small.compare_query(
        QueryRequest(9, query=Query.Nearest([1.0, 1.0]), with_payload=payload, with_vector=vector)
    )


def test_points_without_the_searched_vector_are_not_found(small: Pair) -> None:
    for name in ("", "d"):
        small.compare_query(QueryRequest(9, query=Query.Nearest([1.0, 1.0], name)))
    assert len(small.ours.query(QueryRequest(9, query=Query.Nearest([1.0, 1.0])))) == 3


@pytest.mark.parametrize("limit", [None, 0, 1, 5, 9])
@pytest.mark.parametrize("offset", [None, 1, 3, 9, 2**64 - 1])
def test_pages(small: Pair, limit: int | None, offset: int | None) -> None:
    small.compare_scroll(ScrollRequest(offset, limit))
    small.compare_scroll(ScrollRequest(offset, limit, Filter(must_not=[HasIdCondition([2])])))


@pytest.mark.parametrize("threshold", [None, -1.0, 0.0, 3.0, 4.0, 7.0])
@pytest.mark.parametrize("query", [None, Query.Nearest([1.0, 1.0], "d"), Query.Nearest([1.0, 1.0])])
def test_thresholds(small: Pair, query: Any, threshold: float | None) -> None:
    """A score equal to the threshold is left out; without a query none is."""
    small.compare_query(QueryRequest(9, query=query, score_threshold=threshold))
    small.compare_query(QueryRequest(2, 1, query, score_threshold=threshold))


@pytest.mark.parametrize("distance", [Distance.Euclid, Distance.Manhattan])
@pytest.mark.parametrize("threshold", [0.0, 1.0, 2.0])
def test_thresholds_of_distances(tmp_path: Path, distance: Distance, threshold: float) -> None:
    config = EdgeConfig(vectors=EdgeVectorParams(2, distance), durability=Durability.Os)
    pair = Pair(tmp_path / "pair", config)
    pair.update(upsert(*(Point(i, [float(i), 0.0]) for i in range(5))))
    pair.compare_query(QueryRequest(9, query=Query.Nearest([1.0, 0.0]), score_threshold=threshold))
    pair.close()


def test_an_empty_shard(small: Pair) -> None:
    small.clear()
    small.compare()
    small.compare_query(QueryRequest(5))
    small.compare_query(QueryRequest(5, query=Query.Nearest([1.0, 1.0])))
    small.compare_retrieve([1], True, True)
    for operation in EMPTY:
        small.update(operation)
    small.compare()


U = UpdateOperation
EMPTY = [
    U.upsert_points([]), U.delete_points([]), U.update_vectors([]), U.delete_vectors([], [""]),
    U.set_payload([], {"a": 1}), U.overwrite_payload([], {}), U.delete_payload([], ["a"]),
    U.clear_payload([]), U.delete_points([99]), U.set_payload_by_filter(Filter(), {"a": 1}),
]  # fmt: skip


def test_a_batch_of_queries(small: Pair) -> None:
    queries = [QueryRequest(2, query=Query.Nearest([1.0, 0.2], "d")), QueryRequest(3)]
    ours = small.ours.query_batch(QueryBatchRequest(queries))
    other = small.theirs.query_batch(theirs(QueryBatchRequest(queries)))
    assert [[hit.id for hit in hits] for hits in ours] == [[h.id for h in hits] for hits in other]


IF_A_IS_ONE = Filter(must=[FieldCondition("a", match=MatchValue(1))])
SEQUENCES: dict[str, list[UpdateOperation]] = {
    "an upsert replaces the whole point": [upsert(Point(1, {"d": [1.0, 1.0]}))],
    "the last of equal ids stays": [
        upsert(Point(7, [1.0, 0.0], {"a": 1}), Point(7, {"d": [2.0, 2.0]}, {"b": 2}))
    ],
    "insert only": [
        U.upsert_points(
            [Point(1, [9.0, 9.0]), Point(7, [1.0, 0.0]), Point(7, [0.0, 1.0], {"a": 1})],
            None,
            UpdateMode.InsertOnly,
        )
    ],
    "update only": [
        U.upsert_points(
            [Point(1, [9.0, 9.0]), Point(7, [1.0, 0.0]), Point(7, [0.0, 1.0], {"a": 1})],
            None,
            UpdateMode.UpdateOnly,
        )
    ],
    "a condition gates only points that are there": [
        U.upsert_points(
            [Point(1, [9.0, 9.0]), Point(2, [9.0, 9.0]), Point(7, [0.0, 1.0])], IF_A_IS_ONE
        )
    ],
    "a condition looks at the point before the batch": [
        U.upsert_points([Point(7, [9.0, 9.0], {"a": 5}), Point(7, [0.0, 1.0])], IF_A_IS_ONE)
    ],
    "vectors are updated by name": [
        U.update_vectors(
            [PointVectors(1, {"d": [7.0, 7.0]}), PointVectors(5, [1.0, 1.0]), PointVectors(4, {})]
        )
    ],
    "the last of equal vectors stays": [
        U.update_vectors([PointVectors(1, [0.0, 1.0]), PointVectors(1, [1.0, 0.0])]),
        U.update_vectors([PointVectors(2, [0.0, 1.0]), PointVectors(2, {"d": [1.0, 0.0]})]),
    ],
    "vectors are updated where the condition holds": [
        U.update_vectors([PointVectors(i, [7.0, 7.0]) for i in (1, 2, 3)], IF_A_IS_ONE)
    ],
    "vectors are deleted": [
        U.delete_vectors([1, 5], ["d"]),
        U.delete_vectors_by_filter(Filter(must_not=[HasIdCondition([1])]), ["", "d"]),
        U.update_vectors([PointVectors(2, [1.0, 1.0])]),
    ],
    "an empty filter means every point": [
        U.set_payload_by_filter(Filter(), {"new": [1]}),
        U.delete_payload_by_filter(Filter(), ["a"]),
        U.delete_points_by_filter(Filter()),
    ],
    "payloads": [
        U.set_payload([1, 2], {"b": 1, "a": None}),
        U.set_payload([1, 3], {"y": None, "z": 1}, "c"),
        U.set_payload([4], {"y": 1}, "p.q"),
        U.overwrite_payload([5], {"n": None}),
        U.delete_payload([1], ["c.x", "nowhere"]),
        U.clear_payload([4]),
    ],
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_operations(small: Pair, name: str) -> None:
    for operation in SEQUENCES[name]:
        small.update(operation)
        small.compare()
    small.restart()
    small.compare()
    small.optimize()
    small.compare()


REFUSED: dict[str, tuple[Any, type[EdgeError], str]] = {
    **{
        f"{kind} of a missing point": (
            lambda shard, operation=operation: shard.update(operation),
            NotFound,
            "no point with id 99",
        )
        for kind, operation in {
            "update_vectors": U.update_vectors([PointVectors(99, [1.0, 1.0])]),
            "update_vectors with a condition": U.update_vectors(
                [PointVectors(99, [1.0, 1.0])], IF_A_IS_ONE
            ),
            "delete_vectors": U.delete_vectors([99], ["d"]),
            "set_payload": U.set_payload([99], {"a": 1}),
            "overwrite_payload": U.overwrite_payload([99], {"a": 1}),
            "delete_payload": U.delete_payload([99], ["a"]),
            "clear_payload": U.clear_payload([99]),
        }.items()
    },
    "a short vector": (
        lambda shard: shard.update(upsert(Point(9, [1.0]))), WrongDimension, "expected 2"
    ),
    "no vector at all": (
        lambda shard: shard.update(upsert(Point(9, []))), WrongDimension, "expected 2"
    ),
    "an unknown vector": (
        lambda shard: shard.update(upsert(Point(9, {"zz": [1.0, 2.0]}))), UnknownVector, "zz"
    ),
    "an unknown vector to delete": (
        lambda shard: shard.update(U.delete_vectors([1], ["zz"])), UnknownVector, "zz"
    ),
    "a long query": (
        lambda shard: shard.query(QueryRequest(3, query=Query.Nearest([1.0, 2.0, 3.0]))),
        WrongDimension,
        "expected 2",
    ),
    "a query of an unknown vector": (
        lambda shard: shard.search(SearchRequest(Query.Nearest([1.0, 2.0], "zz"), 3)),
        UnknownVector,
        "zz",
    ),
    "an unknown vector to show": (
        lambda shard: shard.scroll(ScrollRequest(with_vector=["zz"])), UnknownVector, "zz"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_both_refuse(small: Pair, name: str) -> None:
    act, kind, message = REFUSED[name]
    small.refuse(act, kind, message)


# Deliberate differences.

A, B = [0.0, 1.0], [1.0, 0.0]
NAN, INF = float("nan"), float("inf")


def test_a_batch_is_all_or_nothing_where_qdrant_stores_some_of_what_is_good(small: Pair) -> None:
    """How many it stores varies from batch to batch; that none does in twenty does not happen."""
    for first in range(100, 160, 3):
        batch = upsert(Point(first, B), Point(first + 1, [1.0, 2.0, 3.0]), Point(first + 2, B))
        with pytest.raises(WrongDimension, match=rf"points\[1\] \(id {first + 1}\)"):
            small.ours.update(batch)
        with pytest.raises(Exception, match="expected dim: 2, got 3"):
            small.theirs.update(theirs(batch))
    assert small.ours.count() == 5
    assert small.theirs.count(qdrant_edge.CountRequest()) > 5


def test_a_missing_id_changes_nothing_where_qdrant_changes_the_others(small: Pair) -> None:
    for operation in (
        U.set_payload([2, 99], {"new": 1}),
        U.update_vectors([PointVectors(2, A), PointVectors(99, A)]),
    ):
        small.refuse(lambda shard, op=operation: shard.update(op), NotFound, "id 99")
    assert shown(small.ours, [2]) == {2: ({}, {"": B, "d": B})}
    assert shown(small.theirs, [2]) == {2: ({"new": 1}, {"": A, "d": B})}


def test_a_refused_update_leaves_nothing_where_qdrant_finds_a_ghost_in_its_log(small: Pair) -> None:
    small.refuse(lambda shard: shard.update(upsert(Point(9, {"zz": A}))), UnknownVector, "zz")
    assert small.ours.count() == small.theirs.count(qdrant_edge.CountRequest()) == 5
    small.restart()
    assert small.ours.retrieve([9]) == []
    assert shown(small.theirs, [9]) == {9: ({}, {})}


@pytest.mark.parametrize("bad", [NAN, INF, -INF, 1e39])
def test_what_is_not_finite_is_refused_where_qdrant_stores_it_and_loses_it(
    small: Pair, bad: float
) -> None:
    with pytest.raises(ValidationError, match="not a finite number"):
        small.ours.update(upsert(Point(9, {"d": [bad, 0.0]})))
    with pytest.raises(ValidationError, match="not finite"):
        small.ours.query(QueryRequest(9, query=Query.Nearest([NAN, 0.0], "d")))
    small.theirs.update(
        qdrant_edge.UpdateOperation.upsert_points([qdrant_edge.Point(9, {"d": [bad, 0.0]})])
    )
    nothing = qdrant_edge.Query.Nearest([NAN, 0.0], "d")
    assert small.theirs.query(qdrant_edge.QueryRequest(9, query=nothing)) == []
    assert small.theirs.count(qdrant_edge.CountRequest()) == small.ours.count() + 1


def test_a_bool_is_no_id_where_qdrant_overwrites_the_point_1(small: Pair) -> None:
    with pytest.raises(ValidationError, match="id: expected an int or a UUID"):
        Point(True, A)
    small.theirs.update(qdrant_edge.UpdateOperation.upsert_points([qdrant_edge.Point(True, A)]))
    assert shown(small.theirs, [1]) == {1: ({}, A)}


def test_overwriting_honours_the_key_that_qdrant_ignores(small: Pair) -> None:
    small.update(U.overwrite_payload([1], {"y": 1}, "c"))
    assert shown(small.ours, [1])[1][0] == {"a": 1, "b": None, "c": {"y": 1}}
    assert shown(small.theirs, [1])[1][0] == {"y": 1}


def test_equal_scores_are_ordered_by_id_where_qdrants_order_follows_the_limit(small: Pair) -> None:
    small.clear()
    for point_id in (7, 3, 9, 1, 5, 2):
        small.update(upsert(Point(point_id, {"d": B})))
    query = Query.Nearest(B, "d")
    for limit in (1, 3, 6, 10):
        request = QueryRequest(limit, query=query)
        small.compare_query(request)
        assert [hit.id for hit in small.ours.query(request)] == [1, 2, 3, 5, 7, 9][:limit]
    orders = [
        [hit.id for hit in small.theirs.query(theirs(QueryRequest(limit, query=query)))]
        for limit in (3, 10)
    ]
    assert orders[0] != [1, 2, 3] or orders[1] != [1, 2, 3, 5, 7, 9]


def test_versions_are_sequence_numbers_where_qdrants_are_its_own(small: Pair) -> None:
    """What both promise is that a later write has a larger one."""
    small.update(U.set_payload([2], {"late": True}))
    request = QueryRequest(9, query=Query.Nearest(B))
    for shard, wanted in ((small.ours, request), (small.theirs, theirs(request))):
        versions = {hit.id: hit.version for hit in shard.query(wanted)}
        assert versions[1] == versions[3] < versions[2]
    [newest] = [hit.version for hit in small.ours.query(request) if hit.id == 2]
    assert newest == small.ours.info().sequence


def test_counting_is_exact_even_where_qdrant_is_asked_to_estimate(small: Pair) -> None:
    small.clear()
    small.update(upsert(*(Point(i, A, {"n": i % 2}) for i in range(1, 41))))
    absent = Filter(must=[FieldCondition("nowhere", match=MatchValue(1))])
    request = CountRequest(False, absent)
    assert small.ours.count(request) == 0
    assert small.theirs.count(theirs(request)) > 0


def test_a_distance_beyond_float32_is_infinite_where_qdrant_drops_the_point(tmp_path: Path) -> None:
    config = EdgeConfig(vectors=EdgeVectorParams(2, Distance.Euclid), durability=Durability.Os)
    pair = Pair(tmp_path / "far", config)
    pair.update(upsert(Point(1, [3e38, 0.0]), Point(2, B)))
    request = QueryRequest(9, query=Query.Nearest(B))
    assert [(hit.id, hit.score) for hit in pair.ours.query(request)] == [(2, 0.0), (1, INF)]
    assert [hit.id for hit in pair.theirs.query(theirs(request))] == [2]
    pair.close()


def test_a_limit_has_a_limit_where_qdrant_clamps_it(small: Pair) -> None:
    for limit in (1_000_001, 2**64 - 1):
        with pytest.raises(LimitExceeded, match="limit"):
            small.ours.query(QueryRequest(limit))
        assert len(small.theirs.query(qdrant_edge.QueryRequest(limit))) == 5


def test_numbers_beyond_64_bits_are_refused_where_qdrant_rounds_them(small: Pair) -> None:
    with pytest.raises(ValidationError, match=r"payload\['n'\]"):
        small.ours.update(upsert(Point(9, A, {"n": 2**64})))
    small.theirs.update(
        qdrant_edge.UpdateOperation.upsert_points([qdrant_edge.Point(9, A, {"n": 2**64})])
    )
    assert shown(small.theirs, [9])[9][0] == {"n": 2.0**64}


def test_errors_have_classes_where_qdrants_are_bare(small: Pair, tmp_path: Path) -> None:
    """`except ValueError`, and even `except EdgeError`, is enough; Qdrant's need their text."""
    Pair(tmp_path / "old", PLAIN).close()
    acts: list[tuple[Any, Any, type[EdgeError]]] = [
        (
            lambda: EdgeShard.create(tmp_path / "old" / "ours", PLAIN),
            lambda: qdrant_edge.EdgeShard.create(str(tmp_path / "old" / "theirs"), theirs(PLAIN)),
            AlreadyExists,
        ),
        (
            lambda: EdgeShard.load(tmp_path / "nowhere"),
            lambda: qdrant_edge.EdgeShard.load(str(tmp_path / "nowhere")),
            NotFound,
        ),
        (
            lambda: EdgeShard.load(small.folder / "ours"),
            lambda: qdrant_edge.EdgeShard.load(str(small.folder / "theirs")),
            ShardLocked,
        ),
        (
            lambda: small.ours.update(upsert(Point(9, [1.0]))),
            lambda: small.theirs.update(theirs(upsert(Point(9, [1.0])))),
            WrongDimension,
        ),
    ]
    for ours_acts, they_act, kind in acts:
        with pytest.raises(kind) as caught:
            ours_acts()
        assert isinstance(caught.value, EdgeError)
        with pytest.raises(Exception, match=r".") as other:
            they_act()
        assert type(other.value) is Exception


def test_a_closed_shard_says_so_in_both(tmp_path: Path) -> None:
    pair = Pair(tmp_path / "closed", PLAIN)
    pair.close()
    pair.close()
    for act in (lambda shard: shard.query(QueryRequest(1)), lambda shard: shard.flush()):
        pair.refuse(act, ShardClosed, "closed")
    for name in ("info", "optimize"):
        pair.refuse(lambda shard, name=name: getattr(shard, name)(), ShardClosed, "closed")
