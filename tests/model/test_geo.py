"""Regions: what is refused, that rings are closed, and that all of them are values."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge.errors import LimitExceeded, ValidationError
from edge.model.geo import GeoBoundingBox, GeoPoint, GeoPolygon, GeoRadius

O, E, N = GeoPoint(0, 0), GeoPoint(1, 0), GeoPoint(0, 1)  # noqa: E741
RING = [O, E, N, O]


def test_places_are_floats_in_degrees() -> None:
    place = GeoPoint(np.int64(180), lat=np.float32(-90))
    assert (place.lon, place.lat) == (180.0, -90.0)
    assert type(place.lon) is type(place.lat) is float


def test_regions_are_values() -> None:
    polygon = GeoPolygon(RING, [RING])
    assert polygon.exterior == tuple(RING)
    assert polygon.interiors == (tuple(RING),)
    assert polygon.size == 8
    for region in (O, GeoBoundingBox(N, E), GeoRadius(O, 5), polygon, GeoPolygon(iter(RING))):
        copy = pickle.loads(pickle.dumps(region))
        assert copy == region
        assert hash(copy) == hash(region)
        with pytest.raises(AttributeError):
            setattr(region, region.__struct_fields__[0], None)


def test_a_ring_is_closed_even_by_the_least_rounding_apart() -> None:
    assert GeoPolygon([O, E, N, GeoPoint(0, 2e-16)]).size == 4


def test_a_polygon_has_no_more_points_than_a_list_has_values() -> None:
    half = [O, *[E] * 499_999, O]
    with pytest.raises(LimitExceeded, match="polygon: 1000002 points"):
        GeoPolygon(half, [half])
    with pytest.raises(LimitExceeded, match=r"interiors\[0\]: 1000001 entries"):
        GeoPolygon(RING, [[O] * 1_000_001])


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: GeoPoint(180.001, 0), "lon: expected degrees from -180 to 180"),
    (lambda: GeoPoint(0, -91), "lat: expected degrees from -90 to 90"),
    (lambda: GeoPoint(float("nan"), 0), "lon: expected a number"),
    (lambda: GeoPoint(0, float("inf")), "lat: expected degrees"),
    (lambda: GeoPoint("1", 0), "lon: expected a number"),
    (lambda: GeoPoint(True, 0), "lon: expected a number"),
    (lambda: GeoBoundingBox((0, 0), O), "top_left: expected a GeoPoint"),
    (lambda: GeoBoundingBox(O, None), "bottom_right: expected a GeoPoint"),
    (lambda: GeoRadius((0, 0), 1), "center: expected a GeoPoint"),
    (lambda: GeoRadius(O, -5), "radius: expected metres, 0 or more"),
    (lambda: GeoRadius(O, float("nan")), "radius: expected a number"),
    (lambda: GeoPolygon([O, E, O]), "exterior: expected at least 4 points, got 3"),
    (lambda: GeoPolygon([O, E, N, GeoPoint(0, 0.1)]), "exterior: the last point has to be"),
    (lambda: GeoPolygon([O, E, (0, 1), O]), r"exterior\[2\]: expected a GeoPoint"),
    (lambda: GeoPolygon(5), "exterior: expected a list"),
    (lambda: GeoPolygon(RING, RING), r"interiors\[0\]: expected a list"),
    (lambda: GeoPolygon(RING, [[O, E, N, N]]), r"interiors\[0\]: the last point"),
]


@pytest.mark.parametrize(("build", "message"), REFUSED, ids=range(len(REFUSED)))
def test_refuses_naming_the_argument(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        build()
