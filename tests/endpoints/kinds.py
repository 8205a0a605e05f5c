"""Vectors of every kind: a shard that has them, and whatever such vectors may be."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from edge.model.choice import Memory
from edge.model.config import Durability, EdgeConfig
from edge.model.point import Point
from edge.model.quantization import (
    BinaryQuantizationConfig,
    CompressionRatio,
    NoQuantization,
    ProductQuantizationConfig,
    QuantizationSearchParams,
    ScalarQuantizationConfig,
    ScalarType,
    TurboQuantBitSize,
    TurboQuantQuantizationConfig,
)
from edge.model.query import AcornSearchParams, IdfParams, SearchParams
from edge.model.sparse import SparseVector
from edge.model.vector_params import (
    Distance,
    EdgeSparseVectorParams,
    EdgeVectorParams,
    HnswIndexConfig,
    Modifier,
    MultiVectorComparator,
    MultiVectorConfig,
    VectorStorageDatatype,
)
from tests.model import strategies as values

MANY = MultiVectorConfig(MultiVectorComparator.MaxSim)
SIZE = 3

EVERY_KIND = EdgeConfig(
    {
        "": EdgeVectorParams(SIZE, Distance.Cosine),
        "half": EdgeVectorParams(
            SIZE, Distance.Dot, datatype=VectorStorageDatatype.Float16, memory=Memory.Cold
        ),
        "parts": EdgeVectorParams(
            SIZE,
            Distance.Dot,
            multivector_config=MANY,
            hnsw_config=HnswIndexConfig(8, 50, 100),
            quantization_config=ScalarQuantizationConfig(ScalarType.Int8),
        ),
    },
    {
        "words": EdgeSparseVectorParams(),
        "rare": EdgeSparseVectorParams(modifier=Modifier.Idf, datatype=VectorStorageDatatype.Uint8),
    },
    durability=Durability.Os,
    background_optimizer=False,
)


def words(*indices: int) -> SparseVector:
    """A sparse vector with the value 1 + 1/index."""
    return SparseVector(indices, [1 + 1 / (index + 1) for index in indices])


def made(n: int) -> Point:
    """A point with vectors of every kind, some of which some points lack."""
    vector: dict[str, Any] = {"": np.cos(np.arange(SIZE) * n + 1).tolist(), "half": [n, -1.5, 0.25]}
    if n % 3:
        vector["parts"] = [[float(n), row, -row] for row in range(1 + n % 4)]
    if n % 4:
        vector["words"] = words(*range(n % 5), 100 + n, 2**32 - 1)
    if n % 5:
        vector["rare"] = words(n % 7, 9 + n)
    return Point(n, vector, {"n": n})


# -- whatever vectors may be

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
dense = st.lists(finite, min_size=1, max_size=4)
several = st.integers(1, 4).flatmap(
    lambda size: st.lists(
        st.lists(finite, min_size=size, max_size=size), min_size=1, max_size=4
    )
)  # fmt: skip
sparse = st.dictionaries(st.integers(0, 2**32 - 1), finite, max_size=4).map(
    lambda entries: SparseVector(entries.keys(), entries.values())
)
any_kind = dense | several | sparse

KINDS = {"dense": dense, "several": several, "sparse": sparse}


@st.composite
def results(draw: st.DrawFn) -> list[Any]:
    """The vectors of the points of a result: of each name they are of one kind and dimension."""
    size = draw(st.integers(1, 4))
    row = st.lists(finite, min_size=size, max_size=size)
    kinds = st.sampled_from([row, st.lists(row, min_size=1, max_size=3), sparse])
    names = draw(st.dictionaries(st.text(max_size=3), kinds, max_size=3))
    some = st.fixed_dictionaries({}, optional=names)
    points = draw(st.lists(st.none() | some, max_size=4))
    return list(map(_as_shown, points))


def _as_shown(found: dict[str, Any] | None) -> Any:
    """A lone vector without a name stands alone, but a sparse one."""
    lone = found[""] if found is not None and found.keys() == {""} else None
    return found if lone is None or isinstance(lone, SparseVector) else lone


def _or_none(kind: type[Any]) -> st.SearchStrategy[Any]:
    return st.none() | st.sampled_from(list(kind))


storages = [kind for kind in VectorStorageDatatype if kind is not VectorStorageDatatype.Turbo4]
quantizations = st.sampled_from(
    [
        None,
        NoQuantization(),
        ScalarQuantizationConfig(ScalarType.Int8, 0.9),
        ProductQuantizationConfig(CompressionRatio.X16, memory=Memory.Cold),
        BinaryQuantizationConfig(True),
        TurboQuantQuantizationConfig(bits=TurboQuantBitSize.Bits1_5),
    ]
)
dense_params = st.builds(
    EdgeVectorParams,
    st.integers(1, 65_535),
    st.sampled_from(Distance),
    st.none() | st.booleans(),
    st.none() | st.just(MANY),
    st.none() | st.sampled_from(storages),
    quantizations,
    st.none() | st.builds(HnswIndexConfig, st.integers(2, 512), st.just(9), st.just(0)),
    _or_none(Memory),
)
sparse_params = st.builds(
    EdgeSparseVectorParams,
    st.none() | st.integers(0, 2**64 - 1),
    st.none() | st.booleans(),
    _or_none(Modifier),
    st.none() | st.sampled_from([kind for kind in storages if "Turbo" not in kind.name]),
    _or_none(Memory),
)

params = st.builds(
    SearchParams,
    st.none() | st.integers(1, 99),
    st.booleans(),
    st.none()
    | st.builds(
        QuantizationSearchParams,
        st.booleans(),
        st.none() | st.booleans(),
        st.none() | st.floats(1, 1000),
    ),
    st.booleans(),
    st.none() | st.builds(AcornSearchParams, st.booleans(), st.none() | st.floats(0, 1)),
    st.none() | st.builds(IdfParams, st.none() | values.filters),
)
