"""Qdrant's configs and field schemas as ours.

Invariants: what both sides know is carried over as it was written; what ours does not know of a
vector is refused by name, what it does not know of an optimizer is left to ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from edge.errors import ValidationError
from edge.model import json_path
from edge.model.choice import Choice, Memory
from edge.model.config import EdgeConfig, EdgeOptimizersConfig
from edge.model.quantization import (
    BinaryQuantizationConfig,
    ProductQuantizationConfig,
    QuantizationConfig,
    ScalarQuantizationConfig,
    TurboQuantQuantizationConfig,
)
from edge.model.schema import (
    IndexedField,
    IndexParams,
    PayloadSchemaType,
    Schema,
    check_nested,
    indexed_field,
)
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
from edge.qdrant import layout
from edge.qdrant.layout import (
    DenseData,
    DenseParams,
    MultiVector,
    Options,
    SegmentConfig,
    ShardConfig,
    SparseData,
    SparseParams,
)

T = TypeVar("T")
C = TypeVar("C", bound=Choice)

_DATATYPES = {
    "float32": VectorStorageDatatype.Float32,
    "float16": VectorStorageDatatype.Float16,
    "uint8": VectorStorageDatatype.Uint8,
}
_QUANTIZATIONS: dict[str, type[Any]] = {
    "scalar": ScalarQuantizationConfig,
    "product": ProductQuantizationConfig,
    "binary": BinaryQuantizationConfig,
    "turbo": TurboQuantQuantizationConfig,
}
_NO_STEMMER = {"type": "none"}
_OPTIMIZERS = (
    "deleted_threshold",
    "vacuum_min_vector_number",
    "default_segment_number",
    "max_segment_size",
    "indexing_threshold",
)


# -- of a shard


def config_of(given: ShardConfig) -> EdgeConfig:
    """Return our config of an edge_config.json. ValidationError naming what is not known."""
    return EdgeConfig(
        vectors={name: dense_params(name, params) for name, params in given.vectors.items()},
        sparse_vectors={
            name: sparse_params(name, params) for name, params in given.sparse_vectors.items()
        },
        on_disk_payload=given.on_disk_payload,
        payload_memory=_memory(given.payload_memory, "payload_memory"),
        id_tracker_memory=_memory(given.id_tracker_memory, "id_tracker_memory"),
        hnsw_config=_hnsw(given.hnsw_config, "hnsw_config"),
        quantization_config=_quantization(given.quantization_config, "quantization_config"),
        optimizers=_optimizers(given.optimizers),
        max_search_threads=given.max_search_threads or None,
    )


def dense_params(name: str, given: DenseParams) -> EdgeVectorParams:
    """Return our params of a dense vector. ValidationError for a datatype that is not read."""
    field = f"vectors[{name!r}]"
    return EdgeVectorParams(
        size=given.size,
        distance=_member(given.distance, Distance, f"{field}.distance"),
        on_disk=given.on_disk,
        memory=_memory(given.memory, f"{field}.memory"),
        multivector_config=_multivector(given.multivector_config, field),
        datatype=_datatype(given.datatype, field),
        quantization_config=_quantization(given.quantization_config, field),
        hnsw_config=_hnsw(given.hnsw_config, f"{field}.hnsw_config"),
    )


def sparse_params(name: str, given: SparseParams) -> EdgeSparseVectorParams:
    """Return our params of a sparse vector."""
    field = f"sparse_vectors[{name!r}]"
    return EdgeSparseVectorParams(
        full_scan_threshold=given.full_scan_threshold,
        on_disk=given.on_disk,
        memory=_memory(given.memory, f"{field}.memory"),
        modifier=_modifier(given.modifier, field),
        datatype=_datatype(given.datatype, field),
    )


# -- of segments, where the shard has no config of its own


def derived(segments: Iterable[SegmentConfig]) -> ShardConfig:
    """Return the config that these segments were made by, as far as they show it.

    Of a name that several have, the last one counts; of a graph, one that was built.
    """
    found = ShardConfig()
    for segment in segments:
        for name, data in segment.vector_data.items():
            known = found.vectors.get(name)
            found.vectors[name] = _dense_of(data, None if known is None else known.hnsw_config)
        for name, sparse in segment.sparse_vector_data.items():
            found.sparse_vectors[name] = _sparse_of(sparse)
        found.payload_memory = _PAYLOAD_MEMORY.get(segment.payload_storage_type.type)
        found.id_tracker_memory = segment.id_tracker_memory
    return found


_PAYLOAD_MEMORY = {"mmap": "cold", "in_ram_mmap": "cached"}


def _dense_of(data: DenseData, hnsw: Options | None) -> DenseParams:
    return DenseParams(
        size=data.size,
        distance=data.distance,
        memory="cold" if data.storage_type in ("ChunkedMmap", "Mmap") else None,
        multivector_config=data.multivector_config,
        datatype=data.datatype,
        quantization_config=data.quantization_config,
        hnsw_config=data.index.options if data.index.type == "hnsw" else hnsw,
    )


def _sparse_of(data: SparseData) -> SparseParams:
    return SparseParams(
        full_scan_threshold=data.index.full_scan_threshold,
        modifier=data.modifier,
        datatype=data.index.datatype,
    )


def check_fits(name: str, data: DenseData, params: EdgeVectorParams) -> None:
    """Refuse a segment whose vector of this name is another than the shard's."""
    found = dense_params(name, _dense_of(data, None))
    for field in ("size", "distance", "multivector_config"):
        if getattr(found, field) != getattr(params, field):
            raise _differs(name, field, getattr(found, field), getattr(params, field))
    default = VectorStorageDatatype.Float32
    if (found.datatype or default) != (params.datatype or default):
        raise _differs(name, "datatype", found.datatype, params.datatype)


def _differs(name: str, field: str, found: object, expected: object) -> ValidationError:
    return ValidationError(
        f"vectors[{name!r}].{field}: {found} in a segment, {expected} in {layout.EDGE_CONFIG}"
    )


# -- of payload fields


def schema_of(fields: Mapping[str, str | Options]) -> Schema:
    """Return our schema of `indexed_fields`. ValidationError naming the field that is not known."""
    return {
        json_path.canonical(path): indexed_field_of(path, given) for path, given in fields.items()
    }


def indexed_field_of(path: str, given: str | Options) -> IndexedField:
    """Return one field's index: a kind, or params with the kind at "type"."""
    field = f"payload field {path!r}"
    if isinstance(given, str):
        return indexed_field(_member(given, PayloadSchemaType, field))
    options = _options(given, field)
    if options.get("type") not in [kind.value for kind in PayloadSchemaType]:
        raise ValidationError(f"{field}: an index of type {options.get('type')!r} is not known")
    if options.get("stemmer") == _NO_STEMMER:
        options["stemmer"] = {"type": "disabled"}
    params: Any = _converted(options, IndexParams, field)
    check_nested(json_path.canonical(path), params)
    return indexed_field(params)


# -- words


def _optimizers(given: Options | None) -> EdgeOptimizersConfig | None:
    if given is None:
        return None
    known = {name: value for name, value in given.items() if name in _OPTIMIZERS}
    found: EdgeOptimizersConfig = _converted(known, EdgeOptimizersConfig, "optimizers")
    return found


def _multivector(given: MultiVector | None, field: str) -> MultiVectorConfig | None:
    if given is None:
        return None
    return MultiVectorConfig(_member(given.comparator, MultiVectorComparator, field))


def _hnsw(given: Options | None, field: str) -> HnswIndexConfig | None:
    return None if given is None else _converted(_options(given, field), HnswIndexConfig, field)


def _quantization(given: Options | None, field: str) -> QuantizationConfig | None:
    if given is None:
        return None
    [(kind, options)] = given.items() if len(given) == 1 else [("", None)]
    if kind not in _QUANTIZATIONS or not isinstance(options, dict):
        raise ValidationError(f"{field}: a quantization of {sorted(given)} is not known")
    found: QuantizationConfig = _converted(
        _options(options, field), _QUANTIZATIONS[kind], f"{field}.{kind}"
    )
    return found


def _options(given: Options, field: str) -> Options:
    """Return settings without those that are not set, their memory in our words."""
    known = {name: value for name, value in given.items() if value is not None}
    if "memory" in known:
        memory = _memory(known["memory"], f"{field}.memory")
        known["memory"] = memory and memory.value
    return known


def _memory(given: Any, field: str) -> Memory | None:
    if given is None:
        return None
    if given not in ("cold", "cached", "pinned"):
        raise ValidationError(f"{field}: {given!r} is not known")
    return Memory(given.capitalize())


def _datatype(given: str | None, field: str) -> VectorStorageDatatype | None:
    if given is None:
        return None
    if given not in _DATATYPES:
        raise ValidationError(f"{field}.datatype: {given!r} is not read")
    return _DATATYPES[given]


def _modifier(given: str | None, field: str) -> Modifier | None:
    return None if given in (None, "none") else _member(given, Modifier, f"{field}.modifier")


def _member(given: Any, kind: type[C], field: str) -> C:
    try:
        return kind(given)
    except ValueError:
        raise ValidationError(f"{field}: {given!r} is not known") from None


def _converted(given: Any, kind: Any, field: str) -> Any:
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise ValidationError(f"{field}: {error}") from None
