"""A folder of Qdrant's files, from which arrays and JSON are read.

Invariants
- Whatever a file holds, reading it raises an EdgeError or nothing: CorruptData with the path where
  the bytes cannot be what was written, ValidationError for what is not read here.
- An array is a read-only view of the mapped file, never larger than the file.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.disk.files import join
from edge.disk.storage import Storage
from edge.errors import CorruptData, StorageFault, ValidationError

T = TypeVar("T")
Bytes = NDArray[np.uint8]

MOST_JSON = 64 << 20


class Folder:
    """One folder below the root of a Storage; "" is the root."""

    def __init__(self, storage: Storage, path: str = "") -> None:
        self.storage = storage
        self.path = path

    def inside(self, name: str) -> Folder:
        """Return the folder of this name in it, be it there or not."""
        return Folder(self.storage, join(self.path, name))

    def exists(self, name: str) -> bool:
        """Return whether there is a file or folder of that name."""
        return self.storage.exists(join(self.path, name))

    def is_there(self) -> bool:
        """Return whether the folder itself exists."""
        return self.storage.exists(self.path)

    def names(self) -> list[str]:
        """Return the names in it, sorted; [] if it is missing."""
        return self.storage.list(self.path)

    def is_file(self, name: str) -> bool:
        """Return whether a name that is there is one of a file."""
        try:
            self.storage.size(join(self.path, name))
        except StorageFault:
            return False
        return True

    def bytes(self, name: str) -> Bytes:
        """Return the whole file as uint8[size]."""
        mapped = self.storage.map(join(self.path, name))
        return np.frombuffer(mapped, np.uint8) if len(mapped) else np.empty(0, np.uint8)

    def array(self, name: str, dtype: Any, count: int, offset: int = 0) -> NDArray[Any]:
        """Return `count` elements from byte `offset` on; CorruptData where the file is shorter."""
        return self.part(name, self.bytes(name), dtype, count, offset)

    def part(self, name: str, data: Bytes, dtype: Any, count: int, offset: int = 0) -> NDArray[Any]:
        """As `array`, of a file that is mapped already."""
        kind = np.dtype(dtype)
        end = offset + count * kind.itemsize
        if count < 0 or offset < 0 or end > data.size:
            raise self.corrupt(name, f"{data.size} bytes, expected {end} or more", data.size)
        return data[offset:end].view(kind)

    def json(self, name: str, kind: type[T]) -> T:
        """Return what the file holds; CorruptData if that is no `kind`."""
        path = join(self.path, name)
        if self.storage.size(path) > MOST_JSON:
            raise self.corrupt(name, f"more than {MOST_JSON} bytes of JSON")
        try:
            return msgspec.json.decode(self.storage.read(path), type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self.corrupt(name, str(error)) from None

    def corrupt(self, name: str, message: str, offset: int = 0) -> CorruptData:
        """Return the error of a file whose bytes cannot be what was written."""
        return CorruptData(message, f"{self.storage.path}/{join(self.path, name)}", offset)

    def unread(self, name: str, what: str) -> ValidationError:
        """Return the error of a file, or a setting in one, that is not read here."""
        return ValidationError(f"{join(self.path, name)}: {what} is not read")


def bits_at(bits: Bytes, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return of each row whether its bit is set; bits beyond the end are not."""
    inside = rows < 8 * bits.size
    found = np.zeros(len(rows), bool)
    within = rows[inside]
    found[inside] = (bits[within >> 3] >> (within & 7).astype(np.uint8)) & 1
    return found
