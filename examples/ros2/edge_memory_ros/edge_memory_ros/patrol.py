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

"""A robot that drives from waypoint to waypoint, round and round, and sees what is in the rooms.

Nothing here knows ROS. The same seed gives the same drive.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from .objects import MODEL, Objects
from .sighting import Pose, Sighting, Vector

NOISE = 0.15
"""How far a camera's embedding lies from the object's own, on vectors of length one."""


class Waypoint(NamedTuple):
    """The middle of a room, in metres."""

    room: str
    x: float
    y: float


class Patrol:
    """The drive. `speed` in metres a second."""

    def __init__(
        self, objects: Objects, waypoints: Sequence[Waypoint], speed: float, seed: int = 0
    ) -> None:
        if not waypoints:
            raise ValueError("waypoints: at least one is needed")
        self._objects = objects
        self._waypoints = waypoints
        self._speed = speed
        self._rng = np.random.default_rng(seed)
        self._at_home = {
            point.room: [i for i, room in enumerate(objects.rooms) if room == point.room]
            for point in waypoints
        }
        self._next = 1 % len(waypoints)
        self._round = sum(
            math.dist(here[1:], there[1:])
            for here, there in zip(waypoints, [*waypoints[1:], waypoints[0]], strict=True)
        )
        self.pose = Pose(waypoints[0].x, waypoints[0].y)

    def drive(self, seconds: float) -> None:
        """Go on for a while; the pose looks where the robot drives."""
        left = self._speed * seconds if self._round else 0.0
        while left > 0:
            goal = self._waypoints[self._next]
            dx, dy = goal.x - self.pose.x, goal.y - self.pose.y
            distance = math.hypot(dx, dy)
            if distance > left:
                part = left / distance
                self.pose = heading(self.pose.x + dx * part, self.pose.y + dy * part, dx, dy)
                return
            self.pose = heading(goal.x, goal.y, dx, dy)
            self._next = (self._next + 1) % len(self._waypoints)
            left -= distance

    @property
    def room(self) -> str:
        """The room whose middle is nearest."""
        here = (self.pose.x, self.pose.y)
        return min(self._waypoints, key=lambda point: math.dist(here, (point.x, point.y))).room

    def look(self, count: int, stamp: int, frame: str) -> Iterator[Sighting]:
        """See `count` things of the room; `stamp` in nanoseconds, `frame` that of the waypoints."""
        room = self.room
        for _ in range(count if self._at_home[room] else 0):
            thing = int(self._rng.choice(self._at_home[room]))
            yield Sighting(
                self._seen(self._objects.vectors[thing]),
                stamp,
                frame,
                self.pose,
                MODEL,
                tags={"object": [self._objects.names[thing]], "room": [room]},
            )

    def _seen(self, vector: Vector) -> Vector:
        """The embedding as a camera would give it: a little beside the true one."""
        noise = self._rng.standard_normal(len(vector), np.float32)
        noisy = vector + noise * np.float32(NOISE / math.sqrt(len(vector)))
        seen: Vector = noisy / np.linalg.norm(noisy)
        return seen


def heading(x: float, y: float, dx: float, dy: float) -> Pose:
    """The pose at (x, y) of who looks in the direction (dx, dy)."""
    half = math.atan2(dy, dx) / 2
    return Pose(x, y, qz=math.sin(half), qw=math.cos(half))
