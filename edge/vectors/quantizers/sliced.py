"""Rows as bit planes: each number along an axis becomes one to eight bits.

Invariants
- Numbers are coded about the mean, in equal steps: with b bits, code u of 0..2^b - 1 stands for
  half_range * (2u + 1 - 2^b) / 2^(b - 1), which is linear in the bits, with the weights 1, 1/2,
  1/4 .. from the highest on. A row's numbers are divided by its root mean square before.
- Axes come in groups of 64, of equal bits each. Kernels know up to four planes, so what a group has
  beyond four bits is a second group of *slots*: the lower bits, with a sixteenth of the half range.
- A row ends with a scale, by which its product with itself is exact, and one exact number: of
  distances its sum of squares about the mean, of dot products its product with the mean. So only
  what is left of a query beside the mean meets the error of the codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge.vectors.quantizers.axes import Axes, Pulse, axes_of
from edge.vectors.quantizers.stored import (
    Arrays,
    Floats,
    Matrix,
    read_floats,
    read_integers,
    thinned,
)
from edge_kernels import encode
from edge_kernels.encodings import COSINE, DOT, SLICED, SLICED_HEADER, code_of, stride_of

GROUP = 64  # slots of a word
MOST_BITS = 8
PLANES = 4

FIT_ROWS = 4096
FIT_TURNS = 4

# The best half range for b bits of a normal distribution of deviation 1, and the mean square error
# that is left, by numerical minimisation; up to five bits as in J. Max, "Quantizing for minimum
# distortion" (1960), table II, where the step is 2^(2 - b) half ranges.
HALF_RANGE = np.array([0.0, 0.7979, 0.9957, 1.1720, 1.3408, 1.5051, 1.6650, 1.8198, 1.9688])
ERROR = np.array([1.0, 0.36338, 0.11885, 0.03744, 0.01154, 0.003495, 0.00104, 0.0003043, 8.77e-5])

QUERY_STEP = {
    1: 1.5958,
    2: 0.9957,
    4: 0.3352,
}  # of the same table; eight bits cover the whole range


class Slots(NamedTuple):
    """Where the bits of each group go: slot group i holds the upper or lower bits of a group."""

    group: NDArray[np.intp]
    shift: NDArray[np.uint8]  # 4 where they are the lower ones
    share: Floats  # of the half range: 1, or a sixteenth
    words: list[int]  # of each plane


def slots_of(bits: NDArray[np.uint8]) -> Slots:
    """Return the slots of groups with these bits: those of the most bits first."""
    more = np.flatnonzero(bits > PLANES)
    group = np.concatenate([np.arange(len(bits)), more])
    shift = np.repeat(np.array([0, PLANES], np.uint8), [len(bits), len(more)])
    held = np.concatenate([np.minimum(bits, PLANES), bits[more] - PLANES])
    order = np.argsort(-held.astype(np.int64), kind="stable")
    words = [int((held > plane).sum()) for plane in range(PLANES)]
    share = np.where(shift[order] > 0, np.float32(1 / 16), np.float32(1))
    return Slots(group[order], shift[order], share, [count for count in words if count])


@dataclass(frozen=True, eq=False)
class Sliced:
    """A quantizer to bit planes.

    `mean` float32[dim]; `half_ranges` float32[kept], of each axis; `bits` uint8[groups], of each
    64 axes; `query_bits` 1 to 8, of each number of a query.
    """

    metric: int
    dim: int
    axes: Axes
    mean: Floats
    half_ranges: Floats
    bits: NDArray[np.uint8]
    query_bits: int

    @property
    def code(self) -> int:
        """What kernels call the rows."""
        return code_of(self.metric, SLICED)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return 8 * sum(self._slots.words) + 8

    def encode(self, rows: Floats) -> Matrix:
        """Return uint8[n, row_bytes] of float32[n, stride]."""
        with np.errstate(all="ignore"):
            return self._rows(rows)

    def _rows(self, rows: Floats) -> Matrix:
        about_mean = rows - self._padded_mean
        numbers = self.axes.along(about_mean)
        lengths = _squares(numbers)
        codes = self._codes(numbers, lengths)
        own_products = np.einsum("ij,ij->i", numbers, self._values(codes))
        scales = np.nan_to_num(lengths / own_products)
        out = np.empty((len(rows), self.row_bytes), np.uint8)
        self._write_planes(codes, out)
        trailer = np.stack([scales, self._exact(about_mean)], axis=1)
        out[:, -8:] = trailer.view(np.uint8)
        return out

    def _codes(self, numbers: Floats, lengths: Floats) -> NDArray[np.uint8]:
        """Return the codes uint8[n, kept] of float32[n, kept], given the rows' sums of squares."""
        spread = np.sqrt(lengths / np.float32(self.axes.kept))
        inverse = np.where(spread > 0, np.float32(1) / spread, np.float32(0))
        steps = numbers * inverse[:, None]
        steps *= self._steps_per_unit
        steps += self._halves
        np.clip(steps, 0, self._tops, out=steps)
        return steps.astype(np.uint8)

    def _values(self, codes: NDArray[np.uint8]) -> Floats:
        """Return what codes stand for, float32[n, kept]."""
        values = codes * (2 * self.half_ranges / self._halves)
        values += self.half_ranges * (1 / self._halves - 2)
        return values

    def _write_planes(self, codes: NDArray[np.uint8], out: Matrix) -> None:
        count, (group, shift, _, words) = len(codes), self._slots
        padded = np.zeros((count, len(self.bits) * GROUP), np.uint8)
        np.left_shift(codes, self._alignment, out=padded[:, : codes.shape[1]])
        slots = padded.reshape(count, len(self.bits), GROUP)[:, group] << shift[:, None]
        at = 0
        for plane, width in enumerate(words):
            bits = slots[:, :width] & np.uint8(128 >> plane)
            packed = np.packbits(bits.reshape(count, GROUP * width), axis=1, bitorder="little")
            out[:, at : at + 8 * width] = packed
            at += 8 * width

    def _exact(self, about_mean: Floats) -> Floats:
        if self._by_angle:
            products: Floats = np.einsum("ij,j->i", about_mean, self._padded_mean)
            return products
        return _squares(about_mean)

    def query(self, vector: Floats) -> Matrix:
        """Return uint8[..], 8-byte aligned, of float32[stride]: see `planes` in edge_kernels.

        q.x = q.mean + share * mean.(x - mean) + (q - share * mean).(x - mean); the first is a
        constant of the query, the second has its number in the row, and the share is chosen so that
        least is left for the third.
        """
        with np.errstate(all="ignore"):
            return self._form(vector)

    def _form(self, vector: Floats) -> Matrix:
        form = self._blank.copy()
        floats = form.view(np.float32)
        if self._by_angle:
            product = vector @ self._padded_mean
            share = product / self._mean_squares
            about = vector - share * self._padded_mean
            floats[5], floats[6] = product, share
        else:
            about = vector - self._padded_mean
            floats[6] = about @ about
        numbers = self.axes.along(about.reshape(1, -1))[0]
        in_slots = np.take(numbers, self._axis_of_slot)
        in_slots *= self._weight_of_slot
        encode.slice_query(form, in_slots, self._fills, QUERY_STEP.get(self.query_bits, 0.0))
        return form

    def arrays(self) -> dict[str, Matrix]:
        """Return all that was learnt, and how many bits a query has."""
        return {
            "mean": self.mean,
            "half_ranges": self.half_ranges,
            "bits": self.bits,
            "query_bits": np.array([self.query_bits], np.uint8),
            **self.axes.arrays(),
        }

    # --- what follows from the fields --------------------------------------------------------

    @property
    def _by_angle(self) -> bool:
        return self.metric in (COSINE, DOT)

    @cached_property
    def _slots(self) -> Slots:
        return slots_of(self.bits)

    @cached_property
    def _padded_mean(self) -> Floats:
        return np.pad(self.mean, (0, stride_of(self.dim) - self.dim))

    @cached_property
    def _mean_squares(self) -> np.float32:
        return np.float32(np.vdot(self._padded_mean, self._padded_mean)) or np.float32(1)

    @cached_property
    def _bits_of_axes(self) -> NDArray[np.uint8]:
        return np.repeat(self.bits, GROUP)[: self.axes.kept]

    @cached_property
    def _halves(self) -> Floats:
        return np.float32(2) ** (self._bits_of_axes.astype(np.float32) - 1)

    @cached_property
    def _tops(self) -> Floats:
        return 2 * self._halves - 1

    @cached_property
    def _steps_per_unit(self) -> Floats:
        flat = self.half_ranges == 0  # an axis on which nothing varies
        safe = np.where(flat, np.float32(1), 2 * self.half_ranges)
        return np.where(flat, np.float32(0), self._halves / safe)

    @cached_property
    def _alignment(self) -> NDArray[np.uint8]:
        return MOST_BITS - self._bits_of_axes

    @cached_property
    def _fills(self) -> NDArray[np.int32]:
        """Of each word of slots, how many hold an axis: all but in the last group."""
        full = np.full(len(self.bits), GROUP, np.int32)
        full[-1] = self.axes.kept - GROUP * (len(full) - 1)
        return full[self._slots.group]

    @cached_property
    def _axis_of_slot(self) -> NDArray[np.intp]:
        axes = self._slots.group[:, None] * GROUP + np.arange(GROUP)
        clipped: NDArray[np.intp] = np.minimum(axes, self.axes.kept - 1)
        return clipped.reshape(-1)

    @cached_property
    def _weight_of_slot(self) -> Floats:
        used = np.arange(GROUP) < self._fills[:, None]
        share = np.where(used, self._slots.share[:, None], np.float32(0))
        return share.reshape(-1) * self.half_ranges[self._axis_of_slot]

    @cached_property
    def _blank(self) -> NDArray[np.uint8]:
        """A query's form with what does not depend on the query."""
        words = self._slots.words
        blank = np.zeros(SLICED_HEADER + 8 * self.query_bits * words[0], np.uint8)
        header = blank[:SLICED_HEADER].view(np.int64)
        header[:2] = len(words), self.query_bits
        header[4 : 4 + len(words)] = words
        weights = np.float32(0.5) ** np.arange(len(words), dtype=np.float32)
        header.view(np.float32)[16 : 16 + 2 * len(words) : 2] = weights
        return blank


def _squares(rows: Floats) -> Floats:
    lengths: Floats = np.einsum("ij,ij->i", rows, rows)
    return lengths


def sliced_of(metric: int, dim: int, arrays: Arrays) -> Sliced:
    """Return the quantizer of `Sliced.arrays()`. ValueError, by name, for what cannot be one."""
    axes = axes_of(dim, arrays)
    groups = -(-axes.kept // GROUP)
    query_bits = read_integers(arrays, "query_bits", np.uint8, (1,), 1, MOST_BITS)
    return Sliced(
        metric,
        dim,
        axes,
        read_floats(arrays, "mean", (dim,)),
        read_floats(arrays, "half_ranges", (axes.kept,), 0),
        read_integers(arrays, "bits", np.uint8, (groups,), 1, MOST_BITS),
        int(query_bits[0]),
    )


# --- learning --------------------------------------------------------------------------------


def train_sliced(
    metric: int,
    axes: Axes,
    bits: NDArray[np.uint8],
    mean: Floats,
    about_mean: Floats,
    query_bits: int,
    pulse: Pulse,
) -> Sliced:
    """Return a quantizer with these axes: `bits` uint8[groups], `mean` float32[dim], and the rows
    to learn half ranges from, `about_mean` float32[m, stride]."""
    rows = thinned(about_mean, FIT_ROWS)
    numbers = axes.along(rows)
    spread = np.sqrt(_squares(numbers) / np.float32(axes.kept))
    inverse = np.float32(1) / np.where(spread > 0, spread, np.float32(1))
    half_ranges = np.empty(axes.kept, np.float32)
    for group, count in enumerate(bits.tolist()):
        pulse()
        part = slice(group * GROUP, min((group + 1) * GROUP, axes.kept))
        half_ranges[part] = _fitted((numbers[:, part] * inverse[:, None]).astype(np.float32), count)
    return Sliced(metric, len(mean), axes, mean, half_ranges, bits, query_bits)


def _fitted(columns: Floats, bits: int) -> Floats:
    """Return each column's half range: from that of a normal distribution on, a few turns of
    coding by it and taking the one that fits the codes best, by least squares."""
    half = np.float32(1 << bits - 1)
    spread = np.sqrt(np.einsum("ij,ij->j", columns, columns) / np.float32(len(columns)))
    found: Floats = spread * np.float32(HALF_RANGE[bits])
    for _ in range(FIT_TURNS):
        safe = np.where(found > 0, found, np.float32(1))
        codes = np.floor(columns * (half / 2 / safe) + half)
        values = (2 * np.clip(codes, 0, 2 * half - 1) + (1 - 2 * half)) / half
        products = np.einsum("ij,ij->j", columns, values)
        found = products / np.einsum("ij,ij->j", values, values)
    return np.where(spread > 0, np.maximum(found, 0), np.float32(0))


def mean_of(sample: Floats, dim: int) -> Floats:
    """Return float32[dim], the mean of float32[m, stride]."""
    mean: Any = sample[:, :dim].mean(axis=0, dtype=np.float64).astype(np.float32)
    return np.ascontiguousarray(mean)
