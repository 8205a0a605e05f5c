"""What is public: one list of names for both facades, those of qdrant_edge where both have them."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

import pytest
import qdrant_edge

import edge
from edge import blocking, errors, names

OURS_ONLY = {"__version__"}


def public(module: ModuleType) -> set[str]:
    """What a module holds without an underscore, but for modules."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }


@pytest.mark.parametrize("module", [edge, blocking, names])
def test_list_is_whole_and_each_name_is_there_once(module: ModuleType) -> None:
    assert len(set(module.__all__)) == len(module.__all__)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_every_public_name_is_in_both_facades_and_is_the_same() -> None:
    assert sorted(names.__all__) == sorted(public(names))
    assert set(edge.__all__) == {"EdgeShard", *OURS_ONLY, *names.__all__}
    assert set(blocking.__all__) == {"EdgeShard", *names.__all__}
    for name in names.__all__:
        assert getattr(edge, name) is getattr(blocking, name) is getattr(names, name)
    assert edge.EdgeShard is not blocking.EdgeShard


@pytest.mark.parametrize("module", ["edge", "edge.blocking"])
def test_star_gives_just_the_list(module: str) -> None:
    given: dict[str, Any] = {}
    exec(f"from {module} import *", given)
    given.pop("__builtins__")
    listed = {"edge": edge, "edge.blocking": blocking}[module].__all__
    assert set(given) == set(listed)


def test_every_error_is_public() -> None:
    defined = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.EdgeError)
    }
    assert defined <= set(names.__all__)


def test_names_are_those_of_qdrant_edge_or_our_own() -> None:
    theirs = public(qdrant_edge)
    ours = set(blocking.__all__) - {name for name in vars(errors) if name in names.__all__}
    assert sorted(ours - theirs) == [
        "Cardinality",
        "Durability",
        "Explained",
        "Limits",
        "Mark",
        "OrderCursor",
        "PayloadIndexInfo",
        "PointId",
        "SegmentPlan",
        "ShardInfo",
    ]


# Ours end with what Qdrant Edge does not have; these may be given by name only.
OUR_ARGUMENTS = {
    "EdgeConfig": [
        "durability", "sync_interval_ms", "background_optimizer", "checkpoint_bytes", "limits"
    ],
    "QueryRequest": ["timeout", "best_effort", "explain"],
    "SearchRequest": ["timeout", "best_effort", "explain"],
    "FacetRequest": ["timeout"],
    "ScrollRequest": ["timeout"],
    "CountRequest": ["timeout"],
}  # fmt: skip


def arguments(callable_: Any) -> list[str]:
    return [name for name in inspect.signature(callable_).parameters if name != "self"]


def is_made_by_hand(cls: type) -> bool:
    """Whether it says what arguments it takes; enums and results take none."""
    try:
        return bool(arguments(cls))
    except ValueError:
        return False


SHARED = sorted(
    name
    for name in set(names.__all__) & public(qdrant_edge)
    if inspect.isclass(getattr(names, name)) and is_made_by_hand(getattr(qdrant_edge, name))
)


@pytest.mark.parametrize("name", SHARED)
def test_arguments_have_their_names_and_their_order(name: str) -> None:
    theirs = arguments(getattr(qdrant_edge, name))
    ours = arguments(getattr(names, name))
    assert ours[: len(theirs)] == theirs
    assert sorted(ours[len(theirs) :]) == sorted(OUR_ARGUMENTS.get(name, []))


def test_shared_names_are_many() -> None:
    assert len(SHARED) >= 15


def test_methods_of_the_shard_are_those_of_qdrant_edge_that_are_built() -> None:
    ours = {name for name in dir(blocking.EdgeShard) if not name.startswith("_")}
    theirs = {name for name in vars(qdrant_edge.EdgeShard) if not name.startswith("_")}
    assert sorted(ours - theirs) == ["mark", "read_view", "upsert_arrays"]
    for name in sorted(ours & theirs):
        plain = arguments(getattr(blocking.EdgeShard, name))
        given = arguments(getattr(qdrant_edge.EdgeShard, name))
        assert plain[: len(given)] == given, name
