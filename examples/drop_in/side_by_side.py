"""Run `patrol.py` on both engines, and print what they said side by side.

    python side_by_side.py

Lines that differ are marked; the exit code is 1 where there are some.
"""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path

ENGINES = ("edge.blocking", "qdrant_edge")
PROGRAM = Path(__file__).with_name("patrol.py")
WIDTH = 60


def said(engine: str) -> list[str]:
    """What the program prints on an engine, line by line."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM)],
        env={**os.environ, "ENGINE": engine},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def main() -> int:
    print("".join(f"{engine:<{WIDTH}}   " for engine in ENGINES).rstrip())
    same = different = 0
    for ours, theirs in zip_longest(*map(said, ENGINES), fillvalue=""):
        alike = ours == theirs
        same, different = same + alike, different + (not alike)
        print(f"{ours[:WIDTH]:<{WIDTH}} {' ' if alike else '≠'} {theirs[:WIDTH]}")
    print(f"{same} lines are the same, {different} differ")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
