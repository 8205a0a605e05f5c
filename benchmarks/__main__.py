"""The command: `python -m benchmarks [--quick] [--json FILE] [--only TASK ...]`."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import (
    cold,
    data,
    endpoints,
    fresh,
    payload,
    push,
    queries,
    snapshots,
    tasks,
    tenants,
    vectors,
)
from benchmarks.engines import EF_CONSTRUCT, ENGINES, Edgeshard, Engine, M, Qdrant
from benchmarks.report import as_json, filesystem, machine, table
from benchmarks.tasks import FULL, QUICK, Results

GROUPS = (
    "ingest",
    "durability",
    "build",
    "latency",
    "payload",
    "tenants",
    "memory",
    "loop",
    "endpoints",
    "vectors",
    "cold",
    "queries",
    "push",
    "snapshots",
)


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="6,000 rows and few runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run there")
    parser.add_argument(
        "--only", nargs="+", choices=GROUPS, default=GROUPS, help="build includes search"
    )
    parser.add_argument("--engine", nargs="+", choices=sorted(ENGINES), default=list(ENGINES))
    parser.add_argument(
        "--durability", choices=("os", "interval", "always"), default="interval",
        help="of edgeshard, except where a line names another (its default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--folder", type=Path, help="where shards are made (default: temporary)")
    return parser.parse_args()


def engine_of(name: str, durability: str) -> Engine:
    """Make the adapter of an engine."""
    return Edgeshard(durability) if name == Edgeshard.name else ENGINES[name]()


def groups(
    wanted: argparse.Namespace, dataset: data.Dataset, folder: Path, results: Results
) -> dict[str, Callable[[], None]]:
    """Return what each group of tasks does."""
    sizes = QUICK if wanted.quick else FULL
    engines = [engine_of(name, wanted.durability) for name in wanted.engine]
    dim = dataset.vectors.shape[1]

    def levels() -> None:
        wide = ("os", "interval", "always") if Edgeshard.name in wanted.engine else ()
        ours = [Edgeshard(level) for level in wide]
        others = [engine for engine in engines if engine.name == Qdrant.name]
        tasks.durability([*ours, *others], dataset, sizes, folder, results)

    def build() -> None:
        paths = tasks.build(engines, dataset, sizes, folder, results)
        tasks.search(engines, paths, dataset, sizes, results)
        fresh.first_answer(engines, paths, dim, sizes, results)
        fresh.disk(engines, paths, dim, results)

    tasks.warm(engines, dataset, folder)
    return {
        "ingest": lambda: tasks.ingest(engines, dataset, sizes, folder, results),
        "durability": levels,
        "build": build,
        "latency": lambda: tasks.latency(engines, dataset, sizes, folder, results),
        "payload": lambda: payload.payload(engines, dataset, sizes, folder, results),
        "tenants": lambda: tenants.tenants(engines, dataset, sizes, folder, results),
        "memory": lambda: fresh.memory(engines, dim, sizes, folder, results),
        "loop": lambda: fresh.pauses(engines, sizes, folder, results),
        "vectors": lambda: vectors.vectors(engines, sizes, folder, results),
        "cold": lambda: cold.cold(engines, sizes, folder, results),
        "queries": lambda: queries.queries(engines, dataset, sizes, folder, results),
        "push": lambda: push.push(engines, sizes, folder, results),
        "snapshots": lambda: snapshots.snapshots(engines, dataset, sizes, folder, results),
        "endpoints": lambda: endpoints.endpoints(engines, sizes, folder, results),
    }


def about(wanted: argparse.Namespace, dataset: data.Dataset, folder: Path) -> dict[str, str]:
    """Say what was run, on what."""
    rows, dim = dataset.vectors.shape
    versions = ", ".join(f"{name} {ENGINES[name]().version}" for name in wanted.engine)
    return {
        "machine": machine(),
        "engines": versions,
        "data": f"{dataset.name}: {rows:,} x {dim}, {len(dataset.queries):,} queries, cosine",
        "index": f"HNSW m {M}, ef_construct {EF_CONSTRUCT}, one segment",
        "files": f"{filesystem(folder)}; edgeshard's durability: {wanted.durability}",
    }


def say(words: str) -> None:
    """Tell whoever waits, without touching the table on standard output."""
    print(words, file=sys.stderr, flush=True)


def run(wanted: argparse.Namespace, folder: Path, only: Sequence[str]) -> None:
    """Run the groups, print the table, write the JSON."""
    sizes = QUICK if wanted.quick else FULL
    dataset = data.load(sizes.rows, sizes.queries)
    facts = about(wanted, dataset, folder)
    for key, fact in facts.items():
        print(f"{key:8} {fact}", flush=True)
    results = Results()
    for name, group in groups(wanted, dataset, folder, results).items():
        if name in only:
            began = time.perf_counter()
            group()
            say(f"  {name}: {time.perf_counter() - began:.0f} s")
    print()
    print(table(results.found.values()))
    print("\nA ratio above 1 says that edgeshard is better; runs are counted for each engine.")
    if wanted.json:
        wanted.json.write_text(json.dumps(as_json(results.found.values(), facts), indent=1))


def main() -> None:
    """Run in a folder that goes away afterwards."""
    wanted = options()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=wanted.folder) as folder:
        run(wanted, Path(folder), wanted.only)


if __name__ == "__main__":
    main()
