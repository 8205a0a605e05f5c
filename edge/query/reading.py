"""What payloads hold at a path, row by row, where no index tells.

Invariant: of a payload only what lies at the path's outermost key is decoded, once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from edge.model.json_path import parse, values
from edge.payload.field_index import flattened, top_keys
from edge.query.deadline import Deadline
from edge.segment.view import SegmentView
from edge.vectors.block import Offsets

ROWS_A_BLOCK: Final = 512
"""Payloads that are read between two looks at the deadline."""


def elements(
    view: SegmentView, offsets: Offsets, key: str, deadline: Deadline
) -> Iterator[tuple[int, list[Any]]]:
    """Yield each row, and the values at the path `key` with the elements of arrays one by one."""
    path = parse(key)
    for row, document in documents(view, offsets, key, deadline):
        yield row, flattened(values(document, path))


def documents(
    view: SegmentView, offsets: Offsets, key: str, deadline: Deadline
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each row, and of its payload what lies at the outermost key of the path `key`."""
    read = view.reader(top_keys([key]))
    for first in range(0, len(offsets), ROWS_A_BLOCK):
        deadline.check()
        rows = offsets[first : first + ROWS_A_BLOCK].tolist()
        yield from zip(rows, read(rows), strict=True)
