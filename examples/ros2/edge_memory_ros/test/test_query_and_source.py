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

"""The embedding source, with both kinds of messages, and the query node behind a real memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from edge_memory_interfaces.msg import EmbeddingArray
from edge_memory_ros.door import LATCHED, reliable
from edge_memory_ros.messages import floats_of
from edge_memory_ros.objects import MODEL, Objects
from geometry_msgs.msg import PoseArray, PoseStamped
from harness import Process, Robot, objects
from std_msgs.msg import Float32MultiArray, String
from visualization_msgs.msg import Marker, MarkerArray

OBJECTS = Path(__file__).parents[3] / "apartment" / "objects.npz"
CONFIG = Path(__file__).parents[1] / "config"
QUESTION = "a fruit that is red"


PANTRY = {"waypoints__room": "[pantry]", "waypoints__x": "[1.0]", "waypoints__y": "[4.0]"}


def source(robot: Robot, **parameters: Any) -> Process:
    """Start a fast source."""
    usual = {"objects_file": OBJECTS, "rate": 100.0, "things_per_look": 5, "depth": 5000}
    return robot.start("source_node", **{**usual, **parameters})


def stop(robot: Robot, process: Process) -> None:
    """End a node in the midst of a test."""
    assert process.end() == 0
    robot.processes.remove(process)


def test_the_source_sees_what_is_in_the_rooms(robot: Robot) -> None:
    seen = robot.collect(EmbeddingArray, "embeddings", reliable(100))
    where = robot.collect(PoseStamped, "pose")
    source(robot, speed=10.0)
    robot.until(lambda: len(seen) >= 50 and where)
    held = Objects.load(OBJECTS)
    homes = dict(zip(held.names, held.rooms, strict=True))
    for message in seen:
        assert message.header.frame_id == "map"
        for embedding in message.embeddings:
            tags = {tag.key: tag.value for tag in embedding.tags}
            assert homes[tags["object"]] == tags["room"]
            assert embedding.model == MODEL
            assert embedding.header.stamp == message.header.stamp
            assert len(embedding.vector) == 384
    assert len({message.embeddings[0].pose.position.x for message in seen}) > 10


def test_a_question_in_words_is_answered_with_poses_and_markers(robot: Robot) -> None:
    robot.start_memory(dimension=384, model=MODEL, ingest_depth=5000)
    seeing = source(robot, **PANTRY)
    query = robot.start("query_node", objects_file=OBJECTS, limit=5)
    robot.until(lambda: robot.stats().stored >= 200)
    stop(robot, seeing)
    words = robot.publisher(String, "edge_query/words")
    poses, markers = [], []
    robot.node.create_subscription(PoseArray, "edge_query/poses", poses.append, LATCHED)
    robot.node.create_subscription(MarkerArray, "edge_query/markers", markers.append, LATCHED)
    words.publish(String(data="what nobody ever asked"))
    asked = 0

    def are_shown() -> bool:
        nonlocal asked
        if query.output.count("is the memory up?") == asked:  # not found yet: ask again
            words.publish(String(data=QUESTION))
            asked += 1
        return bool(poses and markers)

    robot.until(are_shown)
    assert poses[0].header.frame_id == "map"
    assert poses[0].header.stamp.sec > 0
    assert [(pose.position.x, pose.position.y) for pose in poses[0].poses] == [(1.0, 4.0)] * 5
    cleared, *shown = markers[0].markers
    assert cleared.action == Marker.DELETEALL
    assert [marker.type for marker in shown] == [Marker.ARROW, Marker.TEXT_VIEW_FACING] * 5
    assert len({(marker.ns, marker.id) for marker in shown}) == 10
    expected = robot.search(vector=floats_of(Objects.load(OBJECTS).questions[QUESTION]), limit=5)
    texts = [marker.text.rsplit(" ", 1)[0] for marker in shown[1::2]]
    assert texts == objects(expected.hits)
    assert "what nobody ever asked" in query.output


def test_a_question_before_the_memory_is_up_says_so(robot: Robot) -> None:
    query = robot.start("query_node", objects_file=OBJECTS)
    robot.publisher(String, "edge_query/words").publish(String(data=QUESTION))
    robot.until(lambda: "is the memory up?" in query.output)


def test_stock_messages_need_no_interfaces(robot: Robot) -> None:
    robot.start_memory(dimension=384, stock_messages=True, ingest_depth=5000, report_period=0.2)
    states = robot.collect(String, "edge_memory/state", LATCHED)
    poses = robot.collect(PoseArray, "edge_memory/hits", reliable(10))
    seeing = source(robot, stock_messages=True, **PANTRY)
    robot.until(lambda: states and json.loads(states[-1].data)["counts"]["stored"] >= 200)
    stop(robot, seeing)
    assert json.loads(states[-1].data)["counts"]["refused"] == 0
    ask = robot.publisher(Float32MultiArray, "edge_memory/query")
    ask.publish(Float32MultiArray(data=floats_of(Objects.load(OBJECTS).questions[QUESTION])))
    robot.until(lambda: poses)
    assert poses[0].header.frame_id == "map"
    assert [(pose.position.x, pose.position.y) for pose in poses[0].poses] == [(1.0, 4.0)] * 10
    ask.publish(Float32MultiArray(data=[1.0]))
    robot.until(lambda: "query:" in robot.processes[0].output)


def test_stock_mode_imports_no_interfaces(robot: Robot) -> None:
    memory = robot.start("memory_node", **robot.memory_parameters(stock_messages=True))
    assert robot.change(1)
    maps = Path(f"/proc/{memory.pid}/maps").read_text()
    assert "edge_memory_interfaces" not in maps


@pytest.mark.parametrize(
    ("node", "parameters", "word"),
    [
        ("source_node", {}, "objects_file"),
        ("source_node", {"objects_file": "/nowhere.npz"}, "nowhere"),
        ("source_node", {"objects_file": OBJECTS, "rate": 0.0}, "rate"),
        ("source_node", {"objects_file": OBJECTS, "waypoints__x": "[1.0]"}, "argument"),
        ("query_node", {"objects_file": "/nowhere.npz"}, "nowhere"),
        ("query_node", {"limit": 0}, "limit"),
    ],
)
def test_wrong_parameters_end_a_node_with_the_reason(
    robot: Robot, node: str, parameters: dict[str, object], word: str
) -> None:
    process = robot.start(node, **parameters)
    assert process.wait() == 1
    assert word in process.output
    assert "Traceback" not in process.output
    robot.processes.clear()


@pytest.mark.parametrize(
    ("node", "parameters", "last"),
    [("source_node", {"rate": 1000.0}, "pose"), ("query_node", {}, "edge_query/vector")],
)
def test_sigterm_ends_a_node(
    robot: Robot, node: str, parameters: dict[str, object], last: str
) -> None:
    process = robot.start(node, objects_file=OBJECTS, **parameters)
    made = (robot.node.count_publishers, robot.node.count_subscribers)
    robot.until(lambda: any(count(last) for count in made))
    assert process.end() == 0
    robot.processes.clear()


@pytest.mark.parametrize("config", ["memory.yaml", "apartment.yaml"])
def test_the_shipped_configs_are_those_of_the_nodes(robot: Robot, config: str) -> None:
    apartment = ("--params-file", str(CONFIG / "apartment.yaml"))
    memory = ("--params-file", str(CONFIG / config))
    robot.start("memory_node", *memory, path=robot.folder / "memory", autostart=True)
    robot.start("source_node", *apartment, objects_file=OBJECTS, rate=50.0, speed=10.0)
    robot.start("query_node", *apartment, objects_file=OBJECTS)
    state = robot.until(lambda: (found := robot.stats()).stored >= 100 and found)
    assert (state.refused, state.dropped) == (0, 0)
    hits = robot.search(limit=100).hits
    rooms = {tag.value for hit in hits for tag in hit.tags if tag.key == "room"}
    assert rooms
    assert rooms <= {*Objects.load(OBJECTS).rooms}


def test_a_source_may_see_a_counted_number_of_times(robot: Robot) -> None:
    seeing = source(robot, looks=3)
    robot.until(lambda: "3 looks done" in seeing.output)
