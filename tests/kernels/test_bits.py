"""Bitsets against plain Python sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_kernels import bits


@st.composite
def sized_sets(draw: st.DrawFn) -> tuple[int, list[int]]:
    n = draw(st.integers(0, 300))
    return n, draw(st.lists(st.integers(0, n - 1))) if n else []


@settings(deadline=None)  # the first call compiles
@given(sized_sets())
def test_from_offsets_and_to_offsets_agree_with_a_set(case: tuple[int, list[int]]) -> None:
    n, members = case
    made = bits.from_offsets(n, np.array(members, np.uint32))
    assert made.dtype == np.uint64
    assert made.size == bits.words_for(n)
    assert bits.to_offsets(made, n).dtype == np.uint32
    assert bits.to_offsets(made, n).tolist() == sorted(set(members))
    assert bits.count(made, n) == len(set(members))
    assert [bits.test(made, i) for i in range(n)] == [i in set(members) for i in range(n)]


@settings(deadline=None)  # the first call compiles
@given(st.integers(0, 300), st.integers(0, 300))
def test_bits_at_n_and_above_are_not_seen(n: int, cut: int) -> None:
    cut = min(cut, n)
    full = bits.ones(n)
    assert bits.count(full, n) == n
    assert bits.count(full, cut) == cut
    assert bits.to_offsets(full, cut).tolist() == list(range(cut))
    assert bits.count(bits.ones(n), full.size * 64) == n


@settings(deadline=None)  # the first call compiles
@given(sized_sets(), st.data())
def test_and_not_is_set_difference(case: tuple[int, list[int]], data: st.DataObject) -> None:
    n, first = case
    second = data.draw(st.lists(st.integers(0, n - 1))) if n else []
    a = bits.from_offsets(n, np.array(first, np.uint32))
    b = bits.from_offsets(n, np.array(second, np.uint32))
    before = a.copy()
    assert bits.to_offsets(bits.and_not(a, b), n).tolist() == sorted(set(first) - set(second))
    assert (a == before).all()


def test_set_bits_keeps_what_was_set() -> None:
    made = bits.from_offsets(200, np.array([3, 64], np.uint32))
    bits.set_bits(made, np.array([199, 0, 64], np.uint32))
    assert bits.to_offsets(made, 200).tolist() == [0, 3, 64, 199]


def test_and_not_takes_a_shorter_second_set() -> None:
    removed = bits.and_not(bits.ones(130), bits.from_offsets(10, np.array([1], np.uint32)))
    assert bits.to_offsets(removed, 130).tolist() == [0, *range(2, 130)]


def test_offsets_outside_are_refused_and_nothing_is_written() -> None:
    made = bits.zeros(64)
    with pytest.raises(IndexError):
        bits.set_bits(made, np.array([0, 64], np.uint32))
    assert bits.count(made, 64) == 0
    with pytest.raises(IndexError):
        bits.test(made, 64)
    with pytest.raises(IndexError):
        bits.to_offsets(made, 65)


def test_nothing_at_all() -> None:
    assert bits.words_for(0) == 0
    assert bits.to_offsets(bits.zeros(0), 0).size == 0
    assert bits.from_offsets(0, np.empty(0, np.uint32)).size == 0
