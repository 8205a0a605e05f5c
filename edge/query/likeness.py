"""How like points are to a vector, and to each other, by the vectors of one name.

Invariant: a point is as like another as a nearest query with its vector says: minus the distance of
the kernels, or the score of sparse vectors, weighed where theirs are.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, Final, NamedTuple, TypeAlias

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
from edge.vectors.form import Form, form_of
from edge.vectors.sparse import SparseQuery
from edge_kernels import scan

Floats: TypeAlias = NDArray[np.float32]

QUERIES_A_BLOCK: Final = 64
"""Points that are compared with all others between two looks at the deadline."""


def likeness(
    view: ShardView, name: str, keys: Keys, corpus: Filter | None, deadline: Deadline
) -> Iterator[Floats]:
    """Yield float32[some, n], from the first point on: row i is how like the others are to it. All
    have the vector; `corpus` is that of rarity (None: all points)."""
    if isinstance(view.config.params_of(name), EdgeVectorParams):
        form, rows = form_of(view.config.vectors[name]), _rows(view, name, keys)
        return _dense(form, _queries(view, name, form, rows, keys), rows, deadline)
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
    keys = candidates.keys
    if isinstance(vector, SparseVector):
        return candidates.scores, np.concatenate([*_sparse(view, name, keys, corpus, deadline)])
    form, rows = form_of(view.config.vectors[name]), _rows(view, name, keys)
    query, others = form.query(vector), _queries(view, name, form, rows, keys)
    forms = np.concatenate([query.form[None], others.forms])
    alike = np.concatenate([*_dense(form, _Queries(forms, (query, others)), rows, deadline)])
    return alike[0], alike[1:]


class _Queries(NamedTuple):
    """What kernels compare with rows, a row each; `kept` is what that points to."""

    forms: Matrix
    kept: Any = None


def _dense(form: Form, queries: _Queries, rows: Matrix, deadline: Deadline) -> Iterator[Floats]:
    for at in range(0, len(queries.forms), QUERIES_A_BLOCK):
        deadline.check()
        some = queries.forms[at : at + QUERIES_A_BLOCK]
        alike = np.empty((len(some), len(rows)), np.float32)
        scan.distances_together(form.code, some, rows, alike)
        yield np.negative(alike, out=alike)


def _queries(view: ShardView, name: str, form: Form, rows: Matrix, keys: Keys) -> _Queries:
    """Return what asks for the points that are like these."""
    if not form.many:
        return _Queries(form.query_rows(form.numbers(rows)))
    asking = form.queries([np.array(one, np.float32) for one in vectors_of(view, name, keys)])
    return _Queries(np.stack([query.form for query in asking]), asking)


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
) -> Iterator[Floats]:
    vectors = [SparseQuery(*vector.arrays) for vector in vectors_of(view, name, keys)]
    asking = weighted(view, name, vectors, corpus, deadline)
    parts = []
    for at, places in by_segment(view, keys):
        column: Any = view.segments[at].column(name)
        parts.append((places, column.rows(view.segments[at].watermark), offsets_of(keys[places])))
    for first in range(0, len(asking), QUERIES_A_BLOCK):
        deadline.check()
        some = asking[first : first + QUERIES_A_BLOCK]
        alike = np.empty((len(some), len(keys)), np.float32)
        for (places, rows, offsets), (row, query) in product(parts, enumerate(some)):
            alike[row, places] = rows.products(query, offsets)
        yield alike


def vectors_of(view: ShardView, name: str, keys: Keys) -> list[Any]:
    """Return the vectors of points, as results hold them."""
    found: list[Any] = [None] * len(keys)
    for at, places in by_segment(view, keys):
        shown = view.segments[at].vectors_at(offsets_of(keys[places]), name)
        for place, vector in zip(places.tolist(), shown, strict=True):
            found[place] = vector
    return found
