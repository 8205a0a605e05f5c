"""Best effort in queries of several stages: what was found until the time was over, ranked."""

from __future__ import annotations

from typing import Any

import pytest

from edge.errors import DeadlineExceeded
from edge.model.examples import DiscoverQuery, RecommendQuery
from edge.model.expression import Expression
from edge.model.filter import FieldCondition, Filter, MatchValue
from edge.model.formula import Formula
from edge.model.fusion import Fusion
from edge.model.point_id import PointId
from edge.model.prefetch import Prefetch
from edge.model.query import Mmr, OrderBy, Query, Sample, TextQuery
from edge.model.request import QueryRequest
from edge.query import by_vectors
from edge.query import deadline as deadlines
from edge.query.answer import answer
from edge.query.deadline import Deadline
from tests.query.ranked_shards import EXACT, Shard, examples
from tests.segment.made import afresh

DOT, OTHER = examples("dot", 2)
WORDS = examples("words", 1)[0]
HALLS = Filter(must=[FieldCondition("room", match=MatchValue("hall"))])

NEAR = Prefetch(20, Query.Nearest(DOT, "dot"), params=EXACT)
LIKE = Prefetch(20, Query.RecommendSumScores(RecommendQuery([OTHER], [DOT]), "dot"), params=EXACT)
SPARSE = Prefetch(20, Query.Nearest(WORDS, "words"))
SAID = Prefetch(20, TextQuery("note", "cup"))
FUSED = [NEAR, SPARSE, LIKE]
DISCOVER = Query.Discover(DiscoverQuery(OTHER, []), "dot")

QUERIES: dict[str, dict[str, Any]] = {
    "rrf": {"query": Fusion.Rrf(2), "prefetches": FUSED},
    "dbsf": {"query": Fusion.Dbsf(), "prefetches": FUSED},
    "filtered": {"query": Fusion.Rrf(2), "prefetches": FUSED, "filter": HALLS},
    "again": {"query": Query.Nearest(OTHER, "dot"), "prefetches": FUSED},
    "discover": {"query": DISCOVER, "prefetches": FUSED},
    "words": {"query": Query.Nearest(WORDS, "words"), "prefetches": FUSED},
    "formula": {
        "query": Formula(
            Expression.Sum([Expression.Variable("$score"), Expression.Variable("n")]), {"n": 0}
        ),
        "prefetches": [NEAR, LIKE],
    },
    "mmr": {"query": Mmr(OTHER, 0.5, 30, "dot"), "prefetches": FUSED},
    "order": {"query": OrderBy("n"), "prefetches": FUSED},
    "chance": {"query": Sample.Random, "prefetches": FUSED},
    "text": {"query": TextQuery("note", "cup"), "prefetches": FUSED},
    "deep": {
        "query": Fusion.Rrf(2),
        "prefetches": [
            Prefetch(20, Fusion.Dbsf(), [NEAR, SAID]),
            Prefetch(20, Fusion.Rrf(3), FUSED),
        ],
    },
    "mmr alone": {"query": Mmr(OTHER, 0.5, 30, "dot")},
    "recommended words": {
        "query": Query.RecommendSumScores(RecommendQuery([WORDS], []), "words"),
        "filter": HALLS,
    },
    "order alone": {"query": OrderBy("n")},
}


class Clock:
    """Time that goes on by one at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(deadlines, "monotonic", found)
    return found


def ids(hits: list[Any]) -> list[PointId]:
    return [hit.id for hit in hits]


@pytest.mark.parametrize("kind", QUERIES)
def test_every_moment_may_be_the_last(ranked: Shard, clock: Clock, kind: str) -> None:
    """Never an error; in the end everything; and what came first is ranked as if it were all."""
    request = QueryRequest(15, **QUERIES[kind])
    allowed = set(ids(answer(ranked.view, QueryRequest(999, filter=request.filter))))
    began = clock.now
    whole = answer(afresh(ranked.view), request, Deadline(1e9))
    looks = int(clock.now - began)
    assert looks > 3
    first, counts = answer(afresh(ranked.view), request, Deadline(0, best_effort=True)), []
    for left in range(looks + 2):
        hits = answer(afresh(ranked.view), request, Deadline(left, best_effort=True))
        assert set(ids(hits)) <= allowed
        assert len(set(ids(hits))) == len(hits) <= 15
        counts.append(len(hits))
        if left < looks - 2:
            with pytest.raises(DeadlineExceeded):
                answer(afresh(ranked.view), request, Deadline(left))
    assert counts[-1] == len(whole)
    if kind != "chance":
        assert hits == whole
    assert first != whole


@pytest.mark.parametrize("query", [Fusion.Rrf(2), Query.Nearest(OTHER, "dot"), OrderBy("n")])
def test_what_had_its_turn_is_ranked_and_the_rest_is_left_out(
    ranked: Shard, clock: Clock, query: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = by_vectors.search

    def slow(*arguments: Any) -> Any:
        found = search(*arguments)
        clock.now += 1000.0
        return found

    monkeypatch.setattr(by_vectors, "search", slow)
    request = QueryRequest(9, query=query, prefetches=[NEAR, LIKE, SPARSE])
    found = answer(ranked.view, request, Deadline(900.0, best_effort=True))
    first = QueryRequest(9, query=query, prefetches=[NEAR])
    assert found == answer(ranked.view, first)
    with pytest.raises(DeadlineExceeded):
        answer(ranked.view, request, Deadline(900.0))


def test_without_time_to_diversify_the_most_relevant_are_given(
    ranked: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_time(*arguments: Any) -> Any:
        raise DeadlineExceeded("it is over")

    monkeypatch.setattr(by_vectors, "relevance_and_likeness", out_of_time)
    nearest = answer(ranked.view, QueryRequest(5, query=Query.Nearest(DOT, "dot"), params=EXACT))
    request = QueryRequest(5, query=Mmr(DOT, 0.1, 30, "dot"), params=EXACT)
    assert answer(ranked.view, request, Deadline(60.0, best_effort=True)) == nearest
    with pytest.raises(DeadlineExceeded):
        answer(ranked.view, request, Deadline(60.0))


def test_what_nobody_waits_for_is_given_up_in_any_stage(
    ranked: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadline = Deadline(60.0, best_effort=True)
    rated = by_vectors.scan_few
    seen: list[int] = []

    def given_up(*arguments: Any) -> Any:
        deadline.expire()
        seen.append(1)
        return rated(*arguments)

    monkeypatch.setattr(by_vectors, "scan_few", given_up)
    request = QueryRequest(5, query=Query.Nearest(DOT, "dot"), prefetches=[NEAR])
    with pytest.raises(DeadlineExceeded):
        answer(ranked.view, request, deadline)
    assert seen == [1]


def test_a_finishing_deadline_is_over_only_when_it_expires() -> None:
    late, strict = Deadline(0.0, best_effort=True), Deadline(0.0)
    finishing = late.finishing()
    assert finishing.over() is False
    finishing.check()
    assert finishing.finishing().over() is False
    late.expire()
    for look in (finishing.over, finishing.check, finishing.finishing().check):
        with pytest.raises(DeadlineExceeded):
            look()
    assert strict.finishing() is strict
