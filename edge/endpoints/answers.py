"""Answers to read requests on the wire: a header, the result in msgpack, and numbers beside it.

    header [number, kind, vectors], result (msgpack), a frame for each of the header's vectors

A matrix has no vectors, and three frames: rows uint32[n], columns uint32[n], scores float32[n].

Invariants: no vector is ever inside msgpack; decoding an answer raises ProtocolError and nothing
else; UUIDs are text.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

import msgspec
import numpy as np
from msgspec import Struct, structs

from edge.endpoints.protocol import Frame, ProtocolError, error_of
from edge.endpoints.vectors import Block, put_back, taken_out
from edge.errors import EdgeError
from edge.model.groups import GroupId, GroupsResult, PointGroup
from edge.model.matrix import SearchMatrixOffsets
from edge.model.point import Record, ScoredPoint
from edge.model.point_id import PointId, parse_id
from edge.model.request import Explained, FacetResponse, OrderCursor, SegmentPlan, ShardInfo

_U32, _F32 = np.dtype("<u4"), np.dtype("<f4")


class Answered(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The header of an answer: the request's number, its kind or "error", and what the frames
    behind the result hold."""

    number: int
    kind: str
    vectors: tuple[Block, ...] = ()


class Failed(Struct, frozen=True):
    """The result of a request that failed: the code of the error's class, and its message."""

    code: str
    message: str


class OpenedView(Struct, frozen=True):
    """A view that is held: its number, and the last operation that it shows."""

    view: int
    sequence: int


class _Plain(Struct, frozen=True):
    """A point of a result without its vectors: nil, or {} where it has none of those asked for."""

    id: PointId
    payload: dict[str, Any] | None = None
    vector: dict[str, None] | None = None
    order_value: int | float | None = None


class _PlainRecord(_Plain, frozen=True):
    def with_vector(self, vector: Any) -> Record:
        return Record(self.id, self.payload, vector, self.order_value)


class _PlainHit(_Plain, frozen=True, kw_only=True):
    version: int
    score: float

    def with_vector(self, vector: Any) -> ScoredPoint:
        return ScoredPoint(
            self.id, self.version, self.score, self.payload, vector, self.order_value
        )


class _PlainGroup(Struct, frozen=True):
    id: GroupId
    hits: list[_PlainHit]


class _PlainGroups(Struct, frozen=True):
    groups: list[_PlainGroup]


class _PlainMatrix(Struct, frozen=True):
    ids: tuple[PointId, ...]


_encode = msgspec.msgpack.Encoder().encode

# -- writing


def points_of(result: Any) -> list[Any]:
    """The points in a result, in order: of groups all hits, group after group."""
    if isinstance(result, GroupsResult):
        return [hit for group in result for hit in group.hits]
    points = result[0] if isinstance(result, tuple) else result
    return points if isinstance(points, list) else []


def write_answer(number: int, kind: str, result: Any) -> list[bytes]:
    """The frames of a request's answer."""
    plain = _without_vectors(result)
    if isinstance(result, Explained):
        kind, plain = EXPLAINED, (plain, result.plan)
    blocks, frames = taken_out([point.vector for point in points_of(result)])
    if isinstance(result, SearchMatrixOffsets):
        frames = _frames_of(result)
    return [_encode(Answered(number, kind, blocks)), _encode(plain), *frames]


def write_failure(number: int, error: EdgeError) -> list[bytes]:
    """The frames of a request that failed."""
    return [_encode(Answered(number, "error")), _encode(Failed(error.code, str(error)))]


def _without_vectors(result: Any) -> Any:
    if isinstance(result, list):
        return list(map(_without, result))
    if isinstance(result, tuple):
        points, following = result
        return list(map(_without, points)), following
    if isinstance(result, GroupsResult):
        groups = (PointGroup(group.id, list(map(_without, group.hits))) for group in result)
        return GroupsResult(list(groups))
    return _PlainMatrix(result.ids) if isinstance(result, SearchMatrixOffsets) else result


def _without(point: Any) -> Any:
    """The point without its vectors; {} stays, which says that it has none of those asked for."""
    return structs.replace(point, vector=None) if point.vector else point


def _frames_of(matrix: SearchMatrixOffsets) -> list[bytes]:
    rows, columns = matrix.offsets_row.astype(_U32), matrix.offsets_col.astype(_U32)
    return [rows.tobytes(), columns.tobytes(), matrix.scores.astype(_F32).tobytes()]


# -- reading

EXPLAINED: Final = "explained"
"""The kind of answer to a query that asked for an explanation: [its points, the plans]."""

_RESULTS: Final[dict[str, Any]] = {
    EXPLAINED: tuple[list[_PlainHit], list[SegmentPlan]],
    "query": list[_PlainHit],
    "query_groups": _PlainGroups,
    "search_matrix": _PlainMatrix,
    "scroll": tuple[list[_PlainRecord], int | str | OrderCursor | None],
    "count": int,
    "facet": FacetResponse,
    "retrieve": list[_PlainRecord],
    "info": ShardInfo,
    "open_view": OpenedView,
    "close_view": bool,
}


def read_answer(frames: Sequence[Frame]) -> tuple[int, Any]:
    """(the number of the request, its result: or the error, to be raised). Raises ProtocolError."""
    try:
        answered = msgspec.msgpack.decode(frames[0], type=Answered)
        if answered.kind == "error":
            failed = msgspec.msgpack.decode(frames[1], type=Failed)
            return answered.number, error_of(failed.code, failed.message)
        result = msgspec.msgpack.decode(frames[1], type=_RESULTS[answered.kind])
        return answered.number, _with_vectors(result, answered, frames[2:])
    except (msgspec.MsgspecError, ValueError, IndexError, KeyError, RecursionError) as error:
        raise ProtocolError(f"answer: {error!r}") from None


def _with_vectors(result: Any, answered: Answered, frames: Sequence[Frame]) -> Any:
    if answered.kind == EXPLAINED:
        hits, plan = result
        return Explained(_filled(hits, answered, frames), plan)
    if isinstance(result, _PlainGroups):
        return _grouped(result, answered, frames)
    if isinstance(result, _PlainMatrix):
        return _matrix(result.ids, frames)
    if isinstance(result, tuple):
        points, following = result
        after = parse_id(following) if isinstance(following, str) else following
        return _filled(points, answered, frames), after
    points = result if isinstance(result, list) else []
    filled = _filled(points, answered, frames)
    return filled if isinstance(result, list) else result


def _filled(points: list[Any], answered: Answered, frames: Sequence[Frame]) -> list[Any]:
    if any(point.vector for point in points):
        raise ProtocolError("a vector inside of msgpack")
    found = put_back(answered.vectors, frames, len(points))
    return [point.with_vector(found.get(i, point.vector)) for i, point in enumerate(points)]


def _grouped(plain: _PlainGroups, answered: Answered, frames: Sequence[Frame]) -> GroupsResult:
    hits = iter(_filled([hit for group in plain.groups for hit in group.hits], answered, frames))
    groups = (PointGroup(one.id, list(islice(hits, len(one.hits)))) for one in plain.groups)
    return GroupsResult(list(groups))


def _matrix(ids: tuple[PointId, ...], frames: Sequence[Frame]) -> SearchMatrixOffsets:
    sizes = {len(frame) for frame in frames}
    if len(frames) != 3 or len(sizes) != 1 or sizes.pop() % _U32.itemsize:
        raise ProtocolError(f"a matrix of {list(map(len, frames))} bytes")
    rows, columns = (np.frombuffer(frame, _U32).astype(np.int64) for frame in frames[:2])
    scores = np.frombuffer(frames[2], _F32).astype(np.float32)
    if max(rows.max(initial=-1), columns.max(initial=-1)) >= len(ids):
        raise ProtocolError(f"a place in a matrix of {len(ids)} points that is none")
    if (rows[1:] < rows[:-1]).any():
        raise ProtocolError("the rows of a matrix do not ascend")
    return SearchMatrixOffsets(rows, columns, scores, ids)
