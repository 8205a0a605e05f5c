"""Instants: moments in time as filters and payloads write them, read as Qdrant Edge reads them.

    text  = RFC 3339 with any usual laxness: "T", "t" or a space between date and time, one-digit
            numbers, offsets with or without colon or minutes, "Z" or "UTC"; without an offset it is
            UTC, and the seconds or the whole time may be missing
    instant = (seconds since 1970 in UTC) * SPAN + microseconds, one int

Invariants: instants are ordered as the moments are, a leap second (":60") between its neighbours;
digits beyond microseconds are cut off; `parse(text(instant)) == instant`; nothing here raises on
any text; parsing takes time in proportion to the text.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Any, Final

from edge.model import fields

SPAN: Final = 2_000_000
"""Instants from one second to the next: a million microseconds, and a million of a leap second."""

_DAY: Final = 86_400
_CYCLE_YEARS: Final = 400
_CYCLE_DAYS: Final = 146_097
_YEARS: Final = range(-262_143, 262_143)
_ORIGIN: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH: Final = date(1970, 1, 1).toordinal()

# Rust's white space is Unicode's: without the separators FS to US that Python's \s has.
_W = "[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*+"
_TWO = "([0-9]{1,2}+)"
_YEAR = "(?:([+-])(?=[0-9])0*+([0-9]{0,7}+)|([0-9]{1,4}+))"
_SECOND = rf"{_W}{_TWO}(?:\.([0-9]{{1,6}}+)[0-9]*+)?+"
_SIGN = "([+\N{MINUS SIGN}-])"
_COLON = f"[:{_W[1:-3]}]*+"

_USUAL = re.compile(
    "[0-9]{4}-[0-9]{2}-[0-9]{2}[T ](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    r"(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-5][0-9])?"
)
"""What most programs write; the standard library reads these in a third of the time."""
_ZONED = re.compile(
    rf"{_W}{_YEAR}{_W}-{_W}{_TWO}{_W}-{_W}{_TWO}"
    rf"[tT ]{_W}{_TWO}{_W}:{_W}{_TWO}{_W}:{_SECOND}"
    rf"{_W}(?:[zZ]|[uU][tT][cC]|{_SIGN}([0-9]{{2}}){_COLON}([0-5][0-9])){_W}"
)
_PLAIN = re.compile(
    rf"{_W}{_YEAR}-{_W}{_TWO}-{_W}{_TWO}"
    rf"(?:T?+{_W}{_TWO}:{_W}{_TWO}(?::{_SECOND}"
    rf"(?:{_W}(?:[zZ]|{_SIGN}([0-9]{{2}}){_COLON}(?:([0-5][0-9])|\Z)))?+)?+)?+"
)


def parse(text: str) -> int | None:
    """The instant that `text` names; None when it names none."""
    if _USUAL.fullmatch(text):
        try:
            return of_datetime(datetime.fromisoformat(text))
        except ValueError:
            pass  # a leap second, the year 0, or no date at all: the long way tells which
    found = _ZONED.fullmatch(text) or _PLAIN.fullmatch(text)
    return None if found is None else _instant(*found.groups())


def text(instant: int) -> str:
    """The instant as Qdrant shows it: "2024-01-01 10:00:00.500 UTC"."""
    seconds, micros = divmod(instant, SPAN)
    days, clock = divmod(seconds, _DAY)
    leap, micros = divmod(micros, 1_000_000)
    time = f"{clock // 3600:02}:{clock // 60 % 60:02}:{clock % 60 + leap:02}"
    return f"{_date_text(days)} {time}{_fraction_text(micros)} UTC"


def of_datetime(moment: datetime) -> int:
    """The instant of a datetime; one without a time zone is taken for UTC."""
    since = (moment.replace(tzinfo=UTC) if moment.utcoffset() is None else moment) - _ORIGIN
    return (since.days * _DAY + since.seconds) * SPAN + since.microseconds


def microseconds(instant: int) -> int:
    """Microseconds since 1970; all of a leap second is the last one before the next second."""
    seconds, micros = divmod(instant, SPAN)
    return seconds * 1_000_000 + min(micros, 999_999)


def at_microseconds(microseconds: int) -> int:
    """The first instant at these microseconds since 1970."""
    seconds, micros = divmod(microseconds, 1_000_000)
    return seconds * SPAN + micros


def canonical(value: Any, field: str) -> str:
    """The text of a str or datetime argument; ValidationError where it is no moment in time."""
    if isinstance(value, datetime):
        return text(of_datetime(value))
    found = parse(fields.text(value, field)) if isinstance(value, str) else None
    if found is None:
        fields.refuse(field, "a datetime or a text such as 2024-01-01T00:00:00Z", value)
    return text(found)


def _instant(
    year_sign: str | None,
    signed_year: str | None,
    plain_year: str | None,
    month: str,
    day: str,
    hour: str | None,
    minute: str | None,
    second: str | None,
    fraction: str | None,
    offset_sign: str | None,
    offset_hours: str | None,
    offset_minutes: str | None,
) -> int | None:
    year = int(plain_year or signed_year or 0)
    days = _days(-year if year_sign == "-" else year, int(month), int(day))
    hours, minutes, seconds = int(hour or 0), int(minute or 0), int(second or 0)
    offset = int(offset_hours or 0) * 60 + int(offset_minutes or 0)
    if days is None or hours > 23 or minutes > 59 or seconds > 60 or offset >= 1440:
        return None
    micros = int(fraction.ljust(6, "0")) if fraction else 0
    if seconds == 60:
        seconds, micros = 59, micros + 1_000_000
    moved = offset if offset_sign == "+" else -offset
    instant = (days * _DAY + hours * 3600 + (minutes - moved) * 60 + seconds) * SPAN + micros
    return instant if _FIRST <= instant <= _LAST else None


def _days(year: int, month: int, day: int) -> int | None:
    """Days from 1970 to a Gregorian date of any year in range; None where there is no such day."""
    if year not in _YEARS:
        return None
    cycles, rest = divmod(year - 1, _CYCLE_YEARS)
    try:
        found = date(rest + 1, month, day).toordinal()
    except ValueError:
        return None
    return found + cycles * _CYCLE_DAYS - _EPOCH


def _date_text(days: int) -> str:
    cycles, rest = divmod(days + _EPOCH - 1, _CYCLE_DAYS)
    found = date.fromordinal(rest + 1)
    year = found.year + cycles * _CYCLE_YEARS
    shown = f"{year:04}" if 0 <= year <= 9999 else f"{year:+05}"
    return f"{shown}-{found.month:02}-{found.day:02}"


def _fraction_text(micros: int) -> str:
    if micros == 0:
        return ""
    return f".{micros:06}" if micros % 1000 else f".{micros // 1000:03}"


_FIRST: Final = (_days(_YEARS[0], 1, 1) or 0) * _DAY * SPAN
_LAST: Final = ((_days(_YEARS[-1], 12, 31) or 0) + 1) * _DAY * SPAN - 1
