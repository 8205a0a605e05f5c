"""Which rows of a shard that was made of Qdrant's files are in a newer state of these files too.

Invariant: a row stays only if it cannot be another: it came from these files, none of the files of
vectors in its segment there was sent anew, and its point has the version that it had. (A version is
of a point's payload and vectors; what changes vectors without it, as a name that is taken away and
given again, changes their files.)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.disk import files
from edge.disk.array_file import read_array, write_array
from edge.disk.manifest import Manifest, SegmentEntry
from edge.disk.storage import Storage
from edge.errors import ValidationError
from edge.model.config import EdgeConfig, decode_config, same_storage
from edge.qdrant.ids import LivePoints
from edge.qdrant.shard import QdrantShard
from edge.segment.id_tracker import IdTracker
from edge.segment.view import ShardView
from edge_kernels import bits


class Known(NamedTuple):
    """What a shard has of an older state: its manifest, what that names as it is in memory, and the
    names of the Qdrant segments whose vectors are the files that it has."""

    manifest: Manifest
    loaded: ShardView
    steady: frozenset[str]


@dataclass(frozen=True, slots=True)
class Kept:
    """Entries of the segments that stay, with the tombstones of what does not; the files that were
    written for it; and of each Qdrant segment the points that are left to be written (None: all).
    """

    entries: list[SegmentEntry] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    left: list[LivePoints] | None = None


def still_there(
    storage: Storage, shard: QdrantShard, config: EdgeConfig, known: Known | None, number: int
) -> Kept:
    """Return what stays of the known segments; `number` is one that no file of theirs has.

    Raises CorruptData, StorageFault, StorageFull.
    """
    if known is None or not _same_vectors(known.manifest, config):
        return Kept()
    left = shard.points()
    kept = Kept()
    for entry in known.manifest.segments:
        stays = _rows_that_stay(storage, entry, known, left)
        if stays.any():
            kept.entries.append(_with_tombstones(storage, entry, stays, number, kept.added))
    return Kept(kept.entries, kept.added, [points for _, points in left])


def _same_vectors(known: Manifest, config: EdgeConfig) -> bool:
    before = decode_config(known.config)
    if known.births or set(before.names()) != set(config.names()):
        return False
    try:
        for name in config.names():
            same_storage(name, before.params_of(name), config.params_of(name))
    except ValidationError:
        return False
    return True


def _rows_that_stay(
    storage: Storage, entry: SegmentEntry, known: Known, left: list[tuple[str, LivePoints]]
) -> NDArray[np.bool_]:
    """Return which rows stay, and take their points out of those that are left."""
    ids, versions = (read_array(storage, entry.files[role]) for role in ("ids", "versions"))
    tracker = IdTracker.of(ids)
    stays = np.zeros(entry.rows, bool)
    for place, (name, points) in enumerate(left):
        if name in known.steady:
            at = tracker.find(points.ids, entry.rows, None)
            same = (at >= 0) & (points.versions <= known.manifest.foreign)
            same[same] = versions[at[same]] == points.versions[same]
            stays[at[same]] = True
            left[place] = name, points.take(~same)
    return stays


def _with_tombstones(
    storage: Storage,
    entry: SegmentEntry,
    stays: NDArray[np.bool_],
    number: int,
    added: list[str],
) -> SegmentEntry:
    every = {role: file for role, file in entry.files.items() if role != "deleted"}
    if not stays.all():
        name = files.segment_file(entry.id, f"deleted.{number}")
        dead = bits.from_offsets(entry.rows, np.flatnonzero(~stays).astype(np.uint32))
        added.append(name)
        every["deleted"] = write_array(storage, name, dead, dead.dtype, dead.shape)
    return msgspec.structs.replace(entry, files=every)
