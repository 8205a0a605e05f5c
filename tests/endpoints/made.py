"""What the tests of the doors share: a small shard that is served, and peers that speak by hand."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from inspect import isawaitable
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import zmq
import zmq.asyncio
from numpy.typing import NDArray
from zmq.utils.monitor import parse_monitor_message

from edge import EdgeShard
from edge.endpoints import Endpoints
from edge.endpoints import protocol as p
from edge.model.config import Durability, EdgeConfig
from edge.model.request import ScrollRequest
from edge.model.vector_params import Distance, EdgeVectorParams
from edge.shard import Reads

DIM = 4
PATIENCE = 20.0
"""Seconds after which what should have come is given up."""

decode = p.Decoder(p.Welcome, p.Ack, p.Nak, p.Refused)


def config(dim: int = DIM, **more: Any) -> EdgeConfig:
    given: dict[str, Any] = {"durability": Durability.Os, "background_optimizer": False} | more
    return EdgeConfig(EdgeVectorParams(dim, Distance.Dot), **given)


class Served(NamedTuple):
    """An open shard, its doors, and where they are."""

    shard: EdgeShard
    doors: Endpoints
    ingest: str
    stream: str
    query: str

    async def numbers(self) -> dict[Any, Any]:
        """The payload's "n" of every point, by id."""
        return await numbers(self.shard)

    def count(self, door: str, what: str) -> Any:
        return self.doors.counts()[door][what]


async def numbers(shard: EdgeShard) -> dict[Any, Any]:
    records, _ = await shard.scroll(ScrollRequest(limit=100_000))
    return {record.id: (record.payload or {}).get("n") for record in records}


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for the name of a socket; it is the user's alone (0700)."""
    folder = Path(tempfile.mkdtemp(prefix="doors-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@asynccontextmanager
async def served(
    path: Path, given: EdgeConfig | None = None, *, doors: Path | None = None, **options: Any
) -> AsyncIterator[Served]:
    """A shard in `path`, all of its doors open, in the folder `doors` or a new one."""
    with short_folder() as new:
        folder = doors or new
        ingest, stream, query = (f"ipc://{folder}/{n}" for n in ("ingest", "stream", "query"))
        addresses = {"ingest": ingest, "stream": stream, "query": query} | options
        async with (
            EdgeShard(path, config() if given is None else given) as shard,
            Endpoints(shard, **addresses) as opened,
        ):
            yield Served(shard, opened, ingest, stream, query)


class Peer:
    """One end of a line, in the tests' own hand: frames out, frames in.

    `watches` are the events of the socket that `event` waits for.
    """

    def __init__(
        self, address: str, kind: int = zmq.DEALER, *, watches: int = 0, **options: Any
    ) -> None:
        self._context = zmq.asyncio.Context()
        self.socket = self._context.socket(kind)
        self.socket.linger = 0
        for name, value in options.items():
            setattr(self.socket, name, value)
        if watches:  # before it is connected: no event may come before
            self._monitor = self.socket.get_monitor_socket(watches)
        self._is_watched = bool(watches)
        self.socket.connect(address)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_watched:
            self.socket.disable_monitor()
            self._monitor.close(0)
        self._context.destroy(0)

    async def event(self) -> int:
        """The next of the events that it watches."""
        async with asyncio.timeout(PATIENCE):
            return int(parse_monitor_message(await self._monitor.recv_multipart())["event"])

    async def send(self, *frames: bytes) -> None:
        await self.socket.send_multipart(list(frames))

    async def receive(self) -> list[bytes]:
        async with asyncio.timeout(PATIENCE):
            return await self.socket.recv_multipart()  # type: ignore[no-any-return]

    async def hears(self, *kinds: type) -> Any:
        """The next header of one of these kinds; others are passed over."""
        while True:
            header = decode((await self.receive())[0])
            if isinstance(header, kinds):
                return header

    async def greet(self, source: str = "camera", epoch: int = 1, durable: bool = False) -> Any:
        await self.send(p.encode(p.Hello(p.VERSION, source, epoch, durable)))
        return await self.hears(p.Welcome, p.Refused)

    async def is_applied(self, sequence: int) -> p.Ack:
        """Wait for the acknowledgement of a message."""
        while True:
            ack = await self.hears(p.Ack)
            if ack.applied >= sequence:
                return ack  # type: ignore[no-any-return]


def points(
    sequence: int,
    ids: Sequence[Any],
    n: int | None = None,
    *,
    source: str = "camera",
    epoch: int = 1,
    vectors: NDArray[Any] | None = None,
) -> list[bytes]:
    """A message of points, with {"n": n} (default: its sequence) as payload."""
    block = np.ones((len(ids), DIM), np.float32) if vectors is None else vectors
    payload = {"n": sequence if n is None else n}
    return p.message_of(source, epoch, sequence, ids, block, [payload] * len(ids))


async def until(is_so: Callable[[], Any]) -> None:
    """Wait until a condition, which may be awaitable, is true."""
    end = monotonic() + PATIENCE
    while True:
        answer = is_so()
        if await answer if isawaitable(answer) else answer:
            return
        assert monotonic() < end, "it did not happen"
        await asyncio.sleep(0.002)


async def until_stored(reads: Reads, count: int) -> None:
    """Wait until the shard has so many points."""

    async def is_so() -> bool:
        return await reads.count() == count

    await until(is_so)


async def in_thread(call: Any, *args: Any, **named: Any) -> Any:
    """Call what blocks, such as a Publisher, beside the loop."""
    return await asyncio.to_thread(call, *args, **named)
