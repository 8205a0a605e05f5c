"""kill -9 of a process that lives with a mirror, at any moment: it writes, pushes and pulls."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random

from edge.model.request import ScrollRequest
from edge.sync.mirror import Mirror
from tests.sync.living import IDS, Points, carry_out, mirror_of
from tests.sync.server import Fault, Server

ROOT = Path(__file__).parents[2]
DEATHS = 4
OTHERS = 1000
"""Ids from here on are somebody else's."""


def live_and_die(folder: Path, url: str, number: int, pulls: int, lines: int) -> tuple[int, int]:
    """Let it live until it has pulled so often, and has told so many lines more; return the last
    operation that was acknowledged, and the last that was begun."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    command = [sys.executable, "-m", "tests.sync.living", str(folder), url, str(number)]
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        told = {"begin": number - 1, "end": number - 1, "pulled": 0}
        while pulls or lines:
            word = _note(process.stdout.readline(), told)
            if pulls:
                pulls -= word == "pulled"
            else:
                lines -= 1
        process.kill()
        for line in process.stdout:
            _note(line, told)
    return told["end"], told["begin"]


def _note(line: bytes, told: dict[str, int]) -> str:
    word, number = line.decode().split()
    told[word] = int(number)
    return word


async def own(memory: Mirror) -> Points:
    records, _ = await memory.scroll(ScrollRequest(limit=10_000))
    assert len({record.id for record in records}) == len(records)
    return {one.id: one.payload for one in records if one.id < IDS}  # type: ignore[misc, operator]


def on_server(server: Server) -> Points:
    found = server.collection("things").scroll({"limit": 10_000})["points"]
    return {one["id"]: one["payload"] for one in found}


async def test_what_was_acknowledged_is_there(tmp_path: Path) -> None:
    draw, folder, number = Random(3), tmp_path / "memory", 1
    expected: Points = {}
    cuts = set[int]()
    with Server(tmp_path / "server") as server:
        for death in range(DEATHS):
            for place in draw.sample(["points/batch", "partial", "snapshots/"], 2):
                server.arm(Fault(draw.choice(["no reply", "cut reply"]), place, at=500))
            pulls, lines = draw.randrange(3), draw.randrange(60)
            ended, begun = live_and_die(folder, server.url, number, pulls, lines)
            for done in range(number, ended + 1):
                carry_out(done, expected)
            server.disarm()
            async with mirror_of(folder, server.url) as memory:
                found = await own(memory)
                cuts.add(memory.cut)
            if found != expected and begun > ended:  # it may have been carried out as well
                carry_out(begun, expected)
            assert found == expected
            number = begun + 1
            other = [{"id": OTHERS + death, "vector": [0, 0, 0, 1], "payload": {}}]
            server.collection("things").batch([{"upsert": {"points": other}}])
        async with mirror_of(folder, server.url) as memory:
            await memory.drained()
            await memory.pull()
            assert await own(memory) == expected
            others = {OTHERS + death: {} for death in range(DEATHS)}
            assert on_server(server) == expected | others
            assert await memory.count() == len(expected) + DEATHS
            assert await memory.own.count() == 0
    assert len(cuts) > 1, "pulls came by themselves"
