"""Blocks of rows in stored form, and which of a column's points lack one, against plain lists."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge.vectors.block import Ragged, Stored, entries_of, joined, starts_of, take
from edge.vectors.missing import GrowingMissing
from edge_kernels import bits

Entry = tuple[int, float]
Row = list[Entry]

rows = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(-9, 9).map(float)), max_size=4)
tables = st.lists(rows, max_size=8)


def ragged(table: list[Row]) -> Ragged:
    entries = [entry for row in table for entry in row]
    parts = (
        np.array([index for index, _ in entries], np.uint32),
        np.array([value for _, value in entries], np.float32),
    )
    return Ragged(starts_of(np.array([len(row) for row in table], np.uint32)), parts)


def plain(block: Stored) -> list[Row]:
    assert isinstance(block, Ragged)
    assert block.starts.dtype == np.int64
    assert block.starts[0] == 0
    ends = block.starts.tolist()
    assert all(len(part) == ends[-1] for part in block.parts)
    columns = [part.tolist() for part in block.parts]
    found = [
        list(zip(*(column[first:last] for column in columns), strict=True))
        for first, last in pairwise(ends)
    ]
    assert len(found) == len(block)
    return found


@st.composite
def picks(draw: st.DrawFn) -> tuple[list[Row], list[int]]:
    table = draw(tables)
    return table, draw(st.lists(st.sampled_from(range(len(table))))) if table else []


dtypes = st.sampled_from([np.uint32, np.int64, np.intp])


@given(picks(), dtypes)
def test_rows_are_taken_in_the_order_asked(drawn: tuple[list[Row], list[int]], dtype: Any) -> None:
    table, places = drawn
    block = ragged(table)
    assert plain(take(block, np.array(places, dtype))) == [table[place] for place in places]
    assert plain(block) == table


@given(picks(), dtypes)
def test_entries_say_where_rows_lie(drawn: tuple[list[Row], list[int]], dtype: Any) -> None:
    table, places = drawn
    where = [sum(map(len, table[:place])) for place in range(len(table))]
    starts, entries = entries_of(ragged(table).starts, np.array(places, dtype))
    lengths = [len(table[place]) for place in places]
    assert starts.tolist() == [sum(lengths[:i]) for i in range(len(places) + 1)]
    assert entries.tolist() == [
        where[place] + i for place in places for i in range(len(table[place]))
    ]


@given(st.lists(tables, min_size=1, max_size=4))
def test_blocks_are_joined_one_after_another(drawn: list[list[Row]]) -> None:
    blocks = [ragged(table) for table in drawn]
    assert plain(joined(blocks)) == [row for table in drawn for row in table]
    assert [plain(block) for block in blocks] == drawn


@given(st.lists(st.integers(0, 4), min_size=1, max_size=4), st.data())
def test_matrices_are_taken_and_joined_by_row(sizes: list[int], data: st.DataObject) -> None:
    whole = np.arange(3.0 * sum(sizes), dtype=np.float32).reshape(-1, 3)
    together = joined(np.split(whole, np.cumsum(sizes)[:-1]))
    assert np.array_equal(together, whole)
    places = data.draw(st.lists(st.sampled_from(range(len(whole))))) if len(whole) else []
    assert np.array_equal(take(whole, np.array(places, np.int64)), whole[places])


def test_one_block_is_joined_to_itself() -> None:
    block = ragged([[(1, 2.0)], []])
    assert joined([block]) is block


# -- which lack one

batches = st.lists(
    st.tuples(st.integers(0, 90), st.none() | st.sets(st.integers(0, 89))), max_size=6
)


@given(batches, st.data())
def test_who_lacks_one_is_known_below_any_count(drawn: Any, data: st.DataObject) -> None:
    missing, lacks, held = GrowingMissing(), list[bool](), []
    for count, having in drawn:
        where = None if having is None else sorted(place for place in having if place < count)
        given_where = None if where is None else np.array(where, np.uint32)
        missing.append(len(lacks), count, given_where)
        lacks += [where is not None and place not in where for place in range(count)]
        held.append((len(lacks), missing.below(len(lacks))))
    for count in {0, len(lacks), data.draw(st.integers(0, len(lacks)))}:
        found = missing.below(count)
        if found is None:
            assert not any(lacks[:count])
        else:
            assert len(found) == bits.words_for(count)
            assert bits.to_offsets(found, count).tolist() == np.flatnonzero(lacks[:count]).tolist()
    for count, before in held:
        now = missing.below(count)
        assert (before is None) == (now is None)
        assert before is None or np.array_equal(before, now)
