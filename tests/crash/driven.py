"""A store under test beside its history: scripts of steps, and what recovery owes after each."""

from __future__ import annotations

from collections.abc import Callable

from edge import Durability, EdgeConfig, EdgeError
from edge.disk.storage import Storage
from edge.store.optimization import Job
from edge.store.store import Store, Submission
from tests.crash.history import CREATES, DELETES, History, config, operation
from tests.disk.simulated import Image, SimulatedStorage

STEPS = "uaifsocxd"
"""update, update durably, sync as the interval does, flush, seal, optimize, close and load, create
the next index, drop the one that was created first of those that are there."""


def loaded(image: Image) -> Store:
    """The shard that the image holds, opened in a storage of its own."""
    return Store.over(SimulatedStorage(image), None, existing=True)


class Driven:
    """Drives a store. `durable` is the last sequence that must survive a power cut."""

    def __init__(self, storage: Storage, options: EdgeConfig | None = None) -> None:
        self.storage = storage
        self.history = History()
        self.durable = 0
        self.number = 0
        self.created = 0
        self.dropped = 0
        self.store = Store.over(storage, options or config(), existing=False)

    def run(self, script: str) -> None:
        for step in script:
            self._doing[step](self)

    def update(self, durability: Durability | None = None) -> None:
        self.number += 1
        self._carry_out(self.number, durability)

    def create_index(self) -> None:
        self.created += 1
        self._carry_out(CREATES + self.created - 1)

    def drop_index(self) -> None:
        self.dropped += 1
        self._carry_out(DELETES + self.dropped - 1)

    def _carry_out(self, number: int, durability: Durability | None = None) -> None:
        expected = self.history.carry_out(number)
        outcome = self.store.commit([Submission(operation(number), durability)])[0]
        if isinstance(outcome, EdgeError):
            raise outcome
        assert outcome == expected

    def update_durably(self) -> None:
        self.update(Durability.Always)
        self._all_durable()

    def sync(self) -> None:
        self.store.sync()
        self._all_durable()

    def flush(self) -> None:
        self.store.flush()
        self._all_durable()

    def seal(self) -> None:
        job = self.store.seal()
        if job is not None and self.store.sealing is not None:
            # a new log file was begun, now or by a seal that failed, after the old one was synced
            self.durable = max(self.durable, self.store.sealing.sequence)
            self.carry_out(job)

    def optimize(self) -> None:
        self.seal()
        while (plan := self.store.plan(durable=True)) is not None:
            self.carry_out(self.store.start(plan))

    def carry_out(self, job: Job) -> None:
        self.store.finish(job, job.run(self.store.storage, lambda share: None))

    def reopen(self) -> None:
        self.store.close()
        self._all_durable()
        self.store = Store.over(self.storage, None, existing=True)

    def _all_durable(self) -> None:
        self.durable = self.history.sequence

    _doing: dict[str, Callable[[Driven], None]] = {  # noqa: RUF012
        "u": update,
        "a": update_durably,
        "i": sync,
        "f": flush,
        "s": seal,
        "o": optimize,
        "c": reopen,
        "x": create_index,
        "d": drop_index,
    }

    def check(self, image: Image) -> int:
        """What loads from `image` is one state, none older than the last durable one."""
        sequence = self.history.check(loaded(image).view)
        assert sequence >= self.durable, "a durable operation is lost"
        return sequence

    def check_goes_on(self, image: Image, number: int) -> None:
        """As `check`; and the shard then takes operations, seals, closes and loads again."""
        storage = SimulatedStorage(image)
        again = Driven.__new__(Driven)
        again.__dict__ = {**self.__dict__, "storage": storage, "history": History()}
        again.store = Store.over(storage, None, existing=True)
        again.history.states = self.history.states[: again.store.sequence + 1]
        again.number = number
        again.run("uasuoc")
        again.history.asked = number
        again.history.check(again.store.view)
