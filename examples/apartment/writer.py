"""The process that gets killed: it stores sightings and acknowledges each batch over its output.

    python writer.py FOLDER SEED FIRST

It writes until it dies. A line "N" says that all sightings below number N are safe: the update was
answered, and with Durability.Always an answer comes after the disk's.
"""

from __future__ import annotations

import asyncio
import sys
from itertools import islice

from apartment import Objects, sightings

from edge import Durability, EdgeShard, UpdateOperation

BATCH = 7


async def write(folder: str, seed: int, first: int) -> None:
    """Store sightings for ever, from number `first` on."""
    stream = sightings(Objects.load(), seed, first)
    async with EdgeShard.load(folder) as shard:
        while True:
            batch = list(islice(stream, BATCH))
            operation = UpdateOperation.upsert_points([sighting.point for sighting in batch])
            await shard.update(operation, durability=Durability.Always)
            print(batch[-1].number + 1, flush=True)


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
