"""Starts the actors, restarts what falls, and stops them in reverse order.

Invariants
- The actors live in a task of their own, so a shard may be opened in one task and closed in
  another; whoever opens or closes it may be cancelled without harm to them. When that task itself
  is cancelled, as at the end of `asyncio.run`, it stops them in the same way.
- An actor that fails is restarted after a pause; after the third time in a row it stays off. The
  writer is never off: a failure makes it refuse writes, and what was acknowledged still serves.
- Stopped in the order optimizer, snapshot, query, writer; then, when nothing is being built, the
  store is closed. Whoever asks an actor that has ended is refused, and never waits for ever.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio
from anyio import CancelScope

from edge.actors.feed import Feed
from edge.actors.optimizer import Optimizer
from edge.actors.query import QueryActor
from edge.actors.snapshot import SnapshotActor
from edge.actors.threads import Threads, outlast
from edge.actors.watch import Watch
from edge.actors.writer import Writer
from edge.errors import ActorCrashed, EdgeError
from edge.store.store import Store

log = logging.getLogger("edge")

PAUSES = (0.1, 1.0, 5.0)
"""Seconds before the first, second and third restart."""

FORGIVEN_AFTER = 600.0
"""Seconds of good work after which a fall counts as the first again."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is kept running under a name: how it runs, is asked to stop, and leaves for good."""

    name: str
    run: Callable[[], Awaitable[None]]
    stop: Callable[[], None]
    leave: Callable[[], None] | None = None
    ended: anyio.Event = field(default_factory=anyio.Event)


class Supervisor:
    """See the module's invariants. `thread` is the one in which the store was opened."""

    def __init__(self, store: Store, thread: Threads, places: int, waiting: int) -> None:
        self.store = store
        self._thread = thread
        self.watch = Watch(store.view)
        self.feed = Feed()
        self.writer = Writer(store, self.watch, self.feed, thread, waiting)
        background = store.settings.background_optimizer
        self.optimizer = Optimizer(store, self.watch, self.writer, background)
        self.snapshot = SnapshotActor(store, self.watch, self.writer)
        self.query = QueryActor(self.watch, places, waiting)
        self.failures: dict[str, str] = {}
        optimizer, snapshot, query, writer = self.optimizer, self.snapshot, self.query, self.writer
        self._kept = [
            _Kept(optimizer.name, optimizer.run, optimizer.stop),
            _Kept("sealer", optimizer.keep_log_short, optimizer.stop),
            _Kept(snapshot.name, snapshot.run, snapshot.stop),
            _Kept(query.name, query.run, query.close, query.leave),
            _Kept(writer.name, writer.run, writer.close, writer.leave),
        ]
        self._stop = anyio.Event()
        self._ended = anyio.Event()
        self._fault: EdgeError | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the actors in a task of their own."""
        # anyio has no task that outlives the one that made it; the loop keeps weak references only
        self._task = asyncio.get_running_loop().create_task(self._host(), name="edge supervisor")

    async def stop(self) -> None:
        """Let the actors finish, close the store, and raise what closing it raised.

        Cancelled, it waits for the end nevertheless.
        """
        self._stop.set()
        await outlast(self._ended)
        if self._fault is not None:
            raise self._fault

    async def _host(self) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                for kept in self._kept:
                    tasks.start_soon(self._keep, kept)
                try:
                    await self._stop.wait()
                finally:
                    with CancelScope(shield=True):
                        await self._stop_all()
        finally:
            await self._close()

    async def _stop_all(self) -> None:
        for kept in self._kept:
            kept.stop()
            await kept.ended.wait()

    async def _close(self) -> None:
        self.feed.end()
        self.watch.close()
        try:
            await self._thread.run(self._close_store)
        except EdgeError as fault:
            self._fault = fault
        except Exception as crash:
            self._fault = ActorCrashed(f"closing the shard failed: {crash!r}", "supervisor")
        finally:
            self._thread.close()
            self._ended.set()

    def _close_store(self) -> None:
        self.optimizer.join()
        self.store.close()

    async def _keep(self, kept: _Kept) -> None:
        try:
            await self._run_again_and_again(kept)
        finally:
            if kept.leave is not None:
                kept.leave()
            kept.ended.set()

    async def _run_again_and_again(self, kept: _Kept) -> None:
        falls = 0
        never_off = kept.name == self.writer.name
        while True:
            began = anyio.current_time()
            try:
                return await kept.run()
            except Exception as crash:
                falls = 1 if anyio.current_time() - began >= FORGIVEN_AFTER else falls + 1
                is_off = falls > len(PAUSES) and not never_off
                self._note(kept.name, crash, is_off)
            if never_off:
                continue
            if is_off or self._stop.is_set():
                return
            with anyio.move_on_after(PAUSES[falls - 1]):
                await self._stop.wait()

    def _note(self, name: str, crash: Exception, is_off: bool) -> None:
        first: BaseException = crash
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        state = "is off" if is_off else "failed"
        self.failures[name] = f"{state}: {first!r}"
        log.error("the %s %s: %r", name, state, first)
