"""The watch: the newest view, and a bell that nobody who listens in time can miss."""

from __future__ import annotations

import asyncio
from pathlib import Path

from edge.actors.watch import Watch
from edge.store.store import Store, Submission
from tests.actors.made import config, settled, upsert


def test_newest_view_is_there_at_once(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "shard", config())
    watch = Watch(store.view)
    store.commit([Submission(upsert([1]))])
    assert watch.view.points == 0
    watch.publish(store.view)
    assert watch.view is store.view
    store.close()


async def test_bell_taken_before_looking_misses_nothing(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "shard", config())
    watch = Watch(store.view)
    bell = watch.bell
    store.commit([Submission(upsert([1]))])
    watch.publish(store.view)
    async with asyncio.timeout(10):
        await bell.wait()
    assert not watch.bell.is_set()
    store.close()


async def test_the_same_view_again_rings_no_bell(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "shard", config())
    watch = Watch(store.view)
    watch.publish(store.view)
    assert not watch.bell.is_set()
    store.close()


async def test_ring_wakes_all_who_wait(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "shard", config())
    watch = Watch(store.view)
    tasks = [asyncio.create_task(watch.bell.wait()) for _ in range(3)]
    await settled()
    watch.ring()
    async with asyncio.timeout(10):
        await asyncio.gather(*tasks)
    store.close()
