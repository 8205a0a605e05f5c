"""Float32 distances at the sizes that models have, scores, and the order of distances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_kernels import distance, jit, scan

METRICS = (distance.COSINE, distance.DOT, distance.EUCLID, distance.MANHATTAN)


def padded(values):
    out = np.zeros((len(values), distance.stride_of(values.shape[1])), np.float32)
    out[:, : values.shape[1]] = values
    return out


@jit.door
def _key(block):
    return jit.order_key(jit.load_f32(block))


@jit.door
def _float_bits_of_key(block):
    return jit.bits_of_f32(jit.distance_of_key(jit.load_i64(block)))


def compute(metric, query, rows, offsets=None):
    every = np.arange(len(rows), dtype=np.uint32) if offsets is None else offsets
    return scan.distances(metric, query, rows, 0, every)


def key_of(value):
    return _key(jit.address_of(np.array([value], np.float32)))


def float_of_key(key):
    return np.array([jit.call(_float_bits_of_key, key)]).astype(np.int32).view(np.float32)[0]


def expected(metric, query, rows):
    wide, query = rows.astype(np.float64), query.astype(np.float64)
    if metric == distance.EUCLID:
        return ((wide - query) ** 2).sum(axis=1)
    if metric == distance.MANHATTAN:
        return np.abs(wide - query).sum(axis=1)
    return -(wide @ query)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dim", [1, 7, 16, 17, 128, 384, 1000])
def test_agrees_with_float64(metric, dim):
    rng = np.random.default_rng(dim)
    rows = padded(rng.standard_normal((9, dim)))
    query = padded(rng.standard_normal((1, dim)))[0]
    np.testing.assert_allclose(
        compute(metric, query, rows), expected(metric, query, rows), rtol=2e-5, atol=2e-5 * dim
    )


@pytest.mark.parametrize(("dim", "stride"), [(1, 16), (16, 16), (17, 32), (384, 384), (385, 400)])
def test_stride(dim, stride):
    assert distance.stride_of(dim) == stride


def test_scores():
    distances = np.array([-2.0, 0.0, 4.0], np.float32)
    for metric in (distance.COSINE, distance.DOT):
        score = distance.to_score(metric, distances)
        assert score.tolist() == [2.0, 0.0, -4.0]
        assert not np.signbit(score[1])
    assert distance.to_score(distance.EUCLID, distances[1:]).tolist() == [0.0, 2.0]
    assert distance.to_score(distance.MANHATTAN, distances[1:]).tolist() == [0.0, 4.0]
    assert {distance.to_score(metric, distances[1:]).dtype for metric in METRICS} == {
        np.dtype(np.float32)
    }


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=2))
@settings(deadline=None)
def test_order_keys_order_as_the_floats_do(pair):
    low, high = (np.float32(value) + np.float32(0) for value in sorted(pair))
    keys = key_of(low), key_of(high)
    assert (keys[0] < keys[1]) == (low < high)
    assert float_of_key(keys[0]) == low
    assert keys[1] < key_of(np.nan)
    assert all(-(2**31) <= key < 2**31 for key in keys)
