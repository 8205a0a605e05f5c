"""The heap of the best k against a full sort by (distance, id row)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_kernels import scan
from edge_kernels.distance import EUCLID
from edge_kernels.topk import TopK


def shuffled_ids(n: int, seed: int) -> np.ndarray:
    """Distinct id rows in random order: integers, and UUIDs that share their high or low half."""
    random = np.random.default_rng(seed)
    ids = np.zeros((n, 3), np.uint64)
    ids[:, 0] = random.integers(0, 2, n)
    ids[:, 1] = np.where(ids[:, 0] == 1, random.integers(2**64 - 3, 2**64, n, np.uint64), 0)
    ids[:, 2] = random.permutation(n).astype(np.uint64) + np.uint64(2**63 - n // 2)
    return ids


def sorted_by_distance_and_id(distances: np.ndarray, ids: np.ndarray) -> np.ndarray:
    return np.lexsort((ids[:, 2], ids[:, 1], ids[:, 0], distances)).astype(np.uint32)


def offer(top: TopK, values: np.ndarray, ids: np.ndarray, base: int = 0) -> None:
    """Offer rows whose EUCLID distance to the zero query is the square of `values`."""
    rows = np.zeros((len(values), 16), np.float32)
    rows[:, 0] = values
    scan.scan(EUCLID, np.zeros(16, np.float32), rows, len(rows), base, None, ids, top)


@settings(deadline=None)  # the first call compiles
@given(
    st.lists(st.sampled_from([0.0, 1.0, 1.5, 2.0, 3e30]), max_size=200),
    st.integers(0, 210),
    st.integers(1, 70),
    st.integers(0, 9),
)
def test_the_k_best_of_several_calls_are_a_full_sort(
    values: list[float], k: int, step: int, seed: int
) -> None:
    ids = shuffled_ids(len(values), seed)
    top = TopK(k)
    for base in range(0, len(values), step):
        offer(top, np.array(values[base : base + step], np.float32), ids, base)
    offsets, distances = top.finish()
    with np.errstate(over="ignore"):
        squares = np.array(values, np.float32) ** 2
    wanted = sorted_by_distance_and_id(squares, ids)[:k]
    assert offsets.tolist() == wanted.tolist()
    assert distances.tobytes() == squares[wanted].tobytes()


def test_finish_may_be_called_in_between() -> None:
    random = np.random.default_rng(4)
    values = random.integers(0, 30, 600).astype(np.float32)
    ids = shuffled_ids(600, 4)
    top = TopK(100)
    for base in range(0, 600, 50):
        offer(top, values[base : base + 50], ids, base)
        seen = sorted_by_distance_and_id(values[: base + 50] ** 2, ids[: base + 50])[:100]
        assert top.finish()[0].tolist() == seen.tolist()
        assert top.finish()[0].tolist() == seen.tolist()


def test_many_equal_vectors_come_in_id_order() -> None:
    ids = shuffled_ids(5000, 5)
    top = TopK(2000)
    offer(top, np.ones(5000, np.float32), ids)
    wanted = sorted_by_distance_and_id(np.ones(5000), ids)[:2000]
    assert top.finish()[0].tolist() == wanted.tolist()


def test_k_far_above_the_number_of_candidates_costs_no_memory() -> None:
    ids = shuffled_ids(3, 6)
    top = TopK(2**60)
    offer(top, np.array([2, 0, 1], np.float32), ids)
    assert top.finish()[0].tolist() == [1, 2, 0]


def test_a_large_k_is_right_and_descending_input_is_its_worst_case() -> None:
    n, k = 200_000, 100_000
    ids = shuffled_ids(n, 7)
    values = np.arange(n, 0, -1).astype(np.float32) / np.float32(n)
    top = TopK(k)
    offer(top, values, ids)
    assert top.finish()[0].tolist() == sorted_by_distance_and_id(values**2, ids)[:k].tolist()


def test_nan_is_never_a_hit_and_infinity_is_the_last() -> None:
    ids = shuffled_ids(4, 8)
    top = TopK(4)
    offer(top, np.array([np.nan, 1, np.inf, -np.nan], np.float32), ids)
    offsets, distances = top.finish()
    assert offsets.tolist() == [1, 2]
    assert distances.tolist() == [1.0, np.inf]


def test_nothing_offered_and_nothing_kept() -> None:
    for top in (TopK(5), TopK(0)):
        offer(top, np.empty(0, np.float32), shuffled_ids(0, 0))
        assert top.finish()[0].dtype == np.uint32
        assert top.finish()[1].dtype == np.float32
        assert not top.finish()[0].size
    none = TopK(0)
    offer(none, np.ones(9, np.float32), shuffled_ids(9, 0))
    assert not none.finish()[0].size


def test_k_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        TopK(-1)
