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

"""The door for those who build no interfaces: std_msgs and geometry_msgs only, and fewer promises.

embeddings/pose    PoseStamped         together a sighting, see stock.py; taken while active
embeddings/vector  Float32MultiArray
~/query            Float32MultiArray   a vector (any layout) to be near to
~/hits             PoseArray           where the nearest were perceived, best first; of the frame of
                                       the best one only
~/state            String              JSON, latched
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

from geometry_msgs.msg import PoseArray, PoseStamped
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.subscription import Subscription
from std_msgs.msg import Float32MultiArray, String

from edge import EdgeError, ScoredPoint, ValidationError

from . import messages, stock
from .door import LATCHED, Host, reliable
from .memory import State
from .search import Wanted
from .sighting import Sighting

HITS = 10


class StockDoor:
    """See the module."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._pairs = stock.Pairs()
        self._in_order = MutuallyExclusiveCallbackGroup()
        self._ingest: list[Subscription] = []
        self._hits = host.node.create_publisher(PoseArray, "~/hits", reliable(HITS))
        self._state = host.node.create_publisher(String, "~/state", LATCHED)
        self._asked = host.node.create_subscription(
            Float32MultiArray,
            "~/query",
            self._search,
            reliable(HITS),
            callback_group=MutuallyExclusiveCallbackGroup(),
        )

    def activate(self) -> None:
        """Begin to take what comes by topic."""
        profile = reliable(self._host.number("ingest_depth"))
        self._ingest = [
            self._host.node.create_subscription(
                kind, name, take, profile, callback_group=self._in_order
            )
            for kind, name, take in (
                (PoseStamped, "embeddings/pose", self._take_pose),
                (Float32MultiArray, "embeddings/vector", self._take_vector),
            )
        ]

    def deactivate(self) -> None:
        """Take nothing more by topic."""
        for subscription in self._ingest:
            self._host.node.destroy_subscription(subscription)
        self._ingest = []

    def tell(self, state: State) -> None:
        """Publish the state, for late joiners too."""
        self._state.publish(String(data=json.dumps(asdict(state) | {"alone": self._pairs.alone})))

    def close(self) -> None:
        """Destroy all."""
        self.deactivate()
        self._host.node.destroy_subscription(self._asked)
        self._host.node.destroy_publisher(self._hits)
        self._host.node.destroy_publisher(self._state)

    def _take_pose(self, message: PoseStamped) -> None:
        self._host.offer(self._pairs.pose(message))

    def _take_vector(self, message: Float32MultiArray) -> None:
        try:
            self._host.offer(self._pairs.vector(stock.sighting_of(message)))
        except ValidationError as error:
            self._host.bridge.post(self._host.memory.offer, (), [str(error)])

    def _search(self, message: Float32MultiArray) -> None:
        """Answer a vector with the poses of its nearest."""
        seconds = float(self._host.number("search_budget"))
        try:
            self._host.check_active()
            wanted = Wanted(HITS, messages.vector_of(message.data))
            found = self._host.ask(self._host.memory.search(wanted, seconds), seconds)
        except (EdgeError, TimeoutError) as error:
            self._host.node.get_logger().warning(f"query: {error or 'no answer in time'}")
            return
        self._hits.publish(self._poses(found.hits))

    def _poses(self, hits: list[ScoredPoint]) -> PoseArray:
        sightings = list(_sightings(hits))
        frame = sightings[0].frame if sightings else ""
        near = [messages.pose_message(seen.pose) for seen in sightings if seen.frame == frame]
        poses = PoseArray(poses=near)
        poses.header.frame_id = frame
        poses.header.stamp = self._host.node.get_clock().now().to_msg()
        return poses


def _sightings(hits: list[ScoredPoint]) -> Iterator[Sighting]:
    for hit in hits:
        yield Sighting.stored(hit.id, hit.payload or {}, messages.vector_of([]))
