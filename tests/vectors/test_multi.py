"""Multivector columns: each point's vectors lie together, and stay where readers know them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.vectors import multi
from edge.vectors.block import Ragged, starts_of
from edge.vectors.form import ENCODINGS, Form
from edge.vectors.missing import Bits
from edge.vectors.multi import BuiltMulti, GrowingMulti
from edge_kernels import bits, scan
from edge_kernels.distance import DOT, EUCLID, MANHATTAN, to_score
from edge_kernels.encodings import FLOAT16, FLOAT32

DIM = 3
FORM = Form(DIM, DOT, FLOAT16, many=True)
Vectors = list[list[float]]


@pytest.fixture(autouse=True, scope="module")
def small_chunks() -> Iterator[None]:
    """Chunks of 64 vectors."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multi, "CHUNK_BYTES", 1)
        yield


class Batch(NamedTuple):
    """`count` points, and how many vectors those have that have some (None: all points do)."""

    count: int
    where: list[int] | None
    lengths: list[int]


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    count = draw(st.integers(1, 40))
    some = draw(st.none() | st.sets(st.integers(0, count - 1)))
    where = None if some is None else sorted(some)
    having = count if where is None else len(where)
    sizes = st.integers(1, 4) | st.sampled_from([1, 1, 30, 70])
    return Batch(count, where, draw(st.lists(sizes, min_size=having, max_size=having)))


class Grown:
    """A column beside its plain model: the vectors of each point, [] where it lacks them."""

    def __init__(self) -> None:
        self.column = GrowingMulti(FORM)
        self.points: list[Vectors] = []
        self.made = 0

    def append(self, batch: Batch) -> None:
        start = len(self.points)
        self.points += [[] for _ in range(batch.count)]
        where = range(batch.count) if batch.where is None else batch.where
        rows: Vectors = []
        for place, length in zip(where, batch.lengths, strict=True):
            new = [[float(self.made + i), -1.0, i / 2] for i in range(length)]
            self.made = (self.made + length) % 1000
            self.points[start + place] = new
            rows += new
        stored = FORM.rows(np.array(rows, np.float32).reshape(-1, DIM))
        block = Ragged(starts_of(np.array(batch.lengths, np.uint32)), (stored,))
        given_where = None if batch.where is None else np.array(batch.where, np.uint32)
        self.column.append(start, batch.count, given_where, block)

    def built(self) -> BuiltMulti:
        """The same points as an immutable column."""
        everything = np.arange(len(self.points), dtype=np.uint32)
        block = self.column.take(everything)
        assert isinstance(block, Ragged)
        missing = self.column.missing(len(self.points))
        return BuiltMulti(FORM, block.starts, block.parts[0], missing)


def grown(drawn: list[Batch]) -> Grown:
    made = Grown()
    for batch in drawn:
        made.append(batch)
    return made


def places_of(missing: Bits | None, count: int) -> list[int]:
    return [] if missing is None else bits.to_offsets(missing, count).tolist()


def plain(block: Any) -> list[Vectors]:
    assert isinstance(block, Ragged)
    numbers, ends = FORM.numbers(block.parts[0]).tolist(), block.starts.tolist()
    return [numbers[ends[i] : ends[i + 1]] for i in range(len(block))]


@given(st.lists(batches(), max_size=5), st.data())
def test_both_columns_give_the_vectors_of_each_point(
    drawn: list[Batch], data: st.DataObject
) -> None:
    made = grown(drawn)
    count = len(made.points)
    asked = data.draw(st.lists(st.integers(0, count - 1), max_size=30)) if count else []
    offsets = np.array(asked, np.uint32)
    wanted = [made.points[at] for at in asked]
    lacking = [at for at in range(count) if not made.points[at]]
    for column in (made.column, made.built()):
        assert plain(column.take(offsets)) == wanted
        assert column.shown(offsets) == wanted
        assert column.sizes(offsets, count) == sum(map(len, wanted)) * DIM * 2
        assert column.sizes(None, count) == sum(map(len, made.points)) * DIM * 2
        assert column.most(count) == max(map(len, made.points), default=0)
        assert places_of(column.missing(count), count) == lacking
        assert [base for base, _ in column.chunks(count)] == ([0] if count else [])
    half = count // 2
    [*parts] = made.column.chunks(half)
    assert sum(len(part) for _, part in parts) == half
    assert made.column.sizes(None, half) == sum(map(len, made.points[:half])) * DIM * 2
    assert made.column.most(half) == max(map(len, made.points[:half]), default=0)
    assert places_of(made.column.missing(half), half) == [at for at in lacking if at < half]


@given(st.lists(batches(), min_size=2, max_size=5))
def test_what_a_reader_holds_never_changes(drawn: list[Batch]) -> None:
    made, held = Grown(), []
    for batch in drawn:
        made.append(batch)
        count = len(made.points)
        [(_, descriptors)] = made.column.chunks(count)
        held.append((count, descriptors, descriptors.copy(), made.column.missing(count)))
    for count, descriptors, copy, missing in held:
        assert np.array_equal(descriptors, copy)
        [(_, now)] = made.column.chunks(count)
        assert np.array_equal(now, copy), "and nothing has moved"
        assert places_of(made.column.missing(count), count) == places_of(missing, count)


def nearest_of_each(metric: int, query: Vectors, vectors: Vectors) -> float:
    """MaxSim: for each vector of the query the best of the point's, all together. (As in Qdrant it
    is the squares of Euclid's distances that are added up.)"""
    one, other = np.array(query)[:, None], np.array(vectors)[None]
    if metric == DOT:
        return float((one * other).sum(axis=2).max(axis=1).sum())
    if metric == MANHATTAN:
        return float(np.abs(one - other).sum(axis=2).min(axis=1).sum())
    return float(np.sqrt(((one - other) ** 2).sum(axis=2).min(axis=1).sum()))


@pytest.mark.parametrize("encoding", list(ENCODINGS))
@pytest.mark.parametrize("metric", [DOT, MANHATTAN, EUCLID])
def test_kernels_find_the_vectors_where_descriptors_say(metric: int, encoding: int) -> None:
    form = Form(DIM, metric, encoding, many=True)
    random = np.random.default_rng(encoding)
    points = [random.integers(0, 20, (n, DIM)).astype(float).tolist() for n in (1, 3, 70, 2, 1, 9)]
    column = GrowingMulti(form)
    for at, vectors in enumerate(points):
        stored = form.rows(np.array(vectors, np.float32))
        column.append(at, 1, None, Ragged(starts_of(np.array([len(vectors)])), (stored,)))
    kept = [form.numbers(form.rows(np.array(p, np.float32))).tolist() for p in points]
    block = column.take(np.arange(6, dtype=np.uint32))
    assert isinstance(block, Ragged)
    built = BuiltMulti(form, block.starts, block.parts[0], None)
    for query in (points[1], points[0]):
        code, words, held, _ = form.query(np.array(query, np.float32))
        wanted = [nearest_of_each(metric, query, vectors) for vectors in kept]
        for each in (column, built):
            [(base, rows)] = each.chunks(6)
            found = scan.distances(code, words, rows, base, np.arange(6, dtype=np.uint32))
            assert np.allclose(to_score(code, found), wanted, rtol=1e-4, atol=0.06)
        assert held is not None


def test_a_point_of_more_vectors_than_a_chunk_has_a_chunk_of_its_own() -> None:
    made = Grown()
    made.append(Batch(3, None, [1, 200, 1]))
    assert [len(vectors) for vectors in made.points] == [1, 200, 1]
    assert made.column.shown(np.array([2, 1, 0], np.uint32)) == made.points[::-1]


def test_a_chunk_holds_about_four_megabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multi, "CHUNK_BYTES", 4 << 20)
    form = Form(16, DOT, FLOAT32, many=True)
    column = GrowingMulti(form)
    column.append(0, 1, None, Ragged(starts_of(np.array([1])), (np.zeros((1, 16), np.float32),)))
    assert [chunk.nbytes for chunk in column._chunks] == [4 << 20]
