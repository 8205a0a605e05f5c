"""Two devices that keep in step through a server: each reads what the other wrote, and both work
on while there is no connection.

    python in_step.py URL [FOLDER]

Needs a Qdrant server at URL; a key is read from QDRANT_API_KEY.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import edge
from edge.sync import Mirror

CONFIG = edge.EdgeConfig(vectors=edge.EdgeVectorParams(4, edge.Distance.Euclid))


async def shown(name: str, memory: Mirror) -> None:
    """Print what a device knows."""
    records, _ = await memory.scroll(edge.ScrollRequest())
    known: dict[Any, Any] = {record.id: record.payload for record in records}
    print(name, known)


async def main(url: str, folder: Path) -> None:
    """Write here, read there, change there, read here."""
    arm = Mirror(folder / "arm", url, "in_step", CONFIG, create=True, pull_every=None)
    base = Mirror(folder / "base", url, "in_step", CONFIG, create=True, pull_every=None)
    async with arm, base:
        mug = edge.Point(1, [0.9, 0.1, 0.0, 0.2], {"name": "mug", "room": "kitchen"})
        await arm.update(edge.UpdateOperation.upsert_points([mug]))
        await arm.drained()
        await base.pull()
        await shown("base", base)
        await base.update(edge.UpdateOperation.set_payload([1], {"room": "hall"}))
        await shown("base", base)  # at once: nothing waits for the server
        await base.drained()
        await arm.pull()
        await shown("arm", arm)
        await arm.update(edge.UpdateOperation.delete_points([1]))
        await arm.drained()
        await base.pull()
        await shown("base", base)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else "in_step")))
