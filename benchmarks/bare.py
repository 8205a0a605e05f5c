"""Bare indexes of other libraries: vectors in, ids out; no payload, no log, nothing on disk.

Each is made with the graph's parameters that the engines have, for cosine, and asked one query a
call. Making one raises ModuleNotFoundError where its library is not installed.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.engines import EF_CONSTRUCT, M

DIM = 384
FIRST_ROOM = 4096

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


class BareIndex(Protocol):
    """What the benchmark needs of one."""

    def add(self, ids: Ids, block: Floats) -> None:
        """Index float32[n, DIM]."""

    def set_ef(self, ef: int) -> None:
        """Keep that many candidates from now on."""

    def search(self, vector: Floats, top: int) -> list[int]:
        """Return the ids of the nearest."""
        ...


class Hnswlib:
    """hnswlib, float32."""

    def __init__(self) -> None:
        library: Any = importlib.import_module("hnswlib")
        self._index = library.Index(space="cosine", dim=DIM)
        self._index.init_index(FIRST_ROOM, M=M, ef_construction=EF_CONSTRUCT)
        self._index.set_num_threads(1)

    def add(self, ids: Ids, block: Floats) -> None:
        count = self._index.get_current_count() + len(ids)
        if count > self._index.get_max_elements():
            self._index.resize_index(2 * count)
        self._index.add_items(block, ids, num_threads=1)

    def set_ef(self, ef: int) -> None:
        self._index.set_ef(ef)

    def search(self, vector: Floats, top: int) -> list[int]:
        found: list[int] = self._index.knn_query(vector, top, num_threads=1)[0][0].tolist()
        return found


class Usearch:
    """usearch, in one of its types: "f32", "f16", "i8"."""

    def __init__(self, dtype: str) -> None:
        library: Any = importlib.import_module("usearch.index")
        self._index = library.Index(
            ndim=DIM, metric="cos", dtype=dtype, connectivity=M, expansion_add=EF_CONSTRUCT
        )

    def add(self, ids: Ids, block: Floats) -> None:
        self._index.add(ids.astype(np.uint64), block, threads=1)

    def set_ef(self, ef: int) -> None:
        self._index.expansion_search = ef

    def search(self, vector: Floats, top: int) -> list[int]:
        found: list[int] = self._index.search(vector, top, threads=1).keys.tolist()
        return found


INDEXES: dict[str, Callable[[], BareIndex]] = {
    "hnswlib": Hnswlib,
    "usearch f32": lambda: Usearch("f32"),
    "usearch f16": lambda: Usearch("f16"),
    "usearch i8": lambda: Usearch("i8"),
}
