"""Lists of links with copies of rows beside them: what one hop of a walk reads lies in one place.

A list is its links (int32), then the code of each neighbour in the order of the links, and on level
0 the node's own row; each part at a multiple of 64 bytes, zeros between. So a walk over codes reads
one list a hop, and has the rows of all that it went through for the final ranking.

Invariants:
- A list of level 0 that fits into a page does not lie across two, if the first begins with a page.
- Copies are made once, of rows that never change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edge_kernels.jit import (
    address_of,
    address_of_any,
    call,
    door,
    load_i32,
    load_i64,
    move_bytes,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

PAGE = 4096
_ALIGNMENT = 64

LINKS, CAPACITY, FIRST, UNTIL, OUT, PITCH = range(0, 48, 8)
CODES, CODE_BYTES, CODES_AT, ROWS, ROW_BYTES, ROW_AT = range(48, 96, 8)


class Inline(NamedTuple):
    """How lists are laid out: bytes of a code, and of a row."""

    code_bytes: int
    row_bytes: int

    def codes_at(self, capacity: int) -> int:
        """Where in a list of so many links the codes begin."""
        return _aligned(4 * capacity)

    def row_at(self, m0: int) -> int:
        """Where in a list of level 0 the node's own row begins."""
        return self.pitch(m0)

    def pitch(self, m: int) -> int:
        """Bytes of a list above level 0."""
        return self.codes_at(m) + _aligned(m * self.code_bytes)

    def pitch0(self, m0: int) -> int:
        """Bytes of a list of level 0."""
        size = self.row_at(m0) + _aligned(self.row_bytes)
        return size if size > PAGE else PAGE // (PAGE // size) // _ALIGNMENT * _ALIGNMENT


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def lists_beside(
    links: Array, first: int, until: int, codes: Array, rows: Array | None
) -> NDArray[np.uint8]:
    """uint8[until - first, pitch]: the lists first..until-1 of int32[lists, capacity] `links`, with
    the codes uint8[n, code_bytes] of their neighbours; with `rows`, a matrix of n rows, those of
    level 0, whose node is their number. Without the GIL. ValueError for what does not fit.
    """
    capacity = links.shape[1]
    inline = Inline(codes.shape[1], 0 if rows is None else rows.strides[0])
    if not 0 <= first <= until <= len(links) or (rows is not None and len(rows) < until):
        raise ValueError(f"lists {first} to {until} of {len(links)}")
    if links.size and int(links[first:until].max(initial=-1)) >= len(codes):
        raise ValueError("a link without a code")
    pitch = inline.pitch(capacity) if rows is None else inline.pitch0(capacity)
    out = np.zeros((until - first, pitch), np.uint8)
    linked = address_of(links), capacity, first, until, address_of(out), pitch
    coded = address_of_any(codes), inline.code_bytes, inline.codes_at(capacity)
    own = (0, 0, 0)
    if rows is not None:
        own = address_of_any(rows), inline.row_bytes, inline.row_at(capacity)
    call(lay_out_door, *linked, *coded, *own)
    return out


@door
def lay_out_door(block: int) -> int:
    """Fill the lists FIRST..UNTIL-1 of OUT, which is zeros. Returns UNTIL."""
    capacity, code_bytes = load_i64(block + CAPACITY), load_i64(block + CODE_BYTES)
    codes, rows, row_bytes = (
        load_i64(block + CODES),
        load_i64(block + ROWS),
        load_i64(block + ROW_BYTES),
    )
    out = load_i64(block + OUT)
    for number in range(load_i64(block + FIRST), load_i64(block + UNTIL)):
        links = load_i64(block + LINKS) + 4 * capacity * number
        move_bytes(out, links, 4 * capacity)
        beside = out + load_i64(block + CODES_AT)
        for at in range(capacity):
            neighbour = load_i32(links + 4 * at)
            if neighbour < 0:
                break
            move_bytes(beside + code_bytes * at, codes + code_bytes * neighbour, code_bytes)
        if rows != 0:
            move_bytes(out + load_i64(block + ROW_AT), rows + row_bytes * number, row_bytes)
        out += load_i64(block + PITCH)
    return load_i64(block + UNTIL)
