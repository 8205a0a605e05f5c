"""The 512-byte headers of tar archives: made in one form, read in the forms that programs write.

Invariants: what is made is GNU tar (long names as a member of kind "L", sparse files as the old
kind "S"); what is read is that, or POSIX ustar with PAX records; a header whose checksum or
numbers are not exactly right is a HeaderError and never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

BLOCK: Final = 512
FILE: Final = b"0"
OLD_FILE: Final = b"\0"
FOLDER: Final = b"5"
LONG_NAME: Final = b"L"
SPARSE: Final = b"S"
PAX: Final = b"x"

Extent: TypeAlias = tuple[int, int]
"""(place, bytes) of a run of data in a sparse file; between runs there are zeros."""

_GNU: Final = b"ustar  \0"
_POSIX: Final = b"ustar\x0000"
_LARGEST: Final = (1 << 63) - 1
_NAME_BYTES: Final = 100
_EXTENTS_HERE: Final = 4
_EXTENTS_MORE: Final = 21
_EXTENT_BYTES: Final = 24
_OCTAL: Final = re.compile(rb" *([0-7]*)[ \0]*")
_RECORD: Final = re.compile(rb"([1-9][0-9]{0,5}) ([^=\n]+)=")


class HeaderError(Exception):
    """A header that is damaged, or says what no header may say."""


@dataclass(frozen=True, slots=True)
class Header:
    """One header. `name` as it stands there, `size` bytes of data that follow, and of a sparse
    file the bytes that it has when it is unpacked (`logical`), the first of its runs (`extents`),
    and if a block with more of them follows (`extended`)."""

    name: bytes
    kind: bytes
    size: int
    logical: int
    extents: tuple[Extent, ...] = ()
    extended: bool = False


def padded(size: int) -> int:
    """`size` rounded up to whole blocks."""
    return -(-size // BLOCK) * BLOCK


# -- reading ----------------------------------------------------------------------------------


def decode(block: bytes) -> Header:
    """The header in a block of 512 bytes that are not all zero. Raises HeaderError."""
    if _number(block[148:156], "checksum") != _checksum(block):
        raise HeaderError("its header's checksum is wrong")
    magic = block[257:265]
    if magic not in {_GNU, _POSIX}:
        raise HeaderError("its header is neither of the ustar nor of the GNU form")
    name = _text(block[:_NAME_BYTES])
    prefix = _text(block[345:500]) if magic == _POSIX else b""
    kind = block[156:157]
    size = _number(block[124:136], "size")
    if kind != SPARSE:
        return Header(prefix + b"/" + name if prefix else name, kind, size, size)
    if magic != _GNU:
        raise HeaderError("a sparse file in a header that is not of the GNU form")
    return Header(
        name,
        kind,
        size,
        _number(block[483:495], "size when unpacked"),
        decode_extents(block[386:], _EXTENTS_HERE),
        block[482] != 0,
    )


def decode_more_extents(block: bytes) -> tuple[tuple[Extent, ...], bool]:
    """The runs in a block that continues a sparse header; True if one more follows."""
    return decode_extents(block, _EXTENTS_MORE), block[504] != 0


def decode_extents(raw: bytes, count: int) -> tuple[Extent, ...]:
    """The runs in the first `count` slots of 24 bytes; an empty slot holds none."""
    found: list[Extent] = []
    for start in range(0, count * _EXTENT_BYTES, _EXTENT_BYTES):
        place, length = raw[start : start + 12], raw[start + 12 : start + 24]
        if place[0] and length[0]:
            found.append((_number(place, "place of data"), _number(length, "length of data")))
    return tuple(found)


def decode_pax(raw: bytes) -> dict[str, str]:
    """The records of a PAX header's data. Raises HeaderError."""
    records: dict[str, str] = {}
    start = 0
    while start < len(raw):
        match = _RECORD.match(raw, start)
        end = start + int(match[1]) if match else 0
        if match is None or not match.end() < end <= len(raw) or raw[end - 1 : end] != b"\n":
            raise HeaderError("a PAX record is damaged")
        key, value = match[2], raw[match.end() : end - 1]
        try:
            records[key.decode()] = value.decode()
        except UnicodeDecodeError as error:
            raise HeaderError("a PAX record is not UTF-8") from error
        start = end
    return records


def decode_decimal(text: str) -> int:
    """A size in a PAX record. Raises HeaderError."""
    if not re.fullmatch("[0-9]{1,19}", text) or int(text) > _LARGEST:
        raise HeaderError("the size in a PAX record is none")
    return int(text)


def _checksum(block: bytes) -> int:
    return sum(block[:148]) + 8 * ord(" ") + sum(block[156:])


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes, what: str) -> int:
    if field[0] == 0x80:
        number = int.from_bytes(field[1:], "big")
    elif match := _OCTAL.fullmatch(field):
        number = int(match[1] or b"0", 8)
    else:
        raise HeaderError(f"the {what} in its header is not a number")
    if number > _LARGEST:
        raise HeaderError(f"the {what} in its header is beyond any file")
    return number


# -- writing ----------------------------------------------------------------------------------


def encode(name: bytes, kind: bytes, size: int) -> bytes:
    """All blocks of the header of a member: mode 0600 (a folder 0700), no owner, no time."""
    return _long_name(name) + _block(name, kind, size)


def encode_sparse(name: bytes, logical: int, extents: Sequence[Extent]) -> bytes:
    """All blocks of the header of a sparse file of `logical` bytes."""
    end = sum(extents[-1]) if extents else 0
    slots = list(extents) if end == logical and extents else [*extents, (logical, 0)]
    here, rest = slots[:_EXTENTS_HERE], slots[_EXTENTS_HERE:]
    tail = _slots(here, _EXTENTS_HERE) + (b"\1" if rest else b"\0") + _field(logical, 12)
    blocks = [_long_name(name), _block(name, SPARSE, sum([n for _, n in extents]), tail)]
    for start in range(0, len(rest), _EXTENTS_MORE):
        some = _slots(rest[start : start + _EXTENTS_MORE], _EXTENTS_MORE)
        more = b"\1" if start + _EXTENTS_MORE < len(rest) else b"\0"
        blocks.append((some + more).ljust(BLOCK, b"\0"))
    return b"".join(blocks)


def _long_name(name: bytes) -> bytes:
    if len(name) <= _NAME_BYTES:
        return b""
    data = name + b"\0"
    return _block(b"././@LongLink", LONG_NAME, len(data)) + data.ljust(padded(len(data)), b"\0")


def _slots(extents: Iterable[Extent], count: int) -> bytes:
    raw = b"".join([_field(place, 12) + _field(length, 12) for place, length in extents])
    return raw.ljust(count * _EXTENT_BYTES, b"\0")


def _field(number: int, width: int) -> bytes:
    digits = b"%0*o" % (width - 1, number)
    return digits + b"\0" if len(digits) < width else b"\x80" + number.to_bytes(width - 1, "big")


def _block(name: bytes, kind: bytes, size: int, sparse: bytes = b"") -> bytes:
    """One block; `sparse` stands from byte 386 on."""
    mode = 0o700 if kind == FOLDER else 0o600
    numbers = _field(mode, 8) + _field(0, 8) * 2 + _field(size, 12) + _field(0, 12)
    head = name[:_NAME_BYTES].ljust(_NAME_BYTES, b"\0") + numbers + b" " * 8 + kind
    block = (head.ljust(257, b"\0") + _GNU).ljust(386, b"\0") + sparse
    block = block.ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % _checksum(block) + block[156:]
