"""The events door: every change in order, beats of health, and a late joiner who misses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import zmq

from edge import EdgeShard
from edge.endpoints import EdgeClient
from edge.endpoints import events as room
from edge.endpoints.events import CHANGE, HEALTH, Changed, Health
from edge.endpoints.protocol import Decoder
from edge.errors import ShardBusy, ValidationError
from edge.model.check import CheckedCreateVector, CheckedUpsert
from edge.model.config import ConfigChange
from edge.model.point import Point, PointVectors
from edge.model.request import ScrollRequest
from edge.model.update import CreateVector, UpdateOperation
from edge.model.vector_params import Distance, HnswIndexConfig
from edge.store.store import Submission
from tests.endpoints.kinds import EVERY_KIND, SIZE, made, words
from tests.endpoints.made import DIM, PATIENCE, Peer, Served, served, short_folder

decode_health, decode_change = Decoder(Health), Decoder(Changed)


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Served]:
    with short_folder() as folder:
        async with served(tmp_path / "shard", events=f"ipc://{folder}/events") as found:
            yield found


def subscriber(there: Served) -> Peer:
    peer = Peer(there.doors.address("events"), zmq.SUB, rcvhwm=0)
    peer.socket.subscribe(b"")
    return peer


async def test_who_subscribes_is_greeted_at_once(
    there: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "BEAT_SECONDS", 3_600.0)
    async with subscriber(there) as first, subscriber(there) as second:
        for peer in (first, second):
            topic, frame = await peer.receive()
            health = decode_health(frame)
            assert topic == HEALTH
            assert (health.points, health.read_only) == (0, None)


async def test_changes_come_in_order_with_what_they_are(there: Served) -> None:
    async with subscriber(there) as peer:
        await peer.receive()
        sequences = [await there.shard.update(upsert_of(n)) for n in range(5)]
        seen = []
        while len(seen) < 5:
            topic, frame, *body = await peer.receive()
            if topic == CHANGE:
                seen.append(decode_change(frame).sequence)
                assert len(body) == 1
        assert seen == sequences


async def test_who_applies_the_changes_has_what_the_shard_has(tmp_path: Path) -> None:
    """Of every kind of vector, and of vectors that come and go meanwhile."""
    with short_folder() as folder:
        events = f"ipc://{folder}/events"
        async with (
            served(tmp_path / "shard", EVERY_KIND, events=events) as leader,
            EdgeShard(tmp_path / "follower", EVERY_KIND) as follower,
            EdgeClient(leader.query, events=events) as client,
            client.follow() as following,
        ):
            sequences = [await leader.shard.update(operation) for operation in EVERY_CHANGE]
            async with asyncio.timeout(PATIENCE):
                changes = [await anext(following) for _ in EVERY_CHANGE]
            assert [change.sequence for change in changes] == sequences
            for change, operation in zip(changes, EVERY_CHANGE, strict=True):
                ask = follower.actors.writer.post(Submission(change.operation))
                await ask.done.wait()
                assert ask.answer() == change.sequence
                if isinstance(operation, CreateVector):
                    found = change.operation
                    assert isinstance(found, CheckedCreateVector)
                    assert (found.name, found.vector) == (operation.name, operation.params)
            assert follower.actors.store.config == leader.shard.actors.store.config
            everything = ScrollRequest(limit=100, with_vector=True)
            expected = await leader.shard.scroll(everything)
            assert await follower.scroll(everything) == expected
            assert await client.scroll(everything) == expected
            assert await following.view.count() == 0


EVERY_CHANGE = [
    UpdateOperation.upsert_points([made(n) for n in range(20)]),
    UpdateOperation.create_dense_vector("v", 2, Distance.Dot),
    UpdateOperation.update_vectors([PointVectors(n, {"v": [n, 1]}) for n in range(4)]),
    UpdateOperation.delete_vector_name("v"),
    UpdateOperation.create_sparse_vector("v"),
    UpdateOperation.upsert_points([Point(30, {"v": words(3), "parts": [[1, 2, 3]]})]),
    UpdateOperation.upsert_arrays([31, 32], {"parts": np.ones((2, 4, SIZE))}),
    UpdateOperation.update_vectors([PointVectors(3, {"v": words(4), "words": words(5)})]),
    UpdateOperation.delete_vectors([5, 6], ["parts", "rare"]),
    UpdateOperation.set_config(ConfigChange(hnsw_config=HnswIndexConfig(4, 20, 10))),
    UpdateOperation.delete_vector_name("half"),
]


async def test_a_late_joiner_has_all_while_others_write(there: Served) -> None:
    """What the view shows and what came after it are together what the shard holds."""
    ending = asyncio.Event()

    async def write() -> int:
        n = 0
        while not ending.is_set():
            await there.shard.update(upsert_of(n))
            n += 1
        return n

    writing = asyncio.create_task(write())
    async with EdgeClient(there.query, events=there.doors.address("events")) as client:
        for _ in range(5):
            async with client.follow() as following, asyncio.timeout(PATIENCE):
                count = await following.view.count()
                changes = aiter(following)
                for _ in range(20):
                    change = await anext(changes)
                    assert isinstance(change.operation, CheckedUpsert)
                    assert change.operation.batch.ids[0, 2] == count
                    count += 1
    ending.set()
    written = await writing
    assert await there.shard.count() == written


async def test_a_change_that_was_missed_is_told(there: Served) -> None:
    async with (
        EdgeClient(there.query, events=there.doors.address("events")) as client,
        client.follow() as following,
    ):
        following._sequence -= 1  # as if one had not come
        await there.shard.update(upsert_of(1))
        with pytest.raises(ShardBusy, match="begin anew"):
            await anext(aiter(following))


async def test_a_client_without_the_address_cannot_follow(there: Served) -> None:
    async with EdgeClient(there.query) as client:
        with pytest.raises(ValidationError, match="events"):
            await client.follow().__aenter__()


def upsert_of(n: int) -> UpdateOperation:
    return UpdateOperation.upsert_points([Point(n, [1.0] * DIM)])
