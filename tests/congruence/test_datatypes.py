"""Vectors of small datatypes are rounded, stored and ranked as by qdrant_edge.

Float16 and Uint8 are the same to the bit; Turbo8 and Turbo16 are codes of each engine's own, held
against the vectors that were given. The deliberate differences are tests of their own, at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import ValidationError
from edge.model.config import Durability, EdgeConfig, EdgeOptimizersConfig
from edge.model.point import Point
from edge.model.query import Query, SearchParams
from edge.model.request import QueryRequest, ScrollRequest
from edge.model.update import UpdateOperation
from edge.model.vector_params import (
    Distance,
    EdgeVectorParams,
    HnswIndexConfig,
    MultiVectorComparator,
    MultiVectorConfig,
    VectorStorageDatatype,
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
T = VectorStorageDatatype
Pairs = Callable[[EdgeConfig], Pair]

MAX_SIM = MultiVectorConfig(MultiVectorComparator.MaxSim)
EAGER = EdgeOptimizersConfig(
    deleted_threshold=0.1,
    vacuum_min_vector_number=8,
    default_segment_number=1,
    indexing_threshold=1,
)
GRAPHS = HnswIndexConfig(m=16, ef_construct=64, full_scan_threshold=1)
WIDE = SearchParams(hnsw_ef=500)

# -- any history, any question

HALF, BYTE = T.Float16, T.Uint8
PARAMS = {
    "half cosine": EdgeVectorParams(16, D.Cosine, datatype=HALF),
    "half dot": EdgeVectorParams(7, D.Dot, datatype=HALF),
    "half euclid": EdgeVectorParams(16, D.Euclid, datatype=HALF),
    "half manhattan": EdgeVectorParams(3, D.Manhattan, datatype=HALF),
    "half many": EdgeVectorParams(4, D.Euclid, datatype=HALF, multivector_config=MAX_SIM),
    "byte cosine": EdgeVectorParams(16, D.Cosine, datatype=BYTE),
    "byte dot": EdgeVectorParams(33, D.Dot, datatype=BYTE),
    "byte euclid": EdgeVectorParams(16, D.Euclid, datatype=BYTE),
    "byte manhattan": EdgeVectorParams(3, D.Manhattan, datatype=BYTE),
    "byte many": EdgeVectorParams(4, D.Cosine, datatype=BYTE, multivector_config=MAX_SIM),
}
NAMES = list(PARAMS)
CONFIG = EdgeConfig(
    vectors=PARAMS,
    hnsw_config=GRAPHS,
    optimizers=EAGER,
    durability=Durability.Os,
    checkpoint_bytes=20_000,
)


def maker(name: str) -> Callable[[int], Any]:
    """Numbers of many sizes: large and small ones for Float16; fractions and numbers beyond 0 and
    255 for Uint8."""
    params = PARAMS[name]

    def make(seed: int) -> Any:
        draw = np.random.default_rng([seed, params.size])
        count = int(draw.integers(1, 4)) if params.multivector_config else 1
        shape = (count, params.size)
        if params.datatype is BYTE:
            found = draw.uniform(-40, 300, shape)
        else:
            found = draw.normal(size=shape) * 10 ** draw.uniform(-3, 2, shape)
        return found.tolist() if params.multivector_config else found[0].tolist()

    return make


MAKERS = {name: maker(name) for name in NAMES}


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
        exact, walked = one.request(MAKERS), one.request(MAKERS, WIDE)
        pair.compare_query(exact)
        ask = pair.ours.query if isinstance(exact, QueryRequest) else pair.ours.search
        assert ask(walked) == ask(exact)  # what graphs find is what a scan finds
    ask_plainly(pair, scrolled)


# -- one case at a time


def upsert(*points: Point) -> UpdateOperation:
    return U.upsert_points(points)


def nearest(vector: Any, **settings: Any) -> QueryRequest:
    return QueryRequest(ALL, query=Query.Nearest(vector), **settings)


def of(
    pairs: Pairs, datatype: VectorStorageDatatype, size: int, distance: Distance, **more: Any
) -> Pair:
    """A pair of one vector."""
    params = EdgeVectorParams(size, distance, datatype=datatype, **more)
    config = EdgeConfig(params, hnsw_config=GRAPHS, optimizers=EAGER, durability=Durability.Os)
    return pairs(config)


ROUNDED: dict[str, tuple[VectorStorageDatatype, list[float], list[float]]] = {
    "half": (HALF, [0.1, 1000.3, 1e-8, -3.3], [0.0999755859375, 1000.5, 0.0, -3.30078125]),
    "half, at its end": (HALF, [65504.0, -65519.0, 6e-8, 2049.0], [65504, -65504, 2**-24, 2048]),
    "byte": (BYTE, [1.5, 254.9, 0.99, 255.0], [1.0, 254.0, 0.0, 255.0]),
    "byte, beyond its ends": (BYTE, [300.0, -5.0, 1e38, -0.0], [255.0, 0.0, 255.0, 0.0]),
}


@pytest.mark.parametrize("distance", [D.Dot, D.Euclid, D.Manhattan], ids=str)
@pytest.mark.parametrize("name", ROUNDED)
def test_rounding(pairs: Pairs, name: str, distance: Distance) -> None:
    datatype, given, kept = ROUNDED[name]
    pair = of(pairs, datatype, 4, distance)
    pair.update(upsert(Point(1, given), Point(2, [1.0, 2.0, 3.0, 4.0])))
    assert shown(pair.ours, [1])[1][1] == kept
    for change in (pair.restart, pair.optimize, pair.restart):
        pair.compare()
        for query in (given, [0.3, 1.7, 2.0, 0.0], [0.0] * 4):
            pair.compare_query(nearest(query, params=EXACT, with_vector=True))
        change()


def test_bytes_are_not_normalised_and_compared_by_their_angles(pairs: Pairs) -> None:
    """A vector of zeros, or one that is cut to zeros, is at no angle at all: score 0."""
    pair = of(pairs, BYTE, 4, D.Cosine)
    vectors = [[10.0, 20, 30, 40], [0.0] * 4, [0.9] * 4, [-1.0, 300.0, 2.5, 1.9]]
    pair.update(upsert(*(Point(i, vector) for i, vector in enumerate(vectors))))
    for _ in range(2):
        pair.compare()
        for query in (*vectors, [0.5] * 4):
            pair.compare_query(nearest(query))
        pair.optimize()
    assert shown(pair.ours, [0])[0][1] == vectors[0]


# -- Turbo8 and Turbo16

TURBO = {T.Turbo8: (1 / 254, 0.015), T.Turbo16: (1 / 65534, 1e-4)}
"""What an element of ours may be off by, of the greatest magnitude of its vector (and a hundredth
of that by what float32 rounds, where the vector is normalised and encoded); what Qdrant's vectors
may be off by, of their length."""


def distances(distance: Distance, query: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """In float64, as scores."""
    if distance is D.Euclid:
        return np.sqrt(((rows - query) ** 2).sum(axis=1))
    if distance is D.Manhattan:
        return np.abs(rows - query).sum(axis=1)
    return rows @ query


def normal(vectors: np.ndarray, distance: Distance) -> np.ndarray:
    """As they are stored before they are encoded."""
    if distance is not D.Cosine:
        return vectors
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.mark.parametrize("size", [4, 100])
@pytest.mark.parametrize("distance", D, ids=str)
@pytest.mark.parametrize("datatype", TURBO, ids=str)
def test_turbo_is_near_the_original(
    pairs: Pairs, datatype: VectorStorageDatatype, distance: Distance, size: int
) -> None:
    """What is read back, and the scores, which ours has from what is read back."""
    share, theirs_share = TURBO[datatype]
    draw = np.random.default_rng(size)
    given = draw.normal(size=(60, size)) * 10 ** draw.uniform(-2, 2, (60, 1))
    given[7] = 0.0
    query = draw.normal(size=size)
    pair = of(pairs, datatype, size, distance)
    pair.update(upsert(*(Point(i, vector.tolist()) for i, vector in enumerate(given))))
    given[7] += 1e-30  # no length to divide by
    original = normal(given, distance)
    original[7] = 0.0
    asked = normal(query, distance)
    before: Any = None
    for change in (pair.optimize, pair.restart, lambda: None):
        kept = np.array([shown(pair.ours, [i])[i][1] for i in range(60)])
        others = np.array([shown(pair.theirs, [i])[i][1] for i in range(60)])
        steps = np.abs(original).max(axis=1, keepdims=True) * share
        assert (np.abs(kept - original) <= steps * 1.01 + 1e-9).all()
        lengths = np.linalg.norm(original, axis=1)
        assert (np.linalg.norm(others - original, axis=1) <= lengths * theirs_share + 1e-9).all()
        request = nearest(query.tolist(), params=EXACT)
        ours = {hit.id: hit.score for hit in pair.ours.query(request)}
        other = {hit.id: hit.score for hit in pair.theirs.query(theirs(request))}
        assert len(ours) == len(other) == 60
        exact, read = distances(distance, asked, original), distances(distance, asked, kept)
        error = np.abs(kept - original).sum(axis=1) * max(1.0, np.abs(asked).max()) + 1e-5
        scale = (np.linalg.norm(asked) + 1) * np.sqrt(size) * (lengths + 1)
        for i in range(60):
            assert ours[i] == pytest.approx(read[i], rel=1e-4, abs=1e-5 * scale[i])
            assert abs(ours[i] - exact[i]) <= error[i] + 1e-5 * scale[i]
            assert abs(other[i] - exact[i]) <= theirs_share * scale[i]
        assert before is None or before == (ours, kept.tolist())
        before = ours, kept.tolist()
        change()


def test_turbo_of_several_vectors(pairs: Pairs) -> None:
    draw = np.random.default_rng(9)
    pair = of(pairs, T.Turbo8, 16, D.Dot, multivector_config=MAX_SIM)
    given = {i: draw.normal(size=(1 + i % 4, 16)) for i in range(60)}
    pair.update(upsert(*(Point(i, rows) for i, rows in given.items())))
    query = draw.normal(size=(3, 16))
    exact = {i: float((query @ rows.T).max(axis=1).sum()) for i, rows in given.items()}
    for change in (pair.optimize, pair.restart, lambda: None):
        for shard, request in ((pair.ours, nearest(query)), (pair.theirs, theirs(nearest(query)))):
            found = {hit.id: hit.score for hit in shard.query(request)}
            assert found.keys() == exact.keys()
            assert all(abs(score - exact[i]) < 0.5 for i, score in found.items())
        change()


@pytest.mark.parametrize("datatype", TURBO, ids=str)
def test_turbo_finds_what_is_nearest(pairs: Pairs, datatype: VectorStorageDatatype) -> None:
    """By a graph over the codes as by a scan of them, as Qdrant does."""
    draw = np.random.default_rng(4)
    pair = of(pairs, datatype, 32, D.Cosine)
    given = draw.normal(size=(500, 32))
    pair.update(upsert(*(Point(i, vector) for i, vector in enumerate(given))))
    pair.optimize()
    for i in range(0, 500, 50):
        query = Query.Nearest(given[i] + draw.normal(scale=0.2, size=32))
        for params in (EXACT, WIDE):
            request = QueryRequest(1, query=query, params=params)
            assert [hit.id for hit in pair.ours.query(request)] == [i]
            assert [hit.id for hit in pair.theirs.query(theirs(request))] == [i]


# Deliberate differences.


@pytest.mark.parametrize("large", [65520.0, -70000.0, 1e38])
def test_what_would_be_infinite_in_half_is_refused_where_qdrant_loses_it(
    pairs: Pairs, large: float
) -> None:
    pair = of(pairs, HALF, 2, D.Euclid)
    operation = upsert(Point(1, [large, 0.0]))
    with pytest.raises(ValidationError, match="beyond Float16's 65504"):
        pair.ours.update(operation)
    pair.theirs.update(theirs(operation))
    assert shown(pair.theirs, [1])[1][1] == [float("inf") if large > 0 else -float("inf"), 0.0]
    assert pair.theirs.query(theirs(nearest([0.0, 0.0]))) == []


def test_a_query_that_would_be_infinite_in_half_is_refused_where_qdrant_loses_points(
    pairs: Pairs,
) -> None:
    pair = of(pairs, HALF, 2, D.Dot)
    pair.update(upsert(Point(1, [1.0, 0.0]), Point(2, [0.0, 1.0])))
    assert len(pair.theirs.query(theirs(nearest([70000.0, 0.0])))) == 1
    with pytest.raises(ValidationError, match="beyond Float16"):
        pair.ours.query(nearest([70000.0, 0.0]))


def test_cosine_vectors_of_half_have_any_length(pairs: Pairs) -> None:
    pair = of(pairs, HALF, 2, D.Cosine)
    pair.update(upsert(Point(1, [70000.0, 0.0]), Point(2, [1e-9, 1e-9])))
    pair.compare()
    pair.compare_query(nearest([1e30, 0.0]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_no_byte_where_qdrant_takes_it_for_one(
    pairs: Pairs, bad: float
) -> None:
    pair = of(pairs, BYTE, 2, D.Dot)
    operation = upsert(Point(1, [bad, 1.0]))
    with pytest.raises(ValidationError, match="not a finite number"):
        pair.ours.update(operation)
    pair.theirs.update(theirs(operation))
    assert shown(pair.theirs, [1])[1][1] == [255.0 if bad > 0 else 0.0, 1.0]


def test_turbo4_is_refused_where_qdrant_has_it_though_it_does_not_say_so() -> None:
    with pytest.raises(ValidationError, match="not supported"):
        EdgeVectorParams(4, D.Dot, datatype=T.Turbo4)
    assert theirs(T.Turbo4) is not None
