"""How distances of each code are computed, and the score that a user sees of one.

Invariants:
- Each encoding has one routine, which kernels enter through a *measure* (see there). A routine is
  compiled, or loaded from the cache, when the first code of its encoding is measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edge_kernels import combined, floats, integers, maxsim, planes, tables, tiles
from edge_kernels.encodings import (
    COSINE,
    DOT,
    EUCLID,
    FLOAT16,
    FLOAT32,
    INT8,
    MANHATTAN,
    MULTI,
    PRODUCT,
    SCALED8,
    SCALED16,
    SLICED,
    UINT8,
    code_of,
    encoding_of_code,
    is_combined,
    is_known,
    is_multi,
    metric_of_code,
    one_example,
    query_bytes,
    row_bytes,
    scratch_bytes,
    single,
    stride_of,
)
from edge_kernels.jit import address_of, entry_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Float32s = NDArray[np.float32]

__all__ = [
    "COSINE",
    "DOT",
    "EUCLID",
    "FLOAT16",
    "FLOAT32",
    "INT8",
    "MANHATTAN",
    "MULTI",
    "PRODUCT",
    "SCALED8",
    "SCALED16",
    "SLICED",
    "UINT8",
    "code_of",
    "encoding_of_code",
    "is_multi",
    "measure_of",
    "metric_of_code",
    "query_bytes",
    "row_bytes",
    "scratch_bytes",
    "single",
    "stride_of",
    "to_score",
]


# --- measures --------------------------------------------------------------------------------

Routine = Any
_DISTANCES: dict[int, Routine] = {
    FLOAT32: floats.float32_distances,
    FLOAT16: floats.float16_distances,
    UINT8: integers.uint8_distances,
    INT8: integers.int8_distances,
    SCALED8: floats.scaled8_distances,
    SCALED16: floats.scaled16_distances,
    SLICED: planes.sliced_distances,
    PRODUCT: tables.product_distances,
}
_MULTI_DISTANCES: dict[int, Routine] = {FLOAT32: maxsim.multi_float32_distances}
_QUERIES: dict[int, Routine] = {
    FLOAT16: floats.float16_query,
    INT8: integers.int8_query,
    SCALED8: floats.scaled8_query,
    SCALED16: floats.scaled16_query,
}
_TILES: dict[int, Routine] = {
    FLOAT32: tiles.float32_tiles,
    FLOAT16: tiles.float16_tiles,
}
_records: dict[int, NDArray[np.int64]] = {}
_measures: dict[int, int] = {}  # addresses of records


def measure_of(code: int) -> int:
    """Address of the measure of a code, good as long as the process lives. ValueError if there is
    no such code.
    """
    address = _measures.get(code)
    if address is None:
        if not is_known(code):
            raise ValueError(f"unknown metric or encoding in code {code}")
        record = _records.setdefault(code, np.array(_record(code), np.int64))
        address = _measures[code] = address_of(record)
    return address


def _record(code: int) -> list[int]:
    """The words ENTRY, METRIC, SINGLE (with COMBINED: of one example), AS_QUERY, TILED."""
    metric, encoding = metric_of_code(code), encoding_of_code(code)
    if is_combined(code):
        return [entry_of(combined.combined_distances), metric, measure_of(one_example(code)), 0, 0]
    as_query = _QUERIES.get(encoding)
    if not is_multi(code):
        tiled = _entry(_TILES.get(encoding))
        return [entry_of(_DISTANCES[encoding]), metric, 0, _entry(as_query), tiled]
    distances = _MULTI_DISTANCES.get(encoding, maxsim.multi_distances)
    all_as_query = maxsim.multi_query if as_query else None
    return [entry_of(distances), metric, measure_of(single(code)), _entry(all_as_query), 0]


def _entry(routine: Routine | None) -> int:
    return 0 if routine is None else entry_of(routine)


# --- scores ----------------------------------------------------------------------------------


def _negated(distances: Float32s) -> Float32s:
    return np.subtract(np.float32(0), distances, dtype=np.float32)


def _root(distances: Float32s) -> Float32s:
    return np.sqrt(distances, dtype=np.float32)


def _same(distances: Float32s) -> Float32s:
    return distances.astype(np.float32)


_SCORES: dict[int, Callable[[Float32s], Float32s]] = {
    COSINE: _negated,
    DOT: _negated,
    EUCLID: _root,
    MANHATTAN: _same,
}


def to_score(code: int, distances: Float32s) -> Float32s:
    """The score a user sees, float32 of the same shape: the dot product for COSINE and DOT, the
    square root for EUCLID, the distance itself for MANHATTAN; the rating with COMBINED. KeyError
    for an unknown metric.
    """
    if is_combined(code):
        return _negated(distances)
    return _SCORES[metric_of_code(code)](distances)
