"""Exact search against numpy, and its three ways against each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_kernels import bits, scan
from edge_kernels.distance import COSINE, DOT, EUCLID, MANHATTAN, stride_of
from edge_kernels.scan import TopK

METRICS = [COSINE, DOT, EUCLID, MANHATTAN]


def plain_distances(metric: int, query: np.ndarray, rows: np.ndarray) -> np.ndarray:
    query, rows = query.astype(np.float64), rows.astype(np.float64)
    if metric == EUCLID:
        return ((rows - query) ** 2).sum(axis=1)
    if metric == MANHATTAN:
        return np.abs(rows - query).sum(axis=1)
    return -(rows @ query)


def small_integers(random: np.random.Generator, n: int, dim: int) -> np.ndarray:
    """Rows whose distances are exact in float32, with many ties."""
    rows = np.zeros((n, stride_of(dim)), np.float32)
    rows[:, :dim] = random.integers(-2, 3, (n, dim))
    return rows


def shuffled_ids(n: int, random: np.random.Generator) -> np.ndarray:
    ids = np.zeros((n, 3), np.uint64)
    ids[:, 0] = random.integers(0, 2, n)
    ids[:, 1] = ids[:, 0] * random.integers(0, 3, n).astype(np.uint64)
    ids[:, 2] = random.permutation(n)
    return ids


def best(distances: np.ndarray, ids: np.ndarray, offsets: np.ndarray, k: int) -> np.ndarray:
    order = np.lexsort((ids[offsets, 2], ids[offsets, 1], ids[offsets, 0], distances[offsets]))
    return offsets[order][:k]


@settings(deadline=None, max_examples=200)  # the first call compiles
@given(
    metric=st.sampled_from(METRICS),
    n=st.integers(0, 400),
    dim=st.integers(1, 40),
    k=st.integers(0, 30),
    chunk=st.integers(1, 200),
    part=st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0]),
    seed=st.integers(0, 1000),
)
def test_every_way_is_the_full_sort(
    metric: int, n: int, dim: int, k: int, chunk: int, part: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    rows, ids = small_integers(random, n, dim), shuffled_ids(n, random)
    query = small_integers(random, 1, dim)[0]
    members = np.flatnonzero(random.random(n) < part).astype(np.uint32)
    allowed = bits.from_offsets(n, members)
    everything, filtered, listed = TopK(k), TopK(k), TopK(k)
    for base in range(0, n, chunk):
        piece = rows[base : base + chunk]
        inside = members[(members >= base) & (members < base + len(piece))]
        scan.scan(metric, query, piece, len(piece), base, None, ids, everything)
        scan.scan(metric, query, piece, len(piece), base, allowed, ids, filtered)
        scan.scan_list(metric, query, piece, base, inside, ids, listed)
    wanted = plain_distances(metric, query, rows)
    assert_found(everything, wanted, best(wanted, ids, np.arange(n), k))
    assert_found(filtered, wanted, best(wanted, ids, members, k))
    assert_found(listed, wanted, best(wanted, ids, members, k))


@settings(deadline=None)
@given(
    metric=st.sampled_from(METRICS),
    n=st.integers(0, 200),
    sizes=st.lists(st.integers(0, 30), max_size=9),
    chunk=st.integers(1, 100),
    seed=st.integers(0, 1000),
)
def test_several_queries_share_rows_and_nothing_else(
    metric: int, n: int, sizes: list[int], chunk: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    rows, ids = small_integers(random, n, 20), shuffled_ids(n, random)
    queries = list(small_integers(random, len(sizes), 20))
    tops = [TopK(k) for k in sizes]
    for base in range(0, n, chunk):
        piece = rows[base : base + chunk]
        scan.scan_together(metric, queries, piece, len(piece), base, None, ids, tops)
    for query, top in zip(queries, tops, strict=True):
        wanted = plain_distances(metric, query, rows)
        assert_found(top, wanted, best(wanted, ids, np.arange(n), top.k))


def assert_found(top: TopK, distances: np.ndarray, wanted: np.ndarray) -> None:
    found, reported = top.finish()
    assert found.tolist() == wanted.tolist()
    assert reported.tolist() == distances[wanted].tolist()


@pytest.mark.parametrize("metric", METRICS)
def test_real_numbers_to_float32_precision(metric: int) -> None:
    random = np.random.default_rng(metric)
    rows = np.zeros((300, stride_of(100)), np.float32)
    rows[:, :100] = random.standard_normal((300, 100))
    query = rows[7].copy()
    got = scan.distances(metric, query, rows, 0, np.arange(300, dtype=np.uint32))
    np.testing.assert_allclose(got, plain_distances(metric, query, rows), rtol=2e-6, atol=5e-5)


@pytest.mark.parametrize("metric", METRICS)
def test_a_row_has_the_same_bits_by_every_way(metric: int) -> None:
    random = np.random.default_rng(9)
    rows = np.tile(random.standard_normal((1, 48)).astype(np.float32), (131, 1))
    ids, query = shuffled_ids(131, random), random.standard_normal(48).astype(np.float32)
    every = np.arange(131, dtype=np.uint32)
    seen = {*scan.distances(metric, query, rows, 0, every).tolist()}
    for offset in range(0, 131, 10):
        seen |= {*scan.distances(metric, query, rows, 0, every[offset : offset + 1]).tolist()}
    for allowed in (None, bits.from_offsets(131, every[::3])):
        top = TopK(131)
        scan.scan(metric, query, rows, 131, 0, allowed, ids, top)
        seen |= {*top.finish()[1].tolist()}
    assert len(seen) == 1


def test_only_the_counted_rows_and_only_allowed_ones_within_them() -> None:
    rows = np.zeros((200, 16), np.float32)
    ids = shuffled_ids(500, np.random.default_rng(1))
    for base, count in ((0, 200), (1, 63), (63, 2), (64, 64), (100, 0), (130, 200), (300, 1)):
        top = TopK(1000)
        scan.scan(DOT, rows[0], rows, count, base, bits.ones(500), ids, top)
        assert sorted(top.finish()[0].tolist()) == list(range(base, base + count))


def test_one_allowed_row_at_each_place() -> None:
    random = np.random.default_rng(2)
    rows, ids = small_integers(random, 200, 16), shuffled_ids(200, random)
    for offset in range(200):
        top = TopK(3)
        allowed = bits.from_offsets(200, np.array([offset], np.uint32))
        scan.scan(EUCLID, rows[0], rows, 200, 0, allowed, ids, top)
        assert top.finish()[0].tolist() == [offset]


def test_distances_come_in_the_given_order_with_repeats() -> None:
    rows = np.zeros((20, 16), np.float32)
    rows[:, 0] = np.arange(20)
    query = np.zeros(16, np.float32)
    wanted = np.array([1019, 1000, 1007, 1007, 1001, 1002], np.uint32)
    assert scan.distances(MANHATTAN, query, rows, 1000, wanted).tolist() == [19, 0, 7, 7, 1, 2]
    assert scan.distances(MANHATTAN, query, rows, 1000, wanted[:0]).tolist() == []


def test_what_lies_outside_is_refused_and_changes_nothing() -> None:
    rows, query = np.zeros((10, 16), np.float32), np.zeros(16, np.float32)
    ids, top = shuffled_ids(30, np.random.default_rng(3)), TopK(5)
    for offset in (4, 15, 2**32 - 1):
        listed = np.array([7, offset], np.uint32)
        with pytest.raises(IndexError):
            scan.scan_list(DOT, query, rows, 5, listed, ids, top)
        with pytest.raises(IndexError):
            scan.distances(DOT, query, rows, 5, listed)
    with pytest.raises(IndexError):
        scan.scan_list(DOT, query, rows, 25, np.array([30], np.uint32), ids, top)
    with pytest.raises(ValueError, match="rows asked"):
        scan.scan(DOT, query, rows, 11, 0, None, ids, top)
    with pytest.raises(ValueError, match="ids"):
        scan.scan(DOT, query, rows, 10, 21, None, ids, top)
    with pytest.raises(ValueError, match="words"):
        scan.scan(DOT, query, rows, 10, 0, bits.zeros(0), ids, top)
    with pytest.raises(ValueError, match="query"):
        scan.scan(DOT, np.zeros(32, np.float32), rows, 10, 0, None, ids, top)
    wrong, other = np.zeros(32, np.float32), TopK(5)
    with pytest.raises(ValueError, match="query"):
        scan.scan_together(DOT, [query, wrong], rows, 10, 0, None, ids, [top, other])
    with pytest.raises(IndexError):
        scan.scan_list_together(DOT, [query] * 2, rows, 5, listed, ids, [top, other])
    assert other.size == 0
    for shape in ((2, 10), (1, 9)):
        with pytest.raises(ValueError, match="out is"):
            scan.distances_together(DOT, query[None], rows, np.empty(shape, np.float32))
    assert top.size == 0
