"""Which graph of a payload value serves a filter.

Invariant: every row that fulfils the filter holds the value, so that the graph's rows are all that
a search has to look at.
"""

from __future__ import annotations

from collections.abc import Iterator

from edge.filter.indexed import sole_key
from edge.model.filter import FieldCondition, Filter
from edge.model.json_path import canonical
from edge.segment.value_graphs import ValueGraph, ValueGraphs
from edge.segment.view import SegmentView


def graph_of_a_value(view: SegmentView, name: str, filter: Filter) -> ValueGraph | None:
    """Return the smallest graph over the vectors of this name whose value the filter requires."""
    made = view.value_graphs(name)
    if made is None or not made.graphs:
        return None
    found = [_graph_of(view, made, condition) for condition in _required(filter)]
    graphs = [graph for graph in found if graph is not None]
    return min(graphs, key=lambda graph: len(graph.members), default=None)


def _graph_of(view: SegmentView, made: ValueGraphs, condition: FieldCondition) -> ValueGraph | None:
    """Return the graph of what a condition asks for; none without the index that it was made by."""
    index = view.index(condition.key)
    key = None if index is None else sole_key(condition, index.kind)
    if index is None or key is None:
        return None
    return made.find(canonical(condition.key), index, key)


def _required(filter: Filter) -> Iterator[FieldCondition]:
    for condition in filter.must or ():
        if isinstance(condition, Filter):
            yield from _required(condition)
        elif isinstance(condition, FieldCondition):
            yield condition
