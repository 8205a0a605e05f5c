"""How near some points are to each other: a sparse matrix of scores."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import force_setattr

from edge.model import fields
from edge.model.examples import same
from edge.model.filter import Filter
from edge.model.point_id import PointId
from edge.model.request import Timed, complete_timed


class SearchMatrixRequest(Timed, frozen=True):
    """Of `sample_size` points by chance, for each the `limit_per_sample` nearest among the others.

    Points are sampled that fulfil `filter` and have the vector `using` (None: the default one, "").
    The sample has 2 points at the least, the limit is 1 at the least. Ours, by keyword: `timeout`
    in seconds.
    """

    sample_size: int = 10
    limit_per_sample: int = 3
    filter: Filter | None = None
    using: str | None = None

    def __post_init__(self) -> None:
        size = fields.integer(self.sample_size, "sample_size", 2)
        limit = fields.integer(self.limit_per_sample, "limit_per_sample", 1)
        force_setattr(self, "sample_size", size)
        force_setattr(self, "limit_per_sample", limit)
        fields.instance_or_none(self.filter, "filter", Filter)
        fields.text_or_none(self.using, "using")
        complete_timed(self)


class SearchMatrixPair(Struct, frozen=True):
    """Two points, and the score of `b` for the vector of `a`."""

    a: PointId
    b: PointId
    score: float


class SearchMatrixPairs(Struct, frozen=True):
    """Each sampled point, in order of id, with its nearest, best first."""

    pairs: list[SearchMatrixPair]

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[SearchMatrixPair]:
        return iter(self.pairs)


class SearchMatrixOffsets(Struct, frozen=True, eq=False):
    """A sparse matrix: `scores[i]` stands in the row `offsets_row[i]` and the column
    `offsets_col[i]`; row and column j belong to the sampled point `ids[j]`, in order of id. Rows
    ascend, and in a row the best comes first."""

    offsets_row: npt.NDArray[np.int64]
    offsets_col: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    ids: tuple[PointId, ...]

    @property
    def pairs(self) -> SearchMatrixPairs:
        """The same as pairs of ids."""
        rows, columns = self.offsets_row.tolist(), self.offsets_col.tolist()
        return SearchMatrixPairs(
            [
                SearchMatrixPair(self.ids[row], self.ids[column], score)
                for row, column, score in zip(rows, columns, self.scores.tolist(), strict=True)
            ]
        )

    def __len__(self) -> int:
        return len(self.scores)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and all(
            same(getattr(self, name), getattr(other, name)) for name in self.__struct_fields__
        )
