"""A process that makes servers and producers to be killed, one for each line of JSON that it reads.

It imports and compiles everything once, and forks. All tell what they do on standard output:

    pid 123           a child was made
    served 123        the server's doors are open
    safe 123 45       the producer knows that its messages up to 45 are applied
    ended 123 -9      the child is dead, and of what (0: it came to its end)
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from edge import EdgeShard
from edge.endpoints import Endpoints, Publisher
from edge.endpoints import publisher as publishers
from tests.endpoints.made import DIM, config

SHARED = 10**9
"""The point that every message of a source writes: its number is this plus the source's."""


def tell(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def ids_of(source: int, n: int) -> list[int]:
    """The points of a producer's n-th message: the one that all write, and one of its own."""
    return [SHARED + source, source * 1_000_000 + n]


async def serve(order: dict[str, Any]) -> None:
    given = config(checkpoint_bytes=order["checkpoint"], background_optimizer=True)
    path = Path(order["folder"])
    async with (
        EdgeShard(path / "shard", given) as shard,
        Endpoints(shard, ingest=f"ipc://{path}/doors/ingest"),
    ):
        tell("served", os.getpid())
        if not order.get("briefly"):
            await asyncio.Event().wait()


def produce(order: dict[str, Any]) -> None:
    """Hand over message after message from the first on, as the life before this one did."""
    publishers.PATIENCE = 0.1  # type: ignore[misc]
    source, total, known = order["source"], order["total"], -1
    block = np.ones((2, DIM), np.float32)
    context: zmq.Context[Any] = zmq.Context()
    address = f"ipc://{order['folder']}/doors/ingest"
    publisher = Publisher(address, f"source {source}", epoch=1, capacity=256, context=context)
    for n in range(1, total + 1):
        publisher.upsert_arrays(ids_of(source, n), block, [{"n": n}] * 2)
        if publisher._safe != known:
            known = publisher._safe
            tell("safe", os.getpid(), known)
    publisher.close(60)
    context.term()
    assert publisher.refused == []


def live(order: dict[str, Any]) -> None:
    if order["do"] == "serve":
        asyncio.run(serve(order))
    else:
        produce(order)


def child(order: dict[str, Any]) -> None:
    """Never returns."""
    status = 1
    try:
        live(order)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def bury(*_: object) -> None:
    """Tell of every child that is dead."""
    try:
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            tell("ended", found[0], os.waitstatus_to_exitcode(found[1]))
    except ChildProcessError:
        pass


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        live({"do": "serve", "folder": folder, "checkpoint": 10_000, "briefly": True})
    gc.collect()
    for thread in threading.enumerate():  # those of a loop end a moment after it
        if thread is not threading.main_thread():
            thread.join(30)
    assert threading.active_count() == 1, "a fork takes only the thread that forks"
    signal.signal(signal.SIGCHLD, bury)
    tell("warm")
    for line in sys.stdin:
        if (pid := os.fork()) == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            child(json.loads(line))
        tell("pid", pid)


if __name__ == "__main__":
    main()
