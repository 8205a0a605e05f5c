"""Which rows of a segment view match a filter: sets of rows in, the subset that matches out.

Indexes, ids and vectors are asked first, for all rows at once, and what they tell is put together
in three-valued logic (`truth`): a row is *sure* (it matches whatever its payload holds), *maybe*
(its payload may make it match), or out. Slices are reckoned for rows that are maybe and not sure,
and only the payloads of those that are still undecided are read.

Invariants: a row's payload is decoded at most once per call; nothing is locked, cached or changed;
the answer does not depend on the order of conditions, nor on which fields are indexed; an unknown
vector raises whichever other conditions there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from edge.filter.conditions import Columns, Predicate, Scope, cost_of, predicate_of
from edge.filter.indexed import known_of
from edge.filter.slices import slices
from edge.filter.truth import (
    UNKNOWN,
    Bits,
    Known,
    Truth,
    all_of,
    any_of,
    at_least,
    exactly,
    not_of,
)
from edge.model.filter import (
    FieldCondition,
    Filter,
    HasIdCondition,
    HasVectorCondition,
    IsEmptyCondition,
    IsNullCondition,
    NestedCondition,
    SliceCondition,
)
from edge.model.json_path import Path, parse
from edge.model.point_id import encode_ids
from edge.model.schema import IndexedField
from edge.payload.field_index import FieldIndex, top_keys
from edge.payload.keyed_rows import has
from edge_kernels import bits

__all__ = ["Rows", "known", "matches", "matching"]

Offsets: TypeAlias = NDArray[np.uint32]
Checkpoint: TypeAlias = Callable[[], None]
"""Called between blocks of rows; it may raise, and then that is what `matches` raises."""

BLOCK: Final = 512
"""Rows between two checkpoints; fewer for filters that cost more than _BLOCK_COST comparisons."""

_BLOCK_COST: Final = 32


class Rows(Protocol):
    """What a filter needs of a segment view: its rows below the watermark."""

    watermark: int

    @property
    def ids(self) -> NDArray[np.uint64]:
        """Id rows uint64[>= watermark, 3] by offset."""
        ...

    def reader(self, keys: frozenset[str]) -> Callable[[Sequence[int]], Iterable[dict[str, Any]]]:
        """What decodes the payloads of rows, of which only these outermost keys are needed."""
        ...

    def has_vector(self, name: str) -> Bits:
        """The rows that have this vector; UnknownVector if no schema knows it."""
        ...

    def find(self, ids: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Offsets int64[m] of the live points among id rows uint64[m, 3]; -1 where absent."""
        ...

    def field(self, key: str) -> IndexedField | None:
        """What the schema says of the field at a path."""
        ...

    def index(self, key: str) -> FieldIndex | None:
        """The index of the field at a path, where there is one."""
        ...


def matching(
    filter: Filter, rows: Rows, candidates: Offsets, checkpoint: Checkpoint | None = None
) -> Offsets:
    """The offsets among `candidates` (ascending uint32, below the watermark) that match `filter`.

    Returns a new ascending uint32 array. Raises as `matches`.
    """
    among = bits.from_offsets(rows.watermark, candidates)
    return bits.to_offsets(matches(filter, rows, among, checkpoint), rows.watermark)


def matches(filter: Filter, rows: Rows, among: Bits, checkpoint: Checkpoint | None = None) -> Bits:
    """The rows of the set `among` that match `filter`, as a new set.

    `checkpoint` is called before each condition that is asked for all rows at once, and before each
    block of at most BLOCK payloads. Raises UnknownVector for a vector name that no schema knows,
    and whatever `checkpoint` raises.
    """
    asked = known(filter, rows, checkpoint)
    found, left = _within(asked.verdict, among)
    if left is not None and (sliced := _slices(filter)):
        asked.slice(sliced, left)
        more, left = _within(asked.verdict, left)
        found |= more
    if left is None:
        return found
    offsets = bits.to_offsets(left, rows.watermark)
    scope = Scope(asked.columns(offsets), rows.field)
    test = predicate_of(filter, scope)
    read = rows.reader(top_keys(_keys(filter)))
    block = _block(cost_of(filter))
    verdicts = _read(test, read, offsets.tolist(), block, checkpoint or _go_on)
    bits.set_bits(found, offsets[np.array(verdicts, np.bool_)])
    return found


def known(filter: Filter, rows: Rows, checkpoint: Checkpoint | None = None) -> Asked:
    """What is known of the rows without reading a payload or reckoning a slice."""
    return Asked(filter, rows, checkpoint or _go_on)


class Asked:
    """A filter, and what was found out about its conditions, each asked once."""

    def __init__(self, filter: Filter, rows: Rows, checkpoint: Checkpoint) -> None:
        self._filter = filter
        self._rows = rows
        self._checkpoint = checkpoint
        self._told: dict[int, Known] = {}
        self.verdict = self._of_filter(filter)

    def slice(self, conditions: Iterable[SliceCondition], rows: Bits) -> None:
        """Reckon the slices of these rows; the verdict then is about them alone."""
        offsets = bits.to_offsets(rows, self._rows.watermark)
        ids = self._rows.ids[offsets]
        for condition in conditions:
            self._checkpoint()
            chosen = offsets[slices(ids, condition.total) == condition.index]
            told = exactly(bits.from_offsets(self._rows.watermark, chosen))
            self._told[id(condition)] = told
        self.verdict = self._of_filter(self._filter)

    def columns(self, offsets: Offsets) -> Columns:
        """What is known exactly, for these rows."""
        return {
            condition: _column(told.sure, offsets)
            for condition, told in self._told.items()
            if told.sure is told.maybe
        }

    def _of_filter(self, filter: Filter) -> Known:
        clauses = [all_of(map(self._of, filter.must or ()))]
        clauses += [not_of(self._of(condition)) for condition in filter.must_not or ()]
        if filter.should:
            clauses.append(any_of(map(self._of, filter.should)))
        if filter.min_should is not None:
            counted = list(map(self._of, filter.min_should.conditions))
            clauses.append(at_least(filter.min_should.min_count, counted, self._rows.watermark))
        return clauses[0] if len(clauses) == 1 else all_of(clauses)

    def _of(self, condition: Any) -> Known:
        if isinstance(condition, Filter):
            return self._of_filter(condition)
        told = self._told.get(id(condition))
        if told is None:
            self._checkpoint()
            told = ASKS[type(condition)](condition, self._rows)
            self._told[id(condition)] = told
        return told


def is_indexed(filter: Filter, rows: Rows) -> bool:
    """Whether no condition has to be looked up in payloads (but for values that its index does not
    hold): a guess, by what is indexed and not by what is asked."""
    return all(rows.index(key) is not None for key in _keys(filter))


def _ask_index(condition: Any, rows: Rows) -> Known:
    index = rows.index(condition.key)
    return UNKNOWN if index is None else known_of(condition, index)


def _ask_ids(condition: HasIdCondition, rows: Rows) -> Known:
    if not condition.point_ids:
        return exactly(False)
    found = rows.find(encode_ids(list(condition.point_ids)))
    return exactly(bits.from_offsets(rows.watermark, found[found >= 0].astype(np.uint32)))


def _ask_vectors(condition: HasVectorCondition, rows: Rows) -> Known:
    return exactly(rows.has_vector(condition.vector))


def _ask_nested(condition: NestedCondition, rows: Rows) -> Known:
    """A row where one element fulfils all of `must` has, in some element, each value asked for."""
    array = parse(condition.key).every_element()
    maybes = [
        _ask_index(outer, rows).maybe
        for inner in condition.filter.must or ()
        if (outer := _seen_from_outside(inner, array)) is not None
    ]
    return Known(False, all_of(map(exactly, maybes)).maybe)


def _seen_from_outside(condition: Any, array: Path) -> FieldCondition | None:
    """The condition on values inside of elements as one on the whole payload; None for others."""
    if not isinstance(condition, FieldCondition) or (
        condition.values_count is not None
        or condition.is_empty is not None
        or condition.is_null is not None
    ):
        return None
    return replace(condition, key=str(Path((*array.steps, *parse(condition.key).steps))))


ASKS: Final[dict[type, Callable[[Any, Rows], Known]]] = {
    FieldCondition: _ask_index,
    IsEmptyCondition: _ask_index,
    IsNullCondition: _ask_index,
    HasIdCondition: _ask_ids,
    HasVectorCondition: _ask_vectors,
    SliceCondition: lambda condition, rows: UNKNOWN,
    NestedCondition: _ask_nested,
}
"""What each condition is asked first, for all rows at once."""


def _go_on() -> None:
    """The checkpoint of a request without a deadline."""


def _within(verdict: Known, among: Bits) -> tuple[Bits, Bits | None]:
    """(the rows of `among` that are sure, those that only payloads tell of: None if none)"""
    sure, maybe = verdict
    if isinstance(sure, bool):
        found = among.copy() if sure else np.zeros_like(among)
    else:
        found = among & sure
    if sure is maybe:
        return found, None
    left = among & ~found if isinstance(maybe, bool) else among & maybe & ~found
    return found, left if maybe is not False and left.any() else None


def _column(rows: Truth, offsets: Offsets) -> bytes:
    if isinstance(rows, bool):
        return bytes([rows]) * len(offsets)
    return has(rows, offsets).tobytes()


def _leaves(filter: Filter) -> Iterator[Any]:
    """The conditions of a filter and of the filters in it."""
    for condition in filter.conditions():
        if isinstance(condition, Filter):
            yield from _leaves(condition)
        else:
            yield condition


def _slices(filter: Filter) -> list[SliceCondition]:
    return [leaf for leaf in _leaves(filter) if isinstance(leaf, SliceCondition)]


def _keys(filter: Filter) -> Iterator[str]:
    """The payload paths that the filter asks about."""
    return (leaf.key for leaf in _leaves(filter) if type(leaf) in _KEYED)


_KEYED: Final = {FieldCondition, IsEmptyCondition, IsNullCondition, NestedCondition}


# Payloads


def _block(cost: int) -> int:
    return max(1, BLOCK * _BLOCK_COST // max(cost, _BLOCK_COST))


def _read(
    test: Predicate,
    read: Callable[[Sequence[int]], Iterable[dict[str, Any]]],
    offsets: list[int],
    block: int,
    checkpoint: Checkpoint,
) -> list[bool]:
    """Decode the payloads at `offsets` and test them, in order, with a checkpoint every block."""
    verdicts: list[bool] = []
    for start in range(0, len(offsets), block):
        checkpoint()
        chunk = offsets[start : start + block]
        verdicts += [test(document, row) for row, document in enumerate(read(chunk), start)]
    return verdicts
