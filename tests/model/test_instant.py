"""Instants: texts are read and shown as Qdrant does, and ordered as the moments are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import qdrant_edge
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import ValidationError
from edge.model import instant


def theirs(text: str) -> str | None:
    """What Qdrant makes of a text; None where it refuses it."""
    try:
        return qdrant_edge.RangeDateTime(gte=text).gte
    except ValueError:
        return None


def ours(text: str) -> str | None:
    found = instant.parse(text)
    return None if found is None else instant.text(found)


WRITTEN = [
    "2024-01-01", "2024-01-01T10:00", "2024-01-01 10:00", "2024-01-01T10:00Z", "24-1-1",
    "2024-01-01T10:00:00", "2024-01-01t10:00:00z", "2024-01-01T10:00:00+0130", "2024-01-01T1:0:0Z",
    "2024-01-01T10:00:00+01", "2024-01-01T10:00:00 +01:", "2024-01-01 10:00:00 UTC", "+12024-01-01",
    "2024-01-01T10:00:00utc", "-5-01-01", "2024-01-01T23:59:60Z", "2024-01-01T23:59:60.5",
    "2024-01-01T10:00:00.1234567899Z", "2024-01-01T24:00:00", "2024-02-30", "2024-01-0110:00:00",
    " 2024-01-01", "2024-01-01 ", "2024-01-01T10:00:00+23:59", "2024-01-01T10:00:00+24:00",
    "2024-01-01T10:00:00-00:60", "+262142-12-31T23:59:60.9Z", "+262143-01-01", "-262143-01-01",
    "-262144-01-01", "-262143-01-01T00:00:00+00:01", "0000-01-01", "2024-01-01T10:00:00\u221201:00",
    "2024-01-01T10:00:00.", "", "now", "2024 - 01 - 01T10 : 00 : 00 Z ", "\u0662\u0660-01-01",
    "+0000000000000000002024-01-01", "+" + "9" * 5000 + "-01-01", "2024-01-01T00:00:00.120",
    "20240101", "2024-W01-1", "2024-001", "2024-01-01T100000Z", "2024-01-01T10:00:00,5Z",
]  # fmt: skip


@pytest.mark.parametrize("text", WRITTEN, ids=range(len(WRITTEN)))
def test_a_text_is_read_and_shown_as_qdrant_does(text: str) -> None:
    assert ours(text) == theirs(text)


pieces = st.one_of(
    st.sampled_from([*"0123456789-+:. TtZzU,\u2212\u3000\x1c\x85\u0663\n", "UTC", "00", "60", "24"])
)


@given(st.data())
def test_any_text_is_read_as_qdrant_does(data: st.DataObject) -> None:
    for _ in range(50):
        text = data.draw(st.sampled_from(WRITTEN[:28]))
        for _ in range(data.draw(st.integers(0, 2))):
            place = data.draw(st.integers(0, len(text)))
            cut = data.draw(st.integers(0, 1))
            text = text[:place] + data.draw(pieces | st.just("")) + text[place + cut :]
        assert ours(text) == theirs(text), text


seconds = st.integers(-(2**43) + 2**40, 2**42)


@given(seconds, st.integers(0, 999_999), st.booleans())
def test_what_is_shown_is_read_back(second: int, micros: int, leap: bool) -> None:
    if leap:
        second, micros = second - second % 60 + 59, micros + 1_000_000
    found = second * instant.SPAN + micros
    assert instant.parse(instant.text(found)) == found


@given(st.datetimes(), st.datetimes())
def test_instants_are_ordered_as_moments_are(one: datetime, other: datetime) -> None:
    first, second = instant.of_datetime(one), instant.of_datetime(other)
    assert (first < second) == (one < other)
    assert (first == second) == (one == other)
    assert instant.parse(one.isoformat()) == first


def test_a_leap_second_is_between_its_neighbours() -> None:
    texts = ["2016-12-31T23:59:59.999999", "2016-12-31T23:59:60", "2016-12-31T23:59:60.5"]
    found = [instant.parse(text) for text in [*texts, "2017-01-01"]]
    assert None not in found
    assert found == sorted(set(found))  # type: ignore[type-var]


def test_datetimes_without_a_zone_are_utc() -> None:
    naive = datetime(2024, 5, 6, 7, 8, 9, 123456)
    assert instant.of_datetime(naive) == instant.of_datetime(naive.replace(tzinfo=UTC))
    east = naive.replace(tzinfo=timezone(timedelta(hours=5, minutes=30, seconds=7)))
    assert instant.canonical(east, "gte") == "2024-05-06 01:38:02.123456 UTC"


@pytest.mark.parametrize("edge", [datetime.min, datetime.max])
@pytest.mark.parametrize("hours", [-23, 23])
def test_zones_at_the_ends_of_time_do_not_overflow(edge: datetime, hours: int) -> None:
    moved = edge.replace(tzinfo=timezone(timedelta(hours=hours)))
    shift = instant.of_datetime(moved) - instant.of_datetime(edge)
    assert shift == -hours * 3600 * instant.SPAN


@pytest.mark.parametrize(
    "value", [5, 1.5, True, b"2024-01-01", "yesterday", "2024-13-01", "\ud800"]
)
def test_what_is_no_moment_is_refused_by_name(value: Any) -> None:
    with pytest.raises(ValidationError, match="lte: "):
        instant.canonical(value, "lte")


def test_a_long_text_takes_no_longer_than_its_length() -> None:
    for text in ("2024-01-01" + " " * 200_000, "2024-01-01T00:00:00." + "1" * 200_000 + "x"):
        assert instant.parse(text) is None


@given(st.integers(-(2**61), 2**61))
def test_microseconds_come_back_as_their_first_instant(micros: int) -> None:
    found = instant.at_microseconds(micros)
    assert instant.microseconds(found) == micros
    assert instant.microseconds(found - 1) == micros - 1


def test_a_leap_second_counts_as_the_last_microsecond_before_the_next() -> None:
    texts = ["2016-12-31T23:59:59.999999Z", "2016-12-31T23:59:60Z", "2016-12-31T23:59:60.9Z"]
    found = [instant.microseconds(instant.parse(text) or 0) for text in texts]
    after = instant.microseconds(instant.parse("2017-01-01T00:00:00Z") or 0)
    assert found == [after - 1] * 3
