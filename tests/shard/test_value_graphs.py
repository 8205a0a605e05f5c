"""Graphs of payload values in a shard that runs: built in the background, used once they are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from edge import blocking
from edge.model.config import ConfigChange
from edge.model.filter import FieldCondition, Filter, MatchValue
from edge.model.query import Query, SearchParams
from edge.model.request import QueryRequest
from edge.model.schema import PayloadSchemaType
from edge.model.update import UpdateOperation
from edge.model.vector_params import HnswIndexConfig
from edge.shard import EdgeShard
from tests.actors.made import block, config, eventually, vector

U = UpdateOperation
ROWS, DIM = 2400, 256
OPTIMIZERS = {"indexing_threshold": 1, "default_segment_number": 1}
IN_HALL = Filter(must=[FieldCondition("room", match=MatchValue("hall"))])
# a walk so short that it takes less time than 800 comparisons
REQUEST = QueryRequest(
    3,
    query=Query.Nearest(vector(1, DIM)),
    filter=IN_HALL,
    params=SearchParams(hnsw_ef=8),
    explain=True,
)
INDEX = U.create_field_index("room", PayloadSchemaType.Keyword)


def hnsw(payload_m: int | None) -> HnswIndexConfig:
    return HnswIndexConfig(0, 32, 1, max_indexing_threads=1, payload_m=payload_m)


def fill() -> UpdateOperation:
    payloads = [{"room": ["hall", "bath", "attic"][n % 3]} for n in range(ROWS)]
    return U.upsert_arrays(range(ROWS), block(ROWS, DIM), payloads)


def answered(shard: EdgeShard, way: str) -> Callable[[], Awaitable[bool]]:
    """What asks whether the shard answers in this way, rightly."""

    async def is_so() -> bool:
        hits = await shard.query(REQUEST)
        assert all(hit.id % 3 == 0 for hit in hits)
        return [plan.way for plan in hits.plan] == [way]  # type: ignore[attr-defined]

    return is_so


async def test_they_follow_an_index_and_the_settings_in_the_background(tmp_path: Path) -> None:
    given = config(DIM, optimizers=OPTIMIZERS, hnsw_config=hnsw(None))
    async with EdgeShard(tmp_path / "shard", given) as shard:
        await shard.update(fill())
        await eventually(answered(shard, "scan of matches"))
        await shard.update(U.set_config(ConfigChange(hnsw(8))))
        await shard.update(INDEX)
        await eventually(answered(shard, "graph of a value"))
        await shard.update(U.delete_field_index("room"))
        await eventually(answered(shard, "scan of matches"))
        await shard.update(INDEX)
        await eventually(answered(shard, "graph of a value"))
    async with EdgeShard(tmp_path / "shard") as again:
        # the index may have been on its way out when it was asked for again
        await eventually(answered(again, "graph of a value"))
        info = await again.info()
        assert info.indexed_vectors_count == info.points_count == ROWS


def test_without_a_loop_they_come_with_optimize(tmp_path: Path) -> None:
    given = config(DIM, optimizers=OPTIMIZERS, hnsw_config=hnsw(8))
    with blocking.EdgeShard(tmp_path / "shard", given) as shard:
        shard.update(fill())
        shard.update(INDEX)
        assert shard.optimize()
        assert not shard.optimize(), "nothing is left to do"
        [plan] = shard.query(REQUEST).plan  # type: ignore[attr-defined]
        assert plan.way == "graph of a value"
        assert plan.matches == ROWS // 3
