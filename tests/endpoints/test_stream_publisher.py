"""StreamPublisher: what a stream lost on the way is had again from the replay door."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from edge.endpoints import StreamPublisher
from edge.endpoints.protocol import Decoder, Gone, Points, Replay, encode
from edge.errors import StorageFault, ValidationError
from tests.endpoints.made import DIM, Peer, Served, in_thread, served, short_folder, until

ONE = np.ones((1, DIM), np.float32)


class Lossy:
    """A socket that loses some of what it is to send."""

    def __init__(self, socket: Any, lost: set[int]) -> None:
        self._socket, self._lost = socket, lost
        self._count = 0

    def send_multipart(self, frames: list[bytes]) -> None:
        self._count += 1
        if self._count not in self._lost:
            self._socket.send_multipart(frames)

    def close(self, linger: int) -> None:
        self._socket.close(linger)


async def greeted(there: Served, publisher: StreamPublisher) -> int:
    """Publish until the subscriber is there; return the number of the last message."""
    sequence = 0

    def is_heard() -> bool:
        nonlocal sequence
        sequence = publisher.upsert_arrays([0], ONE)
        return bool(there.count("stream", "messages"))

    await until(is_heard)
    return sequence


async def test_what_was_lost_is_had_again_in_its_order(tmp_path: Path) -> None:
    with short_folder() as folder:
        replay = f"ipc://{folder}/replay"
        with StreamPublisher(
            f"ipc://{folder}/camera", "camera", bind=True, replay=replay
        ) as publisher:
            async with served(
                tmp_path / "shard", stream=None, connect=[f"ipc://{folder}/camera"], replay=[replay]
            ) as there:
                first = await greeted(there, publisher)
                lost = {3, 4, 5, 9, 20, 22, 24, 39}
                publisher._socket = Lossy(publisher._socket, lost)  # type: ignore[assignment]
                for n in range(1, 41):
                    publisher.upsert_arrays([7, 1_000 + n], np.vstack([ONE, ONE]), [{"n": n}] * 2)
                await until(
                    lambda: (
                        there.doors.counts()["stream"]["sources"]["camera"]["newest"] == first + 40
                    )
                )
                await until(lambda: there.count("stream", "points") >= 2 * 40)
                source = there.doors.counts()["stream"]["sources"]["camera"]
                assert (source["gaps"], source["repaired"]) == (0, len(lost))
            async with served(tmp_path / "shard") as there:  # closing stored what waited
                stored = await there.numbers()
        assert stored[7] == 40  # what came again did not go behind what came after it
        assert {n for n in stored if n > 1_000} == set(range(1_001, 1_041))


async def test_only_what_is_kept_is_sent_again() -> None:
    with short_folder() as folder:
        replay = f"ipc://{folder}/replay"
        with StreamPublisher(
            f"ipc://{folder}/a", "camera", bind=True, replay=replay, capacity=3, epoch=9
        ) as publisher:
            for n in range(1, 11):
                publisher.upsert_arrays([n], ONE)
            async with Peer(replay) as peer:
                await peer.send(encode(Replay("radar", 9, 1, 10)))
                await peer.send(encode(Replay("camera", 8, 1, 10)))
                await peer.send(b"garbage")
                await peer.send(encode(Replay("camera", 9, 1, 9)))
                decode = Decoder(Gone, Points)
                found = [decode((await peer.receive())[0]) for _ in range(3)]
        assert found[0] == Gone("camera", 9, 8)
        assert [header.sequence for header in found[1:]] == [8, 9]


async def test_a_publisher_without_a_replay_door_leaves_gaps(tmp_path: Path) -> None:
    async with served(tmp_path / "shard") as there:
        publisher = StreamPublisher(there.stream, "camera")
        await greeted(there, publisher)
        publisher._socket = Lossy(publisher._socket, {2, 3})  # type: ignore[assignment]
        for n in range(1, 5):
            publisher.upsert_arrays([n], ONE)
        await until(lambda: there.count("stream", "sources")["camera"]["gaps"] == 2)
        await in_thread(publisher.close)


def test_addresses_that_are_not_safe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="replay"):
        StreamPublisher(f"ipc://{tmp_path}/a", replay="tcp://0.0.0.0:1")
    with pytest.raises(ValidationError, match="address"):
        StreamPublisher("tcp://0.0.0.0:1", bind=True)
    with short_folder() as folder:
        with StreamPublisher("ipc://" + str(folder / "a"), bind=True):
            pass
        socket = zmq.Context.instance().socket(zmq.PUB)
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        with pytest.raises(StorageFault, match="cannot open"):
            StreamPublisher(f"tcp://127.0.0.1:{port}", bind=True)
        socket.close(0)
