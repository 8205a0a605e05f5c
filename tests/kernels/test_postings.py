"""Postings against plain Python: counts of keys, rows in the order of keys, phrases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_kernels import bits, postings


class Case(NamedTuple):
    """The rows of each key, and a set of rows."""

    rows: int
    by_key: list[list[int]]
    allowed: set[int]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    rows = draw(st.integers(1, 200))
    some = st.sets(st.integers(0, rows - 1), max_size=12)
    by_key = [sorted(each) for each in draw(st.lists(some, max_size=12))]
    return Case(rows, by_key, draw(st.sets(st.integers(0, rows - 1))))


def laid_out(lists: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """(starts, what is in the lists, one after another)"""
    starts = np.zeros(len(lists) + 1, np.int64)
    starts[1:] = np.cumsum([len(each) for each in lists])
    return starts, np.array([one for each in lists for one in each], np.uint32)


def bits_of(case: Case) -> np.ndarray:
    return bits.from_offsets(case.rows, np.array(sorted(case.allowed), np.uint32))


@settings(deadline=None)  # the first call compiles
@given(cases())
def test_counts_are_those_of_sets(case: Case) -> None:
    starts, offsets = laid_out(case.by_key)
    found = postings.counts(starts, offsets, bits_of(case))
    assert found.dtype == np.int64
    assert found.tolist() == [len(case.allowed & set(rows)) for rows in case.by_key]


def in_order(case: Case, slots: range, want: int) -> list[tuple[int, int]]:
    """The definition: key by key, each row once, whole keys."""
    found: list[tuple[int, int]] = []
    left = set(case.allowed)
    for slot in slots:
        if len(found) >= want:
            break
        here = [row for row in case.by_key[slot] if row in left]
        left -= set(here)
        found += [(row, slot) for row in here]
    return found


@settings(deadline=None)  # the first call compiles
@given(cases(), st.data())
def test_rows_come_in_the_order_of_their_first_key(case: Case, data: st.DataObject) -> None:
    keys = len(case.by_key)
    first = data.draw(st.integers(0, keys))
    last = data.draw(st.integers(first, keys))
    want = data.draw(st.integers(0, 40))
    starts, offsets = laid_out(case.by_key)
    allowed = bits_of(case)
    before = allowed.copy()
    for slots in (range(first, last), range(last - 1, first - 1, -1)):
        rows, found = postings.in_order(starts, offsets, slots, allowed, want)
        assert (rows.dtype, found.dtype) == (np.uint32, np.int32)
        pairs = list(zip(rows.tolist(), found.tolist(), strict=True))
        assert pairs == in_order(case, slots, want)
    assert (allowed == before).all(), "the set that was given stays as it was"


def test_ties_are_given_whole() -> None:
    starts, offsets = laid_out([[5], [0, 1, 2, 3], [4]])
    allowed = bits.ones(6)
    for want, expected in ((0, 0), (1, 1), (2, 5), (5, 5), (6, 6), (2**62, 6)):
        assert len(postings.in_order(starts, offsets, range(3), allowed, want)[0]) == expected
    rows, keys = postings.in_order(starts, offsets, range(2, -1, -1), allowed, 2)
    assert (rows.tolist(), keys.tolist()) == ([4, 0, 1, 2, 3], [2, 1, 1, 1, 1])


@pytest.mark.parametrize("slots", [range(0), range(3, 3), range(-1, -1, -1)])
def test_no_slots_no_rows(slots: range) -> None:
    starts, offsets = laid_out([[0], [1], [2]])
    rows, keys = postings.in_order(starts, offsets, slots, bits.ones(3), 9)
    assert (rows.size, keys.size) == (0, 0)


def test_nothing_at_all() -> None:
    starts, offsets = laid_out([])
    for rows in (0, 70):
        assert postings.counts(starts, offsets, bits.ones(rows)).size == 0
        assert postings.in_order(starts, offsets, range(0), bits.ones(rows), 3)[0].size == 0
    starts, offsets = laid_out([[], [], []])
    assert postings.counts(starts, offsets, bits.zeros(0)).tolist() == [0, 0, 0]
    assert postings.in_order(starts, offsets, range(3), bits.zeros(0), 3)[0].size == 0


def test_bits_beyond_the_last_row_do_not_count() -> None:
    """A set may come from `~`, so that whatever lies above the last row is set."""
    starts, offsets = laid_out([[0, 69], [64]])
    allowed = ~bits.from_offsets(70, np.array([0], np.uint32))
    assert postings.counts(starts, offsets, allowed).tolist() == [1, 1]
    rows, keys = postings.in_order(starts, offsets, range(2), allowed, 9)
    assert (rows.tolist(), keys.tolist()) == ([69, 64], [0, 1])


def test_slices_of_larger_arrays_are_taken() -> None:
    """What a segment maps is a part of its file."""
    starts, offsets = laid_out([[1, 2], [2]])
    packed = np.concatenate([np.full(3, 9, np.uint32), offsets, np.full(3, 9, np.uint32)])
    found = postings.counts(starts, packed[3:6], bits.ones(3))
    assert found.tolist() == [2, 1]


# -- phrases


def holds(document: list[int], phrase: list[int]) -> bool:
    return any(
        document[i : i + len(phrase)] == phrase for i in range(len(document) - len(phrase) + 1)
    )


few = st.integers(0, 2)


@settings(deadline=None)  # the first call compiles
@given(
    st.lists(st.lists(few, max_size=12), min_size=1, max_size=8),
    st.lists(few, min_size=1, max_size=5),
    st.data(),
)
def test_phrases_are_runs_of_tokens(
    documents: list[list[int]], phrase: list[int], data: st.DataObject
) -> None:
    rows = data.draw(st.lists(st.integers(0, len(documents) - 1), max_size=10))
    starts, tokens = laid_out(documents)
    wanted = np.array(phrase, np.uint32)
    found = postings.phrases(starts, tokens, np.array(rows, np.uint32), wanted)
    assert found.dtype == np.bool_
    assert found.tolist() == [holds(documents[row], phrase) for row in rows]


@pytest.mark.parametrize(
    ("document", "phrase", "expected"),
    [
        ([1, 2, 3], [1, 2], True),
        ([1, 2, 3], [2, 3], True),
        ([1, 2, 3], [1, 2, 3], True),
        ([1, 2, 3], [3, 9], False),
        ([1, 2, 3], [1, 2, 3, 9], False),
        ([1, 1, 2], [1, 2], True),
        ([3], [3, 9], False),
        ([], [9], False),
        ([2**32 - 1, 2**32 - 2], [2**32 - 1, 2**32 - 2], True),
    ],
)
def test_phrases_at_the_ends(document: list[int], phrase: list[int], expected: bool) -> None:
    """The neighbours hold what would make a phrase that reaches out of its document."""
    starts, tokens = laid_out([[9], document, [9, 9]])
    row = np.array([1], np.uint32)
    found = postings.phrases(starts, tokens, row, np.array(phrase, np.uint32))
    assert found.tolist() == [expected]


def test_no_rows_no_phrases() -> None:
    starts, tokens = laid_out([[1]])
    none = np.empty(0, np.uint32)
    assert postings.phrases(starts, tokens, none, np.array([1], np.uint32)).tolist() == []
