"""Kernels of encoding against plain numpy: projections, nearest centroids, planes of a query."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_kernels import encode
from edge_kernels.encodings import PREFIX, SLICED_HEADER


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# --- projections -----------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.data())
def test_project_is_a_product_of_matrices_part_by_part(data: st.DataObject) -> None:
    n, k = data.draw(st.integers(0, 9)), data.draw(st.integers(0, 11))
    stride = 16 * data.draw(st.integers(1, 5))
    width = 8 * data.draw(st.integers(1, stride // 8))
    starts = data.draw(st.lists(st.integers(0, stride - width), min_size=k, max_size=k))
    if data.draw(st.booleans()):
        starts.sort()
    rows, matrix = normal(n, stride, seed=n), normal(k, width, seed=k)
    found = encode.project(rows, matrix, np.array(starts, np.int32))
    wanted = np.zeros((n, k))
    for j, start in enumerate(starts):
        wanted[:, j] = rows[:, start : start + width].astype(np.float64) @ matrix[j]
    np.testing.assert_allclose(found, wanted, atol=1e-5 * width)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 9])
def test_a_row_is_projected_alike_alone_and_in_company(k: int) -> None:
    rows, matrix = normal(11, 64), normal(k, 64, seed=1)
    for starts in (np.zeros(k, np.int32), np.arange(k, dtype=np.int32) % 2 * 16):
        part = np.ascontiguousarray(matrix[:, :48])
        together = encode.project(rows, part, starts)
        for i in range(11):
            assert encode.project(rows[i : i + 1], part, starts).tobytes() == together[i].tobytes()


def test_project_refuses_what_is_outside() -> None:
    rows = normal(3, 32)
    with pytest.raises(ValueError, match="outside"):
        encode.project(rows, normal(2, 16), np.array([0, 17], np.int32))
    with pytest.raises(ValueError, match="outside"):
        encode.project(rows, normal(2, 16), np.array([0, -1], np.int32))
    with pytest.raises(ValueError, match="matrix"):
        encode.project(rows, normal(2, 12), np.array([0, 0], np.int32))
    with pytest.raises(ValueError, match="starts"):
        encode.project(rows, normal(2, 16), np.array([0], np.int32))
    with pytest.raises(ValueError, match="contiguous"):
        encode.project(normal(6, 32)[::2], normal(2, 16), np.array([0, 0], np.int32))
    with pytest.raises(ValueError, match="contiguous"):
        encode.nearest(normal(6, 32)[::2], normal(4, 4, 256))


# --- nearest ---------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.sampled_from([1, 2, 3, 4, 8, 16]), st.integers(0, 6), st.integers(0, 100))
def test_nearest_is_the_nearest_but_for_rounding(width: int, n: int, seed: int) -> None:
    chunks = 48 // width
    rows, centroids = normal(n, 48, seed=seed), normal(chunks, width, 256, seed=seed + 1)
    found = encode.nearest(rows, centroids)
    assert found.shape == (n, chunks)
    parts = rows[:, : chunks * width].astype(np.float64).reshape(n, chunks, width, 1)
    squares = ((parts - centroids) ** 2).sum(axis=2)
    chosen = np.take_along_axis(squares, found[:, :, None].astype(np.int64), axis=2)[..., 0]
    assert (chosen <= squares.min(axis=2) * (1 + 2.0**-14) + 1e-12).all()


def test_of_equal_centroids_the_first_is_taken() -> None:
    centroids = np.repeat(normal(2, 4, 16), 16, axis=2)
    rows = np.zeros((256, 16), np.float32)
    rows[:, :8] = centroids.transpose(2, 0, 1).reshape(256, 8)
    found = encode.nearest(rows, centroids)
    assert (found == (np.arange(256) // 16 * 16)[:, None]).all()


def test_a_row_that_is_a_centroid_is_found_exactly() -> None:
    centroids = normal(3, 5, 256)
    rows = np.zeros((256, 16), np.float32)
    rows[:, :15] = centroids.transpose(2, 0, 1).reshape(256, 15)
    assert (encode.nearest(rows, centroids) == np.arange(256)[:, None]).all()


def test_nearest_refuses_chunks_beyond_the_row() -> None:
    with pytest.raises(ValueError, match="centroids"):
        encode.nearest(normal(2, 16), normal(5, 4, 256))
    with pytest.raises(ValueError, match="centroids"):
        encode.nearest(normal(2, 16), normal(4, 4, 255))


# --- planes of a query -----------------------------------------------------------------------


def blank(bits: int, words: list[int]) -> np.ndarray:
    form = np.full(SLICED_HEADER + 8 * bits * words[0], 0xAA, np.uint8)
    header = form[:SLICED_HEADER].view(np.int64)
    header[:] = 0
    header[:2] = len(words), bits
    header[4 : 4 + len(words)] = words
    return form


@settings(max_examples=60)
@given(st.data())
def test_planes_of_a_query_hold_its_numbers(data: st.DataObject) -> None:
    bits, longest = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 4))
    shorter = st.lists(st.integers(1, longest), max_size=3)
    words = [longest, *sorted(data.draw(shorter), reverse=True)]
    fills = np.array([data.draw(st.integers(1, 64)) for _ in range(longest)], np.int32)
    spread = data.draw(st.sampled_from([0.0, 0.3352, 1.5958]))
    used = np.arange(64) < fills[:, None]
    numbers = np.where(used, normal(longest, 64, seed=longest), 0).reshape(-1).astype(np.float32)
    numbers *= np.float32(data.draw(st.sampled_from([1e-15, 1.0, 1e15])))
    form = blank(bits, words)
    encode.slice_query(form, numbers, fills, spread)

    step = float(form.view(np.float32)[4])
    inside = numbers.astype(np.float64)[used.reshape(-1)]
    whole = 2 * np.abs(inside).max() / (2**bits - 1)
    typical = spread * np.sqrt((inside**2).mean())
    assert step == pytest.approx(min(whole, typical) if typical > 0 else whole, rel=1e-5)
    digits = np.unpackbits(form[SLICED_HEADER:].reshape(bits, -1), axis=1, bitorder="little")
    codes = (digits.astype(np.int64) << np.arange(bits)[:, None]).sum(axis=0)
    assert not codes[~used.reshape(-1)].any()
    top = 2**bits - 1
    held = np.where(used.reshape(-1), step * (codes - top / 2), 0)
    cut = np.clip(numbers.astype(np.float64), -step * top / 2, step * top / 2)
    assert (np.abs(held - cut) <= 0.5001 * step).all()
    biases = form.view(np.float32)[24 : 24 + 2 * len(words) : 2]
    sums = [held[: 64 * count].sum() for count in words]
    np.testing.assert_allclose(biases, sums, rtol=1e-5, atol=1e-5 * step)


def test_a_query_of_zeros_has_no_step() -> None:
    form = blank(8, [2])
    encode.slice_query(form, np.zeros(128, np.float32), np.full(2, 64, np.int32), 0.0)
    floats = form.view(np.float32)
    assert floats[4] == 0
    assert floats[24] == 0


def test_slice_query_refuses_what_does_not_fit() -> None:
    form, fills = blank(4, [2, 1]), np.full(2, 64, np.int32)
    with pytest.raises(ValueError, match="numbers"):
        encode.slice_query(form, np.zeros(64, np.float32), fills, 0.0)
    with pytest.raises(ValueError, match="numbers"):
        encode.slice_query(form, np.zeros(128, np.float32), fills[:1], 0.0)
    with pytest.raises(ValueError, match="numbers"):
        encode.slice_query(form[:-8], np.zeros(128, np.float32), fills, 0.0)


# --- codes of a query ------------------------------------------------------------------------


def codes_of(numbers: np.ndarray, step: np.float32) -> np.ndarray:
    return np.clip(np.rint(numbers / step), -127, 127)


@given(st.integers(1, 6), st.integers(0, 1 << 20), st.booleans())
def test_a_query_of_codes_is_its_numbers_by_the_step(turns: int, seed: int, apart: bool) -> None:
    rng = np.random.default_rng(seed)
    numbers = (rng.standard_normal(16 * turns) * 10.0 ** rng.integers(-8, 8)).astype(np.float32)
    offset = rng.standard_normal(16 * turns).astype(np.float32) if apart else None
    step = np.array([0.01, 7.5], np.float32)
    form = np.zeros(PREFIX + 32 * -(-turns // 2), np.uint8)
    encode.code_query(form, numbers, step, offset)
    factor, codes = form[:4].view(np.float32)[0], form[PREFIX:].view(np.int8)
    own = step[0] if apart else np.abs(numbers).max() / np.float32(127)
    about = numbers if offset is None else numbers - offset
    assert (codes[: len(numbers)] == codes_of(about, own)).all()
    assert not codes[len(numbers) :].any()
    assert factor == (step[1] if apart else step[0] * own)


def test_a_query_of_zeros_has_codes_of_zeros() -> None:
    form = np.zeros(PREFIX + 32, np.uint8)
    encode.code_query(form, np.zeros(32, np.float32), np.ones(2, np.float32))
    assert not form[PREFIX:].any()


def test_code_query_refuses_what_does_not_fit() -> None:
    form, numbers = np.zeros(PREFIX + 32, np.uint8), np.zeros(32, np.float32)
    step = np.ones(2, np.float32)
    with pytest.raises(ValueError, match="form"):
        encode.code_query(form[:-1], numbers, step)
    with pytest.raises(ValueError, match="form"):
        encode.code_query(form, numbers, step[:1])
    with pytest.raises(ValueError, match="offset"):
        encode.code_query(form, numbers, step, numbers[:16])
