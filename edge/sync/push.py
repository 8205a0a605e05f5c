"""Push: what changes in a shard goes to a collection of a Qdrant server, in order, in the back.

Invariants
- The outbox's cursor moves only after the server has said that it carried out what comes before it
  (`wait=true`): whatever ends, the next process goes on from there, and nothing is left out.
- What was sent may be sent again; the server is left as it would have been by sending it once.
- A server that cannot be reached, or asks for patience, is asked again without end. An operation
  that it refuses stops the push, or is counted and left out, as `on_refused` says; a server that
  wants another key, or has no such collection, stops it in any case.
- The event loop waits for nothing that takes long: JSON is made in threads, a few points at a time.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from functools import partial
from http import HTTPStatus
from typing import Any, Final, Literal, Protocol, Self
from urllib.parse import quote

import anyio
from anyio import to_thread
from msgspec import Struct

from edge.actors.outbox import Batch, Entry, Outbox
from edge.actors.threads import Threads, outlast
from edge.errors import (
    ActorCrashed,
    EdgeError,
    OutboxLost,
    Refused,
    RemoteBusy,
    ShardClosed,
    Unauthorized,
    Unreachable,
    ValidationError,
)
from edge.model import fields
from edge.model.check import CheckedOperation, CheckedUpdateVectors
from edge.shard import OUTBOX_BYTES
from edge.sync.background import Background
from edge.sync.rest import Rest, Retries
from edge.sync.writes import Request, collection_of, described, halves, misfit, requests_of

log = logging.getLogger("edge")

OnRefused = Literal["stop", "skip"]

LEAST_BYTES: Final = 64 << 10
"""Of a request: what is made at once is not parted."""

MOST_LINGER: Final = 3600.0
LOOK_SECONDS: Final = 1.0
"""How often it is noted which operations wait, so that their age is known."""

State = Literal["closed", "connecting", "idle", "sending", "waiting", "stopped"]


class Progress(Struct, frozen=True):
    """How far a push is.

    `state`: idle where there is nothing to send, waiting before the server is asked again, stopped
    by `error`. All operations up to `cursor` are there, of those up to `newest`; of the rest
    `points` of the first view, `operations` in about `nbytes` of the log, the oldest at least
    `seconds` old. Since the push was opened: `sent` operations in `requests` of `sent_bytes`,
    `retries`, operations `refused` and left out, edits of `missing` points, and `resyncs`: how
    often all points were sent anew. `error` is what went wrong last and was not made good since.
    """

    state: State
    cursor: int
    newest: int
    points: int
    operations: int
    nbytes: int
    seconds: float
    sent: int
    sent_bytes: int
    requests: int
    retries: int
    refused: int
    missing: int
    resyncs: int
    error: str | None


class Pushed(Protocol):
    """What a push asks of a shard; EdgeShard has it."""

    async def outbox(self, name: str, most_bytes: int | None = ...) -> Outbox:
        """Return the outbox of this name."""
        ...


class Push:
    """Pushes what changes in `shard` to the collection of a server, while its `async with` block
    lasts.

    Args:
        shard: an open EdgeShard; closed after the push.
        url: of the server, http or https. Certificates are verified.
        collection: its name. With `create` it is made where the server has none, of the shard's
            config; otherwise that stops the push.
        api_key: None: that of the environment variable QDRANT_API_KEY, if there is one.
        name: of the outbox in the shard; one for each place that is pushed to.
        batch_bytes: of one request, about (1 MiB). A server that finds that too much gets less.
        linger: seconds between requests, while less than `batch_bytes` waits (0: none). Of many
            robots that write often it makes as many fewer requests.
        timeout: seconds in which a connection must be made, and in which something must come.
        retries: the pauses before the server is asked again; `attempts` None, the default: always.
        on_refused: "stop", or "skip" an operation that the server refuses (of points that come
            together, those alone that are refused).
        outbox_bytes: how much of the log is kept for the server (4 GiB; None: all of it). Beyond
            that the oldest goes, and all points are sent anew.

    Edits by filter are sent as edits of the points that they found here, so that several shards
    may push into one collection; each id should belong to one of them. Raises ValidationError.
    """

    def __init__(
        self,
        shard: Pushed,
        url: str,
        collection: str,
        *,
        api_key: str | None = None,
        name: str = "push",
        batch_bytes: int = 1 << 20,
        linger: float = 0.0,
        timeout: float = 30.0,
        retries: Retries | None = None,
        on_refused: OnRefused = "stop",
        outbox_bytes: int | None = OUTBOX_BYTES,
        create: bool = False,
    ) -> None:
        self.name = name
        self.collection = fields.text(collection, "collection")
        if on_refused not in ("stop", "skip"):
            fields.refuse("on_refused", '"stop" or "skip"', on_refused)
        self._shard = shard
        self._retries = retries or Retries(attempts=None)
        self._rest = Rest(url, api_key, timeout=timeout, retries=Retries(attempts=1))
        self._path = f"/collections/{quote(self.collection, safe='')}"
        self._most_bytes = fields.integer(batch_bytes, "batch_bytes", LEAST_BYTES, 1 << 30)
        self._linger = fields.number(linger, "linger")
        if not 0 <= self._linger <= MOST_LINGER:
            raise ValidationError(f"linger: expected 0 to {MOST_LINGER} seconds, got {linger}")
        self._outbox_bytes = outbox_bytes
        self._skips = on_refused == "skip"
        self._creates = create
        self._outbox: Outbox | None = None
        self._background: Background | None = None
        self._state: State = "closed"
        self._counts = dict.fromkeys(COUNTS, 0)
        self._error: EdgeError | None = None
        self._ended = anyio.Event()
        self._hurry = anyio.Event()

    def __repr__(self) -> str:
        return f"Push({self._rest.url!r}, {self.collection!r}, name={self.name!r})"

    async def __aenter__(self) -> Self:
        if self._background is not None:
            raise ValidationError("this push is open already")
        self._outbox = await self._shard.outbox(self.name, self._outbox_bytes)
        await self._rest.open()
        self._state, self._ended, self._error = "connecting", anyio.Event(), None
        self._threads = Threads("push", 1)
        self._background = Background()
        self._background.start(self._run, self._look)
        return self

    async def __aexit__(self, *error: object) -> None:
        background, self._background = self._background, None
        if background is None:
            return
        try:
            await background.stop()
        finally:
            self._threads.close()
            self._state = "closed"
            self._ended.set()
            await self._rest.close()

    # -- looking

    @property
    def outbox(self) -> Outbox:
        """The outbox that is emptied. Raises ShardClosed where the push was not opened."""
        if self._outbox is None:
            raise ShardClosed("this push is not open")
        return self._outbox

    @property
    def progress(self) -> Progress:
        """How far it is. Raises OutboxLost where the outbox was dropped."""
        outbox = self.outbox
        lag = outbox.lag()
        error = None if self._error is None else f"{type(self._error).__name__}: {self._error}"
        idle = self._state == "sending" and not lag.points and not lag.operations
        state: State = "idle" if idle else self._state
        newest = outbox.newest
        return Progress(
            state=state,
            cursor=newest - lag.operations,
            newest=newest,
            points=lag.points,
            operations=lag.operations,
            nbytes=lag.nbytes,
            seconds=lag.seconds,
            error=error,
            **self._counts,
        )

    async def drained(self) -> None:
        """Wait until all that the shard holds now is there.

        Raises what stopped the push, and ShardClosed where it is closed before.
        """
        outbox = self.outbox
        sequence = outbox.newest
        self._hurry.set()
        lost: OutboxLost | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_wait_for, self._ended, tasks.cancel_scope)
            try:
                await outbox.reached(sequence)
            except OutboxLost as error:  # raised here it would come as a group
                lost = error
            tasks.cancel_scope.cancel()
        if lost is not None:
            raise lost
        if outbox.confirmed < sequence:
            raise self._error or ShardClosed("the push was closed before all was sent")

    async def _look(self) -> None:
        while True:
            await anyio.sleep(LOOK_SECONDS)
            self.outbox.notice()

    # -- working

    async def _run(self) -> None:
        try:
            await self._push()
        except EdgeError as error:
            self._stop_by(error)
        except Exception as crash:
            self._stop_by(ActorCrashed(f"the push failed: {crash!r}", "push"))
        finally:
            self._ended.set()

    def _stop_by(self, error: EdgeError) -> None:
        self._error = error
        self._state = "closed" if isinstance(error, ShardClosed) else "stopped"
        if self._state == "stopped":
            log.error("the push to %s stopped: %s", self.collection, error)

    async def _push(self) -> None:
        await self._find_collection()
        self._state = "sending"
        while True:
            try:
                batch = await self.outbox.next(self._most_bytes)
                await self._deliver(batch)
                await self.outbox.confirm(batch)
                if batch.nbytes < self._most_bytes:
                    await self._wait_for_more()
            except OutboxLost:
                await self.outbox.begin_anew()
                self._count("resyncs")

    async def _wait_for_more(self) -> None:
        """Linger, unless somebody waits for what is here to be there."""
        with anyio.move_on_after(self._linger):
            await self._hurry.wait()
        self._hurry = anyio.Event()

    async def _find_collection(self) -> None:
        """Make sure that the collection is there, and takes the shard's vectors."""
        try:
            found = await self._ask("GET", "")
        except Refused as refusal:
            if refusal.status != HTTPStatus.NOT_FOUND or not self._creates:
                raise
            await self._create()
            found = await self._ask("GET", "")
        wrong = misfit(self.outbox.config, found["config"]["params"])
        if wrong is not None:
            raise ValidationError(f"collection {self.collection!r}: {wrong}")

    async def _create(self) -> None:
        body = await to_thread.run_sync(collection_of, self.outbox.config)
        try:
            await self._ask("PUT", "", body)
        except Refused as refusal:
            if refusal.status != HTTPStatus.CONFLICT:  # somebody else was faster
                raise

    # -- sending

    async def _deliver(self, batch: Batch) -> None:
        try:
            await self._send(batch.entries)
        except Unauthorized:
            raise
        except (Refused, ValidationError):
            for entry in batch.entries:
                await self._deliver_one(entry)
        self._count("sent", len(batch.entries))

    async def _deliver_one(self, entry: Entry) -> None:
        """Send an operation alone; where it is refused, what is right of its points."""
        try:
            await self._send([entry])
        except Unauthorized:
            raise
        except (Refused, ValidationError) as refusal:
            parts = halves(entry.operation)
            if len(parts) > 1:
                for part in parts:
                    await self._deliver_one(entry._replace(operation=part))
            else:
                await self._leave_out(entry, refusal)

    async def _leave_out(self, entry: Entry, refusal: Refused | ValidationError) -> None:
        """Go on without an operation, or stop because of it."""
        if isinstance(refusal, Refused) and refusal.status == HTTPStatus.NOT_FOUND:
            await self._ask("GET", "")  # raises where it is the collection that is not there
            if isinstance(entry.operation, CheckedUpdateVectors):
                self._count("missing")  # deleted there, by us later on or by somebody else
                return
        about = f"operation {entry.sequence} ({described(entry.operation)})"
        if not self._skips:
            status = refusal.status if isinstance(refusal, Refused) else 0
            raise Refused(f"{about}: {refusal}", status) from refusal
        self._count("refused")
        log.warning("%s was refused and left out: %s", about, refusal)

    async def _send(self, entries: Iterable[Entry]) -> None:
        """Send operations; in smaller requests where the server finds one too large."""
        entries, most_bytes = list(entries), self._most_bytes
        while True:
            try:
                operations = [entry.operation for entry in entries]
                async with aclosing(self._made(operations, most_bytes)) as requests:
                    async for request in requests:
                        await self._ask(request.method, request.path, request.body)
                return
            except Refused as refusal:
                too_large = refusal.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
                if not too_large or most_bytes <= LEAST_BYTES:
                    raise
                most_bytes //= 2
                self._count("retries")

    async def _made(
        self, operations: list[CheckedOperation], most_bytes: int
    ) -> AsyncGenerator[Request]:
        """Yield the requests of operations; while one is on its way, the next is made."""
        make = partial(next, requests_of(operations, most_bytes), None)
        making = self._threads.begin(make)
        try:
            while True:
                await outlast(making.ended)
                request = making.result()
                if request is None:
                    return
                making = self._threads.begin(make)
                yield request
        finally:
            await outlast(making.ended)
            _ = making.failure  # looked at: nobody else will ask for it

    async def _ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        """Return what the server answers, asked again until it does. Raises Refused."""
        failures = 0
        params = {"wait": "true"} if path else None
        while True:
            try:
                found = await self._rest.call(
                    method, f"{self._path}{path}", content=body, params=params
                )
            except (Unreachable, RemoteBusy, Refused) as error:
                if isinstance(error, Refused) and error.status >= HTTPStatus.BAD_REQUEST:
                    raise
                failures += 1  # (an answer below 400 is somebody's in between)
                self._count("retries")
                if failures == self._retries.attempts:
                    raise
                await self._wait(error, self._retries.pause(failures, error))
                continue
            self._error = None
            self._count("requests")
            self._count("sent_bytes", len(body or b""))
            return found

    async def _wait(self, error: EdgeError, seconds: float) -> None:
        before = self._state
        self._error, self._state = error, "waiting"
        log.info("asking again in %.1f s: %s", seconds, error)
        try:
            await anyio.sleep(seconds)
        finally:
            self._state = before

    def _count(self, what: str, more: int = 1) -> None:
        self._counts[what] += more


COUNTS: Final = ("sent", "sent_bytes", "requests", "retries", "refused", "missing", "resyncs")


async def _wait_for(event: anyio.Event, scope: anyio.CancelScope) -> None:
    """Cancel the scope when the event is set."""
    await event.wait()
    scope.cancel()
