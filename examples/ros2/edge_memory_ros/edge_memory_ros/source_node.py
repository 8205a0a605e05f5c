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

"""The embedding source: a robot on patrol, played from examples/apartment/objects.npz.

It stands in for a camera with an embedding model. `embeddings` carries what it sees (with
`stock_messages` it is embeddings/pose and embeddings/vector), `pose` where it is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from geometry_msgs.msg import PoseStamped
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.qos_overriding_options import QoSOverridingOptions
from std_msgs.msg import Float32MultiArray, Header

from . import messages, stock
from .bridge import Alone, serve
from .door import reliable
from .objects import Objects
from .patrol import Patrol, Waypoint
from .sighting import Sighting

Send = Callable[[list[Sighting]], None]


class SourceNode(Node):
    """See the module. Raises OSError, ValueError or KeyError where there is nothing to play."""

    def __init__(self) -> None:
        super().__init__("embedding_source")
        self._period = 1.0 / self._real("rate", 2.0, "Looks a second.", 0.01, 1000.0)
        self._each = self._whole("things_per_look", 4, "Things seen at each look.", 1, 1000)
        self._looks = self._whole("looks", 0, "Looks in all. 0: without end.", 0, 2**31 - 1)
        self._frame = self._text("frame_id", "map", "Frame of the poses.")
        self._depth = self._whole("depth", 1000, "History depth, in messages.", 1, 100_000)
        self._patrol = self._made_patrol()
        self._send = self._stock() if self._stocked() else self._native()
        self._pose = self.create_publisher(PoseStamped, "pose", 10)
        self._done = 0
        self._looking = self.create_timer(self._period, self._look)

    # -- parameters

    def _described(self, name: str, default: object, **description: object) -> object:
        descriptor = ParameterDescriptor(read_only=True, **description)
        return self.declare_parameter(name, default, descriptor).value

    def _text(self, name: str, default: str, description: str) -> str:
        return str(self._described(name, default, description=description))

    def _whole(self, name: str, default: int, description: str, low: int, high: int) -> int:
        bounds = [IntegerRange(from_value=low, to_value=high, step=0)]
        found = self._described(name, default, description=description, integer_range=bounds)
        return int(str(found))

    def _real(self, name: str, default: float, description: str, low: float, high: float) -> float:
        bounds = [FloatingPointRange(from_value=low, to_value=high, step=0.0)]
        found = self._described(name, default, description=description, floating_point_range=bounds)
        return float(str(found))

    def _stocked(self) -> bool:
        description = "Publish std_msgs and geometry_msgs only."
        return bool(self._described("stock_messages", False, description=description))

    def _made_patrol(self) -> Patrol:
        path = self._text("objects_file", "", "Path of examples/apartment/objects.npz.")
        if not path:
            raise ValueError("parameter objects_file: it must be given")
        rooms = ["kitchen", "living room", "study"]
        told = "Waypoints of the patrol: the rooms, and x and y of their middles in metres."
        columns = [
            self.declare_parameter(name, default, ParameterDescriptor(description=told)).value
            for name, default in (
                ("waypoints.room", rooms),
                ("waypoints.x", [1.5, 7.0, 10.5]),
                ("waypoints.y", [1.5, 1.5, 1.5]),
            )
        ]
        waypoints = [Waypoint(*values) for values in zip(*columns, strict=True)]
        speed = self._real("speed", 0.5, "Metres a second.", 0.0, 10.0)
        seed = self._whole("seed", 0, "Of the patrol's chances.", 0, 2**31 - 1)
        return Patrol(Objects.load(path), waypoints, speed, seed)

    # -- sending

    def _native(self) -> Send:
        """Send with the built interfaces."""
        from edge_memory_interfaces.msg import EmbeddingArray

        from .native_door import embedding_message

        publisher = self.create_publisher(
            EmbeddingArray,
            "embeddings",
            reliable(self._depth),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

        def send(sightings: list[Sighting]) -> None:
            stamp = messages.time_message(sightings[0].stamp)
            header = Header(stamp=stamp, frame_id=sightings[0].frame)
            embeddings = [embedding_message(sighting) for sighting in sightings]
            publisher.publish(EmbeddingArray(header=header, embeddings=embeddings))

        return send

    def _stock(self) -> Send:
        """Send with stock messages."""
        profile = reliable(self._depth)
        poses = self.create_publisher(PoseStamped, "embeddings/pose", profile)
        vectors = self.create_publisher(Float32MultiArray, "embeddings/vector", profile)

        def send(sightings: list[Sighting]) -> None:
            poses.publish(stock.pose_stamped(sightings[0]))
            for sighting in sightings:
                vectors.publish(stock.vector_message(sighting))

        return send

    def _look(self) -> None:
        """Drive on, see, tell. A clock that stands at zero (no /clock yet) is waited for."""
        stamp = self.get_clock().now().nanoseconds
        if stamp == 0:
            return
        self._patrol.drive(self._period)
        sightings = list(self._patrol.look(self._each, stamp, self._frame))
        here = Sighting(messages.vector_of([]), stamp, self._frame, self._patrol.pose)
        self._pose.publish(stock.pose_stamped(here))
        if sightings:
            self._send(sightings)
        self._done += 1
        if self._done == self._looks:
            self._looking.cancel()
            self.get_logger().info(f"{self._done} looks done")


def main(args: list[str] | None = None) -> None:
    """Play until told to end."""
    try:
        serve(lambda _: Alone(SourceNode()), args)
    except (ParameterException, OSError, ValueError, KeyError) as error:
        sys.exit(f"embedding_source: {error}")


if __name__ == "__main__":
    main()
