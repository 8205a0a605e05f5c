"""Words, their parts, and what an analyzer makes of them."""

from __future__ import annotations

import importlib
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import ValidationError
from edge.text.analyzer import Analyzer, Memo
from edge.text.characters import is_upper, lowered
from edge.text.folding import folded
from edge.text.stemmer import stemmer
from edge.text.stop_words import LANGUAGES, language_name, stop_words
from edge.text.tokenizer import SPLITTERS, camel_parts, identifier_parts

sys.path.insert(0, str(Path(__file__).resolve().parent))
corpus = importlib.import_module("corpus")


@pytest.mark.parametrize(
    ("tokenizer", "text", "expected"),
    [
        ("word", "It's half-empty, 3.14!", ["It", "s", "half", "empty", "3", "14"]),
        ("word", "snake_case cafe\u0301s", ["snake", "case", "cafe", "s"]),
        ("word", "日本語 हिन्दी", ["日本語", "हिन", "दी"]),
        ("word", "น้ำ🤖١٢٣", ["น", "ำ", "١٢٣"]),
        ("whitespace", " a-b\u00a0c\u3000d\te\x1ff ", ["a-b", "c", "d", "e\x1ff"]),
        ("whitespace", "👩\u200d👩 👍🏽", ["👩\u200d👩", "👍🏽"]),
        ("code", "x.get_HTTP(y2)", ["x", "get_HTTP", "y2"]),
        ("word", "", []),
        ("code", "__ ..", ["__"]),
    ],
)
def test_splitters(tokenizer: str, text: str, expected: list[str]) -> None:
    assert SPLITTERS[tokenizer](text) == expected


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        ("foo", "foo"),
        ("foo_bar", "foobar foo bar"),
        ("fooBar", "fooBar foo Bar"),
        ("__init__", "init"),
        ("__", ""),
        ("parseURLs_v2", "parseURLsv2 parseURLs parse URLs v2"),
        ("getHTTPResponse2Go", "getHTTPResponse2Go get HTTP Response2 Go"),
        ("APIsList", "APIsList APIs List"),
        ("BUSes", "BUSes BU Ses"),
        ("0xFF_aB", "0xFFaB"),
        ("foo_1A", "foo1A foo 1A 1 A"),
        ("приветМир", "приветМир привет Мир"),
        ("ABⅧc", "ABⅧc AB Ⅷc"),
        ("日本Foo", "日本Foo 日本 Foo"),
        ("ABé", "ABé A Bé"),
        ("ÀÉs", "ÀÉs"),
    ],
)
def test_identifier_parts(identifier: str, expected: str) -> None:
    assert identifier_parts(identifier) == expected.split()


def test_an_identifier_not_joined_gives_its_innermost_parts() -> None:
    assert identifier_parts("fooBar_baz", joined=False) == ["foo", "Bar", "baz"]


@given(st.text("abzABZsé9É٣ǅ", max_size=12))
def test_camel_parts_are_the_word(word: str) -> None:
    parts = camel_parts(word)
    assert "".join(parts) == word
    assert all(part for part in parts) or not word
    assert all(is_upper(part[0]) for part in parts[1:])


PLAIN_SPLITTERS = {name: split for name, split in SPLITTERS.items() if name != "multilingual"}
"""All but the one that spells words too."""


@given(corpus.texts)
def test_words_stand_in_the_text_in_order(text: str) -> None:
    for split in PLAIN_SPLITTERS.values():
        place = 0
        for word in split(text):
            place = text.index(word, place) + len(word)


@given(corpus.texts, st.sampled_from(sorted(SPLITTERS)))
def test_a_text_gives_the_same_tokens_again(text: str, tokenizer: str) -> None:
    analyzer = Analyzer(tokenizer, ascii_folding=True)
    first = analyzer.document(text), analyzer.query(text)
    assert (analyzer.document(text), analyzer.query(text)) == first
    assert Analyzer(tokenizer, ascii_folding=True).document(text) == first[0]


@given(corpus.texts, st.integers(0, 5), st.integers(0, 5))
def test_lengths_are_kept(text: str, least: int, most: int) -> None:
    for tokenizer in SPLITTERS:
        tokens = Analyzer(tokenizer, min_token_len=least, max_token_len=most).document(text)
        assert all(least <= len(token) <= most for token in tokens)


@given(corpus.texts)
def test_a_query_of_a_word_is_found_in_the_document(text: str) -> None:
    for tokenizer in SPLITTERS:
        analyzer = Analyzer(tokenizer)
        assert set(analyzer.query(text)) <= set(analyzer.document(text)) | {""}


def test_prefixes() -> None:
    analyzer = Analyzer("prefix", min_token_len=2, max_token_len=4, stop_words=["the"])
    assert analyzer.document("The theory, a мир") == ["th", "the", "theo", "ми", "мир"]
    assert analyzer.query("The theory, a мир") == ["the", "theo", "мир"]
    assert Analyzer("prefix").document("abc") == ["a", "ab", "abc"]


def test_an_identifier_stands_in_phrases_by_its_innermost_parts() -> None:
    analyzer = Analyzer("code")
    assert analyzer.document("fooBar x") == ["foobar", "foo", "bar", "x"]
    assert analyzer.sequence("fooBar x") == analyzer.sought("fooBar x") == ["foo", "bar", "x"]
    assert analyzer.sought("foobar") == ["foobar"]
    assert Analyzer("prefix").sought("abc") == ["abc"]


def test_stop_words_are_lowered_with_the_text() -> None:
    assert Analyzer(stop_words=["The"]).document("the THE fox") == ["fox"]
    assert Analyzer(stop_words=["The"], lowercase=False).document("the The") == ["the"]


def test_the_order_of_the_steps() -> None:
    # Folded, lowered, checked for stop words, stemmed, measured.
    analyzer = Analyzer(
        ascii_folding=True, stop_words=["ete"], stem=stemmer("english"), max_token_len=3
    )
    assert analyzer.document("ÉTÉ running foxes") == ["run", "fox"]


def test_no_query_asks_for_the_bound_between_elements() -> None:
    analyzer = Analyzer("whitespace")
    assert analyzer.document("a \x00 b") == ["a", "\x00", "b"]
    assert analyzer.query("a \x00 b") == ["a", "b"]


@pytest.mark.parametrize(
    "options",
    [{"tokenizer": "Multilingual"}, {"tokenizer": "ngram"}, {"min_token_len": -1}],
)
def test_refused_options(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Analyzer(**options)  # type: ignore[arg-type]


def test_a_memo_is_bounded_by_number_and_length() -> None:
    asked: list[str] = []

    def size(word: str) -> int:
        asked.append(word)
        return len(word)

    memo = Memo(size, size=3, length=5)
    assert [memo[word] for word in ("a", "bb", "a", "tooLong", "tooLong")] == [1, 2, 1, 7, 7]
    assert asked == ["a", "bb", "tooLong", "tooLong"]
    for word in ("c", "d", "e", "f"):
        memo[word]
        assert len(memo) <= 3


def test_threads_share_an_analyzer() -> None:
    analyzer = Analyzer("code", stem=stemmer("english"))
    expected = [Analyzer("code", stem=stemmer("english")).document(t) for t in corpus.TEXTS]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(8):
            assert list(pool.map(analyzer.document, corpus.TEXTS)) == expected


# ---- languages ----


def test_each_language_has_stop_words() -> None:
    assert len(LANGUAGES) == 30
    for language in LANGUAGES:
        words = stop_words(language)
        assert len(words) > 50
        assert all(word == word.strip() and len(word.split()) == 1 for word in words)
    assert {"the", "and", "mustn't"} <= stop_words("english")


def test_a_language_goes_by_name_or_code() -> None:
    assert language_name("de") == language_name("german") == "german"
    with pytest.raises(ValidationError, match="klingon"):
        language_name("klingon")


def test_a_missing_stemmer_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py_rust_stemmers", None)
    with pytest.raises(ValidationError, match=r"edgeshard\[text\]"):
        stemmer("english")
    monkeypatch.setitem(sys.modules, "snowballstemmer.armenian_stemmer", None)
    with pytest.raises(ValidationError, match="snowballstemmer"):
        stemmer("armenian")
    with pytest.raises(ValidationError, match="polish"):
        stemmer("polish")


# ---- characters ----


def test_lower_case() -> None:
    assert lowered("ΣΊΣΥΦΟΣ İ ẞ Ⅷ \u1c89\ua7cb") == "σίσυφος i̇ ß ⅷ \u1c8a\u0264"
    assert not is_upper("ǅ")
    assert is_upper("\u1c89")


@given(corpus.texts)
def test_lowering_and_folding_are_done_once(text: str) -> None:
    assert folded(folded(text)) == folded(text)
    assert lowered(lowered(text)) == lowered(text)


def test_folding() -> None:
    assert folded("Ærøskøbing ﬁne Straße \uff11\uff12 ⑽ é e\u0301 日本") == (
        "AEroskobing fine Strasse 12 (10) e e\u0301 日本"
    )
