"""Groups against the whole ranking dealt out to them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import DeadlineExceeded, LimitExceeded, UnknownVector, ValidationError
from edge.model.config import EdgeConfig
from edge.model.expression import Expression
from edge.model.filter import FieldCondition, Filter, MatchValue
from edge.model.formula import Formula
from edge.model.fusion import Fusion
from edge.model.groups import GroupsResult, QueryGroupsRequest
from edge.model.point import Point
from edge.model.point_id import PointId
from edge.model.prefetch import Prefetch
from edge.model.query import Mmr, OrderBy, Query, Sample, TextQuery
from edge.model.request import QueryRequest
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams
from edge.query import by_vectors, deadline
from edge.query.answer import answer
from edge.query.deadline import Deadline
from edge.segment.view import ShardView
from tests.query.ranked_shards import ALL, EXACT, NAMES, Shard, examples
from tests.segment.made import after, cut, start

Group = tuple[Any, list[tuple[PointId, float]]]
Payload = dict[str, Any]


def told(result: GroupsResult) -> list[Group]:
    return [
        ((type(group.id), group.id), [(hit.id, hit.score) for hit in group.hits])
        for group in result
    ]


def dealt(
    ranking: list[tuple[PointId, float]], values: dict[PointId, list[Any]], limit: int, size: int
) -> list[Group]:
    """The whole ranking, each point to the groups of its values, by hand."""
    groups: dict[Any, list[Any]] = {}
    for one, score in ranking:
        for value in dict.fromkeys(
            (type(v), v) for v in values[one] if type(v) in (str, int, bool)
        ):
            if value in groups or len(groups) < limit:
                groups.setdefault(value, []).append((one, score))
    return [(value, hits[:size]) for value, hits in groups.items()]


def values_of(shard: Shard, path: str) -> dict[PointId, list[Any]]:
    found = {one: known.payload.get(path, []) for one, known in shard.points.items()}
    return {one: v if isinstance(v, list) else [v] for one, v in found.items()}


# -- any kind of ranking


def kinds(name: str) -> dict[str, tuple[Any, list[Prefetch]]]:
    one, other = examples(name, 2)
    near, far = Query.Nearest(one, name), Query.Nearest(other, name)
    prefetches = [Prefetch(40, near, params=EXACT), Prefetch(25, far, params=EXACT)]
    return {
        "nearest": (near, []),
        "again": (far, prefetches[:1]),
        "fusion": (Fusion.Rrf(2), prefetches),
        "formula": (Formula(Expression.Variable("$score")), prefetches),
        "mmr": (Mmr(one, 0.5, 30, name), []),
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", kinds("dot"))
@pytest.mark.parametrize(("limit", "size"), [(2, 3), (1, 1), (10, 50), (3, 7)])
def test_groups_are_the_whole_ranking_dealt_out(
    ranked: Shard, name: str, kind: str, limit: int, size: int
) -> None:
    query, prefetches = kinds(name)[kind]
    whole = ranked.ask(query, prefetches=prefetches)
    for path in ("room", "tags", "n", "zz"):
        request = QueryGroupsRequest(
            path, limit, size, query=query, prefetches=prefetches, params=EXACT
        )
        found = told(answer(ranked.view, request))
        assert found == dealt(whole, values_of(ranked, path), limit, size)


def test_rankings_without_vectors(ranked: Shard) -> None:
    for query in (None, OrderBy("n"), TextQuery("note", "cup")):
        whole = ranked.ask(query)
        request = QueryGroupsRequest("room", query=query)
        assert told(answer(ranked.view, request)) == dealt(whole, values_of(ranked, "room"), 10, 3)
    groups = answer(ranked.view, QueryGroupsRequest("room", 3, 9, query=Sample.Random))
    assert {group.id for group in groups} == {"hall", "kitchen", "attic"}
    for group in groups:
        assert len({hit.id for hit in group.hits}) == 9
        assert {ranked.points[hit.id].payload["room"] for hit in group.hits} == {group.id}


def test_filters_and_thresholds_hold(ranked: Shard) -> None:
    query = Query.Nearest(examples("dot", 1)[0], "dot")
    filter = Filter(must=[FieldCondition("tags", match=MatchValue("red"))])
    whole = ranked.ask(query, filter=filter)
    limit = whole[len(whole) // 2][1]
    for settings in ({"filter": filter}, {"filter": filter, "score_threshold": limit}):
        request = QueryGroupsRequest("room", 3, 99, query=query, params=EXACT, **settings)
        expected = dealt(ranked.ask(query, **settings), values_of(ranked, "room"), 3, 99)
        assert told(answer(ranked.view, request)) == expected


def test_a_point_in_two_groups_is_shown_in_both(ranked: Shard) -> None:
    request = QueryGroupsRequest("tags", 9, 99, with_payload=True, with_vector=["dot"])
    seen: dict[PointId, int] = {}
    for group in answer(ranked.view, request):
        for hit in group.hits:
            known = ranked.points[hit.id]
            assert hit.payload == known.payload
            assert group.id in known.payload["tags"]
            assert ("dot" in hit.vector) == ("dot" in known.vectors)
            seen[hit.id] = seen.get(hit.id, 0) + 1
    for one, known in ranked.points.items():
        assert seen.get(one, 0) == len(set(known.payload.get("tags", [])))


# -- any values


def view_of(payloads: list[Payload]) -> ShardView:
    """Points whose scores fall as their numbers rise."""
    view = start(EdgeConfig({"v": EdgeVectorParams(1, Distance.Dot)}))
    for first in range(0, len(payloads), 4):
        numbers = range(first, min(first + 4, len(payloads)))
        points = [Point(i, {"v": [-float(i)]}, payloads[i]) for i in numbers]
        view = cut(after(view, UpdateOperation.upsert_points(points)))
    return view


values = st.one_of(
    st.integers(0, 3),
    st.sampled_from(["0", "1", "red", ""]),
    st.booleans(),
    st.none(),
    st.sampled_from([1.0, 0.5]),
    st.just({"a": 1}),
)
payloads = st.fixed_dictionaries({}, optional={"g": values | st.lists(values, max_size=4)})
NEAREST = Query.Nearest([1.0], "v")


@given(
    drawn=st.lists(payloads, max_size=16),
    limit=st.integers(0, 5),
    size=st.integers(1, 4),
)
def test_any_values(drawn: list[Payload], limit: int, size: int) -> None:
    """A bool is another group than the number that it equals; what is no text, integer or bool
    makes none, and does no harm."""
    view = view_of(drawn)
    request = QueryGroupsRequest("g", limit, size, query=NEAREST)
    held = {
        i: payload.get("g", []) if isinstance(payload.get("g", []), list) else [payload["g"]]
        for i, payload in enumerate(drawn)
    }
    whole = [(i, float(-i)) for i in range(len(drawn))]
    assert told(answer(view, request)) == dealt(whole, held, limit, size)


def test_paths_reach_into_payloads() -> None:
    view = view_of([{"a": {"b": ["x", "y"]}}, {"c": [{"d": 1}, {"d": [2, 1]}]}, {"a": {"b": "x"}}])
    by = {
        path: told(answer(view, QueryGroupsRequest(path, query=NEAREST)))
        for path in ("a.b", "a.b[]", "a.b[1]", "c[].d")
    }
    y = ((str, "y"), [(0, 0.0)])
    assert by["a.b"] == [((str, "x"), [(0, 0.0), (2, -2.0)]), y]
    assert by["a.b[]"] == [((str, "x"), [(0, 0.0)]), y]
    assert by["a.b[1]"] == [((str, "y"), [(0, 0.0)])]
    assert by["c[].d"] == [((int, 1), [(1, -1.0)]), ((int, 2), [(1, -1.0)])]


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many each search looks for."""
    seen: list[int] = []
    search = by_vectors.search

    def counted(view: Any, leaf: Any, *others: Any) -> Any:
        seen.append(leaf.k)
        return search(view, leaf, *others)

    monkeypatch.setattr(by_vectors, "search", counted)
    return seen


def test_a_rare_group_is_filled_from_the_very_end(limits: list[int]) -> None:
    """However many points have to be ranked for it; more of them at a time, and each prefetch
    once."""
    view = view_of([{"g": "often" if i % 50 else "rare"} for i in range(200)])
    request = QueryGroupsRequest("g", 2, 4, query=NEAREST)
    assert told(answer(view, request)) == [
        ((str, "rare"), [(0, 0.0), (50, -50.0), (100, -100.0), (150, -150.0)]),
        ((str, "often"), [(1, -1.0), (2, -2.0), (3, -3.0), (4, -4.0)]),
    ]
    assert limits == [16, 64, 200]
    del limits[:]
    request = QueryGroupsRequest("g", 2, 5, prefetches=[Prefetch(ALL, NEAREST)], query=NEAREST)
    assert [len(hits) for _, hits in told(answer(view, request))] == [4, 5]
    assert limits == [ALL]


def test_full_groups_need_no_second_look(limits: list[int]) -> None:
    view = view_of([{"g": i % 2} for i in range(50)])
    answer(view, QueryGroupsRequest("g", 2, 2, query=NEAREST))
    assert limits == [8]


# -- edges


def test_empty_ends() -> None:
    assert told(answer(view_of([]), QueryGroupsRequest("g", query=NEAREST))) == []
    view = view_of([{"g": 1}])
    assert told(answer(view, QueryGroupsRequest("g", 0, query=NEAREST))) == []
    assert told(answer(view, QueryGroupsRequest("other", query=NEAREST))) == []
    assert len(answer(view, QueryGroupsRequest("g"))) == 1
    with pytest.raises(ValidationError, match="group_size"):
        QueryGroupsRequest("g", 1, 0)


def test_requests_are_checked(ranked: Shard) -> None:
    with pytest.raises(UnknownVector):
        answer(ranked.view, QueryGroupsRequest("g", query=Query.Nearest([1.0], "zz")))
    with pytest.raises(LimitExceeded, match=r"limit \* group_size: 1001000"):
        answer(ranked.view, QueryGroupsRequest("g", 1001, 1000))
    with pytest.raises(ValidationError):
        QueryGroupsRequest("a b")


def test_groups_stop_at_their_deadline(ranked: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "monotonic", iter(range(10**6)).__next__)
    query = Query.Nearest(examples("dot", 1)[0], "dot")
    for timeout in (0.5, 2.5):
        with pytest.raises(DeadlineExceeded):
            answer(ranked.view, QueryGroupsRequest("room", query=query), Deadline(timeout))


def test_they_are_ranked_as_a_query_ranks(ranked: Shard) -> None:
    """What the other tests lean on: the whole ranking is what a query gives."""
    query = Query.Nearest(examples("dot", 1)[0], "dot")
    hits = answer(ranked.view, QueryRequest(ALL, query=query, params=EXACT))
    assert [(hit.id, hit.score) for hit in hits] == ranked.ask(query)
