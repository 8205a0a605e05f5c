"""Graphs with rows beside their links, over some rows, and from a mapped file: the same walk."""

from __future__ import annotations

import mmap
import tempfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.disk.advice import ahead_of
from edge_kernels import hnsw
from edge_kernels.encodings import COSINE, EUCLID, FLOAT16, FLOAT32, code_of
from edge_kernels.hnsw_graph import Graph
from edge_kernels.hnsw_inline import PAGE, UNIT, Inline, lists_above, lists_of_level_0
from tests.kernels.test_hnsw import ascending_ids, build, clustered, to_bits

N, DIM = 700, 24
CODE = code_of(COSINE, FLOAT16)
"""What is beside the links: a shorter encoding of the rows."""


def rows_and_codes():
    rows = clustered(N, DIM)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows, rows.astype(np.float16)


def inline_arrays(graph, codes, rows):
    small, ground, above = graph.arrays_beside(codes.view(np.uint8), rows)
    arrays = {"lists0": ground, "lists": above}
    made = {name: np.concatenate([*part.blocks]) for name, part in arrays.items()}
    assert all(made[name].shape == part.shape for name, part in arrays.items())
    return {**small, **made}


@pytest.fixture(scope="module")
def graphs():
    rows, codes = rows_and_codes()
    plain = build(COSINE, rows, m=5, ef_construct=40)
    return plain, Graph.from_arrays(inline_arrays(plain, codes, rows), N), rows, codes


def same(one, other):
    assert np.array_equal(one[0], other[0])
    assert one[1].tobytes() == other[1].tobytes()
    assert one[2] == other[2]


# --- beside the links ------------------------------------------------------------------------


@pytest.mark.parametrize("share", [None, 0.5, 0.2])
@pytest.mark.parametrize("acorn", [False, True])
@pytest.mark.parametrize("ranked", [False, True])
@pytest.mark.parametrize("hops", [0, 7])
def test_a_walk_by_copies_is_the_walk_by_the_rows(graphs, share, acorn, ranked, hops):
    plain, inline, rows, codes = graphs
    allowed = None if share is None else to_bits(np.random.default_rng(1).random(N) < share)
    for query in clustered(12, DIM, seed=2):
        final = hnsw.Final(code_of(COSINE, FLOAT32), rows, query, 20) if ranked else None
        others = (codes, query, 30, 10, allowed, ascending_ids(N), hops, acorn, final)
        same(
            hnsw.search(plain, CODE, *others),
            hnsw.search(inline, CODE, *others, beside=True),
        )


def test_copies_are_what_is_compared(graphs):
    """Other codes beside the links than in the matrix: the walk must follow those."""
    plain, _, rows, codes = graphs
    turned = codes[::-1].copy()
    inline = Graph.from_arrays(inline_arrays(plain, turned, rows), N)
    query = rows[3].copy()
    wanted = hnsw.search(plain, CODE, turned, query, 30, 10, None, None)
    same(wanted, hnsw.search(inline, CODE, turned, query, 30, 10, None, None, beside=True))
    missed = hnsw.search(inline, CODE, codes, query, 30, 10, None, None)
    assert not np.array_equal(wanted[0], missed[0])


def test_an_inline_graph_is_walked_by_other_rows_too(graphs):
    plain, inline, rows, _ = graphs
    query = rows[5].copy()
    code = code_of(COSINE, FLOAT32)
    same(
        hnsw.search(plain, code, rows, query, 30, 10, None, None),
        hnsw.search(inline, code, rows, query, 30, 10, None, None),
    )


def test_only_rows_that_are_there_are_beside(graphs):
    plain, inline, rows, codes = graphs
    query = rows[0].copy()
    code = code_of(COSINE, FLOAT32)
    with pytest.raises(ValueError, match="no rows of 64 bytes beside"):
        hnsw.search(plain, CODE, codes, query, 30, 10, None, None, beside=True)
    with pytest.raises(ValueError, match="no rows of 128 bytes beside"):
        hnsw.search(inline, code, rows, query, 30, 10, None, None, beside=True)
    final = hnsw.Final(CODE, codes, query, 20)
    with pytest.raises(ValueError, match="no final rows of 64 bytes"):
        hnsw.search(inline, CODE, codes, query, 30, 10, None, None, final=final, beside=True)


def random_links(random, lists, capacity, nodes):
    links = random.integers(-1, nodes, (lists, capacity)).astype(np.int32)
    for list_ in links:
        ends = np.flatnonzero(list_ < 0)
        list_[ends[0] if len(ends) else capacity :] = -1
    return links


@given(st.integers(1, 12), st.integers(1, 400), st.integers(1, 90), st.integers(0, 2**32))
def test_lists_are_links_codes_and_the_own_row(capacity, code_bytes, row_bytes, seed):
    random = np.random.default_rng(seed)
    links = random_links(random, 20, capacity, 20)
    codes = random.integers(0, 256, (20, code_bytes), dtype=np.uint8)
    rows = random.integers(0, 256, (20, row_bytes), dtype=np.uint8)
    inline = Inline(code_bytes, row_bytes)
    starts = inline.starts(links)
    ground = lists_of_level_0(links, starts, 4, 13, codes, rows)
    above = lists_above(links, 4, 13, codes)
    wanted0, wanted = np.zeros_like(ground), np.zeros_like(above)
    for number in range(4, 13):
        beside = codes[links[number][links[number] >= 0]].reshape(-1)
        begin, end = UNIT * (starts[number : number + 2].astype(int) - int(starts[4]))
        ground_, above_ = wanted0[begin:end], wanted[number - 4]
        for out, place in (
            (ground_, inline.codes_at0(capacity)),
            (above_, inline.codes_at(capacity)),
        ):
            out[: 4 * capacity] = links[number].view(np.uint8)
            out[place : place + len(beside)] = beside
        place = inline.row_at(capacity)
        ground_[place : place + row_bytes] = rows[number]
    assert np.array_equal(ground, wanted0)
    assert np.array_equal(above, wanted)


@given(st.integers(2, 64), st.integers(1, 200), st.integers(1, 6_000), st.integers(0, 2**32))
def test_lists_do_not_overlap_and_one_that_fits_into_a_page_lies_in_one(m0, code, row, seed):
    links = random_links(np.random.default_rng(seed), 30, m0, 30)
    inline = Inline(code, row)
    assert inline.row_at(m0) >= 4 * m0
    assert inline.codes_at0(m0) >= inline.row_at(m0) + row
    starts = UNIT * inline.starts(links).astype(int)
    used = inline.codes_at0(m0) + code * (links >= 0).sum(axis=1)
    assert (starts[:-1] + used <= starts[1:]).all()
    gaps = starts[1:] - starts[:-1] - used
    for begin, size, gap in zip(starts[:-1], used, gaps, strict=True):
        if size <= PAGE:
            assert begin // PAGE == (begin + size - 1) // PAGE
            assert gap < PAGE
        else:
            assert gap < PAGE + UNIT


def test_lists_that_do_not_fit_their_rows_are_refused():
    links, codes = np.array([[1, -1], [7, -1]], np.int32), np.zeros((4, 8), np.uint8)
    starts = Inline(8, 8).starts(links)
    with pytest.raises(ValueError, match="without a code"):
        lists_above(links, 0, 2, codes)
    with pytest.raises(ValueError, match="lists 0 to 3 of 2"):
        lists_above(links, 0, 3, codes)
    with pytest.raises(ValueError, match="lists 0 to 1 of 0"):
        lists_of_level_0(links, starts, 0, 1, codes, codes[:0])


def broken(name, change):
    def forge(arrays):
        arrays[name] = change(arrays[name].copy())
        return arrays

    return forge


def with_link(value):
    def change(lists):
        lists.reshape(-1)[:4] = np.frombuffer(np.int32(value).tobytes(), np.uint8)
        return lists

    return change


def less_room(starts):
    """The first list ends where the second begins, which is now too early."""
    starts[1] -= 1
    return starts


FORGED = {
    "layout is none": broken("layout", lambda layout: layout[:1]),
    "layout is too wide": broken("layout", lambda layout: layout << 40),
    "layout is none ": broken("layout", lambda layout: -layout),
    "no room for its codes": broken("layout", lambda layout: layout + np.array([640, 0])),
    "a list that is too short": broken("layout", lambda layout: layout + np.array([0, 6400])),
    "starts has the wrong length": broken("starts", lambda starts: starts[1:]),
    "starts do not fit": broken("starts", lambda starts: starts[::-1].copy()),
    "starts do not fit ": broken("starts", lambda starts: starts * 2),
    "list 0 of lists0 has a link out of range or no": broken("starts", less_room),
    "lists has the wrong shape": broken("lists", lambda lists: lists[1:]),
    "list 0 of lists0 has a link": broken("lists0", with_link(N)),
    "upper has a link": broken("lists", with_link(-2)),
    "lists0 is int8": broken("lists0", lambda lists: lists.view(np.int8)),
    "unknown format 1": broken("header", lambda header: np.r_[1, header[1:]]),
}


@pytest.mark.parametrize("complaint", FORGED)
def test_an_inline_graph_from_disk_is_not_believed(graphs, complaint):
    plain, _, rows, codes = graphs
    arrays = FORGED[complaint](inline_arrays(plain, codes, rows))
    with pytest.raises(ValueError, match=complaint.strip()):
        Graph.from_arrays(arrays, N)


# --- over some of the rows -------------------------------------------------------------------


@pytest.mark.parametrize("acorn", [False, True])
def test_members_are_the_rows_that_nodes_stand_for(acorn):
    rows = clustered(N, DIM)
    members = np.flatnonzero(np.random.default_rng(4).random(N) < 0.4).astype(np.uint32)
    few, ids, code = rows[members], ascending_ids(N)[::-1].copy(), code_of(EUCLID, FLOAT32)
    graph = build(EUCLID, few, m=5, ef_construct=40)
    allowed = np.random.default_rng(5).random(N) < 0.4
    for query in clustered(12, DIM, seed=2):
        for all_, some in ((None, None), (to_bits(allowed), to_bits(allowed[members]))):
            final = hnsw.Final(code, rows, query, 20)
            found = hnsw.search(
                graph, code, rows, query, 30, 10, all_, ids, 0, acorn, final, members=members
            )
            final = hnsw.Final(code, few, query, 20)
            wanted = hnsw.search(
                graph, code, few, query, 30, 10, some, ids[members], 0, acorn, final
            )
            same(found, (members[wanted[0]], *wanted[1:]))


def test_equal_rows_of_members_are_ordered_by_the_ids_of_rows():
    rows = np.ones((64, 16), np.float32)
    members = np.arange(1, 64, 2, dtype=np.uint32)
    ids, code = ascending_ids(64)[::-1].copy(), code_of(EUCLID, FLOAT32)
    graph = build(EUCLID, rows[members])
    found = hnsw.search(graph, code, rows, rows[0], 32, 32, None, ids, members=members)
    assert found[0].tolist() == members[::-1].tolist()


def test_members_have_to_fit():
    rows = clustered(50, 16)
    graph, code = build(EUCLID, rows[:20]), code_of(EUCLID, FLOAT32)
    members = np.arange(19, dtype=np.uint32)
    with pytest.raises(ValueError, match="members must be"):
        hnsw.search(graph, code, rows, rows[0], 5, 5, None, None, members=members)
    members = np.arange(40, 60, dtype=np.uint32)
    with pytest.raises(ValueError, match="rows must be at least 60"):
        hnsw.search(graph, code, rows, rows[0], 5, 5, None, None, members=members)


# --- from a disk -----------------------------------------------------------------------------


def mapped(values, file):
    """The same array as a mapping of a file."""
    place = file.tell() + -file.tell() % 64
    file.seek(place)
    file.write(values.tobytes())
    file.flush()
    raw = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
    return raw[place : place + values.nbytes].view(values.dtype).reshape(values.shape)


def test_reading_ahead_changes_nothing_of_what_is_found(graphs):
    plain, inline, rows, codes = graphs
    with tempfile.TemporaryFile() as file:
        arrays = {
            name: mapped(values, file) for name, values in inline_arrays(plain, codes, rows).items()
        }
        ahead = ahead_of(arrays["lists0"])
        assert ahead != 0
        assert ahead_of(rows) == 0
        from_disk = Graph.from_arrays(arrays, N, ahead)
        originals = mapped(rows, file)
        for query in clustered(12, DIM, seed=2):
            for allowed in (None, to_bits(np.arange(N) % 3 == 0)):
                others = (codes, query, 30, 10, allowed, ascending_ids(N), 0, False)
                final = hnsw.Final(code_of(COSINE, FLOAT32), rows, query, 20)
                wanted = hnsw.search(inline, CODE, *others, final, beside=True)
                same(wanted, hnsw.search(from_disk, CODE, *others, final, beside=True))
                final = hnsw.Final(code_of(COSINE, FLOAT32), originals, query, 20, ahead)
                same(wanted, hnsw.search(from_disk, CODE, *others, final))


def test_what_would_be_copied_is_not_let_go(graphs):
    """The pages of a copy are no file's: to let them go would be to lose what they hold."""
    plain, _, rows, codes = graphs
    with tempfile.TemporaryFile() as file:
        arrays = {
            name: mapped(values, file) for name, values in inline_arrays(plain, codes, rows).items()
        }
        arrays["lists"] = np.asfortranarray(arrays["lists"])
        with pytest.raises(ValueError, match="not laid out for it"):
            Graph.from_arrays(arrays, N, ahead_of(arrays["lists0"]))
        assert Graph.from_arrays(arrays, N).inline is not None
