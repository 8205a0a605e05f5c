"""Multivectors are stored, found and ranked as by qdrant_edge.

The deliberate differences are tests of their own, at the end; each shows both behaviours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import qdrant_edge
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import EdgeError, ValidationError, WrongDimension
from edge.model.config import Durability, EdgeConfig, EdgeOptimizersConfig
from edge.model.filter import FieldCondition, Filter, HasIdCondition, MatchValue
from edge.model.point import Point, PointVectors
from edge.model.query import Query, SearchParams
from edge.model.request import QueryRequest, ScrollRequest
from edge.model.sparse import SparseVector
from edge.model.update import UpdateOperation
from edge.model.vector_params import (
    Distance,
    EdgeVectorParams,
    HnswIndexConfig,
    MultiVectorComparator,
    MultiVectorConfig,
)
from tests.congruence.engines import ALL, Pair, shown, theirs
from tests.congruence.histories import (
    EXACT,
    FEW,
    Asked,
    Step,
    ask_plainly,
    histories,
    questions,
    scrolls,
)

U = UpdateOperation
D = Distance
Pairs = Callable[[EdgeConfig], Pair]

MAX_SIM = MultiVectorConfig(MultiVectorComparator.MaxSim)
EAGER = EdgeOptimizersConfig(
    deleted_threshold=0.1,
    vacuum_min_vector_number=8,
    default_segment_number=1,
    indexing_threshold=1,
)
GRAPHS = HnswIndexConfig(m=16, ef_construct=64, full_scan_threshold=1)


def several(size: int, distance: Distance) -> EdgeVectorParams:
    return EdgeVectorParams(size, distance, multivector_config=MAX_SIM)


# -- any history, any question

SIZES = {"": 3, "dot": 4, "euclid": 4, "manhattan": 2, "flat": 8}
PARAMS = {
    "": several(3, D.Cosine),
    "dot": several(4, D.Dot),
    "euclid": several(4, D.Euclid),
    "manhattan": several(2, D.Manhattan),
    "flat": EdgeVectorParams(8, D.Dot),
}
NAMES = list(SIZES)


def rows(name: str, seed: int, most: int) -> Any:
    """Up to so many rows of small whole numbers, rows of zeros among them; or one flat vector."""
    draw = np.random.default_rng([seed, SIZES[name]])
    found = draw.integers(-2, 3, (int(draw.integers(1, most + 1)), SIZES[name])).astype(float)
    return found[0].tolist() if name == "flat" or draw.random() < 0.2 else found.tolist()


def maker(name: str, most: int) -> Callable[[int], Any]:
    return lambda seed: rows(name, seed, most)


MAKERS = {name: maker(name, 5) for name in NAMES}
QUERIES = {name: maker(name, 4) for name in NAMES}
CONFIG = EdgeConfig(
    vectors=PARAMS,
    hnsw_config=GRAPHS,
    optimizers=EAGER,
    durability=Durability.Os,
    checkpoint_bytes=20_000,
)
WIDE = SearchParams(hnsw_ef=500)
"""So that a walk through a graph of some hundred points finds all that a scan finds."""


@pytest.fixture(scope="module")
def pair(pairs: Pairs) -> Pair:
    return pairs(CONFIG)


@FEW
@given(
    history=histories(NAMES),
    asked=st.lists(questions(NAMES), min_size=30, max_size=40),
    scrolled=st.lists(scrolls(NAMES), min_size=4, max_size=8),
)
def test_any_history_and_any_question(
    pair: Pair, history: list[Step], asked: list[Asked], scrolled: list[ScrollRequest]
) -> None:
    pair.clear()
    for step in history:
        step.do(pair, MAKERS)
        pair.compare()
    for one in asked:
        exact, walked = one.request(QUERIES), one.request(QUERIES, WIDE)
        pair.compare_query(exact)
        ask = pair.ours.query if isinstance(exact, QueryRequest) else pair.ours.search
        assert ask(walked) == ask(exact)  # what graphs find is what a scan finds
    ask_plainly(pair, scrolled)


# -- one case at a time

PLAIN = EdgeConfig(
    vectors={
        "": several(2, D.Cosine),
        "d": several(2, D.Dot),
        "e": several(2, D.Euclid),
        "m": several(2, D.Manhattan),
        "flat": EdgeVectorParams(2, D.Dot),
    },
    hnsw_config=GRAPHS,
    optimizers=EAGER,
    durability=Durability.Os,
)
FEW_ROWS = [[3.0, 4.0], [1.0, 0.0]]
QUERY = [[1.0, 2.0], [0.5, -1.0]]


def upsert(*points: Point) -> UpdateOperation:
    return U.upsert_points(points)


def nearest(vector: Any, using: str | None = None, **settings: Any) -> QueryRequest:
    return QueryRequest(ALL, query=Query.Nearest(vector, using), **settings)


@pytest.fixture
def small(pairs: Pairs) -> Pair:
    """The default vector alone, all vectors, some, none."""
    made = pairs(PLAIN)
    others = dict.fromkeys("dem", FEW_ROWS)
    made.update(
        upsert(
            Point(1, FEW_ROWS, {"a": 1}),
            Point(2, {"": [[0.0, 0.0], [0.0, -2.0]], "flat": [1.0, 1.0], **others}),
            Point(3, {"d": [[7.0, 8.0]], "e": [7.0, 8.0], "m": [[0.0, 0.0]] * 5}, {"a": 1}),
            Point(4, {"flat": [1.0, 2.0]}),
            Point(5, {}),
        )
    )
    return made


@pytest.mark.parametrize("name", ["", *"dem"])
def test_scores(small: Pair, name: str) -> None:
    """Also by one vector alone, which is as good as one row; and by thresholds."""
    for _ in range(2):
        for query in (QUERY, QUERY[:1], QUERY[0], [[0.0, 0.0]], FEW_ROWS * 3):
            for threshold in (None, 0.0, 2.5, 4.0, -1.0):
                small.compare_query(nearest(query, name, score_threshold=threshold))
            small.compare_query(nearest(query, name, params=EXACT, offset=1))
            has = Filter(must=[FieldCondition("a", match=MatchValue(1))])
            small.compare_query(nearest(query, name, filter=has, with_vector=True))
        small.optimize()


def test_euclid_is_the_root_of_the_sum_of_squares(small: Pair) -> None:
    found = small.ours.query(nearest(QUERY, "e"))
    assert [hit.score for hit in found if hit.id == 2] == pytest.approx([5.25**0.5])


@pytest.mark.parametrize("vector", [False, True, [], [""], ["d"], ["d", "", "flat"]], ids=repr)
def test_a_lone_default_vector_is_bare(small: Pair, vector: Any) -> None:
    small.compare_retrieve([1, 2, 3, 4, 5, 99], False, vector)
    small.compare_scroll(ScrollRequest(limit=9, with_vector=vector))
    small.compare_query(nearest(QUERY, with_vector=vector))


GIVEN: dict[str, Callable[[], Any]] = {
    "lists": lambda: [[1.0, 2.0], [3.0, 4.0]],
    "tuples": lambda: ((1.0, 2.0), (3.0, 4.0)),
    "float32": lambda: np.array([[1, 2], [3, 4]], np.float32),
    "float64": lambda: np.array([[1, 2], [3, 4]], np.float64),
    "arrays": lambda: [np.array([1.0, 2.0]), np.array([3.0, 4.0])],
    "one vector": lambda: [7.0, 8.0],
    "one array": lambda: np.array([7.0, 8.0], np.float32),
}


@pytest.mark.parametrize("name", GIVEN)
def test_what_is_taken_for_several_vectors(small: Pair, name: str) -> None:
    """By both engines, as it is."""
    vector = GIVEN[name]()
    small.ours.update(upsert(Point(9, {"d": vector})))
    point = qdrant_edge.Point(9, {"d": vector})
    small.theirs.update(qdrant_edge.UpdateOperation.upsert_points([point]))
    small.compare()
    found = small.ours.query(nearest(vector, "d"))
    request = qdrant_edge.QueryRequest(9, query=qdrant_edge.Query.Nearest(vector, "d"))
    expected = small.theirs.query(request)
    assert {hit.id: hit.score for hit in found} == {hit.id: hit.score for hit in expected}


def test_rows_come_and_go(small: Pair) -> None:
    for operation in (
        U.update_vectors([PointVectors(1, [[1.0, 1.0]]), PointVectors(4, {"d": FEW_ROWS * 20})]),
        U.update_vectors([PointVectors(3, {"": FEW_ROWS, "m": [1.0, 2.0]})]),
        U.delete_vectors([1, 2], [""]),
        U.delete_vectors_by_filter(Filter(must_not=[HasIdCondition([3])]), ["d", "flat"]),
    ):
        small.update(operation)
        small.compare()
    for change in (small.restart, small.optimize):
        change()
        small.compare()
        for name in ("", *"dem"):
            small.compare_query(nearest(QUERY, name, with_vector=True))


def test_nobody_may_have_the_vector(pairs: Pairs) -> None:
    pair = pairs(CONFIG)
    pair.update(upsert(*(Point(i, {"flat": [1.0] * 8}) for i in range(60))))
    for change in (pair.optimize, pair.restart):
        change()
        pair.compare()
        pair.compare_query(nearest([1.0] * 4, "dot"))


REFUSED: dict[str, tuple[Any, type[EdgeError], str]] = {
    **{
        f"stored: {name}": (
            lambda shard, vector=vector: shard.update(upsert(Point(9, vector))),
            kind,
            message,
        )
        for name, (vector, kind, message) in {
            "wide": ([[1.0, 2.0, 3.0]], WrongDimension, "expected 2 numbers, got 3"),
            "flat, of two rows' length": ([1.0, 2.0, 3.0, 4.0], WrongDimension, "got 4"),
            "empty": ({"d": np.empty((0, 2))}, ValidationError, "one vector at least"),
            "rows for one": ({"flat": [[1.0, 2.0]]}, WrongDimension, "got a multivector"),
            "sparse": ({"d": SparseVector([1], [1.0])}, ValidationError, "got a SparseVector"),
        }.items()
    },
    **{
        f"asked: {name}": (
            lambda shard, vector=vector, using=using: shard.query(nearest(vector, using)),
            kind,
            message,
        )
        for name, (vector, using, kind, message) in {
            "wide": ([[1.0, 2.0, 3.0]], "", WrongDimension, "expected 2 numbers, got 3"),
            "flat, of two rows' length": ([1.0] * 4, "", WrongDimension, "got 4"),
            "empty": (np.empty((0, 2)), "d", ValidationError, "one vector at least"),
            "rows for one": ([[1.0, 2.0]], "flat", WrongDimension, "got a multivector"),
            "sparse": (SparseVector([1], [1.0]), "d", ValidationError, "got a SparseVector"),
        }.items()
    },
}


@pytest.mark.parametrize("name", REFUSED)
def test_both_refuse(small: Pair, name: str) -> None:
    act, kind, message = REFUSED[name]
    small.refuse(act, kind, message)
    small.compare()


# -- many points


def test_graphs_find_as_much_as_qdrants(pairs: Pairs) -> None:
    """Of what a scan finds, with filters and without, at the same settings."""
    draw = np.random.default_rng(3)
    kinds = {"cosine": D.Cosine, "euclid": D.Euclid}
    config = EdgeConfig(
        vectors={name: several(16, distance) for name, distance in kinds.items()},
        hnsw_config=HnswIndexConfig(m=8, ef_construct=32, full_scan_threshold=1),
        optimizers=EAGER,
        durability=Durability.Os,
    )
    pair = pairs(config)
    places = draw.normal(size=(60, 16))

    def rows_near() -> Any:
        near = places[draw.integers(0, len(places), int(draw.integers(1, 5)))]
        return near + draw.normal(scale=0.5, size=near.shape)

    points = []
    for i in range(1200):
        found = rows_near()
        points.append(Point(i, dict.fromkeys(kinds, found), {"n": i % 3}))
    pair.update(upsert(*points))
    pair.optimize()
    third = Filter(must=[FieldCondition("n", match=MatchValue(1))])
    asked = [rows_near() for _ in range(20)]
    for name in kinds:
        for filter in (None, third):
            right = ours = other = 0
            for vector in asked:
                request = QueryRequest(
                    10, query=Query.Nearest(vector, name), filter=filter, params=EXACT
                )
                pair.compare_query(request)
                exact = {hit.id for hit in pair.ours.query(request)}
                walk = QueryRequest(
                    10,
                    query=Query.Nearest(vector, name),
                    filter=filter,
                    params=SearchParams(hnsw_ef=48),
                )
                right += len(exact)
                ours += len(exact & {hit.id for hit in pair.ours.query(walk)})
                other += len(exact & {hit.id for hit in pair.theirs.query(theirs(walk))})
            print(name, filter is not None, right, ours, other)
            assert ours / right >= min(0.95, other / right - 0.03)


# Deliberate differences.


def test_no_vector_is_refused_where_qdrant_panics(small: Pair) -> None:
    for vector in ([[]], [[], []]):
        with pytest.raises((ValidationError, WrongDimension)):
            small.ours.update(upsert(Point(9, {"d": vector})))
        bad = qdrant_edge.UpdateOperation.upsert_points([qdrant_edge.Point(9, {"d": vector})])
        with pytest.raises(BaseException, match="chunk size must be non-zero") as caught:
            small.theirs.update(bad)
        assert type(caught.value).__name__ == "PanicException"
    small.compare()


def test_rows_of_several_lengths_are_refused_where_qdrant_panics(small: Pair) -> None:
    """When the point is made, before a shard sees it."""
    with pytest.raises(ValidationError, match="expected 2 numbers as before it, got 1"):
        Point(9, {"d": [[1.0, 2.0], [3.0]]})
    bad = qdrant_edge.Point(9, {"d": [[1.0, 2.0], [3.0]]})
    with pytest.raises(BaseException, match="Vector size mismatch") as caught:
        small.theirs.update(qdrant_edge.UpdateOperation.upsert_points([bad]))
    assert type(caught.value).__name__ == "PanicException"
    small.compare()


def test_a_row_that_is_not_finite_is_refused_where_qdrant_passes_it_over(small: Pair) -> None:
    vector = [[1.0, 2.0], [float("nan"), 0.0]]
    with pytest.raises(ValidationError, match="not a finite number"):
        small.ours.update(upsert(Point(9, {"d": vector})))
    with pytest.raises(ValidationError, match="not finite"):
        small.ours.query(nearest(vector, "d"))
    point = qdrant_edge.Point(9, {"d": vector})
    small.theirs.update(qdrant_edge.UpdateOperation.upsert_points([point]))
    found = small.theirs.query(theirs(nearest([1.0, 1.0], "d")))
    assert [hit.score for hit in found if hit.id == 9] == [3.0]


def test_a_bare_list_of_no_numbers_is_refused_by_both_as_of_no_length(small: Pair) -> None:
    small.refuse(lambda shard: shard.update(upsert(Point(9, []))), ValidationError, r".")
    assert 9 not in shown(small.ours, [9])
