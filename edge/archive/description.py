"""What a snapshot of ours says of itself, and a shard of what it has, as JSON.

A file is known by its contents (`sealed_file.identity`), whatever its name: a shard that took over
the files of another gave them names of its own.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from edge.errors import CorruptData, ValidationError
from edge.model import fields

FORMAT: Final = "edgeshard"
VERSION: Final = 1
DESCRIPTION: Final = "snapshot.json"
SIGNATURE: Final = "snapshot.sig"
HASH_BYTES: Final = 32
KEY_BYTES: Final = range(16, hashlib.blake2b.MAX_KEY_SIZE + 1)
"""How long a key may be."""


class FileFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the archive: its bytes, and their blake2b in hex."""

    length: int
    blake2b: str


class Reused(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file that the receiver has: under which name there, and its contents' identity."""

    name: str
    identity: str


class Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `snapshot.json` holds."""

    format: str
    version: int
    shard: str
    sequence: int
    files: dict[str, FileFacts]
    reused: dict[str, Reused]


class ShardManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a shard has, for whoever makes a partial snapshot for it: the identity of each file's
    contents by name, segment by segment."""

    format: str
    version: int
    shard: str
    sequence: int
    segments: dict[str, dict[str, str]]


def signature(description: bytes, key: bytes) -> bytes:
    """The keyed BLAKE2b (RFC 7693) of `snapshot.json`, in hex: whoever has the key wrote it, and so
    the hashes of all files. ValidationError where the key is none."""
    if len(fields.instance(key, "key", bytes)) not in KEY_BYTES:
        raise ValidationError(
            f"key: expected {KEY_BYTES[0]} to {KEY_BYTES[-1]} bytes, got {len(key)}"
        )
    return hashlib.blake2b(description, digest_size=HASH_BYTES, key=key).hexdigest().encode()


def require_signed(description: bytes, found: bytes | None, key: bytes, path: str) -> None:
    """Refuse what was not signed with this key."""
    wanted = signature(description, key)
    if found is None or not hmac.compare_digest(wanted, found):
        raise ValidationError(f"{path} is not signed with this key")


def parsed_manifest(base: Mapping[str, Any]) -> ShardManifest:
    """The ShardManifest in what JSON gave. ValidationError where it is none."""
    try:
        found = msgspec.convert(base, ShardManifest)
    except msgspec.ValidationError as error:
        raise ValidationError(f"manifest: {error}") from None
    _require_known(found.format, found.version, "manifest")
    return found


def parsed_description(data: bytes, path: str) -> Description:
    """The Description in the bytes of `snapshot.json` of the archive at `path`. CorruptData where
    they are none, ValidationError where a later version of the format wrote them."""
    try:
        told = msgspec.json.decode(data, type=Description)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptData(f"{DESCRIPTION}: {error}", path) from None
    _require_known(told.format, told.version, f"{path}: {DESCRIPTION}")
    return told


def _require_known(form: str, version: int, what: str) -> None:
    if (form, version) != (FORMAT, VERSION):
        raise ValidationError(
            f"{what}: expected {FORMAT} version {VERSION}, got {form} version {version}"
        )
