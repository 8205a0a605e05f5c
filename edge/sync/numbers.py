"""Vectors as JSON numbers, as short as they can be said.

Invariant: what is read back as float32 is what was written. JSON numbers are read as float64 first,
so a float32 would be written with 17 digits, of which 9 tell it from its neighbours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

DIGITS = 9
EXACT = 22
"""Powers of ten up to this one are float64 numbers themselves."""
_POWERS = 10.0 ** np.arange(EXACT + 1)


def short(block: NDArray[np.float32]) -> NDArray[np.float64]:
    """The same numbers, each the float64 that is nearest to its first nine digits."""
    wide = block.astype(np.float64)
    size = np.abs(wide)
    with np.errstate(divide="ignore"):
        places = DIGITS - 1 - np.floor(np.log10(size, where=size > 0, out=np.zeros_like(wide)))
    fits = (size > 0) & (places >= 0) & (places <= EXACT)
    scale = _POWERS[np.where(fits, places, 0).astype(np.intp)]
    found: NDArray[np.float64] = np.where(fits, np.rint(wide * scale) / scale, wide)
    return found


def as_lists(block: NDArray[np.float32]) -> list[Any]:
    """The same numbers as Python's."""
    found: list[Any] = short(block).tolist()
    return found
