"""How many rows match a filter, as far as that is known without reading payloads, or only a few.

Invariant: the bounds of an estimate hold. `least` counts rows that match for sure, `most` those
that may; where indexes tell all, the two are the number itself.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from edge.filter.mask import Checkpoint, Rows, known, matching
from edge.filter.truth import Bits, Truth, both, without
from edge.model.filter import Filter
from edge.model.request import Cardinality
from edge_kernels import bits

SAMPLE: Final = 1000
"""Payloads that are read for a number that need not be exact."""


def estimate(filter: Filter, rows: Rows, among: Bits) -> Cardinality:
    """How many of the rows `among` match: bounds, and between them half of what is undecided."""
    sure, maybe = known(filter, rows).verdict
    least = _count(both(sure, among), rows.watermark)
    most = least if sure is maybe else _count(both(maybe, among), rows.watermark)
    return Cardinality(least, (least + most) // 2, most)


def approximate(filter: Filter, rows: Rows, among: Bits, checkpoint: Checkpoint) -> int:
    """About how many of the rows `among` match: exactly, unless more than SAMPLE payloads would
    have to be read; then what of an evenly spaced sample of them matches stands for all."""
    sure, maybe = known(filter, rows, checkpoint).verdict
    least = _count(both(sure, among), rows.watermark)
    undecided = both(without(maybe, sure), among)
    if isinstance(undecided, bool):
        return least
    offsets = bits.to_offsets(undecided, rows.watermark)
    if not len(offsets):
        return least
    places = np.linspace(0, len(offsets) - 1, min(SAMPLE, len(offsets))).astype(np.intp)
    found = len(matching(filter, rows, offsets[places], checkpoint))
    return least + round(found * len(offsets) / len(places))


def _count(rows: Truth, watermark: int) -> int:
    return 0 if isinstance(rows, bool) else bits.count(rows, watermark)
