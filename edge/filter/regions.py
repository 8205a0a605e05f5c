"""Whether a place is inside a box, a circle or a polygon, as Qdrant Edge decides it.

A test takes longitude and latitude in degrees, any finite numbers, for payloads are not checked.
A region of an index takes many places at once, which are on the Earth.

Invariants: tests are pure, never raise and are exact: a place on an edge is never inside, whatever
the rounding; many places at once give what one after the other would.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from edge.model.geo import GeoBoundingBox, GeoPolygon, GeoRadius, Ring

Inside: TypeAlias = Callable[[float, float], bool]
"""inside(longitude, latitude)."""

EARTH_RADIUS: Final = 6_371_008.8
"""Metres; the mean radius of the GRS 80 ellipsoid, which the geo crate takes for Qdrant."""

_Edge: TypeAlias = tuple[float, float, float, float]

# Shewchuk, "Adaptive precision floating-point arithmetic and fast robust geometric predicates"
# (1997), ccwerrboundA: the sign of a determinant larger than this times its terms is certain.
_CERTAIN: Final = (3 + 16 * 2.0**-53) * 2.0**-53


def in_box(box: GeoBoundingBox) -> Inside:
    """Strictly between the corners; across the antimeridian where west is greater than east."""
    west, north = box.top_left.lon, box.top_left.lat
    east, south = box.bottom_right.lon, box.bottom_right.lat
    if west > east:
        return lambda lon, lat: south < lat < north and (lon > west or lon < east)
    return lambda lon, lat: south < lat < north and west < lon < east


def in_circle(circle: GeoRadius) -> Inside:
    """Less than the radius away, by the haversine formula, step by step as the geo crate does."""
    lon0, lat0, radius = circle.center.lon, circle.center.lat, circle.radius
    radians, sin, cos0 = math.radians, math.sin, math.cos(math.radians(circle.center.lat))

    def inside(lon: float, lat: float) -> bool:
        north = sin(radians(lat - lat0) / 2.0)
        east = sin(radians(lon - lon0) / 2.0)
        part = north * north + cos0 * math.cos(radians(lat)) * (east * east)
        # Beyond a pole, where no place is, the part may be negative: no distance, no match.
        return part >= 0 and EARTH_RADIUS * (2.0 * math.asin(math.sqrt(min(part, 1.0)))) < radius

    return inside


def in_polygon(polygon: GeoPolygon) -> Inside:
    """Inside the exterior and outside of every hole; edges belong to neither."""
    exterior, *holes = [_edges(ring) for ring in polygon.rings]
    west, east = _span([edge[0] for edge in exterior])
    south, north = _span([edge[1] for edge in exterior])

    def inside(lon: float, lat: float) -> bool:
        return (
            west < lon < east
            and south < lat < north
            and _turns(exterior, lon, lat) not in (0, None)
            and all(_turns(hole, lon, lat) == 0 for hole in holes)
        )

    return inside


def _edges(ring: Ring) -> list[_Edge]:
    points = [(point.lon, point.lat) for point in ring]
    if points[0] != points[-1]:
        points.append(points[0])
    return [(*start, *end) for start, end in pairwise(points)]


def _span(numbers: list[float]) -> tuple[float, float]:
    return min(numbers), max(numbers)


def _turns(edges: list[_Edge], x: float, y: float) -> int | None:
    """How often the ring winds around (x, y), counter-clockwise; None when it goes through it.

    D. Sunday, "Inclusion of a point in a polygon" (2001), with an exact side test.
    """
    turns = 0
    for x0, y0, x1, y1 in edges:
        if y0 <= y <= y1 or y1 <= y < y0:
            side = _side(x0, y0, x1, y1, x, y)
            if side == 0 and (x0 <= x <= x1 or x1 <= x <= x0):
                return None
            if side > 0 and y0 <= y < y1:
                turns += 1
            elif side < 0 and y1 <= y < y0:
                turns -= 1
    return turns


def _side(x0: float, y0: float, x1: float, y1: float, x: float, y: float) -> float:
    """Above 0 where (x, y) lies left of the line from 0 to 1, below where right, 0 where on it."""
    left, right = (x0 - x) * (y1 - y), (y0 - y) * (x1 - x)
    side = left - right
    if abs(side) > _CERTAIN * (abs(left) + abs(right)):
        return side
    ax, ay, bx, by, cx, cy = map(Fraction, (x0, y0, x1, y1, x, y))
    exact = (ax - cx) * (by - cy) - (ay - cy) * (bx - cx)
    return (exact > 0) - (exact < 0)


# -- many places at once

Degrees: TypeAlias = npt.NDArray[np.float64]
Mask: TypeAlias = npt.NDArray[np.bool_]


class Region(NamedTuple):
    """The band of latitudes that a region lies in, and the test of many places."""

    south: float
    north: float
    inside: Callable[[Degrees, Degrees], Mask]


def region_of(region: GeoBoundingBox | GeoRadius | GeoPolygon) -> Region:
    """The region as an index asks for it."""
    made: Region = _REGIONS[type(region)](region)
    return made


def _box(box: GeoBoundingBox) -> Region:
    west, north = box.top_left.lon, box.top_left.lat
    east, south = box.bottom_right.lon, box.bottom_right.lat

    def inside(lons: Degrees, lats: Degrees) -> Mask:
        over = (lons > west) | (lons < east) if west > east else (lons > west) & (lons < east)
        between: Mask = over & (lats > south) & (lats < north)
        return between

    return Region(south, north, inside)


# Where the haversine of a distance is nearer than this to that of the radius, rounding decides,
# and the test of one place has the last word.
_RELATIVE: Final = 1e-11
_ABSOLUTE: Final = 1e-17


def _circle(circle: GeoRadius) -> Region:
    lon0, lat0 = circle.center.lon, circle.center.lat
    angle = circle.radius / EARTH_RADIUS
    reach = math.degrees(angle) * (1 + 1e-9) + 1e-9
    limit = math.sin(angle / 2) ** 2 if angle < math.pi else math.nan
    cos0, exact = math.cos(math.radians(lat0)), in_circle(circle)

    def inside(lons: Degrees, lats: Degrees) -> Mask:
        north = np.sin(np.radians(lats - lat0) / 2.0)
        east = np.sin(np.radians(lons - lon0) / 2.0)
        part = north * north + cos0 * np.cos(np.radians(lats)) * (east * east)
        # written so that without a limit (a circle around the whole Earth) none is certain
        certain = np.abs(part - limit) > _RELATIVE * limit + _ABSOLUTE
        return _settled(part < limit, certain, exact, lons, lats)

    return Region(lat0 - reach, lat0 + reach, inside)


def _polygon(polygon: GeoPolygon) -> Region:
    exterior, *holes = [_edges(ring) for ring in polygon.rings]
    south, north = _span([edge[1] for edge in exterior])
    exact = in_polygon(polygon)

    def inside(lons: Degrees, lats: Degrees) -> Mask:
        turns, certain = _many_turns(exterior, lons, lats)
        found = turns != 0
        for hole in holes:
            turns, sure = _many_turns(hole, lons, lats)
            found &= turns == 0
            certain &= sure
        return _settled(found, certain, exact, lons, lats)

    return Region(south, north, inside)


def _many_turns(edges: list[_Edge], x: Degrees, y: Degrees) -> tuple[npt.NDArray[np.int64], Mask]:
    """(how often the ring winds around each place, whether rounding cannot have decided it)"""
    turns = np.zeros(len(x), np.int64)
    certain = np.ones(len(x), np.bool_)
    for x0, y0, x1, y1 in edges:
        left, right = (x0 - x) * (y1 - y), (y0 - y) * (x1 - x)
        side = left - right
        up, down = (y0 <= y) & (y < y1), (y1 <= y) & (y < y0)
        turns += up & (side > 0)
        turns -= down & (side < 0)
        beside = (np.minimum(y0, y1) > y) | (y > np.maximum(y0, y1))
        certain &= beside | (np.abs(side) > _CERTAIN * (np.abs(left) + np.abs(right)))
    return turns, certain


def _settled(found: Mask, certain: Mask, exact: Inside, lons: Degrees, lats: Degrees) -> Mask:
    for place in np.flatnonzero(~certain).tolist():
        found[place] = exact(float(lons[place]), float(lats[place]))
    return found


_REGIONS: Final[dict[type, Callable[[Any], Region]]] = {
    GeoBoundingBox: _box,
    GeoRadius: _circle,
    GeoPolygon: _polygon,
}
