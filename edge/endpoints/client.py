"""EdgeClient: a shard behind its doors, with the methods of EdgeShard.

Invariants
- Any number of requests may be on their way; each answer finds its own.
- Errors arrive as the classes that the shard raised.
- An update is sent again, after a silence, under the same mark, so that it is carried out once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import anyio
import zmq
import zmq.asyncio
from numpy.typing import NDArray

from edge.actors.feed import Change
from edge.endpoints import protocol
from edge.endpoints.answers import read_answer
from edge.endpoints.events import CHANGE, Changed
from edge.endpoints.requests import CloseView, InfoRequest, OpenView, write_request
from edge.endpoints.security import ClientKeys, connected
from edge.endpoints.updates import PATIENCE, Updates
from edge.errors import (
    DeadlineExceeded,
    EdgeError,
    ShardBusy,
    ShardClosed,
    ValidationError,
)
from edge.model.limits import Limits
from edge.model.point_id import PointIdLike
from edge.model.request import QueryBatchRequest, ShardInfo
from edge.model.split import in_batches
from edge.model.update import UpdateOperation, UpsertArrays
from edge.shard import Reads

T = TypeVar("T")

TIMEOUT: Final = 30.0
"""Seconds after which a request without a timeout of its own is given up."""

_decode_change = protocol.Decoder(Changed)


class EdgeClient(Reads):
    """A shard in another process, or on another machine.

    `query`, `ingest` and `events` are the addresses of its doors; without the second nothing can be
    changed, without the third nothing followed. `keys` are for doors that ask for them.
    `async with` opens the lines. Reads raise what `EdgeShard` raises, and DeadlineExceeded where
    there is no answer in `timeout` seconds.
    """

    def __init__(
        self,
        query: str,
        ingest: str | None = None,
        events: str | None = None,
        *,
        timeout: float = TIMEOUT,
        keys: ClientKeys | None = None,
    ) -> None:
        self._addresses = query, ingest
        self._events = events
        self._timeout = timeout
        self._keys = keys
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._context: zmq.asyncio.Context | None = None
        self._updates: Updates | None = None

    async def __aenter__(self) -> Self:
        if self._context is not None:
            raise ValidationError("this client is open already")
        self._context = zmq.asyncio.Context()
        query, ingest = self._addresses
        try:
            self._socket = self._line(query)
            if ingest is not None:
                self._updates = Updates(self._line(ingest))
        except BaseException:
            context, self._context = self._context, None
            context.destroy(0)
            raise
        self._reader = asyncio.create_task(self._read_answers())
        await anyio.lowlevel.checkpoint()
        return self

    def _line(self, address: str, kind: int = zmq.DEALER, **options: Any) -> zmq.asyncio.Socket:
        assert self._context is not None
        line: zmq.asyncio.Socket = connected(self._context, kind, address, self._keys, **options)
        return line

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        context, self._context = self._context, None
        self._reader.cancel()
        await asyncio.wait([self._reader])
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ShardClosed("the client is closed"))
        if context is not None:
            context.destroy(0)

    # -- asking

    async def _ask(self, request: Any) -> Any:
        if isinstance(request, QueryBatchRequest):
            async with self.read_view() as view:
                return await view._ask(request)
        return await self._request(request)

    async def _request(self, request: Any, view: int | None = None) -> Any:
        if self._context is None:
            raise ShardClosed("the client is not open")
        number = next(self._numbers)
        seconds = self._timeout if request.timeout is None else request.timeout
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            async with asyncio.timeout(seconds + PATIENCE):
                await self._socket.send_multipart(write_request(number, request, seconds, view))
                found = await answer
        except TimeoutError:
            raise DeadlineExceeded(f"no answer within {seconds} s") from None
        finally:
            del self._waiting[number]
        if isinstance(found, EdgeError):
            raise found
        return found

    async def _read_answers(self) -> None:
        while True:
            frames = await self._socket.recv_multipart()
            try:
                number, result = read_answer(frames)
            except protocol.ProtocolError:
                continue
            answer = self._waiting.get(number)
            if answer is not None and not answer.done():
                answer.set_result(result)

    async def info(self) -> ShardInfo:
        """Return counts, sizes, durable sequence and the state of the background work."""
        found: ShardInfo = await self._ask(InfoRequest())
        return found

    @asynccontextmanager
    async def read_view(self) -> AsyncIterator[ClientView]:
        """Hold the shard as it is now; see `EdgeShard.read_view`. (One that is not asked for a
        minute is let go by the door.)"""
        opened = await self._request(OpenView())
        try:
            yield ClientView(self, opened.view, opened.sequence)
        finally:
            await self._request(CloseView(), opened.view)

    @asynccontextmanager
    async def follow(self) -> AsyncIterator[ClientFollowing]:
        """Follow the shard: its view as it is now, and every change that is applied after it; see
        `EdgeShard.follow`. A change that was missed ends it with ShardBusy."""
        if self._events is None or self._context is None:
            raise ValidationError("events: this client is not open, or has no address for events")
        socket = self._line(self._events, zmq.SUB, rcvhwm=0)
        socket.subscribe(b"")
        try:
            if not await socket.poll(int(1000 * self._timeout)):  # the beat that greets us
                raise DeadlineExceeded(f"no sign of life within {self._timeout} s")
            async with self.read_view() as view:
                yield ClientFollowing(view, socket)
        finally:
            socket.close(0)

    # -- writing

    async def update(self, operation: UpdateOperation) -> None:
        """Carry out one operation, whole or not at all. Raises as `EdgeShard.update` does."""
        if self._updates is None:
            raise ValidationError("ingest: this client has no address for updates")
        if self._context is None:
            raise ShardClosed("the client is not open")
        try:
            await self._updates.send(operation, self._timeout)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._context is not None or task is None or task.cancelling():
                raise
            raise ShardClosed("the client is closed") from None

    async def upsert_arrays(
        self,
        ids: Sequence[PointIdLike] | NDArray[Any],
        vectors: NDArray[Any] | Mapping[str, NDArray[Any]],
        payloads: Sequence[dict[str, Any] | None] | None = None,
    ) -> None:
        """Upsert points given as columns; see `EdgeShard.upsert_arrays`."""

        def copied() -> list[UpsertArrays]:
            return list(in_batches(UpsertArrays(ids, vectors, payloads), Limits()))

        for operation in await anyio.to_thread.run_sync(copied):
            await self.update(operation)


class ClientView(Reads):
    """A shard behind its doors as it was at one moment."""

    def __init__(self, client: EdgeClient, number: int, sequence: int) -> None:
        self._client, self._number = client, number
        self.sequence = sequence
        """The last operation that the view shows."""

    async def _ask(self, request: Any) -> Any:
        if isinstance(request, QueryBatchRequest):
            return list(await asyncio.gather(*map(self._ask, request.queries)))
        return await self._client._request(request, self._number)


class ClientFollowing:
    """A view, and the changes after it."""

    def __init__(self, view: ClientView, socket: zmq.asyncio.Socket) -> None:
        self.view = view
        self._socket = socket
        self._sequence = view.sequence

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        """Return the next change. Raises ShardBusy where one was missed."""
        while True:
            topic, frame, *rest = await self._socket.recv_multipart()
            if topic != CHANGE or len(rest) != 1:
                continue
            sequence = _decode_change(frame).sequence
            if sequence <= self._sequence:
                continue
            if sequence != self._sequence + 1:
                raise ShardBusy(f"{sequence} came after {self._sequence}: begin anew")
            self._sequence = sequence
            return Change(sequence, rest[0])
