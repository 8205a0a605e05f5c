"""A fleet that pushes to one server, as a simulation: events are taken slot by slot, for all robots
at once.

Invariants
- What robots have written is stored or waits: nothing is made or lost on the way.
- A robot has one request on its way at most, and asks again after the pauses of `edge.sync`.
- The server works off what it has taken in, in order, at one speed. What would have to wait for
  longer than `Server.patience` is refused; what was taken in is carried out, also where the robot
  has given up on it.
- The same seed gives the same run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from inspect import signature
from math import inf, log
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.sync import Push, Retries

Floats = NDArray[np.float64]
Places = NDArray[np.intp]

SLOT: Final = 0.25
"""Seconds: no event is known more exactly."""
TIMEOUT: Final[float] = signature(Push).parameters["timeout"].default
_RETRIES: Final = Retries(attempts=None)


@dataclass(frozen=True)
class Fleet:
    """Robots that write `hz` sightings a second each.

    At any time the share `offline` has no network; outages last from `shortest` to `longest`
    seconds, their logarithm is uniform. After a request that was not full they wait for `linger`
    seconds.
    """

    robots: int = 10_000
    hz: float = 1.0
    offline: float = 0.05
    shortest: float = 600.0
    longest: float = 8 * 3600.0
    linger: float = 0.0

    @property
    def outage(self) -> float:
        """The mean length of an outage, in seconds."""
        return (self.longest - self.shortest) / log(self.longest / self.shortest)


@dataclass(frozen=True)
class Sending:
    """How a robot sends: at most `most` sightings a request, of `head_bytes` and `op_bytes` each,
    over a line of `latency` seconds there and back and `uplink` bytes a second; the pauses are
    those of `Retries`, after `timeout` seconds a request has failed."""

    most: int
    head_bytes: float
    op_bytes: float
    latency: float = 0.1
    uplink: float = 1e6
    timeout: float = TIMEOUT
    first: float = _RETRIES.first
    longest: float = _RETRIES.longest
    jitter: bool = True

    def pauses(self, failures: NDArray[np.int64], rng: np.random.Generator) -> Floats:
        """Return the seconds to wait after so many failures in a row, as `Retries.pause` does."""
        whole = np.minimum(self.longest, self.first * 2.0 ** np.minimum(failures - 1, 60))
        return whole * rng.uniform(0.5, 1.0, len(whole)) if self.jitter else whole


@dataclass(frozen=True)
class Server:
    """A cluster as a whole: `speed` sightings a second; what would wait for more than `patience`
    seconds is refused (inf: nothing is). It is down for `down` seconds from the beginning on."""

    speed: float
    patience: float = 10.0
    down: float = 0.0


@dataclass
class Trace:
    """What happened, slot by slot, and where it ended.

    `requests` reached the server, `refused` are those of them that it did not take in; `stored` are
    sightings that it said it has, `nbytes` came in, `waiting` are sightings in the robots' logs at
    the slot's end. `written`: all sightings there ever were. `given_up`: of
    requests that a robot waited for too long; they are carried out, and sent again.
    """

    slots: int
    requests: Floats = field(init=False)
    refused: Floats = field(init=False)
    stored: Floats = field(init=False)
    nbytes: Floats = field(init=False)
    waiting: Floats = field(init=False)
    written: int = 0
    given_up: int = 0

    def __post_init__(self) -> None:
        for name in ("requests", "refused", "stored", "nbytes", "waiting"):
            setattr(self, name, np.zeros(self.slots))

    def a_second(self, what: Floats, after: float = 0.0) -> Floats:
        """Return sums of whole seconds, from `after` seconds on."""
        per = round(1 / SLOT)
        kept = what[round(after / SLOT) :]
        sums: Floats = kept[: len(kept) // per * per].reshape(-1, per).sum(axis=1)
        return sums

    def drained(self, after: float, least: float) -> float:
        """Return the seconds from `after` until at most `least` sightings wait; inf: never."""
        at = np.flatnonzero(self.waiting[round(after / SLOT) :] <= least)
        return float(at[0] + 1) * SLOT if len(at) else inf


def simulate(fleet: Fleet, sending: Sending, server: Server, seconds: float, seed: int) -> Trace:
    """Run the fleet for so many seconds; it begins in the middle of its life."""
    run = _Run(fleet, sending, server, Trace(round(seconds / SLOT)), np.random.default_rng(seed))
    for slot in range(run.trace.slots):
        run.step(slot)
    return run.trace


class _Run:
    """All robots, an array for each thing that is known of them."""

    def __init__(
        self,
        fleet: Fleet,
        sending: Sending,
        server: Server,
        trace: Trace,
        rng: np.random.Generator,
    ) -> None:
        self.fleet, self.sending, self.server = fleet, sending, server
        self.trace, self.rng = trace, rng
        count = fleet.robots
        self.online = rng.random(count) >= fleet.offline
        # that an outage is met is the likelier the longer it is
        lengths = rng.uniform(fleet.shortest, fleet.longest, count)
        gone = lengths * rng.random(count)
        self.turns = np.where(self.online, self._online_times(count), lengths - gone)
        self.waiting = np.where(self.online, 0, gone * fleet.hz).astype(np.int64)
        self.trace.written = int(self.waiting.sum())
        self.phase = rng.random(count)
        self.written = np.zeros(count, np.int64)
        self.flight = np.zeros(count, np.int64)
        self.ends = np.zeros(count)
        self.is_late = np.zeros(count, np.bool_)
        self.failures = np.zeros(count, np.int64)
        self.due = rng.random(count) * max(fleet.linger, 1 / fleet.hz)
        self.free = 0.0
        self.was_up = True

    def _online_times(self, count: int) -> Floats:
        fleet = self.fleet
        if not fleet.offline:
            return np.full(count, inf)
        mean = fleet.outage * (1 - fleet.offline) / fleet.offline
        return self.rng.exponential(mean, count)

    def step(self, slot: int) -> None:
        """One slot: sightings, outages, answers, requests."""
        now = slot * SLOT
        is_up = now >= self.server.down
        self._write(now + SLOT)
        self._turn(now)
        if self.was_up and not is_up:
            self._fail(np.flatnonzero(self.flight > 0), now)
        if is_up and not self.was_up:
            self.free = now
        self.was_up = is_up
        self._answers(slot, now)
        asking = np.flatnonzero((self.flight == 0) & (self.due <= now) & (self.waiting > 0))
        reaching = self.online[asking] & is_up
        self._fail(asking[~reaching], now)
        self._take_in(slot, now, self.rng.permutation(asking[reaching]))
        self.trace.waiting[slot] = self.waiting.sum()

    def _write(self, until: float) -> None:
        written = (until * self.fleet.hz + self.phase).astype(np.int64)
        new = written - self.written
        self.waiting += new
        self.trace.written += int(new.sum())
        self.written = written

    def _turn(self, now: float) -> None:
        """Robots lose or find their network; not while a request is on its way."""
        turning = np.flatnonzero((self.turns <= now) & (self.flight == 0))
        if not len(turning):
            return
        fleet = self.fleet
        self.online[turning] ^= True
        lengths = np.exp(self.rng.uniform(log(fleet.shortest), log(fleet.longest), len(turning)))
        stay = np.where(self.online[turning], self._online_times(len(turning)), lengths)
        self.turns[turning] = now + stay

    def _fail(self, robots: Places, now: float | Floats) -> None:
        self.failures[robots] += 1
        self.due[robots] = now + self.sending.pauses(self.failures[robots], self.rng)
        self.flight[robots] = 0

    def _answers(self, slot: int, now: float) -> None:
        ended = np.flatnonzero((self.flight > 0) & (self.ends <= now))
        late = ended[self.is_late[ended]]
        self.trace.given_up += int(self.flight[late].sum())
        self._fail(late, self.ends[late])
        done = ended[~self.is_late[ended]]
        sent = self.flight[done]
        self.waiting[done] -= sent
        self.trace.stored[slot] = sent.sum()
        self.flight[done] = 0
        self.failures[done] = 0
        pause = np.where(sent < self.sending.most, self.fleet.linger, 0.0)
        self.due[done] = self.ends[done] + pause

    def _take_in(self, slot: int, now: float, asking: Places) -> None:
        """The server takes in requests, in this order, as far as its patience goes."""
        sending, server = self.sending, self.server
        sizes = np.minimum(self.waiting[asking], sending.most)
        nbytes = sending.head_bytes + sending.op_bytes * sizes
        self.trace.requests[slot] = len(asking)
        self.trace.nbytes[slot] = nbytes.sum()
        worked = max(self.free, now) + np.cumsum(sizes) / server.speed
        taken = int(np.searchsorted(worked, now + server.patience, "right"))
        self.trace.refused[slot] = len(asking) - taken
        self._fail(asking[taken:], now)
        robots = asking[:taken]
        if not taken:
            return
        self.free = worked[taken - 1]
        answered = worked[:taken] + sending.latency + nbytes[:taken] / sending.uplink
        latest = now + sending.timeout
        self.flight[robots] = sizes[:taken]
        self.is_late[robots] = answered > latest
        self.ends[robots] = np.minimum(answered, latest)
