"""Snowball stemmers, from the libraries that give Qdrant's own stems.

Invariants: a stem is that of Qdrant Edge 0.9, or there is none: py-rust-stemmers wraps the very
library that Qdrant is built with. Other Snowball packages follow newer rules in most languages.
It has no Armenian; for that one language the rules never changed, and snowballstemmer has them.
Nothing is imported until a stemmer is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from edge.errors import ValidationError

Stem: TypeAlias = Callable[[str], str]

LANGUAGES = (
    "arabic",
    "armenian",
    "danish",
    "dutch",
    "english",
    "finnish",
    "french",
    "german",
    "greek",
    "hungarian",
    "italian",
    "norwegian",
    "portuguese",
    "romanian",
    "russian",
    "spanish",
    "swedish",
    "tamil",
    "turkish",
)
"""The languages that have a stemmer, by name."""


def stemmer(language: str) -> Stem:
    """The stemmer of a language given by its name: a word in, its stem out.

    Raises ValidationError for a language that has none, and where the library is not installed.
    """
    if language not in LANGUAGES:
        raise ValidationError(f"stemmer: {language!r} is none of {', '.join(LANGUAGES)}")
    try:
        return _armenian() if language == "armenian" else _rust(language)
    except ImportError as error:
        raise ValidationError(
            f"stemmer: {language} needs the package {error.name}; install it with "
            "`pip install 'edgeshard[text]'`, or disable stemming with DisabledStemmer()"
        ) from None


def _rust(language: str) -> Stem:
    from py_rust_stemmers import SnowballStemmer

    stem: Stem = SnowballStemmer(language).stem_word
    return stem


def _armenian() -> Stem:
    from snowballstemmer.armenian_stemmer import ArmenianStemmer

    def stem(word: str) -> str:
        # The library's stemmer holds the word it works on, so that each call needs its own.
        return str(ArmenianStemmer().stemWord(word))

    return stem
