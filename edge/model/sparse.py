"""Sparse vectors: the few dimensions that are not zero, and their values.

Invariants: indices ascend strictly, values are finite, both are equally many, and neither shares
memory with the caller's or ever changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.errors import ValidationError
from edge.model import fields

Indices = npt.NDArray[np.uint32]
Values = npt.NDArray[np.float32]

MAX_INDEX = 2**32 - 1


class SparseVector:
    """A sparse vector: `values` (float32) at `indices` (0 to 2**32 - 1), sorted by index.

    Any iterables and one-dimensional numpy arrays are taken, in any order of indices; read back
    they are sorted lists. `arrays` has the same as read-only arrays. Raises ValidationError for
    unequal lengths, an index that comes twice or is out of range, and values that are not finite
    as float32.
    """

    __slots__ = ("_indices", "_values")

    _indices: Indices
    _values: Values

    def __init__(self, indices: Iterable[int], values: Iterable[float]) -> None:
        places, numbers = _as_indices(indices), _as_values(values)
        if len(places) != len(numbers):
            raise ValidationError(
                f"SparseVector: {len(places)} indices and {len(numbers)} values, expected as many"
            )
        order = np.argsort(places, kind="stable")
        self._hold(places[order], numbers[order])
        twice = np.flatnonzero(self._indices[1:] == self._indices[:-1])
        if len(twice):
            raise ValidationError(f"indices: {self._indices[twice[0]]} comes twice")

    @classmethod
    def of_arrays(cls, indices: Indices, values: Values) -> SparseVector:
        """The vector that owns these arrays, which must already be as the invariants say."""
        result = cls.__new__(cls)
        result._hold(indices, values)
        return result

    def _hold(self, indices: Indices, values: Values) -> None:
        indices.setflags(write=False)
        values.setflags(write=False)
        self._indices, self._values = indices, values

    @property
    def indices(self) -> list[int]:
        """The dimensions that have a value, ascending."""
        result: list[int] = self._indices.tolist()
        return result

    @property
    def values(self) -> list[float]:
        """The values of those dimensions, in the same order."""
        result: list[float] = self._values.tolist()
        return result

    @property
    def arrays(self) -> tuple[Indices, Values]:
        """Both as read-only arrays: uint32[n] and float32[n]."""
        return self._indices, self._values

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, SparseVector)
            and np.array_equal(self._indices, other._indices)
            and np.array_equal(self._values, other._values)
        )

    def __hash__(self) -> int:
        # -0.0 and 0.0 are equal: hash the indices only.
        return hash(self._indices.tobytes())

    def __reduce__(self) -> tuple[Any, ...]:
        return SparseVector, (self.indices, self.values)

    def __repr__(self) -> str:
        return f"SparseVector(indices={self.indices}, values={self.values})"


def _as_indices(given: Any) -> Indices:
    if isinstance(given, np.ndarray) and given.dtype.kind in "iu" and given.ndim == 1:
        if len(given) and not 0 <= int(given.min()) <= int(given.max()) <= MAX_INDEX:
            raise ValidationError(f"indices: expected 0 to {MAX_INDEX}")
        return given.astype(np.uint32)
    numbers = [
        fields.integer(index, f"indices[{place}]", 0, MAX_INDEX)
        for place, index in enumerate(fields.sequence(given, "indices"))
    ]
    return np.array(numbers, np.uint32)


def _as_values(given: Any) -> Values:
    if isinstance(given, np.ndarray) and given.dtype.kind in "iuf" and given.ndim == 1:
        wide = given.astype(np.float64)
    else:
        numbers = [
            fields.number(value, f"values[{place}]")
            for place, value in enumerate(fields.sequence(given, "values"))
        ]
        wide = np.array(numbers, np.float64)
    with np.errstate(over="ignore"):
        result = wide.astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(result))
    if len(wrong):
        value = wide[wrong[0]]
        raise ValidationError(f"values[{wrong[0]}]: expected a finite float32, got {value}")
    return result
