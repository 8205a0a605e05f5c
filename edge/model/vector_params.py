"""What one named vector is, dense or sparse: its size and distance, how it is stored and indexed.

Invariant: None means "not specified"; `edge.model.config.settings_of` says what that comes to.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import force_setattr

from edge.errors import ValidationError
from edge.model import fields
from edge.model.choice import Choice, Memory
from edge.model.limits import MAX_DIMENSION
from edge.model.quantization import Quantization, QuantizationConfig

MAX_EDGES = 512


class Distance(Choice):
    """How near two vectors are. Cosine and Dot: larger is nearer; the others: smaller is."""

    Cosine = "Cosine"
    Euclid = "Euclid"
    Dot = "Dot"
    Manhattan = "Manhattan"


class VectorStorageDatatype(Choice):
    """The stored type of a vector's elements.

    Float16 rounds to the nearest, Uint8 cuts off what is behind the point and keeps to 0..255.
    Turbo8 and Turbo16 are integers with a scale of their own for each vector: an element is off by
    at most 1/254 (Turbo16: 1/65534) of the vector's greatest magnitude, and 2^-23 of it for what
    float32 rounds. That holds where the greatest is 4e-34 or more; what is less may become zeros.
    """

    Float32 = "Float32"
    Float16 = "Float16"
    Uint8 = "Uint8"
    Turbo4 = "Turbo4"
    Turbo8 = "Turbo8"
    Turbo16 = "Turbo16"


class MultiVectorComparator(Choice):
    """How two sets of vectors are compared.

    MaxSim: for each vector of the query the nearest one of the point, all of these together.
    """

    MaxSim = "max_sim"


class MultiVectorConfig(Struct, frozen=True):
    """A point holds any number of vectors (one at least) under one name."""

    comparator: MultiVectorComparator

    def __post_init__(self) -> None:
        fields.member(self.comparator, "comparator", MultiVectorComparator)


class Modifier(Choice):
    """What a sparse query's weights are multiplied by.

    Idf: how rare a dimension is, ln(1 + (n - df + 0.5) / (df + 0.5)).
    """

    Idf = "idf"


class PlainIndexConfig(Struct, frozen=True):
    """No index: every search scans."""


class HnswIndexConfig(Struct, frozen=True):
    """The HNSW graph of a segment.

    `m` edges a node (0: build no graph), `ef_construct` candidates while building,
    `full_scan_threshold` in KB of matching vectors up to which a filtered search scans.
    `max_indexing_threads` that build one graph (0: half of the processors, at least one).
    `memory` (default Cached) says where the graph lives; the older `on_disk` is read where it is
    None.
    `payload_m` from 2 on builds graphs of values: each value of an indexed payload field (keyword,
    integer, bool, UUID) whose points hold more than `full_scan_threshold` of a segment's vectors
    has a graph of its own over these, with so many edges a node and the same `ef_construct`; a
    filter that requires the value walks it. A point is in the graph of each of its values. With `m`
    0 they are the only graphs, as for tenants that are searched one by one; any other search scans
    what matches. None (the default)
    builds none: a walk under a filter steps over points that do not match. 0 turns that off too: it
    goes through all points, as with `acorn` disabled.
    `inline_storage` (False) keeps copies of quantized and original vectors beside the links of a
    graph: for one that is read from a disk (`memory` Cold), where a hop then is one read. It takes
    effect for dense vectors that are quantized; the graph's file grows by an original and about
    m + 2 quantized vectors a point. Walks under a filter go through all points.
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
        fields.integer_or_none(self.payload_m, "hnsw_config.payload_m", 0, MAX_EDGES)
        if self.payload_m == 1:
            raise ValidationError("hnsw_config.payload_m: expected 0 or 2 to 512, got 1 (int)")
        fields.flag_or_none(self.inline_storage, "hnsw_config.inline_storage")
        fields.member_or_none(self.memory, "hnsw_config.memory", Memory)


class EdgeVectorParams(Struct, frozen=True):
    """One named vector: `size` elements (1 to 65535) compared by `distance`.

    `memory` (default Cached) says where the vectors live; the older `on_disk` is read where
    `memory` is None. `datatype` None is Float32. `multivector_config`: a point holds several.
    `hnsw_config` and `quantization_config` override the shard's.
    """

    size: int
    distance: Distance
    on_disk: bool | None = None
    multivector_config: MultiVectorConfig | None = None
    datatype: VectorStorageDatatype | None = None
    quantization_config: QuantizationConfig | None = None
    hnsw_config: HnswIndexConfig | None = None
    memory: Memory | None = None

    def __post_init__(self) -> None:
        force_setattr(self, "size", fields.integer(self.size, "size", 1, MAX_DIMENSION))
        fields.member(self.distance, "distance", Distance)
        fields.flag_or_none(self.on_disk, "on_disk")
        fields.instance_or_none(self.multivector_config, "multivector_config", MultiVectorConfig)
        fields.member_or_none(self.datatype, "datatype", VectorStorageDatatype)
        if self.datatype is VectorStorageDatatype.Turbo4:
            fields.unsupported(self.datatype, "datatype")
        fields.instance_or_none(self.quantization_config, "quantization_config", Quantization)
        fields.instance_or_none(self.hnsw_config, "hnsw_config", HnswIndexConfig)
        fields.member_or_none(self.memory, "memory", Memory)


_SPARSE_DATATYPES = (
    VectorStorageDatatype.Float32,
    VectorStorageDatatype.Float16,
    VectorStorageDatatype.Uint8,
)


class EdgeSparseVectorParams(Struct, frozen=True):
    """One named sparse vector: any dimensions from 0 to 2^32 - 1, compared by their dot product.

    `full_scan_threshold` points that match a filter are compared one by one (5000).
    `modifier` Idf weighs a query's dimensions by how rare they are. `datatype` that values are
    rounded to: Float32 (None), Float16, which takes two bytes a value, or Uint8, which takes four
    as Float32 does, because every value would need its vector's step. `memory` (default Pinned)
    says where the index lives; the older `on_disk` is read where it is None.
    """

    full_scan_threshold: int | None = None
    on_disk: bool | None = None
    modifier: Modifier | None = None
    datatype: VectorStorageDatatype | None = None
    memory: Memory | None = None

    def __post_init__(self) -> None:
        fields.integer_or_none(self.full_scan_threshold, "full_scan_threshold")
        fields.flag_or_none(self.on_disk, "on_disk")
        fields.member_or_none(self.modifier, "modifier", Modifier)
        fields.member_or_none(self.datatype, "datatype", VectorStorageDatatype)
        if self.datatype is not None and self.datatype not in _SPARSE_DATATYPES:
            raise ValidationError(f"datatype: {self.datatype!r} is not one of a sparse vector")
        fields.member_or_none(self.memory, "memory", Memory)


VectorParams: TypeAlias = EdgeVectorParams | EdgeSparseVectorParams
