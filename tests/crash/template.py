"""A process that makes children by fork, to be killed: both sides of it.

Starting Python takes a second, a fork a millisecond. The process is warmed up once, opens no shard
of its own (a child inherits nothing that is open), and is told by lines of JSON on its standard
input what the next child is to do.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

ROOT = Path(__file__).parents[2]


def tell(words: str) -> None:
    """Tell the test a line: whole and at once, from whatever thread."""
    os.write(1, f"{words}\n".encode())


def serve(live: Callable[[dict[str, Any]], object]) -> None:
    """Make a child for each line that comes, which does `live(order)` until it is killed."""
    tell("warm")
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _child(live, json.loads(line))
        tell(f"pid {pid}")
        _, status = os.waitpid(pid, 0)
        name = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "exit"
        tell(f"ended {name}")


def _child(live: Callable[[dict[str, Any]], object], order: dict[str, Any]) -> None:
    """Never returns: it ends by being killed, or tells why not."""
    try:
        live(order)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(1)


class Template:
    """The process as the test sees it; `module` calls `serve`."""

    def __init__(self, module: str) -> None:
        paths = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
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
        assert line, "the process ended"
        return line.strip()

    def stop(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        assert self._process.wait(30) == 0
        self._process.stdout.close()

    def run_and_kill(
        self, order: dict[str, Any], has_come: Callable[[list[str]], bool], delay: float
    ) -> list[str]:
        """Let a child live until `has_come` of what it told, and `delay` seconds more; return all
        that it told."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        told: list[str] = []
        pid = 0
        while not (pid and has_come(told)):
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
