"""Upserts that wait together, made one operation: one record in the log, one view, one reply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from anyio import to_thread

from edge.model.check import CheckedOperation, CheckedUpsert
from edge.model.point import PointBatch, VectorColumn
from edge.model.update import UpdateMode

Item = TypeVar("Item")

POINTS_TOGETHER = 4_096
BYTES_TOGETHER = 16 << 20


def in_runs(
    items: Sequence[Item], operation_of: Callable[[Item], CheckedOperation]
) -> list[list[Item]]:
    """The items in their order, cut into runs whose operations may be one (see `joined`)."""
    runs: list[list[Item]] = []
    points = size = 0
    for item in items:
        operation = operation_of(item)
        more_points, more_bytes = _weight(operation)
        points, size = points + more_points, size + more_bytes
        fits = runs and points <= POINTS_TOGETHER and size <= BYTES_TOGETHER
        if fits and _are_alike(operation_of(runs[-1][-1]), operation):
            runs[-1].append(item)
        else:
            runs.append([item])
            points, size = more_points, more_bytes
    return runs


def _weight(operation: CheckedOperation) -> tuple[int, int]:
    """(points, bytes) of an upsert"""
    if not isinstance(operation, CheckedUpsert):
        return 0, 0
    return len(operation.batch), operation.batch.nbytes


def _are_alike(one: CheckedOperation, other: CheckedOperation) -> bool:
    return _is_plain(one) and _is_plain(other) and _names(one) == _names(other)


def _is_plain(operation: CheckedOperation) -> bool:
    """Whether it is an upsert without a condition, every point of which has each vector."""
    return (
        isinstance(operation, CheckedUpsert)
        and operation.condition is None
        and operation.update_mode is UpdateMode.Upsert
        and all(column.rows is None for column in operation.batch.vectors.values())
    )


def _names(operation: CheckedOperation) -> list[str]:
    return list(operation.batch.vectors) if isinstance(operation, CheckedUpsert) else []


async def joined(operations: Sequence[CheckedOperation]) -> CheckedOperation:
    """The operations of a run as one; of a point that comes twice the later stays, as it would.

    Megabytes are copied, so it is done in a thread.
    """
    if len(operations) == 1:
        return operations[0]
    return await to_thread.run_sync(_joined, operations)


def _joined(operations: Sequence[CheckedOperation]) -> CheckedOperation:
    batches = [one.batch for one in operations if isinstance(one, CheckedUpsert)]
    vectors = {
        name: VectorColumn(None, np.concatenate([batch.vectors[name].data for batch in batches]))
        for name in batches[0].vectors
    }
    payloads = [blob for batch in batches for blob in batch.payloads]
    return CheckedUpsert(PointBatch(np.concatenate([b.ids for b in batches]), vectors, payloads))
