# Copyright 2026 The edgeshard contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""The parts that know no ROS: memory, sightings, searches, patrol; and stock messages."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edge_memory_ros import stock
from edge_memory_ros.memory import Memory, Settings
from edge_memory_ros.objects import Objects
from edge_memory_ros.patrol import Patrol, Waypoint
from edge_memory_ros.search import Place, Wanted, tag_path
from edge_memory_ros.sighting import Pose, Rules, Sighting
from harness import BEGAN, DIMENSION, sightings

from edge import EdgeShard, NotFound, ValidationError

RULES = Rules(DIMENSION)
SECONDS = 60.0


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end, on a loop of its own."""
    asyncio.run(work)


def memory(folder: Path, **settings: Any) -> Memory:
    """A memory that is not open yet."""
    return Memory(Settings(folder / "memory", DIMENSION, **settings))


def test_a_sighting_comes_back_as_it_was_stored() -> None:
    seen = sightings(1, model="m@1", keyframe="k7", tags={"object": ["a", "b"]})[0]
    point = seen.point
    again = Sighting.stored(point.id, point.payload or {}, seen.vector)
    assert again.payload == seen.payload
    assert again.id == str(point.id)
    assert again.point.id == point.id


@pytest.mark.parametrize(
    "change",
    [
        {"stamp": 1},
        {"frame": "odom"},
        {"pose": Pose(x=1.0)},
        {"model": "m"},
        {"tags": {}},
        {"vector": np.ones(DIMENSION, np.float32)},
    ],
)
def test_ids_are_made_of_all_that_was_perceived(change: dict[str, Any]) -> None:
    assert sightings(1)[0].point.id == sightings(1)[0].point.id
    assert sightings(1, **change)[0].point.id != sightings(1)[0].point.id


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"vector": np.ones(3, np.float32)}, "3 numbers"),
        ({"vector": np.full(DIMENSION, np.inf, np.float32)}, "finite"),
        ({"pose": Pose(x=math.nan)}, "pose"),
        ({"stamp": None}, "stamp"),
        ({"model": "other"}, "other"),
        ({"id": "-1"}, "id"),
    ],
)
def test_rules(change: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        Rules(DIMENSION, model="m").point(sightings(1, **{"model": "m", **change})[0])


def test_tag_paths() -> None:
    assert tag_path("room") == "tags.room"
    assert tag_path("my room") == 'tags."my room"'
    for wrong in ("", 'a"b', "a\\b"):
        with pytest.raises(ValidationError):
            tag_path(wrong)


def test_a_queue_that_is_full_drops_and_all_is_accounted_for(tmp_path: Path) -> None:
    async def play() -> None:
        held = memory(tmp_path, queue=10)
        await held.open()
        held.offer([RULES.point(seen) for seen in sightings(25)], ["one was wrong"])
        await held.drain()
        counts, state = held.counts, await held.state()
        assert (counts.received, counts.stored, counts.refused, counts.dropped) == (26, 10, 1, 15)
        assert state.points == 10
        assert state.durable_sequence == state.sequence
        await held.close()
        await held.close()

    run(play())


def test_what_is_being_stored_is_accounted_for_too(tmp_path: Path) -> None:
    async def play() -> None:
        held = memory(tmp_path, batch=5)
        await held.open()
        points = [RULES.point(seen) for seen in sightings(50)]
        assert points[7].payload is not None
        points[7].payload["tags"] = {"object": ["x" * 2_000_000]}
        held.offer(points)
        counts = held.counts
        while held.waiting:
            assert counts.stored + counts.refused + held.waiting == counts.received
            await asyncio.sleep(0)
        assert (counts.stored, counts.refused) == (49, 1)
        await held.close()

    run(play())


def test_a_wrong_point_takes_no_other_with_it(tmp_path: Path) -> None:
    async def play() -> None:
        held = memory(tmp_path)
        await held.open()
        good, bad = (RULES.point(seen) for seen in sightings(2))
        assert bad.payload is not None
        bad.payload["tags"] = {"object": ["x" * 2_000_000]}
        held.offer([good, bad])
        await held.drain()
        assert (held.counts.stored, held.counts.refused) == (1, 1)
        assert "payload" in held.counts.trouble
        await held.close()

    run(play())


def test_a_circle_agrees_with_a_plain_model(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    seen = [sightings(1, seed=i, pose=Pose(*rng.uniform(-5, 5, 2).tolist()))[0] for i in range(300)]

    async def play() -> None:
        held = memory(tmp_path)
        await held.open()
        await held.insert([RULES.point(one) for one in seen])
        asked, center, radius = seen[0].vector, Place(1.0, -1.0, 0.0), 3.0
        for limit in (1, 7, 300):
            wanted = Wanted(limit, asked, frame="map", center=center, radius=radius)
            found = await held.search(wanted, SECONDS)
            assert found.complete
            assert [hit.id for hit in found.hits] == nearest(limit, asked, center, radius)
        await held.close()

    def nearest(limit: int, asked: Any, center: Place, radius: float) -> list[Any]:
        inside = [
            one
            for one in seen
            if math.dist((one.pose.x, one.pose.y), (center.x, center.y)) <= radius
        ]
        inside.sort(key=lambda one: -float(one.vector @ asked / np.linalg.norm(one.vector)))
        return [one.point.id for one in inside[:limit]]

    run(play())


@pytest.mark.parametrize("offset", [-1, 0, 1])
def test_time_windows_include_their_ends(tmp_path: Path, offset: int) -> None:
    async def play() -> None:
        held = memory(tmp_path)
        await held.open()
        at = BEGAN + 123_456_789 + offset
        await held.insert([RULES.point(sightings(1, stamp=at)[0])])
        for first, last, count in ((at, at, 1), (at + 2_000, None, 0), (None, at - 2_000, 0)):
            found = await held.search(Wanted(5, not_before=first, not_after=last), SECONDS)
            assert len(found.hits) == count
        await held.close()

    run(play())


def test_indexes_are_made_once(tmp_path: Path) -> None:
    async def play() -> None:
        for _ in range(2):
            held = memory(tmp_path, indexed_tags=("room", "my room"))
            await held.open()
            state = await held.state()
            await held.close()
        async with EdgeShard.load(tmp_path / "memory") as shard:
            schema = (await shard.info()).payload_schema
        assert {"stamp", "frame", "pose.x", "pose.y", "tags.room", 'tags."my room"'} <= {*schema}
        assert state.sequence == len(schema)

    run(play())


def test_a_snapshot_of_nothing_is_an_empty_memory(tmp_path: Path) -> None:
    async def play() -> None:
        held = memory(tmp_path)
        await held.open()
        told: list[tuple[int, int]] = []
        copied = await held.snapshot(tmp_path / "copy", lambda *step: told.append(step))
        assert copied.points == 0
        assert told == [(0, 0)]
        await held.close()
        async with EdgeShard.load(tmp_path / "copy") as shard:
            assert await shard.count() == 0
        with pytest.raises(NotFound):
            await EdgeShard.load(tmp_path / "copy.begun").open()

    run(play())


@pytest.mark.parametrize("pose_first", [True, False])
def test_stock_messages_carry_a_sighting(pose_first: bool) -> None:
    seen = sightings(1)[0]
    pose, vector = stock.pose_stamped(seen), stock.vector_message(seen)
    pairs = stock.Pairs()
    steps = [
        lambda: pairs.pose(pose),
        lambda: pairs.vector(stock.sighting_of(vector)),
    ]
    first, second = steps if pose_first else reversed(steps)
    assert list(first()) == []
    (found,) = second()
    assert found.payload == seen.payload
    assert found.point.id == seen.point.id


def test_vectors_without_a_pose_are_given_up_and_counted() -> None:
    pairs = stock.Pairs()
    for at in range(stock.REMEMBERED + 3):
        assert not list(pairs.vector(sightings(1, stamp=BEGAN + at)[0]))
    assert pairs.alone == 3


@pytest.mark.parametrize("label", ["", "12", "a.b", "1.5"])
def test_a_stock_vector_names_its_stamp(label: str) -> None:
    message = stock.vector_message(sightings(1)[0])
    message.layout.dim[0].label = label
    with pytest.raises(ValidationError, match="stamp"):
        stock.sighting_of(message)


def test_a_patrol_goes_round_at_its_speed() -> None:
    things = Objects(["a", "b"], ["left", "right"], np.eye(2, 384, dtype=np.float32), {})
    robot = Patrol(things, [Waypoint("left", 0.0, 0.0), Waypoint("right", 4.0, 0.0)], speed=1.0)
    rooms = []
    for second in range(8):
        x = second if second <= 4 else 8 - second
        assert robot.pose.x == pytest.approx(x)
        rooms.append(robot.room)
        assert [seen.tags["object"][0] for seen in robot.look(1, 1, "map")] == (
            ["a"] if robot.room == "left" else ["b"]
        )
        robot.drive(1.0)
    assert {*rooms} == {"left", "right"}
    assert robot.pose.x == pytest.approx(0.0)
    still = Patrol(things, [Waypoint("left", 1.0, 2.0)], speed=1.0)
    still.drive(100.0)
    assert (still.pose.x, still.pose.y) == (1.0, 2.0)
