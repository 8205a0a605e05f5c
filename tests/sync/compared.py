"""What a shard holds beside what a collection of the test server holds."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge.model.request import ScrollRequest
from edge.model.sparse import SparseVector
from edge.shard import EdgeShard
from tests.sync.server import Server

Held = dict[Any, tuple[Any, dict[str, Any]]]
"""(vectors by name, payload) by id."""


async def held_here(shard: EdgeShard) -> Held:
    records, _ = await shard.scroll(ScrollRequest(limit=100_000, with_vector=True))
    return {_id(one.id): (_vectors(one.vector), one.payload or {}) for one in records}


def held_there(server: Server, collection: str) -> Held:
    found = server.collection(collection).scroll({"limit": 100_000, "with_vector": True})
    return {
        one["id"]: (_vectors(one.get("vector")), one["payload"] or {}) for one in found["points"]
    }


def _id(point_id: Any) -> Any:
    return point_id if isinstance(point_id, int) else str(point_id)


def _vectors(vector: Any) -> dict[str, Any]:
    if vector is None:
        return {}
    by_name = vector if isinstance(vector, dict) and "indices" not in vector else {"": vector}
    return {name: _numbers(one) for name, one in by_name.items()}


def _numbers(one: Any) -> Any:
    if isinstance(one, SparseVector):
        one = {"indices": list(one.indices), "values": list(one.values)}
    if isinstance(one, dict):
        return {"indices": one["indices"], "values": _numbers(one["values"])}
    found: Any = np.array(one, np.float32).tolist()
    return found
