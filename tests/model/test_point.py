"""Points and batches: a batch is checked whole, and its error names the point and the field."""

from __future__ import annotations

import pickle
from itertools import pairwise
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import LimitExceeded, UnknownVector, ValidationError, WrongDimension
from edge.model.limits import Limits
from edge.model.payload import decode_payload, encode_payload
from edge.model.point import (
    Point,
    PointVectors,
    Record,
    ScoredPoint,
    VectorColumn,
    batch_of,
    batch_of_arrays,
    batch_of_vectors,
)
from edge.model.point_id import decode_ids
from edge.model.sparse import SparseVector
from edge.model.vector import by_name
from edge.model.vector_params import Distance
from tests.model.strategies import MANY, config_of, points

CONFIG = config_of(Distance.Cosine)
ONE = {"": [1.0, 2.0, 3.0], "image": [1.0, 2.0, 3.0, 4.0]}


def test_a_point_is_a_value() -> None:
    found = Point(1, np.array([1.0, 2.0]), {"a": 1})
    assert found == Point(1, [1.0, 2.0], {"a": 1})
    assert found == pickle.loads(pickle.dumps(found))
    assert found != Point(2, [1.0, 2.0], {"a": 1})
    assert found != Point(1, [1.0, 2.5], {"a": 1})
    assert found != Point(1, [1.0, 2.0])
    assert Point(1, {"a": [1.0]}) != Point(1, [1.0])
    assert Point(1, [1.0], {"a": np.arange(3)}) == Point(1, [1.0], {"a": [0, 1, 2]})
    assert Point(1, [1.0]) != PointVectors(1, [1.0])
    assert PointVectors(1, ONE) == pickle.loads(pickle.dumps(PointVectors(1, ONE)))
    with pytest.raises(TypeError):
        hash(found)


def test_a_point_cannot_be_changed() -> None:
    found = Point(1, [1.0])
    with pytest.raises(AttributeError):
        found.id = 2  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        found.vector[0] = 2.0  # type: ignore[index]


def test_points_print_on_one_short_line() -> None:
    many = [float(i) for i in range(384)]
    assert repr(Point(1, many)) == "Point(id=1, vector=[0, 1, … 384], payload=None)"
    scored = ScoredPoint(1, 2, 0.5, {"a": 1}, many)
    assert repr(scored) == (
        "ScoredPoint(id=1, version=2, score=0.5, payload={'a': 1}, "
        "vector=[0, 1, … 384], order_value=None)"
    )
    assert len(repr(PointVectors(1, {"a": many}))) < 80
    assert len(repr(Record(1, None, {"a": many}))) < 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, [1.0]), "id: expected"),
        ((True, [1.0]), "id: expected"),
        ((1, None), "vector: expected"),
        ((1, "abc"), "vector: expected"),
        ((1, {"a": [None]}), r"vector 'a'\[0\]"),
        ((1, [1.0], [1]), "payload: expected a dict"),
    ],
)
def test_a_point_refuses_naming_the_argument(arguments: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Point(*arguments)


def plain(name: str, vector: Any) -> Any:
    """A vector of a point as plain numbers; a lone one of a multivector is a multivector."""
    if isinstance(vector, SparseVector):
        return vector.indices, vector.values
    return np.atleast_2d(vector).tolist() if name == MANY else vector.tolist()


def vectors_of(column: VectorColumn) -> list[Any]:
    """The vectors of a column, in the same form."""
    if column.lengths is None:
        assert column.indices is None
        return column.data.tolist()  # type: ignore[no-any-return]
    ends = np.cumsum(column.lengths).tolist()
    parts = list(pairwise([0, *ends]))
    assert ends[-1:] == [len(column.data)]
    if column.indices is None:
        return [column.data[a:b].tolist() for a, b in parts]
    return [(column.indices[a:b].tolist(), column.data[a:b].tolist()) for a, b in parts]


@given(st.lists(points, max_size=6))
def test_a_batch_holds_what_the_points_hold(given_points: list[Point]) -> None:
    batch = batch_of(given_points, CONFIG)
    assert decode_ids(batch.ids) == [point.id for point in given_points]
    found: list[dict[str, Any]] = [{} for _ in given_points]
    for name, column in batch.vectors.items():
        rows = range(len(batch)) if column.rows is None else column.rows.tolist()
        assert column.data.flags.c_contiguous
        for row, one in zip(rows, vectors_of(column), strict=True):
            found[row][name] = one
    expected = [{n: plain(n, v) for n, v in by_name(p.vector).items()} for p in given_points]
    assert found == expected
    payloads = [None if blob is None else decode_payload(blob) for blob in batch.payloads]
    assert payloads == [point.payload for point in given_points]


def test_an_empty_batch() -> None:
    batch = batch_of([], CONFIG)
    assert (len(batch), batch.vectors, batch.payloads, batch.nbytes) == (0, {}, [], 0)


def test_changed_vectors_carry_no_payloads() -> None:
    batch = batch_of_vectors([PointVectors(1, [1, 2, 3]), PointVectors(2, ONE)], CONFIG)
    assert batch.payloads == []
    assert batch.vectors[""].rows is None
    assert batch.vectors["image"].rows is not None
    assert batch.vectors["image"].rows.tolist() == [1]


GOOD = [Point(i, [1.0, 2.0, 3.0], {"a": 1}) for i in range(3)]

WRONG: list[tuple[Point, type[ValidationError], str]] = [
    (Point(7, {"image": [1, 2, 3]}), WrongDimension,
     r'points\[3\] \(id 7\), vector "image": expected 4 numbers, got 3'),
    (Point(7, [1.0]), WrongDimension, r'\[3\] \(id 7\), vector "": expected 3 numbers, got 1'),
    (Point(7, []), WrongDimension, r"points\[3\] \(id 7\).*got 0"),
    (Point(7, {"zz": [1.0]}), UnknownVector, r'points\[3\] \(id 7\), vector "zz".*"image"'),
    (Point(7, [1.0, float("nan"), 2.0]), ValidationError,
     r'points\[3\] \(id 7\), vector ""\[1\]: nan is not a finite number'),
    (Point(7, {"image": [1.0, 1, 1, 1e39]}), ValidationError, r'id 7\), vector "image"\[3\]: inf'),
    (Point(UUID(int=7), [1, 2, 3], {"a": {1: 2}}), ValidationError,
     r"points\[3\] \(id 00000000-.*7\), payload\['a'\]: expected str keys"),
    (Point(7, [1, 2, 3], {"a": "x" * 2000}), LimitExceeded, r"points\[3\] \(id 7\), payload.*1000"),
]  # fmt: skip


@pytest.mark.parametrize(("point", "kind", "message"), WRONG, ids=[m for _, _, m in WRONG])
def test_one_wrong_point_refuses_the_batch(
    point: Point, kind: type[ValidationError], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        batch_of([*GOOD, point], CONFIG, Limits(payload_bytes=1000))
    assert type(caught.value) is kind


def test_batches_have_limits() -> None:
    with pytest.raises(LimitExceeded, match="3 points in one batch, at most 2"):
        batch_of(GOOD, CONFIG, Limits(batch_points=2))
    batch = batch_of(GOOD, CONFIG)
    assert batch.nbytes == 3 * (12 + len(encode_payload({"a": 1})))
    assert len(batch_of(GOOD, CONFIG, Limits(batch_bytes=batch.nbytes))) == 3
    for size in (batch.nbytes - 1, 35, 1):
        with pytest.raises(LimitExceeded, match="bytes, at most"):
            batch_of(GOOD, CONFIG, Limits(batch_bytes=size))


def test_arrays_give_the_same_batch_as_points() -> None:
    data = np.arange(9, dtype=np.float64).reshape(3, 3)
    payloads = [{"a": 1}, None, {}]
    made = [Point(i, data[i], payloads[i]) for i in range(3)]
    assert batch_of_arrays(np.arange(3), data, payloads, CONFIG) == batch_of(made, CONFIG)
    assert batch_of_arrays([0, 1, 2], {"": data}, payloads, CONFIG) == batch_of(made, CONFIG)
    bare = batch_of_arrays([0, 1, 2], data, None, CONFIG)
    assert bare.payloads == [None, None, None]


ARRAYS: list[tuple[tuple[Any, ...], type[ValidationError], str]] = [
    (([1], np.zeros((1, 2)), None), WrongDimension, r"expected shape \[1, 3\], got \[1, 2\]"),
    (([1], np.zeros((2, 3)), None), ValidationError, r"expected shape \[1, 3\], got \[2, 3\]"),
    (([1], {"zz": np.zeros((1, 3))}, None), UnknownVector, "zz"),
    (([1, 2], np.array([[1, 2, 3], [1, np.inf, 3]]), None), ValidationError,
     r'row 1 \(id 2\), vector ""\[1\]: inf'),
    (([1, 2], np.zeros((2, 3)), [{}]), ValidationError, "payloads: expected 2 entries, got 1"),
    (([1, 2], np.zeros((2, 3)), [{}, {"a": object()}]), ValidationError, r"row 1 \(id 2\), pay"),
    (([1, -2], np.zeros((2, 3)), None), ValidationError, r"ids\[1\]"),
    ((np.array([1, -2]), np.zeros((2, 3)), None), ValidationError, "ids"),
    ((range(11), np.zeros((11, 3)), None), LimitExceeded, "11 points"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "kind", "message"), ARRAYS, ids=[m for _, _, m in ARRAYS])
def test_one_wrong_row_refuses_the_arrays(
    arguments: Any, kind: type[ValidationError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        batch_of_arrays(*arguments, CONFIG, Limits(batch_points=10))
