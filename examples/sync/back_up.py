"""A robot's memory that outlives the robot: pushed to a server, and restored into a new folder.

    python back_up.py URL [FOLDER]

Needs a Qdrant server at URL; a key is read from QDRANT_API_KEY.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import edge
from edge.sync import Pull, Push

CONFIG = edge.EdgeConfig(vectors=edge.EdgeVectorParams(4, edge.Distance.Cosine))


async def back_up(url: str, folder: Path) -> None:
    """Remember two things, and stay until the server has them."""
    mug = edge.Point(1, [0.9, 0.1, 0.0, 0.2], {"name": "mug", "room": "kitchen"})
    keys = edge.Point(2, [0.1, 0.8, 0.3, 0.0], {"name": "keys", "room": "hall"})
    async with (
        edge.EdgeShard(folder, CONFIG) as shard,
        Push(shard, url, "backup", create=True) as push,
    ):
        await shard.update(edge.UpdateOperation.upsert_points([mug, keys]))
        await shard.update(edge.UpdateOperation.set_payload([2], {"room": "bag"}))
        await push.drained()
        print(f"backed up: {await shard.count()} points")


async def restore(url: str, folder: Path) -> None:
    """Have what the server has, in a folder that was not there."""
    async with Pull(folder, url, "backup") as pull:
        print(f"restored: {(await pull.once()).kind}")
    async with edge.EdgeShard.load(folder) as shard:
        for record in await shard.retrieve([1, 2]):
            print(record.id, record.payload)


async def main(url: str, folder: Path) -> None:
    """Back up one robot, restore another."""
    await back_up(url, folder / "robot")
    await restore(url, folder / "new_robot")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else "backup")))
