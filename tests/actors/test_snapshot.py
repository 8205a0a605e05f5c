"""The snapshot actor: what goes on meanwhile, what followers are told, and how it is stopped."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from edge.archive import incoming, restore, writing
from edge.errors import AlreadyExists, NotFound, ShardBusy, ShardClosed, WrongBase
from edge.model.request import ScrollRequest
from edge.shard import EdgeShard
from edge.store.store import Store
from tests.actors.made import PATIENCE, Gate, config, upsert

ALL = ScrollRequest(limit=1000)


async def ids(shard: EdgeShard) -> list[object]:
    return [record.id for record in (await shard.scroll(ALL))[0]]


def gated(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """A gate before each piece of an archive."""
    gate = Gate()
    monkeypatch.setattr(writing, "pieces_of", gate.before(writing.pieces_of))
    return gate


async def test_writes_and_queries_go_on_and_the_archive_is_of_its_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = gated(monkeypatch)
    async with EdgeShard(tmp_path / "shard", config(checkpoint_bytes=500)) as shard:
        await shard.update(upsert(range(10)))
        writing_it = asyncio.create_task(shard.create_snapshot(tmp_path / "a"))
        await gate.reached()
        for n in range(10, 40):
            await shard.update(upsert([n]))
        await shard.optimize()
        assert await ids(shard) == list(range(40))
        gate.open()
        snapshot = await writing_it
    assert (snapshot.sequence, snapshot.is_partial) == (1, False)
    assert snapshot.size == os.path.getsize(tmp_path / "a") == os.stat(snapshot.path).st_size
    await EdgeShard.unpack_snapshot(tmp_path / "a", tmp_path / "copy")
    async with EdgeShard.load(tmp_path / "copy") as copy:
        assert await ids(copy) == list(range(10))


async def test_a_copy_follows_by_partial_snapshots(tmp_path: Path) -> None:
    async with EdgeShard(tmp_path / "shard", config()) as shard:
        await shard.update(upsert(range(10)))
        await shard.create_snapshot(tmp_path / "a")
        await EdgeShard.unpack_snapshot(tmp_path / "a", tmp_path / "copy")
        async with EdgeShard.load(tmp_path / "copy") as copy:
            await shard.update(upsert(range(5, 20)))
            manifest = await copy.snapshot_manifest()
            partial = await shard.create_partial_snapshot(manifest, tmp_path / "b")
            assert partial.is_partial
            async with copy.read_view() as before:
                assert await copy.update_from_snapshot(tmp_path / "b", tmp_path) == 2
                assert await ids(copy) == list(range(20))
                assert len((await before.scroll(ALL))[0]) == 10
            await copy.update(upsert([99]))
            with pytest.raises(AlreadyExists):
                await shard.create_snapshot(tmp_path / "b")
            with pytest.raises(NotFound):
                await shard.update_from_snapshot(tmp_path / "none")


async def test_who_follows_is_told_to_begin_anew(tmp_path: Path) -> None:
    async with EdgeShard(tmp_path / "shard", config()) as shard:
        await shard.update(upsert(range(3)))
        await shard.create_snapshot(tmp_path / "a")
        await shard.update(upsert([7]))
        async with shard.follow() as following:
            await shard.update(upsert([8]))
            await shard.update_from_snapshot(tmp_path / "a")
            await shard.update(upsert([9]))
            with pytest.raises(ShardBusy, match="snapshot; begin anew"):
                _ = [change async for change in following]
            assert len((await following.view.scroll(ALL))[0]) == 4
        async with shard.follow() as following:
            await shard.update(upsert([10]))
            assert (await anext(aiter(following))).sequence == (await shard.info()).sequence == 3
    async with EdgeShard.load(tmp_path / "shard") as again:
        assert await ids(again) == [0, 1, 2, 9, 10]


async def test_one_that_is_cancelled_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = gated(monkeypatch)
    async with EdgeShard(tmp_path / "shard", config()) as shard:
        await shard.update(upsert(range(10)))
        task = asyncio.create_task(shard.create_snapshot(tmp_path / "a"))
        await gate.reached()
        task.cancel()
        await asyncio.sleep(0)
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert os.listdir(tmp_path) == ["shard"]
        assert not shard.actors.store._files._held
        await shard.create_snapshot(tmp_path / "a")


async def test_a_shard_that_is_closed_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = gated(monkeypatch)
    shard = await EdgeShard(tmp_path / "shard", config()).open()
    await shard.update(upsert(range(10)))
    task = asyncio.create_task(shard.create_snapshot(tmp_path / "a"))
    await gate.reached()
    snapshot = shard.actors.snapshot
    closing = asyncio.create_task(shard.close())
    await asyncio.wait_for(snapshot._stopped.wait(), PATIENCE)
    gate.open()
    await asyncio.wait_for(closing, PATIENCE)
    with pytest.raises(ShardClosed):
        await task
    assert os.listdir(tmp_path) == ["shard"]


async def test_an_update_that_is_cancelled_is_whole_or_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with EdgeShard(tmp_path / "shard", config()) as shard:
        await shard.update(upsert(range(3)))
        await shard.create_snapshot(tmp_path / "a")
        await shard.update(upsert(range(5)))
        for owner, name, after in (
            (restore.reading, "unpack", 5),
            (incoming, "open_state", 5),
            (Store, "become", 3),
        ):
            gate = Gate()
            with monkeypatch.context() as patched:
                patched.setattr(owner, name, gate.before(getattr(owner, name)))
                task = asyncio.create_task(shard.update_from_snapshot(tmp_path / "a"))
                await gate.reached()
                task.cancel()
                await asyncio.sleep(0)
                gate.open()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert len(await ids(shard)) == after
            assert "incoming" not in os.listdir(tmp_path / "shard")
    async with EdgeShard.load(tmp_path / "shard") as again:
        assert await ids(again) == [0, 1, 2]
        assert len([n for n in os.listdir(tmp_path / "shard") if n.startswith("wal")]) == 1


async def test_a_partial_one_for_another_shard(tmp_path: Path) -> None:
    async with (
        EdgeShard(tmp_path / "one", config()) as one,
        EdgeShard(tmp_path / "two", config()) as two,
    ):
        await one.update(upsert(range(300)))
        await one.update(upsert(range(9)))
        await one.create_snapshot(tmp_path / "a")
        await two.update_from_snapshot(tmp_path / "a")
        await two.optimize()
        await one.update_from_snapshot(tmp_path / "a")
        manifest = await two.snapshot_manifest()
        assert manifest["shard"] == (await one.snapshot_manifest())["shard"]
        await two.create_partial_snapshot(manifest, tmp_path / "b")
        if manifest["segments"]:
            with pytest.raises(WrongBase):
                await one.update_from_snapshot(tmp_path / "b")
