"""The optimizer: seals the tail when the log is long, and rebuilds segments when a plan says so.

Invariants
- It builds from views in a thread, in slices; the writer makes the swap.
- One rebuild at a time and one seal at a time. A seal does not wait for a rebuild, and does not
  end with one that fails: the log stays short in any case.
- A full disk is no failure of the actor: what found no space is tried again when there may be some.
- Stopped, or cancelled while it builds, it leaves the build at the next slice, and nothing that
  the manifest names; a swap that was begun is finished.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable

import anyio

from edge.actors.messages import AsksWriter
from edge.actors.threads import Threads
from edge.actors.watch import Watch
from edge.errors import ActorCrashed, EdgeError, ShardClosed, StorageFull
from edge.segment.builder import Built
from edge.store.optimization import Job, Plan
from edge.store.store import Store

PAUSE = 0.05
"""Seconds between two looks at a shard that changes all the time."""

PAUSE_WHEN_FULL = 5.0
"""Seconds between two attempts at what found no space on the disk."""


class _Stopped(Exception):
    """Raised inside a build by its own pulse, to leave it."""


class Optimizer:
    """See the module's invariants. `background` False: it works only when asked."""

    name = "optimizer"

    def __init__(self, store: Store, watch: Watch, writer: AsksWriter, background: bool) -> None:
        self._store = store
        self._watch = watch
        self._writer = writer
        self._background = background
        self._building = anyio.Lock()
        self._sealing = anyio.Lock()
        self._builder = Threads("optimizer", 1, yielding=True)
        self._sealer = Threads("seal", 1)
        self._stopping = False
        self._stopped = anyio.Event()
        self._rebuilds = 0
        self.status = "idle"

    async def run(self) -> None:
        """Rebuild in the background until stopped."""
        if self._background:
            await self._repeat(self._rebuild_all)

    async def keep_log_short(self) -> None:
        """Seal whenever the log is long, until stopped."""
        await self._repeat(self._seal_if_long)

    def stop(self) -> None:
        """Leave what is being built; `run` and `optimize` return soon."""
        self._stopping = True
        self._stopped.set()
        self._watch.ring()

    def join(self) -> None:
        """Wait, in another thread, until nothing is being built. To be called after `stop`."""
        self._builder.join()
        self._sealer.join()

    async def optimize(self) -> bool:
        """Rebuild until no plan is left; return whether anything was rebuilt since the call.

        Raises ShardReadOnly, a StorageFault, or ShardClosed when the shard is closed meanwhile.
        """
        before = self._rebuilds
        try:
            await self._optimize()
        except EdgeError:
            raise
        except Exception as crash:
            raise ActorCrashed(f"the optimizer failed: {crash!r}", self.name) from crash
        if self._stopping:
            raise ShardClosed("the shard was closed before it was optimized")
        return self._rebuilds > before

    async def _optimize(self) -> None:
        async with self._building:
            if await self._writer.call(_plan_live):
                await self._seal()
            await self._rebuild_what_is_planned()

    async def _repeat(self, act: Callable[[], Awaitable[None]]) -> None:
        while not self._stopping:
            bell = self._watch.bell
            pause = PAUSE
            try:
                await act()
            except StorageFull as full:
                pause = PAUSE_WHEN_FULL
                self.status = f"waits for space: {full}"
            if self._stopping:
                return
            await bell.wait()
            with anyio.move_on_after(pause):
                await self._stopped.wait()
            if pause is PAUSE_WHEN_FULL:
                self.status = "idle"

    async def _seal_if_long(self) -> None:
        while self._store.wants_seal and not self._stopping:
            await self._seal()

    async def _rebuild_all(self) -> None:
        async with self._building:
            if self._store.read_only is None:
                await self._rebuild_what_is_planned()

    async def _rebuild_what_is_planned(self) -> None:
        while not self._stopping and await self._step():
            pass

    async def _step(self) -> bool:
        """Do the next thing worth doing; return whether there was one."""
        plan = await self._writer.call(_plan_durable)
        if plan is None:
            if not await self._writer.call(_plan_live):
                return False
            await self._seal()
            plan = await self._writer.call(_plan_durable)
        if plan is None:
            return False
        return await self._rebuild(plan)

    async def _rebuild(self, plan: Plan) -> bool:
        job = await self._writer.call(lambda store: store.start(plan))
        try:
            done = await self._carry_out(job, self._builder, self._show)
        finally:
            self.status = "idle"
        self._rebuilds += done
        return done

    async def _seal(self) -> None:
        async with self._sealing:
            job = await self._writer.call(Store.seal)
            if job is not None:
                await self._carry_out(job, self._sealer, _silent)

    async def _carry_out(
        self, job: Job, threads: Threads, show: Callable[[Job, float], None]
    ) -> bool:
        given_up = threading.Event()

        def pulse(done: float) -> None:
            if self._stopping or given_up.is_set():
                raise _Stopped
            show(job, done)

        def build() -> Built | None:
            return job.run(self._store.storage, pulse)

        if self._stopping:
            return False
        try:
            built = await threads.run(build, given_up.set)
        except _Stopped:
            return False
        await self._writer.finish(lambda store: store.finish(job, built))
        return True

    def _show(self, job: Job, done: float) -> None:
        self.status = f"{job.reason} {done:.0%}"


def _silent(job: Job, done: float) -> None:
    """Report nothing."""


def _plan_durable(store: Store) -> Plan | None:
    return store.plan(durable=True)


def _plan_live(store: Store) -> Plan | None:
    return store.plan(durable=False)
