"""edge.blocking.EdgeShard: its life, several threads at once, and the sync that it owes."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest

from edge.blocking import EdgeShard
from edge.disk.storage import DiskWriter
from edge.errors import (
    AlreadyExists,
    NotFound,
    ShardClosed,
    ShardLocked,
    ShardReadOnly,
    StorageFault,
    ValidationError,
)
from edge.model.config import Durability
from edge.model.limits import Limits
from edge.model.query import Query
from edge.model.request import QueryRequest, ScrollRequest, SearchRequest
from edge.model.update import UpdateOperation
from edge.segment import indexing, writer
from edge.store.store import Store
from tests.actors.made import DIM, PATIENCE, Gate, block, config, upsert, vector

HOUR = 3_600_000


def eventually(is_so: Callable[[], Any]) -> Any:
    until, pause = monotonic() + PATIENCE, threading.Event()
    while not (answer := is_so()):
        assert monotonic() < until, "it did not happen"
        pause.wait(0.002)
    return answer


# -- life


def test_opens_or_creates(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "shard"
    with EdgeShard(path, config()) as shard:
        shard.update(upsert([1], n=1))
    with EdgeShard(str(path)) as shard:
        (record,) = shard.retrieve([1])
        assert record.payload == {"n": 1}


def test_create_and_load_do_only_the_one(tmp_path: Path) -> None:
    path = tmp_path / "shard"
    with pytest.raises(NotFound):
        EdgeShard.load(path)
    with pytest.raises(NotFound):
        EdgeShard(path)
    assert not path.exists()
    with EdgeShard.create(path, config()) as shard:
        shard.update(upsert([1]))
    with pytest.raises(AlreadyExists):
        EdgeShard.create(path, config())
    with EdgeShard.load(path) as shard:
        assert shard.count() == 1


def test_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "shard"
    with EdgeShard(path, config()) as shard:
        with pytest.raises(ShardLocked):
            EdgeShard(path)
        assert shard.count() == 0
    EdgeShard(path).close()


def test_closed_it_refuses_everything(tmp_path: Path) -> None:
    shard = EdgeShard(tmp_path / "shard", config())
    shard.close()
    shard.close()
    calls: list[Callable[[], Any]] = [
        lambda: shard.update(upsert([1])),
        lambda: shard.upsert_arrays([1], block(1)),
        shard.flush,
        shard.optimize,
        lambda: shard.query(QueryRequest(limit=1)),
        lambda: shard.query_batch([QueryRequest(limit=1)]),
        lambda: shard.search(SearchRequest(Query.Nearest(vector(1)), 1)),
        lambda: shard.scroll(ScrollRequest()),
        shard.count,
        lambda: shard.retrieve([1]),
        shard.info,
    ]
    for call in calls:
        with pytest.raises(ShardClosed):
            call()


def test_closed_from_many_threads_at_once_it_is_closed_once(tmp_path: Path) -> None:
    shard = EdgeShard(tmp_path / "shard", config())
    shard.update(upsert([1]))
    together = threading.Barrier(6)
    failures = in_threads(*[lambda: (together.wait(), shard.close())] * 6)
    assert failures == []
    EdgeShard(shard.path).close()


def test_forgotten_it_closes_itself(tmp_path: Path) -> None:
    shard = EdgeShard(tmp_path / "shard", config())
    shard.update(upsert([1]))
    del shard
    gc.collect()
    with EdgeShard(tmp_path / "shard") as again:
        assert again.count() == 1


def test_failed_open_leaves_the_folder_free(tmp_path: Path) -> None:
    path = tmp_path / "shard"
    EdgeShard(path, config()).close()
    for _ in range(2):
        with pytest.raises(ValidationError):
            EdgeShard(path, config(dim=DIM + 1))
    EdgeShard(path).close()


# -- writing


def test_arrays_of_several_batches(tmp_path: Path) -> None:
    with EdgeShard(tmp_path / "shard", config(limits=Limits(batch_points=100))) as shard:
        ids, vectors = np.arange(350), block(350)
        assert shard.upsert_arrays(ids, vectors, [{"n": int(i)} for i in ids]) == 4
        found = shard.retrieve([0, 99, 100, 349], True, True)
        assert [record.payload for record in found] == [{"n": i} for i in (0, 99, 100, 349)]
        for record in found:
            np.testing.assert_array_equal(record.vector, vectors[int(record.id)])  # type: ignore[arg-type]


def test_optimize_runs_in_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    build = indexing.build_graph

    def watched(*args: Any) -> Any:
        threads.append(threading.current_thread())
        return build(*args)

    monkeypatch.setattr(writer, "build_graph", watched)
    with EdgeShard(tmp_path / "shard", config(optimizers={"indexing_threshold": 2})) as shard:
        assert shard.optimize() is False
        shard.upsert_arrays(np.arange(300), block(300))
        assert shard.info().indexed_vectors_count == 0
        assert shard.optimize() is True
        assert threads == [threading.current_thread()]
        assert shard.info().indexed_vectors_count == 300
        assert shard.optimize() is False


def test_long_log_is_sealed_by_the_update_that_finds_it(tmp_path: Path) -> None:
    with EdgeShard(tmp_path / "shard", config(checkpoint_bytes=2000)) as shard:
        for n in range(10):
            shard.upsert_arrays(np.arange(100 * n, 100 * n + 100), block(100))
            assert shard.info().log_bytes < 2000
        assert shard.count() == 1000


def test_interrupted_optimize_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    with EdgeShard(tmp_path / "shard", config(optimizers={"indexing_threshold": 2})) as shard:
        shard.upsert_arrays(np.arange(300), block(300))
        with monkeypatch.context() as patch:
            patch.setattr(writer, "build_graph", interrupt)
            with pytest.raises(KeyboardInterrupt):
                shard.optimize()
        shard.update(upsert([300]))
        assert shard.optimize() is True
        assert shard.info().indexed_vectors_count == 301


# -- several threads


def in_threads(*acts: Callable[[], object]) -> list[BaseException]:
    """Do all of these at once; return what they raised."""
    failures: list[BaseException] = []

    def guarded(act: Callable[[], object]) -> None:
        try:
            act()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def test_writers_readers_and_optimize_at_once(tmp_path: Path) -> None:
    path = tmp_path / "shard"
    given = config(optimizers={"indexing_threshold": 2}, checkpoint_bytes=8192)
    writers, steps, size = 4, 25, 4
    written = threading.Event()
    with EdgeShard(path, given) as shard:

        def write(n: int) -> None:
            for step in range(steps):
                first = (n * steps + step) * size
                shard.update(upsert(range(first, first + size), n=n))
                found = shard.retrieve(list(range(first, first + size)))
                assert [record.payload for record in found] == [{"n": n}] * size
                if step % 5 == 4:
                    shard.update(UpdateOperation.delete_points([first]))

        def read() -> None:
            request = QueryRequest(limit=10, query=Query.Nearest(vector(0)), with_payload=True)
            while not written.is_set():
                hits = shard.query(request)
                scores = [hit.score for hit in hits]
                assert scores == sorted(scores, reverse=True)
                assert len({hit.id for hit in hits}) == len(hits)
                page, _ = shard.scroll(ScrollRequest(limit=50))
                assert [record.id for record in page] == sorted(record.id for record in page)
                shard.info()

        def tidy() -> None:
            while not written.is_set():
                shard.optimize()
                shard.flush()

        def write_all() -> None:
            try:
                assert in_threads(*[lambda n=n: write(n) for n in range(writers)]) == []
            finally:
                written.set()

        assert in_threads(write_all, read, read, tidy) == []
        shard.optimize()
        expected = writers * (steps * size - steps // 5)
        assert shard.count() == expected
    with EdgeShard(path) as shard:
        assert shard.count() == expected


def test_reads_do_not_wait_for_optimize(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    monkeypatch.setattr(writer, "build_graph", gate.before(indexing.build_graph))
    with EdgeShard(tmp_path / "shard", config(optimizers={"indexing_threshold": 2})) as shard:
        shard.upsert_arrays(np.arange(300), block(300))

        def read() -> None:
            assert gate.entered.wait(PATIENCE)
            try:
                assert shard.count() == 300
                assert shard.query(QueryRequest(limit=1, query=Query.Nearest(vector(0))))
                assert shard.info().points_count == 300
            finally:
                gate.open()

        assert in_threads(shard.optimize, read) == []


# -- durability


def test_interval_is_synced_without_a_further_update(tmp_path: Path) -> None:
    given = config(durability=Durability.Interval, sync_interval_ms=20)
    with EdgeShard(tmp_path / "shard", given) as shard:
        for _ in range(3):  # it wakes up again
            sequence = shard.update(upsert([1]))
            eventually(lambda sequence=sequence: shard.info().durable_sequence == sequence)


def test_os_is_not_synced_by_itself(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with EdgeShard(
        tmp_path / "shard", config(durability=Durability.Os, sync_interval_ms=1)
    ) as shard:
        for i in range(20):
            shard.update(upsert([i]))
        assert set(threading.enumerate()) == before  # there is nobody to do it
        assert shard.info().durable_sequence == 0
        shard.flush()
        assert shard.info().durable_sequence == 20


def test_one_update_may_ask_for_more_or_less(tmp_path: Path) -> None:
    given = config(durability=Durability.Os, sync_interval_ms=10)
    with EdgeShard(tmp_path / "shard", given) as shard:
        shard.update(upsert([1]))
        shard.update(upsert([2]), Durability.Always)
        assert shard.info().durable_sequence == 2
        shard.update(upsert([3]), Durability.Os)
        assert shard.info().durable_sequence == 2
        shard.update(upsert([4]), Durability.Interval)
        eventually(lambda: shard.info().durable_sequence == 4)


def test_always_is_durable_at_once(tmp_path: Path) -> None:
    with EdgeShard(tmp_path / "shard", config(durability=Durability.Always)) as shard:
        for i in range(1, 4):
            assert shard.update(upsert([i])) == i == shard.info().durable_sequence


def test_what_a_crash_left_unsynced_is_synced_after_the_load(tmp_path: Path) -> None:
    crashed = Store.create(tmp_path / "shard", config(sync_interval_ms=HOUR))
    crashed.commit([])
    shard = EdgeShard._around(tmp_path / "shard", crashed)
    shard.update(upsert([1]))
    shard._syncer.stop()
    shard._open = False  # as if the process were gone
    crashed._wal.close()
    crashed.storage.unlock()
    with EdgeShard.load(tmp_path / "shard", config(sync_interval_ms=5)) as again:
        eventually(lambda: again.info().durable_sequence == 1)


def test_failed_sync_in_the_background_ends_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: DiskWriter) -> None:
        raise StorageFault("worn out", self._path)

    given = config(durability=Durability.Interval, sync_interval_ms=5)
    with EdgeShard(tmp_path / "shard", given) as shard:
        with monkeypatch.context() as patch:
            patch.setattr(DiskWriter, "sync", fail)
            shard.update(upsert([1]))
            eventually(lambda: shard.info().read_only)
        with pytest.raises(ShardReadOnly, match="worn out"):
            shard.update(upsert([2]))
        assert shard.count() == 1
