"""How like points are to a vector, and to each other, by the vectors of one name.

Invariant: a point is as like another as a nearest query with its vector says: minus the distance of
the kernels, or the score of sparse vectors, weighed where theirs are.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge.model.filter import Filter
from edge.model.sparse import SparseVector
from edge.model.vector_params import EdgeVectorParams
from edge.query.deadline import Deadline
from edge.query.pool import Keys, Ranked, by_segment, offsets_of
from edge.query.sparse import weighted
from edge.segment.view import ShardView
from edge.vectors.block import Matrix
from edge.vectors.form import form_of
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
        return _dense(view, name, keys, None, deadline)
    return _sparse(view, name, keys, corpus, deadline)


def relevance_and_likeness(
    view: ShardView,
    name: str,
    vector: Any,
    candidates: Ranked,
    corpus: Filter | None,
    deadline: Deadline,
) -> tuple[Floats, Floats]:
    """Return (float32[n]: how like candidates, with the scores of the nearest, are to a vector,
    float32[n, n]: their likeness)."""
    if isinstance(vector, SparseVector):
        return candidates.scores, _sparse(view, name, candidates.keys, corpus, deadline)
    alike = _dense(view, name, candidates.keys, vector, deadline)
    return alike[0], alike[1:]


def _dense(
    view: ShardView, name: str, keys: Keys, vector: Floats | None, deadline: Deadline
) -> Floats:
    """Float32[n, n], with a row before them for the vector, if there is one."""
    form, rows = form_of(view.config.vectors[name]), _rows(view, name, keys)
    if form.many:
        asking = form.queries([np.array(one, np.float32) for one in vectors_of(view, name, keys)])
        queries = np.stack([query.form for query in asking])
    else:
        queries = form.query_rows(form.numbers(rows))
    if vector is not None:
        first = form.query(vector)
        queries = np.concatenate([first.form[None], queries])
    alike = np.empty((len(queries), len(rows)), np.float32)
    for at in range(0, len(queries), QUERIES_A_BLOCK):
        deadline.check()
        some = slice(at, at + QUERIES_A_BLOCK)
        scan.distances_together(form.code, queries[some], rows, alike[some])
    return np.negative(alike, out=alike)


def _rows(view: ShardView, name: str, keys: Keys) -> Matrix:
    """Return the rows that kernels compare, in the order of the keys."""
    found: Matrix | None = None
    for at, places in by_segment(view, keys):
        column: Any = view.segments[at].column(name)
        offsets = offsets_of(keys[places])
        for base, matrix in column.chunks(view.segments[at].watermark):
            if found is None:
                found = np.empty((len(keys), *matrix.shape[1:]), matrix.dtype)
            here = ((offsets >= base) & (offsets < base + len(matrix))).nonzero()[0]
            if len(here):
                found[places[here]] = matrix[offsets[here] - np.uint32(base)]
    assert found is not None, "there are points"
    return found


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
