"""A shard of several segments with vectors of every kind, beside the dict of what lives there, and
how like vectors are to each other by definition.

Vectors are small whole numbers (of cosine: four ones, up to sign), so that all likenesses are exact
in float32 and ties are common.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

import numpy as np

from edge.disk.storage import Storage
from edge.model.config import EdgeConfig, EdgeOptimizersConfig
from edge.model.point import Point
from edge.model.point_id import PointId
from edge.model.query import SearchParams
from edge.model.request import QueryRequest
from edge.model.schema import TextIndexParams
from edge.model.sparse import SparseVector
from edge.model.update import UpdateOperation
from edge.model.vector_params import (
    Distance,
    EdgeSparseVectorParams,
    EdgeVectorParams,
    HnswIndexConfig,
    Modifier,
    MultiVectorComparator,
    MultiVectorConfig,
)
from edge.query.answer import answer
from edge.segment.view import ShardView
from tests.segment.made import after, built, cut, start

SEVERAL = MultiVectorConfig(MultiVectorComparator.MaxSim)
DENSE = {
    "cosine": EdgeVectorParams(6, Distance.Cosine),
    "dot": EdgeVectorParams(5, Distance.Dot),
    "euclid": EdgeVectorParams(4, Distance.Euclid),
    "manhattan": EdgeVectorParams(3, Distance.Manhattan),
    "rows": EdgeVectorParams(3, Distance.Dot, multivector_config=SEVERAL),
    "spots": EdgeVectorParams(2, Distance.Euclid, multivector_config=SEVERAL),
}
FAR = ("euclid", "manhattan", "spots")
"""Where the lesser score of Nearest is the better one."""
NAMES = [*DENSE, "words"]
DIMENSIONS = 9
CONFIG = EdgeConfig(
    DENSE,
    {
        "words": EdgeSparseVectorParams(),
        "rare": EdgeSparseVectorParams(modifier=Modifier.Idf),
    },
    hnsw_config=HnswIndexConfig(8, 64, 0),
    optimizers=EdgeOptimizersConfig(indexing_threshold=1),
)
U = UpdateOperation
EXACT = SearchParams(exact=True)
ALL = 1000


class Known(NamedTuple):
    """A point as it should be found."""

    vectors: dict[str, Any]
    payload: dict[str, Any]


class Shard(NamedTuple):
    """A view, and all that lives in it."""

    view: ShardView
    points: dict[PointId, Known]

    def ask(self, query: Any, limit: int = ALL, **settings: Any) -> list[tuple[PointId, float]]:
        """(id, score) of the points that a query finds by looking at all."""
        settings.setdefault("params", EXACT)
        hits = answer(self.view, QueryRequest(limit, query=query, **settings))
        return [(hit.id, hit.score) for hit in hits]


def id_of(number: int) -> PointId:
    return UUID(int=(number % 7) << 64 | number) if number % 3 == 1 else number


def order_of(point_id: PointId) -> tuple[int, int]:
    return (1, point_id.int) if isinstance(point_id, UUID) else (0, point_id)


def vector(name: str, random: np.random.Generator) -> Any:
    if name in ("words", "rare"):
        dimensions = np.sort(random.choice(DIMENSIONS, random.integers(0, 6), replace=False))
        return SparseVector(dimensions, random.integers(-2, 4, len(dimensions)))
    size = DENSE[name].size
    if name == "cosine":
        signs = np.zeros(size, np.float32)
        signs[random.permutation(size)[:4]] = random.choice([-1, 1], 4)
        return signs
    shape = (random.integers(1, 4), size) if DENSE[name].multivector_config else size
    return random.integers(-3, 4, shape).astype(np.float32)


def payload(number: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "n": number,
        "room": ["hall", "kitchen", "attic"][number % 3],
        "tags": [number % 4, "red", number % 4][: number % 4],
        "note": "cup " * (1 + number % 5),
    }
    return found if number % 11 else {}


class _Growing:
    def __init__(self) -> None:
        self.random = np.random.default_rng(1)
        self.view = after(
            start(CONFIG), U.create_field_index("note", TextIndexParams(scoring=True))
        )
        self.points: dict[PointId, Known] = {}

    def put(self, *numbers: int) -> None:
        points = []
        for number in numbers:
            names = [*NAMES, "rare"]
            vectors = {n: vector(n, self.random) for n in names if self.random.random() < 0.85}
            known = self.points[id_of(number)] = Known(vectors, payload(number))
            points.append(Point(id_of(number), *known))
        self.view = after(self.view, U.upsert_points(points))

    def delete(self, *numbers: int) -> None:
        gone = [id_of(number) for number in numbers]
        self.view = after(self.view, U.delete_points(gone))
        for point_id in gone:
            self.points.pop(point_id, None)


def spread(storage: Storage) -> Shard:
    """Four segments: built with graphs, built without, an old tail, the tail. Each has its dead,
    and points that have moved on to a later segment."""
    growing = _Growing()
    growing.put(*range(90))
    growing.delete(*range(0, 90, 9))
    growing.view = built(growing.view, storage, list(DENSE))
    growing.put(*range(80, 115), *range(0, 20, 3))
    growing.view = built(growing.view, storage)
    growing.put(*range(110, 140))
    growing.delete(*range(40, 44), *range(112, 115))
    growing.view = cut(growing.view)
    growing.put(*range(135, 160), *range(46, 60, 5))
    growing.delete(140, 46)
    return Shard(growing.view, growing.points)


# -- by definition


def alike(name: str, one: Any, other: Any) -> np.float32:
    """How like `other` is to the example `one`: minus their distance."""
    if isinstance(one, SparseVector):
        weights = dict(zip(other.indices, other.values, strict=True))
        pairs = zip(one.indices, one.values, strict=True)
        return np.float32(sum(value * weights.get(index, 0.0) for index, value in pairs))
    several = zip(np.atleast_2d(one), strict=True)
    return np.float32(
        sum(max(_alike(name, q, x) for x in np.atleast_2d(other)) for (q,) in several)
    )


def _alike(name: str, one: Any, other: Any) -> float:
    if name in ("dot", "rows"):
        return float(one @ other)
    if name == "cosine":
        return float(one @ other) / 4  # both are of length two
    if name == "manhattan":
        return -float(np.abs(one - other).sum())
    return -float(((one - other) ** 2).sum())


def score_of(name: str, likeness: float) -> float:
    """The score of Nearest."""
    if name in ("euclid", "spots"):
        return float(np.sqrt(np.float32(-likeness)))
    return float(-likeness if name == "manhattan" else likeness)


def having(shard: Shard, name: str) -> dict[PointId, Any]:
    return {i: known.vectors[name] for i, known in shard.points.items() if name in known.vectors}


def by_score(scores: dict[PointId, float], least_first: bool = False) -> list[PointId]:
    """Best first, ties by id."""
    sign = 1 if least_first else -1
    return sorted(scores, key=lambda one: (sign * scores[one], order_of(one)))


def examples(name: str, count: int, seed: int = 3) -> list[Any]:
    random = np.random.default_rng(seed)
    found = [vector(name, random) for _ in range(99)]
    if name == "words":
        found = [one for one in found if len(one.indices) > 2]
    return found[:count]
