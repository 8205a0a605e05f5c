"""What is to be made of texts: tokenizers, stop words, stemmers, and the configuration of BM25.

Invariants: every struct that exists can be honoured, or names what is not installed when it is put
to use (`analyzer_of`); None means "not specified".
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct
from msgspec.structs import force_setattr

from edge.errors import ValidationError
from edge.model import fields
from edge.model.choice import Choice
from edge.text.analyzer import Analyzer
from edge.text.stemmer import LANGUAGES as STEMMED
from edge.text.stemmer import Stem, stemmer
from edge.text.stop_words import language_name, stop_words


class TokenizerType(Choice):
    """How a text is cut into words.

    Prefix: words, each with its beginnings. Whitespace: at white space only. Word: at all that is
    neither letter nor number. Code: identifiers and their snake_case and camelCase parts.
    Multilingual: words of any language, in lower case, most without accents, numbers left out;
    Chinese and Thai are cut by dictionaries. It needs the extra `edgeshard[text]`. Its words are
    Qdrant's own but in Japanese texts (see `edge.text.japanese`).
    """

    Prefix = "prefix"
    Whitespace = "whitespace"
    Word = "word"
    Multilingual = "multilingual"
    Code = "code"


class Language(Choice):
    """A language that has a list of stop words."""

    Arabic = "arabic"
    Azerbaijani = "azerbaijani"
    Basque = "basque"
    Bengali = "bengali"
    Catalan = "catalan"
    Chinese = "chinese"
    Danish = "danish"
    Dutch = "dutch"
    English = "english"
    Finnish = "finnish"
    French = "french"
    German = "german"
    Greek = "greek"
    Hebrew = "hebrew"
    Hinglish = "hinglish"
    Hungarian = "hungarian"
    Indonesian = "indonesian"
    Italian = "italian"
    Japanese = "japanese"
    Kazakh = "kazakh"
    Nepali = "nepali"
    Norwegian = "norwegian"
    Portuguese = "portuguese"
    Romanian = "romanian"
    Russian = "russian"
    Slovene = "slovene"
    Spanish = "spanish"
    Swedish = "swedish"
    Tajik = "tajik"
    Turkish = "turkish"


class SnowballLanguage(Choice):
    """A language that has a Snowball stemmer."""

    Arabic = "arabic"
    Armenian = "armenian"
    Danish = "danish"
    Dutch = "dutch"
    English = "english"
    Finnish = "finnish"
    French = "french"
    German = "german"
    Greek = "greek"
    Hungarian = "hungarian"
    Italian = "italian"
    Norwegian = "norwegian"
    Portuguese = "portuguese"
    Romanian = "romanian"
    Russian = "russian"
    Spanish = "spanish"
    Swedish = "swedish"
    Tamil = "tamil"
    Turkish = "turkish"


class StopwordsSet(Struct, frozen=True):
    """Words that give no token: those of `languages`, and `custom` ones."""

    languages: frozenset[Language] | None = None
    custom: frozenset[str] | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            languages: Iterable[Language] | None = None,
            custom: Iterable[str] | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        if self.languages is not None:
            given = fields.sequence(self.languages, "languages")
            for language in given:
                fields.member(language, "languages", Language)
            force_setattr(self, "languages", frozenset(given))
        if self.custom is not None:
            force_setattr(self, "custom", frozenset(fields.texts(self.custom, "custom")))


class SnowballParams(Struct, frozen=True, tag="snowball"):
    """Stem by the Snowball rules of a language; needs the extra `edgeshard[text]`."""

    language: SnowballLanguage

    def __post_init__(self) -> None:
        fields.member(self.language, "language", SnowballLanguage)


class DisabledStemmer(Struct, frozen=True, tag="disabled"):
    """Do not stem, whatever the language's default."""


Stopwords: TypeAlias = Language | StopwordsSet
StemmingAlgorithm: TypeAlias = SnowballParams | DisabledStemmer

MAX_LENGTH = 2**63 - 1


class Bm25Config(Struct, frozen=True):
    """How BM25 makes sparse vectors of texts. The defaults are those of Qdrant.

    Args:
        k: how soon a repeated term stops counting for more (default 1.2; finite, 0 or more).
        b: how much long documents count for less (default 0.75; 0 not at all, 1 fully).
        avg_len: tokens of an average document (default 256; finite, above 0).
        tokenizer: default Word.
        language: gives the default stop words and stemmer, by name or code ("german", "de");
            default "english".
        lowercase: default True. ascii_folding: default False.
        stopwords, stemmer: instead of those of the language.
        min_token_len, max_token_len: tokens outside are dropped, in characters.

    Raises ValidationError naming the argument.
    """

    k: float = 1.2
    b: float = 0.75
    avg_len: float = 256.0
    tokenizer: TokenizerType = TokenizerType.Word
    language: str | None = None
    lowercase: bool | None = None
    ascii_folding: bool | None = None
    stopwords: Stopwords | None = None
    stemmer: StemmingAlgorithm | None = None
    min_token_len: int | None = None
    max_token_len: int | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            k: float | None = None,
            b: float | None = None,
            avg_len: float | None = None,
            tokenizer: TokenizerType | None = None,
            language: str | None = None,
            lowercase: bool | None = None,
            ascii_folding: bool | None = None,
            stopwords: Stopwords | None = None,
            stemmer: StemmingAlgorithm | None = None,
            min_token_len: int | None = None,
            max_token_len: int | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "k", _number(self.k, "k", 1.2, MAX_K))
        force_setattr(self, "b", _number(self.b, "b", 0.75, 1.0))
        force_setattr(self, "avg_len", _number(self.avg_len, "avg_len", 256.0, math.inf))
        if not 0.0 < self.avg_len < math.inf:
            raise ValidationError(f"avg_len: expected a finite number above 0, got {self.avg_len}")
        tokenizer = fields.member_or_none(self.tokenizer, "tokenizer", TokenizerType)
        force_setattr(self, "tokenizer", tokenizer or TokenizerType.Word)
        if fields.text_or_none(self.language, "language") is not None:
            language_name(self.language or "")
        fields.flag_or_none(self.lowercase, "lowercase")
        fields.flag_or_none(self.ascii_folding, "ascii_folding")
        check_stop_words(self.stopwords)
        check_stemmer(self.stemmer)
        fields.integer_or_none(self.min_token_len, "min_token_len", 0, MAX_LENGTH)
        fields.integer_or_none(self.max_token_len, "max_token_len", 0, MAX_LENGTH)


MAX_K = 1e30
"""The largest k: beyond it the weights of long documents leave the range of float32."""


def _number(value: object, field: str, default: float, high: float) -> float:
    number = default if value is None else fields.number(value, field)
    if not 0.0 <= number <= high:
        raise ValidationError(f"{field}: expected 0 to {high:g}, got {number}")
    return number


def check_stop_words(given: object) -> None:
    """Refuse what is neither a Language, nor a StopwordsSet, nor None."""
    if not isinstance(given, (Language, StopwordsSet, type(None))):
        fields.refuse("stopwords", "a Language or StopwordsSet", given)


def check_stemmer(given: object) -> None:
    """Refuse what is neither SnowballParams, nor DisabledStemmer, nor None."""
    if not isinstance(given, (SnowballParams, DisabledStemmer, type(None))):
        fields.refuse("stemmer", "SnowballParams or a DisabledStemmer", given)


def stop_words_of(given: Stopwords | None) -> frozenset[str]:
    """All the words of a stop word setting, as their lists write them."""
    if given is None:
        return frozenset()
    if isinstance(given, Language):
        return stop_words(given.value)
    lists = [stop_words(language.value) for language in given.languages or ()]
    return frozenset(given.custom or ()).union(*lists)


def stem_of(given: StemmingAlgorithm | None) -> Stem | None:
    """The stemmer of a stemmer setting. Raises ValidationError where it is not installed."""
    return stemmer(given.language.value) if isinstance(given, SnowballParams) else None


def analyzer_of(config: Bm25Config) -> Analyzer:
    """What a BM25 configuration makes of a text, the language's defaults filled in.

    Raises ValidationError where the stemmer, or what the tokenizer needs, is not installed.
    """
    language = language_name(config.language or "english")
    stopwords = Language(language) if config.stopwords is None else config.stopwords
    algorithm = config.stemmer
    if algorithm is None and language in STEMMED:
        algorithm = SnowballParams(SnowballLanguage(language))
    return Analyzer(
        config.tokenizer.value,
        lowercase=config.lowercase is not False,
        ascii_folding=config.ascii_folding is True,
        stop_words=stop_words_of(stopwords),
        stem=stem_of(algorithm),
        min_token_len=config.min_token_len,
        max_token_len=config.max_token_len,
    )
