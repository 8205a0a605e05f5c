"""What one sighting of a robot costs, in bytes, measured by the code that sends and writes it.

Invariants
- Bytes on the line are counted behind a socket: a real Push, its headers and its JSON. TCP, TLS and
  the answers, which a server would write, are not in them.
- Sizes of snapshots are those of files: ours by `export_qdrant`, and, beside them, the files that
  Qdrant Edge's own manifest calls newer.
- The same seed gives the same bytes, but for some blocks of Qdrant Edge's files.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec
import numpy as np
import qdrant_edge
from numpy.typing import NDArray

import edge
import edge.blocking
from edge.sync import Push

COLLECTION: Final = "site-17"
KEY: Final = "k" * 36
"""As long as a UUID."""
BATCH_BYTES: Final[int] = signature(Push).parameters["batch_bytes"].default
OPERATIONS: Final = 1_800
"""Half an hour of a robot at 1 Hz: some full requests."""
BASE_POINTS: Final = 4_000
CHANGED: Final = (0.001, 0.01, 0.1)
"""The shares of new points that partial snapshots are measured by."""


@dataclass(frozen=True)
class Mix:
    """What sightings are: a `new` point, one that is there `again` and is overwritten, or, the
    rest, a bump: two payload fields of a point that is there."""

    new: float = 0.2
    again: float = 0.3


@dataclass(frozen=True)
class PushCosts:
    """Of pushing sightings of `dim` floats, in bytes.

    `alone`: a request that holds one, its headers included. `backlog_ops`: how many are in a
    request where many wait, `backlog_bytes` each. `log_bytes`: each in the robot's own log.
    `opening_bytes`: the request that a push begins with.
    """

    dim: int
    alone: float
    backlog_ops: float
    backlog_bytes: float
    log_bytes: float

    @property
    def head_bytes(self) -> float:
        """What a request has beside its sightings."""
        return self.alone - self.backlog_bytes


@dataclass(frozen=True)
class SnapshotCosts:
    """Of a shard's snapshots, in bytes.

    `full_bytes` a point; a partial one `partial_bytes` for each that is new or changed, and
    `fixed_bytes`. `again_bytes`: that of one more point, for a receiver that has all but this one,
    where `tail` points before it are not indexed yet.
    """

    full_bytes: float
    fixed_bytes: float
    partial_bytes: float
    tail: int
    again_bytes: int


# ---- sightings ----


def vectors(rng: np.random.Generator, count: int, dim: int) -> NDArray[np.float32]:
    """Unit vectors in no particular direction: their digits are as many as those of embeddings."""
    drawn = rng.standard_normal((count, dim)).astype(np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn


def payload(number: int) -> dict[str, Any]:
    """What a robot notes of an object."""
    return {
        "robot": f"robot-{number % 200:05}",
        "site": COLLECTION,
        "label": "pallet jack",
        "room": f"aisle {number % 40}",
        "position": {"x": number % 9973 / 100, "y": number % 7919 / 100, "z": 0.25},
        "confidence": 0.87,
        "seen": 1,
        "last_seen": "2026-11-22T11:50:11.250Z",
    }


def sightings(mix: Mix, count: int, dim: int, seed: int) -> Iterator[edge.UpdateOperation]:
    """Yield what one robot writes, an operation a sighting; the first is a new point."""
    rng = np.random.default_rng(seed)
    known: list[UUID] = []
    kinds, rows = rng.random(count), vectors(rng, count, dim)
    for number in range(count):
        is_new = not known or kinds[number] < mix.new
        if is_new:
            known.append(UUID(bytes=rng.bytes(16), version=4))
        one = known[-1] if is_new else known[int(rng.integers(len(known)))]
        if is_new or kinds[number] < mix.new + mix.again:
            point = edge.Point(one, rows[number], payload(number))
            yield edge.UpdateOperation.upsert_points([point])
        else:
            bump = {name: payload(number)[name] for name in ("seen", "last_seen")}
            yield edge.UpdateOperation.set_payload([one], bump)


# ---- on the line ----


class Line:
    """A server that counts what comes, and says that all was done."""

    def __init__(self, dim: int) -> None:
        params = {"vectors": {"size": dim, "distance": "Cosine"}}
        self._found = {"config": {"params": params}}
        self.url = ""
        self.came: list[int] = []

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Line]:
        """Serve on a free port of this machine."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(_length(head))
                is_question = head.startswith(b"GET ")
                if not is_question:
                    self.came.append(len(head) + len(body))
                writer.write(_answer(self._found if is_question else []))
        except asyncio.IncompleteReadError:
            writer.close()  # the client is gone

    def taken(self) -> list[int]:
        """Return the bytes of each request that brought something since the last call."""
        found, self.came = self.came, []
        return found


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return int(value)
    return 0


def _answer(result: Any) -> bytes:
    body = msgspec.json.encode({"result": result, "status": "ok", "time": 0.0})
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def pushed(
    mix: Mix,
    dim: int,
    folder: Path,
    seed: int = 0,
    count: int = OPERATIONS,
    batch_bytes: int = BATCH_BYTES,
) -> PushCosts:
    """Write sightings as a robot does, and push them: those that wait together, then some alone."""
    config = edge.EdgeConfig(
        edge.EdgeVectorParams(dim, edge.Distance.Cosine), background_optimizer=False
    )
    every = [*sightings(mix, count, dim, seed)]
    async with Line(dim).serving() as line, edge.EdgeShard(folder, config) as shard:
        await _drain(shard, line)  # from here on the outbox gives the log
        line.taken()
        for operation in every:
            await shard.update(operation)
        log_bytes = (await shard.outbox("push")).lag().nbytes
        await _drain(shard, line, batch_bytes)
        together = line.taken()
        heads = await _heads(shard, line, every[-100:])
    return PushCosts(
        dim,
        alone=sum(together) / count + heads,
        backlog_ops=count / len(together),
        backlog_bytes=sum(together) / count,
        log_bytes=log_bytes / count,
    )


async def _heads(shard: edge.EdgeShard, line: Line, some: Sequence[edge.UpdateOperation]) -> float:
    """Return what a request has beside its sightings: the same are sent one by one and together."""
    async with Push(shard, line.url, COLLECTION, api_key=KEY) as push:
        for operation in some:
            await shard.update(operation)
            await push.drained()
    alone = line.taken()
    for operation in some:
        await shard.update(operation)
    await _drain(shard, line)
    together = line.taken()
    return (sum(alone) - sum(together)) / (len(alone) - len(together))


async def _drain(shard: edge.EdgeShard, line: Line, batch_bytes: int = BATCH_BYTES) -> None:
    async with Push(shard, line.url, COLLECTION, api_key=KEY, batch_bytes=batch_bytes) as push:
        await push.drained()


def push_costs(mix: Mix, dim: int, seed: int = 0, batch_bytes: int = BATCH_BYTES) -> PushCosts:
    """Return what pushing these sightings costs, in requests of about so many bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "robot")
        return asyncio.run(pushed(mix, dim, path, seed, batch_bytes=batch_bytes))


# ---- snapshots ----


def snapshot_costs(dim: int, seed: int = 0, points: int = BASE_POINTS) -> SnapshotCosts:
    """Return what snapshots of our shard cost, as `export_qdrant` writes them."""
    config = edge.EdgeConfig(
        edge.EdgeVectorParams(dim, edge.Distance.Cosine),
        optimizers=edge.EdgeOptimizersConfig(indexing_threshold=100, default_segment_number=1),
    )
    rows = vectors(np.random.default_rng(seed), 2 * points, dim)
    with (
        tempfile.TemporaryDirectory() as folder,
        edge.blocking.EdgeShard.create(Path(folder, "shard"), config) as shard,
    ):

        def add(first: int, last: int) -> None:
            payloads = [payload(number) for number in range(first, last)]
            shard.upsert_arrays(np.arange(first, last), rows[first:last], payloads)

        def size(since: Mapping[str, Any] | None, name: str) -> tuple[int, dict[str, Any]]:
            path = Path(folder, f"{name}.snapshot")
            manifest = shard.export_qdrant(path, since=since)
            return path.stat().st_size, manifest

        add(0, points)
        shard.optimize()
        full, base = size(None, "full")
        sizes, latest = [], base
        ends = [points + int(points * share) for share in CHANGED]
        for first, last in zip([points, *ends], ends, strict=False):
            add(first, last)
            nbytes, latest = size(base, f"partial-{last}")
            sizes.append(nbytes)
        add(ends[-1], ends[-1] + 1)
        again, _ = size(latest, "again")
    return _snapshots(full / points, [end - points for end in ends], sizes, again)


def qdrant_snapshot_costs(dim: int, seed: int = 0, points: int = BASE_POINTS) -> SnapshotCosts:
    """Return the same of Qdrant Edge's files: of those that its manifest calls newer, the bytes
    that are not holes."""
    config = qdrant_edge.EdgeConfig(
        vectors=qdrant_edge.EdgeVectorParams(size=dim, distance=qdrant_edge.Distance.Cosine),
        optimizers=qdrant_edge.EdgeOptimizersConfig(
            indexing_threshold=100, default_segment_number=1
        ),
    )
    rows = vectors(np.random.default_rng(seed), 2 * points, dim)
    with tempfile.TemporaryDirectory() as folder:
        shard = qdrant_edge.EdgeShard.create(folder, config)

        def add(first: int, last: int) -> None:
            some = [
                qdrant_edge.Point(number, rows[number].tolist(), payload(number))
                for number in range(first, last)
            ]
            shard.update(qdrant_edge.UpdateOperation.upsert_points(some))
            shard.flush()

        for first in range(0, points, 500):
            add(first, min(first + 500, points))
        shard.optimize()
        shard.flush()
        base = shard.snapshot_manifest()
        full = _newer_bytes(Path(folder), base, {})
        ends = [points + int(points * share) for share in CHANGED]
        sizes = []
        for first, last in zip([points, *ends], ends, strict=False):
            add(first, last)
            sizes.append(_newer_bytes(Path(folder), shard.snapshot_manifest(), base))
        latest = shard.snapshot_manifest()
        add(ends[-1], ends[-1] + 1)
        again = _newer_bytes(Path(folder), shard.snapshot_manifest(), latest)
        shard.close()
    return _snapshots(full / points, [end - points for end in ends], sizes, again)


def _newer_bytes(shard: Path, manifest: Mapping[str, Any], base: Mapping[str, Any]) -> int:
    """Bytes of the files that one who has `base` lacks."""
    total = 0
    for segment, described in manifest.items():
        known = base.get(segment)
        for name, version in described["file_versions"].items():
            path = shard / "segments" / segment / name
            if path.exists() and _is_newer(described, version, known, name):
                total += path.stat().st_blocks * 512
    return total


def _is_newer(
    described: Mapping[str, Any], version: int | None, known: Mapping[str, Any] | None, name: str
) -> bool:
    if known is None or name not in known["file_versions"]:
        return True
    before = known["file_versions"][name]
    ours = described["segment_version"] if version is None else version
    theirs = known["segment_version"] if before is None else before
    return bool(theirs < ours or theirs == ours == 0)


def _snapshots(full: float, counts: list[int], sizes: list[int], again: int) -> SnapshotCosts:
    slope = (sizes[-1] - sizes[0]) / (counts[-1] - counts[0])
    return SnapshotCosts(full, sizes[0] - slope * counts[0], slope, counts[-1], again)
