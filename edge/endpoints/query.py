"""The query door: every read request, any number at a time, each within its time.

Invariants
- A request whose time is over when its turn comes is answered as late, and not run.
- A client that is gone costs nothing more than its answer; a request that is none is answered by
  name where it has a number, and counted where it has none.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from time import monotonic
from typing import Any, Final, NamedTuple

import anyio
import msgspec
from anyio import to_thread
from anyio.abc import TaskGroup

from edge.endpoints.answers import OpenedView, points_of, write_answer, write_failure
from edge.endpoints.inbox import Inbox
from edge.endpoints.protocol import ProtocolError
from edge.endpoints.requests import Asked, CloseView, InfoRequest, OpenView, read_request
from edge.endpoints.serving import Serving
from edge.endpoints.thread import Frames
from edge.endpoints.vectors import numbers_of
from edge.errors import ActorCrashed, DeadlineExceeded, EdgeError, ShardBusy, ShardClosed
from edge.model.matrix import SearchMatrixOffsets
from edge.segment.view import ShardView
from edge.store.info import info_of

VIEWS: Final = 16
"""Views that clients may hold at the same time."""

VIEW_SECONDS: Final = 60.0
"""Seconds after which a view that nobody asked is let go."""

NUMBERS_ON_THE_LOOP: Final = 10_000
"""How many numbers of vectors are put into an answer on the loop; more are in a thread."""

NUMBERS_A_POINT: Final = 100
"""As many numbers a point counts for, beside those of its vectors."""

BYTES_ON_THE_LOOP: Final = 64 << 10
"""The longest request that is read on the loop; longer ones are in a thread."""

AT_ONCE: Final = 64
"""Requests that are answered side by side."""


class Came(NamedTuple):
    """A request: from whom, its header, what stands behind it, and when it is too late."""

    peer: bytes
    delimited: bool
    asked: Asked
    blocks: list[bytes]
    until: float | None


def reader(serving: Serving, inbox: Inbox[Came]) -> Callable[[Frames], None]:
    """What takes the door's messages, in the thread. REQ clients put an empty frame in between."""

    def read(frames: Frames) -> None:
        peer, *rest = [frame.bytes for frame in frames]
        delimited = bool(rest) and rest[0] == b""
        rest = rest[delimited:]
        if len(rest) < 2:
            raise ProtocolError("a request has a header and arguments")
        try:
            asked = msgspec.msgpack.decode(rest[0], type=Asked)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise ProtocolError(f"header: {error}") from None
        until = None if asked.seconds is None else monotonic() + asked.seconds
        came = Came(peer, delimited, asked, rest[1:], until)
        if not inbox.put(came, size=sum(map(len, rest))):
            _reply(serving, came, write_failure(asked.number, ShardBusy("too many requests wait")))

    return read


def _reply(serving: Serving, came: Came, frames: list[bytes]) -> None:
    serving.send("query", [came.peer, *([b""] if came.delimited else []), *frames])


async def _written(number: int, kind: str, result: Any) -> list[bytes]:
    if _is_large(result):
        return await to_thread.run_sync(write_answer, number, kind, result)
    return write_answer(number, kind, result)


def _is_large(result: Any) -> bool:
    """Whether an answer holds more numbers than are written on the loop."""
    if isinstance(result, SearchMatrixOffsets):
        return NUMBERS_A_POINT * len(result.ids) + len(result) > NUMBERS_ON_THE_LOOP
    points = points_of(result)
    count = NUMBERS_A_POINT * len(points)
    if count <= NUMBERS_ON_THE_LOOP:  # then there are few, and each may be of another size
        count += sum(numbers_of(point.vector) for point in points)
    return count > NUMBERS_ON_THE_LOOP


async def _read(came: Came, left: float | None) -> Any:
    if sum(map(len, came.blocks)) > BYTES_ON_THE_LOOP:
        return await to_thread.run_sync(read_request, came.asked, came.blocks, left)
    return read_request(came.asked, came.blocks, left)


class Views:
    """Views that clients hold; one that nobody asks for a while is let go."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._held: dict[int, tuple[ShardView, float]] = {}

    def open(self, view: ShardView) -> OpenedView:
        """Hold a view. Raises ShardBusy where too many are held."""
        self._forget()
        if len(self._held) >= VIEWS:
            raise ShardBusy(f"{VIEWS} views are held already")
        number = next(self._numbers)
        self._held[number] = view, monotonic()
        return OpenedView(number, view.sequence)

    def get(self, number: int | None) -> ShardView | None:
        """The view of a request; None where it asked for none. Raises ShardClosed."""
        if number is None:
            return None
        self._forget()
        if number not in self._held:
            raise ShardClosed(f"view {number} is not held any more")
        view = self._held[number][0]
        self._held[number] = view, monotonic()
        return view

    def close(self, number: int | None) -> bool:
        """Let a view go; return whether it was held."""
        return self._held.pop(number or 0, None) is not None

    def _forget(self) -> None:
        now = monotonic()
        self._held = {n: kept for n, kept in self._held.items() if now - kept[1] < VIEW_SECONDS}


class Asking:
    """Answers what comes, until closed."""

    def __init__(self, serving: Serving, inbox: Inbox[Came]) -> None:
        self._serving = serving
        self._inbox = inbox
        self._places = anyio.Semaphore(AT_ONCE)
        self._views = Views()

    async def run(self) -> None:
        """Answer until closed."""
        async with anyio.create_task_group() as tasks:
            while came := await self._inbox.take_all():
                for request in came:
                    await self._begin(tasks, request)

    async def _begin(self, tasks: TaskGroup, came: Came) -> None:
        await self._places.acquire()
        tasks.start_soon(self._answer, came)

    async def _answer(self, came: Came) -> None:
        number = came.asked.number
        try:
            result = await self._result(came)
            frames = await _written(number, came.asked.kind, result)
        except EdgeError as error:
            frames = write_failure(number, error)
        except Exception as crash:  # one request's defect must not end the door
            frames = write_failure(number, ActorCrashed(f"the query door failed: {crash!r}"))
        finally:
            self._places.release()
        _reply(self._serving, came, frames)

    async def _result(self, came: Came) -> Any:
        left = None if came.until is None else came.until - monotonic()
        if left is not None and left <= 0:
            raise DeadlineExceeded(f"the request was late: it had {came.asked.seconds} s")
        request = await _read(came, left)
        actors = self._serving.actors
        if isinstance(request, OpenView):
            return self._views.open(actors.watch.view)
        if isinstance(request, CloseView):
            return self._views.close(came.asked.view)
        view = self._views.get(came.asked.view)
        if isinstance(request, InfoRequest):
            newest, status = view or actors.watch.view, actors.optimizer.status
            return await to_thread.run_sync(info_of, actors.store, newest, status, actors.failures)
        return await actors.query.ask(request, view)
