"""LogReader: a log that grows, rotates and loses its end, read on from where reading stopped."""

from __future__ import annotations

from itertools import islice
from random import Random

import pytest

from edge.disk import files
from edge.disk.wal import Wal
from edge.errors import CorruptData, StorageFault
from tests.disk.simulated import SimulatedStorage


def body(sequence: int) -> bytes:
    return bytes([sequence % 251]) * (sequence % 90)


def append(wal: Wal, count: int) -> None:
    for _ in range(count):
        wal.append(1, [body(wal.sequence + 1)])


def opened(storage: SimulatedStorage, first: int = 1) -> Wal:
    wal = Wal.open(storage, first=first, create=first == 1)
    assert [record.sequence for record in wal.replay()] == list(range(first, wal.sequence + 1))
    return wal


@pytest.mark.parametrize("seed", range(12))
def test_every_record_once_in_order(seed: int) -> None:
    random = Random(seed)
    wal = opened(SimulatedStorage())
    append(wal, 7)
    first = random.randint(1, 8)
    reader, taken = wal.read(first), []
    for _ in range(60):
        act = random.choice(["append", "append", "rotate", "go on", "take some", "take all"])
        if act == "append":
            append(wal, random.randint(1, 9))
        elif act == "rotate":
            wal.rotate()
        elif act == "go on":
            wal.read_on(reader)
        elif act == "take some":
            taken += islice(reader, random.randint(1, 5))
        else:
            taken += list(reader)
            assert list(reader) == []
    wal.read_on(reader)
    taken += list(reader)
    assert [record.sequence for record in taken] == list(range(first, wal.sequence + 1))
    assert all(bytes(record.body) == body(record.sequence) for record in taken)
    assert reader.next == wal.sequence + 1


def test_it_gives_nothing_that_came_after_it_was_told_to_go_on() -> None:
    wal = opened(SimulatedStorage())
    append(wal, 3)
    reader = wal.read(2)
    append(wal, 3)
    wal.rotate()
    append(wal, 1)
    assert [record.sequence for record in reader] == [2, 3]


def test_files_that_were_read_may_go() -> None:
    wal = opened(SimulatedStorage())
    reader = wal.read(1)
    for _ in range(4):
        append(wal, 5)
        wal.rotate()
        wal.read_on(reader)
        assert len(list(reader)) == 5
        wal.drop_before(reader.next)
    append(wal, 1)
    wal.read_on(reader)
    assert [record.sequence for record in reader] == [21]


def test_what_was_dropped_before_it_was_read() -> None:
    wal = opened(SimulatedStorage())
    append(wal, 5)
    reader = wal.read(1)
    assert next(reader).sequence == 1
    wal.rotate()
    append(wal, 5)
    wal.drop_before(6)
    with pytest.raises(CorruptData, match="the log starts at 6, not at 2"):
        wal.read_on(reader)
    fresh = Wal.open(wal._storage, first=6, create=False).read(6)
    wal._storage.unlink(wal._logs[0].name)
    with pytest.raises(StorageFault):
        next(fresh)


def test_damage_behind_what_was_read() -> None:
    storage = SimulatedStorage()
    wal = opened(storage)
    append(wal, 60)
    reader = wal.read(1)
    name = files.log_file(files.WAL, 1)
    size = storage.size(name)
    storage.overwrite(name, size - 10, b"x")
    with pytest.raises(CorruptData, match="log record 60 is damaged"):
        list(reader)


def test_a_torn_tail_is_not_read() -> None:
    storage = SimulatedStorage()
    wal = opened(storage)
    append(wal, 40)
    wal.sync()
    append(wal, 1)
    storage.truncate(files.log_file(files.WAL, 1), wal.end - 3)
    again = opened(SimulatedStorage(storage.image()))
    reader = again.read(30)
    assert [record.sequence for record in reader] == list(range(30, 41))
    again.append(1, [b"new"])
    again.read_on(reader)
    assert [bytes(record.body) for record in reader] == [b"new"]


def test_bytes_before_and_first_within() -> None:
    wal = opened(SimulatedStorage())
    firsts = []
    for _ in range(4):
        firsts.append(wal.sequence + 1)
        append(wal, 5)
        wal.rotate()
    sizes = [log.size for log in wal._logs]
    needed = wal.sequence + 1
    assert [wal.bytes_before(first) for first in firsts] == [sum(sizes[:n]) for n in range(4)]
    assert wal.bytes_before(firsts[2] + 4) == sum(sizes[:2])
    assert wal.bytes_before(needed) == sum(sizes[:4])
    assert wal.first_within(0, needed) == needed
    assert wal.first_within(sizes[3], needed) == firsts[3]
    assert wal.first_within(sum(sizes[1:4]), needed) == firsts[1]
    assert wal.first_within(sum(sizes[1:4]) - 1, needed) == firsts[2]
    assert wal.first_within(1 << 40, needed) == wal.first == 1
