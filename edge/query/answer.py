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
from numpy.typing import NDArray

from edge.errors import LimitExceeded, ValidationError
from edge.filter.mask import matching
from edge.model import fields
from edge.model.check import check_request
from edge.model.point import Record, ScoredPoint
from edge.model.point_id import PointId, PointIdLike, encode_ids, parse_ids
from edge.model.query import NearestQuery, SearchParams
from edge.model.request import (
    CountRequest,
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
from edge.query import scroll
from edge.query.deadline import NEVER, Deadline
from edge.query.records import records, scored, vector_names
from edge.query.search import Hits, Leaf, search
from edge.segment.view import ShardView
from edge.vectors.dense import stored_query
from edge.vectors.metric import larger_is_better
from edge_kernels.distance import stride_of, to_score

KILOBYTE = 1024

USUAL = SearchParams()

NANOSECONDS_A_FLOAT = 0.25
MICROSECONDS_A_STEP = 0.6
MICROSECONDS_A_PAYLOAD = 5.0
MICROSECONDS_A_SKIP = 0.5
MICROSECONDS_ANYHOW = 20.0


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


Request = QueryRequest | SearchRequest | QueryBatchRequest | ScrollRequest | CountRequest | Retrieve


def answer(view: ShardView, request: Request, deadline: Deadline = NEVER) -> Any:
    """Answer any read request from `view`. Raises a CallerError or DeadlineExceeded."""
    try:
        act = ANSWERS[type(request)]
    except KeyError:
        raise ValidationError(f"{type(request).__name__} is not a request") from None
    if not isinstance(request, Retrieve):
        check_request(request, view.config, view.settings.limits)
    return act(view, request, deadline)


def deadline_of(request: Request) -> Deadline:
    """Return the deadline that a request asks for, counted from now."""
    timeout = getattr(request, "timeout", None)
    if timeout is None:
        return NEVER
    return Deadline(timeout, best_effort=getattr(request, "best_effort", False))


# -- queries


def _query(view: ShardView, request: QueryRequest, deadline: Deadline) -> list[ScoredPoint]:
    wanted = request.limit + request.offset
    if not request.limit:
        return []
    if request.query is None:
        hits = scroll.page(view, None, wanted, request.filter, deadline)
        scores = np.ones(len(hits.offsets), np.float32)
    else:
        hits, scores = _nearest(view, request, wanted, deadline)
    hits, scores = _above(hits, scores, request, view)
    if first := request.offset:
        hits = hits._replace(owners=hits.owners[first:], offsets=hits.offsets[first:])
        scores = scores[first:]
    return scored(hits, scores, request.with_payload, request.with_vector)


def _nearest(
    view: ShardView, request: QueryRequest | SearchRequest, k: int, deadline: Deadline
) -> tuple[Hits, NDArray[np.float32]]:
    leaf = _leaf(view, request, k)
    hits = search(view, leaf, deadline)
    return hits, to_score(leaf.metric, hits.distances)


def _leaf(view: ShardView, request: QueryRequest | SearchRequest, k: int) -> Leaf:
    query = cast(NearestQuery, request.query)
    name = query.using or ""
    metric = view.segments[-1].column(name).metric
    asked = request.params or USUAL
    hnsw = view.settings.hnsw[name]
    small = max(view.settings.indexing_threshold, hnsw.full_scan_threshold) * KILOBYTE
    return Leaf(
        name=name,
        metric=metric,
        query=stored_query(query.query, metric),
        k=k,
        filter=request.filter,
        ef=asked.hnsw_ef or hnsw.ef_construct,
        exact=asked.exact,
        full_scan_bytes=hnsw.full_scan_threshold * KILOBYTE,
        unindexed_bytes=small if asked.indexed_only else None,
    )


def _above(
    hits: Hits, scores: NDArray[np.float32], request: QueryRequest | SearchRequest, view: ShardView
) -> tuple[Hits, NDArray[np.float32]]:
    """Return what is better than the score threshold: above it for similarities, else below.

    As in Qdrant a score equal to it is left out, and it has no meaning without a query.
    """
    threshold = request.score_threshold
    if threshold is None or request.query is None:
        return hits, scores
    name = cast(NearestQuery, request.query).using or ""
    similar = larger_is_better(view.segments[-1].column(name).metric)
    passes = scores > threshold if similar else scores < threshold
    kept = hits._replace(owners=hits.owners[passes], offsets=hits.offsets[passes])
    return kept, scores[passes]


def _search(view: ShardView, request: SearchRequest, deadline: Deadline) -> list[ScoredPoint]:
    return _query(view, cast(QueryRequest, request), deadline)


def _batch(
    view: ShardView, request: QueryBatchRequest, deadline: Deadline
) -> list[list[ScoredPoint]]:
    deadlines = [deadline_of(query) for query in request.queries]  # all count from now
    answers = []
    for query, own in zip(request.queries, deadlines, strict=True):
        deadline.check()
        answers.append(_query(view, query, deadline if own is NEVER else own))
    return answers


# -- other reads


def _scroll(
    view: ShardView, request: ScrollRequest, deadline: Deadline
) -> tuple[list[Record], PointId | None]:
    limit = request.limit
    start = None if request.offset is None else encode_ids([request.offset])[0]
    hits = scroll.page(view, start, limit + 1, request.filter, deadline)
    more = hits._replace(owners=hits.owners[limit:], offsets=hits.offsets[limit:])
    page = hits._replace(owners=hits.owners[:limit], offsets=hits.offsets[:limit])
    following = records(more, with_payload=False, with_vector=False)
    found = records(page, request.with_payload, request.with_vector)
    return found, following[0].id if following else None


def _count(view: ShardView, request: CountRequest, deadline: Deadline) -> int:
    if request.filter is None:
        return view.points
    return sum(
        len(matching(request.filter, segment, segment.live(), checkpoint=deadline.check))
        for segment in view.segments
        if segment.live_count
    )


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
    QueryRequest: _query,
    SearchRequest: _search,
    QueryBatchRequest: _batch,
    ScrollRequest: _scroll,
    CountRequest: _count,
    Retrieve: _retrieve,
}


# -- estimates


def estimate(view: ShardView, request: Request) -> float:
    """Return a rough figure, in microseconds, of what answering takes (a refusal: nothing)."""
    if type(request) not in ANSWERS:
        return 0.0
    if isinstance(request, QueryBatchRequest):
        return sum(estimate(view, query) for query in request.queries)
    if isinstance(request, Retrieve):
        return MICROSECONDS_ANYHOW + MICROSECONDS_A_PAYLOAD * len(request.point_ids)
    cost = MICROSECONDS_ANYHOW
    if request.filter is not None:
        cost += MICROSECONDS_A_PAYLOAD * view.points
    if isinstance(request, CountRequest):
        return cost
    cost += MICROSECONDS_A_PAYLOAD * request.limit
    if not isinstance(request, ScrollRequest):
        cost += MICROSECONDS_A_SKIP * request.offset
    if isinstance(request, ScrollRequest) or request.query is None:
        return cost + view.points * NANOSECONDS_A_FLOAT / 100
    return cost + _search_cost(view, request)


def _search_cost(view: ShardView, request: QueryRequest | SearchRequest) -> float:
    params = request.params or USUAL
    name = cast(NearestQuery, request.query).using or ""
    known = view.config.vectors.get(name)
    size = stride_of(known.size) if known is not None else 0
    cost = 0.0
    for segment in view.segments:
        if name in segment.segment.graphs and not params.exact:
            ef = params.hnsw_ef or view.settings.hnsw[name].ef_construct
            cost += ef * (MICROSECONDS_A_STEP + 16 * size * NANOSECONDS_A_FLOAT / 1000)
        else:
            cost += segment.watermark * size * NANOSECONDS_A_FLOAT / 1000
    return cost
