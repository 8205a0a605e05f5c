"""Indexing a field of a shard that is in use: nothing waits for it, and every answer is right
before, while and after it is built."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge import blocking
from edge.actors import supervisor
from edge.errors import ShardClosed, StorageFull
from edge.model.filter import FieldCondition, Filter, MatchValue
from edge.model.query import OrderBy, Query
from edge.model.request import CountRequest, FacetRequest, QueryRequest, ShardInfo
from edge.model.schema import PayloadSchemaType
from edge.model.update import UpdateOperation
from edge.segment import builder, immutable, writer
from edge.shard import EdgeShard
from tests.actors.made import Gate, block, config, eventually, vector

U, K = UpdateOperation, PayloadSchemaType
ROWS = 600
CALM = {"indexing_threshold": 0, "default_segment_number": 9}
IN_HALL = Filter(must=[FieldCondition("room", match=MatchValue("hall"))])
EXPLAINED = QueryRequest(5, query=Query.Nearest(vector(1)), filter=IN_HALL, explain=True)


def payload(number: int) -> dict[str, Any]:
    return {"room": ["hall", "bath", "attic"][number % 3], "n": number}


def fill(first: int, count: int) -> UpdateOperation:
    ids = np.arange(first, first + count)
    return U.upsert_arrays(ids, block(count, seed=first), [payload(n) for n in ids.tolist()])


async def check(shard: EdgeShard, numbers: set[int]) -> None:
    """Count, facet and order are those of these points."""
    rooms = [payload(n)["room"] for n in numbers]
    assert await shard.count(CountRequest(filter=IN_HALL)) == rooms.count("hall")
    facet = await shard.facet(FacetRequest("room", exact=True))
    assert {hit.value: hit.count for hit in facet} == {r: rooms.count(r) for r in {*rooms}}
    order = await shard.query(QueryRequest(5, query=OrderBy("n")))
    assert [hit.order_value for hit in order] == sorted(numbers)[:5]


async def bounds(shard: EdgeShard) -> list[bool]:
    """Of each segment with points, whether its index alone tells the number of matches."""
    plan = (await shard.query(EXPLAINED)).plan  # type: ignore[attr-defined]
    for part in plan:
        assert part.estimate.least <= part.matches <= part.estimate.most
    return [part.estimate.least == part.estimate.most for part in plan]


async def informed(shard: EdgeShard, is_so: Callable[[ShardInfo], bool]) -> ShardInfo:
    async def look() -> ShardInfo | None:
        info = await shard.info()
        return info if is_so(info) else None

    found: ShardInfo = await eventually(look)
    return found


def has(points: int) -> Callable[[ShardInfo], bool]:
    """Whether the index of rooms knows so many points, and nothing is being done."""

    def is_so(info: ShardInfo) -> bool:
        known = info.payload_schema.get("room")
        return known is not None and known.points == points and info.optimizer == "idle"

    return is_so


def gated(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """A gate before the first index that is written to a file."""
    gate = Gate()
    made = writer.SegmentWriter
    monkeypatch.setattr(made, "_field", gate.before(made._field))
    return gate


async def with_segments(shard: EdgeShard, tail: int = 20) -> set[int]:
    """Two built segments, and a tail; the points that there are."""
    await shard.update(fill(0, ROWS // 2))
    await informed(shard, lambda info: info.log_bytes < 1000)
    await shard.update(fill(ROWS // 2, ROWS // 2))
    await informed(shard, lambda info: info.log_bytes < 1000)
    await shard.update(U.delete_points([0, ROWS - 1]))
    if tail:
        await shard.update(fill(ROWS, tail))
    return set(range(1, ROWS - 1)) | set(range(ROWS, ROWS + tail))


SEALING = {"optimizers": CALM, "checkpoint_bytes": 6000}


async def test_nothing_waits_for_an_index_that_is_being_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = gated(monkeypatch)
    async with EdgeShard(tmp_path / "shard", config(**SEALING)) as shard:
        points = await with_segments(shard)
        await check(shard, points)
        await shard.update(U.create_field_index("room", K.Keyword))
        await gate.reached()
        info = await shard.info()
        assert info.optimizer.startswith("fields")
        assert info.payload_schema["room"].points == 20, "the tail's are indexed at once"
        assert await bounds(shard) == [False, False, True]
        await check(shard, points)
        for turn in range(5):
            first = ROWS + 100 + 10 * turn
            await shard.update(fill(first, 10))
            await shard.update(U.delete_points([turn + 1]))
            points = (points | set(range(first, first + 10))) - {turn + 1}
            await check(shard, points)
            await shard.flush()
        assert (await shard.info()).optimizer.startswith("fields")
        assert await bounds(shard) == [False, False, True]
        gate.open()
        await informed(shard, has(len(points)))
        assert await bounds(shard) == [True, True, True]
        await check(shard, points)
    async with EdgeShard.load(tmp_path / "shard") as shard:
        assert has(len(points))(await shard.info())
        assert set(await bounds(shard)) == {True}
        await check(shard, points)


async def test_seals_go_on_while_an_index_is_being_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each seal writes the index of its own tail, and does not pass the gate of the other build."""
    async with EdgeShard(tmp_path / "shard", config(**SEALING)) as shard:
        points = await with_segments(shard, tail=0)
        gate = Gate()

        def held(*given: Any) -> Any:
            given[-1](0.0)  # the pulse, which shows what is being done
            gate.pass_through()
            return builder.add_fields(*given)

        monkeypatch.setattr("edge.store.optimization.add_fields", held)
        await shard.update(U.create_field_index("room", K.Keyword))
        await gate.reached()
        for turn in range(3):
            first = ROWS + 300 * turn
            await shard.update(fill(first, 200))
            points |= set(range(first, first + 200))
            info = await informed(shard, lambda info: info.log_bytes < 6000)
            assert info.optimizer.startswith("fields")
            assert info.payload_schema["room"].points == 200 * (turn + 1)
            await check(shard, points)
        gate.open()
        await informed(shard, has(len(points)))
        await check(shard, points)


async def test_an_index_that_is_dropped_while_it_is_being_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = gated(monkeypatch)
    async with EdgeShard(tmp_path / "shard", config(**SEALING)) as shard:
        points = await with_segments(shard)
        await shard.update(U.create_field_index("room", K.Keyword))
        await gate.reached()
        await shard.update(U.delete_field_index("room"))
        assert (await shard.info()).payload_schema == {}
        await check(shard, points)
        gate.open()
        await shard.optimize()
        await check(shard, points)
        assert not any((tmp_path / "shard").rglob("field-*"))
        assert await bounds(shard) == [False] * len(await bounds(shard))


async def test_closing_leaves_the_build_and_the_next_start_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shard"
    with monkeypatch.context() as patch:
        gate = gated(patch)
        async with EdgeShard(path, config(**SEALING)) as shard:
            points = await with_segments(shard)
            await shard.update(U.create_field_index("room", K.Keyword))
            await gate.reached()
            waiting = asyncio.create_task(shard.optimize())
            closing = asyncio.create_task(shard.close())
            await eventually(_is_closed(shard))
            assert not closing.done()
            gate.open()
            await closing
            with pytest.raises(ShardClosed):
                await waiting
        assert not any(path.rglob("field-*")), "of what was not finished nothing is left"
    async with EdgeShard.load(path, config(**SEALING)) as shard:
        await informed(shard, has(len(points)))
        await check(shard, points)


def _is_closed(shard: EdgeShard) -> Callable[[], Any]:
    async def look() -> bool:
        try:
            await shard.count()
        except ShardClosed:
            return True
        return False

    return look


async def test_left_to_optimize_an_index_is_built_when_asked(tmp_path: Path) -> None:
    given = config(background_optimizer=False, **SEALING)
    async with EdgeShard(tmp_path / "shard", given) as shard:
        points = await with_segments(shard)
        await shard.update(U.create_field_index("room", K.Keyword))
        assert await bounds(shard) == [False, False, True]
        await check(shard, points)
        assert await shard.optimize() is True
        assert set(await bounds(shard)) == {True}
        assert has(len(points))(await shard.info())
        await check(shard, points)
        assert await shard.optimize() is False


async def test_a_build_that_fails_is_no_failure_of_queries_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "PAUSES", (0.0, 0.0, 0.0))

    def fail(*args: object) -> None:
        raise RuntimeError("out of its mind")

    path = tmp_path / "shard"
    async with EdgeShard(path, config(**SEALING)) as shard:
        points = await with_segments(shard)
        with monkeypatch.context() as patch:
            patch.setattr(writer, "write_field", fail)
            await shard.update(U.create_field_index("room", K.Keyword))
            await informed(shard, lambda info: "out of its mind" in info.optimizer)
            await shard.update(U.delete_points([7]))
            await check(shard, points - {7})
            assert not any(path.rglob("field-*"))
    async with EdgeShard.load(path, config(**SEALING)) as shard:
        await informed(shard, has(len(points) - 1))
        await check(shard, points - {7})


# -- without a loop


def test_without_a_loop_an_index_is_there_when_the_call_returns(tmp_path: Path) -> None:
    with blocking.EdgeShard(tmp_path / "shard", config(optimizers=CALM)) as shard:
        shard.update(fill(0, ROWS))
        shard.optimize()
        shard.update(fill(ROWS, ROWS))
        shard.update(U.create_field_index("room", K.Keyword))
        assert shard.info().payload_schema["room"].points == 2 * ROWS
        plan = shard.query(EXPLAINED).plan  # type: ignore[attr-defined]
        assert {part.estimate.least == part.matches == part.estimate.most for part in plan} == {
            True
        }
        assert sum(part.matches for part in plan) == 2 * ROWS // 3


@pytest.mark.parametrize("where", ["index", "manifest"])
def test_an_index_that_finds_no_space_does_not_fail_the_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def full(*args: object, **named: object) -> None:
        raise StorageFull("no space left on device", "somewhere")

    path = tmp_path / "shard"
    with blocking.EdgeShard(path, config(optimizers=CALM)) as shard:
        shard.update(fill(0, ROWS))
        shard.optimize()
        shard.update(fill(ROWS, 1))
        with monkeypatch.context() as patch:
            if where == "index":
                patch.setattr(immutable, "write_packed", full)
            else:
                patch.setattr("edge.disk.manifest.store", full)
            shard.update(U.create_field_index("room", K.Keyword))
            assert shard.count(CountRequest(filter=IN_HALL)) == ROWS // 3 + 1
            assert shard.info().read_only is None
            assert not any(path.rglob("field-*"))
        shard.update(fill(2 * ROWS, 1))
        shard.optimize()
        assert shard.info().payload_schema["room"].points == ROWS + 2
    with blocking.EdgeShard.load(path) as shard:
        assert shard.info().payload_schema["room"].points == ROWS + 2
        assert shard.count(CountRequest(filter=IN_HALL)) == ROWS // 3 + 2
