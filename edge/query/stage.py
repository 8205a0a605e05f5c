"""A stage of a query, and what one query on its way carries with it."""

from __future__ import annotations

from typing import Any, NamedTuple

from edge.model.config import EdgeConfig
from edge.model.filter import Filter
from edge.model.prefetch import Prefetch
from edge.model.query import SearchParams
from edge.query.deadline import Deadline
from edge.query.pool import Points, Ranked
from edge.query.trace import NO_TRACE, Trace
from edge.segment.view import ShardView


class Stage(NamedTuple):
    """One ranking of a query: by what, of what, how many, and how hard it looks."""

    query: Any
    limit: int
    prefetches: tuple[Prefetch, ...] = ()
    filter: Filter | None = None
    params: SearchParams | None = None
    score_threshold: float | None = None


class Run:
    """One query on its way: the view that it is asked of, its time, its notes, what it knows."""

    def __init__(self, view: ShardView, deadline: Deadline, trace: Trace = NO_TRACE) -> None:
        self.view = view
        self.deadline = deadline
        self.trace = trace
        self.searched: list[tuple[Stage, Ranked]] = []
        """what leaves have found"""

    @property
    def config(self) -> EdgeConfig:
        """The config of the view."""
        return self.view.config

    def finishing(self) -> Run:
        """Return it with time for what has to be done after the search, where best effort asks for
        an answer in any case."""
        return Run(self.view, self.deadline.finishing(), self.trace)


def below(prefetch: Prefetch, above: Filter | None) -> Stage:
    """Return the stage of a prefetch, under the filters above it."""
    return Stage(
        prefetch.query,
        prefetch.limit,
        prefetch.prefetches,
        both(prefetch.filter, above),
        prefetch.params,
        prefetch.score_threshold,
    )


def both(first: Filter | None, second: Filter | None) -> Filter | None:
    """Return what fulfils both filters; None: everything does."""
    if first is None or second is None:
        return second if first is None else first
    return Filter(must=[first, second])


# -- thresholds


def above(found: Points, threshold: float | None, similar: bool) -> Points:
    """Return what is better than the threshold: above it for similarities, else below.

    As in Qdrant a score equal to it is left out.
    """
    if threshold is None:
        return found
    return found.where(found.scores > threshold if similar else found.scores < threshold)


def at_least(found: Points, threshold: float | None) -> Points:
    """Return what reaches the threshold, as fusions and formulas have it."""
    return found if threshold is None else found.where(found.scores >= threshold)
