"""The index of one payload field: its entries by kind, and the shape of what the field holds.

An index is asked for sets of rows. `entries` hold the values that have a place in it; of the others
it knows only which rows have some (`foreign`), so that whoever asks can look at these rows alone.

Invariants
- Rows are indexed in order; below `covered` each row is in every set it belongs to, above it in
  none. A growing index may be behind its segment; what is above `covered` is unknown.
- What a FieldIndex shows never changes.
- Sets: *empty*, the path reaches nothing, null or []; *null*, a null is there; *complex*, the path
  reaches several values, or the index is nested, so that the others do not tell; *foreign*, a value
  that is not null and has no place among the entries; *listed*, one array that is not empty, whose
  length is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from edge.model.json_path import Path, parse, values
from edge.model.schema import IndexedField, PayloadSchemaType
from edge.payload.entries import KINDS
from edge.payload.growing import GrowingArray
from edge.payload.keyed_rows import Bits, Offsets
from edge.payload.names import Arrays, are_below
from edge_kernels import bits

Document: TypeAlias = dict[str, Any]
Reach: TypeAlias = Callable[[Document], list[list[Any]]]
"""What a field holds, in groups: one group, or with `nested` one for each object of the array."""

SETS: Final = ("empty", "null", "complex", "foreign")


@dataclass(frozen=True, slots=True)
class FieldIndex:
    """The index as a view of `watermark` rows sees it."""

    field: IndexedField
    watermark: int
    covered: int
    entries: Any
    rows_in: Callable[[str], Bits | None]
    """rows_in(name of SETS): the rows of that set, None where there are none."""
    lists: tuple[Offsets, Offsets]
    """(rows, lengths) of *listed*."""

    @property
    def kind(self) -> PayloadSchemaType:
        """Which values have a place among the entries."""
        return self.field.kind

    def listed(self) -> Bits:
        """The rows whose value is an array that is not empty."""
        return bits.from_offsets(self.watermark, self.lists[0])

    def unknown(self) -> Bits | None:
        """The rows that are not indexed yet; None where all are."""
        if self.covered >= self.watermark:
            return None
        later = np.arange(self.covered, self.watermark, dtype=np.uint32)
        return bits.from_offsets(self.watermark, later)

    def not_whole(self) -> Bits | None:
        """The rows of which the entries do not tell all: foreign and unknown ones; None: of all."""
        foreign, unknown = self.rows_in("foreign"), self.unknown()
        if foreign is None or unknown is None:
            return unknown if foreign is None else foreign
        return foreign | unknown


# -- what a field holds


def top_keys(paths: Iterable[str]) -> frozenset[str]:
    """The outermost keys of payloads that these paths begin with."""
    return frozenset(str(parse(path).steps[0]) for path in paths)


def reach(path: Path, nested: str | None) -> Reach:
    """What gives the values at the path, grouped by the objects of the array `nested`."""
    if nested is not None:
        return _reach_nested(path, parse(nested).every_element())
    if len(path.steps) == 1:
        name = str(path.steps[0])
        return lambda document: [[document[name]]] if name in document else [[]]
    return lambda document: [values(document, path)]


def _reach_nested(path: Path, array: Path) -> Reach:
    inner = Path(path.steps[len(array.steps) :])

    def groups(document: Document) -> list[list[Any]]:
        return [
            values(element, inner)
            for element in values(document, array)
            if isinstance(element, dict)
        ]

    return groups


# -- growing


class _Rows:
    """Rows of one call of `append`, by the set that they belong to, and their entries."""

    def __init__(self) -> None:
        self.sets: dict[str, list[int]] = {name: [] for name in SETS}
        self.lists: tuple[list[int], list[int]] = ([], [])
        self.rows: list[int] = []
        self.keys: list[Any] = []


class GrowingIndex:
    """The index of the rows of a tail, or of a segment that is being built."""

    def __init__(self, path: str, field: IndexedField) -> None:
        self.path = path
        self.field = field
        self._kind = KINDS[field.kind]
        self._is_text = field.kind is PayloadSchemaType.Text
        self._is_nested = field.params.nested is not None
        self._reach = reach(parse(path), field.params.nested)
        self._sets = {name: GrowingArray(np.uint32) for name in SETS}
        self._lists = (GrowingArray(np.uint32), GrowingArray(np.uint32))
        self._entries = self._kind.growing(field)
        self.covered = 0

    def append(self, documents: Iterable[Document]) -> None:
        """Index the next rows, given by their payloads."""
        batch = _Rows()
        row = self.covered - 1
        for row, document in enumerate(documents, self.covered):
            groups = self._reach(document)
            if self._is_nested:
                self._take_nested(row, groups, batch)
            else:
                self._take(row, groups[0], batch)
        self._entries.extend(batch.rows, batch.keys)
        for name, rows in batch.sets.items():
            if rows:
                self._sets[name].extend(rows)
        if batch.lists[0]:
            self._lists[1].extend(batch.lists[1])
            self._lists[0].extend(batch.lists[0])
        self.covered = row + 1

    def _take(self, row: int, reached: list[Any], batch: _Rows) -> None:
        if len(reached) == 1:
            value = reached[0]
            if type(value) is list:
                self._take_list(row, value, batch)
                return
            if value is not None:
                self._enter(row, reached, batch)
                return
            batch.sets["null"].append(row)
        elif reached:
            batch.sets["complex"].append(row)
            self._enter(row, flattened(reached), batch)
            return
        batch.sets["empty"].append(row)

    def _take_list(self, row: int, elements: list[Any], batch: _Rows) -> None:
        if not elements:
            batch.sets["empty"].append(row)
            return
        batch.lists[0].append(row)
        batch.lists[1].append(len(elements))
        if None in elements:
            batch.sets["null"].append(row)
        self._enter(row, elements, batch)

    def _take_nested(self, row: int, groups: list[list[Any]], batch: _Rows) -> None:
        batch.sets["complex"].append(row)
        for reached in groups:
            self._enter(row, flattened(reached), batch)

    def _enter(self, row: int, elements: list[Any], batch: _Rows) -> None:
        key = self._kind.key
        keys = [found for element in elements if (found := key(element)) is not None]
        if len(keys) != len(elements) and len(keys) + elements.count(None) != len(elements):
            foreign = batch.sets["foreign"]
            if not foreign or foreign[-1] != row:
                foreign.append(row)
        if self._is_text:
            keys = [keys] if keys else []
        batch.rows += [row] * len(keys)
        batch.keys += keys

    def at(self, watermark: int) -> FieldIndex:
        """The index as a view of so many rows sees it."""
        covered = min(self.covered, watermark)
        sets = {name: self._sets[name].all() for name in SETS}

        def rows_in(name: str) -> Bits | None:
            rows = sets[name][: int(np.searchsorted(sets[name], covered))]
            return bits.from_offsets(watermark, rows) if len(rows) else None

        rows = self._lists[0].all()
        listed = int(np.searchsorted(rows, covered))
        lists = rows[:listed], self._lists[1].first(listed)
        entries = self._entries.cut(covered, watermark)
        return FieldIndex(self.field, watermark, covered, entries, rows_in, lists)

    def arrays(self) -> Arrays:
        """What is written to a file, once all rows are there."""
        shown = self.at(self.covered)
        arrays = dict(self._entries.arrays(self.covered))
        for name in SETS:
            rows = shown.rows_in(name)
            if rows is not None:
                arrays[f"{name}_rows"] = rows
        arrays["list_rows"], arrays["list_lengths"] = shown.lists
        return arrays


def flattened(reached: list[Any]) -> list[Any]:
    """Values, and the elements of those that are arrays in their place."""
    elements: list[Any] = []
    for value in reached:
        if type(value) is list:
            elements += value
        else:
            elements.append(value)
    return elements


# -- built


def built_index(field: IndexedField, arrays: Arrays, rows: int) -> FieldIndex:
    """The index of `GrowingIndex.arrays`, for a segment of so many rows.

    Raises ValueError, KeyError or TypeError where the arrays cannot be such an index.
    """
    for name, array in arrays.items():
        expected = _DTYPES.get(name, array.dtype)
        if array.ndim != 1 or array.dtype not in (expected, *_KEYS.get(name, ())):
            raise ValueError(f"{name} of {array.dtype} {array.shape}")
    sets = {name: arrays.get(f"{name}_rows") for name in SETS}
    for found in sets.values():
        if found is not None and len(found) != bits.words_for(rows):
            raise ValueError("a set of other rows")
    lists = arrays["list_rows"], arrays["list_lengths"]
    if len(lists[0]) != len(lists[1]) or not are_below(lists[0], rows):
        raise ValueError("lists of rows that are not there")
    entries = KINDS[field.kind].built(arrays, rows)
    return FieldIndex(field, rows, rows, entries, sets.__getitem__, lists)


_DTYPES: Final[dict[str, npt.DTypeLike]] = {
    "keys": np.dtype(np.int64),
    "blob": np.dtype(np.uint8),
    "ends": np.dtype(np.int64),
    "starts": np.dtype(np.int64),
    "offsets": np.dtype(np.uint32),
    "rows": np.dtype(np.uint32),
    "lons": np.dtype(np.float64),
    "lats": np.dtype(np.float64),
    "times": np.dtype(np.uint32),
    "lengths": np.dtype(np.uint32),
    "sequence": np.dtype(np.uint32),
    "sequence_starts": np.dtype(np.int64),
    "list_rows": np.dtype(np.uint32),
    "list_lengths": np.dtype(np.uint32),
    **{f"{name}_rows": np.dtype(np.uint64) for name in SETS},
}
_KEYS: Final = {"keys": (np.dtype(np.float64),)}
