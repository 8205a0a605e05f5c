"""Json paths: what parses, what is refused, and which values a path reaches."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import LimitExceeded, ValidationError
from edge.model.json_path import MAX_STEPS, Path, parse, values

PARSED: list[tuple[str, tuple[str | int | None, ...]]] = [
    ("a", ("a",)),
    ("a.b", ("a", "b")),
    ("a[].b", ("a", None, "b")),
    ("a[0]", ("a", 0)),
    ("a[007]", ("a", 7)),
    ("a[18446744073709551615]", ("a", 2**64 - 1)),
    ("a[][]", ("a", None, None)),
    ('"a.b"', ("a.b",)),
    ('"a b"[3]."c[]"', ("a b", 3, "c[]")),
    ('""', ("",)),
    ('a.""', ("a", "")),
    ('"line\nbreak"', ("line\nbreak",)),
    ("größe.日本語", ("größe", "日本語")),
    ("किताब", ("किताब",)),
    ("bar-baz_1", ("bar-baz_1",)),
    ("²", ("²",)),
    ('foo[1][50].bar-baz[]."qux[.]quux"', ("foo", 1, 50, "bar-baz", None, "qux[.]quux")),
]

REFUSED = [
    "", ".", "a.", ".a", "a..b", "a[", "a]", "a[[", "a[-1]", "a[x]", "a[0", "[0]", "[]", "[].a",
    "a b", " a", "a ", "a[]b", 'a"b"', '"a', '"a"b', '"a\\"b"', "a\\b", "a/b", "$", "a[1.5]",
    "a[18446744073709551616]", "a[99999999999999999999999999]", "\ud800", '"\ud800"', "a[²]", "😀",
    "a\x00",
]  # fmt: skip


@pytest.mark.parametrize(("text", "steps"), PARSED)
def test_parses(text: str, steps: tuple[str | int | None, ...]) -> None:
    assert parse(text).steps == steps


@pytest.mark.parametrize("text", REFUSED)
def test_refuses(text: str) -> None:
    with pytest.raises(ValidationError, match="payload path"):
        parse(text)


@pytest.mark.parametrize("text", [None, 1, b"a", ["a"], {"a": 1}])
def test_refuses_what_is_no_text(text: Any) -> None:
    with pytest.raises(ValidationError):
        parse(text)


def test_the_longest_path_parses_and_a_longer_one_does_not() -> None:
    assert len(parse(".".join("a" * MAX_STEPS)).steps) == MAX_STEPS
    with pytest.raises(LimitExceeded):
        parse(".".join("a" * (MAX_STEPS + 1)))


def test_an_error_shows_only_the_beginning_of_a_long_text() -> None:
    with pytest.raises(ValidationError) as caught:
        parse("[" * 1_000_000)
    assert len(str(caught.value)) < 200


def test_a_path_is_a_value_and_short_ones_are_shared() -> None:
    assert parse("a.b") is parse("a.b")
    assert {parse('"a"."b"'): 1}[parse("a.b")] == 1
    long = "k" * 1000
    assert parse(long) == parse(long) == Path((long,))


def test_every_element_closes_a_path_once() -> None:
    assert str(parse("a.b").every_element()) == "a.b[]"
    assert str(parse("a[]").every_element()) == "a[]"
    assert str(parse("a[0]").every_element()) == "a[0][]"


PAYLOAD: dict[str, Any] = {
    "a": {"b": 1, "c": None, "d": []},
    "l": [{"b": 1}, {"b": [2, 3]}, {"x": 4}, 5, None, [{"b": 6}]],
    "a.b": "dotted",
    "n": None,
    "s": "text",
    "": "empty key",
}


@pytest.mark.parametrize(
    ("text", "reached"),
    [
        ("a.b", [1]),
        ('"a.b"', ["dotted"]),
        ('""', ["empty key"]),
        ("n", [None]),
        ("a.c", [None]),
        ("a.d", [[]]),
        ("a.d[]", []),
        ("missing", []),
        ("a.missing", []),
        ("a.b.c", []),
        ("s[0]", []),
        ("s[]", []),
        ("a[]", []),
        ("a[0]", []),
        ("l.b", []),
        ("l[].b", [1, [2, 3]]),
        ("l[].b[]", [2, 3]),
        ("l[0].b", [1]),
        ("l[1].b[1]", [3]),
        ("l[9]", []),
        ("l[][].b", [6]),
        ("l[]", PAYLOAD["l"]),
        ("l", [PAYLOAD["l"]]),
    ],
)
def test_values(text: str, reached: list[Any]) -> None:
    before = copy.deepcopy(PAYLOAD)
    assert values(PAYLOAD, parse(text)) == reached
    assert before == PAYLOAD


@given(st.text(max_size=30))
def test_any_text_parses_to_a_stable_path_or_is_refused(text: str) -> None:
    try:
        path = parse(text)
    except ValidationError:
        return
    assert parse(str(path)) == path


_keys = st.text(st.characters(exclude_characters='"\\', exclude_categories=["Cs"]), max_size=5)


@given(_keys, st.lists(st.one_of(_keys, st.integers(0, 2**64 - 1), st.none()), max_size=8))
def test_the_text_of_any_path_parses_back(first: str, rest: list[str | int | None]) -> None:
    path = Path((first, *rest))
    assert parse(str(path)) == path
