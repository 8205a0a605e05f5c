"""Ranked points by groups: the best of each value of a payload field.

Invariant: what is given is what all points, ranked and dealt out to their groups, would give: more
and more of them are ranked until the groups are full or no point is left.
"""

from __future__ import annotations

from typing import Any

from edge.model import json_path
from edge.model.groups import GroupId, GroupsResult, PointGroup, QueryGroupsRequest
from edge.payload.field_index import flattened, top_keys
from edge.query.pool import Points
from edge.query.ranking import rank
from edge.query.records import scored
from edge.query.stage import Run, Stage
from edge.segment.view import ShardView

TIMES_AT_FIRST = 2
"""How many times the points that fill all groups are ranked at first."""


def grouped(run: Run, request: QueryGroupsRequest) -> GroupsResult:
    """Return the best groups and their best points."""
    if not request.limit:
        return GroupsResult([])
    asked = TIMES_AT_FIRST * request.limit * request.group_size
    while True:
        stage = Stage(
            request.query,
            min(asked, run.view.points),
            request.prefetches,
            request.filter,
            request.params,
            request.score_threshold,
        )
        found = rank(run, stage)
        groups = _dealt(_values(run.view, found, request.group_by), request)
        full = len(groups) == request.limit and all(
            len(places) == request.group_size for places in groups.values()
        )
        if full or len(found.scores) < stage.limit or stage.limit == run.view.points:
            return _shown(found, groups, request)
        asked *= 4


def _values(view: ShardView, found: Points, group_by: str) -> list[list[GroupId]]:
    """What makes groups of each point, in order."""
    path, keys = json_path.parse(group_by), top_keys([group_by])
    hits = found.hits
    values: list[list[GroupId]] = [[] for _ in range(len(hits.offsets))]
    for owner, segment in enumerate(hits.segments):
        places = [place for place, o in enumerate(hits.owners.tolist()) if o == owner]
        documents = segment.reader(keys)(hits.offsets[places].tolist())
        for place, document in zip(places, documents, strict=True):
            values[place] = _groups_of(flattened(json_path.values(document, path)))
    return values


def _groups_of(values: list[Any]) -> list[GroupId]:
    """The distinct texts, integers and bools of a payload's values."""
    if len(values) == 1:  # as nearly always
        return values if isinstance(values[0], str | int) else []
    kept = {(type(v), v): v for v in values if isinstance(v, str | int)}
    return list(kept.values())


def _dealt(
    values: list[list[GroupId]], request: QueryGroupsRequest
) -> dict[tuple[type, GroupId], list[int]]:
    """The places of the points of each group, best first; no more groups than asked for."""
    groups: dict[tuple[type, GroupId], list[int]] = {}
    for place, own in enumerate(values):
        for value in own:
            key = type(value), value
            if key not in groups and len(groups) == request.limit:
                continue
            places = groups.setdefault(key, [])
            if len(places) < request.group_size:
                places.append(place)
    return groups


def _shown(
    found: Points,
    groups: dict[tuple[type, GroupId], list[int]],
    request: QueryGroupsRequest,
) -> GroupsResult:
    wanted = sorted({place for places in groups.values() for place in places})
    kept = found.at(wanted)
    points = scored(kept.hits, kept.scores, request.with_payload, request.with_vector, kept.values)
    shown = dict(zip(wanted, points, strict=True))
    return GroupsResult(
        [
            PointGroup(value, [shown[place] for place in places])
            for (_, value), places in groups.items()
        ]
    )
