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
from edge.model.vector import as_blocks, as_vector, as_vectors, same_vectors, shown_vectors

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
    ["1"], [None], [1.0, None], [[1.0]], [(1.0,)], [np.array([1.0])], [1j], [10**400],
    [1.0, [2.0]], np.array([True]), np.array([1j]), np.array(["a"]), np.array(1.0),
    np.zeros((2, 2)), np.zeros((1, 2), np.float32), np.array([None]), [b"a"], [{}],
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


def test_shown_on_one_short_line() -> None:
    assert shown_vectors(as_vector([0.1, 0.2, *range(382)])) == "[0.1, 0.2, … 384]"
    assert shown_vectors({"a": as_vector([1, 2])}) == "{'a': [1, 2]}"
    assert shown_vectors(None) == "None"


def test_blocks_are_copied_once() -> None:
    mine = np.ones((2, 3), np.float32)
    blocks = as_blocks(mine)
    mine[0, 0] = 9
    assert blocks[""][0, 0] == 1
    assert as_blocks(blocks)[""] is blocks[""]
    np.testing.assert_array_equal(as_blocks({"a": np.ones((1, 2), np.int8)})["a"], [[1.0, 1.0]])


@pytest.mark.parametrize(
    "value", [np.ones(3), np.ones((1, 2), bool), [1.0], np.ones((1, 1, 1)), None]
)
def test_refuses_blocks_of_another_shape(value: Any) -> None:
    with pytest.raises(ValidationError, match="vectors ''"):
        as_blocks(value)
