"""HNSW graphs as plain data: what a walk needs, how it is stored, and how it is checked.

Invariants:
- A Graph never changes once it is made. Its arrays are read-only and were either built here or
  range-checked, so that a kernel may follow them without looking.
- Levels are a pure function of (offset, m, seed).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_kernels.encodings import MANHATTAN
from edge_kernels.hnsw_build import LEFT_OUT, check_door
from edge_kernels.hnsw_search import MAX_ROWS
from edge_kernels.jit import address_of, call

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Array = NDArray[Any]

MAX_M = 1024
MAX_LEVEL = 40

HEADER = ("format", "metric", "n", "m", "m0", "ef_construct", "entry", "top_level")
FORMAT = 1
_ARRAYS = {"header": np.int64, "levels": np.uint8, "links0": np.int32, "upper": np.int32}


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """An HNSW graph over the rows 0..n-1 of some matrix.

    metric, n, m, m0, ef_construct: what it was built with; m0 is the capacity of a list of level 0.
    entry: the node where searches begin, -1 if the graph has no node. top_level: its level.
    levels: uint8[n]; 255 for a row that is not in the graph.
    links0: int32[n, m0]; upper: int32[sum of levels, m], the lists of levels 1.. of node 0, then
    of node 1, and so on. A list ends with -1 or with its row.
    """

    metric: int
    n: int
    m: int
    m0: int
    ef_construct: int
    entry: int
    top_level: int
    levels: NDArray[np.uint8]
    links0: NDArray[np.int32]
    upper: NDArray[np.int32]
    _first: NDArray[np.int32] = field(repr=False)
    _words: tuple[int, ...] = field(repr=False)

    def arrays(self) -> dict[str, Array]:
        """All of it as arrays to be stored: header int64[8], levels, links0, upper (not copied)."""
        header = [FORMAT, self.metric, self.n, self.m, self.m0]
        header += [self.ef_construct, self.entry, self.top_level]
        return {
            "header": np.array(header, np.int64),
            "levels": self.levels,
            "links0": self.links0,
            "upper": self.upper,
        }

    @staticmethod
    def from_arrays(arrays: Mapping[str, Array], n: int) -> Graph:
        """The graph of `arrays()` over `n` rows. Nothing is believed: ValueError names the first
        thing that is wrong. The arrays are kept, not copied, if they are C-contiguous.
        """
        taken = {name: _taken(arrays, name, dtype) for name, dtype in _ARRAYS.items()}
        header = _checked_header(taken["header"], n)
        levels, links0, upper = taken["levels"], taken["links0"], taken["upper"]
        _check_levels(levels, header)
        require(links0.shape == (n, header["m0"]), "links0 has the wrong shape")
        owners = _owners(levels)
        require(upper.shape == (len(owners), header["m"]), "upper has the wrong shape")
        at_ground = np.where(levels == LEFT_OUT, LEFT_OUT, 0).astype(np.uint8)
        _check_links("links0", links0, at_ground, levels)
        _check_links("upper", upper, owners, levels)
        return graph_of(header, levels, links0, upper)


def graph_of(header: Mapping[str, int], levels: Array, links0: Array, upper: Array) -> Graph:
    """The graph of arrays that are known to be sound, whose values may still be filled in."""
    first = _first_lists(levels)
    for values in (levels, links0, upper, first):
        values.setflags(write=False)
    words = (
        address_of(links0),
        header["m0"],
        address_of(upper),
        address_of(first),
        header["m"],
        header["entry"],
        header["top_level"],
    )
    known = {name: header[name] for name in HEADER if name != "format"}
    return Graph(**known, levels=levels, links0=links0, upper=upper, _first=first, _words=words)


# --- checks of what comes from disk ----------------------------------------------------------


def require(holds: bool, complaint: str) -> None:
    """ValueError unless it holds."""
    if not holds:
        raise ValueError(f"HNSW graph: {complaint}")


def _taken(arrays: Mapping[str, Array], name: str, dtype: Any) -> Array:
    require(name in arrays, f"{name} is missing")
    values = arrays[name]
    require(values.dtype == dtype, f"{name} is {values.dtype}, not {np.dtype(dtype)}")
    taken = np.ascontiguousarray(values)
    return taken if taken.flags.aligned else taken.copy()


def _checked_header(values: Array, n: int) -> dict[str, int]:
    require(values.shape == (len(HEADER),), "the header has the wrong length")
    header = dict(zip(HEADER, values.tolist(), strict=True))
    require(header["format"] == FORMAT, f"unknown format {header['format']}")
    require(header["n"] == n, f"it is over {header['n']} rows, not {n}")
    require(0 <= n <= MAX_ROWS, "too many rows")
    require(0 <= header["metric"] <= MANHATTAN, f"unknown metric {header['metric']}")
    require(2 <= header["m"] <= MAX_M, f"m is {header['m']}")
    require(header["m"] <= header["m0"] <= 2 * MAX_M, f"m0 is {header['m0']}")
    require(header["ef_construct"] >= 1, f"ef_construct is {header['ef_construct']}")
    return header


def _check_levels(levels: Array, header: Mapping[str, int]) -> None:
    n, entry, top = header["n"], header["entry"], header["top_level"]
    require(levels.shape == (n,), "levels has the wrong length")
    used = levels[levels != LEFT_OUT]
    if not len(used):
        require(entry == -1 and top == 0, "it has an entry point but no node")
        return
    require(int(used.max()) <= MAX_LEVEL, f"a level is above {MAX_LEVEL}")
    require(0 <= entry < n, f"the entry point {entry} is out of range")
    require(int(levels[entry]) == top == int(used.max()), "the entry point is not at the top")


def _check_links(name: str, links: Array, owners: Array, levels: Array) -> None:
    block = (address_of(links), len(links), links.shape[1], address_of(owners), len(levels))
    bad = call(check_door, *block, address_of(levels))
    require(bad < 0, f"row {bad} of {name} has a link out of range or behind its end")


# --- levels ----------------------------------------------------------------------------------


def lists_of(levels: Array) -> Array:
    """How many lists above level 0 each node has."""
    lists: Array = np.where(levels == LEFT_OUT, 0, levels).astype(np.int64)
    return lists


def _first_lists(levels: Array) -> Array:
    """int32[n]: the row in `upper` of each node's list of level 1."""
    lists = lists_of(levels)
    first: Array = (np.cumsum(lists) - lists).astype(np.int32)
    return first


def _owners(levels: Array) -> Array:
    """uint8[_]: the level that each row of `upper` belongs to."""
    lists = lists_of(levels)
    before = np.repeat(np.cumsum(lists) - lists, lists)
    owners: Array = (np.arange(1, len(before) + 1) - before).astype(np.uint8)
    return owners


def draw_levels(n: int, m: int, seed: int) -> Array:
    """Levels with P(level >= l) = m^-l, a pure function of (offset, m, seed)."""
    uniform = (_mixed(np.arange(n, dtype=np.uint64), seed) >> np.uint64(11)) * 2.0**-53
    drawn = -np.log(1.0 - uniform) / math.log(m)
    levels: Array = np.minimum(drawn, MAX_LEVEL).astype(np.uint8)
    return levels


def _mixed(counter: Array, seed: int) -> Array:
    """SplitMix64 (Steele, Lea, Flood 2014): 64 well mixed bits for each counter."""
    golden = 0x9E3779B97F4A7C15
    start = np.uint64((seed * golden) % 2**64)
    z = (counter + np.uint64(1)) * np.uint64(golden) + start
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
