"""Configs: what they take, how they are merged with what is stored, and how they are stored."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from msgspec.structs import replace

from edge.errors import CorruptData, ValidationError
from edge.model.choice import Memory
from edge.model.config import (
    DEFAULT_HNSW,
    ConfigChange,
    Durability,
    EdgeConfig,
    EdgeOptimizersConfig,
    adopted,
    change_of,
    changed,
    decode_config,
    encode_config,
    resolve,
    settings_of,
    with_vector,
    without_vector,
)
from edge.model.limits import Limits
from edge.model.quantization import (
    CompressionRatio,
    NoQuantization,
    ProductQuantizationConfig,
    ScalarQuantizationConfig,
    ScalarType,
)
from edge.model.update import UpdateOperation
from edge.model.vector_params import (
    Distance,
    EdgeSparseVectorParams,
    EdgeVectorParams,
    HnswIndexConfig,
    Modifier,
    MultiVectorComparator,
    MultiVectorConfig,
    PlainIndexConfig,
)
from edge.model.vector_params import VectorStorageDatatype as Datatype
from tests.model.strategies import CONFIG, config_changes

MaxSim, Int8 = MultiVectorComparator.MaxSim, ScalarType.Int8
ONE = EdgeVectorParams(4, Distance.Cosine)
TWO = EdgeVectorParams(2, Distance.Dot)
SPARSE = EdgeSparseVectorParams(modifier=Modifier.Idf)
INT8 = ScalarQuantizationConfig(Int8)
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


def dense(**options: Any) -> EdgeVectorParams:
    return EdgeVectorParams(4, Distance.Dot, **options)


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
    (lambda: EdgeConfig({}, {}), "at least one vector"),
    (lambda: EdgeConfig(ONE, sparse_vectors=SPARSE), "sparse_vectors: expected a dict"),
    (lambda: EdgeConfig(ONE, {"s": 1}), r"sparse_vectors\['s'\]: expected a EdgeSparseVector"),
    (lambda: EdgeConfig(ONE, {"s": ONE}), r"sparse_vectors\['s'\]: expected a EdgeSparseVector"),
    (lambda: EdgeConfig({"a": SPARSE}), r"vectors\['a'\]: expected a EdgeVectorParams"),
    (lambda: EdgeConfig(ONE, {1: SPARSE}), "sparse_vectors: name: expected a str"),
    (lambda: EdgeConfig(ONE, {"x" * 256: SPARSE}), "sparse_vectors: name of 256 bytes"),
    (lambda: EdgeConfig({"a": ONE}, {"a": SPARSE}), "'a' is the name of a dense vector too"),
    (lambda: EdgeConfig(ONE, {"": SPARSE}), "'' is the name of a dense vector too"),
    (lambda: EdgeConfig(ONE, quantization_config=1), "quantization_config: expected a Quant"),
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
    (lambda: dense(multivector_config=1), "multivector_config: expected a MultiVectorConfig"),
    (lambda: dense(multivector_config=MaxSim), "multivector_config: expected a MultiVectorConfig"),
    (lambda: MultiVectorConfig("max_sim"), "comparator: expected a MultiVectorComparator"),
    (lambda: MultiVectorConfig(None), "comparator: expected a MultiVectorComparator"),
    (lambda: dense(datatype="Uint8"), "datatype: expected a VectorStorageDatatype"),
    (lambda: dense(datatype=Datatype.Turbo4), "datatype: .*not supported yet"),
    (lambda: dense(quantization_config=1), "quantization_config: expected a Quantization"),
    (lambda: dense(quantization_config=Int8), "quantization_config: expected a Quantization"),
    (lambda: dense(memory="Cold"), "memory: expected a Memory"),
    (lambda: EdgeVectorParams(4, Distance.Dot, hnsw_config=1), "hnsw_config"),
    (lambda: HnswIndexConfig(-1, 100, 100), "hnsw_config.m"),
    (lambda: HnswIndexConfig(1, 100, 100), "hnsw_config.m"),
    (lambda: HnswIndexConfig(16, 100, 1.5), "hnsw_config.full_scan_threshold"),
    (lambda: HnswIndexConfig(16, 100, 100, payload_m=1), "hnsw_config.payload_m: expected 0 or 2"),
    (lambda: HnswIndexConfig(16, 100, 100, payload_m=513), "hnsw_config.payload_m: expected 0 to"),
    (lambda: HnswIndexConfig(16, 100, 100, payload_m=True), "hnsw_config.payload_m: expected an"),
    (lambda: HnswIndexConfig(16, 100, 100, inline_storage=1), "inline_storage: expected a bool"),
    (lambda: HnswIndexConfig(16, 100, 100, memory=1), "hnsw_config.memory: expected a Memory"),
    (lambda: EdgeSparseVectorParams(-1), "full_scan_threshold: expected 0"),
    (lambda: EdgeSparseVectorParams(True), "full_scan_threshold: expected an int"),
    (lambda: EdgeSparseVectorParams(on_disk=1), "on_disk: expected a bool"),
    (lambda: EdgeSparseVectorParams(modifier="idf"), "modifier: expected a Modifier"),
    (lambda: EdgeSparseVectorParams(datatype="Float16"), "datatype: expected a VectorStorageData"),
    (lambda: EdgeSparseVectorParams(memory="Pinned"), "memory: expected a Memory"),
    *(
        (
            lambda kind=kind: EdgeSparseVectorParams(datatype=kind),
            f"{kind!r} is not one of a sparse",
        )
        for kind in (Datatype.Turbo4, Datatype.Turbo8, Datatype.Turbo16)
    ),
    (lambda: ConfigChange(hnsw_config={}), "hnsw_config: expected a HnswIndexConfig"),
    (lambda: ConfigChange(quantization_config=1), "quantization_config: expected a Quant"),
    (lambda: ConfigChange(optimizers=1), "optimizers: expected a EdgeOptimizersConfig"),
    (lambda: ConfigChange(vectors=[ONE]), "vectors: expected an EdgeVectorParams or a dict"),
    (lambda: ConfigChange(sparse_vectors=SPARSE), "sparse_vectors: expected a dict"),
    (lambda: ConfigChange(vectors={"a": ONE}, sparse_vectors={"a": SPARSE}), "dense vector too"),
    (lambda: EdgeOptimizersConfig(deleted_threshold=1.5), "deleted_threshold"),
    (lambda: EdgeOptimizersConfig(deleted_threshold=float("nan")), "deleted_threshold"),
    (lambda: EdgeOptimizersConfig(indexing_threshold=-1), "indexing_threshold"),
    (lambda: EdgeOptimizersConfig(prevent_unoptimized=True), "prevent_unoptimized.*yet"),
    (lambda: Limits(payload_depth=65), "limits.payload_depth: expected 1 to 64"),
    (lambda: Limits(batch_points=0), "limits.batch_points"),
]


@pytest.mark.parametrize(("build", "message"), REFUSED, ids=range(len(REFUSED)))
def test_refuses_naming_the_argument(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        build()


def test_accepts_what_asks_for_nothing_new() -> None:
    HnswIndexConfig(0, 0, 0, payload_m=0, inline_storage=False)
    HnswIndexConfig(2, 1, 0, payload_m=512, inline_storage=True)
    EdgeVectorParams(4, Distance.Dot, True, datatype=Datatype.Float32)
    EdgeOptimizersConfig(prevent_unoptimized=False)
    EdgeConfig(ONE, sparse_vectors={}, wal_enabled=True)
    assert EdgeConfig(sparse_vectors={"s": SPARSE}).names() == ("s",)


EVERY_KIND = EdgeConfig(
    {
        "half": dense(datatype=Datatype.Float16, quantization_config=INT8),
        "many": dense(multivector_config=MultiVectorConfig(MaxSim), datatype=Datatype.Turbo8),
        "not": dense(quantization_config=NoQuantization()),
    },
    {"s": EdgeSparseVectorParams(9, True, Modifier.Idf, Datatype.Uint8, Memory.Cold)},
    quantization_config=ProductQuantizationConfig(CompressionRatio.X16),
)


@pytest.mark.parametrize("config", [EdgeConfig(ONE), FULL, EVERY_KIND])
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
        msgspec.msgpack.encode({"version": 1, "config": {
            "sparse_vectors": {"s": {"modifier": 1}}}}),
        msgspec.msgpack.encode({"version": 1, "config": {
            "sparse_vectors": {"s": {}}, "quantization_config": {"kind": "strange"}}}),
        msgspec.msgpack.encode({"version": 1, "config": {
            "sparse_vectors": {"s": {}},
            "vectors": {"s": {"size": 1, "distance": "Dot"}}}}),
    ],
    ids=range(11),
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


STORED = EdgeConfig(
    {"a": ONE, "m": dense(multivector_config=MultiVectorConfig(MaxSim), datatype=Datatype.Uint8)},
    {"s": SPARSE},
    hnsw_config=SMALL,
    quantization_config=INT8,
    optimizers=EdgeOptimizersConfig(0.5, indexing_threshold=100),
)
"""As it is stored."""


def restated(**changes: Any) -> dict[str, Any]:
    """All that EdgeConfig needs of STORED, but for the changed vectors."""
    dense_ones = {n: changes.get(n, p) for n, p in STORED.vectors.items()}
    sparse = {n: changes.get(n, p) for n, p in STORED.sparse_vectors.items()}
    return {"vectors": dense_ones, "sparse_vectors": sparse}


OTHER_ROWS = [
    ({"a": EdgeVectorParams(5, Distance.Cosine)}, "vector 'a': expected size 4 as stored, got 5"),
    ({"a": EdgeVectorParams(4, Distance.Dot)}, "vector 'a': expected distance"),
    (
        {"a": replace(ONE, datatype=Datatype.Float16)},
        "vector 'a': expected datatype None as stored, got VectorStorageDatatype.Float16",
    ),
    (
        {"a": replace(ONE, multivector_config=MultiVectorConfig(MaxSim))},
        "vector 'a': expected multivector_config None as stored",
    ),
    ({"m": dense(datatype=Datatype.Uint8)}, "vector 'm': expected multivector_config MultiVector"),
    ({"m": dense()}, "vector 'm': expected datatype VectorStorageDatatype.Uint8 as stored"),
    ({"s": EdgeSparseVectorParams()}, "vector 's': expected modifier Modifier.Idf as stored"),
    (
        {"s": replace(SPARSE, datatype=Datatype.Float16)},
        "vector 's': expected datatype None as stored",
    ),
]


@pytest.mark.parametrize(("changes", "message"), OTHER_ROWS)
def test_other_rows_than_the_stored_ones_are_refused(changes: Any, message: str) -> None:
    asked = restated(**changes)
    for refuse in (
        lambda: resolve(EdgeConfig(**asked), STORED),
        lambda: changed(STORED, ConfigChange(**asked)),
    ):
        with pytest.raises(ValidationError, match=message):
            refuse()


@pytest.mark.parametrize(("changes", "message"), OTHER_ROWS)
def test_beside_a_config_of_another_time_the_stored_rows_count(changes: Any, message: str) -> None:
    """The name may have been given anew since: the log says so, and is what has to be met."""
    found = adopted(EdgeConfig(**restated(**changes)), STORED)
    for name in changes:
        assert {**found.vectors, **found.sparse_vectors}[name] == {
            **STORED.vectors,
            **STORED.sparse_vectors,
        }[name]


def test_what_is_not_of_the_rows_may_change() -> None:
    a = replace(ONE, datatype=Datatype.Float32, hnsw_config=SMALL, memory=Memory.Cold)
    s = replace(SPARSE, full_scan_threshold=9, memory=Memory.Cold)
    m = replace(STORED.vectors["m"], quantization_config=NoQuantization(), on_disk=True)
    asked = restated(a=a, s=s, m=m)
    for found in (
        resolve(EdgeConfig(**asked), STORED),
        adopted(EdgeConfig(**asked), STORED),
        changed(STORED, ConfigChange(**asked)),
    ):
        assert found.vectors == {"a": a, "m": m}
        assert found.sparse_vectors == {"s": s}
        assert found.hnsw_config is SMALL
        assert found.quantization_config == STORED.quantization_config
        assert found.optimizers == STORED.optimizers


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (restated() | {"sparse_vectors": {}}, r"sparse_vectors: expected names \['s'\] as stored"),
        (restated() | {"sparse_vectors": {"t": SPARSE}}, r"sparse_vectors: .*got \['t'\]"),
        (restated() | {"vectors": {"a": ONE}}, r"vectors: expected names \['a', 'm'\] as stored"),
        ({"vectors": {**STORED.vectors, "s": ONE}}, r"vectors: expected names"),
        ({"sparse_vectors": {"a": SPARSE}}, "vectors: expected names"),
    ],
)
def test_other_names_are_refused_by_resolve_and_left_out_by_adopted(
    asked: Any, message: str
) -> None:
    """What was created and deleted in the meantime is in the log, which comes after."""
    with pytest.raises(ValidationError, match=message):
        resolve(EdgeConfig(**asked), STORED)
    found = adopted(EdgeConfig(**asked, checkpoint_bytes=77), STORED)
    assert (found.vectors, found.sparse_vectors) == (STORED.vectors, STORED.sparse_vectors)
    assert (found.checkpoint_bytes, found.hnsw_config) == (77, SMALL)


def test_what_came_later_need_not_be_named() -> None:
    few = EdgeConfig({"a": ONE}, hnsw_config=HnswIndexConfig(4, 9, 1))
    found = resolve(few, STORED, {"m": 3, "s": 5})
    assert (found.vectors, found.sparse_vectors) == (STORED.vectors, STORED.sparse_vectors)
    assert found.hnsw_config == HnswIndexConfig(4, 9, 1)
    named = EdgeConfig(**restated(m=replace(STORED.vectors["m"], memory=Memory.Cold)))
    assert resolve(named, STORED, {"m": 3}).vectors["m"].memory is Memory.Cold
    for wrong, later, message in (
        (few, ["m"], "sparse_vectors: expected names"),
        (few, ["s"], "vectors: expected names"),
        (EdgeConfig({"a": ONE, "z": ONE}), ["m", "s", "z"], "vectors: expected names"),
        (EdgeConfig({"a": ONE, "m": ONE}), ["m", "s"], "vector 'm': expected"),
    ):
        with pytest.raises(ValidationError, match=message):
            resolve(wrong, STORED, later)


def test_adopted_takes_the_new_settings_of_the_names_that_both_have() -> None:
    given = EdgeConfig(
        {"a": replace(ONE, memory=Memory.Pinned), "new": TWO},
        {"s": replace(SPARSE, on_disk=True), "other": SPARSE},
        optimizers=EdgeOptimizersConfig(vacuum_min_vector_number=5),
    )
    found = adopted(given, STORED)
    assert found.vectors == {"a": replace(ONE, memory=Memory.Pinned), "m": STORED.vectors["m"]}
    assert found.sparse_vectors == {"s": replace(SPARSE, on_disk=True)}
    assert found.optimizers == EdgeOptimizersConfig(0.5, 5, indexing_threshold=100)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (ConfigChange(vectors={"z": ONE}), "vectors: there is no 'z'"),
        (ConfigChange(vectors=ONE), "vectors: there is no ''"),
        (ConfigChange(vectors={"s": ONE}), "vectors: there is no 's'"),
        (ConfigChange(sparse_vectors={"a": SPARSE}), "sparse_vectors: there is no 'a'"),
    ],
)
def test_a_change_of_a_name_that_is_not_there_is_refused(
    change: ConfigChange, message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        changed(STORED, change)


def test_a_change_leaves_what_it_does_not_name() -> None:
    assert changed(STORED, ConfigChange()) == STORED
    graph = HnswIndexConfig(4, 9, 1)
    found = changed(STORED, ConfigChange(graph, optimizers=EdgeOptimizersConfig(0.1)))
    assert found == replace(
        STORED, hnsw_config=graph, optimizers=EdgeOptimizersConfig(0.1, indexing_threshold=100)
    )
    bare = EdgeConfig(ONE)
    assert changed(bare, ConfigChange(graph)).hnsw_config is graph
    fresh = EdgeOptimizersConfig(0.3)
    assert changed(bare, ConfigChange(optimizers=fresh)).optimizers == fresh
    none = changed(STORED, ConfigChange(quantization_config=NoQuantization()))
    assert settings_of(none).quantization == {}


@given(config_changes())
def test_a_changed_config_says_what_was_asked(change: ConfigChange) -> None:
    found = changed(CONFIG, change)
    assert decode_config(encode_config(found)) == found
    assert found.names() == CONFIG.names()
    for name, params in {**change.vectors, **change.sparse_vectors}.items():
        assert found.params_of(name) == params
    for field in ("hnsw_config", "quantization_config"):
        assert getattr(found, field) == getattr(change, field)  # the old one has none
    assert changed(found, change) == found
    assert changed(CONFIG, change_of(found)) == found
    settings_of(found)


def test_a_vector_more_and_a_vector_less() -> None:
    more = with_vector(STORED, "b", TWO)
    assert more.names() == ("a", "m", "b", "s")
    assert more.params_of("b") is TWO
    sparser = with_vector(STORED, "b", SPARSE)
    assert sparser.names() == ("a", "m", "s", "b")
    assert sparser.sparse_vectors == {"s": SPARSE, "b": SPARSE}
    assert without_vector(more, "b") == without_vector(sparser, "b") == STORED
    assert without_vector(STORED, "s").names() == ("a", "m")
    assert without_vector(STORED, "z") == STORED
    only_sparse = without_vector(without_vector(STORED, "a"), "m")
    assert only_sparse.names() == ("s",)
    with pytest.raises(ValidationError, match="at least one vector"):
        without_vector(only_sparse, "s")
    assert STORED.names() == ("a", "m", "s")


@pytest.mark.parametrize("name", [7, None, "\ud800", "x" * 256, b"a"])
def test_a_name_that_is_none_is_refused(name: Any) -> None:
    with pytest.raises(ValidationError, match="vector_name: name"):
        UpdateOperation.create_dense_vector(name, 4, Distance.Dot)
    with pytest.raises(ValidationError, match="vector_name: name"):
        UpdateOperation.create_sparse_vector(name)
    with pytest.raises(ValidationError, match="vector_name: name"):
        UpdateOperation.delete_vector_name(name)


def test_settings_of_every_kind_of_vector() -> None:
    product = ProductQuantizationConfig(CompressionRatio.X8)
    config = EdgeConfig(
        {
            "plain": ONE,
            "own": dense(quantization_config=product, hnsw_config=SMALL),
            "never": dense(quantization_config=NoQuantization(), on_disk=True),
        },
        {
            "s": SPARSE,
            "few": EdgeSparseVectorParams(0, on_disk=True),
            "cached": EdgeSparseVectorParams(7, on_disk=False),
            "cold": EdgeSparseVectorParams(on_disk=False, memory=Memory.Cold),
        },
        hnsw_config=HnswIndexConfig(8, 16, 1, memory=Memory.Pinned),
        quantization_config=INT8,
    )
    settings = settings_of(config)
    assert settings.quantization == {"plain": INT8, "own": product}
    assert settings.sparse_full_scan == {"s": 5_000, "few": 0, "cached": 7, "cold": 5_000}
    assert settings.memory == {
        "plain": Memory.Cached,
        "own": Memory.Cached,
        "never": Memory.Cold,
        "s": Memory.Pinned,
        "few": Memory.Cold,
        "cached": Memory.Cached,
        "cold": Memory.Cold,
    }
    assert settings.hnsw.keys() == settings.graph_memory.keys() == config.vectors.keys()
    assert settings.graph_memory == {
        "plain": Memory.Pinned, "own": Memory.Cached, "never": Memory.Pinned
    }  # fmt: skip


def test_resolving_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="none was given"):
        resolve(None, None)


def test_members_print_as_they_are_written() -> None:
    assert repr(Distance.Cosine) == "Distance.Cosine"
    assert "\n" not in repr(FULL)
