"""Distances of rows of codes, each of which looks up its part in a table of the query (PRODUCT).

A row is one byte for each chunk of the vector. The query is float32: [0] the number of chunks,
fifteen spare, then a table [chunks, 256] of the distance of each chunk to each code. The metric is
in the table.

Invariants:
- Four sums take turns, chunk by chunk, and are added in one fixed order.
"""

from __future__ import annotations

from edge_kernels.encodings import PRODUCT_HEADER
from edge_kernels.jit import inner, load_f32, load_u8, prefetch, routine, store_f32
from edge_kernels.measure import ZERO, row_ahead, row_at

CHUNK = 1024  # bytes of the table for one chunk


@inner
def _part(table: int, code: int) -> float:
    return load_f32(table + 4 * load_u8(code))


@inner
def _sum(table: int, row: int, chunks: int) -> float:
    a, b, c, d = ZERO, ZERO, ZERO, ZERO
    at = 0
    while at + 4 <= chunks:
        a += _part(table, row + at)
        b += _part(table + CHUNK, row + at + 1)
        c += _part(table + 2 * CHUNK, row + at + 2)
        d += _part(table + 3 * CHUNK, row + at + 3)
        at += 4
        table += 4 * CHUNK
    while at < chunks:
        a += _part(table, row + at)
        at += 1
        table += CHUNK
    return (a + b) + (c + d)  # sums that began at 0.0 are no -0.0


@routine
def product_distances(
    measure: int, query: int, rows: int, size: int, offsets: int, count: int, out: int
) -> int:
    """PRODUCT."""
    chunks, table = int(load_f32(query)), query + PRODUCT_HEADER
    for at in range(count):
        later = row_ahead(rows, size, offsets, at, count)
        for line in range(later, later + size, 64):
            prefetch(line)
        store_f32(out + 4 * at, _sum(table, row_at(rows, size, offsets, at), chunks))
    return 0
