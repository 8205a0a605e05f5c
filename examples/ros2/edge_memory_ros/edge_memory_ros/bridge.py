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

"""The one place where rclpy's executor and asyncio meet.

The event loop owns the main thread and everything that is asyncio's; the executor spins in a thread
of its own, and its callbacks run in its pool. rclpy's coroutines are not asyncio's, so neither ever
awaits the other.

Invariants
- A callback that needs an answer waits for it in its own thread (`Bridge.call`), with a timeout;
  one that does not, posts (`Bridge.post`).
- rclpy objects are used from the executor's threads only, once it spins.
- Signals are handled once, by the loop. Shutdown goes: executor (its callbacks end, and the loop
  still answers them), node (`Served.finish`, which closes what it serves), rclpy, loop.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import rclpy
from rclpy.executors import (
    Executor,
    ExternalShutdownException,
    MultiThreadedExecutor,
    SingleThreadedExecutor,
)
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

T = TypeVar("T")


class Bridge:
    """What callbacks, in threads of the executor, ask the loop by."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.stopping = threading.Event()
        """Set once the program has been told to end: long callbacks give up."""

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin a coroutine on the loop; the future may be waited for and cancelled."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, work: Coroutine[Any, Any, T], timeout: float) -> T:
        """Run a coroutine on the loop and wait for what it gives.

        Raises what it raises, and TimeoutError after `timeout` seconds; the coroutine is cancelled.
        """
        future = self.start(work)
        try:
            return future.result(timeout)
        finally:
            future.cancel()

    def post(self, function: Callable[..., object], *args: object) -> None:
        """Have the loop call a plain function, and do not wait."""
        self._loop.call_soon_threadsafe(function, *args)


class Served(Protocol):
    """A node that is served from a loop."""

    @property
    def node(self) -> Node:
        """The node itself."""

    @property
    def threads(self) -> int:
        """How many callbacks may run, or wait for the loop, at the same time: 1 for one by one."""

    def finish(self) -> None:
        """Close what is served. Called in a thread; no callback runs any more, the loop does."""


@dataclass(frozen=True)
class Alone:
    """A node that needs nothing of the loop, and whose callbacks run one by one.

    rclpy's own signal handlers would pull its context away in the midst of a callback.
    """

    node: Node
    threads: int = 1

    def finish(self) -> None:
        """Nothing is left to be closed."""


def serve(make: Callable[[Bridge], Served], args: list[str] | None = None) -> None:
    """Serve a node until SIGINT or SIGTERM; raise what it could not be made or served for."""
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    try:
        asyncio.run(_serve(make))
    finally:
        rclpy.try_shutdown()
        # rclpy leaves DDS when the collector finds the handles of the node; the engine has frozen
        # them, among all that lived when it was opened. Peers would miss this node only when its
        # lease runs out, 20 seconds from now, and send requests to it until then.
        gc.unfreeze()
        gc.collect()


async def _serve(make: Callable[[Bridge], Served]) -> None:
    told = _told_to_end()
    bridge = Bridge(asyncio.get_running_loop())
    served = make(bridge)
    try:
        await _spin_until(told, served, bridge)
        await asyncio.to_thread(served.finish)
    finally:
        served.node.destroy_node()


async def _spin_until(told: asyncio.Task[bool], served: Served, bridge: Bridge) -> None:
    """Spin the executor in a thread, until it is told to end or ends by itself."""
    executor = _executor(served.threads)
    executor.add_node(served.node)
    spinning = asyncio.create_task(asyncio.to_thread(_spin, executor, bridge.stopping))
    await asyncio.wait({spinning, told}, return_when=asyncio.FIRST_COMPLETED)
    bridge.stopping.set()
    executor.create_task(_nothing)
    told.cancel()
    await spinning


def _executor(threads: int) -> Executor:
    return SingleThreadedExecutor() if threads == 1 else MultiThreadedExecutor(threads)


def _nothing() -> None:
    """What an executor that waits for work is given to do, so that it looks up."""


def _spin(executor: Executor, stopping: threading.Event) -> None:
    """Spin, then wait for the callbacks that still run. A callback's exception ends it."""
    try:
        while not stopping.is_set():
            executor.spin_once()
    except ExternalShutdownException:
        pass
    finally:
        executor.shutdown()


def _told_to_end() -> asyncio.Task[bool]:
    """A task that ends with the first SIGINT or SIGTERM.

    A second SIGINT interrupts at once, for whoever sits at a terminal. A second SIGTERM does not:
    whatever supervises the process sends it on the way from SIGINT to SIGKILL.
    """
    loop = asyncio.get_running_loop()
    told = asyncio.Event()

    def tell() -> None:
        told.set()
        loop.remove_signal_handler(signal.SIGINT)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, tell)
    return asyncio.create_task(told.wait())
