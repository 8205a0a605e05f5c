"""An apartment robot's object memory: it sees, it is asked, it is killed, it forgets nothing.

    python demo.py [--sightings N] [--kills N]

Act one streams sightings into an EdgeShard while questions are asked of it, and measures the
longest pause of the event loop. Act two lets another process write into the same memory, kills it
with SIGKILL in the midst, loads what is left and compares it with what had been acknowledged.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

from apartment import Objects, Sighting, Vector, sightings
from terminal import Progress, bad, bold, dim, good

from edge import (
    Direction,
    Distance,
    EdgeConfig,
    EdgeOptimizersConfig,
    EdgeShard,
    EdgeVectorParams,
    FacetRequest,
    FieldCondition,
    Filter,
    MatchValue,
    OrderBy,
    PayloadSchemaType,
    Query,
    QueryRequest,
    ScoredPoint,
    ScrollRequest,
    UpdateOperation,
)

QUESTIONS = (
    ("a fruit that is red", "pantry"),
    ("a musical instrument with strings", "living room"),
    ("a tool for tightening screws", "workshop"),
    ("clothes for cold weather", "hallway"),
    ("something to open a bottle", "kitchen"),
    ("a device that tells the time", None),
    ("something to drink coffee from", "kitchen"),
    ("something sharp to cut bread", "kitchen"),
    ("something to write with", "study"),
    ("a fire extinguisher", None),
    ("a toy for a child", "nursery"),
    ("something to clean the floor", "laundry"),
)
INDEXED = {
    "room": PayloadSchemaType.Keyword,
    "object": PayloadSchemaType.Keyword,
    "seen_at": PayloadSchemaType.Datetime,
}
FRAME = 8
"""sightings in one camera frame"""
FRAME_SECONDS = 0.008


def config() -> EdgeConfig:
    """Cosine vectors; indexed in the background once there are some megabytes of them."""
    return EdgeConfig(
        vectors=EdgeVectorParams(384, Distance.Cosine),
        optimizers=EdgeOptimizersConfig(indexing_threshold=2_000),
    )


# ---- act one: see and be asked, at the same time ----


async def remember(
    shard: EdgeShard, objects: Objects, progress: Progress, tasks: asyncio.TaskGroup
) -> None:
    """Store what the camera sees, a frame at a time; now and then somebody has a question."""
    stream, questions = sightings(objects, seed=0), iter(QUESTIONS)
    apart = progress.total // (len(QUESTIONS) + 1)
    while progress.done < progress.total:
        frame = [sighting.point for sighting in islice(stream, FRAME)]
        await shard.update(UpdateOperation.upsert_points(frame))
        if (progress.done + FRAME) // apart > progress.done // apart:
            for words, room in islice(questions, 1):
                tasks.create_task(ask(shard, objects.questions[words], words, room, progress))
        progress.advance(len(frame))
        await asyncio.sleep(FRAME_SECONDS)


async def ask(
    shard: EdgeShard, vector: Vector, words: str, room: str | None, progress: Progress
) -> None:
    """Ask one question, and tell the answer."""
    request = QueryRequest(
        limit=30,
        query=Query.Nearest(vector),
        filter=in_room(room) if room else None,
        with_payload=True,
    )
    began = time.perf_counter()
    hits = await shard.query(request)
    progress.say(told(words, room, hits, time.perf_counter() - began))


def in_room(room: str) -> Filter:
    """Ask for sightings in one room only."""
    return Filter(must=[FieldCondition(key="room", match=MatchValue(room))])


def told(words: str, room: str | None, hits: list[ScoredPoint], took: float) -> str:
    """Put an answer into words: the best three objects, each with its best sighting."""
    best: dict[str, tuple[float, dict[str, Any]]] = {}
    for hit in hits:
        seen = hit.payload or {}
        best.setdefault(seen["object"], (hit.score, seen))
    place = f", in the {room}" if room else ""
    lines = [f"  {bold(words + place)}?  {dim(f'{took * 1e3:.1f} ms')}"]
    for name, (score, seen) in list(best.items())[:3]:
        pose, at = seen["pose"], seen["seen_at"][-8:]
        where = "" if room else f", {seen['room']}"
        then = dim(f"seen at {at} from ({pose['x']:.1f}, {pose['y']:.1f}) m{where}")
        lines.append(f"     {score:.2f}  {name:<24} {then}")
    return "\n".join(lines)


async def summary(shard: EdgeShard) -> str:
    """Tell by payload alone what the kitchen is full of, and what was seen there last."""
    kitchen = in_room("kitchen")
    often = await shard.facet(FacetRequest("object", limit=4, exact=True, filter=kitchen))
    newest = OrderBy("seen_at", Direction.Desc)
    last, _ = await shard.scroll(ScrollRequest(limit=4, filter=kitchen, order_by=newest))
    counted = ", ".join(f"{hit.value} ({hit.count})" for hit in often)
    named = ", ".join((record.payload or {})["object"] for record in last)
    return f"\n  Seen most in the kitchen: {counted}\n  Seen there last: {named}"


async def heartbeat(pauses: list[float]) -> None:
    """Write down by how much every wake-up was late: that long the loop stood still."""
    while True:
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        pauses.append(time.perf_counter() - began - 0.001)


async def act_one(folder: Path, objects: Objects, count: int) -> None:
    """Stream and ask, then say how it went."""
    print(bold(f"\nThe robot drives through the apartment: {count:,} sightings, and questions.\n"))
    pauses: list[float] = []
    progress = Progress(count, "sightings")
    began = time.perf_counter()
    async with EdgeShard.create(folder, config()) as shard:
        for field, kind in INDEXED.items():
            await shard.update(UpdateOperation.create_field_index(field, kind))
        beating = asyncio.create_task(heartbeat(pauses))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(remember(shard, objects, progress, tasks))
        await shard.optimize()
        beating.cancel()
        progress.finish()
        info = await shard.info()
        seconds = time.perf_counter() - began
        print(await summary(shard))
    print(f"\n  {info.points_count:,} sightings remembered in {seconds:.1f} s,", end=" ")
    print(f"{info.indexed_vectors_count:,} of them indexed (HNSW) in the background")
    print(f"  longest pause of the event loop: {good(f'{max(pauses) * 1e3:.1f} ms')}")


# ---- act two: be killed, and forget nothing ----


async def killed_writer(folder: Path, seed: int, first: int, enough: int) -> int:
    """Let a process write, kill it once `enough` are acknowledged; return the number it reached."""
    script = Path(__file__).with_name("writer.py")
    writer = await asyncio.create_subprocess_exec(
        *(sys.executable, str(script), str(folder), str(seed), str(first)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert writer.stdout is not None
    acknowledged = first
    while acknowledged - first < enough and (line := await writer.stdout.readline()):
        acknowledged = int(line)
    writer.kill()
    # What it said before it died, and nobody had read yet, was acknowledged too.
    for line in (await writer.stdout.read()).splitlines(keepends=True):
        acknowledged = int(line) if line.endswith(b"\n") else acknowledged
    await writer.wait()
    return acknowledged


async def missing(shard: EdgeShard, expected: list[Sighting]) -> int:
    """Count the sightings that are not there, or are not there as they were written."""
    found = await shard.retrieve([sighting.number for sighting in expected], True, False)
    payloads = {record.id: record.payload for record in found}
    return sum(payloads.get(sighting.number) != sighting.payload for sighting in expected)


async def act_two(folder: Path, objects: Objects, first: int, kills: int) -> int:
    """Kill writers, load after each, and return how much that was acknowledged is lost."""
    print(bold("\nNow another process writes, and is killed in the midst (SIGKILL).\n"))
    lost = 0
    for kill in range(1, kills + 1):
        reached = await killed_writer(folder, seed=kill, first=first, enough=150 * kill)
        began = time.perf_counter()
        async with EdgeShard.load(folder) as shard:
            took = time.perf_counter() - began
            expected = list(islice(sightings(objects, kill, first), reached - first))
            gone = await missing(shard, expected)
            count = await shard.count()
        print(f"  kill {kill}: {len(expected):,} sightings acknowledged,", end=" ")
        print(f"loaded again in {took * 1e3:.0f} ms,", end=" ")
        print(bad(f"{gone} missing") if gone else good("none missing"), end=" ")
        print(dim(f"(of {count:,} in all; {count - reached} written but not yet acknowledged)"))
        lost += gone
        first = count
    return lost


async def main() -> int:
    """Play both acts in a folder that goes away."""
    parser = argparse.ArgumentParser(description="An apartment robot's object memory.")
    parser.add_argument("--sightings", type=int, default=6_000, metavar="N")
    parser.add_argument("--kills", type=int, default=3, metavar="N")
    wanted = parser.parse_args()
    objects = Objects.load()
    with tempfile.TemporaryDirectory(prefix="apartment-") as parent:
        folder = Path(parent) / "memory"
        await act_one(folder, objects, wanted.sightings)
        lost = await act_two(folder, objects, wanted.sightings, wanted.kills)
    print(good("\nNothing acknowledged was lost.") if not lost else bad(f"\n{lost} were lost."))
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
