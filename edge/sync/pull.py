"""Pulling: a shard that becomes what a server's shard is, by partial snapshots where that will do.

Invariants
- Nothing of the shard changes before the snapshot is there whole. A partial one that does not fit
  is followed by a full one, in the same pull.
- What the server says has not changed (304) costs no more than the asking.
- A full snapshot that was begun is gone on with, also by another process, and followed by a partial
  one: what a pull leaves the server had after the pull was called.
- One pull at a time.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Final, Literal, NamedTuple, Protocol, Self
from urllib.parse import quote

import anyio
import msgspec
from anyio import to_thread
from msgspec import Struct

from edge.errors import (
    CallerError,
    CorruptData,
    EdgeError,
    NotFound,
    Refused,
    RemoteBusy,
    RemoteError,
    ValidationError,
)
from edge.shard import EdgeShard
from edge.sync.download import MOST_BYTES, Folder, Stored
from edge.sync.rest import Rest, Retries

log = logging.getLogger("edge")

PARTIAL: Final = "partial.tar"
FULL: Final = "full.tar"
NOTE: Final = "note.json"
"""The files of a pull, in a folder beside the shard."""
GONE: Final = (404, 416)
JITTER: Final = 0.1
MAKING_SECONDS: Final = 1800.0
"""How long a server may take to make a snapshot, before it says anything."""


Kind = Literal["nothing", "partial", "full"]


class Pulled(NamedTuple):
    """What a pull did: nothing, where nothing was new; how many bytes came, in how long."""

    kind: Kind
    nbytes: int
    seconds: float


class Pullable(Protocol):
    """A shard, as a pull knows it."""

    async def manifest(self) -> Mapping[str, Any]:
        """What it has of a server's shard, as Qdrant describes it; empty: nothing."""
        ...

    async def apply(self, path: Path) -> None:
        """Become what the snapshot holds."""
        ...


class _Note(Struct, frozen=True):
    """A full snapshot that is coming in."""

    url: str
    stored: Stored


class _Done(NamedTuple):
    kind: Kind
    nbytes: int
    is_new: bool = True
    """Whether the server made it in this pull."""


class Pull:
    """Pulls `shard_id` of a collection into a shard that is open, or into the folder of one.

    To be opened by `async with`. Full snapshots are made and kept by the server until they are here
    (`full="stored"`), so that a connection that ends costs nothing; where the server refuses that,
    or with `full="streamed"`, they come in one go. `most_bytes` is the longest snapshot that is
    taken. For `api_key`, `timeout` and `retries` see `Rest`.
    """

    def __init__(
        self,
        shard: EdgeShard | str | Path,
        url: str,
        collection: str,
        shard_id: int = 0,
        *,
        api_key: str | None = None,
        full: Literal["stored", "streamed"] = "stored",
        most_bytes: int = MOST_BYTES,
        timeout: float = 30.0,
        retries: Retries | None = None,
    ) -> None:
        if full not in ("stored", "streamed"):
            raise ValidationError(f'full: expected "stored" or "streamed", got {full!r}')
        if not collection:
            raise ValidationError("collection: expected a name")
        self._rest = Rest(url, api_key, timeout=timeout, retries=retries)
        self._at = f"/collections/{quote(collection, safe='')}/shards/{shard_id}"
        self._shard: Pullable = target_of(shard)
        path = shard.path if isinstance(shard, EdgeShard) else Path(shard)
        self._folder = Folder(path.parent / f"{path.name}.incoming", most_bytes)
        self._full_is_stored = full == "stored"
        self._turn = anyio.Lock()

    async def __aenter__(self) -> Self:
        await self._rest.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._rest.close()

    async def once(self) -> Pulled:
        """Have the shard as the server's is, or was since this was called.

        Raises RemoteError where the server did not give it, StorageFault, CorruptData, and what
        `EdgeShard.update_from_snapshot` raises; the shard is as it was then, or as the server's was
        when a download was begun that had to be gone on with.
        """
        async with self._turn:
            begun = monotonic()
            done = await self._better()
            nbytes = done.nbytes
            if not done.is_new:
                nbytes += (await self._better()).nbytes
            return Pulled(done.kind, nbytes, monotonic() - begun)

    async def _better(self) -> _Done:
        manifest = await self._shard.manifest()
        done = await self._partial(manifest) if manifest else None
        return done or await self._whole()

    async def every(
        self, seconds: float, tell: Callable[[Pulled | EdgeError], object] | None = None
    ) -> None:
        """Pull again and again, until cancelled: about `seconds` after the last pull has ended, be
        it by an error. `tell` is called with what each did, or why it did not."""
        tell = tell or _tell
        while True:
            try:
                tell(await self.once())
            except EdgeError as error:
                tell(error)
            await anyio.sleep(seconds * random.uniform(1 - JITTER, 1 + JITTER))

    # -- partial

    async def _partial(self, manifest: Mapping[str, Any]) -> _Done | None:
        """None: a full one is needed."""
        content = await to_thread.run_sync(msgspec.json.encode, manifest)
        path = f"{self._at}/snapshot/partial/create"
        try:
            nbytes = await self._folder.fetch(
                self._rest, "POST", path, PARTIAL, content, MAKING_SECONDS
            )
            if nbytes is None:
                return _Done("nothing", 0)
            await self._shard.apply(self._folder.path(PARTIAL))
        except Refused as refusal:
            if refusal.status in (401, 403):
                raise
            log.info("no partial snapshot: %s", refusal)
            return None
        except (CallerError, CorruptData) as misfit:
            log.warning("the partial snapshot does not fit: %s", misfit)
            return None
        finally:
            await self._folder.remove(PARTIAL)
        return _Done("partial", nbytes)

    # -- full

    async def _whole(self) -> _Done:
        begun = await self._begun() if self._full_is_stored else None
        note = begun or (await self._begin() if self._full_is_stored else None)
        if note is None:
            return await self._streamed()
        try:
            await self._folder.go_on(self._rest, self._stored_at(note), FULL, note.stored)
        except Refused as refusal:
            if refusal.status not in GONE:
                raise
            await self._folder.clear()
            raise RemoteBusy(f"the snapshot is no longer there: {refusal}") from refusal
        except CorruptData:
            await self._let_go(note)
            raise
        try:
            await self._shard.apply(self._folder.path(FULL))
        finally:
            await self._let_go(note)
        return _Done("full", note.stored.size, is_new=begun is None)

    async def _begun(self) -> _Note | None:
        """The snapshot that was begun, if there is one that the server still keeps."""
        note = await to_thread.run_sync(self._read_note)
        return note if note is not None and await self._is_kept(note) else None

    async def _begin(self) -> _Note | None:
        """A new snapshot; None where the server makes none."""
        await self._folder.clear()
        try:
            made = await self._rest.call(
                "POST",
                f"{self._at}/snapshots",
                params={"wait": "true"},
                patience=MAKING_SECONDS,
            )
        except Refused as refusal:
            log.info("no stored snapshot: %s", refusal)
            return None
        note = _Note(self._rest.url + self._at, _stored(made))
        await to_thread.run_sync(self._write_note, note)
        return note

    async def _is_kept(self, note: _Note) -> bool:
        if note.url != self._rest.url + self._at:
            return False
        kept = await self._rest.call("GET", f"{self._at}/snapshots")
        return any(_stored(one) == note.stored for one in kept)

    def _read_note(self) -> _Note | None:
        storage = self._folder.storage
        try:
            return msgspec.json.decode(storage.read(NOTE), type=_Note)
        except (EdgeError, msgspec.MsgspecError):
            return None

    def _write_note(self, note: _Note) -> None:
        storage = self._folder.storage
        storage.mkdir("")
        writer = storage.create(NOTE)
        try:
            writer.write(msgspec.json.encode(note))
        finally:
            writer.close()

    def _stored_at(self, note: _Note) -> str:
        return f"{self._at}/snapshots/{quote(note.stored.name, safe='')}"

    async def _let_go(self, note: _Note) -> None:
        """Remove it here and there; what the server keeps nevertheless is its own affair."""
        await self._folder.clear()
        try:
            await self._rest.call("DELETE", self._stored_at(note))
        except RemoteError as error:
            log.warning("a snapshot stays on the server: %s", error)

    async def _streamed(self) -> _Done:
        try:
            nbytes = await self._folder.fetch(
                self._rest, "GET", f"{self._at}/snapshot", FULL, patience=MAKING_SECONDS
            )
            if nbytes is None:
                raise Refused("a full snapshot that is not modified", 304)
            await self._shard.apply(self._folder.path(FULL))
        finally:
            await self._folder.clear()
        return _Done("full", nbytes)


def _stored(described: Any) -> Stored:
    try:
        return msgspec.convert(described, Stored)
    except msgspec.ValidationError as error:
        raise Refused(f"the server describes a snapshot oddly: {error}") from None


def _tell(done: Pulled | EdgeError) -> None:
    if isinstance(done, EdgeError):
        log.warning("the pull failed: %s", done)


# -- what is pulled into


class OpenShard:
    """A shard that is open."""

    def __init__(self, shard: EdgeShard) -> None:
        self._shard = shard

    async def manifest(self) -> Mapping[str, Any]:
        """See Pullable."""
        return await self._shard.snapshot_manifest("qdrant")

    async def apply(self, path: Path) -> None:
        """See Pullable."""
        await self._shard.update_from_snapshot(path)


class ShardFolder:
    """The folder of a shard that is not open, or not there yet; it is open while it is changed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def manifest(self) -> Mapping[str, Any]:
        """See Pullable."""
        try:
            async with EdgeShard.load(self._path) as shard:
                return await OpenShard(shard).manifest()
        except NotFound:
            return {}

    async def apply(self, path: Path) -> None:
        """See Pullable."""
        try:
            async with EdgeShard.load(self._path) as shard:
                await OpenShard(shard).apply(path)
        except NotFound:
            await EdgeShard.unpack_snapshot(path, self._path)


def target_of(shard: EdgeShard | str | Path) -> Pullable:
    """Return what a pull goes into."""
    return OpenShard(shard) if isinstance(shard, EdgeShard) else ShardFolder(Path(shard))
