"""What came with a snapshot, made ready for `Store.become` in the folder of the shard it came to.

Invariants
- Nothing that the shard names is changed: files get names that no file had before, and whatever
  fails takes them away again.
- What is returned is whole: every file that came was read and checked, the log carried out.
- The order of syncs is the manifest's: the bytes were synced by whoever wrote them, the folders
  of the log are here, those of the segments when the manifest is stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import msgspec

from edge.disk import files, sealed_file
from edge.disk.manifest import FileEntry, Manifest, SegmentEntry
from edge.disk.storage import Storage
from edge.errors import CorruptData, StorageFault, WrongBase
from edge.model.config import EdgeConfig, decode_config, encode_config, with_local
from edge.segment.view import ShardView
from edge.store.store import Store, open_state


@dataclass(frozen=True, slots=True)
class Incoming:
    """The parts of a snapshot, its files below `folder` under the names that its manifest gives.

    `log` are the bare names of its log files, in `folder/wal`. `reused` says which of its files
    are not there because the shard has them: the snapshot's name of each, and the shard's own.
    """

    folder: str
    manifest: Manifest
    log: Sequence[str]
    reused: Mapping[str, FileEntry] = field(default_factory=dict)

    @property
    def numbers(self) -> int:
        """How many numbers its parts take."""
        return len(self.manifest.segments) + 2


def made_ready(
    storage: Storage, incoming: Incoming, number: int, local: EdgeConfig, loaded: ShardView
) -> Store:
    """Return the store that the shard can become; `number` is the first of its own numbers, and
    `loaded` what the shard has in memory of the files that stay.

    The files are moved to where they belong. Raises CorruptData, WrongBase, StorageFault.
    """
    theirs = incoming.manifest
    config = with_local(decode_config(theirs.config), local)
    log = files.log_folder(number)
    with _removed_on_failure(storage) as added:
        segments = tuple(
            _placed(storage, incoming, entry, number + 1 + place, added)
            for place, entry in enumerate(theirs.segments)
        )
        if len({entry.id for entry in segments}) < len(segments):
            raise WrongBase("two segments of the snapshot are one of the shard's")
        added.append(log)
        _move_log(storage, incoming, log)
        state = msgspec.structs.replace(
            theirs,
            segments=segments,
            next_segment=number + incoming.numbers,
            config=encode_config(config),
            log=log,
        )
        return open_state(storage, state, config, loaded)


def _placed(
    storage: Storage, incoming: Incoming, entry: SegmentEntry, number: int, added: list[str]
) -> SegmentEntry:
    """Move a segment's files to their place: the folder of the shard's own segment where it has
    some of them, else a new one; return the entry that names them there."""
    reused = {role: incoming.reused.get(file.name) for role, file in entry.files.items()}
    homes = {files.parent(file.name) for file in reused.values() if file is not None}
    if len(homes) > 1:
        raise WrongBase(f"segment {entry.id} is in pieces here: {sorted(homes)}")
    home = homes.pop() if homes else files.segment_folder(number)
    if not storage.exists(home):
        added.append(home)
        storage.mkdir(home)
    placed = {
        role: reused[role] or _moved(storage, incoming, file, f"{home}/{role}.{number}", added)
        for role, file in entry.files.items()
    }
    return msgspec.structs.replace(entry, id=_number_of(home), files=placed)


def _number_of(folder: str) -> int:
    return int(folder.rpartition("/")[2])


def _moved(
    storage: Storage, incoming: Incoming, file: FileEntry, name: str, added: list[str]
) -> FileEntry:
    at = f"{incoming.folder}/{file.name}"
    if not storage.exists(at):
        raise CorruptData("the snapshot lacks a file that its manifest names", at)
    foot = sealed_file.read_foot(storage, file, at)
    added.append(name)
    storage.rename(at, name)
    return sealed_file.named(file, foot, name)


def _move_log(storage: Storage, incoming: Incoming, folder: str) -> None:
    storage.mkdir(folder)
    for name in incoming.log:
        storage.rename(f"{incoming.folder}/{files.WAL}/{name}", f"{folder}/{name}")
    storage.create(f"{folder}/{files.SYNCED}").close()
    storage.sync_folder(folder)
    storage.sync_folder("")


@contextmanager
def _removed_on_failure(storage: Storage) -> Iterator[list[str]]:
    added: list[str] = []
    try:
        yield added
    except BaseException:
        for name in added:
            with suppress(StorageFault):
                storage.remove_tree(name)
        raise
