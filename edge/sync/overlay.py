"""A shard's own points laid over those of another, as one view: what reads a view reads both.

Invariants
- Used on the event loop. A listener of the own shard's changes: it knows an operation before the
  view that it led to is read.
- An id is seen once: an own point hides the other's, and so does what was touched and is no more,
  until the other shard is adopted as one that holds the touch.
- Own points at or below the cut have left: the other shard holds them, and is what is seen.
- The view is the own shard's in all but its points: config, schema, marks and sequence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import numpy as np

from edge.actors.feed import Change
from edge.disk.manifest import SegmentEntry
from edge.errors import ValidationError
from edge.model.codec import NO_IDS, gist_of
from edge.model.config import EdgeConfig, same_storage
from edge.model.mark import HERE
from edge.model.schema import IndexedField
from edge.payload.field_index import FieldIndex
from edge.payload.storage import PayloadColumn
from edge.segment.id_tracker import IdRows, IdTracker
from edge.segment.value_graphs import ValueGraphs
from edge.segment.view import Segment, SegmentView, ShardView
from edge.sync.touched import Touched
from edge.vectors.block import Offsets
from edge.vectors.column import Column, VectorKey
from edge.vectors.quantized_column import Quantized
from edge_kernels import bits
from edge_kernels.hnsw import Graph

T = TypeVar("T")

Views = tuple[SegmentView, ...]

MANY = 4096
"""Touched ids that are looked up when they come; fewer wait for a reader."""


class Touch(NamedTuple):
    """What an operation is about: the ids whose points it leaves otherwise than they are elsewhere,
    and whether it is one about settings that others will hear of."""

    ids: IdRows
    settings: bool


def touch_of(body: bytes | memoryview) -> Touch:
    """Return what an operation is about, by its body in the log.

    A deletion that is the shard's own affair is about points that have left already.
    """
    gist = gist_of(body)
    here = gist.mark is not None and gist.mark.source == HERE
    return Touch(NO_IDS if here and gist.deletes else gist.ids, gist.settings and not here)


class Overlay:
    """See the module's invariants. `cut` is the last own operation that the other shard holds."""

    def __init__(self, cut: int) -> None:
        self.cut = cut
        self.touched = Touched()
        self.is_leaving = True
        """Whether own points at or below the cut may still be there."""
        self.settled = 0
        """The last own operation that was about vectors' names, indexes or settings."""
        self.below: Views = ()
        """The other shard's segments, without what is hidden."""
        self._fresh: list[IdRows] = []
        self._later: list[IdRows] | None = None
        self._made: tuple[ShardView, tuple[Any, ...], ShardView] | None = None

    # -- as a listener

    def begin_with(self, view: ShardView) -> None:
        """What led to the view is told by whoever reads the log."""

    def put(self, change: Change) -> None:
        """Take note of an operation."""
        self.note(change.sequence, touch_of(change.body))

    def break_off(self, why: str) -> None:
        """Whoever owns both shards does not let the own one become what a snapshot holds."""

    def end(self) -> None:
        """Nothing more will come."""

    def note(self, sequence: int, touch: Touch) -> None:
        """Take note of what the operation of this number touched."""
        if touch.settings:
            self.settled = sequence
        if not len(touch.ids):
            return
        self.touched.add(sequence, touch.ids)
        self._fresh.append(touch.ids)
        if self._later is not None:
            self._later.append(touch.ids)
        if sum(map(len, self._fresh)) > MANY:
            self._hide_fresh()

    # -- the other shard

    @contextmanager
    def adopting(self, cut: int) -> Iterator[IdRows]:
        """Give the ids that have to be hidden in a shard that holds all up to `cut`.

        Within the block `adopt` also hides what was touched meanwhile.
        """
        self._later = []
        try:
            yield self.touched.after(cut)
        finally:
            self._later = None

    def adopt(self, below: Views, cut: int) -> None:
        """Go on over these segments, in which the ids that `adopting` gave are hidden."""
        self._fresh, self._later = self._later or [], None
        self.below = below
        if cut > self.cut:
            self.cut, self.is_leaving = cut, True
            self.touched.cut(cut)

    def _hide_fresh(self) -> None:
        fresh, self._fresh = self._fresh, []
        for ids in fresh:
            self.below = hidden(self.below, ids)

    # -- the view

    def over(self, own: ShardView) -> ShardView:
        """Return the view of both shards, `own` being the newest of the own one."""
        self._hide_fresh()
        self.below = tuple(_named(view, own) for view in self.below)
        parts = (*self.below, self.cut, self.is_leaving)
        if self._made is None or not _are_same(self._made[:2], (own, parts)):
            staying = _staying(own.segments, self.cut) if self.is_leaving else own.segments
            self._made = (own, parts, own.of((*self.below, *staying)))
        return self._made[2]


def _are_same(first: tuple[Any, ...], second: tuple[Any, ...]) -> bool:
    (own, parts), (other, others) = first, second
    return own is other and len(parts) == len(others) and all(map(_is_same, parts, others))


def _is_same(first: Any, second: Any) -> bool:
    return first is second or (isinstance(first, int) and first == second)


def hidden(views: Views, ids: IdRows) -> Views:
    """Return the views without the points of these ids."""
    return tuple(_without(view, ids) for view in views)


def _without(view: SegmentView, ids: IdRows) -> SegmentView:
    if not view.live_count:
        return view
    places = view.find(ids)
    places = places[places >= 0]
    return view if not len(places) else _less(view, places.astype(np.uint32))


def leaving(view: ShardView, cut: int) -> IdRows:
    """Return the ids of the points that no operation after `cut` has written."""
    parts = [part.ids[_older(part, cut)] for part in view.segments if part.live_count]
    return np.concatenate([NO_IDS, *parts])


def staying(view: ShardView, cut: int) -> IdRows:
    """Return the ids of the points that an operation after `cut` has written."""
    parts = [part for part in view.segments if part.live_count]
    return np.concatenate([NO_IDS, *(part.ids[part.live()] for part in _staying(parts, cut))])


def _staying(views: Iterable[SegmentView], cut: int) -> Views:
    older = [(view, _older(view, cut)) for view in views]
    return tuple(_less(view, gone) if len(gone) else view for view, gone in older)


def _older(view: SegmentView, cut: int) -> Offsets:
    live = view.live()
    return live[view.segment.versions[live] <= cut]


def _less(view: SegmentView, offsets: Offsets) -> SegmentView:
    deleted = bits.zeros(view.watermark) if view.deleted is None else view.deleted.copy()
    bits.set_bits(deleted, offsets)
    return view.without(deleted)


# -- names of vectors


def check_same(own: EdgeConfig, other: EdgeConfig) -> None:
    """Refuse a shard whose vectors are not stored as our own of the same names."""
    for name in other.names():
        mine, theirs = own.params_of(name), other.params_of(name)
        if mine is not None:
            same_storage(name, theirs, mine)
    if not set(own.names()) & set(other.names()):
        raise ValidationError(
            f"vectors: {sorted(own.names())} here, {sorted(other.names())} on the server"
        )


def _named(view: SegmentView, own: ShardView) -> SegmentView:
    """Return the view as one of `own`: under its schema and its names of vectors."""
    if view.schema is own.schema and view.names is own.names:
        return view
    known = view.names
    meant = {key: own.names[name] for name, key in known.items() if name in own.names}
    segment = view.segment
    if any(theirs != ours for theirs, ours in meant.items()):
        segment = Renamed(segment, meant)
    return SegmentView(segment, view.watermark, view.deleted, own.schema, own.names)


class Renamed:
    """A segment whose columns go by other keys: a shard numbers its vectors by its own history."""

    def __init__(self, segment: Segment, keys: Mapping[VectorKey, VectorKey]) -> None:
        self._segment = segment
        self._keys = keys

    def _by_key(self, found: Mapping[VectorKey, T]) -> dict[VectorKey, T]:
        return {self._keys[key]: value for key, value in found.items() if key in self._keys}

    @property
    def number(self) -> int:
        """See Segment."""
        return self._segment.number

    @property
    def tracker(self) -> IdTracker:
        """See Segment."""
        return self._segment.tracker

    @property
    def versions(self) -> Any:
        """See Segment."""
        return self._segment.versions

    @property
    def entry(self) -> SegmentEntry | None:
        """See Segment."""
        return self._segment.entry

    @property
    def payloads(self) -> PayloadColumn:
        """See Segment."""
        return self._segment.payloads

    @property
    def vectors(self) -> Mapping[VectorKey, Column]:
        """See Segment."""
        return self._by_key(self._segment.vectors)

    @property
    def graphs(self) -> Mapping[VectorKey, Graph]:
        """See Segment."""
        return self._by_key(self._segment.graphs)

    @property
    def quantized(self) -> Mapping[VectorKey, Quantized]:
        """See Segment."""
        return self._by_key(self._segment.quantized)

    @property
    def value_graphs(self) -> Mapping[VectorKey, ValueGraphs]:
        """See Segment."""
        return self._by_key(self._segment.value_graphs)

    def index(self, path: str, field: IndexedField, watermark: int) -> FieldIndex | None:
        """See Segment."""
        return self._segment.index(path, field, watermark)

    def is_indexed_by(self, schema: Any) -> bool:
        """See Segment."""
        return self._segment.is_indexed_by(schema)
