"""How near some points are to each other."""

from __future__ import annotations

from typing import Any

import numpy as np

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
    distances = -likeness(view, name, keys, None, deadline)
    np.fill_diagonal(distances, np.inf)
    limit = min(request.limit_per_sample, len(keys) - 1)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :limit]
    deadline.check()
    found = np.take_along_axis(distances, nearest, axis=1)
    return _matrix(to_score(_code(view, name), found), nearest, tuple(decode_ids(ids)))


def _code(view: ShardView, name: str) -> int:
    params = view.config.params_of(name)
    return form_of(params).metric if isinstance(params, EdgeVectorParams) else DOT


def _matrix(scores: Floats, columns: Any, ids: tuple[Any, ...]) -> SearchMatrixOffsets:
    rows = np.repeat(np.arange(len(columns)), columns.shape[1] if len(columns) else 0)
    return SearchMatrixOffsets(rows, columns.reshape(-1).astype(np.int64), scores.reshape(-1), ids)
