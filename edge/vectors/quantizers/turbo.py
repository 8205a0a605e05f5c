"""Turbo quantization: one to eight bits of each dimension, after a rotation.

Invariants: a row takes the bits of all its dimensions, but they are spent where the data vary: the
directions are the principal ones, those of the greatest variance get more bits and those of the
least may get none. Directions of equal bits are rotated among each other at random. A sum of
absolute differences survives no rotation, and bits cannot tell it: where it is asked for, the bits
of two or four dimensions are together the number of a centroid, as of product quantization. (One
bit and one and a half are too few for that: there the squares of differences stand in.)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edge.vectors.quantizers.axes import (
    Axes,
    Chosen,
    Numbers,
    Pulse,
    random_axes,
    spectrum,
    turned,
)
from edge.vectors.quantizers.product import Product, product_of, train_product
from edge.vectors.quantizers.scaled import Scaled, scaled_of
from edge.vectors.quantizers.sliced import (
    ERROR,
    GROUP,
    MOST_BITS,
    Sliced,
    mean_of,
    sliced_of,
    train_sliced,
)
from edge.vectors.quantizers.stored import Arrays, Floats
from edge_kernels.encodings import MANHATTAN, stride_of

QUERY_BITS = 8

# words of a row, by how many a bit of all dimensions takes
_WORDS: dict[float, Callable[[int], int]] = {
    1: lambda groups: groups,
    1.5: lambda groups: groups + -(-groups // 2),
    2: lambda groups: 2 * groups,
    4: lambda groups: 4 * groups,
}


_RATIOS: dict[float, int] = {2: 16, 4: 8}
"""How many times smaller centroids of so many bits a dimension make a vector."""


def train_turbo(
    metric: int, dim: int, sample: Floats, pulse: Pulse, *, bits: float = 4
) -> Sliced | Scaled | Product:
    """Learn from float32[m, stride]: best all rows, or ten times as many as dimensions. `bits` of
    a dimension 1, 1.5, 2, 4 or 8."""
    if bits == MOST_BITS:
        return Scaled(metric, dim, _byte_axes(metric, dim, pulse))
    if bits not in _WORDS:
        raise ValueError(f"turbo quantization of {bits} bits")
    if metric == MANHATTAN and bits in _RATIOS:
        return train_product(metric, dim, sample, pulse, ratio=_RATIOS[bits])
    mean = mean_of(sample, dim)
    about_mean = sample - np.pad(mean, (0, stride_of(dim) - dim))
    found = spectrum(about_mean, dim, pulse)
    groups = bits_by_variance(found.variances, _WORDS[bits](-(-dim // GROUP)))
    kept = min(dim, GROUP * len(groups))
    axes = turned(found, np.arange(kept), np.repeat(groups, GROUP)[:kept], pulse)
    return train_sliced(metric, axes, groups, mean, about_mean, QUERY_BITS, pulse)


def turbo_of(metric: int, dim: int, arrays: Arrays) -> Sliced | Scaled | Product:
    """Return the quantizer of `arrays()`. ValueError, by name, for what cannot be one."""
    if "centroids" in arrays:
        return product_of(metric, dim, arrays)
    of_axes_alone = set(arrays) <= {"order", "matrix", "starts"}
    return (scaled_of if of_axes_alone else sliced_of)(metric, dim, arrays)


def _byte_axes(metric: int, dim: int, pulse: Pulse) -> Axes:
    """Return axes for one byte each: a sum of absolute differences would not survive a rotation."""
    if metric == MANHATTAN:
        return Chosen(np.arange(dim, dtype=np.int32))
    return random_axes(dim, pulse)


def bits_by_variance(variances: Numbers, words: int) -> NDArray[np.uint8]:
    """Return the bits of each group of 64 directions, as uint8 without the groups that get none.

    `variances` float64[dim], falling; `words` is the sum of the bits. One bit after another goes
    where it takes away the most of the square error, which for convex errors is the best there is.
    """
    known = np.maximum(variances / (variances[0] or 1.0), 1e-12)
    sums = np.add.reduceat(known, np.arange(0, len(known), GROUP))
    bits = np.zeros(len(sums), np.intp)
    gains = np.append(-np.diff(ERROR), -np.inf)
    for _ in range(words):
        bits[np.argmax(sums * gains[bits])] += 1
    return bits[bits > 0].astype(np.uint8)
