"""Searches among the points of one tenant: a graph for each, beside one graph of all points.

The rows are dealt out at random, but for one tenant that has a fifth of them: those farthest from
where the queries are. The field is indexed before, and nothing is small enough to be scanned
because a config says so; whether a scan is shorter the engines judge for themselves. Each engine
has the first of EFS at which it finds TARGET_RECALL of the exact answers, or the last.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import TOP, Dataset
from benchmarks.engines import EF_CONSTRUCT, Engine, M
from benchmarks.filters import Is, Narrow
from benchmarks.payload import nearest, recall
from benchmarks.report import OURS
from benchmarks.tasks import TARGET_RECALL, Results, Sizes, Stopwatch, fill, timed, turns

EFS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 512)
QUERIES = 300
SHARES = {
    "a fifth": 0.2,
    "an eighth": 0.12,
    "a tenth": 0.1,
    "a twentieth": 0.05,
    "a fiftieth": 0.02,
}
FAR = "a fifth, far away"
SCANNED_KB = 10


class Links(NamedTuple):
    """How a shard's graphs are linked, and by whom it is measured."""

    title: str
    m: int
    payload_m: int | None
    only_ours: bool = False


LINKS = (
    Links("m 0, payload_m 16", 0, M),
    Links("m 16, payload_m 16", M, M),
    Links("m 16 alone", M, None, True),
)


def tenants(
    engines: Sequence[Engine], dataset: Dataset, sizes: Sizes, folder: Path, results: Results
) -> None:
    """Build shards of each kind, and search among the points of each tenant."""
    owners = dealt(dataset)
    dataset = replace(dataset, payloads=[{"tenant": owner} for owner in owners])
    shards: dict[tuple[str, str], Any] = {}
    for links in LINKS:
        for engine in measured(links, engines):
            path = folder / f"{engine.name}-{links.m}-{links.payload_m}"
            shards[links.title, engine.name] = built(engine, path, links, dataset, sizes, results)
    for owner in (*SHARES, FAR):
        rows = np.flatnonzero(np.array(owners) == owner)
        truth = nearest(rows, dataset.vectors[rows], dataset.queries[:QUERIES])
        search(engines, shards, owner, truth, dataset, sizes, results)
    for shard in shards.values():
        shard.close()


def measured(links: Links, engines: Sequence[Engine]) -> Iterator[Engine]:
    """Yield those who can be asked for it."""
    return (engine for engine in engines if not links.only_ours or engine.name == OURS)


def dealt(dataset: Dataset) -> list[str]:
    """Return whose each row is."""
    middle = dataset.queries.mean(axis=0)
    order = np.argsort(dataset.vectors @ middle, kind="stable")
    count = len(order)
    owners = np.full(count, "everybody", dtype=object)
    first = count // 5
    owners[order[:first]] = FAR
    rest: NDArray[Any] = np.random.default_rng(5).permutation(order[first:])
    first = 0
    for owner, share in SHARES.items():
        last = first + round(share * count)
        owners[rest[first:last]] = owner
        first = last
    return owners.tolist()


def built(
    engine: Engine, path: Path, links: Links, dataset: Dataset, sizes: Sizes, results: Results
) -> Any:
    """Fill a shard whose field is indexed before, and build its graphs with one thread."""
    api = engine.api
    config = api.EdgeConfig(
        vectors=api.EdgeVectorParams(dataset.vectors.shape[1], api.Distance.Cosine),
        hnsw_config=api.HnswIndexConfig(
            links.m, EF_CONSTRUCT, SCANNED_KB, max_indexing_threads=1, payload_m=links.payload_m
        ),
        optimizers=api.EdgeOptimizersConfig(
            default_segment_number=1, max_segment_size=4_000_000, indexing_threshold=100
        ),
        **engine.extra_config(),
    )
    shutil.rmtree(path, ignore_errors=True)
    shard = engine.create(path, config)
    params = api.KeywordIndexParams(is_tenant=True)
    shard.update(api.UpdateOperation.create_field_index("tenant", params))
    fill(engine, shard, dataset, sizes.batch, from_lists=False)
    _, watch = timed(shard.optimize)
    results.add(f"tenants, {links.title}: index build", engine.name, "s", watch.wall, watch.cpu)
    return shard


def search(
    engines: Sequence[Engine],
    shards: dict[tuple[str, str], Any],
    owner: str,
    truth: list[list[int]],
    dataset: Dataset,
    sizes: Sizes,
    results: Results,
) -> None:
    """One query a call: queries a second at the ef that is needed."""
    narrow = Narrow(Is("tenant", owner))
    for links in LINKS:
        asked = list(measured(links, engines))
        efs = {
            engine.name: needed_ef(engine, shards[links.title, engine.name], narrow, truth, dataset)
            for engine in asked
        }
        for _, engine in turns(asked, sizes.search_rounds):
            shard, ef = shards[links.title, engine.name], efs[engine.name]
            found, watch = answers(engine, shard, narrow, ef, dataset)
            task = f"tenants, {links.title}: {owner}"
            speed, cpu = len(found) / watch.wall, watch.cpu / len(found)
            results.add(task, engine.name, "queries/s", speed, cpu, True)
            results.add(f"{task}, ef", engine.name, "", ef)
            results.add(f"{task}, recall", engine.name, "", recall(found, truth), None, True)


def needed_ef(
    engine: Engine, shard: Any, narrow: Narrow, truth: list[list[int]], dataset: Dataset
) -> int:
    """Return the first ef that finds enough."""
    for ef in EFS[:-1]:
        if recall(answers(engine, shard, narrow, ef, dataset)[0], truth) >= TARGET_RECALL:
            return ef
    return EFS[-1]


def answers(
    engine: Engine, shard: Any, narrow: Narrow, ef: int, dataset: Dataset
) -> tuple[list[list[int]], Stopwatch]:
    """Return the ids that each query finds, and the time of all."""
    inside = narrow.filter(engine.api)
    vectors = dataset.queries[:QUERIES].tolist()
    requests = [engine.request(vector, ef, TOP, inside) for vector in vectors]
    watch = Stopwatch()
    with watch.running():
        found = [shard.query(request) for request in requests]
    return [[hit.id for hit in hits] for hits in found], watch
