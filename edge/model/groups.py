"""Ranked points by groups: the best of each value of a payload field."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct
from msgspec.structs import force_setattr

from edge.model import fields, json_path
from edge.model.filter import Filter
from edge.model.point import ScoredPoint
from edge.model.prefetch import Prefetch, ranked_prefetches
from edge.model.query import Ranking, SearchParams
from edge.model.request import (
    Timed,
    WithPayload,
    WithPayloadLike,
    WithVector,
    WithVectorLike,
    complete,
)

GroupId: TypeAlias = str | int | bool


class QueryGroupsRequest(Timed, frozen=True):
    """The `limit` best groups, and the `group_size` best points of each.

    A group are the points with one value of the field `group_by`: texts, integers and bools, of
    arrays each one, so that a point may be in several. Groups stand in the order of their best
    points. The other arguments are those of QueryRequest.
    """

    group_by: str
    limit: int = 10
    group_size: int = 3
    query: Ranking | None = None
    prefetches: tuple[Prefetch, ...] = ()
    with_vector: WithVector = False
    with_payload: WithPayload = False
    filter: Filter | None = None
    score_threshold: float | None = None
    params: SearchParams | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            group_by: str,
            limit: int = 10,
            group_size: int = 3,
            query: Ranking | None = None,
            prefetches: Iterable[Prefetch] | None = None,
            with_vector: WithVectorLike = None,
            with_payload: WithPayloadLike = None,
            filter: Filter | None = None,
            score_threshold: float | None = None,
            params: SearchParams | None = None,
            *,
            timeout: float | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        json_path.parse(fields.text(self.group_by, "group_by"))
        force_setattr(self, "limit", fields.integer(self.limit, "limit"))
        force_setattr(self, "group_size", fields.integer(self.group_size, "group_size", 1))
        force_setattr(self, "prefetches", ranked_prefetches(self.query, self.prefetches))
        complete(self)


class PointGroup(Struct, frozen=True):
    """The value that makes the group, and its points, best first."""

    id: GroupId
    hits: list[ScoredPoint]


class GroupsResult(Struct, frozen=True):
    """The groups, best first."""

    groups: list[PointGroup]

    def __len__(self) -> int:
        return len(self.groups)

    def __iter__(self) -> Iterator[PointGroup]:
        return iter(self.groups)
