"""The simulator itself: it behaves as the real disk does, and its power cuts lose what they may."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from itertools import product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.disk.storage import DiskStorage, Storage
from edge.errors import StorageFault, StorageFull
from tests.disk.simulated import SECTOR, FaultyStorage, Image, SimulatedStorage

NAMES = st.sampled_from(["a", "b", "folder/a", "folder/b", "folder/inner/a"])
FOLDERS = st.sampled_from(["", "folder", "folder/inner", "a"])
DATA = st.binary(max_size=20)
SIZES = st.integers(0, 30)


def appended(storage: Storage, name: str, data: bytes) -> int:
    writer = storage.append(name)
    writer.write(data, data)
    size = writer.size
    writer.close()
    return size


CALLS: dict[str, Callable[..., object]] = {
    "create": lambda storage, name: storage.create(name).close(),
    "append": appended,
    "mkdir": lambda storage, name: storage.mkdir(name),
    "unlink": lambda storage, name: storage.unlink(name),
    "remove_tree": lambda storage, name: storage.remove_tree(name),
    "truncate": lambda storage, name, length: storage.truncate(name, length),
    "overwrite": lambda storage, name, at, data: storage.overwrite(name, at, data),
    "read": lambda storage, name: storage.read(name),
    "pread": lambda storage, name, at, length: storage.pread(name, at, length),
    "size": lambda storage, name: storage.size(name),
    "exists": lambda storage, name: storage.exists(name),
    "list": lambda storage, name: storage.list(name),
    "map": lambda storage, name: bytes(storage.map(name)),
    "sync_folder": lambda storage, name: storage.sync_folder(name),
}
ARGUMENTS = {
    "append": (NAMES, DATA),
    "mkdir": (FOLDERS.filter(bool),),
    "truncate": (NAMES, SIZES),
    "overwrite": (NAMES, SIZES, DATA.filter(bool)),
    "pread": (NAMES, SIZES, SIZES),
    "list": (FOLDERS,),
    "sync_folder": (FOLDERS,),
    "exists": (NAMES | FOLDERS,),
}
STEPS = st.sampled_from(sorted(CALLS)).flatmap(
    lambda call: st.tuples(st.just(call), *ARGUMENTS.get(call, (NAMES,)))
)


def outcome(storage: Storage, call: str, *arguments: object) -> object:
    try:
        return CALLS[call](storage, *arguments)
    except StorageFault:
        return StorageFault


@given(st.lists(STEPS, max_size=30))
def test_it_behaves_as_the_real_disk(steps: list[tuple[object, ...]]) -> None:
    simulated = SimulatedStorage()
    with tempfile.TemporaryDirectory() as path:
        real = DiskStorage(path)
        for step in steps:
            assert outcome(simulated, *step) == outcome(real, *step), step


def cuts(storage: SimulatedStorage, most: int = 4000) -> list[Image]:
    return list(storage.power_cuts(Random(0), most))


def test_at_rest_there_is_one_state() -> None:
    storage = SimulatedStorage({"a": b"x", "folder": None, "folder/b": b"y"})
    assert cuts(storage) == [storage.image()]


def test_unsynced_bytes_are_dropped_kept_or_torn() -> None:
    storage = SimulatedStorage({"a": b"o" * SECTOR * 2})
    writer = storage.append("a")
    writer.write(b"n" * SECTOR * 2)
    storage.overwrite("a", 0, b"N" * SECTOR)
    states = {image["a"] for image in storage.power_cuts(Random(0), 4000, torn=400)}
    assert b"o" * SECTOR * 2 in states
    assert storage.read("a") in states
    assert b"o" * SECTOR * 2 + bytes(SECTOR * 2) in states
    firsts = {bytes(state[:SECTOR]) for state in states}
    assert firsts == {b"o" * SECTOR, b"N" * SECTOR}
    assert {len(state) for state in states} == {SECTOR * 2, SECTOR * 3, SECTOR * 4}
    assert len(states) > 6
    writer.sync()
    assert cuts(storage) == [storage.image()]


def test_names_not_synced_come_and_go_in_any_combination() -> None:
    storage = SimulatedStorage({"old": b"o", "gone": b"g"})
    storage.create("new")
    storage.unlink("gone")
    storage.rename("old", "moved")
    states = {frozenset(image) for image in cuts(storage)}
    expected = {
        frozenset({("new" if new else "moved" if moved else "old"), "moved" if moved else "old"})
        | ({"new"} if new else set())
        | (set() if unlinked else {"gone"})
        for new, unlinked, moved in product((False, True), repeat=3)
    }
    assert states == expected
    storage.sync_folder("")
    assert cuts(storage) == [storage.image()]


def test_a_synced_file_needs_its_name_too() -> None:
    storage = SimulatedStorage()
    storage.mkdir("folder")
    writer = storage.create("folder/a")
    writer.write(b"x")
    writer.sync()
    assert {image.get("folder/a") for image in cuts(storage)} == {None, b"x"}
    storage.sync_folder("folder")
    assert {image.get("folder/a") for image in cuts(storage)} == {None, b"x"}
    storage.sync_folder("")
    assert cuts(storage) == [{"folder": None, "folder/a": b"x"}]


def test_a_failed_sync_is_not_made_good_by_another() -> None:
    inner = SimulatedStorage({"a": b"old"})
    storage = FaultyStorage(inner, "sync", 1, forever=False)
    writer = storage.append("a")
    writer.write(b"new")
    with pytest.raises(StorageFault):
        writer.sync()
    writer.sync()
    assert {image["a"] for image in cuts(inner)} >= {b"old\0\0\0", b"oldnew"}
    inner.overwrite("a", 0, b"oldnew")
    writer.sync()
    assert cuts(inner) == [{"a": b"oldnew"}]


@pytest.mark.parametrize("forever", [False, True])
def test_the_nth_call_fails(forever: bool) -> None:
    inner = SimulatedStorage()
    storage = FaultyStorage(inner, "enospc", 2, forever)
    storage.create("a")
    with pytest.raises(StorageFull):
        storage.create("b")
    assert inner.list("") == ["a"]
    assert storage.read("a") == b""
    if forever:
        with pytest.raises(StorageFull):
            storage.create("c")
    else:
        storage.create("c")
    assert storage.struck == 1 + forever


@pytest.mark.parametrize(
    ("fault", "left"), [("short", b"ab"), ("eio", b""), ("eio-after", b"abcd"), ("enospc", b"")]
)
def test_what_a_failed_write_leaves(fault: str, left: bytes) -> None:
    inner = SimulatedStorage({"a": b""})
    storage = FaultyStorage(inner, fault, 2 - (fault == "short"), forever=False)
    if fault == "eio-after":
        storage = FaultyStorage(inner, fault, 2, forever=False)
    writer = storage.append("a")
    with pytest.raises(StorageFault):
        writer.write(b"ab", b"cd")
    assert inner.read("a") == left
    assert writer.size == 0
