"""Field indexes: the values and the shape of what a field holds, growing and built, as payloads
read one by one have them; and nothing that a file may hold leads out of an index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.model.json_path import parse, values
from edge.model.schema import (
    IndexedField,
    IndexParams,
    KeywordIndexParams,
    PayloadSchemaType,
    TextIndexParams,
    indexed_field,
)
from edge.payload.entries import KINDS
from edge.payload.field_index import (
    SETS,
    FieldIndex,
    GrowingIndex,
    built_index,
    flattened,
    reach,
    top_keys,
)
from edge_kernels import bits
from tests.payload.entries_of import alongside, damaged, longer, members, put, shorter

K = PayloadSchemaType
KEYS: dict[PayloadSchemaType, Callable[[Any], bool]] = {
    K.Keyword: lambda v: type(v) is str,
    K.Text: lambda v: type(v) is str,
    K.Bool: lambda v: type(v) is bool,
    K.Integer: lambda v: type(v) is int and -(2**63) <= v < 2**63,
    K.Float: lambda v: type(v) is float or (type(v) is int and int(float(v)) == v),
    K.Datetime: lambda v: v == "2024-05-01T10:00:00Z",
    K.Uuid: lambda v: v == "0000000000000000000000000000000f",
    K.Geo: lambda v: type(v) is dict and v in ({"lon": 1, "lat": 2.5}, {"lon": -180.0, "lat": 90}),
}
"""Which of the values below have a place in an index."""

LEAVES = st.sampled_from(
    [
        None, True, False, 0, -1, 2**63 - 1, 2**64 - 1, 2**53 + 1, 0.5, -0.0, "", "a word", "a",
        "2024-05-01T10:00:00Z", "+200000-01-01T00:00:00Z", "0000000000000000000000000000000f",
        {"lon": 1, "lat": 2.5}, {"lon": -180.0, "lat": 90}, {"lon": 181, "lat": 0},
        {"lon": True, "lat": 1}, {}, [],
    ]
)  # fmt: skip
VALUES = LEAVES | st.lists(LEAVES, max_size=3) | st.just([[1]])
DOCUMENTS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "a": VALUES,
            "parts": st.lists(st.fixed_dictionaries({}, optional={"b": VALUES}), max_size=3)
            | LEAVES,
        },
    ),
    max_size=9,
)
PATHS = ["a", "parts[].b", "parts[0].b", "parts", "parts[].b[]"]


def field(kind: PayloadSchemaType, nested: str | None = None) -> IndexedField:
    params = indexed_field(kind).params
    return indexed_field(type(params)(nested=nested))


def growing(path: str, known: IndexedField, documents: list[dict[str, Any]]) -> GrowingIndex:
    index = GrowingIndex(path, known)
    for first in range(0, len(documents), 2):
        index.append(documents[first : first + 2])
    return index


def both(path: str, known: IndexedField, documents: list[dict[str, Any]]) -> list[FieldIndex]:
    """The index as it grew, and built of what is written of it."""
    grown, rows = growing(path, known, documents), len(documents)
    assert grown.covered == rows
    return [grown.at(rows), built_index(known, grown.arrays(), rows)]


def rows_in(index: FieldIndex, name: str) -> set[int]:
    found = index.rows_in(name)
    return set() if found is None else members(found, index.watermark)


def lengths(index: FieldIndex) -> dict[int, int]:
    rows, found = index.lists
    return dict(zip(rows.tolist(), found.tolist(), strict=True))


def described(path: str, kind: PayloadSchemaType, documents: list[dict[str, Any]]) -> Any:
    """What each set should be, from the definitions, one document at a time."""
    sets: dict[str, set[int]] = {name: set() for name in SETS}
    having: set[int] = set()
    listed: dict[int, int] = {}
    for row, document in enumerate(documents):
        reached = values(document, parse(path))
        elements = flattened(reached)
        if len(reached) > 1:
            sets["complex"].add(row)
        elif reached in ([], [None], [[]]):
            sets["empty"].add(row)
        if len(reached) == 1 and (reached == [None] or None in elements):
            sets["null"].add(row)
        if len(reached) == 1 and isinstance(reached[0], list) and reached[0]:
            listed[row] = len(reached[0])
        kept = [element for element in elements if element is not None]
        if not all(map(KEYS[kind], kept)):
            sets["foreign"].add(row)
        if any(map(KEYS[kind], kept)):
            having.add(row)
    return sets, having, listed


@pytest.mark.parametrize("kind", K, ids=lambda kind: kind.name)
@given(path=st.sampled_from(PATHS), documents=DOCUMENTS)
def test_sets_are_as_their_definitions_say(
    kind: PayloadSchemaType, path: str, documents: list[dict[str, Any]]
) -> None:
    sets, having, listed = described(path, kind, documents)
    for index in both(path, field(kind), documents):
        assert {name: rows_in(index, name) for name in SETS} == sets
        assert lengths(index) == listed
        assert members(index.listed(), len(documents)) == set(listed)
        found = members(index.entries.all(), len(documents))
        if kind is K.Text:  # a text of no words is no document
            assert found <= having
            assert having - found <= {row for row in having if "a word" not in str(documents[row])}
        else:
            assert found == having
        assert index.unknown() is None
        others = index.not_whole()
        assert (set() if others is None else members(others, len(documents))) == sets["foreign"]


@pytest.mark.parametrize("kind", K, ids=lambda kind: kind.name)
@given(documents=DOCUMENTS)
def test_a_nested_index_leaves_the_shape_open(
    kind: PayloadSchemaType, documents: list[dict[str, Any]]
) -> None:
    for index in both("parts[].b", field(kind, "parts"), documents):
        everyone = set(range(len(documents)))
        assert rows_in(index, "complex") == everyone
        assert rows_in(index, "empty") == rows_in(index, "null") == set()
        expected, having = set(), set()
        for row, document in enumerate(documents):
            parts = document.get("parts")
            for part in parts if isinstance(parts, list) else []:
                held = flattened([part["b"]]) if isinstance(part, dict) and "b" in part else []
                kept = [element for element in held if element is not None]
                having |= {row} if any(map(KEYS[kind], kept)) else set()
                expected |= {row} if not all(map(KEYS[kind], kept)) else set()
        assert rows_in(index, "foreign") == expected
        found = members(index.entries.all(), len(documents))
        assert found <= having if kind is K.Text else found == having


def test_each_object_of_a_nested_text_index_is_a_document() -> None:
    documents = [{"parts": [{"b": "x"}, {"b": ["y", "z"]}]}, {"parts": [{"b": "x y"}]}]
    whole = indexed_field(TextIndexParams(scoring=True))
    apart = indexed_field(TextIndexParams(scoring=True, nested="parts"))
    for index in both("parts[].b", whole, documents):
        assert members(index.entries.with_all([b"x", b"y"]), 2) == {0, 1}
        assert index.entries.rows.tolist() == [0, 1]
    for index in both("parts[].b", apart, documents):
        assert members(index.entries.with_all([b"x", b"y"]), 2) == {1}
        assert members(index.entries.with_all([b"y", b"z"]), 2) == {0}
        assert index.entries.rows.tolist() == [0, 0, 1]


def test_every_kind_of_index_has_entries_and_keys() -> None:
    assert set(KINDS) == set(PayloadSchemaType) == set(KEYS)
    assert len(get_args(IndexParams)) == len(KINDS)


def test_moments_that_no_index_holds_are_foreign() -> None:
    """Such a text is a moment in time all the same, so that payloads have to be asked."""
    documents = [{"a": f"{year}-01-01"} for year in ("+148000", "+149000", "-144000", "-145000")]
    for index in both("a", field(K.Datetime), documents):
        assert members(index.entries.all(), 4) == {0, 2}
        assert rows_in(index, "foreign") == {1, 3}


def test_reach_and_top_keys() -> None:
    assert top_keys(["a", "a.b", "parts[].b", '"x.y"[0]']) == {"a", "parts", "x.y"}
    assert top_keys([]) == frozenset()
    one = reach(parse("a"), None)
    assert [one({}), one({"a": None}), one({"a": [1]})] == [[[]], [[None]], [[[1]]]]
    nested = reach(parse("parts[].b.c"), "parts[]")
    document = {"parts": [{"b": {"c": 1}}, {"b": 1}, 3, {"b": {"c": [2]}}]}
    assert nested(document) == [[1], [], [[2]]]
    assert nested({}) == []


# -- what does not change


def look_of(index: FieldIndex) -> Any:
    """All that an index shows, in plain Python."""
    unknown = index.unknown()
    return (
        {name: rows_in(index, name) for name in SETS},
        lengths(index),
        members(index.entries.all(), index.watermark),
        set() if unknown is None else members(unknown, index.watermark),
    )


@pytest.mark.parametrize("kind", K, ids=lambda kind: kind.name)
@given(path=st.sampled_from(PATHS), documents=DOCUMENTS, later=DOCUMENTS, behind=st.integers(0, 3))
def test_what_an_index_shows_never_changes(
    kind: PayloadSchemaType,
    path: str,
    documents: list[dict[str, Any]],
    later: list[dict[str, Any]],
    behind: int,
) -> None:
    """A view of any watermark sees the rows below it, and of those what was covered then."""
    index = growing(path, field(kind), documents)
    count = len(documents)
    early = {mark: index.at(mark) for mark in range(count + behind + 1)}
    before = {mark: look_of(found) for mark, found in early.items()}
    index.append(later)
    for mark, found in early.items():
        assert look_of(found) == before[mark]
        assert found.covered == min(mark, count)
        if mark <= count:
            again = index.at(mark)
            fresh = growing(path, field(kind), documents[:mark]).at(mark)
            assert look_of(again) == before[mark] == look_of(fresh)
        else:
            assert before[mark][3] == set(range(count, mark))


@pytest.mark.parametrize("kind", [K.Keyword, K.Integer, K.Text, K.Geo], ids=lambda kind: kind.name)
def test_an_index_stays_as_it_is_while_another_thread_appends(kind: PayloadSchemaType) -> None:
    cycle: list[Any] = [None, [], ["x", None], "word", 5, [1, 2, 3], {"lon": 1, "lat": 1}, True]
    documents = [{"a": cycle[n % 8]} if n % 9 else {} for n in range(72)]
    index = growing("a", field(kind), documents)
    expected = look_of(index.at(72))

    def write() -> None:
        for _ in range(250):
            index.append(documents[:36])

    def look() -> None:
        newest = index.covered
        assert look_of(index.at(72)) == expected
        seen = index.at(newest)
        assert seen.covered == newest
        assert max(lengths(seen)) < newest
        assert seen.unknown() is None

    alongside(write, look)
    assert index.covered == 72 + 250 * 36


def test_rows_are_counted_on_where_documents_are_none() -> None:
    index = GrowingIndex("a", field(K.Keyword))
    index.append([])
    index.append([{}, {}])
    index.append(iter([{"a": "x"}]))
    assert index.covered == 3
    assert members(index.at(3).entries.equal([b"x"]), 3) == {2}
    assert rows_in(index.at(3), "empty") == {0, 1}


# -- what comes from files

MIXED = [{"a": "x"}, {"a": ["x", None, 7]}, {}, {"a": None}, {"a": 1.5}]


def arrays_of(kind: PayloadSchemaType = K.Keyword) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = growing("a", field(kind), MIXED).arrays()
    return found


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *((name, cut) for name in ("empty_rows", "foreign_rows") for cut in (shorter, longer)),
        ("list_rows", put(0, 5)),
        ("list_rows", put(0, 2**32 - 1)),
        ("list_rows", shorter),
        ("list_rows", longer),
        ("list_lengths", shorter),
        ("list_lengths", longer),
        ("offsets", put(0, 5)),
        ("starts", put(1, 9)),
    ],
)  # fmt: skip
def test_arrays_that_cannot_be_an_index_are_refused(name: str, change: Any) -> None:
    arrays = arrays_of()
    built_index(field(K.Keyword), arrays, 5)
    with pytest.raises(ValueError, match=r"set|lists|postings"):
        built_index(field(K.Keyword), damaged(arrays, name, change), 5)


@pytest.mark.parametrize("kind", K, ids=lambda kind: kind.name)
def test_arrays_of_other_types_or_shapes_are_refused(kind: PayloadSchemaType) -> None:
    arrays = arrays_of(kind)
    for name, array in arrays.items():
        others = [array.astype(dtype) for dtype in ("<f4", ">u4", "<u2")]
        for other in [*others, array.reshape(1, -1), array.reshape(-1, 1)]:
            with pytest.raises(ValueError, match="of"):
                built_index(field(kind), {**arrays, name: other}, 5)


@pytest.mark.parametrize("kind", K, ids=lambda kind: kind.name)
def test_arrays_that_are_wanting_are_refused(kind: PayloadSchemaType) -> None:
    arrays = arrays_of(kind)
    for name in arrays:
        if name.endswith("_rows") and name != "list_rows":
            continue  # a set that is not there is empty
        with pytest.raises((KeyError, ValueError)):
            built_index(field(kind), {key: arrays[key] for key in arrays if key != name}, 5)


@pytest.mark.parametrize("kind", K, ids=lambda kind: kind.name)
def test_the_index_of_another_kind_is_refused_or_harmless(kind: PayloadSchemaType) -> None:
    """Whatever is taken gives sets of the rows that there are."""
    for other in K:
        try:
            index = built_index(field(kind), arrays_of(other), 5)
        except (KeyError, ValueError):
            continue
        assert members(index.entries.all(), 5) <= set(range(5))


@given(
    kind=st.sampled_from(list(K)),
    rows=st.integers(0, 5),
    name=st.integers(0, 30),
    place=st.integers(0, 10),
    value=st.sampled_from([0, 1, 4, 5, 6, 64, 2**31, 2**32 - 1]),
)
def test_one_wrong_number_leads_no_kernel_out(
    kind: PayloadSchemaType, rows: int, name: int, place: int, value: int
) -> None:
    """Refused, or every answer is about rows that there are."""
    arrays = {key: array.copy() for key, array in arrays_of(kind).items()}
    array = arrays[list(arrays)[name % len(arrays)]]
    if array.size:
        array[place % array.size] = value % 256 if array.itemsize == 1 else value
    try:
        index = built_index(field(kind), arrays, rows)
    except ValueError:
        return
    everyone = set(range(rows))
    assert members(index.entries.all(), rows) <= everyone
    assert members(index.listed(), rows) <= everyone
    if kind not in (K.Geo, K.Text):
        counts, _ = index.entries.counts(bits.ones(rows))
        assert counts.sum() <= len(index.entries.offsets)
    if kind is K.Text:
        assert members(index.entries.with_any([b"x"]), rows) <= everyone


def test_params_are_kept() -> None:
    known = indexed_field(KeywordIndexParams(prefix=True))
    index = both("a", known, MIXED)[1]
    assert index.field is known
    assert index.kind is K.Keyword
