"""Walks over an HNSW graph (Malkov and Yashunin, arXiv:1603.09320), and the search door.

Invariants:
- A candidate is one int64: order key of its distance << 32, then 31 bits that name the node, then
  one bit "expanded". The node is named by zigzag(node - base): candidates of one walk are totally
  ordered by (distance, nearness to the base), so a walk among equal vectors still has a direction
  and always ends. Searches use base 0 (smaller offsets first), building the node that is inserted.
- A pool is a sorted array of at most ef candidates. A walk marks what it has seen in `visited`
  (uint16) with an epoch of its own, so nothing is cleared between walks. Epochs are even; one more
  says that the list of a node was asked for too.
- A list of links is int32, ended by -1 or by its capacity. Lists of level 0 are rows of a matrix
  [n, m0], or begin at UNIT times what STARTS say; the list of level L >= 1 of a node is row
  first[node] + L - 1 of the matrix `upper` [_, m], whose rows lie a pitch apart. A list may have
  more behind its links (`hnsw_inline`).
- A node stands for the row of its number, or where there are MEMBERS for the row that these name.
- What is compared are rows of the matrix ROWS, or, in a graph that has them BESIDE its links, the
  copies behind a list: that of the node which its place `at` names is number `at`.
- Kernels check nothing: a graph that comes from disk has been checked before.
- While a graph is built, other threads may write the list that a walk reads: links are read once,
  and each is either what was there or what will be.
"""

from __future__ import annotations

from collections.abc import Callable

from edge_kernels.hnsw_inline import UNIT
from edge_kernels.jit import (
    advise,
    distance_of_key,
    door,
    fill_bytes,
    inner,
    load_f32,
    load_i32,
    load_i64,
    load_shared_i32,
    load_u16,
    load_u32,
    load_u64,
    move_bytes,
    nanoseconds,
    order_key,
    prefetch,
    store_f32,
    store_i32,
    store_i64,
    store_u16,
)
from edge_kernels.measure import distances_of

MAX_ROWS = 2**30  # a node must fit into the 31 bits of zigzag

# The words every kernel of the graph finds in its argument block, as byte positions.
MEASURE, ROWS, SIZE, LINKS0, STARTS, M0, UPPER, PITCH, FIRST, M, ENTRY, TOP = range(0, 96, 8)
BESIDE0, BESIDE, ADVISE, ROWS_ADVISE, ASKING, SINCE, MEMBERS = range(96, 152, 8)
VISITED, VISITED_BYTES, EPOCH, FRESH, PLACES, DISTANCES, POOL, EF = range(152, 216, 8)
WORDS = 216  # bytes of these, behind which come those of a door
# ROWS address of rows of SIZE bytes; STARTS uint32[n + 1] or 0; FIRST int32[n]; BESIDE0 and BESIDE
# where in a list of level 0 and above the codes begin, 0: there are none, or they are not what is
# compared; ADVISE and ROWS_ADVISE address of what `advise` takes where lists, and where ROWS come
# from a disk, else 0; ASKING for how many more hops they are asked for, 0 at first, and SINCE when
# the last hop was done, in nanoseconds; MEMBERS uint32[n] or
# 0; EPOCH address of an int64; POOL int64[EF]; FRESH int32[room], PLACES int32[room] and DISTANCES
# float32[room] hold the nodes of one hop and where their rows are, room = room_of(m0).
QUERY, ALLOWED, HEAP, LIMIT, IDS, K, OUT_OFFSETS, OUT_DISTANCES, TWO_HOPS = range(216, 288, 8)
FINAL_MEASURE, FINAL_ROWS, FINAL_SIZE, FINAL_BESIDE, FINAL_ADVISE = range(288, 328, 8)
FINAL_QUERY, CANDIDATES = range(328, 344, 8)
# ALLOWED and IDS, of rows, may be 0; HEAP int64[n], used with ALLOWED; LIMIT hops of level 0, 0 is
# no limit; OUT_OFFSETS uint32[EF] and OUT_DISTANCES float32[EF]; TWO_HOPS is not 0 where only
# allowed nodes shall be measured; FINAL_MEASURE is not 0 where the best CANDIDATES are to be ranked
# by FINAL_ROWS of FINAL_SIZE bytes, or by those that are FINAL_BESIDE (not 0) in lists of level 0;
# FINAL_ADVISE is for FINAL_ROWS what ADVISE is for lists.

_CUT_SHORT = 1 << 32  # added to the number of results
ENOUGH = 64  # a hop over nodes that are not allowed looks no further once it has found so many
AHEAD = 8  # how many hops ahead a list is asked for that has to come from a disk
SLOW, LASTING = 30_000, 16  # a hop that takes so many nanoseconds has waited for a disk, and the
# next ones will: a request takes a microsecond, as long as what is resident is compared in


def room_of(m0: int) -> int:
    """How many nodes one hop may find: a list, or fewer than ENOUGH and another list."""
    return m0 + ENOUGH


# --- candidates ------------------------------------------------------------------------------


@inner
def candidate_of(distance: float, node: int, base: int) -> int:
    away = node - base
    return (order_key(distance) << 32) | (((away << 1) ^ (away >> 63)) << 1)


@inner
def node_of(candidate: int, base: int) -> int:
    zigzag = (candidate & 0xFFFFFFFF) >> 1
    return base + ((zigzag >> 1) ^ -(zigzag & 1))


@inner
def distance_of(candidate: int) -> float:
    return distance_of_key(candidate >> 32)


@inner
def insert_sorted(pool: int, count: int, candidate: int) -> int:
    """Put `candidate` into the sorted int64 array at `pool`, which has room; its place."""
    low, high = 0, count
    while low < high:
        middle = (low + high) >> 1
        if load_i64(pool + 8 * middle) < candidate:
            low = middle + 1
        else:
            high = middle
    place = pool + 8 * low
    move_bytes(place + 8, place, 8 * (count - low))
    store_i64(place, candidate)
    return low


@inner
def offer(pool: int, count: int, capacity: int, candidate: int) -> int:
    """Keep `candidate` if it is among the best `capacity`; its place, else `capacity`."""
    if count < capacity:
        return insert_sorted(pool, count, candidate)
    if candidate >= load_i64(pool + 8 * (capacity - 1)):
        return capacity
    return insert_sorted(pool, capacity - 1, candidate)


# --- links -----------------------------------------------------------------------------------


@inner
def list_index(graph: int, node: int, level: int) -> int:
    """Row of the list of `node` in the matrix of its level."""
    if level == 0:
        return node
    return load_i32(load_i64(graph + FIRST) + 4 * node) + level - 1


@inner
def links_at(graph: int, node: int, level: int) -> int:
    """Address of the list of `node` at `level`."""
    if level != 0:
        return load_i64(graph + UPPER) + load_i64(graph + PITCH) * list_index(graph, node, level)
    lists, starts = load_i64(graph + LINKS0), load_i64(graph + STARTS)
    if starts == 0:
        return lists + 4 * load_i64(graph + M0) * node
    return lists + UNIT * load_u32(starts + 4 * node)


@inner
def capacity_at(graph: int, level: int) -> int:
    return load_i64(graph + M0) if level == 0 else load_i64(graph + M)


@inner
def next_epoch(graph: int) -> int:
    """An even mark that no cell of `visited` carries yet, nor the one after it."""
    counter = load_i64(graph + EPOCH)
    epoch = load_i64(counter) + 2
    if epoch > 65535:
        fill_bytes(load_i64(graph + VISITED), 0, load_i64(graph + VISITED_BYTES))
        epoch = 2
    store_i64(counter, epoch)
    return epoch


@inner
def row_of(graph: int, node: int) -> int:
    """The row that a node stands for."""
    members = load_i64(graph + MEMBERS)
    return node if members == 0 else load_u32(members + 4 * node)


# --- what a hop reads ------------------------------------------------------------------------


@inner
def _prefetch_lines(address: int) -> None:
    """The first two cache lines: all of a list of 32 links; of a row, the hardware brings on."""
    prefetch(address)
    prefetch(address + 64)


@inner
def _prefetch_list(graph: int, node: int, level: int) -> None:
    """Have the list of a node at hand, where it is in memory."""
    if load_i64(graph + ADVISE) == 0:
        _prefetch_lines(links_at(graph, node, level))


@inner
def _ask_for_list(graph: int, node: int, epoch: int) -> None:
    """Have the list of level 0 of a node read, once a walk, where it has to come from a disk."""
    how, mark = load_i64(graph + ADVISE), load_i64(graph + VISITED) + 2 * node
    if how != 0 and load_i64(graph + ASKING) > 0 and load_u16(mark) != epoch + 1:
        store_u16(mark, epoch + 1)
        links, starts, size = links_at(graph, node, 0), load_i64(graph + STARTS), 0
        if starts == 0:
            size = 4 * load_i64(graph + M0)
        else:
            size = UNIT * (load_u32(starts + 4 * node + 4) - load_u32(starts + 4 * node))
        advise(how, links, size)


@inner
def _disk_of(graph: int) -> int:
    """What `advise` takes for something of what hops read; 0 if nothing comes from a disk."""
    lists = load_i64(graph + ADVISE)
    return lists if lists != 0 else load_i64(graph + ROWS_ADVISE)


@inner
def _begin_hops(graph: int, disk: int) -> None:
    """Begin to mind the time."""
    if disk != 0:
        store_i64(graph + SINCE, nanoseconds(disk))


@inner
def _end_hop(graph: int, disk: int) -> None:
    """Ask ahead for a while if the hop was slow."""
    if disk == 0:
        return
    now, asking = nanoseconds(disk), max(0, load_i64(graph + ASKING) - 1)
    if now - load_i64(graph + SINCE) > SLOW:
        asking = LASTING
    store_i64(graph + ASKING, asking)
    store_i64(graph + SINCE, now)


@inner
def _is_seen(visited: int, node: int, epoch: int) -> bool:
    """Whether `node` carries the mark `epoch`, which it does from now on."""
    if load_u16(visited + 2 * node) & ~1 == epoch:
        return True
    store_u16(visited + 2 * node, epoch)
    return False


@inner
def _is_beside(graph: int) -> bool:
    return load_i64(graph + BESIDE0) != 0


@inner
def _rows_for(graph: int, links: int, level: int) -> int:
    """Address of the rows among which PLACES names those of the neighbours in the list `links`."""
    beside = load_i64(graph + (BESIDE0 if level == 0 else BESIDE))
    return load_i64(graph + ROWS) if beside == 0 else links + beside


@inner
def _add_fresh(
    graph: int, rows: int, members: int, beside: bool, neighbour: int, at: int, count: int
) -> int:
    """List the neighbour whose link is number `at` as number `count` of FRESH; the number after it.
    `rows`, MEMBERS and whether rows are BESIDE the links: loaded once a list.
    """
    place = neighbour
    if beside:
        place = at
    elif members != 0:
        place = load_u32(members + 4 * neighbour)
    store_i32(load_i64(graph + FRESH) + 4 * count, neighbour)
    store_i32(load_i64(graph + PLACES) + 4 * count, place)
    _prefetch_lines(rows + load_i64(graph + SIZE) * place)
    return count + 1


@inner
def _measure(graph: int, query: int, rows: int, first: int, count: int) -> None:
    """Distances of the query to the rows at the places FIRST..COUNT-1, to DISTANCES."""
    places, out = load_i64(graph + PLACES) + 4 * first, load_i64(graph + DISTANCES) + 4 * first
    size, how = load_i64(graph + SIZE), load_i64(graph + ROWS_ADVISE)
    if how != 0 and load_i64(graph + ASKING) > 0:
        for at in range(count - first):
            advise(how, rows + size * load_u32(places + 4 * at), size)
    distances_of(load_i64(graph + MEASURE), query, rows, size, places, count - first, out)


@inner
def _find(graph: int, query: int, node: int, level: int, epoch: int) -> int:
    """Mark the neighbours of `node` not yet seen, list and measure them; their number."""
    links, capacity = links_at(graph, node, level), capacity_at(graph, level)
    rows, members = _rows_for(graph, links, level), load_i64(graph + MEMBERS)
    beside, visited, count = _is_beside(graph), load_i64(graph + VISITED), 0
    for at in range(capacity):
        neighbour = load_shared_i32(links + 4 * at)
        if neighbour < 0:
            break
        if not _is_seen(visited, neighbour, epoch):
            count = _add_fresh(graph, rows, members, beside, neighbour, at, count)
    _measure(graph, query, rows, 0, count)
    return count


@inner
def _find_all(graph: int, query: int, node: int, level: int) -> int:
    """List and measure all neighbours of `node`; their number."""
    links, capacity = links_at(graph, node, level), capacity_at(graph, level)
    rows, members = _rows_for(graph, links, level), load_i64(graph + MEMBERS)
    beside, count = _is_beside(graph), 0
    while count < capacity:
        neighbour = load_shared_i32(links + 4 * count)
        if neighbour < 0:
            break
        count = _add_fresh(graph, rows, members, beside, neighbour, count, count)
    _measure(graph, query, rows, 0, count)
    return count


# --- walks -----------------------------------------------------------------------------------


@inner
def distance_to(graph: int, query: int, node: int) -> float:
    """Distance of the query to one node, by way of DISTANCES."""
    size, out = load_i64(graph + SIZE), load_i64(graph + DISTANCES)
    row = load_i64(graph + ROWS) + size * row_of(graph, node)
    distances_of(load_i64(graph + MEASURE), query, row, size, 0, 1, out)
    return load_f32(out)


@inner
def start(graph: int, query: int, base: int) -> int:
    """The entry point as a candidate."""
    entry = load_i64(graph + ENTRY)
    return candidate_of(distance_to(graph, query, entry), entry, base)


@inner
def descend(graph: int, query: int, base: int, best: int, high: int, low: int) -> int:
    """Walk greedily through the levels high..low, each until no neighbour is better."""
    fresh, distances = load_i64(graph + FRESH), load_i64(graph + DISTANCES)
    for level in range(high, low - 1, -1):
        improved = True
        while improved:
            improved = False
            count = _find_all(graph, query, node_of(best, base), level)
            for at in range(count):
                distance, node = load_f32(distances + 4 * at), load_i32(fresh + 4 * at)
                candidate = candidate_of(distance, node, base)
                if candidate < best:
                    best, improved = candidate, True
    return best


@inner
def _ask_for_next(graph: int, pool: int, cursor: int, count: int, base: int, epoch: int) -> None:
    """Have the lists of the next hops read while the first of them is waited for."""
    found = 0
    while found < AHEAD and cursor < count:
        candidate = load_i64(pool + 8 * cursor)
        if candidate & 1 == 0:
            _ask_for_list(graph, node_of(candidate, base), epoch)
            found += 1
        cursor += 1


_Walk = Callable[[int, int, int, int, int, int, int], int]


def _walk_by(find: Callable[[int, int, int, int, int], int]) -> _Walk:
    """A walk whose hops find the nodes that `find(graph, query, node, level, epoch)` lists at FRESH
    and measures."""

    @inner
    def walk(
        graph: int, query: int, base: int, best: int, level: int, limit: int, hidden: int
    ) -> int:
        pool, capacity = load_i64(graph + POOL), load_i64(graph + EF)
        fresh, distances = load_i64(graph + FRESH), load_i64(graph + DISTANCES)
        visited, epoch = load_i64(graph + VISITED), next_epoch(graph)
        disk = _disk_of(graph)
        _begin_hops(graph, disk)
        store_u16(visited + 2 * hidden, epoch)
        store_u16(visited + 2 * node_of(best, base), epoch)
        store_i64(pool, best)
        count, cursor, hops = 1, 0, 0
        while cursor < count:
            candidate = load_i64(pool + 8 * cursor)
            if candidate & 1:
                cursor += 1
                continue
            if limit != 0 and hops == limit:
                return count + _CUT_SHORT
            hops += 1
            store_i64(pool + 8 * cursor, candidate | 1)
            cursor += 1
            if cursor < count:  # very likely the next hop
                _prefetch_list(graph, node_of(load_i64(pool + 8 * cursor), base), level)
            found = find(graph, query, node_of(candidate, base), level, epoch)
            for at in range(found):
                distance, node = load_f32(distances + 4 * at), load_i32(fresh + 4 * at)
                place = offer(pool, count, capacity, candidate_of(distance, node, base))
                if place < capacity:
                    count = min(count + 1, capacity)
                    cursor = min(cursor, place)
            _end_hop(graph, disk)
            if disk != 0 and level == 0:
                _ask_for_next(graph, pool, cursor, count, base, epoch)
        return count

    return walk


walk: _Walk = _walk_by(_find)
"""walk(graph, query, base, best, level, limit, hidden): fill POOL with the EF nearest that can be
reached from the candidate `best`; their number. The node `hidden` is not among them, unless it is
that of `best`. Stops after `limit` hops if that is not 0, and then adds _CUT_SHORT."""


# --- walks with a filter ---------------------------------------------------------------------


@inner
def _is_allowed(graph: int, node: int) -> bool:
    row = row_of(graph, node)
    return ((load_i64(load_i64(graph + ALLOWED) + 8 * (row >> 6)) >> (row & 63)) & 1) == 1


@inner
def walk_allowed(graph: int, query: int, best: int, limit: int) -> int:
    """As `walk` on level 0 with base 0, but only allowed nodes enter POOL.

    All nodes are walked through. They wait in a heap that has room for every node, and the walk
    goes on until the nearest one waiting is farther than EF allowed ones.
    """
    pool, capacity = load_i64(graph + POOL), load_i64(graph + EF)
    fresh, distances = load_i64(graph + FRESH), load_i64(graph + DISTANCES)
    heap, epoch = load_i64(graph + HEAP), next_epoch(graph)
    store_u16(load_i64(graph + VISITED) + 2 * node_of(best, 0), epoch)
    disk = _disk_of(graph)
    _begin_hops(graph, disk)
    count, waiting, hops = 0, 1, 0
    store_i64(heap, best)
    if _is_allowed(graph, node_of(best, 0)):
        store_i64(pool, best)
        count = 1
    while waiting > 0:
        candidate = load_i64(heap)
        if count == capacity and candidate > load_i64(pool + 8 * (capacity - 1)):
            break
        if limit != 0 and hops == limit:
            return count + _CUT_SHORT
        hops += 1
        waiting -= 1
        _sift_down(heap, waiting, load_i64(heap + 8 * waiting))
        found = _find(graph, query, node_of(candidate, 0), 0, epoch)
        _end_hop(graph, disk)
        for at in range(found):
            node = load_i32(fresh + 4 * at)
            candidate = candidate_of(load_f32(distances + 4 * at), node, 0)
            if count == capacity and candidate > load_i64(pool + 8 * (capacity - 1)):
                continue
            _sift_up(heap, waiting, candidate)
            waiting += 1
            if candidate < load_i64(heap + 8 * min(AHEAD, waiting - 1)):  # among the next few
                _ask_for_list(graph, node, epoch)
            if _is_allowed(graph, node) and offer(pool, count, capacity, candidate) < capacity:
                count = min(count + 1, capacity)
    return count


@inner
def _find_allowed(graph: int, query: int, node: int, level: int, epoch: int) -> int:
    """As `_find`, but only allowed nodes: neighbours of `node`, then those of its neighbours that
    are not allowed, until there are ENOUGH.
    """
    links, capacity = links_at(graph, node, level), capacity_at(graph, level)
    end = 0
    while end < capacity:
        neighbour = load_i32(links + 4 * end)
        if neighbour < 0:
            break
        if not _is_allowed(graph, neighbour):
            _prefetch_list(graph, neighbour, level)
        end += 1
    visited, count = load_i64(graph + VISITED), _add_allowed(graph, query, node, level, epoch, 0)
    for at in range(end):
        if count >= ENOUGH:
            break
        between = load_i32(links + 4 * at)
        if not _is_allowed(graph, between) and not _is_seen(visited, between, epoch):
            count = _add_allowed(graph, query, between, level, epoch, count)
    if not _is_beside(graph):
        _measure(graph, query, load_i64(graph + ROWS), 0, count)
    return count


@inner
def _add_allowed(graph: int, query: int, node: int, level: int, epoch: int, count: int) -> int:
    """Add the allowed neighbours of `node` that are not yet seen to FRESH; the new number. They are
    measured here where their rows lie beside their links, else once the hop is done.
    """
    links, capacity = links_at(graph, node, level), capacity_at(graph, level)
    rows, members = _rows_for(graph, links, level), load_i64(graph + MEMBERS)
    beside, visited, first = _is_beside(graph), load_i64(graph + VISITED), count
    for at in range(capacity):
        neighbour = load_i32(links + 4 * at)
        if neighbour < 0:
            break
        if _is_allowed(graph, neighbour) and not _is_seen(visited, neighbour, epoch):
            count = _add_fresh(graph, rows, members, beside, neighbour, at, count)
    if beside:
        _measure(graph, query, rows, first, count)
    return count


_walk_two_hops: _Walk = _walk_by(_find_allowed)


@inner
def _walk_over(graph: int, query: int, best: int, limit: int) -> int:
    """As `walk_allowed`, but only allowed nodes are measured (ACORN-1, arXiv:2403.04871): a hop
    leads over one node that is not allowed at most. Where that finds too few, all are walked
    through.
    """
    pool = load_i64(graph + POOL)
    outcome = _walk_two_hops(graph, query, 0, best, 0, limit, node_of(best, 0))
    count = outcome & (_CUT_SHORT - 1)
    if not _is_allowed(graph, node_of(best, 0)):
        count = _without(pool, count, best)
    if count < load_i64(graph + K) and outcome < _CUT_SHORT:
        return walk_allowed(graph, query, best, limit)
    return count + (outcome & _CUT_SHORT)


@inner
def _without(pool: int, count: int, candidate: int) -> int:
    """Take `candidate` out of a pool, if it is still there; the new number."""
    for at in range(count):
        place = pool + 8 * at
        if (load_i64(place) & ~1) == candidate:
            move_bytes(place, place + 8, 8 * (count - at - 1))
            return count - 1
    return count


@inner
def _sift_up(heap: int, place: int, value: int) -> None:
    """Put `value` into the heap of int64, whose free place is `place`."""
    while place > 0:
        parent = (place - 1) >> 1
        above = load_i64(heap + 8 * parent)
        if above <= value:
            break
        store_i64(heap + 8 * place, above)
        place = parent
    store_i64(heap + 8 * place, value)


@inner
def _sift_down(heap: int, count: int, value: int) -> None:
    """Put `value` into the heap of `count` int64, whose free place is the root."""
    place = 0
    child = 1
    while child < count:
        if child + 1 < count and load_i64(heap + 8 * child + 8) < load_i64(heap + 8 * child):
            child += 1
        below = load_i64(heap + 8 * child)
        if below >= value:
            break
        store_i64(heap + 8 * place, below)
        place = child
        child = 2 * place + 1
    store_i64(heap + 8 * place, value)


# --- results ---------------------------------------------------------------------------------


@inner
def _id_before(ids: int, a: int, b: int) -> bool:
    """Whether the id row of node `a` comes before that of node `b` (uint64[3], lexicographic)."""
    for at in range(0, 24, 8):
        x, y = load_u64(ids + 24 * a + at), load_u64(ids + 24 * b + at)
        if x != y:
            return x < y  # type: ignore[no-any-return]
    return False


@inner
def _sort_run(first: int, count: int, ids: int) -> None:
    """Shell sort by id of `count` candidates of equal distance, at address `first`."""
    gap = 1
    while 3 * gap + 1 < count:
        gap = 3 * gap + 1
    while gap > 0:
        for at in range(gap, count):
            moving = load_i64(first + 8 * at)
            place = at
            while place >= gap:
                other = load_i64(first + 8 * (place - gap))
                if not _id_before(ids, node_of(moving, 0), node_of(other, 0)):
                    break
                store_i64(first + 8 * place, other)
                place -= gap
            store_i64(first + 8 * place, moving)
        gap //= 3


@inner
def _sort_ties(pool: int, count: int, ids: int, k: int) -> None:
    """Order the runs of equal distance by id, as far as they touch the first `k`."""
    begin = 0
    while begin < min(k, count):
        key = load_i64(pool + 8 * begin) >> 32
        end = begin + 1
        while end < count and load_i64(pool + 8 * end) >> 32 == key:
            end += 1
        if end - begin > 1:
            _sort_run(pool + 8 * begin, end - begin, ids)
        begin = end


@inner
def _name_rows(graph: int, pool: int, count: int) -> None:
    """Let the candidates of POOL name rows instead of nodes, whose order is the same."""
    if load_i64(graph + MEMBERS) != 0:
        for at in range(count):
            candidate = load_i64(pool + 8 * at)
            row = row_of(graph, node_of(candidate, 0))
            store_i64(pool + 8 * at, candidate_of(distance_of(candidate), row, 0))


@inner
def _rank_anew(graph: int, pool: int, count: int) -> None:
    """Order the first `count` of POOL by their distances as FINAL_MEASURE has them."""
    rows, size = load_i64(graph + FINAL_ROWS), load_i64(graph + FINAL_SIZE)
    beside, how = load_i64(graph + FINAL_BESIDE), load_i64(graph + FINAL_ADVISE)
    if how != 0:
        for at in range(count):
            advise(how, rows + size * node_of(load_i64(pool + 8 * at), 0), size)
    measure, query = load_i64(graph + FINAL_MEASURE), load_i64(graph + FINAL_QUERY)
    distances = load_i64(graph + OUT_DISTANCES)
    offsets = load_i64(graph + OUT_OFFSETS)
    for at in range(count):
        store_i32(offsets + 4 * at, node_of(load_i64(pool + 8 * at), 0))
    if beside == 0:
        distances_of(measure, query, rows, size, offsets, count, distances)
    else:
        for at in range(count):
            row = links_at(graph, load_i32(offsets + 4 * at), 0) + beside
            distances_of(measure, query, row, size, 0, 1, distances + 4 * at)
    for at in range(count):
        distance, row = load_f32(distances + 4 * at), load_i32(offsets + 4 * at)
        insert_sorted(pool, at, candidate_of(distance, row, 0))


@door
def search_door(graph: int) -> int:
    """Nearest K of QUERY by (distance, id), to OUT_OFFSETS and OUT_DISTANCES.

    Returns how many were found, plus 1 << 32 if LIMIT cut the walk short. ENTRY must be a node.
    """
    query, limit, k = load_i64(graph + QUERY), load_i64(graph + LIMIT), load_i64(graph + K)
    best = descend(graph, query, 0, start(graph, query, 0), load_i64(graph + TOP), 1)
    if load_i64(graph + ALLOWED) == 0:
        outcome = walk(graph, query, 0, best, 0, limit, node_of(best, 0))
    elif load_i64(graph + TWO_HOPS) != 0:
        outcome = _walk_over(graph, query, best, limit)
    else:
        outcome = walk_allowed(graph, query, best, limit)
    pool, count = load_i64(graph + POOL), outcome & (_CUT_SHORT - 1)
    _name_rows(graph, pool, count)
    if load_i64(graph + FINAL_MEASURE) != 0:
        count = min(count, load_i64(graph + CANDIDATES))
        _rank_anew(graph, pool, count)
    if load_i64(graph + IDS) != 0:
        _sort_ties(pool, count, load_i64(graph + IDS), k)
    offsets, distances = load_i64(graph + OUT_OFFSETS), load_i64(graph + OUT_DISTANCES)
    for at in range(min(k, count)):
        candidate = load_i64(pool + 8 * at)
        store_i32(offsets + 4 * at, node_of(candidate, 0))
        store_f32(distances + 4 * at, distance_of(candidate))
    return min(k, count) + (outcome & _CUT_SHORT)
