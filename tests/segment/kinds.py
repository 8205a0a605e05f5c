"""A shard with every kind of vector, points that lack some of them, and all that a view shows."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge.model.choice import Memory
from edge.model.config import EdgeConfig
from edge.model.point import Point
from edge.model.point_id import PointId, decode_ids
from edge.model.query import Query, SearchParams
from edge.model.request import QueryRequest
from edge.model.sparse import SparseVector
from edge.model.vector_params import (
    Distance,
    EdgeSparseVectorParams,
    EdgeVectorParams,
    HnswIndexConfig,
    Modifier,
    MultiVectorComparator,
    MultiVectorConfig,
    VectorStorageDatatype,
)
from edge.query.answer import answer
from edge.segment.view import SegmentView, ShardView

D = VectorStorageDatatype
SEVERAL = MultiVectorConfig(MultiVectorComparator.MaxSim)
DENSE = {
    "": EdgeVectorParams(6, Distance.Euclid),
    "half": EdgeVectorParams(5, Distance.Dot, datatype=D.Float16),
    "bytes": EdgeVectorParams(33, Distance.Manhattan, datatype=D.Uint8),
    "turbo": EdgeVectorParams(20, Distance.Cosine, datatype=D.Turbo8),
    "turbo16": EdgeVectorParams(3, Distance.Euclid, datatype=D.Turbo16),
    "many": EdgeVectorParams(4, Distance.Dot, multivector_config=SEVERAL),
    "tokens": EdgeVectorParams(17, Distance.Cosine, multivector_config=SEVERAL, datatype=D.Float16),
}
SPARSE = {
    "words": EdgeSparseVectorParams(modifier=Modifier.Idf),
    "few": EdgeSparseVectorParams(datatype=D.Uint8),
    "shorter": EdgeSparseVectorParams(datatype=D.Float16),
}
SEVERAL_A_POINT = ("many", "tokens")
NAMES = (*DENSE, *SPARSE)
HNSW = HnswIndexConfig(m=8, ef_construct=64, full_scan_threshold=0)


def config(memory: Memory | None = None) -> EdgeConfig:
    """All of them in one place."""
    return EdgeConfig(
        {name: replaced(params, memory) for name, params in DENSE.items()},
        {name: replaced(params, memory) for name, params in SPARSE.items()},
        hnsw_config=HNSW,
    )


def replaced(params: Any, memory: Memory | None) -> Any:
    fields = {name: getattr(params, name) for name in params.__struct_fields__}
    return type(params)(**{**fields, "memory": memory})


def vector(name: str, random: np.random.Generator) -> Any:
    """Any vector of this name."""
    if name in SPARSE:
        dims = random.choice(40, random.integers(0, 7), replace=False)
        return SparseVector(dims, random.normal(size=len(dims)))
    params = DENSE[name]
    scale = 300 if params.datatype is D.Uint8 else 3
    if name in SEVERAL_A_POINT:
        return random.normal(size=(random.integers(1, 5), params.size)) * scale
    return random.normal(size=params.size) * scale


def point(point_id: PointId, seed: int, *, lacks: tuple[str, ...] | None = None) -> Point:
    """With a payload, and without some vectors: drawn, or those that are named."""
    random = np.random.default_rng(seed)
    if lacks is None:
        lacks = tuple(name for name in NAMES if random.random() < 0.2)
    vectors = {name: vector(name, random) for name in NAMES if name not in lacks}
    return Point(point_id, vectors, {"n": seed} if seed % 3 else None)


def plain(found: Any) -> Any:
    """A vector that is shown, as what == compares."""
    return (found.indices, found.values) if isinstance(found, SparseVector) else found


def shown(view: SegmentView, names: tuple[str, ...] = NAMES) -> list[Any]:
    """All that lives in the view, in the order of its offsets."""
    live = view.live()
    columns = {name: view.vectors_at(live, name) for name in names}
    return [
        (
            point_id,
            int(view.segment.versions[offset]),
            view.payloads([offset])[0],
            {n: plain(found[place]) for n, found in columns.items() if found[place] is not None},
        )
        for place, (point_id, offset) in enumerate(
            zip(decode_ids(view.ids[live]), live.tolist(), strict=True)
        )
    ]


def everything(shard: ShardView, names: tuple[str, ...] = NAMES) -> list[Any]:
    return [row for view in shard.segments for row in shown(view, names)]


def scores(shard: ShardView, *, exact: bool = True, limit: int = 1000) -> dict[str, list[Any]]:
    """(id, score) of the nearest to some vectors of each name."""
    found: dict[str, list[Any]] = {}
    for name in NAMES:
        random = np.random.default_rng(len(name))
        params = SearchParams(exact=exact, hnsw_ef=1000)
        for _ in range(3):
            query = Query.Nearest(vector(name, random), name)
            hits = answer(shard, QueryRequest(limit, query=query, params=params))
            found.setdefault(name, []).append([(hit.id, hit.score) for hit in hits])
    return found
