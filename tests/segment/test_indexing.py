"""Graphs beside small forms: what they are linked by."""

from __future__ import annotations

import numpy as np
import pytest

from edge.model.quantization import (
    BinaryQuantizationConfig,
    ProductQuantizationConfig,
    QuantizationConfig,
    ScalarQuantizationConfig,
    ScalarType,
    TurboQuantQuantizationConfig,
)
from edge.model.quantization import CompressionRatio as Ratio
from edge.segment.indexing import GraphPlan, build_graph, quantize
from edge.vectors.block import starts_of
from edge.vectors.dense import BuiltDense
from edge.vectors.form import Form
from edge.vectors.multi import BuiltMulti
from edge.vectors.quantized_column import Quantized
from edge_kernels import bits
from edge_kernels.encodings import COSINE, EUCLID, FLOAT16, FLOAT32
from edge_kernels.hnsw import Graph
from tests.segment.made import silent

PLAN = GraphPlan(m=6, ef_construct=30)
BYTES = ScalarQuantizationConfig(ScalarType.Int8)
COARSE: list[QuantizationConfig] = [
    BinaryQuantizationConfig(),
    ProductQuantizationConfig(Ratio.X16),
    TurboQuantQuantizationConfig(),
]


def columns() -> list[BuiltDense | BuiltMulti]:
    numbers = np.random.default_rng(0).standard_normal((400, 40)).astype(np.float32)
    single, several = Form(40, COSINE, FLOAT32), Form(40, EUCLID, FLOAT16, many=True)
    starts = starts_of(np.arange(100) % 7 + 1)
    return [
        BuiltDense(single, single.rows(numbers), None),
        BuiltMulti(several, starts, several.rows(numbers[: starts[-1]]), None),
    ]


def linked_beside(config: QuantizationConfig, column: BuiltDense | BuiltMulti) -> Graph:
    points = 400 if isinstance(column, BuiltDense) else 100
    absent = bits.from_offsets(points, np.arange(0, points, 9, dtype=np.uint32))
    starts = None if isinstance(column, BuiltDense) else column.starts
    small = Quantized(config, *quantize(config, column, absent, silent), starts)
    return build_graph(column, small, absent, PLAN, silent)


@pytest.mark.parametrize("column", columns(), ids=["dense", "several"])
@pytest.mark.parametrize("config", COARSE, ids=lambda config: type(config).__name__)
def test_a_graph_beside_any_small_form_is_linked_by_bytes(
    config: QuantizationConfig, column: BuiltDense | BuiltMulti
) -> None:
    """What tells rows apart worse than bytes do would make a worse graph."""
    wanted = linked_beside(BYTES, column).arrays()
    found = linked_beside(config, column).arrays()
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
