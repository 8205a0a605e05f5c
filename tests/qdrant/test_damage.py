"""Files that were cut off, flipped, overwritten or lost: typed errors, or points; nothing else."""

from __future__ import annotations

import random
import re
import shutil
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import qdrant_edge as qdrant

from edge.errors import EdgeError
from edge.qdrant import layout
from tests.qdrant import made
from tests.qdrant.conftest import MEMORY
from tests.qdrant.made import U, opened

ROUNDS = 3
"""How often each kind of damage is done to each file."""

MOST_MEMORY = 12 << 20
"""Some files claim to hold billions; nothing is made for what they do not hold."""

SMALL = 1 << 16
"""Files are damaged within so many bytes: the rest of a preallocated one is empty."""


def appendable(path: Path) -> None:
    shard = made.create(path, **made.every_kind())
    made.fill(shard, 30)
    shard.update(U.create_field_index("n", qdrant.PayloadSchemaType.Integer))
    shard.flush()
    shard.update(U.set_payload([1], {"later": 1}))
    shutil.copytree(path / layout.WAL, path / "wal.unflushed")
    shard.close()
    shutil.rmtree(path / layout.WAL)
    (path / "wal.unflushed").rename(path / layout.WAL)


def built(path: Path, **more: object) -> None:
    shard = made.create(path, optimized=True, **{**made.every_kind(), **more})
    made.fill(shard, 90)
    assert shard.optimize()
    shard.close()


def inline(path: Path) -> None:
    shard = made.create(
        path,
        optimized=True,
        vectors={"": made.params(size=16)},
        hnsw_config=made.hnsw(inline_storage=True),
        quantization_config=qdrant.BinaryQuantizationConfig(),
        id_tracker_memory=qdrant.Memory.Cold,
    )
    points = [qdrant.Point(made.id_of(i), [float(i + j) for j in range(16)]) for i in range(150)]
    shard.update(U.upsert_points(points))
    assert shard.optimize()
    shard.close()


KINDS = {"appendable": appendable, "built": built, "inline": inline}

DAMAGED = {
    "appendable": r".*",
    "built": r"id_tracker\..*|matrix\.dat|deleted\.dat|segment\.json",
    "inline": r"id_tracker\..*|links_comp_vec\.bin|segment\.json",
}
"""Which files of each, so that none is damaged twice that both have."""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    place = MEMORY if MEMORY.is_dir() else tmp_path_factory.mktemp("damage")
    with TemporaryDirectory(dir=place) as folder:
        found = {}
        for name, make in KINDS.items():
            make(Path(folder, "real", name))
            found[name] = made.copied(Path(folder, "real", name), Path(folder, name))
        yield found


def read_all(path: Path) -> None:
    """Everything that can be asked of a shard."""
    shard = opened(path)
    try:
        for block, versions in shard.blocks():
            assert len(block.payloads) == len(block) == len(versions)
            for column in block.vectors.values():
                places = len(block) if column.where is None else len(column.where)
                assert len(column.block) == places
        shard.pending()
        shard.manifest()
    finally:
        shard.close()


def damages(content: bytes, draw: random.Random) -> Iterator[bytes | None]:
    """What may become of a file; None: it is gone."""
    reach = min(len(content), SMALL)
    used = len(content.rstrip(b"\0")) or 1
    yield None
    yield b""
    for _ in range(ROUNDS):
        yield content[: draw.randrange(reach + 1)]
        yield content[: draw.randrange(min(used, reach) + 1)]
        flipped = bytearray(content[:reach] or b"\0")
        for _ in range(draw.choice((1, 1, 8))):
            flipped[draw.randrange(min(used, len(flipped)))] ^= 1 << draw.randrange(8)
        yield bytes(flipped) + content[reach:]
        at = draw.randrange(reach + 1) & ~7
        junk = draw.choice((b"\xff" * 8, draw.randbytes(8), b"\0" * 8, b"\xff" * 7 + b"\x7f"))
        yield content[:at] + junk + content[at + 8 :]


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_give_typed_errors_only(kind: str, shards: dict[str, Path]) -> None:
    path = shards[kind]
    read_all(path)
    draw = random.Random(17)
    outcomes: Counter[str] = Counter()
    tracemalloc.start(1)
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        if _is_never_read(file) or not re.fullmatch(DAMAGED[kind], file.name):
            continue
        keep = file.with_name(f".{file.name}")
        file.rename(keep)
        for content in damages(_beginning(keep), draw):
            if content is not None:
                file.write_bytes(content)
            outcomes[_outcome(path)] += 1
            file.unlink(missing_ok=True)
        keep.rename(file)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < MOST_MEMORY
    read_all(path)
    assert outcomes.keys() <= {
        "read", "CorruptData", "StorageFault", "ValidationError", "LimitExceeded", "WrongDimension",
        "NotFound", "UnknownVector",
    }  # fmt: skip
    assert outcomes["CorruptData"] > 20
    assert outcomes["read"] > 20


def _is_never_read(file: Path) -> bool:
    folders = {part.partition("-")[0] for part in file.parts}
    derived = "vector_index" in folders and file.name != layout.LINKS_WITH_VECTORS
    indexes = layout.PAYLOAD_INDEX in folders and file.parent.name != layout.PAYLOAD_INDEX
    return derived or indexes or file.name.startswith("quantized")


def _beginning(file: Path) -> bytes:
    """The file, or as much of it as holds anything, and some empty space."""
    with file.open("rb") as opened_file:
        content = opened_file.read(1 << 20)
    return content[: max(len(content.rstrip(b"\0")) + 512, 1)]


def _outcome(path: Path) -> str:
    try:
        read_all(path)
    except EdgeError as error:
        return type(error).__name__
    return "read"
