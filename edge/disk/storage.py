"""The seam between the engine and the disk: every file operation of a shard goes through it.

Invariants:
* names are relative posix paths (`files.is_name`, or what a DiskStorage was made with) below one
  root folder; "" is the root itself;
* what `write` and `overwrite` return from is in the operating system's hands (it survives the
  death of the process); it is on the medium only after `sync`; a name is on the medium only after
  `sync_folder` of the folder that holds it;
* an error of the operating system leaves as StorageFault (StorageFull where space ran out) with
  the path; nothing else leaves.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import mmap
import os
import shutil
import stat
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec, Protocol, TypeVar

from edge.disk import files
from edge.errors import ShardLocked, StorageFault, StorageFull

if TYPE_CHECKING:
    from typing_extensions import Buffer

_P = ParamSpec("_P")
_R = TypeVar("_R")

_SAFE: Final = os.O_CLOEXEC | os.O_NOFOLLOW
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_VECTORS_AT_ONCE: Final = min(os.sysconf("SC_IOV_MAX"), 1024)
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EMLINK, errno.EXDEV, errno.EOPNOTSUPP})
_COPIED_AT_ONCE: Final = 1 << 20
_FILE_MODE: Final = 0o600
_FOLDER_MODE: Final = 0o700


class Writer(Protocol):
    """A file open for writing at its end, by one thread at a time."""

    @property
    def size(self) -> int:
        """Bytes in the file as far as whole writes went; a failed write does not count."""

    def write(self, *buffers: Buffer) -> int:
        """Append all buffers, whole, and return their bytes.

        Raises StorageFault or StorageFull; then a part of them may be in the file: `truncate`
        to `size` takes it back.
        """

    def truncate(self, length: int) -> None:
        """Cut the file to `length` bytes, or lengthen it with zeros (which take no place where the
        file system can do that); the next write goes there."""

    def sync(self) -> None:
        """Wait until the file's bytes and length are on the medium. A failure is final: the
        system may have dropped the bytes, and a second sync would not say so."""

    def close(self) -> None:
        """Let go of the file, without sync. Closing twice does nothing."""


class Storage(Protocol):
    """The files of one shard folder. Every method raises StorageFault (or StorageFull)."""

    @property
    def path(self) -> str:
        """The root folder, for messages."""

    def create(self, name: str, /) -> Writer:
        """A new empty file; it must not exist yet."""

    def append(self, name: str, /) -> Writer:
        """The file open at its end; made empty if it is missing."""

    def read(self, name: str, /) -> bytes:
        """The whole file. For small files."""

    def pread(self, name: str, /, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`; fewer only where the file ends."""

    def read_into(self, name: str, /, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` (writable bytes) from `offset`; returns the bytes read, fewer than asked
        only where the file ends. The GIL is free meanwhile."""

    def map(self, name: str, /) -> memoryview:
        """The whole file as a read-only mapping. It outlives an unlink of the name; it must not
        be truncated while mapped."""

    def size(self, name: str, /) -> int:
        """Bytes in the file."""

    def exists(self, name: str, /) -> bool:
        """True if there is a file or folder of that name."""

    def is_folder(self, name: str, /) -> bool:
        """True if there is a folder of that name."""

    def list(self, folder: str, /) -> list[str]:
        """The bare names in `folder`, sorted; [] if the folder is missing."""

    def mkdir(self, name: str, /) -> None:
        """Make the folder and its missing parents; nothing to do if it is there."""

    def rename(self, source: str, /, target: str) -> None:
        """Put `source` in the place of `target`, at once."""

    def link(self, source: str, /, target: str) -> None:
        """Give a file that nobody will change a second name, which must not exist; where the file
        system cannot, it is copied."""

    def unlink(self, name: str, /) -> None:
        """Remove a file that exists."""

    def remove_tree(self, name: str, /) -> None:
        """Remove a file, or a folder with all in it; nothing to do if it is missing."""

    def truncate(self, name: str, /, length: int) -> None:
        """Cut the file to `length` bytes."""

    def overwrite(self, name: str, /, offset: int, *buffers: Buffer) -> None:
        """Write in place into an existing file."""

    def sync_folder(self, name: str, /) -> None:
        """Wait until the names in the folder are on the medium; "" is the root."""

    def free_bytes(self) -> int:
        """Bytes that the file system would still give us."""

    def foreign(self, folder: str, /) -> Storage:
        """The files below `folder`, under whatever names others gave them."""

    def lock(self) -> None:
        """Take the shard for this object alone, or raise ShardLocked."""

    def unlock(self) -> None:
        """Give the lock back. Nothing to do if it is not held."""


def fault_of(error: OSError, path: str) -> StorageFault:
    """What an error of the operating system at `path` leaves as."""
    kind = StorageFull if error.errno in _FULL else StorageFault
    fault = kind(error.strerror or str(error), path)
    fault.errno = error.errno
    return fault


def _faults(
    method: Callable[Concatenate[DiskStorage, str, _P], _R],
) -> Callable[Concatenate[DiskStorage, str, _P], _R]:
    """Errors of the operating system as StorageFault with the full path."""

    @functools.wraps(method)
    def translated(self: DiskStorage, name: str, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return method(self, name, *args, **kwargs)
        except StorageFault:
            raise
        except OSError as error:
            raise fault_of(error, os.path.join(self.path, name)) from error

    return translated


def _rest(buffers: Sequence[Buffer], done: int) -> list[memoryview]:
    """What is left of `buffers` after their first `done` bytes."""
    left: list[memoryview] = []
    for buffer in buffers:
        view = memoryview(buffer).cast("B")
        if done < view.nbytes:
            left.append(view[done:])
        done = max(0, done - view.nbytes)
    return left


def _write_all(
    write: Callable[[Sequence[Buffer], int], int], buffers: Sequence[Buffer], path: str
) -> int:
    """Call `write(buffers, bytes done so far)` until the system has taken all; their bytes."""
    total = sum([memoryview(buffer).nbytes for buffer in buffers])
    done = 0
    try:
        while True:
            count = write(buffers[:_VECTORS_AT_ONCE], done)
            done += count
            if done == total:
                return total
            if count == 0:
                raise OSError(errno.EIO, "the system took no byte of a write")
            buffers = _rest(buffers, count)
    except OSError as error:
        raise fault_of(error, path) from error


class DiskWriter:
    """A real file open for writing at its end."""

    def __init__(self, descriptor: int, path: str) -> None:
        self._descriptor = descriptor
        self._path = path
        self.size = os.fstat(descriptor).st_size

    def write(self, *buffers: Buffer) -> int:
        """See Writer."""
        total = _write_all(
            lambda left, done: os.writev(self._descriptor, left), buffers, self._path
        )
        self.size += total
        return total

    def truncate(self, length: int) -> None:
        """See Writer."""
        try:
            os.ftruncate(self._descriptor, length)
        except OSError as error:
            raise fault_of(error, self._path) from error
        self.size = length

    def sync(self) -> None:
        """See Writer."""
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise fault_of(error, self._path) from error

    def close(self) -> None:
        """See Writer."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            # What had to be safe was synced before; there is nothing left that could fail.
            with contextlib.suppress(OSError):
                os.close(descriptor)


class DiskStorage:
    """The files below `path` on a real disk.

    The folder is made (0700, with missing parents) by `lock` and `mkdir`, never by reading. Files
    are 0600 whatever the umask. `is_name` says which names are taken: our own; for a folder of
    archives or of another program's files give `files.is_foreign_name`. Raises StorageFault if
    `path` is there and is not a folder.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        is_name: Callable[[str], bool] = files.is_name,
    ) -> None:
        self.path = os.path.abspath(os.fspath(path))
        self._is_name = is_name
        self._lock = -1
        if os.path.lexists(self.path) and not os.path.isdir(self.path):
            raise StorageFault("not a folder", self.path)

    def _at(self, name: str) -> str:
        if not name:
            return self.path
        if not self._is_name(name):
            raise StorageFault("not the name of a file of a shard", name)
        return f"{self.path}/{name}"

    def _open(self, name: str, flags: int) -> int:
        return os.open(self._at(name), flags | _SAFE, _FILE_MODE)

    def _made(self, name: str, flags: int) -> DiskWriter:
        descriptor = self._open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | flags)
        try:
            os.fchmod(descriptor, _FILE_MODE)
            return DiskWriter(descriptor, self._at(name))
        except BaseException:
            os.close(descriptor)
            raise

    @_faults
    def create(self, name: str) -> DiskWriter:
        """See Storage."""
        return self._made(name, os.O_APPEND)

    @_faults
    def append(self, name: str) -> DiskWriter:
        """See Storage."""
        try:
            return DiskWriter(self._open(name, os.O_WRONLY | os.O_APPEND), self._at(name))
        except FileNotFoundError:
            return self._made(name, os.O_APPEND)

    @_faults
    def read(self, name: str) -> bytes:
        """See Storage."""
        with os.fdopen(self._open(name, os.O_RDONLY), "rb", buffering=0) as file:
            return file.read()

    @_faults
    def pread(self, name: str, offset: int, length: int) -> bytes:
        """See Storage."""
        buffer = bytearray(length)
        return bytes(buffer[: self._fill(name, offset, memoryview(buffer))])

    @_faults
    def read_into(self, name: str, offset: int, buffer: memoryview) -> int:
        """See Storage."""
        return self._fill(name, offset, buffer)

    def _fill(self, name: str, offset: int, buffer: memoryview) -> int:
        descriptor = self._open(name, os.O_RDONLY)
        done = 0
        try:
            while done < buffer.nbytes:
                count = os.preadv(descriptor, [buffer[done:]], offset + done)
                if count == 0:
                    break
                done += count
        finally:
            os.close(descriptor)
        return done

    @_faults
    def map(self, name: str) -> memoryview:
        """See Storage."""
        descriptor = self._open(name, os.O_RDONLY)
        try:
            if os.fstat(descriptor).st_size == 0:
                return memoryview(b"")
            return memoryview(mmap.mmap(descriptor, 0, mmap.MAP_SHARED, mmap.PROT_READ))
        finally:
            os.close(descriptor)

    @_faults
    def size(self, name: str) -> int:
        """See Storage."""
        found = os.stat(self._at(name), follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        return found.st_size

    @_faults
    def exists(self, name: str) -> bool:
        """See Storage."""
        try:
            os.stat(self._at(name), follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    @_faults
    def is_folder(self, name: str) -> bool:
        """See Storage."""
        try:
            return stat.S_ISDIR(os.stat(self._at(name), follow_symlinks=False).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False

    @_faults
    def list(self, folder: str) -> list[str]:
        """See Storage."""
        try:
            return sorted(os.listdir(self._at(folder)))
        except FileNotFoundError:
            return []

    @_faults
    def mkdir(self, name: str) -> None:
        """See Storage."""
        _make_folder(self.path)
        path = self.path
        for part in name.split("/") if self._at(name) != self.path else ():
            path = f"{path}/{part}"
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, _FOLDER_MODE)
                os.chmod(path, _FOLDER_MODE)
        if not stat.S_ISDIR(os.stat(path, follow_symlinks=path == self.path).st_mode):
            raise StorageFault("not a folder", path)

    @_faults
    def rename(self, source: str, target: str) -> None:
        """See Storage."""
        os.rename(self._at(source), self._at(target))

    @_faults
    def link(self, source: str, target: str) -> None:
        """See Storage."""
        try:
            os.link(self._at(source), self._at(target), follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            self._copy(source, target)

    def _copy(self, source: str, target: str) -> None:
        writer = self.create(target)
        try:
            for start in range(0, self.size(source), _COPIED_AT_ONCE):
                writer.write(self.pread(source, start, _COPIED_AT_ONCE))
            writer.sync()
        finally:
            writer.close()

    @_faults
    def unlink(self, name: str) -> None:
        """See Storage."""
        os.unlink(self._at(name))

    @_faults
    def remove_tree(self, name: str) -> None:
        """See Storage."""
        path = self._at(name)
        try:
            if stat.S_ISDIR(os.lstat(path).st_mode):
                shutil.rmtree(path)
            else:
                os.unlink(path)
        except FileNotFoundError:
            return

    @_faults
    def truncate(self, name: str, length: int) -> None:
        """See Storage."""
        descriptor = self._open(name, os.O_WRONLY)
        try:
            os.ftruncate(descriptor, length)
        finally:
            os.close(descriptor)

    @_faults
    def overwrite(self, name: str, offset: int, *buffers: Buffer) -> None:
        """See Storage."""
        descriptor = self._open(name, os.O_WRONLY)
        try:
            _write_all(
                lambda left, done: os.pwritev(descriptor, left, offset + done),
                buffers,
                self._at(name),
            )
        finally:
            os.close(descriptor)

    @_faults
    def sync_folder(self, name: str) -> None:
        """See Storage."""
        _sync_folder(self._at(name))

    def free_bytes(self) -> int:
        """See Storage."""
        try:
            figures = os.statvfs(self.path)
        except OSError as error:
            raise fault_of(error, self.path) from error
        return figures.f_bavail * figures.f_frsize

    def foreign(self, folder: str, /) -> DiskStorage:
        """See Storage."""
        return DiskStorage(self._at(folder), files.is_foreign_name)

    def lock(self) -> None:
        """See Storage. The lock is the system's (flock): it ends with the process, whatever the
        file LOCK says; the number written inside only serves the message."""
        if self._lock < 0:
            self._lock = self._locked(files.LOCK)
            hold(self)

    @_faults
    def _locked(self, name: str) -> int:
        _make_folder(self.path)
        descriptor = self._open_lock(name)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise ShardLocked(f"{self.path} is open in process {holder}") from error
        except BaseException:
            os.close(descriptor)
            raise
        # A full or read-only disk must not keep a shard from being read: the number is optional.
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, _FILE_MODE)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        return descriptor

    def _open_lock(self, name: str) -> int:
        try:
            return self._open(name, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            if error.errno not in {errno.EROFS, errno.EACCES}:
                raise
            return self._open(name, os.O_RDONLY)

    def unlock(self) -> None:
        """See Storage. At once, though a child made by fork may not have let go of it yet."""
        if self._lock >= 0:
            with contextlib.suppress(OSError):
                fcntl.flock(self._lock, fcntl.LOCK_UN)
        self.forget_lock()

    def forget_lock(self) -> None:
        """Close the lock's file, and leave the lock to whoever else has it open."""
        descriptor, self._lock = self._lock, -1
        if descriptor >= 0:
            os.close(descriptor)


_holders: Final[weakref.WeakSet[DiskStorage]] = weakref.WeakSet()


def hold(storage: DiskStorage) -> None:
    """Let a child made by fork forget the lock that `storage` has taken."""
    _holders.add(storage)


def _let_go_in_child() -> None:
    """A child made by fork shares the lock, and would hold it beyond its parent's death. Closing
    the child's descriptor leaves the parent's lock as it is."""
    for storage in list(_holders):
        storage.forget_lock()


os.register_at_fork(after_in_child=_let_go_in_child)


def _make_folder(path: str) -> None:
    """Make the folder and its missing parents, 0700, each on the medium in its own parent."""
    parent = os.path.dirname(path)
    if os.path.lexists(path) or path == parent:
        return
    _make_folder(parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, _FOLDER_MODE)
    os.chmod(path, _FOLDER_MODE)
    _sync_folder(parent)


def _sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
