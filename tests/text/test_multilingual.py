"""The words of texts in many languages; they are held against Qdrant's elsewhere."""

# ruff: noqa: RUF001 (letters that look alike)
from __future__ import annotations

import importlib
import sys
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import edge
from edge.errors import ValidationError
from edge.text.analyzer import Analyzer
from edge.text.arabic import language_of
from edge.text.characters import has_letter, is_numeric
from edge.text.japanese import japanese_words
from edge.text.multilingual import by_language
from edge.text.scripts import is_japanese, main_script, runs_of, scripts_of
from edge.text.stemmer import stemmer

sys.path.insert(0, str(Path(__file__).resolve().parent))
corpus = importlib.import_module("corpus")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's 3.14 half-empty snake_case camelCase", "it s half empty snake case camelcase"),
        ("x²=4 5€ 3°F C3PO $ABC 2025", "x2=4 3°f c3po $abc"),
        ("L'Été: Größe, Œuvre, naïve ﬁne", "l ete große oeuvre naive fine"),
        (
            "Wohnungsbaugesellschaft ÄRGER İstanbul Łódź",
            "wohnungsbaugesellschaft arger istanbul łodz",
        ),
        ("Роботы ПОШЛИ домой", "роботы пошли домои\u0306"),
        ("Ο ΣΊΣΥΦΟΣ, σοφός", "ο σισυφοσ σοφοσ"),
        ("וְהַצִּפּוֹרִים שרו", "והצפורים שרו"),
        ("والروبوت وجد الكوب الأحمر، ١٢٣", "والروبوت وجد ال كوب ال احمر"),
        ("हिन्दी में १२३", "हिन्दी में"),
        ("ภาษาไทยง่ายนิดเดียว", "ภาษาไทย งาย นดเดยว"),
        ("机器人在厨房里找到了红色的杯子。", "机器 人 在 廚房 里 找到 了 紅色 的 杯子"),
        ("한국어 Text", unicodedata.normalize("NFKD", "한국어") + " text"),
        ("ＦＵＬＬ １２３", "FULL"),
        ("ab日本のロボットcd", "ab 日本のロホ\u3099ット cd"),
        ("abcdefgh 日本ノ記号ab", "abcdefgh 日本ノ記号 ab"),
        ("ﷲ a\x1fb c\u200bd", "الله ab c\u200bd"),
        ("ខ។ល។ខ", "ខ ។ល។ ខ"),
        ("🤖☕now", "🤖☕now"),
        ("... 12 — ½", ""),
        ("", ""),
    ],
)
def test_words(text: str, expected: str) -> None:
    assert by_language(text) == expected.split()


def test_an_unbreakable_space_stays_in_the_word() -> None:
    assert by_language("10\u00a0km a b") == ["10 km", "a", "b"]


@given(corpus.texts)
def test_every_word_has_a_letter_and_no_separator(text: str) -> None:
    for word in by_language(text.replace("\u00a0", " ")):
        assert has_letter(word)
        assert not set(word) & set("\x00\t\n'_-") or is_japanese(scripts_of(text))


@given(st.lists(st.sampled_from(["cup", "tasse", "чашка", "كوب", "杯子", "ถ้วย", "컵"]), max_size=9))
def test_a_word_is_the_same_wherever_it_stands(words: list[str]) -> None:
    alone = [found for word in words for found in by_language(word)]
    assert by_language(" ".join(words)) == alone


# ---- scripts ----


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("", ""),
        ("12 🤖", ""),
        ("a б", "cyrillic"),
        ("б a", "latin"),
        ("a aб бб", "cyrillic"),
        ("aбaбaб", "cyrillic"),
        ("ббб aaa", "latin"),
        ("Ａ", "hangul"),
        ("漢字かな", "han"),
        ("ա1", "armenian"),
    ],
)
def test_the_main_script(text: str, script: str) -> None:
    assert main_script(scripts_of(text)) == script


@given(corpus.texts)
def test_runs_are_the_text(text: str) -> None:
    scripts = scripts_of(text)
    runs = runs_of(text, scripts)
    assert "".join(part for part, _ in runs) == text
    assert "".join(letters for _, letters in runs) == scripts
    assert all(len(part) == len(letters) for part, letters in runs)


def test_a_run_ends_where_another_script_begins() -> None:
    text = "1 ab-вг 2漢字カナ ab"
    assert [part for part, _ in runs_of(text, scripts_of(text))] == [
        "1 ab-", "вг 2", "漢字カナ ", "ab"
    ]  # fmt: skip


def test_a_text_is_japanese_from_five_in_a_hundred_syllables_on() -> None:
    assert not is_japanese(scripts_of("漢" * 19 + "の"))
    assert is_japanese(scripts_of("漢" * 18 + "の"))


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("الروبوت وجد الكوب الأحمر في المطبخ", "arabic"),
        ("ربات لیوان قرمز را در آشپزخانه پیدا کرد و به ایستگاه برگشت", "persian"),
        ("روبوٹ نے باورچی خانے میں سرخ پیالہ ڈھونڈ لیا ہے", "urdu"),
    ],
)
def test_languages_in_arabic_letters(text: str, language: str) -> None:
    assert language_of(text) == language


# ---- Japanese ----


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "ロボットは台所で赤いコップを見つけました。",
            "ロボット は 台所 で 赤い コップ を 見つけ まし た 。",
        ),
        ("電池の残量が二十％以下", "電池 の 残量 が 二十 ％ 以下"),
        ("面白くなかったと思います", "面白く なかっ た と 思い ます"),
        (
            "安全基準を守る。USBケーブルで送信し、青い箱",
            "安全 基準 を 守る 。 USB ケーブル で 送信 し 、 青い 箱",
        ),
        ("これはテストです", "これ は テスト です"),
    ],
)
def test_japanese_words(text: str, expected: str) -> None:
    assert japanese_words(text) == expected.split()


@given(corpus.texts)
def test_japanese_words_are_the_text(text: str) -> None:
    words = japanese_words(text)
    assert "".join(words) == text
    assert all(words)


def test_japanese_words_are_not_spelled_anew_but_go_through_the_analyzers_steps() -> None:
    text = "これはUSBのRunningのテストですé。コップはとても赤いです。"
    assert by_language(text) == [
        "これ",
        "は",
        "USB",
        "の",
        "Running",
        "の",
        "テスト",
        "です",
        "é",
        "コップ",
        "は",
        "とても",
        "赤い",
        "です",
    ]
    analyzer = Analyzer(
        "multilingual",
        ascii_folding=True,
        stop_words=["です"],
        stem=stemmer("english"),
        max_token_len=3,
    )
    assert analyzer.document(text) == [
        "これ",
        "は",
        "usb",
        "の",
        "run",
        "の",
        "テスト",
        "e",
        "コップ",
        "は",
        "とても",
        "赤い",
    ]


# ---- the rest ----


def test_letters_and_numbers() -> None:
    assert all(map(has_letter, ["a1", "Ⅷ", "〇", "ⓐ", "ำ", "𝔘"]))
    assert not any(map(has_letter, ["", "12", "½", "١٢", "☕", "\u0301", "²"]))
    assert is_numeric("1½Ⅷ〇")
    assert not is_numeric("1a")
    assert not is_numeric("")


def test_it_is_refused_where_rjieba_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rjieba", None)
    with pytest.raises(ValidationError, match=r"rjieba.*edgeshard\[text\]"):
        Analyzer("multilingual")


def test_threads_share_it() -> None:
    expected = [by_language(text) for text in corpus.TEXTS]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            assert list(pool.map(by_language, corpus.TEXTS)) == expected


def test_a_query_finds_a_document_in_another_spelling() -> None:
    config = edge.Bm25Config(tokenizer=edge.TokenizerType.Multilingual, language="german")
    model = edge.Bm25(config)
    assert model.embed_query("TÜREN").indices == model.embed_document("Türen").indices
