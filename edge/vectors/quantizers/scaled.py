"""Rows as one byte an axis and a scale of their own, as the SCALED8 encoding has it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge.vectors.form import ENCODINGS
from edge.vectors.quantizers.axes import Axes, axes_of
from edge.vectors.quantizers.stored import Arrays, Floats, Matrix
from edge_kernels.encodings import SCALED8, code_of, row_bytes, stride_of


@dataclass(frozen=True, eq=False, slots=True)
class Scaled:
    """A quantizer to bytes along axes, of which as many are kept as there are dimensions."""

    metric: int
    dim: int
    axes: Axes

    @property
    def code(self) -> int:
        """What kernels call the rows."""
        return code_of(self.metric, SCALED8)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return row_bytes(SCALED8, self.dim)

    def encode(self, rows: Floats) -> Matrix:
        """Return uint8[n, row_bytes] of float32[n, stride]."""
        with np.errstate(over="ignore", invalid="ignore"):
            return ENCODINGS[SCALED8].encode(self._along(rows))

    def query(self, vector: Floats) -> Matrix:
        """Return what SCALED8 rows are compared with, of float32[stride]."""
        with np.errstate(over="ignore"):
            form: Matrix = ENCODINGS[SCALED8].query(self._along(vector.reshape(1, -1)))[0]
        return form

    def _along(self, rows: Floats) -> Floats:
        block = np.zeros((len(rows), stride_of(self.dim)), np.float32)
        block[:, : self.dim] = self.axes.along(rows)
        return block

    def arrays(self) -> dict[str, Matrix]:
        """Return all that was learnt."""
        return self.axes.arrays()


def scaled_of(metric: int, dim: int, arrays: Arrays) -> Scaled:
    """Return the quantizer of `Scaled.arrays()`. ValueError, by name, for what cannot be one."""
    axes = axes_of(dim, arrays)
    if axes.kept != dim:
        raise ValueError(f"{axes.kept} axes of {dim} dimensions")
    return Scaled(metric, dim, axes)
