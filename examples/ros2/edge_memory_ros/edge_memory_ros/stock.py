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

"""How a sighting travels without interfaces of its own: a pose, and a vector that names it.

    pose    PoseStamped         header and pose of one look
    vector  Float32MultiArray   one vector of that look:
                layout.dim[0].label  "SECONDS.NANOSECONDS", the stamp of the pose it belongs to
                layout.dim[1].label  "key=value;key=value", the tags
                data                 the numbers

A Float32MultiArray has no header: that is what labels stand in for, and why the built interfaces
are the better door. There are no ids, models or keyframes here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from geometry_msgs.msg import PoseStamped
from std_msgs.msg import Float32MultiArray, Header, MultiArrayDimension, MultiArrayLayout

from edge import ValidationError

from . import messages
from .sighting import Sighting, Tags

REMEMBERED = 256
"""Poses that a vector may still come for, and stamps whose pose may still come."""


def pose_stamped(sighting: Sighting) -> PoseStamped:
    """The first of the two messages."""
    header = Header(stamp=messages.time_message(sighting.stamp), frame_id=sighting.frame)
    return PoseStamped(header=header, pose=messages.pose_message(sighting.pose))


def vector_message(sighting: Sighting) -> Float32MultiArray:
    """The second of the two messages. Raises ValidationError for tags that no label can hold."""
    size = len(sighting.vector)
    seconds, rest = divmod(sighting.stamp or 0, messages.NANOSECONDS)
    labels = (f"{seconds}.{rest:09}", _label(sighting.tags))
    sizes = (1, size)
    dimensions = [
        MultiArrayDimension(label=label, size=count, stride=size)
        for label, count in zip(labels, sizes, strict=True)
    ]
    layout = MultiArrayLayout(dim=dimensions)
    return Float32MultiArray(layout=layout, data=messages.floats_of(sighting.vector))


def sighting_of(message: Float32MultiArray) -> Sighting:
    """The sighting, still without a pose. Raises ValidationError where it names no stamp."""
    dimensions = message.layout.dim
    if len(dimensions) != 2:
        raise ValidationError(f"layout.dim: {len(dimensions)} dimensions, 2 are needed")
    seconds, _, rest = dimensions[0].label.partition(".")
    if not (seconds.isdecimal() and rest.isdecimal() and len(rest) == 9):
        raise ValidationError(f"layout.dim[0].label: {dimensions[0].label!r} is no stamp")
    stamp = int(seconds) * messages.NANOSECONDS + int(rest)
    vector = messages.vector_of(message.data)
    return Sighting(vector, stamp or None, tags=_tags(dimensions[1].label))


def _label(tags: Tags) -> str:
    pairs = [(key, value) for key, values in tags.items() for value in values]
    if any(mark in text for pair in pairs for text in pair for mark in "=;"):
        raise ValidationError("tags: '=' and ';' have no place in a label")
    return ";".join(f"{key}={value}" for key, value in pairs)


def _tags(label: str) -> Tags:
    found: Tags = {}
    for pair in filter(None, label.split(";")):
        key, mark, value = pair.partition("=")
        if not mark:
            raise ValidationError(f"layout.dim[1].label: {pair!r} is not key=value")
        found.setdefault(key, []).append(value)
    return found


@dataclass
class Pairs:
    """Brings vectors and poses of one stamp together, whichever comes first.

    Of each it remembers the newest REMEMBERED stamps; `alone` counts vectors given up without one.
    """

    alone: int = 0
    _poses: OrderedDict[int | None, Sighting] = field(default_factory=OrderedDict)
    _waiting: OrderedDict[int | None, list[Sighting]] = field(default_factory=OrderedDict)

    def pose(self, message: PoseStamped) -> Iterator[Sighting]:
        """Take a pose; give the sightings that waited for it."""
        stamp = messages.nanoseconds(message.header.stamp)
        frame, pose = message.header.frame_id, messages.pose_of(message.pose)
        self._poses[stamp] = Sighting(messages.vector_of([]), stamp, frame, pose)
        if len(self._poses) > REMEMBERED:
            self._poses.popitem(last=False)
        for waited in self._waiting.pop(stamp, ()):
            yield self._joined(waited)

    def vector(self, sighting: Sighting) -> Iterator[Sighting]:
        """Take a sighting without a pose; give it with one, if its pose is here."""
        if sighting.stamp in self._poses:
            yield self._joined(sighting)
            return
        self._waiting.setdefault(sighting.stamp, []).append(sighting)
        if len(self._waiting) > REMEMBERED:
            self.alone += len(self._waiting.popitem(last=False)[1])

    def _joined(self, sighting: Sighting) -> Sighting:
        found = self._poses[sighting.stamp]
        return replace(sighting, frame=found.frame, pose=found.pose)
