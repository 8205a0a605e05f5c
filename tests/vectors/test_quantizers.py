"""Quantizers: what rows and queries stand for, near what, and what is refused.

`decoded` and `estimate` read rows and query forms as the layouts in `edge_kernels.encodings` say,
in float64: what kernels compute, without kernels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edge.vectors.quantized import KINDS, Quantizer, quantizer_of, train
from edge.vectors.quantizers.axes import blocks_of, random_axes, spectrum, turned
from edge.vectors.quantizers.product import Product, dealt
from edge.vectors.quantizers.scalar import Scalar
from edge.vectors.quantizers.scaled import Scaled
from edge.vectors.quantizers.sliced import ERROR, Sliced, slots_of
from edge.vectors.quantizers.turbo import bits_by_variance
from edge_kernels import scan
from edge_kernels.encodings import (
    COSINE,
    DOT,
    EUCLID,
    INT8,
    MANHATTAN,
    PRODUCT,
    SCALED8,
    SLICED,
    check_query,
    check_rows,
    encoding_of_code,
    metric_of_code,
    stride_of,
)

METRICS = (COSINE, DOT, EUCLID, MANHATTAN)
SCALAR = [("scalar", {"quantile": q}) for q in (None, 0.5, 0.99, 1.0)]
BINARY = [("binary", {"bits": b, "query_bits": q}) for b in (1, 1.5, 2) for q in (None, 1, 4, 8)]
TURBO = [("turbo", {"bits": b}) for b in (1, 1.5, 2, 4, 8)]
PRODUCTS = [("product", {"ratio": r}) for r in (4, 8, 16, 32, 64)]
ALL = SCALAR + BINARY + TURBO + PRODUCTS


# --- data ------------------------------------------------------------------------------------


def padded(rows: np.ndarray) -> np.ndarray:
    out = np.zeros((len(rows), stride_of(rows.shape[1])), np.float32)
    out[:, : rows.shape[1]] = rows
    return out


def normal(n: int, dim: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, dim))


def correlated(n: int, dim: int, seed: int) -> np.ndarray:
    """Few directions hold most of it, as of real embeddings."""
    mixing = normal(dim, dim, seed + 1) * 0.97 ** np.arange(dim)[:, None]
    return normal(n, dim, seed) @ mixing / 3 + normal(1, dim, seed + 2)


DATA = {
    "normal": normal,
    "correlated": correlated,
    "far from zero": lambda n, dim, seed: normal(n, dim, seed) + 50,
    "one dimension is large": lambda n, dim, seed: (
        normal(n, dim, seed) * np.where(np.arange(dim), 1, 40)
    ),
    "two distinct": lambda n, dim, seed: normal(2, dim, seed)[np.arange(n) % 2],
    "one distinct": lambda n, dim, seed: np.repeat(normal(1, dim, seed), n, axis=0),
    "zeros": lambda n, dim, seed: np.zeros((n, dim)),
    "some zeros": lambda n, dim, seed: normal(n, dim, seed) * (np.arange(n) % 3 > 0)[:, None],
    "whole numbers": lambda n, dim, seed: np.round(3 * normal(n, dim, seed)),
}


def rows_of(name: str, metric: int, n: int, dim: int, seed: int) -> np.ndarray:
    rows = DATA[name](n, dim, seed)
    if metric == COSINE:
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        rows = rows / np.where(lengths > 0, lengths, 1)
    return padded(rows.astype(np.float32))


class Case(NamedTuple):
    metric: int
    dim: int
    rows: np.ndarray
    queries: np.ndarray
    quantizer: Any


@st.composite
def cases(draw: st.DrawFn, kinds: list[tuple[str, dict[str, Any]]], most: int = 150) -> Case:
    metric, dim = draw(st.sampled_from(METRICS)), draw(st.integers(1, most))
    n, seed = draw(st.integers(1, 40)), draw(st.integers(0, 1 << 20))
    name, (kind, parameters) = draw(st.sampled_from(sorted(DATA))), draw(st.sampled_from(kinds))
    rows = rows_of(name, metric, n, dim, seed)
    others = rows_of(draw(st.sampled_from(sorted(DATA))), metric, 3, dim, seed + 7)
    queries = np.concatenate([rows[:2], others])
    return Case(metric, dim, rows, queries, train(kind, metric, dim, rows, **parameters))


# --- what rows and forms say -----------------------------------------------------------------


def distances(metric: int, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    q, x = queries.astype(np.float64)[:, None], rows.astype(np.float64)[None]
    if metric == EUCLID:
        return ((q - x) ** 2).sum(axis=2)
    return np.abs(q - x).sum(axis=2) if metric == MANHATTAN else -(q * x).sum(axis=2)


def trailer(rows: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rows[:, -8:]).view(np.float32).astype(np.float64)


def bytes_of(rows: np.ndarray) -> np.ndarray:
    return rows.view(np.int8).astype(np.float64)


def int8_estimate(metric: int, form: np.ndarray, rows: np.ndarray) -> np.ndarray:
    factor = float(form[:4].view(np.float32)[0])
    assert not form[4:64].any()
    return factor * distances(metric, bytes_of(form[None, 64:]), bytes_of(rows))[0]


def scaled_estimate(metric: int, form: np.ndarray, rows: np.ndarray) -> np.ndarray:
    codes = bytes_of(rows[:, :-16])
    assert not rows[:, -16:-8].any()
    elements = codes * trailer(rows)[:, :1]
    np.testing.assert_allclose(
        (elements**2).sum(axis=1), trailer(rows)[:, 1], rtol=1e-4, atol=1e-37
    )
    return distances(metric, form[None, : codes.shape[1]], elements)[0]


def table_estimate(metric: int, form: np.ndarray, rows: np.ndarray) -> np.ndarray:
    chunks = int(form[0])
    assert not form[1:16].any()
    assert not rows[:, chunks:].any()
    table = form[16:].reshape(chunks, 256).astype(np.float64)
    return table[np.arange(chunks), rows[:, :chunks]].sum(axis=1)


def bits_of(words: np.ndarray) -> np.ndarray:
    return np.unpackbits(words, axis=-1, bitorder="little").astype(np.float64)


class Header(NamedTuple):
    depth: int
    step: float
    constant: float
    exact: float  # squares of the query, or the share of the mean
    words: list[int]
    weights: np.ndarray
    biases: np.ndarray


def header_of(form: np.ndarray) -> Header:
    words, floats = form[:128].view(np.int64), form[:128].view(np.float32).astype(np.float64)
    count = int(words[0])
    return Header(
        int(words[1]),
        *floats[4:7].tolist(),
        words[4 : 4 + count].tolist(),
        floats[16 : 16 + 2 * count : 2],
        floats[24 : 24 + 2 * count : 2],
    )


def sliced_estimate(metric: int, form: np.ndarray, rows: np.ndarray) -> np.ndarray:
    head = header_of(form)
    digits = bits_of(form[128:].reshape(head.depth, -1))
    numbers = (digits * 2.0 ** np.arange(head.depth)[:, None]).sum(axis=0)
    numbers -= (2**head.depth - 1) / 2
    total, at = np.zeros(len(rows)), 0
    for count, weight, bias in zip(head.words, head.weights, head.biases, strict=True):
        plane = bits_of(rows[:, at : at + 8 * count])
        total += weight * (2 * head.step * (plane @ numbers[: 64 * count]) - bias)
        at += 8 * count
    scale, last = trailer(rows).T
    if metric in (EUCLID, MANHATTAN):
        return np.maximum(0, head.exact + last - 2 * scale * total)
    return -(head.constant + head.exact * last + scale * total)


ESTIMATES = {
    INT8: int8_estimate,
    SCALED8: scaled_estimate,
    PRODUCT: table_estimate,
    SLICED: sliced_estimate,
}


def estimate(quantizer: Quantizer, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """float64[queries, rows] of float32 queries and encoded rows."""
    code = quantizer.code
    size, found = check_rows(code, rows), []
    for query in queries:
        form = quantizer.query(query)
        check_query(code, form, size)
        assert form.ctypes.data % 8 == 0
        found.append(ESTIMATES[encoding_of_code(code)](metric_of_code(code), form, rows))
    return np.array(found)


def planes_decoded(quantizer: Sliced, rows: np.ndarray) -> np.ndarray:
    """float64[n, kept]: what a row's planes stand for along the axes, without the row's scale."""
    slots = slots_of(quantizer.bits)
    values, at = np.zeros((len(rows), 64 * slots.words[0])), 0
    for plane, count in enumerate(slots.words):
        bits = bits_of(rows[:, at : at + 8 * count])
        values[:, : 64 * count] += (2 * bits - 1) * 0.5**plane
        at += 8 * count
    out = np.zeros((len(rows), len(quantizer.bits), 64))
    for place, (group, share) in enumerate(zip(slots.group, slots.share, strict=True)):
        out[:, group] += values[:, 64 * place : 64 * place + 64] * share
    return out.reshape(len(rows), -1)[:, : quantizer.axes.kept] * quantizer.half_ranges


# --- scalar ----------------------------------------------------------------------------------


@given(cases([("scalar", {"quantile": 1.0})]))
def test_int8_is_within_half_a_step_of_every_element(case: Case) -> None:
    """So a product is off by at most (step * sum|q| + t * sum|x|) / 2 and a bit, t the query's
    step; a distance by step * sqrt(dim), a sum of differences by step * dim, for queries inside
    the range."""
    quantizer: Scalar = case.quantizer
    learnt = case.rows[case.rows.any(axis=1)] if case.rows.any() else case.rows
    x, step = learnt[:, : case.dim], float(quantizer.step)
    rows = quantizer.encode(learnt)
    decoded = quantizer.offset + step * bytes_of(rows)[:, : case.dim]
    slack = 1e-5 * (np.abs(x).max(initial=0) + np.abs(quantizer.offset).max())
    assert np.abs(decoded - x).max() <= step * 0.5 + slack
    assert not rows[:, case.dim :].any()
    inside = learnt[:2]
    found = estimate(quantizer, inside, rows)
    true = distances(case.metric, inside[:, : case.dim], x)
    if case.metric in (COSINE, DOT):
        t = np.abs(inside).max(axis=1) / 127
        bound = step * np.abs(inside).sum(axis=1)[:, None] + t[:, None] * np.abs(x).sum(axis=1)
        assert (np.abs(found - true) <= 0.51 * bound + 1e-4 * np.abs(true) + 1e-6).all()
    elif case.metric == EUCLID:
        apart = np.abs(np.sqrt(found) - np.sqrt(true))
        assert (apart <= (step + 2 * slack) * case.dim**0.5 * 1.01 + 1e-6).all()
    else:
        assert (np.abs(found - true) <= (step + 2 * slack) * case.dim * 1.01 + 1e-6).all()


@pytest.mark.parametrize("metric", METRICS)
def test_int8_is_exact_for_multiples_of_its_step(metric: int) -> None:
    random = np.random.default_rng(0)
    whole = random.integers(-127, 128, (50, 33))
    whole[:, 0] = 127
    rows = padded((whole * 0.25).astype(np.float32))
    quantizer = train("scalar", metric, 33, np.concatenate([rows, -rows]), quantile=1.0)
    found = estimate(quantizer, rows[:2], quantizer.encode(rows))
    np.testing.assert_allclose(found, distances(metric, rows[:2], rows), rtol=1e-6)


def test_a_quantile_cuts_off_what_is_far_out() -> None:
    rows = padded(np.append(np.linspace(-1, 1, 199), 100.0)[:, None].astype(np.float32))
    step = {q: float(train("scalar", DOT, 1, rows, quantile=q).step) for q in (0.5, 0.99, 1.0)}
    assert step[1.0] == pytest.approx(100 / 127)
    assert step[0.99] == pytest.approx(1 / 127, rel=0.02)
    assert step[0.5] == pytest.approx(0.5 / 127, rel=0.02)
    codes = bytes_of(train("scalar", DOT, 1, rows, quantile=0.5).encode(rows))[:, 0]
    assert codes[-1] == 127
    assert codes[0] == -127


def test_a_step_is_chosen_by_the_least_square_error() -> None:
    light = normal(4000, 8, 0)
    heavy = light * np.where(np.arange(8), 1, 1000)
    for data in (light, heavy):
        rows = padded(data.astype(np.float32))
        found = train("scalar", DOT, 8, rows)
        errors = {
            cut: np.square(decoded_int8(train("scalar", DOT, 8, rows, quantile=1 - 8 * cut), rows))
            for cut in (0.0, 0.0001, 0.001, 0.01)
        }
        best = min(errors.values(), key=np.sum).sum()
        assert np.square(decoded_int8(found, rows)).sum() == pytest.approx(best, rel=1e-3)


def decoded_int8(quantizer: Any, rows: np.ndarray) -> np.ndarray:
    """What is left of rows beside their codes."""
    codes = bytes_of(quantizer.encode(rows))[:, : rows.shape[1]]
    return rows[:, : quantizer.dim] - quantizer.step * codes[:, : quantizer.dim]


# --- bit planes ------------------------------------------------------------------------------


@given(cases(BINARY + TURBO[:4]))
def test_planes_are_what_the_codes_say(case: Case) -> None:
    """The estimate is that of the decoded row; the codes' error stands upright on the row, and
    meets only what a query has beside the mean: by Cauchy and Schwarz a product is off by at most
    the product of their lengths, and half a query's step for each slot."""
    quantizer: Sliced = case.quantizer
    assume(isinstance(quantizer, Sliced))
    mean = padded(quantizer.mean[None])[0]
    about = case.rows - mean
    along = quantizer.axes.along(about).astype(np.float64)
    rows = quantizer.encode(case.rows)
    decoded = planes_decoded(quantizer, rows) * trailer(rows)[:, :1]
    squares = (along**2).sum(axis=1)
    moved = quantizer.half_ranges > 0
    if moved.all():
        np.testing.assert_allclose((along * decoded).sum(axis=1), squares, rtol=1e-3, atol=1e-9)
    found = estimate(quantizer, case.queries, rows)
    for query, estimates in zip(case.queries, found, strict=True):
        head = header_of(quantizer.query(query))
        left = query - mean
        if case.metric in (COSINE, DOT):
            left = query - np.float32(head.exact) * mean
        asked = quantizer.axes.along(left[None])[0].astype(np.float64)
        products = decoded @ asked
        if case.metric in (COSINE, DOT):
            expected = -(mean @ query + head.exact * (about @ mean) + products)
        else:
            sums = (about.astype(np.float64) ** 2).sum(axis=1)
            expected = np.maximum(0, float(left @ left) + sums - 2 * products)
        planes = np.abs(trailer(rows)[:, 0]) * 2 * 64 * sum(head.words)
        coarse = head.depth < 8  # such a query is cut off where most of it ends
        slack = 2e-5 * (np.abs(expected) + float(np.abs(query) @ np.abs(query) + mean @ mean))
        slack += 1e-4 * np.linalg.norm(asked) * np.linalg.norm(decoded, axis=1) + 1e-6
        slack += 2e-5 * (about.astype(np.float64) ** 2).sum(axis=1)
        if not coarse:
            assert (np.abs(estimates - expected) <= head.step * planes + slack).all()


@settings(max_examples=20)
@given(st.sampled_from(METRICS[:3]), st.integers(1, 130), st.integers(0, 1000))
def test_one_bit_is_exact_for_signs_about_a_mean(metric: int, dim: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    size, mean = random.uniform(0.5, 2, dim), random.uniform(-3, 3, dim)
    signs = random.choice([-1.0, 1.0], (30, dim))
    rows = padded((mean + size * np.concatenate([signs, -signs])).astype(np.float32))
    quantizer: Any = train("binary", metric, dim, rows, bits=1)
    np.testing.assert_allclose(quantizer.mean, mean, atol=1e-5)
    # Of a query that lies on the ends of its range nothing is rounded either.
    ends = np.where(random.random((4, dim)) < 0.5, -1, 1) / size
    queries = padded((ends + (mean if metric == EUCLID else 0)).astype(np.float32))
    if metric != EUCLID:
        queries -= (queries @ padded(mean[None])[0] / (mean @ mean))[:, None] * padded(mean[None])
        return_to = quantizer.query(queries[0])
        assert header_of(return_to).exact == pytest.approx(0, abs=1e-4)
    found = estimate(quantizer, queries, quantizer.encode(rows))
    true = distances(metric, queries[:, :dim], rows[:, :dim])
    tolerance = 1e-3 if metric == EUCLID else 0.02 * dim
    np.testing.assert_allclose(found, true, rtol=1e-3, atol=tolerance)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_the_error_is_that_of_a_normal_distribution(bits: int) -> None:
    rows = padded(normal(2000, 128, 3).astype(np.float32))
    quantizer: Any = train("turbo", EUCLID, 128, rows, bits=bits)
    encoded = quantizer.encode(rows)
    decoded = planes_decoded(quantizer, encoded)
    along = quantizer.axes.along(rows - padded(quantizer.mean[None]))
    least = (along * decoded).sum(axis=1) / (decoded**2).sum(axis=1)
    left = ((along - least[:, None] * decoded) ** 2).sum() / (along**2).sum()
    assert left == pytest.approx(ERROR[bits], rel=0.12)


def test_bits_go_where_the_variance_is() -> None:
    falling = np.repeat([1.0, 0.25, 0.06, 0.01, 1e-4], 64)
    assert bits_by_variance(falling, 5).tolist() == [3, 2]
    assert bits_by_variance(falling, 6).tolist() == [3, 2, 1]
    assert bits_by_variance(np.ones(320), 10).tolist() == [2] * 5
    assert bits_by_variance(np.zeros(100), 3).sum() == 3
    assert bits_by_variance(np.r_[1.0, np.zeros(639)], 40).tolist()[0] == 8


def test_slots_hold_every_bit_once() -> None:
    bits = np.array([7, 5, 4, 4, 2, 1], np.uint8)
    slots = slots_of(bits)
    assert slots.words == [8, 6, 5, 4]
    assert sum(slots.words) == bits.sum()
    assert sorted(slots.group.tolist()) == [0, 0, 1, 1, 2, 3, 4, 5]
    assert (slots.share == np.where(slots.shift > 0, np.float32(1 / 16), 1)).all()


@pytest.mark.parametrize(("bits", "size"), [(1, 24), (1.5, 32), (2, 40), (4, 72), (8, 144)])
def test_turbo_takes_the_bits_it_says(bits: float, size: int) -> None:
    rows = padded(correlated(100, 128, 0).astype(np.float32))
    assert train("turbo", DOT, 128, rows, bits=bits).row_bytes == size
    assert train("turbo", MANHATTAN, 128, rows, bits=bits).row_bytes <= size


def test_four_bits_rank_by_absolute_differences_where_these_are_asked_for() -> None:
    """Of skewed numbers the squares of differences tell another order: they find a half of it."""
    draw = np.random.default_rng(3)
    rows = padded(draw.exponential(size=(2000, 64)).astype(np.float32))
    asked = padded(draw.exponential(size=(40, 64)).astype(np.float32))
    quantizer = train("turbo", MANHATTAN, 64, rows, bits=4)
    guessed = np.argsort(estimate(quantizer, asked, quantizer.encode(rows)), axis=1)[:, :10]
    nearest = np.argsort(distances(MANHATTAN, asked, rows), axis=1)[:, :10]
    shares = [np.isin(n, g).mean() for n, g in zip(nearest, guessed, strict=True)]
    assert np.mean(shares) > 0.8


@pytest.mark.parametrize(("bits", "size"), [(1, 56), (1.5, 80), (2, 104)])
def test_binary_takes_the_bits_it_says(bits: float, size: int) -> None:
    rows = padded(normal(100, 384, 0).astype(np.float32))
    assert train("binary", DOT, 384, rows, bits=bits).row_bytes == size


def test_the_half_that_varies_most_gets_two_bits() -> None:
    data = normal(500, 128, 0) * np.where(np.arange(128) % 2, 5, 1)
    quantizer: Any = train("binary", DOT, 128, padded(data.astype(np.float32)), bits=1.5)
    assert set(quantizer.axes.order[:64].tolist()) == set(range(1, 128, 2))
    assert quantizer.bits.tolist() == [2, 1]


# --- bytes with a scale ----------------------------------------------------------------------


@given(cases(TURBO[4:]))
def test_eight_bits_are_near_along_axes_of_full_length(case: Case) -> None:
    """Elements are within half a step of a row's own, which is its largest by 127."""
    quantizer: Scaled = case.quantizer
    along = quantizer.axes.along(case.rows).astype(np.float64)
    length = np.linalg.norm(case.rows.astype(np.float64), axis=1)
    np.testing.assert_allclose(np.linalg.norm(along, axis=1), length, rtol=1e-4, atol=1e-6)
    rows = quantizer.encode(case.rows)
    step = np.abs(along).max(axis=1) / 127
    asked = quantizer.axes.along(case.queries)
    found, true = estimate(quantizer, case.queries, rows), distances(case.metric, asked, along)
    if case.metric == EUCLID:
        apart = np.abs(np.sqrt(found) - np.sqrt(true))
        assert (apart <= 0.51 * step * case.dim**0.5 + 1e-4 * (length + 1)).all()
    else:
        sums = np.abs(asked).sum(axis=1)[:, None] if case.metric != MANHATTAN else case.dim
        assert (np.abs(found - true) <= 0.51 * step * sums + 1e-4 * (np.abs(true) + 1)).all()


# --- product ---------------------------------------------------------------------------------


@settings(max_examples=15)
@given(cases(PRODUCTS, most=70))
def test_a_table_adds_up_to_the_distance_of_the_nearest_centroids(case: Case) -> None:
    """So a product is off by at most the query's length times what the centroids leave."""
    quantizer: Product = case.quantizer
    chunks, width, _ = quantizer.centroids.shape
    rows = quantizer.encode(case.rows)
    codes = rows[:, :chunks]
    centroids = quantizer.centroids.astype(np.float64)
    decoded = centroids[np.arange(chunks), :, codes].reshape(len(rows), -1)
    along = np.zeros((len(rows), chunks * width))
    along[:, : case.dim] = quantizer.axes.along(case.rows)
    parts = along.reshape(len(rows), chunks, width, 1)
    squares = ((parts - centroids) ** 2).sum(axis=2)
    chosen = np.take_along_axis(squares, codes[:, :, None].astype(np.int64), axis=2)[..., 0]
    limit = 1e-5 * (parts**2).sum(axis=(2, 3))
    assert (chosen <= squares.min(axis=2) * (1 + 2**-14) + limit + 1e-12).all()
    asked = np.zeros((len(case.queries), chunks * width))
    asked[:, : case.dim] = quantizer.axes.along(case.queries)
    found, true = estimate(quantizer, case.queries, rows), distances(case.metric, asked, decoded)
    lengths = np.abs(asked).sum(axis=1)[:, None] + np.abs(decoded).sum(axis=1)
    np.testing.assert_allclose(found, true, rtol=1e-4, atol=1e-5 * lengths.max() ** 2 + 1e-6)


@pytest.mark.parametrize("ratio", [4, 8, 16, 32, 64])
@pytest.mark.parametrize("metric", METRICS)
def test_product_is_exact_for_few_distinct_rows(metric: int, ratio: int) -> None:
    distinct = normal(40, 37, 1).astype(np.float32)
    rows = padded(distinct[np.arange(120) % 40])
    quantizer = train("product", metric, 37, rows, ratio=ratio)
    found = estimate(quantizer, rows[:5], quantizer.encode(rows))
    np.testing.assert_allclose(found, distances(metric, rows[:5], rows), rtol=1e-3, atol=2e-3)


def test_directions_are_dealt_out_evenly() -> None:
    order = dealt(0.5 ** np.arange(16.0), 4)
    assert sorted(order.tolist()) == list(range(16))
    assert np.ptp(order.reshape(4, 4).sum(axis=1)) <= 2
    uneven = dealt(np.ones(11), 4)
    assert sorted(uneven.tolist()) == list(range(11))


def test_training_says_that_it_goes_on_and_can_be_stopped() -> None:
    rows = padded(normal(300, 32, 0).astype(np.float32))

    class Stopped(Exception):
        pass

    for kind in KINDS:
        calls = []
        train(kind, EUCLID, 32, rows, lambda calls=calls: calls.append(None))
        assert calls

        def stop() -> None:
            raise Stopped

        with pytest.raises(Stopped):
            train(kind, EUCLID, 32, rows, stop)


# --- axes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [1, 2, 3, 17, 64, 100, 385, 1030, 2500])
def test_blocks_cover_every_dimension_once(dim: int) -> None:
    blocks, stride = blocks_of(dim), stride_of(dim)
    assert [d for b in blocks for d in range(b.first, b.first + b.count)] == list(range(dim))
    assert len({b.width for b in blocks}) == 1
    assert all(b.start % 16 == 0 and 0 <= b.start <= stride - b.width for b in blocks)
    assert all(b.start <= b.first and b.first + b.count <= b.start + b.width for b in blocks)
    assert dim * blocks[0].width <= max(16 * dim, 1 << 20)


@pytest.mark.parametrize(("dim", "floats"), [(1, 256), (3, 256), (130, 1 << 20), (133, 8192)])
def test_axes_keep_products(dim: int, floats: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.vectors.quantizers.axes.MOST_FLOATS", floats)
    assert len(blocks_of(dim)) == (3 if floats == 8192 else 1)
    rows = padded(correlated(60, dim, 0).astype(np.float32))
    found = spectrum(rows, dim, lambda: None)
    assert (np.diff(found.variances) <= 0).all()
    levels = np.arange(dim) // 50
    for axes in (
        random_axes(dim, lambda: None),
        turned(found, np.arange(dim), levels, lambda: None),
        turned(found, np.arange(dim), np.full(dim, -1), lambda: None),
    ):
        along = axes.along(rows).astype(np.float64)
        true = rows.astype(np.float64) @ rows.T
        np.testing.assert_allclose(along @ along.T, true, atol=2e-5 * np.abs(true).max())


def test_principal_directions_hold_the_variance_they_say() -> None:
    data = correlated(4000, 60, 5)
    rows = padded((data - data.mean(axis=0)).astype(np.float32))
    found = spectrum(rows, 60, lambda: None)
    along = turned(found, np.arange(60), np.full(60, -1), lambda: None).along(rows)
    variances = (along.astype(np.float64) ** 2).mean(axis=0)
    np.testing.assert_allclose(variances, found.variances, rtol=0.05, atol=0.02 * variances[0])


# --- all kinds -------------------------------------------------------------------------------


@given(cases(ALL, most=80))
def test_kernels_give_what_rows_and_forms_say(case: Case) -> None:
    code = case.quantizer.code
    rows = case.quantizer.encode(case.rows)
    wanted = estimate(case.quantizer, case.queries, rows)
    offsets = np.arange(len(rows), dtype=np.uint32)
    size = np.abs(wanted).max() + np.square(case.queries).sum(axis=1).max()
    for query, estimates in zip(case.queries, wanted, strict=True):
        found = scan.distances(code, case.quantizer.query(query), rows, 0, offsets)
        np.testing.assert_allclose(found, estimates, rtol=1e-3, atol=2e-5 * size + 1e-6)


@given(cases(ALL, most=80))
def test_a_row_is_encoded_alike_alone_and_in_company(case: Case) -> None:
    together = case.quantizer.encode(case.rows)
    assert together.shape == (len(case.rows), case.quantizer.row_bytes)
    assert together.dtype == np.uint8
    assert together.flags.c_contiguous
    for i in range(len(case.rows)):
        assert case.quantizer.encode(case.rows[i : i + 1]).tobytes() == together[i].tobytes()
    assert case.quantizer.encode(case.rows[:0]).shape == (0, case.quantizer.row_bytes)


@pytest.mark.parametrize(("kind", "parameters"), ALL)
def test_training_twice_gives_the_same_and_arrays_give_it_back(
    kind: str, parameters: dict[str, Any]
) -> None:
    rows = padded(correlated(150, 70, 4).astype(np.float32))
    for metric in (DOT, MANHATTAN):
        first, second = (train(kind, metric, 70, rows, **parameters) for _ in range(2))
        arrays = first.arrays()
        assert {n: a.tobytes() for n, a in arrays.items()} == {
            n: a.tobytes() for n, a in second.arrays().items()
        }
        copies = {name: array.copy() for name, array in arrays.items()}
        for array in copies.values():
            array.flags.writeable = False
        again = quantizer_of(kind, metric, 70, copies)
        assert (again.code, again.row_bytes) == (first.code, first.row_bytes)
        assert again.encode(rows).tobytes() == first.encode(rows).tobytes()
        assert again.query(rows[0]).tobytes() == first.query(rows[0]).tobytes()


def spoilt(array: np.ndarray) -> dict[str, np.ndarray]:
    """The array in ways in which it cannot be right."""
    wide = np.concatenate([array, array[:1]])
    kinds = {"dtype": array.astype(np.float64), "ndim": array[None]}
    if array.dtype == np.float32:
        nan = array.copy()
        nan.reshape(-1)[-1] = np.nan
        return {**kinds, "nan": nan}
    return {**kinds, "length": wide, "range": np.full_like(array, np.iinfo(array.dtype).max)}


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [SCALAR[0], BINARY[4], TURBO[0], TURBO[3], TURBO[4], PRODUCTS[0], PRODUCTS[2]],
)
@pytest.mark.parametrize("metric", [DOT, MANHATTAN])
def test_damaged_arrays_are_refused_by_name(
    kind: str, parameters: dict[str, Any], metric: int
) -> None:
    rows = padded(normal(50, 100, 4).astype(np.float32))
    arrays = train(kind, metric, 100, rows, **parameters).arrays()
    for name, array in arrays.items():
        for damage, bad in spoilt(array).items():
            if name == "order" and damage == "length" and len(array) < 100:
                continue
            with pytest.raises(ValueError, match=r".+"):
                quantizer_of(kind, metric, 100, {**arrays, name: bad})
        others = {other: array for other, array in arrays.items() if other != name}
        if (kind, name) == ("turbo", "centroids"):  # what is left is one of eight bits
            assert quantizer_of(kind, metric, 100, others).row_bytes > 100
            continue
        with pytest.raises(ValueError, match="missing"):
            quantizer_of(kind, metric, 100, others)
    with pytest.raises(ValueError, match=r".+"):
        quantizer_of(kind, metric, 37, arrays)


def test_steps_and_half_ranges_below_zero_are_refused() -> None:
    rows = padded(normal(50, 20, 4).astype(np.float32))
    for kind, name in (("scalar", "step"), ("binary", "half_ranges")):
        arrays = train(kind, DOT, 20, rows).arrays()
        with pytest.raises(ValueError, match=name):
            quantizer_of(kind, DOT, 20, {**arrays, name: -arrays[name]})


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("scalar", {"quantile": 0.4}),
        ("scalar", {"quantile": 1.1}),
        ("binary", {"bits": 3}),
        ("binary", {"query_bits": 2}),
        ("turbo", {"bits": 3}),
        ("product", {"ratio": 5}),
    ],
)
def test_unknown_parameters_are_refused(kind: str, parameters: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        train(kind, DOT, 8, np.ones((4, 16), np.float32), **parameters)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(KeyError):
        train("none", DOT, 8, np.ones((4, 16), np.float32))


@pytest.mark.parametrize(("kind", "parameters"), ALL)
def test_rows_without_a_vector_teach_nothing(kind: str, parameters: dict[str, Any]) -> None:
    rows = padded(normal(30, 20, 0).astype(np.float32))
    mixed = np.zeros((60, rows.shape[1]), np.float32)
    mixed[::2] = rows
    for sample in (np.zeros_like(rows), np.zeros((0, 32), np.float32)):
        train(kind, EUCLID, 20, sample, **parameters).encode(rows)
    first = train(kind, EUCLID, 20, rows, **parameters).arrays()
    second = train(kind, EUCLID, 20, mixed, **parameters).arrays()
    assert all((first[name] == second[name]).all() for name in first)


@pytest.mark.parametrize(("kind", "parameters"), ALL)
@pytest.mark.parametrize("size", [1e-30, 1e-10, 1e10, 1e15])
def test_sizes_of_all_kinds_give_numbers(
    kind: str, parameters: dict[str, Any], size: float
) -> None:
    data = normal(40, 30, 0)
    for metric in (DOT, EUCLID, MANHATTAN):
        rows = padded((data * size).astype(np.float32))
        quantizer = train(kind, metric, 30, rows, **parameters)
        encoded = quantizer.encode(rows)
        assert np.isfinite(estimate(quantizer, rows[:3], encoded)).all()


@pytest.mark.parametrize(("kind", "parameters"), ALL)
def test_of_a_large_sample_rows_at_even_distances_are_taken(
    kind: str, parameters: dict[str, Any]
) -> None:
    few = normal(30, 20, 0)
    rows = padded(np.repeat(few, 700, axis=0).astype(np.float32))
    quantizer = train(kind, EUCLID, 20, rows, **parameters)
    alike = train(kind, EUCLID, 20, padded(few.astype(np.float32)), **parameters)
    queries = padded(normal(5, 20, 1).astype(np.float32))
    found, wanted = (
        estimate(q, queries, q.encode(np.ascontiguousarray(rows[::700])))
        for q in (quantizer, alike)
    )
    true = distances(EUCLID, queries, rows[::700])
    assert np.abs(found - true).mean() <= 1.3 * np.abs(wanted - true).mean() + 0.1


@pytest.mark.parametrize(("kind", "parameters"), ALL)
@pytest.mark.parametrize("size", [1e-45, 1e-38, 1e20, 2e38])
def test_the_ends_of_floats_are_learnt_without_a_word(
    kind: str, parameters: dict[str, Any], size: float
) -> None:
    """Nothing of use comes of them, but no warning, and what was learnt can be stored."""
    data = np.clip(normal(20, 20, 0) * size, -3.4e38, 3.4e38)
    for metric in METRICS:
        rows = padded(data.astype(np.float32))
        quantizer = train(kind, metric, 20, rows, **parameters)
        again = quantizer_of(kind, metric, 20, quantizer.arrays())
        assert again.encode(rows).tobytes() == quantizer.encode(rows).tobytes()
        assert again.query(rows[0]).tobytes() == quantizer.query(rows[0]).tobytes()


@pytest.mark.parametrize(("kind", "parameters"), ALL)
def test_the_nearest_are_found_again(kind: str, parameters: dict[str, Any]) -> None:
    """Four times as many candidates hold most of the ten nearest, by however few bits."""
    rows = padded(correlated(600, 96, 8).astype(np.float32))
    queries = rows[:20] + padded(0.3 * normal(20, 96, 9)).astype(np.float32)
    for metric in (DOT, EUCLID, MANHATTAN):
        quantizer = train(kind, metric, 96, rows, **parameters)
        guessed = np.argsort(estimate(quantizer, queries, quantizer.encode(rows)), axis=1)[:, :40]
        nearest = np.argsort(distances(metric, queries, rows), axis=1)[:, :10]
        shares = [np.isin(n, g).mean() for n, g in zip(nearest, guessed, strict=True)]
        assert np.mean(shares) > (0.45 if parameters.get("query_bits") == 1 else 0.65)
