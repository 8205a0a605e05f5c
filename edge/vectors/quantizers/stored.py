"""The arrays of quantizers: which rows of a sample they learn from, and checks of what was stored.

Invariant: what was damaged is refused by name, before it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
Matrix: TypeAlias = NDArray[Any]
Arrays: TypeAlias = Mapping[str, NDArray[Any]]

Lengths: TypeAlias = tuple[int | None, ...]  # None: any length


def thinned(sample: Floats, most: int) -> Floats:
    """Return at most that many rows of a sample, at even distances, C-contiguous."""
    return np.ascontiguousarray(sample[:: max(1, -(-len(sample) // max(1, most)))])


def read_floats(arrays: Arrays, name: str, shape: Lengths, least: float = -np.inf) -> Floats:
    """Return a float32 array of this shape, finite and `least` or more. ValueError, with its name,
    if it is none."""
    found = _read(arrays, name, np.dtype(np.float32), shape)
    if not np.isfinite(found).all():
        raise ValueError(f"{name}: not all numbers are finite")
    if found.size and found.min() < least:
        raise ValueError(f"{name}: not all numbers are {least} or more")
    return found


def read_integers(
    arrays: Arrays, name: str, dtype: type[Any], shape: Lengths, least: int, most: int
) -> Matrix:
    """Return an array of integers from `least` to `most`. ValueError, with its name, if not."""
    found = _read(arrays, name, np.dtype(dtype), shape)
    if found.size and not (least <= int(found.min()) and int(found.max()) <= most):
        raise ValueError(f"{name}: not all numbers are from {least} to {most}")
    return found


def _read(arrays: Arrays, name: str, dtype: np.dtype[Any], shape: Lengths) -> Matrix:
    found = arrays.get(name)
    if found is None:
        raise ValueError(f"{name}: missing")
    if found.dtype != dtype:
        raise ValueError(f"{name}: {found.dtype}, not {dtype}")
    fits = zip(found.shape, shape, strict=False)
    if found.ndim != len(shape) or any(want is not None and has != want for has, want in fits):
        raise ValueError(f"{name}: shape {found.shape}, not {shape}")
    return np.ascontiguousarray(found)
