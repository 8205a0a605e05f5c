"""Sparse columns against plain dicts: growing, built, searched by every way, and as datatypes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.model.sparse import SparseVector
from edge.model.vector_params import EdgeSparseVectorParams, VectorStorageDatatype
from edge.vectors.block import Ragged, starts_of
from edge.vectors.sparse import (
    BuiltSparse,
    GrowingSparse,
    SparseQuery,
    dtype_of,
    held_rows,
    index_arrays,
    index_of,
    rounded,
)
from edge_kernels import bits
from edge_kernels.topk import TopK

Vector = dict[int, float]
Point = Vector | None

DIMS = [0, 1, 2, 5, 77, 2**31, 2**32 - 1]
values = st.integers(-4, 4).map(float).filter(bool)
vectors = st.dictionaries(st.sampled_from(DIMS), values, max_size=4)
points = st.lists(st.none() | vectors, max_size=12)
batches = st.lists(points, max_size=5)

PLAIN = EdgeSparseVectorParams()
HALF = EdgeSparseVectorParams(datatype=VectorStorageDatatype.Float16)
ENTRY_BYTES = {PLAIN: 8, HALF: 6}


def stored(given_points: list[Vector]) -> Ragged:
    """Vectors as a checked operation brings them."""
    entries = [entry for vector in given_points for entry in sorted(vector.items())]
    indices = np.array([index for index, _ in entries], np.uint32)
    lengths = np.array([len(vector) for vector in given_points], np.uint32)
    return Ragged(starts_of(lengths), (indices, np.array([v for _, v in entries], np.float32)))


def grown(drawn: list[list[Point]], params: EdgeSparseVectorParams = PLAIN) -> GrowingSparse:
    column, start = GrowingSparse(params), 0
    for batch in drawn:
        has = [place for place, point in enumerate(batch) if point is not None]
        where = None if len(has) == len(batch) else np.array(has, np.uint32)
        column.append(start, len(batch), where, stored([p for p in batch if p is not None]))
        start += len(batch)
    return column


def built(
    column: GrowingSparse | BuiltSparse, count: int, params: EdgeSparseVectorParams
) -> BuiltSparse:
    """The same points as an immutable column."""
    block = column.take(np.arange(count, dtype=np.uint32))
    assert isinstance(block, Ragged)
    rows = held_rows(block, params)
    index = index_of(index_arrays(rows, lambda: None), count)
    assert rows.values.dtype == index.values.dtype == dtype_of(params)
    return BuiltSparse(params, rows, index, column.missing(count))


def all_of(drawn: list[list[Point]]) -> tuple[list[Point], list[GrowingSparse | BuiltSparse]]:
    """The points, in the tail and built, as each type; and built again of what was built."""
    everything = [point for batch in drawn for point in batch]
    count = len(everything)
    tail, half_tail = grown(drawn), grown(drawn, HALF)
    half = built(half_tail, count, HALF)
    again = built(half, count, HALF), built(built(half_tail, count, PLAIN), count, HALF)
    return everything, [tail, half_tail, built(tail, count, PLAIN), half, *again]


def shown(column: GrowingSparse | BuiltSparse, offsets: Any) -> list[Vector]:
    found = column.shown(np.array(offsets, np.uint32))
    assert all(isinstance(vector, SparseVector) for vector in found)
    return [dict(zip(vector.indices, vector.values, strict=True)) for vector in found]


@given(batches, st.data())
def test_each_column_gives_the_vector_of_each_point(
    drawn: list[list[Point]], data: st.DataObject
) -> None:
    everything, columns = all_of(drawn)
    count = len(everything)
    asked = data.draw(st.lists(st.integers(0, count - 1), max_size=20)) if count else []
    wanted = [everything[at] or {} for at in asked]
    lacking = [at for at, point in enumerate(everything) if point is None]
    for column in columns:
        assert shown(column, asked) == wanted
        entry = ENTRY_BYTES[column.params]
        assert column.sizes(np.array(asked, np.uint32), count) == entry * sum(map(len, wanted))
        assert column.sizes(None, count) == entry * sum(len(point or {}) for point in everything)
        missing = column.missing(count)
        found = [] if missing is None else bits.to_offsets(missing, count).tolist()
        assert found == lacking
        filled = [at for at, point in enumerate(everything) if point]
        assert bits.to_offsets(column.rows(count).filled(), count).tolist() == filled
    half = count // 2
    assert columns[0].sizes(None, half) == 8 * sum(len(point or {}) for point in everything[:half])


@given(batches)
def test_what_a_reader_holds_never_changes(drawn: list[list[Point]]) -> None:
    column, start, held = GrowingSparse(PLAIN), 0, []
    for batch in drawn:
        column.append(start, len(batch), None, stored([point or {} for point in batch]))
        start += len(batch)
        rows = column.rows(start)
        held.append((start, rows, [part.copy() for part in rows], column.rows(start).take))
    for count, rows, copies, take in held:
        assert np.array_equal(rows.starts, copies[0])
        end = int(rows.starts[-1]) if count else 0
        for part, copy in zip(rows[1:], copies[1:], strict=True):
            assert np.array_equal(part[:end], copy[:end])
        everything = np.arange(count, dtype=np.uint32)
        now = column.rows(start).take(everything)
        for then, again in zip(take(everything).parts, now.parts, strict=True):
            assert np.array_equal(then, again)


def ids_of(count: int) -> np.ndarray:
    """Falling ids, so that ties go against the order of the offsets."""
    rows = np.zeros((count, 3), np.uint64)
    rows[:, 2] = np.arange(count)[::-1]
    return rows


def nearest(everything: list[Point], query: Vector, among: set[int], k: int) -> list[Any]:
    """(offset, score) of those that share a dimension, best first; of equal ones the last."""
    scored = []
    for at, point in enumerate(everything):
        shared = (point or {}).keys() & query.keys()
        if at in among and shared:
            scored.append((at, sum((point or {})[dim] * query[dim] for dim in shared)))
    return sorted(scored, key=lambda hit: (-hit[1], -hit[0]))[:k]


def hits(top: TopK) -> list[Any]:
    offsets, distances = top.finish()
    return [(at, -d) for at, d in zip(offsets.tolist(), distances.tolist(), strict=True)]


@given(batches, vectors, st.integers(1, 9), st.none() | st.sets(st.integers(0, 59)))
def test_every_way_finds_the_same(
    drawn: list[list[Point]], query: Vector, k: int, some: set[int] | None
) -> None:
    everything, columns = all_of(drawn)
    count = len(everything)
    among = set(range(count)) if some is None else {at for at in some if at < count}
    offsets = np.array(sorted(among), np.uint32)
    allowed = None if some is None else bits.from_offsets(count, offsets)
    indices = np.array(sorted(query), np.uint32)
    asked = SparseQuery(indices, np.array([query[dim] for dim in sorted(query)], np.float32))
    wanted, ids = nearest(everything, query, among, k), ids_of(count)
    counted = [sum(dim in (everything[at] or {}) for at in among) for dim in sorted(query)]
    for column in columns:
        top = TopK(k)
        column.search(asked, count, allowed, ids, top)
        assert hits(top) == wanted
        top = TopK(k)
        column.search_list(asked, offsets, ids, top)
        assert hits(top) == wanted
        assert column.count_rows(indices, count, allowed).tolist() == counted


def test_a_growing_column_is_searched_up_to_the_watermark() -> None:
    column = grown([[{1: 1.0}, {1: 2.0}], [{1: 9.0}]])
    asked, top = SparseQuery(np.array([1], np.uint32), np.ones(1, np.float32)), TopK(5)
    column.search(asked, 2, None, ids_of(3), top)
    assert hits(top) == [(1, 2.0), (0, 1.0)]
    assert column.count_rows(asked.indices, 2, None).tolist() == [2]


# -- as datatypes


def kept(vector: list[float], datatype: VectorStorageDatatype | None) -> list[float]:
    params = EdgeSparseVectorParams(datatype=datatype)
    lengths = np.array([len(vector)], np.uint32)
    return rounded(np.array(vector, np.float32), lengths, params).tolist()


D = VectorStorageDatatype
numbers = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=6)


@given(numbers)
def test_float32_keeps_values_as_they_are(vector: list[float]) -> None:
    assert kept(vector, None) == kept(vector, D.Float32) == vector


@given(numbers)
def test_float16_keeps_the_nearest_that_is_finite(vector: list[float]) -> None:
    near = [float(np.float16(min(max(x, -65_504), 65_504))) for x in vector]
    assert kept(vector, D.Float16) == near
    assert kept(near, D.Float16) == near


@given(numbers)
def test_uint8_keeps_each_value_within_half_a_step(vector: list[float]) -> None:
    greatest = max(map(abs, vector), default=0.0)
    step = greatest / 127
    found = kept(vector, D.Uint8)
    assert np.isfinite(found).all()
    for value, near in zip(vector, found, strict=True):
        assert abs(value - near) <= step / 2 * 1.0001 + 1e-44


@given(st.lists(st.lists(st.integers(-127, 127).map(float), max_size=5), max_size=6))
def test_uint8_takes_steps_by_vector(drawn: list[list[float]]) -> None:
    """Vectors without entries between them, and a step of each one's own."""
    together = [x for vector in drawn for x in vector]
    lengths = np.array([len(vector) for vector in drawn], np.uint32)
    params = EdgeSparseVectorParams(datatype=D.Uint8)
    found = rounded(np.array(together, np.float32), lengths, params)
    assert found.tolist() == [x for vector in drawn for x in kept(vector, D.Uint8)]


@pytest.mark.parametrize("size", [1e-45, 1e-40, 1e-30, 1e30, 3.4e38, float(np.finfo("f4").max)])
@pytest.mark.parametrize("datatype", [D.Float32, D.Float16, D.Uint8])
def test_values_of_any_size_are_stored_without_a_word(
    datatype: VectorStorageDatatype, size: float
) -> None:
    found = kept([size, -size / 2, 0.0], datatype)
    assert np.isfinite(found).all()
