"""The promise of the async shard: the event loop goes on, whatever the engine is doing.

Two guards. One takes no time: nothing that touches the disk or computes for long is called on the
loop's thread. The other looks at a clock, with a bound that a loaded machine keeps and that a held
GIL or a build on the loop does not.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest

from edge import shard as shards
from edge.actors import query as actor
from edge.disk.storage import DiskStorage, DiskWriter
from edge.model.config import Durability
from edge.model.query import Query, SearchParams
from edge.model.request import QueryRequest
from edge.model.update import UpdateOperation
from edge.model.vector_params import HnswIndexConfig
from edge.query import answer as answers
from edge.shard import EdgeShard
from edge.store import store as stores
from edge.store.optimization import Job
from edge.store.store import Store
from edge_kernels import hnsw, scan
from tests.actors.made import block, config, eventually, upsert, vector

LONGEST_PAUSE = 0.25
"""Seconds. The design's aim is 0.02 on a quiet machine; the work below takes seconds."""

HARMLESS = {"__init__", "__repr__", "__hash__", "__eq__"}

SHARD = (
    *[(DiskStorage, name) for name in vars(DiskStorage)],
    *[(DiskWriter, name) for name in vars(DiskWriter)],
    *[(Store, name) for name in ("create", "load", "over", "commit", "sync", "flush")],
    *[(Store, name) for name in ("seal", "plan", "start", "finish", "close", "replay")],
    (Job, "run"),
    (hnsw.Builder, "__init__"),
    (hnsw.Builder, "step"),
    (shards, "UpsertArrays"),
    (stores, "prepare"),
    (stores, "check"),
)
"""Never done on the loop's thread: files, the store, builds, checks and copies of points."""

SEARCHES = ((hnsw, "search"), (scan, "scan"), (scan, "scan_list"), (answers, "matches"))
"""What is done there only when it is small."""


@pytest.fixture
def callers(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, bool]]:
    """How often each was called, by name and by whether it was on this thread: the loop's."""
    here = threading.current_thread()
    found: Counter[tuple[str, bool]] = Counter()

    def watch(function: Callable[..., Any], name: str) -> Callable[..., Any]:
        @wraps(function)
        def watched(*args: Any, **named: Any) -> Any:
            found[name, threading.current_thread() is here] += 1
            return function(*args, **named)

        return watched

    for owner, name in (*SHARD, *SEARCHES):
        function = vars(owner)[name]
        if isinstance(function, classmethod):
            watched: Any = classmethod(watch(function.__func__, f"{owner.__name__}.{name}"))
        elif callable(function) and (owner is hnsw.Builder or name not in HARMLESS):
            watched = watch(function, f"{owner.__name__}.{name}")
        else:
            continue
        monkeypatch.setattr(owner, name, watched)
    return found


def names(callers: Counter[tuple[str, bool]], on_loop: bool) -> set[str]:
    return {name for (name, where), count in callers.items() if where is on_loop and count}


async def test_nothing_heavy_is_called_on_the_loop(
    tmp_path: Path, callers: Counter[tuple[str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actor, "INLINE", -1.0)
    path = tmp_path / "shard"
    given = config(
        optimizers={"indexing_threshold": 8, "default_segment_number": 1},
        checkpoint_bytes=8192,
        durability=Durability.Interval,
        sync_interval_ms=5,
    )
    nearest = QueryRequest(limit=5, query=Query.Nearest(vector(0)), with_payload=True)
    exact = QueryRequest(
        limit=5, query=Query.Nearest(vector(0)), params=SearchParams(exact=True), with_vector=True
    )
    for _ in range(2):  # created, then loaded
        async with EdgeShard(path, given) as shard:
            for n in range(5):
                await shard.upsert_arrays(np.arange(n * 200, n * 200 + 200), block(200))
                await shard.update(upsert(range(n * 10, n * 10 + 10), n=n))
                await shard.query_batch([nearest, exact])
            await shard.update(UpdateOperation.delete_points(list(range(50))))
            await shard.flush()
            await shard.optimize()

            async def is_durable_and_idle() -> bool:
                info = await shard.info()
                return info.durable_sequence == info.sequence and info.optimizer == "idle"

            await eventually(is_durable_and_idle)
            assert len(await shard.query(nearest)) == 5
            assert len(await shard.retrieve([60, 70], True, True)) == 2
    on_loop = names(callers, on_loop=True)
    assert on_loop == set()
    elsewhere = names(callers, on_loop=False)
    needed = {
        "DiskStorage.lock", "DiskWriter.write", "DiskWriter.sync", "DiskStorage.rename",
        "Store.over", "Store.commit", "Store.seal", "Store.finish", "Store.close",
        "Job.run", "Builder.step", "edge.shard.UpsertArrays", "edge.store.store.prepare",
        "edge.store.store.check", "edge_kernels.hnsw.search", "edge_kernels.scan.scan",
    }  # fmt: skip
    assert needed <= elsewhere  # the watch would have seen them


async def test_only_small_searches_are_done_on_the_loop(
    tmp_path: Path, callers: Counter[tuple[str, bool]]
) -> None:
    small, large = 8, 200_000
    exact = QueryRequest(
        limit=5, query=Query.Nearest(vector(0)), params=SearchParams(exact=True), offset=0
    )
    skipping = QueryRequest(limit=5, query=Query.Nearest(vector(0)), offset=5_000)
    async with EdgeShard(tmp_path / "shard", config(background_optimizer=False)) as shard:
        await shard.upsert_arrays(np.arange(small), block(small))
        callers.clear()
        await shard.query(exact)
        assert names(callers, on_loop=True) == {"edge_kernels.scan.scan"}
        await shard.upsert_arrays(np.arange(0, large, 20), block(large // 20))
        callers.clear()
        await shard.query(skipping)
        assert names(callers, on_loop=True) == set()
        for _ in range(3):
            await shard.upsert_arrays(np.arange(large // 4), block(large // 4))
        callers.clear()
        await shard.query(exact)
        assert names(callers, on_loop=True) == set()
        assert "edge_kernels.scan.scan" in names(callers, on_loop=False)


# -- by the clock


class Heart:
    """Beats on the loop and remembers the longest time between two beats."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.beats = 0

    async def beat(self) -> None:
        last = monotonic()
        while True:
            await asyncio.sleep(0.001)
            now = monotonic()
            self.longest = max(self.longest, now - last)
            self.beats += 1
            last = now


@asynccontextmanager
async def beating() -> AsyncIterator[Heart]:
    heart = Heart()
    task = asyncio.create_task(heart.beat())
    try:
        yield heart
    finally:
        task.cancel()


async def test_the_heart_feels_a_held_loop() -> None:
    async with beating() as heart:
        await asyncio.sleep(0.005)
        until = monotonic() + LONGEST_PAUSE
        while monotonic() < until:
            pass
        await asyncio.sleep(0.005)
    assert heart.longest >= LONGEST_PAUSE


async def test_loop_goes_on_while_points_are_written_indexed_and_asked_for(tmp_path: Path) -> None:
    dim, rows, batch = 128, 4000, 250
    given = config(
        dim=dim,
        optimizers={"indexing_threshold": 1500},
        hnsw_config=HnswIndexConfig(m=16, ef_construct=300, full_scan_threshold=1),
    )
    vectors = block(rows, dim)
    asked = 0
    done = asyncio.Event()

    async def ask(shard: EdgeShard) -> None:
        nonlocal asked
        while not done.is_set():
            query = Query.Nearest(vectors[asked % rows])
            await shard.query(QueryRequest(limit=10, query=query, with_payload=True))
            asked += 1

    async with EdgeShard(tmp_path / "shard", given) as shard:
        async with beating() as heart:
            asking = asyncio.create_task(ask(shard))
            for first in range(0, rows, batch):
                ids = np.arange(first, first + batch)
                payloads = [{"n": int(i), "room": "kitchen"} for i in ids]
                await shard.upsert_arrays(ids, vectors[first : first + batch], payloads)

            async def is_indexed() -> bool:
                info = await shard.info()
                return info.indexed_vectors_count >= rows * 2 // 3 and info.optimizer == "idle"

            await eventually(is_indexed)
            await shard.flush()
            await shard.optimize()
            done.set()
            await asking
        info = await shard.info()
    assert info.points_count == rows
    assert asked > 10
    assert heart.beats > 50
    assert heart.longest < LONGEST_PAUSE
