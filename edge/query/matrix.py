"""How near some points are to each other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.model.filter import Filter, HasVectorCondition
from edge.model.matrix import SearchMatrixOffsets, SearchMatrixRequest
from edge.model.point_id import decode_ids
from edge.model.vector_params import EdgeVectorParams
from edge.query.chance import sample
from edge.query.deadline import Deadline
from edge.query.likeness import Floats, likeness
from edge.query.pool import id_rows, keys_of
from edge.query.stage import both
from edge.segment.view import ShardView
from edge.vectors.form import form_of
from edge_kernels.distance import DOT, to_score


def matrix(
    view: ShardView, request: SearchMatrixRequest, deadline: Deadline
) -> SearchMatrixOffsets:
    """Return, of points by chance, for each the nearest among the others, in order of id."""
    name = request.using or ""
    having = both(request.filter, Filter(must=[HasVectorCondition(name)]))
    keys = keys_of(view, sample(view, having, request.sample_size, deadline))
    ids = id_rows(view, keys)
    order = np.lexsort((ids[:, 2], ids[:, 1], ids[:, 0]))
    keys, ids = keys[order], ids[order]
    if len(keys) < 2:
        return _matrix(np.empty((0, 0), np.float32), np.empty((0, 0), np.int64), ())
    limit = min(request.limit_per_sample, len(keys) - 1)
    parts, first = [], 0
    for alike in likeness(view, name, keys, None, deadline):
        parts.append(_nearest(alike, first, limit))
        first += len(alike)
    nearest, found = map(np.concatenate, zip(*parts, strict=True))
    return _matrix(to_score(_code(view, name), found), nearest, tuple(decode_ids(ids)))


def _nearest(alike: Floats, first: int, limit: int) -> tuple[NDArray[np.int64], Floats]:
    """Return (int64[m, limit] columns, float32[m, limit] distances) of the most like in each row,
    best first, of equal ones the first. Row i is about column first + i, which is left out."""
    distances = np.float32(0) - alike  # never -0.0
    own = np.arange(len(alike))
    distances[own, first + own] = np.inf
    bits = distances.view(np.int32).astype(np.int64)  # in the order of the floats, once turned
    keys = (np.where(bits < 0, bits ^ 0x7FFFFFFF, bits) << 32) | np.arange(alike.shape[1])
    best = np.sort(np.partition(keys, limit - 1, axis=1)[:, :limit], axis=1) & 0xFFFFFFFF
    return best, np.take_along_axis(distances, best, axis=1)


def _code(view: ShardView, name: str) -> int:
    params = view.config.params_of(name)
    return form_of(params).metric if isinstance(params, EdgeVectorParams) else DOT


def _matrix(scores: Floats, columns: Any, ids: tuple[Any, ...]) -> SearchMatrixOffsets:
    rows = np.repeat(np.arange(len(columns)), columns.shape[1] if len(columns) else 0)
    return SearchMatrixOffsets(rows, columns.reshape(-1).astype(np.int64), scores.reshape(-1), ids)
