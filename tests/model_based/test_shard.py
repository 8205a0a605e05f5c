"""EdgeShard against a dict: any sequence of operations, reads, rebuilds and reopenings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test

from edge.blocking import EdgeShard
from edge.model import codec
from edge.model.check import CheckedSetCursor
from edge.model.cursor import Cursor, Stage
from edge.model.filter import Filter
from edge.model.request import ShardInfo
from edge.model.schema import KINDS
from edge.model.update import UpdateOperation
from edge.segment.view import ShardView
from edge.store.store import Store, Submission
from tests.disk.simulated import SimulatedStorage
from tests.model_based.drawing import seeds
from tests.model_based.machine import BEGINNING, Options, ReadMachine, options
from tests.model_based.plain_fields import is_in_index

STEPS = 60


class BlockingShard(ReadMachine):
    """The blocking facade: a seal runs in the update that wants it, a rebuild in `optimize`."""

    @initialize(wanted=options, count=st.integers(0, 80), seed=seeds)
    def create(self, wanted: Options, count: int, seed: int) -> None:
        self.shard = EdgeShard.create(self.folder / "shard", wanted.config(BEGINNING))
        self.fill(count, seed)

    def teardown(self) -> None:
        if hasattr(self, "shard"):
            self.shard.close()
        super().teardown()

    @property
    def view(self) -> ShardView:
        return self.shard._opened().view

    def apply(self, operation: UpdateOperation) -> int:
        return self.shard.update(operation)

    def taken(self) -> Callable[[Any], Any]:
        """A view that was taken outlives the shard that it was taken of."""
        return self.stack.enter_context(self.shard.read_view())._answer

    def index_was_created(self) -> None:
        """Here it is built before the call returns."""
        store = self.shard._opened()
        assert store.plan_fields(durable=True) is None
        assert store.plan_fields(durable=False) is None

    @rule()
    def flush(self) -> None:
        self.shard.flush()
        info = self.shard.info()
        assert info.durable_sequence == info.sequence

    @rule()
    def optimize(self) -> None:
        self._optimize()

    @rule()
    def optimize_again(self) -> None:
        """Twice among the rules, because what it does is what this test is about."""
        self._optimize()

    def _optimize(self) -> None:
        done = self.shard.optimize()
        store = self.shard._opened()
        assert store.plan(durable=False) is None
        # what is not sealed yet may have made too small what would be indexed otherwise
        assert not done or store.plan(durable=True) is None
        assert self.shard.optimize() is False
        self.compare_fields(self.view)
        for name in self.model.params:  # now there may be graphs to walk
            self.nearest(name, 1, None, 12, 0, None, exact=False, as_search=False)

    @rule(wanted=st.none() | options)
    def reopen(self, wanted: Options | None) -> None:
        """Settings may change from one opening to the next, which may take an operation; the names
        of vectors may not."""
        before = self.shard.info().sequence
        self.shard.close()
        config = wanted and wanted.config(self.params_to_name(wanted))
        self.shard = EdgeShard.load(self.folder / "shard", config)
        assert self.shard.info().sequence - before in ((0, 1) if wanted else (0,))
        if wanted is not None:
            assert self.view.settings.hnsw["dot"].m == wanted.m
            assert self.view.settings.indexing_threshold == wanted.threshold

    @rule()
    def load_what_a_kill_leaves(self) -> None:
        with EdgeShard.load(self.copied("killed")) as other:
            self.compare(other._opened().view)
            self.compare_fields(other._opened().view)

    @rule()
    def info(self) -> None:
        info: ShardInfo = self.shard.info()
        view = self.view
        assert info.points_count == len(self.model.points)
        assert info.sequence == view.sequence >= info.durable_sequence
        assert info.segments_count == max(1, sum(1 for s in view.segments if s.watermark))
        assert info.deleted_count == sum(s.watermark for s in view.segments) - info.points_count
        assert 0 <= info.indexed_vectors_count <= len(self.model.params) * info.points_count
        assert info.read_only is None
        schema = self.model.schema
        assert {path: each.data_type for path, each in info.payload_schema.items()} == {
            path: KINDS[type(params)] for path, params in schema.items()
        }
        for path, each in info.payload_schema.items():
            assert each.params in (None, schema[path])
            payloads = [point.payload for point in self.model.points.values()]
            assert each.points == sum(is_in_index(p, path, schema[path]) for p in payloads)


class ShardWithOutbox(BlockingShard):
    """All operations are logged by the ids that they are about, and the log is kept from the first
    on: what it says, carried out elsewhere, leaves the points that the model has."""

    @initialize(wanted=options, count=st.integers(0, 80), seed=seeds)
    def create(self, wanted: Options, count: int, seed: int) -> None:
        self.config = wanted.config(BEGINNING)
        self.shard = EdgeShard.create(self.folder / "shard", self.config)
        self.begun = self.view.sequence
        self.shard._opened().set_cursor("elsewhere", Cursor("elsewhere", self.begun, Stage.Log))
        self.fill(count, seed)

    @rule()
    def carry_out_elsewhere(self) -> None:
        """An empty shard with the vectors that this one began with."""
        there = Store.over(SimulatedStorage(), self.config, existing=False)
        for record in self.shard._opened().read_log(None, self.begun + 1):
            logged = codec.decode(record.body)
            if isinstance(logged, CheckedSetCursor):
                continue
            parts = [getattr(logged, part) for part in logged.__struct_fields__]
            assert not any(isinstance(part, Filter) for part in parts)
            (outcome,) = there.commit([Submission(logged)])
            assert isinstance(outcome, int), outcome
        self.compare(there.view)


def test_the_log_of_an_outbox_leaves_elsewhere_what_is_here() -> None:
    run_state_machine_as_test(
        ShardWithOutbox,
        settings=settings(
            max_examples=8,
            stateful_step_count=STEPS,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


def test_the_shard_does_what_the_model_does() -> None:
    run_state_machine_as_test(
        BlockingShard,
        settings=settings(
            stateful_step_count=STEPS, suppress_health_check=list(HealthCheck), print_blob=True
        ),
    )
