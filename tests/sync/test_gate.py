"""The gate: who may be inside with whom."""

from __future__ import annotations

import random

import anyio
import pytest

from edge.sync.gate import Gate


@pytest.mark.parametrize("seed", range(5))
async def test_one_alone_is_alone(seed: int) -> None:
    draw, gate = random.Random(seed), Gate()
    inside: list[str] = []
    most = {"alone": 0, "together": 0}

    async def visit(kind: str, steps: int) -> None:
        async with getattr(gate, kind)():
            inside.append(kind)
            most[kind] = max(most[kind], len(inside))
            assert kind == "together" or inside == ["alone"]
            assert "alone" not in inside or len(inside) == 1
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
            inside.remove(kind)

    async with anyio.create_task_group() as tasks:
        for _ in range(60):
            kind = draw.choice(["alone", "together", "together", "together"])
            tasks.start_soon(visit, kind, draw.randrange(5))
    assert most["alone"] == 1
    assert most["together"] > 1


async def test_who_comes_later_waits_for_one_who_wants_to_be_alone() -> None:
    gate, order = Gate(), list[str]()

    async def alone() -> None:
        async with gate.alone():
            order.append("alone")

    async def later() -> None:
        async with gate.together():
            order.append("later")

    async with anyio.create_task_group() as tasks, gate.together():
        tasks.start_soon(alone)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(later)
        await anyio.wait_all_tasks_blocked()
        assert order == []
    assert order == ["alone", "later"]


@pytest.mark.parametrize("kind", ["alone", "together"])
async def test_who_is_cancelled_leaves(kind: str) -> None:
    gate = Gate()

    async def enter() -> None:
        async with getattr(gate, kind)():
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks, gate.alone():
        tasks.start_soon(enter)
        await anyio.wait_all_tasks_blocked()  # it waits
        tasks.cancel_scope.cancel()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(enter)
        await anyio.wait_all_tasks_blocked()  # it is inside
        tasks.cancel_scope.cancel()
    async with gate.alone():
        pass
