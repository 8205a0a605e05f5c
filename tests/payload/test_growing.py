"""Growing columns: what was given out stays as it was, at every size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.payload.growing import FIRST_CAPACITY, GrowingArray
from tests.payload.entries_of import alongside


@given(st.lists(st.lists(st.integers(0, 2**32 - 1), max_size=90), max_size=8))
def test_what_was_given_out_stays_as_it_was(parts: list[list[int]]) -> None:
    column, known = GrowingArray(np.uint32), []
    seen: list[tuple[np.ndarray, list[int]]] = []
    for part in parts:
        column.extend(part)
        known += part
        seen.append((column.all(), list(known)))
        seen.append((column.first(len(known) // 2), known[: len(known) // 2]))
    assert column.count == len(known)
    for array, expected in seen:
        assert array.dtype == np.uint32
        assert array.tolist() == expected


@pytest.mark.parametrize("count", [0, 1, FIRST_CAPACITY - 1, FIRST_CAPACITY, FIRST_CAPACITY + 1])
def test_sizes_around_the_first_capacity(count: int) -> None:
    for values in (list(range(count)), np.arange(count)):
        column = GrowingArray(np.int64)
        column.extend(values)
        column.extend([7])
        assert column.all().tolist() == [*range(count), 7]


def test_a_number_that_does_not_fit_changes_nothing() -> None:
    column = GrowingArray(np.int64)
    column.extend([1])
    with pytest.raises(OverflowError):
        column.extend([2, 2**63])
    assert column.all().tolist() == [1]
    column.extend([3])
    assert column.all().tolist() == [1, 3]


def test_a_reader_beside_the_writer_meets_no_element_before_its_value() -> None:
    column = GrowingArray(np.int64)

    def write() -> None:
        for first in range(0, 60_000, 60):
            column.extend(np.arange(first, first + 60))

    def look() -> None:
        found = column.all()
        assert np.array_equal(found, np.arange(len(found)))

    alongside(write, look)
    assert column.count == 60_000
