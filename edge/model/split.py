"""A columnar upsert of any length, cut into operations that each fit the limits."""

from __future__ import annotations

from collections.abc import Iterator

from edge.errors import ValidationError
from edge.model.limits import Limits
from edge.model.update import UpsertArrays


def in_batches(operation: UpsertArrays, limits: Limits) -> Iterator[UpsertArrays]:
    """Yield upserts of consecutive rows, of at most `batch_points` points each.

    Vectors fill at most half of `batch_bytes`, which leaves the rest to the payloads. An operation
    that fits is yielded as it is. Raises ValidationError, before anything is yielded, where the
    columns differ in length: later, some operations would have been carried out.
    """
    count = len(operation.ids)
    _check_lengths(operation, count)
    row_bytes = sum(block.nbytes for block in operation.vectors.values()) // max(count, 1)
    by_bytes = limits.batch_bytes // 2 // max(row_bytes, 1)
    step = max(1, min(limits.batch_points, by_bytes))
    if count <= step:
        yield operation
        return
    for first in range(0, count, step):
        rows = slice(first, first + step)
        payloads = operation.payloads
        yield UpsertArrays(
            operation.ids[rows],
            {name: block[rows] for name, block in operation.vectors.items()},
            None if payloads is None else payloads[rows],
            operation.condition,
            operation.update_mode,
        )


def _check_lengths(operation: UpsertArrays, count: int) -> None:
    columns = {f"vectors {name!r}": len(block) for name, block in operation.vectors.items()}
    if operation.payloads is not None:
        columns["payloads"] = len(operation.payloads)
    for name, length in columns.items():
        if length != count:
            raise ValidationError(f"{name}: expected {count} entries, got {length}")
