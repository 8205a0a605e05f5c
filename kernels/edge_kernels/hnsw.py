"""HNSW graphs: a builder that works in slices, and a search.

Invariants:
- Rows are not part of a graph: whoever searches passes a matrix whose rows 0..n-1 stand for the
  vectors that it was built on, in the same encoding or in a shorter one.
- Scratch memory belongs to a thread and is reused; a search allocates only its two results.
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edge_kernels.distance import measure_of
from edge_kernels.encodings import (
    can_be_query,
    check_query,
    check_rows,
    is_multi,
    metric_of_code,
    scratch_bytes,
)
from edge_kernels.hnsw_build import LEFT_OUT, build_door, reconnect_door
from edge_kernels.hnsw_graph import (
    FORMAT,
    HEADER,
    MAX_LEVEL,
    MAX_M,
    Graph,
    draw_levels,
    graph_of,
    lists_of,
    require,
)
from edge_kernels.hnsw_hop import MAX_ROWS, room_of
from edge_kernels.hnsw_inline import Inline
from edge_kernels.hnsw_search import search_door
from edge_kernels.jit import address_of, address_of_any, call

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["MAX_LEVEL", "MAX_M", "MAX_THREADS", "Builder", "Final", "Graph", "search"]

MAX_THREADS = 64

_U64, _U32 = np.dtype(np.uint64), np.dtype(np.uint32)
_IN_MEMORY = (0,) * 7
"""The arguments BESIDE0..MEMBERS of a walk that compares the rows themselves."""


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
    """Working memory of walks: `words` are the arguments VISITED..POOL."""

    __slots__ = ("arrays", "ef", "m0", "n", "words")

    def __init__(self, n: int, m0: int, ef: int) -> None:
        visited, epoch = np.zeros(max(n, 1), np.uint16), np.zeros(1, np.int64)
        fresh, places = np.empty(room_of(m0), np.int32), np.empty(room_of(m0), np.int32)
        distances, pool = np.empty(room_of(m0), np.float32), np.empty(ef, np.int64)
        self.n, self.m0, self.ef = n, m0, ef
        self.arrays = (visited, epoch, fresh, places, distances, pool)
        others = (address_of(values) for values in self.arrays[1:])
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
    """Builds the graph of the rows 0..n-1 of `rows` in slices, on one thread or several.

    code: what distances are of (`encodings`); any encoding but SLICED and PRODUCT. rows: a matrix
    of that encoding with n rows or more; they, and the vectors behind the descriptors of a MULTI
    matrix, must not change until the graph is done. m >= 2 links a node (2m on level 0),
    ef_construct >= 1 candidates an insertion. deleted: bitset uint64 whose rows are left out, or
    None; nothing is read of them. threads: how many may call `step` at the same time.
    With one thread the same rows, arguments and seed give the same graph; with more, links depend
    on who comes first. ValueError for arguments out of range.
    """

    def __init__(
        self,
        code: int,
        rows: Array,
        n: int,
        m: int,
        ef_construct: int,
        deleted: NDArray[np.uint64] | None = None,
        seed: int = 0,
        threads: int = 1,
    ) -> None:
        size = check_rows(code, rows)
        require(can_be_query(code), f"rows of code {code} are no queries")
        require(2 <= m <= MAX_M, f"m is {m}, not 2..{MAX_M}")
        require(ef_construct >= 1, f"ef_construct is {ef_construct}")
        require(0 <= n <= min(len(rows), MAX_ROWS), f"n is {n} of {len(rows)} rows")
        require(1 <= threads <= MAX_THREADS, f"{threads} threads, not 1..{MAX_THREADS}")
        self.n, self.done = n, 0
        self._taken = self._inserted = 0
        self._rows = rows
        self._lock = threading.Lock()
        self._levels = draw_levels(n, m, seed)
        if deleted is not None:
            self._levels[_bits(deleted, n)] = LEFT_OUT
        self._header = self._drawn_header(metric_of_code(code), m, ef_construct)
        self._allocate()
        self._lanes = self._made_lanes(code, size, threads)

    def _drawn_header(self, metric: int, m: int, ef_construct: int) -> dict[str, int]:
        ranked = np.where(self._levels == LEFT_OUT, -1, self._levels.astype(np.int16))
        entry = int(ranked.argmax()) if self.n and ranked.max() >= 0 else -1
        top = int(ranked[entry]) if entry >= 0 else 0
        values = (FORMAT, metric, self.n, m, 2 * m, ef_construct, entry, top)
        return dict(zip(HEADER, values, strict=True))

    def _allocate(self) -> None:
        """The graph, and what all threads share while it is built."""
        header, n = self._header, self.n
        m, m0, lists = header["m"], header["m0"], int(lists_of(self._levels).sum())
        self._links0 = _line_aligned((n, m0), np.int32, -1)
        self._upper = _line_aligned((lists, m), np.int32, -1)
        self._graph = graph_of(header, self._levels, self._links0, self._upper)
        locks = np.zeros(max(n, 1), np.uint8)
        kept0, kept_upper = np.empty((n, m0), np.float32), np.empty((lists, m), np.float32)
        self._shared = (self._levels, locks, kept0, kept_upper)

    def _made_lanes(self, code: int, size: int, threads: int) -> list[_Lane]:
        of_row = self._query_words(code, size)
        rows = address_of_any(self._rows)
        walked = (measure_of(code), rows, size, *self._graph._words, *_IN_MEMORY)
        shared = tuple(address_of(values) for values in self._shared)
        return [_Lane(self._header, walked, shared, of_row) for _ in range(threads)]

    def _query_words(self, code: int, size: int) -> int:
        """Words of 8 bytes that the query form of a row takes."""
        most = 1
        if is_multi(code):
            used = self._rows.view(np.int64)[: self.n][self._levels != LEFT_OUT]
            most, size = int(used[:, 1].max(initial=1)), int(used[:, 2].max(initial=0))
            require(int(used[:, 1].min(initial=1)) >= 1, "a row has no vectors")
        return -(-scratch_bytes(code, size, most) // 8)

    def step(self, nodes: int, lane: int = 0) -> int:
        """Insert the next `nodes` rows (>= 1) in one kernel call without the GIL.

        Returns how many rows have been handed out: where that is n, there is nothing left to do for
        this thread. The graph is finished when every thread has returned from its last step. Each
        thread has a `lane` of its own, 0 <= lane < threads. A node takes about 0.2 ms at 384
        dimensions, m = 16, ef_construct = 100.
        """
        require(nodes >= 1, f"a step of {nodes} nodes")
        require(0 <= lane < len(self._lanes), f"lane {lane} of {len(self._lanes)} threads")
        with self._lock:
            first = self._taken
            until = self._taken = min(self.n, first + nodes)
        if self._graph.entry >= 0 and first < until:
            call(build_door, *self._lanes[lane].words, first, until)
        with self._lock:
            self._inserted += until - first
            is_last = first < until and self._inserted == self.n
        if is_last and len(self._lanes) > 1:
            self._reconnect()
        with self._lock:
            self.done += until - first
        return until

    def _reconnect(self) -> None:
        if self._graph.entry < 0:
            return
        reached, queue = np.zeros(self.n, np.uint8), np.empty(self.n, np.int32)
        words = self._lanes[0].words
        call(reconnect_door, *words, 0, self.n, address_of(reached), address_of(queue))

    def graph(self) -> Graph:
        """The finished graph. ValueError before all rows are done."""
        require(self.done == self.n, f"only {self.done} of {self.n} rows are done")
        return self._graph


class _Lane:
    """What one building thread works with; `words` are the arguments MEASURE..OTHER."""

    __slots__ = ("arrays", "words")

    def __init__(
        self,
        header: Mapping[str, int],
        walked: tuple[int, ...],
        shared: tuple[int, ...],
        of_row: int,
    ) -> None:
        m, m0, ef = header["m"], header["m0"], header["ef_construct"]
        scratch = _Scratch(header["n"], m0, ef)
        merged, chosen = np.empty(m0 + 1, np.int64), np.empty(2 * m, np.int32)
        query, other = np.empty(of_row, np.int64), np.empty(of_row, np.int64)
        self.arrays = (scratch, merged, chosen, query, other)
        own = (address_of(values) for values in (merged, chosen, query, other))
        self.words = (*walked, *scratch.words, ef, *shared, *own)


def _bits(bitset: Array, n: int) -> NDArray[np.bool_]:
    """The first `n` bits as bools."""
    if bitset.dtype != np.uint64 or len(bitset) * 64 < n:
        raise ValueError(f"a bitset of {n} bits must be uint64[{-(-n // 64)}] or longer")
    octets = np.ascontiguousarray(bitset).astype("<u8", copy=False).view(np.uint8)
    return np.unpackbits(octets, count=n, bitorder="little").astype(np.bool_)


# --- searching -------------------------------------------------------------------------------


class Final(NamedTuple):
    """What the candidates of a walk are ranked by in the end: the best `candidates` of them, by
    other rows for the same nodes. `ahead` is what `jit.advise` takes to have these rows read from a
    disk, all at once; 0 where they are in memory."""

    code: int
    rows: Array
    query: Array
    candidates: int
    ahead: int = 0


def search(
    graph: Graph,
    code: int,
    rows: Array,
    query: Array,
    ef: int,
    k: int,
    allowed: NDArray[np.uint64] | None,
    ids: NDArray[np.uint64] | None,
    limit_hops: int = 0,
    acorn: bool = False,
    final: Final | None = None,
    beside: bool = False,
    members: NDArray[np.uint32] | None = None,
    ahead: int = 0,
) -> tuple[NDArray[np.uint32], NDArray[np.float32], bool]:
    """The approximately nearest `k` rows to `query`, in one kernel call without the GIL.

    code: what distances are of (`encodings`): its metric is the graph's, its encoding that of the
    rows. rows: a matrix with n rows or more for the nodes of the graph. query: its query form.
    ef: candidates kept, raised to k where it is smaller. allowed: bitset uint64 over the rows, or
    None for all; the walk goes through every node, and `ef` allowed ones are kept. With `acorn`
    only allowed nodes are measured, and the walk steps over single ones that are not: faster where
    fewer than two fifths are allowed, and worse the fewer they are; below a twentieth it may miss
    a tenth of the nearest.
    ids: uint64[>=n, 3], which decides ties; None lets the smaller offset win.
    limit_hops: the walk of level 0 stops after so many hops with the best so far; 0 is no limit.
    final: ranks the candidates anew, and gives the distances; `ef` is raised to how many it takes.
    beside: the rows, and those of `final`, are those that an inline graph has copies of, and these
    are read. members: uint32[n] ascending, the rows that the nodes stand for; None: row i for node
    i. `allowed`, `ids` and what is found are of rows. ahead: what `jit.advise` takes to have rows
    read from a disk, those of one hop at once; 0 where they are in memory.

    Returns (offsets uint32[<=k], distances float32[<=k], complete), sorted by (distance, id);
    complete is False if and only if limit_hops cut the walk short. ValueError for arrays that do
    not fit the graph.
    """
    if k < 1 or graph.entry < 0:
        return np.empty(0, np.uint32), np.empty(0, np.float32), True
    n = graph.n
    count = n if members is None else _rows_of_members(n, members)
    size = _check_search(count, code, rows, query, allowed, ids)
    inline = _inline_of(graph, size, final) if beside else None
    ranked = _NOT_RANKED if final is None else _final_words(graph, count, final, k, inline)
    ef = min(max(ef, k, ranked[-1]), n)
    here = _searcher
    here.prepare(n, graph.m0, ef)
    outcome = call(
        search_door,
        measure_of(code),
        address_of_any(rows),
        size,
        *graph._words,
        *_reading_words(graph, inline, members, ahead),
        *here.scratch.words,
        ef,
        address_of_any(query),
        0 if allowed is None else address_of(allowed),
        0 if allowed is None else here.heap_address(n),
        limit_hops,
        0 if ids is None else address_of(ids),
        min(k, n),
        *here.outputs,
        acorn,
        *ranked,
    )
    found = outcome & 0xFFFFFFFF
    return here.offsets[:found].copy(), here.distances[:found].copy(), outcome == found


def _reading_words(
    graph: Graph, inline: Inline | None, members: NDArray[np.uint32] | None, ahead: int
) -> tuple[int, ...]:
    """The arguments BESIDE0..MEMBERS."""
    some = 0 if members is None else address_of(members)
    if inline is None:
        return 0, 0, graph.ahead, ahead, 0, 0, some
    return inline.codes_at0(graph.m0), inline.codes_at(graph.m), graph.ahead, 0, 0, 0, some


_NOT_RANKED = (0,) * 7


def _final_words(
    graph: Graph, count: int, final: Final, k: int, inline: Inline | None
) -> tuple[int, ...]:
    """The arguments FINAL_MEASURE..CANDIDATES. ValueError if something does not fit."""
    code, rows, query, candidates, ahead = final
    size = check_rows(code, rows)
    if len(rows) < count:
        raise ValueError(f"final rows must be at least {count}")
    check_query(code, query, size)
    beside = 0
    if inline is not None:  # a walk has read the lists of all that it found
        beside, ahead = inline.row_at(graph.m0), 0
    where = address_of_any(rows), size, beside, ahead
    return measure_of(code), *where, address_of_any(query), min(max(candidates, k), graph.n)


def _inline_of(graph: Graph, size: int, final: Final | None) -> Inline:
    """How rows of `size` bytes lie in the lists of a graph. ValueError if they do not."""
    inline = graph.inline
    if inline is None or inline.code_bytes != size:
        raise ValueError(f"the graph has no rows of {size} bytes beside its links")
    if final is not None and inline.row_bytes != final.rows.strides[0]:
        raise ValueError(f"the graph has no final rows of {final.rows.strides[0]} bytes")
    return inline


def _rows_of_members(n: int, members: NDArray[np.uint32]) -> int:
    """How many rows there must be."""
    if members.shape != (n,) or not _is_plain(members, _U32):
        raise ValueError(f"members must be C-contiguous uint32 of shape [{n}]")
    return int(members[-1]) + 1


def _check_search(
    n: int, code: int, rows: Array, query: Array, allowed: Array | None, ids: Array | None
) -> int:
    """Bytes of a row. ValueError if something does not fit."""
    size = check_rows(code, rows)
    if len(rows) < n:
        raise ValueError(f"rows must be at least {n}")
    check_query(code, query, size)
    if allowed is not None and (len(allowed) * 64 < n or not _is_plain(allowed, _U64)):
        raise ValueError(f"allowed must be uint64 with at least {n} bits")
    if ids is not None and (ids.shape[1:] != (3,) or len(ids) < n or not _is_plain(ids, _U64)):
        raise ValueError(f"ids must be C-contiguous uint64 of shape [{n} or more, 3]")
    return size


def _is_plain(values: Array, dtype: np.dtype[Any]) -> bool:
    return values.dtype == dtype and values.flags.c_contiguous
