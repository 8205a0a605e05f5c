"""Ids, weights, and the model that callers hold; the values are held against Qdrant elsewhere."""

from __future__ import annotations

import importlib
import math
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edge
from edge import Bm25, Bm25Config, DisabledStemmer, StopwordsSet, TokenizerType
from edge.text.bm25 import fused, term_weight, token_id

sys.path.insert(0, str(Path(__file__).resolve().parent))
corpus = importlib.import_module("corpus")

PLAIN = Bm25(Bm25Config(stopwords=StopwordsSet(), stemmer=DisabledStemmer()))


def test_token_ids_are_the_known_ones() -> None:
    # The published vectors of MurmurHash3_x86_32 with seed 0, the sign dropped.
    assert token_id("") == 0
    assert token_id("test") == 2**32 - 0xBA6BD213
    assert token_id("Hello, world!") == 2**32 - 0xC0363E43
    assert token_id("The quick brown fox jumps over the lazy dog") == 0x2E4FF723


@given(st.text())
def test_ids_fit_in_31_bits(token: str) -> None:
    if "\ud800" <= max(token, default="") <= "\udfff":
        return
    assert 0 <= token_id(token) <= 2**31


def test_the_weight_of_a_term() -> None:
    # 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 5 / 5))
    assert term_weight(2, 5, 1.2, 0.75, 5.0) == pytest.approx(1.375)
    assert term_weight(3, 5, 0.0, 0.75, 5.0) == 1.0


@given(st.floats(0, 1e30), st.floats(0, 1e6), st.integers(1, 10_000))
def test_fused_rounds_once(a: float, b: float, c: int) -> None:
    assert fused(a, b, c) == float(Fraction(a) * Fraction(b) + c)
    assert math.isinf(fused(1e308, 1e308, 1))


@given(corpus.texts)
def test_vectors_are_sorted_and_bounded(text: str) -> None:
    document, query = PLAIN.embed_document(text), PLAIN.embed_query(text)
    assert sorted(set(document.indices)) == document.indices
    assert document.indices == query.indices or "\x00" in text
    assert set(query.values) <= {1.0}
    assert all(0 < value <= 2.2 for value in document.values)
    indices, values = document.arrays
    assert (indices.dtype, values.dtype) == (np.uint32, np.float32)
    assert not indices.flags.writeable
    assert not values.flags.writeable


def test_a_longer_document_weighs_its_terms_less() -> None:
    short, long = PLAIN.embed_document("mug"), PLAIN.embed_document("mug on the table")
    assert short.values[0] > dict(zip(long.indices, long.values, strict=True))[token_id("mug")]


def test_an_empty_text_has_no_terms() -> None:
    assert PLAIN.embed_document("") == PLAIN.embed_query(" ... ") == edge.SparseVector([], [])


def test_the_config_has_qdrants_defaults() -> None:
    config = Bm25Config()
    assert (config.k, config.b, config.avg_len) == (1.2, 0.75, 256.0)
    assert config.tokenizer is TokenizerType.Word
    assert config == Bm25Config(None, None, None, None)
    assert Bm25().config == config
    assert "Bm25Config" in repr(Bm25())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"k": -1.0}, "k"),
        ({"k": 1e31}, "k"),
        ({"b": 1.1}, "b"),
        ({"b": "1"}, "b"),
        ({"avg_len": 0}, "avg_len"),
        ({"tokenizer": "word"}, "tokenizer"),
        ({"language": "klingon"}, "klingon"),
        ({"language": 1}, "language"),
        ({"lowercase": 1}, "lowercase"),
        ({"ascii_folding": "no"}, "ascii_folding"),
        ({"stopwords": {"the"}}, "stopwords"),
        ({"stemmer": "english"}, "stemmer"),
        ({"min_token_len": -1}, "min_token_len"),
        ({"max_token_len": True}, "max_token_len"),
    ],
)
def test_the_config_names_what_it_refuses(options: dict[str, object], named: str) -> None:
    with pytest.raises(edge.ValidationError, match=named):
        Bm25Config(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "make",
    [
        lambda: edge.StopwordsSet(languages={"english"}),
        lambda: edge.StopwordsSet(custom="the"),
        lambda: edge.StopwordsSet(custom={1}),
        lambda: edge.SnowballParams("english"),
        lambda: Bm25("english"),
        lambda: PLAIN.embed_query("lone \ud800"),
        lambda: PLAIN.embed_document(b"bytes"),
    ],
)
def test_other_refusals(make: object) -> None:
    with pytest.raises(edge.ValidationError):
        make()  # type: ignore[operator]


def test_without_the_extra_all_works_but_stemming(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py_rust_stemmers", None)
    with pytest.raises(edge.ValidationError, match=r"edgeshard\[text\].*DisabledStemmer"):
        Bm25()
    model = Bm25(Bm25Config(stemmer=DisabledStemmer()))
    assert model.embed_query("the foxes").indices == [token_id("foxes")]
    # A language without a stemmer needs none.
    Bm25(Bm25Config(language="hebrew"))
    monkeypatch.setitem(sys.modules, "rjieba", None)
    with pytest.raises(edge.ValidationError, match=r"rjieba.*edgeshard\[text\]"):
        Bm25(Bm25Config(tokenizer=TokenizerType.Multilingual, language="hebrew"))
