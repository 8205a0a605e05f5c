"""The outbox: all points and then every operation, given again until they are confirmed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from edge import (
    Distance,
    EdgeConfig,
    EdgeSparseVectorParams,
    EdgeVectorParams,
    MultiVectorComparator,
    MultiVectorConfig,
    OutboxLost,
    Point,
    ShardClosed,
    SparseVector,
    ValidationError,
    VectorStorageDatatype,
)
from edge.actors import outbox as outboxes
from edge.actors.outbox import Batch, Entry, Outbox
from edge.model.check import CheckedOperation, CheckedUpdateVectors, CheckedUpsert
from edge.model.cursor import Cursor, Stage
from edge.model.filter import Filter, HasIdCondition
from edge.model.mark import Mark
from edge.model.part import part_of
from edge.model.point_id import decode_ids
from edge.model.update import Nothing, UpdateOperation
from edge.query.answer import Retrieve, answer
from edge.shard import EdgeShard
from edge.store.store import Store, Submission
from tests.actors.made import PATIENCE, eventually
from tests.crash import history
from tests.crash.history import History, config, operation
from tests.disk.simulated import SimulatedStorage


class Elsewhere:
    """Where operations are carried to: a shard of its own, to which edits of points that are not
    there are nothing, as they are to who carries them."""

    def __init__(self) -> None:
        self.store = Store.over(SimulatedStorage(), config(), existing=False)
        self.arrivals: list[int] = []

    def take(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self.arrivals.append(entry.sequence)
            (outcome,) = self.store.commit([Submission(self._lenient(entry.operation))])
            assert isinstance(outcome, int), outcome

    def _lenient(self, operation: CheckedOperation) -> CheckedOperation:
        if isinstance(operation, CheckedUpdateVectors):
            owners, _ = self.store.view.locate(operation.batch.ids)
            return replace(operation, batch=part_of(operation.batch, np.flatnonzero(owners >= 0)))
        target = getattr(operation, "target", None)
        if target is None or isinstance(target, Filter):
            return operation
        return replace(operation, target=Filter(must=[HasIdCondition(decode_ids(target))]))

    def holds(self) -> Any:
        state = history.read(self.store.view)
        points = {id: (p.vectors, p.payload) for id, p in state.points.items()}
        return points, state.schema


def held(shard: EdgeShard) -> Any:
    state = history.read(shard.actors.watch.view)
    return {id: (p.vectors, p.payload) for id, p in state.points.items()}, state.schema


async def the_next(outbox: Outbox, most_bytes: int = 1 << 20) -> Batch:
    async with asyncio.timeout(PATIENCE):
        return await outbox.next(most_bytes)


async def carry(outbox: Outbox, to: Elsewhere, random: Random, most_bytes: int) -> None:
    """Carry batches away without end; now and then nobody learns that one arrived."""
    while True:
        batch = await outbox.next(most_bytes)
        to.take(batch.entries)
        if random.random() < 0.2:
            outbox.rewind()
        else:
            await outbox.confirm(batch)


@asynccontextmanager
async def carried(
    outbox: Outbox, to: Elsewhere, random: Random, most_bytes: int = 1 << 20
) -> AsyncIterator[None]:
    carrier = asyncio.create_task(carry(outbox, to, random, most_bytes))
    try:
        yield
    finally:
        carrier.cancel()
        with suppress(asyncio.CancelledError):
            await carrier


async def all_reached(shard: EdgeShard, outbox: Outbox) -> None:
    async with asyncio.timeout(PATIENCE):
        await outbox.reached(shard.actors.watch.view.sequence)


# -- everything arrives


@pytest.mark.parametrize("seed", range(2))
async def test_elsewhere_it_is_as_it_is_here(seed: int, tmp_path: Path) -> None:
    """Through several lives of a shard that seals, rebuilds and forgets its log where it may."""
    random = Random(seed)
    to, number = Elsewhere(), 1000 * seed
    for life in range(4):
        async with EdgeShard(tmp_path / "shard", config(checkpoint_bytes=3_000)) as shard:
            if life == 0:  # what was there before the outbox was
                for _ in range(random.randint(0, 60)):
                    number += 1
                    await shard.update(operation(number))
            outbox = await shard.outbox("elsewhere")
            async with carried(outbox, to, random, random.choice([1, 500, 5_000])):
                for _ in range(random.randint(1, 60)):
                    number += 1
                    await shard.update(operation(number))
                    if random.random() < 0.05:
                        await shard.optimize()
                    if random.random() < 0.05:
                        await all_reached(shard, outbox)
                if life == 3:
                    await all_reached(shard, outbox)
                    await eventually(partial(nothing_left, outbox))
    assert to.holds() == await reopened(tmp_path)


async def nothing_left(outbox: Outbox) -> bool:
    return outbox.lag() == (0, 0, 0, 0.0)


async def reopened(path: Path) -> Any:
    async with EdgeShard(path / "shard") as shard:
        return held(shard)


async def test_days_offline(tmp_path: Path) -> None:
    """The log is kept over seals, rebuilds and restarts; then all of it goes, in its order."""
    options = config(checkpoint_bytes=3_000)
    to = Elsewhere()
    async with EdgeShard(tmp_path / "shard", options) as shard:
        await all_but_reads(await shard.outbox("elsewhere"))
    sent = History()
    for day in range(5):
        async with EdgeShard(tmp_path / "shard", options) as shard:
            for number in range(day * 50, day * 50 + 50):
                sent.carry_out(number)
                await shard.update(operation(number))
            await shard.optimize()
            outbox = await shard.outbox("elsewhere")
            assert outbox.lag().operations > 30 * (day + 1)
    async with EdgeShard(tmp_path / "shard", options) as shard:
        outbox = await shard.outbox("elsewhere")
        assert (await shard.info()).log_bytes > 20_000
        async with carried(outbox, to, Random(1), 2_000):
            await all_reached(shard, outbox)
        assert (await shard.info()).log_bytes < 20_000
        assert to.holds() == held(shard)
    assert len(set(to.arrivals)) == sent.sequence


async def test_all_points_go_first_page_by_page(tmp_path: Path) -> None:
    async with EdgeShard(tmp_path / "shard", config()) as shard:
        for number in range(30):
            await shard.update(operation(number))
        outbox = await shard.outbox("elsewhere")
        points = await shard.count()
        given: list[int] = []
        while len(given) < points:
            batch = await the_next(outbox, 1)
            upsert = batch.entries[-1].operation
            assert isinstance(upsert, CheckedUpsert)
            given += decode_ids(upsert.batch.ids)
            assert outbox.lag().points == points - len(given)
        assert given == sorted(given)
        assert batch.cursor.stage is Stage.Log


async def test_a_view_that_was_half_sent_goes_on_behind_its_last_point(tmp_path: Path) -> None:
    ids = range(0, 40, 2)
    async with EdgeShard(tmp_path / "shard", config()) as shard:
        await shard.update(some_points(ids))
        outbox = await shard.outbox("elsewhere")
        first = await the_next(outbox, 1_000)
        await outbox.confirm(first)
        await the_next(outbox, 1_000)  # carried away, and nobody knows
        await shard.update(some_points([1, 39]))
        await shard.update(UpdateOperation.delete_points([0, 38]))
    sent = ids_of(first)
    assert 2 < len(sent) < 20
    to = Elsewhere()
    to.take(first.entries)
    async with EdgeShard(tmp_path / "shard") as shard:
        outbox = await shard.outbox("elsewhere")
        assert ids_of(await the_next(outbox, 1_000))[0] == sent[-1] + 2
        outbox.rewind()
        async with carried(outbox, to, Random(0), 1_000):
            await all_reached(shard, outbox)
        assert to.holds() == held(shard)


def some_points(ids: Iterable[int]) -> UpdateOperation:
    return UpdateOperation.upsert_points([Point(i, [float(i)] * 16, {"group": 0}) for i in ids])


def ids_of(batch: Batch) -> list[Any]:
    return [
        point_id
        for entry in batch.entries
        if isinstance(entry.operation, CheckedUpsert)
        for point_id in decode_ids(entry.operation.batch.ids)
    ]


async def test_every_kind_of_vector_arrives(tmp_path: Path) -> None:
    """As it is stored, whatever the type and the place of its numbers."""
    source = EdgeConfig(
        {
            "": EdgeVectorParams(3, Distance.Euclid),
            "half": EdgeVectorParams(2, Distance.Dot, datatype=VectorStorageDatatype.Float16),
            "many": EdgeVectorParams(
                2, Distance.Dot, multivector_config=MultiVectorConfig(MultiVectorComparator.MaxSim)
            ),
        },
        {"words": EdgeSparseVectorParams()},
    )
    vectors: list[dict[str, Any]] = [
        {
            "": [1, 2, 3],
            "half": [0.5, -2],
            "many": [[1, 2], [3, 4]],
            "words": SparseVector([7, 9], [1, 2]),
        },
        {"many": [[5, 6]]},
        {"words": SparseVector([], [])},
        {},
    ]
    to = Store.over(SimulatedStorage(), source, existing=False)
    async with EdgeShard(tmp_path / "shard", source) as shard:
        for half in range(2):
            points = [
                Point(10 * half + i, one, {"i": i} if i else None) for i, one in enumerate(vectors)
            ]
            await shard.update(UpdateOperation.upsert_points(points))
            if not half:
                await shard.actors.writer.call(seal)
        await shard.update(UpdateOperation.create_sparse_vector("later"))
        outbox = await shard.outbox("elsewhere")
        batch = await the_next(outbox)
        outcomes = to.commit([Submission(entry.operation) for entry in batch.entries])
        assert all(isinstance(outcome, int) for outcome in outcomes)
        everything = Retrieve.of([*range(4), *range(10, 14)], True, True)
        assert answer(to.view, everything) == answer(shard.actors.watch.view, everything)


def seal(store: Store) -> None:
    job = store.seal()
    assert job is not None
    store.finish(job, job.run(store.storage, lambda share: None))


# -- what is of no interest elsewhere


async def test_the_shards_own_business_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outboxes, "MOST_SILENT_BYTES", 500)
    async with EdgeShard(tmp_path / "shard", config()) as shard:
        outbox = await shard.outbox("elsewhere")
        waiting = asyncio.create_task(the_next(outbox))
        for n in range(1, 40):
            await shard.update(Nothing(), mark=Mark("arm", 1, n))
        await all_reached(shard, outbox)
        assert not waiting.done()
        assert outbox.cursor.sequence > 10, "the log is not kept for what nobody waits for"
        sequence = await shard.update(some_points([1]))
        assert [entry.sequence for entry in (await waiting).entries] == [sequence]


async def test_two_outboxes_do_not_keep_each_other_busy(tmp_path: Path) -> None:
    async with EdgeShard(tmp_path / "shard", config()) as shard:
        first, second = await shard.outbox("a"), await shard.outbox("b")
        one, two = Elsewhere(), Elsewhere()
        async with carried(first, one, Random(0)), carried(second, two, Random(1)):
            await shard.update(some_points([1, 2]))
            await all_reached(shard, first)
            await all_reached(shard, second)
            await asyncio.sleep(0)
            before = shard.actors.watch.view.sequence
            await all_reached(shard, first)
            await all_reached(shard, second)
            assert shard.actors.watch.view.sequence <= before + 1
        assert one.holds() == two.holds() == held(shard)
        assert set(await shard.outboxes()) == {"a", "b"}


# -- what is lost


async def test_beyond_its_limit_it_has_to_begin_anew(tmp_path: Path) -> None:
    to = Elsewhere()
    async with EdgeShard(tmp_path / "shard", config(checkpoint_bytes=2_000)) as shard:
        outbox = await shard.outbox("elsewhere", most_bytes=4_000)
        number = 0

        async def is_lost() -> bool:
            nonlocal number
            number += 1
            await shard.update(operation(number))
            return shard.actors.store.is_lost(shard.actors.watch.view.cursors["elsewhere"])

        await eventually(is_lost)
        with pytest.raises(OutboxLost, match="'elsewhere' was let go"):
            await the_next(outbox)
        assert outbox.lag().points == await shard.count()
        await outbox.begin_anew()
        assert outbox.cursor.most_bytes == 4_000
        async with carried(outbox, to, Random(2), 500):
            await all_reached(shard, outbox)
        assert to.holds() == held(shard)


async def test_what_is_let_go_while_it_is_read(tmp_path: Path) -> None:
    async with EdgeShard(tmp_path / "shard", config()) as shard:
        outbox = await shard.outbox("elsewhere", most_bytes=0)
        await shard.update(some_points([1]))
        batch = await the_next(outbox)
        await shard.update(some_points([2]))
        await shard.actors.writer.call(seal)
        with pytest.raises(OutboxLost):
            await outbox.confirm(batch)
        with pytest.raises(OutboxLost):
            await the_next(outbox)
        with pytest.raises(OutboxLost):
            _ = outbox.cursor
        await outbox.begin_anew()
        assert ids_of(await the_next(outbox)) == [1, 2]


async def test_a_shard_that_becomes_another_gives_all_points(tmp_path: Path) -> None:
    async with EdgeShard(tmp_path / "other", config()) as other:
        theirs = await other.outbox("elsewhere")
        await other.update(some_points([7, 8]))
        await theirs.confirm(await the_next(theirs))
        snapshot = await other.create_snapshot(tmp_path / "other.snapshot")
    async with EdgeShard(tmp_path / "shard", config()) as shard:
        outbox = await shard.outbox("elsewhere")
        await shard.update(some_points([1]))
        await shard.update_from_snapshot(snapshot.path)
        with pytest.raises(OutboxLost):
            await the_next(outbox)
    async with EdgeShard(tmp_path / "shard") as shard:
        assert (await shard.outboxes())["elsewhere"].stage is Stage.Void
        outbox = await shard.outbox("elsewhere")
        with pytest.raises(OutboxLost):
            await the_next(outbox)
        await outbox.begin_anew()
        assert ids_of(await the_next(outbox)) == [7, 8]


async def test_an_outbox_that_was_dropped(tmp_path: Path) -> None:
    async with EdgeShard(tmp_path / "shard", config()) as shard:
        outbox = await shard.outbox("elsewhere")
        batch = await the_next_of(shard, outbox)
        await shard.drop_outbox("elsewhere")
        await shard.drop_outbox("elsewhere")
        for act in (outbox.next, lambda: outbox.confirm(batch), outbox.begin_anew):
            with pytest.raises(OutboxLost, match="no outbox 'elsewhere' any more"):
                await act()
        assert await shard.outboxes() == {}


async def the_next_of(shard: EdgeShard, outbox: Outbox) -> Batch:
    await shard.update(some_points([1]))
    return await the_next(outbox)


# -- ends


async def test_waiting_ends_with_the_shard(tmp_path: Path) -> None:
    async with EdgeShard(tmp_path / "shard", config()) as shard:
        outbox = await shard.outbox("elsewhere")
        waiting = asyncio.create_task(the_next(outbox))
        await asyncio.sleep(0)
    with pytest.raises(ShardClosed):
        await waiting
    with pytest.raises(ShardClosed):
        await shard.outbox("elsewhere")


async def test_a_cancelled_read_loses_nothing(tmp_path: Path) -> None:
    async with EdgeShard(tmp_path / "shard", config()) as shard:
        outbox = await shard.outbox("elsewhere")
        await all_but_reads(outbox)
        sequences = [await shard.update(some_points([n])) for n in range(20)]
        given: list[int] = []
        for turns in range(200):
            reading = asyncio.create_task(outbox.next(1))
            for _ in range(turns % 12):
                await asyncio.sleep(0)
            reading.cancel()
            with suppress(asyncio.CancelledError):
                given += [entry.sequence for entry in (await reading).entries]
            if given and given[-1] == sequences[-1]:
                break
        while given[-1:] != sequences[-1:]:
            given += [entry.sequence for entry in (await the_next(outbox, 1)).entries]
        assert given == sequences


async def all_but_reads(outbox: Outbox) -> None:
    """Leave the stage of the view, of an empty shard."""
    reading = asyncio.create_task(outbox.next())
    async with asyncio.timeout(PATIENCE):
        await outbox.reached(1)
    reading.cancel()
    with suppress(asyncio.CancelledError):
        await reading


async def test_names_and_limits_are_checked(tmp_path: Path) -> None:
    async with EdgeShard(tmp_path / "shard", config()) as shard:
        with pytest.raises(ValidationError, match=r"cursor.name"):
            await shard.outbox("")
        with pytest.raises(ValidationError, match=r"cursor.most_bytes"):
            await shard.outbox("a", most_bytes=-1)
        assert await shard.outboxes() == {}
        await shard.outbox("a", most_bytes=None)
        await shard.outbox("a", most_bytes=7)
        assert (await shard.outboxes())["a"] == Cursor("a", 0, Stage.View, None, 7)
