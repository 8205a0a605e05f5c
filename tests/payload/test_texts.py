"""Documents by token: growing and built texts answer alike, and as lists of words do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.model.schema import TextIndexParams, index_analyzer, indexed_field
from edge.payload.texts import BOUNDARY, GrowingTexts, built_texts, encoded
from tests.payload.entries_of import Rows, alongside, damaged, filled, longer, members, put, shorter
from tests.payload.test_keyed_rows import POSTINGS

WORDS = ["a", "b", "Ab", "c"]
LINES = st.lists(st.sampled_from(WORDS), max_size=5).map(" ".join) | st.sampled_from(["", "..."])
DOCUMENTS: st.SearchStrategy[Rows] = st.lists(
    st.lists(st.lists(LINES, min_size=1, max_size=2), max_size=2), max_size=8
)
"""Of each row its documents, of each of these the texts."""

WHOLE = TextIndexParams(phrase_matching=True, scoring=True)
PARAMS = {
    "whole": WHOLE,
    "short": TextIndexParams(phrase_matching=True, scoring=True, max_token_len=1),
    "as it is": TextIndexParams(phrase_matching=True, scoring=True, lowercase=False),
}


def growing(params: TextIndexParams, rows: Rows, step: int = 3) -> Any:
    return filled(GrowingTexts(indexed_field(params)), rows, step)


def both(params: TextIndexParams, rows: Rows, step: int = 3) -> list[Any]:
    """The texts as they grew, and built of what is written of them."""
    grown = growing(params, rows, step)
    return [grown.cut(len(rows), len(rows)), built_texts(grown.arrays(len(rows)), len(rows))]


def read(params: TextIndexParams, rows: Rows) -> list[tuple[int, list[list[str]]]]:
    """The naive model: (row, the tokens of each text) of every document that has any."""
    analyze = index_analyzer(params).document
    every = [
        (row, [analyze(text) for text in document])
        for row, documents in enumerate(rows)
        for document in documents
    ]
    return [(row, texts) for row, texts in every if any(texts)]


def holds(texts: list[list[str]], phrase: list[str]) -> bool:
    size = len(phrase)
    return any(text[first : first + size] == phrase for text in texts for first in range(len(text)))


@pytest.mark.parametrize("name", PARAMS)
@given(
    rows=DOCUMENTS,
    wanted=st.lists(st.sampled_from([*WORDS, "ab", "zz"]), min_size=1, max_size=3),
    step=st.integers(1, 4),
)
def test_documents_are_found_as_in_lists(
    name: str, rows: Rows, wanted: list[str], step: int
) -> None:
    params = PARAMS[name]
    documents = read(params, rows)
    tokens = encoded(wanted)

    def rows_where(test: Callable[[list[list[str]]], bool]) -> set[int]:
        return {row for row, texts in documents if test(texts)}

    for texts in both(params, rows, step):
        assert texts.rows.tolist() == [row for row, _ in documents]
        assert members(texts.all(), len(rows)) == rows_where(lambda texts: True)
        assert members(texts.with_all(tokens), len(rows)) == rows_where(
            lambda texts: {*wanted} <= {*chain.from_iterable(texts)}
        )
        assert members(texts.with_any(tokens), len(rows)) == rows_where(
            lambda texts: bool({*wanted} & {*chain.from_iterable(texts)})
        )
        assert members(texts.with_phrase(tokens), len(rows)) == rows_where(
            lambda texts: holds(texts, wanted)
        )


@given(rows=DOCUMENTS)
def test_counts_and_lengths_are_those_of_lists(rows: Rows) -> None:
    documents = [Counter(chain.from_iterable(texts)) for _, texts in read(WHOLE, rows)]
    for texts in both(WHOLE, rows):
        assert texts.lengths().tolist() == [found.total() for found in documents]
        for token in ["a", "b", "ab", "zz"]:
            having = [number for number, found in enumerate(documents) if found[token]]
            term = texts.term(token.encode())
            assert term.documents.tolist() == having
            assert term.times.tolist() == [documents[number][token] for number in having]
            assert texts.count(token.encode()) >= len(having)


@pytest.mark.parametrize("built", [False, True])
def test_without_the_order_of_words_phrases_are_unknown(built: bool) -> None:
    texts = both(TextIndexParams(), [[["a b"]]])[built]
    assert texts.with_phrase(encoded(["a", "b"])) is None


def test_no_phrase_reaches_from_one_text_into_the_next() -> None:
    for texts in both(WHOLE, [[["a b", "c a"]], [["b c"]], [["b"], ["c"]]]):
        assert members(texts.with_phrase(encoded(["b", "c"])), 3) == {1}
        assert members(texts.with_phrase(encoded(["c", "a"])), 3) == {0}
        assert members(texts.with_all(encoded(["b", "c"])), 3) == {0, 1}, "of one document"


@given(rows=DOCUMENTS, later=DOCUMENTS)
def test_what_a_cut_shows_never_changes(rows: Rows, later: Rows) -> None:
    grown = growing(WHOLE, rows, step=1)
    cuts = {covered: grown.cut(covered, len(rows)) for covered in range(len(rows) + 1)}
    filled(grown, later, first=len(rows))
    for covered, early in cuts.items():
        documents = read(WHOLE, rows[:covered])
        for texts in (early, grown.cut(covered, len(rows))):
            assert texts.rows.tolist() == [row for row, _ in documents]
            assert texts.lengths().tolist() == [sum(map(len, found)) for _, found in documents]
            for token in ["a", "ab"]:
                expected = {row for row, found in documents if holds(found, [token])}
                assert members(texts.with_any(encoded([token])), len(rows)) == expected
            pair = {row for row, found in documents if holds(found, ["a", "b"])}
            assert members(texts.with_phrase(encoded(["a", "b"])), len(rows)) == pair


def test_a_cut_stays_as_it_is_while_another_thread_appends() -> None:
    def words(number: int) -> list[list[str]]:
        return [[f"w{number % 5} every w{number}", "end"]]

    grown = growing(WHOLE, [words(n) for n in range(60)])
    first = grown.cut(60, 60)

    def write() -> None:
        for start in range(60, 6_000, 30):
            filled(grown, [words(n) for n in range(start, start + 30)], 30, start)

    def look() -> None:
        for texts in (first, grown.cut(60, 60)):
            assert members(texts.with_any([b"w3"]), 60) == set(range(3, 60, 5))
            assert members(texts.with_phrase([b"w4", b"every", b"w9"]), 60) == {9}
            assert texts.lengths().tolist() == [4] * 60
            assert texts.term(b"every").documents.tolist() == list(range(60))

    alongside(write, look)
    assert grown.cut(6_000, 6_000).term(b"every").documents.size == 6_000


def test_a_document_without_words_is_none() -> None:
    for texts in both(WHOLE, [[["..."]], [[""], ["a"]], []]):
        assert texts.rows.tolist() == [1]
        assert texts.lengths().tolist() == [1]
    for texts in both(WHOLE, [[["..."]]]):
        assert not texts.all().any()
        assert not texts.with_all([b"a"]).any()
        assert not texts.with_phrase([b"a", b"b"]).any()


# -- what comes from files

ROWS: Rows = [[["a b c"]], [], [["b"], ["b b"]], [["a", "c"]], []]
"""Tokens a, b, c of the documents (0, 3), (0, 1, 2), (0, 3)."""


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *POSTINGS,
        ("rows", put(0, 5)),
        ("rows", put(3, 2**32 - 1)),
        ("rows", put(0, 3)),
        ("rows", shorter),
        ("rows", lambda array: array[:0]),
        ("times", shorter),
        ("times", longer),
        ("lengths", shorter),
        ("lengths", longer),
        ("sequence", shorter),
        ("sequence", longer),
        ("sequence_starts", put(0, 1)),
        ("sequence_starts", put(1, 99)),
        ("sequence_starts", put(2, -1)),
        ("sequence_starts", put(-1, 2**40)),
        ("sequence_starts", shorter),
        ("sequence_starts", longer),
        ("sequence_starts", lambda array: array[:0]),
        ("ends", put(1, 9)),
        ("blob", shorter),
    ],
)
def test_texts_that_cannot_be_are_refused(name: str, change: Any) -> None:
    arrays = growing(WHOLE, ROWS).arrays(5)
    built = built_texts(arrays, 5)
    assert (built.rows.tolist(), built.names.offsets.tolist()) == (
        [0, 2, 2, 3],
        [0, 3, 0, 1, 2, 0, 3],
    )
    with pytest.raises(ValueError, match=r"postings|documents|names|sequences|counts"):
        built_texts(damaged(arrays, name, change), 5)


def test_counts_without_lengths_are_refused() -> None:
    arrays = growing(WHOLE, ROWS).arrays(5)
    del arrays["lengths"]
    with pytest.raises(ValueError, match="counts"):
        built_texts(arrays, 5)


def test_where_there_are_no_documents_there_are_no_postings() -> None:
    arrays = growing(TextIndexParams(), [[["a"]]]).arrays(1)
    assert arrays["offsets"].tolist() == [0]
    with pytest.raises(ValueError, match="not there"):
        built_texts({**arrays, "rows": arrays["rows"][:0]}, 1)


def test_any_token_in_a_sequence_is_only_a_token() -> None:
    """A damaged one finds a wrong phrase at the worst, and leads a kernel nowhere."""
    arrays = growing(WHOLE, ROWS).arrays(5)
    assert BOUNDARY in arrays["sequence"].tolist()
    arrays["sequence"] = np.full_like(arrays["sequence"], 2**32 - 2)
    assert not built_texts(arrays, 5).with_phrase([b"a", b"b"]).any()
