"""How the numbers of a dense vector are stored and compared: its metric and its encoding.

Invariant: what is stored is what the kernels read, so a point has the same distance in the tail and
in a built segment, whatever the way it was found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge.model.vector_params import EdgeVectorParams, VectorStorageDatatype
from edge.vectors.block import Matrix
from edge.vectors.metric import metric_of
from edge_kernels import rows
from edge_kernels.encodings import (
    COSINE,
    FLOAT16,
    FLOAT32,
    SCALED8,
    SCALED16,
    UINT8,
    code_of,
    stride_of,
)
from edge_kernels.jit import address_of

Floats = NDArray[np.float32]

SCALED_TAIL = 8  # bytes of a scaled row's scale and sum of squares


class Query(NamedTuple):
    """What kernels compare with rows; `kept` holds whatever the form points to, `block` what it
    was made of: float32[k, stride], padded and, for cosine, normalised."""

    code: int
    form: NDArray[Any]
    kept: Any = None
    block: Floats | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """The stored form of one named vector; `many`: a point has several."""

    dim: int
    metric: int
    encoding: int
    many: bool = False

    @property
    def code(self) -> int:
        """What kernels call it."""
        return code_of(self.metric, self.encoding, self.many)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a row's elements."""
        return ENCODINGS[self.encoding].dtype

    @property
    def width(self) -> int:
        """Elements of a row, padding included."""
        return ENCODINGS[self.encoding].width(self.dim)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.width * self.dtype.itemsize

    @property
    def vector_bytes(self) -> int:
        """Bytes of a vector without padding."""
        return self.dim * ENCODINGS[self.encoding].element_bytes

    def rows(self, vectors: Floats) -> Matrix:
        """Return [n, width]: vectors float32[n, dim] as they are stored."""
        return ENCODINGS[self.encoding].encode(self._normal(vectors))[:, : self.width]

    def numbers(self, matrix: Matrix) -> Floats:
        """Return float32[n, dim]: what stored rows hold."""
        return ENCODINGS[self.encoding].decode(matrix)[:, : self.dim]

    def decoded(self, matrix: Matrix) -> Floats:
        """Return float32[n, stride]: what stored rows hold, padded and, for cosine, normalised:
        what quantizers take."""
        found = ENCODINGS[self.encoding].decode(matrix)
        if found.shape[1] != stride_of(self.dim) or self._is_normalised_late:
            return self._padded(found[:, : self.dim], self._is_normalised_late)
        return found

    @property
    def _is_normalised_late(self) -> bool:
        """Whether cosine vectors are stored as they are given."""
        return self.metric == COSINE and self.encoding == UINT8

    def query(self, vector: Floats) -> Query:
        """Return what kernels compare with the rows, of float32[dim] or of several [k, dim]."""
        block = self._normal(vector.reshape(-1, vector.shape[-1]))
        each = ENCODINGS[self.encoding].query(block)
        if not self.many:
            return Query(self.code, each[0], None, block)
        words = (address_of(each), len(each), each.strides[0], 0)
        return Query(self.code, np.array(words, np.int64), each, block)

    def queries(self, vectors: Sequence[Floats]) -> list[Query]:
        """Return `query` of each."""
        if self.many or not len(vectors):
            return [self.query(vector) for vector in vectors]
        block = self._normal(np.stack(vectors))
        each = ENCODINGS[self.encoding].query(block)
        return [Query(self.code, form, None, block[i : i + 1]) for i, form in enumerate(each)]

    def query_rows(self, vectors: Floats) -> Matrix:
        """Return [n, m]: what kernels compare with the rows, of float32[n, dim], one each."""
        return ENCODINGS[self.encoding].query(self._normal(vectors))

    def as_stored(self, query: Query) -> Floats:
        """Return float32[k, stride]: the vectors of `query` as if they were stored, decoded."""
        assert query.block is not None
        if self.encoding == FLOAT32:
            return query.block
        return self.decoded(ENCODINGS[self.encoding].encode(query.block)[:, : self.width])

    def _normal(self, vectors: Floats) -> Floats:
        """Return float32[n, stride]: padded and, where it is to be, normalised."""
        return self._padded(vectors, self.metric == COSINE and not self._is_normalised_late)

    def _padded(self, vectors: Floats, normalised: bool) -> Floats:
        given = np.ascontiguousarray(vectors, np.float32)
        return rows.padded(given, stride_of(self.dim), normalised)


class Encoding(NamedTuple):
    """One way to store numbers; all functions take or give float32[n, stride]."""

    element_bytes: int
    dtype: np.dtype[Any]
    width: Callable[[int], int]
    encode: Callable[[Floats], Matrix]
    decode: Callable[[Matrix], Floats]
    query: Callable[[Floats], Matrix]


def _same(block: Floats) -> Floats:
    return block


def _as_float16(block: Floats) -> Matrix:
    with np.errstate(over="ignore"):
        return block.astype(np.float16)


def _as_float32(block: Matrix) -> Floats:
    return block.astype(np.float32)


def _rounded_to_float16(block: Floats) -> Floats:
    return _as_float32(_as_float16(block))


def _to_multiple(size: int, of: int) -> int:
    return -(-size // of) * of


def _wide(dim: int) -> int:
    return _to_multiple(dim, 32)


def _as_uint8(block: Floats) -> Matrix:
    """What is behind the point is cut off, what is beyond 0 and 255 is these."""
    out = np.zeros((len(block), _wide(block.shape[1])), np.uint8)
    out[:, : block.shape[1]] = np.clip(block, 0, 255)
    return out


def _scaled(kind: type[Any], step: int) -> Callable[[Floats], Matrix]:
    top = np.iinfo(kind).max
    largest = np.nextafter(np.finfo(np.float32).max / np.float32(top), np.float32(0))

    def encode(block: Floats) -> Matrix:
        count, stride = block.shape
        codes = np.zeros((count, _to_multiple(stride, step)), kind)
        scale = np.abs(block).max(axis=1, initial=0).astype(np.float32) / np.float32(top)
        scale = np.minimum(scale, largest)  # so that top times scale is a finite number
        safe = np.where(scale > 0, scale, np.float32(1))
        codes[:, :stride] = np.rint(block / safe[:, None]).clip(-top, top)
        size = codes.shape[1] * codes.itemsize
        out = np.zeros((count, _to_multiple(size + SCALED_TAIL, 16)), np.uint8)
        out[:, :size] = codes.view(np.uint8)
        back = codes.astype(np.float32) * scale[:, None]
        tail = np.stack([scale, _squared(back)], axis=1)
        out[:, -SCALED_TAIL:] = np.ascontiguousarray(tail).view(np.uint8)
        return out

    return encode


def _squared(block: Floats) -> Floats:
    """Sums of squares; infinity where float32 has no such number, as of float32 rows."""
    with np.errstate(over="ignore"):
        found: Floats = (block * block).sum(axis=1, dtype=np.float32)
    return found


def _unscaled(kind: type[Any]) -> Callable[[Matrix], Floats]:
    size = np.dtype(kind).itemsize

    def decode(matrix: Matrix) -> Floats:
        block = np.ascontiguousarray(matrix)
        codes = (block.shape[1] - SCALED_TAIL) // size
        scale = block[:, -SCALED_TAIL : -SCALED_TAIL + 4].copy().view(np.float32)
        numbers = np.ascontiguousarray(block[:, : codes * size]).view(kind).astype(np.float32)
        found: Floats = numbers * scale
        return found

    return decode


def _scaled_query(step: int) -> Callable[[Floats], Matrix]:
    def query(block: Floats) -> Matrix:
        count, stride = block.shape
        wide = _to_multiple(stride, step)
        out = np.zeros((count, wide + 16), np.float32)
        out[:, :stride] = block
        out[:, wide] = _squared(block)
        return out

    return query


def _scaled_width(size: int, step: int) -> Callable[[int], int]:
    return lambda dim: _to_multiple(_to_multiple(stride_of(dim), step) * size + SCALED_TAIL, 16)


def _scaled_encoding(kind: type[Any], step: int) -> Encoding:
    size = np.dtype(kind).itemsize
    return Encoding(
        size,
        _BYTE,
        _scaled_width(size, step),
        _scaled(kind, step),
        _unscaled(kind),
        _scaled_query(step),
    )


_BYTE = np.dtype(np.uint8)

ENCODINGS: dict[int, Encoding] = {
    FLOAT32: Encoding(4, np.dtype(np.float32), stride_of, _same, _same, _same),
    FLOAT16: Encoding(
        2, np.dtype(np.float16), stride_of, _as_float16, _as_float32, _rounded_to_float16
    ),
    UINT8: Encoding(1, _BYTE, _wide, _as_uint8, _as_float32, _as_uint8),
    SCALED8: _scaled_encoding(np.int8, 32),
    SCALED16: _scaled_encoding(np.int16, 16),
}

_OF_DATATYPE = {
    None: FLOAT32,
    VectorStorageDatatype.Float32: FLOAT32,
    VectorStorageDatatype.Float16: FLOAT16,
    VectorStorageDatatype.Uint8: UINT8,
    VectorStorageDatatype.Turbo8: SCALED8,
    VectorStorageDatatype.Turbo16: SCALED16,
}


def form_of(params: EdgeVectorParams) -> Form:
    """Return how a vector of these params is stored."""
    many = params.multivector_config is not None
    return Form(params.size, metric_of(params.distance), _OF_DATATYPE[params.datatype], many)
