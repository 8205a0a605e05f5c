"""Shards of many segments with indexed payload fields, beside the dict of what lives there.

One history, and the moment at which the indexes are asked for: "never", "first" (every segment has
them), "between" (old segments lack them), "last" (only the tail knows of them, and not all).
"""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

import numpy as np

from edge.disk.storage import Storage
from edge.model.config import EdgeConfig, EdgeOptimizersConfig
from edge.model.filter import FieldCondition, Filter, MatchValue, RangeFloat
from edge.model.json_path import parse, values
from edge.model.point_id import PointId
from edge.model.schema import IntegerIndexParams, PayloadSchemaType, TextIndexParams
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams, HnswIndexConfig
from edge.payload.field_index import flattened
from edge.segment.view import ShardView
from tests.segment.made import after, built, cut, start

MOMENTS = ["never", "first", "between", "last"]
CONFIG = EdgeConfig(
    EdgeVectorParams(4, Distance.Dot),
    hnsw_config=HnswIndexConfig(8, 64, 0),
    optimizers=EdgeOptimizersConfig(indexing_threshold=1),
)
U, K = UpdateOperation, PayloadSchemaType
A_UUID = "0000000a-0000-0000-0000-00000000000f"
INDEXES = {
    "room": K.Keyword,
    "n": K.Integer,
    "size": K.Float,
    "ok": K.Bool,
    "at": K.Datetime,
    "tag": K.Uuid,
    "parts[].n": IntegerIndexParams(),
    "note": TextIndexParams(scoring=True, phrase_matching=True),
}
IN_HALL = Filter(must=[FieldCondition("room", match=MatchValue("hall"))])
FEW = Filter(must=[FieldCondition("n", range=RangeFloat(gte=20, lt=60))])
OPEN = Filter(must=[FieldCondition("other", match=MatchValue(1))])
FILTERS: dict[str, Filter | None] = {"none": None, "hall": IN_HALL, "few": FEW, "open": OPEN}


class Shard(NamedTuple):
    """A view, and the payloads of all that lives in it."""

    view: ShardView
    points: dict[PointId, dict[str, Any]]


def id_of(number: int) -> PointId:
    return UUID(int=(number % 5) << 64 | number) if number % 3 == 1 else number


def rank_of(point_id: PointId) -> tuple[int, int]:
    return (1, point_id.int) if isinstance(point_id, UUID) else (0, point_id)


def payload(number: int) -> dict[str, Any]:
    """Most values have a place in an index; every 13th or so has not, or is an array."""
    found: dict[str, Any] = {
        "room": ["hall", "kitchen", "größe"][number % 3],
        "n": number % 40,
        "size": [0.5, 2, -1.25, 0.0, 1e300][number % 5],
        "ok": number % 2 == 0,
        "at": f"2024-05-{1 + number % 28:02}T10:00:00Z",
        "tag": A_UUID.replace("f", "abcdef"[number % 6]).upper()[: 36 - 12 * (number % 2 == 0)],
        "parts": [{"n": number % 7}, {"n": [number % 3, None]}, {"x": 1}],
        "note": ["a cup", "a large cup of tea", "tea, tea and a cup", "..."][number % 4],
        "other": number % 4,
    }
    if number % 2 == 0:
        found["tag"] = A_UUID.replace("-", "")
    if number % 13 == 0:
        found["room"], found["n"] = ["hall", "hall", 5, None], [number, number / 2, "2024-05-01"]
        found["size"], found["ok"] = [2**53 + 1, 3], [True, 1, "x"]
        found["at"], found["tag"] = ["2016-12-31T23:59:60.5Z", 7, "x"], ["x", A_UUID]
    if number % 17 == 0:
        return {"other": 1}
    return found


class _Growing:
    def __init__(self, moment: str) -> None:
        self.view = start(CONFIG)
        self.points: dict[PointId, dict[str, Any]] = {}
        self._moment = moment

    def now(self, moment: str) -> None:
        if moment == self._moment:
            self.view = after(self.view, *(U.create_field_index(p, s) for p, s in INDEXES.items()))

    def put(self, *numbers: int) -> None:
        random = np.random.default_rng(numbers[0])
        block = random.integers(-3, 4, (len(numbers), 4)).astype(np.float32)
        ids, payloads = [id_of(n) for n in numbers], [payload(n) for n in numbers]
        self.view = after(self.view, U.upsert_arrays(ids, block, payloads))
        self.points |= zip(ids, payloads, strict=True)

    def delete(self, *numbers: int) -> None:
        gone = [id_of(n) for n in numbers]
        self.view = after(self.view, U.delete_points(gone))
        for point_id in gone:
            self.points.pop(point_id, None)


def spread(storage: Storage, moment: str) -> Shard:
    """Four segments: built with a graph, built without, an old tail, the tail. Each has its dead,
    and points that have moved on to a later segment."""
    growing = _Growing(moment)
    growing.now("first")
    growing.put(*range(120))
    growing.delete(*range(0, 120, 9))
    growing.view = built(growing.view, storage, [""])
    growing.now("between")
    growing.put(*range(100, 150), *range(0, 30, 4))
    growing.view = built(growing.view, storage)
    growing.put(*range(145, 180))
    growing.delete(*range(50, 55), *range(147, 150))
    growing.view = cut(growing.view)
    growing.put(*range(175, 210), *range(61, 80, 5))
    growing.delete(180, 64)
    growing.now("last")
    growing.put(*range(208, 216))
    return Shard(growing.view, growing.points)


def elements(document: dict[str, Any], path: str) -> list[Any]:
    return flattened(values(document, parse(path)))


def passes(name: str, document: dict[str, Any]) -> bool:
    """The filters of FILTERS by their definition."""
    if name == "hall":
        return "hall" in elements(document, "room")
    if name == "few":
        numbers = [n for n in elements(document, "n") if type(n) in (int, float)]
        return any(20 <= n < 60 for n in numbers)
    return name == "none" or document.get("other") == 1


def chosen(shard: Shard, name: str) -> dict[PointId, dict[str, Any]]:
    return {i: document for i, document in shard.points.items() if passes(name, document)}
