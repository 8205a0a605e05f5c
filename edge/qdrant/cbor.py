"""CBOR (RFC 8949) decoded to plain values: what Qdrant's log is written in.

Invariants: any bytes give a value or a ValueError; nesting is bounded, and what is made is never
more than a small multiple of the bytes that it is made of. Tags are passed over.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct as Format
from typing import Any, Final

import numpy as np

from edge_kernels import cbor_floats

MOST_LEVELS: Final = 128
"""As many as Qdrant reads."""

_BREAK: Final = object()
_INDEFINITE = 31
_SIZES = {24: Format(">B"), 25: Format(">H"), 26: Format(">I"), 27: Format(">Q")}
_FLOATS = {25: Format(">e"), 26: Format(">f"), 27: Format(">d")}
_ARRAYS: dict[int, np.dtype[Any]] = {
    cbor_floats.HALF: np.dtype(">f2"),
    cbor_floats.SINGLE: np.dtype(">f4"),
    cbor_floats.DOUBLE: np.dtype(">f8"),
}
_SIMPLE: dict[int, Any] = {20: False, 21: True, 22: None, 23: None}


def decode(data: bytes | memoryview) -> Any:
    """Return the value of exactly these bytes: None, bool, int, float, str, bytes, list or dict.

    ValueError where they are none.
    """
    reader = _Reader(memoryview(data))
    try:
        found = reader.value(MOST_LEVELS)
    except RecursionError:  # of a caller that is deep already
        raise ValueError("CBOR: nested too deeply") from None
    if found is _BREAK or reader.at != len(data):
        raise ValueError(f"CBOR: not one value of {len(data)} bytes")
    return found


class _Reader:
    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._bytes_of = np.frombuffer(data, np.uint8)
        self.at = 0

    def value(self, levels: int) -> Any:
        if not levels:
            raise ValueError(f"CBOR: nested deeper than {MOST_LEVELS} levels")
        first = self._bytes(1)[0]
        return _KINDS[first >> 5](self, first & 31, levels)

    def _bytes(self, size: int) -> memoryview:
        end = self.at + size
        if end > len(self._data):
            raise ValueError(f"CBOR: cut off at byte {self.at}")
        found = self._data[self.at : end]
        self.at = end
        return found

    def _number(self, low: int) -> int:
        """The argument of an item: in its first byte, or in the bytes after it."""
        if low < 24:
            return low
        form = _SIZES.get(low)
        if form is None:
            raise ValueError(f"CBOR: an argument of kind {low} at byte {self.at}")
        found: int = form.unpack(self._bytes(form.size))[0]
        return found

    def unsigned(self, low: int, levels: int) -> int:
        return self._number(low)

    def negative(self, low: int, levels: int) -> int:
        return -1 - self._number(low)

    def binary(self, low: int, levels: int) -> bytes:
        if low != _INDEFINITE:
            return bytes(self._bytes(self._number(low)))
        parts = self._until_break(levels)
        if not all(isinstance(part, bytes) for part in parts):
            raise ValueError("CBOR: bytes of other parts")
        return b"".join(parts)

    def text(self, low: int, levels: int) -> str:
        if low != _INDEFINITE:
            return str(self._bytes(self._number(low)), "utf-8")
        parts = self._until_break(levels)
        if not all(isinstance(part, str) for part in parts):
            raise ValueError("CBOR: a text of other parts")
        return "".join(parts)

    def array(self, low: int, levels: int) -> list[Any]:
        if low == _INDEFINITE:
            return self._until_break(levels)
        count = self._number(low)
        floats = self._floats(count)
        if floats is not None:
            return floats
        # every element takes a byte, or there is none and the reading ends
        return [self._inner(levels) for _ in range(count)]

    def _floats(self, count: int) -> list[float] | None:
        """The elements where all are floats, as in vectors: all at once; None elsewhere."""
        found = cbor_floats.places(self._bytes_of, self.at, count) if count else None
        if found is None:
            return None
        places, self.at = found
        kinds = self._bytes_of[places]
        numbers = np.empty(count)
        for kind, dtype in _ARRAYS.items():
            chosen = kinds == kind
            inside = places[chosen][:, None] + np.arange(1, 1 + dtype.itemsize)
            numbers[chosen] = self._bytes_of[inside].view(dtype)[:, 0]
        listed: list[float] = numbers.tolist()
        return listed

    def map(self, low: int, levels: int) -> dict[Any, Any]:
        if low == _INDEFINITE:
            flat = self._until_break(levels)
            if len(flat) % 2:
                raise ValueError("CBOR: a key without a value")
        else:
            flat = []
            for _ in range(self._number(low)):
                flat += (self._inner(levels), self._inner(levels))
        try:
            return dict(zip(flat[::2], flat[1::2], strict=True))
        except TypeError:
            raise ValueError("CBOR: a key that is a list or a map") from None

    def tagged(self, low: int, levels: int) -> Any:
        self._number(low)
        return self._inner(levels)

    def simple(self, low: int, levels: int) -> Any:
        if low == _INDEFINITE:
            return _BREAK
        form = _FLOATS.get(low)
        if form is not None:
            return form.unpack(self._bytes(form.size))[0]
        number = self._number(low)
        if number not in _SIMPLE:
            raise ValueError(f"CBOR: simple value {number} at byte {self.at}")
        return _SIMPLE[number]

    def _inner(self, levels: int) -> Any:
        found = self.value(levels - 1)
        if found is _BREAK:
            raise ValueError(f"CBOR: an end at byte {self.at} of what has a length")
        return found

    def _until_break(self, levels: int) -> list[Any]:
        found = []
        while (item := self.value(levels - 1)) is not _BREAK:
            found.append(item)
        return found


_KINDS: tuple[Callable[[_Reader, int, int], Any], ...] = (
    _Reader.unsigned,
    _Reader.negative,
    _Reader.binary,
    _Reader.text,
    _Reader.array,
    _Reader.map,
    _Reader.tagged,
    _Reader.simple,
)
