"""Searches from a cold disk: nothing of the shard's files is in the page cache when a query comes.

Each placement is one shard that is built once and asked in a fresh process. Before each query the
pages of all files are dropped, mapped or not, so a query pays for every read; then the same queries
are asked again without that. Bytes read are those of the process, as the kernel counts them.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import data
from benchmarks.engines import ENGINES, Engine
from benchmarks.fresh import answered, resident_mb, size_of
from benchmarks.tasks import QUICK, Results, Sizes, Stopwatch, turns

TOP = 10
BATCH = 500
COLD_QUERIES = 100


class Placement(NamedTuple):
    """Where things live, and how such a shard is searched."""

    title: str
    small: Callable[[Any, Any], Any]
    """quantization(api, where it lives)"""
    codes: str
    graph: str
    inline: bool
    ef: int
    oversampling: float


def int8(api: Any, memory: Any) -> Any:
    """A quarter of the bytes."""
    return api.ScalarQuantizationConfig(api.ScalarType.Int8, quantile=0.99, memory=memory)


def one_bit(api: Any, memory: Any) -> Any:
    """A thirty-second of the bytes, compared with eight bits of the query."""
    encoding = api.BinaryQuantizationQueryEncoding.Scalar8Bits
    return api.BinaryQuantizationConfig(memory=memory, query_encoding=encoding)


PLACEMENTS = {
    "codes": Placement("int8 and graph in memory", int8, "Cached", "Cached", False, 64, 2.0),
    "int8": Placement("int8, all cold", int8, "Cold", "Cold", False, 64, 2.0),
    "inline-int8": Placement("int8, all cold, inline", int8, "Cold", "Cold", True, 64, 2.0),
    "bit": Placement("one bit, all cold", one_bit, "Cold", "Cold", False, 128, 8.0),
    "inline-bit": Placement("one bit, all cold, inline", one_bit, "Cold", "Cold", True, 128, 8.0),
}


def cold(engines: Sequence[Engine], sizes: Sizes, folder: Path, results: Results) -> None:
    """Measure each placement, the engines taking turns."""
    rows = 3_000 if sizes is QUICK else None
    for name, placement in PLACEMENTS.items():
        for turn, engine in turns(engines, 1 if sizes is QUICK else 3):
            path = folder / f"{engine.name}-cold-{name}"
            if turn == 0:
                built = apart("build", engine, path, placement=name, rows=rows)
                results.add(f"{placement.title}: on disk", engine.name, "MB", built["disk"])
            found = apart("ask", engine, path, placement=name, rows=rows)
            report(placement.title, engine.name, found, results)


def report(title: str, engine: str, found: dict[str, Any], results: Results) -> None:
    """Add what a query costs."""
    results.add(f"{title}: load", engine, "s", found["load"])
    results.add(f"{title}: cold query, median", engine, "ms", found["cold"])
    results.add(f"{title}: read by it", engine, "KB", found["read"])
    results.add(f"{title}: warm query", engine, "ms", found["warm"], found["warm_cpu"])
    results.add(f"{title}: recall@{TOP}", engine, "", found["recall"], None, True)
    results.add(f"{title}: resident at the start", engine, "MB", found["resident"])


def apart(task: str, engine: Engine, path: Path, **options: Any) -> dict[str, Any]:
    """Run a task in a fresh process; return its answer."""
    return answered("benchmarks.cold", task, engine.name, path, **options)


# ---- what the fresh process does ----


def configured(engine: Engine, placement: Placement) -> Any:
    """Vectors of 384 whose originals are on the disk."""
    api = engine.api
    codes, graph = (getattr(api.Memory, name) for name in (placement.codes, placement.graph))
    return api.EdgeConfig(
        vectors=api.EdgeVectorParams(384, api.Distance.Cosine, memory=api.Memory.Cold),
        quantization_config=placement.small(api, codes),
        hnsw_config=api.HnswIndexConfig(
            16,
            100,
            10,
            max_indexing_threads=1,
            memory=graph,
            inline_storage=placement.inline,
        ),
        optimizers=api.EdgeOptimizersConfig(
            default_segment_number=1, max_segment_size=4_000_000, indexing_threshold=100
        ),
        **engine.extra_config(),
    )


def build(engine: Engine, path: Path, placement: str, rows: int | None) -> dict[str, Any]:
    """Write and index."""
    api = engine.api
    shard = engine.create(path, configured(engine, PLACEMENTS[placement]))
    for first, block, _ in data.stream(rows, BATCH):
        points = [api.Point(first + i, row) for i, row in enumerate(block.tolist())]
        shard.update(api.UpdateOperation.upsert_points(points))
    shard.optimize()
    shard.close()
    _, allocated = size_of(path)
    return {"disk": allocated}


def ask(engine: Engine, path: Path, placement: str, rows: int | None) -> dict[str, Any]:
    """Ask from a cold disk, then from a warm one."""
    known = data.load(rows, 500)
    api, way = engine.api, PLACEMENTS[placement]
    small = api.QuantizationSearchParams(rescore=True, oversampling=way.oversampling)
    params = api.SearchParams(hnsw_ef=way.ef, quantization=small)
    requests = [
        api.QueryRequest(limit=TOP, query=api.Query.Nearest(vector), params=params)
        for vector in known.queries.tolist()
    ]
    before, _ = resident_mb()
    drop(path)
    began = time.perf_counter()
    shard = engine.load(path)
    loaded = time.perf_counter() - began
    after, _ = resident_mb()
    shard.query(requests[0])
    times, reads = [], []
    for request in requests[1 : COLD_QUERIES + 1]:
        drop(path)
        read, began = bytes_read(), time.perf_counter()
        shard.query(request)
        times.append(1000 * (time.perf_counter() - began))
        reads.append((bytes_read() - read) / 1000)
    answers = [[hit.id for hit in shard.query(request)] for request in requests]
    watch = Stopwatch()
    with watch.running():
        for request in requests:
            shard.query(request)
    shard.close()
    return {
        "load": loaded,
        "cold": statistics.median(times),
        "read": statistics.median(reads),
        "warm": 1000 * watch.wall / len(requests),
        "warm_cpu": 1000 * watch.cpu / len(requests),
        "recall": data.recall(answers, known.truth),
        "resident": after - before,
    }


def drop(path: Path) -> None:
    """Drop the pages of all files below a folder: what is mapped is let go of first."""
    madvise = ctypes.CDLL(None).madvise
    for line in Path("/proc/self/maps").read_text().splitlines():
        if str(path) in line:
            first, last = (int(end, 16) for end in line.split()[0].split("-"))
            madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), mmap.MADV_DONTNEED)
    for file in path.rglob("*"):
        if file.is_file():
            opened = os.open(file, os.O_RDONLY)
            os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(opened)


def bytes_read() -> int:
    """Bytes that this process had fetched from the disk."""
    counters = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counters["read_bytes"])


TASKS: dict[str, Callable[..., dict[str, Any]]] = {"build": build, "ask": ask}


def main() -> None:
    """Do one task and print its answer."""
    task, name, path, options = sys.argv[1:]
    print(json.dumps(TASKS[task](ENGINES[name](), Path(path), **json.loads(options))))


if __name__ == "__main__":
    main()
