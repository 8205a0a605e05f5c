"""A mirror of a server's collection with what was written here over it, kept in step both ways.

Invariants
- Reading and writing never wait for the server: what is written is pushed, and what others wrote is
  pulled, in the background, whenever there is a connection.
- A pull that was begun after the server had acknowledged all own operations up to some number holds
  them: own points that no later one has touched leave then. No clock is asked.
- Whatever ends, and whenever: what was acknowledged here is read here, and reaches the server.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Final, Literal
from urllib.parse import quote

import anyio
from msgspec import Struct

from edge.errors import ActorCrashed, EdgeError, NotFound, Refused, ShardClosed, ValidationError
from edge.model.config import EdgeConfig
from edge.qdrant.config import config_of
from edge.qdrant.layout import DenseParams, MultiVector, ShardConfig, SparseParams
from edge.shard import EdgeShard
from edge.sync.background import Background
from edge.sync.download import MOST_BYTES
from edge.sync.pair import Pair
from edge.sync.pull import JITTER, Pull, Pulled
from edge.sync.push import OnRefused, Progress, Push
from edge.sync.rest import Rest, Retries

log = logging.getLogger("edge")

OUTBOX: Final = "mirror"
"""The outbox that is pushed."""


class Status(Struct, frozen=True):
    """How far a mirror is in step.

    `push` is the push's progress. `pulled` is the last pull that succeeded, `age` seconds ago;
    `error` why the one after it did not. All own operations up to `cut` are in what was pulled.
    """

    push: Progress
    pulled: Pulled | None
    age: float | None
    error: str | None
    cut: int


class Mirror(Pair):
    """A memory in `folder` that is in step with a collection of a Qdrant server.

    `async with Mirror(...) as memory:` opens it, with or without a connection; `memory` is read as
    an EdgeShard is, `update` and `upsert_arrays` write. An id is seen once: as it was written here,
    until the server's own has all that was written here.

    Args:
        folder: holds the own shard (`local`) and that of the server (`mirror`).
        url, collection, shard_id, api_key, timeout: see `Push` and `Pull`.
        config: of the own shard; its vectors must be those of the collection. None: what is stored
            says it, or, the first time, the server, which must be there then.
        pull_every: seconds between pulls; None: only `pull` pulls.
        on_refused: what becomes of an operation that the server refuses, see `Push`.
        create: make the collection where the server has none.
        full, most_bytes: see `Pull`.
        retries: the pauses of a push, and of a pull. A pull is given up after `attempts`, and comes
            again by itself.
        tell: called with what each pull in the background did, or why it did not.

    Raises (on opening) as EdgeShard does, and RemoteError where the server is to say the config.
    """

    def __init__(
        self,
        folder: str | Path,
        url: str,
        collection: str,
        config: EdgeConfig | None = None,
        *,
        shard_id: int = 0,
        api_key: str | None = None,
        pull_every: float | None = 30.0,
        on_refused: OnRefused = "stop",
        create: bool = False,
        full: Literal["stored", "streamed"] = "stored",
        most_bytes: int = MOST_BYTES,
        timeout: float = 30.0,
        retries: Retries | None = None,
        tell: Callable[[Pulled | EdgeError], object] | None = None,
    ) -> None:
        super().__init__(folder, config)
        if pull_every is not None and not pull_every > 0:
            raise ValidationError(f"pull_every: expected more than 0 seconds, got {pull_every}")
        self._config = config
        self._collection = collection
        self._pull_every = pull_every
        self._rest = Rest(url, api_key, timeout=timeout, retries=retries)
        self._push = Push(
            self,
            url,
            collection,
            api_key=api_key,
            name=OUTBOX,
            timeout=timeout,
            retries=_endless(retries),
            on_refused=on_refused,
            outbox_bytes=None,
            create=create,
        )
        self._make_pull = partial(
            Pull,
            url=url,
            collection=collection,
            shard_id=shard_id,
            api_key=api_key,
            full=full,
            most_bytes=most_bytes,
            timeout=timeout,
            retries=retries,
        )
        self._pull = self._make_pull(self.base.path)  # refuses what is wrong
        self._tell = tell or (lambda done: None)
        self._pulled: Pulled | None = None
        self._pulled_at = 0.0
        self._error: EdgeError | None = None

    # -- life

    async def _open(self, stack: AsyncExitStack) -> None:
        if self._config is None and not await self._is_stored():
            self.own = EdgeShard(self.own.path, await self._config_of_server())
        await super()._open(stack)
        await stack.enter_async_context(self._push)
        self._pull = await stack.enter_async_context(self._make_pull(self.base))
        if self._pull_every is not None:
            background = Background()
            stack.push_async_callback(background.stop)
            background.start(self._pull_again_and_again)

    async def _is_stored(self) -> bool:
        try:
            async with EdgeShard.load(self.own.path):
                return True
        except NotFound:
            return False

    async def _config_of_server(self) -> EdgeConfig:
        async with self._rest:
            path = f"/collections/{quote(self._collection, safe='')}"
            found = await self._rest.call("GET", path)
        try:
            return _config_of(found["config"]["params"])
        except (KeyError, TypeError) as error:
            raise Refused(f"the server describes its collection oddly: {error!r}") from None

    # -- in step

    @property
    def status(self) -> Status:
        """How far it is in step."""
        return Status(
            push=self._push.progress,
            pulled=self._pulled,
            age=None if self._pulled is None else monotonic() - self._pulled_at,
            error=None if self._error is None else f"{type(self._error).__name__}: {self._error}",
            cut=self.cut,
        )

    async def pull(self) -> Pulled:
        """Have what the server has now.

        Raises as `Pull.once`, and ValidationError where the server's vectors are not ours.
        """
        confirmed = self._push.outbox.confirmed
        try:
            pulled = await self._pull.once()
            await self.adopt(confirmed)
        except EdgeError as error:
            self._error = error
            raise
        self._pulled, self._pulled_at, self._error = pulled, monotonic(), None
        return pulled

    async def drained(self) -> None:
        """Wait until the server has all that was written here; see `Push.drained`."""
        await self._push.drained()

    async def _pull_again_and_again(self) -> None:
        assert self._pull_every is not None
        while True:
            try:
                self._tell(await self.pull())
            except ShardClosed:
                return
            except EdgeError as error:  # the next one may succeed
                self._tell(error)
            except Exception as crash:
                log.exception("the pull of %s failed", self._collection)
                self._error = ActorCrashed(f"the pull failed: {crash!r}", "mirror")
                self._tell(self._error)
            await anyio.sleep(self._pull_every * random.uniform(1 - JITTER, 1 + JITTER))


def _endless(retries: Retries | None) -> Retries:
    found = retries or Retries()
    return Retries(None, found.first, found.longest)


def _config_of(params: Any) -> EdgeConfig:
    """Our config of a collection's params: what its vectors are; how they are indexed is ours."""
    vectors = params.get("vectors") or {}
    named = {"": vectors} if "size" in vectors else vectors
    sparse = params.get("sparse_vectors") or {}
    dense = {
        name: DenseParams(
            size=one["size"],
            distance=one["distance"],
            multivector_config=MultiVector() if one.get("multivector_config") else None,
            datatype=one.get("datatype"),
        )
        for name, one in named.items()
    }
    texts = {
        name: SparseParams(modifier=(one or {}).get("modifier")) for name, one in sparse.items()
    }
    return config_of(ShardConfig(vectors=dense, sparse_vectors=texts))
