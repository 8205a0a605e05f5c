"""Which payload fields are indexed, and how: one params struct for each kind of index.

Invariants: every struct that exists can be honoured; None means "not specified". A schema is a
plain dict from the canonical text of a path to its `IndexedField`, and is never edited: a change is
a new dict. An index never changes what a filter means, with one exception: on a field with a text
index, words are what its analyzer says, and all texts of a point at the field are one document
(with `nested`, all texts of one element).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec
from msgspec import Struct
from msgspec.structs import force_setattr

from edge.errors import CorruptData, ValidationError
from edge.model import fields, json_path
from edge.model.choice import Choice, Memory
from edge.model.text import (
    MAX_LENGTH,
    StemmingAlgorithm,
    Stopwords,
    TokenizerType,
    check_stemmer,
    check_stop_words,
    stem_of,
    stop_words_of,
)
from edge.text.analyzer import Analyzer


class PayloadSchemaType(Choice):
    """The kind of a payload index, that is, which values of a field it holds."""

    Keyword = "keyword"
    Integer = "integer"
    Float = "float"
    Geo = "geo"
    Text = "text"
    Bool = "bool"
    Datetime = "datetime"
    Uuid = "uuid"


class _Params(Struct, frozen=True):
    """What the params of every kind have in common: how they are checked."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if name in _FLAGS:
                fields.flag_or_none(getattr(self, name), name)
        params: Any = self
        fields.member_or_none(params.memory, "memory", Memory)
        if fields.text_or_none(params.nested, "nested") is not None:
            force_setattr(self, "nested", str(json_path.parse(params.nested).every_element()))


_FLAGS: Final = {
    "is_tenant",
    "is_principal",
    "on_disk",
    "enable_hnsw",
    "prefix",
    "lookup",
    "range",
    "lowercase",
    "ascii_folding",
    "phrase_matching",
}


class KeywordIndexParams(_Params, frozen=True, tag="keyword", omit_defaults=True):
    """Texts, whole. `prefix` and `is_tenant` are kept: beginnings are always found by the index.

    Every params struct has `memory` (the older `on_disk` is read where it is None): Cold and
    Cached map the index from its file, Pinned, the default, holds it in memory; and `nested`: the
    array whose objects count one by one, such as "offers" for the field "offers[].price".
    `enable_hnsw` False: the values get no graphs of their own (`HnswIndexConfig.payload_m`).
    """

    is_tenant: bool | None = None
    on_disk: bool | None = None
    enable_hnsw: bool | None = None
    prefix: bool | None = None
    memory: Memory | None = None
    nested: str | None = None


class IntegerIndexParams(_Params, frozen=True, tag="integer", omit_defaults=True):
    """Integers from -2**63 to 2**63 - 1. `lookup`, `range` and `is_principal` are kept: the one
    index that there is finds values and ranges alike."""

    lookup: bool | None = None
    range: bool | None = None
    is_principal: bool | None = None
    on_disk: bool | None = None
    enable_hnsw: bool | None = None
    memory: Memory | None = None
    nested: str | None = None


class FloatIndexParams(_Params, frozen=True, tag="float", omit_defaults=True):
    """Numbers that a 64-bit float holds as they are."""

    is_principal: bool | None = None
    on_disk: bool | None = None
    enable_hnsw: bool | None = None
    memory: Memory | None = None
    nested: str | None = None


class GeoIndexParams(_Params, frozen=True, tag="geo", omit_defaults=True):
    """Places: objects with numbers at "lon" and "lat"."""

    on_disk: bool | None = None
    enable_hnsw: bool | None = None
    memory: Memory | None = None
    nested: str | None = None


class BoolIndexParams(_Params, frozen=True, tag="bool", omit_defaults=True):
    """True and False."""

    on_disk: bool | None = None
    enable_hnsw: bool | None = None
    memory: Memory | None = None
    nested: str | None = None


class DatetimeIndexParams(_Params, frozen=True, tag="datetime", omit_defaults=True):
    """Texts that are moments in time, to the microsecond."""

    is_principal: bool | None = None
    on_disk: bool | None = None
    enable_hnsw: bool | None = None
    memory: Memory | None = None
    nested: str | None = None


class UuidIndexParams(_Params, frozen=True, tag="uuid", omit_defaults=True):
    """Texts that are UUIDs in their usual spelling (lower case, hyphens), in 16 bytes each."""

    is_tenant: bool | None = None
    on_disk: bool | None = None
    enable_hnsw: bool | None = None
    memory: Memory | None = None
    nested: str | None = None


class TextScoringType(Choice):
    """How a text index ranks documents."""

    Bm25 = "bm25"


class TextScoringParams(Struct, frozen=True):
    """Rank the documents of a text index."""

    type: TextScoringType = TextScoringType.Bm25

    def __post_init__(self) -> None:
        fields.member(self.type, "type", TextScoringType)


class TextIndexParams(_Params, frozen=True, tag="text", omit_defaults=True):
    """The words of texts.

    Args:
        tokenizer: default Word.
        min_token_len, max_token_len: tokens outside are dropped, in characters.
        lowercase: default True. ascii_folding: default False.
        phrase_matching: keep the order of the words, so that MatchPhrase reads no payload.
        stopwords: words that give no token. stemmer: needs the extra `edgeshard[text]`.
        scoring: keep counts and lengths, so that a TextQuery can rank; True means BM25.

    The rest is as for KeywordIndexParams. Raises ValidationError naming the argument.
    """

    tokenizer: TokenizerType = TokenizerType.Word
    min_token_len: int | None = None
    max_token_len: int | None = None
    lowercase: bool | None = None
    ascii_folding: bool | None = None
    phrase_matching: bool | None = None
    stopwords: Stopwords | None = None
    on_disk: bool | None = None
    stemmer: StemmingAlgorithm | None = None
    enable_hnsw: bool | None = None
    memory: Memory | None = None
    scoring: TextScoringParams | None = None
    nested: str | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            tokenizer: TokenizerType | None = None,
            min_token_len: int | None = None,
            max_token_len: int | None = None,
            lowercase: bool | None = None,
            ascii_folding: bool | None = None,
            phrase_matching: bool | None = None,
            stopwords: Stopwords | None = None,
            on_disk: bool | None = None,
            stemmer: StemmingAlgorithm | None = None,
            enable_hnsw: bool | None = None,
            memory: Memory | None = None,
            scoring: bool | TextScoringParams | None = None,
            nested: str | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        super().__post_init__()
        tokenizer = fields.member_or_none(self.tokenizer, "tokenizer", TokenizerType)
        force_setattr(self, "tokenizer", tokenizer or TokenizerType.Word)
        for name in ("min_token_len", "max_token_len"):
            fields.integer_or_none(getattr(self, name), name, 0, MAX_LENGTH)
        check_stop_words(self.stopwords)
        check_stemmer(self.stemmer)
        force_setattr(self, "scoring", _scoring(self.scoring))


def _scoring(given: Any) -> TextScoringParams | None:
    if given is None or isinstance(given, bool):
        return TextScoringParams() if given else None
    return fields.instance(given, "scoring", TextScoringParams)


IndexParams: TypeAlias = (
    KeywordIndexParams
    | IntegerIndexParams
    | FloatIndexParams
    | GeoIndexParams
    | TextIndexParams
    | BoolIndexParams
    | DatetimeIndexParams
    | UuidIndexParams
)

KINDS: Final[dict[type, PayloadSchemaType]] = {
    KeywordIndexParams: PayloadSchemaType.Keyword,
    IntegerIndexParams: PayloadSchemaType.Integer,
    FloatIndexParams: PayloadSchemaType.Float,
    GeoIndexParams: PayloadSchemaType.Geo,
    TextIndexParams: PayloadSchemaType.Text,
    BoolIndexParams: PayloadSchemaType.Bool,
    DatetimeIndexParams: PayloadSchemaType.Datetime,
    UuidIndexParams: PayloadSchemaType.Uuid,
}
"""The kind of index that each params struct asks for."""

_PARAMS: Final = {kind: params for params, kind in KINDS.items()}


class IndexedField(Struct, frozen=True, omit_defaults=True):
    """An index as it was asked for; `plain` when by its kind alone, without params."""

    params: IndexParams
    plain: bool = False

    @property
    def kind(self) -> PayloadSchemaType:
        """Which values the index holds."""
        return KINDS[type(self.params)]


Schema: TypeAlias = Mapping[str, IndexedField]

NO_SCHEMA: Final[Schema] = {}


def indexed_field(schema: Any, field: str = "schema") -> IndexedField:
    """What a PayloadSchemaType or a params struct asks for."""
    if isinstance(schema, PayloadSchemaType):
        return IndexedField(_PARAMS[schema](), plain=True)
    if not isinstance(schema, IndexParams):
        fields.refuse(field, "a PayloadSchemaType or the params of an index", schema)
    return IndexedField(schema)


def check_nested(path: str, params: IndexParams) -> None:
    """Refuse a `nested` array that the indexed field is not inside of."""
    if params.nested is None:
        return
    array = json_path.parse(params.nested).steps
    if not all(isinstance(step, str) for step in array[:-1]):
        raise ValidationError(
            f"nested: {params.nested!r} is no single array level, such as 'offers'"
        )
    steps = json_path.parse(path).steps
    inside = steps[: len(array)] == array and len(steps) > len(array)
    if not inside or not isinstance(steps[len(array)], str):
        raise ValidationError(
            f"nested: the field {path!r} is not inside the elements of {params.nested!r}"
        )


def is_mapped(params: IndexParams) -> bool:
    """Whether the index is read from its file where it lies, and not held in memory."""
    if params.memory is None:
        return params.on_disk is True
    return params.memory is not Memory.Pinned


@lru_cache(maxsize=256)
def index_analyzer(params: TextIndexParams) -> Analyzer:
    """What a text index makes of a text. Raises ValidationError where no stemmer is installed."""
    return Analyzer(
        params.tokenizer.value,
        lowercase=params.lowercase is not False,
        ascii_folding=params.ascii_folding is True,
        stop_words=stop_words_of(params.stopwords),
        stem=stem_of(params.stemmer),
        min_token_len=params.min_token_len,
        max_token_len=params.max_token_len,
    )


class PayloadIndexInfo(Struct, frozen=True):
    """An index as `info()` tells of it: its kind, its params (None where it was asked for by kind
    alone), and how many live points have a value in it."""

    data_type: PayloadSchemaType
    params: IndexParams | None
    points: int


def encode_schema(schema: Schema) -> bytes:
    """The schema as bytes for the manifest (msgpack)."""
    return msgspec.msgpack.encode(schema, order="deterministic")


def encode_field(field: IndexedField) -> bytes:
    """One field as bytes: equal where the index would be."""
    return msgspec.msgpack.encode(field.params, order="deterministic")


def decode_field(data: bytes) -> IndexedField:
    """The field of `encode_field`. Raises CorruptData when the bytes are not one."""
    try:
        return IndexedField(msgspec.msgpack.decode(data, type=IndexParams))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CorruptData(f"field: {error}") from None


def decode_schema(data: bytes) -> Schema:
    """The schema of `encode_schema`. Raises CorruptData when the bytes are not one."""
    if not data:
        return NO_SCHEMA
    try:
        found = msgspec.msgpack.decode(data, type=dict[str, IndexedField])
        for path in found:
            json_path.parse(path)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CorruptData(f"schema: {error}") from None
    return found
