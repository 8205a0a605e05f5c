"""Every byte of every file of a small closed shard: damaged, it is found out or does no harm.

Invariant: a damaged shard raises CorruptData, or answers exactly as it did before. It never
gives another answer, never raises anything else. Damage to an index file is never an error: the
index is left out, and is there again after the next `optimize`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import cache
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from edge import (
    CorruptData,
    CountRequest,
    FieldCondition,
    Filter,
    MatchValue,
    Query,
    QueryRequest,
    ScrollRequest,
    SearchParams,
    TextQuery,
)
from edge.blocking import EdgeShard
from edge.disk import manifest
from edge.disk.manifest import SegmentEntry
from edge.query.answer import Retrieve, answer
from edge.segment.immutable import FieldFile, load_fields
from edge.segment.view import ShardView
from edge.store.store import Store
from tests.crash.driven import Driven, loaded
from tests.crash.history import EVERY_KIND, INDEXES, QUESTIONS, ask, read
from tests.disk.damage import Damage, flips, moved, zeroed
from tests.disk.simulated import Image, SimulatedStorage

LARGEST = 26 << 10
PROOF = "wal/synced"
"""It only adds proof: without it the same state loads."""


@cache
def shard() -> Image:
    """A closed shard with all kinds of file, in all not more than LARGEST bytes."""
    driven = Driven(SimulatedStorage())
    driven.number = 6
    driven.run("uuuu" + EVERY_KIND * "x" + "uouuosuuc")
    image: Image = driven.storage.image()
    driven.check(image)
    return image


@cache
def names() -> tuple[str, ...]:
    return tuple(sorted(name for name, data in shard().items() if data is not None))


def role_of(name: str) -> str:
    return name.rpartition("/")[2]


@cache
def entries() -> dict[int, SegmentEntry]:
    return {entry.id: entry for entry in manifest.load(SimulatedStorage(shard())).segments}


class Index(NamedTuple):
    """The index of a field in one segment."""

    segment: int
    path: str


@cache
def indexes() -> dict[str, Index]:
    """Which index each index file holds, by name."""
    files = [(e, FieldFile(*file)) for e in entries().values() for file in e.meta["fields"]]
    return {entry.files[f.role].name: Index(entry.id, f.path) for entry, f in files}


def left_out(store: Store) -> set[Index]:
    """The indexes that are asked for and not there."""
    view = store.view
    return {
        Index(part.segment.number, path)
        for part in view.segments
        for path in view.schema
        if part.index(path) is None
    }


def is_harmless(struck: Iterable[str]) -> bool:
    """Whether none of these files is needed for anything but proof or speed."""
    return set(struck) <= {PROOF, *indexes()}


def test_the_shard_has_everything() -> None:
    roles = {role_of(name).split(".")[0] for name in names()}
    assert roles >= {"ids", "versions", "payload", "vectors-0", "vectors-1", "missing-1", "graph-0"}
    assert roles >= {"deleted", "manifest", "synced"}
    assert len(indexes()) >= EVERY_KIND
    assert {index.path for index in indexes().values()} == {path for path, _ in INDEXES}
    log = max(name for name in names() if name.endswith(".log"))
    assert len(shard()[log] or b"") > 200
    assert sum(len(data or b"") for data in shard().values()) <= LARGEST


def everything(view: ShardView) -> list[Any]:
    """All answers: whole points, pages, exact and graph searches, counts, points by id."""
    near = [Query.Nearest([float(i)] * 16) for i in range(0, 12, 3)]
    exact = SearchParams(exact=True)
    group = Filter(must=[FieldCondition("group", match=MatchValue(1))])
    text = [TextQuery("text", "oper 1"), TextQuery("text", "opera")]
    requests = [
        *[QueryRequest(query=query, limit=7) for query in near],
        *[QueryRequest(query=query, limit=7, params=exact) for query in near],
        QueryRequest(query=Query.Nearest([1.0, 2.0], using="b"), limit=50, with_payload=True),
        QueryRequest(query=near[1], limit=9, filter=group),
        *[QueryRequest(query=query, limit=30) for query in text],
        ScrollRequest(limit=100, with_payload=True, with_vector=True),
        CountRequest(filter=group),
        Retrieve.of(list(range(0, 60, 7)), True, True),
    ]
    asked = [ask(view, question) for question in QUESTIONS]
    return [read(view), *[answer(view, request) for request in requests], *asked]


@cache
def expected() -> list[Any]:
    return everything(loaded(shard()).view)


def is_found(image: Image) -> bool:
    """Whether the damage was found out; if not, it must have done no harm."""
    found = outcome(lambda: everything(loaded(image).view))
    if isinstance(found, CorruptData):
        assert found.path, "the error names no file"
        return True
    assert found == expected()
    return False


def outcome(act: Callable[[], list[Any]]) -> list[Any] | CorruptData:
    try:
        return act()
    except CorruptData as fault:
        return fault


def test_undamaged_it_answers_alike() -> None:
    assert not is_found(dict(shard()))
    assert expected()[0]
    assert expected()[1] != expected()[2]
    assert left_out(loaded(shard())) == set()


@pytest.mark.parametrize("name", sorted({*names()} - {*indexes()}))
def test_every_byte_flipped(name: str) -> None:
    done = 0
    for what, image in flips(shard(), name):
        assert is_found(image) or name == PROOF, what
        done += 1
    assert done == len(shard()[name] or b"")


@pytest.mark.parametrize("name", sorted(indexes()))
def test_every_byte_of_an_index_flipped(name: str) -> None:
    """It is left out, it alone, whichever byte it is; and nobody sees it in the answers."""
    index = indexes()[name]
    own = {other: shard()[other] for other, known in indexes().items() if known[0] == index[0]}
    done = 0
    for what, image in flips(own, name):
        _, sound = load_fields(SimulatedStorage(image), entries()[index.segment])
        assert sound.keys() == {known.path for known in indexes().values()} - {index.path}, what
        if done % 61 == 0:
            store = loaded(shard() | image)
            assert left_out(store) == {index}, what
            assert everything(store.view) == expected(), what
        done += 1
    assert done == len(shard()[name] or b"")


def optimize(store: Store) -> list[str]:
    """Do all that there is to do; return why each job was done."""
    reasons = []
    while (plan := store.plan(durable=True)) is not None:
        job = store.start(plan)
        store.finish(job, job.run(store.storage, lambda share: None))
        reasons.append(job.reason)
    return reasons


@pytest.mark.parametrize("name", sorted(indexes())[::2])
def test_a_damaged_index_is_made_anew(name: str) -> None:
    damaged = [*islice(flips(shard(), name), 70, 71), *islice(cuts(shard(), name), 0, None, 5)]
    without = {other: data for other, data in shard().items() if other != name}
    for what, image in [*damaged, ("delete", without)]:
        store = loaded(image)
        assert left_out(store) == {indexes()[name]}, what
        assert optimize(store) == ["fields"], what
        assert not left_out(store), what
        assert everything(store.view) == expected(), what
        assert manifest.orphans(store.storage, manifest.load(store.storage)) == [], what
        again = loaded(store.storage.image())
        assert not left_out(again), what
        assert everything(again.view) == expected(), what


def test_no_index_is_left_and_all_are_made_anew() -> None:
    store = loaded({n: data[:-1] if n in indexes() else data for n, data in shard().items()})
    assert left_out(store) == set(indexes().values())
    assert everything(store.view) == expected()
    assert optimize(store) == ["fields"] * 2
    assert not left_out(loaded(store.storage.image()))
    assert everything(store.view) == expected()


def cuts(image: Image, name: str) -> Iterable[Damage]:
    """Shorter lengths: none, each 64th byte, and the last few; and longer by a little."""
    data = image[name] or b""
    for length in sorted({0, *range(0, len(data), 64), *range(max(0, len(data) - 4), len(data))}):
        yield f"cut {name} {length}", {**image, name: data[:length]}
    yield f"grow {name}", {**image, name: data + b"\0" * 9}


def test_cut_short_emptied_or_grown() -> None:
    for name in sorted({*names()} - {*indexes()}):
        for what, image in cuts(shard(), name):
            # bytes after the log's last record are what an unfinished write leaves
            tail = name.endswith(".log") and what.startswith("grow")
            assert is_found(image) or name == PROOF or tail, what


def test_pages_zeroed_or_copied() -> None:
    for name in names():
        for what, image in zeroed(shard(), name):
            assert is_found(image) or is_harmless([name]), what


def test_files_deleted_copied_and_swapped() -> None:
    done = 0
    some = [*sorted(indexes())[:1], *sorted(indexes())[-1:]]
    chosen = [name for name in names() if name not in indexes() or name in some]
    for what, image in moved(shard(), chosen):
        struck = {name for name in names() if image.get(name) != shard()[name]}
        assert is_found(image) or is_harmless(struck), what
        done += 1
    assert done > len(chosen) ** 2


FOREIGN: dict[str, Callable[[], Image]] = {
    "a file in a segment": lambda: {"segments/00000003/foreign": b"x"},
    "a segment": lambda: {"segments/00000099": None, "segments/00000099/ids": b"x"},
    "a file beside the manifest": lambda: {"notes.txt": b"x"},
    "an unfinished manifest": lambda: {"manifest.tmp": b"x"},
    "an old log": lambda: {"wal/00000001.log": b"EDGEWAL"},
}


@pytest.mark.parametrize("what", FOREIGN)
def test_foreign_files(what: str) -> None:
    is_found({**shard(), **FOREIGN[what]()})


def test_damaged_by_any_bits() -> None:
    """Random bursts over random places, several at a time."""
    random = Random(8)
    for _ in range(300):
        image = dict(shard())
        for name in random.sample(names(), random.randint(1, 3)):
            data = bytearray(image[name] or b"")
            start = random.randrange(len(data))
            burst = random.randbytes(random.randint(1, 80))[: len(data) - start]
            data[start : start + len(burst)] = burst
            image[name] = bytes(data)
        struck = {name for name in names() if image[name] != shard()[name]}
        assert is_found(image) or is_harmless(struck)


# -- the same on a real disk, by the door that users take


def put_down(image: Image, folder: Path) -> Path:
    for name, data in sorted(image.items()):
        if data is None:
            (folder / name).mkdir(parents=True, exist_ok=True)
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    return folder


def everything_in(folder: Path) -> list[Any]:
    with EdgeShard.load(folder) as opened:
        return everything(opened._store.view)


def test_on_a_real_disk(tmp_path: Path) -> None:
    random = Random(1)
    folder = put_down(shard(), tmp_path)
    for name in names():
        original = (folder / name).read_bytes()
        for _, image in islice(flips(shard(), name), random.randrange(60), None, 101):
            (folder / name).write_bytes(image[name] or b"")
            found = outcome(lambda: everything_in(folder))
            if isinstance(found, CorruptData):
                assert found.path.startswith(str(folder))
            else:
                assert is_harmless([name])
            (folder / name).write_bytes(original)
    assert everything_in(folder) == expected()


@pytest.mark.parametrize("content", [b"", b"not a number\xff", b"9" * 4000, None])
def test_what_the_lock_file_says_does_not_matter(tmp_path: Path, content: bytes | None) -> None:
    folder = put_down(shard(), tmp_path)
    if content is not None:
        (folder / "LOCK").write_bytes(content)
    assert everything_in(folder) == expected()
    assert (folder / "LOCK").read_bytes().strip() in {b"%d" % os.getpid(), b""}
