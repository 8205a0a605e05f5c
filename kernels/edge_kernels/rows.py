"""Blocks of vectors as padded float32 rows: normalising, checking, copying.

Invariants:
- A block is C-contiguous float32 [n, stride], stride a multiple of 16, zeros after the dimension.
- A row's result never depends on the rows beside it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edge_kernels.floats import float32_dot
from edge_kernels.jit import (
    address_of,
    address_of_any,
    advise,
    call,
    door,
    fill_bytes,
    inner,
    load_f32,
    load_i32,
    load_i64,
    load_u32,
    move_bytes,
    store_f32,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Block = NDArray[np.float32]


def normalise(block: Block) -> None:
    """Divide every row by its length, in place, where Qdrant does so.

    The squared length is computed in float32. A row is left as it is when that is below 2^-23 (zero
    or almost so) or within 1e-6 of 1. When it overflows, beyond lengths of 1.8e19, the row becomes
    zeros. Source: `is_length_zero_or_normalized` and `cosine_preprocess` of Qdrant's segment crate.
    """
    n, stride = block.shape
    call(_normalise, address_of(block), n, 4 * stride)


def all_finite(block: Block) -> bool:
    """Whether no number of a C-contiguous float32 array of any shape is NaN or infinite."""
    return bool(call(_all_finite, address_of(block), block.size))


def ask_for(src: Block, offsets: NDArray[np.uint32], how: int) -> None:
    """Have the rows src[offsets[i]] of a mapped file read, all at once; see `jit.advise` for `how`.

    IndexError if an offset is outside.
    """
    if offsets.size and int(offsets.max()) >= src.shape[0]:
        raise IndexError(f"offset {offsets.max()} in a block of {src.shape[0]} rows")
    if offsets.size:
        where = np.ascontiguousarray(offsets)
        rows = address_of_any(src), src.strides[0]
        call(_ask_for, *rows, address_of(where), len(where), how)


def gather(src: Block, offsets: NDArray[np.uint32], out: Block) -> None:
    """out[i] = src[offsets[i]] for src [n, stride], offsets [m], out [m, stride].

    IndexError if an offset is outside, ValueError if `out` has another shape.
    """
    if out.shape != (offsets.size, src.shape[1]):
        raise ValueError(f"out has shape {out.shape}, not {(offsets.size, src.shape[1])}")
    if offsets.size and int(offsets.max()) >= src.shape[0]:
        raise IndexError(f"offset {offsets.max()} in a block of {src.shape[0]} rows")
    if offsets.size:
        # "clip" only because numpy's "raise" goes through a buffer of its own.
        np.take(src, offsets, axis=0, out=out, mode="clip")


def padded(src: NDArray[np.float32], stride: int, normalised: bool = False) -> Block:
    """Return float32[n, stride], stride >= dim: src float32[n, dim], C-contiguous, then zeros; with
    `normalised` divided as `normalise` does. ValueError if src is of another type or order."""
    n, dim = src.shape
    if dim > stride or src.dtype != np.float32 or not src.flags.c_contiguous:
        raise ValueError(f"{src.dtype}[{n}, {dim}] cannot be padded to float32[{n}, {stride}]")
    out = np.empty((n, stride), np.float32)
    if n:
        call(_pad, address_of(src), 4 * dim, address_of(out), n, 4 * stride, normalised)
    return out


# --- kernels ---------------------------------------------------------------------------------


@inner
def _needs_scaling(squared: float) -> bool:
    off = squared - np.float32(1)
    return not (squared < np.float32(2.0**-23) or abs(off) <= np.float32(1e-6))


@door
def _all_finite(block: int) -> int:
    numbers, count = load_i64(block), load_i64(block + 8)
    carried = 0
    for i in range(count):
        # An exponent of ones is NaN or infinity; one more carries into bit 31. Integers, because
        # a comparison of floats is what a compiler may think away.
        carried |= (load_i32(numbers + 4 * i) & 0x7F800000) + 0x00800000
    return (carried >> 31) ^ 1


@inner
def _normalise_one(row: int, size: int) -> None:
    squared = -float32_dot(row, row, size)
    if _needs_scaling(squared):
        length = math.sqrt(squared)
        for at in range(row, row + size, 4):
            store_f32(at, load_f32(at) / length)


@door
def _normalise(block: int) -> int:
    rows, n, size = load_i64(block), load_i64(block + 8), load_i64(block + 16)
    for i in range(n):
        _normalise_one(rows + i * size, size)
    return 0


@door
def _pad(block: int) -> int:
    source, given, out = load_i64(block), load_i64(block + 8), load_i64(block + 16)
    n, size, normalised = load_i64(block + 24), load_i64(block + 32), load_i64(block + 40)
    for i in range(n):
        row = out + i * size
        move_bytes(row, source + i * given, given)
        fill_bytes(row + given, 0, size - given)
        if normalised != 0:
            _normalise_one(row, size)
    return 0


@door
def _ask_for(block: int) -> int:
    rows, size, how = load_i64(block), load_i64(block + 8), load_i64(block + 32)
    for at in range(load_i64(block + 24)):
        advise(how, rows + size * load_u32(load_i64(block + 16) + 4 * at), size)
    return 0
