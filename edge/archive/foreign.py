"""A shard of Qdrant's made one of ours: its points into built segments, its log carried out.

Invariants
- Nothing of the source is changed. What is written lies under numbers that the caller reserved;
  whatever fails takes it away again.
- A point keeps the bits of its vectors and its version; operations go on after the greatest.
- Points that an older state brought, and that did not change, stay in the segments that they are
  in, with the graphs over them.
- An operation of the log that Qdrant would not carry out, or would refuse, is not carried out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from edge.archive.foreign_log import carry_out
from edge.archive.still_there import Known, still_there
from edge.archive.writing import Pulse
from edge.disk import files
from edge.disk.manifest import Manifest, SegmentEntry
from edge.disk.storage import Storage
from edge.disk.wal import Wal
from edge.errors import StorageFault
from edge.model.config import EdgeConfig, encode_config, settings_of, with_local
from edge.model.schema import encode_schema
from edge.qdrant.shard import QdrantShard
from edge.segment.appendable import AppendableSegment
from edge.segment.builder import build_segment
from edge.segment.rows import RowBlock
from edge.segment.view import SegmentView
from edge.segment.writer import Request
from edge.store.store import Store, open_state
from edge.vectors.block import Ragged, Stored
from edge.vectors.column import VectorKey

NUMBERS: Final = 100_000
"""How many numbers an import may take."""

SEGMENT_BYTES: Final = 128 << 20
"""What one segment is about as large as; the optimizer makes fewer of them."""

Blocks = Iterator[tuple[RowBlock, NDArray[np.uint64]]]


def imported(
    storage: Storage,
    shard: QdrantShard,
    number: int,
    base: str,
    local: EdgeConfig | None,
    known: Known | None,
    pulse: Pulse,
) -> Store:
    """Write what a shard of Qdrant's holds into the folder of `storage`, and open it.

    `number` is the first of NUMBERS that no file has, `base` the folder where the source's files
    are kept; `known` is what the folder has of an older state of it. No manifest is stored: the
    store is what another becomes. `pulse` may raise to leave it. Raises CorruptData,
    ValidationError naming what is not read, StorageFault, StorageFull.
    """
    config = shard.config if local is None else with_local(shard.config, local)
    log = files.log_folder(number)
    entries: list[SegmentEntry] = []
    kept = still_there(storage, shard, config, known, number + 1)
    try:
        blocks = shard.blocks(kept.left)
        for entry in _segments(storage, shard, blocks, config, number + 2, pulse):
            entries.append(entry)  # noqa: PERF402 (those before a failure are to be removed)
        sequence = max(shard.version, 0)
        state = Manifest(
            generation=0,
            shard=uuid4().hex,
            sequence=sequence,
            durable=sequence,
            next_segment=number + NUMBERS,
            config=encode_config(config),
            segments=(*kept.entries, *entries),
            schema=encode_schema(shard.schema) if shard.schema else b"",
            log=log,
            base=base,
            foreign=sequence,
        )
        Wal.open(storage, log, first=sequence + 1, durable=sequence, shard=state.shard).close()
        store = open_state(storage, state, config, None if known is None else known.loaded)
        carry_out(shard, store)
        store.sync()
        storage.sync_folder("")
    except BaseException:
        folders = (files.segment_folder(entry.id) for entry in entries)
        for name in (log, *kept.added, *folders):
            with suppress(StorageFault):
                storage.remove_tree(name)
        raise
    return store


def _segments(
    storage: Storage,
    shard: QdrantShard,
    blocks: Blocks,
    config: EdgeConfig,
    number: int,
    pulse: Pulse,
) -> Iterator[SegmentEntry]:
    settings = settings_of(config)
    params = {VectorKey(name): config.params_of(name) for name in config.names()}
    vectors = {key: found for key, found in params.items() if found is not None}
    names = {key.name: key for key in vectors}
    while _fill(rows := AppendableSegment(0, vectors), blocks):
        view = SegmentView(rows, rows.count, schema=shard.schema, names=names)
        asked = Request(vectors, settings, schema=shard.schema)
        yield build_segment(storage, number, [view], asked, lambda _: pulse()).segment.entry
        number += 1


def _fill(rows: AppendableSegment, blocks: Blocks) -> bool:
    """Append blocks until it is large enough; return whether there were any."""
    size = 0
    for block, versions in blocks:
        rows.append(block, versions)
        size += _bytes_of(block)
        if size >= SEGMENT_BYTES:
            break
    return rows.count > 0


def _bytes_of(block: RowBlock) -> int:
    parts = [part for column in block.vectors.values() for part in _parts(column.block)]
    return sum(part.nbytes for part in parts) + sum(map(len, filter(None, block.payloads)))


def _parts(block: Stored) -> Sequence[NDArray[np.generic]]:
    return block.parts if isinstance(block, Ragged) else (block,)
