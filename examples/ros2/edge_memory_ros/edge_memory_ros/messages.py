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

"""Between messages and sightings: what is the same with and without built interfaces."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import KeyValue
from geometry_msgs.msg import Point as PointMessage
from geometry_msgs.msg import Pose as PoseMessage
from geometry_msgs.msg import Quaternion

from .sighting import Pose, Tags, Vector

NANOSECONDS = 1_000_000_000


def nanoseconds(stamp: Time) -> int | None:
    """The stamp as one number; None where it is zero."""
    return stamp.sec * NANOSECONDS + stamp.nanosec or None


def time_message(stamp: int | None) -> Time:
    """The stamp as a message; zero where there is none."""
    seconds, rest = divmod(stamp or 0, NANOSECONDS)
    return Time(sec=seconds, nanosec=rest)


def vector_of(floats: Sequence[float]) -> Vector:
    """float32[n], a copy; without a look at each number where the message holds an array."""
    if isinstance(floats, array):
        return np.frombuffer(floats, np.float32).copy() if floats else np.empty(0, np.float32)
    return np.array(floats, np.float32)


def floats_of(vector: Iterable[float]) -> array[float]:
    """What a message's float32[] takes without a look at each number."""
    return array("f", np.asarray(vector, np.float32).tobytes())


def pose_of(message: PoseMessage) -> Pose:
    """The pose; a quaternion of zeros, which a message begins with elsewhere, is no rotation."""
    at, turned = message.position, message.orientation
    quaternion = (turned.x, turned.y, turned.z, turned.w)
    return Pose(at.x, at.y, at.z, *(quaternion if any(quaternion) else (0.0, 0.0, 0.0, 1.0)))


def pose_message(pose: Pose) -> PoseMessage:
    """The pose as a message, of floats: an int in a float's place is sent as anything at all."""
    x, y, z, qx, qy, qz, qw = map(float, pose)
    return PoseMessage(
        position=PointMessage(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw)
    )


def tags_of(pairs: Iterable[KeyValue]) -> Tags:
    """Values by key, in their order."""
    found: Tags = {}
    for pair in pairs:
        found.setdefault(pair.key, []).append(pair.value)
    return found


def tag_messages(tags: Tags) -> list[KeyValue]:
    """A pair for each value."""
    return [KeyValue(key=key, value=value) for key, values in tags.items() for value in values]
