"""Small shards of many segments, beside the dict of the points that live in them.

Vectors are small whole numbers (cosine: four ones, up to sign), so that every distance is exact in
float32 and ties are common.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from edge.disk.storage import Storage
from edge.model.config import EdgeConfig, EdgeOptimizersConfig
from edge.model.point import Point, ScoredPoint
from edge.model.point_id import PointId
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams, HnswIndexConfig
from edge.segment.view import ShardView
from tests.segment.made import after, built, cut, start

DISTANCES = {
    "cosine": Distance.Cosine,
    "dot": Distance.Dot,
    "euclid": Distance.Euclid,
    "manhattan": Distance.Manhattan,
}
SIZES = {"cosine": 6, "dot": 17, "euclid": 5, "manhattan": 3}
NAMES = list(SIZES)
COLOURS = ["red", "green", "blue"]


class Known(NamedTuple):
    """A point as it should be found."""

    version: int
    vectors: dict[str, NDArray[np.float32]]
    payload: dict[str, Any]


class Shard(NamedTuple):
    """A view, and all that lives in it."""

    view: ShardView
    points: dict[PointId, Known]


def config(full_scan_threshold: int = 0, indexing_threshold: int = 1) -> EdgeConfig:
    return EdgeConfig(
        {name: EdgeVectorParams(SIZES[name], DISTANCES[name]) for name in NAMES},
        hnsw_config=HnswIndexConfig(8, 64, full_scan_threshold),
        optimizers=EdgeOptimizersConfig(indexing_threshold=indexing_threshold),
    )


def id_of(number: int) -> PointId:
    """Two thirds of the ids are ints."""
    return UUID(int=(number % 7) << 64 | number) if number % 3 == 1 else number


def order_of(point_id: PointId) -> tuple[int, int]:
    return (1, point_id.int) if isinstance(point_id, UUID) else (0, point_id)


def vector(name: str, random: np.random.Generator) -> NDArray[np.float32]:
    size = SIZES[name]
    if name != "cosine":
        return random.integers(-3, 4, size).astype(np.float32)
    signs = np.zeros(size, np.float32)
    signs[random.permutation(size)[:4]] = random.choice([-1, 1], 4)
    return signs


def point(number: int, random: np.random.Generator) -> Point:
    vectors = {name: vector(name, random) for name in NAMES if random.random() < 0.85}
    payload = {"n": number, "colour": COLOURS[number % 3], "rare": number % 97 == 0}
    return Point(id_of(number), vectors, payload if number % 11 else None)


class Growing:
    """Makes a Shard by real operations."""

    def __init__(self, shard_config: EdgeConfig, seed: int = 1) -> None:
        self.random = np.random.default_rng(seed)
        self.view = start(shard_config)
        self.points: dict[PointId, Known] = {}

    def upsert(self, numbers: list[int]) -> None:
        made = [point(number, self.random) for number in numbers]
        self.view = after(self.view, UpdateOperation.upsert_points(made))
        for each in made:
            vectors = each.vector if isinstance(each.vector, dict) else {"": each.vector}
            self.points[each.id] = Known(self.view.sequence, vectors, each.payload or {})

    def delete(self, numbers: list[int]) -> None:
        gone = [id_of(number) for number in numbers]
        self.view = after(self.view, UpdateOperation.delete_points(gone))
        for point_id in gone:
            self.points.pop(point_id, None)

    def cut(self) -> None:
        self.view = cut(self.view)

    def build(self, storage: Storage, graphs: list[str]) -> None:
        self.view = built(self.view, storage, graphs)

    def shard(self) -> Shard:
        return Shard(self.view, dict(self.points))


def spread(storage: Storage, shard_config: EdgeConfig, graphs: list[str]) -> Shard:
    """Four segments: built with graphs, built without, an old tail, the tail. Each has its dead,
    and points that have moved on to a later segment."""
    growing = Growing(shard_config)
    growing.upsert(list(range(240)))
    growing.delete(list(range(0, 240, 9)))
    growing.build(storage, graphs)
    growing.upsert([*range(200, 300), *range(0, 30, 3)])
    growing.build(storage, [])
    growing.upsert([*range(290, 360), *range(30, 60, 4)])
    growing.delete([*range(100, 110), *range(295, 300)])
    growing.cut()
    growing.upsert([*range(350, 420), *range(61, 90, 5)])
    growing.delete([360, 361, 64])
    return growing.shard()


# -- the oracle


def score(name: str, query: NDArray[np.float32], row: NDArray[np.float32]) -> np.float32:
    if name == "cosine":  # both have four ones: of length two
        return np.float32(np.dot(query, row) / 4)
    if name == "dot":
        return np.float32(np.dot(query, row))
    if name == "euclid":
        return np.sqrt(np.float32(((query - row) ** 2).sum()))
    return np.float32(np.abs(query - row).sum())


def larger_is_better(name: str) -> bool:
    return name in ("cosine", "dot")


def nearest(
    points: dict[PointId, Known], name: str, query: NDArray[np.float32]
) -> list[tuple[PointId, float]]:
    """Everything that has the vector, best first, ties by id."""
    sign = -1 if larger_is_better(name) else 1
    rated = [
        (i, score(name, query, p.vectors[name])) for i, p in points.items() if name in p.vectors
    ]
    rated.sort(key=lambda hit: (sign * hit[1], order_of(hit[0])))
    return [(point_id, float(value)) for point_id, value in rated]


def pairs(hits: list[ScoredPoint]) -> list[tuple[PointId, float]]:
    return [(hit.id, hit.score) for hit in hits]
