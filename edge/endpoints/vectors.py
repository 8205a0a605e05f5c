"""Vectors in frames of their own: a query's in one, an answer's in one for each vector name.

    a vector         float32[dimension]
    a multivector    float32[rows, dimension]
    a sparse vector  indices uint32[n], then values float32[n]

In an answer the vectors of a name stand one after another, of sparse ones all indices first.

Invariants: numbers are little-endian; what is said of a frame is held against the frame's length
before anything is read; the indices of each sparse vector ascend, and its values are finite. What
is not so raises ProtocolError.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from edge.endpoints.protocol import Frame, ProtocolError
from edge.model.limits import MAX_DIMENSION
from edge.model.point import OneResultVector, ResultVector
from edge.model.sparse import SparseVector
from edge.model.vector import AnyVector

_F32, _U32 = np.dtype("<f4"), np.dtype("<u4")
_ENTRY = _U32.itemsize + _F32.itemsize

Lengths: TypeAlias = tuple[int, ...]


# -- a query's


class Sent(NamedTuple):
    """A query's vector: how many rows a multivector has (None: it is none), whether it is sparse,
    and its frame."""

    rows: int | None
    is_sparse: bool
    frame: bytes


def sent(vector: AnyVector) -> Sent:
    """The vector of a query, to be sent."""
    if isinstance(vector, SparseVector):
        return Sent(None, True, _joined_entries([vector]))
    rows = len(vector) if vector.ndim == 2 else None
    return Sent(rows, False, np.ascontiguousarray(vector, _F32).tobytes())


def received(frame: Frame, rows: int | None, is_sparse: bool) -> AnyVector:
    """The vector of a query out of its frame. Raises ProtocolError."""
    if is_sparse:
        return _sparse_of(frame, rows)
    if rows is not None and rows < 1:
        raise ProtocolError(f"a multivector of {rows} rows")
    if not len(frame) or len(frame) % (_F32.itemsize * (rows or 1)):
        raise ProtocolError(f"a vector of {len(frame)} bytes in {rows or 1} rows")
    numbers = np.frombuffer(frame, _F32)
    return numbers if rows is None else numbers.reshape(rows, -1)


def _sparse_of(frame: Frame, rows: int | None) -> SparseVector:
    if rows is not None or len(frame) % _ENTRY:
        raise ProtocolError(f"a sparse vector of {len(frame)} bytes in {rows or 1} rows")
    (found,) = _cut_entries(frame, (len(frame) // _ENTRY,))
    return found


# -- an answer's


class Block(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The vectors of one name in an answer, whose numbers are in a frame behind the result.

    `dimension` (0: sparse), the `places` in the result of the points that have one, ascending, and
    of multivectors and sparse vectors how many rows, or entries, each has.
    """

    name: str
    dimension: int
    places: tuple[int, ...]
    lengths: Lengths | None = None


def numbers_of(vector: ResultVector | None) -> int:
    """How many numbers a point's vectors are made of."""
    return sum(map(_numbers_of, _by_name(vector).values()))


def _numbers_of(vector: OneResultVector) -> int:
    if isinstance(vector, SparseVector):
        return 2 * len(vector.arrays[0])
    return len(vector) * (len(vector[0]) if isinstance(vector[0], list) else 1)


def _by_name(vector: ResultVector | None) -> dict[str, OneResultVector]:
    if isinstance(vector, dict):
        return vector
    return {} if vector is None else {"": vector}


def taken_out(vectors: Sequence[ResultVector | None]) -> tuple[tuple[Block, ...], list[bytes]]:
    """The vectors of points (None and {}: it has none) as blocks, and the frame of each block."""
    places: dict[str, list[int]] = {}
    found: dict[str, list[Any]] = {}
    for place, vector in enumerate(vectors):
        for name, one in _by_name(vector).items():
            places.setdefault(name, []).append(place)
            found.setdefault(name, []).append(one)
    written = {name: _kind_of(given[0]).write(given) for name, given in found.items()}
    blocks = tuple(
        Block(name, dimension, tuple(places[name]), lengths)
        for name, (dimension, lengths, _) in written.items()
    )
    return blocks, [frame for _, _, frame in written.values()]


def put_back(
    blocks: Sequence[Block], frames: Sequence[Frame], points: int
) -> dict[int, ResultVector]:
    """The vectors of those of `points` points that have some, by place. Raises ProtocolError."""
    if len(blocks) != len(frames):
        raise ProtocolError(f"{len(frames)} frames of vectors, the header announces {len(blocks)}")
    if len({block.name for block in blocks}) != len(blocks):
        raise ProtocolError("vectors: two blocks of one name")
    named: dict[int, dict[str, OneResultVector]] = {}
    for block, frame in zip(blocks, frames, strict=True):
        _check_places(block, points)
        vectors = _kind_in(block).read(block, frame)
        for place, vector in zip(block.places, vectors, strict=True):
            named.setdefault(place, {})[block.name] = vector
    return {place: _alone(vectors) for place, vectors in named.items()}


def _alone(vectors: dict[str, OneResultVector]) -> ResultVector:
    lone = vectors[""] if vectors.keys() == {""} else None
    return vectors if lone is None or isinstance(lone, SparseVector) else lone


def _check_places(block: Block, points: int) -> None:
    ends = (-1, *block.places, points)
    if any(one >= following for one, following in pairwise(ends)):
        raise ProtocolError(f"vectors {block.name!r}: places do not ascend, or are none")
    if not 0 <= block.dimension <= MAX_DIMENSION:
        raise ProtocolError(f"vectors {block.name!r}: dimension {block.dimension}")


# -- the kinds of vectors

Written: TypeAlias = tuple[int, Lengths | None, bytes]
"""The dimension, the lengths and the frame of a block."""


class _Kind(NamedTuple):
    write: Callable[[list[Any]], Written]
    read: Callable[[Block, Frame], Sequence[OneResultVector]]


def _write_vectors(found: list[list[float]]) -> Written:
    return len(found[0]), None, np.array(found, _F32).tobytes()


def _read_vectors(block: Block, frame: Frame) -> list[list[float]]:
    return _rows(block, frame, len(block.places))


def _write_multivectors(found: list[list[list[float]]]) -> Written:
    rows = [row for vectors in found for row in vectors]
    return len(rows[0]), tuple(map(len, found)), np.array(rows, _F32).tobytes()


def _read_multivectors(block: Block, frame: Frame) -> list[list[list[float]]]:
    lengths = _lengths(block, least=1)
    rows = _rows(block, frame, sum(lengths))
    return [rows[first:end] for first, end in pairwise(accumulate(lengths, initial=0))]


def _rows(block: Block, frame: Frame, rows: int) -> list[list[float]]:
    if len(frame) != _F32.itemsize * rows * block.dimension:
        raise ProtocolError(
            f"vectors {block.name!r}: {len(frame)} bytes, the header announces {rows} x "
            f"{block.dimension} floats"
        )
    found: list[list[float]] = np.frombuffer(frame, _F32).reshape(rows, block.dimension).tolist()
    return found


def _write_sparse(found: list[SparseVector]) -> Written:
    return 0, tuple(len(one.arrays[0]) for one in found), _joined_entries(found)


def _read_sparse(block: Block, frame: Frame) -> list[SparseVector]:
    lengths = _lengths(block, least=0)
    if len(frame) != _ENTRY * sum(lengths):
        raise ProtocolError(
            f"vectors {block.name!r}: {len(frame)} bytes, the header announces {sum(lengths)} "
            f"entries"
        )
    return _cut_entries(frame, lengths)


def _lengths(block: Block, least: int) -> Lengths:
    lengths = block.lengths or ()
    if len(lengths) != len(block.places) or min(lengths, default=least) < least:
        raise ProtocolError(f"vectors {block.name!r}: {len(lengths)} lengths that do not fit")
    return lengths


_VECTORS: Final = _Kind(_write_vectors, _read_vectors)
_MULTIVECTORS: Final = _Kind(_write_multivectors, _read_multivectors)
_SPARSE: Final = _Kind(_write_sparse, _read_sparse)


def _kind_of(vector: OneResultVector) -> _Kind:
    if isinstance(vector, SparseVector):
        return _SPARSE
    return _MULTIVECTORS if isinstance(vector[0], list) else _VECTORS


def _kind_in(block: Block) -> _Kind:
    if not block.dimension:
        return _SPARSE
    return _VECTORS if block.lengths is None else _MULTIVECTORS


# -- entries of sparse vectors


def _joined_entries(vectors: Sequence[SparseVector]) -> bytes:
    """All indices, then all values."""
    indices = [one.arrays[0].astype(_U32, copy=False) for one in vectors]
    values = [one.arrays[1].astype(_F32, copy=False) for one in vectors]
    return b"".join(array.tobytes() for array in (*indices, *values))


def _cut_entries(frame: Frame, lengths: Lengths) -> list[SparseVector]:
    """The sparse vectors that have so many entries of the frame each. Raises ProtocolError."""
    total = sum(lengths)
    indices = np.frombuffer(frame, _U32, total)
    values = np.frombuffer(frame, _F32, total, offset=total * _U32.itemsize)
    ends = list(accumulate(lengths, initial=0))
    if not _ascend(indices, ends):
        raise ProtocolError("indices of a sparse vector do not ascend")
    if not np.isfinite(values).all():
        raise ProtocolError("a sparse vector holds a number that is not finite")
    return [
        SparseVector.of_arrays(indices[first:end].astype(np.uint32), values[first:end].astype("f4"))
        for first, end in pairwise(ends)
    ]


def _ascend(indices: NDArray[np.uint32], ends: list[int]) -> bool:
    """Whether the indices of each run ascend; the runs begin and end at `ends`."""
    rises = indices[1:] > indices[:-1]
    borders = np.array([end for end in ends if 0 < end < len(indices)], np.intp)
    rises[borders - 1] = True  # from one vector to the next
    return bool(rises.all())
