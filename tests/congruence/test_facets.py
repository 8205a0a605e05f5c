"""Facets count what qdrant_edge counts.

The deliberate differences are tests of their own, at the end; each shows both answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.model.config import Durability, EdgeConfig, EdgeOptimizersConfig
from edge.model.filter import FieldCondition, Filter, HasIdCondition, MatchAny
from edge.model.point import Point
from edge.model.request import FacetRequest
from edge.model.schema import (
    BoolIndexParams,
    IntegerIndexParams,
    KeywordIndexParams,
    PayloadSchemaType,
    UuidIndexParams,
)
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams
from tests.congruence.engines import ALL, Pair, theirs, values_of

U = UpdateOperation
P = PayloadSchemaType
Payload = dict[str, Any]

POINTS = 60
IDS = [*range(40), *(UUID(int=2**127 + i) for i in range(POINTS - 40))]
SIZE = 64
CONFIG = EdgeConfig(
    vectors=EdgeVectorParams(size=SIZE, distance=Distance.Dot),
    optimizers=EdgeOptimizersConfig(
        deleted_threshold=0.1,
        vacuum_min_vector_number=8,
        default_segment_number=1,
        indexing_threshold=1,
    ),
    durability=Durability.Os,
)
KNOWN = UUID("550e8400-e29b-41d4-a716-446655440000")
UUIDS = [
    str(KNOWN),
    str(KNOWN).upper(),
    KNOWN.hex,
    KNOWN.urn,
    str(UUID(int=1)),
    str(UUID(int=2**127)),
]
INDEXES: dict[str, Any] = {
    "keyword": P.Keyword,
    "integer": P.Integer,
    "bool": P.Bool,
    "uuid": P.Uuid,
    "deep.keyword": KeywordIndexParams(prefix=True),
    "deep.integer": IntegerIndexParams(range=False),
    "list[].keyword": KeywordIndexParams(nested="list"),
    "list[].integer": IntegerIndexParams(lookup=True),
    "list[].bool": BoolIndexParams(),
    "list[].uuid": UuidIndexParams(nested="list"),
}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "keyword": st.sampled_from(["", "x", "y", "Z", "aa", "é", "2024", "日本", UUIDS[0]]),
    "integer": st.sampled_from([0, 1, -1, 7, 10, 2**53 + 1, 2**62, -(2**63)]),
    "bool": st.booleans(),
    "uuid": st.sampled_from(UUIDS),
}
"""By kind: the values that an index of it counts."""


def fitting(kind: str) -> st.SearchStrategy[Any]:
    """Values of the kind, and others that neither engine counts."""
    one = VALUES[kind] | st.sampled_from([None, 1.5, {"x": 1}])
    return st.one_of(VALUES[kind], one, st.lists(one | st.just([1, "x", True]), max_size=4))


objects = st.fixed_dictionaries({}, optional={kind: fitting(kind) for kind in VALUES})
payloads = st.builds(
    lambda top, deep: {**top, **deep},
    objects,
    st.fixed_dictionaries(
        {}, optional={"deep": objects, "list": st.lists(objects | st.none(), max_size=3)}
    ),
)
filters = st.one_of(
    st.none(),
    st.builds(lambda ids: Filter(must=[HasIdCondition(ids)]), st.sets(st.sampled_from(IDS))),
    st.builds(
        lambda words: Filter(should=[FieldCondition("keyword", match=MatchAny(words))]),
        st.lists(VALUES["keyword"], max_size=3),
    ),
    st.builds(
        lambda some: Filter(must_not=[FieldCondition("integer", match=MatchAny(some))]),
        st.lists(VALUES["integer"], max_size=3),
    ),
)
requests = st.builds(
    FacetRequest,
    st.sampled_from([*INDEXES, '"list"[]."keyword"']),
    st.sampled_from([ALL, 10, 3, 1, 0]),
    st.booleans(),
    filters,
)


def upsert(first: int, given: list[Payload]) -> UpdateOperation:
    points = zip(IDS[first:], given, strict=False)
    return U.upsert_points([Point(id, [1.0] * SIZE, payload) for id, payload in points])


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    made = Pair(tmp_path_factory.mktemp("facets") / "pair", CONFIG)
    for path, schema in INDEXES.items():
        made.update(U.create_field_index(path, schema))
    yield made
    made.close()


@settings(
    max_examples=settings().max_examples // 5,  # each of some dozen answers
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    first=st.lists(payloads, min_size=30, max_size=30),
    second=st.lists(payloads, min_size=25, max_size=30),
    gone=st.lists(st.sampled_from(IDS), max_size=10),
    asked=st.lists(requests, min_size=15, max_size=15),
)
def test_any_facet(
    pair: Pair, first: list[Payload], second: list[Payload], gone: list[Any], asked: list[Any]
) -> None:
    """Ours in one built segment and the tail; some points are overwritten, some deleted."""
    pair.clear()
    pair.update(upsert(0, first))
    pair.ours.optimize()
    pair.update(upsert(20, second))
    pair.update(U.delete_points(gone))
    for request in [*asked, *map(FacetRequest, INDEXES)]:
        pair.compare_facet(request)


SOME = [{"a": value} for value in ["x", "y", "y", ["x", "x", "z"], [], None, 1.5, "é", "", "Z"]]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path / "pair", CONFIG)
    made.update(upsert(0, SOME))
    yield made
    made.close()


def test_facets_before_and_after_a_rebuild_and_a_restart(small: Pair) -> None:
    small.update(U.create_field_index("a", P.Keyword))
    small.compare_facet(FacetRequest("a"))
    small.optimize()
    small.update(upsert(1, [{"a": "new"}]))
    small.update(U.delete_points([0]))
    for change in (small.restart, small.optimize):
        small.compare_facet(FacetRequest("a"))
        small.compare_facet(FacetRequest("a", 2, exact=True))
        change()
    small.compare_facet(FacetRequest("a"))
    assert values_of(small.ours.facet(FacetRequest("a", 2))) == [((str, ""), 1), ((str, "Z"), 1)]


def test_an_answer_has_a_length_and_can_be_walked(small: Pair) -> None:
    small.update(U.create_field_index("a", P.Keyword))
    for shard, request in [
        (small.ours, FacetRequest("a", 3)),
        (small.theirs, theirs(FacetRequest("a", 3))),
    ]:
        response = shard.facet(request)
        assert len(response) == len(list(response)) == len(response.hits) == 3


# Deliberate differences.


@pytest.mark.parametrize(
    "schema", [None, P.Float, P.Geo, P.Text, P.Datetime, IntegerIndexParams(lookup=False)]
)
def test_no_index_is_needed_where_qdrant_refuses(small: Pair, schema: Any) -> None:
    if schema is not None:
        small.update(U.create_field_index("a", schema))
    found = values_of(small.ours.facet(FacetRequest("a", 3)))
    assert found == [((str, "x"), 2), ((str, "y"), 2), ((str, ""), 1)]
    with pytest.raises(Exception, match="No appropriate index for faceting"):
        small.theirs.facet(theirs(FacetRequest("a", 3)))


MIXED = [{"a": value} for value in [True, False, 1, 1, "1", "x", 1.0, 2.0, [1, True, "x"], 2**63]]


@pytest.mark.parametrize(
    ("schema", "counted"),
    [
        (P.Keyword, {"x": 2, "1": 1}),
        (P.Integer, {1: 4, 2: 1, 2**63 - 1: 1}),
        (P.Bool, {True: 2, False: 1}),
    ],
)
def test_values_of_all_types_are_counted_where_qdrant_counts_those_of_the_index(
    small: Pair, schema: Any, counted: dict[Any, int]
) -> None:
    """Its index of integers takes 1.0 for 1, too, and 2**63 for the integer before."""
    small.clear()
    small.update(U.create_field_index("a", schema))
    small.update(upsert(0, MIXED))
    own = [(1, 3), (True, 2), ("x", 2), (False, 1), (2**63, 1), ("1", 1)]
    found = values_of(small.ours.facet(FacetRequest("a")))
    assert sorted(map(repr, found)) == sorted(repr(((type(v), v), n)) for v, n in own)
    others = small.theirs.facet(theirs(FacetRequest("a")))
    assert {hit.value: hit.count for hit in others} == counted


def test_a_value_that_is_gone_is_gone_where_qdrant_counts_it_as_zero_if_exact(small: Pair) -> None:
    small.update(U.create_field_index("a", P.Keyword))
    small.update(U.delete_points(IDS[1:]))
    request = FacetRequest("a", 3, exact=True)
    assert values_of(small.ours.facet(request)) == [((str, "x"), 1)]
    assert values_of(small.theirs.facet(theirs(request))) == [
        ((str, "x"), 1),
        ((str, ""), 0),
        ((str, "Z"), 0),
    ]
