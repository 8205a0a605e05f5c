"""Arrays in sealed files: written in row blocks, read back whole and checked.

Invariants: elements are little-endian, row-major, from byte 0 of the file; an array that is
returned has had every byte of its file checked, and is read-only.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edge.disk.manifest import FileEntry
from edge.disk.pinned import lock
from edge.disk.sealed_file import BLOCK, SealedFile, seal
from edge.disk.storage import Storage
from edge.errors import CorruptData, ValidationError

_KIND: Final = b"ARR\0"
_HEAD: Final = struct.Struct("<4sI")  # dtype name, dimensions; then u64 per dimension
_ALIGNMENT: Final = 64
_FORGET_EVERY: Final = 32 << 20  # bytes of a mapping; a multiple of a page and of a block
_DTYPES: Final = {
    name.encode().ljust(4, b"\0"): np.dtype(name)
    for name in ("|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8")
}


def write_array(
    storage: Storage,
    name: str,
    blocks: Iterable[npt.NDArray[Any]] | npt.NDArray[Any],
    dtype: npt.DTypeLike,
    shape: tuple[int, ...],
) -> FileEntry:
    """Write an array of `dtype` and `shape` to the new file `name`, and sync it.

    `blocks`: the array, or its rows in order as arrays of that dtype (any number of rows each);
    a block that is C-contiguous is written as it lies, without a copy. Raises ValidationError if
    the blocks do not make up the array, StorageFault, StorageFull; then no file is left.
    """
    kind = np.dtype(dtype).newbyteorder("<")
    if kind not in _DTYPES.values():
        raise ValidationError(f"no array of dtype {kind} goes into a file")
    expected = math.prod(shape) * kind.itemsize
    parts = [blocks] if isinstance(blocks, np.ndarray) else blocks

    def described(length: int) -> bytes:
        if length != expected:
            raise ValidationError(f"{name}: blocks of {length} bytes, not {expected}")
        sizes = struct.pack(f"<{len(shape)}Q", *shape)
        return _HEAD.pack(kind.str.encode(), len(shape)) + sizes

    return seal(storage, name, _KIND, _raw(parts, kind), described)


def _raw(blocks: Iterable[npt.NDArray[Any]], kind: np.dtype[Any]) -> Iterator[memoryview]:
    for block in blocks:
        if block.dtype != kind:
            raise ValidationError(f"a block of dtype {block.dtype}, not {kind}")
        if block.size:
            yield np.ascontiguousarray(block).reshape(-1).view(np.uint8).data


def read_array(
    storage: Storage, entry: FileEntry, *, resident: bool = True, locked: bool = False
) -> npt.NDArray[Any]:
    """The array in the file that `entry` names, read-only, every byte of the file checked.

    `resident`: in anonymous memory, its data at a multiple of 64 bytes, and `locked` there as far
    as the system allows; otherwise a mapping of the file, of which nothing stays in memory but what
    is read again (a read error then is a signal, not an exception). Raises CorruptData,
    StorageFault.
    """
    file = SealedFile.open(storage, entry, _KIND)
    dtype, shape = _described(file)
    raw = _resident(file) if resident else _mapped(file)
    if resident and locked:
        lock(raw)
    array = raw.view(dtype).reshape(shape)
    array.flags.writeable = False
    return array


def _resident(file: SealedFile) -> npt.NDArray[np.uint8]:
    raw = aligned(file.length)
    file.read_into(raw.data)
    return raw


def _mapped(file: SealedFile) -> npt.NDArray[np.uint8]:
    data = file.map()
    _advise(data, "MADV_SEQUENTIAL")
    for start in range(0, data.nbytes, _FORGET_EVERY):
        file.check(data[start : start + _FORGET_EVERY], start // BLOCK)
        _advise(data, "MADV_DONTNEED", start, min(_FORGET_EVERY, data.nbytes - start))
    _advise(data, "MADV_RANDOM")  # from now on no more is read than is asked for
    return np.frombuffer(data, np.uint8)


def _advise(data: memoryview, advice: str, *part: int) -> None:
    """Tell the system what becomes of a mapping, or of a part of it, where it takes such advice."""
    mapping, number = data.obj, getattr(mmap, advice, None)
    if isinstance(mapping, mmap.mmap) and number is not None:
        mapping.madvise(number, *part)


def _described(file: SealedFile) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """The dtype and shape, held against the bytes of data."""
    text = file.description
    if len(text) >= _HEAD.size:
        name, dimensions = _HEAD.unpack_from(text)
        if name in _DTYPES and len(text) == _HEAD.size + 8 * dimensions:
            shape = struct.unpack_from(f"<{dimensions}Q", text, _HEAD.size)
            if math.prod(shape) * _DTYPES[name].itemsize == file.length:
                return _DTYPES[name], shape
    raise CorruptData("the file does not describe its array", file.path, file.length)


def aligned(length: int) -> npt.NDArray[np.uint8]:
    """`length` uninitialised bytes of anonymous memory that start at a multiple of 64 bytes."""
    raw = np.empty(length + _ALIGNMENT - 1, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + length]
