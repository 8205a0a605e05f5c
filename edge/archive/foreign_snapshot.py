"""Snapshots of Qdrant's: unpacked from any of the three layouts, a partial one onto its base.

Invariants
- What is unpacked is a folder with all files of its segments, in `segments/<name>/files`: of a
  partial snapshot those that were not sent are the base's own (hard links: no file is changed).
- A file is only taken from the base where the base has it, and at least as new as the sender's.
- What can be made anew from the rest (graphs, field indexes) is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from edge.disk import files
from edge.disk.storage import Storage
from edge.disk.tar_file import TarReader
from edge.disk.tar_members import Member
from edge.errors import CorruptData, StorageFault, WrongBase
from edge.qdrant import layout
from edge.qdrant.layout import SegmentManifest

_NESTED = "snapshot/"


def is_qdrant(archive: TarReader) -> bool:
    """Whether the archive holds segments as Qdrant has them: one at least."""
    return any(_in_segment(member.name) for member in archive.members if not member.is_folder)


def _in_segment(name: str) -> bool:
    folder, _, rest = name.partition("/")
    bare = rest.partition("/")[0]
    return folder == layout.SEGMENTS and bool(bare) and not files.is_segment_folder(bare)


def unpack(archive: TarReader, storage: Storage, folder: str) -> None:
    """Unpack what is read of a snapshot below `folder`, which must not exist. On any error it is
    removed. Raises as `TarReader.unpack` does."""
    folders: set[str] = set()
    try:
        storage.mkdir(folder)
        for name, source, member in _members(archive):
            at = f"{folder}/{name}"
            if files.parent(at) not in folders:
                folders.add(files.parent(at))
                storage.mkdir(files.parent(at))
            source.unpack(member, storage, at)
        _sync(storage, folder)
    except BaseException:
        with suppress(StorageFault):
            storage.remove_tree(folder)
        raise


def _members(archive: TarReader) -> Iterator[tuple[str, TarReader, Member]]:
    """Yield (name when unpacked, archive that it lies in, member) of each file that is read."""
    for member in archive.members:
        if member.is_folder:
            continue
        if _in_segment(member.name) and member.name.endswith(".tar"):
            segment = member.name.removesuffix(".tar")
            inner = archive.nested(member)
            for file in inner.members:
                name = file.name.removeprefix(_NESTED)
                if not file.is_folder and not layout.is_derived(_inside(name)):
                    yield f"{segment}/{name}", inner, file
        elif not layout.is_derived(_inside(member.name.split("/", 2)[-1])):
            yield member.name, archive, member


def _inside(name: str) -> str:
    """The name of a segment's file, without the folder of all files."""
    return name.removeprefix(f"{layout.FILES}/")


def _sync(storage: Storage, folder: str) -> None:
    for name in storage.list(folder):
        path = f"{folder}/{name}"
        if storage.is_folder(path):
            _sync(storage, path)
    storage.sync_folder(folder)


def complete(storage: Storage, folder: str, base: str, known: Mapping[str, Any]) -> frozenset[str]:
    """Add to an unpacked snapshot the files of `base` that it builds on; return the names of the
    segments whose vectors are all from there.

    `known` is the manifest of the base ({} and "" where there is none). Raises WrongBase where the
    snapshot builds on what is not there; CorruptData.
    """
    steady = set()
    segments = f"{folder}/{layout.SEGMENTS}"
    for name in storage.list(segments):
        at = f"{segments}/{name}/{layout.FILES}"
        if storage.exists(f"{at}/{layout.SEGMENT_MANIFEST}"):
            sent = _manifest(storage, f"{at}/{layout.SEGMENT_MANIFEST}")
            have = msgspec.convert(known[name], SegmentManifest) if name in known else None
            home = files.join(base, f"{layout.SEGMENTS}/{name}")
            added = _complete_segment(storage, at, home, sent, have)
            before = set() if have is None else _vectors(have.file_versions)
            if before == _vectors(sent.file_versions) <= added:
                steady.add(name)
    _sync(storage, folder)
    return frozenset(steady)


def _vectors(names: Iterable[str]) -> set[str]:
    return set(filter(layout.is_of_vectors, names))


def _manifest(storage: Storage, path: str) -> SegmentManifest:
    try:
        return msgspec.json.decode(storage.read(path), type=SegmentManifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptData(str(error), path) from None


def _complete_segment(
    storage: Storage, at: str, base: str, sent: SegmentManifest, have: SegmentManifest | None
) -> set[str]:
    """Return the names of the files that were added."""
    added = set()
    if have is not None and storage.exists(f"{base}/{layout.FILES}"):
        base = f"{base}/{layout.FILES}"
    for name, version in sent.file_versions.items():
        if not files.is_foreign_name(name):
            raise CorruptData(f"the name of a file: {name!r}", at)
        if storage.exists(f"{at}/{name}") or layout.is_derived(name):
            continue
        if have is None or name not in have.file_versions or not storage.exists(f"{base}/{name}"):
            raise WrongBase(f"the snapshot builds on {name} of segment {sent.segment_id}")
        if _newness(have, name) < (sent.segment_version if version is None else version):
            raise WrongBase(f"the snapshot builds on a newer {name} of segment {sent.segment_id}")
        storage.mkdir(files.parent(f"{at}/{name}"))
        storage.link(f"{base}/{name}", f"{at}/{name}")
        added.add(name)
        journal = f"{files.parent(name)}/{layout.JOURNAL}"
        if name.endswith(f"/{layout.TRACKER}") and storage.exists(f"{base}/{journal}"):
            storage.link(f"{base}/{journal}", f"{at}/{journal}")
    return added


def _newness(manifest: SegmentManifest, name: str) -> int:
    version = manifest.file_versions[name]
    return manifest.segment_version if version is None else version
