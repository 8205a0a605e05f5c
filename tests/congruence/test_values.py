"""Texts, moments, places, counts and slices match where qdrant_edge matches, to the last digit.

The deliberate differences are tests of their own, at the end; each shows both answers.
"""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import qdrant_edge
from hypothesis import given
from hypothesis import strategies as st

import edge.model.filter as ours
from edge.errors import ValidationError
from edge.filter.regions import EARTH_RADIUS, in_circle
from edge.filter.slices import slices
from edge.model.geo import GeoPoint, GeoRadius
from edge.model.point_id import encode_ids
from tests.congruence.both import IDS, POINTS, Both, Described, condition, field, match, only


def fill(both: Both, values: list[Any]) -> None:
    assert len(values) <= POINTS
    both.fill([*({"a": value} for value in values), *[{}] * (POINTS - len(values))])


def same(both: Both, part: Described) -> list[int]:
    """What both sides match, in the field and by the opposite."""
    for wanted in (only(part), condition("Filter", must_not=[part])):
        assert both.ours(wanted.build) == both.theirs(wanted.build), wanted.text
    return both.ours(only(part).build)


def place(lon: float, lat: float) -> Described:
    return condition("GeoPoint", lon, lat)


def region(name: str, *args: Any) -> Described:
    key = {"GeoBoundingBox": "geo_bounding_box", "GeoRadius": "geo_radius"}.get(name, "geo_polygon")
    return field("a", **{key: condition(name, *args)})


# Texts

TEXTS: list[Any] = [
    "hello world", "Hello, World!", "hell", "WORLD hello", "hello big world", "Straße GROSS",
    "STRASSE", "naïve café", "naive cafe", "don't stop", "a_b c-d e.f", "foo123 4.5", "你好世界",
    "İstanbul", "ΟΔΥΣΣΕΥΣ", "the of and", "running runs", "x" * 300, ["hello", "world"],
    [["hello"]], {"b": "hello"}, 5, None, "", "hello\x1cworld", "a\u3000b", "world world hello",
    "हिन्दी भाषा", "ﬁne", "①②", "²", "e\u0301a", "hello hello world",
]  # fmt: skip
QUERIES = [
    "hello", "hell", "world hello", "hello world", "!", "", "straße", "CAFÉ", "cafe", "don't", "t",
    "a_b", "c d", "4.5", "5", "你好", "你好世界", "i̇stanbul", "istanbul", "οδυσσευσ", "οδυσσευς",
    "the", "run", "x" * 300, "hello hello", "bye hello", "zz\x1cworld", "zz\u3000b", "हिन्दी", "ह",
    "fine", "①", "②", "²", "e", "a", "world world",
]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["MatchText", "MatchTextAny", "MatchPhrase", "MatchPrefix", "MatchSubstring"]
)
def test_texts(both: Both, name: str) -> None:
    fill(both, TEXTS)
    found = [same(both, match(name, text)) for text in QUERIES]
    assert any(found)


words = st.text(st.sampled_from("aAbß_ .Σσİ९é①-"), max_size=6)


@given(st.lists(words, min_size=POINTS, max_size=POINTS), st.lists(words, min_size=4, max_size=4))
def test_any_text(both: Both, texts: list[str], wanted: list[str]) -> None:
    fill(both, texts)
    for text in [*wanted, texts[0], texts[1][:2]]:
        for name in ("MatchText", "MatchTextAny", "MatchPhrase", "MatchPrefix", "MatchSubstring"):
            same(both, match(name, text))


# Moments

MOMENTS: list[Any] = [
    "2024-12-31T23:59:59.9999999Z", "2024-12-31T23:59:60Z", "2024-12-31T23:59:60.5Z", "2025-01-01",
    "2025-01-01T00:00:00.0000004Z", "2025-01-01T05:30:00+05:30", ["x", "2025-01-01T00:00"],
    [["2025-01-01"]], 1735689600, 1735689600.0, None, "", "2025-01-01T00:00Z", "2025-13-01", {},
    "+12025-01-01", "-0001-01-01", "2025-01-01 00:00:00 utc", " 2025-01-01", "2025-01-01 ",
]  # fmt: skip


@pytest.mark.parametrize("bound", [m for m in MOMENTS[:6] if isinstance(m, str)])
def test_moments(both: Both, bound: str) -> None:
    fill(both, MOMENTS)
    for name in ("gte", "gt", "lte", "lt"):
        part = condition("RangeDateTime", **{name: bound})
        same(both, field("a", range=part))
        same(both, field("a[]", range=part))
    same(both, field("a", range=condition("RangeDateTime")))


# Places


def short(number: float) -> float:
    """A float of so few digits that Qdrant's JSON gives it back as it was."""
    return round(number, 9)


def spread(count: int, seed: int) -> list[tuple[float, float]]:
    draw = random.Random(seed)
    return [(short(draw.uniform(-180, 180)), short(draw.uniform(-90, 90))) for _ in range(count)]


def haversine(one: tuple[float, float], other: tuple[float, float]) -> float:
    """The formula of `in_circle`; its distance, in metres."""
    (lon0, lat0), (lon, lat) = one, other
    north, east = (math.sin(math.radians(d) / 2) for d in (lat - lat0, lon - lon0))
    across = math.cos(math.radians(lat0)) * math.cos(math.radians(lat)) * (east * east)
    return EARTH_RADIUS * (2 * math.asin(math.sqrt(min(north * north + across, 1))))


@pytest.mark.parametrize("seed", range(5))
def test_a_circle_ends_where_qdrants_ends_to_the_last_bit(both: Both, seed: int) -> None:
    places = spread(POINTS, seed)
    fill(both, [{"lon": lon, "lat": lat} for lon, lat in places])
    for center, target in zip(spread(20, seed + 100), places, strict=False):
        edge = haversine(center, target)
        offset = places.index(target)
        reached = [
            offset in same(both, region("GeoRadius", place(*center), radius))
            for radius in (math.nextafter(edge, 0), edge, math.nextafter(edge, math.inf))
        ]
        assert reached == [False, False, True]


def test_the_other_side_of_the_earth_and_places_that_are_none(both: Both) -> None:
    values = [
        *({"lon": lon, "lat": lat} for lon in (-180, 0, 10, 180) for lat in (-90, 0, 12.5, 90)),
        *({"lon": lon, "lat": lat} for lon, lat in [(200, 0), (0, 95), (0, 270), (1e300, 1e300)]),
        {"lon": 1}, {"lon": "1", "lat": 1}, {"lon": True, "lat": 1}, {"lon": 1, "lat": None},
        [{"lon": 0, "lat": 0}, {"lon": 90, "lat": 0}], [[{"lon": 0, "lat": 0}]], [0, 0], "0,0",
    ]  # fmt: skip
    fill(both, values)
    for lon in (-180, -170, 0, 180):
        for lat in (-90, -12.5, 0, 90):
            for radius in (0.0, 1.0, 1e7, 2e7, 20015114.0, 1e9, math.inf):
                same(both, region("GeoRadius", place(lon, lat), radius))
            same(both, region("GeoBoundingBox", place(lon, lat), place(10, 0)))
            same(both, region("GeoBoundingBox", place(10, 12.5), place(lon, lat)))


GRID: list[Any] = [{"lon": lon, "lat": lat} for lon in range(8) for lat in range(7)]
corners = st.tuples(st.integers(0, 7), st.integers(0, 6))


@given(
    st.lists(st.lists(corners, min_size=3, max_size=6), min_size=1, max_size=3),
    st.booleans(),
)
def test_polygons_on_a_grid(both: Both, drawn: list[list[tuple[int, int]]], tenths: bool) -> None:
    unit = 0.1 if tenths else 1
    fill(both, [{key: short(n * unit) for key, n in value.items()} for value in GRID])
    exterior, *holes = [
        [place(short(lon * unit), short(lat * unit)) for lon, lat in [*ring, ring[0]]]
        for ring in drawn
    ]
    same(both, region("GeoPolygon", exterior, holes))
    same(both, region("GeoPolygon", exterior[::-1]))


# Counts and slices


def test_counts(both: Both) -> None:
    fill(both, [None, [], 1, [1, 2], [None], "w", {}, [[1, 2, 3]], [1, [2], [3, 4]]])
    one = condition("MatchValue", 1)
    for number in range(4):
        for name in ("lt", "gt", "lte", "gte"):
            part = condition("ValuesCount", **{name: number})
            for key in ("a", "a[]", "a[0]", "a[2]", "b"):
                same(both, field(key, values_count=part))
            same(both, field("a", values_count=part, is_empty=True, match=one))


@pytest.mark.parametrize("total", [1, 2, 3, 10, 1000])
def test_slices(both: Both, total: int) -> None:
    both.fill([{}] * POINTS)
    parts = {*slices(encode_ids(IDS), total).tolist()[::7], 0, total - 1}
    for part in parts:
        same(both, condition("SliceCondition", total, part))


def test_slices_of_ids_of_any_size(tmp_path: Any) -> None:
    size = qdrant_edge.EdgeVectorParams(size=1, distance=qdrant_edge.Distance.Dot)
    shard = qdrant_edge.EdgeShard.create(
        str(tmp_path / "s"), qdrant_edge.EdgeConfig(vectors={"v": size})
    )
    draw = random.Random(5)
    ids = [draw.getrandbits(draw.randint(1, 64)) for _ in range(200)] + [2**64 - 1]
    uuids = [UUID(int=draw.getrandbits(128)) for _ in range(200)]
    every: list[int | UUID] = [*dict.fromkeys(ids), *uuids]
    points = [qdrant_edge.Point(id, {}) for id in every]
    shard.update(qdrant_edge.UpdateOperation.upsert_points(points))
    for total in (7, 2**31, 2**32 - 1):
        parts = slices(encode_ids(every), total).tolist()
        for part in {*parts[::40], 0}:
            wanted = qdrant_edge.Filter(must=[qdrant_edge.SliceCondition(total, part)])
            records, _ = shard.scroll(qdrant_edge.ScrollRequest(limit=1000, filter=wanted))
            mine = {id for id, slice in zip(every, parts, strict=True) if slice == part}
            assert {record.id for record in records} == mine
    shard.close()


# Deliberate differences.


def test_a_datetime_is_taken_as_a_bound_where_qdrant_refuses_it() -> None:
    moment = datetime(2024, 1, 1, 10, tzinfo=UTC)
    assert ours.RangeDateTime(gte=moment).gte == "2024-01-01 10:00:00 UTC"
    with pytest.raises(TypeError):
        qdrant_edge.RangeDateTime(gte=moment)  # type: ignore[arg-type]


@pytest.mark.parametrize("radius", [-5.0, math.nan])
def test_a_radius_that_is_none_is_refused_where_qdrant_matches_nothing(
    both: Both, radius: float
) -> None:
    fill(both, [{"lon": 0, "lat": 0}])
    part = region("GeoRadius", place(0, 0), radius)
    with pytest.raises(ValidationError, match="radius"):
        both.ours(only(part).build)
    assert both.theirs(only(part).build) == []


def test_a_bool_is_no_number_of_degrees_where_qdrant_makes_it_one() -> None:
    assert qdrant_edge.GeoPoint(True, 0).lon == 1
    with pytest.raises(ValidationError):
        GeoPoint(True, 0)


def test_a_place_keeps_its_last_digit_where_qdrant_rounds_it(both: Both) -> None:
    # Qdrant keeps payloads as JSON text and reads floats back a last bit off, one in twelve.
    draw = random.Random(5)
    places = [(draw.uniform(-180, 180), draw.uniform(-90, 90)) for _ in range(POINTS)]
    fill(both, [{"lon": lon, "lat": lat} for lon, lat in places])
    read = [
        (record.payload["a"]["lon"], record.payload["a"]["lat"])
        for record in both.shard.retrieve(IDS[:POINTS], True, False)
    ]
    changed = [i for i in range(POINTS) if read[i] != places[i]]
    assert changed
    for i in changed:
        distances = haversine((0, 0), places[i]), haversine((0, 0), read[i])
        circle = in_circle(GeoRadius(GeoPoint(0, 0), max(distances)))
        assert circle(*places[i]) == (distances[0] < distances[1])
        part = region("GeoRadius", place(0, 0), max(distances))
        assert (i in both.theirs(only(part).build)) == (distances[1] < distances[0])
