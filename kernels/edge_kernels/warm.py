"""Compiles every kernel by importing every module of the package, so that numba's cache is full.

Run as `python -m edge_kernels.warm`. Processes that start afterwards load machine code from the
cache; several that start at once on an empty cache would each compile the same kernels.
"""

from __future__ import annotations

import importlib
import pkgutil
import time
from pathlib import Path


def warm() -> list[str]:
    """Import every module of `edge_kernels` and return their names, sorted."""
    folder = str(Path(__file__).parent)
    names = sorted(found.name for found in pkgutil.iter_modules([folder]))
    modules = [f"edge_kernels.{name}" for name in names if name != "warm"]
    for module in modules:
        importlib.import_module(module)
    return modules


def main() -> None:
    """Warm the cache and say how long it took."""
    print("Kernels (compiled the first time, then kept): ", end="", flush=True)
    began = time.perf_counter()
    modules = warm()
    print(f"{len(modules)} modules ready in {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
