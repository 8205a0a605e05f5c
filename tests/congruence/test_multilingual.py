"""The same words of texts in all languages as qdrant_edge's multilingual tokenizer."""

# ruff: noqa: RUF001 (letters that look alike)
from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import qdrant_edge as qdrant
from hypothesis import given, settings
from hypothesis import strategies as st

import edge
from edge.text.analyzer import Analyzer
from edge.text.bm25 import token_id
from edge.text.scripts import is_japanese, main_script, scripts_of

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "text"))
corpus = importlib.import_module("corpus")

MORE = """\
وزارت خارجه ایران اعلام کرد که رئیس جمهور روز شنبه به تهران بازمی\u200cگردد و كتاب علي ۱۲۳
پاکستان میں لوگ روزانہ بازار جاتے ہیں اور ٹماٹر خریدتے ہیں، یہ الگ بات ہے
العربية لغة جميلة، والروبوت وجد الكوب الأحمر في المطبخ. آلاف الإنسان أل ٱلأحوال
他们赋有理性和良心，并应以兄弟关系的精神相对待。我从2025年开始学习Rust语言。〇〇一二三
機器人在廚房裡找到了一個紅色的杯子，然後回到充電站。这是一段很长的中文，里面有一个の字，别的都是汉字。
หุ่นยนต์พบแก้วสีแดงในห้องครัว แล้วกลับไปที่สถานีชาร์จ ภาษาไทยง่ายนิดเดียว ฯลฯ ๚
로봇이 부엌에서 빨간 컵을 찾았습니다. ㄱㄴㄷ ㈜한국
Հայաստան ՀԱՅԵՐԵՆ և English ԲԱՌ նաև ab
Wohnungsbaugesellschaft Größe ÄRGER Œuvre ǽ Ærø İstanbul ŞIK ĳ ﬃ Ⅷ №5 ŉ Ǆ
Роботы ёлка Їжак й Ў ЩЁГОЛЬ ӐҐ
σοφός ΣΟΦΌΣ ΆΛΦΑ ς́ ὈΔΥΣΣΕΎΣ ᾈΣ Σ
ខ្ញុំ ។ល។ កម្ពុជា។ល។ល។
ＦＵＬＬ　ｗｉｄｔｈ ﾊﾝｶｸ ｶﾞ a\tb\x0bd\u200ci\u00adj\u00a0k 3°F $5 x=y a~b
This is a text of Latin letters that has カタカナ and 日本語のテキスト within it.""".splitlines()
TEXTS = [*corpus.TEXTS, *MORE]
JAPANESE = """\
荷物を玄関まで運んでから、次の指示を待っていてください。
カメラで撮影した写真をサーバーに送信できませんでした。
新しい地図を作成するには、部屋の中を一周する必要があります。
夜間は静かに走行し、住民の睡眠を妨げないようにする。
この装置は温度と湿度を五分ごとに記録しています。
祖父の庭には、大きな桜の木が二本ある。
人間の声を認識して、質問に答えることができます。
最近は忙しくて、友人に会う時間がほとんどない。
障害物を避けながら目的地に向かって進みます。
研究者たちは長年にわたって海の生き物を調べてきた。
台風が近づいているため、明日の試合は中止になりました。
充電ステーションに戻る前に、床の掃除を終わらせてください。""".splitlines()
# Han and Hangul are many and alike: they all stand on Chinese ground only.
CHARACTERS = [
    chr(code)
    for code in (
        *(*range(0x3500), *range(0x9F00, 0xAD00), *range(0xD700, 0xD800)),
        *(*range(0xF800, 0x17000), *range(0x18D00, 0x20100), *range(0xE0000, 0xE0200)),
    )
]
HAN = [chr(code) for code in (*range(0x3500, 0x9F00), *range(0x20100, 0x34000))]
CHINESE = "中国" * 12 + "{}人"
GROUNDS = [
    "{}",
    "a{0}b",
    "б{0}б",
    "بر{}ب",
    "ב{}ב",
    "เด็{}ก",
    CHINESE,
    "ա{}ա",
    "ក{0}។ល។{0}",
]


def built(engine: Any, **options: Any) -> Any:
    values = {"stopwords": engine.StopwordsSet(), "stemmer": engine.DisabledStemmer(), **options}
    return engine.Bm25(engine.Bm25Config(tokenizer=engine.TokenizerType.Multilingual, **values))


def pair(**options: Any) -> tuple[Any, Any]:
    return built(edge, **options), built(qdrant, **options)


MODELS = [
    pair(),
    pair(lowercase=False),
    pair(ascii_folding=True),
    pair(ascii_folding=True, lowercase=False, min_token_len=2, max_token_len=5),
    pair(min_token_len=3),
    pair(language="german", stopwords=None, stemmer=None),
    pair(language="arabic", stopwords=None, stemmer=None),
    pair(language="chinese", stopwords=None, stemmer=None, lowercase=False),
]


def assert_same(models: tuple[Any, Any], text: str) -> None:
    for embed in ("embed_document", "embed_query"):
        mine, theirs = (getattr(model, embed)(text) for model in models)
        assert (mine.indices, mine.values) == (theirs.indices, theirs.values), (embed, text)


def other_than_japanese(text: str) -> bool:
    scripts = scripts_of(text)
    script = main_script(scripts)
    return script not in ("han", "hiragana", "katakana") or not is_japanese(scripts)


pieces = st.sampled_from(TEXTS).flatmap(
    lambda text: st.tuples(st.integers(0, len(text)), st.integers(1, 25)).map(
        lambda cut: text[cut[0] : cut[0] + cut[1]]
    )
)
# Few letters of many scripts: as often as not two scripts stand equally often.
mixed = st.text("abアあ中国人է Բб ب-1Σς。กา", max_size=14)
texts = st.one_of(
    corpus.texts, mixed, st.lists(pieces, min_size=1, max_size=5).map("".join)
).filter(other_than_japanese)


@pytest.mark.parametrize("number", range(len(MODELS)))
def test_known_texts(number: int) -> None:
    for text in filter(other_than_japanese, TEXTS):
        assert_same(MODELS[number], text)


@settings(max_examples=1500, deadline=None)
@given(number=st.integers(0, len(MODELS) - 1), text=texts)
def test_made_texts(number: int, text: str) -> None:
    assert_same(MODELS[number], text)


@pytest.mark.parametrize("ground", GROUNDS)
def test_every_character(ground: str) -> None:
    models = pair(lowercase=False)
    characters = CHARACTERS + HAN if ground == CHINESE else CHARACTERS
    for start in range(0, len(characters), 32):
        text = " ".join(map(ground.format, characters[start : start + 32]))
        if other_than_japanese(text):
            assert_same(models, text)


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[qdrant.EdgeShard]:
    config = qdrant.EdgeConfig(qdrant.EdgeVectorParams(1, qdrant.Distance.Dot))
    shard = qdrant.EdgeShard.create(str(tmp_path_factory.mktemp("words")), config)
    operation = qdrant.UpdateOperation
    params = qdrant.TextIndexParams(
        tokenizer=qdrant.TokenizerType.Multilingual, phrase_matching=True
    )
    shard.update(operation.create_field_index("text", params))
    points = [qdrant.Point(at, [1.0], {"text": text}) for at, text in enumerate(DOCUMENTS)]
    shard.update(operation.upsert_points(points))
    yield shard
    shard.close()


DOCUMENTS = list(filter(other_than_japanese, TEXTS))
ANALYZER = Analyzer("multilingual")


def found(shard: qdrant.EdgeShard, match: object) -> set[object]:
    condition = qdrant.FieldCondition("text", match=match)
    request = qdrant.ScrollRequest(limit=1000, filter=qdrant.Filter(must=[condition]))
    records, _ = shard.scroll(request)
    return {record.id for record in records}


def stands_in(phrase: list[str], sequence: list[str]) -> bool:
    size = len(phrase)
    return any(sequence[at : at + size] == phrase for at in range(len(sequence) - size + 1))


@settings(max_examples=200, deadline=None)
@given(text=pieces.filter(other_than_japanese))
def test_conditions_find_what_the_words_say(shard: qdrant.EdgeShard, text: str) -> None:
    sought = ANALYZER.sought(text)
    sequences = [ANALYZER.sequence(document) for document in DOCUMENTS]
    every = {at for at, those in enumerate(sequences) if sought and set(sought) <= set(those)}
    some = {at for at, those in enumerate(sequences) if set(sought) & set(those)}
    assert found(shard, qdrant.MatchText(text)) == every
    assert found(shard, qdrant.MatchTextAny(text)) == some
    if len(sought) > 1:
        phrases = {at for at, those in enumerate(sequences) if stands_in(sought, those)}
        assert found(shard, qdrant.MatchPhrase(text)) == phrases


# ---- deliberate differences ----


def shares(texts: list[str]) -> tuple[float, float]:
    """The shares of Qdrant's words that are ours, and of ours that are Qdrant's."""
    mine, theirs = pair()
    both = [(set(mine.embed_query(t).indices), set(theirs.embed_query(t).indices)) for t in texts]
    common = sum(len(ours & his) for ours, his in both)
    return common / sum(len(his) for _, his in both), common / sum(len(ours) for ours, _ in both)


def test_nine_of_ten_japanese_words_are_qdrants() -> None:
    theirs_found, ours_right = shares(JAPANESE)
    assert theirs_found > 0.9
    assert ours_right > 0.9
    assert min(theirs_found, ours_right) < 1.0


def test_a_long_loan_word_is_one_word_and_a_compound_of_four_letters_two() -> None:
    mine, theirs = pair()
    text = "カレーライスを自律移動"
    assert token_id("カレーライス") in mine.embed_query(text).indices
    assert token_id("ライス") in theirs.embed_query(text).indices
    assert {token_id("自律"), token_id("移動")} <= set(mine.embed_query(text).indices)
    assert {token_id("自律"), token_id("移動")} <= set(theirs.embed_query(text).indices)


@pytest.mark.parametrize("number", range(len(MODELS)))
def test_what_is_done_to_the_words_of_a_japanese_text_is_qdrants(number: int) -> None:
    assert_same(MODELS[number], "これはUSBのRunningのテストです。コップはとても赤いです。")
