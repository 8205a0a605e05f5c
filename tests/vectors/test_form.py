"""Stored forms: what each encoding keeps of a vector, and that kernels compare just that."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from edge.model.vector_params import (
    Distance,
    EdgeVectorParams,
    MultiVectorComparator,
    MultiVectorConfig,
    VectorStorageDatatype,
)
from edge.vectors.form import ENCODINGS, Form, form_of
from edge_kernels import encodings, scan
from edge_kernels.distance import COSINE, DOT, EUCLID, MANHATTAN, to_score
from edge_kernels.encodings import FLOAT16, FLOAT32, SCALED8, SCALED16, UINT8

Floats = NDArray[np.float32]

METRICS = [COSINE, DOT, EUCLID, MANHATTAN]
STEPS = {SCALED8: 254, SCALED16: 65_534}
"""An element is off by at most the vector's greatest magnitude divided by this, and 2^-23 of it: a
half of that for the code, which is rounded after a division, a half for code times scale."""

encoded = st.sampled_from(list(ENCODINGS))
metrics = st.sampled_from(METRICS)
numbers = st.floats(-10_000, 10_000, width=32).filter(lambda x: x == 0 or abs(x) > 0.01)


@st.composite
def matrices(draw: st.DrawFn, dim: int | None = None) -> Floats:
    shape = draw(st.integers(1, 4)), dim or draw(st.sampled_from([1, 3, 15, 16, 17, 32, 33, 50]))
    return draw(arrays.arrays(np.float32, shape, elements=numbers))


def unit(vectors: Floats) -> Floats:
    """Rows of length 1; what is almost zero stays."""
    squared = (vectors.astype(np.float64) ** 2).sum(axis=1, keepdims=True)
    return (vectors / np.sqrt(np.where(squared < 2.0**-23, 1, squared))).astype(np.float32)


def given_to(form: Form, vectors: Floats) -> Floats:
    """What the encoding is given: cosine vectors normalised, but for uint8."""
    return unit(vectors) if form.metric == COSINE and form.encoding != UINT8 else vectors


@given(matrices(), encoded, metrics)
def test_rows_hold_what_was_given_within_the_bounds_of_the_encoding(
    vectors: Floats, encoding: int, metric: int
) -> None:
    form = Form(vectors.shape[1], metric, encoding)
    stored = form.rows(vectors)
    found, wanted = form.numbers(stored), given_to(form, vectors)
    assert stored.dtype == form.dtype
    assert found.dtype == np.float32
    assert stored.shape == (len(vectors), form.width)
    off = np.abs(found - wanted)
    rounding = 0 if wanted is vectors else 2e-6
    if encoding == FLOAT32:
        assert off.max() <= rounding
    elif encoding == FLOAT16:
        assert (off <= np.abs(wanted) * 2**-11 + 2**-25 + rounding).all()
    elif encoding == UINT8:
        assert found.tolist() == np.trunc(np.clip(vectors, 0, 255)).tolist()
    else:
        greatest = np.abs(wanted).max(axis=1, keepdims=True)
        assert (off <= greatest * (1 / STEPS[encoding] + 2.0**-23) + rounding).all()


@settings(max_examples=300)
@given(st.sampled_from(sorted(STEPS)), st.integers(0, 1 << 32), st.floats(-33, 38))
def test_codes_with_a_scale_keep_the_bound_at_any_magnitude(
    encoding: int, seed: int, magnitude: float
) -> None:
    """With many elements that lie just between two codes, where all roundings add up."""
    rng = np.random.default_rng(seed)
    greatest = min(10.0**magnitude, 3.4e38)
    steps = rng.integers(-STEPS[encoding] // 2, STEPS[encoding] // 2, (4, 1000))
    shares = (steps + 0.5) / (STEPS[encoding] // 2) + rng.normal(0, 1e-7, (4, 1000))
    vectors = (greatest * shares.clip(-1, 1)).astype(np.float32)
    form = Form(1000, DOT, encoding)
    off = np.abs(form.numbers(form.rows(vectors)).astype(np.float64) - vectors.astype(np.float64))
    most = np.abs(vectors).max(axis=1, keepdims=True).astype(np.float64)
    assert (off <= most * (1 / STEPS[encoding] + 2.0**-23)).all()


@given(matrices(), encoded, metrics)
def test_what_was_stored_is_stored_alike_again(vectors: Floats, encoding: int, metric: int) -> None:
    """But for cosine, whose rows are made of length 1 each time."""
    form = Form(vectors.shape[1], metric, encoding)
    stored = form.rows(vectors)
    again = form.rows(form.numbers(stored))
    if encoding in STEPS or metric == COSINE:
        close = np.abs(form.numbers(again) - form.numbers(stored))
        greatest = np.abs(form.numbers(stored)).max(axis=1, keepdims=True)
        allowed = 4e-7 if encoding == FLOAT32 else 1.01 / 127 if encoding == SCALED8 else 1e-3
        assert (close <= greatest * allowed).all()
    else:
        assert np.array_equal(again, stored)


@given(matrices(), encoded, metrics)
def test_rows_are_as_the_kernels_want_them(vectors: Floats, encoding: int, metric: int) -> None:
    form = Form(vectors.shape[1], metric, encoding)
    stored = np.ascontiguousarray(form.rows(vectors))
    assert form.code == encodings.code_of(metric, encoding)
    assert encodings.check_rows(form.code, stored) == form.row_bytes == stored.strides[0]
    assert form.row_bytes == encodings.row_bytes(encoding, form.dim)
    assert form.vector_bytes == form.dim * ENCODINGS[encoding].element_bytes <= form.row_bytes
    query = form.query(vectors[0])
    assert query.code == form.code
    encodings.check_query(form.code, query.form, form.row_bytes)
    assert not form.decoded(stored)[:, form.dim :].any()


def reference(form: Form, query: Floats, rows: Floats) -> NDArray[np.float64]:
    """Scores as numpy computes them, in float64. Of cosine rows only uint8 ones have a length that
    is to be divided by: the others were stored with length 1, as far as the encoding can."""
    one, all_rows, metric = query.astype(np.float64), rows.astype(np.float64), form.metric
    if metric == DOT or (metric == COSINE and form.encoding != UINT8):
        return all_rows @ one
    if metric == EUCLID:
        return np.sqrt(((all_rows - one) ** 2).sum(axis=1))
    if metric == MANHATTAN:
        return np.abs(all_rows - one).sum(axis=1)
    lengths = np.sqrt((all_rows**2).sum(axis=1)) * np.sqrt((one**2).sum())
    return np.where(lengths > 0, (all_rows @ one) / np.where(lengths > 0, lengths, 1), 0)


def scores(form: Form, query: Floats, stored: Any) -> Floats:
    code, asked = form.query(query)[:2]
    everything = np.arange(len(stored), dtype=np.uint32)
    found = scan.distances(code, asked, np.ascontiguousarray(stored), 0, everything)
    return to_score(code, found)


def compared(form: Form, query: Floats) -> Floats:
    """What of a query is compared: that of float16 and uint8 rows is rounded as they are."""
    if form.encoding in STEPS:
        return given_to(form, query[None])[0]
    return form.numbers(form.rows(query[None]))[0]


whole = st.integers(-40, 300).map(float)


@given(st.sampled_from([1, 5, 16, 17, 33]), encoded, metrics, st.data())
def test_kernels_compare_just_what_is_stored(
    dim: int, encoding: int, metric: int, data: st.DataObject
) -> None:
    form = Form(dim, metric, encoding)
    vectors = data.draw(arrays.arrays(np.float32, (4, dim), elements=whole))
    stored = form.rows(vectors[1:])
    found = scores(form, vectors[0], stored)
    wanted = reference(form, compared(form, vectors[0]), form.numbers(stored))
    size = float(np.abs(vectors).max()) or 1.0
    # SCALED rows are compared by way of their dot product, which costs digits near 0
    bound = {
        COSINE: 5e-6,
        DOT: 1e-6 * size**2 * dim,
        EUCLID: 4e-3 * size,
        MANHATTAN: 1e-6 * size * dim,
    }
    exact = encoding not in STEPS and metric != COSINE
    assert np.abs(found - wanted).max() <= (1e-6 * size if exact else bound[metric])
    assert np.isfinite(found).all()


@pytest.mark.parametrize("encoding", list(ENCODINGS))
@pytest.mark.parametrize("metric", METRICS)
def test_a_query_of_several_is_a_descriptor_of_each(metric: int, encoding: int) -> None:
    single, several = Form(3, metric, encoding), Form(3, metric, encoding, many=True)
    assert several.code == single.code | encodings.MULTI
    assert (several.width, several.dtype) == (single.width, single.dtype)
    vectors = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    for asked in (vectors, vectors[0]):
        code, words, kept, _ = several.query(asked)
        each = [single.query(row).form for row in np.atleast_2d(asked)]
        assert code == several.code
        assert np.array_equal(kept, each)
        assert words.tolist() == [kept.ctypes.data, len(each), kept.strides[0], 0]
        encodings.check_query(code, words, 32)


@pytest.mark.parametrize("encoding", list(ENCODINGS))
@pytest.mark.parametrize("metric", METRICS)
def test_zeros_stay_zeros(metric: int, encoding: int) -> None:
    form = Form(5, metric, encoding)
    zeros = np.zeros((2, 5), np.float32)
    stored = form.rows(zeros)
    assert not form.numbers(stored).any()
    assert scores(form, zeros[0], stored).tolist() == [0, 0]
    assert form.rows(zeros[:0]).shape == (0, form.width)
    assert form.numbers(stored[:0]).shape == (0, 5)


@pytest.mark.parametrize("encoding", list(ENCODINGS))
@pytest.mark.parametrize("metric", METRICS)
def test_what_quantizers_take_is_padded_and_for_cosine_of_length_one(
    metric: int, encoding: int
) -> None:
    form = Form(5, metric, encoding)
    vectors = np.array([[3, 4, 0, 0, 0], [0, 0, 0, 0, 200], [0, 0, 0, 0, 0]], np.float32)
    taken = form.decoded(form.rows(vectors))
    assert (taken.shape, taken.dtype) == ((3, 16), np.float32)
    wanted = unit(vectors) if metric == COSINE else vectors
    assert np.allclose(taken[:, :5], wanted, rtol=1 / 250, atol=1e-2)
    assert not taken[:, 5:].any()
    assert np.array_equal(form.as_stored(form.query(vectors[0])), taken[:1])
    assert np.array_equal(form.as_stored(form.query(vectors)), taken)


def test_uint8_cuts_off_and_keeps_to_its_range() -> None:
    form = Form(8, DOT, UINT8)
    given_numbers = [[-0.5, -1e9, 0.99, 1, 254.99, 255, 255.9, 1e9]]
    stored = form.rows(np.array(given_numbers, np.float32))
    assert form.numbers(stored).tolist() == [[0, 0, 0, 1, 254, 255, 255, 255]]
    assert form.query(np.array(given_numbers[0], np.float32)).form.tolist() == stored[0].tolist()


def test_float16_rounds_to_the_nearest() -> None:
    form = Form(5, EUCLID, FLOAT16)
    stored = form.rows(np.array([[1 / 3, 2049, 65_519, 1e-8, -0.1]], np.float32))
    assert form.numbers(stored).tolist() == [
        [float(np.float16(x)) for x in (1 / 3, 2048, 65_504, 0, -0.1)]
    ]


@pytest.mark.parametrize("encoding", list(ENCODINGS))
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    "size", [1e-30, 1e-39, 1e-45, 6e4, 1e20, 3.4e38, float(np.finfo(np.float32).max)]
)
def test_numbers_of_any_size_are_stored_without_a_word(
    metric: int, encoding: int, size: float
) -> None:
    """Neither a warning nor anything that is not a number (float16 refuses what is too large)."""
    if encoding == FLOAT16 and size > 65_504 and metric != COSINE:
        return
    form = Form(3, metric, encoding)
    vectors = np.array([[size, -size, size / 2], [0, size, 0]], np.float32)
    found = form.numbers(form.rows(vectors))
    assert np.isfinite(found).all()
    assert np.isfinite(form.decoded(form.rows(vectors))).all()
    assert not np.isnan(form.query(vectors[0]).form.astype(np.float64)).any()
    assert not np.isnan(scores(form, vectors[0], form.rows(vectors))).any()


def test_every_datatype_has_its_form() -> None:
    several = MultiVectorConfig(MultiVectorComparator.MaxSim)
    made = {
        datatype: form_of(EdgeVectorParams(7, Distance.Euclid, datatype=datatype))
        for datatype in (None, *VectorStorageDatatype)
        if datatype is not VectorStorageDatatype.Turbo4
    }
    assert [form.encoding for form in made.values()] == [
        FLOAT32, FLOAT32, FLOAT16, UINT8, SCALED8, SCALED16
    ]  # fmt: skip
    assert all((f.dim, f.metric, f.many) == (7, EUCLID, False) for f in made.values())
    many = form_of(EdgeVectorParams(7, Distance.Cosine, multivector_config=several))
    assert (many.metric, many.encoding, many.many) == (COSINE, FLOAT32, True)
