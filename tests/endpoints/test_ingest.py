"""The ingest door, spoken to frame by frame, and by its Publisher."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from edge import EdgeShard
from edge.disk.storage import DiskWriter
from edge.endpoints import Endpoints, Publisher
from edge.endpoints import ingest as room
from edge.endpoints import protocol as p
from edge.endpoints import publisher as publishers
from edge.endpoints.protocol import Ack, Nak, Refused, Welcome
from edge.errors import DeadlineExceeded, ShardBusy, ShardClosed, ValidationError
from edge.model import codec
from edge.model import mark as marks
from edge.model.check import check
from edge.model.config import Durability
from edge.model.mark import Mark
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams
from tests.endpoints.made import (
    DIM,
    Peer,
    Served,
    config,
    in_thread,
    numbers,
    points,
    served,
    short_folder,
    until,
)


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path / "shard") as found:
        yield found


def change(sequence: int, operation: UpdateOperation, **more: Any) -> list[bytes]:
    header = p.Change(more.get("source", "camera"), more.get("epoch", 1), sequence)
    return [p.encode(header), b"".join(codec.encode(check(operation, config())))]


WRONG = points(1, [1], vectors=np.ones((1, DIM + 1), np.float32))


def wrong(sequence: int) -> list[bytes]:
    """A message of points of a dimension that the shard has not."""
    return points(sequence, [99], vectors=np.ones((1, DIM + 1), np.float32))


# -- hello


async def test_hello_is_answered_with_all_that_a_producer_has_to_know(there: Served) -> None:
    async with Peer(there.ingest) as peer:
        welcome = await peer.greet()
        vectors = {"": EdgeVectorParams(DIM, Distance.Dot)}
        assert welcome == Welcome(p.VERSION, 1, 0, 0, room.CREDIT, vectors, {})


@pytest.mark.parametrize(
    ("hello", "code", "words"),
    [
        (p.Hello(2, "camera", 1), "validation", "version 2"),
        (p.Hello(1, "", 1), "validation", "mark.source"),
        (p.Hello(1, "x" * 129, 1), "validation", "mark.source"),
        (p.Hello(1, "camera", -1), "validation", "mark.epoch"),
        (p.Hello(1, "camera", 2**63), "validation", "mark.epoch"),
        (p.Hello(1, "arm", 6), "validation", "epoch 6 is over, 7 has begun"),
    ],
)
async def test_a_hello_that_is_wrong_is_refused(
    there: Served, hello: p.Hello, code: str, words: str
) -> None:
    await there.shard.update(UpdateOperation.delete_points([1]), mark=Mark("arm", 7, 3))
    async with Peer(there.ingest) as peer:
        await peer.send(p.encode(hello))
        refused = await peer.hears(Welcome, Refused)
        assert (refused.epoch, refused.sequence, refused.code) == (hello.epoch, 0, code)
        assert words in refused.message
        await peer.send(*points(1, [1]))
        assert (await peer.hears(Welcome, Ack, Refused)).code == "protocol"
    assert await there.numbers() == {}


async def test_names_of_our_own_are_not_to_be_taken(there: Served) -> None:
    async with Peer(there.ingest) as peer:
        assert (await peer.greet(marks.HERE)).code == "validation"


async def test_sources_are_limited(there: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "MAX_SOURCES", 1)
    async with Peer(there.ingest) as known, Peer(there.ingest) as other, Peer(there.ingest) as late:
        await known.greet("known")
        assert isinstance(await late.greet("late"), Welcome)
        await known.send(*points(1, [1], source="known"))
        await known.is_applied(1)
        assert (await other.greet("other")).code == "limit-exceeded"
        await late.send(*points(1, [2], source="late"))  # welcomed while there was room
        assert (await late.hears(Refused)).code == "limit-exceeded"
        await known.send(*points(2, [1], source="known"))
        await known.is_applied(2)
    assert await there.numbers() == {1: 2}


async def test_sessions_are_limited_and_the_oldest_says_hello_again(
    there: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "SESSIONS", 2)
    async with Peer(there.ingest) as oldest, Peer(there.ingest) as b, Peer(there.ingest) as c:
        for name, peer in (("oldest", oldest), ("b", b), ("c", c)):
            assert isinstance(await peer.greet(name), Welcome)
        await oldest.send(*points(1, [1], source="oldest"))
        assert (await oldest.hears(Refused)).message == "say hello first"
        for name, peer in (("b", b), ("c", c)):
            await peer.send(*points(1, [2], source=name))
            await peer.is_applied(1)


# -- in order, once


async def test_messages_are_applied_in_order_and_acknowledged_together(there: Served) -> None:
    async with Peer(there.ingest) as peer:
        await peer.greet()
        for sequence in range(1, 41):
            await peer.send(*points(sequence, [1, sequence + 100]))
        ack = await peer.is_applied(40)
        assert (ack.applied, ack.credit) == (40, room.CREDIT)
    found = await there.numbers()
    assert found == {1: 40, **{n + 100: n for n in range(1, 41)}}
    mark = await there.shard.mark("camera")
    assert mark is not None
    assert (mark.epoch, mark.sequence) == (1, 40)
    assert there.count("ingest", "points") == 80


async def test_a_message_that_comes_again_is_acknowledged_and_not_applied(there: Served) -> None:
    async with Peer(there.ingest) as peer:
        await peer.greet()
        await peer.send(*points(1, [1], n=1))
        await peer.is_applied(1)
        await peer.send(*points(1, [1], n=-1))
        await peer.is_applied(1)
        await peer.send(*points(2, [2], n=2))
        await peer.is_applied(2)
    assert await there.numbers() == {1: 1, 2: 2}


async def test_a_gap_is_asked_for_and_nothing_behind_it_is_applied(there: Served) -> None:
    async with Peer(there.ingest) as peer:
        await peer.greet()
        for sequence in (1, 3, 4, 6):
            await peer.send(*points(sequence, [sequence]))
        assert (await peer.hears(Nak)).expected == 2
        assert set(await there.numbers()) <= {1}
        for sequence in (2, 3, 4, 5):
            await peer.send(*points(sequence, [sequence]))
        await peer.is_applied(5)
    assert await there.numbers() == {n: n for n in range(1, 6)}


async def test_who_said_no_hello_is_asked_for_it(there: Served) -> None:
    async with Peer(there.ingest) as peer:
        for sequence in (1, 2, 3):
            await peer.send(*points(sequence, [sequence]))
        refused = await peer.hears(Ack, Nak, Refused, Welcome)
        assert (refused.epoch, refused.sequence, refused.code) == (1, 0, "protocol")
        await peer.send(p.encode(p.Hello(p.VERSION, "camera", 1)))
        assert (await peer.hears(Welcome)).applied == 0
        await peer.send(*points(1, [1], source="another"))
        assert (await peer.hears(Refused)).message == "say hello first"
    assert await there.numbers() == {}


async def test_two_producers_do_not_meet(there: Served) -> None:
    async with Peer(there.ingest) as one, Peer(there.ingest) as other:
        await one.greet("one", 5)
        await other.greet("other", 9)
        for sequence in range(1, 31):
            await one.send(*points(sequence, [sequence], source="one", epoch=5))
            await other.send(*points(sequence, [1_000 + sequence], source="other", epoch=9))
        await one.is_applied(30)
        await other.is_applied(30)
    expected = {n: n for n in range(1, 31)} | {1_000 + n: n for n in range(1, 31)}
    assert await there.numbers() == expected


async def test_one_line_may_change_its_source_between_messages(there: Served) -> None:
    """Both sources' messages come in one go: neither may end up under the other's mark."""
    async with Peer(there.ingest) as peer:
        hello = p.encode(p.Hello(p.VERSION, "b", 1))
        await peer.greet("a")
        for frames in (
            points(1, [1], source="a"),
            points(2, [2], source="a"),
            [hello],
            points(1, [3], source="b"),
        ):
            await peer.send(*frames)
        await peer.hears(Welcome)
        await peer.is_applied(1)
    assert await there.numbers() == {1: 1, 2: 2, 3: 1}
    found = [await there.shard.mark(source) for source in ("a", "b")]
    assert [(mark.source, mark.sequence) for mark in found if mark] == [("a", 2), ("b", 1)]


async def test_a_new_epoch_begins_anew_and_ends_the_older(there: Served) -> None:
    async with Peer(there.ingest) as peer:
        await peer.greet(epoch=1)
        await peer.send(*points(1, [1], epoch=1))
        await peer.is_applied(1)
        assert (await peer.greet(epoch=2)).applied == 0
        await peer.send(*points(1, [2], epoch=2))
        await peer.is_applied(1)
        assert (await peer.greet(epoch=1)).code == "validation"
        assert (await peer.greet(epoch=2)).applied == 1


async def test_a_second_line_of_a_source_takes_over(there: Served) -> None:
    async with Peer(there.ingest) as first, Peer(there.ingest) as second:
        await first.greet()
        await first.send(*points(1, [1]))
        await first.is_applied(1)
        assert (await second.greet()).applied == 1
        await first.send(*points(2, [2]))
        assert (await first.hears(Refused)).code == "protocol"
        await second.send(*points(2, [2]))
        await second.is_applied(2)


# -- what is wrong


async def test_a_wrong_message_is_refused_by_name_once_and_passed_over(there: Served) -> None:
    async with Peer(there.ingest) as peer:
        await peer.greet()
        await peer.send(*points(1, [1]))
        await peer.send(*wrong(2))
        await peer.send(*points(3, [3]))
        headers: list[Any] = []
        while not (headers and isinstance(headers[-1], Ack) and headers[-1].applied == 3):
            headers.append(await peer.hears(Ack, Nak, Refused))
        (refused,) = [header for header in headers if isinstance(header, Refused)]
        assert not [header for header in headers if isinstance(header, Nak)]
        assert (refused.epoch, refused.sequence, refused.code) == (1, 2, "wrong-dimension")
        assert "expected" in refused.message
        # it comes again, as its answer may have been lost: it is told again
        await peer.send(*wrong(2))
        assert (await peer.hears(Refused)).sequence == 2
    assert await there.numbers() == {1: 1, 3: 3}
    assert there.count("ingest", "refused") == 1


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (points(1, [1], vectors=np.full((1, DIM), np.nan, np.float32)), "validation"),
        (WRONG, "wrong-dimension"),
        (p.message_of("camera", 1, 1, [1], {"other": np.ones((1, DIM))}, None), "unknown-vector"),
        ([*points(1, [1]), b"more"], "protocol"),
        (points(1, [1])[:-1], "protocol"),
        ([points(1, [1])[0], b"", *points(1, [1])[2:]], "protocol"),
        ([p.encode(p.Change("camera", 1, 1)), b"no operation"], "corrupt"),
        ([p.encode(p.Change("camera", 1, 1))], "protocol"),
        (change(1, UpdateOperation.set_payload([77], {"a": 1})), "not-found"),
    ],
)
async def test_the_refusal_names_the_class(there: Served, frames: list[bytes], code: str) -> None:
    async with Peer(there.ingest) as peer:
        await peer.greet()
        await peer.send(*frames)
        refused = await peer.hears(Refused)
        assert (refused.sequence, refused.code) == (1, code)
        await peer.is_applied(1)
        await peer.send(*points(2, [5]))
        await peer.is_applied(2)
    assert await there.numbers() == {5: 2}


async def test_what_was_behind_a_change_that_failed_is_applied_all_the_same(there: Served) -> None:
    """The store refuses it only when all are on their way: they are asked for again."""
    messages = {
        1: points(1, [1]),
        2: change(2, UpdateOperation.set_payload([77], {"n": -1})),
        3: points(3, [3]),
        4: change(4, UpdateOperation.set_payload([3], {"n": 44})),
        5: points(5, [5]),
    }
    refused = []
    async with Peer(there.ingest) as peer:
        await peer.greet()
        for frames in messages.values():
            await peer.send(*frames)
        while True:
            header = await peer.hears(Ack, Nak, Refused)
            if isinstance(header, Nak):
                for sequence in range(header.expected, 6):
                    await peer.send(*messages[sequence])
            elif isinstance(header, Refused):
                refused.append((header.sequence, header.code))
            elif header.applied == 5:
                break
    assert await there.numbers() == {1: 1, 3: 44, 5: 5}
    assert refused == [(2, "not-found")]


async def test_every_kind_of_change_goes_through(there: Served) -> None:
    async with Peer(there.ingest) as peer:
        await peer.greet()
        await peer.send(*points(1, [1, 2, 3]))
        await peer.send(*change(2, UpdateOperation.delete_points([2])))
        await peer.send(*change(3, UpdateOperation.set_payload([3], {"n": 7})))
        await peer.is_applied(3)
    assert await there.numbers() == {1: 1, 3: 7}


async def test_a_large_run_is_cut_and_applied_in_order(
    there: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge.endpoints import together

    monkeypatch.setattr(together, "POINTS_TOGETHER", 5)
    async with Peer(there.ingest) as peer:
        await peer.greet()
        for sequence in range(1, 21):
            await peer.send(*points(sequence, [1, 2, 100 + sequence]))
        await peer.is_applied(20)
    found = await there.numbers()
    assert (found[1], found[2], len(found)) == (20, 20, 22)


# -- durable


async def test_durable_follows_applied(tmp_path: Path) -> None:
    given = config(durability=Durability.Interval, sync_interval_ms=5)
    async with served(tmp_path / "shard", given) as there, Peer(there.ingest) as peer:
        await peer.greet()
        await peer.send(*points(1, [1]))
        ack = await peer.is_applied(1)
        while ack.durable < 1:
            ack = await peer.hears(Ack)
        assert (ack.applied, ack.durable) == (1, 1)
        assert (await peer.greet()).durable == 1


async def test_a_shard_that_leaves_it_to_the_system_syncs_for_who_waits(there: Served) -> None:
    async with Peer(there.ingest) as peer, Peer(there.ingest) as waits:
        await peer.greet("peer")
        await peer.send(*points(1, [1], source="peer"))
        assert (await peer.is_applied(1)).durable == 0
        await waits.greet("waits", durable=True)
        await waits.send(*points(1, [2], source="waits"))
        ack = await waits.is_applied(1)
        while ack.durable < 1:
            ack = await waits.hears(Ack)


async def test_who_comes_back_for_durable_messages_gets_them_synced(there: Served) -> None:
    async with Peer(there.ingest) as peer:
        await peer.greet()
        await peer.send(*points(1, [1]))
        await peer.is_applied(1)
        assert (await peer.greet(durable=True)).applied == 1
        while (await peer.hears(Ack)).durable < 1:
            pass


# -- a shard that takes nothing


async def test_a_shard_that_is_read_only_says_so_and_nothing_is_lost_in_silence(
    there: Served,
) -> None:
    there.shard.actors.store.read_only = "for the test"
    async with Peer(there.ingest) as peer:
        await peer.greet()
        await peer.send(*points(1, [1]))
        refused = await peer.hears(Ack, Nak, Refused)
        assert (refused.sequence, refused.code) == (0, "read-only")
        there.shard.actors.store.read_only = None
        await peer.send(*points(1, [1]))
        await peer.is_applied(1)
    assert await there.numbers() == {1: 1}


async def test_a_shard_that_is_closed_first_ends_nothing_else(tmp_path: Path) -> None:
    with short_folder() as folder:
        shard = await EdgeShard(tmp_path / "shard", config()).open()
        async with Endpoints(
            shard, ingest=f"ipc://{folder}/i", stream=f"ipc://{folder}/s"
        ) as doors:
            await shard.close()
            async with Peer(f"ipc://{folder}/i") as peer, Peer(f"ipc://{folder}/s", zmq.PUB) as pub:
                await peer.greet()
                await peer.send(*points(1, [1]))
                assert (await peer.hears(Refused)).code == "closed"
                while not doors.counts()["stream"]["failed"]:
                    await pub.send(b"", *points(1, [1]))
                    await asyncio.sleep(0.001)


# -- the Publisher


def publish(publisher: Publisher, count: int, first: int = 1) -> None:
    for n in range(first, first + count):
        publisher.upsert_arrays([n], np.ones((1, DIM), np.float32), [{"n": n}])


async def test_a_publisher_hands_over_more_than_its_credit(there: Served) -> None:
    def work() -> None:
        with Publisher(there.ingest, "camera") as publisher:
            publish(publisher, 5 * room.CREDIT)
            publisher.flush(20)
            assert publisher.held == 0
            assert publisher.refused == []

    await in_thread(work)
    assert await there.numbers() == {n: n for n in range(1, 5 * room.CREDIT + 1)}


async def test_a_publisher_begins_at_once(there: Served) -> None:
    """Its first Hello cannot be sent before the line is there: no patience is spent on that."""

    def work() -> float:
        began = time.monotonic()
        with Publisher(there.ingest) as publisher:
            publish(publisher, 1)
            publisher.flush(20)
        return time.monotonic() - began

    assert await in_thread(work) < publishers.PATIENCE / 2


async def test_a_publisher_notes_what_was_refused(there: Served) -> None:
    def work() -> list[tuple[int, str]]:
        with Publisher(there.ingest) as publisher:
            publish(publisher, 1)
            publisher.upsert_arrays([9], np.ones((1, DIM + 1)))
            publish(publisher, 1, first=2)
            publisher.flush(20)
            return [(header.sequence, header.code) for header in publisher.refused]

    assert await in_thread(work) == [(2, "wrong-dimension")]
    assert await there.numbers() == {1: 1, 2: 2}


async def test_a_publisher_that_is_not_wanted_raises(there: Served) -> None:
    await there.shard.update(UpdateOperation.delete_points([1]), mark=Mark("camera", 7, 3))

    def work() -> None:
        publisher = Publisher(there.ingest, "camera", epoch=6)
        try:
            with pytest.raises(ValidationError, match="epoch 6 is over"):
                publish(publisher, 2_000)  # more than it holds without being welcome
        finally:
            publisher._socket.close(0)

    await in_thread(work)


async def test_a_publisher_goes_on_where_it_was(there: Served) -> None:
    """It is started again with its epoch, and hands over the same messages in the same order."""

    def life(count: int) -> None:
        with Publisher(there.ingest, "camera", epoch=3) as publisher:
            publish(publisher, count)
            publisher.flush(20)

    await in_thread(life, 10)
    before = there.shard.actors.watch.view.sequence
    await in_thread(life, 10)
    assert there.shard.actors.watch.view.sequence == before
    await in_thread(life, 15)
    assert await there.numbers() == {n: n for n in range(1, 16)}
    mark = await there.shard.mark("camera")
    assert mark is not None
    assert (mark.epoch, mark.sequence) == (3, 15)


async def test_a_publisher_outlives_its_door(tmp_path: Path) -> None:
    with short_folder() as folder:
        publisher = Publisher(f"ipc://{folder}/ingest", "camera")
        try:
            publish(publisher, 3)  # nobody is there yet: it is held
            assert publisher.held == 3
            for first in (4, 7):
                async with served(tmp_path / "shard", doors=folder):
                    await in_thread(publisher.flush, 20)
                publish(publisher, 3, first)
            async with served(tmp_path / "shard", doors=folder) as there:
                await in_thread(publisher.close, 20)
                assert await there.numbers() == {n: n for n in range(1, 10)}
        finally:
            publisher._socket.close(0)


async def test_durable_publishers_wait_for_the_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs = []
    sync = DiskWriter.sync

    def noted(writer: DiskWriter) -> None:
        sync(writer)
        syncs.append(1)

    async with served(tmp_path / "shard") as there:
        monkeypatch.setattr(DiskWriter, "sync", noted)

        def work(durable: bool) -> None:
            with Publisher(there.ingest, durable=durable) as publisher:
                publish(publisher, 3)
                publisher.flush(20)

        await in_thread(work, False)
        assert not syncs
        await in_thread(work, True)
        assert syncs
        assert there.shard.actors.store.synced == there.shard.actors.store.sequence


async def test_a_publisher_that_cannot_send_holds_back(tmp_path: Path) -> None:
    with short_folder() as folder:
        publisher = Publisher(f"ipc://{folder}/nobody", capacity=2)
        publish(publisher, 2)
        with pytest.raises(ShardBusy, match="2 messages"):
            publisher.upsert_arrays([3], np.ones((1, DIM)), timeout=0.02)
        with pytest.raises(DeadlineExceeded, match="2 messages"):
            publisher.flush(0.02)
        with pytest.raises(DeadlineExceeded):
            publisher.close(0.02)
        publisher.close()
        with pytest.raises(ShardClosed):
            publish(publisher, 1)


def test_a_publisher_refuses_an_address_that_is_none() -> None:
    with pytest.raises(ValidationError, match="address"):
        Publisher("nowhere")


async def test_a_fault_is_shown_and_the_messages_are_held(
    there: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishers, "PATIENCE", 0.05)
    there.shard.actors.store.read_only = "for the test"
    publisher = Publisher(there.ingest, "camera")
    try:
        publish(publisher, 3)
        while publisher.fault is None:
            with pytest.raises(DeadlineExceeded):
                await in_thread(publisher.flush, 0.1)
        assert publisher.held == 3
        assert publisher.refused == []
        assert publisher.fault.code == "read-only"
        there.shard.actors.store.read_only = None
        await in_thread(publisher.flush, 20)
        assert publisher.fault is None
    finally:
        publisher._socket.close(0)
    assert await there.numbers() == {1: 1, 2: 2, 3: 3}


async def test_what_finds_no_room_in_the_inbox_is_sent_again(
    there: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishers, "PATIENCE", 0.1)
    (inbox,) = [box for box in there.doors._inboxes if getattr(box, "_policy", None) is not None
                and box._policy.name == "DropOldest"]  # type: ignore[union-attr]  # fmt: skip
    monkeypatch.setattr(inbox, "_capacity", 3)

    def work(source: str, first: int) -> None:
        with Publisher(there.ingest, source) as publisher:
            publish(publisher, 60, first)
            publisher.flush(30)

    await asyncio.gather(in_thread(work, "a", 1), in_thread(work, "b", 1_001))
    assert await there.numbers() == {n: n for n in [*range(1, 61), *range(1_001, 1_061)]}


async def test_counts_are_kept_by_door(there: Served) -> None:
    async with Peer(there.ingest) as peer:
        await peer.send(b"garbage")
        await peer.send(b"")
        await until(lambda: there.count("ingest", "garbage") == 2)
        await peer.greet()
        await until(lambda: there.count("ingest", "messages") == 3)
    counts = there.doors.counts()
    assert counts["ingest"] == {"messages": 3, "points": 0, "garbage": 2, "refused": 0}


async def test_marks_are_in_the_shard_when_it_is_opened_again(tmp_path: Path) -> None:
    async with served(tmp_path / "shard") as there, Peer(there.ingest) as peer:
        await peer.greet()
        for sequence in (1, 2):
            await peer.send(*points(sequence, [sequence]))
        await peer.send(*wrong(3))
        await peer.is_applied(3)
    async with served(tmp_path / "shard") as there, Peer(there.ingest) as peer:
        assert (await peer.greet()).applied == 3
        await peer.send(*points(4, [4]))
        await peer.is_applied(4)
    async with EdgeShard(tmp_path / "shard") as shard:
        assert await numbers(shard) == {1: 1, 2: 2, 4: 4}
