"""Checking what a request ranks by: its vectors, prefetches and formulas, against a shard's config
and limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge.errors import LimitExceeded, UnknownVector, ValidationError, WrongDimension
from edge.model.check import check_query, check_request
from edge.model.config import EdgeConfig
from edge.model.examples import (
    ContextPair,
    ContextQuery,
    DiscoverQuery,
    FeedbackItem,
    FeedbackNaiveQuery,
    NaiveFeedbackStrategy,
    RecommendQuery,
)
from edge.model.expression import Expression
from edge.model.filter import Filter, HasVectorCondition, IsEmptyCondition, NestedCondition
from edge.model.formula import Formula
from edge.model.fusion import Fusion
from edge.model.groups import QueryGroupsRequest
from edge.model.limits import Limits
from edge.model.matrix import SearchMatrixRequest
from edge.model.prefetch import Prefetch
from edge.model.query import IdfParams, Mmr, OrderBy, Query, Sample, SearchParams, TextQuery
from edge.model.request import QueryBatchRequest, QueryRequest, SearchRequest
from edge.model.sparse import SparseVector
from edge.model.vector_params import (
    Distance,
    EdgeSparseVectorParams,
    EdgeVectorParams,
    MultiVectorComparator,
    MultiVectorConfig,
)

KINDS = EdgeConfig(
    {
        "": EdgeVectorParams(3, Distance.Dot),
        "parts": EdgeVectorParams(
            2,
            Distance.Cosine,
            multivector_config=MultiVectorConfig(MultiVectorComparator.MaxSim),
        ),
    },
    {"words": EdgeSparseVectorParams()},
)
GOOD = [1.0, 2.0, 3.0]
SPARSE = SparseVector([1], [1])
ZZ = HasVectorCondition("zz")
STRATEGY = NaiveFeedbackStrategy(1, 1, 1)


def deep(levels: int) -> Filter:
    found = Filter([IsEmptyCondition("a")])
    for _ in range(levels - 1):
        found = Filter([NestedCondition("a", found)])
    return found


def feedback(target: Any, *vectors: Any) -> Query:
    items = [FeedbackItem(vector, 1) for vector in vectors]
    return Query.FeedbackNaive(FeedbackNaiveQuery(target, items, STRATEGY))


FITTING: list[Any] = [
    None,
    OrderBy("a"),
    Sample.Random,
    TextQuery("a", "mug"),
    Query.Nearest(7),
    Query.Nearest(7, "words"),
    Query.Nearest([1, 2], "parts"),
    Query.RecommendBestScore(RecommendQuery([GOOD, 7], [GOOD])),
    Query.RecommendSumScores(RecommendQuery([[1, 2], [[1, 2], [3, 4]]], [7]), "parts"),
    Query.RecommendSumScores(RecommendQuery([SPARSE], []), "words"),
    Query.RecommendBestScore(RecommendQuery([], [])),
    Query.Discover(DiscoverQuery(GOOD, [ContextPair(7, GOOD)])),
    Query.Context(ContextQuery([ContextPair(SPARSE, 7)]), "words"),
    feedback(GOOD, GOOD, 7),
    Mmr(GOOD, 0.5, 10_000),
    Mmr(SPARSE, 0.5, 0, "words"),
    Fusion.Rrf(2),
    Formula(Expression.Condition(HasVectorCondition("words"))),
    Formula(Expression.Sum([Expression.Constant(1)] * 999)),
]


@pytest.mark.parametrize("query", FITTING, ids=range(len(FITTING)))
def test_lets_rankings_through(query: Any) -> None:
    check_query(query, KINDS)


BAD = [1.0, 2.0]
UNFITTING: list[tuple[Any, type[ValidationError], str]] = [
    (Query.Nearest(7, "zz"), UnknownVector, "zz"),
    (Query.RecommendBestScore(RecommendQuery([], []), "zz"), UnknownVector, "zz"),
    (
        Query.RecommendBestScore(RecommendQuery([GOOD, BAD], [])),
        WrongDimension,
        r'^query\.positives\[1\], vector "": expected 3 numbers, got 2$',
    ),
    (
        Query.RecommendSumScores(RecommendQuery([], [[1, 2, np.nan]])),
        ValidationError,
        r"query\.negatives\[0\], .*not finite",
    ),
    (
        Query.RecommendSumScores(RecommendQuery([SPARSE], [])),
        ValidationError,
        r"query\.positives\[0\].*expected numbers, got a SparseVector",
    ),
    (
        Query.RecommendSumScores(RecommendQuery([SPARSE, GOOD], []), "words"),
        ValidationError,
        r"query\.positives\[1\].*expected a SparseVector",
    ),
    (
        Query.RecommendSumScores(RecommendQuery([[GOOD]], [])),
        WrongDimension,
        "expected 3 numbers, got a multivector",
    ),
    (
        Query.Nearest(np.zeros((0, 2)), "parts"),
        ValidationError,
        "query, .*one vector at least",
    ),
    (Query.Discover(DiscoverQuery(BAD, [])), WrongDimension, r"query\.target"),
    (
        Query.Discover(DiscoverQuery(GOOD, [ContextPair(7, BAD)])),
        WrongDimension,
        r"query\.pairs\[0\]\.negative",
    ),
    (
        Query.Context(ContextQuery([ContextPair(GOOD, 7), ContextPair(BAD, 7)])),
        WrongDimension,
        r"query\.pairs\[1\]\.positive",
    ),
    (feedback(BAD), WrongDimension, r"query\.target"),
    (feedback(GOOD, GOOD, BAD), WrongDimension, r"query\.feedback\[1\]\.vector"),
    (Mmr(BAD, 0.5, 1), WrongDimension, r"query\.vector"),
    (Mmr(7, 0.5, 1, "zz"), UnknownVector, "zz"),
    (Mmr(GOOD, 0.5, 10_001), LimitExceeded, r"query\.candidates_limit: 10001, at most 10000"),
    (Formula(Expression.Condition(ZZ)), UnknownVector, "zz"),
    (
        Formula(Expression.Neg(Expression.Condition(NestedCondition("a", deep(33))))),
        LimitExceeded,
        "34 levels",
    ),
    (
        Formula(Expression.Sum([Expression.Constant(1)] * 1000)),
        LimitExceeded,
        r"query\.formula: 1001, at most 1000",
    ),
]


@pytest.mark.parametrize(("query", "kind", "message"), UNFITTING, ids=range(len(UNFITTING)))
def test_refuses_rankings(query: Any, kind: type[ValidationError], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        check_query(query, KINDS)
    assert type(caught.value) is kind


NEAR = Query.Nearest(GOOD)
WRONG = Query.Nearest(BAD)
RRF = Fusion.Rrf(2)
CORPUS = SearchParams(idf=IdfParams(Filter([ZZ])))


def prefetched(levels: int, limit: int = 1) -> Prefetch:
    found = Prefetch(limit, NEAR)
    for _ in range(levels - 1):
        found = Prefetch(limit, NEAR, [found])
    return found


def ranked(*prefetches: Prefetch) -> QueryRequest:
    return QueryRequest(1, query=RRF, prefetches=prefetches)


UNFITTING_REQUESTS: list[tuple[Any, type[ValidationError], str]] = [
    (
        ranked(Prefetch(1), Prefetch(1, WRONG)),
        WrongDimension,
        r'^prefetches\[1\]: query, vector "": expected 3 numbers, got 2$',
    ),
    (
        ranked(Prefetch(1, RRF, [Prefetch(1, filter=Filter([ZZ]))])),
        UnknownVector,
        r'^prefetches\[0\]\.prefetches\[0\]: vector "zz"',
    ),
    (ranked(Prefetch(1, filter=deep(33))), LimitExceeded, r"prefetches\[0\]: filter: 33 levels"),
    (ranked(Prefetch(1, NEAR, params=CORPUS)), UnknownVector, r"prefetches\[0\]: .*zz"),
    (QueryRequest(1, query=NEAR, params=CORPUS), UnknownVector, "zz"),
    (SearchRequest(NEAR, 1, params=CORPUS), UnknownVector, "zz"),
    (ranked(prefetched(9)), LimitExceeded, "levels of prefetches: 9, at most 8"),
    (ranked(*[Prefetch(1)] * 65), LimitExceeded, "prefetches: 65, at most 64"),
    (ranked(Prefetch(1, RRF, [Prefetch(1)] * 64)), LimitExceeded, "prefetches: 65, at most 64"),
    (
        ranked(Prefetch(50_000), Prefetch(1, NEAR, [Prefetch(50_000)])),
        LimitExceeded,
        "limit of all prefetches: 100001, at most 100000",
    ),
    (
        QueryRequest(1, query=Query.RecommendSumScores(RecommendQuery(range(1025), []))),
        LimitExceeded,
        "examples: 1025, at most 1024",
    ),
    (
        ranked(*[Prefetch(1, Query.RecommendSumScores(RecommendQuery(range(513), [])))] * 2),
        LimitExceeded,
        "examples: 1026, at most 1024",
    ),
    (QueryBatchRequest([ranked(Prefetch(1, WRONG))]), WrongDimension, r"prefetches\[0\]"),
    (QueryGroupsRequest("a", query=WRONG), WrongDimension, "query"),
    (QueryGroupsRequest("a", filter=Filter([ZZ])), UnknownVector, "zz"),
    (QueryGroupsRequest("a", with_vector=["zz"]), UnknownVector, "zz"),
    (QueryGroupsRequest("a", 1001, 1000), LimitExceeded, r"limit \* group_size: 1001000, at most"),
    (QueryGroupsRequest("a", query=RRF, prefetches=[prefetched(9)]), LimitExceeded, "levels"),
    (SearchMatrixRequest(using="zz"), UnknownVector, "zz"),
    (SearchMatrixRequest(filter=Filter([ZZ])), UnknownVector, "zz"),
    (SearchMatrixRequest(10_001), LimitExceeded, "sample_size: 10001, at most 10000"),
    (SearchMatrixRequest(10_000, 101), LimitExceeded, "1010000, at most 1000000"),
]


@pytest.mark.parametrize(
    ("request_", "kind", "message"), UNFITTING_REQUESTS, ids=range(len(UNFITTING_REQUESTS))
)
def test_refuses_what_ranks(request_: Any, kind: type[ValidationError], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        check_request(request_, KINDS)
    assert type(caught.value) is kind


def test_limits_of_rankings_can_be_raised() -> None:
    wide = Limits(
        prefetch_depth=64, prefetches=1024, candidates=10**6, examples=2000,
        expression_nodes=65_536, mmr_candidates=10**5, matrix_points=10**5,
    )  # fmt: skip
    many = Query.RecommendSumScores(RecommendQuery(range(1999), []))
    check_query(Mmr(GOOD, 0.5, 10**5), KINDS, wide)
    check_query(Formula(Expression.Sum([Expression.Constant(1)] * 65_535)), KINDS, wide)
    for request in (
        ranked(prefetched(64, 10_000)),
        ranked(*[Prefetch(1)] * 1024),
        QueryRequest(1, query=many),
    ):
        check_request(request, KINDS, wide)
    check_request(SearchMatrixRequest(10**5, 10), KINDS, wide)


FITTING_REQUESTS: list[Any] = [
    ranked(prefetched(8)),
    ranked(*[Prefetch(1562)] * 64),
    QueryBatchRequest([ranked(Prefetch(1, NEAR))]),
    QueryRequest(1, query=Query.Nearest(7)),
    QueryRequest(1, query=Mmr(GOOD, 0.5, 10)),
    QueryRequest(1, query=Query.RecommendSumScores(RecommendQuery(range(1024), []))),
    SearchRequest(Query.Nearest(7), 1),
    SearchRequest(feedback(GOOD, GOOD), 1),
    SearchRequest(NEAR, 1, params=SearchParams(idf=IdfParams(Filter()))),
    QueryGroupsRequest("a", query=NEAR),
    QueryGroupsRequest("a", 1000, 1000, query=RRF, prefetches=[Prefetch(1)]),
    SearchMatrixRequest(10_000, 100, Filter(), "words"),
]


@pytest.mark.parametrize("request_", FITTING_REQUESTS, ids=range(len(FITTING_REQUESTS)))
def test_lets_through_what_fits(request_: Any) -> None:
    check_request(request_, KINDS)
