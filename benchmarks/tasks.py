"""The tasks that run inside this process, the engines taking turns.

Each task appends to a Results; a run's value is for the whole task, the median is the report's.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from benchmarks.data import TOP, Dataset, recall
from benchmarks.engines import Engine
from benchmarks.report import OURS, Measurement, qps_at

T = TypeVar("T")

EFS = (16, 32, 64, 96, 128, 256)
TARGET_RECALL = 0.95


@dataclass(frozen=True)
class Sizes:
    """How much work a benchmark does."""

    rows: int | None
    queries: int
    batch: int
    ingests: int
    builds: int
    search_rounds: int
    latency_calls: int
    fresh_runs: int
    loop_rows: int


FULL = Sizes(None, 1_000, 500, 3, 2, 5, 2_000, 5, 60_000)
QUICK = Sizes(6_000, 200, 500, 2, 1, 3, 500, 2, 6_000)


@dataclass
class Results:
    """What was measured so far, by task and engine."""

    found: dict[tuple[str, str], Measurement] = field(default_factory=dict)

    def add(
        self,
        task: str,
        engine: str,
        unit: str,
        value: float,
        cpu: float | None = None,
        higher_is_better: bool = False,
    ) -> None:
        """Add one run. `cpu` is in seconds for the same work, whatever the unit."""
        empty = Measurement(task, engine, unit, [], [], higher_is_better)
        measurement = self.found.setdefault((task, engine), empty)
        measurement.values.append(value)
        if cpu is not None:
            measurement.cpu.append(cpu)

    def get(self, task: str, engine: str) -> Measurement | None:
        """Return the measurement of a task, if there is one."""
        return self.found.get((task, engine))


class Stopwatch:
    """Adds up wall and CPU seconds (of all threads) over the parts that it is told to time."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Time the body."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu


def timed(call: Callable[[], T]) -> tuple[T, Stopwatch]:
    """Call, and return the answer and the time that it took."""
    watch = Stopwatch()
    with watch.running():
        answer = call()
    return answer, watch


def batches(dataset: Dataset, size: int) -> Iterator[slice]:
    """Cut the rows into batches, in order."""
    for first in range(0, len(dataset.vectors), size):
        yield slice(first, min(first + size, len(dataset.vectors)))


def turns(engines: Sequence[Engine], rounds: int) -> Iterator[tuple[int, Engine]]:
    """Let the engines take turns, another one beginning each round."""
    for turn in range(rounds):
        order = engines if turn % 2 == 0 else engines[::-1]
        for engine in order:
            yield turn, engine


# ---- writing and building ----


def fill(engine: Engine, shard: Any, dataset: Dataset, size: int, from_lists: bool) -> Stopwatch:
    """Store all rows; making lists of the arrays is outside the time, making points is inside."""
    watch = Stopwatch()
    for part in batches(dataset, size):
        payloads = dataset.payloads[part]
        if from_lists:
            lists = dataset.vectors[part].tolist()
            with watch.running():
                engine.upsert_lists(shard, part.start, lists, payloads)
        else:
            with watch.running():
                engine.upsert_arrays(shard, part.start, dataset.vectors[part], payloads)
    return watch


def ingest(
    engines: Sequence[Engine], dataset: Dataset, sizes: Sizes, folder: Path, results: Results
) -> None:
    """Upsert from lists and from arrays, and flush; each run into a shard of its own."""
    dim, count = dataset.vectors.shape[1], len(dataset.vectors)
    for task, from_lists in (("upsert, points from lists", True), ("upsert, numpy arrays", False)):
        for turn, engine in turns(engines, sizes.ingests):
            path = folder / f"{engine.name}-{turn}"
            shard = engine.create(path, engine.config(dim))
            watch = fill(engine, shard, dataset, sizes.batch, from_lists)
            results.add(task, engine.name, "points/s", count / watch.wall, watch.cpu, True)
            _, flushed = timed(shard.flush)
            results.add(f"flush after {task}", engine.name, "s", flushed.wall, flushed.cpu)
            shard.close()
            shutil.rmtree(path)


def durability(
    levels: Sequence[Engine], dataset: Dataset, sizes: Sizes, folder: Path, results: Results
) -> None:
    """Upsert small batches at each durability. qdrant-edge has one: what `os` is here."""
    dim, count, small = dataset.vectors.shape[1], min(2_000, len(dataset.vectors)), 10
    for turn, engine in turns(levels, sizes.ingests):
        path = folder / f"level-{turn}"
        shard = engine.create(path, engine.config(dim))
        watch = Stopwatch()
        for first in range(0, count, small):
            lists = dataset.vectors[first : first + small].tolist()
            with watch.running():
                engine.upsert_lists(shard, first, lists, dataset.payloads[first : first + small])
        shard.close()
        shutil.rmtree(path)
        for level in ("os", "interval", "always"):
            task = f"upsert, {small} points a call, durability {level}"
            if engine.name != OURS or getattr(engine, "durability", "") == level:
                results.add(task, engine.name, "points/s", count / watch.wall, watch.cpu, True)


def build(
    engines: Sequence[Engine], dataset: Dataset, sizes: Sizes, folder: Path, results: Results
) -> dict[str, Path]:
    """Build the index; return the folder of each engine's last shard, built by one thread."""
    dim = dataset.vectors.shape[1]
    last: dict[str, Path] = {}
    for task, threads in (("index build, threads as they come", 0), ("index build, 1 thread", 1)):
        for turn, engine in turns(engines, sizes.builds if threads else 1):
            path = folder / f"{engine.name}-{threads}-{turn}"
            shard = engine.create(path, engine.config(dim, threads))
            fill(engine, shard, dataset, sizes.batch, from_lists=False)
            built, watch = timed(shard.optimize)
            if not built:
                raise RuntimeError(f"{engine.name} built nothing")
            results.add(task, engine.name, "s", watch.wall, watch.cpu)
            shard.close()
            if not threads or engine.name in last:
                shutil.rmtree(last.get(engine.name, path) if threads else path)
            if threads:
                last[engine.name] = path
    return last


# ---- searching ----


def search(
    engines: Sequence[Engine],
    paths: dict[str, Path],
    dataset: Dataset,
    sizes: Sizes,
    results: Results,
) -> None:
    """One query a call over an ef sweep: queries a second, and recall."""
    shards = {engine.name: engine.load(paths[engine.name]) for engine in engines}
    vectors = dataset.queries.tolist()
    for _, engine in turns(engines, sizes.search_rounds):
        shard = shards[engine.name]
        for ef in EFS:
            requests = [engine.request(vector, ef, TOP) for vector in vectors]
            watch = Stopwatch()
            with watch.running():
                answers = [shard.query(request) for request in requests]
            found = recall([[hit.id for hit in hits] for hits in answers], dataset.truth)
            speed, cpu = len(vectors) / watch.wall, watch.cpu / len(vectors)
            results.add(f"recall@{TOP}, ef {ef}", engine.name, "", found, None, True)
            results.add(f"search, ef {ef}", engine.name, "queries/s", speed, cpu, True)
    for engine in engines:
        shards[engine.name].close()
        at_target(engine.name, results)


def at_target(name: str, results: Results) -> None:
    """Add the speed at the recall where engines are compared, if the sweep crosses it."""
    swept = [
        (recalled.value, speed)
        for ef in EFS
        if (recalled := results.get(f"recall@{TOP}, ef {ef}", name))
        and (speed := results.get(f"search, ef {ef}", name))
    ]
    wall = qps_at(TARGET_RECALL, [(recalled, speed.value) for recalled, speed in swept])
    cpu = qps_at(TARGET_RECALL, [(recalled, 1 / median(s.cpu)) for recalled, s in swept])
    if wall is not None and cpu is not None:
        task = f"search at recall {TARGET_RECALL} (interpolated)"
        results.add(task, name, "queries/s", wall, 1 / cpu, True)


def latency(
    engines: Sequence[Engine], dataset: Dataset, sizes: Sizes, folder: Path, results: Results
) -> None:
    """One query on a small shard without an index, its request built in the time."""
    dim, vectors = dataset.vectors.shape[1], dataset.queries.tolist()
    for count in (10, 1_000):
        few = Dataset("", dataset.vectors[:count], dataset.payloads[:count], *NOTHING)
        shards = {}
        for engine in engines:
            path = folder / f"{engine.name}-few-{count}"
            shards[engine.name] = engine.create(path, engine.config(dim, indexed=False))
            fill(engine, shards[engine.name], few, sizes.batch, from_lists=False)
        for _, engine in turns(engines, sizes.search_rounds):
            shard = shards[engine.name]
            asked = [vectors[i % len(vectors)] for i in range(sizes.latency_calls)]
            watch = Stopwatch()
            with watch.running():
                times = [one_call(engine, shard, vector) for vector in asked]
            middle = sorted(times)[len(times) // 2]
            task = f"one query among {count:,} points (p50)"
            results.add(task, engine.name, "us", middle * 1e6, watch.cpu / len(asked))
        for shard in shards.values():
            shard.close()


NOTHING: tuple[Any, Any] = (None, None)


def one_call(engine: Engine, shard: Any, vector: list[float]) -> float:
    """Ask once and return the seconds that it took."""
    began = time.perf_counter()
    shard.query(engine.request(vector))
    return time.perf_counter() - began


def warm(engines: Sequence[Engine], dataset: Dataset, folder: Path) -> None:
    """Use each engine once for everything, so that nothing is compiled or imported in a run."""
    few = Dataset("", dataset.vectors[:1_000], dataset.payloads[:1_000], *NOTHING)
    for engine in engines:
        path = folder / f"warm-{engine.name}"
        shard = engine.create(path, engine.config(dataset.vectors.shape[1]))
        fill(engine, shard, few, 500, from_lists=True)
        fill(engine, shard, few, 500, from_lists=False)
        one_call(engine, shard, dataset.queries[0].tolist())
        shard.optimize()
        one_call(engine, shard, dataset.queries[0].tolist())
        shard.close()
        shutil.rmtree(path)
