"""How many points have each value of a field.

Invariants
- A point counts once for a value, however often it has it; texts, integers and bools are values.
- The counts do not depend on indexes: one of such values counts what it holds, and for rows that it
  does not know whole the payloads are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from heapq import nsmallest
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from edge.filter.mask import matches
from edge.model.point_id import uuid_bytes
from edge.model.request import FacetHit, FacetRequest, FacetResponse
from edge.model.schema import PayloadSchemaType
from edge.payload.keyed_rows import Bits
from edge.query.deadline import Deadline
from edge.query.reading import elements
from edge.segment.view import SegmentView, ShardView
from edge_kernels import bits

Value: TypeAlias = str | int | bool
Counts: TypeAlias = Counter[tuple[int, Value]]
"""By (rank of the type, value), because True == 1 in Python and not in a payload."""

SAMPLE: Final = 20_000
"""Payloads of one segment that are read for a facet that need not be exact."""

_RANKS: Final[dict[type, int]] = {bool: 0, int: 1, str: 2}

_VALUES: Final[dict[PayloadSchemaType, Callable[[Any], Value]]] = {
    PayloadSchemaType.Keyword: bytes.decode,
    PayloadSchemaType.Integer: int,
    PayloadSchemaType.Bool: bool,
    PayloadSchemaType.Uuid: lambda key: str(UUID(bytes=key)),
}
"""The kinds of index that hold values to count, and the value of each key."""


class _Source(NamedTuple):
    """What one index counts: int64[k], and the value at each place."""

    counts: NDArray[np.int64]
    value: Callable[[int], Value]


def facet(view: ShardView, request: FacetRequest, deadline: Deadline) -> FacetResponse:
    """Return the values that most of the points have which fulfil the filter."""
    sources: list[_Source] = []
    counts: Counts = Counter()
    for segment in view.segments:
        if segment.live_count:
            deadline.check()
            source = _count(segment, request, counts, deadline)
            if source is not None and len(source.counts):
                sources.append(source)
    alone = len(sources) == 1 and not counts
    for source in sources:
        _add(source, request.limit if alone else None, counts)
    best = nsmallest(request.limit, counts.items(), key=lambda item: (-item[1], item[0]))
    return FacetResponse([FacetHit(value, count) for (_, value), count in best])


def _add(source: _Source, limit: int | None, counts: Counts) -> None:
    """Add the counts of a source; of the only one there is, those that can be among the best."""
    least = 1
    if limit is not None and 0 < limit < len(source.counts):
        least = max(1, int(np.partition(source.counts, -limit)[-limit]))
    for place in np.flatnonzero(source.counts >= least).tolist():
        value = source.value(place)
        counts[_RANKS[type(value)], value] += int(source.counts[place])


def _count(
    view: SegmentView, request: FacetRequest, counts: Counts, deadline: Deadline
) -> _Source | None:
    """Count what is not in an index; return what is."""
    allowed = view.live_bits()
    if request.filter is not None:
        allowed = matches(request.filter, view, allowed, deadline.check)
    index = view.index(request.key)
    if index is None or index.kind not in _VALUES:
        _count_read(view, request, allowed, counts, deadline)
        return None
    others = index.not_whole()
    if others is not None:
        _count_read(view, request, allowed & others, counts, deadline)
        allowed = allowed & ~others
    everyone = others is None and request.filter is None and view.deleted is None
    found, key = index.entries.counts(None if everyone else allowed)
    value_of = _VALUES[index.kind]
    return _Source(found, lambda place: value_of(key(place)))


def _count_read(
    view: SegmentView, request: FacetRequest, rows: Bits, counts: Counts, deadline: Deadline
) -> None:
    offsets = bits.to_offsets(rows, view.watermark)
    share = 1.0
    if not request.exact and len(offsets) > SAMPLE:
        share = SAMPLE / len(offsets)
        offsets = offsets[np.linspace(0, len(offsets) - 1, SAMPLE).astype(np.intp)]
    field = view.field(request.key)
    is_uuid = field is not None and field.kind is PayloadSchemaType.Uuid
    found: Counts = Counter()
    for _, held in elements(view, offsets, request.key, deadline):
        found.update({_counted(e, is_uuid) for e in held if type(e) in _RANKS})
    for value, count in found.items():
        counts[value] += round(count / share)


def _counted(element: Any, is_uuid: bool) -> tuple[int, Value]:
    if is_uuid and type(element) is str and (found := uuid_bytes(element)) is not None:
        element = str(UUID(bytes=found))
    return _RANKS[type(element)], element
