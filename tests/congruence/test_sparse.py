"""Sparse vectors are stored, found and ranked as by qdrant_edge.

The deliberate differences are tests of their own, at the end; each shows both behaviours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import qdrant_edge
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import EdgeError, UnknownVector, ValidationError
from edge.model.config import Durability, EdgeConfig, EdgeOptimizersConfig
from edge.model.filter import (
    FieldCondition,
    Filter,
    HasIdCondition,
    HasVectorCondition,
    MatchValue,
)
from edge.model.point import Point, PointVectors
from edge.model.query import IdfParams, Query, SearchParams
from edge.model.request import QueryRequest, ScrollRequest, SearchRequest
from edge.model.sparse import SparseVector
from edge.model.update import UpdateOperation
from edge.model.vector_params import (
    Distance,
    EdgeSparseVectorParams,
    EdgeVectorParams,
    Modifier,
    VectorStorageDatatype,
)
from tests.congruence.engines import ALL, Pair, same_score, theirs
from tests.congruence.histories import (
    FEW,
    Asked,
    Step,
    ask_plainly,
    filters,
    histories,
    questions,
    scrolls,
)

U = UpdateOperation
S = SparseVector
T = VectorStorageDatatype
Pairs = Callable[[EdgeConfig], Pair]

EAGER = EdgeOptimizersConfig(
    deleted_threshold=0.1,
    vacuum_min_vector_number=8,
    default_segment_number=1,
    indexing_threshold=1,
)
DENSE = {"d": EdgeVectorParams(size=16, distance=Distance.Dot)}
"""What makes a segment large enough for both to rebuild it."""

# -- any history, any question

DIMENSIONS = [*range(12), 1_000, 2**31, 2**32 - 1]


def dense(seed: int) -> list[float]:
    return np.random.default_rng(seed).integers(-2, 3, 16).astype(float).tolist()


def sparse(seed: int, least: int = 0) -> SparseVector:
    """Up to seven dimensions; no two such vectors have a sum of exactly 0."""
    draw = np.random.default_rng([seed, 1])
    count = int(draw.integers(least, 8))
    return S(draw.choice(DIMENSIONS, count, replace=False), draw.normal(size=count))


def whole(seed: int) -> SparseVector:
    """Small whole numbers, zeros among them, so that sums are exact and often 0."""
    draw = np.random.default_rng([seed, 2])
    count = int(draw.integers(0, 8))
    return S(draw.choice(DIMENSIONS, count, replace=False), draw.integers(-1, 2, count))


def filled(seed: int) -> SparseVector:
    return sparse(seed, least=1)


MAKERS = {"d": dense, "s": sparse, "z": whole, "i": filled}
NAMES = list(MAKERS)
CONFIG = EdgeConfig(
    vectors=DENSE,
    sparse_vectors={
        "s": EdgeSparseVectorParams(),
        "z": EdgeSparseVectorParams(),
        "i": EdgeSparseVectorParams(modifier=Modifier.Idf),
    },
    optimizers=EAGER,
    durability=Durability.Os,
    checkpoint_bytes=20_000,
)


@pytest.fixture(scope="module")
def pair(pairs: Pairs) -> Pair:
    return pairs(CONFIG)


@FEW
@given(
    history=histories(NAMES),
    asked=st.lists(questions(["d", "s"], NAMES), min_size=20, max_size=30),
    whole_ones=st.lists(questions(["z"], NAMES), min_size=8, max_size=12),
    weighted=st.lists(st.tuples(questions(["i"], NAMES), filters(NAMES)), min_size=10, max_size=15),
    scrolled=st.lists(scrolls(NAMES), min_size=4, max_size=8),
)
def test_any_history_and_any_question(
    pair: Pair,
    history: list[Step],
    asked: list[Asked],
    whole_ones: list[Asked],
    weighted: list[tuple[Asked, Filter]],
    scrolled: list[ScrollRequest],
) -> None:
    """With a filter Qdrant, too, gives points whose sum is 0; with a corpus it counts who lives."""
    pair.clear()
    for step in history:
        step.do(pair, MAKERS)
        pair.compare()
    for one in asked:
        pair.compare_query(one.request(MAKERS))
    for one in whole_ones:
        if one.filter is not None:
            pair.compare_query(one.request(MAKERS))
    for one, corpus in weighted:
        pair.compare_query(one.request(MAKERS, SearchParams(idf=IdfParams(corpus))))
    ask_plainly(pair, scrolled)


# -- one case at a time

PLAIN = EdgeConfig(
    vectors=DENSE,
    sparse_vectors={
        "s": EdgeSparseVectorParams(),
        "i": EdgeSparseVectorParams(modifier=Modifier.Idf),
    },
    optimizers=EAGER,
    durability=Durability.Os,
)
ONES = [1.0] * 16


def upsert(*points: Point) -> UpdateOperation:
    return U.upsert_points(points)


def nearest(vector: Any, using: str = "s", **settings: Any) -> QueryRequest:
    return QueryRequest(ALL, query=Query.Nearest(vector, using), **settings)


def scores(shard: Any, request: QueryRequest) -> dict[Any, float]:
    """By id, from either engine."""
    asked = theirs(request) if isinstance(shard, qdrant_edge.EdgeShard) else request
    return {hit.id: hit.score for hit in shard.query(asked)}


@pytest.fixture
def small(pairs: Pairs) -> Pair:
    """Unsorted, empty, negative, zero; beside a dense vector, and none at all."""
    made = pairs(PLAIN)
    made.update(
        upsert(
            Point(1, {"s": S([5, 1, 3], [5.0, 1.0, 3.0]), "d": ONES}, {"a": 1}),
            Point(2, {"s": S([], []), "d": ONES}),
            Point(3, {"s": S([1], [-2.0])}, {"a": 1}),
            Point(4, {"d": ONES}),
            Point(5, {}),
            Point(6, {"s": S([7, 2**32 - 1], [0.0, 1.0]), "i": S([1], [1.0])}),
        )
    )
    return made


def test_what_is_read_back_is_sorted_by_index(small: Pair) -> None:
    small.compare_retrieve([1, 2, 3, 4, 5, 6], True, True)
    [record] = small.ours.retrieve([1], False, ["s"])
    assert record.vector == {"s": S([1, 3, 5], [1.0, 3.0, 5.0])}
    small.restart()
    small.compare()


@pytest.mark.parametrize(
    "vector",
    [
        S([1, 2, 3], [1.0, 1.0, 1.0]),
        S([3, 1], [-1.0, 1.0]),
        S([2**32 - 1], [0.5]),
        S([99], [1.0]),  # nobody has it
        S([], []),
        S(np.array([5, 1], np.uint16), np.array([1, 2])),
    ],
    ids=repr,
)
def test_only_points_that_share_a_dimension_are_found(small: Pair, vector: SparseVector) -> None:
    for _ in range(2):
        for settings in SETTINGS:
            small.compare_query(nearest(vector, **settings))
        small.optimize()


SETTINGS: list[dict[str, Any]] = [
    {},
    {"score_threshold": 0.0},
    {"score_threshold": 3.0},
    {"offset": 1},
    {"filter": Filter(must=[FieldCondition("a", match=MatchValue(1))])},
    {"filter": Filter(must=[HasVectorCondition("d")])},
    {"params": SearchParams(exact=True, indexed_only=True)},
]


@pytest.mark.parametrize("vector", [False, True, [], ["s"], ["d"], ["s", "d", "i"]], ids=repr)
def test_vectors_are_selected_by_name(small: Pair, vector: Any) -> None:
    small.compare_retrieve([6, 1, 2, 99, 5], False, vector)
    small.compare_scroll(ScrollRequest(limit=9, with_vector=vector))
    small.compare_query(nearest(S([1, 7], [1.0, 1.0]), with_vector=vector, filter=Filter()))
    asked = SearchRequest(Query.Nearest(S([1], [1.0]), "s"), 3, with_vector=vector)
    small.compare_query(asked)


def test_an_empty_vector_is_had_and_never_found(small: Pair) -> None:
    has, lacks = (
        Filter(must=[HasVectorCondition("s")]),
        Filter(must_not=[HasVectorCondition("s")]),
    )
    for _ in range(2):
        for filter in (has, lacks):
            small.compare_scroll(ScrollRequest(limit=9, filter=filter))
            small.compare_query(nearest(S([1, 3, 5, 7], [1.0] * 4), filter=filter))
        assert [record.id for record in small.ours.scroll(ScrollRequest(filter=has))[0]] == [
            1, 2, 3, 6,
        ]  # fmt: skip
        small.optimize()


def test_vectors_are_replaced_and_taken_away_one_by_one(small: Pair) -> None:
    for operation in (
        U.update_vectors(
            [PointVectors(1, {"s": S([2], [2.0])}), PointVectors(5, {"s": S([], [])})]
        ),
        U.update_vectors(
            [PointVectors(3, {"s": S([], [])}), PointVectors(4, {"i": S([1], [1.0])})]
        ),
        U.delete_vectors([2, 4, 6], ["s"]),
        U.delete_vectors_by_filter(Filter(must=[HasVectorCondition("i")]), ["i", "d"]),
        upsert(Point(1, {"i": S([3], [1.0])})),
    ):
        small.update(operation)
        small.compare()
        for name in ("s", "i"):
            small.compare_scroll(
                ScrollRequest(limit=9, filter=Filter(must=[HasVectorCondition(name)]))
            )
    for change in (small.restart, small.optimize):
        change()
        small.compare()
        small.compare_query(nearest(S([1, 2, 7, 2**32 - 1], [1.0] * 4), filter=Filter()))


REFUSED: dict[str, tuple[Any, type[EdgeError], str]] = {
    "numbers for a sparse vector": (
        lambda shard: shard.update(upsert(Point(9, {"s": [1.0, 2.0]}))),
        ValidationError,
        "expected a SparseVector",
    ),
    "a sparse vector for numbers": (
        lambda shard: shard.update(upsert(Point(9, {"d": S([1], [1.0])}))),
        ValidationError,
        "got a SparseVector",
    ),
    "an unknown vector": (
        lambda shard: shard.update(upsert(Point(9, {"zz": S([1], [1.0])}))),
        UnknownVector,
        "zz",
    ),
    "a query of numbers": (
        lambda shard: shard.query(nearest([1.0, 2.0])),
        ValidationError,
        "expected a SparseVector",
    ),
    "a sparse query of numbers": (
        lambda shard: shard.query(nearest(S([1], [1.0]), "d")),
        ValidationError,
        "got a SparseVector",
    ),
    "a query of an unknown vector": (
        lambda shard: shard.query(nearest(S([1], [1.0]), "zz")),
        UnknownVector,
        "zz",
    ),
    "a query of no vector": (
        lambda shard: shard.query(nearest(S([1], [1.0]), "")),
        UnknownVector,
        'vector "" is not known',
    ),
    "an unknown vector to show": (
        lambda shard: shard.query(nearest(S([1], [1.0]), with_vector=["zz"])),
        UnknownVector,
        "zz",
    ),
    "an unknown vector to delete": (
        lambda shard: shard.update(U.delete_vectors([1], ["zz"])),
        UnknownVector,
        "zz",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_both_refuse(small: Pair, name: str) -> None:
    act, kind, message = REFUSED[name]
    small.refuse(act, kind, message)
    small.compare()


@pytest.mark.parametrize("index", [-1, 2**32, 1.5, "1", None])
def test_an_index_is_an_integer_of_32_bits(index: Any) -> None:
    with pytest.raises(ValidationError):
        S([index], [1.0])
    with pytest.raises((OverflowError, TypeError)):
        qdrant_edge.SparseVector([index], [1.0])


def test_a_sparse_vector_may_have_the_default_name(pairs: Pairs) -> None:
    """In results it is in a dict even where it is alone, since only numbers come bare."""
    config = EdgeConfig(sparse_vectors={"": EdgeSparseVectorParams()}, durability=Durability.Os)
    pair = pairs(config)
    pair.update(upsert(Point(1, {"": S([1], [1.0])}), Point(2, {"": S([2], [1.0])}), Point(3, {})))
    pair.compare()
    pair.compare_query(QueryRequest(9, query=Query.Nearest(S([1], [2.0])), with_vector=True))
    pair.restart()
    pair.compare()


# -- many points, long posting lists

WORDS = 300


def document(draw: np.random.Generator, most: int = 40) -> SparseVector:
    """Few words are common; weights are positive, as those of learned sparse models are."""
    words = np.unique((WORDS * draw.random(int(draw.integers(1, most))) ** 3).astype(np.uint32))
    return S(words, draw.gamma(2.0, 1.0, len(words)))


def test_many_points(pairs: Pairs) -> None:
    """By the inverted index, with filters beyond what is compared one by one, among deleted ones;
    and weighted while nothing was deleted yet."""
    draw = np.random.default_rng(5)
    params = EdgeSparseVectorParams(full_scan_threshold=1)
    weighted = EdgeSparseVectorParams(full_scan_threshold=1, modifier=Modifier.Idf)
    config = EdgeConfig(
        vectors=DENSE,
        sparse_vectors={"s": params, "i": weighted},
        optimizers=EAGER,
        durability=Durability.Os,
    )
    pair = pairs(config)
    asked = [document(draw, 12) for _ in range(12)]
    some = Filter(must=[FieldCondition("n", match=MatchValue(1))])
    not_these = Filter(must_not=[HasIdCondition(range(0, 3000, 2))])

    def compare(names: str) -> None:
        for place, vector in enumerate(asked):
            for name in names:
                filter = (None, some, not_these)[place % 3]
                query = Query.Nearest(vector, name)
                pair.compare_query(QueryRequest((10, 100)[place % 2], 3, query, filter=filter))

    for part in range(2):
        points = []
        for point_id in range(part * 1500, part * 1500 + 1500):
            found = document(draw)
            points.append(Point(point_id, {"d": ONES, "s": found, "i": found}, {"n": point_id % 3}))
        pair.update(upsert(*points))
        compare("si")
        pair.optimize()
        compare("si")
    pair.update(U.delete_points(range(0, 3000, 7)))
    pair.update(U.delete_vectors(range(1, 3000, 7), ["s"]))
    compare("s")
    pair.restart()
    compare("s")


# -- weights


def rarity(n: int, df: int) -> float:
    return math.log((n - df + 0.5) / (df + 0.5) + 1)


def weight(shard: Any, corpus: IdfParams | None = None, index: int = 1) -> float:
    """What one dimension of a query is multiplied by, as the scores show it."""
    request = nearest(S([index], [1.0]), "i", params=SearchParams(idf=corpus))
    return next(iter(scores(shard, request).values()))


def weighed(first: int, count: int, having: int) -> UpdateOperation:
    """Points of which the first ones have the dimension 1."""
    rare, common = S([1, 2], [1.0, 1.0]), S([2], [1.0])
    ids = range(first, first + count)
    return upsert(
        *(Point(i, {"d": ONES, "i": rare if i < first + having else common}) for i in ids)
    )


def test_a_rare_dimension_counts_for_more(pairs: Pairs) -> None:
    """In the whole shard, over segments, after rebuilds and restarts."""
    pair = pairs(PLAIN)
    pair.update(weighed(0, 40, 12))
    assert same_score(weight(pair.ours), rarity(40, 12))
    steps: list[Any] = [
        lambda: None,
        pair.optimize,
        lambda: pair.update(weighed(100, 30, 1)),
        pair.restart,
        lambda: pair.update(weighed(100, 1, 0)),  # in place, in the segment that grows
        lambda: pair.update(U.update_vectors([PointVectors(101, {"i": S([1], [1.0])})])),
        lambda: pair.update(upsert(Point(200, {"d": ONES}), Point(201, {"i": S([], [])}))),
        pair.optimize,
    ]
    for do in steps:
        do()
        for query in (S([1], [1.0]), S([1, 2, 9], [1.0, -0.5, 1.0]), S([2], [2.0])):
            for settings in ({}, {"score_threshold": 1.0}, {"filter": Filter()}):
                pair.compare_query(nearest(query, "i", **settings))
    assert same_score(weight(pair.ours), rarity(70, 13))


def test_a_corpus_says_where_a_dimension_is_rare(pairs: Pairs) -> None:
    pair = pairs(PLAIN)
    pair.update(weighed(0, 40, 12))
    pair.optimize()
    pair.update(weighed(100, 10, 10))
    pair.update(U.delete_points([0, 1, 100]))
    query = S([1, 2, 3], [1.0, -0.5, 2.0])
    corpora = [
        Filter(),
        Filter(must=[HasIdCondition(range(5, 20))]),
        Filter(must=[HasIdCondition([39, 38])]),  # nobody has it
        Filter(must=[HasIdCondition([999])]),  # nobody at all
        Filter(must_not=[HasIdCondition([101])]),
    ]
    for corpus in corpora:
        params = SearchParams(idf=IdfParams(corpus))
        pair.compare_query(nearest(query, "i", params=params))
        pair.compare_query(nearest(query, "i", params=params, filter=corpora[1]))
    assert same_score(weight(pair.ours, IdfParams(corpora[1])), rarity(15, 7))
    assert same_score(weight(pair.ours, IdfParams(corpora[3])), math.log(2))


# Deliberate differences.


MALFORMED: dict[str, tuple[list[int], list[float], str]] = {
    "unequal lengths": ([1, 2], [1.0], "2 indices and 1 values"),
    "an index twice": ([1, 3, 1], [1.0, 2.0, 3.0], "comes twice"),
    "nan": ([1], [math.nan], "expected a number, got nan"),
    "infinity": ([1], [-math.inf], "expected a finite float32, got -inf"),
    "beyond float32": ([1], [1e39], "finite"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_vector_is_refused_where_qdrant_makes_it(name: str) -> None:
    """When it is made: one of unequal lengths would break Qdrant's shard when it is stored."""
    indices, values, message = MALFORMED[name]
    with pytest.raises(ValidationError, match=message):
        S(indices, values)
    made = qdrant_edge.SparseVector(indices, values)
    assert (len(made.indices), len(made.values)) == (len(indices), len(values))


def test_what_is_not_finite_is_never_stored_where_qdrant_stores_and_loses_it(small: Pair) -> None:
    bad = qdrant_edge.Point(9, {"s": qdrant_edge.SparseVector([1], [math.nan])})
    small.theirs.update(qdrant_edge.UpdateOperation.upsert_points([bad]))
    assert small.theirs.count(qdrant_edge.CountRequest()) == 7
    assert 9 not in scores(small.theirs, nearest(S([1], [1.0])))


def test_an_index_comes_once_where_qdrants_score_of_two_depends_on_the_segment(
    pairs: Pairs,
) -> None:
    pair = pairs(PLAIN)
    twice = qdrant_edge.SparseVector([1, 1], [1.0, 2.0])
    points = [qdrant_edge.Point(i, {"s": twice, "d": ONES}) for i in range(60)]
    pair.theirs.update(qdrant_edge.UpdateOperation.upsert_points(points))
    found = []
    for _ in range(2):
        for settings in ({}, {"filter": Filter()}):
            found += [scores(pair.theirs, nearest(S([1], [1.0]), **settings))[0]]
        pair.theirs.optimize()
    assert found == [2.0, 2.0, 3.0, 1.0]


def test_a_query_of_unequal_lengths_is_refused_where_qdrant_panics(small: Pair) -> None:
    bad = qdrant_edge.Query.Nearest(qdrant_edge.SparseVector([1, 3], [1.0]), "s")
    with pytest.raises(BaseException, match=r".") as caught:
        small.theirs.query(qdrant_edge.QueryRequest(9, query=bad))
    assert type(caught.value).__name__ == "PanicException"


def test_a_sum_of_zero_is_a_result_where_qdrant_drops_it_unless_there_is_a_filter(
    small: Pair,
) -> None:
    """A point that shares a dimension is found, whatever the way and the sum."""
    small.update(upsert(Point(9, {"s": S([1, 3], [3.0, -1.0])})))
    query = S([1, 3, 7], [1.0, 3.0, 1.0])
    for _ in range(2):
        assert scores(small.ours, nearest(query)) == {1: 10.0, 9: 0.0, 6: 0.0, 3: -2.0}
        assert scores(small.theirs, nearest(query)) == {1: 10.0, 3: -2.0}
        small.compare_query(nearest(query, filter=Filter()))
        small.optimize()


@pytest.mark.parametrize("datatype", [T.Float16, T.Uint8])
def test_small_datatypes_round_what_is_stored_where_qdrant_rounds_its_index_alone(
    pairs: Pairs, datatype: VectorStorageDatatype
) -> None:
    """What is read back is what is compared, before a rebuild and after. Qdrant compares exact
    values until the rebuild, and then others than it shows."""
    given = S([1, 2, 3], [0.1, -3.3, 1000.3])
    pair = pairs(
        EdgeConfig(
            vectors=DENSE,
            sparse_vectors={"s": EdgeSparseVectorParams(datatype=datatype)},
            optimizers=EAGER,
            durability=Durability.Os,
        )
    )
    pair.update(upsert(*(Point(i, {"s": given, "d": ONES}) for i in range(60))))
    rounded = np.float32(given.values)
    if datatype is T.Float16:
        rounded = rounded.astype(np.float16).astype(np.float32)
    else:
        step = np.float32(1000.3) / np.float32(127)
        rounded = np.rint(rounded / step) * step
    for built in (False, True):
        [ours] = pair.ours.retrieve([1], False, ["s"])
        [other] = pair.theirs.retrieve([1], False, ["s"])
        assert ours.vector["s"].values == pytest.approx(rounded.tolist(), rel=1e-6)
        assert other.vector["s"].values == given.values
        for index, kept, exact in zip(given.indices, rounded, given.values, strict=True):
            asked = nearest(S([index], [0.7]), filter=Filter())
            assert same_score(scores(pair.ours, asked)[1], 0.7 * float(kept))
            unfiltered = nearest(S([index], [0.7]))
            if not built:
                assert same_score(scores(pair.theirs, unfiltered)[1], 0.7 * exact)
        pair.optimize()
        pair.restart()


def test_frequencies_are_of_the_living_where_qdrant_counts_the_deleted_until_a_rebuild(
    pairs: Pairs,
) -> None:
    pair = pairs(PLAIN)
    pair.update(weighed(0, 40, 12))
    pair.update(U.delete_points(range(10)))
    assert same_score(weight(pair.ours), rarity(30, 2))
    assert same_score(weight(pair.theirs), rarity(40, 12))
    pair.update(U.delete_vectors([10, 39], ["i"]))
    assert same_score(weight(pair.ours), rarity(28, 1))
    assert same_score(weight(pair.theirs), rarity(40, 12))
    pair.restart()
    assert same_score(weight(pair.ours), rarity(28, 1))
    assert same_score(weight(pair.theirs), rarity(28, 1))


def test_an_overwritten_point_counts_once_where_qdrant_counts_both_copies(pairs: Pairs) -> None:
    pair = pairs(PLAIN)
    pair.update(weighed(0, 40, 12))
    pair.optimize()
    pair.update(weighed(0, 1, 1))
    assert same_score(weight(pair.ours), rarity(40, 12))
    assert same_score(weight(pair.theirs), rarity(41, 13))


def test_a_corpus_counts_no_empty_vectors_where_qdrants_does(pairs: Pairs) -> None:
    """So that a corpus of all is the same as none."""
    pair = pairs(PLAIN)
    pair.update(weighed(0, 40, 12))
    pair.update(upsert(*(Point(i, {"i": S([], [])}) for i in range(50, 55))))
    for corpus in (None, IdfParams(), IdfParams(Filter())):
        assert same_score(weight(pair.ours, corpus), rarity(40, 12))
    assert same_score(weight(pair.theirs), rarity(40, 12))
    assert same_score(weight(pair.theirs, IdfParams(Filter())), rarity(45, 12))


def test_weights_of_what_has_none_are_passed_over_where_qdrant_refuses(small: Pair) -> None:
    """SearchParams may be the same for all vectors of a shard."""
    params = SearchParams(idf=IdfParams())
    for query, name in ((S([1], [1.0]), "s"), (ONES, "d")):
        asked = nearest(query, name, params=params)
        assert scores(small.ours, asked) == scores(small.ours, nearest(query, name))
        with pytest.raises(Exception, match="requires a sparse vector with the `idf` modifier"):
            small.theirs.query(theirs(asked))


def test_turbo_types_are_refused_where_qdrant_takes_them_and_cannot_rebuild(pairs: Pairs) -> None:
    for datatype in (T.Turbo8, T.Turbo16):
        with pytest.raises(ValidationError, match="datatype"):
            EdgeSparseVectorParams(datatype=datatype)
        with pytest.raises(ValidationError, match="datatype"):
            U.create_sparse_vector("t", datatype=datatype)
        other = theirs(datatype)
        assert qdrant_edge.EdgeSparseVectorParams(datatype=other).datatype == other


def test_names_come_in_the_order_of_the_config_where_qdrants_order_is_chance(pairs: Pairs) -> None:
    names = [f"{letter}{number}" for letter in "zyx" for number in range(4)]
    pair = pairs(
        EdgeConfig(
            vectors={name: EdgeVectorParams(1, Distance.Dot) for name in names[:6]},
            sparse_vectors={name: EdgeSparseVectorParams() for name in names[6:]},
            durability=Durability.Os,
        )
    )
    vectors = {name: [1.0] for name in names[:6]} | {name: S([1], [1.0]) for name in names[6:]}
    given = dict(sorted(vectors.items()))
    pair.update(upsert(*(Point(i, given) for i in range(4))))
    pair.compare()
    for record in pair.ours.retrieve(range(4), False, True):
        assert list(record.vector) == names
    orders = {tuple(r.vector) for r in pair.theirs.retrieve([0, 1, 2, 3], False, True)}
    assert len(orders) > 1


def test_a_vector_that_nobody_knows_is_refused_in_a_filter_where_qdrant_finds_nothing(
    small: Pair,
) -> None:
    request = ScrollRequest(filter=Filter(must=[HasVectorCondition("zz")]))
    with pytest.raises(UnknownVector, match="zz"):
        small.ours.scroll(request)
    assert small.theirs.scroll(theirs(request)) == ([], None)
