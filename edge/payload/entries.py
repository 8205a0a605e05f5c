"""What an index holds of a field's values, by kind: how it grows, is written, and is read again.

Invariants
- Entries are added in the order of rows, by one writer; what a cut shows never changes.
- `arrays` and `built` are each other's inverse; what `built` takes may come from a file and is
  checked before it is used, so that no row is out of range.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from edge.model import instant
from edge.model.point_id import uuid_bytes
from edge.model.schema import IndexedField, PayloadSchemaType
from edge.payload.growing import GrowingArray
from edge.payload.keyed_rows import BuiltNumbers, NumberEntries, grouped
from edge.payload.names import Arrays, GrowingNames, built_names, check_postings
from edge.payload.places import GrowingPlaces, built_places
from edge.payload.texts import GrowingTexts, built_texts

INT64: Final = range(-(2**63), 2**63)


class Growing(Protocol):
    """Entries that grow."""

    def extend(self, rows: list[int], keys: list[Any]) -> None:
        """Add a key for each of the rows, which ascend and may repeat."""
        ...

    def cut(self, covered: int, watermark: int) -> Any:
        """What the rows below `covered` have, for readers of `watermark` rows."""
        ...

    def arrays(self, rows: int) -> Arrays:
        """What is written to a file; `rows` is how many there are."""
        ...


class Kind(NamedTuple):
    """One row of KINDS.

    `key` gives what an element of a payload is in the index, None where it has no place there;
    `growing` starts the entries of a field, `built` reads them from arrays and a number of rows.
    """

    key: Callable[[Any], Any]
    growing: Callable[[IndexedField], Growing]
    built: Callable[[Arrays, int], Any]


# -- keys


def _name(value: Any) -> bytes | None:
    return value.encode() if type(value) is str else None


def _integer(value: Any) -> int | None:
    return value if type(value) is int and value in INT64 else None


def _float(value: Any) -> float | None:
    if type(value) is float:
        return value
    if type(value) is not int:
        return None
    found = float(value)
    return found if found == value else None


def _bool(value: Any) -> int | None:
    return int(value) if type(value) is bool else None


def _moment(value: Any) -> int | None:
    """Moments of years beyond 146,000 or so are read, but no int64 holds them."""
    found = instant.parse(value) if type(value) is str else None
    return found if found is not None and found in INT64 else None


def _uuid(value: Any) -> bytes | None:
    return uuid_bytes(value) if type(value) is str else None


def _place(value: Any) -> tuple[float, float] | None:
    if type(value) is not dict:
        return None
    lon, lat = _float(value.get("lon")), _float(value.get("lat"))
    if lon is None or lat is None or not (-180 <= lon <= 180 and -90 <= lat <= 90):
        return None
    return lon, lat


def _text(value: Any) -> str | None:
    return value if type(value) is str else None


# -- numbers


class GrowingNumbers:
    """Numbers of rows, in the order of rows."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self._rows = GrowingArray(np.uint32)
        self._values = GrowingArray(dtype)

    def extend(self, rows: list[int], keys: list[float]) -> None:
        """See Growing."""
        self._values.extend(keys)
        self._rows.extend(rows)

    def cut(self, covered: int, watermark: int) -> NumberEntries:
        """See Growing."""
        rows = self._rows.all()
        count = int(np.searchsorted(rows, covered))
        return NumberEntries(watermark, rows[:count], self._values.first(count))

    def arrays(self, rows: int) -> Arrays:
        """See Growing."""
        found = self.cut(rows, rows)
        keys, places = np.unique(found.values, return_inverse=True)
        by_key = grouped(found.rows, places, len(keys))
        return {"keys": keys, "starts": by_key.starts, "offsets": by_key.offsets}


def _built_numbers(arrays: Arrays, rows: int) -> BuiltNumbers:
    keys = arrays["keys"]
    if (keys[1:] <= keys[:-1]).any():
        raise ValueError("keys out of order")
    check_postings(arrays, len(keys), rows)
    return BuiltNumbers(rows, keys, arrays["starts"], arrays["offsets"])


# -- the table


def _numbers(dtype: npt.DTypeLike) -> Callable[[IndexedField], Growing]:
    return lambda field: GrowingNumbers(dtype)


KINDS: Final[dict[PayloadSchemaType, Kind]] = {
    PayloadSchemaType.Keyword: Kind(_name, lambda field: GrowingNames(), built_names),
    PayloadSchemaType.Uuid: Kind(_uuid, lambda field: GrowingNames(), built_names),
    PayloadSchemaType.Integer: Kind(_integer, _numbers(np.int64), _built_numbers),
    PayloadSchemaType.Float: Kind(_float, _numbers(np.float64), _built_numbers),
    PayloadSchemaType.Bool: Kind(_bool, _numbers(np.int64), _built_numbers),
    PayloadSchemaType.Datetime: Kind(_moment, _numbers(np.int64), _built_numbers),
    PayloadSchemaType.Geo: Kind(_place, lambda field: GrowingPlaces(), built_places),
    PayloadSchemaType.Text: Kind(_text, GrowingTexts, built_texts),
}
"""Every kind of index, and what it holds."""
