"""How large a request may be: the defaults, and the ceilings that no configuration can raise.

Limits are checked before anything is logged; what was logged under them is always replayable,
because the ceilings (HARD_*) are built into the constructors and into the decoder.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import force_setattr

from edge.model import fields

HARD_DEPTH = 64
"""Nesting of a payload or a filter that no configuration allows to exceed."""

HARD_NODES = 65_536
"""Conditions in one filter, counted through all its levels, that may never be exceeded."""

HARD_VALUES = 1_000_000
"""Ids or values in one condition that may never be exceeded."""

HARD_PREFETCHES = 1024
"""Prefetches of one query, counted through all its levels, that may never be exceeded."""

MAX_DIMENSION = 65_535
"""The longest vector."""

KIB = 1024
MIB = 1024 * KIB


class Limits(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one request may weigh.

    `payload_bytes` is the encoded size of one point's payload, `payload_depth` and `filter_depth`
    count levels of nesting (a flat payload or filter is 1, the ceiling is 64), `filter_nodes` the
    conditions and filters in one filter, `batch_points` the points of one upsert, `batch_bytes`
    their vectors and payloads together, `batch_ids` the ids that one operation names,
    `request_points` limit plus offset of one request, `batch_queries` the queries of one batch.
    Of one query: `prefetch_depth` the levels of its prefetches (the ceiling is 64), `prefetches`
    their number, `candidates` what they bring together (the sum of their limits), `examples` the
    vectors and ids it is asked by, all three through all levels; `expression_nodes` the expressions
    and conditions in one formula; `mmr_candidates` the candidates of one Mmr. `matrix_points` is
    the sample of one distance matrix.
    """

    payload_bytes: int = MIB
    payload_depth: int = 32
    filter_depth: int = 32
    filter_nodes: int = 4096
    batch_points: int = 10_000
    batch_bytes: int = 64 * MIB
    batch_ids: int = HARD_VALUES
    request_points: int = 1_000_000
    batch_queries: int = 1024
    prefetch_depth: int = 8
    prefetches: int = 64
    candidates: int = 100_000
    examples: int = 1024
    expression_nodes: int = 1000
    mmr_candidates: int = 10_000
    matrix_points: int = 10_000

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            ceiling = _CEILINGS.get(name, 2**40)
            value = fields.integer(getattr(self, name), f"limits.{name}", 1, ceiling)
            force_setattr(self, name, value)


_CEILINGS = {
    "payload_depth": HARD_DEPTH,
    "filter_depth": HARD_DEPTH,
    "filter_nodes": HARD_NODES,
    "batch_ids": HARD_VALUES,
    "payload_bytes": 256 * MIB,
    "batch_bytes": 1024 * MIB,
    "batch_points": 10_000_000,
    "prefetch_depth": HARD_DEPTH,
    "prefetches": HARD_PREFETCHES,
    "expression_nodes": HARD_NODES,
}

DEFAULT_LIMITS = Limits()

WIDEST_LIMITS = Limits(**{name: _CEILINGS.get(name, 2**40) for name in Limits.__struct_fields__})
"""All ceilings: whatever any configuration let into a log passes them."""
