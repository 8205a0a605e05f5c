"""One hop of a walk over an HNSW graph: the neighbours of a node that are new, and their distances.

Invariants:
- A candidate is one int64: order key of its distance << 32, then 31 bits that name the node, then
  one bit "expanded". The node is named by zigzag(node - base): candidates of one walk are totally
  ordered by (distance, nearness to the base), so a walk among equal vectors still has a direction
  and always ends. Searches use base 0 (smaller offsets first), building the node that is inserted.
- A walk marks what it has seen in `visited` (uint16) with an epoch of its own, so nothing is
  cleared between walks. Epochs are even; one more says that the list of a node was asked for too.
- A list of links is int32, ended by -1 or by its capacity. Lists of level 0 are rows of a matrix
  [n, m0], or begin at UNIT times what STARTS say; the list of level L >= 1 of a node is row
  first[node] + L - 1 of the matrix `upper` [_, m], whose rows lie a pitch apart. A list may have
  more behind its links (`hnsw_inline`).
- A node stands for the row of its number, or where there are MEMBERS for the row that these name.
- What is compared are rows of the matrix ROWS, or, in a graph that has them BESIDE its links, the
  copies behind a list: that of the node which its place `at` names is number `at`.
- What comes from a disk is asked for ahead only while hops are slow.
- While a graph is built, other threads may write the list that a hop reads: links are read once,
  and each is either what was there or what will be.
"""

from __future__ import annotations

from edge_kernels.hnsw_inline import UNIT
from edge_kernels.jit import (
    advise,
    distance_of_key,
    fill_bytes,
    inner,
    load_f32,
    load_i32,
    load_i64,
    load_shared_i32,
    load_u16,
    load_u32,
    move_bytes,
    nanoseconds,
    order_key,
    prefetch,
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
# the last hop was done, in nanoseconds; MEMBERS uint32[n] or 0; EPOCH address of an int64; POOL
# int64[EF]; FRESH int32[room], PLACES int32[room] and DISTANCES float32[room] hold the nodes of one
# hop and where their rows are, room = room_of(m0).

ENOUGH = 64  # a hop over nodes that are not allowed looks no further once it has found so many
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
def prefetch_list(graph: int, node: int, level: int) -> None:
    """Have the list of a node at hand, where it is in memory."""
    if load_i64(graph + ADVISE) == 0:
        _prefetch_lines(links_at(graph, node, level))


@inner
def ask_for_list(graph: int, node: int, epoch: int) -> None:
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
def disk_of(graph: int) -> int:
    """What `advise` takes for something of what hops read; 0 if nothing comes from a disk."""
    lists = load_i64(graph + ADVISE)
    return lists if lists != 0 else load_i64(graph + ROWS_ADVISE)


@inner
def begin_hops(graph: int, disk: int) -> None:
    """Begin to mind the time."""
    if disk != 0:
        store_i64(graph + SINCE, nanoseconds(disk))


@inner
def end_hop(graph: int, disk: int) -> None:
    """Ask ahead for a while if the hop was slow."""
    if disk == 0:
        return
    now, asking = nanoseconds(disk), max(0, load_i64(graph + ASKING) - 1)
    if now - load_i64(graph + SINCE) > SLOW:
        asking = LASTING
    store_i64(graph + ASKING, asking)
    store_i64(graph + SINCE, now)


@inner
def is_seen(visited: int, node: int, epoch: int) -> bool:
    """Whether `node` carries the mark `epoch`, which it does from now on."""
    if load_u16(visited + 2 * node) & ~1 == epoch:
        return True
    store_u16(visited + 2 * node, epoch)
    return False


@inner
def is_beside(graph: int) -> bool:
    return load_i64(graph + BESIDE0) != 0


@inner
def rows_for(graph: int, links: int, level: int) -> int:
    """Address of the rows among which PLACES names those of the neighbours in the list `links`."""
    beside = load_i64(graph + (BESIDE0 if level == 0 else BESIDE))
    return load_i64(graph + ROWS) if beside == 0 else links + beside


@inner
def add_fresh(
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
def measure_rows(graph: int, query: int, rows: int, first: int, count: int) -> None:
    """Distances of the query to the rows at the places FIRST..COUNT-1, to DISTANCES."""
    places, out = load_i64(graph + PLACES) + 4 * first, load_i64(graph + DISTANCES) + 4 * first
    size, how = load_i64(graph + SIZE), load_i64(graph + ROWS_ADVISE)
    if how != 0 and load_i64(graph + ASKING) > 0:
        for at in range(count - first):
            advise(how, rows + size * load_u32(places + 4 * at), size)
    distances_of(load_i64(graph + MEASURE), query, rows, size, places, count - first, out)


@inner
def find_new(graph: int, query: int, node: int, level: int, epoch: int) -> int:
    """Mark the neighbours of `node` not yet seen, list and measure them; their number."""
    links, capacity = links_at(graph, node, level), capacity_at(graph, level)
    rows, members = rows_for(graph, links, level), load_i64(graph + MEMBERS)
    beside, visited, count = is_beside(graph), load_i64(graph + VISITED), 0
    for at in range(capacity):
        neighbour = load_shared_i32(links + 4 * at)
        if neighbour < 0:
            break
        if not is_seen(visited, neighbour, epoch):
            count = add_fresh(graph, rows, members, beside, neighbour, at, count)
    measure_rows(graph, query, rows, 0, count)
    return count


@inner
def find_all(graph: int, query: int, node: int, level: int) -> int:
    """List and measure all neighbours of `node`; their number."""
    links, capacity = links_at(graph, node, level), capacity_at(graph, level)
    rows, members = rows_for(graph, links, level), load_i64(graph + MEMBERS)
    beside, count = is_beside(graph), 0
    while count < capacity:
        neighbour = load_shared_i32(links + 4 * count)
        if neighbour < 0:
            break
        count = add_fresh(graph, rows, members, beside, neighbour, count, count)
    measure_rows(graph, query, rows, 0, count)
    return count


@inner
def distance_to(graph: int, query: int, node: int) -> float:
    """Distance of the query to one node, by way of DISTANCES."""
    size, out = load_i64(graph + SIZE), load_i64(graph + DISTANCES)
    row = load_i64(graph + ROWS) + size * row_of(graph, node)
    distances_of(load_i64(graph + MEASURE), query, row, size, 0, 1, out)
    return load_f32(out)
