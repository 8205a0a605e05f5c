"""The outbox: what is to go elsewhere, in order, from a place that every crash leaves exact.

Invariants
- What was not confirmed is given again, by whatever process opens the outbox next: whoever carries
  it away must be able to carry it twice. It always can, since every operation names its points.
- At first all points as they are, in the order of ids, then every operation since. A point that
  changes meanwhile is given again by the log.
- Only what survives a power cut is given.
- The log is read in threads of nobody's; the store is asked in the writer's turn.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import anyio
from anyio import to_thread
from msgspec.structs import replace

from edge.actors.watch import Watch
from edge.disk.log_reader import LogReader
from edge.errors import CorruptData, OutboxLost, ShardClosed, StorageFault
from edge.model import codec
from edge.model.check import (
    CheckedNothing,
    CheckedOperation,
    CheckedSetConfig,
    CheckedSetCursor,
)
from edge.model.config import EdgeConfig
from edge.model.cursor import Cursor, Stage
from edge.model.mark import HERE
from edge.segment.id_tracker import IdRows
from edge.segment.view import ShardView
from edge.store.points import bytes_a_point, ids_after, points_of, schema_of
from edge.store.store import Store

Result = TypeVar("Result")

MOST_POINTS: Final = 10_000
"""Points in one batch of the view."""

MOST_SILENT_BYTES: Final = 1 << 20
"""How much of the log that is of no interest elsewhere is passed over before the cursor moves."""

OWN: Final = (CheckedNothing, CheckedSetConfig, CheckedSetCursor)
"""Operations that are the shard's own business."""

MOST_SAMPLES: Final = 4096


class Entry(NamedTuple):
    """One operation, and its sequence number (of points of the view: that of the view)."""

    sequence: int
    operation: CheckedOperation


class Batch(NamedTuple):
    """Operations in order, about so many bytes; `cursor` is the outbox's place once they are
    carried away."""

    entries: tuple[Entry, ...]
    nbytes: int
    cursor: Cursor


class Lag(NamedTuple):
    """What is not confirmed yet.

    `points` of the first view are left, `operations` of the log (the shard's own business among
    them), which lie in `nbytes` of log files; the oldest is at least `seconds` old.
    """

    points: int
    operations: int
    nbytes: int
    seconds: float


class AsksWriter(Protocol):
    """The writer, as an outbox knows it."""

    async def call(self, act: Callable[[Store], Result]) -> Result:
        """Run `act(store)` in the writer's turn."""
        ...


class Outbox:
    """See the module's invariants. Made by `EdgeShard.outbox`; for one consumer at a time."""

    def __init__(self, name: str, store: Store, watch: Watch, writer: AsksWriter) -> None:
        self.name = name
        self._store = store
        self._watch = watch
        self._writer = writer
        self._seen: deque[tuple[int, float]] = deque(maxlen=MOST_SAMPLES)
        self._ids: IdRows | None = None
        self._reader: LogReader | None = None
        self._next: Cursor = Cursor(name, 0)
        self._done = 0
        self._passed = 0
        self._moved = anyio.Event()

    async def open(self, most_bytes: int | None) -> None:
        """Go on from the cursor; where there is none, or another `most_bytes`, put it there."""
        name = self.name

        def begin(store: Store) -> Cursor:
            known = store.view.cursors.get(name)
            wanted = known or Cursor(name, store.sequence)
            wanted = replace(wanted, most_bytes=most_bytes)
            store.set_cursor(name, wanted)
            return wanted

        self._start(await self._writer.call(begin))

    async def begin_anew(self) -> None:
        """Begin with all points as they are now, whatever was handed over before."""

        def begin(store: Store) -> Cursor:
            limit = self._known(store.view).most_bytes
            fresh = Cursor(self.name, store.sequence, most_bytes=limit)
            store.set_cursor(self.name, fresh)
            return fresh

        self._start(await self._writer.call(begin))

    def rewind(self) -> None:
        """Give again what was not confirmed."""
        self._start(self.cursor)

    def _start(self, cursor: Cursor) -> None:
        self._next = cursor
        self._ids = None
        self._reader = None
        self._confirm_up_to(cursor.sequence)

    @property
    def cursor(self) -> Cursor:
        """How far it was confirmed. Raises OutboxLost where the shard does not know it (any more),
        or has let go what comes next."""
        cursor = self._known(self._watch.view)
        if self._store.is_lost(cursor):
            raise self._lost()
        return cursor

    def _known(self, view: ShardView) -> Cursor:
        cursor = view.cursors.get(self.name)
        if cursor is None:
            raise OutboxLost(f"there is no outbox {self.name!r} any more")
        return cursor

    def _lost(self) -> OutboxLost:
        return OutboxLost(
            f"the outbox {self.name!r} was let go beyond its limit, or the shard was replaced: "
            "it has to begin anew"
        )

    # -- giving

    async def next(self, most_bytes: int = 1 << 20) -> Batch:
        """Return what comes after what this returned last, once there is something.

        About `most_bytes` of it, one operation at least. Raises OutboxLost, ShardReadOnly, a
        StorageFault or CorruptData; ShardClosed once the shard is closed.
        """
        while True:
            bell = self._watch.bell
            if self._watch.closed:
                raise ShardClosed("the shard is closed")
            self.notice()
            _ = self.cursor
            batch = await self._read(most_bytes)
            if batch is not None and batch.entries:
                return batch
            if batch is not None:  # of no interest elsewhere
                await self.confirm(batch)
            elif self._watch.view.sequence <= self._next.sequence:
                await bell.wait()

    async def _read(self, most_bytes: int) -> Batch | None:
        """Return what comes next; None where there is nothing, or nothing of interest."""
        if self._next.stage is Stage.View:
            return await self._read_view(most_bytes)
        if self._watch.view.sequence <= self._next.sequence:
            return None
        try:
            return await self._read_log(most_bytes)
        except BaseException as error:
            self._reader = None  # what it gave is not lost
            if isinstance(error, CorruptData | StorageFault) and self._is_lost():
                raise self._lost() from None
            raise

    def _is_lost(self) -> bool:
        return self._store.is_lost(self._known(self._watch.view))

    async def _read_view(self, most_bytes: int) -> Batch:
        view, after = self._watch.view, self._next.after
        ids = self._ids
        if ids is None:
            ids = self._ids = await to_thread.run_sync(ids_after, view, after)

        def page() -> tuple[list[CheckedOperation], IdRows]:
            count = min(MOST_POINTS, max(1, most_bytes // bytes_a_point(view)))
            upsert = points_of(view, ids[:count])
            made = schema_of(view) if after is None else []
            return [*made, *([upsert] if len(upsert.batch) else [])], ids[:count]

        operations, given = await to_thread.run_sync(page)
        self._ids = ids[len(given) :]
        if len(self._ids):
            kind, high, low = given[-1].tolist()
            self._next = replace(self._next, after=(kind, high, low))
        else:
            self._next = replace(self._next, stage=Stage.Log, after=None)
        entries = tuple(Entry(view.sequence, operation) for operation in operations)
        return Batch(entries, len(given) * bytes_a_point(view), self._next)

    async def _read_log(self, most_bytes: int) -> Batch | None:
        first, known = self._next.sequence + 1, self._reader
        reader = self._reader = await self._writer.call(lambda store: store.read_log(known, first))
        entries, passed, nbytes = await to_thread.run_sync(_take, reader, most_bytes)
        self._passed += passed
        if reader.next == first:
            return None
        idle = self._done == self._next.sequence
        self._next = replace(self._next, sequence=reader.next - 1)
        if entries or self._passed > MOST_SILENT_BYTES:
            self._passed = 0
            return Batch(entries, nbytes, self._next)
        if idle:
            self._confirm_up_to(self._next.sequence)
        return None

    # -- confirming

    async def confirm(self, batch: Batch) -> None:
        """Let go of the batch, and of what came before it: it is where it was to go.

        Raises OutboxLost where the cursor is not what it was any more, ShardReadOnly, or a Fault.
        """

        def move(store: Store) -> int:
            if store.is_lost(self._known(store.view)):
                raise self._lost()
            return store.set_cursor(self.name, batch.cursor)

        own = await self._writer.call(move)
        sequence = batch.cursor.sequence
        if own == sequence + 1:  # nothing came in between
            if self._next.sequence == sequence:
                self._next = replace(self._next, sequence=own)
            sequence = own
        self._confirm_up_to(sequence)

    def _confirm_up_to(self, sequence: int) -> None:
        self._done = sequence
        self._moved.set()
        self._moved = anyio.Event()

    # -- looking

    @property
    def confirmed(self) -> int:
        """Every operation up to this one is where it was to go, or is no one else's business."""
        return self._done if self._known(self._watch.view).stage is Stage.Log else 0

    @property
    def config(self) -> EdgeConfig:
        """The shard's config as it is now."""
        return self._watch.view.config

    @property
    def newest(self) -> int:
        """The newest operation of the shard."""
        return self._watch.view.sequence

    async def reached(self, sequence: int) -> None:
        """Wait until every operation up to this one is confirmed, by whoever takes what is given.

        Raises OutboxLost where there is no such outbox any more.
        """
        while self.confirmed < sequence:
            await self._moved.wait()

    def lag(self) -> Lag:
        """Return what is not confirmed yet."""
        self.notice()
        view = self._watch.view
        cursor = self._known(view)
        points = 0
        if cursor.stage is not Stage.Log:
            points = view.points if self._ids is None else len(self._ids)
        behind = view.sequence - self._done
        if not points and not behind:
            return Lag(0, 0, 0, 0.0)
        return Lag(points, behind, self._store.unread_bytes(cursor), self._age())

    def notice(self) -> None:
        """Remember when operations were there: nothing else knows their age, so that `lag` is the
        truer the more often it is asked for this."""
        sequence = self._watch.view.sequence
        if not self._seen or self._seen[-1][0] < sequence:
            self._seen.append((sequence, monotonic()))

    def _age(self) -> float:
        at = bisect_right(self._seen, self._done, key=lambda seen: seen[0])
        return monotonic() - self._seen[at][1] if at < len(self._seen) else 0.0


def _take(reader: LogReader, most_bytes: int) -> tuple[tuple[Entry, ...], int, int]:
    """Return (operations of interest elsewhere, bytes of others, bytes of all)."""
    entries: list[Entry] = []
    passed = total = 0
    for record in reader:
        total += len(record.body)
        operation: Any = codec.decode(record.body)
        mark = codec.mark_of(record.body)
        if isinstance(operation, OWN) or (mark is not None and mark.source == HERE):
            passed += len(record.body)
        else:
            entries.append(Entry(record.sequence, operation))
        if total >= most_bytes:
            break
    return tuple(entries), passed, total
