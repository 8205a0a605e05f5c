"""What payload fields hold, and what conditions, facets, orders and text queries make of it.

No index is here: a schema (path -> params) says only what the words of a text are, that a UUID has
many spellings, and that the elements of an array count one by one.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from edge.model.filter import (
    FieldCondition,
    IsEmptyCondition,
    IsNullCondition,
    MatchAny,
    MatchExcept,
    MatchPhrase,
    MatchPrefix,
    MatchSubstring,
    MatchText,
    MatchTextAny,
    MatchValue,
    NestedCondition,
    RangeDateTime,
    RangeFloat,
)
from edge.model.geo import GeoBoundingBox, GeoRadius
from edge.model.schema import KINDS, PayloadSchemaType, TextIndexParams, UuidIndexParams
from edge.model.text import TokenizerType

Document = dict[str, Any]
Schema = dict[str, Any]
"""The params of each index, by path."""

METRES_A_DEGREE = 111_195.0


# -- what a field holds


def reached(document: Any, path: str) -> list[Any]:
    """The values at a dotted path; `name[]` steps into the elements of an array."""
    places = [document]
    for step in path.split("."):
        name = step.removesuffix("[]")
        places = [place[name] for place in places if isinstance(place, dict) and name in place]
        if step.endswith("[]"):
            places = [element for place in places if isinstance(place, list) for element in place]
    return places


def elements(values: Iterable[Any]) -> list[Any]:
    """The values, and of arrays each element."""
    return [e for value in values for e in (value if isinstance(value, list) else [value])]


def groups(document: Document, path: str, params: Any) -> list[list[Any]]:
    """What counts together: all that the path reaches, or what it reaches in one element."""
    if params is None or params.nested is None:
        return [reached(document, path)]
    array = params.nested.removesuffix("[]") + "[]"
    inner = path.removeprefix(array + ".")
    return [reached(e, inner) for e in reached(document, array) if isinstance(e, dict)]


def documents(document: Document, path: str, params: Any) -> list[list[str]]:
    """The texts that a text index takes for one document, of each."""
    found = groups(document, path, params)
    return [[e for e in elements(group) if isinstance(e, str)] for group in found]


def words(text: str, params: TextIndexParams, *, asked: bool = False) -> list[str]:
    """The words of a text, stored or asked for."""
    found = text.split() if params.tokenizer is TokenizerType.Whitespace else _runs(text)
    if params.lowercase is not False:
        found = [word.lower() for word in found]
    least, most = params.min_token_len or 1, params.max_token_len or 99
    if params.tokenizer is not TokenizerType.Prefix:
        return [word for word in found if least <= len(word) <= most]
    if asked:
        return [word[:most] for word in found if len(word) >= least]
    return [word[:n] for word in found for n in range(least, min(len(word), most) + 1)]


def _runs(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text)


def moment(value: Any) -> int | None:
    """Microseconds since 1970 of the text of a moment."""
    if isinstance(value, str):
        with suppress(ValueError):
            found = datetime.fromisoformat(value.replace(" UTC", "+00:00"))
            found = found.replace(tzinfo=UTC) if found.tzinfo is None else found
            since = found - datetime(1970, 1, 1, tzinfo=UTC)
            return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return None


def uuid_of(value: Any) -> UUID | None:
    if isinstance(value, str):
        with suppress(ValueError):
            return UUID(value)
    return None


# -- conditions


def fulfils(condition: Any, document: Document, schema: Schema, inside: str = "") -> bool:
    """Whether a document (inside of a nested condition: an element) fulfils the condition."""
    if isinstance(condition, NestedCondition):
        key = condition.key.removesuffix("[]") + "[]"
        return any(
            all(fulfils(part, e, schema, f"{key}.") for part in condition.filter.must or ())
            for e in reached(document, key)
            if isinstance(e, dict)
        )
    params = schema.get(inside + condition.key)
    values = reached(document, condition.key)
    by_element = params is not None and params.nested is not None and not inside
    if isinstance(condition, IsNullCondition):
        return any(map(_holds_null, values))
    if isinstance(condition, IsEmptyCondition):
        parts = groups(document, condition.key, params) if by_element else [values]
        return any(all(map(_is_empty, part)) for part in parts)
    if condition.values_count is not None:
        sizes = [len(v) if isinstance(v, list) else int(v is not None) for v in values]
        return any(_within(size, condition.values_count) for size in sizes or [0])
    if condition.is_empty is not None or condition.is_null is not None:
        if by_element:
            return _element_is(condition, groups(document, condition.key, params))
        return _value_is(condition, values)
    return _matches(condition, document, params, inside)


def _is_empty(value: Any) -> bool:
    return value is None or value == []


def _holds_null(value: Any) -> bool:
    return value is None or (isinstance(value, list) and None in value)


def _element_is(condition: FieldCondition, parts: list[list[Any]]) -> bool:
    if condition.is_empty is not None:
        return any(all(map(_is_empty, part)) is condition.is_empty for part in parts)
    return any(any(map(_holds_null, part)) is condition.is_null for part in parts)


def _value_is(condition: FieldCondition, values: list[Any]) -> bool:
    if condition.is_empty is not None:
        return any(_is_empty(v) is condition.is_empty for v in values or [None])
    return any(_holds_null(v) is condition.is_null for v in values or [1])


def _within(number: float, bounds: Any) -> bool:
    if bounds.gte is not None and number < bounds.gte:
        return False
    if bounds.gt is not None and number <= bounds.gt:
        return False
    if bounds.lte is not None and number > bounds.lte:
        return False
    return bounds.lt is None or number < bounds.lt


def _matches(condition: FieldCondition, document: Document, params: Any, inside: str) -> bool:
    found = elements(reached(document, condition.key))
    match = condition.match
    if isinstance(match, MatchText | MatchTextAny | MatchPhrase) and isinstance(
        params, TextIndexParams
    ):
        if not inside:
            texts = documents(document, condition.key, params)
        elif params.nested == inside[:-1]:
            texts = documents(document, condition.key, None)
        else:
            texts = [[e] for e in found if isinstance(e, str)]
        return any(_has_words(match, each, params) for each in texts)
    parts = [match, condition.range, condition.geo_bounding_box, condition.geo_radius]
    return any(_holds(part, e, params) for part in parts if part is not None for e in found)


def _has_words(match: Any, texts: list[str], params: TextIndexParams) -> bool:
    there = [word for text in texts for word in words(text, params)]
    if isinstance(match, MatchText):
        wanted = words(match.text, params, asked=True)
        return bool(wanted) and set(wanted) <= set(there)
    if isinstance(match, MatchTextAny):
        return bool(set(words(match.text_any, params, asked=True)) & set(there))
    wanted = words(match.phrase, params)
    size = len(wanted)
    if size < 2:
        return bool(wanted) and wanted[0] in there
    lines = [words(text, params) for text in texts]
    return any(line[at : at + size] == wanted for line in lines for at in range(len(line)))


def _holds(part: Any, value: Any, params: Any) -> bool:
    if isinstance(part, MatchText | MatchTextAny | MatchPhrase):
        return isinstance(value, str) and _has_words(part, [value], TextIndexParams())
    if isinstance(part, MatchValue | MatchAny | MatchExcept):
        listed = [part.value] if isinstance(part, MatchValue) else list(part.value)
        same = _is_listed(value, listed, params)
        return value is not None and not same if isinstance(part, MatchExcept) else same
    return _HOLDS[type(part)](part, value)


def _is_listed(value: Any, listed: list[Any], params: Any) -> bool:
    ids = [uuid_of(each) for each in listed]
    if isinstance(params, UuidIndexParams) and ids and None not in ids:
        return uuid_of(value) in ids
    return any(type(value) is type(each) and value == each for each in listed)


def _in_range(part: RangeFloat, value: Any) -> bool:
    return type(value) in (int, float) and _within(float(value), part)


def _in_time(part: RangeDateTime, value: Any) -> bool:
    at = moment(value)
    bounds = RangeFloat(*(moment(getattr(part, name)) for name in RangeFloat.__struct_fields__))
    return at is not None and _within(at, bounds)


def _place(value: Any) -> tuple[float, float] | None:
    if not isinstance(value, dict):
        return None
    lon, lat = value.get("lon"), value.get("lat")
    is_place = type(lon) in (int, float) and type(lat) in (int, float)
    return (lon, lat) if is_place else None


def _in_box(box: GeoBoundingBox, value: Any) -> bool:
    place = _place(value)
    if place is None:
        return False
    north_west, south_east = box.top_left, box.bottom_right
    return north_west.lon < place[0] < south_east.lon and south_east.lat < place[1] < north_west.lat


def _in_circle(circle: GeoRadius, value: Any) -> bool:
    """On a plane: what is drawn is near the equator, and near no edge."""
    place = _place(value)
    if place is None:
        return False
    away = math.hypot(place[0] - circle.center.lon, place[1] - circle.center.lat)
    return away * METRES_A_DEGREE < circle.radius


_HOLDS: dict[type, Callable[[Any, Any], bool]] = {
    MatchPrefix: lambda part, value: isinstance(value, str) and value.startswith(part.prefix),
    MatchSubstring: lambda part, value: isinstance(value, str) and part.substring in value,
    RangeFloat: _in_range,
    RangeDateTime: _in_time,
    GeoBoundingBox: _in_box,
    GeoRadius: _in_circle,
}


# -- facets, orders, text queries


def counted(found: Iterable[Document], path: str, params: Any) -> list[tuple[Any, int]]:
    """How many documents have each text, integer and bool, most first."""
    counts: Counter[tuple[int, Any]] = Counter()
    for document in found:
        there = set()
        for element in elements(reached(document, path)):
            if isinstance(params, UuidIndexParams) and uuid_of(element) is not None:
                element = str(uuid_of(element))
            if type(element) in (bool, int, str):
                there.add(((bool, int, str).index(type(element)), element))
        counts.update(there)
    best = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(value, count) for (_, value), count in best]


def place_in_order(document: Document, path: str, start: Any, *, falling: bool) -> float | None:
    """The least value (falling: the greatest) from the start on."""
    begin = moment(start) if isinstance(start, str) else start
    numbers = [
        e if type(e) in (int, float) else moment(e) for e in elements(reached(document, path))
    ]
    there = [
        number
        for number in numbers
        if number is not None
        and (begin is None or (number <= begin if falling else number >= begin))
    ]
    return (max if falling else min)(there, default=None)


def text_scores(
    found: Mapping[Any, Document], path: str, query: str, params: TextIndexParams
) -> dict[Any, float]:
    """The BM25 score of each document that has a word of the query, at the usual k and b."""
    k, b = 1.2, 0.75
    lines = [
        (key, line)
        for key, document in found.items()
        for texts in documents(document, path, params)
        if (line := [word for text in texts for word in words(text, params)])
    ]
    average = sum(len(line) for _, line in lines) / max(1, len(lines))
    scores: dict[Any, float] = {}
    wanted = list(dict.fromkeys(words(query, params, asked=True)))
    having = {word: sum(word in line for _, line in lines) for word in wanted}
    for key, line in lines:
        score = 0.0
        for word in wanted:
            times = line.count(word)
            idf = math.log(1 + (len(lines) - having[word] + 0.5) / (having[word] + 0.5))
            score += idf * times * (k + 1) / (times + k * (1 - b + b * len(line) / average))
        if score:
            scores[key] = max(score, scores.get(key, 0.0))
    return scores


def is_in_index(document: Document, path: str, params: Any) -> bool:
    """Whether the document has a value that the index holds."""
    if isinstance(params, TextIndexParams):
        found = documents(document, path, params)
        return any(words(text, params) for texts in found for text in texts)
    holds = _HELD[KINDS[type(params)]]
    return any(holds(e) for group in groups(document, path, params) for e in elements(group))


def _on_earth(value: Any) -> bool:
    place = _place(value)
    return place is not None and abs(place[0]) <= 180 and abs(place[1]) <= 90


_HELD: dict[PayloadSchemaType, Callable[[Any], bool]] = {
    PayloadSchemaType.Keyword: lambda value: type(value) is str,
    PayloadSchemaType.Integer: lambda value: type(value) is int and -(2**63) <= value < 2**63,
    PayloadSchemaType.Float: lambda value: type(value) in (int, float) and float(value) == value,
    PayloadSchemaType.Bool: lambda value: type(value) is bool,
    PayloadSchemaType.Datetime: lambda value: moment(value) is not None,
    PayloadSchemaType.Uuid: lambda value: uuid_of(value) is not None,
    PayloadSchemaType.Geo: _on_earth,
}
