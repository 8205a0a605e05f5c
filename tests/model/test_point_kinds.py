"""Batches of every kind of vector: their columns, and wrong ones named by point and vector."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import LimitExceeded, UnknownVector, ValidationError, WrongDimension
from edge.model.config import EdgeConfig
from edge.model.limits import Limits
from edge.model.point import (
    Point,
    PointVectors,
    Record,
    batch_of,
    batch_of_arrays,
    batch_of_vectors,
    owner_of,
)
from edge.model.sparse import SparseVector
from edge.model.vector_params import Distance, EdgeVectorParams, VectorStorageDatatype
from tests.model.strategies import CONFIG, HALF, MANY, SEVERAL, WORDS, config_of

S = SparseVector
NAN, INF = math.nan, math.inf


def several(size: int = 2, **options: Any) -> EdgeConfig:
    return EdgeConfig(
        {MANY: EdgeVectorParams(size, Distance.Dot, multivector_config=SEVERAL, **options)}
    )


def test_columns_of_multivectors() -> None:
    points = [
        Point(1, {MANY: [[1, 2], [3, 4]]}),
        Point(2, {MANY: [5, 6]}),
        Point(3, {}),
        Point(4, {MANY: np.array([[7, 8], [9, 10], [11, 12]])}),
    ]
    column = batch_of(points, CONFIG).vectors[MANY]
    assert column.rows is not None
    assert column.lengths is not None
    assert column.rows.tolist() == [0, 1, 3]
    assert column.lengths.tolist() == [2, 1, 3]
    assert column.data.tolist() == [[i, i + 1] for i in range(1, 13, 2)]
    assert column.indices is None
    assert (len(column), column.nbytes) == (3, 6 * 2 * 4)
    assert (column.rows.dtype, column.lengths.dtype) == (np.uint32, np.uint32)
    assert column.data.dtype == np.float32
    assert batch_of(points[:2], CONFIG).vectors[MANY].rows is None


def test_columns_of_sparse_vectors() -> None:
    points = [
        Point(1, {WORDS: S([9, 2], [1, 2])}),
        Point(2, {}),
        Point(3, {WORDS: S([], [])}),
        Point(4, {WORDS: S([2**32 - 1], [0.5])}),
    ]
    column = batch_of(points, CONFIG).vectors[WORDS]
    assert column.rows is not None
    assert column.lengths is not None
    assert column.indices is not None
    assert column.rows.tolist() == [0, 2, 3]
    assert column.lengths.tolist() == [2, 0, 1]
    assert column.indices.tolist() == [2, 9, 2**32 - 1]
    assert column.data.tolist() == [2, 1, 0.5]
    assert (len(column), column.nbytes) == (3, 3 * 8)
    assert (column.indices.dtype, column.data.dtype) == (np.uint32, np.float32)
    empty = batch_of([Point(1, {WORDS: S([], [])})], CONFIG).vectors[WORDS]
    assert (len(empty), empty.nbytes, empty.rows) == (1, 0, None)


def test_points_of_every_kind_are_values() -> None:
    vectors = {"": [1, 2, 3], MANY: [[1, 2], [3, 4]], WORDS: S([1], [2])}
    makes: list[Any] = [
        lambda given: Point(1, given, {"a": 1}),
        lambda given: PointVectors(1, given),
    ]
    for make in makes:
        made = make(vectors)
        assert made == pickle.loads(pickle.dumps(made)) == copy.deepcopy(made)
        for name, other in ((MANY, [[1, 2], [3, 5]]), (MANY, [1, 2]), (WORDS, S([1], [3]))):
            assert make({**vectors, name: other}) != made
        assert "\n" not in repr(made)
    shown = repr(Record(1, None, {MANY: [[1.0, 2.0], [3.0, 4.0]], WORDS: S([1], [2])}))
    assert "{'many': [[1, 2], … 2 vectors], 'words': SparseVector(indices=[1], val" in shown


def test_the_given_arrays_are_not_kept() -> None:
    mine = np.array([[1.0, 2.0]], np.float32)
    point = Point(1, {MANY: mine})
    mine[0, 0] = 9
    column = batch_of([point], CONFIG).vectors[MANY]
    assert column.data.tolist() == [[1, 2]]
    assert not np.shares_memory(column.data, mine)


GOOD = Point(5, {"": [1, 2, 3], HALF: [1, 2], MANY: [[1, 2]], WORDS: S([1], [1])})
WRONG: list[tuple[Any, type[ValidationError], str]] = [
    # of another kind
    ({"": S([1], [1])}, ValidationError, 'vector "": expected numbers, got a SparseVector'),
    ({HALF: S([1], [1])}, ValidationError, 'vector "half": expected numbers, got a SparseVector'),
    ({MANY: S([1], [1])}, ValidationError, 'vector "many": expected numbers, got a SparseVector'),
    ({WORDS: [1, 2]}, ValidationError, 'vector "words": expected a SparseVector, got numbers'),
    ({WORDS: []}, ValidationError, 'vector "words": expected a SparseVector, got numbers'),
    ({WORDS: [[1]]}, ValidationError, 'vector "words": expected a SparseVector, got numbers'),
    ({"": [[1, 2, 3]]}, WrongDimension, r'vector "": expected 3 numbers, got a multi.*\[1, 3\]'),
    ({"": [[1, 2], [3, 4]]}, WrongDimension, 'vector "": expected 3 numbers, got a multivector'),
    ({"": np.zeros((0, 3))}, WrongDimension, 'vector "": expected 3 numbers, got a multivector'),
    # empty, or of another width
    ({MANY: []}, ValidationError, 'vector "many": a multivector holds one vector at least'),
    ({MANY: np.zeros((0, 2))}, ValidationError, 'vector "many": a multivector holds one vector'),
    ({MANY: [[]]}, WrongDimension, 'vector "many": expected 2 numbers, got 0'),
    ({MANY: [1]}, WrongDimension, 'vector "many": expected 2 numbers, got 1'),
    ({MANY: [[1, 2, 3]]}, WrongDimension, 'vector "many": expected 2 numbers, got 3'),
    ({HALF: [1]}, WrongDimension, 'vector "half": expected 2 numbers, got 1'),
    (
        {"zz": S([1], [1])},
        UnknownVector,
        'vector "zz": the shard has "", "image", "half", "many", ',
    ),
    # not finite
    ({MANY: [[1, 2], [1, NAN]]}, ValidationError, r'vector "many"\[1\]: nan is not a finite'),
    ({MANY: np.array([[1e39, 2]])}, ValidationError, r'vector "many"\[0\]: inf is not a finite'),
    ({HALF: [0, -INF]}, ValidationError, r'vector "half"\[1\]: -inf is not a finite number'),
    # beyond float16
    ({HALF: [0, 65_520]}, ValidationError, r'vector "half"\[1\]: 65520.0 is beyond Float16\'s 65'),
    ({HALF: [-1e38, 0]}, ValidationError, r'vector "half"\[0\]: -.* is beyond Float16\'s 65504'),
]


@pytest.mark.parametrize(("vectors", "kind", "message"), WRONG, ids=range(len(WRONG)))
def test_one_wrong_vector_refuses_the_batch(
    vectors: Any, kind: type[ValidationError], message: str
) -> None:
    """The error names the point, wherever it is, and also where others lack the vector."""
    for before in ([], [GOOD], [GOOD, Point(6, {})]):
        label = rf"points\[{len(before)}\] \(id 7\), "
        with pytest.raises(ValidationError, match=label + message) as caught:
            batch_of([*before, Point(7, vectors), GOOD], CONFIG)
        assert type(caught.value) is kind
        changes = [*(PointVectors(p.id, p.vector) for p in before), PointVectors(7, vectors)]
        with pytest.raises(kind, match=f"point_vectors{label[6:]}{message}"):
            batch_of_vectors(changes, CONFIG)


@pytest.mark.parametrize("number", [65_504.0, 65_519.0, -65_519.9, 2**-24, 1e-30])
def test_float16_takes_what_rounds_to_a_finite_number(number: float) -> None:
    assert batch_of([Point(1, {HALF: [number, 0]})], CONFIG).vectors[HALF].data[0, 1] == 0


@pytest.mark.parametrize("datatype", [*VectorStorageDatatype.__members__.values(), None])
def test_only_float16_has_a_greatest_number(datatype: VectorStorageDatatype | None) -> None:
    if datatype is VectorStorageDatatype.Turbo4:  # no config has it
        return
    for config in (
        EdgeConfig({MANY: EdgeVectorParams(2, Distance.Euclid, datatype=datatype)}),
        several(datatype=datatype),
    ):
        large = [Point(1, {MANY: [3e38, -3e38]})]
        if datatype is VectorStorageDatatype.Float16:
            with pytest.raises(ValidationError, match="beyond Float16"):
                batch_of(large, config)
        else:
            assert len(batch_of(large, config)) == 1


def test_cosine_vectors_of_float16_may_be_of_any_length() -> None:
    """They are stored with length 1."""
    config = config_of(Distance.Cosine)
    assert batch_of([Point(1, {HALF: [3e38, 1]})], config).vectors[HALF].data[0, 1] == 1


def test_bytes_are_counted_by_kind() -> None:
    points = [Point(1, {"": [1, 2, 3], MANY: [[1, 2], [3, 4]], WORDS: S([1, 2], [3, 4])})]
    size = 12 + 16 + 16
    assert batch_of(points, CONFIG).nbytes == size
    assert len(batch_of(points, CONFIG, Limits(batch_bytes=size))) == 1
    with pytest.raises(LimitExceeded, match=f"{size} bytes, at most {size - 1}"):
        batch_of(points, CONFIG, Limits(batch_bytes=size - 1))
    for name in (MANY, WORDS):
        alone = [Point(1, {name: points[0].vector[name]})]  # type: ignore[call-overload, index]
        with pytest.raises(LimitExceeded, match="16 bytes, at most 15"):
            batch_of(alone, CONFIG, Limits(batch_bytes=15))


# -- whole columns


def test_blocks_of_multivectors_are_the_same_batch_as_points() -> None:
    data = np.arange(24.0).reshape(3, 4, 2)
    points = [Point(i, {MANY: data[i]}) for i in range(3)]
    assert batch_of_arrays(range(3), {MANY: data}, None, CONFIG) == batch_of(points, CONFIG)
    one = [Point(i, {MANY: data[i, 0]}) for i in range(3)]
    assert batch_of_arrays(range(3), {MANY: data[:, 0]}, None, CONFIG) == batch_of(one, CONFIG)
    assert batch_of_arrays([], {MANY: np.zeros((0, 2))}, None, CONFIG).nbytes == 0


BLOCKS: list[tuple[Any, type[ValidationError], str]] = [
    ({WORDS: np.zeros((2, 3))}, ValidationError, "'words': sparse vectors do not come as arrays"),
    ({"": np.zeros((2, 1, 3))}, ValidationError, r"'': expected shape \[2, 3\], got \[2, 1, 3\]"),
    ({MANY: np.zeros((2, 0, 2))}, ValidationError, r"expected shape \[2, 'any', 2\], got \[2, 0"),
    ({MANY: np.zeros((3, 1, 2))}, ValidationError, r"expected shape \[2, 'any', 2\], got \[3, 1"),
    ({MANY: np.zeros((3, 2))}, ValidationError, r"expected shape \[2, 2\], got \[3, 2\]"),
    ({MANY: np.zeros((2, 1, 3))}, WrongDimension, r"expected shape \[2, 'any', 2\], got \[2, 1, 3"),
    ({MANY: np.zeros((2, 3))}, WrongDimension, r"expected shape \[2, 2\], got \[2, 3\]"),
    ({MANY: np.zeros((2, 0))}, WrongDimension, r"expected shape \[2, 2\], got \[2, 0\]"),
    ({HALF: np.full((2, 2), 7e4)}, ValidationError, r'row 0 \(id 8\), vector "half"\[0\]: 70000.0'),
    (
        {MANY: np.array([[[1, 2], [3, 4]], [[5, 6], [7, NAN]]])},
        ValidationError,
        r'row 1 \(id 9\), vector "many"\[1\]: nan',
    ),
    (
        {MANY: np.array([[[1, 2], [INF, 4]], [[5, 6], [7, 8]]])},
        ValidationError,
        r'row 0 \(id 8\), vector "many"\[0\]: inf',
    ),
]


@pytest.mark.parametrize(("blocks", "kind", "message"), BLOCKS, ids=range(len(BLOCKS)))
def test_one_wrong_block_refuses_the_arrays(
    blocks: Any, kind: type[ValidationError], message: str
) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        batch_of_arrays([8, 9], blocks, None, CONFIG)
    assert type(caught.value) is kind


@given(st.lists(st.integers(0, 4), min_size=1, max_size=8))
def test_whose_an_entry_is(lengths: list[int]) -> None:
    """Runs of no entries have none."""
    expected = [owner for owner, length in enumerate(lengths) for _ in range(length)]
    found = [owner_of(at, np.array(lengths, np.uint32)) for at in range(sum(lengths))]
    assert found == expected
