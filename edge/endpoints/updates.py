"""A client's line to the ingest door: one update after another, each carried out once.

Invariants
- An update is sent again, after a silence or a broken line, under the same mark.
- One that was given up (a timeout, a cancelled task) ends its epoch: whatever becomes of it, it
  stands in no later update's way, and it is not applied after one.
"""

from __future__ import annotations

import asyncio
from time import time_ns
from typing import Final, TypeAlias, TypeGuard, cast
from uuid import uuid4

import anyio
import zmq.asyncio

from edge.endpoints import protocol
from edge.endpoints.wire import error_of
from edge.errors import DeadlineExceeded
from edge.model import codec
from edge.model.check import check
from edge.model.config import Distance, EdgeConfig, EdgeVectorParams
from edge.model.update import UpdateOperation

PATIENCE: Final = 1.0
"""Seconds of silence after which an update is sent again."""

Told: TypeAlias = protocol.Welcome | protocol.Ack | protocol.Nak | protocol.Refused

_decode = protocol.Decoder(protocol.Welcome, protocol.Ack, protocol.Nak, protocol.Refused)


class Updates:
    """See the module's invariants."""

    def __init__(self, socket: zmq.asyncio.Socket) -> None:
        self._socket = socket
        self._source = f"client-{uuid4().hex[:12]}"
        self._epoch = 0
        self._sequence = 0
        self._config: EdgeConfig | None = None
        self._turn = anyio.Lock()

    async def send(self, operation: UpdateOperation, timeout: float) -> None:
        """Have an operation carried out. Raises what the shard raised, or DeadlineExceeded."""
        try:
            async with asyncio.timeout(timeout), self._turn:
                if self._config is None:
                    await self._begin_epoch()
                assert self._config is not None
                body = b"".join(codec.encode(check(operation, self._config)))
                self._sequence += 1
                change = protocol.Change(self._source, self._epoch, self._sequence)
                config, self._config = self._config, None  # until it is known what became of it
                refused = await self._carry_out([protocol.encode(change), body])
                if refused is None or refused.sequence:
                    self._config = config
        except TimeoutError:
            raise DeadlineExceeded(f"no acknowledgement within {timeout} s") from None
        if refused is not None:
            raise error_of(refused.code, refused.message)

    async def _begin_epoch(self) -> None:
        self._epoch = max(self._epoch + 1, time_ns() // 1_000)
        self._sequence = 0
        welcome = await self._greet()
        if isinstance(welcome, protocol.Refused):
            raise error_of(welcome.code, welcome.message)
        vectors = {name: EdgeVectorParams(size, Distance.Dot) for name, size in welcome.vectors}
        self._config = EdgeConfig(vectors)

    async def _greet(self) -> protocol.Welcome | protocol.Refused:
        hello = protocol.Hello(protocol.VERSION, self._source, self._epoch)
        while True:
            await self._socket.send_multipart([protocol.encode(hello)])
            while (header := await self._next_header()) is not None:
                if isinstance(header, protocol.Welcome) or _is_about_the_line(header):
                    return header

    async def _carry_out(self, frames: list[bytes]) -> protocol.Refused | None:
        """Send until it is acknowledged (None), or refused."""
        while True:
            await self._socket.send_multipart(frames)
            while (header := await self._next_header()) is not None:
                if isinstance(header, protocol.Ack) and header.applied >= self._sequence:
                    return None
                if isinstance(header, protocol.Nak):
                    break
                if _is_about_the_line(header):
                    if header.code != protocol.ProtocolError.code:
                        return header
                    break
                if isinstance(header, protocol.Refused) and header.sequence == self._sequence:
                    return header
            welcome = await self._greet()
            if isinstance(welcome, protocol.Refused):
                return welcome

    async def _next_header(self) -> Told | None:
        """The next header of this epoch; None after a silence."""
        while await self._socket.poll(int(1000 * PATIENCE)):
            try:
                header = cast(Told, _decode((await self._socket.recv_multipart())[0]))
            except protocol.ProtocolError:
                continue
            if header.epoch == self._epoch:
                return header
        return None


def _is_about_the_line(header: Told) -> TypeGuard[protocol.Refused]:
    return isinstance(header, protocol.Refused) and header.sequence == 0
