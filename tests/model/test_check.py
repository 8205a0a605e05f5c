"""Checking: operations and requests against a shard's config and limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given

from edge.errors import LimitExceeded, UnknownVector, ValidationError, WrongDimension
from edge.model import check as room
from edge.model import codec, update
from edge.model.check import CheckedOperation, check, check_filter, check_request
from edge.model.config import Distance, EdgeConfig, EdgeVectorParams
from edge.model.filter import (
    Filter,
    HasVectorCondition,
    IsEmptyCondition,
    MinShould,
    NestedCondition,
)
from edge.model.limits import Limits
from edge.model.payload import encode_payload
from edge.model.point import Point, PointVectors
from edge.model.query import Query
from edge.model.request import (
    CountRequest,
    QueryBatchRequest,
    QueryRequest,
    ScrollRequest,
    SearchRequest,
)
from edge.model.update import UpdateMode, UpdateOperation
from tests.model.strategies import DIMENSIONS, operations

U = UpdateOperation
CONFIG = EdgeConfig({n: EdgeVectorParams(size, Distance.Dot) for n, size in DIMENSIONS.items()})
ONE = IsEmptyCondition("a")


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
]


@pytest.mark.parametrize(("operation", "kind", "message"), WRONG, ids=range(len(WRONG)))
def test_refuses_operations(operation: Any, kind: type[ValidationError], message: str) -> None:
    limits = Limits(filter_depth=3, filter_nodes=10, batch_ids=5)
    with pytest.raises(kind, match=message) as caught:
        check(operation, CONFIG, limits)
    assert type(caught.value) is kind


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


NEAREST = Query.Nearest([1.0, 2.0, 3.0])
RIGHT: list[Any] = [
    QueryRequest(10),
    QueryRequest(999_990, 10, NEAREST, with_vector=["image", ""]),
    SearchRequest(Query.Nearest([1, 2, 3, 4], "image"), 1),
    QueryBatchRequest([QueryRequest(10, query=NEAREST)] * 3),
    ScrollRequest(limit=1_000_000),
    CountRequest(filter=deep(32)),
]


@pytest.mark.parametrize("request_", RIGHT, ids=range(len(RIGHT)))
def test_lets_requests_through(request_: Any) -> None:
    check_request(request_, CONFIG)


WRONG_REQUESTS: list[tuple[Any, type[ValidationError], str]] = [
    (QueryRequest(1, query=Query.Nearest([1.0])), WrongDimension, 'vector "": expected 3.*got 1'),
    (QueryRequest(1, query=Query.Nearest([1.0], "zz")), UnknownVector, "zz"),
    (SearchRequest(Query.Nearest([1.0, 2.0, np.nan]), 1), ValidationError, "not finite"),
    (SearchRequest(Query.Nearest([1.0, 2.0, np.inf]), 1), ValidationError, "not finite"),
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
