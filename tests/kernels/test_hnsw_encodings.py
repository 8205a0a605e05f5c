"""HNSW over rows in any encoding, built by several threads, and walked over what is not allowed."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_kernels import bits, encodings, hnsw, scan
from edge_kernels.encodings import (
    COSINE,
    DOT,
    EUCLID,
    FLOAT16,
    FLOAT32,
    INT8,
    MANHATTAN,
    METRICS,
    MULTI,
    PRODUCT,
    SCALED8,
    SCALED16,
    SLICED,
    UINT8,
    code_of,
)
from tests.kernels import made_rows
from tests.kernels.made_rows import PLAIN, query_of, rows_of

K = 10


def clustered(n, dim, seed=0, groups=12):
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((groups, dim)) * 2
    vectors = centres[random.integers(0, groups, n)] + random.standard_normal((n, dim))
    return vectors.astype(np.float32)


def quantised(encoding, vectors):
    """The numbers that rows of an encoding hold for these vectors, and the scales beside them."""
    scales = np.ones(len(vectors), np.float32)
    if encoding == UINT8:
        return np.clip(np.round(vectors * 14 + 128), 0, 255), scales
    if encoding == INT8:
        return np.clip(np.round(vectors * 14), -128, 127), scales
    if encoding in (SCALED8, SCALED16):
        most = 127 if encoding == SCALED8 else 32767
        scales = (np.abs(vectors).max(axis=1) / most).astype(np.float32)
        return np.round(vectors / scales[:, None]), scales
    return vectors.astype(made_rows.TYPES[encoding]), scales


def encoded(encoding, vectors):
    return rows_of(encoding, *quantised(encoding, vectors))[0]


def asked(encoding, vector):
    numbers, scales = quantised(encoding, vector[None, :])
    meant = numbers[0] * (scales[0] if encoding in (SCALED8, SCALED16) else 1)
    return query_of(encoding, meant)


def built(code, rows, threads=1, deleted=None, m=12, ef_construct=60):
    builder = hnsw.Builder(code, rows, len(rows), m, ef_construct, deleted, 1, threads)

    def work(lane):
        while builder.step(16, lane) < builder.n:
            pass

    others = [threading.Thread(target=work, args=(lane,)) for lane in range(1, threads)]
    for thread in others:
        thread.start()
    work(0)
    for thread in others:
        thread.join()
    assert builder.done == builder.n
    return builder.graph()


def found(graph, code, rows, query, ef=64, allowed=None, **named):
    return hnsw.search(graph, code, rows, query, ef, K, allowed, None, **named)


def exact(code, rows, query, allowed=None):
    """Offsets and distances of the nearest by scan."""
    ids, top = np.zeros((len(rows), 3), np.uint64), scan.TopK(K)
    ids[:, 2] = np.arange(len(rows))
    scan.scan(code, query, rows, len(rows), 0, allowed, ids, top)
    return top.finish()


def recall(graph, code, rows, queries, **named):
    hits = total = 0
    for query in queries:
        offsets, distances, _ = found(graph, code, rows, query, **named)
        wanted = exact(code, rows, query, named.get("allowed"))
        hits += len(set(offsets.tolist()) & set(wanted[0].tolist()))
        total += len(wanted[0])
        again = scan.distances(code, query, rows, 0, offsets)
        assert distances.tobytes() == again.tobytes()
    return hits / total


# --- encodings -------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("encoding", PLAIN)
def test_recall_and_the_bits_of_a_scan(encoding, metric):
    code, rows = code_of(metric, encoding), encoded(encoding, clustered(700, 24))
    queries = [asked(encoding, vector) for vector in clustered(20, 24, seed=1)]
    graph = built(code, rows)
    assert graph.metric == metric
    is_metric = metric in (EUCLID, MANHATTAN) or (metric, encoding) == (COSINE, UINT8)
    assert recall(graph, code, rows, queries) > (0.95 if is_metric else 0.75)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("encoding", PLAIN)
def test_recall_of_several_vectors(encoding, metric):
    random = np.random.default_rng(encoding)
    code, counts = code_of(metric, encoding, True), random.integers(1, 6, 300)
    centres = np.repeat(clustered(300, 20), counts, axis=0)
    vectors = encoded(encoding, centres + random.standard_normal(centres.shape) / 4)
    rows = made_rows.descriptors(vectors, counts)
    asked_vectors = [
        np.stack([asked(encoding, vector + noise) for noise in random.standard_normal((3, 20)) / 4])
        for vector in clustered(15, 20, seed=1)
    ]
    queries = [made_rows.descriptors(several, [3])[0] for several in asked_vectors]
    graph = built(code, rows)
    assert hnsw.Graph.from_arrays(graph.arrays(), 300).metric == metric
    is_metric = metric in (EUCLID, MANHATTAN) or (metric, encoding) == (COSINE, UINT8)
    assert recall(graph, code, rows, queries) > (0.9 if is_metric else 0.7)


def test_deleted_rows_of_several_vectors_are_not_looked_at():
    vectors = encoded(FLOAT16, clustered(200, 16))
    rows = made_rows.descriptors(vectors, [2] * 100)
    gone = np.arange(100) % 3 == 1
    rows[gone] = (8, 2**40, 2**40, 0)
    code = code_of(EUCLID, FLOAT16, True)
    deleted = bits.from_offsets(100, np.flatnonzero(gone).astype(np.uint32))
    graph = built(code, rows, deleted=deleted)
    several = asked(FLOAT16, clustered(1, 16, seed=1)[0])[None, :]
    offsets, _, _ = found(graph, code, rows, made_rows.descriptors(several, [1])[0], ef=100)
    assert len(offsets) == K
    assert not gone[offsets].any()


@pytest.mark.parametrize("encoding", [INT8, SCALED8, SLICED, PRODUCT])
def test_a_graph_of_float32_is_walked_with_shorter_rows(encoding):
    vectors = clustered(700, 24)
    rows = encoded(FLOAT32, vectors)
    graph, random = built(EUCLID, rows), np.random.default_rng(0)
    if encoding in (SLICED, PRODUCT):
        matrix = made_rows.made(code_of(EUCLID, encoding), 700, 24, random)
        shorter, queries = matrix.rows, [matrix.ask(random)[0] for _ in range(20)]
        for query in queries:
            offsets, distances, _ = found(graph, code_of(EUCLID, encoding), shorter, query)
            again = scan.distances(code_of(EUCLID, encoding), query, shorter, 0, offsets)
            assert distances.tobytes() == again.tobytes()
        return
    shorter = encoded(encoding, vectors)
    hits = 0
    for vector in clustered(20, 24, seed=1):
        query = asked(encoding, vector)
        if encoding == INT8:
            query[:4] = np.array([1 / 14**2], np.float32).view(np.int8)
        offsets, distances, _ = found(graph, code_of(EUCLID, encoding), shorter, query)
        nearest, wanted = exact(EUCLID, rows, query_of(FLOAT32, np.pad(vector, (0, 8)))[:32])
        hits += len(set(offsets.tolist()) & set(nearest.tolist()))
        np.testing.assert_allclose(distances[0], wanted[0], rtol=0.2)
    assert hits / 200 > 0.85


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("encoding", [SLICED, PRODUCT])
def test_no_graph_is_built_of_rows_that_are_no_queries(encoding, multi):
    matrix = made_rows.made(code_of(DOT, encoding), 5, 20, np.random.default_rng(0))
    rows = made_rows.descriptors(matrix.rows, [5]) if multi else matrix.rows
    with pytest.raises(ValueError, match="are no queries"):
        hnsw.Builder(code_of(DOT, encoding, multi), rows, 1, 8, 20)


@given(seed=st.integers(0, 2**16), encoding=st.sampled_from(PLAIN))
@settings(max_examples=25)
def test_equal_rows_are_reached(seed, encoding):
    """Some vectors, each many times over: twins must not swallow the walk. (With four links a node
    some may lie apart; walks that are swallowed find a sixth.)"""
    random = np.random.default_rng(seed)
    vectors = clustered(6, 8, seed)[random.integers(0, 6, 150)]
    code, rows = code_of(EUCLID, encoding), encoded(encoding, vectors)
    graph = built(code, rows, m=4, ef_construct=20)
    query = asked(encoding, vectors[0])
    assert len(hnsw.search(graph, code, rows, query, 150, 150, None, None)[0]) >= 140


# --- several threads -------------------------------------------------------------------------


def is_sound(graph):
    """Links name other nodes, none twice; and what is read from disk would be believed."""
    hnsw.Graph.from_arrays(graph.arrays(), graph.n)
    for node, links in enumerate(graph.links0):
        named = links[links >= 0].tolist()
        assert len(set(named)) == len(named) > 0
        assert node not in named
    return True


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_build_one_graph_together(threads):
    vectors = clustered(4000, 16)
    rows, queries = encoded(FLOAT32, vectors), clustered(60, 16, seed=1)
    alone, together = built(EUCLID, rows), built(EUCLID, rows, threads)
    assert is_sound(together)
    assert together.levels.tobytes() == alone.levels.tobytes()
    asked_for = [query_of(FLOAT32, vector) for vector in queries]
    wanted = recall(alone, EUCLID, rows, asked_for)
    assert recall(together, EUCLID, rows, asked_for) > wanted - 0.02
    reached = hnsw.search(together, EUCLID, rows, rows[0], 4000, 4000, None, None)[0]
    assert len(reached) == 4000


@pytest.mark.parametrize("encoding", [FLOAT16, INT8])
def test_threads_do_not_share_their_scratch(encoding):
    """Rows that are decoded to be compared."""
    code, rows = code_of(EUCLID, encoding), encoded(encoding, clustered(1500, 16))
    queries = [asked(encoding, vector) for vector in clustered(30, 16, seed=1)]
    assert recall(built(code, rows, threads=4), code, rows, queries) > 0.95


def test_few_nodes_and_many_threads():
    for n in (0, 1, 2, 7):
        rows = encoded(FLOAT32, clustered(7, 8))[:n]
        graph = built(EUCLID, rows, threads=6)
        again = hnsw.Graph.from_arrays(graph.arrays(), n)
        assert len(found(again, EUCLID, rows, np.zeros(16, np.float32))[0]) == n


def test_equal_rows_are_reached_when_threads_link_them():
    rows = np.ones((3000, 16), np.float32)
    graph = built(EUCLID, rows, threads=4)
    assert is_sound(graph)
    assert len(hnsw.search(graph, EUCLID, rows, rows[0], 3000, 3000, None, None)[0]) == 3000


def test_a_graph_is_finished_when_all_handed_out_rows_are_done():
    builder = hnsw.Builder(EUCLID, encoded(FLOAT32, clustered(100, 8)), 100, 8, 20, threads=2)
    assert builder.step(60, lane=1) == 60
    with pytest.raises(ValueError, match="only 60 of 100"):
        builder.graph()
    assert (builder.step(60), builder.done) == (100, 100)
    assert builder.graph().n == 100
    for lane in (-1, 2):
        with pytest.raises(ValueError, match="lane"):
            builder.step(1, lane=lane)


@pytest.mark.parametrize("threads", [0, -1, 65])
def test_a_number_of_threads_out_of_range_is_refused(threads):
    with pytest.raises(ValueError, match="threads"):
        hnsw.Builder(EUCLID, np.zeros((3, 16), np.float32), 3, 8, 20, threads=threads)


# --- over what is not allowed ----------------------------------------------------------------


@pytest.fixture(scope="module")
def walked():
    rows = encoded(FLOAT32, clustered(4000, 16))
    return rows, built(EUCLID, rows)


@pytest.mark.parametrize("share", [0.5, 0.3, 0.1])
def test_walking_over_others_finds_nearly_as_many(walked, share):
    rows, graph = walked
    flags = np.random.default_rng(3).random(4000) < share
    allowed = bits.from_offsets(4000, np.flatnonzero(flags).astype(np.uint32))
    queries = [query_of(FLOAT32, vector) for vector in clustered(60, 16, seed=1)]
    through = recall(graph, EUCLID, rows, queries, allowed=allowed)
    over = recall(graph, EUCLID, rows, queries, allowed=allowed, acorn=True)
    assert over > through - 0.05
    for query in queries:
        offsets, _, complete = found(graph, EUCLID, rows, query, allowed=allowed, acorn=True)
        assert (len(offsets), complete) == (K, True)
        assert flags[offsets].all()


def test_walking_over_none_is_the_plain_walk(walked):
    rows, graph = walked
    for vector in clustered(30, 16, seed=1):
        query = query_of(FLOAT32, vector)
        plain = found(graph, EUCLID, rows, query, ef=40)
        over = found(graph, EUCLID, rows, query, ef=40, allowed=bits.ones(4000), acorn=True)
        ignored = found(graph, EUCLID, rows, query, ef=40, acorn=True)
        for other in (over, ignored):
            assert plain[0].tolist() == other[0].tolist()
            assert plain[1].tobytes() == other[1].tobytes()


@given(chosen=st.sets(st.integers(0, 3999), max_size=12), seed=st.integers(0, 1000))
def test_what_is_too_far_apart_to_step_over_is_walked_to(walked, chosen, seed):
    rows, graph = walked
    members = np.array(sorted(chosen), np.uint32)
    allowed = bits.from_offsets(4000, members)
    query = query_of(FLOAT32, clustered(1, 16, seed)[0])
    over = found(graph, EUCLID, rows, query, allowed=allowed, acorn=True)
    plain = found(graph, EUCLID, rows, query, allowed=allowed)
    if len(plain[0]) == K:
        assert set(over[0].tolist()) <= chosen
    else:
        assert over[0].tolist() == plain[0].tolist()


def test_a_limit_of_hops_holds_for_walking_over_others(walked):
    rows, graph = walked
    flags = np.arange(4000) % 3 == 0
    allowed = bits.from_offsets(4000, np.flatnonzero(flags).astype(np.uint32))
    query = query_of(FLOAT32, clustered(1, 16, seed=5)[0])
    for limit in (1, 2, 5):
        short = found(graph, EUCLID, rows, query, allowed=allowed, acorn=True, limit_hops=limit)
        assert not short[2]
        assert flags[short[0]].all()
    free = found(graph, EUCLID, rows, query, allowed=allowed, acorn=True)
    long = found(graph, EUCLID, rows, query, allowed=allowed, acorn=True, limit_hops=10_000)
    assert (free[2], long[2]) == (True, True)
    assert free[0].tolist() == long[0].tolist()


def test_a_search_refuses_rows_and_queries_of_another_code(walked):
    rows, graph = walked
    with pytest.raises(ValueError, match="query must"):
        found(graph, code_of(EUCLID, INT8), rows.view(np.int8), np.zeros(64, np.int8))
    with pytest.raises(ValueError, match="rows must"):
        found(graph, EUCLID | MULTI, rows, np.zeros(4, np.int64))
    with pytest.raises(ValueError, match="unknown"):
        found(graph, 99 << 8, rows, rows[0])
    assert encodings.is_known(EUCLID | MULTI)


# --- candidates ranked by other rows ---------------------------------------------------------


@pytest.mark.parametrize("candidates", [1, K, 33, 5000])
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_candidates_are_ranked_by_the_final_rows(walked, candidates, share):
    rows, graph = walked
    ids = np.zeros((4000, 3), np.uint64)
    ids[:, 2] = np.random.default_rng(1).permutation(4000)
    flags = np.random.default_rng(3).random(4000) < share
    allowed = None if share == 1 else bits.from_offsets(4000, np.flatnonzero(flags).astype("u4"))
    others = encoded(FLOAT16, clustered(4000, 16, seed=8).round())  # with ties
    code = code_of(EUCLID, FLOAT16)
    for seed in range(5):
        query = query_of(FLOAT32, clustered(1, 16, seed)[0])
        last = query_of(FLOAT16, clustered(1, 16, seed + 50)[0].round())
        wide = max(K, candidates)
        near = hnsw.search(graph, EUCLID, rows, query, max(64, wide), wide, allowed, ids)[0]
        top = scan.TopK(K)
        scan.scan_list(code, last, others, 0, np.sort(near), ids, top)
        final = hnsw.Final(code, others, last, candidates)
        found = hnsw.search(graph, EUCLID, rows, query, 64, K, allowed, ids, final=final)
        offsets, distances = top.finish()
        assert found[0].tolist() == offsets.tolist()
        assert found[1].tobytes() == distances.tobytes()


def test_final_rows_that_do_not_fit_are_refused(walked):
    rows, graph = walked
    query = query_of(FLOAT32, clustered(1, 16)[0])
    for wrong in ((rows[:100], query), (rows, query[:8]), (rows[:, :8], query)):
        with pytest.raises(ValueError, match="must be"):
            hnsw.search(
                graph, EUCLID, rows, query, 8, 8, None, None, final=hnsw.Final(EUCLID, *wrong, 8)
            )
