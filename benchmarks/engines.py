"""One adapter for each engine. The two have the same names and arguments, so little differs.

Lists go to both as lists. From numpy arrays each engine takes its fastest way: edgeshard takes the
arrays; qdrant-edge-py takes points whose vectors are lists (it reads an array element by element).
"""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Payloads = Sequence[dict[str, Any]]

M = 16
EF_CONSTRUCT = 100


class Engine:
    """What the tasks need of an engine; all times are the caller's to take."""

    name: ClassVar[str]
    distribution: ClassVar[str]

    def __init__(self) -> None:
        self.api = self.load_api()

    def load_api(self) -> ModuleType:
        """Import the engine."""
        raise NotImplementedError

    @property
    def version(self) -> str:
        """The installed version of the engine."""
        return importlib.metadata.version(self.distribution)

    def config(
        self, dim: int, threads: int = 1, indexed: bool = True, full_scan_kb: int = 10
    ) -> Any:
        """Cosine vectors of `dim`; `indexed`: one segment, HNSW from the first kilobytes on.

        A filter that leaves up to `full_scan_kb` of vectors is answered by scanning them.
        """
        api = self.api
        return api.EdgeConfig(
            vectors=api.EdgeVectorParams(dim, api.Distance.Cosine),
            hnsw_config=api.HnswIndexConfig(
                M, EF_CONSTRUCT, full_scan_kb, max_indexing_threads=threads
            ),
            optimizers=api.EdgeOptimizersConfig(
                default_segment_number=1,
                max_segment_size=4_000_000,
                indexing_threshold=100 if indexed else 0,
            ),
            **self.extra_config(),
        )

    def extra_config(self) -> dict[str, Any]:
        """Return what only this engine's config takes."""
        return {}

    def create(self, path: Path, config: Any) -> Any:
        """Make a shard in a folder that holds none."""
        return self.api.EdgeShard.create(str(path), config)

    def load(self, path: Path) -> Any:
        """Open the shard of a folder."""
        return self.api.EdgeShard.load(str(path))

    def upsert_lists(
        self, shard: Any, first: int, rows: list[list[float]], payloads: Payloads
    ) -> None:
        """Build points from lists and store them as one batch; ids count from `first`."""
        point = self.api.Point
        points = [
            point(first + i, row, payload)
            for i, (row, payload) in enumerate(zip(rows, payloads, strict=True))
        ]
        shard.update(self.api.UpdateOperation.upsert_points(points))

    def upsert_arrays(self, shard: Any, first: int, rows: Floats, payloads: Payloads) -> None:
        """Store float32[n, d] as one batch, in the engine's fastest way."""
        self.upsert_lists(shard, first, rows.tolist(), payloads)

    def request(
        self, vector: list[float], ef: int | None = None, limit: int = 10, filter: Any = None
    ) -> Any:
        """Build a query for the ids of the nearest points, of those that the filter leaves."""
        params = None if ef is None else self.api.SearchParams(hnsw_ef=ef)
        return self.api.QueryRequest(
            limit=limit, query=self.api.Query.Nearest(vector), filter=filter, params=params
        )


class Edgeshard(Engine):
    """edgeshard through its blocking facade. `durability` names a way to sync: see the README."""

    name = "edgeshard"
    distribution = "edgeshard"

    def __init__(self, durability: str = "interval") -> None:
        super().__init__()
        self.durability = durability

    def load_api(self) -> ModuleType:
        import edge.blocking

        return edge.blocking

    def extra_config(self) -> dict[str, Any]:
        return {"durability": getattr(self.api.Durability, self.durability.capitalize())}

    def upsert_arrays(self, shard: Any, first: int, rows: Floats, payloads: Payloads) -> None:
        ids = np.arange(first, first + len(rows), dtype=np.uint64)
        shard.upsert_arrays(ids, rows, payloads)


class Qdrant(Engine):
    """qdrant-edge-py."""

    name = "qdrant-edge"
    distribution = "qdrant-edge-py"

    def load_api(self) -> ModuleType:
        import qdrant_edge

        return qdrant_edge


ENGINES: dict[str, type[Engine]] = {engine.name: engine for engine in (Edgeshard, Qdrant)}


# ---- with an event loop ----


class AsyncShard(Protocol):
    """A shard used from coroutines."""

    async def write(self, first: int, rows: Floats, payloads: Payloads) -> None:
        """Store float32[n, d] as one batch."""

    async def query(self, vector: list[float]) -> list[Any]:
        """Ask for the nearest ten."""

    async def optimize(self) -> None:
        """Return when all is indexed."""

    async def close(self) -> None:
        """Close the shard."""


class EdgeshardAsync:
    """edgeshard through its async facade; it indexes in the background by itself."""

    def __init__(self, shard: Any, engine: Engine) -> None:
        self.shard, self.engine = shard, engine

    async def write(self, first: int, rows: Floats, payloads: Payloads) -> None:
        ids = np.arange(first, first + len(rows), dtype=np.uint64)
        await self.shard.upsert_arrays(ids, rows, payloads)

    async def query(self, vector: list[float]) -> list[Any]:
        found: list[Any] = await self.shard.query(self.engine.request(vector))
        return found

    async def optimize(self) -> None:
        await self.shard.optimize()

    async def close(self) -> None:
        await self.shard.close()


class QdrantAsync:
    """qdrant-edge-py as far as asyncio can take it: each call in a thread."""

    def __init__(self, shard: Any, engine: Engine) -> None:
        self.shard, self.engine = shard, engine

    async def write(self, first: int, rows: Floats, payloads: Payloads) -> None:
        await asyncio.to_thread(self.engine.upsert_arrays, self.shard, first, rows, payloads)

    async def query(self, vector: list[float]) -> list[Any]:
        request = self.engine.request(vector)
        found: list[Any] = await asyncio.to_thread(self.shard.query, request)
        return found

    async def optimize(self) -> None:
        await asyncio.to_thread(self.shard.optimize)

    async def close(self) -> None:
        await asyncio.to_thread(self.shard.close)


async def open_async(name: str, path: Path, dim: int) -> AsyncShard:
    """Make a shard for use from coroutines, by the name of its engine."""
    engine = ENGINES[name]()
    config = engine.config(dim)
    if name == Qdrant.name:
        return QdrantAsync(await asyncio.to_thread(engine.create, path, config), engine)
    import edge

    shard = edge.EdgeShard.create(str(path), config)
    await shard.open()
    return EdgeshardAsync(shard, engine)
