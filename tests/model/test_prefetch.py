"""Prefetches: defaults, what they come to together, and what is refused."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from edge.errors import LimitExceeded, ValidationError
from edge.model.examples import ContextPair, ContextQuery, RecommendQuery
from edge.model.expression import Expression
from edge.model.filter import Filter
from edge.model.formula import Formula
from edge.model.fusion import Fusion
from edge.model.prefetch import Prefetch, Size, ranked_prefetches, size_of
from edge.model.query import Mmr, OrderBy, Query, Sample, SearchParams, TextQuery

NEAREST = Query.Nearest([1.0, 2.0])
RANKINGS: list[Any] = [
    NEAREST, OrderBy("a"), Sample.Random, TextQuery("a", "mug"), Mmr([1.0], 0.5, 10),
    Query.Context(ContextQuery([])), Fusion.Rrf(2), Fusion.Dbsf(),
    Formula(Expression.Variable("$score")),
]  # fmt: skip


def test_prefetch_defaults() -> None:
    found = Prefetch(3)
    assert (found.limit, found.query, found.prefetches) == (3, None, ())
    assert (found.params, found.filter, found.score_threshold) == (None, None, None)
    assert Prefetch(3, None, None, None, None, None) == found == Prefetch(3, prefetches=[])
    assert Prefetch(3, score_threshold=1).score_threshold == 1.0


@pytest.mark.parametrize("ranking", RANKINGS, ids=repr)
def test_any_ranking_ranks_prefetches(ranking: Any) -> None:
    inner = [Prefetch(5, NEAREST), Prefetch(7)]
    found = Prefetch(3, ranking, iter(inner), SearchParams(64), Filter(), 0.5)
    assert found.prefetches == tuple(inner)
    again = pickle.loads(pickle.dumps(found))
    assert (again, again.size) == (found, found.size)
    assert copy.copy(found) is found
    with pytest.raises(AttributeError):
        found.limit = 4


@pytest.mark.parametrize("ranking", RANKINGS, ids=repr)
def test_what_needs_prefetches_says_so(ranking: Any) -> None:
    if isinstance(ranking, Fusion | Formula):
        with pytest.raises(ValidationError, match=r"prefetches: a .* ranks prefetches"):
            Prefetch(3, ranking)
    else:
        assert Prefetch(3, ranking).query == ranking


def test_a_query_knows_what_it_comes_to() -> None:
    assert Prefetch(3).size == Prefetch(3, OrderBy("a")).size == Size(0, 0, 0, 0)
    assert Prefetch(3, NEAREST).size == Size(0, 0, 0, 1)
    recommend = Query.RecommendSumScores(RecommendQuery([1, 2], [3]))
    context = Query.Context(ContextQuery([ContextPair(1, 2)]))
    inner = Prefetch(5, recommend, [Prefetch(7, NEAREST), Prefetch(11)])
    assert inner.size == Size(1, 2, 18, 4)
    whole = Prefetch(2, context, [inner, Prefetch(13, Mmr(1, 1, 5))])
    assert whole.size == size_of(context, whole.prefetches) == Size(2, 4, 36, 7)
    assert size_of(None, ()) == Size(0, 0, 0, 0)


def nested(levels: int) -> Prefetch:
    found = Prefetch(1, NEAREST)
    for _ in range(levels - 1):
        found = Prefetch(1, NEAREST, [found])
    return found


def test_prefetches_end_exactly_at_the_ceilings() -> None:
    deep = nested(64)
    assert deep.size == Size(63, 63, 63, 64)
    assert repr(deep).count("Prefetch(") == 64
    with pytest.raises(LimitExceeded, match="65 levels of 65 prefetches, at most 64 and 1024"):
        Prefetch(1, NEAREST, [deep])
    wide = Prefetch(1, NEAREST, [Prefetch(1)] * 1023)
    assert wide.size.number == 1023
    with pytest.raises(LimitExceeded, match="2 levels of 1025 prefetches"):
        Prefetch(1, NEAREST, [Prefetch(1)] * 1024)
    with pytest.raises(LimitExceeded, match="prefetches: 1025 entries"):
        Prefetch(1, NEAREST, [Prefetch(1)] * 1025)
    doubled = Prefetch(1, NEAREST)
    for _ in range(9):
        doubled = Prefetch(1, NEAREST, [doubled, doubled])
    assert doubled.size.number == 1022
    with pytest.raises(LimitExceeded, match="11 levels of 2047 prefetches"):
        Prefetch(1, NEAREST, [doubled, doubled])


TWO = [Prefetch(1), Prefetch(2)]
REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: Prefetch(None), "limit: expected an int"),
    (lambda: Prefetch(-1), "limit: expected 0"),
    (lambda: Prefetch(True), "limit: expected an int"),
    (lambda: Prefetch(1, [1.0]), "query: expected a Query, TextQuery, OrderBy, Sample, Fusion"),
    (lambda: Prefetch(1, RecommendQuery([], [])), "query: expected a Query"),
    (lambda: Prefetch(1, Fusion.Dbsf), "query: expected a Query"),
    (lambda: Prefetch(1, prefetches=TWO), "query: expected what the prefetches are to be ranked"),
    (lambda: Prefetch(1, NEAREST, Prefetch(1)), "prefetches: expected a list"),
    (lambda: Prefetch(1, NEAREST, [Prefetch(1), None]), r"prefetches\[1\]: expected a Prefetch"),
    (lambda: Prefetch(1, params={}), "params: expected a SearchParams"),
    (lambda: Prefetch(1, filter={}), "filter: expected a Filter"),
    (lambda: Prefetch(1, score_threshold="1"), "score_threshold: expected a number"),
    (lambda: Prefetch(1, score_threshold=float("nan")), "score_threshold: expected a number"),
    (
        lambda: Prefetch(1, Fusion.Rrf(2, [1]), TWO),
        "query.weights: expected 2, one for each prefetch, got 1",
    ),
    (lambda: Prefetch(1, Fusion.Rrf(2, []), TWO), "query.weights: expected 2"),
]


@pytest.mark.parametrize(("build", "message"), REFUSED, ids=range(len(REFUSED)))
def test_refuses_naming_the_argument(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        build()


def test_weights_are_as_many_as_prefetches() -> None:
    assert ranked_prefetches(Fusion.Rrf(2, [1, 2]), TWO) == tuple(TWO)
    assert ranked_prefetches(Fusion.Rrf(2), TWO) == tuple(TWO)
