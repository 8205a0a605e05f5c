"""kill -9 at any moment of update, flush, optimize, seal, swap and open, in a real process.

Every acknowledged operation is there afterwards; the state is that after operations 1..k, without
a hole; and the next process goes on from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from time import monotonic
from typing import NamedTuple

import pytest

from edge.store.store import Store
from tests.crash.history import QUESTIONS, History
from tests.crash.template import Template

CYCLES = 25
MOST_CYCLES = 150
STAGES = ("open", "update", "flush", "optimize", "rebuild", "seal", "swap")
AT_LEAST = 2
"""How many deaths each of STAGES must have seen before the test is content."""

CHECKPOINT = 3_000
DURABILITIES = ("Always", "Interval", "Os")
LOAD_SECONDS = 2.0


class Moment(NamedTuple):
    """When to kill: the child has told `after` things, and then that it begins `stage` (if not
    None; a stage that does not come is not waited for without end), and `delay` seconds passed."""

    after: int
    stage: str | None
    delay: float

    def has_come(self, told: list[str]) -> bool:
        if len(told) < self.after:
            return False
        patience = len(told) - self.after > 400
        return self.stage is None or patience or told[-1].startswith(f"begin {self.stage}")


def moment(random: Random) -> Moment:
    if random.random() < 0.1:
        return Moment(1, "open", random.uniform(0, 0.006))
    stage = random.choice([None, *STAGES[1:]])
    return Moment(random.randint(2, 120), stage, random.choice((0.0, random.uniform(0, 0.002))))


class Death(NamedTuple):
    """What a killed child had told: which operations it began, which were acknowledged with what
    sequence, and the stages that it was in."""

    begun: list[int]
    acknowledged: dict[int, int]
    stages: set[str]


def _death(told: list[str]) -> Death:
    begun: list[int] = []
    acknowledged: dict[int, int] = {}
    inside: Counter[str] = Counter()
    for line in told:
        what, stage, *numbers = line.split()
        inside[stage] += 1 if what == "begin" else -1
        if stage == "update" and what == "begin":
            begun.append(int(numbers[0]))
        elif stage == "update":
            acknowledged[int(numbers[0])] = int(numbers[1])
    return Death(begun, acknowledged, {stage for stage, count in inside.items() if count})


@pytest.fixture(scope="module")
def robot() -> Iterator[Template]:
    robot = Template("tests.crash.robot")
    yield robot
    robot.stop()


def check(history: History, death: Death, path: Path) -> Store:
    """Load what the death left, and hold it against the history, which then ends there."""
    first = history.sequence
    expected = {number: history.carry_out(number) for number in death.begun}
    assert death.begun == sorted(death.begun)
    assert death.acknowledged.items() <= expected.items(), "an acknowledgement names another state"
    start = monotonic()
    store = Store.load(path)
    assert monotonic() - start < LOAD_SECONDS
    found = history.check(store.view, questions=len(QUESTIONS))
    assert found >= max([first, *death.acknowledged.values()]), "an acknowledged update is lost"
    history.forget_after(found)
    return store


@pytest.mark.parametrize("facade", ["blocking", "async"])
def test_nothing_acknowledged_is_lost(facade: str, robot: Template, tmp_path: Path) -> None:
    random = Random(facade)
    history = History()
    deaths: Counter[str] = Counter()
    number = 1
    cycle = 0
    while cycle < CYCLES or any(deaths[stage] < AT_LEAST for stage in STAGES):
        assert cycle < MOST_CYCLES, f"not every stage was hit: {deaths}"
        order = {
            "path": str(tmp_path / "shard"),
            "number": number,
            "facade": facade,
            "seed": random.randrange(2**32),
            "durability": DURABILITIES[cycle % 3],
            "checkpoint": CHECKPOINT,
        }
        # the first child must have made the shard, or there is nothing to be loaded
        when = moment(random) if cycle else Moment(3, "update", 0.0)
        death = _death(robot.run_and_kill(order, when.has_come, when.delay))
        deaths.update(death.stages or {"between"})
        number = max([number, *death.begun]) + 1
        store = check(history, death, tmp_path / "shard")
        if cycle % 2:
            store.close()
        else:
            store.storage.unlock()  # read only: the next child finds what the dead one left
        cycle += 1
    assert history.sequence > 10 * CYCLES
