"""Writes snapshots of our own: a tar of a shard's files, and their hashes in `snapshot.json`.

A full one unpacks to a shard's folder; a partial one leaves out what its receiver has.

Invariants
- What is written is what is held: writes to the shard go on meanwhile.
- An archive is there whole, under its name, or not at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from edge.archive.description import (
    DESCRIPTION,
    FORMAT,
    HASH_BYTES,
    SIGNATURE,
    VERSION,
    Description,
    FileFacts,
    Reused,
    ShardManifest,
    parsed_manifest,
    signature,
)
from edge.disk import files, manifest, sealed_file
from edge.disk.manifest import Manifest, SegmentEntry
from edge.disk.storage import Storage
from edge.disk.tar_file import TarWriter
from edge.errors import AlreadyExists
from edge.store.live_files import Held

Pulse = Callable[[], None]
_AT_ONCE: Final = 1 << 20
_INDEXES: Final = ("graph", "quantized", "field", "deleted")
"""Roles that come and go while a segment stays what it is."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot that was written: where, how many bytes, and the last operation that is in it."""

    path: str
    size: int
    sequence: int
    is_partial: bool


def go_on() -> None:
    """The pulse of what nobody stops."""


def manifest_of(storage: Storage, held: Held, pulse: Pulse = go_on) -> dict[str, Any]:
    """Return the ShardManifest of what is held, as JSON has it."""
    segments = {
        files.segment_folder(entry.id): _identities(storage, entry, pulse)
        for entry in held.manifest.segments
    }
    found = ShardManifest(FORMAT, VERSION, held.manifest.shard, held.sequence, segments)
    built: dict[str, Any] = msgspec.to_builtins(found)
    return built


def _identities(storage: Storage, entry: SegmentEntry, pulse: Pulse) -> dict[str, str]:
    pulse()
    return {file.name: sealed_file.identity(storage, file) for file in entry.files.values()}


def create(
    storage: Storage,
    held: Held,
    target: Storage,
    name: str,
    base: Mapping[str, Any] | None,
    key: bytes | None = None,
    pulse: Pulse = go_on,
) -> Snapshot:
    """Write what is held as the new archive `name` of `target`; with `base`, the manifest of the
    shard that it is for, only what that one lacks; with `key` signed. `pulse` may raise to leave
    it.

    Raises AlreadyExists, ValidationError, StorageFault, StorageFull.
    """
    if key is not None:
        signature(b"", key)  # a key that is none is refused before anything is written
    reused = {} if base is None else _reused(storage, held.manifest, parsed_manifest(base), pulse)
    if target.exists(name):
        raise AlreadyExists(f"there is a file {target.path}/{name} already")
    unfinished = f"{name}.partial"
    target.remove_tree(unfinished)
    facts: dict[str, FileFacts] = {}
    with TarWriter(target, unfinished) as archive:
        for path, size, pieces in _contents(storage, held, reused, pulse):
            hashed = hashlib.blake2b(digest_size=HASH_BYTES)
            archive.add(path, size, _hashed(pieces, hashed))
            facts[path] = FileFacts(size, hashed.hexdigest())
        state = held.manifest
        told = Description(FORMAT, VERSION, state.shard, held.sequence, facts, reused)
        data = msgspec.json.encode(told)
        archive.add(DESCRIPTION, len(data), [data])
        if key is not None:
            signed = signature(data, key)
            archive.add(SIGNATURE, len(signed), [signed])
    target.rename(unfinished, name)
    target.sync_folder("")
    return Snapshot(f"{target.path}/{name}", target.size(name), held.sequence, base is not None)


def _hashed(pieces: Iterator[bytes], hashed: Any) -> Iterator[bytes]:
    for piece in pieces:
        hashed.update(piece)
        yield piece


def _contents(
    storage: Storage, held: Held, reused: Mapping[str, Reused], pulse: Pulse
) -> Iterator[tuple[str, int, Iterator[bytes]]]:
    """Yield name, bytes and contents of each file of the archive."""
    state = msgspec.structs.replace(
        held.manifest,
        log=files.WAL,
        base="",
        durable=held.sequence,
        cursors=b"",
        foreign=held.sequence,
    )
    data = manifest.encode(state)
    yield files.MANIFEST, len(data), iter([data])
    for name, size in held.log:
        at = files.join(held.manifest.log, name)
        yield files.join(files.WAL, name), size, pieces_of(storage, at, size, pulse)
    for file in state.files():
        if file.name not in reused:
            yield file.name, file.length, pieces_of(storage, file.name, file.length, pulse)


def pieces_of(storage: Storage, name: str, size: int, pulse: Pulse = go_on) -> Iterator[bytes]:
    """Yield the first `size` bytes of a file, 1 MiB at most at a time."""
    for start in range(0, size, _AT_ONCE):
        pulse()
        yield storage.pread(name, start, min(_AT_ONCE, size - start))


def _reused(
    storage: Storage, state: Manifest, base: ShardManifest, pulse: Pulse
) -> dict[str, Reused]:
    """Return which files the receiver has: of each segment those of the one of its own that holds
    the same rows; that one's graph or tombstones may be others."""
    found: dict[str, Reused] = {}
    left = list(base.segments.values())
    for entry in state.segments:
        own = _identities(storage, entry, pulse)
        rows = {own[file.name] for role, file in entry.files.items() if not _is_index(role)}
        theirs = next((known for known in left if rows <= set(known.values())), None)
        if theirs is not None:
            left.remove(theirs)
            names = {identity: name for name, identity in theirs.items()}
            found |= {name: Reused(names[i], i) for name, i in own.items() if i in names}
    return found


def _is_index(role: str) -> bool:
    return role.startswith(_INDEXES)
