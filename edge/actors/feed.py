"""The change feed: every operation in order, for whoever follows.

Invariants
- Used on the event loop. A subscription gets every operation that is applied after the view it was
  begun with, each once, in order of sequence.
- Nobody who is slow holds up the writer: a subscription that falls `MOST_BYTES` behind is ended,
  and says so to its reader; so is every one when the shard becomes what a snapshot held.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol

import anyio

from edge.errors import ShardBusy
from edge.model import codec
from edge.model.check import CheckedOperation
from edge.segment.view import ShardView

MOST_BYTES: Final = 64 << 20


class Change(NamedTuple):
    """One operation as it was logged: its sequence number, and its body (see `model.codec`)."""

    sequence: int
    body: bytes

    @property
    def operation(self) -> CheckedOperation:
        """The operation."""
        return codec.decode(self.body)


class Listener(Protocol):
    """Who is handed each change, on the event loop, after the view that it led to was published
    and before anybody reads that view."""

    def begin_with(self, view: ShardView) -> None:
        """Begin with this view: what was left until now led to it."""
        ...

    def put(self, change: Change) -> None:
        """Take a change. It must not take long: everybody waits."""
        ...

    def break_off(self, why: str) -> None:
        """What comes from now on does not follow on what came: the shard became another."""
        ...

    def end(self) -> None:
        """Nothing more will come."""
        ...


class Subscription:
    """What one reader has not read yet. `view` is the shard as it was when it began."""

    def __init__(self, view: ShardView) -> None:
        self.view = view
        self._waiting: deque[Change] = deque()
        self._bytes = 0
        self._arrival = anyio.Event()
        self._ended = False
        self._lagged = ""
        """Why what comes is not all there is."""

    def begin_with(self, view: ShardView) -> None:
        """Begin with a newer view: what was left until now led to it."""
        self.view = view
        self._waiting.clear()
        self._bytes = 0
        self._lagged = ""

    def break_off(self, why: str) -> None:
        """Give nothing more: what would come is not what follows."""
        self._lagged = why
        self._waiting.clear()
        self._arrival.set()

    def put(self, change: Change) -> None:
        """Leave a change."""
        if self._lagged or change.sequence <= self.view.sequence:
            return
        self._bytes += len(change.body)
        if self._bytes > MOST_BYTES:
            self.break_off(f"more than {MOST_BYTES} bytes of changes were not read")
        else:
            self._waiting.append(change)
            self._arrival.set()

    def end(self) -> None:
        """Give no more than what waits."""
        self._ended = True
        self._arrival.set()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Change:
        """Return the next change. Raises ShardBusy where the reader was too slow to be served, or
        the shard became what a snapshot held."""
        while not self._waiting:
            if self._lagged:
                raise ShardBusy(f"{self._lagged}; begin anew")
            if self._ended:
                raise StopAsyncIteration
            self._arrival = anyio.Event()
            await self._arrival.wait()
        change = self._waiting.popleft()
        self._bytes -= len(change.body)
        return change


class Feed:
    """Hands each change to all listeners."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    @property
    def is_followed(self) -> bool:
        """Whether anybody reads."""
        return bool(self._listeners)

    def add(self, listener: Listener) -> None:
        """Hand every change from now on to this listener too."""
        self._listeners.append(listener)

    def drop(self, listener: Listener) -> None:
        """Forget a listener."""
        self._listeners.remove(listener)

    def publish(self, changes: Iterable[Change]) -> None:
        """Hand out changes, in order."""
        for change in changes:
            for listener in self._listeners:
                listener.put(change)

    def break_off(self, why: str) -> None:
        """Nobody's next change follows on what they have."""
        for listener in self._listeners:
            listener.break_off(why)

    def end(self) -> None:
        """The shard is closed: nothing more will come."""
        for listener in self._listeners:
            listener.end()
