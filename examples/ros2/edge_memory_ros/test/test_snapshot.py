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

"""The snapshot action."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from action_msgs.msg import GoalStatus
from edge_memory_interfaces.action import Snapshot
from edge_memory_ros.messages import floats_of
from harness import Robot, sightings
from rclpy.action import ActionClient

STORED = sightings(300)


@pytest.fixture(scope="module")
def client(serving: Robot) -> Iterator[ActionClient]:
    """A client of the serving memory, which is filled."""
    assert serving.insert(*STORED).success
    found = ActionClient(serving.node, Snapshot, "edge_memory/snapshot")
    serving.until(found.server_is_ready)
    yield found
    found.destroy()


def take(robot: Robot, client: ActionClient, name: str, feedback: list[Any]) -> Any:
    """Send a goal and wait for how it ends."""
    sent = client.send_goal_async(Snapshot.Goal(name=name), feedback.append)
    return robot.wait(robot.wait(sent).get_result_async())


def test_a_snapshot_is_a_memory_of_its_own(serving: Robot, client: ActionClient) -> None:
    feedback: list[Any] = []
    found = take(serving, client, "evening", feedback)
    assert found.status == GoalStatus.STATUS_SUCCEEDED
    assert found.result.success
    assert found.result.points == len(STORED)
    assert found.result.path == str(serving.folder / "snapshots" / "evening")
    serving.until(lambda: feedback and feedback[-1].feedback.points_done == len(STORED))
    copy = Robot(serving.folder)
    try:
        copy.start_memory(path=found.result.path)
        assert copy.stats().recovered_points == len(STORED)
        nearest = copy.search(vector=floats_of(STORED[42].vector), limit=1).hits
        assert [hit.id for hit in nearest] == [str(STORED[42].point.id)]
        assert (
            nearest[0].tags
            == serving.search(vector=floats_of(STORED[42].vector), limit=1).hits[0].tags
        )
    finally:
        copy.close()


@pytest.mark.parametrize("name", ["../outside", "a/b", ".hidden", "x" * 200])
def test_a_name_cannot_leave_the_directory(serving: Robot, client: ActionClient, name: str) -> None:
    found = take(serving, client, name, [])
    assert found.status == GoalStatus.STATUS_ABORTED
    assert "name" in found.result.message


def test_a_name_is_used_once(serving: Robot, client: ActionClient) -> None:
    assert take(serving, client, "twice", []).result.success
    again = take(serving, client, "twice", [])
    assert again.status == GoalStatus.STATUS_ABORTED
    assert "there already" in again.result.message


def test_a_name_may_be_left_to_the_clock(serving: Robot, client: ActionClient) -> None:
    assert take(serving, client, "", []).result.success


def test_it_may_be_cancelled(serving: Robot, client: ActionClient) -> None:
    many = [seen for seed in range(1, 9) for seen in sightings(500, seed=seed)]
    assert serving.insert(*many).success
    sent = client.send_goal_async(Snapshot.Goal(name="given-up"))
    goal = serving.wait(sent)
    ended = goal.get_result_async()
    serving.wait(goal.cancel_goal_async())
    found = serving.wait(ended)
    assert found.status == GoalStatus.STATUS_CANCELED
    left = [path.name for path in (serving.folder / "snapshots").iterdir()]
    assert not [name for name in left if name.startswith("given-up")]
