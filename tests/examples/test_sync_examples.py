"""The sync examples as they are started: each against a server, one twice, as robots restart."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sync.server import ServerProcess

ROOT = Path(__file__).parents[2]
KEY = "secret"
PATIENCE = 120.0

SAYS = {
    "offload_indexing": ["found: 7 of 2000"],
    "back_up": [
        "backed up: 2 points",
        "1 {'name': 'mug', 'room': 'kitchen'}",
        "2 {'name': 'keys', 'room': 'bag'}",
    ],
    "fleet": ["the fleet knows 9 things", "the best was seen by cleo"],
    "in_step": [
        "base {1: {'name': 'mug', 'room': 'kitchen'}}",
        "base {1: {'name': 'mug', 'room': 'hall'}}",
        "arm {1: {'name': 'mug', 'room': 'hall'}}",
        "base {}",
    ],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("qdrant"), api_key=KEY) as server:
        yield server


@pytest.mark.parametrize("name", SAYS)
def test_an_example(name: str, server: ServerProcess, tmp_path: Path) -> None:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    for _ in range(1 + (name == "in_step")):
        done = subprocess.run(
            [sys.executable, ROOT / "examples" / "sync" / f"{name}.py", server.url, tmp_path],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": paths, "QDRANT_API_KEY": KEY},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert (done.returncode, done.stderr) == (0, "")
        said = [line for line in done.stdout.splitlines() if line in SAYS[name]]
        assert said == SAYS[name]


def test_every_example_is_tested() -> None:
    assert set(SAYS) == {path.stem for path in (ROOT / "examples" / "sync").glob("*.py")}
