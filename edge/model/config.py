"""What a shard is made of: its vectors, indexes, optimizers, durability and limits.

Invariants: every config that exists is one this build can honour (what it cannot is refused by
name when the struct is made); None means "not specified" and is resolved by `resolve`: provided,
then persisted, then the default that `Settings` holds. The vector schema never changes by loading.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import force_setattr, replace

from edge.errors import CorruptData, ValidationError
from edge.model import fields
from edge.model.choice import Choice, Memory
from edge.model.limits import DEFAULT_LIMITS, Limits
from edge.model.quantization import NoQuantization, Quantization, QuantizationConfig
from edge.model.vector_params import (
    EdgeSparseVectorParams,
    EdgeVectorParams,
    HnswIndexConfig,
    VectorParams,
    VectorStorageDatatype,
)

S = TypeVar("S", bound=Struct)

MAX_NAME_BYTES = 255


class Durability(Choice):
    """What an acknowledged write has survived.

    Always: a power cut, by a sync before the answer. Interval: a crash of the process at once and
    a power cut after at most `sync_interval_ms`. Os: a crash of the process only.
    """

    Always = "Always"
    Interval = "Interval"
    Os = "Os"


class EdgeOptimizersConfig(Struct, frozen=True):
    """When segments are rebuilt. None leaves the shard as it is.

    `deleted_threshold` share of deleted points (0.2) in a segment of at least
    `vacuum_min_vector_number` (1000) that is worth a rebuild; `default_segment_number` segments
    aimed at (0: by cores); `max_segment_size` and `indexing_threshold` (10000; 0: never) in KB of
    vectors. `prevent_unoptimized` is not supported yet.
    """

    deleted_threshold: float | None = None
    vacuum_min_vector_number: int | None = None
    default_segment_number: int | None = None
    max_segment_size: int | None = None
    indexing_threshold: int | None = None
    prevent_unoptimized: bool | None = None

    def __post_init__(self) -> None:
        share = fields.number_or_none(self.deleted_threshold, "optimizers.deleted_threshold")
        if share is not None and not 0 <= share <= 1:
            raise ValidationError(f"optimizers.deleted_threshold: expected 0 to 1, got {share}")
        force_setattr(self, "deleted_threshold", share)
        for name in _OPTIMIZER_INTEGERS:
            fields.integer_or_none(getattr(self, name), f"optimizers.{name}")
        fields.flag_or_none(self.prevent_unoptimized, "optimizers.prevent_unoptimized")
        fields.unsupported(self.prevent_unoptimized or None, "optimizers.prevent_unoptimized")


_OPTIMIZER_INTEGERS = (
    "vacuum_min_vector_number",
    "default_segment_number",
    "max_segment_size",
    "indexing_threshold",
)


class QdrantConfig(Struct, frozen=True, omit_defaults=True):
    """The arguments that EdgeConfig shares with Qdrant Edge, in its order."""

    vectors: dict[str, EdgeVectorParams] = {}
    sparse_vectors: dict[str, EdgeSparseVectorParams] = {}
    on_disk_payload: bool | None = None
    hnsw_config: HnswIndexConfig | None = None
    quantization_config: QuantizationConfig | None = None
    optimizers: EdgeOptimizersConfig | None = None
    max_search_threads: int | None = None
    search_pool_core: None = None
    payload_memory: Memory | None = None
    id_tracker_memory: Memory | None = None
    wal_enabled: bool | None = None


class EdgeConfig(QdrantConfig, frozen=True, omit_defaults=True, kw_only=True):
    """The configuration of a shard; None means "not specified".

    Args:
        vectors: one EdgeVectorParams for the default vector (named ""), or a dict by name. Read
            back it is always a dict.
        sparse_vectors: a dict of EdgeSparseVectorParams by name. At least one vector, dense or
            sparse, is needed; a name is one of either.
        hnsw_config: the graph of every vector that has none of its own (m 16, ef_construct 100,
            full_scan_threshold 10000 KB).
        quantization_config: of every dense vector that has none of its own (default: none).
        optimizers: see EdgeOptimizersConfig.
        max_search_threads: how many queries compute at the same time (default: cores - 1).
        on_disk_payload, payload_memory: where payloads live (default Cold).
        id_tracker_memory: kept; ids are always resident.
        search_pool_core, wal_enabled=False: not supported yet.
        durability: what an acknowledged write has survived (default Interval).
        sync_interval_ms: the most that Interval lets pass before a sync (default 50).
        background_optimizer: whether segments are rebuilt without being asked (default True).
        checkpoint_bytes: log size that makes the writer move points into segments (32 MiB).
        limits: how large a request may be, see Limits.

    Raises ValidationError naming the argument.
    """

    durability: Durability | None = None
    sync_interval_ms: int | None = None
    background_optimizer: bool | None = None
    checkpoint_bytes: int | None = None
    limits: Limits | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            vectors: EdgeVectorParams | Mapping[str, EdgeVectorParams] | None = None,
            sparse_vectors: Mapping[str, EdgeSparseVectorParams] | None = None,
            on_disk_payload: bool | None = None,
            hnsw_config: HnswIndexConfig | None = None,
            quantization_config: QuantizationConfig | None = None,
            optimizers: EdgeOptimizersConfig | None = None,
            max_search_threads: int | None = None,
            search_pool_core: int | None = None,
            payload_memory: Memory | None = None,
            id_tracker_memory: Memory | None = None,
            wal_enabled: bool | None = None,
            *,
            durability: Durability | None = None,
            sync_interval_ms: int | None = None,
            background_optimizer: bool | None = None,
            checkpoint_bytes: int | None = None,
            limits: Limits | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "vectors", _named(self.vectors))
        force_setattr(self, "sparse_vectors", _named_sparse(self.sparse_vectors, self.vectors))
        if not self.vectors and not self.sparse_vectors:
            raise ValidationError("vectors: at least one vector is needed")
        fields.flag_or_none(self.on_disk_payload, "on_disk_payload")
        fields.instance_or_none(self.hnsw_config, "hnsw_config", HnswIndexConfig)
        fields.instance_or_none(self.quantization_config, "quantization_config", Quantization)
        fields.instance_or_none(self.optimizers, "optimizers", EdgeOptimizersConfig)
        fields.integer_or_none(self.max_search_threads, "max_search_threads", 1, 1024)
        fields.unsupported(self.search_pool_core, "search_pool_core")
        fields.member_or_none(self.payload_memory, "payload_memory", Memory)
        fields.member_or_none(self.id_tracker_memory, "id_tracker_memory", Memory)
        if fields.flag_or_none(self.wal_enabled, "wal_enabled") is False:
            raise ValidationError("wal_enabled: False is not supported yet; see durability")
        fields.member_or_none(self.durability, "durability", Durability)
        fields.integer_or_none(self.sync_interval_ms, "sync_interval_ms", 1, 3_600_000)
        fields.flag_or_none(self.background_optimizer, "background_optimizer")
        fields.integer_or_none(self.checkpoint_bytes, "checkpoint_bytes", 1, 2**40)
        fields.instance_or_none(self.limits, "limits", Limits)

    def params_of(self, name: str) -> VectorParams | None:
        """What the vector of this name is; None where there is none."""
        return self.vectors.get(name) or self.sparse_vectors.get(name)

    def names(self) -> tuple[str, ...]:
        """The names of all vectors, the dense ones first."""
        return (*self.vectors, *self.sparse_vectors)


def _named(vectors: Any) -> dict[str, EdgeVectorParams]:
    """The vectors argument as a dict of its own, whatever form it came in."""
    if isinstance(vectors, EdgeVectorParams):
        return {"": vectors}
    if vectors is None:
        return {}
    if not isinstance(vectors, Mapping):
        fields.refuse("vectors", "an EdgeVectorParams or a dict of them", vectors)
    return {
        vector_name(name): fields.instance(params, f"vectors[{name!r}]", EdgeVectorParams)
        for name, params in vectors.items()
    }


def _named_sparse(
    vectors: Any, dense: Mapping[str, EdgeVectorParams]
) -> dict[str, EdgeSparseVectorParams]:
    if vectors is None:
        return {}
    if not isinstance(vectors, Mapping):
        fields.refuse("sparse_vectors", "a dict of EdgeSparseVectorParams", vectors)
    for name in vectors:
        if name in dense:
            raise ValidationError(f"sparse_vectors: {name!r} is the name of a dense vector too")
    return {
        vector_name(name, "sparse_vectors"): fields.instance(
            params, f"sparse_vectors[{name!r}]", EdgeSparseVectorParams
        )
        for name, params in vectors.items()
    }


def vector_name(name: Any, field: str = "vectors") -> str:
    """The name of a vector, or a ValidationError."""
    result = fields.text(name, f"{field}: name")
    if len(result.encode()) > MAX_NAME_BYTES:
        raise ValidationError(f"{field}: name of {len(result.encode())} bytes, at most 255")
    return result


class Settings(Struct, frozen=True, kw_only=True):
    """A config with every default filled in; sizes in KB where the name says none.

    `hnsw` (dense vectors), `memory` and `graph_memory` are by vector name, `quantization` by the
    name of each that has one, `sparse_full_scan` (points) by sparse vector name.
    """

    hnsw: dict[str, HnswIndexConfig]
    memory: dict[str, Memory]
    graph_memory: dict[str, Memory]
    quantization: dict[str, QuantizationConfig]
    sparse_full_scan: dict[str, int]
    payload_memory: Memory
    deleted_threshold: float
    vacuum_min_vector_number: int
    default_segment_number: int
    max_segment_size: int | None
    indexing_threshold: int
    durability: Durability
    sync_interval_ms: int
    background_optimizer: bool
    checkpoint_bytes: int
    max_search_threads: int | None
    limits: Limits


DEFAULT_HNSW = HnswIndexConfig(m=16, ef_construct=100, full_scan_threshold=10_000)
DEFAULT_SPARSE_FULL_SCAN = 5_000
DEFAULT_OPTIMIZERS = EdgeOptimizersConfig(
    deleted_threshold=0.2,
    vacuum_min_vector_number=1000,
    default_segment_number=0,
    indexing_threshold=10_000,
)


def settings_of(config: EdgeConfig) -> Settings:
    """The config with its defaults, for code that should not have to look for None."""
    optimizers = _merged(config.optimizers or DEFAULT_OPTIMIZERS, DEFAULT_OPTIMIZERS)
    shard_hnsw = config.hnsw_config or DEFAULT_HNSW
    assert optimizers.deleted_threshold is not None
    assert optimizers.vacuum_min_vector_number is not None
    assert optimizers.default_segment_number is not None
    assert optimizers.indexing_threshold is not None
    hnsw = {name: v.hnsw_config or shard_hnsw for name, v in config.vectors.items()}
    return Settings(
        hnsw=hnsw,
        memory={
            name: _memory(v.memory, v.on_disk, Memory.Cached) for name, v in config.vectors.items()
        }
        | {
            name: _memory(v.memory, v.on_disk, Memory.Pinned)
            for name, v in config.sparse_vectors.items()
        },
        graph_memory={
            name: _memory(h.memory, h.on_disk, Memory.Cached) for name, h in hnsw.items()
        },
        quantization={
            name: found
            for name, v in config.vectors.items()
            if (found := _quantization(v, config)) is not None
        },
        sparse_full_scan={
            name: DEFAULT_SPARSE_FULL_SCAN
            if v.full_scan_threshold is None
            else v.full_scan_threshold
            for name, v in config.sparse_vectors.items()
        },
        payload_memory=_memory(config.payload_memory, config.on_disk_payload, Memory.Cold),
        deleted_threshold=optimizers.deleted_threshold,
        vacuum_min_vector_number=optimizers.vacuum_min_vector_number,
        default_segment_number=optimizers.default_segment_number,
        max_segment_size=optimizers.max_segment_size,
        indexing_threshold=optimizers.indexing_threshold,
        durability=config.durability or Durability.Interval,
        sync_interval_ms=config.sync_interval_ms or 50,
        background_optimizer=config.background_optimizer is not False,
        checkpoint_bytes=config.checkpoint_bytes or 32 * 1024 * 1024,
        max_search_threads=config.max_search_threads,
        limits=config.limits or DEFAULT_LIMITS,
    )


def _quantization(params: EdgeVectorParams, config: EdgeConfig) -> QuantizationConfig | None:
    found = params.quantization_config or config.quantization_config
    return None if isinstance(found, NoQuantization) else found


def indexing_threads(hnsw: HnswIndexConfig) -> int:
    """How many threads build one graph."""
    return hnsw.max_indexing_threads or max(1, (os.cpu_count() or 1) // 2)


def _memory(memory: Memory | None, on_disk: bool | None, default: Memory) -> Memory:
    if memory is not None:
        return memory
    return default if on_disk is None else Memory.Cold if on_disk else Memory.Cached


def resolve(
    provided: EdgeConfig | None,
    persisted: EdgeConfig | None,
    later: Collection[str] = (),
) -> EdgeConfig:
    """What a shard is opened with: each parameter as provided, else as persisted, else None.

    Raises ValidationError when both are None, or when the vectors differ in name, or in what is
    stored of them: size, distance, datatype and whether a point holds several; a sparse vector's
    modifier and datatype. Vectors that came `later` than the shard need not be named.
    """
    if provided is None or persisted is None:
        found = provided or persisted
        if found is None:
            raise ValidationError("config: none was given and none is stored")
        return found
    for field in ("vectors", "sparse_vectors"):
        given = getattr(provided, field)
        for name, params in getattr(persisted, field).items():
            if name in given:
                same_storage(name, given[name], params)
    _same_names(provided, persisted, later)
    return adopted(provided, persisted)


def adopted(provided: EdgeConfig, persisted: EdgeConfig) -> EdgeConfig:
    """As `resolve`, for a stored config of another time: of vectors that only one of both has, or
    that are others in either, those that are stored count."""
    named = {
        field: {
            name: params
            if (given := getattr(provided, field).get(name)) is None or _unlike(given, params)
            else _merged(given, params)
            for name, params in getattr(persisted, field).items()
        }
        for field in ("vectors", "sparse_vectors")
    }
    return _merged(replace(provided, **named), persisted)


LOCAL = (
    "max_search_threads",
    "durability",
    "sync_interval_ms",
    "background_optimizer",
    "checkpoint_bytes",
    "limits",
)
"""What belongs to the program that opens a shard, and not to what is stored in it."""


def with_local(config: EdgeConfig, local: EdgeConfig) -> EdgeConfig:
    """The config of a shard that came from elsewhere, run as `local` says; and with the settings
    of `local` where it has none of its own."""
    return _merged(replace(config, **{name: getattr(local, name) for name in LOCAL}), local)


def _merged(first: S, second: S) -> S:
    """`first`, with what it leaves None taken from `second`; optimizers field by field."""
    taken: dict[str, Any] = {}
    for name in first.__struct_fields__:
        mine, other = getattr(first, name), getattr(second, name)
        if mine is None:
            taken[name] = other
        elif isinstance(mine, EdgeOptimizersConfig) and other is not None:
            taken[name] = _merged(mine, other)
    return replace(first, **taken)


def _same_names(provided: EdgeConfig, persisted: EdgeConfig, later: Collection[str]) -> None:
    for field in ("vectors", "sparse_vectors"):
        expected, got = getattr(persisted, field), getattr(provided, field)
        if expected.keys() - set(later) - got.keys() or got.keys() - expected.keys():
            raise ValidationError(
                f"{field}: expected names {sorted(expected)} as stored, got {sorted(got)}"
            )


_STORED: dict[Any, tuple[str, ...]] = {
    EdgeVectorParams: ("size", "distance", "datatype", "multivector_config"),
    EdgeSparseVectorParams: ("modifier", "datatype"),
}
"""What of a vector's params its stored rows depend on."""


def _tuned(name: str, provided: S, stored: S) -> S:
    """The params as stored, with all that may change as provided."""
    same_storage(name, provided, stored)
    return _merged(provided, stored)


def same_storage(name: str, provided: Any, stored: Any) -> None:
    """Refuse params that ask for other stored rows than there are."""
    difference = _unlike(provided, stored)
    if difference is not None:
        raise ValidationError(f"vector {name!r}: {difference}")


def _unlike(provided: Any, stored: Any) -> str | None:
    """What is expected and what was given, where these are not the same stored rows."""
    if type(provided) is not type(stored):
        return f"expected {stored!r} as stored, got {provided!r}"
    for field in _STORED[type(stored)]:
        expected, got = getattr(stored, field), getattr(provided, field)
        if _plain(expected) != _plain(got):
            return f"expected {field} {expected!r} as stored, got {got!r}"
    return None


def _plain(value: object) -> object:
    return None if value is VectorStorageDatatype.Float32 else value


class ConfigChange(Struct, frozen=True, omit_defaults=True):
    """What may change while a shard runs; None leaves it as it is.

    `vectors` and `sparse_vectors` restate what is stored (size, distance...), and may give new
    indexes and places to any of the names.
    """

    hnsw_config: HnswIndexConfig | None = None
    quantization_config: QuantizationConfig | None = None
    optimizers: EdgeOptimizersConfig | None = None
    vectors: dict[str, EdgeVectorParams] = {}
    sparse_vectors: dict[str, EdgeSparseVectorParams] = {}

    if TYPE_CHECKING:

        def __init__(
            self,
            hnsw_config: HnswIndexConfig | None = None,
            quantization_config: QuantizationConfig | None = None,
            optimizers: EdgeOptimizersConfig | None = None,
            vectors: EdgeVectorParams | Mapping[str, EdgeVectorParams] | None = None,
            sparse_vectors: Mapping[str, EdgeSparseVectorParams] | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        fields.instance_or_none(self.hnsw_config, "hnsw_config", HnswIndexConfig)
        fields.instance_or_none(self.quantization_config, "quantization_config", Quantization)
        fields.instance_or_none(self.optimizers, "optimizers", EdgeOptimizersConfig)
        force_setattr(self, "vectors", _named(self.vectors))
        force_setattr(self, "sparse_vectors", _named_sparse(self.sparse_vectors, self.vectors))


def change_of(config: EdgeConfig) -> ConfigChange:
    """All that a config says and that may change."""
    return ConfigChange(**{name: getattr(config, name) for name in ConfigChange.__struct_fields__})


def changed(config: EdgeConfig, change: ConfigChange) -> EdgeConfig:
    """The config with the change made. ValidationError for a name it has not, or other rows."""
    named: dict[str, Any] = {}
    for field in ("vectors", "sparse_vectors"):
        known, given = getattr(config, field), getattr(change, field)
        for name in given:
            if name not in known:
                raise ValidationError(f"{field}: there is no {name!r}")
        named[field] = known | {name: _tuned(name, p, known[name]) for name, p in given.items()}
    for field in ("hnsw_config", "quantization_config", "optimizers"):
        new, old = getattr(change, field), getattr(config, field)
        both_optimizers = isinstance(new, EdgeOptimizersConfig) and old is not None
        named[field] = old if new is None else _merged(new, old) if both_optimizers else new
    return replace(config, **named)


def with_vector(config: EdgeConfig, name: str, params: VectorParams) -> EdgeConfig:
    """The config with one more vector."""
    if isinstance(params, EdgeVectorParams):
        return replace(config, vectors={**config.vectors, name: params})
    return replace(config, sparse_vectors={**config.sparse_vectors, name: params})


def without_vector(config: EdgeConfig, name: str) -> EdgeConfig:
    """The config without a vector. ValidationError where it is the only one."""
    kept = {
        field: {known: params for known, params in getattr(config, field).items() if known != name}
        for field in ("vectors", "sparse_vectors")
    }
    return replace(config, **kept)


_FORMAT = 1


class _Stored(Struct, frozen=True):
    """How a config is written: the version of the form first."""

    version: int
    config: msgspec.Raw


def encode_config(config: EdgeConfig) -> bytes:
    """The config as bytes for the manifest (msgpack)."""
    encode = msgspec.msgpack.encode
    return encode(_Stored(_FORMAT, msgspec.Raw(encode(config))))


def decode_config(data: bytes) -> EdgeConfig:
    """The config of `encode_config`. Raises CorruptData when the bytes are not one."""
    try:
        stored = msgspec.msgpack.decode(data, type=_Stored)
        if stored.version != _FORMAT:
            raise CorruptData(f"config: form {stored.version} is not known to this build")
        return msgspec.msgpack.decode(stored.config, type=EdgeConfig)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptData(f"config: {error}") from None
