"""Exactly once: servers and producers are killed at random, every message is applied, in order.

What proves it is the shard's log, which is kept whole: each record says which messages it holds.
Where the log is cut while the points go into segments, the last state proves it: each message also
writes one point that all write, so one applied late or twice would show there.

EDGE_KILLS=100 in the environment is for a long look by hand.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from edge.blocking import EdgeShard
from edge.disk import manifest
from edge.disk.storage import DiskStorage
from edge.disk.wal import Wal
from edge.model import codec
from edge.model.check import CheckedUpsert
from edge.model.payload import decode_payload
from edge.model.request import CountRequest
from tests.endpoints.made import short_folder
from tests.endpoints.robot import SHARED, ids_of

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("EDGE_KILLS", "14"))
SOURCES = (1, 2)
ENDLESS = 500_000
PATIENCE = 60.0
WHOLE_LOG, SEALS = 2**30, 40_000


class Robot:
    """The process that makes servers and producers; see robot.py."""

    def __init__(self) -> None:
        paths = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.endpoints.robot"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._rest = b""
        self.safe: Counter[int] = Counter()
        """the last message that each producer knew to be applied, by process"""
        self._ended: dict[int, int] = {}
        self.wait_for("served")
        self.wait_for("warm")

    def line(self) -> list[str]:
        """The next thing that was told, as words."""
        assert self._process.stdout is not None
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
            assert ready, "nothing happens"
            read = os.read(self._process.stdout.fileno(), 65_536)
            assert read, "the robot ended"
            self._rest += read
        line, _, self._rest = self._rest.partition(b"\n")
        words = line.decode().split()
        if words[0] == "safe":
            self.safe[int(words[1])] = int(words[2])
        if words[0] == "ended":
            self._ended[int(words[1])] = int(words[2])
        return words

    def wait_for(self, *wanted: str) -> list[str]:
        """Pass over all that is told until this is."""
        while (words := self.line())[: len(wanted)] != list(wanted):
            assert words[0] != "ended" or words[2] != "1", "a child failed"
        return words

    def make(self, **order: Any) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        return int(self.wait_for("pid")[1])

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        assert self.end_of(pid) == -signal.SIGKILL

    def end_of(self, pid: int) -> int:
        while pid not in self._ended:
            self.line()
        return self._ended[pid]

    def stop(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        assert self._process.wait(30) == 0
        self._process.stdout.close()


@pytest.fixture
def robot() -> Iterator[Robot]:
    found = Robot()
    yield found
    found.stop()


class Scene:
    """A server and two producers, of which one is killed again and again."""

    def __init__(self, robot: Robot, folder: Path, checkpoint: int) -> None:
        self._robot = robot
        self._orders: dict[str, dict[str, Any]] = {
            "server": {"do": "serve", "checkpoint": checkpoint},
            **{f"source {n}": {"do": "produce", "source": n, "total": ENDLESS} for n in SOURCES},
        }
        self._folder = str(folder)
        self.pids: dict[str, int] = {}
        self.known: Counter[str] = Counter()
        for name in self._orders:
            self.start(name)

    def start(self, name: str, **more: Any) -> None:
        order = self._orders[name] | more
        self.pids[name] = self._robot.make(folder=self._folder, **order)

    def kill(self, name: str) -> None:
        pid = self.pids.pop(name)
        self._robot.kill(pid)
        if name != "server":
            self.note(name, pid)

    def note(self, name: str, pid: int) -> None:
        """A producer that was told how far it is was not told too much: it never goes back."""
        known = self._robot.safe[pid]
        if known:
            assert known >= self.known[name], "what was acknowledged is gone"
            self.known[name] = known

    def finish(self) -> dict[int, int]:
        """Let every producer come to an end; return how many messages each has sent."""
        totals = {}
        for n in SOURCES:
            name = f"source {n}"
            self.kill(name)
            totals[n] = self.known[name] + 300
            self.start(name, total=totals[n])
        for n in SOURCES:
            assert self._robot.end_of(self.pids[f"source {n}"]) == 0
        self.kill("server")
        return totals


def check_log(path: Path, totals: dict[int, int]) -> None:
    """Every message is in one record, in order, without a hole, and nothing else is there."""
    storage = DiskStorage(path)
    found = manifest.load(storage)
    assert found is not None
    assert found.sequence == 0, "the log is not whole"
    applied: Counter[int] = Counter()
    for record in Wal.open(storage, shard=found.shard, create=False).replay():
        mark, operation = codec.mark_of(record.body), codec.decode(record.body)
        assert mark is not None
        assert isinstance(operation, CheckedUpsert)
        source = int(mark.source.split()[1])
        assert mark.first == applied[source] + 1, "a message is missing, or there twice"
        numbers = [decode_payload(blob)["n"] for blob in operation.batch.payloads if blob]
        assert numbers == [n for n in range(mark.first, mark.sequence + 1) for _ in range(2)]
        applied[source] = mark.sequence
    assert all(applied[source] >= total for source, total in totals.items())


def check_state(path: Path, totals: dict[int, int]) -> None:
    """The shard as it is loaded holds what the last life of each producer sent, or more."""
    with EdgeShard(path) as shard:
        count = 0
        for source in SOURCES:
            mark = shard.mark(f"source {source}")
            assert mark is not None
            assert mark.sequence >= totals[source]
            (shared,) = shard.retrieve([SHARED + source])
            assert shared.payload == {"n": mark.sequence}
            numbers = range(1, mark.sequence + 1)
            records = shard.retrieve([ids_of(source, n)[1] for n in numbers])
            assert [record.payload for record in records] == [{"n": n} for n in numbers]
            count += 1 + mark.sequence
        assert shard.count(CountRequest()) == count


@pytest.mark.parametrize("checkpoint", [WHOLE_LOG, SEALS], ids=["whole log", "seals"])
def test_whoever_is_killed_every_message_is_applied_once(robot: Robot, checkpoint: int) -> None:
    random = Random(checkpoint)
    with short_folder() as folder:
        scene = Scene(robot, folder, checkpoint)
        killed: Counter[str] = Counter()
        names = ["server", *(f"source {n}" for n in SOURCES)]
        for turn in range(KILLS):
            for _ in range(random.randint(1, 60)):
                if robot.line()[0] == "served" and random.random() < 0.3:
                    break  # right after it was opened
            name = names[turn % 3] if turn < 6 else random.choice(names)
            scene.kill(name)
            killed[name] += 1
            if random.random() < 0.2 and name != "server":  # both ends at once
                scene.kill("server")
                killed["server"] += 1
                scene.start("server")
            scene.start(name)
        totals = scene.finish()
        assert killed.total() >= KILLS
        assert min(killed[name] for name in names) >= 2
        assert all(total > 400 for total in totals.values())
        if checkpoint == WHOLE_LOG:
            check_log(folder / "shard", totals)
        check_state(folder / "shard", totals)
