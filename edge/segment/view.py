"""Frozen views: all that a reader ever holds.

Invariants
- A view never changes. What its rows hold lies below the watermark and never changes either, so
  a view held for an hour gives the same answers as in its first moment, without a lock.
- A live id is in exactly one segment of a ShardView, at exactly one offset.
- `deleted` is replaced by its owner, never edited; None means that nothing is deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from edge.disk.manifest import SegmentEntry
from edge.errors import UnknownVector
from edge.model.config import EdgeConfig, Settings, settings_of
from edge.model.cursor import NO_CURSORS, Cursors
from edge.model.json_path import canonical
from edge.model.mark import NO_MARKS, Mark, Marks
from edge.model.payload import decode_payload, decoder_of
from edge.model.schema import NO_SCHEMA, IndexedField, Schema
from edge.model.vector_params import VectorParams
from edge.payload.field_index import FieldIndex
from edge.payload.storage import PayloadColumn
from edge.segment.id_tracker import IdRows, IdTracker, Places
from edge.segment.value_graphs import ValueGraphs
from edge.vectors.block import Offsets
from edge.vectors.column import ABSENT, Column, VectorKey
from edge.vectors.dense import BuiltDense, GrowingDense
from edge.vectors.missing import Bits
from edge.vectors.quantized_column import Quantized
from edge_kernels import bits
from edge_kernels.hnsw import Graph

T = TypeVar("T")

Births: TypeAlias = Mapping[str, int]
"""The operation that made each vector name that the shard was not made with."""

NO_BIRTHS: Births = {}

Names: TypeAlias = Mapping[str, VectorKey]
"""The vectors that there are, and which columns they are. Replaced, never edited."""


class Segment(Protocol):
    """What a view needs of a segment, growing or built."""

    @property
    def number(self) -> int:
        """Names the segment, and its folder if it has one; never used again."""
        ...

    @property
    def tracker(self) -> IdTracker:
        """The ids."""
        ...

    @property
    def versions(self) -> NDArray[np.uint64]:
        """uint64[>= rows]: the operation that wrote each row."""
        ...

    @property
    def entry(self) -> SegmentEntry | None:
        """The files of a built segment; None while it lives in the log only."""
        ...

    @property
    def payloads(self) -> PayloadColumn:
        """The payloads by offset."""
        ...

    @property
    def vectors(self) -> Mapping[VectorKey, Column]:
        """The columns."""
        ...

    @property
    def graphs(self) -> Mapping[VectorKey, Graph]:
        """The HNSW graphs; none in the tail."""
        ...

    @property
    def quantized(self) -> Mapping[VectorKey, Quantized]:
        """The small forms of columns; none in the tail."""
        ...

    @property
    def value_graphs(self) -> Mapping[VectorKey, ValueGraphs]:
        """The HNSW graphs of the values of payload fields; none in the tail."""
        ...

    def index(self, path: str, field: IndexedField, watermark: int) -> FieldIndex | None:
        """The index of the field at the canonical path, as of the watermark; None where there is
        none that is as `field` asks."""
        ...

    def is_indexed_by(self, schema: Schema) -> bool:
        """Whether it has an index of every field of the schema, as the schema says."""
        ...


REMEMBERED = 8


class SegmentView:
    """One segment as it was at one moment: (segment, watermark, deleted), the schema and the
    vector names then (None: all that the segment has)."""

    __slots__ = (
        "_allowed",
        "_live",
        "_live_bits",
        "_newest",
        "_once",
        "deleted",
        "deleted_count",
        "names",
        "schema",
        "segment",
        "watermark",
    )

    def __init__(
        self,
        segment: Segment,
        watermark: int,
        deleted: Bits | None = None,
        schema: Schema = NO_SCHEMA,
        names: Names | None = None,
    ) -> None:
        self.segment = segment
        self.watermark = watermark
        self.deleted = deleted
        self.schema = schema
        self.names = {key.name: key for key in segment.vectors} if names is None else names
        self.deleted_count = 0 if deleted is None else bits.count(deleted, watermark)
        self._allowed: dict[str, Bits | None] = {}
        self._live: Offsets | None = None
        self._live_bits: Bits | None = None
        self._once: dict[Any, Any] = {}
        self._newest: tuple[tuple[object, Any], ...] = ()

    @property
    def live_count(self) -> int:
        """How many points live here."""
        return self.watermark - self.deleted_count

    @property
    def ids(self) -> IdRows:
        """uint64[>= watermark, 3] id rows by offset."""
        return self.segment.tracker.ids

    def find(self, wanted: IdRows) -> Places:
        """Return int64[m]: the offsets of these ids, -1 where one does not live here."""
        return self.segment.tracker.find(wanted, self.watermark, self.deleted)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what `make()` gives; when asked for the key again, the same. (As views never
        change, it stays true; two threads may make it side by side.)"""
        if key not in self._once:
            self._once[key] = make()
        found: T = self._once[key]
        return found

    def remembered(self, key: object, make: Callable[[], T]) -> T:
        """As `once`, for what may be asked by many keys: the newest REMEMBERED are kept. Keys are
        compared one by one, first by whether they are the same object."""
        found: T
        for known, found in self._newest:
            if known == key:
                return found
        found = make()
        self._newest = (*self._newest[1 - REMEMBERED :], (key, found))
        return found

    def live(self) -> Offsets:
        """Return the offsets of all live points, ascending uint32."""
        if self._live is None:
            if self.deleted is None:
                self._live = np.arange(self.watermark, dtype=np.uint32)
            else:
                self._live = bits.to_offsets(~self.deleted, self.watermark)
        return self._live

    def live_bits(self) -> Bits:
        """Return the bits of all live points."""
        if self._live_bits is None:
            everything = bits.ones(self.watermark)
            dead = self.deleted
            self._live_bits = everything if dead is None else bits.and_not(everything, dead)
        return self._live_bits

    def allowed(self, name: str) -> Bits | None:
        """Return the bits of the points that live and have this vector; None if all do."""
        if name not in self._allowed:
            self._allowed[name] = self._allow(name)
        return self._allowed[name]

    def _allow(self, name: str) -> Bits | None:
        missing = self.column(name).missing(self.watermark)
        if self.deleted is None and missing is None:
            return None
        allowed: Bits = bits.ones(self.watermark)
        for out in (self.deleted, missing):
            if out is not None:
                allowed = bits.and_not(allowed, out)
        return allowed

    def column(self, name: str) -> Column:
        """Return the column of this name, or raise UnknownVector."""
        try:
            return self.column_of(self.names[name])
        except KeyError:
            raise UnknownVector(f"there is no vector named {name!r}") from None

    def column_of(self, key: VectorKey) -> Column:
        """Return a column; `ABSENT` where the vector came after the segment."""
        return self.segment.vectors.get(key, ABSENT)

    def graph(self, name: str) -> Graph | None:
        """Return the graph over the vectors of this name, if there is one."""
        return self.segment.graphs.get(self.names[name])

    def value_graphs(self, name: str) -> ValueGraphs | None:
        """Return the graphs of values over the vectors of this name, if there are any."""
        return self.segment.value_graphs.get(self.names[name])

    def quantized(self, name: str) -> Quantized | None:
        """Return the small form of the vectors of this name, if there is one."""
        return self.segment.quantized.get(self.names[name])

    def has_vector(self, name: str) -> Bits:
        """Return the bits of the points that have this vector."""
        missing = self.column(name).missing(self.watermark)
        everything = bits.ones(self.watermark)
        return everything if missing is None else bits.and_not(everything, missing)

    def has_vector_at(self, offsets: Offsets, name: str | VectorKey) -> NDArray[np.bool_]:
        """Return bool[m]: which of these points have this vector."""
        column = self.column_of(name) if isinstance(name, VectorKey) else self.column(name)
        missing = column.missing(self.watermark)
        if missing is None:
            return np.ones(len(offsets), bool)
        words, shift = offsets >> np.uint32(6), (offsets & np.uint32(63)).astype(np.uint64)
        has: NDArray[np.bool_] = (missing[words] >> shift) & np.uint64(1) == 0
        return has

    def payload_bytes(self, offset: int) -> bytes | memoryview:
        """Return the msgpack bytes of a payload; empty where there is none."""
        return self.segment.payloads.get(offset)

    def payloads_at(self, offsets: Offsets) -> Sequence[bytes | memoryview]:
        """Return what `payload_bytes` returns for each of the offsets."""
        return self.segment.payloads.many(offsets.tolist())

    def payloads(self, offsets: Sequence[int]) -> list[dict[str, Any]]:
        """Return the decoded payloads at offsets; {} where there is none."""
        blobs = self.segment.payloads.many(offsets)
        return [decode_payload(blob) if len(blob) else {} for blob in blobs]

    def reader(self, keys: frozenset[str]) -> Callable[[Sequence[int]], list[dict[str, Any]]]:
        """Return what decodes, of the payloads at offsets, what they have at these outermost
        keys."""
        many, decode = self.segment.payloads.many, decoder_of(keys)
        return lambda offsets: decode(many(offsets))

    def field(self, key: str) -> IndexedField | None:
        """Return what the schema says of the field at a path; None where it says nothing."""
        return self.schema.get(canonical(key)) if self.schema else None

    def index(self, key: str) -> FieldIndex | None:
        """Return the index of the field at a path, if this segment has it."""
        field = self.field(key)
        if field is None:
            return None
        return self.segment.index(canonical(key), field, self.watermark)

    def vectors_at(self, offsets: Offsets, name: str) -> list[Any]:
        """Return the vectors of one name as results hold them; None where a point lacks it."""
        found: list[Any] = [None] * len(offsets)
        has = np.flatnonzero(self.has_vector_at(offsets, name))
        if len(has):
            shown = self.column(name).shown(offsets[has])
            for place, vector in zip(has.tolist(), shown, strict=True):
                found[place] = vector
        return found

    def count_of(self, name: str) -> int:
        """Return how many live points have this vector."""
        allowed = self.allowed(name)
        return self.watermark if allowed is None else bits.count(allowed, self.watermark)

    def bytes_of(self, name: str) -> int:
        """Return the bytes that the live points' vectors of this name take, unpadded."""
        return self.once(("bytes", name), lambda: self._bytes_of(name))

    def _bytes_of(self, name: str) -> int:
        column, allowed = self.column(name), self.allowed(name)
        if allowed is None:
            return column.sizes(None, self.watermark)
        if isinstance(column, GrowingDense | BuiltDense):  # all of one size: no need to list them
            return self.count_of(name) * column.form.vector_bytes
        return column.sizes(bits.to_offsets(allowed, self.watermark), self.watermark)

    def without(self, deleted: Bits) -> SegmentView:
        """Return the same view with other tombstones."""
        return SegmentView(self.segment, self.watermark, deleted, self.schema, self.names)

    def under(self, schema: Schema, names: Names) -> SegmentView:
        """Return the view under a schema and names; itself where these are its own."""
        if schema is self.schema and names is self.names:
            return self
        return SegmentView(self.segment, self.watermark, self.deleted, schema, names)


class ShardView:
    """The whole shard as it was after operation `sequence`; the last segment is the tail."""

    __slots__ = (
        "births",
        "config",
        "cursors",
        "marks",
        "names",
        "points",
        "schema",
        "segments",
        "sequence",
        "settings",
    )

    def __init__(
        self,
        sequence: int,
        segments: tuple[SegmentView, ...],
        config: EdgeConfig,
        settings: Settings,
        schema: Schema = NO_SCHEMA,
        marks: Marks = NO_MARKS,
        births: Births = NO_BIRTHS,
        names: Names | None = None,
        cursors: Cursors = NO_CURSORS,
    ) -> None:
        self.sequence = sequence
        self.births = births
        self.names = _names(config, births) if names is None else names
        self.segments = tuple(view.under(schema, self.names) for view in segments)
        self.config = config
        self.schema = schema
        self.marks = marks
        self.cursors = cursors
        self.settings = settings
        self.points = sum(view.live_count for view in segments)

    def of(self, segments: Iterable[SegmentView], sequence: int | None = None) -> ShardView:
        """Return the view with other segments, and if need be another sequence."""
        if sequence is None:
            sequence = self.sequence
        return self._with(sequence=sequence, segments=tuple(segments))

    def under(self, schema: Schema) -> ShardView:
        """Return the view under another schema."""
        return self._with(schema=schema)

    def configured(self, config: EdgeConfig, births: Births) -> ShardView:
        """Return the view under another config, whose vector names were born so."""
        settings = replace(settings_of(config), limits=self.settings.limits)
        return self._with(config=config, settings=settings, births=births, names=None)

    def keys(self) -> dict[VectorKey, VectorParams]:
        """Return the vectors of the config, and which columns they are."""
        every: dict[str, VectorParams] = {**self.config.vectors, **self.config.sparse_vectors}
        return {self.names[name]: params for name, params in every.items()}

    def marked(self, mark: Mark) -> ShardView:
        """Return the view with the update of this mark applied."""
        newest = Mark(mark.source, mark.epoch, mark.sequence)
        return self._with(marks={**self.marks, mark.source: newest})

    def with_cursors(self, cursors: Cursors) -> ShardView:
        """Return the view with other cursors."""
        return self._with(cursors=cursors)

    def with_settings(self, settings: Settings) -> ShardView:
        """Return the view under other settings."""
        return self._with(settings=settings)

    def _with(self, **changed: Any) -> ShardView:
        rest = {name: getattr(self, name) for name in self.__slots__ if name != "points"}
        return ShardView(**rest | changed)

    def locate(self, wanted: IdRows) -> tuple[NDArray[np.int64], Places]:
        """Return (int64[m] position of the segment or -1, int64[m] offset or -1) of these ids."""
        owner = np.full(len(wanted), -1, np.int64)
        offset = np.full(len(wanted), -1, np.int64)
        for position, view in enumerate(self.segments):
            if view.live_count:
                found = view.find(wanted)
                if found.max(initial=-1) >= 0:
                    here = found >= 0
                    owner[here] = position
                    offset[here] = found[here]
        return owner, offset


def _names(config: EdgeConfig, births: Births) -> Names:
    return {name: VectorKey(name, births.get(name, 0)) for name in config.names()}
