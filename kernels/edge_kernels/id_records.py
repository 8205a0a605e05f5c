"""Records of point ids and their rows, of several lengths one after another, as Qdrant logs them.

A record is a byte (its kind), an id (8 bytes, or the 16 of a UUID in network order), and, but in
those of deletions, a row (4 bytes). Kinds: an integer, a UUID, a deleted integer, a deleted UUID.

Invariant: the kernel reads nothing outside of the records and writes no more than it may.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge_kernels.jit import (
    address_of,
    call,
    door,
    inner,
    load_i64,
    load_u8,
    store_i64,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_BYTES = 9
KIND_INT, KIND_UUID = 0, 1


class Records(NamedTuple):
    """Id rows uint64[n, 3], rows int64[n] (-1: deleted), and the bytes that these records take."""

    ids: NDArray[np.uint64]
    rows: NDArray[np.int64]
    used: int


def read(data: NDArray[np.uint8], first_kind: int, kinds: int) -> Records:
    """The records at the beginning of uint8[n], up to one that is cut off or of another kind than
    the `kinds` (2: no deletions, or 4) that are numbered from `first_kind` on."""
    most = data.size // LEAST_BYTES
    ids, rows = np.zeros((most, 3), np.uint64), np.empty(most, np.int64)
    used = np.zeros(1, np.int64)
    count = call(
        _read,
        address_of(data),
        data.size,
        first_kind,
        kinds,
        address_of(ids),
        address_of(rows),
        address_of(used),
    )
    return Records(ids[:count], rows[:count], int(used[0]))


# --- kernels ---------------------------------------------------------------------------------


@inner
def _little(at: int, size: int) -> int:
    found = 0
    for k in range(size):
        found |= load_u8(at + k) << (8 * k)
    return found


@inner
def _big(at: int) -> int:
    found = 0
    for k in range(8):
        found = (found << 8) | load_u8(at + k)
    return found


@door
def _read(block: int) -> int:
    data, size = load_i64(block), load_i64(block + 8)
    first_kind, kinds = load_i64(block + 16), load_i64(block + 24)
    ids, rows, used = load_i64(block + 32), load_i64(block + 40), load_i64(block + 48)
    at, count = 0, 0
    while at < size:
        kind = load_u8(data + at) - first_kind
        if kind < 0 or kind >= kinds:
            break
        is_uuid, is_deleted = (kind & 1) != 0, kind >= 2
        length = 1 + (16 if is_uuid else 8) + (0 if is_deleted else 4)
        if size - at < length:
            break
        row, id_at = ids + 24 * count, data + at + 1
        if is_uuid:
            store_i64(row, KIND_UUID)
            store_i64(row + 8, _big(id_at))
            store_i64(row + 16, _big(id_at + 8))
        else:
            store_i64(row + 16, _little(id_at, 8))
        store_i64(rows + 8 * count, -1 if is_deleted else _little(data + at + length - 4, 4))
        at += length
        count += 1
    store_i64(used, at)
    return count
