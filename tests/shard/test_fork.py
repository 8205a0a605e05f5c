"""A shard that went through a fork refuses in the child, and does the parent no harm there."""

from __future__ import annotations

import os
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from edge import blocking
from edge.errors import ShardClosed, ShardLocked
from edge.model.query import Query
from edge.model.request import QueryRequest, ScrollRequest, SearchRequest
from edge.shard import EdgeShard
from tests.actors.made import PATIENCE, block, config, upsert, vector

NEAREST = Query.Nearest(vector(1))


def in_child(act: Callable[[], None]) -> None:
    """Do `act` in a child made by fork, and fail here if it fails there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads: the point
        child = os.fork()
    if child == 0:
        status = 1
        try:
            watchdog = threading.Timer(PATIENCE, os._exit, (2,))
            watchdog.daemon = True
            watchdog.start()
            act()
            status = 0
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def calls(shard: Any) -> list[Callable[[], Any]]:
    return [
        lambda: shard.update(upsert([2])),
        lambda: shard.upsert_arrays([2], block(1)),
        lambda: shard.flush(),
        lambda: shard.optimize(),
        lambda: shard.query(QueryRequest(limit=1, query=NEAREST)),
        lambda: shard.query_batch([QueryRequest(limit=1)]),
        lambda: shard.search(SearchRequest(NEAREST, 1)),
        lambda: shard.scroll(ScrollRequest()),
        lambda: shard.count(),
        lambda: shard.retrieve([1]),
        lambda: shard.info(),
    ]


def outcome_of(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that never waits; there is no loop in the child."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    finally:
        coroutine.close()
    raise AssertionError("it waits")


def test_blocking_shard(tmp_path: Path) -> None:
    path = tmp_path / "shard"
    with blocking.EdgeShard(path, config(sync_interval_ms=5)) as shard:
        shard.update(upsert([1]))

        def child() -> None:
            for call in calls(shard):
                with pytest.raises(ShardClosed, match="fork"):
                    call()
            with pytest.raises(ShardLocked):
                blocking.EdgeShard(path)
            shard.close()

        in_child(child)
        shard.update(upsert([2]))
        assert shard.count() == 2
    with blocking.EdgeShard(path) as shard:
        assert shard.count() == 2


def test_lock_that_another_thread_held_at_the_fork(tmp_path: Path) -> None:
    with blocking.EdgeShard(tmp_path / "shard", config()) as shard:
        held, done = threading.Event(), threading.Event()

        def hold() -> None:
            with shard._lock:
                held.set()
                done.wait(PATIENCE)

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait(PATIENCE)

        def child() -> None:
            for call in calls(shard):
                with pytest.raises(ShardClosed, match="fork"):
                    call()
            shard.close()

        try:
            in_child(child)
        finally:
            done.set()
            thread.join()


async def test_async_shard(tmp_path: Path) -> None:
    path = tmp_path / "shard"
    async with EdgeShard(path, config()) as shard:
        await shard.update(upsert([1]))

        def child() -> None:
            for call in calls(shard):
                with pytest.raises(ShardClosed, match="fork"):
                    outcome_of(call())
            with pytest.raises(ShardClosed, match="fork"):
                outcome_of(shard.open())
            assert outcome_of(shard.close()) is None

        in_child(child)
        await shard.update(upsert([2]))
        assert await shard.count() == 2
    async with EdgeShard.load(path) as shard:
        assert await shard.count() == 2


def test_child_that_lives_on_keeps_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "shard"
    shard = blocking.EdgeShard(path, config())
    shard.update(upsert([1]))
    wait, go = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(go)
        os.read(wait, 1)
        os._exit(0)
    try:
        shard.close()
        with blocking.EdgeShard(path) as again:
            assert again.count() == 1
    finally:
        os.close(go)
        os.close(wait)
        os.waitpid(child, 0)


def test_child_opens_what_the_parent_has_closed(tmp_path: Path) -> None:
    path = tmp_path / "shard"
    shard = blocking.EdgeShard(path, config())
    shard.update(upsert([1]))
    shard.close()

    def child() -> None:
        with blocking.EdgeShard(path) as own:
            own.update(upsert([2]))

    in_child(child)
    with blocking.EdgeShard(path) as again:
        assert again.count() == 2
