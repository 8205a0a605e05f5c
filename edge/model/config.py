"""What a shard is made of: its vectors, indexes, optimizers, durability and limits.

Invariants: every config that exists is one this build can honour (what it cannot is refused by
name when the struct is made); None means "not specified" and is resolved by `resolve`: provided,
then persisted, then the default that `Settings` holds. The vector schema never changes by loading.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import force_setattr, replace

from edge.errors import CorruptData, ValidationError
from edge.model import fields
from edge.model.limits import DEFAULT_LIMITS, MAX_DIMENSION, Limits

S = TypeVar("S", bound=Struct)

MAX_NAME_BYTES = 255
MAX_EDGES = 512


class Choice(Enum):
    """An enum whose members print as they are written in code."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"


class Distance(Choice):
    """How near two vectors are. Cosine and Dot: larger is nearer; the others: smaller is."""

    Cosine = "Cosine"
    Euclid = "Euclid"
    Dot = "Dot"
    Manhattan = "Manhattan"


class Memory(Choice):
    """Where a component lives: Cold (on disk), Cached (page cache), Pinned (resident)."""

    Cold = "Cold"
    Cached = "Cached"
    Pinned = "Pinned"


class VectorStorageDatatype(Choice):
    """The stored type of a vector's elements."""

    Float32 = "Float32"
    Float16 = "Float16"
    Uint8 = "Uint8"
    Turbo4 = "Turbo4"
    Turbo8 = "Turbo8"
    Turbo16 = "Turbo16"


class Durability(Choice):
    """What an acknowledged write has survived.

    Always: a power cut, by a sync before the answer. Interval: a crash of the process at once and
    a power cut after at most `sync_interval_ms`. Os: a crash of the process only.
    """

    Always = "Always"
    Interval = "Interval"
    Os = "Os"


class PlainIndexConfig(Struct, frozen=True):
    """No index: every search scans."""


class HnswIndexConfig(Struct, frozen=True):
    """The HNSW graph of a segment.

    `m` edges a node (0: build no graph), `ef_construct` candidates while building,
    `full_scan_threshold` in KB of matching vectors up to which a filtered search scans.
    `max_indexing_threads`, `on_disk` and `memory` are kept and have no effect yet: one thread
    builds, graphs are resident. `payload_m` and `inline_storage` are not supported yet.
    """

    m: int
    ef_construct: int
    full_scan_threshold: int
    max_indexing_threads: int = 0
    on_disk: bool | None = None
    payload_m: int | None = None
    inline_storage: bool | None = None
    memory: Memory | None = None

    def __post_init__(self) -> None:
        fields.integer(self.m, "hnsw_config.m", 0, MAX_EDGES)
        if self.m == 1:
            raise ValidationError("hnsw_config.m: expected 0 or 2 to 512, got 1 (int)")
        fields.integer(self.ef_construct, "hnsw_config.ef_construct", 0, 1_000_000)
        fields.integer(self.full_scan_threshold, "hnsw_config.full_scan_threshold")
        fields.integer(self.max_indexing_threads, "hnsw_config.max_indexing_threads")
        fields.flag_or_none(self.on_disk, "hnsw_config.on_disk")
        fields.integer_or_none(self.payload_m, "hnsw_config.payload_m")
        fields.unsupported(self.payload_m or None, "hnsw_config.payload_m")
        fields.flag_or_none(self.inline_storage, "hnsw_config.inline_storage")
        fields.unsupported(self.inline_storage or None, "hnsw_config.inline_storage")
        fields.member_or_none(self.memory, "hnsw_config.memory", Memory)


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


class EdgeVectorParams(Struct, frozen=True):
    """One named vector: `size` elements (1 to 65535) compared by `distance`.

    `memory` (default Cached) says where the vectors live; the older `on_disk` is read where
    `memory` is None. `datatype` must be None or Float32; `multivector_config` and
    `quantization_config` are not supported yet. `hnsw_config` overrides the shard's.
    """

    size: int
    distance: Distance
    on_disk: bool | None = None
    multivector_config: None = None
    datatype: VectorStorageDatatype | None = None
    quantization_config: None = None
    hnsw_config: HnswIndexConfig | None = None
    memory: Memory | None = None

    def __post_init__(self) -> None:
        force_setattr(self, "size", fields.integer(self.size, "size", 1, MAX_DIMENSION))
        fields.member(self.distance, "distance", Distance)
        fields.flag_or_none(self.on_disk, "on_disk")
        fields.unsupported(self.multivector_config, "multivector_config")
        fields.member_or_none(self.datatype, "datatype", VectorStorageDatatype)
        if self.datatype is not VectorStorageDatatype.Float32:
            fields.unsupported(self.datatype, "datatype")
        fields.unsupported(self.quantization_config, "quantization_config")
        fields.instance_or_none(self.hnsw_config, "hnsw_config", HnswIndexConfig)
        fields.member_or_none(self.memory, "memory", Memory)


class QdrantConfig(Struct, frozen=True, omit_defaults=True):
    """The arguments that EdgeConfig shares with Qdrant Edge, in its order."""

    vectors: dict[str, EdgeVectorParams] = {}
    sparse_vectors: dict[str, None] = {}
    on_disk_payload: bool | None = None
    hnsw_config: HnswIndexConfig | None = None
    quantization_config: None = None
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
            back it is always a dict. At least one vector is needed.
        hnsw_config: the graph of every vector that has none of its own (m 16, ef_construct 100,
            full_scan_threshold 10000 KB).
        optimizers: see EdgeOptimizersConfig.
        max_search_threads: how many queries compute at the same time (default: cores - 1).
        on_disk_payload, payload_memory: where payloads live (default Cold).
        id_tracker_memory: kept; ids are always resident.
        sparse_vectors, quantization_config, search_pool_core, wal_enabled=False: not supported yet.
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
            sparse_vectors: Mapping[str, Any] | None = None,
            on_disk_payload: bool | None = None,
            hnsw_config: HnswIndexConfig | None = None,
            quantization_config: None = None,
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
        fields.unsupported(self.sparse_vectors or None, "sparse_vectors")
        force_setattr(self, "sparse_vectors", {})
        fields.flag_or_none(self.on_disk_payload, "on_disk_payload")
        fields.instance_or_none(self.hnsw_config, "hnsw_config", HnswIndexConfig)
        fields.unsupported(self.quantization_config, "quantization_config")
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


def _named(vectors: Any) -> dict[str, EdgeVectorParams]:
    """The vectors argument as a dict of its own, whatever form it came in."""
    if isinstance(vectors, EdgeVectorParams):
        return {"": vectors}
    if not vectors:
        raise ValidationError("vectors: at least one vector is needed")
    if not isinstance(vectors, Mapping):
        fields.refuse("vectors", "an EdgeVectorParams or a dict of them", vectors)
    return {
        _vector_name(name): fields.instance(params, f"vectors[{name!r}]", EdgeVectorParams)
        for name, params in vectors.items()
    }


def _vector_name(name: Any) -> str:
    result = fields.text(name, "vectors: name")
    if len(result.encode()) > MAX_NAME_BYTES:
        raise ValidationError(f"vectors: name of {len(result.encode())} bytes, at most 255")
    return result


class Settings(Struct, frozen=True, kw_only=True):
    """A config with every default filled in; sizes in KB where the name says none.

    `hnsw` and `memory` are by vector name.
    """

    hnsw: dict[str, HnswIndexConfig]
    memory: dict[str, Memory]
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
    return Settings(
        hnsw={name: v.hnsw_config or shard_hnsw for name, v in config.vectors.items()},
        memory={
            name: _memory(v.memory, v.on_disk, Memory.Cached) for name, v in config.vectors.items()
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


def _memory(memory: Memory | None, on_disk: bool | None, default: Memory) -> Memory:
    if memory is not None:
        return memory
    return default if on_disk is None else Memory.Cold if on_disk else Memory.Cached


def resolve(provided: EdgeConfig | None, persisted: EdgeConfig | None) -> EdgeConfig:
    """What a shard is opened with: each parameter as provided, else as persisted, else None.

    Raises ValidationError when both are None, or when the vectors differ in name, size or distance.
    """
    if provided is None or persisted is None:
        found = provided or persisted
        if found is None:
            raise ValidationError("config: none was given and none is stored")
        return found
    _same_schema(provided.vectors, persisted.vectors)
    vectors = {
        name: _merged(provided.vectors[name], params) for name, params in persisted.vectors.items()
    }
    return _merged(replace(provided, vectors=vectors), persisted)


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


def _same_schema(
    provided: dict[str, EdgeVectorParams], persisted: dict[str, EdgeVectorParams]
) -> None:
    if provided.keys() != persisted.keys():
        raise ValidationError(
            f"vectors: expected names {sorted(persisted)} as stored, got {sorted(provided)}"
        )
    for name, stored in persisted.items():
        for field in ("size", "distance"):
            expected, got = getattr(stored, field), getattr(provided[name], field)
            if expected != got:
                raise ValidationError(
                    f"vector {name!r}: expected {field} {expected!r} as stored, got {got!r}"
                )


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
