"""The simulated fleet: it loses no point, tells the same twice, and comes back as Retries says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.fleet_sim import Costs, Fleet, after_outage, pulling, simulated, steady

COSTS = Costs(alone=5_000, together=4_800, stored=1_700, partial=1_900, partial_empty=9_000)
SMALL = Fleet(robots=300, capacity=600, hours=0.6, outage_at=0.2, outage_minutes=5)


@pytest.mark.parametrize(
    "fleet",
    [
        SMALL,
        replace(SMALL, linger=0, offline=0.0),
        replace(SMALL, offline=0.5, shortest_gap=5, longest_gap=60),
        replace(SMALL, hz=0.3, capacity=80, jitter=False),
        replace(SMALL, batch_bytes=5_000, uplink=1),
    ],
)
def test_no_point_is_lost_or_made(fleet: Fleet) -> None:
    trace = simulated(fleet, COSTS)
    assert trace.written == trace.stored + trace.everywhere > 0
    assert trace.written == pytest.approx(fleet.robots * fleet.hz * fleet.hours * 3600, rel=0.01)
    assert sum(trace.points) == trace.stored
    assert max(trace.points) <= fleet.capacity
    gone = slice(int(fleet.outage_at * 3600), int(fleet.outage_at * 3600 + 300))
    assert sum(trace.points[gone]) == 0


def test_it_is_the_same_twice() -> None:
    one, two = simulated(SMALL, COSTS), simulated(SMALL, COSTS)
    assert one == two
    assert after_outage(SMALL, one) == after_outage(SMALL, two)
    assert one != simulated(replace(SMALL, seed=8), COSTS)


def test_drawn_pauses_spread_those_who_ask_again() -> None:
    alike = replace(SMALL, linger=0, jitter=False)
    back = int(SMALL.outage_at * 3600 + SMALL.outage_minutes * 60)
    drawn, not_drawn = (
        max(simulated(fleet, COSTS).again[back : back + 120])
        for fleet in (replace(alike, jitter=True), alike)
    )
    assert drawn < not_drawn / 3


def test_a_request_more_seldom_makes_fewer() -> None:
    often, seldom = (simulated(replace(SMALL, linger=linger), COSTS) for linger in (0, 30))
    assert sum(seldom.requests) < sum(often.requests) / 10
    assert seldom.stored > 0.9 * often.stored


def test_the_tables_are_the_arithmetic() -> None:
    rows = dict(steady(Fleet(), COSTS))
    assert rows["points a second"] == "10,000"
    assert rows["requests a second, linger 30 s"] == "333"
    assert rows["bytes a second in"] == "48.0 MB"
    assert dict(pulling(Fleet(), COSTS))["a partial one, every 10 min"] == "228 MB"
