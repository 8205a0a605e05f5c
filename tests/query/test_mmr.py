"""Maximal marginal relevance against a greedy loop over plain lists."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import LimitExceeded
from edge.model.config import EdgeConfig
from edge.model.filter import FieldCondition, Filter, MatchValue
from edge.model.fusion import Fusion
from edge.model.point import Point
from edge.model.prefetch import Prefetch
from edge.model.query import IdfParams, Mmr, Query, SearchParams
from edge.model.request import QueryRequest
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams
from edge.query.answer import answer
from edge.query.mmr import picked
from edge.query.pool import Ranked
from tests.query.ranked_shards import (
    EXACT,
    FAR,
    NAMES,
    Shard,
    alike,
    examples,
    having,
)
from tests.segment.made import after, start

F = np.float32
HALLS = Filter(must=[FieldCondition("room", match=MatchValue("hall"))])
Matrix = list[list[float]]


def greedy(relevance: list[Any], alike: list[list[Any]], weight: float, limit: int) -> list[int]:
    """Each pick has the most of weight * relevance - (1 - weight) * the most like one before; of
    equal ones the first."""
    left, picks = list(range(len(relevance))), []
    while left and len(picks) < limit:
        gains = {
            at: F(weight) * F(relevance[at])
            - F(1 - weight) * F(max((alike[at][pick] for pick in picks), default=0))
            if picks
            else F(relevance[at])
            for at in left
        }
        pick = max(left, key=lambda at: (gains[at], -at))
        left.remove(pick)
        picks.append(pick)
    return picks


@given(
    count=st.integers(0, 12),
    limit=st.integers(0, 14),
    weight=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_picking_is_greedy(count: int, limit: int, weight: float, seed: int) -> None:
    """With many ties, and without them; likeness need not be symmetric."""
    random = np.random.default_rng(seed)
    for matrix in (random.integers(-3, 4, (count, count)), random.normal(size=(count, count))):
        likeness = matrix.astype(F)
        relevance = np.sort(random.integers(-3, 4, count))[::-1].astype(F)
        candidates = Ranked(np.arange(count) * 7, random.normal(size=count).astype(F))
        found = picked(candidates, relevance, likeness, weight, limit)
        picks = greedy(relevance.tolist(), likeness.tolist(), weight, limit)
        assert found.keys.tolist() == [7 * pick for pick in picks]
        assert found.scores.tolist() == candidates.scores[picks].tolist()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
def test_the_nearest_are_diversified(ranked: Shard, name: str, weight: float) -> None:
    """Scores stay those of the nearest; with vectors of several rows each candidate asks for the
    ones before it."""
    vector = examples(name, 1)[0]
    nearest = ranked.ask(Query.Nearest(vector, name), 25)
    known = having(ranked, name)
    vectors = [known[one] for one, _ in nearest]
    relevance = [alike(name, vector, other) for other in vectors]
    likeness = [[alike(name, one, other) for other in vectors] for one in vectors]
    picks = greedy(relevance, likeness, float(F(weight)), 10)
    expected = [nearest[pick] for pick in picks]
    found = ranked.ask(Mmr(vector, weight, 25, name), 10)
    assert found == expected
    assert ranked.ask(Mmr(vector, weight, 25, name), 4, offset=3) == expected[3:7]
    if weight == 1.0:
        assert found == nearest[:10]


@pytest.mark.parametrize("name", NAMES)
def test_it_means_the_same_at_the_root_and_below(ranked: Shard, name: str) -> None:
    vector = examples(name, 1)[0]
    mmr = Mmr(vector, 0.4, 12, name)
    expected = ranked.ask(mmr, 7)
    ranks = [(one, F(1 / (rank + 1))) for rank, (one, _) in enumerate(expected)]
    assert ranked.ask(Fusion.Rrf(1), prefetches=[Prefetch(7, mmr, params=EXACT)]) == ranks
    among = [Prefetch(30, Query.Nearest(examples(name, 2)[1], name), params=EXACT)]
    again = ranked.ask(Query.Nearest(vector, name), 12, prefetches=among)
    found = ranked.ask(mmr, 12, prefetches=among)
    assert dict(found) == dict(again)
    below = ranked.ask(Fusion.Rrf(1), prefetches=[Prefetch(12, mmr, among)])
    assert [one for one, _ in below] == [one for one, _ in found]


def test_rare_dimensions_count_for_relevance_too(ranked: Shard) -> None:
    """With lambda 1 it is the order of the nearest."""
    for vector in examples("words", 9):
        nearest = ranked.ask(Query.Nearest(vector, "rare"), 25)
        assert ranked.ask(Mmr(vector, 1.0, 25, "rare"), 25) == nearest


@pytest.mark.parametrize("corpus", [None, HALLS], ids=["all", "halls"])
def test_rare_dimensions_count_between_candidates_too(ranked: Shard, corpus: Filter | None) -> None:
    params = SearchParams(exact=True, idf=IdfParams(corpus))
    known = having(ranked, "rare")
    for vector in examples("words", 4):
        nearest = ranked.ask(Query.Nearest(vector, "rare"), 12, params=params)
        asked = [
            dict(ranked.ask(Query.Nearest(known[one], "rare"), params=params)) for one, _ in nearest
        ]
        likeness = [[scores.get(other, F(0)) for other, _ in nearest] for scores in asked]
        picks = greedy([score for _, score in nearest], likeness, float(F(0.4)), 7)
        found = ranked.ask(Mmr(vector, 0.4, 12, "rare"), 7, params=params)
        assert found == [nearest[pick] for pick in picks]


def test_candidates_are_as_many_as_asked_for(ranked: Shard) -> None:
    vector = examples("dot", 1)[0]
    nearest = ranked.ask(Query.Nearest(vector, "dot"), 9)
    for candidates, limit, many in (
        (0, 5, 0),
        (1, 5, 1),
        (9, 5, 5),
        (5, 9, 5),
        (3, 3, 3),
        (9, 0, 0),
    ):
        found = ranked.ask(Mmr(vector, 0.5, candidates, "dot"), limit)
        assert len(found) == many
        assert {one for one, _ in found} <= {one for one, _ in nearest[:candidates]}
    found = ranked.ask(Mmr(vector, 0.5, 0, "dot"), prefetches=[Prefetch(9)])
    assert found == []
    with pytest.raises(LimitExceeded, match=r"query\.candidates_limit: 10001, at most 10000"):
        ranked.ask(Mmr(vector, 0.5, 10_001, "dot"))


@pytest.mark.parametrize("name", NAMES)
def test_filters_and_thresholds_choose_the_candidates(ranked: Shard, name: str) -> None:
    vector = examples(name, 1)[0]
    halls = Filter(must=[FieldCondition("room", match=MatchValue("hall"))])
    nearest = ranked.ask(Query.Nearest(vector, name), 15, filter=halls)
    found = ranked.ask(Mmr(vector, 0.5, 15, name), 15, filter=halls)
    assert dict(found) == dict(nearest)
    limit = nearest[6][1]
    kept = {one for one, score in nearest if (score < limit if name in FAR else score > limit)}
    for prefetches in ([], [Prefetch(999)]):
        found = ranked.ask(
            Mmr(vector, 0.5, 15, name),
            15,
            filter=halls,
            score_threshold=limit,
            prefetches=prefetches,
        )
        assert {one for one, _ in found} == kept


def test_points_without_the_vector_drop_out(ranked: Shard) -> None:
    known = having(ranked, "rows")
    found = ranked.ask(Mmr(examples("rows", 1)[0], 0.5, 999, "rows"), prefetches=[Prefetch(60)])
    first = ranked.ask(Query.Nearest(examples("rows", 1)[0], "rows"), prefetches=[Prefetch(60)])
    assert dict(found) == dict(first)
    assert dict(found).keys() <= known.keys()
    assert len(found) < 60


def test_vectors_are_shown_when_asked_for(ranked: Shard) -> None:
    mmr = Mmr(examples("dot", 1)[0], 0.5, 5, "dot")
    hits = answer(ranked.view, QueryRequest(3, query=mmr))
    assert [hit.vector for hit in hits] == [None] * 3
    hits = answer(ranked.view, QueryRequest(3, query=mmr, with_vector=["dot"]))
    for hit in hits:
        assert hit.vector["dot"] == ranked.points[hit.id].vectors["dot"].tolist()


@pytest.mark.parametrize("distance", [Distance.Euclid, Distance.Manhattan, Distance.Dot])
def test_no_point_comes_twice_however_far_all_are(distance: Distance) -> None:
    view = start(EdgeConfig({"v": EdgeVectorParams(2, distance)}))
    points = [Point(i, {"v": [float(i), 1.0]}) for i in range(5)]
    view = after(view, UpdateOperation.upsert_points(points))
    mmr = Mmr([-3e38, -3e38], 0.5, 5, "v")
    hits = answer(view, QueryRequest(9, query=mmr))
    assert sorted(hit.id for hit in hits) == list(range(5))
    assert not any(math.isnan(hit.score) for hit in hits)
