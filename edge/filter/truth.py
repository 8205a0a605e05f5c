"""Three-valued logic on sets of rows: which rows match for sure, and which may.

A set of rows is bits, or True for all rows, or False for none. Bits above the watermark mean
nothing; whoever asks in the end takes only rows that live.

Invariant: no operation changes a set that it is given.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Bits: TypeAlias = NDArray[np.uint64]
Truth: TypeAlias = Bits | bool


class Known(NamedTuple):
    """What is known without payloads: rows that match for sure, and all that may match."""

    sure: Truth
    maybe: Truth


UNKNOWN = Known(False, True)
NOTHING = Known(False, False)
EVERYTHING = Known(True, True)


def exactly(rows: Truth) -> Known:
    """These rows and no others."""
    return Known(rows, rows)


def both(a: Truth, b: Truth) -> Truth:
    """What is in both sets."""
    if isinstance(a, bool):
        return b if a else False
    if isinstance(b, bool):
        return a if b else False
    return a & b


def either(a: Truth, b: Truth) -> Truth:
    """What is in one set or the other."""
    if isinstance(a, bool):
        return True if a else b
    if isinstance(b, bool):
        return True if b else a
    return a | b


def no(a: Truth) -> Truth:
    """What is not in the set."""
    return (not a) if isinstance(a, bool) else ~a


def without(a: Truth, b: Truth) -> Truth:
    """What is in `a` and not in `b`."""
    return both(a, no(b))


def all_of(parts: Iterable[Known]) -> Known:
    """Rows that match every part."""
    sure: Truth = True
    maybe: Truth = True
    for part in parts:
        exact = part.sure is part.maybe and sure is maybe
        sure = both(sure, part.sure)
        maybe = sure if exact else both(maybe, part.maybe)
    return Known(sure, maybe)


def any_of(parts: Iterable[Known]) -> Known:
    """Rows that match some part."""
    sure: Truth = False
    maybe: Truth = False
    for part in parts:
        exact = part.sure is part.maybe and sure is maybe
        sure = either(sure, part.sure)
        maybe = sure if exact else either(maybe, part.maybe)
    return Known(sure, maybe)


def not_of(part: Known) -> Known:
    """Rows that do not match the part."""
    sure = no(part.maybe)
    return Known(sure, sure if part.sure is part.maybe else no(part.sure))


def at_least(count: int, parts: list[Known], watermark: int) -> Known:
    """Rows that match `count` of the parts or more."""
    if count <= 0:
        return EVERYTHING
    if count > len(parts):
        return NOTHING
    if count == 1:
        return any_of(parts)
    if count == len(parts):
        return all_of(parts)
    sure = _counted([part.sure for part in parts], count, watermark)
    return Known(sure, _counted([part.maybe for part in parts], count, watermark))


def _counted(sets: list[Truth], count: int, watermark: int) -> Bits:
    words = (watermark + 63) >> 6
    times = np.zeros(64 * words, np.uint32)
    for rows in sets:
        times += _unpacked(rows, words)
    return np.packbits(times >= count, bitorder="little").view(np.uint64)


def _unpacked(rows: Truth, words: int) -> NDArray[np.uint8]:
    if isinstance(rows, bool):
        return np.full(64 * words, rows, np.uint8)
    return np.unpackbits(rows[:words].view(np.uint8), bitorder="little")
