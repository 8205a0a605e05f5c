"""Building an HNSW graph node by node, and checking one that comes from disk.

Invariants:
- One thread builds; the same rows, levels and parameters give the same graph, bit for bit.
- The entry point and all levels are fixed before the first node is inserted.
- During the build the distance of every link lies beside it (float32 matrices of the shape of the
  links), so a list that overflows is pruned without measuring its own distances again.
- The first argument words are those of `hnsw_search`; EF is ef_construct, POOL int64[EF].
"""

from __future__ import annotations

from edge_kernels.distance import distance_one, distances_of
from edge_kernels.hnsw_search import (
    DISTANCES,
    ENTRY,
    M0,
    METRIC,
    POOL,
    ROWS,
    SIZE,
    TOP,
    M,
    candidate_of,
    capacity_at,
    descend,
    distance_of,
    insert_sorted,
    links_at,
    list_index,
    node_of,
    start,
    walk,
)
from edge_kernels.jit import (
    door,
    inner,
    load_f32,
    load_i32,
    load_i64,
    load_u8,
    store_f32,
    store_i32,
)

LEVELS, KEPT0, KEPT_UPPER, MERGED, FROM, UNTIL = range(136, 184, 8)
# LEVELS uint8[n]; KEPT0 float32[n, m0] and KEPT_UPPER float32[_, m] the distances of links;
# MERGED int64[m0 + 1]; nodes FROM..UNTIL-1 are inserted by this call.

LEFT_OUT = 255  # the level of a node that is not in the graph


@inner
def _kept_at(graph: int, node: int, level: int) -> int:
    """Address of the distances of the links of `node` at `level`."""
    row = list_index(graph, node, level)
    if level == 0:
        return load_i64(graph + KEPT0) + 4 * load_i64(graph + M0) * row
    return load_i64(graph + KEPT_UPPER) + 4 * load_i64(graph + M) * row


@inner
def _is_shadowed(
    graph: int, base: int, node: int, limit: float, twin: bool, chosen: int, count: int
) -> bool:
    """Whether `node`, at distance `limit` from `base`, is nearer to one of the nodes at `chosen`.

    Among twins, whose vectors are equal, the nearer offset counts: each keeps one twin on either
    side, so any number of equal vectors forms a skip list and the rest of the list looks outward.
    """
    rows, size, out = load_i64(graph + ROWS), load_i64(graph + SIZE), load_i64(graph + DISTANCES)
    metric = load_i64(graph + METRIC)
    at = 0
    while at < count:
        some = min(count - at, 4)
        distances_of(metric, rows + size * node, rows, size, chosen + 4 * at, some, out)
        for i in range(some):
            distance = load_f32(out + 4 * i)
            if distance < limit:
                return True
            if twin and distance == limit:
                other = load_i32(chosen + 4 * (at + i))
                if abs(node - other) < abs(node - base):
                    return True
        at += some
    return False


@inner
def _choose(
    graph: int, base: int, candidates: int, count: int, most: int, links: int, kept: int
) -> int:
    """Neighbours of `base` by the heuristic of the paper (algorithm 4): from near to far, those
    that are nearer to `base` than to any neighbour chosen before. To `links` and `kept`.
    """
    size = load_i64(graph + SIZE)
    row = load_i64(graph + ROWS) + size * base
    itself = distance_one(load_i64(graph + METRIC), row, row, size)
    chosen = 0
    for at in range(count):
        candidate = load_i64(candidates + 8 * at)
        node, distance = node_of(candidate, base), distance_of(candidate)
        if not _is_shadowed(graph, base, node, distance, distance == itself, links, chosen):
            store_i32(links + 4 * chosen, node)
            store_f32(kept + 4 * chosen, distance)
            chosen += 1
            if chosen == most:
                break
    return chosen


@inner
def _add_link(graph: int, target: int, node: int, distance: float, level: int) -> None:
    """Link `target` to `node`; a full list is merged with it and chosen anew."""
    links, kept = links_at(graph, target, level), _kept_at(graph, target, level)
    capacity = capacity_at(graph, level)
    count = 0
    while count < capacity and load_i32(links + 4 * count) >= 0:
        count += 1
    if count < capacity:
        store_i32(links + 4 * count, node)
        store_f32(kept + 4 * count, distance)
        return
    merged = load_i64(graph + MERGED)
    insert_sorted(merged, 0, candidate_of(distance, node, target))
    for at in range(count):
        known = candidate_of(load_f32(kept + 4 * at), load_i32(links + 4 * at), target)
        insert_sorted(merged, at + 1, known)
    chosen = _choose(graph, target, merged, count + 1, capacity, links, kept)
    for at in range(chosen, capacity):
        store_i32(links + 4 * at, -1)


@inner
def _connect(graph: int, node: int, level: int, found: int) -> None:
    """Link `node` with the best of POOL, both ways."""
    links, kept = links_at(graph, node, level), _kept_at(graph, node, level)
    most = load_i64(graph + M)
    chosen = _choose(graph, node, load_i64(graph + POOL), found, most, links, kept)
    for at in range(chosen):
        _add_link(graph, load_i32(links + 4 * at), node, load_f32(kept + 4 * at), level)


@inner
def _insert(graph: int, node: int, level: int) -> None:
    query = load_i64(graph + ROWS) + load_i64(graph + SIZE) * node
    top = load_i64(graph + TOP)
    best = descend(graph, query, node, start(graph, query, node), top, level + 1)
    for at in range(level, -1, -1):
        found = walk(graph, query, node, best, at, 0)
        best = load_i64(load_i64(graph + POOL)) & ~1
        _connect(graph, node, at, found)


@door
def build_door(graph: int) -> int:
    """Insert the nodes FROM..UNTIL-1, but for the entry point and those left out. Returns UNTIL."""
    levels, entry = load_i64(graph + LEVELS), load_i64(graph + ENTRY)
    for node in range(load_i64(graph + FROM), load_i64(graph + UNTIL)):
        level = load_u8(levels + node)
        if level != LEFT_OUT and node != entry:
            _insert(graph, node, level)
    return load_i64(graph + UNTIL)


# --- checking --------------------------------------------------------------------------------

CHECK_LINKS, CHECK_LISTS, CHECK_CAPACITY, CHECK_OWNERS, CHECK_NODES, CHECK_LEVELS = range(0, 48, 8)
# CHECK_LINKS int32[lists, capacity]; CHECK_OWNERS uint8[lists] the level that list belongs to
# (LEFT_OUT: it must be empty); CHECK_LEVELS uint8[nodes] the level of every node.


@inner
def _is_node(levels: int, nodes: int, link: int, level: int) -> bool:
    if link < 0 or link >= nodes:
        return False
    return load_u8(levels + link) != LEFT_OUT and load_u8(levels + link) >= level


@door
def check_door(block: int) -> int:
    """The first list that is not sound, or -1.

    Sound: every link names a node whose level is at least that of the list, and after the first -1
    there is nothing but -1.
    """
    links, capacity = load_i64(block + CHECK_LINKS), load_i64(block + CHECK_CAPACITY)
    owners, levels = load_i64(block + CHECK_OWNERS), load_i64(block + CHECK_LEVELS)
    nodes = load_i64(block + CHECK_NODES)
    for row in range(load_i64(block + CHECK_LISTS)):
        level = load_u8(owners + row)
        ended = level == LEFT_OUT
        for at in range(capacity):
            link = load_i32(links + 4 * (capacity * row + at))
            if link == -1:
                ended = True
            elif ended or not _is_node(levels, nodes, link, level):
                return row
    return -1
