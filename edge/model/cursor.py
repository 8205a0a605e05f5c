"""How far each consumer of the log has come: cursors, which keep the log from being dropped.

Invariants: a cursor moves by an operation in the log, so that it is exact after any crash; cursors
are a plain dict by name that is replaced, never edited.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct
from msgspec.structs import force_setattr

from edge.errors import CorruptData, LimitExceeded, ValidationError
from edge.model import fields
from edge.model.choice import Choice

MAX_NAME_BYTES: Final = 128
MAX_CURSORS: Final = 64
_MOST: Final = 2**63 - 1


class Stage(Choice):
    """What a consumer is about.

    Log: it reads operations one after another. View: it reads all points first, in the order of
    ids, and the log afterwards. Void: what it has not read is gone, and it must begin anew.
    """

    Log = "log"
    View = "view"
    Void = "void"


class Cursor(Struct, frozen=True, array_like=True):
    """The place of the consumer `name` (1 to 128 bytes of UTF-8).

    It has every operation up to `sequence`; in the View stage it will have them with the points,
    and has those up to the id row `after` (None: none yet). `most_bytes` is how much of the log it
    may keep from being dropped (None: without a limit).
    """

    name: str
    sequence: int
    stage: Stage = Stage.View
    after: tuple[int, int, int] | None = None
    most_bytes: int | None = None

    def __post_init__(self) -> None:
        name = fields.text(self.name, "cursor.name")
        if not 0 < len(name.encode()) <= MAX_NAME_BYTES:
            raise ValidationError(f"cursor.name: expected 1 to {MAX_NAME_BYTES} bytes of UTF-8")
        sequence = fields.integer(self.sequence, "cursor.sequence", 0, _MOST)
        force_setattr(self, "sequence", sequence)
        fields.integer_or_none(self.most_bytes, "cursor.most_bytes", 0, _MOST)


Cursors: TypeAlias = Mapping[str, Cursor]

NO_CURSORS: Final[Cursors] = {}


def moved(cursors: Cursors, name: str, cursor: Cursor | None) -> Cursors:
    """The cursors with this one in its new place; None: without it.

    Raises LimitExceeded for a cursor too many.
    """
    kept = {other: known for other, known in cursors.items() if other != name}
    if cursor is None:
        return kept
    if len(kept) >= MAX_CURSORS:
        raise LimitExceeded(f"cursor.name: {len(kept)} cursors are known, no more are taken")
    return {**kept, name: cursor}


def voided(cursors: Cursors) -> Cursors:
    """The cursors of a shard whose log is not the one that they were places in."""
    return {
        name: msgspec.structs.replace(cursor, stage=Stage.Void, after=None)
        for name, cursor in cursors.items()
    }


def encode_cursors(cursors: Cursors) -> bytes:
    """The cursors as bytes for the manifest (msgpack), none of them as none."""
    if not cursors:
        return b""
    return msgspec.msgpack.encode(sorted(cursors.values(), key=lambda cursor: cursor.name))


def decode_cursors(data: bytes) -> Cursors:
    """The cursors of `encode_cursors`. Raises CorruptData when the bytes are none."""
    if not data:
        return NO_CURSORS
    try:
        found = msgspec.msgpack.decode(data, type=list[Cursor])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CorruptData(f"cursors: {error}") from None
    return {cursor.name: cursor for cursor in found}
