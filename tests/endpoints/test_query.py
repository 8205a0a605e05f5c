"""The query door and EdgeClient: every read gives what the same call on the shard gives."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pytest
import zmq

from edge import EdgeShard, errors
from edge.endpoints import EdgeClient, answers, requests
from edge.endpoints import client as clients
from edge.endpoints import query as room
from edge.errors import (
    ActorCrashed,
    DeadlineExceeded,
    EdgeError,
    ShardClosed,
    ValidationError,
)
from edge.model.config import EdgeConfig
from edge.model.filter import FieldCondition, Filter, MatchValue, RangeFloat
from edge.model.point import Point
from edge.model.query import Bm25Params, Direction, OrderBy, Query, Sample, SearchParams, TextQuery
from edge.model.request import (
    CountRequest,
    ExcludePayload,
    Explained,
    FacetRequest,
    IncludePayload,
    OrderCursor,
    QueryBatchRequest,
    QueryRequest,
    ScrollRequest,
    SearchRequest,
)
from edge.model.schema import PayloadSchemaType, TextIndexParams
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams
from edge.shard import Reads
from tests.endpoints.made import DIM, Peer, Served, served, until

Integer, Keyword = PayloadSchemaType.Integer, PayloadSchemaType.Keyword
GIVEN = EdgeConfig(
    {"": EdgeVectorParams(DIM, Distance.Cosine), "image": EdgeVectorParams(2, Distance.Euclid)},
    background_optimizer=False,
)
UUIDS = [UUID(int=n) for n in range(3)]
KITCHEN = Filter(must=[FieldCondition("room", match=MatchValue("kitchen"))])
NEAREST = Query.Nearest([1.0, 0.5, 0.2, 0.1])


def made(n: int) -> Point:
    vector: dict[str, Any] = {"": np.cos(np.arange(DIM) * n + 1).tolist()}
    if n % 3:
        vector["image"] = [float(n), -1.0]
    payload = {"n": n, "room": ("kitchen", "hall")[n % 2], "text": f"mug number {n % 5}",
               "deep": {"a": [n, None], "b": "é"}}  # fmt: skip
    return Point(UUIDS[n] if n < 3 else n, vector, payload if n % 7 else None)


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path / "shard", GIVEN) as found:
        await found.shard.update(UpdateOperation.upsert_points([made(n) for n in range(40)]))
        indexes = {"n": Integer, "room": Keyword, "text": TextIndexParams(scoring=True)}
        for key, schema in indexes.items():
            await found.shard.update(UpdateOperation.create_field_index(key, schema))
        yield found


@pytest.fixture
async def client(there: Served) -> AsyncIterator[EdgeClient]:
    async with EdgeClient(there.query, there.ingest) as found:
        yield found


Read = Callable[[Reads], Awaitable[Any]]

READS: dict[str, Read] = {
    "nearest": lambda s: s.query(QueryRequest(5, query=NEAREST, with_payload=True)),
    "offset": lambda s: s.query(QueryRequest(5, 3, NEAREST, with_vector=True)),
    "named": lambda s: s.query(QueryRequest(5, query=Query.Nearest([1, 2], "image"))),
    "some vectors": lambda s: s.query(QueryRequest(9, query=NEAREST, with_vector=["image"])),
    "both vectors": lambda s: s.query(QueryRequest(9, query=NEAREST, with_vector=True)),
    "filter": lambda s: s.query(QueryRequest(9, query=NEAREST, filter=KITCHEN, with_payload=True)),
    "threshold": lambda s: s.query(QueryRequest(40, query=NEAREST, score_threshold=0.5)),
    "exact": lambda s: s.query(QueryRequest(3, query=NEAREST, params=SearchParams(exact=True))),
    "best effort": lambda s: s.query(QueryRequest(3, query=NEAREST, best_effort=True, timeout=9)),
    "all": lambda s: s.query(QueryRequest(40)),
    "text": lambda s: s.query(QueryRequest(4, query=TextQuery("text", "mug", Bm25Params(1, 0.5)))),
    "order": lambda s: s.query(QueryRequest(4, query=OrderBy("n", Direction.Desc, 30))),
    "none": lambda s: s.query(QueryRequest(5, query=NEAREST, filter=Filter(must=[FieldCondition(
        "n", range=RangeFloat(gt=1000))]))),
    "include": lambda s: s.query(
        QueryRequest(5, query=NEAREST, with_payload=IncludePayload(["n", "deep.a[]"]))),
    "exclude": lambda s: s.query(
        QueryRequest(5, query=NEAREST, with_payload=ExcludePayload(["deep"]))),
    "batch": lambda s: s.query_batch([QueryRequest(n + 1, query=NEAREST) for n in range(4)]),
    "batch of none": lambda s: s.query_batch(QueryBatchRequest([])),
    "search": lambda s: s.search(SearchRequest(NEAREST, 4, with_payload=True)),
    "scroll": lambda s: s.scroll(ScrollRequest(limit=7)),
    "scroll all": lambda s: s.scroll(ScrollRequest(limit=100, with_vector=True)),
    "scroll from": lambda s: s.scroll(ScrollRequest(10, 5, with_payload=["n"])),
    "scroll from a uuid": lambda s: s.scroll(ScrollRequest(UUIDS[1], 1, with_payload=False)),
    "scroll to a uuid": lambda s: s.scroll(ScrollRequest(30, 10)),
    "scroll in order": lambda s: s.scroll(ScrollRequest(limit=5, order_by="n", filter=KITCHEN)),
    "scroll on in order": lambda s: s.scroll(
        ScrollRequest(OrderCursor(9.0, 9), 5, order_by=OrderBy("n", Direction.Desc))),
    "scroll on in order from a uuid": lambda s: s.scroll(
        ScrollRequest(OrderCursor(1.0, UUIDS[1]), 5, order_by=OrderBy("n"))),
    "count": lambda s: s.count(),
    "count some": lambda s: s.count(CountRequest(filter=KITCHEN, exact=False)),
    "facet": lambda s: s.facet(FacetRequest("room", filter=KITCHEN)),
    "facet of numbers": lambda s: s.facet(FacetRequest("n", 5, exact=True)),
    "retrieve": lambda s: s.retrieve([5, UUIDS[0], 999, str(UUIDS[2])], True, True),
    "retrieve parts": lambda s: s.retrieve([5, 6, 7], ["n"], ["image"]),
    "retrieve nothing": lambda s: s.retrieve([]),
}  # fmt: skip

WRONG: dict[str, Read] = {
    "unknown vector": lambda s: s.query(QueryRequest(5, query=Query.Nearest([1, 2], "sound"))),
    "wrong dimension": lambda s: s.query(QueryRequest(5, query=Query.Nearest([1, 2]))),
    "unknown field": lambda s: s.query(QueryRequest(5, query=TextQuery("room", "kitchen"))),
    "limit": lambda s: s.query(QueryRequest(2_000_000, query=NEAREST)),
    "no time": lambda s: s.query(QueryRequest(5, query=NEAREST, timeout=0.0)),
    "no name": lambda s: s.query(QueryRequest(5, query=NEAREST, with_vector=["sound"])),
}


@pytest.mark.parametrize("name", READS)
async def test_a_read_gives_what_the_shard_gives(
    there: Served, client: EdgeClient, name: str
) -> None:
    expected = await READS[name](there.shard)
    found = await READS[name](client)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize("name", WRONG)
async def test_an_error_arrives_as_the_shard_raises_it(
    there: Served, client: EdgeClient, name: str
) -> None:
    with pytest.raises(EdgeError) as expected:
        await WRONG[name](there.shard)
    with pytest.raises(EdgeError) as found:
        await WRONG[name](client)
    assert type(found.value) is type(expected.value)
    if not isinstance(found.value, DeadlineExceeded):
        assert str(found.value) == str(expected.value)


async def test_info_chance_and_explanations(there: Served, client: EdgeClient) -> None:
    assert await client.info() == await there.shard.info()
    some = await client.query(QueryRequest(5, query=Sample.Random))
    assert len({point.id for point in some}) == 5
    request = QueryRequest(5, query=NEAREST, filter=KITCHEN, explain=True)
    found, expected = await client.query(request), await there.shard.query(request)
    assert isinstance(found, Explained)
    assert isinstance(expected, Explained)
    assert list(found) == list(expected)
    ways = [[(plan.way, plan.points, plan.estimate, plan.matches) for plan in one.plan]
            for one in (found, expected)]  # fmt: skip
    assert ways[0] == ways[1]


async def test_a_view_is_of_one_moment(there: Served, client: EdgeClient) -> None:
    async with client.read_view() as view:
        await client.update(UpdateOperation.delete_points([5, 6]))
        assert await client.count() == 38
        assert await view.count() == 40
        assert [record.id for record in await view.retrieve([5])] == [5]
    with pytest.raises(ShardClosed):
        await view.count()


# -- the door


def asked(number: int, kind: str, *more: Any, arguments: Any = None) -> list[bytes]:
    return [msgspec.msgpack.encode([number, kind, *more]),
            msgspec.msgpack.encode(arguments or {})]  # fmt: skip


BY_VECTOR = asked(
    1, "query", None, arguments={"limit": 5, "query": {"type": "nearest", "query": {}}}
)
"""A query whose vector is not there yet."""


async def test_a_client_of_another_language(there: Served) -> None:
    """By hand, as PROTOCOL.md says."""
    async with Peer(there.query) as peer:
        await peer.send(
            msgspec.msgpack.encode([1, "query", 2.5]),
            msgspec.msgpack.encode(
                {
                    "limit": 2,
                    "query": {"type": "nearest", "query": {}, "using": "image"},
                    "with_vector": True,
                }
            ),
            np.array([4, -1], "<f4").tobytes(),
        )
        header, result, *blocks = await peer.receive()
        number, kind, vectors = msgspec.msgpack.decode(header)
        found = msgspec.msgpack.decode(result)
    assert (number, kind) == (1, "query")
    assert [point["id"] for point in found] == [4, 5]
    assert sorted(vectors) == [["", DIM, [0, 1], None], ["image", 2, [0, 1], None]]
    by_name = {name: np.frombuffer(b, "<f4") for (name, *_), b in zip(vectors, blocks, strict=True)}
    assert by_name["image"].tolist() == [4, -1, 5, -1]


async def test_req_clients_are_served(there: Served) -> None:
    async with Peer(there.query, zmq.REQ) as peer:
        for number in (1, 2):
            await peer.send(*asked(number, "count"))
            header, result = await peer.receive()
            assert msgspec.msgpack.decode(header)[:2] == [number, "count"]
            assert msgspec.msgpack.decode(result) == 40
        await peer.send(*asked(3, "nothing"))
        assert msgspec.msgpack.decode((await peer.receive())[0])[:2] == [3, "error"]


async def test_a_request_that_is_late_is_answered_as_late_and_not_run(
    there: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []
    read = requests.read_request
    monkeypatch.setattr(room, "read_request", lambda *a: ran.append(1) or read(*a))
    async with Peer(there.query) as peer:
        for seconds in (0.0, -5.0, -1e300):
            await peer.send(*asked(1, "count", seconds))
            _, failed = await peer.receive()
            assert msgspec.msgpack.decode(failed)["code"] == "deadline"
        assert ran == []
        await peer.send(*asked(2, "count", 30.0))
        assert msgspec.msgpack.decode((await peer.receive())[1]) == 40
        assert ran == [1]


async def test_seconds_that_are_none_are_refused(there: Served) -> None:
    async with Peer(there.query) as peer:
        await peer.send(*asked(1, "count", float("nan")))
        assert msgspec.msgpack.decode((await peer.receive())[1])["code"] == "validation"
        await peer.send(*asked(2, "count", float("inf")))
        assert msgspec.msgpack.decode((await peer.receive())[1]) == 40


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (asked(1, "drop_everything"), "protocol"),
        (asked(1, "count", None, arguments={"unknown": 1}), "protocol"),
        (asked(1, "info", None, arguments={"unknown": 1}), "protocol"),
        ([*asked(1, "count"), bytes(16)], "protocol"),
        (BY_VECTOR, "protocol"),
        ([*asked(1, "query", None, arguments={"limit": 5}), bytes(16)], "protocol"),
        ([*BY_VECTOR, b"abc"], "protocol"),
        ([*BY_VECTOR, b""], "protocol"),
        ([*BY_VECTOR, bytes(16), bytes(16)], "protocol"),
        ([*BY_VECTOR, np.full(DIM, np.nan, "<f4").tobytes()], "validation"),
        (asked(1, "query", None, arguments={"limit": -5}), "validation"),
        (asked(1, "scroll", None, arguments={"offset": "no uuid"}), "validation"),
        (asked(1, "scroll", None, arguments={"order_by": {"type": "order_by", "key": "n",
                                                          "direction": "up"}}), "protocol"),
        (asked(1, "count", None, 77), "closed"),
    ],
)  # fmt: skip
async def test_what_is_no_request_is_answered_by_name(
    there: Served, frames: list[bytes], code: str
) -> None:
    async with Peer(there.query) as peer:
        await peer.send(*frames)
        header, failed = await peer.receive()
        assert msgspec.msgpack.decode(header)[:2] == [1, "error"]
        assert msgspec.msgpack.decode(failed)["code"] == code


@pytest.mark.parametrize(
    "frames", [[b""], [b"x"], [b"x", b"y"], [b"", b"\x93", b""], [b"\x91\x01", b"\x80"]]
)
async def test_what_has_no_number_is_counted(there: Served, frames: list[bytes]) -> None:
    async with Peer(there.query) as peer:
        await peer.send(*frames)
        await until(lambda: there.count("query", "garbage") == 1)
        await peer.send(*asked(1, "count"))
        assert msgspec.msgpack.decode((await peer.receive())[1]) == 40


async def test_many_requests_are_on_their_way_at_a_time(there: Served, client: EdgeClient) -> None:
    requests = [QueryRequest(1 + n % 7, query=NEAREST, offset=n % 5) for n in range(800)]
    found = await asyncio.gather(*map(client.query, requests))
    expected = [await there.shard.query(request) for request in requests]
    assert found == expected


async def test_requests_that_find_no_room_are_told_so(
    there: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    (inbox,) = [box for box in there.doors._inboxes if type(getattr(box, "_loop", None))
                and box is there.doors._inboxes[-1]]  # fmt: skip
    monkeypatch.setattr(inbox, "_capacity", 0)
    async with Peer(there.query) as peer:
        await peer.send(*asked(1, "count"))
        assert msgspec.msgpack.decode((await peer.receive())[1])["code"] == "busy"


async def test_a_defect_is_an_answer_and_not_the_end(
    there: Served, client: EdgeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Any:
        raise KeyError("for the test")

    with monkeypatch.context() as patched:
        patched.setattr(room, "read_request", fails)
        with pytest.raises(ActorCrashed, match="for the test"):
            await client.count()
    assert await client.count() == 40


async def test_large_answers_are_written_in_a_thread(
    there: Served, client: EdgeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, wheres = threading.current_thread(), []
    write = answers.write_answer

    def noted(*args: Any) -> Any:
        wheres.append(threading.current_thread() is here)
        return write(*args)

    monkeypatch.setattr(room, "write_answer", noted)
    await there.shard.upsert_arrays(np.arange(1_000, 3_000), np.ones((2_000, DIM), np.float32))
    await client.scroll(ScrollRequest(limit=3))
    await client.scroll(ScrollRequest(limit=2_000, with_vector=True))
    await client.query(QueryRequest(2_000, query=NEAREST))
    assert wheres == [True, False, False]


# -- the client


async def test_updates_are_carried_out(there: Served, client: EdgeClient) -> None:
    await client.update(UpdateOperation.upsert_points([made(100)]))
    await client.update(UpdateOperation.set_payload([100], {"n": -5}))
    await client.update(UpdateOperation.delete_points([3]))
    await client.update(UpdateOperation.create_field_index("deep.b", Keyword))
    (record,) = await there.shard.retrieve([100], True)
    assert record.payload is not None
    assert record.payload["n"] == -5
    assert await there.shard.count() == 40
    assert "deep.b" in (await there.shard.info()).payload_schema


async def test_cosine_vectors_are_stored_as_the_shard_stores_them(
    there: Served, client: EdgeClient, tmp_path: Path
) -> None:
    points = [made(100), made(101)]
    await client.update(UpdateOperation.upsert_points(points))
    async with EdgeShard(tmp_path / "other", GIVEN) as other:
        await other.update(UpdateOperation.upsert_points(points))
        assert await client.retrieve([100, 101], True, True) == await other.retrieve(
            [100, 101], True, True
        )


@pytest.mark.parametrize(
    "wrong",
    [
        UpdateOperation.upsert_points([Point(1, [1.0])]),
        UpdateOperation.upsert_points([Point(1, {"sound": [1.0]})]),
        UpdateOperation.set_payload([999], {"a": 1}),
        UpdateOperation.delete_vectors([1], ["sound"]),
    ],
)
async def test_updates_that_are_refused_raise_what_the_shard_raises(
    there: Served, client: EdgeClient, wrong: Any
) -> None:
    with pytest.raises(EdgeError) as expected:
        await there.shard.update(wrong)
    for _ in range(2):
        with pytest.raises(EdgeError) as found:
            await client.update(wrong)
        assert (type(found.value), str(found.value)) == (type(expected.value), str(expected.value))
    await client.update(UpdateOperation.delete_points([4]))
    assert await there.shard.count() == 39


async def test_updates_wait_for_each_other(there: Served, client: EdgeClient) -> None:
    await asyncio.gather(
        *[client.update(UpdateOperation.set_payload([5], {f"k{n}": n})) for n in range(30)]
    )
    (record,) = await there.shard.retrieve([5], True)
    assert record.payload is not None
    assert all(record.payload[f"k{n}"] == n for n in range(30))


async def test_an_update_that_was_given_up_stands_in_no_ones_way(
    there: Served, client: EdgeClient
) -> None:
    await client.update(UpdateOperation.delete_points([4]))
    writer = there.shard.actors.writer
    gate = threading.Event()
    held = asyncio.create_task(writer.call(lambda store: gate.wait(20)))
    client._timeout = 0.05
    try:
        with pytest.raises(DeadlineExceeded):
            await client.update(UpdateOperation.set_payload([5], {"n": 1}))
        cancelled = asyncio.create_task(client.update(UpdateOperation.set_payload([5], {"n": 2})))
        await asyncio.wait([cancelled], timeout=0.01)
        cancelled.cancel()
        await asyncio.wait([cancelled])
    finally:
        gate.set()
        await held
    client._timeout = 20.0
    await client.update(UpdateOperation.set_payload([5], {"n": 3}))
    (record,) = await client.retrieve([5], True)
    assert record.payload is not None
    assert record.payload["n"] == 3


async def test_a_fault_of_the_shard_is_raised(there: Served, client: EdgeClient) -> None:
    there.shard.actors.store.read_only = "for the test"
    with pytest.raises(errors.ShardReadOnly):
        await client.update(UpdateOperation.delete_points([4]))
    there.shard.actors.store.read_only = None
    await client.update(UpdateOperation.delete_points([4]))
    assert await client.count() == 39


async def test_who_hears_nothing_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "PATIENCE", 0.05)
    nobody = f"ipc://{tmp_path}/nobody"
    async with EdgeClient(nobody, nobody, timeout=0.05) as client:
        with pytest.raises(DeadlineExceeded, match="no answer"):
            await client.count(CountRequest(timeout=0.01))
        with pytest.raises(DeadlineExceeded, match="no acknowledgement"):
            await client.update(UpdateOperation.delete_points([4]))


async def test_closing_ends_what_waits(tmp_path: Path) -> None:
    nobody = f"ipc://{tmp_path}/nobody"
    async with EdgeClient(nobody, nobody) as client:
        calls = [client.count(), client.update(UpdateOperation.delete_points([4]))]
        waiting = [asyncio.create_task(call) for call in calls]  # type: ignore[arg-type]
        await asyncio.wait(waiting, timeout=0.05)
    for task in waiting:
        with pytest.raises(ShardClosed):
            await task
    for call in (client.count, lambda: client.update(UpdateOperation.delete_points([1]))):
        with pytest.raises(ShardClosed):
            await call()


async def test_a_client_is_opened_once_and_without_an_address_changes_nothing(
    there: Served,
) -> None:
    async with EdgeClient(there.query) as client:
        with pytest.raises(ValidationError, match="no address for updates"):
            await client.update(UpdateOperation.delete_points([1]))
        with pytest.raises(ValidationError, match="open already"):
            await client.__aenter__()
        assert await client.count() == 40
    async with client:  # again
        assert await client.count() == 40


@pytest.mark.parametrize("addresses", [("nowhere", None), ("tcp://127.0.0.1:9", "nowhere")])
async def test_an_address_that_is_none_is_refused(addresses: Any) -> None:
    client = EdgeClient(*addresses)
    with pytest.raises(ValidationError, match="address"):
        await client.__aenter__()
