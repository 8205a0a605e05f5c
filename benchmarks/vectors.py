"""Every kind of vector beside qdrant-edge: sparse, multivectors, small types, quantized.

Each kind is one shard that is filled, optimized, closed and loaded in a fresh process, which asks
what another has written down: so its resident memory is that of the engine alone. Searches sweep
what trades speed for recall, and the table shows the cheapest setting that reaches TARGET_RECALL.
Beside them stand bare indexes of other libraries, where these are installed (see `bare`).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks import bare, data
from benchmarks.engines import ENGINES, Engine
from benchmarks.fresh import answered, resident_mb, size_of
from benchmarks.tasks import QUICK, TARGET_RECALL, Results, Sizes, Stopwatch, timed, turns

TOP = 10
EFS = (16, 32, 64, 128, 256)
OVERSAMPLINGS = (1.0, 2.0, 4.0)
WIDE_EFS, WIDE_OVERSAMPLINGS = (64, 128, 256), (4.0, 8.0, 16.0)
"""One bit ranks so roughly that many have to be rescored."""
BATCH = 500
WARM_ROWS = 3_000
TOKENS, TOKEN_DIM, QUERY_TOKENS = 16, 128, 16
LONG_ROWS, LONG_DIMS, LONG_VALUES, LONG_QUERY_VALUES = 50_000, 30_000, 120, 20
"""Of a long sparse vector some values fall together, so that a hundred are left."""


class Setting(NamedTuple):
    """One way to search: candidates of the graph, and how many times the limit is rescored."""

    ef: int | None
    oversampling: float | None = None


class Kind(NamedTuple):
    """A kind of vector: how a shard is configured for it, and how it is searched."""

    title: str
    configure: Callable[[Engine], Any]
    settings: tuple[Setting, ...]
    exact: bool = False
    bare: tuple[str, ...] = ()
    """Indexes of other libraries that hold the same."""


def vectors(engines: Sequence[Engine], sizes: Sizes, folder: Path, results: Results) -> None:
    """Measure each kind, the engines taking turns."""
    rows = 3_000 if sizes is QUICK else None
    rounds = 1 if sizes is QUICK else 3
    for name, kind in KINDS.items():
        written = folder / f"questions-{name}"
        served("write_questions", engines[0], written, kind=name, rows=rows, queries=sizes.queries)
        for engine in engines:
            warm(engine, name, folder / f"{engine.name}-{name}-warm", written)
        for turn, engine in turns(engines, rounds):
            path = folder / f"{engine.name}-{name}"
            if turn == 0:
                built = served("build", engine, path, kind=name, rows=rows)
                report_build(kind.title, engine.name, built, results)
            found = served("ask", engine, path, kind=name, questions=str(written))
            report_search(kind.title, engine.name, found, results)
        for index in kind.bare:
            found = served("bare", engines[0], written, index=index, rows=rows)
            if "missing" in found:
                say(f"  {index}: left out, there is no package {found['missing']}")
                continue
            task = f"{kind.title}: optimize"
            results.add(task, index, "s", found["build"], found["build_cpu"])
            report_search(kind.title, index, found, results)


def warm(engine: Engine, kind: str, path: Path, written: Path) -> None:
    """Use a kind once in processes that nobody measures: what compiles kernels takes seconds of
    CPU and tens of megabytes, once an installation."""
    served("build", engine, path, kind=kind, rows=WARM_ROWS)
    served("ask", engine, path, kind=kind, questions=str(written))


def say(words: str) -> None:
    """Tell whoever waits."""
    print(words, file=sys.stderr, flush=True)


def report_build(title: str, engine: str, built: dict[str, Any], results: Results) -> None:
    """Add what writing and indexing took."""
    results.add(f"{title}: write", engine, "s", built["write"], built["write_cpu"])
    results.add(f"{title}: optimize", engine, "s", built["optimize"], built["optimize_cpu"])
    results.add(f"{title}: on disk (allocated)", engine, "MB", built["disk"])


def report_search(title: str, engine: str, found: dict[str, Any], results: Results) -> None:
    """Add the speed of the first setting that reaches the recall, and the memory of serving."""
    best = next(
        (one for one in found["swept"] if one["recall"] >= TARGET_RECALL), found["swept"][-1]
    )
    task = f"{title}: search at recall@{TOP} >= {TARGET_RECALL}"
    results.add(task, engine, "queries/s", best["speed"], best["cpu"], True)
    results.add(f"{title}: recall@{TOP} there", engine, "", best["recall"], None, True)
    results.add(f"{title}: resident while serving", engine, "MB", found["resident"])
    results.add(f"{title}: not of files", engine, "MB", found["anonymous"])


def served(task: str, engine: Engine, path: Path, **options: Any) -> dict[str, Any]:
    """Run a task in a fresh process; return its answer."""
    return answered("benchmarks.vectors", task, engine.name, path, **options)


# ---- configs ----


def indexed(engine: Engine, m: int = 16, **parts: Any) -> Any:
    """A config whose graphs (m 0: none) are built from the first kilobytes on, in one segment."""
    api = engine.api
    return api.EdgeConfig(
        hnsw_config=api.HnswIndexConfig(m, 100, 10, max_indexing_threads=1),
        optimizers=api.EdgeOptimizersConfig(
            default_segment_number=1, max_segment_size=4_000_000, indexing_threshold=100
        ),
        **parts,
        **engine.extra_config(),
    )


def dense(engine: Engine, **parts: Any) -> Any:
    """Cosine vectors of 384."""
    api = engine.api
    return indexed(engine, vectors=api.EdgeVectorParams(384, api.Distance.Cosine, **parts))


def as_float16(engine: Engine) -> Any:
    """Float16."""
    return dense(engine, datatype=engine.api.VectorStorageDatatype.Float16)


def as_int8(engine: Engine) -> Any:
    """Int8 in memory beside the originals."""
    api = engine.api
    small = api.ScalarQuantizationConfig(api.ScalarType.Int8, quantile=0.99, always_ram=True)
    return dense(engine, quantization_config=small)


def as_binary(engine: Engine) -> Any:
    """One bit in memory beside the originals."""
    api = engine.api
    small = api.BinaryQuantizationConfig(
        always_ram=True,
        query_encoding=api.BinaryQuantizationQueryEncoding.Scalar8Bits,
    )
    return dense(engine, quantization_config=small)


def as_sparse(engine: Engine) -> Any:
    """Sparse vectors of Bm25, weighed by how rare a word is."""
    api = engine.api
    return indexed(
        engine, sparse_vectors={"s": api.EdgeSparseVectorParams(modifier=api.Modifier.Idf)}
    )


def as_long(engine: Engine, **parts: Any) -> Any:
    """Sparse vectors as they are."""
    return indexed(engine, sparse_vectors={"s": engine.api.EdgeSparseVectorParams(**parts)})


def as_long_float16(engine: Engine) -> Any:
    """The same in float16."""
    return as_long(engine, datatype=engine.api.VectorStorageDatatype.Float16)


def as_multi(engine: Engine) -> Any:
    """Sixteen vectors of 128 a point, compared one by one."""
    api = engine.api
    many = api.MultiVectorConfig(api.MultiVectorComparator.MaxSim)
    params = api.EdgeVectorParams(TOKEN_DIM, api.Distance.Cosine, multivector_config=many)
    return indexed(engine, m=0, vectors={"m": params})


GRAPH = tuple(Setting(ef) for ef in EFS)
RESCORED = tuple(Setting(ef, factor) for ef in EFS for factor in OVERSAMPLINGS)
WIDELY = tuple(Setting(ef, factor) for ef in WIDE_EFS for factor in WIDE_OVERSAMPLINGS)

KINDS = {
    "float32": Kind("float32", dense, GRAPH, bare=("hnswlib", "usearch f32")),
    "float16": Kind("float16", as_float16, GRAPH, bare=("usearch f16",)),
    "int8": Kind("int8, rescored", as_int8, RESCORED, bare=("usearch i8",)),
    "binary": Kind("binary, rescored", as_binary, WIDELY),
    "sparse": Kind("sparse, Bm25 with Idf", as_sparse, (Setting(None),), exact=True),
    "long": Kind("sparse, 100 values", as_long, (Setting(None),), exact=True),
    "long float16": Kind("sparse, 100 of float16", as_long_float16, (Setting(None),), exact=True),
    "multi": Kind("MaxSim 16 x 128, exact", as_multi, (Setting(None),), exact=True),
}

NAMES = {"sparse": "s", "long": "s", "long float16": "s", "multi": "m"}
"""What the vector of a kind is called that is not the default one."""

# ---- data ----


def rows_of(kind: str, engine: Engine, rows: int | None) -> Iterator[list[Any]]:
    """Yield batches of points."""
    point = engine.api.Point
    if kind in MAKERS:
        points: list[Any] = []
        for i, vector in enumerate(MAKERS[kind](engine, rows)):
            points.append(point(i, vector))
            if len(points) == BATCH:
                yield points
                points = []
        if points:
            yield points
        return
    for first, block, _ in data.stream(rows, BATCH):
        yield [point(first + i, row) for i, row in enumerate(block.tolist())]


def texts(rows: int | None) -> list[str]:
    """The texts of the data set."""
    found = data.load(rows, 1)
    return [str(payload.get("text", "")) for payload in found.payloads]


def sparse_vectors(engine: Engine, rows: int | None) -> Iterator[dict[str, Any]]:
    """What the engine's own Bm25 makes of the texts."""
    embed = engine.api.Bm25().embed_document
    for text in texts(rows):
        yield {"s": embed(text)}


def long_vectors(engine: Engine, rows: int | None) -> Iterator[dict[str, Any]]:
    """What a model that expands texts makes: some dimensions often, values of all sizes."""
    for vector in long_ones(engine, min(rows or LONG_ROWS, LONG_ROWS), LONG_VALUES, seed=1):
        yield {"s": vector}


def long_ones(engine: Engine, count: int, values: int, seed: int) -> Iterator[Any]:
    """Yield so many sparse vectors of that many values, give or take a quarter."""
    rng = np.random.default_rng(seed)
    often = np.cumsum(np.arange(1, LONG_DIMS + 1) ** -0.9)
    for _ in range(count):
        drawn = rng.random(max(1, int(rng.normal(values, values / 4)))) * often[-1]
        dims = np.unique(np.searchsorted(often, drawn))
        weights = rng.lognormal(-0.5, 0.7, len(dims))
        yield engine.api.SparseVector(dims.tolist(), weights.tolist())


def multi_vectors(engine: Engine, rows: int | None) -> Iterator[dict[str, Any]]:
    """Clustered tokens, as late interaction makes them."""
    count = min(rows or 10_000, 10_000)
    for block in token_blocks(count, seed=1):
        yield {"m": block.tolist()}


def token_blocks(count: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """Yield float32[TOKENS, TOKEN_DIM] of so many points."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((500, TOKEN_DIM), np.float32)
    for _ in range(count):
        near = centres[rng.integers(0, len(centres), TOKENS)]
        yield near + 0.7 * rng.standard_normal(near.shape, np.float32)


MAKERS: dict[str, Callable[[Engine, int | None], Iterator[dict[str, Any]]]] = {
    "sparse": sparse_vectors,
    "long": long_vectors,
    "long float16": long_vectors,
    "multi": multi_vectors,
}

# ---- what the fresh process does ----


def build(engine: Engine, path: Path, kind: str, rows: int | None) -> dict[str, Any]:
    """Write and index; making the points is outside the time."""
    shard = engine.create(path, KINDS[kind].configure(engine))
    watch = Stopwatch()
    upsert = engine.api.UpdateOperation.upsert_points
    for points in rows_of(kind, engine, rows):
        with watch.running():
            shard.update(upsert(points))
    _, optimized = timed(shard.optimize)
    shard.close()
    _, allocated = size_of(path)
    return {
        "write": watch.wall,
        "write_cpu": watch.cpu,
        "optimize": optimized.wall,
        "optimize_cpu": optimized.cpu,
        "disk": allocated,
    }


def ask(engine: Engine, path: Path, kind: str, questions: str) -> dict[str, Any]:
    """Load, warm up, sweep the settings."""
    asked, truth = read_questions(kind, engine, Path(questions))
    before = resident_mb()
    shard = engine.load(path)
    swept: list[dict[str, Any]] = []
    for setting in KINDS[kind].settings:
        requests = [request_of(engine, kind, vector, setting) for vector in asked]
        for request in requests[:20]:
            shard.query(request)
        watch = Stopwatch()
        with watch.running():
            answers = [[hit.id for hit in shard.query(request)] for request in requests]
        swept.append(one_setting(answers, truth, watch, setting))
    swept.sort(key=lambda one: one["cpu"])  # the cheapest that reaches it counts
    after = resident_mb()
    shard.close()
    return {"swept": swept, **grown(before, after)}


def one_setting(
    answers: list[list[int]],
    truth: NDArray[np.int64] | None,
    watch: Stopwatch,
    setting: Sequence[Any],
) -> dict[str, Any]:
    """Return what a sweep says of one setting."""
    return {
        "recall": 1.0 if truth is None else data.recall(answers, truth),
        "speed": len(answers) / watch.wall,
        "cpu": watch.cpu / len(answers),
        "setting": list(setting),
    }


def grown(before: tuple[float, float], after: tuple[float, float]) -> dict[str, float]:
    """Return the megabytes that became resident, and those of them that no file stands behind."""
    return {"resident": after[0] - before[0], "anonymous": after[1] - before[1]}


def ask_bare(engine: Engine, path: Path, index: str, rows: int | None) -> dict[str, Any]:
    """Fill a bare index, sweep its ef; `path` is where the questions are."""
    asked, truth = read_questions("float32", engine, path)
    before = resident_mb()
    try:
        made = bare.INDEXES[index]()
    except ModuleNotFoundError as error:
        return {"missing": error.name}
    building = Stopwatch()
    for first, block, _ in data.stream(rows, BATCH):
        with building.running():
            made.add(np.arange(first, first + len(block)), block)
    vectors = np.array(asked, np.float32)
    swept = []
    for ef in EFS:
        made.set_ef(ef)
        watch = Stopwatch()
        with watch.running():
            answers = [made.search(vector, TOP) for vector in vectors]
        swept.append(one_setting(answers, truth, watch, (ef,)))
    swept.sort(key=lambda one: one["cpu"])
    size = grown(before, resident_mb())
    return {"swept": swept, "build": building.wall, "build_cpu": building.cpu, **size}


def write_questions(
    engine: Engine, path: Path, kind: str, rows: int | None, queries: int
) -> dict[str, Any]:
    """Write down what is asked, and the exact answers where a search may miss some."""
    if kind == "sparse":
        found = texts(rows)[:: max(1, len(texts(rows)) // queries)]
        path.write_text(json.dumps(found), encoding="utf-8")
    elif NAMES.get(kind) == "s":
        path.write_text(json.dumps(queries), encoding="utf-8")
    elif kind == "multi":
        path.write_text(json.dumps(min(queries, 100)), encoding="utf-8")
    else:
        known = data.load(rows, queries)
        with path.open("wb") as file:
            np.savez(file, asked=known.queries, truth=known.truth)
    return {}


def read_questions(
    kind: str, engine: Engine, path: Path
) -> tuple[list[Any], NDArray[np.int64] | None]:
    """Return what is asked, and the exact answers where a search may miss some."""
    if kind == "sparse":
        embed = engine.api.Bm25().embed_query
        return [embed(text) for text in json.loads(path.read_text(encoding="utf-8"))], None
    if NAMES.get(kind) == "s":
        count = json.loads(path.read_text(encoding="utf-8"))
        return list(long_ones(engine, count, LONG_QUERY_VALUES, seed=2)), None
    if kind == "multi":
        blocks = token_blocks(json.loads(path.read_text(encoding="utf-8")), seed=2)
        return [block[:QUERY_TOKENS].tolist() for block in blocks], None
    with np.load(path) as found:
        return found["asked"].tolist(), found["truth"]


def request_of(engine: Engine, kind: str, vector: Any, setting: Setting) -> Any:
    """One query for the ids of the ten best."""
    api = engine.api
    using = NAMES.get(kind)
    small = None
    if setting.oversampling is not None:
        small = api.QuantizationSearchParams(rescore=True, oversampling=setting.oversampling)
    exact = KINDS[kind].exact
    params = api.SearchParams(hnsw_ef=setting.ef, exact=exact, quantization=small)
    return api.QueryRequest(limit=TOP, query=api.Query.Nearest(vector, using), params=params)


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    "build": build,
    "ask": ask,
    "bare": ask_bare,
    "write_questions": write_questions,
}


def main() -> None:
    """Do one task and print its answer."""
    task, name, path, options = sys.argv[1:]
    began = time.perf_counter()
    answer = TASKS[task](ENGINES[name](), Path(path), **json.loads(options))
    print(json.dumps({**answer, "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
