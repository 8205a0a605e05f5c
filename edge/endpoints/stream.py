"""The stream door: publishers that do not wait; what comes is stored, what is missing is counted.

Invariants
- Points are stored at least every `BATCH_SECONDS`, or as soon as `BATCH_POINTS` wait; what waits
  together is one operation.
- Every source's sequence is followed, and repaired where its publisher can be asked (`Order`).
- A message that is wrong is counted and dropped, alone.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, Final, NamedTuple

import anyio

from edge.actors.mailbox import Ask
from edge.endpoints.inbox import Inbox
from edge.endpoints.order import Order
from edge.endpoints.protocol import Decoder, Gone, Points, ProtocolError, Replay, points_of
from edge.endpoints.serving import Serving
from edge.endpoints.thread import Frames
from edge.endpoints.together import in_runs, joined, same_of
from edge.errors import EdgeError
from edge.model.check import CheckedOperation, CheckedUpsert
from edge.model.config import EdgeConfig
from edge.model.point import batch_of_blocks
from edge.store.store import Submission

BATCH_POINTS: Final = 64
BATCH_SECONDS: Final = 0.02

_decode = Decoder(Points)
_decode_asked_for = Decoder(Points, Gone)


class Came(NamedTuple):
    """The points of one message, checked against a config."""

    source: str
    operation: CheckedUpsert
    config: EdgeConfig


class _Posted(NamedTuple):
    points: int
    ask: Ask[Any, Any]


def _operation_of(came: Came) -> CheckedUpsert:
    return came.operation


def following(
    serving: Serving, inbox: Inbox[Came], ask: Callable[[Replay], None] | None
) -> Order[Came]:
    """What brings the messages of all sources into order; `ask` sends to their replay doors."""

    def hand_on(came: Came) -> None:
        door = serving.door("stream")
        if inbox.put(came, came.source, came.operation.batch.nbytes, let_in=True):
            door.counts.points += len(came.operation.batch)
        door.paused = True  # first, so that room made meanwhile is not missed
        door.paused = inbox.blocks

    return Order(hand_on, ask)


def reader(serving: Serving, order: Order[Came]) -> Callable[[Frames], None]:
    """What takes the door's messages, in the thread."""

    def read(frames: Frames) -> None:
        if len(frames) < 2:
            raise ProtocolError("a message has a topic and a header")
        header: Points = _decode(frames[1].buffer)
        _take(serving, order, header, frames[2:])

    return read


def replay_reader(serving: Serving, order: Order[Came]) -> Callable[[Frames], None]:
    """What takes the messages that were asked for, in the thread."""

    def read(frames: Frames) -> None:
        header: Points | Gone = _decode_asked_for(frames[0].buffer)
        if isinstance(header, Gone):
            order.gone(header)
        else:
            _take(serving, order, header, frames[1:], asked_for=True)

    return read


def _take(
    serving: Serving, order: Order[Came], header: Points, blocks: Frames, asked_for: bool = False
) -> None:
    came: Came | None = None
    try:
        config = serving.config
        came = Came(header.source, _upsert_of(serving, header, blocks, config), config)
    finally:
        order.take(header, came, asked_for)  # one that is wrong is not missing


def _upsert_of(
    serving: Serving, header: Points, blocks: Frames, config: EdgeConfig
) -> CheckedUpsert:
    columns = points_of(header, [block.buffer for block in blocks], serving.limits)
    try:
        return CheckedUpsert(batch_of_blocks(*columns, config, serving.limits))
    except EdgeError as error:
        serving.door("stream").counts.refused += 1
        raise ProtocolError(str(error)) from None


class Stream:
    """Stores what comes, until closed."""

    def __init__(self, serving: Serving, inbox: Inbox[Came]) -> None:
        self._serving = serving
        self._inbox = inbox
        self.failed = 0
        """points that the shard refused: it is read-only, or full"""

    def counts(self) -> dict[str, int]:
        """The messages that the policy dropped, and the points that failed."""
        return {"dropped": self._inbox.dropped, "failed": self.failed}

    async def run(self) -> None:
        """Store what comes until closed."""
        while came := await self._inbox.take_all():
            await self._wait_for_more(came)
            await self._store(came)

    async def _wait_for_more(self, came: list[Came]) -> None:
        """Let a few points wait for others, for a short while."""
        until = monotonic() + BATCH_SECONDS
        while sum(len(one.operation.batch) for one in came) < BATCH_POINTS:
            with anyio.move_on_after(until - monotonic()) as scope:
                more = await self._inbox.take_all()
                if not more:
                    return
                came += more
            if scope.cancelled_caught:
                return

    async def _store(self, came: list[Came]) -> None:
        before: _Posted | None = None
        for run in in_runs(came, _operation_of):
            operation = await joined([one.operation for one in run])
            points = sum(len(one.operation.batch) for one in run)
            posted = self._post(operation, points, same_of([one.config for one in run]))
            if before is not None:
                await self._settle(before)
            before = posted
        if before is not None:
            await self._settle(before)

    def _post(
        self, operation: CheckedOperation, points: int, config: EdgeConfig | None
    ) -> _Posted | None:
        try:
            submission = Submission(operation, config=config)
            return _Posted(points, self._serving.writer.post(submission))
        except EdgeError:
            self.failed += points
            return None

    async def _settle(self, posted: _Posted) -> None:
        await posted.ask.done.wait()
        try:
            posted.ask.answer()
        except EdgeError:
            self.failed += posted.points
