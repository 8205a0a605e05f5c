"""The ingest door: producers that want to know; every message is applied once, in order.

A producer says Hello with its name and its epoch, is told how far it had come, and sends from there
on, as many at a time as it has credit for. What is applied is acknowledged, and what is durable.

Invariants
- The place of a message is logged in the record of its points (`model.mark`), and the store refuses
  one that comes before its time; so after a crash on either side nothing is missing or there twice.
- A message that is wrong is refused by name and passed over; its place is logged by itself.
- Nothing that a producer sends ends the door; a fault of the shard is told, and the messages are
  taken when they are sent again.
- Messages of one producer that wait together are applied as one operation.
- What was checked while the shard had other vectors is checked again: whatever follows a change of
  them is taken under what the change made of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import anyio
from anyio import to_thread

from edge.actors.mailbox import Ask
from edge.endpoints.inbox import Inbox
from edge.endpoints.protocol import (
    VERSION,
    Ack,
    Change,
    Decoder,
    Header,
    Hello,
    Nak,
    Points,
    ProtocolError,
    Welcome,
    encode,
    points_of,
    refused,
)
from edge.endpoints.serving import Serving
from edge.endpoints.thread import Frames
from edge.endpoints.together import in_runs, joined, same_of
from edge.errors import CallerError, EdgeError, OutOfOrder, ValidationError
from edge.model import codec
from edge.model.check import (
    CheckedCreateVector,
    CheckedDeleteVector,
    CheckedNothing,
    CheckedOperation,
    CheckedSetConfig,
    CheckedUpsert,
    recheck,
)
from edge.model.config import Durability, EdgeConfig
from edge.model.limits import Limits
from edge.model.mark import Mark, check_mark, refuse_own
from edge.model.point import batch_of_blocks
from edge.store.store import Submission

CREDIT: Final = 64
"""Messages of one producer that may be on their way."""

SESSIONS: Final = 1_024
"""Producers that are remembered; the one that said Hello first is forgotten first."""

ACK_SECONDS: Final = 0.02
"""How often producers are told what became durable; what was applied they are told at once."""

_decode = Decoder(Hello, Points, Change)

_NOTHING: Final = CheckedNothing()

_CHANGES_OF_THE_CONFIG: Final = (CheckedCreateVector, CheckedDeleteVector, CheckedSetConfig)


class Came(NamedTuple):
    """A message: from whom, its header, what stands behind it, and what that is under a config: an
    operation, or why it is none."""

    peer: bytes
    header: Header
    blocks: Frames
    operation: CheckedOperation | EdgeError | None
    config: EdgeConfig


@dataclass
class Session:
    """A producer that said Hello: how far it is, and what it is to be told."""

    peer: bytes
    source: str
    epoch: int
    durability: Durability | None
    expected: int
    """the next message"""
    applied: int
    durable: int = 0
    has_news: bool = False
    was_early: bool = False
    """something came before its time"""
    trouble: EdgeError | None = None
    """why the shard takes nothing now"""
    unsynced: deque[tuple[int, int]] = field(default_factory=deque)
    """(place, operation of the shard) of what is applied and not durable yet"""


class _Accepted(NamedTuple):
    """A message in its turn; one that was wrong is a Nothing with its error."""

    session: Session
    sequence: int
    came: Came
    operation: CheckedOperation
    error: EdgeError | None = None


def _accepted(session: Session, sequence: int, came: Came) -> _Accepted:
    if isinstance(came.operation, EdgeError):
        return _Accepted(session, sequence, came, _NOTHING, came.operation)
    assert came.operation is not None
    return _Accepted(session, sequence, came, came.operation)


def _operation_of(accepted: _Accepted) -> CheckedOperation:
    return accepted.operation


class _Posted(NamedTuple):
    run: list[_Accepted]
    ask: Ask[Any, Any]


# -- in the thread


def reader(serving: Serving, inbox: Inbox[Came]) -> Callable[[Frames], None]:
    """What takes the door's messages: decoded and checked here, where no loop waits for it."""

    def read(frames: Frames) -> None:
        peer, *rest = frames
        if not rest:
            raise ProtocolError("a message without a header")
        header, config = _decode(rest[0].buffer), serving.config
        operation = _operation(header, rest[1:], config, serving.limits)
        if isinstance(header, Points) and isinstance(operation, CheckedUpsert):
            serving.door("ingest").counts.points += header.count
        came = Came(peer.bytes, header, rest[1:], operation, config)
        # what finds no room was sent beyond all credit, and is asked for again
        inbox.put(came, size=sum(map(len, rest)))

    return read


def _operation(
    header: Header, blocks: Frames, config: EdgeConfig, limits: Limits
) -> CheckedOperation | EdgeError | None:
    if isinstance(header, Hello):
        return None
    try:
        if isinstance(header, Points):
            ids, vectors, payloads = points_of(header, [b.buffer for b in blocks], limits)
            return CheckedUpsert(batch_of_blocks(ids, vectors, payloads, config, limits))
        if len(blocks) != 1:
            raise ProtocolError(f"{len(blocks)} blocks, a change has one")
        return recheck(codec.decode(blocks[0].buffer), config, limits)
    except EdgeError as error:
        return error


# -- on the loop


class Ingest:
    """See the module's invariants. `run` applies, `acknowledge` tells."""

    def __init__(self, serving: Serving, inbox: Inbox[Came]) -> None:
        self._serving = serving
        self._inbox = inbox
        self._sessions: dict[bytes, Session] = {}
        self._peers: dict[str, bytes] = {}
        self._strangers: dict[bytes, int] = {}
        self._posted: deque[_Posted] = deque()
        self._unsynced = anyio.Event()
        """Set while something that was applied is not durable yet."""

    async def run(self) -> None:
        """Apply what comes until closed."""
        while came := await self._inbox.take_all():
            waiting: dict[int, list[_Accepted]] = {}
            for message in came:
                accepted = self._accept(message)
                if accepted is not None:
                    waiting.setdefault(id(accepted.session), []).append(accepted)
            for messages in waiting.values():
                await self._post_all(messages)
            await self._settle()
            self._report()
            self.acknowledge()

    async def tell_what_is_durable(self) -> None:
        """Tell producers, soon after it is so; without end."""
        while True:
            await self._unsynced.wait()
            await anyio.sleep(ACK_SECONDS)
            self.acknowledge()

    # -- what came

    def _accept(self, came: Came) -> _Accepted | None:
        header = came.header
        if isinstance(header, Hello):
            self._begin(came.peer, header)
            return None
        assert isinstance(header, Points | Change)
        session = self._sessions.get(came.peer)
        if session is None or (header.source, header.epoch) != (session.source, session.epoch):
            self._strangers[came.peer] = header.epoch
            return None
        error = came.operation if isinstance(came.operation, EdgeError) else None
        if header.sequence != session.expected:
            session.was_early |= header.sequence > session.expected
            session.has_news = True
            if error is not None and 0 < header.sequence < session.expected:
                self._tell(session.peer, refused(session.epoch, header.sequence, error))
            return None
        session.expected += 1
        return _accepted(session, header.sequence, came)

    def _begin(self, peer: bytes, hello: Hello) -> None:
        marks = self._serving.marks
        try:
            if hello.version != VERSION:
                raise ValidationError(f"version {hello.version}, this door speaks {VERSION}")
            mark = Mark(hello.source, hello.epoch, 0)
            refuse_own(mark)
            check_mark(mark, marks)
            known = marks.get(hello.source)
            if known is not None and hello.epoch < known.epoch:
                raise ValidationError(f"epoch {hello.epoch} is over, {known.epoch} has begun")
        except EdgeError as error:
            self._tell(peer, refused(hello.epoch, 0, error))
            return
        applied = known.sequence if known is not None and known.epoch == hello.epoch else 0
        durability = self._durability if hello.durable else None
        session = Session(peer, hello.source, hello.epoch, durability, applied + 1, applied)
        self._replace(session)
        self._catch_up(session)
        config = self._serving.config
        state = (applied, session.durable, CREDIT, config.vectors, config.sparse_vectors)
        self._tell(peer, Welcome(VERSION, hello.epoch, *state))

    @property
    def _durability(self) -> Durability | None:
        """What is asked of the shard for those who wait for durable messages; None: as it is."""
        own = self._serving.durability
        return Durability.Interval if own is Durability.Os else None

    def _replace(self, session: Session) -> None:
        """Let the session take the place of its source's former one, and of its peer's."""
        former = self._peers.pop(session.source, None)
        if former is not None:
            self._sessions.pop(former, None)
        replaced = self._sessions.pop(session.peer, None)
        if replaced is not None:
            self._peers.pop(replaced.source, None)
        if len(self._sessions) >= SESSIONS:  # the oldest has to say Hello again
            oldest = self._sessions.pop(next(iter(self._sessions)))
            self._peers.pop(oldest.source, None)
        self._sessions[session.peer] = session
        self._peers[session.source] = session.peer

    def _catch_up(self, session: Session) -> None:
        """See whether what was applied before this session is durable, or when it will be."""
        if not session.applied:
            return
        sequence = self._serving.view.sequence
        if self._serving.synced >= sequence:
            session.durable = session.applied
            return
        session.unsynced.append((session.applied, sequence))
        self._unsynced.set()
        if session.durability is not None:
            mark = Mark(session.source, session.epoch, session.applied)
            self._submit([], Submission(_NOTHING, session.durability, mark), session)

    # -- what is applied

    async def _post_all(self, messages: list[_Accepted]) -> None:
        """Post what a producer sent, in order, and wait where it changes what follows."""
        waiting: list[_Accepted] = []
        for message in messages:
            waiting.append(await self._under_the_newest(message))
            if isinstance(waiting[-1].operation, _CHANGES_OF_THE_CONFIG):
                await self._post_runs(waiting)
                await self._settle()
                waiting = []
        await self._post_runs(waiting)

    async def _under_the_newest(self, message: _Accepted) -> _Accepted:
        """The message, checked again where the config has changed since it was."""
        came, config, limits = message.came, self._serving.config, self._serving.limits
        if came.config is config:
            return message
        operation = await to_thread.run_sync(_operation, came.header, came.blocks, config, limits)
        came = came._replace(operation=operation, config=config)
        return _accepted(message.session, message.sequence, came)

    async def _post_runs(self, messages: list[_Accepted]) -> None:
        for run in in_runs(messages, _operation_of):
            await self._post(run)

    async def _post(self, run: list[_Accepted]) -> None:
        session = run[0].session
        mark = Mark(session.source, session.epoch, run[-1].sequence, run[0].sequence)
        operation = await joined([one.operation for one in run])
        config = same_of([one.came.config for one in run])
        self._submit(run, Submission(operation, session.durability, mark, config), session)

    def _submit(self, run: list[_Accepted], submission: Submission, session: Session) -> None:
        try:
            self._posted.append(_Posted(run, self._serving.writer.post(submission)))
        except EdgeError as error:
            self._not_now(session, run, error)

    async def _settle(self) -> None:
        """Wait for what was posted, in order."""
        while self._posted:
            posted = self._posted.popleft()
            await posted.ask.done.wait()
            if posted.run:
                await self._settled(posted)

    async def _settled(self, posted: _Posted) -> None:
        run = posted.run
        session = run[0].session
        try:
            sequence = posted.ask.answer()
        except OutOfOrder:
            known = self._serving.marks.get(session.source)
            is_same = known is not None and known.epoch == session.epoch
            session.applied = known.sequence if known is not None and is_same else 0
            self._again_from(session, session.applied + 1)
            session.was_early = True
        except CallerError as error:
            await self._pass_over(run, error)
        except EdgeError as error:
            self._not_now(session, run, error)
        else:
            self._was_applied(session, run, sequence)

    def _was_applied(self, session: Session, run: list[_Accepted], sequence: int) -> None:
        for one in run:
            if one.error is not None:
                self._serving.door("ingest").counts.refused += 1
                self._tell(session.peer, refused(session.epoch, one.sequence, one.error))
        session.applied = max(session.applied, run[-1].sequence)
        session.unsynced.append((run[-1].sequence, sequence))
        self._unsynced.set()
        session.has_news = True

    async def _pass_over(self, run: list[_Accepted], error: CallerError) -> None:
        """The store refused it (a point that is not there): leave its mark alone.

        What was posted behind it came before its time then, and is asked for again.
        """
        if len(run) > 1:  # which one it was is not known
            for one in run:
                await self._post([one])
        elif run[0].error is not None:
            self._not_now(run[0].session, run, error)
        else:
            await self._post([run[0]._replace(operation=_NOTHING, error=error)])

    def _not_now(self, session: Session, run: list[_Accepted], error: EdgeError) -> None:
        session.trouble = error
        if run:
            self._again_from(session, run[0].sequence)

    def _again_from(self, session: Session, expected: int) -> None:
        session.expected = min(session.expected, expected)

    # -- what producers are told

    def _report(self) -> None:
        """Tell, once for all that came together, who has to do what again."""
        for peer, epoch in self._strangers.items():
            self._tell(peer, refused(epoch, 0, ProtocolError("say hello first")))
        self._strangers.clear()
        for session in self._sessions.values():
            trouble, session.trouble = session.trouble, None
            was_early, session.was_early = session.was_early, False
            if trouble is not None:
                self._tell(session.peer, refused(session.epoch, 0, trouble))
            elif was_early:
                self._tell(session.peer, Nak(session.epoch, session.expected))

    def acknowledge(self) -> None:
        """Tell each producer what is new to it."""
        synced = self._serving.synced
        for session in self._sessions.values():
            while session.unsynced and session.unsynced[0][1] <= synced:
                session.durable = session.unsynced.popleft()[0]
                session.has_news = True
            if session.has_news:
                session.has_news = False
                self._tell(
                    session.peer, Ack(session.epoch, session.applied, session.durable, CREDIT)
                )

        if self._unsynced.is_set() and not any(s.unsynced for s in self._sessions.values()):
            self._unsynced = anyio.Event()

    def _tell(self, peer: bytes, header: Header) -> None:
        self._serving.send("ingest", [peer, encode(header)])
