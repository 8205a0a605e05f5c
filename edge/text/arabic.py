"""Which language a text in Arabic letters is in, and how its words are cut.

Invariants: the answers are those of Qdrant Edge 0.9. It knows Arabic, Urdu and Persian, and tells
them by their commonest sequences of three letters (Cavnar and Trenkle, "N-gram-based text
categorization", 1994); for the sequences see words/SOURCES.md. Of short texts it is unsure, and
takes a single Persian word for Arabic or Urdu as often as not.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from importlib.resources import files

from edge.text.characters import lowered

LANGUAGES = ("arabic", "urdu", "persian")
"""In the order of preference where two are equally near."""

_COMMONEST = 300
_TAKEN = 600


def language_of(text: str) -> str:
    """The language of a text that is mostly in Arabic letters, one of `LANGUAGES`."""
    places = _places(text)
    far = [_distance(profile, places) for profile in _profiles()]
    return LANGUAGES[far.index(min(far))]


def words_with_article(word: str) -> list[str]:
    """The article and the rest of an Arabic or Persian word that begins with it, else the word."""
    return [word[:2], word[2:]] if len(word) > 2 and word[:2] in _ARTICLES else [word]


_ARTICLES = frozenset(alef + "\u0644" for alef in "\u0627\u0623\u0625\u0622\u0671")


@cache
def _profiles() -> list[list[str]]:
    lines = files(__package__).joinpath("words", "trigrams_arabic.txt").read_text(encoding="utf-8")
    return [
        [line[at : at + 3] for at in range(0, len(line), 3)]
        for line in lines.split("\n")
        if line  # a trigram may begin or end with a space: nothing is stripped
    ]


def _places(text: str) -> dict[str, int]:
    spaced = f" {lowered(text).translate(_BLANKS)} "
    counts = Counter(map("".join, zip(spaced, spaced[1:], spaced[2:], strict=False)))
    counts = Counter({t: n for t, n in counts.items() if t[1] != " " or " " not in (t[0], t[2])})
    ranked = sorted(counts, key=lambda trigram: (counts[trigram], trigram), reverse=True)
    return {trigram: place for place, trigram in enumerate(ranked[:_TAKEN])}


_LETTERS_OF_ASCII = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz\x7f")
_BLANKS = {code: " " for code in range(128) if chr(code) not in _LETTERS_OF_ASCII}


def _distance(profile: list[str], places: dict[str, int]) -> int:
    # What a short text lacks for want of length is the same for every language.
    return sum(
        abs(places[trigram] - place) if trigram in places else _COMMONEST
        for place, trigram in enumerate(profile)
    )
