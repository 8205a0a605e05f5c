"""Point ids: what is one, what order they have, and their rows in a column."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np
import pytest
import qdrant_edge
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import ValidationError
from edge.model.point_id import as_rows, decode_id, decode_ids, encode_ids, parse_id, parse_ids

A_UUID = UUID("550e8400-e29b-41d4-a716-446655440000")

ids = st.one_of(st.integers(0, 2**64 - 1), st.uuids())

TAKEN = [
    0, 2**64 - 1, np.int64(3), np.uint64(2**64 - 1), A_UUID, str(A_UUID), str(A_UUID).upper(),
    A_UUID.hex, A_UUID.urn, f"{{{A_UUID}}}",
]  # fmt: skip

REFUSED = [
    -1, 2**64, 1.0, None, b"1", "", "12", "not-a-uuid", A_UUID.hex[:-1], "550e-8400" + A_UUID.hex,
    "0x" + A_UUID.hex[2:], "_" + A_UUID.hex[1:], [1], float("nan"), np.float32(1),
]  # fmt: skip


@pytest.mark.parametrize("value", TAKEN)
def test_takes_what_qdrant_takes(value: Any) -> None:
    expected = qdrant_edge.Point(value if isinstance(value, (str, UUID)) else int(value), [1.0]).id
    assert parse_id(value) == expected
    assert type(parse_id(value)) in (int, UUID)


@pytest.mark.parametrize("value", [*REFUSED, True, False, np.bool_(True)])
def test_refuses(value: Any) -> None:
    with pytest.raises(ValidationError, match="who: expected"):
        parse_id(value, "who")


@pytest.mark.parametrize("value", REFUSED)
def test_refuses_what_qdrant_refuses(value: Any) -> None:
    with pytest.raises((TypeError, ValueError, OverflowError)):
        qdrant_edge.Point(value, [1.0])


def test_a_list_names_the_wrong_entry() -> None:
    with pytest.raises(ValidationError, match=r"point_ids\[1\]"):
        parse_ids([1, -1])
    with pytest.raises(ValidationError, match="point_ids: expected a list"):
        parse_ids("550e8400")


@given(st.lists(ids))
def test_rows_give_the_ids_back(values: list[int | UUID]) -> None:
    rows = encode_ids(values)
    assert rows.shape == (len(values), 3)
    assert rows.dtype == np.uint64
    assert decode_ids(rows) == values
    assert [decode_id(row) for row in rows] == values


@given(st.lists(ids, min_size=2, max_size=2))
def test_rows_sort_ints_first_then_uuids(pair: list[int | UUID]) -> None:
    def order(value: int | UUID) -> tuple[bool, int]:
        return isinstance(value, UUID), int(value)

    first, second = encode_ids(pair).tolist()
    assert (first < second) == (order(pair[0]) < order(pair[1]))


def test_a_small_uuid_is_no_int() -> None:
    assert encode_ids([UUID(int=5)]).tolist() == [[1, 0, 5]]


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint64, object])
def test_integer_arrays_are_ids(dtype: type) -> None:
    assert decode_ids(encode_ids(np.array([3, 1, 2], dtype))) == [3, 1, 2]


@pytest.mark.parametrize(
    "array",
    [
        np.array([-1]), np.array([1.0]), np.array([True]), np.array([[1]]), np.array(1),
        np.array([2, 0, 5], np.uint64).reshape(1, 3), np.array([[0, 1, 5]], np.uint64),
    ],
)  # fmt: skip
def test_refuses_arrays_that_are_no_ids(array: Any) -> None:
    with pytest.raises(ValidationError, match="ids"):
        as_rows(array)


def test_rows_are_kept_apart_from_the_callers() -> None:
    given_rows = encode_ids([1, 2])
    kept = as_rows(given_rows)
    given_rows[0, 2] = 9
    assert decode_ids(kept) == [1, 2]
