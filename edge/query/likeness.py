"""How like points are to a vector, and to each other, by the vectors of one name.

Invariant: a point is as like another as a nearest query with its vector says: minus the distance of
the kernels, or the score of sparse vectors, weighed where theirs are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge.model.filter import Filter
from edge.model.sparse import SparseVector
from edge.model.vector_params import EdgeVectorParams
from edge.query.deadline import Deadline
from edge.query.pool import Keys, Ranked, by_segment, offsets_of
from edge.query.sparse import weighted
from edge.segment.view import SegmentView, ShardView
from edge.vectors.block import Matrix, Offsets
from edge.vectors.form import Form, Query, form_of
from edge.vectors.sparse import SparseQuery
from edge_kernels import scan

Floats: TypeAlias = NDArray[np.float32]

QUERIES_A_BLOCK: Final = 64
"""Points that are compared with all others between two looks at the deadline."""


def likeness(
    view: ShardView, name: str, keys: Keys, corpus: Filter | None, deadline: Deadline
) -> Floats:
    """Return float32[n, n]: row i is how like the others are to point i. All have the vector;
    `corpus` is that of rarity (None: all points)."""
    params = view.config.params_of(name)
    if isinstance(params, EdgeVectorParams):
        form, rows = form_of(params), _rows(view, name, keys)
        return _compared(_as_queries(view, name, form, rows, keys), rows, deadline)
    return _sparse(view, name, keys, corpus, deadline)


def relevance_of(view: ShardView, name: str, vector: Any, candidates: Ranked) -> Floats:
    """Return float32[n]: how like candidates, with the scores of the nearest, are to a vector."""
    if isinstance(vector, SparseVector):
        return candidates.scores
    form = form_of(view.config.vectors[name])
    query, rows = form.query(vector), _rows(view, name, candidates.keys)
    found: Floats = -scan.distances(query.code, query.form, rows, 0, _every(rows))
    return found


def _every(rows: Matrix) -> Offsets:
    return np.arange(len(rows), dtype=np.uint32)


def _rows(view: ShardView, name: str, keys: Keys) -> Matrix:
    """Return the rows that kernels compare, in the order of the keys."""
    parts, places = [], []
    for at, mine in by_segment(view, keys):
        segment, offsets = view.segments[at], offsets_of(keys[mine])
        ascending = np.argsort(offsets)
        parts.append(_ascending_rows(segment, name, offsets[ascending]))
        places.append(mine[ascending])
    rows = np.concatenate(parts)
    found: Matrix = rows[np.argsort(np.concatenate(places))]
    return found


def _ascending_rows(segment: SegmentView, name: str, offsets: Offsets) -> Matrix:
    column: Any = segment.column(name)
    parts = []
    for base, matrix in column.chunks(segment.watermark):
        first, last = np.searchsorted(offsets, np.array([base, base + len(matrix)], np.uint32))
        parts.append(matrix[offsets[first:last] - np.uint32(base)])
    return np.concatenate(parts)


def _as_queries(view: ShardView, name: str, form: Form, rows: Matrix, keys: Keys) -> list[Query]:
    """Return what asks for the points that are like these."""
    if form.many:
        return form.queries([np.array(one, np.float32) for one in vectors_of(view, name, keys)])
    return form.queries(list(form.numbers(rows)))


def _compared(queries: Sequence[Query], rows: Matrix, deadline: Deadline) -> Floats:
    alike = np.empty((len(queries), len(rows)), np.float32)
    for first in range(0, len(queries), QUERIES_A_BLOCK):
        deadline.check()
        some = queries[first : first + QUERIES_A_BLOCK]
        forms = [query.form for query in some]
        scan.distances_together(some[0].code, forms, rows, alike[first : first + len(some)])
    np.negative(alike, out=alike)
    return alike


def _sparse(
    view: ShardView, name: str, keys: Keys, corpus: Filter | None, deadline: Deadline
) -> Floats:
    vectors = [SparseQuery(*vector.arrays) for vector in vectors_of(view, name, keys)]
    alike = np.empty((len(vectors), len(keys)), np.float32)
    asking = weighted(view, name, vectors, corpus, deadline)
    for at, places in by_segment(view, keys):
        column: Any = view.segments[at].column(name)
        rows, offsets = column.rows(view.segments[at].watermark), offsets_of(keys[places])
        for row, query in enumerate(asking):
            deadline.check()
            alike[row, places] = rows.products(query, offsets)
    return alike


def vectors_of(view: ShardView, name: str, keys: Keys) -> list[Any]:
    """Return the vectors of points, as results hold them."""
    found: list[Any] = [None] * len(keys)
    for at, places in by_segment(view, keys):
        shown = view.segments[at].vectors_at(offsets_of(keys[places]), name)
        for place, vector in zip(places.tolist(), shown, strict=True):
            found[place] = vector
    return found
