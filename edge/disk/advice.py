"""Asks the system to read rows of mapped files before they are looked at, all at once.

Invariant: asking changes nothing but when bytes come from the disk.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np
import numpy.typing as npt


def ahead_of(array: npt.NDArray[Any]) -> int:
    """What kernels take to ask for rows of this array: the address of int64[3], how the system is
    asked, the bytes of a page, and what it is asked for. 0 where the array is in memory, or the
    system takes no requests."""
    return 0 if mapping_of(array) is None else _address_of_request()


def mapping_of(array: npt.NDArray[Any]) -> mmap.mmap | None:
    """The mapping that an array is a view of, if there is one."""
    below: Any = array
    while isinstance(below, np.ndarray):
        below = below.base
    below = below.obj if isinstance(below, memoryview) else below
    return below if isinstance(below, mmap.mmap) else None


def _request() -> npt.NDArray[np.int64] | None:
    if not hasattr(mmap, "MADV_WILLNEED"):
        return None
    entry = ctypes.cast(ctypes.CDLL(None).madvise, ctypes.c_void_p).value
    return np.array([entry or 0, mmap.PAGESIZE, mmap.MADV_WILLNEED], np.int64)


_REQUEST = _request()


def _address_of_request() -> int:
    return 0 if _REQUEST is None else int(_REQUEST.ctypes.data)
