"""The query language beside qdrant-edge: stages, examples, formulas, batches, and many at once.

One shard with a dense vector, a sparse one of the same texts, and the plan's fields indexed. Graphs
are approximate, so each engine is measured at the first ef with which it finds TARGET_RECALL of the
hits of an exact search (or at the last), and that recall is a line of its own. Groups and matrices
have no peer: the Python package of qdrant-edge does not have them.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from benchmarks.data import TOP, Dataset
from benchmarks.engines import Edgeshard, Engine, Qdrant
from benchmarks.filters import Plan, plan_of
from benchmarks.payload import index_field
from benchmarks.report import OURS
from benchmarks.tasks import TARGET_RECALL, Results, Sizes, Stopwatch, batches, turns
from benchmarks.vectors import indexed

DENSE, SPARSE = "d", "s"
QUERIES = 100
"""The most requests in one round of one line."""
SECONDS = 1.0
"""After so long a round puts no more requests of one kind."""
CHECKED = 50
"""How many answers are held against those of an exact search."""
BATCH = 64
AT_ONCE = 16
WARM_ROWS = 1_000

Shards = dict[str, Any]
"""The open shard of each engine."""


class Line(NamedTuple):
    """One line of the table: requests of one kind."""

    task: str
    requests: Callable[[ModuleType, Asked], list[Any]]
    put: Callable[[Any, Any], list[Any]]
    """puts one of them to a shard and returns the ids that it finds"""
    shared: bool = True
    """whether qdrant-edge has it"""
    checked: int = CHECKED


EFS = (100, 150, 200, 300, 400, 600, 800, 1_200, 1_800, 2_700, 4_000)


class Asked(NamedTuple):
    """What requests are made of."""

    dense: list[list[float]]
    """vectors of queries"""
    texts: list[str]
    """texts of queries, for sparse vectors"""
    rows: list[list[float]]
    """vectors of points, for examples"""
    plan: Plan
    keyword: str
    """a common value of the plan's keyword"""
    ef: int = EFS[0]
    exact: bool = False
    """whether all points are looked at"""

    def params(self, api: ModuleType) -> Any:
        """Return how hard a search looks."""
        return api.SearchParams(hnsw_ef=self.ef, exact=self.exact)

    def examples(self, at: int, count: int) -> list[list[float]]:
        """Return the vectors of some points."""
        return [self.rows[(at * count + i) % len(self.rows)] for i in range(count)]


def queries(
    engines: Sequence[Engine], dataset: Dataset, sizes: Sizes, folder: Path, results: Results
) -> None:
    """Do all of it."""
    few = replace(
        dataset, vectors=dataset.vectors[:WARM_ROWS], payloads=dataset.payloads[:WARM_ROWS]
    )
    for engine in engines:
        path = folder / f"{engine.name}-warm-queries"
        shard, asked = filled(engine, path, few, sizes.batch), asked_of(few)
        for line in lines_of(engine):
            line.put(shard, line.requests(engine.api, asked)[0])
        shard.close()
        shutil.rmtree(path)
    paths = {engine.name: folder / f"{engine.name}-queries" for engine in engines}
    for engine in engines:
        filled(engine, paths[engine.name], dataset, sizes.batch).close()
    asked = asked_of(dataset)
    shards = {engine.name: engine.load(paths[engine.name]) for engine in engines}
    for line in LINES:
        ways = settled(engines, shards, line, asked, results)
        able = [engine for engine in engines if line in lines_of(engine)]
        measure(able, shards, line, ways, sizes, results)
        if line is NEAREST:
            plain = ways
    for shard in shards.values():
        shard.close()
    at_once(engines, paths, plain, sizes, results)


def lines_of(engine: Engine) -> list[Line]:
    """Return what an engine can be asked."""
    return [line for line in LINES if line.shared or engine.name == OURS]


# ---- shards ----


def filled(engine: Engine, path: Path, dataset: Dataset, batch: int) -> Any:
    """Store all rows in a new shard, with both vectors, and index them."""
    api, plan = engine.api, plan_of(dataset.payloads)
    params = api.EdgeVectorParams(dataset.vectors.shape[1], api.Distance.Cosine)
    words = api.EdgeSparseVectorParams(modifier=api.Modifier.Idf)
    config = indexed(engine, vectors={DENSE: params}, sparse_vectors={SPARSE: words})
    shard = engine.create(path, config)
    for name in (plan.keyword, plan.number):
        if name:
            index_field(engine, shard, name, plan.fields[name])
    embed = api.Bm25().embed_document
    for part in batches(dataset, batch):
        payloads = dataset.payloads[part]
        vectors = zip(dataset.vectors[part].tolist(), payloads, strict=True)
        shard.update(
            api.UpdateOperation.upsert_points(
                [
                    api.Point(
                        part.start + i,
                        {DENSE: row, SPARSE: embed(payload.get(plan.text) or "")},
                        payload,
                    )
                    for i, (row, payload) in enumerate(vectors)
                ]
            )
        )
    shard.optimize()
    return shard


def asked_of(dataset: Dataset) -> Asked:
    """Return what the rows are asked."""
    plan, rng = plan_of(dataset.payloads), np.random.default_rng(5)
    some = rng.permutation(len(dataset.vectors))[:500]
    values = [row[plan.keyword] for row in dataset.payloads]
    texts = [str(dataset.payloads[row].get(plan.text) or "") for row in some.tolist()]
    return Asked(
        dataset.queries[: max(QUERIES, BATCH)].tolist(),
        texts,
        dataset.vectors[some].tolist(),
        plan,
        max(set(values), key=values.count),
    )


# ---- what is asked ----


def ids(shard: Any, request: Any) -> list[Any]:
    """Put a query."""
    return [hit.id for hit in shard.query(request)]


def ids_of_batch(shard: Any, request: Any) -> list[Any]:
    """Put a batch; each hit with the place of its query."""
    answers = shard.query_batch(request)
    return [(place, hit.id) for place, hits in enumerate(answers) for hit in hits]


def hybrid(api: ModuleType, asked: Asked) -> list[Any]:
    """The best hundred of each vector, fused by their ranks."""
    embed = api.Bm25().embed_query
    return [
        api.QueryRequest(
            TOP,
            query=api.Fusion.Rrf(2),
            prefetches=[
                api.Prefetch(100, api.Query.Nearest(vector, DENSE), params=asked.params(api)),
                api.Prefetch(100, api.Query.Nearest(embed(text), SPARSE)),
            ],
        )
        for vector, text in zip(asked.dense, asked.texts, strict=False)
    ]


def recommend(api: ModuleType, asked: Asked) -> list[Any]:
    """Like any of three points, and none of two."""
    found = []
    for at in range(QUERIES):
        examples = asked.examples(at, 5)
        wanted = api.RecommendQuery(examples[:3], examples[3:])
        query = api.Query.RecommendBestScore(wanted, DENSE)
        found.append(api.QueryRequest(TOP, query=query, params=asked.params(api)))
    return found


def discover(api: ModuleType, asked: Asked) -> list[Any]:
    """Near to a target, on the right side of three pairs."""
    found = []
    for at, target in enumerate(asked.dense[:QUERIES]):
        examples = asked.examples(at, 6)
        pairs = [api.ContextPair(examples[i], examples[i + 3]) for i in range(3)]
        query = api.Query.Discover(api.DiscoverQuery(target, pairs), DENSE)
        found.append(api.QueryRequest(TOP, query=query, params=asked.params(api)))
    return found


def diversified(api: ModuleType, asked: Asked) -> list[Any]:
    """Ten of a hundred candidates."""
    return [
        api.QueryRequest(TOP, query=api.Mmr(vector, 0.5, 100, DENSE), params=asked.params(api))
        for vector in asked.dense[:QUERIES]
    ]


def formula(api: ModuleType, asked: Asked) -> list[Any]:
    """A thousand candidates, their scores raised by a keyword and lowered by a number."""
    this = api.Expression
    liked = api.FieldCondition(asked.plan.keyword, match=api.MatchValue(asked.keyword))
    parts = [this.Variable("$score"), this.Mult([this.Constant(0.1), this.Condition(liked)])]
    if asked.plan.number:
        small = this.Decay(
            api.DecayKind.Exp, this.Variable(asked.plan.number), this.Constant(0.0), 0.5, 1e5
        )
        parts.append(this.Mult([this.Constant(0.2), small]))
    defaults = {asked.plan.number: 0} if asked.plan.number else {}
    params = asked._replace(ef=max(1_000, asked.ef)).params(api)
    return [
        api.QueryRequest(
            TOP,
            query=api.Formula(this.Sum(parts), defaults),
            prefetches=[api.Prefetch(1_000, api.Query.Nearest(vector, DENSE), params=params)],
        )
        for vector in asked.dense[:QUERIES]
    ]


def batch(exact: bool, narrow: bool) -> Callable[[ModuleType, Asked], list[Any]]:
    """The nearest of 64 vectors, all at once."""

    def make(api: ModuleType, asked: Asked) -> list[Any]:
        plan = asked.plan
        field = api.FieldCondition(plan.keyword, match=api.MatchValue(asked.keyword))
        inside = api.Filter(must=[field]) if narrow else None
        params = asked._replace(exact=exact or asked.exact).params(api)
        made = [
            api.QueryRequest(
                TOP, query=api.Query.Nearest(vector, DENSE), filter=inside, params=params
            )
            for vector in asked.dense[:BATCH]
        ]
        return [api.QueryBatchRequest(made)] * 20

    return make


def groups(api: ModuleType, asked: Asked) -> list[Any]:
    """The best three of each of five groups."""
    return [
        api.QueryGroupsRequest(asked.plan.keyword, 5, 3, api.Query.Nearest(vector, DENSE))
        for vector in asked.dense[:QUERIES]
    ]


def ids_of_groups(shard: Any, request: Any) -> list[Any]:
    """Put a query by groups."""
    return [hit.id for group in shard.query_groups(request).groups for hit in group.hits]


def matrix(api: ModuleType, asked: Asked) -> list[Any]:
    """The nearest ten among 500 points by chance, of each of them."""
    return [api.SearchMatrixRequest(500, TOP, using=DENSE)] * 20


def ids_of_matrix(shard: Any, request: Any) -> list[Any]:
    """Ask for a matrix."""
    return list(shard.search_matrix(request).ids)


NEAREST = Line(
    f"batch of {BATCH} nearest", batch(exact=False, narrow=False), ids_of_batch, checked=1
)
LINES = (
    Line("hybrid, dense and sparse by RRF", hybrid, ids),
    Line("recommend, best score of 3 and 2 examples", recommend, ids),
    Line("discover, 3 pairs", discover, ids),
    Line("MMR of 100 candidates", diversified, ids),
    Line("formula over 1,000 candidates", formula, ids),
    NEAREST,
    Line(
        f"batch of {BATCH} nearest, one filter",
        batch(exact=False, narrow=True),
        ids_of_batch,
        checked=1,
    ),
    Line(
        f"batch of {BATCH} nearest, exact", batch(exact=True, narrow=False), ids_of_batch, checked=1
    ),
    Line("groups, 5 of 3", groups, ids_of_groups, shared=False),
    Line("matrix of 500", matrix, ids_of_matrix, shared=False),
)


# ---- measuring ----


def settled(
    engines: Sequence[Engine], shards: Shards, line: Line, asked: Asked, results: Results
) -> dict[str, Asked]:
    """Return how each engine is asked: with the first ef that finds enough. Add what it finds."""
    if OURS not in shards or not line.shared:
        return dict.fromkeys(shards, asked)
    right = answers(Edgeshard(), shards, line, asked._replace(exact=True))
    found = {}
    for engine in engines:
        for ef in EFS:
            setting = asked._replace(ef=ef)
            hits = answers(engine, shards, line, setting)
            shares = [len(a & b) / max(1, len(b)) for a, b in zip(hits, right, strict=True)]
            if np.mean(shares) >= TARGET_RECALL:
                break
        found[engine.name] = setting
        share = float(np.mean(shares))
        results.add(f"{line.task}: recall", engine.name, "", share, None, True)
        results.add(f"{line.task}: ef", engine.name, "candidates", ef)
    return found


def answers(engine: Engine, shards: Shards, line: Line, asked: Asked) -> list[set[Any]]:
    """Return what the first requests find."""
    requests = line.requests(engine.api, asked)[: line.checked]
    return [set(line.put(shards[engine.name], request)) for request in requests]


def measure(
    engines: Sequence[Engine],
    shards: Shards,
    line: Line,
    ways: dict[str, Asked],
    sizes: Sizes,
    results: Results,
) -> None:
    """Put the requests one after another, the engines taking turns."""
    for _, engine in turns(engines, sizes.search_rounds):
        requests, watch = line.requests(engine.api, ways[engine.name]), Stopwatch()
        with watch.running():
            calls = put_for_a_while(shards[engine.name], line, requests)
        results.add(line.task, engine.name, "us", watch.wall / calls * 1e6, watch.cpu / calls)


def put_for_a_while(shard: Any, line: Line, requests: Sequence[Any]) -> int:
    """Put the requests until they end or SECONDS are over; return how many there were."""
    over = time.perf_counter() + SECONDS
    for calls, request in enumerate(requests, 1):
        line.put(shard, request)
        if time.perf_counter() > over:
            return calls
    return len(requests)


# ---- many at once ----


def at_once(
    engines: Sequence[Engine],
    paths: dict[str, Path],
    ways: dict[str, Asked],
    sizes: Sizes,
    results: Results,
) -> None:
    """Let 16 callers ask again and again: coroutines of one loop, or threads."""
    for exact, count in ((False, 1_600), (True, 160)):
        task = f"{AT_ONCE} callers, {'exact' if exact else 'by graph'}"
        for _, engine in turns(engines, sizes.search_rounds):
            way = ways[engine.name]._replace(exact=exact)
            requests = list(nearest(engine.api, way, count))
            watch = CALLERS[engine.name](engine, paths[engine.name], requests)
            speed, cpu = count / watch.wall, watch.cpu / count
            results.add(task, engine.name, "queries/s", speed, cpu, True)


def nearest(api: ModuleType, asked: Asked, count: int) -> Iterator[Any]:
    """Yield so many queries."""
    params = asked.params(api)
    for at in range(count):
        vector = asked.dense[at % len(asked.dense)]
        yield api.QueryRequest(TOP, query=api.Query.Nearest(vector, DENSE), params=params)


def coroutines(engine: Engine, path: Path, requests: list[Any]) -> Stopwatch:
    """Ask as coroutines."""
    return asyncio.run(_coroutines(path, requests))


async def _coroutines(path: Path, requests: list[Any]) -> Stopwatch:
    import edge

    async with edge.EdgeShard.load(path) as shard:
        await shard.query(requests[0])
        left, watch = iter(requests), Stopwatch()

        async def caller() -> None:
            for request in left:
                await shard.query(request)

        with watch.running():
            await asyncio.gather(*[caller() for _ in range(AT_ONCE)])
    return watch


def threads(engine: Engine, path: Path, requests: list[Any]) -> Stopwatch:
    """Ask from threads."""
    shard, watch = engine.load(path), Stopwatch()
    shard.query(requests[0])
    with ThreadPoolExecutor(AT_ONCE) as pool, watch.running():
        list(pool.map(shard.query, requests))
    shard.close()
    return watch


CALLERS = {Edgeshard.name: coroutines, Qdrant.name: threads}
