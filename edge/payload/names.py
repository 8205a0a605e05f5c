"""Names of rows: how they grow, and how they are laid out by sorted name.

Invariant: a name keeps its place, so that what was given out of a growing index stays as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edge.payload.growing import GrowingArray
from edge.payload.keyed_rows import (
    BuiltNames,
    ByteKeys,
    NameEntries,
    grouped,
)
from edge_kernels import names as kernels

NAMES_A_PIECE = 4096

Arrays: TypeAlias = dict[str, npt.NDArray[Any]]


class Codes(dict[bytes, int]):
    """The place of each name in `names`; a name that is new gets the next."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[bytes] = []

    def __missing__(self, name: bytes) -> int:
        place = len(self.names)
        self.names.append(name)
        self[name] = place
        return place


class GrowingNames:
    """Names of rows, in the order of rows."""

    def __init__(self) -> None:
        self._rows = GrowingArray(np.uint32)
        self._places = GrowingArray(np.uint32)
        self._codes = Codes()

    def extend(self, rows: list[int], keys: list[bytes]) -> None:
        """See Growing."""
        self._places.extend([self._codes[key] for key in keys])
        self._rows.extend(rows)

    def cut(self, covered: int, watermark: int) -> NameEntries:
        """See Growing."""
        rows = self._rows.all()
        count = int(np.searchsorted(rows, covered))
        places = self._places.first(count)
        return NameEntries(watermark, rows[:count], places, self._codes.names, self._codes)

    def arrays(self, rows: int) -> Arrays:
        """See Growing."""
        found = self.cut(rows, rows)
        return name_arrays(found.rows, found.places, found.names)[0]


def name_arrays(
    rows: npt.NDArray[np.uint32], places: npt.NDArray[np.uint32], names: Sequence[bytes]
) -> tuple[Arrays, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(arrays by sorted name, the new place of each old one, how often each offset has its name)"""
    order = kernels.order(*_laid(names))
    rank = np.empty(len(names), np.int64)
    rank[order] = np.arange(len(names))
    by_key = grouped(rows, rank[places], len(names))
    blob, ends = _laid([names[place] for place in order.tolist()])
    arrays: Arrays = {
        "blob": blob,
        "ends": ends,
        "starts": by_key.starts,
        "offsets": by_key.offsets,
    }
    return arrays, rank, by_key.times


def _laid(names: Sequence[bytes]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """(blob, ends) of names one after another; in pieces, as joining holds the GIL."""
    ends = np.zeros(len(names) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, names), np.int64, len(names)), out=ends[1:])
    blob = np.empty(int(ends[-1]), np.uint8)
    for first in range(0, len(names), NAMES_A_PIECE):
        piece = np.frombuffer(b"".join(names[first : first + NAMES_A_PIECE]), np.uint8)
        blob[ends[first] : ends[first] + len(piece)] = piece
    return blob, ends


def built_names(arrays: Arrays, rows: int) -> BuiltNames:
    """The names of `name_arrays`."""
    blob, ends = arrays["blob"], arrays["ends"]
    if not len(ends) or ends[0] or (ends[1:] < ends[:-1]).any() or ends[-1] != len(blob):
        raise ValueError("names out of place")
    check_postings(arrays, len(ends) - 1, rows)
    return BuiltNames(rows, ByteKeys(blob, ends), arrays["starts"], arrays["offsets"])


def check_postings(arrays: Arrays, keys: int, rows: int) -> None:
    """Raise ValueError where a kernel could be led out of the arrays."""
    starts, offsets = arrays["starts"], arrays["offsets"]
    if len(starts) != keys + 1 or starts[0] or (starts[1:] < starts[:-1]).any():
        raise ValueError("postings out of order")
    if starts[-1] != len(offsets) or not are_below(offsets, rows):
        raise ValueError("postings of rows that are not there")


def are_below(offsets: npt.NDArray[Any], rows: int) -> bool:
    """Whether every offset is that of one of so many rows."""
    return not len(offsets) or int(offsets.max()) < rows
