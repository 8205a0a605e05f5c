"""Queries that wait at the same time: searched together, and each as if it were alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.actors import query as actor
from edge.actors.query import QueryActor
from edge.actors.watch import Watch
from edge.errors import DeadlineExceeded, ShardClosed, UnknownVector, WrongDimension
from edge.model.filter import Filter, HasIdCondition
from edge.model.query import Query
from edge.model.request import CountRequest, QueryRequest, SearchRequest
from edge.query import search_together
from edge.query.answer import answer, answer_each
from edge.query.deadline import Deadline
from edge.segment.view import ShardView
from edge.store.store import Store, Submission
from tests.actors.made import PATIENCE, Gate, config, settled, upsert, vector

POINTS = 300


class Serving:
    """An actor over a shard of some points, and what it has answered together."""

    def __init__(self, store: Store, places: int) -> None:
        self.watch = Watch(store.view)
        self.queries = QueryActor(self.watch, places, 100)
        self.batches: list[int] = []
        self.before_batch: Callable[[], Any] = lambda: None

    def answer_each(
        self, view: ShardView, requests: Sequence[Any], times: Sequence[Deadline], tell: Any
    ) -> None:
        self.batches.append(len(requests))
        self.before_batch()
        answer_each(view, requests, times, tell)

    def ask(self, request: Any, view: ShardView | None = None) -> asyncio.Task[Any]:
        return asyncio.create_task(self.queries.ask(request, view))


@asynccontextmanager
async def serving(
    path: Path, monkeypatch: pytest.MonkeyPatch, places: int = 1
) -> AsyncIterator[Serving]:
    monkeypatch.setattr(actor, "INLINE", -1.0)
    store = Store.create(path / "shard", config())
    store.commit([Submission(upsert(range(POINTS)))])
    found = Serving(store, places)
    monkeypatch.setattr(actor, "answer_each", found.answer_each)
    task = asyncio.create_task(found.queries.run())
    try:
        yield found
    finally:
        found.queries.close()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(task, return_exceptions=True)
        found.queries.leave()
        store.close()


def nearest(seed: int = 0, limit: int = 5, **settings: Any) -> QueryRequest:
    return QueryRequest(limit, query=Query.Nearest(vector(seed)), **settings)


@asynccontextmanager
async def held(served: Serving, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """A place that is taken while the body runs."""
    gate, others = Gate(), actor.answer

    def held_answer(view: ShardView, request: Any, deadline: Deadline) -> Any:
        if isinstance(request, CountRequest):
            gate.pass_through()
        return others(view, request, deadline)

    monkeypatch.setattr(actor, "answer", held_answer)
    first = served.ask(CountRequest())
    await gate.reached()
    yield
    await settled()
    gate.open()
    assert await first == POINTS


# -- which are taken together


async def test_those_who_wait_and_are_alike_are_taken_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = Filter(must=[HasIdCondition(range(100))])
    requests = [
        nearest(1),
        nearest(2, filter=some),
        nearest(3, limit=9, with_payload=True),
        SearchRequest(Query.Nearest(vector(4)), 3),
        nearest(5, filter=some),
        nearest(6, explain=True),
        QueryRequest(4),
    ]
    async with serving(tmp_path, monkeypatch) as served:
        view = served.watch.view
        async with held(served, monkeypatch):
            tasks = [served.ask(request) for request in requests]
        found = await asyncio.gather(*tasks)
        assert served.batches == [3, 2]
        for got, request in zip(found[:5], requests[:5], strict=True):
            assert got == answer(view, request)
        assert len(found[5].plan) == 1
        assert len(found[6]) == 4


async def test_those_who_come_in_one_turn_are_taken_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as served:
        found = await asyncio.gather(*[served.ask(nearest(seed)) for seed in range(40)])
        assert served.batches == [actor.TOGETHER, 40 - actor.TOGETHER]
        assert found == [answer(served.watch.view, nearest(seed)) for seed in range(40)]


async def test_one_alone_goes_its_own_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as served:
        assert await served.ask(nearest()) == answer(served.watch.view, nearest())
        assert served.batches == []


async def test_free_places_share_what_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch, places=3) as served:
        barrier = threading.Barrier(3)
        served.before_batch = lambda: barrier.wait(PATIENCE)
        found = await asyncio.gather(*[served.ask(nearest(seed)) for seed in range(7)])
        assert sorted(served.batches) == [2, 2, 3]
        assert found == [answer(served.watch.view, nearest(seed)) for seed in range(7)]


async def test_views_are_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as served:
        older = served.watch.view
        newer = older.of(older.segments)
        async with held(served, monkeypatch):
            tasks = [served.ask(nearest(n), v) for n in (1, 2) for v in (older, newer, None)]
        await asyncio.gather(*tasks)
        assert served.batches == [2, 2, 2]


# -- each as if it were alone


async def test_an_error_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = QueryRequest(3, query=Query.Nearest([1.0] * 99))
    hidden = nearest(2, with_vector=["zz"])
    async with serving(tmp_path, monkeypatch) as served:
        tasks = [served.ask(request) for request in (nearest(1), long, hidden, nearest(3))]
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert served.batches == [4]
        view = served.watch.view
        assert [found[0], found[3]] == [answer(view, nearest(1)), answer(view, nearest(3))]
        assert [type(error) for error in found[1:3]] == [WrongDimension, UnknownVector]
        assert not str(found[1]).startswith("queries")


async def test_a_defect_meets_only_those_that_have_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise ZeroDivisionError

    async with serving(tmp_path, monkeypatch) as served:
        monkeypatch.setattr(search_together, "_search_segment", fail)
        found = await asyncio.gather(*[served.ask(nearest(seed)) for seed in range(4)])
        assert served.batches == [4]
        assert found == [answer(served.watch.view, nearest(seed)) for seed in range(4)]


async def test_whose_time_is_over_is_told_while_the_others_are_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, scan = Gate(), search_together.scan.scan_together
    hasty = nearest(1, timeout=3600.0)

    def slow(code: int, queries: Sequence[Any], *others: Any) -> None:
        if len(queries) == 2:  # the hasty one has left
            gate.pass_through()
        scan(code, queries, *others)

    async with serving(tmp_path, monkeypatch) as served:
        monkeypatch.setattr(search_together.scan, "scan_together", slow)
        monkeypatch.setattr(search_together, "ROWS_A_BLOCK", 100)
        over = Deadline.over
        looks: list[Deadline] = []

        def over_at_the_fourth_look(deadline: Deadline) -> bool:
            if deadline._timeout == 3600.0:
                looks.append(deadline)
                if len(looks) == 4:
                    deadline.expire()
            return over(deadline)

        monkeypatch.setattr(Deadline, "over", over_at_the_fourth_look)
        first, last = served.ask(nearest(2)), served.ask(nearest(3))
        late = served.ask(hasty)
        with pytest.raises(DeadlineExceeded, match=r"3600\.0 s"):
            await late
        await gate.reached()
        assert not first.done()
        assert not last.done()
        gate.open()
        view = served.watch.view
        assert [await first, await last] == [answer(view, nearest(2)), answer(view, nearest(3))]
        assert served.batches == [3]


async def test_who_is_cancelled_takes_nobody_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    compared: list[int] = []
    scan = search_together.scan.scan_together

    def noted(code: int, queries: Sequence[Any], *others: Any) -> None:
        compared.append(len(queries))
        scan(code, queries, *others)

    monkeypatch.setattr(search_together.scan, "scan_together", noted)
    async with serving(tmp_path, monkeypatch) as served:
        served.before_batch = gate.pass_through
        tasks = [served.ask(nearest(seed)) for seed in range(3)]
        await gate.reached()
        tasks[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[1]
        gate.open()
        view = served.watch.view
        assert await tasks[0] == answer(view, nearest(0))
        assert await tasks[2] == answer(view, nearest(2))
        assert compared[0] == 2


async def test_who_is_cancelled_while_waiting_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as served:
        async with held(served, monkeypatch):
            tasks = [served.ask(nearest(seed)) for seed in range(3)]
            await settled()
            tasks[0].cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert served.batches == [2]
        assert found[1:] == [answer(served.watch.view, nearest(seed)) for seed in (1, 2)]


async def test_an_actor_that_is_stopped_ends_them_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = threading.Event()

    def endless(view: ShardView, requests: Any, times: Sequence[Deadline], tell: Any) -> None:
        started.set()
        while True:
            for deadline in times:
                deadline.check()
            threading.Event().wait(0.001)

    monkeypatch.setattr(actor, "INLINE", -1.0)
    store = Store.create(tmp_path / "shard", config())
    store.commit([Submission(upsert(range(POINTS)))])
    queries = QueryActor(Watch(store.view), 1, 100)
    monkeypatch.setattr(actor, "answer_each", endless)
    task = asyncio.create_task(queries.run())
    asked = [asyncio.create_task(queries.ask(nearest(seed))) for seed in range(3)]
    assert await asyncio.to_thread(started.wait, PATIENCE)
    task.cancel()
    found = await asyncio.gather(task, *asked, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert all(isinstance(error, DeadlineExceeded | ShardClosed) for error in found[1:])
    queries.leave()
    store.close()


# -- a turn of the loop


async def test_a_turn_of_the_loop_answers_no_more_than_it_has_time_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_loop = threading.current_thread()
    seen: list[bool] = []

    def noted(*arguments: Any) -> Any:
        seen.append(threading.current_thread() is on_loop)
        return answer(*arguments)

    async with serving(tmp_path, monkeypatch) as served:
        monkeypatch.setattr(actor, "INLINE", np.inf)
        monkeypatch.setattr(actor, "estimate", lambda *given: 0.3 * actor.A_TURN)
        monkeypatch.setattr(actor, "answer", noted)
        requests = [QueryRequest(limit) for limit in range(1, 9)]
        for _ in range(3):
            seen.clear()
            found = await asyncio.gather(*[served.ask(request) for request in requests])
            assert [len(hits) for hits in found] == list(range(1, 9))
            assert seen.count(True) == 3
        for request in requests:
            seen.clear()
            await served.ask(request)
            assert seen == [True]
