"""Files that come from a server: into a folder of their own, piece by piece, never past a limit.

Invariants
- What is returned was received whole, and is what its checksum says where one is known.
- A file that the server keeps is gone on with where it stopped; all others begin anew. Whoever
  goes on counts as a failure only what brought nothing.
- The disk is touched in threads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
from anyio import CancelScope, to_thread
from msgspec import Struct

from edge.disk.storage import DiskStorage
from edge.errors import CorruptData, LimitExceeded, Refused, RemoteBusy, StorageFull, Unreachable
from edge.sync.rest import Rest, pieces

if TYPE_CHECKING:
    import httpx

    from edge.disk.storage import Writer

PIECE: Final = 1 << 20
"""Bytes that are written, and hashed, at once."""
SPARE_BYTES: Final = 64 << 20
"""What is left free on the disk."""
MOST_BYTES: Final = 256 << 30


class Stored(Struct, frozen=True):
    """A snapshot that the server keeps; `checksum` is its SHA-256 in hex digits, if it told."""

    name: str
    size: int
    checksum: str | None = None


class Folder:
    """Where files come in. One download at a time."""

    def __init__(self, path: str | Path, most_bytes: int = MOST_BYTES) -> None:
        self.storage = DiskStorage(path)
        self.most_bytes = most_bytes

    def path(self, name: str) -> Path:
        """Where a file is."""
        return Path(self.storage.path, name)

    async def clear(self) -> None:
        """Remove all that came in."""
        await to_thread.run_sync(self.storage.remove_tree, "")

    async def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        await to_thread.run_sync(self.storage.remove_tree, name)

    async def fetch(
        self,
        rest: Rest,
        method: str,
        path: str,
        name: str,
        content: bytes | None = None,
        patience: float | None = None,
    ) -> int | None:
        """Have the answer as the file `name`, asked again from its beginning as `rest` does; return
        its bytes, None where the server has nothing new (304).

        Raises RemoteError, StorageFault, StorageFull; Refused where it is longer than the limit.
        """

        async def once() -> int | None:
            async with rest.stream(method, path, content=content, patience=patience) as answer:
                if answer.status_code == HTTPStatus.NOT_MODIFIED:
                    return None
                return await self._receive(answer, name, 0)

        return await rest.retries.run(once)

    async def go_on(self, rest: Rest, path: str, name: str, stored: Stored) -> None:
        """Have a stored snapshot as the file `name`, of which a part may be there.

        Raises as `fetch`, and LimitExceeded; CorruptData, the file being gone, where it is not what
        its checksum says.
        """
        if stored.size > self.most_bytes:
            raise LimitExceeded(f"snapshot: {stored.size} bytes, at most {self.most_bytes} fit")

        async def once() -> None:
            at = await self._size(name)
            if at < stored.size:
                await self._receive_rest(rest, path, name, at)
            if await self._size(name) < stored.size:
                raise Unreachable(f"GET {path}: ended early")

        await self._insist(rest, once, name)
        await to_thread.run_sync(self._verify, name, stored)

    async def _insist(self, rest: Rest, once: Callable[[], Awaitable[None]], name: str) -> None:
        """As `Retries.run`, but whatever brought something begins to count anew."""
        failures = 0
        while True:
            before = await self._size(name)
            try:
                return await once()
            except (Unreachable, RemoteBusy) as error:
                failures = 1 if await self._size(name) > before else failures + 1
                if failures == rest.retries.attempts:
                    raise
                await anyio.sleep(rest.retries.pause(failures, error))

    async def _receive_rest(self, rest: Rest, path: str, name: str, at: int) -> None:
        headers = {"range": f"bytes={at}-"} if at else {}
        async with rest.stream("GET", path, headers=headers) as answer:
            is_rest = answer.status_code == HTTPStatus.PARTIAL_CONTENT
            if is_rest and not answer.headers.get("content-range", "").startswith(f"bytes {at}-"):
                raise Refused(f"GET {path}: another part than was asked for", answer.status_code)
            await self._receive(answer, name, at if is_rest else 0)

    async def _receive(self, answer: httpx.Response, name: str, at: int) -> int:
        """Write the answer's body behind the first `at` bytes; return the file's length."""
        coming = int(answer.headers.get("content-length", 0))
        writer = await to_thread.run_sync(self._writer, name, at, coming)
        try:
            waiting: list[bytes] = []
            size = 0
            async for piece in pieces(answer, self.most_bytes - at):
                waiting.append(piece)
                size += len(piece)
                if size >= PIECE:
                    await to_thread.run_sync(writer.write, *waiting)
                    waiting, size = [], 0
        finally:
            with CancelScope(shield=True):
                await to_thread.run_sync(_finish, writer, waiting)
        return writer.size

    def _writer(self, name: str, at: int, coming: int) -> Writer:
        self.storage.mkdir("")
        if self.storage.free_bytes() < coming + SPARE_BYTES:
            raise StorageFull(f"no space for {coming} bytes", str(self.path(name)))
        writer = self.storage.append(name)
        writer.truncate(at)
        return writer

    async def _size(self, name: str) -> int:
        exists = await to_thread.run_sync(self.storage.exists, name)
        return await to_thread.run_sync(self.storage.size, name) if exists else 0

    def _verify(self, name: str, stored: Stored) -> None:
        if self.storage.size(name) == stored.size and self._is_as_told(name, stored):
            return
        self.storage.remove_tree(name)
        raise CorruptData("the snapshot is not what its checksum says", str(self.path(name)))

    def _is_as_told(self, name: str, stored: Stored) -> bool:
        if stored.checksum is None:
            return True
        digest = hashlib.sha256()
        for at in range(0, stored.size, PIECE):
            digest.update(self.storage.pread(name, at, PIECE))
        return digest.hexdigest() == stored.checksum


def _finish(writer: Writer, waiting: list[bytes]) -> None:
    try:
        if waiting:
            writer.write(*waiting)
    finally:
        writer.close()
