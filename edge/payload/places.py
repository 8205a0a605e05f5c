"""Which rows have which places on the Earth: entries in the order of rows, or sorted by latitude.

Invariant: longitudes are -180 to 180, latitudes -90 to 90 degrees, and nothing here changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edge.payload.growing import GrowingArray
from edge.payload.keyed_rows import Bits, Offsets
from edge.payload.names import are_below
from edge_kernels import bits

Degrees: TypeAlias = npt.NDArray[np.float64]
Arrays: TypeAlias = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Places:
    """Parallel arrays, one entry a place; `sorted` tells whether latitudes ascend."""

    watermark: int
    rows: Offsets
    lons: Degrees
    lats: Degrees
    sorted: bool

    def all(self) -> Bits:
        """The rows that have any place."""
        return bits.from_offsets(self.watermark, self.rows)

    def within(self, south: float, north: float) -> tuple[Offsets, Degrees, Degrees]:
        """(rows, longitudes, latitudes) of the places between two latitudes, both included."""
        if self.sorted:
            first = int(np.searchsorted(self.lats, south, "left"))
            last = int(np.searchsorted(self.lats, north, "right"))
            band = slice(first, max(first, last))
            return self.rows[band], self.lons[band], self.lats[band]
        chosen = (self.lats >= south) & (self.lats <= north)
        return self.rows[chosen], self.lons[chosen], self.lats[chosen]


class GrowingPlaces:
    """Places of rows, in the order of rows."""

    def __init__(self) -> None:
        self._rows = GrowingArray(np.uint32)
        self._lons = GrowingArray(np.float64)
        self._lats = GrowingArray(np.float64)

    def extend(self, rows: list[int], places: list[tuple[float, float]]) -> None:
        """Add a place (longitude, latitude) for each of the ascending rows."""
        self._lons.extend([lon for lon, _ in places])
        self._lats.extend([lat for _, lat in places])
        self._rows.extend(rows)

    def cut(self, covered: int, watermark: int) -> Places:
        """See Growing."""
        rows = self._rows.all()
        count = int(np.searchsorted(rows, covered))
        lons, lats = self._lons.first(count), self._lats.first(count)
        return Places(watermark, rows[:count], lons, lats, sorted=False)

    def arrays(self, rows: int) -> Arrays:
        """What is written to a file."""
        found = self.cut(rows, rows)
        order = np.argsort(found.lats, kind="stable")
        return {"rows": found.rows[order], "lons": found.lons[order], "lats": found.lats[order]}


def built_places(arrays: Arrays, rows: int) -> Places:
    """The places of `GrowingPlaces.arrays`. Raises ValueError where they cannot be such."""
    owners, lons, lats = arrays["rows"], arrays["lons"], arrays["lats"]
    if not len(owners) == len(lons) == len(lats) or not are_below(owners, rows):
        raise ValueError("places of rows that are not there")
    return Places(rows, owners, lons, lats, sorted=True)  # type: ignore[arg-type]
