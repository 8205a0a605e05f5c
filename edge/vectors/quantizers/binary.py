"""Binary quantization: one bit, one and a half or two of each dimension, about its mean.

Invariant: dimensions are taken as they are, so encoding is cheap and little is learnt: the mean,
how far each varies and, for one and a half bits, which half varies most.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edge.vectors.quantizers.axes import Chosen, Pulse
from edge.vectors.quantizers.sliced import GROUP, Sliced, mean_of, train_sliced
from edge.vectors.quantizers.stored import Floats
from edge_kernels.encodings import stride_of

QUERY_BITS = (1, 4, 8)
DEFAULT_QUERY_BITS = 8

# bits of each group of 64 dimensions, by how many groups there are
_BITS: dict[float, Callable[[int], list[int]]] = {
    1: lambda groups: [1] * groups,
    1.5: lambda groups: [2] * -(-groups // 2) + [1] * (groups // 2),
    2: lambda groups: [2] * groups,
}


def train_binary(
    metric: int,
    dim: int,
    sample: Floats,
    pulse: Pulse,
    *,
    bits: float = 1,
    query_bits: int | None = None,
) -> Sliced:
    """Learn from float32[m, stride]. `bits` of a row's dimension 1, 1.5 or 2; `query_bits` of a
    query's 1, 4 or 8 (None: 8), but never fewer than a row's."""
    asked = DEFAULT_QUERY_BITS if query_bits is None else query_bits
    if bits not in _BITS or asked not in QUERY_BITS:
        raise ValueError(f"binary quantization of {bits} bits, and {asked} of a query")
    asked = max(asked, math.ceil(bits))
    mean = mean_of(sample, dim)
    about_mean = sample - np.pad(mean, (0, stride_of(dim) - dim))
    groups = np.array(_BITS[bits](-(-dim // GROUP)), np.uint8)
    order = np.arange(dim, dtype=np.int32)
    if bits == 1.5:
        order = _most_varied_first(about_mean, dim)
    return train_sliced(metric, Chosen(order), groups, mean, about_mean, asked, pulse)


def _most_varied_first(about_mean: Floats, dim: int) -> NDArray[np.int32]:
    squares = np.einsum("ij,ij->j", about_mean, about_mean)[:dim]
    return np.argsort(-squares, kind="stable").astype(np.int32)
