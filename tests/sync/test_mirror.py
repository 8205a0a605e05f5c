"""Mirrors and a server that fails: all come to the same, nothing is lost, and nothing is seen
twice."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from edge.errors import EdgeError, NotFound, Unauthorized, Unreachable, ValidationError
from edge.model.config import EdgeConfig
from edge.model.filter import FieldCondition, Filter, MatchValue
from edge.model.point import Point
from edge.model.query import Query
from edge.model.request import CountRequest, QueryRequest, ScrollRequest
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams
from edge.sync.mirror import Mirror
from edge.sync.pull import Pulled
from edge.sync.rest import Retries
from tests.sync.server import Fault, Server, ServerProcess

KEY = "secret"
BODY = {"vectors": {"size": 4, "distance": "Euclid"}}
CONFIG = EdgeConfig(vectors=EdgeVectorParams(4, Distance.Euclid))
QUICK = Retries(attempts=3, first=0.001, longest=0.01)
ALL = 10_000
Points = dict[Any, tuple[Any, Any]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "server", api_key=KEY) as server:
        server.create("things", BODY)
        yield server


def mirror_of(folder: Path, server: Server | ServerProcess, **given: Any) -> Mirror:
    given = {"config": CONFIG, "api_key": KEY, "pull_every": None, "retries": QUICK, **given}
    return Mirror(folder, server.url, "things", **given)


@pytest.fixture
async def memory(tmp_path: Path, server: Server) -> AsyncIterator[Mirror]:
    async with mirror_of(tmp_path / "memory", server) as memory:
        yield memory


def point(id: int, **payload: Any) -> Point:
    return Point(id, [float(id), 0.0, 0.0, 1.0], payload)


def upsert(id: int, **payload: Any) -> UpdateOperation:
    return UpdateOperation.upsert_points([point(id, **payload)])


async def seen(memory: Mirror) -> Points:
    records, _ = await memory.scroll(ScrollRequest(limit=ALL, with_vector=True))
    found = {record.id: (record.vector, record.payload) for record in records}
    assert len(found) == len(records), "nothing is seen twice"
    assert await memory.count() == len(found)
    return found


def on_server(server: Server) -> Points:
    found = server.collection("things").scroll({"limit": ALL, "with_vector": True})["points"]
    return {one["id"]: (one["vector"], one["payload"]) for one in found}


def put(server: Server, *points: Point) -> None:
    """By somebody else."""
    made = [{"id": one.id, "vector": one.vector.tolist(), "payload": one.payload} for one in points]
    server.collection("things").batch([{"upsert": {"points": made}}])


async def in_step(memory: Mirror) -> Pulled:
    await memory.drained()
    return await memory.pull()


# -- without a server, and with one again


async def test_it_works_without_a_server(tmp_path: Path, server: Server) -> None:
    server.stop()
    async with mirror_of(tmp_path / "memory", server) as memory:
        await memory.update(upsert(1, room="hall"))
        await memory.update(UpdateOperation.set_payload([1], {"n": 2}))
        with pytest.raises(Unreachable):
            await memory.pull()
        assert memory.status.error is not None
        assert memory.status.push.operations >= 2
        assert await seen(memory) == {1: ([1, 0, 0, 1], {"room": "hall", "n": 2})}
    async with mirror_of(tmp_path / "memory", server) as memory:
        assert await memory.count() == 1
        server.start()
        assert (await in_step(memory)).kind == "full"
        assert (
            on_server(server) == await seen(memory) == {1: ([1, 0, 0, 1], {"room": "hall", "n": 2})}
        )
        assert await memory.own.count() == 0, "it is the server's now"
        assert memory.status.error is None
    server.stop()
    async with mirror_of(tmp_path / "memory", server) as memory:
        assert await memory.count() == 1, "and is here without it"


async def test_the_config_is_the_servers(tmp_path: Path, server: Server) -> None:
    put(server, point(7))
    (tmp_path / "memory" / "local").mkdir(parents=True)
    async with mirror_of(tmp_path / "memory", server, config=None) as memory:
        await memory.pull()
        assert list(await seen(memory)) == [7]
        await memory.update(upsert(8))
    server.stop()
    async with mirror_of(tmp_path / "memory", server, config=None) as memory:
        assert list(await seen(memory)) == [7, 8]
    with pytest.raises(Unreachable):
        async with mirror_of(tmp_path / "another", server, config=None):
            pass


async def test_pulls_come_by_themselves(tmp_path: Path, server: Server) -> None:
    told: list[Pulled | EdgeError] = []
    news, get = anyio.create_memory_object_stream[Pulled | EdgeError](100)
    put(server, point(1))
    server.arm(Fault("status", "/snapshots", status=500, times=3))
    given = {"pull_every": 0.001, "tell": news.send_nowait}
    with news, get:
        async with mirror_of(tmp_path / "memory", server, **given) as memory:
            told.append(await get.receive())
            told.append(await get.receive())
            assert list(await seen(memory)) == [1]
    assert [isinstance(one, EdgeError) for one in told] == [True, False]


# -- what is seen


async def test_what_only_the_server_has_is_changed_here(server: Server, memory: Mirror) -> None:
    put(server, *(point(id, n=id, room="hall" if id % 2 else "bath") for id in range(1, 7)))
    await memory.pull()
    hall = Filter(must=[FieldCondition("room", match=MatchValue("hall"))])
    await memory.update(UpdateOperation.set_payload([1, 2], {"mine": True}))
    await memory.update(UpdateOperation.delete_points([3]))
    await memory.update(UpdateOperation.set_payload_by_filter(hall, {"room": "floor"}))
    with pytest.raises(NotFound, match="3"):
        await memory.update(UpdateOperation.set_payload([3], {"gone": True}))
    expected: Points = {
        1: ([1, 0, 0, 1], {"n": 1, "room": "floor", "mine": True}),
        2: ([2, 0, 0, 1], {"n": 2, "room": "bath", "mine": True}),
        4: ([4, 0, 0, 1], {"n": 4, "room": "bath"}),
        5: ([5, 0, 0, 1], {"n": 5, "room": "floor"}),
        6: ([6, 0, 0, 1], {"n": 6, "room": "bath"}),
    }
    assert await seen(memory) == expected
    nearest = QueryRequest(query=Query.Nearest([5.0, 0.0, 0.0, 1.0]), limit=3)
    assert [(hit.id, hit.score) for hit in await memory.query(nearest)] == [(5, 0), (4, 1), (6, 1)]
    assert await memory.count(CountRequest(filter=hall)) == 0
    await memory.drained()
    assert on_server(server) == expected
    await memory.pull()
    assert await seen(memory) == expected
    assert await memory.own.count() == 0


async def test_an_edit_carries_only_what_it_changes(server: Server, memory: Mirror) -> None:
    """Somebody else's change of the same point, of another field, is not undone."""
    put(server, point(1, a=1, b=1))
    await memory.pull()
    server.collection("things").batch([{"set_payload": {"points": [1], "payload": {"b": 2}}}])
    await memory.update(UpdateOperation.set_payload([1], {"a": 2}))
    await in_step(memory)
    assert await seen(memory) == on_server(server) == {1: ([1, 0, 0, 1], {"a": 2, "b": 2})}


async def test_a_deletion_of_what_is_only_there_reaches_it(
    tmp_path: Path, server: Server, memory: Mirror
) -> None:
    put(server, point(1), point(2))
    await memory.update(UpdateOperation.delete_points([1]))  # it was never seen here
    await memory.pull()
    assert list(await seen(memory)) == [2]
    await memory.update(UpdateOperation.delete_points([2]))
    assert await seen(memory) == {}
    await in_step(memory)
    assert await seen(memory) == on_server(server) == {}


async def test_a_point_that_is_gone_there_is_gone_here(server: Server, memory: Mirror) -> None:
    await memory.update(upsert(1))
    await in_step(memory)
    server.collection("things").batch([{"delete": {"points": [1]}}])
    assert list(await seen(memory)) == [1]
    await memory.pull()
    assert await seen(memory) == {}


# -- faults


WAYS = ["cut request", "no reply", "cut reply", "status"]


@pytest.mark.parametrize("seed", range(2))
async def test_two_robots_and_a_server_that_fails(
    tmp_path: Path, server: Server, seed: int
) -> None:
    draw = random.Random(seed)

    @asynccontextmanager
    async def robot(number: int) -> AsyncIterator[Mirror]:
        async with mirror_of(tmp_path / f"robot {number}", server) as memory:
            yield memory

    expected: set[int] = set()
    for life in range(3):
        async with robot(0) as first, robot(1) as second:
            for step in range(20):
                for _ in range(draw.randrange(3)):
                    place = draw.choice(["points", "snapshot"])
                    at, status = draw.randrange(3000), draw.choice([429, 500, 503])
                    server.arm(Fault(draw.choice(WAYS), place, status=status, at=at))
                number = draw.randrange(2)
                memory = (first, second)[number]
                id = 2 * draw.randrange(20) + number  # each has its own
                match draw.choice(["upsert", "upsert", "set", "delete", "pull", "restart"]):
                    case "upsert":
                        await memory.update(upsert(id, step=step, life=life))
                        expected.add(id)
                    case "set" if id in expected:
                        await memory.update(UpdateOperation.set_payload([id], {"last": step}))
                    case "delete":
                        await memory.update(UpdateOperation.delete_points([id]))
                        expected.discard(id)
                    case "pull":
                        await _tried(memory.pull)
                    case "restart":
                        await to_thread.run_sync(server.restart)
                own = {id for id in await seen(memory) if id % 2 == number}
                assert own == {id for id in expected if id % 2 == number}
    server.disarm()
    async with robot(0) as first, robot(1) as second:
        await first.drained()
        await second.drained()
        for memory in (first, second):
            await memory.pull()
            assert await seen(memory) == on_server(server)
            assert await memory.own.count() == 0
    assert set(on_server(server)) == expected


async def _tried(act: Callable[[], Any]) -> None:
    with suppress(EdgeError):
        await act()


async def test_a_server_that_is_killed(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "server", api_key=KEY) as server:
        async with mirror_of(tmp_path / "memory", server, create=True) as memory:
            await memory.update(upsert(1))
            await memory.drained()
            await to_thread.run_sync(server.kill)
            await memory.update(upsert(2))
            await to_thread.run_sync(server.start)
            await in_step(memory)
            assert list(await seen(memory)) == [1, 2]
            assert await memory.own.count() == 0


async def test_a_wrong_key_stops_nothing_here(tmp_path: Path, server: Server) -> None:
    async with mirror_of(tmp_path / "memory", server, api_key="wrong") as memory:
        await memory.update(upsert(1))
        with pytest.raises(Unauthorized):
            await memory.pull()
        with pytest.raises(Unauthorized):
            await memory.drained()
        assert list(await seen(memory)) == [1]
        assert "wrong" not in repr(memory.status)
    async with mirror_of(tmp_path / "memory", server) as memory:
        await in_step(memory)
        assert list(on_server(server)) == [1]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"pull_every": 0.0}, "pull_every"),
        ({"full": "both"}, "full"),
        ({"on_refused": "go"}, "on_refused"),
    ],
)
def test_wrong_arguments(tmp_path: Path, server: Server, wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        mirror_of(tmp_path / "memory", server, **wrong)
