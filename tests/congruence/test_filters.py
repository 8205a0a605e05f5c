"""Filters give the answers of qdrant_edge: the same payloads, the same filters, the same ids.

The deliberate differences are tests of their own, at the end; each shows both answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import qdrant_edge
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.errors import UnknownVector, ValidationError
from edge.model.json_path import parse
from tests.congruence.both import IDS, POINTS, Both, Described, condition, field, match, only

FILTERS = 12

# Payloads: few keys and few values, so that paths and matches meet.

KEYS = ["a", "b", "c d", "größe"]
PATHS = ["a", "b", '"c d"', "größe", "a.a", "a.b", "a[].a", "a[].b", "a[]", "a[0]", "a[1].b",
         "b[][]", "b.größe", "a[].a[].b", 'b[]."c d"', "missing", "a.b.a"]  # fmt: skip
INTEGERS = [0, 1, -1, 2, 7, 2**53 + 1, 2**63 - 1, -(2**63)]
WORDS = ["", "x", "y", "ü", "1"]
NUMBERS = [*map(float, INTEGERS[:5]), 0.5, -2.5, 1e300]
TEXTS = ["x y", "Y, x!", "x x y", "\u00dc-y X", "x_1 y2", "\u65e5\u672c x", "xy"]
MOMENTS = [
    "2024-01-01", "2024-01-01T00:00:00Z", "2024-01-01 01:00:00+01:00", "2024-01-01T01:00:00+01",
    "2023-12-31T23:59:60.5Z", "2024-01-01T00:00:00.0000009", "1969-07-20T20:17", "+12024-01-01",
]  # fmt: skip
DEGREES = [0, 1, -1.5, 12.25, 89, 179.5, -179.5]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([*INTEGERS, 2**63, 2**64 - 1]),
    st.sampled_from(NUMBERS),
    st.sampled_from(WORDS),
    st.sampled_from([*TEXTS, *MOMENTS, "2024-13-01"]),
)
degrees = st.sampled_from([*DEGREES, 200])
places = st.fixed_dictionaries({"lon": degrees, "lat": degrees | st.none()})
documents = st.recursive(
    scalars | places,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)
    ),
    max_leaves=6,
)
payloads = st.dictionaries(st.sampled_from(KEYS), documents, max_size=3)

# Filters.

paths = st.sampled_from(PATHS)
integers = st.sampled_from(INTEGERS)
words = st.sampled_from(WORDS)
several = st.one_of(st.lists(integers, max_size=15), st.lists(words, max_size=5))
bounds = st.none() | st.sampled_from([*NUMBERS, float("inf"), 9007199254740992.0])
matches = st.one_of(
    st.builds(partial(condition, "MatchValue"), integers | words),
    st.builds(partial(condition, "MatchAny"), several),
    st.builds(partial(condition, "MatchExcept"), several),
    st.builds(
        condition,
        st.sampled_from(["MatchText", "MatchTextAny", "MatchPhrase"]),
        st.sampled_from([*WORDS, *TEXTS, "y x", "zz X", "\u00fc"]),
    ),
    st.builds(
        condition,
        st.sampled_from(["MatchPrefix", "MatchSubstring"]),
        st.sampled_from([*WORDS, *TEXTS, "x ", "2024-"]),
    ),
)
numbers = st.builds(partial(condition, "RangeFloat"), gte=bounds, gt=bounds, lte=bounds, lt=bounds)
moment = st.none() | st.sampled_from(MOMENTS)
moments = st.builds(
    partial(condition, "RangeDateTime"), gte=moment, gt=moment, lte=moment, lt=moment
)
ranges = numbers | moments
corners = st.builds(
    partial(condition, "GeoPoint"),
    st.sampled_from(DEGREES),
    st.sampled_from([degree for degree in DEGREES if abs(degree) < 90]),
)
rings = st.lists(corners, min_size=3, max_size=6).map(lambda points: [*points, points[0]])
regions = st.fixed_dictionaries(
    {},
    optional={
        "geo_bounding_box": st.builds(partial(condition, "GeoBoundingBox"), corners, corners),
        "geo_radius": st.builds(
            partial(condition, "GeoRadius"), corners, st.sampled_from([0.0, 1e5, 3e6, 1e9])
        ),
        "geo_polygon": st.builds(
            partial(condition, "GeoPolygon"), rings, st.none() | st.lists(rings, max_size=2)
        ),
    },
)
sizes = st.none() | st.integers(0, 3)
counts = st.builds(partial(condition, "ValuesCount"), lt=sizes, gt=sizes, lte=sizes, gte=sizes)
flags = st.none() | st.booleans()
fields = st.one_of(
    st.builds(partial(condition, "FieldCondition"), paths, match=matches),
    st.builds(partial(condition, "FieldCondition"), paths, range=ranges),
    st.builds(
        partial(condition, "FieldCondition"),
        paths,
        match=st.none() | matches,
        range=st.none() | ranges,
        is_empty=flags,
        is_null=flags,
        values_count=st.none() | counts,
    ),
    st.builds(partial(condition, "FieldCondition"), paths, values_count=counts),
    st.builds(
        lambda key, given, match: field(key, match=match, **given),
        paths,
        regions,
        st.none() | matches,
    ),
    st.builds(partial(condition, "IsEmptyCondition"), paths),
    st.builds(partial(condition, "IsNullCondition"), paths),
)
columns = st.one_of(
    st.builds(partial(condition, "HasIdCondition"), st.sets(st.sampled_from([*IDS, 99]))),
    st.builds(partial(condition, "HasVectorCondition"), st.sampled_from("vw")),
    st.integers(1, 5).flatmap(
        lambda total: st.builds(
            partial(condition, "SliceCondition"), st.just(total), st.integers(0, total - 1)
        )
    ),
)


def filters(depth: int, *, nested: bool = False) -> st.SearchStrategy[Described]:
    """Filters up to `depth` levels, but for what qdrant_edge gets wrong (see the end)."""
    conditions = fields | columns
    if depth > 1:
        conditions |= filters(depth - 1, nested=nested)
        conditions |= st.builds(
            partial(condition, "NestedCondition"), paths, filters(depth - 1, nested=True)
        )
    clause = st.none() | st.lists(conditions, max_size=3)
    should = st.none() | st.lists(conditions, max_size=3, min_size=int(nested))
    counted = st.builds(
        partial(condition, "MinShould"),
        st.lists(conditions, min_size=1, max_size=4),
        st.integers(0, 4),
    )
    return st.builds(
        partial(condition, "Filter"),
        must=clause,
        should=should,
        must_not=clause,
        min_should=st.none() | counted,
    )


def combined(wanted: list[Described]) -> Iterator[Described]:
    """Each filter, its opposite, and the pairs of neighbours joined in every way."""
    for one, other in pairwise([*wanted, wanted[0]]):
        yield one
        yield condition("Filter", must_not=[one])
        yield condition("Filter", must=[one, other])
        yield condition("Filter", should=[one, other])
        yield condition("Filter", min_should=condition("MinShould", [one, other, one], 2))


@settings(
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.large_base_example,
    ],
)
@given(st.data())
def test_any_filter_on_any_payload(both: Both, data: st.DataObject) -> None:
    both.fill(data.draw(st.lists(payloads, min_size=POINTS, max_size=POINTS)))
    drawn = data.draw(st.lists(filters(5), min_size=FILTERS, max_size=FILTERS))
    for wanted in combined(drawn):
        assert both.ours(wanted.build) == both.theirs(wanted.build), wanted.text


pieces = st.sampled_from([*'ab_-1٣²."[]\\ äक日\n', "[]", "[0]", "[12]", ".a", '."b c"', '"é"'])


@given(st.lists(st.lists(pieces, max_size=8).map("".join), min_size=30, max_size=30))
def test_any_path(texts: list[str]) -> None:
    for text in texts:
        try:
            theirs = qdrant_edge.IsEmptyCondition(text).key
        except ValueError:
            with pytest.raises(ValidationError):
                parse(text)
        else:
            assert str(parse(text)) == theirs


# One list of payloads that holds every kind of value, and every single condition on it.

EVERY_KIND: list[dict[str, Any]] = [
    {},
    *(
        {"a": value}
        for value in [
            None, [], {}, 1, 2, -1, 1.0, 2.5, 2**53 + 1, 2**63 - 1, 2**63, True, False, "x", "",
            "1", [None], [1, None], ["x", 2], [True], [[1]], [[]], [[None]], {"b": 1}, {"b": None},
            [{}], [{"b": 1}, {"b": None}], [{"b": []}], [{"b": [1, 2]}], [{"b": [None]}],
            [{"b": {"c": 1}}], [{"b": [{"c": 1}, {"c": [None]}]}],
        ]
    ),
    {"a": {"a": 1}, "b": [1]},
]  # fmt: skip
RANGES: list[dict[str, float]] = [
    {}, {"gte": 1}, {"gt": 1}, {"lte": 1}, {"lt": 1}, {"gt": 1, "lt": 3}, {"gt": 2.0**53},
    {"gte": 2**53 + 1}, {"lte": float("inf")}, {"gt": float("-inf")}, {"gte": 3, "lte": 1},
]  # fmt: skip
SINGLES = [
    *(field(key) for key in ["a", "b"]),
    *(match("MatchValue", value) for value in [1, -1, 0, 2**63 - 1, "x", "", "1"]),
    *(match(name, list_) for name in ["MatchAny", "MatchExcept"]
      for list_ in [[], [1], [1, 1, 2], ["x"], ["x", "1"], [*range(2, 40)]]),
    *(field("a", range=condition("RangeFloat", **bounds)) for bounds in RANGES),
    *(field(key, **{flag: value}) for flag in ["is_empty", "is_null"] for value in [True, False]
      for key in ["a", "a[]", "a[].b", "a[].b[].c", "a.b"]),
    *(condition(name, key) for name in ["IsEmptyCondition", "IsNullCondition"]
      for key in ["a", "a[]", "a[].b", "a[].b[].c", "a.b"]),
    *(field("a", match=condition("MatchValue", "x"), **more) for more in [
        {"range": condition("RangeFloat", gte=2)}, {"is_empty": True}, {"is_null": False},
        {"is_empty": True, "is_null": False}]),
    condition("HasIdCondition", {1, 5, IDS[55], 99}),
    condition("HasIdCondition", set()),
    condition("HasVectorCondition", "v"),
    condition("HasVectorCondition", "w"),
    condition("Filter"),
    *(condition("Filter", **{clause: []}) for clause in ["must", "should", "must_not"]),
    *(condition("Filter", min_should=condition("MinShould", parts, count))
      for parts in [[], [match("MatchValue", 1)]] for count in [0, 1, 2]),
]  # fmt: skip


@pytest.mark.parametrize("part", SINGLES, ids=lambda part: part.text)
def test_each_condition_on_each_kind_of_value(both: Both, part: Described) -> None:
    both.fill([*EVERY_KIND, *[{}] * (POINTS - len(EVERY_KIND))])
    ways = [
        only(part),
        condition("Filter", must_not=[part]),
        condition("Filter", should=[part, match("MatchValue", 2)]),
        condition("Filter", must=[condition("Filter", should=[part, part])]),
    ]
    for wanted in ways:
        assert both.ours(wanted.build) == both.theirs(wanted.build), wanted.text


INNER = [part for part in SINGLES if part.text != "Filter(should=[])"]


@pytest.mark.parametrize("part", INNER, ids=lambda part: part.text)
def test_each_condition_inside_a_nested_one(both: Both, part: Described) -> None:
    elements = [payload for payload in EVERY_KIND if "a" in payload]
    both.fill(
        [
            *({"n": [element]} for element in elements),
            *({"n": [1, None, [element], {}]} for element in elements[:5]),
            *({"n": pair} for pair in [[elements[3], elements[12]], elements]),
            *({"n": element} for element in elements[: POINTS - 7 - len(elements)]),
        ]
    )
    for wanted in (only(part), condition("Filter", must_not=[part])):
        for key in ("n", "n[]", "n[0]", "n[][]"):
            whole = only(condition("NestedCondition", key, wanted))
            assert both.ours(whole.build) == both.theirs(whole.build), whole.text


# Deliberate differences.


@pytest.mark.parametrize(
    ("part", "ours_", "theirs"),
    [
        (match("MatchValue", True), [0], [2]),
        (match("MatchValue", False), [1, 4], [3]),
        (match("MatchAny", [True, False]), [0, 1, 4], [2, 3]),
        (match("MatchExcept", [True]), [1, 2, 3, 4], [0, 1, 3, 4]),
    ],
)
def test_a_bool_matches_bools_where_qdrant_makes_an_integer_of_it(
    both: Both, part: Described, ours_: list[int], theirs: list[int]
) -> None:
    payloads = [{"a": True}, {"a": False}, {"a": 1}, {"a": 0}, {"a": [False, 7]}]
    both.fill([*payloads, *[{}] * (POINTS - len(payloads))])
    assert both.ours(only(part).build) == ours_
    assert both.theirs(only(part).build) == theirs


def test_an_empty_should_asks_for_nothing_even_where_qdrant_refuses_all(both: Both) -> None:
    both.fill([{"n": [{"a": 1}]}, *[{}] * (POINTS - 1)])
    inner = condition("Filter", should=[], must=[match("MatchValue", 1)])
    wanted = only(condition("NestedCondition", "n", inner))
    assert both.ours(wanted.build) == [0]
    assert both.theirs(wanted.build) == []


def test_a_min_should_of_nothing_fails_even_where_qdrant_forgets_it(both: Both) -> None:
    both.fill([{}] * POINTS)
    ids = condition("HasIdCondition", {1, 2})
    wanted = condition("Filter", must=[ids], min_should=condition("MinShould", [], 2))
    assert both.ours(wanted.build) == []
    assert both.theirs(wanted.build) == [1, 2]


def test_an_unknown_vector_raises_where_qdrant_matches_nothing(both: Both) -> None:
    both.fill([{}] * POINTS)
    wanted = only(condition("HasVectorCondition", "unknown"))
    with pytest.raises(UnknownVector):
        both.ours(wanted.build)
    assert both.theirs(wanted.build) == []


def test_a_nan_bound_is_refused_where_qdrant_puts_it_above_all_numbers(both: Both) -> None:
    both.fill([{"a": 1}, *[{}] * (POINTS - 1)])
    wanted = only(field("a", range=condition("RangeFloat", lt=float("nan"))))
    with pytest.raises(ValidationError):
        both.ours(wanted.build)
    assert both.theirs(wanted.build) == [0]


def test_integers_beyond_int64_are_matched_where_qdrant_refuses_them(both: Both) -> None:
    both.fill([{"a": 2**63}, *[{}] * (POINTS - 1)])
    wanted = only(match("MatchValue", 2**63))
    assert both.ours(wanted.build) == [0]
    with pytest.raises(TypeError):
        both.theirs(wanted.build)


def test_combining_marks_need_no_quotes_where_qdrant_wants_them() -> None:
    assert parse("e\u0301").steps == ("e\u0301",)
    with pytest.raises(ValueError, match="invalid JSON path"):
        qdrant_edge.IsEmptyCondition("e\u0301")


def test_a_path_deeper_than_any_payload_is_refused_where_qdrant_takes_it() -> None:
    long = ".".join("a" * 65)
    with pytest.raises(ValidationError):
        parse(long)
    assert qdrant_edge.IsEmptyCondition(long).key == long
