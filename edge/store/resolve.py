"""Operations whose meaning depends on what is stored, said by the ids that they are about.

Whoever reads the log later, or carries it to where other points lie, must find there what the
operation did, not what it asked for.

Invariants
- The resolved operation has the same effect on the same view, and is refused where the other is.
- It is about the points that it names, in any view.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from edge.model.check import (
    CheckedClearPayload,
    CheckedDeletePayload,
    CheckedDeletePoints,
    CheckedDeleteVectors,
    CheckedNothing,
    CheckedOperation,
    CheckedOverwritePayload,
    CheckedSetPayload,
    CheckedUpdateVectors,
    CheckedUpsert,
)
from edge.model.filter import Filter
from edge.model.part import part_of
from edge.model.point import PointBatch
from edge.model.update import UpdateMode
from edge.segment.view import ShardView
from edge.store.chosen import admitted, fulfil, located, placed_groups, targets
from edge_kernels import ids as id_kernels


def resolved(operation: CheckedOperation, view: ShardView) -> CheckedOperation:
    """Return the operation by ids; itself where it is that already. NotFound as `prepare`."""
    resolve = RESOLVE.get(type(operation))
    return operation if resolve is None else resolve(operation, view)


def _targeted(operation: Any, view: ShardView) -> CheckedOperation:
    if not isinstance(operation.target, Filter):
        return operation  # type: ignore[no-any-return]
    groups = targets(operation.target, view, required=True)
    if not groups:
        return CheckedNothing()
    ids = np.concatenate([group.view.ids[group.offsets] for group in groups])
    found: CheckedOperation = replace(operation, target=ids)
    return found


def _upsert(operation: CheckedUpsert, view: ShardView) -> CheckedOperation:
    if operation.condition is None and operation.update_mode is UpdateMode.Upsert:
        return operation
    last = id_kernels.distinct_last(operation.batch.ids)
    kept = admitted(operation, view, *view.locate(operation.batch.ids[last]))
    places = last if kept is None else last[kept]
    return CheckedUpsert(part_of(operation.batch, places)) if len(places) else CheckedNothing()


def _update_vectors(operation: CheckedUpdateVectors, view: ShardView) -> CheckedOperation:
    if operation.condition is None:
        return operation
    places = _fulfilling(operation.batch, operation.condition, view)
    if not len(places):
        return CheckedNothing()
    return CheckedUpdateVectors(part_of(operation.batch, places))


def _fulfilling(batch: PointBatch, condition: Filter, view: ShardView) -> NDArray[np.intp]:
    """Return the places of the batch whose stored points fulfil the condition."""
    ids, inverse = np.unique(batch.ids, axis=0, return_inverse=True)
    keep = np.zeros(len(ids), bool)
    for place, group in placed_groups(view, *located(ids, view, required=True)):
        keep[place] = fulfil(condition, group)
    return np.flatnonzero(keep[inverse.reshape(-1)])


RESOLVE: dict[type, Callable[[Any, ShardView], CheckedOperation]] = {
    CheckedUpsert: _upsert,
    CheckedUpdateVectors: _update_vectors,
    CheckedDeletePoints: _targeted,
    CheckedDeleteVectors: _targeted,
    CheckedSetPayload: _targeted,
    CheckedOverwritePayload: _targeted,
    CheckedDeletePayload: _targeted,
    CheckedClearPayload: _targeted,
}
"""Of each kind of operation that may depend on what is stored."""
