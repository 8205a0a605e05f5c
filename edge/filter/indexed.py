"""What a field's index tells of a condition, without reading a payload.

Invariants
- It errs on one side only: *sure* rows match, and rows that are not *maybe* do not.
- Rows that the index does not cover yet are maybe, whatever is asked; so are those that hold values
  which have no place in it, where such a value may match.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from edge.filter.conditions import parts_of
from edge.filter.regions import region_of
from edge.filter.truth import (
    NOTHING,
    Bits,
    Known,
    Truth,
    any_of,
    both,
    either,
    exactly,
    no,
    not_of,
    without,
)
from edge.filter.values import bounds_of, count_test, sought_tokens, uuids_of, value_test
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
    RangeDateTime,
    RangeFloat,
    ValuesCount,
)
from edge.model.geo import GeoBoundingBox, GeoPolygon, GeoRadius
from edge.model.schema import PayloadSchemaType, TextIndexParams, index_analyzer
from edge.payload.entries import INT64
from edge.payload.field_index import FieldIndex
from edge.payload.texts import encoded
from edge_kernels import bits

Tell: TypeAlias = Callable[[Any, FieldIndex], Known]


def known_of(condition: Any, index: FieldIndex) -> Known:
    """What the index tells of a condition on its field: a FieldCondition, IsEmpty or IsNull."""
    told: Known = _CONDITIONS[type(condition)](condition, index)
    unknown = index.unknown()
    if unknown is None:
        return told
    return Known(without(told.sure, unknown), either(told.maybe, unknown))


def _field(condition: FieldCondition, index: FieldIndex) -> Known:
    if condition.values_count is not None:
        return _values_count(condition.values_count, index)
    if condition.is_empty is not None:
        empty = _shape("empty", index)
        return empty if condition.is_empty else not_of(empty)
    if condition.is_null is not None:
        null = _shape("null", index)
        return null if condition.is_null else not_of(null)
    return any_of(tell(part, index) for part in parts_of(condition))


def tell(part: Any, index: FieldIndex) -> Known:
    """What the index tells of a match, a range or a region, of the rows that it covers."""
    teller = _TELLERS[index.kind].get(type(part), _valued)
    return teller(part, index)


# Shape


def _set(name: str, index: FieldIndex) -> Truth:
    found = index.rows_in(name)
    return False if found is None else found


def _shape(name: str, index: FieldIndex) -> Known:
    rows, open_ = _set(name, index), _set("complex", index)
    return exactly(rows) if open_ is False else Known(without(rows, open_), either(rows, open_))


def _values_count(count: ValuesCount, index: FieldIndex) -> Known:
    test = count_test(count)
    empty, listed = _set("empty", index), index.listed()
    rows, lengths = index.lists
    fitting = [length for length in np.unique(lengths).tolist() if test(length)]
    found: Truth = bits.from_offsets(index.watermark, rows[np.isin(lengths, fitting)])
    if test(0):
        found = either(found, empty)
    if test(1):
        found = either(found, without(no(empty), listed))
    open_ = _set("complex", index)
    return exactly(found) if open_ is False else Known(without(found, open_), either(found, open_))


# Values


def _valued(part: Any, index: FieldIndex) -> Known:
    """Only a row that holds a value can match; payloads tell which does."""
    if index.kind is PayloadSchemaType.Text:  # a text of no words has no document
        return Known(False, no(_set("empty", index)))
    return Known(False, either(index.entries.all(), _set("foreign", index)))


def _foreign(part: Any, index: FieldIndex) -> Known:
    """No value that has a place in the index matches."""
    return Known(False, _set("foreign", index))


def _equal(values: list[Any], index: FieldIndex) -> Known:
    return exactly(index.entries.equal(values)) if values else NOTHING


def sole_key(condition: FieldCondition, kind: PayloadSchemaType) -> Any:
    """The one key that just the rows which fulfil the condition have in an index of this kind; None
    where it asks for anything else than one value that has a place there."""
    (part, *others) = parts_of(condition) or [None]
    if others or not isinstance(part, MatchValue | MatchAny) or _asks_for_a_shape(condition):
        return None
    if kind is PayloadSchemaType.Uuid:
        found = list(uuids_of(part) or ())
    else:
        keys, values = _EXACT.get(kind), _listed(part)
        found = [keys.key(value) for value in values if keys and type(value) is keys.kind]
        found = found if len(found) == len(values) else []
    return found[0] if len(found) == 1 else None


def _asks_for_a_shape(condition: FieldCondition) -> bool:
    asked = (condition.values_count, condition.is_empty, condition.is_null)
    return any(part is not None for part in asked)


def _listed(part: MatchValue | MatchAny) -> Sequence[Any]:
    return (part.value,) if isinstance(part, MatchValue) else part.value


class _Keys(NamedTuple):
    """How a match's values are looked up in an index that holds every value of one type.

    `kind` is the type; `key` gives the key of a value, None where the index has no place for it.
    """

    kind: type
    key: Callable[[Any], Any]


def _match(keys: _Keys) -> Tell:
    """The teller of MatchValue and MatchAny."""

    def told(part: MatchValue | MatchAny, index: FieldIndex) -> Known:
        values = _listed(part)
        found = [keys.key(value) for value in values if type(value) is keys.kind]
        if len(found) < len(values) or None in found:
            known = [key for key in found if key is not None]
            return _or_foreign(_equal(known, index).sure, index)
        return _equal(found, index)

    return told


def _except(keys: _Keys) -> Tell:
    """The teller of MatchExcept: a value that is not listed is enough."""

    def told(part: MatchExcept, index: FieldIndex) -> Known:
        found = [keys.key(value) for value in part.value if type(value) is keys.kind]
        listed = _equal([key for key in found if key is not None], index).sure
        sure = without(index.entries.all(), listed)
        # a row with a listed value may have another one, if it has several
        several = either(index.listed(), _set("complex", index))
        open_ = either(both(listed, several), _set("foreign", index))
        return Known(sure, either(sure, open_))

    return told


def _moments(part: RangeDateTime, index: FieldIndex) -> Known:
    return _or_foreign(index.entries.between(bounds_of(part)), index)


def _numbers(part: RangeFloat, index: FieldIndex) -> Known:
    sure = index.entries.between(bounds_of(part))
    return _or_foreign(sure, index)


def _or_foreign(sure: Truth, index: FieldIndex) -> Known:
    """These rows, and those of values that have no place in the index where they match."""
    foreign = _set("foreign", index)
    return exactly(sure) if foreign is False else Known(sure, either(sure, foreign))


def _float_match(part: MatchValue | MatchAny, index: FieldIndex) -> Known:
    """An index of floats does not tell 1 from 1.0."""
    values = _listed(part)
    floats = [float(value) for value in values if type(value) is int]
    return Known(False, either(_equal(floats, index).maybe, _set("foreign", index)))


# Names


def _prefix(part: MatchPrefix, index: FieldIndex) -> Known:
    return exactly(index.entries.starting(part.prefix.encode()))


def _name_test(part: Any, index: FieldIndex) -> Known:
    """Each name is tested once, and not each row."""
    test = value_test(part)
    return exactly(index.entries.passing(lambda name: test(name.decode())))


def _uuid_match(part: MatchValue | MatchAny, index: FieldIndex) -> Known:
    wanted = uuids_of(part)
    if wanted is not None:
        return _equal(list(wanted), index)
    return _foreign(part, index) if isinstance(part, MatchValue) else _valued(part, index)


# Places


def _place(part: GeoBoundingBox | GeoRadius | GeoPolygon, index: FieldIndex) -> Known:
    region = region_of(part)
    rows, lons, lats = index.entries.within(region.south, region.north)
    inside = bits.from_offsets(index.watermark, rows[region.inside(lons, lats)])
    return _or_foreign(inside, index)


# Texts


def _tokens(part: Any, index: FieldIndex) -> list[bytes]:
    params = index.field.params
    assert isinstance(params, TextIndexParams)
    return encoded(sought_tokens(part, index_analyzer(params)))


def _all_words(part: MatchText, index: FieldIndex) -> Known:
    tokens = _tokens(part, index)
    return exactly(index.entries.with_all(tokens)) if tokens else NOTHING


def _any_word(part: MatchTextAny, index: FieldIndex) -> Known:
    tokens = _tokens(part, index)
    return exactly(index.entries.with_any(tokens)) if tokens else NOTHING


def _phrase(part: MatchPhrase, index: FieldIndex) -> Known:
    tokens = _tokens(part, index)
    if len(tokens) <= 1:
        return exactly(index.entries.with_all(tokens)) if tokens else NOTHING
    found: Bits | None = index.entries.with_phrase(tokens)
    if found is None:
        return Known(False, index.entries.with_all(tokens))
    return exactly(found)


def _whole_text(part: MatchValue, index: FieldIndex) -> Known:
    """A text that equals another has its words."""
    params = index.field.params
    assert isinstance(params, TextIndexParams)
    if type(part.value) is not str:
        return _foreign(part, index)
    tokens = encoded(index_analyzer(params).document(part.value))
    return Known(False, index.entries.with_all(tokens)) if tokens else _valued(part, index)


_NAME = _Keys(str, str.encode)
_INTEGER = _Keys(int, lambda value: value if value in INT64 else None)
_BOOL = _Keys(bool, int)
_EXACT: Final[dict[PayloadSchemaType, _Keys]] = {
    PayloadSchemaType.Keyword: _NAME,
    PayloadSchemaType.Integer: _INTEGER,
    PayloadSchemaType.Bool: _BOOL,
}

_NO_NUMBERS: Final[dict[type, Tell]] = {RangeFloat: _foreign}
_NO_TEXTS: Final[dict[type, Tell]] = dict.fromkeys(
    (MatchText, MatchTextAny, MatchPhrase, MatchPrefix, MatchSubstring, RangeDateTime), _foreign
)
_NO_PLACES: Final[dict[type, Tell]] = dict.fromkeys(
    (GeoBoundingBox, GeoRadius, GeoPolygon), _foreign
)
_TELLERS: Final[dict[PayloadSchemaType, dict[type, Tell]]] = {
    PayloadSchemaType.Keyword: {
        MatchValue: _match(_NAME),
        MatchAny: _match(_NAME),
        MatchExcept: _except(_NAME),
        MatchPrefix: _prefix,
        MatchSubstring: _name_test,
        MatchText: _name_test,
        MatchTextAny: _name_test,
        MatchPhrase: _name_test,
        RangeDateTime: _name_test,
        **_NO_NUMBERS,
        **_NO_PLACES,
    },
    PayloadSchemaType.Integer: {
        MatchValue: _match(_INTEGER),
        MatchAny: _match(_INTEGER),
        MatchExcept: _except(_INTEGER),
        RangeFloat: _numbers,
        **_NO_TEXTS,
        **_NO_PLACES,
    },
    PayloadSchemaType.Float: {
        MatchValue: _float_match,
        MatchAny: _float_match,
        RangeFloat: _numbers,
        **_NO_TEXTS,
        **_NO_PLACES,
    },
    PayloadSchemaType.Bool: {
        MatchValue: _match(_BOOL),
        MatchAny: _match(_BOOL),
        MatchExcept: _except(_BOOL),
        **_NO_NUMBERS,
        **_NO_TEXTS,
        **_NO_PLACES,
    },
    PayloadSchemaType.Datetime: {
        RangeDateTime: _moments,
        **_NO_NUMBERS,
        **_NO_PLACES,
    },
    PayloadSchemaType.Uuid: {
        MatchValue: _uuid_match,
        MatchAny: _uuid_match,
        **_NO_NUMBERS,
        **_NO_PLACES,
    },
    PayloadSchemaType.Geo: {
        GeoBoundingBox: _place,
        GeoRadius: _place,
        GeoPolygon: _place,
        MatchValue: _foreign,
        MatchAny: _foreign,
        **_NO_NUMBERS,
        **_NO_TEXTS,
    },
    PayloadSchemaType.Text: {
        MatchText: _all_words,
        MatchTextAny: _any_word,
        MatchPhrase: _phrase,
        MatchValue: _whole_text,
        **_NO_NUMBERS,
        **_NO_PLACES,
    },
}
"""What each kind of index tells of each part; of any other, which rows hold a value at all."""

_CONDITIONS: Final[dict[type, Tell]] = {
    FieldCondition: _field,
    IsEmptyCondition: lambda condition, index: _shape("empty", index),
    IsNullCondition: lambda condition, index: _shape("null", index),
}
