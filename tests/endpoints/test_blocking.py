"""The blocking EdgeClient: the methods of the async one, for programs without a loop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.endpoints.blocking import EdgeClient
from edge.errors import DeadlineExceeded, ShardClosed, ValidationError
from edge.model.point import Point
from edge.model.query import Query
from edge.model.request import QueryRequest, ScrollRequest
from edge.model.update import UpdateOperation
from tests.endpoints.made import DIM, Served, in_thread, served, short_folder

AXES = np.eye(DIM, dtype=np.float32)


def _use(there: Served, events: str) -> None:
    with EdgeClient(there.query, there.ingest, events) as client:
        client.upsert_arrays(np.arange(DIM), AXES, [{"n": n} for n in range(DIM)])
        client.update(UpdateOperation.upsert_points([Point(9, {"": AXES[1] * 2})]))
        assert client.count() == DIM + 1
        best = client.query(QueryRequest(2, query=Query.Nearest(AXES[1].tolist())))
        assert [hit.id for hit in best] == [9, 1]
        assert client.info().points_count == DIM + 1
        with client.read_view() as view:
            client.update(UpdateOperation.delete_points([9]))
            assert (view.count(), client.count()) == (DIM + 1, DIM)
        with client.follow() as following:
            assert following.view.count() == DIM
            client.update(UpdateOperation.delete_points([0]))
            assert next(iter(following)).sequence == following.view.sequence + 1
        assert [record.id for record in client.scroll(ScrollRequest())[0]] == [1, 2, 3]
        with pytest.raises(ValidationError, match="vector"):
            client.upsert_arrays([1], np.ones((1, DIM + 1), np.float32))
    with pytest.raises(ShardClosed):
        client.count()
    client.close()


async def test_it_does_what_the_async_one_does(tmp_path: Path) -> None:
    with short_folder() as folder:
        events = f"ipc://{folder}/events"
        async with served(tmp_path / "shard", events=events) as there:
            await in_thread(_use, there, events)


def test_nobody_there_is_told_in_time() -> None:
    with (
        short_folder() as folder,
        EdgeClient(f"ipc://{folder}/nobody", timeout=0.01) as client,
        pytest.raises(DeadlineExceeded),
    ):
        client.count()


def test_an_address_that_is_none_leaves_nothing_open() -> None:
    with pytest.raises(ValidationError, match="address"):
        EdgeClient("nonsense")
