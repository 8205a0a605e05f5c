"""Asks a robot's memory from another process: python ask.py FOLDER"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import edge
from edge.endpoints import EdgeClient


async def main(doors: str) -> None:
    """Look for the nearest mugs, note that they were asked for, and count."""
    mugs = edge.Filter(must=[edge.FieldCondition("object", match=edge.MatchValue("mug"))])
    async with EdgeClient(f"{doors}/query", f"{doors}/ingest") as client:
        request = edge.QueryRequest(
            limit=3,
            query=edge.Query.Nearest([1.0, 0.0, 0.0, 0.0]),
            filter=mugs,
            with_payload=True,
            timeout=0.5,
        )
        hits = await client.query(request)
        for hit in hits:
            print(f"{hit.score:.3f} {hit.id} {hit.payload}")
        if hits:
            ids = [hit.id for hit in hits]
            await client.update(edge.UpdateOperation.set_payload(ids, {"asked": True}))
        print(f"{await client.count()} points")


if __name__ == "__main__":
    asyncio.run(main(f"ipc://{Path(sys.argv[1]).absolute()}/doors"))
