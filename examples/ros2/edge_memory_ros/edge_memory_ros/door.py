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

"""What the two doors of the memory node have in common: what they need, and what they do."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from edge import Point, ShardClosed, ValidationError

from .bridge import Bridge
from .memory import Memory, State
from .sighting import Rules, Sighting

T = TypeVar("T")

LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""For what a late joiner has to know: the last one."""

GRACE_SECONDS = 1.0
"""How much longer than its budget an answer is waited for: the loop has the deadline, this is for
the case that the loop itself is late."""


def reliable(depth: int) -> QoSProfile:
    """For streams: nothing is lost on the way, unless more than `depth` messages wait."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.VOLATILE,
    )


class Taken(NamedTuple):
    """Points to store, the places and reasons of those that are refused."""

    points: list[Point]
    refused: dict[int, str]


@dataclass
class Host:
    """What a door needs of its node, from configure to cleanup."""

    node: Node
    bridge: Bridge
    memory: Memory
    rules: Rules
    active: bool = False

    def check_active(self) -> None:
        """Raise ShardClosed where the node is not active."""
        if not self.active:
            raise ShardClosed("the memory node is not active")

    def ask(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Wait for what the memory answers. Raises TimeoutError where the loop is late."""
        return self.bridge.call(work, seconds + GRACE_SECONDS)

    def take(self, sightings: Iterable[Sighting]) -> Taken:
        """Sort sightings into points and refusals."""
        taken = Taken([], {})
        for place, sighting in enumerate(sightings):
            try:
                taken.points.append(self.rules.point(sighting))
            except ValidationError as error:
                taken.refused[place] = str(error)
        return taken

    def offer(self, sightings: Iterable[Sighting]) -> None:
        """Put sightings of a stream into the memory's queue, without waiting."""
        points, refused = self.take(sightings)
        self.bridge.post(self.memory.offer, points, list(refused.values()))

    def number(self, name: str) -> Any:
        """The present value of a parameter."""
        return self.node.get_parameter(name).value


class Door(Protocol):
    """The topics, services and actions by which a memory is reached."""

    def __init__(self, host: Host) -> None: ...

    def activate(self) -> None:
        """Begin to take what comes by topic."""

    def deactivate(self) -> None:
        """Take nothing more by topic."""

    def tell(self, state: State) -> None:
        """Publish the state, for late joiners too."""

    def close(self) -> None:
        """Destroy all."""
