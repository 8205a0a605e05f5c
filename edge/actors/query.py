"""The query actor: admission, deadlines, and a thread for whatever is longer than the way to it.

Invariants
- It holds no state of the shard: each request is answered from the newest view at its start.
- A request that waits longer than its timeout is not run.
- What the plan's own estimate puts below `INLINE` is answered on the loop at once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import anyio
from anyio import CancelScope, CapacityLimiter, to_thread

from edge.actors.mailbox import Mailbox
from edge.actors.watch import Watch
from edge.errors import ActorCrashed, EdgeError, ShardBusy
from edge.query.answer import Request, answer, deadline_of, estimate
from edge.query.deadline import Deadline

INLINE = 300.0
"""Microseconds of estimated work below which a thread hop costs more than it saves."""


class _Admitted(NamedTuple):
    request: Request
    deadline: Deadline


class QueryActor:
    """See the module's invariants. `places` requests run at once, `waiting` more may wait."""

    name = "query"

    def __init__(self, watch: Watch, places: int, waiting: int) -> None:
        self._watch = watch
        self._places = places
        self._mailbox: Mailbox[_Admitted, Any] = Mailbox(waiting)
        self._threads = CapacityLimiter(places)

    async def ask(self, request: Request) -> Any:
        """Answer a read request, or raise ShardBusy or DeadlineExceeded."""
        deadline = deadline_of(request)
        if estimate(self._watch.view, request) < INLINE:
            await anyio.lowlevel.checkpoint()
            return answer(self._watch.view, request, deadline)
        if self._mailbox.full:
            raise ShardBusy(f"{len(self._mailbox)} requests wait already")
        return await self._mailbox.ask(_Admitted(request, deadline))

    async def run(self) -> None:
        """Serve until closed and empty."""
        async with anyio.create_task_group() as tasks:
            for _ in range(self._places):
                tasks.start_soon(self._serve)

    def close(self) -> None:
        """Take no more requests; those that wait are still answered."""
        self._mailbox.close()

    async def _serve(self) -> None:
        while (ask := await self._mailbox.take()) is not None:
            with CancelScope(shield=True):
                try:
                    ask.reply(await self._run(ask.request))
                except EdgeError as error:
                    ask.refuse(error)
                except Exception as crash:  # a defect in one query stops no other
                    ask.refuse(ActorCrashed(f"the query failed: {crash!r}", self.name))

    async def _run(self, admitted: _Admitted) -> Any:
        request, deadline = admitted
        deadline.check()
        view = self._watch.view
        return await to_thread.run_sync(answer, view, request, deadline, limiter=self._threads)
