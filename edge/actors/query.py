"""The query actor: admission, deadlines, and a thread for whatever is longer than the way to it.

Invariants
- It holds no state of the shard: each request is answered from the newest view at its start.
- A request that waits longer than its timeout is refused at that moment and not run. One that is
  cancelled while it runs stops at its next look at the deadline.
- What the plan's own estimate puts below `INLINE` is answered on the loop at once; of many that
  come at once, no more than the loop's turn has time for.
- Queries that are alike and wait at the same time are searched together; the answer, the error, the
  deadline and the cancellation of each are its own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, NamedTuple

import anyio

from edge.actors.mailbox import Ask, Mailbox
from edge.actors.threads import Threads, from_threads
from edge.actors.watch import Watch
from edge.errors import ActorCrashed, EdgeError, ShardBusy, ShardClosed
from edge.query.answer import Request, answer, answer_each, deadline_of, estimate
from edge.query.deadline import NEVER, Deadline
from edge.query.queries import kind_of
from edge.segment.view import ShardView

INLINE = 300.0
"""Microseconds of estimated work below which a thread hop costs more than it saves."""

A_TURN = 1000.0
"""Microseconds of estimated work that one turn of the loop may take: what comes at the same time
and is more goes to a thread."""

TOGETHER = 32
"""The most queries that are searched together: others should not wait for long."""


class _Admitted(NamedTuple):
    request: Request
    deadline: Deadline
    view: ShardView | None
    """The view to answer from; None: the newest."""
    kind: Hashable | None = None
    """What is equal for those that can be searched together; None: it is answered alone."""


_Ask = Ask[_Admitted, Any]


class QueryActor:
    """See the module's invariants. `places` requests run at once, `waiting` more may wait."""

    name = "query"

    def __init__(self, watch: Watch, places: int, waiting: int) -> None:
        self._watch = watch
        self._places = places
        self._free = places
        self._on_loop = 0.0
        self._mailbox: Mailbox[_Admitted, Any] = Mailbox(waiting)
        self._threads = Threads("query", places)

    async def ask(self, request: Request, view: ShardView | None = None) -> Any:
        """Answer a read request from a view, or from the newest; or raise ShardBusy or
        DeadlineExceeded."""
        deadline = deadline_of(request)
        cost = estimate(view or self._watch.view, request)
        if cost < INLINE and (not self._on_loop or self._on_loop + cost < A_TURN):
            return await self._answer_on_loop(_Admitted(request, deadline, view), cost)
        if self._mailbox.full:
            raise ShardBusy(f"{len(self._mailbox)} requests wait already")
        if deadline is NEVER:
            deadline = Deadline()  # one of its own, to expire
        admitted = _Admitted(request, deadline, view, _kind(request, view))
        try:
            return await self._mailbox.ask(admitted, deadline.left())
        except TimeoutError:
            raise deadline.exceeded() from None
        except anyio.get_cancelled_exc_class():
            deadline.expire()
            raise

    async def _answer_on_loop(self, admitted: _Admitted, cost: float) -> Any:
        self._on_loop += cost
        try:
            await anyio.lowlevel.checkpoint()
        finally:
            self._on_loop -= cost
        return self._answer(admitted)

    async def run(self) -> None:
        """Serve until closed and empty."""
        async with anyio.create_task_group() as tasks:
            for _ in range(self._places):
                tasks.start_soon(self._serve)

    def close(self) -> None:
        """Take no more requests; those that wait are still answered."""
        self._mailbox.close()

    def leave(self) -> None:
        """Refuse what waits: `run` has ended for good."""
        self._mailbox.abandon(ShardClosed("the shard is closed"))
        self._threads.close()

    async def _serve(self) -> None:
        while (first := await self._mailbox.take()) is not None:
            asks = [first, *self._like(first.request)]
            self._free -= 1
            try:
                await (self._serve_one(first) if len(asks) == 1 else self._serve_together(asks))
            finally:
                self._free += 1
                for ask in asks:
                    if not ask.answered:
                        ask.refuse(ShardClosed("the shard was closed before the query ended"))

    def _like(self, first: _Admitted) -> list[_Ask]:
        """Take those that wait and are like the first: as many as leave the other free places
        their share."""
        if first.kind is None or not len(self._mailbox):
            return []

        def is_like(other: _Admitted) -> bool:
            return other.kind == first.kind

        count = 1 + self._mailbox.count(is_like, TOGETHER * self._free)
        share = -(-count // self._free)
        return self._mailbox.take_more(is_like, min(share, TOGETHER) - 1)

    async def _serve_one(self, ask: _Ask) -> None:
        admitted = ask.request
        try:
            admitted.deadline.check()
            expire = admitted.deadline.expire
            ask.reply(await self._threads.run(partial(self._answer, admitted), expire))
        except EdgeError as error:
            ask.refuse(error)

    async def _serve_together(self, asks: list[_Ask]) -> None:
        def expire() -> None:
            for ask in asks:
                ask.request.deadline.expire()

        settle = from_threads(_settle)
        await self._threads.run(partial(self._answer_together, asks, settle), expire)

    def _answer(self, admitted: _Admitted) -> Any:
        try:
            view = admitted.view or self._watch.view
            return answer(view, admitted.request, admitted.deadline)
        except EdgeError:
            raise
        except Exception as crash:  # a defect in one query stops no other
            raise ActorCrashed(f"the query failed: {crash!r}", self.name) from crash

    def _answer_together(self, asks: list[_Ask], settle: Callable[[_Ask, Any], None]) -> None:
        view = asks[0].request.view or self._watch.view
        requests: list[Any] = [ask.request.request for ask in asks]
        deadlines = [ask.request.deadline for ask in asks]
        told: set[int] = set()

        def tell(place: int, outcome: Any) -> None:
            told.add(place)
            settle(asks[place], outcome)

        try:
            answer_each(view, requests, deadlines, tell)
        except Exception:  # a defect: it meets only those that have it when they are alone
            for place, ask in enumerate(asks):
                if place not in told:
                    settle(ask, self._outcome(ask.request))

    def _outcome(self, admitted: _Admitted) -> Any:
        """Return the answer, or the error."""
        try:
            return self._answer(admitted)
        except EdgeError as error:
            return error


def _kind(request: Request, view: ShardView | None) -> Hashable | None:
    """What is equal for requests that can be searched together, of one view; its hash comes first,
    so that others are told apart at a glance."""
    kind = kind_of(request)
    return None if kind is None else (hash(kind), id(view), kind)


def _settle(ask: _Ask, outcome: Any) -> None:
    if isinstance(outcome, EdgeError):
        ask.refuse(outcome)
    else:
        ask.reply(outcome)
