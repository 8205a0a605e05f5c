"""Cursors: what they may be, and their bytes."""

from __future__ import annotations

import msgspec
import pytest

from edge.errors import CorruptData, LimitExceeded, ValidationError
from edge.model import codec
from edge.model.check import CheckedSetCursor, recheck
from edge.model.config import EdgeConfig
from edge.model.cursor import (
    MAX_CURSORS,
    NO_CURSORS,
    Cursor,
    Stage,
    decode_cursors,
    encode_cursors,
    moved,
    voided,
)
from edge.model.vector_params import Distance, EdgeVectorParams

PLACES = [
    Cursor("a", 0),
    Cursor("é" * 64, 2**63 - 1, Stage.View, (1, 2**64 - 1, 0), 0),
    Cursor("c", 7, Stage.Log, None, 1 << 32),
    Cursor("d", 7, Stage.Void),
]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", 1), "cursor.name: expected 1 to 128 bytes"),
        (("é" * 65, 1), "cursor.name: expected 1 to 128 bytes"),
        ((1, 1), "cursor.name: expected a str"),
        (("a", -1), "cursor.sequence: expected 0"),
        (("a", 1, Stage.Log, None, -1), "cursor.most_bytes: expected 0"),
    ],
)
def test_what_is_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Cursor(*arguments)  # type: ignore[arg-type]


def test_bytes_of_the_manifest() -> None:
    cursors = {cursor.name: cursor for cursor in PLACES}
    assert decode_cursors(encode_cursors(cursors)) == cursors
    assert encode_cursors(cursors) == encode_cursors(dict(reversed(cursors.items())))
    assert decode_cursors(b"") == {}


@pytest.mark.parametrize(
    "data",
    [b"\xc1", b"\x90\x90", msgspec.msgpack.encode([["a", -1]]), msgspec.msgpack.encode([["", 1]])],
)
def test_bytes_that_are_none(data: bytes) -> None:
    with pytest.raises(CorruptData):
        decode_cursors(data)


@pytest.mark.parametrize("cursor", [*PLACES, None])
def test_bytes_of_the_log(cursor: Cursor | None) -> None:
    operation = CheckedSetCursor("a" if cursor is None else cursor.name, cursor)
    assert codec.decode(b"".join(codec.encode(operation))) == operation


def test_a_cursor_under_another_name_is_corrupt() -> None:
    body = b"".join(codec.encode(CheckedSetCursor("b", Cursor("a", 1))))
    with pytest.raises(CorruptData, match="has no cursor"):
        codec.decode(body)


def test_cursors_are_limited() -> None:
    cursors = NO_CURSORS
    for n in range(MAX_CURSORS):
        cursors = moved(cursors, str(n), Cursor(str(n), n))
    with pytest.raises(LimitExceeded, match=f"{MAX_CURSORS} cursors"):
        moved(cursors, "one more", Cursor("one more", 0))
    assert moved(cursors, "3", Cursor("3", 9))["3"].sequence == 9
    fewer = moved(cursors, "3", None)
    assert fewer.keys() == cursors.keys() - {"3"}
    assert moved(fewer, "3", None) == fewer


def test_voided_cursors_keep_their_name_and_limit() -> None:
    found = voided({cursor.name: cursor for cursor in PLACES})
    assert {cursor.stage for cursor in found.values()} == {Stage.Void}
    assert [(c.name, c.most_bytes) for c in found.values()] == [
        (c.name, c.most_bytes) for c in PLACES
    ]


def test_nobody_sends_one() -> None:
    config = EdgeConfig(EdgeVectorParams(2, Distance.Dot))
    with pytest.raises(ValidationError, match="moved by the shard alone"):
        recheck(CheckedSetCursor("a", None), config)
