"""Rows of one vector name in stored form, on their way from one place to another.

Dense rows are a matrix [m, width]. Of multivectors and sparse vectors a row has any number of
entries: `Ragged`. Invariant: nothing here is changed once it is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Offsets: TypeAlias = NDArray[np.uint32]
Starts: TypeAlias = NDArray[np.int64]
Matrix: TypeAlias = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Ragged:
    """Row i has the entries starts[i] to before starts[i + 1] of each part.

    `starts` int64[m + 1], from 0 on. Parts: a matrix of vectors, or indices uint32 and values.
    """

    starts: Starts
    parts: tuple[Matrix, ...]

    def __len__(self) -> int:
        return len(self.starts) - 1


Stored: TypeAlias = Matrix | Ragged


def starts_of(lengths: NDArray[Any]) -> Starts:
    """Return int64[m + 1]: where each of the runs of these lengths begins, and the end."""
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts


def entries_of(starts: Starts, places: NDArray[Any]) -> tuple[Starts, NDArray[np.int64]]:
    """Return where the rows at `places` begin once they lie together, and the entries they have."""
    firsts = starts[places]
    taken = starts_of(starts[places.astype(np.int64) + 1] - firsts)
    entries = np.repeat(firsts - taken[:-1], np.diff(taken)) + np.arange(taken[-1])
    return taken, entries


def take(block: Stored, places: NDArray[Any]) -> Stored:
    """Return the rows at these places, in this order."""
    if not isinstance(block, Ragged):
        rows: Matrix = block[places]
        return rows
    starts, entries = entries_of(block.starts, places)
    return Ragged(starts, tuple(part[entries] for part in block.parts))


def joined(blocks: Sequence[Stored]) -> Stored:
    """Return the rows of all blocks (one at least, of one kind), one after another."""
    if len(blocks) == 1:
        return blocks[0]
    ragged = [block for block in blocks if isinstance(block, Ragged)]
    if not ragged:
        matrices: Any = blocks
        return np.concatenate(matrices)
    starts = starts_of(np.concatenate([np.diff(block.starts) for block in ragged]))
    parts = zip(*(block.parts for block in ragged), strict=True)
    return Ragged(starts, tuple(np.concatenate(part) for part in parts))
