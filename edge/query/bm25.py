"""The points that a text query ranks highest, by BM25 over the text index of a field.

The score is the sum of idf * tf * (k + 1) / (tf + k * (1 - b + b * len / avg)) over the query's
distinct tokens, idf = ln(1 + (N - df + 0.5) / (df + 0.5)): Robertson's BM25 with Lucene's idf, in
float32, each step rounded and summed in the order of idf, as Qdrant does it.

Invariants
- N, df and avg are those of the live documents of the whole shard, whatever the filter; so scores
  are the same before and after a rebuild. (In Qdrant the dead of an optimized segment still count.)
- A point's score is that of its best document; points without any of the tokens are left out.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge.errors import UnknownField, ValidationError
from edge.filter.mask import matches
from edge.model.filter import Filter
from edge.model.json_path import canonical
from edge.model.query import TextQuery
from edge.model.schema import IndexedField, TextIndexParams, index_analyzer
from edge.payload.field_index import FieldIndex, GrowingIndex
from edge.payload.texts import Texts, encoded
from edge.query.deadline import Deadline
from edge.query.reading import documents
from edge.query.search import Found, Hits, merge
from edge.query.trace import NO_TRACE, Trace
from edge.segment.view import SegmentView, ShardView
from edge_kernels import bm25
from edge_kernels.topk import TopK

_F32 = np.float32


class _Part(NamedTuple):
    """The documents of one segment: how many live, their tokens, and those of each token."""

    view: SegmentView
    texts: Texts
    documents: int
    tokens: int
    terms: list[bm25.Term]
    having: list[int]


def rank_by_text(
    view: ShardView,
    query: TextQuery,
    filter: Filter | None,
    count: int,
    deadline: Deadline,
    trace: Trace = NO_TRACE,
) -> tuple[Hits, NDArray[np.float32]]:
    """Return the best `count` points and their scores.

    Raises UnknownField where the field has no text index, ValidationError where it keeps no scores.
    """
    field = _scored_field(view, query.field)
    assert isinstance(field.params, TextIndexParams)
    tokens = list(dict.fromkeys(encoded(index_analyzer(field.params).query(query.query))))
    segments = [segment for segment in view.segments if segment.live_count]
    parts = [_part(segment, query.field, field, tokens, deadline) for segment in segments]
    order, weights = _weights(parts)
    parameters = np.array([query.scoring.k, query.scoring.b, _average(parts)], np.float32)
    found: list[Found] = []
    for part in parts:
        with trace.segment(part.view) as note:
            note.way = "text index"
            allowed = part.view.live_bits()
            if filter is not None:
                allowed = matches(filter, part.view, allowed, deadline.check)
                note.filtered(filter, allowed)
            top = TopK(count)
            if count:
                terms = [part.terms[place] for place in order]
                lengths, rows, ids = part.texts.lengths(), part.texts.rows, part.view.ids
                bm25.rank(terms, weights, lengths, rows, allowed, parameters, ids, top)
            found.append(Found(part.view, *top.finish()))
    hits = merge([part for part in found if len(part.offsets)], count)
    return hits, -hits.distances


def _scored_field(view: ShardView, path: str) -> IndexedField:
    field = view.schema.get(canonical(path))
    if field is None:
        raise UnknownField(f"field: a TextQuery needs a text index on {path!r}, which has none")
    if not isinstance(field.params, TextIndexParams):
        kind = field.kind.name
        raise UnknownField(f"field: a TextQuery needs a text index on {path!r}, which has a {kind}")
    if field.params.scoring is None:
        raise ValidationError(f"field: the text index on {path!r} was made without scoring=True")
    return field


def _part(
    view: SegmentView, path: str, field: IndexedField, tokens: list[bytes], deadline: Deadline
) -> _Part:
    deadline.check()
    index = view.index(path)
    if index is None or index.unknown() is not None:
        index = view.once(("index", path), lambda: _read_index(view, path, field, deadline))
    texts: Texts = index.entries
    live = view.live_bits()
    terms = [texts.term(token) for token in tokens]
    having = [
        len(term.documents)
        if view.deleted is None
        else bm25.having(term.documents, texts.rows, live)
        for term in terms
    ]
    documents, count = view.once(
        ("documents", path), lambda: bm25.live(texts.rows, texts.lengths(), live)
    )
    return _Part(view, texts, documents, count, terms, having)


def _read_index(
    view: SegmentView, path: str, field: IndexedField, deadline: Deadline
) -> FieldIndex:
    """An index of the moment, of a segment that has none yet."""
    growing = GrowingIndex(canonical(path), field)
    everyone = np.arange(view.watermark, dtype=np.uint32)
    growing.append(document for _, document in documents(view, everyone, path, deadline))
    return growing.at(view.watermark)


def _weights(parts: list[_Part]) -> tuple[list[int], NDArray[np.float32]]:
    """(the tokens that any document has, by ascending idf, as places in the query; their idf)"""
    total = sum(part.documents for part in parts)
    having = [sum(counts) for counts in zip(*(part.having for part in parts), strict=True)]
    found = sorted((_idf(total, count), place) for place, count in enumerate(having) if count)
    return [place for _, place in found], np.array([idf for idf, _ in found], np.float32)


def _idf(total: int, having: int) -> np.float32:
    odds = _F32(_F32(_F32(total - having) + _F32(0.5)) / _F32(_F32(having) + _F32(0.5)))
    return _F32(math.log(_F32(odds + _F32(1.0))))


def _average(parts: list[_Part]) -> np.float32:
    documents = sum(part.documents for part in parts)
    return _F32(_F32(sum(part.tokens for part in parts)) / _F32(max(1, documents)))
