"""The store's seals and rebuilds, begun, run and finished in any order among any operations."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from edge.errors import EdgeError
from edge.model.config import EdgeConfig
from edge.model.update import UpdateOperation
from edge.segment.builder import Built
from edge.segment.view import ShardView
from edge.store.optimization import Job, Plan
from edge.store.store import Store, Submission
from tests.model_based.drawing import seeds
from tests.model_based.machine import ShardMachine, configs

STEPS = 65


class Begun:
    """A job, and what it built once it has run."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.has_run = False
        self.built: Built | None = None


class SwappingStore(ShardMachine):
    """At most one seal and one rebuild at a time, as the optimizer has them."""

    @initialize(config=configs, count=st.integers(0, 80), seed=seeds)
    def create(self, config: EdgeConfig, count: int, seed: int) -> None:
        self.begun: dict[str, Begun] = {}
        self.store = Store.create(self.folder / "shard", config)
        self.fill(count, seed)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
        super().teardown()

    @property
    def view(self) -> ShardView:
        return self.store.view

    def apply(self, operation: UpdateOperation) -> int:
        [outcome] = self.store.commit([Submission(operation)])
        if isinstance(outcome, EdgeError):
            raise outcome
        return outcome

    # -- jobs: each goes through three moments, begun, run and finished

    @rule()
    def seal(self) -> None:
        self._next_moment("seal", self.store.seal)

    @rule()
    def seal_more(self) -> None:
        """Twice among the rules, as `rebuild` is: a job takes three of them."""
        self._next_moment("seal", self.store.seal)

    @rule(chosen=st.integers(1, 31), reason=st.sampled_from(["merge", "index"]))
    def rebuild(self, chosen: int, reason: str) -> None:
        self._next_moment("rebuild", lambda: self._rebuild_of(chosen, reason))

    @rule(chosen=st.integers(1, 31), reason=st.sampled_from(["merge", "index"]))
    def rebuild_more(self, chosen: int, reason: str) -> None:
        self._next_moment("rebuild", lambda: self._rebuild_of(chosen, reason))

    @rule()
    def rebuild_by_plan(self) -> None:
        self._next_moment("rebuild", self._planned)

    def _rebuild_of(self, chosen: int, reason: str) -> Job | None:
        """A rebuild of any of the segments that there are, as if a plan had said so."""
        numbers = [view.segment.number for view in self.store.durable.segments]
        some = [number for bit, number in enumerate(numbers) if chosen >> bit & 1] or numbers
        return self.store.start(Plan(reason, frozenset(some))) if some else None

    def _planned(self) -> Job | None:
        plan = self.store.plan(durable=True)
        return None if plan is None else self.store.start(plan)

    def _next_moment(self, kind: str, begin: Callable[[], Job | None]) -> None:
        begun = self.begun.get(kind)
        if begun is None:
            job = begin()
            if job is not None:
                self.begun[kind] = Begun(job)
        elif not begun.has_run:
            begun.built = begun.job.run(self.store.storage, lambda done: None)
            begun.has_run = True
        else:
            del self.begun[kind]
            self.store.finish(begun.job, begun.built)

    @precondition(lambda self: self.begun)
    @rule()
    def give_up(self) -> None:
        """Jobs may be left at any moment: a seal is asked for again, a rebuild planned again."""
        self.begun.clear()

    # -- what a reader of the folder finds

    @rule()
    def load_what_a_kill_leaves(self) -> None:
        copy = Store.load(self.copied("killed"))
        try:
            self.compare(copy.view)
            assert copy.view.sequence == self.view.sequence
        finally:
            copy.close()

    @rule(config=configs)
    def reopen(self, config: EdgeConfig) -> None:
        self.begun.clear()
        before = self.store.sequence
        self.store.close()
        self.store = Store.load(self.folder / "shard", config)
        assert self.store.sequence == before

    @rule()
    def flush(self) -> None:
        self.store.flush()
        assert self.store.synced == self.store.sequence


def test_swaps_lose_nothing_in_any_order() -> None:
    run_state_machine_as_test(
        SwappingStore,
        settings=settings(
            stateful_step_count=STEPS, suppress_health_check=list(HealthCheck), print_blob=True
        ),
    )
