"""Threads are waited for to the end, whoever cancels: anyio, asyncio, or the end of the loop."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterator

import anyio
import pytest

from edge.actors.threads import NICENESS, Threads, outlast
from tests.actors.made import PATIENCE, Gate, settled


@pytest.fixture
def threads() -> Iterator[Threads]:
    found = Threads("test", 1)
    yield found
    found.close()


async def test_result_and_error_come_back(threads: Threads) -> None:
    def divide() -> float:
        return 1 / 0

    assert await threads.run(lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        await threads.run(divide)


async def test_work_is_outlasted_under_repeated_cancellation(threads: Threads) -> None:
    gate = Gate()
    task = asyncio.create_task(threads.run(gate.pass_through))
    await gate.reached()
    for _ in range(3):
        task.cancel()
        await settled()
        assert not task.done()
    gate.open()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_work_is_outlasted_under_a_scope(threads: Threads) -> None:
    gate = Gate()
    ended = False

    def work() -> None:
        nonlocal ended
        gate.pass_through()
        ended = True

    async def open_later() -> None:
        await gate.reached()
        await settled()
        assert scope.cancel_called
        gate.open()

    opener = asyncio.create_task(open_later())
    with anyio.CancelScope() as scope:
        scope.cancel()
        await threads.run(work)
        assert ended
        await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    await opener


async def test_cancellation_may_hasten_the_end(threads: Threads) -> None:
    stop, started = threading.Event(), Gate()

    def work() -> bool:
        started.entered.set()
        return stop.wait(PATIENCE)

    task = asyncio.create_task(threads.run(work, stop.set))
    await started.reached()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stop.is_set()


async def test_native_cancellation_is_not_swallowed_by_a_scope_around_it() -> None:
    event = anyio.Event()

    async def wait() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await outlast(event)

    task = asyncio.create_task(wait())
    await settled()
    task.cancel()
    await settled()
    event.set()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_work_is_outlasted_at_the_end_of_the_loop() -> None:
    ended = []
    stop = threading.Event()
    threads = Threads("test", 1)

    def work() -> None:
        assert stop.wait(PATIENCE)
        ended.append("thread")

    async def waiting() -> None:
        try:
            await threads.run(work, stop.set)
        finally:
            ended.append("task")

    async def main() -> asyncio.Task[None]:
        task = asyncio.create_task(waiting())
        await settled()
        return task

    task = asyncio.run(main())
    assert ended == ["thread", "task"]
    assert task.cancelled()
    threads.join()


async def test_join_waits_for_what_goes_on(threads: Threads) -> None:
    gate = Gate()
    work = threads.begin(gate.pass_through)
    await gate.reached()
    joined = asyncio.create_task(asyncio.to_thread(threads.join))
    await settled()
    assert not joined.done()
    gate.open()
    async with asyncio.timeout(PATIENCE):
        await joined
        await outlast(work.ended)


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no niceness of their own")
async def test_yielding_threads_alone_are_nice_to_the_others(threads: Threads) -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    yielding = Threads("yielding", 1, yielding=True)
    usual = await threads.run(niceness)
    assert await yielding.run(niceness) == min(19, max(usual, NICENESS))
    assert await threads.run(niceness) == niceness() == usual
    yielding.join()
