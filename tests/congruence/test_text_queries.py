"""Text indexes answer as qdrant_edge's do: conditions on words, and the scores of text queries.

The deliberate differences are tests of their own, at the end; each shows both answers.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import qdrant_edge
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.errors import UnknownField, ValidationError
from edge.model.config import Durability, EdgeConfig, EdgeOptimizersConfig
from edge.model.filter import (
    FieldCondition,
    Filter,
    HasIdCondition,
    IsEmptyCondition,
    MatchAny,
    MatchExcept,
    MatchPhrase,
    MatchPrefix,
    MatchSubstring,
    MatchText,
    MatchTextAny,
    MatchValue,
    NestedCondition,
    SliceCondition,
    ValuesCount,
)
from edge.model.point import Point
from edge.model.query import Bm25Params, TextQuery
from edge.model.request import CountRequest, QueryRequest, ScrollRequest
from edge.model.schema import (
    IntegerIndexParams,
    KeywordIndexParams,
    PayloadSchemaType,
    TextIndexParams,
)
from edge.model.text import (
    Language,
    SnowballLanguage,
    SnowballParams,
    StopwordsSet,
    TokenizerType,
)
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams
from tests.congruence.engines import ALL, Pair, theirs, ties_by_id

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "text"))
corpus = importlib.import_module("corpus")

U = UpdateOperation
Payload = dict[str, Any]

FEW = settings(
    max_examples=settings().max_examples // 5,  # each of some hundred answers
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

SIZE = 64
CONFIG = EdgeConfig(
    vectors=EdgeVectorParams(size=SIZE, distance=Distance.Dot),
    optimizers=EdgeOptimizersConfig(
        deleted_threshold=0.1,
        vacuum_min_vector_number=8,
        default_segment_number=1,
        indexing_threshold=1,
    ),
    durability=Durability.Os,
)
scored = partial(TextIndexParams, scoring=True, phrase_matching=True)
ENGLISH = SnowballParams(SnowballLanguage.English)
INDEXES: dict[str, TextIndexParams] = {
    "word": scored(stopwords=Language.English, stemmer=ENGLISH),
    "whitespace": scored(TokenizerType.Whitespace, lowercase=False, stopwords=Language.English),
    "prefix": scored(TokenizerType.Prefix, 2, 5, ascii_folding=True),
    "code": scored(TokenizerType.Code),
    "multilingual": scored(TokenizerType.Multilingual, max_token_len=9),
    "loose": TextIndexParams(
        scoring=True, stopwords=StopwordsSet([Language.German], ["mug"]), min_token_len=3
    ),
    "list[].word": scored(stopwords=Language.English),
    "object[].word": scored(nested="object", stopwords=Language.English, on_disk=True),
}
NESTED = ["list", "object"]

WORDS = [
    "red",
    "Red",
    "mug",
    "cup",
    "the",
    "a",
    "running",
    "runs",
    "fooBar",
    "foo_bar",
    "café",
    "die",
]
DOCUMENTS = [
    *(text for text in corpus.TEXTS if "ロ" not in text),  # Japanese has other words, see README
    "xy fooBar zz", "foo_bar zz", "fooBar_bazQux", "parseURLs(IDsOf)", "foobar", "0xFF_aB",
    "", "---", "the a", "red", "mug",
]  # fmt: skip

phrases = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)
documents = phrases | phrases | st.sampled_from(DOCUMENTS)
contents = st.one_of(
    documents,
    st.lists(documents, max_size=3),
    st.lists(documents | st.sampled_from([None, 5, True, ["red mug"], {"a": "red"}]), max_size=4),
    st.sampled_from([None, 5, [], {"word": "red"}]),
)
objects = st.fixed_dictionaries({}, optional={"word": contents, "x": st.just("red")})
arrays = st.lists(objects | st.sampled_from([None, 5, "red"]), max_size=3) | objects
payloads = st.fixed_dictionaries(
    {},
    optional={
        **{name: contents for name in INDEXES if "[" not in name},
        **dict.fromkeys(NESTED, arrays),
    },
)
pieces = st.sampled_from(DOCUMENTS).flatmap(
    lambda text: st.tuples(st.integers(0, len(text)), st.integers(1, 25)).map(
        lambda cut: text[cut[0] : cut[0] + cut[1]]
    )
)
sought = phrases | pieces
matches = st.builds(
    lambda kind, text: kind(text),
    st.sampled_from([MatchText, MatchTextAny, MatchPhrase, MatchText, MatchPhrase, MatchPrefix,
                     MatchSubstring, MatchValue]),
    sought,
) | st.builds(
    lambda kind, texts: kind(texts), st.sampled_from([MatchAny, MatchExcept]), st.lists(sought)
)  # fmt: skip


def found_by(shard: Any, request: Any) -> list[Any]:
    records, _ = shard.scroll(request)
    return [record.id for record in records]


def same(pair: Pair, filter: Filter) -> None:
    request = ScrollRequest(limit=ALL, filter=filter, with_payload=False)
    assert found_by(pair.ours, request) == found_by(pair.theirs, theirs(request)), filter


def asked_of(path: str, match: Any) -> Iterator[Filter]:
    """The condition and its opposite, and both inside of elements."""
    whole = FieldCondition(path, match=match)
    yield Filter(must=[whole])
    yield Filter(must_not=[whole])
    if "[" in path:
        array, key = path.split("[].")
        inner = FieldCondition(key, match=match)
        for filter in (Filter(must=[inner]), Filter(must_not=[inner])):
            yield Filter(must=[NestedCondition(array, filter)])
            yield Filter(must_not=[NestedCondition(array, filter)])
        other = FieldCondition("x", match=MatchValue("red"))
        yield Filter(must=[NestedCondition(array, Filter(must=[inner, other]))])


def upsert(first: int, given: list[Payload]) -> UpdateOperation:
    return U.upsert_points(
        [Point(id, [1.0] * SIZE, payload) for id, payload in enumerate(given, first)]
    )


def fill(pair: Pair, first: list[Payload], second: list[Payload], gone: set[int]) -> None:
    """Half of ours is built; Qdrant's is not, so that its statistics are of the living."""
    pair.clear()
    pair.update(upsert(0, first))
    pair.ours.optimize()
    pair.update(upsert(len(first) - 5, second))
    pair.update(U.delete_points(gone))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    made = Pair(tmp_path_factory.mktemp("texts") / "pair", CONFIG)
    for path, schema in INDEXES.items():
        made.update(U.create_field_index(path, schema))
    yield made
    made.close()


stored = {
    "first": st.lists(payloads, min_size=15, max_size=15),
    "second": st.lists(payloads, min_size=15, max_size=15),
    "gone": st.sets(st.integers(0, 24), max_size=5),
}


@FEW
@given(
    **stored,
    asked=st.lists(st.tuples(st.sampled_from(list(INDEXES)), matches), min_size=18, max_size=18),
)
def test_any_condition_on_a_field_with_a_text_index(
    pair: Pair, first: list[Payload], second: list[Payload], gone: set[int], asked: list[Any]
) -> None:
    fill(pair, first, second, gone)
    for path, match in asked:
        if path != "loose" or not isinstance(match, MatchPhrase):  # see the end
            for filter in asked_of(path, match):
                same(pair, filter)
    for path in INDEXES:
        same(pair, Filter(must=[IsEmptyCondition(path)]))
        same(pair, Filter(must=[FieldCondition(path, values_count=ValuesCount(gte=1))]))
    pair.compare_schema()


queries = st.builds(
    TextQuery,
    st.sampled_from(list(INDEXES)),
    sought,
    st.one_of(
        st.none(),
        st.builds(
            Bm25Params, st.sampled_from([0.0, 0.5, 1.2, 8.0]), st.sampled_from([0.0, 0.3, 1.0])
        ),
    ),
)
filters = st.one_of(
    st.none(),
    st.builds(lambda i: Filter(must=[SliceCondition(3, i)]), st.integers(0, 2)),
    st.builds(lambda ids: Filter(must_not=[HasIdCondition(ids)]), st.sets(st.integers(0, 24))),
    st.builds(lambda text: Filter(must=[FieldCondition("word", match=MatchText(text))]), phrases),
)
requests = st.builds(
    QueryRequest,
    st.sampled_from([ALL, 10, 3, 1, 0]),
    st.sampled_from([None, 0, 1, 4, 30]),
    queries,
    filter=filters,
    # No score lies within rounding of one of these.
    score_threshold=st.sampled_from([None, None, -1.0, 0.312345, 1.012345]),
)


def same_scores(pair: Pair, request: QueryRequest) -> None:
    """Equal scores at each place; which of equal points the limit leaves is Qdrant's accident."""
    unlimited = msgspec.structs.replace(request, limit=ALL, offset=0)
    known = {hit.id: hit.score for hit in pair.theirs.query(theirs(unlimited))}
    page = pair.theirs.query(theirs(request))
    found = pair.ours.query(request)
    assert len(found) == len(page) == len({hit.id for hit in found}), request
    for hit, at_the_place in zip(found, page, strict=True):
        assert hit.score == pytest.approx(known[hit.id], rel=1e-6, abs=1e-6), request
        assert hit.score == pytest.approx(at_the_place.score, rel=1e-6, abs=1e-6), request
        assert (hit.payload, hit.vector, hit.order_value) == (None, None, None)
    assert ties_by_id(found)


@FEW
@given(**stored, asked=st.lists(requests, min_size=30, max_size=30))
def test_any_text_query(
    pair: Pair, first: list[Payload], second: list[Payload], gone: set[int], asked: list[Any]
) -> None:
    fill(pair, first, second, gone)
    for request in asked:
        same_scores(pair, request)


TITLES: list[Payload] = [
    {"a": "red mug"}, {"a": "red red mug cup"}, {"a": ["blue", "red cup"]}, {"a": ""}, {"a": 5},
    {"a": "blue mug on the table"}, {}, {"a": "cup"}, {"a": ["", 5]}, {"a": "RED Red red"},
]  # fmt: skip


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path / "pair", CONFIG)
    made.update(upsert(0, TITLES))
    yield made
    made.close()


ASKED = ["red", "red mug", "mug red red", "blue", "the", "unknown", "", "on the red table cup"]


def test_scores_before_and_after_a_rebuild_and_a_restart(small: Pair) -> None:
    small.update(U.create_field_index("a", TextIndexParams(scoring=True)))
    for change in (lambda: None, small.optimize, small.restart):
        change()
        for text in ASKED:
            same_scores(small, QueryRequest(10, query=TextQuery("a", text)))


def test_a_score_equal_to_the_threshold_is_left_out(small: Pair) -> None:
    small.update(U.create_field_index("a", TextIndexParams(scoring=True)))
    request = QueryRequest(10, query=TextQuery("a", "red"))
    for shard, asked in ((small.ours, request), (small.theirs, theirs(request))):
        scores = sorted({hit.score for hit in shard.query(asked)}, reverse=True)
        above = msgspec.structs.replace(request, score_threshold=scores[1])
        hits = shard.query(above if shard is small.ours else theirs(above))
        assert {hit.score for hit in hits} == {scores[0]}


def test_an_index_made_again_scores_the_living_alone(small: Pair) -> None:
    small.optimize()
    small.update(U.delete_points([0, 1]))
    small.update(U.set_payload([2], {"b": 1}))
    for schema in (TextIndexParams(), TextIndexParams(scoring=True, phrase_matching=True)):
        small.update(U.create_field_index("a", schema))
    for text in ASKED:
        same_scores(small, QueryRequest(10, query=TextQuery("a", text)))


REFUSED: list[tuple[Any, Any, str]] = [
    (None, UnknownField, "has none"),
    (PayloadSchemaType.Keyword, UnknownField, "Keyword"),
    (IntegerIndexParams(), UnknownField, "Integer"),
    (PayloadSchemaType.Text, ValidationError, "scoring"),
    (TextIndexParams(), ValidationError, "scoring"),
    (TextIndexParams(scoring=False), ValidationError, "scoring"),
]


@pytest.mark.parametrize(("schema", "kind", "message"), REFUSED)
def test_both_refuse_a_query_without_a_scored_index(
    small: Pair, schema: Any, kind: Any, message: str
) -> None:
    if schema is not None:
        small.update(U.create_field_index("a", schema))
    for limit, text in ((3, "red"), (0, "red"), (3, "")):
        request = QueryRequest(limit, query=TextQuery("a", text))
        small.refuse(lambda shard, asked=request: shard.query(asked), kind, message)


def test_an_index_serves_its_own_path_alone(small: Pair) -> None:
    small.update(U.create_field_index("a[]", scored()))
    same_scores(small, QueryRequest(10, query=TextQuery("a[]", "red")))
    small.refuse(
        lambda shard: shard.query(QueryRequest(3, query=TextQuery("a", "red"))),
        UnknownField,
        "has none",
    )
    for match in (MatchText("RED cup"), MatchPhrase("red cup"), MatchTextAny("mug")):
        for path in ("a", "a[]"):
            same(small, Filter(must=[FieldCondition(path, match=match)]))


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("k", "b", "argument"),
    [
        *((k, 0.5, "k") for k in [-1.0, INF, 1e300, NAN]),
        *((1.2, b, "b") for b in [-0.1, 1.1, NAN]),
    ],
)
def test_both_refuse_params_that_are_none(small: Pair, k: float, b: float, argument: str) -> None:
    """Ours when they are made, Qdrant when they are asked for."""
    with pytest.raises(ValidationError, match=argument):
        Bm25Params(k, b)
    small.update(U.create_field_index("a", TextIndexParams(scoring=True)))
    query = qdrant_edge.TextQuery("a", "red", qdrant_edge.Bm25Params(k, b))
    with pytest.raises(Exception, match="BM25"):
        small.theirs.query(qdrant_edge.QueryRequest(3, query=query))


def test_filters_by_words_hold_for_every_request(small: Pair) -> None:
    small.update(U.create_field_index("a", TextIndexParams(stopwords=Language.English)))
    wanted = Filter(must=[FieldCondition("a", match=MatchText("the red"))])
    small.compare_count(CountRequest(True, wanted))
    assert small.ours.count(CountRequest(True, wanted)) == 4
    small.update(U.delete_points_by_filter(wanted))
    small.compare()


# Deliberate differences.


@pytest.mark.parametrize("phrase", ["red mug", "red"])
def test_a_phrase_is_found_without_phrase_matching_where_qdrant_finds_nothing(
    small: Pair, phrase: str
) -> None:
    small.update(U.create_field_index("a", TextIndexParams()))
    wanted = Filter(must=[FieldCondition("a", match=MatchPhrase(phrase))])
    request = ScrollRequest(limit=ALL, filter=wanted)
    assert found_by(small.ours, request) == ([0, 1] if phrase == "red mug" else [0, 1, 2, 9])
    assert found_by(small.theirs, theirs(request)) == []


def test_the_dead_do_not_count_where_qdrants_optimized_segments_remember_them(small: Pair) -> None:
    small.update(U.create_field_index("a", TextIndexParams(scoring=True)))
    request = QueryRequest(10, query=TextQuery("a", "red"))
    before = scores_of(small.theirs, theirs(request))
    assert scores_of(small.ours, request) == pytest.approx(before, abs=1e-6)
    small.optimize()
    assert small.theirs.info().indexed_vectors_count == 10
    small.update(U.delete_points([1]))
    alone = {id: score for id, score in before.items() if id != 1}
    assert scores_of(small.theirs, theirs(request)) == pytest.approx(alone, abs=1e-6)
    own = scores_of(small.ours, request)
    assert own.keys() == alone.keys()
    assert all(abs(own[id] - alone[id]) > 1e-3 for id in own)
    small.update(U.create_field_index("a", TextIndexParams(scoring=True, phrase_matching=True)))
    assert scores_of(small.theirs, theirs(request)) == pytest.approx(own, abs=1e-6)


def test_a_moved_point_counts_once_where_qdrant_counts_its_old_text_too(small: Pair) -> None:
    small.update(U.create_field_index("a", TextIndexParams(scoring=True)))
    small.optimize()
    request = QueryRequest(10, query=TextQuery("a", "red"))
    before = scores_of(small.ours, request)
    small.update(U.set_payload([2], {"b": 1}))
    assert scores_of(small.ours, request) == before
    others = scores_of(small.theirs, theirs(request))
    assert others.keys() == before.keys()
    assert all(abs(others[id] - before[id]) > 1e-3 for id in before)


def scores_of(shard: Any, request: Any) -> dict[int, float]:
    return {hit.id: hit.score for hit in shard.query(request)}


def test_a_keyword_index_excepts_any_value_where_qdrants_wants_a_text(small: Pair) -> None:
    """With a text index both read payloads."""
    wanted = Filter(must=[FieldCondition("a", match=MatchExcept(["red mug"]))])
    request = ScrollRequest(limit=ALL, filter=wanted)
    small.update(U.create_field_index("a", PayloadSchemaType.Text))
    same(small, wanted)
    small.update(U.create_field_index("a", KeywordIndexParams()))
    assert found_by(small.ours, request) == [1, 2, 3, 4, 5, 7, 8, 9]
    assert found_by(small.theirs, theirs(request)) == [1, 2, 3, 5, 7, 8, 9]
