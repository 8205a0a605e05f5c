"""Blocks of rows against plain lists of dicts."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge.model.point_id import decode_ids, encode_ids
from edge.segment.rows import RowBlock, StoredVectors, merge_vectors, without_vectors

STRIDE = 16
NAMES = ["", "image", "text"]
Vectors = dict[str, int]  # a vector by name, told apart by its first number
Point = tuple[int, Vectors, bytes | None]

vectors = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 99))
payloads = st.sampled_from([None, b"a", b"b"])


def columns_of(points: list[Vectors], names: list[str]) -> dict[str, StoredVectors]:
    columns = {}
    for name in names:
        where = [place for place, point in enumerate(points) if name in point]
        block = np.zeros((len(where), STRIDE), np.float32)
        block[:, 0] = [points[place][name] for place in where]
        whole = len(where) == len(points)
        columns[name] = StoredVectors(None if whole else np.array(where, np.uint32), block)
    return columns


def vectors_of(columns: dict[str, StoredVectors], count: int) -> list[Vectors]:
    points: list[Vectors] = [{} for _ in range(count)]
    for name, column in columns.items():
        where = range(count) if column.where is None else column.where.tolist()
        assert list(where) == sorted(where)
        for place, row in zip(where, column.block, strict=True):
            assert not row[1:].any()
            points[place][name] = int(row[0])
    return points


@st.composite
def points(draw: st.DrawFn) -> list[Point]:
    ids = draw(st.lists(st.integers(0, 50), unique=True, max_size=10))
    return [(i, draw(vectors), draw(payloads)) for i in ids]


@given(points(), st.sets(st.sampled_from(NAMES)), st.data())
def test_take_keeps_whole_rows(drawn: list[Point], names: set[str], data: st.DataObject) -> None:
    known = [{n: v for n, v in p[1].items() if n in names} for p in drawn]
    ids = encode_ids([p[0] for p in drawn])
    block = RowBlock(ids, columns_of(known, sorted(names)), [p[2] for p in drawn])
    keep = sorted(data.draw(st.sets(st.sampled_from(range(len(drawn))))) if drawn else [])
    taken = block.take(np.array(keep, np.uint32))
    assert len(taken) == len(keep)
    assert decode_ids(taken.ids) == [drawn[i][0] for i in keep]
    assert taken.payloads == [drawn[i][2] for i in keep]
    assert vectors_of(taken.vectors, len(keep)) == [known[i] for i in keep]


@given(
    st.lists(st.tuples(vectors, vectors), max_size=8),
    st.sets(st.sampled_from(NAMES)),
    st.sets(st.sampled_from(NAMES)),
)
def test_new_vectors_are_laid_over_old_ones(
    drawn: list[tuple[Vectors, Vectors]], old_names: set[str], new_names: set[str]
) -> None:
    old = [{n: v for n, v in point.items() if n in old_names} for point, _ in drawn]
    new = [{n: v for n, v in point.items() if n in new_names} for _, point in drawn]
    before, fresh = columns_of(old, sorted(old_names)), columns_of(new, sorted(new_names))
    merged = merge_vectors(before, fresh, len(drawn))
    assert vectors_of(merged, len(drawn)) == [{**a, **b} for a, b in zip(old, new, strict=True)]
    assert vectors_of(before, len(drawn)) == old


@given(st.lists(vectors, max_size=6), st.frozensets(st.sampled_from([*NAMES, "gone"])))
def test_vectors_are_taken_away_by_name(drawn: list[Vectors], names: frozenset[str]) -> None:
    left = without_vectors(columns_of(drawn, NAMES), names)
    expected = [{n: v for n, v in point.items() if n not in names} for point in drawn]
    assert vectors_of(left, len(drawn)) == expected
