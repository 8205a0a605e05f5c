"""Distances: right against numpy in float64, and the same bits from every form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_kernels import distance, jit

METRICS = (distance.COSINE, distance.DOT, distance.EUCLID, distance.MANHATTAN)


def padded(values):
    out = np.zeros((len(values), distance.stride_of(values.shape[1])), np.float32)
    out[:, : values.shape[1]] = values
    return out


@jit.door
def _many(block):
    metric, query, rows = jit.load_i64(block), jit.load_i64(block + 8), jit.load_i64(block + 16)
    size, offsets, count = (
        jit.load_i64(block + 24),
        jit.load_i64(block + 32),
        jit.load_i64(block + 40),
    )
    distance.distances_of(metric, query, rows, size, offsets, count, jit.load_i64(block + 48))
    return 0


@jit.door
def _single(block):
    metric, query, row = jit.load_i64(block), jit.load_i64(block + 8), jit.load_i64(block + 16)
    result = distance.distance_one(metric, query, row, jit.load_i64(block + 24))
    return jit.bits_of_f32(result)


@jit.door
def _key(block):
    return jit.order_key(jit.load_f32(block))


@jit.door
def _float_bits_of_key(block):
    return jit.bits_of_f32(jit.distance_of_key(jit.load_i64(block)))


def compute(metric, query, rows, offsets=None):
    count = len(rows) if offsets is None else len(offsets)
    out = np.full(count, np.nan, np.float32)
    where = 0 if offsets is None else jit.address_of(offsets)
    addresses = [jit.address_of(query), jit.address_of(rows), rows.shape[1] * 4]
    jit.call(_many, metric, *addresses, where, count, jit.address_of(out))
    return out


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


@settings(deadline=None, max_examples=60)
@given(
    metric=st.sampled_from(METRICS),
    dim=st.integers(1, 70),
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 13),
)
def test_every_form_gives_the_same_bits(metric, dim, seed, count):
    rng = np.random.default_rng(seed)
    rows = padded(rng.standard_normal((count, dim)) * 10.0 ** rng.integers(-6, 6, (count, 1)))
    query = padded(rng.standard_normal((1, dim)))[0]
    one_by_one = np.concatenate([compute(metric, query, rows[i : i + 1]) for i in range(count)])
    offsets = rng.permutation(count).astype(np.uint32)
    assert compute(metric, query, rows).tobytes() == one_by_one.tobytes()
    assert compute(metric, query, rows, offsets).tobytes() == one_by_one[offsets].tobytes()
    single = jit.call(
        _single, metric, jit.address_of(query), jit.address_of(rows), rows.shape[1] * 4
    )
    assert single == one_by_one[:1].view(np.int32)[0]


@pytest.mark.parametrize("metric", METRICS)
def test_distance_of_zeros_is_plus_zero(metric):
    rows = np.zeros((5, 16), np.float32)
    rows[1] = -0.0
    result = compute(metric, np.zeros(16, np.float32), rows)
    assert not np.signbit(result).any()
    assert not result.any()


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
