"""The events door: what changes in the shard, and that it is alive, to all who subscribe.

    topic "change"   header ["change", sequence], the operation in the form of the log
    topic "health"   header ["health", sequence, durable, points, read_only]

Invariants
- Changes come in order of sequence, each once; whoever misses one (a subscriber that is too slow)
  sees it by the sequence, and begins anew.
- A beat of health comes at least every `BEAT_SECONDS`, and at once when somebody subscribes, so
  that a subscriber is sure to be connected before it asks for the view that changes go on from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import anyio

from edge.actors.feed import Subscription
from edge.endpoints.protocol import Header, ProtocolError, encode
from edge.endpoints.serving import Serving
from edge.endpoints.thread import Frames
from edge.errors import ShardBusy

BEAT_SECONDS: Final = 1.0

CHANGE: Final = b"change"
HEALTH: Final = b"health"


BROKEN_OFF: Final = 2**63 - 1
"""The sequence of a change that is none: what was sent before does not go on."""


class Changed(Header, frozen=True, tag="change"):
    """An operation was applied; the next frame is its body."""

    sequence: int


class Health(Header, frozen=True, tag="health"):
    """The shard is alive: its newest operation, the last durable one, its points, and why nothing
    more is written, or nil."""

    sequence: int
    durable: int
    points: int
    read_only: str | None


def reader(on_subscriber: Callable[[], None]) -> Callable[[Frames], None]:
    """What takes the door's messages, in the thread: subscriptions, which XPUB hands on."""

    def read(frames: Frames) -> None:
        if len(frames) != 1 or frames[0].bytes[:1] not in (b"\0", b"\1"):
            raise ProtocolError("a subscriber sends nothing")
        if frames[0].bytes[:1] == b"\1":
            on_subscriber()

    return read


class Events:
    """Publishes changes and beats, until closed."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._closed = anyio.Event()
        self._subscription: Subscription | None = None

    async def run(self) -> None:
        """Publish until closed."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._beat_again_and_again)
            while not self._closed.is_set():
                await self._publish_changes()
            tasks.cancel_scope.cancel()

    def close(self) -> None:
        """End `run`."""
        self._closed.set()
        if self._subscription is not None:
            self._subscription.end()

    async def _publish_changes(self) -> None:
        writer = self._serving.writer
        self._subscription = subscription = await writer.follow()
        if self._closed.is_set():
            subscription.end()
        try:
            async for change in subscription:
                header = encode(Changed(change.sequence))
                self._serving.send("events", [CHANGE, header, change.body])
        except ShardBusy:  # behind, or the shard became another: nothing follows on what was sent
            self._serving.send("events", [CHANGE, encode(Changed(BROKEN_OFF)), b""])
            return
        finally:
            writer.unfollow(subscription)
        self._closed.set()  # the shard itself is closed

    async def _beat_again_and_again(self) -> None:
        while True:
            self.beat()
            await anyio.sleep(BEAT_SECONDS)

    def beat(self) -> None:
        """Publish that the shard is alive."""
        view, serving = self._serving.view, self._serving
        read_only = serving.actors.store.read_only
        health = Health(view.sequence, serving.synced, view.points, read_only)
        serving.send("events", [HEALTH, encode(health)])
