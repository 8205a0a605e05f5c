"""Places on the Earth, and the regions that a filter may ask about: boxes, circles, polygons.

Invariants: every point is within -180 to 180 degrees of longitude and -90 to 90 of latitude, and
finite; every ring of a polygon is closed; structs are immutable and hashable (lists become tuples).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct
from msgspec.structs import force_setattr

from edge.errors import LimitExceeded, ValidationError
from edge.model import fields
from edge.model.limits import HARD_VALUES

_SMALLEST_RING = 4
"""A triangle, its first point repeated at the end."""


class GeoPoint(Struct, frozen=True, array_like=True):
    """A place in degrees: `lon` from -180 to 180, `lat` from -90 to 90."""

    lon: float
    lat: float

    def __post_init__(self) -> None:
        force_setattr(self, "lon", _degrees(self.lon, "lon", 180.0))
        force_setattr(self, "lat", _degrees(self.lat, "lat", 90.0))


Ring: TypeAlias = tuple[GeoPoint, ...]


class GeoBoundingBox(Struct, frozen=True):
    """What lies strictly between two corners; `top_left` east of `bottom_right` means the box
    that crosses the antimeridian."""

    top_left: GeoPoint
    bottom_right: GeoPoint

    def __post_init__(self) -> None:
        fields.instance(self.top_left, "top_left", GeoPoint)
        fields.instance(self.bottom_right, "bottom_right", GeoPoint)


class GeoRadius(Struct, frozen=True):
    """What is less than `radius` metres of great circle away from `center`; 0 is nothing."""

    center: GeoPoint
    radius: float

    def __post_init__(self) -> None:
        fields.instance(self.center, "center", GeoPoint)
        radius = fields.number(self.radius, "radius")
        if radius < 0:
            fields.refuse("radius", "metres, 0 or more", radius)
        force_setattr(self, "radius", radius)


class GeoPolygon(Struct, frozen=True, omit_defaults=True):
    """What lies inside the ring `exterior` and outside of all rings of `interiors`.

    Every ring has 4 points or more and ends where it begins; its edges are straight in degrees and
    belong to neither side. Lists are read back as tuples. All points together are at most
    1,000,000.
    """

    exterior: Ring
    interiors: tuple[Ring, ...] | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            exterior: Iterable[GeoPoint],
            interiors: Iterable[Iterable[GeoPoint]] | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "exterior", _ring(self.exterior, "exterior"))
        if self.interiors is not None:
            holes = fields.sequence(self.interiors, "interiors", HARD_VALUES)
            rings = tuple(_ring(hole, f"interiors[{i}]") for i, hole in enumerate(holes))
            force_setattr(self, "interiors", rings)
        if self.size > HARD_VALUES:
            raise LimitExceeded(f"polygon: {self.size} points, at most {HARD_VALUES} are taken")

    @property
    def rings(self) -> tuple[Ring, ...]:
        """The exterior, then the interiors."""
        return (self.exterior, *(self.interiors or ()))

    @property
    def size(self) -> int:
        """The points of all rings together."""
        return sum(map(len, self.rings))


def _degrees(value: Any, field: str, most: float) -> float:
    found = fields.number(value, field)
    if not -most <= found <= most:
        fields.refuse(field, f"degrees from {-most:g} to {most:g}", value)
    return found


def _ring(points: Any, field: str) -> Ring:
    found = fields.sequence(points, field, HARD_VALUES)
    for i, point in enumerate(found):
        fields.instance(point, f"{field}[{i}]", GeoPoint)
    if len(found) < _SMALLEST_RING:
        raise ValidationError(f"{field}: expected at least 4 points, got {len(found)}")
    first, last = found[0], found[-1]
    # As Qdrant: the least rounding may part the two ends, and closes all the same.
    apart = max(abs(first.lon - last.lon), abs(first.lat - last.lat))
    if apart > sys.float_info.epsilon:
        raise ValidationError(f"{field}: the last point has to be the first, to close the ring")
    return found
