"""The simulated fleet: nothing is made or lost, and it comes back as `edge.sync` does."""

from __future__ import annotations

import random
from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest

from benchmarks import fleet_costs, fleet_sim
from benchmarks.fleet_model import Fleet, Sending, Server, simulate
from edge.errors import Unreachable
from edge.sync import Retries

SENDING = Sending(most=100, head_bytes=300.0, op_bytes=3_000.0)
FLEET = Fleet(robots=200, shortest=60.0, longest=600.0)
SERVER = Server(speed=400.0)
PUSHED = fleet_costs.PushCosts(384, 3_000.0, 300.0, 2_700.0, 1_000.0)
WRITTEN = fleet_costs.SnapshotCosts(1_800.0, 28_000.0, 1_800.0, 400, 760_000)
MEASURED = fleet_sim.Measured(PUSHED, PUSHED, PUSHED, PUSHED, WRITTEN, WRITTEN, WRITTEN)


@pytest.mark.parametrize("linger", [0.0, 30.0])
@pytest.mark.parametrize("patience", [5.0, inf])
@pytest.mark.parametrize("seed", [1, 2])
def test_sightings_are_stored_or_wait(linger: float, patience: float, seed: int) -> None:
    fleet = replace(FLEET, linger=linger, offline=0.2)
    server = replace(SERVER, patience=patience, down=200.0)
    trace = simulate(fleet, SENDING, server, 900.0, seed)
    assert trace.stored.sum() > 0
    assert trace.written == trace.stored.sum() + trace.waiting[-1]


def test_robots_write_as_often_as_they_are_said_to() -> None:
    trace = simulate(replace(FLEET, offline=0.0, hz=2.0), SENDING, SERVER, 300.0, 1)
    assert trace.written == FLEET.robots * 2 * 300


def test_a_fleet_that_lingers_asks_less_often() -> None:
    often, seldom = (
        simulate(replace(FLEET, linger=linger), SENDING, SERVER, 600.0, 1) for linger in (0.0, 30.0)
    )
    assert seldom.requests.sum() < often.requests.sum() / 10
    assert seldom.stored.sum() > 0.9 * often.stored.sum()


def test_a_server_works_at_its_speed() -> None:
    server = Server(speed=250.0, down=300.0)
    trace = simulate(replace(FLEET, offline=0.0), SENDING, server, 900.0, 1)
    assert 0.9 * server.speed * 600 < trace.stored.sum() <= server.speed * 600


def test_requests_are_no_larger_than_a_full_one() -> None:
    trace = simulate(FLEET, SENDING, replace(SERVER, down=300.0), 900.0, 1)
    full = SENDING.head_bytes + SENDING.op_bytes * SENDING.most
    assert (trace.nbytes <= trace.requests * full).all()
    assert trace.nbytes.max() > SENDING.head_bytes + SENDING.op_bytes


def test_nothing_reaches_a_server_that_is_down() -> None:
    trace = simulate(replace(FLEET, offline=0.0), SENDING, replace(SERVER, down=300.0), 600.0, 1)
    requests = trace.a_second(trace.requests)
    assert requests[:300].sum() == 0
    assert requests[300:].sum() > 0


def test_jitter_lowers_the_peak_after_a_restart() -> None:
    most = {}
    for jitter in (True, False):
        how = replace(SENDING, jitter=jitter)
        server = replace(SERVER, down=600.0)
        trace = simulate(replace(FLEET, offline=0.0), how, server, 660.0, 1)
        most[jitter] = trace.a_second(trace.requests, 600.0).max()
    assert most[True] * 2 < most[False]


def test_a_server_that_refuses_nothing_works_in_vain() -> None:
    fleet, away = replace(FLEET, offline=0.0), replace(SERVER, down=600.0)
    refusing = simulate(fleet, SENDING, away, 1_800.0, 1)
    taking = simulate(fleet, SENDING, replace(away, patience=inf), 1_800.0, 1)
    assert refusing.given_up == 0
    assert refusing.refused.sum() > 0
    assert taking.refused.sum() == 0
    assert taking.given_up > taking.stored.sum()
    assert refusing.drained(600.0, 400.0) < taking.drained(600.0, 400.0)


@pytest.mark.parametrize("place", [0.0, 1.0])
def test_pauses_are_those_of_a_push(monkeypatch: pytest.MonkeyPatch, place: float) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: low + place * (high - low))
    failures = np.arange(1, 100)
    error = Unreachable("away")
    expected = [Retries(attempts=None).pause(count, error) for count in failures.tolist()]
    longest = replace(SENDING, jitter=False).pauses(failures, np.random.default_rng(1))
    drawn = SENDING.pauses(failures, np.random.default_rng(1))
    if place:
        assert longest.tolist() == expected
        assert (drawn <= expected).all()
    else:
        assert (drawn >= expected).all()


def test_tables_are_the_same_for_the_same_seed() -> None:
    assumed = fleet_sim.options(["--robots", "50", "--site-robots", "10", "--seed", "3"])
    other = replace(assumed, seed=4)
    tables = (fleet_sim.usual_days, fleet_sim.sizes, fleet_sim.pulls)
    first, second = (
        ["\n".join(fleet_sim.lines(table(assumed, MEASURED))) for table in tables] for _ in range(2)
    )
    assert first == second
    assert "\n".join(fleet_sim.lines(tables[0](other, MEASURED))) != first[0]


def test_changed_points_count_once() -> None:
    assumed = fleet_sim.options([])
    least, most = (fleet_sim.changed_points(assumed, seconds) for seconds in (1.0, 1e9))
    assert 199 < least <= 200
    assert most == assumed.site_points


async def test_what_a_sighting_costs_is_measured_the_same_twice(tmp_path: Path) -> None:
    first, second = [
        await fleet_costs.pushed(
            fleet_costs.Mix(), 16, tmp_path / str(run), count=300, batch_bytes=64 << 10
        )
        for run in range(2)
    ]
    assert first == second
    assert first.log_bytes > 16 * 4 * 0.5  # of half of the sightings, bumps bring no vector
    assert first.alone > first.backlog_bytes + len(fleet_costs.KEY)
    assert 1 < first.backlog_ops < 300


def test_snapshots_cost_their_points_and_a_tail_comes_whole() -> None:
    for costs in (
        fleet_costs.snapshot_costs(32, points=1_000),
        fleet_costs.qdrant_snapshot_costs(32, points=1_000),
    ):
        assert 32 * 4 < costs.partial_bytes < costs.full_bytes * 2
        assert costs.again_bytes > costs.tail * 32 * 4
