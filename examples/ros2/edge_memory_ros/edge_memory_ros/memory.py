# Copyright 2026 The edgeshard contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""The memory: a shard, the bounded queue before it, and the counts of what became of everything.

Nothing here knows ROS. All methods belong to one event loop.

Invariants
- `offer` never waits: what the queue has no place for is dropped, and counted. Whatever was
  received is stored, refused, dropped, lost or in the queue.
- What was stored is as safe as `durability` says; `drain` and `close` make it safe against a power
  cut.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from edge import (
    CallerError,
    Distance,
    Durability,
    EdgeConfig,
    EdgeError,
    EdgeShard,
    EdgeVectorParams,
    PayloadSchemaType,
    Point,
    Record,
    ScoredPoint,
    ScrollRequest,
    UpdateOperation,
    ValidationError,
)

from .search import Wanted, tag_path
from .sighting import INDEXED

PAGE = 64
"""Points of a snapshot that are copied at a time: about 2 ms of work for the loop."""
MOST_POINTS = 1_000_000
"""The most that one query of the engine may ask for."""


@dataclass(frozen=True)
class Settings:
    """Where a memory is and what it is like; `queue` and `batch` in points."""

    path: Path
    dimension: int
    distance: Distance = Distance.Cosine
    durability: Durability = Durability.Interval
    indexed_tags: tuple[str, ...] = ()
    queue: int = 4096
    batch: int = 256

    @property
    def config(self) -> EdgeConfig:
        """The shard's config."""
        return EdgeConfig(
            vectors=EdgeVectorParams(self.dimension, self.distance), durability=self.durability
        )

    @property
    def indexes(self) -> dict[str, PayloadSchemaType]:
        """The kind of index of each payload field that has one."""
        tags = {tag_path(tag): PayloadSchemaType.Keyword for tag in self.indexed_tags}
        return INDEXED | tags


@dataclass
class Counts:
    """What became of the points since the memory was opened."""

    recovered: int = 0
    """stored when it was opened"""
    received: int = 0
    stored: int = 0
    refused: int = 0
    dropped: int = 0
    lost: int = 0
    newest_stamp: int | None = None
    """nanoseconds"""
    last_write: float | None = None
    """seconds, by the monotonic clock"""
    trouble: str = ""
    """why the last point was refused or lost"""

    def kept(self, points: Sequence[Point]) -> None:
        """Count points that are stored."""
        self.stored += len(points)
        self.last_write = monotonic()
        stamps = [point.payload.get("stamp") for point in points if point.payload]
        known = [stamp for stamp in (*stamps, self.newest_stamp) if stamp is not None]
        self.newest_stamp = max(known, default=None)


class Found(NamedTuple):
    """Hits, best first; `complete` unless time ran out before everything was looked at."""

    hits: list[ScoredPoint]
    complete: bool


class Copied(NamedTuple):
    """A snapshot: the operation whose state it holds, and how many points."""

    sequence: int
    points: int


@dataclass(frozen=True)
class State:
    """What a memory says of itself; counts as in `Counts`."""

    points: int
    indexed: int
    sequence: int
    durable_sequence: int
    disk_bytes: int
    log_bytes: int
    read_only: str
    optimizer: str
    queue_depth: int
    queue_capacity: int
    counts: Counts
    last_write_age: float | None
    """seconds; None: nothing was written yet"""


class Memory:
    """See the module. Raises edge.EdgeError throughout."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.counts = Counts()
        self._shard = EdgeShard(settings.path, settings.config)
        self._queue: asyncio.Queue[Point] = asyncio.Queue(settings.queue)
        self._taken = 0
        """points that have left the queue, and of which nothing has become yet"""
        self._storing: asyncio.Task[None] | None = None

    # -- life

    async def open(self) -> None:
        """Open or recover the shard, make sure of its indexes, and begin to empty the queue."""
        await asyncio.to_thread(self.settings.path.parent.mkdir, parents=True, exist_ok=True)
        await self._shard.open()
        try:
            await make_indexes(self._shard, self.settings.indexes)
            self.counts.recovered = await self._shard.count()
        except BaseException:
            await self._shard.close()
            raise
        self._storing = asyncio.create_task(self._store())

    async def drain(self) -> None:
        """Wait until the queue is empty, and make everything survive a power cut."""
        await self._emptied()
        await self._shard.flush()

    async def _emptied(self) -> None:
        """Wait until the queue is empty; raise what ended the storing, if it has ended."""
        assert self._storing is not None
        joining = asyncio.create_task(self._queue.join())
        try:
            await asyncio.wait({joining, self._storing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            joining.cancel()
        if self._storing.done():
            self._storing.result()

    async def close(self) -> None:
        """Store what waits, then close the shard. Idempotent."""
        if self._storing is None:
            return
        try:
            await self._emptied()
        finally:
            self._storing.cancel()
            self._storing = None
            await self._shard.close()

    # -- writing

    @property
    def waiting(self) -> int:
        """How many points are in the queue, or have left it and are being stored."""
        return self._queue.qsize() + self._taken

    def offer(self, points: Sequence[Point], refusals: Sequence[str] = ()) -> None:
        """Take points from a stream, or drop them; `refusals` say why others of it were refused."""
        counts = self.counts
        counts.received += len(points) + len(refusals)
        self._refuse(refusals)
        for at, point in enumerate(points):
            try:
                self._queue.put_nowait(point)
            except asyncio.QueueFull:
                counts.dropped += len(points) - at
                return

    async def insert(
        self, points: Sequence[Point], refusals: Sequence[str] = (), synced: bool = False
    ) -> int:
        """Store points, all or none of them; return the number of the operation.

        With `synced` the answer comes after the disk's.
        """
        self.counts.received += len(points) + len(refusals)
        self._refuse(refusals)
        try:
            return await self._upsert(points, Durability.Always if synced else None)
        except CallerError as error:
            self._refuse([str(error)] * len(points))
            raise
        except EdgeError as error:
            self._lose(len(points), error)
            raise

    async def _upsert(self, points: Sequence[Point], durability: Durability | None = None) -> int:
        sequence = await self._shard.update(UpdateOperation.upsert_points(points), durability)
        self.counts.kept(points)
        return sequence

    async def _store(self) -> None:
        """Store what is in the queue, for ever, in batches of whatever waits."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < self.settings.batch and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            self._taken = len(batch)
            try:
                await self._store_batch(batch)
            finally:
                for _ in batch:
                    self._queue.task_done()

    async def _store_batch(self, batch: Sequence[Point]) -> None:
        """Store a batch; where one of its points is wrong, each by itself."""
        try:
            await self._upsert(batch)
        except CallerError as error:
            if len(batch) > 1:
                for point in batch:
                    await self._store_batch([point])
                return
            self._refuse([str(error)])
        except EdgeError as error:
            self._lose(len(batch), error)
        self._taken -= len(batch)

    def _refuse(self, reasons: Sequence[str]) -> None:
        if reasons:
            self.counts.refused += len(reasons)
            self.counts.trouble = reasons[-1]

    def _lose(self, count: int, error: EdgeError) -> None:
        self.counts.lost += count
        self.counts.trouble = str(error)

    # -- reading

    async def search(self, wanted: Wanted, seconds: float) -> Found:
        """Look for at most `seconds`, and answer with the best that was found by then.

        A circle is looked for in its box, with twice as many points each time that too few of them
        lie in it. Raises DeadlineExceeded where there was no time to look at anything.
        """
        end = monotonic() + seconds
        limit = min(wanted.first_limit, MOST_POINTS)
        async with self._shard.read_view() as view:
            while True:
                hits = await view.query(wanted.request(limit, end - monotonic()))
                inside = [hit for hit in hits if wanted.covers(hit.payload or {})]
                complete = monotonic() < end
                seen_all = len(hits) < limit or limit == MOST_POINTS
                if len(inside) >= wanted.limit or seen_all or not complete:
                    return Found(inside[: wanted.limit], complete)
                limit = min(2 * limit, MOST_POINTS)

    async def state(self) -> State:
        """Say how the memory is."""
        info = await self._shard.info()
        return State(
            points=info.points_count,
            indexed=info.indexed_vectors_count,
            sequence=info.sequence,
            durable_sequence=info.durable_sequence,
            disk_bytes=info.disk_bytes,
            log_bytes=info.log_bytes,
            read_only=info.read_only or "",
            optimizer=info.optimizer,
            queue_depth=self.waiting,
            queue_capacity=self._queue.maxsize,
            counts=replace(self.counts),
            last_write_age=None if (last := self.counts.last_write) is None else monotonic() - last,
        )

    async def snapshot(self, folder: Path, told: Callable[[int, int], object]) -> Copied:
        """Copy all that is stored at this moment into a new memory, which appears whole or not.

        `told(done, total)` is called as it goes on. Cancelling takes away what was begun.
        """
        if await asyncio.to_thread(folder.exists):
            raise ValidationError(f"name: {folder} is there already")
        begun = folder.with_name(folder.name + ".begun")
        await asyncio.to_thread(_clear, begun)
        try:
            copied = await self._copy(begun, told)
            await asyncio.to_thread(_settle, begun, folder)
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, begun, ignore_errors=True)
            raise
        return copied

    async def _copy(self, folder: Path, told: Callable[[int, int], object]) -> Copied:
        async with (
            self._shard.read_view() as view,
            EdgeShard.create(folder, self.settings.config) as copy,
        ):
            await make_indexes(copy, self.settings.indexes)
            total, done, offset = await view.count(), 0, None
            while True:
                page = ScrollRequest(offset, PAGE, with_payload=True, with_vector=True)
                records, offset = await view.scroll(page)
                points = [_point(record) for record in records]
                await copy.update(UpdateOperation.upsert_points(points), Durability.Os)
                done += len(points)
                told(done, total)
                if offset is None:
                    return Copied(view.sequence, done)


async def make_indexes(shard: EdgeShard, wanted: dict[str, PayloadSchemaType]) -> None:
    """Create the field indexes that the shard has not, or has of another kind."""
    there = {path: index.data_type for path, index in (await shard.info()).payload_schema.items()}
    for path, kind in wanted.items():
        if there.get(path) != kind:
            await shard.update(UpdateOperation.create_field_index(path, kind))


def _point(record: Record) -> Point:
    assert record.vector is not None
    return Point(record.id, record.vector, record.payload)


def _clear(folder: Path) -> None:
    """Take away a folder and make sure of the one that it is to be in."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)


def _settle(begun: Path, folder: Path) -> None:
    """Give a finished folder its name, so that the name survives a power cut."""
    os.rename(begun, folder)
    handle = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
