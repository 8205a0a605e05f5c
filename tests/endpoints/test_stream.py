"""The stream door: topics, gaps counted exactly, batches, policies."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import zmq
import zmq.asyncio

from edge import EdgeShard
from edge.actors.writer import Writer
from edge.endpoints import Endpoints, Policy, order
from edge.endpoints import endpoints as room
from edge.endpoints import stream as streams
from edge.endpoints.protocol import encode
from edge.model.config import Durability
from edge.store.store import Submission
from tests.endpoints.made import (
    DIM,
    Peer,
    Served,
    config,
    points,
    served,
    short_folder,
    until,
    until_stored,
)

TOPIC = b"points/camera"


@asynccontextmanager
async def publishing(address: str) -> AsyncIterator[Peer]:
    """A publisher whose subscriber is there: nothing that it sends is lost on the way."""
    async with Peer(address, zmq.XPUB, sndhwm=0, xpub_verbose=True) as peer:
        assert (await peer.receive())[0][:1] == b"\1"
        yield peer


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path / "shard") as found:
        yield found


def sources(served: Served) -> Any:
    return served.count("stream", "sources")


async def all_came(served: Served, messages: int) -> None:
    await until(lambda: served.count("stream", "messages") >= messages)


async def test_points_are_stored(there: Served) -> None:
    async with publishing(there.stream) as peer:
        for sequence in range(1, 11):
            await peer.send(TOPIC, *points(sequence, [sequence, 100 + sequence]))
        await until_numbers(there, {n: n % 100 for n in [*range(1, 11), *range(101, 111)]})
    assert sources(there) == {"camera": {"epoch": 1, "newest": 10, "messages": 10, "gaps": 0,
                                         "late": 0, "repaired": 0}}  # fmt: skip
    await until(lambda: there.count("stream", "points") == 20)


async def until_numbers(served: Served, expected: dict[Any, Any]) -> None:
    async def is_so() -> bool:
        found = await served.numbers()
        assert set(found) <= set(expected)
        return found == expected

    await until(is_so)


async def test_other_topics_are_not_taken(tmp_path: Path) -> None:
    async with (
        served(tmp_path / "shard", topics=["points/camera", "points/arm"]) as there,
        Peer(there.stream, zmq.XPUB) as peer,
    ):
        asked = {(await peer.receive())[0], (await peer.receive())[0]}
        assert asked == {b"\1points/camera", b"\1points/arm"}
        for sequence, topic in enumerate((b"points/leg", b"points/arm/left", b"", TOPIC), 1):
            await peer.send(topic, *points(sequence, [sequence]))
        await until_numbers(there, {2: 2, 4: 4})
        await until(lambda: there.count("stream", "messages") == 2)
        assert sources(there)["camera"]["gaps"] == 1


async def test_publishers_that_bind_are_connected_to(tmp_path: Path) -> None:
    with short_folder() as folder:
        context = zmq.asyncio.Context()
        sockets = [context.socket(zmq.XPUB) for _ in range(2)]
        addresses = [f"ipc://{folder}/{n}" for n in range(2)]
        for socket, address in zip(sockets, addresses, strict=True):
            socket.linger = 0
            socket.bind(address)
        async with (
            EdgeShard(tmp_path / "shard", config()) as shard,
            Endpoints(shard, connect=addresses),
        ):
            for n, socket in enumerate(sockets):
                async with asyncio.timeout(20):
                    assert await socket.recv() == b"\1"
                await socket.send_multipart([b"", *points(1, [n], source=f"s{n}")])
            await until_stored(shard, 2)
        context.destroy(0)


# -- what is missing


async def test_gaps_and_late_messages_are_counted_exactly(there: Served) -> None:
    """Messages are left out, swapped and doubled at random: the counts are those of a model."""
    random = Random(7)
    sent = dict.fromkeys(("camera", "arm"), 0)
    gaps: Counter[str] = Counter()
    late: Counter[str] = Counter()
    newest: Counter[str] = Counter()
    total = 0
    async with publishing(there.stream) as peer:
        for source in sent:
            numbers = list(range(1, 401))
            for _ in range(40):
                at = random.randrange(len(numbers))
                what = random.choice(("drop", "swap", "twice"))
                if what == "drop":
                    del numbers[at]
                elif what == "swap" and at + 1 < len(numbers):
                    numbers[at], numbers[at + 1] = numbers[at + 1], numbers[at]
                else:
                    numbers.insert(at, numbers[at])
            newest[source] = numbers[0] - 1
            for n in numbers:
                if n > newest[source]:
                    gaps[source] += n - newest[source] - 1
                    newest[source] = n
                else:
                    late[source] += 1
                await peer.send(TOPIC, *points(n, [n], source=source))
            sent[source] = len(numbers)
            total += len(numbers)
        await all_came(there, total)
    for source, messages in sent.items():
        assert sources(there)[source] == {
            "epoch": 1,
            "newest": newest[source],
            "messages": messages,
            "gaps": gaps[source],
            "late": late[source],
            "repaired": 0,
        }
        assert gaps[source] > 5
        assert late[source] > 5


async def test_losses_of_a_full_line_are_counted_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer is held, the door waits, the line fills: ZeroMQ drops without a word."""
    monkeypatch.setattr(room, "WAITING", 4)
    gate, first = asyncio.Event(), asyncio.Event()

    async def held(stream: Any, came: Any) -> None:
        first.set()
        await gate.wait()
        await store(stream, came)

    store = streams.Stream._store
    monkeypatch.setattr(streams.Stream, "_store", held)
    count, size = 3_000, 64
    block = np.ones((size, 384), np.float32)
    async with (
        served(tmp_path / "shard", config(384)) as there,
        Peer(there.stream, zmq.XPUB, sndhwm=20) as peer,
    ):
        await peer.receive()
        for sequence in range(1, count):
            frames = points(sequence, range(size), vectors=block)
            peer.socket.send_multipart([TOPIC, *frames], zmq.DONTWAIT)
        await first.wait()
        gate.set()
        await until(lambda: "camera" in sources(there))
        while sources(there)["camera"]["newest"] < count:  # the last one has to find room
            await peer.send(TOPIC, *points(count, range(size), vectors=block))
            await asyncio.sleep(0.01)
        found = sources(there)["camera"]
        assert found["gaps"] > 0
        assert found["messages"] - found["late"] + found["gaps"] == count
        await until(lambda: there.count("stream", "points") == found["messages"] * size)


async def test_a_new_epoch_is_no_gap_and_an_older_one_is_late(there: Served) -> None:
    async with publishing(there.stream) as peer:
        for epoch, sequence in ((1, 5), (1, 6), (2, 900), (2, 901), (1, 7)):
            await peer.send(TOPIC, *points(sequence, [sequence], epoch=epoch))
        await all_came(there, 5)
    found = sources(there)["camera"]
    assert (found["epoch"], found["newest"], found["gaps"], found["late"]) == (2, 901, 0, 1)


async def test_sources_are_limited(there: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "MAX_SOURCES", 2)
    async with publishing(there.stream) as peer:
        for n, source in enumerate(("a", "b", "c", "a")):
            await peer.send(TOPIC, *points(1 + n, [n], source=source))
        await all_came(there, 4)
        await until_numbers(there, {0: 1, 1: 2, 3: 4})
    assert set(sources(there)) == {"a", "b"}
    assert there.count("stream", "garbage") == 1


# -- what is wrong


async def test_what_is_wrong_is_dropped_alone(there: Served) -> None:
    nan = np.ones((2, DIM), np.float32)
    nan[1, 2] = np.nan
    wrong = [
        [],
        [b""],
        [b"garbage"],
        [encode(streams.Points("camera", 1, 2, 1, (("", DIM),))), b"", b""],
        points(3, [1, 2], vectors=nan),
        points(4, [1], vectors=np.ones((1, DIM + 1), np.float32)),
        points(5, [1])[:-1],
    ]
    async with publishing(there.stream) as peer:
        await peer.send(TOPIC, *points(1, [1]))
        for frames in wrong:
            await peer.send(TOPIC, *frames)
        await peer.send(TOPIC, *points(6, [6]))
        await until_numbers(there, {1: 1, 6: 6})
    assert there.count("stream", "garbage") == len(wrong)
    assert there.count("stream", "refused") == 2
    assert sources(there)["camera"]["gaps"] == 0


# -- batches


async def stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: list[int]
) -> tuple[list[int], float]:
    """(how many points each operation had, the seconds until all were stored)"""
    posted = []
    post = Writer.post

    def noted(writer: Writer, submission: Submission) -> Any:
        posted.append(len(submission.operation.batch))  # type: ignore[union-attr]
        return post(writer, submission)

    async with served(tmp_path / "shard") as there, publishing(there.stream) as peer:
        monkeypatch.setattr(Writer, "post", noted)
        began = asyncio.get_running_loop().time()
        first = 0
        for sequence, size in enumerate(sizes, 1):
            await peer.send(TOPIC, *points(sequence, range(first, first + size)))
            first += size
        await until_stored(there.shard, first)
        took = asyncio.get_running_loop().time() - began
    return posted, took


async def test_few_points_wait_for_others_but_not_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "BATCH_SECONDS", 0.2)
    posted, took = await stored(tmp_path, monkeypatch, [1] * 10)
    assert sum(posted) == 10
    assert posted[0] > 1, "they did not wait for each other"
    assert took >= 0.2


async def test_a_batch_that_is_full_waits_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "BATCH_SECONDS", 1_000.0)
    posted, _ = await stored(tmp_path, monkeypatch, [8] * 8)
    assert posted[0] == streams.BATCH_POINTS


async def test_closing_stores_what_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "BATCH_SECONDS", 1_000.0)
    async with served(tmp_path / "shard") as there, publishing(there.stream) as peer:
        await peer.send(TOPIC, *points(1, [1]))
        await all_came(there, 1)
    async with EdgeShard(tmp_path / "shard") as shard:
        assert await shard.count() == 1


# -- policies


@pytest.mark.parametrize(
    ("policy", "kept", "dropped"),
    [
        (Policy.DropOldest, [("a", 9), ("b", 9), ("a", 10), ("b", 10)], 16),
        (Policy.Latest, [("a", 10), ("b", 10)], 18),
    ],
)
async def test_who_is_behind_drops_as_the_policy_says(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    policy: Policy,
    kept: list[tuple[str, int]],
    dropped: int,
) -> None:
    monkeypatch.setattr(room, "WAITING", 4)
    gate, holding = asyncio.Event(), asyncio.Event()
    seen = []
    store = streams.Stream._store

    async def held(stream: Any, came: list[streams.Came]) -> None:
        seen.append([one.source for one in came])
        holding.set()
        await gate.wait()
        await store(stream, came)

    monkeypatch.setattr(streams.Stream, "_store", held)
    async with (
        served(tmp_path / "shard", policy=policy) as there,
        publishing(there.stream) as peer,
    ):
        await peer.send(TOPIC, *points(1, [0], source="first"))
        await holding.wait()
        for sequence in range(1, 11):
            for source, place in (("a", 100), ("b", 200)):
                await peer.send(TOPIC, *points(sequence, [place + sequence], source=source))
        await all_came(there, 21)
        gate.set()
        places = {"a": 100, "b": 200}
        expected = {0: 1} | {places[source] + n: n for source, n in kept}
        await until_numbers(there, expected)
        assert there.count("stream", "dropped") == dropped
        assert all(source["gaps"] == 0 for source in sources(there).values())
    assert seen[1] == [source for source, _ in kept]


async def test_block_loses_nothing_while_the_line_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The door is paused and goes on, again and again."""
    monkeypatch.setattr(room, "WAITING", 2)
    monkeypatch.setattr(streams, "BATCH_SECONDS", 0.0)
    async with served(tmp_path / "shard") as there, publishing(there.stream) as peer:
        for sequence in range(1, 501):
            await peer.send(TOPIC, *points(sequence, [sequence]))
        await until_numbers(there, {n: n for n in range(1, 501)})
        assert there.count("stream", "dropped") == 0


async def test_points_of_a_shard_that_takes_nothing_are_counted(tmp_path: Path) -> None:
    given = config(durability=Durability.Os)
    async with served(tmp_path / "shard", given) as there, publishing(there.stream) as peer:
        there.shard.actors.store.read_only = "for the test"
        await peer.send(TOPIC, *points(1, [1, 2, 3]))
        await until(lambda: there.count("stream", "failed") == 3)
        there.shard.actors.store.read_only = None
        await peer.send(TOPIC, *points(2, [7]))
        await until_numbers(there, {7: 2})
