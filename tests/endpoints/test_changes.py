"""Changes at the ingest door, by hand: vectors of every kind, that come and go, and damage."""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq

from edge import EdgeShard
from edge.endpoints import protocol as p
from edge.endpoints.protocol import Ack, Nak, Refused
from edge.model import codec
from edge.model.check import CheckedOperation, CheckedUpdateVectors, CheckedUpsert, check
from edge.model.config import ConfigChange, EdgeConfig, with_vector
from edge.model.limits import DEFAULT_LIMITS
from edge.model.point import Point, PointBatch, PointVectors, VectorColumn
from edge.model.point_id import encode_ids
from edge.model.request import ScrollRequest
from edge.model.sparse import SparseVector
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams
from tests.endpoints.kinds import EVERY_KIND, MANY, SIZE, made, words
from tests.endpoints.made import Peer, Served, served, until

Update = UpdateOperation
U32 = np.uint32


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path / "shard", EVERY_KIND) as found:
        yield found


def change(sequence: int, operation: Any, config: EdgeConfig = EVERY_KIND) -> list[bytes]:
    """A change as a peer writes it that knows the shard by this config."""
    checked = operation if isinstance(operation, CheckedOperation) else check(operation, config)
    return framed(sequence, b"".join(codec.encode(checked)))


def framed(sequence: int, body: bytes) -> list[bytes]:
    return [p.encode(p.Change("camera", 1, sequence)), body]


def points(sequence: int, ids: list[int], **vectors: Any) -> list[bytes]:
    """A message of points that have these vectors."""
    return p.message_of("camera", 1, sequence, ids, vectors, None)


async def outcomes(there: Served, messages: list[list[bytes]]) -> dict[int, str]:
    """Send all at once, and again what is asked for; the codes of those that were refused."""
    refused: dict[int, str] = {}
    async with Peer(there.ingest, sndhwm=0) as peer:
        await peer.greet()
        for frames in messages:
            await peer.send(*frames)
        while True:
            header = await peer.hears(Ack, Nak, Refused)
            if isinstance(header, Nak):
                for frames in messages[header.expected - 1 :]:
                    await peer.send(*frames)
            elif isinstance(header, Refused):
                refused[header.sequence] = header.code
            elif header.applied == len(messages):
                return refused


async def vectors(there: Served) -> dict[Any, Any]:
    records, _ = await there.shard.scroll(ScrollRequest(limit=10_000, with_vector=True))
    return {record.id: record.vector for record in records}


# -- vectors that come and go


async def test_what_follows_a_change_is_taken_under_what_it_made(there: Served) -> None:
    """All are on their way before the first is applied."""
    dense = EdgeVectorParams(2, Distance.Dot)
    several = EdgeVectorParams(2, Distance.Dot, multivector_config=MANY)
    one, two = np.ones((1, 2), np.float32), np.full((2, 2), 2, np.float32)
    with_dense = with_vector(EVERY_KIND, "v", dense)
    with_several = with_vector(EVERY_KIND, "v", several)
    messages = [
        change(1, Update.create_dense_vector("v", 2, Distance.Dot)),
        points(2, [1], v=one),
        points(3, [2, 3], v=two),
        change(4, Update.update_vectors([PointVectors(2, {"v": [5, 6]})]), with_dense),
        change(5, Update.delete_vector_name("v")),
        points(6, [9], v=one),  # refused: it is gone
        change(7, Update.create_dense_vector("v", 2, Distance.Dot, MANY)),
        points(8, [4], v=one),
        change(9, Update.upsert_points([Point(5, {"v": two.tolist()})]), with_several),
        change(10, Update.upsert_points([Point(6, {"v": [1, 2]})]), with_dense),  # of another kind
        change(11, Update.set_config(ConfigChange(vectors={"v": several})), with_several),
        points(12, [7], v=one),
    ]
    assert await outcomes(there, messages) == {6: "unknown-vector", 10: "validation"}
    found = await vectors(there)
    assert found == {
        1: {},
        2: {},
        3: {},
        4: {"v": [[1, 1]]},
        5: {"v": [[2, 2], [2, 2]]},
        7: {"v": [[1, 1]]},
    }


REMADE: dict[str, tuple[UpdateOperation | None, str]] = {
    "gone": (None, "unknown-vector"),
    "longer": (Update.create_dense_vector("v", SIZE + 1, Distance.Dot), "wrong-dimension"),
    "several": (Update.create_dense_vector("v", SIZE, Distance.Dot, MANY), "validation"),
    "sparse": (Update.create_sparse_vector("v"), "validation"),
}


@pytest.mark.parametrize("name", REMADE)
async def test_what_was_checked_before_its_vectors_changed_is_refused(
    there: Served, name: str
) -> None:
    """It waits behind another's change: when its turn comes, its vectors are of no use."""
    await there.shard.update(Update.create_dense_vector("v", SIZE, Distance.Dot))
    create, code = REMADE[name]
    changes = [Update.delete_vector_name("v"), *([] if create is None else [create])]
    writer = there.shard.actors.writer
    begun, gate = threading.Event(), threading.Event()
    block = np.ones((1, SIZE), np.float32)
    async with Peer(there.ingest) as peer, Peer(there.stream, zmq.XPUB) as stream:
        await peer.greet()
        await stream.receive()
        held = asyncio.create_task(writer.call(lambda store: begun.set() or gate.wait(20)))
        await until(begun.is_set)
        changing = [asyncio.create_task(there.shard.update(change)) for change in changes]
        try:
            await until(lambda: len(writer._mailbox) == len(changes))
            await peer.send(*points(1, [1], v=block))
            await stream.send(b"", *points(1, [2], v=block))
            await until(lambda: len(writer._mailbox) == len(changes) + 2)
        finally:
            gate.set()
        await asyncio.gather(held, *changing)
        refused = await peer.hears(Refused, Nak)
        assert (refused.sequence, refused.code) == (1, code)
        await until(lambda: there.count("stream", "failed") == 1)
        await peer.send(*points(2, [1], half=block))
        await peer.is_applied(2)
    assert await vectors(there) == {1: {"half": [1, 1, 1]}}


# -- what is wrong


def upsert(name: str, column: VectorColumn, count: int = 2) -> CheckedUpsert:
    return CheckedUpsert(PointBatch(encode_ids(list(range(count))), {name: column}, [None] * count))


def dense(*rows: Any) -> VectorColumn:
    return VectorColumn(None, np.array(rows, np.float32))


def several(lengths: list[int], *rows: Any) -> VectorColumn:
    return VectorColumn(None, np.array(rows, np.float32), np.array(lengths, U32))


def sparse(lengths: list[int], indices: list[int], values: list[float]) -> VectorColumn:
    given = np.array(values, np.float32), np.array(lengths, U32), np.array(indices, U32)
    return VectorColumn(None, *given)


ROW, WIDE = [1.0] * SIZE, [1.0] * (SIZE + 1)
NAN = [1.0, np.nan, 1.0]

WRONG_COLUMNS: dict[str, tuple[str, VectorColumn, str]] = {
    "dense: dimension": ("", dense(WIDE, WIDE), "wrong-dimension"),
    "dense: not a number": ("", dense(ROW, NAN), "validation"),
    "dense: beyond float16": ("half", dense(ROW, [1, 70_000, 1]), "validation"),
    "dense: several": ("", several([1, 1], ROW, ROW), "validation"),
    "dense: sparse": ("", sparse([1, 1], [1, 1], [1, 1]), "validation"),
    "several: dense": ("parts", dense(ROW, ROW), "validation"),
    "several: sparse": ("parts", sparse([1, 1], [1, 1], [1, 1]), "validation"),
    "several: dimension": ("parts", several([1, 2], WIDE, WIDE, WIDE), "wrong-dimension"),
    "several: not a number": ("parts", several([1, 2], ROW, ROW, NAN), "validation"),
    "several: none": ("parts", several([0, 2], ROW, ROW), "corrupt"),
    "several: more than there are": ("parts", several([2, 2], ROW, ROW, ROW), "corrupt"),
    "several: fewer than there are": ("parts", several([1, 1], ROW, ROW, ROW), "corrupt"),
    "sparse: dense": ("words", dense(ROW, ROW), "validation"),
    "sparse: several": ("words", several([1, 1], ROW, ROW), "validation"),
    "sparse: unsorted": ("words", sparse([0, 2], [2, 1], [1, 1]), "validation"),
    "sparse: twice": ("words", sparse([2, 0], [1, 1], [1, 1]), "validation"),
    "sparse: not a number": ("words", sparse([1, 1], [1, 1], [1, np.nan]), "validation"),
    "sparse: infinite": ("words", sparse([1, 1], [1, 1], [-np.inf, 1]), "validation"),
    "sparse: more than there are": ("words", sparse([2, 2], [1, 2, 1], [1, 1, 1]), "corrupt"),
    "sparse: lengths that wrap": ("words", sparse([2**32 - 1, 4], [1, 2, 3], [1, 1, 1]), "corrupt"),
    "unknown": ("sound", sparse([1, 1], [1, 1], [1, 1]), "unknown-vector"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_COLUMNS)
async def test_columns_that_are_wrong(there: Served, name: str) -> None:
    vector, column, code = WRONG_COLUMNS[name]
    right = change(3, Update.upsert_points([Point(9, {"words": words(1)})]))
    batch = upsert(vector, column).batch
    update = CheckedUpdateVectors(PointBatch(batch.ids, batch.vectors, []))
    messages = [change(1, upsert(vector, column)), change(2, update), right]
    assert await outcomes(there, messages) == {1: code, 2: code}
    assert await vectors(there) == {9: {"words": words(1)}}


Lie = Callable[[dict[str, Any]], Any]
RIGHT = Update.upsert_points(
    [Point(1, {"": [1, 2, 3], "parts": [[1, 2, 3], [4, 5, 6]], "words": words(1, 2)}), Point(2, {})]
)
LIES: dict[str, Lie] = {
    "more points": lambda h: h.update(ids=3),
    "no points": lambda h: h.update(ids=0),
    "less than none": lambda h: h.update(ids=-2),
    "points without end": lambda h: h.update(ids=2**62),
    "no ids": lambda h: h.pop("ids"),
    "a longer dimension": lambda h: h["columns"][0].__setitem__(1, 4),
    "a dimension without end": lambda h: h["columns"][0].__setitem__(1, 2**40),
    "a dimension below none": lambda h: h["columns"][1].__setitem__(1, -3),
    "dense as sparse": lambda h: h["columns"][0].__setitem__(1, 0),
    "several as sparse": lambda h: h["columns"][1].__setitem__(1, 0),
    "sparse as several": lambda h: h["columns"][2].__setitem__(1, 1),
    "all points have it": lambda h: h["columns"][0].__setitem__(2, None),
    "more points have it": lambda h: h["columns"][2].__setitem__(2, 2),
    "less than no points have it": lambda h: h["columns"][2].__setitem__(2, -1),
    "a name twice": lambda h: h["columns"][1].__setitem__(0, ""),
    "a name that is none": lambda h: h["columns"][1].__setitem__(0, None),
    "a column too many": lambda h: h["columns"].append(["half", SIZE, None]),
    "a column too few": lambda h: h["columns"].pop(),
    "more rows": lambda h: h["totals"].update(parts=3),
    "more entries": lambda h: h["totals"].update(words=3),
    "entries without end": lambda h: h["totals"].update(words=2**62),
    "less than no rows": lambda h: h["totals"].update(parts=-1),
    "no totals": lambda h: h.pop("totals"),
    "a total of a dense one": lambda h: h["totals"].update({"": 1}),
    "totals that are none": lambda h: h.update(totals={"parts": None}),
    "no payloads": lambda h: h.pop("payloads"),
    "a mode that is none": lambda h: h.update(update_mode="Perhaps"),
    "a kind that is none": lambda h: h.update(kind=99),
    "another kind": lambda h: h.update(kind=14),
    "a field that is none": lambda h: h.update(more=1),
}


def lying(operation: UpdateOperation, lie: Lie) -> bytes:
    """The body of an operation, its header changed and all else as it was."""
    body = b"".join(codec.encode(check(operation, EVERY_KIND)))
    (length,) = struct.unpack_from("<I", body, 4)
    header = msgspec.msgpack.decode(body[8 : 8 + length])
    lie(header)
    changed = msgspec.msgpack.encode(header)
    start = struct.pack("<HHI", 1, 0, len(changed)) + changed
    blocks = body[8 + length + -(8 + length) % codec.ALIGNMENT :]
    return start + bytes(-len(start) % codec.ALIGNMENT) + blocks


def test_what_does_not_lie_is_as_it_was() -> None:
    body = b"".join(codec.encode(check(RIGHT, EVERY_KIND)))
    assert lying(RIGHT, lambda header: None) == body


async def test_headers_that_lie_store_nothing(there: Served) -> None:
    bodies = [lying(RIGHT, lie) for lie in LIES.values()]
    messages = [framed(n, body) for n, body in enumerate(bodies, 1)]
    refused = await outcomes(there, messages)
    # the padding behind a lone vector is long enough for one more number
    expected = dict.fromkeys(LIES, "corrupt") | {"a longer dimension": "wrong-dimension"}
    assert {name: refused.get(n) for n, name in enumerate(LIES, 1)} == expected
    assert await vectors(there) == {}


WRONG_CHANGES: dict[str, tuple[Lie, UpdateOperation]] = {
    "a vector of no dimension": (
        lambda h: h["asked"]["dense"].update(size=0),
        Update.create_dense_vector("v", 2, Distance.Dot),
    ),
    "a distance that is none": (
        lambda h: h["asked"]["dense"].update(distance="Far"),
        Update.create_dense_vector("v", 2, Distance.Dot),
    ),
    "a datatype that is not supported": (
        lambda h: h["asked"]["dense"].update(datatype="Turbo4"),
        Update.create_dense_vector("v", 2, Distance.Dot),
    ),
    "no vector": (lambda h: h.pop("asked"), Update.create_sparse_vector("v")),
    "no name": (lambda h: h.pop("key"), Update.create_sparse_vector("v")),
    "a name without end": (lambda h: h.update(key="v" * 256), Update.create_sparse_vector("v")),
    "no settings": (lambda h: h.pop("asked"), Update.set_config(ConfigChange())),
    "nobody to delete": (lambda h: h.pop("key"), Update.delete_vector_name("words")),
}


async def test_changes_of_vectors_that_lie_change_nothing(there: Served) -> None:
    before = there.shard.actors.store.config
    bodies = [lying(operation, lie) for lie, operation in WRONG_CHANGES.values()]
    refused = await outcomes(there, [framed(n, body) for n, body in enumerate(bodies, 1)])
    assert refused == dict.fromkeys(range(1, len(bodies) + 1), "corrupt")
    assert there.shard.actors.store.config is before


async def test_more_than_the_limits_is_refused(tmp_path: Path) -> None:
    limits = msgspec.structs.replace(DEFAULT_LIMITS, batch_points=3, batch_bytes=64)
    given = msgspec.structs.replace(EVERY_KIND, limits=limits)
    nine = SparseVector(range(9), [1.0] * 9)
    async with served(tmp_path / "shard", given) as there:
        messages = [
            change(1, Update.upsert_points([Point(n, {"words": words(1)}) for n in range(4)])),
            change(2, Update.upsert_points([Point(1, {"words": nine})])),
            change(3, Update.upsert_points([Point(1, {"parts": [ROW] * 6})])),
            change(4, Update.upsert_points([Point(1, {"parts": [ROW] * 5})])),
        ]
        too_much = dict.fromkeys((1, 2, 3), "limit-exceeded")
        assert await outcomes(there, messages) == too_much
        assert await vectors(there) == {1: {"parts": [ROW] * 5}}


# -- damage

SENT: list[UpdateOperation] = [
    Update.upsert_points([made(n) for n in range(1, 9)]),
    Update.upsert_arrays([1, 2], {"parts": np.ones((2, 2, SIZE)), "half": np.ones((2, SIZE))}),
    Update.update_vectors([PointVectors(1, {"parts": [ROW], "rare": words(1, 2, 3)})]),
    Update.delete_vectors([1], ["words"]),
    Update.create_sparse_vector("tags"),
    Update.create_dense_vector("v", 2, Distance.Dot, MANY),
    Update.delete_vector_name("v"),
    Update.set_config(ConfigChange(vectors=EVERY_KIND.vectors)),
]


def damaged(random: Random, body: bytes) -> bytes:
    found = bytearray(body)
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(found))
        what = random.choice(("bit", "byte", "cut", "grow"))
        if what == "bit":
            found[at] ^= 1 << random.randrange(8)
        elif what == "byte":
            found[at] = random.randrange(256)
        elif what == "cut":
            del found[at + 1 :]
        else:
            found += random.randbytes(random.randint(1, 9))
    return bytes(found)


async def test_damaged_changes_store_nothing_wrong(tmp_path: Path) -> None:
    """Bits of numbers may change, which nobody can see; whatever is stored is a vector still."""
    random = Random(5)
    bodies = [b"".join(codec.encode(check(operation, EVERY_KIND))) for operation in SENT]
    messages = [framed(n, damaged(random, bodies[n % len(bodies)])) for n in range(1, 801)]
    async with served(tmp_path / "shard", EVERY_KIND) as there:
        refused = await outcomes(there, messages)
        assert there.shard.actors.store.read_only is None
        found, config = await vectors(there), there.shard.actors.store.config
    assert len(refused) > 200
    assert set(refused.values()) <= {
        "corrupt", "validation", "unknown-vector", "wrong-dimension", "limit-exceeded", "not-found"
    }  # fmt: skip
    assert found
    for id, named in found.items():  # which all are taken again
        check(Update.upsert_points([Point(id, named)]), config)
    async with EdgeShard(tmp_path / "shard") as shard:  # and the log is as it should be
        records, _ = await shard.scroll(ScrollRequest(limit=10_000, with_vector=True))
        assert {record.id: record.vector for record in records} == found
