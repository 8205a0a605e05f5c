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

"""Real nodes in real processes, and a node of the test's own that talks to them.

Every wait spins until something is true; none sleeps. A process that leaves a traceback or a
warning in its output fails its test.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import numpy as np
import rclpy
from edge_memory_interfaces.msg import EmbeddingArray, MemoryState
from edge_memory_interfaces.srv import Insert, Search, Stats
from edge_memory_ros.door import LATCHED, reliable
from edge_memory_ros.native_door import embedding_message
from edge_memory_ros.sighting import Pose, Sighting
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.task import Future

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
DIMENSION = 8
SECOND = 1_000_000_000
BEGAN = 1_700_000_000 * SECOND
UNWANTED = ("Traceback", "Warning", "never awaited", "Exception")

_domains = count(1)


class Process:
    """One node in a process of its own; its output goes into a file."""

    def __init__(self, node: str, arguments: list[str], domain: int, log: Path) -> None:
        self.log = log
        command = [sys.executable, "-m", f"edge_memory_ros.{node}", "--ros-args", *arguments]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"ROS_DOMAIN_ID": str(domain), "PYTHONUNBUFFERED": "1"},
            )

    @property
    def output(self) -> str:
        """All that the node has said."""
        return self.log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process.poll() is None

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, return the exit code."""
        self._process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end, return the exit code."""
        return self._process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """End it however it is."""
        self._process.kill()
        self._process.wait()


class Robot:
    """A test's own node, context and domain, and the processes that it started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.domain = next(_domains)
        self.processes: list[Process] = []
        self._context = Context()
        rclpy.init(context=self._context, domain_id=self.domain)
        self.node = Node(f"test_{self.domain}", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)

    def close(self) -> None:
        """End all; fail where a process said what it should not say."""
        for process in self.processes:
            process.kill()
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self._context)
        said = "\n".join(process.output for process in self.processes)
        assert not [word for word in UNWANTED if word in said], said

    # -- processes

    def start(self, node: str, *arguments: str, **parameters: object) -> Process:
        """Start a node with parameters, given in YAML as on a command line."""
        for name, value in parameters.items():
            arguments = (*arguments, "-p", f"{name.replace('__', '.')}:={_yaml(value)}")
        log = self.folder / f"{len(self.processes)}-{node}.log"
        process = Process(node, list(arguments), self.domain, log)
        self.processes.append(process)
        return process

    def start_memory(self, **parameters: object) -> Process:
        """Start a memory node that serves; it uses the folder `memory`."""
        process = self.start("memory_node", **self.memory_parameters(**parameters))
        self.change(Transition.TRANSITION_CONFIGURE)
        self.change(Transition.TRANSITION_ACTIVATE)
        return process

    def memory_parameters(self, **parameters: object) -> dict[str, object]:
        """What every memory node of a test is given."""
        usual = {"path": self.folder / "memory", "dimension": DIMENSION}
        return {**usual, "snapshot_directory": self.folder / "snapshots", **parameters}

    def change(self, transition: int) -> bool:
        """Ask for a transition; return whether it was carried out."""
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self.call(ChangeState, "edge_memory/change_state", request).success)

    def state_label(self) -> str:
        """The lifecycle state."""
        found: State = self.call(
            GetState, "edge_memory/get_state", GetState.Request()
        ).current_state
        return str(found.label)

    # -- talking

    def until(self, told: Callable[[], T]) -> T:
        """Spin until something is true (or there), and return it."""
        end = monotonic() + PATIENCE_SECONDS
        while not (found := told()):
            assert monotonic() < end, "it never came to be"
            assert all(process.running for process in self.processes), self.processes[-1].output
            self._executor.spin_once(timeout_sec=0.02)
        return found

    def call(self, kind: Any, name: str, request: Any) -> Any:
        """Call a service and wait for its answer."""
        client = self.node.create_client(kind, name)
        try:
            self.until(client.service_is_ready)
            return self.wait(client.call_async(request))
        finally:
            self.node.destroy_client(client)

    def wait(self, future: Future) -> Any:
        """Wait for the result of a future."""
        self.until(future.done)
        return future.result()

    def collect(self, kind: Any, topic: str, profile: QoSProfile | int = 100) -> list[Any]:
        """Subscribe; the list fills while the test waits for other things."""
        found: list[Any] = []
        self.node.create_subscription(kind, topic, found.append, profile)
        return found

    def publisher(self, kind: Any, topic: str, profile: QoSProfile | int = 10) -> Publisher:
        """A publisher that somebody listens to already."""
        publisher = self.node.create_publisher(kind, topic, profile)
        self.until(lambda: publisher.get_subscription_count() > 0)
        return publisher

    # -- the memory

    def insert(self, *sightings: Sighting, **fields: Any) -> Insert.Response:
        """Insert by service."""
        embeddings = [embedding_message(sighting) for sighting in sightings]
        request = Insert.Request(embeddings=embeddings, **fields)
        found: Insert.Response = self.call(Insert, "edge_memory/insert", request)
        return found

    def stream(self, sightings: list[Sighting], each: int = 1) -> None:
        """Publish on the embeddings topic, `each` in a message, as fast as can be."""
        publisher = self.publisher(EmbeddingArray, "embeddings", reliable(5000))
        for first in range(0, len(sightings), each):
            some = [embedding_message(sighting) for sighting in sightings[first : first + each]]
            publisher.publish(EmbeddingArray(embeddings=some))

    def search(self, **fields: Any) -> Search.Response:
        """Search by service."""
        found: Search.Response = self.call(Search, "edge_memory/search", Search.Request(**fields))
        return found

    def stats(self) -> MemoryState:
        """The memory's state, asked for."""
        found: Stats.Response = self.call(Stats, "edge_memory/stats", Stats.Request())
        assert found.success, found.message
        state: MemoryState = found.state
        return state

    def late_state(self) -> MemoryState:
        """The memory's state, as one who subscribes only now gets it."""
        found = self.collect(MemoryState, "edge_memory/state", LATCHED)
        state: MemoryState = self.until(lambda: found and found[-1])
        return state


def sightings(number: int, seed: int = 0, **fields: Any) -> list[Sighting]:
    """Different ones, a millisecond and half a metre apart, in the frame map."""
    rng = np.random.default_rng(seed)
    return [
        Sighting(
            **{
                "vector": rng.standard_normal(DIMENSION, np.float32),
                "stamp": BEGAN + seed * SECOND + i * 1_000_000,
                "frame": "map",
                "pose": Pose(x=i / 2, y=seed),
                "tags": {"object": [f"thing {i}"], "room": ["kitchen" if i % 2 else "study"]},
                **fields,
            }
        )
        for i in range(number)
    ]


def objects(hits: Iterator[Any] | list[Any]) -> list[str]:
    """The tag `object` of each hit."""
    return [tag.value for hit in hits for tag in hit.tags if tag.key == "object"]


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
