"""The same texts found by qdrant_edge's text indexes as the analyzer's tokens say."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import qdrant_edge as qdrant
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.text.analyzer import Analyzer
from edge.text.stemmer import stemmer
from edge.text.stop_words import stop_words

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "text"))
corpus = importlib.import_module("corpus")

CODE = ["xy fooBar zz", "foo_bar zz", "fooBar_bazQux", "parseURLs(IDsOf)", "foobar", "0xFF_aB"]
DOCUMENTS = [*corpus.TEXTS, *CODE]
FIELDS = {
    "word": (
        Analyzer("word", stop_words=stop_words("english"), stem=stemmer("english")),
        {
            "tokenizer": qdrant.TokenizerType.Word,
            "stopwords": qdrant.Language.English,
            "stemmer": qdrant.SnowballParams(qdrant.SnowballLanguage.English),
        },
    ),
    "whitespace": (
        Analyzer("whitespace", lowercase=False),
        {"tokenizer": qdrant.TokenizerType.Whitespace, "lowercase": False},
    ),
    "prefix": (
        Analyzer("prefix", ascii_folding=True, min_token_len=2, max_token_len=5),
        {
            "tokenizer": qdrant.TokenizerType.Prefix,
            "ascii_folding": True,
            "min_token_len": 2,
            "max_token_len": 5,
        },
    ),
    "code": (Analyzer("code"), {"tokenizer": qdrant.TokenizerType.Code}),
}


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[qdrant.EdgeShard]:
    config = qdrant.EdgeConfig(qdrant.EdgeVectorParams(1, qdrant.Distance.Dot))
    shard = qdrant.EdgeShard.create(str(tmp_path_factory.mktemp("tokens")), config)
    operation = qdrant.UpdateOperation
    for field, (_, options) in FIELDS.items():
        params = qdrant.TextIndexParams(phrase_matching=True, **options)
        shard.update(operation.create_field_index(field, params))
    payloads = [dict.fromkeys(FIELDS, text) for text in DOCUMENTS]
    points = [qdrant.Point(at, [1.0], payload) for at, payload in enumerate(payloads)]
    shard.update(operation.upsert_points(points))
    yield shard
    shard.close()


def found(shard: qdrant.EdgeShard, field: str, match: object) -> set[object]:
    condition = qdrant.FieldCondition(field, match=match)
    request = qdrant.ScrollRequest(limit=1000, filter=qdrant.Filter(must=[condition]))
    records, _ = shard.scroll(request)
    return {record.id for record in records}


def stands_in(phrase: list[str], sequence: list[str]) -> bool:
    size = len(phrase)
    return any(sequence[at : at + size] == phrase for at in range(len(sequence) - size + 1))


pieces = st.sampled_from(DOCUMENTS).flatmap(
    lambda text: st.tuples(st.integers(0, len(text)), st.integers(1, 25)).map(
        lambda cut: text[cut[0] : cut[0] + cut[1]]
    )
)


@settings(max_examples=300, deadline=None)
@given(field=st.sampled_from(sorted(FIELDS)), text=st.one_of(pieces, corpus.fragments))
def test_conditions_find_what_the_tokens_say(
    shard: qdrant.EdgeShard, field: str, text: str
) -> None:
    analyzer, _ = FIELDS[field]
    sought = analyzer.sought(text)
    tokens = [set(analyzer.document(document)) for document in DOCUMENTS]
    every = {at for at, those in enumerate(tokens) if sought and those.issuperset(sought)}
    some = {at for at, those in enumerate(tokens) if not those.isdisjoint(sought)}
    assert found(shard, field, qdrant.MatchText(text)) == every
    assert found(shard, field, qdrant.MatchTextAny(text)) == some
    if len(sought) > 1 and field != "prefix":
        sequences = [analyzer.sequence(document) for document in DOCUMENTS]
        phrases = {at for at, those in enumerate(sequences) if stands_in(sought, those)}
        assert found(shard, field, qdrant.MatchPhrase(text)) == phrases
