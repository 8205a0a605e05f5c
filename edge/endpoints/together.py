"""Upserts that wait together, made one operation: one record in the log, one view, one reply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from anyio import to_thread
from numpy.typing import NDArray

from edge.model.check import CheckedOperation, CheckedUpsert
from edge.model.config import EdgeConfig
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
    return _is_plain(one) and _is_plain(other) and _forms(one) == _forms(other)


def _is_plain(operation: CheckedOperation) -> bool:
    """Whether it is an upsert without a condition, every point of which has each vector."""
    return (
        isinstance(operation, CheckedUpsert)
        and operation.condition is None
        and operation.update_mode is UpdateMode.Upsert
        and all(column.rows is None for column in operation.batch.vectors.values())
    )


def _forms(operation: CheckedOperation) -> dict[str, Any]:
    """Which vectors an upsert has, and what arrays they are: a name may be given away and taken
    again for vectors of another kind, between two operations."""
    if not isinstance(operation, CheckedUpsert):
        return {}
    return {
        name: (column.data.shape[1:], column.lengths is None, column.indices is None)
        for name, column in operation.batch.vectors.items()
    }


def same_of(configs: Sequence[EdgeConfig]) -> EdgeConfig | None:
    """The config that all operations of a run were checked against; None: they differ."""
    return configs[0] if all(config is configs[0] for config in configs) else None


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
        name: _joined_columns([batch.vectors[name] for batch in batches])
        for name in batches[0].vectors
    }
    # an operation of another hand may carry no payloads at all, which is none for each point
    payloads = [blob for batch in batches for blob in batch.payloads or [None] * len(batch)]
    return CheckedUpsert(PointBatch(np.concatenate([b.ids for b in batches]), vectors, payloads))


def _joined_columns(columns: Sequence[VectorColumn]) -> VectorColumn:
    return VectorColumn(
        None,
        np.concatenate([column.data for column in columns]),
        _joined_arrays([column.lengths for column in columns]),
        _joined_arrays([column.indices for column in columns]),
    )


def _joined_arrays(arrays: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
    """The arrays as one; None where they are None, which all are then or none is."""
    there = [array for array in arrays if array is not None]
    return np.concatenate(there) if there else None
