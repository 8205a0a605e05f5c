"""A folder that another program made, where it lies.

Invariant: a name leads nowhere but below the root; what its parts are made of is the other
program's matter.
"""

from __future__ import annotations

import fcntl
import os

from edge.disk.storage import DiskStorage, fault_of, hold
from edge.errors import ShardLocked, StorageFault


class ForeignStorage(DiskStorage):
    """As DiskStorage, for names of any characters; the lock is one on a folder inside.

    Args:
        path: the root folder.
        lock_folder: the folder that the other program locks (flock) while it has the root open.
            Where there is none `lock` does nothing.
    """

    def __init__(self, path: str | os.PathLike[str], lock_folder: str) -> None:
        super().__init__(path)
        self._lock_folder = lock_folder

    def _at(self, name: str) -> str:
        if not name:
            return self.path
        if "\0" in name or not all(part.strip(".") for part in name.split("/")):
            raise StorageFault("not the name of a file inside the folder", name)
        return f"{self.path}/{name}"

    def lock(self) -> None:
        """Take the folder as the other program would, or raise ShardLocked."""
        if self._lock < 0 and self.exists(self._lock_folder):
            self._lock = self._flocked(self._at(self._lock_folder))
            hold(self)

    def _flocked(self, path: str) -> int:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise fault_of(error, path) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise ShardLocked(f"{self.path} is open in another program") from error
        except OSError as error:
            os.close(descriptor)
            raise fault_of(error, path) from error
        return descriptor
