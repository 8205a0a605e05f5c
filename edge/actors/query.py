"""The query actor: admission, deadlines, and a thread for whatever is longer than the way to it.

Invariants
- It holds no state of the shard: each request is answered from the newest view at its start.
- A request that waits longer than its timeout is refused at that moment and not run. One that is
  cancelled while it runs stops at its next look at the deadline.
- What the plan's own estimate puts below `INLINE` is answered on the loop at once.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import anyio

from edge.actors.mailbox import Mailbox
from edge.actors.threads import Threads
from edge.actors.watch import Watch
from edge.errors import ActorCrashed, EdgeError, ShardBusy, ShardClosed
from edge.query.answer import Request, answer, deadline_of, estimate
from edge.query.deadline import NEVER, Deadline
from edge.segment.view import ShardView

INLINE = 300.0
"""Microseconds of estimated work below which a thread hop costs more than it saves."""


class _Admitted(NamedTuple):
    request: Request
    deadline: Deadline
    view: ShardView | None
    """The view to answer from; None: the newest."""


class QueryActor:
    """See the module's invariants. `places` requests run at once, `waiting` more may wait."""

    name = "query"

    def __init__(self, watch: Watch, places: int, waiting: int) -> None:
        self._watch = watch
        self._places = places
        self._mailbox: Mailbox[_Admitted, Any] = Mailbox(waiting)
        self._threads = Threads("query", places)

    async def ask(self, request: Request, view: ShardView | None = None) -> Any:
        """Answer a read request from a view, or from the newest; or raise ShardBusy or
        DeadlineExceeded."""
        deadline = deadline_of(request)
        if estimate(view or self._watch.view, request) < INLINE:
            await anyio.lowlevel.checkpoint()
            return self._answer(_Admitted(request, deadline, view))
        if self._mailbox.full:
            raise ShardBusy(f"{len(self._mailbox)} requests wait already")
        if deadline is NEVER:
            deadline = Deadline()  # one of its own, to expire
        try:
            return await self._mailbox.ask(_Admitted(request, deadline, view), deadline.left())
        except TimeoutError:
            raise deadline.exceeded() from None
        except anyio.get_cancelled_exc_class():
            deadline.expire()
            raise

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
        while (ask := await self._mailbox.take()) is not None:
            try:
                ask.reply(await self._in_thread(ask.request))
            except EdgeError as error:
                ask.refuse(error)
            finally:
                if not ask.answered:
                    ask.refuse(ShardClosed("the shard was closed before the query ended"))

    async def _in_thread(self, admitted: _Admitted) -> Any:
        admitted.deadline.check()
        return await self._threads.run(partial(self._answer, admitted), admitted.deadline.expire)

    def _answer(self, admitted: _Admitted) -> Any:
        try:
            view = admitted.view or self._watch.view
            return answer(view, admitted.request, admitted.deadline)
        except EdgeError:
            raise
        except Exception as crash:  # a defect in one query stops no other
            raise ActorCrashed(f"the query failed: {crash!r}", self.name) from crash
