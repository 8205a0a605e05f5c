"""Read requests on the wire: a header, arguments in msgpack, and a query's vectors beside them.

    header [number, kind, seconds, view], arguments (a msgpack map), a frame for each vector

Invariants: no vector is ever inside msgpack; decoding a request raises ProtocolError or what the
request's own constructor raises for a wrong argument, and nothing else; UUIDs are text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
from msgspec import Struct, structs

from edge.endpoints import rankings
from edge.endpoints.protocol import Frame, ProtocolError
from edge.endpoints.rankings import ByOrder, Prefetch, Ranking
from edge.errors import CallerError, LimitExceeded, ValidationError
from edge.model.filter import Filter
from edge.model.groups import QueryGroupsRequest
from edge.model.matrix import SearchMatrixRequest
from edge.model.point_id import PointId, parse_id
from edge.model.query import SearchParams
from edge.model.request import (
    CountRequest,
    ExcludePayload,
    FacetRequest,
    IncludePayload,
    OrderCursor,
    QueryRequest,
    ScrollRequest,
    SearchRequest,
)
from edge.query.answer import Retrieve

MAX_REQUEST: Final = 2 << 20
"""Bytes of the longest frame of a request: what is longer is cut off with its sender."""

MAX_FRAMES: Final = 64 << 20
"""Bytes of all frames of a request."""

Blocks: TypeAlias = list[bytes]


# -- arguments


Payload: TypeAlias = bool | tuple[str, tuple[str, ...]]
"""All, none, or ("include" or "exclude", paths)."""


class Ranked(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The arguments of a query."""

    limit: int
    offset: int = 0
    query: Ranking | None = None
    prefetches: tuple[Prefetch, ...] = ()
    with_vector: bool | tuple[str, ...] = False
    with_payload: Payload = False
    filter: Filter | None = None
    score_threshold: float | None = None
    params: SearchParams | None = None
    best_effort: bool = False
    explain: bool = False


class Grouped(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The arguments of a query by groups."""

    group_by: str
    limit: int = 10
    group_size: int = 3
    query: Ranking | None = None
    prefetches: tuple[Prefetch, ...] = ()
    with_vector: bool | tuple[str, ...] = False
    with_payload: Payload = False
    filter: Filter | None = None
    score_threshold: float | None = None
    params: SearchParams | None = None


class Compared(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The arguments of a matrix."""

    sample_size: int = 10
    limit_per_sample: int = 3
    filter: Filter | None = None
    using: str | None = None


class Scrolled(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The arguments of a scroll; `offset` is an id, or (value, id) where there is an order."""

    offset: int | str | None = None
    after: tuple[float, int | str] | None = None
    limit: int = 10
    filter: Filter | None = None
    with_payload: Payload = True
    with_vector: bool | tuple[str, ...] = False
    order_by: ByOrder | None = None


class Counted(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The arguments of a count."""

    exact: bool = True
    filter: Filter | None = None


class Faceted(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The arguments of a facet."""

    key: str
    limit: int = 10
    exact: bool = False
    filter: Filter | None = None


class Retrieved(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The arguments of a retrieve."""

    point_ids: tuple[int | str, ...]
    with_payload: Payload = True
    with_vector: bool | tuple[str, ...] = False


class Bare(Struct, frozen=True, forbid_unknown_fields=True):
    """The arguments of a request that has none: an empty map."""


class Asked(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The header of a request: its number, its kind, the seconds that it may take, and the number
    of a view that was opened for it (nil: the newest)."""

    number: int
    kind: str
    seconds: float | None = None
    view: int | None = None


class OpenView(Struct, frozen=True):
    """Hold the shard as it is now, for requests to come."""

    timeout: float | None = None


class CloseView(Struct, frozen=True):
    """Hold the view of the header no longer."""

    timeout: float | None = None


class InfoRequest(Struct, frozen=True):
    """What the shard says of itself."""

    timeout: float | None = None


_encode = msgspec.msgpack.Encoder().encode

# -- how each kind is written and read


class Call(NamedTuple):
    """How one kind of request goes over the wire: (arguments, vectors) of a request, and back."""

    arguments: type
    write: Callable[[Any], tuple[Any, Blocks]]
    read: Callable[[Any, Sequence[Frame], float | None], Any]
    has_vectors: bool = False


def write_request(
    number: int, request: Any, seconds: float | None, view: int | None = None
) -> list[bytes]:
    """The frames of a request. Raises ValidationError for one that no door takes."""
    kind = KINDS.get(type(request))
    if kind is None:
        raise ValidationError(f"{type(request).__name__} does not go through the doors yet")
    arguments, blocks = CALLS[kind].write(request)
    frames = [_encode(Asked(number, kind, seconds, view)), _encode(arguments), *blocks]
    _check_sizes(frames)
    return frames


def _check_sizes(frames: Sequence[Frame]) -> None:
    sizes = list(map(len, frames))
    if max(sizes) > MAX_REQUEST:
        raise LimitExceeded(f"request: {max(sizes)} bytes, at most {MAX_REQUEST} are taken")
    if sum(sizes) > MAX_FRAMES:
        raise LimitExceeded(
            f"request: {sum(sizes)} bytes in {len(sizes)} frames, at most {MAX_FRAMES} are taken"
        )


def read_request(asked: Asked, blocks: Sequence[Frame], seconds: float | None) -> Any:
    """The request of a header and the frames behind it; `seconds` are what is left of its time."""
    call = CALLS.get(asked.kind)
    if call is None or not blocks or (len(blocks) > 1 and not call.has_vectors):
        raise ProtocolError(f"no request of kind {asked.kind!r} with {len(blocks)} frames")
    _check_sizes(blocks)
    try:
        arguments: Any = msgspec.msgpack.decode(blocks[0], type=call.arguments)
    except CallerError:
        raise
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ProtocolError(f"arguments: {error}") from None
    try:
        return call.read(arguments, blocks[1:], seconds)
    except RecursionError as error:
        raise ProtocolError(f"arguments: {error}") from None


def _payload(selector: Any) -> Payload:
    if isinstance(selector, bool):
        return selector
    return ("exclude" if isinstance(selector, ExcludePayload) else "include"), selector.keys


def _selector(payload: Payload) -> Any:
    if isinstance(payload, bool):
        return payload
    how, keys = payload
    return ExcludePayload(keys) if how == "exclude" else IncludePayload(keys)


def _id(point_id: PointId) -> int | str:
    return point_id if isinstance(point_id, int) else str(point_id)


def _write_ranked(request: QueryRequest | SearchRequest) -> tuple[Ranked, Blocks]:
    below = request.prefetches if isinstance(request, QueryRequest) else ()
    (ranking, prefetches), blocks = rankings.write((request.query, below))
    return Ranked(
        request.limit,
        request.offset,
        ranking,
        prefetches,
        request.with_vector,
        _payload(request.with_payload),
        request.filter,
        request.score_threshold,
        request.params,
        request.best_effort,
        request.explain,
    ), blocks


def _read_ranked(given: Ranked, blocks: Sequence[Frame], seconds: float | None) -> QueryRequest:
    ranking, prefetches = rankings.read((given.query, given.prefetches), blocks)
    return QueryRequest(
        given.limit,
        given.offset,
        ranking,
        prefetches,
        given.with_vector,
        _selector(given.with_payload),
        given.filter,
        given.score_threshold,
        given.params,
        timeout=seconds,
        best_effort=given.best_effort,
        explain=given.explain,
    )


def _write_grouped(request: QueryGroupsRequest) -> tuple[Grouped, Blocks]:
    (ranking, prefetches), blocks = rankings.write((request.query, request.prefetches))
    return Grouped(
        request.group_by,
        request.limit,
        request.group_size,
        ranking,
        prefetches,
        request.with_vector,
        _payload(request.with_payload),
        request.filter,
        request.score_threshold,
        request.params,
    ), blocks


def _read_grouped(
    given: Grouped, blocks: Sequence[Frame], seconds: float | None
) -> QueryGroupsRequest:
    ranking, prefetches = rankings.read((given.query, given.prefetches), blocks)
    return QueryGroupsRequest(
        given.group_by,
        given.limit,
        given.group_size,
        ranking,
        prefetches,
        given.with_vector,
        _selector(given.with_payload),
        given.filter,
        given.score_threshold,
        given.params,
        timeout=seconds,
    )


def _write_scroll(request: ScrollRequest) -> tuple[Scrolled, Blocks]:
    offset = request.offset
    cursor = offset if isinstance(offset, OrderCursor) else None
    return Scrolled(
        None if offset is None or isinstance(offset, OrderCursor) else _id(offset),
        None if cursor is None else (cursor.value, _id(cursor.id)),
        request.limit,
        request.filter,
        _payload(request.with_payload),
        request.with_vector,
        rankings.write(request.order_by)[0],
    ), []


def _read_scroll(given: Scrolled, blocks: Sequence[Frame], seconds: float | None) -> ScrollRequest:
    offset: Any = given.offset
    if given.after is not None:
        offset = OrderCursor(given.after[0], parse_id(given.after[1], "after"))
    return ScrollRequest(
        offset,
        given.limit,
        given.filter,
        _selector(given.with_payload),
        given.with_vector,
        rankings.read(given.order_by, ()),
        timeout=seconds,
    )


def _read_retrieve(given: Retrieved, blocks: Sequence[Frame], seconds: float | None) -> Retrieve:
    request = Retrieve.of(given.point_ids, _selector(given.with_payload), given.with_vector)
    return structs.replace(request, timeout=seconds)


CALLS: Final[dict[str, Call]] = {
    "query": Call(Ranked, _write_ranked, _read_ranked, has_vectors=True),
    "query_groups": Call(Grouped, _write_grouped, _read_grouped, has_vectors=True),
    "search_matrix": Call(
        Compared,
        lambda r: (Compared(r.sample_size, r.limit_per_sample, r.filter, r.using), []),
        lambda g, blocks, s: SearchMatrixRequest(
            g.sample_size, g.limit_per_sample, g.filter, g.using, timeout=s
        ),
    ),
    "scroll": Call(Scrolled, _write_scroll, _read_scroll),
    "count": Call(
        Counted,
        lambda request: (Counted(request.exact, request.filter), []),
        lambda given, blocks, s: CountRequest(given.exact, given.filter, timeout=s),
    ),
    "facet": Call(
        Faceted,
        lambda r: (Faceted(r.key, r.limit, r.exact, r.filter), []),
        lambda g, blocks, s: FacetRequest(g.key, g.limit, g.exact, g.filter, timeout=s),
    ),
    "retrieve": Call(
        Retrieved,
        lambda r: (
            Retrieved(tuple(map(_id, r.point_ids)), _payload(r.with_payload), r.with_vector),
            [],
        ),
        _read_retrieve,
    ),
    "info": Call(Bare, lambda request: (Bare(), []), lambda given, blocks, seconds: InfoRequest()),
    "open_view": Call(Bare, lambda request: (Bare(), []), lambda g, blocks, seconds: OpenView()),
    "close_view": Call(Bare, lambda request: (Bare(), []), lambda g, blocks, seconds: CloseView()),
}
"""How each kind of request goes over the wire."""


KINDS: Final[dict[type, str]] = {
    QueryRequest: "query",
    SearchRequest: "query",
    QueryGroupsRequest: "query_groups",
    SearchMatrixRequest: "search_matrix",
    ScrollRequest: "scroll",
    CountRequest: "count",
    FacetRequest: "facet",
    Retrieve: "retrieve",
    InfoRequest: "info",
    OpenView: "open_view",
    CloseView: "close_view",
}
