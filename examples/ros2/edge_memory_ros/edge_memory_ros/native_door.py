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

"""The door with interfaces of its own: edge_memory_interfaces.

embeddings   EmbeddingArray   taken while active: reliable, keep last `ingest_depth`
~/insert     Insert           stored when answered
~/search     Search
~/stats      Stats
~/snapshot   Snapshot         an action
~/state      MemoryState      latched
"""

from __future__ import annotations

from concurrent.futures import Future, wait
from datetime import UTC, datetime
from pathlib import Path
from re import fullmatch
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from edge_memory_interfaces.action import Snapshot
from edge_memory_interfaces.msg import Embedding, EmbeddingArray, Hit, MemoryState
from edge_memory_interfaces.srv import Insert, Search, Stats
from geometry_msgs.msg import Point as PointMessage
from rclpy.action import ActionServer, CancelResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from std_msgs.msg import Header

from edge import EdgeError, ScoredPoint, ValidationError

from . import messages
from .door import LATCHED, Host, reliable
from .memory import Copied, State
from .search import Place, Wanted
from .sighting import Sighting

DEFAULT_LIMIT = 10
FEEDBACK_SECONDS = 0.1
STATS_SECONDS = 1.0
Refusals = (EdgeError, TimeoutError)
"""What a request is answered with as text; anything else is a defect and ends the node."""


class NativeDoor:
    """See the module."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._ingest: Subscription | None = None
        self._in_order = MutuallyExclusiveCallbackGroup()
        at_once = ReentrantCallbackGroup()
        node = host.node
        self._state = node.create_publisher(MemoryState, "~/state", LATCHED)
        self._services = [
            node.create_service(kind, name, answer, callback_group=at_once)
            for kind, name, answer in (
                (Search, "~/search", self._search),
                (Insert, "~/insert", self._insert),
                (Stats, "~/stats", self._stats),
            )
        ]
        self._snapshots = ActionServer(
            node,
            Snapshot,
            "~/snapshot",
            self._snapshot,
            cancel_callback=lambda goal: CancelResponse.ACCEPT,
            callback_group=at_once,
        )

    def activate(self) -> None:
        """Begin to take what comes by topic."""
        self._ingest = self._host.node.create_subscription(
            EmbeddingArray,
            "embeddings",
            self._take,
            reliable(self._host.number("ingest_depth")),
            callback_group=self._in_order,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def deactivate(self) -> None:
        """Take nothing more by topic."""
        if self._ingest is not None:
            self._host.node.destroy_subscription(self._ingest)
            self._ingest = None

    def tell(self, state: State) -> None:
        """Publish the state, for late joiners too."""
        self._state.publish(self._state_message(state))

    def close(self) -> None:
        """Destroy all."""
        self.deactivate()
        self._snapshots.destroy()
        for service in self._services:
            self._host.node.destroy_service(service)
        self._host.node.destroy_publisher(self._state)

    # -- what comes in

    def _take(self, message: EmbeddingArray) -> None:
        self._host.offer(sightings_of(message))

    def _insert(self, request: Insert.Request, response: Insert.Response) -> Insert.Response:
        """Store; see Insert.srv."""
        seconds = self._seconds(request.budget, "insert_budget")
        points, refused = self._host.take(map(sighting_of, request.embeddings))
        response.refused, response.reasons = list(refused), list(refused.values())
        synced = request.durability == Insert.Request.DURABILITY_SYNCED
        try:
            self._host.check_active()
            storing = self._host.memory.insert(points, response.reasons, synced)
            response.sequence = self._host.bridge.call(storing, seconds)
            response.ids = [str(point.id) for point in points]
            response.success, response.complete = bool(points) or not refused, True
            if not response.success:
                response.message = f"all were refused, the first: {response.reasons[0]}"
        except Refusals as error:
            response.message = _told(error, seconds)
            response.complete = not isinstance(error, TimeoutError)
        return response

    # -- what goes out

    def _search(self, request: Search.Request, response: Search.Response) -> Search.Response:
        """Find; see Search.srv."""
        seconds = self._seconds(request.budget, "search_budget")
        try:
            self._host.check_active()
            wanted = wanted_of(request, self._host.number("max_hits"))
            found = self._host.ask(self._host.memory.search(wanted, seconds), seconds)
            response.hits = [hit_message(hit) for hit in found.hits]
            response.success, response.complete = True, found.complete
        except Refusals as error:
            response.message = _told(error, seconds)
        return response

    def _stats(self, request: Stats.Request, response: Stats.Response) -> Stats.Response:
        """Say how the memory is; also while the node is inactive."""
        try:
            state = self._host.ask(self._host.memory.state(), STATS_SECONDS)
            response.state, response.success = self._state_message(state), True
        except Refusals as error:
            response.message = _told(error, STATS_SECONDS)
        return response

    def _state_message(self, state: State) -> MemoryState:
        counts, now = state.counts, self._host.node.get_clock().now()
        return MemoryState(
            stamp=now.to_msg(),
            points=state.points,
            indexed_points=state.indexed,
            sequence=state.sequence,
            durable_sequence=state.durable_sequence,
            recovered_points=counts.recovered,
            received=counts.received,
            stored=counts.stored,
            refused=counts.refused,
            dropped=counts.dropped,
            lost=counts.lost,
            queue_depth=state.queue_depth,
            queue_capacity=state.queue_capacity,
            newest_stamp=messages.time_message(counts.newest_stamp),
            last_write_age=-1.0 if state.last_write_age is None else state.last_write_age,
            disk_bytes=state.disk_bytes,
            log_bytes=state.log_bytes,
            read_only=state.read_only,
            optimizer=state.optimizer,
        )

    # -- snapshots

    def _snapshot(self, goal: ServerGoalHandle) -> Snapshot.Result:
        """Copy; see Snapshot.action."""
        result = Snapshot.Result()
        try:
            self._host.check_active()
            folder = self._snapshot_folder(goal.request.name)
            result.path = str(folder)
            copied = self._copied(goal, folder)
        except Refusals as error:
            goal.abort()
            result.message = str(error)
            return result
        if copied is None:
            result.message = "cancelled; nothing is left of it"
            goal.canceled() if goal.is_cancel_requested else goal.abort()
            return result
        goal.succeed()
        result.success, result.sequence, result.points = True, copied.sequence, copied.points
        return result

    def _copied(self, goal: ServerGoalHandle, folder: Path) -> Copied | None:
        """Wait for the copy and tell how far it is; None where it was cancelled."""
        progress = Snapshot.Feedback()

        def told(done: int, total: int) -> None:
            progress.points_done, progress.points_total = done, total

        host = self._host
        copying: Future[Copied] = host.bridge.start(host.memory.snapshot(folder, told))
        while not wait([copying], FEEDBACK_SECONDS).done:
            goal.publish_feedback(progress)
            if goal.is_cancel_requested or host.bridge.stopping.is_set():
                copying.cancel()
        goal.publish_feedback(progress)
        return None if copying.cancelled() else copying.result()

    def _snapshot_folder(self, name: str) -> Path:
        directory = self._host.number("snapshot_directory")
        if not directory:
            raise ValidationError("parameter snapshot_directory: it is empty, so none are made")
        name = name or datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        if not fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}", name):
            raise ValidationError(f"name: {name!r} is not made of letters, digits, '_', '-', '.'")
        return Path(directory).expanduser() / name

    def _seconds(self, budget: Duration, default: str) -> float:
        given = budget.sec + budget.nanosec / messages.NANOSECONDS
        return given if given > 0 else float(self._host.number(default))


def _told(error: Exception, seconds: float) -> str:
    """The error in words."""
    late = isinstance(error, TimeoutError)
    return f"no answer within {seconds:g} s" if late else str(error)


def sighting_of(message: Embedding, stamp: int | None = None) -> Sighting:
    """The sighting that a message tells of; `stamp` where it has none of its own."""
    return Sighting(
        messages.vector_of(message.vector),
        messages.nanoseconds(message.header.stamp) or stamp,
        message.header.frame_id,
        messages.pose_of(message.pose),
        message.model,
        message.keyframe,
        messages.tags_of(message.tags),
        message.id,
    )


def sightings_of(message: EmbeddingArray) -> list[Sighting]:
    """All sightings of a message."""
    stamp = messages.nanoseconds(message.header.stamp)
    return [sighting_of(embedding, stamp) for embedding in message.embeddings]


def embedding_message(sighting: Sighting) -> Embedding:
    """The message that tells of a sighting."""
    return Embedding(
        header=_header(sighting),
        id=sighting.id,
        model=sighting.model,
        pose=messages.pose_message(sighting.pose),
        keyframe=sighting.keyframe,
        tags=messages.tag_messages(sighting.tags),
        vector=messages.floats_of(sighting.vector),
    )


def hit_message(hit: ScoredPoint) -> Hit:
    """The message that tells of a hit."""
    vector: Any = [] if hit.vector is None else hit.vector
    sighting = Sighting.stored(hit.id, hit.payload or {}, np.array(vector, np.float32))
    return Hit(
        header=_header(sighting),
        id=sighting.id,
        score=hit.score,
        model=sighting.model,
        pose=messages.pose_message(sighting.pose),
        keyframe=sighting.keyframe,
        tags=messages.tag_messages(sighting.tags),
        vector=messages.floats_of(sighting.vector),
    )


def _header(sighting: Sighting) -> Header:
    return Header(stamp=messages.time_message(sighting.stamp), frame_id=sighting.frame)


def wanted_of(request: Search.Request, most: int) -> Wanted:
    """What a request asks for, at most `most` hits. Raises ValidationError."""
    box = (_place(request.box_min), _place(request.box_max))
    vector = messages.vector_of(request.vector)
    return Wanted(
        limit=min(request.limit or DEFAULT_LIMIT, most),
        vector=vector if len(vector) else None,
        score_threshold=next(iter(request.score_threshold), None),
        frame=request.frame_id,
        model=request.model,
        tags=messages.tags_of(request.tags),
        center=_place(request.center) if request.radius else None,
        radius=request.radius,
        box=box if box[0] != box[1] else None,
        not_before=messages.nanoseconds(request.not_before),
        not_after=messages.nanoseconds(request.not_after),
        with_vectors=request.with_vectors,
    )


def _place(message: PointMessage) -> Place:
    return Place(message.x, message.y, message.z)
