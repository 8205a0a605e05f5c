"""Maximal marginal relevance: points that are near to a vector and not to each other.

From J. Carbonell and J. Goldstein, "The Use of MMR, Diversity-Based Reranking for Reordering
Documents and Producing Summaries", SIGIR 1998. Invariant: the first is the most relevant, each
further one has the greatest lambda * s(query, point) - (1 - lambda) * max s(point, one before);
of equal ones the more relevant, then the lesser id.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.query.pool import Ranked

Similarities = NDArray[np.float32]


def picked(
    candidates: Ranked,
    relevance: Similarities,
    alike: Similarities,
    weight: float,
    limit: int,
) -> Ranked:
    """Return `limit` of the candidates in the order of picking, with the scores that they have.

    `relevance` float32[n] and `alike` float32[n, n] are similarities, larger is nearer; row i of
    `alike` is that of candidate i to the others. `weight` is lambda.
    """
    count = min(limit, len(candidates.keys))
    if not count:
        return Ranked(candidates.keys[:0], candidates.scores[:0])
    left = np.ones(len(candidates.keys), bool)
    nearest = np.full(len(candidates.keys), -np.inf, np.float32)
    relevant = np.float32(weight) * relevance
    order = [int(np.argmax(relevance))]
    while len(order) < count:
        left[order[-1]] = False
        np.maximum(nearest, alike[:, order[-1]], out=nearest)
        gain = relevant - np.float32(1 - weight) * nearest
        waiting = left.nonzero()[0]
        order.append(int(waiting[np.argmax(gain[waiting])]))
    return Ranked(candidates.keys[order], candidates.scores[order])
