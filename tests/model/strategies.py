"""Arbitrary model values for property tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from edge.model.config import Memory
from edge.model.filter import (
    FieldCondition,
    Filter,
    HasIdCondition,
    HasVectorCondition,
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
    MinShould,
    NestedCondition,
    RangeDateTime,
    RangeFloat,
    SliceCondition,
    ValuesCount,
)
from edge.model.geo import GeoBoundingBox, GeoPoint, GeoPolygon, GeoRadius
from edge.model.point import Point, PointVectors
from edge.model.schema import KeywordIndexParams, PayloadSchemaType, TextIndexParams
from edge.model.text import DisabledStemmer, Language, StopwordsSet
from edge.model.update import Nothing, UpdateMode, UpdateOperation

DIMENSIONS = {"": 3, "image": 4}
"""The vectors that the shard of these values has."""

ids = st.one_of(st.integers(0, 2**64 - 1), st.uuids())
keys = st.sampled_from(["a", "a.b", "a[].b", '"x y"', "größe"])
ints = st.integers(-(2**63), 2**64 - 1)
scalars = st.text(max_size=5) | st.booleans() | ints
lists = (
    st.lists(st.text(max_size=3), max_size=3)
    | st.lists(st.booleans(), max_size=3)
    | st.lists(ints, max_size=3)
)
bounds = st.none() | st.floats(allow_nan=False)
moments = st.none() | st.datetimes() | st.sampled_from(["2024-01-01", "2016-12-31T23:59:60Z"])
ranges = st.builds(RangeFloat, bounds, bounds, bounds, bounds) | st.builds(
    RangeDateTime, moments, moments, moments, moments
)
texts = st.text(max_size=5)
matches = st.one_of(
    st.builds(MatchValue, scalars),
    st.builds(MatchAny, lists),
    st.builds(MatchExcept, lists),
    *(
        st.builds(match, texts)
        for match in (MatchText, MatchTextAny, MatchPhrase, MatchPrefix, MatchSubstring)
    ),
)
places = st.builds(GeoPoint, st.floats(-180, 180), st.floats(-90, 90))
rings = st.lists(places, min_size=3, max_size=5).map(lambda points: [*points, points[0]])
regions = st.fixed_dictionaries(
    {},
    optional={
        "geo_bounding_box": st.builds(GeoBoundingBox, places, places),
        "geo_radius": st.builds(GeoRadius, places, st.floats(0)),
        "geo_polygon": st.builds(GeoPolygon, rings, st.none() | st.lists(rings, max_size=2)),
    },
)
sizes = st.none() | st.integers(0, 2**64 - 1)
counts = st.builds(ValuesCount, sizes, sizes, sizes, sizes)
flags = st.none() | st.booleans()

leaves: st.SearchStrategy[Any] = st.one_of(
    st.builds(
        FieldCondition, keys, st.none() | matches, st.none() | ranges, is_empty=flags, is_null=flags
    ),
    st.builds(
        lambda key, count, given: FieldCondition(key, values_count=count, **given),
        keys,
        st.none() | counts,
        regions,
    ),
    st.builds(
        lambda total, part: SliceCondition(total, part % total),
        st.integers(1, 2**32 - 1),
        st.integers(0, 2**32),
    ),
    st.builds(IsEmptyCondition, keys),
    st.builds(IsNullCondition, keys),
    st.builds(HasIdCondition, st.sets(ids, max_size=3)),
    st.builds(HasVectorCondition, st.sampled_from(list(DIMENSIONS))),
)


def _filters(conditions: st.SearchStrategy[Any]) -> st.SearchStrategy[Filter]:
    some = st.none() | st.lists(conditions, max_size=2)
    least = st.builds(MinShould, st.lists(conditions, max_size=2), st.integers(0, 3))
    return st.builds(Filter, some, some, some, st.none() | least)


filters = _filters(
    st.recursive(
        leaves,
        lambda inner: _filters(inner) | st.builds(NestedCondition, keys, _filters(inner)),
        max_leaves=6,
    )
)

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
vectors = st.fixed_dictionaries(
    {},
    optional={
        name: st.lists(finite, min_size=size, max_size=size) for name, size in DIMENSIONS.items()
    },
) | st.lists(finite, min_size=3, max_size=3).map(lambda values: np.array(values, np.float32))
payloads = st.dictionaries(
    st.text(max_size=3), st.none() | scalars | finite | st.lists(scalars, max_size=2), max_size=3
)
points = st.builds(Point, ids, vectors, st.none() | payloads)

some_ids = st.lists(ids, max_size=4)
names = st.lists(st.sampled_from(list(DIMENSIONS)), max_size=3)
maybe_key = st.none() | keys
maybe_filter = st.none() | filters

INDEXES = [
    *PayloadSchemaType,
    KeywordIndexParams(prefix=True, memory=Memory.Cold),
    TextIndexParams(
        stopwords=StopwordsSet([Language.English], ["mug"]), stemmer=DisabledStemmer(), scoring=True
    ),
]

operations: st.SearchStrategy[UpdateOperation] = st.one_of(
    st.builds(
        UpdateOperation.upsert_points,
        st.lists(points, max_size=5),
        maybe_filter,
        st.none() | st.sampled_from(UpdateMode),
    ),
    st.builds(
        UpdateOperation.update_vectors,
        st.lists(st.builds(PointVectors, ids, vectors), max_size=5),
        maybe_filter,
    ),
    st.builds(UpdateOperation.delete_points, some_ids),
    st.builds(UpdateOperation.delete_points_by_filter, filters),
    st.builds(UpdateOperation.delete_vectors, some_ids, names),
    st.builds(UpdateOperation.delete_vectors_by_filter, filters, names),
    st.builds(UpdateOperation.set_payload, some_ids, payloads, maybe_key),
    st.builds(UpdateOperation.set_payload_by_filter, filters, payloads, maybe_key),
    st.builds(UpdateOperation.overwrite_payload, some_ids, payloads, maybe_key),
    st.builds(UpdateOperation.overwrite_payload_by_filter, filters, payloads, maybe_key),
    st.builds(UpdateOperation.delete_payload, some_ids, st.lists(keys, max_size=3)),
    st.builds(UpdateOperation.delete_payload_by_filter, filters, st.lists(keys, max_size=3)),
    st.builds(UpdateOperation.clear_payload, some_ids),
    st.builds(UpdateOperation.clear_payload_by_filter, filters),
    st.builds(UpdateOperation.create_field_index, keys, st.sampled_from(INDEXES)),
    st.builds(UpdateOperation.delete_field_index, keys),
    st.builds(Nothing),
)
