"""How words are cut where they are written without spaces: by dictionaries of Thai and Chinese.

Invariants: the cuts are those of Qdrant Edge 0.9; a dictionary is loaded when its script is first
met, and never changed. Thai comes with the package (words/SOURCES.md). Chinese is cut by rjieba,
which wraps the very library that Qdrant is built with; nothing imports it before it is needed.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from typing import TYPE_CHECKING

from edge.errors import ValidationError
from edge.text.characters import is_numeric

if TYPE_CHECKING:
    from rjieba import Jieba


def check_installed() -> None:
    """Raise ValidationError where rjieba is not installed."""
    if find_spec("rjieba") is None:
        raise ValidationError(
            "tokenizer: multilingual needs the package rjieba; install it with "
            "`pip install 'edgeshard[text]'`"
        )


def thai_words(text: str) -> list[str]:
    """The longest words of the dictionary, one after the other, and what is between them."""
    words, place = [], 0
    while place < len(text):
        word = _longest_word(text, place) or text[place]
        words.append(word)
        place += len(word)
    return words


def _longest_word(text: str, place: int) -> str:
    # The last word up to the text has all its words for a beginning: what the two have in common
    # is tried next, and so on until a word begins the text.
    words, longest = _thai()
    rest = text[place : place + longest]
    while rest:
        word = words[bisect_right(words, rest) - 1]
        if rest.startswith(word):
            return word
        rest = rest[: _common(rest, word)]
    return ""


def _common(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


@cache
def _thai() -> tuple[list[str], int]:
    text = files(__package__).joinpath("words", "dictionary_thai.txt").read_text(encoding="utf-8")
    words = sorted(text.split("\n")[:-1])
    return words, max(map(len, words))


def chinese_words(text: str) -> list[str]:
    """The words of the likeliest cut, long ones cut into words of two and three characters."""
    if is_numeric(text.translate(_NO_PUNCTUATION)):
        return [text]
    return [part for word in _chinese().cut(text, False) for part in _short_words(word)]


_NO_PUNCTUATION = dict.fromkeys(map(ord, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"))


def _short_words(word: str) -> list[str]:
    if len(word) <= 2 or (word.isascii() and word.isalnum()):
        return [word]
    parts, place = [], 0
    while place < len(word):
        sizes = (size for size in (2, 3) if _is_word(word[place : place + size], size))
        size = next(sizes, 1)
        parts.append(word[place : place + size])
        place += size
    return parts


def _is_word(part: str, size: int) -> bool:
    return len(part) == size and _chinese().has_word(part)


@cache
def _chinese() -> Jieba:
    from rjieba import Jieba

    # One of our own: words that others add to the package's default one change nothing here.
    return Jieba()
