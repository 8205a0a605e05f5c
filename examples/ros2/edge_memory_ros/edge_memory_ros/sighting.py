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

"""A sighting: an embedding of something perceived, with when and where; and how it is stored.

Nothing here knows ROS. The payload of a stored point:

    stamp     int, nanoseconds of the header's clock (not there: it had none)
    frame     the header's frame_id, the frame of the pose
    pose      {x, y, z} in metres and {qx, qy, qz, qw}
    model     name and version of the model that made the vector
    keyframe  what the pose hangs on
    tags      {key: [values]}

Empty texts are left out. What is stored is what came: nothing is transformed, and the time of
receipt is nowhere.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from edge import PayloadSchemaType, Point, ValidationError

Vector = NDArray[np.float32]
Tags = dict[str, list[str]]

INDEXED = {
    "stamp": PayloadSchemaType.Integer,
    "frame": PayloadSchemaType.Keyword,
    "model": PayloadSchemaType.Keyword,
    "keyframe": PayloadSchemaType.Keyword,
    "pose.x": PayloadSchemaType.Float,
    "pose.y": PayloadSchemaType.Float,
    "pose.z": PayloadSchemaType.Float,
}
"""The payload fields that every memory indexes, besides the tags it is told to."""


class Pose(NamedTuple):
    """A position in metres and a unit quaternion."""

    x: float = 0.0
    y: float = 0.0
    z: float = 0.0
    qx: float = 0.0
    qy: float = 0.0
    qz: float = 0.0
    qw: float = 1.0


ORIGIN = Pose()


@dataclass(frozen=True)
class Sighting:
    """See the module. `stamp` in nanoseconds, None where there is none; `id` "" for a made one."""

    vector: Vector
    stamp: int | None = None
    frame: str = ""
    pose: Pose = ORIGIN
    model: str = ""
    keyframe: str = ""
    tags: Tags = field(default_factory=dict)
    id: str = ""

    @property
    def payload(self) -> dict[str, Any]:
        """What is stored beside the vector."""
        texts = {"frame": self.frame, "model": self.model, "keyframe": self.keyframe}
        found: dict[str, Any] = {name: text for name, text in texts.items() if text}
        if self.stamp is not None:
            found["stamp"] = self.stamp
        if self.tags:
            found["tags"] = self.tags
        return {"pose": self.pose._asdict(), **found}

    @property
    def point(self) -> Point:
        """The sighting as it is stored. Raises ValidationError where the id is none."""
        return Point(self._point_id, self.vector, self.payload)

    @property
    def _point_id(self) -> int | UUID | str:
        if not self.id:
            return self._made_id
        return int(self.id) if self.id.isdecimal() and self.id.isascii() else self.id

    @property
    def _made_id(self) -> UUID:
        """The same for the same sighting, whoever makes it: what comes twice is stored once."""
        pose = [float(value) for value in self.pose]
        told = (self.stamp, self.frame, pose, self.model, sorted(self.tags.items()))
        digest = hashlib.blake2b(repr(told).encode(), digest_size=16)
        digest.update(self.vector.tobytes())
        return UUID(bytes=digest.digest(), version=5)

    @classmethod
    def stored(cls, id: int | UUID, payload: dict[str, Any], vector: Vector) -> Sighting:
        """The sighting that was stored as this; `vector` may be empty."""
        pose = payload.get("pose")
        return cls(
            vector,
            payload.get("stamp"),
            payload.get("frame", ""),
            Pose(**pose) if pose else ORIGIN,
            payload.get("model", ""),
            payload.get("keyframe", ""),
            payload.get("tags", {}),
            str(id),
        )


@dataclass(frozen=True)
class Rules:
    """What a memory takes: vectors of `dimension` numbers; of one `model` unless that is ""; and
    sightings without a stamp only where `unstamped` says so."""

    dimension: int
    model: str = ""
    unstamped: bool = False

    def point(self, sighting: Sighting) -> Point:
        """The point to store. Raises ValidationError with the reason why it is refused."""
        if len(sighting.vector) != self.dimension:
            raise ValidationError(
                f"vector: {len(sighting.vector)} numbers, the memory has {self.dimension}"
            )
        if not np.isfinite(sighting.vector).all():
            raise ValidationError("vector: not all numbers are finite")
        if not np.isfinite(sighting.pose).all():
            raise ValidationError("pose: not all numbers are finite")
        if sighting.stamp is None and not self.unstamped:
            raise ValidationError("header.stamp: it is zero")
        if self.model and sighting.model != self.model:
            raise ValidationError(f"model: {sighting.model!r}, the memory is of {self.model!r}")
        return sighting.point
