"""Publisher: a producer of points that waits for nobody, and gives up nothing it still holds.

Invariants
- What was handed over is held until the door says that it is applied (or durable, where that is
  asked for); after a broken line, or a restart of the door, it is sent again from where the door
  stands, so that it is applied once.
- Never more than the door's credit is on its way.
- The socket lives in one thread; a publisher belongs to one thread too.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

import zmq
from numpy.typing import NDArray

from edge.endpoints.protocol import (
    VERSION,
    Ack,
    Decoder,
    Hello,
    Nak,
    ProtocolError,
    Refused,
    Welcome,
    encode,
    error_of,
    message_of,
)
from edge.endpoints.security import ClientKeys, connected
from edge.errors import CallerError, DeadlineExceeded, EdgeError, ShardBusy, ShardClosed
from edge.model.point_id import PointIdLike

PATIENCE: Final = 1.0
"""Seconds of silence after which the line is taken for broken, and Hello is said again."""

_decode = Decoder(Welcome, Ack, Nak, Refused)


class Publisher:
    """Sends points to the ingest door of a shard.

    Args:
        address: where the door is, such as "ipc:///run/robot/ingest".
        source: the producer's name, for good; None makes one.
        epoch: which life of the producer this is; it may never go back. The default is the time, in
            microseconds; give another number that grows where the clock may be set back. A producer
            that keeps its epoch and hands over the same messages in the same order after a restart
            goes on where it was.
        capacity: how many messages it holds; one more waits for room.
        durable: whether a message is held until a power cut cannot take it (default False: until
            it is applied).
        keys: the CURVE keys for a door that asks for them.

    A context manager; `close` waits until all is acknowledged. Raises ValidationError for an
    address that is none; and, from every method, what the door refused the producer itself for.
    """

    def __init__(
        self,
        address: str,
        source: str | None = None,
        *,
        epoch: int | None = None,
        capacity: int = 1_024,
        durable: bool = False,
        keys: ClientKeys | None = None,
        context: zmq.Context[Any] | None = None,
    ) -> None:
        self.source = source or f"publisher-{uuid4().hex[:12]}"
        self.epoch = time.time_ns() // 1_000 if epoch is None else epoch
        self.refused: list[Refused] = []
        """The messages that the door refused, and why."""
        self.fault: Refused | None = None
        """Why the shard takes nothing now, as it said last."""
        self._capacity, self._durable = capacity, durable
        self._held: deque[tuple[int, list[bytes]]] = deque()
        self._sequence = 0
        self._next = 1
        self._credit = 0
        self._safe = 0
        self._heard = time.monotonic()
        self._said_hello = self._welcome = False
        self._unwanted: EdgeError | None = None
        context = context or zmq.Context.instance()
        self._socket = connected(context, zmq.DEALER, address, keys, immediate=True)
        self._greet()

    def _greet(self) -> None:
        """Say Hello; where there is no line yet, as soon as there is."""
        self._credit = 0
        self._heard = time.monotonic()
        self._welcome = False
        hello = Hello(VERSION, self.source, self.epoch, self._durable)
        self._said_hello = self._send([encode(hello)])

    # -- sending

    def upsert_arrays(
        self,
        ids: Sequence[PointIdLike] | NDArray[Any],
        vectors: NDArray[Any] | Mapping[str, NDArray[Any]],
        payloads: Sequence[dict[str, Any] | None] | None = None,
        timeout: float | None = None,
    ) -> int:
        """Hand over points, given as for `EdgeShard.upsert_arrays`; return their place (1, 2, ...).

        Waits only where `capacity` messages are held already. Raises ShardBusy when that takes
        longer than `timeout` seconds.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while len(self._held) >= self._capacity:
            if until is not None and time.monotonic() >= until:
                raise ShardBusy(f"{len(self._held)} messages are held already")
            self._turn(0.05)
        sequence = self._sequence + 1
        frames = message_of(self.source, self.epoch, sequence, ids, vectors, payloads)
        self._sequence = sequence
        if sequence > self._safe:
            self._held.append((sequence, frames))
        self._turn(0.0)
        return sequence

    def flush(self, timeout: float | None = None) -> None:
        """Wait until all is acknowledged. Raises DeadlineExceeded."""
        until = None if timeout is None else time.monotonic() + timeout
        while self._held:
            if until is not None and time.monotonic() >= until:
                raise DeadlineExceeded(f"{len(self._held)} messages are not acknowledged yet")
            self._turn(0.05)

    @property
    def held(self) -> int:
        """How many messages are not acknowledged yet."""
        return len(self._held)

    def close(self, timeout: float | None = 10.0) -> None:
        """Wait until all is acknowledged, and close the line. Idempotent."""
        try:
            if not self._socket.closed:
                self.flush(timeout)
        finally:
            self._socket.close(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close(10.0 if error is None else 0.0)

    # -- the line

    def _turn(self, seconds: float) -> None:
        """Send what there is credit for, and read what has come, waiting for it so long."""
        if self._socket.closed:
            raise ShardClosed("this publisher is closed")
        if not self._said_hello:
            self._greet()
        self._send_held()
        if self._socket.poll(int(1000 * seconds), zmq.POLLIN | self._line_wanted):
            while self._socket.poll(0):
                self._read(self._socket.recv_multipart())
            self._send_held()
        elif self._held and time.monotonic() - self._heard > PATIENCE:
            self._greet()
        if self._unwanted is not None:
            raise self._unwanted

    @property
    def _line_wanted(self) -> int:
        return 0 if self._said_hello else zmq.POLLOUT

    def _send_held(self) -> None:
        sent = self._next - self._held[0][0] if self._held else 0
        for sequence, frames in islice(self._held, max(0, sent), None):
            if self._credit <= 0 or not self._send(frames):
                return
            self._next = sequence + 1
            self._credit -= 1

    def _send(self, frames: list[bytes]) -> bool:
        try:
            self._socket.send_multipart(frames, zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def _read(self, frames: list[bytes]) -> None:
        try:
            header = _decode(frames[0])
        except EdgeError:
            return
        if header.epoch != self.epoch:
            return
        self._heard = time.monotonic()
        if isinstance(header, Nak):
            if not self._welcome:
                return
            self._credit += max(0, self._next - header.expected)
            self._next = min(self._next, header.expected)
        elif isinstance(header, Refused):
            self._was_refused(header)
        else:
            self._was_told(header)

    def _was_refused(self, header: Refused) -> None:
        """Note a message that was wrong. Where it was not (the door knows us no more, or the shard
        takes nothing now), say Hello again: at once, or after a silence."""
        if header.sequence:
            self.refused.append(header)
        elif header.code == ProtocolError.code:
            if self._welcome:  # else a Hello is on its way already
                self._greet()
        else:
            error = error_of(header.code, header.message)
            if isinstance(error, CallerError):
                self._unwanted = error
            self.fault = header
            self._credit = 0

    def _was_told(self, header: Welcome | Ack) -> None:
        if isinstance(header, Welcome):
            self._welcome = True
            self._next = header.applied + 1
        elif not self._welcome:
            return  # of the time before this Hello
        else:
            self.fault = None
        self._safe = header.durable if self._durable else header.applied
        while self._held and self._held[0][0] <= self._safe:
            self._held.popleft()
        self._credit = header.credit - max(0, self._next - 1 - header.applied)
