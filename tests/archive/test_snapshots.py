"""Snapshots of our own: what is written is what was held, what is read what was written."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from edge import (
    AlreadyExists,
    CorruptData,
    EdgeError,
    LimitExceeded,
    NotFound,
    PayloadSchemaType,
    UpdateOperation,
    ValidationError,
    WrongBase,
)
from edge.archive import restore, writing
from edge.archive.description import DESCRIPTION
from edge.disk.storage import DiskStorage
from edge.store.store import Store
from tests.archive.made import commit, config, held_points, optimize, seal, upsert
from tests.archive.test_switch import sender, update, write


def on_disk(path: Path) -> Store:
    return Store.over(DiskStorage(path), config(), existing=False)


def unpacked(archive: Path, target: Path) -> Store:
    restore.unpack_snapshot(archive, target)
    return Store.load(target)


def test_a_full_one_is_a_shard(tmp_path: Path) -> None:
    source = sender()
    again = unpacked(write(source, tmp_path / "a b.snap"), tmp_path / "deep" / "shard")
    assert held_points(again.view) == held_points(source.view)
    assert again.sequence == source.sequence
    commit(again, upsert(range(7)))
    optimize(again)
    again.close()


def test_what_is_written_is_what_was_held(tmp_path: Path) -> None:
    """Writes, seals, rebuilds and other snapshots go on between the hold and the writing."""
    source = sender()
    kept = [(source.hold(), held_points(source.view))]
    for turn in range(5):
        commit(source, upsert(range(10 * turn, 10 * turn + 30), 5 + turn))
        if turn % 2:
            optimize(source)
        kept.append((source.hold(), held_points(source.view)))
    update(source, write(sender(), tmp_path / "other.snap"))
    Random(3).shuffle(kept)
    for place, (held, points) in enumerate(kept):
        folder, name = restore.folder_of(tmp_path / f"{place}.snap")
        writing.create(source.storage, held, folder, name, None)
        source.let_go(held)
        again = unpacked(tmp_path / name, tmp_path / str(place))
        assert held_points(again.view) == points
        again.close()
    named = {file.name for file in source._files.state.files()}
    image = source.storage.image()  # type: ignore[attr-defined]
    assert {n for n, data in image.items() if data is not None and n[:9] == "segments/"} == named


def steps(source: Store) -> list[list[UpdateOperation]]:
    return [
        [],
        [upsert(range(70, 75))],
        [UpdateOperation.delete_points([1, 2, 36])],
        [UpdateOperation.set_payload([6, 7], {"seen": 3})],
        [upsert(range(20, 40), 9)],
        [UpdateOperation.create_field_index("word", PayloadSchemaType.Keyword)],
        [UpdateOperation.delete_vector_name("half")],
    ]


@pytest.mark.parametrize("step", range(7))
@pytest.mark.parametrize("tidied", [False, True])
def test_a_partial_one_brings_what_is_missing(tmp_path: Path, step: int, tidied: bool) -> None:
    source = sender()
    store = unpacked(write(source, tmp_path / "0"), tmp_path / "shard")
    base = manifest_of(store)
    commit(source, *steps(source)[step])
    if tidied:
        optimize(source)
    size = write(source, tmp_path / "1", base).stat().st_size
    whole = write(source, tmp_path / "2").stat().st_size
    assert size < whole or (tidied and size == whole)  # a merge leaves nothing of what there was
    before = {view.segment.number: view.segment for view in store.view.segments}
    update(store, tmp_path / "1")
    assert held_points(store.view) == held_points(source.view)
    if not tidied and step != 6:  # what stays is not read again, unless its vectors are others
        segments = [view.segment for view in store.view.segments]
        assert [one for one in segments if before.get(one.number) is one]
    store.close()
    again = Store.load(tmp_path / "shard")
    assert held_points(again.view) == held_points(source.view)
    again.close()


def manifest_of(store: Store) -> dict[str, Any]:
    held = store.hold()
    found = writing.manifest_of(store.storage, held)
    store.let_go(held)
    return msgspec.json.decode(msgspec.json.encode(found))  # as it travels


def test_a_hundred_partial_ones(tmp_path: Path) -> None:
    """A copy follows its source through whatever happens to either."""
    random, source = Random(8), sender()
    store = unpacked(write(source, tmp_path / "0"), tmp_path / "shard")
    for turn in range(1, 101):
        first = random.randrange(80)
        commit(source, upsert(range(first, first + random.randrange(1, 20)), turn))
        for one, chance in ((source, 0.3), (store, 0.1)):
            if random.random() < chance:
                optimize(one)
            elif random.random() < 0.3:
                seal(one)
        if random.random() < 0.1:
            store.close()
            store = Store.load(tmp_path / "shard")
        archive = write(source, tmp_path / str(turn), manifest_of(store))
        update(store, archive)
        archive.unlink()
        assert held_points(store.view) == held_points(source.view)
    store.close()


def test_a_partial_one_is_for_its_own_base_only(tmp_path: Path) -> None:
    source = sender()
    store = unpacked(write(source, tmp_path / "0"), tmp_path / "shard")
    archive = write(source, tmp_path / "1", manifest_of(store))
    other = on_disk(tmp_path / "other")
    commit(other, upsert(range(9)))
    before = held_points(other.view)
    with pytest.raises(WrongBase, match="has not"):
        update(other, archive)
    assert held_points(other.view) == before
    with pytest.raises(WrongBase, match="partial"):
        restore.unpack_snapshot(archive, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    other.close()
    store.close()


def test_how_a_shard_is_run_stays(tmp_path: Path) -> None:
    archive = write(sender(), tmp_path / "a")
    store = Store.over(
        DiskStorage(tmp_path / "s"),
        config(checkpoint_bytes=5000, sync_interval_ms=7),
        existing=False,
    )
    update(store, archive)
    assert (store.settings.checkpoint_bytes, store.settings.sync_interval_ms) == (5000, 7)
    store.close()
    again = Store.load(tmp_path / "s")
    assert (again.settings.checkpoint_bytes, again.settings.sync_interval_ms) == (5000, 7)
    again.close()


@pytest.mark.parametrize(
    "manifest",
    [
        {},
        {"format": "edgeshard"},
        {"format": "other", "version": 1, "shard": "", "sequence": 0, "segments": {}},
        {"format": "edgeshard", "version": 2, "shard": "", "sequence": 0, "segments": {}},
        {"format": "edgeshard", "version": 1, "shard": "", "sequence": 0, "segments": {"a": 1}},
    ],
)
def test_a_manifest_that_is_none(tmp_path: Path, manifest: dict[str, Any]) -> None:
    source = sender()
    with pytest.raises(ValidationError, match="manifest"):
        write(source, tmp_path / "x", manifest)
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_in_the_way(tmp_path: Path) -> None:
    source = sender()
    archive = write(source, tmp_path / "x")
    with pytest.raises(AlreadyExists):
        write(source, tmp_path / "x")
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine").write_text("kept")
    with pytest.raises(AlreadyExists):
        restore.unpack_snapshot(archive, full)
    assert (full / "mine").read_text() == "kept"
    with pytest.raises(NotFound):
        restore.unpack_snapshot(tmp_path / "none", tmp_path / "new")
    (tmp_path / "empty").mkdir()
    unpacked(archive, tmp_path / "empty").close()


# -- signatures

KEY = bytes(range(32))


def signed(store: Store, path: Path, key: bytes | None) -> Path:
    held = store.hold()
    folder, name = restore.folder_of(path)
    try:
        writing.create(store.storage, held, folder, name, None, key)
    finally:
        store.let_go(held)
    return path


def test_one_that_is_signed_is_read_with_its_key(tmp_path: Path) -> None:
    source = sender()
    archive = signed(source, tmp_path / "a", KEY)
    for name, key in {"asked": KEY, "not asked": None}.items():
        restore.unpack_snapshot(archive, tmp_path / name, key)
        again = Store.load(tmp_path / name)
        assert held_points(again.view) == held_points(source.view)
        assert not list((tmp_path / name).glob("snapshot.*"))
        again.close()


def test_what_was_not_signed_with_the_key(tmp_path: Path) -> None:
    source = sender()
    good = signed(source, tmp_path / "good", KEY)
    commit(source, upsert([1], 99))
    other = members_of(signed(source, tmp_path / "other", KEY[::-1]))
    forged = {**other, "snapshot.sig": members_of(good)["snapshot.sig"]}
    store = on_disk(tmp_path / "shard")
    before = held_points(store.view)
    for name, archive in {
        "unsigned": signed(source, tmp_path / "unsigned", None),
        "another's": tmp_path / "other",
        "forged": pack(tmp_path / "forged", forged),
        "empty": pack(tmp_path / "empty", {**other, "snapshot.sig": b""}),
    }.items():
        held = store.hold()
        with pytest.raises(ValidationError, match="not signed with this key"):
            restore.unpack_snapshot(archive, tmp_path / "new", KEY)
        with (
            pytest.raises(ValidationError, match="not signed with this key"),
            restore.brought_in(store.storage, archive, held, KEY),
        ):
            pass
        store.let_go(held)
        assert held_points(store.view) == before, name
    store.close()


@pytest.mark.parametrize("key", [b"", bytes(15), bytes(65), "k" * 32])
def test_a_key_that_is_none(tmp_path: Path, key: Any) -> None:
    with pytest.raises(ValidationError, match="key: expected"):
        signed(sender(), tmp_path / "a", key)
    assert list(tmp_path.iterdir()) == []


# -- archives that are not what they seem


Members = dict[str, bytes]


def members_of(archive: Path) -> Members:
    with tarfile.open(archive) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]


def pack(path: Path, members: Members) -> Path:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def _described(members: Members, **changed: Any) -> Members:
    told = msgspec.json.decode(members[DESCRIPTION])
    return {**members, DESCRIPTION: msgspec.json.encode({**told, **changed})}


def _without(members: Members, name: str) -> Members:
    return {known: data for known, data in members.items() if known != name}


def _first(members: Members, prefix: str) -> str:
    return next(name for name in members if name.startswith(prefix))


LIES: dict[str, Any] = {
    "nothing": lambda m: {},
    "no description": lambda m: _without(m, DESCRIPTION),
    "no manifest": lambda m: _without(m, "manifest"),
    "no segment file": lambda m: _without(m, _first(m, "segments/")),
    "no log": lambda m: _without(m, _first(m, "wal/")),
    "an undeclared file": lambda m: {**m, "segments/00000001/more": b"x"},
    "an undeclared name": lambda m: {**m, "LOCK": b""},
    "another length": lambda m: {**m, _first(m, "wal/"): m[_first(m, "wal/")] + b"x"},
    "another manifest": lambda m: {**m, "manifest": m["manifest"][:-1] + b"?"},
    "another shard": lambda m: _described(m, shard="0" * 32),
    "a later version": lambda m: _described(m, version=2),
    "another program": lambda m: _described(m, format="qdrant"),
    "more than we know": lambda m: _described(m, signed=True),
    "no JSON": lambda m: {**m, DESCRIPTION: b"{"},
    "deep JSON": lambda m: {**m, DESCRIPTION: b"[" * 100_000},
    "no hashes": lambda m: _described(m, files={}),
    "reuse of what is there": lambda m: _described(
        m, reused={_first(m, "segments/"): {"name": "manifest", "identity": ""}}
    ),
    "reuse of what is not named": lambda m: _described(
        m, reused={"../x": {"name": "manifest", "identity": ""}}
    ),
    "no payload": lambda m: dict.fromkeys(m, b""),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_archive_that_lies(tmp_path: Path, lie: str) -> None:
    members = LIES[lie](members_of(write(sender(), tmp_path / "true")))
    archive = pack(tmp_path / "lie", members)
    store = on_disk(tmp_path / "shard")
    commit(store, upsert(range(9)))
    before = held_points(store.view)
    with pytest.raises((CorruptData, ValidationError, LimitExceeded)):
        update(store, archive)
    with pytest.raises((CorruptData, ValidationError, LimitExceeded)):
        restore.unpack_snapshot(archive, tmp_path / "new")
    assert held_points(store.view) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lie", "shard", "true"]
    assert not (tmp_path / "shard" / "incoming").exists()
    store.close()


def test_any_byte_that_is_changed_or_missing(tmp_path: Path) -> None:
    """Of the whole archive: it is found out, or it changes nothing."""
    source, random = sender(), Random(4)
    data = write(source, tmp_path / "true").read_bytes()
    points = held_points(source.view)
    refused = 0
    for turn in range(250):
        damaged = bytearray(data)
        place = random.randrange(len(data))
        if turn % 5:
            damaged[place] ^= 1 << random.randrange(8)
        else:
            del damaged[place:]
        (tmp_path / "x").write_bytes(damaged)
        try:
            again = unpacked(tmp_path / "x", tmp_path / f"s{turn}")
        except EdgeError:
            refused += 1
            assert not (tmp_path / f"s{turn}").exists()
            continue
        assert held_points(again.view) == points
        again.close()
    assert refused > 150
