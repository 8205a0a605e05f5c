"""A column that only grows: one writer, any number of readers, no lock.

Invariant: what `all()` gave stays as it was. The count grows after the elements are there, and a
reader takes the count before the array, so that it never meets an element before its value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

FIRST_CAPACITY = 64


class GrowingArray:
    """Elements of one dtype, added at the end."""

    __slots__ = ("_elements", "count")

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self._elements = np.empty(FIRST_CAPACITY, dtype)
        self.count = 0

    def extend(self, values: Sequence[Any] | npt.NDArray[Any]) -> None:
        """Add these values."""
        stop = self.count + len(values)
        if stop > len(self._elements):
            grown = np.empty(2 * stop, self._elements.dtype)
            grown[: self.count] = self._elements[: self.count]
            self._elements = grown
        self._elements[self.count : stop] = values
        self.count = stop

    def all(self) -> npt.NDArray[Any]:
        """What is there now, as a view."""
        count = self.count
        return self._elements[:count]

    def first(self, count: int) -> npt.NDArray[Any]:
        """The first `count` elements, which are there, as a view."""
        return self._elements[:count]
