"""Plans of explained queries: the way of each segment, true counts, and bounds that hold."""

from __future__ import annotations

from typing import Any

import pytest

from edge.filter.mask import matches
from edge.model.filter import Filter, HasIdCondition
from edge.model.query import OrderBy, Query, Sample, SearchParams, TextQuery
from edge.model.request import (
    Cardinality,
    Explained,
    QueryBatchRequest,
    QueryRequest,
    ScrollRequest,
    SearchRequest,
)
from edge.query import trace
from edge.query.answer import answer
from edge_kernels import bits
from tests.query.indexed_shards import FILTERS, Shard, chosen

NEAREST = Query.Nearest([1.0, 2.0, -1.0, 0.5])
QUERIES: dict[str, Any] = {
    "nearest": NEAREST,
    "order": OrderBy("n"),
    "text": TextQuery("note", "cup tea"),
    "sample": Sample.Random,
    "ids": None,
}
WAYS: dict[str, tuple[set[str], set[str]]] = {
    "nearest": ({"graph", "scan"}, {"scan of matches", "filtered graph"}),
    "order": ({"order"}, {"order of matches"}),
    "text": ({"text index"}, {"text index"}),
    "sample": ({"sample"}, {"sample"}),
    "ids": ({"ids"}, {"ids"}),
}


def true_matches(shard: Shard, name: str) -> list[int]:
    """How many points of each segment fulfil the filter."""
    filter = FILTERS[name]
    assert filter is not None
    return [
        bits.count(matches(filter, part, part.live_bits()), part.watermark)
        for part in shard.view.segments
        if part.live_count
    ]


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("kind", QUERIES)
def test_every_segment_tells_its_way(every_indexed: dict[str, Shard], kind: str, name: str) -> None:
    for moment in ("first", "between"):
        shard = every_indexed[moment]
        request = QueryRequest(1000, query=QUERIES[kind], filter=FILTERS[name], explain=True)
        found = answer(shard.view, request)
        assert isinstance(found, Explained)
        live = [part for part in shard.view.segments if part.live_count]
        assert [plan.segment for plan in found.plan] == [part.segment.number for part in live]
        assert [plan.points for plan in found.plan] == [part.live_count for part in live]
        assert {plan.way for plan in found.plan} <= WAYS[kind][name != "none"]
        assert all(plan.microseconds >= 0 for plan in found.plan)
        if name == "none":
            assert all(plan.estimate is plan.matches is None for plan in found.plan)


@pytest.mark.parametrize("name", ["hall", "few", "open"])
@pytest.mark.parametrize("kind", ["nearest", "order", "sample"])
def test_matches_are_counted_and_the_bounds_of_estimates_hold(
    indexed: Shard, kind: str, name: str
) -> None:
    request = QueryRequest(5, query=QUERIES[kind], filter=FILTERS[name], explain=True)
    plans = answer(indexed.view, request).plan
    assert [plan.matches for plan in plans] == true_matches(indexed, name)
    for plan in plans:
        assert plan.estimate.least <= plan.matches <= plan.estimate.most <= plan.points
        assert plan.estimate.least <= plan.estimate.likely <= plan.estimate.most
    assert sum(plan.matches for plan in plans) == len(chosen(indexed, name))


def test_a_page_counts_no_matches_that_it_did_not_look_at(indexed: Shard) -> None:
    for name in ("hall", "open"):
        request = QueryRequest(1, filter=FILTERS[name], explain=True)
        for plan, true in zip(
            answer(indexed.view, request).plan, true_matches(indexed, name), strict=True
        ):
            assert plan.estimate.least <= true <= plan.estimate.most
            assert plan.matches in (None, true)
            assert name == "hall" or plan.matches is None
    nobody = Filter(must=[HasIdCondition([])])
    for plan in answer(indexed.view, QueryRequest(1, filter=nobody, explain=True)).plan:
        assert (plan.estimate, plan.matches) == (Cardinality(0, 0, 0), 0)


def test_an_index_that_tells_all_is_an_exact_estimate(every_indexed: dict[str, Shard]) -> None:
    """Of rooms every 13th value has no place, but no such value may equal a name."""
    request = QueryRequest(5, query=NEAREST, filter=FILTERS["hall"], explain=True)
    for plan in answer(every_indexed["never"].view, request).plan:
        assert (plan.estimate.least, plan.estimate.most) == (0, plan.points)
    for plan in answer(every_indexed["first"].view, request).plan:
        assert plan.estimate.least == plan.matches


def test_explaining_changes_no_answer(indexed: Shard) -> None:
    for kind in ("nearest", "order", "ids"):
        for filter in FILTERS.values():
            plain = QueryRequest(9, 2, query=QUERIES[kind], filter=filter, with_payload=True)
            told = QueryRequest(
                9, 2, query=QUERIES[kind], filter=filter, with_payload=True, explain=True
            )
            found = answer(indexed.view, plain)
            assert type(found) is list
            assert answer(indexed.view, told) == found


def test_the_way_depends_on_graph_and_params(every_indexed: dict[str, Shard]) -> None:
    view = every_indexed["first"].view

    def ways(**given: Any) -> list[str]:
        request = QueryRequest(5, query=NEAREST, explain=True, **given)
        return [plan.way for plan in answer(view, request).plan]

    assert ways() == ["graph", "scan", "scan", "scan"]
    assert ways(params=SearchParams(exact=True)) == ["scan"] * 4
    assert ways(filter=FILTERS["few"])[1:] == ["scan of matches"] * 3
    few = SearchParams(exact=True)
    assert ways(filter=FILTERS["few"], params=few) == ["scan of matches"] * 4


def test_searches_and_batches_explain_themselves_too(indexed: Shard) -> None:
    search = SearchRequest(NEAREST, 3, explain=True)
    assert len(answer(indexed.view, search).plan) == 4
    plain, told = (QueryRequest(3, query=NEAREST, explain=flag) for flag in (False, True))
    first, second = answer(indexed.view, QueryBatchRequest([plain, told]))
    assert type(first) is list
    assert isinstance(second, Explained)
    assert first == second


def test_a_query_of_nothing_has_no_plan(indexed: Shard) -> None:
    found = answer(indexed.view, QueryRequest(0, query=NEAREST, explain=True))
    assert (found, found.plan) == ([], ())


def test_where_nothing_is_explained_nothing_is_estimated(
    indexed: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unwanted(*given: object) -> None:
        raise AssertionError("nobody asked for an estimate")

    monkeypatch.setattr(trace, "estimate", unwanted)
    for query in (NEAREST, OrderBy("n"), Sample.Random, None):
        answer(indexed.view, QueryRequest(3, query=query, filter=FILTERS["hall"]))
    answer(indexed.view, ScrollRequest(filter=FILTERS["open"]))
    with pytest.raises(AssertionError, match="nobody asked"):
        answer(
            indexed.view,
            QueryRequest(3, query=NEAREST, filter=FILTERS["hall"], explain=True),
        )
