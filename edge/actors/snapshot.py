"""The snapshot actor: writes what the shard is to an archive, and lets it become what one holds.

Invariants
- One snapshot at a time, in a thread that stands back behind the others; writes and queries go on.
- What is written is the shard as it was at one moment; what is taken in is switched to at once, in
  the writer's turn.
- Stopped, or cancelled, it leaves an archive that is being written at the next piece, and nothing
  of it stays. A switch that was begun is finished.
"""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import anyio

from edge.actors.messages import AsksWriter
from edge.actors.threads import Threads
from edge.actors.watch import Watch
from edge.archive import restore, writing
from edge.archive.manifests import MANIFESTS, manifest_format
from edge.archive.restore import Arrival
from edge.archive.writing import Snapshot
from edge.errors import ActorCrashed, EdgeError, ShardClosed
from edge.qdrant.export import export_shard
from edge.store.live_files import Held
from edge.store.store import Store

Result = TypeVar("Result")
Path = str | os.PathLike[str]


class _Stopped(Exception):
    """Raised inside a snapshot by its own pulse, to leave it."""


class SnapshotActor:
    """See the module's invariants."""

    name = "snapshot"

    def __init__(self, store: Store, watch: Watch, writer: AsksWriter) -> None:
        self._store = store
        self._watch = watch
        self._writer = writer
        self._working = anyio.Lock()
        self._threads = Threads("snapshot", 1, yielding=True)
        self._stopping = False
        self._stopped = anyio.Event()

    async def run(self) -> None:
        """Wait until stopped, and until what was begun has ended."""
        await self._stopped.wait()
        async with self._working:
            self._threads.close()

    def stop(self) -> None:
        """Let `run` return soon."""
        self._stopping = True
        self._stopped.set()

    async def create(
        self, path: Path, base: Mapping[str, Any] | None, key: bytes | None
    ) -> Snapshot:
        """Write the shard as it is now to a new archive; with `base` only what that one lacks."""
        folder, name = restore.folder_of(path)
        async with self._turn(), self._held() as held:
            return await self._in_thread(
                partial(writing.create, self._store.storage, held, folder, name, base, key)
            )

    async def manifest(self, form: str) -> dict[str, Any]:
        """Return what the shard has, for whoever makes a partial snapshot for it."""
        make = MANIFESTS[manifest_format(form)]
        async with self._turn(), self._held() as held:
            return await self._in_thread(lambda pulse: make(self._store.storage, held))

    async def export(self, path: Path, since: Mapping[str, Any] | None) -> dict[str, Any]:
        """Write the shard as it is now as the files of Qdrant."""
        async with self._turn():
            view, shard = self._watch.view, self._store.shard
            return await self._in_thread(lambda pulse: export_shard(view, shard, path, since))

    async def update(self, path: Path, key: bytes | None) -> int:
        """Let the shard become what a snapshot holds; return its last operation."""
        async with self._turn(), self._held() as held, self._brought_in(path, held, key) as arrival:
            ready = await self._made_ready(arrival)
            await self._writer.finish(lambda store: store.become(ready))
            return ready.sequence

    async def _made_ready(self, arrival: Arrival) -> Store:
        number = await self._writer.call(
            lambda store: store.numbers(arrival.numbers, arrival.above)
        )
        local = self._store.config
        ready: list[Store] = []
        try:
            await self._in_thread(lambda pulse: ready.append(arrival.ready(number, local, pulse)))
        except anyio.get_cancelled_exc_class():
            for one in ready:
                await self._writer.finish(partial(Store.refuse, other=one))
            raise
        return ready[0]

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        async with self._working:
            if self._stopping:
                raise ShardClosed("the shard is closed")
            try:
                yield
            except (EdgeError, anyio.get_cancelled_exc_class()):
                raise
            except _Stopped:
                raise ShardClosed("the shard was closed before the snapshot was made") from None
            except Exception as crash:
                raise ActorCrashed(f"the snapshot failed: {crash!r}", self.name) from crash

    @asynccontextmanager
    async def _held(self) -> AsyncIterator[Held]:
        held: list[Held] = []
        try:
            await self._writer.finish(lambda store: held.append(store.hold()))
            yield held[0]
        finally:
            for one in held:
                with suppress(ShardClosed):
                    await self._writer.finish(partial(Store.let_go, held=one))

    @asynccontextmanager
    async def _brought_in(
        self, path: Path, held: Held, key: bytes | None
    ) -> AsyncIterator[Arrival]:
        manager = restore.brought_in(self._store.storage, path, held, key)
        entered: list[Arrival] = []
        try:
            await self._in_thread(lambda pulse: entered.append(manager.__enter__()))
            yield entered[0]
        finally:
            if entered:
                await self._in_thread(lambda pulse: manager.__exit__(None, None, None))

    async def _in_thread(self, act: Callable[[Callable[[], None]], Result]) -> Result:
        """Return `act(pulse)`, whose pulse raises when it is to stop."""
        given_up = threading.Event()

        def pulse() -> None:
            if self._stopping or given_up.is_set():
                raise _Stopped

        return await self._threads.run(lambda: act(pulse), given_up.set)
