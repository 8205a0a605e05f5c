"""Two storages for tests: one that knows what a power cut would leave, one that fails on demand.

SimulatedStorage keeps, beside the live files, what is on the medium: a file's bytes since its
last sync, a folder's names since its last sync. Between the two lies everything that a power cut
may leave: each unsynced write dropped, kept or torn at 512 bytes, each unsynced name there or
not, in any combination. FaultyStorage wraps any storage and fails chosen calls.

Invariants: a 512-byte sector is written whole or not at all; a rename is seen whole or not at all;
after a failed sync the unsynced bytes are held for clean, so that a later sync does not save them.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from itertools import product
from random import Random

from edge.errors import ShardLocked, StorageFault, StorageFull

SECTOR = 512
Image = dict[str, bytes | None]
"""A shard folder as a power cut left it: content by name, None for a folder."""


def _missing(name: str) -> StorageFault:
    fault = StorageFault("No such file or directory", name)
    fault.errno = errno.ENOENT
    return fault


class File:
    """Bytes, and the versions that they went through since they were last on the medium."""

    def __init__(self, content: bytes = b"") -> None:
        self.live = bytearray(content)
        self.versions = [content]
        self._dirty: set[int] = set()
        self._doomed: set[int] = set()

    def write(self, offset: int, data: bytes) -> None:
        if offset > len(self.live):
            self.live.extend(bytes(offset - len(self.live)))
        self.live[offset : offset + len(data)] = data
        self._touch(range(offset // SECTOR, -(-(offset + len(data)) // SECTOR)))

    def truncate(self, length: int) -> None:
        del self.live[length:]
        self.live.extend(bytes(length - len(self.live)))
        self._touch(range(length // SECTOR, length // SECTOR + 1))

    def _touch(self, sectors: range) -> None:
        self._dirty.update(sectors)
        self._doomed.difference_update(sectors)
        self.versions.append(bytes(self.live))

    def sync(self) -> None:
        safe = bytearray(self.live)
        old = self.versions[0]
        for sector in self._doomed:
            part = slice(sector * SECTOR, min((sector + 1) * SECTOR, len(safe)))
            safe[part] = old[part].ljust(max(0, part.stop - part.start), b"\0")
        live = bytes(self.live)
        self.versions = [live] if bytes(safe) == live else [bytes(safe), live]
        self._dirty.clear()

    def fail_sync(self) -> None:
        """The system tried, failed, and now takes the unsynced bytes for written."""
        self._doomed |= self._dirty
        self._dirty.clear()

    def outcomes(self, random: Random, torn: int) -> list[bytes]:
        """What the medium may hold after a power cut: the first is the least, the last the most."""
        if len(self.versions) == 1:
            return self.versions
        some = [self._torn(random) for _ in range(torn)]
        return list(
            dict.fromkeys([*self.versions[:-1], *self._cut_short(), *some, self.versions[-1]])
        )

    def _cut_short(self) -> Iterator[bytes]:
        """Half of what was added is there; or its length is there, but none of its bytes."""
        old, new = self.versions[0], self.versions[-1]
        if len(new) > len(old):
            middle = (len(old) + len(new)) // 2 // SECTOR * SECTOR
            yield old.ljust(len(new), b"\0")
            yield new[: max(middle, len(old))]

    def _torn(self, random: Random) -> bytes:
        """Every sector, and the length, from a version of its own."""
        length = len(random.choice(self.versions))
        sectors = []
        for start in range(0, length, SECTOR):
            part = random.choice(self.versions)[start : min(start + SECTOR, length)]
            sectors.append(part.ljust(min(SECTOR, length - start), b"\0"))
        return b"".join(sectors)


Change = dict[str, "File | Folder | None"]


class Folder:
    """Names, and the changes to them since they were last on the medium."""

    def __init__(self) -> None:
        self.live: dict[str, File | Folder] = {}
        self.durable: dict[str, File | Folder] = {}
        self.pending: list[Change] = []

    def change(self, change: Change) -> None:
        _apply(self.live, change)
        self.pending.append(change)

    def sync(self) -> None:
        self.durable = dict(self.live)
        self.pending = []

    def outcomes(self, random: Random, some: int) -> list[dict[str, File | Folder]]:
        count = len(self.pending)
        if 2**count <= some:
            chosen = list(product((False, True), repeat=count))
        else:
            prefixes = [(True,) * n + (False,) * (count - n) for n in range(count + 1)]
            any_of = [tuple(random.random() < 0.5 for _ in range(count)) for _ in range(some)]
            chosen = [*prefixes[:1], *any_of, *prefixes[1:]]
        found = []
        for choice in chosen:
            names = dict(self.durable)
            for change, kept in zip(self.pending, choice, strict=True):
                if kept:
                    _apply(names, change)
            found.append(names)
        return found


def _apply(names: dict[str, File | Folder], change: Change) -> None:
    for name, node in change.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


class SimulatedWriter:
    """A simulated file open for writing at its end."""

    def __init__(self, storage: SimulatedStorage, name: str, file: File) -> None:
        self._storage = storage
        self._name = name
        self.file = file
        self.size = len(file.live)

    def write(self, *buffers: bytes) -> int:
        data = b"".join(bytes(buffer) for buffer in buffers)
        self.file.write(len(self.file.live), data)
        self.size = len(self.file.live)
        self._storage.called(f"write {self._name} {len(data)}")
        return len(data)

    def truncate(self, length: int) -> None:
        self.file.truncate(length)
        self.size = length
        self._storage.called(f"truncate {self._name} {length}")

    def sync(self) -> None:
        self.file.sync()
        self._storage.called(f"sync {self._name}")

    def fail_sync(self) -> None:
        self.file.fail_sync()

    def close(self) -> None:
        pass


class SimulatedStorage:
    """A shard folder in memory. `after_call`, if set, is told of every call that changes it."""

    def __init__(self, image: Image | None = None) -> None:
        self.path = "/simulated"
        self.calls: list[str] = []
        self.after_call: Callable[[str], None] | None = None
        self._root = Folder()
        self._locked = False
        for name, content in sorted((image or {}).items()):
            folder, bare = self._split(name, make=True)
            folder.change({bare: Folder() if content is None else File(content)})
        for folder in self._folders(self._root):
            folder.sync()

    def called(self, call: str) -> None:
        self.calls.append(call)
        if self.after_call is not None:
            self.after_call(call)

    # -- what a crash leaves ------------------------------------------------------------------

    def image(self) -> Image:
        """All files as they are: what the death of the process leaves."""
        return dict(_contents(self._root, lambda folder: folder.live, lambda file: file.live))

    def power_cuts(self, random: Random, most: int = 40, torn: int = 4) -> Iterator[Image]:
        """Up to `most` different states that a power cut at this moment may leave.

        All combinations where they are few; otherwise nothing kept, everything kept, and random
        combinations.
        """
        folders = self._folders(self._root)
        files = list({id(file): file for folder in folders for file in _files_of(folder)}.values())
        names = [folder.outcomes(random, 8) for folder in folders]
        contents = [file.outcomes(random, torn) for file in files]
        seen = set()
        for choice in _combinations([len(c) for c in [*names, *contents]], random, most):
            by_folder = {id(f): n[i] for f, n, i in zip(folders, names, choice, strict=False)}
            rest = choice[len(folders) :]
            by_file = {id(f): c[i] for f, c, i in zip(files, contents, rest, strict=True)}
            image = dict(
                _contents(
                    self._root,
                    lambda folder, by=by_folder: by[id(folder)],
                    lambda file, by=by_file: by[id(file)],
                )
            )
            key = frozenset(image.items())
            if key not in seen:
                seen.add(key)
                yield image

    def _folders(self, folder: Folder) -> list[Folder]:
        found = {id(folder): folder}
        for node in _nodes(folder):
            if isinstance(node, Folder):
                found.update((id(inner), inner) for inner in self._folders(node))
        return list(found.values())

    # -- the storage itself -------------------------------------------------------------------

    def _split(self, name: str, make: bool = False) -> tuple[Folder, str]:
        folder = self._root
        *above, bare = name.split("/")
        for part in above:
            node = folder.live.get(part)
            if node is None and make:
                node = Folder()
                folder.change({part: node})
            if not isinstance(node, Folder):
                raise _missing(name)
            folder = node
        return folder, bare

    def _node(self, name: str) -> File | Folder:
        if not name:
            return self._root
        folder, bare = self._split(name)
        if bare not in folder.live:
            raise _missing(name)
        return folder.live[bare]

    def _file(self, name: str) -> File:
        node = self._node(name)
        if not isinstance(node, File):
            raise StorageFault("Is a directory", name)
        return node

    def create(self, name: str, /) -> SimulatedWriter:
        folder, bare = self._split(name)
        if bare in folder.live:
            raise StorageFault("File exists", name)
        file = File()
        folder.change({bare: file})
        self.called(f"create {name}")
        return SimulatedWriter(self, name, file)

    def append(self, name: str, /) -> SimulatedWriter:
        if not self.exists(name):
            return self.create(name)
        return SimulatedWriter(self, name, self._file(name))

    def read(self, name: str, /) -> bytes:
        return bytes(self._file(name).live)

    def pread(self, name: str, /, offset: int, length: int) -> bytes:
        return bytes(self._file(name).live[offset : offset + length])

    def read_into(self, name: str, /, offset: int, buffer: memoryview) -> int:
        data = self.pread(name, offset, buffer.nbytes)
        buffer[: len(data)] = data
        return len(data)

    def map(self, name: str, /) -> memoryview:
        return memoryview(self.read(name))

    def size(self, name: str, /) -> int:
        return len(self._file(name).live)

    def exists(self, name: str, /) -> bool:
        with contextlib.suppress(StorageFault):
            self._node(name)
            return True
        return False

    def list(self, folder: str, /) -> list[str]:
        if not self.exists(folder):
            return []
        node = self._node(folder)
        if isinstance(node, File):
            raise StorageFault("Not a directory", folder)
        return sorted(node.live)

    def mkdir(self, name: str, /) -> None:
        if not name:
            return
        folder, bare = self._split(name, make=True)
        if bare not in folder.live:
            folder.change({bare: Folder()})
        if isinstance(folder.live[bare], File):
            raise StorageFault("not a folder", name)
        self.called(f"mkdir {name}")

    def rename(self, source: str, /, target: str) -> None:
        node = self._node(source)
        folder, bare = self._split(source)
        into, new = self._split(target)
        if folder is into:
            folder.change({bare: None, new: node})
        else:  # each folder is written by itself: a power cut may leave either name, both or none
            into.change({new: node})
            folder.change({bare: None})
        self.called(f"rename {source} {target}")

    def link(self, source: str, /, target: str) -> None:
        folder, bare = self._split(target)
        if bare in folder.live:
            raise StorageFault("File exists", target)
        folder.change({bare: self._file(source)})
        self.called(f"link {source} {target}")

    def is_folder(self, name: str, /) -> bool:
        return self.exists(name) and isinstance(self._node(name), Folder)

    def unlink(self, name: str, /) -> None:
        self._file(name)
        folder, bare = self._split(name)
        folder.change({bare: None})
        self.called(f"unlink {name}")

    def remove_tree(self, name: str, /) -> None:
        if not self.exists(name):
            return
        node = self._node(name)
        if isinstance(node, Folder):
            for inner in list(node.live):
                self.remove_tree(f"{name}/{inner}")
        folder, bare = self._split(name)
        folder.change({bare: None})
        self.called(f"remove {name}")

    def truncate(self, name: str, /, length: int) -> None:
        self._file(name).truncate(length)
        self.called(f"truncate {name} {length}")

    def overwrite(self, name: str, /, offset: int, *buffers: bytes) -> None:
        data = b"".join(bytes(buffer) for buffer in buffers)
        self._file(name).write(offset, data)
        self.called(f"overwrite {name} {offset} {len(data)}")

    def sync_folder(self, name: str, /) -> None:
        node = self._node(name)
        if isinstance(node, File):
            raise StorageFault("Not a directory", name)
        node.sync()
        self.called(f"sync_folder {name}")

    def free_bytes(self) -> int:
        return 1 << 40

    def lock(self) -> None:
        if self._locked:
            raise ShardLocked(f"{self.path} is open in process {os.getpid()}")
        self._locked = True

    def unlock(self) -> None:
        self._locked = False


def _nodes(folder: Folder) -> Iterator[File | Folder]:
    """Every node that a power cut may leave in the folder."""
    yield from folder.durable.values()
    for change in folder.pending:
        yield from (node for node in change.values() if node is not None)


def _files_of(folder: Folder) -> Iterator[File]:
    return (node for node in _nodes(folder) if isinstance(node, File))


def _contents(
    folder: Folder,
    names_of: Callable[[Folder], dict[str, File | Folder]],
    bytes_of: Callable[[File], bytes],
    above: str = "",
) -> Iterator[tuple[str, bytes | None]]:
    for name, node in names_of(folder).items():
        if isinstance(node, Folder):
            yield above + name, None
            yield from _contents(node, names_of, bytes_of, f"{above}{name}/")
        else:
            yield above + name, bytes(bytes_of(node))


def _combinations(counts: list[int], random: Random, most: int) -> Iterator[tuple[int, ...]]:
    total = 1
    for count in counts:
        total *= count
    if total <= most:
        yield from product(*map(range, counts))
        return
    yield (0,) * len(counts)
    yield tuple(count - 1 for count in counts)
    for _ in range(most - 2):
        yield tuple(random.randrange(count) for count in counts)


# -- faults -----------------------------------------------------------------------------------

READS = frozenset({"read", "pread", "read_into", "map", "size", "exists", "is_folder", "list"})
GROWTH = frozenset({"create", "append", "mkdir", "rename", "write", "overwrite", "link"})
SYNCS = frozenset({"sync", "sync_folder"})
CHANGES = GROWTH | SYNCS | {"unlink", "remove_tree", "truncate"}

FAULTS: dict[str, frozenset[str]] = {
    "eio": READS | CHANGES,  # the call does nothing and fails
    "eio-after": CHANGES,  # the call does its work and fails all the same
    "enospc": GROWTH,
    "short": frozenset({"write", "overwrite"}),  # half the bytes, then no space
    "sync": SYNCS,
}
"""The kinds of fault, and the calls that they can strike."""


class FaultyStorage:
    """Lets every call through to `inner`, except that the `nth` call (from 1) that `fault` can
    strike fails; with `forever`, so does every such call after it. `struck` counts the failures.
    """

    def __init__(self, inner: SimulatedStorage, fault: str, nth: int, forever: bool) -> None:
        self.inner = inner
        self.path = inner.path
        self.struck = 0
        self._fault = fault
        self._left = nth
        self._forever = forever

    def strikes(self, call: str) -> bool:
        if call not in FAULTS[self._fault] or (self._left <= 0 and not self._forever):
            return False
        self._left -= 1
        if self._left > 0:
            return False
        self.struck += 1
        return True

    def fail(
        self, call: str, does: Callable[[], object], half: Callable[[], object]
    ) -> StorageFault:
        """The error of a call struck, after what it did all the same."""
        if self._fault == "eio-after":
            does()
        if self._fault == "short":
            half()
        if self._fault in {"enospc", "short"}:
            return StorageFull(f"no space for {call}", self.path)
        return StorageFault(f"input/output error in {call}", self.path)

    def __getattr__(self, call: str) -> Callable[..., object]:
        inner = getattr(self.inner, call)

        def through(*args: object) -> object:
            if self.strikes(call):
                raise self.fail(call, lambda: inner(*args), lambda: self._half(call, args))
            result = inner(*args)
            return FaultyWriter(self, result) if isinstance(result, SimulatedWriter) else result

        return through

    def _half(self, call: str, args: tuple[object, ...]) -> None:
        name, offset, *buffers = args
        data = b"".join(bytes(buffer) for buffer in buffers)
        self.inner.overwrite(name, offset, data[: len(data) // 2])


class FaultyWriter:
    """A writer of a FaultyStorage."""

    def __init__(self, storage: FaultyStorage, inner: SimulatedWriter) -> None:
        self._storage = storage
        self._inner = inner
        self._good = inner.size

    @property
    def size(self) -> int:
        return self._good

    def write(self, *buffers: bytes) -> int:
        data = b"".join(bytes(buffer) for buffer in buffers)
        if self._storage.strikes("write"):
            half = data[: len(data) // 2]
            raise self._storage.fail(
                "write", lambda: self._inner.write(data), lambda: self._inner.write(half)
            )
        self._good += len(data)
        return self._inner.write(data)

    def truncate(self, length: int) -> None:
        if self._storage.strikes("truncate"):
            raise self._storage.fail("truncate", lambda: self._inner.truncate(length), int)
        self._inner.truncate(length)
        self._good = length

    def sync(self) -> None:
        if self._storage.strikes("sync"):
            self._inner.fail_sync()
            raise self._storage.fail("sync", self._inner.sync, int)
        self._inner.sync()

    def close(self) -> None:
        self._inner.close()
