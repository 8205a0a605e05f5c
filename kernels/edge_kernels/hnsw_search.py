"""Walks over an HNSW graph (Malkov and Yashunin, arXiv:1603.09320), and the search door.

Invariants:
- A pool is a sorted array of at most ef candidates (`hnsw_hop`).
- Kernels check nothing: a graph that comes from disk has been checked before.
"""

from __future__ import annotations

from collections.abc import Callable

from edge_kernels.hnsw_hop import (
    DISTANCES,
    EF,
    ENOUGH,
    ENTRY,
    FRESH,
    MEMBERS,
    POOL,
    ROWS,
    TOP,
    VISITED,
    WORDS,
    add_fresh,
    ask_for_list,
    begin_hops,
    candidate_of,
    capacity_at,
    disk_of,
    distance_of,
    distance_to,
    end_hop,
    find_all,
    find_new,
    insert_sorted,
    is_beside,
    is_seen,
    links_at,
    measure_rows,
    next_epoch,
    node_of,
    offer,
    prefetch_list,
    row_of,
    rows_for,
)
from edge_kernels.jit import (
    advise,
    door,
    inner,
    load_f32,
    load_i32,
    load_i64,
    load_u64,
    move_bytes,
    store_f32,
    store_i32,
    store_i64,
    store_u16,
)
from edge_kernels.measure import distances_of

_FINAL = WORDS + 72
QUERY, ALLOWED, HEAP, LIMIT, IDS, K, OUT_OFFSETS, OUT_DISTANCES, TWO_HOPS = range(WORDS, _FINAL, 8)
FINAL_MEASURE, FINAL_ROWS, FINAL_SIZE, FINAL_BESIDE, FINAL_ADVISE = range(_FINAL, _FINAL + 40, 8)
FINAL_QUERY, CANDIDATES = range(_FINAL + 40, _FINAL + 56, 8)
# ALLOWED and IDS, of rows, may be 0; HEAP int64[n], used with ALLOWED; LIMIT hops of level 0, 0 is
# no limit; OUT_OFFSETS uint32[EF] and OUT_DISTANCES float32[EF]; TWO_HOPS is not 0 where only
# allowed nodes shall be measured; FINAL_MEASURE is not 0 where the best CANDIDATES are to be ranked
# by FINAL_ROWS of FINAL_SIZE bytes, or by those that are FINAL_BESIDE (not 0) in lists of level 0;
# FINAL_ADVISE is for FINAL_ROWS what ADVISE is for lists.

_CUT_SHORT = 1 << 32  # added to the number of results
AHEAD = 8  # how many hops ahead a list is asked for that has to come from a disk


# --- walks -----------------------------------------------------------------------------------


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
            count = find_all(graph, query, node_of(best, base), level)
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
            ask_for_list(graph, node_of(candidate, base), epoch)
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
        disk = disk_of(graph)
        begin_hops(graph, disk)
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
                prefetch_list(graph, node_of(load_i64(pool + 8 * cursor), base), level)
            found = find(graph, query, node_of(candidate, base), level, epoch)
            for at in range(found):
                distance, node = load_f32(distances + 4 * at), load_i32(fresh + 4 * at)
                place = offer(pool, count, capacity, candidate_of(distance, node, base))
                if place < capacity:
                    count = min(count + 1, capacity)
                    cursor = min(cursor, place)
            end_hop(graph, disk)
            if disk != 0 and level == 0:
                _ask_for_next(graph, pool, cursor, count, base, epoch)
        return count

    return walk


walk: _Walk = _walk_by(find_new)
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
    disk = disk_of(graph)
    begin_hops(graph, disk)
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
        found = find_new(graph, query, node_of(candidate, 0), 0, epoch)
        end_hop(graph, disk)
        for at in range(found):
            node = load_i32(fresh + 4 * at)
            candidate = candidate_of(load_f32(distances + 4 * at), node, 0)
            if count == capacity and candidate > load_i64(pool + 8 * (capacity - 1)):
                continue
            _sift_up(heap, waiting, candidate)
            waiting += 1
            if candidate < load_i64(heap + 8 * min(AHEAD, waiting - 1)):  # among the next few
                ask_for_list(graph, node, epoch)
            if _is_allowed(graph, node) and offer(pool, count, capacity, candidate) < capacity:
                count = min(count + 1, capacity)
    return count


@inner
def _find_allowed(graph: int, query: int, node: int, level: int, epoch: int) -> int:
    """As `find_new`, but only allowed nodes: neighbours of `node`, then those of its neighbours
    that are not allowed, until there are ENOUGH.
    """
    links, capacity = links_at(graph, node, level), capacity_at(graph, level)
    end = 0
    while end < capacity:
        neighbour = load_i32(links + 4 * end)
        if neighbour < 0:
            break
        if not _is_allowed(graph, neighbour):
            prefetch_list(graph, neighbour, level)
        end += 1
    visited, count = load_i64(graph + VISITED), _add_allowed(graph, query, node, level, epoch, 0)
    for at in range(end):
        if count >= ENOUGH:
            break
        between = load_i32(links + 4 * at)
        if not _is_allowed(graph, between) and not is_seen(visited, between, epoch):
            count = _add_allowed(graph, query, between, level, epoch, count)
    if not is_beside(graph):
        measure_rows(graph, query, load_i64(graph + ROWS), 0, count)
    return count


@inner
def _add_allowed(graph: int, query: int, node: int, level: int, epoch: int, count: int) -> int:
    """Add the allowed neighbours of `node` that are not yet seen to FRESH; the new number. They are
    measured here where their rows lie beside their links, else once the hop is done.
    """
    links, capacity = links_at(graph, node, level), capacity_at(graph, level)
    rows, members = rows_for(graph, links, level), load_i64(graph + MEMBERS)
    beside, visited, first = is_beside(graph), load_i64(graph + VISITED), count
    for at in range(capacity):
        neighbour = load_i32(links + 4 * at)
        if neighbour < 0:
            break
        if _is_allowed(graph, neighbour) and not is_seen(visited, neighbour, epoch):
            count = add_fresh(graph, rows, members, beside, neighbour, at, count)
    if beside:
        measure_rows(graph, query, rows, first, count)
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
