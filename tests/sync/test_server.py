"""The test server itself: Qdrant's own client speaks to it, qdrant_edge takes its snapshots, and
its faults happen as planned."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import qdrant_edge
from qdrant_client import QdrantClient, models

from tests.sync.server import Fault, Server, ServerProcess

SHARD = "/collections/things/shards/0"
DENSE = {"vectors": {"size": 4, "distance": "Dot"}}
UNIQUE = "5c56c793-69f3-4fbf-87e6-c4bf54c28c26"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "server") as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        assert client.put("/collections/things", json=DENSE).json()["result"] is True
        yield client


def upsert(client: httpx.Client, *ids: int, **payload: Any) -> httpx.Response:
    points = [{"id": id, "vector": [id, 0, 0, 1], "payload": {"n": id, **payload}} for id in ids]
    return client.put("/collections/things/points?wait=true", json={"points": points})


def scroll(client: httpx.Client) -> dict[Any, Any]:
    body = {"limit": 1000, "with_vector": True}
    found = client.post("/collections/things/points/scroll", json=body).json()["result"]
    assert found["next_page_offset"] is None
    return {point["id"]: (point["vector"], point["payload"]) for point in found["points"]}


def edge_points(shard: Any) -> dict[Any, Any]:
    records, _ = shard.scroll(qdrant_edge.ScrollRequest(limit=1000, with_vector=True))
    return {record.id: (record.vector, record.payload) for record in records}


def test_the_real_client_speaks_to_it(server: Server) -> None:
    real = QdrantClient(url=server.url)
    real.create_collection(
        "things",
        vectors_config={
            "image": models.VectorParams(size=2, distance=models.Distance.COSINE),
            "words": models.VectorParams(
                size=2,
                distance=models.Distance.DOT,
                multivector_config=models.MultiVectorConfig(
                    comparator=models.MultiVectorComparator.MAX_SIM
                ),
            ),
        },
        sparse_vectors_config={"text": models.SparseVectorParams()},
    )
    vectors = {
        "image": [0.0, 1.0],
        "words": [[1.0, 2.0], [3.0, 4.0]],
        "text": models.SparseVector(indices=[3, 7], values=[0.5, 1.5]),
    }
    points = [
        models.PointStruct(id=1, vector=vectors, payload={"room": "kitchen"}),
        models.PointStruct(id=UNIQUE, vector={"image": [1, 0]}, payload={"room": "hall"}),
    ]
    real.upsert("things", points)
    kitchen = models.Filter(
        must=[models.FieldCondition(key="room", match=models.MatchValue(value="kitchen"))]
    )
    found, following = real.scroll("things", scroll_filter=kitchen, with_vectors=True)
    assert following is None
    assert [(point.id, point.vector, point.payload) for point in found] == [
        (1, vectors, {"room": "kitchen"})
    ]
    real.create_payload_index("things", "room", models.PayloadSchemaType.KEYWORD)
    assert list(real.get_collection("things").payload_schema) == ["room"]
    assert real.count("things").count == 2
    changes = [
        models.SetPayloadOperation(
            set_payload=models.SetPayload(payload={"seen": 2}, points=[UNIQUE])
        ),
        models.DeleteOperation(delete=models.PointIdsList(points=[1])),
    ]
    real.batch_update_points("things", changes)
    found, _ = real.scroll("things")
    assert [(point.id, point.payload) for point in found] == [(UNIQUE, {"room": "hall", "seen": 2})]
    real.close()


def test_every_kind_of_update(client: httpx.Client) -> None:
    points = "/collections/things/points"

    def send(method: str, path: str, **body: Any) -> None:
        reply = client.request(method, points + path, json=body)
        assert reply.status_code == 200, reply.text

    upsert(client, 1, 2, 3)
    send("POST", "/payload", points=[1], payload={"a": 1})
    send("PUT", "/payload", points=[2], payload={"b": 1})
    send("PUT", "/vectors", points=[{"id": 2, "vector": [5, 5, 5, 5]}])
    send("POST", "/payload/delete", points=[1], keys=["n"])
    send("POST", "/payload/clear", filter={"must": [{"key": "n", "match": {"value": 3}}]})
    assert scroll(client) == {
        1: ([1, 0, 0, 1], {"a": 1}),
        2: ([5, 5, 5, 5], {"b": 1}),
        3: ([3, 0, 0, 1], {}),
    }
    send("POST", "/vectors/delete", points=[3], vector=[""])
    send("POST", "/delete", points=[1, 2])
    assert scroll(client) == {3: ({}, {})}


def test_a_batch_stops_where_it_fails(client: httpx.Client) -> None:
    wrong = {"points": [{"id": 2, "vector": [1]}]}
    right = [{"upsert": {"points": [{"id": id, "vector": [1, 1, 1, 1]}]}} for id in (1, 3)]
    operations = [right[0], {"upsert": wrong}, right[1]]
    reply = client.post("/collections/things/points/batch", json={"operations": operations})
    assert reply.status_code == 400
    assert "expected dim: 4, got 1" in reply.json()["status"]["error"]
    assert list(scroll(client)) == [1]


def test_what_is_not_there(client: httpx.Client) -> None:
    assert client.get("/collections/others").status_code == 404
    assert client.get("/nowhere").status_code == 404
    assert client.put("/collections/things", json=DENSE).status_code == 409
    body = {"points": [9], "payload": {"a": 1}}
    reply = client.post("/collections/things/points/payload", json=body)
    assert reply.status_code == 404
    assert "No point with id 9" in reply.json()["status"]["error"]


def test_the_key_is_asked_for(tmp_path: Path) -> None:
    with Server(tmp_path / "server", api_key="secret") as server:
        url = f"{server.url}/collections"
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, headers={"api-key": "wrong"}).status_code == 401
        assert httpx.get(url, headers={"api-key": "secret"}).status_code == 200


@pytest.mark.parametrize("stored", [False, True])
def test_qdrant_edge_takes_a_full_snapshot(
    client: httpx.Client, tmp_path: Path, stored: bool
) -> None:
    upsert(client, *range(50))
    client.post("/collections/things/points/delete", json={"points": [4, 5]})
    if stored:
        described = client.post(f"{SHARD}/snapshots").json()["result"]
        data = client.get(f"{SHARD}/snapshots/{described['name']}").content
        assert hashlib.sha256(data).hexdigest() == described["checksum"]
        assert len(data) == described["size"]
    else:
        data = client.get(f"{SHARD}/snapshot").content
    assert len(data) < 4 << 20, "holes are not sent"
    (tmp_path / "snapshot.tar").write_bytes(data)
    folder = str(tmp_path / "copy")
    qdrant_edge.EdgeShard.unpack_snapshot(str(tmp_path / "snapshot.tar"), folder)
    shard = qdrant_edge.EdgeShard.load(folder)
    assert edge_points(shard) == scroll(client)
    shard.update(qdrant_edge.UpdateOperation.set_payload([7], {"later": True}))
    assert edge_points(shard)[7][1] == {"n": 7, "later": True}, "it takes updates"
    shard.close()


def members(archive: Path) -> set[str]:
    with tarfile.open(archive) as tar:
        return {name.split("/files/")[-1] for name in tar.getnames()}


def test_qdrant_edge_follows_by_partial_snapshots(client: httpx.Client, tmp_path: Path) -> None:
    archive = tmp_path / "snapshot.tar"
    upsert(client, 1, 2)
    archive.write_bytes(client.get(f"{SHARD}/snapshot").content)
    qdrant_edge.EdgeShard.unpack_snapshot(str(archive), str(tmp_path / "copy"))
    shard = qdrant_edge.EdgeShard.load(str(tmp_path / "copy"))
    index = {"field_name": "n", "field_schema": "integer"}
    for change in (
        lambda: upsert(client, 3, 4),
        lambda: client.post("/collections/things/points/delete", json={"points": [1]}),
        lambda: client.put("/collections/things/index", json=index),
        lambda: upsert(client, *range(100, 140)),
    ):
        assert change().status_code == 200
        manifest = shard.snapshot_manifest()
        reply = client.post(f"{SHARD}/snapshot/partial/create", json=manifest)
        archive.write_bytes(reply.content)
        shard.update_from_snapshot(str(archive), str(tmp_path))
        assert edge_points(shard) == scroll(client)
    shard.close()


def test_only_what_is_newer_is_sent(client: httpx.Client, tmp_path: Path) -> None:
    archive = tmp_path / "snapshot.tar"
    upsert(client, 1, 2)
    upsert(client, 3)
    manifest = client.get(f"{SHARD}/snapshot/partial/manifest").json()["result"]
    reply = client.post(f"{SHARD}/snapshot/partial/create", json=manifest)
    assert (reply.status_code, reply.content) == (304, b"")
    change = {"points": [3], "payload": {"a": 1}}
    client.post("/collections/things/points/payload", json=change)
    archive.write_bytes(client.post(f"{SHARD}/snapshot/partial/create", json=manifest).content)
    assert "payload_storage/page_0.dat" in members(archive)
    assert "segment_manifest.json" in members(archive)
    assert "vector_storage/vectors/chunk_0.mmap" not in members(archive)
    archive.write_bytes(client.get(f"{SHARD}/snapshot").content)
    assert "vector_storage/vectors/chunk_0.mmap" in members(archive)
    assert "segment_manifest.json" not in members(archive)


def test_a_stored_snapshot_in_parts(client: httpx.Client) -> None:
    upsert(client, 1)
    name = client.post(f"{SHARD}/snapshots").json()["result"]["name"]
    assert [one["name"] for one in client.get(f"{SHARD}/snapshots").json()["result"]] == [name]
    path = f"{SHARD}/snapshots/{name}"
    whole = client.get(path)
    rest = client.get(path, headers={"Range": "bytes=1000-", "If-Range": whole.headers["etag"]})
    assert (rest.status_code, rest.content) == (206, whole.content[1000:])
    size = len(whole.content)
    assert rest.headers["Content-Range"] == f"bytes 1000-{size - 1}/{size}"
    other = client.get(path, headers={"Range": "bytes=1000-", "If-Range": '"another"'})
    assert (other.status_code, other.content) == (200, whole.content)
    assert client.get(path, headers={"Range": f"bytes={size}-"}).status_code == 416
    client.delete(path)
    assert client.get(path).status_code == 404


def test_faults_happen_as_planned(server: Server, client: httpx.Client) -> None:
    put = "PUT /collections/things/points"
    server.arm(
        Fault("status", put, status=429, retry_after="7"),
        Fault("cut request", put, at=10),
        Fault("no reply", put),
        Fault("cut reply", put, at=5),
    )
    assert scroll(client) == {}, "a fault waits for its request"
    reply = upsert(client, 1)
    assert (reply.status_code, reply.headers["Retry-After"]) == (429, "7")
    with pytest.raises(httpx.TransportError):
        upsert(client, 2)
    with pytest.raises(httpx.TransportError):
        upsert(client, 3)
    with pytest.raises(httpx.TransportError):
        upsert(client, 4)
    assert list(scroll(client)) == [3, 4], "the work was done where only the reply was lost"
    assert upsert(client, 5).status_code == 200
    statuses = [seen.status for seen in server.seen("PUT", "/points")]
    assert statuses == [429, None, None, None, 200]


def test_replies_that_are_files_fail_too(server: Server, client: httpx.Client) -> None:
    upsert(client, 1)
    name = client.post(f"{SHARD}/snapshots").json()["result"]["name"]
    whole = client.get(f"{SHARD}/snapshots/{name}").content
    server.arm(Fault("cut reply", "snapshot", at=3000), Fault("cut reply", "snapshot", at=3000))
    for path in (f"{SHARD}/snapshot", f"{SHARD}/snapshots/{name}"):
        with pytest.raises(httpx.TransportError), client.stream("GET", path) as reply:
            for _ in reply.iter_raw():
                pass
        assert server.seen("GET", path)[-1].sent == 3000
    server.arm(Fault("damage", "snapshot", at=3000))
    damaged = client.get(f"{SHARD}/snapshots/{name}").content
    assert [i for i in range(len(whole)) if whole[i] != damaged[i]] == [3000]


def test_a_late_reply_ends_with_the_server(server: Server, client: httpx.Client) -> None:
    server.arm(Fault("delay", "points/count"))
    with pytest.raises(httpx.ReadTimeout):
        client.post("/collections/things/points/count", json={}, timeout=0.05)
    server.stop()
    with pytest.raises(httpx.ConnectError):
        client.get("/collections")
    server.start()
    assert client.get("/collections/things").status_code == 200


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_process_remembers_what_it_was_told(tmp_path: Path, end: str) -> None:
    with ServerProcess(tmp_path / "server", api_key="secret") as server:
        with httpx.Client(base_url=server.url, headers={"api-key": "secret"}) as client:
            client.put("/collections/things", json=DENSE)
            server.arm(Fault("status", "PUT", status=500))
            assert upsert(client, 1).status_code == 500
            assert upsert(client, 2, room=json.loads('"k\\u00fcche"')).status_code == 200
            assert [seen.status for seen in server.seen("PUT", "points")] == [500, 200]
        getattr(server, end)()
        server.start()
        with httpx.Client(base_url=server.url, headers={"api-key": "secret"}) as client:
            assert scroll(client) == {2: ([2, 0, 0, 1], {"n": 2, "room": "küche"})}


def test_ids_of_both_kinds(client: httpx.Client) -> None:
    points = [{"id": id, "vector": [1, 1, 1, 1]} for id in (2**64 - 1, UNIQUE)]
    client.put("/collections/things/points", json={"points": points})
    body = {"ids": [UNIQUE, 2**64 - 1]}
    found = client.post("/collections/things/points", json=body).json()["result"]
    assert [point["id"] for point in found] == [UNIQUE, 2**64 - 1]
    assert UUID(found[0]["id"])
