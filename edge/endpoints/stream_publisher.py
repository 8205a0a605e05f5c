"""StreamPublisher: a producer of points that publishes to whoever listens, and waits for nobody.

Invariants
- Publishing never blocks. What a listener did not get it sees as a gap in the numbers, and may ask
  for: the last `capacity` messages are kept for that.
- Publishing is for one thread; those who ask are answered by a thread of the publisher's own.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

import zmq
from numpy.typing import NDArray

from edge.endpoints import security
from edge.endpoints.protocol import Decoder, Gone, Replay, encode, message_of
from edge.endpoints.security import ClientKeys, check_bind, connected
from edge.errors import EdgeError, StorageFault
from edge.model.point_id import PointIdLike

POLL_MS: Final = 100
"""How soon a publisher that is closed stops answering."""

_decode = Decoder(Replay)


class StreamPublisher:
    """Publishes points to the stream door of a shard.

    Args:
        address: the door to connect to; or, with `bind`, the address to bind, for doors that
            connect (`Endpoints(connect=...)`).
        source: the producer's name; None makes one.
        topic: what subscribers choose by, from its beginning.
        replay: address to bind for those who missed something (`Endpoints(replay=...)`).
        capacity: how many messages are kept for them.
        epoch: which life of the producer this is; the default is the time, in microseconds.
        keys: the CURVE keys for a door that asks for them.

    A context manager. Raises ValidationError for an address that is none or not safe, StorageFault
    for one that cannot be had.
    """

    def __init__(
        self,
        address: str,
        source: str | None = None,
        *,
        bind: bool = False,
        topic: str = "",
        replay: str | None = None,
        capacity: int = 1_024,
        epoch: int | None = None,
        keys: ClientKeys | None = None,
        context: zmq.Context[Any] | None = None,
    ) -> None:
        self.source = source or f"publisher-{uuid4().hex[:12]}"
        self.epoch = time.time_ns() // 1_000 if epoch is None else epoch
        self._topic = topic.encode()
        self._sequence = 0
        self._kept: deque[tuple[int, list[bytes]]] = deque(maxlen=max(1, capacity))
        self._lock = threading.Lock()
        self._closing = threading.Event()
        context = context or zmq.Context.instance()
        if bind:
            self._socket = _bound(context, zmq.PUB, address, "address")
        else:
            self._socket = connected(context, zmq.PUB, address, keys)
        self._thread: threading.Thread | None = None
        if replay is not None:
            try:
                asked = _bound(context, zmq.ROUTER, replay, "replay", sndhwm=capacity + 1)
            except EdgeError:
                self._socket.close(0)
                raise
            self._thread = threading.Thread(
                target=self._answer_all, args=(asked,), name="edge replay", daemon=True
            )
            self._thread.start()

    def upsert_arrays(
        self,
        ids: Sequence[PointIdLike] | NDArray[Any],
        vectors: NDArray[Any] | Mapping[str, NDArray[Any]],
        payloads: Sequence[dict[str, Any] | None] | None = None,
    ) -> int:
        """Publish points, given as for `EdgeShard.upsert_arrays`, in one message; return its number
        (1, 2, ...). A batch of 64 points is a good size."""
        sequence = self._sequence + 1
        frames = message_of(self.source, self.epoch, sequence, ids, vectors, payloads)
        with self._lock:
            self._sequence = sequence
            self._kept.append((sequence, frames))
        self._socket.send_multipart([self._topic, *frames])
        return sequence

    def close(self, linger: float = 1.0) -> None:
        """Stop; what was published may still be on its way for `linger` seconds. Idempotent."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        self._socket.close(int(1000 * linger))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- in the thread of its own

    def _answer_all(self, asked: zmq.Socket[bytes]) -> None:
        try:
            while not self._closing.is_set():
                if asked.poll(POLL_MS):
                    self._answer(asked, asked.recv_multipart())
        finally:
            asked.close(0)

    def _answer(self, asked: zmq.Socket[bytes], frames: list[bytes]) -> None:
        try:
            request: Replay = _decode(frames[1] if len(frames) == 2 else b"")
        except EdgeError:
            return
        if (request.source, request.epoch) != (self.source, self.epoch):
            return  # of another publisher: whoever misses something asks all
        with self._lock:
            oldest = self._kept[0][0] if self._kept else self._sequence + 1
            found = [kept for n, kept in self._kept if request.first <= n <= request.last]
        if request.first < oldest:
            asked.send_multipart([frames[0], encode(Gone(self.source, self.epoch, oldest))])
        for kept in found:
            asked.send_multipart([frames[0], *kept])


def _bound(
    context: zmq.Context[Any], kind: int, address: str, field: str, **options: Any
) -> zmq.Socket[bytes]:
    check_bind(address, None, field)
    socket: zmq.Socket[bytes] = context.socket(kind)
    for option, value in options.items():
        setattr(socket, option, value)
    try:
        security.bind(socket, address)
    except zmq.ZMQError as error:
        socket.close(0)
        raise StorageFault(f"cannot open {address}: {error}") from None
    return socket
