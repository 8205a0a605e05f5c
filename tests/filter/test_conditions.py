"""Conditions: the tables are complete, the tests total, and JSON types are kept apart."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.filter.conditions import CONDITIONS, Scope, cost_of, predicate_of
from edge.filter.mask import ASKS
from edge.filter.values import VALUE_TESTS
from edge.model.filter import (
    Condition,
    FieldCondition,
    Filter,
    HasIdCondition,
    HasVectorCondition,
    IsEmptyCondition,
    IsNullCondition,
    Match,
    MatchAny,
    MatchExcept,
    MatchValue,
    MinShould,
    NestedCondition,
    Range,
    RangeFloat,
    Region,
)

KITCHEN = FieldCondition("room", match=MatchValue("kitchen"))


def holds(condition: Any, document: dict[str, Any]) -> bool:
    """Whether a document matches; no column is at hand."""
    verdict = predicate_of(condition, Scope({}, lambda key: None))(document, 0)
    assert type(verdict) is bool
    return verdict


def field(value: Any, **kwargs: Any) -> bool:
    """Whether {"a": value} matches a field condition on a."""
    return holds(FieldCondition("a", **kwargs), {"a": value})


def test_every_condition_of_the_model_has_a_meaning() -> None:
    assert set(CONDITIONS) == set(get_args(Condition))
    assert set(VALUE_TESTS) == {*get_args(Match), *get_args(Range), *get_args(Region)}


def test_every_condition_but_a_filter_is_asked_for_all_rows_at_once() -> None:
    assert set(ASKS) == set(get_args(Condition)) - {Filter}


def test_what_a_column_tells_is_not_tested() -> None:
    scope = Scope({id(KITCHEN): b"\0\1"}, lambda key: None)
    test = predicate_of(KITCHEN, scope)
    assert [test({"room": "kitchen"}, 0), test({}, 1)] == [False, True]


@pytest.mark.parametrize(
    ("wanted", "matching"),
    [(1, [1]), (0, [0]), (True, [True]), (False, [False]), ("1", ["1"]), ("", [""])],
)
def test_values_match_by_json_type(wanted: Any, matching: list[Any]) -> None:
    values = [0, 1, 0.0, 1.0, True, False, "1", "", None, {}, []]
    found = [value for value in values if field(value, match=MatchValue(wanted))]
    assert [*map(repr, found)] == [*map(repr, matching)]
    listed = [value for value in values if field(value, match=MatchAny([wanted]))]
    assert [*map(repr, listed)] == [*map(repr, matching)]


def test_except_matches_other_types_but_never_null_or_what_is_absent() -> None:
    match = MatchExcept([1, 2])
    assert [field(value, match=match) for value in (3, 1.0, True, "1", {}, [[1]], [1, 3])] == [
        True
    ] * 7
    assert [field(value, match=match) for value in (1, 2, None, [], [1, 2], [None])] == [False] * 6
    assert not holds(FieldCondition("a", match=match), {})


@pytest.mark.parametrize("value", [True, False, "1", None, {}, [], [[1]], ["2"]])
def test_only_numbers_are_in_a_range(value: Any) -> None:
    assert not field(value, range=RangeFloat())
    assert not field(value, range=RangeFloat(gte=-10, lte=10))


@pytest.mark.parametrize(
    ("bounds", "inside"),
    [
        ({"gte": 1}, [1, 1.5, 2]),
        ({"gt": 1}, [1.5, 2]),
        ({"lte": 1}, [0, 1]),
        ({"lt": 1}, [0]),
        ({"gt": 0, "lt": 2}, [1, 1.5]),
        ({"gte": 2, "lte": 0}, []),
    ],
)
def test_range_bounds(bounds: dict[str, float], inside: list[float]) -> None:
    numbers = [0, 1, 1.5, 2]
    assert [n for n in numbers if field(n, range=RangeFloat(**bounds))] == inside


def test_a_field_condition_without_predicates_matches_nothing() -> None:
    assert not field(1)
    assert not holds(FieldCondition("a"), {})


def test_flags_outweigh_match_and_match_and_range_are_alternatives() -> None:
    assert field("x", match=MatchValue("y"), is_empty=False)
    assert not field("x", match=MatchValue("x"), is_null=True)
    assert field(5, match=MatchValue("x"), range=RangeFloat(gte=5))


def test_empty_and_null() -> None:
    documents: list[dict[str, Any]] = [{}, {"a": None}, {"a": []}, {"a": [None]}, {"a": {}}]
    empty, null = IsEmptyCondition("a"), IsNullCondition("a")
    assert [holds(empty, document) for document in documents] == [True, True, True, False, False]
    assert [holds(null, document) for document in documents] == [False, True, False, True, False]


def test_a_nested_filter_holds_for_one_element_as_a_whole() -> None:
    both = Filter(
        must=[
            FieldCondition("kind", match=MatchValue("cup")),
            FieldCondition("full", match=MatchValue(True)),
        ]
    )
    seen = NestedCondition("seen", both)
    assert holds(seen, {"seen": [{"kind": "jug"}, {"kind": "cup", "full": True}]})
    assert not holds(seen, {"seen": [{"kind": "cup"}, {"full": True}]})
    assert not holds(seen, {"seen": {"kind": "cup", "full": True}})


def test_ids_and_vectors_match_nothing_inside_a_nested_condition() -> None:
    for column in (HasIdCondition({0}), HasVectorCondition("v")):
        assert not holds(NestedCondition("a", Filter(must=[column])), {"a": [{}]})
        assert holds(NestedCondition("a", Filter(must_not=[column])), {"a": [{}]})


def test_counting_stops_at_enough_and_a_huge_count_is_never_reached() -> None:
    def counted(count: int) -> bool:
        return holds(Filter(min_should=MinShould([KITCHEN, KITCHEN], count)), {"room": "kitchen"})

    assert [counted(count) for count in (0, 1, 2, 3, 2**64 - 1)] == [True, True, True, False, False]


def test_cost_grows_with_what_a_condition_asks() -> None:
    wide = FieldCondition("rooms[].name", match=MatchValue("kitchen"))
    chain = [
        HasIdCondition({1}),
        Filter(must=[KITCHEN]),
        wide,
        NestedCondition("a", Filter([wide])),
    ]
    costs = [cost_of(condition) for condition in chain]
    assert costs == sorted(set(costs))
    assert costs[0] >= 1


_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
ALL = [
    *(
        FieldCondition("a", match=each)
        for each in (MatchValue(1), MatchAny(["x"]), MatchExcept([]))
    ),
    FieldCondition("a[].b", range=RangeFloat(gt=0)),
    FieldCondition("a", is_empty=True),
    FieldCondition("a", is_null=False),
    IsEmptyCondition("a[0]"),
    IsNullCondition("a[]"),
    NestedCondition("a", Filter(must_not=[IsNullCondition("b")])),
    HasIdCondition({1}),
    Filter(should=[KITCHEN, Filter()]),
]


@given(st.dictionaries(st.sampled_from(["a", "b", "room"]), _values))
def test_no_payload_makes_a_test_raise(document: dict[str, Any]) -> None:
    for condition in ALL:
        holds(condition, document)


def test_a_payload_far_deeper_than_the_stack_does_no_harm() -> None:
    lists: list[Any] = []
    objects: dict[str, Any] = {}
    for _ in range(100_000):
        lists, objects = [lists], {"a": objects}
    for condition in ALL:
        holds(condition, {"a": lists})
        holds(condition, objects)


def test_a_filter_as_deep_as_any_may_be_is_evaluated() -> None:
    flat, nested = Filter(must=[KITCHEN]), Filter(must=[KITCHEN])
    document: dict[str, Any] = {"room": "kitchen"}
    while flat.depth < 64:
        flat = Filter(must_not=[Filter(must_not=[flat])]) if flat.depth < 63 else Filter([flat])
    while nested.depth < 64:
        nested, document = Filter([NestedCondition("a", nested)]), {"a": [document]}
    assert holds(flat, {"room": "kitchen"})
    assert holds(nested, document)
