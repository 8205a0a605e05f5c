"""The facades on a disk that has room for the log and none for segments, until it has.

An update is not blamed for what failed after it, and the log is sealed once there is room; so are
the indexes of fields built that were asked for meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

import edge
from edge import StorageFull, blocking
from edge.actors import optimizer
from edge.disk import manifest
from edge.segment.view import ShardView
from tests.crash.history import (
    CREATES,
    DELETES,
    EVERY_KIND,
    QUESTIONS,
    History,
    config,
    operation,
    read,
)
from tests.disk.simulated import FaultyStorage, SimulatedStorage

CHECKPOINT = 2_000
MOST_UPDATES = 3_000


class Disk(FaultyStorage):
    """While `full`, no new file, or no new folder, can be made."""

    def __init__(self, call: str) -> None:
        self.call = call
        super().__init__(SimulatedStorage(), "enospc", 1, forever=True)
        self.full = False

    def strikes(self, call: str) -> bool:
        struck = self.full and call == self.call
        self.struck += struck
        return struck


@pytest.fixture(params=["create", "mkdir"])
def disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Without room for files a seal fails at the log's next one, without folders at the build."""
    disk = Disk(request.param)
    for opens in ("edge.store.store", "edge.archive.restore"):
        monkeypatch.setattr(f"{opens}.DiskStorage", lambda path: disk)
    monkeypatch.setattr(optimizer, "PAUSE_WHEN_FULL", 0.001)
    return disk


def until(done: Callable[[], bool], update: Callable[[int], None], first: int) -> int:
    for number in range(first, first + MOST_UPDATES):
        if done():
            return number
        update(number)
    raise AssertionError("it never comes")


def unindexed(view: ShardView) -> int:
    """How many indexes of built segments are asked for and not there."""
    built = [part for part in view.segments if part.segment.entry is not None]
    return sum(part.index(path) is None for part in built for path in view.schema)


def leftovers(disk: Disk) -> list[str]:
    return manifest.orphans(disk, manifest.load(disk))


ASKED = [CREATES + which for which in range(EVERY_KIND)]


def test_indexes_on_a_full_disk(disk: Disk) -> None:
    history = History()
    with blocking.EdgeShard("anywhere", config()) as shard:

        def update(number: int) -> None:
            assert shard.update(operation(number)) == history.carry_out(number)
            assert history.check(shard._store.view, questions=3) == history.sequence

        for number in range(3, 30):
            update(number)
        shard.optimize()
        disk.full = True
        for number in [*ASKED[:4], 40, DELETES + 1, *ASKED[4:], 41, 42]:
            update(number)
        assert disk.struck
        assert unindexed(shard._store.view) > 3
        with pytest.raises(StorageFull):
            shard.optimize()
        assert leftovers(disk) == []
        history.check(shard._store.view, questions=len(QUESTIONS))
        disk.full = False
        assert shard.optimize()
        assert unindexed(shard._store.view) == 0
        assert leftovers(disk) == []
        history.check(shard._store.view, questions=len(QUESTIONS))
    with blocking.EdgeShard.load("anywhere") as shard:
        assert unindexed(shard._store.view) == 0
        history.check(shard._store.view, questions=len(QUESTIONS))


async def test_indexes_on_a_full_disk_and_a_loop(disk: Disk) -> None:
    """In the background: nobody asks for it."""
    history = History()
    number = 100
    async with edge.EdgeShard("anywhere", config()) as shard:

        async def update(number: int) -> ShardView:
            assert await shard.update(operation(number)) == history.carry_out(number)
            async with shard.read_view() as held:
                return held._view

        for first in range(3, 30):
            await update(first)
        await shard.optimize()
        disk.full = True
        for asked in ASKED:
            await update(asked)
        before = disk.struck
        while disk.struck < before + 5:
            assert number < MOST_UPDATES
            view = await update(number)
            number += 1
        assert (await shard.info()).read_only is None
        assert unindexed(view) > 3
        history.check(view, questions=len(QUESTIONS))
        disk.full = False
        while unindexed(view := await update(number)):
            assert number < 2 * MOST_UPDATES
            number += 1
        history.check(view, questions=len(QUESTIONS))
        await shard.optimize()
    assert leftovers(disk) == []
    with blocking.EdgeShard.load("anywhere") as loaded:
        assert unindexed(loaded._store.view) == 0
        history.check(loaded._store.view, questions=len(QUESTIONS))


def test_blocking(disk: Disk) -> None:
    history = History()
    with blocking.EdgeShard("anywhere", config(checkpoint_bytes=CHECKPOINT)) as shard:

        def update(number: int) -> None:
            assert shard.update(operation(number)) == history.carry_out(number)

        disk.full = True
        number = until(lambda: disk.struck > 8, update, 1)
        with pytest.raises(StorageFull):
            shard.optimize()
        assert shard.info().read_only is None
        assert shard.info().log_bytes > 4 * CHECKPOINT
        assert read(shard._store.view) == history.states[-1]
        disk.full = False
        until(lambda: shard.info().log_bytes <= CHECKPOINT, update, number)
        assert shard.optimize()
    with blocking.EdgeShard.load("anywhere") as shard:
        assert read(shard._store.view) == history.states[-1]


async def test_on_a_loop(disk: Disk) -> None:
    history = History()
    number = 1
    async with edge.EdgeShard("anywhere", config(checkpoint_bytes=CHECKPOINT)) as shard:
        disk.full = True
        while disk.struck <= 12:
            assert number < MOST_UPDATES
            assert await shard.update(operation(number)) == history.carry_out(number)
            number += 1
        with pytest.raises(StorageFull):
            await shard.optimize()
        info = await shard.info()
        assert info.read_only is None
        assert "failed" not in info.optimizer
        assert "is off" not in info.optimizer
        disk.full = False
        while (await shard.info()).log_bytes > 2 * CHECKPOINT:
            assert number < 2 * MOST_UPDATES
            assert await shard.update(operation(number)) == history.carry_out(number)
            number += 1
    with blocking.EdgeShard.load("anywhere") as loaded:
        assert read(loaded._store.view) == history.states[-1]
