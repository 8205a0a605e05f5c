"""edge.EdgeShard: its life, its two ways of being cancelled, and its agreement with the other."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import numpy as np
import pytest

from edge import blocking
from edge.errors import (
    AlreadyExists,
    NotFound,
    ShardClosed,
    ShardLocked,
    ValidationError,
)
from edge.model.config import Durability, EdgeConfig
from edge.model.filter import FieldCondition, Filter, MatchValue
from edge.model.limits import Limits
from edge.model.point import Point, PointVectors
from edge.model.query import Query
from edge.model.request import CountRequest, QueryBatchRequest, QueryRequest, ScrollRequest
from edge.model.request import SearchRequest as Search
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams
from edge.shard import EdgeShard
from edge.store.store import Store
from tests.actors.made import DIM, Gate, block, config, eventually, settled, upsert, vector

# -- creating, loading, opening


async def test_opens_or_creates(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "shard"
    async with EdgeShard(path, config()) as shard:
        await shard.update(upsert([1], n=1))
    async with EdgeShard(path, config()) as shard:
        assert await shard.count() == 1
    async with EdgeShard(str(path)) as shard:
        (record,) = await shard.retrieve([1])
        assert record.payload == {"n": 1}


async def test_create_and_load_do_only_the_one(tmp_path: Path) -> None:
    path = tmp_path / "shard"
    with pytest.raises(NotFound):
        await EdgeShard.load(path).open()
    assert not path.exists()
    async with EdgeShard.create(path, config()) as shard:
        await shard.update(upsert([1]))
    with pytest.raises(AlreadyExists):
        await EdgeShard.create(path, config()).open()
    async with EdgeShard.load(path) as shard:
        assert await shard.count() == 1


async def test_without_config_there_must_be_a_shard(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        await EdgeShard(tmp_path / "shard").open()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"size": 4}, "config", 5])
async def test_config_that_is_none_is_refused(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(ValidationError, match="config"):
        await EdgeShard(tmp_path / "shard", wrong).open()
    with pytest.raises(ValidationError, match="config"):
        blocking.EdgeShard(tmp_path / "shard", wrong)
    assert list(tmp_path.iterdir()) == []


async def test_create_needs_a_config(tmp_path: Path) -> None:
    async with EdgeShard(tmp_path / "there", config()):
        pass
    with pytest.raises(ValidationError, match="config"):
        await EdgeShard.create(tmp_path / "there", None).open()  # type: ignore[arg-type]


async def test_opened_in_one_task_and_closed_in_another(tmp_path: Path) -> None:
    shard = EdgeShard(tmp_path / "shard", config())
    await asyncio.create_task(shard.open())
    await asyncio.create_task(shard.update(upsert([1])))
    assert await shard.count() == 1
    await asyncio.create_task(shard.close())
    async with EdgeShard.load(shard.path) as again:
        assert await again.count() == 1


async def test_open_twice_and_at_once(tmp_path: Path) -> None:
    shard = EdgeShard(tmp_path / "shard", config())
    one, two = await asyncio.gather(shard.open(), shard.open(), return_exceptions=True)
    assert one is shard
    assert isinstance(two, AlreadyExists)
    with pytest.raises(AlreadyExists):
        await shard.open()
    with pytest.raises(ShardLocked):
        await EdgeShard(shard.path).open()
    assert await shard.count() == 0
    await shard.close()


async def test_close_twice_and_at_once(tmp_path: Path) -> None:
    shard = await EdgeShard(tmp_path / "shard", config()).open()
    await shard.update(upsert([1]))
    await asyncio.gather(*[shard.close() for _ in range(3)])
    await shard.close()
    assert Store.load(shard.path).close() is None  # nobody has it any more


async def test_everybody_who_closes_waits_for_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    monkeypatch.setattr(Store, "close", gate.before(Store.close))
    shard = await EdgeShard(tmp_path / "shard", config()).open()
    tasks = [asyncio.create_task(shard.close()) for _ in range(3)]
    await gate.reached()
    tasks.append(asyncio.create_task(shard.close()))
    await settled()
    assert not any(task.done() for task in tasks)
    gate.open()
    await asyncio.gather(*tasks)


async def test_closed_it_refuses_everything(tmp_path: Path) -> None:
    shard = EdgeShard(tmp_path / "shard", config())
    calls: list[Callable[[], Any]] = [
        lambda: shard.update(upsert([1])),
        lambda: shard.upsert_arrays([1], block(1)),
        lambda: shard.flush(),
        lambda: shard.optimize(),
        lambda: shard.query(QueryRequest(limit=1)),
        lambda: shard.query_batch([QueryRequest(limit=1)]),
        lambda: shard.search(Search(Query.Nearest(vector(1)), 1)),
        lambda: shard.scroll(ScrollRequest()),
        lambda: shard.count(),
        lambda: shard.retrieve([1]),
        lambda: shard.info(),
    ]
    for call in calls:  # before it was opened
        with pytest.raises(ShardClosed):
            await call()
    await shard.open()
    await shard.close()
    for call in calls:
        with pytest.raises(ShardClosed):
            await call()
    await shard.close()


async def test_opened_again_after_close(tmp_path: Path) -> None:
    shard = EdgeShard(tmp_path / "shard", config())
    for n in range(3):
        async with shard:
            await shard.update(upsert([n]))
            assert await shard.count() == n + 1


async def test_failed_open_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "shard"
    async with EdgeShard(path, config()):
        pass
    shard = EdgeShard(path, config(dim=DIM + 1))
    for _ in range(2):
        with pytest.raises(ValidationError):
            await shard.open()
    async with EdgeShard(path) as again:
        assert await again.count() == 0


async def test_two_shards_in_one_loop(tmp_path: Path) -> None:
    async with (
        EdgeShard(tmp_path / "a", config()) as a,
        EdgeShard(tmp_path / "b", config()) as b,
    ):
        writes = [shard.update(upsert([i])) for i in range(20) for shard in (a, b)]
        await asyncio.gather(*writes)
        await b.update(upsert([99]))
        assert (await a.count(), await b.count()) == (20, 21)


async def test_error_inside_the_block_closes_the_shard(tmp_path: Path) -> None:
    path = tmp_path / "shard"

    async def fail() -> None:
        async with EdgeShard(path, config()) as shard:
            await shard.update(upsert([1]))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with EdgeShard.load(path) as shard:
        assert await shard.count() == 1


# -- cancelling


@pytest.mark.parametrize("durability", list(Durability))
async def test_cancelled_updates_are_whole_or_absent(
    tmp_path: Path, durability: Durability
) -> None:
    path, size, draw = tmp_path / "shard", 6, random.Random(1)
    acknowledged: dict[int, bool] = {}
    given = config(durability=durability, checkpoint_bytes=20_000)

    async def write(shard: EdgeShard, n: int) -> None:
        acknowledged[n] = False
        await shard.update(upsert(range(n * size, (n + 1) * size), n=n))
        acknowledged[n] = True

    async def natively(shard: EdgeShard, n: int) -> None:
        task = asyncio.create_task(write(shard, n))
        for _ in range(draw.randrange(12)):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def by_scope(shard: EdgeShard, n: int) -> None:
        with anyio.move_on_after(draw.random() * 0.003):
            await write(shard, n)

    async def by_timeout(shard: EdgeShard, n: int) -> None:
        with anyio.CancelScope() as scope:
            asyncio.get_running_loop().call_later(draw.random() * 0.003, scope.cancel)
            await write(shard, n)

    ways = [natively, by_scope, by_timeout, write]
    async with EdgeShard(path, given) as shard:
        for first in range(0, 200, 20):
            await asyncio.gather(*[draw.choice(ways)(shard, n) for n in range(first, first + 20)])
        await whole_or_absent(shard, acknowledged, size)
    async with EdgeShard.load(path) as shard:
        await whole_or_absent(shard, acknowledged, size)
    assert len(set(acknowledged.values())) == 2  # some were cancelled, some were not


async def whole_or_absent(shard: EdgeShard, acknowledged: dict[int, bool], size: int) -> None:
    for n, is_acknowledged in acknowledged.items():
        found = await shard.retrieve(range(n * size, (n + 1) * size))  # type: ignore[arg-type]
        assert len(found) in ({size} if is_acknowledged else {0, size})
        assert all(record.payload == {"n": n} for record in found)


async def test_cancelled_open_lets_go_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, gate = tmp_path / "shard", Gate()
    with monkeypatch.context() as patch:
        patch.setattr(EdgeShard, "_open_store", gate.before(EdgeShard._open_store))
        shard = EdgeShard(path, config())
        task = asyncio.create_task(shard.open())
        await gate.reached()
        task.cancel()
        await settled()
        assert not task.done()
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await task
    with pytest.raises(ShardClosed):
        await shard.count()
    async with shard:  # neither the folder nor the object is spoilt
        await shard.update(upsert([1]))


async def test_open_under_a_cancelled_scope_lets_go_of_the_folder(tmp_path: Path) -> None:
    shard = EdgeShard(tmp_path / "shard", config())
    for seconds in (0.0, 0.001, 0.005, 0.02):
        with anyio.move_on_after(seconds) as scope:
            await shard.open()
        if not scope.cancelled_caught:
            await shard.close()
    async with EdgeShard(shard.path, config()) as again:
        assert await again.count() == 0


@pytest.mark.parametrize("times", [1, 3])
async def test_cancelled_close_finishes_nevertheless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    gate = Gate()
    with monkeypatch.context() as patch:
        patch.setattr(Store, "close", gate.before(Store.close))
        shard = await EdgeShard(tmp_path / "shard", config()).open()
        await shard.update(upsert([1]))
        task = asyncio.create_task(shard.close())
        await gate.reached()
        for _ in range(times):
            task.cancel()
            await settled()
        assert not task.done()
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with EdgeShard.load(shard.path) as again:
        assert await again.count() == 1


async def test_cancelled_in_the_block_it_closes(tmp_path: Path) -> None:
    opened = asyncio.Event()

    async def use() -> None:
        async with EdgeShard(tmp_path / "shard", config()) as shard:
            await shard.update(upsert([1]))
            opened.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(use())
    await opened.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with EdgeShard.load(tmp_path / "shard") as shard:
        assert await shard.count() == 1


async def test_cancelled_reads_harm_nobody(tmp_path: Path) -> None:
    async with EdgeShard(tmp_path / "shard", config(background_optimizer=False)) as shard:
        await shard.upsert_arrays(np.arange(20_000), block(20_000))
        request = QueryRequest(limit=5, query=Query.Nearest(vector(0)))
        expected = await shard.query(request)
        tasks = [asyncio.create_task(shard.query(request)) for _ in range(40)]
        await settled()
        for task in tasks[::2]:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(hits == expected for hits in found[1::2])


def test_loop_that_ends_closes_what_is_open(tmp_path: Path) -> None:
    path = tmp_path / "shard"
    acknowledged: list[int] = []
    given = config(optimizers={"indexing_threshold": 2}, checkpoint_bytes=4096)

    async def write(shard: EdgeShard, first: int, enough: asyncio.Event) -> None:
        for i in range(first, first + 100_000):
            await shard.update(upsert([i], n=i))
            acknowledged.append(i)
            if len(acknowledged) >= 200:
                enough.set()

    async def read(shard: EdgeShard) -> None:
        while True:
            await shard.query(QueryRequest(limit=5, query=Query.Nearest(vector(0))))

    async def main() -> EdgeShard:
        shard = await EdgeShard(path, given).open()
        enough = asyncio.Event()
        tasks = [asyncio.create_task(write(shard, n * 100_000, enough)) for n in range(4)]
        tasks.append(asyncio.create_task(read(shard)))
        tasks.append(asyncio.create_task(shard.optimize()))
        await enough.wait()
        return shard  # and the loop ends, without close

    shard = asyncio.run(main())
    with blocking.EdgeShard.load(path) as plain:
        found = plain.retrieve(acknowledged)
        assert [(record.id, record.payload) for record in found] == [
            (i, {"n": i}) for i in acknowledged
        ]

    async def use_again() -> None:
        with pytest.raises(ShardClosed):
            await shard.update(upsert([1]))
        await shard.close()
        async with shard:
            assert await shard.count() >= len(acknowledged)

    asyncio.run(use_again())


def test_last_words_at_the_end_of_the_loop_are_refused_not_stranded(tmp_path: Path) -> None:
    seen: list[BaseException] = []

    async def last_words(shard: EdgeShard) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(3):
                await asyncio.sleep(0)
            for call in (lambda: shard.update(upsert([2])), shard.flush, shard.optimize):
                try:
                    await call()
                except ShardClosed as error:
                    seen.append(error)
            await shard.close()

    async def main() -> None:
        shard = await EdgeShard(tmp_path / "shard", config()).open()
        await shard.update(upsert([1]))
        main.task = asyncio.create_task(last_words(shard))  # type: ignore[attr-defined]
        await settled()

    asyncio.run(main())
    assert len(seen) == 3
    with blocking.EdgeShard.load(tmp_path / "shard") as plain:
        assert plain.count() == 1


# -- both facades


NAMED = {"": EdgeVectorParams(DIM, Distance.Dot), "face": EdgeVectorParams(3, Distance.Euclid)}
UNIQUE = UUID("12345678-1234-5678-1234-567812345678")


def operations() -> list[UpdateOperation]:
    """Every kind of update, on few points."""
    hall = Filter(must=[FieldCondition("room", match=MatchValue("hall"))])
    points = [
        Point(i, {"": vector(i), "face": [i, 1.0, 2.0]}, {"room": "hall" if i % 2 else "bath"})
        for i in (*range(12), UNIQUE)
        if isinstance(i, int)
    ]
    unique = Point(UNIQUE, {"face": [1.0, 2.0, 3.0]}, {"a": {"b": [1, 2]}})
    return [
        UpdateOperation.upsert_points([*points, unique]),
        UpdateOperation.delete_points([0, 999]),
        UpdateOperation.update_vectors([PointVectors(1, {"face": [9.0, 9.0, 9.0]})]),
        UpdateOperation.delete_vectors([2], ["face"]),
        UpdateOperation.delete_vectors_by_filter(hall, [""]),
        UpdateOperation.set_payload([3], {"n": 1}),
        UpdateOperation.set_payload_by_filter(hall, {"seen": True}),
        UpdateOperation.overwrite_payload([4], {"only": 1}),
        UpdateOperation.overwrite_payload_by_filter(hall, {"room": "hall", "n": 2}),
        UpdateOperation.delete_payload([5], ["n"]),
        UpdateOperation.delete_payload_by_filter(hall, ["n"]),
        UpdateOperation.clear_payload([6]),
        UpdateOperation.clear_payload_by_filter(
            Filter(must=[FieldCondition("only", match=MatchValue(1))])
        ),
        UpdateOperation.delete_points_by_filter(
            Filter(must=[FieldCondition("room", match=MatchValue("bath"))])
        ),
    ]


def reads() -> list[tuple[str, tuple[Any, ...]]]:
    """Every kind of read: a method and its arguments."""
    query = QueryRequest(
        limit=5, query=Query.Nearest(vector(1)), with_payload=True, with_vector=True
    )
    face = QueryRequest(limit=5, query=Query.Nearest([1.0, 2.0, 3.0], using="face"))
    return [
        ("query", (query,)),
        ("query", (QueryRequest(limit=3),)),
        ("query_batch", ([query, face],)),
        ("query_batch", (QueryBatchRequest([face]),)),
        ("search", (Search(Query.Nearest(vector(2)), 4, with_payload=["room"]),)),
        ("scroll", (ScrollRequest(limit=4, with_vector=True),)),
        ("count", ()),
        ("count", (CountRequest(filter=Filter(must=[FieldCondition("n", match=MatchValue(2))])),)),
        ("retrieve", ([3, UNIQUE, 1, 999, str(UNIQUE)],)),
        ("retrieve", ([3, 1], ["room"], ["face"])),
    ]


async def all_read(shard: EdgeShard) -> list[Any]:
    return [await getattr(shard, method)(*arguments) for method, arguments in reads()]


def all_read_plainly(shard: blocking.EdgeShard) -> list[Any]:
    return [getattr(shard, method)(*arguments) for method, arguments in reads()]


async def test_facades_agree_on_one_folder_in_turn(tmp_path: Path) -> None:
    path = tmp_path / "shard"
    given = EdgeConfig(NAMED)
    async with EdgeShard.create(path, given):
        pass
    for n, operation in enumerate(operations()):
        if n % 2:
            async with EdgeShard(path) as shard:
                assert await shard.update(operation) == n + 1
                before = await all_read(shard)
                info = await shard.info()
        else:
            with blocking.EdgeShard(path) as plain:
                assert plain.update(operation) == n + 1
                before = all_read_plainly(plain)
                info = plain.info()
        with blocking.EdgeShard(path) as plain:
            assert all_read_plainly(plain) == before
            assert plain.info().points_count == info.points_count
        async with EdgeShard(path) as shard:
            assert await all_read(shard) == before
            assert (await shard.info()).sequence == info.sequence


async def test_facades_refuse_alike(tmp_path: Path) -> None:
    wrong: list[tuple[str, tuple[Any, ...]]] = [
        ("update", (UpdateOperation.upsert_points([Point(1, [1.0])]),)),
        ("update", (UpdateOperation.set_payload([404], {"a": 1}),)),
        ("update", ("upsert",)),
        ("upsert_arrays", ([1, 2], block(1))),
        ("upsert_arrays", ([1], np.full((1, DIM), np.nan, np.float32))),
        ("query", (QueryRequest(limit=1, query=Query.Nearest([1.0])),)),
        ("query", (QueryRequest(limit=1, query=Query.Nearest(vector(1), using="nose")),)),
        ("search", (Search(Query.Nearest(vector(1)), 10**7),)),
        ("retrieve", ([True],)),
        ("retrieve", (5,)),
        ("query_batch", ([5],)),
    ]
    async with EdgeShard(tmp_path / "a", config()) as shard:
        with blocking.EdgeShard(tmp_path / "b", config()) as plain:
            for method, arguments in wrong:
                outcomes = [
                    await outcome_of(getattr(shard, method), *arguments),
                    await outcome_of(getattr(plain, method), *arguments),
                ]
                assert outcomes[0] == outcomes[1], (method, arguments)
            assert await shard.count() == plain.count() == 0


async def outcome_of(method: Callable[..., Any], *arguments: Any) -> Any:
    try:
        found = method(*arguments)
        return await found if asyncio.iscoroutine(found) else found
    except ValueError as error:
        return type(error), str(error)


async def test_arrays_of_several_batches(tmp_path: Path) -> None:
    limits = Limits(batch_points=100)
    async with EdgeShard(tmp_path / "shard", config(limits=limits)) as shard:
        ids, vectors = np.arange(350), block(350)
        assert await shard.upsert_arrays(ids, vectors, [{"n": int(i)} for i in ids]) == 4
        assert await shard.count() == 350
        found = await shard.retrieve([0, 99, 100, 349], True, True)
        assert [record.payload for record in found] == [{"n": i} for i in (0, 99, 100, 349)]
        for record in found:
            np.testing.assert_array_equal(record.vector, vectors[int(record.id)])  # type: ignore[arg-type]
        assert await shard.upsert_arrays([], np.empty((0, DIM), np.float32)) == 4
        assert await shard.upsert_arrays([UNIQUE, 7], {"": block(2)}) == 5
        assert await shard.count() == 351


async def test_arrays_are_copied(tmp_path: Path) -> None:
    async with EdgeShard(tmp_path / "shard", config(limits=Limits(batch_points=10))) as shard:
        vectors = block(40)
        expected = vectors.copy()
        await shard.upsert_arrays(np.arange(40), vectors)
        vectors[:] = 0
        (record,) = await shard.retrieve([39], False, True)
        np.testing.assert_array_equal(record.vector, expected[39])  # type: ignore[arg-type]


async def test_flush_makes_all_durable(tmp_path: Path) -> None:
    given = config(durability=Durability.Os)
    async with EdgeShard(tmp_path / "shard", given) as shard:
        await shard.update(upsert([1]))
        await shard.flush()
        info = await shard.info()
        assert info.durable_sequence == info.sequence == 1


async def test_info_counts(tmp_path: Path) -> None:
    async with EdgeShard(tmp_path / "shard", config()) as shard:
        await shard.update(upsert(range(10)))
        await shard.update(UpdateOperation.delete_points([1, 2]))
        info = await shard.info()
        assert (info.points_count, info.deleted_count, info.sequence) == (8, 2, 2)
        assert info.optimizer == "idle"
        assert info.read_only is None
        assert 0 < info.log_bytes <= info.disk_bytes


async def test_many_tasks_write_and_read_at_once(tmp_path: Path) -> None:
    given = config(optimizers={"indexing_threshold": 2}, checkpoint_bytes=8192)
    async with EdgeShard(tmp_path / "shard", given) as shard:

        async def work(n: int) -> None:
            for step in range(20):
                i = n * 100 + step
                await shard.update(upsert([i], n=n))
                hits = await shard.query(QueryRequest(limit=3, query=Query.Nearest(vector(i))))
                assert hits
                if step % 5 == 4:
                    await shard.update(UpdateOperation.delete_points([i]))

        await asyncio.gather(*[work(n) for n in range(20)])
        assert await shard.count() == 20 * 16

        async def is_idle() -> bool:
            return (await shard.info()).optimizer == "idle"

        await eventually(is_idle)
