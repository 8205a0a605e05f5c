"""The facades on a disk that has room for the log and none for segments, until it has.

An update is not blamed for what failed after it, and the log is sealed once there is room.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

import edge
from edge import StorageFull, blocking
from edge.actors import optimizer
from tests.crash.history import History, config, operation, read
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
    monkeypatch.setattr("edge.store.store.DiskStorage", lambda path: disk)
    monkeypatch.setattr(optimizer, "PAUSE_WHEN_FULL", 0.001)
    return disk


def until(done: Callable[[], bool], update: Callable[[int], None], first: int) -> int:
    for number in range(first, first + MOST_UPDATES):
        if done():
            return number
        update(number)
    raise AssertionError("it never comes")


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
