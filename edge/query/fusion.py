"""Several rankings made one: by the places of points, or by how their scores are spread.

Invariants: a point gets something from each source that has it, added up in float32 in the order of
the sources; equal sums are ordered by id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.model.fusion import DbsfFusion, Fusion, RrfFusion
from edge.query.pool import Keys, Ranked, Scores, best, union
from edge.segment.view import ShardView


def fused(
    view: ShardView, fusion: Fusion, sources: Sequence[Ranked], similar: Sequence[bool], limit: int
) -> Ranked:
    """Return the `limit` best of the fusion. `similar` says of each source whether larger scores
    are better."""
    keys = union(list(sources))
    total = np.zeros(len(keys), np.float32)
    for number, source in enumerate(sources):
        shares = _SHARES[type(fusion)](fusion, number, source, similar[number])
        total[np.searchsorted(keys, source.keys)] += shares
    found = best(view, keys, total, limit)
    return found._replace(values=_values(found.keys, sources))


def _by_place(fusion: RrfFusion, number: int, source: Ranked, similar: bool) -> Scores:
    """1 / ((rank + 1) / weight + k - 1); nothing where the weight is 0."""
    weight = 1.0 if fusion.weights is None else fusion.weights[number]
    if weight <= 0.0:
        return np.zeros(len(source.keys), np.float32)
    places = np.arange(1, len(source.keys) + 1, dtype=np.float32)
    shares: Scores = (1.0 / (places / np.float32(weight) + np.float32(fusion.k - 1))).astype(
        np.float32
    )
    return shares


def _by_spread(fusion: DbsfFusion, number: int, source: Ranked, similar: bool) -> Scores:
    """Where between three (sample) deviations below the mean and three above it a score lies.

    Infinite scores say nothing of how the others are spread: what is infinitely far gets 0, or the
    least that one of the others gets; what is infinitely near 1, or the most.
    """
    scores = source.scores.astype(np.float64) if similar else -source.scores.astype(np.float64)
    shares = np.full(len(scores), 0.5)
    finite = np.isfinite(scores)
    shares[finite] = _spread(scores[finite])
    if not finite.all() and (scores != scores[0]).any():
        shares[scores == -np.inf] = shares[finite].min(initial=0.0)
        shares[scores == np.inf] = shares[finite].max(initial=1.0)
    return shares.astype(np.float32)


def _spread(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    deviation = float(scores.std(ddof=1)) if len(scores) > 1 else 0.0
    if deviation == 0.0:
        return np.full(len(scores), 0.5)
    found: NDArray[np.float64] = (scores - (scores.mean() - 3 * deviation)) / (6 * deviation)
    return found


_SHARES: dict[type, Callable[[Any, int, Ranked, bool], Scores]] = {
    RrfFusion: _by_place,
    DbsfFusion: _by_spread,
}


def _values(keys: Keys, sources: Sequence[Ranked]) -> list[float] | None:
    """Where the points stand in an order: as the first source says that knows it."""
    if all(source.values is None for source in sources):
        return None
    known: dict[int, float] = {}
    for source in sources:
        for key, value in zip(source.keys.tolist(), source.values or (), strict=False):
            known.setdefault(key, value)
    return [known.get(key) for key in keys.tolist()]  # type: ignore[misc]
