"""A bounded in-process channel to one actor: put something in, or ask and await the reply.

Invariants
- Used from one event loop; a request that was taken is replied to exactly once, first in, first
  out.
- A request whose sender was cancelled before it was taken is never seen by the actor.
- Whoever asks waits for the reply: that is the back-pressure. No more than `capacity` requests are
  taken at once, in the order in which they came.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import Generic, TypeVar

import anyio

from edge.errors import EdgeError, ShardClosed

Request = TypeVar("Request")
Result = TypeVar("Result")


class Ask(Generic[Request, Result]):
    """One request and the place for its reply; `done` is set with the reply."""

    __slots__ = ("_error", "_result", "done", "request")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.done = anyio.Event()
        self._result: Result | None = None
        self._error: BaseException | None = None

    def reply(self, result: Result) -> None:
        """Answer the sender."""
        self._result = result
        self.done.set()

    def refuse(self, error: BaseException) -> None:
        """Raise `error` at the sender."""
        self._error = error
        self.done.set()

    @property
    def answered(self) -> bool:
        """Whether a reply was given."""
        return self.done.is_set()

    def answer(self) -> Result:
        """Return the reply, or raise it, once it is there."""
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]


class Mailbox(Generic[Request, Result]):
    """Requests that wait for one actor."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._waiting: OrderedDict[Ask[Request, Result], None] = OrderedDict()
        self._arrival = anyio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether as many wait as are taken at once."""
        return len(self._waiting) >= self._capacity

    def put(self, request: Request) -> Ask[Request, Result]:
        """Leave a request; it will be done even if nobody waits. Raises ShardClosed."""
        if self._closed:
            raise ShardClosed("the shard is closed")
        ask: Ask[Request, Result] = Ask(request)
        self._waiting[ask] = None
        self._arrival.set()
        return ask

    async def ask(self, request: Request, patience: float | None = None) -> Result:
        """Put a request and await its reply; cancelled before it was taken, it is withdrawn.

        Raises TimeoutError when it was not taken within `patience` seconds.
        """
        ask = self.put(request)
        try:
            with anyio.move_on_after(patience):
                await ask.done.wait()
            if self._withdraw(ask):
                raise TimeoutError
            await ask.done.wait()
        finally:
            self._withdraw(ask)
        return ask.answer()

    def _withdraw(self, ask: Ask[Request, Result]) -> bool:
        """Forget a request that was not taken yet; return whether it was there."""
        there = ask in self._waiting
        self._waiting.pop(ask, None)
        return there

    async def take_all(self) -> list[Ask[Request, Result]] | None:
        """Wait until something is there, and take all of it (at most `capacity`); None once closed
        and empty."""
        await self._something()
        taken = [self._first() for _ in range(min(len(self._waiting), self._capacity))]
        return taken or None

    async def take(self) -> Ask[Request, Result] | None:
        """Wait until something is there, and take the first; None once closed and empty."""
        await self._something()
        return self._first() if self._waiting else None

    def take_more(self, wanted: Callable[[Request], bool], most: int) -> list[Ask[Request, Result]]:
        """Take, of what waits now, the first `most` that are wanted; others keep their order."""
        found = list(islice((ask for ask in self._waiting if wanted(ask.request)), most))
        for ask in found:
            del self._waiting[ask]
        return found

    def count(self, wanted: Callable[[Request], bool], most: int) -> int:
        """Return how many wait that are wanted; who needs no more than `most` is not told more."""
        return sum(1 for _ in islice((ask for ask in self._waiting if wanted(ask.request)), most))

    def _first(self) -> Ask[Request, Result]:
        return self._waiting.popitem(last=False)[0]

    async def _something(self) -> None:
        while not self._waiting and not self._closed:
            if self._arrival.is_set():
                self._arrival = anyio.Event()
            await self._arrival.wait()

    def close(self) -> None:
        """Take nothing more; what waits is still delivered."""
        self._closed = True
        self._arrival.set()

    def abandon(self, error: EdgeError) -> None:
        """Close, and refuse all that waits: nobody will take it any more."""
        self.close()
        while self._waiting:
            self._first().refuse(error)
