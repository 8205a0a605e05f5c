"""How kernels tell the system what of a mapped file they will read, and what they have done with.

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
    """What kernels take to ask for rows of this array (`jit.advise` says what it is): 0 where the
    array is in memory, or the system takes no requests."""
    return 0 if _mapping_of(array) is None else _address_of_request()


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
    asked = ask, mmap.PAGESIZE, mmap.MADV_WILLNEED, mmap.MADV_DONTNEED
    return np.array([*asked, look, time.CLOCK_MONOTONIC], np.int64)


def _entry(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


_REQUEST = _request()


def _address_of_request() -> int:
    return 0 if _REQUEST is None else int(_REQUEST.ctypes.data)
