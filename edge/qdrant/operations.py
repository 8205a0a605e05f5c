"""Operations as Qdrant logs them, as ours.

Invariants: an operation that is not known is refused by its name, never passed over. What Qdrant
does not do with a part of an operation is left out of ours: `overwrite_payload` replaces the whole
payload there, whatever its key, and a point whose sparse vector has fewer values than indices makes
it fail, now and whenever it loads the shard.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Struct, convert

from edge.errors import CorruptData, EdgeError, ValidationError
from edge.model.point import Point, PointVectors
from edge.model.point_id import PointId
from edge.model.sparse import SparseVector
from edge.model.update import (
    ClearPayload,
    CreateFieldIndex,
    CreateVector,
    DeleteFieldIndex,
    DeletePayload,
    DeletePoints,
    DeleteVector,
    DeleteVectors,
    OverwritePayload,
    SetPayload,
    Target,
    UpdateMode,
    UpdateOperation,
    UpdateVectors,
    UpsertPoints,
)
from edge.qdrant.config import dense_params, indexed_field_of, sparse_params
from edge.qdrant.filters import filter_of, id_of
from edge.qdrant.layout import DenseParams, Options, SparseParams

_CLOCK = "clock_tag"


def operation_of(record: Any, number: int) -> UpdateOperation:
    """Return a logged operation as ours; `number` is for messages.

    CorruptData where the record cannot be one, ValidationError for one that is not read or that
    holds what ours never does.
    """
    try:
        words = {
            word: inside for word, inside in convert(record, _RECORD).items() if word != _CLOCK
        }
        if len(words) != 1:
            raise CorruptData(f"operation {number}: a record of {sorted(words)}")
        [(word, inside)] = words.items()
        if word not in _OPERATIONS:
            raise ValidationError(f"operation {number}: {word!r} is not read")
        return _OPERATIONS[word](inside)
    except msgspec.ValidationError as error:
        raise CorruptData(f"operation {number}: {error}") from None
    except RecursionError:
        raise CorruptData(f"operation {number}: nested too deeply") from None
    except EdgeError as error:
        raise type(error)(f"operation {number}: {error}") from None


_RECORD = dict[str, Any]


# -- points


class _Point(Struct):
    id: Any
    vector: Any
    payload: dict[str, Any] | None = None


class _Columns(Struct):
    """Points as columns; of vectors a list, or such by name."""

    ids: list[Any]
    vectors: list[Any] | dict[str, list[Any]]
    payloads: list[dict[str, Any] | None] | None = None


class _Points(Struct):
    """Points one by one, or as columns."""

    points: list[_Point] | None = None
    batch: _Columns | None = None


class _Conditional(Struct):
    points_op: _Points
    condition: Any = None
    update_mode: str | None = None


class _PointVectors(Struct):
    id: Any
    vector: Any


class _UpdatedVectors(Struct):
    points: list[_PointVectors]
    update_filter: Any = None


def _upsert(given: Any) -> UpdateOperation:
    return UpsertPoints(_points(convert(given, _Points)))


def _upsert_conditional(given: Any) -> UpdateOperation:
    found = convert(given, _Conditional)
    # an empty filter fits every point, which is what none does
    condition = filter_of(found.condition) if found.condition else None
    if found.update_mode not in _MODES:
        raise ValidationError(f"update_mode: {found.update_mode!r} is not known")
    return UpsertPoints(_points(found.points_op), condition, _MODES[found.update_mode])


_MODES = {
    None: UpdateMode.Upsert,
    "upsert": UpdateMode.Upsert,
    "insert_only": UpdateMode.InsertOnly,
    "update_only": UpdateMode.UpdateOnly,
}


def _points(given: _Points) -> list[Point]:
    if given.points is not None:
        return [
            Point(id_of(one.id), _vectors(one.vector), one.payload)
            for one in given.points
            if not _fails_there(one.vector)
        ]
    if given.batch is None:
        raise CorruptData("an upsert of neither points nor a batch")
    return _from_columns(given.batch)


def _from_columns(batch: _Columns) -> list[Point]:
    count = len(batch.ids)
    payloads = [None] * count if batch.payloads is None else batch.payloads
    named = batch.vectors if isinstance(batch.vectors, dict) else {"": batch.vectors}
    if {len(payloads), *map(len, named.values())} != {count}:
        raise CorruptData("a batch of columns of several lengths")
    rows = [{name: column[i] for name, column in named.items()} for i in range(count)]
    return [
        Point(id_of(id), _vectors(row), payload)
        for id, row, payload in zip(batch.ids, rows, payloads, strict=True)
        if not _fails_there(row)
    ]


def _fails_there(given: Any) -> bool:
    """Return whether Qdrant fails on a point with these vectors, and so never stored it: their
    parts are of several lengths."""
    vectors = given.values() if isinstance(given, dict) else [given]
    return any(len(set(_lengths(vector))) > 1 for vector in vectors)


def _lengths(vector: Any) -> list[int]:
    """Return the lengths of what has to be equally long in a vector."""
    parts = list(vector.values()) if isinstance(vector, dict) else vector
    several = isinstance(parts, list) and bool(parts)
    return [len(p) for p in parts if isinstance(p, list)] if several else []


def _vectors(given: Any) -> Any:
    if isinstance(given, dict):
        return {name: _vector(each) for name, each in convert(given, _RECORD).items()}
    return _vector(given)


class _SparseVector(Struct):
    indices: list[int]
    values: list[float]


def _vector(given: Any) -> Any:
    if isinstance(given, dict):
        sparse = convert(given, _SparseVector)
        return SparseVector(sparse.indices, sparse.values)
    return given


def _update_vectors(given: Any) -> UpdateOperation:
    found = convert(given, _UpdatedVectors)
    condition = None if found.update_filter is None else filter_of(found.update_filter)
    changed = [PointVectors(id_of(one.id), _vectors(one.vector)) for one in found.points]
    return UpdateVectors(changed, condition)


# -- what is named by ids or by a filter


class _Ids(Struct):
    ids: list[Any]


class _Named(Struct):
    points: list[Any]


class _PayloadChange(Struct):
    payload: dict[str, Any]
    points: list[Any] | None = None
    filter: Any = None
    key: str | None = None


class _DeletedKeys(Struct):
    keys: list[str]
    points: list[Any] | None = None
    filter: Any = None


def _ids(given: Sequence[Any]) -> tuple[PointId, ...]:
    return tuple(id_of(each) for each in given)


def _target(found: _PayloadChange | _DeletedKeys) -> Target:
    """As in Qdrant the ids count where both are given."""
    if found.points is not None:
        return _ids(found.points)
    if found.filter is None:
        raise ValidationError("neither points nor a filter")
    return filter_of(found.filter)


def _set_payload(given: Any) -> UpdateOperation:
    found = convert(given, _PayloadChange)
    return SetPayload(_target(found), found.payload, found.key)


def _overwrite_payload(given: Any) -> UpdateOperation:
    found = convert(given, _PayloadChange)
    return OverwritePayload(_target(found), found.payload)


def _delete_payload(given: Any) -> UpdateOperation:
    found = convert(given, _DeletedKeys)
    return DeletePayload(_target(found), found.keys)


def _delete_vectors(given: Any) -> UpdateOperation:
    named, names = convert(given, tuple[_Named, list[str]])
    return DeleteVectors(_ids(named.points), names)


def _delete_vectors_by_filter(given: Any) -> UpdateOperation:
    described, names = convert(given, tuple[Any, list[str]])
    return DeleteVectors(filter_of(described), names)


# -- the schema


class _CreatedIndex(Struct):
    field_name: str
    field_schema: str | Options | None = None


class _VectorConfig(Struct):
    dense: DenseParams | None = None
    sparse: SparseParams | None = None


class _CreatedVector(Struct):
    vector_name: str
    config: _VectorConfig


class _DeletedVector(Struct):
    vector_name: str


def _create_index(given: Any) -> UpdateOperation:
    found = convert(given, _CreatedIndex)
    if found.field_schema is None:
        raise ValidationError(f"create_index: the field {found.field_name!r} has no schema")
    return CreateFieldIndex(
        found.field_name, indexed_field_of(found.field_name, found.field_schema)
    )


def _create_vector(given: Any) -> UpdateOperation:
    found = convert(given, _CreatedVector)
    if found.config.dense is not None:
        params = dense_params(found.vector_name, found.config.dense)
        return CreateVector(found.vector_name, params)
    if found.config.sparse is not None:
        return CreateVector(
            found.vector_name, sparse_params(found.vector_name, found.config.sparse)
        )
    raise ValidationError(f"create_vector_name: {found.vector_name!r} is of no known kind")


_OPERATIONS: dict[str, Callable[[Any], UpdateOperation]] = {
    "upsert_points": _upsert,
    "upsert_points_conditional": _upsert_conditional,
    "update_vectors": _update_vectors,
    "delete_points": lambda given: DeletePoints(_ids(convert(given, _Ids).ids)),
    "delete_points_by_filter": lambda given: DeletePoints(filter_of(given)),
    "delete_vectors": _delete_vectors,
    "delete_vectors_by_filter": _delete_vectors_by_filter,
    "set_payload": _set_payload,
    "overwrite_payload": _overwrite_payload,
    "delete_payload": _delete_payload,
    "clear_payload": lambda given: ClearPayload(_ids(convert(given, _Named).points)),
    "clear_payload_by_filter": lambda given: ClearPayload(filter_of(given)),
    "create_index": _create_index,
    "delete_index": lambda given: DeleteFieldIndex(convert(given, str)),
    "create_vector_name": _create_vector,
    "delete_vector_name": lambda given: DeleteVector(convert(given, _DeletedVector).vector_name),
}
