"""Regions: edges are outside, rounding decides nothing, and no number makes a test raise."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.filter import regions
from edge.filter.regions import EARTH_RADIUS, in_box, in_circle, in_polygon, region_of
from edge.model.geo import GeoBoundingBox, GeoPoint, GeoPolygon, GeoRadius

P = GeoPoint


def ring(*places: tuple[float, float]) -> list[GeoPoint]:
    return [P(*place) for place in (*places, places[0])]


SQUARE = ring((0, 0), (4, 0), (4, 4), (0, 4))
HOLE = ring((1, 1), (3, 1), (3, 3), (1, 3))


def test_a_box_has_no_edges() -> None:
    inside = in_box(GeoBoundingBox(P(0, 4), P(4, 0)))
    assert inside(2, 2)
    assert not any(inside(*place) for place in [(0, 2), (4, 2), (2, 0), (2, 4), (5, 2), (2, 5)])
    assert not in_box(GeoBoundingBox(P(0, 0), P(4, 4)))(2, 2), "upside down"


def test_a_box_may_cross_the_antimeridian() -> None:
    inside = in_box(GeoBoundingBox(P(170, 10), P(-170, -10)))
    assert all(inside(lon, 0) for lon in (171, 180, -180, -171))
    assert not any(inside(lon, 0) for lon in (170, -170, 0, 169))
    assert not inside(180, 10)


def test_a_circle_ends_at_its_radius() -> None:
    quarter = EARTH_RADIUS * math.pi / 2
    for radius, expected in ((quarter * (1 - 1e-14), False), (quarter * (1 + 1e-14), True)):
        assert in_circle(GeoRadius(P(0, 0), radius))(90, 0) is expected
    assert not in_circle(GeoRadius(P(5, 5), 0))(5, 5)
    assert in_circle(GeoRadius(P(5, 5), math.inf))(-175, -5)


@pytest.mark.parametrize("direction", [1, -1])
def test_a_hole_is_not_in_a_polygon(direction: int) -> None:
    inside = in_polygon(GeoPolygon(SQUARE[::direction], [HOLE]))
    assert inside(0.5, 2)
    assert not any(inside(*place) for place in [(2, 2), (1, 2), (3, 3), (0, 2), (4, 4), (5, 2)])
    assert in_polygon(GeoPolygon(SQUARE))(2, 2)


def test_a_ring_that_winds_twice_is_inside_where_it_winds() -> None:
    assert in_polygon(GeoPolygon([*SQUARE[:-1], *SQUARE]))(2, 2)
    bow = in_polygon(GeoPolygon(ring((0, 0), (4, 4), (4, 0), (0, 4))))
    assert bow(3.5, 2)
    assert bow(0.5, 2)
    assert not bow(2, 2)
    assert not bow(2, 3)


def test_a_ring_that_is_a_rounding_apart_is_closed() -> None:
    inside = in_polygon(GeoPolygon([*SQUARE[:-1], P(0, 2e-16)]))
    assert inside(1e-9, 1)
    assert not inside(-1e-9, 1)


steps = st.integers(-40, 40)


@given(st.lists(st.tuples(steps, steps), min_size=3, max_size=7), steps, steps, steps, steps)
def test_rounding_never_decides(
    corners: list[tuple[int, int]], x: int, y: int, shift: int, ulps: int
) -> None:
    # Coordinates whose differences round, beside the same shape in exact arithmetic.
    def place(a: int) -> float:
        return a * 0.1 + shift * 1e-13

    polygon = GeoPolygon(ring(*((place(a), place(b)) for a, b in corners)))
    lon = place(x)
    for _ in range(abs(ulps) % 3):
        lon = math.nextafter(lon, math.inf)
    assert in_polygon(polygon)(lon, place(y)) == by_fractions(polygon, lon, place(y))


def by_fractions(polygon: GeoPolygon, lon: float, lat: float) -> bool:
    """The winding number by exact arithmetic, edge by edge."""
    turns, x, y = 0, Fraction(lon), Fraction(lat)
    places = [(Fraction(p.lon), Fraction(p.lat)) for p in polygon.exterior]
    for (ax, ay), (bx, by) in pairwise(places):
        side = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
        on_line = min(ax, bx) <= x <= max(ax, bx) and min(ay, by) <= y <= max(ay, by)
        if side == 0 and on_line:
            return False
        turns += (ay <= y < by and side > 0) - (by <= y < ay and side < 0)
    return turns != 0


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(-1e308, 1e308))
def test_no_number_makes_a_test_raise(lon: float, lat: float) -> None:
    for inside in (
        in_box(GeoBoundingBox(P(0, 4), P(4, 0))),
        in_circle(GeoRadius(P(-180, 90), 1e6)),
        in_polygon(GeoPolygon(SQUARE, [HOLE])),
    ):
        assert type(inside(lon, lat)) is bool


# -- many places at once

EDGES = [-180.0, -179.999999, -90.0, -1.0, -0.0, 0.0, 1.0, 4.0, 90.0, 179.999999, 180.0]
LONGITUDES = st.sampled_from(EDGES) | st.floats(-180, 180)
LATITUDES = st.sampled_from([lat for lat in EDGES if abs(lat) <= 90]) | st.floats(-90, 90)
CORNERS = st.builds(P, LONGITUDES, LATITUDES)
RADII = st.sampled_from(
    [0, 1e-9, 1.0, EARTH_RADIUS * math.pi / 2, EARTH_RADIUS * math.pi, 2.1e7, 1e300, math.inf]
) | st.floats(0, 2.1e7)
REGIONS = (
    st.builds(GeoBoundingBox, CORNERS, CORNERS)
    | st.builds(GeoRadius, CORNERS, RADII)
    | st.builds(
        GeoPolygon,
        st.lists(CORNERS, min_size=3, max_size=6).map(lambda found: [*found, found[0]]),
        st.none()
        | st.lists(
            st.lists(CORNERS, min_size=3, max_size=3).map(lambda found: [*found, found[0]]),
            max_size=2,
        ),
    )
)
SCALAR = {GeoBoundingBox: in_box, GeoRadius: in_circle, GeoPolygon: in_polygon}


def on_edges(region: GeoBoundingBox | GeoRadius | GeoPolygon) -> list[tuple[float, float]]:
    """Places where rounding would decide: corners, middles of edges, and what lies a hair off."""
    if isinstance(region, GeoRadius):
        corners = [(region.center.lon, region.center.lat)]
        away = math.degrees(min(region.radius, 3e7) / EARTH_RADIUS)
        for turn in (-1, 1):
            corners += [
                (region.center.lon, region.center.lat + turn * away),
                (region.center.lon + turn * away, 0.0),
            ]
    elif isinstance(region, GeoBoundingBox):
        lons = (region.top_left.lon, region.bottom_right.lon)
        lats = (region.top_left.lat, region.bottom_right.lat)
        corners = [(lon, lat) for lon in lons for lat in lats]
    else:
        corners = [(point.lon, point.lat) for ring in region.rings for point in ring]
    middles = [((a + c) / 2, (b + d) / 2) for (a, b), (c, d) in pairwise(corners)]
    near = [
        (math.nextafter(lon, side), math.nextafter(lat, side))
        for lon, lat in corners + middles
        for side in (-math.inf, math.inf)
    ]
    return [(lon, lat) for lon, lat in corners + middles + near if abs(lon) <= 180 >= 2 * abs(lat)]


@given(REGIONS, st.lists(st.tuples(LONGITUDES, LATITUDES), max_size=20))
@settings(max_examples=4 * settings.default.max_examples)
def test_many_places_at_once_are_as_one_after_the_other(
    region: GeoBoundingBox | GeoRadius | GeoPolygon, places: list[tuple[float, float]]
) -> None:
    tried = [*places, *on_edges(region), *((lon, lat) for lon in EDGES for lat in (-90, 0, 90))]
    inside = SCALAR[type(region)](region)  # type: ignore[operator]
    expected = [inside(*place) for place in tried]
    found = region_of(region)
    lons, lats = np.array(tried, np.float64).T
    assert found.inside(lons, lats).tolist() == expected
    for (_, lat), is_inside in zip(tried, expected, strict=True):
        assert not is_inside or found.south <= lat <= found.north


@pytest.mark.parametrize("radius", [2.1e7, 1e9, math.inf])
def test_a_circle_around_the_whole_earth_holds_every_place(radius: float) -> None:
    random = np.random.default_rng(1)
    lons, lats = random.uniform(-180, 180, 500), random.uniform(-90, 90, 500)
    lons[:4], lats[:4] = [180, -180, 0, 0], [90, -90, 90, -90]
    found = region_of(GeoRadius(P(12, -34), radius))
    assert found.inside(lons, lats).all()
    assert found.south < -90 < 90 < found.north


def test_places_at_a_circles_rim_are_settled_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the radius is that of a place itself, only the exact test can say which side it is."""
    random = np.random.default_rng(2)
    lons, lats = random.uniform(-180, 180, 300), random.uniform(-90, 90, 300)
    asked: list[tuple[float, float]] = []

    def noted(circle: GeoRadius) -> Callable[[float, float], bool]:
        exact = in_circle(circle)
        return lambda lon, lat: asked.append((lon, lat)) or exact(lon, lat)  # type: ignore[func-returns-value]

    monkeypatch.setattr(regions, "in_circle", noted)
    center = P(float(lons[0]), float(lats[0]))
    for n in range(1, 300):
        angle = math.radians(abs(float(lats[n]) - center.lat))
        region = region_of(GeoRadius(center, EARTH_RADIUS * angle))
        rim = np.array([center.lon]), np.array([float(lats[n])])
        assert region.inside(*rim).tolist() == [
            in_circle(GeoRadius(center, EARTH_RADIUS * angle))(center.lon, float(lats[n]))
        ]
    assert len(asked) > 250


def test_no_places_at_all() -> None:
    none = np.empty(0, np.float64)
    for region in (
        GeoBoundingBox(P(0, 4), P(4, 0)),
        GeoRadius(P(0, 0), 1.0),
        GeoPolygon(SQUARE, [HOLE]),
    ):
        assert region_of(region).inside(none, none).tolist() == []
