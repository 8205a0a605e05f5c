"""read_view of both facades: one moment, whatever goes on beside it, until the block ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge import blocking
from edge.errors import DeadlineExceeded, ShardClosed, UnknownField, ValidationError
from edge.model.filter import FieldCondition, Filter, MatchText, MatchValue, RangeFloat
from edge.model.query import OrderBy, Query, TextQuery
from edge.model.request import (
    CountRequest,
    FacetRequest,
    QueryRequest,
    ScrollRequest,
    SearchRequest,
)
from edge.model.schema import PayloadSchemaType, TextIndexParams
from edge.model.update import UpdateOperation
from edge.shard import EdgeShard
from tests.actors.made import DIM, block, config, vector

U = UpdateOperation
INDEX = {"indexing_threshold": 1, "default_segment_number": 2, "vacuum_min_vector_number": 1}
WORDS = TextIndexParams(lowercase=False, scoring=True)
IN_HALL = Filter(must=[FieldCondition("room", match=MatchValue("hall"))])
NEAREST = Query.Nearest(vector(1))

READS: dict[str, Callable[[Any], Any]] = {
    "query": lambda on: on.query(QueryRequest(9, query=NEAREST, filter=IN_HALL)),
    "order": lambda on: on.query(QueryRequest(9, query=OrderBy("n"))),
    "query_batch": lambda on: on.query_batch([QueryRequest(3), QueryRequest(3, query=NEAREST)]),
    "search": lambda on: on.search(SearchRequest(NEAREST, 9, with_payload=True)),
    "scroll": lambda on: on.scroll(ScrollRequest(None, 500, with_vector=True)),
    "pages in order": lambda on: on.scroll(ScrollRequest(None, 7, order_by="n")),
    "count": lambda on: on.count(),
    "count of some": lambda on: on.count(
        CountRequest(filter=Filter(must=[FieldCondition("n", range=RangeFloat(lt=50))]))
    ),
    "count of words": lambda on: on.count(
        CountRequest(filter=Filter(must=[FieldCondition("note", match=MatchText("Mug"))]))
    ),
    "facet": lambda on: on.facet(FacetRequest("room", exact=True)),
    "retrieve": lambda on: on.retrieve([3, 1, 2, 999]),
}


def payloads(numbers: range) -> list[dict[str, Any]]:
    return [
        {"room": ["hall", "bath"][n % 2], "n": n % 60, "note": ["Mug", "mug"][n % 3 == 0]}
        for n in numbers
    ]


def fill(first: int, count: int) -> UpdateOperation:
    numbers = range(first, first + count)
    return U.upsert_arrays(list(numbers), block(count, seed=first), payloads(numbers))


BESIDE: list[UpdateOperation] = [
    U.delete_points(list(range(0, 100, 3))),
    fill(50, 30),
    U.create_field_index("room", PayloadSchemaType.Keyword),
    U.create_field_index("note", WORDS),
    U.set_payload_by_filter(IN_HALL, {"room": "cellar", "n": -1}),
    fill(300, 60),
    U.delete_field_index("room"),
    U.update_vectors([]),
    U.delete_points_by_filter(Filter()),
]
"""What is written while a view is held. In between everything is optimized."""


# -- without a loop


@pytest.fixture
def shard(tmp_path: Path) -> Iterator[blocking.EdgeShard]:
    with blocking.EdgeShard(tmp_path / "shard", config(optimizers=INDEX)) as made:
        made.update(fill(0, 120))
        made.optimize()
        made.update(fill(120, 30))
        yield made


def test_a_view_is_of_one_moment(shard: blocking.EdgeShard) -> None:
    before = {name: read(shard) for name, read in READS.items()}
    with shard.read_view() as view:
        assert view.sequence == shard.info().sequence
        for place, operation in enumerate(BESIDE):
            shard.update(operation)
            if place % 2:
                shard.optimize()
            for name, read in READS.items():
                assert read(view) == before[name], (place, name)
        shard.optimize()
        shard.flush()
        assert {name: read(view) for name, read in READS.items()} == before
    assert shard.count() == 0
    for read in READS.values():
        with pytest.raises(ShardClosed, match="ended"):
            read(view)


def test_a_view_is_of_one_moment_while_threads_write(shard: blocking.EdgeShard) -> None:
    failures: list[BaseException] = []
    looked = threading.Event()

    def write() -> None:
        try:
            looked.wait()
            for operation in BESIDE * 3:
                shard.update(operation)
                shard.optimize()
        except BaseException as failure:
            failures.append(failure)

    with shard.read_view() as view:
        before = {name: read(view) for name, read in READS.items()}
        writer = threading.Thread(target=write)
        writer.start()
        turns = 0
        while writer.is_alive() or turns < 2:
            assert {name: read(view) for name, read in READS.items()} == before
            looked.set()
            turns += 1
        writer.join()
    assert failures == []


def test_views_of_several_moments_are_held_at_once(shard: blocking.EdgeShard) -> None:
    with shard.read_view() as first:
        shard.update(U.delete_points([1]))
        with shard.read_view() as second:
            shard.update(U.delete_points([2, 3]))
            assert [first.count(), second.count(), shard.count()] == [150, 149, 147]
            assert first.sequence < second.sequence
        with pytest.raises(ShardClosed):
            second.count()
        assert first.count() == 150


def test_a_view_has_the_schema_of_its_moment(shard: blocking.EdgeShard) -> None:
    words = CountRequest(filter=Filter(must=[FieldCondition("note", match=MatchText("Mug"))]))
    query = QueryRequest(3, query=TextQuery("note", "Mug"))
    with shard.read_view() as bare:
        shard.update(U.create_field_index("note", WORDS))
        assert (bare.count(words), shard.count(words)) == (150, 100)
        with pytest.raises(UnknownField):
            bare.query(query)
        with shard.read_view() as indexed:
            hits = shard.query(query)
            shard.update(U.delete_field_index("note"))
            shard.optimize()
            assert (indexed.count(words), shard.count(words)) == (100, 150)
            assert indexed.query(query) == hits
            with pytest.raises(UnknownField):
                shard.query(query)


def test_an_error_ends_the_view_and_is_raised(shard: blocking.EdgeShard) -> None:
    with pytest.raises(ZeroDivisionError), shard.read_view() as view:
        raise ZeroDivisionError
    with pytest.raises(ShardClosed):
        view.count()


def test_a_view_refuses_what_the_shard_does(shard: blocking.EdgeShard) -> None:
    with shard.read_view() as view:
        with pytest.raises(ValidationError, match="not a request"):
            view.query("x")  # type: ignore[arg-type]
        with pytest.raises(DeadlineExceeded):
            view.count(CountRequest(filter=IN_HALL, timeout=0))
        assert not hasattr(view, "update")


def test_a_view_outlives_its_shard(shard: blocking.EdgeShard) -> None:
    """What it shows is in memory, or mapped."""
    with shard.read_view() as view:
        before = {name: read(view) for name, read in READS.items()}
        shard.close()
        assert {name: read(view) for name, read in READS.items()} == before
        with pytest.raises(ShardClosed), shard.read_view():
            pass


# -- with a loop


async def answers(on: Any) -> dict[str, Any]:
    return {name: await read(on) for name, read in READS.items()}


async def test_an_async_view_is_of_one_moment(tmp_path: Path) -> None:
    given = config(optimizers=INDEX, checkpoint_bytes=4000)
    async with EdgeShard(tmp_path / "shard", given) as shard:
        await shard.update(fill(0, 120))
        await shard.optimize()
        await shard.update(fill(120, 30))
        before = await answers(shard)
        async with shard.read_view() as view:
            assert view.sequence == (await shard.info()).sequence
            for place, operation in enumerate(BESIDE):
                await shard.update(operation)
                if place % 2:
                    await shard.optimize()
                assert await answers(view) == before
            await shard.optimize()
            assert await answers(view) == before
        assert await shard.count() == 0
        for read in READS.values():
            with pytest.raises(ShardClosed, match="ended"):
                await read(view)


async def test_both_facades_answer_alike(tmp_path: Path) -> None:
    given = config(optimizers=INDEX)
    with blocking.EdgeShard(tmp_path / "one", given) as one:
        async with EdgeShard(tmp_path / "two", given) as two:
            for operation in [fill(0, 120), *BESIDE[:5]]:
                one.update(operation)
                await two.update(operation)
            async with two.read_view() as there:
                with one.read_view() as here:
                    found = await answers(there)
                    assert {name: read(here) for name, read in READS.items()} == found
                    assert here.sequence == there.sequence


async def test_an_error_ends_the_async_view(tmp_path: Path) -> None:
    async with EdgeShard(tmp_path / "shard", config()) as shard:
        with pytest.raises(ZeroDivisionError):
            async with shard.read_view() as view:
                raise ZeroDivisionError
        with pytest.raises(ShardClosed):
            await view.count()
    with pytest.raises(ShardClosed):
        async with shard.read_view():
            pass


def test_the_vectors_of_these_tests_fit() -> None:
    assert np.asarray(vector(1)).shape == (DIM,)
