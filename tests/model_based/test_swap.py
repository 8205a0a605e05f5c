"""The store's seals and rebuilds, begun, run and finished in any order among any operations."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from edge.disk import manifest
from edge.errors import EdgeError
from edge.model.choice import Memory
from edge.model.query import Direction, OrderBy
from edge.model.schema import (
    DatetimeIndexParams,
    FloatIndexParams,
    IntegerIndexParams,
    KeywordIndexParams,
    TextIndexParams,
)
from edge.model.text import TokenizerType
from edge.model.update import UpdateMode, UpdateOperation
from edge.segment.builder import Built
from edge.segment.view import ShardView
from edge.store.optimization import Job, Plan
from edge.store.store import Store, Submission
from tests.model_based import drawing
from tests.model_based.drawing import IDS, NAMES, seeds
from tests.model_based.drawing_fields import PATHS
from tests.model_based.kinds import CREATED
from tests.model_based.machine import BEGINNING, NAMED, Options, ShardMachine, options

STEPS = 75

reasons = st.sampled_from(["merge", "index", "fields"])


class Begun:
    """A job, and what it built once it has run."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.has_run = False
        self.built: Built | None = None


class SwappingStore(ShardMachine):
    """At most one seal and one rebuild at a time, as the optimizer has them."""

    @initialize(wanted=options, count=st.integers(0, 80), seed=seeds)
    def create(self, wanted: Options, count: int, seed: int) -> None:
        self.begun: dict[str, Begun] = {}
        self.store = Store.create(self.folder / "shard", wanted.config(BEGINNING))
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

    @rule(chosen=st.integers(1, 31), reason=reasons)
    def rebuild(self, chosen: int, reason: str) -> None:
        self._next_moment("rebuild", lambda: self._rebuild_of(chosen, reason))

    @rule(chosen=st.integers(1, 31), reason=reasons)
    def rebuild_more(self, chosen: int, reason: str) -> None:
        self._next_moment("rebuild", lambda: self._rebuild_of(chosen, reason))

    @rule(of_fields=st.booleans())
    def rebuild_by_plan(self, of_fields: bool) -> None:
        self._next_moment("rebuild", self._planned_fields if of_fields else self._planned)

    def _rebuild_of(self, chosen: int, reason: str) -> Job | None:
        """A rebuild of any of the segments that there are, as if a plan had said so."""
        numbers = [view.segment.number for view in self.store.durable.segments]
        some = [number for bit, number in enumerate(numbers) if chosen >> bit & 1] or numbers
        if reason == "fields":  # of one segment, as its plans are
            some = some[:1]
        return self.store.start(Plan(reason, frozenset(some))) if some else None

    def _planned(self) -> Job | None:
        plan = self.store.plan(durable=True)
        return None if plan is None else self.store.start(plan)

    def _planned_fields(self) -> Job | None:
        plan = self.store.plan_fields(durable=True)
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
            if begun.built is not None and begun.job.reason != "index":
                assert begun.built.segment.is_indexed_by(begun.job.schema)
            self.compare_fields(self.view)

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
            self.compare_fields(copy.view)
            assert indexed(copy.durable) == indexed(self.store.durable)
            assert copy.view.sequence == self.view.sequence
        finally:
            copy.close()

    @rule(wanted=st.none() | options)
    def reopen(self, wanted: Options | None) -> None:
        self.begun.clear()
        before = self.store.sequence
        self.store.close()
        config = wanted and wanted.config(self.params_to_name(wanted))
        self.store = Store.load(self.folder / "shard", config)
        assert self.store.sequence - before in ((0, 1) if wanted else (0,))

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


QUICK = Options(10_000, segments=3, threshold=1, share=0.3, memory=Memory.Cold)
ORDERS = sorted({"".join(order) for order in permutations("sssrrr")})
"""Every order of the three moments of a seal and the three of a rebuild."""


@pytest.mark.parametrize(("chosen", "reason"), [(0b01, "index"), (0b11, "merge"), (0b01, "fields")])
@pytest.mark.parametrize("order", ORDERS)
def test_every_order_of_a_seal_and_a_rebuild(order: str, chosen: int, reason: str) -> None:
    """With changes to every segment and of the indexes, a held view and a kill between any two
    moments; and what the jobs left undone is done by those that are planned afterwards."""
    machine = SwappingStore()
    try:
        machine.create(QUICK, count=30, seed=1)
        machine.create_field_index(("when", DatetimeIndexParams()))
        machine.create_field_index(("size", IntegerIndexParams()))
        seal_whole(machine)
        machine.create_field_index(("n", IntegerIndexParams(memory=Memory.Cold)))
        machine.upsert_arrays(130, 30, 2, NAMES, with_payloads=True)
        seal_whole(machine)
        assert len(machine.store.durable.segments) == 2
        for step, moment in enumerate(order):
            change(machine, step)
            change_indexes(machine, step)
            change_names(machine, step)
            machine.hold(None, step, "euclid", OrderBy("n", Direction.Desc), "offers[].price")
            if moment == "s":
                machine.seal()
            else:
                machine.rebuild(chosen, reason)
            change(machine, step + len(order))
            machine.look_again()
            machine.shows_what_the_model_holds()
            machine.load_what_a_kill_leaves()
        assert not machine.begun
        assert leftovers(machine) == []
        finish_whole(machine)
        machine.reopen(QUICK)
        machine.shows_what_the_model_holds()
        assert machine.store.plan(durable=False) is None
        machine.compare_fields(machine.view)
    finally:
        machine.teardown()


def seal_whole(machine: SwappingStore) -> None:
    for _ in range(3):
        machine.seal()


def finish_whole(machine: SwappingStore) -> None:
    """Do all that there is to do, and look whether every index is there and no file left over."""
    seal_whole(machine)
    while machine.store.plan(durable=True) is not None:
        for _ in range(3):
            machine.rebuild_by_plan(of_fields=False)
    assert machine.store.durable.segments
    for part in machine.store.durable.segments:
        assert {path for path in PATHS if part.index(path)} == machine.model.schema.keys()
    assert leftovers(machine) == []


def leftovers(machine: SwappingStore) -> list[str]:
    storage = machine.store.storage
    return manifest.orphans(storage, manifest.load(storage))


def indexed(view: ShardView) -> dict[int, set[str]]:
    """The fields that each built segment has an index of, whoever asks for it."""
    return {part.segment.number: set(part.segment.fields) for part in view.segments}


INDEX_CHANGES: list[tuple[str, Any]] = [
    ("said", TextIndexParams(TokenizerType.Prefix, scoring=True)),
    ("size", None),
    ("when", KeywordIndexParams()),
    ("said", TextIndexParams(scoring=True, phrase_matching=True, memory=Memory.Cold)),
    ("size", FloatIndexParams()),
    ("offers[].price", IntegerIndexParams(nested="offers")),
]
"""A field that gets an index, or loses it, one that gets another, one that gets its own back."""


def change_indexes(machine: SwappingStore, step: int) -> None:
    path, params = INDEX_CHANGES[step]
    if params is None:
        machine.delete_field_index(path, 0, there=False)
    else:
        machine.create_field_index((path, params))


def change_names(machine: SwappingStore, step: int) -> None:
    """One name comes and goes, another goes and comes as something else, one comes anew."""
    for name in [["many"], [], ["new"], ["words", "half"], ["bytes"], ["new"]][step]:
        machine.delete_vector_name(name)
    for number in [[0], [9], [], [11, 5], [7], [3]][step]:
        machine.create_vector_name(CREATED[number])


def change(machine: SwappingStore, step: int) -> None:
    """Delete, replace and edit points of the first segment, of the second and of the tail."""
    machine.delete_points([100 + step, 130 + step, *IDS[step : step + 1]])
    machine.upsert_arrays(114 + step, 1, step, NAMES, with_payloads=False)
    machine.upsert_arrays(144 + step, 1, step, NAMED, with_payloads=True)
    point = (IDS[step + 1], {"": drawing.vector("", step)}, {"n": step}, step)
    machine.upsert([point], UpdateMode.Upsert, None)
    machine.write_payload("set_payload", [113, 143, IDS[step + 1]], {"n": step}, "deep", there=True)
