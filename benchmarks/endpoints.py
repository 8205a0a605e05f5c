"""The ZeroMQ doors: points a second, pauses of the loop, and the time from publish to findable.

qdrant-edge has no counterpart; what stands beside the stream is a loop that takes the same
messages, decodes them and drops them: no door can be faster on this machine.

`endpoints` starts a server in a process of its own, which starts a publisher in another:
python -m benchmarks.endpoints TASK OPTIONS, with the options as JSON; a server answers with JSON.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import zmq

import edge
from benchmarks.engines import Engine
from benchmarks.fresh import BEAT_SECONDS, Pause, beat
from benchmarks.report import OURS
from benchmarks.tasks import QUICK, Results, Sizes
from edge.endpoints import Endpoints, Publisher, protocol

DIM, BATCH = 384, 64
RATE = 300
POLL_SECONDS = 0.0005
LOOK_SECONDS = 0.005
BLOCKS = 32
"""Different blocks of vectors, which the publisher sends in turn."""

DOORS = ("stream", "ingest")


def endpoints(engines: Sequence[Engine], sizes: Sizes, folder: Path, results: Results) -> None:
    """Measure what comes through the doors: as fast as it goes, and at a robot's rate."""
    if all(engine.name != OURS for engine in engines):
        return
    messages, runs, seconds = (800, 1, 3) if sizes is QUICK else (4_000, 3, 15)
    points = f"{messages * BATCH:,} points of {DIM} floats, {BATCH} a message"
    for run in range(runs):
        dropped = served("drop", messages=messages)
        task = f"messages taken and dropped, {points}"
        results.add(task, OURS, "points/s", dropped["points_a_second"], None, True)
        for door in DOORS:
            path = folder / f"{door}-{run}"
            found = served(door, path=str(path), messages=messages)
            task = f"{door} door, {points}"
            results.add(task, OURS, "points/s", found["points_a_second"], found["cpu"], True)
            per_second = messages * BATCH / found["cpu"]
            task = f"{door} door, points for each CPU second of the server"
            results.add(task, OURS, "points/s", per_second, None, True)
            results.add(f"{door} door, longest pause of the loop", OURS, "ms", found["longest_ms"])
            task = f"{door} door, longest pause of the loop, on its core"
            results.add(task, OURS, "ms", found["own_ms"])
    for door in DOORS:
        path = folder / f"{door}-rate"
        found = served("rate", door=door, path=str(path), count=RATE * seconds)
        for share in ("p50", "p99"):
            task = f"{door} door, publish to findable at {RATE} points/s, {share}"
            results.add(task, OURS, "ms", found[share])


def served(task: str, **options: Any) -> dict[str, Any]:
    """Run a server's task in a fresh process; return its answer."""
    command = [sys.executable, "-m", "benchmarks.endpoints", task, json.dumps(options)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def publisher(task: str, **options: Any) -> subprocess.Popen[bytes]:
    """Start a publisher in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.endpoints", task, json.dumps(options)]
    return subprocess.Popen(command)


# ---- what a server does ----


def drop(messages: int) -> dict[str, Any]:
    """Take, decode and drop: what any door does at least, in the thread that waits for it."""
    with tempfile.TemporaryDirectory() as folder:
        context: zmq.Context[Any] = zmq.Context()
        socket = context.socket(zmq.SUB)
        socket.subscribe(b"")
        socket.bind(f"ipc://{folder}/stream")
        decode = protocol.Decoder(protocol.Points)
        process = publisher("send", address=f"ipc://{folder}/stream", messages=messages)
        began, total = 0.0, 0.0
        for _ in range(messages):
            frames = socket.recv_multipart(copy=False)
            began = began or time.perf_counter()
            header = decode(frames[1].buffer)
            total += float(np.frombuffer(frames[3].buffer, "<f4")[0]) + header.count
        seconds = time.perf_counter() - began
        process.wait()
        context.destroy(0)
    return {"points_a_second": messages * BATCH / seconds}


def config() -> edge.EdgeConfig:
    """A shard as an application makes it, but for its durability."""
    return edge.EdgeConfig(
        edge.EdgeVectorParams(DIM, edge.Distance.Cosine), durability=edge.Durability.Os
    )


def doors(shard: edge.EdgeShard, door: str, address: str) -> Endpoints:
    """One door of the shard."""
    if door == "stream":
        return Endpoints(shard, stream=address)
    return Endpoints(shard, ingest=address)


async def take(door: str, path: str, messages: int) -> dict[str, Any]:
    """Take all messages, and measure the loop meanwhile."""
    pauses: list[Pause] = []
    count = messages * BATCH
    with tempfile.TemporaryDirectory() as folder:
        address = f"ipc://{folder}/{door}"
        async with edge.EdgeShard(path, config()) as shard, doors(shard, door, address) as opened:
            task = "send" if door == "stream" else "hand_over"
            process = publisher(task, address=address, messages=messages)
            while True:
                await asyncio.sleep(BEAT_SECONDS)
                if opened.counts()[door]["points"]:
                    break
            began, cpu = time.perf_counter(), time.process_time()
            beating = asyncio.create_task(beat(pauses))
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                if await shard.count() >= count:
                    break
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
            await asyncio.sleep(BEAT_SECONDS * 5)
            beating.cancel()
            await asyncio.to_thread(process.wait)
    return {
        "points_a_second": count / seconds,
        "cpu": cpu,
        "longest_ms": max(pause.seconds for pause in pauses) * 1e3,
        "own_ms": max(pause.seconds - pause.queued for pause in pauses) * 1e3,
    }


async def findable(door: str, path: str, count: int) -> dict[str, Any]:
    """Look for each point until it is there; its payload says when it was published."""
    latencies: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        address = f"ipc://{folder}/{door}"
        async with edge.EdgeShard(path, config()) as shard, doors(shard, door, address):
            process = publisher("pace", door=door, address=address, count=count)
            while len(latencies) < count:
                found = await shard.retrieve([len(latencies)])
                now = time.monotonic_ns()
                if found:
                    latencies.append((now - (found[0].payload or {})["at"]) / 1e6)
                else:
                    await asyncio.sleep(POLL_SECONDS)
            await asyncio.to_thread(process.wait)
    p50, p99 = np.percentile(latencies[RATE:], [50, 99])  # after the first second
    return {"p50": float(p50), "p99": float(p99)}


# ---- what a publisher does ----


def blocks() -> list[Any]:
    """Some blocks of vectors."""
    rng = np.random.default_rng(7)
    return [rng.standard_normal((BATCH, DIM)).astype(np.float32) for _ in range(BLOCKS)]


def connected(context: zmq.Context[Any], address: str) -> zmq.Socket[bytes]:
    """A socket for publishing that loses nothing: it waits for its subscriber, and for room."""
    socket: zmq.Socket[bytes] = context.socket(zmq.XPUB)
    socket.xpub_nodrop = True
    socket.connect(address)
    socket.recv()
    return socket


def send(address: str, messages: int) -> None:
    """Publish as fast as the other side takes it."""
    context: zmq.Context[Any] = zmq.Context()
    socket, vectors = connected(context, address), blocks()
    for n in range(messages):
        ids = np.arange(n * BATCH, n * BATCH + BATCH, dtype=np.uint64)
        frames = protocol.message_of("benchmark", 1, n + 1, ids, vectors[n % BLOCKS], None)
        socket.send_multipart([b"points", *frames])
    context.destroy()


def hand_over(address: str, messages: int) -> None:
    """Hand over as fast as it is acknowledged."""
    vectors = blocks()
    with Publisher(address) as line:
        for n in range(messages):
            ids = np.arange(n * BATCH, n * BATCH + BATCH, dtype=np.uint64)
            line.upsert_arrays(ids, vectors[n % BLOCKS])
        line.flush()


def pace(door: str, address: str, count: int) -> None:
    """Publish one point after another at the robot's rate."""
    vectors = blocks()[0]
    context: zmq.Context[Any] = zmq.Context()
    line = Publisher(address, context=context) if door == "ingest" else None
    socket = connected(context, address) if line is None else None
    began = time.monotonic()
    for n in range(count):
        time.sleep(max(0.0, began + n / RATE - time.monotonic()))
        vector, payload = vectors[n % BATCH][None], [{"at": time.monotonic_ns()}]
        if line is not None:
            line.upsert_arrays([n], vector, payload)
        elif socket is not None:
            frames = protocol.message_of("benchmark", 1, n + 1, [n], vector, payload)
            socket.send_multipart([b"points", *frames])
    if line is not None:
        line.close()
    context.destroy()


TASKS: dict[str, Callable[..., Any]] = {
    "drop": drop,
    "stream": lambda **options: asyncio.run(take("stream", **options)),
    "ingest": lambda **options: asyncio.run(take("ingest", **options)),
    "rate": lambda **options: asyncio.run(findable(**options)),
    "send": send,
    "hand_over": hand_over,
    "pace": pace,
}


def main() -> None:
    """Do one task and print its answer, if it has one."""
    task, options = sys.argv[1:]
    answer = TASKS[task](**msgspec.json.decode(options))
    if answer is not None:
        print(json.dumps(answer))


if __name__ == "__main__":
    main()
