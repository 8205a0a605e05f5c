"""Cursors in the store: exact after any crash, and what they keep from being dropped."""

from __future__ import annotations

from random import Random

import pytest

from edge.disk.log_reader import LogReader
from edge.disk.storage import Writer
from edge.errors import EdgeError, LimitExceeded, StorageFull
from edge.model import codec, cursor
from edge.model.check import CheckedNothing
from edge.model.config import Durability, EdgeConfig
from edge.model.cursor import Cursor, Stage, moved
from edge.model.filter import FieldCondition, Filter, MatchValue
from edge.model.mark import Mark
from edge.model.point import Point
from edge.model.request import QueryRequest
from edge.model.update import UpdateMode, UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams
from edge.query.answer import answer
from edge.store.store import Store, Submission
from tests.crash.driven import Driven, loaded
from tests.disk.simulated import Image, SimulatedStorage, SimulatedWriter

CONFIG = EdgeConfig(EdgeVectorParams(2, Distance.Dot), checkpoint_bytes=2_000)


def new(storage: SimulatedStorage | None = None) -> Store:
    return Store.over(storage or SimulatedStorage(), CONFIG, existing=False)


def again(store: Store) -> Store:
    """What a kill leaves, opened."""
    assert isinstance(store.storage, SimulatedStorage)
    return loaded(store.storage.image())


def put(store: Store, number: int, **payload: object) -> int:
    point = Point(number, [1.0, 2.0], {"n": number, **payload})
    return done(store, UpdateOperation.upsert_points([point]))


def done(store: Store, operation: UpdateOperation, mark: Mark | None = None) -> int:
    (outcome,) = store.commit([Submission(operation, mark=mark)])
    if isinstance(outcome, EdgeError):
        raise outcome
    return outcome


def sealed(store: Store) -> None:
    job = store.seal()
    assert job is not None
    store.finish(job, job.run(store.storage, lambda share: None))


def place(name: str, sequence: int, most_bytes: int | None = None) -> Cursor:
    return Cursor(name, sequence, Stage.Log, None, most_bytes)


def numbers(reader: LogReader) -> list[int]:
    return [record.sequence for record in reader]


# -- where they are


@pytest.mark.parametrize("seals", [False, True])
def test_cursors_are_there_after_a_crash(seals: bool) -> None:
    store = new()
    put(store, 1)
    store.set_cursor("a", place("a", 1))
    store.set_cursor("b", Cursor("b", 1, Stage.View, (0, 0, 9)))
    put(store, 2)
    store.set_cursor("a", place("a", 4))
    if seals:
        sealed(store)
    expected = {"a": place("a", 4), "b": Cursor("b", 1, Stage.View, (0, 0, 9))}
    assert store.view.cursors == expected
    loaded_again = again(store)
    assert loaded_again.view.cursors == expected
    loaded_again.set_cursor("a", None)
    assert again(loaded_again).view.cursors == {"b": expected["b"]}


def test_a_cursor_that_stays_where_it_is_costs_no_record() -> None:
    store = new()
    first = store.set_cursor("a", place("a", 0))
    assert store.set_cursor("a", place("a", 0)) == first
    assert store.set_cursor("nobody", None) == first


def test_one_cursor_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cursor, "MAX_CURSORS", 2)
    store = new()
    store.set_cursor("a", place("a", 0))
    store.set_cursor("b", place("b", 0))
    with pytest.raises(LimitExceeded):
        store.set_cursor("c", place("c", 0))
    assert set(store.view.cursors) == {"a", "b"}


def test_followers_see_the_number_and_no_cursor() -> None:
    store = new()
    store.is_followed = True
    put(store, 1)
    sequence = store.set_cursor("a", place("a", 1))
    put(store, 2)
    changes = store.take_changes()
    assert [number for number, _ in changes] == [1, sequence, 3]
    assert codec.decode(changes[1][1]) == CheckedNothing()


# -- what is logged while there is one


def in_room(room: str) -> Filter:
    return Filter(must=[FieldCondition("room", match=MatchValue(room))])


OPERATIONS = [
    UpdateOperation.set_payload_by_filter(in_room("hall"), {"seen": 1}),
    UpdateOperation.overwrite_payload_by_filter(in_room("hall"), {"room": "hall"}),
    UpdateOperation.delete_payload_by_filter(in_room("hall"), ["n"]),
    UpdateOperation.upsert_points([Point(1, [0.0, 0.0]), Point(9, [1.0, 1.0])], in_room("attic")),
    UpdateOperation.upsert_points(
        [Point(2, [0.0, 0.0]), Point(8, [1.0, 1.0])], update_mode=UpdateMode.InsertOnly
    ),
    UpdateOperation.delete_vectors_by_filter(in_room("hall"), [""]),
    UpdateOperation.clear_payload_by_filter(in_room("hall")),
    UpdateOperation.delete_points_by_filter(Filter()),
]


def filled() -> Store:
    store = new()
    for number in range(6):
        put(store, number, room="hall" if number % 2 else "kitchen")
    return store


def test_the_log_names_the_points_while_somebody_is_to_read_it() -> None:
    plain, pushed = filled(), filled()
    pushed.set_cursor("a", place("a", 6))
    for operation in OPERATIONS:
        done(plain, operation)
        done(pushed, operation)
        assert shown(pushed) == shown(plain)
    for record in pushed.read_log(None, 8):
        logged = codec.decode(record.body)
        parts = [getattr(logged, name) for name in logged.__struct_fields__]
        assert not any(isinstance(part, Filter) for part in parts)
        modes = [part for part in parts if isinstance(part, UpdateMode)]
        assert modes in ([], [UpdateMode.Upsert])
    assert shown(again(pushed)) == shown(pushed)


def shown(store: Store) -> object:
    found = answer(store.view, QueryRequest(limit=1000, with_payload=True, with_vector=True))
    return {point.id: (point.vector, point.payload) for point in found}


def test_what_finds_nothing_is_not_logged_but_leaves_its_mark() -> None:
    store = filled()
    store.set_cursor("a", place("a", 6))
    nothing = UpdateOperation.clear_payload_by_filter(in_room("attic"))
    before = store.sequence
    assert done(store, nothing) == before
    assert done(store, nothing, Mark("arm", 1, 1)) == before + 1
    assert again(store).view.marks == {"arm": Mark("arm", 1, 1)}


# -- what they keep


def test_the_log_is_kept_from_the_smallest_cursor_on() -> None:
    store = new()
    store.set_cursor("a", place("a", 1))
    store.set_cursor("b", place("b", 2))
    for number in range(60):
        put(store, number)
        if number % 15 == 14:
            sealed(store)
    assert numbers(store.read_log(None, 2)) == list(range(2, store.sequence + 1))
    assert store._wal.first == 1
    store.set_cursor("a", place("a", 35))
    assert store._wal.first == 1, "b is still there"
    store.set_cursor("b", place("b", 40))
    assert 17 < store._wal.first <= 36
    assert not any(store.is_lost(one) for one in store.view.cursors.values())
    store.set_cursor("a", None)
    store.set_cursor("b", None)
    assert store._wal.first > 60, "only what recovery needs is left"
    assert shown(again(store)) == shown(store)


def test_what_is_kept_does_not_ask_for_seals() -> None:
    """The part that a load would carry out is what counts, or every update would seal."""
    seals = {}
    for with_outbox in (False, True):
        store = new()
        put(store, 0)
        if with_outbox:
            store.set_cursor("a", place("a", 0))
        seals[with_outbox] = 0
        for number in range(200):
            put(store, number)
            while store.wants_seal:
                sealed(store)
                seals[with_outbox] += 1
    assert 10 < seals[False] <= seals[True] <= seals[False] + 1
    assert store.sizes()["log_bytes"] > 10 * 2_000
    opened = again(store)
    assert not opened.wants_seal
    assert numbers(opened.read_log(None, 1)) == list(range(1, opened.sequence + 1))


@pytest.mark.parametrize("most_bytes", [0, 5_000, 20_000])
def test_the_oldest_is_let_go_beyond_the_limit(most_bytes: int) -> None:
    store = new()
    store.set_cursor("a", place("a", 1, most_bytes))
    kept = []
    while not store.is_lost(store.view.cursors["a"]):
        for number in range(10):
            put(store, number)
        sealed(store)
        kept.append(store._wal.bytes_before(store.durable.sequence + 1))
        assert kept[-1] <= most_bytes
    assert max(kept) >= most_bytes - 5_000
    assert again(store).is_lost(store.view.cursors["a"])
    put(store, 1)
    sealed(store)
    assert store._wal.first == store.sequence + 1, "who is lost keeps nothing"
    store.set_cursor("a", place("a", store.sequence, most_bytes))
    put(store, 1)
    assert not store.is_lost(store.view.cursors["a"])


def test_what_another_keeps_is_kept_for_all() -> None:
    store = new()
    store.set_cursor("small", place("small", 1, most_bytes=0))
    store.set_cursor("large", place("large", 1))
    for number in range(60):
        put(store, number)
        if number % 10 == 9:
            sealed(store)
    assert not store.is_lost(store.view.cursors["small"])
    store.set_cursor("large", None)
    assert store.is_lost(store.view.cursors["small"])


def test_a_voided_cursor_is_lost_and_keeps_nothing() -> None:
    store = new()
    put(store, 1)
    store.set_cursor("a", Cursor("a", 1, Stage.Void))
    assert store.is_lost(store.view.cursors["a"])
    put(store, 2)
    sealed(store)
    assert store._wal.first == store.sequence + 1


def test_what_is_read_is_on_the_medium() -> None:
    store = Store.over(
        SimulatedStorage(),
        EdgeConfig(EdgeVectorParams(2, Distance.Dot), durability=Durability.Os),
        existing=False,
    )
    put(store, 1)
    assert store.synced == 0
    assert [record.sequence for record in store.read_log(None, 1)] == [1]
    assert store.synced == 1


# -- a full disk


class SmallDisk(SimulatedStorage):
    """Refuses what would make all files together larger than `most` bytes."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def used(self) -> int:
        return sum(len(content) for content in self.image().values() if content is not None)

    def refuse_beyond(self, more: int) -> None:
        if self.used() + more > self.most:
            raise StorageFull("No space left on device")

    def create(self, name: str, /) -> Writer:
        return Fitting(self, super().create(name))

    def append(self, name: str, /) -> Writer:
        return Fitting(self, super().append(name))


class Fitting(SimulatedWriter):
    def __init__(self, disk: SmallDisk, inner: Writer) -> None:
        assert isinstance(inner, SimulatedWriter)
        self.__dict__ = inner.__dict__
        self._disk = disk

    def write(self, *buffers: bytes) -> int:
        self._disk.refuse_beyond(sum(len(bytes(buffer)) for buffer in buffers))
        return super().write(*buffers)


def test_data_is_never_refused_because_of_an_outbox() -> None:
    disk = SmallDisk(1 << 30)
    store = new(disk)
    store.set_cursor("a", place("a", 0))
    for number in range(60):
        put(store, number % 20)
        if number % 20 == 19:
            sealed(store)
    first = [log.first for log in store._wal._logs]
    assert len(first) == 4
    disk.most = disk.used() + 100
    put(store, 3, room="x" * 200)
    assert store._wal.first == first[1], "the oldest file goes, and no more than is needed"
    put(store, 4, room="x" * int(disk.most * 0.4))
    assert store._wal.first in first[2:]
    assert store.is_lost(store.view.cursors["a"])
    with pytest.raises(StorageFull):
        put(store, 5, room="x" * disk.most)
    assert store.read_only is None
    assert shown(again(store)) == shown(store)


def test_where_nothing_is_kept_for_others_a_full_disk_refuses_as_ever() -> None:
    disk = SmallDisk(60_000)
    store = new(disk)
    store.set_cursor("a", place("a", 0))
    disk.most = 0
    with pytest.raises(StorageFull):
        put(store, 1)
    assert not store.is_lost(store.view.cursors["a"])
    disk.most = 60_000
    put(store, 1)


# -- power cuts


class WithCursors(Driven):
    """Driven, with cursors that move: `places[sequence]` are those of each state."""

    def __init__(self, storage: SimulatedStorage, most_bytes: int | None = None) -> None:
        super().__init__(storage)
        self.places: dict[int, dict[str, Cursor]] = {0: {}}
        self.most_bytes = most_bytes
        self.lost = 0

    def move(self, name: str, sequence: int | None) -> None:
        at = None if sequence is None else place(name, sequence, self.most_bytes)
        self.note()
        after = moved(self.places[self.history.sequence], name, at)
        if after != self.places[self.history.sequence]:
            self.history.states.append(self.history.states[-1])
            self.places[self.history.sequence] = dict(after)
        self.store.set_cursor(name, at)
        assert self.store.sequence == self.history.sequence

    def note(self) -> None:
        for sequence in range(max(self.places) + 1, self.history.sequence + 1):
            self.places[sequence] = self.places[sequence - 1]

    def check(self, image: Image) -> int:
        self.note()
        sequence = super().check(image)
        store = loaded(image)
        assert store.view.cursors == self.places[sequence]
        for one in store.view.cursors.values():
            if store.is_lost(one):
                self.lost += 1
                continue
            expected = list(range(one.sequence + 1, sequence + 1))
            assert numbers(store._wal.read(one.sequence + 1)) == expected
        return sequence


@pytest.mark.parametrize(("seed", "most_bytes"), [(0, None), (1, None), (2, 4_000)])
def test_in_any_call_of_a_life_with_outboxes(seed: int, most_bytes: int | None) -> None:
    random = Random(seed)
    storage = SimulatedStorage()
    driven = WithCursors(storage, most_bytes)
    driven.number = 100 * seed
    cuts, checked = Random(seed + 50), 0

    def cut(call: str) -> None:
        nonlocal checked
        for image in storage.power_cuts(cuts, 2):
            checked += 1
            driven.check(image)

    driven.run("uuaux")
    driven.move("a", 2)
    storage.after_call = cut
    for _ in range(10):
        act = random.choice(["step", "step", "step", "a", "b", "drop b", "seal"])
        if act == "step":
            driven.run(random.choice("uuuafxo"))
        elif act == "seal":
            driven.run("uus")
        elif act == "drop b":
            driven.move("b", None)
        else:
            known = driven.store.view.cursors.get(act)
            newest = driven.store.sequence
            driven.move(act, random.randint(known.sequence if known else newest, newest))
    storage.after_call = None
    assert checked > 30
    if most_bytes is None:
        assert driven.lost == 0


def test_a_cut_while_the_log_is_shortened_leaves_every_cursor_its_log() -> None:
    """The cursor moved, unsynced, and a whole file is of no use any more."""
    storage = SimulatedStorage()
    driven = WithCursors(storage)
    driven.run("uuuuu")
    driven.move("a", 1)
    driven.run("suuusuuus")
    states = 0

    def cut(call: str) -> None:
        nonlocal states
        for image in storage.power_cuts(Random(1), 12):
            driven.check(image)
            states += 1

    before = len(storage.list("wal"))
    storage.after_call = cut
    driven.move("a", driven.history.sequence)
    storage.after_call = None
    assert len(storage.list("wal")) < before
    assert states > 5
    assert driven.lost == 0
