"""The optimizer: what it does unasked, what `optimize()` waits for, and how it is stopped."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

from edge.actors import supervisor
from edge.actors.optimizer import Optimizer
from edge.errors import ActorCrashed, ShardClosed, ShardReadOnly, StorageFull
from edge.model.request import ShardInfo
from edge.model.update import UpdateOperation
from edge.segment import indexing, writer
from edge.shard import EdgeShard
from edge.store import optimization
from edge.store.store import Store
from tests.actors.made import Gate, block, config, eventually, settled, upsert

ROWS = 600
INDEX = {"indexing_threshold": 10, "default_segment_number": 2}
"""Kilobytes: 320 rows of 8 floats want a graph."""


async def informed(shard: EdgeShard, is_so: Callable[[ShardInfo], bool]) -> ShardInfo:
    async def look() -> ShardInfo | None:
        info = await shard.info()
        return info if is_so(info) else None

    found: ShardInfo = await eventually(look)
    return found


def indexed(info: ShardInfo) -> bool:
    return info.indexed_vectors_count >= ROWS and info.optimizer == "idle"


async def fill(shard: EdgeShard, rows: int = ROWS, first: int = 0) -> None:
    await shard.upsert_arrays(np.arange(first, first + rows), block(rows, seed=first))


def gated_build(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """A gate before the graph's first slice."""
    gate = Gate()
    monkeypatch.setattr(indexing.Builder, "step", gate.before(indexing.Builder.step))
    return gate


def segment_folders(path: Path) -> list[str]:
    folder = path / "segments"
    return sorted(os.listdir(folder)) if folder.exists() else []


# -- without being asked


async def test_indexes(tmp_path: Path) -> None:
    async with EdgeShard(tmp_path / "shard", config(optimizers=INDEX)) as shard:
        await fill(shard)
        info = await informed(shard, indexed)
        assert info.points_count == info.indexed_vectors_count == ROWS
        assert info.durable_sequence == info.sequence


async def test_seals_a_long_log_and_merges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seals = []
    seal = Store.seal
    monkeypatch.setattr(Store, "seal", lambda self: seals.append(1) or seal(self))
    few = {"indexing_threshold": 0, "default_segment_number": 2}
    async with EdgeShard(
        tmp_path / "shard", config(optimizers=few, checkpoint_bytes=2000)
    ) as shard:
        for n in range(8):
            await fill(shard, 100, 100 * n)
            await informed(shard, lambda info: info.log_bytes < 2000)
        assert len(seals) >= 8
        info = await informed(shard, lambda info: info.segments_count <= 3)
        assert info.points_count == 800
        assert [r.id for r in await shard.retrieve([0, 250, 799])] == [0, 250, 799]


async def test_vacuums(tmp_path: Path) -> None:
    rules = {"vacuum_min_vector_number": 100, "deleted_threshold": 0.2, "indexing_threshold": 0}
    given = config(optimizers=rules, checkpoint_bytes=1000)
    async with EdgeShard(tmp_path / "shard", given) as shard:
        await fill(shard)
        await informed(shard, lambda info: info.log_bytes < 1000)
        await shard.update(UpdateOperation.delete_points(list(range(400))))
        info = await informed(shard, lambda info: info.deleted_count == 0)
        assert info.points_count == ROWS - 400
        assert [r.id for r in await shard.retrieve([399, 400])] == [400]


async def test_shows_what_it_is_doing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = gated_build(monkeypatch)
    async with EdgeShard(tmp_path / "shard", config(optimizers=INDEX)) as shard:
        await fill(shard)
        await gate.reached()
        assert (await shard.info()).optimizer == "index 0%"
        gate.open()
        await informed(shard, indexed)


async def test_progress_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    show = Optimizer._show

    def watched(self: Optimizer, *args: Any) -> None:
        show(self, *args)
        shown.append(self.status)

    monkeypatch.setattr(Optimizer, "_show", watched)
    monkeypatch.setattr(indexing, "NODES_A_SLICE", ROWS // 4)
    async with EdgeShard(tmp_path / "shard", config(optimizers=INDEX)) as shard:
        await fill(shard)
        await informed(shard, indexed)
    assert [s for s in shown if s != "index 0%"] == ["index 25%", "index 50%", "index 75%"]


async def test_seals_go_on_while_a_graph_is_being_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = gated_build(monkeypatch)
    given = config(optimizers=INDEX, checkpoint_bytes=1000)
    async with EdgeShard(tmp_path / "shard", given) as shard:
        await fill(shard)
        await gate.reached()
        for n in range(1, 4):
            await fill(shard, 50, ROWS + 50 * n)
            info = await informed(shard, lambda info: info.log_bytes < 1000)
            assert info.indexed_vectors_count == 0
            assert info.optimizer.startswith("index")
        gate.open()
        await informed(shard, indexed)
        assert await shard.count() == ROWS + 150


async def test_writes_made_during_a_build_are_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = gated_build(monkeypatch)
    path = tmp_path / "shard"
    async with EdgeShard(path, config(optimizers=INDEX)) as shard:
        await fill(shard)
        await gate.reached()
        await shard.update(UpdateOperation.delete_points([1, 2, 3]))
        await shard.update(upsert([4], n=4))
        await shard.update(upsert([9000], n=5))
        gate.open()
        await informed(shard, lambda info: info.indexed_vectors_count > 0)
    for _ in range(2):
        async with EdgeShard.load(path) as shard:
            assert await shard.count() == ROWS - 3 + 1
            found = await shard.retrieve([1, 2, 3, 4, 9000])
            assert [(r.id, r.payload) for r in found] == [(4, {"n": 4}), (9000, {"n": 5})]


async def test_left_to_optimize_it_does_nothing_unasked_but_seal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = []
    plan = Store.plan

    def watched(self: Store, **named: Any) -> Any:
        plans.append(1)
        return plan(self, **named)

    monkeypatch.setattr(Store, "plan", watched)
    given = config(optimizers=INDEX, background_optimizer=False, checkpoint_bytes=1000)
    async with EdgeShard(tmp_path / "shard", given) as shard:
        await fill(shard)
        info = await informed(shard, lambda info: info.log_bytes < 1000)
        assert info.indexed_vectors_count == 0
        assert plans == []
        assert await shard.optimize() is True
        assert (await shard.info()).indexed_vectors_count == ROWS


# -- optimize()


async def test_optimize_says_whether_anything_was_done(tmp_path: Path) -> None:
    given = config(optimizers=INDEX, background_optimizer=False)
    async with EdgeShard(tmp_path / "shard", given) as shard:
        assert await shard.optimize() is False
        await fill(shard, 10)
        assert await shard.optimize() is False
        await fill(shard)
        assert await shard.optimize() is True
        assert (await shard.info()).indexed_vectors_count == ROWS
        assert await shard.optimize() is False


async def test_optimize_after_the_background_has_done_it_is_false(tmp_path: Path) -> None:
    async with EdgeShard(tmp_path / "shard", config(optimizers=INDEX)) as shard:
        await fill(shard)
        await informed(shard, indexed)
        assert await shard.optimize() is False


async def test_optimize_waits_for_what_the_background_is_doing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = gated_build(monkeypatch)
    async with EdgeShard(tmp_path / "shard", config(optimizers=INDEX)) as shard:
        await fill(shard)
        await gate.reached()
        tasks = [asyncio.create_task(shard.optimize()) for _ in range(3)]
        await settled()
        assert not any(task.done() for task in tasks)
        gate.open()
        assert await asyncio.gather(*tasks) == [True, True, True]
        assert (await shard.info()).indexed_vectors_count == ROWS


@pytest.mark.parametrize("natively", [True, False])
async def test_cancelled_optimize_stops_building_and_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, natively: bool
) -> None:
    monkeypatch.setattr(indexing, "NODES_A_SLICE", 1)
    path = tmp_path / "shard"
    given = config(optimizers=INDEX, background_optimizer=False)
    async with EdgeShard(path, given) as shard:
        await fill(shard)
        with monkeypatch.context() as patch:
            steps, gate = [], Gate()
            step = indexing.Builder.step

            def watched(self: Any, nodes: int) -> int:
                steps.append(1)
                gate.pass_through()
                return step(self, nodes)

            patch.setattr(indexing.Builder, "step", watched)
            with anyio.CancelScope() as scope:
                task = asyncio.create_task(shard.optimize())
                await gate.reached()
                cancel = task.cancel if natively else scope.cancel
                if natively:
                    cancel()
                    await settled()
                    gate.open()
                    with pytest.raises(asyncio.CancelledError):
                        await task
                else:
                    opener = asyncio.create_task(_open_soon(gate, cancel))
                    await task
            await asyncio.gather(task, return_exceptions=True)
            if not natively:
                await opener
            assert task.cancelled()
            assert steps == [1]
        assert (await shard.info()).optimizer == "idle"
        await fill(shard, 10, ROWS)
        assert await shard.optimize() is True
        assert (await shard.info()).indexed_vectors_count == ROWS + 10
        assert len(segment_folders(path)) == 1


async def _open_soon(gate: Gate, cancel: Callable[[], object]) -> None:
    cancel()
    await settled()
    gate.open()


async def test_defect_while_optimizing_has_a_name_and_another_try_may_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shard"
    given = config(optimizers=INDEX, background_optimizer=False)
    async with EdgeShard(path, given) as shard:
        await fill(shard)
        with monkeypatch.context() as patch:
            patch.setattr(writer, "build_graph", _fail)
            with pytest.raises(ActorCrashed, match="out of its mind") as caught:
                await shard.optimize()
            assert caught.value.name == "optimizer"
        assert len(segment_folders(path)) == 1  # the seal's; of the broken build nothing is left
        await shard.update(upsert([1]))
        assert await shard.optimize() is True


def _fail(*args: object) -> None:
    raise RuntimeError("out of its mind")


async def test_full_disk_while_optimizing_is_told_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise StorageFull("no space left on device", "somewhere")

    path = tmp_path / "shard"
    given = config(optimizers=INDEX, background_optimizer=False)
    async with EdgeShard(path, given) as shard:
        await fill(shard)
        with monkeypatch.context() as patch:
            patch.setattr(writer, "write_array", full)
            with pytest.raises(StorageFull):
                await shard.optimize()
        assert segment_folders(path) == []
        await shard.update(upsert([1]))
        assert await shard.optimize() is True
    async with EdgeShard.load(path) as shard:
        assert await shard.count() == ROWS


async def test_read_only_shard_is_not_optimized(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "PAUSES", (0.0, 0.0, 0.0))
    given = config(optimizers=INDEX, background_optimizer=False)
    async with EdgeShard(tmp_path / "shard", given) as shard:
        await fill(shard)
        shard._actors.store.read_only = "for a test"
        with pytest.raises(ShardReadOnly):
            await shard.optimize()
    async with EdgeShard(tmp_path / "shard", config(background_optimizer=True)) as shard:
        shard._actors.store.read_only = "for a test"
        with pytest.raises(ShardReadOnly):
            await shard.update(upsert([1]))
        shard._actors.watch.ring()
        await settled()
        assert (await shard.info()).optimizer == "idle"


# -- stopping


async def test_close_during_a_long_build_returns_soon_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "NODES_A_SLICE", 1)
    path = tmp_path / "shard"
    with monkeypatch.context() as patch:
        steps, gate = [], Gate()
        step = indexing.Builder.step

        def watched(self: Any, nodes: int) -> int:
            steps.append(1)
            gate.pass_through()
            return step(self, nodes)

        patch.setattr(indexing.Builder, "step", watched)
        shard = await EdgeShard(path, config(optimizers=INDEX)).open()
        await fill(shard)
        await gate.reached()
        await shard.update(upsert([5000]))
        closing = asyncio.create_task(shard.close())
        await settled()
        assert not closing.done()
        gate.open()
        await closing
        assert steps == [1]
    async with EdgeShard.load(path, config(optimizers=INDEX)) as shard:
        assert await shard.count() == ROWS + 1
        await informed(shard, indexed)
        assert len(segment_folders(path)) == 1


async def test_optimize_that_is_closed_upon_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = gated_build(monkeypatch)
    path = tmp_path / "shard"
    given = config(optimizers=INDEX, background_optimizer=False)
    shard = await EdgeShard(path, given).open()
    await fill(shard)
    tasks = [asyncio.create_task(shard.optimize()) for _ in range(2)]
    await gate.reached()
    closing = asyncio.create_task(shard.close())
    await settled()
    gate.open()
    for task in tasks:
        with pytest.raises(ShardClosed):
            await task
    await closing
    async with EdgeShard.load(path) as shard:
        assert await shard.count() == ROWS


async def test_nothing_is_built_any_more_when_the_lock_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, built, closed = gated_build(monkeypatch), [], []
    build = optimization.Job.run
    close = Store.close

    def watched_build(self: Any, *args: Any) -> Any:
        try:
            return build(self, *args)
        finally:
            built.append(self.reason)

    def watched_close(self: Store) -> None:
        closed.append(list(built))
        close(self)

    monkeypatch.setattr(optimization.Job, "run", watched_build)
    monkeypatch.setattr(Store, "close", watched_close)
    given = config(optimizers=INDEX, background_optimizer=False)
    shard = await EdgeShard(tmp_path / "shard", given).open()
    await fill(shard)
    task = asyncio.create_task(shard.optimize())  # not in the optimizer's own task
    await gate.reached()
    closing = asyncio.create_task(shard.close())
    await settled()
    assert closed == []
    gate.open()
    await closing
    assert closed == [["seal", "index"]]
    await asyncio.gather(task, return_exceptions=True)


# -- failing


async def test_build_that_fails_is_tried_again_and_after_the_third_time_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "PAUSES", (0.0, 0.001, 0.002))
    tries = []

    def failing(*args: object) -> None:
        tries.append(1)
        raise RuntimeError("out of its mind")

    given = config(optimizers=INDEX, checkpoint_bytes=1000)
    async with EdgeShard(tmp_path / "shard", given) as shard:
        with monkeypatch.context() as patch:
            patch.setattr(writer, "build_graph", failing)
            await fill(shard)
            info = await informed(shard, lambda info: "is off" in info.optimizer)
            assert len(tries) == 4
            assert "optimizer is off" in info.optimizer
            assert "out of its mind" in info.optimizer
            assert info.read_only is None
            await shard.update(upsert([7000]))
            assert await shard.count() == ROWS + 1
            assert len(tries) == 4
            await fill(shard, 200, 9000)  # what is off does not stop the seals
            await informed(shard, lambda info: info.log_bytes < 1000)
        assert await shard.optimize() is True  # asked for, it works even so


async def test_build_that_fails_twice_is_done_at_the_third_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "PAUSES", (0.0, 0.0, 0.0))
    tries = []
    build = indexing.build_graph

    def failing(*args: Any) -> Any:
        tries.append(1)
        if len(tries) < 3:
            raise RuntimeError("out of its mind")
        return build(*args)

    monkeypatch.setattr(writer, "build_graph", failing)
    async with EdgeShard(tmp_path / "shard", config(optimizers=INDEX)) as shard:
        await fill(shard)
        info = await informed(shard, lambda info: info.indexed_vectors_count == ROWS)
        assert "failed" in info.optimizer
        assert len(tries) == 3
