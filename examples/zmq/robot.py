"""A robot's memory with its doors: python robot.py FOLDER (until Ctrl-C).

The shard is in FOLDER/memory; the sockets are in FOLDER/doors, which is the user's alone.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import edge
from edge.endpoints import Endpoints

DIM = 4


async def main(memory: Path, doors: str) -> None:
    """Open the doors and serve until a signal comes; then say what came."""
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    config = edge.EdgeConfig(edge.EdgeVectorParams(DIM, edge.Distance.Cosine))
    async with (
        edge.EdgeShard(memory, config) as shard,
        Endpoints(
            shard,
            ingest=f"{doors}/ingest",
            stream=f"{doors}/stream",
            query=f"{doors}/query",
        ) as opened,
    ):
        print(f"serving at {doors}", flush=True)
        await ended.wait()
        for source, seen in opened.counts()["stream"]["sources"].items():
            print(f"{source}: {seen['messages']} messages, {seen['gaps']} missing")
        print(f"{await shard.count()} points")


if __name__ == "__main__":
    folder = Path(sys.argv[1]).absolute()
    asyncio.run(main(folder / "memory", f"ipc://{folder}/doors"))
