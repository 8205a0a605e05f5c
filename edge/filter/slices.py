"""Slices of the id space: which part of `total` an id falls into, equal to Qdrant's.

The hash is SipHash-2-4 with key zero over the id's bytes: 8, little-endian, for an int; the 16 of
RFC 9562 for a UUID. It is a promise to whoever keeps slices apart by it, so it never changes.
Source: J.-P. Aumasson and D. J. Bernstein, "SipHash: a fast short-input PRF" (2012).
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Words: TypeAlias = NDArray[np.uint64]
_State: TypeAlias = tuple[Words, Words, Words, Words]

# "somepseudorandomlygeneratedbytes", the start for key zero.
_START: Final = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
_LAST_OF_INT: Final = 8 << 56
_LAST_OF_UUID: Final = 16 << 56
_FINISH: Final = np.uint64(0xFF)


def slices(ids: Words, total: int) -> Words:
    """uint64[n], 0 to total - 1: the slice that each of the id rows uint64[n, 3] falls into."""
    uuids = ids[:, 0] == 1
    found = np.empty(len(ids), np.uint64)
    found[~uuids] = _hashes([ids[~uuids, 2]], _LAST_OF_INT)
    found[uuids] = _hashes([ids[uuids, 1].byteswap(), ids[uuids, 2].byteswap()], _LAST_OF_UUID)
    return found % np.uint64(total)


def _hashes(messages: list[Words], last: int) -> Words:
    """SipHash-2-4 of messages given word by word; `last` holds their length."""
    v0, v1, v2, v3 = (np.full_like(messages[0], word) for word in _START)
    for word in (*messages, np.full_like(messages[0], last)):
        v0, v1, v2, v3 = _rounds(2, (v0, v1, v2, v3 ^ word))
        v0 ^= word
    v0, v1, v2, v3 = _rounds(4, (v0, v1, v2 ^ _FINISH, v3))
    return v0 ^ v1 ^ v2 ^ v3


def _rounds(count: int, state: _State) -> _State:
    for _ in range(count):
        state = _round(state)
    return state


def _round(state: _State) -> _State:
    v0, v1, v2, v3 = state
    v0, v2 = v0 + v1, v2 + v3
    v1, v3 = _rotated(v1, 13) ^ v0, _rotated(v3, 16) ^ v2
    v0, v2 = _rotated(v0, 32) + v3, v2 + v1
    v1, v3 = _rotated(v1, 17) ^ v2, _rotated(v3, 21) ^ v0
    return v0, v1, _rotated(v2, 32), v3


def _rotated(words: Words, bits: int) -> Words:
    return (words << np.uint64(bits)) | (words >> np.uint64(64 - bits))
