"""Starts the actors, restarts what falls, and stops them in reverse order.

Invariants
- The actors live in a task of their own, so a shard may be opened in one task and closed in
  another; whoever opens or closes it may be cancelled without harm to them.
- An actor that fails is restarted after a pause; after the third time it stays off. The writer is
  never off: a failure makes it refuse writes, and what was acknowledged still serves.
- Stopped in the order optimizer, snapshot, query, writer; then the store is closed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import anyio
from anyio import CancelScope, to_thread

from edge.actors.optimizer import Optimizer
from edge.actors.query import QueryActor
from edge.actors.snapshot import Snapshot
from edge.actors.watch import Watch
from edge.actors.writer import Writer
from edge.errors import EdgeError
from edge.store.store import Store

log = logging.getLogger("edge")

PAUSES = (0.1, 1.0, 5.0)
"""Seconds before the first, second and third restart."""


class Actor(Protocol):
    """What the supervisor knows of an actor."""

    name: str

    async def run(self) -> None:
        """Work until stopped."""
        ...


@dataclass(frozen=True, slots=True)
class _Kept:
    actor: Actor
    stop: Callable[[], None]
    ended: anyio.Event


class Supervisor:
    """See the module's invariants."""

    def __init__(self, store: Store, places: int, waiting: int) -> None:
        self.store = store
        self.watch = Watch(store.view)
        self.writer = Writer(store, self.watch, waiting)
        background = store.settings.background_optimizer
        self.optimizer = Optimizer(store, self.watch, self.writer, background)
        self.snapshot = Snapshot()
        self.query = QueryActor(self.watch, places, waiting)
        self.failures: dict[str, str] = {}
        self._kept = [
            _Kept(self.optimizer, self.optimizer.stop, anyio.Event()),
            _Kept(self.snapshot, self.snapshot.stop, anyio.Event()),
            _Kept(self.query, self.query.close, anyio.Event()),
            _Kept(self.writer, self.writer.close, anyio.Event()),
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
        """Let the actors finish, close the store, and raise what closing it raised."""
        self._stop.set()
        await self._ended.wait()
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
            with CancelScope(shield=True):
                await self._close()

    async def _stop_all(self) -> None:
        for kept in self._kept:
            kept.stop()
            await kept.ended.wait()

    async def _close(self) -> None:
        try:
            await to_thread.run_sync(self.store.close)
        except EdgeError as fault:
            self._fault = fault
        finally:
            self._ended.set()

    async def _keep(self, kept: _Kept) -> None:
        try:
            await self._run_again_and_again(kept.actor)
        finally:
            kept.ended.set()

    async def _run_again_and_again(self, actor: Actor) -> None:
        falls = 0
        while True:
            try:
                return await actor.run()
            except Exception as crash:
                falls += 1
                self._note(actor, crash)
                if falls > len(PAUSES) and actor is not self.writer:
                    return
            if actor is not self.writer and not self._stop.is_set():
                with anyio.move_on_after(PAUSES[falls - 1]):
                    await self._stop.wait()

    def _note(self, actor: Actor, crash: Exception) -> None:
        first: BaseException = crash
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        self.failures[actor.name] = repr(first)
        log.error("the %s failed: %r", actor.name, first)
