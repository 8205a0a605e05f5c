"""Distances in every encoding: right against numpy in float64, and the same bits in every form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_kernels import bits, distance, encodings, jit, measure, scan
from edge_kernels.encodings import (
    COSINE,
    DOT,
    ENCODINGS,
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
from tests.kernels.made_rows import PLAIN, made, plain_distances, query_of, rows_of

EXACT = (UINT8, INT8)
codes = st.builds(code_of, st.sampled_from(METRICS), st.sampled_from(ENCODINGS))
plain_codes = st.builds(code_of, st.sampled_from(METRICS), st.sampled_from(PLAIN))
seeds = st.integers(0, 2**32 - 1)


@jit.door
def _row_as_query(block):
    code, row, size = jit.load_i64(block), jit.load_i64(block + 8), jit.load_i64(block + 16)
    return measure.query_of_row(code, row, size, jit.load_i64(block + 24))


def distances(code, query, rows, offsets=None):
    every = np.arange(len(rows)) if offsets is None else np.asarray(offsets)
    return scan.distances(code, query, rows, 0, every.astype(np.uint32))


def scanned(code, query, rows, allowed=None):
    """The distances of a scan, by offset."""
    ids, top = np.zeros((len(rows), 3), np.uint64), scan.TopK(len(rows))
    ids[:, 2] = np.arange(len(rows))
    scan.scan(code, query, rows, len(rows), 0, allowed, ids, top)
    offsets, found = top.finish()
    return found[np.argsort(offsets)]


def assert_close(code, got, wanted, dim):
    """Float32 arithmetic: each of `dim` parts may lose one rounding of the largest sums."""
    assert got.dtype == np.float32
    scale = np.maximum(np.abs(wanted), np.abs(wanted).max(initial=0) / 1e2) + 1e-30
    assert (np.abs(got - wanted) <= 1e-6 * (4 + dim) * scale).all()
    assert not np.signbit(got[got == 0]).any()


# --- right -----------------------------------------------------------------------------------


@given(code=codes, n=st.integers(1, 11), dim=st.integers(1, 150), seed=seeds)
def test_agrees_with_float64(code, n, dim, seed):
    random = np.random.default_rng(seed)
    matrix = made(code, n, dim, random)
    query, wanted = matrix.ask(random)
    assert_close(code, distances(code, query, matrix.rows), wanted, dim)


@given(metric=st.sampled_from(METRICS), encoding=st.sampled_from(EXACT), seed=seeds)
def test_sums_of_integers_are_rounded_once(metric, encoding, seed):
    random = np.random.default_rng(seed)
    numbers = made_rows.elements(encoding, (9, 333), random)
    rows, meant = rows_of(encoding, numbers)
    got = distances(code_of(metric, encoding), query_of(encoding, numbers[4], 1.0), rows)
    if (metric, encoding) == (COSINE, UINT8):
        wanted = made_rows.plain_angles(numbers[4], meant)
        assert got[4] == -1
    else:
        wanted = plain_distances(metric, numbers[4], meant)
    assert got.tolist() == (wanted + 0.0).astype(np.float32).tolist()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("encoding", "low", "high"), [(UINT8, 0, 255), (INT8, -128, 127)])
def test_the_longest_rows_of_the_greatest_numbers(metric, encoding, low, high):
    numbers = np.full((5, 65_536), low)
    numbers[1], numbers[2, ::2], numbers[3, 1::2] = high, high, high
    rows, meant = rows_of(encoding, numbers)
    for number in (low, high):
        query = np.full(65_536, number)
        wanted = (
            made_rows.plain_angles(query, meant)
            if (metric, encoding) == (COSINE, UINT8)
            else plain_distances(metric, query, meant)
        )
        got = distances(code_of(metric, encoding), query_of(encoding, query), rows)
        assert got.tolist() == (wanted + 0.0).astype(np.float32).tolist()


def test_every_float16_is_what_it_is():
    """Subnormal ones too; a query of zeros and a one picks an element."""
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)]
    rows, _ = rows_of(FLOAT16, finite[:, None])
    query = query_of(FLOAT16, np.array([-1.0]))
    got = distances(code_of(DOT, FLOAT16), query, rows)
    assert got.tolist() == finite.astype(np.float32).tolist()


@given(
    metric=st.sampled_from(METRICS),
    encoding=st.sampled_from(ENCODINGS),
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    questions=st.integers(1, 7),
    dim=st.integers(1, 70),
    seed=seeds,
)
def test_several_vectors_are_the_sum_of_their_least(metric, encoding, counts, questions, dim, seed):
    random = np.random.default_rng(seed)
    single = made(code_of(metric, encoding), sum(counts), dim, random)
    matrix = made_rows.several(single, counts, questions)
    query, wanted = matrix.ask(random)
    got = distances(matrix.code, query, matrix.rows)
    scale = max(1.0, np.abs(wanted).max())
    assert (np.abs(got - wanted) <= 1e-5 * (4 + dim) * questions * scale).all()


@pytest.mark.parametrize("encoding", [FLOAT32, UINT8])
@pytest.mark.parametrize("metric", METRICS)
def test_more_vectors_than_a_block_holds(metric, encoding):
    random = np.random.default_rng(metric)
    single = made(code_of(metric, encoding), 331, 20, random)
    matrix = made_rows.several(single, [130, 1, 64, 65, 71], 129)
    query, wanted = matrix.ask(random)
    got = distances(matrix.code, query, matrix.rows)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-3)


# --- the same bits ---------------------------------------------------------------------------


@given(
    code=codes,
    n=st.integers(1, 150),
    dim=st.integers(1, 150),
    many=st.integers(2, 7),
    share=st.sampled_from([0.1, 0.5, 1.0]),
    seed=seeds,
)
def test_several_queries_together_give_the_bits_of_each(code, n, dim, many, share, seed):
    random = np.random.default_rng(seed)
    matrix = made(code, n, dim, random)
    if share < 0.5 and encodings.encoding_of_code(code) not in (SLICED, PRODUCT):
        matrix = made_rows.several(matrix, [1] * n, 3)
    queries = [matrix.ask(random)[0] for _ in range(many)]
    ids = np.zeros((n, 3), np.uint64)
    ids[:, 2] = random.permutation(n)
    chosen = np.flatnonzero(random.random(n) < share).astype(np.uint32)
    sizes = [int(random.integers(0, n + 1)) for _ in queries]
    ways = [
        (scan.scan_together, scan.scan, (n, 0, None)),
        (scan.scan_together, scan.scan, (n, 0, bits.from_offsets(n, chosen))),
        (scan.scan_list_together, scan.scan_list, (0, chosen)),
    ]
    for together, alone, where in ways:
        tops = [scan.TopK(k) for k in sizes]
        together(matrix.code, queries, matrix.rows, *where, ids, tops)
        for query, top in zip(queries, tops, strict=True):
            wanted = scan.TopK(top.k)
            alone(matrix.code, query, matrix.rows, *where, ids, wanted)
            for got, expected in zip(top.finish(), wanted.finish(), strict=True):
                assert got.tobytes() == expected.tobytes()
    table = np.empty((many, n), np.float32)
    scan.distances_together(matrix.code, np.stack(queries), matrix.rows, table)
    for query, row in zip(queries, table, strict=True):
        assert row.tobytes() == distances(matrix.code, query, matrix.rows).tobytes()


@given(code=codes, n=st.integers(1, 13), dim=st.integers(1, 150), seed=seeds)
def test_every_form_gives_the_same_bits(code, n, dim, seed):
    random = np.random.default_rng(seed)
    matrix = made(code, n, dim, random)
    query, rows = matrix.ask(random)[0], matrix.rows
    alone = np.concatenate([distances(code, query, rows[at : at + 1]) for at in range(n)])
    shuffled = random.permutation(n)
    assert distances(code, query, rows).tobytes() == alone.tobytes()
    assert distances(code, query, rows, shuffled).tobytes() == alone[shuffled].tobytes()
    assert scanned(code, query, rows).tobytes() == alone.tobytes()
    chosen = np.flatnonzero(random.random(n) < 0.7).astype(np.uint32)
    allowed = bits.from_offsets(n, chosen)
    assert scanned(code, query, rows, allowed).tobytes() == alone[chosen].tobytes()


@given(
    code=codes,
    counts=st.lists(st.integers(1, 8), min_size=1, max_size=7),
    questions=st.integers(1, 6),
    dim=st.integers(1, 70),
    seed=seeds,
)
def test_several_vectors_have_the_bits_of_single_ones(code, counts, questions, dim, seed):
    random = np.random.default_rng(seed)
    single = made(code, sum(counts), dim, random)
    matrix = made_rows.several(single, counts, questions)
    asked = [single.ask(random)[0] for _ in range(questions)]
    vectors = np.ascontiguousarray(np.stack(asked))
    query = made_rows.descriptors(vectors, [questions])[0]
    wanted = np.zeros(len(counts), np.float32)
    for one in asked:
        parts = np.split(distances(code, one, single.rows), np.cumsum(counts)[:-1])
        wanted += np.array([part.min() for part in parts], np.float32)
    assert distances(matrix.code, query, matrix.rows).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("code", [code_of(m, e) for e in ENCODINGS for m in METRICS])
def test_distances_of_zeros_are_plus_zero(code):
    encoding = encodings.encoding_of_code(code)
    if encoding in PLAIN:
        rows, _ = rows_of(encoding, np.zeros((7, 5)))
        query = query_of(encoding, np.full(5, -0.0))
    else:
        matrix = made(code, 7, 60, np.random.default_rng(1))
        query, rows = matrix.ask(np.random.default_rng(2))[0], matrix.rows
        rows[:] = 0
        query.view(np.uint8)[encodings.SLICED_HEADER if encoding == SLICED else 64 :] = 0
        query.view(np.float32)[5:7] = 0
    for result in (distances(code, query, rows), distances(code, query, rows[:1])):
        assert not result.any()
        assert not np.signbit(result).any()


# --- rows as queries -------------------------------------------------------------------------


def as_query(code, row, size):
    """The query form that kernels make of a row, and nothing written beyond its bytes."""
    room = encodings.scratch_bytes(code, size)
    scratch = np.full(room + 64, 0xAA, np.uint8)
    made_bytes = jit.call(
        _row_as_query,
        distance.measure_of(code),
        jit.address_of_any(row),
        size,
        jit.address_of(scratch),
    )
    assert (made_bytes, bytes(scratch[room:])) == (room, b"\xaa" * 64)
    return scratch[:room].view(np.int8) if room else np.ascontiguousarray(row)


@given(code=plain_codes, n=st.integers(1, 9), dim=st.integers(1, 100), seed=seeds)
def test_distances_between_rows_are_symmetric_and_right(code, n, dim, seed):
    metric, encoding = encodings.metric_of_code(code), encodings.encoding_of_code(code)
    random = np.random.default_rng(seed)
    numbers = made_rows.elements(encoding, (n, dim), random)
    scales = (10.0 ** random.uniform(-3, 1, n)).astype(np.float32)
    rows, meant = rows_of(encoding, numbers, scales)
    size = encodings.row_bytes(encoding, dim)
    found = [distances(code, as_query(code, row, size), rows) for row in rows]
    assert np.array(found).tobytes() == np.array(found).T.copy().tobytes()
    for at, got in enumerate(found):
        wanted = (
            made_rows.plain_angles(meant[at], meant)
            if (metric, encoding) == (COSINE, UINT8)
            else plain_distances(metric, meant[at], meant)
        )
        assert_close(code, got, wanted, dim)


@given(code=plain_codes, count=st.integers(1, 5), dim=st.integers(1, 70), seed=seeds)
def test_a_row_of_several_vectors_as_a_query(code, count, dim, seed):
    """It asks for what its vectors would, each as a query of its own."""
    random = np.random.default_rng(seed)
    single = made(code, 2 * count, dim, random)
    size, multi = single.rows.shape[1] * single.rows.itemsize, code | MULTI
    rows = made_rows.descriptors(single.rows, [count, count])
    room = encodings.scratch_bytes(multi, size, count)
    scratch = np.full(room // 8 + 8, -1, np.int64)
    measured = distance.measure_of(multi)
    used = jit.call(
        _row_as_query, measured, jit.address_of(rows), encodings.DESCRIPTOR, jit.address_of(scratch)
    )
    assert used == room
    assert (scratch[room // 8 :] == -1).all()
    query = scratch[:4] if room else rows[0]
    wanted = np.zeros(2, np.float32)
    for row in single.rows[:count]:
        found = distances(code, as_query(code, row, size), single.rows)
        wanted += found.reshape(2, count).min(axis=1)
    assert distances(multi, query, rows).tobytes() == wanted.tobytes()


# --- numbers that overflow -------------------------------------------------------------------


def test_a_vector_that_is_no_number_is_not_the_nearest():
    rows = np.zeros((4, 16), np.float32)
    rows[0, :2], rows[1, 0], rows[2, 0] = (np.inf, -np.inf), 1, 2
    queries = np.zeros((2, 16), np.float32)
    queries[:, :2] = 1
    for count in (1, 2):
        query = made_rows.descriptors(queries, [count])[0]
        described = made_rows.descriptors(rows, [1, 3])
        got = distances(code_of(DOT, FLOAT32, True), query, described)
        assert got.tolist() == [np.inf, -2.0 * count]


@pytest.mark.parametrize("metric", METRICS)
def test_float32_beyond_its_range_is_infinite_or_no_number(metric):
    rows = np.full((5, 16), 3e38, np.float32)
    rows[1] *= -1
    got = distances(code_of(metric), rows[0], rows)
    wanted = plain_distances(metric, rows[0], rows)
    assert (got[[0, 2, 3, 4]] == got[0]).all()
    big = np.abs(wanted) > np.finfo(np.float32).max
    assert (np.isinf(got) == big).all()


# --- codes and sizes -------------------------------------------------------------------------


def test_codes_come_apart_again():
    for metric in METRICS:
        for encoding in ENCODINGS:
            for multi in (False, True):
                code = code_of(metric, encoding, multi)
                assert encodings.metric_of_code(code) == metric
                assert encodings.encoding_of_code(code) == encoding
                assert encodings.is_multi(code) is multi
                assert encodings.single(code) == code_of(metric, encoding)
                assert encodings.is_known(code)
    assert code_of(EUCLID) == EUCLID
    assert not any(encodings.is_known(code) for code in (4, -1, 8 << 8, 1 << 18, 1 << 30))
    for wrong in ((4, FLOAT32), (-1, FLOAT32), (DOT, 8), (DOT, -1)):
        with pytest.raises(ValueError, match="unknown"):
            code_of(*wrong)
    with pytest.raises(ValueError, match="unknown"):
        distance.measure_of(7)


@pytest.mark.parametrize(
    ("encoding", "dim", "row", "query"),
    [
        (FLOAT32, 1, 64, 64),
        (FLOAT32, 384, 1536, 1536),
        (FLOAT16, 17, 64, 128),
        (UINT8, 33, 64, 64),
        (INT8, 384, 384, 448),
        (SCALED8, 384, 400, 1600),
        (SCALED8, 33, 80, 320),
        (SCALED16, 17, 80, 192),
    ],
)
def test_sizes(encoding, dim, row, query):
    assert encodings.row_bytes(encoding, dim) == row
    assert encodings.query_bytes(code_of(DOT, encoding), row) == query
    assert encodings.query_bytes(code_of(DOT, encoding, True), 32) == 32
    scratch = 0 if encoding in (FLOAT32, UINT8) else query
    assert encodings.scratch_bytes(code_of(DOT, encoding), row) == scratch
    several = 0 if encoding in (FLOAT32, UINT8) else 32 + 5 * query
    assert encodings.scratch_bytes(code_of(DOT, encoding, True), row, 5) == several


REFUSED_ROWS = {
    "short": (FLOAT32, np.zeros((3, 8), np.float32)),
    "empty": (FLOAT32, np.zeros((3, 0), np.float32)),
    "flat": (FLOAT32, np.zeros(16, np.float32)),
    "wide": (FLOAT32, np.zeros((3, 16), np.float64)),
    "strided": (FLOAT32, np.zeros((3, 32), np.float32)[:, ::2]),
    "half of float32": (FLOAT16, np.zeros((3, 16), np.float32)),
    "bytes": (UINT8, np.zeros((3, 16), np.uint8)),
    "without scale": (SCALED8, np.zeros((3, 32), np.int8)),
    "only scale": (SCALED8, np.zeros((3, 16), np.int8)),
    "scale alone": (SLICED, np.zeros((3, 1), np.uint64)),
    "odd table": (PRODUCT, np.zeros((3, 6), np.uint8)),
    "no table": (PRODUCT, np.zeros((3, 0), np.uint8)),
    "descriptors": (MULTI >> 8, np.zeros((3, 3), np.int64)),
}


@pytest.mark.parametrize("name", REFUSED_ROWS)
def test_rows_that_are_none_are_refused(name):
    encoding, rows = REFUSED_ROWS[name]
    with pytest.raises(ValueError, match="rows must be"):
        encodings.check_rows(encoding << 8, rows)


def test_one_row_of_a_strided_matrix_is_a_row():
    rows = np.zeros((4, 16), np.float32)[::2][:1]
    assert encodings.check_rows(DOT, rows) == 64


REFUSED_QUERIES = {
    "long": (FLOAT32, np.zeros(32, np.float32), 64),
    "wide": (FLOAT32, np.zeros(8, np.float64), 64),
    "half": (FLOAT16, np.zeros(16, np.float16), 32),
    "no factor": (INT8, np.zeros(32, np.int8), 32),
    "no squares": (SCALED8, np.zeros(32, np.float32), 48),
    "strided": (UINT8, np.zeros(64, np.uint8)[::2], 32),
    "no header": (SLICED, np.zeros(8, np.uint8), 16),
    "no planes": (SLICED, np.zeros(128, np.uint8), 16),
    "short table": (PRODUCT, np.ones(16 + 255, np.float32), 4),
    "many chunks": (PRODUCT, np.full(16 + 256 * 5, 5, np.float32), 4),
    "no number": (PRODUCT, np.full(16 + 256, np.nan, np.float32), 4),
    "empty": (PRODUCT, np.zeros(0, np.float32), 4),
}


@pytest.mark.parametrize("name", REFUSED_QUERIES)
def test_queries_that_are_none_are_refused(name):
    encoding, query, size = REFUSED_QUERIES[name]
    with pytest.raises(ValueError, match="query"):
        encodings.check_query(code_of(EUCLID, encoding), query, size)


@given(seed=seeds, where=st.integers(0, 15), value=st.integers(-2, 2**40))
def test_a_sliced_query_with_a_wrong_header_is_refused_or_fits(seed, where, value):
    random = np.random.default_rng(seed)
    matrix = made(code_of(MANHATTAN, SLICED), 3, 100, random)
    query = matrix.ask(random)[0]
    query.view(np.int64)[where] = value
    try:
        result = distances(matrix.code, query, matrix.rows)
    except ValueError:
        return
    assert len(result) == 3


def test_scores_are_those_of_the_metric():
    values = np.array([0.0, 4.0], np.float32)
    for encoding in ENCODINGS:
        for multi in (False, True):
            scores = [distance.to_score(code_of(m, encoding, multi), values) for m in METRICS]
            assert [score.tolist() for score in scores] == [[0, -4], [0, -4], [0, 2], [0, 4]]
