"""Which kernel metric a configured distance is, and what its scores mean."""

from __future__ import annotations

from edge.model.vector_params import Distance
from edge_kernels.distance import COSINE, DOT, EUCLID, MANHATTAN

_CODES = {
    Distance.Cosine: COSINE,
    Distance.Dot: DOT,
    Distance.Euclid: EUCLID,
    Distance.Manhattan: MANHATTAN,
}


def metric_of(distance: Distance) -> int:
    """Return the kernels' code of a distance."""
    return _CODES[distance]


def larger_is_better(metric: int) -> bool:
    """Return whether a score is a similarity (cosine, dot) and not a distance."""
    return metric in (COSINE, DOT)
