"""The space of what was overwritten and deleted comes back without being asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest

import edge
from edge import (
    Distance,
    Durability,
    EdgeConfig,
    EdgeVectorParams,
    Limits,
    Point,
    ShardInfo,
    UpdateOperation,
    blocking,
)

POINTS = 500
OVERWRITES = 20_000
BATCH = 10
SIZE = 32
CHECKPOINT = 256 << 10
LARGEST = 3 * CHECKPOINT
"""Bound of the whole folder: a log of one checkpoint, one more while it is sealed, and the live
points with what is dead in the segments that still hold some of them."""


def config(**options: object) -> EdgeConfig:
    return EdgeConfig(
        EdgeVectorParams(SIZE, Distance.Dot),
        durability=Durability.Os,
        checkpoint_bytes=CHECKPOINT,
        **options,  # type: ignore[arg-type]
    )


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def overwrites() -> Iterator[tuple[np.ndarray, np.ndarray, list[dict[str, int]]]]:
    generator = np.random.default_rng(3)
    for turn in range(OVERWRITES // BATCH):
        ids = generator.choice(POINTS, BATCH, replace=False)
        yield ids, generator.random((BATCH, SIZE), np.float32), [{"turn": turn}] * BATCH


def test_a_new_shard_is_small(tmp_path: Path) -> None:
    blocking.EdgeShard.create(tmp_path, config()).close()
    assert 0 < size_of(tmp_path) < 4096


def test_overwrites(tmp_path: Path) -> None:
    largest = 0
    with blocking.EdgeShard(tmp_path, config()) as shard:
        for turn, (ids, vectors, payloads) in enumerate(overwrites()):
            shard.upsert_arrays(ids, vectors, payloads)
            if turn % 20 == 0:
                largest = max(largest, size_of(tmp_path))
        assert shard.count() == POINTS
        assert shard.info().log_bytes <= CHECKPOINT + BATCH * 4096
    assert CHECKPOINT < largest < LARGEST
    assert size_of(tmp_path) < LARGEST


async def test_overwrites_on_a_loop(tmp_path: Path) -> None:
    async with edge.EdgeShard(tmp_path, config()) as shard:
        for ids, vectors, payloads in overwrites():
            await shard.upsert_arrays(ids, vectors, payloads)
        assert await shard.count() == POINTS
        info = await settled(shard)
    assert info.points_count == POINTS
    assert size_of(tmp_path) < LARGEST


async def settled(shard: edge.EdgeShard) -> ShardInfo:
    """What the shard says of itself once the background work has caught up."""
    await shard.optimize()
    return await shard.info()


def test_everything_deleted(tmp_path: Path) -> None:
    with blocking.EdgeShard(tmp_path, config()) as shard:
        for ids, vectors, payloads in overwrites():
            shard.upsert_arrays(ids, vectors, payloads)
        shard.update(UpdateOperation.delete_points(range(POINTS)))
        while shard.info().log_bytes > 4096:
            shard.update(UpdateOperation.upsert_points([Point(1, [1.0] * SIZE, {"a": "b" * 9999})]))
            shard.update(UpdateOperation.delete_points([1]))
        shard.flush()
        assert shard.count() == 0
        assert size_of(tmp_path) < 16 << 10


def test_a_log_written_under_wider_limits_loads(tmp_path: Path) -> None:
    """What was logged is replayable whatever the limits are that the shard is opened with."""
    with blocking.EdgeShard(tmp_path, config()) as shard:
        shard.update(UpdateOperation.upsert_points([Point(1, [1.0] * SIZE, {"text": "x" * 900})]))
        shard.update(UpdateOperation.set_payload([1], {"more": "y" * 900}))
    narrow = config(limits=Limits(payload_bytes=100, payload_depth=1))
    with blocking.EdgeShard.load(tmp_path, narrow) as shard:
        (found,) = shard.retrieve([1])
        assert found.payload == {"text": "x" * 900, "more": "y" * 900}
        with pytest.raises(edge.LimitExceeded):
            shard.update(UpdateOperation.set_payload([1], {"z": 1}))


def test_points_that_stay_do_not_keep_what_died_beside_them(tmp_path: Path) -> None:
    """One point of each tail is never written again: its segment must not stay for it alone."""
    random = Random(4)
    with blocking.EdgeShard(tmp_path, config()) as shard:
        for turn in range(2_000):
            ids = [*random.sample(range(POINTS), BATCH - 1), POINTS + turn // 20]
            vectors = np.ones((BATCH, SIZE), np.float32)
            shard.upsert_arrays(np.array(ids), vectors, [{"turn": turn}] * BATCH)
        info = shard.info()
        assert shard.count() == POINTS + 100
        assert info.deleted_count < 4 * POINTS
        assert size_of(tmp_path) < LARGEST
