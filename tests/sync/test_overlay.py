"""Own points over another shard's: against a dict of each, in every order of touching, adopting and
leaving."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.actors.feed import Change
from edge.errors import ValidationError
from edge.model.config import EdgeConfig
from edge.model.filter import FieldCondition, Filter, MatchValue
from edge.model.mark import Mark
from edge.model.point import Point
from edge.model.query import Query
from edge.model.request import CountRequest, QueryRequest, ScrollRequest
from edge.model.schema import PayloadSchemaType
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams
from edge.query.answer import answer
from edge.segment.view import ShardView
from edge.store.store import Store, Submission
from edge.sync import changing
from edge.sync.overlay import Overlay, Views, check_same, hidden, leaving
from edge.sync.touched import Touched
from tests.crash.driven import loaded
from tests.disk.simulated import SimulatedStorage

SIZE = 2
ALL = 1000
CONFIG = EdgeConfig(vectors=EdgeVectorParams(SIZE, Distance.Euclid))
Points = dict[int, tuple[list[float], dict[str, Any]]]


class Two:
    """Two stores, what they should hold, and the overlay that is tried."""

    def __init__(self) -> None:
        self.own = Store.over(SimulatedStorage(), CONFIG, existing=False)
        self.base = Store.over(SimulatedStorage(), CONFIG, existing=False)
        self.own.is_followed = True
        self.overlay = Overlay(0)
        self.points: Points = {}
        self.touched: dict[int, int] = {}
        self.server: Points = {}
        self.adopted: Points = {}
        self.fetched: Views = ()
        changing.first_cut(self.own)

    def close(self) -> None:
        self.own.close()
        self.base.close()

    def commit(self, operation: UpdateOperation, mark: Mark | None = None) -> int:
        (sequence,) = self.own.commit([Submission(operation, None, mark)])
        assert isinstance(sequence, int), sequence
        self._note()
        return sequence

    def _note(self) -> None:
        for change in self.own.take_changes():
            self.overlay.put(Change(*change))

    def upsert(self, id: int, number: int) -> None:
        point = ([float(number), 0.0], {"n": number})
        sequence = self.commit(UpdateOperation.upsert_points([Point(id, *point)]))
        self.points[id] = point
        self.touched[id] = sequence

    def delete(self, id: int, number: int) -> None:
        mark = Mark("robot", 0, self.own.sequence + 1)  # logged also where nothing is there
        sequence = self.commit(UpdateOperation.delete_points([id]), mark)
        self.points.pop(id, None)
        self.touched[id] = sequence

    def serve(self, id: int, number: int) -> None:
        """The server gets a point by somebody else."""
        self.server[id] = ([float(number), 1.0], {"n": number})
        operation = UpdateOperation.upsert_points([Point(id, *self.server[id])])
        self.base.commit([Submission(operation)])

    def unserve(self, id: int, number: int) -> None:
        self.server.pop(id, None)
        self.base.commit([Submission(UpdateOperation.delete_points([id]))])

    def pull(self, cut: int, crash_after: str = "") -> None:
        """The server gets all own operations up to the cut, and what it has then is adopted; or
        the process ends after one of the steps."""
        for id, sequence in self.touched.items():
            if self.overlay.cut < sequence <= cut:
                self._hand_over(id)
        self.fetched = self.base.view.segments
        self.adopted = dict(self.server)
        if crash_after == "fetch":
            return self.crash()
        changing.move_cut(cut, self.own)
        self._note()
        self.touched = {id: at for id, at in self.touched.items() if at > cut}
        self.points = {id: point for id, point in self.points.items() if id in self.touched}
        if crash_after == "move":
            return self.crash()
        self.adopt(cut)

    def adopt(self, cut: int) -> None:
        with self.overlay.adopting(cut) as kept:
            self.overlay.adopt(hidden(self.fetched, kept), cut)

    def crash(self) -> None:
        """The own shard is killed and opened again; of the base there is what was fetched last."""
        self.own = loaded(self.own.storage.image())
        self.own.is_followed = True
        cut = changing.first_cut(self.own)
        self.overlay = Overlay(cut)
        for sequence, touch in changing.log_after(cut, self.own)():
            self.overlay.note(sequence, touch)
        self.adopt(cut)

    def _hand_over(self, id: int) -> None:
        if id in self.points:
            self.server[id] = self.points[id]
            operation = UpdateOperation.upsert_points([Point(id, *self.points[id])])
            self.base.commit([Submission(operation)])
        else:
            self.unserve(id, 0)

    def leave(self) -> None:
        while changing.take_away(self.overlay.cut, self.own):
            pass
        self._note()
        self.overlay.is_leaving = False
        assert len(leaving(self.own.view, self.overlay.cut)) == 0

    @property
    def view(self) -> ShardView:
        return self.overlay.over(self.own.view)

    @property
    def expected(self) -> Points:
        seen = {id: point for id, point in self.adopted.items() if id not in self.touched}
        return seen | self.points

    def check(self) -> None:
        records, _ = answer(self.view, ScrollRequest(limit=ALL, with_vector=True))
        found = {record.id: (record.vector, record.payload) for record in records}
        assert len(found) == len(records), "an id is seen once"
        assert found == self.expected
        assert answer(self.view, CountRequest()) == len(self.expected)
        nearest = answer(self.view, QueryRequest(query=Query.Nearest([0.0, 0.0]), limit=ALL))
        distances = {id: math.hypot(*vector) for id, (vector, _) in self.expected.items()}
        assert [(hit.id, pytest.approx(hit.score)) for hit in nearest] == sorted(
            distances.items(), key=lambda item: (item[1], item[0])
        )


@pytest.fixture
def two() -> Iterator[Two]:
    two = Two()
    yield two
    two.close()


IDS = st.integers(0, 5)
STEPS = st.one_of(
    st.tuples(st.sampled_from(["upsert", "delete", "serve", "unserve"]), IDS),
    st.tuples(st.sampled_from(["pull", "pull, fetch", "pull, move"]), st.integers(0, 4)),
    st.tuples(st.sampled_from(["leave", "seal", "crash"]), st.just(0)),
)


@given(steps=st.lists(STEPS, max_size=30))
@settings(max_examples=60)
def test_what_is_seen_is_the_servers_with_what_it_does_not_hold_yet(
    steps: list[tuple[str, int]],
) -> None:
    two = Two()
    for number, (what, argument) in enumerate(steps):
        if what.startswith("pull"):  # of late operations some are not handed over yet
            cut = max(two.overlay.cut, two.own.sequence - argument)
            two.pull(cut, crash_after=what.removeprefix("pull").removeprefix(", "))
        elif what in ("leave", "crash"):
            getattr(two, what)()
        elif what == "seal":
            if job := two.own.seal():
                two.own.finish(job, job.run(two.own.storage, lambda share: None))
        else:
            getattr(two, what)(argument, number)
        two.check()
    two.close()


def test_a_view_that_is_held_stays_as_it_is(two: Two) -> None:
    two.serve(1, 10)
    two.serve(2, 20)
    two.pull(0)
    held, before = two.view, two.expected
    two.upsert(1, 11)
    two.delete(2, 0)
    two.pull(two.own.sequence)
    two.leave()
    records, _ = answer(held, ScrollRequest(limit=ALL, with_vector=True))
    assert {record.id: (record.vector, record.payload) for record in records} == before


def test_the_same_views_are_laid_over_each_other_once(two: Two) -> None:
    two.serve(1, 10)
    two.pull(0)
    first = two.view
    assert two.view is first
    two.upsert(2, 1)
    assert two.view is not first
    assert two.view.segments[0] is first.segments[0], "nothing of it was hidden"


def test_what_is_touched_while_another_is_adopted_is_hidden_there(two: Two) -> None:
    two.serve(1, 10)
    two.serve(2, 20)
    with two.overlay.adopting(0) as kept:
        two.upsert(1, 11)
        below = hidden(two.base.view.segments, kept)
        two.delete(2, 0)
        two.overlay.adopt(below, 0)
    two.adopted = dict(two.server)
    two.check()


def test_many_ids_are_hidden_as_they_come(two: Two) -> None:
    ids = np.arange(10_000)
    vectors = np.ones((len(ids), SIZE), np.float32)
    upsert = Submission(UpdateOperation.upsert_arrays(ids, vectors))
    two.base.commit([upsert])
    two.pull(0)
    two.commit(UpdateOperation.upsert_arrays(ids[:9000] + 500, vectors[:9000]))
    assert sum(view.live_count for view in two.overlay.below) == 1000
    assert answer(two.view, CountRequest()) == 10_000


def test_indexed_fields_are_those_of_the_own_shard(two: Two) -> None:
    two.serve(1, 10)
    two.pull(0)
    index = UpdateOperation.create_field_index("n", PayloadSchemaType.Integer)
    two.commit(index)
    two.upsert(2, 10)
    assert list(two.view.schema) == ["n"]
    matching = Filter(must=[FieldCondition("n", match=MatchValue(10))])
    assert answer(two.view, CountRequest(filter=matching)) == 2


def test_vectors_go_by_name_whenever_they_were_made(two: Two) -> None:
    two.own.commit([Submission(UpdateOperation.upsert_points([Point(9, [1.0, 1.0])]))])
    for store in (two.own, two.base):
        create = UpdateOperation.create_dense_vector("words", 3, Distance.Dot)
        store.commit([Submission(create)])
    assert two.own.view.names["words"] != two.base.view.names["words"]
    point = Point(1, {"words": [1.0, 2.0, 3.0]})
    two.base.commit([Submission(UpdateOperation.upsert_points([point]))])
    two.overlay.adopt(two.base.view.segments, 0)
    nearest = Query.Nearest([1.0, 0.0, 0.0], using="words")
    (hit,) = answer(two.view, QueryRequest(query=nearest, limit=9, with_vector=True))
    assert (hit.id, hit.score, hit.vector) == (1, 1.0, {"words": [1.0, 2.0, 3.0]})


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (EdgeConfig(vectors=EdgeVectorParams(3, Distance.Euclid)), "expected size 2"),
        (EdgeConfig(vectors=EdgeVectorParams(2, Distance.Dot)), "expected distance"),
        (EdgeConfig(vectors={"b": EdgeVectorParams(2, Distance.Dot)}), "on the server"),
    ],
)
def test_shards_of_other_vectors_are_refused(other: EdgeConfig, message: str) -> None:
    check_same(CONFIG, CONFIG)
    with pytest.raises(ValidationError, match=message):
        check_same(CONFIG, other)


@given(
    steps=st.lists(
        st.tuples(st.lists(st.integers(0, 20), min_size=1, max_size=5), st.booleans()), max_size=40
    )
)
def test_touched_is_a_dict_by_id(steps: list[tuple[list[int], bool]]) -> None:
    touched, model, cut = Touched(), dict[int, int](), 0
    for sequence, (ids, cuts) in enumerate(steps, start=1):
        rows = np.zeros((len(ids), 3), np.uint64)
        rows[:, 2] = ids
        touched.add(sequence, rows)
        model |= dict.fromkeys(ids, sequence)
        if cuts:
            cut = sequence - 2
            touched.cut(cut)
            model = {id: at for id, at in model.items() if at > cut}
            assert len(touched) == len(model)
        found = [int(row[2]) for row in touched.after(cut)]
        assert sorted(found) == sorted(id for id, at in model.items() if at > cut)


def test_touched_does_not_grow_by_what_is_touched_again() -> None:
    touched, rows = Touched(), np.zeros((100, 3), np.uint64)
    rows[:, 2] = np.arange(100)
    for sequence in range(1, 500):
        touched.add(sequence, rows)
    assert len(touched) < 2000
    assert len(touched.after(0)) == 100
