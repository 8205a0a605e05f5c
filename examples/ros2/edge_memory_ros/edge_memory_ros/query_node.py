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

"""The query node: asks the memory, and shows in RViz where the hits were perceived.

    ~/words             String              a question, by its words; see the parameter objects_file
    ~/vector            Float32MultiArray   a question, by its embedding
    edge_memory/search  Search              the memory's service
    ~/poses             PoseArray           poses of the hits, best first
    ~/markers           MarkerArray         an arrow and a text for each hit

The answers are latched: an RViz that starts later sees the last one.
"""

from __future__ import annotations

import sys
from functools import partial

from builtin_interfaces.msg import Duration
from edge_memory_interfaces.msg import Hit
from edge_memory_interfaces.srv import Search
from geometry_msgs.msg import Point, Pose, PoseArray, Vector3
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.task import Future
from std_msgs.msg import ColorRGBA, Float32MultiArray, Header, String
from visualization_msgs.msg import Marker, MarkerArray

from . import messages
from .bridge import Alone, serve
from .door import LATCHED
from .objects import Objects
from .sighting import Tags, Vector

ARROW = Vector3(x=0.4, y=0.06, z=0.06)
TEXT_HEIGHT = 0.2
"""metres"""
TEXT_ABOVE = 0.3
"""metres above the pose"""
FAINTEST = 0.25
"""alpha of the last hits"""


class QueryNode(Node):
    """See the module. Raises OSError, ValueError or KeyError where objects_file is another one."""

    def __init__(self) -> None:
        super().__init__("edge_query")
        self._declare()
        path = self.get_parameter("objects_file").value
        self._questions = Objects.load(path).questions if path else {}
        self._asked = 0
        self._search = self.create_client(Search, "edge_memory/search")
        self._poses = self.create_publisher(PoseArray, "~/poses", LATCHED)
        self._markers = self.create_publisher(MarkerArray, "~/markers", LATCHED)
        self.create_subscription(String, "~/words", self._words, 10)
        self.create_subscription(Float32MultiArray, "~/vector", self._vector, 10)

    def _declare(self) -> None:
        limits = [IntegerRange(from_value=1, to_value=1000, step=0)]
        seconds = [FloatingPointRange(from_value=0.001, to_value=60.0, step=0.0)]
        for name, default, description, bounds in (
            ("objects_file", "", "Where ~/words finds embeddings: objects.npz.", {}),
            ("frame_id", "map", "Frame of the poses that are looked for and shown.", {}),
            ("tags", [""], 'Tags that hits must have, such as "room=kitchen".', {}),
            ("label_tag", "object", "Tag that is shown as text.", {}),
            ("limit", 10, "Hits at most.", {"integer_range": limits}),
            ("budget", 0.2, "Seconds for a search.", {"floating_point_range": seconds}),
        ):
            descriptor = ParameterDescriptor(description=description, **bounds)
            self.declare_parameter(name, default, descriptor)

    # -- asking

    def _words(self, message: String) -> None:
        vector = self._questions.get(message.data)
        if vector is None:
            self.get_logger().warning(f"no embedding is known for {message.data!r}")
            return
        self.ask(vector, message.data)

    def _vector(self, message: Float32MultiArray) -> None:
        self.ask(messages.vector_of(message.data), "a vector")

    def ask(self, vector: Vector, words: str) -> None:
        """Ask the memory; the answer is shown when it comes."""
        if not self._search.service_is_ready():
            self.get_logger().warning(f"{self._search.srv_name} is not there: is the memory up?")
            return
        self._asked += 1
        future = self._search.call_async(self._request(vector))
        future.add_done_callback(partial(self._answered, words, self._asked))

    def _request(self, vector: Vector) -> Search.Request:
        read = {name: self.get_parameter(name).value for name in ("limit", "frame_id", "budget")}
        seconds, rest = divmod(int(read["budget"] * messages.NANOSECONDS), messages.NANOSECONDS)
        return Search.Request(
            vector=messages.floats_of(vector),
            limit=read["limit"],
            frame_id=read["frame_id"],
            tags=messages.tag_messages(wanted_tags(self.get_parameter("tags").value)),
            budget=Duration(sec=seconds, nanosec=rest),
        )

    # -- showing

    def _answered(self, words: str, number: int, future: Future) -> None:
        """Show an answer, unless another question was asked since."""
        response = future.result()
        if response is None or not response.success:
            why = response.message if response else future.exception()
            self.get_logger().warning(f"{words}: {why}")
            return
        if number != self._asked:
            return
        part = "" if response.complete else " (time ran out: the best so far)"
        self.get_logger().info(f"{words}: {len(response.hits)} hits{part}")
        self._show(response.hits)

    def _show(self, hits: list[Hit]) -> None:
        now = self.get_clock().now().to_msg()
        header = Header(stamp=now, frame_id=self.get_parameter("frame_id").value)
        self._poses.publish(PoseArray(header=header, poses=[hit.pose for hit in hits]))
        label = self.get_parameter("label_tag").value
        self._markers.publish(MarkerArray(markers=markers(hits, header, label)))


def wanted_tags(pairs: list[str]) -> Tags:
    """Tags from "key=value"; empty texts are passed over. Raises ValueError for others."""
    found: Tags = {}
    for pair in filter(None, pairs):
        key, mark, value = pair.partition("=")
        if not (key and mark):
            raise ValueError(f"parameter tags: {pair!r} is not key=value")
        found.setdefault(key, []).append(value)
    return found


def markers(hits: list[Hit], header: Header, label: str) -> list[Marker]:
    """First one that clears what was shown before, then an arrow and a text for each hit."""
    shown = [Marker(header=header, action=Marker.DELETEALL)]
    for place, hit in enumerate(hits):
        color = ColorRGBA(r=1.0, g=0.6, b=0.1, a=max(FAINTEST, 1.0 - place / len(hits)))
        words = f"{_labelled(hit, label)} {hit.score:.2f}"
        shown += [arrow(hit, place, header, color), text(hit, place, header, color, words)]
    return shown


def arrow(hit: Hit, place: int, header: Header, color: ColorRGBA) -> Marker:
    """Where the hit was perceived, and which way."""
    return Marker(
        header=header,
        ns="poses",
        id=place,
        type=Marker.ARROW,
        pose=hit.pose,
        scale=ARROW,
        color=color,
    )


def text(hit: Hit, place: int, header: Header, color: ColorRGBA, words: str) -> Marker:
    """What the hit is, above its arrow."""
    at = hit.pose.position
    return Marker(
        header=header,
        ns="labels",
        id=place,
        type=Marker.TEXT_VIEW_FACING,
        pose=Pose(position=Point(x=at.x, y=at.y, z=at.z + TEXT_ABOVE)),
        scale=Vector3(z=TEXT_HEIGHT),
        color=color,
        text=words,
    )


def _labelled(hit: Hit, label: str) -> str:
    """The first value of the tag; the id where the hit has none."""
    return next((tag.value for tag in hit.tags if tag.key == label), hit.id)


def main(args: list[str] | None = None) -> None:
    """Answer questions until told to end."""
    try:
        serve(lambda _: Alone(QueryNode()), args)
    except (ParameterException, OSError, ValueError, KeyError) as error:
        sys.exit(f"edge_query: {error}")


if __name__ == "__main__":
    main()
