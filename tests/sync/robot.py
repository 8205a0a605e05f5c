"""A process that makes processes that write to a shard, and push it, until they are killed.

The first warms everything up and then forks a child for each line of JSON that it reads; the child
opens the shard after the fork, and writes and pushes without end. On standard output, line by line:

    pid 123          a child was made
    begin <what>     it begins to open, or the update of that number
    end <what>       that was acknowledged
    sent             a request was answered; the cursor has not moved yet
    confirmed        now it has
    ended <signal>   the child is dead, and of what
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import threading
from pathlib import Path
from random import Random
from typing import Any

from edge.actors.outbox import Batch, Outbox
from edge.shard import EdgeShard
from edge.sync.push import Push
from edge.sync.rest import Retries
from tests.crash.history import config, operation
from tests.crash.template import serve, tell
from tests.sync.server import Server

QUICK = Retries(attempts=None, first=0.001, longest=0.01)


def watch_the_outbox() -> None:
    confirm = Outbox.confirm

    async def telling(outbox: Outbox, batch: Batch) -> None:
        tell("sent")
        await confirm(outbox, batch)
        tell("confirmed")

    Outbox.confirm = telling  # type: ignore[method-assign]


async def live(order: dict[str, Any], turns: int | None = None) -> None:
    """Write and push; where there are no `turns`, without end."""
    random, number = Random(order["seed"]), order["number"]
    tell("begin open")
    async with EdgeShard(order["path"], config(checkpoint_bytes=order["checkpoint"])) as shard:
        tell("end open")
        push = Push(shard, order["url"], "things", create=True, retries=QUICK, batch_bytes=64 << 10)
        async with push:
            while turns is None or turns:
                for _ in range(random.randint(1, 6)):
                    tell(f"begin {number}")
                    await shard.update(operation(number))
                    tell(f"end {number}")
                    number += 1
                if random.random() < 0.1:
                    await push.drained()
                turns = None if turns is None else turns - 1
            await push.drained()


def warm_up() -> None:
    with tempfile.TemporaryDirectory() as path, Server(Path(path) / "server") as server:
        order = {"path": f"{path}/shard", "url": server.url, "number": 1, "seed": 0}
        asyncio.run(live({**order, "checkpoint": 3_000}, turns=10))
    gc.collect()
    assert threading.active_count() == 1, "a fork takes only the thread that forks"


def main() -> None:
    warm_up()
    watch_the_outbox()
    serve(lambda order: asyncio.run(live(order)))


if __name__ == "__main__":
    main()
