"""The ids of a segment: which of its rows are live points, and of which version.

Three kinds: a log of records (appendable segments), all records at once, and sorted tables that are
searched where they lie (immutable ones).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge.model.point_id import KIND_UUID, IdRows
from edge.qdrant import layout
from edge.qdrant.source import Folder, bits_at
from edge_kernels import id_records
from edge_kernels import ids as id_kernels

Rows = NDArray[np.int64]
Versions = NDArray[np.uint64]

_E2I_MAGIC = 0x51445F4532490001
_E2I_VERSION = 2
_E2I_HEADER = np.dtype(
    [
        ("magic", "<u8"),
        ("version", "<u4"),
        ("zero", "<u4"),
        ("numbers", "<u8"),
        ("uuids", "<u8"),
        ("number_block", "<u4"),
        ("uuid_block", "<u4"),
        ("reserved", "<u8"),
    ]
)
_NUMBER = np.dtype([("key", "<u8"), ("row", "<u4")])
_UUID = np.dtype([("low", "<u8"), ("high", "<u8"), ("row", "<u4")])


class LivePoints(NamedTuple):
    """Live points of a segment: ids uint64[n, 3], distinct; rows int64[n]; versions uint64[n]."""

    ids: IdRows
    rows: Rows
    versions: Versions

    def take(self, places: NDArray[np.intp] | NDArray[np.bool_]) -> LivePoints:
        """Return those at the places."""
        return LivePoints(self.ids[places], self.rows[places], self.versions[places])


NONE = LivePoints(np.empty((0, 3), np.uint64), np.empty(0, np.int64), np.empty(0, np.uint64))


def live_points(folder: Folder, *, appendable: bool) -> LivePoints:
    """Return the live points of a segment, by whichever tracker it has.

    CorruptData where an immutable segment has none; an appendable one is empty then.
    """
    if folder.exists(layout.COMPACT_VERSIONS):
        raise folder.unread(layout.COMPACT_VERSIONS, "a compact id tracker")
    if folder.exists(layout.INTERNAL_TO_EXTERNAL):
        return _immutable(folder, *_sorted_tables(folder))
    if folder.exists(layout.MAPPINGS):
        return _immutable(folder, *_all_records(folder))
    if folder.exists(layout.MUTABLE_MAPPINGS):
        return _logged(folder)
    if not appendable:
        raise folder.corrupt(layout.MAPPINGS, "an immutable segment without ids")
    return NONE


def _logged(folder: Folder) -> LivePoints:
    name = layout.MUTABLE_MAPPINGS
    data = folder.bytes(name)
    found = id_records.read(data, 1, 4)
    if found.used < data.size and not 1 <= data[found.used] <= 4:
        raise folder.corrupt(name, f"a record of kind {data[found.used]}", found.used)
    newest = id_kernels.distinct_last(found.ids)
    newest = newest[found.rows[newest] >= 0]
    versions = _versions(folder, layout.MUTABLE_VERSIONS)
    # a point whose version was not written yet is none: the log has it
    newest = newest[found.rows[newest] < len(versions)]
    rows = found.rows[newest]
    return LivePoints(found.ids[newest], rows, versions[rows])


def _versions(folder: Folder, name: str) -> Versions:
    if not folder.exists(name):
        return np.empty(0, np.uint64)
    data = folder.bytes(name)
    return folder.part(name, data, "<u8", data.size // 8)


def _immutable(folder: Folder, name: str, ids: IdRows, rows: Rows) -> LivePoints:
    """Return the points of the file `name` that were not deleted since."""
    top = int(rows.max(initial=-1)) + 1
    versions = folder.array(layout.VERSIONS, "<u8", top)
    deleted = folder.bytes(layout.DELETED_IDS)
    if 8 * deleted.size < top:
        raise folder.corrupt(layout.DELETED_IDS, f"fewer than {top} bits", deleted.size)
    live = np.flatnonzero(~bits_at(deleted, rows))
    ids, rows = ids[live], rows[live]
    if len(id_kernels.distinct_last(ids)) != len(ids):
        raise folder.corrupt(name, "an id has two rows")
    return LivePoints(ids, rows, versions[rows])


def _all_records(folder: Folder) -> tuple[str, IdRows, Rows]:
    name = layout.MAPPINGS
    data = folder.bytes(name)
    count = int(folder.part(name, data, "<u8", 1)[0])
    found = id_records.read(data[8:], 0, 2)
    if len(found.rows) != count:
        at = 8 + found.used
        raise folder.corrupt(name, f"{len(found.rows)} whole records, expected {count}", at)
    return name, found.ids, found.rows


def _sorted_tables(folder: Folder) -> tuple[str, IdRows, Rows]:
    name = layout.EXTERNAL_TO_INTERNAL
    data = folder.bytes(name)
    head = folder.part(name, data, _E2I_HEADER, 1)[0]
    if head["magic"] != _E2I_MAGIC or head["version"] != _E2I_VERSION:
        raise folder.unread(name, f"version {head['version']} of an id table")
    per_block = int(head["number_block"]), int(head["uuid_block"])
    if not all(per_block):
        raise folder.corrupt(name, "blocks of no entries")
    numbers, uuids = int(head["numbers"]), int(head["uuids"])
    at = _E2I_HEADER.itemsize + _to_16(8 * -(-numbers // per_block[0]))
    at += 16 * -(-uuids // per_block[1])
    by_number = folder.part(name, data, _NUMBER, numbers, at)
    at = _to_16(at + by_number.nbytes)
    by_uuid = folder.part(name, data, _UUID, uuids, at)
    ids = np.zeros((numbers + uuids, 3), np.uint64)
    ids[:numbers, 2] = by_number["key"]
    ids[numbers:, 0] = KIND_UUID
    ids[numbers:, 1], ids[numbers:, 2] = by_uuid["high"], by_uuid["low"]
    return name, ids, np.concatenate([by_number["row"], by_uuid["row"]]).astype(np.int64)


def _to_16(size: int) -> int:
    return -(-size // 16) * 16
