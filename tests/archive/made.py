"""Shards of every kind of vector for the tests of snapshots, and what they hold, to compare."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from edge import (
    Distance,
    EdgeConfig,
    EdgeOptimizersConfig,
    EdgeSparseVectorParams,
    EdgeVectorParams,
    HnswIndexConfig,
    MultiVectorComparator,
    MultiVectorConfig,
    Point,
    Query,
    QueryRequest,
    ScrollRequest,
    SearchParams,
    SparseVector,
    UpdateOperation,
    VectorStorageDatatype,
)
from edge.query.answer import answer
from edge.segment.view import ShardView
from edge.store.store import Store, Submission

ALL = 100_000


def config(**options: Any) -> EdgeConfig:
    """Every kind of vector; whatever is sealed is worth a graph."""
    return EdgeConfig(
        vectors={
            "": EdgeVectorParams(6, Distance.Cosine),
            "half": EdgeVectorParams(3, Distance.Euclid, datatype=VectorStorageDatatype.Float16),
            "many": EdgeVectorParams(
                2, Distance.Dot, multivector_config=MultiVectorConfig(MultiVectorComparator.MaxSim)
            ),
        },
        sparse_vectors={"words": EdgeSparseVectorParams()},
        hnsw_config=HnswIndexConfig(m=4, ef_construct=16, full_scan_threshold=10),
        optimizers=EdgeOptimizersConfig(indexing_threshold=1, default_segment_number=2),
        **options,
    )


def point(number: int, salt: int = 0) -> Point:
    draw = np.random.default_rng([number, salt])
    vectors: dict[str, Any] = {"": draw.normal(size=6).tolist()}
    if number % 3:
        vectors["half"] = draw.normal(size=3).tolist()
    if number % 4:
        vectors["many"] = draw.normal(size=(1 + number % 3, 2)).tolist()
    if number % 5:
        vectors["words"] = SparseVector([number % 7, 10 + number % 11], [1.5, -2.0])
    return Point(number, vectors, {"n": number, "salt": salt, "word": f"w{number % 4}"})


def upsert(numbers: Iterable[int], salt: int = 0) -> UpdateOperation:
    return UpdateOperation.upsert_points([point(number, salt) for number in numbers])


def commit(store: Store, *operations: UpdateOperation) -> None:
    for outcome in store.commit([Submission(operation) for operation in operations]):
        assert isinstance(outcome, int), outcome


def seal(store: Store) -> None:
    job = store.seal()
    if job is not None:
        store.finish(job, job.run(store.storage, lambda done: None))


def optimize(store: Store) -> None:
    seal(store)
    while (plan := store.plan(durable=True)) is not None:
        job = store.start(plan)
        store.finish(job, job.run(store.storage, lambda done: None))


def held_points(view: ShardView) -> list[Any]:
    """All that a view holds and answers, to be compared."""
    records, _ = answer(view, ScrollRequest(limit=ALL, with_payload=True, with_vector=True))
    nearest = QueryRequest(7, query=Query.Nearest([1.0] * 6), params=SearchParams(exact=True))
    found = [(hit.id, hit.score, hit.version) for hit in answer(view, nearest)]
    points = [(record.id, record.payload, repr(record.vector)) for record in records]
    return [points, found, sorted(view.schema), view.births, view.config.names()]
