"""Regions: edges are outside, rounding decides nothing, and no number makes a test raise."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.filter.regions import EARTH_RADIUS, in_box, in_circle, in_polygon
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
