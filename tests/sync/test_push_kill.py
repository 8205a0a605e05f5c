"""kill -9 of the process that pushes, at any moment: nothing is lost, nothing is doubled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from edge.shard import EdgeShard
from edge.sync.push import Push
from tests.crash.template import Template
from tests.sync.compared import held_here, held_there
from tests.sync.robot import QUICK
from tests.sync.server import Fault, Server

DEATHS = 20
LAST_WORDS = ("begin", "end", "sent", "confirmed")
FAULTS = [
    Fault("no reply", "points/batch"),
    Fault("cut request", "points/batch", at=100),
    Fault("status", "things", status=503),
]


def said(word: str, after: int) -> Callable[[list[str]], bool]:
    """Whether so many things were told, and the last begins with this word."""
    return lambda told: len(told) >= after and told[-1].startswith(word)


@pytest.fixture
def robot() -> Iterator[Template]:
    robot = Template("tests.sync.robot")
    yield robot
    robot.stop()


async def test_nothing_is_lost_and_nothing_is_doubled(robot: Template, tmp_path: Path) -> None:
    random, number = Random(5), 1
    last: Counter[str] = Counter()
    path = tmp_path / "shard"
    with Server(tmp_path / "server") as server:
        for _ in range(DEATHS):
            order = {
                "path": str(path),
                "url": server.url,
                "number": number,
                "seed": random.randrange(2**32),
                "checkpoint": 3_000,
            }
            word = random.choice(LAST_WORDS)
            if random.random() < 0.5:
                server.arm(random.choice(FAULTS))
            delay = random.choice((0.0, random.uniform(0, 0.004)))
            told = robot.run_and_kill(order, said(word, random.randint(3, 80)), delay)
            last[told[-1].split()[0]] += 1
            begun = [int(line.split()[1]) for line in told if line.startswith("begin ")
                     and line != "begin open"]  # fmt: skip
            number = max([number, *(n + 1 for n in begun)])
        assert sum(last.values()) == DEATHS
        assert last["sent"] + last["confirmed"] > 0
        async with EdgeShard(path) as shard:
            async with Push(shard, server.url, "things", retries=QUICK) as push:
                await push.drained()
                assert push.progress.refused == 0
            here = await held_here(shard)
            assert held_there(server, "things") == here
            assert len(here) > 10
