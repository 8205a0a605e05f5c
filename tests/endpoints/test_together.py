"""Upserts that wait together: joined they are what one upsert of all their points is."""

from __future__ import annotations

from typing import Any

import numpy as np
from anyio import run
from hypothesis import given
from hypothesis import strategies as st

from edge.endpoints import together
from edge.model import codec
from edge.model.check import CheckedOperation, CheckedUpsert, check
from edge.model.config import EdgeConfig
from edge.model.filter import Filter
from edge.model.point import Point, PointBatch, VectorColumn
from edge.model.point_id import encode_ids
from edge.model.sparse import SparseVector
from edge.model.update import UpdateMode, UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams
from tests.endpoints import kinds
from tests.endpoints.kinds import EVERY_KIND, SIZE, words

row = st.lists(kinds.finite.map(lambda x: x % 1000), min_size=SIZE, max_size=SIZE)
vectors = {
    "": row,
    "half": row,
    "parts": st.lists(row, min_size=1, max_size=3),
    "words": kinds.sparse,
    "rare": kinds.sparse,
}
payloads = st.none() | st.fixed_dictionaries({"n": st.integers(0, 9)})


def upserts(names: list[str]) -> st.SearchStrategy[list[list[Point]]]:
    """Several lists of points that all have these vectors."""
    vector = st.fixed_dictionaries({name: vectors[name] for name in names})
    points = st.lists(st.builds(Point, st.integers(0, 5), vector, payloads), max_size=3)
    return st.lists(points, min_size=1, max_size=4)


def checked(points: list[Point], config: EdgeConfig = EVERY_KIND) -> CheckedOperation:
    return check(UpdateOperation.upsert_points(points), config)


def in_runs(operations: list[CheckedOperation]) -> list[list[CheckedOperation]]:
    return together.in_runs(operations, lambda operation: operation)


def joined(operations: list[CheckedOperation]) -> Any:
    return run(together.joined, operations)


@given(st.lists(st.sampled_from(list(vectors)), min_size=1, unique=True).flatmap(upserts))
def test_joined_they_are_one_upsert_of_all(several: list[list[Point]]) -> None:
    filled = [points for points in several if points]
    operations = [checked(points) for points in filled]
    runs = in_runs(operations)
    assert len(runs) == bool(filled)
    if runs:
        found = joined(runs[0])
        assert found == checked([point for points in filled for point in points])
        assert codec.decode(b"".join(codec.encode(found))) == found


def of(*vectors: dict[str, Any]) -> CheckedOperation:
    return checked([Point(n, vector) for n, vector in enumerate(vectors)])


PLAIN = of({"": [1, 2, 3]})


def test_what_is_not_alike_is_not_joined() -> None:
    wider = EdgeConfig(EdgeVectorParams(2, Distance.Dot))
    several = EdgeConfig(EdgeVectorParams(SIZE, Distance.Dot, multivector_config=kinds.MANY))
    points = [Point(1, {"": [1, 2, 3]})]
    others = [
        of({"": [1, 2, 3], "words": words(1)}),
        of({"words": words(1)}),
        of({"": [1, 2, 3]}, {}),  # one point lacks it
        checked([Point(1, [1, 2])], wider),  # the name meant something else then
        checked(points, several),
        check(UpdateOperation.upsert_points(points, Filter()), EVERY_KIND),
        check(UpdateOperation.upsert_points(points, None, UpdateMode.InsertOnly), EVERY_KIND),
        check(UpdateOperation.delete_points([1]), EVERY_KIND),
    ]
    for other in others:
        assert in_runs([PLAIN, other]) == [[PLAIN], [other]]
        assert in_runs([other, PLAIN]) == [[other], [PLAIN]]
    assert in_runs([PLAIN, PLAIN]) == [[PLAIN, PLAIN]]


def test_empty_sparse_vectors_keep_their_places() -> None:
    empty = SparseVector([], [])
    found = joined([of({"words": empty}, {"words": words(5)}), of({"words": empty})])
    column = found.batch.vectors["words"]
    assert column.lengths.tolist() == [0, 1, 0]
    assert column.indices.tolist() == [5]


def test_points_without_payloads_do_not_take_those_of_others() -> None:
    column = VectorColumn(None, np.ones((2, SIZE), np.float32))
    bare = CheckedUpsert(PointBatch(encode_ids([7, 8]), {"": column}, []))
    found = joined([bare, checked([Point(9, {"": [1, 2, 3]}, {"n": 9})])])
    assert found.batch.payloads == [None, None, b"\x81\xa1n\x09"]


def test_runs_are_bounded_by_the_numbers_of_all_kinds() -> None:
    weight = len(words(*range(9)).indices) * 8
    operation = of({"words": words(*range(9))})
    assert operation.batch.nbytes == weight  # type: ignore[attr-defined]
    many = [operation] * (2 * together.BYTES_TOGETHER // weight)
    some = in_runs(many[: together.POINTS_TOGETHER + 1])
    assert [len(found) for found in some] == [together.POINTS_TOGETHER, 1]
