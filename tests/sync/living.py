"""A process that lives with a mirror until it is killed: python -m tests.sync.living FOLDER URL N.

It carries out `operation(n)` for n from N on, while pushes and pulls come by themselves. On
standard output, line by line: "begin n", "end n" once that was acknowledged, and "pulled 0" once
the mirror is as the server was.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from edge.errors import EdgeError, NotFound
from edge.model.config import EdgeConfig
from edge.model.point import Point
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams
from edge.sync.mirror import Mirror
from edge.sync.pull import Pulled
from edge.sync.rest import Retries

CONFIG = EdgeConfig(vectors=EdgeVectorParams(4, Distance.Dot), checkpoint_bytes=3_000)
QUICK = Retries(attempts=3, first=0.001, longest=0.01)
IDS = 30
Points = dict[int, dict[str, Any]]


def mirror_of(folder: Path, url: str, **given: Any) -> Mirror:
    given = {"create": True, "pull_every": None, "retries": QUICK, **given}
    return Mirror(folder, url, "things", CONFIG, **given)


def tell(word: str, number: int = 0) -> None:
    os.write(1, f"{word} {number}\n".encode())


def tell_of_pull(done: Pulled | EdgeError) -> None:
    if isinstance(done, Pulled):
        tell("pulled")


def drawn(number: int) -> tuple[str, int]:
    random = Random(number)
    return random.choice(["upsert", "upsert", "set", "set", "delete"]), random.randrange(IDS)


def operation(number: int) -> UpdateOperation:
    kind, id = drawn(number)
    if kind == "upsert":
        return UpdateOperation.upsert_points([Point(id, [1.0, 2.0, 3.0, 4.0], {"n": number})])
    if kind == "set":
        return UpdateOperation.set_payload([id], {f"k{number % 4}": number})
    return UpdateOperation.delete_points([id])


def carry_out(number: int, points: Points) -> None:
    """What the operation does to what is seen."""
    kind, id = drawn(number)
    if kind == "upsert":
        points[id] = {"n": number}
    elif kind == "set" and id in points:
        points[id] = points[id] | {f"k{number % 4}": number}
    elif kind == "delete":
        points.pop(id, None)


async def live(folder: Path, url: str, number: int) -> None:
    async with mirror_of(folder, url, pull_every=0.005, tell=tell_of_pull) as memory:
        while True:
            tell("begin", number)
            with suppress(NotFound):
                await memory.update(operation(number))
            tell("end", number)
            number += 1


if __name__ == "__main__":
    asyncio.run(live(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
