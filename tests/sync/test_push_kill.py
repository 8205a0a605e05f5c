"""kill -9 of the process that pushes, at any moment: nothing is lost, nothing is doubled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import pytest

from edge.shard import EdgeShard
from edge.sync.push import Push
from tests.sync.compared import held_here, held_there
from tests.sync.robot import QUICK
from tests.sync.server import Fault, Server

ROOT = Path(__file__).parents[2]
DEATHS = 20
LAST_WORDS = ("begin", "end", "sent", "confirmed")
FAULTS = [
    Fault("no reply", "points/batch"),
    Fault("cut request", "points/batch", at=100),
    Fault("status", "things", status=503),
]


class Robot:
    """The process that makes the children; see robot.py."""

    def __init__(self) -> None:
        paths = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.sync.robot"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        while self._line() != "warm":
            pass

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the robot ended"
        return line.strip()

    def stop(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        assert self._process.wait(30) == 0
        self._process.stdout.close()

    def run_and_kill(self, order: dict[str, Any], after: int, word: str, delay: float) -> list[str]:
        """Let a child live until it has told so many things, then `word`, and `delay` seconds more;
        return what it told."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        told: list[str] = []
        pid = 0
        while not (pid and len(told) >= after and told[-1].startswith(word)):
            line = self._line()
            assert not line.startswith("ended"), "the child ended by itself"
            if line.startswith("pid"):
                pid = int(line.split()[1])
            else:
                told.append(line)
        until = monotonic() + delay
        while monotonic() < until:
            pass
        os.kill(pid, signal.SIGKILL)
        while not (line := self._line()).startswith("ended"):
            told.append(line)
        assert line == "ended SIGKILL"
        return told


@pytest.fixture
def robot() -> Iterator[Robot]:
    robot = Robot()
    yield robot
    robot.stop()


async def test_nothing_is_lost_and_nothing_is_doubled(robot: Robot, tmp_path: Path) -> None:
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
            told = robot.run_and_kill(order, random.randint(3, 80), word, delay)
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
