"""The directions along which a vector is measured before its numbers are made small.

Invariants: directions are orthonormal, so lengths and angles of what they keep are those of the
original; they are learnt once and never change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge.vectors.quantizers.stored import (
    Arrays,
    Floats,
    Matrix,
    read_floats,
    read_integers,
    thinned,
)
from edge_kernels import encode
from edge_kernels.encodings import stride_of

Numbers: TypeAlias = NDArray[np.float64]
Places: TypeAlias = NDArray[np.int32]
Pulse: TypeAlias = Callable[[], None]

STEP = 16  # floats; blocks begin at multiples of it
MOST_FLOATS = 1 << 20  # of all blocks: 4 MiB, and about the time of one query's turning
MOST_ROWS = 16_384  # that a covariance is learnt from
SEED = 20_240_229


class Axes(Protocol):
    """Gives a row's numbers along each direction that is kept."""

    @property
    def kept(self) -> int:
        """How many directions there are."""
        ...

    def along(self, rows: Floats) -> Floats:
        """Return float32[n, kept] of float32[n, stride]; may be a view of the rows."""
        ...

    def arrays(self) -> dict[str, Matrix]:
        """Return what was learnt."""
        ...


@dataclass(frozen=True, eq=False)
class Chosen:
    """The dimensions themselves, in an order of their own: `order` int32[kept]."""

    order: Places

    @property
    def kept(self) -> int:
        """How many directions there are."""
        return len(self.order)

    def along(self, rows: Floats) -> Floats:
        """Return float32[n, kept]."""
        if self._in_order:
            return rows[:, : self.kept]
        return np.take(rows, self.order, axis=1)

    @cached_property
    def _in_order(self) -> bool:
        return np.array_equal(self.order, np.arange(self.kept))

    def arrays(self) -> dict[str, Matrix]:
        """Return the order."""
        return {"order": self.order}


@dataclass(frozen=True, eq=False, slots=True)
class Turned:
    """Directions of a rotation within blocks of dimensions.

    Direction j is `matrix` [j] (float32[kept, width]) over the dimensions from `starts` [j] on.
    Blocks keep the matrix below 4 MiB, whatever the dimension: up to 1,024 dimensions are one.
    """

    matrix: Floats
    starts: Places

    @property
    def kept(self) -> int:
        """How many directions there are."""
        return len(self.starts)

    def along(self, rows: Floats) -> Floats:
        """Return float32[n, kept]."""
        return encode.project(rows, self.matrix, self.starts)

    def arrays(self) -> dict[str, Matrix]:
        """Return matrix and starts."""
        return {"matrix": self.matrix, "starts": self.starts}


def axes_of(dim: int, arrays: Arrays) -> Axes:
    """Return the axes that were stored. ValueError, by name, for what cannot be any."""
    stride = stride_of(dim)
    if "order" in arrays:
        order = read_integers(arrays, "order", np.int32, (None,), 0, dim - 1)
        _check_kept(len(order), dim, "order")
        return Chosen(order)
    matrix = read_floats(arrays, "matrix", (None, None))
    kept, width = matrix.shape
    _check_kept(kept, dim, "matrix")
    if not width or width % STEP or width > stride:
        raise ValueError(f"matrix: {width} floats in a row for vectors of {dim}")
    return Turned(matrix, read_integers(arrays, "starts", np.int32, (kept,), 0, stride - width))


def _check_kept(kept: int, dim: int, name: str) -> None:
    if not 1 <= kept <= dim:
        raise ValueError(f"{name}: {kept} directions of {dim} dimensions")


# --- learning --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Block:
    """Dimensions first..first+count-1, which are turned together; read from `start` on."""

    first: int
    count: int
    start: int
    width: int


def blocks_of(dim: int) -> list[Block]:
    """Return the fewest blocks of about equal width whose matrices stay below MOST_FLOATS."""
    stride = stride_of(dim)
    most = max(STEP, MOST_FLOATS // stride // STEP * STEP)
    width = stride_of(-(-stride // -(-stride // most)))
    firsts = range(0, dim, width)
    return [Block(f, min(width, dim - f), min(f, stride - width), width) for f in firsts]


@dataclass(frozen=True, eq=False, slots=True)
class Spectrum:
    """The principal directions of the blocks of a sample, by falling variance.

    `variances` float64[dim]; direction i is `vectors` [block[i]] [:, column[i]].
    """

    blocks: list[Block]
    vectors: list[Numbers]
    variances: Numbers
    block: NDArray[np.intp]
    column: NDArray[np.intp]


def spectrum(sample: Floats, dim: int, pulse: Pulse) -> Spectrum:
    """Learn the principal directions of float32[m, stride], whose mean is taken as zero.

    Variances are drawn towards their mean by dim / (dim + m): those of few rows say little.
    """
    blocks = blocks_of(dim)
    rows = thinned(sample, MOST_ROWS)
    found = []
    for each in blocks:
        part = np.ascontiguousarray(rows[:, each.first : each.first + each.count])
        pulse()
        found.append(_principal(part))
    pulse()
    variances = np.concatenate([values for values, _ in found])
    order = np.argsort(-variances, kind="stable")
    block = np.repeat(np.arange(len(blocks)), [each.count for each in blocks])
    column = np.concatenate([np.arange(each.count) for each in blocks])
    vectors = [directions for _, directions in found]
    return Spectrum(blocks, vectors, variances[order], block[order], column[order])


def _principal(rows: Floats) -> tuple[Numbers, Numbers]:
    """Return variances, falling, and directions as columns, of rows float32[m, count]."""
    m, count = rows.shape
    scale = float(np.abs(rows).max(initial=0)) or 1.0
    scaled = rows / np.float32(scale)
    covariance = (scaled.T @ scaled).astype(np.float64) / m
    values, vectors = np.linalg.eigh(covariance)
    falling = np.maximum(values[::-1], 0) * scale**2
    doubt = count / (count + m)
    return falling * (1 - doubt) + falling.mean() * doubt, vectors[:, ::-1]


def turned(found: Spectrum, order: NDArray[np.intp], mixed: NDArray[Any], pulse: Pulse) -> Turned:
    """Return the directions at `order` [kept] of the spectrum, as axes.

    Those of one block with the same number in `mixed` [kept] are rotated among each other at
    random, which gives them equal variance and makes what rounding adds alike in all directions.
    A number below zero leaves a direction as it is.
    """
    matrix = np.zeros((len(order), found.blocks[0].width), np.float32)
    for members in _groups(found.block[order], mixed):
        pulse()
        number = int(found.block[order[members[0]]])
        columns = found.vectors[number][:, found.column[order[members]]]
        if mixed[members[0]] >= 0:
            columns = columns @ random_rotation(len(members), number)
        each = found.blocks[number]
        at = each.first - each.start
        matrix[members, at : at + each.count] = columns.T
    starts = np.array([each.start for each in found.blocks], np.int32)
    return Turned(matrix, starts[found.block[order]])


def _groups(first: NDArray[Any], second: NDArray[Any]) -> list[NDArray[np.intp]]:
    """Return the places of each pair of values, ascending."""
    order = np.lexsort((second, first))
    changes = np.flatnonzero(np.diff(first[order]) | np.diff(second[order]))
    return np.split(order, changes + 1)


def random_rotation(size: int, number: int) -> Numbers:
    """Return an orthogonal float64[size, size], the same for the same arguments.

    Of a matrix of normal numbers, the Q of QR with R's diagonal positive: uniform among rotations
    (F. Mezzadri, "How to generate random matrices from the classical compact groups", 2007).
    """
    normal = np.random.default_rng((SEED, number)).standard_normal((size, size))
    q, r = np.linalg.qr(normal)
    rotation: Numbers = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return rotation


def random_axes(dim: int, pulse: Pulse) -> Turned:
    """Return a random rotation within each block, which needs nothing to learn from."""
    blocks = blocks_of(dim)
    matrix = np.zeros((dim, blocks[0].width), np.float32)
    starts = np.repeat([each.start for each in blocks], [each.count for each in blocks])
    for number, each in enumerate(blocks):
        pulse()
        at, end = each.first - each.start, each.first + each.count
        matrix[each.first : end, at : at + each.count] = random_rotation(each.count, number)
    return Turned(matrix, starts.astype(np.int32))
