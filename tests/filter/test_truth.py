"""Three-valued logic against brute force: sets of rows, and every world that they leave open."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.filter.truth import (
    EVERYTHING,
    NOTHING,
    UNKNOWN,
    Known,
    Truth,
    all_of,
    any_of,
    at_least,
    both,
    either,
    exactly,
    no,
    not_of,
    without,
)
from edge_kernels import bits

ROWS = 70
EVERYONE = frozenset(range(ROWS))
sets = st.frozensets(st.integers(0, ROWS - 1))


def bits_of(rows: frozenset[int]) -> np.ndarray:
    return bits.from_offsets(ROWS, np.array(sorted(rows), np.uint32))


truths: st.SearchStrategy[Truth] = st.booleans() | sets.map(bits_of)
knowns = (
    st.sampled_from([UNKNOWN, NOTHING, EVERYTHING])
    | truths.map(exactly)
    | st.builds(lambda a, b: Known(bits_of(a & b), bits_of(a | b)), sets, sets)
    | st.builds(lambda a: Known(False, bits_of(a)), sets)
    | st.builds(lambda a: Known(bits_of(a), True), sets)
)


def members(rows: Truth) -> frozenset[int]:
    """The rows of a set; bits above the watermark mean nothing."""
    if isinstance(rows, bool):
        return EVERYONE if rows else frozenset()
    return frozenset(bits.to_offsets(rows, ROWS).tolist())


def copied(part: Known) -> Any:
    return [rows if isinstance(rows, bool) else rows.copy() for rows in part]


@given(truths, truths)
def test_sets_and_bools_are_sets(a: Truth, b: Truth) -> None:
    before = copied(Known(a, b))
    assert members(both(a, b)) == members(a) & members(b)
    assert members(either(a, b)) == members(a) | members(b)
    assert members(no(a)) == EVERYONE - members(a)
    assert members(without(a, b)) == members(a) - members(b)
    assert all(np.array_equal(x, y) for x, y in zip(before, (a, b), strict=True))


def worlds(parts: list[Known], row: int) -> list[tuple[bool, ...]]:
    """What may be true of a row, part by part."""
    choices = []
    for sure, maybe in parts:
        is_sure, is_maybe = row in members(sure), row in members(maybe)
        choices.append([True] if is_sure else [False, True] if is_maybe else [False])
    return list(product(*choices))


def check(found: Known, parts: list[Known], verdict: Any) -> None:
    """A row is sure where it matches in all worlds, maybe where in any."""
    sure, maybe = members(found.sure), members(found.maybe)
    for row in range(0, ROWS, 3):
        verdicts = [verdict(world) for world in worlds(parts, row)]
        assert (row in sure) == all(verdicts)
        assert (row in maybe) == any(verdicts)
    assert sure <= maybe
    if found.sure is found.maybe:
        assert sure == maybe


few = st.lists(knowns, max_size=4)


@given(few)
def test_all_any_and_not_are_what_every_world_says(parts: list[Known]) -> None:
    before = [copied(part) for part in parts]
    check(all_of(parts), parts, all)
    check(any_of(parts), parts, any)
    for part in parts:
        check(not_of(part), [part], lambda world: not world[0])
    for part, old in zip(parts, before, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(part, old, strict=True))


@given(few, st.integers(0, 5) | st.just(2**64 - 1))
def test_at_least_counts_in_every_world(parts: list[Known], count: int) -> None:
    check(at_least(count, parts, ROWS), parts, lambda world: sum(world) >= count)


@given(st.lists(truths.map(exactly), max_size=4), st.integers(0, 4))
def test_what_is_exact_stays_so(parts: list[Known], count: int) -> None:
    """One object is both sets, so that nobody looks for rows that are only maybe."""
    for found in (all_of(parts), any_of(parts), not_of(all_of(parts))):
        assert found.sure is found.maybe
    counted = at_least(count, parts, ROWS)
    assert members(counted.sure) == members(counted.maybe)


@pytest.mark.parametrize("watermark", [0, 1, 63, 64, 65])
def test_counting_at_any_size(watermark: int) -> None:
    parts = [exactly(True), exactly(bits.ones(watermark)), UNKNOWN]
    found = at_least(2, parts, watermark)
    for rows in found:
        assert isinstance(rows, np.ndarray)
        assert bits.count(rows, watermark) == watermark


def test_more_parts_than_a_byte_counts() -> None:
    parts = [exactly(True)] * 300 + [UNKNOWN] * 2
    assert members(at_least(300, parts, ROWS).sure) == EVERYONE
    assert members(at_least(301, parts, ROWS).sure) == frozenset()
    assert members(at_least(301, parts, ROWS).maybe) == EVERYONE


def test_sets_that_reach_farther_than_the_watermark() -> None:
    """A tail's tombstones may have been cut for more rows than a view has."""
    longer = bits.ones(200)
    found = at_least(2, [exactly(longer), exactly(longer), UNKNOWN], 64)
    assert isinstance(found.sure, np.ndarray)
    assert bits.count(found.sure, 64) == 64
