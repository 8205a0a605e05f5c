"""Snapshots taken in: unpacked to a new folder, or made ready for the shard that becomes them.

Invariants
- An archive is read as what a stranger sent: judged whole before anything is written.
- A folder that is unpacked to appears whole, by one rename, or not at all.
- What a shard is to become lies in its own folder, under names that it does not use; whatever
  fails leaves the shard as it was.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from edge.archive import reading
from edge.archive.description import DESCRIPTION
from edge.archive.incoming import Incoming
from edge.disk import files
from edge.disk.manifest import Manifest
from edge.disk.storage import DiskStorage, Storage
from edge.disk.tar_file import TarReader
from edge.disk.tar_members import Caps
from edge.errors import AlreadyExists, NotFound, StorageFault, ValidationError

CAPS: Final = Caps(members=1_000_000, file_bytes=1 << 40, total_bytes=1 << 42, reserve=16 << 20)
"""Of any archive: sparse files count with all their bytes, but need only the place of what is in
them, and that is held against the space that is free."""


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


def unpack_snapshot(path: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Unpack a full snapshot to the folder `target`, which is made: it must not be there, or be
    empty. `load` opens it.

    Raises NotFound, AlreadyExists, CorruptData, ValidationError, WrongBase (a partial one),
    LimitExceeded, StorageFault, StorageFull.
    """
    archive = open_archive(path)
    folder, name = folder_of(target)
    if folder.exists(name) and folder.list(name):
        raise AlreadyExists(f"{folder.path}/{name} is not empty")
    contents = _read(archive)
    reading.require_full(contents, archive.path)
    folder.mkdir("")
    with _staged(folder, f".{name}.incoming") as staging:
        reading.unpack(archive, contents, folder, staging)
        folder.rename(staging, name)
    folder.sync_folder("")


def _read(archive: TarReader) -> reading.Contents:
    if not reading.is_own(archive):
        raise ValidationError(f"{archive.path} is not a snapshot: it has no {DESCRIPTION}")
    return reading.read(archive)


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
def brought_in(storage: Storage, path: str | os.PathLike[str], own: Manifest) -> Iterator[Incoming]:
    """Unpack a snapshot into the folder of the shard that `own` is the manifest of.

    Raises as `unpack_snapshot` does; WrongBase where a partial one builds on what is not there.
    """
    archive = open_archive(path)
    contents = _read(archive)
    with _staged(storage, files.INCOMING) as staging:
        reading.unpack(archive, contents, storage, staging)
        yield reading.incoming(storage, contents, staging, own)
