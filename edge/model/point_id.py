"""Point ids: an int 0..2^64-1 or a UUID, and their column form.

In a column an id is a row of uint64[3], (kind, hi, lo): an int is (0, 0, value), a UUID is
(1, high 64 bits, low 64 bits). The order of rows is the order of ids: ints first, then UUIDs.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeAlias
from uuid import UUID

import numpy as np
import numpy.typing as npt

from edge.errors import ValidationError
from edge.model import fields

PointId: TypeAlias = int | UUID
PointIdLike: TypeAlias = int | UUID | str
IdRows: TypeAlias = npt.NDArray[np.uint64]

KIND_INT = 0
KIND_UUID = 1
_LOW_64 = (1 << 64) - 1


def parse_id(value: Any, field: str = "id") -> PointId:
    """The canonical id: int or UUID. Takes numpy integers and the text forms of a UUID.

    Raises ValidationError for a bool, a float, an int outside 0..2^64-1, or other text.
    """
    kind = type(value)
    if kind is int:
        if 0 <= value <= _LOW_64:
            return value  # type: ignore[no-any-return]
        raise ValidationError(f"{field}: expected 0 to 2^64-1, got {fields.shown(value)}")
    if kind is UUID:
        return value  # type: ignore[no-any-return]
    if isinstance(value, UUID):
        return UUID(int=value.int)
    if isinstance(value, str):
        return _parse_uuid(value, field)
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        fields.refuse(field, "an int or a UUID", value)
    return parse_id(int(value), field)


def _parse_uuid(text: str, field: str) -> UUID:
    found = uuid_bytes(text)
    if found is None:
        raise ValidationError(f"{field}: expected an int or a UUID, got {fields.shown(text)}")
    return UUID(bytes=found)


def uuid_bytes(text: str) -> bytes | None:
    """The 16 bytes of a UUID in text: hyphenated, 32 hex digits, {braced} or urn:uuid:, as Qdrant
    takes them; None for any other text."""
    bare = text[9:] if text[:9].lower() == "urn:uuid:" else text
    if bare[:1] == "{" and bare[-1:] == "}":
        bare = bare[1:-1]
    grouped = len(bare) == 36 and all(bare[at] == "-" for at in (8, 13, 18, 23))
    digits = bare.replace("-", "") if grouped else bare
    # UUID(hex=...) would also take "0x", "_", "+" and digits of other scripts.
    if len(digits) == 32 and digits.isascii() and digits.isalnum():
        with suppress(ValueError):
            return bytes.fromhex(digits)
    return None


def parse_ids(values: Any, field: str = "point_ids") -> list[PointId]:
    """The canonical ids of any iterable (or integer array) of ids, in order."""
    if isinstance(values, np.ndarray):
        values = values.tolist()
    found = fields.sequence(values, field)
    return [parse_id(value, f"{field}[{i}]") for i, value in enumerate(found)]


def encode_ids(ids: Sequence[PointId] | npt.NDArray[Any]) -> IdRows:
    """Canonical ids, or an integer array, to rows uint64[n, 3].

    Raises ValidationError for an array that is not one-dimensional or holds negative numbers.
    """
    if isinstance(ids, np.ndarray):
        return _encode_array(ids)
    if set(map(type, ids)) <= {int}:
        rows = np.zeros((len(ids), 3), np.uint64)
        rows[:, 2] = ids
        return rows
    return np.array([_row(value) for value in ids], np.uint64).reshape(-1, 3)


def as_rows(ids: Any, field: str = "ids") -> IdRows:
    """Ids of any iterable, an integer array, or rows that are rows already, as uint64[n, 3]."""
    if not isinstance(ids, np.ndarray):
        return encode_ids(parse_ids(ids, field))
    if ids.ndim != 2 or ids.shape[1] != 3 or ids.dtype != np.uint64:
        return encode_ids(ids)
    if ids.size and (int(ids[:, 0].max()) > KIND_UUID or ids[ids[:, 0] == KIND_INT, 1].any()):
        raise ValidationError(f"{field}: rows that stand for no id")
    return ids.copy() if ids.flags.writeable else ids


def _encode_array(ids: npt.NDArray[Any]) -> IdRows:
    if ids.dtype == object:
        return encode_ids(parse_ids(ids, "ids"))
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        shape = list(ids.shape)
        raise ValidationError(f"ids: expected a 1-d integer array, got {ids.dtype}{shape}")
    if ids.dtype.kind == "i" and ids.size and int(ids.min()) < 0:
        raise ValidationError(f"ids: expected 0 to 2^64-1, got {int(ids.min())}")
    rows = np.zeros((len(ids), 3), np.uint64)
    rows[:, 2] = ids
    return rows


def _row(value: PointId) -> tuple[int, int, int]:
    if isinstance(value, UUID):
        return KIND_UUID, value.int >> 64, value.int & _LOW_64
    return KIND_INT, 0, value


def decode_id(row: npt.NDArray[np.uint64]) -> PointId:
    """One row uint64[3] back to its id."""
    kind, high, low = row.tolist()
    return UUID(int=high << 64 | low) if kind else low


def decode_ids(rows: IdRows) -> list[PointId]:
    """Rows uint64[n, 3] back to ids, in order."""
    if not rows[:, 0].any():
        return rows[:, 2].tolist()  # type: ignore[no-any-return]
    return [UUID(int=high << 64 | low) if kind else low for kind, high, low in rows.tolist()]
