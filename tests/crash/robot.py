"""A process that makes processes that write to a shard until they are killed.

The first warms everything up (imports, compiled kernels, one life of a shard by each facade) and
then forks a child for each line of JSON that it reads; the child opens the shard, after the fork,
and writes without end. Both tell what they do on standard output, one line each:

    pid 123           a child was made
    begin <stage>     the child enters a stage: open, update <number>, flush, optimize, seal, ...
    end <stage>       it has left it; of an update with the sequence: this is the acknowledgement
    ended <signal>    the child is dead, and of what
"""

from __future__ import annotations

import asyncio
import functools
import gc
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import edge
from edge import blocking
from edge.model.config import Durability
from edge.store.optimization import Job
from edge.store.store import Store
from tests.crash.history import config, operation, read
from tests.crash.template import serve, tell

UPDATES, FLUSHES, OPTIMIZES = 20, 3, 1
"""How often a child does what, of all that it does."""

TOGETHER = 4
"""How many updates wait at the same time, at most, where there is an event loop."""


@contextmanager
def stage(name: str) -> Iterator[None]:
    tell(f"begin {name}")
    yield
    tell(f"end {name}")


def tells(name: Callable[[Any], str], function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which says when it begins and ends; `name` is of its first two arguments."""

    @functools.wraps(function)
    def telling(*arguments: Any) -> Any:
        with stage(name(arguments)):
            return function(*arguments)

    return telling


def watch_the_store() -> None:
    """Tell of the stages that lie below what the facades are asked to do."""

    def building(arguments: Any) -> str:
        return "seal" if arguments[0].reason == "seal" else "rebuild"

    Job.run = tells(building, Job.run)  # type: ignore[method-assign]
    Store.finish = tells(lambda arguments: "swap", Store.finish)  # type: ignore[method-assign]


def choices(seed: int) -> Iterator[str]:
    random = Random(seed)
    kinds = ["update"] * UPDATES + ["flush"] * FLUSHES + ["optimize"] * OPTIMIZES
    while True:
        yield random.choice(kinds)


def write_without_end(order: dict[str, Any], turns: int | None = None) -> None:
    """The life of a child without an event loop."""
    with stage("open"):
        shard = blocking.EdgeShard(order["path"], settings(order))
    number = order["number"]
    for turn, what in enumerate(choices(order["seed"])):
        if turn == turns:
            break
        if what == "update":
            tell(f"begin update {number}")
            sequence = shard.update(operation(number))
            tell(f"end update {number} {sequence}")
            number += 1
        else:
            with stage(what):
                getattr(shard, what)()
    read(shard._store.view)
    shard.close()


async def write_without_end_on_a_loop(order: dict[str, Any], turns: int | None = None) -> None:
    """The life of a child with one: updates overlap, rebuilding goes on in the background."""
    with stage("open"):
        shard = edge.EdgeShard(order["path"], settings(order))
        await shard.open()

    async def update(number: int) -> None:
        tell(f"begin update {number}")
        sequence = await shard.update(operation(number))
        tell(f"end update {number} {sequence}")

    number = order["number"]
    random = Random(order["seed"])
    for turn, what in enumerate(choices(order["seed"])):
        if turn == turns:
            break
        if what == "update":
            count = random.randint(1, TOGETHER)
            await asyncio.gather(*[update(n) for n in range(number, number + count)])
            number += count
        else:
            with stage(what):
                await getattr(shard, what)()
    await shard.close()


def settings(order: dict[str, Any]) -> edge.EdgeConfig:
    return config(
        durability=Durability[order["durability"]],
        sync_interval_ms=5,
        checkpoint_bytes=order["checkpoint"],
    )


def live(order: dict[str, Any], turns: int | None = None) -> None:
    if order["facade"] == "blocking":
        write_without_end(order, turns)
    else:
        asyncio.run(write_without_end_on_a_loop(order, turns))


def warm_up() -> None:
    for facade in ("blocking", "async"):
        with tempfile.TemporaryDirectory() as path:
            order = {"path": path, "number": 1, "facade": facade, "seed": 2, "checkpoint": 4096}
            live({**order, "durability": "Os"}, turns=60)
    gc.collect()
    assert threading.active_count() == 1, "a fork takes only the thread that forks"


def main() -> None:
    watch_the_store()
    warm_up()
    serve(live)


if __name__ == "__main__":
    main()
