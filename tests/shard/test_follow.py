"""follow(): a view, and every change after it, in order, each once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from edge.actors import feed
from edge.errors import ShardBusy
from edge.model.check import CheckedUpsert
from edge.model.update import UpdateOperation
from edge.shard import EdgeShard, Following
from edge.store.store import Store
from tests.actors.made import PATIENCE, Gate, config, settled, upsert


async def the_next(following: Following, count: int) -> list[int]:
    """The sequence numbers of the next changes."""
    changes = aiter(following)
    async with asyncio.timeout(PATIENCE):
        return [(await anext(changes)).sequence for _ in range(count)]


async def test_changes_go_on_where_the_view_ends(tmp_path: Path) -> None:
    async with EdgeShard(tmp_path / "shard", config()) as shard:
        await shard.update(upsert([1, 2]))
        async with shard.follow() as following:
            later = [
                await shard.update(upsert([3])),
                await shard.update(UpdateOperation.delete_points([1])),
            ]
            assert await following.view.count() == 2
            assert following.view.sequence == later[0] - 1
            assert await the_next(following, 2) == later
            await shard.update(upsert([4]))
            change = await anext(aiter(following))
            assert isinstance(change.operation, CheckedUpsert)


async def test_one_who_leaves_takes_nothing_from_one_who_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    async with EdgeShard(tmp_path / "shard", config()) as shard:
        leaving = shard.follow()
        await leaving.__aenter__()
        with monkeypatch.context() as patched:
            patched.setattr(Store, "commit", gate.before(Store.commit))
            writing = asyncio.create_task(shard.update(upsert([1])))
            await gate.reached()
            beginning = shard.follow()
            entering = asyncio.create_task(beginning.__aenter__())
            await settled()
            await leaving.__aexit__(None, None, None)
            gate.open()
            following = await entering
            await writing
        later = await shard.update(upsert([2]))
        assert await the_next(following, 1) == [later]
        assert await following.view.count() == 1
        await beginning.__aexit__(None, None, None)


async def test_who_is_too_slow_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "MOST_BYTES", 1_000)
    async with EdgeShard(tmp_path / "shard", config()) as shard, shard.follow() as following:
        await shard.update(upsert([1], text="x" * 2_000))
        with pytest.raises(ShardBusy, match="begin anew"):
            await the_next(following, 1)


async def test_it_ends_with_the_shard(tmp_path: Path) -> None:
    shard = await EdgeShard(tmp_path / "shard", config()).open()
    async with shard.follow() as following:
        sequence = await shard.update(upsert([1]))
        await shard.close()
        assert [change.sequence async for change in following] == [sequence]


async def test_a_refused_update_is_no_change(tmp_path: Path) -> None:
    async with EdgeShard(tmp_path / "shard", config()) as shard, shard.follow() as following:
        await asyncio.gather(
            shard.update(upsert([1])),
            shard.update(UpdateOperation.set_payload([99], {"n": 1})),
            return_exceptions=True,
        )
        last = await shard.update(upsert([2]))
        assert await the_next(following, 2) == [last - 1, last]
