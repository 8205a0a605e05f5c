"""Vectors from callers: what holds numbers becomes read-only float32, the rest is refused."""

from __future__ import annotations

import array
from collections import deque
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import ValidationError
from edge.model.sparse import SparseVector
from edge.model.vector import as_blocks, as_vector, as_vectors, same_vectors, shown_vectors

SPARSE = SparseVector([1], [1.0])

floats = st.lists(st.floats(width=32, allow_nan=False), max_size=40)


@given(floats)
def test_every_container_gives_the_same_numbers(values: list[float]) -> None:
    expected = np.array(values, np.float32)
    forms: list[Any] = [
        values, tuple(values), deque(values), array.array("f", values), array.array("d", values),
        np.array(values), np.array(values, np.float32), np.array(values, np.float32)[::-1][::-1],
        np.array(values, ">f4"), np.array(values, object), memoryview(np.array(values, np.float32)),
        list(np.array(values, np.float32)),
    ]  # fmt: skip
    for form in forms:
        found = as_vector(form)
        assert found.dtype == np.float32
        assert found.flags.c_contiguous
        assert not found.flags.writeable
        np.testing.assert_array_equal(found, expected)


@st.composite
def matrices(draw: st.DrawFn) -> list[list[float]]:
    """Rows of one length."""
    size = draw(st.integers(0, 5))
    numbers = st.floats(width=32, allow_nan=False)
    return draw(st.lists(st.lists(numbers, min_size=size, max_size=size), min_size=1, max_size=5))


@given(matrices())
def test_every_container_of_rows_gives_the_same_multivector(rows: list[list[float]]) -> None:
    expected = np.array(rows, np.float32).reshape(len(rows), -1)
    arrays = [np.array(row, np.float32) for row in rows]
    forms: list[Any] = [
        rows, tuple(map(tuple, rows)), deque(rows), [*map(tuple, rows[:1]), *rows[1:]],
        [arrays[0], *rows[1:]], [rows[0], *arrays[1:]], arrays, expected, expected.astype("f8"),
        expected.astype(">f4"), np.asfortranarray(expected), np.repeat(expected, 2, axis=0)[::2],
    ]  # fmt: skip
    if expected.size:
        forms += [memoryview(expected), expected.astype(object)]
    for form in forms:
        found = as_vector(form)
        assert isinstance(found, np.ndarray)
        assert found.dtype == np.float32
        assert found.flags.c_contiguous
        assert not found.flags.writeable
        assert not np.shares_memory(found, expected)
        assert found.shape == expected.shape
        np.testing.assert_array_equal(found, expected)


def test_no_rows_are_told_from_one_row_of_nothing() -> None:
    assert as_vector([]).shape == (0,)
    assert as_vector([[]]).shape == (1, 0)
    assert as_vector(np.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[1.0], [2.0, 3.0]], r"query\[1\]: expected 1 numbers as before it, got 2"),
        ([[1.0], [2.0], []], r"query\[2\]: expected 1 numbers as before it, got 0"),
        ([[1.0], "a"], r"query\[1\]: expected a list of numbers, got 'a'"),
        ([[1.0], [2.0, "a"]], r"query\[1\]\[1\]: expected a number, got 'a'"),
        ([[1.0], 2.0], r"query\[1\]: expected a list of numbers, got 2.0"),
        ([[1.0], [[2.0]]], r"query\[1\]: expected a list of numbers, got list"),
        ([[1.0], SPARSE], r"query\[1\]: expected a list of numbers, got SparseVector"),
        ([[1.0], None], r"query\[1\]: expected a list of numbers, got None"),
        (np.zeros((1, 2, 3)), r"query: expected one or two dimensions, got shape \(1, 2, 3\)"),
        (np.array(1.0), r"query: expected one or two dimensions, got shape \(\)"),
        ([[True]], r"query\[0\]\[0\]: expected a number, got True"),
    ],
)
def test_refuses_naming_the_row(value: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        as_vector(value, "query")


def test_a_sparse_vector_is_taken_as_it_is() -> None:
    assert as_vector(SPARSE) is SPARSE
    assert as_vectors({"s": SPARSE, "d": [1.0]})["s"] is SPARSE  # type: ignore[index]
    with pytest.raises(ValidationError, match=r"vector 's'\[0\]"):
        as_vectors({"s": [SPARSE]})


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=20), st.data())
def test_a_bool_is_refused_wherever_it_stands(values: list[Any], data: st.DataObject) -> None:
    np.testing.assert_array_equal(as_vector(values), np.array(values, np.float32))
    at = data.draw(st.integers(0, len(values) - 1))
    values[at] = data.draw(st.sampled_from([True, False, np.bool_(True), np.bool_(False)]))
    with pytest.raises(ValidationError, match=rf"vector\[{at}\]: expected a number"):
        as_vector(values)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, np.float16, np.float64])
def test_real_dtypes_are_taken(dtype: type) -> None:
    np.testing.assert_array_equal(as_vector(np.array([0, 1, 2], dtype)), [0.0, 1.0, 2.0])


REFUSED: list[Any] = [
    "abc", b"abc", bytearray(b"abc"), None, 1.5, {1.0, 2.0}, iter([1.0]), object(),
    memoryview(b"ab"),
    ["1"], [None], [1.0, None], [1j], [10**400],
    [1.0, [2.0]], np.array([True]), np.array([1j]), np.array(["a"]), np.array(1.0),
    np.array([None]), [b"a"], [{}], [[[1.0]]], [(1.0,), [[1.0]]], np.zeros((1, 1, 1)),
    np.zeros((2, 2), bool), [[1.0], [1.0, 2.0]], [[1.0], []], [[], [1.0]], [[1.0], 1.0],
    [np.array([1.0]), np.zeros(2)], [np.array(1.0), [1.0]], [[1.0], ["a"]], [[1.0], [True]],
    [[1.0], None], [SPARSE], [[1.0], SPARSE], [[1.0], {}], [[1j]], [[10**400]],
    np.array([[1.0], [1.0, 2.0]], object), memoryview(b"abcd").cast("B", (2, 2)),
]  # fmt: skip


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
def test_refuses_naming_the_field(value: Any) -> None:
    with pytest.raises(ValidationError, match="query"):
        as_vector(value, "query")


@pytest.mark.parametrize("value", [[1e39], np.array([1e39]), array.array("d", [1e39])])
def test_a_huge_double_becomes_infinity_for_the_batch_check(value: Any) -> None:
    assert np.isinf(as_vector(value)).all()


def test_shares_no_memory_with_the_caller() -> None:
    mine = np.ones(3, np.float32)
    found = as_vector(mine)
    mine[0] = 9
    assert found[0] == 1


def test_named_vectors_are_a_new_dict() -> None:
    mine = {"a": [1.0], "b": np.array([2.0])}
    found = as_vectors(mine)
    assert isinstance(found, dict)
    mine["c"] = [3.0]
    assert list(found) == ["a", "b"]
    with pytest.raises(ValidationError, match="vector 'b'"):
        as_vectors({"b": ["x"]})
    with pytest.raises(ValidationError, match="name"):
        as_vectors({1: [1.0]})


def test_sameness_looks_at_names_and_numbers() -> None:
    one, other = as_vector([1.0, 2.0]), as_vector([1.0, 2.5])
    assert same_vectors(one, as_vector([1.0, 2.0]))
    assert not same_vectors(one, other)
    assert same_vectors({"a": one}, {"a": one})
    assert not same_vectors({"a": one}, {"b": one})
    assert not same_vectors({"a": one}, one)
    two = as_vector([[1.0, 2.0], [1.0, 2.5]])
    assert same_vectors(two, as_vector(np.array([[1.0, 2.0], [1.0, 2.5]])))
    assert not same_vectors(as_vector([[1.0, 2.0]]), one)
    assert not same_vectors(two, as_vector([[1.0, 2.0], [1.0, 2.0]]))
    assert same_vectors({"s": SPARSE}, {"s": SparseVector([1], [1.0])})
    assert not same_vectors(SPARSE, SparseVector([2], [1.0]))
    assert not same_vectors(SPARSE, one)
    assert not same_vectors(one, SPARSE)
    assert not same_vectors(None, SPARSE)


def test_shown_on_one_short_line() -> None:
    assert shown_vectors(as_vector([0.1, 0.2, *range(382)])) == "[0.1, 0.2, … 384]"
    assert shown_vectors({"a": as_vector([1, 2])}) == "{'a': [1, 2]}"
    assert shown_vectors(None) == "None"
    assert shown_vectors(as_vector([[1, 2]])) == "[[1, 2] 1 vectors]"
    many = as_vector(np.zeros((9, 384)))
    assert shown_vectors({"m": many}) == "{'m': [[0, 0, … 384], … 9 vectors]}"
    assert shown_vectors(SPARSE) == "SparseVector(indices=[1], values=[1.0])"


def test_blocks_are_copied_once() -> None:
    mine = np.ones((2, 3), np.float32)
    blocks = as_blocks(mine)
    mine[0, 0] = 9
    assert blocks[""][0, 0] == 1
    assert as_blocks(blocks)[""] is blocks[""]
    np.testing.assert_array_equal(as_blocks({"a": np.ones((1, 2), np.int8)})["a"], [[1.0, 1.0]])
    several = as_blocks({"m": np.ones((2, 3, 4), np.float64)})
    assert several["m"].shape == (2, 3, 4)
    assert not several["m"].flags.writeable
    assert as_blocks(several)["m"] is several["m"]


@pytest.mark.parametrize(
    "value",
    [
        np.ones(3),
        np.ones((1, 2), bool),
        [1.0],
        np.ones((1, 1, 1, 1)),
        None,
        np.array(1.0),
        np.ones((1, 2), complex),
        [[1.0], [1.0, 2.0]],
        SPARSE,
    ],
)
def test_refuses_blocks_of_another_shape(value: Any) -> None:
    with pytest.raises(ValidationError, match="vectors ''"):
        as_blocks(value)
