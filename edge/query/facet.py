"""How many points have each value of a field.

Invariants
- A point counts once for a value, however often it has it; texts, integers and bools are values.
- The counts do not depend on indexes: one of such values counts what it holds, and for rows that it
  does not know whole the payloads are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final, TypeAlias
from uuid import UUID

import numpy as np

from edge.filter.mask import matches
from edge.model.json_path import parse, values
from edge.model.point_id import uuid_bytes
from edge.model.request import FacetHit, FacetRequest, FacetResponse
from edge.model.schema import PayloadSchemaType
from edge.payload.field_index import FieldIndex, flattened
from edge.payload.keyed_rows import Bits
from edge.query.deadline import Deadline
from edge.segment.view import SegmentView, ShardView
from edge_kernels import bits

Value: TypeAlias = str | int | bool
Counts: TypeAlias = Counter[tuple[int, Value]]
"""By (rank of the type, value), because True == 1 in Python and not in a payload."""

SAMPLE: Final = 20_000
"""Payloads of one segment that are read for a facet that need not be exact."""

ROWS_A_BLOCK: Final = 512
_RANKS: Final[dict[type, int]] = {bool: 0, int: 1, str: 2}

_VALUES: Final[dict[PayloadSchemaType, Callable[[Any], Value]]] = {
    PayloadSchemaType.Keyword: bytes.decode,
    PayloadSchemaType.Integer: int,
    PayloadSchemaType.Bool: bool,
    PayloadSchemaType.Uuid: lambda key: str(UUID(bytes=key)),
}
"""The kinds of index that hold values to count, and the value of each key."""


def facet(view: ShardView, request: FacetRequest, deadline: Deadline) -> FacetResponse:
    """Return the values that most of the points have which fulfil the filter."""
    counts: Counts = Counter()
    for segment in view.segments:
        if segment.live_count:
            deadline.check()
            _count(segment, request, counts, deadline)
    best = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[: request.limit]
    return FacetResponse([FacetHit(value, count) for (_, value), count in best])


def _count(view: SegmentView, request: FacetRequest, counts: Counts, deadline: Deadline) -> None:
    allowed = view.live_bits()
    if request.filter is not None:
        allowed = matches(request.filter, view, allowed, deadline.check)
    index = view.index(request.key)
    if index is None or index.kind not in _VALUES:
        _count_read(view, request, allowed, counts, deadline)
        return
    others = index.not_whole()
    if others is not None:
        _count_read(view, request, allowed & others, counts, deadline)
        allowed = allowed & ~others
    _count_indexed(index, allowed, request, counts)


def _count_indexed(index: FieldIndex, allowed: Bits, request: FacetRequest, counts: Counts) -> None:
    value_of = _VALUES[index.kind]
    found, key = index.entries.counts(allowed)
    for place in np.flatnonzero(found).tolist():
        value = value_of(key(place))
        counts[_RANKS[type(value)], value] += int(found[place])


def _count_read(
    view: SegmentView, request: FacetRequest, rows: Bits, counts: Counts, deadline: Deadline
) -> None:
    offsets = bits.to_offsets(rows, view.watermark)
    share = 1.0
    if not request.exact and len(offsets) > SAMPLE:
        share = SAMPLE / len(offsets)
        offsets = offsets[np.linspace(0, len(offsets) - 1, SAMPLE).astype(np.intp)]
    path = parse(request.key)
    field = view.field(request.key)
    is_uuid = field is not None and field.kind is PayloadSchemaType.Uuid
    read = view.reader(frozenset([str(path.steps[0])]))
    found: Counts = Counter()
    for place, row in enumerate(offsets.tolist()):
        if place % ROWS_A_BLOCK == 0:
            deadline.check()
        elements = flattened(values(read(row), path))
        found.update({_counted(e, is_uuid) for e in elements if type(e) in _RANKS})
    for value, count in found.items():
        counts[value] += round(count / share)


def _counted(element: Any, is_uuid: bool) -> tuple[int, Value]:
    if is_uuid and type(element) is str and (found := uuid_bytes(element)) is not None:
        element = str(UUID(bytes=found))
    return _RANKS[type(element)], element
