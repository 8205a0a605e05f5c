"""Endpoints: the doors of one open shard, opened and closed with an `async with`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio
import zmq

from edge.actors.threads import Work, outlast
from edge.endpoints import events as events_room
from edge.endpoints import ingest as ingest_room
from edge.endpoints import query as query_room
from edge.endpoints import stream as stream_room
from edge.endpoints.inbox import Inbox, Policy
from edge.endpoints.order import OVERDUE_SECONDS, Order
from edge.endpoints.protocol import Replay, encode
from edge.endpoints.requests import MAX_REQUEST
from edge.endpoints.security import Keys, Role, check_bind
from edge.endpoints.serving import Serving
from edge.endpoints.thread import Door, DoorThread, OnMessage
from edge.errors import ActorCrashed, StorageFault, ValidationError
from edge.model import fields
from edge.shard import EdgeShard

T = TypeVar("T")

WAITING = 1_024
"""Messages of one door that may wait for the loop."""


class Endpoints:
    """The doors of an open shard; all are closed unless an address opens them.

    Args:
        shard: an open `EdgeShard`; close the doors before it.
        ingest: address to bind for producers that want acknowledgements (`Publisher`).
        stream: address to bind for publishers that do not wait (PUB sockets); or `connect`:
            addresses of publishers that bind theirs.
        query: address to bind for clients that ask (`EdgeClient`).
        events: address to bind for those who follow: changes, and that the shard is alive.
        replay: addresses of the replay doors of the stream's publishers (`StreamPublisher`); what
            is missing in the stream is asked for there.
        topics: prefixes of the topics that the stream takes (default: all).
        policy: what the stream does when it is behind, see `Policy`.
        keys: CURVE keys of the server and its clients; needed for addresses that strangers reach.

    `async with` opens them. Raises ValidationError for an address that is not safe without keys,
    StorageFault where it cannot be had.
    """

    def __init__(
        self,
        shard: EdgeShard,
        *,
        ingest: str | None = None,
        stream: str | None = None,
        query: str | None = None,
        events: str | None = None,
        connect: Sequence[str] = (),
        replay: Sequence[str] = (),
        topics: Sequence[str] = ("",),
        policy: Policy = Policy.Block,
        keys: Keys | None = None,
    ) -> None:
        addresses = {"ingest": ingest, "stream": stream, "query": query, "events": events}
        for name, address in addresses.items():
            if fields.text_or_none(address, name) is not None:
                check_bind(str(address), keys, name)
        if keys is not None and stream is not None and connect:
            raise ValidationError("connect: a stream that is bound with keys cannot connect too")
        self._shard = shard
        self._ingest, self._stream, self._query, self._events = addresses.values()
        self._connect = fields.texts(connect, "connect")
        self._replay = fields.texts(replay, "replay")
        self._topics = fields.texts(topics, "topics")
        self._policy = fields.member(policy, "policy", Policy)
        self._keys = fields.instance_or_none(keys, "keys", Keys)
        self._order: Order[stream_room.Came] | None = None
        self._inboxes: list[Inbox[Any] | events_room.Events] = []
        self._stream_room: stream_room.Stream | None = None
        self._host: asyncio.Task[None] | None = None
        self._thread: DoorThread | None = None
        self._serving: Serving | None = None

    # -- life

    async def __aenter__(self) -> Self:
        if self._host is not None:
            raise ValidationError("these endpoints are open already")
        actors = self._shard.actors
        self._thread = DoorThread(self._keys)
        self._serving = Serving(actors, self._thread)
        self._inboxes.clear()
        self._thread.start()
        try:
            runs = await self._open(self._thread, self._serving)
        except BaseException:
            await _to_the_end(anyio.to_thread.run_sync(self._thread.stop))
            raise
        # a task of its own: a task group around the caller's block would wrap the caller's errors
        self._host = asyncio.create_task(_run_all(runs), name="edge doors")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._host is not None
        host, self._host = self._host, None
        await _to_the_end(self._close(host))

    async def _close(self, host: asyncio.Task[None]) -> None:
        """Take nothing more, finish what was taken, end the thread."""
        assert self._thread is not None
        self._thread.hush()
        if self._order is not None:
            await _in_thread(self._thread, self._order.give_up_everything, "stream")
        for inbox in self._inboxes:
            inbox.close()
        await asyncio.wait([host])
        await anyio.to_thread.run_sync(self._thread.stop)
        if not host.cancelled() and (crash := host.exception()) is not None:
            raise ActorCrashed(f"the doors failed: {crash!r}", "doors") from crash

    async def _open(self, thread: DoorThread, serving: Serving) -> list[Callable[[], Any]]:
        runs: list[Callable[[], Any]] = []
        if self._ingest is not None:
            runs.append(await self._open_ingest(thread, serving, self._ingest))
        if self._stream is not None or self._connect:
            runs.append(await self._open_stream(thread, serving))
        if self._query is not None:
            runs.append(await self._open_query(thread, serving, self._query))
        if self._events is not None:
            runs.append(await self._open_events(thread, serving, self._events))
        return runs

    async def _open_ingest(
        self, thread: DoorThread, serving: Serving, address: str
    ) -> Callable[[], Any]:
        inbox: Inbox[ingest_room.Came] = Inbox(WAITING, Policy.DropOldest)
        self._inboxes.append(inbox)
        door = ingest_room.Ingest(serving, inbox)

        def opened() -> Door:
            reader = ingest_room.reader(serving, inbox)
            found = thread.open("ingest", zmq.ROUTER, Role.Write, reader, bind=address)
            serving.add(found)
            return found

        await _in_thread(thread, opened, address)
        return partial(self._serve_ingest, door)

    async def _serve_ingest(self, door: ingest_room.Ingest) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(door.tell_what_is_durable)
            await door.run()
            tasks.cancel_scope.cancel()
        door.acknowledge()

    async def _open_query(
        self, thread: DoorThread, serving: Serving, address: str
    ) -> Callable[[], Any]:
        inbox: Inbox[query_room.Came] = Inbox(WAITING)
        self._inboxes.append(inbox)

        def opened() -> Door:
            read = query_room.reader(serving, inbox)
            door = thread.open(
                "query", zmq.ROUTER, Role.Query, read, bind=address, maxmsgsize=MAX_REQUEST
            )
            serving.add(door)
            return door

        await _in_thread(thread, opened, address)
        return query_room.Asking(serving, inbox).run

    async def _open_events(
        self, thread: DoorThread, serving: Serving, address: str
    ) -> Callable[[], Any]:
        loop, room = asyncio.get_running_loop(), events_room.Events(serving)
        self._inboxes.append(room)

        def beat_soon() -> None:
            loop.call_soon_threadsafe(room.beat)

        def opened() -> Door:
            read = events_room.reader(beat_soon)
            door = thread.open(
                "events", zmq.XPUB, Role.Events, read, bind=address, xpub_verbose=True
            )
            serving.add(door)
            return door

        await _in_thread(thread, opened, address)
        return room.run

    async def _open_stream(self, thread: DoorThread, serving: Serving) -> Callable[[], Any]:
        inbox: Inbox[stream_room.Came] = Inbox(WAITING, self._policy)
        self._inboxes.append(inbox)
        repairs: list[Door] = []

        def ask(request: Replay) -> None:
            for door in repairs:  # whose source it is answers
                door.send([encode(request)])

        order = stream_room.following(serving, inbox, ask if self._replay else None)

        def opened() -> Door:
            read = stream_room.reader(serving, order)
            door = thread.open("stream", zmq.SUB, Role.Write, read, bind=self._stream)
            serving.add(door)
            for topic in self._topics:
                door.socket.subscribe(topic.encode())
            for address in self._connect:
                door.socket.connect(address)
            repairs.extend(self._opened_replays(thread, stream_room.replay_reader(serving, order)))
            if repairs:
                thread.every(OVERDUE_SECONDS, order.give_up_overdue)
            return door

        door = await _in_thread(thread, opened, self._stream or ", ".join(self._connect))

        def go_on() -> None:
            door.paused = False

        inbox.on_room = lambda: thread.call(go_on) if door.paused else None
        self._order = order
        self._stream_room = stream_room.Stream(serving, inbox)
        return self._stream_room.run

    def _opened_replays(self, thread: DoorThread, read: OnMessage) -> list[Door]:
        return [
            thread.open("replay", zmq.DEALER, Role.Write, read, connect=address, immediate=True)
            for address in self._replay
        ]

    # -- looking

    def address(self, door: str) -> str:
        """Where a door is bound, such as "query"; with the port that was chosen for `:*`."""
        assert self._serving is not None
        return self._serving.door(door).address

    def counts(self) -> dict[str, Any]:
        """What the doors have seen: by door, messages, points, garbage and refusals; and of the
        stream each source's messages, gaps, late and repaired messages, those the policy dropped,
        and the points that the shard did not take."""
        assert self._serving is not None
        found: dict[str, Any] = {
            name: vars(door.counts).copy() for name, door in self._serving.doors.items()
        }
        if self._stream_room is not None and self._order is not None:
            found["stream"] |= self._stream_room.counts() | {"sources": self._order.counts()}
        return found


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Do this whatever cancels the caller meanwhile; then let it be cancelled."""
    doing = Work(asyncio.ensure_future(work))
    try:
        await outlast(doing.ended)
    finally:
        failure = doing.failure  # looked at in any case: nobody else will ask for it
    if failure is not None:
        raise failure


async def _run_all(runs: Sequence[Callable[[], Any]]) -> None:
    async with anyio.create_task_group() as tasks:
        for run in runs:
            tasks.start_soon(run)


async def _in_thread(thread: DoorThread, act: Callable[[], T], address: str) -> T:
    """Return what `act` returns in the doors' thread."""
    done = anyio.Event()
    outcome: list[T | BaseException] = []
    loop = asyncio.get_running_loop()

    def run() -> None:
        try:
            outcome.append(act())
        except BaseException as error:
            outcome.append(error)
        loop.call_soon_threadsafe(done.set)

    thread.call(run)
    await done.wait()
    found = outcome[0]
    if isinstance(found, zmq.ZMQError):
        raise StorageFault(f"cannot open {address}: {found}")
    if isinstance(found, BaseException):
        raise found
    return found
