"""Several named arrays in one sealed file, each at a multiple of 64 bytes.

Invariants: the layout says what lies where and belongs to whoever wrote the file (a manifest's
`meta`); nothing is given out that the layout does not place inside the file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from edge.disk.array_file import read_array, write_array
from edge.disk.manifest import FileEntry
from edge.disk.storage import Storage
from edge.errors import CorruptData

Layout: TypeAlias = list[tuple[str, str, list[int]]]
"""(name, dtype as numpy writes it, shape) of each array, in the order of the file."""

_ALIGNMENT: Final = 64


class Blocks(NamedTuple):
    """An array that is never in memory as a whole: its dtype and shape, and its rows in order."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    blocks: Iterator[npt.NDArray[Any]]


def write_packed(
    storage: Storage, name: str, arrays: Mapping[str, npt.NDArray[Any] | Blocks]
) -> tuple[FileEntry, Layout]:
    """Write the arrays to the new file `name`, and sync it. Raises ValidationError for blocks that
    are not as long as they say, StorageFault, StorageFull."""
    parts = [array if isinstance(array, Blocks) else _in_one(array) for array in arrays.values()]
    layout = [
        (key, part.dtype.str, list(part.shape)) for key, part in zip(arrays, parts, strict=True)
    ]
    size = sum(_padded(_bytes_of(part)) for part in parts)
    return write_array(storage, name, _raw(parts), np.uint8, (size,)), layout


def _in_one(array: npt.NDArray[Any]) -> Blocks:
    return Blocks(array.dtype, array.shape, iter((array,)))


def _bytes_of(part: Blocks) -> int:
    return math.prod(part.shape) * part.dtype.itemsize


def _raw(parts: Iterable[Blocks]) -> Iterator[npt.NDArray[np.uint8]]:
    for part in parts:
        size = _bytes_of(part)
        for block in part.blocks:
            yield np.ascontiguousarray(block).reshape(-1).view(np.uint8)
        yield np.zeros(_padded(size) - size, np.uint8)


def read_packed(
    storage: Storage,
    entry: FileEntry,
    layout: Any,
    *,
    resident: bool = True,
    locked: bool = False,
) -> dict[str, npt.NDArray[Any]]:
    """The arrays of the file, read-only, every byte checked; see `read_array` for the rest.

    Raises CorruptData (also for a layout that is none, or does not fit the file), StorageFault.
    """
    raw = read_array(storage, entry, resident=resident, locked=locked)
    try:
        return _unpacked(raw, layout)
    except (SyntaxError, TypeError, ValueError) as error:  # numpy parses a dtype as Python
        raise CorruptData(f"the layout does not fit: {error}", entry.name) from error


def _unpacked(raw: npt.NDArray[np.uint8], layout: Layout) -> dict[str, npt.NDArray[Any]]:
    arrays: dict[str, npt.NDArray[Any]] = {}
    place = 0
    for key, dtype, shape in layout:
        kind = np.dtype(dtype)
        if kind.kind not in "iuf" or min(shape, default=0) < 0:
            raise ValueError(f"{key} of {dtype} {shape}")
        size = math.prod(shape) * kind.itemsize
        if place + size > len(raw):
            raise ValueError(f"{key} is cut short")
        arrays[str(key)] = raw[place : place + size].view(kind).reshape(shape)
        place += _padded(size)
    if place != len(raw):
        raise ValueError(f"{len(raw) - place} bytes too many")
    return arrays


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
