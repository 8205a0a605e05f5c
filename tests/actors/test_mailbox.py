"""The mailbox: order, withdrawal, patience, and what becomes of requests when it is closed."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from edge.actors.mailbox import Ask, Mailbox
from edge.errors import NotFound, ShardClosed
from tests.actors.made import settled

Box = Mailbox[int, int]


async def asked(mailbox: Box, *requests: int) -> list[asyncio.Task[int]]:
    """One task for each request, all of them waiting."""
    tasks = [asyncio.create_task(mailbox.ask(request)) for request in requests]
    await settled()
    return tasks


async def taken(mailbox: Box) -> list[Ask[int, int]]:
    async with asyncio.timeout(10):
        found = await mailbox.take_all()
    assert found is not None
    return found


async def test_each_gets_its_own_reply_in_the_order_of_asking() -> None:
    mailbox = Box(10)
    tasks = await asked(mailbox, 1, 2, 3)
    batch = await taken(mailbox)
    assert [ask.request for ask in batch] == [1, 2, 3]
    for ask in reversed(batch):
        ask.reply(ask.request * 10)
    assert await asyncio.gather(*tasks) == [10, 20, 30]


async def test_refusal_is_raised_at_its_sender_only() -> None:
    mailbox = Box(10)
    wrong, right = await asked(mailbox, 1, 2)
    first, second = await taken(mailbox)
    first.refuse(NotFound("nothing"))
    second.reply(5)
    with pytest.raises(NotFound, match="nothing"):
        await wrong
    assert await right == 5


async def test_no_more_than_the_capacity_is_taken_at_once_and_nobody_is_forgotten() -> None:
    mailbox = Box(2)
    tasks = await asked(mailbox, 1, 2, 3, 4, 5)
    assert mailbox.full
    seen = []
    while len(mailbox):
        batch = await taken(mailbox)
        seen.append([ask.request for ask in batch])
        for ask in batch:
            ask.reply(ask.request)
    assert seen == [[1, 2], [3, 4], [5]]
    assert not mailbox.full
    assert await asyncio.gather(*tasks) == [1, 2, 3, 4, 5]


async def test_taker_waits_for_a_request() -> None:
    mailbox = Box(2)
    taker = asyncio.create_task(mailbox.take_all())
    await settled()
    assert not taker.done()
    (task,) = await asked(mailbox, 7)
    (ask,) = await taker or []
    ask.reply(8)
    assert await task == 8


async def test_several_takers_take_each_request_once() -> None:
    mailbox = Box(100)
    seen: list[int] = []

    async def serve() -> None:
        while (ask := await mailbox.take()) is not None:
            seen.append(ask.request)
            await asyncio.sleep(0)
            ask.reply(-ask.request)

    takers = [asyncio.create_task(serve()) for _ in range(3)]
    await settled()
    answers = await asyncio.gather(*[mailbox.ask(i) for i in range(50)])
    assert answers == [-i for i in range(50)]
    assert seen == list(range(50))
    mailbox.close()
    await asyncio.gather(*takers)


@pytest.mark.parametrize("taking", ["take", "take_all"])
async def test_cancelled_before_it_was_taken_it_is_never_seen(taking: str) -> None:
    mailbox = Box(10)
    tasks = await asked(mailbox, 1, 2, 3)
    tasks[0].cancel()
    tasks[2].cancel()
    await settled()
    assert len(mailbox) == 1
    found = await getattr(mailbox, taking)()
    (ask,) = found if isinstance(found, list) else [found]
    assert ask.request == 2
    ask.reply(0)
    assert await tasks[1] == 0
    assert tasks[0].cancelled()
    assert tasks[2].cancelled()


async def test_more_of_what_is_wanted_is_taken_and_the_rest_keeps_its_order() -> None:
    mailbox = Box(10)
    tasks = await asked(mailbox, 1, 2, 3, 4, 5, 6)
    first = await mailbox.take()
    assert first is not None
    assert mailbox.count(lambda number: number % 2 == 0, 9) == 3
    assert mailbox.count(lambda number: number % 2 == 0, 2) == 2
    more = mailbox.take_more(lambda number: number % 2 == 0, 2)
    assert [ask.request for ask in more] == [2, 4]
    assert mailbox.take_more(lambda number: number > 9, 2) == []
    assert mailbox.take_more(lambda number: True, 0) == []
    left = await mailbox.take_all()
    assert left is not None
    assert [ask.request for ask in left] == [3, 5, 6]
    for ask in (first, *more, *left):
        ask.reply(-ask.request)
    assert await asyncio.gather(*tasks) == [-1, -2, -3, -4, -5, -6]


async def test_cancelled_by_a_scope_it_is_withdrawn_too() -> None:
    mailbox = Box(10)
    with anyio.move_on_after(0.001) as scope:
        await mailbox.ask(1)
    assert scope.cancelled_caught
    assert len(mailbox) == 0


async def test_withdrawal_makes_room() -> None:
    mailbox = Box(1)
    (task,) = await asked(mailbox, 1)
    assert mailbox.full
    task.cancel()
    await settled()
    assert not mailbox.full


async def test_cancelled_after_it_was_taken_its_reply_is_dropped() -> None:
    mailbox = Box(10)
    (task,) = await asked(mailbox, 1)
    (ask,) = await taken(mailbox)
    task.cancel()
    await settled()
    ask.reply(1)
    assert task.cancelled()
    assert ask.answered


async def test_patience_ends_only_what_nobody_took() -> None:
    mailbox = Box(10)
    with pytest.raises(TimeoutError):
        await mailbox.ask(1, patience=0.0)
    assert len(mailbox) == 0
    task = asyncio.create_task(mailbox.ask(2, patience=0.01))
    (ask,) = await taken(mailbox)
    await asyncio.sleep(0.02)  # its patience is over, but somebody is at work on it
    assert not task.done()
    ask.reply(3)
    assert await task == 3


async def test_what_was_put_is_done_though_nobody_waits() -> None:
    mailbox = Box(10)
    ask = mailbox.put(1)
    assert [found.request for found in await taken(mailbox)] == [1]
    ask.reply(2)
    assert ask.answer() == 2


async def test_closed_it_delivers_what_waits_and_takes_nothing_more() -> None:
    mailbox = Box(2)
    tasks = await asked(mailbox, 1, 2, 3)
    mailbox.close()
    with pytest.raises(ShardClosed):
        await mailbox.ask(4)
    with pytest.raises(ShardClosed):
        mailbox.put(5)
    for expected in ([1, 2], [3]):
        batch = await taken(mailbox)
        assert [ask.request for ask in batch] == expected
        for ask in batch:
            ask.reply(ask.request)
    assert await mailbox.take_all() is None
    assert await mailbox.take() is None
    assert await asyncio.gather(*tasks) == [1, 2, 3]


async def test_closing_wakes_all_takers() -> None:
    mailbox = Box(2)
    takers = [asyncio.create_task(mailbox.take()) for _ in range(3)]
    await settled()
    mailbox.close()
    assert await asyncio.gather(*takers) == [None, None, None]


async def test_abandoned_it_refuses_what_waits() -> None:
    mailbox = Box(2)
    tasks = await asked(mailbox, 1, 2, 3)
    mailbox.abandon(ShardClosed("gone"))
    for task in tasks:
        with pytest.raises(ShardClosed, match="gone"):
            await task
    with pytest.raises(ShardClosed):
        await mailbox.ask(4)


async def test_cancelled_taker_takes_nothing_along() -> None:
    mailbox = Box(2)
    taker = asyncio.create_task(mailbox.take_all())
    await settled()
    ask = mailbox.put(1)
    taker.cancel()
    await settled()
    assert taker.cancelled()
    assert await taken(mailbox) == [ask]
