"""Pushing to a server: points a second and bytes a point, beside qdrant-client's upload_points.

The server, in a process of its own, reads requests whole, answers that all was done, and does
nothing: what is measured is the side that sends. Ours reads its points from the shard's log, makes
them survive, and moves its cursor; qdrant-client sends points that it is given, and forgets them.

`python -m benchmarks.push` is the server: it prints its port and serves until its input ends.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import msgspec
import numpy as np
import qdrant_client
from qdrant_client.models import PointStruct

import edge
from benchmarks.engines import Engine
from benchmarks.report import OURS
from benchmarks.tasks import QUICK, Results, Sizes, Stopwatch
from edge.sync.push import Push

DIM, A_CALL = 384, 256
COLLECTION = "things"
CLIENT = "qdrant-client"
DONE = {"operation_id": 0, "status": "completed"}
FOUND = {"config": {"params": {"vectors": {"size": DIM, "distance": "Cosine"}}}}


def push(engines: Sequence[Engine], sizes: Sizes, folder: Path, results: Results) -> None:
    """Send the same points by both, in turns."""
    if all(engine.name != OURS for engine in engines):
        return
    count, runs = (5_000, 1) if sizes is QUICK else (20_000, 5)
    numbers = np.random.default_rng(5).standard_normal((count, DIM)).astype(np.float32)
    payloads = [{"n": n, "room": f"room {n % 7}"} for n in range(count)]
    given = [
        PointStruct(id=n, vector=vector, payload=payload)
        for n, (vector, payload) in enumerate(zip(numbers.tolist(), payloads, strict=True))
    ]
    task = f"push of {count:,} points of {DIM} floats to a server that does nothing"
    with served() as url:
        for run in range(runs):
            watch = Stopwatch()
            asyncio.run(pushed(str(folder / f"push-{run}"), url, numbers, payloads, watch))
            _add(results, task, OURS, url, count, watch)
            for size in (64, A_CALL):
                watch = Stopwatch()
                uploaded(url, given, size, watch)
                _add(results, task, f"{CLIENT}, {size} a batch", url, count, watch)


def _add(results: Results, task: str, engine: str, url: str, count: int, watch: Stopwatch) -> None:
    results.add(task, engine, "points/s", count / watch.wall, watch.cpu, True)
    results.add("push, bytes of a point on the line", engine, "bytes", _received(url) / count)


async def pushed(
    path: str, url: str, numbers: np.ndarray, payloads: list[dict[str, Any]], watch: Stopwatch
) -> None:
    """Push what an outbox has kept."""
    vectors = edge.EdgeVectorParams(DIM, edge.Distance.Cosine)
    config = edge.EdgeConfig(vectors, background_optimizer=False)
    async with edge.EdgeShard(path, config) as shard:
        async with Push(shard, url, COLLECTION) as empty:
            await empty.drained()
        for first in range(0, len(numbers), A_CALL):
            part = slice(first, first + A_CALL)
            ids = range(len(numbers))[part]
            await shard.upsert_arrays(ids, numbers[part], payloads[part])
        _received(url)
        with watch.running():
            async with Push(shard, url, COLLECTION) as full:
                await full.drained()


def uploaded(url: str, points: list[PointStruct], batch: int, watch: Stopwatch) -> None:
    """Upload points that are in memory."""
    client = qdrant_client.QdrantClient(url, check_compatibility=False)
    with watch.running():
        client.upload_points(COLLECTION, points, batch_size=batch, wait=True)
    client.close()


# ---- the server ----


@contextmanager
def served() -> Iterator[str]:
    """A server in a process of its own; its address."""
    command = [sys.executable, "-m", "benchmarks.push"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def _received(url: str) -> int:
    """Return the bytes of bodies that the server has read since it was asked last."""
    with urlopen(f"{url}/received") as answer:
        return int(json.load(answer)["result"])


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    received = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *arguments: Any) -> None:
        """Print nothing."""

    def _answer(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(size)
        self.server.received += size
        result: Any = DONE
        if self.path == "/received":
            result, self.server.received = self.server.received, 0
        elif self.command == "GET":
            result = FOUND
        elif "/points/batch" in self.path:
            result = [DONE]
        body = msgspec.json.encode({"result": result, "status": "ok", "time": 0.0})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = _answer


def main() -> None:
    """Serve until the standard input ends."""
    server = _Server(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()
    server.shutdown()
    thread.join()


if __name__ == "__main__":
    main()
