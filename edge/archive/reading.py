"""Reads snapshots of our own: the bytes of a stranger until every length and hash was checked.

Invariant: an archive holds the files that its manifest names and does not reuse, those of its log,
and no others; each has the length and the hash that `snapshot.json` says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from edge.archive.description import (
    DESCRIPTION,
    HASH_BYTES,
    SIGNATURE,
    Description,
    Reused,
    parsed_description,
    require_signed,
)
from edge.archive.incoming import Incoming
from edge.archive.writing import pieces_of
from edge.disk import files, manifest, sealed_file
from edge.disk.manifest import FileEntry, Manifest
from edge.disk.storage import Storage
from edge.disk.tar_file import TarReader
from edge.disk.tar_members import Member
from edge.errors import CorruptData, StorageFault, WrongBase

_LARGEST_DESCRIPTION: Final = 64 << 20


def is_own(archive: TarReader) -> bool:
    """Whether the archive is one of ours."""
    return any(member.name == DESCRIPTION for member in archive.members)


@dataclass(frozen=True, slots=True)
class Contents:
    """What an archive says it holds, its file list checked, its files' bytes not yet."""

    description: Description
    manifest: Manifest

    @property
    def log(self) -> list[str]:
        """The bare names of the log files."""
        folder = f"{files.WAL}/"
        return [name.removeprefix(folder) for name in self.description.files if _is_log(name)]


def _is_log(name: str) -> bool:
    folder, _, bare = name.rpartition("/")
    return folder == files.WAL and files.log_number(bare) is not None


def read(archive: TarReader, key: bytes | None) -> Contents:
    """Return what the archive holds. Raises CorruptData where it is not what it says;
    ValidationError where a later version of the format wrote it, or it has to be signed with
    `key` and is not."""
    members = {member.name: member for member in archive.members if not member.is_folder}
    data = _small(archive, members[DESCRIPTION])
    signed = members.pop(SIGNATURE, None)
    if key is not None:
        found = None if signed is None else _small(archive, signed)
        require_signed(data, found, key, archive.path)
    told = parsed_description(data, archive.path)
    _require_declared(archive, members, told)
    state = manifest.decode(archive.read(members[files.MANIFEST]), f"{archive.path}: manifest")
    named = {file.name for file in state.files()}
    if not set(told.reused) <= named:
        raise CorruptData("a file is reused that the manifest does not name", archive.path)
    others = {name for name in told.files if not _is_log(name)} - {files.MANIFEST}
    if others != named - set(told.reused) or state.shard != told.shard or state.log != files.WAL:
        raise CorruptData("the files are not those that the manifest names", archive.path)
    return Contents(told, state)


def _small(archive: TarReader, member: Member) -> bytes:
    if member.size > _LARGEST_DESCRIPTION:
        raise CorruptData(f"{member.name} has {member.size} bytes", archive.path)
    return archive.read(member)


def _require_declared(archive: TarReader, members: Mapping[str, Member], told: Description) -> None:
    found = {name: member.size for name, member in members.items() if name != DESCRIPTION}
    wanted = {name: facts.length for name, facts in told.files.items()}
    if found != wanted or files.MANIFEST not in wanted:
        odd = sorted(name for name in found.keys() | wanted if found.get(name) != wanted.get(name))
        raise CorruptData(f"not the files that {DESCRIPTION} says: {odd[:3]}", archive.path)


def unpack(archive: TarReader, contents: Contents, storage: Storage, folder: str) -> None:
    """Unpack the archive below `folder`, which must not exist, and check every hash; what
    tells of it is left out. On any error the folder is removed. Raises CorruptData, StorageFault,
    StorageFull."""
    archive.unpack_all(storage, folder)
    try:
        for name in (DESCRIPTION, SIGNATURE):
            storage.remove_tree(f"{folder}/{name}")
        for name, facts in contents.description.files.items():
            hashed = hashlib.blake2b(digest_size=HASH_BYTES)
            for piece in pieces_of(storage, f"{folder}/{name}", facts.length):
                hashed.update(piece)
            if hashed.hexdigest() != facts.blake2b:
                raise CorruptData("the hash is not the one that was written", name)
    except BaseException:
        with suppress(StorageFault):
            storage.remove_tree(folder)
        raise


def incoming(storage: Storage, contents: Contents, folder: str, own: Manifest) -> Incoming:
    """Return an unpacked archive as what the shard with the manifest `own` may become.

    Raises WrongBase where it reuses what the shard has not.
    """
    known = {file.name: file for file in own.files()}
    reused = {
        name: _known_file(storage, file, known)
        for name, file in contents.description.reused.items()
    }
    return Incoming(folder, contents.manifest, contents.log, reused)


def _known_file(storage: Storage, file: Reused, known: Mapping[str, FileEntry]) -> FileEntry:
    entry = known.get(file.name)
    if entry is None or sealed_file.identity(storage, entry) != file.identity:
        raise WrongBase(f"the snapshot builds on a file {file.name} that this shard has not")
    return entry


def require_full(contents: Contents, path: str) -> None:
    """Refuse a partial snapshot where there is nothing that it could build on."""
    if contents.description.reused:
        raise WrongBase(f"{path} is a partial snapshot: a shard can only be updated from it")
