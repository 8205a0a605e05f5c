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

"""Searches against one serving memory: what each field of Search.srv asks for."""

from __future__ import annotations

from typing import Any

import pytest
from builtin_interfaces.msg import Duration
from diagnostic_msgs.msg import KeyValue
from edge_memory_ros.messages import floats_of, time_message
from geometry_msgs.msg import Point
from harness import BEGAN, DIMENSION, Robot, objects, sightings

STORED = sightings(20)
ELSEWHERE = sightings(5, seed=1, frame="odom", model="other@1", tags={"object": ["ghost"]})
FIRST, TENTH = time_message(STORED[0].stamp), time_message(STORED[9].stamp)


@pytest.fixture(scope="module")
def filled(serving: Robot) -> Robot:
    """The serving memory with two kinds of sightings."""
    assert serving.insert(*STORED, *ELSEWHERE).success
    return serving


def things(*numbers: int) -> set[str]:
    """Names of stored things."""
    return {f"thing {number}" for number in numbers}


def test_the_nearest_comes_first_with_all_that_was_stored(filled: Robot) -> None:
    asked = STORED[7]
    found = filled.search(vector=floats_of(asked.vector), limit=3, with_vectors=True)
    assert found.success
    assert found.complete
    best = found.hits[0]
    assert best.score == pytest.approx(1.0, abs=1e-6)
    assert best.header.stamp == time_message(asked.stamp)
    assert best.header.frame_id == "map"
    assert best.pose.position == Point(x=3.5)
    assert best.pose.orientation.w == 1.0
    assert [(tag.key, tag.value) for tag in best.tags] == [
        ("object", "thing 7"),
        ("room", "kitchen"),
    ]
    assert len(best.vector) == DIMENSION
    assert [hit.score for hit in found.hits] == sorted(
        (hit.score for hit in found.hits), reverse=True
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"tags": [KeyValue(key="object", value="thing 3")]}, things(3)),
        (
            {
                "tags": [
                    KeyValue(key="object", value="thing 3"),
                    KeyValue(key="object", value="thing 4"),
                    KeyValue(key="room", value="study"),
                ]
            },
            things(4),
        ),
        ({"frame_id": "odom"}, {"ghost"}),
        ({"model": "other@1"}, {"ghost"}),
        ({"frame_id": "map", "center": Point(x=2.0), "radius": 1.0}, things(2, 3, 4, 5, 6)),
        ({"frame_id": "map", "center": Point(x=2.0, y=0.9), "radius": 1.0}, things(4)),
        (
            {"frame_id": "map", "box_min": Point(x=1.0, y=-1.0), "box_max": Point(x=2.0)},
            things(2, 3, 4),
        ),
        ({"not_before": FIRST, "not_after": TENTH}, things(*range(10))),
        ({"not_after": FIRST}, things(0)),
    ],
)
def test_filters(filled: Robot, fields: dict[str, Any], expected: set[str]) -> None:
    found = filled.search(vector=floats_of(STORED[0].vector), limit=100, **fields)
    assert found.success, found.message
    assert set(objects(found.hits)) == expected


def test_a_radius_finds_the_nearest_vectors_even_where_its_box_holds_more(filled: Robot) -> None:
    fields = {"frame_id": "map", "center": Point(x=2.0, y=0.9), "radius": 1.0, "limit": 1}
    found = filled.search(vector=floats_of(STORED[2].vector), **fields)
    assert objects(found.hits) == ["thing 4"]


def test_without_a_vector_the_newest_come_first(filled: Robot) -> None:
    found = filled.search(frame_id="map", limit=3)
    assert objects(found.hits) == ["thing 19", "thing 18", "thing 17"]
    assert {hit.score for hit in found.hits} == {1.0}


def test_a_threshold_and_the_default_limit(filled: Robot) -> None:
    asked = floats_of(STORED[5].vector)
    assert objects(filled.search(vector=asked, score_threshold=[0.999]).hits) == ["thing 5"]
    assert len(filled.search(vector=asked).hits) == 10


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"vector": [1.0, 2.0]}, "8 numbers"),
        ({"vector": [float("nan")] * DIMENSION}, "finite"),
        ({"center": Point(), "radius": 1.0}, "frame_id"),
        ({"frame_id": "map", "radius": -1.0}, "radius"),
        ({"frame_id": "map", "box_min": Point(x=1.0), "box_max": Point(y=1.0)}, "box_min"),
        ({"tags": [KeyValue(key="", value="x")]}, "tags"),
    ],
)
def test_what_is_wrong_is_answered_with_the_reason(
    filled: Robot, fields: dict[str, Any], word: str
) -> None:
    found = filled.search(**fields)
    assert not found.success
    assert not found.complete
    assert word in found.message


def test_no_time_is_said_so(filled: Robot) -> None:
    found = filled.search(vector=floats_of(STORED[0].vector), budget=Duration(nanosec=1))
    assert not found.complete
    assert found.hits == [] or found.success


def test_the_same_sighting_twice_is_stored_once(filled: Robot) -> None:
    before = filled.stats().points
    assert filled.insert(*STORED).ids == [str(seen.point.id) for seen in STORED]
    assert filled.stats().points == before


def test_insert_refuses_one_by_one(filled: Robot) -> None:
    good, short, unstamped = sightings(3, seed=9)
    wrong = [
        sightings(1, vector=short.vector[:3])[0],
        sightings(1, stamp=None)[0],
        sightings(1, id="no id")[0],
    ]
    found = filled.insert(good, *wrong, unstamped)
    assert found.success
    assert found.complete
    assert len(found.ids) == 2
    assert list(found.refused) == [1, 2, 3]
    for word, reason in zip(("vector", "stamp", "id"), found.reasons, strict=True):
        assert word in reason
    assert filled.stats().refused == 3


def test_ids_are_kept_and_replace(filled: Robot) -> None:
    for at in (BEGAN, BEGAN + 1):
        assert filled.insert(*sightings(1, id="18446744073709551615", stamp=at)).success
    found = filled.search(not_before=time_message(BEGAN), limit=1000)
    same = [hit for hit in found.hits if hit.id == "18446744073709551615"]
    assert [hit.header.stamp for hit in same] == [time_message(BEGAN + 1)]
