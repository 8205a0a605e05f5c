"""Deadlines, by a clock that the test winds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edge.errors import DeadlineExceeded
from edge.query import deadline
from edge.query.deadline import NEVER, Deadline


@pytest.fixture
def wind(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [100.0]
    monkeypatch.setattr(deadline, "monotonic", lambda: now[0])

    def forward(seconds: float) -> None:
        now[0] += seconds

    return forward


def test_before_its_time_a_deadline_is_not_over(wind: Callable[[float], None]) -> None:
    for best_effort in (False, True):
        ahead = Deadline(2.0, best_effort)
        wind(1.5)
        assert ahead.over() is False
        ahead.check()
        assert ahead.left() == 0.5


def test_at_its_time_it_is_over(wind: Callable[[float], None]) -> None:
    late, lenient = Deadline(2.0), Deadline(2.0, best_effort=True)
    wind(2.0)
    for act in (late.over, late.check, lenient.check):
        with pytest.raises(DeadlineExceeded, match=r"2\.0 s"):
            act()
    assert lenient.over() is True
    wind(1.0)
    assert lenient.left() == 0.0


def test_a_timeout_of_nothing_is_over_at_once(wind: Callable[[float], None]) -> None:
    assert Deadline(0.0, best_effort=True).over() is True
    with pytest.raises(DeadlineExceeded):
        Deadline(0.0).check()


def test_never_does_not_come(wind: Callable[[float], None]) -> None:
    wind(1e12)
    assert NEVER.over() is False
    NEVER.check()
    assert NEVER.left() is None


@pytest.mark.parametrize("timeout", [None, 5.0])
def test_an_expired_deadline_gives_no_answer_however_lenient(
    wind: Callable[[float], None], timeout: float | None
) -> None:
    given_up = Deadline(timeout, best_effort=True)
    given_up.expire()
    for act in (given_up.over, given_up.check):
        with pytest.raises(DeadlineExceeded):
            act()
