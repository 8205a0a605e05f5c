"""What the system is told about mapped files: what will be read soon, and what is not needed now.

Invariant: it changes nothing but when bytes come from the disk, and what of them stays resident.
"""

from __future__ import annotations

import ctypes
import mmap
import time
from typing import Any

import numpy as np
import numpy.typing as npt


def ahead_of(array: npt.NDArray[Any]) -> int:
    """What kernels (`jit.advise`) take to ask for rows of this array: the address of int64[5], how
    the system is asked, the bytes of a page, what it is asked for, how its clock is read, and which
    one. 0 where the array is in memory, or the system takes no requests."""
    return 0 if _mapping_of(array) is None else _address_of_request()


def let_go(array: npt.NDArray[Any]) -> None:
    """Let go of the resident pages of the mapping that an array is a view of, if it is one."""
    mapping = _mapping_of(array)
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


def _mapping_of(array: npt.NDArray[Any]) -> mmap.mmap | None:
    """The mapping that an array is a view of, if there is one."""
    below: Any = array
    while isinstance(below, np.ndarray):
        below = below.base
    below = below.obj if isinstance(below, memoryview) else below
    return below if isinstance(below, mmap.mmap) else None


def _request() -> npt.NDArray[np.int64] | None:
    if not hasattr(mmap, "MADV_WILLNEED"):
        return None
    libc = ctypes.CDLL(None)
    ask, look = _entry(libc.madvise), _entry(libc.clock_gettime)
    words = ask, mmap.PAGESIZE, mmap.MADV_WILLNEED, look, time.CLOCK_MONOTONIC
    return np.array(words, np.int64)


def _entry(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


_REQUEST = _request()


def _address_of_request() -> int:
    return 0 if _REQUEST is None else int(_REQUEST.ctypes.data)
