"""Every byte of segments and logs with every kind of vector: damaged, it is found out.

Invariant: the column files, graphs and small forms of a segment that loads are those that were
written; a log with vectors of every kind, names that come and go and settings that change is read
as it was written, or is CorruptData.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from random import Random
from typing import Any

import pytest

from edge import ConfigChange, CorruptData, HnswIndexConfig, UpdateOperation
from edge.disk.manifest import SegmentEntry
from edge.errors import EdgeError
from edge.model.quantization import (
    BinaryQuantizationConfig,
    ScalarQuantizationConfig,
    ScalarType,
    TurboQuantQuantizationConfig,
)
from edge.model.schema import PayloadSchemaType
from edge.segment.builder import build_segment
from edge.segment.immutable import ImmutableSegment, load_segment
from edge.segment.indexing import GraphPlan, IndexPlan, ValuesPlan
from edge.segment.view import ShardView
from edge.store.store import Store, Submission
from tests.disk.damage import Damage, flips, moved, zeroed
from tests.disk.simulated import Image, SimulatedStorage
from tests.segment.kinds import DENSE, NAMES, config, everything, point, scores
from tests.segment.made import after, asked, silent, start

LARGEST = 40 << 10

GRAPH, INLINE = GraphPlan(4, 16), GraphPlan(4, 16, inline=True)
PLANS = {
    "half": IndexPlan(
        INLINE, ScalarQuantizationConfig(ScalarType.Int8), ValuesPlan(GraphPlan(2, 16))
    ),
    "bytes": IndexPlan(GRAPH),
    "turbo16": IndexPlan(None, BinaryQuantizationConfig()),
    "many": IndexPlan(GRAPH, TurboQuantQuantizationConfig()),
}


@cache
def segment() -> tuple[Image, SegmentEntry, ShardView]:
    """The files of one segment of six points, its entry, and the shard that it was built of."""
    storage = SimulatedStorage()
    index = UpdateOperation.create_field_index("same", PayloadSchemaType.Bool)
    points = [point(n, n) for n in range(6)]
    same = UpdateOperation.set_payload([each.id for each in points], {"same": True})
    shard = after(start(config()), index, UpdateOperation.upsert_points(points), same)
    made = build_segment(storage, 3, shard.segments, asked(shard, PLANS), silent)
    return storage.image(), made.segment.entry, shard


def load(image: Image) -> ImmutableSegment:
    """The segment, with all of it looked at."""
    _, entry, shard = segment()
    found, _ = load_segment(SimulatedStorage(image), entry, shard.keys(), shard.settings)
    found.payloads.check()
    return found


@cache
def names() -> tuple[str, ...]:
    """The files that have to be whole: field indexes are left out where they are not."""
    files = segment()[1].files.items()
    return tuple(sorted(file.name for role, file in files if not role.startswith("field-")))


def test_the_segment_has_everything() -> None:
    image, entry, _ = segment()
    roles = {role.rstrip("0123456789") for role in entry.files}
    assert roles >= {"ids", "versions", "payload", "vectors-", "missing-", "graph-", "quantized-"}
    assert "values-" in roles
    assert {f"vectors-{place}" for place in range(len(NAMES))} <= set(entry.files)
    assert sum("graph" in role for role in entry.files) == 3
    assert sum("quantized" in role for role in entry.files) == 3
    assert sum(len(image[name] or b"") for name in names()) <= LARGEST
    assert len(load(image).vectors) == len(NAMES)


@pytest.mark.parametrize("name", names())
def test_every_byte_flipped(name: str) -> None:
    image, done = segment()[0], 0
    for what, damaged in flips(image, name):
        with pytest.raises(CorruptData) as caught:
            load(damaged)
        assert caught.value.path, what
        done += 1
    assert done == len(image[name] or b"")


def other_damage() -> Iterator[Damage]:
    image = segment()[0]
    for name in names():
        data = image[name] or b""
        yield f"empty {name}", {**image, name: b""}
        for length in (1, len(data) // 2, len(data) - 1):
            yield f"cut {name} {length}", {**image, name: data[:length]}
        yield f"grow {name}", {**image, name: data + bytes(64)}
        yield from zeroed(image, name)
    yield from moved(image, list(names()))


def test_cut_grown_zeroed_swapped_and_deleted() -> None:
    done = 0
    for what, damaged in other_damage():
        with pytest.raises(CorruptData) as caught:
            load(damaged)
        assert caught.value.path, what
        done += 1
    assert done > len(names()) ** 2


# -- logs


@cache
def log() -> tuple[Image, list[Any]]:
    """A shard whose log has vectors of every kind, names that come and go, new settings; and what
    it shows."""
    storage = SimulatedStorage()
    store = Store.over(storage, config(), existing=False)
    operations = [
        UpdateOperation.upsert_points([point(0, 0, lacks=("bytes", "turbo"))]),
        UpdateOperation.create_dense_vector("new", 2, DENSE["many"].distance),
        UpdateOperation.create_sparse_vector("sparser"),
        UpdateOperation.delete_vector_name("new"),
        UpdateOperation.set_config(ConfigChange(HnswIndexConfig(5, 50, 0))),
        UpdateOperation.delete_vectors([0], ["many", "words"]),
    ]
    for operation in operations:
        (outcome,) = store.commit([Submission(operation)])
        assert not isinstance(outcome, EdgeError), outcome
    store.close()
    return storage.image(), shown(storage.image())


def shown(image: Image) -> list[Any]:
    store = Store.over(SimulatedStorage(image), None, existing=True)
    view = store.view
    found = [everything(view), view.config, dict(view.births), scores(view)]
    store.close()
    return found


def check(what: str, damaged: Image) -> bool:
    """Whether it is found out; if not, it has done no harm."""
    found = outcome(damaged)
    if isinstance(found, CorruptData):
        assert found.path, what
        return True
    assert found == log()[1], what
    return False


def outcome(damaged: Image) -> list[Any] | CorruptData:
    try:
        return shown(damaged)
    except CorruptData as fault:
        return fault


def test_every_byte_of_a_log_flipped() -> None:
    image, _ = log()
    [name] = [name for name in image if name.endswith(".log")]
    assert len(image[name] or b"") > 1000
    for what, damaged in flips(image, name):
        assert check(what, damaged), what


def test_damaged_by_any_bits() -> None:
    """Random bursts over random places, several at a time."""
    random, image = Random(8), log()[0]
    files = sorted(name for name, data in image.items() if data)
    for _ in range(100):
        damaged = dict(image)
        for name in random.sample(files, random.randint(1, len(files))):
            data = bytearray(damaged[name] or b"")
            at = random.randrange(len(data))
            burst = random.randbytes(random.randint(1, 80))[: len(data) - at]
            data[at : at + len(burst)] = burst
            damaged[name] = bytes(data)
        check("burst", damaged)
