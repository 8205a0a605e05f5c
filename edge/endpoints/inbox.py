"""From the doors' thread to the event loop: what waits is taken all at once.

Invariants: put in the thread, taken on the loop; no more than `capacity` entries, of together no
more than `capacity_bytes`, wait (one may always), and what happens to one too many is the policy's
to say: it is refused, or it takes the place of others.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

import anyio

from edge.model.choice import Choice

Item = TypeVar("Item")

CAPACITY_BYTES: Final = 256 << 20


class Policy(Choice):
    """What a stream does that is behind.

    Block lets the socket wait (its peers drop then, which is seen as a gap), DropOldest drops what
    has waited longest, Latest keeps the newest message of each source.
    """

    Block = "block"
    DropOldest = "drop_oldest"
    Latest = "latest"


class Inbox(Generic[Item]):
    """Entries that wait for the loop. Made on the loop that takes them."""

    def __init__(
        self,
        capacity: int,
        policy: Policy = Policy.Block,
        capacity_bytes: int = CAPACITY_BYTES,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._capacity, self._capacity_bytes = capacity, capacity_bytes
        self._policy = policy
        self._lock = threading.Lock()
        self._waiting: OrderedDict[Hashable, tuple[Item, int]] = OrderedDict()
        self._bytes = 0
        self._count = 0
        self._arrival = anyio.Event()
        self._rung = False
        self._closed = False
        self.dropped = 0
        self.on_room: Callable[[], None] | None = None
        """Called on the loop when room was made for a door that waits."""

    # -- in the thread

    def put(
        self, item: Item, source: Hashable = None, size: int = 0, *, let_in: bool = False
    ) -> bool:
        """Leave an entry; False where it finds no room, or nothing is taken any more.

        One that was let in before, and had to wait for another, finds room.
        """
        with self._lock:
            blocks = self._policy is Policy.Block and not let_in
            if self._closed or (blocks and self._is_full(size)):
                return False
            if self._policy is Policy.Latest:
                self._drop(source)
            else:
                self._count += 1
                source = self._count
            while self._policy is not Policy.Block and self._waiting and self._is_full(size):
                self._drop(next(iter(self._waiting)))
            self._waiting[source] = item, size
            self._bytes += size
            rings = not self._rung
            self._rung = True
        if rings:
            self._loop.call_soon_threadsafe(self._ring)
        return True

    def _is_full(self, size: int = 1) -> bool:
        """Whether an entry of this size finds no room; the first always does."""
        waiting = len(self._waiting)
        return waiting >= self._capacity or (
            waiting > 0 and self._bytes + size > self._capacity_bytes
        )

    def _drop(self, key: Hashable) -> None:
        found = self._waiting.pop(key, None)
        if found is not None:
            self._bytes -= found[1]
            self.dropped += 1

    @property
    def blocks(self) -> bool:
        """Whether the door has to wait until something is taken."""
        with self._lock:
            return self._policy is Policy.Block and self._is_full()

    def __len__(self) -> int:
        return len(self._waiting)

    # -- on the loop

    def _ring(self) -> None:
        self._arrival.set()

    async def take_all(self) -> list[Item]:
        """Wait until something is there, and take all of it; [] once closed and empty."""
        while not self._waiting and not self._closed:
            await self._arrival.wait()
            if not self._waiting and not self._closed:
                self._arrival = anyio.Event()
        with self._lock:
            found = [item for item, _ in self._waiting.values()]
            self._waiting.clear()
            self._bytes = 0
            self._rung = False
            self._arrival = anyio.Event()
        if found and self.on_room is not None:
            self.on_room()
        return found

    def close(self) -> None:
        """Let nothing more in; what is there is still taken."""
        with self._lock:
            self._closed = True
        self._arrival.set()
