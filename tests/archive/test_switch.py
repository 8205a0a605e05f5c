"""A shard becomes what a snapshot holds: killed, or without power, after any call to the storage it
is the old one or the new one, whole; and it goes on from there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from edge import EdgeError, PayloadSchemaType, StorageFull, UpdateOperation
from edge.archive import restore, writing
from edge.store.store import Store
from tests.archive.made import commit, config, held_points, optimize, seal, upsert
from tests.disk.simulated import FAULTS, FaultyStorage, Image, SimulatedStorage


def update(store: Store, archive: Path) -> None:
    held = store.hold()
    try:
        with restore.brought_in(store.storage, archive, held) as arrival:
            number = store.numbers(arrival.numbers, arrival.above)
            store.become(arrival.ready(number, store.config, writing.go_on))
    finally:
        store.let_go(held)


def write(store: Store, path: Path, base: dict[str, Any] | None = None) -> Path:
    held = store.hold()
    folder, name = restore.folder_of(path)
    writing.create(store.storage, held, folder, name, base)
    store.let_go(held)
    return path


def sender() -> Store:
    store = Store.over(SimulatedStorage(), config(), existing=False)
    commit(
        store, upsert(range(40)), UpdateOperation.create_field_index("n", PayloadSchemaType.Integer)
    )
    optimize(store)
    commit(store, upsert(range(30, 50), 1))
    seal(store)
    commit(store, upsert(range(45, 60), 2), UpdateOperation.delete_points([0, 31, 47]))
    return store


def receiver() -> Store:
    store = Store.over(SimulatedStorage(), config(), existing=False)
    commit(store, upsert(range(100, 120)))
    optimize(store)
    commit(store, upsert(range(110, 125), 1))
    store.flush()
    return store


def loaded(image: Image) -> Store:
    return Store.over(SimulatedStorage(image), None, existing=True)


def full(tmp_path: Path) -> tuple[Store, Path, list[Any]]:
    source = sender()
    return receiver(), write(source, tmp_path / "full.snap"), held_points(source.view)


def partial(tmp_path: Path) -> tuple[Store, Path, list[Any]]:
    """The receiver has an older state of the sender, and something of its own."""
    source, store = sender(), receiver()
    update(store, write(source, tmp_path / "first.snap"))
    commit(store, upsert(range(200, 210)))
    store.flush()
    commit(source, UpdateOperation.delete_points([5, 33]), upsert(range(60, 70)))
    optimize(source)
    commit(source, upsert(range(3)))
    held = store.hold()
    base = writing.manifest_of(store.storage, held)
    store.let_go(held)
    archive = write(source, tmp_path / "partial.snap", base)
    return store, archive, held_points(source.view)


Case = Callable[[Path], tuple[Store, Path, list[Any]]]
CASES = pytest.mark.parametrize("case", [full, partial])


@CASES
def test_the_power_goes_after_any_call(case: Case, tmp_path: Path) -> None:
    store, archive, after = case(tmp_path)
    before = held_points(store.view)
    storage, random, seen = store.storage, Random(5), {"old": 0, "new": 0}
    assert isinstance(storage, SimulatedStorage)

    def cut(call: str) -> None:
        for place, image in enumerate([storage.image(), *storage.power_cuts(random, 3)]):
            again = loaded(image)
            points = held_points(again.view)
            assert points in (before, after), call
            seen["old" if points == before else "new"] += 1
            if place == 0 and sum(seen.values()) % 5 == 0:
                commit(again, upsert(range(900, 905)))
                optimize(again)
                assert again.view.points == len(points[0]) + 5

    storage.after_call = cut
    update(store, archive)
    storage.after_call = None
    assert held_points(store.view) == after
    assert seen["old"] > 100
    assert seen["new"] > 10
    for image in storage.power_cuts(random, 10):
        assert held_points(loaded(image).view) == after


@CASES
@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_any_call_fails(case: Case, fault: str, tmp_path: Path) -> None:
    """The error is told; what is there, now and after a reload, is the old shard or the new one."""
    nth = done = 0
    store, archive, after = case(tmp_path)
    before, image = held_points(store.view), store.storage.image()  # type: ignore[attr-defined]
    while not done:
        nth += 1 + nth // 8
        inner = SimulatedStorage(image)
        store = loaded_over(inner)
        faulty = FaultyStorage(inner, fault, nth, forever=False)
        store._files.storage = faulty  # type: ignore[assignment]
        try:
            update(store, archive)
        except EdgeError:
            assert held_points(store.view) == before
        else:
            done = not faulty.struck
        state = held_points(store.view)
        assert state in (before, after)
        again = held_points(loaded(inner.image()).view)
        assert again == state or (store.read_only and again in (before, after))
    assert nth > 10


def loaded_over(storage: SimulatedStorage) -> Store:
    return Store.over(storage, None, existing=True)


@CASES
def test_where_space_ran_out_nothing_is_left(case: Case, tmp_path: Path) -> None:
    store, archive, _ = case(tmp_path)
    before = store.storage.image().keys()  # type: ignore[attr-defined]
    inner = store.storage
    store._files.storage = FaultyStorage(inner, "enospc", 30, forever=True)  # type: ignore[arg-type, assignment]
    with pytest.raises(StorageFull):
        update(store, archive)
    assert inner.image().keys() <= before  # type: ignore[attr-defined]
    store._files.storage = inner
    commit(store, upsert(range(5)))


@CASES
def test_what_was_begun_before_is_not_taken_over(case: Case, tmp_path: Path) -> None:
    """A seal and a rebuild that end after the switch leave the shard and the folder as they are."""
    store, archive, after = case(tmp_path)
    plan = store.plan(durable=True)
    seal_job = store.seal()
    assert seal_job is not None
    jobs = [seal_job, *([store.start(plan)] if plan else [])]
    built = [job.run(store.storage, lambda done: None) for job in jobs]
    update(store, archive)
    folders = store.storage.list("segments")
    for job, result in zip(jobs, built, strict=True):
        store.finish(job, result)
    assert held_points(store.view) == after
    assert set(store.storage.list("segments")) <= set(folders)
    commit(store, upsert(range(3)))
    optimize(store)
    state = held_points(store.view)
    store.close()
    assert held_points(loaded(store.storage.image()).view) == state  # type: ignore[attr-defined]


@CASES
def test_only_what_is_named_stays(case: Case, tmp_path: Path) -> None:
    store, archive, _ = case(tmp_path)
    update(store, archive)
    named = {file.name for file in store._files.state.files()}
    image = store.storage.image()  # type: ignore[attr-defined]
    found = {name for name, data in image.items() if data is not None}
    log = store._files.state.log
    assert {name for name in found if name.startswith("segments/")} == named
    assert {name.partition("/")[0] for name in found} == {"manifest", "segments", log}
