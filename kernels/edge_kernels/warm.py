"""Compiles every kernel of every module of the package, so that numba's cache is full.

Run as `python -m edge_kernels.warm`. Processes that start afterwards load machine code from the
cache; several that start at once on an empty cache would each compile the same kernels.
"""

from __future__ import annotations

import importlib
import pkgutil
import time
from pathlib import Path

from edge_kernels.jit import compile_doors


def warm() -> int:
    """Import every module of `edge_kernels`, compile all its kernels, and return how many."""
    folder = str(Path(__file__).parent)
    for found in pkgutil.iter_modules([folder]):
        importlib.import_module(f"edge_kernels.{found.name}")
    return compile_doors()


def main() -> None:
    """Warm the cache and say how long it took."""
    print("Kernels (compiled the first time, then kept): ", end="", flush=True)
    began = time.perf_counter()
    count = warm()
    print(f"{count} ready in {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
