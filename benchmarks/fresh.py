"""The tasks that need a process of their own: memory, load to first answer, pauses of the loop.

`run` starts one, `main` is what it does: python -m benchmarks.fresh TASK ENGINE FOLDER OPTIONS,
with the options as JSON; one JSON object is the answer.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import data
from benchmarks.engines import ENGINES, Engine, open_async
from benchmarks.tasks import Results, Sizes, turns

BEAT_SECONDS = 0.001
QUERY_EVERY_SECONDS = 0.01


def run(task: str, engine: str, folder: Path, **options: Any) -> tuple[dict[str, Any], float]:
    """Run a task in a fresh process; return its answer and the seconds from start to end."""
    began = time.perf_counter()
    answer = answered("benchmarks.fresh", task, engine, folder, **options)
    return answer, time.perf_counter() - began


def answered(module: str, task: str, engine: str, path: Path, **options: Any) -> dict[str, Any]:
    """Run a task of a module in a fresh process; return its answer."""
    command = [sys.executable, "-m", module, task, engine, str(path), json.dumps(options)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


# ---- what the parent asks for ----


def memory(
    engines: Sequence[Engine], dim: int, sizes: Sizes, folder: Path, results: Results
) -> None:
    """Peak memory of writing and indexing everything, and of loading it and serving queries."""
    for engine in engines:
        path = folder / f"{engine.name}-memory"
        wrote, _ = run("write", engine.name, path, dim=dim, rows=sizes.rows, batch=sizes.batch)
        served, _ = run("serve", engine.name, path, dim=dim, queries=sizes.queries)
        results.add("peak memory, import only", engine.name, "MB", wrote["imported_mb"])
        results.add("peak memory, write and index", engine.name, "MB", wrote["peak_mb"])
        results.add("peak memory, load and serve", engine.name, "MB", served["peak_mb"])


def disk(engines: Sequence[Engine], paths: dict[str, Path], dim: int, results: Results) -> None:
    """Size on disk of the built shards, and of empty ones."""
    for engine in engines:
        empty = paths[engine.name].with_name(f"{engine.name}-empty")
        engine.create(empty, engine.config(dim)).close()
        for what, path in (("everything", paths[engine.name]), ("an empty shard", empty)):
            apparent, allocated = size_of(path)
            results.add(f"disk, {what} (apparent)", engine.name, "MB", apparent)
            results.add(f"disk, {what} (allocated)", engine.name, "MB", allocated)


def size_of(path: Path) -> tuple[float, float]:
    """Return the megabytes that files claim, and those that they take."""
    stats = [file.stat() for file in path.rglob("*") if file.is_file()]
    return sum(s.st_size for s in stats) / 1e6, sum(s.st_blocks * 512 for s in stats) / 1e6


def first_answer(
    engines: Sequence[Engine], paths: dict[str, Path], dim: int, sizes: Sizes, results: Results
) -> None:
    """Load to first answer, the files in the page cache."""
    for _, engine in turns(engines, sizes.fresh_runs):
        path = paths[engine.name]
        alone, took = run("answer", engine.name, path, dim=dim, times=1)
        twice, _ = run("answer", engine.name, path, dim=dim, times=2)
        results.add("process start to first answer", engine.name, "s", took)
        results.add("load to first answer, fresh process", engine.name, "s", alone["seconds"][0])
        results.add("load to first answer, second time", engine.name, "s", twice["seconds"][1])


def pauses(engines: Sequence[Engine], sizes: Sizes, folder: Path, results: Results) -> None:
    """The event loop's longest pause while rows are written and indexed and queries run."""
    for engine in engines:
        path = folder / f"{engine.name}-loop"
        answer, _ = run("loop", engine.name, path, rows=sizes.loop_rows, batch=sizes.batch)
        rows = f"{answer['rows']:,} rows"
        results.add(f"event loop, longest pause, {rows}", engine.name, "ms", answer["longest_ms"])
        task = f"event loop, longest pause, {rows}, on its core"
        results.add(task, engine.name, "ms", answer["own_ms"])
        results.add("event loop, longest pause, idle", engine.name, "ms", answer["idle_ms"])
        results.add("event loop, write and index", engine.name, "s", answer["seconds"])
        results.add(
            "event loop, queries meanwhile", engine.name, "queries", answer["queries"], None, True
        )


# ---- what the fresh process does ----


def peak_mb() -> float:
    """Return this process's own peak of resident memory.

    VmHWM and not ru_maxrss: the latter begins with what the parent had when it started this one.
    """
    return _of_status("VmHWM")


def resident_mb() -> tuple[float, float]:
    """Return the megabytes of this process that are in memory now, and those of them that no file
    stands behind: the kernel cannot let go of these."""
    return _of_status("VmRSS"), _of_status("RssAnon")


def _of_status(name: str) -> float:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"the kernel does not say {name} of this process")


def write(engine: Engine, path: Path, dim: int, rows: int | None, batch: int) -> dict[str, Any]:
    """Write and index everything, holding one batch of the data at a time."""
    imported = peak_mb()
    shard = engine.create(path, engine.config(dim))
    for first, vectors, payloads in data.stream(rows, batch):
        engine.upsert_arrays(shard, first, vectors, payloads)
    shard.optimize()
    shard.close()
    return {"imported_mb": imported, "peak_mb": peak_mb()}


def serve(engine: Engine, path: Path, dim: int, queries: int) -> dict[str, Any]:
    """Load, and answer queries in all directions."""
    shard = engine.load(path)
    rng = np.random.default_rng(0)
    for _ in range(queries):
        shard.query(engine.request(rng.standard_normal(dim).tolist(), 64))
    shard.close()
    return {"peak_mb": peak_mb()}


def answer(engine: Engine, path: Path, dim: int, times: int) -> dict[str, Any]:
    """Load, ask once and close, as often as told."""
    query = [1.0] + [0.0] * (dim - 1)
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        shard = engine.load(path)
        shard.query(engine.request(query, 64))
        seconds.append(time.perf_counter() - began)
        shard.close()
    return {"seconds": seconds}


def loop(engine: Engine, path: Path, rows: int, batch: int) -> dict[str, Any]:
    """Measure the pauses of a loop on which rows are written and indexed and queries run."""
    return asyncio.run(busy_loop(engine.name, path, rows, batch))


async def busy_loop(name: str, path: Path, rows: int, batch: int) -> dict[str, Any]:
    """Write everything, wait until it is indexed, and meanwhile ask and count heartbeats."""
    dataset = data.load(rows, 100)
    shard = await open_async(name, path, dataset.vectors.shape[1])
    queries = dataset.queries.tolist()
    idle: list[Pause] = []
    busy: list[Pause] = []
    asked: list[int] = []

    resting = asyncio.create_task(beat(idle))
    await asyncio.sleep(2.0)
    resting.cancel()

    helpers = [asyncio.create_task(beat(busy)), asyncio.create_task(ask(shard, queries, asked))]
    began = time.perf_counter()
    for first in range(0, len(dataset.vectors), batch):
        part = slice(first, first + batch)
        await shard.write(first, dataset.vectors[part], dataset.payloads[part])
    await shard.optimize()
    seconds = time.perf_counter() - began
    await asyncio.sleep(BEAT_SECONDS * 5)
    for helper in helpers:
        helper.cancel()
    await asyncio.gather(*helpers, return_exceptions=True)
    await shard.close()
    return {
        "rows": len(dataset.vectors),
        "longest_ms": max(pause.seconds for pause in busy) * 1e3,
        "own_ms": max(pause.seconds - pause.queued for pause in busy) * 1e3,
        "idle_ms": max(pause.seconds for pause in idle) * 1e3,
        "seconds": seconds,
        "queries": len(asked),
    }


class Pause(NamedTuple):
    """How much later than asked for the loop woke up."""

    seconds: float
    queued: float
    """of these, the seconds in which the loop's thread was ready and had to wait for a core"""


async def beat(pauses: list[Pause]) -> None:
    """Write down every wake-up."""
    while True:
        began, queued = time.perf_counter(), seconds_queued()
        await asyncio.sleep(BEAT_SECONDS)
        late = time.perf_counter() - began - BEAT_SECONDS
        pauses.append(Pause(late, seconds_queued() - queued))


def seconds_queued() -> float:
    """Return for how long this thread has waited for a core, since it began."""
    words = Path("/proc/thread-self/schedstat").read_bytes().split()
    return int(words[1]) / 1e9


async def ask(shard: Any, queries: list[list[float]], asked: list[int]) -> None:
    """Ask a query every few milliseconds."""
    while True:
        found = await shard.query(queries[len(asked) % len(queries)])
        asked.append(len(found))
        await asyncio.sleep(QUERY_EVERY_SECONDS)


TASKS: dict[str, Any] = {"write": write, "serve": serve, "answer": answer, "loop": loop}


def main() -> None:
    """Do one task and print its answer."""
    task, name, folder, options = sys.argv[1:]
    print(json.dumps(TASKS[task](ENGINES[name](), Path(folder), **json.loads(options))))


if __name__ == "__main__":
    main()
