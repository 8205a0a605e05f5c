"""The ways to cut a text into words, and a word of code into its parts.

Invariants: the cuts are those of Qdrant Edge 0.9, on every Python (see `characters`); a splitter
gives the words in order and as they stand in the text: nothing is folded, lowered or dropped here.
But `by_language` spells words as well as it cuts them, and has differences of its own to tell
(see `multilingual`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import TypeAlias

from edge.text.characters import (
    ALPHANUMERIC,
    NUMERIC,
    WHITE_SPACE,
    is_upper,
    run_of,
)
from edge.text.multilingual import by_language

Split: TypeAlias = Callable[[str], list[str]]


@cache
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def by_white_space(text: str) -> list[str]:
    """What stands between white space, punctuation included."""
    return _pattern(f"[^{WHITE_SPACE}]+").findall(text)


def by_word(text: str) -> list[str]:
    """Runs of letters and numbers; combining accents, underscores and emoji part them."""
    if text.isascii():
        return _pattern("[0-9A-Za-z]+").findall(text)
    return _pattern(run_of(ALPHANUMERIC)).findall(text)


def by_identifier(text: str) -> list[str]:
    """Runs of letters, numbers and underscores; `identifier_parts` takes them apart."""
    if text.isascii():
        return _pattern("[0-9A-Za-z_]+").findall(text)
    return _pattern(run_of(ALPHANUMERIC, "_")).findall(text)


SPLITTERS: dict[str, Split] = {
    "prefix": by_word,
    "whitespace": by_white_space,
    "word": by_word,
    "code": by_identifier,
    "multilingual": by_language,
}
"""The tokenizers by the name that Qdrant's JSON gives them."""


def identifier_parts(identifier: str, joined: bool = True) -> list[str]:
    """The words of an identifier: all joined, then each snake_case part, then its camelCase parts.

    `parseURLs_v2` is parseURLsv2, parseURLs, parse, URLs, v2. What has one part only is not joined
    again; without `joined` only the innermost parts are given. What starts with an ASCII digit is
    a literal and stays whole (`0xFF_aB` is 0xFFaB).
    """
    whole = identifier.replace("_", "")
    if not whole or identifier[0] in "0123456789":
        return [whole] if whole else []
    snakes = [part for part in identifier.split("_") if part]
    result = [whole] if joined and len(snakes) > 1 else []
    for snake in snakes:
        humps = camel_parts(snake)
        if joined and len(humps) > 1:
            result.append(snake)
        result += humps
    return result


def camel_parts(word: str) -> list[str]:
    """The word cut at its humps: `getHTTPResponse2Go` is get, HTTP, Response2, Go.

    A capital starts a part after anything but a capital; within capitals the last one does where a
    letter follows, but for the s of a plural (`URLs`, `IDsOf`).
    """
    if word.isascii():
        return _pattern(_ASCII_HUMP).split(word)
    # One letter a character tells what the cuts depend on: U capital, s itself, N number, l other.
    kinds = "".join(map(_kind, word))
    starts = [match.start() for match in _pattern(_HUMP).finditer(kinds)]
    return [word[low:high] for low, high in zip([0, *starts], [*starts, len(word)], strict=True)]


_ASCII_HUMP = r"(?<=[^A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z](?!s(?![a-z]))[a-z])"
_HUMP = r"(?<=[^U])(?=U)|(?<=U)(?=U(?!s(?![ls]))[ls])"


def _kind(character: str) -> str:
    if is_upper(character):
        return "U"
    if _pattern(run_of(NUMERIC)).match(character):
        return "N"
    return "s" if character == "s" else "l"
