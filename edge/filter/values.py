"""What matches, ranges and regions mean: the test of each on one value of a payload.

An array's elements are tested one by one (by the caller, one level deep), so no test here sees the
array as a whole. Bounds, sets, words and edges are prepared once, when a test is made.

Invariants: a test is pure, never raises on any decoded payload and returns a plain bool; values
are compared by JSON type, so True is never 1 and 1.0 never matches the integer 1.

Without a text index, texts are read one by one by `PLAIN`, whatever the case of letters, as in
Qdrant; on a field with one, `document_test` reads all texts of a document by its analyzer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, Final, TypeAlias

from edge.filter.regions import Inside, in_box, in_circle, in_polygon
from edge.model import instant
from edge.model.filter import (
    MatchAny,
    MatchExcept,
    MatchPhrase,
    MatchPrefix,
    MatchSubstring,
    MatchText,
    MatchTextAny,
    MatchValue,
    RangeDateTime,
    RangeFloat,
    ValuesCount,
)
from edge.model.geo import GeoBoundingBox, GeoPolygon, GeoRadius
from edge.model.point_id import uuid_bytes
from edge.payload.keyed_rows import Bounds
from edge.text.analyzer import Analyzer

ValueTest: TypeAlias = Callable[[Any], bool]
Read: TypeAlias = Callable[[str], list[str]]
TextMatch: TypeAlias = MatchText | MatchTextAny | MatchPhrase
DocumentTest: TypeAlias = Callable[[list[str]], bool]

PLAIN: Final = Analyzer()
"""How a text is read that no text index covers: words of letters and digits, in lower case."""


def value_test(part: object) -> ValueTest:
    """The test of one match, range or region, on a value or an element of an array."""
    return VALUE_TESTS[type(part)](part)


def value_cost(part: object) -> int:
    """How much work `value_test(part)` is on one value, in comparisons; at least 1."""
    cost = _COSTS.get(type(part))
    return 1 if cost is None else int(cost(part))


# Values


def _match_value(match: MatchValue) -> ValueTest:
    wanted, kind = match.value, type(match.value)
    # The type beside the value, because True == 1 == 1.0 in Python and not in a payload.
    return lambda value: type(value) is kind and value == wanted


def _match_any(match: MatchAny) -> ValueTest:
    wanted, kind = _set_of(match.value)
    return lambda value: type(value) is kind and value in wanted


def _match_except(match: MatchExcept) -> ValueTest:
    """Anything but null and the listed values: other types match, and so do inner arrays."""
    listed, kind = _set_of(match.value)
    return lambda value: value is not None and not (type(value) is kind and value in listed)


def _set_of(values: Sequence[Any]) -> tuple[frozenset[Any], type | None]:
    """The values, which are all of one type, and that type; None when there are none."""
    return frozenset(values), type(values[0]) if values else None


def same_uuid_test(part: object) -> ValueTest | None:
    """The test of a match on a field with a UUID index, where one UUID has many spellings.

    None where the match asks for anything but UUIDs: then its texts are compared as they are.
    """
    wanted = uuids_of(part)
    if wanted is None:
        return None
    if isinstance(part, MatchExcept):
        return lambda value: value is not None and _uuid(value) not in wanted
    return lambda value: _uuid(value) in wanted


def uuids_of(part: object) -> frozenset[bytes] | None:
    """The UUIDs that a MatchValue, MatchAny or MatchExcept is about; None if others are too."""
    if not isinstance(part, MatchValue | MatchAny | MatchExcept):
        return None
    listed = (part.value,) if isinstance(part, MatchValue) else part.value
    found = frozenset(map(_uuid, listed))
    return None if None in found or not found else found  # type: ignore[return-value]


def _uuid(value: object) -> bytes | None:
    return uuid_bytes(value) if type(value) is str else None


# Texts


def text_test(match: TextMatch) -> ValueTest:
    """The test of a text match on one text, read by PLAIN; no words match none."""
    text, meaning = _TEXTS[type(match)]
    words = PLAIN.query(text(match))
    return meaning(words, PLAIN.document) if words else _nothing


def sought_tokens(match: TextMatch, analyzer: Analyzer) -> list[str]:
    """The tokens that a text match asks a text index for; none means that nothing matches."""
    text, _ = _TEXTS[type(match)]
    read = analyzer.sequence if isinstance(match, MatchPhrase) else analyzer.sought
    return read(text(match))


def document_test(match: TextMatch, analyzer: Analyzer) -> DocumentTest:
    """The test of a text match on all texts of a document, as a text index of `analyzer` has it.

    A phrase of several tokens has to stand in one text.
    """
    tokens = sought_tokens(match, analyzer)
    if not tokens:
        return _nothing
    if isinstance(match, MatchPhrase) and len(tokens) > 1:
        phrase = _lines(tokens)
        return lambda texts: any(phrase in _lines(analyzer.sequence(text)) for text in texts)
    wanted = frozenset(tokens)
    if isinstance(match, MatchTextAny):
        return lambda texts: not all(map(wanted.isdisjoint, map(analyzer.document, texts)))
    return lambda texts: wanted.issubset(chain.from_iterable(map(analyzer.document, texts)))


def _nothing(value: object) -> bool:
    return False


def _all_words(words: list[str], read: Read) -> ValueTest:
    wanted = frozenset(words)
    return lambda value: type(value) is str and wanted.issubset(read(value))


def _any_word(words: list[str], read: Read) -> ValueTest:
    wanted = frozenset(words)
    return lambda value: type(value) is str and not wanted.isdisjoint(read(value))


def _phrase(words: list[str], read: Read) -> ValueTest:
    # No token has a line feed inside, so that equal lines are equal tokens.
    wanted = _lines(words)
    return lambda value: type(value) is str and wanted in _lines(read(value))


def _lines(words: list[str]) -> str:
    return "\n" + "\n".join(words) + "\n"


_TEXTS: Final[dict[type, tuple[Callable[[Any], str], Callable[[list[str], Read], ValueTest]]]] = {
    MatchText: (attrgetter("text"), _all_words),
    MatchTextAny: (attrgetter("text_any"), _any_word),
    MatchPhrase: (attrgetter("phrase"), _phrase),
}


def _match_prefix(match: MatchPrefix) -> ValueTest:
    prefix = match.prefix
    return lambda value: type(value) is str and value.startswith(prefix)


def _match_substring(match: MatchSubstring) -> ValueTest:
    substring = match.substring
    return lambda value: type(value) is str and substring in value


# Ranges


def _range_float(range: RangeFloat) -> ValueTest:
    """Numbers, as 64-bit floats: integers beyond 2**53 are rounded, as an index would hold them."""
    # Payload numbers are finite, so that an absent bound is the same as an infinite one.
    low, above = _bound(range.gte, -math.inf), _bound(range.gt, -math.inf)
    high, below = _bound(range.lte, math.inf), _bound(range.lt, math.inf)

    def test(value: object) -> bool:
        if type(value) is not float and type(value) is not int:
            return False
        number = float(value)
        return low <= number <= high and above < number < below

    return test


def _range_datetime(range: RangeDateTime) -> ValueTest:
    """Texts that are moments in time; a number is none."""
    low, above = _instant(range.gte, -math.inf), _instant(range.gt, -math.inf)
    high, below = _instant(range.lte, math.inf), _instant(range.lt, math.inf)
    parse = instant.parse

    def test(value: object) -> bool:
        moment = parse(value) if type(value) is str else None
        return moment is not None and low <= moment <= high and above < moment < below

    return test


def count_test(count: ValuesCount) -> Callable[[float], bool]:
    """The test of a number of values."""
    low, above = _bound(count.gte, -math.inf), _bound(count.gt, -math.inf)
    high, below = _bound(count.lte, math.inf), _bound(count.lt, math.inf)
    return lambda found: low <= found <= high and above < found < below


def values_count_test(count: ValuesCount) -> ValueTest:
    """The test of a whole value at the path, not of an array's elements; None is absent or null."""
    test = count_test(count)
    return lambda value: test(len(value) if isinstance(value, list) else int(value is not None))


def bounds_of(range: RangeFloat | RangeDateTime) -> Bounds:
    """The bounds of a range, in the numbers that an index holds."""
    if isinstance(range, RangeFloat):
        low, above = _bound(range.gte, -math.inf), _bound(range.gt, -math.inf)
        high, below = _bound(range.lte, math.inf), _bound(range.lt, math.inf)
    else:
        low, above = _instant(range.gte, -math.inf), _instant(range.gt, -math.inf)
        high, below = _instant(range.lte, math.inf), _instant(range.lt, math.inf)
    opens = range.gt is not None and above >= low
    closes = range.lt is not None and below <= high
    return Bounds(above if opens else low, opens, below if closes else high, closes)


def _bound(bound: float | None, absent: float) -> float:
    return absent if bound is None else float(bound)


def _instant(bound: str | None, absent: float) -> float:
    found = None if bound is None else instant.parse(bound)
    return absent if found is None else found


# Regions


def _places(inside: Inside) -> ValueTest:
    """Objects with numbers at "lon" and "lat", whatever else they hold."""

    def test(value: object) -> bool:
        if type(value) is not dict:
            return False
        lon, lat = value.get("lon"), value.get("lat")
        return (
            (type(lon) is float or type(lon) is int)
            and (type(lat) is float or type(lat) is int)
            and inside(float(lon), float(lat))
        )

    return test


VALUE_TESTS: Final[dict[type, Callable[[Any], ValueTest]]] = {
    MatchValue: _match_value,
    MatchText: text_test,
    MatchTextAny: text_test,
    MatchPhrase: text_test,
    MatchPrefix: _match_prefix,
    MatchSubstring: _match_substring,
    MatchAny: _match_any,
    MatchExcept: _match_except,
    RangeFloat: _range_float,
    RangeDateTime: _range_datetime,
    GeoBoundingBox: lambda box: _places(in_box(box)),
    GeoRadius: lambda circle: _places(in_circle(circle)),
    GeoPolygon: lambda polygon: _places(in_polygon(polygon)),
}
"""By match, range and region struct: the test on one value (never on an array as a whole)."""

_COSTS: Final[dict[type, Callable[[Any], int]]] = {
    MatchText: lambda match: 32,
    MatchTextAny: lambda match: 32,
    MatchPhrase: lambda match: 32,
    RangeDateTime: lambda range: 16,
    GeoBoundingBox: lambda box: 4,
    GeoRadius: lambda circle: 8,
    GeoPolygon: lambda polygon: 4 + polygon.size,
}
"""Where a test is more than a comparison; a text's cost grows with the text, which none knows."""
