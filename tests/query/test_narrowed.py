"""What a filter leaves is looked for once a view, and is what it would be without a memory."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from edge.errors import DeadlineExceeded
from edge.model.config import EdgeConfig
from edge.model.filter import FieldCondition, Filter, MatchValue
from edge.model.query import Query
from edge.model.request import QueryRequest
from edge.model.sparse import SparseVector
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeSparseVectorParams, EdgeVectorParams
from edge.query import narrowed
from edge.query.answer import answer
from edge.query.deadline import Deadline
from edge.segment.view import REMEMBERED, ShardView
from tests.segment.made import after, cut, start

COUNT = 40
NEAREST = Query.Nearest([1.0, 2.0])


def shard() -> ShardView:
    """Two segments of points of a number each."""
    config = EdgeConfig(EdgeVectorParams(2, Distance.Euclid), {"words": EdgeSparseVectorParams()})
    view = start(config)
    for first in (0, COUNT // 2):
        ids = np.arange(first, first + COUNT // 2)
        blocks = {"": np.stack([ids, ids % 7], axis=1).astype(np.float32)}
        payloads = [{"n": int(i) % 4} for i in ids]
        view = cut(after(view, UpdateOperation.upsert_arrays(ids, blocks, payloads)))
    return view


def having(value: Any) -> Filter:
    return Filter(must=[FieldCondition("n", match=MatchValue(value))])


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Filter]:
    """The filters that were evaluated, once a segment."""
    found: list[Filter] = []
    original = narrowed.matches

    def noted(filter: Filter, *others: Any) -> Any:
        found.append(filter)
        return original(filter, *others)

    monkeypatch.setattr(narrowed, "matches", noted)
    return found


def hits(view: ShardView, filter: Filter, **settings: Any) -> set[Any]:
    request = QueryRequest(COUNT, query=NEAREST, filter=filter, **settings)
    return {hit.id for hit in answer(view, request)}


def test_a_filter_is_evaluated_once_a_segment(seen: list[Filter]) -> None:
    view = shard()
    for value in (1, 2, 1, 2):
        for _ in range(3):
            assert hits(view, having(value)) == set(range(value, COUNT, 4))
    assert sorted(map(str, seen)) == sorted(map(str, 2 * [having(1), having(2)]))


def test_one_is_not_true(seen: list[Filter]) -> None:
    """In Python 1 == True == 1.0; in a payload they are three things."""
    view = shard()
    assert len(hits(view, having(1))) == COUNT // 4
    assert hits(view, having(True)) == set()
    assert hits(view, having(1)) != set()
    assert len(seen) == 4


def test_a_change_is_another_view_which_remembers_nothing_of_what_changed(
    seen: list[Filter],
) -> None:
    view = shard()
    wanted = set(range(1, COUNT, 4))
    assert hits(view, having(1)) == wanted
    changed = after(view, UpdateOperation.delete_points([5]))
    assert hits(changed, having(1)) == wanted - {5}
    assert len(seen) == 2 + 1, "the segment that lost nothing is the same"
    edited = after(changed, UpdateOperation.set_payload([6], {"n": 1}))
    assert hits(edited, having(1)) == (wanted | {6}) - {5}
    assert hits(view, having(1)) == wanted
    assert hits(changed, having(1)) == wanted - {5}


def test_only_the_newest_are_remembered(seen: list[Filter]) -> None:
    view = shard()
    for value in range(REMEMBERED + 3):
        hits(view, having(value))
    seen.clear()
    hits(view, having(REMEMBERED + 2))
    assert not seen
    hits(view, having(0))
    assert seen == 2 * [having(0)]
    [first, *_] = [part for part in view.segments if part.watermark]
    assert len(first._newest) == REMEMBERED


def test_what_was_given_up_is_not_remembered(seen: list[Filter]) -> None:
    view = shard()
    request = QueryRequest(COUNT, query=NEAREST, filter=having(3))
    with pytest.raises(DeadlineExceeded):
        answer(view, request, Deadline(-1.0))
    assert hits(view, having(3)) == set(range(3, COUNT, 4))


def test_vectors_of_other_names_are_other_points(seen: list[Filter]) -> None:
    view = shard()
    assert hits(view, having(1)) == set(range(1, COUNT, 4))
    words = Query.Nearest(SparseVector([1], [1.0]), "words")
    request = QueryRequest(COUNT, query=words, filter=having(1))
    assert answer(view, request) == [], "no point has words"
    assert len(seen) == 4


def test_threads_may_look_side_by_side() -> None:
    view, wrong = shard(), []

    def look(value: int) -> None:
        for turn in range(60):
            each = (value + turn) % 12
            wanted = set(range(each, COUNT, 4)) if each < 4 else set()
            if hits(view, having(each)) != wanted:
                wrong.append(each)

    threads = [threading.Thread(target=look, args=(value,)) for value in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
