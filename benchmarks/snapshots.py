"""Snapshots in and out: megabytes of points a second, of ours and of Qdrant's files.

A megabyte counts vectors (float32) and payloads (JSON), whatever the files hold beside them, so
that formats of different size are compared by the same work. qdrant-edge cannot make snapshots:
those that it takes in are ours, and the folder that both load is its own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import qdrant_edge

import edge.blocking as ours
from benchmarks.data import Dataset
from benchmarks.engines import Engine, Qdrant
from benchmarks.report import OURS
from benchmarks.tasks import QUICK, Results, Sizes, batches, timed

THEIRS = Qdrant.name
CHANGED = 0.01
"""The share of the points that a partial snapshot brings."""


def snapshots(
    engines: Sequence[Engine], dataset: Dataset, sizes: Sizes, folder: Path, results: Results
) -> None:
    """Write and take in the same points, by both engines in turns."""
    names = {engine.name for engine in engines}
    if not {OURS, THEIRS} <= names:
        return
    made = {engine.name: _filled(engine, dataset, folder) for engine in engines}
    megabytes = _megabytes(dataset)
    for run in range(1 if sizes is QUICK else 5):
        work = folder / f"snapshots-{run}"
        work.mkdir()
        _Run(work, megabytes, results).all(made, dataset)
        shutil.rmtree(work)


def _filled(engine: Engine, dataset: Dataset, folder: Path) -> Path:
    """A closed folder of all points; ours in segments, as it has them after a while."""
    path = folder / f"snapshots-{engine.name}"
    shard = engine.create(path, engine.config(dataset.vectors.shape[1]))
    for part in batches(dataset, 500):
        engine.upsert_arrays(shard, part.start, dataset.vectors[part], dataset.payloads[part])
    if engine.name == OURS:
        shard.optimize()
    shard.close()
    return path


def _megabytes(dataset: Dataset) -> float:
    return (dataset.vectors.nbytes + sum(len(json.dumps(p)) for p in dataset.payloads)) / 1e6


class _Run:
    """One run of all lines."""

    def __init__(self, work: Path, megabytes: float, results: Results) -> None:
        self.work = work
        self.megabytes = megabytes
        self.results = results

    def time(self, task: str, engine: str, act: Callable[[], Any], share: float = 1.0) -> Any:
        """Time what moves this share of the points."""
        found, watch = timed(act)
        self.results.add(task, engine, "MB/s", share * self.megabytes / watch.wall, watch.cpu, True)
        return found

    def all(self, made: dict[str, Path], dataset: Dataset) -> None:
        """Write, take in, and do both for what changed since."""
        with ours.EdgeShard.load(made[OURS]) as shard:
            own, full = self.work / "own.snapshot", self.work / "full.snapshot"
            self.time("snapshot of ours, written", OURS, lambda: shard.create_snapshot(own))
            self.time("Qdrant's snapshot, written", OURS, lambda: shard.export_qdrant(full))
            self.time("snapshot of ours, unpacked and loaded", OURS, lambda: self.ours(own))
        self.time("Qdrant's snapshot, unpacked and loaded", OURS, lambda: self.ours(full))
        self.time("Qdrant's snapshot, unpacked and loaded", THEIRS, lambda: self.theirs(full))
        for name, load in ((OURS, ours.EdgeShard.load), (THEIRS, self.load_theirs)):
            copy = shutil.copytree(made[THEIRS], self.work / f"folder-{name}")
            self.time("Qdrant's folder, loaded", name, partial(_loaded, load, copy))
        self.changes(dataset, full)

    def ours(self, archive: Path) -> None:
        """Unpack and load."""
        target = self.work / f"ours-{archive.name}"
        ours.EdgeShard.unpack_snapshot(archive, target)
        ours.EdgeShard.load(target).close()

    def theirs(self, archive: Path) -> None:
        """Unpack and load."""
        target = self.work / f"theirs-{archive.name}"
        target.mkdir()
        qdrant_edge.EdgeShard.unpack_snapshot(str(archive), str(target))
        self.load_theirs(target).close()

    def load_theirs(self, path: Path) -> Any:
        """Load a folder of Qdrant's."""
        return qdrant_edge.EdgeShard.load(str(path))

    def changes(self, dataset: Dataset, full: Path) -> None:
        """Bring what changed in a hundredth of the points to a copy of each."""
        count = max(1, int(CHANGED * len(dataset.vectors)))
        copies = (
            ours.EdgeShard.load(self.work / f"ours-{full.name}"),
            self.load_theirs(self.work / f"theirs-{full.name}"),
        )
        source = ours.EdgeShard.load(self.work / "ours-own.snapshot")
        source.upsert_arrays(range(count), dataset.vectors[:count], dataset.payloads[:count])
        for name, copy, base in zip(
            (OURS, THEIRS),
            copies,
            (copies[0].snapshot_manifest("qdrant"), copies[1].snapshot_manifest()),
            strict=True,
        ):
            archive = self.work / f"partial-{name}.snapshot"
            source.export_qdrant(archive, since=base)
            task = f"partial snapshot ({CHANGED:.0%} of the points), taken in"
            self.time(task, name, partial(copy.update_from_snapshot, str(archive)), CHANGED)
            self.results.add("partial snapshot, size", name, "MB", archive.stat().st_size / 1e6)
            assert copy.count(_all(name)) == len(dataset.vectors)
            copy.close()
        source.close()


def _loaded(load: Callable[[Path], Any], path: Path) -> None:
    load(path).close()


def _all(name: str) -> Any:
    return (ours if name == OURS else qdrant_edge).CountRequest(exact=True)
