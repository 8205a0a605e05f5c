"""Payload edits: what they write, what they leave, and that they change nothing given to them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.model.json_path import Path, parse
from edge.payload.edit import clear, delete_keys, overwrite, set_payload

Payload = dict[str, Any]


def deep(depth: int) -> Payload:
    """A payload nested far beyond Python's recursion limit."""
    inner: Payload = {}
    for _ in range(depth):
        inner = {"a": inner}
    return inner


@pytest.mark.parametrize(
    ("payload", "patch", "result"),
    [
        ({}, {"x": 1}, {"x": 1}),
        ({"a": 1}, {}, {"a": 1}),
        ({"a": 1, "b": {"x": 1}}, {"b": {"y": 2}}, {"a": 1, "b": {"y": 2}}),
        ({"a": 1}, {"a": None}, {}),
        ({"a": 1}, {"missing": None}, {"a": 1}),
        ({"a": 1}, {"d": {"e": None}, "l": [None]}, {"a": 1, "d": {"e": None}, "l": [None]}),
        ({"a": 1}, {"a.b": 2}, {"a": 1, "a.b": 2}),
    ],
)
def test_set_merges_the_top_level(payload: Payload, patch: Payload, result: Payload) -> None:
    assert set_payload(payload, patch) == result


@pytest.mark.parametrize(
    ("payload", "path", "result"),
    [
        ({"a": {"y": 2}}, "a", {"a": {"y": 2, "x": 1}}),
        ({"a": 1}, "a", {"a": {"x": 1}}),
        ({"a": None}, "a.b", {"a": {"b": {"x": 1}}}),
        ({"a": 1}, "a.b", {"a": {"b": {"x": 1}}}),
        ({"a": [1]}, "a.b", {"a": {"b": {"x": 1}}}),
        ({}, "m.n.o", {"m": {"n": {"o": {"x": 1}}}}),
        ({}, "m[]", {"m": []}),
        ({}, "m[0].k", {"m": []}),
        ({}, "m.k[].z", {"m": {"k": []}}),
        ({"a": None}, "a[]", {"a": []}),
        ({"a": [1, {"y": 2}]}, "a[]", {"a": [{"x": 1}, {"y": 2, "x": 1}]}),
        ({"a": [1, {"y": 2}]}, "a[1]", {"a": [1, {"y": 2, "x": 1}]}),
        ({"a": [1, {"y": 2}]}, "a[2]", {"a": [1, {"y": 2}]}),
        ({"a": [1, {"y": 2}]}, "a[].b", {"a": [{"b": {"x": 1}}, {"y": 2, "b": {"x": 1}}]}),
        ({"a": [[1], [2, 3]]}, "a[][]", {"a": [[{"x": 1}], [{"x": 1}, {"x": 1}]]}),
        ({"a": [[1, 2]]}, "a[0][1]", {"a": [[1, {"x": 1}]]}),
        ({"a.b": 1}, '"a.b"', {"a.b": {"x": 1}}),
    ],
)
def test_set_at_a_path(payload: Payload, path: str, result: Payload) -> None:
    assert set_payload(payload, {"x": 1}, parse(path)) == result


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        ({"a": {"b": 1}}, "a[]"),
        ({"a": {"b": 1}}, "a[0]"),
        ({"a": {"b": 1}}, "a[].b"),
        ({"a": "text"}, "a.b[0]"),
        ({"a": [1, "text"]}, "a[].c[]"),
        ({"a": {"b": {"c": 1}}}, "a.b[].c"),
    ],
)
def test_set_keeps_what_it_cannot_write_into_unlike_qdrant(payload: Payload, path: str) -> None:
    """Qdrant puts an empty array there: the value is gone, and the patch nowhere."""
    assert set_payload(payload, {"x": 1}, parse(path)) == payload
    assert overwrite(payload, {"x": 1}, parse(path)) == payload


def test_set_with_nulls_at_a_path_removes_keys_there() -> None:
    payload = {"a": {"b": 1, "c": 2}, "b": 3}
    assert set_payload(payload, {"b": None}, parse("a")) == {"a": {"c": 2}, "b": 3}


def test_overwrite_replaces_everything_and_keeps_nulls() -> None:
    assert overwrite({"a": 1, "b": 2}, {"c": None}) == {"c": None}
    assert overwrite({"a": 1}, {}) == {}


@pytest.mark.parametrize(
    ("payload", "path", "result"),
    [
        ({"a": 1, "b": {"x": 9}}, "b", {"a": 1, "b": {"y": None}}),
        ({"a": 1}, "m.n", {"a": 1, "m": {"n": {"y": None}}}),
        ({"a": [1, {"b": 2}]}, "a[]", {"a": [{"y": None}, {"y": None}]}),
        ({"a": [1, 2]}, "a[1]", {"a": [1, {"y": None}]}),
    ],
)
def test_overwrite_at_a_path_replaces_there_only_unlike_qdrant(
    payload: Payload, path: str, result: Payload
) -> None:
    """Qdrant ignores the key and drops the rest of the payload."""
    assert overwrite(payload, {"y": None}, parse(path)) == result


DOCUMENT: Payload = {
    "a": [{"b": 1, "c": 2}, {"b": 3}, 4, [{"b": 5}]],
    "o": {"p": {"q": 1, "r": 2}},
    "n": None,
    "l": [1, 2],
    "a.b": 9,
}


@pytest.mark.parametrize(
    ("paths", "changed"),
    [
        ([], {}),
        (["a[].b"], {"a": [{"c": 2}, {}, 4, [{"b": 5}]]}),
        (["a[0].b"], {"a": [{"c": 2}, {"b": 3}, 4, [{"b": 5}]]}),
        (["a[][].b"], {"a": [{"b": 1, "c": 2}, {"b": 3}, 4, [{}]]}),
        (["a[3][]"], {"a": [{"b": 1, "c": 2}, {"b": 3}, 4, []]}),
        (["a[]"], {"a": []}),
        (["a[0]"], {}),
        (["l[9].x"], {}),
        (["a.b"], {}),
        (["o.p.q"], {"o": {"p": {"r": 2}}}),
        (["o.p.q", "o.p.r"], {"o": {"p": {}}}),
        (["o[]"], {}),
        (["n.x"], {}),
        (["missing"], {}),
    ],
)
def test_delete(paths: list[str], changed: Payload) -> None:
    assert delete_keys(DOCUMENT, map(parse, paths)) == DOCUMENT | changed


@pytest.mark.parametrize("paths", [["o"], ["n"], ['"a.b"'], ["o", "o.p"], ["l", "l"]])
def test_delete_of_a_top_level_key(paths: list[str]) -> None:
    left = delete_keys(DOCUMENT, map(parse, paths))
    assert DOCUMENT.keys() - left.keys() == {paths[0].strip('"')}


def test_clear_leaves_nothing() -> None:
    assert clear(DOCUMENT) == {}


def test_deep_payloads_do_not_recurse() -> None:
    payload = deep(100_000)
    path = parse(".".join("a" * 60))
    for result in (
        set_payload(payload, {"x": 1}, path),
        overwrite(payload, {"x": 1}, path),
        delete_keys(payload, [path]),
    ):
        assert list(result) == ["a"]


_values = st.recursive(
    st.none() | st.integers(-3, 3) | st.text(max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=8,
)
_payloads = st.dictionaries(st.sampled_from("abc"), _values, max_size=3)
_steps = st.sampled_from("abc") | st.integers(0, 2) | st.none()
_paths = st.builds(
    lambda first, rest: Path((first, *rest)), st.sampled_from("abc"), st.lists(_steps, max_size=4)
)


@given(_payloads, _payloads, _paths)
def test_edits_change_nothing_they_are_given(payload: Payload, patch: Payload, path: Path) -> None:
    given_payload, given_patch = copy.deepcopy(payload), copy.deepcopy(patch)
    for edited in (
        set_payload(payload, patch, path),
        overwrite(payload, patch, path),
        delete_keys(payload, [path, path]),
        set_payload(payload, patch),
        overwrite(payload, patch),
        clear(payload),
    ):
        edited["a"] = "changed"
    assert (payload, patch) == (given_payload, given_patch)


@given(_payloads, _payloads, _paths)
def test_edits_are_idempotent(payload: Payload, patch: Payload, path: Path) -> None:
    """A log may be replayed over a segment that already holds the edit."""
    once = set_payload(payload, patch, path)
    assert set_payload(once, patch, path) == once
    over = overwrite(payload, patch, path)
    assert overwrite(over, patch, path) == over
    gone = delete_keys(payload, [path])
    assert delete_keys(gone, [path]) == gone
