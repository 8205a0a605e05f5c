"""Doors are opened and closed without a trace, whatever happens inside; the loop goes on."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import anyio
import numpy as np
import pytest
import zmq

from edge import EdgeShard
from edge.endpoints import EdgeClient, Endpoints, Policy, Publisher
from edge.endpoints import stream as streams
from edge.endpoints import thread as threads
from edge.errors import ShardClosed, StorageFault, ValidationError
from edge.model.query import Query
from edge.model.request import QueryRequest
from tests.endpoints.made import Peer, config, in_thread, points, served, short_folder, until
from tests.shard.test_loop_pauses import LONGEST_PAUSE, beating


def open_files() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            continue
    return {name for name in found if "anon_inode" not in name}


async def test_nothing_is_left_behind(tmp_path: Path) -> None:
    async with served(tmp_path / "warm"):
        pass
    files, tasks, before = open_files(), asyncio.all_tasks(), threading.enumerate()
    for n in range(3):
        async with served(tmp_path / f"shard {n}") as there:
            async with EdgeClient(there.query, there.ingest) as client:
                assert await client.count() == 0
            async with Peer(there.stream, zmq.PUB) as peer:
                await peer.send(b"", *points(1, [1]))
    await asyncio.sleep(0)
    assert open_files() == files
    assert asyncio.all_tasks() == tasks
    left = {thread.name for thread in threading.enumerate() if thread not in before}
    # the loop's own pools, which end with it
    assert {name for name in left if not name.startswith(("AnyIO worker", "asyncio_"))} == set()


async def test_the_callers_error_comes_through_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with served(tmp_path / "shard"):
            raise KeyError("mine")


async def test_a_cancelled_block_closes_its_doors(tmp_path: Path) -> None:
    opened = asyncio.Event()

    async def life() -> None:
        async with served(tmp_path / "shard"):
            opened.set()
            await asyncio.Event().wait()

    for cancels in (1, 3):
        opened.clear()
        task = asyncio.create_task(life())
        await opened.wait()
        for _ in range(cancels):
            task.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([task])
        assert task.cancelled()
    async with EdgeShard(tmp_path / "shard") as shard:  # it was let go
        assert await shard.count() == 0
    with anyio.move_on_after(0.2) as scope:
        await life()
    assert scope.cancelled_caught


async def test_doors_may_be_opened_again_but_not_twice(tmp_path: Path) -> None:
    with short_folder() as folder:
        async with EdgeShard(tmp_path / "shard", config()) as shard:
            doors = Endpoints(shard, query=f"ipc://{folder}/query")
            for _ in range(2):
                async with doors:
                    with pytest.raises(ValidationError, match="open already"):
                        await doors.__aenter__()
                    async with EdgeClient(f"ipc://{folder}/query") as client:
                        assert await client.count() == 0


async def test_a_door_that_cannot_be_opened_closes_the_others(tmp_path: Path) -> None:
    with short_folder() as folder:
        (folder / "query").mkdir()
        async with EdgeShard(tmp_path / "shard", config()) as shard:
            doors = Endpoints(shard, ingest=f"ipc://{folder}/in", query=f"ipc://{folder}/query")
            with pytest.raises(StorageFault, match="cannot open"):
                await doors.__aenter__()
            async with Endpoints(shard, ingest=f"ipc://{folder}/in"):
                pass


async def test_a_closed_shard_has_no_doors(tmp_path: Path) -> None:
    with short_folder() as folder:
        doors = Endpoints(EdgeShard(tmp_path / "shard", config()), query=f"ipc://{folder}/query")
        with pytest.raises(ShardClosed):
            await doors.__aenter__()


async def test_closing_ends_while_publishers_go_on(tmp_path: Path) -> None:
    """Those that never stop may not hold it up."""
    stop = threading.Event()

    def flood(address: str) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        socket = context.socket(zmq.PUB)
        socket.linger = 0
        socket.connect(address)
        sequence = 0
        while not stop.is_set():
            sequence += 1
            socket.send_multipart([b"", *points(sequence, range(64))])
        context.destroy(0)

    with short_folder() as folder:
        async with served(tmp_path / "shard", doors=folder, policy=Policy.DropOldest) as there:
            flooding = asyncio.create_task(asyncio.to_thread(flood, there.stream))
            await until(lambda: there.count("stream", "messages") > 100)
            closed = there
        stop.set()
        await flooding
    assert closed.doors._host is None


async def test_answers_that_are_on_their_way_are_sent(tmp_path: Path) -> None:
    gate = threading.Event()
    async with served(tmp_path / "shard") as there, EdgeClient(there.query) as client:
        query = there.shard.actors.query
        asked = asyncio.Event()
        ask = query.ask

        async def slow(request: object, view: object = None) -> object:
            asked.set()
            await asyncio.to_thread(gate.wait, 20)
            return await ask(request, view)  # type: ignore[arg-type]

        query.ask = slow  # type: ignore[method-assign, assignment]
        waiting = asyncio.create_task(client.count())
        await asked.wait()
        closing = asyncio.create_task(there.doors.__aexit__(None, None, None))
        await asyncio.sleep(0)
        gate.set()
        await closing
        async with asyncio.timeout(20):
            assert await waiting == 0
        await there.doors.__aenter__()


async def test_a_defect_in_a_handler_leaves_the_thread_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise KeyError("for the test")

    async with served(tmp_path / "shard") as there, Peer(there.stream, zmq.XPUB) as peer:
        await peer.receive()
        with monkeypatch.context() as patched:
            patched.setattr(streams, "points_of", fails)
            await peer.send(b"", *points(1, [1]))
            await until(lambda: there.count("stream", "garbage") == 1)
        await peer.send(b"", *points(2, [2]))
        await until(lambda: there.count("stream", "points") == 1)


def test_calls_are_done_in_order_and_a_defect_in_one_stops_none() -> None:
    thread = threads.DoorThread(None)
    thread.start()
    done: list[int] = []
    ended = threading.Event()

    def fails() -> None:
        raise KeyError("for the test")

    for n in range(1_000):
        thread.call(fails if n % 100 == 50 else (lambda n=n: done.append(n)))  # type: ignore[misc]
    thread.call(ended.set)
    assert ended.wait(20)
    thread.stop()
    thread.call(fails)  # too late: nobody waits for it
    assert done == [n for n in range(1_000) if n % 100 != 50]


# -- by the clock


async def test_the_loop_goes_on_while_points_come_and_are_asked_for(tmp_path: Path) -> None:
    dim, messages, size = 384, 300, 64
    block = np.random.default_rng(1).standard_normal((size, dim)).astype(np.float32)
    asked = 0

    def work(address: str) -> None:
        with Publisher(address) as publisher:
            for n in range(messages):
                ids = range(n * size, n * size + size)
                publisher.upsert_arrays(ids, block, [{"n": i} for i in ids])
            publisher.flush(60)

    async with (
        served(tmp_path / "shard", config(dim)) as there,
        EdgeClient(there.query) as client,
    ):
        async with beating() as heart:
            working = asyncio.create_task(in_thread(work, there.ingest))
            while not working.done():
                await client.query(QueryRequest(10, query=Query.Nearest(block[0])))
                asked += 1
            await working
        assert await there.shard.count() == messages * size
    assert asked > 10
    assert heart.longest < LONGEST_PAUSE
