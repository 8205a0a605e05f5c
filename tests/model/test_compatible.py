"""The same names, argument order and optional arguments as the qdrant_edge package has."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import qdrant_edge

from edge.model import (
    bm25,
    config,
    filter,
    geo,
    point,
    query,
    request,
    schema,
    sparse,
    text,
    update,
)

ROOMS = (bm25, config, filter, geo, point, query, request, schema, sparse, text, update)
STUB = ast.parse(Path(qdrant_edge.__file__).with_name("__init__.pyi").read_text())
CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}


def room_of(name: str) -> ModuleType | None:
    return next((room for room in ROOMS if hasattr(room, name)), None)


OURS = {name: getattr(room, name) for name in CLASSES if (room := room_of(name)) is not None}


def methods(name: str) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in CLASSES[name].body if isinstance(node, ast.FunctionDef)}


def arguments(function: ast.FunctionDef) -> list[tuple[str, bool]]:
    """The names of a stub's arguments, and whether each may be left out."""
    names = [argument.arg for argument in function.args.args if argument.arg != "self"]
    required = len(names) - len(function.args.defaults)
    return [(name, at >= required) for at, name in enumerate(names)]


def parameters(function: Any) -> list[tuple[str, bool]]:
    """The same of ours, without what we add by keyword."""
    return [
        (parameter.name, parameter.default is not parameter.empty)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is not parameter.KEYWORD_ONLY
    ]


def test_the_rooms_hold_what_this_file_compares() -> None:
    assert len(OURS) >= 35


@pytest.mark.parametrize(
    "name", [name for name in OURS if "__init__" in methods(name) and name != "EdgeConfig"]
)
def test_constructors(name: str) -> None:
    expected = arguments(methods(name)["__init__"])
    assert parameters(OURS[name])[: len(expected)] == expected


def test_the_config_takes_its_arguments_first() -> None:
    expected = arguments(methods("EdgeConfig")["__init__"])
    assert parameters(config.EdgeConfig) == expected


@pytest.mark.parametrize("name", list(OURS))
def test_properties(name: str) -> None:
    for found, node in methods(name).items():
        if any(isinstance(d, ast.Name) and d.id == "property" for d in node.decorator_list):
            assert hasattr(OURS[name], found), found


LATER = {
    "create_dense_vector", "create_sparse_vector",
    "delete_vector_name", "RecommendBestScore", "RecommendSumScores", "Discover", "Context",
    "FeedbackNaive",
}  # fmt: skip
"""Static constructors of Qdrant's that this build does not have yet."""


@pytest.mark.parametrize("name", ["UpdateOperation", "Query", "PayloadSelector"])
def test_static_constructors(name: str) -> None:
    for found, node in methods(name).items():
        if found in LATER:
            assert not hasattr(OURS[name], found), f"{found} is here now: compare it"
        else:
            assert parameters(getattr(OURS[name], found)) == arguments(node), found


@pytest.mark.parametrize("name", ["Distance", "Memory", "VectorStorageDatatype", "UpdateMode"])
def test_enums(name: str) -> None:
    theirs = {member for member in dir(getattr(qdrant_edge, name)) if not member.startswith("_")}
    assert set(OURS[name].__members__) == theirs
    assert {repr(member) for member in OURS[name]} == {f"{name}.{member}" for member in theirs}


VECTORS: list[Any] = [
    [1, 2.5], (1, 2), range(3), np.array([1, 2]), np.float32([0.1, 0.2]), {"a": [1.0], "b": [2, 3]},
    {}, [],
]  # fmt: skip


@pytest.mark.parametrize("vector", VECTORS, ids=repr)
def test_points_hold_the_same_numbers(vector: Any) -> None:
    ours, theirs = point.Point(1, vector).vector, qdrant_edge.Point(1, vector).vector
    if isinstance(ours, dict):
        assert {name: array.tolist() for name, array in ours.items()} == theirs
    else:
        assert ours.tolist() == theirs


@pytest.mark.parametrize(
    "name", ["QueryRequest", "SearchRequest", "ScrollRequest", "CountRequest", "SearchParams"]
)
def test_defaults_mean_the_same(name: str) -> None:
    given = {"QueryRequest": (7,), "CountRequest": (), "SearchParams": (), "ScrollRequest": ()}
    if name == "SearchRequest":
        ours = request.SearchRequest(query.Query.Nearest([1.0]), 7)
        theirs = qdrant_edge.SearchRequest(qdrant_edge.Query.Nearest([1.0]), 7)
    else:
        ours = OURS[name](*given[name])
        theirs = getattr(qdrant_edge, name)(*given[name])
    for field in methods(name):
        if field.startswith("_") or field == "query":
            continue
        wanted = getattr(theirs, field)
        # Where Qdrant says None for "the default", ours says the default.
        if wanted is not None:
            found = getattr(ours, field)
            assert (list(found) if isinstance(found, tuple) else found) == wanted, field
