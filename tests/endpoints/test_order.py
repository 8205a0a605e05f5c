"""The order of a stream: gaps counted exactly, asked for, and given up in time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.endpoints import order as room
from edge.endpoints.order import Order
from edge.endpoints.protocol import Gone, Points, ProtocolError, Replay


class Followed:
    """An Order, what it handed on, and what it asked for."""

    def __init__(self, *, asks: bool = True) -> None:
        self.handed_on: list[int] = []
        self.asked: list[tuple[int, int]] = []
        self.order = Order(self.handed_on.append, self._ask if asks else None)

    def _ask(self, request: Replay) -> None:
        self.asked.append((request.first, request.last))

    def take(self, *sequences: int, epoch: int = 1, asked_for: bool = False) -> None:
        for n in sequences:
            self.order.take(Points("camera", epoch, n, 0, ()), n, asked_for)

    def counts(self) -> tuple[int, int, int]:
        source = self.order.sources["camera"]
        return source.gaps, source.late, source.repaired


def test_what_is_missing_is_asked_for_and_what_follows_waits() -> None:
    followed = Followed()
    followed.take(1, 2, 5, 6)
    assert (followed.handed_on, followed.asked) == ([1, 2], [(3, 4)])
    followed.take(3, 4, asked_for=True)
    assert followed.handed_on == [1, 2, 3, 4, 5, 6]
    assert followed.counts() == (0, 0, 2)


def test_a_second_gap_is_asked_for_when_the_first_is_closed() -> None:
    followed = Followed()
    followed.take(1, 3, 5)
    assert followed.asked == [(2, 2)]
    followed.take(2, asked_for=True)
    assert (followed.handed_on, followed.asked) == ([1, 2, 3], [(2, 2), (4, 4)])


def test_a_gap_that_nobody_fills_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(room, "monotonic", lambda: now)
    followed = Followed()
    followed.take(1, 4, 7)
    now += room.PATIENCE / 2
    followed.order.give_up_overdue()
    assert followed.handed_on == [1]
    now += room.PATIENCE
    followed.order.give_up_overdue()
    assert followed.handed_on == [1, 4]
    now += 2 * room.PATIENCE
    followed.order.give_up_overdue()
    assert followed.handed_on == [1, 4, 7]
    assert followed.counts() == (4, 0, 0)


def test_what_the_publisher_has_no_more_is_given_up_at_once() -> None:
    followed = Followed()
    followed.take(1, 6)
    followed.order.gone(Gone("camera", 1, 4))
    followed.take(4, 5, asked_for=True)
    assert followed.handed_on == [1, 4, 5, 6]
    assert followed.counts() == (2, 0, 2)


def test_word_of_another_epoch_or_source_changes_nothing() -> None:
    followed = Followed()
    followed.take(1, 6)
    followed.order.gone(Gone("camera", 0, 4))
    followed.order.gone(Gone("radar", 1, 4))
    assert followed.counts() == (0, 0, 0)
    followed.take(2, 3, 4, 5)
    assert followed.handed_on == [1, 2, 3, 4, 5, 6]


def test_a_new_epoch_waits_for_nothing_of_the_old_one() -> None:
    followed = Followed()
    followed.take(1, 3)
    followed.take(40, 41, epoch=2)
    assert followed.handed_on == [1, 3, 40, 41]
    assert followed.counts() == (1, 0, 0)


def test_few_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MAX_HELD", 3)
    followed = Followed()
    followed.take(1, 3, 4, 5)
    assert followed.handed_on == [1]
    followed.take(6)
    assert followed.handed_on == [1, 3, 4, 5, 6]
    assert followed.counts() == (1, 0, 0)


def test_what_is_wrong_is_not_missing() -> None:
    followed = Followed()
    followed.take(1)
    followed.order.take(Points("camera", 1, 2, 0, ()), None)
    followed.take(3)
    assert (followed.handed_on, followed.asked) == ([1, 3], [])


def test_sources_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MAX_SOURCES", 1)
    followed = Followed()
    followed.take(1)
    with pytest.raises(ProtocolError, match="source"):
        followed.order.take(Points("radar", 1, 1, 0, ()), 1)


@given(
    count=st.integers(1, 60),
    lost=st.sets(st.integers(2, 60)),
    kept=st.integers(0, 60),
    answers=st.booleans(),
)
def test_all_that_can_be_had_comes_in_order(
    count: int, lost: set[int], kept: int, answers: bool
) -> None:
    """A publisher keeps its last messages: whatever it still had when it was asked comes."""
    followed = Followed(asks=answers)
    there, repaired = {1}, 0
    for n in range(1, count + 1):
        if n in lost:
            continue
        there.add(n)
        followed.take(n)
        while followed.asked:
            first, last = followed.asked.pop(0)
            oldest = max(1, n - kept + 1)
            if first < oldest:
                followed.order.gone(Gone("camera", 1, oldest))
            found = range(max(first, oldest), last + 1)
            followed.take(*found, asked_for=True)
            there |= set(found)
            repaired += len(found)
    newest = max(there)
    assert followed.handed_on == sorted(there)
    assert followed.counts() == (newest - len(there), 0, repaired)
