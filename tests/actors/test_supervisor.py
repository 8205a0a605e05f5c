"""The supervisor: restarts, the order of stopping, and an end that strands nobody."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from edge.actors import supervisor
from edge.actors.optimizer import Optimizer
from edge.actors.query import QueryActor
from edge.actors.snapshot import SnapshotActor
from edge.actors.writer import Writer
from edge.disk.storage import DiskWriter
from edge.errors import ActorCrashed, ShardClosed, StorageFault
from edge.shard import EdgeShard
from edge.store.store import Store
from tests.actors.made import Gate, config, eventually, settled, upsert


def host(shard: EdgeShard) -> asyncio.Task[None]:
    task = shard._actors._task
    assert task is not None
    return task


async def test_stops_in_order_and_closes_the_store_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []

    def noted(kind: type, method: str, name: str) -> None:
        original = getattr(kind, method)

        async def run(self: Any) -> None:
            await original(self)
            ended.append(name)

        monkeypatch.setattr(kind, method, run)

    for kind in (Optimizer, SnapshotActor, QueryActor, Writer):
        noted(kind, "run", kind.__name__)
    noted(Optimizer, "keep_log_short", "sealer")
    close = Store.close
    monkeypatch.setattr(Store, "close", lambda self: ended.append("store") or close(self))
    async with EdgeShard(tmp_path / "shard", config()) as shard:
        await shard.update(upsert([1]))
    assert sorted(ended[:2]) == ["Optimizer", "sealer"]  # stopped by the same word
    assert ended[2:] == ["SnapshotActor", "QueryActor", "Writer", "store"]


async def test_actor_that_falls_is_started_again_and_then_stays_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = []

    async def fall(self: SnapshotActor) -> None:
        starts.append(1)
        raise RuntimeError("out of its mind")

    monkeypatch.setattr(supervisor, "PAUSES", (0.0, 0.001, 0.002))
    monkeypatch.setattr(SnapshotActor, "run", fall)
    async with EdgeShard(tmp_path / "shard", config()) as shard:

        async def is_off() -> bool:
            return "snapshot is off" in (await shard.info()).optimizer

        await eventually(is_off)
        assert len(starts) == 4
        await shard.update(upsert([1]))
        assert await shard.count() == 1


async def test_falls_after_long_good_work_do_not_add_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = []

    async def fall(self: SnapshotActor) -> None:
        starts.append(1)
        raise RuntimeError("out of its mind")

    monkeypatch.setattr(supervisor, "PAUSES", (0.0, 0.001, 0.002))
    monkeypatch.setattr(supervisor, "FORGIVEN_AFTER", 0.0)
    monkeypatch.setattr(SnapshotActor, "run", fall)
    async with EdgeShard(tmp_path / "shard", config()) as shard:

        async def fell_often() -> bool:
            return len(starts) > 2 * len(supervisor.PAUSES)

        await eventually(fell_often)
        assert "is off" not in (await shard.info()).optimizer


async def test_closing_does_not_wait_for_a_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fall(self: SnapshotActor) -> None:
        raise RuntimeError("out of its mind")

    monkeypatch.setattr(supervisor, "PAUSES", (3600.0,) * 3)
    monkeypatch.setattr(SnapshotActor, "run", fall)
    shard = await EdgeShard(tmp_path / "shard", config()).open()
    await settled()
    assert "snapshot failed" in (await shard.info()).optimizer
    async with asyncio.timeout(30):
        await shard.close()


async def test_writer_that_falls_again_and_again_is_never_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Writer, batch: Any) -> None:
        raise RuntimeError("out of its mind")

    shard = await EdgeShard(tmp_path / "shard", config()).open()
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "_do", fail)
        for _ in range(10):
            with pytest.raises(ActorCrashed):
                await shard.update(upsert([1]))
    assert await shard.count() == 0
    await shard.close()


async def test_host_that_is_cancelled_stops_all_and_closes_the_store(tmp_path: Path) -> None:
    path = tmp_path / "shard"
    shard = await EdgeShard(path, config()).open()
    await shard.update(upsert([1]))
    host(shard).cancel()
    await asyncio.wait([host(shard)])
    with pytest.raises(ShardClosed):
        await shard.update(upsert([2]))
    with pytest.raises(ShardClosed):
        await shard.flush()
    await shard.close()
    async with EdgeShard.load(path) as again:
        assert await again.count() == 1


async def test_host_that_is_cancelled_twice_still_closes_the_store(tmp_path: Path) -> None:
    path = tmp_path / "shard"
    shard = await EdgeShard(path, config()).open()
    gate = Gate()
    held = asyncio.create_task(shard._actors.writer.call(lambda store: gate.pass_through()))
    await gate.reached()
    waiting = asyncio.create_task(shard.update(upsert([1])))
    for _ in range(2):
        host(shard).cancel()
        await settled()
    assert not host(shard).done()
    gate.open()
    await asyncio.wait([host(shard)])
    await held
    assert await waiting == 1
    with pytest.raises(ShardClosed):
        await shard.update(upsert([2]))
    await shard.close()
    async with EdgeShard.load(path) as again:
        assert await again.count() == 1


async def test_who_waits_while_it_closes_is_answered(tmp_path: Path) -> None:
    path = tmp_path / "shard"
    shard = await EdgeShard(path, config()).open()
    gate = Gate()
    held = asyncio.create_task(shard._actors.writer.call(lambda store: gate.pass_through()))
    await gate.reached()
    waiting = [asyncio.create_task(shard.update(upsert([i]))) for i in range(5)]
    await settled()
    closing = asyncio.create_task(shard.close())
    await settled()
    with pytest.raises(ShardClosed):
        await shard.update(upsert([9]))
    gate.open()
    assert await asyncio.gather(*waiting) == [1, 2, 3, 4, 5]
    await closing
    await held
    async with EdgeShard.load(path) as again:
        assert await again.count() == 5


async def test_fault_while_closing_is_told_and_the_folder_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: DiskWriter) -> None:
        raise StorageFault("worn out", self._path)

    path = tmp_path / "shard"
    shard = await EdgeShard(path, config(sync_interval_ms=3_600_000)).open()
    await shard.update(upsert([1]))
    with monkeypatch.context() as patch:
        patch.setattr(DiskWriter, "sync", fail)
        with pytest.raises(StorageFault, match="worn out"):
            await shard.close()
    await shard.close()
    async with EdgeShard.load(path) as again:
        assert await again.count() == 1


async def test_defect_while_closing_has_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = Store.close

    def fail(self: Store) -> None:
        close(self)
        raise RuntimeError("out of its mind")

    monkeypatch.setattr(Store, "close", fail)
    shard = await EdgeShard(tmp_path / "shard", config()).open()
    with pytest.raises(ActorCrashed, match="out of its mind"):
        await shard.close()
