"""Indexed fields: the values, the indexes and the conditions that the model tests draw.

Every kind of value stands in every kind of field now and then, and every kind of index on it.
"""

from __future__ import annotations

from functools import lru_cache
from random import Random
from typing import Any

from hypothesis import strategies as st

from edge.model.choice import Memory
from edge.model.filter import (
    FieldCondition,
    Filter,
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
    ValuesCount,
)
from edge.model.geo import GeoBoundingBox, GeoPoint, GeoRadius
from edge.model.query import Direction, OrderBy
from edge.model.schema import (
    BoolIndexParams,
    DatetimeIndexParams,
    FloatIndexParams,
    GeoIndexParams,
    IntegerIndexParams,
    KeywordIndexParams,
    PayloadSchemaType,
    TextIndexParams,
    UuidIndexParams,
)
from edge.model.text import TokenizerType
from tests.model_based import drawing
from tests.model_based.plain_fields import fulfils
from tests.model_based.plain_model import Asked

WHO = "67e55044-10b1-426f-9247-bb680e5fe0c8"
OTHER = "00000000-0000-0000-0000-00000000000a"

VALUES: dict[str, list[Any]] = {
    "tag": ["a", "b", "ab", ["a", "b"], ["b", None, "b"], [], None, 7, True, {"a": 1}],
    "size": [0, 1, 2, 3, -1, 2.0, 2.5, [1, 3], [3, 0.5], 2**53 + 1, 2**63, "2", None, []],
    "flag": [True, False, True, False, [True, False], None, 1, "true"],
    "when": [
        "2024-05-01T10:00:00Z", "2024-05-01 12:00:00+02:00", "2024-05-02", "2023-12-31T23:59:59.5Z",
        ["2024-05-02", "2024-05-01T10:00:00Z"], "never", 3, None,
    ],
    "who": [WHO, WHO.upper(), WHO.replace("-", ""), OTHER, [OTHER, WHO], "nobody", 7, None],
    "where": [
        {"lon": 1, "lat": 1}, {"lon": 2.5, "lat": -1.5}, {"lon": 1.5, "lat": 2, "name": "x"},
        [{"lon": 1, "lat": 1}, {"lon": -3, "lat": 0}], {"lon": 1, "lat": "1"}, "here", None, [],
    ],
    "said": [
        "red apples", "The RED box of red apples", "green apples, pears", ["red", "box and apples"],
        "box", "a", "", "...", 5, None,
    ],
    "offers": [
        [{"price": 1, "note": "red box"}, {"price": 5, "note": "pears"}], [{"price": [2, 7]}],
        [{"price": 2, "note": ["red", "apples"]}, {"note": None}, 3], [{"price": None}, {}],
        [{"note": "apples in a red box"}], [], {"price": 1}, None,
    ],
}  # fmt: skip
DENSITY = 0.5
"""How likely each of these fields is there."""


@lru_cache(maxsize=4096)
def _fields(seed: int) -> dict[str, Any]:
    random = Random(seed)
    return {key: random.choice(VALUES[key]) for key in VALUES if random.random() < DENSITY}


def fields_of(seed: int) -> dict[str, Any]:
    """Some of the fields, always the same for a seed."""
    return dict(_fields(seed))


some_fields = st.integers(0, 400).map(fields_of)
no_fields: st.SearchStrategy[dict[str, Any]] = st.just({})
payloads = st.builds(lambda one, other: {**one, **other}, drawing.payloads(), some_fields)
patches = st.builds(
    lambda one, other: {**one, **other}, drawing.patches, st.one_of(no_fields, some_fields)
)
removed_keys = st.one_of(
    drawing.removed_keys, st.lists(st.sampled_from([*VALUES, "where.lon"]), max_size=4)
)


# -- indexes

OF_TEXT = [
    TextIndexParams(),
    TextIndexParams(phrase_matching=True, scoring=True),
    TextIndexParams(TokenizerType.Prefix, 2, 4, scoring=True, memory=Memory.Cold),
    TextIndexParams(TokenizerType.Whitespace, lowercase=False, phrase_matching=True),
    TextIndexParams(TokenizerType.Word, min_token_len=3, phrase_matching=True, scoring=True),
]
OF_PRICES = [
    IntegerIndexParams(),
    IntegerIndexParams(nested="offers"),
    FloatIndexParams(nested="offers[]", memory=Memory.Cold),
]
OF_NOTES = [
    KeywordIndexParams(nested="offers"),
    TextIndexParams(scoring=True),
    TextIndexParams(nested="offers", scoring=True, phrase_matching=True),
    TextIndexParams(nested="offers", memory=Memory.Cached),
]
FITTING: dict[str, list[Any]] = {
    "room": [KeywordIndexParams(), KeywordIndexParams(memory=Memory.Cold, prefix=True)],
    "n": [IntegerIndexParams(), FloatIndexParams(on_disk=True)],
    "tag": [KeywordIndexParams(), KeywordIndexParams(is_tenant=True)],
    "size": [IntegerIndexParams(memory=Memory.Cold), FloatIndexParams()],
    "flag": [BoolIndexParams(), BoolIndexParams(on_disk=True)],
    "when": [DatetimeIndexParams(), DatetimeIndexParams(memory=Memory.Cold)],
    "who": [UuidIndexParams(), UuidIndexParams(memory=Memory.Cold), KeywordIndexParams()],
    "where": [GeoIndexParams(), GeoIndexParams(memory=Memory.Cold)],
    "said": OF_TEXT,
    "offers[].price": OF_PRICES,
    "offers[].note": OF_NOTES,
    "deep.x": [IntegerIndexParams()],
    "list[]": [IntegerIndexParams(), KeywordIndexParams()],
}
"""The indexes that a field was made for."""

PATHS = list(FITTING)
EVERY_KIND = [*PayloadSchemaType, *OF_TEXT]

fitting_indexes = st.sampled_from([(path, params) for path in PATHS for params in FITTING[path]])
indexes = st.one_of(
    fitting_indexes,
    fitting_indexes,
    st.tuples(st.sampled_from(PATHS), st.sampled_from(EVERY_KIND)),
)
"""(path, what is asked for): mostly one that fits the field, else any."""


# -- conditions

PARTS: list[dict[str, Any]] = [
    *({"match": MatchValue(value)} for value in (1, 2, 2**53 + 1, True, "a", "hall", WHO, "red")),
    *({"match": MatchAny(values)} for values in (["a", "box"], [1, 5], [False], [WHO.upper()], [])),
    *({"match": MatchExcept(values)} for values in (["a", "b"], [2, 3], [True], [OTHER], [])),
    {"match": MatchText("red")},
    {"match": MatchText("apples Red")},
    {"match": MatchText("ap")},
    {"match": MatchTextAny("box pears")},
    {"match": MatchPhrase("red box")},
    {"match": MatchPhrase("red apples")},
    {"match": MatchPrefix("a")},
    {"match": MatchSubstring("ed")},
    {"range": RangeFloat(gte=1, lt=3)},
    {"range": RangeFloat(gt=2)},
    {"range": RangeFloat(lte=2.25)},
    {"range": RangeFloat(gte=float(2**53))},
    {"range": RangeDateTime(gte="2024-05-01T10:00:00Z")},
    {"range": RangeDateTime(gt="2024-05-01T10:00:00Z", lte="2024-05-02")},
    {"geo_bounding_box": GeoBoundingBox(GeoPoint(0.5, 1.5), GeoPoint(2.0, 0.5))},
    {"geo_radius": GeoRadius(GeoPoint(2.0, 1.5), 130_000.0)},
    {"match": MatchValue("b"), "range": RangeFloat(lt=1)},
    *({"values_count": count} for count in (ValuesCount(gte=2), ValuesCount(lt=1))),
    *({"is_empty": wanted} for wanted in (True, False)),
    *({"is_null": wanted} for wanted in (True, False)),
]


def asked_of(condition: Any, *, negated: bool = False) -> Asked:
    wanted = Filter(must_not=[condition]) if negated else Filter(must=[condition])
    return Asked(wanted, lambda i, p, s: fulfils(condition, p.payload, s) is not negated)


def _whole(path: str) -> list[Any]:
    return [
        *(FieldCondition(path, **part) for part in PARTS),
        IsEmptyCondition(path),
        IsNullCondition(path),
    ]


NESTED = [
    NestedCondition(key, Filter(must=[FieldCondition(name, **part) for name, part in parts]))
    for key, parts in [
        ("offers", [("price", {"range": RangeFloat(lt=3)})]),
        ("offers[]", [("price", PARTS[1]), ("note", {"match": MatchText("red apples")})]),
        ("offers", [("note", {"match": MatchPhrase("red box")})]),
        ("offers", [("note", {"is_empty": True})]),
    ]
]
CONDITIONS = [*NESTED, *(condition for path in PATHS for condition in _whole(path))]


@st.composite
def conditions(draw: st.DrawFn) -> Asked:
    return asked_of(draw(st.sampled_from(CONDITIONS)), negated=draw(st.booleans()))


asked_of_fields = conditions()


@st.composite
def _two(draw: st.DrawFn) -> Asked:
    """Both, or one of two."""
    one, other = draw(asked_of_fields), draw(drawing.few_filters | asked_of_fields)
    both = draw(st.booleans())
    parts = [one.filter, other.filter]
    wanted = Filter(must=parts) if both else Filter(should=parts)
    act = all if both else any
    return Asked(wanted, lambda i, p, s: act([one.test(i, p, s), other.test(i, p, s)]))


few_filters = st.one_of(drawing.few_filters, asked_of_fields, asked_of_fields, _two())
maybe_filters = st.one_of(st.none(), drawing.filters, few_filters)
targets = st.one_of(drawing.id_targets, few_filters)

orders = st.builds(
    OrderBy,
    st.sampled_from(PATHS),
    st.sampled_from(Direction),
    st.sampled_from([None, None, 2, 2.5, float(2**53), "2024-05-01T10:00:00Z"]),
)
text_queries = st.sampled_from(["red", "Red apples pears", "apples", "box red box", "ap", "", "zz"])
