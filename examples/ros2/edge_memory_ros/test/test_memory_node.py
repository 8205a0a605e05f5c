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

"""The memory node's life: transitions, streams, restarts, signals, parameters, diagnostics."""

from __future__ import annotations

import signal

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from edge_memory_interfaces.msg import EmbeddingArray
from edge_memory_interfaces.srv import Insert
from edge_memory_ros.door import reliable
from edge_memory_ros.messages import floats_of, time_message
from edge_memory_ros.native_door import embedding_message
from harness import BEGAN, DIMENSION, Robot, objects, sightings
from lifecycle_msgs.msg import Transition
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rosgraph_msgs.msg import Clock

BURST = 3000


def test_nothing_is_lost_by_a_restart(robot: Robot) -> None:
    by_service, by_topic = sightings(30), sightings(30, seed=1)
    memory = robot.start_memory()
    assert robot.insert(*by_service).success
    robot.stream(by_topic, each=3)
    robot.until(lambda: robot.stats().stored == 60)
    assert memory.end(signal.SIGTERM) == 0
    robot.processes.clear()
    robot.start_memory()
    assert robot.stats().recovered_points == 60
    for seen in (by_service[4], by_topic[4]):
        found = robot.search(vector=floats_of(seen.vector), limit=1)
        assert [hit.id for hit in found.hits] == [str(seen.point.id)]


def test_what_was_acknowledged_survives_a_kill(robot: Robot) -> None:
    memory = robot.start_memory()
    synced = Insert.Request.DURABILITY_SYNCED
    assert robot.insert(*sightings(10), durability=synced).success
    state = robot.stats()
    assert state.durable_sequence == state.sequence
    memory.kill()
    robot.processes.clear()
    # To its peers a killed node lives until its lease ends; another domain does not know of it.
    later = Robot(robot.folder)
    try:
        later.start_memory()
        assert later.stats().recovered_points == 10
    finally:
        later.close()


def test_a_burst_is_taken_whole(robot: Robot) -> None:
    robot.start_memory(ingest_depth=BURST + 1000, queue_points=BURST)
    robot.stream(sightings(BURST))
    robot.until(lambda: robot.stats().received == BURST)
    state = robot.until(lambda: (found := robot.stats()).queue_depth == 0 and found)
    assert (state.stored, state.dropped, state.lost) == (BURST, 0, 0)
    assert state.newest_stamp == time_message(BEGAN + (BURST - 1) * 1_000_000)


def test_what_the_queue_has_no_place_for_is_dropped_and_counted(robot: Robot) -> None:
    reports = robot.collect(DiagnosticArray, "/diagnostics")
    robot.start_memory(queue_points=16, report_period=0.2)
    robot.stream(sightings(100), each=100)
    state = robot.until(lambda: (found := robot.stats()).received == 100 and found)
    state = robot.until(lambda: (found := robot.stats()).queue_depth == 0 and found)
    assert (state.stored, state.dropped) == (16, 84)
    warned = robot.until(lambda: [r.status[0] for r in reports if "dropped" in r.status[0].message])
    assert warned[0].level == DiagnosticStatus.WARN


def test_a_late_joiner_gets_the_state(robot: Robot) -> None:
    robot.start("memory_node", **robot.memory_parameters(report_period=60.0))
    assert robot.change(Transition.TRANSITION_CONFIGURE)
    state = robot.late_state()
    assert (state.points, state.queue_capacity, state.last_write_age) == (0, 4096, -1.0)


def test_transitions(robot: Robot) -> None:
    robot.start("memory_node", **robot.memory_parameters())
    assert robot.state_label() == "unconfigured"
    assert "/edge_memory/search" not in dict(robot.node.get_service_names_and_types())
    assert robot.change(Transition.TRANSITION_CONFIGURE)
    assert robot.state_label() == "inactive"
    refused = robot.insert(*sightings(1))
    assert not refused.success
    assert "not active" in refused.message
    assert robot.change(Transition.TRANSITION_ACTIVATE)
    assert robot.insert(*sightings(5)).success
    assert robot.change(Transition.TRANSITION_DEACTIVATE)
    state = robot.stats()
    assert (state.points, state.durable_sequence) == (5, state.sequence)
    assert "not active" in robot.search(limit=1).message
    assert robot.change(Transition.TRANSITION_CLEANUP)
    assert robot.state_label() == "unconfigured"
    assert robot.change(Transition.TRANSITION_CONFIGURE)
    assert robot.change(Transition.TRANSITION_ACTIVATE)
    assert robot.stats().recovered_points == 5
    assert robot.change(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert robot.state_label() == "finalized"


def test_deactivating_stores_what_waits(robot: Robot) -> None:
    robot.start_memory(batch_points=1)
    robot.stream(sightings(200), each=200)
    robot.until(lambda: robot.stats().received == 200)
    assert robot.change(Transition.TRANSITION_DEACTIVATE)
    state = robot.stats()
    assert (state.stored, state.queue_depth) == (200, 0)


def test_it_may_start_by_itself(robot: Robot) -> None:
    robot.start("memory_node", **robot.memory_parameters(autostart=True))
    robot.until(lambda: robot.state_label() == "active")
    assert robot.insert(*sightings(1)).success


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_midst_ends_it_in_good_order(robot: Robot, number: int) -> None:
    memory = robot.start_memory(ingest_depth=5000)
    robot.stream(sightings(1000))
    robot.until(lambda: robot.stats().received > 0)
    assert memory.end(number) == 0
    robot.processes.clear()
    robot.start_memory()
    assert 0 < robot.stats().recovered_points <= 1000


def test_a_memory_of_another_dimension_is_not_opened(robot: Robot) -> None:
    memory = robot.start_memory()
    assert robot.insert(*sightings(1)).success
    assert memory.end() == 0
    robot.processes.clear()
    other = robot.start("memory_node", **robot.memory_parameters(dimension=DIMENSION + 1))
    assert not robot.change(Transition.TRANSITION_CONFIGURE)
    assert robot.state_label() == "unconfigured"
    assert "could not configure" in other.output
    assert "9" in other.output


def test_a_path_must_be_given(robot: Robot) -> None:
    memory = robot.start("memory_node", **robot.memory_parameters(path="''"))
    assert not robot.change(Transition.TRANSITION_CONFIGURE)
    assert "parameter path: it must be given" in memory.output


@pytest.mark.parametrize(
    ("parameters", "word"),
    [
        ({"metric": "hamming"}, "cosine, dot, euclid, manhattan"),
        ({"dimension": 0}, "dimension"),
        ({"dimension": "many"}, "dimension"),
        ({"search_budget": 1000.0}, "search_budget"),
        ({"indexed_tags": "['a\"b']"}, "indexed_tags"),
    ],
)
def test_wrong_parameters_end_the_node_with_the_reason(
    robot: Robot, parameters: dict[str, object], word: str
) -> None:
    memory = robot.start("memory_node", **robot.memory_parameters(**parameters))
    assert memory.wait() == 1
    assert word in memory.output
    assert "Traceback" not in memory.output
    robot.processes.clear()


def test_parameters_that_may_change_and_those_that_may_not(robot: Robot) -> None:
    robot.start("memory_node", **robot.memory_parameters())
    double = ParameterType.PARAMETER_DOUBLE
    changes = [
        ("search_budget", ParameterValue(type=double, double_value=1.5), True),
        ("search_budget", ParameterValue(type=double, double_value=1e6), False),
        (
            "metric",
            ParameterValue(type=ParameterType.PARAMETER_STRING, string_value="dot"),
            False,
        ),
        (
            "dimension",
            ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=9),
            False,
        ),
    ]
    for name, value, expected in changes:
        request = SetParameters.Request(parameters=[Parameter(name=name, value=value)])
        results = robot.call(SetParameters, "edge_memory/set_parameters", request).results
        assert [result.successful for result in results] == [expected], name


def test_zero_stamps_are_refused_or_kept_as_such(robot: Robot) -> None:
    robot.start_memory(zero_stamps="keep")
    stamped, unstamped = sightings(2)
    robot.insert(stamped, sightings(1, stamp=None, tags={"object": ["timeless"]})[0])
    found = robot.search(vector=floats_of(unstamped.vector), limit=10)
    assert len(found.hits) == 2
    windowed = robot.search(vector=floats_of(unstamped.vector), not_after=time_message(BEGAN + 1))
    assert objects(windowed.hits) == ["thing 0"]


def test_an_array_lends_its_stamp(robot: Robot) -> None:
    robot.start_memory()
    publisher = robot.publisher(EmbeddingArray, "embeddings", reliable(10))
    message = EmbeddingArray(embeddings=[embedding_message(sightings(1, stamp=None)[0])])
    publisher.publish(message)
    robot.until(lambda: robot.stats().refused == 1)
    message.header.stamp = time_message(BEGAN)
    publisher.publish(message)
    robot.until(lambda: robot.stats().stored == 1)
    assert robot.search(limit=1).hits[0].header.stamp == time_message(BEGAN)


def test_a_model_keeps_others_out(robot: Robot) -> None:
    robot.start_memory(model="clip@1")
    found = robot.insert(*sightings(1, model="clip@1"), *sightings(1, seed=1, model="clip@2"))
    assert list(found.refused) == [1]
    assert found.success
    assert "clip@2" in found.reasons[0]
    found = robot.insert(*sightings(1, seed=1, model="clip@2"))
    assert not found.success
    assert "clip@2" in found.message


def test_diagnostics_in_every_state(robot: Robot) -> None:
    reports = robot.collect(DiagnosticArray, "/diagnostics")
    robot.start("memory_node", **robot.memory_parameters(report_period=0.1))
    robot.until(lambda: reports)
    assert reports[-1].status[0].message == "not configured"
    robot.change(Transition.TRANSITION_CONFIGURE)
    robot.change(Transition.TRANSITION_ACTIVATE)
    robot.insert(*sightings(3))
    status = robot.until(
        lambda: next((r.status[0] for r in reports if _value(r, "stored") == "3"), None)
    )
    assert status.level == DiagnosticStatus.OK
    assert status.name == "/edge_memory"
    assert status.hardware_id.endswith("/memory")
    assert _value(reports[-1], "queue capacity") == "4096"
    assert float(_value(reports[-1], "age of last write (s)")) >= 0
    assert int(_value(reports[-1], "disk (bytes)")) > 0
    assert _value(reports[-1], "recovered points") == "0"
    robot.insert(*sightings(1, stamp=None))
    warned = robot.until(lambda: [r.status[0] for r in reports if "refused" in r.status[0].message])
    assert warned[0].level == DiagnosticStatus.WARN
    assert "header.stamp" in warned[0].message


def test_simulated_time_is_the_time(robot: Robot) -> None:
    reports = robot.collect(DiagnosticArray, "/diagnostics")
    robot.start_memory(use_sim_time=True, report_period=0.1)
    clock = robot.publisher(Clock, "/clock", 1)

    def it_is_told() -> bool:
        clock.publish(Clock(clock=time_message(BEGAN)))  # best effort: one tick may be lost
        return bool(robot.stats().stamp == time_message(BEGAN))

    robot.until(it_is_told)
    robot.until(lambda: reports[-1].header.stamp == time_message(BEGAN))
    robot.insert(*sightings(1, stamp=BEGAN + 5_000_000_000))
    robot.until(lambda: "use_sim_time" in reports[-1].status[0].message)


def test_stamps_are_those_of_the_sensor(robot: Robot) -> None:
    robot.start_memory()
    robot.insert(*sightings(1, stamp=5))
    assert robot.search(limit=1).hits[0].header.stamp == time_message(5)
    assert robot.stats().newest_stamp == time_message(5)


def _value(report: DiagnosticArray, key: str) -> str:
    return next((pair.value for pair in report.status[0].values if pair.key == key), "")
