"""What a fleet of robots asks of a Qdrant cluster, on paper: `python -m benchmarks.fleet_sim`.

Bytes are measured in the same run (`fleet_costs`), what robots and the cluster do is simulated
(`fleet_model`), and what cannot be known without a cluster is an assumption: an option here, or a
constant with a name. No peer, no cluster; docs/fleet.md tells what to make of the tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil, expm1, inf
from typing import Final

from benchmarks import report
from benchmarks.fleet_costs import (
    BATCH_BYTES,
    Mix,
    PushCosts,
    SnapshotCosts,
    push_costs,
    qdrant_snapshot_costs,
    snapshot_costs,
)
from benchmarks.fleet_model import Fleet, Sending, Server, simulate
from edge.shard import OUTBOX_BYTES

REPLICAS: Final = 2
RESERVE: Final = 2.0
"""How much more than the mean a cluster can take: half of it serves to catch up."""
SHARDS_A_NODE: Final = 4
SHARD_POINTS: Final = 10_000_000
SMALL_BATCH: Final = 128 << 10
LONG_TIMEOUT: Final = 300.0
INDEXING_BYTES: Final = 10_000 << 10
"""Of vectors that a segment of the server holds before it is indexed (Qdrant's default)."""
WARM_UP, OBSERVED = 300.0, 900.0
AFTERWARDS: Final = 3_600.0
DAY: Final = 86_400.0

Table = tuple[str, Sequence[str], Sequence[Sequence[str]]]


@dataclass(frozen=True)
class Assumed:
    """What is assumed, and can be said on the command line."""

    fleet: Fleet
    mix: Mix
    dim: int
    shard_speed: float
    site_robots: int
    site_points: int
    days: float
    away: float
    seed: int

    @property
    def rate(self) -> float:
        """Sightings a second that the fleet writes."""
        return self.fleet.robots * self.fleet.hz

    @property
    def shards(self) -> int:
        """Shards that take the rate, and the reserve."""
        return ceil(RESERVE * self.rate / self.shard_speed)

    @property
    def server(self) -> Server:
        """The cluster as a whole, its points spread evenly."""
        return Server(self.shards * self.shard_speed)


@dataclass(frozen=True)
class Measured:
    """All bytes that the tables need."""

    usual: PushCosts
    small: PushCosts
    wide: PushCosts
    all_new: PushCosts
    ours: SnapshotCosts
    theirs: SnapshotCosts
    wide_ours: SnapshotCosts


def measured(assumed: Assumed) -> Measured:
    """Measure them."""
    dim, seed = assumed.dim, assumed.seed
    return Measured(
        push_costs(assumed.mix, dim, seed),
        push_costs(assumed.mix, dim, seed, SMALL_BATCH),
        push_costs(assumed.mix, 2 * dim, seed),
        push_costs(Mix(1.0, 0.0), dim, seed),
        snapshot_costs(dim, seed),
        qdrant_snapshot_costs(dim, seed),
        snapshot_costs(2 * dim, seed),
    )


def sending(costs: PushCosts) -> Sending:
    """How a robot sends, by what it costs."""
    return Sending(
        most=max(1, round(costs.backlog_ops)),
        head_bytes=costs.head_bytes,
        op_bytes=costs.backlog_bytes,
    )


# ---- tables ----


def bytes_of_pushes(assumed: Assumed, found: Measured) -> Table:
    """What a sighting is on the line and in the robot's log."""
    kept = {"as assumed": found.usual, f"{2 * assumed.dim} floats": found.wide}
    kept |= {"all new": found.all_new, f"batch_bytes {SMALL_BATCH >> 10} KiB": found.small}
    rows = [
        (
            name,
            *numbers(costs.alone, costs.backlog_bytes, costs.backlog_ops, costs.log_bytes),
            number(OUTBOX_BYTES / costs.log_bytes / assumed.fleet.hz / DAY),
        )
        for name, costs in kept.items()
    ]
    head = (
        f"{assumed.dim} floats, {BATCH_BYTES >> 10} KiB",
        "bytes alone",
        "bytes in a full request",
        "sightings a full request",
        "bytes in the robot's log",
        "days offline in 4 GiB",
    )
    return "Measured: a sighting", head, rows


def bytes_of_snapshots(assumed: Assumed, found: Measured) -> Table:
    """What a point is in snapshots."""
    kept = {
        f"export_qdrant, {assumed.dim} floats": found.ours,
        f"Qdrant Edge's files, {assumed.dim} floats": found.theirs,
        f"export_qdrant, {2 * assumed.dim} floats": found.wide_ours,
    }
    rows = [
        (
            name,
            *numbers(costs.full_bytes, costs.fixed_bytes, costs.partial_bytes, costs.again_bytes),
        )
        for name, costs in kept.items()
    ]
    head = (
        "bytes",
        "full, a point",
        "partial, fixed",
        "partial, a changed point",
        f"partial of 1 point after {found.ours.tail}",
    )
    return "Measured: snapshots", head, rows


def usual_days(assumed: Assumed, found: Measured) -> Table:
    """What comes in as long as the server is there."""
    ways: list[tuple[str, PushCosts, float]] = [
        ("linger 0, the default", found.usual, 0.0),
        ("linger 10 s", found.usual, 10.0),
        ("linger 30 s", found.usual, 30.0),
        ("linger 60 s", found.usual, 60.0),
        (f"linger 30 s, {2 * assumed.dim} floats", found.wide, 30.0),
        ("linger 30 s, all new", found.all_new, 30.0),
    ]
    rows = []
    for name, costs, linger in ways:
        fleet = replace(assumed.fleet, linger=linger)
        seconds = WARM_UP + OBSERVED
        trace = simulate(fleet, sending(costs), assumed.server, seconds, assumed.seed)
        kinds = (trace.stored, trace.requests, trace.nbytes / 1e6)
        stored, requests, came = (trace.a_second(kind, WARM_UP) for kind in kinds)
        each = (stored.mean(), requests.mean(), requests.max(), came.mean(), came.max())
        rows.append((name, *numbers(*each, came.mean() * (REPLICAS - 1))))
    head = (
        "pushed",
        "sightings/s",
        "requests/s",
        "most in a second",
        "MB/s in",
        "most",
        "MB/s to replicas, at most",
    )
    return "Simulated: the server is there", head, rows


def sizes(assumed: Assumed, found: Measured) -> Table:
    """Shards and nodes by rate, and by what is kept."""
    usual = assumed.shard_speed
    new = assumed.rate * assumed.mix.new * DAY
    ways = [(share * usual, 1.0) for share in (0.5, 1.0, 2.0, 4.0)]
    rows = []
    for speed, days in [*ways, (usual, assumed.days)]:
        kept = new * days
        by_rate = ceil(RESERVE * assumed.rate / speed)
        by_size = ceil(kept / SHARD_POINTS)
        shards = max(by_rate, by_size)
        nodes = ceil(shards * REPLICAS / SHARDS_A_NODE)
        nbytes = found.ours.full_bytes * REPLICAS
        counts = (speed, days, by_rate, by_size, shards * REPLICAS, nodes)
        rows.append(numbers(*counts, new / 1e6, new * nbytes / 1e9, kept * nbytes / 1e12))
    head = (
        "sightings/s a shard (assumed)",
        "days kept (assumed)",
        "shards by rate",
        "by size",
        "with replicas",
        "nodes",
        "million new points a day",
        "GB a day",
        "TB kept",
    )
    return "Worked out: the cluster", head, rows


def restarts(assumed: Assumed, found: Measured) -> Table:
    """The server was away, and all come back."""
    usual, away = sending(found.usual), assumed.server
    ways: list[tuple[str, Sending, Server]] = [
        ("as edge.sync does, refused beyond 10 s", usual, away),
        ("without jitter, refused beyond 10 s", replace(usual, jitter=False), away),
        ("nothing is refused", usual, replace(away, patience=inf)),
        (
            f"nothing is refused, timeout {LONG_TIMEOUT:g} s",
            replace(usual, timeout=LONG_TIMEOUT),
            replace(away, patience=inf),
        ),
        (
            f"nothing is refused, batch_bytes {SMALL_BATCH >> 10} KiB",
            sending(found.small),
            replace(away, patience=inf),
        ),
    ]
    rows = [
        (name, *restarted(assumed.fleet, how, replace(server, down=assumed.away), assumed.seed))
        for name, how, server in ways
    ]
    head = (
        f"after {assumed.away / 60:g} min without the server",
        "most requests in a second of the first minute",
        "MB/s of that minute",
        "refused requests",
        "sent in vain, of what was taken in",
        "minutes to catch up",
    )
    return "Simulated: a restart", head, rows


def restarted(fleet: Fleet, how: Sending, server: Server, seed: int) -> tuple[str, ...]:
    """One way to come back, for the table; robots that are offline by themselves are left out."""
    fleet = replace(fleet, offline=0.0)
    trace = simulate(fleet, how, server, server.down + AFTERWARDS, seed)
    requests, came, refused = (
        trace.a_second(what, server.down) for what in (trace.requests, trace.nbytes, trace.refused)
    )
    taken_in = trace.stored.sum() + trace.given_up
    minutes = trace.drained(server.down, 2 * fleet.robots * fleet.hz) / 60
    never = f"not in {AFTERWARDS / 60:g}"
    return (
        number(requests[:60].max()),
        number(came[:60].mean() / 1e6),
        number(refused.sum()),
        f"{trace.given_up / taken_in:.0%}",
        never if minutes == inf else number(minutes),
    )


def site(assumed: Assumed, found: Measured) -> Table:
    """One site was without a network, and comes back to its one shard."""
    fleet = replace(assumed.fleet, robots=assumed.site_robots)
    rate = fleet.robots * fleet.hz
    rows = []
    for share in (0.5, 1.0, 2.0):
        server = Server(share * assumed.shard_speed, down=assumed.away)
        most, came, refused, _, minutes = restarted(
            fleet, sending(found.usual), server, assumed.seed
        )
        rows.append((number(server.speed), number(rate), most, came, refused, minutes))
    head = (
        "sightings/s a shard (assumed)",
        "written/s",
        "most requests in a second",
        "MB/s of the first minute",
        "refused requests",
        "minutes to catch up",
    )
    minutes_away = assumed.away / 60
    return f"Simulated: one site, {minutes_away:g} min without a network, one shard", head, rows


def pulls(assumed: Assumed, found: Measured) -> Table:
    """What robots that hold their site's shard fetch."""
    costs, robots = found.ours, assumed.fleet.robots
    sites = ceil(robots / assumed.site_robots)
    tail = INDEXING_BYTES / (4 * assumed.dim)
    full = costs.full_bytes * assumed.site_points
    rows = []
    for name, period in (("30 s", 30.0), ("5 min", 300.0), ("1 h", 3600.0), ("1 day", DAY)):
        changed = changed_points(assumed, period)
        some = min(full, costs.fixed_bytes + costs.partial_bytes * (changed + tail / 2))
        out = [
            count * nbytes / period / 1e9 for nbytes in (some, full) for count in (robots, sites)
        ]
        rows.append((name, *numbers(changed, some / 1e6, some / period / 1e6, *out)))
    head = (
        "pulled every",
        "points changed",
        "MB a partial one",
        "MB/s a robot",
        "GB/s, all robots",
        "GB/s, one a site",
        "GB/s full, all robots",
        "GB/s full, one a site",
    )
    return f"Worked out: pulls of a site's {assumed.site_points:,} points", head, rows


def changed_points(assumed: Assumed, period: float) -> float:
    """Points of a site that a period makes or changes; each counts once, all are equally likely."""
    sightings = assumed.site_robots * assumed.fleet.hz * period
    new = sightings * assumed.mix.new
    touched = -assumed.site_points * expm1(-(sightings - new) / assumed.site_points)
    return min(assumed.site_points, new + touched)


TABLES: Final[tuple[Callable[[Assumed, Measured], Table], ...]] = (
    bytes_of_pushes,
    bytes_of_snapshots,
    usual_days,
    sizes,
    restarts,
    site,
    pulls,
)


# ---- words ----


def number(value: float) -> str:
    """Write a number as the other benchmarks do."""
    return report.number(value, "of them")


def numbers(*values: float) -> tuple[str, ...]:
    """Write each."""
    return tuple(map(number, values))


def lines(table: Table) -> Iterator[str]:
    """Yield a table as Markdown."""
    title, head, rows = table
    yield f"### {title}"
    yield ""
    for row in (head, ["---"] * len(head), *rows):
        yield "| " + " | ".join(row) + " |"
    yield ""


def options(arguments: Sequence[str] | None = None) -> Assumed:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="fleet_sim", description=__doc__.splitlines()[0])
    fleet, mix = Fleet(), Mix()
    add = parser.add_argument
    add("--robots", type=int, default=fleet.robots)
    add("--hz", type=float, default=fleet.hz, help="sightings a second of one robot")
    add("--dim", type=int, default=384, help="floats of a vector; twice as many are shown too")
    add("--offline", type=float, default=fleet.offline, help="share of robots without a network")
    add("--new", type=float, default=mix.new, help="share of sightings that are new points")
    add("--again", type=float, default=mix.again, help="share that overwrites a point")
    add("--shard-speed", type=float, default=1_000.0, help="sightings a second that a shard takes")
    add("--site-robots", type=int, default=200)
    add("--site-points", type=int, default=1_000_000, help="points that a site keeps")
    add("--days", type=float, default=7.0, help="how long the server keeps a point")
    add("--away", type=float, default=30.0, help="minutes that the server is not there")
    add("--seed", type=int, default=0)
    wanted = parser.parse_args(arguments)
    if wanted.robots < 1 or wanted.hz <= 0 or wanted.shard_speed <= 0 or wanted.site_robots < 1:
        parser.error("robots, hz, shard-speed and site-robots are more than 0")
    if not 0 <= wanted.offline < 1 or not 0 <= wanted.new <= wanted.new + wanted.again <= 1:
        parser.error("offline, new and again are shares, offline less than 1")
    return Assumed(
        Fleet(wanted.robots, wanted.hz, wanted.offline),
        Mix(wanted.new, wanted.again),
        wanted.dim,
        wanted.shard_speed,
        wanted.site_robots,
        wanted.site_points,
        wanted.days,
        60 * wanted.away,
        wanted.seed,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, simulate, print."""
    assumed = options(arguments)
    found = measured(assumed)
    for table in TABLES:
        for line in lines(table(assumed, found)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
