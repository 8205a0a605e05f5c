"""Rows in plain lists: the least that a filter can be evaluated over."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import UnknownVector
from edge.filter.mask import matching
from edge.model.filter import Filter
from edge.model.point_id import PointId, encode_ids


class ListRows:
    """Payloads by offset; `decoded` lists the offsets whose payload was asked for."""

    def __init__(
        self,
        payloads: Sequence[dict[str, Any]],
        ids: Sequence[PointId] | None = None,
        vectors: Mapping[str, Collection[int]] | None = None,
        dead: Collection[int] = (),
    ) -> None:
        self.payloads = payloads
        self.watermark = len(payloads)
        self.ids = encode_ids(range(len(payloads)) if ids is None else ids)
        self.vectors = vectors or {}
        self.places = {
            tuple(row): offset for offset, row in enumerate(self.ids.tolist()) if offset not in dead
        }
        self.decoded: list[int] = []

    def payload(self, offset: int) -> dict[str, Any]:
        self.decoded.append(offset)
        return self.payloads[offset]

    def has_vector(self, name: str) -> NDArray[np.bool_]:
        if name not in self.vectors:
            raise UnknownVector(name)
        return np.isin(np.arange(self.watermark), list(self.vectors[name]))

    def find(self, ids: NDArray[np.uint64]) -> NDArray[np.int64]:
        return np.array([self.places.get(tuple(row), -1) for row in ids.tolist()], np.int64)

    def all(self) -> NDArray[np.uint32]:
        return np.arange(self.watermark, dtype=np.uint32)

    def matching(self, filter: Filter) -> list[int]:
        return matching(filter, self, self.all()).tolist()
