"""Points of a view by number: what stages of a query hand to each other.

Invariants: a point's key is (position of its segment in the view) << 32 | offset; a live point has
one key in a view. `Ranked` is best first, and names each point once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge.query.search import Hits, no_distances
from edge.segment.id_tracker import IdRows
from edge.segment.view import ShardView
from edge.vectors.block import Offsets

Keys: TypeAlias = NDArray[np.int64]
Scores: TypeAlias = NDArray[np.float32]


class Points(NamedTuple):
    """Points as they are shown, best first: hits, their scores, and where they stand in an order
    (None: in none)."""

    hits: Hits
    scores: Scores
    values: list[float] | None = None

    def where(self, kept: NDArray[np.bool_]) -> Points:
        """Return those of them that are kept."""
        hits = self.hits._replace(owners=self.hits.owners[kept], offsets=self.hits.offsets[kept])
        values = self.values
        if values is not None:
            values = [value for value, stays in zip(values, kept, strict=True) if stays]
        return Points(hits, self.scores[kept], values)

    def at(self, places: Sequence[int]) -> Points:
        """Return those at these places."""
        hits = self.hits._replace(
            owners=self.hits.owners[places], offsets=self.hits.offsets[places]
        )
        values = None if self.values is None else [self.values[place] for place in places]
        return Points(hits, self.scores[places], values)

    def from_place(self, first: int) -> Points:
        """Return them without the first so many."""
        owners, offsets = self.hits.owners[first:], self.hits.offsets[first:]
        values = None if self.values is None else self.values[first:]
        return Points(
            self.hits._replace(owners=owners, offsets=offsets), self.scores[first:], values
        )


def nothing() -> Points:
    """No points."""
    none = np.empty(0, np.uint32)
    return Points(Hits((), np.empty(0, np.intp), none, no_distances(0)), no_distances(0))


class Ranked(NamedTuple):
    """Points with their scores, and where they stand in an order (None: in none)."""

    keys: Keys
    scores: Scores
    values: list[float] | None = None


def keys_of(view: ShardView, hits: Hits) -> Keys:
    """Return the keys of hits in the segments of the view."""
    places = {id(segment): place for place, segment in enumerate(view.segments)}
    where = np.array([places[id(segment)] for segment in hits.segments], np.int64)
    owners = where[hits.owners] if len(where) else np.empty(0, np.int64)
    return (owners << np.int64(32)) | hits.offsets.astype(np.int64)


def hits_of(view: ShardView, keys: Keys) -> Hits:
    """Return the points of these keys as hits, in this order."""
    owners = (keys >> np.int64(32)).astype(np.intp)
    return Hits(view.segments, owners, offsets_of(keys), no_distances(len(keys)))


def offsets_of(keys: Keys) -> Offsets:
    """Return the offsets in keys."""
    return (keys & np.int64(0xFFFFFFFF)).astype(np.uint32)


def by_segment(view: ShardView, keys: Keys) -> list[tuple[int, NDArray[np.intp]]]:
    """Return (position of the segment, places among the keys) for each segment that has some."""
    owners = keys >> np.int64(32)
    found = ((at, np.flatnonzero(owners == at)) for at in range(len(view.segments)))
    return [(at, places) for at, places in found if len(places)]


def id_rows(view: ShardView, keys: Keys) -> IdRows:
    """Return uint64[n, 3]: the ids of these points."""
    rows = np.empty((len(keys), 3), np.uint64)
    for at, places in by_segment(view, keys):
        rows[places] = view.segments[at].ids[offsets_of(keys[places])]
    return rows


def union(sources: list[Ranked]) -> Keys:
    """Return the keys that any of the sources has, each once."""
    if not sources:
        return np.empty(0, np.int64)
    return np.unique(np.concatenate([source.keys for source in sources]))


def ranked(view: ShardView, points: Points) -> Ranked:
    """Return points by their keys."""
    return Ranked(keys_of(view, points.hits), points.scores, points.values)


def points_of(view: ShardView, found: Ranked) -> Points:
    """Return what keys stand for."""
    return Points(hits_of(view, found.keys), found.scores, found.values)


def best(view: ShardView, keys: Keys, scores: Scores, limit: int) -> Ranked:
    """Return the `limit` points of the greatest scores (no NaN); equal ones by id."""
    keys, scores = _contenders(keys, scores, limit)
    ids = id_rows(view, keys)
    order = np.lexsort((ids[:, 2], ids[:, 1], ids[:, 0], -scores))[:limit]
    return Ranked(keys[order], scores[order])


def _contenders(keys: Keys, scores: Scores, limit: int) -> tuple[Keys, Scores]:
    """Leave out what scores less than the last that can be among the best: a sort of all of them,
    and their ids, take longer than to find that score."""
    if not 0 < limit < len(scores) // 2:
        return keys, scores
    least = np.partition(scores, len(scores) - limit)[len(scores) - limit]
    there = (scores >= least).nonzero()[0]
    return keys[there], scores[there]
