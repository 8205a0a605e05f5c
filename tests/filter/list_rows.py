"""Rows in plain lists: the least that a filter can be evaluated over."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import UnknownVector
from edge.filter.mask import matching
from edge.model.filter import Filter
from edge.model.point_id import PointId, encode_ids
from edge.model.schema import IndexedField
from edge.payload.field_index import FieldIndex
from edge_kernels import bits


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

    def reader(self, keys: frozenset[str]) -> Callable[[Sequence[int]], list[dict[str, Any]]]:
        return lambda offsets: [self._decoded(offset, keys) for offset in offsets]

    def _decoded(self, offset: int, keys: frozenset[str]) -> dict[str, Any]:
        self.decoded.append(offset)
        payload = self.payloads[offset]
        return {key: payload[key] for key in keys & payload.keys()}

    def field(self, key: str) -> IndexedField | None:
        return None

    def index(self, key: str) -> FieldIndex | None:
        return None

    def has_vector(self, name: str) -> NDArray[np.uint64]:
        if name not in self.vectors:
            raise UnknownVector(name)
        offsets = np.array(sorted(self.vectors[name]), np.uint32)
        return bits.from_offsets(self.watermark, offsets)

    def find(self, ids: NDArray[np.uint64]) -> NDArray[np.int64]:
        return np.array([self.places.get(tuple(row), -1) for row in ids.tolist()], np.int64)

    def all(self) -> NDArray[np.uint32]:
        return np.arange(self.watermark, dtype=np.uint32)

    def matching(self, filter: Filter) -> list[int]:
        return matching(filter, self, self.all()).tolist()
