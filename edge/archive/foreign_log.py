"""The operations that Qdrant logged and its segments may lack, carried out by our store.

Qdrant's rule: an operation is passed over for a point that is at least as new as it (a deletion:
newer). Only points as they were imported can be: whatever was carried out here came in order.
What Qdrant refused is still in its log; of an upsert it refused the points that were wrong, of
other operations those that are not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from edge.errors import CallerError, EdgeError
from edge.model.filter import Filter, HasIdCondition
from edge.model.point_id import PointId, as_rows, decode_ids
from edge.model.update import (
    ClearPayload,
    DeletePayload,
    DeletePoints,
    DeleteVectors,
    OverwritePayload,
    SetPayload,
    UpdateOperation,
    UpdateVectors,
    UpsertPoints,
)
from edge.qdrant.shard import QdrantShard
from edge.segment.view import ShardView
from edge.store.store import Store, Submission

Ids: TypeAlias = set[PointId]


def carry_out(shard: QdrantShard, store: Store) -> None:
    """Carry out what `shard` has pending on the store that its segments became."""
    for number, operation in shard.pending():
        as_new = number if isinstance(operation, DeletePoints) else number - 1
        newer = _newer(store.view, as_new, shard.version) if as_new < shard.version else set()
        wanted = _for_others(operation, newer, store.view)
        if _refused(store, wanted) and isinstance(wanted, UpsertPoints):
            for point in wanted.points:
                _refused(store, UpsertPoints([point], wanted.condition, wanted.update_mode))


def _refused(store: Store, operation: UpdateOperation) -> bool:
    """Carry an operation out; return whether it was wrong."""
    [outcome] = store.commit([Submission(operation)])
    if isinstance(outcome, EdgeError) and not isinstance(outcome, CallerError):
        raise outcome
    return isinstance(outcome, EdgeError)


def _newer(view: ShardView, number: int, imported: int) -> Ids:
    """The points that are as they were imported, and newer than operation `number`."""
    found: Ids = set()
    for part in view.segments:
        offsets = part.live()
        versions = part.segment.versions[offsets]
        found.update(decode_ids(part.ids[offsets[(versions > number) & (versions <= imported)]]))
    return found


def _for_others(operation: UpdateOperation, newer: Ids, view: ShardView) -> UpdateOperation:
    """The operation for the points that are there and not newer."""
    if isinstance(operation, UpsertPoints):
        points = [point for point in operation.points if point.id not in newer]
        return UpsertPoints(points, operation.condition, operation.update_mode)
    if isinstance(operation, UpdateVectors):
        there = _there([one.id for one in operation.point_vectors], view) - newer
        vectors = [one for one in operation.point_vectors if one.id in there]
        return UpdateVectors(vectors, operation.condition)
    if not isinstance(operation, _BY_TARGET):
        return operation
    target = operation.target
    if not isinstance(target, Filter):
        there = _there(target, view) - newer
        target = tuple(one for one in target if one in there)
    elif newer:
        target = Filter(must=[target], must_not=[HasIdCondition(newer)])
    return msgspec.structs.replace(operation, target=target)


_BY_TARGET = (
    DeletePoints, DeleteVectors, SetPayload, OverwritePayload, DeletePayload, ClearPayload
)  # fmt: skip


def _there(ids: Sequence[PointId], view: ShardView) -> Ids:
    found, _ = view.locate(as_rows(ids))
    return {one for one, place in zip(ids, found.tolist(), strict=True) if place >= 0}
