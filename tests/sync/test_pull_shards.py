"""Pulls into shards of ours: open ones, folders of shards, and folders that are not there yet."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from edge.disk.storage import DiskStorage, DiskWriter
from edge.errors import CorruptData
from edge.model.config import EdgeConfig
from edge.model.request import ScrollRequest
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams
from edge.shard import EdgeShard
from edge.store.store import Store
from edge.sync.mirror import Mirror
from edge.sync.pull import Pull
from edge.sync.rest import Retries
from tests.sync.server import Fault, Server

QUICK = Retries(attempts=2, first=0.001, longest=0.01)
ALL = 10_000
BODY = {
    "vectors": {
        "image": {"size": 2, "distance": "Cosine"},
        "words": {
            "size": 2,
            "distance": "Dot",
            "multivector_config": {"comparator": "max_sim"},
        },
    },
    "sparse_vectors": {"text": {}},
}
UNIQUE = "5c56c793-69f3-4fbf-87e6-c4bf54c28c26"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "server") as server:
        server.create("things", BODY)
        yield server


def put(server: Server, *ids: Any, **payload: Any) -> None:
    vectors = {
        "image": [0.0, 1.0],
        "words": [[1.0, 2.0], [3.0, 4.0]],
        "text": {"indices": [3, 7], "values": [0.5, 1.5]},
    }
    points = [{"id": id, "vector": vectors, "payload": payload} for id in ids]
    server.collection("things").batch([{"upsert": {"points": points}}])


async def same(shard: EdgeShard, server: Server) -> None:
    request = ScrollRequest(limit=ALL, with_vector=True)
    records, _ = await shard.scroll(request)
    found = server.collection("things").scroll({"limit": ALL, "with_vector": True})["points"]
    theirs = {str(one["id"]): (one["vector"], one["payload"]) for one in found}
    assert {str(one.id): (_plain(one.vector), one.payload) for one in records} == theirs


def _plain(vectors: dict[str, Any]) -> dict[str, Any]:
    text = vectors.get("text")
    listed = {} if text is None else {"text": {"indices": text.indices, "values": text.values}}
    return vectors | listed


def change(server: Server) -> None:
    put(server, 2, 3, later=True)
    server.collection("things").batch([{"delete": {"points": [1]}}])


async def test_an_open_shard(tmp_path: Path, server: Server) -> None:
    put(server, 1, 2, UNIQUE, room="hall")
    config = EdgeConfig(vectors=EdgeVectorParams(9, Distance.Dot))
    async with (
        EdgeShard(tmp_path / "shard", config) as shard,
        Pull(shard, server.url, "things", retries=QUICK) as pull,
    ):
        assert (await pull.once()).kind == "full"
        await same(shard, server)
        change(server)
        assert (await pull.once()).kind == "partial"
        await same(shard, server)
        assert (await pull.once()).kind == "nothing"
        async with shard.read_view() as view:
            change(server)
            put(server, *range(100, 300))
            assert await view.count() == 3
            await pull.once()
            assert await view.count() == 3, "what is held stays"
        await same(shard, server)


async def test_a_folder(tmp_path: Path, server: Server) -> None:
    put(server, 1, 2)
    path = tmp_path / "shard"
    for kind in ("full", "partial", "partial"):
        async with Pull(path, server.url, "things", retries=QUICK) as pull:
            done = await pull.once()
        assert done.kind in (kind, "nothing")
        async with EdgeShard.load(path) as shard:
            await same(shard, server)
        change(server)


async def test_a_collection_that_was_made_anew(tmp_path: Path, server: Server) -> None:
    """What is a partial snapshot of another shard does no harm."""
    put(server, *range(10))
    async with Pull(tmp_path / "shard", server.url, "things", retries=QUICK) as pull:
        await pull.once()
        server.drop("things")
        server.create("things", BODY)
        put(server, 77)
        await pull.once()
    async with EdgeShard.load(tmp_path / "shard") as shard:
        await same(shard, server)


async def test_a_shard_that_was_written_to(tmp_path: Path, server: Server) -> None:
    put(server, 1, 2)
    async with Pull(tmp_path / "shard", server.url, "things", retries=QUICK) as pull:
        await pull.once()
        async with EdgeShard.load(tmp_path / "shard") as shard:
            await shard.update(UpdateOperation.delete_points([1]))
        change(server)
        put(server, 1)
        await pull.once()
    async with EdgeShard.load(tmp_path / "shard") as shard:
        await same(shard, server)


async def test_what_is_damaged_on_the_way_changes_nothing(tmp_path: Path, server: Server) -> None:
    """A stream has no checksum: what is no archive any more is refused, whatever was damaged."""
    put(server, 1)
    async with Pull(
        tmp_path / "shard", server.url, "things", full="streamed", retries=QUICK
    ) as pull:
        await pull.once()
        put(server, 2)
        server.arm(Fault("damage", "partial", at=150))  # in the first header
        assert (await pull.once()).kind == "full", "the partial one was of no use"
        async with EdgeShard.load(tmp_path / "shard") as shard:
            await same(shard, server)
        put(server, 3)
        server.arm(Fault("damage", "partial", at=150), Fault("damage", "GET", at=150))
        with pytest.raises(CorruptData):
            await pull.once()
    async with EdgeShard.load(tmp_path / "shard") as shard:
        assert await shard.count() == 2


# -- the loop

WATCHED = (
    *[(DiskStorage, name) for name in vars(DiskStorage) if not name.startswith("_")],
    *[(DiskWriter, name) for name in vars(DiskWriter) if not name.startswith("_")],
    *[(Store, name) for name in ("commit", "sync", "flush", "set_cursor", "read_log")],
)
"""What touches the disk, or computes for long."""


async def test_nothing_of_it_is_done_on_the_loop(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, seen, calls = threading.current_thread(), set[str](), [0]

    def watch(function: Callable[..., Any], name: str) -> Callable[..., Any]:
        @wraps(function)
        def watched(*args: Any, **named: Any) -> Any:
            calls[0] += 1
            if threading.current_thread() is here:
                seen.add(name)
            return function(*args, **named)

        return watched

    for owner, name in WATCHED:
        function = vars(owner)[name]
        if callable(function):
            monkeypatch.setattr(owner, name, watch(function, f"{owner.__name__}.{name}"))
    put(server, *range(20))
    given = {"config": None, "pull_every": None, "retries": QUICK}
    async with Mirror(tmp_path / "memory", server.url, "things", **given) as memory:
        await memory.pull()
        await memory.update(UpdateOperation.set_payload([1, 2], {"a": 1}))
        await memory.update(UpdateOperation.delete_points([3]))
        assert await memory.count() == 19
        await memory.drained()
        assert (await memory.pull()).kind == "partial"
    assert calls[0] > 50
    assert seen == set()
