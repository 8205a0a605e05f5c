"""Sparse vectors of a segment, as our columns store them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.model.vector_params import EdgeSparseVectorParams
from edge.qdrant import layout
from edge.qdrant.blobs import Blobs
from edge.qdrant.chunks import Flags
from edge.qdrant.layout import SparseData
from edge.qdrant.source import Folder
from edge.vectors.block import Stored, starts_of
from edge.vectors.column import stored
from edge_kernels.packed_sparse import unpack

Rows = NDArray[np.int64]


class Sparse:
    """One sparse vector a row."""

    def __init__(self, params: EdgeSparseVectorParams, folder: Folder) -> None:
        self._params = params
        self._folder = folder
        self._blobs = Blobs(folder.inside(layout.STORE))
        self._lacks = Flags(folder.inside(layout.DELETED)).at

    def present(self, rows: Rows) -> NDArray[np.bool_]:
        """See Vectors."""
        return ~self._lacks(rows) & self._blobs.present(rows)

    def weights(self, rows: Rows) -> NDArray[np.int64]:
        """See Vectors. A difference of 8 bits becomes an index of 32, at the most."""
        return 2 * self._blobs.lengths(rows)

    def take(self, rows: Rows) -> Stored:
        """See Vectors."""
        blobs = [blob for blob in self._blobs.values(rows) if blob is not None]
        ends = starts_of(np.array([len(blob) for blob in blobs], np.int64))
        try:
            found = unpack(np.concatenate([np.empty(0, np.uint8), *blobs]), ends)
        except ValueError as error:
            raise self._folder.corrupt(layout.STORE, str(error)) from None
        self._check(rows, found.starts, found.indices)
        lengths = np.diff(found.starts).astype(np.uint32)
        return stored(self._params, found.values, lengths, found.indices)

    def _check(self, rows: Rows, starts: Rows, indices: NDArray[np.uint32]) -> None:
        """Refuse a vector that has an index twice: ours has no such."""
        again = np.flatnonzero(indices[1:] == indices[:-1]) + 1
        again = again[~np.isin(again, starts)]
        if len(again):
            row = rows[np.searchsorted(starts, again[0], side="right") - 1]
            raise self._folder.unread(
                layout.STORE, f"row {row}, where index {indices[again[0]]} comes twice,"
            )


def open_sparse(data: SparseData, params: EdgeSparseVectorParams, folder: Folder) -> Sparse | None:
    """Return the vectors of a storage folder; None where no point of the segment has one.

    ValidationError for a storage that is not read.
    """
    if data.storage_type not in layout.SPARSE_STORAGES:
        raise folder.unread(layout.SEGMENT_STATE, f"storage type {data.storage_type!r}")
    if data.storage_type == layout.EMPTY.lower() or not folder.is_there():
        return None
    return Sparse(params, folder)
