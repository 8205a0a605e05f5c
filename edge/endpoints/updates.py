"""A client's line to the ingest door: one update after another, each carried out once.

Invariants
- An update is sent again, after a silence or a broken line, under the same mark.
- One that was given up (a timeout, a cancelled task) ends its epoch: whatever becomes of it, it
  stands in no later update's way, and it is not applied after one.
- An update is checked, and written, by what the door said of the shard's vectors. It is refused for
  good only where the door, asked again, says nothing else.
"""

from __future__ import annotations

import asyncio
from time import time_ns
from typing import Final, TypeAlias, TypeGuard, cast
from uuid import uuid4

import anyio
import zmq.asyncio

from edge.endpoints import protocol
from edge.errors import DeadlineExceeded, ValidationError
from edge.model import codec
from edge.model.check import check
from edge.model.config import EdgeConfig
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
                await self._send_under_the_newest(operation)
        except TimeoutError:
            raise DeadlineExceeded(f"no acknowledgement within {timeout} s") from None

    async def _send_under_the_newest(self, operation: UpdateOperation) -> None:
        config, is_newest = self._config, self._config is None
        if config is None:
            config = await self._begin_epoch()
        try:
            await self._send_under(config, operation)
        except ValidationError:
            if is_newest or self._config is None:
                raise
            # somebody may have changed the shard's vectors meanwhile
            newest = await self._welcomed()
            if newest == config:
                raise
            await self._send_under(newest, operation)

    async def _send_under(self, config: EdgeConfig, operation: UpdateOperation) -> None:
        body = b"".join(codec.encode(check(operation, config)))
        self._sequence += 1
        change = protocol.Change(self._source, self._epoch, self._sequence)
        self._config = None  # until it is known what became of it
        refused = await self._carry_out([protocol.encode(change), body])
        if refused is None or refused.sequence:
            self._config = config
        if refused is not None:
            raise protocol.error_of(refused.code, refused.message)

    async def _begin_epoch(self) -> EdgeConfig:
        self._epoch = max(self._epoch + 1, time_ns() // 1_000)
        self._sequence = 0
        return await self._welcomed()

    async def _welcomed(self) -> EdgeConfig:
        """Say Hello in this epoch; return what is said of the shard's vectors."""
        self._config = None  # until there is an answer
        welcome = await self._greet()
        if isinstance(welcome, protocol.Refused):
            raise protocol.error_of(welcome.code, welcome.message)
        self._config = EdgeConfig(welcome.vectors, welcome.sparse_vectors)
        return self._config

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
