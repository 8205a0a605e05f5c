"""The manifest: replaced at once or not at all, every byte checked, leftovers found."""

from __future__ import annotations

import zlib
from random import Random

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.disk import files, manifest
from edge.disk.array_file import read_array, write_array
from edge.disk.manifest import FileEntry, Manifest, SegmentEntry
from edge.disk.storage import DiskStorage, Storage
from edge.disk.wal import Wal
from edge.errors import CorruptData, StorageFault, StorageFull
from tests.disk.damage import cuts, flips, zeroed
from tests.disk.simulated import FAULTS, FaultyStorage, SimulatedStorage

SHARD = "0123456789abcdef" * 2


def state(generation: int = 1, segments: tuple[SegmentEntry, ...] = ()) -> Manifest:
    return Manifest(generation, SHARD, 7, 9, 3, b"config\0\xff" * 9, segments)


def entry(segment: int, *roles: str) -> SegmentEntry:
    named = {role: FileEntry(files.segment_file(segment, role), 10, 77) for role in roles}
    return SegmentEntry(segment, 5, named, {"kind": "plain", "list": [1, 2.5, None]})


WITH_SEGMENTS = state(4, (entry(1, "ids", "vectors.0"), entry(12, "ids")))

numbers = st.integers(0, 2**63)
entries = st.builds(
    SegmentEntry,
    numbers,
    numbers,
    st.dictionaries(
        st.text(max_size=9),
        st.builds(FileEntry, st.just("segments/00000001/ids"), numbers, numbers),
        max_size=3,
    ),
    st.dictionaries(
        st.text(), st.none() | st.booleans() | st.floats(-9, 9) | st.text(), max_size=3
    ),
)


@given(
    st.builds(
        Manifest,
        *[numbers, st.just(SHARD), numbers, numbers, numbers],
        st.binary(),
        st.lists(entries, max_size=3).map(tuple),
    )
)
def test_what_is_encoded_is_decoded(wanted: Manifest) -> None:
    assert manifest.decode(manifest.encode(wanted)) == wanted


def test_nothing_there_is_none_and_reading_writes_nothing(tmp_path) -> None:
    storage = DiskStorage(tmp_path / "missing")
    assert manifest.load(storage) is None
    assert not (tmp_path / "missing").exists()


def test_stored_and_loaded(tmp_path) -> None:
    storage = DiskStorage(tmp_path / "shard")
    storage.mkdir("")
    for generation in range(1, 4):
        manifest.store(storage, state(generation))
        assert manifest.load(storage) == state(generation)
    assert storage.list("") == [files.MANIFEST]


def test_a_leftover_of_a_crash_is_in_nobodys_way() -> None:
    storage = SimulatedStorage({files.MANIFEST_NEW: b"half a manif"})
    manifest.store(storage, state())
    assert storage.list("") == [files.MANIFEST]


def test_a_full_disk_leaves_the_old_manifest_alone() -> None:
    inner = SimulatedStorage()
    manifest.store(inner, state(1))
    with pytest.raises(StorageFull):
        manifest.store(FaultyStorage(inner, "short", 1, forever=True), state(2))
    assert inner.list("") == [files.MANIFEST]
    assert manifest.load(inner) == state(1)


def test_no_space_after_the_rename_is_not_called_full(monkeypatch) -> None:
    """StorageFull says that the old manifest stands; here nobody knows."""
    storage = SimulatedStorage()

    def full(name: str) -> None:
        raise StorageFull("no space", name)

    monkeypatch.setattr(storage, "sync_folder", full)
    with pytest.raises(StorageFault) as caught:
        manifest.store(storage, state())
    assert not isinstance(caught.value, StorageFull)


def test_the_wrong_length_is_told() -> None:
    data = manifest.encode(state())
    for wrong in (data[:-1], data + b"x"):
        with pytest.raises(CorruptData, match=f"has {len(wrong)} bytes, not {len(data)}"):
            manifest.decode(wrong)


def test_every_damage_is_found() -> None:
    image = {files.MANIFEST: manifest.encode(WITH_SEGMENTS)}
    tried = [
        *flips(image, files.MANIFEST),
        *cuts(image, files.MANIFEST),
        *zeroed(image, files.MANIFEST),
    ]
    assert len(tried) > 2 * len(image[files.MANIFEST])
    for what, broken in tried:
        with pytest.raises(CorruptData) as caught:
            manifest.load(SimulatedStorage(broken))
        assert caught.value.path == "/simulated/manifest", what


@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_are_corrupt_never_another_error(data: bytes, framed: bool) -> None:
    """Even with the frame right: what a program of another kind has written."""
    with pytest.raises(CorruptData):
        manifest.decode(frame(data) if framed else data)


def frame(body: bytes) -> bytes:
    """`body` in the frame that belongs to it."""
    head = b"EDGEMANI" + (1).to_bytes(4, "little") + len(body).to_bytes(4, "little")
    return head + zlib.crc32(body, zlib.crc32(head)).to_bytes(4, "little") + body


@pytest.mark.parametrize("name", ["../escape", "/etc/passwd", "segments/../../x", "wal/1", "a\0b"])
def test_names_outside_the_segments_are_refused(name: str) -> None:
    bad = SegmentEntry(1, 1, {"ids": FileEntry(name, 1, 1)}, {})
    with pytest.raises(CorruptData, match="names"):
        manifest.decode(manifest.encode(state(1, (bad,))))


def test_deeply_nested_meta_is_corrupt() -> None:
    plain = msgspec.to_builtins(state())
    plain["segments"] = b"@"
    body = msgspec.msgpack.encode(plain).replace(b"\xc4\x01@", b"\x91" * 100_000 + b"\xc0")
    with pytest.raises(CorruptData):
        manifest.decode(frame(body))


def test_a_newer_version_is_named() -> None:
    data = bytearray(manifest.encode(state()))
    data[8] = 2
    with pytest.raises(CorruptData, match="version 2; this program reads version 1"):
        manifest.decode(bytes(data))


@pytest.mark.parametrize("with_data", ["records", "segment"])
def test_a_missing_manifest_beside_data_is_corrupt(with_data: str) -> None:
    storage = SimulatedStorage()
    wal = Wal.open(storage, shard=SHARD)
    storage.mkdir(files.SEGMENTS)
    assert manifest.load(storage) is None
    if with_data == "records":
        wal.append(1, [b"x"])
    else:
        storage.mkdir(files.segment_folder(1))
    with pytest.raises(CorruptData, match="missing"):
        manifest.load(storage)


def test_orphans_are_what_no_manifest_names() -> None:
    storage = SimulatedStorage()
    for name in (
        "segments/00000001/ids",
        "segments/00000001/vectors.0",
        "segments/00000001/left",
        "segments/00000002/ids",
        "segments/00000012/ids",
        "segments/stray",
        "wal/00000001.log",
        "README",
        files.MANIFEST_NEW,
    ):
        storage.mkdir(files.parent(name))
        storage.create(name)
    expected = [files.MANIFEST_NEW, "segments/00000001/left", "segments/00000002", "segments/stray"]
    assert manifest.orphans(storage, WITH_SEGMENTS) == expected
    for name in expected:
        storage.remove_tree(name)
    assert manifest.orphans(storage, WITH_SEGMENTS) == []


# -- power cuts and faults: a new segment's file, then the manifest that names it ----------------


def add_segment(storage: Storage, before: Manifest, segment: int) -> Manifest:
    """What a store does: write the files, then the manifest, then remove what it replaced."""
    storage.mkdir(files.segment_folder(segment))
    rows = np.full((40, 4), segment, "<f4")
    file = write_array(storage, files.segment_file(segment, "vectors.0"), rows, "<f4", rows.shape)
    entry = SegmentEntry(segment, 40, {"vectors.0": file}, {})
    after = msgspec.structs.replace(
        before, generation=before.generation + 1, next_segment=segment + 1, segments=(entry,)
    )
    manifest.store(storage, after, previous=before)
    for old in before.segments:
        storage.remove_tree(files.segment_folder(old.id))
    return after


def is_sound(storage: Storage, generations: range) -> None:
    """One of the generations is there, with its files whole; its leftovers can be removed."""
    found = manifest.load(storage)
    assert found is not None
    assert found.generation in generations
    for segment in found.segments:
        rows = read_array(storage, segment.files["vectors.0"])
        assert (rows == segment.id).all()
    for name in manifest.orphans(storage, found):
        storage.remove_tree(name)
    assert manifest.orphans(storage, found) == []
    after = add_segment(storage, found, 99)
    assert manifest.load(storage) == after


def started() -> tuple[SimulatedStorage, Manifest]:
    storage = SimulatedStorage()
    Wal.open(storage, shard=SHARD)
    storage.mkdir(files.SEGMENTS)
    manifest.store(storage, state(0))
    return storage, state(0)


def test_power_cuts_while_the_first_manifest_is_stored() -> None:
    storage = SimulatedStorage()
    Wal.open(storage, shard=SHARD)
    storage.mkdir(files.SEGMENTS)
    found: list[Manifest | None] = []
    storage.after_call = lambda call: found.extend(
        manifest.load(SimulatedStorage(image)) for image in storage.power_cuts(Random(len(found)))
    )
    manifest.store(storage, state())
    assert found[0] is None
    assert found[-1] == state()
    assert all(one in (None, state()) for one in found)
    assert len(found) > 30


def test_power_cuts_while_segments_replace_each_other() -> None:
    storage, current = started()
    states = 0

    def cut(call: str) -> None:
        nonlocal states
        for image in storage.power_cuts(Random(states), most=200, torn=12):
            is_sound(SimulatedStorage(image), range(done, done + 2))
            states += 1

    storage.after_call = cut
    for done in range(3):
        current = add_segment(storage, current, done + 1)
    assert states > 400


@pytest.mark.parametrize("forever", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("fault", FAULTS)
def test_any_call_may_fail(fault: str, forever: bool) -> None:
    struck = 0
    for nth in range(1, 60):
        inner, current = started()
        storage = FaultyStorage(inner, fault, nth, forever)
        done = 0
        try:
            for done in range(3):
                current = add_segment(storage, current, done + 1)
        except StorageFault:
            struck += 1
        expected = range(done, done + 2) if storage.struck else range(3, 4)
        for image in [inner.image(), *inner.power_cuts(Random(nth))]:
            is_sound(SimulatedStorage(image), expected)
        if not storage.struck:
            break
    assert struck >= 3
    assert not storage.struck
