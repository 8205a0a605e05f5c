"""Configs and field schemas of the real package in our words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import qdrant_edge as qdrant

import edge.names as ours
from edge.errors import ValidationError
from edge.model.schema import indexed_field
from edge.qdrant.config import config_of, indexed_field_of
from edge.qdrant.layout import DenseParams, ShardConfig, SparseParams
from tests.qdrant import made
from tests.qdrant.made import U, opened

HNSW = {"m": 8, "ef_construct": 33, "full_scan_threshold": 77}


def each_quantization(names: Any) -> list[Any]:
    """Every kind with all that it takes, made from the names of one of the packages."""
    binary, query = names.BinaryQuantizationEncoding, names.BinaryQuantizationQueryEncoding
    return [
        names.ScalarQuantizationConfig(names.ScalarType.Int8, 0.9, memory=names.Memory.Cold),
        names.ScalarQuantizationConfig(names.ScalarType.Int8, always_ram=True),
        names.ProductQuantizationConfig(names.CompressionRatio.X16),
        names.BinaryQuantizationConfig(encoding=binary.TwoBits, query_encoding=query.Scalar4Bits),
        names.TurboQuantQuantizationConfig(bits=names.TurboQuantBitSize.Bits2),
    ]


def each_config(names: Any) -> list[Any]:
    def vector(**more: Any) -> Any:
        return names.EdgeVectorParams(4, names.Distance.Euclid, **more)

    hnsw = names.HnswIndexConfig(**HNSW)
    fuller = names.HnswIndexConfig(
        **HNSW,
        max_indexing_threads=3,
        payload_m=4,
        inline_storage=True,
        memory=names.Memory.Pinned,
    )
    sparse = names.EdgeSparseVectorParams
    several = names.MultiVectorConfig(names.MultiVectorComparator.MaxSim)
    half = names.VectorStorageDatatype.Float16
    return [
        names.EdgeConfig(vectors={"": vector()}),
        names.EdgeConfig(vectors={"a": vector(on_disk=True), "b": vector(datatype=half)}),
        names.EdgeConfig(vectors={"a": vector(multivector_config=several, hnsw_config=fuller)}),
        names.EdgeConfig(
            sparse_vectors={
                "s": sparse(full_scan_threshold=3, modifier=names.Modifier.Idf),
                "t": sparse(datatype=half, memory=names.Memory.Cold),
            }
        ),
        names.EdgeConfig(
            vectors={"": vector()},
            hnsw_config=hnsw,
            payload_memory=names.Memory.Cached,
            id_tracker_memory=names.Memory.Cold,
            optimizers=names.EdgeOptimizersConfig(
                deleted_threshold=0.5, indexing_threshold=10, max_segment_size=1_000
            ),
        ),
        names.EdgeConfig(vectors={"": vector()}, on_disk_payload=True),
        *(
            names.EdgeConfig(
                vectors={"own": vector(quantization_config=quantization), "": vector()},
                quantization_config=quantization,
            )
            for quantization in each_quantization(names)
        ),
    ]


@pytest.mark.parametrize("number", range(len(each_config(ours))))
def test_a_config_comes_back(number: int, folder: Path) -> None:
    shard = qdrant.EdgeShard.create(str(folder), each_config(qdrant)[number])
    shard.close()
    found = opened(folder)
    assert found.config == each_config(ours)[number]
    found.close()


def each_schema(names: Any) -> list[Any]:
    cold = names.Memory.Cold
    words = names.StopwordsSet(languages={names.Language.English}, custom={"uh", "é"})
    snowball = names.SnowballParams(names.SnowballLanguage.German)
    kinds = names.PayloadSchemaType
    return [
        *(kinds.Keyword, kinds.Integer, kinds.Float, kinds.Geo),
        *(kinds.Text, kinds.Bool, kinds.Datetime, kinds.Uuid),
        names.KeywordIndexParams(is_tenant=True, prefix=True, memory=cold),
        names.KeywordIndexParams(on_disk=True, enable_hnsw=False),
        names.IntegerIndexParams(lookup=True, range=False, is_principal=True, memory=cold),
        names.FloatIndexParams(is_principal=True),
        names.GeoIndexParams(memory=names.Memory.Cached),
        names.BoolIndexParams(on_disk=False),
        names.DatetimeIndexParams(is_principal=False),
        names.UuidIndexParams(is_tenant=False),
        names.TextIndexParams(),
        names.TextIndexParams(
            tokenizer=names.TokenizerType.Whitespace,
            min_token_len=2,
            max_token_len=20,
            lowercase=False,
            ascii_folding=True,
            phrase_matching=True,
            stopwords=words,
            stemmer=snowball,
            memory=cold,
            scoring=True,
        ),
        names.TextIndexParams(tokenizer=names.TokenizerType.Prefix, stopwords=names.Language.Dutch),
        names.TextIndexParams(stemmer=names.DisabledStemmer(), scoring=False),
    ]


def test_every_field_schema_comes_back(folder: Path) -> None:
    shard = made.create(folder, vectors={"": made.params()})
    for number, schema in enumerate(each_schema(qdrant)):
        shard.update(U.create_field_index(f"field.{number}", schema))
    nested = qdrant.IntegerIndexParams(nested="offers")
    shard.update(U.create_field_index("offers[].price", nested))
    odd = '"a b".é[]'
    shard.update(U.create_field_index(odd, qdrant.PayloadSchemaType.Bool))
    shard.close()
    found = opened(folder)
    expected = {
        f"field.{number}": indexed_field(schema) for number, schema in enumerate(each_schema(ours))
    }
    expected["offers[].price"] = indexed_field(ours.IntegerIndexParams(nested="offers"))
    expected[odd] = indexed_field(ours.PayloadSchemaType.Bool)
    assert found.schema == expected
    found.close()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("fancy", "'fancy' is not known"),
        ({}, "index of type None"),
        ({"type": ["integer"]}, "index of type"),
        ({"type": "text", "tokenizer": "morse"}, "payload field 'f'.*morse"),
        ({"type": "text", "memory": 3}, "memory: 3"),
        ({"type": "integer", "nested": "offers"}, "nested"),
    ],
)
def test_a_schema_that_is_not_known_is_named(given: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        indexed_field_of("f", given)


def dense(**more: Any) -> ShardConfig:
    return ShardConfig(vectors={"d": DenseParams(**{"size": 2, "distance": "Dot", **more})})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dense(size=0), "size"),
        (dense(datatype="turbo4"), "'d'.*turbo4"),
        (dense(hnsw_config={"m": "many"}), "'d'.*hnsw_config"),
        (dense(quantization_config={"scalar": {"type": "int4"}}), "scalar"),
        (dense(quantization_config={"scalar": {}, "binary": {}}), "quantization of"),
        (ShardConfig(), "at least one vector"),
        (ShardConfig(sparse_vectors={"s": SparseParams(modifier="tf")}), "'s'.*modifier.*'tf'"),
    ],
)
def test_a_config_that_is_not_known_is_named(given: ShardConfig, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config_of(given)


def test_settings_of_optimizers_that_ours_does_not_have_are_left_to_it() -> None:
    given = dense()
    given.optimizers = {"prevent_unoptimized": True, "flush_interval_sec": 3}
    assert config_of(given).optimizers == ours.EdgeOptimizersConfig()
