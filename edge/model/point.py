"""Points: what a caller gives, what a result holds, and the columns that the engine works on.

Invariants: vectors are read-only float32 arrays that share no memory with the caller's; a
PointBatch has passed every check (ids parsed, names known, dimensions right, values finite,
payloads encoded), all of its points or none; ids may repeat in it, the later one wins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import force_setattr

from edge.model import fields
from edge.model.payload import decode_payload, encode_payload
from edge.model.point_id import IdRows, PointId, PointIdLike, parse_id
from edge.model.vector import (
    Vectors,
    VectorsLike,
    as_vectors,
    same_vectors,
    shown_vectors,
)

ResultVector: TypeAlias = list[float] | dict[str, list[float]]
"""A vector as results hold it: of the default name, or by name."""


class Point(Struct, frozen=True, eq=False):
    """A point to store: its id, its vector (or vectors by name), its payload.

    A lone vector is the one named "". The payload is kept as given and checked by the operation.
    Raises ValidationError naming the argument.
    """

    id: PointId
    vector: Vectors
    payload: dict[str, Any] | None = None

    if TYPE_CHECKING:

        def __init__(
            self, id: PointIdLike, vector: VectorsLike, payload: dict[str, Any] | None = None
        ) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "id", parse_id(self.id))
        force_setattr(self, "vector", as_vectors(self.vector))
        if self.payload is not None and not isinstance(self.payload, dict):
            fields.refuse("payload", "a dict", self.payload)

    def __eq__(self, other: object) -> bool:
        return (
            type(other) is Point
            and self.id == other.id
            and same_vectors(self.vector, other.vector)
            and same_payloads(self.payload, other.payload)
        )

    def __repr__(self) -> str:
        return f"Point(id={self.id!r}, vector={shown_vectors(self.vector)}, payload={self.payload})"


class PointVectors(Struct, frozen=True, eq=False):
    """New vectors for a point that is already stored; the others it has stay.

    Raises ValidationError naming the argument.
    """

    id: PointId
    vector: Vectors

    if TYPE_CHECKING:

        def __init__(self, id: PointIdLike, vector: VectorsLike) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "id", parse_id(self.id))
        force_setattr(self, "vector", as_vectors(self.vector))

    def __eq__(self, other: object) -> bool:
        return (
            type(other) is PointVectors
            and self.id == other.id
            and same_vectors(self.vector, other.vector)
        )

    def __repr__(self) -> str:
        return f"PointVectors(id={self.id!r}, vector={shown_vectors(self.vector)})"


class Record(Struct, frozen=True):
    """A stored point as retrieve and scroll give it; what was not asked for is None."""

    id: PointId
    payload: dict[str, Any] | None = None
    vector: ResultVector | None = None
    order_value: int | float | None = None

    def __repr__(self) -> str:
        return (
            f"Record(id={self.id!r}, payload={self.payload}, "
            f"vector={shown_vectors(self.vector)}, order_value={self.order_value})"
        )


class ScoredPoint(Struct, frozen=True):
    """A stored point as queries give it, with its score; what was not asked for is None.

    `version` is the sequence number of the operation that wrote the point last.
    """

    id: PointId
    version: int
    score: float
    payload: dict[str, Any] | None = None
    vector: ResultVector | None = None
    order_value: int | float | None = None

    def __repr__(self) -> str:
        return (
            f"ScoredPoint(id={self.id!r}, version={self.version}, score={self.score:.6g}, "
            f"payload={self.payload}, vector={shown_vectors(self.vector)}, "
            f"order_value={self.order_value})"
        )


def same_payloads(first: Any, second: Any) -> bool:
    """Whether two payloads are equal, also where numpy arrays stand in them."""
    try:
        return bool(first == second)
    except ValueError:
        # An array's == is no single truth: compare what both would be read back as.
        return decode_payload(encode_payload(first)) == decode_payload(encode_payload(second))


class VectorColumn(Struct, frozen=True, eq=False):
    """One named vector of a batch: `data` float32[m, dim], for the points `rows` uint32[m].

    `rows` ascends; None means that every point of the batch has the vector, in order.
    """

    rows: npt.NDArray[np.uint32] | None
    data: npt.NDArray[np.float32]

    def __eq__(self, other: object) -> bool:
        if type(other) is not VectorColumn or (self.rows is None) != (other.rows is None):
            return False
        return np.array_equal(self.data, other.data) and (
            self.rows is None or np.array_equal(self.rows, other.rows)  # type: ignore[arg-type]
        )

    def __repr__(self) -> str:
        rows = "None" if self.rows is None else f"[{len(self.rows)}]"
        return f"VectorColumn(rows={rows}, data=float32{list(self.data.shape)})"


class PointBatch(Struct, frozen=True, eq=False):
    """Checked points as columns: `ids` uint64[n, 3], `vectors` by name, `payloads` as msgpack.

    `payloads` has one entry a point (None: no payload), or is empty where the operation carries
    none at all (update_vectors). Only the names that some point has are in `vectors`.
    """

    ids: IdRows
    vectors: dict[str, VectorColumn]
    payloads: list[bytes | None]

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        return (
            type(other) is PointBatch
            and np.array_equal(self.ids, other.ids)
            and self.vectors == other.vectors
            and self.payloads == other.payloads
        )

    def __repr__(self) -> str:
        return f"PointBatch({len(self.ids)} points, vectors={self.vectors})"

    @property
    def nbytes(self) -> int:
        """Bytes of the vectors and payloads together."""
        return sum(column.data.nbytes for column in self.vectors.values()) + sum(
            len(blob) for blob in self.payloads if blob is not None
        )
