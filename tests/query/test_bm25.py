"""Text queries against BM25 by its formula, whichever segments have an index."""

from __future__ import annotations

import math
from collections import Counter
from itertools import chain
from typing import Any

import numpy as np
import pytest

from edge.errors import DeadlineExceeded, UnknownField, ValidationError
from edge.model.point_id import PointId
from edge.model.query import Bm25Params, TextQuery
from edge.model.request import QueryRequest
from edge.model.schema import Memory, PayloadSchemaType, TextIndexParams, index_analyzer
from edge.model.update import UpdateOperation
from edge.query import deadline
from edge.query.answer import answer
from edge.query.deadline import Deadline
from edge.segment.view import ShardView
from tests.disk.simulated import SimulatedStorage
from tests.query.indexed_shards import (
    CONFIG,
    FILTERS,
    Shard,
    chosen,
    elements,
    rank_of,
)
from tests.segment.made import after, built, cut, start

QUERIES = ["cup", "tea", "a large cup", "TEA tea", "of zz", "zz", "", "..."]
U = UpdateOperation


def by_hand(
    points: dict[PointId, dict[str, Any]],
    allowed: dict[PointId, Any],
    query: str,
    scoring: Bm25Params,
    params: TextIndexParams,
    path: str = "note",
) -> dict[PointId, float]:
    """The score of every point that has any of the tokens, in double precision."""
    analyzer = index_analyzer(params)
    documents = {
        point_id: list(chain.from_iterable(map(analyzer.document, texts)))
        for point_id, document in points.items()
        if (texts := [e for e in elements(document, path) if type(e) is str])
    }
    documents = {point_id: tokens for point_id, tokens in documents.items() if tokens}
    average = sum(map(len, documents.values())) / max(1, len(documents))
    scores: dict[PointId, float] = {}
    for token in set(analyzer.query(query)):
        having = [i for i, tokens in documents.items() if token in tokens]
        idf = math.log(1 + (len(documents) - len(having) + 0.5) / (len(having) + 0.5))
        for point_id in having:
            tf = Counter(documents[point_id])[token]
            length = len(documents[point_id]) / average
            norm = tf + scoring.k * (1 - scoring.b + scoring.b * length)
            scores[point_id] = scores.get(point_id, 0.0) + idf * tf * (scoring.k + 1) / norm
    return {point_id: score for point_id, score in scores.items() if point_id in allowed}


def check(hits: Any, expected: dict[PointId, float], limit: int, offset: int = 0) -> None:
    """Scores are the formula's, best first, ties by id; nobody better is left out."""
    assert len(hits) == max(0, min(limit, len(expected) - offset))
    for hit in hits:
        assert hit.score == pytest.approx(expected[hit.id], rel=1e-5)
    ranks = [(-hit.score, rank_of(hit.id)) for hit in hits]
    assert ranks == sorted(ranks)
    best = sorted(expected.values(), reverse=True)[offset : offset + limit]
    assert [hit.score for hit in hits] == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("query", QUERIES)
def test_scores_are_the_formulas(every_indexed: dict[str, Shard], query: str, name: str) -> None:
    params = TextIndexParams(scoring=True, phrase_matching=True)
    answers = []
    for moment in ("first", "between", "last"):
        shard = every_indexed[moment]
        allowed = chosen(shard, name)
        for limit, offset in ((1000, 0), (5, 0), (7, 3)):
            for scoring in (Bm25Params(), Bm25Params(0, 0), Bm25Params(2.5, 1)):
                asked = QueryRequest(
                    limit, offset, TextQuery("note", query, scoring), filter=FILTERS[name]
                )
                hits = answer(shard.view, asked)
                check(hits, by_hand(shard.points, allowed, query, scoring, params), limit, offset)
                answers.append((moment, [(hit.id, hit.score) for hit in hits]))
    first = [hits for moment, hits in answers if moment == "first"]
    for other in ("between", "last"):
        assert [hits for moment, hits in answers if moment == other] == first, "to the last bit"


def test_the_score_threshold_cuts_below(every_indexed: dict[str, Shard]) -> None:
    view = every_indexed["first"].view
    query = TextQuery("note", "large tea")
    hits = answer(view, QueryRequest(1000, query=query))
    middle = hits[len(hits) // 2].score
    above = answer(view, QueryRequest(1000, query=query, score_threshold=middle))
    assert above == [hit for hit in hits if hit.score > middle]
    assert 0 < len(above) < len(hits)


def of_notes(params: TextIndexParams, *notes: Any, path: str = "note") -> ShardView:
    view = after(start(CONFIG), U.create_field_index(path, params))
    for number, note in enumerate(notes):
        vectors = np.ones((1, 4))
        payload = note if isinstance(note, dict) else {"note": note}
        view = after(view, U.upsert_arrays([number], vectors, [payload]))
    return view


@pytest.mark.parametrize("memory", [None, Memory.Cold])
def test_statistics_are_those_of_the_living(memory: Memory | None) -> None:
    """Overwritten and deleted documents count nowhere, before a rebuild and after it."""
    params = TextIndexParams(scoring=True, memory=memory)
    view = of_notes(params, "a b", "a a a c", "b c d e f", "a")
    view = after(view, U.delete_points([1]), U.set_payload([2], {"note": "b"}))
    fresh = of_notes(params, "a b", "", "b", "a")
    rebuilt = built(view, SimulatedStorage())
    spread = after(rebuilt, U.set_payload([3], {"note": "a"}))
    for query in ("a", "b c", "a b"):
        found = [
            [
                (hit.id, hit.score)
                for hit in answer(v, QueryRequest(9, query=TextQuery("note", query)))
            ]
            for v in (view, fresh, rebuilt, spread, cut(spread))
        ]
        assert all(each == found[0] for each in found)
        assert found[0]


def test_texts_of_a_point_are_one_document_and_nested_ones_are_their_own() -> None:
    parts = [{"parts": [{"t": "x"}, {"t": ["x", "y y"]}]}, {"parts": [{"t": "x y"}]}, {"parts": []}]
    whole = of_notes(TextIndexParams(scoring=True), *parts, path="parts[].t")
    apart = of_notes(TextIndexParams(scoring=True, nested="parts"), *parts, path="parts[].t")
    points: dict[PointId, dict[str, Any]] = dict(enumerate(parts))
    query = QueryRequest(9, query=TextQuery("parts[].t", "y"))
    expected = by_hand(points, points, "y", Bm25Params(), TextIndexParams(), "parts[].t")
    check(answer(whole, query), expected, 9)
    alone: dict[PointId, dict[str, Any]] = {
        10: {"t": "x"}, 11: {"t": ["x", "y y"]}, 12: {"t": "x y"},
    }  # fmt: skip
    scores = by_hand(alone, alone, "y", Bm25Params(), TextIndexParams(), "t")
    found = {hit.id: hit.score for hit in answer(apart, query)}
    assert found == {
        0: pytest.approx(scores[11], rel=1e-5),
        1: pytest.approx(scores[12], rel=1e-5),
    }


def test_the_query_is_cut_as_the_index_is() -> None:
    view = of_notes(TextIndexParams(scoring=True, lowercase=False), "Cup", "cup")
    for query, expected in (("Cup", [0]), ("cup", [1]), ("CUP", [])):
        hits = answer(view, QueryRequest(9, query=TextQuery("note", query)))
        assert [hit.id for hit in hits] == expected


@pytest.mark.parametrize("k", [0, 3.4e38])
@pytest.mark.parametrize("b", [0, 1])
def test_the_ends_of_the_parameters_do_no_harm(k: float, b: float) -> None:
    view = of_notes(TextIndexParams(scoring=True), "a", "a a b", "b")
    hits = answer(view, QueryRequest(9, query=TextQuery("note", "a", Bm25Params(k, b))))
    assert {hit.id for hit in hits} <= {0, 1}
    assert not any(math.isnan(hit.score) for hit in hits)
    if not k:
        assert len(hits) == 2


def test_a_field_without_scores_is_refused() -> None:
    query = QueryRequest(9, query=TextQuery("note", "a"))
    bare = after(start(CONFIG), U.upsert_arrays([1], np.ones((1, 4)), [{"note": "a"}]))
    with pytest.raises(UnknownField, match=r"field: .*'note', which has none"):
        answer(bare, query)
    keyed = after(bare, U.create_field_index("note", PayloadSchemaType.Keyword))
    with pytest.raises(UnknownField, match=r"field: .*'note', which has a Keyword"):
        answer(keyed, query)
    unscored = after(bare, U.create_field_index("note", TextIndexParams()))
    with pytest.raises(ValidationError, match=r"field: .*scoring=True"):
        answer(unscored, query)
    for limit in (0, 9):
        with pytest.raises(UnknownField):
            answer(start(CONFIG), QueryRequest(limit, query=TextQuery("note", "a")))


def test_an_empty_shard_has_no_documents() -> None:
    view = after(start(CONFIG), U.create_field_index("note", TextIndexParams(scoring=True)))
    assert answer(view, QueryRequest(9, query=TextQuery("note", "a"))) == []
    assert answer(of_notes(TextIndexParams(scoring=True), "..."), QueryRequest(
        9, query=TextQuery("note", "a"))) == []  # fmt: skip


@pytest.mark.parametrize("moment", ["first", "between"])
def test_a_text_query_stops_at_its_deadline(
    every_indexed: dict[str, Shard], moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadline, "monotonic", iter(range(1000)).__next__)
    for seconds in (0, 2.5):
        with pytest.raises(DeadlineExceeded):
            answer(
                every_indexed[moment].view,
                QueryRequest(5, query=TextQuery("note", "tea")),
                Deadline(seconds),
            )
