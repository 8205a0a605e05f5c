"""Directories that the real package makes, and what it holds in them, to compare with ours."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import qdrant_edge as qdrant

from edge.disk.foreign import ForeignStorage
from edge.model.config import EdgeConfig
from edge.model.payload import decode_payload
from edge.model.point_id import decode_ids
from edge.qdrant.layout import WAL
from edge.qdrant.shard import QdrantShard, open_shard
from edge.segment.rows import RowBlock
from edge.vectors.block import Ragged
from edge.vectors.form import form_of

Vector = list[float] | list[list[float]] | dict[int, float]
U = qdrant.UpdateOperation


class Held(NamedTuple):
    """A point as either side holds it."""

    payload: dict[str, Any]
    vectors: dict[str, Vector]


def hnsw(**options: Any) -> qdrant.HnswIndexConfig:
    return qdrant.HnswIndexConfig(m=8, ef_construct=20, full_scan_threshold=10, **options)


def params(
    distance: Any = qdrant.Distance.Dot, size: int = 6, **more: Any
) -> qdrant.EdgeVectorParams:
    return qdrant.EdgeVectorParams(size, distance, **more)


MANY = qdrant.MultiVectorConfig(qdrant.MultiVectorComparator.MaxSim)


def every_kind(memory: Any = None) -> dict[str, Any]:
    """The arguments of a config with each kind of vector once."""
    types = qdrant.VectorStorageDatatype
    vectors = {
        "": params(qdrant.Distance.Cosine, memory=memory),
        "half": params(qdrant.Distance.Euclid, 5, datatype=types.Float16, memory=memory),
        "byte/é ü": params(qdrant.Distance.Manhattan, 4, datatype=types.Uint8, memory=memory),
        "many": params(size=3, multivector_config=MANY, memory=memory),
        "half many": params(
            qdrant.Distance.Cosine, 3, multivector_config=MANY, datatype=types.Float16
        ),
    }
    return {
        "vectors": vectors,
        "sparse_vectors": {"sparse": qdrant.EdgeSparseVectorParams(memory=memory)},
        "hnsw_config": hnsw(),
        "payload_memory": memory,
        "id_tracker_memory": memory,
    }


def config(*, optimized: bool = False, **arguments: Any) -> qdrant.EdgeConfig:
    """A config whose segments are built early, if they are to be."""
    optimizers = qdrant.EdgeOptimizersConfig(
        indexing_threshold=1 if optimized else 0, vacuum_min_vector_number=10
    )
    return qdrant.EdgeConfig(optimizers=optimizers, **arguments)


def create(path: Path, **arguments: Any) -> qdrant.EdgeShard:
    return qdrant.EdgeShard.create(str(path), config(**arguments))


ODD_PAYLOADS: list[dict[str, Any] | None] = [
    None,
    {},
    {"": 0, " ": "", "é\u200d🦾": "\0\x7f\u2028", "a.b[]": [[], {}, [[{"x": []}]]]},
    {"least": -(2**63), "most": 2**64 - 1, "beyond": 1e21, "small": 5e-324, "minus": -0.0},
    {"null": None, "yes": True, "no": False, "mixed": [1, 1.0, "1", None, True]},
    {"long": "abc " * 3_000, "noise": "".join(map(chr, range(32, 2_000)))},
]
for _ in range(4):
    ODD_PAYLOADS.append({"deep": ODD_PAYLOADS[-1], "list": [ODD_PAYLOADS[-2]]})


def vectors_of(draw: random.Random) -> dict[str, Any]:
    """Vectors of some of the names of `every_kind`."""

    def numbers(count: int) -> list[float]:
        return [draw.gauss(0, 3) for _ in range(count)]

    chosen = {
        "": numbers(6),
        "half": numbers(5),
        "byte/é ü": [draw.randrange(256) for _ in range(4)],
        "many": [numbers(3) for _ in range(draw.randint(1, 5))],
        "half many": [numbers(3) for _ in range(draw.randint(1, 2))],
        "sparse": qdrant.SparseVector(
            sorted(draw.sample(range(2 ** draw.randint(5, 32)), 7)), numbers(7)
        ),
    }
    return {name: vector for name, vector in chosen.items() if draw.random() < 0.8}


def point(id: int, draw: random.Random) -> Any:
    payload = ODD_PAYLOADS[id % len(ODD_PAYLOADS)]
    return qdrant.Point(id_of(id), vectors_of(draw), payload)


def id_of(number: int) -> int | UUID:
    """Every third id is a UUID, every tenth a large number."""
    if number % 3 == 0:
        return UUID(int=number * 0x0123_4567_89AB_CDEF_1122_3344_5566_7788 % 2**128)
    return 2**64 - 1 - number if number % 10 == 0 else number


def fill(shard: qdrant.EdgeShard, count: int, seed: int = 1) -> None:
    """Points with odd payloads, some of them deleted, replaced or edited."""
    draw = random.Random(seed)
    shard.update(U.upsert_points([point(i, draw) for i in range(count)]))
    change(shard, count, draw)


def change(shard: qdrant.EdgeShard, count: int, draw: random.Random) -> None:
    """Delete, replace and edit some of the points."""
    gone = set(range(0, count, 7))
    shard.update(U.delete_points([id_of(i) for i in gone]))
    stay = [i for i in range(count) if i not in gone]
    shard.update(U.upsert_points([point(i, draw) for i in stay[::5]]))
    shard.update(U.set_payload([id_of(i) for i in stay[::4]], {"set": [1, {"more": "é"}]}))
    shard.update(U.clear_payload([id_of(i) for i in stay[1::6]]))
    shard.update(U.delete_vectors([id_of(i) for i in stay[2::5]], ["", "many", "sparse"]))
    shard.update(
        U.update_vectors([qdrant.PointVectors(id_of(i), vectors_of(draw)) for i in stay[3::5]])
    )


def copied(source: Path, target: Path) -> Path:
    """A copy of a folder, without the empty space that most of its files are."""
    for file in source.rglob("*"):
        place = target / file.relative_to(source)
        if file.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            _copy_data(file, place)
    return target


def _copy_data(source: Path, target: Path) -> None:
    size, at = source.stat().st_size, 0
    with source.open("rb") as file, target.open("wb") as copy:
        copy.truncate(size)
        while at < size:
            try:
                first = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:  # nothing but empty space follows
                return
            at = os.lseek(file.fileno(), first, os.SEEK_HOLE)
            os.pwrite(copy.fileno(), os.pread(file.fileno(), at - first, first), first)


# -- what both hold


def real_points(shard: qdrant.EdgeShard) -> dict[int | UUID, Held]:
    """What the real package gives back."""
    request = qdrant.ScrollRequest(limit=1_000_000, with_payload=True, with_vector=True)
    records, _ = shard.scroll(request)
    return {
        record.id: Held(record.payload or {}, _real_vectors(record.vector)) for record in records
    }


def _real_vectors(given: Any) -> dict[str, Vector]:
    named = given if isinstance(given, dict) else {} if given is None else {"": given}
    return {name: _plain(vector) for name, vector in named.items()}


def _plain(vector: Any) -> Vector:
    if isinstance(vector, qdrant.SparseVector):
        return dict(zip(vector.indices, vector.values, strict=True))
    return vector  # type: ignore[no-any-return]


def our_points(shard: QdrantShard) -> dict[int | UUID, Held]:
    """What ours reads of the segments."""
    found: dict[int | UUID, Held] = {}
    for block, versions in shard.blocks():
        assert len(versions) == len(block)
        for id, held in held_in(block, shard.config):
            assert id not in found
            found[id] = held
    assert len(found) == len(shard)
    return found


def held_in(block: RowBlock, config: EdgeConfig) -> Iterable[tuple[int | UUID, Held]]:
    vectors: list[dict[str, Vector]] = [{} for _ in range(len(block))]
    for name, column in block.vectors.items():
        where = range(len(block)) if column.where is None else column.where.tolist()
        for place, vector in zip(where, shown(name, column.block, config), strict=True):
            vectors[place][name] = vector
    payloads = [{} if blob is None else decode_payload(blob) for blob in block.payloads]
    return zip(decode_ids(block.ids), map(Held, payloads, vectors), strict=True)


def shown(name: str, block: Any, config: EdgeConfig) -> list[Vector]:
    """Stored rows as numbers."""
    known = config.vectors.get(name)
    if known is not None and not isinstance(block, Ragged):
        return form_of(known).numbers(block).tolist()
    runs = list(zip(block.starts[:-1].tolist(), block.starts[1:].tolist(), strict=True))
    if known is not None:
        numbers = form_of(known).numbers(block.parts[0]).tolist()
        return [numbers[first:last] for first, last in runs]
    indices, values = (part.tolist() for part in block.parts)
    return [dict(zip(indices[a:b], values[a:b], strict=True)) for a, b in runs]


def opened(path: Path) -> QdrantShard:
    """Ours, over a folder."""
    return open_shard(ForeignStorage(path, WAL))


def read(path: Path) -> dict[int | UUID, Held]:
    """What ours reads of the segments in a folder."""
    shard = opened(path)
    try:
        return our_points(shard)
    finally:
        shard.close()


def assert_same(ours: dict[int | UUID, Held], real: dict[int | UUID, Held]) -> None:
    """Equal, and vectors to the last bit."""
    assert ours.keys() == real.keys()
    for id, held in real.items():
        assert ours[id].payload == held.payload, id
        assert bits_of(ours[id].vectors) == bits_of(held.vectors), id


def bits_of(vectors: dict[str, Vector]) -> dict[str, Any]:
    return {
        name: {index: np.float32(value).tobytes() for index, value in vector.items()}
        if isinstance(vector, dict)
        else np.array(vector, np.float32).tobytes()
        for name, vector in vectors.items()
    }
