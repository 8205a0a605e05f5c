"""How the words of a Japanese text are cut: by its scripts and its commonest function words.

Invariants: the words of a text, joined, are the text. They are *not* those of Qdrant Edge 0.9,
which cuts by a model learned from a corpus; that model is in no package index. They are as short
as its own: particles and endings stand by themselves, a verb or adjective keeps the rest of its
ending, compounds of Han letters fall into pairs, Katakana and Latin letters stay together. In
everyday sentences nine of ten words are Qdrant's own (held in tests/congruence).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_FUNCTION_WORDS = """
    が を に へ と で は も の や か ば な だ て た し ね よ ず ん ぬ れ せ さ い う お ご から
    まで より ほど だけ しか など ばかり くらい ぐらい ながら けれど けど たり だり こそ さえ でも
    つつ です でし でしょ ます まし ませ ましょ だっ だろ じゃ たい たかっ たく ない なかっ なく
    なけれ れる られる られ せる させる させ らしい らしく そう よう みたい べき はず ほしい する
    すれ せよ いる ある あっ あり おり おる おく おき おい しまう しまっ くる くれる くれ ください
    もらう もらい もらっ いただく いただけ いただき なる なっ なり なれ なら いく いっ いけ みる
    できる でき いう いえる いい よい よかっ よく ほう うち とき こと もの ため ところ まま わけ
    つもり これ それ あれ どれ ここ そこ あそこ どこ この その あの どの こう ああ どう いつ だれ
    なに なん また まだ もう とても あまり すぐ もし そして しかし たとえば ただ かなり すこし
    つい さん たち かかっ かかる わかる わかり たくさん ほとんど すみ おいしい
"""
_FUNCTION = "|".join(sorted(_FUNCTION_WORDS.split(), key=len, reverse=True))

# Bodies of regular expressions' classes.
_HAN = "\u3005\u3006\u3400-\u9fff\uf900-\ufaff"
_NUMBERS = "\u3007二三四五六七八九十百千万億"
_HIRAGANA = "\u3041-\u3096\u30fc"
_KATAKANA = "\u30a1-\u30fa\u30fc\uff66-\uff9f"

_RUN = re.compile(
    rf"(?P<han>[{_HAN}]+)(?P<ending>[{_HIRAGANA}]*)|(?P<kana>[{_HIRAGANA}]+)"
    rf"|[{_KATAKANA}]+|[^\W\d_{_HAN}{_HIRAGANA}{_KATAKANA}]+|.",
    re.DOTALL,
)
_HAN_WORD = re.compile(rf"[{_NUMBERS}]+|[^{_NUMBERS}]{{1,2}}")
_NO_FUNCTION = rf"(?:(?!{_FUNCTION})[{_HIRAGANA}])"
_KANA_WORD = re.compile(rf"{_FUNCTION}|{_NO_FUNCTION}+")
# One Han letter keeps of its ending what elsewhere is a word; of two it is a noun, or ends in い.
_ENDING_OF_ONE = re.compile(rf"(?:しい|[いしんれっ])?{_NO_FUNCTION}*")
_ENDING_OF_TWO = re.compile(rf"い?{_NO_FUNCTION}*")


def japanese_words(text: str) -> list[str]:
    """The words of a text in order; a space, digit or punctuation mark is one by itself."""
    return [word for run in _RUN.finditer(text) for word in _words_of(run)]


def _words_of(run: re.Match[str]) -> Iterator[str]:
    if run["kana"]:
        yield from _KANA_WORD.findall(run["kana"])
    elif run["han"]:
        *before, last = _HAN_WORD.findall(run["han"])
        pattern = _ENDING_OF_ONE if len(last) == 1 else _ENDING_OF_TWO
        match = pattern.match(run["ending"])
        size = match.end() if match else 0
        yield from before
        yield last + run["ending"][:size]
        yield from _KANA_WORD.findall(run["ending"][size:])
    else:
        yield run.group()
