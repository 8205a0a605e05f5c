"""The query actor: deadlines, admission, isolation of defects, inline and thread alike, views."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge import blocking
from edge.actors import query as actor
from edge.actors.query import QueryActor
from edge.actors.watch import Watch
from edge.errors import ActorCrashed, DeadlineExceeded, ShardBusy, ShardClosed, ValidationError
from edge.model.config import EdgeConfig, EdgeOptimizersConfig
from edge.model.filter import FieldCondition, Filter, MatchValue
from edge.model.query import Query, SearchParams
from edge.model.request import (
    CountRequest,
    QueryBatchRequest,
    QueryRequest,
    ScrollRequest,
    SearchRequest,
)
from edge.model.update import UpdateOperation
from edge.query import answer as answers
from edge.query import by_vectors, narrowed
from edge.query import deadline as deadlines
from edge.query import search as searches
from edge.query.answer import Retrieve, answer
from edge.query.deadline import Deadline
from edge.segment.view import ShardView
from edge.shard import EdgeShard
from edge.store.store import Store, Submission
from tests.actors.made import Gate, block, config, eventually, settled, upsert, vector

NEAREST = Query.Nearest(vector(0))
IN_THREAD = -1.0
"""As INLINE: nothing is small enough to be answered on the loop."""


@asynccontextmanager
async def serving(
    path: Path, act: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, **sizes: int
) -> AsyncIterator[QueryActor]:
    """An actor over an empty shard that answers with `act(view, request, deadline)`."""
    monkeypatch.setattr(actor, "INLINE", IN_THREAD)
    monkeypatch.setattr(actor, "answer", act)
    store = Store.create(path / "shard", config())
    found = QueryActor(Watch(store.view), sizes.get("places", 1), sizes.get("waiting", 100))
    task = asyncio.create_task(found.run())
    try:
        yield found
    finally:
        found.close()
        async with asyncio.timeout(30):
            await task
        found.leave()
        store.close()


def count(timeout: float | None = None) -> CountRequest:
    return CountRequest(timeout=timeout)


# -- deadlines


class Clock:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(deadlines, "monotonic", found)
    return found


def slow(function: Callable[..., Any], clock: Clock, seconds: float) -> Callable[..., Any]:
    def slowed(*args: Any, **named: Any) -> Any:
        clock.now += seconds
        return function(*args, **named)

    return slowed


BLOCKS = 3
ROWS = searches.ROWS_A_BLOCK * BLOCKS


@asynccontextmanager
async def large(path: Path) -> AsyncIterator[EdgeShard]:
    """A shard that takes several blocks to scan."""
    async with EdgeShard(path / "shard", config(background_optimizer=False)) as shard:
        await shard.upsert_arrays(np.arange(ROWS), block(ROWS))
        yield shard


@pytest.mark.parametrize("inline", [IN_THREAD, np.inf])
async def test_long_scan_ends_at_its_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock, inline: float
) -> None:
    monkeypatch.setattr(actor, "INLINE", inline)
    async with large(tmp_path) as shard:
        monkeypatch.setattr(searches.scan, "scan", slow(searches.scan.scan, clock, 10.0))
        request = QueryRequest(limit=5, query=NEAREST, timeout=15.0)
        with pytest.raises(DeadlineExceeded, match=r"15\.0 s"):
            await shard.query(request)
        patient = QueryRequest(limit=5, query=NEAREST, timeout=100.0)
        assert len(await shard.query(patient)) == 5


@pytest.mark.parametrize("inline", [IN_THREAD, np.inf])
async def test_best_effort_gives_what_was_found_until_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock, inline: float
) -> None:
    monkeypatch.setattr(actor, "INLINE", inline)
    async with large(tmp_path) as shard:
        monkeypatch.setattr(searches.scan, "scan", slow(searches.scan.scan, clock, 10.0))
        request = QueryRequest(limit=5, query=NEAREST, timeout=15.0, best_effort=True)
        found = await shard.query(request)
        assert len(found) == 5
        assert all(hit.id < 2 * searches.ROWS_A_BLOCK for hit in found)  # of the first two blocks


async def test_slow_filter_ends_at_its_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    def slow_matches(filter: Any, rows: Any, among: Any, checkpoint: Callable[[], None]) -> Any:
        clock.now += 10.0
        checkpoint()
        pytest.fail("the checkpoint let it go on")

    asked = Filter(must=[FieldCondition("room", match=MatchValue("hall"))])
    async with EdgeShard(tmp_path / "shard", config()) as shard:
        await shard.update(upsert(range(50), room="hall"))
        for module in (narrowed, answers):
            monkeypatch.setattr(module, "matches", slow_matches)
        with pytest.raises(DeadlineExceeded):
            await shard.query(QueryRequest(limit=5, query=NEAREST, filter=asked, timeout=1.0))
        with pytest.raises(DeadlineExceeded):
            await shard.count(CountRequest(filter=asked, timeout=1.0))


async def test_timeout_counts_while_a_request_waits_for_a_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, started = Gate(), []

    def act(view: ShardView, request: Any, deadline: Deadline) -> int:
        started.append(request)
        gate.pass_through()
        return 1

    async with serving(tmp_path, act, monkeypatch) as queries:
        first = asyncio.create_task(queries.ask(count()))
        await gate.reached()
        with pytest.raises(DeadlineExceeded, match=r"0\.01 s"):  # while the first is still held
            await queries.ask(count(timeout=0.01))
        gate.open()
        assert await first == 1
        assert len(started) == 1


async def test_cancelled_request_gives_its_place_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, pause = threading.Event(), threading.Event()

    def act(view: ShardView, request: Any, deadline: Deadline) -> int:
        if request.timeout is not None:
            return 7
        started.set()
        while True:
            deadline.check()
            pause.wait(0.001)

    async with serving(tmp_path, act, monkeypatch) as queries:
        endless = asyncio.create_task(queries.ask(count()))
        assert await asyncio.to_thread(started.wait, 30)
        endless.cancel()
        with pytest.raises(asyncio.CancelledError):
            await endless
        assert await queries.ask(count(timeout=30.0)) == 7
        again = asyncio.create_task(queries.ask(count()))  # others' deadlines are others'
        await settled()
        assert not again.done()
        again.cancel()


# -- admission


async def test_too_many_waiting_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()

    def act(view: ShardView, request: Any, deadline: Deadline) -> int:
        gate.pass_through()
        return 1

    async with serving(tmp_path, act, monkeypatch, waiting=2) as queries:
        running = asyncio.create_task(queries.ask(count()))
        await gate.reached()
        waiting = [asyncio.create_task(queries.ask(count())) for _ in range(2)]
        await settled()
        with pytest.raises(ShardBusy, match="2 requests"):
            await queries.ask(count())
        gate.open()
        assert await asyncio.gather(running, *waiting) == [1, 1, 1]
        assert await queries.ask(count()) == 1


async def test_as_many_run_at_once_as_there_are_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(3)

    def act(view: ShardView, request: Any, deadline: Deadline) -> int:
        return together.wait(30)

    async with serving(tmp_path, act, monkeypatch, places=3) as queries:
        assert sorted(await asyncio.gather(*[queries.ask(count()) for _ in range(3)])) == [0, 1, 2]


async def test_closing_answers_those_who_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    async with serving(tmp_path, lambda *_: gate.pass_through(), monkeypatch) as queries:
        tasks = [asyncio.create_task(queries.ask(count())) for _ in range(3)]
        await gate.reached()
        queries.close()
        with pytest.raises(ShardClosed):
            await queries.ask(count())
        gate.open()
        assert await asyncio.gather(*tasks) == [None] * 3


# -- defects


@pytest.mark.parametrize("inline", [IN_THREAD, np.inf])
async def test_defect_in_one_query_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inline: float
) -> None:
    def act(view: ShardView, request: Any, deadline: Deadline) -> int:
        return 1 // int(request.timeout)

    async with serving(tmp_path, act, monkeypatch, places=2) as queries:
        monkeypatch.setattr(actor, "INLINE", inline)
        asked = [queries.ask(count(timeout)) for timeout in (1, 0.5, 1, 0.5, 1)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [found[i] for i in (0, 2, 4)] == [1, 1, 1]
        for crash in (found[1], found[3]):
            assert isinstance(crash, ActorCrashed)
            assert crash.name == "query"
            assert "ZeroDivisionError" in str(crash)
        assert await queries.ask(count(1)) == 1


def test_defect_in_a_blocking_query_has_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise ZeroDivisionError

    with blocking.EdgeShard(tmp_path / "shard", config()) as shard:
        monkeypatch.setattr(blocking, "answer", fail)
        with pytest.raises(ActorCrashed, match="ZeroDivisionError"):
            shard.count()


@pytest.mark.parametrize("wrong", ["room", None, 5, UpdateOperation.delete_points([1])])
async def test_what_is_no_request_is_a_callers_mistake(tmp_path: Path, wrong: Any) -> None:
    async with EdgeShard(tmp_path / "shard", config()) as shard:
        for method in (shard.query, shard.search, shard.scroll):
            with pytest.raises(ValidationError, match="request"):
                await method(wrong)
    with blocking.EdgeShard(tmp_path / "shard") as plain:
        for plain_method in (plain.query, plain.search, plain.scroll):
            with pytest.raises(ValidationError, match="request"):
                plain_method(wrong)


# -- answers

ASKED = [
    QueryRequest(limit=7, query=NEAREST),
    QueryRequest(limit=7, offset=3, query=NEAREST, with_payload=True, with_vector=True),
    QueryRequest(limit=4, query=NEAREST, params=SearchParams(exact=True)),
    QueryRequest(limit=9, filter=Filter(must=[FieldCondition("n", match=MatchValue(1))])),
    SearchRequest(NEAREST, 5, score_threshold=10.0),
    ScrollRequest(limit=12, offset=40),
    CountRequest(filter=Filter(must=[FieldCondition("n", match=MatchValue(2))])),
    CountRequest(),
    Retrieve.of([5, 1, 999, 5], None, True),
    QueryBatchRequest([QueryRequest(limit=2, query=NEAREST), QueryRequest(limit=3)]),
]


def indexed() -> EdgeConfig:
    return config(optimizers={"indexing_threshold": 2})


async def test_inline_and_thread_give_the_same_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with EdgeShard(tmp_path / "shard", indexed()) as shard:
        for n in range(3):
            await shard.update(upsert(range(n * 100, n * 100 + 100), n=n))
        await shard.optimize()
        await shard.update(upsert(range(290, 310), n=1))
        on_loop = threading.current_thread()
        seen: list[threading.Thread] = []

        def watched(*args: Any) -> Any:
            seen.append(threading.current_thread())
            return answer(*args)

        monkeypatch.setattr(actor, "answer", watched)
        queries = shard._actors.query
        monkeypatch.setattr(actor, "INLINE", np.inf)
        inline = [await queries.ask(request) for request in ASKED]
        assert set(seen) == {on_loop}
        seen.clear()
        monkeypatch.setattr(actor, "INLINE", IN_THREAD)
        threaded = [await queries.ask(request) for request in ASKED]
        assert on_loop not in seen
        assert inline == threaded
        assert all(found for found in inline)


async def test_batch_is_answered_from_one_view(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actor, "INLINE", IN_THREAD)
    async with EdgeShard(tmp_path / "shard", config()) as shard:
        await shard.update(upsert([1]))
        gate = Gate()
        monkeypatch.setattr(by_vectors, "search", gate.before(searches.search))
        exact = SearchParams(exact=True)
        requests = [QueryRequest(limit=10, query=NEAREST, params=p) for p in (None, exact, exact)]
        task = asyncio.create_task(shard.query_batch(requests))
        await gate.reached()
        await shard.update(upsert([2]))
        gate.open()
        found = await task
        assert [[hit.id for hit in hits] for hits in found] == [[1]] * 3
        (hits,) = await shard.query_batch(QueryBatchRequest(requests[:1]))
        assert sorted(hit.id for hit in hits) == [1, 2]


async def test_held_view_stays_what_it_was(tmp_path: Path) -> None:
    given = EdgeConfig(
        config().vectors,
        optimizers=EdgeOptimizersConfig(0.1, 10, 1, None, 2),
        checkpoint_bytes=4096,
    )
    async with EdgeShard(tmp_path / "shard", given) as shard:
        await shard.update(upsert(range(200), n=1))
        view = shard._actors.watch.view
        exact = QueryRequest(
            limit=20,
            query=NEAREST,
            params=SearchParams(exact=True),
            with_payload=True,
            with_vector=True,
        )
        asked = [exact, ScrollRequest(limit=500, with_vector=True), CountRequest()]
        before = [answer(view, request) for request in asked]
        await shard.update(UpdateOperation.delete_points(range(150)))
        await shard.update(upsert(range(100, 300), n=2))
        await shard.optimize()
        await shard.update(UpdateOperation.set_payload(list(range(160, 170)), {"n": 3}))

        async def is_calm() -> bool:
            info = await shard.info()
            return info.optimizer == "idle" and info.segments_count <= 2

        await eventually(is_calm)
        assert [answer(view, request) for request in asked] == before
        assert await shard.count() == 200


def test_deadline_may_be_ended_from_outside() -> None:
    deadline = Deadline(best_effort=True)
    assert deadline.left() is None
    assert not deadline.over()
    deadline.expire()
    assert deadline.left() == 0.0
    with pytest.raises(DeadlineExceeded):
        deadline.over()


def test_store_is_not_needed_to_answer(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "shard", config())
    store.commit([Submission(upsert([1], n=1))])
    view = store.view
    store.close()
    assert answer(view, CountRequest()) == 1
