"""One segment of a Qdrant shard: its live points, and what they hold by row.

Invariant: opening reads what says how much there is; vectors and payloads are read by `rows_of`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError
from edge.model.config import EdgeConfig
from edge.model.limits import HARD_DEPTH, Limits
from edge.model.payload import encode_plain
from edge.model.point_id import encode_ids
from edge.model.vector_params import EdgeSparseVectorParams
from edge.qdrant import layout
from edge.qdrant.blobs import Blobs
from edge.qdrant.config import check_fits
from edge.qdrant.dense import Vectors, open_dense
from edge.qdrant.filters import id_of
from edge.qdrant.ids import LivePoints, live_points
from edge.qdrant.layout import Options, PayloadIndexConfig, SegmentConfig, SegmentState
from edge.qdrant.source import Bytes, Folder
from edge.qdrant.sparse import open_sparse
from edge.segment.rows import RowBlock, StoredVectors
from edge.vectors.block import Matrix, Ragged, Stored
from edge.vectors.form import form_of
from edge_kernels import ids as id_kernels

Rows = NDArray[np.int64]

_LIMITS = Limits(payload_bytes=1 << 28, payload_depth=HARD_DEPTH)
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_PENDING = re.compile(re.escape(layout.PENDING_CHANGES) + r"(?:\.([0-9]+))?")
_NEWER_PENDING = "proxy_changes."
_MOST_VERSION = 32  # bytes
_DELETE = ("DeletePoint", "delete_point")


class Segment:
    """A segment folder that has been looked through."""

    def __init__(self, name: str, folder: Folder, files: Folder) -> None:
        self.name = name
        self.folder = folder
        self.files = files
        _check_version(folder)
        self.state = folder.json(layout.SEGMENT_STATE, SegmentState)
        storage = self.config.payload_storage_type.type
        if storage not in layout.PAYLOAD_STORAGES:
            raise folder.unread(layout.SEGMENT_STATE, f"payload storage {storage!r}")
        points = live_points(files, appendable=is_appendable(self.config))
        self.points, self.changed = _without_deleted(points, _pending_deletes(files))
        self._vectors: dict[str, Vectors] = {}
        self._payloads: Blobs | None = None

    @property
    def config(self) -> SegmentConfig:
        """What the segment is made of."""
        return self.state.config

    @property
    def version(self) -> int:
        """The greatest operation number that the segment shows; -1: none."""
        newest = int(self.points.versions.max(initial=0)) if len(self.points.versions) else -1
        return max(-1 if self.state.version is None else self.state.version, newest, self.changed)

    def indexed_fields(self) -> dict[str, str | Options]:
        """Return the payload fields that are indexed, as payload_index/config.json has them."""
        folder = self.files.inside(layout.PAYLOAD_INDEX)
        if not folder.exists(layout.CONFIG):
            return {}
        return folder.json(layout.CONFIG, PayloadIndexConfig).indexed_fields

    def open_vectors(self, config: EdgeConfig) -> None:
        """Look through the vectors that the shard's config names, and the payloads.

        ValidationError where one is of another kind here, or is not read.
        """
        for name, data in self.config.vector_data.items():
            params = config.vectors.get(name)
            if params is None:  # a name that was deleted since
                continue
            check_fits(name, data, params)
            folder, index = layout.vector_storage(name), layout.vector_index(name)
            found = open_dense(
                data, form_of(params), self.files.inside(folder), self.files.inside(index)
            )
            if found is not None:
                self._vectors[name] = found
        for name, sparse in self.config.sparse_vector_data.items():
            kept = config.sparse_vectors.get(name)
            if kept is not None:
                self._open_sparse(name, sparse, kept)
        payloads = self.files.inside(layout.PAYLOAD_STORAGE)
        if payloads.is_there():
            self._payloads = Blobs(payloads)

    def _open_sparse(self, name: str, data: Any, params: EdgeSparseVectorParams) -> None:
        found = open_sparse(data, params, self.files.inside(layout.vector_storage(name)))
        if found is not None:
            self._vectors[name] = found

    def slices(self, points: LivePoints, most_rows: int, most_bytes: int) -> Iterator[LivePoints]:
        """Yield these points by rows, in slices of so many rows, and about so many bytes."""
        points = points.take(np.argsort(points.rows, kind="stable"))
        weights = np.zeros(len(points.rows), np.int64)
        for vectors in self._vectors.values():
            weights += vectors.weights(points.rows)
        if self._payloads is not None:
            weights += self._payloads.lengths(points.rows)
        ends = np.cumsum(weights)
        first = 0
        while first < len(ends):
            done = int(ends[first - 1]) if first else 0
            last = int(np.searchsorted(ends, done + most_bytes, side="right"))
            last = min(max(last, first + 1), first + most_rows)
            yield points.take(np.arange(first, last))
            first = last

    def block_of(self, points: LivePoints) -> RowBlock:
        """Return these points whole, as our segments store them."""
        vectors = {}
        for name, column in self._vectors.items():
            has = column.present(points.rows)
            if has.any():
                block = column.take(points.rows[has])
                self._check_numbers(name, block)
                where = None if has.all() else np.flatnonzero(has).astype(np.uint32)
                vectors[name] = StoredVectors(where, block)
        return RowBlock(points.ids, vectors, self._encoded_payloads(points.rows))

    def _check_numbers(self, name: str, block: Stored) -> None:
        """Refuse what would not be comparable: NaN, and infinity where a float32 is stored."""
        numbers = block.parts[-1] if isinstance(block, Ragged) else block
        if not _is_comparable(numbers):
            raise self.files.unread(
                layout.vector_storage(name), f"vector {name!r} with NaN or infinity"
            )

    def _encoded_payloads(self, rows: Rows) -> list[bytes | None]:
        if self._payloads is None:
            return [None] * len(rows)
        values = self._payloads.values(rows)
        return [
            None if value is None else self._encoded(value, row)
            for value, row in zip(values, rows.tolist(), strict=True)
        ]

    def _encoded(self, text: Bytes, row: int) -> bytes | None:
        """Return the JSON text of a payload as our bytes; None of an empty one."""
        found = text.tobytes()
        try:
            payload = _decode(found)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            place = f"payload of row {row}: {error}"
            raise self.files.corrupt(layout.PAYLOAD_STORAGE, place) from None
        if not payload:
            return None
        brackets = found.count(b"{") + found.count(b"[")
        field = f"segment {self.name}: payload of row {row}"
        return encode_plain(payload, brackets, _LIMITS, field)


def is_appendable(config: SegmentConfig) -> bool:
    """Return whether Qdrant writes new points into such a segment."""
    return all(
        data.index.type == "plain" and data.storage_type in (*layout.CHUNKED, layout.EMPTY)
        for data in config.vector_data.values()
    ) and all(
        sparse.index.index_type == "MutableRam" for sparse in config.sparse_vector_data.values()
    )


def _check_version(folder: Folder) -> None:
    text = folder.bytes(layout.VERSION_INFO)[:_MOST_VERSION].tobytes().decode("latin-1")
    if text not in layout.READ_VERSIONS:
        raise folder.unread(layout.VERSION_INFO, f"segment version {text!r}")


def _is_comparable(numbers: Matrix) -> bool:
    if numbers.dtype.kind != "f":
        return True
    if numbers.dtype.itemsize == 2:  # ours too rounds to infinity there
        return not np.isnan(numbers).any()
    return bool(np.isfinite(numbers).all())


# -- changes that were logged beside a segment while it could not be written


class _Versions(msgspec.Struct):
    operation_version: int


class _Deleted(msgspec.Struct):
    point_id: int | str
    versions: _Versions


def _pending_deletes(folder: Folder) -> list[_Deleted]:
    """Return the deletions of all such logs, in order. ValidationError for any other change."""
    for name in folder.names():
        if name.startswith(_NEWER_PENDING):
            raise folder.unread(name, "a log of changes of a newer kind")
    names = [match for name in folder.names() if (match := _PENDING.fullmatch(name))]
    names.sort(key=lambda match: int(match.group(1) or 0))
    return [found for match in names for found in _deletes_of(folder, match.group())]


def _deletes_of(folder: Folder, name: str) -> list[_Deleted]:
    data = folder.bytes(name).tobytes()
    found, at = [], 0
    while len(data) - at >= 4:
        (size,) = struct.unpack_from("<I", data, at)
        if size > len(data) - at - 4:  # torn: it was never acknowledged
            break
        try:
            change = msgspec.json.decode(data[at + 4 : at + 4 + size], type=dict[str, Any])
            [(word, inside)] = change.items()
            if word not in _DELETE:
                raise folder.unread(name, f"a change {word!r}")
            found.append(msgspec.convert(inside, _Deleted))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise folder.corrupt(name, str(error), at) from None
        except EdgeError:
            raise
        except ValueError:
            raise folder.corrupt(name, "not one change", at) from None
        at += 4 + size
    return found


def _without_deleted(points: LivePoints, deletes: list[_Deleted]) -> tuple[LivePoints, int]:
    """Return the points that stay, and the greatest number of a deletion; -1: there is none."""
    if not deletes:
        return points, -1
    gone = encode_ids([id_of(each.point_id) for each in deletes])
    versions = [each.versions.operation_version for each in deletes]
    if not len(points.ids):
        return points, max(versions)
    table = id_kernels.rebuild(
        points.ids, len(points.ids), id_kernels.capacity_for(len(points.ids))
    )
    places = id_kernels.newest(table, points.ids, gone).tolist()
    stays = np.ones(len(points.ids), bool)
    for place, version in zip(places, versions, strict=True):
        if place >= 0 and int(points.versions[place]) <= version:
            stays[place] = False
    return points.take(stays), max(versions)
