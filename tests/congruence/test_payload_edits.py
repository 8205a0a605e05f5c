"""Payload edits leave the payloads that qdrant_edge leaves.

The deliberate differences are tests of their own, at the end; each shows both results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qdrant_edge import Distance, EdgeConfig, EdgeShard, EdgeVectorParams, Point, UpdateOperation

from edge.model.json_path import Path, parse, values
from edge.payload.edit import clear, delete_keys, overwrite, set_payload

Payload = dict[str, Any]


class Edit(NamedTuple):
    """Its text, what qdrant_edge is told, what we do to a payload, and where it sets values."""

    text: str
    operation: UpdateOperation
    apply: Callable[[Payload], Payload]
    at: Path | None = None


POINTS = 12
EDITS = 25
IDS = list(range(POINTS))


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeShard]:
    config = EdgeConfig(vectors=EdgeVectorParams(size=1, distance=Distance.Dot))
    made = EdgeShard.create(str(tmp_path_factory.mktemp("edits") / "shard"), config)
    yield made
    made.close()


def edited(shard: EdgeShard, payloads: list[Payload], operation: UpdateOperation) -> list[Payload]:
    """What qdrant_edge holds of these payloads after the operation on all of them."""
    points = [Point(i, [1.0], payload) for i, payload in enumerate(payloads)]
    shard.update(UpdateOperation.upsert_points(points))
    shard.update(operation)
    return [record.payload for record in shard.retrieve(IDS[: len(payloads)], True, False)]


KEYS = ["a", "b", "c d", "größe"]
scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from([0.5, "", "x", "ü"])
documents = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)
    ),
    max_leaves=8,
)
payloads = st.dictionaries(st.sampled_from(KEYS), documents, max_size=4)
keys = st.sampled_from(KEYS)
paths = st.builds(
    lambda first, rest: Path((first, *rest)),
    keys,
    st.lists(st.one_of(keys, st.integers(0, 2), st.none()), max_size=4),
)
key_paths = st.lists(keys, min_size=1, max_size=4).map(lambda steps: Path(tuple(steps)))


def set_edit(patch: Payload, path: Path | None) -> Edit:
    key = None if path is None else str(path)
    operation = UpdateOperation.set_payload(IDS, patch, key)
    return Edit(f"set {patch} at {key}", operation, lambda old: set_payload(old, patch, path), path)


def delete_edit(removed: list[Path]) -> Edit:
    keys = list(map(str, removed))
    operation = UpdateOperation.delete_payload(IDS, keys)
    return Edit(f"delete {keys}", operation, lambda old: delete_keys(old, removed))


def overwrite_edit(patch: Payload) -> Edit:
    operation = UpdateOperation.overwrite_payload(IDS, patch)
    return Edit(f"overwrite {patch}", operation, lambda old: overwrite(old, patch))


edits = st.one_of(
    st.builds(set_edit, payloads, st.none() | key_paths),
    st.builds(set_edit, payloads, paths),
    st.builds(delete_edit, st.lists(paths | key_paths, max_size=3)),
    st.builds(overwrite_edit, payloads),
    st.just(Edit("clear", UpdateOperation.clear_payload(IDS), clear)),
)


def loses(payload: Payload, path: Path | None) -> bool:
    """Whether qdrant_edge puts an array without the patch in the place of a value (see the end)."""
    steps = () if path is None else path.steps
    for cut in range(1, len(steps)):
        kind = dict if isinstance(steps[cut], str) else list
        reached = values(payload, Path(steps[:cut]))
        misfit = any(value is not None and not isinstance(value, kind) for value in reached)
        if misfit and not all(isinstance(step, str) for step in steps[cut:]):
            return True
    return False


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_any_edit_of_any_payload(shard: EdgeShard, data: st.DataObject) -> None:
    before = data.draw(st.lists(payloads, min_size=POINTS, max_size=POINTS))
    for edit in data.draw(st.lists(edits, min_size=EDITS, max_size=EDITS)):
        after = edited(shard, before, edit.operation)
        for payload, theirs in zip(before, after, strict=True):
            if not loses(payload, edit.at):
                assert edit.apply(payload) == theirs, (edit.text, payload)


# Deliberate differences.


@pytest.mark.parametrize(
    ("payload", "path", "theirs"),
    [
        ({"a": {"b": 1}}, "a[]", {"a": []}),
        ({"a": {"b": 1}}, "a[0].c", {"a": []}),
        ({"a": "text"}, "a.b[0]", {"a": {"b": []}}),
        ({"a": [1, {"c": 2}]}, "a[].c[]", {"a": [{"c": []}, {"c": []}]}),
    ],
)
def test_set_keeps_a_value_that_qdrant_replaces_by_an_array_without_the_patch(
    shard: EdgeShard, payload: Payload, path: str, theirs: Payload
) -> None:
    assert edited(shard, [payload], UpdateOperation.set_payload([0], {"x": 1}, path)) == [theirs]
    assert set_payload(payload, {"x": 1}, parse(path)) == payload


def test_overwrite_honours_the_key_that_qdrant_ignores(shard: EdgeShard) -> None:
    payload, patch = {"a": 1, "b": {"x": 2, "y": 3}}, {"x": 4}
    operation = UpdateOperation.overwrite_payload([0], patch, "b")
    assert edited(shard, [payload], operation) == [{"x": 4}]
    assert overwrite(payload, patch, parse("b")) == {"a": 1, "b": {"x": 4}}
