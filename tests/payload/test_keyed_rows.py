"""Rows by key: growing and built entries answer alike, and as a dict of sets does."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.model.schema import PayloadSchemaType, indexed_field
from edge.payload.entries import KINDS
from edge.payload.keyed_rows import Bounds
from edge_kernels import bits
from tests.payload.entries_of import (
    Rows,
    alongside,
    bitset,
    damaged,
    filled,
    longer,
    members,
    put,
    shorter,
)

K = PayloadSchemaType
NUMBERS: dict[PayloadSchemaType, st.SearchStrategy[Any]] = {
    K.Integer: st.integers(-3, 3) | st.sampled_from([-(2**63), 2**63 - 1, 2**53, 2**53 + 1]),
    K.Float: st.integers(-3, 3).map(float) | st.sampled_from([-0.0, 0.5, 5e-324, -1e308, 1e308]),
    K.Bool: st.integers(0, 1),
    K.Datetime: st.integers(-2, 2) | st.sampled_from([-(2**62), 2**62]),
}
NAMES: dict[PayloadSchemaType, st.SearchStrategy[bytes]] = {
    K.Keyword: st.text("abß", max_size=3).map(str.encode),
    K.Uuid: st.sampled_from([bytes(16), bytes(15) + b"\1", b"\xff" * 16, b"\xff" * 15 + b"\0"]),
}


def rows_of(keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Rows]:
    return st.lists(st.lists(keys, max_size=3), max_size=12)


def growing(kind: PayloadSchemaType, rows: Rows, step: int = 3) -> Any:
    return filled(KINDS[kind].growing(indexed_field(kind)), rows, step)


def both(kind: PayloadSchemaType, rows: Rows, step: int = 3) -> list[Any]:
    """The entries as they grew, and built of what is written of them."""
    grown = growing(kind, rows, step)
    return [grown.cut(len(rows), len(rows)), KINDS[kind].built(grown.arrays(len(rows)), len(rows))]


def having(rows: Rows, test: Callable[[Any], bool]) -> set[int]:
    return {row for row, keys in enumerate(rows) if any(map(test, keys))}


def counted(entries: Any, rows: Rows, allowed: set[int]) -> None:
    """Check `counts`."""
    counts, key = entries.counts(bitset(allowed, len(rows)))
    found = {key(place): count for place, count in enumerate(counts.tolist()) if count}
    distinct = {one for keys in rows for one in keys}
    every = {one: sum(one in rows[row] for row in allowed) for one in distinct}
    assert found == {one: count for one, count in every.items() if count}
    assert len(found) == sum(1 for count in counts.tolist() if count), "no key comes twice"
    assert entries.distinct >= len(distinct)


def equal(entries: Any, rows: Rows, wanted: list[Any]) -> None:
    """Check `equal` and `count_equal`."""
    expected = having(rows, lambda key: key in wanted)
    assert members(entries.equal(wanted), len(rows)) == expected
    assert entries.count_equal(wanted) >= len(expected)
    assert members(entries.all(), len(rows)) == having(rows, lambda key: True)


# -- numbers


@st.composite
def numbers(draw: st.DrawFn) -> tuple[PayloadSchemaType, Rows, st.SearchStrategy[Any]]:
    kind = draw(st.sampled_from(list(NUMBERS)))
    return kind, draw(rows_of(NUMBERS[kind])), NUMBERS[kind]


def bounds(keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Bounds]:
    open_ = st.sampled_from([-math.inf, math.inf, -(2.0**63), 2.0**63, 0.25, 10**25, -(10**25)])
    return st.builds(Bounds, keys | open_, st.booleans(), keys | open_, st.booleans())


def is_within(number: Any, bound: Bounds) -> bool:
    """As numpy compares: what is a float on either side is compared as floats."""
    low, above, high, below = bound

    def less(a: Any, b: Any) -> bool:
        return float(a) < float(b) if float in (type(a), type(b)) else a < b

    over = less(low, number) or (not above and not less(number, low))
    return over and (less(number, high) or (not below and not less(high, number)))


@given(numbers(), st.data())
def test_numbers_are_found_as_in_a_dict(
    case: tuple[PayloadSchemaType, Rows, Any], data: st.DataObject
) -> None:
    kind, rows, keys = case
    wanted = data.draw(st.lists(keys, max_size=3))
    allowed = data.draw(st.sets(st.integers(0, len(rows) - 1))) if rows else set()
    within = data.draw(bounds(keys))
    for entries in both(kind, rows, data.draw(st.integers(1, 5))):
        equal(entries, rows, wanted)
        counted(entries, rows, allowed)
        expected = having(rows, lambda key: is_within(key, within))
        assert members(entries.between(within), len(rows)) == expected
        assert entries.count_between(within) >= len(expected)


def in_order(
    rows: Rows, bound: Bounds, reverse: bool, allowed: set[int], want: int
) -> list[tuple[int, Any]]:
    best = max if reverse else min
    placed = []
    for row in sorted(allowed):
        inside = [key for key in rows[row] if is_within(key, bound)]
        if inside:
            placed.append((row, best(inside)))
    placed.sort(key=lambda pair: (-pair[1] if reverse else pair[1], pair[0]))
    if want < len(placed):
        last = placed[want - 1][1]
        want += sum(1 for _, key in placed[want:] if key == last)
    return placed[:want]


WHOLE = Bounds(-math.inf, False, math.inf, False)


@given(numbers(), st.booleans(), st.sets(st.integers(0, 11), max_size=3), st.data())
def test_numbers_come_in_order(
    case: tuple[PayloadSchemaType, Rows, Any], reverse: bool, left_out: set[int], data: Any
) -> None:
    """However many are wanted, those that tie with the last of them come too."""
    kind, rows, keys = case
    allowed = set(range(len(rows))) - left_out
    for bound in (WHOLE, data.draw(bounds(keys))):
        for entries in both(kind, rows):
            for want in range(1, 9):
                found = entries.in_order(bound, reverse, bitset(allowed, len(rows)), want)
                pairs = list(zip(found.rows.tolist(), found.keys.tolist(), strict=True))
                assert pairs == in_order(rows, bound, reverse, allowed, want)


def test_neighbours_beyond_the_floats_are_kept_apart() -> None:
    rows = [[2**53], [2**53 + 1], [2**63 - 1], [2**63 - 2], [-(2**63)]]
    for entries in both(K.Integer, rows):
        for row, (key,) in enumerate(rows):
            assert members(entries.equal([key]), 5) == {row}
            assert members(entries.between(Bounds(key, False, key, False)), 5) == {row}
        found = entries.in_order(WHOLE, False, bits.ones(5), 9)
        assert found.rows.tolist() == [4, 0, 1, 3, 2]


def test_beside_a_float_integers_are_floats() -> None:
    """As where payloads are tested one by one: a bound means the same with an index and without."""
    for key, bound, expected in (
        (2**63 - 1, Bounds(0, False, 2.0**63, True), set()),
        (2**53 + 1, Bounds(0, False, 2.0**53, False), {0}),
        (2**53 + 1, Bounds(2.0**53, True, 2.0**60, False), set()),
        (2**53 + 1, Bounds(2**53, True, 2**60, False), {0}),
    ):
        for entries in both(K.Integer, [[key]]):
            assert members(entries.between(bound), 1) == expected
            assert entries.count_between(bound) == len(expected)


# -- names


@st.composite
def names(draw: st.DrawFn) -> tuple[PayloadSchemaType, Rows, st.SearchStrategy[bytes]]:
    kind = draw(st.sampled_from(list(NAMES)))
    return kind, draw(rows_of(NAMES[kind])), NAMES[kind]


@given(names(), st.data())
def test_names_are_found_as_in_a_dict(
    case: tuple[PayloadSchemaType, Rows, Any], data: st.DataObject
) -> None:
    kind, rows, keys = case
    wanted = data.draw(st.lists(keys, max_size=3))
    allowed = data.draw(st.sets(st.integers(0, len(rows) - 1))) if rows else set()
    prefix = data.draw(keys.map(lambda key: key[:2]) | st.just(b"") | st.just(b"\xff"))
    for entries in both(kind, rows, data.draw(st.integers(1, 5))):
        equal(entries, rows, wanted)
        counted(entries, rows, allowed)
        for test, found in (
            (lambda key: key.startswith(prefix), entries.starting(prefix)),
            (lambda key: prefix in key, entries.passing(lambda key: prefix in key)),
        ):
            assert members(found, len(rows)) == having(rows, test)
        assert entries.count_starting(prefix) >= len(members(entries.starting(prefix), len(rows)))
        for name in wanted:
            found = entries.of_name(name).tolist()
            assert found == sorted(found)
            assert set(found) == having(rows, lambda key, name=name: key == name)


def test_each_name_is_tested_once() -> None:
    rows = [[b"a", b"b"], [b"b"], [b"b", b"b"], [b"c"]]
    for entries in both(K.Keyword, rows):
        tested: list[bytes] = []
        entries.passing(lambda name, tested=tested: tested.append(name) or True)
        assert sorted(tested) == [b"a", b"b", b"c"]


# -- what does not change


@pytest.mark.parametrize("kind", [*NUMBERS, *NAMES])
@given(data=st.data())
def test_what_a_cut_shows_never_changes(kind: PayloadSchemaType, data: st.DataObject) -> None:
    keys = {**NUMBERS, **NAMES}[kind]
    rows, later = data.draw(rows_of(keys)), data.draw(rows_of(keys))
    grown = growing(kind, rows, step=1)
    cuts = {
        (covered, watermark): grown.cut(covered, watermark)
        for covered in range(len(rows) + 1)
        for watermark in (covered, len(rows))
    }
    filled(grown, later, first=len(rows))
    allowed = set(range(len(rows)))
    for (covered, watermark), entries in cuts.items():
        for shown in (entries, grown.cut(covered, watermark)):
            below = [*rows[:covered], *[[]] * (watermark - covered)]
            found, key = shown.counts(bitset(allowed & set(range(watermark)), watermark))
            counts = {key(place): n for place, n in enumerate(found.tolist()) if n}
            distinct = {one for each in below for one in each}
            assert counts == {one: len(having(below, lambda k, o=one: k == o)) for one in distinct}
            assert members(shown.all(), watermark) == having(below, lambda k: True)


@pytest.mark.parametrize("kind", [K.Integer, K.Keyword])
def test_a_cut_stays_as_it_is_while_another_thread_appends(kind: PayloadSchemaType) -> None:
    key = (lambda n: n % 7) if kind is K.Integer else (lambda n: b"%d" % (n % 7))
    grown = growing(kind, [[key(n)] for n in range(70)])
    first = grown.cut(70, 70)

    def write() -> None:
        for start in range(70, 20_000, 50):
            filled(grown, [[key(n), key(n + 1)] for n in range(start, start + 50)], 50, start)

    def look() -> None:
        for entries in (first, grown.cut(70, 70)):
            assert members(entries.equal([key(3)]), 70) == set(range(3, 70, 7))
            counts, _ = entries.counts(bits.ones(70))
            assert [n for n in counts.tolist() if n] == [10] * 7

    alongside(write, look)
    assert grown.cut(20_000, 20_000).count_equal([key(3)]) > 5_000


# -- what comes from files


POSTINGS: list[tuple[str, Any]] = [
    ("offsets", put(1, 5)),
    ("offsets", put(0, 2**32 - 1)),
    ("offsets", shorter),
    ("offsets", longer),
    ("starts", put(0, -1)),
    ("starts", put(0, 1)),
    ("starts", put(1, 6)),
    ("starts", put(-1, 2**40)),
    ("starts", put(1, -(2**63))),
    ("starts", shorter),
    ("starts", longer),
    ("starts", lambda array: array[:0]),
]


@pytest.mark.parametrize(
    ("name", "change"),
    [*POSTINGS, ("keys", put(1, 7)), ("keys", put(0, 9)), ("keys", shorter), ("keys", longer)],
)
def test_numbers_that_cannot_be_are_refused(name: str, change: Any) -> None:
    arrays = growing(K.Integer, [[7], [8, 9], [], [9], []]).arrays(5)
    assert KINDS[K.Integer].built(arrays, 5).distinct == 3
    with pytest.raises(ValueError, match=r"postings|keys"):
        KINDS[K.Integer].built(damaged(arrays, name, change), 5)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *POSTINGS,
        ("ends", put(0, 1)),
        ("ends", put(1, 5)),
        ("ends", put(-1, 2**40)),
        ("ends", put(1, -1)),
        ("ends", shorter),
        ("ends", lambda array: array[:0]),
        ("blob", shorter),
        ("blob", longer),
    ],
)
def test_names_that_cannot_be_are_refused(name: str, change: Any) -> None:
    arrays = growing(K.Keyword, [[b"a"], [b"bb", b"c"], [], [b"c"], []]).arrays(5)
    assert KINDS[K.Keyword].built(arrays, 5).distinct == 3
    with pytest.raises(ValueError, match=r"postings|names"):
        KINDS[K.Keyword].built(damaged(arrays, name, change), 5)


@pytest.mark.parametrize("kind", [K.Integer, K.Keyword])
def test_where_there_are_no_rows_there_are_no_offsets(kind: PayloadSchemaType) -> None:
    arrays = growing(kind, [[5 if kind is K.Integer else b"5"]]).arrays(1)
    assert arrays["offsets"].tolist() == [0]
    with pytest.raises(ValueError, match="not there"):
        KINDS[kind].built(arrays, 0)


@pytest.mark.parametrize("kind", [*NUMBERS, *NAMES])
def test_nothing_at_all(kind: PayloadSchemaType) -> None:
    for rows in ([], [[]], [[]] * 70):
        for entries in both(kind, rows):
            assert not entries.all().any()
            assert not entries.equal([]).any()
            assert entries.counts(bits.ones(len(rows))).counts.sum() == 0
            assert entries.distinct == 0
