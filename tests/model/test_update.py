"""Update operations: what their constructors take, and that they are values."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from edge.errors import ValidationError
from edge.model.config import ConfigChange
from edge.model.filter import Filter, IsEmptyCondition
from edge.model.point import Point, PointVectors
from edge.model.update import (
    ClearPayload,
    CreateVector,
    DeletePoints,
    DeleteVector,
    OverwritePayload,
    SetConfig,
    SetPayload,
    UpdateMode,
    UpdateOperation,
    UpsertPoints,
)
from edge.model.vector_params import (
    Distance,
    EdgeSparseVectorParams,
    EdgeVectorParams,
    Modifier,
    MultiVectorComparator,
    MultiVectorConfig,
)
from edge.model.vector_params import VectorStorageDatatype as D
from tests.model.strategies import operations

U, Dot = UpdateOperation, Distance.Dot
ANY = Filter([IsEmptyCondition("a")])


@given(operations)
def test_an_operation_is_a_value(operation: UpdateOperation) -> None:
    assert isinstance(operation, UpdateOperation)
    assert pickle.loads(pickle.dumps(operation)) == operation
    assert "\n" not in repr(operation)


def test_the_mode_is_always_one() -> None:
    for mode in (None, UpdateMode.Upsert):
        found = U.upsert_points([], update_mode=mode)
        assert isinstance(found, UpsertPoints)
        assert found.update_mode is UpdateMode.Upsert


def test_lists_are_taken_when_the_operation_is_made() -> None:
    mine = [Point(1, [1.0])]
    found = U.upsert_points(mine)
    mine.append(Point(2, [1.0]))
    assert isinstance(found, UpsertPoints)
    assert len(found.points) == 1


@pytest.mark.parametrize(
    "ids", [[1, 2], (1, 2), iter([1, 2]), np.array([1, 2]), {1: 0, 2: 0}.keys()]
)
def test_ids_may_come_in_any_iterable(ids: Any) -> None:
    assert U.delete_points(ids) == DeletePoints((1, 2))


def test_kinds_and_contents_tell_operations_apart() -> None:
    assert U.set_payload([1], {"a": 1}) == SetPayload((1,), {"a": 1})
    assert U.set_payload([1], {"a": 1}) != U.overwrite_payload([1], {"a": 1})
    assert U.overwrite_payload([1], {"a": 1}, "b") == OverwritePayload((1,), {"a": 1}, "b")
    assert U.set_payload([1], {"a": 1}, "b") != U.set_payload([1], {"a": 1})
    assert U.set_payload([1], {"a": np.arange(2)}) == U.set_payload([1], {"a": [0, 1]})
    assert U.clear_payload([1]) != U.clear_payload_by_filter(ANY)
    assert U.clear_payload_by_filter(ANY) == ClearPayload(ANY)
    assert U.delete_points_by_filter(Filter()) != U.delete_points([])


def test_vectors_to_create_are_told_apart() -> None:
    several = MultiVectorConfig(MultiVectorComparator.MaxSim)
    dense = U.create_dense_vector("a", 4, Dot, several, D.Uint8)
    params = EdgeVectorParams(4, Dot, multivector_config=several, datatype=D.Uint8)
    assert dense == CreateVector("a", params)
    assert dense != U.create_dense_vector("a", 4, Dot, several)
    assert dense != U.create_dense_vector("b", 4, Dot, several, D.Uint8)
    sparse = U.create_sparse_vector("a", Modifier.Idf, D.Float16)
    assert sparse == CreateVector("a", EdgeSparseVectorParams(None, None, Modifier.Idf, D.Float16))
    assert sparse != U.create_sparse_vector("a") != dense
    assert U.delete_vector_name("a") == DeleteVector("a") != DeleteVector("b")
    assert U.set_config(ConfigChange()) == SetConfig(ConfigChange())
    assert U.set_config(ConfigChange()) != U.set_config(ConfigChange(vectors={"a": params}))


def test_arrays_are_copied_and_equal_by_content() -> None:
    mine = np.ones((2, 3), np.float32)
    first = U.upsert_arrays([1, 2], mine, [None, {"a": 1}])
    same = U.upsert_arrays(np.array([1, 2]), {"": np.ones((2, 3))}, (None, {"a": 1}))
    assert first == same
    mine[0, 0] = 5
    assert first == same
    assert first == pickle.loads(pickle.dumps(first))
    assert first != U.upsert_arrays([1, 3], np.ones((2, 3)), [None, {"a": 1}])
    assert first != U.upsert_arrays([1, 2], np.ones((2, 3)))
    assert repr(first) == "UpsertArrays(2 points, vectors={'': [2, 3]})"


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: U.upsert_points(Point(1, [1.0])), "points: expected a list"),
    (lambda: U.upsert_points([Point(1, [1.0]), 3]), r"points\[1\]: expected a Point"),
    (lambda: U.upsert_points([PointVectors(1, [1.0])]), r"points\[0\]: expected a Point"),
    (lambda: U.upsert_points([], {}), "condition: expected a Filter"),
    (lambda: U.upsert_points([], None, "Upsert"), "update_mode: expected a UpdateMode"),
    (lambda: U.upsert_arrays([1], [1.0]), "vectors ''"),
    (lambda: U.update_vectors([Point(1, [1.0])]), r"point_vectors\[0\]"),
    (lambda: U.delete_points(3), "point_ids: expected a list"),
    (lambda: U.delete_points("550e8400-e29b-41d4-a716-446655440000"), "point_ids: expected a list"),
    (lambda: U.delete_points([1, True]), r"point_ids\[1\]"),
    (lambda: U.delete_points(ANY), "point_ids: expected a list"),
    (lambda: U.delete_points_by_filter([1]), "filter: expected a Filter"),
    (lambda: U.delete_vectors([1], "a"), "vector_names: expected a list"),
    (lambda: U.delete_vectors([1], [1]), r"vector_names\[0\]"),
    (lambda: U.delete_vectors_by_filter(None, ["a"]), "filter: expected"),
    (lambda: U.set_payload([1], [1]), "payload: expected a dict"),
    (lambda: U.set_payload([1], {}, "a[["), "payload path"),
    (lambda: U.set_payload([1], {}, 3), "key: expected a str"),
    (lambda: U.overwrite_payload([1], None), "payload: expected a dict"),
    (lambda: U.overwrite_payload_by_filter(1, {}), "filter: expected"),
    (lambda: U.delete_payload([1], "a"), "keys: expected a list"),
    (lambda: U.delete_payload([1], ["a..b"]), "payload path"),
    (lambda: U.clear_payload(None), "point_ids: expected a list"),
    (lambda: U.create_dense_vector("a", 0, Dot), "size: expected 1 to 65535, got 0"),
    (lambda: U.create_dense_vector("a", 4, "Dot"), "distance: expected a Distance"),
    (lambda: U.create_dense_vector("a", 4, Dot, 1), "multivector_config: expected a MultiVector"),
    (lambda: U.create_dense_vector("a", 4, Dot, None, "Uint8"), "datatype: expected a VectorStor"),
    (lambda: U.create_dense_vector("a", 4, Dot, None, D.Turbo4), "datatype: .*not supported yet"),
    (lambda: U.create_sparse_vector("a", "idf"), "modifier: expected a Modifier"),
    (lambda: U.create_sparse_vector("a", None, D.Turbo8), "Turbo8 is not one of a sparse vector"),
    (lambda: U.set_config(None), "change: expected a ConfigChange"),
    (lambda: U.set_config({"hnsw_config": None}), "change: expected a ConfigChange"),
]


@pytest.mark.parametrize(("build", "message"), REFUSED, ids=range(len(REFUSED)))
def test_refuses_naming_the_argument(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        build()
