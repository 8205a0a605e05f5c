"""Payloads: the JSON-like dict of a point, checked once and then held as msgpack bytes.

Invariants: bytes that `encode_payload` gave decode to a dict of str keys whose values are None,
bool, int (int64..uint64), finite float, str without lone surrogates, list or dict, nested no deeper
than the limit. Checking takes time and stack in proportion to the limits, whatever it is given:
a cycle runs into the depth, shared parts run into the size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from math import isfinite
from operator import is_
from typing import Any, TypeAlias, TypedDict

import msgspec
import numpy as np

from edge.errors import CorruptData, LimitExceeded, ValidationError
from edge.model import fields
from edge.model.limits import DEFAULT_LIMITS, Limits

Encoded: TypeAlias = bytes | memoryview

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, Any]).decode


class _Refused(Exception):
    """Why a value is no payload, and the keys and indexes that lead to it, innermost first."""

    def __init__(self, reason: str, kind: type[ValidationError] = ValidationError) -> None:
        self.reason = reason
        self.kind = kind
        self.steps: list[str | int] = []

    def error(self, field: str) -> ValidationError:
        path = "".join(f"[{step!r}]" for step in reversed(self.steps[-8:]))
        return self.kind(f"{field}{path}: {self.reason}")


class _Budget:
    """What is left of the bytes that a payload may have: a value costs at most what it weighs."""

    __slots__ = ("left", "limits")

    def __init__(self, limits: Limits) -> None:
        self.left = limits.payload_bytes
        self.limits = limits

    def spend(self, size: int) -> None:
        self.left -= size
        self.afford(0)

    def afford(self, size: int) -> None:
        """Refuse what is about to be made larger than it may be, before it is made."""
        if size > self.left:
            raise _Refused(f"larger than {self.limits.payload_bytes} bytes", LimitExceeded)

    def too_deep(self) -> _Refused:
        levels = self.limits.payload_depth
        return _Refused(f"nested deeper than {levels} levels", LimitExceeded)


def encode_payload(payload: Any, limits: Limits = DEFAULT_LIMITS, field: str = "payload") -> bytes:
    """The payload as msgpack bytes.

    Tuples and other sequences become lists, numpy scalars and arrays Python numbers and lists,
    bytes lists of ints. Raises ValidationError, naming the place, for keys that are not str, NaN
    and infinity, ints outside int64..uint64, lone surrogates and other types; LimitExceeded beyond
    `limits.payload_depth` levels or `limits.payload_bytes` bytes.
    """
    if not isinstance(payload, dict):
        fields.refuse(field, "a dict", payload)
    try:
        plain = _plain_dict(payload, limits.payload_depth, _Budget(limits))
    except _Refused as refused:
        raise refused.error(field) from None
    encoded = _encode(plain)
    if len(encoded) > limits.payload_bytes:
        raise LimitExceeded(
            f"{field}: {len(encoded)} bytes encoded, at most {limits.payload_bytes} are taken"
        )
    return encoded


def encode_plain(payload: dict[str, Any], brackets: int, limits: Limits, field: str) -> bytes:
    """As `encode_payload`, of what a JSON text of so many opening brackets was decoded to.

    Nothing in it is of another type, and if there are few brackets it cannot be nested deeply, so
    that it need not be walked.
    """
    if brackets <= limits.payload_depth:
        with suppress(OverflowError):  # an int that is too large: its place is to be named
            encoded = _encode(payload)
            if len(encoded) <= limits.payload_bytes:
                return encoded
    return encode_payload(payload, limits, field)


def decode_payload(data: bytes | memoryview) -> dict[str, Any]:
    """The dict of `encode_payload`. Raises CorruptData when the bytes are not one."""
    try:
        return _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptData(f"payload: {error}") from None


@lru_cache(maxsize=1024)
def decoder_of(keys: frozenset[str]) -> Callable[[Iterable[Encoded]], list[dict[str, Any]]]:
    """What decodes, of `encode_payload`'s bytes, only these keys of the outermost level; no bytes
    are an empty payload.

    What it gives has no other keys. It raises CorruptData when the bytes are no payload.
    """
    # a TypedDict, because msgspec passes over what it does not name without making objects of it
    make_type: Any = TypedDict  # mypy takes none whose keys it cannot read
    shape = make_type("shape", dict.fromkeys(keys, Any), total=False)
    decode_some = msgspec.msgpack.Decoder(shape).decode

    def decode(blobs: Iterable[Encoded]) -> list[dict[str, Any]]:
        try:
            return [decode_some(blob) if len(blob) else {} for blob in blobs]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise CorruptData(f"payload: {error}") from None

    return decode


def _plain_dict(value: dict[Any, Any], depth: int, budget: _Budget) -> dict[str, Any]:
    """The dict itself where nothing in it has to change, else a changed copy."""
    if depth <= 0:
        raise budget.too_deep()
    budget.spend(len(value) + _weight_of_keys(value))
    changed = None
    key: Any = None
    try:
        for key, item in value.items():
            new = _VALUES.get(type(item), _other)(item, depth, budget)
            if new is not item:
                changed = changed or dict(value)
                changed[key] = new
    except _Refused as refused:
        refused.steps.append(key)
        raise
    return value if changed is None else changed


def _weight_of_keys(value: dict[Any, Any]) -> int:
    """Joining looks at all keys at once: that each is a str, and what they weigh together."""
    try:
        joined = "".join(value)
    except TypeError:
        wrong = next(key for key in value if not isinstance(key, str))
        raise _Refused(f"expected str keys, got {fields.shown(wrong)}") from None
    if not joined.isascii():
        _check_surrogates(joined)
    return len(joined)


def _plain_list(value: Sequence[Any], depth: int, budget: _Budget) -> Sequence[Any]:
    """The list (or tuple) itself where nothing in it has to change, else a new list."""
    if depth <= 1:
        raise budget.too_deep()
    budget.spend(len(value))
    kinds = set(map(type, value))
    if kinds <= _BARE or (kinds == {float} and isfinite(sum(value))):
        return value
    new: list[Any] = []
    try:
        new.extend(_VALUES.get(type(item), _other)(item, depth - 1, budget) for item in value)
    except _Refused as refused:
        refused.steps.append(len(new))
        raise
    return value if all(map(is_, new, value)) else new


def _inner_dict(value: dict[Any, Any], depth: int, budget: _Budget) -> dict[str, Any]:
    return _plain_dict(value, depth - 1, budget)


def _same(value: Any, depth: int, budget: _Budget) -> Any:
    return value


def _plain_int(value: int, depth: int, budget: _Budget) -> int:
    if fields.INT64_MIN <= value <= fields.UINT64_MAX:
        return value
    raise _Refused(f"{fields.shown(value)} is outside int64 and uint64")


def _plain_float(value: float, depth: int, budget: _Budget) -> float:
    if isfinite(value):
        return value
    raise _Refused(f"{value} is not a finite number")


def _plain_str(value: str, depth: int, budget: _Budget) -> str:
    budget.left -= len(value)
    if budget.left < 0 or not value.isascii():
        budget.afford(0)
        _check_surrogates(value)
    return value


def _check_surrogates(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _Refused("a lone surrogate, which UTF-8 cannot hold") from None


def _plain_sequence(value: Sequence[Any], depth: int, budget: _Budget) -> Sequence[Any]:
    """Bytes, ranges and the like as lists."""
    budget.afford(len(value))
    return _plain_list(list(value), depth, budget)


def _plain_array(value: Any, depth: int, budget: _Budget) -> Any:
    """A numpy array or scalar as the Python values it stands for."""
    budget.afford(value.size)
    item = value.tolist()
    return _VALUES.get(type(item), _other)(item, depth, budget)


def _other(value: Any, depth: int, budget: _Budget) -> Any:
    """What is none of the exact types: subclasses of them, and what stands in for them."""
    for kind, convert in _STAND_INS:
        if isinstance(value, kind):
            return convert(value, depth, budget)
    raise _Refused(f"{fields.shown(value)} is no payload value")


_Convert = Callable[[Any, int, _Budget], Any]

_BARE = {bool, type(None)}

_VALUES: dict[type, _Convert] = {
    str: _plain_str,
    int: _plain_int,
    float: _plain_float,
    bool: _same,
    type(None): _same,
    list: _plain_list,
    tuple: _plain_list,
    dict: _inner_dict,
    bytes: _plain_sequence,
    bytearray: _plain_sequence,
}

_STAND_INS: tuple[tuple[type | tuple[type, ...], _Convert], ...] = (
    (str, lambda value, depth, budget: _plain_str(str.__str__(value), depth, budget)),
    (int, lambda value, depth, budget: _plain_int(int(value), depth, budget)),
    (float, lambda value, depth, budget: _plain_float(float(value), depth, budget)),
    ((np.ndarray, np.generic), _plain_array),
    ((Decimal, Fraction), lambda value, depth, budget: _plain_float(float(value), depth, budget)),
    (dict, lambda value, depth, budget: _inner_dict(dict(value), depth, budget)),
    (Sequence, _plain_sequence),
)
