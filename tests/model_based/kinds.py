"""Vectors of every kind, as the model knows them: what a name may be, and what is near what.

Invariant: all that is drawn here is exactly what its datatype stores, so that scores are exact but
for cosine and for the weights of rare dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge.model.sparse import SparseVector
from edge.model.update import UpdateOperation
from edge.model.vector_params import (
    Distance,
    EdgeSparseVectorParams,
    EdgeVectorParams,
    Modifier,
    MultiVectorComparator,
    MultiVectorConfig,
    VectorParams,
    VectorStorageDatatype,
)

Floats: TypeAlias = NDArray[np.float64]
Kept: TypeAlias = Floats | dict[int, float]
"""A vector [n], several [k, n], or the entries of a sparse one."""

D, Dot, Manhattan = VectorStorageDatatype, Distance.Dot, Distance.Manhattan
SEVERAL = MultiVectorConfig(MultiVectorComparator.MaxSim)
DIMS = [0, 1, 2, 9, 2**32 - 1]

KINDS: dict[str, VectorParams] = {
    "half": EdgeVectorParams(5, Dot, datatype=D.Float16),
    "bytes": EdgeVectorParams(7, Distance.Euclid, datatype=D.Uint8),
    "many": EdgeVectorParams(3, Dot, multivector_config=SEVERAL),
    "words": EdgeSparseVectorParams(modifier=Modifier.Idf),
}
"""What a shard begins with beside the plain dense vectors."""

CREATED: list[tuple[str, VectorParams]] = [
    ("new", EdgeVectorParams(2, Dot)),
    ("new", EdgeVectorParams(3, Manhattan, datatype=D.Float16)),
    ("new", EdgeVectorParams(2, Manhattan, multivector_config=SEVERAL, datatype=D.Uint8)),
    ("new", EdgeSparseVectorParams()),
    ("other", EdgeSparseVectorParams(datatype=D.Float16)),
    ("half", KINDS["half"]),
    ("bytes", KINDS["bytes"]),
    ("bytes", EdgeVectorParams(8, Distance.Euclid, datatype=D.Uint8)),
    ("many", KINDS["many"]),
    ("many", EdgeVectorParams(3, Dot)),
    ("words", KINDS["words"]),
    ("words", EdgeVectorParams(4, Distance.Euclid, datatype=D.Float16)),
]
"""What names may become while a shard runs: what they were, or something else."""

GIVEN_AWAY = [*dict.fromkeys(name for name, _ in CREATED), "gone"]
"""The names that are taken away now and then, and one that never is there."""


def is_sparse(params: VectorParams) -> bool:
    return isinstance(params, EdgeSparseVectorParams)


def is_several(params: VectorParams) -> bool:
    return isinstance(params, EdgeVectorParams) and params.multivector_config is not None


def is_similarity(params: VectorParams) -> bool:
    """Whether larger scores are better."""
    return isinstance(params, EdgeSparseVectorParams) or params.distance in (Dot, Distance.Cosine)


def is_exact(params: VectorParams) -> bool:
    """Whether scores are sums of small whole numbers, or a root of one."""
    if isinstance(params, EdgeSparseVectorParams):
        return params.modifier is None
    return params.distance is not Distance.Cosine


def same_rows(first: VectorParams, second: VectorParams) -> bool:
    """Whether one may be asked for where the other is (of those that are drawn here)."""
    return first == second


def creation(name: str, params: VectorParams) -> UpdateOperation:
    """The operation that makes it."""
    if isinstance(params, EdgeSparseVectorParams):
        return UpdateOperation.create_sparse_vector(name, params.modifier, params.datatype)
    return UpdateOperation.create_dense_vector(
        name, params.size, params.distance, params.multivector_config, params.datatype
    )


def vector(params: VectorParams, seed: int) -> Any:
    """One that a caller gives: whole numbers of which few are large."""
    random = np.random.default_rng([seed, 77])
    if isinstance(params, EdgeSparseVectorParams):
        dims = random.permutation(DIMS)[: seed % 5]
        return SparseVector(dims, random.choice([-2.0, -1.0, 1.0, 2.0], len(dims)))
    rows = _numbers(params, random, (1 + seed % 3, params.size))
    return rows.tolist() if is_several(params) and seed % 4 else rows[0].tolist()


def block(params: VectorParams, seed: int, count: int) -> Any:
    """Whole columns of `count` of them; None of sparse ones, which do not come so."""
    if isinstance(params, EdgeSparseVectorParams):
        return None
    random = np.random.default_rng([seed, count, 78])
    several = (count, 2, params.size) if is_several(params) else (count, params.size)
    return _numbers(params, random, several)


def _numbers(
    params: EdgeVectorParams, random: np.random.Generator, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    low, high = (0, 6) if params.datatype is D.Uint8 else (-2, 3)
    return random.integers(low, high, shape).astype(np.float32)


def kept(params: VectorParams, given: Any) -> Kept:
    """A vector that a caller gave as it is stored."""
    if isinstance(given, SparseVector):
        return dict(zip(given.indices, given.values, strict=True))
    rows = np.array(given, np.float64)
    if is_several(params):
        return np.atleast_2d(rows)
    assert isinstance(params, EdgeVectorParams)
    length = np.sqrt((rows * rows).sum())
    return rows / length if params.distance is Distance.Cosine and length > 0 else rows


def flat(one: Kept) -> Floats:
    """All its numbers, for comparing; what they belong to is compared by `form`."""
    return np.array(list(one.values())) if isinstance(one, dict) else one.reshape(-1)


def form(one: Kept) -> Any:
    """What is to be the same beside the numbers: dimensions, or the shape."""
    return list(one) if isinstance(one, dict) else one.shape


def shown(found: Any) -> Kept:
    """A vector as results hold it, as the model does."""
    if isinstance(found, SparseVector):
        return dict(zip(found.indices, found.values, strict=True))
    return np.array(found, np.float64)


# -- what is near what


def _dot(query: Floats, row: Floats) -> float:
    return float((query * row).sum())


def _euclid(query: Floats, row: Floats) -> float:
    return float(np.sqrt(((query - row) ** 2).sum()))


def _manhattan(query: Floats, row: Floats) -> float:
    return float(np.abs(query - row).sum())


SCORES: dict[Distance, Callable[[Floats, Floats], float]] = {
    Distance.Cosine: _dot,
    Distance.Dot: _dot,
    Distance.Euclid: _euclid,
    Distance.Manhattan: _manhattan,
}


def scores(
    params: VectorParams, query: Any, rows: Mapping[Any, Kept], everything: Sequence[Kept]
) -> dict[Any, float]:
    """The score of each of the rows that is a result; `everything` that has the vector says which
    dimensions are rare."""
    if isinstance(params, EdgeSparseVectorParams):
        return _sparse_scores(params, query, rows, everything)
    asked, score = kept(params, query), SCORES[params.distance]
    if not is_several(params):
        return {i: score(asked, row) for i, row in rows.items()}  # type: ignore[arg-type]
    best = max if is_similarity(params) else min
    return {
        i: float(sum(best(score(one, other) for other in row) for one in asked))  # type: ignore[arg-type]
        for i, row in rows.items()
    }


def _sparse_scores(
    params: EdgeSparseVectorParams,
    query: SparseVector,
    rows: Mapping[Any, Any],
    everything: Sequence[Any],
) -> dict[Any, float]:
    filled = [row for row in everything if row]
    weights = dict(zip(query.indices, query.values, strict=True))
    if params.modifier is Modifier.Idf:
        for dim in weights:
            having = sum(dim in row for row in filled)
            weights[dim] *= math.log(1 + (len(filled) - having + 0.5) / (having + 0.5))
    return {
        i: sum(row[dim] * weights[dim] for dim in row.keys() & weights.keys())
        for i, row in rows.items()
        if row.keys() & weights.keys()
    }
