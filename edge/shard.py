"""EdgeShard: the engine for programs with an event loop.

Invariants
- Every operation is awaited, and none holds up the loop: what takes longer than the way to a
  thread is done in one, and nothing that computes there holds the GIL.
- A cancelled update is whole or absent.
- A shard that went through a fork refuses in the child.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache, partial
from pathlib import Path
from subprocess import DEVNULL
from types import TracebackType
from typing import Any, Literal, Self

import anyio
from anyio import to_thread
from numpy.typing import NDArray

from edge.actors.feed import Change, Subscription
from edge.actors.outbox import Outbox
from edge.actors.query import QueryActor
from edge.actors.supervisor import Supervisor
from edge.actors.threads import Threads, Work, outlast
from edge.archive import restore
from edge.archive.writing import Snapshot
from edge.errors import AlreadyExists, ShardClosed
from edge.model.config import Durability, EdgeConfig
from edge.model.cursor import Cursor
from edge.model.groups import GroupsResult, QueryGroupsRequest
from edge.model.mark import Mark, refuse_own
from edge.model.matrix import SearchMatrixOffsets, SearchMatrixRequest
from edge.model.point import Record, ScoredPoint
from edge.model.point_id import PointIdLike
from edge.model.request import (
    CountRequest,
    FacetRequest,
    FacetResponse,
    Offset,
    QueryBatchRequest,
    QueryRequest,
    ScrollRequest,
    SearchRequest,
    ShardInfo,
    WithPayloadLike,
    WithVectorLike,
)
from edge.model.split import in_batches
from edge.model.update import UpdateOperation, UpsertArrays
from edge.query.answer import Request, Retrieve
from edge.segment.view import ShardView
from edge.store.info import info_of
from edge.store.store import Store, Submission
from edge_kernels import warm

Mode = Literal["open", "create", "load"]

_EXISTING: dict[Mode, bool | None] = {"open": None, "create": False, "load": True}
"""Whether there must be a shard in the folder; None: either."""

SWITCH_SECONDS = 0.001
"""The interpreter's switch interval while shards are served on a loop."""

WAITING = 1024
"""How many updates, and how many queries, may wait before the next is held up or refused."""


OUTBOX_BYTES = 4 << 30
"""How much of the log one outbox keeps, where nothing else is asked for."""


class Reads:
    """What may be read, of a shard as it is or of a view of it."""

    async def _ask(self, request: Request) -> Any:
        raise NotImplementedError

    async def query(self, query: QueryRequest) -> list[ScoredPoint]:
        """Answer one query, best first."""
        found: list[ScoredPoint] = await self._ask(query)
        return found

    async def query_batch(
        self, request: QueryBatchRequest | Iterable[QueryRequest]
    ) -> list[list[ScoredPoint]]:
        """Answer several queries from one view; one list for each, in their order."""
        if not isinstance(request, QueryBatchRequest):
            request = QueryBatchRequest(request)
        found: list[list[ScoredPoint]] = await self._ask(request)
        return found

    async def search(self, search: SearchRequest) -> list[ScoredPoint]:
        """Answer one vector search, best first."""
        found: list[ScoredPoint] = await self._ask(search)
        return found

    async def query_groups(self, request: QueryGroupsRequest) -> GroupsResult:
        """Answer one query by groups: the best points of each value of a payload field."""
        found: GroupsResult = await self._ask(request)
        return found

    async def search_matrix(self, request: SearchMatrixRequest) -> SearchMatrixOffsets:
        """Return how near points by chance are to each other, as a sparse matrix; its `pairs` are
        the same by ids."""
        found: SearchMatrixOffsets = await self._ask(request)
        return found

    async def scroll(self, scroll: ScrollRequest) -> tuple[list[Record], Offset | None]:
        """Return a page of points, and the offset where the next page begins: None at the end.

        Pages are in the order of ids, or as `order_by` says; then the offset is an OrderCursor.
        """
        page: tuple[list[Record], Offset | None] = await self._ask(scroll)
        return page

    async def count(self, count: CountRequest | None = None) -> int:
        """Return how many points match."""
        counted: int = await self._ask(count or CountRequest())
        return counted

    async def facet(self, facet: FacetRequest) -> FacetResponse:
        """Return the values of a payload field that most points have, and how many have each."""
        found: FacetResponse = await self._ask(facet)
        return found

    async def retrieve(
        self,
        point_ids: Sequence[PointIdLike],
        with_payload: WithPayloadLike = None,
        with_vector: WithVectorLike = None,
    ) -> list[Record]:
        """Return the points with these ids, in this order, each once; missing ones are left out.

        Payloads are shown by default, vectors are not.
        """
        request = Retrieve.of(point_ids, with_payload, with_vector)
        found: list[Record] = await self._ask(request)
        return found


class ReadView(Reads):
    """A shard as it was at one moment; see `EdgeShard.read_view`."""

    def __init__(self, query: QueryActor, view: ShardView) -> None:
        self._query = query
        self._view: ShardView | None = view
        self.sequence = view.sequence
        """The last operation that the view shows."""

    async def _ask(self, request: Request) -> Any:
        if self._view is None:
            raise ShardClosed("the block of this view has ended")
        return await self._query.ask(request, self._view)

    def let_go(self) -> None:
        """Hold the view no longer."""
        self._view = None


class Following:
    """A view, and the changes after it; see `EdgeShard.follow`."""

    def __init__(self, view: ReadView, subscription: Subscription) -> None:
        self.view = view
        self._subscription = subscription

    def __aiter__(self) -> AsyncIterator[Change]:
        return self._subscription


class EdgeShard(Reads):
    """An embedded vector search engine in one folder.

    `async with EdgeShard(path, config)` opens the shard in `path`, or creates it there;
    `EdgeShard.create` and `EdgeShard.load` do only the one. A shard may also be opened and closed
    by `await shard.open()` and `await shard.close()`, in different tasks if need be.

    Raises (on opening) NotFound, AlreadyExists, ShardLocked, CorruptData, StorageFault, and
    ValidationError where `config` does not fit what is stored.
    """

    def __init__(self, path: str | Path, config: EdgeConfig | None = None) -> None:
        self.path = Path(path)
        self._config = config
        self._mode: Mode = "open"
        self._supervisor: Supervisor | None = None
        self._closing: Supervisor | None = None
        self._opening = False
        self._pid = os.getpid()

    @classmethod
    def create(cls, path: str | Path, config: EdgeConfig) -> Self:
        """Return a shard that, when opened, is made new; AlreadyExists where one is."""
        return cls._in_mode("create", path, config)

    @classmethod
    def load(cls, path: str | Path, config: EdgeConfig | None = None) -> Self:
        """Return a shard that, when opened, is loaded; NotFound where none is."""
        return cls._in_mode("load", path, config)

    @classmethod
    def _in_mode(cls, mode: Mode, path: str | Path, config: EdgeConfig | None) -> Self:
        shard = cls(path, config)
        shard._mode = mode
        return shard

    # -- life

    async def open(self) -> Self:
        """Open the shard. AlreadyExists if this object has it open."""
        if self._opening or self._supervisor is not None:
            self._refuse_after_fork()
            raise AlreadyExists(f"the shard in {self.path} is open already")
        self._opening = True
        try:
            await _warm_kernels()
            await self._begin()
            await anyio.lowlevel.checkpoint()
        except BaseException:
            await self.close()
            raise
        finally:
            self._opening = False
        return self

    async def _begin(self) -> None:
        """Open the store and start the actors: both or neither, even if cancelled meanwhile."""
        thread = Threads("writer", 1)
        opening = thread.begin(self._open_store)
        try:
            await outlast(opening.ended)
        finally:
            self._start(opening, thread)
        opening.result()

    def _open_store(self) -> Store:
        return restore.opened(self.path, self._config, _EXISTING[self._mode])

    def _start(self, opening: Work[Store], thread: Threads) -> None:
        if opening.failure is not None:
            thread.close()
            return
        store = opening.result()
        places = store.settings.max_search_threads or max(1, (os.cpu_count() or 2) - 1)
        self._pid = os.getpid()
        self._supervisor = Supervisor(store, thread, places, WAITING)
        self._supervisor.start()

    async def close(self) -> None:
        """Finish what was begun, make everything durable, let go of the folder. Idempotent.

        Cancelled, it finishes nevertheless. Raises a StorageFault where not all could be made
        durable; the shard is closed even then.
        """
        if self._supervisor is not None:
            self._supervisor, self._closing = None, self._supervisor
        closing = self._closing
        if closing is not None and self._pid == os.getpid():
            try:
                await closing.stop()
            finally:
                if self._closing is closing:
                    self._closing = None

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _refuse_after_fork(self) -> None:
        if self._pid != os.getpid():
            raise ShardClosed("this shard was opened before a fork; open it in the child anew")

    @property
    def actors(self) -> Supervisor:
        """The actors of the open shard, for the doors that serve it."""
        return self._actors

    @property
    def _actors(self) -> Supervisor:
        self._refuse_after_fork()
        if self._supervisor is None:
            raise ShardClosed(f"the shard in {self.path} is not open")
        return self._supervisor

    # -- writing

    async def update(
        self,
        operation: UpdateOperation,
        durability: Durability | None = None,
        mark: Mark | None = None,
    ) -> int:
        """Carry out one operation, whole or not at all; return its sequence number.

        `durability` says what the reply must have survived (None: as the shard's config says).
        `mark` says where the operation's source stands: one that the source has sent before, by
        its mark, is passed over, also after a crash, since marks are logged with their operations.
        Raises a CallerError where the operation is wrong, NotFound where it changes a point that
        is not there, ShardReadOnly or a StorageFault where nothing can be written.
        """
        refuse_own(mark)
        return await self._actors.writer.update(Submission(operation, durability, mark))

    async def mark(self, source: str) -> Mark | None:
        """Return how far a source has come, by the mark of its newest update; None: not known."""
        await anyio.lowlevel.checkpoint()
        return self._actors.watch.view.marks.get(source)

    async def upsert_arrays(
        self,
        ids: Sequence[PointIdLike] | NDArray[Any],
        vectors: NDArray[Any] | Mapping[str, NDArray[Any]],
        payloads: Sequence[dict[str, Any] | None] | None = None,
        durability: Durability | None = None,
    ) -> int:
        """Upsert points given as columns, without building a Point for each.

        `ids` are n ints (any integer dtype) or ids; `vectors` float32[n, size] for the default
        vector, or one array for each name; `payloads` n dicts or None. Every run of at most
        `Limits.batch_points` points, and `Limits.batch_bytes` bytes, is one operation: whole or
        not at all. Returns the sequence number of the last. Raises as `update` does.
        """
        writer = self._actors.writer
        sequence = self._actors.watch.view.sequence
        limits = self._actors.store.settings.limits

        def copied() -> list[UpsertArrays]:
            return list(in_batches(UpsertArrays(ids, vectors, payloads), limits))

        for operation in await to_thread.run_sync(copied):
            sequence = await writer.update(Submission(operation, durability))
        return sequence

    async def flush(self) -> None:
        """Make everything that was acknowledged survive a power cut."""
        await self._actors.writer.call(Store.flush)

    async def optimize(self) -> bool:
        """Merge, vacuum and index until nothing is left to do; return whether anything was done.

        The same work is done in the background without being asked, unless the config says
        `background_optimizer=False`.
        """
        return await self._actors.optimizer.optimize()

    # -- snapshots

    async def create_snapshot(self, path: str | Path, key: bytes | None = None) -> Snapshot:
        """Write the shard as it is now to the new file `path`, a tar; writes go on meanwhile.

        `unpack_snapshot` makes a shard of it, `update_from_snapshot` takes a shard's place with it.
        With a `key` (16 to 64 bytes) it is signed: who asks for that key when reading it knows
        that nobody else wrote it. Raises AlreadyExists where there is a file; ValidationError,
        StorageFault, StorageFull.
        """
        return await self._actors.snapshot.create(path, None, key)

    async def create_partial_snapshot(
        self, manifest: Mapping[str, Any], path: str | Path, key: bytes | None = None
    ) -> Snapshot:
        """As `create_snapshot`, but only what the shard with this `snapshot_manifest` lacks; only
        that one can be updated from it. ValidationError where the manifest is none."""
        return await self._actors.snapshot.create(path, manifest, key)

    async def snapshot_manifest(self, format: str = "edgeshard") -> dict[str, Any]:
        """Return, as JSON has it, what the shard has, for another to make a partial snapshot by.

        `format` says for whom: "edgeshard", or "qdrant": a server, whose partial snapshots build
        on the Qdrant files that the shard was made of ({} where it was made of none).
        """
        return await self._actors.snapshot.manifest(format)

    async def export_qdrant(
        self, path: str | Path, since: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Write the shard as it is now as Qdrant's files; return their manifest.

        A name that ends in .tar or .snapshot is a shard snapshot, any other a folder that Qdrant
        Edge loads; nothing may be there. `since` is what an earlier call returned, or what the
        receiver's `snapshot_manifest` says: the snapshot is then a partial one. Writes go on
        meanwhile. See `edge.qdrant.export` for what is kept. Raises AlreadyExists,
        ValidationError, StorageFault, StorageFull.
        """
        return await self._actors.snapshot.export(path, since)

    @staticmethod
    async def unpack_snapshot(
        snapshot_path: str | Path, target_path: str | Path, key: bytes | None = None
    ) -> None:
        """Unpack a full snapshot to the folder `target_path`, which must not be there or be empty;
        `load` opens it. There is all of it or none. With a `key` only what was signed with it.

        Raises NotFound, AlreadyExists, CorruptData, ValidationError, WrongBase (of a partial
        snapshot), LimitExceeded, StorageFault, StorageFull.
        """
        await to_thread.run_sync(restore.unpack_snapshot, snapshot_path, target_path, key)

    async def update_from_snapshot(
        self,
        snapshot_path: str | Path,
        tmp_dir: str | Path | None = None,
        key: bytes | None = None,
    ) -> int:
        """Let the shard become what a snapshot holds, full or partial; return its last operation.

        Whatever happens meanwhile, the folder holds the old shard or the new one. What the shard
        held, and what is written before the switch, is gone; views that are held stay as they are,
        and whoever follows is told to begin anew. How the shard is run (durability, limits,
        `LOCAL` in `edge.model.config`) stays as it is. `tmp_dir` is there for programs that give
        one: what comes is unpacked in the shard's own folder, where one rename takes it. With a
        `key` only what was signed with it is taken. Memory holds both shards for a moment.

        Raises as `unpack_snapshot` does; WrongBase where a partial one is made for another shard.
        """
        return await self._actors.snapshot.update(snapshot_path, key)

    # -- reading

    async def _ask(self, request: Request) -> Any:
        return await self._actors.query.ask(request)

    @asynccontextmanager
    async def read_view(self) -> AsyncIterator[ReadView]:
        """Hold the shard as it is now: every read of the view is of this one moment, whatever is
        written meanwhile, until the block ends."""
        view = ReadView(self._actors.query, self._actors.watch.view)
        try:
            yield view
        finally:
            view.let_go()

    @asynccontextmanager
    async def follow(self) -> AsyncIterator[Following]:
        """Follow the shard: its view as it is now, and every change that is applied after it.

        `following.view` reads the view; `async for change in following` gives the changes in
        order, until the shard is closed, and raises ShardBusy for a reader that is too slow.
        """
        actors = self._actors
        subscription = await actors.writer.follow()
        view = ReadView(actors.query, subscription.view)
        try:
            yield Following(view, subscription)
        finally:
            view.let_go()
            actors.writer.unfollow(subscription)

    async def outbox(self, name: str, most_bytes: int | None = OUTBOX_BYTES) -> Outbox:
        """Return the outbox of this name, which gives all points and then every operation, and
        gives again what was not confirmed, also after a crash.

        The shard makes it at the first call; from then on the log is kept from the outbox's place
        on, but for more than `most_bytes` of it (None: without a limit): then the oldest is let go,
        and the outbox raises OutboxLost until it begins anew. `drop_outbox` ends that.
        """
        actors = self._actors
        outbox = Outbox(name, actors.store, actors.watch, actors.writer)
        await outbox.open(most_bytes)
        return outbox

    async def drop_outbox(self, name: str) -> None:
        """Forget an outbox, so that the log is kept for it no longer. No error where there is
        none."""
        await self._actors.writer.call(lambda store: store.set_cursor(name, None))

    async def outboxes(self) -> dict[str, Cursor]:
        """Return how far each outbox has come, by name."""
        await anyio.lowlevel.checkpoint()
        return dict(self._actors.watch.view.cursors)

    async def info(self) -> ShardInfo:
        """Return counts, sizes, durable sequence and the state of the background work."""
        actors = self._actors
        view = actors.watch.view
        asked = partial(info_of, actors.store, view, actors.optimizer.status, actors.failures)
        if view.schema:  # points are counted by index, which takes time by their number
            return await to_thread.run_sync(asked)
        await anyio.lowlevel.checkpoint()
        return asked()


async def _warm_kernels() -> None:
    """Have all kernels compiled before anything waits for one.

    Compiling holds the GIL for seconds, so where the cache is empty another process fills it.
    """
    if not await to_thread.run_sync(warm.is_cached):
        with suppress(OSError):
            command = [sys.executable, "-m", "edge_kernels.warm"]
            await anyio.run_process(command, stdout=DEVNULL, stderr=DEVNULL, check=False)
    await to_thread.run_sync(warm.warm)
    _spare_the_loop()


@cache
def _spare_the_loop() -> None:
    """Shorten, once in a process, what the interpreter itself makes a loop wait for.

    numba leaves some hundred thousand objects behind, and a full garbage collection that walks
    them holds the GIL for 30 ms and more: what is alive now lives on anyway, and is frozen. And a
    loop that wakes up waits a switch interval (5 ms) for each thread that is computing in Python.
    """
    gc.freeze()
    sys.setswitchinterval(min(SWITCH_SECONDS, sys.getswitchinterval()))
