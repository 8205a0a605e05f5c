"""What a payload selector shows, beside qdrant_edge, and by its own law."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
import qdrant_edge
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.model.json_path import Path, parse
from edge.payload.select import exclude, include

Payload = dict[str, Any]


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[qdrant_edge.EdgeShard]:
    params = qdrant_edge.EdgeVectorParams(size=1, distance=qdrant_edge.Distance.Dot)
    folder = tmp_path_factory.mktemp("select") / "shard"
    made = qdrant_edge.EdgeShard.create(str(folder), qdrant_edge.EdgeConfig(vectors=params))
    yield made
    made.close()


def shown_there(shard: qdrant_edge.EdgeShard, payload: Payload, selector: Any) -> Payload:
    point = qdrant_edge.Point(1, [1.0], payload)
    shard.update(qdrant_edge.UpdateOperation.upsert_points([point]))
    return shard.retrieve([1], selector, False)[0].payload or {}


KEYS = ["a", "b", "c d", "größe"]
keys = st.sampled_from(KEYS)
scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from([0.5, "", "ü"])
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=10,
)
payloads = st.dictionaries(keys, documents, max_size=4)
steps = st.lists(st.one_of(keys, keys, st.none(), st.integers(0, 2)), max_size=3)
paths = st.builds(lambda first, rest: Path((first, *rest)), keys, steps)
some_paths = st.lists(paths, max_size=3)
many = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@many
@given(payloads, some_paths)
def test_include_as_qdrant(
    shard: qdrant_edge.EdgeShard, payload: Payload, chosen: list[Path]
) -> None:
    selector = qdrant_edge.PayloadSelector.Include(list(map(str, chosen)))
    assert include(payload, chosen) == shown_there(shard, payload, selector)


@many
@given(payloads, some_paths)
def test_exclude_as_qdrant(
    shard: qdrant_edge.EdgeShard, payload: Payload, chosen: list[Path]
) -> None:
    selector = qdrant_edge.PayloadSelector.Exclude(list(map(str, chosen)))
    assert exclude(payload, chosen) == shown_there(shard, payload, selector)


@given(payloads, some_paths)
def test_the_payload_itself_is_left_alone(payload: Payload, chosen: list[Path]) -> None:
    before = deepcopy(payload)
    include(payload, chosen)
    exclude(payload, chosen)
    assert payload == before


@given(payloads)
def test_nothing_included_is_nothing_and_nothing_excluded_is_all(payload: Payload) -> None:
    assert include(payload, []) == {}
    assert exclude(payload, []) == payload


SHOWN: Payload = {"a": [{"b": 1, "c": 2}, {"b": 3}], "x": {"y": {"z": 1}, "w": 2}, "l": [[1], []]}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("x.y", {"x": {"y": {"z": 1}}}),
        ("x.y.z.deeper", {"x": {"y": {"z": 1}}}),
        ("a[].b", {"a": [{"b": 1}, {"b": 3}]}),
        ("a.b", {"a": []}),
        ("a[0]", {"a": []}),
        ("l[][]", {"l": [[1], []]}),
        ("gone", {}),
    ],
)
def test_included(path: str, expected: Payload) -> None:
    assert include(SHOWN, [parse(path)]) == expected


@pytest.mark.parametrize(
    ("path", "changed"),
    [
        ("x.y", {"x": {"w": 2}}),
        ("a[].b", {"a": [{"c": 2}, {}]}),
        ("a.b", {}),
        ("a[0]", {}),
        ("l[]", {"l": []}),
        ("l[][]", {"l": [[], []]}),
        ("x.y.z.deeper", {}),
    ],
)
def test_excluded(path: str, changed: Payload) -> None:
    assert exclude(SHOWN, [parse(path)]) == {**SHOWN, **changed}
