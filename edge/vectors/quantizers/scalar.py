"""Scalar quantization: one byte a dimension, with one step for all.

Invariants: an element is about offset + step * code, code from -127 to 127; what lies outside is
cut off. The offset (the mean of a dimension) is zero for dot products; between two vectors it
cancels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edge.vectors.quantizers.axes import Pulse
from edge.vectors.quantizers.sliced import mean_of
from edge.vectors.quantizers.stored import Arrays, Floats, Matrix, read_floats, thinned
from edge_kernels import encode
from edge_kernels.encodings import (
    COSINE,
    DOT,
    EUCLID,
    INT8,
    MANHATTAN,
    PREFIX,
    code_of,
    row_bytes,
    stride_of,
)

TOP = 127
LEAST_STEP = np.float32(1e-37)  # still a normal float
MOST_ELEMENTS = 1 << 18  # that a range is learnt from
QUANTILES = (1.0, 0.9999, 0.999, 0.99)  # of which the best is taken when none is asked for


@dataclass(frozen=True, eq=False)
class Scalar:
    """A quantizer to bytes: `offset` float32[dim], `step` above 0."""

    metric: int
    dim: int
    offset: Floats
    step: np.float32

    @property
    def code(self) -> int:
        """What kernels call the rows."""
        return code_of(self.metric, INT8)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return row_bytes(INT8, self.dim)

    def encode(self, rows: Floats) -> Matrix:
        """Return uint8[n, row_bytes], int8 in truth, of float32[n, stride]."""
        out = np.zeros((len(rows), self.row_bytes), np.int8)
        with np.errstate(over="ignore"):
            about = rows - self._padded if self._has_offset else rows
            out[:, : rows.shape[1]] = _codes(about, self.step)
        return out.view(np.uint8)

    def query(self, vector: Floats) -> Matrix:
        """Return uint8[64 + stride] of float32[stride]: the float32 factor, then the codes.

        Where only products count, a query has the step that suits it; else it has that of rows.
        """
        out = np.zeros(PREFIX + self.row_bytes, np.uint8)
        encode.code_query(out, vector, self._steps, self._padded if self._has_offset else None)
        return out

    def arrays(self) -> dict[str, Matrix]:
        """Return all that was learnt."""
        return {"offset": self.offset, "step": np.array([self.step], np.float32)}

    @property
    def _has_offset(self) -> bool:
        return self.metric in (EUCLID, MANHATTAN)

    @cached_property
    def _steps(self) -> Floats:
        """The step, and the factor of a query that has the same."""
        with np.errstate(over="ignore", under="ignore"):
            factor = self.step * self.step if self.metric == EUCLID else self.step
        return np.array([self.step, factor], np.float32)

    @cached_property
    def _padded(self) -> Floats:
        return np.pad(self.offset, (0, stride_of(self.dim) - self.dim))


def _codes(numbers: Floats, step: np.float32) -> Floats:
    """Return whole float32 numbers from -127 to 127."""
    codes = numbers / step
    np.rint(codes, out=codes)
    return np.clip(codes, -TOP, TOP, out=codes)


def train_scalar(
    metric: int, dim: int, sample: Floats, pulse: Pulse, *, quantile: float | None = None
) -> Scalar:
    """Learn from float32[m, stride]. `quantile`, 0.5 to 1, is the share of vectors that the range
    is to cover: for each of the others one element in `dim` is cut, as in Qdrant. None: that of
    four shares of elements which leaves the least square error."""
    if quantile is not None and not 0.5 <= quantile <= 1:
        raise ValueError(f"quantile {quantile}")
    pulse()
    offset = np.zeros(dim, np.float32) if metric in (COSINE, DOT) else mean_of(sample, dim)
    rows = thinned(sample, MOST_ELEMENTS // dim)[:, :dim]
    sizes = np.sort(np.abs(rows - offset), axis=None)
    asked = QUANTILES if quantile is None else (1 - (1 - quantile) / dim,)
    steps = [_step(sizes, share) for share in asked]
    pulse()
    return Scalar(metric, dim, offset, min(steps, key=lambda step: _square_error(sizes, step)))


def _step(sizes: Floats, share: float) -> np.float32:
    """Return the step whose 127 cover this share of the elements; `sizes` ascending."""
    covered = sizes[min(len(sizes) - 1, int(np.ceil(share * len(sizes))) - 1)]
    return max(np.float32((covered or sizes[-1]) / TOP), LEAST_STEP)


def _square_error(sizes: Floats, step: np.float32) -> float:
    left = (sizes - step * _codes(sizes, step)) / sizes[-1] if sizes[-1] > 0 else sizes
    return float(np.vdot(left, left))


def scalar_of(metric: int, dim: int, arrays: Arrays) -> Scalar:
    """Return the quantizer of `Scalar.arrays()`. ValueError, by name, for what cannot be one."""
    step = read_floats(arrays, "step", (1,))[0]
    if not step > 0:
        raise ValueError(f"step: {step} is not above 0")
    return Scalar(metric, dim, read_floats(arrays, "offset", (dim,)), step)
