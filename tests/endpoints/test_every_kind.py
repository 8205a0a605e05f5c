"""Vectors of every kind through the doors: read and written as by the shard itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge import EdgeShard
from edge.endpoints import EdgeClient, Publisher, blocking
from edge.endpoints import protocol as p
from edge.errors import EdgeError, UnknownVector, ValidationError
from edge.model.config import ConfigChange
from edge.model.filter import FieldCondition, Filter, HasVectorCondition, RangeFloat
from edge.model.point import Point, PointVectors
from edge.model.quantization import QuantizationSearchParams
from edge.model.query import AcornSearchParams, IdfParams, Query, SearchParams
from edge.model.request import CountRequest, QueryRequest, ScrollRequest, SearchRequest
from edge.model.sparse import SparseVector
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams, HnswIndexConfig, Modifier
from edge.shard import Reads
from tests.endpoints.kinds import EVERY_KIND, MANY, SIZE, made, words
from tests.endpoints.made import Served, in_thread, served, short_folder

Update = UpdateOperation
COUNT = 40
FEW = Filter(must=[FieldCondition("n", range=RangeFloat(lt=9))])


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path / "shard", EVERY_KIND) as found:
        yield found


@pytest.fixture
async def client(there: Served) -> AsyncIterator[EdgeClient]:
    async with EdgeClient(there.query, there.ingest) as found:
        await found.update(Update.upsert_points([made(n) for n in range(COUNT)]))
        yield found


Read = Callable[[Reads], Awaitable[Any]]


def nearest(vector: Any, using: str | None = None, **more: Any) -> Read:
    return lambda reads: reads.query(
        QueryRequest(7, query=Query.Nearest(vector, using), **{"with_vector": True} | more)
    )


TWO = [[1.0, 0.5, -1.0], [-1.0, 2.0, 0.0]]
HARD = SearchParams(
    exact=True,
    quantization=QuantizationSearchParams(rescore=True, oversampling=2.0),
    acorn=AcornSearchParams(True, 0.5),
)
READS: dict[str, Read] = {
    "dense": nearest([1, 0.5, -1]),
    "half": nearest([1, 0.5, -1], "half"),
    "several by several": nearest(TWO, "parts"),
    "several by one": nearest([1, 0.5, -1], "parts"),
    "several, filtered": nearest(TWO, "parts", filter=FEW, params=HARD),
    "sparse": nearest(words(1, 2, 2**32 - 1), "words"),
    "sparse, filtered": nearest(words(1, 2, 105), "words", filter=FEW),
    "sparse by nothing": nearest(SparseVector([], []), "words"),
    "sparse by rarity": nearest(words(3, 12), "rare"),
    "sparse by rarity among some": nearest(
        words(3, 12), "rare", params=SearchParams(idf=IdfParams(FEW))
    ),
    "some vectors": nearest([1, 2, 3], with_vector=["parts", "rare"]),
    "search": lambda s: s.search(SearchRequest(Query.Nearest(TWO, "parts"), 4, with_vector=True)),
    "batch": lambda s: s.query_batch(
        [QueryRequest(3, query=Query.Nearest(vector, using), with_vector=True)
         for vector, using in ((words(1, 2), "words"), (TWO, "parts"), ([1, 2, 3], None))]),
    "scroll": lambda s: s.scroll(ScrollRequest(limit=COUNT, with_vector=True)),
    "retrieve": lambda s: s.retrieve([5, 3, 8, 12, 999], True, True),
    "retrieve one kind": lambda s: s.retrieve(list(range(9)), False, ["words"]),
    "count": lambda s: s.count(
        CountRequest(filter=Filter(must=[HasVectorCondition("parts")]))),
}  # fmt: skip


@pytest.mark.parametrize("name", READS)
async def test_a_read_gives_what_the_shard_gives(
    there: Served, client: EdgeClient, name: str
) -> None:
    found = await READS[name](client)
    assert found == await READS[name](there.shard)
    assert found or name == "sparse by nothing"


WRONG: dict[str, Read] = {
    "several for one": nearest(TWO),
    "a wrong dimension": nearest([[1.0, 2.0]], "parts"),
    "sparse for dense": nearest(words(1)),
    "dense for sparse": nearest([1, 2, 3], "words"),
    "several for sparse": nearest(TWO, "words"),
    "not a number": nearest([[1.0, 2.0, float("nan")]], "parts"),
    "unknown": nearest(words(1), "sound"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_an_error_arrives_as_the_shard_raises_it(
    there: Served, client: EdgeClient, name: str
) -> None:
    with pytest.raises(EdgeError) as expected:
        await WRONG[name](there.shard)
    with pytest.raises(EdgeError) as found:
        await WRONG[name](client)
    assert (type(found.value), str(found.value)) == (type(expected.value), str(expected.value))


# -- writing


def stored(client: EdgeClient, *ids: int) -> Awaitable[list[Any]]:
    return client.retrieve(ids, True, True)


OPERATIONS = [
    Update.upsert_points([made(3), made(50), Point(51, {}), Point(52, {"words": words(4)})]),
    Update.upsert_arrays(
        [60, 61],
        {"": np.ones((2, SIZE)), "parts": np.arange(12.0).reshape(2, 2, SIZE)},
        [{"n": 1}, None],
    ),
    Update.update_vectors(
        [PointVectors(5, {"parts": [1, 2, 3]}),
         PointVectors(6, {"words": words(9), "rare": words(2)})]
    ),
    Update.delete_vectors([7, 8], ["parts", "words"]),
    Update.delete_vectors_by_filter(FEW, ["rare"]),
    Update.create_dense_vector("new", 2, Distance.Manhattan),
    Update.create_dense_vector("news", 2, Distance.Dot, MANY),
    Update.create_sparse_vector("tags", Modifier.Idf),
    Update.delete_vector_name("half"),
    Update.delete_vector_name("words"),
    Update.delete_vector_name("never there"),
    Update.set_config(ConfigChange(hnsw_config=HnswIndexConfig(4, 20, 10))),
]  # fmt: skip


@pytest.mark.parametrize("place", range(len(OPERATIONS)))
async def test_an_update_does_what_it_does_to_the_shard(
    there: Served, client: EdgeClient, tmp_path: Path, place: int
) -> None:
    async with EdgeShard(tmp_path / "other", EVERY_KIND) as other:
        await other.update(Update.upsert_points([made(n) for n in range(COUNT)]))
        await other.update(OPERATIONS[place])
        await client.update(OPERATIONS[place])
        everything = ScrollRequest(limit=100, with_vector=True)
        assert await client.scroll(everything) == await other.scroll(everything)
        assert there.shard.actors.store.config == other.actors.store.config


@pytest.mark.parametrize(
    "wrong",
    [
        Update.upsert_points([Point(1, {"parts": words(1)})]),
        Update.upsert_points([Point(1, {"words": [1, 2, 3]})]),
        Update.upsert_points([Point(1, {"": TWO})]),
        Update.upsert_points([Point(1, {"parts": [[1.0]]})]),
        Update.upsert_points([Point(1, {"half": [1.0, 2.0, 70_000.0]})]),
        Update.upsert_points([Point(1, {"parts": [[1.0, 2.0, float("nan")]]})]),
        Update.create_dense_vector("half", SIZE, Distance.Dot),
        Update.create_dense_vector("words", SIZE, Distance.Dot),
        Update.create_sparse_vector("parts"),
        Update.create_sparse_vector("words", Modifier.Idf),
        Update.set_config(ConfigChange(vectors={"new": EdgeVectorParams(2, Distance.Dot)})),
        Update.set_config(ConfigChange(vectors={"": EdgeVectorParams(2, Distance.Dot)})),
    ],
)
async def test_an_update_that_is_refused_raises_what_the_shard_raises(
    there: Served, client: EdgeClient, wrong: Any
) -> None:
    with pytest.raises(EdgeError) as expected:
        await there.shard.update(wrong)
    before = there.shard.actors.store.config
    for _ in range(2):
        with pytest.raises(EdgeError) as found:
            await client.update(wrong)
        assert (type(found.value), str(found.value)) == (type(expected.value), str(expected.value))
    assert there.shard.actors.store.config is before
    assert await client.count() == COUNT


async def test_the_last_vector_cannot_be_deleted(there: Served, client: EdgeClient) -> None:
    *others, last = EVERY_KIND.names()
    for name in others:
        await client.update(Update.delete_vector_name(name))
    for update in (there.shard.update, client.update):
        with pytest.raises(ValidationError, match="at least one vector"):
            await update(Update.delete_vector_name(last))
    assert there.shard.actors.store.config.names() == (last,)


# -- a shard whose vectors change while somebody is connected

Values = tuple[UpdateOperation, Any, Any]
CREATED: dict[str, Values] = {
    "dense": (Update.create_dense_vector("v", 2, Distance.Dot), [1.0, 2.0], [1.0, 2.0]),
    "longer": (Update.create_dense_vector("v", 4, Distance.Dot), [1.0, 2.0, 3.0, 4.0], [1.0] * 4),
    "several": (Update.create_dense_vector("v", 2, Distance.Dot, MANY), [[1.0, 2.0]], [1.0, 2.0]),
    "sparse": (Update.create_sparse_vector("v"), words(1, 5), words(5)),
}  # fmt: skip
"""How it is made, a vector of it, and a query."""


async def is_found(reads: Reads, vector: Any, query: Any) -> None:
    (record,) = await reads.retrieve([1], False, ["v"])
    assert record.vector == {"v": vector}
    (hit,) = await reads.query(QueryRequest(5, query=Query.Nearest(query, "v")))
    assert hit.id == 1


@pytest.mark.parametrize("first", [None, *CREATED])
@pytest.mark.parametrize("then", CREATED)
async def test_a_vector_that_another_made_is_used_by_who_was_there_before(
    there: Served, client: EdgeClient, first: str | None, then: str
) -> None:
    if first is not None:
        create, vector, _ = CREATED[first]
        await client.update(create)
        await client.update(Update.upsert_points([Point(2, {"v": vector})]))
        await there.shard.update(Update.delete_vector_name("v"))
    create, vector, query = CREATED[then]
    await there.shard.update(create)
    epoch = client._updates._epoch  # type: ignore[union-attr]
    await client.update(Update.upsert_points([Point(1, {"v": vector})]))
    await is_found(client, vector, query)
    assert client._updates._epoch == epoch  # type: ignore[union-attr]


async def test_one_vector_stands_for_several_of_one(there: Served, client: EdgeClient) -> None:
    """It is right for both kinds, so that only the door can tell that the client is behind."""
    await client.update(Update.create_dense_vector("v", 2, Distance.Dot))
    await there.shard.update(Update.delete_vector_name("v"))
    await there.shard.update(Update.create_dense_vector("v", 2, Distance.Dot, MANY))
    await client.update(Update.upsert_points([Point(1, {"v": [1.0, 2.0]})]))
    await is_found(client, [[1.0, 2.0]], [1.0, 2.0])


async def test_a_vector_that_another_deleted_is_unknown(there: Served, client: EdgeClient) -> None:
    gone = Update.upsert_points([Point(1, {"words": words(1)})])
    await there.shard.update(Update.delete_vector_name("words"))
    for _ in range(2):
        with pytest.raises(UnknownVector):
            await client.update(gone)
    await there.shard.update(Update.create_sparse_vector("words"))
    await client.update(gone)
    assert (await stored(client, 1))[0].vector == {"words": words(1)}


async def test_two_clients_and_vectors_that_come_and_go(there: Served) -> None:
    """Whatever one makes of the name, the other's points are stored, or refused by name."""
    async with (
        EdgeClient(there.query, there.ingest) as one,
        EdgeClient(there.query, there.ingest) as other,
    ):
        ending = asyncio.Event()

        async def change() -> None:
            for create, _, _ in list(CREATED.values()) * 3:
                await one.update(create)
                await asyncio.sleep(0)
                await one.update(Update.delete_vector_name("v"))
            ending.set()

        changing = asyncio.create_task(change())
        while not ending.is_set():
            for _, vector, _ in CREATED.values():
                try:
                    await other.update(Update.upsert_points([Point(1, {"v": vector})]))
                except ValidationError:
                    continue
        await changing
        create, vector, query = CREATED["several"]
        await one.update(create)
        await other.update(Update.upsert_points([Point(1, {"v": vector})]))
        await is_found(one, vector, query)


# -- the blocking client


def _use(query: str, ingest: str, events: str) -> None:
    with (
        blocking.EdgeClient(query, ingest, events) as client,
        blocking.EdgeClient(query, ingest) as other,
    ):
        points = [made(n) for n in range(12)]
        client.update(Update.upsert_points(points))
        other.update(Update.delete_points([99]))  # now it knows the vectors as they are
        found = client.retrieve(range(12), False, True)
        assert [record.vector.keys() for record in found] == [p.vector.keys() for p in points]  # type: ignore[union-attr]
        assert found[7].vector["parts"] == np.array(points[7].vector["parts"]).tolist()  # type: ignore[index]
        assert found[7].vector["words"] == points[7].vector["words"]  # type: ignore[index]
        best = client.query(QueryRequest(1, query=Query.Nearest(words(103), "words")))
        assert [hit.id for hit in best] == [3]
        best = client.query(QueryRequest(1, query=Query.Nearest([[11, 0, 0], [11, 1, 0]], "parts")))
        assert [hit.id for hit in best] == [11]
        with client.follow() as following:
            client.update(Update.create_sparse_vector("tags"))
            assert next(following).sequence == following.view.sequence + 1
            other.update(Update.upsert_points([Point(20, {"tags": words(1)})]))
            assert client.retrieve([20], False, True)[0].vector == {"tags": words(1)}
            client.update(Update.delete_vector_name("tags"))
            assert len({next(following).sequence for _ in range(2)}) == 2
        with pytest.raises(UnknownVector):
            other.update(Update.upsert_points([Point(20, {"tags": words(1)})]))


async def test_the_blocking_client_carries_every_kind(tmp_path: Path) -> None:
    with short_folder() as folder:
        events = f"ipc://{folder}/events"
        async with served(tmp_path / "shard", EVERY_KIND, events=events) as there:
            await in_thread(_use, there.query, there.ingest, events)


# -- publishers


async def test_a_publisher_writes_one_vector_where_a_point_has_several(there: Served) -> None:
    block = np.arange(6, dtype=np.float32).reshape(2, SIZE)

    def work() -> list[str]:
        with Publisher(there.ingest, "camera") as publisher:
            for first in (1, 11, 21):
                publisher.upsert_arrays([first, first + 1], {"parts": block, "half": block})
            publisher.upsert_arrays([31], {"words": block[:1]})
            publisher.flush(20)
            return [refused.code for refused in publisher.refused]

    assert await in_thread(work) == ["validation"]
    records, _ = await there.shard.scroll(ScrollRequest(with_vector=["parts"]))
    assert [record.id for record in records] == [1, 2, 11, 12, 21, 22]
    for record in records:
        assert record.vector == {"parts": [block[(int(record.id) - 1) % 10].tolist()]}


def test_more_dimensions_than_a_block_has_are_not_sent() -> None:
    with pytest.raises(p.ProtocolError, match="expected 2 rows"):
        p.message_of("a", 1, 1, [1, 2], {"parts": np.ones((2, 2, SIZE))}, None)
