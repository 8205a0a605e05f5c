"""Matrices of likeness against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge.errors import DeadlineExceeded, LimitExceeded, UnknownVector, ValidationError
from edge.model.config import EdgeConfig
from edge.model.filter import FieldCondition, Filter, HasIdCondition, MatchValue
from edge.model.matrix import SearchMatrixOffsets, SearchMatrixRequest
from edge.model.point import Point
from edge.model.point_id import PointId
from edge.model.query import Query
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams
from edge.query import deadline
from edge.query.answer import answer
from edge.query.deadline import Deadline
from tests.query.ranked_shards import FAR, NAMES, Shard, alike, having, order_of, score_of
from tests.segment.made import after, start


def rows(found: SearchMatrixOffsets) -> dict[PointId, list[tuple[PointId, float]]]:
    """By point: the others and their scores, in order."""
    by: dict[PointId, list[tuple[PointId, float]]] = {one: [] for one in found.ids}
    for pair in found.pairs:
        by[pair.a].append((pair.b, pair.score))
    return by


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("limit", [1, 3, 999])
def test_each_point_has_its_nearest_among_the_others(ranked: Shard, name: str, limit: int) -> None:
    known = having(ranked, name)
    found = answer(ranked.view, SearchMatrixRequest(999, limit, using=name))
    assert list(found.ids) == sorted(known, key=order_of)
    sign = 1 if name in FAR else -1
    for one, nearest in rows(found).items():
        scores = {
            other: score_of(name, alike(name, known[one], vector))
            for other, vector in known.items()
            if other != one
        }
        best = sorted(scores, key=lambda i: (sign * round(scores[i], 5), order_of(i)))[:limit]
        assert [other for other, _ in nearest] == best
        assert [score for _, score in nearest] == pytest.approx([scores[i] for i in best], rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_is_of_points_that_have_the_vector_and_fulfil_the_filter(
    ranked: Shard, name: str
) -> None:
    halls = Filter(must=[FieldCondition("room", match=MatchValue("hall"))])
    allowed = {
        one for one in having(ranked, name) if ranked.points[one].payload.get("room") == "hall"
    }
    seen: set[PointId] = set()
    for _ in range(30):
        found = answer(ranked.view, SearchMatrixRequest(9, 2, halls, name))
        assert len(found.ids) == len(set(found.ids)) == 9
        assert list(found.ids) == sorted(found.ids, key=order_of)
        assert set(found.ids) <= allowed
        assert {pair.a for pair in found.pairs} == set(found.ids)
        assert {pair.b for pair in found.pairs} <= set(found.ids)
        assert all(pair.a != pair.b for pair in found.pairs)
        assert len(found) == len(found.pairs) == 18
        seen |= set(found.ids)
    assert len(seen) > 9


def test_offsets_are_the_pairs_by_place(ranked: Shard) -> None:
    found = answer(ranked.view, SearchMatrixRequest(12, 4, using="dot"))
    assert found.offsets_row.tolist() == [row for row in range(12) for _ in range(4)]
    assert (found.offsets_row.dtype, found.offsets_col.dtype) == (np.int64, np.int64)
    assert found.scores.dtype == np.float32
    places = {one: place for place, one in enumerate(found.ids)}
    for row, column, score, pair in zip(
        found.offsets_row, found.offsets_col, found.scores, found.pairs, strict=True
    ):
        assert (places[pair.a], places[pair.b], pair.score) == (row, column, float(score))
    dense = np.zeros((12, 12), np.float32)
    dense[found.offsets_row, found.offsets_col] = found.scores
    assert not dense.diagonal().any()
    for row in range(12):
        mine = found.scores[4 * row : 4 * row + 4]
        assert (np.diff(mine) <= 0).all()


def only(ids: list[PointId]) -> Filter:
    return Filter(must=[HasIdCondition(ids)])


def test_few_points(ranked: Shard) -> None:
    """Fewer than two have no others; two have each other."""
    known = list(having(ranked, "dot"))
    for ids in ([], known[:1]):
        found = answer(ranked.view, SearchMatrixRequest(5, 3, only(ids), "dot"))
        assert (len(found), len(found.pairs), found.ids) == (0, 0, ())
        assert found.offsets_row.tolist() == found.scores.tolist() == []
    found = answer(ranked.view, SearchMatrixRequest(5, 3, only(known[:2]), "dot"))
    one, other = sorted(known[:2], key=order_of)
    score = float(ranked.points[one].vectors["dot"] @ ranked.points[other].vectors["dot"])
    assert rows(found) == {one: [(other, score)], other: [(one, score)]}


def test_scores_are_those_of_the_nearest_where_dimensions_are_weighed(ranked: Shard) -> None:
    found = answer(ranked.view, SearchMatrixRequest(999, 999, using="rare"))
    for one, nearest in list(rows(found).items())[:9]:
        expected = dict(ranked.ask(Query.Nearest(one, "rare")))
        scores = {other: score for other, score in nearest if other in expected}
        assert scores == pytest.approx(expected, rel=1e-5)


def test_several_vectors_ask_for_several(ranked: Shard) -> None:
    """The best for each row of the one is another sum than that for each row of the other."""
    found = answer(ranked.view, SearchMatrixRequest(999, 999, using="rows"))
    scores = {(pair.a, pair.b): pair.score for pair in found.pairs}
    assert any(score != scores[b, a] for (a, b), score in scores.items())


def test_the_default_vector() -> None:
    view = start(EdgeConfig(EdgeVectorParams(2, Distance.Euclid)))
    points: list[Any] = [Point(i, [float(i * i), 0.0]) for i in range(4)]
    view = after(view, UpdateOperation.upsert_points(points))
    found = answer(view, SearchMatrixRequest(limit_per_sample=2))
    assert rows(found) == {
        0: [(1, 1.0), (2, 4.0)],
        1: [(0, 1.0), (2, 3.0)],
        2: [(1, 3.0), (0, 4.0)],
        3: [(2, 5.0), (1, 8.0)],
    }


def test_requests_are_checked(ranked: Shard) -> None:
    with pytest.raises(UnknownVector):
        answer(ranked.view, SearchMatrixRequest(using="zz"))
    with pytest.raises(UnknownVector):
        answer(ranked.view, SearchMatrixRequest())
    with pytest.raises(LimitExceeded, match="sample_size: 10001, at most 10000"):
        answer(ranked.view, SearchMatrixRequest(10_001, 1, using="dot"))
    with pytest.raises(LimitExceeded, match=r"sample_size \* limit"):
        answer(ranked.view, SearchMatrixRequest(10_000, 101, using="dot"))
    with pytest.raises(ValidationError, match="sample_size"):
        SearchMatrixRequest(1)
    with pytest.raises(ValidationError, match="limit_per_sample"):
        SearchMatrixRequest(2, 0)


def test_a_matrix_stops_at_its_deadline(ranked: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "monotonic", iter(range(10**6)).__next__)
    for timeout in (0.5, 2.5):
        with pytest.raises(DeadlineExceeded):
            answer(ranked.view, SearchMatrixRequest(99, using="dot"), Deadline(timeout))
