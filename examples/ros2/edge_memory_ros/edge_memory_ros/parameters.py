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

"""The memory node's parameters: one table, from which they are declared, checked and read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from edge import Distance, Durability

from .memory import Settings
from .search import tag_path
from .sighting import Rules

DISTANCES = {
    "cosine": Distance.Cosine,
    "dot": Distance.Dot,
    "euclid": Distance.Euclid,
    "manhattan": Distance.Manhattan,
}
DURABILITIES = {
    "always": Durability.Always,
    "interval": Durability.Interval,
    "os": Durability.Os,
}
ZERO_STAMPS = ("refuse", "keep")


@dataclass(frozen=True)
class Described:
    """A parameter: default, meaning, and what it may be. All but the changeable are read-only."""

    default: Any
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    changeable: bool = False

    def descriptor(self) -> ParameterDescriptor:
        """The descriptor as ROS shows it."""
        found = ParameterDescriptor(
            description=self.description,
            read_only=not self.changeable,
            additional_constraints=" | ".join(self.choices),
        )
        if isinstance(self.default, int) and self.low is not None:
            found.integer_range = [IntegerRange(from_value=self.low, to_value=self.high, step=0)]
        elif self.low is not None:
            found.floating_point_range = [
                FloatingPointRange(from_value=self.low, to_value=self.high, step=0.0)
            ]
        return found


DESCRIBED: dict[str, Described] = {
    "path": Described("", "Folder of the memory; made if it is not there. Must be given."),
    "dimension": Described(384, "Numbers of a vector.", 1, 65_535),
    "metric": Described("cosine", "How vectors are compared.", choices=tuple(DISTANCES)),
    "model": Described("", "Refuse embeddings of any other model. Empty: take all."),
    "durability": Described(
        "interval",
        "What a stored embedding has survived: always, a power cut; interval, the death of the "
        "process at once and a power cut after 50 ms; os, the death of the process.",
        choices=tuple(DURABILITIES),
    ),
    "indexed_tags": Described(["object", "room"], "Keys of tags that searches filter by often."),
    "zero_stamps": Described(
        "refuse",
        "What happens to embeddings whose header stamp is zero: refuse, or keep without a stamp "
        "(no time window ever finds them).",
        choices=ZERO_STAMPS,
    ),
    "stock_messages": Described(
        False, "Use std_msgs and geometry_msgs only: fewer doors, no built interfaces needed."
    ),
    "autostart": Described(False, "Configure and activate by itself."),
    "ingest_depth": Described(
        1000, "History depth of the embeddings topic, in messages: size it to a burst.", 1, 100_000
    ),
    "queue_points": Described(
        4096, "Embeddings that may wait to be stored; more are dropped.", 1, 1_000_000
    ),
    "batch_points": Described(256, "Embeddings stored at a time at most.", 1, 10_000),
    "threads": Described(4, "Callbacks that run at the same time.", 2, 64),
    "configure_timeout": Described(
        180.0,
        "Seconds for opening or recovering the memory. The first start ever compiles the kernels: "
        "15 s on a desktop, more on a small board.",
        1.0,
        3600.0,
    ),
    "close_timeout": Described(30.0, "Seconds for storing the queue and closing.", 1.0, 3600.0),
    "report_period": Described(1.0, "Seconds between two states and diagnostics.", 0.1, 60.0),
    "snapshot_directory": Described("", "Folder for snapshots. Empty: none are made."),
    "search_budget": Described(
        0.2, "Seconds of a search that brings no budget.", 0.001, 60.0, changeable=True
    ),
    "insert_budget": Described(
        2.0, "Seconds of an insert that brings no budget.", 0.001, 60.0, changeable=True
    ),
    "max_hits": Described(1000, "Hits of one search at most.", 1, 100_000, changeable=True),
}


def declare(node: Node) -> None:
    """Declare all parameters; raise rclpy's InvalidParameter... errors for wrong overrides."""
    node.add_on_set_parameters_callback(check)
    for name, described in DESCRIBED.items():
        node.declare_parameter(name, described.default, described.descriptor())


def check(parameters: Iterable[Parameter]) -> SetParametersResult:
    """Refuse what ranges and types cannot refuse."""
    reasons = (_wrong(parameter) for parameter in parameters)
    reason = next((reason for reason in reasons if reason), "")
    return SetParametersResult(successful=not reason, reason=reason)


def _wrong(parameter: Parameter) -> str:
    """Why the value may not be; empty where it may."""
    described = DESCRIBED.get(parameter.name)
    choices = described.choices if described else ()
    if choices and parameter.value not in choices:
        return f"{parameter.name}: {parameter.value!r} is none of {', '.join(choices)}"
    if parameter.name == "indexed_tags":
        for tag in parameter.value or ():
            try:
                tag_path(tag)
            except ValueError as error:
                return f"{parameter.name}: {error}"
    return ""


def settings_of(node: Node) -> Settings:
    """The memory's settings. Raises ValueError where the path is missing."""
    read = {name: node.get_parameter(name).value for name in DESCRIBED}
    if not read["path"]:
        raise ValueError("parameter path: it must be given")
    return Settings(
        path=Path(read["path"]).expanduser(),
        dimension=read["dimension"],
        distance=DISTANCES[read["metric"]],
        durability=DURABILITIES[read["durability"]],
        indexed_tags=tuple(read["indexed_tags"]),
        queue=read["queue_points"],
        batch=read["batch_points"],
    )


def rules_of(node: Node) -> Rules:
    """What the memory takes."""
    read = {name: node.get_parameter(name).value for name in ("dimension", "model", "zero_stamps")}
    return Rules(read["dimension"], read["model"], unstamped=read["zero_stamps"] == "keep")
