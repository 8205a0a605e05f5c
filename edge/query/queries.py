"""Queries answered from one view: one alone, or several, of which the alike are searched together.

Invariants
- Each query has the answer, or the error, that it has alone.
- Nearest queries of one vector name, filter and params are alike; all others are answered one after
  another.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeAlias

from edge.errors import EdgeError
from edge.model.examples import is_id
from edge.model.point import ScoredPoint
from edge.model.query import NearestQuery, TextQuery
from edge.model.request import Explained, QueryRequest, SearchRequest
from edge.model.vector_params import EdgeVectorParams
from edge.query.by_vectors import nearest_together
from edge.query.deadline import Deadline
from edge.query.pool import Points
from edge.query.ranking import rank
from edge.query.records import scored
from edge.query.stage import Run, Stage
from edge.query.trace import NO_TRACE, Trace
from edge.segment.view import ShardView

AnyQuery: TypeAlias = QueryRequest | SearchRequest
Outcome: TypeAlias = list[ScoredPoint] | EdgeError
Tell: TypeAlias = Callable[[int, Outcome], None]


def query(view: ShardView, request: AnyQuery, deadline: Deadline) -> list[ScoredPoint]:
    """Answer one query."""
    trace = Trace() if request.explain else NO_TRACE
    if not request.limit and not isinstance(request.query, TextQuery):
        points: list[ScoredPoint] = []
    else:
        points = _shown(request, rank(Run(view, deadline, trace), _stage(request)))
    return points if trace is NO_TRACE else Explained(points, trace.plans)


def _stage(request: AnyQuery) -> Stage:
    return Stage(
        request.query,
        request.limit + request.offset,
        request.prefetches if isinstance(request, QueryRequest) else (),
        request.filter,
        request.params,
        request.score_threshold,
    )


def _shown(request: AnyQuery, found: Points) -> list[ScoredPoint]:
    if request.offset:
        found = found.from_place(request.offset)
    return scored(found.hits, found.scores, request.with_payload, request.with_vector, found.values)


# -- several


def kind_of(request: object) -> Hashable | None:
    """Return what is equal for queries that can be searched together; None: it has no like."""
    if not isinstance(request, QueryRequest | SearchRequest):
        return None
    if type(request.query) is not NearestQuery or is_id(request.query.query):
        return None
    if getattr(request, "prefetches", ()) or request.explain or not request.limit:
        return None
    return request.query.using or "", request.filter, request.params


def queries(
    view: ShardView, requests: Sequence[AnyQuery], deadlines: Sequence[Deadline], tell: Tell
) -> None:
    """Answer checked requests; `tell(place, answer or error)` is called once for each, as soon as
    its answer is known."""
    groups: dict[Hashable, list[int]] = {}
    for place, request in enumerate(requests):
        kind = kind_of(request) if _is_dense(view, request) else None
        groups.setdefault(place if kind is None else kind, []).append(place)
    for places in groups.values():
        if len(places) > 1:
            _alike(view, requests, deadlines, places, tell)
            continue
        (place,) = places
        try:
            outcome: Outcome = query(view, requests[place], deadlines[place])
        except EdgeError as error:
            outcome = error
        tell(place, outcome)


def _is_dense(view: ShardView, request: AnyQuery) -> bool:
    name = getattr(request.query, "using", None) or ""
    return isinstance(view.config.params_of(name), EdgeVectorParams)


def _alike(
    view: ShardView,
    requests: Sequence[AnyQuery],
    deadlines: Sequence[Deadline],
    places: Sequence[int],
    tell: Tell,
) -> None:
    def tell_points(number: int, outcome: Points | EdgeError) -> None:
        place = places[number]
        if isinstance(outcome, EdgeError):
            tell(place, outcome)
            return
        try:
            shown: Outcome = _shown(requests[place], outcome)
        except EdgeError as error:
            shown = error
        tell(place, shown)

    stages = [_stage(requests[place]) for place in places]
    nearest_together(view, stages, [deadlines[place] for place in places], tell_points)
