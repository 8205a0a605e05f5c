"""Memory that the system may not take away, as far as it lets us."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import numpy.typing as npt


def lock(array: npt.NDArray[Any]) -> bool:
    """Ask the system to keep the array's memory resident; False where it does not (its limit is
    `ulimit -l`). The lock ends when the memory is given back."""
    if sys.platform == "win32" or not array.nbytes:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    address = ctypes.c_void_p(array.ctypes.data)
    return bool(libc.mlock(address, ctypes.c_size_t(array.nbytes)) == 0)
