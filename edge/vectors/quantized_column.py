"""The small form of one named vector of a built segment, beside its column.

Invariants: made of the rows of the column, in their order; what is found by it is near what the
column would give, and `quantizer` says how near. Rows of points that lack the vector are zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge.model.quantization import (
    BinaryQuantizationConfig,
    BinaryQuantizationEncoding,
    BinaryQuantizationQueryEncoding,
    ProductQuantizationConfig,
    QuantizationConfig,
    ScalarQuantizationConfig,
    TurboQuantBitSize,
    TurboQuantQuantizationConfig,
)
from edge.vectors import quantized
from edge.vectors.block import Matrix, Starts
from edge.vectors.form import Form, Query
from edge.vectors.multi import descriptors
from edge.vectors.quantized import Quantizer
from edge_kernels.encodings import MANHATTAN, MULTI, SLICED, encoding_of_code, metric_of_code
from edge_kernels.jit import address_of

Floats = NDArray[np.float32]


class Quantized:
    """Rows uint8[n, row_bytes]; of multivectors `starts` int64[points + 1] says which are whose.
    `ahead` is what kernels take to ask for rows that have to come from a disk; 0 where they are in
    memory, or are read by way of descriptors."""

    def __init__(
        self,
        config: QuantizationConfig,
        quantizer: Quantizer,
        matrix: Matrix,
        starts: Starts | None = None,
        ahead: int = 0,
    ) -> None:
        self.config = config
        self.quantizer = quantizer
        self.matrix = matrix
        self.ahead = ahead if starts is None else 0
        self._descriptors = None if starts is None else descriptors(starts, matrix)
        self.code = quantizer.code | (0 if starts is None else MULTI)
        """What kernels call the rows."""

    @property
    def is_a_stand_in(self) -> bool:
        """Whether its distances are of another kind than the column's, so that only their order
        counts: bit planes know no absolute differences."""
        code = self.quantizer.code
        return encoding_of_code(code) == SLICED and metric_of_code(code) == MANHATTAN

    def chunks(self, count: int) -> Iterator[tuple[int, Matrix]]:
        """Yield the rows, or the descriptors, with offset 0."""
        if count:
            yield 0, (self.matrix if self._descriptors is None else self._descriptors)[:count]

    def query(self, vectors: Floats) -> Query:
        """Return what kernels compare with the rows, of float32[k, stride] as the column's `Form`
        makes them before they are encoded."""
        if self._descriptors is None:
            return Query(self.code, self.quantizer.query(vectors[0]))
        each = np.stack([self.quantizer.query(vector) for vector in vectors])
        words: Any = (address_of(each), len(each), each.strides[0], 0)
        return Query(self.code, np.array(words, np.int64), each)


def train(
    config: QuantizationConfig, form: Form, sample: Floats, pulse: Callable[[], None]
) -> Quantizer:
    """Return a quantizer that has learnt from float32[m, stride]."""
    kind, parameters = _LEARNT[type(config)](config)
    return quantized.train(kind, form.metric, form.dim, sample, pulse, **parameters)


def quantizer_of(
    config: QuantizationConfig, form: Form, arrays: Mapping[str, NDArray[Any]]
) -> Quantizer:
    """Return the quantizer of `arrays()`. Raises KeyError or ValueError for what is none."""
    kind, _parameters = _LEARNT[type(config)](config)
    return quantized.quantizer_of(kind, form.metric, form.dim, arrays)


Parameters: TypeAlias = dict[str, Any]


def _scalar(config: ScalarQuantizationConfig) -> tuple[str, Parameters]:
    return "scalar", {"quantile": config.quantile}


def _product(config: ProductQuantizationConfig) -> tuple[str, Parameters]:
    return "product", {"ratio": int(config.compression.value[1:])}


def _binary(config: BinaryQuantizationConfig) -> tuple[str, Parameters]:
    encoding = config.encoding or BinaryQuantizationEncoding.OneBit
    query = config.query_encoding or BinaryQuantizationQueryEncoding.Default
    return "binary", {"bits": _BITS[encoding], "query_bits": _QUERY_BITS[query]}


def _turbo(config: TurboQuantQuantizationConfig) -> tuple[str, Parameters]:
    return "turbo", {"bits": _TURBO_BITS[config.bits or TurboQuantBitSize.Bits4]}


_BITS = {
    BinaryQuantizationEncoding.OneBit: 1,
    BinaryQuantizationEncoding.OneAndHalfBits: 1.5,
    BinaryQuantizationEncoding.TwoBits: 2,
}
_QUERY_BITS = {
    BinaryQuantizationQueryEncoding.Default: None,
    BinaryQuantizationQueryEncoding.Binary: 1,
    BinaryQuantizationQueryEncoding.Scalar4Bits: 4,
    BinaryQuantizationQueryEncoding.Scalar8Bits: 8,
}
_TURBO_BITS = {
    TurboQuantBitSize.Bits1: 1,
    TurboQuantBitSize.Bits1_5: 1.5,
    TurboQuantBitSize.Bits2: 2,
    TurboQuantBitSize.Bits4: 4,
    TurboQuantBitSize.Bits8: 8,
}

_LEARNT: dict[type, Callable[[Any], tuple[str, Parameters]]] = {
    ScalarQuantizationConfig: _scalar,
    ProductQuantizationConfig: _product,
    BinaryQuantizationConfig: _binary,
    TurboQuantQuantizationConfig: _turbo,
}
"""The kind of a config, and what it is trained with."""
