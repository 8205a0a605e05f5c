"""A shard directory of Qdrant or Qdrant Edge, read.

Invariants
- Nothing in the directory is changed; while it is open here, Qdrant cannot open it.
- Of an id that several segments have, the newest version is the point.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.disk.storage import Storage
from edge.errors import NotFound, ValidationError
from edge.model.config import EdgeConfig
from edge.model.schema import Schema
from edge.model.update import UpdateOperation
from edge.qdrant import layout, log
from edge.qdrant.config import config_of, derived, schema_of
from edge.qdrant.ids import NONE, LivePoints
from edge.qdrant.layout import SegmentManifest, ShardConfig
from edge.qdrant.operations import operation_of
from edge.qdrant.segment import Segment
from edge.qdrant.source import Folder
from edge.segment.rows import RowBlock
from edge_kernels import ids as id_kernels

_PACKED = ".tar"

MOST_ROWS = 4_096
MOST_BYTES = 16 << 20
"""What a block is about as large as, unless one point alone is larger."""


def open_shard(storage: Storage) -> QdrantShard:
    """Look through the shard in a folder, and lock it against Qdrant where it has a log.

    `storage` is a ForeignStorage whose lock folder is `layout.WAL`. Segments lie in
    `segments/<name>`, their files there or one folder deeper, in `files`; config and log may be
    missing. Raises NotFound where there is no shard, ShardLocked where it is open elsewhere,
    CorruptData where a file cannot be what was written, ValidationError naming what is not read.
    """
    storage.lock()
    try:
        return QdrantShard(Folder(storage))
    except BaseException:
        storage.unlock()
        raise


class QdrantShard:
    """A shard that `open_shard` has looked through.

    Attributes:
        config: its config in our words.
        schema: its payload indexes in our words.
        version: the greatest operation number that its segments show; -1: none.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._segments = list(_segments(folder))
        known = _config_file(folder)
        if known is None and not self._segments:
            raise NotFound(f"{folder.storage.path}: there is no Qdrant shard")
        configs = [segment.config for segment in self._segments]
        self.config: EdgeConfig = config_of(known or derived(configs))
        self.schema: Schema = _schema(self._segments)
        self.version: int = max((segment.version for segment in self._segments), default=-1)
        for segment in self._segments:
            segment.open_vectors(self.config)
        self._live = _newest([segment.points for segment in self._segments])

    def __len__(self) -> int:
        """Return how many points there are, those of the log not counted."""
        return sum(len(points.rows) for points in self._live)

    def points(self) -> list[tuple[str, LivePoints]]:
        """Return the name of each segment, and its live points."""
        names = (segment.name for segment in self._segments)
        return list(zip(names, self._live, strict=True))

    def blocks(
        self, chosen: Sequence[LivePoints] | None = None
    ) -> Iterator[tuple[RowBlock, NDArray[np.uint64]]]:
        """Yield the live points, or those of each segment that were chosen, in our stored form,
        and the version of each.

        A block has at most `MOST_ROWS` points. Errors as `open_shard`.
        """
        for segment, points in zip(self._segments, chosen or self._live, strict=True):
            for part in segment.slices(points, MOST_ROWS, MOST_BYTES):
                yield segment.block_of(part), part.versions

    def pending(self) -> list[tuple[int, UpdateOperation]]:
        """Return the logged operations that the segments may lack, by number, in order.

        As Qdrant does, one is to be passed over for a point whose version is not below its number
        (a deletion for one whose version is above). One that was refused is still in the log and
        will be refused again; but of an upsert there, the points that were right were stored.
        Errors as `open_shard`; ValidationError for an operation that is not read.
        """
        entries = log.entries(self._folder.inside(layout.WAL))
        return [(entry.number, operation_of(entry.record, entry.number)) for entry in entries]

    def manifest(self) -> dict[str, Any]:
        """Return the manifest of a snapshot: by segment the versions of its files.

        A file has the version that a snapshot brought it with, or None: that of its segment.
        """
        found = {segment.name: _manifest_of(segment) for segment in self._segments}
        plain: dict[str, Any] = msgspec.to_builtins(found)
        return plain

    def close(self) -> None:
        """Let Qdrant have the directory again. Closing twice does nothing."""
        self._folder.storage.unlock()


def _segments(folder: Folder) -> Iterator[Segment]:
    parent = folder.inside(layout.SEGMENTS)
    for name in parent.names():
        if name.endswith(_PACKED):
            raise parent.unread(name, "a segment that is still packed")
        found = parent.inside(name)
        # one without a version was not finished: Qdrant deletes it
        if layout.is_segment(name) and found.exists(layout.VERSION_INFO):
            deeper = found.inside(layout.FILES)
            yield Segment(name, found, deeper if deeper.is_there() else found)


def _config_file(folder: Folder) -> ShardConfig | None:
    if not folder.exists(layout.EDGE_CONFIG):
        return None
    return folder.json(layout.EDGE_CONFIG, ShardConfig)


def _schema(segments: list[Segment]) -> Schema:
    """Return the fields of all segments; of a field that several index, the newest counts."""
    fields = {}
    for segment in sorted(segments, key=lambda segment: segment.version):
        fields.update(segment.indexed_fields())
    return schema_of(fields)


def _newest(segments: list[LivePoints]) -> list[LivePoints]:
    """Return the points of each segment without those that another has in a newer version."""
    ids = np.concatenate([NONE.ids, *(points.ids for points in segments)])
    versions = np.concatenate([NONE.versions, *(points.versions for points in segments)])
    order = np.argsort(versions, kind="stable")
    stays = np.zeros(len(ids), bool)
    stays[order[id_kernels.distinct_last(ids[order])]] = True
    ends = np.cumsum([0, *(len(points.ids) for points in segments)])
    return [
        points.take(stays[first:last])
        for points, first, last in zip(segments, ends[:-1], ends[1:], strict=True)
    ]


# -- the manifest

_NOT_LISTED = frozenset({layout.SEGMENT_STATE, layout.VERSION_INFO, layout.SEGMENT_MANIFEST})


def _manifest_of(segment: Segment) -> SegmentManifest:
    version = max(segment.version, 0)
    versions = dict.fromkeys(
        name
        for name in _files(segment.files)
        if name not in _NOT_LISTED and not name.startswith(layout.PENDING_CHANGES)
    )
    return SegmentManifest(segment.name, version, {**versions, **_brought(segment, version)})


def _brought(segment: Segment, version: int) -> dict[str, int | None]:
    """Return what a snapshot said of the files, unless the segment was written since."""
    if not segment.files.exists(layout.SEGMENT_MANIFEST):
        return {}
    found = segment.files.json(layout.SEGMENT_MANIFEST, SegmentManifest)
    if found.segment_id != segment.name:
        raise ValidationError(
            f"{layout.SEGMENT_MANIFEST}: of segment {found.segment_id!r}, not {segment.name!r}"
        )
    return found.file_versions if found.segment_version == version else {}


def _files(folder: Folder, above: str = "") -> Iterator[str]:
    for name in folder.names():
        if name == layout.JOURNAL:
            continue
        if folder.is_file(name):
            yield above + name
        else:
            yield from _files(folder.inside(name), f"{above}{name}/")
