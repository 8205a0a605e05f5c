"""From a checked operation and a view to its effect: the table of all operations.

Invariants
- Preparing changes nothing. It refuses whatever cannot be carried out whole: a point that is not
  there, a payload that an edit would make too large.
- The same operation on the same view has the same effect, so a replay of the log ends where the
  first run did.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.model.check import (
    CheckedClearPayload,
    CheckedCreateFieldIndex,
    CheckedCreateVector,
    CheckedDeleteFieldIndex,
    CheckedDeletePayload,
    CheckedDeletePoints,
    CheckedDeleteVector,
    CheckedDeleteVectors,
    CheckedNothing,
    CheckedOperation,
    CheckedOverwritePayload,
    CheckedSetConfig,
    CheckedSetCursor,
    CheckedSetPayload,
    CheckedUpdateVectors,
    CheckedUpsert,
    Target,
    recheck_column,
)
from edge.model.config import changed, same_storage, with_vector, without_vector
from edge.model.cursor import moved
from edge.model.json_path import parse
from edge.model.payload import decode_payload, encode_payload
from edge.model.point import PointBatch
from edge.payload import edit
from edge.segment.id_tracker import IdRows
from edge.segment.rows import RowBlock, StoredVectors, merge_vectors, without_vectors
from edge.segment.view import ShardView
from edge.store.chosen import Group, admitted, fulfil, groups_of, located, placed_groups, targets
from edge.store.effect import Effect
from edge.vectors.block import Offsets, Stored, joined, take
from edge.vectors.column import stored
from edge_kernels import ids as id_kernels

Payload = dict[str, Any]
EditPayload = Callable[[Payload], Payload]


def prepare(operation: CheckedOperation, view: ShardView) -> Effect:
    """Return what the operation does to the view; a CallerError where it cannot be done."""
    return PREPARE[type(operation)](operation, view)


# -- points


def _upsert(operation: CheckedUpsert, view: ShardView) -> Effect:
    rows = _stored(operation.batch, view)
    owners, offsets = view.locate(rows.ids)
    keep = admitted(operation, view, owners, offsets)
    if keep is not None:
        rows, owners, offsets = rows.take(keep), owners[keep], offsets[keep]
    deletes = tuple((group.position, group.offsets) for group in groups_of(view, owners, offsets))
    return Effect(deletes, rows)


def _stored(batch: PointBatch, view: ShardView) -> RowBlock:
    """Return the batch in stored form; of equal ids the last one stays."""
    keep = id_kernels.distinct_last(batch.ids)
    vectors = {name: _stored_column(name, batch, view) for name in batch.vectors}
    payloads = batch.payloads or [None] * len(batch.ids)
    return RowBlock(batch.ids, vectors, payloads).take(keep)


def _stored_column(name: str, batch: PointBatch, view: ShardView) -> StoredVectors:
    column = batch.vectors[name]
    # since whoever let it through looked, the name may have become another vector, or none
    recheck_column(name, column, len(batch), view.config)
    params = view.config.params_of(name)
    assert params is not None
    block = stored(params, column.data, column.lengths, column.indices)
    return StoredVectors(column.rows, block)


def _delete_points(operation: CheckedDeletePoints, view: ShardView) -> Effect:
    found = targets(operation.target, view, required=False)
    return Effect(tuple((group.position, group.offsets) for group in found))


# -- vectors of stored points


def _update_vectors(operation: CheckedUpdateVectors, view: ShardView) -> Effect:
    ids, fresh = _last_vectors(operation.batch, view)
    owners, offsets = located(ids, view, required=True)
    groups, places = [], []
    for place, group in placed_groups(view, owners, offsets):
        if operation.condition is not None:
            fulfils = fulfil(operation.condition, group)
            place, group = place[fulfils], group._replace(offsets=group.offsets[fulfils])
        groups.append(group)
        places.append(place)
    if not groups:
        return Effect()
    order = np.concatenate(places).astype(np.uint32)
    picked = {name: _reordered(column, order, len(ids)) for name, column in fresh.items()}
    rows = _rows_of(groups, view)
    merged = merge_vectors(rows.vectors, picked, len(rows))
    return _replaced(groups, RowBlock(rows.ids, merged, rows.payloads))


def _last_vectors(batch: PointBatch, view: ShardView) -> tuple[IdRows, dict[str, StoredVectors]]:
    """Return distinct ids, and for each name the last vector that the batch has for each id."""
    ids, inverse = np.unique(batch.ids, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    fresh = {}
    for name in batch.vectors:
        known = _stored_column(name, batch, view)
        owner = inverse if known.where is None else inverse[known.where]
        last = np.full(len(ids), -1, np.int64)
        last[owner] = np.arange(len(owner))  # of equal owners the last assignment stays
        has = np.flatnonzero(last >= 0)
        fresh[name] = StoredVectors(has.astype(np.uint32), take(known.block, last[has]))
    return ids, fresh


def _reordered(column: StoredVectors, order: Offsets, count: int) -> StoredVectors:
    """Return the column of the rows `order` (distinct positions below `count`, any order)."""
    slot = np.full(count, -1, np.int64)
    slot[np.arange(count) if column.where is None else column.where] = np.arange(len(column.block))
    picked = slot[order]
    has = np.flatnonzero(picked >= 0)
    return StoredVectors(has.astype(np.uint32), take(column.block, picked[has]))


def _delete_vectors(operation: CheckedDeleteVectors, view: ShardView) -> Effect:
    groups = targets(operation.target, view, required=True)
    if not groups:
        return Effect()
    rows = _rows_of(groups, view)
    kept = without_vectors(rows.vectors, frozenset(operation.vector_names))
    return _replaced(groups, RowBlock(rows.ids, kept, rows.payloads))


# -- payloads of stored points


def _edit_payloads(target: Target, view: ShardView, change: EditPayload) -> Effect:
    groups = targets(target, view, required=True)
    if not groups:
        return Effect()
    rows = _rows_of(groups, view)
    limits = view.settings.limits
    payloads: list[bytes | None] = []
    for blob in rows.payloads:
        payload = change(decode_payload(blob) if blob else {})
        payloads.append(encode_payload(payload, limits) if payload else None)
    return _replaced(groups, RowBlock(rows.ids, rows.vectors, payloads))


def _set_payload(operation: CheckedSetPayload, view: ShardView) -> Effect:
    patch, path = decode_payload(operation.payload), _path(operation.key)
    return _edit_payloads(operation.target, view, lambda old: edit.set_payload(old, patch, path))


def _overwrite_payload(operation: CheckedOverwritePayload, view: ShardView) -> Effect:
    patch, path = decode_payload(operation.payload), _path(operation.key)
    return _edit_payloads(operation.target, view, lambda old: edit.overwrite(old, patch, path))


def _delete_payload(operation: CheckedDeletePayload, view: ShardView) -> Effect:
    paths = [parse(key) for key in operation.keys]
    return _edit_payloads(operation.target, view, lambda old: edit.delete_keys(old, paths))


def _clear_payload(operation: CheckedClearPayload, view: ShardView) -> Effect:
    return _edit_payloads(operation.target, view, edit.clear)


def _path(key: str | None) -> Any:
    return None if key is None else parse(key)


# -- the schema


def _create_field_index(operation: CheckedCreateFieldIndex, view: ShardView) -> Effect:
    known = view.schema.get(operation.path)
    if known is not None and known.params == operation.field.params:
        return Effect()
    return Effect(schema={**view.schema, operation.path: operation.field})


def _delete_field_index(operation: CheckedDeleteFieldIndex, view: ShardView) -> Effect:
    if operation.path not in view.schema:
        return Effect()
    kept = {path: field for path, field in view.schema.items() if path != operation.path}
    return Effect(schema=kept)


# -- vector names and settings


def _create_vector(operation: CheckedCreateVector, view: ShardView) -> Effect:
    known = view.config.params_of(operation.name)
    if known is not None:
        same_storage(operation.name, operation.vector, known)
        return Effect()
    config = with_vector(view.config, operation.name, operation.vector)
    return Effect(config=config, created=operation.name)


def _delete_vector(operation: CheckedDeleteVector, view: ShardView) -> Effect:
    if view.config.params_of(operation.name) is None:
        return Effect()
    return Effect(config=without_vector(view.config, operation.name))


def _set_config(operation: CheckedSetConfig, view: ShardView) -> Effect:
    config = changed(view.config, operation.settings)
    return Effect() if config == view.config else Effect(config=config)


# -- the log's consumers


def _set_cursor(operation: CheckedSetCursor, view: ShardView) -> Effect:
    if view.cursors.get(operation.name) == operation.cursor:
        return Effect()
    return Effect(cursors=moved(view.cursors, operation.name, operation.cursor))


# -- whole rows, to be written anew


def _rows_of(groups: list[Group], view: ShardView) -> RowBlock:
    """Return the points of the groups, whole, in the order of the groups."""
    ids = np.concatenate([group.view.ids[group.offsets] for group in groups])
    payloads = [
        bytes(group.view.payload_bytes(offset)) or None
        for group in groups
        for offset in group.offsets.tolist()
    ]
    vectors = {name: found for name in view.config.names() if (found := _column_of(groups, name))}
    return RowBlock(ids, vectors, payloads)


def _column_of(groups: list[Group], name: str) -> StoredVectors | None:
    """Return the vectors of one name that the groups have; None where they have none."""
    has: list[NDArray[np.bool_]] = []
    blocks: list[Stored] = []
    for group in groups:
        present = group.view.has_vector_at(group.offsets, name)
        has.append(present)
        if present.any():
            blocks.append(group.view.column(name).take(group.offsets[present]))
    if not blocks:
        return None
    there = np.concatenate(has)
    where = None if there.all() else np.flatnonzero(there).astype(np.uint32)
    return StoredVectors(where, joined(blocks))


def _replaced(groups: list[Group], rows: RowBlock) -> Effect:
    deletes = tuple((group.position, group.offsets) for group in groups if len(group.offsets))
    return Effect(deletes, rows)


PREPARE: dict[type, Callable[[Any, ShardView], Effect]] = {
    CheckedUpsert: _upsert,
    CheckedUpdateVectors: _update_vectors,
    CheckedDeletePoints: _delete_points,
    CheckedDeleteVectors: _delete_vectors,
    CheckedSetPayload: _set_payload,
    CheckedOverwritePayload: _overwrite_payload,
    CheckedDeletePayload: _delete_payload,
    CheckedClearPayload: _clear_payload,
    CheckedCreateFieldIndex: _create_field_index,
    CheckedDeleteFieldIndex: _delete_field_index,
    CheckedCreateVector: _create_vector,
    CheckedDeleteVector: _delete_vector,
    CheckedSetConfig: _set_config,
    CheckedSetCursor: _set_cursor,
    CheckedNothing: lambda operation, view: Effect(),
}
