"""A pair of shards against dicts: the server as it was adopted, and what was touched here since."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.actors.outbox import Outbox
from edge.errors import NotFound, ValidationError
from edge.model.check import (
    CheckedDeletePoints,
    CheckedOperation,
    CheckedSetPayload,
    CheckedUpdateVectors,
    CheckedUpsert,
)
from edge.model.config import EdgeConfig
from edge.model.filter import FieldCondition, Filter, HasIdCondition, MatchValue
from edge.model.payload import decode_payload
from edge.model.point import Point, PointVectors
from edge.model.point_id import decode_ids
from edge.model.query import Fusion, Query
from edge.model.request import CountRequest, Prefetch, QueryRequest, ScrollRequest
from edge.model.schema import PayloadSchemaType
from edge.model.update import UpdateMode, UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams
from edge.shard import EdgeShard
from edge.sync.pair import Pair

ALL = 1000
CONFIG = EdgeConfig(vectors=EdgeVectorParams(2, Distance.Manhattan))
Value = tuple[list[float], dict[str, Any]]
Points = dict[int, Value]


def upsert(id: int, number: float, **payload: Any) -> UpdateOperation:
    return UpdateOperation.upsert_points([Point(id, [number, 0.0], {"n": number, **payload})])


def value(number: float, **payload: Any) -> Value:
    return [number, 0.0], {"n": number, **payload}


def carry_out(operation: CheckedOperation, points: Points) -> None:
    """What a server does; what it would refuse is passed over."""
    match operation:
        case CheckedUpsert(batch):
            for place, id in enumerate(decode_ids(batch.ids)):
                blob = batch.payloads[place]
                payload = decode_payload(blob) if blob else {}
                points[id] = batch.vectors[""].data[place].tolist(), payload  # type: ignore[index]
        case CheckedUpdateVectors(batch):
            for place, id in enumerate(decode_ids(batch.ids)):
                if id in points:
                    vector = batch.vectors[""].data[place].tolist()
                    points[id] = vector, points[id][1]  # type: ignore[index]
        case CheckedSetPayload(target, payload):
            for id in decode_ids(target):  # type: ignore[arg-type]
                if id in points:
                    points[id][1].update(decode_payload(payload))  # type: ignore[index]
        case CheckedDeletePoints(target):
            for id in decode_ids(target):  # type: ignore[arg-type]
                points.pop(id, None)  # type: ignore[call-overload]
        case _:
            raise AssertionError(operation)


class Robot:
    """A pair in a folder, its outbox, and what it should show."""

    def __init__(self, folder: Path, server: Points) -> None:
        self.folder = folder
        self.server = server
        self.adopted: Points = {}
        self.own: Points = {}
        self.touched: dict[int, int] = {}
        self.unsent = 0

    async def open(self) -> None:
        self.pair = Pair(self.folder, CONFIG)
        await self.pair.__aenter__()
        self.outbox: Outbox = await self.pair.outbox("push")

    async def close(self) -> None:
        await self.pair.__aexit__(None, None, None)

    async def reopen(self) -> None:
        await self.close()
        await self.open()

    @property
    def seen(self) -> Points:
        others = {id: point for id, point in self.adopted.items() if id not in self.touched}
        return others | self.own

    async def update(
        self, operation: UpdateOperation, ids: list[int], change: Callable[[Points], Any]
    ) -> None:
        """Carry it out, and by `change` on what is seen of these ids."""
        sequence = await self.pair.update(operation)
        seen = deepcopy(self.seen)
        change(seen)
        for id in ids:
            self.touched[id] = sequence
            self.own.pop(id, None)
            if id in seen:
                self.own[id] = seen[id]
        self.unsent += 1

    async def push(self, count: int) -> None:
        """Have the server carry out the next operations."""
        for _ in range(min(count, self.unsent)):
            batch = await self.outbox.next(1)
            (entry,) = batch.entries
            carry_out(entry.operation, self.server)
            await self.outbox.confirm(batch)
            self.unsent -= 1

    async def fetch(self) -> int:
        """Have the base as the server is now; return what it holds of the own log."""
        cut = self.outbox.confirmed
        points = [Point(id, *point) for id, point in self.server.items()]
        everything = UpdateOperation.delete_points_by_filter(Filter())
        await self.pair.base.update(everything)
        await self.pair.base.update(UpdateOperation.upsert_points(points))
        return cut

    async def pull(self) -> None:
        cut = await self.fetch()
        await self.pair.adopt(cut)
        self.adopted = deepcopy(self.server)
        self.touched = {id: at for id, at in self.touched.items() if at > cut}
        self.own = {id: point for id, point in self.own.items() if id in self.touched}

    async def check(self) -> None:
        request = ScrollRequest(limit=ALL, with_vector=True)
        records, _ = await self.pair.scroll(request)
        found = {record.id: (record.vector, record.payload) for record in records}
        assert len(found) == len(records)
        assert found == self.seen
        nearest = QueryRequest(query=Query.Nearest([0.0, 0.0]), limit=ALL)
        hits = await self.pair.query(nearest)
        order = sorted((sum(map(abs, vector)), id) for id, (vector, _) in self.seen.items())
        assert [(hit.score, hit.id) for hit in hits] == order
        assert await self.pair.own.count() == len(self.own), "what has left is gone"


# -- steps of one or two robots


async def _upsert(robot: Robot, id: int, number: int) -> None:
    point = value(float(number))
    await robot.update(upsert(id, float(number)), [id], lambda seen: seen.update({id: point}))


async def _insert(robot: Robot, id: int, number: int) -> None:
    operation = UpdateOperation.upsert_points(
        [Point(id, *value(float(number)))], update_mode=UpdateMode.InsertOnly
    )
    if id in robot.seen:
        await robot.pair.update(operation)  # changes nothing, and is told to nobody
    else:
        point = value(float(number))
        await robot.update(operation, [id], lambda seen: seen.update({id: point}))


async def _set(robot: Robot, id: int, number: int) -> None:
    operation = UpdateOperation.set_payload([id], {f"k{number % 3}": number})
    if id not in robot.seen:
        with pytest.raises(NotFound):
            await robot.pair.update(operation)
    else:
        change = {f"k{number % 3}": number}
        await robot.update(operation, [id], lambda seen: seen[id][1].update(change))


async def _move(robot: Robot, id: int, number: int) -> None:
    operation = UpdateOperation.update_vectors([PointVectors(id, [float(number), 1.0])])
    if id in robot.seen:
        moved = [float(number), 1.0]
        await robot.update(operation, [id], lambda seen: seen.update({id: (moved, seen[id][1])}))


async def _delete(robot: Robot, id: int, number: int) -> None:
    operation = UpdateOperation.delete_points([id])
    await robot.update(operation, [id], lambda seen: seen.pop(id, None))


def _even() -> Filter:
    return Filter(must=[HasIdCondition({0, 2, 4})])


async def _set_where(robot: Robot, id: int, number: int) -> None:
    ids = [id for id in (0, 2, 4) if id in robot.seen]
    operation = UpdateOperation.set_payload_by_filter(_even(), {"all": number})
    if not ids:
        await robot.pair.update(operation)
        return
    await robot.update(
        operation, ids, lambda seen: [seen[id][1].update({"all": number}) for id in ids]
    )


async def _delete_where(robot: Robot, id: int, number: int) -> None:
    ids = [id for id in (0, 2, 4) if id in robot.seen]
    operation = UpdateOperation.delete_points_by_filter(_even())
    if not ids:
        await robot.pair.update(operation)
        return
    await robot.update(operation, ids, lambda seen: [seen.pop(id) for id in ids])


STEPS: dict[str, Callable[[Robot, int, int], Any]] = {
    "upsert": _upsert,
    "insert": _insert,
    "set": _set,
    "move": _move,
    "delete": _delete,
    "set where": _set_where,
    "delete where": _delete_where,
    "push": lambda robot, count, _: robot.push(count),
    "pull": lambda robot, _, __: robot.pull(),
    "reopen": lambda robot, _, __: robot.reopen(),
}


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 1), st.sampled_from(sorted(STEPS)), st.integers(0, 4)), max_size=25
    )
)
@settings(max_examples=15)
def test_two_robots_and_a_server(steps: list[tuple[int, str, int]]) -> None:
    async def run(folder: Path) -> None:
        server: Points = {}
        robots = [Robot(folder / str(number), server) for number in range(2)]
        for robot in robots:
            await robot.open()
        for number, (which, what, argument) in enumerate(steps):
            await STEPS[what](robots[which], argument, number)
            await robots[which].check()
        for robot in robots:
            await robot.push(ALL)
        for robot in robots:
            await robot.pull()
            await robot.check()
            assert robot.seen == server, "all come to the same"
            assert robot.own == {}
            await robot.close()

    with TemporaryDirectory() as folder:
        anyio.run(run, Path(folder))


# -- one by one


@pytest.fixture
async def robot(tmp_path: Path):
    robot = Robot(tmp_path / "robot", {})
    await robot.open()
    yield robot
    await robot.close()


async def test_a_pull_that_was_begun_before_a_push_does_not_hold_it(robot: Robot) -> None:
    await _upsert(robot, 1, 10)
    cut = await robot.fetch()
    await robot.push(1)
    await robot.pair.adopt(cut)
    await robot.check()
    await robot.pull()
    await robot.check()
    assert robot.own == {}


async def test_a_crash_before_points_left(robot: Robot, monkeypatch: pytest.MonkeyPatch) -> None:
    for id in (1, 2):
        await _upsert(robot, id, id)
    await robot.push(1)
    with monkeypatch.context() as patched:
        patched.setattr("edge.sync.changing.take_away", lambda cut, store: False)
        robot.pair._overlay.is_leaving = True
        await robot.pull()
        assert await robot.pair.own.count() == 2
    robot.pair._overlay.is_leaving = True
    found, _ = await robot.pair.scroll(ScrollRequest(limit=ALL))
    assert [record.id for record in found] == [1, 2], "it is seen once all the same"
    await _set(robot, 1, 7)
    await robot.reopen()
    await robot.check()


async def test_changes_wait_for_no_lost_point(robot: Robot) -> None:
    """Edits of one point that only the base has, at the same time: none is lost."""
    robot.server[1] = value(1.0)
    await robot.pull()

    async def edit(number: int) -> None:
        await robot.pair.update(UpdateOperation.set_payload([1], {f"k{number}": number}))

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(edit, number)
    (record,) = await robot.pair.retrieve([1])
    assert record.payload == {"n": 1.0} | {f"k{number}": number for number in range(20)}


async def test_every_read_reads_both(robot: Robot) -> None:
    robot.server.update({1: value(1.0, room="hall"), 2: value(2.0, room="hall")})
    await robot.pull()
    await _upsert(robot, 3, 3)
    await robot.pair.update(UpdateOperation.set_payload([3, 2], {"room": "bath"}))
    pair = robot.pair
    hall = Filter(must=[FieldCondition("room", match=MatchValue("hall"))])
    assert await pair.count(CountRequest(filter=hall)) == 1
    assert [record.id for record in await pair.retrieve([3, 1, 9])] == [3, 1]
    near = [Query.Nearest([at, 0.0]) for at in (1.0, 3.0)]
    batch = await pair.query_batch([QueryRequest(query=query, limit=1) for query in near])
    assert [[hit.id for hit in hits] for hits in batch] == [[1], [3]]
    fused = QueryRequest(
        query=Fusion.Rrf(2), prefetches=[Prefetch(query=query, limit=2) for query in near], limit=9
    )
    assert {hit.id for hit in await pair.query(fused)} == {1, 2, 3}
    async with pair.read_view() as view:
        await _delete(robot, 1, 0)
        assert await view.count() == 3
    assert await pair.count() == 2


async def test_indexes_of_the_server_come_along(robot: Robot) -> None:
    index = UpdateOperation.create_field_index("n", PayloadSchemaType.Float)
    await robot.pair.base.update(index)
    await robot.pull()
    assert list((await robot.pair.own.info()).payload_schema) == ["n"]
    gone = UpdateOperation.delete_field_index("n")
    await robot.pair.update(gone)
    await robot.pair.adopt()
    assert list((await robot.pair.own.info()).payload_schema) == [], "the server is to hear of it"


async def test_a_server_of_other_vectors_is_not_read(tmp_path: Path) -> None:
    other = EdgeConfig(vectors=EdgeVectorParams(3, Distance.Dot))
    pair = Pair(tmp_path, CONFIG)
    async with EdgeShard.create(pair.base.path, other):
        pass
    with pytest.raises(ValidationError, match="expected size 2"):
        async with pair:
            pass


async def test_a_folder_of_no_cursor_is_taken_over(tmp_path: Path) -> None:
    """A shard that was not of a pair before: nothing of it leaves before it was handed over."""
    pair = Pair(tmp_path, CONFIG)
    async with pair.own as shard:
        await shard.update(upsert(1, 1.0))
        await shard.optimize()
    async with pair:
        assert await pair.count() == 1
        assert pair.cut == 0
