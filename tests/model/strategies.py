"""Arbitrary model values for property tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from msgspec.structs import replace

from edge.model.choice import Memory
from edge.model.config import ConfigChange, EdgeConfig, EdgeOptimizersConfig
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
from edge.model.quantization import (
    BinaryQuantizationConfig,
    BinaryQuantizationEncoding,
    BinaryQuantizationQueryEncoding,
    CompressionRatio,
    NoQuantization,
    ProductQuantizationConfig,
    ScalarQuantizationConfig,
    ScalarType,
    TurboQuantBitSize,
    TurboQuantQuantizationConfig,
)
from edge.model.schema import KeywordIndexParams, PayloadSchemaType, TextIndexParams
from edge.model.sparse import SparseVector
from edge.model.text import DisabledStemmer, Language, StopwordsSet
from edge.model.update import Nothing, UpdateMode, UpdateOperation
from edge.model.vector_params import (
    Distance,
    EdgeSparseVectorParams,
    EdgeVectorParams,
    HnswIndexConfig,
    Modifier,
    MultiVectorComparator,
    MultiVectorConfig,
    VectorStorageDatatype,
)

DIMENSIONS = {"": 3, "image": 4}
"""The vectors of one list of float32 that the shard of these values has."""
HALF, MANY, WORDS = "half", "many", "words"
GREATEST_FLOAT16 = 65_504.0
SEVERAL = MultiVectorConfig(MultiVectorComparator.MaxSim)


def config_of(distance: Distance) -> EdgeConfig:
    """The config of that shard: float32, float16, multivectors, sparse vectors."""
    return EdgeConfig(
        {
            **{name: EdgeVectorParams(size, distance) for name, size in DIMENSIONS.items()},
            HALF: EdgeVectorParams(2, distance, datatype=VectorStorageDatatype.Float16),
            MANY: EdgeVectorParams(2, distance, multivector_config=SEVERAL),
        },
        {WORDS: EdgeSparseVectorParams(modifier=Modifier.Idf)},
    )


CONFIG = config_of(Distance.Dot)

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
halves = st.floats(-GREATEST_FLOAT16, GREATEST_FLOAT16, width=32)


def rows_of(size: int, numbers: st.SearchStrategy[float] = finite) -> st.SearchStrategy[Any]:
    """Vectors of so many numbers."""
    return st.lists(numbers, min_size=size, max_size=size)


sparse_vectors = st.dictionaries(st.integers(0, 2**32 - 1), finite, max_size=4).map(
    lambda entries: SparseVector(list(entries), list(entries.values()))
)
vectors = st.fixed_dictionaries(
    {},
    optional={
        **{name: rows_of(size) for name, size in DIMENSIONS.items()},
        HALF: rows_of(2, halves),
        MANY: rows_of(2) | st.lists(rows_of(2), min_size=1, max_size=3),
        WORDS: sparse_vectors,
    },
) | rows_of(3).map(lambda values: np.array(values, np.float32))
payloads = st.dictionaries(
    st.text(max_size=3), st.none() | scalars | finite | st.lists(scalars, max_size=2), max_size=3
)
points = st.builds(Point, ids, vectors, st.none() | payloads)

some_ids = st.lists(ids, max_size=4)
names = st.lists(st.sampled_from(CONFIG.names()), max_size=3)
maybe_key = st.none() | keys
maybe_filter = st.none() | filters

INDEXES = [
    *PayloadSchemaType,
    KeywordIndexParams(prefix=True, memory=Memory.Cold),
    TextIndexParams(
        stopwords=StopwordsSet([Language.English], ["mug"]), stemmer=DisabledStemmer(), scoring=True
    ),
]

maybe_memory = st.none() | st.sampled_from(Memory)
quantizations = st.one_of(
    st.builds(
        ScalarQuantizationConfig,
        st.sampled_from(ScalarType), st.none() | st.floats(0.5, 1), flags, maybe_memory,
    ),
    st.builds(ProductQuantizationConfig, st.sampled_from(CompressionRatio), flags, maybe_memory),
    st.builds(
        BinaryQuantizationConfig,
        flags,
        st.none() | st.sampled_from(BinaryQuantizationEncoding),
        st.none() | st.sampled_from(BinaryQuantizationQueryEncoding),
        maybe_memory,
    ),
    st.builds(
        TurboQuantQuantizationConfig,
        flags, st.none() | st.sampled_from(TurboQuantBitSize), maybe_memory,
    ),
    st.builds(NoQuantization),
)  # fmt: skip
graphs = st.builds(
    HnswIndexConfig,
    st.just(0) | st.integers(2, 512), st.integers(0, 10**6), st.integers(0, 2**64 - 1),
    max_indexing_threads=st.integers(0, 9), on_disk=flags,
    payload_m=st.none() | st.just(0) | st.integers(2, 512), inline_storage=flags,
    memory=maybe_memory,
)  # fmt: skip
datatypes = st.none() | st.sampled_from(
    [kind for kind in VectorStorageDatatype if kind is not VectorStorageDatatype.Turbo4]
)
sparse_datatypes = st.none() | st.sampled_from(
    [getattr(VectorStorageDatatype, name) for name in ("Float32", "Float16", "Uint8")]
)
modifiers = st.none() | st.sampled_from(Modifier)


@st.composite
def config_changes(draw: st.DrawFn) -> ConfigChange:
    """Any change that the shard of these values can make."""
    dense = {
        name: replace(
            params,
            on_disk=draw(flags),
            quantization_config=draw(st.none() | quantizations),
            hnsw_config=draw(st.none() | graphs),
            memory=draw(maybe_memory),
        )
        for name, params in CONFIG.vectors.items()
        if draw(st.booleans())
    }
    sparse = {
        name: replace(params, full_scan_threshold=draw(sizes), memory=draw(maybe_memory))
        for name, params in CONFIG.sparse_vectors.items()
        if draw(st.booleans())
    }
    optimizers = st.builds(
        EdgeOptimizersConfig, st.none() | st.floats(0, 1), sizes, sizes, sizes, sizes
    )
    return ConfigChange(
        draw(st.none() | graphs),
        draw(st.none() | quantizations),
        draw(st.none() | optimizers),
        dense,
        sparse,
    )


new_names = st.text(max_size=5).filter(lambda name: name not in CONFIG.names())


def _arrays(count: int, many: bool) -> st.SearchStrategy[UpdateOperation]:
    """Whole columns; of multivectors one or two each."""
    blocks = {"": np.arange(3.0 * count).reshape(count, 3)}
    if many:
        blocks[MANY] = np.ones((count, 2, 2))
    return st.builds(
        UpdateOperation.upsert_arrays,
        st.just(range(count)),
        st.just(blocks),
        st.none() | st.lists(st.none() | payloads, min_size=count, max_size=count),
    )


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
    st.integers(0, 3).flatmap(lambda count: _arrays(count, many=True) | _arrays(count, many=False)),
    st.builds(
        UpdateOperation.create_dense_vector,
        new_names,
        st.integers(1, 65_535),
        st.sampled_from(Distance),
        st.none() | st.just(SEVERAL),
        datatypes,
    ),
    st.builds(UpdateOperation.create_sparse_vector, new_names, modifiers, sparse_datatypes),
    st.builds(UpdateOperation.delete_vector_name, st.text(max_size=5)),
    st.builds(UpdateOperation.set_config, config_changes()),
    st.builds(Nothing),
)
