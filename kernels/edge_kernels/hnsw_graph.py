"""HNSW graphs as plain data: what a walk needs, how it is stored, and how it is checked.

Invariants:
- A Graph never changes once it is made. Its arrays are read-only and were either built here or
  range-checked, so that a kernel may follow them without looking.
- Levels are a pure function of (offset, m, seed).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edge_kernels.encodings import MANHATTAN
from edge_kernels.hnsw_build import LEFT_OUT, check_door
from edge_kernels.hnsw_hop import MAX_ROWS
from edge_kernels.hnsw_inline import UNIT, Inline, lists_above, lists_of_level_0
from edge_kernels.jit import address_of, call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    Array = NDArray[Any]

MAX_M = 1024
MAX_LEVEL = 40
MAX_BYTES = 1 << 20  # of a code or a row beside links

HEADER = ("format", "metric", "n", "m", "m0", "ef_construct", "entry", "top_level")
FORMAT, INLINE_FORMAT = 1, 2
_PLAIN = {"header": np.int64, "levels": np.uint8, "links0": np.int32, "upper": np.int32}
_LISTS = {"lists0": np.uint8, "starts": np.uint32, "lists": np.uint8, "layout": np.int64}
_INLINE = {**_LISTS, "header": np.int64, "levels": np.uint8}
LISTS_A_BLOCK = 64


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """An HNSW graph over the rows 0..n-1 of some matrix.

    metric, n, m, m0, ef_construct: what it was built with; m0 is the capacity of a list of level 0.
    entry: the node where searches begin, -1 if the graph has no node. top_level: its level.
    levels: uint8[n]; 255 for a row that is not in the graph.
    links0: int32[n, m0]; upper: int32[sum of levels, m], the lists of levels 1.. of node 0, then
    of node 1, and so on. A list ends with -1 or with its row.
    inline: how copies of rows lie beside the links (`hnsw_inline`), or None. With it links0 is
    uint8[_], the lists of level 0 as they are laid out, and `upper` a part of longer lists.
    starts: uint32[n + 1], where the list of each node begins in links0, in units of 64 bytes; else
    None.
    ahead: what `jit.advise` takes to have lists read from a disk; 0 where they are in memory.
    """

    metric: int
    n: int
    m: int
    m0: int
    ef_construct: int
    entry: int
    top_level: int
    levels: NDArray[np.uint8]
    links0: NDArray[Any]
    upper: NDArray[np.int32]
    starts: NDArray[np.uint32] | None
    inline: Inline | None
    ahead: int
    _first: NDArray[np.int32] = field(repr=False)
    _words: tuple[int, ...] = field(repr=False)

    def arrays(self) -> dict[str, Array]:
        """All of a graph that is not inline as arrays to be stored: header int64[8], levels,
        links0, upper (not copied)."""
        return {
            "header": self._header(FORMAT),
            "levels": self.levels,
            "links0": self.links0,
            "upper": self.upper,
        }

    def arrays_beside(self, codes: Array, rows: Array) -> tuple[dict[str, Array], Blocks, Blocks]:
        """The same graph as it is stored with copies of rows beside its links: its small arrays,
        and the shapes and blocks of `lists0`, uint8[_], and `lists`, uint8[_, pitch].

        codes: uint8[n, code_bytes] of the neighbours; rows: the matrix of n rows for the nodes.
        """
        inline = Inline(codes.shape[1], rows.strides[0])
        starts = inline.starts(self.links0)
        small: dict[str, Array] = {
            "layout": np.array(inline, np.int64),
            "header": self._header(INLINE_FORMAT),
            "levels": self.levels,
            "starts": starts,
        }
        ground = _in_blocks(self.n, partial(lists_of_level_0, self.links0, starts), codes, rows)
        above = _in_blocks(len(self.upper), partial(lists_above, self.upper), codes)
        shapes = (UNIT * int(starts[-1]),), (len(self.upper), inline.pitch(self.m))
        return small, Blocks(shapes[0], ground), Blocks(shapes[1], above)

    def _header(self, kind: int) -> NDArray[np.int64]:
        numbers = [kind, self.metric, self.n, self.m, self.m0]
        numbers += [self.ef_construct, self.entry, self.top_level]
        return np.array(numbers, np.int64)

    @staticmethod
    def from_arrays(arrays: Mapping[str, Array], n: int, ahead: int = 0) -> Graph:
        """The graph of `arrays()` or `arrays_beside()` over `n` rows. Nothing is believed:
        ValueError names the first thing that is wrong. The arrays are kept, not copied, if they
        are C-contiguous. With `ahead` (see Graph) all of them are of mapped files, of which nothing
        but small arrays stays resident: a copy of one would be lost with its pages.
        """
        wanted = _INLINE if "layout" in arrays else _PLAIN
        taken = {name: _taken(arrays, name, dtype) for name, dtype in wanted.items()}
        mapped = all(values is arrays[name] for name, values in taken.items())
        require(mapped or ahead == 0, "arrays of a mapped file are not laid out for it")
        inline = _inline_of(taken["layout"]) if "layout" in taken else None
        header = _checked_header(taken["header"], n, FORMAT if inline is None else INLINE_FORMAT)
        levels = taken["levels"]
        _check_levels(levels, header)
        owners = _owners(levels)
        at_ground = np.where(levels == LEFT_OUT, LEFT_OUT, 0).astype(np.uint8)
        if inline is None:
            links0, upper, starts = taken["links0"], taken["upper"], None
            require(links0.shape == (n, header["m0"]), "links0 has the wrong shape")
            require(upper.shape == (len(owners), header["m"]), "upper has the wrong shape")
            _check_links("links0", links0, at_ground, levels, ahead)
        else:
            links0, starts = taken["lists0"], taken["starts"]
            _check_starts(starts, n, links0)
            _check_lists(links0, starts, inline, header["m0"], at_ground, levels, ahead)
            upper = _links_above(taken["lists"], inline, len(owners), header["m"])
        _check_links("upper", upper, owners, levels, ahead)
        return graph_of(header, levels, links0, upper, starts, inline, ahead)


class Blocks(NamedTuple):
    """The shape of an array, and its rows in blocks."""

    shape: tuple[int, ...]
    blocks: Iterator[Array]


def _in_blocks(lists: int, made: Callable[..., Array], *rows: Array) -> Iterator[Array]:
    """What `made(first, until, *rows)` returns for all lists, some at a time."""
    for first in range(0, lists, LISTS_A_BLOCK):
        yield made(first, min(first + LISTS_A_BLOCK, lists), *rows)


def graph_of(
    header: Mapping[str, int],
    levels: Array,
    links0: Array,
    upper: Array,
    starts: Array | None = None,
    inline: Inline | None = None,
    ahead: int = 0,
) -> Graph:
    """The graph of arrays that are known to be sound, whose values may still be filled in."""
    first = _first_lists(levels)
    for values in (levels, links0, upper, first):
        values.setflags(write=False)
    words = (
        links0.ctypes.data,
        0 if starts is None else address_of(starts),
        header["m0"],
        upper.ctypes.data,
        upper.strides[0],
        address_of(first),
        header["m"],
        header["entry"],
        header["top_level"],
    )
    known = {name: header[name] for name in HEADER if name != "format"}
    return Graph(
        **known,
        levels=levels,
        links0=links0,
        upper=upper,
        starts=starts,
        inline=inline,
        ahead=ahead,
        _first=first,
        _words=words,
    )


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


def _inline_of(values: Array) -> Inline:
    require(values.shape == (2,) and int(values.min()) > 0, "the layout is none")
    require(int(values.max()) <= MAX_BYTES, "the layout is too wide")
    return Inline(*values.tolist())


def _check_starts(starts: Array, n: int, lists0: Array) -> None:
    require(starts.shape == (n + 1,), "starts has the wrong length")
    in_order = bool((starts[1:] >= starts[:-1]).all())
    require(in_order and lists0.shape == (UNIT * int(starts[-1]),), "starts do not fit lists0")


def _links_above(lists: Array, inline: Inline, count: int, m: int) -> Array:
    """The links of lists that have more behind them: int32[count, m]."""
    require(lists.shape == (count, inline.pitch(m)), "lists has the wrong shape")
    links: Array = lists[:, : 4 * m].view(np.int32)
    return links


def _checked_header(values: Array, n: int, kind: int) -> dict[str, int]:
    require(values.shape == (len(HEADER),), "the header has the wrong length")
    header = dict(zip(HEADER, values.tolist(), strict=True))
    require(header["format"] == kind, f"unknown format {header['format']}")
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


def _check_links(name: str, links: Array, owners: Array, levels: Array, ahead: int) -> None:
    block = links.ctypes.data, *links.shape, address_of(owners), len(levels), address_of(levels)
    bad = call(check_door, *block, links.strides[0], 0, 0, 0, ahead)
    require(bad < 0, f"row {bad} of {name} has a link out of range or behind its end")


def _check_lists(
    lists0: Array,
    starts: Array,
    inline: Inline,
    m0: int,
    owners: Array,
    levels: Array,
    ahead: int,
) -> None:
    """Check lists of level 0 that have rows beside them."""
    least = inline.codes_at0(m0) // UNIT
    require(int(np.diff(starts).min(initial=least)) >= least, "lists0 has a list that is too short")
    block = address_of(lists0), len(levels), m0, address_of(owners), len(levels), address_of(levels)
    places = 0, address_of(starts), inline.codes_at0(m0), inline.code_bytes
    bad = call(check_door, *block, *places, ahead)
    require(bad < 0, f"list {bad} of lists0 has a link out of range or no room for its codes")


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
