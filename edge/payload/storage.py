"""Payloads by offset, as msgpack: a list that grows in the tail, a checked file when built.

Invariants
- What lies below a watermark never changes.
- An empty payload is stored as no bytes at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol


class PayloadColumn(Protocol):
    """What a reader may ask of a payload column."""

    def get(self, offset: int) -> bytes | memoryview:
        """Return the msgpack bytes of the payload at `offset`; empty where there is none."""
        ...

    def many(self, offsets: Sequence[int]) -> Sequence[bytes | memoryview]:
        """Return what `get` returns for each of the offsets."""
        ...


class GrowingPayloads:
    """The payloads of the tail; bytes objects, which the garbage collector does not walk."""

    def __init__(self) -> None:
        self._blobs: list[bytes] = []

    def append(self, blobs: Iterable[bytes | None]) -> None:
        """Add one payload for each next offset."""
        self._blobs.extend([blob or b"" for blob in blobs])

    def get(self, offset: int) -> bytes:
        """Return the msgpack bytes of the payload at `offset`; empty where there is none."""
        return self._blobs[offset]

    def many(self, offsets: Sequence[int]) -> list[bytes]:
        """Return what `get` returns for each of the offsets."""
        blobs = self._blobs
        return [blobs[offset] for offset in offsets]
