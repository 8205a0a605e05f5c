"""Points in the order of what a payload field holds: numbers, and moments as microseconds.

Invariants
- A point stands once, at its best value from the start on; ties go by id, backwards where the
  order does. So a page that begins behind a point goes on where the last one ended.
- The order does not depend on indexes: one of numbers gives what it holds, and for rows that it
  does not know whole the payloads are read.
- Integers and floats are compared exactly, whatever holds them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge.filter.mask import matches
from edge.model import instant
from edge.model.filter import Filter
from edge.model.point_id import encode_ids
from edge.model.query import Direction, OrderBy
from edge.model.request import OrderCursor
from edge.model.schema import PayloadSchemaType
from edge.payload.field_index import FieldIndex
from edge.payload.keyed_rows import Bits, Bounds, Ordered
from edge.query.deadline import Deadline
from edge.query.reading import elements
from edge.query.search import Hits, no_distances
from edge.query.trace import NO_TRACE, Trace
from edge.segment.view import SegmentView, ShardView
from edge_kernels import bits

Fit: TypeAlias = Callable[[float, bool], float]
"""fit(bound, whether it is left out): the key nearest to it within."""

LAST_MICROSECOND = 999_999


class Sorted(NamedTuple):
    """Hits in order, and the value at which each stands."""

    hits: Hits
    values: list[float]


class _Wanted(NamedTuple):
    """What is asked of each segment: how many, from the least (reverse: from the greatest) on."""

    key: str
    reverse: bool
    whole: Bounds
    """The numbers that count."""
    rest: Bounds
    """Those that no earlier page has shown, and ties with the last that it has."""
    shown: Bounds | None
    """The others; None on a first page."""
    want: int


def ordered(
    view: ShardView,
    order: OrderBy,
    filter: Filter | None,
    count: int,
    deadline: Deadline,
    after: OrderCursor | None = None,
    trace: Trace = NO_TRACE,
) -> Sorted:
    """Return the first `count` points of the order, behind the cursor where there is one."""
    wanted = _wanted(order, count, after)
    parts: list[tuple[SegmentView, Ordered]] = []
    for segment in view.segments:
        if segment.live_count:
            deadline.check()
            with trace.segment(segment) as note:
                allowed = segment.live_bits()
                if filter is not None:
                    allowed = matches(filter, segment, allowed, deadline.check)
                    note.filtered(filter, allowed)
                note.way = "order" if filter is None else "order of matches"
                parts.append((segment, _of_segment(segment, wanted, allowed, deadline)))
    return _merged(parts, wanted.reverse, count, after)


def _wanted(order: OrderBy, count: int, after: OrderCursor | None) -> _Wanted:
    reverse = order.direction is Direction.Desc
    start = _start(order, math.inf if reverse else -math.inf)
    whole = Bounds(-math.inf, False, start, False) if reverse else _from(start)
    if after is None:
        return _Wanted(order.key, reverse, whole, whole, None, count)
    if reverse:
        rest = Bounds(-math.inf, False, min(start, after.value), False)
        shown = Bounds(after.value, True, start, False)
    else:
        rest, shown = _from(max(start, after.value)), Bounds(start, False, after.value, True)
    return _Wanted(order.key, reverse, whole, rest, shown, count)


def _from(start: float) -> Bounds:
    return Bounds(start, False, math.inf, False)


def _start(order: OrderBy, nowhere: float) -> float:
    if order.start_from is None:
        return nowhere
    if isinstance(order.start_from, str):
        found = number_of(order.start_from)
        assert found is not None
        return found
    return order.start_from


def _of_segment(view: SegmentView, wanted: _Wanted, allowed: Bits, deadline: Deadline) -> Ordered:
    index = view.index(wanted.key)
    if index is None or index.kind not in _FITTED:
        return _read(view, wanted, allowed, deadline)
    others = index.not_whole()
    if others is None:
        return _of_index(index, wanted, allowed)
    found = _of_index(index, wanted, allowed & ~others)
    read = _read(view, wanted, allowed & others, deadline)
    return Ordered(np.concatenate([found.rows, read.rows]), _joined([found.keys, read.keys]))


def _of_index(index: FieldIndex, wanted: _Wanted, allowed: Bits) -> Ordered:
    several = len(index.lists[0]) or index.rows_in("complex") is not None
    count = wanted.want
    if wanted.shown is not None:
        if several:  # a row that stood there stands nowhere else
            allowed = allowed & ~index.entries.between(_fitted(wanted.shown, index.kind))
        # ties with the cursor are cut off later, by id
        count += _ties(index, wanted.rest.high if wanted.reverse else wanted.rest.low)
    rest = _fitted(wanted.rest, index.kind)
    found: Ordered = index.entries.in_order(rest, wanted.reverse, allowed, count)
    if index.kind is not PayloadSchemaType.Datetime:
        return found
    if len(found.keys) and found.keys[-1] % instant.SPAN >= LAST_MICROSECOND:
        # the instants of a leap second differ, and yet tie with each other
        count += _ties(index, instant.microseconds(int(found.keys[-1])))
        found = index.entries.in_order(rest, wanted.reverse, allowed, count)
    seconds, micros = np.divmod(found.keys, instant.SPAN)
    return Ordered(found.rows, seconds * 1_000_000 + np.minimum(micros, LAST_MICROSECOND))


def _ties(index: FieldIndex, number: float) -> int:
    """How many entries the index has at this place of the order."""
    at: int = index.entries.count_between(_fitted(Bounds(number, False, number, False), index.kind))
    return at


def _fitted(bounds: Bounds, kind: PayloadSchemaType) -> Bounds:
    """The bounds as keys of an index, which belong to what is within them."""
    least, most = _FITTED[kind]
    low, above, high, below = bounds
    return Bounds(least(low, above), False, most(high, below), False)


def _least_integer(low: float, above: bool) -> float:
    if math.isinf(low):
        return low
    return math.floor(low) + 1 if above else math.ceil(low)


def _most_integer(high: float, below: bool) -> float:
    return -_least_integer(-high, below)


def _least_instant(low: float, above: bool) -> float:
    if math.isinf(low):
        return low
    return instant.at_microseconds(int(_least_integer(low, above)))


def _most_instant(high: float, below: bool) -> float:
    if math.isinf(high):
        return high
    return instant.at_microseconds(int(_most_integer(high, below)) + 1) - 1


def _least_float(low: float, above: bool) -> float:
    try:
        found = float(low)
    except OverflowError:
        found = math.inf if low > 0 else -math.inf
    return math.nextafter(found, math.inf) if found < low or (above and found == low) else found


def _most_float(high: float, below: bool) -> float:
    return -_least_float(-high, below)


def _read(view: SegmentView, wanted: _Wanted, rows: Bits, deadline: Deadline) -> Ordered:
    """Read the values from the payloads of these rows."""
    best = max if wanted.reverse else min
    found: list[int] = []
    keys: list[float] = []
    offsets = bits.to_offsets(rows, view.watermark)
    field = view.field(wanted.key)
    is_float = field is not None and field.kind is PayloadSchemaType.Float
    number_in = float_of if is_float else number_of
    for row, held in elements(view, offsets, wanted.key, deadline):
        numbers = [
            number
            for element in held
            if (number := number_in(element)) is not None and _is_within(number, wanted.whole)
        ]
        if numbers and _is_within(at := best(numbers), wanted.rest):
            found.append(row)
            keys.append(at)
    return Ordered(np.array(found, np.uint32), _array(keys))


def _is_within(number: float, bounds: Bounds) -> bool:
    return bounds.low <= number <= bounds.high


def number_of(element: Any) -> float | None:
    """The place of a value in an order: a number is its own, a moment's its microseconds."""
    kind = type(element)
    if kind is int or kind is float:
        return element  # type: ignore[no-any-return]
    moment = instant.parse(element) if kind is str else None
    return None if moment is None else instant.microseconds(moment)


def float_of(element: Any) -> float | None:
    """As `number_of`, in a field with an index of floats: a float wherever that is exact."""
    number = number_of(element)
    if type(number) is not int:
        return number
    found = float(number)
    return found if found == number else number


_FITTED: Final[dict[PayloadSchemaType, tuple[Fit, Fit]]] = {
    PayloadSchemaType.Integer: (_least_integer, _most_integer),
    PayloadSchemaType.Float: (_least_float, _most_float),
    PayloadSchemaType.Datetime: (_least_instant, _most_instant),
}
"""The kinds of index that keep an order: the least and the greatest key within bounds."""


# -- merging


def _merged(
    parts: list[tuple[SegmentView, Ordered]],
    reverse: bool,
    count: int,
    after: OrderCursor | None,
) -> Sorted:
    segments = tuple(view for view, _ in parts)
    sizes = [len(found.rows) for _, found in parts]
    owners = np.repeat(np.arange(len(parts)), sizes)
    offsets = np.concatenate([*(found.rows for _, found in parts), np.empty(0, np.uint32)])
    keys = _joined([found.keys for _, found in parts])
    ids = np.concatenate(
        [*(view.ids[found.rows] for view, found in parts), np.empty((0, 3), np.uint64)]
    )
    order = np.lexsort((ids[:, 2], ids[:, 1], ids[:, 0], _ranks(keys)))
    if reverse:
        order = order[::-1]
    if after is not None:
        order = order[_behind(after, keys[order], ids[order], reverse) :]
    order = order[:count]
    hits = Hits(segments, owners[order], offsets[order], no_distances(len(order)))
    return Sorted(hits, keys[order].tolist())


def _behind(after: OrderCursor, keys: NDArray[Any], ids: NDArray[np.uint64], reverse: bool) -> int:
    """How many of the sorted rows stand at the cursor's value and not behind its point."""
    last = tuple(encode_ids([after.id])[0].tolist())
    place = 0
    while place < len(keys) and keys[place] == after.value:
        here = tuple(ids[place].tolist())
        if here < last if reverse else here > last:
            break
        place += 1
    return place


def _array(keys: list[float]) -> NDArray[Any]:
    """Numbers as an array that keeps each as it is."""
    kinds = set(map(type, keys))
    dtype = np.int64 if kinds <= {int} else np.float64 if kinds == {float} else object
    try:
        return np.array(keys, dtype)
    except OverflowError:
        return np.array(keys, object)


def _joined(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    there = [array for array in arrays if len(array)]
    if len({array.dtype for array in there}) <= 1:
        return np.concatenate(there) if there else np.empty(0, np.int64)
    return _array([key for array in there for key in array.tolist()])


def _ranks(keys: NDArray[Any]) -> NDArray[Any]:
    """Numbers that order as the keys do: integers and floats are compared exactly."""
    if keys.dtype != object:
        return keys
    place = {key: rank for rank, key in enumerate(sorted(set(keys.tolist())))}
    return np.array([place[key] for key in keys.tolist()], np.int64)
