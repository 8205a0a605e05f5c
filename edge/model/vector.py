"""Vectors as they come from a caller: anything that holds real numbers becomes read-only float32.

A vector is float32[n]; a multivector float32[k, n]; a SparseVector is taken as it is. Values are
not looked at here beyond their type; NaN, infinity and length are refused when a whole operation
is checked against the config.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping, Sequence
from functools import lru_cache
from struct import Struct as Format
from struct import error as FormatError
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edge.errors import ValidationError
from edge.model import fields
from edge.model.sparse import SparseVector

Array: TypeAlias = npt.NDArray[np.float32]
AnyVector: TypeAlias = Array | SparseVector
Vectors: TypeAlias = AnyVector | dict[str, AnyVector]
VectorLike: TypeAlias = (
    Sequence[float] | Sequence[Sequence[float]] | npt.NDArray[Any] | memoryview | SparseVector
)
VectorsLike: TypeAlias = VectorLike | Mapping[str, VectorLike]

_ZERO_OR_ONE = re.compile(rb"\x00\x00(?:\x80\x3f|\x00\x00)").search
_BOOLS = {bool, np.bool_}
_SHOWN = 2
_EMPTY = np.frombuffer(bytes(4), np.float32)[:0]


@lru_cache(maxsize=256)
def _packer(length: int) -> Format:
    return Format(f"{length}f")


def as_vector(value: Any, field: str = "vector") -> AnyVector:
    """The numbers of `value` as a read-only float32[n], or [k, n], of its own memory.

    Takes lists, tuples and other sequences of numbers, or of such sequences of one length; numpy
    arrays of a real dtype, array.array, memoryviews of numbers, and objects that numpy can view;
    a SparseVector. What is too large for float32 becomes infinity, for the check of the operation
    to refuse. Raises ValidationError naming the field for strings, bytes, bools, None, lists of
    several lengths and complex numbers.
    """
    kind = type(value)
    if kind is list or kind is tuple:
        return _from_sequence(value, field)
    if kind is np.ndarray:
        return _from_array(value, field)
    if isinstance(value, SparseVector):
        return value
    return _from_other(value, field)


def _from_sequence(values: Sequence[Any], field: str) -> Array:
    if values and isinstance(values[0], (list, tuple, np.ndarray)) and np.ndim(values[0]):
        return _from_rows(values, field)
    return _from_numbers(values, field)


def _from_rows(rows: Sequence[Any], field: str) -> Array:
    arrays: list[Array] = []
    for i, row in enumerate(rows):
        array = as_vector(row, f"{field}[{i}]")
        if isinstance(array, SparseVector) or array.ndim != 1:
            fields.refuse(f"{field}[{i}]", "a list of numbers", row)
        if arrays and len(array) != len(arrays[0]):
            raise ValidationError(
                f"{field}[{i}]: expected {len(arrays[0])} numbers as before it, got {len(array)}"
            )
        arrays.append(array)
    result = np.stack(arrays)
    result.setflags(write=False)
    return result


def _from_numbers(values: Sequence[Any], field: str) -> Array:
    """struct packs a list of floats three times as fast as numpy and array.array read it."""
    if values and isinstance(values[0], np.ndarray):
        _refuse_element(values, field)
    try:
        packed = _packer(len(values)).pack(*values)
    except (FormatError, OverflowError, TypeError, ValueError):
        _refuse_element(values, field)
    # struct takes bools for numbers. They can only have become 0.0 or 1.0, so only a vector that
    # holds such bytes is looked at element by element.
    if _ZERO_OR_ONE(packed) and not _BOOLS.isdisjoint(map(type, values)):
        _refuse_element(values, field)
    return np.frombuffer(packed, np.float32) if packed else _EMPTY


def _refuse_element(values: Sequence[Any], field: str) -> None:
    for i, value in enumerate(values):
        fields.number(value, f"{field}[{i}]")
    raise ValidationError(f"{field}: expected a list of numbers")


def _from_array(value: npt.NDArray[Any], field: str) -> Array:
    if value.ndim == 1 and value.dtype == np.float32 and value.size:
        # bytes are memory of our own that nobody can write to, for one copy.
        return np.frombuffer(value.tobytes(), np.float32)
    if value.ndim not in (1, 2):
        raise ValidationError(f"{field}: expected one or two dimensions, got shape {value.shape}")
    if value.dtype == object:
        return _from_sequence(value.tolist(), field)
    if value.dtype.kind not in "fiu":
        raise ValidationError(f"{field}: expected real numbers, got an array of {value.dtype}")
    with np.errstate(over="ignore"):
        result = value.astype(np.float32, order="C")
    result.setflags(write=False)
    return result


def _from_other(value: Any, field: str) -> Array:
    if isinstance(value, (str, bytes, bytearray, Mapping)):
        fields.refuse(field, "a list of numbers", value)
    if isinstance(value, memoryview) and value.format in ("B", "b", "c"):
        raise ValidationError(f"{field}: expected numbers, got bytes; cast the view to 'f'")
    if hasattr(value, "__array__") or isinstance(value, (memoryview, array)):
        return _from_array(_as_array(value, field), field)
    if isinstance(value, Sequence):
        return _from_sequence(tuple(value), field)
    fields.refuse(field, "a list of numbers", value)


def _as_array(value: Any, field: str) -> npt.NDArray[Any]:
    """What other libraries (tensors, data frames) show of themselves to numpy."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = type(value).__name__
        raise ValidationError(f"{field}: numpy cannot read a {kind}: {error}") from None


def as_vectors(value: Any, field: str = "vector") -> Vectors:
    """One vector, or a new dict of them by name. Raises ValidationError naming the field."""
    if not isinstance(value, Mapping):
        return as_vector(value, field)
    return {
        fields.text(name, f"{field}: name"): as_vector(item, f"{field} {name!r}")
        for name, item in value.items()
    }


def by_name(vectors: Vectors) -> dict[str, AnyVector]:
    """The vectors by name; a lone vector is the one named ""."""
    return vectors if isinstance(vectors, dict) else {"": vectors}


def same_vectors(first: object, second: object) -> bool:
    """Whether two results of `as_vectors` have the same names and numbers."""
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return np.array_equal(first, second)
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(
            same_vectors(item, second[name]) for name, item in first.items()
        )
    if isinstance(first, SparseVector):
        return first == second
    return first is None and second is None


def shown_vectors(vectors: Any) -> str:
    """Vectors on one line: `[0.1, 0.2, … 384]`, or such lists by name."""
    if isinstance(vectors, SparseVector):
        return repr(vectors)
    if isinstance(vectors, dict):
        return "{" + ", ".join(f"{k!r}: {shown_vectors(v)}" for k, v in vectors.items()) + "}"
    if vectors is None:
        return "None"
    length = len(vectors)
    if length and np.ndim(vectors[0]):
        return f"[{shown_vectors(vectors[0])}{', …' if length > 1 else ''} {length} vectors]"
    head = ", ".join(f"{float(x):.6g}" for x in vectors[: length if length <= 4 else _SHOWN])
    return f"[{head}]" if length <= 4 else f"[{head}, … {length}]"


def as_blocks(value: Any, field: str = "vectors") -> dict[str, npt.NDArray[np.float32]]:
    """Whole columns of vectors by name: read-only float32[n, dim] of their own memory.

    Takes one array of shape [n, dim] (the vectors named "") or a dict of such by name; [n, k, dim]
    are multivectors of k vectors each. A block that `as_blocks` gave before is not copied. Raises
    ValidationError naming the field.
    """
    named = value if isinstance(value, Mapping) else {"": value}
    return {
        fields.text(name, f"{field}: name"): _as_block(item, f"{field} {name!r}")
        for name, item in named.items()
    }


def _as_block(value: Any, field: str) -> npt.NDArray[np.float32]:
    block = _as_array(value, field)
    if block.ndim not in (2, 3) or block.dtype.kind not in "fiu":
        raise ValidationError(
            f"{field}: expected a 2-d or 3-d array of real numbers, "
            f"got {block.dtype}{list(block.shape)}"
        )
    if block.dtype == np.float32 and block.flags.c_contiguous and not block.flags.writeable:
        return block
    with np.errstate(over="ignore"):
        own = np.array(block, np.float32, order="C", copy=True)
    own.setflags(write=False)
    return own
