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

"""What a search asks for, as a query of the engine.

A radius is a box for the engine, whose index finds it, and a circle for what comes back. Nothing
here knows ROS. Metres, nanoseconds, seconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from edge import (
    Direction,
    FieldCondition,
    Filter,
    MatchAny,
    MatchValue,
    OrderBy,
    Query,
    QueryRequest,
    RangeFloat,
    ValidationError,
)

from .sighting import Tags, Vector

CIRCLE_IN_BOX = math.pi / 4
_PLAIN = re.compile(r"[\w-]+")
"""Keys that a payload path names without quotes."""


class Place(NamedTuple):
    """A point in metres."""

    x: float
    y: float
    z: float


@dataclass(frozen=True)
class Wanted:
    """See Search.srv. None and empty ask for nothing; `vector` None: the newest first."""

    limit: int
    vector: Vector | None = None
    score_threshold: float | None = None
    frame: str = ""
    model: str = ""
    tags: Tags = field(default_factory=dict)
    center: Place | None = None
    radius: float = 0.0
    box: tuple[Place, Place] | None = None
    not_before: int | None = None
    not_after: int | None = None
    with_vectors: bool = False

    def __post_init__(self) -> None:
        if self.center is not None and not (math.isfinite(self.radius) and self.radius > 0):
            raise ValidationError(f"radius: expected metres, 0 or more, got {self.radius}")
        if (self.center or self.box) and not self.frame:
            raise ValidationError("frame_id: it is needed with a radius or a box")
        if self.box and any(low > high for low, high in zip(*self.box, strict=True)):
            raise ValidationError("box_min: it is not below box_max on every axis")

    def request(self, limit: int, seconds: float) -> QueryRequest:
        """The query for the best `limit`, all of what can be told by conditions."""
        conditions = list(self._conditions())
        return QueryRequest(
            limit,
            query=_newest() if self.vector is None else Query.Nearest(self.vector),
            filter=Filter(must=conditions) if conditions else None,
            score_threshold=None if self.vector is None else self.score_threshold,
            with_payload=True,
            with_vector=self.with_vectors,
            timeout=max(0.0, seconds),
            best_effort=True,
        )

    @property
    def first_limit(self) -> int:
        """How many to ask for at first, so that enough of them should lie in the circle."""
        return self.limit if self.center is None else math.ceil(self.limit / CIRCLE_IN_BOX) + 8

    def covers(self, payload: dict[str, Any]) -> bool:
        """Whether a point that fulfils the conditions is really wanted."""
        if self.center is None:
            return True
        pose = payload["pose"]
        return math.hypot(pose["x"] - self.center.x, pose["y"] - self.center.y) <= self.radius

    def _conditions(self) -> Iterator[FieldCondition]:
        for key, text in (("frame", self.frame), ("model", self.model)):
            if text:
                yield FieldCondition(key, match=MatchValue(text))
        for tag, values in self.tags.items():
            yield FieldCondition(tag_path(tag), match=MatchAny(values))
        if self.center is not None:
            yield from _within("x", self.center.x - self.radius, self.center.x + self.radius)
            yield from _within("y", self.center.y - self.radius, self.center.y + self.radius)
        if self.box is not None:
            for axis, low, high in zip("xyz", *self.box, strict=True):
                yield from _within(axis, low, high)
        if self.not_before is not None or self.not_after is not None:
            yield FieldCondition("stamp", range=_span(self.not_before, self.not_after))


def tag_path(tag: str) -> str:
    """The payload path of a tag. Raises ValidationError where no path can name it."""
    if not tag or '"' in tag or "\\" in tag:
        raise ValidationError(f"tags: {tag!r} is no key")
    return f"tags.{tag}" if _PLAIN.fullmatch(tag) else f'tags."{tag}"'


def _newest() -> OrderBy:
    return OrderBy("stamp", Direction.Desc)


def _within(axis: str, low: float, high: float) -> Iterator[FieldCondition]:
    yield FieldCondition(f"pose.{axis}", range=RangeFloat(gte=low, lte=high))


def _span(first: int | None, last: int | None) -> RangeFloat:
    """The nanoseconds from first to last. A float cannot name each, so bounds round outwards: by
    less than a microsecond in this century."""
    low = None if first is None else float(first)
    high = None if last is None else float(last)
    if low is not None and low > first:  # type: ignore[operator]
        low = math.nextafter(low, -math.inf)
    if high is not None and high < last:  # type: ignore[operator]
        high = math.nextafter(high, math.inf)
    return RangeFloat(gte=low, lte=high)
