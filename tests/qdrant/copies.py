"""A shard of ours and what Qdrant Edge makes of its exports, told and asked the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import qdrant_edge

from edge.blocking import EdgeShard
from edge.disk import files
from edge.disk.storage import DiskStorage
from edge.disk.tar_file import TarReader
from edge.disk.tar_members import Caps
from edge.model.config import EdgeConfig
from edge.model.point import Point
from edge.model.query import Query, SearchParams
from edge.model.request import QueryRequest
from edge.model.sparse import SparseVector
from edge.model.update import UpdateOperation
from edge.model.vector_params import (
    Distance,
    EdgeSparseVectorParams,
    EdgeVectorParams,
    Modifier,
    MultiVectorComparator,
    MultiVectorConfig,
    VectorStorageDatatype,
)
from edge.qdrant.export import export_shard
from edge.segment.view import ShardView
from edge.store.optimization import Plan
from tests.congruence.engines import Pair

SHARD = "0b5e7a1c-5f5e-4b1e-9c0f-2f6a3c1d7e90"
EXACT = SearchParams(exact=True)
SEVERAL = MultiVectorConfig(MultiVectorComparator.MaxSim)
Type = VectorStorageDatatype

DENSE: dict[str, EdgeVectorParams] = {
    "": EdgeVectorParams(6, Distance.Cosine),
    "half": EdgeVectorParams(5, Distance.Dot, datatype=Type.Float16),
    "byte": EdgeVectorParams(7, Distance.Euclid, datatype=Type.Uint8),
    "byte cosine": EdgeVectorParams(4, Distance.Cosine, datatype=Type.Uint8),
    "Ü": EdgeVectorParams(17, Distance.Manhattan),
    "turbo8": EdgeVectorParams(9, Distance.Dot, datatype=Type.Turbo8),
    "turbo16": EdgeVectorParams(9, Distance.Cosine, datatype=Type.Turbo16),
}
MULTI: dict[str, EdgeVectorParams] = {
    "several": EdgeVectorParams(3, Distance.Cosine, multivector_config=SEVERAL),
    "several halves": EdgeVectorParams(
        4, Distance.Dot, multivector_config=SEVERAL, datatype=Type.Float16
    ),
    "several turbo": EdgeVectorParams(
        4, Distance.Euclid, multivector_config=SEVERAL, datatype=Type.Turbo8
    ),
}
SPARSE: dict[str, EdgeSparseVectorParams] = {
    "sparse": EdgeSparseVectorParams(),
    "sparse idf": EdgeSparseVectorParams(modifier=Modifier.Idf),
    "sparse half": EdgeSparseVectorParams(datatype=Type.Float16),
}
EVERY_KIND = EdgeConfig({**DENSE, **MULTI}, SPARSE)
BOTH_STORE_ALIKE = EdgeConfig(
    {name: params for name, params in {**DENSE, **MULTI}.items() if "turbo" not in name},
    {"sparse": SPARSE["sparse"]},
)
"""Without those that we round when they are upserted, and a copy does not; and without Idf, for
which Qdrant counts points that died since."""
ONE = EdgeConfig(EdgeVectorParams(4, Distance.Dot))


def vector(name: str, config: EdgeConfig, random: np.random.Generator) -> Any:
    """Any vector of this name; small integers where bytes are stored."""
    if name in config.sparse_vectors:
        indices = random.choice(
            2**32 if random.random() < 0.3 else 40, random.integers(1, 9), False
        )
        return SparseVector(sorted(indices.tolist()), random.normal(size=len(indices)).tolist())
    params = config.vectors[name]
    size: Any = params.size
    if params.multivector_config is not None:
        size = (int(random.integers(1, 5)), params.size)
    if params.datatype is Type.Uint8:
        return random.integers(1, 200, size).astype(float).tolist()
    return random.normal(size=size).tolist()


PAYLOADS: list[Any] = [
    None,
    {},
    {"text": 'ünï\u0000 😀 \\ "', "": {"": []}, "a.b": "dots", "k" * 300: 1},
    {"int": [2**63 - 1, -(2**63), 2**64 - 1, 0, -1], "float": [1e308, 5e-324, -0.0, 0.1, 1e16]},
    {"null": None, "yes": True, "no": False, "deep": {"a": [{"b": [[[{"c": 1.0}]]]}]}},
    {"long": "x" * 100_000, "many": list(range(5000))},
]


def point(point_id: int | UUID, config: EdgeConfig, seed: int, share: float = 0.7) -> Point:
    """A point with a `share` of the vectors and one of the odd payloads, and a number in it."""
    random = np.random.default_rng(seed)
    vectors = {
        name: vector(name, config, random) for name in config.names() if random.random() < share
    }
    payload = PAYLOADS[seed % len(PAYLOADS)]
    return Point(point_id, vectors, None if payload is None else {**payload, "number": seed})


def any_id(number: int) -> int | UUID:
    """Numbers and UUIDs, of every size."""
    kinds = (number, UUID(int=number << 64 | number), 2**64 - 1 - number, UUID(int=2**127 + number))
    return kinds[number % 4]


def points(config: EdgeConfig, numbers: Iterable[int], share: float = 0.7) -> list[Point]:
    return [point(any_id(number), config, number, share) for number in numbers]


class Copy(Pair):
    """A shard of ours, and one of Qdrant's that is made of its exports."""

    def __init__(self, folder: Path, config: EdgeConfig) -> None:
        self.folder = folder
        self.config = config
        self.ours = EdgeShard.create(folder / "ours", config)
        self.theirs: Any = None
        self.exports = 0

    @property
    def view(self) -> ShardView:
        return self.ours._store.view

    def tell(self, operation: UpdateOperation) -> None:
        """Ours alone carries it out."""
        self.ours.update(operation)

    def seal(self) -> None:
        """Make a built segment of our tail."""
        self.ours._seal(self.ours._store)

    def merge(self) -> bool:
        """Make one built segment of all; whether there were several."""
        self.seal()
        store = self.ours._store
        numbers = {v.segment.number for v in store.durable.segments}
        if len(numbers) > 1:
            self.ours._carry_out(store, store.start(Plan("merge", frozenset(numbers))))
        return len(numbers) > 1

    def export(self, kind: str, since: Any = None) -> tuple[Path, dict[str, Any]]:
        self.exports += 1
        path = self.folder / f"{self.exports}{kind}"
        return path, export_shard(self.view, SHARD, path, since)

    def copy(self, way: str) -> dict[str, Any]:
        """Export all, and let Qdrant take it one way or another. Return the manifest."""
        if self.theirs is not None:
            self.theirs.close()
        kind = "" if way == "folder" else ".snapshot"
        path, manifest = self.export(kind)
        if way == "unpack":
            path, tar = self.folder / f"unpacked{self.exports}", path
            qdrant_edge.EdgeShard.unpack_snapshot(str(tar), str(path))
        if way == "full update":
            path, tar = self.folder / f"updated{self.exports}", path
            self.theirs = self._foreign(path)
            self.theirs.update_from_snapshot(str(tar))
        else:
            self.theirs = qdrant_edge.EdgeShard.load(str(path))
        self.place = path
        return manifest

    def _foreign(self, path: Path) -> Any:
        """A shard of the same vectors and other points."""
        other = EdgeShard.create(self.folder / f"other{self.exports}", self.view.config)
        other.update(UpdateOperation.upsert_points(points(self.view.config, range(5000, 5003))))
        export_shard(other._store.view, SHARD, path)
        other.close()
        return qdrant_edge.EdgeShard.load(str(path))

    def send(self, since: Any) -> tuple[list[str], dict[str, Any]]:
        """Export what changed, and let Qdrant take it. Return the files sent and the manifest."""
        path, manifest = self.export(".tar", since)
        self.theirs.update_from_snapshot(str(path))
        return names_in(path), manifest

    def restart_theirs(self) -> None:
        self.theirs.close()
        self.theirs = qdrant_edge.EdgeShard.load(str(self.place))

    def close(self) -> None:
        self.ours.close()
        if self.theirs is not None:
            self.theirs.close()

    def compare_everything(self, seed: int = 0, queries: int = 2) -> None:
        """All points, and the exact neighbours of some vectors of every name."""
        self.compare()
        self.compare_queries(seed, queries)

    def compare_queries(self, seed: int, queries: int) -> None:
        random = np.random.default_rng(seed)
        for name in self.view.config.names():
            for _ in range(queries):
                asked = vector(name, self.view.config, random)
                query = Query.Nearest(asked, name)
                self.compare_query(QueryRequest(7, query=query, params=EXACT))


CAPS = Caps(members=10_000, file_bytes=1 << 30, total_bytes=1 << 32, reserve=0)


def names_in(path: Path) -> list[str]:
    """The files of an archive."""
    storage = DiskStorage(path.parent, files.is_foreign_name)
    members = TarReader.open(storage, path.name, CAPS).members
    return [member.name for member in members if not member.is_folder]


def files_sent(names: list[str]) -> dict[str, set[str]]:
    """The files sent by segment, without those that are always sent."""
    sent: dict[str, set[str]] = {}
    for name in names:
        folder, _, rest = name.partition("/")
        segment, _, file = rest.partition("/")
        if folder == "segments":
            kept = sent.setdefault(segment, set())
            if file.startswith("files/") and file != "files/segment_manifest.json":
                kept.add(file.removeprefix("files/"))
    return sent


New = Callable[[EdgeConfig], Copy]
