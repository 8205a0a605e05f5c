"""Read requests, and what a shard says of itself.

Invariants: optional arguments are read back as what they mean (offset None as 0, with_payload None
as the request's default, a list of payload keys as a PayloadSelector), so that nobody who answers
a request looks for None; `timeout` is seconds or None.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from msgspec import Struct
from msgspec.structs import force_setattr

from edge.model import fields, json_path
from edge.model.filter import Filter
from edge.model.point_id import PointId, PointIdLike, parse_id
from edge.model.prefetch import Prefetch, ranked_prefetches
from edge.model.query import OrderBy, Query, Ranking, SearchParams
from edge.model.schema import PayloadIndexInfo

DEFAULT_SCROLL_LIMIT = 10


class PayloadSelector(Struct, frozen=True):
    """Which parts of a payload a result carries: `Include(keys)` or `Exclude(keys)`, by path."""

    Include: ClassVar[type[IncludePayload]]
    Exclude: ClassVar[type[ExcludePayload]]

    keys: tuple[str, ...]

    if TYPE_CHECKING:

        def __init__(self, keys: Iterable[str]) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "keys", fields.texts(self.keys, "keys"))
        for key in self.keys:
            json_path.parse(key)


class IncludePayload(PayloadSelector, frozen=True):
    """Only what the paths reach."""


class ExcludePayload(PayloadSelector, frozen=True):
    """Everything but what the paths reach."""


PayloadSelector.Include = IncludePayload
PayloadSelector.Exclude = ExcludePayload

WithPayload: TypeAlias = bool | PayloadSelector
WithVector: TypeAlias = bool | tuple[str, ...]
WithPayloadLike: TypeAlias = bool | Iterable[str] | PayloadSelector | None
WithVectorLike: TypeAlias = bool | Iterable[str] | None


def with_payload(value: Any, default: bool = False) -> WithPayload:
    """All, nothing or the selected parts of payloads; a list of paths means Include."""
    if value is None or isinstance(value, bool):
        return default if value is None else value
    return value if isinstance(value, PayloadSelector) else IncludePayload(value)


def with_vector(value: Any, default: bool = False) -> WithVector:
    """All, no or the named vectors."""
    if value is None or isinstance(value, bool):
        return default if value is None else value
    return fields.texts(value, "with_vector")


class Timed(Struct, frozen=True, kw_only=True):
    """What every request carries of ours: the seconds after which it is given up, or None."""

    timeout: float | None = None


class BestEffort(Timed, frozen=True, kw_only=True):
    """Requests that may answer, at the timeout, with the best that was found so far; and that may
    be explained."""

    best_effort: bool = False
    explain: bool = False


class QueryRequest(BestEffort, frozen=True):
    """The `limit` best points after the first `offset`, by `query` (None: all, by id, score 1.0).

    `query` is a Query, a TextQuery, an Mmr, an OrderBy or Sample.Random (the last two score 1.0); a
    Fusion or a Formula where there are `prefetches`: then what these find is ranked, and nothing
    else. `with_payload` and `with_vector` say what results carry (default: neither),
    `score_threshold` the score that all given back are better than (without scores it has no
    meaning). Ours, by keyword: `timeout` in seconds; `best_effort`: at the timeout give the best so
    far (in several stages: what the prefetches found until then, ranked to the end); `explain`:
    answer with Explained, which tells the way taken.
    """

    limit: int
    offset: int = 0
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
            limit: int,
            offset: int | None = None,
            query: Ranking | None = None,
            prefetches: Iterable[Prefetch] | None = None,
            with_vector: WithVectorLike = None,
            with_payload: WithPayloadLike = None,
            filter: Filter | None = None,
            score_threshold: float | None = None,
            params: SearchParams | None = None,
            *,
            timeout: float | None = None,
            best_effort: bool = False,
            explain: bool = False,
        ) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "prefetches", ranked_prefetches(self.query, self.prefetches))
        _ranked(self)


class SearchRequest(BestEffort, frozen=True):
    """The `limit` best points after the first `offset`, by `query`. Otherwise as QueryRequest."""

    query: Query
    limit: int
    offset: int = 0
    filter: Filter | None = None
    params: SearchParams | None = None
    with_vector: WithVector = False
    with_payload: WithPayload = False
    score_threshold: float | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            query: Query,
            limit: int,
            offset: int | None = None,
            filter: Filter | None = None,
            params: SearchParams | None = None,
            with_vector: WithVectorLike = None,
            with_payload: WithPayloadLike = None,
            score_threshold: float | None = None,
            *,
            timeout: float | None = None,
            best_effort: bool = False,
        ) -> None: ...

    def __post_init__(self) -> None:
        fields.instance(self.query, "query", Query)
        _ranked(self)


def _ranked(request: QueryRequest | SearchRequest) -> None:
    """Check and complete what both ranked requests have."""
    force_setattr(request, "limit", fields.integer(request.limit, "limit"))
    force_setattr(request, "offset", fields.integer_or_none(request.offset, "offset") or 0)
    force_setattr(request, "best_effort", fields.flag(request.best_effort, "best_effort"))
    force_setattr(request, "explain", fields.flag(request.explain, "explain"))
    complete(request)


def complete(request: Any) -> None:
    """Check and complete what says which points a ranked request looks at, and what it gives of
    them."""
    force_setattr(request, "with_vector", with_vector(request.with_vector))
    force_setattr(request, "with_payload", with_payload(request.with_payload))
    fields.instance_or_none(request.filter, "filter", Filter)
    threshold = fields.number_or_none(request.score_threshold, "score_threshold")
    force_setattr(request, "score_threshold", threshold)
    fields.instance_or_none(request.params, "params", SearchParams)
    complete_timed(request)


def complete_timed(request: Timed) -> None:
    """Check and complete the timeout."""
    seconds = fields.number_or_none(request.timeout, "timeout")
    if seconds is not None and seconds < 0:
        fields.refuse("timeout", "seconds, not negative", seconds)
    force_setattr(request, "timeout", seconds)


class QueryBatchRequest(Struct, frozen=True):
    """Several queries answered on one view of the shard."""

    queries: tuple[QueryRequest, ...]

    if TYPE_CHECKING:

        def __init__(self, queries: Iterable[QueryRequest]) -> None: ...

    def __post_init__(self) -> None:
        found = fields.sequence(self.queries, "queries")
        for i, query in enumerate(found):
            fields.instance(query, f"queries[{i}]", QueryRequest)
        force_setattr(self, "queries", found)


class OrderCursor(Struct, frozen=True):
    """Where the next page of an order begins: behind the point `id`, which stands at `value`."""

    value: float
    id: PointId

    def __post_init__(self) -> None:
        number = fields.number(self.value, "value")
        if type(self.value) is not int:  # which stays exact
            force_setattr(self, "value", number)
        force_setattr(self, "id", parse_id(self.id, "id"))


Offset: TypeAlias = PointId | OrderCursor


class ScrollRequest(Timed, frozen=True):
    """`limit` points (default 10) in order of id, from the id `offset` on (None: the first).

    With `order_by` (an OrderBy, or a path for its ascending order) they come in that order, and
    `offset` is the OrderCursor that the page before gave. `with_payload` defaults to True,
    `with_vector` to False. Ours, by keyword: `timeout` in seconds.
    """

    offset: Offset | None = None
    limit: int = DEFAULT_SCROLL_LIMIT
    filter: Filter | None = None
    with_payload: WithPayload = True
    with_vector: WithVector = False
    order_by: OrderBy | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            offset: PointIdLike | OrderCursor | None = None,
            limit: int | None = None,
            filter: Filter | None = None,
            with_payload: WithPayloadLike = None,
            with_vector: WithVectorLike = None,
            order_by: OrderBy | str | None = None,
            *,
            timeout: float | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        given: Any = self.order_by
        order = OrderBy(given) if isinstance(given, str) else given
        force_setattr(self, "order_by", fields.instance_or_none(order, "order_by", OrderBy))
        force_setattr(self, "offset", _offset(self.offset, self.order_by))
        limit = fields.integer_or_none(self.limit, "limit")
        force_setattr(self, "limit", DEFAULT_SCROLL_LIMIT if limit is None else limit)
        fields.instance_or_none(self.filter, "filter", Filter)
        force_setattr(self, "with_payload", with_payload(self.with_payload, default=True))
        force_setattr(self, "with_vector", with_vector(self.with_vector))
        complete_timed(self)


def _offset(given: Any, order_by: OrderBy | None) -> Offset | None:
    if given is None or (isinstance(given, OrderCursor) and order_by is not None):
        return given
    if order_by is not None:
        fields.refuse("offset", "an OrderCursor where there is an order_by", given)
    return parse_id(given, "offset")


class CountRequest(Timed, frozen=True):
    """How many points match `filter` (None: all). Ours, by keyword: `timeout` in seconds.

    Without `exact` no more than a sample of payloads is read, where indexes do not tell the number.
    """

    exact: bool = True
    filter: Filter | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            exact: bool = True,
            filter: Filter | None = None,
            *,
            timeout: float | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "exact", fields.flag(self.exact, "exact"))
        fields.instance_or_none(self.filter, "filter", Filter)
        complete_timed(self)


class FacetRequest(Timed, frozen=True):
    """How many points have each value of the field `key`: the `limit` values that most have.

    Values are texts, integers and bools, of arrays each one; a point counts once for a value. On a
    field with a UUID index, UUIDs count as such, in their usual spelling. `filter` says which
    points count. With an index of keywords, integers, bools or UUIDs it is fast; without one
    payloads are read: all if `exact`, else a sample where there are many. Ours, by keyword:
    `timeout` in seconds.
    """

    key: str
    limit: int = 10
    exact: bool = False
    filter: Filter | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            key: str,
            limit: int = 10,
            exact: bool = False,
            filter: Filter | None = None,
            *,
            timeout: float | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        json_path.parse(fields.text(self.key, "key"))
        force_setattr(self, "limit", fields.integer(self.limit, "limit"))
        force_setattr(self, "exact", fields.flag(self.exact, "exact"))
        fields.instance_or_none(self.filter, "filter", Filter)
        complete_timed(self)


class FacetHit(Struct, frozen=True):
    """A value, and how many points have it."""

    value: str | int | bool
    count: int


class FacetResponse(Struct, frozen=True):
    """The values that most points have, most first; ties by value."""

    hits: list[FacetHit]

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[FacetHit]:
        return iter(self.hits)


class Cardinality(Struct, frozen=True):
    """How many points match: not fewer than `least`, not more than `most`, and about `likely`."""

    least: int
    likely: int
    most: int


class SegmentPlan(Struct, frozen=True):
    """How one segment was searched.

    `way`: "scan" (all vectors), "scan of matches", "graph", "filtered graph", "acorn" (by
    the matching alone), "graph of a value", "acorn in the graph of a value", "left out"
    (indexed_only), "order", "order of matches", "text index", "sample", "ids". `points` lives
    here; `estimate` is what the indexes alone tell of the filter, `matches` how many points fulfil
    it in truth (both None without a filter, the latter also where not every point was looked at);
    `microseconds` is all the time that was spent here.
    """

    segment: int
    way: str
    points: int
    estimate: Cardinality | None
    matches: int | None
    microseconds: float


class Explained(list[Any]):
    """The hits of a query, and `plan`: a SegmentPlan for each segment that was searched."""

    def __init__(self, hits: Iterable[Any], plan: Iterable[SegmentPlan]) -> None:
        super().__init__(hits)
        self.plan = tuple(plan)


class ShardInfo(Struct, frozen=True):
    """What a shard says of itself: Qdrant's four numbers, then ours.

    `sequence` is the last operation that the view shows, `durable_sequence` the last that a power
    cut cannot take; `log_bytes` and `disk_bytes` the log alone and the whole folder;
    `deleted_count` points that still take space; `read_only` why nothing more is written, or
    None; `optimizer` what the optimizer does.
    """

    segments_count: int
    points_count: int
    indexed_vectors_count: int
    payload_schema: dict[str, PayloadIndexInfo]
    sequence: int = 0
    durable_sequence: int = 0
    log_bytes: int = 0
    disk_bytes: int = 0
    deleted_count: int = 0
    read_only: str | None = None
    optimizer: str = "idle"
