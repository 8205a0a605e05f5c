"""Ids to offsets, as they were at any watermark."""

from __future__ import annotations

from threading import Thread

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.model.point_id import encode_ids
from edge.segment.id_tracker import FIRST_CAPACITY, IdTracker
from edge_kernels import bits

IDS = encode_ids([*range(40), 2**64 - 1])
batches = st.lists(
    st.lists(st.integers(0, len(IDS) - 1), min_size=1, max_size=20, unique=True), max_size=20
)


def find(tracker: IdTracker, watermark: int, dead: set[int] = frozenset()) -> list[int]:  # type: ignore[assignment]
    deleted = bits.from_offsets(watermark, np.array(sorted(dead), np.uint32)) if dead else None
    return tracker.find(IDS, watermark, deleted).tolist()


@given(batches)
def test_every_watermark_finds_what_was_newest_then(drawn: list[list[int]]) -> None:
    tracker, newest = IdTracker.growing(), dict.fromkeys(range(len(IDS)), -1)
    moments = [(0, dict(newest))]
    for batch in drawn:
        for offset, which in enumerate(batch, tracker.count):
            newest[which] = offset
        tracker.append(IDS[batch])
        moments.append((tracker.count, dict(newest)))
    for watermark, expected in moments:
        assert find(tracker, watermark) == list(expected.values())


@given(batches, st.sets(st.integers(0, 399)))
def test_the_dead_are_not_found_and_hide_no_older_row(
    drawn: list[list[int]], dead: set[int]
) -> None:
    tracker, newest = IdTracker.growing(), dict.fromkeys(range(len(IDS)), -1)
    for batch in drawn:
        for offset, which in enumerate(batch, tracker.count):
            newest[which] = offset
        tracker.append(IDS[batch])
    dead = {offset for offset in dead if offset < tracker.count}
    expected = [-1 if offset in dead else offset for offset in newest.values()]
    assert find(tracker, tracker.count, dead) == expected


def test_growth_leaves_old_columns_as_they_were() -> None:
    tracker = IdTracker.growing()
    many = encode_ids(list(range(FIRST_CAPACITY)))
    tracker.append(many)
    held = tracker.ids
    tracker.append(encode_ids(list(range(5, 5 + FIRST_CAPACITY))))
    assert tracker.ids is not held
    assert np.array_equal(held[:FIRST_CAPACITY], many)
    assert np.array_equal(tracker.ids[:FIRST_CAPACITY], many)
    assert tracker.find(many, FIRST_CAPACITY, None).tolist() == list(range(FIRST_CAPACITY))


def test_the_tracker_of_a_built_segment_finds_each_row() -> None:
    tracker = IdTracker.of(IDS)
    assert tracker.count == len(IDS)
    assert find(tracker, len(IDS)) == list(range(len(IDS)))
    assert tracker.find(encode_ids([77]), len(IDS), None).tolist() == [-1]
    assert IdTracker.of(IDS[:0]).find(IDS[:1], 0, None).tolist() == [-1]


@pytest.mark.parametrize("readers", [2])
def test_readers_find_at_their_watermarks_while_one_writer_appends(readers: int) -> None:
    known = encode_ids(list(range(300)))
    tracker, random = IdTracker.growing(), np.random.default_rng(5)
    moments = [(0, np.full(len(known), -1, np.int64))]
    wrong: list[int] = []
    done = False

    def read(seed: int) -> None:
        order = np.random.default_rng(seed)
        finished = False
        while not finished:
            finished = done
            for at in (len(moments) - 1, int(order.integers(len(moments)))):
                watermark, expected = moments[at]
                if not np.array_equal(tracker.find(known, watermark, None), expected):
                    wrong.append(watermark)

    threads = [Thread(target=read, args=(seed,)) for seed in range(readers)]
    for thread in threads:
        thread.start()
    newest = moments[0][1]
    for _ in range(400):
        batch = random.permutation(len(known))[: int(random.integers(1, 60))]
        newest = newest.copy()
        newest[batch] = np.arange(tracker.count, tracker.count + len(batch))
        tracker.append(known[batch])
        moments.append((tracker.count, newest))
    done = True
    for thread in threads:
        thread.join()
    assert wrong == []
