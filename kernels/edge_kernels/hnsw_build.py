"""Building an HNSW graph node by node, and checking one that comes from disk.

Invariants:
- One thread that builds alone makes the same graph, bit for bit, of the same rows, levels and
  parameters. Several threads may insert different nodes at once: a list and its distances are
  written under the lock of the node they belong to, and a thread holds one lock at a time.
- The entry point and all levels are fixed before the first node is inserted.
- During the build the distance of every link lies beside it (float32 matrices of the shape of the
  links), so a list that overflows is pruned without measuring its own distances again.
- The first argument words are those of `hnsw_search`; EF is ef_construct, POOL int64[EF].
"""

from __future__ import annotations

from edge_kernels.hnsw_hop import (
    DISTANCES,
    EF,
    ENTRY,
    M0,
    MEASURE,
    POOL,
    ROWS,
    SIZE,
    TOP,
    WORDS,
    M,
    candidate_of,
    capacity_at,
    distance_of,
    distance_to,
    insert_sorted,
    links_at,
    list_index,
    node_of,
    offer,
)
from edge_kernels.hnsw_inline import UNIT, degree_of
from edge_kernels.hnsw_search import descend, start, walk
from edge_kernels.jit import (
    advise,
    door,
    inner,
    let_go,
    load_f32,
    load_i32,
    load_i64,
    load_shared_i32,
    load_u8,
    load_u32,
    lock,
    move_bytes,
    store_f32,
    store_i32,
    store_shared_i32,
    store_u8,
    unlock,
)
from edge_kernels.measure import distances_of, query_of_row

_AT = [WORDS + 8 * at for at in range(12)]
LEVELS, LOCKS, KEPT0, KEPT_UPPER, MERGED, CHOSEN, QUERY, OTHER, FROM, UNTIL, REACHED, QUEUE = _AT
# LEVELS uint8[n]; LOCKS uint8[n]; KEPT0 float32[n, m0] and KEPT_UPPER float32[_, m] the distances
# of links; MERGED int64[m0 + 1]; CHOSEN int32[m] and float32[m] the links of the node inserted;
# QUERY and OTHER room for the query form of the node inserted and of any other; nodes
# FROM..UNTIL-1 are inserted by this call. REACHED uint8[n], zeros, and QUEUE int32[n] are for
# `reconnect_door` only.

LEFT_OUT = 255  # the level of a node that is not in the graph


@inner
def _kept_at(graph: int, node: int, level: int) -> int:
    """Address of the distances of the links of `node` at `level`."""
    row = list_index(graph, node, level)
    if level == 0:
        return load_i64(graph + KEPT0) + 4 * load_i64(graph + M0) * row
    return load_i64(graph + KEPT_UPPER) + 4 * load_i64(graph + M) * row


@inner
def _as_query(graph: int, node: int, scratch: int) -> int:
    """Address of the query form of a node's row: the row itself, or in the room `scratch`."""
    size = load_i64(graph + SIZE)
    row, room = load_i64(graph + ROWS) + size * node, load_i64(graph + scratch)
    return room if query_of_row(load_i64(graph + MEASURE), row, size, room) != 0 else row


@inner
def _is_shadowed(
    graph: int, base: int, node: int, limit: float, twin: bool, chosen: int, count: int
) -> bool:
    """Whether `node`, at distance `limit` from `base`, is nearer to one of the nodes at `chosen`.

    Among twins, whose vectors are equal, the nearer offset counts: each keeps one twin on either
    side, so any number of equal vectors forms a skip list and the rest of the list looks outward.
    """
    if count == 0:
        return False
    rows, size, out = load_i64(graph + ROWS), load_i64(graph + SIZE), load_i64(graph + DISTANCES)
    measure, query = load_i64(graph + MEASURE), _as_query(graph, node, OTHER)
    at = 0
    while at < count:
        some = min(count - at, 4)
        distances_of(measure, query, rows, size, chosen + 4 * at, some, out)
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
    itself = distance_to(graph, _as_query(graph, base, OTHER), base)
    chosen = 0
    for at in range(count):
        candidate = load_i64(candidates + 8 * at)
        node, distance = node_of(candidate, base), distance_of(candidate)
        if not _is_shadowed(graph, base, node, distance, distance == itself, links, chosen):
            store_shared_i32(links + 4 * chosen, node)
            store_f32(kept + 4 * chosen, distance)
            chosen += 1
            if chosen == most:
                break
    return chosen


@inner
def _length_without(links: int, capacity: int, node: int) -> int:
    """How many links a list has; -1 if `node` is among them."""
    count = 0
    while count < capacity:
        link = load_i32(links + 4 * count)
        if link < 0:
            break
        if link == node:
            return -1
        count += 1
    return count


@inner
def _add_to_list(graph: int, target: int, node: int, distance: float, level: int) -> None:
    """Link `target` to `node`; a full list is merged with it and chosen anew."""
    links, kept = links_at(graph, target, level), _kept_at(graph, target, level)
    capacity = capacity_at(graph, level)
    count = _length_without(links, capacity, node)
    if count < 0:
        return
    if count < capacity:
        store_f32(kept + 4 * count, distance)
        store_shared_i32(links + 4 * count, node)
        return
    merged = load_i64(graph + MERGED)
    insert_sorted(merged, 0, candidate_of(distance, node, target))
    for at in range(count):
        known = candidate_of(load_f32(kept + 4 * at), load_i32(links + 4 * at), target)
        insert_sorted(merged, at + 1, known)
    chosen = _choose(graph, target, merged, count + 1, capacity, links, kept)
    for at in range(chosen, capacity):
        store_shared_i32(links + 4 * at, -1)


@inner
def _is_listed(candidates: int, count: int, node: int, base: int) -> bool:
    at = 0
    while at < count and node_of(load_i64(candidates + 8 * at), base) != node:
        at += 1
    return at < count


@inner
def _take_in(graph: int, node: int, level: int, found: int) -> int:
    """Offer to POOL what other threads have linked `node` to already; the new number."""
    links, kept = links_at(graph, node, level), _kept_at(graph, node, level)
    pool, capacity = load_i64(graph + POOL), load_i64(graph + EF)
    for at in range(_length_without(links, capacity_at(graph, level), node)):
        link = load_i32(links + 4 * at)
        if not _is_listed(pool, found, link, node):
            known = candidate_of(load_f32(kept + 4 * at), link, node)
            if offer(pool, found, capacity, known) < capacity:
                found = min(found + 1, capacity)
    return found


@inner
def _connect(graph: int, node: int, level: int, found: int) -> None:
    """Link `node` with the best of POOL, both ways."""
    links, kept = links_at(graph, node, level), _kept_at(graph, node, level)
    most, locks = load_i64(graph + M), load_i64(graph + LOCKS)
    chosen_links = load_i64(graph + CHOSEN)
    chosen_kept = chosen_links + 4 * most
    lock(locks + node)
    found = _take_in(graph, node, level, found)
    chosen = _choose(graph, node, load_i64(graph + POOL), found, most, links, kept)
    for at in range(chosen, capacity_at(graph, level)):
        store_shared_i32(links + 4 * at, -1)
    move_bytes(chosen_links, links, 4 * chosen)
    move_bytes(chosen_kept, kept, 4 * chosen)
    unlock(locks + node)
    for at in range(chosen):
        target = load_i32(chosen_links + 4 * at)
        lock(locks + target)
        _add_to_list(graph, target, node, load_f32(chosen_kept + 4 * at), level)
        unlock(locks + target)


@inner
def _insert(graph: int, node: int, level: int) -> None:
    query, top = _as_query(graph, node, QUERY), load_i64(graph + TOP)
    best = descend(graph, query, node, start(graph, query, node), top, level + 1)
    for at in range(level, -1, -1):
        if load_shared_i32(links_at(graph, node_of(best, node), at)) < 0:
            best = start(graph, query, node)  # that node is still being linked by another thread
        found = walk(graph, query, node, best, at, 0, node)
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


# --- after several threads -------------------------------------------------------------------


@inner
def _reach(graph: int, first: int) -> None:
    """Mark at REACHED what level 0 leads to from `first`."""
    reached, queue = load_i64(graph + REACHED), load_i64(graph + QUEUE)
    capacity = load_i64(graph + M0)
    store_u8(reached + first, 1)
    store_i32(queue, first)
    done, known = 0, 1
    while done < known:
        links = links_at(graph, load_i32(queue + 4 * done), 0)
        done += 1
        for at in range(capacity):
            link = load_i32(links + 4 * at)
            if link < 0:
                break
            if load_u8(reached + link) == 0:
                store_u8(reached + link, 1)
                store_i32(queue + 4 * known, link)
                known += 1


@inner
def _hang_on(graph: int, node: int, found: int) -> None:
    """Let the nearest of POOL whose list has room link to `node`; where all are full, the nearest
    may choose.
    """
    pool, capacity = load_i64(graph + POOL), load_i64(graph + M0)
    place = 0
    while place < found:
        target = node_of(load_i64(pool + 8 * place), node)
        if _length_without(links_at(graph, target, 0), capacity, node) < capacity:
            break
        place += 1
    nearest = load_i64(pool + 8 * (place if place < found else 0))
    _add_to_list(graph, node_of(nearest, node), node, distance_of(nearest), 0)


@door
def reconnect_door(graph: int) -> int:
    """Link to what cannot be reached from the entry point over level 0; how many such parts were.

    Pruning a list trusts the neighbours that stay to lead to those that go. So they do once they
    know each other, which two that are inserted at the same moment may not.
    """
    levels, reached, parts = load_i64(graph + LEVELS), load_i64(graph + REACHED), 0
    _reach(graph, load_i64(graph + ENTRY))
    for node in range(load_i64(graph + FROM), load_i64(graph + UNTIL)):
        if load_u8(levels + node) != LEFT_OUT and load_u8(reached + node) == 0:
            query = _as_query(graph, node, QUERY)
            found = walk(graph, query, node, start(graph, query, node), 0, 0, node)
            _hang_on(graph, node, found)
            _reach(graph, node)
            parts += 1
    return parts


# --- checking --------------------------------------------------------------------------------

CHECK_LINKS, CHECK_LISTS, CHECK_CAPACITY, CHECK_OWNERS, CHECK_NODES, CHECK_LEVELS = range(0, 48, 8)
CHECK_PITCH, CHECK_STARTS, CHECK_CODES_AT, CHECK_CODE_BYTES, CHECK_ADVISE = range(48, 88, 8)
# CHECK_LINKS int32[lists, capacity], CHECK_PITCH bytes from one list to the next; or each list
# UNIT times its CHECK_STARTS, uint32[lists + 1], from there, if these are not 0, and its codes
# CHECK_CODES_AT from its begin; CHECK_OWNERS uint8[lists] the level that a list belongs to
# (LEFT_OUT: it must be empty); CHECK_LEVELS uint8[nodes] the level of every node; CHECK_ADVISE
# what `advise` takes where lists come from a disk, else 0.

LISTS_A_READ = 1024


@inner
def _is_node(levels: int, nodes: int, link: int, level: int) -> bool:
    if link < 0 or link >= nodes:
        return False
    return load_u8(levels + link) != LEFT_OUT and load_u8(levels + link) >= level


@inner
def _list_to_check(block: int, row: int) -> int:
    """Address of a list; of what is behind the last for the number behind it."""
    links, starts = load_i64(block + CHECK_LINKS), load_i64(block + CHECK_STARTS)
    if starts == 0:
        return links + load_i64(block + CHECK_PITCH) * row
    return links + UNIT * load_u32(starts + 4 * row)


@inner
def _let_go(block: int, first: int, until: int) -> None:
    how, begin = load_i64(block + CHECK_ADVISE), _list_to_check(block, first)
    if how != 0:
        let_go(how, begin, _list_to_check(block, until) - begin)


@inner
def _read_on(block: int, row: int) -> None:
    """Ask for the lists that come after the next ones of these, and let the last ones go."""
    how, lists = load_i64(block + CHECK_ADVISE), load_i64(block + CHECK_LISTS)
    if how == 0 or row % LISTS_A_READ != 0:
        return
    _let_go(block, max(0, row - LISTS_A_READ), row)
    begin = _list_to_check(block, row if row == 0 else min(row + LISTS_A_READ, lists))
    end = _list_to_check(block, min(row + 2 * LISTS_A_READ, lists))
    advise(how, begin, end - begin)


@door
def check_door(block: int) -> int:
    """The first list that is not sound, or -1.

    Sound: every link names a node whose level is at least that of the list, after the first -1
    there is nothing but -1, and the list has room for a code of every link.
    """
    capacity, codes_at = load_i64(block + CHECK_CAPACITY), load_i64(block + CHECK_CODES_AT)
    owners, levels = load_i64(block + CHECK_OWNERS), load_i64(block + CHECK_LEVELS)
    nodes, starts = load_i64(block + CHECK_NODES), load_i64(block + CHECK_STARTS)
    for row in range(load_i64(block + CHECK_LISTS)):
        level = load_u8(owners + row)
        _read_on(block, row)
        ended, list_ = level == LEFT_OUT, _list_to_check(block, row)
        for at in range(capacity):
            link = load_i32(list_ + 4 * at)
            if link == -1:
                ended = True
            elif ended or not _is_node(levels, nodes, link, level):
                return row
        if starts != 0:
            codes = load_i64(block + CHECK_CODE_BYTES) * degree_of(list_, capacity)
            if list_ + codes_at + codes > _list_to_check(block, row + 1):
                return row
    _let_go(block, 0, load_i64(block + CHECK_LISTS))
    return -1
