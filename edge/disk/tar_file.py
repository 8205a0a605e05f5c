"""Tar archives: written as a stream, and read as what they are: bytes that a stranger sent.

Invariants:
* an archive is judged whole (`tar_members`) before a byte of it is unpacked; nothing of it is
  skipped silently, and nothing is guessed;
* a file that holds zeros for the most part takes the place of the rest, in the archive and where
  it is unpacked; caps count its full size;
* tar has no checksum over data: whoever needs one sends it beside the data.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Final

import numpy as np

from edge.disk import files, tar_header
from edge.disk.storage import Storage
from edge.disk.tar_header import BLOCK, Extent
from edge.disk.tar_members import Caps, Member, Source, judged_members
from edge.errors import CorruptData, StorageFault, StorageFull, ValidationError

if TYPE_CHECKING:
    from typing_extensions import Buffer

_AT_ONCE: Final = 1 << 20
_SYNC_EVERY: Final = 32 << 20
_GRAIN: Final = 4096

# -- writing ----------------------------------------------------------------------------------


class TarWriter:
    """A new archive `name` in `storage`, written member by member inside a `with` statement.

    Leaving the statement ends the archive and syncs it (not its folder); leaving it by an error
    removes it. Members are GNU tar, mode 0600, of no owner and no time, so that equal members
    make equal archives. Raises StorageFault, StorageFull; ValidationError for a name that no
    reader would take.
    """

    def __init__(self, storage: Storage, name: str) -> None:
        self._storage = storage
        self._name = name
        self._names: set[str] = set()
        self._unsynced = 0
        self._writer = storage.create(name)

    def __enter__(self) -> TarWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._writer.write(bytes(2 * BLOCK))
                self._writer.sync()
        except BaseException:
            self._remove()
            raise
        if error is not None:
            self._remove()
        self._writer.close()

    def _remove(self) -> None:
        self._writer.close()
        # An orphan at worst; the error that brought us here is the one to tell.
        with contextlib.suppress(StorageFault):
            self._storage.unlink(self._name)

    def add_folder(self, name: str) -> None:
        """A folder. One that holds files need not be named."""
        self._writer.write(tar_header.encode(self._claimed(name) + b"/", tar_header.FOLDER, 0))

    def add(
        self,
        name: str,
        size: int,
        pieces: Iterable[Buffer],
        extents: Sequence[Extent] | None = None,
    ) -> None:
        """A file of `size` bytes.

        `pieces` are its bytes; with `extents` only those in these runs, one after another: the
        file is then sparse. Runs ascend; they begin and, but for the last, end at multiples of
        512 (see `extents_of`). Raises ValueError if the pieces are of another length.
        """
        claimed = self._claimed(name)
        if extents is None:
            header = tar_header.encode(claimed, tar_header.FILE, size)
            stored = size
        else:
            header = tar_header.encode_sparse(claimed, size, extents)
            stored = sum([length for _, length in extents])
        self._writer.write(header)
        written = 0
        for piece in pieces:
            written += self._write(memoryview(piece).cast("B"))
        if written != stored:
            raise ValueError(f"{name} has {written} bytes, not {stored}")
        self._writer.write(bytes(tar_header.padded(stored) - stored))

    def _claimed(self, name: str) -> bytes:
        if not files.is_foreign_name(name) or name in self._names:
            raise ValidationError(f"{name!r} cannot be a member of {self._path}")
        self._names.add(name)
        return name.encode()

    @property
    def _path(self) -> str:
        return f"{self._storage.path}/{self._name}"

    def _write(self, piece: memoryview) -> int:
        for start in range(0, piece.nbytes, _AT_ONCE):
            self._unsynced += self._writer.write(piece[start : start + _AT_ONCE])
            # Never leave much to one sync: the log's own syncs would wait behind it.
            if self._unsynced >= _SYNC_EVERY:
                self._writer.sync()
                self._unsynced = 0
        return piece.nbytes


def extents_of(pieces: Iterable[Buffer]) -> list[Extent]:
    """The runs of a file, given piece by piece, that hold anything but zeros, at multiples of
    4096 bytes (the last may end where the file ends)."""
    found: list[Extent] = []
    place = 0
    for piece in pieces:
        data = np.frombuffer(memoryview(piece).cast("B"), np.uint8)
        for start in _grains(place, len(data)):
            part = data[start : start + _GRAIN - (place + start) % _GRAIN]
            if part.any():
                _mark(found, (place + start) // _GRAIN * _GRAIN, place + start + len(part))
        place += len(data)
    return [(start, min(start + length, place) - start) for start, length in found]


def _grains(place: int, length: int) -> Iterator[int]:
    """Where in a piece of `length` bytes at `place` a new grain begins, and 0."""
    return itertools.chain([0] if length else [], range(-place % _GRAIN or _GRAIN, length, _GRAIN))


def _mark(found: list[Extent], start: int, end: int) -> None:
    end = -(-end // _GRAIN) * _GRAIN
    if found and start <= sum(found[-1]):
        start = found.pop()[0]
    found.append((start, end - start))


# -- reading ----------------------------------------------------------------------------------


class _FileSource:
    def __init__(self, storage: Storage, name: str) -> None:
        self._storage = storage
        self._name = name
        self.path = f"{storage.path}/{name}"
        self.size = storage.size(name)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        if self._storage.read_into(self._name, offset, buffer) != buffer.nbytes:
            raise CorruptData("the archive is cut short", self.path, offset)


class _MemberSource:
    def __init__(self, reader: TarReader, member: Member) -> None:
        self._reader = reader
        self._member = member
        self.path = f"{reader.path}: {member.name}"
        self.size = member.size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        if self._reader.read_into(self._member, offset, buffer) != buffer.nbytes:
            raise CorruptData("the archive is cut short", self.path, offset)


class TarReader:
    """An archive that was found to be whole and within `caps`.

    Reading it again and again is free of state, so several threads may. Raises CorruptData
    (damaged, cut short, or not an archive), ValidationError (compressed, or a member that may not
    be), LimitExceeded (more than the caps allow), StorageFault.
    """

    def __init__(self, source: Source, caps: Caps) -> None:
        self._source = source
        self._caps = caps
        self.path = source.path
        self.members = tuple(judged_members(source, caps))
        """All members, in the archive's order."""

    @classmethod
    def open(cls, storage: Storage, name: str, caps: Caps) -> TarReader:
        """The archive `name` of `storage`. One that lies elsewhere: a `DiskStorage` of its
        folder with `files.is_foreign_name`."""
        return cls(_FileSource(storage, name), caps)

    def nested(self, member: Member) -> TarReader:
        """The archive that lies in a member, without unpacking it; the same caps hold."""
        return TarReader(_MemberSource(self, member), self._caps)

    def read(self, member: Member) -> bytes:
        """All bytes of a file. For small ones: the caller looks at `size` first."""
        buffer = bytearray(member.size)
        self.read_into(member, 0, memoryview(buffer))
        return bytes(buffer)

    def read_into(self, member: Member, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` with the file's bytes from `offset` (holes as zeros); the bytes filled,
        fewer than asked only where the file ends."""
        length = max(0, min(buffer.nbytes, member.size - offset))
        buffer[:length] = bytes(length)
        index = max(0, bisect.bisect_right(member.runs, (offset,)) - 1)
        for place, size, at in itertools.islice(member.runs, index, None):
            first, end = max(place, offset), min(place + size, offset + length)
            if place >= offset + length:
                break
            if first < end:
                self._source.read_into(at + first - place, buffer[first - offset : end - offset])
        return length

    def unpack(self, member: Member, target: Storage, name: str) -> None:
        """Write a file's bytes to the new file `name`, holes as holes, and sync it. Its folder
        must be there. On any error the file is removed.

        Raises StorageFull where less than the caps' reserve would stay free; StorageFault.
        """
        self._check_space(member.stored, target)
        writer = target.create(name)
        try:
            for place, size, at in member.runs:
                if place > writer.size:
                    writer.truncate(place)
                for piece in self._pieces(at, size):
                    writer.write(piece)
            if member.size > writer.size:
                writer.truncate(member.size)
            writer.sync()
        except BaseException:
            writer.close()
            with contextlib.suppress(StorageFault):
                target.unlink(name)
            raise
        writer.close()

    def unpack_all(self, target: Storage, folder: str) -> None:
        """Unpack all members below `folder`, which must not exist yet, and sync all of it but
        the entry of `folder` itself. On any error the folder is removed. Raises as `unpack`."""
        if target.exists(folder):
            raise StorageFault("there already", f"{target.path}/{folder}")
        self._check_space(sum([member.stored for member in self.members]), target)
        folders = {""}
        for member in self.members:
            _note_folders(folders, member)
        try:
            for name in sorted(folders):
                target.mkdir(files.join(folder, name) if name else folder)
            for member in self.members:
                if not member.is_folder:
                    self.unpack(member, target, files.join(folder, member.name))
            for name in folders:
                target.sync_folder(files.join(folder, name) if name else folder)
        except BaseException:
            with contextlib.suppress(StorageFault):
                target.remove_tree(folder)
            raise

    def _check_space(self, needed: int, target: Storage) -> None:
        free = target.free_bytes()
        if needed + self._caps.reserve > free:
            raise StorageFull(
                f"{self.path} needs {needed} bytes and {self._caps.reserve} to stay free, "
                f"of {free} that are",
                target.path,
            )

    def _pieces(self, at: int, length: int) -> Iterator[memoryview]:
        buffer = memoryview(bytearray(min(length, _AT_ONCE)))
        for done in range(0, length, _AT_ONCE):
            piece = buffer[: min(_AT_ONCE, length - done)]
            self._source.read_into(at + done, piece)
            yield piece


def _note_folders(folders: set[str], member: Member) -> None:
    """Add the member's folder and those above it; what is there has its own above it there."""
    name = member.name if member.is_folder else files.parent(member.name)
    while name not in folders:
        folders.add(name)
        name = files.parent(name)
