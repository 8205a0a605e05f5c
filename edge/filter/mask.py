"""Which rows of a segment view match a filter: candidates in, the subset that matches out.

Conditions with a column (ids, vectors) are answered for all candidates at once, and that decides
most mixed filters for most rows, in three-valued logic: a row is *sure* (it matches whatever its
payload holds), *maybe* (its payload may make it match), or out. Only payloads of rows that are
maybe and not sure are decoded. A field index will join as one more column.

Invariants: a row's payload is decoded at most once per call; nothing is locked, cached or changed;
the answer does not depend on the order of conditions, and an unknown vector raises whichever other
conditions there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge.filter.conditions import (
    Column,
    Columns,
    Mask,
    Offsets,
    Predicate,
    Rows,
    column_of,
    cost_of,
    predicate_of,
)
from edge.model.filter import Filter

__all__ = ["Rows", "matching"]

Checkpoint: TypeAlias = Callable[[], None]
"""Called between blocks of rows; it may raise, and then that is what `matching` raises."""

BLOCK: Final = 512
"""Rows between two checkpoints; fewer for filters that cost more than _BLOCK_COST comparisons."""

_BLOCK_COST: Final = 32
_Truth: TypeAlias = Mask | np.bool_
_NO: Final = np.False_
_YES: Final = np.True_


class _Known(NamedTuple):
    """What the columns say, for each candidate or for all alike: sure implies maybe."""

    sure: _Truth
    maybe: _Truth


_UNKNOWN: Final = _Known(_NO, _YES)


def matching(
    filter: Filter, rows: Rows, candidates: Offsets, checkpoint: Checkpoint | None = None
) -> Offsets:
    """The offsets among `candidates` (ascending uint32, below the watermark) that match `filter`.

    Returns a new ascending uint32 array. `checkpoint` is called before each column and before each
    block of at most BLOCK payloads. Raises UnknownVector for a vector name that no schema knows,
    and whatever `checkpoint` raises.
    """
    masks: dict[int, _Truth] = {}
    checkpoint = checkpoint or _go_on
    for condition, column in _required_columns(filter):
        checkpoint()
        candidates = candidates[column(condition, rows, candidates)]
        masks[id(condition)] = _YES
    for condition, column in _columns(filter):
        if id(condition) not in masks:
            checkpoint()
            masks[id(condition)] = column(condition, rows, candidates)
    verdict, undecided = _split(_known(filter, masks), len(candidates))
    if len(undecided):
        test = predicate_of(filter, _rows_of(masks, undecided, len(candidates)))
        block = _block(cost_of(filter))
        verdict[undecided] = _read(test, rows, candidates[undecided], block, checkpoint)
    return candidates[verdict]


def _go_on() -> None:
    """The checkpoint of a request without a deadline."""


def _required_columns(filter: Filter) -> Iterator[tuple[Any, Column]]:
    """The columns every match must be in, through `must` upon `must`: they thin the candidates."""
    return _columns_among(filter.must or (), _required_columns)


def _columns(filter: Filter) -> Iterator[tuple[Any, Column]]:
    """Every condition with a column; inside a nested condition there are none."""
    return _columns_among(filter.conditions(), _columns)


def _columns_among(
    conditions: Iterable[Any], inside: Callable[[Filter], Iterator[tuple[Any, Column]]]
) -> Iterator[tuple[Any, Column]]:
    for condition in conditions:
        column = column_of(condition)
        if isinstance(condition, Filter):
            yield from inside(condition)
        elif column is not None:
            yield condition, column


# Three-valued logic


def _known(condition: Any, masks: Mapping[int, _Truth]) -> _Known:
    if isinstance(condition, Filter):
        return _all(_known_clauses(condition, masks))
    mask = masks.get(id(condition))
    return _UNKNOWN if mask is None else _Known(mask, mask)


def _known_clauses(filter: Filter, masks: Mapping[int, _Truth]) -> Iterator[_Known]:
    def known(conditions: Iterable[Any] | None) -> list[_Known]:
        return [_known(condition, masks) for condition in conditions or ()]

    yield from known(filter.must)
    yield from map(_not, known(filter.must_not))
    if filter.should:
        yield _at_least(1, known(filter.should))
    if filter.min_should is not None:
        yield _at_least(filter.min_should.min_count, known(filter.min_should.conditions))


def _all(parts: Iterable[_Known]) -> _Known:
    every = _Known(_YES, _YES)
    for part in parts:
        every = _Known(every.sure & part.sure, every.maybe & part.maybe)
    return every


def _not(part: _Known) -> _Known:
    return _Known(~part.maybe, ~part.sure)


def _at_least(count: int, parts: list[_Known]) -> _Known:
    sure = sum(part.sure.astype(np.int32) for part in parts)
    maybe = sum(part.maybe.astype(np.int32) for part in parts)
    return _Known(np.asarray(sure >= count), np.asarray(maybe >= count))


def _split(known: _Known, count: int) -> tuple[Mask, NDArray[np.intp]]:
    """bool[count] of what is sure, and the places where only the payload can tell."""
    sure = np.broadcast_to(known.sure, count).copy()
    return sure, np.flatnonzero(np.broadcast_to(known.maybe, count) & ~sure)


# Payloads


def _rows_of(masks: Mapping[int, _Truth], places: NDArray[np.intp], count: int) -> Columns:
    return {key: np.broadcast_to(mask, count)[places].tobytes() for key, mask in masks.items()}


def _block(cost: int) -> int:
    return max(1, BLOCK * _BLOCK_COST // max(_BLOCK_COST, cost))


def _read(
    test: Predicate, rows: Rows, offsets: Offsets, block: int, checkpoint: Checkpoint
) -> list[bool]:
    """Decode the payloads at `offsets` and test them, in order, with a checkpoint every block."""
    payload = rows.payload
    verdicts: list[bool] = []
    for start in range(0, len(offsets), block):
        checkpoint()
        chunk = offsets[start : start + block].tolist()
        verdicts += [test(payload(offset), row) for row, offset in enumerate(chunk, start)]
    return verdicts
