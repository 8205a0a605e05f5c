"""The log: what it takes it gives back, and what it may refuse."""

from __future__ import annotations

import gc
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.disk import files
from edge.disk.log_file import FILE_HEADER, LARGEST_BODY, RECORD_HEADER
from edge.disk.storage import DiskStorage
from edge.disk.wal import MARK_SIZE, Wal
from edge.errors import CorruptData, LimitExceeded, StorageFault, StorageFull
from tests.disk.log_model import OPERATIONS, SHARD, LogModel, body_of, drained, plain
from tests.disk.simulated import FaultyStorage, FaultyWriter, SimulatedStorage


def filled(count: int = 5) -> tuple[SimulatedStorage, Wal]:
    storage = SimulatedStorage()
    wal = Wal.open(storage, shard=SHARD)
    for sequence in range(1, count + 1):
        wal.append(1, [body_of(sequence)])
    return storage, wal


def test_an_empty_log_is_small_and_starts_before_one() -> None:
    storage = SimulatedStorage()
    wal = Wal.open(storage, shard=SHARD)
    assert list(wal.replay()) == []
    assert (wal.sequence, wal.synced, wal.bytes) == (0, 0, FILE_HEADER)
    assert sum(len(data or b"") for data in storage.image().values()) == FILE_HEADER + MARK_SIZE


@given(bodies=st.lists(st.lists(st.binary(max_size=300), max_size=4), max_size=30))
def test_what_was_appended_is_replayed(bodies: list[list[bytes]]) -> None:
    storage = SimulatedStorage()
    wal = Wal.open(storage, shard=SHARD)
    for kind, parts in enumerate(bodies):
        assert wal.append(kind, parts) == kind + 1
    expected = [(kind + 1, kind, b"".join(parts)) for kind, parts in enumerate(bodies)]
    assert drained(storage) == expected
    assert wal.bytes == FILE_HEADER + sum(RECORD_HEADER + len(body) for _, _, body in expected)


@given(script=st.text(OPERATIONS, max_size=40))
def test_any_script_leaves_the_log_that_it_should(script: str) -> None:
    model = LogModel(SimulatedStorage())
    model.run(script)
    model.reopen()


def test_the_same_on_a_real_disk(tmp_path) -> None:
    random = Random(4)
    model = LogModel(DiskStorage(tmp_path / "shard"))
    for _ in range(30):
        model.run("".join(random.choices(OPERATIONS, weights=(9, 3, 3, 1, 1, 2), k=10)))
    model.reopen()
    model.wal.close()


def test_bodies_larger_than_the_reader_reads_at_once(tmp_path) -> None:
    storage = DiskStorage(tmp_path / "shard")
    wal = Wal.open(storage, shard=SHARD)
    bodies = [bytes([n]) * size for n, size in enumerate((10, 3 << 20, 0, 1 << 20, 700_000, 5))]
    for body in bodies:
        wal.append(0, [body])
    wal.close()
    assert [body for _, _, body in drained(storage)] == bodies


def test_record_headers_across_every_place_of_a_window(tmp_path) -> None:
    """Records of 1 MiB and a bit, so that window ends fall on each byte of a record header."""
    storage = DiskStorage(tmp_path / "shard")
    wal = Wal.open(storage, shard=SHARD)
    for gap in range(RECORD_HEADER + 4):
        wal.append(gap, [bytes((1 << 20) - RECORD_HEADER - 16 - gap)])
        wal.append(gap, [b"tiny"])
    wal.close()
    assert len(drained(storage)) == 2 * (RECORD_HEADER + 4)


def test_bodies_are_read_only_views_that_stay() -> None:
    storage, wal = filled()
    records = list(Wal.open(storage, shard=SHARD).replay())
    gc.collect()
    assert all(record.body.readonly for record in records)
    assert [bytes(record.body) for record in records] == [body_of(n) for n in range(1, 6)]
    assert wal.sequence == 5


def test_parts_may_be_arrays() -> None:
    storage, wal = filled(0)
    vectors = np.arange(6, dtype="<f4").reshape(2, 3)
    wal.append(3, [b"head", vectors, memoryview(b"tail")])
    assert drained(storage) == [(1, 3, b"head" + vectors.tobytes() + b"tail")]


def test_many_parts_are_written_whole(tmp_path) -> None:
    storage = DiskStorage(tmp_path / "shard")
    wal = Wal.open(storage, shard=SHARD)
    parts = [bytes([n % 251]) * (n % 7) for n in range(5_000)]
    wal.append(0, parts)
    wal.close()
    assert drained(storage) == [(1, 0, b"".join(parts))]


def test_a_body_over_the_limit_is_the_callers_mistake() -> None:
    _, wal = filled(1)
    piece = bytes(1 << 16)
    with pytest.raises(LimitExceeded):
        wal.append(0, [piece] * (LARGEST_BODY // len(piece) + 1))
    assert wal.append(0, [b""]) == 2


def test_replay_starts_at_first_and_skips_whole_files() -> None:
    model = LogModel(SimulatedStorage())
    model.run("aaraarAAa")
    assert drained(model.storage, first=4) == model.records(4, 7)
    assert drained(model.storage, first=8) == []
    model.run("s")
    broken = model.storage.image()
    first_file = files.log_file(files.WAL, 1)
    broken[first_file] = broken[first_file][:-1] + b"!"
    assert drained(SimulatedStorage(broken), first=3) == model.records(3, 7)


def test_replay_may_be_left_early_and_appending_goes_on() -> None:
    storage, wal = filled()
    again = Wal.open(storage, shard=SHARD)
    assert next(again.replay()).sequence == 1
    assert again.append(1, [b"six"]) == 6
    assert list(again.replay()) == []
    assert [sequence for sequence, _, _ in drained(storage)] == [1, 2, 3, 4, 5, 6]
    assert wal.sequence == 5


def test_read_follows_the_log_across_files() -> None:
    model = LogModel(SimulatedStorage())
    model.run("aaraara")
    assert [plain(record) for record in model.wal.read(2)] == model.records(2, 5)
    reader = model.wal.read(4)
    model.run("aa")
    assert [plain(record) for record in reader] == model.records(4, 5)
    assert list(model.wal.read(8)) == []


def test_read_before_what_was_dropped_is_refused() -> None:
    model = LogModel(SimulatedStorage())
    model.run("aarads")
    model.wal.drop_before(3)
    with pytest.raises(CorruptData, match="starts at 3, not at 2"):
        model.wal.read(2)


def test_read_finds_damage() -> None:
    storage, wal = filled()
    storage.overwrite(files.log_file(files.WAL, 1), FILE_HEADER + RECORD_HEADER, b"O")
    with pytest.raises(CorruptData, match="record 1 is damaged"):
        list(wal.read(1))


def test_rotation_and_dropping_bound_the_bytes() -> None:
    model = LogModel(SimulatedStorage())
    model.run("AAAAr")
    before = model.wal.bytes
    model.run("rr")
    assert model.storage.list(files.WAL) == ["00000001.log", "00000002.log", files.SYNCED]
    model.run("ad")
    assert model.wal.bytes < before
    assert model.storage.list(files.WAL) == ["00000002.log", files.SYNCED]
    model.wal.drop_before(1 << 40)
    assert model.storage.list(files.WAL) == ["00000002.log", files.SYNCED]


def test_a_log_may_start_anywhere() -> None:
    storage = SimulatedStorage()
    wal = Wal.open(storage, first=1001, durable=1000, shard=SHARD)
    assert wal.sequence == 1000
    assert wal.append(0, [b"x"]) == 1001
    assert drained(storage, first=1001, durable=1000, create=False) == [(1001, 0, b"x")]


@pytest.mark.parametrize("wanted", [{"durable": 6}, {"first": 7}])
def test_a_log_that_ends_too_early_is_corrupt(wanted: dict[str, int]) -> None:
    storage, _ = filled(5)
    with pytest.raises(CorruptData, match="ends at 5, but 6 was synced"):
        drained(storage, **wanted)


def test_a_log_that_starts_too_late_is_corrupt() -> None:
    model = LogModel(SimulatedStorage())
    model.run("aarad")
    with pytest.raises(CorruptData, match="starts at 3, not at 2"):
        drained(model.storage, first=2)


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_a_missing_file_is_corrupt(missing: int) -> None:
    model = LogModel(SimulatedStorage())
    model.run("aaraara")
    model.storage.unlink(files.log_file(files.WAL, missing))
    with pytest.raises(CorruptData):
        drained(model.storage)


@pytest.mark.parametrize(("create", "durable"), [(False, 0), (True, 1)])
def test_a_missing_log_is_corrupt(create: bool, durable: int) -> None:
    with pytest.raises(CorruptData, match="missing"):
        drained(SimulatedStorage(), create=create, durable=durable)


def test_an_empty_log_of_another_shard_is_replaced_where_one_may_be_made() -> None:
    storage = SimulatedStorage()
    Wal.open(storage, shard="ab" * 16)
    with pytest.raises(CorruptData, match="another shard's"):
        drained(storage, create=False)
    assert drained(storage) == []
    assert drained(storage, create=False) == []


def test_records_of_another_shard_are_never_taken_nor_replaced() -> None:
    storage, _ = filled()
    with pytest.raises(CorruptData, match="another shard's"):
        Wal.open(storage, shard="ab" * 16)


def test_a_newer_format_is_named() -> None:
    storage, _ = filled()
    storage.overwrite(files.log_file(files.WAL, 1), 8, (9).to_bytes(4, "little"))
    with pytest.raises(CorruptData, match="version 9; this program reads version 1"):
        drained(storage)


def test_a_torn_tail_is_cut_off_at_the_first_write_only() -> None:
    storage, _ = filled(4)
    name = files.log_file(files.WAL, 1)
    whole = storage.size(name)
    storage.truncate(name, whole - 3)
    wal = Wal.open(storage, shard=SHARD)
    assert [record.sequence for record in wal.replay()] == [1, 2, 3]
    assert wal.torn_bytes == RECORD_HEADER + len(body_of(4)) - 3
    assert storage.size(name) == whole - 3
    assert wal.append(9, [b"new"]) == 4
    assert drained(storage)[-1] == (4, 9, b"new")


def test_an_unsynced_hole_ends_the_log_and_says_what_it_lost() -> None:
    storage, _ = filled(5)
    at = FILE_HEADER + RECORD_HEADER + len(body_of(1))
    storage.overwrite(files.log_file(files.WAL, 1), at, bytes(8))
    wal = Wal.open(storage, shard=SHARD)
    assert [record.sequence for record in wal.replay()] == [1]
    assert wal.torn_records == 3


@pytest.mark.parametrize("proof", ["mark", "durable", "later record", "later file"])
def test_a_synced_record_that_is_damaged_is_corrupt(proof: str) -> None:
    storage, wal = filled(3)
    wal.sync()
    if proof == "later record":
        wal.append(1, [b"four"])
    if proof == "later file":
        wal.rotate()
    if proof != "mark":
        storage.unlink(f"{files.WAL}/{files.SYNCED}")
    name = files.log_file(files.WAL, 1)
    at = FILE_HEADER + 2 * (RECORD_HEADER + len(body_of(1)))
    storage.overwrite(name, at + RECORD_HEADER, b"O")
    with pytest.raises(CorruptData, match="record 3 is damaged") as caught:
        drained(storage, durable=3 if proof == "durable" else 0)
    assert (caught.value.path, caught.value.offset) == (f"/simulated/{name}", at)


def test_a_note_of_another_shard_is_not_heeded() -> None:
    other, its_wal = filled(9)
    its_wal.sync()
    storage = SimulatedStorage()
    wal = Wal.open(storage, shard="ab" * 16)
    wal.append(1, [b"one"])
    storage.overwrite("wal/synced", 0, other.read("wal/synced"))
    again = Wal.open(storage, shard="ab" * 16)
    assert [record.sequence for record in again.replay()] == [1]
    assert again.synced == 0


def test_leftovers_go_with_the_first_write() -> None:
    """A file that was never begun, and one that a lost unlink brought back."""
    model = LogModel(SimulatedStorage())
    model.run("aararasd")
    returned = model.storage.create("wal/00000001.log")
    returned.write(b"EDGEWAL")
    model.storage.unlink("wal/00000001.log")
    image = {**model.storage.image(), "wal/00000004.log": b"EDGE"}
    old = LogModel(SimulatedStorage())
    old.run("aa")
    image["wal/00000001.log"] = old.storage.read("wal/00000001.log")
    storage = SimulatedStorage(image)
    wal = Wal.open(storage, first=4, durable=3, shard=SHARD, create=False)
    assert [record.sequence for record in wal.replay()] == [4]
    assert storage.list("wal") == ["00000001.log", "00000003.log", "00000004.log", "synced"]
    wal.append(1, [b"five"])
    assert storage.list("wal") == ["00000003.log", "synced"]


def test_after_damage_was_found_nothing_is_written() -> None:
    storage, wal = filled(3)
    wal.sync()
    storage.overwrite(files.log_file(files.WAL, 1), FILE_HEADER, b"?")
    again = Wal.open(storage, shard=SHARD)
    with pytest.raises(CorruptData):
        list(again.replay())
    for write in (lambda: again.append(1, [b"x"]), again.sync, again.rotate):
        with pytest.raises(StorageFault, match="damaged"):
            write()
    assert again.broken


def test_log_bytes_inside_a_body_prove_nothing() -> None:
    """A body that holds a whole other log, past a torn record, is not taken for later records."""
    other, its_wal = filled(9)
    its_wal.sync()
    its_wal.append(1, [b"ten"])
    inside = other.read(files.log_file(files.WAL, 1))
    storage = SimulatedStorage()
    wal = Wal.open(storage, shard="ab" * 16)
    wal.append(0, [b"first"])
    wal.append(0, [inside])
    storage.overwrite(files.log_file(files.WAL, 1), FILE_HEADER, b"?")
    again = Wal.open(storage, shard="ab" * 16)
    assert list(again.replay()) == []
    assert again.torn_records == 1


@pytest.mark.parametrize("fault", ["short", "eio", "eio-after"])
def test_a_failed_append_leaves_nothing(fault: str) -> None:
    """Whatever the failed write did: nothing, half of it, or all."""
    inner = SimulatedStorage()
    wal = Wal.open(inner, shard=SHARD)
    wal.append(1, [b"one"])
    wal.sync()
    before = inner.image()
    storage = FaultyStorage(inner, fault, 1, forever=False)
    wal._writer = FaultyWriter(storage, inner.append(files.log_file(files.WAL, 1)))
    with pytest.raises(StorageFault):
        wal.append(1, [b"two"])
    assert storage.struck == 1
    assert inner.image() == before
    assert wal.append(1, [b"three"]) == 2
    assert [body for _, _, body in drained(inner)] == [b"one", b"three"]


def test_a_record_of_a_past_that_was_cut_off_is_not_taken_up_again() -> None:
    """Whole, of this file, with the right number; but it follows another record 2."""
    storage, _ = filled(3)
    name = files.log_file(files.WAL, 1)
    third = storage.read(name)[-RECORD_HEADER - len(body_of(3)) :]
    storage.truncate(name, storage.size(name) - 2 * len(third))
    wal = Wal.open(storage, shard=SHARD)
    wal.append(1, [body_of(2).upper()])
    storage.append(name).write(third)
    again = Wal.open(storage, shard=SHARD)
    assert [bytes(record.body) for record in again.replay()] == [body_of(1), body_of(2).upper()]
    assert again.torn_bytes == len(third)


def test_a_failed_append_that_cannot_be_taken_back_ends_the_log() -> None:
    _, wal = filled(1)

    class Stuck:
        size = 0

        def write(self, *buffers: bytes) -> int:
            raise StorageFull("no space")

        def truncate(self, length: int) -> None:
            raise StorageFault("input/output error")

        def sync(self) -> None:
            raise AssertionError("nothing was cut off")

        def close(self) -> None:
            pass

    wal._writer = Stuck()
    with pytest.raises(StorageFault, match="input/output"):
        wal.append(1, [b"two"])
    with pytest.raises(StorageFault, match="could not be taken back"):
        wal.append(1, [b"three"])
    assert wal.broken


def test_a_full_disk_refuses_an_append_and_takes_the_next() -> None:
    inner = SimulatedStorage()
    Wal.open(inner, shard=SHARD).append(1, [b"one"])
    name = files.log_file(files.WAL, 1)
    storage = FaultyStorage(inner, "enospc", 4, forever=False)
    wal = Wal.open(storage, shard=SHARD)
    wal.append(1, [b"two"])
    before = inner.read(name)
    with pytest.raises(StorageFull):
        wal.append(1, [b"three"])
    assert inner.read(name) == before
    assert wal.append(1, [b"four"]) == 3
    wal.close()
    assert [body for _, _, body in drained(inner)] == [b"one", b"two", b"four"]


def test_a_failed_sync_is_final() -> None:
    inner = SimulatedStorage()
    Wal.open(inner, shard=SHARD)
    storage = FaultyStorage(inner, "sync", 1, forever=False)
    wal = Wal.open(storage, shard=SHARD, create=False)
    wal.append(1, [b"one"])
    with pytest.raises(StorageFault):
        wal.sync()
    assert storage.struck == 1
    for write in (wal.sync, lambda: wal.append(1, [b"two"]), wal.rotate):
        with pytest.raises(StorageFault, match="sync of the log failed"):
            write()
    assert (wal.synced, wal.broken) == (0, True)


def test_what_a_failed_sync_refused_can_be_disowned() -> None:
    inner = SimulatedStorage()
    Wal.open(inner, shard=SHARD).append(1, [b"kept"])
    wal = Wal.open(FaultyStorage(inner, "sync", 1, forever=False), shard=SHARD)
    wal.append(1, [b"two"])
    end = wal.end
    wal.append(1, [b"three"])
    wal.append(1, [b"four"])
    with pytest.raises(StorageFault):
        wal.sync()
    wal.disown(end)
    assert wal.bytes == end == inner.size(files.log_file(files.WAL, 1))
    assert [body for _, _, body in drained(inner)] == [b"kept", b"two"]


def test_what_a_failed_sync_left_is_written_again_after_reopening() -> None:
    """The system holds the pages for clean: only a new write makes the next sync save them."""
    inner = SimulatedStorage()
    Wal.open(inner, shard=SHARD)
    wal = Wal.open(FaultyStorage(inner, "sync", 1, forever=False), shard=SHARD, create=False)
    for sequence in range(1, 6):
        wal.append(1, [body_of(sequence, large=True)])
    with pytest.raises(StorageFault):
        wal.sync()
    again = Wal.open(inner, shard=SHARD, create=False)
    again.sync()
    assert again.synced == 5
    for image in inner.power_cuts(Random(1)):
        assert len(drained(SimulatedStorage(image), create=False)) == 5


def test_nothing_is_written_again_after_a_clean_end() -> None:
    storage, wal = filled(5)
    wal.sync()
    wal.close()
    storage.calls.clear()
    again = Wal.open(storage, shard=SHARD, create=False)
    again.append(1, [b"six"])
    assert [call.split()[0] for call in storage.calls] == ["write"]


def test_a_closed_log_refuses() -> None:
    _, wal = filled()
    wal.close()
    wal.close()
    with pytest.raises(StorageFault, match="closed"):
        wal.append(1, [b"x"])
