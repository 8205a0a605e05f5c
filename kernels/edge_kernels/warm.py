"""Compiles every kernel, so that numba's cache on disk is full and no search has to wait for it.

Run as `python -m edge_kernels.warm`. Processes that start afterwards load machine code from the
cache; several that start at once on an empty cache would each compile the same kernels, and a
kernel that is compiled by its first use holds the GIL for seconds.
"""

from __future__ import annotations

import importlib
import pkgutil
import time
from pathlib import Path

from edge_kernels.jit import compile_doors, doors_are_cached


def is_cached() -> bool:
    """Whether `warm` would find all kernels on disk."""
    _import_all()
    return doors_are_cached()


def warm() -> int:
    """Compile all kernels, or load them from the cache; return how many there are."""
    _import_all()
    return compile_doors()


def _import_all() -> None:
    for found in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"edge_kernels.{found.name}")


def main() -> None:
    """Warm the cache and say how long it took."""
    print("Kernels (compiled the first time, then kept): ", end="", flush=True)
    began = time.perf_counter()
    count = warm()
    print(f"{count} ready in {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
