"""Writes a view as the files of Qdrant: a shard's folder, a snapshot, or what changed since one.

Invariants
- Nothing but the view is read, so an export is exact at one sequence number, whatever is written
  meanwhile.
- Each segment of ours becomes one of theirs that takes no points and has no index yet, named by
  what it holds: the same rows have the same name in every export. Rows of a built segment keep
  their offsets, dead or not, so that of them only the list of the dead ever changes; of the tail
  only live rows go out.
- A version is a sequence number of ours, and the log of the copy goes on behind the view's, so
  that no operation on the copy is taken for one that it has seen.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid5

import msgspec
import numpy as np

from edge.errors import ValidationError
from edge.model.point_id import KIND_UUID
from edge.qdrant import layout
from edge.qdrant.export_blobs import write_blobs
from edge.qdrant.export_config import (
    check_names,
    index_config,
    segment_config,
    shard_config,
    vectors_of,
)
from edge.qdrant.export_target import ARCHIVES, Target, opened
from edge.qdrant.export_vectors import Rows, add_bytes, write_vectors
from edge.segment.id_tracker import IdRows
from edge.segment.view import SegmentView, ShardView
from edge.vectors.block import Offsets, Ragged, starts_of
from edge_kernels import bits, lz4

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from edge.disk.tar_header import Extent

_BYTES_AT_ONCE: Final = 1 << 20
_LOG_BYTES: Final = 64
_LOG_START: Final = b"wal\0"


def export_shard(
    view: ShardView,
    shard_id: str,
    target: str | os.PathLike[str],
    since: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write the view to `target`, and return the manifest of what the copy then holds.

    Args:
        shard_id: the UUID of the shard, which the names of its segments are made from.
        target: where to; nothing may be there. A name that ends in .tar or .snapshot is a snapshot
            (`unpack_snapshot`, `update_from_snapshot`), any other a folder that
            `qdrant_edge.EdgeShard.load` opens.
        since: the manifest that an earlier export returned, or that the receiver reports
            (`snapshot_manifest`): the snapshot is then a partial one and holds only what the
            receiver lacks. That the receiver has what this says is the receiver's matter.

    Payloads, ids and vectors are those of the view, bit by bit; Turbo8 and Turbo16 vectors become
    the float32 numbers that they stand for. Graphs and field indexes are not in it: whoever loads
    it builds them (fields at once, graphs by its optimizer). Nothing that only a server needs
    (clocks, replica state) is in it. Blocking; memory is bounded by about 16 bytes a row and some
    MiB. On an error nothing is left at `target`.

    Raises AlreadyExists, ValidationError (an argument; a vector whose name no file can have),
    CorruptData, StorageFault, StorageFull.
    """
    shard = _uuid(shard_id)
    known = _manifest(since)
    check_names(view.config)
    if since is not None and not os.fspath(target).endswith(ARCHIVES):
        raise ValidationError(f"since: only a snapshot ({', '.join(ARCHIVES)}) can be partial")
    with opened(target) as opened_target:
        found = _write(view, shard, opened_target, known)
    manifest: dict[str, Any] = msgspec.to_builtins(found)
    return manifest


def _uuid(shard_id: str) -> UUID:
    try:
        return UUID(shard_id)
    except (AttributeError, TypeError, ValueError):
        raise ValidationError(f"shard_id: expected a UUID, got {shard_id!r}") from None


def _manifest(since: Mapping[str, Any] | None) -> layout.Manifest | None:
    if since is None:
        return None
    try:
        return msgspec.convert(dict(since), dict[str, layout.SegmentManifest])
    except (TypeError, ValueError, RecursionError) as error:
        raise ValidationError(f"since: not the manifest of a snapshot: {error}") from None


def _write(
    view: ShardView, shard: UUID, target: Target, known: layout.Manifest | None
) -> dict[str, layout.SegmentManifest]:
    target.add_folder(layout.SEGMENTS)
    found: dict[str, layout.SegmentManifest] = {}
    for segment in view.segments:
        rows = _exported(segment)
        if len(rows):
            name = str(uuid5(shard, _identity(rows)))
            of_segment = None if known is None else known.get(name, _NONE)
            found[name] = _write_segment(view, rows, name, target, of_segment)
    config = msgspec.json.encode(shard_config(view.config))
    add_bytes(target, layout.EDGE_CONFIG, config)
    log = f"{layout.WAL}/{layout.closed_log(view.sequence + 1)}"
    add_bytes(target, log, _LOG_START.ljust(_LOG_BYTES, b"\0"))
    return found


_NONE: Final = layout.SegmentManifest("", 0, {})


def _exported(view: SegmentView) -> Rows:
    """All rows of a built segment of which any lives, the live rows of another."""
    if view.segment.entry is None or not view.live_count:
        return Rows(view, view.live())
    return Rows(view, np.arange(view.watermark, dtype=np.uint32))


def _identity(rows: Rows) -> str:
    """What is the same for the same rows, and for no others of this shard and its copies."""
    segment = rows.view.segment
    if segment.entry is not None:
        files = [segment.entry.files[role] for role in ("ids", "versions", "payload")]
        return f"{segment.number} {[(file.length, file.checksum) for file in files]}"
    # Numbers do not tell tails apart: after a power cut, other operations may take those of the
    # ones that were lost.
    digest = blake2b(digest_size=16)
    for few in rows.slices():
        for piece in _contents(rows.view, few):
            digest.update(piece)
    return f"{segment.number} {digest.hexdigest()}"


def _contents(view: SegmentView, offsets: Offsets) -> Iterator[Buffer]:
    """All that a few rows hold."""
    yield view.ids[offsets].data
    yield view.segment.versions[offsets].data
    blobs = view.payloads_at(offsets)
    yield np.array([len(blob) for blob in blobs]).data
    yield from blobs
    for key in view.names.values():
        block = view.column_of(key).take(offsets)
        yield f"{key}".encode()
        yield view.has_vector_at(offsets, key).data
        parts = (block.starts, *block.parts) if isinstance(block, Ragged) else (block,)
        yield from (np.ascontiguousarray(part).view(np.uint8).data for part in parts if part.size)


def _newest(rows: Rows) -> int:
    return int(rows.view.segment.versions[rows.offsets].max())


# -- one segment


@dataclass(frozen=True, slots=True)
class _Part:
    """A file (or a folder, whose name ends with "/") of a segment, which changed last by operation
    `version`."""

    name: str
    version: int
    write: Callable[[Target], None]


def _write_segment(
    view: ShardView, rows: Rows, name: str, target: Target, known: layout.SegmentManifest | None
) -> layout.SegmentManifest:
    """Write what the receiver lacks; `known` None: all, and no word of what was left out."""
    segment = _SegmentTarget(target, name)
    versions: dict[str, int | None] = {}
    for part in _parts(view, rows):
        there = None if known is None else _there(known, part)
        if there is None:
            segment.names.clear()
            part.write(segment)
            there = segment.names
        versions |= dict.fromkeys(there, part.version)
    manifest = layout.SegmentManifest(name, view.sequence, versions)
    state = layout.SegmentState(segment_config(view.config), _newest(rows), view.sequence)
    folder = f"{layout.SEGMENTS}/{name}"
    if known is not None:
        add_bytes(
            target,
            target.segment_file(name, layout.SEGMENT_MANIFEST),
            msgspec.json.encode(manifest),
        )
    add_bytes(target, f"{folder}/{layout.SEGMENT_STATE}", msgspec.json.encode(state))
    # last, because a segment without it is none
    add_bytes(target, f"{folder}/{layout.VERSION_INFO}", layout.VERSION.encode())
    return manifest


def _there(known: layout.SegmentManifest, part: _Part) -> list[str] | None:
    """The files of the part that the receiver has, if none of them is older than ours."""
    is_folder = part.name.endswith("/")
    found = {
        name: known.segment_version if version is None else version
        for name, version in known.file_versions.items()
        if name == part.name or (is_folder and name.startswith(part.name))
    }
    if not found or min(found.values()) < part.version:
        return None
    return list(found)


class _SegmentTarget:
    """Adds files to a segment, and remembers their names."""

    def __init__(self, target: Target, segment: str) -> None:
        self._target = target
        self._segment = segment
        self.names: list[str] = []

    def add_folder(self, name: str) -> None:
        self._target.add_folder(self.segment_file(self._segment, name))

    def add(
        self,
        name: str,
        size: int,
        pieces: Iterable[Buffer],
        extents: Sequence[Extent] | None = None,
    ) -> None:
        self.names.append(name)
        self._target.add(self.segment_file(self._segment, name), size, pieces, extents)

    def segment_file(self, segment: str, name: str) -> str:
        return self._target.segment_file(segment, name)


def _parts(view: ShardView, rows: Rows) -> Iterator[_Part]:
    built = _newest(rows)
    yield _Part(layout.MAPPINGS, built, lambda target: _write_ids(target, rows))
    yield _Part(layout.VERSIONS, built, lambda target: _write_versions(target, rows))
    # Which operation was the last to kill a row is not known: the newest is one that came after.
    died = view.sequence if rows.view.deleted_count else built
    yield _Part(layout.DELETED_IDS, died, lambda target: _write_dead(target, rows))
    payloads = layout.PAYLOAD_STORAGE
    yield _Part(
        f"{payloads}/",
        built,
        lambda target: write_blobs(target, payloads, "LZ4", len(rows), _payloads(rows)),
    )
    indexes = f"{layout.PAYLOAD_INDEX}/{layout.CONFIG}"
    fields = msgspec.json.encode(index_config(view.schema))
    yield _Part(indexes, view.sequence, lambda target: add_bytes(target, indexes, fields))
    for name, params in vectors_of(view.config).items():
        key, folder = view.names[name], layout.vector_storage(name)
        yield _Part(
            f"{folder}/",
            max(built, key.birth),
            lambda target, folder=folder, key=key, params=params: write_vectors(  # type: ignore[misc]
                target, folder, rows, key, params
            ),
        )


# -- ids and payloads


def _write_ids(target: Target, rows: Rows) -> None:
    kinds = rows.view.ids[rows.offsets, 0]
    uuids = int((kinds == KIND_UUID).sum())
    size = 8 + 13 * (len(rows) - uuids) + 21 * uuids
    target.add(layout.MAPPINGS, size, _mappings(rows))


def _mappings(rows: Rows) -> Iterator[Buffer]:
    yield np.uint64(len(rows)).tobytes()
    first = 0
    for few in rows.slices():
        places = np.arange(first, first + len(few), dtype="<u4")
        first += len(few)
        yield _id_records(rows.view.ids[few], places)


def _id_records(ids: IdRows, places: np.ndarray[Any, Any]) -> bytes:
    """The records of ids, one after another: those of numbers are shorter than those of UUIDs."""
    is_uuid = ids[:, 0] == KIND_UUID
    record = np.zeros((len(ids), 21), np.uint8)
    place = places.view(np.uint8).reshape(-1, 4)
    number = ids[:, 2].astype("<u8")[:, None].view(np.uint8)
    record[:, 0] = is_uuid
    record[:, 1:9] = np.where(is_uuid[:, None], _network(ids[:, 1]), number)
    record[:, 9:17] = _network(ids[:, 2])
    record[:, 17:21] = place
    record[~is_uuid, 9:13] = place[~is_uuid]
    used = np.arange(21) < np.where(is_uuid, 21, 13)[:, None]
    return record[used].tobytes()


def _network(words: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return words.astype(">u8")[:, None].view(np.uint8)


def _write_versions(target: Target, rows: Rows) -> None:
    versions = rows.view.segment.versions
    target.add(
        layout.VERSIONS, 8 * len(rows), (versions[few].astype("<u8").data for few in rows.slices())
    )


def _write_dead(target: Target, rows: Rows) -> None:
    dead = rows.view.deleted
    words = np.zeros(bits.words_for(len(rows)), np.uint64)
    if dead is not None and rows.view.segment.entry is not None:
        words[:] = dead[: len(words)]
    add_bytes(target, layout.DELETED_IDS, words.astype("<u8").data)


def _payloads(rows: Rows) -> Iterator[list[memoryview | None]]:
    for few in rows.slices():
        yield from _encoded(rows.view.payloads_at(few))


def _encoded(payloads: Sequence[bytes | memoryview]) -> Iterator[list[memoryview | None]]:
    """JSON in blocks of LZ4, about a MiB at a time."""
    first = size = 0
    for place, payload in enumerate(payloads, 1):
        size += len(payload)
        if size >= _BYTES_AT_ONCE or place == len(payloads):
            yield _blocks(payloads[first:place])
            first, size = place, 0


def _blocks(payloads: Sequence[bytes | memoryview]) -> list[memoryview | None]:
    decode, encode = msgspec.msgpack.decode, msgspec.json.encode
    texts = [encode(decode(payload)) if len(payload) else b"" for payload in payloads]
    ends = starts_of(np.array([len(text) for text in texts]))
    blocks, borders = lz4.encode(np.frombuffer(b"".join(texts), np.uint8), ends)
    data, places = blocks.data, borders.tolist()
    return [
        data[start:end] if text else None
        for text, start, end in zip(texts, places, places[1:], strict=False)
    ]
