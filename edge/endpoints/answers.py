"""Answers to read requests on the wire: a header, the result in msgpack, and vectors beside it.

    header [number, kind, vectors], result (msgpack), a frame for each of the header's vectors

Invariants: no vector is ever inside msgpack; decoding an answer raises ProtocolError and nothing
else; UUIDs are text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import Struct, structs

from edge.endpoints.protocol import Frame, ProtocolError, error_of
from edge.endpoints.vectors import Block, put_back, taken_out
from edge.errors import EdgeError
from edge.model.point import Record, ScoredPoint
from edge.model.point_id import PointId, parse_id
from edge.model.request import Explained, FacetResponse, OrderCursor, SegmentPlan, ShardInfo


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


_encode = msgspec.msgpack.Encoder().encode

# -- writing


def write_answer(number: int, kind: str, result: Any) -> list[bytes]:
    """The frames of a request's answer."""
    plain, points = _without_vectors(result)
    if isinstance(result, Explained):
        kind, plain = EXPLAINED, (plain, result.plan)
    blocks, frames = taken_out([point.vector for point in points])
    return [_encode(Answered(number, kind, blocks)), _encode(plain), *frames]


def write_failure(number: int, error: EdgeError) -> list[bytes]:
    """The frames of a request that failed."""
    return [_encode(Answered(number, "error")), _encode(Failed(error.code, str(error)))]


def _without_vectors(result: Any) -> tuple[Any, list[Any]]:
    """(the result without vectors, the points of it in order)"""
    if isinstance(result, list):
        return [_without(point) for point in result], result
    if isinstance(result, tuple):
        points, following = result
        after = following
        if isinstance(following, UUID):
            after = str(following)
        return ([_without(point) for point in points], after), points
    return result, []


def _without(point: Any) -> Any:
    """The point without its vectors; {} stays, which says that it has none of those asked for."""
    return structs.replace(point, vector=None) if point.vector else point


# -- reading

EXPLAINED: Final = "explained"
"""The kind of answer to a query that asked for an explanation: [its points, the plans]."""

_RESULTS: Final[dict[str, Any]] = {
    EXPLAINED: tuple[list[_PlainHit], list[SegmentPlan]],
    "query": list[_PlainHit],
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
