"""Checking a request whole, before anything is logged or read.

`check` turns an operation as the caller wrote it into a checked one: the only form that the log
holds and the store applies. A checked operation has canonical ids (rows), encoded payloads, vector
names that the config knows, filters within the limits. Invariants: checking never changes anything
and never depends on what is stored; whatever it lets through can be encoded and decoded again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from msgspec import Struct

from edge.errors import LimitExceeded, UnknownVector, ValidationError, WrongDimension
from edge.model import fields, update
from edge.model.config import ConfigChange, EdgeConfig, changed, same_storage
from edge.model.cursor import Cursor
from edge.model.expression import ConditionExpression, walk
from edge.model.filter import Filter, HasVectorCondition, NestedCondition
from edge.model.formula import Formula
from edge.model.groups import QueryGroupsRequest
from edge.model.limits import DEFAULT_LIMITS, Limits
from edge.model.matrix import SearchMatrixRequest
from edge.model.payload import decode_payload, encode_payload
from edge.model.point import (
    PointBatch,
    VectorColumn,
    batch_of,
    batch_of_blocks,
    batch_of_vectors,
    check_numbers,
)
from edge.model.point_id import IdRows, encode_ids
from edge.model.prefetch import Prefetch, size_of
from edge.model.query import Mmr, Query, SearchParams
from edge.model.request import (
    CountRequest,
    FacetRequest,
    QueryBatchRequest,
    QueryRequest,
    ScrollRequest,
    SearchRequest,
)
from edge.model.schema import IndexedField, TextIndexParams, index_analyzer
from edge.model.sparse import SparseVector
from edge.model.update import UpdateMode, UpdateOperation
from edge.model.vector import AnyVector
from edge.model.vector_params import EdgeSparseVectorParams, EdgeVectorParams, VectorParams
from edge_kernels.rows import all_finite

Target: TypeAlias = IdRows | Filter
"""The points that a checked operation is about: rows uint64[n, 3] in the order given, or a filter.

Ids may repeat."""

Request: TypeAlias = (
    QueryRequest
    | QueryBatchRequest
    | QueryGroupsRequest
    | SearchRequest
    | SearchMatrixRequest
    | ScrollRequest
    | CountRequest
    | FacetRequest
)


class CheckedOperation(Struct, frozen=True, eq=False):
    """What `check` gives. Equal when the kind and everything in it is equal, arrays included."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and all(
            _same(getattr(self, name), getattr(other, name)) for name in self.__struct_fields__
        )

    __hash__ = None  # type: ignore[assignment]


class CheckedUpsert(CheckedOperation, frozen=True, eq=False):
    """Insert or replace the points of `batch`; `condition` gates only points already stored."""

    batch: PointBatch
    condition: Filter | None = None
    update_mode: UpdateMode = UpdateMode.Upsert


class CheckedUpdateVectors(CheckedOperation, frozen=True, eq=False):
    """Replace named vectors of stored points; the `payloads` of `batch` are empty."""

    batch: PointBatch
    condition: Filter | None = None


class CheckedDeletePoints(CheckedOperation, frozen=True, eq=False):
    """Delete points."""

    target: Target


class CheckedDeleteVectors(CheckedOperation, frozen=True, eq=False):
    """Take named vectors away from points."""

    target: Target
    vector_names: tuple[str, ...]


class CheckedSetPayload(CheckedOperation, frozen=True, eq=False):
    """Merge `payload` (msgpack) into the points' payload, at the path `key` where one is given."""

    target: Target
    payload: bytes
    key: str | None = None


class CheckedOverwritePayload(CheckedOperation, frozen=True, eq=False):
    """Replace the points' payload, or what is at the path `key`, by `payload` (msgpack)."""

    target: Target
    payload: bytes
    key: str | None = None


class CheckedDeletePayload(CheckedOperation, frozen=True, eq=False):
    """Remove what is at the paths `keys` from the points' payload."""

    target: Target
    keys: tuple[str, ...]


class CheckedClearPayload(CheckedOperation, frozen=True, eq=False):
    """Remove the points' whole payload."""

    target: Target


class CheckedCreateFieldIndex(CheckedOperation, frozen=True, eq=False):
    """Index the payload field at a canonical path."""

    path: str
    field: IndexedField


class CheckedDeleteFieldIndex(CheckedOperation, frozen=True, eq=False):
    """Drop the index of the payload field at a canonical path."""

    path: str


class CheckedCreateVector(CheckedOperation, frozen=True, eq=False):
    """Give the shard a new vector name."""

    name: str
    vector: VectorParams


class CheckedDeleteVector(CheckedOperation, frozen=True, eq=False):
    """Take a vector name, and the vectors of all points under it, away."""

    name: str


class CheckedSetConfig(CheckedOperation, frozen=True, eq=False):
    """What may change of a config while the shard runs; None leaves it as it is."""

    settings: ConfigChange


class CheckedSetCursor(CheckedOperation, frozen=True, eq=False):
    """Put the cursor of a consumer of the log in its place, or (None) take it away.

    Made by the store alone: it is no operation that anybody may send.
    """

    name: str
    cursor: Cursor | None


class CheckedNothing(CheckedOperation, frozen=True, eq=False):
    """Change nothing; what is kept is the mark that it comes with."""


def check(
    operation: UpdateOperation, config: EdgeConfig, limits: Limits = DEFAULT_LIMITS
) -> CheckedOperation:
    """The operation checked against config and limits, ready to be logged and applied.

    Raises ValidationError, UnknownVector, WrongDimension or LimitExceeded, naming the field.
    """
    checker = _CHECKS.get(type(operation))
    if checker is None:
        fields.refuse("operation", "an UpdateOperation", operation)
    return checker(operation, config, limits)


def check_filter(
    filter: Filter | None, config: EdgeConfig, limits: Limits = DEFAULT_LIMITS
) -> None:
    """Refuse a filter beyond the limits, or one that asks for a vector the config lacks.

    Raises LimitExceeded, UnknownVector. Takes time in proportion to `filter_nodes` at the most.
    """
    if filter is None:
        return
    if filter.depth > limits.filter_depth:
        raise LimitExceeded(
            f"filter: {filter.depth} levels, at most {limits.filter_depth} are taken"
        )
    if filter.nodes > limits.filter_nodes:
        raise LimitExceeded(
            f"filter: {filter.nodes} conditions, at most {limits.filter_nodes} are taken"
        )
    waiting = [filter]
    while waiting:
        for condition in waiting.pop().conditions():
            if isinstance(condition, NestedCondition):
                waiting.append(condition.filter)
            elif isinstance(condition, Filter):
                waiting.append(condition)
            elif isinstance(condition, HasVectorCondition):
                _check_name(condition.vector, config)


def check_request(request: Request, config: EdgeConfig, limits: Limits = DEFAULT_LIMITS) -> None:
    """Refuse a read request that does not fit config and limits; nothing is changed.

    Raises UnknownVector, WrongDimension, LimitExceeded, or ValidationError for a query vector that
    is not finite.
    """
    if isinstance(request, QueryBatchRequest):
        _check_queries(request, config, limits)
        return
    check_filter(request.filter, config, limits)
    if isinstance(request, CountRequest | FacetRequest):
        return
    _check_points(request, limits)
    if isinstance(request, SearchMatrixRequest):
        _check_name(request.using or "", config)
        return
    if not isinstance(request.with_vector, bool):
        for name in request.with_vector:
            _check_name(name, config)
    if not isinstance(request, ScrollRequest):
        _check_ranking(request, config, limits)


def _check_points(
    request: QueryRequest
    | QueryGroupsRequest
    | SearchRequest
    | SearchMatrixRequest
    | ScrollRequest,
    limits: Limits,
) -> None:
    """Refuse a request for more points than are given at once."""
    if isinstance(request, SearchMatrixRequest):
        _at_most(request.sample_size, limits.matrix_points, "sample_size")
        number, what = request.sample_size * request.limit_per_sample, "sample_size * limit"
    elif isinstance(request, QueryGroupsRequest):
        number, what = request.limit * request.group_size, "limit * group_size"
    else:
        start = 0 if isinstance(request, ScrollRequest) else request.offset
        number, what = request.limit + start, "limit + offset"
    _at_most(number, limits.request_points, what)


def _at_most(number: int, most: int, what: str) -> None:
    if number > most:
        raise LimitExceeded(f"{what}: {number}, at most {most} are taken")


def _check_ranking(
    request: QueryRequest | QueryGroupsRequest | SearchRequest, config: EdgeConfig, limits: Limits
) -> None:
    """Refuse what a request, or one of its prefetches, ranks by."""
    prefetches = () if isinstance(request, SearchRequest) else request.prefetches
    size = size_of(request.query, prefetches)
    _at_most(size.depth, limits.prefetch_depth, "levels of prefetches")
    _at_most(size.number, limits.prefetches, "prefetches")
    _at_most(size.candidates, limits.candidates, "limit of all prefetches")
    _at_most(size.examples, limits.examples, "examples")
    _check_stage(request.query, request.params, config, limits)
    _check_prefetches(prefetches, "", config, limits)


def _check_prefetches(
    prefetches: tuple[Prefetch, ...], above: str, config: EdgeConfig, limits: Limits
) -> None:
    for i, prefetch in enumerate(prefetches):
        place = f"{above}prefetches[{i}]"
        try:
            check_filter(prefetch.filter, config, limits)
            _check_stage(prefetch.query, prefetch.params, config, limits)
        except ValidationError as error:
            raise type(error)(f"{place}: {error}") from None
        _check_prefetches(prefetch.prefetches, f"{place}.", config, limits)


def _check_stage(
    query: object, params: SearchParams | None, config: EdgeConfig, limits: Limits
) -> None:
    check_query(query, config, limits)
    if params is not None and params.idf is not None:
        check_filter(params.idf.corpus, config, limits)


def check_query(query: object, config: EdgeConfig, limits: Limits = DEFAULT_LIMITS) -> None:
    """Refuse a ranking whose vectors the config's cannot be compared with, or that is too large.

    Whether there are points with the ids that it names is not looked at.
    """
    if isinstance(query, Mmr):
        _at_most(query.candidates_limit, limits.mmr_candidates, "query.candidates_limit")
    if isinstance(query, (Query, Mmr)):
        name = query.using or ""
        _check_name(name, config)
        for place, example in query.examples():
            if isinstance(example, np.ndarray | SparseVector):
                check_vector(example, name, config, place)
    elif isinstance(query, Formula):
        _at_most(query.formula.nodes, limits.expression_nodes, "query.formula")
        for part in walk(query.formula):
            if isinstance(part, ConditionExpression):
                check_filter(part.filter, config, limits)


def check_vector(vector: AnyVector, name: str, config: EdgeConfig, place: str = "query") -> None:
    """Refuse a vector that the vectors of this name cannot be compared with."""
    _check_name(name, config)
    params = config.params_of(name)
    place = f'{place}, vector "{name}"'
    if isinstance(params, EdgeSparseVectorParams) or params is None:
        if not isinstance(vector, SparseVector):
            raise ValidationError(f"{place}: expected a SparseVector, got numbers")
        return
    if isinstance(vector, SparseVector):
        raise ValidationError(f"{place}: expected numbers, got a SparseVector")
    many = vector.ndim == 2
    if many and params.multivector_config is None:
        raise WrongDimension(f"{place}: expected {params.size} numbers, got a multivector")
    if many and not len(vector):
        raise ValidationError(f"{place}: a multivector holds one vector at least")
    if vector.shape[-1] != params.size:
        raise WrongDimension(f"{place}: expected {params.size} numbers, got {vector.shape[-1]}")
    if not all_finite(vector):
        raise ValidationError(f"{place}: holds a number that is not finite")
    if params.datatype is not None:  # as it stores them
        check_numbers(np.atleast_2d(vector), params, lambda at: place)


def _check_queries(request: QueryBatchRequest, config: EdgeConfig, limits: Limits) -> None:
    if len(request.queries) > limits.batch_queries:
        raise LimitExceeded(
            f"queries: {len(request.queries)}, at most {limits.batch_queries} are taken"
        )
    for i, query in enumerate(request.queries):
        try:
            check_request(query, config, limits)
        except ValidationError as error:
            raise type(error)(f"queries[{i}]: {error}") from None


def _check_name(name: str, config: EdgeConfig) -> None:
    if config.params_of(name) is None:
        known = ", ".join(f'"{known}"' for known in config.names())
        raise UnknownVector(f'vector "{name}" is not known; the shard has {known}')


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, np.ndarray) or isinstance(second, np.ndarray):
        return type(first) is type(second) and np.array_equal(first, second)
    return bool(first == second)


def _target(target: update.Target, config: EdgeConfig, limits: Limits) -> Target:
    if isinstance(target, Filter):
        check_filter(target, config, limits)
        return target
    if len(target) > limits.batch_ids:
        raise LimitExceeded(f"point_ids: {len(target)}, at most {limits.batch_ids} are taken")
    return encode_ids(target)


def _upsert_points(
    operation: update.UpsertPoints, config: EdgeConfig, limits: Limits
) -> CheckedOperation:
    check_filter(operation.condition, config, limits)
    batch = batch_of(operation.points, config, limits)
    return CheckedUpsert(batch, operation.condition, operation.update_mode)


def _upsert_arrays(
    operation: update.UpsertArrays, config: EdgeConfig, limits: Limits
) -> CheckedOperation:
    check_filter(operation.condition, config, limits)
    batch = batch_of_blocks(operation.ids, operation.vectors, operation.payloads, config, limits)
    return CheckedUpsert(batch, operation.condition, operation.update_mode)


def _update_vectors(
    operation: update.UpdateVectors, config: EdgeConfig, limits: Limits
) -> CheckedOperation:
    check_filter(operation.condition, config, limits)
    batch = batch_of_vectors(operation.point_vectors, config, limits)
    return CheckedUpdateVectors(batch, operation.condition)


def _delete_points(
    operation: update.DeletePoints, config: EdgeConfig, limits: Limits
) -> CheckedOperation:
    return CheckedDeletePoints(_target(operation.target, config, limits))


def _delete_vectors(
    operation: update.DeleteVectors, config: EdgeConfig, limits: Limits
) -> CheckedOperation:
    for name in operation.vector_names:
        _check_name(name, config)
    return CheckedDeleteVectors(_target(operation.target, config, limits), operation.vector_names)


def _change_payload(
    kind: type[CheckedSetPayload] | type[CheckedOverwritePayload],
) -> Callable[[Any, EdgeConfig, Limits], CheckedOperation]:
    def checked(
        operation: update.PayloadChange, config: EdgeConfig, limits: Limits
    ) -> CheckedOperation:
        payload = encode_payload(operation.payload, limits)
        return kind(_target(operation.target, config, limits), payload, operation.key)

    return checked


def _delete_payload(
    operation: update.DeletePayload, config: EdgeConfig, limits: Limits
) -> CheckedOperation:
    return CheckedDeletePayload(_target(operation.target, config, limits), operation.keys)


def _create_field_index(
    operation: update.CreateFieldIndex, config: EdgeConfig, limits: Limits
) -> CheckedOperation:
    params = operation.schema.params
    if isinstance(params, TextIndexParams):
        index_analyzer(params)  # refuses what is not installed
    return CheckedCreateFieldIndex(operation.field_name, operation.schema)


def _delete_field_index(
    operation: update.DeleteFieldIndex, config: EdgeConfig, limits: Limits
) -> CheckedOperation:
    return CheckedDeleteFieldIndex(operation.field_name)


def _create_vector(
    operation: update.CreateVector, config: EdgeConfig, limits: Limits
) -> CheckedOperation:
    _check_new(operation.name, operation.params, config)
    return CheckedCreateVector(operation.name, operation.params)


def _check_new(name: str, params: VectorParams, config: EdgeConfig) -> None:
    known = config.params_of(name)
    if known is not None:
        same_storage(name, params, known)


def _set_config(
    operation: update.SetConfig, config: EdgeConfig, limits: Limits
) -> CheckedOperation:
    changed(config, operation.change)
    return CheckedSetConfig(operation.change)


def _clear_payload(
    operation: update.ClearPayload, config: EdgeConfig, limits: Limits
) -> CheckedOperation:
    return CheckedClearPayload(_target(operation.target, config, limits))


_CHECKS: dict[type, Callable[[Any, EdgeConfig, Limits], CheckedOperation]] = {
    update.UpsertPoints: _upsert_points,
    update.UpsertArrays: _upsert_arrays,
    update.UpdateVectors: _update_vectors,
    update.DeletePoints: _delete_points,
    update.DeleteVectors: _delete_vectors,
    update.SetPayload: _change_payload(CheckedSetPayload),
    update.OverwritePayload: _change_payload(CheckedOverwritePayload),
    update.DeletePayload: _delete_payload,
    update.ClearPayload: _clear_payload,
    update.CreateFieldIndex: _create_field_index,
    update.DeleteFieldIndex: _delete_field_index,
    update.CreateVector: _create_vector,
    update.DeleteVector: lambda operation, config, limits: CheckedDeleteVector(operation.name),
    update.SetConfig: _set_config,
    update.Nothing: lambda operation, config, limits: CheckedNothing(),
}


def recheck(
    operation: CheckedOperation, config: EdgeConfig, limits: Limits = DEFAULT_LIMITS
) -> CheckedOperation:
    """An operation that was checked elsewhere, checked again against this config and these limits.

    Raises as `check`.
    """
    for name in operation.__struct_fields__:
        _RECHECKS.get(name, _nothing)(getattr(operation, name), config, limits)
    return operation


def _recheck_batch(batch: PointBatch, config: EdgeConfig, limits: Limits) -> None:
    if len(batch) > limits.batch_points or batch.nbytes > limits.batch_bytes:
        raise LimitExceeded(
            f"{len(batch)} points of {batch.nbytes} bytes in one batch, at most "
            f"{limits.batch_points} and {limits.batch_bytes} are taken"
        )
    for name, column in batch.vectors.items():
        recheck_column(name, column, len(batch), config)
    for blob in batch.payloads:
        _recheck_payload(blob, config, limits)


def recheck_column(name: str, column: VectorColumn, points: int, config: EdgeConfig) -> None:
    """Refuse a column, checked elsewhere, that this config's vectors of the name do not take."""
    _check_name(name, config)
    params = config.params_of(name)
    place = f'vector "{name}"'
    if len(column) != (points if column.rows is None else len(column.rows)):
        raise ValidationError(f"{place}: {len(column)} vectors for {points} points")
    if isinstance(params, EdgeVectorParams):
        many = params.multivector_config is not None
        if column.indices is not None or (column.lengths is not None) != many:
            raise ValidationError(f"{place}: is of another kind than the shard's")
        if column.data.shape[1] != params.size:
            raise WrongDimension(
                f"{place}: expected {params.size} numbers, got {column.data.shape[1]}"
            )
        check_numbers(column.data, params, lambda at: place)
    elif column.indices is None or column.lengths is None:
        raise ValidationError(f"{place}: is of another kind than the shard's")
    else:
        _recheck_sparse(column.indices, column.data, column.lengths, place)


def _recheck_sparse(indices: Any, values: Any, lengths: Any, place: str) -> None:
    if not all_finite(values):
        raise ValidationError(f"{place}: holds a number that is not finite")
    ends = np.cumsum(lengths, dtype=np.int64)
    rises = np.diff(indices.astype(np.int64)) > 0
    borders = ends[(ends > 0) & (ends < len(indices))] - 1
    rises[borders] = True  # from one vector to the next
    if not rises.all():
        raise ValidationError(f"{place}: indices do not ascend")


def _recheck_payload(blob: bytes | None, config: EdgeConfig, limits: Limits) -> None:
    if blob is not None:
        encode_payload(decode_payload(blob), limits)


def _recheck_target(target: Target, config: EdgeConfig, limits: Limits) -> None:
    if isinstance(target, Filter):
        check_filter(target, config, limits)
    elif len(target) > limits.batch_ids:
        raise LimitExceeded(f"point_ids: {len(target)}, at most {limits.batch_ids} are taken")


def _recheck_names(names: tuple[str, ...], config: EdgeConfig, limits: Limits) -> None:
    for name in names:
        _check_name(name, config)


def _recheck_field(field: IndexedField, config: EdgeConfig, limits: Limits) -> None:
    if isinstance(field.params, TextIndexParams):
        index_analyzer(field.params)


def _recheck_settings(change: ConfigChange, config: EdgeConfig, limits: Limits) -> None:
    changed(config, change)


def _refuse_cursor(cursor: Cursor | None, config: EdgeConfig, limits: Limits) -> None:
    raise ValidationError("operation: cursors are moved by the shard alone")


def _nothing(value: Any, config: EdgeConfig, limits: Limits) -> None:
    """What is right in any config."""


_RECHECKS: dict[str, Callable[[Any, EdgeConfig, Limits], None]] = {
    "batch": _recheck_batch,
    "condition": check_filter,
    "target": _recheck_target,
    "payload": _recheck_payload,
    "vector_names": _recheck_names,
    "field": _recheck_field,
    "settings": _recheck_settings,
    "cursor": _refuse_cursor,
}
"""By the name of a checked operation's part: what depends on config and limits."""
