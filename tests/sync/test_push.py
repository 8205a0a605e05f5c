"""Push: what is there afterwards, whatever the line and the server did meanwhile."""

from __future__ import annotations

import asyncio
import logging
import pickle
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial, wraps
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import qdrant_edge

from edge import (
    Distance,
    EdgeConfig,
    EdgeVectorParams,
    FieldCondition,
    Filter,
    MatchValue,
    OutboxLost,
    PayloadSchemaType,
    Point,
    PointVectors,
    Refused,
    RemoteBusy,
    ShardClosed,
    Unauthorized,
    UpdateOperation,
    ValidationError,
)
from edge.actors import outbox as outboxes
from edge.shard import EdgeShard
from edge.store.store import Store
from edge.sync import push as pushes
from edge.sync import rest, writes
from edge.sync.push import Push
from edge.sync.rest import Retries
from tests.actors.made import PATIENCE, eventually
from tests.crash import history
from tests.sync.compared import held_here, held_there
from tests.sync.server import Fault, Server

QUICK = Retries(attempts=None, first=0.001, longest=0.01)
CONFIG = EdgeConfig(EdgeVectorParams(3, Distance.Dot))
THINGS = "/collections/things"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "server") as server:
        yield server


@asynccontextmanager
async def shard_of(folder: Path, config: EdgeConfig = CONFIG) -> AsyncIterator[EdgeShard]:
    async with EdgeShard(folder / "shard", config) as shard:
        yield shard


def pushing(shard: EdgeShard, server: Server, **options: Any) -> Push:
    given = {"retries": QUICK, "create": True, **options}
    return Push(shard, server.url, "things", **given)


def point(number: int, **payload: Any) -> Point:
    return Point(number, [float(number), 1.0, 2.0], {"n": number, **payload})


def upsert(*numbers: int, **payload: Any) -> UpdateOperation:
    return UpdateOperation.upsert_points([point(number, **payload) for number in numbers])


async def drained(push: Push) -> None:
    async with asyncio.timeout(PATIENCE):
        await push.drained()


async def stopped(push: Push) -> Exception:
    """What a push that has stopped says."""
    with pytest.raises(Exception) as raised:  # noqa: PT011
        await drained(push)
    assert push.progress.state == "stopped"
    assert push.progress.error == f"{type(raised.value).__name__}: {raised.value}"
    return raised.value


# -- what is there afterwards


FAULTS = [
    Fault("status", THINGS, status=500),
    Fault("status", THINGS, status=429, retry_after="0"),
    Fault("status", THINGS, status=503),
    Fault("cut request", THINGS, at=10),
    Fault("cut request", THINGS, at=2_000),
    Fault("no reply", THINGS),
    Fault("cut reply", THINGS, at=15),
]


@pytest.mark.parametrize("seed", range(3))
async def test_there_is_what_is_here(seed: int, tmp_path: Path, server: Server) -> None:
    """Every kind of operation, pushed by several lives of a push, of a shard and of a server."""
    random, number = Random(seed), 1000 * seed
    config = history.config(checkpoint_bytes=5_000)
    for _ in range(3):
        async with shard_of(tmp_path, config) as shard:
            for _ in range(3):
                async with pushing(shard, server, batch_bytes=64 << 10) as push:
                    for _ in range(random.randint(5, 25)):
                        number += 1
                        await shard.update(history.operation(number))
                        if random.random() < 0.2:
                            server.arm(random.choice(FAULTS))
                    if random.random() < 0.3:
                        server.restart()
                    if random.random() < 0.5:
                        await drained(push)
    server.disarm()
    async with shard_of(tmp_path, config) as shard, pushing(shard, server) as push:
        await drained(push)
        assert push.progress.refused == 0
        there = held_there(server, "things")
        assert len(there) > 20
        assert there == await held_here(shard)
        info = server.collection("things").info()
        assert info["payload_schema"].keys() == (await shard.info()).payload_schema.keys()


async def test_points_that_were_there_before(tmp_path: Path, server: Server) -> None:
    async with shard_of(tmp_path) as shard:
        await shard.update(UpdateOperation.create_field_index("n", PayloadSchemaType.Integer))
        ids = np.arange(3000)
        await shard.upsert_arrays(ids, np.ones((3000, 3), np.float32), [{"n": 1}] * 3000)
        await shard.flush()
        async with pushing(shard, server, batch_bytes=64 << 10) as push:
            await drained(push)
            assert len(server.seen("POST", "points/batch")) > 3
        assert held_there(server, "things") == await held_here(shard)
        assert server.collection("things").info()["payload_schema"]["n"]["data_type"] == "integer"


async def test_what_comes_while_it_lingers_goes_together(tmp_path: Path, server: Server) -> None:
    async with shard_of(tmp_path) as shard, pushing(shard, server, linger=3600) as push:
        await shard.update(upsert(0))
        await drained(push)
        asked = push.progress.requests
        for number in range(1, 20):
            await shard.update(upsert(number))
        await drained(push)  # does not wait for the rest of the hour
        assert asked < push.progress.requests <= asked + 2
        assert len(held_there(server, "things")) == 20


@pytest.mark.parametrize("linger", [-1.0, 3601.0, float("nan"), "1", True])
async def test_a_linger_that_is_none(tmp_path: Path, server: Server, linger: Any) -> None:
    async with shard_of(tmp_path) as shard:
        with pytest.raises(ValidationError, match="linger"):
            pushing(shard, server, linger=linger)


async def test_days_offline(tmp_path: Path, server: Server) -> None:
    """The push is open all the time, and the server is not there for most of it."""
    server.stop()
    config = history.config(checkpoint_bytes=4_000)
    async with shard_of(tmp_path, config) as shard, pushing(shard, server) as push:
        for number in range(120):
            await shard.update(history.operation(number))
            if number % 40 == 39:
                await shard.optimize()
        waiting = push.progress
        assert waiting.state in ("waiting", "connecting")
        assert waiting.error is not None
        assert waiting.error.startswith("Unreachable: ")
        assert waiting.sent == 0
        assert waiting.newest - waiting.cursor == waiting.operations >= 100
        assert waiting.nbytes > 5_000
        assert waiting.seconds > 0
        server.start()
        await drained(push)
        assert held_there(server, "things") == await held_here(shard)
        assert push.progress.retries > 0
        assert push.progress.error is None


async def test_what_was_done_and_not_answered_is_done_again(tmp_path: Path, server: Server) -> None:
    """Among it edits of points that are deleted further on: there is nothing to edit any more."""
    async with shard_of(tmp_path) as shard:
        async with pushing(shard, server) as push:
            await drained(push)
        await shard.update(upsert(1, 2, 3))
        await shard.update(UpdateOperation.set_payload([1, 2], {"seen": 1}))
        await shard.update(UpdateOperation.update_vectors([PointVectors(2, [9.0, 9.0, 9.0])]))
        await shard.update(UpdateOperation.update_vectors([PointVectors(3, [8.0, 8.0, 8.0])]))
        await shard.update(UpdateOperation.delete_vectors([1], [""]))
        await shard.update(UpdateOperation.delete_points([2]))
        server.arm(Fault("no reply", "points/batch", times=3))
        async with pushing(shard, server) as push:
            await drained(push)
            assert push.progress.retries == 3
            assert held_there(server, "things") == await held_here(shard)
            assert push.progress.refused == 0


async def test_points_that_another_has_deleted_are_not_edited(
    tmp_path: Path, server: Server
) -> None:
    async with shard_of(tmp_path) as shard, pushing(shard, server) as push:
        await shard.update(upsert(1, 2))
        await drained(push)
        server.collection("things").update(lambda: qdrant_edge.UpdateOperation.delete_points([1]))
        await shard.update(UpdateOperation.set_payload([1, 2], {"seen": 1}))
        both = [PointVectors(number, [5.0, 5.0, 5.0]) for number in (1, 2)]
        await shard.update(UpdateOperation.update_vectors(both))
        await drained(push)
        assert held_there(server, "things") == {2: ({"": [5.0] * 3}, {"n": 2, "seen": 1})}
        assert (push.progress.missing, push.progress.refused) == (1, 0)


async def test_two_robots_into_one_collection(tmp_path: Path, server: Server) -> None:
    """A filter means the points that it found here, and not the other's."""
    names = ("first", "second")
    async with (
        EdgeShard(tmp_path / "first", CONFIG) as first,
        EdgeShard(tmp_path / "second", CONFIG) as second,
        pushing(first, server) as one,
        pushing(second, server) as two,
    ):
        for robot, shard in enumerate((first, second)):
            mine = range(100 * robot, 100 * robot + 10)
            await shard.update(upsert(*mine, robot=names[robot], room="hall"))
        await drained(one)
        await drained(two)
        hall = Filter(must=[FieldCondition("room", match=MatchValue("hall"))])
        await first.update(UpdateOperation.set_payload_by_filter(hall, {"room": "attic"}))
        await first.update(UpdateOperation.delete_points_by_filter(Filter(
            must=[FieldCondition("n", match=MatchValue(3))]
        )))  # fmt: skip
        await second.update(UpdateOperation.delete_vectors_by_filter(hall, [""]))
        await second.update(UpdateOperation.clear_payload_by_filter(Filter()))
        await drained(one)
        await drained(two)
        both = await held_here(first) | await held_here(second)
        assert len(both) == 19
        assert held_there(server, "things") == both


# -- refusals


async def collection_without_b(shard: EdgeShard, server: Server) -> None:
    """The shard has a vector name that the collection has not."""
    await shard.update(UpdateOperation.create_dense_vector("b", 2, Distance.Dot))
    server.create("things", {"vectors": {"size": 3, "distance": "Dot"}})
    async with pushing(shard, server) as push:
        await drained(push)
    server.drop("things")
    server.create("things", {"vectors": {"size": 3, "distance": "Dot"}})


def with_b(number: int) -> Point:
    return Point(number, {"": [1.0, 2.0, 3.0], "b": [1.0, 2.0]}, {})


async def test_a_refused_operation_stops_the_push_and_is_not_lost(
    tmp_path: Path, server: Server
) -> None:
    async with shard_of(tmp_path) as shard:
        await collection_without_b(shard, server)
        await shard.update(upsert(1))
        points = [*(point(n) for n in range(10, 20)), with_b(7), *(point(n) for n in range(20, 30))]
        sequence = await shard.update(UpdateOperation.upsert_points(points))
        await shard.update(upsert(2))
        async with pushing(shard, server) as push:
            refusal = await stopped(push)
            assert isinstance(refusal, Refused)
            assert refusal.status == 400
            assert f"operation {sequence} (Upsert of 7)" in str(refusal)
            assert push.progress.cursor < sequence
            with pytest.raises(Refused):
                await push.drained()
        server.collection("things").add_vector("b", {"dense": {"size": 2, "distance": "Dot"}})
        async with pushing(shard, server) as push:
            await drained(push)
        assert held_there(server, "things") == await held_here(shard)


async def test_of_a_refused_operation_only_what_is_wrong_is_left_out(
    tmp_path: Path, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with shard_of(tmp_path) as shard:
        await collection_without_b(shard, server)
        points = [*(point(n) for n in range(10)), with_b(77), *(point(n) for n in range(20, 33))]
        await shard.update(UpdateOperation.upsert_points(points))
        await shard.update(UpdateOperation.overwrite_payload([3], {"x": 1}, "a[]"))
        await shard.update(UpdateOperation.set_payload([5], {"late": True}))
        async with pushing(shard, server, on_refused="skip") as push:
            await drained(push)
            assert push.progress.refused == 2
        here = await held_here(shard)
        del here[77]
        here[3] = (here[3][0], {"n": 3})
        assert held_there(server, "things") == here
        assert "(Upsert of 77) was refused and left out: " in caplog.text


async def test_a_collection_that_is_not_there_stops_the_push(
    tmp_path: Path, server: Server
) -> None:
    async with shard_of(tmp_path) as shard:
        await shard.update(upsert(1))
        for when in ("from the start", "later"):
            async with pushing(shard, server, on_refused="skip", create=when == "later") as push:
                if when == "later":
                    await drained(push)
                    server.drop("things")
                    await shard.update(UpdateOperation.set_payload([1], {"a": 1}))
                refusal = await stopped(push)
                assert "Collection `things` doesn't exist" in str(refusal)
                assert push.progress.refused == 0


async def test_a_collection_of_other_vectors_stops_the_push(tmp_path: Path, server: Server) -> None:
    server.create("things", {"vectors": {"size": 4, "distance": "Dot"}})
    async with shard_of(tmp_path) as shard, pushing(shard, server) as push:
        assert isinstance(await stopped(push), ValidationError)
        assert held_there(server, "things") == {}


async def test_requests_that_are_too_large_are_made_smaller(tmp_path: Path, server: Server) -> None:
    async with shard_of(tmp_path) as shard:
        await shard.upsert_arrays(np.arange(4000), np.ones((4000, 3), np.float32))
        async with pushing(shard, server, batch_bytes=128 << 10) as push:
            await eventually(partial(has_asked, push))
            server.arm(Fault("status", "points/batch", status=413))
            await shard.upsert_arrays(np.arange(4000, 9000), np.ones((5000, 3), np.float32))
            await drained(push)
        assert held_there(server, "things") == await held_here(shard)


async def has_asked(push: Push) -> bool:
    return push.progress.requests > 1


async def test_retries_that_end(tmp_path: Path, server: Server) -> None:
    server.arm(Fault("status", THINGS, status=500, times=3))
    few = Retries(attempts=3, first=0.001)
    async with shard_of(tmp_path) as shard, pushing(shard, server, retries=few) as push:
        assert isinstance(await stopped(push), RemoteBusy)
        assert push.progress.retries == 3


async def test_a_server_that_asks_for_patience_gets_it(tmp_path: Path, server: Server) -> None:
    server.arm(Fault("status", THINGS, status=429, retry_after="200"))
    async with shard_of(tmp_path) as shard, pushing(shard, server) as push:
        await eventually(partial(is_in, push, "waiting"))
        assert push.progress.error is not None
        assert push.progress.error.startswith("RemoteBusy: ")
        requests = len(server.seen())
        await asyncio.sleep(0.05)
        assert len(server.seen()) == requests
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await push.drained()


async def is_in(push: Push, state: str) -> bool:
    return push.progress.state == state


# -- keys


async def test_a_key_is_sent_and_told_to_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    key, shown = "s3cret-key", []

    async def echo(answer: Any) -> str:
        return f"the key {key} is not known"

    monkeypatch.setattr(rest, "_error_text", echo)
    with Server(tmp_path / "server", api_key=f"{key}-as-it-should-be") as server:
        async with shard_of(tmp_path) as shard:
            async with pushing(shard, server, api_key=key) as push:
                error = await stopped(push)
                assert isinstance(error, Unauthorized)
                shown += [repr(push), str(push), repr(push.progress), repr(error), str(error)]
                shown += [repr(vars(error)), repr(pickle.dumps(error)), repr(error.__cause__)]
            monkeypatch.setenv("QDRANT_API_KEY", f"{key}-as-it-should-be")
            async with pushing(shard, server) as push:
                await shard.update(upsert(1))
                await drained(push)
                shown += [repr(push), repr(push.progress)]
                assert len(held_there(server, "things")) == 1
            with pytest.raises(ValidationError) as refused:
                pushing(shard, server, api_key=f"{key}\n")
            shown.append(str(refused.value))
    assert key not in "".join(shown)
    assert key not in caplog.text
    assert "***" in "".join(shown)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_refused": "ask"}, "on_refused"),
        ({"batch_bytes": 1}, "batch_bytes"),
        ({"api_key": "ключ"}, "api_key"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Push(None, "http://localhost", "things", **options)  # type: ignore[arg-type]
    for url in ("localhost:6333", "http://user:pass@localhost", "ftp://localhost"):
        with pytest.raises(ValidationError, match="url"):
            Push(None, url, "things")  # type: ignore[arg-type]


# -- all anew


async def test_what_was_let_go_is_sent_as_points(tmp_path: Path, server: Server) -> None:
    server.create("things", {"vectors": {"size": 3, "distance": "Dot"}})
    config = EdgeConfig(EdgeVectorParams(3, Distance.Dot), checkpoint_bytes=2_000)
    async with shard_of(tmp_path, config) as shard:
        async with pushing(shard, server, outbox_bytes=4_000) as push:
            await shard.update(upsert(1))
            await drained(push)
        server.stop()

        async def is_lost() -> bool:
            await shard.update(upsert(*range(10)))
            cursor = shard.actors.watch.view.cursors["push"]
            return shard.actors.store.is_lost(cursor)

        async with pushing(shard, server, outbox_bytes=4_000) as push:
            await eventually(is_lost)
            server.start()
            await drained(push)
            assert push.progress.resyncs >= 1
        assert held_there(server, "things") == await held_here(shard)


async def test_a_shard_that_becomes_another_is_sent_anew(tmp_path: Path, server: Server) -> None:
    async with EdgeShard(tmp_path / "other", CONFIG) as other:
        await other.update(upsert(7, 8))
        snapshot = await other.create_snapshot(tmp_path / "other.snapshot")
    async with shard_of(tmp_path) as shard, pushing(shard, server) as push:
        await shard.update(upsert(1))
        await drained(push)
        await shard.update_from_snapshot(snapshot.path)
        await shard.update(upsert(9))
        await drained(push)
        assert push.progress.resyncs == 1
        here = await held_here(shard)
        assert set(here) == {7, 8, 9}
        assert here.items() <= held_there(server, "things").items()


async def test_an_outbox_that_was_dropped_stops_the_push(tmp_path: Path, server: Server) -> None:
    async with shard_of(tmp_path) as shard, pushing(shard, server) as push:
        await drained(push)
        await shard.drop_outbox("push")
        await shard.update(upsert(1))
        with pytest.raises(OutboxLost):
            await drained(push)


# -- its life


async def test_it_is_opened_and_closed(tmp_path: Path, server: Server) -> None:
    async with shard_of(tmp_path) as shard:
        push = pushing(shard, server)
        with pytest.raises(ShardClosed):
            _ = push.progress
        async with push:
            with pytest.raises(ValidationError, match="open already"):
                await push.__aenter__()
            await drained(push)
            assert push.progress.state == "idle"
        assert push.progress.state == "closed"
        async with push:
            await shard.update(upsert(1))
            await drained(push)
    assert held_there(server, "things").keys() == {1}


async def test_waiting_ends_with_the_push_and_with_the_shard(
    tmp_path: Path, server: Server
) -> None:
    server.stop()
    async with shard_of(tmp_path) as shard:
        async with pushing(shard, server) as push:
            waiting = asyncio.create_task(push.drained())
            await eventually(partial(is_in, push, "waiting"))
        with pytest.raises(Exception, match=r"^GET /collections/things: "):
            await waiting
    server.start()
    async with shard_of(tmp_path) as shard:
        push = pushing(shard, server)
        await push.__aenter__()
        await drained(push)
        sent = push.progress
    await eventually(partial(is_in, push, "closed"))
    assert push.progress.sent == sent.sent
    await push.__aexit__(None, None, None)


async def test_a_defect_of_ours_stops_it_and_says_so(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> Any:
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr(pushes, "requests_of", broken)
    async with shard_of(tmp_path) as shard, pushing(shard, server) as push:
        await shard.update(upsert(1))
        assert "ZeroDivisionError('of ours')" in str(await stopped(push))


async def test_an_answer_from_in_between_is_no_refusal(tmp_path: Path, server: Server) -> None:
    """As a network gives that wants its guests to register first."""
    server.create("things", {"vectors": {"size": 3, "distance": "Dot"}})
    server.arm(Fault("status", THINGS, status=302), Fault("damage", THINGS, at=2))
    async with shard_of(tmp_path) as shard, pushing(shard, server) as push:
        await shard.update(upsert(1))
        await drained(push)
        assert push.progress.retries == 2
    assert held_there(server, "things").keys() == {1}


async def test_the_loop_makes_no_json_and_reads_no_log(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, found = threading.current_thread(), set()

    def watch(owner: Any, name: str) -> None:
        function: Callable[..., Any] = getattr(owner, name)

        @wraps(function)
        def watched(*arguments: Any, **named: Any) -> Any:
            found.add((name, threading.current_thread() is here))
            return function(*arguments, **named)

        monkeypatch.setattr(owner, name, watched)

    for owner, name in (
        (writes, "_encode"), (writes, "json_rows"), (outboxes, "_take"), (outboxes, "ids_after"),
        (outboxes, "points_of"), (Store, "read_log"), (Store, "set_cursor"),
    ):  # fmt: skip
        watch(owner, name)
    async with shard_of(tmp_path) as shard:
        await shard.update(upsert(*range(100)))
        async with pushing(shard, server) as push:
            await drained(push)
            await shard.update(upsert(*range(100)))
            await shard.update(UpdateOperation.delete_points([1]))
            await drained(push)
    assert {name for name, _ in found} == {
        "_encode", "json_rows", "_take", "ids_after", "points_of", "read_log", "set_cursor",
    }  # fmt: skip
    assert [name for name, on_loop in found if on_loop] == []
