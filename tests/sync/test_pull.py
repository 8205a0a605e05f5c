"""Pulls from a server that fails in every way: what is there afterwards is the server's, or what
was there before."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import qdrant_edge
from anyio import to_thread

from edge.errors import (
    CorruptData,
    EdgeError,
    LimitExceeded,
    Refused,
    RemoteBusy,
    StorageFull,
    Unauthorized,
    Unreachable,
    ValidationError,
    WrongBase,
)
from edge.sync import download
from edge.sync.pull import Pull, Pulled
from edge.sync.rest import Retries
from tests.sync.server import PATIENCE, Fault, Server

QUICK = Retries(attempts=3, first=0.001, longest=0.01)
DENSE = {"vectors": {"size": 4, "distance": "Dot"}}
KEY = "secret"
PARTIAL = "snapshot/partial/create"


class EdgeShardOfQdrant:
    """A shard of the real package, as one that pulls."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shard: Any = None
        self.misfits = 0
        """How many partial snapshots are to be taken for those of another shard."""

    async def manifest(self) -> dict[str, Any]:
        return {} if self.shard is None else self.shard.snapshot_manifest()

    async def apply(self, path: Path) -> None:
        if self.misfits and path.name == "partial.tar":
            self.misfits -= 1
            raise WrongBase("of another shard")
        if self.shard is None:
            qdrant_edge.EdgeShard.unpack_snapshot(str(path), str(self.folder))
            self.shard = qdrant_edge.EdgeShard.load(str(self.folder))
        else:
            self.shard.update_from_snapshot(str(path), str(self.folder.parent))

    def points(self) -> dict[int, Any]:
        if self.shard is None:
            return {}
        records, _ = self.shard.scroll(qdrant_edge.ScrollRequest(limit=1000, with_vector=True))
        return {record.id: (record.vector, record.payload) for record in records}

    def close(self) -> None:
        if self.shard is not None:
            self.shard.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "server", api_key=KEY) as server:
        server.create("things", DENSE)
        yield server


@pytest.fixture
def shard(tmp_path: Path) -> Iterator[EdgeShardOfQdrant]:
    shard = EdgeShardOfQdrant(tmp_path / "shard")
    yield shard
    shard.close()


def pull_of(server: Server, shard: EdgeShardOfQdrant, **given: Any) -> Pull:
    given = {"api_key": KEY, "retries": QUICK, **given}
    pull = Pull(shard.folder, server.url, "things", **given)
    pull._shard = shard
    return pull


@pytest.fixture
async def pull(server: Server, shard: EdgeShardOfQdrant) -> AsyncIterator[Pull]:
    async with pull_of(server, shard) as pull:
        yield pull


def put(server: Server, *ids: int, **payload: Any) -> None:
    points = [{"id": id, "vector": [id, 0, 0, 1], "payload": payload} for id in ids]
    reply = httpx.put(
        f"{server.url}/collections/things/points",
        json={"points": points},
        headers={"api-key": KEY},
    )
    assert reply.status_code == 200


def on_server(server: Server) -> dict[int, Any]:
    found = server.collection("things").scroll({"limit": 1000, "with_vector": True})["points"]
    return {point["id"]: (point["vector"], point["payload"]) for point in found}


def incoming(shard: EdgeShardOfQdrant) -> list[str]:
    folder = shard.folder.parent / "shard.incoming"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


async def test_full_then_partial_then_nothing(
    server: Server, shard: EdgeShardOfQdrant, pull: Pull
) -> None:
    put(server, 1, 2)
    first = await pull.once()
    assert first.kind == "full"
    assert first.nbytes > 1000
    assert shard.points() == on_server(server)
    put(server, 2, 3, later=True)
    assert (await pull.once()).kind == "partial"
    assert shard.points() == on_server(server)
    shard.manifest = server_manifest(server)  # type: ignore[method-assign]
    assert (await pull.once())[:2] == ("nothing", 0)
    assert server.seen("POST", PARTIAL)[-1].status == 304
    assert incoming(shard) == []
    assert server.collection("things").stored_snapshots() == []


def server_manifest(server: Server) -> Any:
    """What a shard says that keeps the server's own manifest."""

    async def manifest() -> Any:
        return server.collection("things").manifest()

    return manifest


FAULTS = [
    Fault("status", status=502),
    Fault("status", status=429, retry_after="0"),
    Fault("cut request", at=10),
    Fault("no reply"),
    Fault("cut reply", at=3000),
    Fault("cut reply", at=25_000),
]


PLACES = [
    ("/snapshot", "streamed"),
    ("/snapshots", "stored"),
    ("/snapshots/", "stored"),
    (PARTIAL, "streamed"),
]


@pytest.mark.parametrize(("place", "full"), PLACES)
@pytest.mark.parametrize(
    "fault", FAULTS, ids=lambda fault: f"{fault.kind} {fault.status} {fault.at}"
)
async def test_it_gets_through(
    server: Server, shard: EdgeShardOfQdrant, fault: Fault, place: str, full: str
) -> None:
    put(server, *range(100))
    async with pull_of(server, shard, full=full) as pull:
        if place == PARTIAL:
            await pull.once()
            put(server, *range(50, 200), later=True)
        server.arm(replace(fault, path=place, times=2))
        await pull.once()
        assert shard.points() == on_server(server)
        assert incoming(shard) == []


async def test_a_download_goes_on_where_it_stopped(
    server: Server, shard: EdgeShardOfQdrant
) -> None:
    put(server, *range(100))
    for _ in range(10):  # more often than it is tried: each brings something
        server.arm(Fault("cut reply", "/snapshots/", at=2000))
    async with pull_of(server, shard) as pull:
        done = await pull.once()
    seen = server.seen("GET", "/snapshots/")
    assert [one.range for one in seen] == [
        None,
        *(f"bytes={at}-" for at in range(2000, 20001, 2000)),
    ]
    assert sum(one.sent for one in seen) == done.nbytes, "nothing came twice"
    assert shard.points() == on_server(server)


async def test_another_process_goes_on(server: Server, shard: EdgeShardOfQdrant) -> None:
    put(server, 1)
    server.arm(
        *[Fault("cut reply", "/snapshots/", at=10_000)], *[Fault("no reply", "/snapshots/")] * 3
    )
    async with pull_of(server, shard) as pull:
        with pytest.raises(Unreachable):
            await pull.once()
    assert incoming(shard) == ["full.tar", "note.json"]
    assert shard.points() == {}
    put(server, 2)
    server.disarm()
    async with pull_of(server, shard) as pull:
        assert (await pull.once()).kind == "full"
    assert server.seen("GET", "/snapshots/")[-1].range == "bytes=10000-"
    assert list(shard.points()) == [1, 2], "also what came since it was begun"
    assert len(server.seen("POST", "/snapshots")) == 1
    assert incoming(shard) == []


@pytest.mark.parametrize(
    "note", [b"", b"{", b'{"url":"http://other","stored":{"name":"a","size":1}}']
)
async def test_a_note_that_is_of_no_use(
    server: Server, shard: EdgeShardOfQdrant, note: bytes
) -> None:
    put(server, 1)
    folder = shard.folder.parent / "shard.incoming"
    folder.mkdir()
    (folder / "note.json").write_bytes(note)
    (folder / "full.tar").write_bytes(b"junk")
    async with pull_of(server, shard) as pull:
        assert (await pull.once()).kind == "full"
    assert shard.points() == on_server(server)


async def test_a_snapshot_that_the_server_lost(server: Server, shard: EdgeShardOfQdrant) -> None:
    put(server, 1)
    server.arm(
        Fault("cut reply", "/snapshots/", at=10_000), *[Fault("no reply", "/snapshots/")] * 3
    )
    async with pull_of(server, shard) as pull:
        with pytest.raises(Unreachable):
            await pull.once()
        server.disarm()
        for path in (server.folder / "things" / "snapshots").iterdir():
            path.unlink()
        assert (await pull.once()).kind == "full"
    assert shard.points() == on_server(server)


async def test_what_came_damaged_is_not_applied(server: Server, shard: EdgeShardOfQdrant) -> None:
    put(server, 1)
    server.arm(Fault("damage", "/snapshots/", at=5000))
    async with pull_of(server, shard) as pull:
        with pytest.raises(CorruptData, match="checksum"):
            await pull.once()
        assert shard.points() == {}
        assert incoming(shard) == []
        assert (await pull.once()).kind == "full"
    assert shard.points() == on_server(server)


async def test_a_partial_snapshot_that_does_not_fit_is_followed_by_a_full_one(
    server: Server, shard: EdgeShardOfQdrant, pull: Pull
) -> None:
    put(server, 1)
    await pull.once()
    put(server, 2)
    shard.misfits = 1
    assert (await pull.once()).kind == "full"
    assert shard.points() == on_server(server)
    assert server.seen("POST", PARTIAL)[-1].status == 200


async def test_a_server_that_knows_no_partial_snapshots(
    server: Server, shard: EdgeShardOfQdrant, pull: Pull
) -> None:
    put(server, 1)
    await pull.once()
    put(server, 2)
    server.arm(Fault("status", PARTIAL, status=404))
    assert (await pull.once()).kind == "full"
    assert shard.points() == on_server(server)


async def test_a_server_that_stores_nothing_gives_a_stream(
    server: Server, shard: EdgeShardOfQdrant, pull: Pull
) -> None:
    put(server, 1)
    server.arm(Fault("status", "POST /collections/things/shards/0/snapshots", status=403))
    assert (await pull.once()).kind == "full"
    assert server.seen("GET", "/snapshot")[-1].path.endswith("/snapshot")
    assert shard.points() == on_server(server)


async def test_a_snapshot_that_is_too_long(server: Server, shard: EdgeShardOfQdrant) -> None:
    put(server, 1)
    for full, error in (("stored", LimitExceeded), ("streamed", Refused)):
        async with pull_of(server, shard, full=full, most_bytes=5000) as pull:
            with pytest.raises(error):
                await pull.once()
    assert shard.points() == {}


async def test_a_disk_without_space(
    server: Server, shard: EdgeShardOfQdrant, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(server, 1)
    monkeypatch.setattr(download, "SPARE_BYTES", 1 << 62)
    async with pull_of(server, shard) as pull:
        with pytest.raises(StorageFull):
            await pull.once()


async def test_a_snapshot_may_take_its_time(
    server: Server, shard: EdgeShardOfQdrant, pull: Pull, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer to be made than a server may be silent otherwise."""
    stream, waits = httpx.AsyncClient.stream, dict[str, float | None]()

    def noting(client: httpx.AsyncClient, method: str, path: str, **given: Any) -> Any:
        waits[f"{method} {path.rpartition('/shards/0/')[2].partition('things')[0]}"] = given[
            "timeout"
        ].read
        return stream(client, method, path, **given)

    monkeypatch.setattr(httpx.AsyncClient, "stream", noting)
    put(server, 1)
    await pull.once()
    put(server, 2)
    await pull.once()
    assert waits == {
        "POST snapshots": 1800,
        "GET snapshots/": 30,
        "DELETE snapshots/": 30,
        f"POST {PARTIAL}": 1800,
    }


async def test_a_wrong_key(server: Server, shard: EdgeShardOfQdrant) -> None:
    async with pull_of(server, shard, api_key="wrong") as pull:
        with pytest.raises(Unauthorized):
            await pull.once()


async def test_a_collection_that_is_not_there(server: Server, shard: EdgeShardOfQdrant) -> None:
    server.drop("things")
    async with pull_of(server, shard) as pull:
        with pytest.raises(Refused, match="doesn't exist"):
            await pull.once()


async def test_again_and_again(server: Server, shard: EdgeShardOfQdrant, pull: Pull) -> None:
    put(server, 1)
    server.arm(Fault("status", status=500, times=3))
    told: list[Pulled | EdgeError] = []

    def tell(done: Pulled | EdgeError) -> None:
        told.append(done)
        put(server, len(told) + 1)
        if len(told) == 4:
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pull.every, 0.001, tell)
    assert isinstance(told[0], RemoteBusy)
    assert [done.kind for done in told[1:] if isinstance(done, Pulled)] == [
        "full",
        "partial",
        "partial",
    ]


async def test_a_cancelled_pull_leaves_nothing_open(
    server: Server, shard: EdgeShardOfQdrant, pull: Pull
) -> None:
    put(server, 1)
    server.arm(Fault("delay", "/snapshots/"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pull.once)
        assert await to_thread.run_sync(server.delaying.wait, PATIENCE)
        tasks.cancel_scope.cancel()
    server.restart()
    assert (await pull.once()).kind == "full"
    assert shard.points() == on_server(server)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"full": "both"}, "full"), ({"url": "nowhere"}, "url"), ({"collection": ""}, "collection")],
)
def test_wrong_arguments(tmp_path: Path, wrong: dict[str, Any], field: str) -> None:
    given = {"url": "http://server", "collection": "things", **wrong}
    with pytest.raises(ValidationError, match=field):
        Pull(tmp_path / "shard", **given)
