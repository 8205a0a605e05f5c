"""Threads of an actor's own, and waiting for them to the end.

Invariants
- What was begun in a thread is waited for: nobody goes on, and nothing is closed, while a thread
  still works on it.
- A cancellation that comes meanwhile is raised afterwards, anyio's and asyncio's own alike. (A
  shielded scope alone holds back neither `task.cancel()` nor the end of `asyncio.run`.)
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Generic, ParamSpec, TypeVar

import anyio
from anyio import CancelScope

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

NICENESS = 10
"""Of threads that yield: beside another thread they get about a ninth of a processor."""


async def outlast(event: anyio.Event, on_cancel: Callable[[], object] | None = None) -> None:
    """Wait until `event` is set, whatever cancels this task meanwhile; then let it be cancelled.

    `on_cancel` is called at the first cancellation, so that the end may come sooner.
    """
    cancelled: BaseException | None = None
    while not event.is_set():
        try:
            with CancelScope(shield=on_cancel is None or cancelled is not None):
                await event.wait()
        except asyncio.CancelledError as error:
            if cancelled is None and on_cancel is not None:
                on_cancel()
            cancelled = error
    if cancelled is not None:
        raise cancelled


def from_threads(act: Callable[Arguments, object]) -> Callable[Arguments, None]:
    """Return what has `act` called on this loop, soon and in order, from any thread."""
    loop = asyncio.get_running_loop()

    def call(*args: Arguments.args, **named: Arguments.kwargs) -> None:
        loop.call_soon_threadsafe(partial(act, *args, **named))

    return call


class Work(Generic[Result]):
    """Something that goes on in a thread."""

    def __init__(self, future: asyncio.Future[Result]) -> None:
        self._future = future
        self.ended = anyio.Event()
        future.add_done_callback(self._end)

    def _end(self, future: asyncio.Future[Result]) -> None:
        self.ended.set()

    @property
    def failure(self) -> BaseException | None:
        """What it raised; None where it did not. To be asked once it has ended."""
        return self._future.exception()

    def result(self) -> Result:
        """Return what it returned, or raise what it raised. To be asked once it has ended."""
        return self._future.result()


class Threads:
    """At most `count` threads, which start when they are needed.

    `yielding`: they take what the others leave of the processors, where the system can tell threads
    apart (Linux).
    """

    def __init__(self, name: str, count: int, *, yielding: bool = False) -> None:
        begin = _yield_to_others if yielding else None
        self._pool = ThreadPoolExecutor(count, f"edge {name}", begin)

    def begin(
        self, act: Callable[Arguments, Result], *args: Arguments.args, **named: Arguments.kwargs
    ) -> Work[Result]:
        """Start `act(*args)` in a thread. Whoever begins it awaits its end by `outlast`."""

        def run() -> Result:
            return act(*args, **named)

        return Work(asyncio.get_running_loop().run_in_executor(self._pool, run))

    async def run(
        self, act: Callable[[], Result], on_cancel: Callable[[], object] | None = None
    ) -> Result:
        """Return what `act()` returns in a thread; cancelled, call `on_cancel` and wait."""
        work = self.begin(act)
        try:
            await outlast(work.ended, on_cancel)
        finally:
            failure = work.failure  # looked at in any case: nobody else will ask for it
        if failure is not None:
            raise failure
        return work.result()

    def join(self) -> None:
        """Wait, in another thread, until nothing is being worked on; take no more."""
        self._pool.shutdown(wait=True)

    def close(self) -> None:
        """Let the threads end when their work is done; take no more."""
        self._pool.shutdown(wait=False)


def _yield_to_others() -> None:
    """Stand back behind the other threads of the machine, where the system knows threads."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
