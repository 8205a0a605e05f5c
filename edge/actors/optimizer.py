"""The optimizer: seals the tail when the log is long, and rebuilds segments when a plan says so.

Invariants
- It builds from views in a thread, in slices; the writer makes the swap.
- One rebuild at a time and one seal at a time. A seal does not wait for a rebuild: the log stays
  short while a large graph is being built.
- Stopped, it lets go of its threads at the next slice and leaves nothing that the manifest names.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
from anyio import CancelScope, CapacityLimiter, to_thread

from edge.actors.messages import AsksWriter
from edge.actors.watch import Watch
from edge.segment.builder import Built
from edge.store.optimization import Job, Plan
from edge.store.store import Store

PAUSE = 0.05
"""Seconds between two looks at a shard that changes all the time."""


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
        self._threads = CapacityLimiter(2)  # one builds, one seals
        self._stopping = False
        self._stopped = anyio.Event()
        self._rebuilds = 0
        self.status = "idle"

    async def run(self) -> None:
        """Look after the shard until stopped."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._repeat, self._seal_if_long)
            if self._background:
                tasks.start_soon(self._repeat, self._rebuild_all)

    def stop(self) -> None:
        """Leave what is being built; `run` and `optimize` return soon."""
        self._stopping = True
        self._stopped.set()
        self._watch.ring()

    async def optimize(self) -> bool:
        """Rebuild until no plan is left; return whether anything was rebuilt since the call."""
        before = self._rebuilds
        async with self._building:
            if await self._writer.call(lambda store: store.plan(durable=False)):
                await self._seal()
            while not self._stopping and await self._step():
                pass
        return self._rebuilds > before

    async def _repeat(self, act: Callable[[], Awaitable[None]]) -> None:
        while not self._stopping:
            bell = self._watch.bell
            await act()
            if self._stopping:
                return
            await bell.wait()
            with anyio.move_on_after(PAUSE):
                await self._stopped.wait()

    async def _seal_if_long(self) -> None:
        while self._store.wants_seal and not self._stopping:
            await self._seal()

    async def _rebuild_all(self) -> None:
        async with self._building:
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
        done = await self._carry_out(job, self._show)
        self._rebuilds += done
        self.status = "idle"
        return done

    async def _seal(self) -> None:
        async with self._sealing:
            job = await self._writer.call(Store.seal)
            if job is not None:
                await self._carry_out(job, _silent)

    async def _carry_out(self, job: Job, show: Callable[[Job, float], None]) -> bool:
        def pulse(done: float) -> None:
            if self._stopping:
                raise _Stopped
            show(job, done)

        def build() -> Built | None:
            return job.run(self._store.storage, pulse)

        try:
            with CancelScope(shield=True):  # the thread is never abandoned; `stop` ends it
                built = await to_thread.run_sync(build, limiter=self._threads)
        except _Stopped:
            return False
        await self._writer.call(lambda store: store.finish(job, built))
        return True

    def _show(self, job: Job, done: float) -> None:
        self.status = f"{job.reason} {done:.0%}"


def _silent(job: Job, done: float) -> None:
    """Report nothing."""


def _plan_durable(store: Store) -> Plan | None:
    return store.plan(durable=True)


def _plan_live(store: Store) -> Plan | None:
    return store.plan(durable=False)
