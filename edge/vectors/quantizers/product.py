"""Product quantization: chunks of numbers, of each the nearest of 256 centroids.

Invariants: chunk c is the numbers c * width to before (c + 1) * width; the rest of the last one is
zeros. Where a distance allows it, and a chunk is more than one number, the numbers are taken along
principal directions, dealt out so that all chunks hold about as much (T. Ge et al., "Optimized
Product Quantization", 2013: eigenvalue allocation).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.vectors.quantizers.axes import (
    Axes,
    Chosen,
    Numbers,
    Pulse,
    axes_of,
    spectrum,
    turned,
)
from edge.vectors.quantizers.sliced import mean_of
from edge.vectors.quantizers.stored import Arrays, Floats, Matrix, read_floats, thinned
from edge_kernels import encode
from edge_kernels.encodings import (
    COSINE,
    DOT,
    EUCLID,
    MANHATTAN,
    PRODUCT,
    PRODUCT_HEADER,
    code_of,
    stride_of,
)

CENTROIDS = encode.CENTROIDS
WIDTHS = {4: 1, 8: 2, 16: 4, 32: 8, 64: 16}  # numbers of a chunk, by how many times smaller it is
MOST_TURNS = 10
MOST_ROWS = 40 * CENTROIDS
SLICE = 1024  # rows between two pulses


def _products(point: Floats, centroids: Floats, out: Floats) -> None:
    np.einsum("cw,cwk->ck", -point, centroids, out=out)


def _square_distances(point: Floats, centroids: Floats, out: Floats) -> None:
    apart = centroids - point[:, :, None]
    np.einsum("cwk,cwk->ck", apart, apart, out=out)


def _absolute_differences(point: Floats, centroids: Floats, out: Floats) -> None:
    apart = centroids - point[:, :, None]
    np.abs(apart, out=apart).sum(axis=1, out=out)


_TABLES: dict[int, Callable[[Floats, Floats, Floats], None]] = {
    COSINE: _products,
    DOT: _products,
    EUCLID: _square_distances,
    MANHATTAN: _absolute_differences,
}


@dataclass(frozen=True, eq=False, slots=True)
class Product:
    """A quantizer to one byte a chunk: `centroids` float32[chunks, width, 256]."""

    metric: int
    dim: int
    axes: Axes
    centroids: Floats

    @property
    def code(self) -> int:
        """What kernels call the rows."""
        return code_of(self.metric, PRODUCT)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return -(-len(self.centroids) // 4) * 4

    def encode(self, rows: Floats) -> Matrix:
        """Return uint8[n, row_bytes] of float32[n, stride]."""
        out = np.zeros((len(rows), self.row_bytes), np.uint8)
        out[:, : len(self.centroids)] = encode.nearest(_along(self.axes, rows), self.centroids)
        return out

    def query(self, vector: Floats) -> Floats:
        """Return float32[16 + chunks * 256] of float32[stride]: the number of chunks, then what
        each centroid adds to the distance."""
        chunks, width, _ = self.centroids.shape
        point = _along(self.axes, vector.reshape(1, -1))[0, : chunks * width]
        out = np.zeros(PRODUCT_HEADER // 4 + chunks * CENTROIDS, np.float32)
        out[0] = chunks
        table = out[PRODUCT_HEADER // 4 :].reshape(chunks, CENTROIDS)
        with np.errstate(over="ignore"):
            _TABLES[self.metric](point.reshape(chunks, width), self.centroids, table)
        return out

    def arrays(self) -> dict[str, Matrix]:
        """Return all that was learnt."""
        return {"centroids": self.centroids, **self.axes.arrays()}


def _along(axes: Axes, rows: Floats) -> Floats:
    """Return float32[n, stride]: the numbers along the axes, then zeros."""
    block = np.zeros(rows.shape, np.float32)
    block[:, : axes.kept] = axes.along(rows)
    return block


def product_of(metric: int, dim: int, arrays: Arrays) -> Product:
    """Return the quantizer of `Product.arrays()`. ValueError, by name, for what cannot be one."""
    axes = axes_of(dim, arrays)
    if axes.kept != dim:
        raise ValueError(f"{axes.kept} axes of {dim} dimensions")
    centroids = read_floats(arrays, "centroids", (None, None, CENTROIDS))
    chunks, width, _ = centroids.shape
    if width not in WIDTHS.values() or chunks != -(-dim // width):
        raise ValueError(f"centroids: {chunks} chunks of {width} for {dim} dimensions")
    return Product(metric, dim, axes, centroids)


# --- learning --------------------------------------------------------------------------------


def train_product(
    metric: int, dim: int, sample: Floats, pulse: Pulse, *, ratio: int = 16
) -> Product:
    """Learn from float32[m, stride], of which 10,240 rows are used. `ratio` 4, 8, 16, 32 or 64."""
    if ratio not in WIDTHS:
        raise ValueError(f"product quantization x{ratio}")
    width = WIDTHS[ratio]
    axes = _axes(metric, dim, width, sample, pulse)
    rows = _along(axes, thinned(sample, MOST_ROWS))
    centroids = _start(rows, -(-dim // width), width, pulse)
    for _ in range(min(MOST_TURNS, 3 * width)):
        _improve(rows, centroids, pulse)
    return Product(metric, dim, axes, centroids)


def _axes(metric: int, dim: int, width: int, sample: Floats, pulse: Pulse) -> Axes:
    if metric == MANHATTAN or width == 1 or dim <= width:
        return Chosen(np.arange(dim, dtype=np.int32))
    mean = np.pad(mean_of(sample, dim), (0, stride_of(dim) - dim))
    found = spectrum(sample - mean, dim, pulse)
    order = dealt(found.variances, width)
    return turned(found, order, np.full(dim, -1), pulse)


def dealt(variances: Numbers, width: int) -> NDArray[np.intp]:
    """Return which direction goes where, intp[dim], so that chunks have about the same product of
    variances: each, by falling variance, goes to the chunk with room whose product is least."""
    dim = len(variances)
    logs = np.log(np.maximum(variances / (variances[0] or 1.0), 1e-12))
    chunks = -(-dim // width)
    room = [width] * (chunks - 1) + [dim - width * (chunks - 1)]
    held: list[list[int]] = [[] for _ in room]
    least = [(0.0, chunk) for chunk in range(chunks)]
    for direction, log in enumerate((logs - logs[-1]).tolist()):
        total, chunk = heapq.heappop(least)
        held[chunk].append(direction)
        if len(held[chunk]) < room[chunk]:
            heapq.heappush(least, (total + log, chunk))
    return np.array([direction for each in held for direction in each], np.intp)


def _start(rows: Floats, chunks: int, width: int, pulse: Pulse) -> Floats:
    """Return float32[chunks, width, 256]: of each chunk rows chosen by their first number.

    Where numbers of density p are coded, centroids of the least square error have the density
    p^(width / (width + 2)) (A. Gersho, "Asymptotically optimal block quantization", 1979). The
    gap between two neighbours of a sample is 1 / p, so even steps in the sum of
    gap^(2 / (width + 2)) have that density. For one number this is almost the end of the search.
    """
    centroids = np.empty((chunks, width, CENTROIDS), np.float32)
    for chunk in range(chunks):
        pulse()
        part = rows[:, chunk * width : (chunk + 1) * width]
        order = np.argsort(part[:, 0], kind="stable")
        gaps = np.diff(part[order, 0].astype(np.float64), prepend=part[order[0], 0])
        ways = np.cumsum(gaps ** (2 / (width + 2)))
        places = np.searchsorted(ways, np.linspace(0, ways[-1], CENTROIDS))
        centroids[chunk] = part[order[np.minimum(places, len(rows) - 1)]].T
    return centroids


def _improve(rows: Floats, centroids: Floats, pulse: Pulse) -> None:
    """Move each centroid, in place, to the mean of the rows that are nearest to it, if any are."""
    labels = []
    for first in range(0, len(rows), SLICE):
        pulse()
        labels.append(encode.nearest(rows[first : first + SLICE], centroids))
    of_rows = np.concatenate(labels)
    chunks, width, _ = centroids.shape
    for chunk in range(chunks):
        near = np.ascontiguousarray(of_rows[:, chunk]).astype(np.intp)
        counts = np.bincount(near, minlength=CENTROIDS)
        for number in range(width):
            column = rows[:, chunk * width + number]
            sums = np.bincount(near, weights=column, minlength=CENTROIDS)
            means = sums / np.maximum(counts, 1)
            centroids[chunk, number] = np.where(counts > 0, means, centroids[chunk, number])
        pulse()
