"""The writer: group commit, publication before replies, durability, and what a fault does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge import blocking
from edge.actors.feed import Feed
from edge.actors.mailbox import Ask
from edge.actors.threads import Threads
from edge.actors.watch import Watch
from edge.actors.writer import Writer
from edge.disk.storage import DiskWriter
from edge.errors import (
    ActorCrashed,
    CallerError,
    NotFound,
    ShardClosed,
    ShardReadOnly,
    StorageFault,
    ValidationError,
)
from edge.model.config import Durability, EdgeConfig
from edge.model.query import Query
from edge.model.request import CountRequest, QueryRequest
from edge.model.update import UpdateOperation
from edge.shard import EdgeShard
from edge.store import store as store_module
from edge.store.store import Store, Submission
from tests.actors.made import Gate, config, eventually, settled, upsert, vector

HOUR = 3_600_000


class Running:
    """A writer at work, without the other actors."""

    def __init__(self, path: Path, given: EdgeConfig, capacity: int = 1024) -> None:
        self.store = Store.create(path, given)
        self.watch = Watch(self.store.view)
        self.thread = Threads("test", 1)
        self.writer = Writer(self.store, self.watch, Feed(), self.thread, capacity)

    def ask(self, operation: UpdateOperation, durability: Any = None) -> asyncio.Task[int]:
        return asyncio.create_task(self.writer.update(Submission(operation, durability)))


@asynccontextmanager
async def running(
    path: Path, given: EdgeConfig | None = None, capacity: int = 1024
) -> AsyncIterator[Running]:
    found = Running(path / "shard", given or config(), capacity)
    task = asyncio.create_task(found.writer.run())
    try:
        yield found
    finally:
        found.writer.close()
        async with asyncio.timeout(30):
            await asyncio.gather(task, return_exceptions=True)
        found.thread.close()
        found.store.close()


def counted_syncs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that grows by one with every sync of a file."""
    syncs: list[str] = []
    sync = DiskWriter.sync

    def counting(self: DiskWriter) -> None:
        syncs.append(self._path)
        sync(self)

    monkeypatch.setattr(DiskWriter, "sync", counting)
    return syncs


# -- batches


async def test_all_that_waits_is_one_batch_with_one_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, config(durability=Durability.Always)) as run:
        gate, sizes, commit = Gate(), [], run.store.commit

        def watched(batch: list[Submission]) -> Any:
            sizes.append(len(batch))
            return commit(batch)

        run.store.commit = gate.before(watched)  # type: ignore[method-assign]
        first = run.ask(upsert([0]))
        await gate.reached()
        others = [run.ask(upsert([i])) for i in range(1, 21)]
        await settled()
        syncs = counted_syncs(monkeypatch)
        gate.open()
        assert await asyncio.gather(first, *others) == list(range(1, 22))
        assert sizes == [1, 20]
        assert len(syncs) == 2
        assert run.store.synced == 21


async def test_view_is_published_before_each_reply(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as run:
        seen: list[tuple[int, int]] = []
        reply = Ask.reply

        def watched(self: Ask[Any, Any], result: Any) -> None:
            seen.append((result, run.watch.view.sequence))
            reply(self, result)

        monkeypatch.setattr(Ask, "reply", watched)
        await asyncio.gather(*[run.ask(upsert([i])) for i in range(50)])
        assert len(seen) == 50
        assert all(published >= sequence for sequence, published in seen)


async def test_everybody_reads_their_own_write(tmp_path: Path) -> None:
    async with EdgeShard(tmp_path / "shard", config()) as shard:

        async def write_and_read(i: int) -> None:
            await shard.update(upsert([i], n=i))
            (record,) = await shard.retrieve([i])
            assert record.payload == {"n": i}
            await shard.update(UpdateOperation.delete_points([i]))
            assert await shard.retrieve([i]) == []

        await asyncio.gather(*[write_and_read(i) for i in range(60)])


async def test_calls_and_updates_are_done_in_their_order(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        gate = Gate()
        held = asyncio.create_task(run.writer.call(lambda store: gate.pass_through()))
        await gate.reached()
        tasks: list[asyncio.Task[Any]] = []
        for i in range(5):
            tasks.append(run.ask(upsert([i])))
            tasks.append(asyncio.create_task(run.writer.call(lambda store: store.view.points)))
        await settled()
        gate.open()
        assert await asyncio.gather(*tasks) == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
        await held


async def test_callers_mistake_is_that_callers_alone(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        gate = Gate()
        held = asyncio.create_task(run.writer.call(lambda store: gate.pass_through()))
        await gate.reached()
        wrong = UpdateOperation.upsert_arrays([7], np.ones((1, 3), np.float32))
        tasks = [run.ask(upsert([1])), run.ask(wrong), run.ask(upsert([2]))]
        not_there = asyncio.create_task(run.writer.call(_raise_not_found))
        await settled()
        gate.open()
        first, mistake, last, refused = await asyncio.gather(
            *tasks, not_there, return_exceptions=True
        )
        assert (first, last) == (1, 2)
        assert isinstance(mistake, CallerError)
        assert isinstance(refused, NotFound)
        assert run.watch.view.points == 2
        await held


def _raise_not_found(store: Store) -> None:
    raise NotFound("no such thing")


async def test_cancelled_before_its_turn_it_leaves_no_trace(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        gate = Gate()
        held = asyncio.create_task(run.writer.call(lambda store: gate.pass_through()))
        await gate.reached()
        dropped, kept = run.ask(upsert([1])), run.ask(upsert([2]))
        await settled()
        dropped.cancel()
        await settled()
        gate.open()
        assert await kept == 1
        assert run.store.sequence == 1
        await held


async def test_swap_that_was_begun_is_finished_though_its_caller_is_cancelled(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as run:
        gate, done = Gate(), []
        held = asyncio.create_task(run.writer.call(lambda store: gate.pass_through()))
        await gate.reached()
        task = asyncio.create_task(run.writer.finish(lambda store: done.append(1)))
        await settled()
        task.cancel()
        await settled()
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done == [1]
        await held


async def test_writers_own_task_cancelled_finishes_and_answers_its_batch(tmp_path: Path) -> None:
    run = Running(tmp_path / "shard", config())
    task = asyncio.create_task(run.writer.run())
    gate = Gate()
    run.store.commit = gate.before(run.store.commit)  # type: ignore[method-assign]
    taken = run.ask(upsert([1]))
    await gate.reached()
    waiting = run.ask(upsert([2]))
    await settled()
    task.cancel()
    await settled()
    gate.open()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await taken == 1
    assert run.watch.view.points == 1
    run.writer.leave()
    with pytest.raises(ShardClosed):
        await waiting
    run.thread.close()
    run.store.close()


# -- durability


async def test_interval_is_synced_without_a_further_update(tmp_path: Path) -> None:
    given = config(durability=Durability.Interval, sync_interval_ms=20)
    async with EdgeShard(tmp_path / "shard", given) as shard:
        await shard.update(upsert([1]))
        sequence = await shard.update(upsert([2]))

        async def is_durable() -> bool:
            return (await shard.info()).durable_sequence == sequence

        await eventually(is_durable)


async def test_interval_is_kept_by_a_writer_that_is_always_busy(tmp_path: Path) -> None:
    given = config(durability=Durability.Interval, sync_interval_ms=1)
    async with EdgeShard(tmp_path / "shard", given) as shard:
        first = await shard.update(upsert([0]))

        async def write_more() -> bool:
            await shard.update(upsert([1]))
            return (await shard.info()).durable_sequence >= first

        await eventually(write_more)


async def test_os_is_not_synced_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, config(durability=Durability.Os, sync_interval_ms=1)) as run:
        syncs = counted_syncs(monkeypatch)
        for i in range(20):
            await run.ask(upsert([i]))
        assert run.store.sync_due_in() is None
        assert syncs == []
        await run.writer.call(Store.flush)
        assert run.store.synced == 20


@pytest.mark.parametrize("usual", [Durability.Os, Durability.Interval])
async def test_one_update_may_ask_to_be_synced_at_once(tmp_path: Path, usual: Durability) -> None:
    async with running(tmp_path, config(durability=usual, sync_interval_ms=HOUR)) as run:
        await run.ask(upsert([1]))
        assert run.store.synced == 0
        await run.ask(upsert([2]), Durability.Always)
        assert run.store.synced == 2


async def test_one_update_may_ask_to_be_synced_soon(tmp_path: Path) -> None:
    given = config(durability=Durability.Os, sync_interval_ms=10)
    async with EdgeShard(tmp_path / "shard", given) as shard:
        sequence = await shard.update(upsert([1]), Durability.Interval)

        async def is_durable() -> bool:
            return (await shard.info()).durable_sequence == sequence

        await eventually(is_durable)


@pytest.mark.parametrize("usual", [Durability.Always, Durability.Interval])
async def test_one_update_may_do_without_a_sync(tmp_path: Path, usual: Durability) -> None:
    async with running(tmp_path, config(durability=usual, sync_interval_ms=1)) as run:
        await run.ask(upsert([1]), Durability.Os)
        assert run.store.sync_due_in() is None
        assert run.store.synced == 0


async def test_what_a_crash_left_unsynced_is_synced_after_the_load(tmp_path: Path) -> None:
    given = config(durability=Durability.Interval, sync_interval_ms=HOUR)
    crashed = Store.create(tmp_path / "shard", given)
    crashed.commit([Submission(upsert([1]))])
    crashed._wal.close()
    crashed.storage.unlock()
    async with EdgeShard.load(tmp_path / "shard", config(sync_interval_ms=10)) as shard:

        async def is_durable() -> bool:
            return (await shard.info()).durable_sequence == 1

        await eventually(is_durable)


@pytest.mark.parametrize("wrong", ["always", 1, True])
async def test_durability_that_is_none_is_refused(tmp_path: Path, wrong: Any) -> None:
    async with EdgeShard(tmp_path / "shard", config()) as shard:
        with pytest.raises(ValidationError, match="durability"):
            await shard.update(upsert([1]), wrong)
        assert await shard.count() == 0


# -- faults


async def test_defect_in_the_store_ends_writing_but_not_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shard"
    async with EdgeShard(path, config()) as shard:
        await shard.update(upsert([1], n=1))
        before = await shard.info()
        gate = Gate()
        actors = shard._actors
        held = asyncio.create_task(actors.writer.call(lambda store: gate.pass_through()))
        await gate.reached()
        asked = [asyncio.create_task(shard.update(upsert([i]))) for i in (2, 3)]
        await settled()
        with monkeypatch.context() as patch:
            patch.setattr(store_module, "carry_out", _fail)
            gate.open()
            await held
            for task in asked:
                with pytest.raises(ActorCrashed, match="out of its mind") as caught:
                    await task
                assert caught.value.name == "writer"
        with pytest.raises(ShardReadOnly, match="out of its mind"):
            await shard.update(upsert([4]))
        with pytest.raises(ShardReadOnly):
            await shard.flush()
        (record,) = await shard.retrieve([1])
        assert record.payload == {"n": 1}
        nearest = QueryRequest(limit=3, query=Query.Nearest(vector(1)))
        assert [hit.id for hit in await shard.query(nearest)] == [1]
        info = await shard.info()
        assert "out of its mind" in (info.read_only or "")
        assert (info.sequence, info.points_count) == (before.sequence, before.points_count)
    async with EdgeShard.load(path) as shard:
        assert [record.id for record in await shard.retrieve([1, 4])] == [1]
        await shard.update(upsert([5]))


def _fail(*args: object) -> None:
    raise RuntimeError("out of its mind")


async def test_failed_sync_ends_writing_and_nobody_sees_what_it_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shard"
    async with EdgeShard(path, config(durability=Durability.Always)) as shard:
        await shard.update(upsert([1]))
        with monkeypatch.context() as patch:
            patch.setattr(DiskWriter, "sync", _fail_to_sync)
            with pytest.raises(StorageFault, match="worn out"):
                await shard.update(upsert([2]))
        with pytest.raises(ShardReadOnly, match="worn out"):
            await shard.update(upsert([3]))
        assert await shard.count(CountRequest()) == 1
        assert "worn out" in ((await shard.info()).read_only or "")
    async with EdgeShard.load(path) as shard:
        assert await shard.retrieve([1])


def _fail_to_sync(self: DiskWriter) -> None:
    raise StorageFault("worn out", self._path)


async def test_failed_sync_in_the_background_ends_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = config(durability=Durability.Interval, sync_interval_ms=5)
    shard = await EdgeShard(tmp_path / "shard", given).open()
    with monkeypatch.context() as patch:
        patch.setattr(DiskWriter, "sync", _fail_to_sync)
        await shard.update(upsert([1]))

        async def is_read_only() -> bool:
            return (await shard.info()).read_only is not None

        await eventually(is_read_only)
    with pytest.raises(ShardReadOnly):
        await shard.update(upsert([2]))
    assert await shard.count() == 1
    await shard.close()
    assert os.path.exists(tmp_path / "shard" / "manifest")


def test_defect_in_the_blocking_store_ends_writing_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with blocking.EdgeShard(tmp_path / "shard", config()) as shard:
        shard.update(upsert([1]))
        with monkeypatch.context() as patch:
            patch.setattr(store_module, "carry_out", _fail)
            with pytest.raises(ActorCrashed, match="out of its mind"):
                shard.update(upsert([2]))
        with pytest.raises(ShardReadOnly, match="out of its mind"):
            shard.update(upsert([3]))
        assert shard.retrieve([1])


def test_interrupted_in_the_midst_of_an_update_the_blocking_shard_writes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "shard"
    with blocking.EdgeShard(path, config()) as shard:
        shard.update(upsert([1]))
        with monkeypatch.context() as patch:
            patch.setattr(store_module, "carry_out", interrupt)
            with pytest.raises(KeyboardInterrupt):
                shard.update(upsert([2]))
        with pytest.raises(ShardReadOnly):
            shard.update(upsert([3]))
    with blocking.EdgeShard.load(path) as shard:
        assert shard.retrieve([1])
