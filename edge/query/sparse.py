"""The nearest points of a sparse query: by an inverted index, or row by row.

Invariants
- What shares no dimension with the query is no result; the score is the sum over those that are
  shared, in the order of the dimensions, so that every way gives the same bits.
- The weights of a query are those of the moment: how many points live that have a dimension, in the
  whole shard or among those that a filter names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge.model.filter import Filter
from edge.model.sparse import Indices
from edge.model.vector_params import Modifier
from edge.query.deadline import Deadline
from edge.query.narrowed import narrowed
from edge.query.search import Found, Hits, in_all, nothing_in
from edge.query.trace import Note, Trace
from edge.segment.view import SegmentView, ShardView
from edge.vectors.column import Absent, Sparse
from edge.vectors.missing import Bits
from edge.vectors.sparse import SparseQuery
from edge_kernels import bits, scan

Weights = NDArray[np.float32]


class SparseLeaf(NamedTuple):
    """A sparse vector to search for, weighted."""

    name: str
    query: SparseQuery
    k: int
    filter: Filter | None
    full_scan: int
    """so many matches of a filter are compared one by one"""


def search_sparse(view: ShardView, leaf: SparseLeaf, deadline: Deadline, trace: Trace) -> Hits:
    """Search all segments for one leaf, and merge by (distance, id); distances are -score."""

    def one(segment: SegmentView, deadline: Deadline, note: Note) -> Found:
        return _search_segment(segment, leaf, deadline, note)

    return in_all(view, one, leaf.k, deadline, trace)


def _search_segment(view: SegmentView, leaf: SparseLeaf, deadline: Deadline, note: Note) -> Found:
    column: Any = view.column(leaf.name)
    if isinstance(column, Absent):
        note.way = "left out"
        return nothing_in(view)
    top = scan.TopK(leaf.k)
    if leaf.filter is None:
        note.way = column.way
        column.search(leaf.query, view.watermark, view.allowed(leaf.name), view.ids, top)
        return Found(view, *top.finish())
    found = narrowed(view, leaf.name, leaf.filter, deadline.check)
    note.filtered(leaf.filter, found.rows)
    if found.count <= leaf.full_scan:
        note.way = "scan of matches"
        column.search_list(leaf.query, found.offsets, view.ids, top)
    else:
        note.way = f"filtered {column.way}"
        column.search(leaf.query, view.watermark, found.rows, view.ids, top)
    return Found(view, *top.finish())


# -- weights


def rarity(
    view: ShardView, name: str, indices: Indices, corpus: Filter | None, deadline: Deadline
) -> Weights:
    """Return float32[m]: how rare each of these dimensions (ascending) is.

    That is ln(1 + (n - df + 0.5) / (df + 0.5)), with n the points that live, fulfil `corpus` and
    have a vector that is not empty, and df those of them that have the dimension.
    """
    total, having = 0, np.zeros(len(indices), np.int64)
    for segment in view.segments:
        column: Any = segment.column(name)
        if segment.live_count and not isinstance(column, Absent):
            allowed = _corpus(segment, name, corpus, deadline)
            total += _not_empty(segment, column, allowed)
            having += column.count_rows(indices, segment.watermark, allowed)
    return np.log1p((total - having + 0.5) / (having + 0.5)).astype(np.float32)


def weighted(
    view: ShardView,
    name: str,
    vectors: Sequence[SparseQuery],
    corpus: Filter | None,
    deadline: Deadline,
) -> list[SparseQuery]:
    """Return vectors as they ask for others: where the vector of this name is said to be, with
    each value multiplied by how rare its dimension is."""
    if view.config.sparse_vectors[name].modifier is not Modifier.Idf or not len(vectors):
        return list(vectors)
    every = np.unique(np.concatenate([vector.indices for vector in vectors]))
    rare = rarity(view, name, every, corpus, deadline)
    return [
        SparseQuery(indices, values * rare[np.searchsorted(every, indices)])
        for indices, values in vectors
    ]


def _corpus(view: SegmentView, name: str, corpus: Filter | None, deadline: Deadline) -> Bits | None:
    if corpus is None:
        return view.allowed(name)
    return narrowed(view, name, corpus, deadline.check).rows


def _not_empty(view: SegmentView, column: Sparse, allowed: Bits | None) -> int:
    filled = view.once(("filled", id(column)), lambda: column.rows(view.watermark).filled())
    return bits.count(filled if allowed is None else filled & allowed, view.watermark)
