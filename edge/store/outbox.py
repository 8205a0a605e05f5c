"""What the log's consumers keep from being dropped, and what one of them reads next.

Invariants
- A cursor keeps the log from the operation after its own on, but for more than its `most_bytes` of
  what the shard itself needs no more: then the oldest files go, and the cursor has lost its place.
- The log is shortened by what the medium knows of cursors: a power cut may take a cursor back, but
  never to where the log is gone.
- What a consumer reads is on the medium: it never knows more than the shard after a power cut.
"""

from __future__ import annotations

from edge.disk.wal import Wal
from edge.model.cursor import Cursor, Cursors, Stage


def pinned(cursors: Cursors, wal: Wal, needed: int) -> int:
    """Return the oldest sequence that cursors keep in the log, of which the shard itself needs all
    from `needed` on."""
    return min([needed, *(_kept_by(cursor, wal, needed) for cursor in cursors.values())])


def _kept_by(cursor: Cursor, wal: Wal, needed: int) -> int:
    if is_lost(cursor, wal):
        return needed
    wanted = cursor.sequence + 1
    if cursor.most_bytes is None or wanted >= needed:
        return wanted
    return max(wanted, wal.first_within(cursor.most_bytes, needed))


def is_lost(cursor: Cursor, wal: Wal) -> bool:
    """Whether the log does not go on from the cursor any more."""
    return cursor.stage is Stage.Void or cursor.sequence + 1 < wal.first
