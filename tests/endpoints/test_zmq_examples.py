"""The examples in examples/zmq run; the C publisher writes the bytes that PROTOCOL.md asks for.

The bytes are held against the Python side everywhere. Where there is a C compiler the C side writes
them, and the publisher is built with the system's libzmq, or with the one that pyzmq brings.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from edge.endpoints import protocol as p
from tests.endpoints.made import in_thread, served, short_folder, until_stored

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "zmq"
PATIENCE = 60.0
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")])}
LONG = "a-name-of-a-source-that-is-longer-than-31-bytes"

HEADERS = {
    ("camera", 1, 1, 8, 4): "96a6706f696e7473a663616d6572610101089192a004",
    ("camera", 1_700_000_000_000_000, 300, 64, 384): (
        "96a6706f696e7473a663616d657261cf00060a24181e4000ce0000012c409192a0ce00000180"
    ),
    (LONG, 2**32 - 1, 2**32, 127, 128): (
        "96a6706f696e7473d92f"
        + LONG.encode().hex()
        + "ceffffffffcf00000001000000007f9192a0ce00000080"
    ),
}
"""What C writes for (source, epoch, sequence, count, dimension)."""

MAIN = """
#include <stdio.h>
#include <stdlib.h>
#include "points.h"
int main(int argc, char **argv)
{
    unsigned char out[POINTS_HEADER_MAX];
    size_t i, n = points_header(out, argv[1], strtoull(argv[2], 0, 10), strtoull(argv[3], 0, 10),
                                strtoul(argv[4], 0, 10), strtoul(argv[5], 0, 10));
    for (i = 0; i < n; i++)
        printf("%02x", out[i]);
    return argc != 6;
}
"""

ZMQ_H = """
#include <stddef.h>
#define ZMQ_XPUB 9
#define ZMQ_LINGER 17
#define ZMQ_RCVTIMEO 27
#define ZMQ_XPUB_NODROP 69
#define ZMQ_SNDMORE 2
void *zmq_ctx_new(void);
int zmq_ctx_term(void *);
void *zmq_socket(void *, int);
int zmq_close(void *);
int zmq_setsockopt(void *, int, const void *, size_t);
int zmq_connect(void *, const char *);
int zmq_send(void *, const void *, size_t, int);
int zmq_recv(void *, void *, size_t, int);
int zmq_errno(void);
const char *zmq_strerror(int);
"""
"""Of zmq.h what publisher.c needs, where only pyzmq's library is there."""

COMPILER = shutil.which("cc") or shutil.which("gcc")
BUNDLED = [
    str(library) for library in (Path(zmq.__file__).parents[1] / "pyzmq.libs").glob("libzmq*.so*")
]
INCLUDED = ("/usr/include", "/usr/local/include")
HAS_HEADER = any(Path(folder, "zmq.h").is_file() for folder in INCLUDED)


@pytest.mark.parametrize("values", HEADERS)
def test_the_bytes_of_a_header(values: tuple[str, int, int, int, int]) -> None:
    source, epoch, sequence, count, dim = values
    header = p.Decoder(p.Points)(bytes.fromhex(HEADERS[values]))
    assert header == p.Points(source, epoch, sequence, count, (("", dim),))


def build(folder: Path, source: str, *more: str) -> Path:
    assert COMPILER is not None
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-O2", f"-I{EXAMPLES}"]
    command = [COMPILER, *flags, "-o", str(folder / "made"), source, *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "made"


if COMPILER is not None:

    def test_c_writes_these_bytes(tmp_path: Path) -> None:
        source = tmp_path / "main.c"
        source.write_text(MAIN)
        made = build(tmp_path, str(source))
        for values, expected in HEADERS.items():
            words = [str(value) for value in values]
            done = subprocess.run([made, *words], capture_output=True, text=True, check=True)
            assert done.stdout == expected
        for wrong in ("", "x" * 129):
            arguments = [made, wrong, "1", "1", "1", "1"]
            assert subprocess.run(arguments, capture_output=True, check=True).stdout == b""


if COMPILER is not None and (HAS_HEADER or BUNDLED):

    async def test_the_c_publisher_fills_a_shard(tmp_path: Path) -> None:
        library = ["-lzmq"]
        if not HAS_HEADER:
            (tmp_path / "zmq.h").write_text(ZMQ_H)
            folder = str(Path(BUNDLED[0]).parent)
            library = [f"-I{tmp_path}", BUNDLED[0], f"-Wl,-rpath,{folder}",
                       "-Wl,--allow-shlib-undefined"]  # fmt: skip
        made = build(tmp_path, str(EXAMPLES / "publisher.c"), *library)
        async with served(tmp_path / "shard") as there:
            done = await in_thread(
                subprocess.run, [made, there.stream, "50"], capture_output=True, text=True
            )
            assert (done.returncode, done.stdout) == (0, "50 messages of 8 points\n")
            await until_stored(there.shard, 50 * 8)
            seen = there.count("stream", "sources")["c-publisher"]
            assert (seen["messages"], seen["gaps"], seen["late"]) == (50, 0, 0)
            (record,) = await there.shard.retrieve([1_000_000 + 8], with_vector=True)
            assert record.vector == pytest.approx([1.0, 1 / 2, 1 / 3, 1 / 4])
            assert there.count("stream", "garbage") == 0


# -- Python


@contextmanager
def robot(folder: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, EXAMPLES / "robot.py", folder],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
        assert ready
        assert process.stdout.readline() == f"serving at ipc://{folder}/doors\n"
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


def run(name: str, *arguments: object) -> str:
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_examples_work_together() -> None:
    with short_folder() as folder, robot(folder) as process:
        assert run("producer.py", folder, 20) == "20 messages of 16 points, all acknowledged\n"
        assert run("publisher.py", folder, 30) == "30 messages of 16 points\n"
        *hits, count = run("ask.py", folder).splitlines()
        assert len(hits) == 3
        assert all("mug" in hit for hit in hits)
        assert count.endswith(" points")
        process.terminate()
        assert process.wait(PATIENCE) == 0
        assert process.stdout is not None
        assert process.stdout.read().splitlines() == [
            "front-camera: 30 messages, 0 missing",
            f"{(20 + 30) * 16} points",
        ]
