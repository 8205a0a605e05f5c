"""Queries: what rankings are read back as, and what is refused of them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from edge.errors import ValidationError
from edge.model.examples import (
    ContextPair,
    ContextQuery,
    DiscoverQuery,
    FeedbackItem,
    FeedbackNaiveQuery,
    NaiveFeedbackStrategy,
    OfExamples,
    RecommendQuery,
    count,
)
from edge.model.expression import Expression
from edge.model.formula import Formula
from edge.model.fusion import Fusion
from edge.model.query import (
    Bm25Params,
    Direction,
    Mmr,
    NearestQuery,
    OrderBy,
    Query,
    Sample,
    TextQuery,
)
from edge.model.sparse import SparseVector

ID = UUID(int=7)
SPARSE = SparseVector([3, 1], [0.5, 2])
STRATEGY = NaiveFeedbackStrategy(1, 0.1, -2)
PAIR = ContextPair([1.0, 2.0], 7)
HOLDERS: list[OfExamples] = [
    RecommendQuery([[1, 2], 7, str(ID)], [SPARSE, [[1, 2], [3, 4]]]),
    RecommendQuery([], []),
    PAIR,
    DiscoverQuery([1, 2], [PAIR, ContextPair(SPARSE, ID)]),
    DiscoverQuery(7, []),
    ContextQuery([PAIR]),
    FeedbackItem(SPARSE, 0.1),
    FeedbackNaiveQuery(7, [FeedbackItem([1], 1), FeedbackItem(ID, 0)], STRATEGY),
    Mmr([[1, 2], [3, 4]], 0.5, 10, "image"),
    Mmr(7, 0, 0),
]
KINDS = [
    Query.Nearest([1, 2], "image"),
    Query.Nearest(7),
    Query.RecommendBestScore(RecommendQuery([[1, 2]], [7])),
    Query.RecommendSumScores(RecommendQuery([[1, 2]], [7])),
    Query.Discover(DiscoverQuery([1, 2], [PAIR]), "image"),
    Query.Context(ContextQuery([PAIR])),
    Query.FeedbackNaive(FeedbackNaiveQuery([1, 2], [FeedbackItem([1, 2], 1)], STRATEGY)),
]
ALL = [*HOLDERS, *KINDS]


@pytest.mark.parametrize("query", ALL, ids=range(len(ALL)))
def test_what_holds_examples_is_a_value(query: Any) -> None:
    assert pickle.loads(pickle.dumps(query)) == query
    assert "\n" not in repr(query)
    assert [other == query for other in ALL] == [other is query for other in ALL]
    with pytest.raises(AttributeError):
        setattr(query, query.__struct_fields__[0], None)


@pytest.mark.parametrize("query", ALL, ids=range(len(ALL)))
def test_examples_are_given_and_taken_in_one_order(query: Any) -> None:
    found = list(query.examples())
    assert count(query) == len(found)
    assert len({place for place, _ in found}) == len(found)
    assert query.with_examples([example for _, example in found]) == query
    ids = list(range(100, 100 + len(found)))
    assert [example for _, example in query.with_examples(ids).examples()] == ids
    with pytest.raises(ValidationError, match=f"expected {len(found)}, got {len(found) + 1}"):
        query.with_examples([*ids, 1])


def test_examples_have_their_places() -> None:
    assert [place for place, _ in HOLDERS[0].examples()] == [
        "positives[0]", "positives[1]", "positives[2]", "negatives[0]", "negatives[1]"
    ]  # fmt: skip
    assert [place for place, _ in KINDS[4].examples()] == [
        "query.target", "query.pairs[0].positive", "query.pairs[0].negative"
    ]  # fmt: skip
    assert [place for place, _ in KINDS[6].examples()] == [
        "query.target", "query.feedback[0].vector"
    ]  # fmt: skip
    assert [place for q in (KINDS[0], Mmr(7, 1, 5)) for place, _ in q.examples()] == [
        "query", "query.vector"
    ]  # fmt: skip
    assert count(OrderBy("a")) == count(None) == 0


def test_examples_are_vectors_or_ids() -> None:
    found = RecommendQuery([[1, 2], 7, str(ID), np.int64(8)], np.ones((1, 2)))
    assert found.positives[1:] == (7, ID, 8)
    assert isinstance(found.positives[0], np.ndarray)
    assert (found.positives[0].dtype, found.positives[0].flags.writeable) == (np.float32, False)
    assert isinstance(found.negatives[0], np.ndarray)
    assert found.negatives[0].tolist() == [1, 1]
    assert RecommendQuery([1], []) != RecommendQuery([[1]], [])
    assert ContextPair(1, 2) != ContextPair(1, UUID(int=2))


def test_every_kind_is_a_query_of_its_own() -> None:
    names = [n for n in vars(Query) if n[0].isupper()]
    assert len(names) == 6
    for query in KINDS:
        assert isinstance(query, Query)
        assert [n for n in names if isinstance(query, getattr(Query, n))] == [
            repr(query).split("(")[0].removeprefix("Query.")
        ]
    assert Query.Nearest([1.0]) == Query.Nearest([1.0], "") == NearestQuery([1.0], None)
    assert Query.Context(ContextQuery([])) != Query.Context(ContextQuery([]), "image")


def test_queries_print_as_they_are_written() -> None:
    assert repr(KINDS[2]) == (
        "Query.RecommendBestScore(query=RecommendQuery(positives=[[1, 2]], negatives=[7]), "
        "using=None)"
    )
    assert (
        repr(RecommendQuery([7] * 9, [])) == "RecommendQuery(positives=[7, 7, … 9], negatives=[])"
    )
    assert repr(Mmr([1], 0.5, 9)) == "Mmr(vector=[1], lambda_=0.5, candidates_limit=9, using='')"


def test_feedback_is_held_in_single_precision() -> None:
    assert STRATEGY.b == float(np.float32(0.1))
    assert FeedbackItem(1, 0.1).score == float(np.float32(0.1))
    assert Mmr(1, 0.1, 1).lambda_ == float(np.float32(0.1))
    found = FeedbackNaiveQuery(1, [], STRATEGY)
    assert found.coefficients is found.strategy


def test_mmr_is_read_back_in_one_form() -> None:
    assert Mmr([1], 1, 5) == Mmr([1], 1.0, np.int32(5), None) == Mmr([1], 1, 5, "")
    assert Mmr([1], 0, 5).lambda_ == 0.0


NAN, INF = float("nan"), float("inf")
ONE = Expression.Constant(1)
REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: Query(1), "Query: expected one of its kinds"),
    (lambda: Query.Nearest(True), "query: expected a list of numbers, or the id of a point"),
    (lambda: Query.Nearest(-1), r"query: expected 0 to 2\^64-1"),
    (lambda: Query.Nearest("mug"), "query: expected a list of numbers, or the id .* got 'mug'"),
    (lambda: Query.Nearest({}), "query: expected a list of numbers"),
    (lambda: Query.Nearest(1.5), "query: expected a list of numbers"),
    (lambda: Query.RecommendBestScore([[1.0]]), "query: expected a RecommendQuery, got list"),
    (lambda: Query.RecommendSumScores(PAIR), "query: expected a RecommendQuery"),
    (lambda: Query.Discover(ContextQuery([])), "query: expected a DiscoverQuery"),
    (lambda: Query.Context(None), "query: expected a ContextQuery, got None"),
    (lambda: Query.FeedbackNaive(1), "query: expected a FeedbackNaiveQuery"),
    (lambda: Query.Context(ContextQuery([]), 1), "using: expected a str"),
    (lambda: RecommendQuery(None, []), "positives: expected a list"),
    (lambda: RecommendQuery([], "mug"), "negatives: expected a list"),
    (lambda: RecommendQuery([1.0, 2.0], []), r"positives\[0\]: expected a list of numbers"),
    (lambda: RecommendQuery([], [[1], {"a": [1]}]), r"negatives\[1\]: expected a list of numbers"),
    (lambda: RecommendQuery([[1, "x"]], []), r"positives\[0\]\[1\]: expected a number"),
    (lambda: ContextPair([1], None), "negative: expected a list of numbers"),
    (lambda: ContextPair("x", 1), "positive: expected a list of numbers, or the id of a point"),
    (lambda: DiscoverQuery(None, []), "target: expected a list of numbers"),
    (lambda: DiscoverQuery([1], PAIR), "pairs: expected a list"),
    (lambda: DiscoverQuery([1], [([1], [2])]), r"pairs\[0\]: expected a ContextPair"),
    (lambda: ContextQuery([PAIR, 1]), r"pairs\[1\]: expected a ContextPair"),
    (lambda: FeedbackItem(None, 1), "vector: expected a list of numbers"),
    (lambda: FeedbackItem([1], NAN), "score: expected a number"),
    (lambda: FeedbackItem([1], INF), "score: expected a finite float32, got inf"),
    (lambda: FeedbackItem([1], 1e39), "score: expected a finite float32"),
    (lambda: FeedbackItem([1], "1"), "score: expected a number"),
    (lambda: NaiveFeedbackStrategy(INF, 0, 0), "a: expected a finite float32"),
    (lambda: NaiveFeedbackStrategy(0, None, 0), "b: expected a number"),
    (lambda: NaiveFeedbackStrategy(0, 0, True), "c: expected a number"),
    (lambda: FeedbackNaiveQuery(None, [], STRATEGY), "target: expected a list of numbers"),
    (lambda: FeedbackNaiveQuery(1, [1], STRATEGY), r"feedback\[0\]: expected a FeedbackItem"),
    (lambda: FeedbackNaiveQuery(1, [], None), "strategy: expected a NaiveFeedbackStrategy"),
    (lambda: Mmr(None, 0.5, 1), "vector: expected a list of numbers"),
    (lambda: Mmr([1], 1.1, 1), "lambda_: expected 0 to 1, got 1.1"),
    (lambda: Mmr([1], -0.1, 1), "lambda_: expected 0 to 1"),
    (lambda: Mmr([1], NAN, 1), "lambda_: expected a number"),
    (lambda: Mmr([1], 0.5, -1), "candidates_limit: expected 0"),
    (lambda: Mmr([1], 0.5, None), "candidates_limit: expected an int"),
    (lambda: Mmr([1], 0.5, 1, 7), "using: expected a str"),
    (lambda: Fusion(), "Fusion: expected one of its kinds"),
    (lambda: Fusion.Rrf(0), "k: expected 1"),
    (lambda: Fusion.Rrf(2.0), "k: expected an int"),
    (lambda: Fusion.Rrf(None), "k: expected an int"),
    (lambda: Fusion.Rrf(2, 1.0), "weights: expected a list"),
    (lambda: Fusion.Rrf(2, [1, -1]), r"weights\[1\]: expected 0 or more, got -1"),
    (lambda: Fusion.Rrf(2, [NAN]), r"weights\[0\]: expected a number"),
    (lambda: Fusion.Rrf(2, [INF]), r"weights\[0\]: expected a finite float32"),
]


@pytest.mark.parametrize(("build", "message"), REFUSED, ids=range(len(REFUSED)))
def test_refuses_naming_the_argument(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        build()


def test_fusions() -> None:
    found = Fusion.Rrf(2, [0.1, np.float64(3), 0])
    assert found.weights == (float(np.float32(0.1)), 3.0, 0.0)
    assert isinstance(found, Fusion)
    assert isinstance(Fusion.Dbsf(), Fusion)
    assert Fusion.Rrf(2) == Fusion.Rrf(2, None) != Fusion.Rrf(3)
    assert Fusion.Dbsf() == Fusion.Dbsf() != Fusion.Rrf(2)
    assert repr([Fusion.Rrf(2), Fusion.Rrf(60, [3, 1]), Fusion.Dbsf()]) == (
        "[Fusion.Rrf(k=2), Fusion.Rrf(k=60, weights=[3.0, 1.0]), Fusion.Dbsf()]"
    )
    for fusion in (found, Fusion.Dbsf()):
        assert pickle.loads(pickle.dumps(fusion)) == fusion


def test_orders_are_read_back_in_one_form() -> None:
    assert OrderBy("a") == OrderBy("a", None) == OrderBy("a", Direction.Asc, None)
    assert OrderBy("a", Direction.Desc).direction is Direction.Desc
    assert OrderBy("a[].b").key == "a[].b"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (5, 5),
        (-(2**63) - 1, -(2**63) - 1),
        (2**64, 2**64),
        (0.5, 0.5),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7.0),
        (float("inf"), float("inf")),
        ("2024-01-01", "2024-01-01 00:00:00 UTC"),
        ("2024-01-01T12:00:00+02:00", "2024-01-01 10:00:00 UTC"),
        (datetime(2024, 1, 1), "2024-01-01 00:00:00 UTC"),
        (datetime(2024, 1, 1, tzinfo=UTC), "2024-01-01 00:00:00 UTC"),
        (datetime(2024, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), "2024-01-01 00:00:00 UTC"),
    ],
)
def test_where_an_order_starts(given: Any, kept: Any) -> None:
    """An int stays one: whether 2**53 + 1 is before 2**53 is no matter of floats."""
    found = OrderBy("a", start_from=given).start_from
    assert (found, type(found)) == (kept, type(kept))


def test_bm25_is_held_in_single_precision() -> None:
    assert Bm25Params() == Bm25Params(None, None)
    assert (Bm25Params().k, Bm25Params().b) == (float(np.float32(1.2)), 0.75)
    assert Bm25Params(np.float64(0.1)).k == float(np.float32(0.1))
    for edge in ((0, 0), (3e38, 1), (0.0, 1.0)):
        found = Bm25Params(*edge)
        assert found.b == edge[1]
        assert 0 <= found.k < float("inf")


def test_text_queries_are_read_back_in_one_form() -> None:
    found = TextQuery("a.b", "")
    assert (found.field, found.query, found.scoring) == ("a.b", "", Bm25Params())
    assert TextQuery("a", "x", None) == TextQuery("a", "x", Bm25Params())


def test_only_vectors_make_a_query() -> None:
    rankings = [Fusion.Rrf(2), Fusion.Dbsf(), Formula(ONE), Mmr([1], 1, 1), RecommendQuery([], [])]
    for other in (OrderBy("a"), TextQuery("a", "x"), Sample.Random, *rankings):
        assert not isinstance(other, Query)
