"""The inbox between the doors' thread and the loop: order, room and policies."""

from __future__ import annotations

import asyncio
import threading

import pytest

from edge.endpoints.inbox import Inbox, Policy


async def test_all_that_waits_is_taken_in_order() -> None:
    inbox: Inbox[int] = Inbox(10)
    assert all(inbox.put(n) for n in range(4))
    assert len(inbox) == 4
    assert await inbox.take_all() == [0, 1, 2, 3]
    assert len(inbox) == 0


async def test_who_waits_is_woken() -> None:
    inbox: Inbox[int] = Inbox(10)
    for n in range(3):
        taking = asyncio.create_task(inbox.take_all())
        await asyncio.sleep(0)
        threading.Thread(target=inbox.put, args=(n,)).start()
        async with asyncio.timeout(5):
            assert await taking == [n]


async def test_what_is_cancelled_takes_nothing_away() -> None:
    inbox: Inbox[int] = Inbox(10)
    taking = asyncio.create_task(inbox.take_all())
    await asyncio.sleep(0)
    taking.cancel()
    inbox.put(1)
    await asyncio.wait([taking])
    assert await inbox.take_all() == [1]


async def test_block_refuses_what_finds_no_room() -> None:
    inbox: Inbox[int] = Inbox(2, Policy.Block)
    rooms = []
    inbox.on_room = lambda: rooms.append(len(inbox))
    assert inbox.put(1)
    assert not inbox.blocks
    assert inbox.put(2)
    assert inbox.blocks
    assert not inbox.put(3)
    assert await inbox.take_all() == [1, 2]
    assert rooms == [0]
    assert not inbox.blocks
    assert inbox.dropped == 0


async def test_drop_oldest_makes_room() -> None:
    inbox: Inbox[int] = Inbox(3, Policy.DropOldest)
    assert all(inbox.put(n) for n in range(10))
    assert not inbox.blocks
    assert await inbox.take_all() == [7, 8, 9]
    assert inbox.dropped == 7


async def test_latest_keeps_the_newest_of_each_source() -> None:
    inbox: Inbox[str] = Inbox(3, Policy.Latest)
    for source, what in (("a", "a1"), ("b", "b1"), ("a", "a2"), ("a", "a3"), ("c", "c1")):
        assert inbox.put(what, source)
    assert not inbox.blocks
    assert inbox.dropped == 2
    assert inbox.put("d1", "d")  # more sources than places: the one that waits longest goes
    assert await inbox.take_all() == ["a3", "c1", "d1"]
    assert inbox.dropped == 3


@pytest.mark.parametrize("policy", list(Policy))
async def test_bytes_are_bounded_but_for_the_first(policy: Policy) -> None:
    inbox: Inbox[int] = Inbox(100, policy, capacity_bytes=10)
    assert inbox.put(1, 1, size=50)
    if policy is Policy.Block:
        assert inbox.blocks
        assert not inbox.put(2, 2, size=1)
        assert await inbox.take_all() == [1]
    else:
        assert inbox.put(2, 2, size=1)
        assert await inbox.take_all() == [2]
        assert inbox.dropped == 1
    for n in range(5):
        assert inbox.put(n, n, size=2)
    assert await inbox.take_all() == [0, 1, 2, 3, 4]


async def test_a_message_that_is_replaced_gives_its_bytes_back() -> None:
    inbox: Inbox[int] = Inbox(100, Policy.Latest, capacity_bytes=10)
    for n in range(20):
        assert inbox.put(n, "a", size=6)
    assert inbox.put(99, "b", size=4)
    assert await inbox.take_all() == [19, 99]


async def test_closed_it_gives_what_is_there_and_then_nothing() -> None:
    inbox: Inbox[int] = Inbox(10)
    inbox.put(1)
    inbox.close()
    assert not inbox.put(2)
    assert await inbox.take_all() == [1]
    assert await inbox.take_all() == []


async def test_closing_wakes_who_waits() -> None:
    inbox: Inbox[int] = Inbox(10)
    taking = asyncio.create_task(inbox.take_all())
    await asyncio.sleep(0)
    inbox.close()
    async with asyncio.timeout(5):
        assert await taking == []


async def test_nothing_is_lost_between_two_threads() -> None:
    inbox: Inbox[int] = Inbox(50, Policy.Block)

    def fill() -> None:
        for n in range(20_000):
            while not inbox.put(n):
                pass

    thread = threading.Thread(target=fill)
    thread.start()
    found: list[int] = []
    async with asyncio.timeout(60):
        while len(found) < 20_000:
            found += await inbox.take_all()
    thread.join()
    assert found == list(range(20_000))
