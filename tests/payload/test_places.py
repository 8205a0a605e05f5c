"""Places of rows: growing and built ones answer alike, and as a list does."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.payload.places import GrowingPlaces, Places, built_places
from tests.payload.entries_of import Rows, alongside, damaged, filled, longer, members, put, shorter

LATITUDES = st.sampled_from([-90.0, -0.0, 0.0, 45.5, 90.0]) | st.floats(-90, 90)
PLACES: st.SearchStrategy[Rows] = st.lists(
    st.lists(st.tuples(st.floats(-180, 180), LATITUDES), max_size=3), max_size=10
)


def growing(rows: Rows, step: int = 3) -> GrowingPlaces:
    found: GrowingPlaces = filled(GrowingPlaces(), rows, step)
    return found


def both(rows: Rows, step: int = 3) -> list[Places]:
    grown = growing(rows, step)
    return [grown.cut(len(rows), len(rows)), built_places(grown.arrays(len(rows)), len(rows))]


def shown(places: Places, south: float, north: float) -> list[tuple[int, float, float]]:
    rows, lons, lats = places.within(south, north)
    return sorted(zip(rows.tolist(), lons.tolist(), lats.tolist(), strict=True))


def between(rows: Rows, south: float, north: float) -> list[tuple[int, float, float]]:
    return sorted(
        (row, lon, lat)
        for row, places in enumerate(rows)
        for lon, lat in places
        if south <= lat <= north
    )


@given(PLACES, LATITUDES | st.just(-math.inf), LATITUDES | st.just(math.inf), st.integers(1, 4))
def test_bands_of_latitude_are_as_in_a_list(
    rows: Rows, south: float, north: float, step: int
) -> None:
    for places in both(rows, step):
        assert shown(places, south, north) == between(rows, south, north)
        assert members(places.all(), len(rows)) == {row for row, found in enumerate(rows) if found}


@given(PLACES, PLACES)
def test_what_a_cut_shows_never_changes(rows: Rows, later: Rows) -> None:
    grown = growing(rows, step=1)
    cuts = {covered: grown.cut(covered, len(rows)) for covered in range(len(rows) + 1)}
    filled(grown, later, first=len(rows))
    for covered, early in cuts.items():
        for places in (early, grown.cut(covered, len(rows))):
            assert shown(places, -90, 90) == between(rows[:covered], -90, 90)


def test_a_cut_stays_as_it_is_while_another_thread_appends() -> None:
    grown = growing([[(n, n % 90)] for n in range(70)])
    first = grown.cut(70, 70)

    def write() -> None:
        for start in range(70, 20_000, 50):
            filled(grown, [[(n % 180, n % 90)] for n in range(start, start + 50)], 50, start)

    def look() -> None:
        for places in (first, grown.cut(70, 70)):
            assert shown(places, 10, 20) == [(n, n, n) for n in range(10, 21)]

    alongside(write, look)
    assert len(grown.cut(20_000, 20_000).within(10, 20)[0]) > 2_000


def test_nothing_at_all() -> None:
    for rows in ([], [[]], [[]] * 70):
        for places in both(rows):
            assert shown(places, -90, 90) == []
            assert not places.all().any()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("rows", put(0, 4)),
        ("rows", put(-1, 2**32 - 1)),
        *((name, change) for name in ("rows", "lons", "lats") for change in (shorter, longer)),
    ],
)
def test_places_that_cannot_be_are_refused(name: str, change: Any) -> None:
    arrays = growing([[(1.0, 2.0)], [(3.0, 4.0), (5.0, 0.0)], [], []]).arrays(4)
    assert shown(built_places(arrays, 4), -90, 90)
    with pytest.raises(ValueError, match="not there"):
        built_places(damaged(arrays, name, change), 4)  # type: ignore[arg-type]


def test_where_there_are_no_rows_there_are_no_places() -> None:
    arrays = growing([[(1.0, 2.0)]]).arrays(1)
    assert np.array_equal(arrays["rows"], [0])
    with pytest.raises(ValueError, match="not there"):
        built_places(arrays, 0)
