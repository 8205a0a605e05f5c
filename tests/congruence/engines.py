"""One shard of edge.blocking and one of qdrant_edge, told and asked the same.

Operations and requests are written once, as ours; `theirs` makes qdrant_edge's of them, which
works because names, order and meaning of the arguments are the same. That is the first thing the
tests of congruence show.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pytest
import qdrant_edge

from edge.blocking import EdgeShard
from edge.errors import EdgeError
from edge.model import update
from edge.model.choice import Choice
from edge.model.config import EdgeConfig, QdrantConfig
from edge.model.filter import Filter
from edge.model.point_id import PointId
from edge.model.query import NearestQuery
from edge.model.request import (
    CountRequest,
    ExcludePayload,
    FacetRequest,
    IncludePayload,
    QueryRequest,
    ScrollRequest,
    SearchRequest,
)
from edge.model.schema import IndexedField
from edge.model.sparse import SparseVector
from edge.model.update import UpdateOperation
from edge.model.vector_params import EdgeSparseVectorParams

ABSOLUTE = 1e-6
RELATIVE = 1e-5
ALL = 1000

OURS_ONLY = {"timeout", "best_effort", "explain"}
CONSTRUCTORS: dict[type, str] = {
    update.UpsertPoints: "upsert_points",
    update.UpdateVectors: "update_vectors",
    update.DeletePoints: "delete_points",
    update.DeleteVectors: "delete_vectors",
    update.SetPayload: "set_payload",
    update.OverwritePayload: "overwrite_payload",
    update.DeletePayload: "delete_payload",
    update.ClearPayload: "clear_payload",
    update.CreateFieldIndex: "create_field_index",
    update.DeleteFieldIndex: "delete_field_index",
    update.DeleteVector: "delete_vector_name",
}
"""The static method of UpdateOperation that makes each kind."""


def theirs(value: Any) -> Any:
    """Qdrant's counterpart of any struct of ours, and of whatever stands in it."""
    if isinstance(value, update.CreateVector):
        return _create_vector(value)
    if isinstance(value, UpdateOperation):
        by_filter = isinstance(getattr(value, "target", None), Filter)
        name = CONSTRUCTORS[type(value)] + "_by_filter" * by_filter
        return getattr(qdrant_edge.UpdateOperation, name)(*_arguments(value))
    if isinstance(value, IndexedField):
        return theirs(value.kind if value.plain else value.params)
    if isinstance(value, NearestQuery):
        return qdrant_edge.Query.Nearest(*_arguments(value))
    if isinstance(value, IncludePayload | ExcludePayload):
        kind = type(value).__name__.removesuffix("Payload")
        return getattr(qdrant_edge.PayloadSelector, kind)(*_arguments(value))
    if isinstance(value, EdgeConfig):
        names = QdrantConfig.__struct_fields__
        return qdrant_edge.EdgeConfig(**{name: theirs(getattr(value, name)) for name in names})
    if isinstance(value, msgspec.Struct):
        return getattr(qdrant_edge, type(value).__name__)(*_arguments(value))
    return _plain(value)


def _create_vector(operation: update.CreateVector) -> Any:
    params, make = operation.params, qdrant_edge.UpdateOperation
    if isinstance(params, EdgeSparseVectorParams):
        settings = theirs([params.modifier, params.datatype])
        return make.create_sparse_vector(operation.name, *settings)
    settings = theirs([params.distance, params.multivector_config, params.datatype])
    return make.create_dense_vector(operation.name, params.size, *settings)


def _arguments(value: msgspec.Struct) -> list[Any]:
    names = value.__struct_fields__
    return [theirs(getattr(value, name)) for name in names if name not in OURS_ONLY]


def _plain(value: Any) -> Any:
    if isinstance(value, Choice):
        return getattr(getattr(qdrant_edge, type(value).__name__), value.name)
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, SparseVector):
        return qdrant_edge.SparseVector(value.indices, value.values)
    if isinstance(value, tuple | list):
        return [theirs(item) for item in value]
    if isinstance(value, frozenset):
        return set(map(theirs, value))
    if isinstance(value, dict):
        return {key: theirs(item) for key, item in value.items()}
    return value


class Pair:
    """Both shards in one folder."""

    def __init__(self, folder: Path, config: EdgeConfig) -> None:
        self.folder = folder
        self.config = config
        folder.mkdir(exist_ok=True)
        self.ours = EdgeShard.create(folder / "ours", config)
        self.theirs = qdrant_edge.EdgeShard.create(str(folder / "theirs"), theirs(config))

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()

    def restart(self) -> None:
        self.close()
        self.ours = EdgeShard.load(self.folder / "ours")
        self.theirs = qdrant_edge.EdgeShard.load(str(self.folder / "theirs"))

    def optimize(self) -> None:
        self.ours.optimize()
        self.theirs.optimize()

    # -- telling

    def update(self, operation: UpdateOperation) -> None:
        """Both carry it out."""
        self.ours.update(operation)
        self.theirs.update(theirs(operation))

    def refuse(self, act: Callable[[Any], Any], kind: type[EdgeError], message: str) -> None:
        """Both refuse: ours with an error of this kind, Qdrant with whatever it has."""
        with pytest.raises(kind, match=message):
            act(self.ours)
        with pytest.raises(Exception, match=r"."):
            act(Translating(self.theirs))

    def clear(self) -> None:
        self.update(UpdateOperation.delete_points_by_filter(Filter()))

    # -- asking

    def compare(self) -> None:
        """Everything there is."""
        self.compare_scroll(ScrollRequest(limit=ALL, with_vector=True))
        assert self.ours.info().points_count == self.theirs.info().points_count
        self.compare_count(CountRequest())

    def compare_scroll(self, request: ScrollRequest) -> None:
        found, following = self.ours.scroll(request)
        expected, then = self.theirs.scroll(theirs(request))
        assert following == then
        same_records(found, expected)

    def compare_count(self, request: CountRequest) -> None:
        assert self.ours.count(request) == self.theirs.count(theirs(request))

    def compare_facet(self, request: FacetRequest) -> None:
        """The same but for values that no point has any more, which Qdrant may show at 0."""
        expected = [hit for hit in values_of(self.theirs.facet(theirs(request))) if hit[1]]
        assert values_of(self.ours.facet(request)) == expected, request

    def compare_schema(self) -> None:
        """The same indexes, params as they were given, and points in them."""
        assert schema_of(self.ours) == schema_of(self.theirs)

    def compare_retrieve(self, ids: list[PointId], payload: Any, vector: Any) -> None:
        expected = self.theirs.retrieve(ids, theirs(payload), theirs(vector))
        same_records(self.ours.retrieve(ids, payload, vector), expected)

    def compare_query(self, request: QueryRequest | SearchRequest) -> None:
        """The same scores, best first; ours by id where they are equal, where Qdrant's vary.

        Which of several equal points the limit leaves is Qdrant's accident. So ours are held
        against all that it would give without a limit.
        """
        method = "query" if isinstance(request, QueryRequest) else "search"
        unlimited = msgspec.structs.replace(request, limit=ALL, offset=0)
        found = getattr(self.ours, method)(request)
        page = getattr(self.theirs, method)(theirs(request))
        known = {hit.id: hit for hit in getattr(self.theirs, method)(theirs(unlimited))}
        assert len(found) == len(page) == len({hit.id for hit in found})
        for ours, at_the_place in zip(found, page, strict=True):
            assert same_score(ours.score, at_the_place.score)
            assert same_score(ours.score, known[ours.id].score)
            same_point(ours, known[ours.id])
        assert ties_by_id(found)


class Translating:
    """A shard of Qdrant's that takes arguments of ours."""

    def __init__(self, shard: Any) -> None:
        self._shard = shard

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._shard, name)
        return lambda *arguments: method(*map(theirs, arguments))


def same_records(found: list[Any], expected: list[Any]) -> None:
    assert [record.id for record in found] == [record.id for record in expected]
    for ours, other in zip(found, expected, strict=True):
        same_point(ours, other)


def same_point(ours: Any, other: Any) -> None:
    """The same payload and place in an order, types included, and the same vectors."""
    assert exactly(ours.payload) == exactly(other.payload)
    assert exactly(ours.order_value) == exactly(other.order_value)
    same_vector(ours.vector, other.vector)


def same_vector(ours: Any, other: Any) -> None:
    """The same dict of vectors, multivector, sparse vector or vector."""
    if isinstance(ours, SparseVector):
        assert type(other) is qdrant_edge.SparseVector
        assert ours.indices == other.indices
        same_vector(ours.values, other.values)
        return
    assert type(ours) is type(other)
    if isinstance(ours, dict):
        assert ours.keys() == other.keys()
        for name, vector in ours.items():
            same_vector(vector, other[name])
    elif ours and isinstance(ours[0], list):
        assert len(ours) == len(other)
        for row, other_row in zip(ours, other, strict=True):
            same_vector(row, other_row)
    elif ours is not None:
        assert len(ours) == len(other)
        assert ours == other or all(map(same_score, ours, other))


def values_of(response: Any) -> list[Any]:
    """The hits of a facet, in order."""
    return [(exactly(hit.value), hit.count) for hit in response.hits]


def schema_of(shard: Any) -> dict[str, Any]:
    """What either engine tells of its indexes."""
    return {
        path: (described(index.data_type), described(index.params), index.points)
        for path, index in shard.info().payload_schema.items()
    }


def described(value: Any) -> Any:
    """Params of either engine, and what stands in them, in a form that can be compared."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, set | frozenset):
        return frozenset(map(described, value))
    kind = type(value).__name__
    if repr(value).startswith(f"{kind}."):  # a member of an enum
        return repr(value)
    names = [name for name in dir(value) if name[0] != "_" and not callable(getattr(value, name))]
    return kind, {name: described(getattr(value, name)) for name in names}


def exactly(value: Any) -> Any:
    """A payload in a form in which True, 1 and 1.0 are three things."""
    if isinstance(value, dict):
        return {key: exactly(item) for key, item in value.items()}
    if isinstance(value, list):
        return [exactly(item) for item in value]
    return type(value), value


def same_score(first: float, second: float) -> bool:
    return math.isclose(first, second, rel_tol=RELATIVE, abs_tol=ABSOLUTE)


def ties_by_id(hits: list[Any]) -> bool:
    return all(
        id_order(one.id) < id_order(other.id)
        for one, other in pairwise(hits)
        if one.score == other.score
    )


def id_order(point_id: PointId) -> tuple[bool, int]:
    return isinstance(point_id, UUID), int(point_id)


def shown(shard: Any, ids: list[PointId]) -> dict[PointId, tuple[Any, Any]]:
    """Payload and vector of points, by id, from either engine."""
    return {r.id: (r.payload, r.vector) for r in shard.retrieve(ids, True, True)}
