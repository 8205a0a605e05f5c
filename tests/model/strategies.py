"""Arbitrary model values for property tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from edge.model.filter import (
    FieldCondition,
    Filter,
    HasIdCondition,
    HasVectorCondition,
    IsEmptyCondition,
    IsNullCondition,
    MatchAny,
    MatchExcept,
    MatchValue,
    MinShould,
    NestedCondition,
    RangeFloat,
)
from edge.model.point import Point, PointVectors
from edge.model.update import UpdateMode, UpdateOperation

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
ranges = st.builds(RangeFloat, bounds, bounds, bounds, bounds)
matches = (
    st.builds(MatchValue, scalars) | st.builds(MatchAny, lists) | st.builds(MatchExcept, lists)
)
flags = st.none() | st.booleans()

leaves: st.SearchStrategy[Any] = st.one_of(
    st.builds(
        FieldCondition, keys, st.none() | matches, st.none() | ranges, is_empty=flags, is_null=flags
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
)
