"""Requests and queries: defaults, what optional arguments are read back as, and what is refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from edge.errors import ValidationError
from edge.model.filter import Filter
from edge.model.fusion import Fusion
from edge.model.groups import GroupsResult, PointGroup, QueryGroupsRequest
from edge.model.matrix import (
    SearchMatrixOffsets,
    SearchMatrixPair,
    SearchMatrixPairs,
    SearchMatrixRequest,
)
from edge.model.point import ScoredPoint
from edge.model.prefetch import Prefetch
from edge.model.query import (
    Bm25Params,
    Direction,
    NearestQuery,
    OrderBy,
    Query,
    Sample,
    SearchParams,
    TextQuery,
)
from edge.model.request import (
    Cardinality,
    CountRequest,
    ExcludePayload,
    Explained,
    FacetHit,
    FacetRequest,
    FacetResponse,
    IncludePayload,
    OrderCursor,
    PayloadSelector,
    QueryBatchRequest,
    QueryRequest,
    ScrollRequest,
    SearchRequest,
    SegmentPlan,
    ShardInfo,
)

NEAREST = Query.Nearest([1.0, 2.0], "image")

WHOLE: list[Any] = [
    NEAREST,
    SearchParams(64, True),
    QueryRequest(5, 1, NEAREST, [], ["image"], ["a"], Filter(), 0.5, SearchParams(), timeout=1.5),
    SearchRequest(NEAREST, 5, 1, Filter(), SearchParams(), True, True, 0.5, best_effort=True),
    ScrollRequest(7, 5, Filter(), PayloadSelector.Exclude(["a"]), ["image"], timeout=1),
    CountRequest(False, Filter(), timeout=0),
    QueryBatchRequest([QueryRequest(5), QueryRequest(6)]),
    ShardInfo(1, 2, 3, {}),
    OrderBy("a.b", Direction.Desc, 5),
    TextQuery("a", "cup of tea", Bm25Params(1.5, 0.5)),
    Bm25Params(),
    QueryRequest(5, query=OrderBy("a")),
    QueryRequest(5, query=Sample.Random, explain=True),
    QueryRequest(5, query=TextQuery("a", "")),
    ScrollRequest(OrderCursor(0.5, UUID(int=7)), 5, order_by="a"),
    OrderCursor(5, 1),
    FacetRequest("a[].b", 3, True, Filter(), timeout=0.5),
    FacetResponse([FacetHit("x", 2), FacetHit(True, 1)]),
    SegmentPlan(1, "scan", 3, Cardinality(0, 1, 2), 1, 0.5),
    Prefetch(5, NEAREST, None, SearchParams(64), Filter(), 0.5),
    QueryRequest(5, query=Fusion.Rrf(2), prefetches=[Prefetch(5, NEAREST), Prefetch(3)]),
    QueryGroupsRequest("a.b", 5, 2, NEAREST, [], True, ["a"], Filter(), 0.5, SearchParams(64)),
    GroupsResult([PointGroup("mug", [ScoredPoint(1, 2, 0.5)]), PointGroup(7, [])]),
    SearchMatrixRequest(100, 5, Filter(), "image", timeout=1),
    SearchMatrixPairs([SearchMatrixPair(1, UUID(int=7), 0.5)]),
    SearchMatrixOffsets(np.array([0]), np.array([1]), np.float32([0.5]), (1, UUID(int=7))),
]


@pytest.mark.parametrize("request_", WHOLE, ids=[type(r).__name__ for r in WHOLE])
def test_requests_are_values(request_: Any) -> None:
    assert pickle.loads(pickle.dumps(request_)) == request_
    assert "\n" not in repr(request_)
    with pytest.raises(AttributeError):
        setattr(request_, request_.__struct_fields__[0], None)


def test_a_nearest_query_is_a_query() -> None:
    assert isinstance(NEAREST, Query)
    assert isinstance(NEAREST, Query.Nearest)
    assert isinstance(NEAREST, NearestQuery)
    assert Query.Nearest(np.array([1, 2]), using="image") == NEAREST
    assert Query.Nearest([1.0, 2.0]) != NEAREST
    assert Query.Nearest([1.0]) == Query.Nearest([1.0], "")
    assert repr(NEAREST) == "Query.Nearest(query=[1, 2], using='image')"


def test_query_defaults() -> None:
    found = QueryRequest(3, None, prefetches=None)
    assert (found.offset, found.query, found.prefetches) == (0, None, ())
    assert (found.with_vector, found.with_payload) == (False, False)
    assert (found.filter, found.score_threshold, found.params) == (None, None, None)
    assert (found.timeout, found.best_effort) == (None, False)
    search = SearchRequest(NEAREST, 3)
    assert (search.offset, search.with_vector, search.with_payload) == (0, False, False)


def test_a_request_ranks_what_prefetches_find() -> None:
    inner = [Prefetch(9, NEAREST), Prefetch(7)]
    found = QueryRequest(3, query=Fusion.Dbsf(), prefetches=iter(inner))
    assert found.prefetches == tuple(inner)
    assert QueryRequest(3, prefetches=[]) == QueryRequest(3)
    assert SearchRequest(Query.Nearest(7, "image"), 3).query.query == 7


def test_group_defaults() -> None:
    found = QueryGroupsRequest("a[].b")
    assert (found.limit, found.group_size, found.query, found.prefetches) == (10, 3, None, ())
    assert (found.with_vector, found.with_payload, found.filter) == (False, False, None)
    assert (found.score_threshold, found.params, found.timeout) == (None, None, None)
    whole = QueryGroupsRequest(
        "a", query=Fusion.Rrf(2), prefetches=[Prefetch(1)], with_payload=["b"]
    )
    assert (len(whole.prefetches), whole.with_payload) == (1, IncludePayload(["b"]))


def test_groups_are_gone_through() -> None:
    groups = GroupsResult([PointGroup("mug", []), PointGroup(True, [])])
    assert (len(groups), [group.id for group in groups]) == (2, ["mug", True])


def test_matrix_defaults() -> None:
    found = SearchMatrixRequest()
    assert (found.sample_size, found.limit_per_sample, found.filter, found.using) == (
        10, 3, None, None
    )  # fmt: skip
    assert found.timeout is None


def test_a_matrix_tells_its_pairs() -> None:
    found = SearchMatrixOffsets(
        np.array([0, 0, 2]), np.array([1, 2, 0]), np.float32([0.5, 0.25, 1]), (3, 5, UUID(int=7))
    )
    pairs = found.pairs
    assert len(found) == len(pairs) == 3
    assert list(pairs) == [
        SearchMatrixPair(3, 5, 0.5),
        SearchMatrixPair(3, UUID(int=7), 0.25),
        SearchMatrixPair(UUID(int=7), 3, 1.0),
    ]
    other = SearchMatrixOffsets(found.offsets_row, found.offsets_col, found.scores, (3, 5, 7))
    assert found != other
    assert found != pairs


def test_scroll_and_count_defaults() -> None:
    found = ScrollRequest(None, None)
    assert (found.offset, found.limit, found.filter) == (None, 10, None)
    assert (found.with_payload, found.with_vector, found.timeout) == (True, False, None)
    assert ScrollRequest(limit=0).limit == 0
    assert ScrollRequest(with_payload=False).with_payload is False
    assert ScrollRequest(str(UUID(int=7))).offset == UUID(int=7)
    assert (CountRequest().exact, CountRequest().filter) == (True, None)


def test_facet_defaults() -> None:
    found = FacetRequest("a")
    assert (found.limit, found.exact, found.filter, found.timeout) == (10, False, None, None)
    assert FacetRequest("a", 0, np.True_).exact is True
    response = FacetResponse([FacetHit("x", 2), FacetHit("y", 1)])
    assert (len(response), [hit.value for hit in response]) == (2, ["x", "y"])


def test_an_order_is_given_whole_or_by_its_path() -> None:
    assert ScrollRequest(order_by="a").order_by == OrderBy("a", Direction.Asc)
    assert ScrollRequest(order_by=OrderBy("a", None)).order_by == OrderBy("a")
    assert ScrollRequest(None, order_by="a").offset is None


def test_what_explains_itself_is_a_list_of_hits() -> None:
    plan = SegmentPlan(1, "scan", 3, None, None, 0.5)
    found = Explained([1, 2], [plan])
    assert found == [1, 2]
    assert found.plan == (plan,)


def test_selections_are_read_back_in_one_form() -> None:
    keys = PayloadSelector.Include(["a", "b[].c"])
    assert isinstance(keys, PayloadSelector)
    assert isinstance(keys, IncludePayload)
    assert keys.keys == ("a", "b[].c")
    assert QueryRequest(1, with_payload=["a", "b[].c"]).with_payload == keys
    assert QueryRequest(1, with_payload=keys).with_payload is keys
    assert isinstance(PayloadSelector.Exclude(["a"]), ExcludePayload)
    assert PayloadSelector.Include(["a"]) != PayloadSelector.Exclude(["a"])
    assert QueryRequest(1, with_vector=["a"]).with_vector == ("a",)
    assert QueryRequest(1, with_vector=[]).with_vector == ()


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: QueryRequest(-1), "limit: expected 0"),
    (lambda: QueryRequest(2**64), "limit: expected 0"),
    (lambda: QueryRequest("3"), "limit: expected an int"),
    (lambda: QueryRequest(True), "limit: expected an int"),
    (lambda: QueryRequest(1, -1), "offset: expected 0"),
    (lambda: QueryRequest(1, query=[1.0]), "query: expected a Query"),
    (lambda: QueryRequest(1, prefetches=[1]), r"prefetches\[0\]: expected a Prefetch, got 1"),
    (lambda: QueryRequest(1, prefetches=Prefetch(1)), "prefetches: expected a list"),
    (lambda: QueryRequest(1, prefetches=[Prefetch(1)]), "query: expected what the prefetches"),
    (lambda: QueryRequest(1, query=Fusion.Rrf(2)), "prefetches: a Fusion ranks prefetches"),
    (lambda: QueryRequest(1, query=Fusion.Dbsf), "query: expected a Query"),
    (lambda: SearchRequest(Fusion.Rrf(2), 1), "query: expected a Query"),
    (lambda: QueryGroupsRequest(7), "group_by: expected a str"),
    (lambda: QueryGroupsRequest("a[["), "payload path"),
    (lambda: QueryGroupsRequest("a", -1), "limit: expected 0"),
    (lambda: QueryGroupsRequest("a", 1, 0), "group_size: expected 1"),
    (lambda: QueryGroupsRequest("a", query=1), "query: expected a Query"),
    (lambda: QueryGroupsRequest("a", prefetches=[1]), r"prefetches\[0\]: expected a Prefetch"),
    (lambda: QueryGroupsRequest("a", query=Fusion.Dbsf()), "prefetches: a Fusion ranks"),
    (lambda: QueryGroupsRequest("a", filter={}), "filter: expected a Filter"),
    (lambda: QueryGroupsRequest("a", timeout=-1), "timeout: expected seconds"),
    (lambda: SearchMatrixRequest(1), "sample_size: expected 2"),
    (lambda: SearchMatrixRequest(None), "sample_size: expected an int"),
    (lambda: SearchMatrixRequest(2, 0), "limit_per_sample: expected 1"),
    (lambda: SearchMatrixRequest(filter={}), "filter: expected a Filter"),
    (lambda: SearchMatrixRequest(using=7), "using: expected a str"),
    (lambda: SearchMatrixRequest(timeout="1"), "timeout: expected a number"),
    (lambda: QueryRequest(1, with_vector="a"), "with_vector: expected a list"),
    (lambda: QueryRequest(1, with_vector=1), "with_vector: expected a list"),
    (lambda: QueryRequest(1, with_payload="a"), "keys: expected a list"),
    (lambda: QueryRequest(1, with_payload=["a[["]), "payload path"),
    (lambda: QueryRequest(1, filter={}), "filter: expected a Filter"),
    (lambda: QueryRequest(1, score_threshold=float("nan")), "score_threshold: expected a number"),
    (lambda: QueryRequest(1, params={}), "params: expected a SearchParams"),
    (lambda: QueryRequest(1, timeout=-1), "timeout: expected seconds"),
    (lambda: QueryRequest(1, timeout="1"), "timeout: expected a number"),
    (lambda: QueryRequest(1, best_effort=1), "best_effort: expected a bool"),
    (lambda: QueryBatchRequest(QueryRequest(1)), "queries: expected a list"),
    (lambda: QueryBatchRequest([QueryRequest(1), 1]), r"queries\[1\]: expected a QueryRequest"),
    (lambda: SearchRequest([1.0], 1), "query: expected a Query"),
    (lambda: SearchRequest(NEAREST, None), "limit: expected an int"),
    (lambda: ScrollRequest(True), "offset: expected"),
    (lambda: ScrollRequest(limit=-1), "limit: expected 0"),
    (lambda: ScrollRequest(order_by=1), "order_by: expected a OrderBy, got 1"),
    (lambda: ScrollRequest(1, order_by="a"), "offset: expected an OrderCursor"),
    (lambda: OrderCursor("x", 1), "value: expected a number"),
    (lambda: OrderCursor(None, 1), "value: expected a number"),
    (lambda: OrderCursor(True, 1), "value: expected a number"),
    (lambda: OrderCursor(float("nan"), 1), "value: expected a number"),
    (lambda: OrderCursor(10**400, 1), "value: expected a number"),
    (lambda: OrderCursor(1.0, "x"), "id: expected an int"),
    (lambda: OrderCursor(1.0, None), "id: expected an int"),
    (lambda: CountRequest(1), "exact: expected a bool"),
    (lambda: CountRequest(filter=1), "filter: expected a Filter"),
    (lambda: CountRequest(timeout=float("nan")), "timeout: expected a number"),
    (lambda: Query.Nearest(None), "query: expected a list of numbers"),
    (lambda: Query.Nearest([1.0], 1), "using: expected a str"),
    (lambda: SearchParams(-1), "hnsw_ef: expected 0"),
    (lambda: SearchParams(exact=1), "exact: expected a bool"),
    (lambda: SearchParams(quantization=1), "quantization: expected a QuantizationSearchParams"),
    (lambda: SearchParams(acorn=1), "acorn: expected a AcornSearchParams"),
    (lambda: SearchParams(idf=1), "idf: expected a IdfParams"),
    (lambda: QueryRequest(1, query="a"), "query: expected a Query, TextQuery, OrderBy, Sample, "),
    (lambda: QueryRequest(1, query=Direction.Asc), "query: expected a Query"),
    (lambda: QueryRequest(1, query=Sample), "query: expected a Query"),
    (lambda: QueryRequest(1, explain=1), "explain: expected a bool"),
    (lambda: SearchRequest(OrderBy("a"), 1), "query: expected a Query"),
    (lambda: SearchRequest(TextQuery("a", "b"), 1), "query: expected a Query"),
    (lambda: SearchRequest(Sample.Random, 1), "query: expected a Query"),
    (lambda: ScrollRequest(order_by="a[["), "payload path"),
    (lambda: ScrollRequest(order_by=Sample.Random), "order_by: expected a OrderBy"),
    (lambda: ScrollRequest(OrderCursor(1, 1)), "offset: expected an int or a UUID"),
    (lambda: ScrollRequest(0.5, order_by="a"), "offset: expected an OrderCursor"),
    (lambda: FacetRequest(7), "key: expected a str"),
    (lambda: FacetRequest("a[["), "payload path"),
    (lambda: FacetRequest(""), "payload path"),
    (lambda: FacetRequest("a", -1), "limit: expected 0"),
    (lambda: FacetRequest("a", None), "limit: expected an int"),
    (lambda: FacetRequest("a", True), "limit: expected an int"),
    (lambda: FacetRequest("a", 1, None), "exact: expected a bool"),
    (lambda: FacetRequest("a", filter={}), "filter: expected a Filter"),
    (lambda: FacetRequest("a", timeout=-1), "timeout: expected seconds"),
    (lambda: OrderBy(7), "key: expected a str"),
    (lambda: OrderBy("a[["), "payload path"),
    (lambda: OrderBy("a", "asc"), "direction: expected a Direction"),
    (lambda: OrderBy("a", True), "direction: expected a Direction"),
    (lambda: OrderBy("a", start_from=float("nan")), "start_from: expected a number"),
    (lambda: OrderBy("a", start_from=np.float32("nan")), "start_from: expected a number"),
    (lambda: OrderBy("a", start_from=True), "start_from: expected a number"),
    (lambda: OrderBy("a", start_from=[1]), "start_from: expected a number"),
    (lambda: OrderBy("a", start_from=10**400), "start_from: expected a number that fits"),
    (lambda: OrderBy("a", start_from="yesterday"), "start_from: expected a datetime"),
    (lambda: OrderBy("a", start_from="2024-13-01"), "start_from: expected a datetime"),
    (lambda: OrderBy("a", start_from=""), "start_from: expected a datetime"),
    (lambda: OrderBy("a", start_from="\ud800"), "start_from"),
    (lambda: TextQuery(7, "x"), "field: expected a str"),
    (lambda: TextQuery("a[[", "x"), "payload path"),
    (lambda: TextQuery("a", 7), "query: expected a str"),
    (lambda: TextQuery("a", None), "query: expected a str"),
    (lambda: TextQuery("a", "\ud800"), "query: holds a lone surrogate"),
    (lambda: TextQuery("a", "x", {"k": 1}), "scoring: expected a Bm25Params"),
    (lambda: Bm25Params(k=-0.1), "k: expected a finite number, 0 or more"),
    (lambda: Bm25Params(k=float("inf")), "k: expected a finite number"),
    (lambda: Bm25Params(k=1e39), "k: expected a finite number"),
    (lambda: Bm25Params(k=float("nan")), "k: expected a number"),
    (lambda: Bm25Params(k="1"), "k: expected a number"),
    (lambda: Bm25Params(b=1.1), "b: expected 0 to 1"),
    (lambda: Bm25Params(b=-0.1), "b: expected 0 to 1"),
    (lambda: Bm25Params(b=float("nan")), "b: expected a number"),
    (lambda: Bm25Params(b=True), "b: expected a number"),
    (lambda: PayloadSelector.Include("a"), "keys: expected a list"),
    (lambda: PayloadSelector.Exclude([1]), r"keys\[0\]: expected a str"),
]


@pytest.mark.parametrize(("build", "message"), REFUSED, ids=range(len(REFUSED)))
def test_refuses_naming_the_argument(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        build()
