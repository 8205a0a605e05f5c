"""Loops that run beside their owner, which may be opened in one task and closed in another.

Invariant: when `stop` returns, none of them runs any more, whatever cancels its caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import anyio

from edge.actors.threads import outlast

Loop = Callable[[], Coroutine[Any, Any, None]]


class Background:
    """See the module's invariant."""

    def __init__(self) -> None:
        self._stop = anyio.Event()
        self._ended = anyio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, *loops: Loop) -> None:
        """Run these until `stop`."""
        # anyio has no task that outlives the one that made it; the loop keeps weak references only
        self._task = asyncio.get_running_loop().create_task(self._host(loops), name="edge sync")

    async def stop(self) -> None:
        """Cancel them and wait for their end. Raises what one of them ended by, if by an error."""
        self._stop.set()
        if self._task is not None:
            await outlast(self._ended)
            await self._task

    async def _host(self, loops: tuple[Loop, ...]) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                for loop in loops:
                    tasks.start_soon(loop)
                await self._stop.wait()
                tasks.cancel_scope.cancel()
        finally:
            self._ended.set()
