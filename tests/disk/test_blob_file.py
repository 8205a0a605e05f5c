"""Blobs in files: what was written comes back, and no damaged byte with it."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.disk.array_file import write_array
from edge.disk.blob_file import BlobFile, write_blobs
from edge.disk.sealed_file import BLOCK
from edge.disk.storage import DiskStorage
from edge.errors import CorruptData, StorageFault
from tests.disk.damage import cuts, flips, moved, zeroed
from tests.disk.simulated import FAULTS, FaultyStorage, SimulatedStorage
from tests.disk.test_array_file import numbers


def some_blobs(count: int, largest: int, seed: int = 0) -> list[bytes]:
    random = Random(seed)
    return [random.randbytes(random.randrange(largest)) for _ in range(count)]


def all_of(file: BlobFile) -> list[bytes]:
    return [bytes(file.get(index)) for index in range(len(file))]


@given(blobs=st.lists(st.binary(max_size=50), max_size=50), resident=st.booleans())
def test_what_was_written_is_read(blobs: list[bytes], resident: bool) -> None:
    storage = SimulatedStorage()
    entry = write_blobs(storage, "blobs", iter(blobs))
    file = BlobFile.open(storage, entry, resident=resident)
    assert len(file) == len(blobs)
    assert all_of(file) == blobs
    assert entry.length == storage.size("blobs")


@pytest.mark.parametrize("resident", [False, True])
def test_many_and_large_blobs_on_a_real_disk(tmp_path, resident: bool) -> None:
    storage = DiskStorage(tmp_path / "shard")
    storage.mkdir("")
    blobs = [*some_blobs(3000, 900), Random(1).randbytes(5 * BLOCK), b"", b"end"]
    file = BlobFile.open(storage, write_blobs(storage, "blobs", blobs), resident=resident)
    storage.unlink("blobs")
    for index in Random(2).sample(range(len(blobs)), len(blobs)):
        assert file.get(index) == blobs[index]
    assert file.get(0).readonly
    file.check()


@pytest.mark.parametrize("index", [-1, 3, 1 << 70])
def test_beyond_the_last_is_an_index_error(index: int) -> None:
    storage = SimulatedStorage()
    file = BlobFile.open(storage, write_blobs(storage, "blobs", [b"a", b"", b"c"]))
    with pytest.raises(IndexError):
        file.get(index)


def test_blobs_that_fail_leave_nothing() -> None:
    storage = SimulatedStorage()

    def blobs():
        yield b"one"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_blobs(storage, "blobs", blobs())
    assert storage.list("") == []


def test_every_damage_is_found() -> None:
    """At opening, at the blob that lies there, or, in bytes that no blob owns, by `check`."""
    storage = SimulatedStorage()
    blobs = some_blobs(30, 40)
    entries = {
        "blobs": write_blobs(storage, "blobs", blobs),
        "twin": write_blobs(storage, "twin", blobs),
        "empty": write_blobs(storage, "empty", []),
        "array": write_array(storage, "array", numbers((9,)), "<f4", (9,)),
    }
    image = storage.image()
    tried = [
        *(damage for name in ("blobs", "empty") for damage in flips(image, name)),
        *(damage for name in ("blobs", "empty") for damage in cuts(image, name)),
        *zeroed(image, "blobs"),
        *moved(image, list(entries)),
    ]
    assert len(tried) > 1500
    for what, broken in tried:
        for name in entries:
            if broken.get(name) == image[name] or name == "array":
                continue
            for resident in (True, False):
                with pytest.raises(CorruptData) as caught:
                    BlobFile.open(
                        SimulatedStorage(broken), entries[name], resident=resident
                    ).check()
                assert caught.value.path == f"/simulated/{name}", what


def test_only_the_damaged_block_is_refused() -> None:
    """A mapped file serves what is whole, and says no to what is not, however often it is asked."""
    storage = SimulatedStorage()
    blobs = [bytes([n]) * 1000 for n in range(250)]
    entry = write_blobs(storage, "blobs", blobs)
    storage.overwrite("blobs", BLOCK + 500, b"\xff")
    file = BlobFile.open(storage, entry)
    hurt = [
        index for index in range(250) if index * 1000 < 2 * BLOCK and (index + 1) * 1000 > BLOCK
    ]
    for _ in range(2):
        for index in range(250):
            if index in hurt:
                with pytest.raises(CorruptData) as caught:
                    file.get(index)
                assert caught.value.offset == BLOCK
            else:
                assert file.get(index) == blobs[index]
    with pytest.raises(CorruptData):
        BlobFile.open(storage, entry, resident=True)


def test_damaged_offsets_are_found_at_open() -> None:
    """They lie in the last block here, which nobody has touched yet."""
    storage = SimulatedStorage()
    entry = write_blobs(storage, "blobs", [bytes(BLOCK), b"one", b"two"])
    for at in range(BLOCK + 8, BLOCK + 8 + 4 * 8):
        broken = SimulatedStorage(storage.image())
        broken.overwrite("blobs", at, bytes([broken.read("blobs")[at] ^ 4]))
        with pytest.raises(CorruptData) as caught:
            BlobFile.open(broken, entry)
        assert caught.value.offset == BLOCK


@pytest.mark.parametrize("forever", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("fault", FAULTS)
def test_any_call_may_fail(fault: str, forever: bool) -> None:
    blobs = some_blobs(50, 99)
    struck = 0
    for nth in range(1, 60):
        inner = SimulatedStorage()
        storage = FaultyStorage(inner, fault, nth, forever)
        try:
            entry = write_blobs(storage, "blobs", blobs)
            for resident in (True, False):
                assert all_of(BlobFile.open(storage, entry, resident=resident)) == blobs
        except StorageFault:
            struck += 1
        if not storage.struck:
            break
    assert struck
    assert not storage.struck
