"""Update operations as a caller writes them: one frozen struct a kind, made by UpdateOperation.

An operation here has the right types and parsed ids; whether it fits a shard's config and limits
is the matter of `check`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import force_setattr

from edge.model import fields, json_path
from edge.model.choice import Choice
from edge.model.config import ConfigChange, vector_name
from edge.model.filter import Filter
from edge.model.limits import HARD_VALUES
from edge.model.point import Point, PointVectors, same_payloads
from edge.model.point_id import IdRows, PointId, PointIdLike, as_rows, parse_ids
from edge.model.schema import (
    IndexedField,
    IndexParams,
    PayloadSchemaType,
    check_nested,
    indexed_field,
)
from edge.model.vector import as_blocks, same_vectors
from edge.model.vector_params import (
    Distance,
    EdgeSparseVectorParams,
    EdgeVectorParams,
    Modifier,
    MultiVectorConfig,
    VectorParams,
    VectorStorageDatatype,
)

Target: TypeAlias = tuple[PointId, ...] | Filter
"""The points that an operation is about: named by id, or by what they fulfil."""


class UpdateMode(Choice):
    """Which points an upsert touches: all, only those that are new, only those that are there."""

    Upsert = "Upsert"
    InsertOnly = "InsertOnly"
    UpdateOnly = "UpdateOnly"


class UpdateOperation(Struct, frozen=True):
    """One change of a shard. Make it by the static methods, with the arguments of Qdrant Edge.

    Any iterable is taken for a list. All raise ValidationError naming the argument.
    """

    @staticmethod
    def upsert_points(
        points: Iterable[Point],
        condition: Filter | None = None,
        update_mode: UpdateMode | None = None,
    ) -> UpdateOperation:
        """Insert points, or replace them whole. `condition` gates only points already stored."""
        return UpsertPoints(points, condition, update_mode)

    @staticmethod
    def upsert_arrays(
        ids: Iterable[PointIdLike] | npt.NDArray[Any],
        vectors: npt.NDArray[Any] | Mapping[str, npt.NDArray[Any]],
        payloads: Iterable[dict[str, Any] | None] | None = None,
        condition: Filter | None = None,
        update_mode: UpdateMode | None = None,
    ) -> UpdateOperation:
        """Ours: as `upsert_points`, from columns: `vectors` float[n, dim], or such by name."""
        return UpsertArrays(ids, vectors, payloads, condition, update_mode)

    @staticmethod
    def delete_points(point_ids: Iterable[PointIdLike]) -> UpdateOperation:
        """Delete points; an id that is not there is passed over."""
        return DeletePoints(_ids(point_ids))

    @staticmethod
    def delete_points_by_filter(filter: Filter) -> UpdateOperation:
        """Delete every point that matches; an empty filter deletes all."""
        return DeletePoints(_filter(filter))

    @staticmethod
    def update_vectors(
        point_vectors: Iterable[PointVectors], condition: Filter | None = None
    ) -> UpdateOperation:
        """Replace the named vectors of stored points; only of those that fulfil `condition`."""
        return UpdateVectors(point_vectors, condition)

    @staticmethod
    def delete_vectors(
        point_ids: Iterable[PointIdLike], vector_names: Iterable[str]
    ) -> UpdateOperation:
        """Take the named vectors away from points."""
        return DeleteVectors(_ids(point_ids), vector_names)

    @staticmethod
    def delete_vectors_by_filter(filter: Filter, vector_names: Iterable[str]) -> UpdateOperation:
        """Take the named vectors away from the points that match."""
        return DeleteVectors(_filter(filter), vector_names)

    @staticmethod
    def set_payload(
        point_ids: Iterable[PointIdLike], payload: dict[str, Any], key: str | None = None
    ) -> UpdateOperation:
        """Merge `payload` into that of points, or into the object at the path `key` of it."""
        return SetPayload(_ids(point_ids), payload, key)

    @staticmethod
    def set_payload_by_filter(
        filter: Filter, payload: dict[str, Any], key: str | None = None
    ) -> UpdateOperation:
        """As `set_payload`, for the points that match."""
        return SetPayload(_filter(filter), payload, key)

    @staticmethod
    def overwrite_payload(
        point_ids: Iterable[PointIdLike], payload: dict[str, Any], key: str | None = None
    ) -> UpdateOperation:
        """Replace the payload of points, or what is at the path `key` of it."""
        return OverwritePayload(_ids(point_ids), payload, key)

    @staticmethod
    def overwrite_payload_by_filter(
        filter: Filter, payload: dict[str, Any], key: str | None = None
    ) -> UpdateOperation:
        """As `overwrite_payload`, for the points that match."""
        return OverwritePayload(_filter(filter), payload, key)

    @staticmethod
    def delete_payload(point_ids: Iterable[PointIdLike], keys: Iterable[str]) -> UpdateOperation:
        """Remove what is at the paths `keys` from the payload of points."""
        return DeletePayload(_ids(point_ids), keys)

    @staticmethod
    def delete_payload_by_filter(filter: Filter, keys: Iterable[str]) -> UpdateOperation:
        """As `delete_payload`, for the points that match."""
        return DeletePayload(_filter(filter), keys)

    @staticmethod
    def clear_payload(point_ids: Iterable[PointIdLike]) -> UpdateOperation:
        """Remove the whole payload of points."""
        return ClearPayload(_ids(point_ids))

    @staticmethod
    def clear_payload_by_filter(filter: Filter) -> UpdateOperation:
        """As `clear_payload`, for the points that match."""
        return ClearPayload(_filter(filter))

    @staticmethod
    def create_field_index(
        field_name: str, schema: PayloadSchemaType | IndexParams
    ) -> UpdateOperation:
        """Index what the path `field_name` reaches in payloads; one that is there is replaced.

        Queries find it at once, and are fast where it was built: new points are indexed as they
        come, stored ones in the background (in edge.blocking before the call returns).
        """
        return CreateFieldIndex(field_name, indexed_field(schema))

    @staticmethod
    def delete_field_index(field_name: str) -> UpdateOperation:
        """Drop the index of a field; a field that has none is passed over."""
        return DeleteFieldIndex(field_name)

    @staticmethod
    def create_dense_vector(
        vector_name: str,
        size: int,
        distance: Distance,
        multivector_config: MultiVectorConfig | None = None,
        datatype: VectorStorageDatatype | None = None,
    ) -> UpdateOperation:
        """Give the shard one more dense vector; one that is there as asked is passed over."""
        params = EdgeVectorParams(
            size, distance, multivector_config=multivector_config, datatype=datatype
        )
        return CreateVector(vector_name, params)

    @staticmethod
    def create_sparse_vector(
        vector_name: str,
        modifier: Modifier | None = None,
        datatype: VectorStorageDatatype | None = None,
    ) -> UpdateOperation:
        """Give the shard one more sparse vector; one that is there as asked is passed over."""
        return CreateVector(
            vector_name, EdgeSparseVectorParams(modifier=modifier, datatype=datatype)
        )

    @staticmethod
    def delete_vector_name(vector_name: str) -> UpdateOperation:
        """Take a vector name, and what all points have under it, away; passed over where there is
        none."""
        return DeleteVector(vector_name)

    @staticmethod
    def set_config(change: ConfigChange) -> UpdateOperation:
        """Ours: new settings for a shard that runs; indexes are rebuilt in the background."""
        return SetConfig(change)


class UpsertPoints(UpdateOperation, frozen=True):
    """Insert or replace points. `update_mode` None is read back as Upsert."""

    points: tuple[Point, ...]
    condition: Filter | None = None
    update_mode: UpdateMode = UpdateMode.Upsert

    if TYPE_CHECKING:

        def __init__(
            self,
            points: Iterable[Point],
            condition: Filter | None = None,
            update_mode: UpdateMode | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "points", _all_of(self.points, "points", Point))
        fields.instance_or_none(self.condition, "condition", Filter)
        mode = fields.member_or_none(self.update_mode, "update_mode", UpdateMode)
        force_setattr(self, "update_mode", mode or UpdateMode.Upsert)


class UpsertArrays(UpdateOperation, frozen=True, eq=False):
    """Insert or replace points given as columns: `ids` uint64[n, 3], `vectors` float32[n, dim]."""

    ids: IdRows
    vectors: dict[str, npt.NDArray[np.float32]]
    payloads: tuple[dict[str, Any] | None, ...] | None = None
    condition: Filter | None = None
    update_mode: UpdateMode = UpdateMode.Upsert

    if TYPE_CHECKING:

        def __init__(
            self,
            ids: Iterable[PointIdLike] | npt.NDArray[Any],
            vectors: npt.NDArray[Any] | Mapping[str, npt.NDArray[Any]],
            payloads: Iterable[dict[str, Any] | None] | None = None,
            condition: Filter | None = None,
            update_mode: UpdateMode | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "ids", as_rows(self.ids, "ids"))
        force_setattr(self, "vectors", as_blocks(self.vectors))
        if self.payloads is not None:
            force_setattr(self, "payloads", fields.sequence(self.payloads, "payloads"))
        fields.instance_or_none(self.condition, "condition", Filter)
        mode = fields.member_or_none(self.update_mode, "update_mode", UpdateMode)
        force_setattr(self, "update_mode", mode or UpdateMode.Upsert)

    def __eq__(self, other: object) -> bool:
        return (
            type(other) is UpsertArrays
            and (self.condition, self.update_mode) == (other.condition, other.update_mode)
            and np.array_equal(self.ids, other.ids)
            and same_vectors(self.vectors, other.vectors)
            and same_payloads(self.payloads, other.payloads)
        )

    def __repr__(self) -> str:
        shapes = {name: list(block.shape) for name, block in self.vectors.items()}
        return f"UpsertArrays({len(self.ids)} points, vectors={shapes})"


class UpdateVectors(UpdateOperation, frozen=True):
    """Replace named vectors of stored points."""

    point_vectors: tuple[PointVectors, ...]
    condition: Filter | None = None

    if TYPE_CHECKING:

        def __init__(
            self, point_vectors: Iterable[PointVectors], condition: Filter | None = None
        ) -> None: ...

    def __post_init__(self) -> None:
        found = _all_of(self.point_vectors, "point_vectors", PointVectors)
        force_setattr(self, "point_vectors", found)
        fields.instance_or_none(self.condition, "condition", Filter)


class DeletePoints(UpdateOperation, frozen=True):
    """Delete points."""

    target: Target


class DeleteVectors(UpdateOperation, frozen=True):
    """Take named vectors away from points."""

    target: Target
    vector_names: tuple[str, ...]

    if TYPE_CHECKING:

        def __init__(self, target: Target, vector_names: Iterable[str]) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "vector_names", fields.texts(self.vector_names, "vector_names"))


class PayloadChange(UpdateOperation, frozen=True, eq=False):
    """What setting and overwriting a payload have in common."""

    target: Target
    payload: dict[str, Any]
    key: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.payload, dict):
            fields.refuse("payload", "a dict", self.payload)
        if fields.text_or_none(self.key, "key") is not None:
            json_path.parse(str(self.key))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, PayloadChange)
            and type(other) is type(self)
            and (self.target, self.key) == (other.target, other.key)
            and same_payloads(self.payload, other.payload)
        )


class SetPayload(PayloadChange, frozen=True, eq=False):
    """Merge into the payload of points."""


class OverwritePayload(PayloadChange, frozen=True, eq=False):
    """Replace the payload of points."""


class DeletePayload(UpdateOperation, frozen=True):
    """Remove what is at the paths `keys` from the payload of points."""

    target: Target
    keys: tuple[str, ...]

    if TYPE_CHECKING:

        def __init__(self, target: Target, keys: Iterable[str]) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "keys", fields.texts(self.keys, "keys"))
        for key in self.keys:
            json_path.parse(key)


class ClearPayload(UpdateOperation, frozen=True):
    """Remove the whole payload of points."""

    target: Target


class CreateFieldIndex(UpdateOperation, frozen=True):
    """Index a payload field; `field_name` is read back as canonical path."""

    field_name: str
    schema: IndexedField

    def __post_init__(self) -> None:
        force_setattr(self, "field_name", _path(self.field_name))
        check_nested(self.field_name, self.schema.params)


class DeleteFieldIndex(UpdateOperation, frozen=True):
    """Drop the index of a payload field; `field_name` is read back as canonical path."""

    field_name: str

    def __post_init__(self) -> None:
        force_setattr(self, "field_name", _path(self.field_name))


class CreateVector(UpdateOperation, frozen=True):
    """Give the shard one more vector name."""

    name: str
    params: VectorParams

    def __post_init__(self) -> None:
        force_setattr(self, "name", vector_name(self.name, "vector_name"))


class DeleteVector(UpdateOperation, frozen=True):
    """Take a vector name away."""

    name: str

    def __post_init__(self) -> None:
        force_setattr(self, "name", vector_name(self.name, "vector_name"))


class SetConfig(UpdateOperation, frozen=True):
    """Change what may change of the config while the shard runs."""

    change: ConfigChange

    def __post_init__(self) -> None:
        fields.instance(self.change, "change", ConfigChange)


class Nothing(UpdateOperation, frozen=True):
    """Change nothing: for a mark whose own update was refused, so that its source may go on."""


def _path(value: Any) -> str:
    return json_path.canonical(fields.text(value, "field_name"))


def _ids(values: Iterable[PointIdLike]) -> tuple[PointId, ...]:
    return tuple(parse_ids(fields.sequence(values, "point_ids", HARD_VALUES)))


def _filter(value: Filter) -> Filter:
    return fields.instance(value, "filter", Filter)


def _all_of(values: Any, field: str, kind: type[Any]) -> tuple[Any, ...]:
    found = fields.sequence(values, field)
    if not set(map(type, found)) <= {kind}:
        for i, value in enumerate(found):
            fields.instance(value, f"{field}[{i}]", kind)
    return found
