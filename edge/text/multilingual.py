"""Texts of any language cut into words and spelled alike: what TokenizerType.Multilingual does.

A text is cut into runs of one script, a run at its separators (spaces and most punctuation, also
apostrophe, hyphen, underscore and full stop); Chinese and Thai are then cut by dictionaries, and
the Arabic article is a word. Words are spelled as `normal_forms` says: Größe is große, Été is ete.
What has no letter ("2025", "3.14") is no word. camelCase and German compounds stay whole.

Invariants: the words are those of Qdrant Edge 0.9, whatever the scripts, but where the text as a
whole is Japanese: mostly Han letters or Kana, over 5 % of them Kana. Such a text is cut by
`japanese`, which says how it differs, and its words stay as they are written.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

from edge.text.arabic import language_of, words_with_article
from edge.text.characters import has_letter
from edge.text.dictionaries import chinese_words, thai_words
from edge.text.japanese import japanese_words
from edge.text.normal_forms import CUT, normal_words, pieces
from edge.text.scripts import is_japanese, main_script, runs_of, scripts_of

_HAN_OR_KANA = ("han", "hiragana", "katakana")
_CUTTERS: dict[str, Callable[[str], list[str]]] = {
    "arabic": words_with_article,
    "persian": words_with_article,
    "chinese": chinese_words,
    "thai": thai_words,
}
_ET_CETERA = "\u17d4\u179b\u17d4"


def by_language(text: str) -> list[str]:
    """The words of a text, spelled as those of their language are."""
    if text.isascii():
        return _words(text, "latin")
    scripts = scripts_of(text)
    main = main_script(scripts)
    if main in _HAN_OR_KANA and is_japanese(scripts):
        return list(filter(has_letter, japanese_words(text)))
    return list(chain.from_iterable(_words_of_run(*run) for run in runs_of(text, scripts)))


def _words_of_run(text: str, scripts: str) -> list[str]:
    language = _language(text, scripts)
    if _ET_CETERA not in text:
        return _words(text, language)
    # The Khmer "and so on" is a word between separators, though it is written with them.
    parts = [_words(part, language) for part in text.split(_ET_CETERA)]
    return parts[0] + [word for part in parts[1:] for word in (_ET_CETERA, *part)]


def _language(text: str, scripts: str) -> str:
    script = main_script(scripts)
    if script in _HAN_OR_KANA:
        return "japanese" if is_japanese(scripts) else "chinese"
    return language_of(text) if script == "arabic" else script or "none"


def _words(text: str, language: str) -> list[str]:
    cut = _CUTTERS.get(language)
    if cut is not None:
        text = CUT.join(chain.from_iterable(map(cut, pieces(text))))
    return list(filter(has_letter, normal_words(text, language)))
