"""Values: words, moments, places and counts by JSON type, prepared once for a filter."""

from __future__ import annotations

from typing import Any

import pytest

from edge.filter.values import document_test, value_cost, value_test, values_count_test
from edge.model import instant
from edge.model.filter import (
    MatchPhrase,
    MatchPrefix,
    MatchSubstring,
    MatchText,
    MatchTextAny,
    MatchValue,
    RangeDateTime,
    ValuesCount,
)
from edge.model.geo import GeoBoundingBox, GeoPoint, GeoPolygon, GeoRadius
from edge.text.analyzer import Analyzer

TEXTS = ["Red mug", "mug, red!", "red  big mug", "redder mug", "", "MUG"]


def found(part: Any, values: list[Any] = TEXTS) -> list[int]:
    test = value_test(part)
    return [i for i, value in enumerate(values) if test(value)]


def test_words_in_any_case_any_order_or_one_after_another() -> None:
    assert found(MatchText("MUG red")) == [0, 1, 2]
    assert found(MatchTextAny("Red cup")) == [0, 1, 2]
    assert found(MatchPhrase("red mug")) == [0]
    assert found(MatchPhrase("mug")) == [0, 1, 2, 3, 5]
    assert found(MatchPhrase("ed mug")) == []


@pytest.mark.parametrize("match", [MatchText, MatchTextAny, MatchPhrase])
@pytest.mark.parametrize("text", ["", " ", "!?"])
def test_no_words_match_nothing(match: Any, text: str) -> None:
    assert found(match(text)) == []


def test_prefixes_and_substrings_are_exact() -> None:
    assert found(MatchPrefix("red")) == [2, 3]
    assert found(MatchSubstring("ed m")) == [0]
    assert found(MatchPrefix("")) == found(MatchSubstring("")) == [*range(6)]


def test_the_analyzer_of_an_index_may_take_the_place_of_the_plain_one() -> None:
    exact = document_test(MatchText("MUG"), Analyzer("whitespace", lowercase=False))
    assert [exact([text]) for text in TEXTS] == [False] * 5 + [True]


OTHERS: list[Any] = [
    None,
    True,
    1,
    1.5,
    2**63,
    [],
    {},
    ["red"],
    {"lon": 1},
    {"lon": True, "lat": 1},
]


@pytest.mark.parametrize(
    "part",
    [
        MatchText("red"), MatchTextAny("red"), MatchPhrase("red"), MatchPrefix(""),
        MatchSubstring(""), RangeDateTime(), GeoRadius(GeoPoint(0, 0), 1e9),
        GeoBoundingBox(GeoPoint(-180, 90), GeoPoint(180, -90)),
        GeoPolygon([GeoPoint(0, 0), GeoPoint(9, 0), GeoPoint(9, 9), GeoPoint(0, 0)]),
    ],
    ids=lambda part: type(part).__name__,
)  # fmt: skip
def test_other_kinds_of_values_never_match(part: Any) -> None:
    assert found(part, OTHERS) == []


def test_places_are_objects_with_numbers() -> None:
    near = GeoRadius(GeoPoint(1, 1), 10)
    assert found(near, [{"lon": 1, "lat": 1.0, "alt": None}, {"lat": 1, "lon": "1"}]) == [0]


def test_moments_within_bounds() -> None:
    texts = ["2024-01-01", "2024-01-01T00:00:00.000001Z", "2024-01-02T01:00:00+01:00", "soon"]
    assert found(RangeDateTime(), texts) == [0, 1, 2]
    assert found(RangeDateTime(gt="2024-01-01"), texts) == [1, 2]
    assert found(RangeDateTime(gte="2024-01-01", lt="2024-01-02"), texts) == [0, 1]
    assert found(RangeDateTime(gte="2024-01-02", lte="2024-01-02"), texts) == [2]


def test_bounds_are_read_once_for_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    test = value_test(RangeDateTime(gt="2024-01-01"))
    read: list[str] = []
    parse = instant.parse
    monkeypatch.setattr(instant, "parse", lambda text: read.append(text) or parse(text))
    assert [test(text) for text in ("2024-01-02", "2023-01-02")] == [True, False]
    assert read == []


def test_counts_are_of_the_whole_value() -> None:
    values: list[Any] = [None, [], 1, "abc", {}, [1], [None, [], 3]]
    for bounds, expected in [
        ({"lt": 1}, [0, 1]),
        ({"gte": 1, "lte": 1}, [2, 3, 4, 5]),
        ({"gt": 2}, [6]),
        ({}, [*range(7)]),
        ({"lte": 2**64 - 1}, [*range(7)]),
    ]:
        test = values_count_test(ValuesCount(**bounds))
        assert [i for i, value in enumerate(values) if test(value)] == expected


def test_a_large_polygon_costs_more_than_a_small_one_and_that_more_than_a_value() -> None:
    small = [GeoPoint(0, 0)] * 4
    costs = [value_cost(part) for part in (MatchValue(1), GeoPolygon(small), GeoPolygon(small * 9))]
    assert costs == sorted(set(costs))
    assert costs[0] == 1
