"""A robot that leaves the work of indexing to a server, and gets its memory back indexed.

    python offload_indexing.py URL [FOLDER]

Needs a Qdrant server at URL; a key is read from QDRANT_API_KEY.
"""

from __future__ import annotations

import asyncio
import sys

import numpy as np

import edge
from edge.sync import Mirror

CONFIG = edge.EdgeConfig(vectors=edge.EdgeVectorParams(32, edge.Distance.Cosine))


async def main(url: str, folder: str) -> None:
    """See, hand over, take back."""
    draw = np.random.default_rng(7)
    seen = draw.normal(size=(2_000, 32)).astype(np.float32)
    async with Mirror(folder, url, "offloaded", CONFIG, create=True, pull_every=None) as memory:
        await memory.upsert_arrays(np.arange(len(seen)), seen)
        print(f"seen here: {await memory.own.count()}")
        await memory.drained()
        pulled = await memory.pull()
        print(f"pulled: {pulled.kind}; still here alone: {await memory.own.count()}")
        query = edge.QueryRequest(limit=1, query=edge.Query.Nearest(seen[7]))
        (nearest,) = await memory.query(query)
        print(f"found: {nearest.id} of {await memory.count()}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "offloaded"))
