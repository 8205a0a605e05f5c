"""Payload indexes: what they take to build, and what filters and questions cost with them.

The searched shard has its fields indexed before its graph is built, as qdrant-edge wants it: only
then does it link the points that share a value. A filter that leaves up to a tenth of the rows may
be answered by a scan: that is what the engines' default full_scan_threshold (10,000 KB) comes to
for 66,000 rows of 384 floats.

Answers that have only one right form (counts, facets, pages, orders, the ids that a filter allows)
are checked against the payloads themselves, outside the time.
"""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.asks import Ask, asks
from benchmarks.data import TOP, Dataset, detailed
from benchmarks.engines import Engine
from benchmarks.filters import SCHEMAS, Narrow, Plan, plan_of
from benchmarks.tasks import Results, Sizes, Stopwatch, fill, timed, turns

EFS = (64, 128)
QUERIES = 300
"""The most queries of one round with one filter."""
SECONDS = 0.5
"""After so long a round puts no more requests of one kind."""
WARM_ROWS = 1_000

Shards = dict[str, Any]
"""The open shard of each engine."""


def payload(
    engines: Sequence[Engine], dataset: Dataset, sizes: Sizes, folder: Path, results: Results
) -> None:
    """Do all tasks that have to do with payload indexes."""
    dataset = detailed(dataset)
    plan = plan_of(dataset.payloads)
    asked = asks(plan, dataset.payloads)
    for engine in engines:
        warm(engine, plan, asked, dataset, folder)
    index(engines, plan, dataset, sizes, folder, results)
    paths = build(engines, plan, dataset, sizes, folder, results)
    shards = {engine.name: engine.load(paths[engine.name]) for engine in engines}
    for narrow in plan.filters:
        search(engines, shards, narrow, dataset, sizes, results)
    for ask in asked:
        answer(engines, shards, ask, sizes, results)
    for shard in shards.values():
        shard.close()
    edit(engines, paths, plan, dataset, sizes, results)


# ---- shards ----


def filled(engine: Engine, path: Path, fields: dict[str, str], dataset: Dataset, batch: int) -> Any:
    """Store all rows in a new shard whose fields are indexed before."""
    count, dim = dataset.vectors.shape
    tenth_kb = max(1, count * dim * 4 // 10 // 1024)
    shard = engine.create(path, engine.config(dim, threads=0, full_scan_kb=tenth_kb))
    for name, kind in fields.items():
        index_field(engine, shard, name, kind)
    fill(engine, shard, dataset, batch, from_lists=False)
    return shard


def index_field(engine: Engine, shard: Any, name: str, kind: str) -> None:
    """Index one field; `kind` is one of SCHEMAS."""
    schema = SCHEMAS[kind](engine.api)
    shard.update(engine.api.UpdateOperation.create_field_index(name, schema))


def copies(
    engines: Sequence[Engine], paths: dict[str, Path], rounds: int
) -> Iterator[tuple[Engine, Any]]:
    """Open a fresh copy of the engine's shard at each turn."""
    for _, engine in turns(engines, rounds):
        copy = paths[engine.name].with_name(f"{engine.name}-copy")
        shutil.copytree(paths[engine.name], copy)
        shard = engine.load(copy)
        yield engine, shard
        shard.close()
        shutil.rmtree(copy)


def warm(engine: Engine, plan: Plan, asked: Sequence[Ask], dataset: Dataset, folder: Path) -> None:
    """Use an engine once for everything, on few rows."""
    path = folder / f"{engine.name}-warm"
    some = replace(
        dataset, vectors=dataset.vectors[:WARM_ROWS], payloads=dataset.payloads[:WARM_ROWS]
    )
    shard = filled(engine, path, plan.fields, some, WARM_ROWS)
    shard.optimize()
    for narrow in plan.filters:
        inside = narrow.filter(engine.api)
        shard.query(engine.request(dataset.queries[0].tolist(), EFS[0], TOP, inside))
    for ask in asked:
        ask.put(shard, ask.requests(engine.api)[0])
    for _, make in edits(plan):
        shard.update(make(engine))
    shard.close()
    shutil.rmtree(path)


# ---- building ----


def index(
    engines: Sequence[Engine],
    plan: Plan,
    dataset: Dataset,
    sizes: Sizes,
    folder: Path,
    results: Results,
) -> None:
    """Index one field of each kind in a built shard; optimize() waits for what is left to do."""
    paths = {engine.name: folder / f"{engine.name}-bare" for engine in engines}
    for engine in engines:
        shard = filled(engine, paths[engine.name], {}, dataset, sizes.batch)
        shard.optimize()
        shard.close()
    for engine, shard in copies(engines, paths, sizes.ingests):
        for name in plan.built:
            kind, watch = plan.fields[name], Stopwatch()
            with watch.running():
                index_field(engine, shard, name, kind)
                shard.optimize()
            results.add(f"payload index, {name} ({kind})", engine.name, "s", watch.wall, watch.cpu)
    for path in paths.values():
        shutil.rmtree(path)


def build(
    engines: Sequence[Engine],
    plan: Plan,
    dataset: Dataset,
    sizes: Sizes,
    folder: Path,
    results: Results,
) -> dict[str, Path]:
    """Build the graph of rows whose fields are indexed already; return where the shards are."""
    paths = {engine.name: folder / f"{engine.name}-indexed" for engine in engines}
    task = f"index build, {len(plan.fields)} payload fields indexed"
    for engine in engines:
        shard = filled(engine, paths[engine.name], plan.fields, dataset, sizes.batch)
        _, watch = timed(shard.optimize)
        results.add(task, engine.name, "s", watch.wall, watch.cpu)
        shard.close()
    return paths


# ---- searching and asking ----


def search(
    engines: Sequence[Engine],
    shards: Shards,
    narrow: Narrow,
    dataset: Dataset,
    sizes: Sizes,
    results: Results,
) -> None:
    """One filtered query a call: queries a second, and recall."""
    rows, name = narrow.rows(dataset.payloads), narrow.named(dataset.payloads)
    vectors, allowed = dataset.queries[:QUERIES], set(rows.tolist())
    truth = nearest(rows, dataset.vectors[rows], vectors)
    for ef, (_, engine) in itertools.product(EFS, turns(engines, sizes.search_rounds)):
        shard, inside = shards[engine.name], narrow.filter(engine.api)
        requests = [engine.request(vector, ef, TOP, inside) for vector in vectors.tolist()]
        watch = Stopwatch()
        with watch.running():
            answers = [shard.query(request) for request in requests]
        found = [[hit.id for hit in hits] for hits in answers]
        if not allowed.issuperset(itertools.chain.from_iterable(found)):
            raise RuntimeError(f"{engine.name} finds points that are not {narrow}")
        speed, cpu = len(requests) / watch.wall, watch.cpu / len(requests)
        found_share = recall(found, truth)
        results.add(f"recall@{TOP}, {name}, ef {ef}", engine.name, "", found_share, None, True)
        results.add(f"search, {name}, ef {ef}", engine.name, "queries/s", speed, cpu, True)


def nearest(
    rows: NDArray[np.int64], vectors: NDArray[np.float32], queries: NDArray[np.float32]
) -> list[list[int]]:
    """Return the exact answers among some rows and their vectors; all rows if they are few."""
    best = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :TOP]
    return [rows[line].tolist() for line in best]


def recall(answers: list[list[int]], truth: list[list[int]]) -> float:
    """Return the share of the exact answers that were found; 1 where there are none."""
    hits = sum(len(set(got) & set(want)) for got, want in zip(answers, truth, strict=True))
    wanted = sum(map(len, truth))
    return hits / wanted if wanted else 1.0


def answer(
    engines: Sequence[Engine], shards: Shards, ask: Ask, sizes: Sizes, results: Results
) -> None:
    """Put the requests of one kind, when those whose answers are known have been checked."""
    for _, engine in turns(engines, sizes.search_rounds):
        shard, requests = shards[engine.name], ask.requests(engine.api)
        for request, right in zip(requests, ask.right, strict=False):
            if (got := ask.put(shard, request)) != right:
                raise RuntimeError(f"{engine.name}, {ask.task}: {got!r} is not {right!r}")
        watch = Stopwatch()
        with watch.running():
            calls = put_for_a_while(shard, ask, requests)
        rate = ask.unit != "us"
        value = calls / watch.wall if rate else watch.wall / calls * 1e6
        results.add(ask.task, engine.name, ask.unit, value, watch.cpu / calls, rate)


def put_for_a_while(shard: Any, ask: Ask, requests: Sequence[Any]) -> int:
    """Put the requests until they end or SECONDS are over; return how many there were."""
    over = time.perf_counter() + SECONDS
    for calls, request in enumerate(requests, 1):
        ask.put(shard, request)
        if time.perf_counter() > over:
            return calls
    return len(requests)


# ---- editing ----


def edits(plan: Plan) -> list[tuple[str, Callable[[Engine], Any]]]:
    """Name the edits by filter, and make them."""

    def set_payload(engine: Engine) -> Any:
        inside = plan.edited.filter(engine.api)
        return engine.api.UpdateOperation.set_payload_by_filter(inside, plan.edit)

    def delete(engine: Engine) -> Any:
        inside = plan.narrow.filter(engine.api)
        return engine.api.UpdateOperation.delete_points_by_filter(inside)

    return [("set payload where {edited}", set_payload), ("delete where {narrow}", delete)]


def edit(
    engines: Sequence[Engine],
    paths: dict[str, Path],
    plan: Plan,
    dataset: Dataset,
    sizes: Sizes,
    results: Results,
) -> None:
    """Edit and delete what a filter leaves, in a copy of the shard."""
    rows = dataset.payloads
    names = {"edited": plan.edited.named(rows), "narrow": plan.narrow.named(rows)}
    for engine, shard in copies(engines, paths, sizes.ingests):
        for task, make in edits(plan):
            operation, watch = make(engine), Stopwatch()
            with watch.running():
                shard.update(operation)
            results.add(task.format(**names), engine.name, "s", watch.wall, watch.cpu)
        gone = engine.api.CountRequest(exact=True, filter=plan.narrow.filter(engine.api))
        if shard.count(gone):
            raise RuntimeError(f"{engine.name} has not deleted what it was told to")
