"""Configs: what they take, how they are merged with what is stored, and how they are stored."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from edge.errors import CorruptData, ValidationError
from edge.model.config import (
    DEFAULT_HNSW,
    Distance,
    Durability,
    EdgeConfig,
    EdgeOptimizersConfig,
    EdgeVectorParams,
    HnswIndexConfig,
    Memory,
    PlainIndexConfig,
    VectorStorageDatatype,
    decode_config,
    encode_config,
    resolve,
    settings_of,
)
from edge.model.limits import Limits

ONE = EdgeVectorParams(4, Distance.Cosine)
TWO = EdgeVectorParams(2, Distance.Dot)
SMALL = HnswIndexConfig(8, 50, 100)

FULL = EdgeConfig(
    {"a": ONE, "b": EdgeVectorParams(2, Distance.Dot, hnsw_config=SMALL, memory=Memory.Cold)},
    on_disk_payload=True,
    hnsw_config=HnswIndexConfig(32, 200, 500, memory=Memory.Pinned),
    optimizers=EdgeOptimizersConfig(0.5, indexing_threshold=100),
    max_search_threads=3,
    payload_memory=Memory.Cached,
    id_tracker_memory=Memory.Pinned,
    wal_enabled=True,
    durability=Durability.Always,
    sync_interval_ms=7,
    background_optimizer=False,
    checkpoint_bytes=1000,
    limits=Limits(payload_depth=3),
)


def test_vectors_are_always_read_back_as_a_dict() -> None:
    assert EdgeConfig(ONE).vectors == {"": ONE}
    assert EdgeConfig({"a": ONE}).vectors == {"a": ONE}
    assert EdgeConfig(ONE).sparse_vectors == {}
    assert EdgeConfig(ONE) == EdgeConfig(vectors={"": ONE})


def test_the_callers_dict_can_change_without_the_config() -> None:
    mine = {"a": ONE}
    config = EdgeConfig(mine)
    mine["b"] = TWO
    assert list(config.vectors) == ["a"]


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: EdgeConfig(), "at least one vector"),
    (lambda: EdgeConfig({}), "at least one vector"),
    (lambda: EdgeConfig([ONE]), "vectors: expected an EdgeVectorParams or a dict"),
    (lambda: EdgeConfig({"a": 4}), "vectors\\['a'\\]: expected a EdgeVectorParams"),
    (lambda: EdgeConfig({1: ONE}), "vectors: name"),
    (lambda: EdgeConfig({"\ud800": ONE}), "surrogate"),
    (lambda: EdgeConfig({"x" * 256: ONE}), "256 bytes"),
    (lambda: EdgeConfig(ONE, sparse_vectors={"s": 1}), "sparse_vectors.*not supported yet"),
    (lambda: EdgeConfig(ONE, quantization_config=1), "quantization_config.*not supported yet"),
    (lambda: EdgeConfig(ONE, search_pool_core=1), "search_pool_core.*not supported yet"),
    (lambda: EdgeConfig(ONE, wal_enabled=False), "wal_enabled.*not supported yet"),
    (lambda: EdgeConfig(ONE, on_disk_payload=1), "on_disk_payload: expected a bool"),
    (lambda: EdgeConfig(ONE, hnsw_config=PlainIndexConfig()), "hnsw_config: expected"),
    (lambda: EdgeConfig(ONE, optimizers={}), "optimizers: expected"),
    (lambda: EdgeConfig(ONE, max_search_threads=0), "max_search_threads: expected 1"),
    (lambda: EdgeConfig(ONE, payload_memory="Cold"), "payload_memory: expected a Memory"),
    (lambda: EdgeConfig(ONE, durability="Always"), "durability: expected a Durability"),
    (lambda: EdgeConfig(ONE, sync_interval_ms=0), "sync_interval_ms"),
    (lambda: EdgeConfig(ONE, background_optimizer=1), "background_optimizer"),
    (lambda: EdgeConfig(ONE, limits=3), "limits: expected a Limits"),
    (lambda: EdgeVectorParams(0, Distance.Dot), "size: expected 1 to 65535, got 0"),
    (lambda: EdgeVectorParams(65_536, Distance.Dot), "size"),
    (lambda: EdgeVectorParams(2**40, Distance.Dot), "size"),
    (lambda: EdgeVectorParams(True, Distance.Dot), "size: expected an int, got True"),
    (lambda: EdgeVectorParams(4.0, Distance.Dot), "size: expected an int"),
    (lambda: EdgeVectorParams(4, "Dot"), "distance: expected a Distance, got 'Dot'"),
    (lambda: EdgeVectorParams(4, Distance.Dot, on_disk=0), "on_disk"),
    (lambda: EdgeVectorParams(4, Distance.Dot, multivector_config=1), "multivector_config.*yet"),
    (
        lambda: EdgeVectorParams(4, Distance.Dot, datatype=VectorStorageDatatype.Uint8),
        "datatype.*not supported yet",
    ),
    (lambda: EdgeVectorParams(4, Distance.Dot, quantization_config=1), "quantization_config.*yet"),
    (lambda: EdgeVectorParams(4, Distance.Dot, hnsw_config=1), "hnsw_config"),
    (lambda: HnswIndexConfig(-1, 100, 100), "hnsw_config.m"),
    (lambda: HnswIndexConfig(1, 100, 100), "hnsw_config.m"),
    (lambda: HnswIndexConfig(16, 100, 1.5), "hnsw_config.full_scan_threshold"),
    (lambda: HnswIndexConfig(16, 100, 100, payload_m=8), "payload_m.*not supported yet"),
    (lambda: HnswIndexConfig(16, 100, 100, inline_storage=True), "inline_storage.*yet"),
    (lambda: EdgeOptimizersConfig(deleted_threshold=1.5), "deleted_threshold"),
    (lambda: EdgeOptimizersConfig(deleted_threshold=float("nan")), "deleted_threshold"),
    (lambda: EdgeOptimizersConfig(indexing_threshold=-1), "indexing_threshold"),
    (lambda: EdgeOptimizersConfig(prevent_unoptimized=True), "prevent_unoptimized.*yet"),
    (lambda: Limits(payload_depth=65), "limits.payload_depth: expected 1 to 64"),
    (lambda: Limits(batch_points=0), "limits.batch_points"),
]


@pytest.mark.parametrize(("build", "message"), REFUSED, ids=[m for _, m in REFUSED])
def test_refuses_naming_the_argument(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        build()


def test_accepts_what_asks_for_nothing_new() -> None:
    HnswIndexConfig(0, 0, 0, payload_m=0, inline_storage=False)
    EdgeVectorParams(4, Distance.Dot, True, datatype=VectorStorageDatatype.Float32)
    EdgeOptimizersConfig(prevent_unoptimized=False)
    EdgeConfig(ONE, sparse_vectors={}, wal_enabled=True)


@pytest.mark.parametrize("config", [EdgeConfig(ONE), FULL])
def test_survives_being_stored_and_pickled(config: EdgeConfig) -> None:
    assert decode_config(encode_config(config)) == config
    assert pickle.loads(pickle.dumps(config)) == config


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\x80", encode_config(FULL)[:-1], b"\x91" * 100_000, b"\xa1\xff",
        msgspec.msgpack.encode({"version": 9, "config": {}}),
        msgspec.msgpack.encode({"version": 1, "config": {}}),
        msgspec.msgpack.encode({"version": 1, "config": {"vectors": {"": {"size": 0}}}}),
    ],
    ids=range(8),
)  # fmt: skip
def test_damaged_bytes_are_corrupt_data(data: bytes) -> None:
    with pytest.raises(CorruptData, match="config"):
        decode_config(data)


def test_defaults() -> None:
    settings = settings_of(EdgeConfig(ONE))
    assert settings.hnsw == {"": DEFAULT_HNSW}
    assert (DEFAULT_HNSW.m, DEFAULT_HNSW.ef_construct) == (16, 100)
    assert DEFAULT_HNSW.full_scan_threshold == 10_000
    assert settings.memory == {"": Memory.Cached}
    assert settings.payload_memory is Memory.Cold
    assert settings.deleted_threshold == 0.2
    assert settings.vacuum_min_vector_number == 1000
    assert settings.default_segment_number == 0
    assert settings.max_segment_size is None
    assert settings.indexing_threshold == 10_000
    assert settings.durability is Durability.Interval
    assert settings.sync_interval_ms == 50
    assert settings.background_optimizer is True
    assert settings.checkpoint_bytes == 32 * 1024 * 1024
    assert settings.limits == Limits()


def test_what_is_given_is_what_holds() -> None:
    settings = settings_of(FULL)
    assert settings.hnsw == {"a": FULL.hnsw_config, "b": SMALL}
    assert settings.memory == {"a": Memory.Cached, "b": Memory.Cold}
    assert settings.payload_memory is Memory.Cached
    assert (settings.deleted_threshold, settings.indexing_threshold) == (0.5, 100)
    assert settings.vacuum_min_vector_number == 1000
    assert (settings.durability, settings.sync_interval_ms) == (Durability.Always, 7)
    assert settings.background_optimizer is False
    assert settings.limits.payload_depth == 3
    no_index = EdgeConfig(ONE, optimizers=EdgeOptimizersConfig(indexing_threshold=0))
    assert settings_of(no_index).indexing_threshold == 0
    zero = EdgeConfig(ONE, optimizers=EdgeOptimizersConfig(deleted_threshold=0.0))
    assert settings_of(zero).deleted_threshold == 0.0


def test_the_older_on_disk_flags_are_read_where_memory_is_not_given() -> None:
    on_disk = EdgeVectorParams(4, Distance.Dot, on_disk=True)
    both = EdgeVectorParams(4, Distance.Dot, on_disk=True, memory=Memory.Pinned)
    settings = settings_of(EdgeConfig({"a": on_disk, "b": both}, on_disk_payload=False))
    assert settings.memory == {"a": Memory.Cold, "b": Memory.Pinned}
    assert settings.payload_memory is Memory.Cached


def test_resolving_prefers_provided_then_persisted() -> None:
    assert resolve(None, FULL) is FULL
    assert resolve(FULL, None) is FULL
    bare = EdgeConfig({"b": TWO, "a": ONE})
    assert resolve(bare, FULL) == FULL
    over = EdgeConfig(
        {"a": ONE, "b": EdgeVectorParams(2, Distance.Dot, memory=Memory.Pinned)},
        optimizers=EdgeOptimizersConfig(vacuum_min_vector_number=5),
        background_optimizer=True,
        durability=Durability.Os,
    )
    found = resolve(over, FULL)
    assert found.vectors["b"] == EdgeVectorParams(
        2, Distance.Dot, hnsw_config=SMALL, memory=Memory.Pinned
    )
    assert found.optimizers == EdgeOptimizersConfig(0.5, 5, indexing_threshold=100)
    assert (found.background_optimizer, found.durability) == (True, Durability.Os)
    assert found.max_search_threads == 3


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ({"a": EdgeVectorParams(5, Distance.Cosine)}, "vector 'a': expected size 4.*got 5"),
        (
            {"a": EdgeVectorParams(4, Distance.Dot)},
            "vector 'a': expected distance Distance.Cosine.*got Distance.Dot",
        ),
        ({"b": ONE}, r"expected names \['a'\] as stored, got \['b'\]"),
        ({"a": ONE, "b": ONE}, r"expected names \['a'\]"),
    ],
)
def test_resolving_refuses_another_schema(vectors: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        resolve(EdgeConfig(vectors), EdgeConfig({"a": ONE}))


def test_resolving_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="none was given"):
        resolve(None, None)


def test_members_print_as_they_are_written() -> None:
    assert repr(Distance.Cosine) == "Distance.Cosine"
    assert "\n" not in repr(FULL)
