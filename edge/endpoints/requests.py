"""Read requests on the wire: a header, arguments in msgpack, and a query's vector beside them.

    header [number, kind, seconds, view], arguments (a msgpack map), the vector of a query

Invariants: no vector is ever inside msgpack; decoding a request raises ProtocolError or what the
request's own constructor raises for a wrong argument, and nothing else; UUIDs are text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import msgspec
from msgspec import Struct, structs

from edge.endpoints import vectors
from edge.endpoints.protocol import Frame, ProtocolError
from edge.errors import CallerError, LimitExceeded, ValidationError
from edge.model.filter import Filter
from edge.model.point_id import PointId, parse_id
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

Blocks: TypeAlias = list[bytes]

T = TypeVar("T")


# -- arguments


class Nearest(Struct, frozen=True, tag="nearest", omit_defaults=True, forbid_unknown_fields=True):
    """A NearestQuery, whose vector is the message's last frame: a multivector of so many `rows`
    (nil: it is none), or a sparse one."""

    using: str | None = None
    rows: int | None = None
    sparse: bool = False


class ByOrder(Struct, frozen=True, tag="order_by", forbid_unknown_fields=True):
    """An OrderBy."""

    key: str
    direction: str = "asc"
    start_from: int | float | str | None = None


class ByText(Struct, frozen=True, tag="text", forbid_unknown_fields=True):
    """A TextQuery."""

    field: str
    query: str
    k: float = 1.2
    b: float = 0.75


class ByChance(Struct, frozen=True, tag="sample", forbid_unknown_fields=True):
    """Sample.Random."""


Ranking: TypeAlias = Nearest | ByOrder | ByText | ByChance
Payload: TypeAlias = bool | tuple[str, tuple[str, ...]]
"""All, none, or ("include" or "exclude", paths)."""


class Ranked(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The arguments of a query."""

    limit: int
    offset: int = 0
    query: Ranking | None = None
    with_vector: bool | tuple[str, ...] = False
    with_payload: Payload = False
    filter: Filter | None = None
    score_threshold: float | None = None
    params: SearchParams | None = None
    best_effort: bool = False
    explain: bool = False


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
    """How one kind of request goes over the wire: (arguments, vector) of a request, and back."""

    arguments: type
    write: Callable[[Any], tuple[Any, Blocks]]
    read: Callable[[Any, Sequence[Frame], float | None], Any]


def write_request(
    number: int, request: Any, seconds: float | None, view: int | None = None
) -> list[bytes]:
    """The frames of a request. Raises ValidationError for one that no door takes."""
    kind = _known(KINDS, request)
    arguments: Any
    arguments, blocks = CALLS[kind].write(request)
    frames = [_encode(Asked(number, kind, seconds, view)), _encode(arguments), *blocks]
    longest = max(map(len, frames))
    if longest > MAX_REQUEST:
        raise LimitExceeded(f"request: {longest} bytes, at most {MAX_REQUEST} are taken")
    return frames


def _known(table: Mapping[type, T], asked: Any) -> T:
    """What the table has for this kind. Raises ValidationError where it has nothing."""
    found = table.get(type(asked))
    if found is None:
        raise ValidationError(f"{type(asked).__name__} does not go through the doors yet")
    return found


def read_request(asked: Asked, blocks: Sequence[Frame], seconds: float | None) -> Any:
    """The request of a header and the frames behind it; `seconds` are what is left of its time."""
    call = CALLS.get(asked.kind)
    if call is None or not blocks or (len(blocks) > 1 and asked.kind != "query"):
        raise ProtocolError(f"no request of kind {asked.kind!r} with {len(blocks)} frames")
    try:
        arguments: Any = msgspec.msgpack.decode(blocks[0], type=call.arguments)
    except CallerError:
        raise
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ProtocolError(f"arguments: {error}") from None
    return call.read(arguments, blocks[1:], seconds)


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
    if isinstance(request, QueryRequest) and request.prefetches:
        raise ValidationError("prefetches do not go through the doors yet")
    ranking, blocks = _known(_RANKINGS, request.query)(request.query)
    return Ranked(
        request.limit,
        request.offset,
        ranking,
        request.with_vector,
        _payload(request.with_payload),
        request.filter,
        request.score_threshold,
        request.params,
        request.best_effort,
        request.explain,
    ), blocks


_RANKINGS: Final[dict[type, Callable[[Any], tuple[Ranking | None, Blocks]]]] = {
    type(None): lambda query: (None, []),
    NearestQuery: lambda query: _nearest(query),
    OrderBy: lambda query: (_by_order(query), []),
    TextQuery: lambda q: (ByText(q.field, q.query, q.scoring.k, q.scoring.b), []),
    Sample: lambda query: (ByChance(), []),
}


def _nearest(query: NearestQuery) -> tuple[Nearest, Blocks]:
    sent = vectors.sent(query.query)
    return Nearest(query.using, sent.rows, sent.is_sparse), [sent.frame]


def _by_order(order: OrderBy) -> ByOrder:
    return ByOrder(order.key, order.direction.value, order.start_from)


def _read_ranked(given: Ranked, blocks: Sequence[Frame], seconds: float | None) -> QueryRequest:
    return QueryRequest(
        given.limit,
        given.offset,
        _ranking(given.query, blocks),
        None,
        given.with_vector,
        _selector(given.with_payload),
        given.filter,
        given.score_threshold,
        given.params,
        timeout=seconds,
        best_effort=given.best_effort,
        explain=given.explain,
    )


def _ranking(given: Ranking | None, blocks: Sequence[Frame]) -> Any:
    if len(blocks) != isinstance(given, Nearest):
        raise ProtocolError(f"{len(blocks)} vectors with this query")
    if isinstance(given, Nearest):
        return Query.Nearest(vectors.received(blocks[0], given.rows, given.sparse), given.using)
    if isinstance(given, ByOrder):
        return _order(given)
    if isinstance(given, ByText):
        return TextQuery(given.field, given.query, Bm25Params(given.k, given.b))
    return None if given is None else Sample.Random


def _order(given: ByOrder) -> OrderBy:
    try:
        return OrderBy(given.key, Direction(given.direction), given.start_from)
    except ValueError as error:
        raise ProtocolError(f"order_by: {error}") from None


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
        None if request.order_by is None else _by_order(request.order_by),
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
        None if given.order_by is None else _order(given.order_by),
        timeout=seconds,
    )


def _read_retrieve(given: Retrieved, blocks: Sequence[Frame], seconds: float | None) -> Retrieve:
    request = Retrieve.of(given.point_ids, _selector(given.with_payload), given.with_vector)
    return structs.replace(request, timeout=seconds)


CALLS: Final[dict[str, Call]] = {
    "query": Call(Ranked, _write_ranked, _read_ranked),
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
    ScrollRequest: "scroll",
    CountRequest: "count",
    FacetRequest: "facet",
    Retrieve: "retrieve",
    InfoRequest: "info",
    OpenView: "open_view",
    CloseView: "close_view",
}
