"""The same token ids and weights as qdrant_edge's Bm25, bit by bit."""

from __future__ import annotations

import gzip
import importlib
import json
import os
import re
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import qdrant_edge
from hypothesis import given, settings
from hypothesis import strategies as st

import edge
from edge.text.characters import ALPHANUMERIC, NUMERIC, run_of
from edge.text.stemmer import LANGUAGES as STEMMED
from edge.text.stop_words import LANGUAGES, stop_words

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "text"))
corpus = importlib.import_module("corpus")

TOKENIZERS = ["Word", "Whitespace", "Prefix", "Code"]
# Planes 4 to 13 are empty, 15 and 16 private: Unicode has nothing to say of them.
ALL_CHARACTERS = [
    chr(code) for code in (*range(0xD800), *range(0xE000, 0x34000), *range(0xE0000, 0xE0200))
]
CODES = [
    "ar", "az", "bn", "ca", "da", "de", "el", "en", "es", "eu", "fi", "fr", "he", "hi-en", "hu",
    "id", "it", "jp", "kk", "ne", "nl", "no", "pt", "ro", "ru", "sl", "sv", "tg", "tr", "zh",
]  # fmt: skip
YOUNG = {chr(code) for code in (*range(0x10D50, 0x10D86), *range(0x16EA0, 0x16ED4))}


def real_texts() -> list[str]:
    """The payload texts where EDGE_DATA names their folder, else the shipped ones."""
    folder = os.environ.get("EDGE_DATA")
    if not folder:
        return [*corpus.TEXTS, " ".join(corpus.TEXTS)]
    with gzip.open(Path(folder, "texts_payload.jsonl.gz"), "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines][:5000] + list(corpus.TEXTS)


def built(engine: Any, options: dict[str, Any]) -> Any:
    """A Bm25 of either package; options are plain values for the classes of both."""
    values = dict(options)
    if "tokenizer" in values:
        values["tokenizer"] = getattr(engine.TokenizerType, values["tokenizer"])
    if "stopwords" in values:
        languages, custom = values["stopwords"]
        values["stopwords"] = engine.StopwordsSet(
            languages={getattr(engine.Language, name.title()) for name in languages},
            custom=set(custom),
        )
    if "stemmer" in values:
        name = values["stemmer"]
        language = name and getattr(engine.SnowballLanguage, name.title())
        values["stemmer"] = engine.SnowballParams(language) if name else engine.DisabledStemmer()
    return engine.Bm25(engine.Bm25Config(**values))


def pair(**options: Any) -> tuple[Any, Any]:
    return built(edge, options), built(qdrant_edge, options)


def assert_same(models: tuple[Any, Any], text: str) -> None:
    for embed in ("embed_document", "embed_query"):
        mine, theirs = (getattr(model, embed)(text) for model in models)
        assert (mine.indices, mine.values) == (theirs.indices, theirs.values), (embed, text)


PLAIN = {"stopwords": ((), ()), "stemmer": None}
OPTIONS: list[dict[str, Any]] = [
    {},
    PLAIN,
    {**PLAIN, "lowercase": False},
    {**PLAIN, "ascii_folding": True},
    {**PLAIN, "ascii_folding": True, "lowercase": False},
    {**PLAIN, "min_token_len": 2, "max_token_len": 4},
    {**PLAIN, "min_token_len": 3},
    {**PLAIN, "max_token_len": 0},
    {**PLAIN, "min_token_len": 0, "max_token_len": 2},
    {**PLAIN, "min_token_len": 5, "max_token_len": 3},
    {"stopwords": (("english", "german"), ("Fox", "URLs", "thefox")), "stemmer": "german"},
    {"stopwords": ((), ("The", "foo")), "lowercase": False},
    {"language": "fr", "ascii_folding": True, "k": 0.0, "b": 1.0, "avg_len": 3.7},
    {"language": "hinglish", "k": 2.5, "b": 0.1, "avg_len": 17.0},
    {"k": 1e-9, "b": 0.0},
]
MODELS = {
    (tokenizer, number): pair(tokenizer=tokenizer, **options)
    for tokenizer in TOKENIZERS
    for number, options in enumerate(OPTIONS)
}


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("number", range(len(OPTIONS)))
def test_real_texts(tokenizer: str, number: int) -> None:
    for text in real_texts():
        assert_same(MODELS[tokenizer, number], text)


@settings(max_examples=800, deadline=None)
@given(
    tokenizer=st.sampled_from(TOKENIZERS),
    number=st.integers(0, len(OPTIONS) - 1),
    text=corpus.texts,
)
def test_made_texts(tokenizer: str, number: int, text: str) -> None:
    assert_same(MODELS[tokenizer, number], text)


@settings(max_examples=300, deadline=None)
@given(
    k=st.floats(0, 100),
    b=st.floats(0, 1),
    avg_len=st.floats(1e-3, 1e6),
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=6),
)
def test_weights(k: float, b: float, avg_len: float, counts: list[int]) -> None:
    text = " ".join(f"term{place}x " * count for place, count in enumerate(counts))
    assert_same(pair(k=k, b=b, avg_len=avg_len, **PLAIN), text)


ALL_TEXTS = " ".join(corpus.TEXTS)
ALL_STOP_WORDS = " ".join(sorted(set().union(*map(stop_words, LANGUAGES))))


@pytest.mark.parametrize("language", [*LANGUAGES, *CODES])
def test_the_defaults_of_each_language(language: str) -> None:
    assert_same(pair(language=language), ALL_TEXTS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_stop_words(language: str) -> None:
    models = pair(tokenizer="Whitespace", stopwords=((language,), ()), stemmer=None)
    assert_same(models, ALL_STOP_WORDS)
    assert_same(models, ALL_STOP_WORDS.upper())


@pytest.mark.parametrize("language", STEMMED)
def test_stemmers(language: str) -> None:
    assert_same(pair(stopwords=((), ()), stemmer=language), f"{ALL_STOP_WORDS} {ALL_TEXTS}")


@pytest.mark.parametrize(
    ("tokenizer", "options", "pattern"),
    [
        ("Word", {"lowercase": False}, "a{}b"),
        ("Whitespace", {"lowercase": False}, "a{}b"),
        ("Whitespace", {}, "{}"),
        ("Whitespace", {"lowercase": False, "ascii_folding": True}, "{}"),
        ("Code", {}, "AB{0} a{0} {0}aB ABs{0}"),
    ],
)
def test_every_character(tokenizer: str, options: dict[str, Any], pattern: str) -> None:
    models = pair(tokenizer=tokenizer, **options, **PLAIN)
    # A letter without case is like any other to the parts of code.
    plain = ("Lo", "Cn") if tokenizer == "Code" else ()
    characters = [c for c in ALL_CHARACTERS if unicodedata.category(c) not in plain]
    for start in range(0, len(characters), 256):
        part = characters[start : start + 256]
        assert_same(models, " ".join(map(pattern.format, part)))


def test_the_tables_cover_unicode() -> None:
    text = "".join(ALL_CHARACTERS)
    assert len("".join(re.findall(run_of(ALPHANUMERIC), text))) == 149_106
    assert len("".join(re.findall(run_of(NUMERIC), text))) == 1_924


def test_a_sigma_beside_a_letter_too_young_for_this_python_may_differ() -> None:
    # Qdrant follows Unicode 17; Python before 3.14 does not know that these letters have case.
    assert_same(pair(**PLAIN), "ΑΣ ΣΑΣΑ " + " ".join(sorted(YOUNG)))
    mine, theirs = pair(**PLAIN)
    text = "\U00010d50Σ"
    if sys.version_info < (3, 14):
        assert mine.embed_query(text).indices != theirs.embed_query(text).indices
    else:
        assert mine.embed_query(text).indices == theirs.embed_query(text).indices


@pytest.mark.parametrize(
    "options",
    [
        {"language": "klingon"},
        {"language": "English"},
        {"language": "none"},
        {"k": -1.0},
        {"k": float("inf")},
        {"k": float("nan")},
        {"b": 1.5},
        {"b": -0.1},
        {"avg_len": 0.0},
        {"avg_len": float("inf")},
        {"min_token_len": -1},
    ],
)
def test_what_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises((ValueError, OverflowError)):
        built(qdrant_edge, options)
    with pytest.raises(edge.ValidationError):
        built(edge, options)
