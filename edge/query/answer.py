"""One read request in, its answer out: the table of all requests.

Invariants
- Answered from one view: whatever is written meanwhile, the answer is of one moment.
- A request is checked against the view's config and limits before anything is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self, cast

import numpy as np
from msgspec import Struct

from edge.errors import CallerError, DeadlineExceeded, EdgeError, LimitExceeded, ValidationError
from edge.filter import cardinality
from edge.filter.mask import is_indexed, matches
from edge.model import fields
from edge.model.check import check_request
from edge.model.examples import Example
from edge.model.filter import Filter
from edge.model.groups import GroupsResult, QueryGroupsRequest
from edge.model.matrix import SearchMatrixRequest
from edge.model.point import Record, ScoredPoint
from edge.model.point_id import PointId, PointIdLike, decode_id, encode_ids, parse_ids
from edge.model.query import Mmr, OrderBy, Query, SearchParams, TextQuery
from edge.model.request import (
    CountRequest,
    FacetRequest,
    Offset,
    OrderCursor,
    QueryBatchRequest,
    QueryRequest,
    ScrollRequest,
    SearchRequest,
    WithPayload,
    WithPayloadLike,
    WithVector,
    WithVectorLike,
    with_payload,
    with_vector,
)
from edge.model.vector_params import EdgeVectorParams
from edge.query import scroll
from edge.query.deadline import NEVER, Deadline
from edge.query.facet import facet
from edge.query.groups import grouped
from edge.query.matrix import matrix
from edge.query.order import ordered
from edge.query.queries import AnyQuery, Outcome, Tell, queries, query
from edge.query.records import records, vector_names
from edge.query.search import Hits, bytes_a_point, scan_cost, walk_cost
from edge.query.stage import Run
from edge.segment.view import SegmentView, ShardView
from edge_kernels import bits

KILOBYTE = 1024

USUAL = SearchParams()

MICROSECONDS_A_PAYLOAD = 5.0
MICROSECONDS_A_PLACE = 0.003
MICROSECONDS_A_SKIP = 0.5
MICROSECONDS_ANYHOW = 20.0
COSTS_A_HOP = 1e6
"""What is asked in several stages is not worked out on the loop."""


class Retrieve(Struct, frozen=True):
    """Points by id, in the order of the ids."""

    point_ids: tuple[PointId, ...]
    with_payload: WithPayload = True
    with_vector: WithVector = False
    timeout: float | None = None

    @classmethod
    def of(
        cls,
        point_ids: Sequence[PointIdLike],
        payload: WithPayloadLike,
        vector: WithVectorLike,
    ) -> Self:
        """Return the request, its arguments checked."""
        ids = parse_ids(fields.sequence(point_ids, "point_ids"))
        return cls(tuple(ids), with_payload(payload, default=True), with_vector(vector))


Request = (
    QueryRequest
    | SearchRequest
    | QueryBatchRequest
    | ScrollRequest
    | CountRequest
    | FacetRequest
    | Retrieve
    | QueryGroupsRequest
    | SearchMatrixRequest
)
Page = tuple[list[Record], Offset | None]


def answer(view: ShardView, request: Request, deadline: Deadline = NEVER) -> Any:
    """Answer any read request from `view`. Raises a CallerError or DeadlineExceeded."""
    try:
        act = ANSWERS[type(request)]
    except KeyError:
        raise ValidationError(f"{type(request).__name__} is not a request") from None
    if not isinstance(request, Retrieve):
        check_request(request, view.config, view.settings.limits)
    return act(view, request, deadline)


def answer_each(
    view: ShardView, requests: Sequence[AnyQuery], deadlines: Sequence[Deadline], tell: Tell
) -> None:
    """Answer queries that nobody asked as one: those that are alike are searched together, and
    `tell(place, answer or EdgeError)` is called once for each, as soon as its answer is known."""
    places = []
    for place, request in enumerate(requests):
        try:
            check_request(request, view.config, view.settings.limits)
        except CallerError as error:
            tell(place, error)
        else:
            places.append(place)
    queries(
        view,
        [requests[place] for place in places],
        [deadlines[place] for place in places],
        lambda number, outcome: tell(places[number], outcome),
    )


def deadline_of(request: Request, within: Deadline | None = None) -> Deadline:
    """Return the deadline that a request asks for, counted from now, and of what it is part of."""
    timeout = getattr(request, "timeout", None)
    if timeout is None:
        return NEVER if within is None else within
    return Deadline(timeout, getattr(request, "best_effort", False), within)


# -- queries


def _groups(view: ShardView, request: QueryGroupsRequest, deadline: Deadline) -> GroupsResult:
    return grouped(Run(view, deadline), request)


def _batch(
    view: ShardView, request: QueryBatchRequest, deadline: Deadline
) -> list[list[ScoredPoint]]:
    owns = [deadline_of(query, deadline) for query in request.queries]  # all count from now
    answers: list[list[ScoredPoint]] = [[]] * len(owns)

    def tell(place: int, outcome: Outcome) -> None:
        if isinstance(outcome, EdgeError):
            raise _at_place(outcome, place)
        answers[place] = outcome

    queries(view, request.queries, owns, tell)
    return answers


def _at_place(error: EdgeError, place: int) -> EdgeError:
    """Return the error with the place of the query that it is about."""
    if isinstance(error, CallerError | DeadlineExceeded):
        return type(error)(f"queries[{place}]: {error}")
    return error


# -- other reads


def _scroll(view: ShardView, request: ScrollRequest, deadline: Deadline) -> Page:
    limit = request.limit
    if request.order_by is not None:
        return _scroll_in_order(view, request, request.order_by, deadline)
    start = None if request.offset is None else encode_ids([cast(PointId, request.offset)])[0]
    hits = scroll.page(view, start, limit + 1, request.filter, deadline)
    page = hits._replace(owners=hits.owners[:limit], offsets=hits.offsets[:limit])
    found = records(page, request.with_payload, request.with_vector)
    return found, _id_at(hits, limit) if len(hits.offsets) > limit else None


def _id_at(hits: Hits, place: int) -> PointId:
    return decode_id(hits.segments[hits.owners[place]].ids[hits.offsets[place]])


def _scroll_in_order(
    view: ShardView, request: ScrollRequest, order: OrderBy, deadline: Deadline
) -> Page:
    limit, after = request.limit, cast("OrderCursor | None", request.offset)
    if not limit:
        return [], after
    hits, values = ordered(view, order, request.filter, limit + 1, deadline, after)
    page = hits._replace(owners=hits.owners[:limit], offsets=hits.offsets[:limit])
    found = records(page, request.with_payload, request.with_vector, values[:limit])
    more = len(values) > limit
    return found, OrderCursor(values[limit - 1], found[-1].id) if more else None


def _count(view: ShardView, request: CountRequest, deadline: Deadline) -> int:
    if request.filter is None:
        return view.points
    return sum(
        _count_segment(segment, request.filter, request.exact, deadline)
        for segment in view.segments
        if segment.live_count
    )


def _count_segment(view: SegmentView, filter: Filter, exact: bool, deadline: Deadline) -> int:
    if not exact:
        return cardinality.approximate(filter, view, view.live_bits(), deadline.check)
    found = matches(filter, view, view.live_bits(), deadline.check)
    return bits.count(found, view.watermark)


def _retrieve(view: ShardView, request: Retrieve, deadline: Deadline) -> list[Record]:
    limit = view.settings.limits.request_points
    if len(request.point_ids) > limit:
        raise LimitExceeded(f"point_ids: {len(request.point_ids)}, at most {limit} are taken")
    vector_names(view.segments[-1], request.with_vector)
    distinct = list(dict.fromkeys(request.point_ids))
    owners, offsets = view.locate(encode_ids(distinct))
    there = owners >= 0
    hits = Hits(
        view.segments,
        owners[there].astype(np.intp),
        offsets[there].astype(np.uint32),
        np.zeros(int(there.sum()), np.float32),
    )
    return records(hits, request.with_payload, request.with_vector)


ANSWERS: dict[type, Callable[[ShardView, Any, Deadline], Any]] = {
    QueryRequest: query,
    SearchRequest: query,
    QueryBatchRequest: _batch,
    ScrollRequest: _scroll,
    CountRequest: _count,
    FacetRequest: facet,
    Retrieve: _retrieve,
    QueryGroupsRequest: _groups,
    SearchMatrixRequest: matrix,
}


# -- estimates


def estimate(view: ShardView, request: Request) -> float:
    """Return a rough figure, in microseconds, of what answering takes (a refusal: nothing)."""
    if type(request) not in ANSWERS:
        return 0.0
    if isinstance(request, QueryBatchRequest):
        return sum(estimate(view, query) for query in request.queries)
    if isinstance(request, QueryGroupsRequest | SearchMatrixRequest) or _has_stages(request):
        return COSTS_A_HOP
    if isinstance(request, Retrieve):
        return MICROSECONDS_ANYHOW + MICROSECONDS_A_PAYLOAD * len(request.point_ids)
    cost = MICROSECONDS_ANYHOW
    if request.filter is not None:
        cost += _filter_cost(view, request.filter)
    if isinstance(request, CountRequest):
        return cost
    if isinstance(request, FacetRequest):
        return cost + _reading_cost(view, request.key)
    cost += MICROSECONDS_A_PAYLOAD * request.limit
    if isinstance(request, ScrollRequest):
        key = None if request.order_by is None else request.order_by.key
        return cost + (_passing_cost(view) if key is None else _reading_cost(view, key))
    cost += MICROSECONDS_A_SKIP * request.offset
    if isinstance(request.query, Query):
        return cost + _search_cost(view, request, request.query)
    if isinstance(request.query, OrderBy):
        return cost + _reading_cost(view, request.query.key)
    if isinstance(request.query, TextQuery):
        return cost + _reading_cost(view, request.query.field)
    return cost + _passing_cost(view)


def _has_stages(request: Request) -> bool:
    """Whether a query is more than one search."""
    if not isinstance(request, QueryRequest):
        return False
    return bool(request.prefetches) or isinstance(request.query, Mmr)


def _passing_cost(view: ShardView) -> float:
    """What it takes to look at every point's id, or to pass over its place in an index."""
    return view.points * MICROSECONDS_A_PLACE


def _reading_cost(view: ShardView, key: str) -> float:
    """What it takes to look at a field of every point: by its index, or else in the payloads."""
    return sum(
        part.watermark
        * (MICROSECONDS_A_PAYLOAD if part.index(key) is None else MICROSECONDS_A_PLACE)
        for part in view.segments
    )


def _filter_cost(view: ShardView, filter: Filter) -> float:
    """What a filter takes: by its indexes, or as soon as one is wanting, by all payloads."""
    return sum(
        part.watermark * MICROSECONDS_A_PLACE * filter.nodes
        if is_indexed(filter, part)
        else part.watermark * MICROSECONDS_A_PAYLOAD
        for part in view.segments
    )


def _search_cost(view: ShardView, request: QueryRequest | SearchRequest, query: Query) -> float:
    params, name = request.params or USUAL, query.using or ""
    known = view.config.params_of(name)
    if isinstance(known, EdgeVectorParams):
        many = sum(_vectors_in(example) for _, example in query.examples())
        return many * sum(_dense_cost(view, part, name, params) for part in view.segments)
    entries = sum(part.bytes_of(name) for part in view.segments) if known is not None else 0
    return scan_cost(1, entries)


def _vectors_in(example: Example) -> int:
    return len(example) if isinstance(example, np.ndarray) and example.ndim == 2 else 1


def _dense_cost(view: ShardView, part: SegmentView, name: str, params: SearchParams) -> float:
    size = bytes_a_point(part, name)
    if part.graph(name) is not None and not params.exact:
        return walk_cost(params.hnsw_ef or view.settings.hnsw[name].ef_construct, size)
    return scan_cost(part.watermark, size)
