"""What rows are made of: the codes that say what a distance is of, and how many bytes each takes.

Invariants:
- A code is `metric | encoding << 8 | MULTI | COMBINED`; a metric alone is the code of FLOAT32
  rows.
- A matrix is a C-contiguous 2-d array, one row a vector (with MULTI, the descriptor of several);
  `size` is the bytes of a row. What lies behind the last dimension of a row is zero.
- A query has a form of its own, an array that kernels compare with rows:

  FLOAT32  float32[stride]   row: float32[stride], stride a multiple of 16
  FLOAT16  float32[stride]   row: float16[stride], stride a multiple of 16
  UINT8    uint8[stride]     row: uint8[stride], stride a multiple of 32
  INT8     64 bytes, of which the first four are a float32 factor, then int8[stride]
                             row: int8[stride], stride a multiple of 32
  SCALED8  float32[stride + 16], of which [stride] is the query's sum of squares
                             row: int8[stride], 8 zeros, float32 scale, float32 sum of squares;
                             stride a multiple of 32; an element is scale times its code
  SCALED16 as SCALED8        as SCALED8, of int16; stride a multiple of 16
  SLICED   see `planes`      row: bit planes, then float32 scale and float32 sum of squares
  PRODUCT  see `tables`      row: uint8[chunks], padded to a multiple of 4
  MULTI    int64[4]          row: int64[4]; both are (address of the first vector, how many, bytes
                             of one, 0), of vectors in the form of a single query or row
  COMBINED see `combined`    rows as without it
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]

COSINE, DOT, EUCLID, MANHATTAN = METRICS = range(4)
FLOAT32, FLOAT16, UINT8, INT8, SCALED8, SCALED16, SLICED, PRODUCT = ENCODINGS = range(8)
MULTI = 1 << 16
COMBINED = 1 << 17

GROUP = 16  # elements of one turn of a float loop; the stride of float rows is a multiple of it
PREFIX = 64  # bytes before the codes of an INT8 query
TRAILER = 16  # bytes behind the codes of a SCALED row
DESCRIPTOR = 32  # bytes of a descriptor of several vectors
SLICED_HEADER = 128  # bytes before the planes of a SLICED query
PRODUCT_HEADER = 64  # bytes before the table of a PRODUCT query

_ROW_FLOATS = {FLOAT32: "f", FLOAT16: "e"}
_QUERY_FLOATS = dict.fromkeys((FLOAT32, FLOAT16, SCALED8, SCALED16, PRODUCT), "f")
_STEPS = {FLOAT32: 16, FLOAT16: 16, UINT8: 32, INT8: 32, SCALED8: 32, SCALED16: 16}
_WIDTHS = {FLOAT32: 4, FLOAT16: 2, UINT8: 1, INT8: 1, SCALED8: 1, SCALED16: 2}


# --- codes -----------------------------------------------------------------------------------


def code_of(metric: int, encoding: int = FLOAT32, multi: bool = False) -> int:
    """The code of distances by `metric` of rows in `encoding`. ValueError if one is unknown."""
    if metric not in METRICS or encoding not in ENCODINGS:
        raise ValueError(f"unknown metric {metric} or encoding {encoding}")
    return metric | encoding << 8 | (MULTI if multi else 0)


def metric_of_code(code: int) -> int:
    """The metric in a code."""
    return code & 0xFF


def encoding_of_code(code: int) -> int:
    """The encoding in a code: with MULTI, that of one vector."""
    return code >> 8 & 0xFF


def is_multi(code: int) -> bool:
    """Whether a row stands for several vectors."""
    return bool(code & MULTI)


def single(code: int) -> int:
    """The code of one vector of a MULTI row; any other code itself."""
    return code & ~MULTI


def is_combined(code: int) -> bool:
    """Whether a query is several examples."""
    return bool(code & COMBINED)


def one_example(code: int) -> int:
    """The code of each example of a COMBINED query; any other code itself."""
    return code & ~COMBINED


def is_known(code: int) -> bool:
    """Whether there is such a code."""
    known = metric_of_code(code) in METRICS and encoding_of_code(code) in ENCODINGS
    return known and not code & ~(MULTI | COMBINED | 0xFFFF)


# --- sizes -----------------------------------------------------------------------------------


def stride_of(dim: int, encoding: int = FLOAT32) -> int:
    """Elements in a padded row of `dim` dimensions: `dim` rounded up to a multiple of 16, or of 32
    where they are bytes. KeyError for SLICED and PRODUCT, whose rows have no elements.
    """
    step = _STEPS[encoding]
    return -(-dim // step) * step


def row_bytes(encoding: int, dim: int) -> int:
    """Bytes of a row of `dim` dimensions. KeyError for SLICED and PRODUCT, whose rows depend on
    more than that.
    """
    trailer = TRAILER if encoding in (SCALED8, SCALED16) else 0
    return _WIDTHS[encoding] * stride_of(dim, encoding) + trailer


def _floats(width: int) -> Callable[[int], int]:
    return lambda size: size // width * 4


def _behind_codes(width: int) -> Callable[[int], int]:
    return lambda size: (size - TRAILER) // width * 4 + 4 * GROUP


_QUERY_BYTES: dict[int, Callable[[int], int]] = {
    FLOAT32: _floats(4),
    FLOAT16: _floats(2),
    UINT8: lambda size: size,
    INT8: lambda size: size + PREFIX,
    SCALED8: _behind_codes(1),
    SCALED16: _behind_codes(2),
}


def query_bytes(code: int, size: int) -> int:
    """Bytes of the query form for rows of `size` bytes. KeyError for SLICED and PRODUCT, whose
    queries depend on more than that.
    """
    return DESCRIPTOR if is_multi(code) else _QUERY_BYTES[encoding_of_code(code)](size)


def can_be_query(code: int) -> bool:
    """Whether a row can be made a query, as building a graph needs."""
    return encoding_of_code(code) in _QUERY_BYTES and not is_combined(code)


def scratch_bytes(code: int, size: int, most: int = 1) -> int:
    """Room that `query_of_row` needs for one row. `size` is the bytes of a vector; with MULTI that
    of one among several, of which there are at most `most` in a row. KeyError as `query_bytes`.
    """
    if encoding_of_code(code) in (FLOAT32, UINT8):
        return 0
    one = query_bytes(single(code), size)
    return DESCRIPTOR + most * one if is_multi(code) else one


# --- checks of what Python hands over --------------------------------------------------------


def check_rows(code: int, rows: Array) -> int:
    """Bytes of a row of `rows`. ValueError if they cannot be rows of that code.

    Arrays of floats must be of the right floats; any other type will do, the bytes count.
    """
    if rows.ndim != 2 or not rows.flags.c_contiguous:
        raise ValueError("rows must be C-contiguous and of two dimensions")
    size: int = rows.shape[1] * rows.itemsize
    _check_kind(code, rows.dtype.char, size)
    return size


@lru_cache(maxsize=256)
def _check_kind(code: int, kind: str, size: int) -> None:
    """ValueError if there are no such rows of numpy's type `kind`."""
    if not is_known(code):
        raise ValueError(f"unknown metric or encoding in code {code}")
    if _is_other_float(code, kind, _ROW_FLOATS):
        raise ValueError(f"rows must be of another type than {kind!r} for code {code}")
    if not _is_size(code, size):
        raise ValueError(f"rows must be padded; {size} bytes are no row of code {code}")


def _is_other_float(code: int, kind: str, wanted: dict[int, str]) -> bool:
    """Whether a type is one of floats, and not what is wanted for the encoding of a code."""
    return kind in "efdg" and (is_multi(code) or kind != wanted.get(encoding_of_code(code)))


def _is_size(code: int, size: int) -> bool:
    encoding = encoding_of_code(code)
    if is_multi(code):
        return size == DESCRIPTOR
    if encoding == PRODUCT:
        return size % 4 == 0 and size > 0
    if encoding == SLICED:
        return size % 8 == 0 and size > 8
    codes = size - TRAILER if encoding in (SCALED8, SCALED16) else size
    step = _STEPS[encoding] * _WIDTHS[encoding]
    return codes > 0 and codes % step == 0


def check_query(code: int, query: Array, size: int) -> None:
    """ValueError if `query` cannot be compared with rows of `size` bytes."""
    if not query.flags.c_contiguous:
        raise ValueError("a query must be C-contiguous")
    needed = _needed_bytes(code, query.dtype.char, size)
    if needed == 0:
        _check_itself(code, query, size)
    elif query.nbytes != needed:
        raise ValueError(
            f"a query must be of {needed} bytes, not {query.nbytes}, for rows of {size}"
        )


@lru_cache(maxsize=256)
def _needed_bytes(code: int, kind: str, size: int) -> int:
    """Bytes of a query of numpy's type `kind`; 0 where the query itself says how long it is."""
    if _is_other_float(code, kind, _QUERY_FLOATS):
        raise ValueError(f"a query must be of another type than {kind!r} for code {code}")
    tells = is_combined(code) or (
        not is_multi(code) and encoding_of_code(code) in (SLICED, PRODUCT)
    )
    return 0 if tells else query_bytes(code, size)


def _check_itself(code: int, query: Array, size: int) -> None:
    if is_combined(code):
        if query.dtype != np.int64 or len(query) < 8 or len(query) != 8 + int(query[1]):
            raise ValueError("a combined query has no header, or not as many examples as it says")
    elif encoding_of_code(code) == SLICED:
        _check_sliced(query, size)
    else:
        _check_product(query, size)


def _check_sliced(query: Array, size: int) -> None:
    words = query.reshape(-1).view(np.uint8)[:SLICED_HEADER].view(np.uint64).tolist()
    if len(words) < SLICED_HEADER // 8 or not (1 <= words[0] <= 4 and 1 <= words[1] <= 8):
        raise ValueError("a query of bit planes has no header")
    planes, needed = words[4 : 4 + words[0]], SLICED_HEADER + 8 * words[1] * words[4]
    if min(planes) < 0 or max(planes) > planes[0]:
        raise ValueError("the first bit plane is not the longest")
    if query.nbytes != needed or size != 8 * sum(planes) + 8:
        raise ValueError(
            f"a query must be of {needed} bytes, not {query.nbytes}, for rows of {size}"
        )


def _check_product(query: Array, size: int) -> None:
    chunks = float(query.reshape(-1).view(np.float32)[0]) if query.size else 0.0
    if not 1 <= chunks <= size or query.nbytes != PRODUCT_HEADER + 1024 * chunks:
        raise ValueError(
            f"a query of {query.nbytes} bytes and {chunks} chunks for rows of {size} bytes"
        )
