"""The stop words of each language, and the names that a language goes by.

Invariants: a list is read once and never changed; the words are as their sources write them (see
words/SOURCES.md), in the case that they have there.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from edge.errors import ValidationError

_CODES = {
    "arabic": "ar",
    "azerbaijani": "az",
    "basque": "eu",
    "bengali": "bn",
    "catalan": "ca",
    "chinese": "zh",
    "danish": "da",
    "dutch": "nl",
    "english": "en",
    "finnish": "fi",
    "french": "fr",
    "german": "de",
    "greek": "el",
    "hebrew": "he",
    "hinglish": "hi-en",
    "hungarian": "hu",
    "indonesian": "id",
    "italian": "it",
    "japanese": "jp",
    "kazakh": "kk",
    "nepali": "ne",
    "norwegian": "no",
    "portuguese": "pt",
    "romanian": "ro",
    "russian": "ru",
    "slovene": "sl",
    "spanish": "es",
    "swedish": "sv",
    "tajik": "tg",
    "turkish": "tr",
}

LANGUAGES = tuple(_CODES)
"""The languages that have stop words, by name."""

_NAMES = {**{name: name for name in _CODES}, **{code: name for name, code in _CODES.items()}}


def language_name(language: str) -> str:
    """The name of a language given by name or by code ("german", "de"), in lower case.

    Raises ValidationError for any other.
    """
    name = _NAMES.get(language)
    if name is None:
        known = ", ".join(LANGUAGES)
        raise ValidationError(f"language: {language!r} is none of {known} (or their codes)")
    return name


@cache
def stop_words(language: str) -> frozenset[str]:
    """The stop words of a language given by its name."""
    words = files(__package__).joinpath("words", f"{language}.txt").read_text(encoding="utf-8")
    return frozenset(words.split())
