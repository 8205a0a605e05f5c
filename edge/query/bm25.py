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
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge.errors import UnknownField, ValidationError
from edge.filter.mask import matches
from edge.model.filter import Filter
from edge.model.json_path import canonical
from edge.model.query import Bm25Params, TextQuery
from edge.model.schema import IndexedField, TextIndexParams, index_analyzer
from edge.payload.field_index import FieldIndex, GrowingIndex, top_keys
from edge.payload.keyed_rows import has
from edge.payload.texts import Term, Texts, encoded
from edge.query.deadline import Deadline
from edge.query.search import Hits
from edge.query.trace import NO_TRACE, Trace
from edge.segment.view import SegmentView, ShardView

Floats: TypeAlias = NDArray[np.float32]
Offsets: TypeAlias = NDArray[np.uint32]

ROWS_A_BLOCK = 512
_F32 = np.float32


class _Part(NamedTuple):
    """The documents of one segment: which live, how long each is, and who has each token."""

    view: SegmentView
    texts: Texts
    live: NDArray[np.bool_]
    lengths: NDArray[np.int64]
    terms: dict[bytes, Term]


def rank_by_text(
    view: ShardView,
    query: TextQuery,
    filter: Filter | None,
    count: int,
    deadline: Deadline,
    trace: Trace = NO_TRACE,
) -> tuple[Hits, Floats]:
    """Return the best `count` points and their scores.

    Raises UnknownField where the field has no text index, ValidationError where it keeps no scores.
    """
    field = _scored_field(view, query.field)
    assert isinstance(field.params, TextIndexParams)
    tokens = list(dict.fromkeys(encoded(index_analyzer(field.params).query(query.query))))
    segments = [segment for segment in view.segments if segment.live_count]
    parts = [_part(segment, query.field, field, tokens, deadline) for segment in segments]
    weights = _weights(parts, tokens)
    average = _average(parts)
    found: list[tuple[SegmentView, Offsets, Floats]] = []
    for part in parts:
        with trace.segment(part.view) as note:
            note.way = "text index"
            rows, scores = _scored(part, weights, average, query.scoring)
            if filter is not None and len(rows):
                allowed = matches(filter, part.view, part.view.live_bits(), deadline.check)
                note.filtered(filter, allowed)
                kept = has(allowed, rows)
                rows, scores = rows[kept], scores[kept]
            found.append((part.view, *_best(rows, scores, count)))
    return _merged(found, count)


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
        index = _read_index(view, path, field, deadline)
    texts: Texts = index.entries
    live = has(view.live_bits(), texts.rows)
    terms = {}
    for token in tokens:
        documents, times = texts.term(token)
        kept = live[documents]
        terms[token] = Term(documents[kept], times[kept])
    return _Part(view, texts, live, texts.lengths(), terms)


def _read_index(
    view: SegmentView, path: str, field: IndexedField, deadline: Deadline
) -> FieldIndex:
    """An index of the moment, of a segment that has none yet."""
    growing = GrowingIndex(canonical(path), field)
    read = view.reader(top_keys([path]))
    for first in range(0, view.watermark, ROWS_A_BLOCK):
        deadline.check()
        growing.append(map(read, range(first, min(first + ROWS_A_BLOCK, view.watermark))))
    return growing.at(view.watermark)


def _weights(parts: list[_Part], tokens: list[bytes]) -> list[tuple[bytes, np.float32]]:
    """The idf of each token that any document has, ascending."""
    total = sum(int(part.live.sum()) for part in parts)
    found = []
    for token in tokens:
        having = sum(len(part.terms[token].documents) for part in parts)
        if having:
            rest = _F32(_F32(total - having) + _F32(0.5))
            odds = _F32(rest / _F32(_F32(having) + _F32(0.5)))
            found.append((token, _F32(math.log(_F32(odds + _F32(1.0))))))
    return sorted(found, key=lambda item: item[1])


def _average(parts: list[_Part]) -> np.float32:
    documents = sum(int(part.live.sum()) for part in parts)
    tokens = sum(int(part.lengths[part.live].sum()) for part in parts)
    return _F32(_F32(tokens) / _F32(max(1, documents)))


def _scored(
    part: _Part,
    weights: list[tuple[bytes, np.float32]],
    average: np.float32,
    scoring: Bm25Params,
) -> tuple[Offsets, Floats]:
    """The rows that have any of the tokens, ascending, and the score of each."""
    k, b = _F32(scoring.k), _F32(scoring.b)
    scores = np.zeros(len(part.lengths), np.float32)
    touched = np.zeros(len(part.lengths), np.bool_)
    with np.errstate(over="ignore", invalid="ignore"):
        for token, weight in weights:
            documents, times = part.terms[token]
            tf = times.astype(np.float32)
            length = b * part.lengths[documents].astype(np.float32) / average
            norm = k * ((_F32(1.0) - b) + length)
            scores[documents] += ((weight * tf) * (k + _F32(1.0))) / (tf + norm)
            touched[documents] = True
    documents = np.flatnonzero(touched & ~np.isnan(scores)).astype(np.uint32)
    rows, scores = part.texts.rows[documents], scores[documents]
    if len(rows) < 2 or (rows[1:] > rows[:-1]).all():
        return rows, scores
    firsts = np.flatnonzero(np.diff(rows, prepend=rows[0] + np.uint32(1)) != 0)
    return rows[firsts], np.maximum.reduceat(scores, firsts)


def _best(rows: Offsets, scores: Floats, count: int) -> tuple[Offsets, Floats]:
    """The best of them and whatever ties with the last."""
    if not 0 < count < len(rows):
        return rows, scores
    least = np.partition(scores, len(scores) - count)[len(scores) - count]
    kept = scores >= least
    return rows[kept], scores[kept]


def _merged(found: list[tuple[SegmentView, Offsets, Floats]], count: int) -> tuple[Hits, Floats]:
    """The best of all, ties by id."""
    segments = tuple(view for view, _, _ in found)
    owners = np.repeat(np.arange(len(found)), [len(rows) for _, rows, _ in found])
    offsets = np.concatenate([*(rows for _, rows, _ in found), np.empty(0, np.uint32)])
    scores = np.concatenate([*(scores for _, _, scores in found), np.empty(0, np.float32)])
    ids = np.concatenate(
        [*(view.ids[rows] for view, rows, _ in found), np.empty((0, 3), np.uint64)]
    )
    order = np.lexsort((ids[:, 2], ids[:, 1], ids[:, 0], -scores))[:count]
    return Hits(segments, owners[order], offsets[order], -scores[order]), scores[order]
