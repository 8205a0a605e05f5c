"""Every byte of every file of a small closed shard: damaged, it is found out or does no harm.

Invariant: a damaged shard raises CorruptData, or answers exactly as it did before. It never
gives another answer, never raises anything else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import cache
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

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
)
from edge.blocking import EdgeShard
from edge.query.answer import Retrieve, answer
from edge.segment.view import ShardView
from tests.crash.driven import Driven, loaded
from tests.crash.history import read
from tests.disk.damage import Damage, flips, moved, zeroed
from tests.disk.simulated import Image, SimulatedStorage

LARGEST = 14 << 10
HARMLESS = {"wal/synced"}
"""Files that only add proof: without them the same state loads."""


@cache
def shard() -> Image:
    """A closed shard with all kinds of file, in all not more than LARGEST bytes."""
    driven = Driven(SimulatedStorage())
    driven.number = 4
    driven.run("uuuuuouuuosuuc")
    image: Image = driven.storage.image()
    driven.check(image)
    return image


@cache
def names() -> tuple[str, ...]:
    return tuple(sorted(name for name, data in shard().items() if data is not None))


def test_the_shard_has_everything() -> None:
    roles = {name.rpartition("/")[2].split(".")[0] for name in names()}
    assert roles >= {"ids", "versions", "payload", "vectors-0", "vectors-1", "missing-1", "graph-0"}
    assert roles >= {"deleted", "manifest", "synced"}
    log = max(name for name in names() if name.endswith(".log"))
    assert len(shard()[log] or b"") > 200
    assert sum(len(data or b"") for data in shard().values()) <= LARGEST


def everything(view: ShardView) -> list[Any]:
    """All answers: whole points, pages, exact and graph searches, counts, points by id."""
    near = [Query.Nearest([float(i)] * 16) for i in range(0, 12, 3)]
    exact = SearchParams(exact=True)
    group = Filter(must=[FieldCondition("group", match=MatchValue(1))])
    requests = [
        *[QueryRequest(query=query, limit=7) for query in near],
        *[QueryRequest(query=query, limit=7, params=exact) for query in near],
        QueryRequest(query=Query.Nearest([1.0, 2.0], using="b"), limit=50, with_payload=True),
        QueryRequest(query=near[1], limit=9, filter=group),
        ScrollRequest(limit=100, with_payload=True, with_vector=True),
        CountRequest(filter=group),
        Retrieve.of(list(range(0, 60, 7)), True, True),
    ]
    return [read(view), *[answer(view, request) for request in requests]]


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


@pytest.mark.parametrize("name", names())
def test_every_byte_flipped(name: str) -> None:
    done = 0
    for what, image in flips(shard(), name):
        assert is_found(image) or name in HARMLESS, what
        done += 1
    assert done == len(shard()[name] or b"")


def cuts(image: Image, name: str) -> Iterable[Damage]:
    """Shorter lengths: none, each 64th byte, and the last few; and longer by a little."""
    data = image[name] or b""
    for length in sorted({0, *range(0, len(data), 64), *range(max(0, len(data) - 4), len(data))}):
        yield f"cut {name} {length}", {**image, name: data[:length]}
    yield f"grow {name}", {**image, name: data + b"\0" * 9}


def test_cut_short_emptied_or_grown() -> None:
    for name in names():
        for what, image in cuts(shard(), name):
            # bytes after the log's last record are what an unfinished write leaves
            tail = name.endswith(".log") and what.startswith("grow")
            assert is_found(image) or name in HARMLESS or tail, what


def test_pages_zeroed_or_copied() -> None:
    for name in names():
        for what, image in zeroed(shard(), name):
            assert is_found(image) or name in HARMLESS, what


def test_files_deleted_copied_and_swapped() -> None:
    done = 0
    for what, image in moved(shard(), list(names())):
        struck = {name for name in names() if image.get(name) != shard()[name]}
        assert is_found(image) or struck <= HARMLESS, what
        done += 1
    assert done > len(names()) ** 2


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
    for _ in range(400):
        image = dict(shard())
        for name in random.sample(names(), random.randint(1, 3)):
            data = bytearray(image[name] or b"")
            start = random.randrange(len(data))
            burst = random.randbytes(random.randint(1, 80))[: len(data) - start]
            data[start : start + len(burst)] = burst
            image[name] = bytes(data)
        struck = {name for name in names() if image[name] != shard()[name]}
        assert is_found(image) or struck <= HARMLESS


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
                assert name in HARMLESS
            (folder / name).write_bytes(original)
    assert everything_in(folder) == expected()


@pytest.mark.parametrize("content", [b"", b"not a number\xff", b"9" * 4000, None])
def test_what_the_lock_file_says_does_not_matter(tmp_path: Path, content: bytes | None) -> None:
    folder = put_down(shard(), tmp_path)
    if content is not None:
        (folder / "LOCK").write_bytes(content)
    assert everything_in(folder) == expected()
    assert (folder / "LOCK").read_bytes().strip() in {b"%d" % os.getpid(), b""}
