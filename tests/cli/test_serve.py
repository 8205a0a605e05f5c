"""`edgeshard serve`, as a process: opens, tells, serves, and closes at a signal."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from edge.blocking import EdgeShard
from edge.cli import main as command
from edge.cli import serve
from edge.endpoints import EdgeClient, Publisher, Role
from edge.errors import EdgeError, StorageFault, ValidationError
from edge.model.config import Durability, EdgeConfig
from edge.model.vector_params import Distance, EdgeVectorParams
from tests.endpoints.made import in_thread, short_folder

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """(the process, the line that it printed when it was ready)"""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    process = subprocess.Popen(
        [sys.executable, "-m", "edge.cli", "serve", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
        assert ready, "it did not get ready"
        yield process, process.stdout.readline()
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_until_a_signal(tmp_path: Path, number: int) -> None:
    path = tmp_path / "shard"
    with short_folder() as folder:
        ingest, query = f"ipc://{folder}/ingest", f"ipc://{folder}/query"
        given = ["--dim", "3", "--distance", "dot", "--ingest", ingest, "--query", query]
        with running(str(path), *given) as (process, line):
            assert line == f"edgeshard serves {path}: ingest {ingest}, query {query}\n"

            def work() -> None:
                with Publisher(ingest) as publisher:
                    publisher.upsert_arrays([1, 2], np.ones((2, 3)), [{"n": 1}, {"n": 2}])

            await in_thread(work)
            async with EdgeClient(query) as client:
                assert await client.count() == 2
            process.send_signal(number)
            assert process.wait(PATIENCE) == 0
            assert process.stdout is not None
            assert process.stderr is not None
            assert (process.stdout.read(), process.stderr.read()) == ("", "")
    with EdgeShard(path) as shard:
        assert shard.info().points_count == 2
        assert shard.info().log_bytes < 100 or shard.info().durable_sequence == 1


async def test_a_shard_that_is_there_needs_no_config(tmp_path: Path) -> None:
    path = tmp_path / "shard"
    with EdgeShard(path, EdgeConfig(EdgeVectorParams(2, Distance.Dot))):
        pass
    with (
        running(str(path), "--stream", "tcp://127.0.0.1:*", "--topic", "a") as (process, line),
        running(str(path), "--query", "tcp://127.0.0.1:*") as (second, nothing),
    ):
        assert line.startswith(f"edgeshard serves {path}: stream tcp://127.0.0.1:")
        assert nothing == ""  # the first has it open
        assert second.wait(PATIENCE) == 1
        assert second.stderr is not None
        words = second.stderr.read()
        assert words.startswith("edgeshard: ")
        assert len(words.splitlines()) == 1
        process.terminate()
        assert process.wait(PATIENCE) == 0


# -- arguments


def namespace(*arguments: str, path: str = "path") -> Any:
    return command.parser().parse_args(["serve", path, *arguments])


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["serve"],
        ["serve", "path"],
        ["serve", "path", "--query", "ipc:///a/b", "--distance", "dot"],
        ["serve", "path", "--query", "ipc:///a/b", "--dim", "3", "--config-file", "x"],
        ["serve", "path", "--query", "ipc:///a/b", "--dim", "three"],
        ["serve", "path", "--policy", "never"],
        ["serve", "path", "--durability", "sometimes"],
        ["destroy", "path"],
    ],
)
def test_wrong_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)
    assert caught.value.code == 2
    assert "usage: edgeshard" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--query", "tcp://*:5555", "--dim", "3"], "query: tcp://*:5555 is open to others"),
        (["--query", "nowhere", "--dim", "3"], "query: expected ipc://"),
        (["--query", "tcp://127.0.0.1:*"], "no shard"),
        (["--query", "tcp://127.0.0.1:*", "--dim", "0"], "size: expected"),
        (["--query", "tcp://127.0.0.1:*", "--config-file", "/none"], "config-file: No such file"),
        (["--query", "tcp://127.0.0.1:*", "--keys", "/none"], "keys: No such file"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    tmp_path: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["serve", str(tmp_path / "shard"), *arguments]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("edgeshard: ")
    assert words in told.err
    assert len(told.err.splitlines()) == 1


def test_configs(tmp_path: Path) -> None:
    config = serve.config_of
    assert config(namespace()) is None
    assert config(namespace("--durability", "os", path=str(tmp_path / "none"))) is None
    with EdgeShard(tmp_path / "shard", EdgeConfig(EdgeVectorParams(2, Distance.Dot))):
        pass
    there = config(namespace("--durability", "os", path=str(tmp_path / "shard")))
    assert there is not None
    assert (there.durability, there.vectors[""].size) == (Durability.Os, 2)
    assert config(namespace("--dim", "3")) == EdgeConfig(EdgeVectorParams(3, Distance.Cosine))
    assert config(namespace("--dim", "3", "--distance", "manhattan", "--durability", "always")) == (
        EdgeConfig(EdgeVectorParams(3, Distance.Manhattan), durability=Durability.Always)
    )
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"vectors": {"image": {"size": 2, "distance": "Dot"}},
                                "sync_interval_ms": 7, "durability": "Os"}))  # fmt: skip
    given = EdgeConfig(
        {"image": EdgeVectorParams(2, Distance.Dot)}, sync_interval_ms=7, durability=Durability.Os
    )
    assert config(namespace("--config-file", str(file))) == given
    changed = config(namespace("--config-file", str(file), "--durability", "always"))
    assert changed is not None
    assert (changed.durability, changed.sync_interval_ms) == (Durability.Always, 7)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"vectors": 5}', '{"durability": "Never"}', "[" * 100_000, "\udcff"]
)
def test_files_that_are_no_config(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValidationError, match="config"):
        serve.config_of(namespace("--config-file", str(file)))


def test_keys_come_from_a_file_of_the_users_own(tmp_path: Path) -> None:
    public, secret = (key.decode() for key in zmq.curve_keypair())
    client = zmq.curve_keypair()[0].decode()
    file = tmp_path / "keys.json"

    def written(roles: list[str], mode: int = 0o600, **more: Any) -> Path:
        file.write_text(
            json.dumps({"public": public, "secret": secret, "clients": {client: roles}, **more})
        )
        file.chmod(mode)
        return file

    assert serve.keys_of(None) is None
    found = serve.keys_of(written(["write", "query"]))
    assert found is not None
    assert (found.public, found.secret) == (public, secret)
    assert found.clients == {client: Role.Write | Role.Query}
    for mode in (0o640, 0o604, 0o644):
        with pytest.raises(ValidationError, match="readable by you alone"):
            serve.keys_of(written([], mode))
    with pytest.raises(ValidationError, match="no role 'admin'"):
        serve.keys_of(written(["admin"]))
    for wrong in ({"more": 1}, {"secret": "short"}):
        with pytest.raises(EdgeError) as caught:
            serve.keys_of(written([], **wrong))
        assert secret not in str(caught.value)
    with pytest.raises(StorageFault, match="keys"):
        serve.keys_of(tmp_path / "none")
