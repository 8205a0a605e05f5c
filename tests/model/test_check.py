"""Checking: operations and requests against a shard's config and limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from msgspec.structs import replace

from edge.errors import LimitExceeded, UnknownVector, ValidationError, WrongDimension
from edge.model import check as room
from edge.model import codec, update
from edge.model.check import (
    CheckedOperation,
    check,
    check_filter,
    check_request,
    recheck,
    recheck_column,
)
from edge.model.config import ConfigChange
from edge.model.filter import (
    Filter,
    HasVectorCondition,
    IsEmptyCondition,
    MinShould,
    NestedCondition,
)
from edge.model.limits import Limits
from edge.model.payload import encode_payload
from edge.model.point import Point, PointBatch, PointVectors, VectorColumn
from edge.model.query import Query
from edge.model.request import (
    CountRequest,
    QueryBatchRequest,
    QueryRequest,
    ScrollRequest,
    SearchRequest,
)
from edge.model.sparse import SparseVector
from edge.model.update import UpdateMode, UpdateOperation
from edge.model.vector_params import Distance, Modifier
from edge.model.vector_params import VectorStorageDatatype as Datatype
from tests.model.strategies import CONFIG, HALF, MANY, SEVERAL, WORDS, operations

U = UpdateOperation
S = SparseVector
ONE = IsEmptyCondition("a")
ANY = Filter([ONE])
IMAGE = CONFIG.vectors["image"]


def subclasses(kind: type) -> set[type]:
    below = {c for child in kind.__subclasses__() for c in subclasses(child)}
    return below or {kind}


def test_every_operation_has_its_check() -> None:
    assert set(room._CHECKS) == subclasses(update.UpdateOperation)
    assert set(codec._NUMBERS) == subclasses(CheckedOperation)
    numbers = sorted(codec._NUMBERS.values())
    assert numbers == sorted(codec._ENCODERS) == sorted(codec._DECODERS)
    assert len(set(numbers)) == len(numbers)


@given(operations)
def test_checking_twice_gives_the_same(operation: UpdateOperation) -> None:
    first = check(operation, CONFIG)
    assert isinstance(first, CheckedOperation)
    assert first == check(operation, CONFIG)
    assert first != object()


def test_checked_operations_are_canonical() -> None:
    found = check(U.set_payload([3, 1], {"a": (1,)}, "b.c"), CONFIG)
    assert isinstance(found, room.CheckedSetPayload)
    assert isinstance(found.target, np.ndarray)
    assert found.target.tolist() == [[0, 0, 3], [0, 0, 1]]
    assert (found.payload, found.key) == (encode_payload({"a": [1]}), "b.c")
    condition = Filter([ONE])
    upsert = check(U.upsert_points([], condition, UpdateMode.InsertOnly), CONFIG)
    assert isinstance(upsert, room.CheckedUpsert)
    assert (upsert.condition, upsert.update_mode) == (condition, UpdateMode.InsertOnly)


def test_points_and_arrays_become_the_same_operation() -> None:
    data = np.arange(6).reshape(2, 3)
    by_points = U.upsert_points([Point(i, data[i], {"a": i}) for i in range(2)])
    by_arrays = U.upsert_arrays(range(2), data, [{"a": 0}, {"a": 1}])
    assert check(by_points, CONFIG) == check(by_arrays, CONFIG)


def deep(levels: int) -> Filter:
    found = Filter([ONE])
    for _ in range(levels - 1):
        found = Filter([NestedCondition("a", found)])
    return found


ZZ = HasVectorCondition("zz")
WRONG: list[tuple[Any, type[ValidationError], str]] = [
    (Point(1, [1.0]), ValidationError, "operation: expected an UpdateOperation"),
    (None, ValidationError, "operation: expected an UpdateOperation"),
    (U.upsert_points([Point(1, [1.0])]), WrongDimension, r"points\[0\] \(id 1\)"),
    (U.upsert_points([], Filter([ZZ])), UnknownVector, "zz"),
    (U.upsert_arrays([1], np.zeros((1, 9))), WrongDimension, "expected shape"),
    (U.upsert_arrays([1], np.zeros((1, 3)), None, deep(4)), LimitExceeded, "4 levels, at most 3"),
    (U.update_vectors([PointVectors(1, [1.0])]), WrongDimension, r"point_vectors\[0\] \(id 1\)"),
    (U.update_vectors([], Filter([ZZ])), UnknownVector, "zz"),
    (U.delete_points(range(6)), LimitExceeded, "point_ids: 6, at most 5"),
    (U.delete_points_by_filter(deep(4)), LimitExceeded, "4 levels, at most 3"),
    (U.delete_points_by_filter(Filter([ONE] * 10)), LimitExceeded, "11 conditions, at most 10"),
    (U.delete_vectors([1], ["zz"]), UnknownVector, "zz"),
    (U.set_payload([1], {"a": object()}), ValidationError, r"payload\['a'\]"),
    (U.overwrite_payload_by_filter(deep(4), {}), LimitExceeded, "4 levels"),
    (U.set_payload_by_filter(Filter(must_not=[ZZ]), {}), UnknownVector, "zz"),
    (U.delete_payload(range(6), []), LimitExceeded, "point_ids"),
    (U.clear_payload(range(6)), LimitExceeded, "point_ids"),
    (U.upsert_points([Point(1, {WORDS: [1.0]})]), ValidationError, 'vector "words": expected a Sp'),
    (U.upsert_points([Point(1, S([1], [1]))]), ValidationError, 'vector "": expected numbers, got'),
    (U.update_vectors([PointVectors(1, {MANY: []})]), ValidationError, "one vector at least"),
    (U.upsert_arrays([1], {WORDS: np.ones((1, 2))}), ValidationError, "do not come as arrays"),
    (U.upsert_arrays([1], {HALF: np.full((1, 2), 1e5)}), ValidationError, "beyond Float16"),
    (U.create_dense_vector("", 4, Distance.Dot), ValidationError, "'': expected size 3 as stored"),
    (U.create_dense_vector(HALF, 2, Distance.Dot), ValidationError, "'half': expected datatype"),
    (U.create_dense_vector(WORDS, 2, Distance.Dot), ValidationError, "'words': expected EdgeSpars"),
    (
        U.create_sparse_vector(MANY),
        ValidationError,
        "'many': expected EdgeVectorParams.* as stored",
    ),
    (U.create_sparse_vector(WORDS), ValidationError, "'words': expected modifier Modifier.Idf"),
    (U.set_config(ConfigChange(vectors={"zz": IMAGE})), ValidationError, "there is no 'zz'"),
    (
        U.set_config(ConfigChange(vectors={"image": replace(IMAGE, size=5)})),
        ValidationError,
        "vector 'image': expected size 4 as stored, got 5",
    ),
]


@pytest.mark.parametrize(("operation", "kind", "message"), WRONG, ids=range(len(WRONG)))
def test_refuses_operations(operation: Any, kind: type[ValidationError], message: str) -> None:
    limits = Limits(filter_depth=3, filter_nodes=10, batch_ids=5)
    with pytest.raises(kind, match=message) as caught:
        check(operation, CONFIG, limits)
    assert type(caught.value) is kind


def test_names_that_are_there_as_asked_may_be_created_again() -> None:
    again = U.create_dense_vector(MANY, 2, Distance.Dot, SEVERAL, Datatype.Float32)
    found = check(again, CONFIG)
    assert isinstance(found, room.CheckedCreateVector)
    assert (found.name, found.vector) == (
        MANY,
        replace(CONFIG.vectors[MANY], datatype=Datatype.Float32),
    )
    sparse = check(U.create_sparse_vector(WORDS, Modifier.Idf, Datatype.Float32), CONFIG)
    assert isinstance(sparse, room.CheckedCreateVector)
    assert check(U.delete_vector_name("gone"), CONFIG) == room.CheckedDeleteVector("gone")


# -- what was checked elsewhere


@given(operations)
def test_what_was_checked_is_right_when_it_is_checked_again(operation: UpdateOperation) -> None:
    checked = check(operation, CONFIG)
    assert recheck(checked, CONFIG) is checked


def column(data: Any, lengths: Any = None, indices: Any = None, rows: Any = None) -> VectorColumn:
    def whole(values: Any) -> Any:
        return None if values is None else np.array(values, np.uint32)

    return VectorColumn(whole(rows), np.array(data, np.float32), whole(lengths), whole(indices))


RIGHT_COLUMNS: list[tuple[str, VectorColumn, int]] = [
    ("", column(np.zeros((2, 3))), 2),
    ("", column(np.zeros((1, 3)), rows=[1]), 2),
    ("", column(np.zeros((0, 3))), 0),
    (HALF, column([[65_504, -65_504]]), 1),
    (MANY, column(np.zeros((3, 2)), [2, 1]), 2),
    (MANY, column(np.zeros((3, 2)), [3], rows=[0]), 2),
    (WORDS, column([1, 2, 3], [2, 1], [5, 9, 5]), 2),
    (WORDS, column([1, 2, 3], [1, 1, 1], [9, 5, 1]), 3),
    (WORDS, column([1, 2], [0, 2, 0], [1, 2**32 - 1]), 3),
    (WORDS, column([1, 1], [1, 0, 1], [7, 7]), 3),
    (WORDS, column([], [0, 0], []), 2),
    (WORDS, column([], [], []), 0),
]


@pytest.mark.parametrize(("name", "right", "points"), RIGHT_COLUMNS, ids=range(len(RIGHT_COLUMNS)))
def test_lets_columns_through(name: str, right: VectorColumn, points: int) -> None:
    recheck_column(name, right, points, CONFIG)


KIND, FINITE = "is of another kind", "not (a )?finite"
WRONG_COLUMNS: list[tuple[str, VectorColumn, type[ValidationError], str]] = [
    ("zz", column(np.zeros((2, 3))), UnknownVector, "zz"),
    ("", column(np.zeros((3, 3))), ValidationError, "3 vectors for 2 points"),
    ("", column(np.zeros((2, 3)), rows=[1]), ValidationError, "2 vectors for 2 points"),
    ("", column(np.zeros((2, 4))), WrongDimension, 'vector "": expected 3 numbers, got 4'),
    ("", column([[1, 2, 3], [1, 2, np.nan]]), ValidationError, FINITE),
    ("", column(np.zeros((2, 3)), [1, 1]), ValidationError, KIND),
    ("", column([1, 2], [1, 1], [1, 1]), ValidationError, KIND),
    (HALF, column([[1, 2], [1, 65_520]]), ValidationError, "beyond Float16"),
    (HALF, column([[1, 2], [1, -np.inf]]), ValidationError, FINITE),
    (MANY, column(np.zeros((2, 2))), ValidationError, KIND),
    (MANY, column([1, 2], [1, 1], [1, 1]), ValidationError, KIND),
    (MANY, column(np.zeros((2, 3)), [1, 1]), WrongDimension, 'vector "many": expected 2 numbers'),
    (MANY, column(np.zeros((3, 2)), [1, 1, 1]), ValidationError, "3 vectors for 2 points"),
    (MANY, column([[1, 2], [3, np.inf]], [1, 1]), ValidationError, FINITE),
    (WORDS, column(np.zeros((2, 3))), ValidationError, KIND),
    (WORDS, column(np.zeros((2, 2)), [1, 1]), ValidationError, KIND),
    (WORDS, column([1], [1], [1]), ValidationError, "1 vectors for 2 points"),
    (WORDS, column([1, np.nan], [1, 1], [1, 1]), ValidationError, FINITE),
    (WORDS, column([1, np.inf], [1, 1], [1, 1]), ValidationError, FINITE),
    (WORDS, column([1, 2], [2, 0], [2, 1]), ValidationError, "indices do not ascend"),
    (WORDS, column([1, 2], [0, 2], [1, 1]), ValidationError, "indices do not ascend"),
    (WORDS, column([1, 2, 3], [1, 2], [9, 2, 2]), ValidationError, "indices do not ascend"),
    (WORDS, column([1, 2, 3], [2, 1], [2**32 - 1, 0, 1]), ValidationError, "do not ascend"),
]


@pytest.mark.parametrize(
    ("name", "wrong", "kind", "message"), WRONG_COLUMNS, ids=range(len(WRONG_COLUMNS))
)
def test_refuses_columns(
    name: str, wrong: VectorColumn, kind: type[ValidationError], message: str
) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        recheck_column(name, wrong, 2, CONFIG)
    assert type(caught.value) is kind
    batch = PointBatch(np.zeros((2, 3), np.uint64), {name: wrong}, [])
    for checked in (room.CheckedUpsert(batch), room.CheckedUpdateVectors(batch)):
        with pytest.raises(kind, match=message):
            recheck(checked, CONFIG)


@pytest.mark.parametrize(
    ("checked", "kind", "message"),
    [
        (room.CheckedDeleteVectors(ANY, ("zz",)), UnknownVector, "zz"),
        (
            room.CheckedSetConfig(ConfigChange(vectors={"zz": IMAGE})),
            ValidationError,
            "there is no 'zz'",
        ),
        (
            room.CheckedSetConfig(ConfigChange(vectors={"image": replace(IMAGE, size=9)})),
            ValidationError,
            "expected size 4 as stored",
        ),
        (room.CheckedDeletePoints(Filter([ZZ])), UnknownVector, "zz"),
    ],
)
def test_what_was_right_elsewhere_is_refused_here(
    checked: CheckedOperation, kind: type[ValidationError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        recheck(checked, CONFIG)


def test_a_batch_that_is_too_large_here_is_refused() -> None:
    checked = check(U.upsert_points([Point(1, {MANY: [[1, 2], [3, 4]]})]), CONFIG)
    recheck(checked, CONFIG, Limits(batch_bytes=16))
    with pytest.raises(LimitExceeded, match="1 points of 16 bytes"):
        recheck(checked, CONFIG, Limits(batch_bytes=15))


@pytest.mark.parametrize(
    "filter_",
    [
        Filter([ZZ]),
        Filter(should=[Filter([ZZ])]),
        Filter(must_not=[NestedCondition("a", Filter([ZZ]))]),
        Filter(min_should=MinShould([ZZ], 1)),
    ],
)
def test_unknown_vectors_are_found_at_any_depth(filter_: Filter) -> None:
    with pytest.raises(UnknownVector, match=r'"zz".*"image"'):
        check_filter(filter_, CONFIG)


def test_filters_end_exactly_at_the_limits() -> None:
    check_filter(None, CONFIG)
    check_filter(deep(32), CONFIG)
    with pytest.raises(LimitExceeded):
        check_filter(deep(33), CONFIG)
    check_filter(Filter([ONE] * 4095), CONFIG)
    with pytest.raises(LimitExceeded):
        check_filter(Filter([ONE] * 4096), CONFIG)


def nearest(vector: Any, using: str | None = None) -> QueryRequest:
    return QueryRequest(1, query=Query.Nearest(vector, using))


NEAREST = Query.Nearest([1.0, 2.0, 3.0])
RIGHT: list[Any] = [
    QueryRequest(10),
    QueryRequest(999_990, 10, NEAREST, with_vector=["image", ""]),
    SearchRequest(Query.Nearest([1, 2, 3, 4], "image"), 1),
    QueryBatchRequest([QueryRequest(10, query=NEAREST)] * 3),
    ScrollRequest(limit=1_000_000),
    CountRequest(filter=deep(32)),
    QueryRequest(1, query=Query.Nearest([65_504, -65_519], HALF)),
    QueryRequest(1, query=Query.Nearest([1, 2], MANY)),
    QueryRequest(1, query=Query.Nearest([[1, 2], [3, 4]], MANY)),
    QueryRequest(1, query=Query.Nearest(S([3, 1], [1, 2]), WORDS)),
    QueryRequest(1, query=Query.Nearest(S([], []), WORDS)),
    QueryRequest(1, with_vector=[WORDS, MANY]),
]


@pytest.mark.parametrize("request_", RIGHT, ids=range(len(RIGHT)))
def test_lets_requests_through(request_: Any) -> None:
    check_request(request_, CONFIG)


WRONG_REQUESTS: list[tuple[Any, type[ValidationError], str]] = [
    (QueryRequest(1, query=Query.Nearest([1.0])), WrongDimension, 'vector "": expected 3.*got 1'),
    (QueryRequest(1, query=Query.Nearest([1.0], "zz")), UnknownVector, "zz"),
    (SearchRequest(Query.Nearest([1.0, 2.0, np.nan]), 1), ValidationError, "not finite"),
    (SearchRequest(Query.Nearest([1.0, 2.0, np.inf]), 1), ValidationError, "not finite"),
    (nearest([1, 2], WORDS), ValidationError, 'vector "words": expected a SparseVector, got numb'),
    (nearest([[1, 2]], WORDS), ValidationError, 'vector "words": expected a SparseVector'),
    (nearest(S([1], [1])), ValidationError, 'vector "": expected numbers, got a SparseVector'),
    (nearest(S([1], [1]), MANY), ValidationError, 'vector "many": expected numbers, got a Sparse'),
    (nearest([[1, 2, 3]]), WrongDimension, 'vector "": expected 3 numbers, got a multivector'),
    (nearest([[1, 2], [3, 4]], HALF), WrongDimension, "expected 2 numbers, got a multivector"),
    (nearest(np.zeros((0, 2)), MANY), ValidationError, "a multivector holds one vector at least"),
    (nearest([], MANY), WrongDimension, 'vector "many": expected 2 numbers, got 0'),
    (nearest([1, 2, 3], MANY), WrongDimension, 'vector "many": expected 2 numbers, got 3'),
    (nearest([[1, 2, 3]], MANY), WrongDimension, 'vector "many": expected 2 numbers, got 3'),
    (nearest([[1, np.nan]], MANY), ValidationError, "not finite"),
    (nearest([1, 65_520], HALF), ValidationError, r'"half"\[1\]: 65520.0 is beyond Float16'),
    (nearest(S([1], [1]), "zz"), UnknownVector, "zz"),
    (QueryRequest(999_991, 10), LimitExceeded, "1000001, at most 1000000"),
    (QueryRequest(2**64 - 1, 2**64 - 1), LimitExceeded, "limit"),
    (ScrollRequest(limit=1_000_001), LimitExceeded, "limit"),
    (QueryRequest(1, with_vector=["zz"]), UnknownVector, "zz"),
    (ScrollRequest(with_vector=["zz"]), UnknownVector, "zz"),
    (QueryRequest(1, filter=deep(33)), LimitExceeded, "33 levels"),
    (CountRequest(filter=Filter([ZZ])), UnknownVector, "zz"),
    (QueryBatchRequest([QueryRequest(1)] * 1025), LimitExceeded, "queries: 1025"),
    (QueryBatchRequest([QueryRequest(1), QueryRequest(2**32)]), LimitExceeded, "limit"),
]


@pytest.mark.parametrize(
    ("request_", "kind", "message"), WRONG_REQUESTS, ids=range(len(WRONG_REQUESTS))
)
def test_refuses_requests(request_: Any, kind: type[ValidationError], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        check_request(request_, CONFIG)
    assert type(caught.value) is kind
