"""EdgeShard without an event loop: the same engine, plain functions, for any thread.

It answers as the `qdrant_edge` package does, under the same names: a program changes its import.

Invariants
- One lock around everything that changes the shard; reads take the newest view and no lock.
- Rebuilding runs in the caller of `optimize`, and the indexing of a field in that of the update
  which asks for it; a log that has outgrown its limit is sealed, and
  segments that are mostly dead are tidied up, by the update that finds it so. The one thread
  there is keeps the promise of Durability.Interval.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from numpy.typing import NDArray

from edge import names
from edge.archive import restore, writing
from edge.archive.manifests import MANIFESTS, manifest_format
from edge.archive.writing import Snapshot
from edge.errors import ActorCrashed, EdgeError, Fault, ShardClosed
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
from edge.model.update import CreateFieldIndex, UpdateOperation, UpsertArrays
from edge.names import *  # noqa: F403
from edge.qdrant.export import export_shard
from edge.query.answer import Request, Retrieve, answer, deadline_of
from edge.segment.view import ShardView
from edge.store.info import info_of
from edge.store.live_files import Held
from edge.store.optimization import Job
from edge.store.store import Store, Submission

__all__ = ["EdgeShard", *names.__all__]


class Reads:
    """What may be read, of a shard as it is or of a view of it."""

    def _answer(self, request: Request) -> Any:
        raise NotImplementedError

    def query(self, query: QueryRequest) -> list[ScoredPoint]:
        """Answer one query, best first."""
        return cast("list[ScoredPoint]", self._answer(query))

    def query_batch(
        self, request: QueryBatchRequest | Iterable[QueryRequest]
    ) -> list[list[ScoredPoint]]:
        """Answer several queries from one view; one list for each, in their order."""
        if not isinstance(request, QueryBatchRequest):
            request = QueryBatchRequest(request)
        return cast("list[list[ScoredPoint]]", self._answer(request))

    def search(self, search: SearchRequest) -> list[ScoredPoint]:
        """Answer one vector search, best first."""
        return cast("list[ScoredPoint]", self._answer(search))

    def query_groups(self, request: QueryGroupsRequest) -> GroupsResult:
        """Answer one query by groups: the best points of each value of a payload field."""
        return cast(GroupsResult, self._answer(request))

    def search_matrix(self, request: SearchMatrixRequest) -> SearchMatrixOffsets:
        """Return how near points by chance are to each other, as a sparse matrix; its `pairs` are
        the same by ids."""
        return cast(SearchMatrixOffsets, self._answer(request))

    def scroll(self, scroll: ScrollRequest) -> tuple[list[Record], Offset | None]:
        """Return a page of points, and the offset where the next page begins: None at the end.

        Pages are in the order of ids, or as `order_by` says; then the offset is an OrderCursor.
        """
        return cast("tuple[list[Record], Offset | None]", self._answer(scroll))

    def count(self, count: CountRequest | None = None) -> int:
        """Return how many points match."""
        return cast(int, self._answer(count or CountRequest()))

    def facet(self, facet: FacetRequest) -> FacetResponse:
        """Return the values of a payload field that most points have, and how many have each."""
        return cast(FacetResponse, self._answer(facet))

    def retrieve(
        self,
        point_ids: Sequence[PointIdLike],
        with_payload: WithPayloadLike = None,
        with_vector: WithVectorLike = None,
    ) -> list[Record]:
        """Return the points with these ids, in this order, each once; missing ones are left out."""
        return cast("list[Record]", self._answer(Retrieve.of(point_ids, with_payload, with_vector)))


def _answered(view: ShardView, request: Request) -> Any:
    try:
        return answer(view, request, deadline_of(request))
    except EdgeError:
        raise
    except Exception as crash:
        raise _defect("query", crash) from crash


class ReadView(Reads):
    """A shard as it was at one moment; see `EdgeShard.read_view`."""

    def __init__(self, view: ShardView) -> None:
        self._view: ShardView | None = view
        self.sequence = view.sequence
        """The last operation that the view shows."""

    def _answer(self, request: Request) -> Any:
        if self._view is None:
            raise ShardClosed("the block of this view has ended")
        return _answered(self._view, request)

    def let_go(self) -> None:
        """Hold the view no longer."""
        self._view = None


class EdgeShard(Reads):
    """An embedded vector search engine in one folder, opened when made.

    `EdgeShard(path, config)` opens what is there or creates it; `create` and `load` do only the
    one. A context manager; `close` may be called by hand and more than once.
    """

    def __init__(self, path: str | Path, config: EdgeConfig | None = None) -> None:
        self._start(path, restore.opened(path, config, None))

    @classmethod
    def create(cls, path: str | Path, config: EdgeConfig) -> Self:
        """Make a new shard; AlreadyExists where one is."""
        return cls._around(path, restore.opened(path, config, False))

    @classmethod
    def load(cls, path: str | Path, config: EdgeConfig | None = None) -> Self:
        """Open the shard that is there; NotFound where none is."""
        return cls._around(path, restore.opened(path, config, True))

    @classmethod
    def _around(cls, path: str | Path, store: Store) -> Self:
        shard = cls.__new__(cls)
        shard._start(path, store)
        return shard

    def _start(self, path: str | Path, store: Store) -> None:
        self.path = Path(path)
        self._store = store
        self._open = True
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._syncer = _Syncer(self._lock, store)
        if store.sync_due_in() is not None:
            self._syncer.wake()

    # -- life

    def close(self) -> None:
        """Make everything durable and let go of the folder. Idempotent."""
        if not self._open or self._pid != os.getpid():
            return
        self._syncer.stop()
        with self._lock:
            if self._open:
                self._open = False
                self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        # At the interpreter's end the modules that closing needs are gone; the lock goes with it.
        if getattr(self, "_open", False) and not ending():
            self.close()

    def _opened(self) -> Store:
        if self._pid != os.getpid():
            raise ShardClosed("this shard was opened before a fork; open it in the child anew")
        if not self._open:
            raise ShardClosed(f"the shard in {self.path} is closed")
        return self._store

    @contextmanager
    def _locked(self) -> Iterator[Store]:
        self._opened()  # in a child made by fork the lock may be held by a thread that is not there
        with self._lock:
            yield self._opened()

    # -- writing

    def update(
        self,
        operation: UpdateOperation,
        durability: Durability | None = None,
        mark: Mark | None = None,
    ) -> int:
        """Carry out one operation, whole or not at all; return its sequence number.

        See `edge.EdgeShard.update` for the errors.
        """
        refuse_own(mark)
        with self._locked() as store:
            submission = Submission(operation, durability, mark)
            with _whole(store):
                outcome = store.commit([submission])[0]
            if isinstance(outcome, EdgeError):
                raise outcome
            self._look_after(store)
            if isinstance(operation, CreateFieldIndex):
                self._index_fields(store)
        return outcome

    def mark(self, source: str) -> Mark | None:
        """Return how far a source has come, by the mark of its newest update; None: not known."""
        return self._opened().view.marks.get(source)

    def upsert_arrays(
        self,
        ids: Sequence[PointIdLike] | NDArray[Any],
        vectors: NDArray[Any] | Mapping[str, NDArray[Any]],
        payloads: Sequence[dict[str, Any] | None] | None = None,
        durability: Durability | None = None,
    ) -> int:
        """Upsert points given as columns; see `edge.EdgeShard.upsert_arrays`."""
        store = self._opened()
        sequence = store.sequence
        for operation in in_batches(UpsertArrays(ids, vectors, payloads), store.settings.limits):
            sequence = self.update(operation, durability)
        return sequence

    def flush(self) -> None:
        """Make everything that was acknowledged survive a power cut."""
        with self._locked() as store, _whole(store):
            store.flush()

    def optimize(self) -> bool:
        """Merge, vacuum and index until nothing is left to do; return whether anything was done."""
        with self._locked() as store:
            if store.plan(durable=False) is None:
                return False
            self._seal(store)
            done = False
            while (plan := store.plan(durable=True)) is not None:
                self._carry_out(store, store.start(plan))
                done = True
            return done

    def _look_after(self, store: Store) -> None:
        """Do what is due after an update. Its failure is not the update's: a seal is tried again
        when the log has grown, and a failed sync has made the shard read-only."""
        if store.wants_seal:
            with suppress(Fault):
                self._seal(store)
        store.sync_if_due()
        if store.sync_due_in() is not None:
            self._syncer.wake()

    def _index_fields(self, store: Store) -> None:
        """Build what field indexes lack. Its failure is not the update's: queries scan until then,
        and `optimize` tries again."""
        with suppress(Fault):
            if store.plan_fields(durable=False) is not None:
                self._seal(store)
            while (plan := store.plan_fields(durable=True)) is not None:
                self._carry_out(store, store.start(plan))

    def _seal(self, store: Store) -> None:
        for next_job in (store.seal, store.tidy):
            with _whole(store):
                job = next_job()
            if job is not None:
                self._carry_out(store, job)

    def _carry_out(self, store: Store, job: Job) -> None:
        with _defects_named("optimizer"):
            built = job.run(store.storage, _no_pulse)
        with _whole(store):
            store.finish(job, built)

    # -- snapshots

    def create_snapshot(self, path: str | Path, key: bytes | None = None) -> Snapshot:
        """Write the shard as it is now to a new file; see `edge.EdgeShard.create_snapshot`."""
        return self._written(path, None, key)

    def create_partial_snapshot(
        self, manifest: Mapping[str, Any], path: str | Path, key: bytes | None = None
    ) -> Snapshot:
        """Write what the shard with this `snapshot_manifest` lacks; see
        `edge.EdgeShard.create_partial_snapshot`."""
        return self._written(path, manifest, key)

    def _written(
        self, path: str | Path, base: Mapping[str, Any] | None, key: bytes | None
    ) -> Snapshot:
        folder, name = restore.folder_of(path)
        with self._held() as (store, held), _defects_named("snapshot"):
            return writing.create(store.storage, held, folder, name, base, key)

    def snapshot_manifest(self, format: str = "edgeshard") -> dict[str, Any]:
        """Return, as JSON has it, what the shard has; see `edge.EdgeShard.snapshot_manifest`."""
        make = MANIFESTS[manifest_format(format)]
        with self._held() as (store, held), _defects_named("snapshot"):
            return make(store.storage, held)

    def export_qdrant(
        self, path: str | Path, since: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Write the shard as it is now as Qdrant's files; see `edge.EdgeShard.export_qdrant`."""
        store = self._opened()
        with _defects_named("snapshot"):
            return export_shard(store.view, store.shard, path, since)

    @contextmanager
    def _held(self) -> Iterator[tuple[Store, Held]]:
        with self._locked() as store:
            held = store.hold()
        try:
            yield store, held
        finally:
            with self._lock:
                if self._open:
                    store.let_go(held)

    @staticmethod
    def unpack_snapshot(
        snapshot_path: str | Path, target_path: str | Path, key: bytes | None = None
    ) -> None:
        """Unpack a full snapshot to a folder; see `edge.EdgeShard.unpack_snapshot`."""
        with _defects_named("snapshot"):
            restore.unpack_snapshot(snapshot_path, target_path, key)

    def update_from_snapshot(
        self,
        snapshot_path: str | Path,
        tmp_dir: str | Path | None = None,
        key: bytes | None = None,
    ) -> int:
        """Let the shard become what a snapshot holds; see `edge.EdgeShard.update_from_snapshot`."""
        with self._locked() as store, self._held() as (_, held), _defects_named("snapshot"):
            with restore.brought_in(store.storage, snapshot_path, held, key) as arrival:
                number = store.numbers(arrival.numbers, arrival.above)
                ready = arrival.ready(number, store.config, writing.go_on)
                with _whole(store):
                    store.become(ready)
            return ready.sequence

    # -- reading

    def _answer(self, request: Request) -> Any:
        return _answered(self._opened().view, request)

    @contextmanager
    def read_view(self) -> Iterator[ReadView]:
        """Hold the shard as it is now: every read of the view is of this one moment, whatever is
        written meanwhile, until the block ends."""
        view = ReadView(self._opened().view)
        try:
            yield view
        finally:
            view.let_go()

    def drop_outbox(self, name: str) -> None:
        """Forget an outbox (of `edge.EdgeShard`), so that the log is kept for it no longer."""
        with self._locked() as store, _whole(store):
            store.set_cursor(name, None)

    def outboxes(self) -> dict[str, Cursor]:
        """Return how far each outbox has come, by name."""
        return dict(self._opened().view.cursors)

    def info(self) -> ShardInfo:
        """Return counts, sizes and the durable sequence."""
        store = self._opened()
        return info_of(store, store.view, "in the caller of optimize", {})


class _Syncer:
    """Syncs what no later update comes to sync. Its thread starts at the first need."""

    def __init__(self, lock: threading.RLock, store: Store) -> None:
        self._lock = lock
        self._store = store
        self._needed = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Say that something is unsynced."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="edge sync", daemon=True)
            self._thread.start()
        self._needed.set()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._needed.set()
        # a shard that is collected as garbage may be closed in any thread, even in this one
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while self._needed.wait() and not self._stopped.is_set():
            self._needed.clear()
            while (seconds := self._store.sync_due_in()) is not None:
                if self._stopped.wait(seconds):
                    return
                with self._lock:
                    if not self._stopped.is_set():
                        self._store.sync_if_due()


@contextmanager
def _defects_named(name: str) -> Iterator[None]:
    """Let every error that nobody expected be an EdgeError."""
    try:
        yield
    except EdgeError:
        raise
    except Exception as crash:
        raise _defect(name, crash) from crash


def _defect(name: str, crash: Exception) -> ActorCrashed:
    return ActorCrashed(f"the {name} failed: {crash!r}", name)


@contextmanager
def _whole(store: Store) -> Iterator[None]:
    """Let a change that broke off in the middle, by a defect or by Ctrl-C, be the store's last."""
    try:
        yield
    except EdgeError:
        raise
    except BaseException as crash:
        store.read_only = f"a change broke off: {crash!r}"
        if isinstance(crash, Exception):
            raise _defect("writer", crash) from crash
        raise


def _no_pulse(done: float) -> None:
    """A rebuild in the caller is not interrupted."""
