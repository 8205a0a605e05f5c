"""Measurements, and the table that sets them side by side.

A ratio above one always says that edgeshard is better: faster, smaller, or with a shorter pause.
"""

from __future__ import annotations

import itertools
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

OURS, THEIRS = "edgeshard", "qdrant-edge"


@dataclass(frozen=True)
class Measurement:
    """All runs of one task on one engine. `cpu` is empty where CPU time says nothing."""

    task: str
    engine: str
    unit: str
    values: list[float]
    cpu: list[float]
    higher_is_better: bool = False

    @property
    def value(self) -> float:
        """The median of the runs."""
        return median(self.values)


@dataclass(frozen=True)
class Row:
    """One line of the table: both engines, or ours and another peer, on one task."""

    task: str
    unit: str
    ours: Measurement | None
    theirs: Measurement | None

    def cells(self) -> list[str]:
        """Return the line's words."""
        return [
            self.task,
            number(self.ours.value, self.unit) if self.ours else "-",
            number(self.theirs.value, self.unit) if self.theirs else "-",
            self.theirs.engine if self.theirs and self.theirs.engine != THEIRS else "",
            self.unit,
            ratio(self.ours, self.theirs, cpu=False),
            ratio(self.ours, self.theirs, cpu=True),
            "/".join(str(len(side.values)) if side else "0" for side in (self.ours, self.theirs)),
        ]


def number(value: float, unit: str) -> str:
    """Write a number with three significant digits and thousands apart; a share with three."""
    if not unit:
        return f"{value:.3f}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def ratio(ours: Measurement | None, theirs: Measurement | None, cpu: bool) -> str:
    """Return how many times better edgeshard is, or nothing where that cannot be said."""
    if ours is None or theirs is None:
        return ""
    ours_runs, theirs_runs = (ours.cpu, theirs.cpu) if cpu else (ours.values, theirs.values)
    if not ours_runs or not theirs_runs or not (median(ours_runs) and median(theirs_runs)):
        return ""
    better = median(theirs_runs) / median(ours_runs)
    if ours.higher_is_better and not cpu:
        better = 1 / better
    return f"{better:,.0f}x" if better >= 100 else f"{better:.2f}x"


def rows(measurements: Iterable[Measurement]) -> list[Row]:
    """Pair ours with each peer's by task, in the order in which tasks were first seen."""
    found: dict[str, dict[str, Measurement]] = {}
    for measurement in measurements:
        found.setdefault(measurement.task, {})[measurement.engine] = measurement
    return [
        Row(task, next(iter(sides.values())).unit, sides.get(OURS), peer)
        for task, sides in found.items()
        for peer in _peers(sides)
    ]


def _peers(sides: dict[str, Measurement]) -> list[Measurement | None]:
    found: list[Measurement | None] = [side for name, side in sides.items() if name != OURS]
    return found or [None]


def table(measurements: Iterable[Measurement]) -> str:
    """Lay the measurements out as text."""
    head = ["", OURS, THEIRS, "or", "", "ratio", "by CPU", "runs"]
    lines = [head, *(row.cells() for row in rows(measurements))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    left = {0, 3, 4}
    text = [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([text[0], "-" * max(map(len, text)), *text[1:]])


def qps_at(recall: float, sweep: list[tuple[float, float]]) -> float | None:
    """Interpolate the speed at a recall from (recall, queries a second) pairs, or None outside."""
    points = sorted(sweep)
    for (low, fast), (high, slow) in itertools.pairwise(points):
        if low <= recall <= high and high > low:
            return fast + (slow - fast) * (recall - low) / (high - low)
    return None


def machine() -> str:
    """Name the processor, the cores that may be used, the load and the interpreter."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith(("model name", "Model"))
    ]
    cores = len(os.sched_getaffinity(0))
    return (
        f"{names[0] if names else platform.machine()}, {cores} cores, "
        f"load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}"
    )


def filesystem(folder: Path) -> str:
    """Name the kind of filesystem that holds a folder."""
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, mount, kind, *_ = line.split()
        if folder.resolve().is_relative_to(mount) and len(mount) >= len(best[0]):
            best = (mount, kind)
    return best[1]


def as_json(measurements: Iterable[Measurement], about: dict[str, str]) -> dict[str, Any]:
    """Return everything that was measured, every run of it."""
    return {
        "about": about,
        "measurements": [asdict(measurement) for measurement in measurements],
    }
