"""Which rows have which key: as entries in the order of rows (tail), or by sorted key (built).

A key is a number or a name (bytes), all of one kind in one index; a row may have several. Both
forms answer alike; `bits` are sets of rows below the watermark.

Invariants
- Nothing here changes: growing entries are read as they were below a watermark.
- Built keys ascend strictly and each key's rows ascend, so that a range or a prefix of keys is one
  slice of rows.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from edge_kernels import bits, postings

Bits: TypeAlias = npt.NDArray[np.uint64]
Offsets: TypeAlias = npt.NDArray[np.uint32]
Counts: TypeAlias = npt.NDArray[np.int64]
Mask: TypeAlias = npt.NDArray[np.bool_]


class Bounds(NamedTuple):
    """From `low` to `high`; `above` and `below` leave the bound itself out."""

    low: float
    above: bool
    high: float
    below: bool


class Ordered(NamedTuple):
    """Rows in the order of their keys: parallel arrays."""

    rows: Offsets
    keys: npt.NDArray[Any]


class Counted(NamedTuple):
    """How many rows have each key: int64[k], and what gives the key at a place of it."""

    counts: Counts
    key: Callable[[int], Any]


class KeyedRows(Protocol):
    """What every form answers."""

    @property
    def distinct(self) -> int:
        """How many keys there are, or some more."""
        ...

    def all(self) -> Bits:
        """The rows that have any key."""
        ...

    def equal(self, keys: Iterable[Any]) -> Bits:
        """The rows that have one of the keys."""
        ...

    def count_equal(self, keys: Iterable[Any]) -> int:
        """How many entries `equal` is about: its rows, or more where a row has several keys."""
        ...

    def counts(self, allowed: Bits | None) -> Counted:
        """How many of the allowed rows (None: of all) have each key."""
        ...


class Numbers(KeyedRows, Protocol):
    """Keys are ints or floats."""

    def between(self, bounds: Bounds) -> Bits:
        """The rows that have a number within the bounds."""
        ...

    def count_between(self, bounds: Bounds) -> int:
        """How many entries `between` is about."""
        ...

    def in_order(self, bounds: Bounds, reverse: bool, allowed: Bits, want: int) -> Ordered:
        """The allowed rows by their least number within the bounds (reverse: by their greatest,
        falling), each row once: `want` of them, and those that tie with the last of these."""
        ...


class Names(KeyedRows, Protocol):
    """Keys are bytes."""

    def starting(self, prefix: bytes) -> Bits:
        """The rows that have a name which begins so."""
        ...

    def count_starting(self, prefix: bytes) -> int:
        """How many entries `starting` is about."""
        ...

    def passing(self, test: Callable[[bytes], bool]) -> Bits:
        """The rows that have a name which passes the test; it is called once for each name."""
        ...

    def of_name(self, name: bytes) -> Offsets:
        """The rows of one name, ascending."""
        ...


# -- built


class ByteKeys(Sequence[bytes]):
    """Byte strings laid one after another: key i is blob[ends[i]:ends[i + 1]]."""

    def __init__(self, blob: npt.NDArray[np.uint8], ends: Counts) -> None:
        self._blob = blob.data
        self._ends = (
            ends.data
        )  # whose elements are ints of Python, where an array's would be its own

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, place: Any) -> Any:
        return bytes(self._blob[self._ends[place] : self._ends[place + 1]])


@dataclass(frozen=True, slots=True)
class BuiltRows:
    """`keys` ascending; offsets[starts[i]:starts[i + 1]] are the rows of key i."""

    rows: int
    keys: Any
    starts: Counts
    offsets: Offsets

    @property
    def distinct(self) -> int:
        """See KeyedRows."""
        return len(self.keys)

    def all(self) -> Bits:
        """See KeyedRows."""
        return bits.from_offsets(self.rows, self.offsets)

    def equal(self, keys: Iterable[Any]) -> Bits:
        """See KeyedRows."""
        found = bits.zeros(self.rows)
        for key in keys:
            bits.set_bits(found, self.of_name(key))
        return found

    def place(self, key: Any) -> int | None:
        """Where a key stands among the keys; None where it does not."""
        place = bisect_left(self.keys, key)
        return place if place < len(self.keys) and self.keys[place] == key else None

    def of_name(self, name: Any) -> Offsets:
        """The rows of one key, ascending."""
        place = self.place(name)
        return self.offsets[:0] if place is None else self.slice(place, place + 1)

    def count_equal(self, keys: Iterable[Any]) -> int:
        """See KeyedRows."""
        return sum(len(self.of_name(key)) for key in keys)

    def counts(self, allowed: Bits | None) -> Counted:
        """See KeyedRows."""
        if allowed is None:
            return Counted(np.diff(self.starts), self.keys.__getitem__)
        counts = postings.counts(self.starts, self.offsets, allowed)
        return Counted(counts, self.keys.__getitem__)

    def slice(self, first: int, last: int) -> Offsets:
        """The rows of the keys from place `first` to before `last`."""
        return self.offsets[self.starts[first] : self.starts[max(first, last)]]


class BuiltNumbers(BuiltRows):
    """See Numbers; `keys` is int64 or float64."""

    __slots__ = ()

    def between(self, bounds: Bounds) -> Bits:
        """See Numbers."""
        return bits.from_offsets(self.rows, self.slice(*self._places(bounds)))

    def count_between(self, bounds: Bounds) -> int:
        """See Numbers."""
        return len(self.slice(*self._places(bounds)))

    def in_order(self, bounds: Bounds, reverse: bool, allowed: Bits, want: int) -> Ordered:
        """See Numbers."""
        first, last = self._places(bounds)
        places = range(last - 1, first - 1, -1) if reverse else range(first, last)
        rows, keys = postings.in_order(self.starts, self.offsets, places, allowed, want)
        return Ordered(rows, self.keys[keys])

    def _places(self, bounds: Bounds) -> tuple[int, int]:
        keys = self.keys.data  # whose elements are numbers of Python, quicker to compare
        low, above, high, below = bounds
        first = (
            0 if low == -math.inf else _placed(bisect_right if above else bisect_left, keys, low)
        )
        if high == math.inf:
            return first, len(keys)
        return first, max(first, _placed(bisect_left if below else bisect_right, keys, high))


def _placed(bisect: Callable[..., int], keys: Any, bound: float) -> int:
    """Where a bound stands; beside a float, integers are floats, as wherever values are tested."""
    return bisect(keys, bound, key=float) if type(bound) is float else bisect(keys, bound)


class BuiltNames(BuiltRows):
    """See Names; `keys` is ByteKeys."""

    __slots__ = ()

    def starting(self, prefix: bytes) -> Bits:
        """See Names."""
        return bits.from_offsets(self.rows, self.slice(*self._places(prefix)))

    def count_starting(self, prefix: bytes) -> int:
        """See Names."""
        return len(self.slice(*self._places(prefix)))

    def passing(self, test: Callable[[bytes], bool]) -> Bits:
        """See Names."""
        found = bits.zeros(self.rows)
        for place, key in enumerate(self.keys):
            if test(key):
                bits.set_bits(found, self.slice(place, place + 1))
        return found

    def _places(self, prefix: bytes) -> tuple[int, int]:
        first = bisect_left(self.keys, prefix)
        size = len(prefix)
        return first, bisect_right(self.keys, prefix, first, key=lambda key: key[:size])


class Grouped(NamedTuple):
    """Entries by key: the distinct rows of each, and how often each row had the key."""

    starts: Counts
    offsets: Offsets
    times: Counts


def grouped(rows: Offsets, places: npt.NDArray[Any], keys: int) -> Grouped:
    """Group entries (row, place of the key below `keys`), rows ascending, any repeated."""
    order = np.argsort(places, kind="stable")
    by_key, by_row = places[order], rows[order]
    new = np.ones(len(order), bool)
    new[1:] = (by_key[1:] != by_key[:-1]) | (by_row[1:] != by_row[:-1])
    firsts = np.flatnonzero(new)
    starts = np.zeros(keys + 1, np.int64)
    np.cumsum(np.bincount(by_key[firsts], minlength=keys), out=starts[1:])
    return Grouped(starts, by_row[firsts], np.diff(firsts, append=len(order)))


# -- growing


@dataclass(frozen=True, slots=True)
class NumberEntries:
    """See Numbers: parallel arrays in the order of rows, uint32 and int64 or float64."""

    watermark: int
    rows: Offsets
    values: npt.NDArray[Any]

    @property
    def distinct(self) -> int:
        """See KeyedRows."""
        return len(self.values)

    def all(self) -> Bits:
        """See KeyedRows."""
        return bits.from_offsets(self.watermark, self.rows)

    def equal(self, keys: Iterable[Any]) -> Bits:
        """See KeyedRows."""
        return self._bits(self._equal(keys))

    def count_equal(self, keys: Iterable[Any]) -> int:
        """See KeyedRows."""
        return int(self._equal(keys).sum())

    def counts(self, allowed: Bits | None) -> Counted:
        """See KeyedRows."""
        keys, places = np.unique(self.values, return_inverse=True)
        return Counted(_counted(self.rows, places, len(keys), allowed), keys.__getitem__)

    def between(self, bounds: Bounds) -> Bits:
        """See Numbers."""
        return self._bits(self._within(bounds))

    def count_between(self, bounds: Bounds) -> int:
        """See Numbers."""
        return int(self._within(bounds).sum())

    def in_order(self, bounds: Bounds, reverse: bool, allowed: Bits, want: int) -> Ordered:
        """See Numbers."""
        chosen = self._within(bounds) & has(allowed, self.rows)
        rows, values = self.rows[chosen], self.values[chosen]
        _, ranks = np.unique(values, return_inverse=True)
        order = np.lexsort((rows, -ranks if reverse else ranks))
        _, firsts = np.unique(rows[order], return_index=True)
        kept = order[np.sort(firsts)]
        if 0 < want < len(kept):
            ties = ranks[kept[want:]] == ranks[kept[want - 1]]
            kept = kept[: want + int(ties.sum())]
        return Ordered(rows[kept], values[kept])

    def _equal(self, keys: Iterable[Any]) -> Mask:
        return np.isin(self.values, np.array(list(keys), self.values.dtype))

    def _within(self, bounds: Bounds) -> Mask:
        low, above, high, below = bounds
        over: Mask = self.values > low if above else self.values >= low
        under: Mask = self.values < high if below else self.values <= high
        return over & under

    def _bits(self, chosen: Mask) -> Bits:
        return bits.from_offsets(self.watermark, self.rows[chosen])


@dataclass(frozen=True, slots=True)
class NameEntries:
    """See Names: parallel arrays in the order of rows, the name of each a place in `names`.

    `codes` gives the place of a name. Both may hold newer names, which no entry here has.
    """

    watermark: int
    rows: Offsets
    places: npt.NDArray[np.uint32]
    names: Sequence[bytes]
    codes: dict[bytes, int]

    @property
    def distinct(self) -> int:
        """See KeyedRows."""
        return len(self.names)

    def all(self) -> Bits:
        """See KeyedRows."""
        return bits.from_offsets(self.watermark, self.rows)

    def equal(self, keys: Iterable[Any]) -> Bits:
        """See KeyedRows."""
        return self._bits(self._named(keys))

    def count_equal(self, keys: Iterable[Any]) -> int:
        """See KeyedRows."""
        return int(self._named(keys).sum())

    def counts(self, allowed: Bits | None) -> Counted:
        """See KeyedRows."""
        names = self.names
        return Counted(_counted(self.rows, self.places, len(names), allowed), names.__getitem__)

    def starting(self, prefix: bytes) -> Bits:
        """See Names."""
        return self._bits(self._passing(lambda name: name.startswith(prefix)))

    def count_starting(self, prefix: bytes) -> int:
        """See Names."""
        return int(self._passing(lambda name: name.startswith(prefix)).sum())

    def passing(self, test: Callable[[bytes], bool]) -> Bits:
        """See Names."""
        return self._bits(self._passing(test))

    def of_name(self, name: bytes) -> Offsets:
        """See Names; here a row comes as often as it has the name."""
        return self.rows[self._named([name])]

    def _named(self, names: Iterable[bytes]) -> Mask:
        known = [code for name in names if (code := self.codes.get(name)) is not None]
        if len(known) == 1:
            one: Mask = self.places == np.uint32(known[0])
            return one
        return np.isin(self.places, np.array(known, np.uint32))

    def _passing(self, test: Callable[[bytes], bool]) -> Mask:
        return self._named([name for name in list(self.names) if test(name)])

    def _bits(self, chosen: Mask) -> Bits:
        return bits.from_offsets(self.watermark, self.rows[chosen])


def has(allowed: Bits, rows: Offsets) -> Mask:
    """bool[rows]: which of the rows are in the set."""
    words, shift = rows >> np.uint32(6), (rows & np.uint32(63)).astype(np.uint64)
    found: Mask = (allowed[words] >> shift) & np.uint64(1) == 1
    return found


def _counted(rows: Offsets, places: npt.NDArray[Any], keys: int, allowed: Bits | None) -> Counts:
    """int64[keys]: the allowed rows of each key, each row once for a key."""
    if allowed is not None:
        kept = has(allowed, rows)
        rows, places = rows[kept], places[kept]
    if (rows[1:] > rows[:-1]).all():
        return np.bincount(places, minlength=keys)
    pairs = (places.astype(np.uint64) << np.uint64(32)) | rows
    distinct = np.unique(pairs) >> np.uint64(32)
    counts: Counts = np.bincount(distinct.astype(np.int64), minlength=keys)
    return counts
