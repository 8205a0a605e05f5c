"""Whatever a peer sends: the doors stay open for all others, and nothing wrong is stored."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import msgspec
import numpy as np
import pytest
import zmq

from edge import EdgeShard
from edge.endpoints import EdgeClient, requests
from edge.endpoints import protocol as p
from edge.endpoints import thread as threads
from edge.model.update import UpdateOperation
from tests.endpoints.made import DIM, PATIENCE, Peer, Served, points, served, until, until_stored

DOORS = {"ingest": zmq.DEALER, "stream": zmq.PUB, "query": zmq.DEALER}


@pytest.fixture
async def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    monkeypatch.setattr(threads, "MAX_MESSAGE", 1 << 20)
    monkeypatch.setattr(threads, "HANDSHAKE_MS", 300)
    at = "tcp://127.0.0.1:*"
    async with served(tmp_path / "shard", ingest=at, stream=at, query=at) as found:
        yield found


async def is_alive(there: Served) -> None:
    """Every door still does its work for others."""
    number = 10**6 + there.count("query", "messages")
    async with EdgeClient(there.doors.address("query"), there.doors.address("ingest")) as client:
        await client.update(UpdateOperation.upsert_points([]))
        before = await client.count()
        async with Peer(there.doors.address("stream"), zmq.XPUB) as peer:
            await peer.receive()
            await peer.send(b"", *points(1, [number], source=f"alive {number}"))
            await until_stored(client, before + 1)
        await client.update(UpdateOperation.delete_points([number]))


def plugged(there: Served, door: str) -> socket.socket:
    host, port = there.doors.address(door).removeprefix("tcp://").split(":")
    found = socket.create_connection((host, int(port)))
    found.setblocking(False)
    return found


async def until_cut(line: socket.socket) -> None:
    """Wait until the other side has closed the line."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(PATIENCE):
            while await loop.sock_recv(line, 65_536):
                pass
    except ConnectionError:
        pass


@pytest.mark.parametrize("door", DOORS)
async def test_random_bytes(there: Served, door: str) -> None:
    random = Random(door)
    loop = asyncio.get_running_loop()
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + b"\0" + bytes(31)
    for turn in range(120):
        with plugged(there, door) as line:
            start = greeting[: random.randrange(len(greeting) + 1)] if turn % 2 else b""
            try:
                await loop.sock_sendall(line, start + random.randbytes(random.randrange(2_000)))
            except ConnectionError:
                continue  # cut already
    await is_alive(there)
    assert await there.numbers() == {}


@pytest.mark.parametrize("door", DOORS)
async def test_half_open_lines_are_cut(there: Served, door: str) -> None:
    lines = [plugged(there, door) for _ in range(30)]
    for line in lines[::2]:
        await asyncio.get_running_loop().sock_sendall(line, b"\xff" + bytes(8) + b"\x7f")
    await is_alive(there)
    await asyncio.gather(*map(until_cut, lines))
    for line in lines:
        line.close()
    await is_alive(there)


@pytest.mark.parametrize("door", DOORS)
async def test_what_is_too_large_cuts_off_its_sender(there: Served, door: str) -> None:
    most = requests.MAX_REQUEST if door == "query" else threads.MAX_MESSAGE
    cut = zmq.EVENT_DISCONNECTED
    async with Peer(there.doors.address(door), DOORS[door], watches=cut) as peer:
        sending = asyncio.create_task(flood(peer, bytes(most + 1)))
        try:
            assert await peer.event() == cut
        finally:
            sending.cancel()
            await asyncio.wait([sending])
    assert there.count(door, "messages") == 0
    await is_alive(there)


async def flood(peer: Peer, frame: bytes) -> None:
    while True:  # a publisher drops until it knows its subscriber
        await peer.send(b"", frame)
        await asyncio.sleep(0.01)


def mutated(random: Random, frames: list[bytes]) -> list[bytes]:
    """The frames with one to three changes; none of them makes another right message."""
    found = list(frames)
    for _ in range(random.randint(1, 3)):
        what = random.choice(("cut", "drop", "twice", "grow", "noise", "swap"))
        at = random.randrange(len(found)) if found else 0
        if what == "cut" and found:
            found[at] = found[at][: random.randrange(len(found[at]) + 1)][:-1]
        elif what == "drop" and found:
            del found[at]
        elif what == "twice" and found:
            found.insert(at, found[at])
        elif what == "grow" and found:
            found[at] += random.randbytes(random.randint(1, 9))
        elif what == "noise":
            found.insert(at, random.randbytes(random.randrange(40)))
        elif len(found) > 1:
            found[0], found[-1] = found[-1], found[0]
    return found


def wrong(random: Random, header: list[object]) -> bytes:
    """The header with one field too many, or of another kind, or out of its bounds."""
    found: list[object] = list(header)
    at = random.randrange(len(found) + 1)
    junk = random.choice([None, -1, 2**64 - 1, 1.5, "x", b"x", [], {}, float("nan"), "x" * 5_000])
    if at == len(found):
        found += [junk] * 9
    else:
        found[at] = junk
    return msgspec.msgpack.encode(found)


async def test_mutated_messages_store_nothing_wrong(there: Served, tmp_path: Path) -> None:
    random = Random(3)
    right = points(1, [1, 2], source="attacker")
    header = msgspec.msgpack.decode(right[0])
    asked = [msgspec.msgpack.encode([1, "count", 5.0]), msgspec.msgpack.encode({})]
    async with (
        Peer(there.doors.address("ingest"), sndhwm=0) as ingest,
        Peer(there.doors.address("stream"), zmq.XPUB, sndhwm=0) as stream,
        Peer(there.doors.address("query"), sndhwm=0) as query,
    ):
        await stream.receive()
        sent = 0
        for _ in range(600):
            hello = ["hello", 1, "attacker", 1]
            await ingest.send(wrong(random, hello) if random.random() < 0.5 else
                              msgspec.msgpack.encode(hello))  # fmt: skip
            await ingest.send(*(mutated(random, right) or [b""]))
            await ingest.send(wrong(random, header), *right[1:])
            await stream.send(b"", *mutated(random, right))
            await stream.send(b"", wrong(random, header), *right[1:])
            await query.send(*(mutated(random, asked) or [b""]))
            await query.send(wrong(random, [1, "count", 5.0]), asked[1])
            sent += 2
        await until(lambda: there.count("ingest", "messages") >= 1_800)
        await until(lambda: there.count("stream", "messages") >= sent)
        await until(lambda: there.count("query", "messages") >= sent)
        assert there.count("stream", "garbage") > sent // 2
        assert there.count("query", "garbage") > 100
    await is_alive(there)
    found = await there.shard.retrieve(list(await there.numbers()), True, True)
    for record in found:
        assert np.isfinite(record.vector).all()
        assert len(record.vector or []) == DIM
    count = len(found)
    await there.doors.__aexit__(None, None, None)
    await there.shard.close()
    async with EdgeShard(tmp_path / "shard") as shard:  # and the log is as it should be
        assert await shard.count() == count
    await there.shard.open()
    await there.doors.__aenter__()


async def test_many_who_say_hello_and_nothing_else(there: Served) -> None:
    async with Peer(there.doors.address("ingest"), sndhwm=0, rcvhwm=0) as peer:
        for n in range(3_000):
            await peer.send(p.encode(p.Hello(p.VERSION, f"nobody {n}", 1)))
        await until(lambda: there.count("ingest", "messages") >= 3_000)
    await is_alive(there)


async def test_a_client_that_reads_no_answers(there: Served) -> None:
    async with Peer(there.doors.address("query"), sndhwm=0, rcvhwm=1) as peer:
        for n in range(2_000):
            await peer.send(msgspec.msgpack.encode([n, "count"]), msgspec.msgpack.encode({}))
        await until(lambda: there.count("query", "messages") >= 2_000)
        await until(lambda: not any(len(box) for box in there.doors._inboxes))  # type: ignore[arg-type]
        await is_alive(there)
