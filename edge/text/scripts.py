"""Which script a character, and a text as a whole, is written in.

Invariants: the scripts and their bounds are those that Qdrant Edge 0.9 goes by, which are rough:
Latin is all of U+0080 to U+02AF, full-width letters are Hangul, and what has no script here
(spaces, ASCII digits, emoji, rare scripts) goes along with what stands before it. A script is
written as one letter, so that a text's scripts are a string of the text's length.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

_BLOCKS = {
    "latin": "41-5A 61-7A 80-2AF 1D00-1DBF 1E00-1EFF 2100-214F 2C60-2C7F A720-A7FF AB30-AB6F",
    "cyrillic": "400-484 487-52F 2DE0-2DFF A640-A69D A69F-A69F",
    "arabic": "600-6FF 750-7FF 8A0-8FF FB50-FDFF FE70-FEFF 10E60-10E7F 1EE00-1EEFF",
    "han": "2E80-2E99 2E9B-2EF3 2F00-2FD5 3005-3005 3007-3007 3021-3029 3038-303B 3400-4DB5 "
    "4E00-9FCC F900-FA6D FA70-FAD9",
    "devanagari": "900-97F A8E0-A8FF 1CD0-1CFF",
    "hebrew": "590-5FF",
    "ethiopic": "1200-139F 2D80-2DDF AB00-AB2F",
    "georgian": "10A0-10FF",
    "bengali": "980-9FF",
    "hangul": "AC00-D7FF 1100-11FF 3130-318F 3200-32FF A960-A97F FF00-FFEF",
    "hiragana": "3040-309F",
    "katakana": "30A0-30FF",
    "greek": "370-3FF",
    "kannada": "C80-CFF",
    "tamil": "B80-BFF",
    "thai": "E00-E7F",
    "gujarati": "A80-AFF",
    "gurmukhi": "A00-A7F",
    "telugu": "C00-C7F",
    "malayalam": "D00-D7F",
    "oriya": "B00-B7F",
    "myanmar": "1000-109F",
    "sinhala": "D80-DFF",
    "khmer": "1780-17FF 19E0-19FF",
    "armenian": "530-58F FB13-FB17",
}
"""Each script's blocks; of two scripts that stand equally often the earlier is looked at first."""

_LETTERS = {script: chr(ord("a") + place) for place, script in enumerate(_BLOCKS)}
_NAMES = {letter: script for script, letter in _LETTERS.items()}
_NONE = "-"


def _spans() -> Iterator[tuple[int, int, str]]:
    for script, blocks in _BLOCKS.items():
        for block in blocks.split():
            low, high = block.split("-")
            yield int(low, 16), int(high, 16), _LETTERS[script]


class _Scripts(dict[int, str]):
    """The letter of a character's script by its code point, found when first asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._spans = list(_spans())

    def __missing__(self, code: int) -> str:
        found = (letter for low, high, letter in self._spans if low <= code <= high)
        self[code] = result = next(found, _NONE)
        return result


_SCRIPTS = _Scripts()
_ONE_RUN = re.compile(rf"{_NONE}*([a-z])(?:{_NONE}|\1)*|{_NONE}+")
# Runs do not tell Han from the Japanese syllabaries, and let Armenian go along with any script.
_RUN = str.maketrans(
    {
        _LETTERS["hiragana"]: _LETTERS["han"],
        _LETTERS["katakana"]: _LETTERS["han"],
        _LETTERS["armenian"]: _NONE,
    }
)


def scripts_of(text: str) -> str:
    """The letters of a text's characters: of their scripts, or a hyphen for none."""
    return text.translate(_SCRIPTS)


def runs_of(text: str, scripts: str) -> list[tuple[str, str]]:
    """The runs of a text that are of one script, each with its letters."""
    spans = [match.span() for match in _ONE_RUN.finditer(scripts.translate(_RUN))]
    return [(text[low:high], scripts[low:high]) for low, high in spans]


def main_script(scripts: str) -> str:
    """The name of the script that most letters are of, "" where there is none."""
    counts = Counter(scripts)
    del counts[_NONE]
    if not counts:
        return ""
    most = max(counts.values())
    leaders = [letter for letter, count in counts.items() if count == most]
    return _NAMES[leaders[0] if len(leaders) == 1 else _first(leaders, scripts)]


def is_japanese(scripts: str) -> bool:
    """Whether a text mostly of Han or Japanese letters is Japanese: over 5 % are syllabic."""
    syllabic = scripts.count(_LETTERS["hiragana"]) + scripts.count(_LETTERS["katakana"])
    return syllabic / (syllabic + scripts.count(_LETTERS["han"])) > 0.05


def _first(leaders: list[str], scripts: str) -> str:
    # Scripts are looked at one after the other, and each that is found moves up by one place:
    # of those that stand equally often the one that is then looked at first is the main one.
    order = list(_NAMES)
    for letter in scripts.replace(_NONE, ""):
        place = order.index(letter)
        if place:
            order[place - 1], order[place] = order[place], order[place - 1]
    return min(leaders, key=order.index)
