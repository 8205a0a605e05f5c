"""A columnar upsert in parts is the same upsert."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import ValidationError
from edge.model.filter import Filter, HasIdCondition
from edge.model.limits import Limits
from edge.model.split import in_batches
from edge.model.update import UpdateMode, UpsertArrays


def made(count: int, payloads: bool = True, **more: Any) -> UpsertArrays:
    random = np.random.default_rng(count)
    vectors = {
        "": random.normal(size=(count, 3)).astype(np.float32),
        "image": random.normal(size=(count, 5)).astype(np.float32),
    }
    given = [{"n": i} if i % 3 else None for i in range(count)] if payloads else None
    return UpsertArrays(np.arange(count), vectors, given, **more)


@given(st.integers(0, 40), st.integers(1, 50), st.integers(1, 3000), st.booleans())
def test_the_parts_together_are_the_whole(
    count: int, batch_points: int, batch_bytes: int, payloads: bool
) -> None:
    whole = made(count, payloads)
    limits = Limits(batch_points=batch_points, batch_bytes=batch_bytes)
    parts = list(in_batches(whole, limits))
    assert np.array_equal(np.concatenate([part.ids for part in parts]), whole.ids)
    for name, block in whole.vectors.items():
        assert np.array_equal(np.concatenate([part.vectors[name] for part in parts]), block)
    if payloads:
        assert [p for part in parts for p in part.payloads or ()] == list(whole.payloads or ())
    else:
        assert all(part.payloads is None for part in parts)
    for part in parts:
        size = sum(block.nbytes for block in part.vectors.values())
        assert len(part.ids) <= batch_points
        assert 2 * size <= batch_bytes or len(part.ids) == 1


def test_one_that_fits_is_given_as_it_is() -> None:
    whole = made(10)
    [part] = in_batches(whole, Limits(batch_points=10))
    assert part is whole


def test_every_part_keeps_mode_and_condition() -> None:
    condition = Filter(must=[HasIdCondition([1])])
    whole = made(5, condition=condition, update_mode=UpdateMode.UpdateOnly)
    parts = list(in_batches(whole, Limits(batch_points=2)))
    assert [(p.condition, p.update_mode) for p in parts] == [(condition, UpdateMode.UpdateOnly)] * 3


@pytest.mark.parametrize("change", [-1, 1])
@pytest.mark.parametrize("column", ["vectors 'image'", "payloads"])
def test_uneven_columns_are_refused_before_any_part(column: str, change: int) -> None:
    rows = 10 + change
    vectors = {"": np.ones((10, 2)), "image": np.ones((10, 2))}
    payloads: list[dict[str, Any]] = [{}] * 10
    if column == "payloads":
        payloads = [{}] * rows
    else:
        vectors["image"] = np.ones((rows, 2))
    operation = UpsertArrays(np.arange(10), vectors, payloads)
    with pytest.raises(ValidationError, match=column):
        next(in_batches(operation, Limits(batch_points=3)))


def test_points_without_vectors_are_split_by_their_number() -> None:
    operation = UpsertArrays(np.arange(7), {}, None)
    assert [len(part.ids) for part in in_batches(operation, Limits(batch_points=3))] == [3, 3, 1]
