"""Where exported files go: a folder that Qdrant Edge opens, or a snapshot in one tar archive.

Invariant: what an export left unfinished is removed; what it finished is on the medium.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from edge.disk import files
from edge.disk.storage import DiskStorage, Storage, Writer
from edge.disk.tar_file import TarWriter
from edge.disk.tar_header import Extent
from edge.errors import AlreadyExists, StorageFault
from edge.qdrant import layout

if TYPE_CHECKING:
    from typing_extensions import Buffer

ARCHIVES: Final = (".tar", ".snapshot")
"""How the name of a snapshot ends; any other is the name of a folder."""


class Target(Protocol):
    """Takes the files of a shard, each once and whole."""

    def add_folder(self, name: str) -> None:
        """A folder that has to be there, whether there is a file in it or not."""

    def add(
        self,
        name: str,
        size: int,
        pieces: Iterable[Buffer],
        extents: Sequence[Extent] | None = None,
    ) -> None:
        """A file of `size` bytes, as `TarWriter.add`."""

    def segment_file(self, segment: str, name: str) -> str:
        """Where a file of a segment lies that the segment's manifest names."""


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Target]:
    """The target at `path`, which must not exist yet: an archive if the name ends like one
    (ARCHIVES), else a folder; missing folders above are made.

    Left by an error, nothing of it stays. Raises AlreadyExists, StorageFault, StorageFull.
    """
    above, name = os.path.split(os.path.abspath(os.fspath(path)))
    storage = DiskStorage(above, files.is_foreign_name)
    storage.mkdir("")
    if storage.exists(name):
        raise AlreadyExists(f"{storage.path}/{name} is there already")
    if name.endswith(ARCHIVES):
        with TarWriter(storage, name) as tar:
            yield _Archive(tar)
    else:
        with _removed_on_failure(storage, name):
            folder = _Folder(storage, name)
            yield folder
            folder.sync()
    storage.sync_folder("")


@contextlib.contextmanager
def _removed_on_failure(storage: Storage, name: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        # An orphan at worst; the error that brought us here is the one to tell.
        with contextlib.suppress(StorageFault):
            storage.remove_tree(name)
        raise


class _Archive:
    """A snapshot of the layout that servers stream."""

    def __init__(self, tar: TarWriter) -> None:
        self.add_folder = tar.add_folder
        self.add = tar.add

    def segment_file(self, segment: str, name: str) -> str:
        return f"{layout.SEGMENTS}/{segment}/{layout.FILES}/{name}"


class _Folder:
    """The folder of a shard that is not open."""

    def __init__(self, storage: Storage, root: str) -> None:
        self._storage = storage
        self._root = root
        self._made: set[str] = set()
        self._make(root)

    def segment_file(self, segment: str, name: str) -> str:
        return f"{layout.SEGMENTS}/{segment}/{name}"

    def add_folder(self, name: str) -> None:
        self._make(f"{self._root}/{name}")

    def add(
        self,
        name: str,
        size: int,
        pieces: Iterable[Buffer],
        extents: Sequence[Extent] | None = None,
    ) -> None:
        path = f"{self._root}/{name}"
        self._make(files.parent(path))
        writer = self._storage.create(path)
        try:
            _fill(writer, size, pieces, [(0, size)] if extents is None else extents)
            writer.sync()
        finally:
            writer.close()

    def _make(self, folder: str) -> None:
        if folder not in self._made:
            self._storage.mkdir(folder)
            while folder and folder not in self._made:
                self._made.add(folder)
                folder = files.parent(folder)

    def sync(self) -> None:
        """Wait until all names are on the medium."""
        for folder in self._made:
            self._storage.sync_folder(folder)


def _fill(writer: Writer, size: int, pieces: Iterable[Buffer], extents: Sequence[Extent]) -> None:
    """Write the pieces into the extents, with holes between them."""
    rest = iter(pieces)
    for place, length in extents:
        if place > writer.size:
            writer.truncate(place)
        while writer.size < place + length:
            writer.write(next(rest))
    if size > writer.size:
        writer.truncate(size)
