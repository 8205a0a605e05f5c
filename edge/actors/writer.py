"""The writer: the one queue through which the shard changes.

Invariants
- The store is touched only in this actor's thread; one hop to it at a time.
- All that waits is one batch: one hop, and one sync for those who asked for it.
- A new view is published before the replies that it answers: a caller reads its own write. So are
  the changes that led to it, to those who follow.
- A batch that was taken is finished, and answered, even when the task is cancelled.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import starmap
from typing import Any, TypeVar

import anyio

from edge.actors.feed import Change, Feed, Listener, Subscription
from edge.actors.mailbox import Ask, Mailbox
from edge.actors.messages import Call, WriterRequest
from edge.actors.threads import Threads, outlast
from edge.actors.watch import Watch
from edge.errors import ActorCrashed, EdgeError, ShardClosed
from edge.store.store import Store, Submission

Waiting = Ask[WriterRequest, Any]
Result = TypeVar("Result")


class Writer:
    """See the module's invariants."""

    name = "writer"

    def __init__(
        self, store: Store, watch: Watch, feed: Feed, thread: Threads, capacity: int
    ) -> None:
        self._store = store
        self._feed = feed
        self._watch = watch
        self._thread = thread
        self._mailbox: Mailbox[WriterRequest, Any] = Mailbox(capacity)
        self._lineage = store.lineage

    async def update(self, submission: Submission) -> int:
        """Carry out one operation; return its sequence number."""
        sequence: int = await self._mailbox.ask(submission)
        return sequence

    def post(self, submission: Submission) -> Ask[WriterRequest, Any]:
        """Leave an operation; it will be done, in its turn, even if nobody waits for it."""
        return self._mailbox.put(submission)

    async def call(self, act: Callable[[Store], Result]) -> Result:
        """Run `act(store)` in the writer's turn."""
        result: Result = await self._mailbox.ask(Call(act))
        return result

    async def finish(self, act: Callable[[Store], Result]) -> Result:
        """Run `act(store)` in the writer's turn, even if the caller is cancelled meanwhile."""
        ask = self._mailbox.put(Call(act))
        await outlast(ask.done)
        result: Result = ask.answer()
        return result

    async def follow(self) -> Subscription:
        """Begin a subscription to all that is committed from now on; its view is what was before.

        Begun in the writer's turn, so that no change falls in between.
        """
        subscription = Subscription(self._watch.view)
        await self.listen(subscription)
        return subscription

    async def listen(self, listener: Listener) -> None:
        """As `follow`, with a listener of one's own."""
        # known to the feed first, so that another's `unfollow` leaves the changes kept meanwhile
        self._feed.add(listener)
        self._store.is_followed = True
        try:
            await self.call(lambda store: None)
        except BaseException:
            self.unfollow(listener)
            raise
        listener.begin_with(self._watch.view)

    def unfollow(self, listener: Listener) -> None:
        """End a subscription, or hand a listener no more."""
        self._feed.drop(listener)
        self._store.is_followed = self._feed.is_followed

    def close(self) -> None:
        """Take no more requests; `run` ends when those that wait are done."""
        self._mailbox.close()

    def leave(self) -> None:
        """Refuse what waits: `run` has ended for good."""
        self._mailbox.abandon(ShardClosed("the shard is closed"))

    async def run(self) -> None:
        """Work until closed and empty."""
        while (batch := await self._next_batch()) is not None:
            await self._work(batch)

    async def _next_batch(self) -> list[Waiting] | None:
        """Return what waits; [] when it is time to sync instead; None at the end."""
        with anyio.move_on_after(self._store.sync_due_in()):
            return await self._mailbox.take_all()
        return []

    async def _work(self, batch: list[Waiting]) -> None:
        work = self._thread.begin(self._do, batch)
        try:
            await outlast(work.ended)
        finally:
            if work.failure is None:
                self._answer(batch, work.result())
            else:
                self._give_up(batch, work.failure)
        work.result()

    def _answer(self, batch: list[Waiting], outcomes: list[Any]) -> None:
        self._watch.publish(self._store.view)
        if self._lineage != self._store.lineage:
            self._lineage = self._store.lineage
            self._feed.break_off("the shard was updated from a snapshot")
        self._feed.publish(starmap(Change, self._store.take_changes()))
        for ask, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Exception):
                ask.refuse(outcome)
            else:
                ask.reply(outcome)

    def _do(self, batch: list[Waiting]) -> list[Any]:
        """In the thread: runs of updates are one commit each; calls are made in their turn."""
        outcomes: list[Any] = []
        updates: list[Submission] = []
        for ask in batch:
            if isinstance(ask.request, Submission):
                updates.append(ask.request)
                continue
            outcomes += self._store.commit(updates)
            updates = []
            outcomes.append(self._call(ask.request))
        outcomes += self._store.commit(updates)
        self._store.sync_if_due()
        return outcomes

    def _call(self, call: Call) -> Any:
        try:
            return call.act(self._store)
        except EdgeError as error:
            return error

    def _give_up(self, batch: list[Waiting], crash: BaseException) -> None:
        error = ActorCrashed(f"the writer failed: {crash!r}", self.name)
        self._store.read_only = str(error)
        for ask in batch:
            ask.refuse(error)
