"""Schemas: what params may be, what `nested` must be inside of, and bytes for log and manifest."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import CallerError, CorruptData, LimitExceeded, ValidationError
from edge.model import check, schema
from edge.model.choice import Memory
from edge.model.config import EdgeConfig
from edge.model.schema import (
    KINDS,
    NO_SCHEMA,
    BoolIndexParams,
    DatetimeIndexParams,
    FloatIndexParams,
    GeoIndexParams,
    IndexedField,
    IndexParams,
    IntegerIndexParams,
    KeywordIndexParams,
    PayloadIndexInfo,
    PayloadSchemaType,
    TextIndexParams,
    TextScoringParams,
    TextScoringType,
    UuidIndexParams,
    check_nested,
    decode_field,
    decode_schema,
    encode_field,
    encode_schema,
    index_analyzer,
    indexed_field,
    is_mapped,
)
from edge.model.text import (
    DisabledStemmer,
    Language,
    SnowballLanguage,
    SnowballParams,
    StopwordsSet,
    TokenizerType,
)
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams

EVERY: list[type] = list(get_args(IndexParams))
WHOLE: list[Any] = [
    KeywordIndexParams(True, False, True, True, Memory.Cold, "parts"),
    IntegerIndexParams(True, True, False, False, True, Memory.Pinned, "parts[]"),
    FloatIndexParams(True, True, False, Memory.Cached, "parts"),
    GeoIndexParams(True, False, Memory.Cold, "parts"),
    BoolIndexParams(True, False, Memory.Cold, "parts"),
    DatetimeIndexParams(True, True, False, Memory.Cold, "parts"),
    UuidIndexParams(True, True, False, Memory.Cold, "parts"),
    TextIndexParams(
        TokenizerType.Whitespace, 1, 9, False, True, True, StopwordsSet([Language.English], ["x"]),
        True, DisabledStemmer(), False, Memory.Cold, True, "parts",
    ),
]  # fmt: skip


def test_every_kind_has_params() -> None:
    assert set(KINDS) == set(EVERY)
    assert set(KINDS.values()) == set(PayloadSchemaType)
    for kind in PayloadSchemaType:
        field = indexed_field(kind)
        assert (field.kind, field.plain) == (kind, True)
        assert field.params == type(field.params)()


@pytest.mark.parametrize("params", WHOLE, ids=lambda params: type(params).__name__)
def test_params_are_values(params: Any) -> None:
    assert pickle.loads(pickle.dumps(params)) == params
    assert hash(params) == hash(pickle.loads(pickle.dumps(params)))
    assert params != type(params)()
    assert params.nested == "parts[]", "the array, as every element of it"
    with pytest.raises(AttributeError):
        params.nested = None
    field = indexed_field(params)
    assert (field.params, field.plain, field.kind) == (params, False, KINDS[type(params)])


def test_defaults() -> None:
    for kind in EVERY:
        params = kind()
        assert params.nested is params.memory is params.on_disk is params.enable_hnsw is None
    text = TextIndexParams()
    assert (text.tokenizer, text.scoring) == (TokenizerType.Word, None)
    assert TextIndexParams(None) == text
    assert TextIndexParams(scoring=False).scoring is None
    assert TextIndexParams(scoring=True).scoring == TextScoringParams(TextScoringType.Bm25)
    assert TextIndexParams(scoring=TextScoringParams()) == TextIndexParams(scoring=True)


@pytest.mark.parametrize(
    ("on_disk", "memory", "mapped"),
    [
        (None, None, False), (False, None, False), (True, None, True),
        (None, Memory.Cold, True), (None, Memory.Cached, True), (None, Memory.Pinned, False),
        (True, Memory.Pinned, False), (False, Memory.Cold, True),
    ],
)  # fmt: skip
def test_memory_outweighs_on_disk(on_disk: Any, memory: Any, mapped: bool) -> None:
    for kind in EVERY:
        assert is_mapped(kind(on_disk=on_disk, memory=memory)) is mapped


REFUSED: list[tuple[Callable[[], Any], str]] = [
    *((lambda k=k: k(on_disk=1), "on_disk: expected a bool") for k in EVERY),
    *((lambda k=k: k(enable_hnsw="yes"), "enable_hnsw: expected a bool") for k in EVERY),
    *((lambda k=k: k(memory="cold"), "memory: expected a Memory") for k in EVERY),
    *((lambda k=k: k(nested=7), "nested: expected a str") for k in EVERY),
    *((lambda k=k: k(nested="a[["), "payload path") for k in EVERY),
    *((lambda k=k: k(nested="\ud800"), "surrogate|payload path") for k in EVERY),
    (lambda: KeywordIndexParams(is_tenant=1), "is_tenant: expected a bool"),
    (lambda: KeywordIndexParams(prefix=1), "prefix: expected a bool"),
    (lambda: UuidIndexParams(is_tenant=0), "is_tenant: expected a bool"),
    (lambda: IntegerIndexParams(lookup=1), "lookup: expected a bool"),
    (lambda: IntegerIndexParams(range=1), "range: expected a bool"),
    (lambda: IntegerIndexParams(is_principal=1), "is_principal: expected a bool"),
    (lambda: FloatIndexParams(is_principal=1), "is_principal: expected a bool"),
    (lambda: DatetimeIndexParams(is_principal=1), "is_principal: expected a bool"),
    (lambda: TextIndexParams("word"), "tokenizer: expected a TokenizerType"),
    (lambda: TextIndexParams(min_token_len=-1), "min_token_len: expected 0"),
    (lambda: TextIndexParams(max_token_len=2**63), "max_token_len: expected 0"),
    (lambda: TextIndexParams(max_token_len=1.5), "max_token_len: expected an int"),
    (lambda: TextIndexParams(lowercase=1), "lowercase: expected a bool"),
    (lambda: TextIndexParams(ascii_folding=1), "ascii_folding: expected a bool"),
    (lambda: TextIndexParams(phrase_matching=1), "phrase_matching: expected a bool"),
    (lambda: TextIndexParams(stopwords=["the"]), "stopwords"),
    (lambda: TextIndexParams(stemmer="english"), "stemmer"),
    (lambda: TextIndexParams(scoring=1), "scoring: expected a TextScoringParams"),
    (lambda: TextIndexParams(scoring="bm25"), "scoring: expected a TextScoringParams"),
    (lambda: TextScoringParams("bm25"), "type: expected a TextScoringType"),
    (lambda: indexed_field("keyword"), "schema: expected a PayloadSchemaType or the params"),
    (lambda: indexed_field(KeywordIndexParams), "schema: expected a PayloadSchemaType"),
    (lambda: indexed_field(None), "schema: expected a PayloadSchemaType"),
    (lambda: indexed_field({"type": "keyword"}), "schema: expected a PayloadSchemaType"),
]


@pytest.mark.parametrize(("build", "message"), REFUSED, ids=range(len(REFUSED)))
def test_refuses_naming_the_argument(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        build()


# -- nested


@pytest.mark.parametrize(
    ("path", "nested"),
    [
        ("parts[].b", "parts"),
        ("parts[].b", "parts[]"),
        ("parts[].b.c", "parts"),
        ("parts[].b[]", "parts"),
        ("a.parts[].b", "a.parts"),
        ('"x y"[].b', '"x y"'),
    ],
)
def test_a_field_inside_of_the_elements_of_an_array(path: str, nested: str) -> None:
    check_nested(path, KeywordIndexParams(nested=nested))
    operation: Any = UpdateOperation.create_field_index(path, KeywordIndexParams(nested=nested))
    assert operation.field_name == path


@pytest.mark.parametrize(
    ("path", "nested"),
    [
        ("parts", "parts"),
        ("parts[]", "parts"),
        ("parts[][]", "parts"),
        ("parts[][0]", "parts"),
        ("parts[0].b", "parts"),
        ("parts.b", "parts"),
        ("other[].b", "parts"),
        ("a.parts[].b", "parts"),
        ("parts[].b[].c", "parts[].b"),
        ("parts[0].b[].c", "parts[0].b"),
        ("parts[][].b", "parts[][]"),
    ],
)
def test_fields_outside_are_refused(path: str, nested: str) -> None:
    with pytest.raises(ValidationError, match=r"^nested: "):
        check_nested(path, KeywordIndexParams(nested=nested))
    with pytest.raises(ValidationError, match=r"^nested: "):
        UpdateOperation.create_field_index(path, TextIndexParams(nested=nested))


def test_paths_are_read_back_canonical() -> None:
    for build in (
        lambda path: UpdateOperation.create_field_index(path, PayloadSchemaType.Geo),
        UpdateOperation.delete_field_index,
    ):
        assert build('"a"."b c"[007]').field_name == 'a."b c"[7]'
        with pytest.raises(ValidationError, match="field_name: expected a str"):
            build(7)
        with pytest.raises(ValidationError, match="payload path"):
            build("a..b")
        with pytest.raises(LimitExceeded):
            build(".".join("a" * 65))


# -- bytes

fields = st.sampled_from([*map(indexed_field, [*PayloadSchemaType, *WHOLE, GeoIndexParams()])])
schemas = st.dictionaries(st.sampled_from(["a", "a.b", "parts[].b", '"x y"', "größe"]), fields)


@given(schemas)
def test_a_schema_is_read_back_from_its_bytes(known: dict[str, IndexedField]) -> None:
    assert decode_schema(encode_schema(known)) == known
    assert encode_schema(dict(reversed(known.items()))) == encode_schema(known)


@given(fields, fields)
def test_bytes_of_fields_are_equal_where_the_index_would_be(a: Any, b: Any) -> None:
    assert decode_field(encode_field(a)).params == a.params
    assert (encode_field(a) == encode_field(b)) == (a.params == b.params)


def test_no_bytes_are_no_schema() -> None:
    assert decode_schema(b"") == NO_SCHEMA == {}


GOOD = encode_schema({"a": indexed_field(PayloadSchemaType.Text)})
BROKEN: dict[str, bytes] = {
    "no msgpack": b"\xc1",
    "cut": GOOD[:-1],
    "more": GOOD + b"\0",
    "a list": msgspec.msgpack.encode([1]),
    "no params": msgspec.msgpack.encode({"a": {}}),
    "an unknown kind": msgspec.msgpack.encode({"a": {"params": {"type": "sparse"}}}),
    "no path": msgspec.msgpack.encode({"a[[": {"params": {"type": "geo"}}}),
    "a flag that is none": msgspec.msgpack.encode({"a": {"params": {"type": "geo", "on_disk": 7}}}),
    "a nested that is no path": msgspec.msgpack.encode(
        {"a": {"params": {"type": "geo", "nested": "[["}}}
    ),
    "a length below 0": msgspec.msgpack.encode(
        {"a": {"params": {"type": "text", "min_token_len": -1}}}
    ),
    "no UTF-8": b"\x81\xa1\xff\x80",
    "far too deep": b"\x91" * 100_000,
}


@pytest.mark.parametrize("name", BROKEN)
def test_bytes_that_are_no_schema_are_corrupt_data(name: str) -> None:
    with pytest.raises(CorruptData, match="schema"):
        decode_schema(BROKEN[name])


@pytest.mark.parametrize("name", ["no msgpack", "cut", "a list", "no UTF-8", "far too deep"])
def test_bytes_that_are_no_field_are_corrupt_data(name: str) -> None:
    with pytest.raises(CorruptData, match="field"):
        decode_field(BROKEN[name])


@given(
    st.binary(max_size=40) | st.builds(lambda n, b: GOOD[:n] + b, st.integers(0, 30), st.binary())
)
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    for decode in (decode_schema, decode_field):
        try:
            decode(data)
        except CorruptData:
            continue


# -- words


@pytest.mark.parametrize(
    ("params", "tokens"),
    [
        (TextIndexParams(), ["the", "tall", "größe", "of", "42", "cups"]),
        (TextIndexParams(lowercase=False), ["The", "tall", "Größe", "of", "42", "Cups"]),
        (TextIndexParams(ascii_folding=True), ["the", "tall", "grosse", "of", "42", "cups"]),
        (TextIndexParams(min_token_len=3, max_token_len=4), ["the", "tall", "cups"]),
        (TextIndexParams(TokenizerType.Whitespace), ["the", "tall", "größe", "of", "42", "cups!"]),
        (TextIndexParams(stopwords=Language.English), ["tall", "größe", "42", "cups"]),
        (
            TextIndexParams(stopwords=StopwordsSet(custom=["tall", "42"])),
            ["the", "größe", "of", "cups"],
        ),
        (
            TextIndexParams(stemmer=SnowballParams(SnowballLanguage.English)),
            ["the", "tall", "größe", "of", "42", "cup"],
        ),
    ],
)
def test_analyzers_are_what_params_say(params: TextIndexParams, tokens: list[str]) -> None:
    assert index_analyzer(params).document("The tall Größe of 42 Cups!") == tokens


def test_equal_params_share_an_analyzer() -> None:
    assert index_analyzer(TextIndexParams()) is index_analyzer(TextIndexParams(scoring=None))
    cut = index_analyzer(TextIndexParams(lowercase=False))
    assert cut is not index_analyzer(TextIndexParams())


def test_a_stemmer_that_is_not_installed_is_refused_before_it_is_logged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(given: Any) -> None:
        raise ValidationError("stemmer: needs edgeshard[text]")

    monkeypatch.setattr(schema, "stem_of", missing)
    schema.index_analyzer.cache_clear()
    operation = UpdateOperation.create_field_index("a", TextIndexParams(max_token_len=77))
    with pytest.raises(CallerError, match="stemmer"):
        check.check(operation, EdgeConfig(EdgeVectorParams(2, Distance.Dot)))


def test_what_info_tells_is_a_value() -> None:
    told = PayloadIndexInfo(PayloadSchemaType.Geo, None, 3)
    assert pickle.loads(pickle.dumps(told)) == told
