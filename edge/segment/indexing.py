"""What makes searching one vector of a built segment fast: a graph, a small form of its rows.

Invariants: made of the rows of a column, which never change; in slices, between which `pulse` may
raise to stop; the same rows and plan give the same index.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge.model.quantization import QuantizationConfig, ScalarQuantizationConfig, ScalarType
from edge.vectors.block import Matrix
from edge.vectors.dense import BuiltDense
from edge.vectors.missing import Bits
from edge.vectors.multi import BuiltMulti
from edge.vectors.quantized import Quantizer
from edge.vectors.quantized_column import Quantized, train
from edge_kernels import bits
from edge_kernels.encodings import INT8, encoding_of_code
from edge_kernels.hnsw import Builder, Graph

ROWS_A_SLICE = 1024
NODES_A_SLICE = 64
ROWS_TO_LEARN_FROM = 20_000

BYTES = ScalarQuantizationConfig(ScalarType.Int8)

Pulse = Callable[[float], None]
"""Called between slices with the share done, 0..1; it may raise to stop the build."""


@dataclass(frozen=True, slots=True)
class GraphPlan:
    """How the graph of one vector is to be built. `inline`: with copies of its small form and of
    its rows beside the links."""

    m: int
    ef_construct: int
    threads: int = 1
    inline: bool = False


@dataclass(frozen=True, slots=True)
class ValuesPlan:
    """How graphs of the values of payload fields are to be built, and for which: those whose rows
    hold more than so many bytes of the vector. (Fewer are compared one by one.)"""

    graph: GraphPlan
    more_than: int = 0


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """What searching one vector is to be made fast by: a graph, a small form, graphs of the values
    of payload fields; any of them, or none."""

    graph: GraphPlan | None = None
    quantization: QuantizationConfig | None = None
    values: ValuesPlan | None = None


def build_graph(
    column: BuiltDense | BuiltMulti,
    small: Quantized | None,
    absent: Bits | None,
    plan: GraphPlan,
    pulse: Pulse,
) -> Graph:
    """Build the HNSW graph of a column in slices of NODES_A_SLICE nodes.

    A column that has a small form is linked by bytes, which take a quarter of the time and tell
    rows apart as well as what the walk compares: by its own where it has them, else by some that
    are made for it and let go.
    """
    return graph_over(rows_to_link(column, small, absent, pulse), absent, plan, pulse)


class Linked(NamedTuple):
    """What the nodes of a graph are linked by: a row for each point, and what kernels call it."""

    rows: Matrix
    code: int
    kept: object
    """holds the memory that rows of a MULTI code point to"""


def rows_to_link(
    column: BuiltDense | BuiltMulti, small: Quantized | None, absent: Bits | None, pulse: Pulse
) -> Linked:
    """Return what a graph of this column is linked by."""
    linked = small if small is None or _is_bytes(small) else _in_bytes(column, absent, pulse)
    if linked is not None:
        return Linked(next(linked.chunks(len(linked.matrix)))[1], linked.code, linked)
    chunks = list(column.chunks(_points(column)))
    return Linked(chunks[0][1] if chunks else column.matrix, column.form.code, column)


def graph_over(linked: Linked, absent: Bits | None, plan: GraphPlan, pulse: Pulse) -> Graph:
    """Build the graph of these rows, without those that are absent."""
    rows, code, _kept = linked
    count = len(rows)
    builder = Builder(
        code, rows, count, plan.m, plan.ef_construct, absent, seed=count, threads=plan.threads
    )
    others = [_begin_lane(builder, lane) for lane in range(1, plan.threads)]
    try:
        done = 0
        while done < count:
            pulse(done / count)
            done = builder.step(NODES_A_SLICE)
    finally:
        for other in others:
            other.leave()
    return builder.graph()


class _Lane:
    """A thread that builds beside the one that asked for it."""

    def __init__(self, builder: Builder, lane: int) -> None:
        self._builder, self._lane = builder, lane
        self._left = False
        self._thread = threading.Thread(target=self._run, name="edge graph", daemon=True)

    def begin(self) -> None:
        """Start."""
        self._thread.start()

    def leave(self) -> None:
        """Insert no more than was begun, and end."""
        self._left = True
        self._thread.join()

    def _run(self) -> None:
        while not self._left and self._builder.step(NODES_A_SLICE, self._lane) < self._builder.n:
            pass


def _begin_lane(builder: Builder, lane: int) -> _Lane:
    found = _Lane(builder, lane)
    found.begin()
    return found


def _is_bytes(small: Quantized) -> bool:
    return encoding_of_code(small.code) == INT8


def _in_bytes(column: BuiltDense | BuiltMulti, absent: Bits | None, pulse: Pulse) -> Quantized:
    starts = column.starts if isinstance(column, BuiltMulti) else None
    return Quantized(BYTES, *quantize(BYTES, column, absent, pulse), starts)


def _points(column: BuiltDense | BuiltMulti) -> int:
    return len(column.starts) - 1 if isinstance(column, BuiltMulti) else len(column.matrix)


def quantize(
    config: QuantizationConfig,
    column: BuiltDense | BuiltMulti,
    absent: Bits | None,
    pulse: Pulse,
) -> tuple[Quantizer, Matrix]:
    """Train a quantizer on some of a column's rows, and return it with the codes of all."""
    form, matrix = column.form, column.matrix
    quantizer = train(config, form, _sample(column, absent), lambda: pulse(0.0))
    codes = np.zeros((len(matrix), quantizer.row_bytes), np.uint8)
    for first in range(0, len(matrix), ROWS_A_SLICE):
        pulse(0.0)
        few = matrix[first : first + ROWS_A_SLICE]
        codes[first : first + len(few)] = quantizer.encode(form.decoded(few))
    return quantizer, codes


def _sample(column: BuiltDense | BuiltMulti, absent: Bits | None) -> NDArray[np.float32]:
    """Return float32[m, stride]: vectors evenly spread over those that are there."""
    if absent is None or isinstance(column, BuiltMulti):
        there = np.arange(len(column.matrix), dtype=np.uint32)
    else:
        there = bits.to_offsets(~absent, len(column.matrix))
    step = max(1, len(there) // ROWS_TO_LEARN_FROM)
    return column.form.decoded(column.matrix[there[::step]])
