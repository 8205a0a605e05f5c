"""How the multilingual tokenizer writes the characters of each language.

Invariants: the spelling is that of Qdrant Edge 0.9, on every Python. All scripts: the
compatibility decomposition (NFKD) of each character by itself, and no control characters. Latin,
Greek, Hebrew, Arabic and Thai lose their accents and vowel marks, Cyrillic, Korean and Indian
scripts keep them, decomposed. Latin, Greek, Cyrillic, Georgian and Armenian are put in lower case
whatever the analyzer does later.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import TypeAlias

from edge.text.characters import codes_of, lowered

Step: TypeAlias = Callable[[str], str]

CUT = "\x00"
"""What a separator becomes: it stands between words."""


def normal_words(text: str, language: str) -> list[str]:
    """What stands between a text's separators, spelled as a language's words are; "" included."""
    words = text.translate(_table(language)).split(CUT)
    if language != "greek":
        return words
    return [_greek_end(word).translate(_marks()) for word in words]


def _greek_end(word: str) -> str:
    return word[:-1] + "\u03c3" if word.endswith("\u03c2") else word


def pieces(text: str) -> list[str]:
    """What stands between a text's separators, as it stands there; "" included."""
    return text.translate(_table("")).split(CUT)


@cache
def _marks() -> dict[int, None]:
    return dict.fromkeys(codes_of(MARKS))


class _Spellings(dict[int, str]):
    """The spelling of a character by its code point, found when first asked for."""

    def __init__(self, steps: tuple[Step, ...]) -> None:
        super().__init__()
        self._steps = steps

    def __missing__(self, code: int) -> str:
        spelling = CUT if code in _separators() else chr(code)
        for step in self._steps:
            spelling = "".join(map(step, spelling))
        self[code] = spelling
        return spelling


@cache
def _table(language: str) -> _Spellings:
    steps = (_decomposed, _without_control, *_STEPS.get(language, ())) if language else ()
    return _Spellings(steps)


@cache
def _separators() -> frozenset[int]:
    return codes_of(SEPARATORS)


def _decomposed(character: str) -> str:
    young = _YOUNG.get(character)
    return unicodedata.normalize("NFKD", character) if young is None else young


def _without_control(character: str) -> str:
    control = unicodedata.category(character) == "Cc"
    return "" if control and character not in CUT + "\t\n\x0b\x0c\r\x85" else character


def _without_marks(character: str) -> str:
    return "" if ord(character) in _marks() else character


def _one_for_one(given: str, written: str) -> Step:
    table = dict(zip(given, written, strict=True))
    return lambda character: table.get(character, character)


def _han_variant(character: str) -> str:
    return _han_variants().get(character, character)


@cache
def _han_variants() -> dict[str, str]:
    lines = files(__package__).joinpath("words", "han_variants.txt").read_text(encoding="utf-8")
    given, written = lines.split("\n")[:2]
    return dict(zip(given, written, strict=True))


_LIGATURES = {"\u0153": "oe", "\u0152": "oe", "\u00e6": "ae", "\u00c6": "ae"}


def _without_ligature(character: str) -> str:
    return _LIGATURES.get(character, character)


def _without_kashida(character: str) -> str:
    return "" if character == "\u0640" else character


_persian = _one_for_one(
    "\u064a\u0649\u0643\u06f0\u06f1\u06f2\u06f3\u06f4\u06f5\u06f6\u06f7\u06f8\u06f9",
    "\u06cc\u06cc\u06a90123456789",
)
_arabic = _one_for_one(
    "\u0623\u0625\u0622\u0671\u0649\u0629", "\u0627\u0627\u0627\u0627\u064a\u0647"
)

_STEPS: dict[str, tuple[Step, ...]] = {
    "latin": (lowered, _without_ligature, _without_marks),
    "cyrillic": (lowered,),
    "georgian": (lowered,),
    "armenian": (lowered,),
    "greek": (lowered,),
    "hebrew": (_without_marks,),
    "thai": (_without_marks,),
    "arabic": (_without_kashida, _arabic, _without_marks),
    "urdu": (_without_kashida, _arabic, _without_marks),
    "persian": (_persian, _without_kashida, _arabic, _without_marks),
    "chinese": (_han_variant,),
}
"""What is done to each character, in this order; other languages are only decomposed."""

# What Unicode 15 to 17 decompose: an older Python leaves these characters as they are.
_YOUNG = {
    "\ua7f1": "S",
    "\U000105c9": "\U000105d2\u0307",
    "\U000105e4": "\U000105da\u0307",
    "\U00011383": "\U00011382\U000113c9",
    "\U00011385": "\U00011384\U000113bb",
    "\U0001138e": "\U0001138b\U000113c2",
    "\U00011391": "\U00011390\U000113c9",
    "\U000113c5": "\U000113c2\U000113c2",
    "\U000113c7": "\U000113c2\U000113b8",
    "\U000113c8": "\U000113c2\U000113c9",
    "\U00016121": "\U0001611e\U0001611e",
    "\U00016122": "\U0001611e\U00016129",
    "\U00016123": "\U0001611e\U0001611f",
    "\U00016124": "\U00016129\U0001611f",
    "\U00016125": "\U0001611e\U00016120",
    "\U00016126": "\U0001611e\U0001611e\U0001611f",
    "\U00016127": "\U0001611e\U00016129\U0001611f",
    "\U00016128": "\U0001611e\U0001611e\U00016120",
    "\U00016d68": "\U00016d67\U00016d67",
    "\U00016d69": "\U00016d63\U00016d67",
    "\U00016d6a": "\U00016d63\U00016d67\U00016d67",
    **dict(
        zip(map(chr, range(0x1CCD6, 0x1CCFA)), "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", strict=True)
    ),
    **dict(
        zip(
            map(chr, range(0x1E030, 0x1E06E)),
            "\u0430\u0431\u0432\u0433\u0434\u0435\u0436\u0437\u0438\u043a\u043b\u043c\u043e\u043f"
            "\u0440\u0441\u0442\u0443\u0444\u0445\u0446\u0447\u0448\u044b\u044d\u044e\ua689\u04d9"
            "\u0456\u0458\u04e9\u04af\u04cf\u0430\u0431\u0432\u0433\u0434\u0435\u0436\u0437\u0438"
            "\u043a\u043b\u043e\u043f\u0441\u0443\u0444\u0445\u0446\u0447\u0448\u044a\u044b\u0491"
            "\u0456\u0455\u045f\u04ab\ua651\u04b1",
            strict=True,
        )
    ),
}

SEPARATORS = (
    "0 1 8 2 2 1 i 4 1 b a 2 3 2 q 3 1 2 q 1 1 1 z 1 5 1 3 1 5 1 4 2 3 1 3 1 n 1 v 1 v6 6 15 2 1f "
    "1 1 1 2 1 2 1 18 2 k 2 1 2 d 1 2 2 22 1 2 1 2u 1 17 e 6h 3 1i f v 1 79 2 a 1 3w 1 3c 1 3d 1 "
    "au 1 c 1 a7 1 2i 1 a 2 4o 8 1 6 1 1 11 4 1z 1 22 5 4 2 33 6 4r 1 h0 9 47 1 h9 1 h 1 q 2 26 3 "
    "1z 2 4d 3 1 3 11 b 8p 2 60 2 3k 7 1 6 4s 7 4b 4 1n 5 1q 2 1s 8 b 1 mm 9 1 1 3 1 1 m 1 1 6 k "
    "1 d 1 c u 2 e 2 ar k 1 2v 1 35 8 4 v0 e 27 2 v a b7 m 1r 4 w 2 l7 4 1 2 34 1 3z 1b 1 w 2 1 "
    "bx 4 4 a 2 c g 1 c 1 2q 1 2i 1 mwy 2 7h 3 2r 1 a 1 37 6 ak 4 2e 2 14 3 1 1 1d 2 1b 1 2p d g "
    "2 3g 4 3i 2 g 2 6x 1 g2a 2 5s a m z 1 e 1 1 4 1 1 2 45 3 1 6 1 4 a 2 3 2 q 3 1 1 r 1 1 1 1 7 "
    "be 3 ik 1 1c 1 bi 1 kn 1 5j 1 v 1 7k 9 12 1 34 7 1u 7 2h 4 ls 1 4n 5 6l 7 31 2 1 4 3i 4 1c 2 "
    "27 4 4 1 d 1 1 3 2g 6 2z 1 bl 5 a 2 1 1 2w 1 6y n 2x 3 s d 5r 3 70 1 7c 3 4b 1 2k 8 2b 3 1 5 "
    "bi 5 16 2 hx 2 7a 1 vk 5 dtl 2 3p 1 1t 5 8 1 nm 4 93 1 f5o 1 5wn 5 2xe 2"
)
"""Characters that part words in every script: most punctuation, the common spaces, some signs.

No-break spaces, < = > | ~ $ ^, currency signs and emoji are none, and stay part of a word.
"""

MARKS = (
    "lc 34 7p 2 7e 19 1 1 1 2 1 2 1 1 20 b 1c l g 1 2t 7 2 6 2 2 1 4 z 1 u r 2j b 1m 9 y 4 1 9 1 "
    "3 1 5 17 3 3s r 10y 1 2 7 c 8 2q 1 2 6 1 2 b 6 22 2 r 1 1 1 1 1 1j e 1 5 1 2 5 b 1 10 9 1 "
    "1fv 3 t 3 t 2 u 2 47 3 4b 1 3a 3 4 2 9 1 6 3 63 2 1p 1 1 7 1 1 1 1 2 8 6 a 2 1 3k 4 1c 1 1 5 "
    "1 1 5 1 14 9 c 2 w 4 2 2 1 1 1m 1 1 2 3 1 1 3 1m 8 2 2 aw 13 l 4 k0 d 4 1 3 c 2da 3 3x 1 iy "
    "4 2z 2 ndh 2 7k 1 3 1 4 1 p 2 4d 1 2p 8 p b 1a 3 1c 1 2 4 2 1 30 6 2 2 2 2 c 1 8 1 2r 1 1 3 "
    "2 2 5 2 1 1 16 2 8 1 6m 1 2 1 4 1 fn4 1 kh g g 7 ra 1 1kz 3 1 2 5 4 14 3 4 1 14x 1 1i f 1l 2 "
    "1d 4 2 2 1x 3 10 5 1 8 23 2 1g 9 z0 1 1 1 2 6 1 1 hjr 4 jbo 3 h 8 2 7 u 4 44 3 h41n 6o"
)
"""Accents and vowel marks that Latin, Greek, Hebrew, Arabic and Thai are written without."""
