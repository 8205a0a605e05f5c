"""Prefetches: rankings whose points another ranking ranks anew; they nest.

Invariants: a Prefetch knows its size from the day it is made, so that none exists that is deeper
than HARD_DEPTH or larger than HARD_PREFETCHES; where there are prefetches something ranks them, and
what can only rank prefetches has some.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from msgspec import Struct
from msgspec.structs import force_setattr

from edge.errors import LimitExceeded, ValidationError
from edge.model import fields
from edge.model.examples import count
from edge.model.filter import Filter
from edge.model.formula import Formula
from edge.model.fusion import Fusion, RrfFusion
from edge.model.limits import HARD_DEPTH, HARD_PREFETCHES
from edge.model.query import RANKINGS, Ranking, SearchParams


class Size(NamedTuple):
    """What a query comes to: the levels of its prefetches, their number, the sum of their limits,
    and all examples that it and they are asked by."""

    depth: int
    number: int
    candidates: int
    examples: int


class Prefetch(Struct, frozen=True, dict=True):
    """The `limit` best points by `query` (None: all, by id, score 1.0).

    They are looked for among the points that `prefetches` find, or without these among all.
    `filter` holds for all points that are looked at here and below; `score_threshold` is what the
    scores are better than; `params` say how hard is looked. Raises ValidationError naming the
    argument, LimitExceeded beyond 64 levels or 1024 prefetches.
    """

    limit: int
    query: Ranking | None = None
    prefetches: tuple[Prefetch, ...] = ()
    params: SearchParams | None = None
    filter: Filter | None = None
    score_threshold: float | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            limit: int,
            query: Ranking | None = None,
            prefetches: Iterable[Prefetch] | None = None,
            params: SearchParams | None = None,
            filter: Filter | None = None,
            score_threshold: float | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "limit", fields.integer(self.limit, "limit"))
        force_setattr(self, "prefetches", ranked_prefetches(self.query, self.prefetches))
        fields.instance_or_none(self.params, "params", SearchParams)
        fields.instance_or_none(self.filter, "filter", Filter)
        threshold = fields.number_or_none(self.score_threshold, "score_threshold")
        force_setattr(self, "score_threshold", threshold)
        self.__dict__["size"] = size = size_of(self.query, self.prefetches)
        if 1 + size.depth > HARD_DEPTH or 1 + size.number > HARD_PREFETCHES:
            raise LimitExceeded(
                f"prefetches: {1 + size.depth} levels of {1 + size.number} prefetches, "
                f"at most {HARD_DEPTH} and {HARD_PREFETCHES} are taken"
            )

    @property
    def size(self) -> Size:
        """What is in it, itself left out."""
        return self.__dict__["size"]  # type: ignore[no-any-return]

    def __copy__(self) -> Prefetch:
        return self


def ranked_prefetches(query: Any, prefetches: Any) -> tuple[Prefetch, ...]:
    """The prefetches (None: none) as a tuple, when `query` is a ranking that can rank them."""
    if not isinstance(query, _RANKED):
        fields.refuse("query", RANKINGS, query)
    found = () if prefetches is None else fields.sequence(prefetches, "prefetches", HARD_PREFETCHES)
    for i, prefetch in enumerate(found):
        fields.instance(prefetch, f"prefetches[{i}]", Prefetch)
    if found and query is None:
        raise ValidationError("query: expected what the prefetches are to be ranked by, got None")
    if isinstance(query, Fusion | Formula) and not found:
        kind = "Fusion" if isinstance(query, Fusion) else "Formula"
        raise ValidationError(f"prefetches: a {kind} ranks prefetches, expected one at least")
    weights = query.weights if isinstance(query, RrfFusion) else None
    if weights is not None and len(weights) != len(found):
        raise ValidationError(
            f"query.weights: expected {len(found)}, one for each prefetch, got {len(weights)}"
        )
    return found


_RANKED = (*get_args(Ranking), type(None))


def size_of(query: object, prefetches: tuple[Prefetch, ...]) -> Size:
    """What a ranking of prefetches comes to."""
    if not prefetches:
        return Size(0, 0, 0, count(query))
    below = [prefetch.size for prefetch in prefetches]
    return Size(
        depth=max(1 + size.depth for size in below),
        number=len(below) + sum(size.number for size in below),
        candidates=sum(prefetch.limit + prefetch.size.candidates for prefetch in prefetches),
        examples=count(query) + sum(size.examples for size in below),
    )
