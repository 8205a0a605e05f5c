"""One owner at a time: other openers, forked children, owners that died; and who may read."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import edge
from edge import CountRequest, Durability, EdgeError, ShardClosed, ShardLocked, blocking
from edge.store.store import Store
from tests.crash.history import History, config, operation, read

# Python says that a fork beside threads may hang a child; that ours does not is what is tested.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

SECONDS = 30


def written(shard: blocking.EdgeShard, history: History, numbers: range) -> None:
    for number in numbers:
        assert shard.update(operation(number)) == history.carry_out(number)


def in_child(act: Callable[[], Any]) -> str:
    """What `act` does in a forked child: the name of its error, or "done"."""
    ends = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(SECONDS)  # a child that waits for ever fails the test, not the run
            act()
            outcome = "done"
        except BaseException as error:
            outcome = type(error).__name__
        os.write(ends[1], outcome.encode())
        os._exit(0)
    os.close(ends[1])
    with os.fdopen(ends[0], "rb") as pipe:
        outcome = pipe.read().decode()
    os.waitpid(pid, 0)
    return outcome


@contextmanager
def held_by_a_child(path: Path) -> Iterator[int]:
    """A forked child opens the shard and lives until it is killed at the end; yields its pid."""
    ends = os.pipe()
    pid = os.fork()
    if pid == 0:
        shard = blocking.EdgeShard(path, config())
        os.write(ends[1], b"open")
        signal.pause()
        shard.close()
        os._exit(0)
    os.close(ends[1])
    with os.fdopen(ends[0], "rb", buffering=0) as pipe:
        assert pipe.read(4) == b"open"
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_second_open_in_the_same_process(tmp_path: Path) -> None:
    with blocking.EdgeShard(tmp_path, config()) as shard:
        for way in (blocking.EdgeShard, blocking.EdgeShard.load, Store.load):
            with pytest.raises(ShardLocked, match=rf"process {os.getpid()}\b"):
                way(tmp_path)
        with pytest.raises(ShardLocked):
            blocking.EdgeShard.create(tmp_path, config())
        shard.update(operation(1))
    blocking.EdgeShard.load(tmp_path).close()


async def test_a_second_open_on_a_loop(tmp_path: Path) -> None:
    async with edge.EdgeShard(tmp_path, config()) as shard:
        with pytest.raises(ShardLocked, match=rf"process {os.getpid()}\b"):
            await edge.EdgeShard.load(tmp_path).open()
        await shard.update(operation(1))
    async with edge.EdgeShard.load(tmp_path):
        pass


def test_an_open_while_another_process_has_it(tmp_path: Path) -> None:
    with (
        held_by_a_child(tmp_path) as pid,
        pytest.raises(ShardLocked, match=rf"process {pid}\b"),
    ):
        blocking.EdgeShard.load(tmp_path)
    blocking.EdgeShard.load(tmp_path).close()  # killed, it holds nothing any more


USES: dict[str, Callable[[blocking.EdgeShard], Any]] = {
    "update": lambda shard: shard.update(operation(9)),
    "flush": lambda shard: shard.flush(),
    "optimize": lambda shard: shard.optimize(),
    "count": lambda shard: shard.count(),
    "info": lambda shard: shard.info(),
    "retrieve": lambda shard: shard.retrieve([1]),
}


@pytest.mark.parametrize("use", USES)
def test_a_child_may_not_use_its_parents_shard(tmp_path: Path, use: str) -> None:
    history = History()
    with blocking.EdgeShard(tmp_path, config()) as shard:
        written(shard, history, range(1, 9))
        with shard._lock:  # as a thread may that is not in the child
            assert in_child(lambda: USES[use](shard)) == "ShardClosed"
        written(shard, history, range(9, 20))
        assert read(shard._store.view) == history.states[-1]
    with blocking.EdgeShard.load(tmp_path) as shard:
        assert read(shard._store.view) == history.states[-1]


def test_what_a_child_closes_or_drops_is_not_its_parents(tmp_path: Path) -> None:
    history = History()
    with blocking.EdgeShard(tmp_path, config(durability=Durability.Interval)) as shard:
        written(shard, history, range(1, 30))

        def end() -> None:
            shard.close()
            shard.__exit__(None, None, None)
            shard.__del__()

        assert in_child(end) == "done"
        with pytest.raises(ShardLocked):
            Store.load(tmp_path)
        assert in_child(lambda: Store.load(tmp_path)) == "ShardLocked"
        written(shard, history, range(30, 40))
        shard.flush()
    store = Store.load(tmp_path)
    assert history.check(store.view) == history.sequence
    store.close()


def test_a_child_on_a_loop_may_not_either(tmp_path: Path) -> None:
    async def life() -> None:
        async with edge.EdgeShard(tmp_path, config()) as shard:
            await shard.update(operation(1))
            for use in (shard.count, shard.info, shard.flush, shard.optimize):
                assert in_child(lambda use=use: _sent(use())) == "ShardClosed"
            assert in_child(lambda: _sent(shard.update(operation(2)))) == "ShardClosed"
            assert in_child(lambda: _sent(shard.close())) in {"done", "StopIteration"}
            await shard.update(operation(2))
            assert await shard.count(CountRequest()) > 0

    asyncio.run(life())


def _sent(coroutine: Any) -> None:
    """Run a coroutine up to where it waits: a child has no running loop to wait on."""
    coroutine.send(None)


def test_a_child_does_not_hold_the_lock_beyond_its_parent(tmp_path: Path) -> None:
    ends = os.pipe()
    parent = os.fork()
    if parent == 0:
        shard = blocking.EdgeShard(tmp_path, config())
        shard.update(operation(1))
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
        os.write(ends[1], b"%d" % child)
        signal.pause()
        os._exit(0)
    os.close(ends[1])
    with os.fdopen(ends[0], "rb", buffering=0) as pipe:
        child = int(pipe.read(20))
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        try:
            store = Store.load(tmp_path)
            assert store.sequence == 1
            store.close()
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_closed_shard_says_so(tmp_path: Path) -> None:
    shard = blocking.EdgeShard(tmp_path, config())
    shard.close()
    shard.close()
    for use in USES.values():
        with pytest.raises(ShardClosed):
            use(shard)


@pytest.mark.parametrize("mask", [0, 0o077, 0o777])
def test_only_the_owner_may_read(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        with blocking.EdgeShard(tmp_path / "new" / "shard", config()) as shard:
            written(shard, History(), range(1, 30))
            shard.optimize()
            shard.update(operation(31))
            assert_private(tmp_path / "new")
    finally:
        os.umask(before)
    assert_private(tmp_path / "new")


def assert_private(root: Path) -> None:
    found = [root, *root.rglob("*")]
    assert len(found) > 10
    for path in found:
        expected = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == expected, path


def test_opening_fails_typed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for path in (tmp_path / "file", tmp_path / "file" / "below", "/proc/shard"):
        for way in (blocking.EdgeShard, blocking.EdgeShard.create):
            with pytest.raises(EdgeError):
                way(path, config())
        with pytest.raises(EdgeError):
            blocking.EdgeShard.load(path)
    assert os.listdir(tmp_path) == ["file"]
