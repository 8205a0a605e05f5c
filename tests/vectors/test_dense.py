"""Dense columns: what lies below a watermark stays as it is, whatever runs and chunks it has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.model.vector_params import Distance
from edge.vectors import dense
from edge.vectors.dense import BuiltDense, GrowingDense
from edge.vectors.form import Form
from edge.vectors.metric import larger_is_better, metric_of
from edge_kernels import bits
from edge_kernels.distance import COSINE, DOT, EUCLID, MANHATTAN
from edge_kernels.encodings import FLOAT32

DIM = 5
FORM = Form(DIM, DOT, FLOAT32)
ROWS_A_CHUNK = 64


@pytest.fixture(autouse=True, scope="module")
def small_chunks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dense, "CHUNK_BYTES", 1)
        yield


class Batch(NamedTuple):
    """`count` points, and which of them have the vector (None: all)."""

    count: int
    where: list[int] | None


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    count = draw(st.integers(1, 150))
    if draw(st.booleans()):
        return Batch(count, None)
    kept = draw(st.sampled_from(["none", "some", "first", "last", "all"]))
    some = draw(st.sets(st.integers(0, count - 1)))
    chosen = {
        "none": [],
        "some": sorted(some),
        "first": list(range(count // 2)),
        "last": list(range(count // 2, count)),
        "all": list(range(count)),
    }
    return Batch(count, chosen[kept])


class Grown:
    """A column beside its plain model."""

    def __init__(self) -> None:
        self.column = GrowingDense(FORM)
        self.rows = np.zeros((0, FORM.width), np.float32)
        self.lacks = np.zeros(0, bool)

    def append(self, batch: Batch) -> None:
        start = len(self.rows)
        new = np.zeros((batch.count, FORM.width), np.float32)
        lacks = np.ones(batch.count, bool)
        where = range(batch.count) if batch.where is None else batch.where
        for position in where:
            new[position, :DIM] = start + position + 1
            lacks[position] = False
        given_where = None if batch.where is None else np.array(batch.where, np.uint32)
        block = new if batch.where is None else new[batch.where]
        self.column.append(start, batch.count, given_where, block)
        self.rows = np.concatenate([self.rows, new])
        self.lacks = np.concatenate([self.lacks, lacks])


def missing_of(column: GrowingDense | BuiltDense, count: int) -> list[int]:
    found = column.missing(count)
    return [] if found is None else bits.to_offsets(found, count).tolist()


@given(st.lists(batches(), max_size=6))
def test_a_growing_column_keeps_rows_and_missing_bits(drawn: list[Batch]) -> None:
    grown = Grown()
    for batch in drawn:
        grown.append(batch)
    for count in {0, len(grown.rows) // 2, len(grown.rows)}:
        chunks = list(grown.column.chunks(count))
        assert [base for base, _ in chunks] == list(range(0, count, ROWS_A_CHUNK))
        parts = [rows for _, rows in chunks] or [grown.rows[:0]]
        assert np.array_equal(np.concatenate(parts), grown.rows[:count])
        assert missing_of(grown.column, count) == np.flatnonzero(grown.lacks[:count]).tolist()


@given(st.lists(batches(), min_size=2, max_size=6))
def test_what_a_reader_holds_never_changes(drawn: list[Batch]) -> None:
    grown, held = Grown(), []
    for batch in drawn:
        grown.append(batch)
        count = len(grown.rows)
        chunks = [rows for _, rows in grown.column.chunks(count)]
        held.append((count, chunks, [c.copy() for c in chunks], grown.column.missing(count)))
    for count, chunks, copies, missing in held:
        again = [rows for _, rows in grown.column.chunks(count)]
        for then, copy, now in zip(chunks, copies, again, strict=True):
            assert np.array_equal(then, copy)
            assert np.shares_memory(then, now)
            assert then.shape == now.shape
        now_missing = grown.column.missing(count)
        assert (missing is None) == (now_missing is None)
        assert missing is None or np.array_equal(missing, now_missing)


@given(st.lists(batches(), min_size=1, max_size=4), st.data())
def test_gather_gives_rows_in_the_order_asked(drawn: list[Batch], data: st.DataObject) -> None:
    grown = Grown()
    for batch in drawn:
        grown.append(batch)
    asked = data.draw(st.lists(st.integers(0, len(grown.rows) - 1), max_size=30))
    offsets = np.array(asked, np.uint32)
    assert np.array_equal(grown.column.gather(offsets), grown.rows[asked])
    out = np.full((len(asked), FORM.width), np.nan, np.float32)
    assert grown.column.gather(offsets, out) is out
    assert np.array_equal(out, grown.rows[asked])


def test_missing_is_none_where_no_point_below_the_count_lacks_the_vector() -> None:
    grown = Grown()
    grown.append(Batch(70, None))
    grown.append(Batch(3, [0, 2]))
    assert grown.column.missing(71) is None
    assert grown.column.missing(72) is not None
    assert missing_of(grown.column, 73) == [71]


def test_missing_bits_end_at_the_count() -> None:
    grown = Grown()
    grown.append(Batch(10, []))
    found = grown.column.missing(3)
    assert found is not None
    assert found.tolist() == [0b111]


def test_a_chunk_holds_at_least_64_rows_and_about_four_megabytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dense, "CHUNK_BYTES", 4 << 20)
    for dim, rows in ((16, 65536), (384, 2048), (65535, 64)):
        form = Form(dim, DOT, FLOAT32)
        column = GrowingDense(form)
        column.append(0, 1, None, np.zeros((1, form.width), np.float32))
        [(_, chunk)] = column.chunks(rows)
        assert chunk.shape == (rows, form.width)


def test_a_built_column_is_one_matrix() -> None:
    matrix = np.arange(6 * 16, dtype=np.float32).reshape(6, 16)
    missing = bits.from_offsets(6, np.array([1], np.uint32))
    form = Form(DIM, EUCLID, FLOAT32)
    column = BuiltDense(form, matrix, missing)
    assert column.form is form
    [(base, rows)] = column.chunks(4)
    assert (base, len(rows)) == (0, 4)
    assert np.shares_memory(rows, matrix)
    assert list(column.chunks(0)) == []
    assert np.array_equal(column.gather(np.array([4, 0, 4], np.uint32)), matrix[[4, 0, 4]])
    assert missing_of(column, 6) == [1]
    out = np.empty((2, 16), np.float32)
    assert column.gather(np.array([2, 1], np.uint32), out) is out
    assert np.array_equal(out, matrix[[2, 1]])


@pytest.mark.parametrize("metric", [COSINE, DOT, EUCLID, MANHATTAN])
def test_stored_rows_are_padded_and_normalised_only_for_cosine(metric: int) -> None:
    vectors = np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
    form = Form(3, metric, FLOAT32)
    stored = form.rows(vectors)
    assert stored.shape == (2, 16)
    expected = vectors / np.float32(5) if metric == COSINE else vectors
    assert np.allclose(stored[:, :3], expected)
    assert not stored[:, 3:].any()
    assert np.array_equal(form.query(vectors[0]).form, stored[0])
    assert np.array_equal(form.as_stored(form.query(vectors[0])), stored[:1])
    assert vectors[0].tolist() == [3.0, 4.0, 0.0]


def test_every_distance_has_a_metric() -> None:
    codes = {distance: metric_of(distance) for distance in Distance.__members__.values()}
    assert sorted(codes.values()) == [COSINE, DOT, EUCLID, MANHATTAN]
    similar = {distance for distance, code in codes.items() if larger_is_better(code)}
    assert similar == {Distance.Cosine, Distance.Dot}
