"""What a fleet of robots asks of a Qdrant cluster: simulated on costs measured from the code.

`python -m benchmarks.fleet_sim [--robots N] [--hz F] [--dim D] [--linger S] [--site N] ...`

Time goes in steps of a second, all robots at once as arrays. A robot writes points at a steady
rate into its log, and pushes them as `edge.sync.Push` does: a request at most every `linger`
seconds while little waits, requests of `batch_bytes` one after another while much does, a pause
that doubles (drawn between its half and its whole) after each failure. Robots lose their line and
find it again; the server is gone for a while and comes back. Not simulated: what happens inside
the server.

Invariant: no point is lost or made: written = stored + waiting, at every moment.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edge
from edge import blocking
from edge.model.check import check
from edge.sync.rest import Retries
from edge.sync.writes import requests_of

DAY = 86_400
FLOATS = 4
SAMPLE = 5_000
"""Points that the costs of snapshots are measured with."""


@dataclass(frozen=True)
class Fleet:
    """What is assumed of the robots and of the server."""

    robots: int = 10_000
    hz: float = 1.0
    """points that a robot writes a second"""
    dim: int = 384
    linger: float = 30.0
    batch_bytes: int = 1 << 20
    site: int = 200
    """robots that share a shard key, and pull its shards"""
    seen_again: float = 0.7
    """the share of points that overwrite one of the robot's own"""
    offline: float = 0.05
    """the share of robots without a line at any moment"""
    shortest_gap: float = 600.0
    longest_gap: float = 28_800.0
    """seconds without a line, as many short ones as long ones on a scale of ratios"""
    uplink: float = 4.0
    """requests that a robot can send a second when much waits"""
    capacity: float = 20_000.0
    """points a second that the cluster takes; what comes beyond is answered "later" (429)"""
    per_shard: float = 4_000.0
    """points a second that one shard takes: an assumption, 2,000 to 10,000 are seen"""
    replicas: int = 2
    kept_days: float = 7.0
    pull_minutes: float = 10.0
    hours: float = 3.0
    outage_at: float = 1.0
    outage_minutes: float = 10.0
    jitter: bool = True
    seed: int = 7


@dataclass(frozen=True)
class Costs:
    """Bytes, measured."""

    alone: float
    """of a request that brings one point"""
    together: float
    """of a point in a request that brings many"""
    stored: float
    """of a point in a shard snapshot"""
    partial: float
    """of a new point in a partial snapshot, all that comes with it included"""
    partial_empty: float
    """of a partial snapshot that brings nothing"""


@dataclass
class Trace:
    """What happened, second by second."""

    requests: list[int] = field(default_factory=list)
    points: list[int] = field(default_factory=list)
    again: list[int] = field(default_factory=list)
    """requests of robots whose last one had failed"""
    refused: list[int] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    """points that wait at robots which have a line"""
    everywhere: int = 0
    """points that wait at the end"""
    written: int = 0
    stored: int = 0


# ---- what things cost ----


def measured(dim: int) -> Costs:
    """Measure what the code makes of points of `dim` floats and a small payload."""
    config = edge.EdgeConfig(
        edge.EdgeVectorParams(dim, edge.Distance.Cosine),
        optimizers=edge.EdgeOptimizersConfig(indexing_threshold=1),
    )
    alone, many = (_sent(config, dim, count) for count in (1, 256))
    with tempfile.TemporaryDirectory(prefix="fleet-") as name:
        folder = Path(name)
        with blocking.EdgeShard.create(folder / "shard", config) as shard:
            shard.update(_points(dim, 0, SAMPLE))
            shard.optimize()
            since = shard.export_qdrant(folder / "full.tar")
            shard.update(edge.UpdateOperation.delete_points([0]))
            shard.export_qdrant(folder / "empty.tar", since=since)
            new = SAMPLE // 50
            shard.update(_points(dim, SAMPLE, SAMPLE + new))
            shard.export_qdrant(folder / "some.tar", since=since)
        sizes = {path.stem: path.stat().st_size for path in folder.glob("*.tar")}
    return Costs(
        alone,
        many / 256,
        sizes["full"] / SAMPLE,
        (sizes["some"] - sizes["empty"]) / new,
        sizes["empty"],
    )


def _sent(config: edge.EdgeConfig, dim: int, count: int) -> int:
    operation = check(_points(dim, 0, count), config, edge.Limits())
    return sum(len(request.body or b"") for request in requests_of([operation], 1 << 30))


def _points(dim: int, first: int, last: int) -> Any:
    draw = np.random.default_rng(first)
    numbers = draw.normal(size=(last - first, dim)).astype(np.float32)
    payloads: list[dict[str, Any] | None] = [
        {
            "robot": f"robot-{n % 97:05d}",
            "place": [n / 7, n / 3, 0.5],
            "at": 1.7e9 + n,
            "kind": "cup",
        }
        for n in range(first, last)
    ]
    return edge.UpdateOperation.upsert_arrays(range(first, last), numbers, payloads)


# ---- the robots ----


class Robots:
    """All robots, as arrays by robot."""

    def __init__(self, fleet: Fleet, costs: Costs) -> None:
        self.fleet = fleet
        self.draw = np.random.default_rng(fleet.seed)
        count = fleet.robots
        self.a_request = max(1, int(fleet.batch_bytes / costs.together))
        self.most = self.a_request * max(1, int(fleet.uplink))
        """Points that a robot can send in a second."""
        self.waiting = np.zeros(count, np.int64)
        self.rest = self.draw.random(count)
        self.next_send = self.draw.random(count) * max(fleet.linger, 1.0)
        self.failures = np.zeros(count, np.int64)
        self.has_line = self.draw.random(count) >= fleet.offline
        self.changes = self._first_changes()

    def _gaps(self, count: int) -> NDArray[np.float64]:
        low, high = np.log(self.fleet.shortest_gap), np.log(self.fleet.longest_gap)
        return np.exp(self.draw.uniform(low, high, count))

    def _first_changes(self) -> NDArray[np.float64]:
        low, high = self.fleet.shortest_gap, self.fleet.longest_gap
        mean = (high - low) / np.log(high / low)
        self.mean_online = mean * (1 - self.fleet.offline) / max(self.fleet.offline, 1e-9)
        online = self.draw.exponential(self.mean_online, self.fleet.robots)
        gaps = self._gaps(self.fleet.robots) * self.draw.random(self.fleet.robots)
        return np.where(self.has_line, online, gaps)

    def write(self) -> int:
        """Let each write for a second."""
        self.rest += self.fleet.hz
        new = self.rest.astype(np.int64)
        self.rest -= new
        self.waiting += new
        return int(new.sum())

    def move(self, now: float) -> None:
        """Lose lines, and find them again."""
        turned = np.flatnonzero(self.changes <= now)
        self.has_line[turned] ^= True
        found = self.has_line[turned]
        online = self.draw.exponential(self.mean_online, len(turned))
        self.changes[turned] = now + np.where(found, online, self._gaps(len(turned)))
        self.next_send[turned[found]] = now

    def ready(self, now: float) -> NDArray[np.int64]:
        """Those who send now, in an order by chance."""
        chosen = np.flatnonzero(self.has_line & (self.next_send <= now) & (self.waiting > 0))
        return self.draw.permutation(chosen)

    def succeed(self, who: NDArray[np.int64], now: float) -> NDArray[np.int64]:
        """Take what these have sent in a second off what waits; return how many points of each."""
        sent = np.minimum(self.waiting[who], self.most)
        self.waiting[who] -= sent
        self.failures[who] = 0
        is_much = self.waiting[who] >= self.a_request
        self.next_send[who] = now + np.where(is_much, 1.0, max(self.fleet.linger, 1.0))
        return sent

    def fail(self, who: NDArray[np.int64], now: float) -> None:
        """Let these wait, as Retries says."""
        retries = Retries()
        self.failures[who] += 1
        doubled = retries.first * 2.0 ** np.minimum(self.failures[who] - 1, 30)
        whole = np.minimum(retries.longest, doubled)
        drawn = self.draw.uniform(whole / 2, whole) if self.fleet.jitter else whole
        self.next_send[who] = now + drawn


def simulated(fleet: Fleet, costs: Costs) -> Trace:
    """Let the fleet live for `hours`."""
    robots, trace = Robots(fleet, costs), Trace()
    gone = fleet.outage_at * 3600, fleet.outage_at * 3600 + fleet.outage_minutes * 60
    for second in range(int(fleet.hours * 3600)):
        trace.written += robots.write()
        robots.move(second)
        who = robots.ready(second)
        trace.again.append(int((robots.failures[who] > 0).sum()))
        if gone[0] <= second < gone[1]:
            served, refused = who[:0], who
        else:
            asked = np.minimum(robots.waiting[who], robots.most)
            fits = int(np.searchsorted(np.cumsum(asked), fleet.capacity, side="right"))
            served, refused = who[:fits], who[fits:]
        sent = robots.succeed(served, second)
        robots.fail(refused, second)
        calls = int(np.ceil(sent / robots.a_request).sum())
        trace.requests.append(calls + len(refused))
        trace.points.append(int(sent.sum()))
        trace.refused.append(len(refused))
        trace.stored += int(sent.sum())
        trace.waiting.append(int(robots.waiting[robots.has_line].sum()))
    trace.everywhere = int(robots.waiting.sum())
    return trace


# ---- what comes out ----

Row = tuple[str, str]


def steady(fleet: Fleet, costs: Costs) -> list[Row]:
    """The cluster's daily bread, by arithmetic."""
    points = fleet.robots * fleet.hz
    together = max(1.0, min(fleet.linger * fleet.hz, fleet.batch_bytes / costs.together))
    size = costs.alone if together < 2 else costs.together
    new = points * (1 - fleet.seen_again)
    kept = new * DAY * fleet.kept_days
    shards = int(np.ceil(points / fleet.per_shard))
    return [
        ("points a second", f"{points:,.0f}"),
        (f"requests a second, linger {fleet.linger:g} s", f"{points / together:,.0f}"),
        ("bytes of a point on the line", f"{size:,.0f}"),
        ("bytes a second in", f"{points * size / 1e6:,.1f} MB"),
        ("written by all replicas a second", f"{points * fleet.replicas:,.0f} points"),
        (
            f"shards, at {fleet.per_shard:,.0f} points/s each",
            f"{shards}, {shards * fleet.replicas} with replicas",
        ),
        ("new points a day", f"{new * DAY / 1e6:,.0f} million"),
        (f"kept for {fleet.kept_days:g} days", f"{kept / 1e9:,.2f} billion points"),
        ("with replicas", f"{kept * fleet.replicas * costs.stored / 1e12:,.1f} TB"),
    ]


def after_outage(fleet: Fleet, trace: Trace) -> list[Row]:
    """How the cluster comes back."""
    gone = int(fleet.outage_at * 3600)
    back = gone + int(fleet.outage_minutes * 60)
    usual = 1.2 * max(trace.waiting[gone - 600 : gone])
    steps = enumerate(trace.waiting[back:])
    drained = next((f"{step / 60:,.1f} min" for step, waiting in steps if waiting < usual), "never")
    minute = slice(back, back + 120)
    return [
        ("waiting when it comes back", f"{trace.waiting[back] / 1e6:,.1f} million points"),
        ("requests a second before", f"{np.mean(trace.requests[gone - 600 : gone]):,.0f}"),
        ("most that ask again in one second, of two minutes", f"{max(trace.again[minute]):,}"),
        ('answered "later" in two minutes', f"{sum(trace.refused[minute]):,}"),
        ("until no more waits than usual", drained),
    ]


def pulling(fleet: Fleet, costs: Costs) -> list[Row]:
    """What it costs that every robot has its site's memory."""
    new = fleet.site * fleet.hz * (1 - fleet.seen_again) * DAY * fleet.kept_days
    changed = fleet.site * fleet.hz * fleet.pull_minutes * 60
    full = new * costs.stored
    partial = costs.partial_empty + changed * costs.partial
    pulls = fleet.robots / (fleet.pull_minutes * 60)
    return [
        (f"points of a site of {fleet.site} robots", f"{new / 1e6:,.1f} million"),
        ("a full snapshot", f"{full / 1e9:,.1f} GB"),
        (f"a partial one, every {fleet.pull_minutes:g} min", f"{partial / 1e6:,.0f} MB"),
        ("partial snapshots a second, all robots", f"{pulls:,.1f}"),
        ("bytes a second out, partial", f"{pulls * partial / 1e9:,.2f} GB"),
        ("bytes a second out, full", f"{pulls * full / 1e9:,.0f} GB"),
        (
            "bytes a second for one robot, partial",
            f"{partial / fleet.pull_minutes / 60 / 1e6:,.2f} MB",
        ),
    ]


def tables(fleet: Fleet, costs: Costs) -> Iterator[tuple[str, list[Row]]]:
    """All that is told, by heading."""
    yield (
        "Costs, measured",
        [
            ("a request of one point", f"{costs.alone:,.0f} bytes"),
            ("a point among many", f"{costs.together:,.0f} bytes"),
            ("a point in a shard snapshot", f"{costs.stored:,.0f} bytes"),
            ("a new point in a partial one", f"{costs.partial:,.0f} bytes"),
            ("a partial one that brings nothing new", f"{costs.partial_empty:,.0f} bytes"),
        ],
    )
    yield "Steady", steady(fleet, costs)
    for linger in sorted({0.0, fleet.linger}):
        for jitter in (True, False):
            one = replace(fleet, linger=linger, jitter=jitter)
            name = f"Server gone for {fleet.outage_minutes:g} min, linger {linger:g} s, "
            yield (
                name + ("pauses drawn" if jitter else "pauses all alike"),
                after_outage(one, simulated(one, costs)),
            )
    yield "Pulling", pulling(fleet, costs)


def options() -> Fleet:
    """Read the command line: an option for each field of Fleet."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.fleet_sim", description=__doc__.splitlines()[0]
    )
    for known in fields(Fleet):
        if known.name != "jitter":
            kind = int if isinstance(known.default, int) else float
            name = f"--{known.name.replace('_', '-')}"
            parser.add_argument(
                name, type=kind, default=known.default, metavar=f"{known.default:g}"
            )
    return Fleet(**vars(parser.parse_args()))


def show(found: Sequence[tuple[str, list[Row]]]) -> str:
    """Tables as Markdown."""
    lines: list[str] = []
    for heading, rows in found:
        lines += [f"**{heading}**", "", "| | |", "| --- | --- |"]
        lines += [f"| {what} | {value} |" for what, value in rows]
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Measure, simulate, tell."""
    fleet = options()
    print(show(list(tables(fleet, measured(fleet.dim)))))


if __name__ == "__main__":
    main()
