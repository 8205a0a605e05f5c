"""Vectors made smaller for searching: the kinds of quantization, in one table.

Invariants: a quantizer is learnt once, from a sample, and never changes; the same sample gives the
same quantizer, the same row the same bytes, whatever rows come with it. What is found by the bytes
is near what the originals would give; whoever asks ranks it anew by them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from edge.vectors.quantizers.axes import Pulse
from edge.vectors.quantizers.binary import train_binary
from edge.vectors.quantizers.product import product_of, train_product
from edge.vectors.quantizers.scalar import scalar_of, train_scalar
from edge.vectors.quantizers.sliced import sliced_of
from edge.vectors.quantizers.stored import Arrays, Floats, Matrix
from edge.vectors.quantizers.turbo import train_turbo, turbo_of


class Quantizer(Protocol):
    """What has learnt to make small forms of vectors."""

    @property
    def code(self) -> int:
        """What kernels call the rows: metric and encoding."""
        ...

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        ...

    def encode(self, rows: Floats) -> Matrix:
        """Return uint8[n, row_bytes] of float32[n, stride]."""
        ...

    def query(self, vector: Floats) -> Matrix:
        """Return what kernels compare with rows, of float32[stride]."""
        ...

    def arrays(self) -> dict[str, Matrix]:
        """Return all that was learnt."""
        ...


MOST = np.float32(1e16)  # as large as learning takes elements: sums of their squares are finite


class Kind(NamedTuple):
    """One kind of quantization.

    `train(metric, dim, sample, pulse, **parameters)`; `restored(metric, dim, arrays)`.
    """

    train: Callable[..., Quantizer]
    restored: Callable[[int, int, Arrays], Quantizer]


KINDS: dict[str, Kind] = {
    "scalar": Kind(train_scalar, scalar_of),
    "binary": Kind(train_binary, sliced_of),
    "turbo": Kind(train_turbo, turbo_of),
    "product": Kind(train_product, product_of),
}


def _go_on() -> None:
    pass


def train(
    kind: str, metric: int, dim: int, sample: Floats, pulse: Pulse = _go_on, **parameters: Any
) -> Quantizer:
    """Return a quantizer that has learnt from `sample` float32[m, stride], as stored rows are.

    Rows of nothing but zeros, which points without a vector have, teach nothing and are left out.
    `pulse` is called every few milliseconds; what it raises ends the training. Parameters, with
    what they are if not given: scalar quantile=None; binary bits=1, query_bits=None; turbo bits=4;
    product ratio=16. KeyError for another kind, ValueError for a parameter that is none.
    """
    known = sample[sample.any(axis=1)].clip(-MOST, MOST)
    if not len(known):
        known = np.zeros((1, sample.shape[1]), np.float32)
    with np.errstate(all="ignore"):  # of the least floats the squares are zero, and so on
        return KINDS[kind].train(metric, dim, known, pulse, **parameters)


def quantizer_of(kind: str, metric: int, dim: int, arrays: Arrays) -> Quantizer:
    """Return the quantizer whose `arrays()` these are.

    KeyError for an unknown kind; ValueError, with the name of the array, for what is none.
    """
    return KINDS[kind].restored(metric, dim, arrays)
