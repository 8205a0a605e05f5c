"""HNSW: good against a full scan, deterministic, always ending, and wary of the disk."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_kernels import distance, hnsw

METRICS = (distance.COSINE, distance.DOT, distance.EUCLID, distance.MANHATTAN)


def clustered(n, dim, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((20, dim)) * 2
    rows = np.zeros((n, distance.stride_of(dim)), np.float32)
    rows[:, :dim] = centres[rng.integers(0, 20, n)] + rng.standard_normal((n, dim))
    return rows


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def ascending_ids(n):
    ids = np.zeros((n, 3), np.uint64)
    ids[:, 2] = np.arange(n)
    return ids


def to_bits(flags):
    padded = np.pad(flags, (0, -len(flags) % 64))
    return np.packbits(padded, bitorder="little").view(np.uint64)


def build(metric, rows, n=None, m=16, ef_construct=100, deleted=None, seed=0, slices=1 << 30):
    builder = hnsw.Builder(
        metric, rows, len(rows) if n is None else n, m, ef_construct, deleted, seed
    )
    while builder.step(slices) < builder.n:
        pass
    return builder.graph()


def search(graph, rows, *others, **named):
    """With float32 rows, for which the metric is the code."""
    return hnsw.search(graph, graph.metric, rows, *others, **named)


def true_distances(metric, rows, query):
    if metric == distance.EUCLID:
        return ((rows - query) ** 2).sum(axis=1)
    if metric == distance.MANHATTAN:
        return np.abs(rows - query).sum(axis=1)
    return -(rows @ query)


def recall(graph, rows, queries, ef, allowed=None, k=10):
    hits = 0
    bits = None if allowed is None else to_bits(allowed)
    for query in queries:
        exact = true_distances(graph.metric, rows, query)
        if allowed is not None:
            exact = np.where(allowed, exact, np.inf)
        found, _, _ = search(graph, rows, query, ef, k, bits, ascending_ids(len(rows)))
        hits += len(set(np.argsort(exact)[:k].tolist()) & set(found.tolist()))
    return hits / (k * len(queries))


@pytest.mark.parametrize("metric", METRICS)
def test_recall_and_order(metric):
    rows, queries = clustered(3000, 24), clustered(40, 24, seed=1)
    if metric == distance.COSINE:
        rows, queries = unit(rows), unit(queries)
    graph = build(metric, rows)
    # Inner products of vectors of any length are no metric; hnswlib reaches 0.85 here.
    assert recall(graph, rows, queries, 64) > (0.8 if metric == distance.DOT else 0.94)
    for query in queries[:5]:
        offsets, distances, complete = search(graph, rows, query, 64, 10, None, None)
        assert complete
        assert (np.diff(distances) >= 0).all()
        exact = true_distances(metric, rows, query)[offsets]
        np.testing.assert_allclose(distances, exact, rtol=1e-4, atol=1e-4)
        assert (offsets.dtype, distances.dtype) == (np.uint32, np.float32)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
def test_filter_is_honoured_and_does_not_cost_recall(share):
    rows, queries = clustered(3000, 24), clustered(20, 24, seed=1)
    allowed = np.random.default_rng(2).random(3000) < share
    graph = build(distance.EUCLID, rows)
    assert recall(graph, rows, queries, 64, allowed) > 0.97
    offsets, _, _ = search(graph, rows, queries[0], 64, 50, to_bits(allowed), None)
    assert len(offsets) == min(50, allowed.sum())
    assert allowed[offsets].all()


def test_filter_without_a_match_finds_nothing_and_ends():
    rows = clustered(500, 8)
    graph = build(distance.EUCLID, rows)
    offsets, distances, complete = search(
        graph, rows, rows[0], 10, 10, np.zeros(8, np.uint64), None
    )
    assert (len(offsets), len(distances), complete) == (0, 0, True)


def test_same_seed_same_graph_whatever_the_slices():
    rows = clustered(700, 16)
    whole = build(distance.EUCLID, rows, seed=5).arrays()
    sliced = build(distance.EUCLID, rows, seed=5, slices=13).arrays()
    other = build(distance.EUCLID, rows, seed=6).arrays()
    assert all(whole[name].tobytes() == sliced[name].tobytes() for name in whole)
    assert whole["levels"].tobytes() != other["levels"].tobytes()


def test_steps_are_bounded_and_the_graph_waits_for_the_last():
    rows = clustered(100, 8)
    builder = hnsw.Builder(distance.EUCLID, rows, 100, 8, 20, None, 0)
    assert builder.step(64) == 64
    with pytest.raises(ValueError, match="only 64 of 100"):
        builder.graph()
    assert builder.step(64) == 100
    assert builder.step(1) == 100
    assert builder.graph().n == 100


def test_links_obey_the_capacities_and_name_other_nodes_once():
    graph = build(distance.EUCLID, clustered(1500, 8), m=4, ef_construct=30)
    assert graph.links0.shape == (1500, 8)
    assert graph.upper.shape == (int(graph.levels.sum()), 4)
    for node, links in enumerate(graph.links0):
        named = links[links >= 0].tolist()
        assert len(set(named)) == len(named) > 0
        assert node not in named


def test_deleted_rows_are_left_out():
    rows = clustered(1000, 16)
    deleted = np.random.default_rng(0).random(1000) < 0.4
    graph = build(distance.EUCLID, rows, deleted=to_bits(deleted))
    assert not deleted[graph.links0[graph.links0 >= 0]].any()
    assert (graph.links0[deleted] == -1).all()
    assert recall(graph, rows, clustered(20, 16, seed=1), 64, ~deleted) > 0.97
    offsets, _, _ = search(graph, rows, rows[0], 1000, 1000, None, None)
    assert sorted(offsets.tolist()) == np.flatnonzero(~deleted).tolist()


@pytest.mark.parametrize("n", [0, 1, 2, 5])
@pytest.mark.parametrize("ef", [1, 3, 1000])
def test_tiny_graphs(n, ef):
    rows = clustered(5, 4)
    graph = build(distance.EUCLID, rows, n=n)
    again = hnsw.Graph.from_arrays(graph.arrays(), n)
    for k in (0, 1, 10):
        offsets, _, complete = search(again, rows, rows[0], ef, k, None, ascending_ids(5))
        assert len(set(offsets.tolist())) == len(offsets) == min(k, n)
        assert complete
        assert not offsets.size or offsets[0] == 0


def test_all_deleted():
    rows = clustered(70, 4)
    graph = build(distance.EUCLID, rows, deleted=np.full(2, 2**64 - 1, np.uint64))
    assert graph.entry == -1
    again = hnsw.Graph.from_arrays(graph.arrays(), 70)
    assert len(search(again, rows, rows[0], 10, 10, None, None)[0]) == 0


@pytest.mark.parametrize("metric", METRICS)
def test_ten_thousand_equal_vectors_are_all_reached(metric):
    rows = np.ones((10_000, 16), np.float32)
    graph = build(metric, rows)
    offsets, distances, _ = search(graph, rows, rows[0], 10_000, 10_000, None, None)
    assert offsets.tolist() == list(range(10_000))
    assert len(set(distances.tolist())) == 1
    one = to_bits(np.arange(10_000) == 7777)
    assert search(graph, rows, rows[0], 10, 10, one, None)[0].tolist() == [7777]


def test_a_crowd_of_equal_vectors_does_not_swallow_the_walk():
    rows = clustered(2000, 16)
    crowd = np.random.default_rng(1).random(2000) < 0.5
    rows[crowd] = rows[0]
    graph = build(distance.EUCLID, rows)
    others = np.flatnonzero(~crowd)
    found = sum(
        int(search(graph, rows, rows[node], 64, 1, None, None)[0][0] == node) for node in others
    )
    assert found / len(others) > 0.93
    allowed = to_bits(~crowd)
    assert len(search(graph, rows, rows[0], 50, 50, allowed, None)[0]) == 50


@given(seed=st.integers(0, 2**16), k=st.integers(1, 60))
@settings(deadline=None, max_examples=25)
def test_ties_go_to_the_smaller_id(seed, k):
    rng = np.random.default_rng(seed)
    rows = np.zeros((60, 16), np.float32)
    rows[:, 0] = rng.integers(0, 4, 60)
    ids = np.zeros((60, 3), np.uint64)
    ids[:, 0] = rng.integers(0, 2, 60)
    ids[:, 1:] = rng.permutation(120).reshape(60, 2)
    ids[:, 1:] += np.uint64(2**63)
    graph = build(distance.EUCLID, rows)
    query = np.zeros(16, np.float32)
    offsets, _, _ = search(graph, rows, query, 60, k, None, ids)
    order = sorted(range(60), key=lambda at: (rows[at, 0], *ids[at].tolist()))
    assert offsets.tolist() == order[:k]


def test_hop_limit_gives_the_best_so_far_and_says_so():
    rows, query = clustered(2000, 16), clustered(1, 16, seed=1)[0]
    graph = build(distance.EUCLID, rows)
    everything = to_bits(np.ones(2000, bool))
    for allowed in (None, everything):
        short = search(graph, rows, query, 64, 10, allowed, None, limit_hops=1)
        assert not short[2]
        assert len(short[0])
        long = search(graph, rows, query, 64, 10, allowed, None, limit_hops=100_000)
        free = search(graph, rows, query, 64, 10, allowed, None)
        assert long[2]
        assert long[0].tolist() == free[0].tolist()
        assert short[1][0] >= free[1][0]


def test_a_filter_that_allows_all_changes_nothing():
    rows = clustered(2000, 16)
    graph = build(distance.EUCLID, rows)
    everything = to_bits(np.ones(2000, bool))
    for query in clustered(30, 16, seed=1):
        plain = search(graph, rows, query, 40, 40, None, None)
        through = search(graph, rows, query, 40, 40, everything, None)
        assert plain[0].tolist() == through[0].tolist()
        assert plain[1].tobytes() == through[1].tobytes()


def test_vectors_that_overflow_come_last():
    rows = clustered(200, 16)
    rows[:, :2] = 0
    rows[5, :2] = (3e38, -3e38)
    graph = build(distance.DOT, rows)
    query = np.zeros(16, np.float32)
    query[:2] = 3e38
    query[2] = 1
    offsets, _, _ = search(graph, rows, query, 200, 200, None, None)
    assert offsets[-1] == 5


def test_a_graph_in_two_parts_ends():
    rows = clustered(64, 8)
    links0 = np.full((64, 8), -1, np.int32)
    links0[:32, 0] = (np.arange(32) + 1) % 32
    header = np.array([1, distance.EUCLID, 64, 4, 8, 10, 0, 0], np.int64)
    parts = {
        "header": header,
        "levels": np.zeros(64, np.uint8),
        "links0": links0,
        "upper": np.empty((0, 4), np.int32),
    }
    graph = hnsw.Graph.from_arrays(parts, 64)
    found = search(graph, rows, rows[40], 64, 64, None, None)[0]
    assert sorted(found.tolist()) == list(range(32))
    late = to_bits(np.arange(64) >= 32)
    assert len(search(graph, rows, rows[40], 64, 64, late, None)[0]) == 0


def test_epochs_wrap_around():
    rows = clustered(40, 4)
    graph = build(distance.EUCLID, rows)
    expected = search(graph, rows, rows[3], 10, 10, None, None)[0].tolist()
    for _ in range(66_000):
        found = search(graph, rows, rows[3], 10, 10, None, None)[0]
    assert found.tolist() == expected


def test_threads_search_apart():
    rows = clustered(2000, 16)
    graph = build(distance.EUCLID, rows)
    queries = clustered(200, 16, seed=1)
    expected = [search(graph, rows, q, 64, 10, None, None)[0].tolist() for q in queries]
    outcomes = {}

    def work(name):
        outcomes[name] = [search(graph, rows, q, 64, 10, None, None)[0].tolist() for q in queries]

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [outcomes[name] for name in range(4)] == [expected] * 4


# --- what comes from disk --------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound():
    deleted = to_bits(np.arange(300) % 10 == 9)
    return build(distance.EUCLID, clustered(300, 8), m=4, ef_construct=20, deleted=deleted)


def test_arrays_come_back(sound):
    again = hnsw.Graph.from_arrays(sound.arrays(), 300)
    assert (again.metric, again.n, again.m, again.m0) == (distance.EUCLID, 300, 4, 8)
    assert (again.entry, again.top_level) == (sound.entry, sound.top_level)
    assert again.arrays()["links0"].tobytes() == sound.links0.tobytes()


def damaged(name, change):
    def apply(arrays):
        values = arrays[name].copy()
        change(values)
        return {**arrays, name: values}

    return apply


def put(place, value):
    def change(values):
        values[place] = value

    return change


DAMAGE = {
    "missing": (lambda arrays: {"header": arrays["header"]}, "levels is missing"),
    "dtype": (lambda a: {**a, "links0": a["links0"].astype(np.int64)}, "links0 is int64"),
    "short": (lambda a: {**a, "links0": a["links0"][:-1]}, "links0 has the wrong shape"),
    "narrow": (lambda a: {**a, "upper": a["upper"][:, :3]}, "upper has the wrong shape"),
    "short upper": (lambda a: {**a, "upper": a["upper"][1:]}, "upper has the wrong shape"),
    "short levels": (lambda a: {**a, "levels": a["levels"][1:]}, "levels has the wrong"),
    "short header": (lambda a: {**a, "header": a["header"][1:]}, "header has the wrong length"),
    "format": (damaged("header", put(0, 9)), "unknown format 9"),
    "metric": (damaged("header", put(1, 4)), "unknown metric 4"),
    "negative metric": (damaged("header", put(1, -1)), "unknown metric -1"),
    "rows": (damaged("header", put(2, 301)), "over 301 rows"),
    "m": (damaged("header", put(3, 1)), "m is 1"),
    "m0": (damaged("header", put(4, 3)), "m0 is 3"),
    "ef": (damaged("header", put(5, 0)), "ef_construct is 0"),
    "entry": (damaged("header", put(6, 300)), "entry point 300 is out of range"),
    "negative entry": (damaged("header", put(6, -1)), "entry point -1 is out of range"),
    "deleted entry": (damaged("header", put(6, 9)), "not at the top"),
    "top": (damaged("header", put(7, 0)), "not at the top"),
    "level": (damaged("levels", put(0, 200)), "a level is above"),
    "link": (damaged("links0", put((7, 0), 300)), "row 7 of links0"),
    "negative link": (damaged("links0", put((7, 0), -2)), "row 7 of links0"),
    "link to deleted": (damaged("links0", put((7, 0), 9)), "row 7 of links0"),
    "link of deleted": (damaged("links0", put((9, 0), 1)), "row 9 of links0"),
    "hole": (damaged("links0", lambda v: put((7, slice(0, 3)), (1, -1, 2))(v)), "row 7 of"),
    "upper link": (damaged("upper", put((0, 0), 300)), "row 0 of upper"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_refused(sound, name):
    change, complaint = DAMAGE[name]
    with pytest.raises(ValueError, match=complaint):
        hnsw.Graph.from_arrays(change(sound.arrays()), 300)


def test_a_link_above_the_level_of_its_node_is_refused(sound):
    low = int(np.flatnonzero(sound.levels == 0)[0])
    arrays = damaged("upper", put((2, 0), low))(sound.arrays())
    with pytest.raises(ValueError, match="row 2 of upper"):
        hnsw.Graph.from_arrays(arrays, 300)


def test_wrong_number_of_rows_is_refused(sound):
    with pytest.raises(ValueError, match="over 300 rows, not 299"):
        hnsw.Graph.from_arrays(sound.arrays(), 299)


@given(
    name=st.sampled_from(["header", "levels", "links0", "upper"]),
    where=st.integers(0, 10**6),
    bit=st.integers(0, 63),
)
@settings(deadline=None, max_examples=300)
def test_a_flipped_bit_is_refused_or_harmless(sound, name, where, bit):
    arrays = sound.arrays()
    values = np.frombuffer(bytearray(arrays[name].tobytes()), np.uint8)
    values[where % len(values)] ^= np.uint8(1 << (bit % 8))
    arrays[name] = values.view(arrays[name].dtype).reshape(arrays[name].shape)
    try:
        graph = hnsw.Graph.from_arrays(arrays, 300)
    except ValueError:
        return
    rows = clustered(300, 8)
    offsets, _, _ = search(graph, rows, rows[0], 50, 50, None, None)
    assert (offsets < 300).all()
    assert (graph.levels[offsets] <= hnsw.MAX_LEVEL).all()


def wrong_calls():
    rows = clustered(10, 8)
    query, bits, ids = rows[0], np.zeros(1, np.uint64), ascending_ids(10)
    return {
        "few rows": (rows[:9], query, bits, ids),
        "wide rows": (rows.astype(np.float64), query, bits, ids),
        "strided rows": (np.repeat(rows, 2, axis=1)[:, ::2], query, bits, ids),
        "long query": (rows, np.zeros(32, np.float32), bits, ids),
        "wide query": (rows, query.astype(np.float64), bits, ids),
        "short bits": (rows, query, bits[:0], ids),
        "bool bits": (rows, query, np.ones(10, bool), ids),
        "few ids": (rows, query, bits, ids[:9]),
        "flat ids": (rows, query, bits, ids[:, 0]),
    }


@pytest.mark.parametrize("name", wrong_calls())
def test_arrays_that_do_not_fit_are_refused(name):
    graph = build(distance.EUCLID, clustered(10, 8))
    rows, query, bits, ids = wrong_calls()[name]
    with pytest.raises(ValueError, match="must be"):
        search(graph, rows, query, 10, 10, bits, ids)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"m": 1}, "m is 1"),
        ({"ef_construct": 0}, "ef_construct is 0"),
        ({"n": 11}, "n is 11 of 10 rows"),
        ({"n": -1}, "n is -1"),
        ({"code": 4}, "unknown metric"),
        ({"rows": np.zeros((10, 8), np.float32)}, "rows must be"),
        ({"deleted": np.zeros(0, np.uint64)}, "a bitset of 10 bits"),
    ],
)
def test_a_builder_refuses_what_it_cannot_build(change, complaint):
    arguments = {
        "code": distance.EUCLID,
        "rows": clustered(10, 8),
        "n": 10,
        "m": 4,
        "ef_construct": 10,
        "deleted": None,
        "seed": 0,
    }
    with pytest.raises(ValueError, match=complaint):
        hnsw.Builder(**{**arguments, **change})
