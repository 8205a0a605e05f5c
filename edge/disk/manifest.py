"""The manifest: names every live file of a shard with its length and checksum, replaced at once.

Invariants:
* the file is either the old manifest or the new one, at whatever instant the power goes;
* a manifest never names a file, or a folder entry, that is not yet on the medium;
* every byte of the file is covered by its length and checksum; reading never writes.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from functools import partial
from typing import Any, Final

import msgspec

from edge.disk import files, wal
from edge.disk.storage import Storage
from edge.errors import CorruptData, StorageFault, StorageFull

VERSION: Final = 1
_MAGIC: Final = b"EDGEMANI"
_HEAD: Final = struct.Struct("<8sIII")


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A sealed file: its name below the shard folder, bytes in it, and the checksum of its foot
    (which holds the checksums of all its blocks) together with its name."""

    name: str
    length: int
    checksum: int


class SegmentEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One built segment: `files` by role, `meta` of plain values that the segment room owns."""

    id: int
    rows: int
    files: dict[str, FileEntry]
    meta: dict[str, Any]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a shard consists of.

    `generation` grows by one with every manifest; `shard` is the shard's UUID in 32 hex digits;
    all operations up to `sequence` are in the segments; the log must reach at least `durable`
    (sync it before the manifest is stored, and keep `durable >= sequence`). `config`, `schema`,
    `marks` and `cursors` are bytes that the room of the model owns, those of `sequence`; `births`
    the operation that made each vector name that the shard was not made with. `log` is the folder
    of the log that goes on from `sequence`; up to `foreign` it was written by another shard, whose
    cursors are not this one's. `base` is the folder of the Qdrant files that the shard was made of
    ("": of none): partial snapshots build on them.
    """

    generation: int
    shard: str
    sequence: int
    durable: int
    next_segment: int
    config: bytes
    segments: tuple[SegmentEntry, ...]
    schema: bytes = b""
    marks: bytes = b""
    births: dict[str, int] = {}
    log: str = files.WAL
    cursors: bytes = b""
    foreign: int = 0
    base: str = ""

    def files(self) -> list[FileEntry]:
        """Every file of every segment."""
        return [entry for segment in self.segments for entry in segment.files.values()]


_decoder = msgspec.msgpack.Decoder(Manifest)
_encoder = msgspec.msgpack.Encoder(order="deterministic")


def encode(manifest: Manifest) -> bytes:
    """The bytes of the manifest file."""
    body = _encoder.encode(manifest)
    head = _HEAD.pack(_MAGIC, VERSION, len(body), 0)[:-4]
    return head + zlib.crc32(body, zlib.crc32(head)).to_bytes(4, "little") + body


def decode(data: bytes, path: str = files.MANIFEST) -> Manifest:
    """The manifest in `data`, checked whole. Raises CorruptData with `path`."""
    if len(data) < _HEAD.size:
        raise CorruptData("the manifest is cut short", path, len(data))
    magic, version, length, checksum = _HEAD.unpack_from(data)
    if magic != _MAGIC:
        raise CorruptData("not a manifest", path)
    if version != VERSION:
        raise CorruptData(
            f"manifest format version {version}; this program reads version {VERSION}", path, 8
        )
    if length != len(data) - _HEAD.size:
        raise CorruptData(
            f"the manifest has {len(data)} bytes, not {length + _HEAD.size}", path, 12
        )
    body = memoryview(data)[_HEAD.size :]
    if zlib.crc32(body, zlib.crc32(data[:16])) != checksum:
        raise CorruptData("the manifest's checksum is wrong", path, 16)
    return _checked(body, path)


def _checked(body: memoryview, path: str) -> Manifest:
    try:
        manifest = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptData(f"the manifest does not decode: {error}", path, _HEAD.size) from error
    for entry in manifest.files():
        if not files.is_name(entry.name) or not entry.name.startswith(f"{files.SEGMENTS}/"):
            raise CorruptData(f"the manifest names {entry.name!r}", path, _HEAD.size)
    if not files.is_log_folder(manifest.log):
        raise CorruptData(f"the manifest names the log {manifest.log!r}", path, _HEAD.size)
    if manifest.base and not files.is_base_folder(manifest.base):
        raise CorruptData(f"the manifest names the base {manifest.base!r}", path, _HEAD.size)
    return manifest


def load(storage: Storage) -> Manifest | None:
    """The manifest of the shard, or None if there is no shard (or only a half-made, empty one).

    Raises CorruptData if it is damaged, of another format version, or missing while there is
    data that only a manifest can have allowed.
    """
    path = f"{storage.path}/{files.MANIFEST}"
    if storage.exists(files.MANIFEST):
        return decode(storage.read(files.MANIFEST), path)
    if storage.list(files.SEGMENTS) or any(
        map(partial(wal.holds_records, storage), _logs(storage))
    ):
        raise CorruptData("the manifest is missing, but there is data", path)
    return None


def store(storage: Storage, manifest: Manifest, *, previous: Manifest | None = None) -> None:
    """Make `manifest` the shard's manifest, on the medium when this returns.

    First the folders of all files it names are synced (those that `previous`, the manifest now
    on disk, does not name already), then the new file, then the rename. Raises StorageFull where
    there is no space: the old manifest stands. After any other StorageFault the manifest on disk
    is the old or the new one, nobody knows which: remove no file that either names, and write
    nothing more.
    """
    for folder in _new_folders(manifest, previous):
        storage.sync_folder(folder)
    storage.remove_tree(files.MANIFEST_NEW)
    try:
        _write(storage, encode(manifest))
        storage.rename(files.MANIFEST_NEW, files.MANIFEST)
    except StorageFault:
        # Only an orphan, which the next open removes anyway; the first error is the one to tell.
        with contextlib.suppress(StorageFault):
            storage.remove_tree(files.MANIFEST_NEW)
        raise
    try:
        storage.sync_folder("")
    except StorageFull as full:
        raise StorageFault(full.message, full.path) from full


def _write(storage: Storage, data: bytes) -> None:
    writer = storage.create(files.MANIFEST_NEW)
    try:
        writer.write(data)
        writer.sync()
    finally:
        writer.close()


def _new_folders(manifest: Manifest, previous: Manifest | None) -> list[str]:
    """Folders that hold a newly named file, each before its parent; the root where the folder of
    all segments may be new in it."""
    known = {entry.name for entry in previous.files()} if previous else set()
    folders: set[str] = set()
    for entry in manifest.files():
        folder = files.parent(entry.name) if entry.name not in known else ""
        while folder:
            folders.add(folder)
            folder = files.parent(folder)
    below = sorted(folders, key=lambda folder: (-folder.count("/"), folder))
    return [*below, ""] if below and not known else below


def _logs(storage: Storage) -> list[str]:
    """The folders of logs of ours (Qdrant's is called `wal` too)."""
    found = filter(files.is_log_folder, storage.list(""))
    return [name for name in found if all(map(_is_of_log, storage.list(name)))]


def _is_of_log(name: str) -> bool:
    return name == files.SYNCED or files.log_number(name) is not None


def orphans(storage: Storage, manifest: Manifest) -> list[str]:
    """Files and whole segment folders that `manifest` does not name, sorted.

    What a crash left half made, and what was replaced. `storage.remove_tree` takes each of them.
    Only the manifest's own leftovers, logs of other days, what came with a snapshot and was not
    taken over, and what lies in the segments' folder count; anything else in the shard's folder
    is not ours to judge.
    """
    named = {entry.name for entry in manifest.files()}
    live = {files.parent(name) for name in named}
    leftovers = (files.MANIFEST_NEW, files.INCOMING)
    found = [name for name in leftovers if storage.exists(name)]
    found += [name for name in _logs(storage) if name != manifest.log]
    bases = filter(files.is_base_folder, storage.list(""))
    found += [name for name in bases if name != manifest.base]
    folders = storage.list(files.SEGMENTS)
    ours = [name for name in folders if not files.is_foreign_segment(name)]
    for folder in (f"{files.SEGMENTS}/{name}" for name in ours):
        if folder in live:
            inside = (f"{folder}/{name}" for name in storage.list(folder))
            found += [name for name in inside if name not in named]
        else:
            found.append(folder)
    return sorted(found)
