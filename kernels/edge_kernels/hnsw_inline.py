"""Lists of links with copies of rows beside them: what one hop of a walk reads lies in one place.

A list of level 0 is its links (int32, as many as there may be), then the node's own row, then the
codes of its neighbours in the order of the links, as many as there are; a list above level 0 has no
row, and room for all codes. Each part begins at a multiple of UNIT bytes, zeros between. So a walk
over codes reads one list a hop, and has the rows of all that it went through for the final ranking.

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
    inner,
    load_i32,
    load_i64,
    load_u32,
    move_bytes,
    store_i32,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

PAGE = 4096
UNIT = 64


class Inline(NamedTuple):
    """How lists are laid out: bytes of a code, and of a row."""

    code_bytes: int
    row_bytes: int

    def row_at(self, m0: int) -> int:
        """Where in a list of level 0 the node's own row begins."""
        return _whole(4 * m0)

    def codes_at0(self, m0: int) -> int:
        """Where in a list of level 0 the codes begin."""
        return self.row_at(m0) + _whole(self.row_bytes)

    def codes_at(self, m: int) -> int:
        """Where in a list above level 0 the codes begin."""
        return _whole(4 * m)

    def pitch(self, m: int) -> int:
        """Bytes of a list above level 0."""
        return self.codes_at(m) + _whole(m * self.code_bytes)

    def starts(self, links0: NDArray[np.int32]) -> NDArray[np.uint32]:
        """uint32[n + 1]: where the list of level 0 of each node begins, in units of UNIT bytes, and
        where the last one ends."""
        n, m0 = links0.shape
        starts = np.zeros(n + 1, np.uint32)
        lists = address_of(links0), n, m0
        call(_place_lists, *lists, self.codes_at0(m0), self.code_bytes, address_of(starts))
        return starts


def _whole(size: int) -> int:
    """As many bytes, made a multiple of UNIT."""
    return -(-size // UNIT) * UNIT


def lists_of_level_0(
    links0: NDArray[np.int32], starts: Array, first: int, until: int, codes: Array, rows: Array
) -> NDArray[np.uint8]:
    """uint8[UNIT * (starts[until] - starts[first])]: the lists first..until-1 of level 0, with the
    codes uint8[n, code_bytes] of the neighbours and the rows of a matrix of n rows.

    Without the GIL. ValueError for what does not fit.
    """
    _check(links0, first, until, codes)
    if len(rows) < until:
        raise ValueError(f"lists {first} to {until} of {len(rows)} rows")
    inline, m0 = Inline(codes.shape[1], rows.strides[0]), links0.shape[1]
    out = np.zeros(UNIT * (int(starts[until]) - int(starts[first])), np.uint8)
    linked = address_of(links0), m0, first, until, address_of(out), 0, address_of(starts)
    coded = address_of_any(codes), inline.code_bytes, inline.codes_at0(m0)
    own = address_of_any(rows), inline.row_bytes, inline.row_at(m0)
    call(lay_out_door, *linked, *coded, *own)
    return out


def lists_above(
    links: NDArray[np.int32], first: int, until: int, codes: Array
) -> NDArray[np.uint8]:
    """uint8[until - first, pitch]: the lists first..until-1 above level 0, with the codes of the
    neighbours. Without the GIL. ValueError for what does not fit."""
    _check(links, first, until, codes)
    inline, m = Inline(codes.shape[1], 0), links.shape[1]
    out = np.zeros((until - first, inline.pitch(m)), np.uint8)
    linked = address_of(links), m, first, until, address_of(out), out.shape[1], 0
    coded = address_of_any(codes), inline.code_bytes, inline.codes_at(m)
    call(lay_out_door, *linked, *coded, 0, 0, 0)
    return out


def _check(links: Array, first: int, until: int, codes: Array) -> None:
    if not 0 <= first <= until <= len(links):
        raise ValueError(f"lists {first} to {until} of {len(links)}")
    if int(links[first:until].max(initial=-1)) >= len(codes):
        raise ValueError("a link without a code")


# --- kernels ---------------------------------------------------------------------------------

LINKS, CAPACITY, FIRST, UNTIL, OUT, PITCH, STARTS = range(0, 56, 8)
CODES, CODE_BYTES, CODES_AT, ROWS, ROW_BYTES, ROW_AT = range(56, 104, 8)
# PITCH bytes from one list to the next, where there are no STARTS; ROWS 0: there are none.


@inner
def degree_of(links: int, capacity: int) -> int:
    """How many links a list has."""
    count = 0
    while count < capacity and load_i32(links + 4 * count) >= 0:
        count += 1
    return count


@door
def lay_out_door(block: int) -> int:
    """Fill the lists FIRST..UNTIL-1, which are zeros, at OUT. Returns UNTIL."""
    capacity, code_bytes = load_i64(block + CAPACITY), load_i64(block + CODE_BYTES)
    codes, rows = load_i64(block + CODES), load_i64(block + ROWS)
    first, row_bytes = load_i64(block + FIRST), load_i64(block + ROW_BYTES)
    starts = load_i64(block + STARTS)
    for number in range(first, load_i64(block + UNTIL)):
        out = load_i64(block + OUT) + load_i64(block + PITCH) * (number - first)
        if starts != 0:
            out += UNIT * (load_u32(starts + 4 * number) - load_u32(starts + 4 * first))
        links = load_i64(block + LINKS) + 4 * capacity * number
        move_bytes(out, links, 4 * capacity)
        beside = out + load_i64(block + CODES_AT)
        for at in range(degree_of(links, capacity)):
            code = codes + code_bytes * load_i32(links + 4 * at)
            move_bytes(beside + code_bytes * at, code, code_bytes)
        if rows != 0:
            move_bytes(out + load_i64(block + ROW_AT), rows + row_bytes * number, row_bytes)
    return load_i64(block + UNTIL)


@door
def _place_lists(block: int) -> int:
    """The starts of n lists, at the last address; see `Inline.starts`."""
    links, n, m0 = load_i64(block), load_i64(block + 8), load_i64(block + 16)
    fixed, code_bytes, starts = (
        load_i64(block + 24),
        load_i64(block + 32),
        load_i64(block + 40),
    )
    end = 0
    for node in range(n):
        size = fixed + code_bytes * degree_of(links + 4 * m0 * node, m0)
        begin = end
        if size <= PAGE and begin // PAGE != (begin + size - 1) // PAGE:
            begin = (begin // PAGE + 1) * PAGE
        store_i32(starts + 4 * node, begin // UNIT)
        end = begin + (size + UNIT - 1) // UNIT * UNIT
    store_i32(starts + 4 * n, end // UNIT)
    return end
