"""Snapshots taken in, ours and Qdrant's: unpacked to a new folder, or ready for a shard to become.

Invariants
- An archive is read as what a stranger sent: judged whole before anything is written.
- A folder that is unpacked to appears whole, by one rename, or not at all.
- What a shard is to become lies in its own folder, under names that it does not use; whatever
  fails leaves the shard as it was.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge.archive import foreign, foreign_snapshot, reading
from edge.archive.incoming import made_ready
from edge.archive.still_there import Known
from edge.archive.writing import Pulse, go_on
from edge.disk import files, manifest
from edge.disk.foreign import ForeignStorage
from edge.disk.manifest import Manifest
from edge.disk.storage import DiskStorage, Storage
from edge.disk.tar_file import TarReader
from edge.disk.tar_members import Caps
from edge.errors import AlreadyExists, NotFound, StorageFault, ValidationError
from edge.model.config import EdgeConfig
from edge.qdrant import layout
from edge.qdrant.shard import QdrantShard, open_shard
from edge.store.live_files import Held
from edge.store.store import Store

CAPS: Final = Caps(members=1_000_000, file_bytes=1 << 40, total_bytes=1 << 42, reserve=16 << 20)
"""Of any archive: sparse files count with all their bytes, but need only the place of what is in
them, and that is held against the space that is free."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A snapshot that was unpacked: `ready(number, local, pulse)` makes the store that the shard
    can become, by `numbers` numbers from `number` on, none below `above`; `pulse` may raise to
    leave it."""

    numbers: int
    above: int
    ready: Callable[[int, EdgeConfig, Pulse], Store]


def folder_of(path: str | os.PathLike[str]) -> tuple[DiskStorage, str]:
    """The folder that holds `path`, and the path's own name in it."""
    whole = Path(os.path.abspath(path))
    return DiskStorage(whole.parent, files.is_foreign_name), whole.name


def open_archive(path: str | os.PathLike[str]) -> TarReader:
    """The archive at `path`. NotFound where there is none; see `TarReader`."""
    folder, name = folder_of(path)
    if not folder.exists(name):
        raise NotFound(f"there is no snapshot {folder.path}/{name}")
    return TarReader.open(folder, name, CAPS)


def unpack_snapshot(
    path: str | os.PathLike[str], target: str | os.PathLike[str], key: bytes | None = None
) -> None:
    """Unpack a full snapshot, ours or Qdrant's, to the folder `target`, which is made: it must not
    be there, or be empty. `opened` opens it.

    Raises NotFound, AlreadyExists, CorruptData, ValidationError, WrongBase (a partial one),
    LimitExceeded, StorageFault, StorageFull.
    """
    archive = open_archive(path)
    folder, name = folder_of(target)
    if folder.exists(name) and folder.list(name):
        raise AlreadyExists(f"{folder.path}/{name} is not empty")
    folder.mkdir("")
    with _staged(folder, f".{name}.incoming") as staging:
        _unpack_full(archive, folder, staging, key)
        folder.rename(staging, name)
    folder.sync_folder("")


def _unpack_full(archive: TarReader, storage: Storage, folder: str, key: bytes | None) -> None:
    if _is_own(archive, key):
        contents = reading.read(archive, key)
        reading.require_full(contents, archive.path)
        reading.unpack(archive, contents, storage, folder)
    else:
        foreign_snapshot.unpack(archive, storage, folder)
        foreign_snapshot.complete(storage, folder, "", {})


def _is_own(archive: TarReader, key: bytes | None) -> bool:
    if reading.is_own(archive):
        return True
    if not foreign_snapshot.is_qdrant(archive):
        raise ValidationError(f"{archive.path} is not a snapshot of a shard with segments")
    if key is not None:
        raise ValidationError(f"{archive.path} is Qdrant's, which are not signed")
    return False


@contextmanager
def _staged(storage: Storage, folder: str) -> Iterator[str]:
    """A name to unpack to: what a crash left there is removed first, and what is left last."""
    storage.remove_tree(folder)
    try:
        yield folder
    finally:
        with suppress(StorageFault):
            storage.remove_tree(folder)


@contextmanager
def brought_in(
    storage: Storage, path: str | os.PathLike[str], own: Held, key: bytes | None = None
) -> Iterator[Arrival]:
    """Unpack a snapshot into the folder of the shard that `own` is held of.

    Raises as `unpack_snapshot` does; WrongBase where a partial one builds on what is not there.
    """
    archive = open_archive(path)
    is_own = _is_own(archive, key)
    with _staged(storage, files.INCOMING):
        yield _arrived(archive, storage, own, key) if is_own else _foreign(archive, storage, own)


def _arrived(archive: TarReader, storage: Storage, own: Held, key: bytes | None) -> Arrival:
    contents = reading.read(archive, key)
    reading.unpack(archive, contents, storage, files.INCOMING)
    incoming = reading.incoming(storage, contents, files.INCOMING, own.manifest)
    return Arrival(
        incoming.numbers,
        incoming.manifest.next_segment,
        lambda number, local, _: made_ready(storage, incoming, number, local, own.durable),
    )


# -- Qdrant's


def _foreign(archive: TarReader, storage: Storage, own: Held) -> Arrival:
    wide = storage.foreign("")
    foreign_snapshot.unpack(archive, wide, files.INCOMING)
    have = manifest_of_base(storage, own.manifest)
    steady = foreign_snapshot.complete(wide, files.INCOMING, own.manifest.base, have)
    known = Known(own.manifest, own.durable, steady) if steady else None

    def ready(number: int, local: EdgeConfig, pulse: Pulse) -> Store:
        base = files.base_folder(number)
        storage.rename(files.INCOMING, base)
        try:
            with _foreign_shard(storage, base) as shard:
                return foreign.imported(storage, shard, number + 1, base, local, known, pulse)
        except BaseException:
            with suppress(StorageFault):
                storage.remove_tree(base)
            raise

    return Arrival(foreign.NUMBERS + 1, 0, ready)


def manifest_of_base(storage: Storage, own: Manifest) -> dict[str, Any]:
    """The manifest of the Qdrant files that a shard was made of, for a partial snapshot from
    there; {} where it was made of none, or they were removed."""
    if not own.base or not storage.exists(own.base):
        return {}
    with _foreign_shard(storage, own.base) as shard:
        return shard.manifest()


@contextmanager
def _foreign_shard(storage: Storage, folder: str) -> Iterator[QdrantShard]:
    shard = open_shard(ForeignStorage(files.join(storage.path, folder), layout.WAL))
    try:
        yield shard
    finally:
        shard.close()


# -- opening


def opened(path: str | os.PathLike[str], config: EdgeConfig | None, existing: bool | None) -> Store:
    """The shard in a folder, opened (existing True), made new (False), or either (None). One that
    is a Qdrant shard's becomes ours where it lies; its own files move to a folder inside.

    Raises as `Store.over`, and as `open_shard` of `edge.qdrant`.
    """
    storage = DiskStorage(path)
    if not storage.exists(files.MANIFEST) and _is_qdrant_folder(storage):
        if existing is False:
            raise AlreadyExists(f"there is a shard of Qdrant's in {storage.path} already")
        _convert(storage)
    elif _foreign_segments(storage):
        _finish_move(storage)
    return Store.over(storage, config, existing=existing)


def _is_qdrant_folder(storage: Storage) -> bool:
    return storage.exists(layout.EDGE_CONFIG) or bool(_foreign_segments(storage))


def _foreign_segments(storage: Storage) -> list[str]:
    found = storage.list(layout.SEGMENTS)
    return [name for name in found if not files.is_segment_folder(name)]


def _convert(storage: DiskStorage) -> None:
    """Make a Qdrant shard's folder one of ours. The manifest is the switch: before it the folder
    is Qdrant's, and whatever we left there is passed over and written anew."""
    storage.lock()
    try:
        base = files.base_folder(1)
        for name in filter(files.is_segment_folder, storage.list(files.SEGMENTS)):
            storage.remove_tree(f"{files.SEGMENTS}/{name}")
        storage.remove_tree(files.log_folder(2))
        with _foreign_shard(storage, "") as shard:
            foreign.imported(storage, shard, 2, base, None, None, go_on).found()
        _move_theirs(storage, base)
    finally:
        storage.unlock()


def _finish_move(storage: DiskStorage) -> None:
    """Move what a crash right after the switch left in its old place."""
    state = manifest.load(storage)
    if state is not None and state.base:
        storage.lock()
        try:
            _move_theirs(storage, state.base)
        finally:
            storage.unlock()


def _move_theirs(storage: Storage, base: str) -> None:
    wide = storage.foreign("")
    wide.mkdir(f"{base}/{layout.SEGMENTS}")
    for name in _foreign_segments(storage):
        wide.rename(f"{layout.SEGMENTS}/{name}", f"{base}/{layout.SEGMENTS}/{name}")
    for name in (layout.WAL, layout.EDGE_CONFIG):
        if wide.exists(name):
            wide.rename(name, f"{base}/{name}")
    wide.sync_folder(base)
    wide.sync_folder("")
