"""A bounded in-process channel to one actor: tell it something, or ask and await the reply.

Invariants
- Used from one event loop; a message that was taken is replied to exactly once.
- A message whose sender was cancelled before it was taken is never seen by the actor.
- `put` waits while the mailbox is full: that is the back-pressure.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

import anyio

from edge.errors import ShardClosed

Request = TypeVar("Request")
Result = TypeVar("Result")


class Ask(Generic[Request, Result]):
    """One request and the place for its reply."""

    __slots__ = ("_done", "_error", "_result", "request", "withdrawn")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.withdrawn = False
        self._done = anyio.Event()
        self._result: Result | None = None
        self._error: BaseException | None = None

    def reply(self, result: Result) -> None:
        """Answer the sender."""
        self._result = result
        self._done.set()

    def refuse(self, error: BaseException) -> None:
        """Raise `error` at the sender."""
        self._error = error
        self._done.set()

    @property
    def answered(self) -> bool:
        """Whether a reply was given."""
        return self._done.is_set()

    async def answer(self) -> Result:
        """Wait for the reply. Cancelled before the actor took it, the request is withdrawn."""
        try:
            await self._done.wait()
        finally:
            self.withdrawn = not self._done.is_set()
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]


class Mailbox(Generic[Request, Result]):
    """Requests that wait for one actor, first in, first out."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._waiting: deque[Ask[Request, Result]] = deque()
        self._arrival = anyio.Event()
        self._room = anyio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether `ask` would have to wait for room."""
        return len(self._waiting) >= self._capacity

    async def ask(self, request: Request) -> Result:
        """Put a request, waiting for room if need be, and await its reply."""
        ask: Ask[Request, Result] = Ask(request)
        await self._put(ask)
        return await ask.answer()

    async def _put(self, ask: Ask[Request, Result]) -> None:
        while self.full and not self._closed:
            self._room = anyio.Event()
            await self._room.wait()
        if self._closed:
            raise ShardClosed("the shard is closed")
        self._waiting.append(ask)
        self._arrival.set()

    async def take_all(self) -> list[Ask[Request, Result]] | None:
        """Wait until something is there, and take all of it; None once closed and empty."""
        await self._something()
        if not self._waiting:
            return None
        taken = [ask for ask in self._waiting if not ask.withdrawn]
        self._waiting.clear()
        self._room.set()
        return taken

    async def take(self) -> Ask[Request, Result] | None:
        """Wait until something is there, and take the first; None once closed and empty."""
        while True:
            await self._something()
            if not self._waiting:
                return None
            ask = self._waiting.popleft()
            self._room.set()
            if not ask.withdrawn:
                return ask

    async def _something(self) -> None:
        while not self._waiting and not self._closed:
            if self._arrival.is_set():
                self._arrival = anyio.Event()
            await self._arrival.wait()

    def close(self) -> None:
        """Take nothing more; what waits is still delivered."""
        self._closed = True
        self._arrival.set()
        self._room.set()
