"""Masks: columns decide first, payloads are read at most once, and any order gives one answer."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import DeadlineExceeded, UnknownVector
from edge.filter.mask import BLOCK, matching
from edge.model.filter import (
    Condition,
    FieldCondition,
    Filter,
    HasIdCondition,
    HasVectorCondition,
    MatchValue,
    MinShould,
    NestedCondition,
)
from tests.filter.list_rows import ListRows

ODD = FieldCondition("odd", match=MatchValue(True))
THIRD = FieldCondition("third", match=MatchValue(0))


def rows(count: int = 12, **kwargs: Any) -> ListRows:
    payloads = [{"odd": i % 2 == 1, "third": i % 3, "parts": [{}]} for i in range(count)]
    return ListRows(payloads, vectors={"front": range(0, count, 4), "back": []}, **kwargs)


def test_an_empty_filter_matches_all_and_reads_nothing() -> None:
    view = rows(5)
    for filter in (Filter(), Filter(must=[], should=[], must_not=[]), Filter(must=[Filter()])):
        assert view.matching(filter) == [0, 1, 2, 3, 4]
    assert view.decoded == []


def test_every_clause() -> None:
    view = rows()
    assert view.matching(Filter(must=[ODD, THIRD])) == [3, 9]
    assert view.matching(Filter(should=[ODD, THIRD])) == [0, 1, 3, 5, 6, 7, 9, 11]
    assert view.matching(Filter(must_not=[ODD, THIRD])) == [2, 4, 8, 10]
    assert view.matching(Filter(min_should=MinShould([ODD, THIRD], 2))) == [3, 9]
    assert view.matching(Filter(must=[ODD], must_not=[THIRD])) == [1, 5, 7, 11]
    assert view.matching(Filter(must=[THIRD], should=[ODD, HasVectorCondition("front")])) == [
        0,
        3,
        9,
    ]


def test_only_candidates_are_asked_and_given_back() -> None:
    view = rows()
    candidates = np.array([1, 2, 3, 8, 9], np.uint32)
    found = matching(Filter(must=[ODD]), view, candidates)
    assert found.tolist() == [1, 3, 9]
    assert found.dtype == np.uint32
    assert view.decoded == [1, 2, 3, 8, 9]


@pytest.mark.parametrize("filter", [Filter(), Filter([ODD]), Filter([HasIdCondition({1})])])
def test_no_candidates_no_matches(filter: Filter) -> None:
    none = np.array([], np.uint32)
    assert matching(filter, rows(), none).tolist() == []
    assert matching(filter, rows(0), none).tolist() == []


def test_ids_of_both_kinds_absent_and_dead() -> None:
    uuid = UUID(int=7)
    view = rows(4, ids=[5, uuid, 7, 2**64 - 1], dead=[2])
    assert view.matching(Filter([HasIdCondition({uuid, 7, 2**64 - 1, 99})])) == [1, 3]
    assert view.matching(Filter(must_not=[HasIdCondition({5, 7})])) == [1, 2, 3]
    assert view.matching(Filter([HasIdCondition(set())])) == []


def test_vectors() -> None:
    view = rows()
    assert view.matching(Filter([HasVectorCondition("front")])) == [0, 4, 8]
    assert view.matching(Filter(must_not=[HasVectorCondition("back")])) == list(range(12))
    assert view.decoded == []


@pytest.mark.parametrize(
    ("filter", "read"),
    [
        (Filter(must=[ODD, HasIdCondition({3, 4})]), [3, 4]),
        (Filter(must=[ODD, Filter(must=[Filter(must=[HasIdCondition({3, 4})])])]), [3, 4]),
        (Filter(must=[ODD], must_not=[HasVectorCondition("front")]), [1, 2, 3, 5, 6, 7, 9, 10, 11]),
        (Filter(should=[ODD, HasIdCondition(range(2, 12))]), [0, 1]),
        (Filter(must_not=[ODD, HasIdCondition(range(2, 12))]), [0, 1]),
        (Filter(min_should=MinShould([ODD, HasIdCondition({1}), HasIdCondition({1, 2})], 2)), [2]),
        (Filter(min_should=MinShould([ODD, THIRD, HasVectorCondition("front")], 3)), [0, 4, 8]),
        (Filter(min_should=MinShould([ODD], 0), must=[HasIdCondition({9})]), []),
    ],
)
def test_payloads_are_read_only_where_columns_leave_it_open(
    filter: Filter, read: list[int]
) -> None:
    view = rows()
    view.matching(filter)
    assert view.decoded == read


def test_one_condition_may_stand_in_several_places() -> None:
    ids = HasIdCondition({1, 2, 3})
    nested = NestedCondition("parts", Filter(must=[ids]))
    view = rows()
    assert view.matching(Filter(should=[nested, Filter(must=[ids, ODD])])) == [1, 3]
    assert view.matching(Filter(must=[ids, ids], must_not=[nested])) == [1, 2, 3]
    assert view.matching(Filter(must=[ids], must_not=[ids])) == []
    assert view.matching(Filter(should=[ids, nested], must=[Filter(should=[ids, ODD])])) == [
        1,
        2,
        3,
    ]


@pytest.mark.parametrize("clause", ["must", "should", "must_not"])
def test_an_unknown_vector_raises_whatever_stands_beside_it(clause: str) -> None:
    unknown = HasVectorCondition("unknown")
    nobody = HasIdCondition(set())
    for conditions in ([unknown, nobody], [nobody, unknown], [nobody, Filter(should=[unknown])]):
        with pytest.raises(UnknownVector):
            rows().matching(Filter(**{clause: conditions}))
    with pytest.raises(UnknownVector):
        matching(Filter([unknown]), rows(), np.array([], np.uint32))


def test_checkpoints_come_with_every_block_of_rows() -> None:
    view = rows(3 * BLOCK + 1)
    reached: list[int] = []
    matching(Filter([ODD]), view, view.all(), lambda: reached.append(len(view.decoded)))
    assert reached == [0, 0, BLOCK, 2 * BLOCK, 3 * BLOCK]


def test_a_costly_filter_has_checkpoints_more_often_and_before_each_column() -> None:
    view = rows(BLOCK)
    reached: list[int] = []
    costly = Filter(must=[HasVectorCondition("front")], should=[ODD] * 1000)
    matching(costly, view, view.all(), lambda: reached.append(len(view.decoded)))
    assert reached[:2] == [0, 0]
    assert max(np.diff(reached)) <= BLOCK // 16


def test_a_checkpoint_may_end_it() -> None:
    view = rows(2 * BLOCK)

    def deadline() -> None:
        if view.decoded:
            raise DeadlineExceeded("too late")

    with pytest.raises(DeadlineExceeded):
        matching(Filter([ODD]), view, view.all(), deadline)
    assert len(view.decoded) == BLOCK


def test_columns_and_payloads_stay_in_step_over_many_blocks() -> None:
    count = 3 * BLOCK
    filter = Filter(min_should=MinShould([ODD, THIRD, HasVectorCondition("front")], 2))
    view = rows(count)
    view.vectors = {"front": range(0, count, 7)}
    expected = [i for i in range(count) if (i % 2 == 1) + (i % 3 == 0) + (i % 7 == 0) >= 2]
    assert view.matching(filter) == expected


def test_the_largest_count_is_only_never_reached() -> None:
    everyone = HasIdCondition(range(12))
    for condition in (everyone, ODD):
        counted = MinShould([condition], 2**64 - 1)
        assert rows().matching(Filter(min_should=counted)) == []


leaves = st.sampled_from(
    [
        ODD,
        THIRD,
        HasIdCondition({1, 2, 3, 9}),
        HasIdCondition(range(0, 12, 3)),
        HasVectorCondition("front"),
        HasVectorCondition("back"),
        NestedCondition("missing", Filter()),
    ]
)


def _filters(inner: st.SearchStrategy[Condition]) -> st.SearchStrategy[Filter]:
    some = st.none() | st.lists(inner, max_size=3)
    counted = st.builds(MinShould, st.lists(inner, max_size=3), st.integers(0, 3))
    return st.builds(Filter, some, some, some, st.none() | counted)


filters = _filters(st.recursive(leaves, _filters, max_leaves=8))


def naive(condition: Any, offset: int) -> bool:
    """The definition, one point at a time."""
    if isinstance(condition, HasIdCondition):
        return offset in condition.point_ids
    if isinstance(condition, HasVectorCondition):
        return condition.vector == "front" and offset % 4 == 0
    if not isinstance(condition, Filter):
        return {id(ODD): offset % 2 == 1, id(THIRD): offset % 3 == 0}.get(id(condition), False)
    must, should, must_not = (
        [naive(each, offset) for each in clause or ()]
        for clause in (condition.must, condition.should, condition.must_not)
    )
    least = condition.min_should
    return (
        all(must)
        and not any(must_not)
        and (any(should) or not should)
        and (least is None or sum(naive(c, offset) for c in least.conditions) >= least.min_count)
    )


@given(st.lists(filters, min_size=10, max_size=10), st.sets(st.integers(0, 11)))
def test_any_filter_gives_what_its_definition_says(many: list[Filter], among: set[int]) -> None:
    candidates = np.array(sorted(among), np.uint32)
    for filter in many:
        view = rows()
        found = matching(filter, view, candidates)
        assert found.tolist() == [offset for offset in sorted(among) if naive(filter, offset)]
        assert len(view.decoded) == len(set(view.decoded))
