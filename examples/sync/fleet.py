"""Robots that gather what all of them saw in one collection. Each names its points by itself.

    python fleet.py URL [FOLDER]

Needs a Qdrant server at URL; a key is read from QDRANT_API_KEY.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import edge
from edge.sync import Pull, Push

CONFIG = edge.EdgeConfig(vectors=edge.EdgeVectorParams(4, edge.Distance.Dot))
ROBOTS = ("ada", "bob", "cleo")


async def patrol(url: str, folder: Path, name: str, place: float) -> None:
    """See three things, and stay until the server has them."""
    async with (
        edge.EdgeShard(folder / name, CONFIG) as shard,
        Push(shard, url, "fleet", create=True) as push,
    ):
        points = [
            edge.Point(
                uuid5(NAMESPACE_URL, f"{name}/{number}"),
                [place, float(number), 0.0, 1.0],
                {"robot": name, "number": number},
            )
            for number in range(3)
        ]
        await shard.update(edge.UpdateOperation.upsert_points(points))
        await push.drained()


async def main(url: str, folder: Path) -> None:
    """Patrol with all, then look at what the fleet knows."""
    for place, name in enumerate(ROBOTS):
        await patrol(url, folder, name, float(place))
    async with Pull(folder / "all", url, "fleet") as pull:
        await pull.once()
    async with edge.EdgeShard.load(folder / "all") as everything:
        print(f"the fleet knows {await everything.count()} things")
        query = edge.QueryRequest(
            limit=1, query=edge.Query.Nearest([1.0, 1.0, 0.0, 0.0]), with_payload=True
        )
        (best,) = await everything.query(query)
        print(f"the best was seen by {best.payload['robot'] if best.payload else '?'}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else "fleet")))
