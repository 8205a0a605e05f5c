"""A million vectors of 384 floats on a robot: originals on disk, int8 and the graph in memory.

    python -m benchmarks.million [--cold] [POINTS] [FOLDER]

Writes, indexes and loads a shard whose vectors are Cold and whose scalar quantization is Pinned,
each step in a process of its own, and prints the seconds and the megabytes that stay resident; how
far it is, to standard error. No peer: it shows that what serving takes is below 1 GiB. With --cold
all is Cold, and codes and originals lie beside the links of the graph.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

import edge
from benchmarks.fresh import peak_mb, resident_mb, size_of
from edge.blocking import EdgeShard

POINTS = 1_000_000
DIM = 384
BATCH = 1_000
QUERIES = 200
JUDGED = 50
TOP = 10


def blocks(points: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield clustered vectors, as embeddings are."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((2_000, DIM), np.float32)
    for first in range(0, points, BATCH):
        near = centres[rng.integers(0, len(centres), min(BATCH, points - first))]
        yield first, near + 0.6 * rng.standard_normal(near.shape, np.float32)


def config(cold: bool) -> edge.EdgeConfig:
    """Originals on disk, one byte an element in memory, or `cold` on disk too."""
    memory = edge.Memory.Cold if cold else None
    return edge.EdgeConfig(
        edge.EdgeVectorParams(DIM, edge.Distance.Cosine, memory=edge.Memory.Cold),
        hnsw_config=edge.HnswIndexConfig(
            16, 100, 10_000, max_indexing_threads=2, inline_storage=cold, memory=memory
        ),
        quantization_config=edge.ScalarQuantizationConfig(edge.ScalarType.Int8, memory=memory),
        optimizers=edge.EdgeOptimizersConfig(default_segment_number=1, max_segment_size=4_000_000),
    )


def write(path: str, points: int, cold: bool) -> dict[str, Any]:
    """Store and index everything."""
    began, used = time.perf_counter(), time.process_time()
    with Highest() as highest, EdgeShard.create(path, config(cold)) as shard:
        for first, block in blocks(points):
            shard.upsert_arrays(np.arange(first, first + len(block)), block)
            if first % (100 * BATCH) == 0:
                say(f"{first:,} points after {time.perf_counter() - began:.0f} s")
        written, used_writing = time.perf_counter() - began, time.process_time() - used
        shard.optimize()
    return {
        "write_s": written,
        "write_cpu_s": used_writing,
        "optimize_s": time.perf_counter() - began - written,
        "optimize_cpu_s": time.process_time() - used - used_writing,
        "peak_mb": peak_mb(),
        "peak_not_of_files_mb": highest.anonymous,
        "disk_mb": size_of(Path(path))[1],
    }


class Highest:
    """Looks every half second how many megabytes are resident that no file stands behind."""

    def __init__(self) -> None:
        self.anonymous = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.5):
            self.anonymous = max(self.anonymous, resident_mb()[1])


def serve(path: str, points: int, cold: bool) -> dict[str, Any]:
    """Load, ask, and say what stays in memory and how much of the exact answers was found."""
    _, block = next(blocks(points))
    rng = np.random.default_rng(1)
    asked = block[:QUERIES] + 0.3 * rng.standard_normal((QUERIES, DIM), np.float32)
    began = time.perf_counter()
    with EdgeShard.load(path) as shard:
        loaded = time.perf_counter() - began
        forget(Path(path))
        first, _ = timed(shard, asked, exact=False)
        took, answers = timed(shard, asked, exact=False)
        (resident, anonymous), peak = resident_mb(), peak_mb()
        say("exact answers")
        _, truth = timed(shard, asked[:JUDGED], exact=True)
    found = sum(len(a & b) for a, b in zip(answers, truth, strict=False)) / (JUDGED * TOP)
    return {
        "load_s": loaded,
        "queries_a_second_first": QUERIES / first,
        "queries_a_second": QUERIES / took,
        "recall": found,
        "resident_mb": resident,
        "not_of_files_mb": anonymous,
        "peak_mb": peak,
    }


def forget(path: Path) -> None:
    """Let the kernel drop what it holds of the files: loading has read them to check them, and what
    is mapped of them while it is in its cache would count as resident."""
    for file in path.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def timed(
    shard: EdgeShard, asked: NDArray[np.float32], exact: bool
) -> tuple[float, list[set[Any]]]:
    """Return the seconds that the queries take, and the ids that each finds."""
    params = edge.SearchParams(
        hnsw_ef=128, exact=exact, quantization=edge.QuantizationSearchParams(oversampling=2.0)
    )
    began = time.perf_counter()
    answers = [
        {
            hit.id
            for hit in shard.query(
                edge.QueryRequest(limit=TOP, query=edge.Query.Nearest(vector), params=params)
            )
        }
        for vector in asked
    ]
    return time.perf_counter() - began, answers


def say(words: str) -> None:
    """Tell whoever waits."""
    print(words, file=sys.stderr, flush=True)


STEPS: dict[str, Callable[[str, int, bool], dict[str, Any]]] = {"write": write, "serve": serve}


def main() -> None:
    """Run one step, or both, each in a process of its own."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--cold"]
    cold = len(arguments) < len(sys.argv) - 1
    if arguments and arguments[0] in STEPS:
        step, path, number = arguments
        print(json.dumps(STEPS[step](path, int(number), cold)))
        return
    points = int(arguments[0]) if arguments else POINTS
    folder = arguments[1] if len(arguments) > 1 else None
    with tempfile.TemporaryDirectory(dir=folder) as made:
        for step in STEPS:
            command = [sys.executable, "-m", "benchmarks.million", step, f"{made}/shard"]
            options = [str(points), *(["--cold"] if cold else [])]
            done = subprocess.run(
                [*command, *options], stdout=subprocess.PIPE, check=True, text=True
            )
            for name, value in json.loads(done.stdout).items():
                print(f"{step:6} {name:22} {value:10,.3f}", flush=True)


if __name__ == "__main__":
    main()
