"""Configs and schemas of ours in Qdrant's words.

Invariant: what Qdrant would refuse is refused here first, by the name of the vector, or left out
where nothing but speed depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from edge.disk import files
from edge.errors import ValidationError
from edge.model.choice import Choice, Memory
from edge.model.config import EdgeConfig
from edge.model.quantization import NoQuantization, QuantizationConfig
from edge.model.schema import IndexedField, Schema
from edge.model.vector_params import (
    EdgeVectorParams,
    VectorParams,
    VectorStorageDatatype,
)
from edge.qdrant import layout
from edge.qdrant.export_vectors import is_converted


def check_names(config: EdgeConfig) -> None:
    """Refuse vectors whose names cannot be part of the name of a folder."""
    for name in config.names():
        folder = layout.vector_storage(name)
        if "/" in folder or not files.is_foreign_name(folder):
            raise ValidationError(f"vector {name!r}: Qdrant's files cannot have this name")


def shard_config(config: EdgeConfig) -> layout.ShardConfig:
    """What edge_config.json is to say."""
    # Qdrant has no word for a vector without quantization in a shard with one: each says its own.
    each_its_own = any(
        isinstance(params.quantization_config, NoQuantization) for params in config.vectors.values()
    )
    shared = config.quantization_config
    return layout.ShardConfig(
        vectors={
            name: _dense_params(params, shared if each_its_own else None)
            for name, params in config.vectors.items()
        },
        sparse_vectors={
            name: layout.SparseParams(
                full_scan_threshold=params.full_scan_threshold,
                on_disk=params.on_disk,
                memory=_word(params.memory),
                modifier=_word(params.modifier),
                datatype=_word(params.datatype),
            )
            for name, params in config.sparse_vectors.items()
        },
        on_disk_payload=config.on_disk_payload,
        payload_memory=_word(config.payload_memory),
        id_tracker_memory=_word(config.id_tracker_memory),
        hnsw_config=_options(config.hnsw_config),
        quantization_config=None if each_its_own else _quantization(shared),
        optimizers=_options(config.optimizers),
        max_search_threads=config.max_search_threads,
    )


def _dense_params(
    params: EdgeVectorParams, shared: QuantizationConfig | None
) -> layout.DenseParams:
    return layout.DenseParams(
        size=params.size,
        distance=params.distance.value,
        on_disk=params.on_disk,
        memory=_word(params.memory),
        multivector_config=_several(params),
        datatype=_datatype(params),
        quantization_config=_quantization(params.quantization_config or shared),
        hnsw_config=_options(params.hnsw_config),
    )


def vector_options(params: VectorParams) -> layout.Options:
    """What is to be said of a vector that is created: what its stored rows depend on."""
    if isinstance(params, EdgeVectorParams):
        several = _several(params)
        given = {
            "size": params.size,
            "distance": params.distance.value,
            "multivector_config": several and msgspec.to_builtins(several),
            "datatype": _datatype(params),
        }
    else:
        given = {"modifier": _word(params.modifier), "datatype": _word(params.datatype)}
    return {name: value for name, value in given.items() if value is not None}


def segment_config(config: EdgeConfig) -> layout.SegmentConfig:
    """What segment.json is to say of a segment that has no index yet and takes no points."""
    return layout.SegmentConfig(
        payload_storage_type=layout.PayloadStorage("mmap"),
        vector_data={
            name: layout.DenseData(
                size=params.size,
                distance=params.distance.value,
                storage_type="Mmap",
                index=layout.Index(),
                multivector_config=_several(params),
                datatype=_datatype(params),
            )
            for name, params in config.vectors.items()
        },
        sparse_vector_data={
            name: layout.SparseData(
                index=layout.SparseIndex(
                    index_type="ImmutableRam",
                    full_scan_threshold=params.full_scan_threshold,
                    datatype=_word(params.datatype),
                ),
                modifier=_word(params.modifier),
            )
            for name, params in config.sparse_vectors.items()
        },
    )


def vectors_of(config: EdgeConfig) -> Mapping[str, VectorParams]:
    """All vectors by name, the dense ones first."""
    return {**config.vectors, **config.sparse_vectors}


def index_config(schema: Schema) -> layout.PayloadIndexConfig:
    """What payload_index/config.json is to say."""
    return layout.PayloadIndexConfig({path: field_options(field) for path, field in schema.items()})


def field_options(field: IndexedField) -> str | layout.Options:
    """What is to be said of one field's index: its kind, or its params with the kind at "type"."""
    if field.plain:
        return field.kind.value
    options = _options(field.params)
    assert options is not None
    options = {"type": field.kind.value, **options}
    if options.get("stemmer") == {"type": "disabled"}:
        options["stemmer"] = {"type": "none"}
    for key in _NOT_TOGETHER if options.get("nested") else ():
        options.pop(key, None)
    if options.get("lookup") is False and options.get("range") is False:
        del options["lookup"], options["range"]
    return options


_NOT_TOGETHER: Final = ("is_tenant", "is_principal")
"""What Qdrant refuses of a field inside of an array's elements; it would only change the speed."""


def _several(params: EdgeVectorParams) -> layout.MultiVector | None:
    several = params.multivector_config
    return None if several is None else layout.MultiVector(several.comparator.value)


def _datatype(params: EdgeVectorParams) -> str | None:
    if is_converted(params) or params.datatype is VectorStorageDatatype.Float32:
        return None
    return _word(params.datatype)


def _quantization(config: QuantizationConfig | None) -> layout.Options | None:
    if config is None or isinstance(config, NoQuantization):
        return None
    return {str(config.__struct_config__.tag): _options(config)}


def _options(struct: Struct | None) -> layout.Options | None:
    """The fields of a struct that are set, words as Qdrant spells them."""
    if struct is None:
        return None
    return {
        name: _plain(value)
        for name in struct.__struct_fields__
        if (value := getattr(struct, name)) is not None
    }


def _plain(value: Any) -> Any:
    return _word(value) if isinstance(value, Choice) else msgspec.to_builtins(value)


def _word(choice: Choice | None) -> str | None:
    if choice is None:
        return None
    word = str(choice.value)
    return word.lower() if isinstance(choice, Memory | VectorStorageDatatype) else word
