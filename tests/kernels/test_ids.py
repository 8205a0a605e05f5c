"""The id table against a dict, the id order against sorted(), and readers racing a writer."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_kernels import bits
from edge_kernels import ids as tracker

HALVES = [0, 1, 2, 2**32, 2**63 - 1, 2**63, 2**64 - 1]
integers = st.tuples(st.just(0), st.just(0), st.sampled_from(HALVES) | st.integers(0, 2**64 - 1))
uuids = st.tuples(st.just(1), st.sampled_from(HALVES), st.sampled_from(HALVES))
id_rows = integers | uuids
Row = tuple[int, int, int]


def columns(rows: list[Row]) -> np.ndarray:
    return np.array(rows, np.uint64).reshape(-1, 3)


def integer_rows(values: np.ndarray) -> np.ndarray:
    rows = np.zeros((len(values), 3), np.uint64)
    rows[:, 2] = values
    return rows


class Tracker:
    """A table and its columns, written in batches as a segment does."""

    def __init__(self, size: int) -> None:
        self.ids = np.zeros((size, 3), np.uint64)
        self.previous = np.full(size, -7, np.int32)
        self.table = tracker.new_table(tracker.capacity_for(size))
        self.count = 0

    def append(self, batch: np.ndarray) -> None:
        start, stop = self.count, self.count + len(batch)
        self.ids[start:stop] = batch
        self.previous[start:stop] = tracker.newest(self.table, self.ids, batch)
        tracker.insert(self.table, self.ids, start, stop)
        self.count = stop

    def find(
        self, watermark: int, wanted: np.ndarray, deleted: np.ndarray | None = None
    ) -> list[int]:
        found = tracker.find(self.table, self.ids, self.previous, watermark, deleted, wanted)
        assert found.dtype == np.int64
        return found.tolist()


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.lists(id_rows, max_size=20, unique=True), max_size=8), st.data())
def test_find_at_every_watermark_is_a_dict_of_that_moment(
    batches: list[list[Row]], data: st.DataObject
) -> None:
    size = sum(len(batch) for batch in batches)
    every = [row for batch in batches for row in batch]
    written = Tracker(size)
    for batch in batches:
        written.append(columns(batch))
    gone = data.draw(st.sets(st.integers(0, size - 1))) if size else set()
    deleted = bits.from_offsets(size, np.array(sorted(gone), np.uint32))
    wanted = [*every, *data.draw(st.lists(id_rows, max_size=5))]
    seen: dict[Row, int] = {}
    for watermark in range(size + 1):
        live = [seen.get(row, -1) for row in wanted]
        assert written.find(watermark, columns(wanted)) == live
        kept = [-1 if offset in gone else offset for offset in live]
        assert written.find(watermark, columns(wanted), deleted) == kept
        if watermark < size:
            seen[every[watermark]] = watermark
    newest = tracker.newest(written.table, written.ids, columns(wanted))
    assert newest.tolist() == [seen.get(row, -1) for row in wanted]


@settings(deadline=None)
@given(st.lists(id_rows, max_size=60))
def test_rebuild_is_what_inserting_gave(rows: list[Row]) -> None:
    ids = columns(rows)
    capacity = tracker.capacity_for(len(rows))
    table = tracker.rebuild(ids, len(rows), capacity)
    last = {row: offset for offset, row in enumerate(rows)}
    assert tracker.newest(table, ids, ids).tolist() == [last[row] for row in rows]
    assert np.count_nonzero(table >= 0) == len(last)


def test_a_capacity_leaves_half_of_it_free() -> None:
    for n in [*range(70), 1000, 1023, 1024, 1025, 10**6]:
        capacity = tracker.capacity_for(n)
        assert capacity >= max(2 * n, 1)
        assert capacity & (capacity - 1) == 0
        assert capacity < 4 * max(n, 1)


def test_a_full_table_says_so_and_still_answers() -> None:
    ids = integer_rows(np.arange(5))
    table = tracker.new_table(4)
    with pytest.raises(ValueError, match="full"):
        tracker.insert(table, ids, 0, 5)
    assert tracker.newest(table, ids, ids).tolist() == [0, 1, 2, 3, -1]
    previous = np.full(5, -1, np.int32)
    assert tracker.find(table, ids, previous, 5, None, ids).tolist() == [0, 1, 2, 3, -1]


def test_neighbouring_integers_do_not_crowd() -> None:
    n = 50_000
    table = tracker.rebuild(integer_rows(np.arange(n) * 4096), n, tracker.capacity_for(n))
    longest = max(len(run) for run in "".join("x" if slot >= 0 else " " for slot in table).split())
    assert longest < 100


def test_offsets_beyond_the_columns_or_the_deleted_bits_are_not_read() -> None:
    written = Tracker(300)
    written.append(integer_rows(np.arange(300)))
    short = tracker.find(
        written.table, written.ids[:10], written.previous[:10], 10, None, written.ids
    )
    assert short.tolist() == [*range(10), *[-1] * 290]
    assert written.find(300, written.ids, bits.ones(64)) == [*[-1] * 64, *range(64, 300)]


def test_a_chain_that_does_not_descend_ends() -> None:
    written = Tracker(4)
    written.append(integer_rows(np.arange(4)))
    written.previous[:] = [3, 1, -9, 0]
    assert written.find(2, written.ids) == [0, 1, -1, 0]
    assert written.find(0, written.ids) == [-1, -1, -1, -1]


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="power of two"):
        tracker.new_table(6)
    for start, stop in ((0, 4), (3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="offsets"):
            tracker.insert(tracker.new_table(8), integer_rows(np.arange(3)), start, stop)


def test_readers_racing_the_writer_see_what_their_watermark_says() -> None:
    """Ids are rewritten batch by batch; what each batch made newest is known beforehand."""
    random = np.random.default_rng(0)
    keys, rounds, batch = 20_000, 60, 4000
    names = integer_rows(random.permutation(keys).astype(np.uint64) * np.uint64(2**49 + 1))
    names[::3, 0], names[::3, 1] = 1, 77
    batches = [random.permutation(keys)[:batch] for _ in range(rounds)]
    expected = np.full((rounds + 1, keys), -1, np.int64)
    for done, chosen in enumerate(batches, 1):
        expected[done] = expected[done - 1]
        expected[done, chosen] = np.arange((done - 1) * batch, done * batch)
    written = Tracker(rounds * batch)
    published = [0]
    wrong: list[str] = []
    start = threading.Barrier(3)

    def read(seed: int) -> None:
        mine = np.random.default_rng(seed)
        start.wait()
        while published[-1] < rounds:
            looked = int(mine.integers(max(0, published[-1] - 9), published[-1] + 1))
            found = written.find(looked * batch, names)
            if found != expected[looked].tolist():
                wrong.append(f"at the watermark of batch {looked}")

    readers = [threading.Thread(target=read, args=(seed,)) for seed in range(2)]
    for reader in readers:
        reader.start()
    start.wait()
    for done, chosen in enumerate(batches, 1):
        written.append(names[chosen])
        published.append(done)
    for reader in readers:
        reader.join()
    assert wrong == []
    assert written.find(rounds * batch, names) == expected[rounds].tolist()


@settings(deadline=None)
@given(st.lists(id_rows, max_size=200), st.sampled_from([1, 3, 40, 300]), st.data())
def test_order_and_smallest_are_sorted(rows: list[Row], k: int, data: st.DataObject) -> None:
    rows = list(dict.fromkeys(rows))
    n, ids = len(rows), columns(rows)
    picked = data.draw(st.permutations(range(n)))[: data.draw(st.integers(0, n))]
    offsets = np.array(picked, np.uint32)
    wanted = sorted(picked, key=lambda offset: rows[offset])
    got = tracker.order(ids, offsets)
    assert got.dtype == np.uint32
    assert got.tolist() == wanted
    assert tracker.smallest(ids, offsets, k, None, False).tolist() == wanted[:k]
    after = data.draw(id_rows | st.sampled_from(rows) if rows else id_rows)
    for inclusive in (True, False):
        page = [o for o in wanted if rows[o] > after or (inclusive and rows[o] == after)]
        found = tracker.smallest(ids, offsets, k, columns([after])[0], inclusive)
        assert found.dtype == np.uint32
        assert found.tolist() == page[:k]


@pytest.mark.parametrize("k", [1, 7, 64, 99, 100, 101, 1000, 5000])
def test_pages_walk_through_everything_once(k: int) -> None:
    random = np.random.default_rng(k)
    ids = integer_rows(random.permutation(1000))
    ids[::2, 0], ids[::2, 1] = 1, random.integers(0, 3, 500)
    offsets = np.arange(1000, dtype=np.uint32)
    walked: list[int] = []
    after: np.ndarray | None = None
    while (page := tracker.smallest(ids, offsets, k, after, False)).size:
        assert page.size <= k
        walked += page.tolist()
        after = ids[page[-1]]
    assert walked == tracker.order(ids, offsets).tolist()
    assert walked == sorted(range(1000), key=lambda offset: ids[offset].tolist())


def test_smallest_of_nothing_and_none_of_it() -> None:
    ids = integer_rows(np.arange(5))
    nothing = np.empty(0, np.uint32)
    assert tracker.smallest(ids, nothing, 5, None, True).size == 0
    assert tracker.smallest(ids, np.arange(5, dtype=np.uint32), 0, None, True).size == 0
    assert tracker.order(ids, nothing).size == 0


def test_offsets_outside_are_refused() -> None:
    ids = integer_rows(np.arange(100))
    offsets = np.array([*range(99), 100], np.uint32)
    for k in (1, 90):
        with pytest.raises(IndexError):
            tracker.smallest(ids, offsets, k, None, True)
    with pytest.raises(IndexError):
        tracker.order(ids, offsets)


@settings(deadline=None)
@given(st.lists(id_rows, max_size=80))
def test_the_last_of_every_id_is_kept(rows: list[Row]) -> None:
    kept = tracker.distinct_last(columns(rows))
    assert kept.dtype == np.uint32
    assert kept.tolist() == sorted({row: at for at, row in enumerate(rows)}.values())


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), max_size=30))
def test_the_last_of_few_ids_is_kept(values: list[int]) -> None:
    rows = integer_rows(np.array(values, np.uint64))
    kept = tracker.distinct_last(rows).tolist()
    assert kept == sorted({value: at for at, value in enumerate(values)}.values())
