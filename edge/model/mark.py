"""How far each source of updates has come, so that what it sends again is applied once.

Invariants: a mark is logged in the same record as the update that it belongs to; marks of one
source only grow, first by epoch, then by sequence; marks are a plain dict by source that is
replaced, never edited.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct
from msgspec.structs import force_setattr

from edge.errors import CorruptData, LimitExceeded, OutOfOrder, ValidationError
from edge.model import fields

MAX_SOURCE_BYTES: Final = 128
MAX_SOURCES: Final = 10_000
_MOST: Final = 2**63 - 1


class Mark(Struct, frozen=True, array_like=True):
    """The place of an update in what its source sends.

    `source` names the sender (1 to 128 bytes of UTF-8) for good, `epoch` counts its lives (it grows
    when the sender starts its sequence anew), `sequence` counts its updates within one, from 1 on.
    With `first` the update stands for all from there to `sequence`, and is refused where the one
    before `first` was not applied.
    """

    source: str
    epoch: int
    sequence: int
    first: int | None = None

    def __post_init__(self) -> None:
        name = fields.text(self.source, "mark.source")
        if not 0 < len(name.encode()) <= MAX_SOURCE_BYTES:
            raise ValidationError(f"mark.source: expected 1 to {MAX_SOURCE_BYTES} bytes of UTF-8")
        force_setattr(self, "epoch", fields.integer(self.epoch, "mark.epoch", 0, _MOST))
        force_setattr(self, "sequence", fields.integer(self.sequence, "mark.sequence", 0, _MOST))
        fields.integer_or_none(self.first, "mark.first", 1, self.sequence)


Marks: TypeAlias = Mapping[str, Mark]

NO_MARKS: Final[Marks] = {}

HERE: Final = "edge.here"
"""The source of operations that are this shard's own affair: they are handed to nobody else."""


OWN: Final = "edge."
"""What the names of sources begin with that are not a caller's to take."""


def refuse_own(mark: Mark | None) -> None:
    """Refuse a mark of a caller's that has the name of a source of ours."""
    if mark is not None and mark.source.startswith(OWN):
        raise ValidationError(f"mark.source: names that begin with {OWN!r} are the shard's own")


def is_applied(mark: Mark, marks: Marks) -> bool:
    """Whether the update of this mark, or a later one of its source, was applied already."""
    known = marks.get(mark.source)
    return known is not None and (mark.epoch, mark.sequence) <= (known.epoch, known.sequence)


def check_mark(mark: Mark, marks: Marks) -> None:
    """Refuse a source too many, and an update that comes before its time."""
    known = marks.get(mark.source)
    if known is None and len(marks) >= MAX_SOURCES:
        raise LimitExceeded(f"mark.source: {len(marks)} sources are known, no more are taken")
    if mark.first is not None:
        expected = 1 if known is None or known.epoch != mark.epoch else known.sequence + 1
        if mark.first != expected:
            raise OutOfOrder(f"mark.first: {mark.first} came, {expected} is next")


def encode_marks(marks: Marks) -> bytes:
    """The marks as bytes for the manifest (msgpack)."""
    return msgspec.msgpack.encode(sorted(marks.values(), key=lambda mark: mark.source))


def decode_marks(data: bytes) -> Marks:
    """The marks of `encode_marks`. Raises CorruptData when the bytes are none."""
    if not data:
        return NO_MARKS
    try:
        found = msgspec.msgpack.decode(data, type=list[Mark])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CorruptData(f"marks: {error}") from None
    return {mark.source: mark for mark in found}
