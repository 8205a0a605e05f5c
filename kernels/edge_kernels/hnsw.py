"""HNSW graphs as plain data, with a builder that works in slices and a search.

Invariants:
- A Graph never changes once it is made. Its arrays are read-only and were either built here or
  range-checked, so that a kernel may follow them without looking.
- Rows are not part of a graph: whoever searches passes the matrix it was built on, whose rows
  0..n-1 must hold what they held then.
- Scratch memory belongs to a thread and is reused; a search allocates only its two results.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_kernels.distance import MANHATTAN
from edge_kernels.hnsw_build import LEFT_OUT, build_door, check_door
from edge_kernels.hnsw_search import MAX_ROWS, search_door
from edge_kernels.jit import address_of, call

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Array = NDArray[Any]

MAX_M = 1024
MAX_LEVEL = 40

_F32, _U64 = np.dtype(np.float32), np.dtype(np.uint64)
_HEADER = ("format", "metric", "n", "m", "m0", "ef_construct", "entry", "top_level")
_FORMAT = 1
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
        header = [_FORMAT, self.metric, self.n, self.m, self.m0]
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
        _require(links0.shape == (n, header["m0"]), "links0 has the wrong shape")
        owners = _owners(levels)
        _require(upper.shape == (len(owners), header["m"]), "upper has the wrong shape")
        at_ground = np.where(levels == LEFT_OUT, LEFT_OUT, 0).astype(np.uint8)
        _check_links("links0", links0, at_ground, levels)
        _check_links("upper", upper, owners, levels)
        return _graph(header, levels, links0, upper)


def _graph(header: Mapping[str, int], levels: Array, links0: Array, upper: Array) -> Graph:
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
    known = {name: header[name] for name in _HEADER if name != "format"}
    return Graph(**known, levels=levels, links0=links0, upper=upper, _first=first, _words=words)


# --- checks of what comes from disk ----------------------------------------------------------


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise ValueError(f"HNSW graph: {complaint}")


def _taken(arrays: Mapping[str, Array], name: str, dtype: Any) -> Array:
    _require(name in arrays, f"{name} is missing")
    values = arrays[name]
    _require(values.dtype == dtype, f"{name} is {values.dtype}, not {np.dtype(dtype)}")
    taken = np.ascontiguousarray(values)
    return taken if taken.flags.aligned else taken.copy()


def _checked_header(values: Array, n: int) -> dict[str, int]:
    _require(values.shape == (len(_HEADER),), "the header has the wrong length")
    header = dict(zip(_HEADER, values.tolist(), strict=True))
    _require(header["format"] == _FORMAT, f"unknown format {header['format']}")
    _require(header["n"] == n, f"it is over {header['n']} rows, not {n}")
    _require(0 <= n <= MAX_ROWS, "too many rows")
    _require(0 <= header["metric"] <= MANHATTAN, f"unknown metric {header['metric']}")
    _require(2 <= header["m"] <= MAX_M, f"m is {header['m']}")
    _require(header["m"] <= header["m0"] <= 2 * MAX_M, f"m0 is {header['m0']}")
    _require(header["ef_construct"] >= 1, f"ef_construct is {header['ef_construct']}")
    return header


def _check_levels(levels: Array, header: Mapping[str, int]) -> None:
    n, entry, top = header["n"], header["entry"], header["top_level"]
    _require(levels.shape == (n,), "levels has the wrong length")
    used = levels[levels != LEFT_OUT]
    if not len(used):
        _require(entry == -1 and top == 0, "it has an entry point but no node")
        return
    _require(int(used.max()) <= MAX_LEVEL, f"a level is above {MAX_LEVEL}")
    _require(0 <= entry < n, f"the entry point {entry} is out of range")
    _require(int(levels[entry]) == top == int(used.max()), "the entry point is not at the top")


def _check_links(name: str, links: Array, owners: Array, levels: Array) -> None:
    block = (address_of(links), len(links), links.shape[1], address_of(owners), len(levels))
    bad = call(check_door, *block, address_of(levels))
    _require(bad < 0, f"row {bad} of {name} has a link out of range or behind its end")


# --- levels ----------------------------------------------------------------------------------


def _lists_of(levels: Array) -> Array:
    """How many lists above level 0 each node has."""
    lists: Array = np.where(levels == LEFT_OUT, 0, levels).astype(np.int64)
    return lists


def _first_lists(levels: Array) -> Array:
    """int32[n]: the row in `upper` of each node's list of level 1."""
    lists = _lists_of(levels)
    first: Array = (np.cumsum(lists) - lists).astype(np.int32)
    return first


def _owners(levels: Array) -> Array:
    """uint8[_]: the level that each row of `upper` belongs to."""
    lists = _lists_of(levels)
    before = np.repeat(np.cumsum(lists) - lists, lists)
    owners: Array = (np.arange(1, len(before) + 1) - before).astype(np.uint8)
    return owners


def _draw_levels(n: int, m: int, seed: int) -> Array:
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


# --- scratch ---------------------------------------------------------------------------------


def _line_aligned(shape: tuple[int, ...], dtype: Any, fill: int) -> Array:
    """An array whose data begin on a 128-byte boundary, so that a list of 32 links is two lines."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.empty(size + 128, np.uint8)
    begin = -address_of(raw) % 128
    values: Array = raw[begin : begin + size].view(dtype).reshape(shape)
    values.fill(fill)
    return values


class _Scratch:
    """Working memory of walks: `words` are the arguments VISITED.. EF."""

    __slots__ = ("arrays", "ef", "m0", "n", "words")

    def __init__(self, n: int, m0: int, ef: int) -> None:
        visited, epoch = np.zeros(max(n, 1), np.uint16), np.zeros(1, np.int64)
        fresh, distances = np.empty(m0, np.int32), np.empty(max(m0, 4), np.float32)
        pool = np.empty(ef, np.int64)
        self.n, self.m0, self.ef = n, m0, ef
        self.arrays = (visited, epoch, fresh, distances, pool)
        others = (address_of(values) for values in (epoch, fresh, distances, pool))
        self.words = (address_of(visited), visited.nbytes, *others)


class _Searcher(threading.local):
    """What a searching thread keeps between searches; it only grows."""

    def __init__(self) -> None:
        self.scratch = _Scratch(0, 1, 1)
        self.heap = np.empty(1, np.int64)
        self.offsets = np.empty(1, np.uint32)
        self.distances = np.empty(1, np.float32)
        self.outputs = (address_of(self.offsets), address_of(self.distances))

    def prepare(self, n: int, m0: int, ef: int) -> None:
        held = self.scratch
        if n > held.n or m0 > held.m0 or ef > held.ef:
            self.scratch = _Scratch(max(n, held.n), max(m0, held.m0), max(ef, held.ef))
            self.offsets = np.empty(self.scratch.ef, np.uint32)
            self.distances = np.empty(self.scratch.ef, np.float32)
            self.outputs = (address_of(self.offsets), address_of(self.distances))

    def heap_address(self, n: int) -> int:
        if n > len(self.heap):
            self.heap = np.empty(n, np.int64)
        return address_of(self.heap)


_searcher = _Searcher()


# --- building --------------------------------------------------------------------------------


class Builder:
    """Builds the graph of the rows 0..n-1 of `rows` in slices, on one thread.

    metric: a code of `edge_kernels.distance`. rows: float32[>=n, stride], C-contiguous; they must
    not change until the graph is done. m >= 2 links a node (2m on level 0), ef_construct >= 1
    candidates an insertion. deleted: bitset uint64 whose rows are left out, or None.
    The same rows, arguments and seed give the same graph. ValueError for arguments out of range.
    """

    def __init__(
        self,
        metric: int,
        rows: NDArray[np.float32],
        n: int,
        m: int,
        ef_construct: int,
        deleted: NDArray[np.uint64] | None = None,
        seed: int = 0,
    ) -> None:
        _require(2 <= m <= MAX_M, f"m is {m}, not 2..{MAX_M}")
        _require(ef_construct >= 1, f"ef_construct is {ef_construct}")
        _require(0 <= n <= min(len(rows), MAX_ROWS), f"n is {n} of {len(rows)} rows")
        _require(0 <= metric <= MANHATTAN, f"unknown metric {metric}")
        _check_rows(rows)
        self.n, self.done = n, 0
        self._rows = rows
        self._levels = _draw_levels(n, m, seed)
        if deleted is not None:
            self._levels[_bits(deleted, n)] = LEFT_OUT
        self._header = self._drawn_header(metric, m, ef_construct)
        self._allocate()

    def _drawn_header(self, metric: int, m: int, ef_construct: int) -> dict[str, int]:
        ranked = np.where(self._levels == LEFT_OUT, -1, self._levels.astype(np.int16))
        entry = int(ranked.argmax()) if self.n and ranked.max() >= 0 else -1
        top = int(ranked[entry]) if entry >= 0 else 0
        values = (_FORMAT, metric, self.n, m, 2 * m, ef_construct, entry, top)
        return dict(zip(_HEADER, values, strict=True))

    def _allocate(self) -> None:
        header, n = self._header, self.n
        m, m0, lists = header["m"], header["m0"], int(_lists_of(self._levels).sum())
        self._links0 = _line_aligned((n, m0), np.int32, -1)
        self._upper = _line_aligned((lists, m), np.int32, -1)
        self._graph = _graph(header, self._levels, self._links0, self._upper)
        kept0, kept_upper = np.empty((n, m0), np.float32), np.empty((lists, m), np.float32)
        merged = np.empty(m0 + 1, np.int64)
        scratch = _Scratch(n, m0, header["ef_construct"])
        self._held = (kept0, kept_upper, merged, scratch)
        self._words = (
            *_walk_words(self._graph, self._rows, scratch, header["ef_construct"]),
            address_of(self._levels),
            address_of(kept0),
            address_of(kept_upper),
            address_of(merged),
        )

    def step(self, nodes: int) -> int:
        """Insert the next `nodes` rows (>= 1) in one kernel call without the GIL.

        Returns how many rows are done; the graph is finished when that is n. A node takes about
        0.2 ms at 384 dimensions, m = 16, ef_construct = 100.
        """
        _require(nodes >= 1, f"a step of {nodes} nodes")
        until: int = min(self.n, self.done + nodes)
        if self._graph.entry >= 0:
            call(build_door, *self._words, self.done, until)
        self.done = until
        return until

    def graph(self) -> Graph:
        """The finished graph. ValueError before all rows are done."""
        _require(self.done == self.n, f"only {self.done} of {self.n} rows are done")
        return self._graph


def _check_rows(rows: Array) -> None:
    fits = rows.dtype == np.float32 and rows.ndim == 2 and rows.flags.c_contiguous
    if not fits or rows.shape[1] % 16 or not rows.shape[1]:
        raise ValueError("rows must be C-contiguous float32[n, a multiple of 16]")


def _bits(bitset: Array, n: int) -> NDArray[np.bool_]:
    """The first `n` bits as bools."""
    if bitset.dtype != np.uint64 or len(bitset) * 64 < n:
        raise ValueError(f"a bitset of {n} bits must be uint64[{-(-n // 64)}] or longer")
    octets = np.ascontiguousarray(bitset).astype("<u8", copy=False).view(np.uint8)
    return np.unpackbits(octets, count=n, bitorder="little").astype(np.bool_)


def _walk_words(graph: Graph, rows: Array, scratch: _Scratch, ef: int) -> tuple[int, ...]:
    """The argument words METRIC..EF, in their order."""
    size = rows.shape[1] * 4
    return (graph.metric, address_of(rows), size, *graph._words, *scratch.words, ef)


# --- searching -------------------------------------------------------------------------------


def search(
    graph: Graph,
    rows: NDArray[np.float32],
    query: NDArray[np.float32],
    ef: int,
    k: int,
    allowed: NDArray[np.uint64] | None,
    ids: NDArray[np.uint64] | None,
    limit_hops: int = 0,
) -> tuple[NDArray[np.uint32], NDArray[np.float32], bool]:
    """The approximately nearest `k` nodes to `query`, in one kernel call without the GIL.

    rows: the matrix of the graph, float32[>=n, stride]. query: float32[stride], zero padded.
    ef: candidates kept, raised to k where it is smaller. allowed: bitset uint64 over the rows, or
    None for all; the walk goes through every node, and `ef` allowed ones are kept.
    ids: uint64[>=n, 3], which decides ties; None lets the smaller offset win.
    limit_hops: the walk of level 0 stops after so many hops with the best so far; 0 is no limit.

    Returns (offsets uint32[<=k], distances float32[<=k], complete), sorted by (distance, id);
    complete is False if and only if limit_hops cut the walk short. ValueError for arrays that do
    not fit the graph.
    """
    if k < 1 or graph.entry < 0:
        return np.empty(0, np.uint32), np.empty(0, np.float32), True
    n = graph.n
    _check_search(n, rows, query, allowed, ids)
    ef = min(max(ef, k), n)
    here = _searcher
    here.prepare(n, graph.m0, ef)
    outcome = call(
        search_door,
        *_walk_words(graph, rows, here.scratch, ef),
        address_of(query),
        0 if allowed is None else address_of(allowed),
        0 if allowed is None else here.heap_address(n),
        limit_hops,
        0 if ids is None else address_of(ids),
        min(k, n),
        *here.outputs,
    )
    found = outcome & 0xFFFFFFFF
    return here.offsets[:found].copy(), here.distances[:found].copy(), outcome == found


def _check_search(
    n: int, rows: Array, query: Array, allowed: Array | None, ids: Array | None
) -> None:
    if len(rows) < n or not _is_plain(rows, _F32):
        raise ValueError(f"rows must be C-contiguous float32 with at least {n} rows")
    if query.shape != rows.shape[1:] or not _is_plain(query, _F32):
        raise ValueError(f"query must be C-contiguous float32 of shape {rows.shape[1:]}")
    if allowed is not None and (len(allowed) * 64 < n or not _is_plain(allowed, _U64)):
        raise ValueError(f"allowed must be uint64 with at least {n} bits")
    if ids is not None and (ids.shape[1:] != (3,) or len(ids) < n or not _is_plain(ids, _U64)):
        raise ValueError(f"ids must be C-contiguous uint64 of shape [{n} or more, 3]")


def _is_plain(values: Array, dtype: np.dtype[Any]) -> bool:
    return values.dtype == dtype and values.flags.c_contiguous
