"""Names of the files of a Qdrant shard, and the JSON that lies in them.

Invariants
- Structs hold only what is read or written here; keys that they do not know are passed over, and
  what is None is not written.
- Settings that ours and theirs spell alike (graphs, quantization, field indexes) stay plain dicts
  (`Options`), which `edge.qdrant.config` translates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import numpy as np
from msgspec import Struct, field

Options: TypeAlias = dict[str, Any]

# -- the shard directory

EDGE_CONFIG: Final = "edge_config.json"
SEGMENTS: Final = "segments"
WAL: Final = "wal"
FIRST_INDEX: Final = "first-index"
"""In `wal/`: the number of the first operation that has to be replayed."""

# -- a segment directory

VERSION_INFO: Final = "version.info"
VERSION: Final = "0.6.0"
"""What version.info holds, without a newline; v1.12 to v1.19 and Edge 0.9.0 write it."""
READ_VERSIONS: Final = ("0.6.0",)
SEGMENT_STATE: Final = "segment.json"
SEGMENT_MANIFEST: Final = "segment_manifest.json"
FILES: Final = "files"
"""The folder of a segment's files in a streamed snapshot."""
PENDING_CHANGES: Final = "pending_changes.log"

MUTABLE_MAPPINGS: Final = "mutable_id_tracker.mappings"
MUTABLE_VERSIONS: Final = "mutable_id_tracker.versions"
MAPPINGS: Final = "id_tracker.mappings"
DELETED_IDS: Final = "id_tracker.deleted"
VERSIONS: Final = "id_tracker.versions"
EXTERNAL_TO_INTERNAL: Final = "id_tracker.e2i"
INTERNAL_TO_EXTERNAL: Final = "id_tracker.i2e"
COMPACT_VERSIONS: Final = "id_tracker.compact_versions"

PAYLOAD_STORAGE: Final = "payload_storage"
PAYLOAD_INDEX: Final = "payload_index"
CONFIG: Final = "config.json"

# -- vectors

MATRIX: Final = "matrix.dat"
MATRIX_MAGIC: Final = b"data"
DELETED_ROWS: Final = "deleted.dat"
DELETED_MAGIC: Final = b"drop\x00\x00\x00\x00"
VECTORS: Final = "vectors"
OFFSETS: Final = "offsets"
STORE: Final = "store"
DELETED: Final = "deleted"
STATUS: Final = "status.dat"
FLAGS: Final = "flags_a.dat"
LINKS_WITH_VECTORS: Final = "links_comp_vec.bin"

CHUNKED: Final = frozenset({"ChunkedMmap", "InRamChunkedMmap"})
SINGLE: Final = frozenset({"Mmap", "InRamMmap"})
EMPTY: Final = "Empty"
GRAPH_INLINE: Final = "GraphInline"
SPARSE_STORAGES: Final = frozenset({"mmap", "empty"})
PAYLOAD_STORAGES: Final = frozenset({"mmap", "in_ram_mmap"})

MULTI_OFFSET: Final = np.dtype([("first", "<u4"), ("count", "<u4"), ("capacity", "<u4")])

# -- values by block (payloads, sparse vectors)

TRACKER: Final = "tracker.dat"
JOURNAL: Final = "tracker_journal.dat"
BITMASK: Final = "bitmask.dat"
GAPS: Final = "gaps.dat"
BLOB_SLOT: Final = np.dtype(
    [("present", "<u4"), ("page", "<u4"), ("block", "<u4"), ("length", "<u4")]
)

_VECTOR_STORAGE: Final = "vector_storage"
_VECTOR_INDEX: Final = "vector_index"
_WAL_FILE = re.compile(r"(closed|open)-([0-9]{1,20})")


def vector_storage(name: str) -> str:
    """The folder of a vector's storage; the default vector, named "", has no suffix."""
    return f"{_VECTOR_STORAGE}-{name}" if name else _VECTOR_STORAGE


def vector_index(name: str) -> str:
    """The folder of a vector's index."""
    return f"{_VECTOR_INDEX}-{name}" if name else _VECTOR_INDEX


def chunk_file(number: int) -> str:
    """A file of vectors in chunks, from 0 on."""
    return f"chunk_{number}.mmap"


def page_file(number: int) -> str:
    """A file of blocks, from 0 on."""
    return f"page_{number}.dat"


def closed_log(first: int) -> str:
    """The file of a log that is written no more, by the number of its first operation."""
    return f"closed-{first}"


def log_file(name: str) -> tuple[str, int] | None:
    """What a file in `wal/` is, by its bare name: ("closed" or "open", number); None if neither."""
    found = _WAL_FILE.fullmatch(name)
    return (found.group(1), int(found.group(2))) if found else None


def is_derived(name: str) -> bool:
    """Whether a segment's file, named from the segment's folder on, can be made anew from others:
    graphs (but for those that hold the vectors) and field indexes."""
    folder, _, rest = name.partition("/")
    if folder == PAYLOAD_INDEX:
        return rest != CONFIG
    return folder.startswith(_VECTOR_INDEX) and rest != LINKS_WITH_VECTORS


def is_of_vectors(name: str) -> bool:
    """Whether a segment's file, named from the segment's folder on, holds vectors; those that say
    which points lack one do not."""
    folder, _, rest = name.partition("/")
    is_flags = rest == DELETED_ROWS or rest.startswith(f"{DELETED}/")
    return (folder.startswith(_VECTOR_STORAGE) and not is_flags) or rest == LINKS_WITH_VECTORS


def is_segment(name: str) -> bool:
    """Whether a folder in `segments/` is taken for a segment: no hidden, no deleted one."""
    return not name.startswith(".") and not name.endswith(".deleted")


# -- segment.json


class Index(Struct, omit_defaults=False):
    """How a dense vector is searched: "plain", or "hnsw" with its options."""

    type: str = "plain"
    options: Options = field(default_factory=dict)


class MultiVector(Struct):
    """A point has several vectors."""

    comparator: str = "max_sim"


class DenseData(Struct, omit_defaults=True):
    """A dense vector or multivector of a segment."""

    size: int
    distance: str
    storage_type: str
    index: Index
    quantization_config: Options | None = None
    multivector_config: MultiVector | None = None
    datatype: str | None = None


class SparseIndex(Struct, omit_defaults=True):
    """How a sparse vector is searched. Types: MutableRam (appendable), ImmutableRam, Mmap."""

    index_type: str
    full_scan_threshold: int | None = None
    datatype: str | None = None


class SparseData(Struct, omit_defaults=True):
    """A sparse vector of a segment."""

    index: SparseIndex
    storage_type: str = "mmap"
    modifier: str | None = None


class PayloadStorage(Struct):
    """Where payloads lie: "mmap" (cold) or "in_ram_mmap" (cached)."""

    type: str


class SegmentConfig(Struct, omit_defaults=True):
    """What a segment is made of."""

    payload_storage_type: PayloadStorage
    vector_data: dict[str, DenseData] = field(default_factory=dict)
    sparse_vector_data: dict[str, SparseData] = field(default_factory=dict)
    id_tracker_memory: str | None = None


class SegmentState(Struct):
    """segment.json: the greatest operation number of the segment, and what it is made of."""

    config: SegmentConfig
    initial_version: int | None = None
    version: int | None = None


# -- edge_config.json


class DenseParams(Struct, omit_defaults=True):
    """A dense vector or multivector as the shard's config has it."""

    size: int
    distance: str
    on_disk: bool | None = None
    memory: str | None = None
    multivector_config: MultiVector | None = None
    datatype: str | None = None
    quantization_config: Options | None = None
    hnsw_config: Options | None = None


class SparseParams(Struct, omit_defaults=True):
    """A sparse vector as the shard's config has it."""

    full_scan_threshold: int | None = None
    on_disk: bool | None = None
    memory: str | None = None
    modifier: str | None = None
    datatype: str | None = None


class ShardConfig(Struct, omit_defaults=True):
    """edge_config.json."""

    vectors: dict[str, DenseParams] = field(default_factory=dict)
    sparse_vectors: dict[str, SparseParams] = field(default_factory=dict)
    on_disk_payload: bool | None = None
    payload_memory: str | None = None
    id_tracker_memory: str | None = None
    hnsw_config: Options | None = None
    quantization_config: Options | None = None
    optimizers: Options | None = None
    max_search_threads: int | None = None


# -- further JSON


class PayloadIndexConfig(Struct):
    """payload_index/config.json; the real loader builds the indexes from `indexed_fields` alone:
    by field the name of a kind, or its params with the kind at "type"."""

    indexed_fields: dict[str, str | Options] = field(default_factory=dict)


class ChunkConfig(Struct):
    """config.json of vectors in chunks."""

    chunk_size_bytes: int
    chunk_size_vectors: int
    dim: int


class BlobConfig(Struct):
    """config.json of values by block; of `mode` only "mutable", which older programs do not say."""

    page_size_bytes: int
    block_size_bytes: int
    region_size_blocks: int
    compression: str = "LZ4"
    mode: str = "mutable"


class FirstIndex(Struct):
    """wal/first-index."""

    ack_index: int


class SegmentManifest(Struct):
    """The versions of a segment's files; None counts as the segment's."""

    segment_id: str
    segment_version: int
    file_versions: dict[str, int | None]


Manifest: TypeAlias = Mapping[str, SegmentManifest]
"""A snapshot's manifest, by segment."""
