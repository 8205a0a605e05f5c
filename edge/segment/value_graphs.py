"""HNSW graphs of the values of payload fields: each over the rows that hold one value.

Invariants
- A graph of a value links every row that the field's index gives for the value, that has the vector
  and was not deleted when the graph was built. Rows that died since are in it, and in tombstones.
- The same rows, field indexes and plan give the same graphs: which values have one is known from
  what is noted beside them, without counting.
- Nothing that comes from a file is believed: links and members are of rows that are there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.model.schema import IndexedField, PayloadSchemaType, Schema, decode_field, encode_field
from edge.payload.field_index import FieldIndex
from edge.payload.keyed_rows import has
from edge.segment.indexing import (
    ROWS_A_SLICE,
    GraphPlan,
    Linked,
    Pulse,
    ValuesPlan,
    graph_over,
    rows_to_link,
)
from edge.vectors.block import Offsets
from edge.vectors.dense import BuiltDense
from edge.vectors.missing import Bits
from edge.vectors.multi import BuiltMulti
from edge.vectors.quantized_column import Quantized
from edge_kernels import rows as kernel_rows
from edge_kernels.hnsw import Graph
from edge_kernels.hnsw_build import LEFT_OUT
from edge_kernels.hnsw_graph import HEADER, lists_of

Key: TypeAlias = bytes | int
"""A value as an index of its kind holds it."""

Arrays: TypeAlias = Mapping[str, NDArray[Any]]

NAMES: Final = (PayloadSchemaType.Keyword, PayloadSchemaType.Uuid)
NUMBERS: Final = (PayloadSchemaType.Integer, PayloadSchemaType.Bool)
"""The kinds of field index whose values have graphs: those that a match is looked up in."""


class ValueGraph(NamedTuple):
    """The graph of a value: node i stands for the row members[i] (uint32, ascending)."""

    graph: Graph
    members: Offsets


class Made(NamedTuple):
    """What the graphs of a vector's values were made with. Of each of the `fields` (by canonical
    path, in the order in which they are written) every value that is large enough has a graph."""

    m: int
    ef_construct: int
    more_than: int
    fields: Mapping[str, IndexedField]

    def plain(self) -> list[Any]:
        """Return it as the manifest holds it."""
        return [*self[:3], [[path, encode_field(field)] for path, field in self.fields.items()]]


@dataclass(frozen=True, slots=True)
class ValueGraphs:
    """The graphs of the values of one vector, by canonical path and key."""

    made: Made
    graphs: Mapping[tuple[str, Key], ValueGraph] = field(default_factory=dict)

    def covers(self, path: str, wanted: IndexedField) -> bool:
        """Return whether the values of this field index have their graphs."""
        known = self.made.fields.get(path)
        return known is not None and known.params == wanted.params

    def find(self, path: str, index: FieldIndex, key: Key) -> ValueGraph | None:
        """Return the graph of a value of this field index, if there is one."""
        found = self.graphs.get((path, key))
        return found if found is not None and self.covers(path, index.field) else None


def may_have_graphs(wanted: IndexedField) -> bool:
    """Return whether the values of such a field index get graphs where a vector asks for some."""
    return wanted.kind in (*NAMES, *NUMBERS) and wanted.params.enable_hnsw is not False


def fields_with_graphs(schema: Schema) -> dict[str, IndexedField]:
    """Return the fields of a schema whose values get graphs where a vector asks for some."""
    return {path: wanted for path, wanted in schema.items() if may_have_graphs(wanted)}


def is_made_by(known: ValueGraphs, plan: ValuesPlan) -> bool:
    """Return whether the graphs of the fields that are covered are as the plan asks."""
    return known.made[:3] == _numbers(plan)


def _numbers(plan: ValuesPlan) -> tuple[int, int, int]:
    return plan.graph.m, plan.graph.ef_construct, plan.more_than


# -- building


class _Large(NamedTuple):
    """A value that gets a graph."""

    path: str
    key: Key
    members: Offsets


def build_value_graphs(
    column: BuiltDense | BuiltMulti,
    small: Quantized | None,
    absent: Bits | None,
    indexes: Mapping[str, FieldIndex],
    plan: ValuesPlan,
    known: ValueGraphs | None,
    pulse: Pulse,
) -> ValueGraphs:
    """Build a graph for each large value of the indexes, over rows that are not absent. Those that
    are `known`, of the same index and plan, stay as they are."""
    wanted = {path: index for path, index in indexes.items() if may_have_graphs(index.field)}
    made = Made(*_numbers(plan), {path: index.field for path, index in wanted.items()})
    graphs: dict[tuple[str, Key], ValueGraph] = {}
    missing: list[_Large] = []
    for path, index in wanted.items():
        for large in _large_values(path, index, column, absent, plan, pulse):
            there = None if known is None else _reused(known, large, index, plan)
            if there is None:
                missing.append(large)
            else:
                graphs[path, large.key] = there
    if missing:
        linked = rows_to_link(column, small, absent, pulse)
        for large, graph in _built(missing, linked, plan.graph, pulse):
            graphs[large.path, large.key] = ValueGraph(graph, large.members)
    return ValueGraphs(made, graphs)


def _reused(
    known: ValueGraphs, large: _Large, index: FieldIndex, plan: ValuesPlan
) -> ValueGraph | None:
    if known.made[:2] != _numbers(plan)[:2]:
        return None
    return known.find(large.path, index, large.key)


def _large_values(
    path: str,
    index: FieldIndex,
    column: BuiltDense | BuiltMulti,
    absent: Bits | None,
    plan: ValuesPlan,
    pulse: Pulse,
) -> Iterator[_Large]:
    """Yield the values whose rows hold more than the plan says, and are more than the neighbours of
    a node: of fewer each is every other's neighbour, and a walk is a scan."""
    counted = index.entries.counts(None)
    least = 2 * plan.graph.m + 1
    for place in np.flatnonzero(counted.counts >= least).tolist():
        pulse(0.0)
        key = counted.key(place)
        members = np.unique(index.entries.of_name(key))
        if absent is not None:
            members = members[~has(absent, members)]
        if len(members) >= least and column.sizes(members, index.watermark) > plan.more_than:
            yield _Large(path, key if isinstance(key, bytes) else int(key), members)


def _built(
    values: list[_Large], linked: Linked, plan: GraphPlan, pulse: Pulse
) -> Iterator[tuple[_Large, Graph]]:
    done, every = 0, sum(len(large.members) for large in values)
    for large in values:
        before, count = done, len(large.members)

        def step(share: float, before: int = before, count: int = count) -> None:
            pulse((before + share * count) / every)

        rows = _gathered(linked, large.members, step)
        yield large, graph_over(rows, None, plan, step)
        done += count


def _gathered(linked: Linked, members: Offsets, pulse: Pulse) -> Linked:
    """Return the rows of the members, one after another; copied in slices, between which others
    may run."""
    found = np.empty((len(members), linked.rows.shape[1]), linked.rows.dtype)
    for first in range(0, len(members), ROWS_A_SLICE):
        pulse(0.0)
        few = members[first : first + ROWS_A_SLICE]
        kernel_rows.gather(linked.rows, few, found[first : first + len(few)])
    return Linked(found, linked.code, linked.kept)


# -- packing


def packed(values: ValueGraphs) -> dict[str, NDArray[Any]]:
    """Return the arrays of all graphs (one at least), each part one after another (FORMAT.md)."""
    parts = [each.graph.arrays() for each in values.graphs.values()]
    places = {path: place for place, path in enumerate(values.made.fields)}
    keys = [_to_bytes(key) for _, key in values.graphs]
    ends = np.zeros(len(keys) + 1, np.int64)
    np.cumsum([len(key) for key in keys], out=ends[1:])
    return {
        "fields": np.array([places[path] for path, _ in values.graphs], np.int64),
        "keys": np.frombuffer(b"".join(keys), np.uint8),
        "ends": ends,
        "members": np.concatenate([each.members for each in values.graphs.values()]),
        "headers": np.stack([part["header"] for part in parts]),
        **{name: np.concatenate([part[name] for part in parts]) for name in _GRAPH_PARTS},
    }


_GRAPH_PARTS: Final = ("levels", "links0", "upper")

_DTYPES: Final[Mapping[str, tuple[Any, int]]] = {
    "fields": (np.int64, 1),
    "keys": (np.uint8, 1),
    "ends": (np.int64, 1),
    "members": (np.uint32, 1),
    "headers": (np.int64, 2),
    "levels": (np.uint8, 1),
    "links0": (np.int32, 2),
    "upper": (np.int32, 2),
}
"""Type and number of dimensions of what `packed` gives."""


def _to_bytes(key: Key) -> bytes:
    return key if isinstance(key, bytes) else key.to_bytes(8, "little", signed=True)


# -- reading


def made_of(given: Any) -> Made:
    """Return what the manifest holds of `Made.plain()`. Raises ValueError or CorruptData for what
    is none."""
    try:
        m, ef_construct, more_than, fields = msgspec.convert(given, _Plain)
    except msgspec.ValidationError as error:
        raise ValueError(f"graphs of values: {error}") from error
    if len({path for path, _ in fields}) < len(fields):
        raise ValueError("graphs of values: a field comes twice")
    decoded = {path: decode_field(params) for path, params in fields}
    return Made(m, ef_construct, more_than, decoded)


_Plain: TypeAlias = tuple[int, int, int, list[tuple[str, bytes]]]


def value_graphs_of(made: Made, arrays: Arrays, rows: int, ahead: int = 0) -> ValueGraphs:
    """Return the graphs of `packed`, over `rows` rows of a segment; the arrays are kept. `ahead` is
    what kernels take to have lists read from a disk.

    Raises ValueError or CorruptData for the first thing that is wrong.
    """
    for name, (dtype, ndim) in _DTYPES.items():
        if name not in arrays or arrays[name].dtype != dtype or arrays[name].ndim != ndim:
            raise ValueError(f"graphs of values: {name} is missing, or of another type")
    headers, members = arrays["headers"], arrays["members"]
    keys = _keys_of(made, arrays)
    if headers.shape != (len(keys), len(HEADER)):
        raise ValueError("graphs of values: not as many headers as keys")
    counts = headers[:, HEADER.index("n")]
    if not ((counts > 0) & (counts <= rows)).all() or int(counts.sum()) != len(members):
        raise ValueError("graphs of values: members do not add up")
    _check_members(members, counts, rows)
    each = _each_graph(made, arrays, counts.tolist(), ahead)
    return ValueGraphs(made, dict(zip(keys, each, strict=True)))


def _keys_of(made: Made, arrays: Arrays) -> list[tuple[str, Key]]:
    places, blob, ends = arrays["fields"], arrays["keys"].tobytes(), arrays["ends"]
    fits = len(ends) == len(places) + 1 and ends[0] == 0 and ends[-1] == len(blob)
    if not fits or (np.diff(ends) < 0).any():
        raise ValueError("graphs of values: keys do not add up")
    if ((places < 0) | (places >= len(made.fields))).any():
        raise ValueError("graphs of values: a field that is not there")
    fields = list(made.fields.items())
    found = []
    for place, first, last in zip(places.tolist(), ends[:-1], ends[1:], strict=True):
        path, field = fields[place]
        found.append((path, _from_bytes(blob[first:last], field.kind)))
    if len(set(found)) < len(found):
        raise ValueError("graphs of values: a value comes twice")
    return found


def _from_bytes(key: bytes, kind: PayloadSchemaType) -> Key:
    if kind in NAMES:
        return key
    if kind not in NUMBERS or len(key) != 8:
        raise ValueError(f"graphs of values: {key!r} is no {kind.value}")
    return int.from_bytes(key, "little", signed=True)


def _check_members(members: Offsets, counts: NDArray[np.int64], rows: int) -> None:
    """ValueError unless those of each graph ascend and are rows."""
    ascend = np.ones(len(members), bool)
    ascend[1:] = members[1:] > members[:-1]
    ascend[(np.cumsum(counts) - counts)] = True
    if not ascend.all() or int(members.max(initial=0)) >= max(1, rows):
        raise ValueError("graphs of values: members are no ascending rows")


def _each_graph(made: Made, arrays: Arrays, counts: list[int], ahead: int) -> Iterator[ValueGraph]:
    levels, links0, upper = (arrays[name] for name in _GRAPH_PARTS)
    if len(levels) != len(links0) or len(levels) != sum(counts):
        raise ValueError("graphs of values: nodes do not add up")
    if (levels == LEFT_OUT).any():
        raise ValueError("graphs of values: a member has no links")
    node = above = 0
    for place, count in enumerate(counts):
        own = levels[node : node + count]
        lists = int(lists_of(own).sum())
        parts = {
            "header": arrays["headers"][place],
            "levels": own,
            "links0": links0[node : node + count],
            "upper": upper[above : above + lists],
        }
        graph = Graph.from_arrays(parts, count, ahead)
        if (graph.m, graph.ef_construct) != (made.m, made.ef_construct):
            raise ValueError("graphs of values: one was made otherwise")
        yield ValueGraph(graph, arrays["members"][node : node + count])
        node, above = node + count, above + lists
    if above != len(upper):
        raise ValueError("graphs of values: lists do not add up")
