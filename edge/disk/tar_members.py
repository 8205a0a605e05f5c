"""What a tar archive holds, found by its headers and judged before anything is unpacked.

Invariants: an archive comes from a stranger. Regular files and folders only, names that stay where
they belong, none twice, all within the caller's caps, all data there, an end where it should be;
what does not follow the rules is an error that names the archive and the member.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeAlias

from edge.disk import files, tar_header
from edge.disk.tar_header import BLOCK, Header, HeaderError
from edge.errors import CorruptData, LimitExceeded, ValidationError

_RUNS: Final = 1 << 20
_NAME_DATA: Final = 4096
_PAX_DATA: Final = 1 << 16
_PADDING: Final = 2 << 20
_COMPRESSED: Final = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_FORBIDDEN: Final = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a fifo",
    b"7": "a contiguous file",
    b"g": "a PAX header for all members",
    b"K": "a link with a long name",
}

Run: TypeAlias = tuple[int, int, int]
"""(place, bytes, where in the archive) of a run of a file's data; between runs there are zeros."""


@dataclass(frozen=True, slots=True)
class Caps:
    """What an archive may hold at most: members (with the folders that their names imply), bytes
    of one file and of all files (both as unpacked), and the bytes that must stay free where it is
    unpacked (`reserve`)."""

    members: int
    file_bytes: int
    total_bytes: int
    reserve: int


@dataclass(frozen=True, slots=True)
class Member:
    """A file or folder of an archive; `size` are the bytes of the file as unpacked.

    `start` is where its data begin in the archive, `runs` what is there, one after another.
    """

    name: str
    size: int
    is_folder: bool
    start: int
    runs: tuple[Run, ...]

    @property
    def stored(self) -> int:
        """Bytes of the file that the archive holds; the rest are zeros."""
        return sum([length for _, length, _ in self.runs])


class Source(Protocol):
    """Bytes at rest, in which an archive may lie."""

    @property
    def path(self) -> str:
        """What it is called in messages."""

    @property
    def size(self) -> int:
        """Its bytes."""

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`. Raises CorruptData if it ends before, StorageFault."""


@dataclass(frozen=True, slots=True)
class _Said:
    """What headers before a member's own said of it."""

    name: bytes | None = None
    size: int | None = None
    pax: bool = False


def judged_members(source: Source, caps: Caps) -> list[Member]:
    """All members of the archive, in its order, read from headers alone.

    Raises CorruptData, ValidationError, LimitExceeded, StorageFault: see TarReader.
    """
    _refuse_compressed(source)
    found: list[Member] = []
    total = runs = 0
    for member in _members(source):
        where = f"{source.path}: {member.name!r}"
        total += member.size
        runs += len(member.runs)
        if len(found) >= caps.members:
            raise LimitExceeded(f"{where} is one member more than the {caps.members} allowed")
        if member.size > caps.file_bytes:
            raise LimitExceeded(f"{where} has {member.size} bytes, not {caps.file_bytes} at most")
        if total > caps.total_bytes:
            raise LimitExceeded(f"{where} makes more than {caps.total_bytes} bytes in all")
        if runs > _RUNS:
            raise LimitExceeded(f"{where} makes more than {_RUNS} runs of data in all")
        found.append(member)
    if _folders(source, found) > caps.members:
        raise LimitExceeded(f"{source.path} implies more than the {caps.members} folders allowed")
    return found


def _refuse_compressed(source: Source) -> None:
    start = _read(source, 0, min(6, source.size))
    for magic, kind in _COMPRESSED.items():
        if start.startswith(magic):
            raise ValidationError(f"{source.path} is compressed ({kind}); a plain tar is asked for")


def _folders(source: Source, members: Sequence[Member]) -> int:
    """How many folders the members need. Refuses a name that is there twice, and a file that is
    another member's folder.

    With "/" below all other characters whatever is in a folder follows it directly.
    """
    ordered = sorted(members, key=lambda member: member.name.replace("/", "\0"))
    needed = 0
    above: list[str] = []
    for member, following in itertools.zip_longest(ordered, ordered[1:]):
        parts = member.name.split("/")
        folder = parts if member.is_folder else parts[:-1]
        needed += len(folder) - len(_common(above, folder))
        above = folder
        if following is not None:
            _refuse_clash(source, member, following.name)
    return needed


def _common(one: list[str], other: list[str]) -> list[str]:
    pairs = zip(one, other, strict=False)
    return [part for part, same in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)]


def _refuse_clash(source: Source, member: Member, following: str) -> None:
    if member.name == following:
        raise ValidationError(f"{source.path}: {member.name!r} is there twice")
    if not member.is_folder and following.startswith(member.name + "/"):
        raise ValidationError(
            f"{source.path}: {member.name!r} is a file, and the folder of {following!r}"
        )


def _members(source: Source) -> Iterator[Member]:
    said = _Said()
    offset = 0
    while any(block := _read(source, offset, BLOCK)):
        try:
            header = tar_header.decode(block)
            start = offset + BLOCK
            if header.kind in _EXTENSIONS:
                said = _EXTENSIONS[header.kind](source, start, header, said)
                offset = start + tar_header.padded(header.size)
                continue
            member = _member(source, start, header, said)
        except HeaderError as error:
            raise CorruptData(f"a member is damaged: {error}", source.path, offset) from error
        offset = member.start + tar_header.padded(member.stored)
        if offset > source.size:
            raise CorruptData(f"{member.name!r} is cut short", source.path, member.start)
        said = _Said()
        if member.name:
            yield member
    if said != _Said():
        raise CorruptData("the archive ends before the member of a header", source.path, offset)
    _check_end(source, offset)


def _check_end(source: Source, offset: int) -> None:
    """Two blocks of zeros, and then at most some more of them."""
    rest = source.size - offset
    if rest < 2 * BLOCK or rest > _PADDING or any(_read(source, offset, rest)):
        raise CorruptData("the archive does not end where it should", source.path, offset)


def _long_name(source: Source, start: int, header: Header, said: _Said) -> _Said:
    if said.name is not None or not 0 < header.size <= _NAME_DATA:
        raise HeaderError("a long name is twice there, empty or longer than any may be")
    return replace(said, name=_read(source, start, header.size).partition(b"\0")[0])


def _pax(source: Source, start: int, header: Header, said: _Said) -> _Said:
    if said.pax or header.size > _PAX_DATA:
        raise HeaderError("PAX records are twice there, or longer than any may be")
    records = tar_header.decode_pax(_read(source, start, header.size))
    for key in records:
        if key.startswith("GNU.sparse.") or key == "hdrcharset":
            raise ValidationError(f"{source.path}: PAX records with {key} are not taken")
    name, size = records.get("path"), records.get("size")
    return _Said(
        said.name if name is None else name.encode(),
        None if size is None else tar_header.decode_decimal(size),
        pax=True,
    )


_EXTENSIONS: Final = {tar_header.LONG_NAME: _long_name, tar_header.PAX: _pax}
"""Headers that say something of the member whose header follows."""


def _member(source: Source, start: int, header: Header, said: _Said) -> Member:
    raw = header.name if said.name is None else said.name
    name = _name(source, raw, header.kind)
    if header.kind in {tar_header.FILE, tar_header.OLD_FILE}:
        size = header.size if said.size is None else said.size
        return Member(name, size, False, start, ((0, size, start),) if size else ())
    if header.kind == tar_header.FOLDER:
        if header.size or said.size:
            raise HeaderError("a folder with data")
        return Member(name, 0, True, start, ())
    if header.kind == tar_header.SPARSE and said.size is None:
        return _sparse_member(source, start, header, name)
    kind = _FORBIDDEN.get(header.kind, f"a member of kind {header.kind!r}")
    raise ValidationError(f"{source.path}: {name!r} is {kind}; only files and folders are taken")


def _name(source: Source, raw: bytes, kind: bytes) -> str:
    """The name that `raw` says; "" for the archive's own root, which `tar` likes to name."""
    name = raw.decode(errors="surrogateescape")
    if kind == tar_header.FOLDER:
        name = name.removesuffix("/")
        if name == ".":
            return ""
    name = name.removeprefix("./")
    if not files.is_foreign_name(name):
        raise ValidationError(f"{source.path}: {raw!r} is not a name that a member may have")
    return name


def _sparse_member(source: Source, start: int, header: Header, name: str) -> Member:
    extents = list(header.extents)
    extended = header.extended
    while extended:
        some, extended = tar_header.decode_more_extents(_read(source, start, BLOCK))
        extents += some
        start += BLOCK
        if len(extents) > _RUNS:
            raise LimitExceeded(f"{source.path}: {name!r} has more than {_RUNS} runs of data")
    runs: list[Run] = []
    end = stored = 0
    for place, length in extents:
        if place < end:
            raise HeaderError("runs of data do not ascend")
        if length:
            runs.append((place, length, start + stored))
        end = place + length
        stored += length
    if end > header.logical or stored != header.size:
        raise HeaderError("runs of data do not fit the file")
    return Member(name, header.logical, False, start, tuple(runs))


def _read(source: Source, offset: int, length: int) -> bytes:
    if offset + length > source.size:
        raise CorruptData("the archive is cut short", source.path, min(offset, source.size))
    buffer = bytearray(length)
    source.read_into(offset, memoryview(buffer))
    return bytes(buffer)
