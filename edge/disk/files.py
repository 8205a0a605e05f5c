"""The names of all files in a shard folder, in one place.

Invariants: a name is a relative posix path of ASCII parts that never leaves the folder; names are
made of our own words and numbers only, never of anything a user named. Only where files of others
are read or written (archives, and the formats of other programs) do the wider rules hold.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

LOCK: Final = "LOCK"
MANIFEST: Final = "manifest"
MANIFEST_NEW: Final = "manifest.tmp"
WAL: Final = "wal"
INCOMING: Final = "incoming"
SYNCED: Final = "synced"
SEGMENTS: Final = "segments"

_NAME = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9_.-]*/)*[A-Za-z0-9_-][A-Za-z0-9_.-]*")
_LOG = re.compile(r"([0-9]{8,19})\.log")
_LOG_FOLDER = re.compile(r"wal(?:-[0-9]{8,19})?")
_BASE_FOLDER = re.compile(r"qdrant-[0-9]{8,19}")
_SEGMENT_FOLDER = re.compile(r"[0-9]{8,19}")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ROLE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


def is_name(name: str) -> bool:
    """True if `name` is a relative path that stays inside the folder it is joined to."""
    return len(name) <= 255 and _NAME.fullmatch(name) is not None


def is_foreign_name(name: str) -> bool:
    """True if `name` is a relative path, spelled in one way only, that others may have chosen:
    any characters but NUL and backslash, NFC, 255 bytes a part and 1024 in all."""
    try:
        raw = name.encode()
    except UnicodeEncodeError:
        return False
    return (
        len(raw) <= 1024
        and not {0, ord("\\")} & set(raw)
        and unicodedata.is_normalized("NFC", name)
        and all(part not in {b"", b".", b".."} and len(part) <= 255 for part in raw.split(b"/"))
    )


def parent(name: str) -> str:
    """The folder that holds `name`; "" is the shard folder itself."""
    return name.rpartition("/")[0]


def join(folder: str, name: str) -> str:
    """`folder/name`, or `name` where the folder is the shard folder itself ("")."""
    return f"{folder}/{name}" if folder else name


def log_folder(number: int) -> str:
    """The folder of the write-ahead log that came with a snapshot; a shard's first log is WAL."""
    return f"{WAL}-{number:08d}"


def is_log_folder(name: str) -> bool:
    """True if `name` is the name of a folder of log files."""
    return _LOG_FOLDER.fullmatch(name) is not None


def base_folder(number: int) -> str:
    """The folder of the Qdrant files that a shard was made of."""
    return f"qdrant-{number:08d}"


def is_base_folder(name: str) -> bool:
    """True if `name` is the name of a folder of Qdrant files."""
    return _BASE_FOLDER.fullmatch(name) is not None


def log_file(folder: str, number: int) -> str:
    """The log file number `number` (1, 2, ...) of the write-ahead log in `folder`."""
    return join(folder, f"{number:08d}.log")


def log_number(file: str) -> int | None:
    """The number in the bare name of a log file; None if it is not the name of one."""
    match = _LOG.fullmatch(file)
    number = int(match.group(1)) if match else 0
    return number if number and file == log_file("", number) else None


def segment_folder(segment: int) -> str:
    """The folder of the segment with id `segment`."""
    return f"{SEGMENTS}/{segment:08d}"


def is_segment_folder(name: str) -> bool:
    """True if the bare name is that of a segment's folder."""
    return _SEGMENT_FOLDER.fullmatch(name) is not None


def is_foreign_segment(name: str) -> bool:
    """True if the bare name is that of a segment's folder as Qdrant has them."""
    return _UUID.fullmatch(name) is not None


def segment_file(segment: int, role: str) -> str:
    """The file of a segment that plays `role`: lower-case ASCII words, digits, "_", "-", ".".

    A role counts what it serves ("vectors.0"); it never holds a name that a user chose.
    """
    if _ROLE.fullmatch(role) is None:
        raise ValueError(f"not a role of a file: {role!r}")
    return f"{segment_folder(segment)}/{role}"
