"""What is public: one list of names for both facades, those of qdrant_edge where both have them."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
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
        "ConfigChange",
        "Durability",
        "Explained",
        "GroupsResult",
        "Limits",
        "Mark",
        "NoQuantization",
        "OrderCursor",
        "PayloadIndexInfo",
        "PointGroup",
        "PointId",
        "QueryGroupsRequest",
        "SearchMatrixOffsets",
        "SearchMatrixPair",
        "SearchMatrixPairs",
        "SearchMatrixRequest",
        "SegmentPlan",
        "ShardInfo",
        "Snapshot",
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
    assert sorted(ours - theirs) == [
        "create_partial_snapshot", "create_snapshot", "drop_outbox", "export_qdrant", "mark",
        "outboxes", "query_groups", "read_view", "search_matrix", "upsert_arrays",
    ]  # fmt: skip
    for name in sorted(ours & theirs):
        plain = arguments(getattr(blocking.EdgeShard, name))
        given = arguments(getattr(qdrant_edge.EdgeShard, name))
        assert plain[: len(given)] == given, name


# -- everything that the stubs and the library of qdrant_edge name, in edge.blocking

LEFT_OUT = {
    "Modifier.None": "no program can write this name; None means it",
}
"""What edge.blocking does not have, and why."""

Described = ast.ClassDef | ast.FunctionDef | None


def described(body: list[ast.stmt], above: str = "") -> Iterator[tuple[str, Described]]:
    """The public names of the stubs, with a dot before what is in a class, and what they are."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield above + node.name, node
            yield from described(node.body, f"{above}{node.name}.")
        elif isinstance(node, ast.FunctionDef):
            made = node.name == "__init__"
            if made or not node.name.startswith("_"):
                yield (above.rstrip(".") if made else above + node.name), node
        elif isinstance(node, ast.Assign) and above:  # a member of an enum
            assert isinstance(node.targets[0], ast.Name)
            yield above + node.targets[0].id, None


STUBS = ast.parse(Path(qdrant_edge.__file__).with_name("__init__.pyi").read_text())
DESCRIBED = [found for found in described(STUBS.body) if found[0] not in LEFT_OUT]


def ours(name: str) -> Any:
    """What edge.blocking has under a name with dots."""
    found: Any = blocking
    for part in name.split("."):
        found = getattr(found, part)
    return found


def test_the_stubs_are_read_whole() -> None:
    kinds = [type(node) for _, node in DESCRIBED]
    assert kinds.count(ast.ClassDef) >= 105
    assert kinds.count(ast.FunctionDef) >= 400
    assert kinds.count(type(None)) >= 90


def test_each_name_of_the_stubs_is_here() -> None:
    for name, _ in DESCRIBED:
        assert ours(name) is not None, name


def described_arguments(function: ast.FunctionDef) -> list[tuple[str, bool]]:
    """The names of a function's arguments, and whether each may be left out."""
    assert not function.args.kwonlyargs
    listed = [argument.arg for argument in function.args.args if argument.arg != "self"]
    required = len(listed) - len(function.args.defaults)
    return [(name, place >= required) for place, name in enumerate(listed)]


def our_arguments(callable_: Any) -> list[tuple[str, bool]]:
    return [
        (name, parameter.default is not parameter.empty)
        for name, parameter in inspect.signature(callable_).parameters.items()
        if name != "self"
    ]


CALLED = [
    (name, node)
    for name, node in DESCRIBED
    if isinstance(node, ast.FunctionDef)
    and not any(isinstance(d, ast.Name) and d.id == "property" for d in node.decorator_list)
]


@pytest.mark.parametrize(("name", "node"), CALLED, ids=[name for name, _ in CALLED])
def test_what_is_called_takes_the_arguments_of_the_stubs(name: str, node: ast.FunctionDef) -> None:
    wanted = described_arguments(node)
    found = our_arguments(ours(name))[: len(wanted)]
    assert [name for name, _ in found] == [name for name, _ in wanted]
    for (argument, optional), (_, theirs) in zip(found, wanted, strict=True):
        assert optional or not theirs, argument


def named(owner: Any, above: str = "") -> Iterator[str]:
    """The public names of the library itself, which has some that its stubs leave out."""
    for name in dir(owner):
        if name.startswith("_") or isinstance(getattr(owner, name), ModuleType):
            continue
        yield above + name
        inner = getattr(owner, name)
        if not above and inspect.isclass(inner):
            yield from named(inner, f"{name}.")


def test_each_name_of_the_library_is_here() -> None:
    found = list(named(qdrant_edge))
    assert len(found) >= 500
    for name in found:
        if name not in LEFT_OUT:
            assert ours(name) is not None, name


def test_what_is_left_out_is_theirs_and_not_here() -> None:
    theirs = set(named(qdrant_edge))
    for name in LEFT_OUT:
        assert name in theirs
        with pytest.raises(AttributeError):
            ours(name)
