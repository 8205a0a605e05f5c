"""Sparse vectors: sorted, without repetitions, finite, and owned."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import ValidationError
from edge.model.sparse import SparseVector

entries = st.dictionaries(
    st.integers(0, 2**32 - 1), st.floats(width=32, allow_nan=False, allow_infinity=False)
)


@given(entries, st.randoms())
def test_any_order_is_sorted(values: dict[int, float], random: object) -> None:
    places = list(values)
    random.shuffle(places)  # type: ignore[attr-defined]
    made = SparseVector(places, [values[place] for place in places])
    assert made.indices == sorted(values)
    assert made.values == [values[place] for place in sorted(values)]
    assert made == SparseVector(np.array(places, np.uint64), np.array([values[p] for p in places]))
    assert made == copy.deepcopy(made)
    assert hash(made) == hash(SparseVector(made.indices, made.values))


def test_it_is_a_value_of_its_own() -> None:
    places, numbers = np.array([1, 2], np.uint32), np.array([0.5, 1.5], np.float32)
    made = SparseVector(places, numbers)
    places[0], numbers[0] = 9, 9
    made.indices.append(3)
    assert repr(made) == "SparseVector(indices=[1, 2], values=[0.5, 1.5])"
    assert made != SparseVector([1, 2], [0.5, 1.0])
    assert made != [1, 2]
    with pytest.raises(AttributeError):
        made.indices = [1]  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        made.arrays[1][0] = 1


@pytest.mark.parametrize(
    ("indices", "values", "named"),
    [
        ([1], [1.0, 2.0], "1 indices and 2 values"),
        ([1, 2], [], "2 indices and 0 values"),
        ([3, 1, 3], [1.0, 2.0, 3.0], "3 comes twice"),
        ([-1], [1.0], "indices"),
        ([2**32], [1.0], "indices"),
        (np.array([-1]), [1.0], "indices"),
        (np.array([2**32]), [1.0], "indices"),
        ([True], [1.0], "indices"),
        ([1.0], [1.0], "indices"),
        ("1", [1.0], "indices"),
        (np.array([[1]]), [1.0], "indices"),
        ([1], [math.nan], "values"),
        ([1], [math.inf], "values"),
        ([1], [1e39], "values"),
        ([1], np.array([np.nan]), "values"),
        ([1], ["1"], "values"),
        (None, [1.0], "indices"),
    ],
)
def test_what_is_refused(indices: object, values: object, named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        SparseVector(indices, values)  # type: ignore[arg-type]
