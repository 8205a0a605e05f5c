"""The files that a shard's manifest names: new ones get numbers, old ones go when none needs them.

Invariants
- `state` is the manifest on disk, but after a fault in storing one.
- What the manifest names, or anything that is held, is not removed.
- No number is given twice, so no file gets the name of another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from edge.disk import files, manifest
from edge.disk.array_file import write_array
from edge.disk.manifest import FileEntry, Manifest, SegmentEntry
from edge.disk.storage import Storage
from edge.errors import StorageFault
from edge.segment.view import SegmentView, ShardView
from edge.vectors.missing import Bits


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """The shard as it was after operation `sequence`, by its files: the segments that the manifest
    names, and of the log's files (bare name, bytes) the first so many bytes. `durable` is what the
    manifest names, as it is in memory."""

    manifest: Manifest
    durable: ShardView
    log: tuple[tuple[str, int], ...]
    sequence: int


class LiveFiles:
    """See the module's invariants."""

    def __init__(self, storage: Storage, state: Manifest) -> None:
        self.storage = storage
        self.state = state
        self._next_number = state.next_segment
        self._held: list[Held] = []
        self._tombstones: dict[int, tuple[Bits, FileEntry]] = {}
        """By segment: the newest that are in a file, and the file."""

    def numbers(self, count: int = 1, above: int = 0) -> int:
        """Return the first of `count` numbers, none below `above`, that no segment and no file of
        one had before."""
        number = max(self._next_number, above)
        self._next_number = number + count
        return number

    def publish(self, state: Manifest) -> None:
        """Store a new manifest; see `manifest.store` for what a fault means."""
        state = msgspec.structs.replace(
            state, generation=self.state.generation + 1, next_segment=self._next_number
        )
        manifest.store(self.storage, state, previous=self.state)
        self.state = state

    def take_over(self, other: LiveFiles, state: Manifest) -> None:
        """Store the manifest of another, whose files lie in this one's folder already; raises as
        `publish`."""
        self._next_number = max(self._next_number, other._next_number)
        self.publish(state)
        self._tombstones = other._tombstones

    # -- tombstones

    def entry_of(self, view: SegmentView) -> SegmentEntry:
        """Return the manifest's entry of a built segment as a view sees it; its tombstones are
        written where they are not in a file yet."""
        entry = view.segment.entry
        assert entry is not None
        if view.deleted is None:
            return entry
        known = self._tombstones.get(entry.id)
        if known is not None and known[0] is view.deleted:
            file = known[1]
        else:
            name = files.segment_file(entry.id, f"deleted.{self.numbers()}")
            deleted = view.deleted
            file = write_array(self.storage, name, deleted, deleted.dtype, deleted.shape)
        return msgspec.structs.replace(entry, files={**entry.files, "deleted": file})

    def note(self, views: Sequence[SegmentView]) -> None:
        """Remember the tombstones of these views, which the manifest names, in its order."""
        self._tombstones = {
            entry.id: (view.deleted, entry.files["deleted"])
            for view, entry in zip(views, self.state.segments, strict=True)
            if view.deleted is not None
        }

    # -- what stays

    def hold(self, held: Held) -> None:
        """Keep what is held from being removed."""
        self._held.append(held)

    def let_go(self, held: Held) -> None:
        """Hold this no longer; remove what only it named."""
        self._held.remove(held)
        self.remove(held.manifest)

    @property
    def oldest_held(self) -> int | None:
        """The oldest operation that something held has in its segments, of the present log."""
        every = [h.manifest.sequence for h in self._held if h.manifest.log == self.state.log]
        return min(every, default=None)

    def remove(self, state: Manifest) -> None:
        """Remove what a manifest names, but for what others name."""
        self.remove_segments(state.segments)
        kept = {folder for one in self._named_by() for folder in (one.log, one.base)}
        for folder in filter(None, {state.log, state.base} - kept):
            self._remove(folder)

    def remove_segments(self, entries: Iterable[SegmentEntry]) -> None:
        """Remove what is named no more of the files of these segments."""
        states = self._named_by()
        kept = {entry.id for state in states for entry in state.segments}
        named = {file.name for state in states for file in state.files()}
        for entry in entries:
            own = {file.name for file in entry.files.values()}
            gone = sorted(own - named) if entry.id in kept else [files.segment_folder(entry.id)]
            for name in gone:
                self._remove(name)

    def _named_by(self) -> list[Manifest]:
        return [self.state, *(held.manifest for held in self._held)]

    def _remove(self, name: str) -> None:
        with suppress(StorageFault):  # it is left for the next load
            self.storage.remove_tree(name)

    def clear_away(self) -> None:
        """Remove what a crash left half made. A disk that refuses it must not stop a load."""
        with suppress(StorageFault):
            for name in manifest.orphans(self.storage, self.state):
                self.storage.remove_tree(name)
